"""Training configurations: TOML files as dataclasses, checked before any work is done."""

from __future__ import annotations

import dataclasses
import json
import os
import tomllib
from dataclasses import dataclass, field

import numpy as np

from alloygen.errors import ConfigError
from alloygen.orders import FAMILIES, IMAGES


@dataclass
class SystemConfig:
    """What is modelled. ``hamiltonian``: "cuau", "ising", or the path of an expansion file; ``repeats`` of its cell."""

    hamiltonian: str = "cuau"
    repeats: list = field(default_factory=lambda: [2, 2, 4])


@dataclass
class DataConfig:
    """The replica-exchange grid that the training data come from.

    T and mu are lists of numbers or of {from, to, step} tables; mu is per element after the first, for a binary simply
    the list of mu(last) - mu(first). ``samples`` per condition, ``sweeps`` apart, after ``burn`` rounds of ``sweeps``.
    """

    T: list = field(default_factory=list)
    mu: list = field(default_factory=list)
    samples: int = 128
    sweeps: int = 10
    burn: int = 300
    seed: int = 0


@dataclass
class ModelConfig:
    """Size of the network. kind: "causal"."""

    kind: str = "causal"
    width: int = 128
    depth: int = 4
    heads: int = 4
    expand: int = 3
    neighbours: int | None = None


@dataclass
class TrainingConfig:
    """One loop.

    orders : weights of the order families; images : the symmetry images that they are moved by
    known : fraction of samples with a random known set in front
    soft_labels : train on heat-bath conditionals; label_images : average them over these symmetry images
    floor : the share of frozen conditions in the batches, see ``training.Dataset``
    """

    steps: int = 1000
    batch: int = 128
    lr: float = 1e-3
    warmup: int = 100
    weight_decay: float = 0.01
    clip: float = 1.0
    ema: float = 0.998
    orders: dict = field(default_factory=lambda: {"sublattice": 1.0})
    images: str = "translations"
    known: float = 0.0
    soft_labels: bool = True
    label_images: str = "translations"
    floor: float = 0.2
    seed: int = 0
    threads: int = 0
    device: str = "cpu"
    validate_every: int = 500
    checkpoint_minutes: float = 3.0


@dataclass
class Config:
    """Everything that makes one model."""

    name: str
    system: SystemConfig
    data: DataConfig
    model: ModelConfig
    training: TrainingConfig

    def to_dict(self) -> dict:
        return dataclasses.asdict(self)

    @property
    def fingerprint(self) -> str:
        """Text that is equal for runs that may resume one another."""
        d = self.to_dict()
        for key in ("threads", "device", "checkpoint_minutes"):
            d["training"].pop(key)
        return json.dumps(d, sort_keys=True)


_SECTIONS = {"system": SystemConfig, "data": DataConfig, "model": ModelConfig, "training": TrainingConfig}


def load_config(source) -> Config:
    """Read a configuration from a TOML path or a dict.

    Raises ConfigError for unknown keys and impossible values, naming the key, what was expected and what came.
    """
    if isinstance(source, Config):
        return source
    if isinstance(source, (str, os.PathLike)):
        if not os.path.exists(source):
            raise ConfigError(f"expected a TOML configuration, found no file at {os.fspath(source)!r}")
        with open(source, "rb") as f:
            try:
                source = tomllib.load(f)
            except tomllib.TOMLDecodeError as error:
                raise ConfigError(f"expected a TOML configuration in {f.name!r}, got a syntax error: {error}") from None
    unknown = sorted(set(source) - {*_SECTIONS, "name"})
    if unknown:
        raise ConfigError(f"expected the sections name, {', '.join(_SECTIONS)}, got also {unknown}")
    for key in _SECTIONS:
        if not isinstance(source.get(key, {}), dict):
            raise ConfigError(f"expected a section [{key}], got {key} = {source[key]!r}")
    parts = {k: _section(k, cls, source.get(k, {})) for k, cls in _SECTIONS.items()}
    config = Config(name=str(source.get("name", "model")), **parts)
    _check(config)
    return config


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
    if not isinstance(value, kinds) or (isinstance(value, bool) and kind is not bool):
        raise ConfigError(f"{key}: expected {kind.__name__}, such as {default!r}, got {value!r}")


def _check(c: Config) -> None:
    t, m, d = c.training, c.model, c.data
    repeats = np.asarray(c.system.repeats, dtype=object)
    rules = [
        (
            repeats.shape in ((3,), (3, 3)) and all(isinstance(n, int) for n in repeats.flat),
            "system.repeats",
            "three whole numbers, or a 3x3 matrix of them",
            c.system.repeats,
        ),
        (len(expand(d.T)) > 0 and (expand(d.T) > 0).all(), "data.T", "temperatures above 0", d.T),
        (len(expand(d.mu)) > 0, "data.mu", "a list of chemical potentials", d.mu),
        (d.samples >= 1 and d.sweeps >= 1 and d.burn >= 0, "data", "samples >= 1, sweeps >= 1, burn >= 0", d),
        (m.kind == "causal", "model.kind", "'causal'", m.kind),
        (m.heads >= 2 and m.heads % 2 == 0, "model.heads", "an even number", m.heads),
        (m.width % max(2, 2 * m.heads) == 0, "model.width", f"a multiple of 2 * heads = {2 * m.heads}", m.width),
        (m.depth >= 1 and m.expand >= 1, "model", "depth >= 1 and expand >= 1", m),
        (t.steps >= 1 and t.batch >= 1, "training", "steps >= 1 and batch >= 1", (t.steps, t.batch)),
        (t.validate_every >= 1, "training.validate_every", "at least 1", t.validate_every),
        (t.warmup >= 0 and t.threads >= 0, "training", "warmup >= 0 and threads >= 0", (t.warmup, t.threads)),
        (t.clip > 0 and t.floor > 0, "training", "clip > 0 and floor > 0", (t.clip, t.floor)),
        (t.lr > 0, "training.lr", "a number above 0", t.lr),
        (0 <= t.ema < 1, "training.ema", "a number in [0, 1)", t.ema),
        (0 <= t.known <= 1, "training.known", "a fraction in [0, 1]", t.known),
        (t.images in IMAGES, "training.images", f"one of {IMAGES}", t.images),
        (t.label_images in IMAGES, "training.label_images", f"one of {IMAGES}", t.label_images),
        (
            len(t.orders) > 0
            and set(t.orders) <= set(FAMILIES)
            and sum(t.orders.values()) > 0
            and min(t.orders.values()) >= 0,
            "training.orders",
            f"weights >= 0 of families among {FAMILIES}",
            t.orders,
        ),
    ]
    for ok, key, expected, got in rules:
        if not ok:
            raise ConfigError(f"{key}: expected {expected}, got {got!r}")


def expand(values) -> np.ndarray:
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
            out += [v["from"] + k * v["step"] for k in range(n + 1)]
        elif _is_number(v):
            out.append(float(v))
        else:
            raise ConfigError(f"expected finite numbers or tables with from, to and step > 0, got {v!r}")
    return np.unique(np.round(np.array(out, dtype=float), 12))


def _is_number(v) -> bool:
    return isinstance(v, (int, float)) and not isinstance(v, bool) and bool(np.isfinite(v))
