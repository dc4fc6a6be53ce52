"""What may follow the draws of a model, so that they obey the exact law or their weights get more even.

- "smc": draw at a hotter condition, where the model is better, and anneal down (:mod:`alloygen.generate.annealed`): NESS rises with
  effort, log Z stays unbiased in Z.
- "blocks", "mcmc": moves at the target that leave its law invariant. A draw and its weight stay properly weighted under such moves, so
  averages improve while the weights, and with them the free energy and the NESS, are those from before.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from alloygen.generate.annealed import anneal
from alloygen.generate.outpaint import Outpainter
from alloygen.generate.regenerate import Regenerator
from alloygen.models.blocks import by_blocks, generators

HOTTER = (1.0, 1.2, 1.5)
PILOT, STEPS, BLOCK_MOVES, SWEEPS = 32, 2000, 20, 200


def refined(
    how: str,
    painter: Outpainter,
    plain: Callable[[float, int], tuple[torch.Tensor, torch.Tensor]],
    T: float,
    mu: np.ndarray,
    n: int,
    generator: torch.Generator,
    effort: float,
    known: np.ndarray | None,
) -> tuple:
    """(occ, log_prob, facts) of n samples; ``plain(T, count)`` draws. log_prob is such that -u - log_prob is the log-weight.

    how : "smc" (STEPS temperatures, one sweep of flips each), "blocks" (BLOCK_MOVES) or "mcmc" (SWEEPS), each times ``effort``
    """
    h = painter.target
    fixed = None if known is None else known >= 0
    u = lambda occ, t: h.reduced_energy(occ, t, mu)  # noqa: E731
    seed = int(torch.randint(2**31, (1,), generator=generator))
    if how == "smc":

        def annealed(start, count, steps):
            occ, log_prob = plain(start, count)
            steps = steps if start > T else 0
            path = 1.0 / np.linspace(1.0 / start, 1.0 / T, steps + 1)
            return anneal(h, occ, (-u(occ, start) - log_prob).numpy(), path, np.tile(np.asarray(mu, float), (steps + 1, 1)), sweeps=1,
                          seed=seed, threads=torch.get_num_threads(), fixed=fixed)  # fmt: skip

        steps, hottest = max(1, round(STEPS * effort)), painter.model.ranges["T"][1]
        starts = sorted(
            {min(T * factor, hottest) for factor in HOTTER if T * factor <= hottest or factor == 1.0}
            | {max(hottest, T)}
        )
        start = starts[
            int(np.argmax([annealed(t, PILOT, steps).ness[-1] for t in starts]))
        ]  # where a few draws end with the most even weights
        made = annealed(start, n, steps)
        facts = {"annealed_from": start, "annealing_steps": len(made.ness) - 1, "ness_before": float(made.ness[0])}
        return made.occ, -u(made.occ, T) - torch.from_numpy(made.log_w), facts
    occ, log_prob = plain(T, n)
    log_w = -u(occ, T) - log_prob
    if how == "blocks":
        moves = max(1, round(BLOCK_MOVES * effort))
        occ, accepted = _moved(Regenerator(painter, fixed=fixed), occ, T, mu, moves, generator)
        facts = {"acceptance": float(accepted.double().mean()), "block_moves": moves}
    else:
        sweeps = max(1, round(SWEEPS * effort))
        condition = np.full(2, float(T))
        occ = anneal(h, occ, np.zeros(n), condition, np.tile(np.asarray(mu, float), (2, 1)), sweeps=sweeps, seed=seed,
                     threads=torch.get_num_threads(), fixed=fixed).occ  # fmt: skip
        facts = {"sweeps": sweeps}
    return occ, -u(occ, T) - log_w, facts


def _moved(mover: Regenerator, occ, T: float, mu, moves: int, generator) -> tuple[torch.Tensor, torch.Tensor]:
    """(occ (n, N), accepted (n, moves)): ``moves`` block moves of each configuration, each block of rows with its own random numbers."""
    mover.painter.rule(T, mu)
    stream = generators(generator)

    def block(part, index):
        own, accepted = stream(int(index[0])), []
        for _ in range(moves):
            part, taken = mover.step(part, T, mu, own)
            accepted.append(taken)
        return part, torch.stack(accepted, 1)

    with torch.no_grad():
        return by_blocks(block, occ, torch.arange(len(occ)))
