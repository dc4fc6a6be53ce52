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

import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from numbers import Real

import numpy as np
import torch

from alloygen.arguments import fraction, one_of, positive, seed_from, whole_number
from alloygen.conditions import chemical_potentials
from alloygen.edge.problem import AtomsLike, Fixed, HamiltonianLike, Problem
from alloygen.errors import AlloygenError, BadCondition
from alloygen.estimate.density import UNSETTLED, DensityOfStates
from alloygen.estimate.energy_walks import (
    average,
    blocks_used,
    from_transitions,
    from_visits,
    grouped,
    join_windows,
    normal,
    normal_influence,
)
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.montecarlo.energy_bins import Plan, fill, level_jumps, new_walks, with_mu
from alloygen.montecarlo.energy_scout import scout, starts, windows_of
from alloygen.montecarlo.energy_walk import LATE, SETTLED, Rules, Walks
from alloygen.montecarlo.rng import seeds
from alloygen.montecarlo.states import log_states
from alloygen.results.ensemble import Ensemble
from alloygen.runtime.job import Job
from alloygen.runtime.resume import identity
from alloygen.types import ArrayLike, Temperatures

MOVES, SCHEDULES = ("flip", "swap"), ("halving", "1/t")


def wang_landau(
    atoms: AtomsLike,
    *,
    hamiltonian: HamiltonianLike | None = None,
    mu: ArrayLike | None = None,
    move: str = "flip",
    width: float | None = None,
    energies: tuple[float, float] | None = None,
    windows: int = 1,
    overlap: float = 0.5,
    flatness: float = 0.8,
    log_f: float = 1.0,
    log_f_final: float = 1e-8,
    schedule: str = "halving",
    check: int = 10_000,
    max_attempts: int | None = None,
    transitions: bool = False,
    walkers: int = 1,
    seed: int = 0,
    fixed: Fixed | None = None,
    occ: ArrayLike | None = None,
    job: Job | None = None,
) -> DensityOfStates:
    """The density of states g(E - mu.N) by Wang-Landau sampling.

    Parameters
    ----------
    atoms : ase.Atoms, a pymatgen Structure or a path, with ``hamiltonian`` as in :func:`alloygen.sample`; a Hamiltonian on a supercell;
        or a :class:`~alloygen.edge.problem.Problem`
    mu : chemical potentials in the unit of the Hamiltonian, (n_elements,) or a dict by element, zero if not given; flips only
    move : "flip", all compositions, or "swap", the composition of ``occ`` or of the atoms
    width : of the bins; the levels of a discrete spectrum if not given, or else 1/500 of the range that a pre-run finds
    energies : (low, high), to which the walk is confined; all if not given. Then g is known up to a factor only
    windows, overlap : number of energy windows and the share of a window that the next one covers. Every window has
        walkers of its own; log g is joined by least squares in the overlaps. The outer windows are open outwards
    flatness, log_f, log_f_final, schedule : see the module; with "1/t" the end is at n_bins / log_f_final attempts
    check : attempts between two looks at the histogram
    max_attempts : of all walkers together, shared evenly; the run then ends with ``converged`` False. Without it a walk
        goes on until ``log_f_final``, however long that takes
    transitions : take log g from counted transitions, see the module: about half the error for the same attempts. Needs
        levels, two species on free sites, and pair energies that fit one table (``hamiltonian.flips``)
    walkers : independent walks (in each window), which are pooled. Errors come from blocks within each walk and from the
        spread between them (``DensityOfStates``), so that one walk has them too
    seed : same seed, same result, for any number of threads
    fixed : sites that are held, as in :func:`alloygen.sample`; with a Hamiltonian alone indices or a mask need ``occ``, which says what
        they hold
    occ : (N,) on the sites of the lattice, where the walks start; random if not given
    job : how it is run. A run that goes on from a checkpoint may have another ``log_f_final`` and ``max_attempts``

    Before the walks, a pre-run cools down, heats through infinity to the highest energy, and walks for a while at
    log f = 1. It finds the range, and bins that every walker has to visit (not with windows or ``energies``).

    Raises AlloygenError for settings that cannot be used, CheckpointError for a checkpoint of another run.

    Examples
    --------
    >>> from alloygen.hamiltonian.ising import ising
    >>> dos = wang_landau(ising(4), log_f_final=1e-5, seed=0)
    >>> dos.energy[:3], round(float(np.exp(dos.log_g).sum()))
    (array([-32., -24., -20.]), 65536)
    """
    problem, seed = Problem.of(atoms, mu, hamiltonian, fixed, occ=occ), seed_from(seed)
    h, sites = problem.hamiltonian, problem.free
    settings = dict(move=move, width=width, energies=energies, windows=windows, overlap=overlap, flatness=flatness,
                    log_f=log_f, schedule=schedule, check=check, transitions=transitions, walkers=walkers, seed=seed)  # fmt: skip
    _check_settings(**settings, log_f_final=log_f_final, max_attempts=max_attempts)
    job, windows, walkers = job or Job(), int(windows), int(walkers)
    rows = windows * walkers
    limit = 2**62 if max_attempts is None else -(-int(max_attempts) // rows)
    mu, start = _mu(h, mu, move), _start(problem, occ, move, seed)
    rules = (int(check), float(flatness), schedule == "1/t", float(log_f_final), limit, bool(transitions))
    plan, known, found = scout(h, mu, move, sites, start, width, rules, seed)
    bounds = windows_of(plan, known, energies, windows, overlap)
    begin = starts(plan, bounds, walkers, found, start, seed)
    w = new_walks(plan, begin, log_f, seeds(seed, 3 + rows)[3:], np.repeat(bounds, walkers, 0), in_blocks=True)
    if energies is None and windows == 1:
        w.log_g[:, known] = 0.0
    run = identity("Wang-Landau", h, **settings, mu=mu, changing_sites=sites, start=start)
    _Walking(plan, w, run).go(job)
    return replace(_density(plan, w, walkers, begin[0], energies is None), seed=seed, atoms_map=problem.atoms_map)


def multicanonical(
    density: DensityOfStates, n: int, sweeps: int = 10, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``n`` configurations of one chain with the weight 1 / g: flat in energy, of use at every temperature.

    The weight of a configuration at temperature T is exp(log_g - energy / kT) up to a constant, for any log g,
    exact or not (Berg and Neuhaus, Phys. Rev. Lett. 68, 9 (1992)).

    Returns occ (n, N) int8, energy (n,) = E - mu.N, and log_g (n,) of their bins; ``sweeps`` between two. The chain
    does not enter bins that the density of states does not know.

    Raises AlloygenError for n or sweeps below 1.

    Examples
    --------
    >>> from alloygen.hamiltonian.ising import ising
    >>> occ, energy, log_g = multicanonical(wang_landau(ising(4), log_f_final=1e-3), 100)
    >>> occ.shape, bool(energy.min() < -20 < 20 < energy.max())
    ((100, 16), True)
    """
    n, sweeps, seed = whole_number(n, "n"), whole_number(sweeps, "sweeps"), seed_from(seed)
    d, h = density, density.hamiltonian
    frozen = (sweeps * len(d.sites), 0.5, False, -1.0, 2**62, False)  # log f is 0 and stays so
    rules = Rules(d.sites, np.zeros(0, np.int64), d.origin, d.width, d.levels, *frozen)
    plan = Plan(h, d.mu, d.move, with_mu(h, d.mu), rules, n_bins=int(d.bins[-1]) + 1)
    plan.rules = rules._replace(jump=level_jumps(plan, d.width, d.levels))
    w = new_walks(plan, d.occ[None], 0.0, seeds(seed, 1), np.array([[d.bins[0], d.bins[-1]]]))
    w.log_g[:] = np.inf
    w.log_g[0, d.bins] = d.log_g - d.log_g.min()
    occ, energy = np.empty((n, h.n_sites), dtype=np.int8), np.empty(n)
    for k in range(n):
        plan.kernel(plan.tables, w, 0, plan.rules, 1)
        occ[k], energy[k] = w.occ[0], w.energy[0]
    return occ, energy, d.log_g[np.searchsorted(d.bins, d.bin(energy))]


def multicanonical_ensembles(
    density: DensityOfStates, T: Temperatures, n: int = 1000, sweeps: int = 10, seed: int = 0
) -> list[Ensemble]:
    """One multicanonical chain weighted to each temperature of ``T``: an :class:`Ensemble` with averages, errors, atoms.

    The weights are exp(log_g - energy / kT), known up to a constant; the free energy is that of the density of states.

    Examples
    --------
    >>> from alloygen.hamiltonian.ising import ising
    >>> hot, cold = multicanonical_ensembles(wang_landau(ising(4), log_f_final=1e-3), [5.0, 2.0])
    >>> hot.mean_energy().value > -1.0 > cold.mean_energy().value
    True
    """
    seed = seed_from(seed)
    occ, energy, log_g = multicanonical(density, n, sweeps, seed)
    h, rows = density.hamiltonian, torch.from_numpy(occ).long()
    bare = h.energy(rows)
    return [
        Ensemble(h, rows, bare, None, float(t), density.mu, "multicanonical", density.atoms_map, chains=1, log_w=log_g - energy / (h.kB * t),
                 info={"free_energy": partial(density.phi, float(t)), "seed": seed})
        for t in np.atleast_1d(np.asarray(T, dtype=float))
    ]  # fmt: skip


# ---------------------------------------------------------------------- what is asked
def _check_settings(**s) -> None:
    for name in ("windows", "check", "walkers"):
        whole_number(s[name], name)
    for name in ("flatness", "overlap"):
        fraction(s[name], name)
    for name in ("log_f", "log_f_final", "width", "max_attempts"):
        if name.startswith("log_f") or s[name] is not None:
            positive(s[name], name)
    one_of(s["move"], "move", MOVES)
    one_of(s["schedule"], "schedule", SCHEDULES)
    if s["energies"] is not None:
        given = (
            np.array([np.nan])
            if isinstance(s["energies"], str)
            else np.atleast_1d(np.asarray(s["energies"], dtype=object))
        )
        if given.shape != (2,) or not all(isinstance(e, Real) for e in given) or not given[0] < given[1]:
            raise AlloygenError(f"expected energies (low, high) with low < high, got {s['energies']!r}")


def _mu(h: Hamiltonian, mu, move: str) -> np.ndarray:
    if isinstance(mu, Mapping):
        mu = chemical_potentials(mu, h)
    try:
        out = np.zeros(len(h.elements)) if mu is None else np.asarray(mu, dtype=float)
    except (TypeError, ValueError):
        out = np.empty(0)
    if out.shape != (len(h.elements),) or not np.isfinite(out).all():
        raise BadCondition(f"expected one finite chemical potential per element {h.elements}, got {mu!r}")
    if move == "swap" and out.any():
        raise BadCondition(f"expected no mu with swaps, which keep the composition, got {mu!r}: leave it out")
    return out


def _start(problem: Problem, occ, move: str, seed: int) -> np.ndarray | None:
    start = problem.start(occ, move == "swap", seed)
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
        return {k: v for k, v in self.w._asdict().items() if k != "states"}, {}

    def restore(self, tensors: dict, progress: dict) -> None:
        for name in self.w._fields:
            if name != "states":
                array = tensors[name].numpy()
                getattr(self.w, name)[...] = array.view(np.uint64) if name == "rng" else array
        fill(self.plan, self.w)


# ---------------------------------------------------------------------- the result
def _density(plan: Plan, w: Walks, walkers: int, start: np.ndarray, whole: bool) -> DensityOfStates:
    rules, visits = plan.rules, w.visits + w.seen
    alone = np.where(visits > 0, w.log_g, np.nan)
    if rules.transitions:
        alone = np.array([from_transitions(*x)[0] for x in zip(alone, w.leads, strict=True)])
    alone = alone.reshape(-1, walkers, plan.n_bins)
    joined = [join_windows(alone[:, k], w.low[::walkers], w.high[::walkers]) for k in range(walkers)]
    total = visits.sum(0)
    bins = np.flatnonzero(total)
    known = log_states(plan.hamiltonian.lattice, rules.sites, plan.move, start[None]) if whole else None
    total_states = math.nan if known is None else known
    mean, curves = average(np.array([c[0][bins] for c in joined]), total_states)
    mean, influence = _pooled(plan, w, walkers, bins, mean, total_states)
    away = w.first.sum(0)[bins] / total[bins]
    variance = np.maximum(w.second.sum(0)[bins] / total[bins] - away**2, 0.0)
    return DensityOfStates(
        hamiltonian=plan.hamiltonian, mu=plan.mu, move=plan.move, width=rules.width, origin=rules.origin,
        levels=rules.levels, bins=bins, energy=plan.centre(bins) + away, variance=variance, log_g=mean,
        walker_log_g=curves, influence=influence, visits=total[bins], log_states=total_states,
        attempts=int(w.attempts.sum()), log_f=float(w.log_f.max()), converged=bool((w.log_f <= rules.final).all()),
        note=_note(plan, w, influence.shape[1] > 0, np.isfinite(curves), whole), joints=np.array([c[1] for c in joined]),
        sites=rules.sites, occ=w.occ[0].copy(),
    )  # fmt: skip


def _pooled(
    plan: Plan, w: Walks, walkers: int, bins: np.ndarray, alone: np.ndarray, total: float
) -> tuple[np.ndarray, np.ndarray]:
    """(log g (bins,), influence (walkers, blocks, bins)) of all blocks of all walks, or log g of the walks and no blocks."""
    edges = blocks_used(w.length, w.filled, w.passed, w.attempts, np.where(w.inverse_t, w.log_f, 0.0))
    if not edges:
        return alone, np.zeros((walkers, 0, len(bins)))
    found = [_window(plan, w, list(range(r, r + walkers)), edges) for r in range(0, len(w.occ), walkers)]
    log_g, _, influence = join_windows(
        np.array([f[0] for f in found]), w.low[::walkers], w.high[::walkers], np.array([f[1] for f in found])
    )
    log_g, influence = log_g[bins], influence[..., bins]
    new = np.isnan(log_g)  # met before the walks settled, and not again
    log_g[new] = alone[new] + np.mean((log_g - alone)[~new])
    return normal(log_g, total), normal_influence(log_g, influence.reshape(walkers, -1, len(bins)))


def _window(plan: Plan, w: Walks, rows: list[int], edges: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """log g (n_bins,) of the walks of one window, and the influence (walkers * blocks, n_bins)."""
    counts = np.concatenate([grouped(w.counts[r], edges[r]) for r in rows])
    if plan.rules.transitions:
        met = np.where((w.visits + w.seen)[rows].sum(0) > 0, w.log_g[rows].max(0), np.nan)
        leads = np.concatenate([grouped(w.blocks[r], edges[r]) for r in rows])
        return from_transitions(met, w.leads[rows].sum(0), leads)
    size = np.concatenate([np.diff(edges[r]) for r in rows])
    bias = np.concatenate([grouped(w.biases[r], edges[r]) for r in rows]) / size[:, None]
    return from_visits(counts, bias)


def _note(plan: Plan, w: Walks, known: bool, met: np.ndarray, whole: bool) -> str:
    out = []
    if plan.rules.transitions and not w.leads.any(axis=(1, 2)).all():
        out.append(
            f"no transitions counted where log f did not come below {SETTLED:g}: log g is that of the plain walk"
        )
    if (w.log_f > plan.rules.final).any():
        out.append(f"stopped at max_attempts with log f = {w.log_f.max():.2g}, not {plan.rules.final:g}")
    if not known:
        out.append(UNSETTLED)
    if not met.all():
        out.append(f"{int((~met.all(0)).sum())} bins were not met by every walker")
    if w.late.any():
        out.append(f"{int(w.late.sum())} bins were first met at log f < {LATE:g}: their g may be too large")
    if not whole:
        out.append("confined to a range of energies: g is known up to a factor")
    return "; ".join(out)
