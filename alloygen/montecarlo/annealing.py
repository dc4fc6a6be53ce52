"""Ground states by simulated annealing: walkers cooled geometrically, quenched, and compared composition by composition.

    T_k = T_start (T_end / T_start)^(k / (steps - 1)),    then T = 0

(Kirkpatrick, Gelatt and Vecchi, Science 220, 671 (1983)). The convex hull over compositions is then challenged as columns
are in linear programming (Gilmore and Gomory, Oper. Res. 9, 849 (1961)): a state below the hull would lower E - mu.N under
a facet with slope mu, so semigrand anneals at the mu of every facet look for one, until none is found.
"""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, pairwise, product
from math import comb
from typing import NamedTuple

import numpy as np
import torch
from numba import njit

from alloygen.conditions import chemical_potentials, temperature
from alloygen.errors import AlloygenError, NotConverged
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.hamiltonian.flips import fill_states, flip_energy, set_species
from alloygen.montecarlo import moves
from alloygen.montecarlo.rng import seeds
from alloygen.progress import tqdm

TOL = 1e-10  # energies that differ by less are one
GRID = 200  # compositions of the automatic grid, beyond binaries
ROUNDS = 5
COLUMNS = ("energy", "formation_energy", "distance", "on_hull", "hits")


# ---------------------------------------------------------------------- compiled descents
@njit(cache=True, nogil=True)
def _quench_flips(tables, w, lo, hi, mu, sites):
    """The best flip of one site after another, until no flip lowers E - mu.N by more than TOL."""
    n_words = w.states.shape[1] // w.occ.shape[1]
    for r in range(lo, hi):
        occ, moved = w.occ[r], True
        while moved:
            moved = False
            for i in sites:
                old, best, to, elements = np.int64(occ[i]), -TOL, -1, tables.element_index[tables.sublattice[i]]
                for new in range(tables.n_species[i]):
                    if new != old:
                        gain = flip_energy(tables, w.states[r], n_words, i, old, new)
                        gain += mu[r, elements[old]] - mu[r, elements[new]]
                        if gain < best:
                            best, to = gain, new
                if to >= 0:
                    set_species(tables, occ, w.states[r], i, to)
                    moved = True


@njit(cache=True, nogil=True)
def _quench_swaps(tables, w, lo, hi, sites):
    """The best partner of one site after another, until no swap lowers the energy by more than TOL."""
    n_words = w.states.shape[1] // w.occ.shape[1]
    for r in range(lo, hi):
        occ, states, moved = w.occ[r], w.states[r], True
        while moved:
            moved = False
            for k in range(len(sites)):
                i, best, at, to_i, to_j = sites[k], -TOL, -1, -1, -1
                was, elements = np.int64(occ[i]), tables.element_index[tables.sublattice[i]]
                for new in range(tables.n_species[i]):
                    if new == was:
                        continue
                    first = flip_energy(tables, states, n_words, i, was, new)
                    set_species(tables, occ, states, i, new)
                    for j in sites[k + 1 :]:
                        back = tables.species[tables.sublattice[j], elements[was]]
                        if tables.element_index[tables.sublattice[j], occ[j]] == elements[new] and back >= 0:
                            gain = first + flip_energy(tables, states, n_words, j, np.int64(occ[j]), back)
                            if gain < best:
                                best, at, to_i, to_j = gain, j, new, back
                    set_species(tables, occ, states, i, was)
                if at >= 0:
                    set_species(tables, occ, states, i, to_i)
                    set_species(tables, occ, states, at, to_j)
                    moved = True


@njit(cache=True, nogil=True)
def _turn(tables, w, r, surplus, sites):
    """Turn surplus (n_elements,) > 0 into < 0 by the best single flip, again and again; False where no site allows it."""
    n_words = w.states.shape[1] // w.occ.shape[1]
    fill_states(tables, w.occ[r], w.states[r])
    while (surplus != 0).any():
        best, at, to = np.inf, -1, -1
        for i in sites:
            old, elements = np.int64(w.occ[r, i]), tables.element_index[tables.sublattice[i]]
            for new in range(tables.n_species[i]):
                if surplus[elements[old]] > 0 and surplus[elements[new]] < 0:
                    gain = flip_energy(tables, w.states[r], n_words, i, old, new)
                    if gain < best:
                        best, at, to = gain, i, new
        if at < 0:
            return False
        elements = tables.element_index[tables.sublattice[at]]
        surplus[elements[w.occ[r, at]]] -= 1
        surplus[elements[to]] += 1
        set_species(tables, w.occ[r], w.states[r], at, to)
    return True


# ---------------------------------------------------------------------- cooling
@dataclass(frozen=True, eq=False, repr=False)
class Annealed:
    """What ``anneal`` found: occ (restarts, N) int8, energy (restarts,) of the supercell, mu (n_elements,).

    Every row is a local minimum of ``objective`` = E - mu.N (E for swaps); ``best`` is the row of the lowest.
    """

    hamiltonian: Hamiltonian
    occ: np.ndarray
    energy: np.ndarray
    mu: np.ndarray
    move: str

    @property
    def counts(self) -> np.ndarray:
        """Atoms of each element, int64 (restarts, n_elements)."""
        return _counts(self.hamiltonian, self.occ)

    @property
    def objective(self) -> np.ndarray:
        return self.energy - self.counts @ self.mu

    @property
    def best(self) -> int:
        return int(self.objective.argmin())

    def __repr__(self) -> str:
        low, n = self.objective[self.best], int((self.objective < self.objective[self.best] + 1e-8).sum())
        return f"Annealed({self.move!r}, lowest {low:.9g} {self.hamiltonian.unit}, found by {n} of {len(self.occ)} walkers)"


def anneal(hamiltonian: Hamiltonian, T_start, T_end, *, mu=None, occ=None, move: str = "flip", sweeps: int = 20,
           steps: int = 40, restarts: int = 8, seed: int = 0, threads: int = 1, fixed=None, progress: bool = False) -> Annealed:  # fmt: skip
    """Cool ``restarts`` independent walkers from T_start to T_end, quench them, and keep the best that each has seen.

    Parameters
    ----------
    T_start, T_end : temperatures (kelvin for alloys), T_start >= T_end > 0, ``steps`` of them with equal ratios
    mu : chemical potentials for flips (see ``conditions.chemical_potentials``); 0 for all if not given
    occ : (N,) or (restarts, N) to start from; random without it. Swaps keep its composition and need it
    move : "flip" (semigrand, minimises E - mu.N) or "swap" (canonical, minimises E)
    sweeps : attempts per changeable site at each temperature
    fixed : sites that never change, indices or a mask (N,); needs ``occ``, which says what they hold

    The same seed gives the same result for any number of threads. Raises AlloygenError for what cannot be run.

    Examples
    --------
    >>> from alloygen.hamiltonian.ising import ising
    >>> anneal(ising(6, J=-1), 5.0, 0.2, seed=1)                    # the antiferromagnet: E = -2 per site
    Annealed('flip', lowest -72 J, found by 8 of 8 walkers)
    """
    h = hamiltonian
    _require_numbers(seed, sweeps=sweeps, steps=steps, restarts=restarts, threads=threads)
    if move not in ("flip", "swap") or (move == "swap" and (occ is None or mu is not None)):
        raise AlloygenError(
            f'expected move="flip", or move="swap" with a start (occ=) and no mu, got move={move!r}, '
            f"occ {'not given' if occ is None else 'given'} and mu={mu!r}"
        )
    sites = _changeable(h, fixed, occ)
    start = h.random(restarts, torch.Generator().manual_seed(seed)) if occ is None else h.check(occ)
    if len(start) not in (1, restarts):
        raise AlloygenError(f"expected one start, or one per restart ({restarts}), got {len(start)}")
    mu = np.zeros(len(h.elements)) if mu is None else chemical_potentials(mu, h.lattice)
    start = np.repeat(start.numpy(), restarts // len(start), 0)
    with tqdm(total=steps, disable=not progress) as bar:
        cool = _Cooler(h, _schedule(h, T_start, T_end, steps), int(sweeps), sites, int(threads), bar)
        occ, energy = cool(start, move, np.tile(mu, (restarts, 1)), seed)
    return Annealed(h, occ, energy, mu, move)


def _schedule(h: Hamiltonian, T_start, T_end, steps: int) -> np.ndarray:
    hot, cold = temperature(T_start), temperature(T_end)
    if hot < cold:
        raise AlloygenError(f"expected T_start >= T_end, got {T_start} and {T_end}: swap them")
    return 1 / (h.kB * np.geomspace(hot, cold, steps))


@dataclass
class _Cooler:
    """(occ, move, mu by row, seed) -> (occ, energy) of the best local minima."""

    h: Hamiltonian
    betas: np.ndarray
    sweeps: int
    sites: np.ndarray
    threads: int
    bar: object

    def __call__(self, occ: np.ndarray, move: str, mu: np.ndarray, seed) -> tuple[np.ndarray, np.ndarray]:
        occ, tables = occ.astype(np.int8), self.h.flip_tables
        rows = _can_swap(self.h, occ, self.sites) if move == "swap" else np.arange(len(occ))
        w, mu = _walkers(self.h, occ[rows], seed), mu[rows]
        moves.fill(tables, w)
        best, lowest = w.occ.copy(), w.energy - (w.counts * mu).sum(1)
        parts = list(pairwise(np.linspace(0, len(rows), min(len(rows), 8 * self.threads) + 1).astype(int)))
        attempts, swap = self.sweeps * len(self.sites), move == "swap"
        with ThreadPoolExecutor(self.threads) as pool:
            run = lambda kernel, *a: list(pool.map(lambda p: kernel(tables, w, *p, *a, self.sites), parts))  # noqa: E731
            quench = (lambda: run(_quench_swaps)) if swap else (lambda: run(_quench_flips, mu))
            for beta in [*self.betas, None]:  # None is T = 0
                b = np.full(len(rows), beta or 0.0)
                if beta is None:
                    quench()
                    w.energy[:], w.counts[:] = _energy(self.h, w.occ), _counts(self.h, w.occ)
                else:
                    run(moves.swaps, b, attempts) if swap else run(moves.flips, b, mu, attempts)
                    self.bar.update()
                now = w.energy - (w.counts * mu).sum(1)
                better = now < lowest - TOL * (beta is not None)  # between equals the quenched one
                best[better], lowest[better] = w.occ[better], now[better]
            w.occ[:] = best
            moves.fill(tables, w)
            quench()
        occ[rows] = w.occ
        return occ, _energy(self.h, occ)


# ---------------------------------------------------------------------- what was found
class LowerHull(NamedTuple):
    """Lower convex hull of E over compositions, as facets E = base + mu.N: mu (F, n_elements), base (F,)."""

    mu: np.ndarray
    base: np.ndarray

    def at(self, counts) -> np.ndarray:
        """Energy of the hull (M,) at compositions (M, n_elements): the highest of its facets."""
        return (self.base + np.asarray(counts) @ self.mu.T).max(1)


class Transition(NamedTuple):
    """mu = mu(second element) - mu(first) at which two phases (atoms by element) have equal E - mu.N at T = 0."""

    mu: float
    below: dict[str, int]
    above: dict[str, int]


def lower_hull(counts, energy) -> LowerHull:
    """The lower convex hull of points (counts (M, n_elements), energy (M,)), by qhull.

    Compositions are reduced to the directions that occur, a linear part is taken from the energies, and one point is
    put high above the middle, so that flat and few-point hulls are no special cases.

    Examples
    --------
    >>> hull = lower_hull([[2, 0], [1, 1], [0, 2]], [0.0, -1.0, 4.0])
    >>> sorted((hull.mu[:, 1] - hull.mu[:, 0]).round(9).tolist()), hull.at([[1, 1]]).round(9).tolist()
    ([-1.0, 5.0], [-1.0])
    """
    from scipy.spatial import ConvexHull

    counts, energy = np.asarray(counts, dtype=float), np.asarray(energy, dtype=float)
    centre = counts.mean(0)
    _, size, axes = np.linalg.svd(counts - centre, full_matrices=False)
    axes = axes[size > 1e-9 * max(1.0, size[0])]
    if not len(axes):
        return LowerHull(np.zeros((1, counts.shape[1])), energy.min(keepdims=True))
    z = (counts - centre) @ axes.T
    width = np.abs(z).max()
    plane = np.linalg.lstsq(np.column_stack([z, np.ones(len(z))]), energy, rcond=None)[0]
    rest = energy - z @ plane[:-1] - plane[-1]
    scale = max(np.ptp(rest), 1e-9 * max(1.0, np.abs(energy).max()))
    points = np.column_stack([z / width, rest / scale])
    top = np.append(np.zeros(len(axes)), points[:, -1].max() + 1)
    facets = ConvexHull(np.vstack([points, top])).equations
    facets = facets[facets[:, -2] < -1e-9]
    slope = plane[:-1] - scale / width * facets[:, :-2] / facets[:, -2:-1]
    mu = slope @ axes
    return LowerHull(mu, plane[-1] - scale * facets[:, -1] / facets[:, -2] - mu @ centre)


@dataclass(frozen=True, eq=False, repr=False)
class GroundStates:
    """The lowest-energy configuration found at each composition, and their convex hull.

    counts : (M, n_elements) int64 atoms of each element; occ : (M, N) int8; energy : (M,) of the supercell
    sites : (n,) the exchangeable sites, which energies "per site" refer to
    hits : (M,) how many annealed walkers ended at this energy by themselves; 0 or 1 asks for more sweeps or restarts
    atoms_map : object with ``to_atoms(occ_row) -> ase.Atoms``; None where no structures are needed

    Pure end members (every exchangeable site of a kind alike) belong to the hull whether they are among the rows or not.
    Energies are upper bounds: annealing proves no ground state. Made by ``ground_states``.
    """

    hamiltonian: Hamiltonian
    counts: np.ndarray
    occ: np.ndarray
    energy: np.ndarray
    sites: np.ndarray
    hits: np.ndarray
    atoms_map: object | None = None

    def __len__(self) -> int:
        return len(self.energy)

    @cached_property
    def ends(self) -> tuple[np.ndarray, np.ndarray]:
        """(occ, energy) of the end members: each kind of exchangeable sites filled with one element."""
        kinds, lattice, out = _kinds(self.hamiltonian, self.sites), self.hamiltonian.lattice, []
        for fill in product(*kinds):
            row = self.occ[0].copy()
            for element, sites in zip(fill, kinds.values(), strict=True):
                row[sites] = self.hamiltonian.flip_tables.species[lattice.sublattice[sites], element]
            out.append(row)
        return np.array(out), _energy(self.hamiltonian, np.array(out))

    @cached_property
    def _points(self) -> tuple[np.ndarray, np.ndarray]:
        ends, energy = self.ends
        return np.concatenate([self.counts, _counts(self.hamiltonian, ends)]), np.append(self.energy, energy)

    @cached_property
    def hull(self) -> LowerHull:
        return lower_hull(*self._points)

    @cached_property
    def formation_energy(self) -> np.ndarray:
        """(E - E_ends) / n per exchangeable site, (M,); E_ends is linear between the pure ends.

        With several kinds of sites the end members can be more than a simplex; E_ends is then their lower hull.
        """
        ends, energy = self.ends
        return (self.energy - lower_hull(_counts(self.hamiltonian, ends), energy).at(self.counts)) / len(self.sites)

    @cached_property
    def distance(self) -> np.ndarray:
        """Energy above the hull per exchangeable site, (M,), 0 on it."""
        return np.maximum(self.energy - self.hull.at(self.counts), 0.0) / len(self.sites)

    @property
    def on_hull(self) -> np.ndarray:
        """Mask (M,) of rows within 1e-9 per site of the hull; a state that ties with a mixture of others is on it."""
        return self.distance < 1e-9

    def transitions(self) -> list[Transition]:
        """Where neighbouring phases of a binary coexist at T = 0, by increasing mu; AlloygenError for other systems."""
        counts, energy = self._points
        vary = np.flatnonzero(np.ptp(counts, axis=0))
        if len(vary) != 2:
            names = [self.hamiltonian.elements[k] for k in vary]
            raise AlloygenError(f"expected two elements whose numbers vary, got {names}; read `hull` for other systems")
        out: list[Transition] = []
        for k in np.argsort(self.hull.mu[:, vary[1]] - self.hull.mu[:, vary[0]]):
            touch = counts[energy - self.hull.base[k] - counts @ self.hull.mu[k] < 1e-9 * len(self.sites)]
            below, above = (_by_element(self.hamiltonian, touch[f(touch[:, vary[1]])]) for f in (np.argmin, np.argmax))
            mu = float(self.hull.mu[k, vary[1]] - self.hull.mu[k, vary[0]])
            if not out or out[-1][1:] != (below, above):  # a facet that rounding has cut in two counts once
                out.append(Transition(mu, below, above))
        return out

    # ------------------------------------------------------------------ other libraries
    @property
    def atoms(self) -> list:
        """The rows as ``ase.Atoms`` with their energy; ``info`` has formation_energy and distance (per site)."""
        from ase.calculators.singlepoint import SinglePointCalculator

        if self.atoms_map is None:
            raise AlloygenError("expected ground states that know their Atoms, got atoms_map=None; pass atoms_map=")
        out = [self.atoms_map.to_atoms(row) for row in self.occ]
        for k, atoms in enumerate(out):
            atoms.info.update(formation_energy=float(self.formation_energy[k]), distance=float(self.distance[k]))
            atoms.calc = SinglePointCalculator(atoms, energy=float(self.energy[k]))
        return out

    def to_pymatgen(self):
        """A pymatgen ``PhaseDiagram`` of the exchangeable elements; ``entry_id`` is the row, or "end ..." for ends.

        Entries carry structures where there is an ``atoms_map`` and every site is exchangeable, else compositions only.
        Raises AlloygenError for several kinds of exchangeable sites and for species that are no elements.
        """
        from pymatgen.analysis.phase_diagram import PhaseDiagram
        from pymatgen.core import Element
        from pymatgen.entries.computed_entries import ComputedEntry, ComputedStructureEntry

        from alloygen.convert import to_pymatgen

        h, kinds = self.hamiltonian, _kinds(self.hamiltonian, self.sites)
        names = [h.elements[k] for k in next(iter(kinds))]
        if len(kinds) > 1 or not all(map(Element.is_valid_symbol, names)):
            raise AlloygenError(
                f"expected one kind of exchangeable sites that holds chemical elements, got {len(kinds)} with {names}; "
                "use `formation_energy`, `distance` and `hull`, which know no such limits"
            )
        here, known = _counts(h, self.ends[0]), {tuple(c) for c in self.counts.tolist()}
        new = [k for k, c in enumerate(here.tolist()) if tuple(c) not in known]
        occ, energy = np.concatenate([self.occ, self.ends[0][new]]), np.append(self.energy, self.ends[1][new])
        label = [*map(str, range(len(self))), *(f"end {k}" for k in new)]
        held, entries = _held(h, occ[0], self.sites), []
        for row, e, c, name in zip(occ, energy, _counts(h, occ) - held, label, strict=True):
            if self.atoms_map is not None and not held.any():
                structure = to_pymatgen(self.atoms_map.to_atoms(row))
                entries.append(ComputedStructureEntry(structure, float(e), entry_id=name))
            else:
                entries.append(ComputedEntry(_by_element(h, c), float(e), entry_id=name))
        return PhaseDiagram(entries)

    def to_pandas(self):
        """A ``pandas.DataFrame`` of counts, energies and hull, one row per composition."""
        import pandas as pd

        atoms = {e: self.counts[:, k] for k, e in enumerate(self.hamiltonian.elements)}
        return pd.DataFrame(atoms | {k: getattr(self, k) for k in COLUMNS})

    def to_xarray(self):
        """An ``xarray.Dataset`` with dimensions composition, element and site."""
        import xarray as xr

        h = self.hamiltonian
        values = {k: ("composition", getattr(self, k)) for k in COLUMNS}
        arrays = {"counts": (("composition", "element"), self.counts), "occ": (("composition", "site"), self.occ)}
        attrs = {"unit": h.unit, "hamiltonian": h.expansion.name, "n_exchangeable_sites": len(self.sites)}
        return xr.Dataset(values | arrays, coords={"element": list(h.elements)}, attrs=attrs)

    def __repr__(self) -> str:
        formula = ["".join(f"{e}{n}" for e, n in _by_element(self.hamiltonian, c).items()) for c in self.counts[self.on_hull]]
        shown = ", ".join(formula[:8]) + (", ..." if len(formula) > 8 else "")
        return f"GroundStates({self.hamiltonian.expansion.name!r}, {len(self)} compositions, on the hull: {shown})"


# ---------------------------------------------------------------------- the search over compositions
def ground_states(hamiltonian: Hamiltonian, compositions=None, *, occ=None, fixed=None, sweeps: int = 20, steps: int = 40,
                  restarts: int = 8, T_start=None, T_end=None, seed: int = 0, threads: int = 1, atoms_map=None,
                  progress: bool = False) -> GroundStates:  # fmt: skip
    """The lowest energy at each composition: annealed swaps, then neighbours one atom away, then semigrand anneals.

    Parameters
    ----------
    compositions : atoms of the supercell by element, as dicts (one exchangeable element may be left out and takes the
        rest) or, for binaries, numbers of atoms of the last exchangeable element. By default every one for a binary;
        otherwise all, or a coarse grid where these are more than 200, plus whatever is found below its hull
    occ, fixed : fixed sites (indices or a mask (N,)) never change and hold what ``occ`` (N,) says
    sweeps, steps, restarts : attempts per site at each of ``steps`` temperatures; walkers per composition
    T_start, T_end : by default 2 and 1/20 of the spread of flip energies in random configurations
    atoms_map : kept by the result, which then makes structures

    All walkers of all compositions run as one batch (about 10 bytes per walker and site); the pure ends cost nothing.
    Where sublattices share elements only in part, swaps cannot reach every way to spread a composition over them; the
    restarts begin from different ones. Same seed, same result, for any number of threads. Warns with NotConverged where the
    hull still sinks at the end; raises AlloygenError for compositions that do not fit and numbers that cannot be used.

    Examples
    --------
    >>> import alloygen
    >>> found = ground_states(alloygen.data.cuau().on((2, 2, 4)), sweeps=5)
    >>> found
    GroundStates('CuAu (formation energies)', 17 compositions, on the hull: Cu16, Cu12Au4, Cu8Au8, Cu4Au12, Au16)
    >>> [round(t.mu, 6) for t in found.transitions()]
    [-0.136669, -0.008061, 0.069713, 0.075017]
    """
    h = hamiltonian
    _require_numbers(seed, sweeps=sweeps, steps=steps, restarts=restarts, threads=threads)
    sites = _changeable(h, fixed, occ)
    base = np.zeros(h.n_sites, dtype=np.int8) if occ is None else h.check(occ).numpy()[0].astype(np.int8)
    table = _Lowest(h, _compositions(h, base, sites, compositions))
    rng = np.random.default_rng(seed)
    start = np.concatenate([_starts(h, base, sites, c, restarts, rng) for c in table.counts])
    spread = _spread_of_flips(h, base, sites, rng)
    betas = _schedule(h, spread * 2 if T_start is None else T_start, spread / 20 if T_end is None else T_end, steps)
    with tqdm(total=steps, disable=not progress) as bar:
        cool = _Cooler(h, betas, int(sweeps), sites, int(threads), bar)
        annealed = cool(start, "swap", np.zeros((len(start), len(h.elements))), [seed, 0])
        table.offer(*annealed)
        _from_neighbours(table, sites)
        _below_facets(table, cool, base, restarts, compositions is None, rng, seed)
    energy, alone = np.array(table.energy), annealed[1].reshape(-1, restarts)
    hits = np.zeros(len(energy), dtype=np.int64)
    hits[: len(alone)] = (alone < energy[: len(alone), None] + 1e-8).sum(1)
    order = np.lexsort(np.array(table.counts).T) if compositions is None else np.arange(len(energy))
    pick = lambda a: np.array(a)[order]  # noqa: E731
    return GroundStates(h, pick(table.counts), pick(table.occ), pick(energy), sites, pick(hits), atoms_map)


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
        for b, counts in enumerate(_counts(self.h, occ)):
            k = self.row.get(tuple(counts.tolist()))
            if k is None and grow[b]:
                k = self.row[tuple(counts.tolist())] = len(self.counts)
                self.counts.append(counts), self.occ.append(occ[b]), self.energy.append(np.inf)
            if k is not None and energy[b] < self.energy[k] - TOL:
                self.occ[k], self.energy[k], taken[b] = occ[b].copy(), float(energy[b]), True
        return taken


def _from_neighbours(table: _Lowest, sites: np.ndarray) -> None:
    """Turn the states of the nearest compositions into each other by best flips, quench, and repeat while it helps."""
    h, n = table.h, len(table.counts)
    counts, w, done = np.array(table.counts), _walkers(h, table.occ[0][None], 0), {}
    size = lambda c: np.abs(counts - counts[c]).sum(1) + (np.arange(n) == c) * 4 * h.n_sites  # noqa: E731
    near = [np.flatnonzero(size(c) == size(c).min()) for c in range(n)] if n > 1 else [[]]
    better = True
    while better:
        better = False
        for c in [*range(n), *reversed(range(n))]:
            for s in near[c]:
                if done.get((s, c)) == table.energy[s]:
                    continue
                done[s, c] = table.energy[s]
                w.occ[0] = table.occ[s]
                if _turn(h.flip_tables, w, 0, counts[s] - counts[c], sites):
                    _quench_swaps(h.flip_tables, w, 0, 1, sites)
                    better |= table.offer(w.occ, _energy(h, w.occ)).any()


def _below_facets(table: _Lowest, cool: _Cooler, base, restarts: int, grow: bool, rng, seed: int) -> None:
    """Semigrand anneals at the mu of the facets of the hull (GRID of them at most), until none finds a state below it.

    New compositions join where they are on the hull that all states found make together.
    """
    h = table.h
    for k in range(1, ROUNDS + 1 if len(table.counts) > 1 else 1):
        hull = lower_hull(table.counts, table.energy)
        mu = np.unique(hull.mu.round(9), axis=0)
        mu = np.repeat(mu if len(mu) <= GRID else rng.choice(mu, GRID, replace=False), restarts, 0)
        cool.bar.total += len(cool.betas)
        occ, energy = cool(_random(h, base, cool.sites, len(mu), rng), "flip", mu, [seed, k])
        counts = _counts(h, occ)
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
    held, kinds = _held(h, base, sites), _kinds(h, sites)
    if given is not None:
        given = [given] if isinstance(given, (dict, int, np.integer)) else given
        rows = [_counts_of(h, held, kinds, len(sites), c) for c in given]
        if not rows:
            raise AlloygenError("expected at least one composition, got none; leave `compositions` out for all of them")
        return np.array(list(dict.fromkeys(rows)))
    free = sorted({e for kind in kinds for e in kind})
    total = np.prod([comb(len(s) + len(k) - 1, len(k) - 1) for k, s in kinds.items()], dtype=float)
    limit = np.inf if len(free) == 2 or total <= GRID else GRID ** (1 / len(kinds))
    rows = {tuple(held)}
    for kind, where in kinds.items():
        new = _simplex(len(where), len(kind), limit)
        full = np.zeros((len(new), len(h.elements)), dtype=np.int64)
        full[:, list(kind)] = new
        rows = {tuple(np.add(a, b).tolist()) for a in rows for b in full}
    return np.array(sorted(rows, key=lambda r: r[::-1]))


def _simplex(n: int, k: int, limit: float) -> np.ndarray:
    """Ways to put k elements on n sites, in d equal steps: all (d = n), or at most ``limit``; d divides n if it can."""
    fits = [d for d in range(1, n + 1) if comb(d + k - 1, k - 1) <= limit] or [1]
    d = max(fits, key=lambda d: (n % d == 0 and 2 * d > max(fits), d))
    bars = np.array(list(combinations(range(d + k - 1), k - 1)), dtype=np.int64).reshape(-1, k - 1)
    edges = np.column_stack([bars - np.arange(k - 1), np.full(len(bars), d)])
    return np.diff(np.rint(edges * n / d).astype(np.int64), axis=1, prepend=0)


def _counts_of(h: Hamiltonian, held, kinds, n_free: int, given) -> tuple[int, ...]:
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
            f"expected {h.n_sites} atoms, of which {_by_element(h, held)} on sites that cannot change, got {given!r}, "
            f"that is {_by_element(h, counts)}. Count all atoms of the supercell"
        )
    return tuple(counts.tolist())


def _starts(h: Hamiltonian, base, sites, counts, n: int, rng) -> np.ndarray:
    """Random occupations (n, N) of one composition."""
    from scipy.optimize import linear_sum_assignment

    tables, sub = h.flip_tables, h.lattice.sublattice[sites]
    slots = np.repeat(np.arange(len(counts)), counts - _held(h, base, sites))
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
            f"expected a composition that the sublattices {h.lattice.species} can hold, got {_by_element(h, counts)}"
        )
    return out


def _random(h: Hamiltonian, base, sites, n: int, rng) -> np.ndarray:
    out = np.repeat(base[None], n, 0)
    out[:, sites] = rng.integers(h.lattice.n_species[sites], size=(n, len(sites)))
    return out


def _spread_of_flips(h: Hamiltonian, base, sites, rng) -> float:
    """Standard deviation of flip energies in random configurations, over kB: the scale on which order sets in."""
    energies = h.site_energies(torch.from_numpy(_random(h, base, sites, 32, rng))).numpy()
    spread = 0.0
    for b in np.unique(h.lattice.sublattice[sites]):
        here = sites[h.lattice.sublattice[sites] == b]
        gaps = energies[:, here, 1 : h.lattice.n_species[here[0]]] - energies[:, here, :1]
        spread = max(spread, float(gaps.std((0, 1)).max()))
    return spread / h.kB if spread > 1e-9 else 1.0


def _kinds(h: Hamiltonian, sites) -> dict[tuple[int, ...], np.ndarray]:
    """Exchangeable sites by the set of elements that they may hold."""
    allowed = [tuple(sorted(int(e) for e in row if e >= 0)) for row in h.lattice.element_index]
    of_site = [allowed[b] for b in h.lattice.sublattice[sites]]
    return {kind: sites[[k == kind for k in of_site]] for kind in dict.fromkeys(of_site)}


def _held(h: Hamiltonian, base, sites) -> np.ndarray:
    """Atoms of each element on the sites that cannot change."""
    rest = np.setdiff1d(np.arange(h.n_sites), sites)
    elements = h.lattice.element_index[h.lattice.sublattice[rest], base[rest].astype(int)]
    return np.bincount(elements, minlength=len(h.elements))


# ---------------------------------------------------------------------- small parts
def _by_element(h: Hamiltonian, counts) -> dict[str, int]:
    return {e: int(n) for e, n in zip(h.elements, counts, strict=True) if n}


def _counts(h: Hamiltonian, occ: np.ndarray) -> np.ndarray:
    return h.counts(torch.from_numpy(occ.astype(np.int64))).numpy().astype(np.int64)


def _energy(h: Hamiltonian, occ: np.ndarray) -> np.ndarray:
    return h.energy(torch.from_numpy(occ)).numpy()


def _walkers(h: Hamiltonian, occ: np.ndarray, seed) -> moves.Walkers:
    n = len(occ)
    return moves.Walkers(
        np.array(occ, dtype=np.int8, order="C"), np.zeros((n, h.n_sites * h.flip_tables.n_words), dtype=np.int64),
        _energy(h, occ), _counts(h, occ).astype(float), seeds(seed, n), np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64),
    )  # fmt: skip


def _can_swap(h: Hamiltonian, occ: np.ndarray, sites) -> np.ndarray:
    """The rows in which some pair of sites can exchange elements."""
    lattice, n = h.lattice, len(h.elements)
    allows = (h.flip_tables.species[lattice.sublattice[sites]] >= 0).astype(np.float32)  # (sites, n_elements)
    held = lattice.element_index[lattice.sublattice[sites], occ[:, sites].astype(int)]
    can = np.stack([(held == e).astype(np.float32) @ allows for e in range(n)], 1) > 0  # [r, a, b]: an a where b may sit
    return np.flatnonzero((can & can.transpose(0, 2, 1) & ~np.eye(n, dtype=bool)).any((1, 2)))


def _changeable(h: Hamiltonian, fixed, occ) -> np.ndarray:
    free = h.lattice.n_species > 1
    if fixed is not None:
        fixed = np.asarray(fixed)
        where = np.flatnonzero(fixed) if fixed.dtype == bool else fixed.astype(np.int64).ravel()
        bad = fixed.dtype == bool and fixed.shape != free.shape
        if bad or (len(where) and not (0 <= where.min() and where.max() < h.n_sites)) or (len(where) and occ is None):
            raise AlloygenError(
                f"expected fixed sites as indices below {h.n_sites} or a mask ({h.n_sites},), and occ= to say what they "
                f"hold, got {fixed!r} and occ {'not given' if occ is None else 'given'}"
            )
        free = free.copy()
        free[where] = False
    if not free.any():
        raise AlloygenError("expected at least one site with two species or more, got none: nothing can change")
    return np.flatnonzero(free)


def _require_numbers(seed, **numbers) -> None:
    for name, value in {"seed": seed, **numbers}.items():
        least = 0 if name == "seed" else 1
        if not isinstance(value, (int, np.integer)) or value < least:
            raise AlloygenError(f"expected {name} as a whole number of at least {least}, got {value!r}")
