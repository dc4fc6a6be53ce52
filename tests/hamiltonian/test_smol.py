"""smol's expansions from their JSON: energies of random structures that smol itself gave (``tests/benchmarks/make_sources.py``)."""

import json
from pathlib import Path

import numpy as np
import pytest

import alloygen
from alloygen.errors import AlloygenError
from alloygen.lattice import Lattice
from alloygen.testing import check_hamiltonian

CASES = json.loads((Path(__file__).parent / "data" / "smol.json").read_text())
LISTS = {
    "ternary": (("Cu", "Pd", "Au"),),
    "vacancies": (("Li", "Mn", "X"), ("O", "F")),
    "spectator": (("Mg", "Zn"), ("Mg", "Zn"), ("O",)),
}


def occupations(case: dict, lattice: Lattice) -> np.ndarray:
    out = np.zeros((len(case["structures"]), lattice.n_sites), dtype=int)
    for k, structure in enumerate(case["structures"]):
        for *x, label in structure["sites"]:
            gap = np.array(x) - lattice.primitive.basis
            b = int(np.abs(gap - np.rint(gap)).max(1).argmin())
            element = "X" if label == "vacancy" else label.rstrip("+-0123456789")
            i = lattice.index(np.rint(gap[b]).astype(int), b)
            out[k, i] = lattice.species[b].index(element)
    return out


@pytest.mark.parametrize("name", CASES)
def test_energies_are_those_of_smol(name):
    case = CASES[name]
    expansion = alloygen.from_smol(case["expansion"])
    assert expansion.primitive.species == LISTS[name]
    h = expansion.on(case["supercell"])
    occ = occupations(case, h.lattice)
    expected = np.array([s["energy"] for s in case["structures"]])
    np.testing.assert_allclose(h.energy(occ), expected, atol=1e-9)
    assert np.ptp(expected) > 1e-2
    with pytest.raises(AssertionError):  # negative control
        np.testing.assert_allclose(h.energy(np.roll(occ, 1, 0)), expected, atol=1e-9)


def test_the_hamiltonian_holds_together():
    check_hamiltonian(alloygen.from_smol(CASES["ternary"]["expansion"]).on((2, 2, 1)), n=4)


def test_every_way_to_give_one(tmp_path):
    class Saved:
        def as_dict(self):
            return {**CASES["ternary"]["expansion"], "coefs": np.array(CASES["ternary"]["expansion"]["coefs"])}

    (tmp_path / "one.json").write_text(json.dumps(CASES["ternary"]["expansion"]))
    (tmp_path / "work.json").write_text(json.dumps({"ClusterExpansion": CASES["ternary"]["expansion"]}))
    wanted = alloygen.from_smol(CASES["ternary"]["expansion"]).fingerprint
    for given in (Saved(), tmp_path / "one.json", str(tmp_path / "work.json")):
        assert alloygen.from_smol(given).fingerprint == wanted


def test_what_is_wrong_is_said(tmp_path):
    good = CASES["vacancies"]["expansion"]
    space = good["cluster_subspace"]
    (tmp_path / "broken.json").write_text("{")
    for given, match in [
        (tmp_path / "nowhere.json", "expected a JSON file with a smol ClusterExpansion"),
        (tmp_path / "broken.json", "expected a JSON file with a smol ClusterExpansion"),
        ({"a": 1}, "expected a smol ClusterExpansion"),
        ({**good, "coefs": good["coefs"][:-1]}, "finite coefficients, one for each"),
        ({**good, "coefs": [*good["coefs"][:-1], np.nan]}, "finite coefficients, one for each"),
        ({**good, "cluster_subspace": {**space, "@class": "PottsSubspace"}}, "expected a ClusterSubspace"),
        (
            {
                **good,
                "coefs": [*good["coefs"], 0.5],
                "cluster_subspace": {**space, "external_terms": [{"@class": "EwaldTerm"}]},
            },
            "external terms .EwaldTerm.",
        ),
    ]:
        with pytest.raises(AlloygenError, match=match):
            alloygen.from_smol(given)
    fine = {
        **good,
        "coefs": [*good["coefs"], 0.0],
        "cluster_subspace": {**space, "external_terms": [{"@class": "EwaldTerm"}]},
    }
    assert alloygen.from_smol(fine).fingerprint == alloygen.from_smol(good).fingerprint
