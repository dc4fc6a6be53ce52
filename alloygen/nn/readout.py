"""The last layer of the masked networks."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


class Readout(nn.Linear):
    """A linear layer that starts at zero and stays in float32 under autocast.

    Log-marginals of a whole configuration are tens of nats, of which bfloat16 would keep two digits.
    """

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return F.linear(x.float(), self.weight, self.bias)
