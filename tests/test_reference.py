"""The Monte Carlo reference that ships for CuAu 4x4x8: whole, consistent with itself, and with a run of today's code."""

import numpy as np
import pytest
from scipy.special import gammaln

import alloygen
from alloygen.edge.problem import Problem
from alloygen.montecarlo.sampling import metropolis, replica_exchange
from alloygen.montecarlo.tempering import ladder

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data():
    return alloygen.data.cuau_reference()


@pytest.fixture(scope="module")
def h():
    return alloygen.data.cuau().on((4, 4, 8))


def test_it_is_of_the_expansion_that_ships(data, h):
    assert data.attrs["fingerprint"] == h.fingerprint and data.attrs["n_sites"] == 128
    T, dmu = alloygen.data.grids()["cuau"].pairs()
    np.testing.assert_allclose(data.condition_T, T)
    np.testing.assert_allclose(data.condition_dmu, dmu)
    assert float(data.free_energy_stderr.max()) < 1e-4


def test_the_pure_ends_and_their_neighbours_are_exact(data, h):
    """One configuration at the ends, 128 equal ones beside them."""
    kB, F = h.kB, data.free_energy.values.astype(float)
    np.testing.assert_allclose(F[:, [0, -1]], 0, atol=1e-8)
    single = float(h.change(*_pure(h))[0])
    np.testing.assert_allclose(128 * F[:, 1], single - kB * data["T"].values * np.log(128), atol=1e-4)


def _pure(h):
    import torch

    return torch.zeros(1, 128, dtype=torch.long), torch.tensor([0]), torch.tensor([1])


def test_the_hot_alloy_is_nearly_random(data, h):
    """At 1200 K F is between that of random mixing and the mean-field correction of its energy."""
    n = np.arange(129)
    ideal = -h.kB * 1200.0 * (gammaln(129) - gammaln(n + 1) - gammaln(129 - n)) / 128
    difference = data.free_energy.sel(T=1200.0).values - ideal
    assert np.abs(difference).max() < 0.02


def test_histograms_add_up_and_agree_with_the_means(data):
    n = np.arange(129) / 128
    np.testing.assert_allclose(data.composition_histogram.sum("n_Au"), 1, atol=1e-4)
    np.testing.assert_allclose(data.energy_histogram.sum("energy_bin"), 1, atol=1e-4)
    np.testing.assert_allclose(data.composition_histogram.values @ n, data.x_Au, atol=1e-4)
    middle = 0.5 * (data.energy_edge.values[1:] + data.energy_edge.values[:-1])
    np.testing.assert_allclose(data.energy_histogram.values @ middle, data.energy, atol=5e-4)


@pytest.mark.parametrize("T, dmu", [(1000.0, 0.06), (800.0, -0.12), (700.0, 0.12)])
def test_a_fresh_semigrand_run_agrees(data, h, T, dmu):
    scan = metropolis(h, h.condition([T], [0.0, dmu]), n=4000, sweeps=10, burn=100, seed=5, check=False)
    at = int(np.flatnonzero((data.condition_T.values == T) & np.isclose(data.condition_dmu.values, dmu))[0])
    x, e = scan[0].composition("Au"), scan[0].mean_energy()
    assert abs(x.value - float(data.x_Au[at])) < 4 * np.hypot(x.stderr, float(data.x_Au_stderr[at]))
    assert abs(e.value - float(data.energy[at])) < 4 * np.hypot(e.stderr, float(data.energy_stderr[at]))


def test_fresh_canonical_free_energies_agree(data, h):
    """F(N = 32, T) by swaps and MBAR up to T = infinity, another route than the metadynamics of the file."""
    occ = np.zeros(128, dtype=int)
    occ[:32] = 1
    T = [500.0, 800.0, 1200.0]
    rungs = ladder(Problem.of(h, occ=occ), h.grid(T), move="swap")
    scan = replica_exchange(Problem.of(h, occ=occ), h.grid(rungs), n=2000, move="swap", seed=3, check=False)
    for t in T:
        got, c = scan.free_energy(int(np.flatnonzero(scan.T == t)[0])), data.free_energy.sel(T=t, n_Au=32)
        error = np.hypot(got.stderr, float(data.free_energy_stderr.sel(T=t, n_Au=32)))
        assert abs(got.value - float(c)) < 4 * error < 8e-4
        wrong = data.free_energy.sel(T=t, n_Au=35)  # negative control: three atoms more
        assert abs(got.value - float(wrong)) > 4 * error
