"""Maximum likelihood of a network for all alloys of a parent lattice, from an endless stream of random ones.

Some alloys are alive on each supercell (:mod:`alloygen.training.prior`), each with its samples. A batch mixes rows of several of them; every
``every`` batches the next alloy takes the place of the oldest on its supercell. Each process that makes batches has alloys of its own, number
s, s + n, s + 2 n, ... of the prior in process s of n, so a run is the same, resumed too, for the same number of processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from typing import NamedTuple, cast

import torch

from alloygen.conditions.record import Condition
from alloygen.errors import AlloygenError
from alloygen.models.base import Network
from alloygen.models.family import FamilyModel
from alloygen.training.config import Config
from alloygen.training.feed import feed, generator_of
from alloygen.training.kinds import StreamConfig
from alloygen.training.patches import Cell, Kinds, Patches
from alloygen.training.prior import Alloy, make, place
from alloygen.training.sections import PriorConfig
from alloygen.training.task import Task, on_cells, require_state, untrained

HELD = 10**9  # alloys from this number on are for validation and tests: no training meets them
VALIDATION = 4  # of them
ENTROPY = 4  # samples that say how often a condition of an alloy is drawn, which lives for some batches alone


@dataclass(frozen=True, kw_only=True, eq=False)
class Mixed(Patches):
    """Rows of several alloys on one supercell, with the ECIs (B, K) of each."""

    couplings: torch.Tensor


class Turn(NamedTuple):
    """A batch to make: its number, and how many processes make batches."""

    number: int
    shards: int


class Shard:
    """Batches of the alloys of one process."""

    def __init__(self, config: Config, laws: list[FamilyModel]):
        self.config, self.laws = config, laws
        self.how, self.prior = cast(StreamConfig, config.objective), cast(PriorConfig, config.prior)
        self.alive: list[dict[int, Cell]] = [{} for _ in laws]
        self.places: list[int] = []  # the supercell of each of its alloys
        self.first = 0  # how many it begins with: one on each supercell, or more

    def __reduce__(self) -> tuple:
        return _shard, (self.config,)

    def __call__(self, turn: Turn) -> tuple[int, Mixed]:
        """(number of the supercell, its batch)."""
        own, shard = divmod(turn.number, turn.shards)
        self._fill(own, shard, turn.shards)
        generator = generator_of(self.config.training.seed, turn.number)
        which = int(torch.randint(len(self.laws), (), generator=generator))
        here, parts = list(self.alive[which].values()), []
        taken = torch.randperm(len(here), generator=generator)[: self.how.mixed]
        for i, rows in zip(
            taken.tolist(), torch.arange(self.config.training.batch).tensor_split(len(taken)), strict=True
        ):
            made = here[i].batch(len(rows), generator)
            couplings = cast(FamilyModel, here[i].model).couplings.expand(len(made), -1)
            parts.append(Mixed(**vars(made), couplings=couplings))
        return which, _joined(parts)

    def _fill(self, own: int, shard: int, shards: int) -> None:
        """Have the alloys at hand that batch ``own`` of this process is of."""
        before = len(self.places)
        while not self.first or len(self.places) < self.first + own // self.how.every:
            self.places.append(place(self.prior, shard + len(self.places) * shards, len(self.laws)))
            if not self.first and set(self.places) == set(range(len(self.laws))):
                self.first = len(self.places)
        if len(self.places) == before:
            return
        for k, here in enumerate(self.alive):
            numbers = [shard + i * shards for i, at in enumerate(self.places) if at == k][-self.how.alive :]
            self.alive[k] = {number: here.get(number) or self._cell(k, number) for number in numbers}

    def _cell(self, k: int, number: int) -> Cell:
        """Alloy ``number`` with its samples, on supercell k."""
        alloy = self.made(number)
        law = self.laws[k].on(alloy.hamiltonian)
        if law.placed is not self.laws[k].placed:
            raise AlloygenError(f"expected alloy {number} to have the channels of all others")
        return Cell(law, alloy.condition, alloy.occ, self.how.patches, ENTROPY)

    def made(self, number: int) -> Alloy:
        """Alloy ``number`` of the prior."""
        return make(self.laws[0].parent, self.prior, [law.lattice.matrix for law in self.laws], number)


def _shard(config: Config) -> Shard:
    """In another process: weights are not needed to make batches."""
    law = cast(FamilyModel, untrained(config, config.expansion().on(config.system.repeats)))
    return Shard(config, on_cells(law, config))


class Stream(Task[Mixed]):
    """A stream of alloys, of which ``how.alive`` are at hand on each supercell in each process that makes batches."""

    def __init__(self, config: Config, law: FamilyModel):
        super().__init__()
        self.config, self.laws = config, on_cells(law, config)
        self.how, self.prior = cast(StreamConfig, config.objective), cast(PriorConfig, config.prior)
        self.shard = Shard(config, self.laws)
        self.kinds = [Kinds(law, self.how.per_kind) for law in self.laws]
        self.which, self.drawn = 0, 0

    def draw(self, model: Network, generator: torch.Generator) -> Mixed:
        if self.coming is None:
            self.coming = feed(self.shard, self._turns(), self.config.machine.workers)
        self.which, batch = next(self.coming)
        self.drawn += 1
        return batch.to(self.config.machine.device)

    def _turns(self) -> Iterator[Turn]:
        """The next batches."""
        shards = max(1, self.config.machine.workers)
        return (Turn(number, shards) for number in count(self.drawn))

    def rows(self, model: Network, part: Mixed) -> torch.Tensor:
        """Losses of the configurations, as if all had as many sites as the first supercell."""
        law = self.laws[self.which]
        share = self.laws[0].hamiltonian.n_sites / law.hamiltonian.n_sites
        entering = law.entering(part.condition, part.couplings)
        return self.kinds[self.which].loss(law, part, entering) * share

    @cached_property
    def held(self) -> list[Alloy]:
        """Alloys that no training meets."""
        return [self.shard.made(HELD + k) for k in range(VALIDATION)]

    def validation(self, model: Network) -> list[tuple[Network, Condition]]:
        """Alloys that no training meets, at a cold, a middling and a hot condition each."""
        out: list[tuple[Network, Condition]] = []
        for k, alloy in enumerate(self.held):
            law = cast(FamilyModel, model).on(alloy.hamiltonian)
            n_mu, n_T = self.prior.n_mu, self.prior.n_T
            out += [(law, alloy.condition[t * n_mu + (k + t) % n_mu]) for t in (0, n_T // 3, n_T - 1)]
        return out

    def facts(self) -> dict:
        return {}

    def state(self) -> dict:
        return {"drawn": torch.tensor(self.drawn)}

    def load(self, state: dict) -> None:
        require_state(state, self.state(), least=0)
        self.close()
        self.drawn = int(state["drawn"])


def _joined(parts: list[Mixed]) -> Mixed:
    """Rows of all parts."""
    tensors = [part.tensors() for part in parts]
    whole = {name: torch.cat([t[name] for t in tensors]) for name in tensors[0]}
    condition = Condition(whole.pop("T"), whole.pop("mu"), parts[0].condition.kB)
    return Mixed(condition=condition, order=torch.cat([part.order for part in parts]), **whole)
