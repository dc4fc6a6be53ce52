"""What may follow the draws of a model, so that they obey the exact law or their weights get more even.

- :class:`Anneal`: draw at a hotter condition, where the model is better, and anneal down (:mod:`alloygen.generate.annealed`): the NESS rises
  with effort, log Z stays unbiased in Z.
- :class:`Blocks`, :class:`Flips`: moves at the target that leave its law invariant. A draw and its weight stay properly weighted under such
  moves, so averages improve while the weights, and with them the free energy and the NESS, are those from before.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from alloygen.arguments import positive
from alloygen.arrays import as_array, as_tensor
from alloygen.conditions.record import Condition
from alloygen.generate.annealed import Annealed, anneal
from alloygen.generate.outpaint import Outpainter
from alloygen.generate.regenerate import Regenerator
from alloygen.models.blocks import by_blocks, generators
from alloygen.montecarlo.single_moves import Move

HOTTER = (1.0, 1.2, 1.5)
PILOT = 32  # draws that choose where to start from


@dataclass(frozen=True, kw_only=True, eq=False)
class Draws:
    """What is to be drawn: n samples at a condition with ``known`` sites held; ``plain(condition, count)`` gives (occ (count, N) int8, log_prob) of
    the model."""

    painter: Outpainter
    plain: Callable[[Condition, int], tuple[np.ndarray, np.ndarray]]
    condition: Condition
    n: int
    generator: torch.Generator
    known: np.ndarray | None
    move: str | Move = "flip"

    def log_weight(self, occ: np.ndarray, log_prob: np.ndarray, condition: Condition | None = None) -> np.ndarray:
        """-beta (E - mu.N) - log q, (B,), at the target or at another condition."""
        return -self.painter.target.reduced_energy(occ, self.condition if condition is None else condition) - log_prob

    def along(self, occ: np.ndarray, log_w: np.ndarray, path: Condition, sweeps: int, seed: int) -> Annealed:
        """Flips, or moves that keep the numbers of atoms, along a path of conditions, with the same sites held."""
        return anneal(self.painter.target, occ, log_w, path, sweeps=sweeps, seed=seed, threads=torch.get_num_threads(),
                      known=self.known, move=self.move)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Refinement(ABC):
    """What follows the draws; ``effort`` multiplies its steps."""

    effort: float = 1.0
    label: ClassVar[str]  # in ``Ensemble.method``
    base: ClassVar[int]  # steps of effort 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "effort", positive(self.effort, "effort"))

    @property
    def steps(self) -> int:
        return max(1, round(self.base * self.effort))

    @abstractmethod
    def refined(self, draws: Draws) -> tuple[np.ndarray, np.ndarray, dict]:
        """(occ, log_prob, facts) of the samples; log_prob is such that -u - log_prob is the log-weight."""


class Anneal(Refinement):
    """Draw hotter, within the range of the model, and anneal down with exact weights: 2000 temperatures times ``effort``, one sweep of flips each.

    Examples
    --------
    >>> Anneal(effort=2).steps
    4000
    """

    label, base = "annealed", 2000

    def refined(self, draws: Draws) -> tuple[np.ndarray, np.ndarray, dict]:
        at, (coldest, hottest) = draws.condition, draws.painter.model.ranges["T"]
        T = float(at.T)
        seed = int(torch.randint(2**31, (1,), generator=draws.generator))

        def annealed(start: float, count: int) -> Annealed:
            hot = at.at(start)
            occ, log_prob = draws.plain(hot, count)
            path = 1.0 / np.linspace(1.0 / start, 1.0 / T, (self.steps if start > T else 0) + 1)
            return draws.along(occ, draws.log_weight(occ, log_prob, hot), at.at(path), 1, seed)

        first = max(T, coldest)
        starts = {min(first * factor, hottest) for factor in HOTTER if first * factor <= hottest or factor == 1.0}
        tried = sorted(starts | {max(hottest, first)})
        start = tried[int(np.argmax([annealed(t, PILOT).ness[-1] for t in tried]))]  # the most even weights in the end
        made = annealed(start, draws.n)
        facts = {"annealed_from": start, "annealing_steps": len(made.ness) - 1, "ness_before": float(made.ness[0])}
        return made.occ, draws.log_weight(made.occ, made.log_w), facts


class Blocks(Refinement):
    """Blocks of sites drawn again by the model, accepted by Metropolis-Hastings: 20 of each configuration times ``effort``."""

    label, base = "block moves", 20

    def refined(self, draws: Draws) -> tuple[np.ndarray, np.ndarray, dict]:
        torch.randint(2**31, (1,), generator=draws.generator)  # the stream of the other refinements
        occ, log_prob = draws.plain(draws.condition, draws.n)
        log_w = draws.log_weight(occ, log_prob)
        mover = Regenerator(draws.painter, known=draws.known)
        occ, accepted = _moved(mover, occ, draws.condition, self.steps, draws.generator)
        facts = {"acceptance": float(accepted.mean()), "block_moves": self.steps}
        return occ, draws.log_weight(occ, log_w), facts


class Flips(Refinement):
    """Metropolis flips of single sites at the target: 200 sweeps times ``effort``."""

    label, base = "flips", 200

    def refined(self, draws: Draws) -> tuple[np.ndarray, np.ndarray, dict]:
        seed = int(torch.randint(2**31, (1,), generator=draws.generator))
        occ, log_prob = draws.plain(draws.condition, draws.n)
        log_w = draws.log_weight(occ, log_prob)
        moved = draws.along(occ, np.zeros(draws.n), draws.condition.expand(2), self.steps, seed).occ
        return moved, draws.log_weight(moved, log_w), {"sweeps": self.steps}


def _moved(
    mover: Regenerator, occ: np.ndarray, condition: Condition, moves: int, generator: torch.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(occ (n, N), accepted (n, moves)): ``moves`` block moves of each configuration, each block of rows with its own random numbers."""
    mover.painter.rule(condition)
    stream = generators(generator)

    def block(part, index):
        own, accepted = stream(int(index[0])), []
        for _ in range(moves):
            part, taken = mover.step(part, condition, own)
            accepted.append(taken)
        return part, torch.stack(accepted, 1)

    with torch.no_grad():
        moved, taken = by_blocks(block, as_tensor(occ), torch.arange(len(occ)))
    return as_array(moved, np.int8), as_array(taken)
