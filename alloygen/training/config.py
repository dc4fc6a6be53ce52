"""Training configurations: TOML files as dataclasses, checked before any work is done."""

from __future__ import annotations

import dataclasses
import os
import re
import tomllib
from dataclasses import dataclass, field

import numpy as np

from alloygen.arguments import LARGEST_SEED
from alloygen.errors import ConfigError
from alloygen.nn.masked import NETWORKS
from alloygen.orders import FAMILIES, IMAGES
from alloygen.types import PathLike


@dataclass
class SystemConfig:
    """What is modelled. ``hamiltonian``: "cuau", "ising", or the path of an expansion file; ``repeats`` of its cell."""

    hamiltonian: str = "cuau"
    repeats: list = field(default_factory=lambda: [2, 2, 4])


@dataclass
class DataConfig:
    """The replica-exchange grid that the training data come from.

    T and mu are lists of numbers or of {from, to, step} tables; mu is per element after the first, counted from the first, for a
    binary simply the list of mu(last) - mu(first). ``samples`` per condition, ``sweeps`` apart, after ``burn`` rounds of ``sweeps``.
    ``grown`` = [3, 3, 1]: samples of a cell so many times as large as well, whose windows teach out-painting (``training.grown``).
    """

    T: list = field(default_factory=list)
    mu: list = field(default_factory=list)
    samples: int = 128
    sweeps: int = 10
    burn: int = 300
    seed: int = 0
    grown: list = field(default_factory=list)


@dataclass
class ConditionsConfig:
    """The range that training without data walks through (objectives "reinforce" and "marginal").

    T = [low, high]; mu = [low, high] of the last element minus the first for a binary, else one such pair per element
    after the first. ``n_T`` temperatures times ``n_mu`` chemical potentials at a time; ``step_T`` and ``step_mu`` are the
    largest steps an iteration, as shares of the range.
    """

    T: list = field(default_factory=list)
    mu: list = field(default_factory=list)
    n_T: int = 5
    n_mu: int = 5
    step_T: float = 0.1
    step_mu: float = 0.0625


@dataclass
class ModelConfig:
    """What the model is and its size.

    kind : "causal" (order-causal Transformer on physical logits), "arm" (autoregressive over a masked network) or "mam"
        (marginalization model)
    network : of "arm" and "mam": "mlp", "painn" or "transformer"
    neighbours : of "causal"; radial, cutoff, offset : of "painn"; trunks : 1 or 2, of "mam"
    physics : of "arm" and "mam": the energy of what is decided enters the logits; the paper's networks know none
    """

    kind: str = "causal"
    network: str = "transformer"
    width: int = 128
    depth: int = 4
    heads: int = 4
    expand: int = 3
    neighbours: int | None = None
    radial: int = 20
    cutoff: float = 2.5
    offset: float = 0.5
    trunks: int = 1
    physics: bool = False


@dataclass
class TrainingConfig:
    """One loop.

    objective : "likelihood" (on Monte Carlo data), "reinforce" (reverse KL through the chain, no data) or "marginal" (the
        same for a "mam": REINFORCE on the marginal, and consistency)
    consistency : lambda / N of the consistency term; gibbs : sites erased and redrawn an iteration ("marginal")
    advantage_floor : smallest standard deviation (nats) that advantages are divided by; 0 is the published rule
    minutes : wall-clock budget, 0 for none; the learning rate falls to zero at ``steps`` or here, whichever comes first
    accumulate : parts that a batch is cut into to save memory; precision : "float32", or "bf16" autocast
    orders : weights of the order families; images : the symmetry images that they are moved by
    known : fraction of samples with a random known set in front
    foreign : share of these whose known sites hold species of another condition, or random ones; the rest is equilibrated around them
    grown : share of the steps that learn windows of the larger cell ``data.grown`` ("causal" only)
    marginals : count the steps of known sites (of the sample itself) as well, so that log p(x_fixed) of one pass is learned
    soft_labels : train on heat-bath conditionals; label_images : average them over these symmetry images
    floor : the share of frozen conditions in the batches, see ``dataset.Dataset``
    """

    objective: str = "likelihood"
    steps: int = 1000
    minutes: float = 0.0
    batch: int = 128
    accumulate: int = 1
    precision: str = "float32"
    consistency: float = 4.0
    gibbs: int = 4
    advantage_floor: float = 0.0
    lr: float = 1e-3
    warmup: int = 100
    weight_decay: float = 0.01
    clip: float = 1.0
    ema: float = 0.998
    orders: dict = field(default_factory=lambda: {"sublattice": 1.0})
    images: str = "translations"
    known: float = 0.0
    foreign: float = 0.0
    marginals: bool = False
    grown: float = 0.0
    soft_labels: bool = True
    label_images: str = "translations"
    floor: float = 0.2
    seed: int = 0
    threads: int = 0
    device: str = "cpu"
    validate_every: int = 500
    validate_samples: int = 128
    checkpoint_minutes: float = 3.0


@dataclass
class Config:
    """Everything that makes one model. ``name`` is that of its folder in ``runs/``: letters, digits, spaces and ``_ . + -``."""

    name: str
    system: SystemConfig
    data: DataConfig
    conditions: ConditionsConfig
    model: ModelConfig
    training: TrainingConfig

    def to_dict(self) -> dict:
        return dataclasses.asdict(self)

    def facts(self) -> dict:
        """What is equal for runs that may resume one another: every setting but a few of the machine, as "section.key"."""
        d = self.to_dict()
        for key in ("threads", "device", "checkpoint_minutes"):
            d["training"].pop(key)
        sections = {f"{s}.{k}": v for s, part in d.items() if s != "name" for k, v in part.items()}
        return {"name": self.name, **sections}


_SECTIONS = {
    "system": SystemConfig,
    "data": DataConfig,
    "conditions": ConditionsConfig,
    "model": ModelConfig,
    "training": TrainingConfig,
}
OBJECTIVES = {"likelihood": ("causal", "arm"), "reinforce": ("causal", "arm"), "marginal": ("mam",)}
PRECISIONS = ("float32", "bf16")


def load_config(source: Config | dict | PathLike) -> Config:
    """Read a configuration from a TOML path or a dict.

    Raises ConfigError for unknown keys and impossible values, naming the key, what was expected and what came.
    """
    if isinstance(source, Config):
        return source
    if isinstance(source, (str, os.PathLike)):
        source = _read(source)
    if not isinstance(source, dict):
        raise ConfigError(f"expected a configuration as the path of a TOML file or a dict, got {source!r}")
    unknown = sorted(set(source) - {*_SECTIONS, "name"})
    if unknown:
        raise ConfigError(f"expected the sections name, {', '.join(_SECTIONS)}, got also {unknown}")
    for key in _SECTIONS:
        if not isinstance(source.get(key, {}), dict):
            raise ConfigError(f"expected a section [{key}], got {key} = {source[key]!r}")
    parts = {k: _section(k, cls, source.get(k, {})) for k, cls in _SECTIONS.items()}
    config = Config(name=source.get("name", "model"), **parts)
    _check(config)
    return config


def _read(path: str | os.PathLike) -> dict:
    if not os.path.isfile(path):
        raise ConfigError(f"expected a TOML configuration, found no file at {os.fspath(path)!r}")
    with open(path, "rb") as f:
        try:
            return tomllib.load(f)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"expected a TOML configuration in {f.name!r}, got a syntax error: {error}") from None


def _section(name: str, cls, values: dict):
    known = {f.name for f in dataclasses.fields(cls)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise ConfigError(f"[{name}] expected the keys {sorted(known)}, got also {unknown}")
    section = cls(**values)
    for key in values:
        _check_type(f"{name}.{key}", getattr(cls(), key), values[key])
    return section


def _check_type(key: str, default, value) -> None:
    """The type of the default, where a whole number is also a float and None stands for an optional whole number."""
    kind = int if default is None else type(default)
    kinds = {float: (int, float), int: (int,)}.get(kind, (kind,))
    if default is None and value is None:
        return
    finite = not isinstance(value, float) or np.isfinite(value)
    if not isinstance(value, kinds) or (isinstance(value, bool) and kind is not bool) or not finite:
        raise ConfigError(f"{key}: expected {kind.__name__}, such as {default!r}, got {value!r}")


def _check(c: Config) -> None:
    """Every rule in turn: (holds, key, what was expected, what came)."""
    objective = c.training.objective
    if objective not in OBJECTIVES:
        raise ConfigError(f"training.objective: expected one of {tuple(OBJECTIVES)}, got {objective!r}")
    where = _data_rules(c.data) if objective == "likelihood" else _walk_rules(c)
    rules = [
        _name_rule(c.name),
        *_system_rules(c.system),
        *where,
        *_model_rules(c),
        *_training_rules(c.training),
        *_grown_rules(c),
    ]
    for ok, key, expected, got in rules:
        if not ok:
            raise ConfigError(f"{key}: expected {expected}, got {got!r}")


def _name_rule(name) -> tuple:
    """The run lives in ``runs/name``, and nowhere else."""
    fits = isinstance(name, str) and re.fullmatch(r"\w[\w.+ -]{0,99}", name)
    return (
        bool(fits),
        "name",
        'up to 100 letters, digits, spaces and _ . + -, a letter, digit or _ first, such as "cuau"',
        name,
    )


def _system_rules(s: SystemConfig) -> list:
    ints = lambda row: isinstance(row, list) and len(row) == 3 and all(type(n) is int for n in row)  # noqa: E731
    matrix = len(s.repeats) == 3 and all(map(ints, s.repeats))
    fits = matrix or (ints(s.repeats) and min(s.repeats) >= 1)
    return [(fits, "system.repeats", "three whole numbers of at least 1, or a 3x3 matrix of whole numbers", s.repeats)]


def _data_rules(d: DataConfig) -> list:
    return [
        (len(expand(d.T)) > 0 and (expand(d.T) > 0).all(), "data.T", "temperatures above 0", d.T),
        (len(expand(d.mu)) > 0, "data.mu", "a list of chemical potentials", d.mu),
        (0 <= d.seed <= LARGEST_SEED, "data.seed", f"a whole number from 0 to {LARGEST_SEED}", d.seed),
        (d.samples >= 1 and d.sweeps >= 1 and d.burn >= 0, "data", "samples >= 1, sweeps >= 1, burn >= 0", d),
    ]


def _grown_rules(c: Config) -> list:
    grown, share = c.data.grown, c.training.grown
    whole = not grown or (len(grown) == 3 and all(isinstance(n, int) and n >= 1 for n in grown) and max(grown) >= 2)
    ready = (
        c.training.objective == "likelihood"
        and c.model.kind == "causal"
        and len(grown) == 3
        and np.ndim(c.system.repeats) == 1
    )
    return [
        (whole, "data.grown", "three whole numbers of at least 1, one of them 2 or more, such as [3, 3, 1]", grown),
        (0 <= share <= 1, "training.grown", "a fraction in [0, 1]", share),
        (share == 0 or ready, "training.grown", 'the objective "likelihood", a "causal" model, three system.repeats and data.grown where it is not 0',
         (share, c.training.objective, c.model.kind, c.system.repeats, grown)),
    ]  # fmt: skip


def _walk_rules(c: Config) -> list:
    w, t = c.conditions, c.training
    n = w.n_T * w.n_mu
    pairs = mu_ranges(w.mu)
    return [
        (_is_range(w.T) and w.T[0] > 0, "conditions.T", "[low, high] with 0 < low <= high", w.T),
        (all(map(_is_range, pairs)), "conditions.mu", "[low, high] with low <= high, or one pair per element after the first", w.mu),
        (w.n_T >= 1 and w.n_mu >= 1, "conditions", "n_T >= 1 and n_mu >= 1", (w.n_T, w.n_mu)),
        (0 <= w.step_T <= 1 and 0 <= w.step_mu <= 1, "conditions", "step_T and step_mu in [0, 1]", (w.step_T, w.step_mu)),
        (t.batch % max(n, 1) == 0, "training.batch", f"a multiple of the {n} conditions (n_T = {w.n_T} times n_mu = {w.n_mu})",
         t.batch),
        (t.batch >= 2 * n, "training.batch", f"at least two samples for each of the {n} conditions, to centre them", t.batch),
    ]  # fmt: skip


def _model_rules(c: Config) -> list:
    m, objective = c.model, c.training.objective
    kinds = tuple(dict.fromkeys(k for names in OBJECTIVES.values() for k in names))
    attends = m.kind == "causal" or m.network == "transformer"
    return [
        (m.kind in kinds, "model.kind", f"one of {kinds}", m.kind),
        (m.kind in OBJECTIVES[objective], "model.kind", f"{' or '.join(map(repr, OBJECTIVES[objective]))}, which the objective "
         f"{objective!r} is for", m.kind),
        (m.network in NETWORKS, "model.network", f"one of {tuple(NETWORKS)}", m.network),
        (not attends or (m.heads >= 2 and m.heads % 2 == 0), "model.heads", "an even number", m.heads),
        (not attends or m.width % max(2, 2 * m.heads) == 0, "model.width", f"a multiple of 2 * heads = {2 * m.heads}", m.width),
        (m.width >= 1 and m.depth >= 1 and m.expand >= 1, "model", "width >= 1, depth >= 1 and expand >= 1", m),
        (m.radial >= 1 and 0 <= m.offset < m.cutoff, "model", "radial >= 1 and 0 <= offset < cutoff",
         (m.radial, m.offset, m.cutoff)),
        (m.trunks == 1 or (m.trunks == 2 and m.kind == "mam"), "model.trunks", "1, or 2 for a mam", m.trunks),
    ]  # fmt: skip


def _training_rules(t: TrainingConfig) -> list:
    weights = list(t.orders.values())
    families = set(t.orders) <= set(FAMILIES) and all(_is_number(w) and w >= 0 for w in weights) and sum(weights) > 0
    return [
        (0 <= t.seed <= LARGEST_SEED, "training.seed", f"a whole number from 0 to {LARGEST_SEED}", t.seed),
        (t.steps >= 1 and t.batch >= 1, "training", "steps >= 1 and batch >= 1", (t.steps, t.batch)),
        (t.minutes >= 0, "training.minutes", "a number of at least 0", t.minutes),
        (1 <= t.accumulate <= t.batch, "training.accumulate", f"between 1 and the batch of {t.batch}", t.accumulate),
        (t.precision in PRECISIONS, "training.precision", f"one of {PRECISIONS}", t.precision),
        (t.consistency >= 0, "training.consistency", "lambda / N of at least 0", t.consistency),
        (t.gibbs >= 1, "training.gibbs", "at least 1 site", t.gibbs),
        (t.advantage_floor >= 0, "training.advantage_floor", "at least 0 nats", t.advantage_floor),
        (t.validate_every >= 1, "training.validate_every", "at least 1", t.validate_every),
        (t.validate_samples >= 2, "training.validate_samples", "at least 2", t.validate_samples),
        (t.warmup >= 0 and t.threads >= 0, "training", "warmup >= 0 and threads >= 0", (t.warmup, t.threads)),
        (t.clip > 0 and t.floor > 0, "training", "clip > 0 and floor > 0", (t.clip, t.floor)),
        (t.lr > 0, "training.lr", "a number above 0", t.lr),
        (0 <= t.ema < 1, "training.ema", "a number in [0, 1)", t.ema),
        (0 <= t.known <= 1, "training.known", "a fraction in [0, 1]", t.known),
        (
            0 <= t.foreign <= (t.known > 0),
            "training.foreign",
            "a fraction in [0, 1], and training.known above 0 where it is not 0",
            t.foreign,
        ),
        (t.images in IMAGES, "training.images", f"one of {IMAGES}", t.images),
        (t.label_images in IMAGES, "training.label_images", f"one of {IMAGES}", t.label_images),
        (families, "training.orders", f"weights >= 0 of families among {FAMILIES}", t.orders),
    ]


def mu_ranges(mu: list) -> list:
    """[low, high] pairs, one per element after the first, of ``conditions.mu``."""
    return mu if len(mu) and isinstance(mu[0], list) else [mu]


def _is_range(pair) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and all(map(_is_number, pair)) and pair[0] <= pair[1]


def expand(values: list) -> np.ndarray:
    """Numbers from a list of numbers and {from, to, step} tables (ends included), sorted, without repeats.

    Examples
    --------
    >>> expand([100, {"from": 200, "to": 300, "step": 50}]).tolist()
    [100.0, 200.0, 250.0, 300.0]
    """
    out = []
    for v in values:
        if isinstance(v, dict):
            if set(v) != {"from", "to", "step"} or not all(map(_is_number, v.values())) or v["step"] <= 0:
                raise ConfigError(f"expected numbers or tables with from, to and step > 0, got {v!r}")
            n = round((v["to"] - v["from"]) / v["step"])
            if n > 100_000:
                raise ConfigError(f"expected a table of at most 100000 numbers, got {n} in {v!r}; take a larger step")
            out += [v["from"] + k * v["step"] for k in range(n + 1)]
        elif _is_number(v):
            out.append(float(v))
        else:
            raise ConfigError(f"expected finite numbers or tables with from, to and step > 0, got {v!r}")
    return np.unique(np.round(np.array(out, dtype=float), 12))


def _is_number(v) -> bool:
    return isinstance(v, (int, float)) and not isinstance(v, bool) and bool(np.isfinite(v))
