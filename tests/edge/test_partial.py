"""Structures with partial occupancies in, configurations with these numbers of atoms out."""

import re

import numpy as np
import pytest
from pymatgen.core import Lattice as PymatgenLattice
from pymatgen.core import Structure
from pymatgen.io.cif import CifWriter
from small_systems import cuau_16

import alloygen
from alloygen import MonteCarlo, Neural
from alloygen.edge.partial import partial_from
from alloygen.errors import AlloygenError, BadCondition, LatticeMismatch, UnknownSpecies
from alloygen.testing.systems import random_expansion

CELL = 1.9 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]])
QUICK = MonteCarlo(method="metropolis", check=False, copies=1, sweeps=2, burn=5)


def alloy(gold=0.25):
    return Structure(CELL, [{"Cu": 1 - gold, "Au": gold}], [[0, 0, 0]])


def salt():
    """Two sublattices, Li or nothing and Mn or Ti, with oxygen beside them."""
    basis = [[0, 0, 0], [0.5, 0.5, 0.5], [0.25, 0.25, 0.25]]
    return random_expansion(4.0 * np.diag([1.0, 1.1, 1.25]), basis, [("Li", "X"), ("Mn", "Ti"), ("O",)], 5)


def salt_structure(li=0.5, ti=0.25):
    h = salt()
    return Structure(h.primitive.cell, [{"Li": li}, {"Mn": 1 - ti, "Ti": ti}, "O"], h.primitive.basis)


@pytest.mark.slow
def test_configurations_of_an_alloy_follow_the_law():
    """F and energy of CuAu at x = 1/4 against enumeration, by the same door."""
    ens = alloygen.order(alloy(), T=700, n=300, supercell=(2, 2, 4), sampler=Neural(model="cuau"))
    e = cuau_16()
    rows, kT = e.occ.sum(1) == 4, 8.617333262e-5 * 700
    p = np.exp(-(e.energy[rows] - e.energy[rows].min()) / kT)
    assert abs(ens.mean_energy().value - (p * e.energy[rows]).sum() / p.sum() / 16) < 4 * ens.mean_energy().stderr
    exact = (e.energy[rows].min() - kT * np.log(p.sum())) / 16
    assert abs(ens.free_energy().value - exact) < 4 * ens.free_energy().stderr
    assert {a.get_chemical_formula() for a in ens.resample(10).atoms} == {"Au4Cu12"}


def test_from_a_cif(tmp_path):
    """The same from a file, its conventional cell and two decimals; species with charges."""
    path = tmp_path / "alloy.cif"
    charged = Structure(CELL, [{"Cu+": 0.67, "Au+": 0.33}], [[0, 0, 0]])
    CifWriter(charged).write_file(path)
    ens = alloygen.order(path, T=700, n=4, supercell=(3, 3, 2), sampler=QUICK)
    assert {a.get_chemical_formula() for a in ens.atoms} == {"Au6Cu12"}


def test_vacancies_and_a_sublattice_of_one_species(tmp_path):
    """A site that lacks something holds a vacancy; POSCARs leave vacancies out."""
    ens = alloygen.order(salt_structure(), T=2000, n=40, supercell=(2, 2, 1), hamiltonian=salt(), sampler=QUICK)
    names = np.array([a.get_chemical_symbols() for a in ens.atoms])
    for element, n in (("Li", 2), ("X", 2), ("Mn", 3), ("Ti", 1), ("O", 4)):
        assert (np.sum(names == element, axis=1) == n).all()
    assert len(np.unique(ens.occ, axis=0)) > 5
    import ase.io

    folder = ens[:2].write(tmp_path / "out")
    first = ase.io.read(folder / "POSCAR_00000")
    assert len(first) == 10 and "X" not in first.get_chemical_symbols()


def test_the_smallest_supercell():
    found = partial_from(salt_structure(li=0.75, ti=0.5)).repeated(None)
    numbers = [sum(site.get(e, 0.0) for site in found.occupancy) for e in ("Li", "X", "Ti")]
    assert len(found.atoms) >= 16 and all(abs(x - round(x)) < 1e-9 for x in numbers)


def test_elements_of_sublattices_of_one_kind_are_counted_together():
    """hcp-like: 0.75 / 0.25 on two sublattices of the same elements is one number for both."""
    h = random_expansion(4 * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.45]], [("Cu", "Au"), ("Cu", "Au")], 1)
    given = Structure(h.primitive.cell, [{"Cu": 0.75, "Au": 0.25}, {"Cu": 0.25, "Au": 0.75}], h.primitive.basis)
    ens = alloygen.order(given, T=3000, n=60, supercell=(2, 2, 1), hamiltonian=h, sampler=QUICK)
    gold = ens.occ.sum(1)
    first = ens.occ[:, ens.hamiltonian.lattice.sublattice == 0].sum(1)
    assert (gold == 4).all() and len(set(first.tolist())) > 1


WRONG = {
    "above one": (lambda p: alloygen.order(over(p), T=600), AlloygenError, "site 0: 0.75 Cu + 0.75 Au"),
    "no whole number": (lambda p: alloygen.order(alloy(0.3), T=600, supercell=(2, 2, 2)), BadCondition, "the nearest are 6 Cu + 2 Au"),
    "another element": (
        lambda p: alloygen.order(Structure(CELL, [{"Cu": 0.5, "Ag": 0.5}], [[0, 0, 0]]), T=600),
        UnknownSpecies, "Ag",
    ),
    "a vacancy where there is none": (
        lambda p: alloygen.order(Structure(CELL, [{"Cu": 0.5, "Au": 0.25}], [[0, 0, 0]]), T=600, supercell=(2, 2, 1)),
        UnknownSpecies, "got occupancies of vacancies, which this alloy does not have",
    ),
    "no such file": (lambda p: alloygen.order(p / "none.cif", T=600), AlloygenError, "no file there"),
    "no supercell": (lambda p: alloygen.order(alloy(), T=600, supercell=(0, 1, 1)), LatticeMismatch, "three repeats"),
    "no temperature": (lambda p: alloygen.order(alloy(), T=0), AlloygenError, "temperature"),
    "sample takes none": (lambda p: alloygen.sample(alloy(), 600, {"Au": 0.0}), LatticeMismatch, "alloygen.order"),
}  # fmt: skip


def over(folder):
    path = folder / "over.cif"
    CifWriter(Structure(PymatgenLattice(CELL), [{"Cu": 0.75, "Au": 0.25}], [[0, 0, 0]])).write_file(path)
    text = path.read_text()
    assert text.count("0.25") >= 1
    path.write_text(re.sub(r"(Au\d?\s+Au\S*\s+.*)0\.25", r"\g<1>0.75", text))
    return path


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be(name, tmp_path):
    call, error, words = WRONG[name]
    with pytest.raises(error, match=re.escape(words)):
        call(tmp_path)


def test_even_draws_cover_all_orderings():
    """At a very high temperature every arrangement is met."""
    ens = alloygen.order(
        alloy(), T=1e6, n=600, supercell=(2, 2, 1), sampler=MonteCarlo(method="metropolis", check=False)
    )
    assert len(np.unique(ens.occ, axis=0)) == 4


@pytest.mark.parametrize("gone", [[], [1], [0, 4, 7, 9]])
def test_missing_atoms_are_vacancies(gone):
    """Rows of Li with some taken away: X put back in their places, in any supercell and at any length; elsewhere it stays an error."""
    h = salt().on((3, 2, 1))
    lattice = h.lattice
    occ = np.zeros(h.n_sites, dtype=int)
    lithium = np.flatnonzero(lattice.sublattice == 0)
    occ[lithium[[g % 6 for g in gone]]] = 1
    whole = alloygen.Problem.of(h).to_atoms(occ)
    whole.set_cell(1.07 * whole.cell, scale_atoms=True)
    whole.positions += 0.3
    given = whole[whole.numbers > 0]
    problem = alloygen.Problem.of(given, hamiltonian=salt())
    assert problem.hamiltonian.energy(problem.occ[None])[0] == pytest.approx(h.energy(occ[None])[0], abs=1e-9)
    found = problem.to_atoms(problem.occ)
    assert found.get_chemical_symbols().count("X") == len(set(g % 6 for g in gone))
    assert found.get_chemical_symbols()[: len(given)] == given.get_chemical_symbols()
    titanium = given.get_chemical_symbols().index("Mn")
    with pytest.raises(LatticeMismatch):  # this sublattice holds no vacancy
        alloygen.Problem.of(given[[i for i in range(len(given)) if i != titanium]], hamiltonian=salt())
