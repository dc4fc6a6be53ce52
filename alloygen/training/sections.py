"""The sections of a training configuration, each a record that is checked when it is made.

``[model]`` and ``[objective]``, which exist in several kinds, are in :mod:`alloygen.training.kinds`. How the sections go together is checked by :class:`alloygen.training.config.Config`.
"""

from __future__ import annotations

import dataclasses
from abc import ABC
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, ClassVar

import numpy as np

from alloygen.arguments import LARGEST_SEED
from alloygen.errors import ConfigError
from alloygen.training.numbers import expand, is_number, is_range, is_supercell

PRECISIONS = ("float32", "bf16")
MOVES = ("flips", "clusters")
Rule = tuple[Any, str, str, Any]  # (holds, key, what was expected, what came)


def require(rules: Iterator[Rule]) -> None:
    """ConfigError for the first rule that does not hold."""
    for holds, key, expected, got in rules:
        if not holds:
            raise ConfigError(f"{key}: expected {expected}, got {got!r}")


@dataclass(frozen=True, kw_only=True)
class Section(ABC):
    """A section of a configuration: the type of every key is that of its default, and ``rules`` hold, or a ConfigError says which not."""

    title: ClassVar[str]

    def __post_init__(self) -> None:
        for f in fields(self):
            default = f.default if f.default_factory is MISSING else f.default_factory()
            _check_type(f"{self.title}.{f.name}", default, getattr(self, f.name))
        require(self.rules())

    def rules(self) -> Iterator[Rule]:
        """What has to hold of this section alone."""
        yield from ()

    def settings(self) -> dict:
        """The keys and values, as ``[title]`` holds them."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, kw_only=True)
class KindSection(Section):
    """A section that exists in several kinds; the key ``kind`` says which."""

    kind: ClassVar[str]

    def settings(self) -> dict:
        return {"kind": self.kind, **super().settings()}


def _check_type(key: str, default: Any, value: Any) -> None:
    """The type of the default, where a whole number is also a float and None stands for an optional whole number."""
    kind = int if default is None else type(default)
    kinds = {float: (int, float), int: (int,)}.get(kind, (kind,))
    if default is None and value is None:
        return
    finite = not isinstance(value, float) or np.isfinite(value)
    if not isinstance(value, kinds) or (isinstance(value, bool) and kind is not bool) or not finite:
        raise ConfigError(f"{key}: expected {kind.__name__}, such as {default!r}, got {value!r}")


# ---------------------------------------------------------------------- what is modelled, and where
@dataclass(frozen=True, kw_only=True)
class SystemConfig(Section):
    """What is modelled. ``hamiltonian``: "cuau", "ising", the path of an expansion file, or a parent lattice for a "family"; ``repeats`` of its cell, by three numbers or a
    matrix. ``more`` lists further supercells that a model of any cell ("local") learns on as well."""

    title = "system"
    hamiltonian: str = "cuau"
    repeats: list = field(default_factory=lambda: [2, 2, 4])
    more: list = field(default_factory=list)

    def rules(self) -> Iterator[Rule]:
        expected = "three whole numbers of at least 1, or a 3x3 matrix of whole numbers"
        yield is_supercell(self.repeats), "system.repeats", expected, self.repeats
        yield all(map(is_supercell, self.more)), "system.more", "supercells like repeats", self.more


@dataclass(frozen=True, kw_only=True)
class DataConfig(Section):
    """The grid of Monte Carlo samples that the objectives "likelihood" and "patches" learn from.

    ``moves``: "flips" with replica exchange, or "clusters" (Swendsen-Wang, for ferromagnetic pairs, which does not slow down at T_c).
    T and mu are lists of numbers or of {from, to, step} tables; mu is that of the last element of a binary, less that of the first. Of more elements mu is a list of points, each
    with a number for every element after the first: scattered ones, for the few values of a product grid are learned by heart. ``samples`` per condition, ``sweeps`` apart, after ``burn`` rounds of ``sweeps``.
    ``grown`` = [3, 3, 1]: samples of a cell so many times as large as well, whose windows teach out-painting (``objective.grown``).
    """

    title = "data"
    moves: str = "flips"
    T: list = field(default_factory=list)
    mu: list = field(default_factory=list)
    samples: int = 128
    sweeps: int = 10
    burn: int = 300
    seed: int = 0
    grown: list = field(default_factory=list)

    def rules(self) -> Iterator[Rule]:
        T, grown = expand(self.T), self.grown
        yield self.moves in MOVES, "data.moves", f"one of {MOVES}", self.moves
        yield len(T) > 0 and (T > 0).all(), "data.T", "temperatures above 0", self.T
        rows = [isinstance(point, list) and len(point) and all(map(is_number, point)) for point in self.mu]
        even = all(rows) and len({len(point) for point in self.mu}) == 1
        yield not any(rows) or even, "data.mu", "numbers, or points of as many numbers each", self.mu
        yield len(self.points()) > 0, "data.mu", "a list of chemical potentials", self.mu
        yield 0 <= self.seed <= LARGEST_SEED, "data.seed", f"a whole number from 0 to {LARGEST_SEED}", self.seed
        few = self.samples >= 1 and self.sweeps >= 1 and self.burn >= 0
        yield few, "data", "samples >= 1, sweeps >= 1, burn >= 0", self
        whole = not grown or (len(grown) == 3 and all(isinstance(n, int) and n >= 1 for n in grown) and max(grown) >= 2)
        expected = "three whole numbers of at least 1, one of them 2 or more, such as [3, 3, 1]"
        yield whole, "data.grown", expected, grown

    def points(self) -> np.ndarray:
        """(M, elements after the first) chemical potentials."""
        if self.mu and isinstance(self.mu[0], list):
            return np.array(self.mu, dtype=float)
        return expand(self.mu)[:, None]

    def ranges(self) -> dict:
        """{"T": [low, high], "mu": [[low, high], ...]} of the grid, one mu interval per element after the first."""
        T, mu = expand(self.T), self.points()
        return {"T": [float(T.min()), float(T.max())], "mu": np.column_stack([mu.min(0), mu.max(0)]).tolist()}


@dataclass(frozen=True, kw_only=True)
class ConditionsConfig(Section):
    """The range that training without data walks through (objectives "reinforce" and "marginal").

    T = [low, high]; mu = [low, high] of the last element minus the first for a binary, else one such pair per element
    after the first. ``n_T`` temperatures times ``n_mu`` chemical potentials at a time; ``step_T`` and ``step_mu`` are the
    largest steps an iteration, as shares of the range.
    """

    title = "conditions"
    T: list = field(default_factory=list)
    mu: list = field(default_factory=list)
    n_T: int = 5
    n_mu: int = 5
    step_T: float = 0.1
    step_mu: float = 0.0625

    def rules(self) -> Iterator[Rule]:
        yield is_range(self.T) and self.T[0] > 0, "conditions.T", "[low, high] with 0 < low <= high", self.T
        pairs = "[low, high] with low <= high, or one pair per element after the first"
        yield all(map(is_range, self._pairs())), "conditions.mu", pairs, self.mu
        yield self.n_T >= 1 and self.n_mu >= 1, "conditions", "n_T >= 1 and n_mu >= 1", (self.n_T, self.n_mu)
        steps = (self.step_T, self.step_mu)
        yield all(0 <= s <= 1 for s in steps), "conditions", "step_T and step_mu in [0, 1]", steps

    def _pairs(self) -> list:
        return self.mu if len(self.mu) and isinstance(self.mu[0], list) else [self.mu]

    def ranges(self) -> dict:
        """{"T": [low, high], "mu": [[low, high], ...]}, one mu interval per element after the first."""
        return {"T": [float(x) for x in self.T], "mu": [[float(x) for x in pair] for pair in self._pairs()]}


@dataclass(frozen=True, kw_only=True)
class PriorConfig(Section):
    """Random alloys of a parent lattice (:mod:`alloygen.training.prior`), which the objective "stream" learns from.

    sizes, falls : of ECIs (eV/site) of the first pair, triplet and quadruplet, and the powers by which they fall with the number of the figure
    strength : spread of the logarithm of a factor common to all ECIs of an alloy; sparse : share of many-body figures that are zero
    plain : share of alloys that have the first two pairs and nothing else
    T : [low, high] in multiples of the alloy's own scale, n_T of them; margin : of the n_mu chemical potentials beyond the pure phases, in kT of it
    middle : how many of these are about the middle of the phases, one at it and the others within some kT; the transitions of plain alloys lie there
    samples : at each condition, ``sweeps`` apart after ``burn`` rounds of ``sweeps``
    seed : of all alloys; number k of them is the same in every run
    """

    title = "prior"
    sizes: list = field(default_factory=lambda: [0.016, 0.008, 0.012])
    falls: list = field(default_factory=lambda: [0.8, 0.5, 0.25])
    strength: float = 0.4
    sparse: float = 0.4
    plain: float = 0.0
    T: list = field(default_factory=lambda: [0.6, 5.0])
    n_T: int = 8
    n_mu: int = 6
    margin: float = 3.0
    middle: int = 0
    samples: int = 12
    sweeps: int = 8
    burn: int = 120
    seed: int = 1

    def rules(self) -> Iterator[Rule]:
        for key in ("sizes", "falls"):
            values = getattr(self, key)
            fits = len(values) == 3 and all(isinstance(v, (int, float)) and v >= 0 for v in values)
            yield fits, f"prior.{key}", "three numbers of at least 0, for pairs, triplets and quadruplets", values
        yield is_range(self.T) and self.T[0] > 0, "prior.T", "[low, high] with 0 < low <= high", self.T
        yield self.strength >= 0 and self.margin >= 0, "prior", "strength >= 0 and margin >= 0", self
        for key in ("sparse", "plain"):
            yield 0 <= getattr(self, key) <= 1, f"prior.{key}", "a fraction in [0, 1]", getattr(self, key)
        yield 0 <= self.middle <= self.n_mu, "prior.middle", "a whole number from 0 to n_mu", self.middle
        few = min(self.n_T, self.n_mu, self.samples, self.sweeps) >= 1 and self.burn >= 0
        yield few, "prior", "n_T, n_mu, samples and sweeps >= 1, burn >= 0", self
        yield 0 <= self.seed <= LARGEST_SEED, "prior.seed", f"a whole number from 0 to {LARGEST_SEED}", self.seed

    def ranges(self) -> dict:
        """{"T": [low, high], "mu": [[low, high]]} in multiples of the scale of an alloy."""
        return {"T": [float(x) for x in self.T], "mu": [[-self.margin, self.margin]]}


# ---------------------------------------------------------------------- how it is trained
@dataclass(frozen=True, kw_only=True)
class TrainingConfig(Section):
    """The optimiser and its schedule.

    minutes : wall-clock budget, 0 for none; the learning rate falls to zero at ``steps`` or here, whichever comes first
    start : path of a checkpoint of the same kind and size whose weights it begins with; empty for new ones
    accumulate : parts that a batch is cut into to save memory; precision : "float32", or "bf16" autocast
    """

    title = "training"
    start: str = ""
    steps: int = 1000
    minutes: float = 0.0
    batch: int = 128
    accumulate: int = 1
    precision: str = "float32"
    lr: float = 1e-3
    warmup: int = 100
    weight_decay: float = 0.01
    clip: float = 1.0
    ema: float = 0.998
    seed: int = 0

    def rules(self) -> Iterator[Rule]:
        yield 0 <= self.seed <= LARGEST_SEED, "training.seed", f"a whole number from 0 to {LARGEST_SEED}", self.seed
        yield self.steps >= 1 and self.batch >= 1, "training", "steps >= 1 and batch >= 1", (self.steps, self.batch)
        yield self.minutes >= 0, "training.minutes", "a number of at least 0", self.minutes
        parts = f"between 1 and the batch of {self.batch}"
        yield 1 <= self.accumulate <= self.batch, "training.accumulate", parts, self.accumulate
        yield self.precision in PRECISIONS, "training.precision", f"one of {PRECISIONS}", self.precision
        yield self.warmup >= 0, "training.warmup", "at least 0", self.warmup
        yield self.clip > 0, "training.clip", "a number above 0", self.clip
        yield self.lr > 0, "training.lr", "a number above 0", self.lr
        yield 0 <= self.ema < 1, "training.ema", "a number in [0, 1)", self.ema


@dataclass(frozen=True, kw_only=True)
class ValidationConfig(Section):
    """NESS of the averaged model ``every`` so many steps, from ``samples`` at each of a dozen conditions."""

    title = "validation"
    every: int = 500
    samples: int = 128

    def rules(self) -> Iterator[Rule]:
        yield self.every >= 1, "validation.every", "at least 1", self.every
        yield self.samples >= 2, "validation.samples", "at least 2", self.samples


MOST_WORKERS = 32  # that the measurements of a run reckon with


@dataclass(frozen=True, kw_only=True)
class MachineConfig(Section):
    """Where a run runs, which does not say what it makes. ``threads`` 0: as many as torch uses; ``workers``: processes that make the batches of "patches"
    and "stream", 0 for none but the run's own; ``device``: "cpu", or "cuda" for a graphics processor that torch can use."""

    title = "machine"
    threads: int = 0
    workers: int = 0
    device: str = "cpu"
    checkpoint_minutes: float = 3.0

    def rules(self) -> Iterator[Rule]:
        yield self.threads >= 0, "machine.threads", "at least 0", self.threads
        yield 0 <= self.workers <= MOST_WORKERS, "machine.workers", f"from 0 to {MOST_WORKERS}", self.workers
        yield self.checkpoint_minutes > 0, "machine.checkpoint_minutes", "a number above 0", self.checkpoint_minutes
