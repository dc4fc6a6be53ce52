"""Orbits of decorated clusters and correlation functions: against CLEASE's list, the tables of the Hamiltonian, and symmetry."""

from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk
from clease.settings import CEBulk, Concentration

from alloygen.edge.primitive import primitive_from_atoms
from alloygen.hamiltonian.clusters import correlations, decorated_orbits, site_functions
from alloygen.hamiltonian.expansion import ClusterExpansion
from alloygen.lattice import Lattice
from alloygen.testing import check_hamiltonian

CASES = {
    "binary": (bulk("Cu", "fcc", a=3.8), ["Cu", "Au"], (6.0, 4.5, 4.5), (2, 2, 4)),
    "ternary": (bulk("Cu", "fcc", a=3.8), ["Cu", "Au", "Pd"], (5.5, 4.0, 3.0), (3, 2, 2)),
    "two sublattices": (
        bulk("NaCl", "rocksalt", a=4.2),
        {"Na": ["Li", "Na", "K"], "Cl": ["O", "F"]},
        (4.3, 3.1),
        (2, 2, 2),
    ),
    "spectator": (bulk("NaCl", "rocksalt", a=4.2), {"Na": ["Li", "X"], "Cl": ["O"]}, (4.3, 3.1), (2, 2, 2)),
    "hcp": (bulk("Mg", "hcp", a=3.0, c=4.9), ["Mg", "Zn"], (5.0, 4.5), (2, 2, 2)),
}


def random_expansion(name: str, seed: int = 0) -> ClusterExpansion:
    atoms, species, cutoffs, _ = CASES[name]
    primitive = primitive_from_atoms(atoms, species)
    functions, orbits = decorated_orbits(primitive, cutoffs)
    eci = np.random.default_rng(seed).normal(scale=0.02, size=len(orbits))
    return ClusterExpansion(
        primitive, functions, tuple(replace(o, eci=float(j)) for o, j in zip(orbits, eci, strict=True))
    )


@pytest.mark.parametrize("name", CASES)
def test_correlations_are_what_the_tables_add_up(name):
    """In cells so small that clusters meet themselves, too."""
    expansion = random_expansion(name)
    for repeats in (CASES[name][3], (1, 1, 2), (1, 1, 1)):
        h = expansion.on(repeats)
        occ = h.random(16, 0)
        phi = correlations(expansion.functions, expansion.orbits, h.lattice, occ)
        eci = np.array([o.eci for o in expansion.orbits])
        np.testing.assert_allclose(phi @ eci, h.energy(occ) / h.n_sites, atol=1e-12)
        moved = correlations(expansion.functions, expansion.orbits, h.lattice, occ[:, h.lattice.point_operations[-1]])
        np.testing.assert_allclose(moved, phi, atol=1e-12)
    with pytest.raises(AssertionError):  # negative control: an ECI put onto the next orbit
        h = expansion.on(CASES[name][3])
        occ = h.random(16, 0)
        phi = correlations(expansion.functions, expansion.orbits, h.lattice, occ)
        np.testing.assert_allclose(phi @ np.roll(eci, 1), h.energy(occ) / h.n_sites, atol=1e-12)


def test_every_expansion_holds_together():
    check_hamiltonian(random_expansion("ternary").on((2, 1, 2)), n=4)
    check_hamiltonian(random_expansion("two sublattices").on((1, 1, 2)), n=4)


def test_the_orbits_of_a_binary_are_those_of_clease(tmp_path):
    """CLEASE tells clusters apart by their distances alone, and gives every sublattice every function: beyond fcc binaries lists differ."""
    atoms, species, cutoffs, _ = CASES["binary"]
    settings = CEBulk(
        Concentration([species]), "fcc", a=3.8, max_cluster_dia=list(cutoffs), db_name=str(tmp_path / "x.db")
    )
    orbits = decorated_orbits(primitive_from_atoms(atoms, species), cutoffs)[1]
    assert [sum(o.order == n for o in orbits) for n in range(5)] == [
        sum(cf.startswith(f"c{n}") for cf in settings.all_cf_names) for n in range(5)
    ]


def test_orbits_by_hand():
    """hcp: the triangles over tetrahedral and over octahedral holes differ. Ternary fcc: the bent triplet has six ways to hold two functions."""
    names = [o.name for o in random_expansion("hcp").orbits]
    assert sum(n.startswith("triplet") for n in names) == 4
    names = [o.name for o in random_expansion("ternary").orbits]
    assert len(set(names)) == len(names) and sum(n.startswith("triplet 2") for n in names) == 6


@pytest.mark.parametrize("m", [2, 3, 4, 5])
def test_site_functions_are_orthonormal(m):
    primitive = primitive_from_atoms(bulk("Cu"), ["Cu", "Au", "Pd", "Pt", "Ag"][:m])
    values = np.vstack([np.ones(m), site_functions(primitive)[0]])
    np.testing.assert_allclose(values @ values.T / m, np.eye(m), atol=1e-12)


def test_correlations_of_a_random_alloy_vanish():
    expansion = random_expansion("ternary")
    lattice = Lattice(expansion.primitive, (6, 6, 6))
    occ = np.random.default_rng(0).integers(0, 3, (4, lattice.n_sites))
    phi = correlations(expansion.functions, expansion.orbits, lattice, occ)
    assert np.abs(phi[:, 1:]).max() < 0.2 and (phi[:, 0] == 1).all()
