"""Networks over partly decided occupations, by name.

    network(state (B, N), T (B,), mu (B, n_elements - 1)) -> (sites (B, N, outputs) or None, marginal (B,) or None)

``state`` holds species indices, and S (the largest number of species) where a site is masked. ``outputs`` numbers come
per site (logits of the species, 0 for none) and ``marginal`` one per configuration; ``load`` is the number of sites or
edges that a configuration costs. Networks know no physics.
"""

from __future__ import annotations

from importlib import import_module

from torch import nn

from alloygen.lattice import Lattice

# name: (module, class, the sizes that it takes)
NETWORKS = {
    "mlp": ("alloygen.nn.mlp", "ResidualMLP", ("width", "depth")),
    "painn": ("alloygen.nn.painn", "PaiNN", ("width", "depth", "radial", "cutoff", "offset")),
    "transformer": ("alloygen.nn.transformer", "LatticeTransformer", ("width", "depth", "heads", "expand")),
}


def build(name: str, lattice: Lattice, ranges: dict, outputs: int, marginal: bool, size: dict) -> nn.Module:
    """The network of a name; of ``size`` it takes what concerns it. PaiNN alone imports torch-geometric."""
    module, kind, sizes = NETWORKS[name]
    return getattr(import_module(module), kind)(lattice, ranges, outputs, marginal, **{k: size[k] for k in sizes})
