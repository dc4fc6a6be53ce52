"""Densities of states: thermodynamics of an exact one, honest errors of few walkers, joints, counts of arrangements."""

import dataclasses

import numpy as np
import pytest

from alloygen.errors import AlloygenError
from alloygen.estimate.density import DensityOfStates, average, from_transitions, join_windows
from alloygen.exact.enumeration import Enumeration
from alloygen.hamiltonian.ising import ising


def known(curves=None) -> DensityOfStates:
    """Ising 4x4 in a field, by enumeration; ``curves`` (walkers, bins) are deviations of walkers from it."""
    h = ising(4, h=0.15)
    energy, states = np.unique(Enumeration(h).energy.round(9), return_counts=True)
    width, log_g = 0.1, np.log(states)
    mean, error, each = average(log_g + (np.zeros((2, len(energy))) if curves is None else curves), 16 * np.log(2))
    bins = np.round((energy - energy[0]) / width).astype(int)
    return DensityOfStates(
        hamiltonian=h, mu=np.zeros(2), move="flip", width=width, origin=energy[0], levels=True, bins=bins, energy=energy,
        variance=np.zeros(len(energy)), log_g=mean, log_g_stderr=error, walker_log_g=each, visits=states,
        log_states=16 * np.log(2), attempts=1, log_f=1e-8, converged=True, note="", joints=np.zeros((2, 0)),
        sites=np.arange(16), occ=np.zeros(16, dtype=np.int8),
    )  # fmt: skip


def test_thermodynamics_of_an_exact_density():
    dos = known()
    for T in (1.2, 2.5, 6.0):
        truth = Enumeration(dos.hamiltonian).at(T, [0.0, 0.0])
        assert dos.phi(T).value == pytest.approx(truth.phi, abs=1e-12)
        assert dos.energy_mean(T).value == pytest.approx(truth.energy, abs=1e-12)
        assert dos.heat_capacity(T).value == pytest.approx(truth.heat_capacity, rel=1e-9)
    assert np.array_equal(dos.bin(dos.energy + 0.04), dos.bins)
    free = dataclasses.replace(dos, log_states=np.nan)
    with pytest.raises(AlloygenError, match="confined"):
        free.phi(2.0)
    assert "one walker" in dataclasses.replace(dos, walker_log_g=dos.walker_log_g[:1]).phi(2.0).note
    assert "wide beside" in dataclasses.replace(dos, variance=dos.variance + 9.0).phi(2.0).note


def test_histogram_and_dataset():
    dos = known()
    energy, p = dos.energy_histogram(2.5)
    assert p.sum() == pytest.approx(1) and p @ energy / 16 == pytest.approx(dos.energy_mean(2.5).value)
    phi, s, u = dos.phi(2.5), dos.entropy(2.5), dos.energy_mean(2.5)
    assert phi.value == pytest.approx(u.value - 2.5 * s.value) and dos.log_z(2.5).value == pytest.approx(
        -phi.value * 16 / 2.5
    )
    step = 1e-3
    slope = (dos.energy_mean(2.5 + step).value - dos.energy_mean(2.5 - step).value) / (2 * step)
    assert dos.heat_capacity(2.5).value == pytest.approx(slope, rel=1e-5)
    data = dos.to_xarray()
    assert data.log_g.dims == ("bin",) and data.walker_log_g.shape == (2, len(energy)) and data.attrs["unit"] == "J"


@pytest.mark.parametrize("walkers", [4, 8, 20])
def test_few_walkers_have_honest_errors(walkers):
    """Walkers that are off at random: deviations have a standard deviation of 1; with the bare standard error, of more."""
    rng, exact = np.random.default_rng(0), -np.log(30_000)
    mean, error, _ = average(exact + 0.1 * rng.normal(size=(walkers, 30_000)), np.nan)
    z, bare = (mean - exact) / error, np.sqrt((walkers - 1) / (walkers - 3))
    assert 0.97 < z.std() < 1.03 or (walkers == 4 and 0.8 < z.std() < 1.2)  # t with 3 degrees of freedom: hard to tell
    assert (z * bare).std() > 1.04
    dos = known(0.01 * rng.normal(size=(walkers, 80)))
    each = [dataclasses.replace(dos, log_g=g).phi(2.5).value for g in dos.walker_log_g]
    assert dos.phi(2.5).stderr == pytest.approx(bare * np.std(each, ddof=1) / np.sqrt(walkers), rel=1e-9)


def test_windows_are_joined_where_they_overlap():
    curves = np.array([[0.0, 1.0, 2.0, np.nan], [np.nan, 3.5, 4.5, 5.5]])
    joined, rms = join_windows(curves, np.array([0, 1]), np.array([2, 3]))
    np.testing.assert_allclose(joined, [0, 1, 2, 3])
    np.testing.assert_allclose(rms, 0, atol=1e-12)
    with pytest.raises(AlloygenError, match="windows 0 and 1 to share bins"):
        join_windows(np.array([[0.0, np.nan], [np.nan, 1.0]]), np.array([0, 1]), np.array([0, 1]))


def test_transitions_alone_give_log_g():
    """Exact counts of a small model, with a log g that knows nothing; and a control with up and down exchanged."""
    model = ising(3, h=0.15)
    e = Enumeration(model)
    level = np.round((e.energy - e.energy.min()) / 0.1).astype(int)
    up = np.round((model.site_energies(e.occ).numpy() - e.energy[:, None, None]) / 0.1)
    up = (up - np.take_along_axis(up, e.occ.numpy()[..., None], 2)).sum(2).round().astype(int)
    assert level.max() < 400 and np.abs(up).max() <= 90
    leads = np.zeros((level.max() + 1, 181), dtype=np.int64)
    np.add.at(leads, (np.repeat(level, 9), 90 + up.ravel()), 1)
    states = np.bincount(level)
    blank = np.where(states > 0, 0.0, np.nan)
    got = from_transitions(blank, leads)
    exact = np.where(states > 0, np.log(np.maximum(states, 1) / states[0]), np.nan)
    np.testing.assert_allclose(got, exact, atol=1e-4)
    assert np.nanmax(np.abs(from_transitions(blank, leads[:, ::-1]) - exact)) > 1
