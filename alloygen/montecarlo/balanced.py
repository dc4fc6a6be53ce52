"""Moves that keep linear constraints on the numbers of atoms: swaps where these reach everything, else several sites at once.

Two or three uniform sites get other species of the same sum of weights, each set of species as likely as any other. There are as many on
the way back, so that the proposal is symmetric; it is accepted with min(1, exp(-beta [dE - dmu])). With a balance of charges, 3 Mn(3+)
become Li(1+) + 2 Ti(4+), and O(2-) + Ti(4+) become F(1-) + Mn(3+).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from itertools import combinations_with_replacement, product
from typing import NamedTuple

import numpy as np

from alloygen.compiled import njit
from alloygen.counts import Counts
from alloygen.errors import BadCondition
from alloygen.hamiltonian.flips import FlipTables, flip_energy, set_species
from alloygen.lattice import Lattice
from alloygen.montecarlo.moves import Walkers
from alloygen.montecarlo.rng import below, below_low, mix, step, uniform
from alloygen.montecarlo.single_moves import Kernel, Move, Swap
from alloygen.montecarlo.states import log_reached_by_swaps

SITES = (2, 3)  # at once
MOST = 50_000  # tables of numbers that are looked through
SAME = 1e-6  # of logarithms of numbers of configurations


def keeping(counts: Counts) -> Move:
    """The move that keeps constraints and reaches every configuration that meets them: swaps, or two or three sites at once.

    Raises BadCondition where none of them does, or too many numbers are possible to tell.

    Examples
    --------
    >>> import alloygen.data
    >>> from alloygen.conditions.composition import constraint
    >>> lattice = alloygen.data.cuau().on((2, 2, 4)).lattice
    >>> print(keeping(Counts(lattice=lattice, constraint=constraint({"Au": 4}, lattice), known=np.full(16, -1))))
    swap
    """
    free = np.flatnonzero((counts.known < 0) & counts.lattice.changeable)
    one = counts.draw(1, np.random.default_rng(0))
    reached = log_reached_by_swaps(counts.lattice, free, one)
    if reached is not None and abs(reached - counts.log_number) < SAME:
        return Swap()
    for sites in SITES:
        move = Balanced(counts, sites)
        found = move.log_reached(one[0])
        if found is not None and abs(found - counts.log_number) < SAME:
            return move
    raise BadCondition(
        f"expected constraints whose configurations are reached by changes of {SITES[-1]} sites at once, got {counts.constraint.words}, where "
        f"these reach {'too many numbers of atoms to tell' if found is None else 'a part of them'}. Draw with a model, or give the composition"
    )


class Choices(NamedTuple):
    """What sites may hold together: kind (N,) of each site; ``first`` and ``number`` by the code of what they hold, of the rows of ``listed`` (M, sites)
    with the same sum; the code has ``labels`` = kinds times ``species`` digits."""

    kind: np.ndarray
    first: np.ndarray
    number: np.ndarray
    listed: np.ndarray
    labels: int
    species: int


class Balanced(Move):
    """Changes of ``sites`` sites at once that keep the sums of the constraints of ``counts``."""

    name = "balanced"

    def __init__(self, counts: Counts, sites: int):
        self.counts, self.sites = counts, sites

    def __str__(self) -> str:
        return f"{self.name} ({self.counts.constraint.words}, {self.sites} sites)"

    @cached_property
    def _kinds(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(kind of each free site (N,), those that no constraint knows by their number of species; species (K,); weights (K, S, C))."""
        kind, lattice = self.counts.kind.copy(), self.counts.lattice
        idle = (kind < 0) & (self.counts.known < 0)
        kind[idle] = kind.max(initial=-1) + lattice.n_species[idle]
        kind[kind >= 0] = np.unique(kind[kind >= 0], return_inverse=True)[1].ravel()
        first = [int(np.flatnonzero(kind == k)[0]) for k in range(int(kind.max(initial=-1)) + 1)]
        return kind, lattice.n_species[first], self.counts.weights[first]

    @cached_property
    def _choices(self) -> Choices:
        kind, n_species, weights = self._kinds
        k, s = weights.shape[:2]
        first, number = np.zeros((2, (k * s) ** self.sites), dtype=np.int64)
        listed: list[tuple] = []
        for kinds in product(range(k), repeat=self.sites):
            by_sum: dict[tuple, list[tuple]] = {}
            for species in product(*(range(n_species[j]) for j in kinds)):
                total = sum(weights[j, a] for j, a in zip(kinds, species, strict=True))
                by_sum.setdefault(tuple(np.atleast_1d(total).tolist()), []).append(species)
            for group in by_sum.values():
                for species in group:
                    code = 0
                    for j, a in zip(kinds, species, strict=True):
                        code = code * k * s + j * s + a
                    first[code], number[code] = len(listed), len(group)
                listed += group
        return Choices(kind, first, number, np.array(listed, dtype=np.int64), k * s, s)

    def kernel(self, tables: FlipTables, sites: np.ndarray) -> Kernel:
        choices = self._choices

        def run(tables, walkers, lo, hi, beta, mu, attempts, sites):
            _changes(tables, walkers, lo, hi, beta, mu, attempts, sites, choices)

        if len(sites) < self.sites:
            raise BadCondition(f"expected at least {self.sites} sites that may change, got {len(sites)}")
        return run

    def log_states(self, lattice: Lattice, sites: np.ndarray, occ: np.ndarray) -> float | None:
        """All configurations that meet the constraints, as :func:`keeping` has made sure."""
        return self.counts.log_number

    # ------------------------------------------------------------------ what is reached
    def log_reached(self, occ: np.ndarray) -> float | None:
        """Log of the number of configurations that the moves reach from one (N,); None where there are too many numbers of atoms."""
        kind, n_species, weights = self._kinds
        start = tuple(
            tuple(np.bincount(occ[kind == k], minlength=weights.shape[1]).tolist()) for k in range(len(n_species))
        )
        steps = list(self._steps())
        seen, queue = {start}, [start]
        while queue:
            table = queue.pop()
            for minus, plus in steps:
                if all(table[k][a] >= m for (k, a), m in minus.items()):
                    new = [list(row) for row in table]
                    for sign, part in ((-1, minus), (1, plus)):
                        for (k, a), m in part.items():
                            new[k][a] += sign * m
                    found = tuple(map(tuple, new))
                    if found not in seen:
                        seen.add(found)
                        queue.append(found)
            if len(seen) > MOST:
                return None
        ways = [sum(math.lgamma(sum(r) + 1) - sum(math.lgamma(c + 1) for c in r) for r in t) for t in seen]
        return float(np.logaddexp.reduce(ways))

    def _steps(self) -> Iterator[tuple[dict, dict]]:
        """What goes and what comes, {(kind, species): sites}, of every kind of change that alters a number."""
        _, n_species, weights = self._kinds
        for kinds in combinations_with_replacement(range(len(n_species)), self.sites):
            every = list(product(*(range(n_species[k]) for k in kinds)))
            sums = [sum(weights[k, a] for k, a in zip(kinds, species, strict=True)) for species in every]
            for old, new in product(range(len(every)), repeat=2):
                minus, plus = ({(k, a): 0 for k, a in zip(kinds, every[x], strict=True)} for x in (old, new))
                for part, x in ((minus, old), (plus, new)):
                    for k, a in zip(kinds, every[x], strict=True):
                        part[k, a] += 1
                if minus != plus and np.array_equal(sums[old], sums[new]):
                    yield minus, plus


@njit()
def _pick(choices: Choices, occ: np.ndarray, sites: np.ndarray, at: np.ndarray, old: np.ndarray, s: np.uint64):
    """Different sites into ``at`` and what they hold into ``old``; (row of what they are to hold, -1 where there is but one way; rng state)."""
    m, found, code = len(at), 0, 0
    while found < m:
        s = step(s)
        i, fresh = sites[below(mix(s), len(sites))], True
        for q in range(found):
            fresh = fresh and at[q] != i
        if fresh:
            at[found], old[found] = i, occ[i]
            code = code * choices.labels + choices.kind[i] * choices.species + old[found]
            found += 1
    if choices.number[code] < 2:
        return np.int64(-1), s
    s = step(s)
    return choices.first[code] + below_low(mix(s), choices.number[code]), s


@njit()
def _put(tables: FlipTables, occ: np.ndarray, states: np.ndarray, at: np.ndarray, new: np.ndarray) -> float:
    """Species ``new`` (m,) onto sites ``at``, one after another; the change of the energy."""
    n_words, delta = len(states) // len(occ), 0.0
    for q in range(len(at)):
        old = np.int64(occ[at[q]])
        if new[q] != old:
            delta += flip_energy(tables, states, n_words, at[q], old, new[q])
            set_species(tables, occ, states, at[q], new[q])
    return delta


@njit()
def _changes(
    tables: FlipTables,
    walkers: Walkers,
    lo: int,
    hi: int,
    beta: np.ndarray,
    mu: np.ndarray,
    attempts: int,
    sites: np.ndarray,
    choices: Choices,
) -> None:
    """``attempts`` changes of as many sites at once as the choices have columns, of the walkers lo..hi."""
    m = choices.listed.shape[1]
    at, old = np.empty(m, dtype=np.int64), np.empty(m, dtype=np.int64)
    for r in range(lo, hi):
        occ, states, s = walkers.occ[r], walkers.states[r], walkers.rng[r]
        for _ in range(attempts):
            row, s = _pick(choices, occ, sites, at, old, s)
            if row < 0:
                continue
            new, gain = choices.listed[row], 0.0
            delta = _put(tables, occ, states, at, new)
            for q in range(m):
                of = tables.element_index[tables.sublattice[at[q]]]
                gain += mu[r, of[new[q]]] - mu[r, of[old[q]]]
            exponent = beta[r] * (gain - delta)
            if exponent < 0.0:
                s = step(s)
                if uniform(mix(s)) >= np.exp(exponent):
                    _put(tables, occ, states, at, old)
                    continue
            for q in range(m):
                of = tables.element_index[tables.sublattice[at[q]]]
                walkers.counts[r, of[old[q]]] -= 1.0
                walkers.counts[r, of[new[q]]] += 1.0
            walkers.energy[r] += delta
            walkers.accepted[r] += 1
        walkers.rng[r] = s
        walkers.tried[r] += attempts
