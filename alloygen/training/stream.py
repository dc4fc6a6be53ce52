"""Maximum likelihood of a network for all alloys of a parent lattice, from an endless stream of random ones.

Some alloys are alive on each supercell (:mod:`alloygen.training.prior`), each with its samples. A batch mixes rows of several of them; every
``every`` batches the next alloy takes the place of the oldest on its supercell. Alloy number k and its samples are fixed by the seed of the
prior, so a run is the same whatever the number of processes that make them, and is resumed bit for bit.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, partial
from multiprocessing import get_context
from typing import cast

import torch

from alloygen.conditions.record import Condition
from alloygen.errors import AlloygenError
from alloygen.models.base import Network
from alloygen.models.family import FamilyModel
from alloygen.training.config import Config
from alloygen.training.kinds import StreamConfig
from alloygen.training.patches import Cell, Patches
from alloygen.training.prior import Alloy, make
from alloygen.training.sections import PriorConfig
from alloygen.training.task import Task

HELD = 10**9  # alloys from this number on are for validation and tests: no training meets them
VALIDATION = 4  # of them
LEAST = 0.1  # nats, what an alloy that the law knows counts for beside others when alloys are taken
AHEAD = 2  # alloys per process that are made in advance


@dataclass(frozen=True, kw_only=True, eq=False)
class Mixed(Patches):
    """Rows of several alloys on one supercell, with the ECIs (B, K) of each."""

    couplings: torch.Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Alive:
    """An alloy at hand: its number, its samples, the spread (C,) of the law's log weights at its conditions when it came."""

    number: int
    cell: Cell
    spread: torch.Tensor


class Makers:
    """Alloys by number, made in ``n`` processes ahead of time, or when asked for where n is 0."""

    def __init__(self, make, n: int):
        self.make, self.n = make, n
        self.coming: dict[int, Future[Alloy]] = {}

    def __call__(self, number: int) -> Alloy:
        if not self.n:
            return self.make(number)
        for k in range(number, number + 1 + AHEAD * self.n):
            if k not in self.coming:
                self.coming[k] = self.pool.submit(self.make, k)
        return self.coming.pop(number).result()

    def several(self, numbers: list[int]) -> Iterator[Alloy]:
        """The same of many at once."""
        yield from self.pool.map(self.make, numbers) if self.n else map(self.make, numbers)

    @cached_property
    def pool(self) -> ProcessPoolExecutor:
        """Its processes, begun when first needed."""
        return ProcessPoolExecutor(self.n, mp_context=get_context("spawn"), initializer=_alone)


def _alone() -> None:
    """A process that makes alloys has one thread, and leaves Ctrl-C to the run."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class Stream(Task[Mixed]):
    """A stream of alloys, of which ``how.alive`` are at hand on each supercell.

    When an alloy comes, the spread of the law's weights is measured at its conditions. Where ``how.hard`` is set, a share of its samples is drawn by it,
    and alloys of a large spread are taken more often.
    """

    def __init__(self, config: Config, cells: list[FamilyModel]):
        super().__init__()
        self.config, self.laws = config, cells
        self.how, self.prior = cast(StreamConfig, config.objective), cast(PriorConfig, config.prior)
        matrices = [law.lattice.matrix for law in cells]
        self.make = Makers(partial(make, cells[0].parent, self.prior, matrices), config.machine.workers)
        self.alive: list[list[Alive]] = [[] for _ in cells]
        self.known: dict[int, torch.Tensor] = {}  # spreads of the alloys that a state had at hand
        self.next, self.drawn, self.which = 0, 0, 0

    # ------------------------------------------------------------------ alloys
    def _take(self, alloy: Alloy) -> None:
        """Put an alloy in the place of the oldest on its supercell."""
        k = next(k for k, law in enumerate(self.laws) if (law.lattice.matrix == alloy.hamiltonian.lattice.matrix).all())
        law = self.laws[k].on(alloy.hamiltonian)
        if law.placed is not self.laws[k].placed:
            raise AlloygenError(f"expected alloy {alloy.number} to have the channels of all others")
        how = replace(self.how.patches, fresh=self.rows_each, pool=self.rows_each)
        cell = Cell(law, alloy.condition, alloy.occ, how)
        spread = self.known.pop(alloy.number, None)
        if spread is None:
            spread = torch.ones(len(alloy.condition), dtype=torch.float64)
            if self.how.hard:
                spread = cell.spread(self.how.hard_draws, torch.Generator().manual_seed(alloy.number))
        cell.take_hard(spread, self.how.hard)
        here = self.alive[k]
        here.append(Alive(number=alloy.number, cell=cell, spread=spread))
        del here[: -self.how.alive]

    @property
    def rows_each(self) -> int:
        """Rows that an alloy gives to a batch."""
        return self.config.training.batch // self.how.mixed

    def _fill(self) -> None:
        """The alloys that a state had at hand, then new ones until there are enough on every supercell."""
        if self.known:
            for alloy in self.make.several(sorted(self.known)):
                self._take(alloy)
        while min(map(len, self.alive)) < self.how.mixed:
            self._take(self.make(self.next))
            self.next += 1

    # ------------------------------------------------------------------ the task
    def draw(self, model: Network, generator: torch.Generator) -> Mixed:
        fresh = self.drawn > 0 and self.drawn % self.how.every == 0
        self._fill()
        if fresh:
            self._take(self.make(self.next))
            self.next += 1
        self.drawn += 1
        self.which = int(torch.randint(len(self.laws), (), generator=generator))
        here = self.alive[self.which]
        chance = torch.stack([alive.spread.mean() for alive in here]) + LEAST
        parts = []
        for i in torch.multinomial(chance, self.how.mixed, generator=generator).tolist():
            cell = here[i].cell
            made = cell.batch(self.rows_each, generator)
            couplings = cast(FamilyModel, cell.model).couplings.expand(len(made), -1)
            parts.append(Mixed(**vars(made), couplings=couplings))
        return _joined(parts).to(self.config.machine.device)

    def rows(self, model: Network, part: Mixed) -> torch.Tensor:
        """Losses of the configurations, as if all had as many sites as the first supercell."""
        law, cell = self.laws[self.which], self.alive[self.which][0].cell
        share = self.laws[0].hamiltonian.n_sites / law.hamiltonian.n_sites
        return cell.loss(part, law.entering(part.condition, part.couplings)) * share

    @cached_property
    def held(self) -> list[Alloy]:
        """Alloys that no training meets."""
        return [self.make.make(HELD + k) for k in range(VALIDATION)]

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
        self._fill()
        spreads = {f"spread {a.number}": a.spread for here in self.alive for a in here}
        return {"next": torch.tensor(self.next), "drawn": torch.tensor(self.drawn), **spreads}

    def load(self, state: dict) -> None:
        self.next, self.drawn = int(state["next"]), int(state["drawn"])
        prefix = "spread "
        self.known = {int(k.removeprefix(prefix)): v for k, v in state.items() if k.startswith(prefix)}
        self.alive = [[] for _ in self.laws]


def _joined(parts: list[Mixed]) -> Mixed:
    """Rows of all parts."""
    tensors = [part.tensors() for part in parts]
    whole = {name: torch.cat([t[name] for t in tensors]) for name in tensors[0]}
    condition = Condition(whole.pop("T"), whole.pop("mu"), parts[0].condition.kB)
    return Mixed(condition=condition, order=torch.cat([part.order for part in parts]), **whole)
