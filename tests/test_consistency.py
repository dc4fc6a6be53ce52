"""The loop of samples, energies and fits against enumeration with the calculator's own energies."""

import warnings

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

import alloygen
import alloygen.data
from alloygen.consistency import self_consistent
from alloygen.edge.computed import Recipe
from alloygen.errors import AlloygenError, NotConverged
from alloygen.exact.enumeration import Enumeration

ATOMS = bulk("Cu", a=3.8).repeat((1, 2, 2))


def test_it_ends_at_the_law_of_the_calculator():
    table = Enumeration(alloygen.data.cuau().on((1, 2, 2)))
    problem = alloygen.Problem.of(ATOMS, {"Au": 0.0})
    energy = np.array([Recipe(calculator=EMT()).of(problem.to_atoms(occ)).energy for occ in table.occ])
    off = np.linalg.solve(table.counts[[0, -1]], energy[[0, -1]] - table.energy[[0, -1]])
    calls = []

    def counted(atoms):
        calls.append(atoms.get_chemical_formula())
        atoms.calc = EMT()
        return atoms.get_potential_energy()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = self_consistent(
            ATOMS, counted, T=1500, mu={"Au": [0.0, 0.1]}, hamiltonian="cuau", n=200, cutoffs=(2.8,), method="bayes"
        )
    assert found.converged and 2 <= len(found.rounds) <= 4
    assert len(calls) == len({s.hash for r in found.rounds for x in r.relabelled for s in x.structures}) <= 6
    last = found.rounds[-1]
    for c, phi in enumerate(last.calculator):
        at = table.hamiltonian.condition(1500.0, last.scan.mu[c])
        exact = table.with_energies(energy - table.counts @ off).at(at).phi
        assert abs(phi.value - exact) < 4 * phi.stderr < 0.01
        assert abs(found.rounds[0].phi[c].value - exact) > 2 * phi.stderr  # where it began was somewhere else
    assert len(found.to_pandas()) == 2 * len(found.rounds) and found.expansion.fitted is not None


def test_it_says_where_it_does_not_end():
    with pytest.warns(NotConverged, match="after 1 rounds"):
        found = self_consistent(ATOMS, EMT(), T=1500, mu={"Au": 0.0}, hamiltonian="cuau", n=20, rounds=1, select=3)
    assert not found.converged and len(found.rounds[0].relabelled[0].source) <= 3
    with pytest.raises(AlloygenError, match="rounds"):
        self_consistent(ATOMS, EMT(), T=1500, mu={"Au": 0.0}, hamiltonian="cuau", rounds=0)
