"""Deep in a phase rare states carry the fluctuations: hot chains beside the samples show them, and where they would not, there are none."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_systems import cuau_16

from alloygen.estimate import thermo
from alloygen.montecarlo import companion as module
from alloygen.results.ensemble import Ensemble
from alloygen.results.provenance import Provenance


def drawn(T: float, mu: float, seed: int, n: int = 1000, among=None) -> Ensemble:
    """n samples of the exact law of CuAu 2x2x4 with their likelihood; ``among`` (65536,) restricts it."""
    table = cuau_16()
    p = table.at(table.hamiltonian.condition(T, [0.0, mu])).probabilities * (1.0 if among is None else among)
    p /= p.sum()
    rows = np.random.default_rng(seed).choice(len(p), size=n, p=p)
    occ, h = table.occ[rows], table.hamiltonian
    return Ensemble(h, occ, h.energy(occ), torch.log(torch.as_tensor(p[rows])), T, np.array([0.0, mu]), "exact", facts=Provenance(seed=seed))  # fmt: skip


def truths(ens: Ensemble, among=None) -> dict[str, float]:
    table = cuau_16()
    p = table.at(table.hamiltonian.condition(ens.T, ens.mu)).probabilities * (1.0 if among is None else among)
    p /= p.sum()
    var = lambda f: p @ f**2 - (p @ f) ** 2  # noqa: E731
    e, n = table.energy, table.counts[:, 1]
    return {
        "C": var(e - p @ e) * ens.hamiltonian.kB / ens.kT**2 / 16,
        "chi": var(n - p @ n) / ens.kT / 16,
        "E": p @ e / 16,
        "x": p @ n / 16,
        "S": -ens.hamiltonian.kB * p[p > 0] @ np.log(p[p > 0]) / 16,
    }


def z_scores(ens: Ensemble, among=None) -> dict[str, float]:
    got = {
        "C": ens.heat_capacity(),
        "chi": ens.susceptibility("Au"),
        "E": ens.mean_energy(),
        "x": ens.composition("Au"),
        "S": ens.entropy(),
    }
    return {k: (got[k].value - v) / got[k].stderr for k, v in truths(ens, among).items()}


COLD = [(400.0, -0.24), (200.0, -0.18), (500.0, -0.24), (200.0, 0.12)]


@pytest.mark.slow
def test_error_bars_deep_in_a_phase():
    """The old bars, those of the same samples by themselves, miss by tens of standard errors: the negative control."""
    z, old = [], []
    for T, mu in COLD:
        for seed in range(4):
            ens = drawn(T, mu, seed)
            assert ens.averages.beside is not None
            z.append(list(z_scores(ens).values()))
            h, exact = ens.hamiltonian, truths(ens)["C"]
            alone = thermo.heat_capacity(ens.energy, ens.kT, h.kB, 16, ens.log_weight, 1.0, ens.averages.quantum)  # fmt: skip
            old.append((alone.value - exact) / alone.stderr)
            assert ens.heat_capacity().stderr < 0.15 * exact
    z = np.array(z)
    assert (np.abs(z) < 4).all() and (np.sqrt((z[:, :4] ** 2).mean(0)) < 1.5).all() and z[:, :4].std() > 0.6
    assert np.abs(old).max() > 10 and np.mean(np.abs(old) > 4) > 0.3


def test_flips_of_four_kT_have_companions_too():
    """200 samples at 500 and 700 K, where a flip costs 4 kT: by themselves they miss pairs that carry a fifth of the heat capacity."""
    z = []
    for T, mu in ((500.0, 0.15), (700.0, -0.24)):
        for seed in range(3):
            ens = drawn(T, mu, seed, n=200)
            assert ens.averages.beside is not None
            z.append(list(z_scores(ens).values()))
    assert (np.abs(z) < 4).all() and 0.5 < np.std(z) < 1.4
    table, at, old = cuau_16(), cuau_16().at(cuau_16().hamiltonian.condition(500.0, [0.0, 0.15])), []
    kT, kB = table.hamiltonian.kB * 500.0, table.hamiltonian.kB
    for seed in range(100):
        e = np.random.default_rng(seed).choice(table.energy, size=200, p=at.probabilities)
        alone = thermo.heat_capacity(e, kT, kB, 16, np.zeros(200), 1.0, 0.02)
        old.append((alone.value - at.heat_capacity) / alone.stderr)
    assert np.std(old) > 1.8 and np.mean(np.abs(old) > 3) > 0.1


def test_one_cold_sample_set_against_enumeration():
    ens = drawn(400.0, -0.24, seed=2)
    z, exact = z_scores(ens), truths(ens)
    assert max(map(abs, z.values())) < 4 and ens.heat_capacity().note == ""
    assert (
        ens.heat_capacity().stderr < 0.1 * exact["C"]
    )  # 7.9e-8, of which one state of probability 2.5e-5 carries 42 %


def test_the_same_samples_have_the_same_companion():
    a, b = (drawn(400.0, -0.24, seed=3).heat_capacity() for _ in range(2))
    assert a == b != drawn(400.0, -0.24, seed=4).heat_capacity()


def test_held_sites_stay_as_they_are():
    """Two sites of gold in copper: the law is that of the rest, and the bars follow it."""
    table = cuau_16()
    among = (table.occ[:, :2] == 1).all(1).astype(float)
    known = np.where(np.arange(16) < 2, 1, -1)
    ens = replace(drawn(300.0, -0.3, 0, among=among), facts=Provenance(known=known, seed=0))
    held = ens.averages.beside.samples.values("held", lambda occ: (occ[:, :2] == 1).all(1).astype(float))
    assert held.min() == 1.0 and len(held) > 5000
    assert max(map(abs, z_scores(ens, among).values())) < 4
    free = replace(
        ens, facts=Provenance(seed=0)
    )  # the negative control: chains that move the held sites follow another law
    assert free.averages.beside is None or np.abs(z_scores(free, among)["C"]) > 4


@pytest.mark.parametrize("T, mu", [(1200.0, 0.0), (1200.0, 0.08), (1000.0, 0.07)])
def test_no_companion_away_from_the_cold(T, mu):
    assert drawn(T, mu, 0).averages.beside is None


def test_no_companion_for_samples_whose_law_is_not_known():
    ens = drawn(400.0, -0.24, 0)
    assert ens.averages.beside is not None
    others = [
        ens.reweighted(
            energy=ens.energy + 0.01 * ens.counts[:, 1]
        ),  # energies from elsewhere: chains would not know them
        ens.resample(seed=0),
        replace(ens, facts=Provenance(known=ens.occ[0])),
        ens[:10],
    ]
    assert [e.averages.beside for e in others] == [None] * 4


def test_a_second_phase_needs_round_trips(monkeypatch):
    """Samples in two minima: chains that never leave theirs would repeat the shares that they were given."""
    ens = drawn(300.0, -0.13, 0)
    args = (ens.hamiltonian, ens.occ, ens.weights, ens.condition, 0)
    assert module.companion(*args) is not None
    monkeypatch.setattr(module, "TRIPS", 10**9)
    assert module.companion(*args) is None
    alone = drawn(300.0, -0.24, 0)
    assert module.companion(alone.hamiltonian, alone.occ, alone.weights, alone.condition, 0) is not None
