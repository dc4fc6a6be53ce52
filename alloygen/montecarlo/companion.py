"""Hot chains that go with independent samples deep in a phase, to show the rare states that these miss.

Deep means: from the lowest configuration each single flip costs COST kT or more, and three quarters of the weight of the samples fall
into the same minimum of E - mu.N at T = 0 (variants by symmetry are one: their energies agree). There a ladder of replica exchange
from a little above T to where flips come easily, started from the samples, is cheap. Where the samples show another minimum too, the
ladder must have made TRIPS round trips, which balance the two; else it would only repeat what it was given.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from alloygen.arrays import as_array
from alloygen.conditions.record import Condition, semigrand
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.montecarlo.annealing import quench_flips
from alloygen.montecarlo.chains import Chains
from alloygen.montecarlo.tempering import grid_pairs

COST = 3.0  # kT that a flip costs at least in a phase that counts as deep
FREE = 2.0  # kT that it costs at most at the top of the ladder
ALONE = 0.75  # weight of the samples in one minimum
STEP, RUNGS = 1.35, 8  # ratio of neighbouring temperatures, and the largest number of these
COPIES, SAMPLES, SWEEPS = 16, 160, 2
TRIPS = 100  # round trips of the ladder that balance a second phase, where samples show one


@dataclass(frozen=True)
class Hot:
    """T (K,) rising; occ (K * copies * M, N) int8, energy likewise: state by state, the chains of a state one after another"""

    T: np.ndarray
    occ: np.ndarray
    energy: np.ndarray
    copies: int


def companion(
    h: Hamiltonian, occ: np.ndarray, weights: np.ndarray, at: Condition, seed: int, known: np.ndarray | None = None
) -> Hot | None:
    """Hot samples beside those of one condition, or None where these are not deep in one phase.

    occ : (n, N) independent samples, weights : (n,) summing to 1; known : (N,) species index of sites that never change, -1 where free

    Examples
    --------
    Copper with a little gold at 400 K is deep in its phase, at 2000 K it is not:

    >>> import alloygen.data
    >>> h = alloygen.data.cuau().on((2, 2, 4))
    >>> at = h.condition(400.0, [0.0, -0.24])
    >>> copper, weights = np.zeros((100, 16), dtype=np.int8), np.full(100, 0.01)
    >>> hot = companion(h, copper, weights, at, seed=0)
    >>> hot.T.round().tolist(), companion(h, copper, weights, at.at(2500.0), seed=0) is None
    ([540.0, 729.0, 984.0, 1329.0, 1794.0], True)
    """
    cost, alone = _phase(h, occ, weights, at, known)
    if cost < COST or alone < ALONE:
        return None
    ladder = _ladder(float(at.T), float(at.T) * cost / FREE)
    k = len(ladder)
    rows = np.random.default_rng([seed, k]).choice(len(occ), size=COPIES, p=weights)
    start = occ[np.repeat(rows, k)]
    chains = Chains(h, at.at(ladder), seed, grid_pairs(k, 1), occ=start, known=known, copies=COPIES)
    found, energy = np.empty((k, COPIES, SAMPLES, h.n_sites), dtype=np.int8), np.empty((k, COPIES, SAMPLES))
    for _ in range(SAMPLES // 5):
        chains.step(SWEEPS)
    chains.reset_counters()
    for m in range(SAMPLES):
        chains.step(SWEEPS)
        now, e = chains.configurations()
        found[:, :, m] = now.reshape(COPIES, k, -1).swapaxes(0, 1)
        energy[:, :, m] = e.reshape(COPIES, k).T
    if alone < 1.0 - 1e-12 and chains.trips.sum() < TRIPS:
        return None
    return Hot(ladder, found.reshape(-1, h.n_sites), energy.ravel(), COPIES)


def _phase(h: Hamiltonian, occ: np.ndarray, weights: np.ndarray, at: Condition, known) -> tuple[float, float]:
    """(smallest cost of a flip from the lowest minimum in kT, weight of the samples that fall into it or its like)."""
    counts, kT = h.counts(occ), float(at.kT)
    u = semigrand(h.energy(occ), counts, as_array(at.mu))
    _, first, row = np.unique(np.column_stack([u.round(9), counts]), axis=0, return_index=True, return_inverse=True)  # fmt: skip
    alike, lowest = np.bincount(row.ravel(), weights), first[u[first].argmin()]
    start, cost = _minimum(h, occ[lowest : lowest + 1], at, known)
    if cost < COST * kT:
        return cost / kT, 0.0
    ends, _ = _minimum(h, occ[first], at, known)
    return cost / kT, float(alike[np.abs(ends - start[0]) < 1e-8].sum())


def _minimum(h: Hamiltonian, occ: np.ndarray, at: Condition, known) -> tuple[np.ndarray, float]:
    """(u (B,) of the minima that configurations (B, N) fall into, flip by flip; the cheapest flip from the first one)."""
    chains = Chains(h, at.expand(len(occ)), occ=occ, known=known)
    quench_flips(chains.tables, chains.walkers, 0, len(occ), chains.mu, chains.sites)
    ends, mu = chains.walkers.occ, as_array(at.mu)
    return h.semigrand_energy(ends, mu), float(h.substitutions(ends[0], mu, chains.sites).min())


def _ladder(T: float, top: float) -> np.ndarray:
    """Temperatures above T, K of them with one ratio, to ``top`` or a little beyond, two at least."""
    k = int(np.clip(np.ceil(np.log(top / T) / np.log(STEP)), 2, RUNGS)) if top > T else 2
    return T * max(STEP, (top / T) ** (1.0 / k)) ** np.arange(1, k + 1)
