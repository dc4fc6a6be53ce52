"""Residual multilayer perceptron over the whole lattice: no symmetry, one size."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from alloygen.lattice import Lattice
from alloygen.nn.embeddings import ScaledCondition
from alloygen.nn.readout import Readout


class ResidualMLP(nn.Module):
    """``depth`` hidden layers of ``width`` on the one-hot lattice with T and mu beside it; see ``nn.masked``.

        h_1 = a(W_1 [onehot(state), T, 1/T, mu, mu/T]),    h_k = h_(k-1) + a(W_k h_(k-1)),    a = GELU

    Du et al. (arXiv:2603.14695) use 3 layers of 2048. T and mu enter scaled to the trained range.
    """

    def __init__(self, lattice: Lattice, ranges: dict, outputs: int, marginal: bool, *, width: int, depth: int):
        super().__init__()
        self.states, self.outputs, self.n_sites = int(lattice.n_species.max()) + 1, outputs, lattice.n_sites
        self.load = lattice.n_sites
        self.condition = ScaledCondition(ranges)
        self.first = nn.Linear(lattice.n_sites * self.states + self.condition.n, width)
        self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(depth - 1))
        self.site_head = Readout(width, lattice.n_sites * outputs) if outputs else None
        self.marginal_head = Readout(width, 1) if marginal else None

    def forward(
        self, state: torch.Tensor, T: torch.Tensor, mu: torch.Tensor
    ) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        onehot = F.one_hot(state, self.states).flatten(1).float()
        h = F.gelu(self.first(torch.cat([onehot, self.condition(T, mu)], dim=1)))
        for layer in self.hidden:
            h = h + F.gelu(layer(h))
        sites = self.site_head(h).view(-1, self.n_sites, self.outputs) if self.site_head else None
        return sites, self.marginal_head(h)[:, 0] if self.marginal_head else None
