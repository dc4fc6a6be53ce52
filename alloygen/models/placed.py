"""What a local model knows of one supercell: in which order its sites are decided, and what each of them sees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from alloygen.arrays import as_tensor
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.levels import Levels, upright


@dataclass(frozen=True, eq=False)
class Placed:
    """The tables of one supercell.

    order (N,) coarse to fine; kind (N,); slots (N, M) what each displacement of the window falls on, N for none; flags (P, M) patterns of
    what is odd about them, pattern (N,); interacting (N, m); allowed (N, S);
    sublattice (N,); values (n_sublattices, K, S) phi of each channel
    channels (K,) number of each channel among those of the expansion, one past their end for one that only this cell has
    """

    order: torch.Tensor
    kind: torch.Tensor
    slots: torch.Tensor
    flags: torch.Tensor
    pattern: torch.Tensor
    interacting: torch.Tensor
    allowed: torch.Tensor
    sublattice: torch.Tensor
    channels: torch.Tensor
    values: torch.Tensor

    @classmethod
    def of(cls, h: Hamiltonian, depth: int, window: int, channels: np.ndarray) -> Placed:
        """The tables of the supercell of ``h``."""
        lattice, row = upright(h.lattice)
        levels = Levels(lattice, depth, window)
        back = np.argsort(row)
        slots, odd = levels.slots
        patterns, pattern = np.unique(odd, axis=0, return_inverse=True)
        t = as_tensor
        return cls(t(back[levels.order]), t(levels.kind[row]), t(np.append(back, len(back))[slots[row]]), t(patterns).float(),
                   t(pattern.ravel()[row]), t(h.interacting), t(h.lattice.allowed), t(h.lattice.sublattice), t(channels),
                   t(h.channel_values))  # fmt: skip

    def to(self, device: torch.device) -> Placed:
        """The same tables on a device."""
        return Placed(**{name: table.to(device) for name, table in vars(self).items()})

    @property
    def open_(self) -> torch.Tensor:
        """(N,) does a site have clusters that are not decided when it is?"""
        rank = torch.argsort(self.order)
        return (rank[self.interacting] > rank[:, None]).any(1)
