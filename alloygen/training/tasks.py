"""What one step of training draws and minimises: maximum likelihood on data, REINFORCE, or the loss of a MAM.

A task draws a batch without gradient (``draw``) and gives a loss for each row of it (``rows``), whose mean is minimised;
the loop may hand the rows over in parts. A new objective is a function in ``objectives/`` and a task here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import NamedTuple, cast

import torch

from alloygen.conditions.record import Condition
from alloygen.errors import ConfigError
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.models.base import Network
from alloygen.models.causal import CausalModel, Stage
from alloygen.models.family import FamilyModel
from alloygen.models.local import LocalLaw
from alloygen.models.masked import MarginalizationModel, MaskedLaw
from alloygen.objectives import marginal, reinforce
from alloygen.objectives.batch import Batch
from alloygen.objectives.likelihood import likelihood, masked_likelihood, random_depth
from alloygen.objectives.walk import ConditionWalk
from alloygen.training.config import Config
from alloygen.training.dataset import (
    Dataset,
    GrownDataset,
    Samples,
    Windows,
    make_cell_data,
    make_data,
    make_grown_data,
)
from alloygen.training.feed import feed, generator_of
from alloygen.training.kinds import LikelihoodConfig, MarginalConfig, PatchesConfig, ReinforceConfig, StreamConfig
from alloygen.training.patches import Cell, Patches
from alloygen.training.sections import ConditionsConfig
from alloygen.training.stream import Stream
from alloygen.training.task import Drawn, Task, on_cells, require_state, spread_over, untrained

LAG = 200  # batches, so that those that were asked for before a measurement are the same for every number of processes


@dataclass(frozen=True, kw_only=True, eq=False)
class Masked(Samples):
    """Samples for a masked network, which learns one step of each order in a pass: ``depth`` (B,)."""

    depth: torch.Tensor


class Likelihood(Task[Samples]):
    """Any-order maximum likelihood on Monte Carlo samples."""

    def __init__(self, config: Config, dataset: Dataset, grown: GrownDataset | None = None):
        super().__init__()
        self.config, self.dataset, self.grown = config, dataset, grown
        self.how = cast(LikelihoodConfig, config.objective)
        self.stage: Stage | None = None

    def draw(self, model: Network, generator: torch.Generator) -> Samples:
        source = self.dataset
        if self.grown is not None and float(torch.rand((), generator=generator)) < self.how.grown:
            source = self.grown
        batch = source.batch(self.config.training.batch, self.config.orders, self.how, generator)
        if isinstance(model, MaskedLaw):
            batch = Masked(**vars(batch), depth=random_depth(batch.order, generator, batch.given))
        return batch.to(self.config.machine.device)

    def rows(self, model: Network, part: Samples) -> torch.Tensor:
        of = (part.occ, part.condition, part.order)
        if isinstance(part, Masked):
            return masked_likelihood(cast(MaskedLaw, model), *of, part.depth, part.labels, part.given)
        if isinstance(part, Windows):
            return likelihood(model, *of, part.labels, part.given, part.known, self._larger(model))[0]
        return likelihood(model, *of, part.labels, part.given)[0]

    def _larger(self, model: Network) -> Stage:
        """The larger cell, whose windows are learned."""
        if self.stage is None:
            self.stage = cast(CausalModel, model).stage(cast(GrownDataset, self.grown).hamiltonian)
        return self.stage

    def validation(self, model: Network) -> list[tuple[Network, Condition]]:
        return spread_over(model, self.dataset.condition)

    def facts(self) -> dict:
        parts = {"data": self.dataset, "grown data": self.grown}
        return {k: [d.condition.T, d.condition.mu, d.occ] for k, d in parts.items() if d is not None}

    def state(self) -> dict:
        return {}

    def load(self, state: dict) -> None:
        require_state(state, {})  # the generator of the loop says which batch comes next


class Asked(NamedTuple):
    """A batch to make: its number, by which spread (C,) of the law's weights conditions are drawn."""

    number: int
    spread: torch.Tensor | None


class PatchMaker:
    """Batches of some sites of the samples of several supercells; in another process the samples are read from the files of the run."""

    def __init__(self, config: Config, path: Path, cells: list[Cell]):
        self.config, self.path, self.cells = config, path, cells

    def __reduce__(self) -> tuple:
        return _patch_maker, (self.config, self.path)

    def __call__(self, asked: Asked) -> tuple[int, Patches]:
        """(number of the supercell, its batch)."""
        t = self.config.training
        generator = generator_of(t.seed, asked.number)
        which = int(torch.randint(len(self.cells), (), generator=generator))
        return which, self.cells[which].batch(t.batch, generator, asked.spread)


def _patch_maker(config: Config, path: Path) -> PatchMaker:
    """In another process: weights are not needed to make batches."""
    law = cast(LocalLaw, untrained(config, config.expansion().on(config.system.repeats)))
    return PatchMaker(config, path, cells_of(law, config, path, progress=False))


class PatchLikelihood(Task[Batch]):
    """Maximum likelihood of a local model from some sites of every kind; each batch is of one of the supercells, in turn at random.

    A share of the batches of supercells that are small enough are the law's own draws, from which it learns by REINFORCE: the noise of
    that falls with the spread of its weights, while that of labels stays, so it is of use where the law is nearly right.

    A few conditions hold most of what the law lacks. Where ``hard`` is set, the spread of its weights on the first supercell is measured now and
    then, and a share of the configurations is drawn by it, from LAG batches later on. The minimum of the loss is the same for every such choice."""

    def __init__(self, config: Config, cells: list[Cell], path: Path):
        super().__init__()
        self.config, self.cells = config, cells
        self.how = cast(PatchesConfig, config.objective)
        self.make = PatchMaker(config, path, cells)
        self.which, self.drawn = 0, 0
        self.spreads: dict[
            int, torch.Tensor
        ] = {}  # of log weights at the conditions (C,), by the batch that each is for first

    def draw(self, model: Network, generator: torch.Generator) -> Batch:
        self._measure()
        own = float(torch.rand((), generator=generator)) < self.how.own
        small = [k for k, cell in enumerate(self.cells) if cell.hamiltonian.n_sites <= self.how.own_sites]
        if own and small:
            self.which = small[int(torch.randint(len(small), (), generator=generator))]
            return self._own(generator)
        if self.coming is None:
            self.coming = feed(self.make, self._asked(), self.config.machine.workers)
        self.which, batch = next(self.coming)
        self.drawn += 1
        return batch.to(self.config.machine.device)

    def _own(self, generator: torch.Generator) -> Batch:
        """The law's own draws."""
        cell, n, device = self.cells[self.which], self.config.training.batch, self.config.machine.device
        condition, group = cell.conditions(n, self.how.own_group, generator, self._spread(self.drawn))
        order = cell.model.placed.order.expand(n, -1).to(device)
        return reinforce.draw(cell.model, condition.to(device), order, group.to(device), generator, floor=1.0)

    def rows(self, model: Network, part: Batch) -> torch.Tensor:
        """Losses of the configurations, as if all had as many sites as the first supercell."""
        cell = self.cells[self.which]
        share = self.cells[0].hamiltonian.n_sites / cell.hamiltonian.n_sites
        if isinstance(part, Patches):
            return cell.kinds.loss(cell.model, part) * share
        part = cast(reinforce.Draws, part)
        of = part.occ, part.condition, part.order, part.advantage
        return reinforce.reinforce(cell.model, *of) * share

    def _asked(self) -> Iterator[Asked]:
        """The next batches."""
        return (Asked(number, self._spread(number)) for number in count(self.drawn))

    def _spread(self, number: int) -> torch.Tensor | None:
        """What batch ``number`` knows of the spread of the law's weights, a copy."""
        known = [first for first in self.spreads if first <= number]
        return self.spreads[max(known)].clone() if known else None

    def _measure(self) -> None:
        """Now and then, how the law's weights spread; its mean over this measurement and those before."""
        first = self.drawn + LAG if self.drawn else 0
        if not self.how.hard or self.drawn % self.how.hard_every or first in self.spreads:
            return
        before = self.spreads.get(max(self.spreads, default=0))
        found = self.cells[0].spread(self.how.hard_draws, generator_of(self.config.training.seed + 1, first))
        used = [k for k in self.spreads if k <= self.drawn]
        self.spreads = {k: v for k, v in self.spreads.items() if k >= max(used, default=0)}
        self.spreads[first] = found if before is None else 0.5 * (before + found)

    def validation(self, model: Network) -> list[tuple[Network, Condition]]:
        return spread_over(model, self.cells[0].condition)

    def facts(self) -> dict:
        return {f"data {k}": [c.condition.T, c.condition.mu, c.occ] for k, c in enumerate(self.cells)}

    def state(self) -> dict:
        return {"drawn": torch.tensor(self.drawn), **{f"spread {k}": v for k, v in self.spreads.items()}}

    def load(self, state: dict) -> None:
        prefix = "spread "
        spreads = [k for k in state if k.startswith(prefix) and k.removeprefix(prefix).isdecimal()]
        of_condition = torch.zeros(len(self.cells[0].condition), dtype=torch.float64)
        require_state(state, {"drawn": torch.tensor(0), **dict.fromkeys(spreads, of_condition)}, least=0)
        self.drawn = int(state["drawn"])
        self.spreads = {int(k.removeprefix(prefix)): v for k, v in state.items() if k.startswith(prefix)}
        self.close()


class _Walking(Task[Drawn]):
    """Training without data: conditions that walk, orders drawn for each batch."""

    def __init__(self, config: Config, hamiltonian: Hamiltonian):
        super().__init__()
        c, self.config, self.hamiltonian = cast(ConditionsConfig, config.conditions), config, hamiltonian
        self.ranges = c.ranges()
        if len(self.ranges["mu"]) != len(hamiltonian.elements) - 1:
            raise ConfigError(
                f"conditions.mu: expected one [low, high] per element after the first of {hamiltonian.elements}, got {c.mu!r}"
            )
        generator = torch.Generator().manual_seed(config.training.seed)
        self.walk = ConditionWalk(self.ranges, c.n_T, c.n_mu, c.step_T, c.step_mu, generator)
        self.generator = generator

    def _next(self, generator: torch.Generator) -> tuple[Condition, torch.Tensor, torch.Tensor]:
        """(conditions, order (B, N), number of each row's condition (B,)) of a batch on the device, after a step of the walk."""
        self.walk.move(generator)
        n, device = self.config.training.batch, self.config.machine.device
        T, mu, group = self.walk.batch(n)
        order = self.config.orders.draw(self.hamiltonian.lattice, n, generator)
        return self.hamiltonian.condition(T, mu).to(device), order.to(device), group.to(device)

    def _note(self, value: torch.Tensor) -> None:
        spread = value.view(self.walk.n, -1).std(1)
        self.report = {"spread": float(spread.mean()), "spread_max": float(spread.max())}

    def validation(self, model: Network) -> list[tuple[Network, Condition]]:
        coldest, hottest = map(float, self.ranges["T"])
        T = torch.linspace(coldest, hottest, 4, dtype=torch.float64)
        share = torch.linspace(0, 1, 3, dtype=torch.float64)[:, None]
        low, high = torch.tensor(self.ranges["mu"], dtype=torch.float64).reshape(-1, 2).T
        mu = torch.nn.functional.pad(low + share * (high - low), (1, 0))
        return spread_over(model, self.hamiltonian.condition(T.repeat_interleave(3), mu.repeat(4, 1)))

    def facts(self) -> dict:
        return {}

    def state(self) -> dict:
        return {"T": self.walk.T, "mu": self.walk.mu}

    def load(self, state: dict) -> None:
        require_state(state, self.state())
        self.walk.T, self.walk.mu = state["T"], state["mu"]


class Reinforce(_Walking[reinforce.Draws]):
    """Reverse KL through the whole chain; ``spread`` in the log is the standard deviation of log q + beta H (nats)."""

    def __init__(self, config: Config, hamiltonian: Hamiltonian):
        super().__init__(config, hamiltonian)
        self.how = cast(ReinforceConfig, config.objective)
        self.cells: list[LocalLaw] = []
        self.model: Network | None = None

    def draw(self, model: Network, generator: torch.Generator) -> reinforce.Draws:
        self.model = self._of_cell(model, generator)
        drawn = reinforce.draw(self.model, *self._next(generator), generator, self.how.advantage_floor)
        self._note(drawn.value)
        return drawn

    def rows(self, model: Network, part: reinforce.Draws) -> torch.Tensor:
        return reinforce.reinforce(cast(Network, self.model), part.occ, part.condition, part.order, part.advantage)

    def _of_cell(self, model: Network, generator: torch.Generator) -> Network:
        """The model on one of the supercells, at random."""
        if not isinstance(model, LocalLaw) or not self.config.system.more:
            return model
        if not self.cells:
            self.cells = on_cells(model, self.config)
        found = self.cells[int(torch.randint(len(self.cells), (), generator=generator))]
        self.hamiltonian = found.hamiltonian
        return found


class Marginal(_Walking[marginal.Erased]):
    """The loss of a marginalization model over a persistent batch of configurations."""

    def __init__(self, config: Config, hamiltonian: Hamiltonian):
        super().__init__(config, hamiltonian)
        self.how = cast(MarginalConfig, config.objective)
        self.occ = hamiltonian.random(config.training.batch, self.generator).to(config.machine.device)

    def draw(self, model: Network, generator: torch.Generator) -> marginal.Erased:
        how, following = self.how, self._next(generator)
        drawn = marginal.draw(
            cast(MarginalizationModel, model), self.occ, *following, generator, how.gibbs, how.advantage_floor
        )
        self.occ = drawn.occ
        self._note(drawn.value)
        return drawn

    def rows(self, model: Network, part: marginal.Erased) -> torch.Tensor:
        return marginal.marginal(
            cast(MarginalizationModel, model),
            part.occ,
            part.condition,
            part.order,
            part.depth,
            part.advantage,
            part.anchor,
            self.how.consistency * self.hamiltonian.n_sites,
        )

    def state(self) -> dict:
        return {**super().state(), "occ": self.occ}

    def load(self, state: dict) -> None:
        super().load(state)
        self.hamiltonian.check(state["occ"])
        self.occ = state["occ"].to(self.config.machine.device)


def cells_of(law: LocalLaw, config: Config, path: Path, progress: bool) -> list[Cell]:
    """The Monte Carlo samples of each supercell, kept in ``path`` and beside it."""
    laws = on_cells(law, config)
    paths = [path if k == 0 else path.with_name(f"data_{k}.safetensors") for k in range(len(laws))]
    return [make_cell_data(one, config, p, progress) for one, p in zip(laws, paths, strict=True)]


def make_task(config: Config, model: Network, path: Path, progress: bool) -> Task:
    """The task of a configuration; Monte Carlo data, where it needs them, are kept in ``path``."""
    hamiltonian = model.hamiltonian
    if isinstance(config.objective, MarginalConfig):
        return Marginal(config, hamiltonian)
    if isinstance(config.objective, ReinforceConfig):
        return Reinforce(config, hamiltonian)
    if isinstance(config.objective, StreamConfig):
        return Stream(config, cast(FamilyModel, model))
    if isinstance(config.objective, PatchesConfig):
        return PatchLikelihood(config, cells_of(cast(LocalLaw, model), config, path, progress), path)
    grown = None
    if cast(LikelihoodConfig, config.objective).grown:
        grown = make_grown_data(hamiltonian, config, path.with_name("grown.safetensors"), progress)
    return Likelihood(config, make_data(hamiltonian, config, path, progress), grown)
