"""Single flips of two-species lattices from a lookup table.

The energy change of a site is split into a *core*, which holds every many-body term and is tabulated by the occupations
of the m sites that appear in them (2^m entries per sublattice, exact), and *far* pairs, which are counted shell by shell:

    E_i(1) - E_i(0) = table[bits of core(i)] + sum_g J_g * (number of species 1 on the far sites of group g)

Expansions with three species on a site, or with a wider core, use the general kernel.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from alloygen.hamiltonian.kernels import next_random

MAX_CORE = 18


class Lookup(NamedTuple):
    """table (n_sublattices, 2**m), core (N, m) and far (N, F) sites, group_ptr (n_sublattices, G+1), group_coef."""

    table: np.ndarray
    core: np.ndarray
    far: np.ndarray
    group_ptr: np.ndarray
    group_coef: np.ndarray
    sublattice: np.ndarray


def build_lookup(h) -> Lookup | None:
    """The table of a Hamiltonian, or None where it does not apply."""
    lattice = h.lattice
    if lattice.n_species.max() != 2:
        return None
    sites, _ = lattice.displacements
    parts = [_sublattice(h, b, sites) for b in range(lattice.n_sublattices)]
    if max(len(p[0]) for p in parts) > MAX_CORE:
        return None
    width, reach = (max(len(p[k]) for p in parts) for k in (0, 2))
    groups = max(len(p[3]) for p in parts)
    table = np.zeros((len(parts), 2**width))
    core = np.tile(np.arange(lattice.n_sites)[:, None], (1, width))
    far = np.tile(np.arange(lattice.n_sites)[:, None], (1, reach))
    ptr, coef = np.zeros((len(parts), groups + 1), dtype=np.int64), np.zeros((len(parts), groups))
    for b, (columns, values, outer, group_coef, group_ptr) in enumerate(parts):
        here = lattice.sublattice == b
        core[here, : len(columns)] = sites[here][:, columns]
        far[here, : len(outer)] = sites[here][:, outer]
        table[b] = np.tile(values, 2 ** (width - len(columns)))  # unused high bits change nothing
        ptr[b, : len(group_ptr)], ptr[b, len(group_ptr) :] = group_ptr, group_ptr[-1]
        coef[b, : len(group_coef)] = group_coef
    return Lookup(table, core.astype(np.int32), far.astype(np.int32), ptr, coef, lattice.sublattice)


def _sublattice(h, b: int, sites: np.ndarray):
    """(core columns, table, far columns, group coefficients, group pointers) from the terms of one site of sublattice b."""
    i = int(np.flatnonzero(h.lattice.sublattice == b)[0])
    column = {int(j): k for k, j in enumerate(sites[i])}
    n_functions = len(h.functions)
    terms = []
    for t in range(h.term_ptr[i], h.term_ptr[i + 1]):
        own = h.channel_function[h.term_channel[t]]
        step = h.site_functions[i, own, 1] - h.site_functions[i, own, 0]
        others = [divmod(int(f), n_functions) for f in h.term_others[t, : h.term_n[t]]]
        terms.append((step * h.term_coef[t], others))
    many = sorted({column[j] for _, others in terms if len(others) > 1 for j, _ in others})
    if len(many) > MAX_CORE:
        return many, None, [], np.zeros(0), np.zeros(1, dtype=np.int64)
    bit = {k: n for n, k in enumerate(many)}
    state = np.arange(2 ** len(many))
    values, pairs = np.zeros(len(state)), {}
    for coef, others in terms:
        if len(others) == 1 and column[others[0][0]] not in bit:
            j, f = others[0]
            low, high = h.site_functions[j, f]
            values += coef * low
            pairs[column[j]] = pairs.get(column[j], 0.0) + coef * (high - low)
            continue
        product = np.full(len(state), coef)
        for j, f in others:
            product *= h.site_functions[j, f][(state >> bit[column[j]]) & 1]
        values += product
    outer = sorted(pairs, key=lambda k: (round(pairs[k], 14), k))
    strength = np.array([round(pairs[k], 14) for k in outer])
    starts = np.flatnonzero(np.r_[True, strength[1:] != strength[:-1]]) if len(outer) else np.zeros(0, dtype=np.int64)
    coefs = np.array([pairs[outer[s]] for s in starts])
    return many, values, outer, coefs, np.r_[starts, len(outer)].astype(np.int64)


@njit(cache=True, nogil=True)
def sweep_lookup(occ, energy, counts, betas, mus, state, attempts, accepted, sites, element, lookup):
    """``attempts`` flips of every replica; the same moves and random numbers as ``kernels.sweep_replicas``."""
    table, core, far, group_ptr, group_coef, sublattice = lookup
    m, n_groups = core.shape[1], group_coef.shape[1]
    n_free = len(sites)
    for r in range(occ.shape[0]):
        x, beta, e, done = occ[r], betas[r], energy[r], 0
        for _ in range(attempts):
            i = sites[int(next_random(state, r) * n_free)]
            b = sublattice[i]
            bits = 0
            for k in range(m):
                bits |= np.int64(x[core[i, k]]) << k
            delta = table[b, bits]
            for g in range(n_groups):
                count = 0
                for k in range(group_ptr[b, g], group_ptr[b, g + 1]):
                    count += x[far[i, k]]
                delta += group_coef[b, g] * count
            old = x[i]
            if old:
                delta = -delta
            a, c = element[i, old], element[i, 1 - old]
            exponent = -beta * (delta - mus[r, c] + mus[r, a])
            if exponent >= 0.0 or next_random(state, r) < np.exp(exponent):
                x[i] = 1 - old
                e += delta
                counts[r, a] -= 1.0
                counts[r, c] += 1.0
                done += 1
        energy[r] = e
        accepted[r] += done
