"""A law of one's own alloy: ranges by themselves, any species and sublattices, kept where sample finds it."""

import json
import re
import sys
import warnings

import numpy as np
import pytest
from ase.build import bulk

import alloygen
from alloygen import cli, own_law
from alloygen.edge.atoms_map import AtomsMap
from alloygen.edge.problem import Problem
from alloygen.errors import AlloygenError, OtherAlloy, UnknownSpecies, UnusableModel
from alloygen.exact.enumeration import Enumeration
from alloygen.hamiltonian.parents import PARENTS
from alloygen.hamiltonian.scale import scale
from alloygen.registry import models_at_hand
from alloygen.testing import random_expansion

FCC = [[0, 1.9, 1.9], [1.9, 0, 1.9], [1.9, 1.9, 0]]


def ternary(seed: int = 2):
    return random_expansion(FCC, [[0, 0, 0]], [("Cu", "Au", "Pd")], seed=seed)


def salt(seed: int = 3):
    return random_expansion(FCC, [[0, 0, 0], [0.5, 0.5, 0.5]], [("Li", "Mn", "Ti"), ("O", "F")], seed=seed)


def spectator():
    return random_expansion(FCC, [[0, 0, 0], [0.5, 0.5, 0.5]], [("Li", "Mn"), ("O",)], seed=1)


@pytest.mark.parametrize("expansion", [ternary(), salt()], ids=["ternary", "salt"])
def test_mu_reaches_from_one_pure_alloy_to_the_other(expansion):
    """Even at the highest temperature of a training every species is rare at one end of its mu and prevails at the other."""
    h = expansion.on((2, 2, 1))
    own = scale(h)
    spans, T = own.beyond(own_law.MARGIN), own_law.TEMPERATURES[1] * own.T
    exact = Enumeration(h)
    for k, (low, high) in enumerate(spans, start=1):
        if low == high:  # the reference of its sublattice
            assert low == 0
            continue
        share = []
        for value in (low, high):
            mu = np.zeros(len(h.elements))
            mu[1:] = spans.mean(1)
            mu[k] = value
            p = exact.at(h.condition(T, mu)).probabilities
            site = (h.lattice.site_elements == k).any(1).sum()
            share.append(float(p @ exact.counts[:, k]) / site)
        assert share[0] < 0.2 and share[1] > 0.7, (h.elements[k], share)


def test_a_scale_knows_what_a_substitution_costs():
    """Of a ternary without interactions: what each species costs on its own, at every temperature alike."""
    from alloygen.hamiltonian.expansion import ClusterExpansion
    from alloygen.hamiltonian.figures import Orbit
    from alloygen.lattice import Primitive

    primitive = Primitive(np.array(FCC), np.zeros((1, 3)), (("Cu", "Au", "Pd"),))
    functions = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    points = tuple(Orbit(f"point {k}", e, [[(0, 0, 0, 0)]], [[k]], [1.0]) for k, e in enumerate((0.3, -0.2)))
    own = scale(ClusterExpansion(primitive, functions, points, name="ideal").on((2, 2, 2)))
    assert np.allclose(own.mu, [[0.3, 0.3], [-0.2, -0.2]], atol=1e-9) and own.T < 1e-6


def test_frustrated_alloys_order_far_below_their_scale():
    """fcc whose first neighbours repel their kind orders at kT = 1.74 J (Mackenzie and Young, J. Phys. C 14, 3927 (1981)), the Ising model at 2.27 J."""
    J = np.zeros(len(PARENTS["fcc"].figures))
    J[1] = 6 * 0.02  # six bonds a site, eV
    h, square = PARENTS["fcc"].expansion(J).on((4, 4, 4)), alloygen.ising(8)
    known = 1.74 * 0.02 / h.kB
    assert scale(h).T > 1.8 * known
    assert 0.7 * known < own_law._orders(h, scale(h), 0) < 1.3 * known
    assert 1.8 < own_law._orders(square, scale(square), 0) <= scale(square).T


def test_chemical_potentials_lie_where_the_composition_changes():
    """Below T_c that of the Ising model jumps at h = 0; above it changes smoothly, so half of the values are spread evenly still."""
    h = alloygen.ising(8)
    spans = np.array([[-6.0, 8.0]])
    cold, hot = (own_law._points(h, spans, np.array(T), 15, 0)[:, 0] for T in ([1.5, 2.0], [30.0, 40.0]))
    for mu in (cold, hot):
        assert mu[0] == -6 and mu[-1] == 8 and (np.diff(mu) > 0).all()
    assert (np.abs(cold) < 0.5).sum() >= 5 and np.diff(hot).max() < 1.5 and np.diff(cold).max() < 2.2


def test_several_chemical_potentials_are_scattered():
    """A product of 15 x 15 values is learned by heart: a ternary that was trained on it had NESS .97 on its points and .04 between them."""
    h, spans = ternary().on((2, 2, 1)), np.array([[-0.2, 0.2], [-0.3, 0.1]])
    plane = own_law._points(h, spans, np.array([500.0]), 64, 0)
    assert plane.shape == (64, 2) and all(len(np.unique(values)) == 64 for values in plane.T)
    assert np.allclose(plane.min(0), spans[:, 0]) and np.allclose(plane.max(0), spans[:, 1])


def test_a_law_is_measured_between_the_conditions_that_it_learned():
    h = alloygen.ising(4)
    data = {
        "T": np.geomspace(1.5, 6.0, 14).tolist(),
        "mu": own_law._points(h, np.array([[-6.0, 6.0]]), np.geomspace(1.5, 6.0, 14), 31, 0).tolist(),
    }
    between = own_law._between(h, data, 0)
    assert len(between) == 80 and between.n == own_law.MEASURES
    assert min(abs(t - u) for t in between.T for u in data["T"]) > 0.01
    assert min(abs(m - u) for m in between.mu[:, 1] for (u,) in data["mu"]) > 1e-4
    table = Enumeration(h)
    exact = [
        table.at(h.condition(t, m)).probabilities @ table.energy / h.n_sites
        for t, m in zip(between.T, between.mu, strict=True)
    ]
    found = [ens.mean_energy() for ens in between]
    z = [(f.value - e) / max(f.stderr, 1e-9) for f, e in zip(found, exact, strict=True)]
    assert np.mean(np.abs(z) < 3) > 0.95


@pytest.mark.parametrize(
    ("name", "sites", "expected"),
    [("fcc", 128, [4, 4, 8]), ("hcp", 64, [4, 4, 2]), ("square", 64, [8, 8, 1]), ("bcc", 1, [1, 1, 1])],
)
def test_cells_are_as_even_as_can_be(name, sites, expected):
    parent = PARENTS[name]
    found = own_law.repeats_for(parent.expansion(np.full(len(parent.figures), 0.01)), sites)
    assert sorted(found) == sorted(expected) and np.prod(found) * len(parent.primitive.basis) <= sites
    assert name != "square" or found == expected


def test_sites_that_stay_do_not_count():
    """A sublattice of one species makes no supercell smaller."""
    oxide = random_expansion(FCC, [[0, 0, 0], [0.5, 0.5, 0.5]], [("Li", "X"), ("O",)], seed=1)
    alone = random_expansion(FCC, [[0, 0, 0]], [("Li", "X")], seed=1)
    assert np.prod(own_law.repeats_for(oxide, 64)) == np.prod(own_law.repeats_for(alone, 64)) == 64


@pytest.fixture
def quick(tmp_path, monkeypatch):
    monkeypatch.setenv("ALLOYGEN_MODELS", str(tmp_path))
    monkeypatch.setattr(own_law, "SAMPLES", 4_000)
    monkeypatch.setattr(own_law, "LINE", (4, 7))
    monkeypatch.setattr(own_law, "SCATTERED", (4, 16))
    monkeypatch.setattr(own_law, "MEASURED", (2, 4))
    monkeypatch.setattr(own_law, "LOCAL", {**own_law.LOCAL, "width": 32, "window": 40})
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("expansion", [ternary(), salt()], ids=["ternary", "salt"])
def test_an_alloy_is_trained_without_a_configuration_and_found_by_sample(expansion, quick, monkeypatch):
    monkeypatch.setattr(own_law, "FRESH", own_law.FRESH | {"steps": 150})
    model = alloygen.train(expansion, cells=[(2, 2, 1)], progress=False)
    kept = [f"{model.name}.alloy.json", f"{model.name}.safetensors"]
    assert sorted(p.name for p in quick.iterdir() if p.is_file()) == kept and not list((quick / "runs").iterdir())
    h = expansion.on((2, 2, 1))
    own = scale(h)
    T, mu = 1.5 * own.T, dict(zip(h.elements[1:], own.mu.mean(1), strict=True))
    ens = alloygen.sample(h, T, mu, n=2000, seed=0)
    assert ens.method == "neural" and ens.info["model"] == model.name
    untrained = own_law.LocalModel(h, model.ranges, **model.config()).eval()
    assert ens.ness > alloygen.sample(h, T, mu, n=2000, seed=0, sampler=untrained).ness + 0.02
    phi, at = ens.free_energy(), h.condition(T, [0.0, *mu.values()])
    assert abs(phi.value - Enumeration(h).at(at).phi) < 5 * phi.stderr < 0.01
    other = alloygen.sample(expansion.on((2, 1, 3)), T, mu, n=50, seed=0)  # any supercell
    assert other.method == "neural" and other.info["model"] == model.name
    atoms = AtomsMap.of_lattice(h.lattice).to_atoms(np.zeros(h.n_sites, dtype=np.int8))
    again = alloygen.sample(atoms, T, mu, n=20, seed=0)  # which alloy, by its elements
    assert again.info["model"] == model.name and np.array_equal(again.occ, ens.occ[:20])
    row = models_at_hand().set_index("model").loc[model.name]
    assert row.supercell == "any" and 0 < row.NESS <= 1 and h.elements[1] in row.mu


def test_own_alloys_are_found_by_their_elements(tmp_path, monkeypatch):
    """The one with just these elements, else the one with more; several are asked about, and what ships goes first, with a word."""
    monkeypatch.setenv("ALLOYGEN_MODELS", str(tmp_path))
    pair = lambda *names, seed: random_expansion(FCC, [[0, 0, 0]], [names], seed=seed)  # noqa: E731
    cell = bulk("Cu", a=3.8).repeat((2, 2, 1))
    found = lambda *given, **how: Problem.of(cell, list(given), **how).hamiltonian.fingerprint  # noqa: E731
    with pytest.raises(UnknownSpecies, match=r"the elements ..Cu., .Pd.. in atoms"):
        found({"Pd": 0.0})
    own = {"big": ternary(), "mine": pair("Cu", "Ag", seed=4), "with holes": pair("Cu", "Ni", "X", seed=5)}
    for name, alloy in own.items():
        alloy.write(tmp_path / f"{name}.alloy.json")
    assert found({"Pd": 0.0}) == own["big"].fingerprint == found(None, {"Pd": 1, "Au": 1})
    assert found({"Ag": 0.0}) == own["mine"].fingerprint == found(None, hamiltonian="mine")
    assert found({"Ni": 0.0}) == own["with holes"].fingerprint
    with pytest.raises(
        UnknownSpecies, match=r"or of your own laws big, mine, with holes, got the elements ..Cu.. in atoms"
    ):
        found({})
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # one with more elements is no other alloy
        assert found({"Au": 0.0}) == alloygen.data.cuau().fingerprint
    pair("Cu", "Ag", seed=6).write(tmp_path / "second.alloy.json")
    with pytest.raises(UnknownSpecies, match=r"several laws of your own, mine, second.*hamiltonian='mine'"):
        found({"Ag": 0.0})
    pair("Cu", "Au", seed=7).write(tmp_path / "gold.alloy.json")
    with pytest.warns(OtherAlloy, match="not that of your own gold.*hamiltonian='gold'"):
        assert found({"Au": 0.0}) == alloygen.data.cuau().fingerprint
    (tmp_path / "big.alloy.json").write_text("{")
    with pytest.warns(UnusableModel, match="big.alloy.json"), pytest.raises(UnknownSpecies):
        found({"Pd": 0.0})


@pytest.mark.slow
def test_a_binary_of_a_known_lattice_is_polished_where_time_is_short(quick, monkeypatch, capsys):
    fcc = PARENTS["fcc"]
    alloy = fcc.expansion(np.linspace(0.02, 0.0, len(fcc.figures)), ("Ag", "Pd"), name="mine")
    monkeypatch.setattr(own_law, "POLISH", own_law.POLISH | {"lr": 1e-6, "steps": 2})
    law = alloygen.train(alloy.on((2, 2, 2)), minutes=1, progress=False)
    assert law.kind == "zero-shot" and law.lattice.n_sites == 8
    monkeypatch.setattr(own_law, "FRESH", own_law.FRESH | {"steps": 2})
    law = alloygen.train(alloy, minutes=10, cells=[(2, 2, 2)])
    told = capsys.readouterr().err
    assert law.kind == "local" and "of 600 s" in told and re.search("mine: NESS .* K, mu_Pd .*hamiltonian='mine'", told)
    assert repr(law).startswith("LocalModel('mine', Lattice(2x2x2 cells") and "\n" not in repr(law)
    elsewhere = own_law.Place(name="here", kept=quick / "other" / "here.safetensors", run=quick)
    assert elsewhere.words(law).endswith(f"hamiltonian=alloy, sampler={str(elsewhere.kept)!r})")


@pytest.mark.slow
def test_the_shell_trains_an_alloy_and_lists_it(quick, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(own_law, "FRESH", own_law.FRESH | {"steps": 2})
    monkeypatch.setattr(own_law, "SITES", (4,))
    file = tmp_path / "alloy.json"
    file.write_text(json.dumps(ternary().to_dict()))
    assert cli.main(["train", str(file), "--minutes", "5", "--name", "mine", "-q"]) == 0
    assert "mine.safetensors" in capsys.readouterr().out
    assert cli.main(["models"]) == 0
    listed = next(line for line in capsys.readouterr().out.splitlines() if "mine" in line)
    assert "random 2" in listed and "any" in listed
    assert cli.main(["train", "cuau", "--minutes", "5", "-q"]) == 2
    assert "expected --minutes" in capsys.readouterr().err


def test_a_name_is_not_taken_from_another_alloy(quick):
    fcc = PARENTS["fcc"]
    mine = fcc.expansion(np.full(len(fcc.figures), 0.01), name="cuau")
    assert own_law.Place.of(mine, None, None).name == f"cuau_{mine.fingerprint[:6]}"
    (quick / "alloy.safetensors").write_text("broken")
    assert own_law.Place.of(mine, "alloy", None).name == f"alloy_{mine.fingerprint[:6]}"
    assert own_law.Place.of(mine, "else", None).kept == quick / "else.safetensors"


BAD = {
    "nothing": (dict(), AlloygenError, "expected an alloy, or config=.*got none"),
    "both": (dict(alloy="cuau", config="cuau"), AlloygenError, "got both"),
    "a configuration as an alloy": (dict(alloy="data/cuau.toml"), AlloygenError, "give it as config="),
    "T": (dict(alloy="cuau", T=(900, 300)), AlloygenError, r"T as \(low, high\)"),
    "mu of another": (
        dict(alloy="cuau", mu={"Pd": (0, 1)}),
        UnknownSpecies,
        "mu of elements among Cu, Au, which sites may exchange, got mu of Pd",
    ),
    "one number": (dict(alloy="cuau", mu={"Au": 0.1}), AlloygenError, r"mu of Au as \(low, high\)"),
    "of the reference": (dict(alloy=ternary(), mu={"Cu": (0, 1)}), AlloygenError, "after the first"),
    "of what others are counted from": (
        dict(alloy=salt(), mu={"O": (0, 1)}),
        AlloygenError,
        r"\['O'\] share no sublattice with Li",
    ),
    "of what no site exchanges": (
        dict(alloy=spectator(), mu={"O": (0, 1)}),
        UnknownSpecies,
        "among Li, Mn, which sites may exchange",
    ),
    "bare mu of a ternary": (dict(alloy=ternary(), mu=(0, 1)), AlloygenError, "as {element"),
    "cells": (dict(alloy="cuau", cells=[(4, 4)]), AlloygenError, "expected cells as a list"),
    "no cells": (dict(alloy="cuau", cells=[]), AlloygenError, "expected cells as a list"),
    "minutes": (dict(alloy="cuau", minutes=0), AlloygenError, "minutes"),
    "an unknown file": (dict(alloy="nowhere.json"), AlloygenError, "expected a Hamiltonian"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_cannot_be_trained_is_said_before_work(what, quick):
    how, error, match = BAD[what]
    with pytest.raises(error, match=match):
        alloygen.train(**how, progress=False)
    assert not list(quick.iterdir())


@pytest.mark.slow
def test_a_script_without_a_guard_is_told_so(tmp_path):
    """Processes run a script anew."""
    import subprocess

    script = tmp_path / "script.py"
    script.write_text(
        "import alloygen\nfrom alloygen import own_law\nown_law.SAMPLES, own_law.LINE = 1000, (2, 3)\n"
        f"alloygen.train('cuau', cells=[(2, 2, 1)], workers=1, folder={str(tmp_path)!r}, progress=False)\n"
    )
    run = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert run.returncode and "if __name__ == '__main__':" in run.stderr.splitlines()[-1]


def test_a_problem_brings_its_cell(tmp_path, monkeypatch):
    h, seen = ternary().on((2, 1, 2)), {}

    def run(config, place, progress):
        seen.update(config)
        raise RuntimeError("enough")

    monkeypatch.setattr(own_law, "_run", run)
    with pytest.raises(RuntimeError, match="enough"):
        alloygen.train(Problem.of(h, {}), folder=tmp_path, progress=False)
    assert seen["system"]["repeats"] == [[2, 0, 0], [0, 1, 0], [0, 0, 2]] and seen["system"]["more"] == []
    assert len(seen["data"]["mu"]) == 512 and len(seen["data"]["T"]) == 10
