"""Compiled walks along the number of atoms of one element under a bias, the inner loops of ``metadynamics``.

There are W sets of walkers at C temperatures each: W * C rows of one ``Walkers`` record, set after set.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from alloygen.compiled import njit
from alloygen.hamiltonian.flips import FlipTables, flip_energy, set_species
from alloygen.montecarlo import moves
from alloygen.montecarlo.rng import below, below_low, mix, step, uniform


class Numbers(NamedTuple):
    """What is counted: the atoms of ``element``, kept in low..high (on all sites), by flips of ``sites`` (n,)."""

    element: int
    low: int
    high: int
    sites: np.ndarray


class Law(NamedTuple):
    """The law of each walker and what it has seen.

    beta (C,), mu (C, n_elements); bias (W, C, bins) of the number counted, height (W, C) by which a visit raises it
    sums (W, C, 5, bins) : see ``_flips``
    """

    beta: np.ndarray
    mu: np.ndarray
    bias: np.ndarray
    height: np.ndarray
    sums: np.ndarray


class Exchanges(NamedTuple):
    """Exchanges of neighbouring temperatures.

    at (W, C) : the walker of each set now at each temperature; rounds (W,) of exchanges made, rng (W,) uint64
    pairs (2, P, 2), n_pairs (2,) : even and odd pairs of temperatures; tally (W, 2, 2, P) : those tried and accepted
    heading, trips (W * C,) : 1 since the lowest number, 2 since the highest after it; round trips made
    """

    at: np.ndarray
    pairs: np.ndarray
    n_pairs: np.ndarray
    tally: np.ndarray
    rounds: np.ndarray
    heading: np.ndarray
    trips: np.ndarray
    rng: np.ndarray


@njit()
def _flips(tables, walkers, r, law, w, c, counted):
    """A sweep of flips of walker r, of set w at temperature c, under exp(-beta (E - mu.N) - bias[N_X]); bias grows by height a visit.

    ``law.sums`` collect, by N_X: attempts, those that would raise N_X, those that would lower it, and the chances of both,
    1 / (1 + exp(change of the exponent)), which obey detailed balance like the Metropolis rule and scatter least
    (Bennett, J. Comput. Phys. 22, 245 (1976)).
    """
    beta, mu, bias, height, sums = law.beta[c], law.mu[c], law.bias[w, c], law.height[w, c], law.sums[w, c]
    visits, tried_up, tried_down, up, down = sums[0], sums[1], sums[2], sums[3], sums[4]
    element, low, high, sites = counted.element, counted.low, counted.high, counted.sites
    n_free, n_words = len(sites), walkers.states.shape[1] // walkers.occ.shape[1]
    occ, states, s, e = walkers.occ[r], walkers.states[r], walkers.rng[r], walkers.energy[r]
    counts = walkers.counts[r]
    n = np.int64(counts[element])
    for _ in range(n_free):
        visits[n] += 1.0
        bias[n] += height
        s = step(s)
        bits = mix(s)
        i = sites[below(bits, n_free)]
        old = np.int64(occ[i])
        n_species = tables.n_species[i]
        new = 1 - old if n_species == 2 else below_low(bits, n_species - 1)
        if n_species > 2 and new >= old:
            new += 1
        b_i = tables.sublattice[i]
        before, after = tables.element_index[b_i, old], tables.element_index[b_i, new]
        m = n + (after == element) - (before == element)
        if m < low or m > high:
            continue
        delta = flip_energy(tables, states, n_words, i, old, new)
        exponent = beta * (mu[after] - mu[before] - delta) + bias[n] - bias[m]
        chance = np.exp(-abs(exponent))
        if m != n:
            fermi = (1.0 if exponent >= 0.0 else chance) / (1.0 + chance)
            if m > n:
                tried_up[n] += 1.0
                up[n] += fermi
            else:
                tried_down[n] += 1.0
                down[n] += fermi
        if exponent < 0.0:
            s = step(s)
            if uniform(mix(s)) >= chance:
                continue
        set_species(tables, occ, states, i, new)
        e += delta
        n = m
        counts[before] -= 1.0
        counts[after] += 1.0
    walkers.rng[r], walkers.energy[r] = s, e


@njit()
def walk(
    tables: FlipTables, walkers: moves.Walkers, law: Law, counted: Numbers, exchanges: Exchanges, w: int, sweeps: int
) -> None:
    """``sweeps`` sweeps of set w of the walkers, one per temperature, each followed by exchanges of neighbours."""
    C = len(law.beta)
    first, last = w * C, (w + 1) * C
    at, tally, bias = exchanges.at[w], exchanges.tally[w], law.bias[w]
    for _ in range(sweeps):
        for c in range(C):
            _flips(tables, walkers, first + at[c], law, w, c, counted)
        p = exchanges.rounds[w] % 2
        moves.exchange(exchanges.pairs[p, : exchanges.n_pairs[p]], at, walkers.energy[first:last], walkers.counts[first:last],
                       law.beta, law.mu, bias, counted.element, exchanges.rng, w, tally[p, 0], tally[p, 1])  # fmt: skip
        exchanges.rounds[w] += 1
        for r in range(first, last):
            n = walkers.counts[r, counted.element]
            if n == counted.low:
                exchanges.trips[r] += exchanges.heading[r] == 2
                exchanges.heading[r] = 1
            elif n == counted.high and exchanges.heading[r] == 1:
                exchanges.heading[r] = 2
