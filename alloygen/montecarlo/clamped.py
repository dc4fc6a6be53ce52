"""Conditionals of single sites given some of the others: heat-bath probabilities averaged over a chain that moves the rest.

For x ~ p and decided sites D, a chain that leaves x_D alone and has p(. | x_D) as its law stays in it, so the mean of the heat-bath
probabilities of site i along it has the mean p(x_i | x_D), with less noise than that of x alone (Rao-Blackwell). Only sites near i need to
move: what lies farther is as x has it, which is right too.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.hamiltonian.flips import FlipTables, fill_states, flip_energy, set_species
from alloygen.montecarlo.rng import below, below_low, mix, seeds, step, uniform


def clamped_conditionals(
    h: Hamiltonian,
    occ: np.ndarray,
    beta: np.ndarray,
    mu: np.ndarray,
    sites: np.ndarray,
    rank: np.ndarray,
    near: np.ndarray,
    sweeps: int,
    seed: int,
) -> np.ndarray:
    """Estimates (R, Q, S) of p(x_i = a | sites of smaller rank) for sites (R, Q), each from a chain of its own.

    occ (R, N) samples of p at beta (R,) and mu (R, n_elements); rank (N,); near (N, m) the sites that move with each site, N for none
    sweeps : over these sites, one heat-bath probability after each and one before the first
    """
    out = np.zeros((*sites.shape, h.n_species))
    arguments = (occ.astype(np.int8), beta, mu, sites, rank, near, sweeps, seeds(seed, len(occ)), out)
    _clamped(h.flip_tables, h.flip_tables.n_words, *arguments)
    return out


@njit(cache=True, nogil=True)
def _clamped(
    tables: FlipTables,
    n_words: int,
    occ: np.ndarray,
    beta: np.ndarray,
    mu: np.ndarray,
    sites: np.ndarray,
    rank: np.ndarray,
    near: np.ndarray,
    sweeps: int,
    rng: np.ndarray,
    out: np.ndarray,
) -> None:
    n = occ.shape[1]
    start, states, free = (
        np.empty(n * n_words, dtype=np.int64),
        np.empty(n * n_words, dtype=np.int64),
        np.empty(n, dtype=np.int64),
    )
    for r in range(len(occ)):
        s = rng[r]
        fill_states(tables, occ[r], start)
        for q in range(sites.shape[1]):
            i, x = sites[r, q], occ[r].copy()
            states[:] = start
            free[0], n_free = i, 1
            for j in near[i]:
                if j < n and j != i and rank[j] > rank[i] and tables.n_species[j] > 1:
                    free[n_free] = j
                    n_free += 1
            _heat_bath(tables, states, n_words, i, x[i], beta[r], mu[r], out[r, q])
            for _ in range(sweeps if n_free > 1 else 0):
                s = _sweep(tables, states, n_words, x, free, n_free, beta[r], mu[r], s)
                _heat_bath(tables, states, n_words, i, x[i], beta[r], mu[r], out[r, q])
            out[r, q] /= out[r, q].sum()


@njit(cache=True, nogil=True)
def _heat_bath(tables, states, n_words, i, old, beta, mu, out) -> None:
    """Add the heat-bath probabilities of site i to ``out`` (S,)."""
    b, n_species = tables.sublattice[i], tables.n_species[i]
    weight, total = np.empty(n_species), 0.0
    for a in range(n_species):
        change = 0.0 if a == old else flip_energy(tables, states, n_words, i, old, a)
        gain = mu[tables.element_index[b, a]] - mu[tables.element_index[b, old]]
        weight[a] = np.exp(min(600.0, beta * (gain - change)))
        total += weight[a]
    for a in range(n_species):
        out[a] += weight[a] / total


@njit(cache=True, nogil=True)
def _sweep(tables, states, n_words, x, free, n_free, beta, mu, s):
    """As many semigrand flips of random ``free`` sites as there are; returns the generator."""
    for _ in range(n_free):
        s = step(s)
        bits = mix(s)
        i = free[below(bits, n_free)]
        old, n_species, b = np.int64(x[i]), tables.n_species[i], tables.sublattice[i]
        new = 1 - old if n_species == 2 else below_low(bits, n_species - 1)
        if n_species > 2 and new >= old:
            new += 1
        delta = flip_energy(tables, states, n_words, i, old, new)
        exponent = beta * (mu[tables.element_index[b, new]] - mu[tables.element_index[b, old]] - delta)
        if exponent < 0.0:
            s = step(s)
            if uniform(mix(s)) >= np.exp(exponent):
                continue
        set_species(tables, x, states, i, new)
    return s
