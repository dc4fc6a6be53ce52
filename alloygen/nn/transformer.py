"""Masked lattice Transformer: every site attends to every site, positions enter by periodic RoPE alone."""

from __future__ import annotations

from typing import cast

import torch
from torch import nn
from torch.nn import functional as F

from alloygen.arrays import as_tensor
from alloygen.lattice import Lattice
from alloygen.nn.causal import Block
from alloygen.nn.embeddings import ConditionEmbedding
from alloygen.nn.readout import Readout
from alloygen.nn.rope import axis_wave_vectors, rotations


class LatticeTransformer(nn.Module):
    """Pre-norm blocks with GELU, RoPE per lattice axis, a 3-layer GELU head per site; see ``nn.masked``.

    Queries and keys are turned by 2 pi n x / L per axis (``rope.axis_wave_vectors``), so the network is periodic and
    equivariant to lattice translations (Du et al., arXiv:2603.14695; Su et al., RoFormer, 2021). Fourier features of T
    and mu are added to the embedding of each site and scale each norm. The marginal is a sum over sites.
    """

    cos: torch.Tensor
    sin: torch.Tensor
    sublattice: torch.Tensor

    def __init__(
        self,
        lattice: Lattice,
        ranges: dict,
        outputs: int,
        marginal: bool,
        *,
        width: int,
        depth: int,
        heads: int,
        expand: int,
    ):
        super().__init__()
        self.states, self.outputs, self.marginal = int(lattice.n_species.max()) + 1, outputs, marginal
        self.load = lattice.n_sites
        cos, sin = rotations(lattice, heads, width // heads, axis_wave_vectors)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self.register_buffer("sublattice", as_tensor(lattice.sublattice), persistent=False)
        self.token = nn.Embedding(lattice.n_sublattices * self.states, width)
        self.condition = ConditionEmbedding(width, ranges)
        self.blocks = nn.ModuleList(Block(width, heads, expand, causal=False, activation=F.gelu) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Sequential(
            nn.Linear(width, width), nn.GELU(), nn.Linear(width, width), nn.GELU(), Readout(width, outputs + marginal)
        )

    def forward(
        self, state: torch.Tensor, T: torch.Tensor, mu: torch.Tensor
    ) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        condition = self.condition(T, mu)
        x = self.token(self.sublattice * self.states + state) + condition[:, None]
        angle = (self.cos, self.sin)
        for block in cast("list[Block]", self.blocks):
            x = block(x, block.condition(condition), angle, angle)
        out = self.head(self.norm(x))
        return (out[..., : self.outputs] if self.outputs else None), (out[..., -1].sum(1) if self.marginal else None)
