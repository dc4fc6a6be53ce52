"""Training of marginalization models (MAM): REINFORCE on the marginal of a whole configuration, and consistency.

    C(x, s, d) = [log p_theta(x_s(<d)) + log p_phi(x_s(d) | x_s(<d)) - log p_theta(x_s(<=d))]^2
    loss       = KL(p_theta || p) + lambda E[C] + (lambda / N) E[(log p_theta(nothing))^2]

Liu, Ramadge and Adams, "Generative marginalization models" (ICML 2024); Du et al. (arXiv:2603.14695). log p_theta(x) of
a whole configuration takes one pass, so one step of training holds one network evaluation where an autoregressive model
holds N. Configurations are a persistent batch: a few sites are erased and redrawn from p_phi each iteration (block Gibbs).
The last term anchors the empty configuration, whose marginal is 1; in the units of the reference code, which measures
from the uniform law, that is the pin to N log(species).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from alloygen.conditions.record import Condition
from alloygen.models.masked import MarginalizationModel
from alloygen.objectives.batch import Batch
from alloygen.objectives.reinforce import advantage


@dataclass(frozen=True, kw_only=True, eq=False)
class Erased(Batch):
    """The persistent batch at one iteration: its advantages, and for each row a step of its order."""

    depth: torch.Tensor
    advantage: torch.Tensor
    anchor: torch.Tensor
    value: torch.Tensor  # log p_theta + beta H


def draw(
    model: MarginalizationModel,
    occ: torch.Tensor,
    condition: Condition,
    order: torch.Tensor,
    group: torch.Tensor,
    generator: torch.Generator,
    sites: int,
    floor: float | None = 0.0,
) -> Erased:
    """Redraw ``sites`` random sites of each row of ``occ`` (B, N), and weigh what came by its marginal; ``group`` (B,) numbers the conditions."""
    b, n = occ.shape
    random = lambda: torch.rand(b, n, generator=generator, device=generator.device).to(occ.device)  # noqa: E731
    erased = torch.argsort(random(), dim=1)[:, : min(sites, n)]
    occ = model.regenerate(occ, condition, erased, generator)
    depth = torch.randint(n, (b,), generator=generator, device=generator.device).to(occ.device)
    with torch.no_grad():
        marginal = model.log_marginal(occ, condition, torch.ones_like(occ, dtype=torch.bool))
    value = marginal + model.hamiltonian.reduced_energy(occ, condition)
    first = torch.ones_like(group, dtype=torch.bool)  # one row of each condition carries its anchor
    first[1:] = group[1:] != group[:-1]
    share = first.double() * (b / first.sum())
    found = advantage(value, group, floor)
    return Erased(occ=occ, condition=condition, order=order, depth=depth, advantage=found, anchor=share, value=value)


def consistency(
    model: MarginalizationModel,
    occ: torch.Tensor,
    condition: Condition,
    order: torch.Tensor,
    depth: torch.Tensor,
) -> torch.Tensor:
    """C(x, s, d) (B,) in squared nats; ``depth`` (B,) sites are decided before. 0 for marginals of one law.

    The model gives ``conditionals`` and ``log_marginal``; for the exact law C vanishes for every x, s and d.
    """
    rank = torch.argsort(order, dim=1)
    before, after = rank < depth[:, None], rank <= depth[:, None]
    site = torch.gather(order, 1, depth[:, None])
    logp, smaller = model.both(occ, condition, before)
    logp = torch.gather(logp, 1, site[..., None].expand(-1, -1, logp.shape[2]))[:, 0]
    chosen = torch.gather(logp, 1, torch.gather(occ, 1, site))[:, 0]
    return (smaller + chosen - model.log_marginal(occ, condition, after)) ** 2


def marginal(
    model: MarginalizationModel,
    occ: torch.Tensor,
    condition: Condition,
    order: torch.Tensor,
    depth: torch.Tensor,
    advantage: torch.Tensor,
    anchor: torch.Tensor,
    weight: float,
) -> torch.Tensor:
    """The MAM loss (B,) of each row: A log p_theta(x) + weight [C(x, s, d) + (log p_theta(nothing))^2 / N].

    ``weight`` is lambda; gradients pass through all three terms of C. ``anchor`` (B,) says how often a row's empty
    configuration counts.
    """
    n = occ.shape[1]
    everything = torch.ones_like(occ, dtype=torch.bool)
    rows = advantage * model.log_marginal(occ, condition, everything)
    rows = rows + weight * consistency(model, occ, condition, order, depth)
    some = anchor > 0
    empty = model.log_marginal(occ[some], condition[some], ~everything[some])
    return rows + weight / n * torch.zeros_like(rows).masked_scatter(some, anchor[some] * empty**2)
