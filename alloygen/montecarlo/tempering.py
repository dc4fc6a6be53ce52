"""Grids and ladders of conditions for replica exchange.

The exchange rate of neighbours at distance d in the reduced field of a quantity with standard deviation s is about
erfc(d s / 2) (Gaussian energies; Kofke, J. Chem. Phys. 117, 6911 (2002)), so a ladder of equal rates has equal steps of the
thermodynamic length, the integral of s.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.special import erfcinv

from alloygen.conditions import Grid, plane, relative
from alloygen.conditions.record import Condition, semigrand
from alloygen.edge.problem import Problem
from alloygen.errors import AlloygenError, NotConverged
from alloygen.estimate.weights import user_level
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.montecarlo.chains import Chains, problem_of
from alloygen.montecarlo.single_moves import Move
from alloygen.runtime.job import Job

PLACED, HALVED = 3, 6  # rounds of placing by thermodynamic length, and of halving steps
NATS, MOST = 6.0, 49  # of a plane of mu: how far apart neighbours may be, and how many points
NEAREST = 0.05  # kT between points of a plane at least
RATIO = 1.45  # of neighbouring temperatures at most, up to the hottest one that is asked for
FROZEN = 8.0  # times the entropy: coarse first points of good pilot runs show up to four times of it, frozen ones hundreds and more


def grid_pairs(n_T: int, n_mu: int, beside: Sequence[np.ndarray] | None = None) -> list[np.ndarray]:
    """Neighbouring conditions of a T x mu grid (T slow) as sets of disjoint pairs: even/odd in T, and those of mu.

    beside : sets of pairs of mu, as of :func:`mu_neighbours`; those that follow each other, even/odd, if not given
    """
    index = np.arange(n_T * n_mu).reshape(n_T, n_mu)
    beside = _successive(np.arange(n_mu)) if beside is None else list(beside)
    sets = []
    for k in range(max(2, len(beside))):
        if k < 2:
            a, b = index[k:-1:2], index[k + 1 :: 2]
            sets.append(np.column_stack([a.ravel(), b.ravel()]))
        if k < len(beside):
            sets.append(index[:, beside[k]].reshape(-1, 2))
    return [s for s in sets if len(s)]


def mu_neighbours(mu: np.ndarray) -> list[np.ndarray]:
    """Neighbours among chemical potentials (M, n_elements), differences, as sets of disjoint pairs.

    Along each axis of a grid those next to each other where all other differences agree; where that leaves some apart, the edges of a triangulation
    (:func:`alloygen.conditions.plane.edges`).

    Examples
    --------
    >>> plane = np.array([[0, 0.0, 0.0], [0, 0.0, 0.1], [0, 0.2, 0.0], [0, 0.2, 0.1]])
    >>> [pairs.tolist() for pairs in mu_neighbours(plane)]
    [[[0, 2], [1, 3]], [[0, 1], [2, 3]]]
    """
    mu = np.round(mu, 9)
    axes = [k for k in range(mu.shape[1]) if np.ptp(mu[:, k]) > 0]
    sets: list[np.ndarray] = []
    for k in axes if len(axes) > 1 else []:
        order = np.lexsort([mu[:, k], *np.delete(mu, k, 1).T])
        cuts = np.flatnonzero((np.diff(np.delete(mu, k, 1)[order], axis=0) != 0).any(1)) + 1
        lines = [_successive(line) for line in np.split(order, cuts)]
        sets += [np.concatenate([line[parity] for line in lines]) for parity in (0, 1)]
    every = np.concatenate(sets) if sets else np.zeros((0, 2), dtype=int)
    graph = sparse.coo_array((np.ones(len(every)), tuple(every.T)), (len(mu), len(mu)))
    if connected_components(graph, directed=False)[0] > 1:
        sets = plane.disjoint(plane.edges(mu))
    return [s for s in sets if len(s)]


def _successive(line: np.ndarray) -> list[np.ndarray]:
    """Neighbours in a list of numbers as two sets of pairs, even and odd."""
    pairs = np.column_stack([line[:-1], line[1:]])
    return [pairs[0::2], pairs[1::2]]


def ladder(
    problem: Hamiltonian | Problem,
    grid: Grid,
    *,
    T_max: float = np.inf,
    acceptance: float = 0.3,
    sweeps: int = 400,
    move: str | Move = "flip",
    seed: int = 0,
    job: Job | None = None,
) -> np.ndarray:
    """Temperatures for replica exchange that hold every one of the grid's, reach ``T_max``, and exchange at ``acceptance``.

    Pilot runs measure the standard deviation s of E - mu.N along the ladder; steps of equal thermodynamic length
    2 erfcinv(acceptance) in beta (see the module) are put between the given temperatures. Where exchange is then still
    rare, as at a first-order transition, steps are halved until it is not. Up to the hottest finite one of the grid no two
    neighbours differ by more than 1.45 times, however often they exchange: a pilot run tells little of a phase that it met
    rarely, and replicas bring such a phase down only where each step lets it live.

    Cold pilot runs freeze: what they fell into differs from one replica to the next, and s, which should go to 0, does not. The entropy tells where,
    because down to any beta

        integral of beta s^2 dbeta = (S(T = inf) - S) / kB <= log(number of configurations).

    Where they show more than eight times of that, s is taken as 0 from there on down, and a NotConverged warning says so.

    Parameters
    ----------
    problem : a Hamiltonian on its supercell, or a Problem, whose held sites stay and whose first start the pilot runs take
    grid : ``hamiltonian.grid(T, mu)``, the temperatures that must be in the ladder; of several mu the largest s at each T counts
    T_max : end of the ladder; infinity makes free energies absolute
    acceptance : mean exchange rate of neighbours, between 0.05 and 0.9
    sweeps : sweeps of each pilot run; move : as in Chains; job : of which the threads count

    Returns temperatures in rising order. Raises AlloygenError for an acceptance out of range.

    Examples
    --------
    >>> from alloygen.hamiltonian.ising import ising
    >>> h = ising(8)
    >>> T = ladder(h, h.grid(2.0))
    >>> float(T[0]), float(T[-1]), 4 < len(T) < 15
    (2.0, inf, True)
    """
    problem = _first(problem)
    hamiltonian = problem.hamiltonian
    wanted = np.unique(np.append(hamiltonian.require(grid, Grid).T, T_max))
    wanted = wanted[wanted <= T_max]
    chains = partial(Chains.of, problem, seed=seed, threads=(job or Job()).threads, move=move)
    entropy = float(np.log(hamiltonian.lattice.n_species[problem.free]).sum())
    frozen = 0.0  # temperature of the last pilot run

    def pilot(beta, sweeps):
        nonlocal frozen
        with np.errstate(divide="ignore"):
            temperatures = 1.0 / (hamiltonian.kB * beta)
        s, rates = _pilot(chains, replace(grid, T=temperatures).condition(hamiltonian.kB), len(grid.mu), sweeps)
        thawed = _thawed(beta, s, entropy)
        frozen = temperatures[~thawed.all(1)].max(initial=0.0)
        return np.where(thawed, s, 0.0), rates

    marks = np.sort(1.0 / (hamiltonian.kB * wanted))
    trial = _refine(marks, pilot, acceptance, sweeps)
    if frozen > 0.0:  # the first points have to resolve where order sets in, from beta = 0 on
        spread = pilot(marks[[0, -1]], sweeps)[0][0].max()
        trial = _refine(marks, pilot, acceptance, sweeps, np.geomspace(0.1 / spread, marks[-1], 8 * PLACED))
    if frozen > 0.0:
        warnings.warn(
            f"pilot runs are frozen from T = {frozen:.4g} on down, so that what a ladder from there to T = {wanted[0]:g} needs is not "
            "known: it has few temperatures there, configurations stay what they were when they froze, and free energies rest on the lowest energy that was met. "
            "Take temperatures above, or alloygen.ground_states for the states of lowest energy",
            NotConverged,
            stacklevel=user_level(),
        )
    with np.errstate(divide="ignore"):
        rungs = _close(np.sort(1.0 / (hamiltonian.kB * trial)), wanted[np.isfinite(wanted)].max(initial=0.0))
    for t in wanted:  # as they were given, not as 1 / (1 / T)
        rungs[np.argmin(np.abs(1.0 / rungs - 1.0 / t))] = t
    return rungs


def mu_ladder(
    problem: Hamiltonian | Problem,
    path: Condition,
    *,
    acceptance: float = 0.3,
    sweeps: int = 400,
    seed: int = 0,
    job: Job | None = None,
) -> np.ndarray:
    """Chemical potentials for replica exchange that hold every one of ``path`` and exchange at ``acceptance``.

    As :func:`ladder`, with steps along the straight lines between successive conditions, two or more of one temperature,
    ``hamiltonian.condition(T, mu)`` of several mu, and the standard deviation of the number of atoms they act on. Take the lowest temperature
    of a grid: there the numbers jump at transitions, and the steps must be smallest. Returns (n, n_elements).

    Examples
    --------
    >>> from alloygen.hamiltonian.ising import ising
    >>> h = ising(6)
    >>> mu = mu_ladder(h, h.condition(3.0, [[0, -2.0], [0, 2.0]]))
    >>> mu[0].tolist(), mu[-1].tolist(), 4 < len(mu) < 20
    ([0.0, -2.0], [0.0, 2.0], True)
    """
    problem = _first(problem)
    T, mu = problem.hamiltonian.require(path, Condition).rows.arrays()
    if len(mu) < 2 or np.ptp(T) > 0:
        raise AlloygenError(
            f"expected at least two chemical potentials at one temperature, got {len(mu)} at T = {np.unique(T).tolist()}"
        )
    marks = np.arange(len(mu), dtype=float)
    chains = partial(Chains.of, problem, seed=seed, threads=(job or Job()).threads)

    def at(x):
        return np.stack([np.interp(x, marks, column) for column in mu.T], 1)

    def pilot(x, sweeps):
        along = Condition(np.full(len(x), T[0]), at(x), path.kB)
        return _pilot(chains, along, 1, sweeps, slope=np.gradient(at(x), x, axis=0))

    return at(_refine(marks, pilot, acceptance, sweeps))


def mu_plane(
    problem: Hamiltonian | Problem,
    path: Condition,
    *,
    nats: float = NATS,
    most: int = MOST,
    sweeps: int = 400,
    seed: int = 0,
    job: Job | None = None,
) -> np.ndarray:
    """Chemical potentials in a plane, or in more directions: those of ``path`` and more of them where the composition jumps.

    Pilot runs of replica exchange measure the mean composition at each; between neighbours whose laws are more than ``nats`` apart
    (:mod:`alloygen.conditions.plane`) the middle is added, the widest gaps first, until there are ``most``. Take the lowest temperature of a grid. Where its chains
    hardly move they tell roughly where phases meet, which is enough to put samples there. Returns (n, n_elements).

    Examples
    --------
    >>> from alloygen.testing import enumerable
    >>> h = enumerable("ternary").hamiltonian
    >>> corners = [[0, a, b] for a in (-1.0, 1.0) for b in (-1.0, 1.0)]
    >>> mu = mu_plane(h, h.condition(300.0, corners), most=9)
    >>> mu[:4].tolist() == corners, len(mu)
    (True, 9)
    """
    problem = _first(problem)
    h = problem.hamiltonian
    T, mu = h.require(path, Condition).rows.arrays()
    if np.ptp(T) > 0:
        raise AlloygenError(f"expected chemical potentials at one temperature, got T = {np.unique(T).tolist()}")
    beta = 1.0 / (h.kB * T[0])
    while len(mu) < most:
        differences = relative(mu, h.lattice)
        pairs = plane.edges(differences)
        at = Condition(np.full(len(mu), T[0]), mu, path.kB)
        chains = Chains.of(problem, at, seed, mu_neighbours(differences), threads=(job or Job()).threads)
        seen = [counts for _, counts in _rounds(chains, sweeps)]
        far = plane.divergence(beta, mu, np.mean(seen, axis=0), pairs)
        far = np.where(beta * np.abs(mu[pairs[:, 1]] - mu[pairs[:, 0]]).max(1) > NEAREST, far, 0.0)
        wide = np.argsort(-far, kind="stable")[: min((far > nats).sum(), most - len(mu), max(len(mu) // 2, 4))]
        if not len(wide):
            break
        middle = 0.5 * mu[pairs[wide]].sum(1)
        mu = np.concatenate([mu, middle[np.sort(np.unique(np.round(middle, 9), axis=0, return_index=True)[1])]])
    return mu


def _first(problem: Hamiltonian | Problem) -> Problem:
    """The problem with one start at most, for a path whose length is not known yet."""
    problem = problem_of(problem)
    return problem if problem.given is None else replace(problem, given=problem.given[:1])


def _thawed(beta: np.ndarray, s: np.ndarray, entropy: float) -> np.ndarray:
    """(n, M) where rising ``beta`` (n,) has not yet brought down more than FROZEN times the entropy that there is, by s (n, M) of each chemical potential."""
    shown = beta[:, None] * s**2
    lost = np.cumsum(0.5 * (shown[1:] + shown[:-1]) * np.diff(beta)[:, None], axis=0)
    return np.concatenate([np.ones((1, s.shape[1]), dtype=bool), lost <= FROZEN * entropy])


def _refine(marks: np.ndarray, pilot, acceptance: float, sweeps: int, begin: np.ndarray | None = None) -> np.ndarray:
    """Points along a path that hold ``marks`` (rising), with pilot(points, sweeps) -> (s of each quantity (n, M), exchange rates) of them.

    begin : the first points that are tried; a dozen at equal distances if not given
    """
    if not 0.05 <= acceptance <= 0.9:
        raise AlloygenError(f"expected an exchange acceptance between 0.05 and 0.9, got {acceptance!r}")
    step = 2.0 * erfcinv(acceptance)
    trial = _subdivide(marks, np.linspace(marks[0], marks[-1], 12) if begin is None else begin)
    for _ in range(PLACED):
        s = pilot(trial, sweeps)[0].max(1)
        s = np.maximum(s, 1e-3 * s.max() + 1e-12)
        length = np.append(0.0, np.cumsum(0.5 * (s[1:] + s[:-1]) * np.diff(trial)))
        ends = np.interp(marks, trial, length)
        inner = [np.linspace(a, b, max(1, int(np.ceil((b - a) / step))) + 1) for a, b in pairwise(ends)]
        trial = _subdivide(marks, np.interp(np.unique(np.concatenate(inner)) if inner else ends, length, trial))
    for k in range(
        HALVED
    ):  # fluctuations are not Gaussian at a transition: where exchange is still rare, halve the step
        rare = pilot(trial, (k + 1) * sweeps)[1] < 0.6 * acceptance
        if not rare.any():
            break
        trial = _subdivide(trial, 0.5 * (trial[1:] + trial[:-1])[rare])
    return trial


def _subdivide(marks: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """``marks`` exactly, with those of ``inner`` that are not the same number up to rounding."""
    scale = max(np.abs(marks).max(), 1e-300)
    other = inner[np.abs(inner[:, None] - marks[None]).min(1) > 1e-9 * scale]
    return np.sort(np.append(marks, other))


def _close(rungs: np.ndarray, top: float) -> np.ndarray:
    """Rising temperatures, with more between neighbours up to ``top`` that differ by more than RATIO times."""
    between = [
        a * (b / a) ** (np.arange(1, k) / k)
        for a, b in pairwise(rungs[rungs < (1.0 + 1e-9) * top])
        if (k := int(np.ceil(np.log(b / a) / np.log(RATIO) - 1e-9))) > 1
    ]
    return np.sort(np.concatenate([rungs, *between]))


def _pilot(
    make: Callable[..., Chains], path: Condition, n_beside: int, sweeps: int, slope: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Standard deviation of the conjugate quantity (n, n_beside) and exchange rates (n - 1,) along a path, from a short run.

    ``path`` has C conditions, ``n_beside`` of them side by side at each point, of which the worst counts. The quantity
    is E - mu.N, or beta slope.N where the path goes along ``slope`` (C, n_elements) in mu.
    """
    n = len(path) // n_beside
    pairs = [(p[:, None, :] * n_beside + np.arange(n_beside)[None, :, None]).reshape(-1, 2) for p in grid_pairs(n, 1)]
    chains = make(path, pairs=pairs)
    seen = [
        semigrand(energy, counts, chains.mu) if slope is None else chains.beta * (counts * slope).sum(1)
        for energy, counts in _rounds(chains, sweeps)
    ]
    s = np.std(seen, axis=0).reshape(n, n_beside)
    rates = np.ones(n - 1)
    for p, r in zip(chains.pairs, chains.exchange_rates, strict=True):
        np.minimum.at(rates, p[:, 0] // n_beside, r)
    return s, rates


def _rounds(chains: Chains, sweeps: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Energies and counts at the conditions, every five of ``sweeps`` sweeps, the first quarter of them left out of it and of the counters."""
    rounds = max(sweeps // 5, 10)
    for k in range(rounds):
        chains.step(5)
        if k == rounds // 4:
            chains.reset_counters()
        if k >= rounds // 4:
            at, w = chains.replica_at, chains.walkers
            yield w.energy[at], w.counts[at]
