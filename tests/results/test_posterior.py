"""Bands of a phase diagram from draws of the ECIs: each draw against enumeration, and what cannot be reached is said."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from small_systems import cuau_16, hamiltonian
from test_reweighting import figures, law, off

import alloygen
import alloygen.data
from alloygen.errors import AlloygenError, LowSampleSize
from alloygen.hamiltonian.fitted import Fitted
from alloygen.results.posterior import PosteriorBands
from alloygen.results.scan import Scan

T = np.array([500.0, 600.0, 700.0, 800.0, 900.0])
DRAWS = np.array([off(0.05, seed) for seed in range(12)])


@cache
def scan() -> Scan:
    """Exact draws of CuAu on 16 sites over its compositions."""
    table, rng = cuau_16(), np.random.default_rng(0)
    at = [(t, np.array([0.0, m])) for t in T for m in (-0.15, -0.05, 0.02, 0.06, 0.12)]
    laws = [law(alloygen.data.cuau().ecis, t, mu)[0] for t, mu in at]
    rows = np.array([rng.choice(len(p), 250, p=p) for p in laws])
    log_prob = np.log([p[r] for p, r in zip(laws, rows, strict=True)])
    return Scan(
        table.hamiltonian,
        np.array([t for t, _ in at]),
        np.array([m for _, m in at]),
        table.occ[rows],
        table.energy[rows],
        log_prob=log_prob,
    )


@cache
def bands() -> PosteriorBands:
    return scan().posterior(DRAWS, T=T)


def canonical(ecis: np.ndarray, t: float) -> np.ndarray:
    """F (17,) per site at each number of atoms, written out."""
    energy, n = 16 * figures() @ ecis, np.rint(np.asarray(cuau_16().counts)[:, 1]).astype(int)
    kT = cuau_16().hamiltonian.kB * t
    w = np.bincount(n, np.exp(-(energy - energy.min()) / kT))
    return (energy.min() - kT * np.log(w)) / 16


def test_each_draw_has_the_free_energies_of_enumeration():
    found, ecis = bands(), alloygen.data.cuau().ecis
    moved = found.table["free_energy_replica"].values
    assert moved.shape == (5, 12, 17) and set(found.draws["how"]) == {"reweighted"}
    for t in (0, 2, 4):
        exact = np.array([canonical(row, T[t]) for row in DRAWS])
        before, error = canonical(ecis, T[t]), found.diagram.table["free_energy_stderr"].values[t]
        miss = (moved[t] - found.diagram.f[t]) - (exact - before)
        assert np.abs(miss / np.maximum(error, 1e-7)).max() < 2.5  # what both have of the samples drops out
        assert np.abs(exact - before).max() > 10 * np.abs(miss).max()  # the old law is no draw's
        spread = found.free_energy["free_energy_fit"].values[t]
        assert spread == pytest.approx(exact.std(0, ddof=1), rel=0.1, abs=1e-6)
    row = found.phi.iloc[7]
    exact = np.std([law(j, row["T"], np.array([0.0, row["mu_Au"]]))[1] for j in DRAWS], ddof=1)
    assert row["phi_fit"] == pytest.approx(exact, rel=0.1) and row["phi_fit"] > 3 * row["phi_stderr"]


def test_bands_carry_both_error_bars_and_are_drawn():
    found = bands()
    regions = found.regions
    assert len(regions) == len(found.diagram.regions) and (regions["mu_low"] <= regions["mu_high"]).all()
    cold = regions[regions["T"] == 500.0].iloc[1]
    assert (
        cold["mu_low"] - 1e-3 < cold["mu"] < cold["mu_high"] + 1e-3
        and cold["mu_fit"] > cold["mu_stderr"]
        and 0 <= cold["support_fit"] <= 1
    )
    assert {"T_fit", "T_low", "T_high"} <= set(found.transitions) and {"T_fit", "support_fit"} <= set(found.invariants)
    ends = found.free_energy["mixing_fit"].values[:, [0, -1]]
    assert np.allclose(ends, 0) and (found.free_energy["mixing_fit"].values[:, 8] > 0).all()
    import matplotlib.pyplot as plt

    for kind in ("T-x", "T-mu", "F-x"):
        plt.close(found.plot(kind).figure)
    with pytest.raises(AlloygenError, match="kind"):
        found.plot("x")


def test_draws_come_from_the_fit_that_an_expansion_remembers():
    alloy, h = alloygen.data.cuau(), scan().hamiltonian
    k = len(alloy.ecis)
    fitted = Fitted(
        names=[o.name for o in alloy.orbits], mean=alloy.ecis, covariance=np.diag((0.02 * alloy.ecis) ** 2), noise=0.0, method="ols", cutoffs=(),
        cv={"ols": 0.0}, learning_curve=np.zeros((0, 2)), references={}, reference_kind="none", labels=("a",), matrices=(), occupations=(),
        correlations=np.zeros((1, k)), energies=[0.0], strain=[0.0], displacement=[0.0],
    )  # fmt: skip
    s = scan()
    own = Scan(type(h)(replace(alloy, fitted=fitted), h.lattice), s.T, s.mu, s.occ, s.energy, log_prob=s.log_prob)
    found = own.posterior(n=4, T=[600.0, 700.0], seed=3)
    by_hand = s.posterior([alloy.with_ecis(row) for row in fitted.draws(4, 3)], T=[600.0, 700.0])
    assert (
        np.allclose(found.table["free_energy_replica"], by_hand.table["free_energy_replica"]) and len(found.draws) == 4
    )


def test_draws_out_of_reach_are_left_out_and_counted():
    far = np.concatenate([DRAWS[:4], [off(3.0, 1)]])
    with pytest.warns(LowSampleSize, match="1 of 5 draws of the ECIs were left out.*then=alloygen.Anneal"):
        found = scan().posterior(far, T=[500.0, 900.0])
    assert found.draws["how"].tolist() == ["reweighted"] * 4 + ["left out"] and found.table.sizes["replica"] == 4
    with pytest.raises(AlloygenError, match="expected at least 3 draws that the samples of the scan reach, got 0 of 3"):
        scan().posterior(np.array([off(3.0, 1)] * 3), T=[500.0, 900.0])


def test_draws_out_of_reach_are_annealed():
    s, far, lost = scan(), off(0.8, 103), off(1.2, 111)
    part, draws, T = s.subset(np.flatnonzero(np.isin(s.T, (500.0, 900.0)))), [*DRAWS[:3], far, lost], [500.0, 900.0]
    with pytest.warns(LowSampleSize, match="2 of 5"):
        assert part.posterior(np.array(draws), T=T).draws["how"].tolist()[3:] == ["left out"] * 2
    with pytest.warns(
        LowSampleSize, match="1 of 5 draws.*or conditions of more mu"
    ):  # compositions that no sample has now
        found = part.posterior(np.array(draws), T=T, then=alloygen.Anneal(effort=0.02))
    assert found.draws["how"].tolist() == ["reweighted"] * 3 + ["annealed", "left out"]
    assert found.draws["effective_samples"][3] > 10 and found.draws["effective_samples"][4] == 0
    for t, before in enumerate(canonical(alloygen.data.cuau().ecis, t) for t in T):
        exact = canonical(far, T[t])
        error = np.abs(found.table["free_energy_replica"].values[t, 3] - exact)
        assert np.median(error) < 1e-3 and error.max() < 0.3 * np.abs(exact - before).max()


def test_draws_that_cannot_be_are_refused():
    with pytest.raises(AlloygenError, match="remembers its fit"):
        scan().posterior()
    with pytest.raises(AlloygenError, match=r"finite ECIs \(draws, 11\)"):
        scan().posterior(DRAWS[:, :5])
    with pytest.raises(AlloygenError, match="at least 3 draws"):
        scan().posterior(DRAWS[:2])
    h = hamiltonian("ternary")
    occ = h.random(8, 0)
    mu = np.array([[0, -0.1, 0.0], [0, 0.1, 0.0], [0, 0.0, 0.1], [0, 0, -0.1]])
    many = Scan(
        h,
        np.full(4, 900.0),
        mu,
        np.stack([occ] * 4),
        np.stack([h.energy(occ)] * 4),
        log_prob=np.full((4, 8), -6 * np.log(3)),
    )
    with pytest.raises(AlloygenError, match="expected a binary for bands"):
        many.posterior([h.expansion] * 3)
