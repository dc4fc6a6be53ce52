"""icet's expansions: energies of random structures that icet itself gave (``tests/benchmarks/make_sources.py``).

The package is optional. Its objects are stood in for by what they said when the energies were made; where it is installed, it is asked itself.
"""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

import alloygen
from alloygen.errors import AlloygenError
from alloygen.lattice import Lattice
from alloygen.testing import check_hamiltonian

CASES = json.loads((Path(__file__).parent / "data" / "icet.json").read_text())
LISTS = {
    "ternary": (("Cu", "Pd", "Au"),),
    "four": (("Cu", "Pd", "Ag", "Au"),),
    "vacancies": (("X", "Li", "Mn"), ("O", "F")),
    "spectator": (("Mg", "Zn"), ("Mg", "Zn"), ("O",)),
}


class Orbits:
    """An orbit list as icet has it."""

    def __init__(self, orbits):
        self.orbits = orbits

    def __len__(self):
        return len(self.orbits)

    def get_orbit(self, k):
        site = lambda s: SimpleNamespace(unitcell_offset=np.array(s[:3]), index=s[3])  # noqa: E731
        return SimpleNamespace(
            clusters=[SimpleNamespace(lattice_sites=[site(s) for s in c]) for c in self.orbits[k]["clusters"]],
            cluster_vector_elements=self.orbits[k]["elements"],
        )


def stand_in(case: dict) -> SimpleNamespace:
    symbols = [names[0] for names in case["species"]]
    space = SimpleNamespace(
        primitive_structure=Atoms(symbols, cell=case["cell"], scaled_positions=case["basis"], pbc=True),
        chemical_symbols=case["species"],
        orbit_list=Orbits(case["orbits"]),
    )
    return SimpleNamespace(_cluster_space=space, parameters=np.array(case["parameters"]))


def occupations(case: dict, lattice: Lattice) -> np.ndarray:
    out = np.zeros((len(case["structures"]), lattice.n_sites), dtype=int)
    for k, structure in enumerate(case["structures"]):
        for *x, element in structure["sites"]:
            gap = np.array(x) - lattice.primitive.basis
            b = int(np.abs(gap - np.rint(gap)).max(1).argmin())
            out[k, lattice.index(np.rint(gap[b]).astype(int), b)] = lattice.species[b].index(element)
    return out


@pytest.mark.parametrize("name", CASES)
def test_energies_are_those_of_icet(name):
    case = CASES[name]
    expansion = alloygen.from_icet(stand_in(case))
    assert expansion.primitive.species == LISTS[name]
    h = expansion.on(case["supercell"])
    occ = occupations(case, h.lattice)
    expected = np.array([s["energy"] for s in case["structures"]])
    np.testing.assert_allclose(h.energy(occ), expected, atol=1e-9)
    assert np.ptp(expected) > 1e-2
    with pytest.raises(AssertionError):  # negative control
        np.testing.assert_allclose(h.energy(np.roll(occ, 1, 0)), expected, atol=1e-9)


def test_the_hamiltonian_holds_together():
    check_hamiltonian(alloygen.from_icet(stand_in(CASES["ternary"])).on((2, 2, 1)), n=4)


def test_what_is_wrong_is_said(tmp_path):
    case = stand_in(CASES["ternary"])
    with pytest.raises(AlloygenError, match="expected an icet ClusterExpansion or the path"):
        alloygen.from_icet({"parameters": [1.0]})
    short = SimpleNamespace(_cluster_space=case._cluster_space, parameters=case.parameters[:-1])
    with pytest.raises(AlloygenError, match="finite parameters, one for each element"):
        alloygen.from_icet(short)
    (tmp_path / "no.ce").write_text("nothing")
    with pytest.raises(AlloygenError, match=r"expected (icet to read its own file|a file that an icet)"):
        alloygen.from_icet(tmp_path / "no.ce")


def test_icet_itself(tmp_path):
    icet = pytest.importorskip("icet")
    space = icet.ClusterSpace(bulk("Cu", a=3.8), cutoffs=[4.0], chemical_symbols=["Cu", "Au", "Pd"])
    expansion = icet.ClusterExpansion(space, np.random.default_rng(0).normal(size=len(space)))
    expansion.write(str(tmp_path / "own.ce"))
    atoms = bulk("Cu", a=3.8).repeat(2)
    atoms.symbols[:3] = ["Au", "Pd", "Pd"]
    for given in (expansion, tmp_path / "own.ce"):
        problem = alloygen.Problem.of(atoms, hamiltonian=alloygen.from_icet(given))
        energy = float(problem.hamiltonian.energy(problem.occ[None])[0])
        assert energy == pytest.approx(expansion.predict(atoms) * 8, abs=1e-9)
