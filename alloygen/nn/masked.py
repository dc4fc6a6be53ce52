"""Networks over partly decided occupations, by name.

    network(state (B, N), T (B,), mu (B, n_elements - 1)) -> (sites (B, N, outputs) or None, marginal (B,) or None)

``state`` holds species indices, and S (the largest number of species) where a site is masked. ``outputs`` numbers come
per site (logits of the species, 0 for none) and ``marginal`` one per configuration; ``load`` is the number of sites or
edges that a configuration costs. Networks know no physics.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module

from torch import nn

from alloygen.lattice import Lattice


@dataclass(frozen=True, kw_only=True)
class Size:
    """How large a network is. Each takes what concerns it, see ``NETWORKS``.

    width, depth : channels and layers; heads, expand : of the Transformer
    radial, cutoff, offset : of PaiNN, see :class:`alloygen.nn.painn.PaiNN`
    """

    width: int = 128
    depth: int = 4
    heads: int = 4
    expand: int = 3
    radial: int = 20
    cutoff: float = 2.5
    offset: float = 0.5


# name: (module, class, the sizes that it takes)
NETWORKS = {
    "mlp": ("alloygen.nn.mlp", "ResidualMLP", ("width", "depth")),
    "painn": ("alloygen.nn.painn", "PaiNN", ("width", "depth", "radial", "cutoff", "offset")),
    "transformer": ("alloygen.nn.transformer", "LatticeTransformer", ("width", "depth", "heads", "expand")),
}


def build(name: str, lattice: Lattice, ranges: dict, outputs: int, marginal: bool, size: Size) -> nn.Module:
    """The network of a name; of ``size`` it takes what concerns it. PaiNN alone imports torch-geometric."""
    module, kind, sizes = NETWORKS[name]
    return getattr(import_module(module), kind)(
        lattice, ranges, outputs, marginal, **{k: getattr(size, k) for k in sizes}
    )
