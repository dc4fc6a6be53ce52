"""Simulated annealing: walkers cooled geometrically, then quenched to local minima.

    T_k = T_start (T_end / T_start)^(k / (steps - 1)),    then T = 0

(Kirkpatrick, Gelatt and Vecchi, Science 220, 671 (1983)). ``montecarlo.ground_states`` anneals every composition.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from numba import njit

from alloygen.arguments import one_of, seed_from, whole_number
from alloygen.conditions import Mu, chemical_potentials, temperature
from alloygen.edge.atoms_map import AtomsMap
from alloygen.edge.problem import AtomsLike, Fixed, HamiltonianLike, Problem
from alloygen.errors import AlloygenError
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.hamiltonian.flips import FlipTables, fill_states, flip_energy, set_species
from alloygen.montecarlo import moves
from alloygen.montecarlo.rng import seeds
from alloygen.results.hull import atom_counts
from alloygen.runtime.job import Job
from alloygen.runtime.progress import tqdm
from alloygen.types import ArrayLike

if TYPE_CHECKING:
    from ase import Atoms
    from tqdm import tqdm as Bar

TOL = 1e-10  # energies that differ by less are one


# ---------------------------------------------------------------------- compiled descents
@njit(cache=True, nogil=True)
def quench_flips(tables: FlipTables, w: moves.Walkers, lo: int, hi: int, mu: np.ndarray, sites: np.ndarray) -> None:
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
def quench_swaps(tables: FlipTables, w: moves.Walkers, lo: int, hi: int, sites: np.ndarray) -> None:
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
def turn(tables: FlipTables, w: moves.Walkers, r: int, surplus: np.ndarray, sites: np.ndarray) -> bool:
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
    """What ``anneal`` found: occ (restarts, N) int8, energy (restarts,) of the supercell, mu (n_elements,), and the seed.

    ``atoms`` are the rows as Atoms in the caller's order. Every row is a local minimum of ``objective`` = E - mu.N (E for swaps); ``best`` is the row of the lowest.
    """

    hamiltonian: Hamiltonian
    occ: np.ndarray
    energy: np.ndarray
    mu: np.ndarray
    move: str
    seed: int | None = None
    atoms_map: AtomsMap | None = None

    @property
    def counts(self) -> np.ndarray:
        """Atoms of each element, int64 (restarts, n_elements)."""
        return atom_counts(self.hamiltonian, self.occ)

    @property
    def objective(self) -> np.ndarray:
        return self.energy - self.counts @ self.mu

    @property
    def best(self) -> int:
        return int(self.objective.argmin())

    @property
    def atoms(self) -> list[Atoms]:
        """The rows as ``ase.Atoms`` with their energy, in the caller's order; AlloygenError where there are none."""
        from ase.calculators.singlepoint import SinglePointCalculator

        if self.atoms_map is None:
            raise AlloygenError("expected walkers that know their Atoms, got atoms_map=None")
        out = [self.atoms_map.to_atoms(row) for row in self.occ]
        for atoms, energy in zip(out, self.energy, strict=True):
            atoms.calc = SinglePointCalculator(atoms, energy=float(energy))
        return out

    def __repr__(self) -> str:
        low, n = self.objective[self.best], int((self.objective < self.objective[self.best] + 1e-8).sum())
        return f"Annealed({self.move!r}, lowest {low:.9g} {self.hamiltonian.unit}, found by {n} of {len(self.occ)} walkers)"


def anneal(
    atoms: AtomsLike,
    T_start: float,
    T_end: float,
    *,
    hamiltonian: HamiltonianLike | None = None,
    mu: Mu | None = None,
    occ: ArrayLike | None = None,
    move: str = "flip",
    sweeps: int = 20,
    steps: int = 40,
    restarts: int = 8,
    seed: int = 0,
    fixed: Fixed | None = None,
    job: Job | None = None,
) -> Annealed:
    """Cool ``restarts`` independent walkers from T_start to T_end, quench them, and keep the best that each has seen.

    Parameters
    ----------
    atoms : ase.Atoms, a pymatgen Structure or a path, with ``hamiltonian`` as in :func:`alloygen.sample`; a Hamiltonian on a supercell;
        or a :class:`~alloygen.edge.problem.Problem`
    T_start, T_end : temperatures (kelvin for alloys), T_start >= T_end > 0, ``steps`` of them with equal ratios
    mu : chemical potentials for flips (see ``conditions.chemical_potentials``); 0 for all if not given
    occ : (N,) or (restarts, N) to start from; random without it. Swaps keep its composition or, without it, that of the atoms
    move : "flip" (semigrand, minimises E - mu.N) or "swap" (canonical, minimises E)
    sweeps : attempts per changeable site at each temperature
    fixed : sites that are held, as in :func:`alloygen.sample`; with a Hamiltonian alone indices or a mask need ``occ``, which says what
        they hold

    The same seed gives the same result for any number of threads. Raises AlloygenError for what cannot be run.

    Examples
    --------
    >>> from alloygen.hamiltonian.ising import ising
    >>> anneal(ising(6, J=-1), 5.0, 0.2, seed=1)                    # the antiferromagnet: E = -2 per site
    Annealed('flip', lowest -72 J, found by 8 of 8 walkers)
    """
    problem, seed = Problem.of(atoms, mu, hamiltonian, fixed, occ=occ), seed_from(seed)
    h, sites = problem.hamiltonian, problem.free
    sweeps, steps = whole_number(sweeps, "sweeps"), whole_number(steps, "steps")
    restarts, job = whole_number(restarts, "restarts"), job or Job()
    one_of(move, "move", ("flip", "swap"))
    if move == "swap" and mu is not None:
        raise AlloygenError(f"expected no mu with swaps, which keep the composition, got {mu!r}: leave it out")
    start = problem.start(occ, move == "swap", seed, restarts)
    if start is None:
        start = h.random(restarts, torch.Generator().manual_seed(seed)).numpy()
    if len(start) not in (1, restarts):
        raise AlloygenError(f"expected one start, or one per restart ({restarts}), got {len(start)}")
    vector = np.zeros(len(h.elements)) if mu is None else chemical_potentials(mu, h)
    rows = np.repeat(start, restarts // len(start), 0)
    with tqdm(total=steps, disable=not job.progress) as bar:
        cool = Cooler(h, schedule(h, T_start, T_end, steps), sweeps, sites, job.threads, bar)
        found, energy = cool(rows, move, np.tile(vector, (restarts, 1)), seed)
    return Annealed(h, found, energy, vector, move, seed, problem.atoms_map)


def schedule(h: Hamiltonian, T_start: float, T_end: float, steps: int) -> np.ndarray:
    """1 / (kB T) of the geometric cooling, (steps,)."""
    hot, cold = temperature(T_start), temperature(T_end)
    if hot < cold:
        raise AlloygenError(f"expected T_start >= T_end, got {T_start} and {T_end}: swap them")
    return 1 / (h.kB * np.geomspace(hot, cold, steps))


@dataclass
class Cooler:
    """(occ, move, mu by row, seed) -> (occ, energy) of the best local minima."""

    h: Hamiltonian
    betas: np.ndarray
    sweeps: int
    sites: np.ndarray
    threads: int
    bar: Bar

    def __call__(
        self, occ: np.ndarray, move: str, mu: np.ndarray, seed: int | list[int]
    ) -> tuple[np.ndarray, np.ndarray]:
        occ, tables = occ.astype(np.int8), self.h.flip_tables
        rows = _can_swap(self.h, occ, self.sites) if move == "swap" else np.arange(len(occ))
        w, mu = make_walkers(self.h, occ[rows], seed), mu[rows]
        moves.fill(tables, w)
        best, lowest = w.occ.copy(), w.energy - (w.counts * mu).sum(1)
        parts = list(pairwise(np.linspace(0, len(rows), min(len(rows), 8 * self.threads) + 1).astype(int)))
        attempts, swap = self.sweeps * len(self.sites), move == "swap"
        with ThreadPoolExecutor(self.threads) as pool:
            run = lambda kernel, *a: list(pool.map(lambda p: kernel(tables, w, *p, *a, self.sites), parts))  # noqa: E731
            quench = (lambda: run(quench_swaps)) if swap else (lambda: run(quench_flips, mu))
            for beta in [*self.betas, None]:  # None is T = 0
                b = np.full(len(rows), beta or 0.0)
                if beta is None:
                    quench()
                    w.energy[:] = self.h.energy(torch.from_numpy(w.occ)).numpy()
                    w.counts[:] = atom_counts(self.h, w.occ)
                else:
                    run(moves.swaps if swap else moves.flips, b, mu, attempts)
                    self.bar.update()
                now = w.energy - (w.counts * mu).sum(1)
                better = now < lowest - TOL * (beta is not None)  # between equals the quenched one
                best[better], lowest[better] = w.occ[better], now[better]
            w.occ[:] = best
            moves.fill(tables, w)
            quench()
        occ[rows] = w.occ
        return occ, self.h.energy(torch.from_numpy(occ)).numpy()


# ---------------------------------------------------------------------- small parts
def make_walkers(h: Hamiltonian, occ: np.ndarray, seed: int | list[int]) -> moves.Walkers:
    """Walkers at ``occ`` (R, N), a copy; the kernels want ``states`` filled first."""
    n = len(occ)
    return moves.Walkers(
        occ=np.array(occ, dtype=np.int8, order="C"),
        states=np.zeros((n, h.n_sites * h.flip_tables.n_words), dtype=np.int64),
        energy=h.energy(torch.from_numpy(occ)).numpy(),
        counts=atom_counts(h, occ).astype(float),
        rng=seeds(seed, n),
        accepted=np.zeros(n, dtype=np.int64),
        tried=np.zeros(n, dtype=np.int64),
    )


def _can_swap(h: Hamiltonian, occ: np.ndarray, sites) -> np.ndarray:
    """The rows in which some pair of sites can exchange elements."""
    lattice, n = h.lattice, len(h.elements)
    allows = (h.flip_tables.species[lattice.sublattice[sites]] >= 0).astype(np.float32)  # (sites, n_elements)
    held = lattice.element_index[lattice.sublattice[sites], occ[:, sites].astype(int)]
    can = (
        np.stack([(held == e).astype(np.float32) @ allows for e in range(n)], 1) > 0
    )  # [r, a, b]: an a where b may sit
    return np.flatnonzero((can & can.transpose(0, 2, 1) & ~np.eye(n, dtype=bool)).any((1, 2)))
