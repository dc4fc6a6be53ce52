"""The lattice as a graph of torch-geometric."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from alloygen.arrays import as_tensor
from alloygen.edge.fits import nearest_neighbour
from alloygen.errors import LatticeMismatch
from alloygen.lattice import Lattice
from alloygen.types import ArrayLike

if TYPE_CHECKING:
    from torch_geometric.data import Data


def to_data(lattice: Lattice, cutoff: float | None = None, occ: ArrayLike | None = None) -> Data:
    """The lattice as a torch_geometric graph: every pair of sites within the cutoff, one edge per periodic image.

    Parameters
    ----------
    lattice : Lattice
    cutoff : length in the primitive cell's unit (angstrom); the default is 1.05 nearest-neighbour distances
    occ : occupations (N,); gives ``x`` (N, n_elements), one-hot in order of ``lattice.elements``

    The graph has ``pos`` (N, 3), ``sublattice`` (N,), ``cell`` (1, 3, 3), ``edge_index`` (2, E), ``edge_vec`` (E, 3)
    from the first site to the image of the second, and ``edge_shift`` (E, 3), that image in supercell vectors.
    Raises LatticeMismatch for a cutoff that is not positive or occupations that do not fit.

    Examples
    --------
    >>> import alloygen
    >>> to_data(alloygen.data.cuau().on((2, 2, 4)).lattice).num_edges        # 12 nearest neighbours per site
    192
    """
    import torch
    from ase.neighborlist import primitive_neighbor_list
    from torch_geometric.data import Data

    if cutoff is None:
        cutoff = 1.05 * nearest_neighbour(lattice.primitive)
    if not cutoff > 0:
        raise LatticeMismatch(f"expected a cutoff above 0 in the primitive cell's unit, got {cutoff!r}")
    i, j, vec, shift = primitive_neighbor_list("ijDS", lattice.primitive.pbc, lattice.cell, lattice.positions, cutoff)
    real = torch.get_default_dtype()
    data = Data(
        pos=as_tensor(lattice.positions, real),
        sublattice=as_tensor(lattice.sublattice),
        cell=as_tensor(lattice.cell, real)[None],
        edge_index=as_tensor(np.stack([i, j])),
        edge_vec=as_tensor(vec, real),
        edge_shift=as_tensor(shift),
        num_nodes=lattice.n_sites,
    )
    if occ is not None:
        data.x = as_tensor(_one_hot(lattice, np.asarray(occ)), real)
    return data


def _one_hot(lattice: Lattice, occ: np.ndarray) -> np.ndarray:
    if occ.shape != (lattice.n_sites,) or (occ < 0).any() or (occ >= lattice.n_species).any():
        raise LatticeMismatch(
            f"expected species indices of shape ({lattice.n_sites},) into {lattice.species}, got shape {occ.shape} "
            f"with values {np.unique(occ)[:10].tolist()}"
        )
    element = lattice.element_index[lattice.sublattice, occ.astype(np.int64)]
    return np.eye(len(lattice.elements))[element]
