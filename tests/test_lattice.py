"""Sites, periodicity and symmetry of supercells, against slow and obvious constructions."""

from itertools import product

import numpy as np
import pytest
import torch
from ase.build import bulk

import alloygen
from alloygen.errors import AlloygenError
from alloygen.lattice import Lattice, Primitive

FCC = Primitive(0.5 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]), [[0, 0, 0]], [("Cu", "Au")])
ROCKSALT = Primitive(FCC.cell, [[0, 0, 0], [0.5, 0.5, 0.5]], [("Mg", "Ni"), ("O",)])
HCP = Primitive(
    [[1, 0, 0], [-0.5, 0.75**0.5, 0], [0, 0, (8 / 3) ** 0.5]],
    [[1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]],
    [("Mg", "Cd")] * 2,
)
LAYER = Primitive(HCP.cell, HCP.basis, HCP.species, (True, True, False))
CUBIC = [[-2, 2, 2], [2, -2, 2], [2, 2, -2]]  # eight conventional cells of fcc
SKEW = [[1, 0, 0], [10, 1, 0], [3, 7, 5]]
CELLS = [
    (FCC, (2, 2, 4)),
    (FCC, (4, 4, 4)),
    (FCC, (1, 1, 1)),
    (FCC, CUBIC),
    (FCC, SKEW),
    (ROCKSALT, (2, 2, 4)),
    (ROCKSALT, CUBIC),
    (HCP, (2, 3, 2)),
    (HCP, [[1, 1, 0], [-1, 2, 0], [0, 0, 2]]),
    (LAYER, (3, 3, 1)),
]
every_cell = pytest.mark.parametrize("lattice", [Lattice(p, h) for p, h in CELLS], ids=str)


def nearest_images(lattice, vectors, reach):
    """Lengths of the shortest images by brute force."""
    spans = [range(-reach, reach + 1) if p else (0,) for p in lattice.primitive.pbc]
    shifts = np.array(list(product(*spans))) @ lattice.cell
    return np.sqrt(((vectors[:, None] + shifts) ** 2).sum(-1).min(1))


# ---------------------------------------------------------------------- sites
@pytest.mark.parametrize("repeats", [(2, 2, 4), (3, 1, 2)])
@pytest.mark.parametrize("atoms", [bulk("Cu", a=3.8), bulk("MgO", "rocksalt", a=4.2), bulk("Mg")], ids=str)
def test_numbering_is_that_of_ase_repeat(atoms, repeats):
    p = Primitive(np.array(atoms.cell), atoms.get_scaled_positions(wrap=False), [("A",)] * len(atoms))
    lattice, supercell = Lattice(p, repeats), atoms.repeat(repeats)
    np.testing.assert_allclose(lattice.positions, supercell.positions, atol=1e-12)
    np.testing.assert_allclose(lattice.cell, supercell.cell, atol=1e-12)
    np.testing.assert_allclose(lattice.fractional @ lattice.cell, lattice.positions, atol=1e-12)


@every_cell
def test_every_site_has_one_number_and_images_fold_back(lattice):
    n_cells = abs(round(np.linalg.det(lattice.matrix)))
    assert lattice.n_sites == n_cells * lattice.n_sublattices
    images = np.random.default_rng(0).integers(-3, 4, (lattice.n_sites, 3)) @ lattice.matrix
    for moved in (lattice.offsets, lattice.offsets + images):
        np.testing.assert_array_equal(lattice.index(moved, lattice.sublattice), np.arange(lattice.n_sites))


def test_left_handed_supercell_is_fine():
    lattice = Lattice(FCC, [[0, 2, 0], [2, 0, 0], [0, 0, 2]])
    assert lattice.n_sites == 8 and np.linalg.det(lattice.matrix) < 0
    assert len(lattice.point_operations) == len(Lattice(FCC, (2, 2, 2)).point_operations)


# ---------------------------------------------------------------------- symmetry
@every_cell
def test_translations_are_a_group_of_permutations(lattice):
    rows = lattice.translations
    assert rows.shape == (lattice.n_sites // lattice.n_sublattices, lattice.n_sites)
    assert (np.sort(rows, axis=1) == np.arange(lattice.n_sites)).all()
    group = set(map(tuple, rows))
    assert len(group) == len(rows) and tuple(range(lattice.n_sites)) in group
    picks = rows[:: max(1, len(rows) // 8)]
    assert all(tuple(a[b]) in group and tuple(a[b]) == tuple(b[a]) for a in picks for b in picks)
    assert (lattice.sublattice[rows] == lattice.sublattice).all()


@every_cell
def test_symmetries_keep_all_distances(lattice):
    vectors = lattice.positions[:, None] - lattice.positions
    distance = np.linalg.norm(lattice.minimum_image(vectors), axis=-1)
    for row in (*lattice.translations[-2:], *lattice.point_operations):
        assert sorted(row) == list(range(lattice.n_sites))
        np.testing.assert_allclose(distance[np.ix_(row, row)], distance, atol=1e-9)


@pytest.mark.parametrize(
    "primitive, matrix, n",
    [
        (FCC, (4, 4, 4), 48),
        (FCC, (2, 2, 4), 12),
        (FCC, (4, 4, 8), 12),
        (FCC, np.array(CUBIC), 48),
        (ROCKSALT, (4, 4, 4), 48),
        (HCP, (3, 3, 2), 24),
    ],
)  # 2x2x4: half of its superlattice is every other (111) plane of fcc, hence D3d
def test_number_of_point_operations(primitive, matrix, n):
    assert len(Lattice(primitive, matrix).point_operations) == n


def test_ising_square_has_eight_point_operations():
    from alloygen.hamiltonian.ising import ising

    assert len(ising(4).lattice.point_operations) == 8


@pytest.mark.parametrize("matrix", [(4, 4, 4), (2, 2, 4), CUBIC])
def test_energy_is_invariant_under_every_symmetry_and_not_under_others(matrix):
    h = alloygen.data.cuau().on(matrix)
    occ = torch.as_tensor(np.random.default_rng(1).integers(0, 2, h.n_sites))
    energy = float(h.energy(occ[None])[0])
    for rows in (h.lattice.translations, h.lattice.point_operations):
        moved = occ[torch.as_tensor(rows)]
        assert float((h.energy(moved) - energy).abs().max()) < 1e-11
    shuffled = occ[torch.as_tensor(np.random.default_rng(2).permutation(h.n_sites))]  # negative control
    assert abs(float(h.energy(shuffled[None])[0]) - energy) > 1e-3


# ---------------------------------------------------------------------- geometry
@every_cell
def test_minimum_image_is_the_shortest(lattice):
    vectors = lattice.positions - lattice.positions[-1] + 2.3 * lattice.cell[0] * lattice.primitive.pbc[0]
    short = lattice.minimum_image(vectors)
    reach = 40 if abs(lattice.matrix).max() > 8 else 5
    np.testing.assert_allclose(np.linalg.norm(short, axis=1), nearest_images(lattice, vectors, reach), atol=1e-9)
    moved = (short - vectors) @ np.linalg.inv(lattice.cell)
    np.testing.assert_allclose(moved, np.rint(moved), atol=1e-9)
    assert np.allclose(moved[:, ~np.array(lattice.primitive.pbc)], 0)


@every_cell
def test_displacements_are_one_list_per_sublattice(lattice):
    sites, distances = lattice.displacements
    n = lattice.n_sites
    assert sites.shape == (n, n - 1) and distances.shape == (lattice.n_sublattices, n - 1)
    assert (np.sort(np.column_stack([np.arange(n), sites]), axis=1) == np.arange(n)).all()
    assert (np.diff(distances, axis=1) > -1e-5).all()
    for b in range(lattice.n_sublattices):
        own = np.flatnonzero(lattice.sublattice == b)
        offsets = lattice.offsets[sites[own]] - lattice.offsets[own][:, None]
        for k in range(n - 1):  # modulo the supercell all sites of the sublattice see the same offset and sublattice
            assert len(np.unique(lattice.index(offsets[:, k], lattice.sublattice[sites[own, k]]))) == 1
        vectors = lattice.minimum_image(lattice.positions[sites[own]] - lattice.positions[own][:, None])
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=-1), distances[[b] * len(own)], atol=1e-9)


# ---------------------------------------------------------------------- identity and errors
def test_same_lattice_at_any_scale_and_through_a_dict():
    a = Lattice(FCC, (2, 2, 4))
    b = Lattice(Primitive(3.8 * FCC.cell, FCC.basis, FCC.species), (2, 2, 4))
    assert a.same_as(b) and a.same_as(Lattice.from_dict(a.to_dict()))
    assert not a.same_as(Lattice(FCC, (2, 4, 2)))
    assert not a.same_as(Lattice(Primitive(FCC.cell, FCC.basis, [("Au", "Cu")]), (2, 2, 4)))


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: Lattice(FCC, (0, 2, 2)), "repeats of at least 1"),
        (lambda: Lattice(FCC, (-1, 2, 2)), "repeats of at least 1"),
        (lambda: Lattice(FCC, [[1, 1, 0], [1, 1, 0], [0, 0, 1]]), "three independent supercell vectors"),
        (lambda: Lattice(FCC, (1.5, 2, 2)), "three repeats or a 3x3 integer matrix"),
        (lambda: Lattice(FCC, (2, 2)), "three repeats or a 3x3 integer matrix"),
        (lambda: Lattice(LAYER, (2, 2, 2)), "one repeat along the directions that are not periodic"),
        (lambda: Primitive(np.eye(3), [[0, 0, 0]], []), "one species list per basis site"),
    ],
)
def test_refusals(make, words):
    with pytest.raises(AlloygenError, match=words):
        make()
