"""Monte Carlo as a user asks for it: which ensemble, which chains, and the ladder of temperatures that absolute free energies need."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from alloygen.arguments import one_of, whole_number
from alloygen.conditions import Grid, plane, relative
from alloygen.conditions.record import Condition
from alloygen.counts import Counts
from alloygen.edge.problem import Problem
from alloygen.errors import AlloygenError, BadCondition, LowSampleSize
from alloygen.estimate.weights import user_level
from alloygen.limits import require_memory, sample_bytes
from alloygen.models.blocks import derived_seed
from alloygen.montecarlo.balanced import keeping
from alloygen.montecarlo.run import Run
from alloygen.montecarlo.sampling import metropolis, replica_exchange
from alloygen.montecarlo.single_moves import Move, move_from
from alloygen.montecarlo.tempering import ladder, mu_ladder, mu_plane
from alloygen.results.ensemble import Ensemble
from alloygen.results.scan import Scan
from alloygen.runtime.job import Job

METHODS, STARTS = ("replica exchange", "metropolis"), ("random", "atoms")
COLDER = 3  # times that the coldest temperature is halved in search of the ground level


@dataclass(frozen=True, kw_only=True)
class MonteCarlo:
    """Monte Carlo sampling: Metropolis flips, swaps or moves of your own, alone or in replica exchange.

    move : "flip" (semigrand, at T and mu) or "swap" (canonical, at the composition of the atoms; free energies are those of what swaps
        reach, see :mod:`alloygen.montecarlo.states`), or a :class:`~alloygen.montecarlo.single_moves.Move`. One that keeps the
        composition takes no mu. None: flips, or where a composition is asked for what keeps it (:mod:`alloygen.montecarlo.balanced`)
    method : "replica exchange" (over T and mu, on a ladder of temperatures up to infinity that is chosen automatically,
        so that free energies are absolute) or "metropolis" (independent chains at each condition)
    start : "random", or "atoms" to start from their species; moves that keep the composition start from the atoms
    copies : independent sets of chains; by default 1 with exchange, 4 without
    sweeps, burn, precision, max_n, observers, check : see :class:`alloygen.montecarlo.run.Run`

    Raises AlloygenError when it is made, for what cannot be.

    Examples
    --------
    >>> import alloygen
    >>> from ase.build import bulk
    >>> how = MonteCarlo(precision={"Au": 0.02})
    >>> ens = alloygen.sample(bulk("Cu", a=3.8).repeat((2, 2, 4)), 800, {"Au": 0.02}, n=200, sampler=how)
    >>> ens.method, ens.composition("Au").stderr < 0.02
    ('mc', True)
    """

    move: str | Move | None = None
    method: str = "replica exchange"
    start: str = "random"
    copies: int | None = None
    sweeps: int = 10
    burn: int | None = None
    precision: Mapping[str, float] | None = None
    max_n: int | None = None
    observers: Mapping[str, Callable] = field(default_factory=dict)
    check: bool = True

    def __post_init__(self) -> None:
        _ = self.what_moves  # refuses what is none
        for name, allowed in (("method", METHODS), ("start", STARTS)):
            one_of(getattr(self, name), name, allowed)
        if self.copies is not None:
            whole_number(self.copies, "copies")
        self.run(1)

    def run(self, n: object) -> Run:
        """How long to run for n samples per condition, and what to keep."""
        return Run(n=n, **self._kept)  # type: ignore[arg-type]

    @property
    def _kept(self) -> dict[str, Any]:
        """What a Run has beside n, by name."""
        return {f.name: getattr(self, f.name) for f in fields(Run) if f.name != "n"}

    @property
    def what_moves(self) -> Move:
        """``move`` as an object, also where it was given by name; flips where it was not."""
        return move_from("flip" if self.move is None else self.move)

    @property
    def keeps_composition(self) -> bool:
        """Whether the numbers of atoms stay as they start."""
        return self.what_moves.keeps_composition

    def require_no_field(self, given: object, mu: Sequence[np.ndarray] | np.ndarray) -> None:
        """Refuse chemical potentials other than 0 where the composition stays, in the words in which they were ``given``."""
        if self.keeps_composition and np.any(mu):
            raise BadCondition(
                f'expected no mu with move="{self.move}", which keeps the composition of the atoms, got {given}; leave it out, or flip'
            )

    def sample(self, problem: Problem, at: Condition, n: int, seed: int, job: Job) -> Ensemble:
        """Replica exchange up a ladder of temperatures from one condition; the samples of the lowest are kept."""
        T, mu = at.arrays()
        scan = self.scan(problem, Grid(T=T, mu=mu), n, seed, job)
        ens = scan[0]
        if not scan.absolute:
            return ens
        # found, so that the ladder may be forgotten
        return replace(ens, facts=replace(ens.facts, free_energy=scan.free_energy(0)))

    def scan(self, problem: Problem, grid: Grid, n: int, seed: int, job: Job, refine: bool = False) -> Scan:
        """The conditions of a grid; ``refine`` puts more mu between where exchange needs them."""
        if problem.counts is not None:
            start = problem.counts.draw(1, np.random.default_rng(seed))
            free = replace(problem, counts=None, given=start)
            return self._at_counts(problem.counts).scan(free, grid, n, seed, job, refine)
        h = problem.hamiltonian
        self.run(n).require_known(h)
        c = len(grid.T) * len(grid.mu)
        require_memory(
            sample_bytes(n * c, h.n_sites, len(h.elements), many=False),
            f"{c} conditions with {n} samples of {h.n_sites} sites each",
            "Keep fewer: a smaller n with more sweeps between samples, or fewer conditions at once",
        )
        self.require_no_field(grid.mu.tolist(), grid.mu)
        placed, move = self._placed(problem, seed), self.what_moves
        if refine:
            coldest = replace(grid, T=grid.T[:1]).condition(h.kB)
            line = plane.directions(relative(grid.mu, h.lattice)).shape[1] < 2
            grid = replace(grid, mu=(mu_ladder if line else mu_plane)(placed, coldest, seed=seed, job=job))
        run = self._kept | {"move": move, "seed": seed, "job": job}
        if self.copies is not None:
            run["copies"] = self.copies
        if self.method == "metropolis":
            return replace(metropolis(placed, grid.condition(h.kB), n, **run), atoms_map=problem.atoms_map)
        rungs = ladder(placed, grid, move=move, seed=seed, job=job)
        made = replica_exchange(placed, grid, n, ladder=rungs, **run)
        made = _with_cold_end(made, placed, move, grid, seed, Job(threads=job.threads))
        made = replace(made, atoms_map=problem.atoms_map, method="mc", info={**made.info, "ladder": rungs.tolist()})
        if made.gap:
            warnings.warn(f"Phi is missing (nan): {made.gap}", LowSampleSize, stacklevel=user_level())
        return made

    def _at_counts(self, counts: Counts) -> MonteCarlo:
        """The same with a move that keeps the numbers of atoms."""
        move = keeping(counts)
        if self.start != "random":
            raise AlloygenError(
                'expected start="random" with a composition, which is where chains begin, got "atoms"; composition="atoms" takes theirs'
            )
        if self.move is None or str(self.what_moves) == str(move):
            return replace(self, move=move)
        if not self.keeps_composition:
            raise BadCondition(
                f"expected a move that keeps {counts.constraint.words}, {move}, got {self.move}; leave it out"
            )
        if not counts.constraint.whole:
            raise BadCondition(
                f"expected {move}, which reaches all of {counts.constraint.words}, got {self.move}; leave it out"
            )
        return self

    def _placed(self, problem: Problem, seed: int) -> Problem:
        """The problem with the one start of all chains, or none where each has a random one of its own."""
        asked = self.keeps_composition or self.start == "atoms"
        start = problem.start(problem.occ if asked and problem.given is None else None, seed=seed)
        return problem if start is None else replace(problem, given=start[:1])


def _with_cold_end(made: Scan, problem: Problem, move: Move, grid: Grid, seed: int, job: Job) -> Scan:
    """The scan with hidden colder conditions below, where a branch has no reference: its ground level is met there.

    The colder rungs start from the last configurations of the coldest ones and are equilibrated on their way down.
    """
    for k in range(COLDER):
        cold, colder = replace(made, hidden=None), made.hidden
        if not (made.absolute and made.branches.unpinned.any()):
            break
        T = made.T.min() if colder is None else min(made.T.min(), colder.T.min())
        if colder is not None and colder.T.min() == T:
            cold = colder
        start = cold.occ[cold.T == T][:, -1]
        begin = replace(problem, given=start[:1])
        below = replace(grid, T=np.array([T / 2, T]))
        down = ladder(begin, below, T_max=T, move=move, seed=seed, job=job)[:-1]
        more = replica_exchange(
            replace(problem, given=np.tile(start, (len(down), 1))), replace(grid, T=down), made.n, move=move, seed=derived_seed(seed, k),
            copies=max(made.chains, 1), check=False, sweeps=made.facts.sweeps, job=job,
        )  # fmt: skip
        made = replace(made, hidden=more if colder is None else Scan.concatenate([colder, more]))
    return made
