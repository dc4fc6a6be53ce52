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

from alloygen.arguments import seed_from, settings, whole_number
from alloygen.compiled import njit
from alloygen.conditions import Mu, chemical_potentials, temperature
from alloygen.conditions.given import MOST_VALUES
from alloygen.conditions.record import semigrand
from alloygen.edge.atoms_map import AtomsMap
from alloygen.edge.problem import AtomsLike, Fixed, HamiltonianLike, Problem
from alloygen.errors import AlloygenError
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.hamiltonian.flips import FlipTables, fill_states, flip_energy, set_species
from alloygen.limits import require_attempts
from alloygen.montecarlo import moves
from alloygen.montecarlo.rng import seeds
from alloygen.montecarlo.single_moves import Flip, Move, move_from
from alloygen.montecarlo.walkers import make_walkers
from alloygen.results.hull import atom_counts
from alloygen.runtime.job import Job
from alloygen.runtime.progress import tqdm

if TYPE_CHECKING:
    from ase import Atoms
    from tqdm import tqdm as Bar

TOL = 1e-10  # energies that differ by less are one


# ---------------------------------------------------------------------- compiled descents
@njit()
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


@njit()
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


@njit()
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
@dataclass(frozen=True, kw_only=True)
class Cooling:
    """A cooling schedule: ``steps`` temperatures with equal ratios from T_start down to T_end, then T = 0.

    T_start, T_end : kelvin for alloys, T_start >= T_end > 0; by default 2 and 1/20 of the spread of flip energies in random configurations
    sweeps : attempts per changeable site at each temperature; restarts : independent walkers

    Raises AlloygenError and BadCondition for what cannot be.

    Examples
    --------
    >>> Cooling(T_start=900, T_end=300, steps=3).temperatures(1.0).round(1).tolist()
    [900.0, 519.6, 300.0]
    """

    T_start: float | None = None
    T_end: float | None = None
    steps: int = 40
    sweeps: int = 20
    restarts: int = 8

    def __post_init__(self) -> None:
        for name, most in (("steps", MOST_VALUES), ("sweeps", None), ("restarts", None)):
            object.__setattr__(self, name, whole_number(getattr(self, name), name, 1, most))
        for name in ("T_start", "T_end"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, temperature(getattr(self, name)))
        if self.T_start is not None and self.T_end is not None:
            self.temperatures(1.0)

    def temperatures(self, spread: float) -> np.ndarray:
        """(steps,); ``spread`` of flip energies over kB, for ends that are not given."""
        hot = 2 * spread if self.T_start is None else self.T_start
        cold = spread / 20 if self.T_end is None else self.T_end
        if hot < cold:
            raise AlloygenError(f"expected T_start >= T_end, got {hot:g} and {cold:g}: swap them")
        return np.geomspace(hot, cold, self.steps)


@dataclass(frozen=True, eq=False, repr=False)
class Annealed:
    """What ``anneal`` found: occ (restarts, N) int8, energy (restarts,) of the supercell, mu (n_elements,), and the seed.

    ``atoms`` are the rows as Atoms in the caller's order. Every row is a local minimum of ``objective`` = E - mu.N (E for swaps); ``best`` is the row of the lowest.
    """

    hamiltonian: Hamiltonian
    occ: np.ndarray
    energy: np.ndarray
    mu: np.ndarray
    move: Move
    seed: int | None = None
    atoms_map: AtomsMap | None = None

    @property
    def counts(self) -> np.ndarray:
        """Atoms of each element, int64 (restarts, n_elements)."""
        return atom_counts(self.hamiltonian, self.occ)

    @property
    def objective(self) -> np.ndarray:
        return semigrand(self.energy, self.counts, self.mu)

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
        return f"Annealed({str(self.move)!r}, lowest {low:.9g} {self.hamiltonian.unit}, found by {n} of {len(self.occ)} walkers)"


def anneal(
    atoms: AtomsLike,
    mu: Mu | None = None,
    *,
    hamiltonian: HamiltonianLike | None = None,
    fixed: Fixed | None = None,
    move: str | Move = "flip",
    cooling: Cooling | None = None,
    seed: int = 0,
    job: Job | None = None,
) -> Annealed:
    """Cool independent walkers, quench them, and keep the best that each has seen.

    Parameters
    ----------
    atoms : ase.Atoms, a pymatgen Structure or a path, with ``hamiltonian`` as in :func:`alloygen.sample`; a Hamiltonian on a supercell;
        or a :class:`~alloygen.edge.problem.Problem`, which may say where they start: ``Problem.of(h, occ=occ)`` with (N,) or (restarts, N);
        random without it. Moves that keep the composition keep that of the start or, without it, that of the atoms
    mu : chemical potentials for flips (see ``conditions.chemical_potentials``); 0 for all if not given
    fixed : sites that are held, as in :func:`alloygen.sample`
    move : "flip" (semigrand, minimises E - mu.N), "swap" (canonical, minimises E), or another
        :class:`~alloygen.montecarlo.single_moves.Move`; the quench is by flips, or by swaps where the move keeps the composition
    cooling : temperatures, attempts and walkers

    The same seed gives the same result for any number of threads. Raises AlloygenError for what cannot be run.

    Examples
    --------
    >>> from alloygen.hamiltonian.ising import ising
    >>> anneal(ising(6, J=-1), cooling=Cooling(T_start=5.0, T_end=0.2), seed=1)       # the antiferromagnet: E = -2 per site
    Annealed('flip', lowest -72 J, found by 8 of 8 walkers)
    """
    problem, seed, move = Problem.of(atoms, mu, hamiltonian, fixed), seed_from(seed), move_from(move)
    h, cooling, job = problem.hamiltonian, settings(cooling, Cooling, "cooling"), settings(job, Job, "job")
    if move.keeps_composition and mu is not None:
        raise AlloygenError(f"expected no mu with {move.name}s, which keep the composition, got {mu!r}: leave it out")
    restarts = cooling.restarts
    start = problem.start(composition=move.keeps_composition, seed=seed, n=restarts)
    if start is None:
        start = h.random(restarts, seed)
    if len(start) not in (1, restarts):
        raise AlloygenError(f"expected one start, or one per restart ({restarts}), got {len(start)}")
    vector = np.zeros(len(h.elements)) if mu is None else chemical_potentials(mu, h)
    rows = np.repeat(start, restarts // len(start), 0)
    T = cooling.temperatures(spread_of_flips(problem, np.random.default_rng(seed)))
    with tqdm(total=cooling.steps, disable=not job.progress) as bar:
        cool = Cooler(h, 1 / (h.kB * T), cooling.sweeps, problem.free, job.threads, bar)
        found, energy = cool(rows, move, np.tile(vector, (restarts, 1)), seed)
    return Annealed(h, found, energy, vector, move, seed, problem.atoms_map)


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
        self, occ: np.ndarray, move: Move, mu: np.ndarray, seed: int | list[int]
    ) -> tuple[np.ndarray, np.ndarray]:
        occ, tables = occ.astype(np.int8), self.h.flip_tables
        rows = _can_swap(self.h, occ, self.sites) if move.keeps_composition else np.arange(len(occ))
        w, mu = make_walkers(self.h, occ[rows], seeds(seed, len(rows))), mu[rows]
        best, lowest = w.occ.copy(), semigrand(w.energy, w.counts, mu)
        parts = list(pairwise(np.linspace(0, len(rows), min(len(rows), 8 * self.threads) + 1).astype(int)))
        attempts = self.sweeps * len(self.sites)
        require_attempts(self.sweeps, len(rows) * len(self.sites), "Take fewer sweeps at each of more steps")
        kernel = moves.flips if isinstance(move, Flip) else move.kernel(tables, self.sites)
        with ThreadPoolExecutor(self.threads) as pool:
            run = lambda kernel, *a: list(pool.map(lambda p: kernel(tables, w, *p, *a, self.sites), parts))  # noqa: E731
            quench = (lambda: run(quench_swaps)) if move.keeps_composition else (lambda: run(quench_flips, mu))
            for beta in [*self.betas, None]:  # None is T = 0
                b = np.full(len(rows), beta or 0.0)
                if beta is None:
                    quench()
                    w.energy[:] = self.h.energy(w.occ)
                    w.counts[:] = atom_counts(self.h, w.occ)
                else:
                    run(kernel, b, mu, attempts)
                    self.bar.update()
                now = semigrand(w.energy, w.counts, mu)
                better = now < lowest - TOL * (beta is not None)  # between equals the quenched one
                best[better], lowest[better] = w.occ[better], now[better]
            w.occ[:] = best
            moves.fill(tables, w)
            quench()
        occ[rows] = w.occ
        return occ, self.h.energy(occ)


# ---------------------------------------------------------------------- small parts
def random_rows(problem: Problem, n: int, rng: np.random.Generator) -> np.ndarray:
    """Random occupations (n, N) int8 of any composition, with what is held in its place."""
    h, sites = problem.hamiltonian, problem.free
    out = np.repeat(problem.base.astype(np.int8)[None], n, 0)
    out[:, sites] = rng.integers(h.lattice.n_species[sites], size=(n, len(sites)))
    return out


def spread_of_flips(problem: Problem, rng: np.random.Generator) -> float:
    """Standard deviation of flip energies in random configurations, over kB: the scale on which order sets in."""
    h, sites = problem.hamiltonian, problem.free
    energies = h.site_energies(random_rows(problem, 32, rng))
    spread = 0.0
    for b in np.unique(h.lattice.sublattice[sites]):
        here = sites[h.lattice.sublattice[sites] == b]
        gaps = energies[:, here, 1 : h.lattice.n_species[here[0]]] - energies[:, here, :1]
        spread = max(spread, float(gaps.std((0, 1)).max()))
    return spread / h.kB if spread > 1e-9 else 1.0


def _can_swap(h: Hamiltonian, occ: np.ndarray, sites) -> np.ndarray:
    """The rows in which some pair of sites can exchange elements."""
    lattice, n = h.lattice, len(h.elements)
    allows = (h.flip_tables.species[lattice.sublattice[sites]] >= 0).astype(np.float32)  # (sites, n_elements)
    held = lattice.element_index[lattice.sublattice[sites], occ[:, sites].astype(int)]
    can = (
        np.stack([(held == e).astype(np.float32) @ allows for e in range(n)], 1) > 0
    )  # [r, a, b]: an a where b may sit
    return np.flatnonzero((can & can.transpose(0, 2, 1) & ~np.eye(n, dtype=bool)).any((1, 2)))
