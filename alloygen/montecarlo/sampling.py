"""Markov-chain samplers that return scans: Metropolis flips and swaps, replica exchange in T and mu, cluster moves.

Each makes its chains and hands them to the one loop of :mod:`alloygen.montecarlo.run`; keywords that a sampler does not
name itself (sweeps, burn, precision, observers, ...) are those of :class:`alloygen.montecarlo.run.Run`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from alloygen.arguments import seed_from
from alloygen.conditions import Grid, relative
from alloygen.conditions.record import Condition
from alloygen.edge.problem import Problem
from alloygen.errors import AlloygenError, BadCondition
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.montecarlo.chains import Chains, problem_of
from alloygen.montecarlo.run import Run, collect
from alloygen.montecarlo.single_moves import Move, move_from
from alloygen.montecarlo.tempering import grid_pairs, mu_neighbours
from alloygen.results.scan import Scan
from alloygen.runtime.job import Job
from alloygen.types import ArrayLike

KEYWORDS = ("move", "copies", "seed", "job")  # of every sampler of single moves, beside those of a Run


def metropolis(
    problem: Hamiltonian | Problem,
    condition: Condition,
    n: int = 1000,
    *,
    move: str | Move = "flip",
    copies: int = 4,
    seed: int = 0,
    job: Job | None = None,
    **run: Any,
) -> Scan:
    """Metropolis sampling at C conditions, or one, of ``hamiltonian.condition(T, mu)``: ``copies`` independent chains each.

    Semigrand flips of a uniform site to a uniform other species are accepted with min(1, exp(-beta [dE - dmu]))
    (Metropolis et al., J. Chem. Phys. 21, 1087 (1953)). With ``move="swap"`` two sites exchange their elements instead, at
    the composition of the start (Kawasaki, Phys. Rev. 145, 224 (1966), over any distance); a
    :class:`~alloygen.montecarlo.single_moves.Move` of your own is taken as well. A Problem in place of the Hamiltonian says which sites
    are held and where the chains start: ``Problem.of(h, occ=occ, fixed=[0])`` with occ (N,), (C, N) or (copies * C, N), else at
    random or, for moves that keep the composition, from the atoms; further keywords are those of
    :class:`~alloygen.montecarlo.run.Run`, ``job`` says how it is run. Same seed, same samples, for any number of threads.

    Examples
    --------
    >>> from alloygen.hamiltonian.ising import ising
    >>> h = ising(4)
    >>> scan = metropolis(h, h.condition([2.0, 3.0], [0, 0.2]), precision={"+": 0.01}, seed=0)
    >>> scan[0].composition("+").stderr < 0.01
    True
    >>> scan = metropolis(Problem.of(h, occ=[0] * 10 + [1] * 6), h.condition([2.0, 3.0]), move="swap", n=400)
    >>> int(scan.occ.sum(-1).min()), int(scan.occ.sum(-1).max())
    (6, 6)
    """
    problem, job = problem_of(problem), job or Job()
    how, seed = Run.of({"n": n, **run}, problem.hamiltonian, KEYWORDS), seed_from(seed)
    _require_no_mu(move, problem.hamiltonian.require(condition, Condition).mu)
    chains = Chains.of(problem, condition, seed, move=move, copies=copies, threads=job.threads)
    return collect(chains, how, job, "Metropolis", seed)


def replica_exchange(
    problem: Hamiltonian | Problem,
    grid: Grid,
    n: int = 1000,
    *,
    ladder: ArrayLike = (),
    move: str | Move = "flip",
    copies: int = 1,
    seed: int = 0,
    job: Job | None = None,
    **run: Any,
) -> Scan:
    """Metropolis over a grid of nT temperatures and nM chemical potentials, ``hamiltonian.grid(T, mu)``, with exchange.

    Neighbours in T and in mu exchange their configurations after each ``sweeps`` sweeps. The scan has C = nT * nM
    conditions, T slow. ``ladder`` names further temperatures that take part and are not reported: the scan keeps their samples
    out of sight (``scan.hidden``), for free energies. With T = infinity among them (:func:`alloygen.montecarlo.tempering.ladder`
    makes a ladder) these are absolute: ``scan.free_energy(c)``, ``scan.mbar``. The rest is as in :func:`metropolis`.

    Examples
    --------
    >>> from alloygen.hamiltonian.ising import ising
    >>> h = ising(4)
    >>> s = replica_exchange(h, h.grid([2.0, 3.0], [[0, 0.0], [0, 0.2]]), n=2000, ladder=[np.inf], seed=0)
    >>> s.occ.shape
    (4, 2000, 16)
    >>> bool(abs(s.free_energy(0).value + 2.13817) < 0.03)      # Kaufman's value
    True
    """
    problem, job = problem_of(problem), job or Job()
    how, seed = Run.of({"n": n, **run}, problem.hamiltonian, (*KEYWORDS, "ladder")), seed_from(seed)
    h = problem.hamiltonian
    h.require(grid, Grid)
    _require_no_mu(move, grid.mu)
    every = replace(grid, T=np.union1d(grid.T, ladder)) if np.size(ladder) else grid
    pairs = grid_pairs(len(every.T), len(every.mu), mu_neighbours(relative(every.mu, h.lattice)))
    chains = Chains.of(problem, every.condition(h.kB), seed, pairs, move=move, copies=copies, threads=job.threads)
    return collect(chains, how, job, "replica exchange", seed, np.isin(chains.T, grid.T))


def cluster_moves(
    problem: Hamiltonian | Problem,
    condition: Condition,
    n: int = 1000,
    *,
    kind: str = "swendsen-wang",
    copies: int = 4,
    seed: int = 0,
    job: Job | None = None,
    **run: Any,
) -> Scan:
    """Swendsen-Wang or Wolff cluster moves at C conditions, or one, for ferromagnetic pairs.

    They do not slow down at a critical point; a field acts through a ghost spin. See
    :class:`alloygen.montecarlo.cluster_chains.ClusterChains` for the moves and where they apply; a "sweep" is one move.
    The rest is as in :func:`metropolis`.

    Examples
    --------
    >>> from alloygen.hamiltonian.ising import ising
    >>> h = ising(8, h=0.1)
    >>> scan = cluster_moves(h, h.condition(2.27), n=1000, sweeps=1)
    >>> scan[0].effective_samples > 100
    True
    """
    from alloygen.montecarlo.cluster_chains import ClusterChains

    problem, job = problem_of(problem), job or Job()
    how, seed = Run.of({"n": n, **run}, problem.hamiltonian, ("kind", "copies", "seed", "job")), seed_from(seed)
    if problem.held.any():
        raise AlloygenError(
            f"expected no held sites, which cluster moves would flip, got {int(problem.held.sum())}. Take metropolis"
        )
    chains = ClusterChains(problem.hamiltonian, condition, seed, kind, problem.given, copies)
    return collect(chains, how, job, kind, seed)


def packed_flips(
    L: int,
    T: ArrayLike,
    h: ArrayLike = 0.0,
    n: int = 10_000,
    *,
    J: float = 1.0,
    copies: int | None = None,
    seed: int = 0,
    job: Job | None = None,
    **run: Any,
) -> Scan:
    """The L x L Ising model at temperatures T and fields h, numbers or (C,): 64 chains in a machine word.

    Single flips by the rule and in the order of :mod:`alloygen.montecarlo.multispin`, some fifty times as many a second as those
    of :func:`metropolis`. The Hamiltonian of the scan is ``ising(L, J=J)``, the field is mu = (-h, h). ``copies`` chains of each
    condition, by default as many as fill a block of 1024, share the n samples; the rest is as in :func:`metropolis`.

    Examples
    --------
    >>> scan = packed_flips(4, [2.0, 3.0], 0.1, n=2048, sweeps=5, burn=20, check=False)
    >>> scan.occ.shape, bool(scan[0].composition("+").value > scan[1].composition("+").value)
    ((2, 2048, 16), True)
    """
    from alloygen.montecarlo.packed_chains import PackedChains

    job, seed = job or Job(), seed_from(seed)
    chains = PackedChains(L, T, h, J, copies, seed)
    how = Run.of({"n": n, **run}, chains.hamiltonian, ("J", "copies", "seed", "job"))
    return collect(chains, how, job, "packed flips", seed)


def _require_no_mu(move: str | Move, mu: np.ndarray | torch.Tensor) -> None:
    if move_from(move).keeps_composition and bool((mu != 0).any()):
        raise BadCondition(
            f'expected no mu with move="{move}", which keeps the numbers of atoms, got {mu.tolist()}. Leave it out, or flip'
        )
