"""Reverse KL by REINFORCE: learning p from its energy alone, without data.

    grad KL(q || p) = E_q [ grad log q(x) A(x) ],    A(x) = log q(x) + beta H(x),    H = E - mu.N

(Williams, Mach. Learn. 8, 229 (1992); Wu, Wang and Zhang, Phys. Rev. Lett. 122, 080602 (2019)). A is centred within each
condition, which changes no expectation because E_q grad log q = 0, and scaled by its standard deviation there.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from alloygen.conditions.record import Condition
from alloygen.models.base import AnyOrder
from alloygen.objectives.batch import Batch
from alloygen.objectives.likelihood import likelihood


def advantage(value: torch.Tensor, group: torch.Tensor, floor: float | None = 0.0) -> torch.Tensor:
    """``value`` (B,) centred within each condition and divided by the larger of its standard deviation there and ``floor``.

    Centring by the mean of a group of m with the sample itself in it costs a factor (m - 1) / m, which is given back, so
    that the mean gradient is that of the KL. ``floor`` in nats keeps the noise of a condition that is learned from being
    blown up; None does not scale at all, 0 is the published rule.

    group : (B,) that of each value, integers from 0

    Examples
    --------
    >>> advantage(torch.tensor([1.0, 3.0, 7.0, 7.0]).double(), torch.tensor([0, 0, 1, 1])).round(decimals=3).tolist()
    [-1.414, 1.414, 0.0, 0.0]
    """
    groups = int(group.max()) + 1
    count = torch.bincount(group, minlength=groups).clamp_min(1).to(value)
    total = lambda x: torch.zeros(groups, dtype=x.dtype, device=x.device).index_add_(0, group, x)  # noqa: E731
    centred = value - (total(value) / count)[group]
    free = (count - 1).clamp_min(1)
    if floor is None:
        return centred * (count / free)[group]
    spread = (total(centred**2) / free).sqrt()  # divided by m - 1, and the factor m / (m - 1) back
    return centred * (count / free / spread.clamp_min(max(floor, 1e-8)))[group]


@dataclass(frozen=True, kw_only=True, eq=False)
class Draws(Batch):
    """Configurations that the model drew, with their advantages."""

    advantage: torch.Tensor
    value: torch.Tensor  # log q + beta H


def draw(
    model: AnyOrder,
    condition: Condition,
    order: torch.Tensor,
    group: torch.Tensor,
    generator: torch.Generator,
    floor: float | None = 0.0,
) -> Draws:
    """One batch x ~ q along ``order`` with its advantages; ``group`` (B,) numbers the conditions."""
    occ, log_prob = model.sample(condition, order, generator)
    value = log_prob + model.hamiltonian.reduced_energy(occ, condition)
    return Draws(occ=occ, condition=condition, order=order, advantage=advantage(value, group, floor), value=value)


def reinforce(
    model: AnyOrder, occ: torch.Tensor, condition: Condition, order: torch.Tensor, advantage: torch.Tensor
) -> torch.Tensor:
    """Surrogate (B,) whose mean has the REINFORCE gradient, through all N steps of the chain: A log q(x)."""
    return -advantage * likelihood(model, occ, condition, order)[0]
