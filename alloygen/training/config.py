"""Training configurations: TOML files as records, checked before any work is done.

Each section is a record of its own (:mod:`alloygen.training.sections`); :class:`Config` holds them and checks how they go together.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from typing import TypeVar

import numpy as np

from alloygen.errors import AlloygenError, ConfigError
from alloygen.hamiltonian.expansion import ClusterExpansion
from alloygen.hamiltonian.parents import PARENTS
from alloygen.hamiltonian.source import expansion_from
from alloygen.orders import Orders
from alloygen.runtime.documents import contents_of, read_document
from alloygen.training.kinds import (
    ArmConfig,
    CausalConfig,
    FamilyConfig,
    LikelihoodConfig,
    LocalConfig,
    MamConfig,
    MarginalConfig,
    ModelConfig,
    ObjectiveConfig,
    PatchesConfig,
    ReinforceConfig,
    StreamConfig,
)
from alloygen.training.sections import (
    ConditionsConfig,
    DataConfig,
    KindSection,
    MachineConfig,
    PriorConfig,
    Rule,
    Section,
    SystemConfig,
    TrainingConfig,
    ValidationConfig,
    require,
)
from alloygen.types import PathLike

MODELS = (CausalConfig, LocalConfig, FamilyConfig, ArmConfig, MamConfig)
OBJECTIVES = (LikelihoodConfig, PatchesConfig, StreamConfig, ReinforceConfig, MarginalConfig)
SECTIONS = (
    "system",
    "data",
    "conditions",
    "prior",
    "model",
    "objective",
    "orders",
    "training",
    "validation",
    "machine",
)


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that makes one model.

    name : that of its folder in ``runs/``: letters, digits, spaces and ``_ . + -``
    data : the grid of Monte Carlo samples that "likelihood" and "patches" learn from; prior : the random alloys that "stream" does;
        conditions : the range that the other objectives walk through. One of the three
    orders : the families of orders that are learned and the symmetry images that they are moved by

    Raises ConfigError for sections that do not go together, each section for itself.
    """

    name: str = "model"
    system: SystemConfig = field(default_factory=SystemConfig)
    data: DataConfig | None = None
    conditions: ConditionsConfig | None = None
    prior: PriorConfig | None = None
    model: ModelConfig = field(default_factory=CausalConfig)
    objective: ObjectiveConfig = field(default_factory=LikelihoodConfig)
    orders: Orders = field(default_factory=Orders)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    machine: MachineConfig = field(default_factory=MachineConfig)

    def __post_init__(self) -> None:
        require(self._rules())

    def _rules(self) -> Iterator[Rule]:
        fits = isinstance(self.name, str) and re.fullmatch(r"\w[\w.+ -]{0,99}", self.name)
        expected = 'up to 100 letters, digits, spaces and _ . + -, a letter, digit or _ first, such as "cuau"'
        yield fits, "name", expected, self.name
        objective = self.objective
        kinds = " or ".join(repr(m.kind) for m in objective.models)
        expected = f"{kinds}, which the objective {objective.kind!r} is for"
        yield isinstance(self.model, objective.models), "model.kind", expected, self.model.kind
        sources = (self.data, self.conditions, self.prior)
        for source in sources:
            wanted = isinstance(source, objective.source) or source is None
            expected = f"[{objective.source.title}], where the objective {objective.kind!r} learns"
            yield wanted, "sections", expected, source and f"[{source.title}]"
        yield (
            any(s is not None for s in sources),
            "sections",
            f"[{objective.source.title}], where the objective {objective.kind!r} learns",
            None,
        )
        if self.conditions is not None:
            yield from self._shares(self.conditions)
        if isinstance(objective, LikelihoodConfig):
            yield from self._windows(objective)
        if isinstance(objective, StreamConfig):
            yield from self._stream(objective)
        any_cell = isinstance(self.model, LocalConfig)
        yield any_cell or not self.system.more, "system.more", 'none but for a "local" model', self.system.more
        expected = f"{self.model.orders}, those of a local model"
        yield not any_cell or self.orders == self.model.orders, "orders", expected, self.orders

    def _stream(self, stream: StreamConfig) -> Iterator[Rule]:
        """A parent lattice, and rows of every alloy in a batch."""
        name, batch = self.system.hamiltonian, self.training.batch
        yield name in PARENTS, "system.hamiltonian", f'one of the lattices {tuple(PARENTS)}, for "stream"', name
        yield batch >= stream.mixed, "training.batch", f"at least objective.mixed = {stream.mixed}", batch

    def _shares(self, walk: ConditionsConfig) -> Iterator[Rule]:
        """Each of the conditions that walk has as large a share of the batch."""
        n, batch = walk.n_T * walk.n_mu, self.training.batch
        expected = f"a multiple of the {n} conditions (n_T = {walk.n_T} times n_mu = {walk.n_mu})"
        yield batch % n == 0, "training.batch", expected, batch
        expected = f"at least two samples for each of the {n} conditions, to centre them"
        yield batch >= 2 * n, "training.batch", expected, batch

    def _windows(self, objective: LikelihoodConfig) -> Iterator[Rule]:
        """Windows of a larger cell need a model that can learn them and the cell."""
        grown, repeats = self.data.grown if self.data else [], self.system.repeats
        ready = isinstance(self.model, CausalConfig) and len(grown) == 3 and np.ndim(repeats) == 1
        expected = 'a "causal" model, three system.repeats and data.grown where it is not 0'
        got = (objective.grown, self.model.kind, repeats, grown)
        yield objective.grown == 0 or ready, "objective.grown", expected, got

    def expansion(self) -> ClusterExpansion:
        """What is modelled; for a law of every alloy of a parent lattice, one with all figures."""
        if isinstance(self.objective, StreamConfig):
            parent = PARENTS[self.system.hamiltonian]
            return parent.expansion(
                [0.01 / figure.order for figure in parent.figures], name=f"any binary {parent.name} alloy"
            )
        return expansion_from(self.system.hamiltonian)

    @property
    def source(self) -> DataConfig | ConditionsConfig | PriorConfig:
        """Where it learns: the one of ``data``, ``conditions`` and ``prior`` that is given."""
        found = self.data or self.conditions or self.prior
        assert found is not None
        return found

    def to_dict(self) -> dict:
        """The sections as a TOML file holds them; ``load_config`` reads them back."""
        sections: list[Section] = [self.system, self.source, self.model, self.objective]
        sections += [self.training, self.validation, self.machine]
        return {"name": self.name, "orders": asdict(self.orders), **{s.title: s.settings() for s in sections}}

    def facts(self) -> dict:
        """What is equal for runs that may resume one another: every setting but those of the machine, as "section.key"."""
        d = self.to_dict()
        parts = {f"{s}.{k}": v for s, part in d.items() if s not in ("name", "machine") for k, v in part.items()}
        return {"name": self.name, **parts}


def load_config(source: Config | dict | PathLike) -> Config:
    """Read a configuration from a TOML path or a dict.

    Raises ConfigError for unknown keys and impossible values, naming the key, what was expected and what came.

    Examples
    --------
    >>> load_config({"data": {"T": [300, 600], "mu": [0.0]}, "training": {"lr": 2e-3}}).training.lr
    0.002
    """
    if isinstance(source, Config):
        return source
    if isinstance(source, (str, os.PathLike)):
        what = "a TOML configuration"
        found = read_document(source, what, tomllib.loads, ConfigError)
        with contents_of(source, what, ConfigError):
            return load_config(found)
    if not isinstance(source, dict):
        raise ConfigError(f"expected a configuration as the path of a TOML file or a dict, got {source!r}")
    unknown = sorted(set(source) - {*SECTIONS, "name"})
    if unknown:
        raise ConfigError(f"expected the sections name, {', '.join(SECTIONS)}, got also {unknown}")
    for key in SECTIONS:
        if not isinstance(source.get(key, {}), dict):
            raise ConfigError(f"expected a section [{key}], got {key} = {source[key]!r}")
    objective, model = _of_kind(OBJECTIVES, source.get("objective", {})), _of_kind(MODELS, source.get("model", {}))
    asked = {*source, objective.source.title}
    return Config(
        name=source.get("name", "model"),
        system=_section(SystemConfig, source),
        data=_section(DataConfig, source) if "data" in asked else None,
        conditions=_section(ConditionsConfig, source) if "conditions" in asked else None,
        prior=_section(PriorConfig, source) if "prior" in asked else None,
        model=model,
        objective=objective,
        orders=_orders(source["orders"]) if "orders" in source else model.orders,
        training=_section(TrainingConfig, source),
        validation=_section(ValidationConfig, source),
        machine=_section(MachineConfig, source),
    )


S = TypeVar("S", bound=Section)
K = TypeVar("K", bound=KindSection)


def _known(title: str, kind: type, values: dict) -> None:
    known = {f.name for f in fields(kind)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise ConfigError(f"[{title}] expected the keys {sorted(known)}, got also {unknown}")


def _section(kind: type[S], source: dict) -> S:
    """The section of its title, with the defaults for what is not given."""
    values = source.get(kind.title, {})
    _known(kind.title, kind, values)
    return kind(**values)


def _of_kind(kinds: tuple[type[K], ...], values: dict) -> K:
    """The section of the kind that it names; the first one where it names none."""
    wanted, title = values.get("kind", kinds[0].kind), kinds[0].title
    for kind in kinds:
        if kind.kind == wanted:
            return _section(kind, {title: {k: v for k, v in values.items() if k != "kind"}})
    raise ConfigError(f"{title}.kind: expected one of {tuple(k.kind for k in kinds)}, got {wanted!r}")


def _orders(values: dict) -> Orders:
    _known("orders", Orders, values)
    try:
        return Orders(**values)
    except AlloygenError as error:
        raise ConfigError(f"orders: {error}") from None
