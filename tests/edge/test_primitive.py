"""Primitive cells from Atoms, and the names of superlattices."""

import numpy as np
import pytest
from ase.build import bulk

from alloygen.edge.primitive import primitive_from_atoms
from alloygen.edge.supercell import hermite
from alloygen.errors import LatticeMismatch, UnknownSpecies


def test_primitive_from_atoms_takes_lists_and_dicts():
    cell = bulk("MgO", "rocksalt", a=4.2)
    assert primitive_from_atoms(cell, ["Mg", "Ni"]).species == (("Mg", "Ni"),) * 2
    assert primitive_from_atoms(cell, [["Mg", "Ni"], "O"]).species == (("Mg", "Ni"), ("O",))
    assert primitive_from_atoms(cell, {"Mg": ["Mg", "Ni"]}).species == (("Mg", "Ni"), ("O",))
    with pytest.raises(UnknownSpecies, match="among Mg, O, got Pt"):
        primitive_from_atoms(cell, {"Pt": ["Pt"]})
    for wrong in ("MgNi", 3):
        with pytest.raises(UnknownSpecies, match="a list of symbols"):
            primitive_from_atoms(cell, wrong)
    for wrong in ([["Mg"]], [["Mg", "Mg"], ["O"]], [[], ["O"]]):
        with pytest.raises(LatticeMismatch, match="one list of different symbols per site"):
            primitive_from_atoms(cell, wrong)


@pytest.mark.parametrize("seed", range(20))
def test_hermite_names_a_superlattice(seed):
    rng = np.random.default_rng(seed)
    h = rng.integers(-4, 5, (3, 3))
    if round(np.linalg.det(h)) == 0:
        h += 5 * np.eye(3, dtype=int)
    lower, upper = np.tril(rng.integers(-2, 3, (3, 3)), -1), np.triu(rng.integers(-2, 3, (3, 3)), 1)
    unimodular = (np.eye(3, dtype=int) + lower) @ (np.eye(3, dtype=int) + upper)
    np.testing.assert_array_equal(hermite(unimodular @ h), hermite(h))
    assert abs(round(np.linalg.det(h))) == round(np.linalg.det(hermite(h)))
    assert (np.tril(hermite(h), -1) == 0).all()
