"""Wang-Landau density of states of any Hamiltonian, by semigrand flips at fixed mu or canonical swaps.

A walk in the reaction coordinate E - mu.N accepts a move from bin a to bin b with min(1, g_a / g_b) and raises the bin
where it then is, moved or not, by log f; g tends to the number of states per bin as log f goes to 0 (Wang and Landau,
Phys. Rev. Lett. 86, 2050 (2001)). ``schedule="halving"`` halves log f whenever the histogram of the visited bins is flat,
min >= flatness * mean, as in Du et al., arXiv:2603.14695. It leaves an error that longer runs do not mend;
``schedule="1/t"`` does not: it halves whenever every visited bin has been met again, until log f < n_bins / t, and from
then on sets log f = n_bins / t, t in attempts (Belardinelli and Pereyra, Phys. Rev. E 75, 046701 (2007)).

Bins are the levels of a discrete spectrum, found as the greatest common divisor of the energy changes (Ising at h = 0:
4 J), or of even ``width``; then the mean and variance of the energy inside each bin are measured as well. A bin that no
walk has met is no part of the spectrum and does not spoil flatness; one met later starts at the smallest log g so far.

With ``transitions=True`` (levels and two species) the same walks also count, once a sweep, how many of the flips of the
configuration lead from its level a to each level b. As flips are symmetric,

    g_a T(a -> b) = g_b T(b -> a),    T the mean share of such flips,

and log g is the weighted least-squares solution of the logarithms of these equations (Wang and Swendsen, J. Stat. Phys.
106, 245 (2002); with Wang-Landau: Shell, Debenedetti and Panagiotopoulos, J. Chem. Phys. 119, 9406 (2003)).
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import numpy as np

from alloygen.arguments import one_of, seed_from, settings, whole_number
from alloygen.conditions import Field, chemical_potentials
from alloygen.edge.problem import AtomsLike, Fixed, HamiltonianLike, Problem
from alloygen.errors import AlloygenError, BadCondition
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.hamiltonian.kept import require_held, require_kept
from alloygen.limits import require_rows
from alloygen.montecarlo.rng import seeds
from alloygen.montecarlo.single_moves import Move, move_from
from alloygen.montecarlo.walkers import MOST_STEPS
from alloygen.montecarlo.wang_landau.bins import KERNELS, Plan, fill, new_walks, rules_of
from alloygen.montecarlo.wang_landau.density import density
from alloygen.montecarlo.wang_landau.kernels import Walks
from alloygen.montecarlo.wang_landau.scout import scout, starts, windows_of
from alloygen.montecarlo.wang_landau.settings import Bins, Schedule
from alloygen.results.density import DensityOfStates
from alloygen.runtime.job import Job
from alloygen.runtime.resume import identity
from alloygen.runtime.tensors import matching, require_range
from alloygen.types import ArrayLike


def wang_landau(
    atoms: AtomsLike,
    mu: ArrayLike | Mapping[str, float] | None = None,
    *,
    hamiltonian: HamiltonianLike | None = None,
    fixed: Fixed | None = None,
    move: str | Move = "flip",
    bins: Bins | None = None,
    schedule: Schedule | None = None,
    walkers: int = 1,
    seed: int = 0,
    job: Job | None = None,
) -> DensityOfStates:
    """The density of states g(E - mu.N) by Wang-Landau sampling.

    Parameters
    ----------
    atoms : ase.Atoms, a pymatgen Structure or a path, with ``hamiltonian`` as in :func:`alloygen.sample`; a Hamiltonian on a supercell;
        or a :class:`~alloygen.edge.problem.Problem`, which may say where the walks start: ``Problem.of(h, occ=occ)``; random if not given
    mu : chemical potentials in the unit of the Hamiltonian, (n_elements,), a dict by element or, for two exchangeable elements, one
        number; zero if not given; flips only
    fixed : sites that are held, as in :func:`alloygen.sample`
    move : "flip", all compositions, or "swap", the composition of the start or of the atoms; or these moves as objects
    bins : what is counted, see :class:`Bins`; schedule : how log f falls and when a walk ends, see :class:`Schedule`
    walkers : independent walks (in each window), which are pooled. Errors come from blocks within each walk and from the
        spread between them (``DensityOfStates``), so that one walk has them too
    seed : same seed, same result, for any number of threads
    job : how it is run. A run that goes on from a checkpoint may have another ``log_f_final`` and ``max_attempts``

    Before the walks, a pre-run cools down, heats through infinity to the highest energy, and walks for a while at
    log f = 1. It finds the range, and bins that every walker has to visit (not with windows or ``energies``).

    Raises AlloygenError for settings that cannot be used, CheckpointError for a checkpoint of another run.

    Examples
    --------
    >>> from alloygen.hamiltonian.ising import ising
    >>> dos = wang_landau(ising(4), schedule=Schedule(log_f_final=1e-5), seed=0)
    >>> dos.energy[:3], round(float(np.exp(dos.log_g).sum()))
    (array([-32., -24., -20.]), 65536)
    """
    problem, seed, walkers = (
        Problem.of(atoms, mu, hamiltonian, fixed),
        seed_from(seed),
        whole_number(walkers, "walkers"),
    )
    bins, schedule = settings(bins, Bins, "bins"), settings(schedule, Schedule, "schedule")
    job, move = settings(job, Job, "job"), _move(move)
    h, rows = problem.hamiltonian, bins.windows * walkers
    require_rows(rows, h.n_sites, f"walkers of {h.n_sites} sites")
    vector, start = _mu(h, mu, move), _start(problem, move, seed)
    plan = Plan(problem, vector, move, rules_of(problem.free, bins, schedule, rows))
    known, found = scout(plan, start, bins.width, seed)
    bounds = windows_of(plan, known, bins)
    begin = starts(plan, bounds, walkers, found, start, seed)
    allowed = np.repeat(bounds, walkers, 0)
    w = new_walks(plan, begin, schedule.log_f, seeds(seed, 3 + rows)[3:], allowed, in_blocks=True)
    if bins.whole:
        w.log_g[:, known] = 0.0
    stays = {k: v for k, v in asdict(schedule).items() if k not in ("kind", "log_f_final", "max_attempts")}
    run = identity("Wang-Landau", h, move=str(move), **asdict(bins), schedule=schedule.kind, **stays, walkers=walkers, seed=seed,
                   mu=vector, changing_sites=problem.free, start=start)  # fmt: skip
    _Walking(plan, w, run).go(job)
    return density(plan, w, walkers, begin[0], bins.energies is None, seed)


# ---------------------------------------------------------------------- what is asked
def _move(move: str | Move) -> Move:
    move = move_from(move)
    one_of(str(move), "move", KERNELS)
    return move


def _mu(h: Hamiltonian, mu, move: Move) -> np.ndarray:
    if isinstance(mu, (Mapping, Field, float, int)):
        mu = chemical_potentials(mu, h)
    try:
        out = np.zeros(len(h.elements)) if mu is None else np.asarray(mu, dtype=float)
    except (TypeError, ValueError):
        out = np.empty(0)
    if out.shape != (len(h.elements),) or not np.isfinite(out).all():
        raise BadCondition(f"expected one finite chemical potential per element {h.elements}, got {mu!r}")
    if move.keeps_composition and out.any():
        raise BadCondition(f"expected no mu with swaps, which keep the composition, got {mu!r}: leave it out")
    return out


def _start(problem: Problem, move: Move, seed: int) -> np.ndarray | None:
    start = problem.start(composition=move.keeps_composition, seed=seed)
    if start is not None and len(start) != 1:
        raise AlloygenError(f"expected one start of shape ({problem.hamiltonian.n_sites},), got {len(start)} of them")
    return None if start is None else start[0].astype(np.int8)


# ---------------------------------------------------------------------- the run
class _Walking:
    """All walks of a run, moved to their end; between two calls of the kernel the state of every one is whole."""

    def __init__(self, plan: Plan, w: Walks, run: dict):
        self.plan, self.w, self.run = plan, w, run

    def go(self, job: Job) -> None:
        w, rules, blocks = self.w, self.plan.rules, max(1, 2_000_000 // self.plan.rules.check)
        with (
            job.loop(self, "Wang-Landau", unit="attempt", unit_scale=True) as loop,
            ThreadPoolExecutor(job.threads) as pool,  # left only when every call has come to its end
        ):

            def move(r):
                if not loop.stopped:
                    self.plan.kernel(self.plan.tables, w, r, rules, blocks)

            while len(rows := np.flatnonzero((w.log_f > rules.final) & (w.attempts < rules.limit))):
                list((pool.map if job.threads > 1 else map)(move, rows))
                loop.tick(int(w.attempts.sum()), shown={"log_f": f"{w.log_f.max():.2e}", "running": str(len(rows))})

    def identity(self) -> dict:
        return self.run

    def state(self) -> tuple[dict, dict]:
        return self._arrays(), {}

    def _arrays(self) -> dict[str, np.ndarray]:
        own = {k: v for k, v in self.w._asdict().items() if k not in ("states", "blocks")}
        return own | {f"blocks.{k}": v for k, v in self.w.blocks._asdict().items()}

    def restore(self, arrays: dict[str, np.ndarray], progress: dict) -> None:
        places = self._arrays()
        found = matching(arrays, places)
        self._require(found)
        for name, place in places.items():
            place[...] = found[name]
        fill(self.plan, self.w)

    def _require(self, found: dict[str, np.ndarray]) -> None:
        """AlloygenError for what compiled code cannot walk on: energies in other bins than allowed, blocks that are not there."""
        plan, w, most = self.plan, self.w, MOST_STEPS
        require_kept(plan.hamiltonian, found["occ"], found["energy"], mu=plan.mu)
        require_held(found["occ"], w.occ, plan.rules.sites)
        for name in ("low", "high"):
            if not np.array_equal(found[name], getattr(w, name)):
                raise AlloygenError(f"expected the bins of this run as {name}, got others")
        at = plan.bin(found["energy"])
        if (at < w.low).any() or (at > w.high).any():
            raise AlloygenError("expected energies in the bins that are allowed, got others")
        kept = w.blocks.counts.shape[1]
        require_range(found, log_g=(-1, most), log_f=(0, most), **{"blocks.filled": (0, max(kept - 1, 0))},
                      **dict.fromkeys(("first", "blocks.biases", "blocks.begin"), (-most, most)),
                      **dict.fromkeys(("seen", "visits", "second", "leads", "attempts", "stages", "inverse_t", "late", "blocks.counts",
                                       "blocks.leads", "blocks.mark", "blocks.led", "blocks.length", "blocks.passed"), (0, most)))  # fmt: skip
