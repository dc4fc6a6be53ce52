"""Selections: weights that stand for the law, and what is chosen."""

from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk

import alloygen
import alloygen.data
from alloygen.edge.atoms_map import AtomsMap
from alloygen.errors import AlloygenError
from alloygen.exact.enumeration import Enumeration
from alloygen.results.choosing import by_weight
from alloygen.results.ensemble import Ensemble
from alloygen.results.scan import Scan

H = alloygen.data.cuau().on((2, 2, 2))
TABLE = Enumeration(H)


@pytest.fixture(scope="module")
def ens():
    p = TABLE.at(H.condition(900.0)).probabilities
    rows = np.random.default_rng(0).choice(len(p), 600, p=np.full(256, 1 / 256))
    return Ensemble(H, TABLE.occ[rows], TABLE.energy[rows], np.full(600, -np.log(256)), T=900.0)


def test_drawn_by_weight_is_unbiased():
    rng = np.random.default_rng(1)
    weight, values = rng.exponential(size=40) ** 2, rng.normal(size=40)
    truth = weight @ values / weight.sum()
    found = []
    for seed in range(400):
        rows, share = by_weight(weight, 12, seed)
        assert len(np.unique(rows)) == 12 and share.sum() == pytest.approx(1.0)
        found.append(share @ values[rows])
    error = np.std(found) / 20
    assert abs(np.mean(found) - truth) < 4 * error
    even = [values[by_weight(weight, 12, s)[0]].mean() for s in range(400)]  # without the weights it is off
    assert abs(np.mean(even) - truth) > 4 * np.std(even) / 20


def test_all_of_them_are_the_law(ens):
    chosen = ens.select(1000)
    exact = TABLE.at(H.condition(900.0))
    assert len(chosen) == len(chosen.manifest) <= 16
    assert chosen.ensemble.mean_energy().value == pytest.approx(ens.mean_energy().value, abs=1e-12)
    assert chosen.ensemble.free_energy() == ens.free_energy()
    assert abs(ens.mean_energy().value - exact.energy) < 4 * ens.mean_energy().stderr
    assert (chosen.manifest["samples"].sum(), chosen.manifest.weight.sum()) == (600, pytest.approx(1.0))
    assert chosen.manifest.multiplicity.sum() == 256


@pytest.mark.parametrize("how", ["weighted", "diverse", "low-energy"])
def test_selections(ens, how, tmp_path):
    chosen = ens.select(6, how)
    assert (
        len(chosen) == 6 and chosen.manifest.weight.sum() == pytest.approx(1.0) and (chosen.manifest.weight > 0).all()
    )
    assert np.array_equal(ens.occ[chosen.manifest["sample"]], chosen.ensemble.occ)
    assert chosen.ensemble.weights == pytest.approx(chosen.manifest.weight.to_numpy())
    if how == "low-energy":
        assert chosen.ensemble.energy.max() <= np.sort(np.unique(ens.energy.round(9)))[5] + 1e-6
    same = ens.select(6, how).manifest
    assert same.equals(chosen.manifest)


@pytest.mark.parametrize("how", ["weighted", "diverse", "low-energy"])
def test_structures_for_all_conditions_stand_for_each(how):
    """Weights of each condition: all structures are the law there; of a few averages are unbiased over seeds, and each is shared by conditions."""
    mus = np.array([[0.0, -0.05], [0.0, 0.05]])
    p = [TABLE.at(H.condition(1200.0, mu)).probabilities for mu in mus]
    rows = np.stack([np.random.default_rng(k).choice(256, 100, p=q) for k, q in enumerate(p)])
    log_q = np.stack([np.log(q[row]) for q, row in zip(p, rows, strict=True)])
    found = AtomsMap.of_lattice(H.lattice)
    scan = Scan(H, np.full(2, 1200.0), mus, TABLE.occ[rows], TABLE.energy[rows], log_prob=log_q, atoms_map=found)
    whole = [e.mean_energy().value for e in scan]
    everything = scan.select(100, how)
    assert [one.ensemble.mean_energy().value for one in everything.conditions] == pytest.approx(whole, abs=1e-12)
    few = [scan.select(7, how, seed) for seed in range(25 if how == "weighted" else 1)]
    for c in range(2):
        mine = few[0][c].ensemble
        assert mine.free_energy() == scan[c].free_energy() and np.array_equal(mine.mu, mus[c])
        assert np.allclose(mine.energy, H.energy(mine.occ)) and few[0][c].manifest.weight.sum() == pytest.approx(1.0)
        if how == "weighted":
            means = np.array([one[c].ensemble.mean_energy().value for one in few])
            assert (
                abs(means.mean() - whole[c]) < 4 * means.std() / np.sqrt(25) + 2e-4
            )  # weights are normalised: a bias of 1/n
    assert len(few[0]) == 7 == len(set(few[0].manifest.index)) < len(few[0].manifest)
    if how == "weighted":
        relabelled = few[0].relabel(lambda atoms: 0.1 * len(atoms))
        assert len(relabelled) == 2 and len([s for s in relabelled.structures if s.samples]) == 7
        with pytest.raises(AlloygenError, match="got a selection"):
            _ = relabelled.scan
        cold = replace(scan, T=np.array([1200.0, 10.0]))
        with pytest.raises(AlloygenError, match=r"got none of T = 10.*take more"):
            for seed in range(10):
                cold.select(1, how, seed)


def test_variance_needs_a_posterior_and_takes_what_is_most_open(ens):
    with pytest.raises(AlloygenError, match="knows how sure its ECIs are"):
        ens.select(3, "variance")
    cell = bulk("Cu", a=3.8)
    alloy = alloygen.fit(
        cell, ["Cu", "Au"], lambda a: 0.1 * len(a) * np.sin(a.numbers.sum()), cutoffs=(4.0,), method="bayes"
    )
    on = alloy.on((2, 2, 2))
    occ = TABLE.occ[np.random.default_rng(0).choice(256, 100)]
    own = Ensemble(on, occ, on.energy(occ), None, T=900.0)
    chosen = own.select(4, "variance")
    from alloygen.hamiltonian.clusters import correlations

    spread = lambda occ: alloy.fitted.predict(correlations(alloy.functions, alloy.orbits, on.lattice, occ))[1]  # noqa: E731
    assert spread(chosen.ensemble.occ).max() == pytest.approx(spread(occ).max())
    assert spread(chosen.ensemble.occ).mean() > spread(occ).mean()


def test_bad_arguments(ens):
    for n, how, told in ((0, "weighted", "whole number"), (3, "best", "expected how as one of")):
        with pytest.raises(AlloygenError, match=told):
            ens.select(n, how)


def test_files(tmp_path):
    ens = alloygen.sample(bulk("Cu", a=3.8).repeat((2, 2, 1)), T=900, mu={"Au": 0.0}, n=50, sampler="mc")
    ens.select(3).write(tmp_path / "chosen.extxyz")
    assert (tmp_path / "chosen.manifest.csv").read_text().startswith("hash,sample,formula,T,mu_Cu,mu_Au,energy,weight")
