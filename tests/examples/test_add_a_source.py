"""Add a source of expansions: a table of pair couplings by shell. A source is a function that returns a ClusterExpansion.

``alloygen/hamiltonian/ising.py`` is the shortest that ships, ``clease.py`` the largest. The table has a line "shell,J" for each shell of
neighbours, in the energy unit per bond of

    E = sum_shells J_k sum_<ij>_k s_i s_j,        s = -1 for the first species, +1 for the second,

each bond once, as exchange parameters of first-principles codes are often given.
"""

import csv

import numpy as np
import pytest
import torch

from alloygen.errors import AlloygenError
from alloygen.hamiltonian.expansion import ClusterExpansion
from alloygen.hamiltonian.figures import Orbit
from alloygen.hamiltonian.ising import ising
from alloygen.lattice import Primitive
from alloygen.testing import check_hamiltonian


# ---------------------------------------------------------------------- the source
def from_pair_table(path, cell, species, name="pair table"):
    """A binary on one sublattice with the pair couplings of a CSV file with columns shell and J."""
    with open(path, newline="") as file:
        J = {int(row["shell"]): float(row["J"]) for row in csv.DictReader(file)}
    if not J or min(J) < 1 or len(species) != 2:
        raise AlloygenError(f"expected couplings of shells 1, 2, ... and two species, got {J} and {species}")
    reach = max(J) + 1  # cells along each axis, enough for the shells of a cell that is not too skewed
    offsets = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 3, indexing="ij"), -1).reshape(-1, 3)
    length = np.linalg.norm(offsets @ np.asarray(cell), axis=1).round(6)
    radius = np.unique(length)  # 0, then the shells
    orbits = []
    for shell, coupling in sorted(J.items()):
        ends = offsets[length == radius[shell]]
        ends = ends[[tuple(e) > (0, 0, 0) for e in ends.tolist()]]  # of a bond and its reverse only one
        members = np.zeros((len(ends), 2, 4), dtype=int)
        members[:, 1, :3] = ends
        orbits.append(Orbit(f"shell {shell}", coupling, members, np.zeros((len(ends), 2)), np.ones(len(ends))))
    primitive = Primitive(np.asarray(cell), np.zeros((1, 3)), (tuple(species),))
    return ClusterExpansion(primitive, np.array([[-1.0, 1.0]]), tuple(orbits), name=name)


# ---------------------------------------------------------------------- its tests
FCC = 0.5 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]])


@pytest.fixture
def table(tmp_path):
    (tmp_path / "J.csv").write_text("shell,J\n1,0.011\n2,-0.006\n3,0.001\n")
    return tmp_path / "J.csv"


def test_the_hamiltonian_holds_together(table):
    expansion = from_pair_table(table, 3.8 * FCC, ("Cu", "Au"))
    assert [len(o.weights) for o in expansion.orbits] == [6, 3, 12]  # half of the 12, 6, 24 neighbours on fcc
    check_hamiltonian(expansion.on((2, 2, 4)))
    with pytest.raises(AssertionError, match="point operations"):  # negative control: one bond left out
        o = expansion.orbits[0]
        short = Orbit(o.name, o.eci, o.members[1:], o.functions[1:], o.weights[1:])
        check_hamiltonian(ClusterExpansion(expansion.primitive, expansion.functions, (short,)).on((2, 2, 4)))


def test_known_energies(table):
    """All alike: 6 J1 + 3 J2 + 12 J3 an atom. One shell on a square: the Ising model that ships."""
    h = from_pair_table(table, FCC, ("A", "B")).on((3, 3, 3))
    assert float(h.energy(torch.zeros(1, 27).long())) == pytest.approx(27 * (6 * 0.011 - 3 * 0.006 + 12 * 0.001))
    table.write_text("shell,J\n1,-1\n")
    square = from_pair_table(table, np.diag([1.0, 1.0, 9.0]), ("-", "+")).on((4, 4, 1))
    occ = square.random(20, torch.Generator().manual_seed(0))
    torch.testing.assert_close(square.energy(occ), ising(4).energy(occ))


def test_a_table_of_nothing_is_refused(tmp_path):
    (tmp_path / "J.csv").write_text("shell,J\n")
    with pytest.raises(AlloygenError, match="expected couplings"):
        from_pair_table(tmp_path / "J.csv", FCC, ("A", "B"))
