"""The delta-method error of log Z on weights whose law is known."""

import warnings

import numpy as np
import pytest

from alloygen.errors import AlloygenError, LowSampleSize
from alloygen.estimate.free_energy import free_energy


def test_lognormal_weights_are_calibrated():
    """log w ~ N(m, s^2): log Z = m + s^2/2. z-scores of 400 repeats have unit spread."""
    m, s, rng = 300.0, 0.7, np.random.default_rng(3)
    z = []
    for _ in range(400):
        e = free_energy(rng.normal(m, s, size=800), kT=0.05, n_sites=16)
        z.append((e.value + 0.05 / 16 * (m + s**2 / 2)) / e.stderr)
    assert abs(np.mean(z)) < 0.2
    assert 0.85 < np.std(z) < 1.15


def test_equal_weights_leave_the_error_of_what_was_not_seen():
    e = free_energy(np.full(100, 32.0), kT=0.5, n_sites=4)
    assert e.value == -4.0 and e.stderr == pytest.approx(0.5 / 4 / 100)


def test_error_bar_holds_where_rare_states_are_mostly_unseen():
    """One state of mass 1 - r and one of r = 3e-4 that q draws half as often: most runs of 1000 never see it."""
    rng, r, q = np.random.default_rng(0), 3e-4, 1.5e-4
    z = []
    for _ in range(400):
        rare = rng.random(1000) < q
        e = free_energy(np.where(rare, np.log(r / q), np.log((1 - r) / (1 - q))), kT=1.0, n_sites=1)
        z.append(e.value / e.stderr)  # log Z = 0
    assert np.mean(np.abs(z) <= 4) > 0.99


def test_error_is_the_sample_variance_of_the_mean():
    w = np.random.default_rng(0).uniform(0.5, 1.5, size=500)
    e = free_energy(np.log(w), kT=1.0, n_sites=1)
    assert e.stderr == pytest.approx(np.hypot(w.std(ddof=1) / np.sqrt(500) / w.mean(), 1 / 500))


@pytest.mark.parametrize("log_w", [np.zeros(49), np.r_[np.zeros(900), 7.0]], ids=["few", "one weight over 20 %"])
def test_low_sample_size_warns(log_w):
    with pytest.warns(LowSampleSize, match=r"Draw more.*refine") as caught:
        free_energy(log_w, 1.0, 1)
    assert caught[0].filename == __file__


def test_good_samples_do_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        free_energy(np.random.default_rng(0).normal(size=500), 1.0, 1)


def test_one_sample_has_a_value_and_no_error():
    with pytest.warns(LowSampleSize):
        e = free_energy([2.0], 1.0, 1)
    assert e.value == -2.0 and np.isnan(e.stderr) and "one sample" in e.note


def test_bad_scale():
    with pytest.raises(AlloygenError, match="kT > 0"):
        free_energy(np.zeros(100), kT=0.0, n_sites=4)
