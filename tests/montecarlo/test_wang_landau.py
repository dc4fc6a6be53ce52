"""Wang-Landau against enumeration, with controls that must fail the same checks."""

import dataclasses

import numpy as np
import pytest
import torch
from densities import deviations, grand, run, same, truth
from small_systems import cuau_16, enumeration

from alloygen.edge.problem import Problem
from alloygen.errors import AlloygenError
from alloygen.exact.enumeration import Enumeration
from alloygen.hamiltonian.ising import ising
from alloygen.montecarlo.wang_landau import Bins, Schedule, multicanonical, wang_landau
from alloygen.testing import SYSTEMS, random_expansion
from alloygen.testing.systems import PAIR

LOPSIDED = ["cuau-skew", "ternary", "two-sublattice", "spectator", "many-body"]


@pytest.mark.parametrize("h, bins", [(0.0, 15), (0.15, 80)])
@pytest.mark.parametrize("schedule", ["halving", "1/t"])
def test_every_level_of_ising(h, bins, schedule):
    model = ising(4, h=h)
    dos = wang_landau(
        model, schedule=Schedule(kind=schedule, max_attempts=2e7, log_f_final=1e-6, flatness=0.9), walkers=4
    )
    levels, states = np.unique(Enumeration(model).energy.round(9), return_counts=True)
    assert len(levels) == bins  # with two gaps at h = 0, next to the ground states and the top
    np.testing.assert_allclose(dos.energy, levels, atol=1e-9)
    assert not dos.variance.any()
    np.testing.assert_allclose(dos.log_g, np.log(states), atol=0.15)
    assert np.exp(dos.log_g).sum() == pytest.approx(2**16, rel=1e-12)
    assert (
        np.abs((dos.log_g - np.log(states)) / dos.log_g_stderr).max() < 9
    )  # widened t with 3 degrees of freedom, 80 of them
    assert np.median(np.abs(dos.log_g - np.log(states))) < 0.03
    assert dos.ended.converged == ("max_attempts" not in dos.ended.note)


@pytest.mark.slow
@pytest.mark.parametrize("windows", [1, 2])
def test_log_g_from_transitions(windows):
    model = ising(4, h=0.15)
    schedule = Schedule(kind="1/t", max_attempts=2e7)
    bins = [Bins(windows=windows, transitions=t) for t in (False, True)]
    plain, dos = (wang_landau(model, bins=b, schedule=schedule, walkers=8) for b in bins)
    exact = np.log(np.unique(Enumeration(model).energy.round(9), return_counts=True)[1])
    assert np.abs((dos.log_g - exact) / dos.log_g_stderr).max() < 8  # widened t with 7 degrees of freedom, 80 of them
    assert np.sqrt(np.mean((dos.log_g - exact) ** 2)) < 0.8 * np.sqrt(np.mean((plain.log_g - exact) ** 2))
    assert np.array_equal(dos.visits, plain.visits)  # the walk is the same


@pytest.mark.parametrize("name", LOPSIDED)
def test_thermodynamics_of_lopsided_alloys(name):
    for k, mu in enumerate(SYSTEMS[name].mu):
        dos, energy = run(name, mu, seed=k), grand(name, mu)
        z = deviations(dos, energy, (250.0, 500.0, 900.0, 2000.0), ("phi", "energy_mean", "heat_capacity", "entropy"))
        assert np.abs(z).max() < 6, z  # widened t with 7 degrees of freedom
        exact = truth(energy, dos.hamiltonian.kB * 500, dos.hamiltonian.n_sites)["phi"]
        assert dos.phi(500.0).value == pytest.approx(exact, abs=2e-4)
        assert np.exp(dos.log_g).sum() == pytest.approx(len(energy))
        assert np.abs(deviations(dos, grand(name, -np.array(mu)), (500.0,))).max() > 15  # control: the sign of mu


def test_mean_energies_of_bins_are_used():
    """Bins as wide as kT: the centre of a bin would be far off, the mean and variance inside are not."""
    name, mu = "ternary", SYSTEMS["ternary"].mu[0]
    dos, energy = run(name, mu, width=0.03), grand(name, mu)
    assert np.abs(deviations(dos, energy, (500.0, 1000.0), ("phi",))).max() < 6
    centred = dataclasses.replace(
        dos, energy=dos.bins.origin + dos.bins.index * dos.bins.width, variance=0 * dos.variance
    )
    assert np.abs(deviations(centred, energy, (500.0, 1000.0), ("phi",))).max() > 10
    for k, b in enumerate(dos.bins.index):  # against the states themselves
        inside = energy[dos.bins.of(energy) == b]
        assert dos.energy[k] == pytest.approx(inside.mean(), abs=3e-3)
    assert set(dos.bins.index) == set(dos.bins.of(energy))


SHARED = random_expansion(np.eye(3), PAIR, [("A", "B"), ("B", "C", "A")], 7).on(
    (2, 2, 1)
)  # A and B may change sublattice
SWAPS = {
    "cuau-skew": 0b1011,
    "ternary": 100,
    "two-sublattice": 107,
    "spectator": 7,
    "shared": 700,
}  # a state to start from


@pytest.mark.slow
@pytest.mark.parametrize("name", SWAPS)
def test_swaps_against_the_states_of_one_composition(name):
    e, start = Enumeration(SHARED) if name == "shared" else enumeration(name), SWAPS[name]
    inside = (e.counts == e.counts[start]).all(1)
    assert inside.sum() > 15
    dos = wang_landau(
        Problem.of(e.hamiltonian, occ=e.occ[start]),
        schedule=Schedule(kind="1/t", max_attempts=2e6, check=1000),
        move="swap",
        walkers=8,
    )
    assert np.exp(dos.log_states) == pytest.approx(inside.sum())
    assert np.abs(deviations(dos, e.energy[inside], (250.0, 500.0, 2000.0))).max() < 6
    assert np.abs(deviations(dos, e.energy, (500.0,))).max() > 15  # control: all compositions
    assert (e.hamiltonian.counts(torch.as_tensor(multicanonical(dos, 50)[0]).long()).numpy() == e.counts[start]).all()


def test_windows_joined_are_one_window():
    h = ising(6)
    one, four = (
        wang_landau(h, bins=Bins(windows=w), schedule=Schedule(kind="1/t", max_attempts=2e7), walkers=4, seed=w)
        for w in (1, 4)
    )
    np.testing.assert_allclose(one.energy, four.energy)
    for T in (1.5, 2.3, 3.5):
        a, b = one.phi(T), four.phi(T)
        assert abs(a.value - b.value) < 6 * np.hypot(a.stderr, b.stderr) and abs(a.value - b.value) < 2e-3
    assert four.walks.joints.shape == (4, 3) and 0 < four.walks.joints.max() < 0.3


def test_confined_to_a_range_of_energies():
    name, mu = "cuau-skew", SYSTEMS["cuau-skew"].mu[1]
    energy = grand(name, mu)
    low, high = np.quantile(energy, [0.05, 0.95])
    dos = run(name, mu, energies=(low, high))
    bins = dos.bins.of(energy)
    inside = energy[(bins >= dos.bins.of(low)) & (bins <= dos.bins.of(high))]
    assert len(inside) < len(energy)
    assert np.abs(deviations(dos, inside, (300.0, 900.0), ("energy_mean",))).max() < 6
    assert np.abs(deviations(dos, energy, (300.0, 900.0), ("energy_mean",))).max() > 15  # control
    with pytest.raises(AlloygenError, match="confined"):
        dos.phi(300.0)
    with pytest.raises(AlloygenError, match="Widen them"):
        run(name, mu, energies=(100.0, 101.0))


def test_fixed_sites_stay_and_the_rest_is_exact():
    h = ising(4, h=0.15)
    e = Enumeration(h)
    fixed, start = [0, 3, 6, 13], torch.zeros(16, dtype=torch.long)
    start[[3, 13, 5]] = 1
    inside = (e.occ[:, fixed] == start[fixed].numpy()).all(1)
    dos = wang_landau(Problem.of(h, fixed=fixed, occ=start), schedule=Schedule(kind="1/t", max_attempts=4e6), walkers=8)
    levels, states = np.unique(e.energy[inside].round(9), return_counts=True)
    np.testing.assert_allclose(dos.energy, levels, atol=1e-9)
    np.testing.assert_allclose(dos.log_g, np.log(states), atol=0.2)
    occ, _, _ = multicanonical(dos, 200, sweeps=2)
    assert (occ[:, fixed] == start[fixed].numpy()).all() and len(np.unique(occ, axis=0)) > 100
    mask = np.isin(np.arange(16), fixed)
    kw = dict(schedule=Schedule(kind="1/t", max_attempts=1e5))
    assert same(
        wang_landau(Problem.of(h, fixed=mask, occ=start), **kw),
        wang_landau(Problem.of(h, fixed=fixed, occ=start), **kw),
    )


@pytest.mark.slow
def test_error_bars_are_calibrated():
    z = []
    for name, T, runs in (
        ("ising-3", (1.5, 4.0), 40),
        *((n, (300.0, 1500.0), 16) for n in ("cuau-2x2x2", "ternary", "spectator")),
    ):
        for seed in range(runs):
            mu = SYSTEMS[name].mu[seed % 2]
            z.append(deviations(run(name, mu, seed=seed, attempts=8e5), grand(name, mu), T, ("phi",)))
    z = np.array(
        z
    )  # 176 values of Student's t with 7 degrees of freedom, widened; two T share a run: 1, known to 9 per cent
    assert 0.8 < z.std() < 1.25 and abs(z.mean()) < 0.6, (z.std(), z.mean())


@pytest.mark.slow
@pytest.mark.parametrize("walkers", [1, 4])
def test_heat_capacities_of_few_walks_have_bars_that_hold(walkers):
    """CuAu 2x2x4 from 200 to 1200 K, one walk included; the spread of four walks alone gave deviations of 10 standard errors."""
    h, mu, T = cuau_16().hamiltonian, np.array([0.0, 0.02]), (200.0, 600.0, 1200.0)
    energy = np.asarray(cuau_16().energy) - np.asarray(cuau_16().counts) @ mu
    z = []
    for seed in range(8):
        dos = wang_landau(
            h,
            mu=mu,
            bins=Bins(width=2e-4),
            schedule=Schedule(max_attempts=4e6 * walkers, kind="1/t"),
            walkers=walkers,
            seed=seed,
        )
        assert (dos.log_g_stderr[dos.visits > 1000] > 0).all()
        z.append(deviations(dos, energy, T, ("phi", "heat_capacity")))
    z = np.array(z)  # 48 values of 8 runs
    assert 0.6 < z.std() < 1.45 and np.abs(z).max() < 4, (z.std(), np.abs(z).max())
    assert (3 * z).std() > 1.45  # control: bars a third as long
