"""Coarse to fine: every supercell has levels, kinds mean the same in all of them, and windows see what they should."""

import numpy as np
import pytest
from small_systems import hamiltonian

import alloygen.data
from alloygen.hamiltonian.ising import ising
from alloygen.lattice import Lattice, Primitive
from alloygen.levels import Levels, Window, coset_order, kinds

FCC = Primitive(0.5 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]), [[0, 0, 0]], [("Cu", "Au")])
CUBIC = np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]])
CELLS = [
    (4, 4, 4),
    (2, 2, 4),
    (6, 6, 6),
    (3, 5, 7),
    2 * CUBIC,
    3 * CUBIC,
    [[3, 1, 0], [0, 4, 1], [0, 0, 5]],
    (1, 1, 1),
    (8, 8, 8),
]


@pytest.mark.parametrize("cell", CELLS, ids=lambda c: str(np.array(c).tolist()))
def test_every_cell_has_an_order_coarse_first(cell):
    levels = Levels(Lattice(FCC, cell), depth=2, window=12)
    assert sorted(levels.order) == list(range(levels.lattice.n_sites))
    assert (np.diff(levels.spacing[levels.order]) <= 0).all()
    assert levels.kind.min() >= 0 and levels.kind.max() < kinds(FCC, 2)
    assert (levels.offsets[levels.order[0]] == 0).all()


def test_every_system_has_levels(system):
    lattice = hamiltonian(system).lattice
    levels = Levels(lattice, depth=2, window=5)
    sites, odd = levels.slots
    assert sorted(levels.order) == list(range(lattice.n_sites))
    assert sites.shape == odd.shape == (lattice.n_sites, 5) and (sites != np.arange(lattice.n_sites)[:, None]).all()
    assert odd[sites == lattice.n_sites].all()


@pytest.mark.parametrize("cell", [(4, 4, 4), (8, 8, 8), 2 * CUBIC, (4, 4, 8)], ids=str)
def test_a_cell_that_the_spacings_divide_has_no_seam(cell):
    """Sites of one kind see the same: decided sites at the same displacements, those of their own kind by the raster apart."""
    levels = Levels(Lattice(FCC, cell), depth=3, window=54)
    rank, (sites, _) = np.argsort(levels.order), levels.slots
    spacing = np.append(levels.spacing, 0)
    assert ((spacing[sites] >= levels.spacing[:, None]) | (sites == levels.lattice.n_sites)).all()
    rank, kind = np.append(rank, 10**6), np.append(levels.kind, -1)
    for k in np.unique(levels.kind):
        members = np.flatnonzero(levels.kind == k)
        if len(np.unique(levels.spacing[members])) > 1:
            continue  # the last level holds several spacings
        known = rank[sites[members]] < rank[members][:, None]
        others = kind[sites[members]] != k
        assert (known & others == (known & others)[0]).all()


def test_a_seam_is_bridged_by_the_nearest_site_of_the_level():
    levels = Levels(ising(15).lattice, depth=2, window=8)
    sites, odd = levels.slots
    place = levels.offsets[:, :2]
    corner = int(np.flatnonzero((place == [14, 4]).all(1))[0])
    assert levels.spacing[corner] == 2
    seen = sites[corner][sites[corner] < levels.lattice.n_sites]
    assert (levels.spacing[seen] >= 2).all()
    right = [tuple(p) for p in place[seen].tolist() if p[1] == 4]
    assert (0, 4) in right and (12, 4) in right and odd[corner].any()


def test_kinds_are_the_same_in_every_cell():
    """The kind of a site depends on its level and coset alone, so weights of one cell serve another."""
    small, large = (Levels(Lattice(FCC, n), depth=2, window=12) for n in ((4, 4, 4), (8, 8, 8)))

    def fine(levels):
        rows = zip(levels.offsets % 2, levels.kind, levels.spacing, strict=True)
        return {tuple(coset.tolist()): int(kind) for coset, kind, s in rows if s == 1}

    assert fine(small) == fine(large) and len(fine(small)) == 7


def test_next_comes_the_coset_that_lies_farthest():
    assert coset_order(ising(4).lattice.primitive) == ((1, 1, 0, 0), (0, 1, 0, 0), (1, 0, 0, 0))
    assert [p[:3] for p in coset_order(FCC)][:3] == [(1, 1, 1), (0, 0, 1), (1, 1, 0)]


def test_windows_hold_shells():
    window = Window.of(FCC, 42)
    length = np.linalg.norm(window.cells[0] @ FCC.cell, axis=1).round(6)
    assert np.unique(length, return_counts=True)[1].tolist() == [12, 6, 24]
    salt = Primitive(np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], [("A", "B"), ("O",)])
    assert (Window.of(salt, 6).sublattice == 0).all() and Window.of(salt, 6).cells.shape == (2, 6, 3)


def test_the_checkerboard_is_decided_last_and_alone_on_the_square_lattice():
    h = ising(8)
    levels = Levels(h.lattice, depth=3, window=8)
    rank = np.argsort(levels.order)
    last = levels.order[32:]
    assert (levels.offsets[last, :2].sum(1) % 2 == 1).all()
    assert all((rank[h.neighbours[i]] < rank[i]).all() for i in last)


def test_large_cells_are_quick():
    h = alloygen.data.cuau().on((8, 8, 8))
    assert len(np.unique(Levels(h.lattice, 3, 134).kind)) == 22
