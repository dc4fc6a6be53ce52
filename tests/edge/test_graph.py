"""Lattices as graphs of torch-geometric."""

import numpy as np
import pytest
import torch
from ase.build import bulk

import alloygen.data
from alloygen.edge.fits import nearest_neighbour
from alloygen.edge.graph import to_data
from alloygen.edge.primitive import primitive_from_atoms
from alloygen.errors import LatticeMismatch
from alloygen.lattice import Lattice

FCC = alloygen.data.cuau().primitive
OXIDE = primitive_from_atoms(bulk("MgO", "rocksalt", a=4.2), {"Mg": ["Mg", "Ni"]})


@pytest.mark.parametrize("matrix", [(2, 2, 4), (1, 1, 1), (4, 4, 4), [[-1, 1, 1], [1, -1, 1], [1, 1, -1]]])
def test_graph_has_every_image_of_the_first_shell(matrix):
    lattice = Lattice(FCC, matrix)
    data = to_data(lattice)
    assert torch.bincount(data.edge_index[0], minlength=lattice.n_sites).tolist() == [12] * lattice.n_sites
    lengths = data.edge_vec.norm(dim=1)
    assert torch.allclose(lengths, torch.full_like(lengths, nearest_neighbour(FCC)), atol=1e-5)
    i, j = data.edge_index
    ends = data.pos[j] + data.edge_shift.to(data.pos.dtype) @ data.cell[0]
    assert torch.allclose(data.pos[i] + data.edge_vec, ends, atol=1e-5)
    assert data.validate() and data.num_nodes == lattice.n_sites and "x" not in data


def test_graph_shells_sublattices_and_species():
    two = to_data(Lattice(FCC, (2, 2, 4)), cutoff=1.05 * np.sqrt(2) * nearest_neighbour(FCC))
    assert two.num_edges == 16 * (12 + 6)
    lattice = Lattice(OXIDE, (2, 2, 2))
    data = to_data(lattice, occ=np.where(lattice.sublattice == 0, 1, 0))
    assert data.num_edges == 16 * 6 and (data.sublattice[data.edge_index].sum(0) == 1).all()
    assert lattice.elements == ("Mg", "Ni", "O")
    assert data.x.sum(0).tolist() == [0.0, 8.0, 8.0] and data.x.dtype == data.pos.dtype
    for wrong in (np.zeros(3), np.ones(16)):
        with pytest.raises(LatticeMismatch, match=r"species indices of shape \(16,\)"):
            to_data(lattice, occ=wrong)
    with pytest.raises(LatticeMismatch, match="cutoff above 0"):
        to_data(lattice, cutoff=0)


def test_graphs_batch():
    from torch_geometric.data import Batch

    batch = Batch.from_data_list([to_data(Lattice(FCC, (2, 2, 4))), to_data(Lattice(FCC, (2, 2, 2)))])
    assert batch.num_nodes == 24 and batch.num_edges == 24 * 12 and batch.cell.shape == (2, 3, 3)
