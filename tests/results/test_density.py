"""Densities of states: thermodynamics of an exact one, honest errors of few walkers, joints, counts of arrangements."""

import dataclasses

import numpy as np
import pytest

from alloygen.edge.problem import Problem
from alloygen.errors import AlloygenError
from alloygen.estimate.energy_walks import average, from_transitions, from_visits, join_windows
from alloygen.exact.enumeration import Enumeration
from alloygen.hamiltonian.ising import ising
from alloygen.montecarlo.single_moves import Flip
from alloygen.results.density import DensityOfStates, EachWalk, Ended, EnergyBins


def known(influence=None) -> DensityOfStates:
    """Ising 4x4 in a field, by enumeration; ``influence`` (walkers, blocks, bins) is that of blocks on log g."""
    h = ising(4, h=0.15)
    energy, states = np.unique(Enumeration(h).energy.round(9), return_counts=True)
    width, log_g = 0.1, np.log(states)
    mean, each = average(np.tile(log_g, (2, 1)), 16 * np.log(2))
    influence = np.zeros((2, 8, len(energy))) if influence is None else influence
    bins = np.round((energy - energy[0]) / width).astype(int)
    return DensityOfStates(
        problem=Problem.of(h), mu=np.zeros(2), move=Flip(), energy=energy, variance=np.zeros(len(energy)), log_g=mean, visits=states,
        bins=EnergyBins(width=width, origin=energy[0], levels=True, index=bins), log_states=16 * np.log(2),
        walks=EachWalk(log_g=each, influence=influence, joints=np.zeros((2, 0))),
        ended=Ended(attempts=1, log_f=1e-8, converged=True, note=""), occ=np.zeros(16, dtype=np.int8),
    )  # fmt: skip


def told(dos: DensityOfStates, influence: np.ndarray) -> DensityOfStates:
    """The same with other blocks."""
    return dataclasses.replace(dos, walks=dataclasses.replace(dos.walks, influence=influence))


def test_thermodynamics_of_an_exact_density():
    dos = known()
    for T in (1.2, 2.5, 6.0):
        truth = Enumeration(dos.hamiltonian).at(dos.hamiltonian.condition(T, [0.0, 0.0]))
        assert dos.phi(T).value == pytest.approx(truth.phi, abs=1e-12)
        assert dos.energy_mean(T).value == pytest.approx(truth.energy, abs=1e-12)
        assert dos.heat_capacity(T).value == pytest.approx(truth.heat_capacity, rel=1e-9)
    assert np.array_equal(dos.bins.of(dos.energy + 0.04), dos.bins.index)
    free = dataclasses.replace(dos, log_states=np.nan)
    with pytest.raises(AlloygenError, match="confined"):
        free.phi(2.0)
    unsettled = told(dos, dos.walks.influence[:, :0]).phi(2.0)
    assert np.isnan(unsettled.stderr) and "run longer" in unsettled.note
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


@pytest.mark.parametrize("walkers", [1, 4])
def test_blocks_of_walks_tell_the_error(walkers):
    """Blocks of visits under a bias that is off and moves: z of every bin and of averages, for one walker as well."""
    dos, rng = known(), np.random.default_rng(0)
    share, z = dos.log_g - dos.log_g.max(), []
    for _ in range(60):
        bias = share + 0.1 * rng.normal(size=(walkers * 32, 80))
        law = np.exp(share - bias)
        counts = np.array([rng.multinomial(4000, p / p.sum()) for p in law])
        log_g, influence = from_visits(counts, bias)
        log_g += 16 * np.log(2) - np.log(np.exp(log_g).sum())
        weight = np.exp(log_g - 16 * np.log(2))
        influence = (influence - (influence * weight).sum(-1, keepdims=True)).reshape(walkers, 32, 80)
        got = dataclasses.replace(told(dos, influence), log_g=log_g)
        z.append(
            [
                (f(got).value - f(dos).value) / f(got).stderr
                for f in (lambda d: d.phi(2.0), lambda d: d.heat_capacity(2.0))
            ]
        )
    z = np.array(z)
    assert 0.75 < z.std() < 1.25 and np.abs(z).max() < 4.5, (z.std(), np.abs(z).max())
    assert (2 * z).std() > 1.3  # control: bars half as long


def test_influences_of_windows_are_joined_as_their_curves():
    """The derivative of the joined curve by each window, and a bin of one window alone follows the offset."""
    rng = np.random.default_rng(0)
    curves = np.array([[0.0, 1.0, 2.0, np.nan], [np.nan, 3.5, 4.6, 5.5]])
    low, high, step = np.array([0, 1]), np.array([2, 3]), 1e-6
    moved = np.nan_to_num(rng.normal(size=(2, 4)) + 0 * curves)
    base, _, series = join_windows(curves, low, high, moved[:, None])
    there, _, _ = join_windows(curves + step * moved, low, high)
    np.testing.assert_allclose(series[0], (there - base) / step, atol=1e-6)


def test_windows_are_joined_where_they_overlap():
    curves = np.array([[0.0, 1.0, 2.0, np.nan], [np.nan, 3.5, 4.5, 5.5]])
    joined, rms, _ = join_windows(curves, np.array([0, 1]), np.array([2, 3]))
    np.testing.assert_allclose(joined, [0, 1, 2, 3])
    np.testing.assert_allclose(rms, 0, atol=1e-12)
    with pytest.raises(AlloygenError, match="windows 0 and 1 to share bins"):
        join_windows(np.array([[0.0, np.nan], [np.nan, 1.0]]), np.array([0, 1]), np.array([0, 1]))


def test_transitions_alone_give_log_g():
    """Exact counts of a small model, with a log g that knows nothing; and a control with up and down exchanged."""
    model = ising(3, h=0.15)
    e = Enumeration(model)
    level = np.round((e.energy - e.energy.min()) / 0.1).astype(int)
    up = np.round((model.site_energies(e.occ) - e.energy[:, None, None]) / 0.1)
    up = (up - np.take_along_axis(up, e.occ[..., None], 2)).sum(2).round().astype(int)
    assert level.max() < 400 and np.abs(up).max() <= 90
    leads = np.zeros((level.max() + 1, 181), dtype=np.int64)
    np.add.at(leads, (np.repeat(level, 9), 90 + up.ravel()), 1)
    states = np.bincount(level)
    blank = np.where(states > 0, 0.0, np.nan)
    got, _ = from_transitions(blank, leads)
    exact = np.where(states > 0, np.log(np.maximum(states, 1) / states[0]), np.nan)
    np.testing.assert_allclose(got, exact, atol=1e-4)
    assert np.nanmax(np.abs(from_transitions(blank, leads[:, ::-1])[0] - exact)) > 1
