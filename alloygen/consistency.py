"""An expansion made consistent with a calculator where it is used: draw by it, compute what was drawn, fit anew, draw again.

The loop ends when Phi of the expansion moves by less than its error from one round to the next, at every condition: then the structures that it was
fitted to are those of its own law. What it still lacks, the difference of the calculator's Phi from its own, each round has with an error of its own.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from alloygen.api import mc
from alloygen.arguments import positive, seed_from, settings, whole_number
from alloygen.conditions import Mus
from alloygen.edge.computed import Recipe, RelaxLike
from alloygen.edge.problem import AtomsLike, HamiltonianLike, Problem
from alloygen.errors import NotConverged
from alloygen.estimate.result import Estimate
from alloygen.hamiltonian.expansion import ClusterExpansion
from alloygen.results.labels import Labelled
from alloygen.results.relabelled import Relabelled, relabel
from alloygen.results.scan import Scan
from alloygen.runtime.job import Job
from alloygen.types import Temperatures

SIGMA = 2.0  # standard errors that a change may have


@dataclass(frozen=True, kw_only=True, eq=False)
class Round:
    """One round: the expansion that was drawn by, its samples, their energies by the calculator.

    phi : of the expansion at each condition; calculator : of the calculator, by the weights of the samples
    change : (C,) of phi since the round before, nan in the first; limit : (C,) that it is to stay below
    """

    expansion: ClusterExpansion
    scan: Scan
    relabelled: tuple[Relabelled, ...]
    phi: tuple[Estimate, ...]
    calculator: tuple[Estimate, ...]
    change: np.ndarray
    limit: np.ndarray

    @property
    def settled(self) -> bool:
        """Whether no condition moved by more than its limit."""
        return bool((np.abs(self.change) <= self.limit).all())


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SelfConsistent:
    """What :func:`self_consistent` comes to: its rounds, and whether the last one settled."""

    rounds: tuple[Round, ...]
    converged: bool

    @property
    def expansion(self) -> ClusterExpansion:
        """The expansion of the last round."""
        return self.rounds[-1].expansion

    def to_pandas(self) -> Any:
        """A ``pandas.DataFrame`` with a row for each round and condition."""
        import pandas as pd

        rows = []
        for k, one in enumerate(self.rounds):
            for c, found in enumerate(one.relabelled):
                mu = {f"mu_{e}": float(m) for e, m in zip(found.source.elements, found.source.mu, strict=True)}
                phi, exact = one.phi[c], one.calculator[c]
                row = {
                    "round": k,
                    "T": found.source.T,
                    **mu,
                    "phi": phi.value,
                    "phi_stderr": phi.stderr,
                    "change": one.change[c],
                }
                row |= {"limit": one.limit[c], "phi_calculator": exact.value, "phi_calculator_stderr": exact.stderr}
                rows.append(
                    row | {"effective_samples": found.ensemble.effective_samples, "failed": len(found.failures)}
                )
        return pd.DataFrame(rows)

    def __repr__(self) -> str:
        computed = {s.hash for r in self.rounds for found in r.relabelled for s in found.structures}
        return f"SelfConsistent({len(self.rounds)} rounds, {len(computed)} structures, {'' if self.converged else 'not '}converged)"


def self_consistent(
    atoms: AtomsLike,
    calculator: Any,
    T: Temperatures,
    mu: Mus,
    hamiltonian: HamiltonianLike,
    *,
    n: int = 200,
    select: int | None = None,
    rounds: int = 6,
    tolerance: float = 5e-4,
    relax: RelaxLike = False,
    references: str | Mapping[str, float] | None = "ends",
    seed: int = 0,
    job: Job | None = None,
    **fit: Any,
) -> SelfConsistent:
    """Sample, relabel, refit, and sample again, until the free energy stays.

    Parameters
    ----------
    atoms, T, mu, hamiltonian : as in :func:`alloygen.mc`, which draws: the expansion to begin with, and the conditions at which it is to be right
    calculator, relax, references : as in :meth:`alloygen.Ensemble.relabel`. Each different structure is computed once in all rounds
    n : samples at each condition
    select : how many different structures of each condition are computed, drawn by weight; None: all
    rounds : at most; tolerance : change of Phi, in eV per site, that counts as none even where the error is smaller
    seed : of the samples, round by round
    job : a bar, an executor, and a checkpoint, beside which each round keeps what was computed (``<checkpoint>.0``, ...)
    fit : options of :func:`alloygen.fit`, such as cutoffs; by default cutoffs are those of the expansion where it remembers a fit

    Returns :class:`SelfConsistent`. Warns with NotConverged where Phi still moves by more than two standard errors and ``tolerance`` after the last
    round, and with what ``relabel`` and ``fit`` say. Raises what these raise.

    Examples
    --------
    >>> found = alloygen.self_consistent(atoms, EMT(), T=[800, 1200], mu={"Au": [0, 0.05]}, hamiltonian=alloy)  # doctest: +SKIP
    >>> found.converged, found.expansion, found.to_pandas()                                                      # doctest: +SKIP
    """
    n, rounds = whole_number(n, "n, the samples per condition,"), whole_number(rounds, "rounds")
    select, seed = None if select is None else whole_number(select, "select"), seed_from(seed)
    tolerance, job = positive(tolerance, "tolerance", "in eV per site"), settings(job, Job, "job")
    recipe = Recipe(calculator=calculator, relax=relax)
    problem = Problem.of(atoms, mu, hamiltonian)
    alloy = problem.hamiltonian.expansion
    remembered = getattr(alloy, "fitted", None)
    options = {**({} if remembered is None else {"cutoffs": remembered.cutoffs}), **fit}
    known: dict[str, Labelled] = {}
    done: list[Round] = []
    for k in range(rounds):
        scan = mc(atoms, T, mu, n, seed=seed + k, hamiltonian=alloy, job=replace(job, executor=None, checkpoint=None))
        drawn = [ens if select is None else ens.select(select, seed=seed + k).ensemble for ens in scan]
        own = job if job.checkpoint is None else replace(job, checkpoint=f"{os.fspath(job.checkpoint)}.{k}")
        labelled = relabel(drawn, recipe, references, own, known)
        references = labelled[0].references or None  # one scale in all rounds
        known |= {s.hash: s for found in labelled for s in found.structures}
        done.append(_round(alloy, scan, labelled, done[-1] if done else None, tolerance))
        if done[-1].settled:
            return SelfConsistent(rounds=tuple(done), converged=True)
        if k + 1 < rounds:
            earlier = [found for one in done[:-1] for found in one.relabelled]
            alloy = labelled[0].refit(*labelled[1:], *earlier, **options)
    moved = np.nanmax(np.abs(done[-1].change)) if len(done) > 1 else np.nan
    warnings.warn(
        f"Phi still changes by {1e3 * moved:.2g} meV/site after {rounds} rounds, expected less than {SIGMA:g} standard errors or {1e3 * tolerance:g}: "
        "the expansion is not that of its own structures yet. Take more rounds or samples, or larger cutoffs where the error of the fit stays",
        NotConverged,
        stacklevel=2,
    )
    return SelfConsistent(rounds=tuple(done), converged=False)


def _round(alloy: Any, scan: Scan, labelled: tuple[Relabelled, ...], last: Round | None, tolerance: float) -> Round:
    phi = tuple(scan[c].free_energy() for c in range(len(scan)))
    exact = []
    for p, found in zip(phi, labelled, strict=True):
        moved = found.difference
        exact.append(Estimate(p.value + moved.value, float(np.hypot(p.stderr, moved.stderr)), moved.note or p.note))
    value, error = np.array([p.value for p in phi]), np.array([p.stderr for p in phi])
    change, limit = np.full(len(phi), np.nan), np.full(len(phi), tolerance)
    if last is not None:
        change = value - np.array([p.value for p in last.phi])
        limit = np.maximum(SIGMA * np.hypot(error, [p.stderr for p in last.phi]), tolerance)
    return Round(
        expansion=alloy, scan=scan, relabelled=labelled, phi=phi, calculator=tuple(exact), change=change, limit=limit
    )
