"""Any binary expansion in the terms of its parent lattice: the same energies, whatever its basis, vectors and conventions."""

from dataclasses import replace

import numpy as np
import pytest

import alloygen
from alloygen.errors import AlloygenError, LatticeMismatch
from alloygen.hamiltonian.expansion import ClusterExpansion, Orbit
from alloygen.hamiltonian.ising import ising_expansion
from alloygen.hamiltonian.parents import PARENTS, canonical
from alloygen.lattice import Lattice, Primitive

MATRIX = {True: [[2, 1, 0], [0, 2, 1], [1, 0, 3]], False: [[3, 1, 0], [1, 4, 0], [0, 0, 1]]}


def random_expansion(name: str, seed: int = 0) -> ClusterExpansion:
    parent = PARENTS[name]
    J = np.random.default_rng(seed).normal(0, 0.02, len(parent.figures))
    return parent.expansion(J, ("Pd", "Ag"))


def same_energies(expansion: ClusterExpansion, matrix) -> None:
    """Energies of random occupations on a supercell, and on what the canonical form makes of it."""
    found = canonical(expansion)
    h = expansion.on(matrix)
    lattice, row = found.on(h.lattice)
    assert sorted(row) == list(range(h.n_sites))
    other = found.expansion.on(lattice)
    occ = h.random(20, 0)
    moved = np.empty_like(occ)
    moved[:, row] = occ
    assert np.allclose(h.energy(occ), other.energy(moved), atol=1e-10)
    assert np.ptp(h.energy(occ)) > 1e-3


@pytest.mark.parametrize("name", PARENTS)
def test_what_is_made_of_J_has_these_J(name):
    expansion = random_expansion(name)
    found = canonical(expansion)
    assert found.parent.name == name and found.beyond == 0
    assert np.allclose(found.J, [o.eci for o in expansion.orbits], atol=1e-12)
    same_energies(expansion, MATRIX[name != "square"])


@pytest.mark.parametrize("name", PARENTS)
def test_one_configuration_by_hand(name):
    """All sites of one species: the sum of the J; the other species: odd figures change sign."""
    expansion = random_expansion(name)
    J = np.array([o.eci for o in expansion.orbits])
    odd = np.array([o.order % 2 for o in expansion.orbits])
    h = expansion.on((2, 2, 2) if name != "square" else (2, 2, 1))
    assert np.allclose(h.energy(np.zeros((1, h.n_sites)))[0] / h.n_sites, J.sum())
    assert np.allclose(h.energy(np.ones((1, h.n_sites)))[0] / h.n_sites, (J * (-1.0) ** odd).sum())


def turned(expansion: ClusterExpansion, rows: np.ndarray, rotation: np.ndarray, scale: float) -> ClusterExpansion:
    """The same alloy in other primitive vectors, turned in space and scaled."""
    old = expansion.primitive
    back = np.linalg.inv(rows)
    basis = old.basis @ back
    shift = np.floor(basis + 1e-9)
    primitive = Primitive(scale * rows @ old.cell @ rotation, basis - shift, old.species, old.pbc)
    orbits = []
    for o in expansion.orbits:
        x = (o.members[..., :3] + old.basis[o.members[..., 3]]) @ back
        cells = np.rint(x - primitive.basis[o.members[..., 3]]).astype(int)
        orbits.append(replace(o, members=np.concatenate([cells, o.members[..., 3:]], axis=-1)))
    return replace(expansion, primitive=primitive, orbits=tuple(orbits))


@pytest.mark.parametrize("name", PARENTS)
def test_other_vectors_and_orientations_are_the_same_alloy(name):
    expansion = random_expansion(name)
    flat = name == "square"
    rows = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1]]) if flat else np.array([[1, 1, 0], [0, 1, 0], [1, 0, 1]])
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    if flat:
        turn = np.array([[0.6, 0.8, 0], [-0.8, 0.6, 0], [0, 0, 1]])
    other = turned(expansion, rows, turn, 3.9)
    found = canonical(other)
    assert found.parent.name == name
    assert np.allclose(found.J, [o.eci for o in expansion.orbits], atol=1e-10)
    same_energies(other, MATRIX[not flat])


def test_other_site_functions_are_the_same_alloy():
    """A lattice gas: occupation 0 / 1 in place of sigma, and two functions at once."""
    expansion = random_expansion("fcc")
    gas = replace(expansion, functions=np.array([[0.0, 1.0], [3.0, -0.5]]))
    mixed = tuple(
        replace(o, functions=(np.arange(o.functions.size) % 2).reshape(o.functions.shape)) for o in gas.orbits
    )
    symmetric = tuple(replace(o, functions=np.ones_like(o.functions)) for o in gas.orbits)
    same_energies(gas, MATRIX[True])
    same_energies(replace(gas, orbits=symmetric), MATRIX[True])
    with pytest.raises(LatticeMismatch, match="less symmetry than its lattice"):
        canonical(replace(gas, orbits=mixed))


def test_cuau_is_on_the_fcc_list():
    """All its figures are; the ECIs of its basis (-1, 1) are those of sigma with the sign of odd figures."""
    cuau = alloygen.data.cuau()
    found = canonical(cuau)
    assert found.parent.name == "fcc" and found.beyond == 0
    names = ["point", "pair 1", "pair 2", "pair 3", "pair 4", "triplet 1", "triplet 2"]
    of = {o.name: o.eci for o in found.expansion.orbits}
    own = [o.eci * (-1) ** o.order for o in cuau.orbits if o.order]
    assert np.allclose([of[name] for name in names], own[:7], atol=1e-12)
    assert np.allclose(sorted(of[f"quadruplet {k}"] for k in (1, 2, 3)), sorted(own[7:]), atol=1e-12)
    assert np.count_nonzero(found.J) == 10
    same_energies(cuau, MATRIX[True])


def test_ising_is_on_the_square_list():
    found = canonical(ising_expansion(h=0.3))
    assert found.J.round(12).tolist()[:3] == [0.3, -2.0, 0.0] and not found.J[3:].any()  # sigma = +1 is "-"
    same_energies(ising_expansion(h=0.3), (4, 5, 1))


def test_figures_beyond_the_list_stay_in_the_energies():
    expansion = random_expansion("bcc")
    far = Orbit(
        "far", 0.013, [[(0, 0, 0, 0), (5, 1, -2, 0)], [(0, 0, 0, 0), (1, 2, 3, 0), (4, 4, 4, 0)]][:1], [[0, 0]], [1.0]
    )
    longer = replace(expansion, orbits=(*expansion.orbits, far))
    found = canonical(longer)
    assert np.isclose(found.beyond, 0.013)
    assert np.allclose(found.J, [o.eci for o in expansion.orbits], atol=1e-12)
    same_energies(longer, MATRIX[True])


def test_clusters_that_meet_themselves_in_a_small_supercell():
    same_energies(alloygen.data.cuau(), (1, 2, 1))
    same_energies(random_expansion("hcp"), (1, 1, 2))


def test_a_lattice_without_a_list_is_named():
    rutile = Primitive(np.diag([1.0, 1.0, 0.7]), [[0, 0, 0]], (("A", "B"),))
    tetragonal = ClusterExpansion(rutile, np.array([[-1.0, 1.0]]), ())
    with pytest.raises(LatticeMismatch, match="expected the primitive cell of one of the lattices fcc, bcc"):
        canonical(tetragonal)
    three = replace(
        random_expansion("fcc"),
        primitive=Primitive(PARENTS["fcc"].primitive.cell, [[0, 0, 0]], (("A", "B", "C"),)),
        functions=np.eye(3),
    )
    with pytest.raises(LatticeMismatch, match="expected a binary alloy"):
        canonical(three)
    with pytest.raises(AlloygenError, match="one ECI for each of the 22 figures"):
        PARENTS["fcc"].expansion([1.0])


def test_symmetric_images_of_figures_are_one_figure():
    """The energies of all J are those of a lattice with the full symmetry of its parent."""
    for name in ("fcc", "bcc", "hcp"):
        h = random_expansion(name).on((2, 2, 2))
        assert len(h.symmetries[0]) == len(Lattice(h.lattice.primitive, (2, 2, 2)).point_operations)
