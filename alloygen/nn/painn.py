"""PaiNN on the lattice graph: equivariant message passing with scalar and vector features, by torch-geometric.

Schuett, Unke and Gastegger, "Equivariant message passing for the prediction of tensorial properties and molecular
spectra" (ICML 2021). Symbols: s_i scalars and v_i vectors of site i, r_ij edge vector, W radial filters.

    message   (a, b, c) = phi(s_j) * W(|r_ij|),    s_i += sum_j a,    v_i += sum_j (v_j b + c r_ij / |r_ij|)
    update    (d, e, f) = psi(s_i, |V v_i|),       s_i += d + e <U v_i, V v_i>,    v_i += f U v_i

Edges are all periodic images within the cutoff. This module imports torch-geometric: import it when it is needed only.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch_geometric.nn import MessagePassing

from alloygen.arrays import as_tensor
from alloygen.edge.graph import to_data
from alloygen.errors import LatticeMismatch
from alloygen.lattice import Lattice
from alloygen.nn.embeddings import ConditionEmbedding
from alloygen.nn.readout import Readout


class Message(MessagePassing):
    """One message of PaiNN. Features are (B, N, 4, F): the scalars, then the three components of the vectors."""

    def __init__(self, width: int, radial: int):
        super().__init__(aggr="add", node_dim=1)
        self.phi = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 3 * width))
        self.filter = nn.Linear(radial, 3 * width)

    def forward(
        self,
        x: torch.Tensor,
        edge_index: torch.Tensor,
        basis: torch.Tensor,
        envelope: torch.Tensor,
        direction: torch.Tensor,
    ) -> torch.Tensor:
        weights = self.filter(basis) * envelope
        gates = self.phi(x[:, :, 0])
        return x + self.propagate(edge_index, x=x, gates=gates, weights=weights, direction=direction)

    def message(
        self, x_j: torch.Tensor, gates_j: torch.Tensor, weights: torch.Tensor, direction: torch.Tensor
    ) -> torch.Tensor:
        scalar, along, new = (gates_j * weights).chunk(3, dim=-1)
        vectors = x_j[:, :, 1:] * along[:, :, None] + direction[..., None] * new[:, :, None]
        return torch.cat([scalar[:, :, None], vectors], dim=2)


class Update(nn.Module):
    """The update of PaiNN on the same (B, N, 4, F) features."""

    def __init__(self, width: int):
        super().__init__()
        self.uv = nn.Linear(width, 2 * width, bias=False)
        self.psi = nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, 3 * width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        u, v = self.uv(x[:, :, 1:]).chunk(2, dim=-1)
        length = (v.square().sum(2) + 1e-8).sqrt()
        d, e, f = self.psi(torch.cat([x[:, :, 0], length], dim=-1)).chunk(3, dim=-1)
        scalar = d + e * (u * v).sum(2)
        return x + torch.cat([scalar[:, :, None], f[:, :, None] * u], dim=2)


class PaiNN(nn.Module):
    """Message passing over the lattice graph; see ``nn.masked``. Invariant to rotations of the crystal.

    cutoff : length within which sites are joined, in the primitive cell's unit (Du et al.: 2.5 for Ising, spacing 1)
    offset : distances are measured from here: the radial basis sin(n pi u) / u and the cosine cutoff are functions of
        u = (r - offset) / (cutoff - offset)
    radial : number of radial functions
    """

    edge_index: torch.Tensor
    basis: torch.Tensor
    envelope: torch.Tensor
    direction: torch.Tensor
    sublattice: torch.Tensor

    def __init__(
        self, lattice: Lattice, ranges: dict, outputs: int, marginal: bool, *,
        width: int, depth: int, radial: int, cutoff: float, offset: float,
    ):  # fmt: skip
        super().__init__()
        self.states, self.outputs, self.marginal = int(lattice.n_species.max()) + 1, outputs, marginal
        edge_index, basis, envelope, direction = lattice_edges(lattice, cutoff, offset, radial)
        self.load = edge_index.shape[1]
        self.register_buffer("edge_index", edge_index, persistent=False)
        self.register_buffer("basis", basis, persistent=False)
        self.register_buffer("envelope", envelope, persistent=False)
        self.register_buffer("direction", direction, persistent=False)
        self.register_buffer("sublattice", as_tensor(lattice.sublattice), persistent=False)
        self.atom = nn.Embedding(lattice.n_sublattices * self.states, width)
        self.condition = ConditionEmbedding(width, ranges)
        self.messages = nn.ModuleList(Message(width, radial) for _ in range(depth))
        self.updates = nn.ModuleList(Update(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Sequential(nn.Linear(width, width), nn.SiLU(), Readout(width, outputs + marginal))

    def forward(
        self, state: torch.Tensor, T: torch.Tensor, mu: torch.Tensor
    ) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        scalar = self.atom(self.sublattice * self.states + state) + self.condition(T, mu)[:, None]
        x = torch.cat([scalar[:, :, None], scalar.new_zeros(*scalar.shape[:2], 3, scalar.shape[2])], dim=2)
        for message, update in zip(self.messages, self.updates, strict=True):
            x = update(message(x, self.edge_index, self.basis, self.envelope, self.direction))
        out = self.head(self.norm(x[:, :, 0]))
        return (out[..., : self.outputs] if self.outputs else None), (out[..., -1].sum(1) if self.marginal else None)


def lattice_edges(
    lattice: Lattice, cutoff: float, offset: float, radial: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """(edge_index (2, E), radial basis (E, radial), cutoff function (E, 1), unit vectors (E, 3)) of the lattice graph.

    Raises LatticeMismatch where no sites lie within the cutoff, or where the offset does not leave room below it.
    """
    data = to_data(lattice, cutoff)
    length = data.edge_vec.double().norm(dim=1)
    if data.num_edges == 0 or not 0 <= offset < float(length.min()):
        nearest = float(to_data(lattice).edge_vec.norm(dim=1).min())
        raise LatticeMismatch(
            f"expected edges between sites: model.offset >= 0 below and model.cutoff above the nearest-neighbour "
            f"distance {nearest:.4g} of the primitive cell, got offset {offset!r} and cutoff {cutoff!r} with "
            f"{data.num_edges} edges. Use a cutoff of about {1.5 * nearest:.2g}."
        )
    u = (length - offset) / (cutoff - offset)
    n = torch.arange(1, radial + 1)
    basis = torch.sin(math.pi * n * u[:, None]) / u[:, None]
    envelope = 0.5 * (1 + torch.cos(math.pi * u))[:, None]
    direction = data.edge_vec.double() / length[:, None]
    return data.edge_index, basis.float(), envelope.float(), direction.float()
