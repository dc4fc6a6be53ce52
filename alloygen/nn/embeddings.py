"""Embeddings of the condition: (T, mu) scaled to the trained range, or couplings in units of kT."""

from __future__ import annotations

import math

import torch
from torch import nn

OF_T = 4  # frequencies of T and 1 / T


class ScaledCondition(nn.Module):
    """T, 1/T, mu and mu/T scaled to the trained range: ``n`` numbers of order one, which know no unit.

    ranges : {"T": (low, high), "mu": [(low, high) per independent element]}
    """

    center: torch.Tensor
    spread: torch.Tensor
    mu_beta: torch.Tensor

    def __init__(self, ranges: dict):
        super().__init__()
        low, high = ranges["T"]
        mu = torch.tensor(ranges["mu"], dtype=torch.float64).reshape(-1, 2)
        scale = mu.abs().amax(1).clamp_min(1e-12)
        self.register_buffer(
            "center",
            torch.cat([torch.tensor([low + high, 1 / low + 1 / high]).double(), mu.sum(1)]) / 2,
            persistent=False,
        )
        half = torch.cat([torch.tensor([high - low, 1 / low - 1 / high]).double(), mu[:, 1] - mu[:, 0]]) / 2
        self.register_buffer("spread", torch.where(half < 1e-9, 1.0, half), persistent=False)
        self.register_buffer("mu_beta", low / scale, persistent=False)
        self.n = 2 + 2 * len(mu)

    def scaled(self, T: torch.Tensor, mu: torch.Tensor) -> torch.Tensor:
        """T (B,), mu (B, n_elements - 1) -> (B, n)."""
        x = torch.cat([T[:, None], 1 / T[:, None], mu], dim=1).double()
        return torch.cat([(x - self.center) / self.spread, mu * self.mu_beta / T[:, None]], dim=1).float()

    def forward(self, T: torch.Tensor, mu: torch.Tensor) -> torch.Tensor:
        return self.scaled(T, mu)


class ConditionEmbedding(ScaledCondition):
    """Fourier features (Tancik et al., NeurIPS 2020) of the scaled condition through a two-layer network.

    frequencies : of mu and mu / T, each twice the one before, from half a wave over the trained range on; of T and 1 / T, in which the law is
        smoother and grids are coarser, OF_T at most
    """

    def __init__(self, width: int, ranges: dict, frequencies: int = 4):
        super().__init__(ranges)
        self.each = [min(OF_T, frequencies)] * 2 + [frequencies] * (self.n - 2)
        self.net = nn.Sequential(nn.Linear(self.n + 2 * sum(self.each), width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, T: torch.Tensor, mu: torch.Tensor) -> torch.Tensor:
        """T (B,), mu (B, n_elements - 1) -> (B, width)."""
        x = self.scaled(T, mu)
        k = math.pi / 2 * 2.0 ** torch.arange(max(self.each), device=x.device)
        angle = torch.cat([x[:, i, None] * k[:n] for i, n in enumerate(self.each)], dim=1)
        return self.net(torch.cat([x, angle.sin(), angle.cos()], dim=1))


class CouplingEmbedding(nn.Module):
    """Couplings in units of kT, n of them, through a two-layer network: each of three sizes, for they span decades and may be of either sign; the
    first, the field, also by Fourier features of wavelengths 16, 8, ... kT, for phases meet in a narrow range of it.

    inner : width of the hidden layers of a network of four layers beside it, which adds nothing at first; 0 for none
    """

    def __init__(self, width: int, n: int, frequencies: int = 4, inner: int = 0):
        super().__init__()
        self.frequencies = frequencies
        features = 3 * n + 2 * frequencies
        self.net = nn.Sequential(nn.Linear(features, width), nn.SiLU(), nn.Linear(width, width))
        self.more = _silent(features, inner, width) if inner else None

    def forward(self, couplings: torch.Tensor) -> torch.Tensor:
        """Couplings (B, n) -> (B, width)."""
        x = couplings.float()
        angle = x[:, :1] * (math.pi / 8 * 2.0 ** torch.arange(self.frequencies, device=x.device))
        y = torch.cat([torch.asinh(4 * x), torch.tanh(x), torch.tanh(16 * x), angle.sin(), angle.cos()], 1)
        return self.net(y) if self.more is None else self.net(y) + self.more(y)


def _silent(features: int, inner: int, width: int) -> nn.Sequential:
    """A network of four layers whose output is zero at first."""
    hidden = [layer for n in (features, inner, inner) for layer in (nn.Linear(n, inner), nn.SiLU())]
    last = nn.Linear(inner, width)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(*hidden, last)
