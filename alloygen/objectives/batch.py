"""What one step of training learns from: typed rows, which the loop cuts into parts."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import torch

from alloygen.conditions.record import Condition

Rows = TypeVar("Rows", bound="Batch")


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Configurations (B, N) with their conditions and the orders (B, M) that they are learned along. Objectives add what they need."""

    occ: torch.Tensor
    condition: Condition
    order: torch.Tensor

    def __len__(self) -> int:
        return len(self.occ)

    def __getitem__(self: Rows, rows: slice | torch.Tensor) -> Rows:
        """Some of the rows."""
        return self._each(lambda x: x[rows])

    def to(self: Rows, device: torch.device | str) -> Rows:
        return self._each(lambda x: x.to(device))

    def _each(self: Rows, function) -> Rows:
        present: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{k: function(v) for k, v in present.items() if v is not None})
