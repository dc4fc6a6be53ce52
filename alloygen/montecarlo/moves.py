"""Compiled moves of Markov chains: semigrand flips, canonical swaps, exchange of replicas.

Every kernel works on rows of one ``Walkers`` record and keeps energies, counts, group states and generators up to date.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from alloygen.compiled import njit
from alloygen.hamiltonian.flips import FlipTables, fill_states, flip_energy, set_species
from alloygen.hamiltonian.kernels import put
from alloygen.montecarlo.rng import below, below_low, mix, step, uniform

MAX_TRIES = 1000
LAZY = 0.5  # acceptance at infinite temperature
_11, _32 = np.uint64(11), np.uint64(32)


class Walkers(NamedTuple):
    """The state of R chains; together with the conditions it is all that the next step depends on.

    occ (R, N) int8, states (R, N * W) int64 (see ``hamiltonian.flips``), energy (R,), counts (R, n_elements),
    rng (R,) uint64 or longer, accepted and tried (R,) int64
    """

    occ: np.ndarray
    states: np.ndarray
    energy: np.ndarray
    counts: np.ndarray
    rng: np.ndarray
    accepted: np.ndarray
    tried: np.ndarray


@njit()
def fill(tables: FlipTables, walkers: Walkers) -> None:
    """Group states of all walkers from their occupations."""
    for r in range(walkers.occ.shape[0]):
        fill_states(tables, walkers.occ[r], walkers.states[r])


@njit()
def flips(
    tables: FlipTables,
    walkers: Walkers,
    lo: int,
    hi: int,
    beta: np.ndarray,
    mu: np.ndarray,
    attempts: int,
    sites: np.ndarray,
) -> None:
    """``attempts`` semigrand flips of the walkers lo..hi: a uniform site of ``sites``, a uniform other species.

    beta (R,) and mu (R, n_elements) by walker; accepted with min(1, exp(-beta [dE - dmu])), at beta = 0 with 1/2: with two
    species a chain that accepts everything would only ever see every other number of atoms.
    """
    n_free, n_words = len(sites), walkers.states.shape[1] // walkers.occ.shape[1]
    for r in range(lo, hi):
        occ, states, s, e = walkers.occ[r], walkers.states[r], walkers.rng[r], walkers.energy[r]
        b, m, counts, done = beta[r], mu[r], walkers.counts[r].copy(), 0
        for _ in range(attempts):
            s = step(s)
            bits = mix(s)
            i = sites[below(bits, n_free)]
            old = np.int64(occ[i])
            n_species = tables.n_species[i]
            new = 1 - old if n_species == 2 else below_low(bits, n_species - 1)
            if n_species > 2 and new >= old:
                new += 1
            delta = flip_energy(tables, states, n_words, i, old, new)
            b_i = tables.sublattice[i]
            before, after = tables.element_index[b_i, old], tables.element_index[b_i, new]
            exponent = b * (m[after] - m[before] - delta)
            if exponent < 0.0 or b == 0.0:
                s = step(s)
                if uniform(mix(s)) >= (np.exp(exponent) if b > 0.0 else LAZY):
                    continue
            set_species(tables, occ, states, i, new)
            e += delta
            counts[before] -= 1.0
            counts[after] += 1.0
            done += 1
        walkers.rng[r], walkers.energy[r] = s, e
        put(counts, walkers.counts[r])
        walkers.accepted[r] += done
        walkers.tried[r] += attempts


@njit()
def by_site(tables: FlipTables) -> tuple[np.ndarray, np.ndarray]:
    """(first (N,), add (N, M)): where the one table of each site begins, and what 0 -> 1 adds to its neighbours."""
    n, m = tables.target.shape
    first, add = np.empty(n, dtype=np.uint64), np.empty((n, m), dtype=np.int64)
    for i in range(n):
        first[i] = tables.start[tables.sublattice[i], 0]
        put(tables.step[tables.sublattice[i], 0, 1], add[i])
    return first, add


@njit()
def is_square(add: np.ndarray) -> bool:
    """The square lattice: four equal neighbours, whose loop is unrolled."""
    if add.shape[1] != 4:
        return False
    for i in range(len(add)):
        for m in range(4):
            if add[i, m] != 1:
                return False
    return True


@njit()
def threshold_flips(
    tables: FlipTables,
    walkers: Walkers,
    lo: int,
    hi: int,
    beta: np.ndarray,
    mu: np.ndarray,
    attempts: int,
    sites: np.ndarray,
) -> None:
    """``flips`` for two species and short tables (nearest-neighbour models): acceptances are looked up, nothing branches.

    The probability of every (state, species) is put into a table of 53-bit integers once a call, K = 1 group per site.
    """
    n_free, n_words = np.uint64(len(sites)), walkers.states.shape[1] // walkers.occ.shape[1]
    n_words, n_targets = np.uint64(n_words), np.uint64(tables.target.shape[1])
    free, target = sites.astype(np.uint64), tables.target
    first, add = by_site(tables)
    square = is_square(add)
    threshold = np.empty((len(tables.value), 2), dtype=np.uint64)
    for r in range(lo, hi):
        for v in range(len(tables.value)):
            first_element, other = tables.element_index[tables.owner[v], 0], tables.element_index[tables.owner[v], 1]
            gain = mu[r, other] - mu[r, first_element] - tables.value[v]
            threshold[v, 0] = np.uint64(np.exp(min(0.0, beta[r] * gain)) * 9007199254740992.0)
            threshold[v, 1] = np.uint64(np.exp(min(0.0, -beta[r] * gain)) * 9007199254740992.0)
            if beta[r] == 0.0:
                threshold[v, :] = np.uint64(LAZY * 9007199254740992.0)
        occ, states, s = walkers.occ[r], walkers.states[r], walkers.rng[r]
        net, done = np.zeros(len(tables.value), dtype=np.int64), np.uint64(0)
        for _ in range(attempts):
            s = step(s)
            i = free[((mix(s) >> _32) * n_free) >> _32]
            s = step(s)
            old = np.uint64(occ[i])
            v = first[i] + np.uint64(states[i * n_words])
            flip = np.uint64((mix(s) >> _11) < threshold[v, old])
            sign = np.int64(flip) - (np.int64(flip & old) << 1)
            if square:
                states[target[i, 0]] += sign
                states[target[i, 1]] += sign
                states[target[i, 2]] += sign
                states[target[i, 3]] += sign
            else:
                for m in range(n_targets):
                    states[target[i, m]] += sign * add[i, m]
            occ[i] = old ^ flip
            net[v] += sign
            done += flip
        walkers.rng[r] = s
        for v in range(len(net)):
            b = tables.owner[v]
            walkers.energy[r] += net[v] * tables.value[v]
            walkers.counts[r, tables.element_index[b, 0]] -= net[v]
            walkers.counts[r, tables.element_index[b, 1]] += net[v]
        walkers.accepted[r] += done
        walkers.tried[r] += attempts


@njit(inline="always")
def _tell(tables, states, n_words, i, j, old, new):
    """Bring the words of site j, and no other, up to date for a change of site i; whether there were any."""
    target, add = tables.target[i], tables.step[tables.sublattice[i], old, new]
    first, met = np.uint32(j * n_words), False
    for m in range(len(add)):
        if target[m] - first < np.uint32(n_words):
            states[target[m]] += add[m]
            met = True
    return met


@njit(inline="always")
def draw_pair(
    tables: FlipTables, occ: np.ndarray, sites: np.ndarray, s: np.uint64
) -> tuple[np.int64, np.int64, np.int64, np.int64, np.uint64]:
    """(i, j, species to i, species to j, rng state) of a swap; i < 0 if none is found.

    Pairs of sites are drawn until their elements differ and both sublattices hold both; the number of such pairs does not
    change by a swap, so the proposal is symmetric.
    """
    n_free = len(sites)
    for _ in range(MAX_TRIES):
        s = step(s)
        bits = mix(s)
        i, j = sites[below(bits, n_free)], sites[below_low(bits, n_free)]
        b_i, b_j = tables.sublattice[i], tables.sublattice[j]
        of_i, of_j = tables.element_index[b_i, occ[i]], tables.element_index[b_j, occ[j]]
        to_i, to_j = tables.species[b_i, of_j], tables.species[b_j, of_i]
        if of_i != of_j and to_i >= 0 and to_j >= 0:
            return i, j, to_i, to_j, s
    return np.int64(-1), np.int64(-1), np.int64(0), np.int64(0), s


@njit()
def swaps(
    tables: FlipTables,
    walkers: Walkers,
    lo: int,
    hi: int,
    beta: np.ndarray,
    mu: np.ndarray,
    attempts: int,
    sites: np.ndarray,
) -> None:
    """``attempts`` canonical swaps: the elements of two sites change places where both sites allow it.

    Drawn by ``draw_pair``, accepted with min(1, exp(-beta dE)); mu, which every kernel is given, has no say.
    """
    n_words = walkers.states.shape[1] // walkers.occ.shape[1]
    for r in range(lo, hi):
        occ, states, s, e = walkers.occ[r], walkers.states[r], walkers.rng[r], walkers.energy[r]
        b, done = beta[r], 0
        for _ in range(attempts):
            i, j, to_i, to_j, s = draw_pair(tables, occ, sites, s)
            if i < 0:
                continue
            was_i, was_j = np.int64(occ[i]), np.int64(occ[j])
            delta = flip_energy(tables, states, n_words, i, was_i, to_i)
            near = _tell(tables, states, n_words, i, j, was_i, to_i)  # j alone sees i changed: most swaps are rejected
            delta += flip_energy(tables, states, n_words, j, was_j, to_j)
            if near:
                _tell(tables, states, n_words, i, j, to_i, was_i)
            if delta > 0.0:
                s = step(s)
                if uniform(mix(s)) >= np.exp(-b * delta):
                    continue
            set_species(tables, occ, states, i, to_i)
            set_species(tables, occ, states, j, to_j)
            e += delta
            done += 1
        walkers.rng[r], walkers.energy[r] = s, e
        walkers.accepted[r] += done
        walkers.tried[r] += attempts


@njit()
def exchange(
    pairs: np.ndarray,
    replica_at: np.ndarray,
    energy: np.ndarray,
    counts: np.ndarray,
    betas: np.ndarray,
    mus: np.ndarray,
    bias: np.ndarray,
    element: int,
    rng: np.ndarray,
    stream: int,
    tried: np.ndarray,
    accepted: np.ndarray,
) -> None:
    """Swap the replicas of neighbouring conditions (a, b) by the Metropolis rule of the joint law.

    ``replica_at[c]`` is the replica now at condition c; betas, mus and bias (C, sites + 1 or 0) are by condition.
    """
    for p in range(len(pairs)):
        a, b = pairs[p, 0], pairs[p, 1]
        i, j = replica_at[a], replica_at[b]
        gain = (betas[a] - betas[b]) * (energy[i] - energy[j])
        for k in range(counts.shape[1]):
            gain -= (betas[a] * mus[a, k] - betas[b] * mus[b, k]) * (counts[i, k] - counts[j, k])
        if bias.shape[1] > 0:
            n, m = int(counts[i, element]), int(counts[j, element])
            gain += bias[a, n] + bias[b, m] - bias[a, m] - bias[b, n]
        tried[p] += 1
        if gain < 0.0:
            rng[stream] = step(rng[stream])
            if uniform(mix(rng[stream])) >= np.exp(gain):
                continue
        replica_at[a], replica_at[b] = j, i
        accepted[p] += 1
