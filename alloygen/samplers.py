"""Samplers as objects: ``Neural``, a model that draws independent configurations, and ``MonteCarlo`` (:mod:`alloygen.montecarlo.laddered`).

An option that a sampler does not have cannot be given. For convenience a sampler may be written as "neural", "mc", a model, or the name or
path of a checkpoint; :func:`placed` makes the object, and lays the problem on the sites of its model.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import torch

from alloygen import registry
from alloygen.arguments import one_of, whole_number
from alloygen.arrays import as_array
from alloygen.conditions import Grid, references, relative
from alloygen.conditions.record import Condition
from alloygen.edge.problem import AtomsLike, Fixed, HamiltonianLike, Problem
from alloygen.errors import AlloygenError, BadCondition, OutsideTrainedRange
from alloygen.estimate import weights
from alloygen.estimate.weights import user_level
from alloygen.generate.conditional import log_p_fixed
from alloygen.generate.outpaint import Outpainter
from alloygen.generate.refine import Anneal, Blocks, Draws, Refinement
from alloygen.limits import require_memory, sample_bytes
from alloygen.models.base import AnyCell, AnyOrder, Model
from alloygen.models.canonical import Canonical
from alloygen.models.draw import draw
from alloygen.montecarlo.balanced import keeping
from alloygen.montecarlo.laddered import MonteCarlo
from alloygen.orders import FAMILIES
from alloygen.results.adaptive import NeuralScan, Spacing
from alloygen.results.ensemble import Ensemble
from alloygen.results.provenance import Provenance
from alloygen.results.scan import Scan
from alloygen.runtime.job import Job
from alloygen.types import ArrayLike, PathLike

EVEN = 0.5  # NESS above which the weights of draws are believed, and the share of it that the forward one has at least where they may be
MOST_PATHS = 100_000  # that a likelihood is averaged over
IN_PARTS = "Draw parts with seeds of their own, and write each before the next (docs/samplers.md)"
OTHERWISE = 'sampler="mc" says that Monte Carlo is meant, Neural(then=Anneal()) draws within the range and cools its draws, with exact weights'


@dataclass(frozen=True, kw_only=True, eq=False)
class Neural:
    """A model that draws independent configurations with exact likelihoods.

    model : a model, the path of a checkpoint, or a name that ships; None picks the one that fits
    order : order family of the model ("sublattice", "raster", "random"); None takes the one it was trained on
    batch : at most so many configurations in work at once, in blocks of up to 128, for less memory; None: a block on each thread that
        torch may use (``torch.get_num_threads``). It changes no result
    average : weigh each draw by its likelihood averaged over this many paths, orders and translates: more even weights for more time
    stride : steps between windows where the supercell is larger than the model's and is out-painted (:mod:`alloygen.generate.outpaint`)
    then : what follows the draws: ``Anneal``, ``Blocks`` or ``Flips`` of :mod:`alloygen.generate.refine`
    outside : what is done at conditions that the model was not trained on: "refuse" them, or "allow" them with an OutsideTrainedRange
        warning. There all its draws may lie in one phase, the wrong one, and agree with each other: a NESS of 1 with a Phi that is off. ``Anneal``
        begins at the coldest temperature of the range, so that colder ones are within it

    Raises AlloygenError when it is made, for what cannot be.

    Examples
    --------
    >>> import alloygen
    >>> from ase.build import bulk
    >>> how = alloygen.Neural(then=alloygen.Flips(effort=0.1))
    >>> alloygen.sample(bulk("Cu", a=3.8).repeat((2, 2, 4)), 600, {"Au": 0.02}, n=20, sampler=how).method
    'neural, flips'
    """

    model: Model | PathLike | None = None
    order: str | None = None
    batch: int | None = None
    average: int = 1
    stride: ArrayLike | None = None
    then: Refinement | None = None
    outside: str = "refuse"

    def __post_init__(self) -> None:
        one_of(self.order, "order", (None, *FAMILIES))
        one_of(self.outside, "outside", ("refuse", "allow"))
        if self.batch is not None:
            whole_number(self.batch, "batch")
        object.__setattr__(self, "average", whole_number(self.average, "average", 1, MOST_PATHS))
        if self.then is not None and not isinstance(self.then, Refinement):
            raise AlloygenError(f"expected then=Anneal(), Blocks() or Flips() of alloygen, got {self.then!r}")

    @property
    def law(self) -> Model:
        """The model itself."""
        assert isinstance(self.model, Model)  # as ``placed`` leaves it
        return self.model

    def sample(self, problem: Problem, at: Condition, n: int, seed: int, job: Job) -> Ensemble:
        """n independent configurations at one condition."""
        model, target = self._aimed(problem), problem.hamiltonian
        words = f"{n} configurations of {target.n_sites} sites"
        require_memory(sample_bytes(n, target.n_sites, len(target.elements)), words, IN_PARTS)
        if job.executor is not None or job.checkpoint is not None:
            raise AlloygenError(
                f"expected neither executor nor checkpoint for one condition, got {job}: a model draws anew from the same seed"
            )
        self._require_inside(at)
        known = problem.known if problem.held.any() else None
        draws = self._draws(model, problem, at, n, seed, known, job)
        method, info = self._told(draws.painter, seed)
        if known is not None and target.n_sites == model.hamiltonian.n_sites and isinstance(model, AnyOrder):
            info["log_p_fixed"] = log_p_fixed(model, known, at, generator=torch.Generator().manual_seed(seed))
        if self.then is None:
            occ, log_prob = draws.plain(at, n)
        else:
            occ, log_prob, told = self.then.refined(draws)
            method, info = f"{method}, {self.then.label}", info | told
        facts = Provenance(seed=seed, known=known, constrained=problem.counts is not None)
        T, mu = float(at.T), as_array(at.mu)
        ens = Ensemble(target, occ, target.energy(occ), log_prob, T, mu, method, problem.atoms_map, info, facts=facts)
        self._tell_missed(model, problem, ens)
        ens.tell(model.remedy)
        return ens

    def scan(self, problem: Problem, grid: Grid, n: int, seed: int, job: Job, refine: Spacing | None = None) -> Scan:
        """The conditions of a grid, and what ``refine`` puts between."""
        for name in ("average", "stride", "then"):
            if getattr(self, name) != getattr(Neural, name):
                raise AlloygenError(f"expected a scan without {name}, which is for alloygen.sample alone, got {self}")
        conditions, model = grid.condition(problem.hamiltonian.kB), self._aimed(problem)
        if isinstance(model, Canonical) and (job.executor is not None or job.checkpoint is not None):
            raise AlloygenError(
                f"expected neither executor nor checkpoint with a composition, got {job}; leave them out"
            )
        h = problem.hamiltonian
        words = f"{len(conditions)} conditions with {n} configurations of {h.n_sites} sites each"
        needed = sample_bytes(n, h.n_sites, len(h.elements)) + sample_bytes(
            n * len(conditions), h.n_sites, len(h.elements), many=False
        )
        require_memory(needed, words, "Take fewer at each condition, or scan one temperature after another")
        self._require_inside(conditions)
        made = NeuralScan(model, n, self.order, seed, self.batch, refine, job).run(conditions)
        scan = replace(made, atoms_map=problem.atoms_map)
        self._tell_missed(model, problem, scan)
        scan.tell(model.remedy)
        return scan

    def beyond(self, at: Condition) -> str:
        """In what a condition, or some of several, lie outside the range that the model was trained on; empty where all lie inside."""
        model = self.law
        lattice, (low, high) = model.hamiltonian.lattice, model.ranges["T"]
        T, mu = at.rows.arrays()
        if isinstance(self.then, Anneal):
            T = np.maximum(T, low)
        found = [
            f"T = {t:g} is outside {low:g} to {high:g}"
            for t in np.unique([np.min(T), np.max(T)])
            if not low * (1 - 1e-9) <= t <= high * (1 + 1e-9)
        ]
        differences = relative(mu, lattice)[:, 1:].T
        of, names = references(lattice)[1:], lattice.elements
        for k, values, (a, b) in zip(range(1, len(names)), differences, model.ranges["mu"], strict=True):
            for value in np.unique([values.min(), values.max()]):
                if not a - 1e-9 <= value <= b + 1e-9:
                    found.append(f"mu_{names[k]} - mu_{names[of[k - 1]]} = {value:g} is outside {a:g} to {b:g}")
        return "; ".join(found)

    def _require_inside(self, at: Condition) -> None:
        if not (beyond := self.beyond(at)):
            return
        if self.outside == "allow":
            warnings.warn(
                f"{self.law.name} was trained on another range: {beyond}. Its draws may all lie in a wrong phase with a NESS of 1; "
                'sampler="mc" tells.',
                OutsideTrainedRange,
                stacklevel=user_level(),
            )
            return
        raise BadCondition(
            f"expected conditions that {self.law.name} was trained on, got others: {beyond}. There its draws may all lie in a wrong phase with a NESS "
            f'of 1. {OTHERWISE}, Neural(outside="allow") draws all the same'
        )

    def _tell_missed(self, model: Model, problem: Problem, drawn: Ensemble | Scan) -> None:
        """A LowSampleSize warning where the weights of the draws are even, and samples of the alloy told otherwise when the model was measured."""
        if drawn.log_prob is None or not model.trained.measured:
            return
        if self.then is not None or problem.counts is not None or problem.held.any():
            return
        for ens in drawn if isinstance(drawn, Scan) else [drawn]:
            row = model.trained.nearest(ens.hamiltonian, ens.condition)
            if row is not None and ens.ness > EVEN and row.forward < EVEN * ens.ness:
                weights.tell(
                    drawn.log_prob,
                    f"the draws at T = {ens.T:g}, mu = {ens.mu.tolist()} have NESS {ens.ness:.2g}, but {model.name} was measured at T = {row.T:g}, mu = "
                    f"{[0.0, *row.mu]} and Monte Carlo samples of the alloy lie where it draws too rarely (NESS {row.ness:.2g} by its draws, {row.forward:.2g} "
                    'by those samples): Phi and averages may lack a phase. sampler="mc" tells',
                )
                return

    def _aimed(self, problem: Problem) -> Model:
        """The model, at the numbers of atoms of the problem where there are any."""
        if problem.counts is None:
            return self.law
        if not isinstance(self.law, AnyOrder) or self.law.hamiltonian.n_sites != problem.hamiltonian.n_sites:
            raise AlloygenError(
                f"expected an any-order model of the very supercell for a composition, got {self.law.name!r} on {self.law.lattice!r} for "
                f'{problem.hamiltonian.lattice!r}; take a law of every supercell, or sampler="mc"'
            )
        if isinstance(self.then, Blocks):
            raise AlloygenError("expected then=Anneal() or Flips() with a composition, which Blocks() would not keep")
        return Canonical(self.law, problem.counts, self.order)

    def _draws(self, model: Model, problem: Problem, condition: Condition, n: int, seed: int, known, job: Job) -> Draws:
        generator = torch.Generator().manual_seed(seed)
        grown, family = (
            problem.hamiltonian.n_sites != model.hamiltonian.n_sites,
            self.order or model.trained.orders.family,
        )
        if self.stride is not None and not grown:
            what = (
                "a law of every supercell, which out-paints none"
                if isinstance(model, AnyCell)
                else "a supercell of the model's own size"
            )
            raise AlloygenError(
                f"expected no stride with {what}, got {self.stride!r}; name a model of a smaller cell, or leave it out"
            )
        painter = Outpainter(model, problem.hamiltonian, self.stride, family=family)

        def plain(at: Condition, count: int) -> tuple[np.ndarray, np.ndarray]:
            if isinstance(model, Canonical):
                model.aim(at)  # once, before the blocks ask for it
            if grown or known is not None or self.average != 1:
                made = painter.draw(at, count, generator, known, self.batch, job.progress, self.average)
                occ, log_prob = made.occ, made.log_prob
            else:
                occ, log_prob = draw(
                    model, at, count, generator, family=family, batch=self.batch, progress=job.progress
                )
            return as_array(occ, np.int8), as_array(log_prob, np.float64)

        move = "flip" if problem.counts is None else keeping(problem.counts)
        return Draws(
            painter=painter, plain=plain, condition=condition, n=n, generator=generator, known=known, move=move
        )

    def _told(self, painter: Outpainter, seed: int) -> tuple[str, dict]:
        """How the samples are made, and the facts that go with them."""
        model, target = painter.model, painter.target
        family = self.order or model.trained.orders.family
        info = {"model": model.name, "fingerprint": target.fingerprint, "order": family, "seed": seed}
        info |= ({"average": self.average} if self.average > 1 else {}) | model.facts
        if target.n_sites == model.hamiltonian.n_sites:
            return model.method, info
        info["windows"] = len(painter.windows)
        cells = "x".join(map(str, model.hamiltonian.lattice.matrix.diagonal()))
        return f"neural, out-painted from {cells} cells", info


Sampler: TypeAlias = "Neural | MonteCarlo"
SamplerLike: TypeAlias = "Sampler | Model | PathLike | None"


def sampler_from(given: SamplerLike) -> Sampler | None:
    """The sampler that is meant by "neural", "mc", a model, a checkpoint's name or path; None for whatever fits."""
    if given is None or isinstance(given, (Neural, MonteCarlo)):
        return given
    if isinstance(given, str) and given in ("neural", "mc"):
        return Neural() if given == "neural" else MonteCarlo()
    if isinstance(given, (Model, str, os.PathLike)):
        return Neural(model=given)
    raise AlloygenError(
        f'expected sampler as Neural(...), MonteCarlo(...), "neural", "mc", a model, or the name or path of a checkpoint, got {given!r}'
    )


def placed(
    sampler: SamplerLike,
    atoms: AtomsLike,
    named: object,
    hamiltonian: HamiltonianLike | None,
    fixed: Fixed | None = None,
    larger: bool = True,
) -> tuple[Sampler, Problem]:
    """The sampler, with its model, and the problem on the sites that it works on. ``larger``: a smaller model will do, to out-paint.

    named : what names elements, as in :meth:`Problem.of`
    Without a sampler that is the model that fits, else Monte Carlo, with a warning that says why.
    """
    found = sampler_from(sampler)
    if isinstance(found, Neural) and found.model is not None:
        model, problem = registry.given(found.model, atoms, named, hamiltonian, fixed, larger)
        return replace(found, model=model), problem
    problem = Problem.of(atoms, named, hamiltonian, fixed)
    if isinstance(found, MonteCarlo):
        return found, problem
    fits, problem = registry.fitting(problem, larger, needed=found is not None)
    return (MonteCarlo(), problem) if fits is None else (replace(found or Neural(), model=fits), problem)


def settled(sampler: Sampler, given: SamplerLike, at: Condition) -> Sampler:
    """The sampler for these conditions: Monte Carlo, with an OutsideTrainedRange warning, where none was ``given`` and the model that was
    found was not trained on them."""
    if given is not None or not isinstance(sampler, Neural) or not (beyond := sampler.beyond(at)):
        return sampler
    warnings.warn(
        f"Monte Carlo samples these conditions, and its samples are correlated: {sampler.law.name} was trained on others, {beyond}. {OTHERWISE}",
        OutsideTrainedRange,
        stacklevel=user_level(),
    )
    return MonteCarlo()
