"""Ground states at every composition: annealed swaps, and semigrand anneals that challenge the convex hull.

The hull is challenged as columns are in linear programming (Gilmore and Gomory, Oper. Res. 9, 849 (1961)): a state below
the hull would lower E - mu.N under a facet with slope mu, so semigrand anneals at the mu of every facet look for one,
until none is found.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from math import comb

import numpy as np

from alloygen.arguments import seed_from, settings
from alloygen.edge.problem import AtomsLike, Fixed, HamiltonianLike, Problem
from alloygen.errors import AlloygenError, NotConverged
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.limits import require_rows
from alloygen.montecarlo.annealing import (
    TOL,
    Cooler,
    Cooling,
    quench_swaps,
    random_rows,
    spread_of_flips,
    turn,
)
from alloygen.montecarlo.rng import seeds
from alloygen.montecarlo.single_moves import Flip, Swap
from alloygen.montecarlo.walkers import make_walkers
from alloygen.results.hull import GroundStates, atom_counts, by_element, held_atoms, kinds_of, lower_hull
from alloygen.runtime.job import Job
from alloygen.runtime.progress import tqdm

GRID = 200  # compositions of the automatic grid, beyond binaries
ROUNDS = 5


# ---------------------------------------------------------------------- the search over compositions
def ground_states(
    atoms: AtomsLike,
    compositions: Sequence[Mapping[str, int] | int] | Mapping[str, int] | int | None = None,
    *,
    hamiltonian: HamiltonianLike | None = None,
    fixed: Fixed | None = None,
    cooling: Cooling | None = None,
    seed: int = 0,
    job: Job | None = None,
) -> GroundStates:
    """The lowest energy at each composition: annealed swaps, then neighbours one atom away, then semigrand anneals.

    Parameters
    ----------
    atoms : ase.Atoms, a pymatgen Structure or a path, with ``hamiltonian`` as in :func:`alloygen.sample`; a Hamiltonian on a supercell;
        or a :class:`~alloygen.edge.problem.Problem`
    compositions : atoms of the supercell by element, as dicts (one exchangeable element may be left out and takes the
        rest) or, for binaries, numbers of atoms of the last exchangeable element. By default every one for a binary;
        otherwise all, or a coarse grid where these are more than 200, plus whatever is found below its hull
    fixed : sites that are held, as in :func:`alloygen.sample`
    cooling : temperatures, attempts, and the walkers of each composition

    All walkers of all compositions run as one batch (about 10 bytes per walker and site); the pure ends cost nothing.
    Where sublattices share elements only in part, swaps cannot reach every way to spread a composition over them; the
    restarts begin from different ones. Same seed, same result, for any number of threads. Warns with NotConverged where the
    hull still sinks at the end; raises AlloygenError for compositions that do not fit and numbers that cannot be used.

    Examples
    --------
    >>> import alloygen
    >>> found = ground_states(alloygen.data.cuau().on((2, 2, 4)), cooling=Cooling(sweeps=5))
    >>> found
    GroundStates('CuAu (formation energies)', 17 compositions, on the hull: Cu16, Cu12Au4, Cu8Au8, Cu4Au12, Au16)
    >>> [round(t.mu, 6) for t in found.transitions()]
    [-0.136669, -0.008061, 0.069713, 0.075017]
    """
    problem, seed = Problem.of(atoms, _named(compositions), hamiltonian, fixed), seed_from(seed)
    h, sites, job = problem.hamiltonian, problem.free, settings(job, Job, "job")
    cooling = settings(cooling, Cooling, "cooling")
    restarts, base = cooling.restarts, problem.base.astype(np.int8)
    table = _Lowest(h, _compositions(h, base, sites, compositions))
    require_rows(
        restarts * len(table.counts), h.n_sites, f"walkers, {restarts} restarts of {len(table.counts)} compositions"
    )
    rng = np.random.default_rng(seed)
    start = np.concatenate([_starts(h, base, sites, c, restarts, rng) for c in table.counts])
    betas = 1 / (h.kB * cooling.temperatures(spread_of_flips(problem, rng)))
    with tqdm(total=cooling.steps, disable=not job.progress) as bar:
        cool = Cooler(h, betas, cooling.sweeps, sites, job.threads, bar)
        annealed = cool(start, Swap(), np.zeros((len(start), len(h.elements))), [seed, 0])
        table.offer(*annealed)
        _from_neighbours(table, sites)
        _below_facets(table, cool, problem, restarts, compositions is None, rng, seed)
    return replace(
        table.result(sites, annealed[1].reshape(-1, restarts), compositions is None, problem.atoms_map), seed=seed
    )


def _named(compositions) -> list[Mapping]:
    """The compositions that name elements: together with the atoms they say which alloy is meant."""
    each = compositions if isinstance(compositions, Sequence) else [compositions]
    return [c for c in each if isinstance(c, Mapping)]


class _Lowest:
    """The best configuration so far of each composition."""

    def __init__(self, h: Hamiltonian, counts: np.ndarray):
        self.h, self.counts = h, [np.array(c) for c in counts]
        self.row = {tuple(c): k for k, c in enumerate(counts.tolist())}
        self.occ = [np.zeros(h.n_sites, dtype=np.int8)] * len(counts)
        self.energy = [np.inf] * len(counts)

    def offer(self, occ: np.ndarray, energy: np.ndarray, grow=False) -> np.ndarray:
        """Which rows (B,) are the best now; those of a new composition count where ``grow`` (B,)."""
        taken, grow = np.zeros(len(occ), dtype=bool), np.broadcast_to(grow, len(occ))
        for b, counts in enumerate(atom_counts(self.h, occ)):
            k = self.row.get(tuple(counts.tolist()))
            if k is None and grow[b]:
                k = self.row[tuple(counts.tolist())] = len(self.counts)
                self.counts.append(counts)
                self.occ.append(occ[b])
                self.energy.append(np.inf)
            if k is not None and energy[b] < self.energy[k] - TOL:
                self.occ[k], self.energy[k], taken[b] = occ[b].copy(), float(energy[b]), True
        return taken

    def result(self, sites, annealed: np.ndarray, in_order: bool, atoms_map) -> GroundStates:
        """All of it; ``annealed`` (M, restarts) are the energies that walkers reached at the first M compositions."""
        energy = np.array(self.energy)
        hits = np.zeros(len(energy), dtype=np.int64)
        hits[: len(annealed)] = (annealed < energy[: len(annealed), None] + 1e-8).sum(1)
        order = np.lexsort(np.array(self.counts).T) if in_order else np.arange(len(energy))
        pick = lambda a: np.array(a)[order]  # noqa: E731
        return GroundStates(self.h, pick(self.counts), pick(self.occ), pick(energy), sites, pick(hits), atoms_map)


def _from_neighbours(table: _Lowest, sites: np.ndarray) -> None:
    """Turn the states of the nearest compositions into each other by best flips, quench, and repeat while it helps."""
    h, n = table.h, len(table.counts)
    counts, w = np.array(table.counts), make_walkers(h, table.occ[0][None], seeds(0, 1))
    done: dict[tuple[int, int], float] = {}
    size = lambda c: np.abs(counts - counts[c]).sum(1) + (np.arange(n) == c) * 4 * h.n_sites  # noqa: E731
    near = [np.flatnonzero(size(c) == size(c).min()) for c in range(n)] if n > 1 else [np.zeros(0, dtype=np.int64)]
    better = True
    while better:
        better = False
        for c in [*range(n), *reversed(range(n))]:
            for s in near[c]:
                if done.get((s, c)) == table.energy[s]:
                    continue
                done[s, c] = table.energy[s]
                w.occ[0] = table.occ[s]
                if turn(h.flip_tables, w, 0, counts[s] - counts[c], sites):
                    quench_swaps(h.flip_tables, w, 0, 1, sites)
                    better |= bool(table.offer(w.occ, h.energy(w.occ)).any())


def _below_facets(table: _Lowest, cool: Cooler, problem: Problem, restarts: int, grow: bool, rng, seed: int) -> None:
    """Semigrand anneals at the mu of the facets of the hull (GRID of them at most), until none finds a state below it.

    New compositions join where they are on the hull that all states found make together.
    """
    h = table.h
    for k in range(1, ROUNDS + 1 if len(table.counts) > 1 else 1):
        hull = lower_hull(table.counts, table.energy)
        mu = np.unique(hull.mu.round(9), axis=0)
        mu = np.repeat(mu if len(mu) <= GRID else rng.choice(mu, GRID, replace=False), restarts, 0)
        cool.bar.total += len(cool.betas)
        occ, energy = cool(random_rows(problem, len(mu), rng), Flip(), mu, [seed, k])
        counts = atom_counts(h, occ)
        below = energy < hull.at(counts) - 1e-8
        joint = lower_hull(np.vstack([table.counts, counts[below]]), np.append(table.energy, energy[below]))
        taken = table.offer(occ, energy, grow & below & (energy < joint.at(counts) + 1e-8))
        if taken.any():
            _from_neighbours(table, cool.sites)
        if not (taken & below).any():
            return
    if len(table.counts) > 1:
        warnings.warn(
            f"expected no state below the hull after {ROUNDS} rounds of semigrand anneals, the last still found "
            f"{int((taken & below).sum())}; raise sweeps or restarts, or name the compositions that matter",
            NotConverged, stacklevel=3,
        )  # fmt: skip


# ---------------------------------------------------------------------- compositions and starts
def _compositions(h: Hamiltonian, base, sites, given) -> np.ndarray:
    """Counts (M, n_elements) of the whole supercell, each once."""
    held, kinds = held_atoms(h, base, sites), kinds_of(h, sites)
    if given is not None:
        given = [given] if isinstance(given, (dict, int, np.integer)) else given
        rows = [_atoms_of(h, held, kinds, len(sites), c) for c in given]
        if not rows:
            raise AlloygenError("expected at least one composition, got none; leave `compositions` out for all of them")
        return np.array(list(dict.fromkeys(rows)))
    free = sorted({e for kind in kinds for e in kind})
    total = np.prod([comb(len(s) + len(k) - 1, len(k) - 1) for k, s in kinds.items()], dtype=float)
    limit = np.inf if len(free) == 2 or total <= GRID else GRID ** (1 / len(kinds))
    every = {tuple(held)}
    for kind, where in kinds.items():
        new = _simplex(len(where), len(kind), limit)
        full = np.zeros((len(new), len(h.elements)), dtype=np.int64)
        full[:, list(kind)] = new
        every = {tuple(np.add(a, b).tolist()) for a in every for b in full}
    return np.array(sorted(every, key=lambda r: r[::-1]))


def _simplex(n: int, k: int, limit: float) -> np.ndarray:
    """Ways to put k elements on n sites, in d equal steps: all (d = n), or at most ``limit``; d divides n if it can."""
    fits = [d for d in range(1, n + 1) if comb(d + k - 1, k - 1) <= limit] or [1]
    d = max(fits, key=lambda d: (n % d == 0 and 2 * d > max(fits), d))
    bars = np.array(list(combinations(range(d + k - 1), k - 1)), dtype=np.int64).reshape(-1, k - 1)
    edges = np.column_stack([bars - np.arange(k - 1), np.full(len(bars), d)])
    return np.diff(np.rint(edges * n / d).astype(np.int64), axis=1, prepend=0)


def _atoms_of(h: Hamiltonian, held, kinds, n_free: int, given) -> tuple[int, ...]:
    """One composition as counts of all elements."""
    free = sorted({e for kind in kinds for e in kind})
    names = [h.elements[e] for e in free]
    if not isinstance(given, dict) and len(free) == 2:
        given = {names[1]: given}
    whole = isinstance(given, dict) and all(isinstance(n, (int, np.integer)) and n >= 0 for n in given.values())
    missing = [e for e in names if whole and e not in given]
    if not whole or len(missing) > 1 or not set(given) <= set(h.elements):
        raise AlloygenError(
            f"expected a composition as whole numbers of atoms by element, at most one of {names} left out, got "
            f"{given!r}. Write for example {{{names[-1]!r}: 4}}"
        )
    counts = np.array([given.get(e, held[k]) for k, e in enumerate(h.elements)])
    if missing:
        k = h.elements.index(missing[0])
        counts[k] = 0
        counts[k] = h.n_sites - counts.sum()
    want = counts - held
    if want.sum() != n_free or want.min() < 0 or want[[k not in free for k in range(len(want))]].any():
        raise AlloygenError(
            f"expected {h.n_sites} atoms, of which {by_element(h, held)} on sites that cannot change, got {given!r}, "
            f"that is {by_element(h, counts)}. Count all atoms of the supercell"
        )
    return tuple(counts.tolist())


def _starts(h: Hamiltonian, base, sites, counts, n: int, rng) -> np.ndarray:
    """Random occupations (n, N) of one composition."""
    from scipy.optimize import linear_sum_assignment

    tables, sub = h.flip_tables, h.lattice.sublattice[sites]
    slots = np.repeat(np.arange(len(counts)), counts - held_atoms(h, base, sites))
    barred = tables.species[sub][:, slots] < 0  # (sites, slots)
    out = np.repeat(base[None], n, 0)
    for r in range(n):
        if barred.any():
            placed = slots[linear_sum_assignment(rng.random(barred.shape) + 1e3 * len(slots) * barred)[1]]
        else:
            placed = rng.permutation(slots)
        out[r, sites] = tables.species[sub, placed]
    if (out < 0).any():
        raise AlloygenError(
            f"expected a composition that the sublattices {h.lattice.species} can hold, got {by_element(h, counts)}"
        )
    return out
