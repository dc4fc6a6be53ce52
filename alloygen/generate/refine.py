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
from alloygen.conditions.grids import evenly
from alloygen.conditions.record import Condition
from alloygen.generate.annealed import Annealed, anneal
from alloygen.generate.bridge import Bridge
from alloygen.generate.outpaint import Outpainter
from alloygen.generate.regenerate import Regenerator
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.models.blocks import by_blocks, generators
from alloygen.montecarlo.single_moves import Move
from alloygen.results.draws import Draws as Record
from alloygen.results.reweighting import Carried

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

    As ``ens.reweighted(expansion, then=Anneal())`` it leads samples from one Hamiltonian to another.

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

    def carried(self, draws: Record, log_w: np.ndarray, other: Hamiltonian, at: Condition) -> Carried:
        """Samples at one condition moved to another Hamiltonian and condition, :meth:`alloygen.Ensemble.reweighted`.

            u_s = b_s [(1 - s) u_0 + s u_1],    b_s from 1 over 1 / hotter at s = 1/2 back to 1

        A pilot of 32 samples takes the most even weights in the end of 1, 1.2 and 1.5 times hotter in the middle; what its steps did to the weights
        spaces the steps of the run, so that each does as much. 500 of them times ``effort``, one sweep of moves each.
        """
        walk = _Crossing(Bridge(draws.hamiltonian, other), draws, log_w, at, max(8, self.steps // 4))
        rows = np.unique(np.linspace(0, len(draws) - 1, PILOT).round().astype(int))
        even = np.linspace(0.0, 1.0, walk.steps // 2 + 1)
        pilots = [walk(rows, even, hotter) for hotter in HOTTER]
        best = int(np.argmax([p.ness[-1] for p in pilots]))
        made = walk(np.arange(len(draws)), spaced(even, pilots[best].spread, walk.steps), HOTTER[best])
        plain = walk(np.arange(len(draws)), np.array([0.0, 1.0]), 1.0, sweeps=0)
        told = {"annealing_steps": walk.steps, "hotter_between": HOTTER[best], "ness_before": float(plain.ness[-1])}
        return Carried(occ=made.occ, energy=made.energy, log_w=made.log_w - log_w, told=told, label=self.label)


@dataclass(frozen=True)
class _Crossing:
    """Samples on their way to another law, in ``steps``; called with the rows (m,), where along the way (K + 1,), and how much hotter it is between."""

    bridge: Bridge
    draws: Record
    log_w: np.ndarray
    at: Condition
    steps: int

    def __call__(self, rows: np.ndarray, way: np.ndarray, hotter: float, sweeps: int = 1) -> Annealed:
        d, kB = self.draws, self.draws.hamiltonian.kB
        old, new = 1.0 / d.kT, float(as_array(self.at.beta))
        cooler = 1.0 / (1.0 + (hotter - 1.0) * 4.0 * way * (1.0 - way))
        beta = (1.0 - way) * old + way * new
        share, mu = way * new / beta, ((1.0 - way) * old)[:, None] * d.mu + (way * new)[:, None] * as_array(self.at.mu)
        share[-1] = 1.0
        path = d.hamiltonian.condition(1.0 / (kB * beta * cooler), mu / beta[:, None])
        return anneal(self.bridge, d.occ[rows], self.log_w[rows], path, sweeps=sweeps, seed=int(d.facts.seed or 0), threads=torch.get_num_threads(),
                      known=d.facts.known, move="swap" if d.facts.constrained else "flip", share=share)  # fmt: skip


def spaced(way: np.ndarray, spread: np.ndarray | None, steps: int) -> np.ndarray:
    """(steps + 1,) from 0 to 1 of equal thermodynamic length, by the ``spread`` (K,) of the weights over the steps of ``way`` (K + 1,).

    Each step then adds as much to the variance of the log-weights (Grosse, Maddison and Salakhutdinov, NeurIPS 26, 2769 (2013)); a part of
    the length is shared out evenly, against noise of the pilot.

    Examples
    --------
    >>> spaced(np.linspace(0, 1, 3), np.array([1.0, 3.0]), 4).round(2).tolist()
    [0.0, 0.46, 0.66, 0.83, 1.0]
    """
    length = np.asarray(spread) + 0.1 * np.mean(spread) if spread is not None and np.sum(spread) > 0 else np.diff(way)
    return evenly(way, length, steps + 1)


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
