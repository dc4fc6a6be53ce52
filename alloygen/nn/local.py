"""Local network: what a site reads off the window around it, one small residual network for each kind of site.

The kinds are those of :mod:`alloygen.levels`; their weights lie in one tensor, so that a batch of sites of every kind is one product. The
condition comes in embedded: it shifts and scales the first hidden layer of every kind, and where asked for the others too, all kinds alike.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F


class LocalNetwork(nn.Module):
    """Features of sites to outputs, by kind.

    Parameters
    ----------
    kinds : number C of kinds
    features : width of the input features; flags : of those that are the same for all configurations
    outputs : width of the output, zero at first
    embedded : width of the embedded condition
    width, depth : of the hidden layers, and how many
    throughout : the condition enters every hidden layer (without effect at first), not the first alone
    """

    def __init__(
        self,
        kinds: int,
        features: int,
        flags: int,
        outputs: int,
        embedded: int,
        *,
        width: int = 128,
        depth: int = 3,
        throughout: bool = False,
    ):
        super().__init__()
        self.width = width

        def weight(rows: int, columns: int, gain: float = 1.0) -> nn.Parameter:
            return nn.Parameter(torch.randn(kinds, rows, columns) * gain / math.sqrt(rows))

        self.read, self.flags = weight(features, width), weight(flags, width, 0.0)
        self.condition, self.shift = weight(embedded, 2 * width, 0.3), nn.Parameter(torch.zeros(kinds, 1, 2 * width))
        self.hidden = nn.ParameterList(weight(width, width) for _ in range(depth - 1))
        self.bias = nn.ParameterList(nn.Parameter(torch.zeros(kinds, 1, width)) for _ in range(depth - 1))
        self.write, self.last = weight(width, outputs, 0.0), nn.Parameter(torch.zeros(kinds, 1, outputs))
        later = depth - 1 if throughout else 0
        self.later = nn.ParameterList(nn.Parameter(torch.zeros(embedded, 2 * width)) for _ in range(later))

    def modulation(self, embedded: torch.Tensor, kinds: torch.Tensor) -> list[torch.Tensor]:
        """What the hidden layers that it enters make of the embedded condition (B, E): the first one of each kind (C',), (C', B, 2 width), the
        others (B, 2 width)."""
        first = torch.baddbmm(_of(self.shift, kinds), embedded.expand(len(kinds), -1, -1), _of(self.condition, kinds))
        return [first, *(embedded @ weight for weight in self.later)]

    def marks(self, flags: torch.Tensor, kinds: torch.Tensor) -> torch.Tensor:
        """The same of flags (C', n, flags): (C', n, width)."""
        return torch.bmm(flags, _of(self.flags, kinds))

    def forward(
        self, x: torch.Tensor, kinds: torch.Tensor, modulation: list[torch.Tensor], marks: torch.Tensor
    ) -> torch.Tensor:
        """Outputs (C', B, q, outputs) of q sites of each kind in every row: x (C', B, q, features), marks (C', q, width) or (C', B, q, width)."""
        c, b, q, _ = x.shape
        flat = lambda y: y.reshape(c, b * q, -1)  # noqa: E731
        first, *later = modulation
        shift, scale = first[:, :, None].chunk(2, dim=3)
        y = (
            torch.bmm(flat(x), _of(self.read, kinds)).view(c, b, q, -1)
            + shift
            + (marks if marks.ndim == 4 else marks[:, None])
        )
        y = flat(F.silu(y) * (1 + scale))
        for i, (w, bias) in enumerate(zip(self.hidden, self.bias, strict=True)):
            z = torch.baddbmm(_of(bias, kinds), y, _of(w, kinds))
            if later:
                shift, scale = later[i][:, None].chunk(2, dim=2)
                z = flat(z.view(c, b, q, -1) * (1 + scale) + shift)
            y = y + F.silu(z)
        return torch.baddbmm(_of(self.last, kinds), y, _of(self.write, kinds)).view(c, b, q, -1)


def _of(weights: torch.Tensor, kinds: torch.Tensor) -> torch.Tensor:
    """The weights (C', ...) of kinds (C',) in rising sequence. Of one kind, and of all, they are no copy."""
    if len(kinds) == 1:
        return weights.narrow(0, int(kinds), 1)
    return weights if len(kinds) == len(weights) else weights.index_select(0, kinds)
