"""Any-order maximum likelihood on samples of the law: forward KL.

    loss = - E_{x ~ p} sum_t sum_a h_t(a) log q(x_s(t) = a | x_s(<t))

with h_t the drawn species (hard), or the exact heat-bath conditional p(a | all other sites of x) (soft). Averaged over
x ~ p both have the same minimiser, because E[h_t(a) | x_s(<t)] = p(a | x_s(<t)); the soft one has less noise
(Rao-Blackwell). By the same argument the label of step t may be averaged over all symmetry images of x that agree with
x on the sites decided before t: they are as probable as x. That takes the noise out of the first steps, which choose
between translates of an ordered phase.
"""

from __future__ import annotations

from typing import cast

import torch

from alloygen.arrays import as_tensor
from alloygen.conditions.record import Condition
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.models.base import AnyOrder, path_log_prob, taken
from alloygen.models.causal import CausalModel, Stage
from alloygen.models.masked import MaskedLaw


def heat_bath(
    hamiltonian: Hamiltonian, occ: torch.Tensor, condition: Condition, sites: torch.Tensor | None = None
) -> torch.Tensor:
    """Exact conditionals (B, N, S) of every site, or of ``sites`` (B, Q), given all others: softmax(-beta (site_energies - mu))."""
    cost = hamiltonian.site_energies(occ, sites) - hamiltonian.site_mu(condition.mu, sites)
    allowed = as_tensor(hamiltonian.lattice.allowed, device=occ.device)
    allowed = allowed if sites is None else allowed[sites]
    return torch.softmax((-condition.beta[:, None, None] * cost).masked_fill(~allowed, -torch.inf), dim=2)


def relative_entropy(hamiltonian: Hamiltonian, condition: Condition, occ: torch.Tensor, most: int = 16) -> torch.Tensor:
    """Mean heat-bath entropy of samples (C, n, N), of ``most`` of them at each of C conditions, over the largest of the conditions (C,)."""
    out = []
    for c, one in enumerate(condition):
        x = occ[c, :most].long()
        p = heat_bath(hamiltonian, x, one.expand(len(x)))
        out.append(-torch.xlogy(p, p).sum((1, 2)).mean())
    entropy = torch.stack(out)
    return entropy / entropy.max().clamp_min(1e-12)


def symmetrised(labels: torch.Tensor, occ: torch.Tensor, order: torch.Tensor, moves: torch.Tensor) -> torch.Tensor:
    """Labels by step (B, N, S), each averaged over the symmetry images that agree with occ on the steps before it.

    labels : (B, N, S) by site; occ, order : (B, N); moves : (G, N) site permutations of a group, with the identity
    """
    b, n = occ.shape
    where = torch.argsort(moves, dim=1)[:, order].transpose(
        0, 1
    )  # (B, G, N): the site whose species image g has at step t
    sequence = torch.gather(occ, 1, where.flatten(1)).view(b, -1, n)
    agrees = (sequence == torch.gather(occ, 1, order)[:, None]).double()
    before = torch.cat([torch.ones_like(agrees[..., :1]), agrees[..., :-1]], dim=2).cumprod(2)
    before = before / before.sum(1, keepdim=True)
    rows = torch.gather(labels, 1, where.flatten(1)[..., None].expand(-1, -1, labels.shape[2]))
    return (rows.view(b, -1, n, labels.shape[2]) * before[..., None]).sum(1)


def likelihood(
    model: AnyOrder,
    occ: torch.Tensor,
    condition: Condition,
    order: torch.Tensor,
    labels: torch.Tensor | None = None,
    given: torch.Tensor | None = None,
    known: torch.Tensor | None = None,
    stage: Stage | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(loss (B,) in nats, log_prob (B,)) of occupations (B, N) along orders (B, N).

    labels : (B, N, S) soft targets by step; None takes the species drawn
    given : (B, N) bool, sites that are given and whose steps do not count
    known, stage : of an order-causal model on a larger cell, whose orders (B, M) hold the sites of a window
    """
    logp = (
        model.log_conditionals(occ, condition, order)
        if stage is None
        else cast(CausalModel, model).log_conditionals(occ, condition, order, known, stage)
    )
    steps = _missed(logp, occ, order, labels)
    if given is not None:
        steps = steps.masked_fill(torch.gather(given, 1, order), 0.0)
    return steps.sum(1), path_log_prob(logp.detach(), occ, order)


def _missed(logp: torch.Tensor, occ: torch.Tensor, order: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
    """Loss (B, M) of each step: -log q of the species drawn, or its mean over soft labels (B, M, S)."""
    return -taken(logp, occ, order) if labels is None else -(labels * logp.masked_fill(labels == 0, 0.0)).sum(2)


def random_depth(order: torch.Tensor, generator: torch.Generator, given: torch.Tensor | None = None) -> torch.Tensor:
    """A step (B,) of each order to stop at, uniform over those that are not given (given sites come first)."""
    b, n = order.shape
    first = torch.zeros(b, dtype=torch.long) if given is None else given.sum(1).cpu()
    u = torch.rand(b, generator=generator, dtype=torch.float64)
    return (first + (u * (n - first)).long()).clamp_max(n - 1).to(order.device)


def masked_likelihood(
    model: MaskedLaw,
    occ: torch.Tensor,
    condition: Condition,
    order: torch.Tensor,
    depth: torch.Tensor,
    labels: torch.Tensor | None = None,
    given: torch.Tensor | None = None,
) -> torch.Tensor:
    """The same loss (B,) for a masked network, from one pass with the first ``depth`` (B,) sites of the order decided.

        1/2 N l_d + 1/2 N / (N - d) sum_{t >= d} l_t,    l_t = -sum_a h_t(a) log p(x_s(t) = a | x_s(<d))

    The first part, over a uniform d, is the loss of the order. The second has every undecided site come next: for random
    orders it has the same mean and less noise, for others it is the loss of a neighbouring order.
    """
    rank = torch.argsort(order, dim=1)
    logp = model.conditionals(occ, condition, rank < depth[:, None])
    logp = torch.gather(logp, 1, order[..., None].expand(-1, -1, logp.shape[2]))
    steps = _missed(logp, occ, order, labels)
    n = torch.full_like(depth, order.shape[1]) if given is None else (~given).sum(1)
    step = torch.arange(order.shape[1], device=order.device)
    open_ = step >= depth[:, None]
    weight = 0.5 * n[:, None] * ((step == depth[:, None]) + open_ / open_.sum(1, keepdim=True))
    return (steps * weight).sum(1)
