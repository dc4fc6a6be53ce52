"""Enumerated structures against published counts, and the key by which two structures are the same."""

import numpy as np
import pytest
from ase.build import bulk

import alloygen
from alloygen.errors import AlloygenError
from alloygen.fitting.derivative import as_primitive, configurations, different, structure_key, superlattices
from alloygen.lattice import Lattice, Primitive

FCC = as_primitive(bulk("Cu", a=3.8), ["Cu", "Au"])
SALT = as_primitive(bulk("MgO", "rocksalt", a=4.2), {"Mg": ["Mg", "Ni"], "O": ["O", "S"]})
HCP = as_primitive(bulk("Mg", "hcp", a=3.0, c=4.9), ["Mg", "Zn"])


def test_fcc_has_as_many_structures_as_published():
    """Hart and Forcade, Phys. Rev. B 77, 224115 (2008), with the two species told apart; bcc has the same numbers."""
    for primitive in (FCC, as_primitive(bulk("Fe", a=2.9), ["Fe", "Al"])):
        sizes = [lattice.n_sites for lattice, rows in configurations(primitive, 6) for _ in rows]
        assert np.bincount(sizes).tolist() == [0, 2, 2, 6, 19, 28, 80]
    assert [len(superlattices(FCC, n)) for n in range(1, 9)] == [1, 2, 3, 7, 5, 10, 7, 20]


@pytest.mark.parametrize("primitive, largest", [(FCC, 5), (SALT, 6), (HCP, 6)])
def test_each_structure_is_there_once(primitive, largest):
    """Random occupations of any cell of the size, in any shape, are equal to one of the list; no two of the list are equal."""
    keys = [structure_key(lattice, occ) for lattice, rows in configurations(primitive, largest) for occ in rows]
    assert len(set(keys)) == len(keys)
    rng, n = np.random.default_rng(0), largest // len(primitive.basis)
    for _ in range(30):
        matrix = rng.integers(-2, 3, (3, 3))
        if round(abs(np.linalg.det(matrix))) != n:
            matrix = np.diag([1, 1, n]) @ np.array([[1, 1, 0], [0, 1, 2], [0, 0, 1]])
        lattice = Lattice(primitive, matrix)
        occ = rng.integers(0, 2, lattice.n_sites)
        assert structure_key(lattice, occ) in keys


def test_the_key_knows_symmetry_and_repeats():
    lattice = Lattice(SALT, (2, 2, 3))
    occ = np.random.default_rng(1).integers(0, 2, lattice.n_sites)
    key = structure_key(lattice, occ)
    for row in [*lattice.point_operations[::5], *lattice.translations[::3]]:
        assert structure_key(lattice, occ[row]) == key
    double = Lattice(SALT, (2, 2, 6))
    assert structure_key(double, occ[lattice.index(double.offsets, double.sublattice)]) == key
    other = occ.copy()
    other[[np.flatnonzero(occ == 0)[0]]] = 1
    assert structure_key(lattice, other) != key  # negative control


def test_two_dimensions():
    square = Primitive(np.eye(3), [[0, 0, 0]], [("A", "B")], pbc=(True, True, False))
    assert [len(superlattices(square, n)) for n in (1, 2, 3, 4)] == [1, 2, 2, 4]


def test_structures_are_atoms_of_the_species():
    found = alloygen.enumerate_structures(bulk("MgO", "rocksalt", a=4.2), {"Mg": ["Mg", "Ni"]}, max_sites=4)
    assert {s for atoms in found for s in atoms.get_chemical_symbols()} == {"Mg", "Ni", "O"}
    assert all((atoms.symbols == "O").sum() * 2 == len(atoms) for atoms in found)


def test_what_cannot_be_enumerated():
    with pytest.raises(AlloygenError, match="take fewer sites"):
        different(Lattice(FCC, (3, 7, 1)))
    with pytest.raises(AlloygenError, match="two species or more"):
        alloygen.enumerate_structures(bulk("Cu"), ["Cu"])
    with pytest.raises(AlloygenError, match="species that each site may hold"):
        alloygen.enumerate_structures(bulk("Cu"))
