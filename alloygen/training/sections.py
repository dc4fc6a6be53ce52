"""The sections of a training configuration, each a record that is checked when it is made.

``[model]`` and ``[objective]`` are of a ``kind`` each, which names a record here with settings of its own: a setting that a kind does not
have cannot be given. How the sections go together is checked by :class:`alloygen.training.config.Config`.
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
from alloygen.nn.masked import NETWORKS
from alloygen.orders import IMAGES
from alloygen.training.numbers import expand, is_range

PRECISIONS = ("float32", "bf16")
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
    """What is modelled. ``hamiltonian``: "cuau", "ising", or the path of an expansion file; ``repeats`` of its cell."""

    title = "system"
    hamiltonian: str = "cuau"
    repeats: list = field(default_factory=lambda: [2, 2, 4])

    def rules(self) -> Iterator[Rule]:
        ints = lambda row: isinstance(row, list) and len(row) == 3 and all(type(n) is int for n in row)  # noqa: E731
        matrix = len(self.repeats) == 3 and all(map(ints, self.repeats))
        fits = matrix or (ints(self.repeats) and min(self.repeats) >= 1)
        expected = "three whole numbers of at least 1, or a 3x3 matrix of whole numbers"
        yield fits, "system.repeats", expected, self.repeats


@dataclass(frozen=True, kw_only=True)
class DataConfig(Section):
    """The replica-exchange grid that the training data come from (objective "likelihood").

    T and mu are lists of numbers or of {from, to, step} tables; mu is per element after the first, counted from the first, for a
    binary simply the list of mu(last) - mu(first). ``samples`` per condition, ``sweeps`` apart, after ``burn`` rounds of ``sweeps``.
    ``grown`` = [3, 3, 1]: samples of a cell so many times as large as well, whose windows teach out-painting (``objective.grown``).
    """

    title = "data"
    T: list = field(default_factory=list)
    mu: list = field(default_factory=list)
    samples: int = 128
    sweeps: int = 10
    burn: int = 300
    seed: int = 0
    grown: list = field(default_factory=list)

    def rules(self) -> Iterator[Rule]:
        T, grown = expand(self.T), self.grown
        yield len(T) > 0 and (T > 0).all(), "data.T", "temperatures above 0", self.T
        yield len(expand(self.mu)) > 0, "data.mu", "a list of chemical potentials", self.mu
        yield 0 <= self.seed <= LARGEST_SEED, "data.seed", f"a whole number from 0 to {LARGEST_SEED}", self.seed
        few = self.samples >= 1 and self.sweeps >= 1 and self.burn >= 0
        yield few, "data", "samples >= 1, sweeps >= 1, burn >= 0", self
        whole = not grown or (len(grown) == 3 and all(isinstance(n, int) and n >= 1 for n in grown) and max(grown) >= 2)
        expected = "three whole numbers of at least 1, one of them 2 or more, such as [3, 3, 1]"
        yield whole, "data.grown", expected, grown

    def ranges(self) -> dict:
        """{"T": [low, high], "mu": [[low, high]]} of the grid."""
        T, mu = expand(self.T), expand(self.mu)
        return {"T": [float(T.min()), float(T.max())], "mu": [[float(mu.min()), float(mu.max())]]}


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


# ---------------------------------------------------------------------- the model
@dataclass(frozen=True, kw_only=True)
class ModelConfig(KindSection):
    """A kind of model (:data:`alloygen.models.MODELS`) and its size: the keywords that make it."""

    title = "model"


def _sizes(m: Any, attends: bool) -> Iterator[Rule]:
    """What holds of the sizes of every network, and of the heads of one that attends."""
    yield not attends or (m.heads >= 2 and m.heads % 2 == 0), "model.heads", "an even number", m.heads
    fits = not attends or m.width % max(2, 2 * m.heads) == 0
    yield fits, "model.width", f"a multiple of 2 * heads = {2 * m.heads}", m.width
    yield m.width >= 1 and m.depth >= 1 and m.expand >= 1, "model", "width >= 1, depth >= 1 and expand >= 1", m


@dataclass(frozen=True, kw_only=True)
class CausalConfig(ModelConfig):
    """Order-causal Transformer on physical logits; it sees so many ``neighbours`` of the site asked for (None: as many as fit)."""

    kind = "causal"
    width: int = 128
    depth: int = 4
    heads: int = 4
    expand: int = 3
    neighbours: int | None = None

    def rules(self) -> Iterator[Rule]:
        yield from _sizes(self, True)


@dataclass(frozen=True, kw_only=True)
class MaskedConfig(ModelConfig):
    """A law over a masked ``network``: "mlp", "painn" or "transformer".

    heads, expand : of the Transformer; radial, cutoff, offset : of PaiNN
    physics : the energy of what is decided enters the logits; the paper's networks know none
    """

    network: str = "transformer"
    width: int = 128
    depth: int = 4
    heads: int = 4
    expand: int = 3
    radial: int = 20
    cutoff: float = 2.5
    offset: float = 0.5
    physics: bool = False

    def rules(self) -> Iterator[Rule]:
        yield self.network in NETWORKS, "model.network", f"one of {tuple(NETWORKS)}", self.network
        yield from _sizes(self, self.network == "transformer")
        radii = self.radial >= 1 and 0 <= self.offset < self.cutoff
        yield radii, "model", "radial >= 1 and 0 <= offset < cutoff", (self.radial, self.offset, self.cutoff)


@dataclass(frozen=True, kw_only=True)
class ArmConfig(MaskedConfig):
    """Autoregressive over a masked network."""

    kind = "arm"


@dataclass(frozen=True, kw_only=True)
class MamConfig(MaskedConfig):
    """Marginalization model, on one trunk or two."""

    kind = "mam"
    trunks: int = 1

    def rules(self) -> Iterator[Rule]:
        yield from super().rules()
        yield self.trunks in (1, 2), "model.trunks", "1 or 2", self.trunks


# ---------------------------------------------------------------------- the objective
@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig(KindSection):
    """What is minimised. ``models`` are the kinds of models that it is for, ``source`` the section that says where it learns."""

    title = "objective"
    models: ClassVar[tuple[type[ModelConfig], ...]]
    source: ClassVar[type[DataConfig] | type[ConditionsConfig]]


@dataclass(frozen=True, kw_only=True)
class LikelihoodConfig(ObjectiveConfig):
    """Maximum likelihood on Monte Carlo data.

    known : fraction of samples with a random known set in front
    foreign : share of these whose known sites hold species of another condition, or random ones; the rest is equilibrated around them
    marginals : count the steps of known sites (of the sample itself) as well, so that log p(x_fixed) of one pass is learned
    grown : share of the steps that learn windows of the larger cell ``data.grown`` ("causal" only)
    soft_labels : train on heat-bath conditionals; label_images : average them over these symmetry images
    floor : the share of frozen conditions in the batches, see ``dataset.Dataset``
    """

    kind = "likelihood"
    models = (CausalConfig, ArmConfig)
    source = DataConfig
    known: float = 0.0
    foreign: float = 0.0
    marginals: bool = False
    grown: float = 0.0
    soft_labels: bool = True
    label_images: str = "translations"
    floor: float = 0.2

    def rules(self) -> Iterator[Rule]:
        yield 0 <= self.known <= 1, "objective.known", "a fraction in [0, 1]", self.known
        expected = "a fraction in [0, 1], and objective.known above 0 where it is not 0"
        yield 0 <= self.foreign <= (self.known > 0), "objective.foreign", expected, self.foreign
        yield 0 <= self.grown <= 1, "objective.grown", "a fraction in [0, 1]", self.grown
        yield self.label_images in IMAGES, "objective.label_images", f"one of {IMAGES}", self.label_images
        yield self.floor > 0, "objective.floor", "a number above 0", self.floor


@dataclass(frozen=True, kw_only=True)
class WalkingConfig(ObjectiveConfig):
    """Learning without data, from energies at conditions that walk.

    advantage_floor : smallest standard deviation (nats) that advantages are divided by; 0 is the published rule
    """

    source = ConditionsConfig
    advantage_floor: float = 0.0

    def rules(self) -> Iterator[Rule]:
        yield self.advantage_floor >= 0, "objective.advantage_floor", "at least 0 nats", self.advantage_floor


@dataclass(frozen=True, kw_only=True)
class ReinforceConfig(WalkingConfig):
    """Reverse KL through the whole chain."""

    kind = "reinforce"
    models = (CausalConfig, ArmConfig)


@dataclass(frozen=True, kw_only=True)
class MarginalConfig(WalkingConfig):
    """REINFORCE on the marginal of a "mam", and consistency.

    consistency : lambda / N of the consistency term; gibbs : sites erased and redrawn an iteration
    """

    kind = "marginal"
    models = (MamConfig,)
    consistency: float = 4.0
    gibbs: int = 4

    def rules(self) -> Iterator[Rule]:
        yield from super().rules()
        yield self.consistency >= 0, "objective.consistency", "lambda / N of at least 0", self.consistency
        yield self.gibbs >= 1, "objective.gibbs", "at least 1 site", self.gibbs


# ---------------------------------------------------------------------- how it is trained
@dataclass(frozen=True, kw_only=True)
class TrainingConfig(Section):
    """The optimiser and its schedule.

    minutes : wall-clock budget, 0 for none; the learning rate falls to zero at ``steps`` or here, whichever comes first
    accumulate : parts that a batch is cut into to save memory; precision : "float32", or "bf16" autocast
    """

    title = "training"
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


@dataclass(frozen=True, kw_only=True)
class MachineConfig(Section):
    """Where a run runs, which does not say what it makes. ``threads`` 0: as many as torch uses."""

    title = "machine"
    threads: int = 0
    device: str = "cpu"
    checkpoint_minutes: float = 3.0

    def rules(self) -> Iterator[Rule]:
        yield self.threads >= 0, "machine.threads", "at least 0", self.threads
        yield self.checkpoint_minutes > 0, "machine.checkpoint_minutes", "a number above 0", self.checkpoint_minutes
