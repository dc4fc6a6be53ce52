"""Error bars of correlated chains against processes whose law is known, and against enumeration."""

import numpy as np
import pytest
from scipy.signal import lfilter

from alloygen.errors import AlloygenError
from alloygen.estimate import chains
from alloygen.exact.enumeration import Enumeration
from alloygen.hamiltonian.ising import ising
from alloygen.montecarlo.chains import Chains

OFF = np.array([0.0, 0.0, 0.0, 2.0])  # the last chain sits elsewhere


def autoregression(rng, phi, m, n):
    """Stationary x_t = phi x_{t-1} + noise of unit variance, (m, n): g = (1 + phi) / (1 - phi)."""
    noise = rng.normal(size=(m, n)) * np.sqrt(1 - phi**2)
    noise[:, 0] /= np.sqrt(1 - phi**2)
    return lfilter([1.0], [1.0, -phi], noise, axis=1)


def switching(rng, up, down, m, n):
    """Stationary two-state chains (m, n) of 0 and 1 with probabilities ``up`` 0 -> 1 and ``down`` 1 -> 0 per sample."""
    out = np.zeros((m, n))
    for row in out:
        state, t = int(rng.random() < up / (up + down)), 0
        while t < n:
            stay = rng.geometric(down if state else up)
            row[t : t + stay] = state
            t, state = t + stay, 1 - state
    return out


def naive(x):
    """The standard error of independent samples."""
    return x.std() / np.sqrt(x.size)


# ---------------------------------------------------------------------- inefficiency
@pytest.mark.parametrize("m", [1, 4])
@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9])
def test_inefficiency_of_an_autoregression(phi, m):
    rng = np.random.default_rng(1)
    x = autoregression(rng, phi, m, 40_000)
    assert chains.inefficiency(x) == pytest.approx((1 + phi) / (1 - phi), rel=0.15)
    assert chains.inefficiency(rng.permutation(x.ravel()).reshape(x.shape)) == pytest.approx(
        1.0, abs=0.15
    )  # shuffled: no memory left
    assert chains.effective_samples(x) == pytest.approx(x.size / chains.inefficiency(x))


def test_inefficiency_of_two_states():
    """rho_k = (1 - up - down)^k."""
    x = switching(np.random.default_rng(0), 0.05, 0.1, 4, 20_000)
    assert chains.inefficiency(x) == pytest.approx((2 - 0.15) / 0.15, rel=0.15)


def test_short_series_are_not_far_off():
    """Means of g over 200 runs of n = 200 with g = 3, 19: noisy, but with little bias."""
    for phi in (0.5, 0.9):
        g = [chains.inefficiency(autoregression(np.random.default_rng(k), phi, 1, 200)) for k in range(200)]
        assert np.mean(g) == pytest.approx((1 + phi) / (1 - phi), rel=0.2)


@pytest.mark.parametrize("offset, least", [(0.5, 50), (3.0, 500)])
def test_chains_that_differ_are_worth_little(offset, least):
    x = np.random.default_rng(0).normal(size=(4, 1000))
    assert chains.inefficiency(x) < 1.5
    x[3] += offset
    assert chains.inefficiency(x) > least
    scatter = x.mean(1).std(ddof=1) / 2
    assert chains.standard_error(x) == pytest.approx(scatter, rel=0.01)
    assert chains.error_of_visits(x) > 3 * scatter  # three degrees of freedom: Student, and one visit more


def test_constant_and_nearly_constant_series():
    assert chains.inefficiency(np.full(100, 0.1)) == 1.0
    assert chains.inefficiency(0.3 + 1e-16 * np.arange(100)) == 1.0
    assert chains.inefficiency([1.0, 2.0]) == 1.0
    assert chains.inefficiency(np.repeat([[0.0], [1.0]], 50, axis=1)) == pytest.approx(50)
    one = np.zeros(1000)
    one[500] = 1.0  # one visit in a thousand
    assert chains.inefficiency(one) < 1.1
    step = np.repeat([0.0, 1.0], 500)  # one change of phase
    assert chains.inefficiency(step) > 150


# ---------------------------------------------------------------------- error bars of means
AR = [(0.0, 1, 200), (0.5, 1, 200), (0.9, 1, 500), (0.9, 4, 200), (0.98, 8, 400)]
TWO = [(0.05, 0.1, 1, 2000), (0.01, 0.02, 4, 500), (0.01, 0.02, 1, 4000), (0.001, 0.002, 16, 1000), (0.01, 0.5, 4, 500)]


@pytest.mark.parametrize("case", AR + TWO, ids=str)
def test_means_are_calibrated(case):
    rng, process = np.random.default_rng(5), autoregression if len(case) == 3 else switching
    truth = 0.0 if len(case) == 3 else case[0] / (case[0] + case[1])
    z, ignorant = [], []
    for _ in range(300):
        x = process(rng, *case)
        e = chains.mean(x, quantum=0.0 if len(case) == 3 else 1.0)
        z.append((e.value - truth) / e.stderr)
        ignorant.append((e.value - truth) / naive(x))
    told = np.isfinite(z)
    z = np.array(z)[told]
    assert told.mean() > (0.5 if len(case) == 4 else 0.99)  # two states that were left fewer than 20 times have no bar
    assert (
        (0.5 if case == (0.9, 1, 500) else 0.7) < np.std(z) < 1.25
        and abs(np.mean(z)) < 0.3
        and np.mean(np.abs(z) > 3) < 0.02
    )
    if case[0] and case[:2] != (0.01, 0.5):
        assert np.std(ignorant) > 1.5


@pytest.mark.slow
def test_metropolis_chains_against_enumeration():
    """Energy and magnetisation of the 4 x 4 Ising model at 60 conditions, one sweep between samples."""
    h = ising(4, h=0.15)
    exact = Enumeration(h)
    T, field = (a.ravel() for a in np.meshgrid(np.linspace(2.2, 6.0, 12), [-0.5, -0.2, 0.1, 0.3, 0.6]))
    mu = np.column_stack([0 * field, field])
    run, energy, up = Chains(h, h.condition(T, mu), seed=1), [], []
    for _ in range(2200):
        run.step(1)
        occ, e = run.configurations()
        energy.append(e / 16)
        up.append(h.counts(occ)[:, 1] / 16)
    energy, up = np.stack(energy[200:], 1), np.stack(up[200:], 1)
    z, ignorant = [], []
    for c in range(len(T)):
        state = exact.at(exact.hamiltonian.condition(T[c], mu[c]))
        for x, truth, quantum in ((energy[c], state.energy, 0.25), (up[c], state.composition[1], 1 / 16)):
            x = x.reshape(2, -1) if c % 2 else x
            e = chains.mean(x, quantum=quantum)
            z.append((e.value - truth) / e.stderr)
            ignorant.append((e.value - truth) / naive(x))
    z = np.array(z)[
        np.isfinite(z)
    ]  # up and down last long where it is cold: without a bar if the field was left a few times only
    assert len(z) > 100 and 0.8 < np.std(z) < 1.25 and abs(np.mean(z)) < 0.3
    assert np.std(ignorant) > 1.5


def test_two_states_that_were_left_a_few_times_have_no_bar():
    """A state of weight 1/5 that lasts 100 samples: eight visits on average, and bars of the memory alone that miss by far."""
    rng, told, old = np.random.default_rng(3), [], []
    for _ in range(200):
        x = switching(rng, 0.0025, 0.01, 4, 1000) + 0.02 * rng.normal(size=(4, 1000))
        e = chains.mean(x)
        told.append(e.stderr)
        old.append((e.value - 0.2) / chains.standard_error(x))
    assert np.isnan(told).mean() > 0.5 and np.std(old) > 1.3
    assert "left" in chains.seldom(switching(rng, 0.0025, 0.01, 4, 1000))
    assert np.isfinite(chains.mean(switching(rng, 0.05, 0.1, 4, 1000)).stderr)  # short visits, and hundreds of them


def test_slow_behind_fast_noise():
    """A slow state moves the mean by little beside the noise of each sample: its memory is counted once its window is named."""
    rng, short, long = np.random.default_rng(4), [], []
    for _ in range(100):
        slow = switching(rng, 0.02, 0.02, 4, 500)
        x = slow + 1.5 * rng.normal(size=slow.shape)
        short.append((x.mean() - 0.5) / chains.standard_error(x))
        long.append((x.mean() - 0.5) / chains.mean(x, lag=chains.memory(slow).window).stderr)
    assert np.std(short) > 1.15 and 0.6 < np.std(long) < 1.15


def test_what_was_never_seen_has_an_error_bar():
    """State 1 has probability 3e-4: most runs of 1000 see none of it, and their error bars still cover the truth."""
    rng, z = np.random.default_rng(0), []
    for _ in range(300):
        e = chains.mean((rng.random(1000) < 3e-4) / 64, quantum=1 / 64)
        z.append((e.value - 3e-4 / 64) / e.stderr)
    assert np.max(np.abs(z)) < 3
    assert chains.mean(np.zeros(1000), quantum=1 / 64).stderr == pytest.approx(3 / 64 / 1000)
    assert chains.mean(np.zeros(1000), quantum=1 / 64, least=10.0).stderr == pytest.approx(30 / 64 / 1000)
    still = chains.mean(np.zeros(1000))
    assert np.isnan(still.stderr) and "never changed" in still.note


# ---------------------------------------------------------------------- R-hat
def test_split_rhat_by_hand():
    x = np.random.default_rng(0).normal(size=(3, 101))
    halves = np.concatenate([x[:, :50], x[:, 51:]])
    b, w = 50 * halves.mean(1).var(ddof=1), halves.var(1, ddof=1).mean()
    assert chains.split_rhat(x, rank=False) == pytest.approx(np.sqrt((49 / 50 * w + b / 50) / w))


def test_split_rhat_sees_what_differs():
    x = np.random.default_rng(0).normal(size=(4, 1000))
    assert chains.split_rhat(x) < 1.01
    assert chains.split_rhat(x + OFF[:, None]) > 1.1  # in the mean
    assert chains.split_rhat(x * [[1], [1], [1], [4]]) > 1.1 > chains.split_rhat(x * [[1], [1], [1], [4]], rank=False)
    assert chains.split_rhat(x[0] + np.linspace(0, 3, 1000)) > 1.1  # a drift of one chain
    heavy = np.random.default_rng(1).standard_cauchy((4, 1000))
    heavy[0] += 3  # hidden by the tails in the plain figure
    assert chains.split_rhat(heavy) > 1.1 > chains.split_rhat(heavy, rank=False)


def test_split_rhat_of_discrete_series():
    rng = np.random.default_rng(2)
    x = rng.integers(3, size=(4, 2000)).astype(float)
    assert chains.split_rhat(x) < 1.01
    assert chains.split_rhat(rng.permutation(x.ravel()).reshape(4, -1) * 7 + 1) < 1.01
    assert chains.split_rhat(np.ones((2, 10))) == 1.0
    assert chains.split_rhat(np.repeat([[0.0], [1.0]], 10, axis=1)) == np.inf
    assert np.isnan(chains.split_rhat([1.0, 2.0, 3.0]))


# ---------------------------------------------------------------------- equilibration and convergence
@pytest.mark.slow
def test_equilibration_drops_a_transient_and_little_else():
    rng, n = np.random.default_rng(0), 1000
    decay = 12 * np.exp(-np.arange(n) / 30)
    still = [chains.equilibration(autoregression(rng, 0.8, 2, n)) for _ in range(50)]
    moving = [chains.equilibration(autoregression(rng, 0.8, 2, n) + decay) for _ in range(50)]
    assert np.mean(still) < 0.05 * n
    assert 40 < np.min(moving) and np.mean(moving) < 150
    assert chains.equilibration(np.ones(100)) == 0 and chains.equilibration([1.0, 2.0]) == 0


def test_a_frozen_end_is_no_equilibrium():
    x = np.r_[np.random.default_rng(0).normal(size=500), np.zeros(500)]
    assert chains.equilibration(x) < 500


def test_convergence_names_the_fault():
    rng = np.random.default_rng(0)
    good = chains.convergence(autoregression(rng, 0.5, 4, 2000))
    assert good.converged and good.note == "" and good.effective_samples > 1000 and good.rhat < 1.02
    few = chains.convergence(rng.normal(size=60))
    assert not few.converged and "run about" in few.note
    apart = chains.convergence(rng.normal(size=(2, 1000)) + OFF[2:, None])
    assert not apart.converged and "R-hat" in apart.note and apart.effective_samples < 5
    drift = chains.convergence(np.r_[np.linspace(50, 0, 800), rng.normal(size=400)])
    assert not drift.converged and "still drift" in drift.note and drift.equilibration > 600
    still = chains.convergence(np.full((2, 500), 0.25))
    assert still.converged and "never changed" in still.note
    assert chains.convergence(rng.normal(size=60), min_effective=20, max_rhat=1.5).converged


@pytest.mark.parametrize(
    "bad, words", [([], "n >= 1"), (np.zeros((2, 2, 2)), "shape"), ([0.0, np.nan], "1 nan or inf")]
)
def test_bad_series(bad, words):
    for f in (chains.inefficiency, chains.split_rhat, chains.equilibration, chains.mean, chains.convergence):
        with pytest.raises(AlloygenError, match=words):
            f(bad)


def test_conditions_side_by_side_drop_what_one_of_them_needs_and_nothing_for_chance():
    """A slow start of one of 60 conditions is found; 60 still ones drop nothing, of which some alone would drop a third (negative control)."""
    rng, n = np.random.default_rng(11), 300
    still = np.stack([autoregression(rng, 0.7, 1, n) for _ in range(60)])
    alone = [chains.equilibration(x) for x in still]
    assert max(alone) > n / 3 and chains.common_equilibration(still) == 0
    still[41] += 8 * np.exp(-np.arange(n) / 15)
    assert 20 <= chains.common_equilibration(still) <= 120
    several = rng.normal(size=(3, 4, n))
    several[1, 2, :60] += 6
    assert 50 <= chains.common_equilibration(several) <= 120
    assert chains.common_equilibration(several[1:2]) == chains.equilibration(several[1])
    assert chains.common_equilibration(np.ones((5, 1, n))) == 0
