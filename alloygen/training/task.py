"""What a task of training is: it draws batches and says what is lost on them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator
from dataclasses import asdict
from typing import Any, Generic, TypeVar

import numpy as np
import torch

from alloygen.arrays import as_array
from alloygen.conditions.record import Condition
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.models import MODELS
from alloygen.models.base import Network, Trained, own_random_state
from alloygen.models.local import LocalLaw
from alloygen.objectives.batch import Batch
from alloygen.runtime.tensors import matching, require_range
from alloygen.training.config import Config

Drawn = TypeVar("Drawn", bound=Batch)


class Task(ABC, Generic[Drawn]):
    """Base of every task, with the type of its batches; concrete classes are final."""

    def __init__(self) -> None:
        self.report: dict = {}  # figures of the last step, for the log
        self.coming: Generator[Any, None, None] | None = None  # batches that are made ahead, where they are

    @abstractmethod
    def draw(self, model: Network, generator: torch.Generator) -> Drawn:
        """A batch, of the type that ``rows`` takes."""

    def close(self) -> None:
        """End the processes that make batches; the next batch starts others."""
        if self.coming is not None:
            self.coming.close()
            self.coming = None

    @abstractmethod
    def rows(self, model: Network, part: Drawn) -> torch.Tensor:
        """Losses (b,) in nats of rows of the batch."""

    @abstractmethod
    def validation(self, model: Network) -> list[tuple[Network, Condition]]:
        """What to validate, at most a dozen of (the model on some supercell, a condition of it)."""

    @abstractmethod
    def facts(self) -> dict:
        """What fixes the batches beside the configuration: the data, where there are any."""

    @abstractmethod
    def state(self) -> dict:
        """Tensors that the next step needs, by name."""

    @abstractmethod
    def load(self, state: dict) -> None:
        """Take over what ``state`` returned; AlloygenError for what it cannot have (:func:`require_state`)."""


def untrained(config: Config, hamiltonian: Hamiltonian) -> Network:
    """The model of a configuration with weights at random."""
    with own_random_state(config.training.seed):
        model = MODELS[config.model.kind](hamiltonian, config.source.ranges(), **asdict(config.model))
    model.trained = Trained(name=config.name, orders=config.orders)
    return model


def require_state(given: dict[str, torch.Tensor], like: dict[str, torch.Tensor], least: float = -1e30) -> None:
    """AlloygenError unless tensors have the names, kinds and shapes of ``like`` and finite numbers of at least ``least``."""
    found = {k: as_array(v) for k, v in given.items()}
    matching(found, {k: as_array(v) for k, v in like.items()})
    require_range(found, **dict.fromkeys(found, (least, 1e30)))


Law = TypeVar("Law", bound=LocalLaw)


def on_cells(law: Law, config: Config) -> list[Law]:
    """A law on each supercell of a configuration, ``system.repeats`` first."""
    expansion = law.hamiltonian.expansion
    return [law, *(law.on(expansion.on(repeats)) for repeats in config.system.more)]


def spread_over(model: Network, condition: Condition, most: int = 12) -> list[tuple[Network, Condition]]:
    """The model half way from ``most`` of the conditions (C,), spread over them, to the nearest others: what it learned by heart does not count."""
    T, mu = condition.arrays()
    at = np.column_stack([np.log(T), mu])
    at = at / np.maximum(np.ptp(at, axis=0), 1e-12)
    out = []
    for c in np.unique(np.linspace(0, len(T) - 1, most).astype(int)):
        apart = ((at - at[c]) ** 2).sum(1)
        near = int(np.where(apart > 0, apart, np.inf).argmin()) if apart.any() else c
        out.append((model, Condition(np.sqrt(T[c] * T[near]), (mu[c] + mu[near]) / 2, condition.kB)))
    return out
