"""Compiled kernels (numba): batch energies, fields of known sites, single flips and replica exchange.

Random numbers come from SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), one 64-bit state per chain held in an array
by the caller, so that a run is reproducible by its seed and can be continued bit for bit.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

_BLOCK = 64


@njit(cache=True, fastmath=True, nogil=True)
def add_energies(rows, site_functions, factors, coef, out):
    """out[b] += sum_c coef_c prod_m phi(x_m); ``rows`` is (N, B), so the inner loop runs over configurations (SIMD)."""
    n, n_functions, _ = site_functions.shape
    batch = rows.shape[1]
    order = factors.shape[1]
    phi = np.empty((n * n_functions, _BLOCK))
    prod = np.empty(_BLOCK)
    for start in range(0, batch, _BLOCK):
        size = min(_BLOCK, batch - start)
        for i in range(n):
            for f in range(n_functions):
                for b in range(size):
                    phi[i * n_functions + f, b] = site_functions[i, f, rows[i, start + b]]
                for b in range(size, _BLOCK):
                    phi[i * n_functions + f, b] = 0.0
        total = np.zeros(_BLOCK)
        for c in range(len(coef)):
            j = coef[c]
            if order == 1:
                p = phi[factors[c, 0]]
                for b in range(_BLOCK):
                    total[b] += j * p[b]
            elif order == 2:
                p, q = phi[factors[c, 0]], phi[factors[c, 1]]
                for b in range(_BLOCK):
                    total[b] += j * p[b] * q[b]
            elif order == 3:
                p, q, r = phi[factors[c, 0]], phi[factors[c, 1]], phi[factors[c, 2]]
                for b in range(_BLOCK):
                    total[b] += j * p[b] * q[b] * r[b]
            elif order == 4:
                p, q, r, s = phi[factors[c, 0]], phi[factors[c, 1]], phi[factors[c, 2]], phi[factors[c, 3]]
                for b in range(_BLOCK):
                    total[b] += j * p[b] * q[b] * r[b] * s[b]
            else:
                prod[:] = j
                for m in range(order):
                    p = phi[factors[c, m]]
                    for b in range(_BLOCK):
                        prod[b] *= p[b]
                for b in range(_BLOCK):
                    total[b] += prod[b]
        for b in range(size):
            out[start + b] += total[b]


@njit(cache=True, nogil=True)
def fields(occ, rank, sites, threshold, ptr, coef, channel, others, n_others, site_functions, out):
    """out[b, q, k]: channel fields on sites[b, q] from terms whose other members all have rank < threshold[b, q]."""
    n_functions = site_functions.shape[1]
    phi = np.empty(site_functions.shape[0] * n_functions)
    for b in range(sites.shape[0]):
        for i in range(site_functions.shape[0]):
            for f in range(n_functions):
                phi[i * n_functions + f] = site_functions[i, f, occ[b, i]]
        for q in range(sites.shape[1]):
            i = sites[b, q]
            limit = threshold[b, q]
            for t in range(ptr[i], ptr[i + 1]):
                p = coef[t]
                for m in range(n_others[t]):
                    j = others[t, m]
                    if rank[b, j // n_functions] >= limit:
                        p = 0.0
                        break
                    p *= phi[j]
                out[b, q, channel[t]] += p


class Trie(NamedTuple):
    """Terms of each site as preorder trees of shared prefixes: one multiply-add per node.

    ``root_ptr`` (N+1) points into the roots of a site; root r has the own site function ``root_function[r]``, the
    constant part ``root_coef[r]`` and the nodes ``node_ptr[r]:node_ptr[r+1]`` (factor, depth, coefficient).
    """

    root_ptr: np.ndarray
    root_function: np.ndarray
    root_coef: np.ndarray
    node_ptr: np.ndarray
    node_factor: np.ndarray
    node_depth: np.ndarray
    node_coef: np.ndarray


def build_trie(ptr, coef, own, others, n_others) -> Trie:
    root_ptr, root_function, root_coef, node_ptr = [0], [], [], [0]
    factors, depths, coefs = [], [], []

    def walk(node, depth):
        for factor in sorted(node):
            value, children = node[factor]
            factors.append(factor)
            depths.append(depth)
            coefs.append(value)
            walk(children, depth + 1)

    for i in range(len(ptr) - 1):
        trees: dict[int, list] = {}
        for t in range(ptr[i], ptr[i + 1]):
            tree = trees.setdefault(int(own[t]), [0.0, {}])
            path = sorted(int(j) for j in others[t, : n_others[t]])
            if not path:
                tree[0] += coef[t]
            level = tree[1]
            for d, j in enumerate(path):
                entry = level.setdefault(j, [0.0, {}])
                if d == len(path) - 1:
                    entry[0] += coef[t]
                level = entry[1]
        for f, (value, tree) in sorted(trees.items()):
            root_function.append(f)
            root_coef.append(value)
            walk(tree, 0)
            node_ptr.append(len(factors))
        root_ptr.append(len(root_function))
    as_int = lambda x: np.array(x, dtype=np.int64)  # noqa: E731
    return Trie(
        as_int(root_ptr),
        as_int(root_function),
        np.array(root_coef),
        as_int(node_ptr),
        np.array(factors, dtype=np.int32),
        np.array(depths, dtype=np.int32),
        np.array(coefs),
    )


@njit(cache=True, nogil=True, inline="always")
def next_random(state, r):
    """Uniform in [0, 1) with 53 bits; advances the 64-bit state of chain r."""
    state[r] += np.uint64(0x9E3779B97F4A7C15)
    z = state[r]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@njit(cache=True, nogil=True, inline="always")
def site_change(i, old, new, phi, site_functions, trie, stack):
    """Energy change when site i goes from species old to new, the rest given by ``phi`` (N * F)."""
    delta = 0.0
    for r in range(trie.root_ptr[i], trie.root_ptr[i + 1]):
        f = trie.root_function[r]
        step = site_functions[i, f, new] - site_functions[i, f, old]
        if step == 0.0:
            continue
        field = trie.root_coef[r]
        for k in range(trie.node_ptr[r], trie.node_ptr[r + 1]):
            d = trie.node_depth[k]
            p = stack[d] * phi[trie.node_factor[k]]
            stack[d + 1] = p
            field += trie.node_coef[k] * p
        delta += step * field
    return delta


@njit(cache=True, nogil=True)
def metropolis(
    occ, phi, energy, counts, beta, mu, state, r, attempts, sites, n_species, element, site_functions, trie, stack
):
    """``attempts`` semigrand flips of chain r in place: a uniform site of ``sites``, a uniform other species.

    occ (N,), phi (N * F,) and counts (n_elements,) belong to the chain; returns (energy, accepted moves).
    """
    n_functions = site_functions.shape[1]
    accepted = 0
    for _ in range(attempts):
        i = sites[int(next_random(state, r) * len(sites))]
        old = occ[i]
        new = int(next_random(state, r) * (n_species[i] - 1)) if n_species[i] > 2 else 0
        if new >= old:
            new += 1
        delta = site_change(i, old, new, phi, site_functions, trie, stack)
        a, b = element[i, old], element[i, new]
        exponent = -beta * (delta - mu[b] + mu[a])
        if exponent >= 0.0 or next_random(state, r) < np.exp(exponent):
            occ[i] = new
            for f in range(n_functions):
                phi[i * n_functions + f] = site_functions[i, f, new]
            energy += delta
            counts[a] -= 1.0
            counts[b] += 1.0
            accepted += 1
    return energy, accepted


@njit(cache=True, nogil=True)
def sweep_replicas(
    occ, energy, counts, betas, mus, state, attempts, accepted, sites, n_species, element, site_functions, trie
):
    """``attempts`` flips of every replica r at betas[r], mus[r]; energies and counts are kept up to date."""
    n_functions = site_functions.shape[1]
    n = occ.shape[1]
    phi = np.empty(n * n_functions)
    depth = 0
    for d in trie.node_depth:
        depth = max(depth, d)
    stack = np.ones(depth + 2)
    for r in range(occ.shape[0]):
        for i in range(n):
            for f in range(n_functions):
                phi[i * n_functions + f] = site_functions[i, f, occ[r, i]]
        energy[r], a = metropolis(
            occ[r],
            phi,
            energy[r],
            counts[r],
            betas[r],
            mus[r],
            state,
            r,
            attempts,
            sites,
            n_species,
            element,
            site_functions,
            trie,
            stack,
        )
        accepted[r] += a


@njit(cache=True, nogil=True)
def exchange(pairs, replica_at, energy, counts, betas, mus, state, stream, tried, accepted):
    """Swap the replicas of neighbouring conditions (a, b) by the Metropolis rule of the joint law.

    ``replica_at[c]`` is the replica now at condition c; betas and mus are by condition.
    """
    for p in range(len(pairs)):
        a, b = pairs[p, 0], pairs[p, 1]
        i, j = replica_at[a], replica_at[b]
        gain = (betas[a] - betas[b]) * (energy[i] - energy[j])
        for k in range(counts.shape[1]):
            gain -= (betas[a] * mus[a, k] - betas[b] * mus[b, k]) * (counts[i, k] - counts[j, k])
        tried[p] += 1
        if gain >= 0.0 or next_random(state, stream) < np.exp(gain):
            replica_at[a], replica_at[b] = j, i
            accepted[p] += 1
