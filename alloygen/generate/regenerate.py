"""Block regeneration: erase a block of sites, redraw it from a model given the rest, accept by the exact Metropolis-Hastings ratio.

    a = min(1, exp(-beta [H(x') - H(x)]) q(x_B | x_rest) / q(x'_B | x_rest)),     H = E - mu.N

with both likelihoods along the same order, drawn without looking at the configuration. The target law stays invariant whatever the
model is; a good one moves many sites at once where single flips are slow. With the whole cell as block it is independence Metropolis
(Hastings, Biometrika 57, 97 (1970); with neural proposals: Nicoli et al., Phys. Rev. E 101, 023304 (2020)).
"""

from __future__ import annotations

import numpy as np
import torch

from alloygen.arrays import as_array, as_tensor
from alloygen.conditions.record import Condition
from alloygen.errors import AlloygenError
from alloygen.generate.outpaint import Outpainter, repeats
from alloygen.types import ArrayLike


class Regenerator:
    """Moves configurations of a supercell by redrawing blocks of them.

    Parameters
    ----------
    painter : Outpainter, whose model and target are meant (of one size too)
    block : cells of the block along each axis, one number or three, at most the model's cell; None: half of it
    known : (N,) species index of sites that never change, -1 where free

    ``step(occ, condition, generator)`` makes one move of every configuration and returns (occ, accepted (B,) bool).

    Examples
    --------
    >>> import alloygen, alloygen.data
    >>> h = alloygen.data.cuau().on((2, 2, 4))
    >>> moves = Regenerator(Outpainter(alloygen.load("cuau_2x2x4"), h), block=2)
    >>> generator = torch.Generator().manual_seed(0)
    >>> occ, accepted = moves.step(h.random(100, generator), h.condition(900.0, [0.0, 0.02]), generator)
    >>> occ.shape, 20 < int(accepted.sum()) <= 100
    (torch.Size([100, 16]), True)
    """

    def __init__(
        self, painter: Outpainter, block: ArrayLike | None = None, known: torch.Tensor | ArrayLike | None = None
    ):
        self.painter, self.target = painter, painter.target
        lattice = painter.model.hamiltonian.lattice
        have = repeats(lattice)
        size = np.maximum(have // 2, 1) if block is None else np.minimum(np.broadcast_to(np.asarray(block), (3,)), have)
        if block is not None and (
            not np.issubdtype(np.asarray(block).dtype, np.integer) or (size < 1).any() or np.max(block) > have.max()
        ):
            raise AlloygenError(f"expected a block of 1 to {have.tolist()} cells along each axis, got {block!r}")
        start = (have - size) // 2  # in the middle of the window: its sites see the nearest image of every other
        self.inside = ((lattice.offsets >= start) & (lattice.offsets < start + size)).all(1)
        self.free = torch.full((self.target.n_sites,), True) if known is None else as_tensor(known) < 0
        if not self.free.any():
            raise AlloygenError("expected at least one site that may change, got all of them fixed")

    def step(
        self, occ: torch.Tensor, condition: Condition, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One move of every configuration (B, N) at one condition, the block at one random place for all."""
        source, target, b = self.painter.model.hamiltonian.lattice, self.target.lattice, len(occ)
        shift = (as_array(torch.rand(3, generator=generator, dtype=torch.float64)) * repeats(target)).astype(np.int64)
        sites = as_tensor(target.index(source.offsets + shift, source.sublattice))
        block = sites[as_tensor(self.inside)]
        block = block[self.free[block]]
        if not len(block):
            return occ, torch.zeros(b, dtype=torch.bool)
        state = occ.clone()
        state[:, block] = -1
        order, _ = self.painter.order(sites, state, generator)
        new, forth = self.painter.sample_window(sites, order, state, condition, generator)
        back = self.painter.window_log_prob(sites, order, occ, state, condition)
        u = self.target.reduced_energy
        log_a = -u(new, condition) + u(occ, condition) + back - forth
        accepted = torch.rand(b, generator=generator, dtype=torch.float64).log() < log_a
        return torch.where(accepted[:, None], new, occ), accepted
