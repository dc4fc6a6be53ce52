"""The sections ``[model]`` and ``[objective]``: a ``kind`` names a record here with settings of its own, and others cannot be given."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from alloygen.nn.masked import NETWORKS
from alloygen.orders import IMAGES, LEVELS, Orders
from alloygen.training.sections import ConditionsConfig, DataConfig, KindSection, PriorConfig, Rule


# ---------------------------------------------------------------------- the model
@dataclass(frozen=True, kw_only=True)
class ModelConfig(KindSection):
    """A kind of model (:data:`alloygen.models.MODELS`) and its size: the keywords that make it. ``orders`` are its own, where none are given."""

    title = "model"
    orders: ClassVar[Orders] = Orders()


MOST = 10_000  # of any size of a network, which no machine here would hold beyond


def _sizes(m: Any, attends: bool) -> Iterator[Rule]:
    """What holds of the sizes of every network, and of the heads of one that attends."""
    yield not attends or (m.heads >= 2 and m.heads % 2 == 0), "model.heads", "an even number", m.heads
    fits = not attends or m.width % max(2, 2 * m.heads) == 0
    yield fits, "model.width", f"a multiple of 2 * heads = {2 * m.heads}", m.width
    yield max(m.width, m.depth * m.expand) <= MOST, "model", f"width and depth times expand of at most {MOST}", m
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
class LocalConfig(ModelConfig):
    """The law of an alloy on any supercell: networks of ``depth`` layers of ``width`` for each kind of site, which read ``window``
    displacements; ``levels`` of them have weights of their own, and the condition is read at so many ``frequencies``."""

    kind = "local"
    orders = LEVELS
    width: int = 128
    depth: int = 3
    window: int = 80
    levels: int = 3
    frequencies: int = 4

    def rules(self) -> Iterator[Rule]:
        yield self.width >= 2 and self.width % 2 == 0, "model.width", "an even number of at least 2", self.width
        sizes = (self.depth, self.window, self.levels, self.frequencies)
        yield max(self.width, *sizes) <= MOST, "model", f"numbers of at most {MOST}", (self.width, *sizes)
        yield min(sizes) >= 1, "model", "depth >= 1, window >= 1, levels >= 1 and frequencies >= 1", sizes


@dataclass(frozen=True, kw_only=True)
class FamilyConfig(LocalConfig):
    """The law of every binary alloy of a parent lattice, whose name ``system.hamiltonian`` is ("fcc"); sizes as for "local". ``inner`` is the width
    of a deeper network of the couplings, with which these enter every hidden layer; 0 for none."""

    kind = "family"
    inner: int = 0

    def rules(self) -> Iterator[Rule]:
        yield from super().rules()
        yield 0 <= self.inner <= MOST, "model.inner", f"a number from 0 to {MOST}", self.inner


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
    source: ClassVar[type[DataConfig] | type[ConditionsConfig] | type[PriorConfig]]


def _known_sets(o: Any) -> Iterator[Rule]:
    """What holds of the shares of samples with known sets in front."""
    yield 0 <= o.known <= 1, "objective.known", "a fraction in [0, 1]", o.known
    expected = "a fraction in [0, 1], and objective.known above 0 where it is not 0"
    yield 0 <= o.foreign <= (o.known > 0), "objective.foreign", expected, o.foreign


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
        yield from _known_sets(self)
        yield 0 <= self.grown <= 1, "objective.grown", "a fraction in [0, 1]", self.grown
        yield self.label_images in IMAGES, "objective.label_images", f"one of {IMAGES}", self.label_images
        yield self.floor > 0, "objective.floor", "a number above 0", self.floor


@dataclass(frozen=True, kw_only=True)
class PatchesConfig(ObjectiveConfig):
    """Maximum likelihood of a local model on Monte Carlo data, from some sites of every kind (:mod:`alloygen.training.patches`).

    per_kind : sites of each kind that are taken of a configuration
    sweeps : of the chain over undecided sites near by that the label of a site is averaged along; 0 takes the heat bath of the sample
    images : by symmetries, over which it is averaged as well where they agree with the sample on what is decided before
    known : share of the configurations with a random known set in front, which is the same for those made together
    foreign : share of these whose known sites hold species of another condition, or random ones; the rest is equilibrated around them
    floor : the share of frozen conditions in the batches
    hard : share of the configurations that are drawn where the law is worst: by the standard deviation of the log weights of hard_draws of its own
        draws at every condition of the first supercell, measured anew every hard_every steps; the others are drawn by entropy
    own : share of the batches that are the law's own draws, learned from by REINFORCE, for supercells of at most own_sites sites;
        own_group : draws of one condition together, whose mean is the baseline. Of use in a second run, with ``training.start``
    """

    kind = "patches"
    models = (LocalConfig,)
    source = DataConfig
    per_kind: int = 2
    sweeps: int = 4
    images: int = 256
    known: float = 0.0
    foreign: float = 0.0
    floor: float = 0.1
    hard: float = 0.0
    hard_draws: int = 8
    hard_every: int = 2000
    own: float = 0.0
    own_sites: int = 128
    own_group: int = 32

    def rules(self) -> Iterator[Rule]:
        counts = (self.per_kind, self.sweeps, self.images)
        yield min(counts) >= 0 and self.per_kind >= 1, "objective", "per_kind >= 1, sweeps and images >= 0", counts
        yield from _known_sets(self)
        yield self.floor > 0, "objective.floor", "a number above 0", self.floor
        yield 0 <= self.hard <= 1, "objective.hard", "a fraction in [0, 1]", self.hard
        yield self.hard_draws >= 2 and self.hard_every >= 1, "objective", "hard_draws >= 2 and hard_every >= 1", self
        yield 0 <= self.own <= 1, "objective.own", "a fraction in [0, 1]", self.own
        yield self.own_sites >= 1 and self.own_group >= 2, "objective", "own_sites >= 1 and own_group >= 2", self


@dataclass(frozen=True, kw_only=True)
class StreamConfig(ObjectiveConfig):
    """Maximum likelihood of a law of every alloy, from an endless stream of random ones (:mod:`alloygen.training.stream`).

    alive : alloys at hand on each supercell, from one on; mixed : of these in a batch; every : batches after which the next alloy comes. Each process
        that makes batches has alloys of its own
    per_kind, sweeps, images, known, foreign, floor : as for "patches"
    """

    kind = "stream"
    models = (FamilyConfig,)
    source = PriorConfig
    alive: int = 16
    mixed: int = 8
    every: int = 10
    per_kind: int = 2
    sweeps: int = 4
    images: int = 0
    known: float = 0.0
    foreign: float = 0.0
    floor: float = 0.1

    def rules(self) -> Iterator[Rule]:
        few = 1 <= self.mixed <= self.alive and self.every >= 1
        yield few, "objective", "mixed from 1 to alive and every >= 1", (self.mixed, self.alive, self.every)
        yield from self.patches.rules()

    @property
    def patches(self) -> PatchesConfig:
        """How the rows of one alloy are made."""
        shared = ("per_kind", "sweeps", "images", "known", "foreign", "floor")
        return PatchesConfig(**{name: getattr(self, name) for name in shared})


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
    models = (CausalConfig, ArmConfig, LocalConfig)


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
