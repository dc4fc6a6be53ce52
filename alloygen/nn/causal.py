"""Order-causal Transformer: all N conditionals of any order in one pass.

Token t stands between two decisions: it carries the species decided at step t - 1 and asks for the site of step t.
Queries are turned (RoPE) by the position of the site asked for; keys by the position of the site just decided in half
of the heads, and by that of the site asked for in the other half. The mask is causal over steps, so the output at step
t depends on earlier decisions, on the order, and on nothing else, and a key-value cache samples with one token a step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import nn
from torch.nn import functional as F

from alloygen.arrays import as_tensor
from alloygen.lattice import Lattice
from alloygen.nn.embeddings import ConditionEmbedding
from alloygen.nn.rope import rotate, rotations


class Block(nn.Module):
    """Pre-norm attention and feed-forward block, each norm scaled and shifted by the condition."""

    def __init__(
        self,
        width: int,
        heads: int,
        expand: int,
        causal: bool = True,
        activation: Callable[[torch.Tensor], torch.Tensor] = F.silu,
    ):
        super().__init__()
        self.heads, self.causal, self.activation = heads, causal, activation
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.up = nn.Linear(width, expand * width)
        self.down = nn.Linear(expand * width, width)
        self.condition = nn.Linear(width, 4 * width)
        for layer in (self.out, self.down, self.condition):
            nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.condition.weight)
        nn.init.normal_(self.out.weight, std=0.5 * width**-0.5)
        nn.init.normal_(self.down.weight, std=0.5 * (expand * width) ** -0.5)

    def forward(
        self,
        x: torch.Tensor,
        modulation: torch.Tensor,
        q_angle: tuple[torch.Tensor, torch.Tensor],
        k_angle: tuple[torch.Tensor, torch.Tensor],
        cache: tuple[torch.Tensor, torch.Tensor, int] | None = None,
    ) -> torch.Tensor:
        """x (B, T, width); ``modulation`` (B, 4 width) is ``self.condition`` of the embedded condition. ``cache`` (keys, values, step) is
        written from ``step`` on and read up to it when sampling: one token, or the first T at once."""
        b, t, w = x.shape
        scale_a, shift_a, scale_m, shift_m = modulation[:, None].chunk(4, dim=-1)
        h = F.layer_norm(x, (w,)) * (1 + scale_a) + shift_a
        q, k, v = self.qkv(h).view(b, t, 3, self.heads, w // self.heads).unbind(2)
        q, k = rotate(q, *q_angle).transpose(1, 2), rotate(k, *k_angle).transpose(1, 2)
        v = v.transpose(1, 2)
        if cache is None:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        else:
            keys, values, step = cache
            keys[:, :, step : step + t], values[:, :, step : step + t] = k, v
            keys, values = keys[:, :, : step + t], values[:, :, : step + t]
            if (
                t == 1
            ):  # one question a row: two products of matrices are twice as fast as the fused kernel, made for many
                y = (q * q.shape[-1] ** -0.5 @ keys.transpose(2, 3)).softmax(-1) @ values
            else:
                y = F.scaled_dot_product_attention(q, keys, values, is_causal=self.causal)
        x = x + self.out(y.transpose(1, 2).reshape(b, t, w))
        h = F.layer_norm(x, (w,)) * (1 + scale_m) + shift_m
        return x + self.down(self.activation(self.up(h)))


class CausalTransformer(nn.Module):
    """Maps the decisions so far and per-step inputs to per-step outputs.

    Parameters
    ----------
    lattice : Lattice
    n_features : width of the per-step input features
    n_outputs : width of the per-step output
    ranges : trained ranges of T and mu, see ConditionEmbedding
    """

    cos: torch.Tensor
    sin: torch.Tensor
    sublattice: torch.Tensor

    def __init__(
        self,
        lattice: Lattice,
        n_features: int,
        n_outputs: int,
        ranges: dict,
        *,
        width: int = 128,
        depth: int = 4,
        heads: int = 4,
        expand: int = 3,
    ):
        super().__init__()
        self.heads, self.width = heads, width
        n_species = int(lattice.n_species.max())
        cos, sin = rotations(lattice, heads, width // heads)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self.register_buffer("sublattice", as_tensor(lattice.sublattice), persistent=False)
        self.n_species = n_species
        self.decided = nn.Embedding(lattice.n_sublattices * n_species + 1, width)
        self.asked = nn.Embedding(lattice.n_sublattices, width)
        self.features = nn.Sequential(nn.Linear(n_features, width), nn.SiLU(), nn.Linear(width, width))
        self.condition = ConditionEmbedding(width, ranges)
        self.blocks = nn.ModuleList(Block(width, heads, expand) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, n_outputs)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def embed_condition(self, T: torch.Tensor, mu: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The condition as ``forward`` takes it: embedded (B, width), and what each block makes of it (B, 4 width), once for all steps."""
        embedded = self.condition(T, mu)
        return embedded, *(block.condition(embedded) for block in cast("list[Block]", self.blocks))

    def forward(
        self,
        previous_site: torch.Tensor,
        previous_species: torch.Tensor,
        site: torch.Tensor,
        features: torch.Tensor,
        condition: tuple[torch.Tensor, ...],
        cache: tuple[list[tuple[torch.Tensor, torch.Tensor]], int] | None = None,
    ) -> torch.Tensor:
        """All arguments but ``condition``, from ``embed_condition``, are per step, (B, T[, n]).

        previous_site is -1 where nothing has been decided yet. ``cache`` comes from ``new_cache`` plus the step.
        """
        embedded, *modulations = condition
        start = previous_site < 0
        token = self.sublattice[previous_site.clamp_min(0)] * self.n_species + previous_species
        token = torch.where(start, self.decided.num_embeddings - 1, token)
        x = self.decided(token) + self.asked(self.sublattice[site]) + self.features(features) + embedded[:, None]
        own = torch.where(start, site, previous_site)
        q_angle = (self.cos[site], self.sin[site])
        half = self.heads // 2
        cos, sin = (torch.cat([t[own][:, :, :half], t[site][:, :, half:]], dim=2) for t in (self.cos, self.sin))
        for i, (block, modulation) in enumerate(zip(self.blocks, modulations, strict=True)):
            layer = None if cache is None else (*cache[0][i], cache[1])
            x = block(x, modulation, q_angle, (cos, sin), layer)
        return self.head(self.norm(x))

    def new_cache(self, batch: int, steps: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Empty keys and values of every block."""
        p = self.head.weight
        shape = (batch, self.heads, steps, self.width // self.heads)
        return [(p.new_empty(shape), p.new_empty(shape)) for _ in self.blocks]
