"""Means and fluctuations: plain, weighted and correlated samples with known answers."""

import warnings

import numpy as np
import pytest

from alloygen.errors import AlloygenError, LowSampleSize
from alloygen.estimate import thermo


def spread(run, repeats=400):
    """Mean and standard deviation of z-scores; ``run(rng)`` gives (Estimate, truth)."""
    z = []
    for seed in range(repeats):
        estimate, truth = run(np.random.default_rng(seed))
        z.append((estimate.value - truth) / estimate.stderr)
    return abs(np.mean(z)), np.std(z)


def weighted(rng, n=1000):
    """x ~ N(0, 1) reweighted to N(0.3, 0.8^2)."""
    x = rng.normal(size=n)
    return x, -((x - 0.3) ** 2) / (2 * 0.64) + x**2 / 2


def chain(rng, rho=0.8, n=4000):
    noise = rng.normal(size=n) * np.sqrt(1 - rho**2)
    x = np.empty(n)
    x[0] = rng.normal()
    for i in range(1, n):
        x[i] = rho * x[i - 1] + noise[i]
    return x


def variance(x, log_w):
    return thermo.heat_capacity(x, 1.0, 1.0, 1, log_w)


CASES = {
    "plain mean": lambda rng: (thermo.mean(rng.exponential(size=500)), 1.0),
    "weighted mean": lambda rng: (thermo.mean(*weighted(rng)), 0.3),
    "plain variance": lambda rng: (thermo.heat_capacity(rng.normal(0, 2, 500), 0.5, 0.1, 8), 0.1 * 4 / 0.25 / 8),
    "weighted variance": lambda rng: (variance(*weighted(rng)), 0.64),
}


@pytest.mark.parametrize("name", CASES)
def test_error_bars_are_calibrated(name):
    bias, width = spread(CASES[name])
    assert bias < 0.25 and 0.85 < width < 1.2


def test_correlated_samples_need_their_inefficiency():
    """AR(1) with rho = 0.8 has g = (1 + rho) / (1 - rho) = 9; without it the error bars are three times too small."""
    good = spread(lambda rng: (thermo.mean(chain(rng), inefficiency=9.0), 0.0), repeats=200)
    naive = spread(lambda rng: (thermo.mean(chain(rng)), 0.0), repeats=200)
    assert good[0] < 0.3 and 0.85 < good[1] < 1.15
    assert naive[1] > 2.5


def test_equal_weights_are_no_weights():
    x = np.random.default_rng(0).normal(size=200)
    for f in (thermo.mean, lambda v, log_w=None: thermo.heat_capacity(v, 1.0, 1.0, 1, log_w)):
        a, b = f(x), f(x, log_w=np.full(200, 77.0))
        assert (a.value, a.stderr) == pytest.approx((b.value, b.stderr))
    one_more = np.abs(x - x.mean()).max() / 200
    assert thermo.mean(x).stderr == pytest.approx(np.hypot(x.std(ddof=1) / np.sqrt(200), one_more))
    assert thermo.heat_capacity(x, 1.0, 1.0, 1).value == pytest.approx(x.var(ddof=1))


def test_a_phase_that_few_draws_show_has_the_error_of_one_more():
    """q draws a phase of weight .2 with chance .05: with k draws of it the bar is that of k + 1."""
    z, plain = [], []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        rare = rng.random(128) < 0.05
        if not rare.any():
            continue
        log_w = 0.3 * rng.normal(size=128) + np.where(rare, np.log(0.2 / 0.05), np.log(0.8 / 0.95))
        x, w = np.where(rare, 0.5, 0.75), np.exp(log_w) / np.exp(log_w).sum()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LowSampleSize)
            e = thermo.mean(x, log_w)
        z.append((e.value - 0.7) / e.stderr)
        plain.append((e.value - 0.7) / np.sqrt(128 / 127 * (w**2 * (x - e.value) ** 2).sum()))
    assert 0.8 < np.std(z) < 1.25 and np.mean(np.abs(z) > 3) < 0.02
    assert np.mean(np.abs(plain) > 3) > 1.5 * max(np.mean(np.abs(z) > 3), 0.01)


def test_warnings_and_errors():
    with pytest.warns(LowSampleSize, match="The mean"):
        thermo.mean(np.arange(10.0), log_w=np.zeros(10))
    with pytest.raises(AlloygenError, match="one log-weight per value"):
        thermo.mean(np.zeros(3), log_w=np.zeros(4))
    with pytest.raises(AlloygenError, match="shape"):
        thermo.mean(np.zeros((3, 2)))
    assert np.isnan(thermo.mean([1.0]).stderr) and np.isnan(thermo.heat_capacity([1.0], 1.0, 1.0, 1).value)


def test_histogram_and_divergence():
    rng = np.random.default_rng(0)
    x, edges = rng.uniform(size=5000), np.linspace(0, 1, 6)
    flat, _ = thermo.histogram(x, edges)
    assert flat.sum() == pytest.approx(1.0) and flat == pytest.approx(0.2, abs=0.03)
    tilted, _ = thermo.histogram(x, edges, log_w=np.log(2 * x))
    assert tilted == pytest.approx((2 * np.arange(5) + 1) / 25, abs=0.03)
    assert thermo.js_divergence(flat, flat) == 0.0
    assert thermo.js_divergence([1, 0], [0, 3]) == pytest.approx(np.log(2))
    p, q = np.array([0.7, 0.2, 0.1]), np.array([0.1, 0.2, 0.7])
    m = (p + q) / 2
    assert thermo.js_divergence(p, q) == pytest.approx(0.5 * (p @ np.log(p / m) + q @ np.log(q / m)))
    with pytest.raises(AlloygenError, match="cover all values"):
        thermo.histogram([0.5, 2.0], edges)
    with pytest.raises(AlloygenError, match="same bins"):
        thermo.js_divergence([1, 2], [1, 2, 3])


@pytest.mark.filterwarnings("ignore::alloygen.errors.LowSampleSize")
def test_averages_over_weights_with_a_tail_have_bars_that_hold():
    """Two-level sites, drawn at another field: a variance whose largest influences are drawn last. Control: t = 1."""
    rng, z, plain = np.random.default_rng(4), [], []
    n, sites, q, p = 1000, 32, 0.5, 0.6
    for _ in range(400):
        k = rng.binomial(sites, q, size=n).astype(float)
        log_w = k * np.log(p / q) + (sites - k) * np.log((1 - p) / (1 - q))
        made, w = thermo.fluctuation(k, log_w=log_w), np.exp(log_w - log_w.max())
        w /= w.sum()
        u = (k - w @ k) ** 2
        square = (w * (u - w @ u)) ** 2
        truth = sites * p * (1 - p)
        z.append((made.value - truth) / made.stderr)
        plain.append((made.value - truth) / np.sqrt(n / (n - 1) * square.sum() + square.max()))
    far, control = (np.mean(np.abs(x) > 3) for x in (z, plain))
    assert np.std(z) < 1.2 < np.std(plain) and far < 0.65 * control, (np.std(z), np.std(plain), far, control)
