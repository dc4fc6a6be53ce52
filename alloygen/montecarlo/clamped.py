"""Conditionals of single sites given some of the others: heat-bath probabilities averaged over a chain that moves the rest.

For x ~ p and decided sites D, a chain that leaves x_D alone and has p(. | x_D) as its law stays in it, so the mean of the heat-bath
probabilities of site i along it has the mean p(x_i | x_D), with less noise than that of x alone (Rao-Blackwell). Only sites near i need to
move: what lies farther is as x has it, which is right too.

The images of x by symmetries of the law that agree with x on the decided sites are as likely as x given these, so that the mean heat bath
of site i over them is a label too. In an ordered phase they say how likely each variant is, where a chain stays in the one of x. The two
are weighed by numbers that depend on the site alone: weights that knew x, such as how many images agree, would bias the label.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from alloygen.compiled import njit
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.hamiltonian.flips import FlipTables, fill_states, flip_energy, set_species
from alloygen.hamiltonian.kernels import put
from alloygen.montecarlo.rng import below, below_low, mix, seeds, step, uniform


class Clamping(NamedTuple):
    """What is decided when a site is, and what may change: order (N,) of decision and its inverse, rank (N,); near (N, m) the sites that
    move with each site, N for none; images (G, N) symmetries of the law as site permutations; share (N,) of the images in the label of a site."""

    order: np.ndarray
    rank: np.ndarray
    near: np.ndarray
    images: np.ndarray
    share: np.ndarray


def clamped_conditionals(
    h: Hamiltonian,
    occ: np.ndarray,
    beta: np.ndarray,
    mu: np.ndarray,
    sites: np.ndarray,
    clamping: Clamping,
    sweeps: int,
    seed: int,
) -> np.ndarray:
    """Estimates (R, Q, S) of p(x_i = a | sites of smaller rank) for sites (R, Q): a chain for each site, and means over images.

    occ (R, N) samples of p at beta (R,) and mu (R, n_elements)
    sweeps : of a chain over the sites near by, one heat-bath probability after each and one before the first
    """
    out = np.zeros((*sites.shape, h.n_species))
    tables, x = h.flip_tables, occ.astype(np.int8)
    _chains(tables, tables.n_words, x, beta, mu, sites, clamping, sweeps, seeds(seed, len(x)), out)
    _images(tables, tables.n_words, x, beta, mu, sites, clamping, out)
    return out


@njit()
def _chains(
    tables: FlipTables,
    n_words: int,
    occ: np.ndarray,
    beta: np.ndarray,
    mu: np.ndarray,
    sites: np.ndarray,
    clamping: Clamping,
    sweeps: int,
    rng: np.ndarray,
    out: np.ndarray,
) -> None:
    n, rank = occ.shape[1], clamping.rank
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
            put(start, states)
            free[0], n_free = i, 1
            for j in clamping.near[i]:
                if j < n and j != i and rank[j] > rank[i] and tables.n_species[j] > 1:
                    free[n_free] = j
                    n_free += 1
            _heat_bath(tables, states, n_words, i, x[i], beta[r], mu[r], out[r, q])
            for _ in range(sweeps if n_free > 1 else 0):
                s = _sweep(tables, states, n_words, x, free, n_free, beta[r], mu[r], s)
                _heat_bath(tables, states, n_words, i, x[i], beta[r], mu[r], out[r, q])
            _normalise(out[r, q])


@njit()
def _images(
    tables: FlipTables,
    n_words: int,
    occ: np.ndarray,
    beta: np.ndarray,
    mu: np.ndarray,
    sites: np.ndarray,
    clamping: Clamping,
    out: np.ndarray,
) -> None:
    """Mix into ``out`` the mean heat bath of each site over the sample and the images that agree with it on what is decided before."""
    n, order, images = occ.shape[1], clamping.order, clamping.images
    states, agree = np.empty(n * n_words, dtype=np.int64), np.empty(len(images), dtype=np.int64)
    mean = np.empty(out.shape[2])
    for r in range(len(occ)):
        x, found, done, last = occ[r], np.zeros((n, out.shape[2])), np.zeros(n, dtype=np.bool_), -1
        for i in sites[r]:
            if clamping.share[i] > 0:
                last = max(last, clamping.rank[i])
        if last < 0:
            continue
        fill_states(tables, x, states)
        for g in range(len(images)):
            agree[g] = 0
            while agree[g] < last and x[images[g, order[agree[g]]]] == x[order[agree[g]]]:
                agree[g] += 1
        for q in range(sites.shape[1]):
            i, share = sites[r, q], clamping.share[sites[r, q]]
            if share == 0:
                continue
            mean[:] = 0.0
            for g in range(-1, len(images)):
                if g < 0 or agree[g] >= clamping.rank[i]:
                    j = i if g < 0 else images[g, i]
                    if not done[j]:
                        _heat_bath(tables, states, n_words, j, x[j], beta[r], mu[r], found[j])
                        done[j] = True
                    for a in range(len(mean)):
                        mean[a] += found[j, a]
            _normalise(mean)
            for a in range(len(mean)):
                out[r, q, a] = (1 - share) * out[r, q, a] + share * mean[a]


@njit(inline="always")
def _normalise(out) -> None:
    total = 0.0
    for a in range(len(out)):
        total += out[a]
    for a in range(len(out)):
        out[a] /= total


@njit()
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


@njit()
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
