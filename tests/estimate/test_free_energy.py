"""The delta-method error of log Z on weights whose law is known."""

import warnings

import numpy as np
import pytest

from alloygen.errors import AlloygenError, LowSampleSize
from alloygen.estimate.free_energy import free_energy
from alloygen.estimate.weights import k_hat, log_mean_exp, ness, normalized_weights


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


def test_error_is_the_sample_variance_of_the_mean_where_weights_have_no_tail():
    w = np.random.default_rng(0).uniform(0.5, 1.5, size=500)
    e, plain = free_energy(np.log(w), kT=1.0, n_sites=1), w.std(ddof=1) / np.sqrt(500) / w.mean()
    assert np.hypot(plain, 1 / 500) <= e.stderr < np.hypot(plain, 1.5 / 500)
    assert e.value == pytest.approx(-np.log(w.mean()) - plain**2 / 2)


def scores(draw, log_z, n, repeats=300):
    """z of log Z from n weights, of these bars, of the delta method alone and with a tail by k-hat: (repeats,) arrays; nan where withheld."""
    rng, z, plain, by_shape = np.random.default_rng(1), [], [], []
    for _ in range(repeats):
        log_w = draw(rng, n)
        e = free_energy(log_w, kT=1.0, n_sites=1)
        z.append((-e.value - log_z) / e.stderr)
        v = (1 / ness(log_w) - 1) / (n - 1) + 1 / n**2
        plain.append((log_mean_exp(log_w) - log_z) / np.sqrt(v))
        one_more = normalized_weights(log_w).max() / (1 - np.clip(k_hat(log_w), 0, 0.75))
        by_shape.append((-e.value - log_z) / np.hypot(np.sqrt(v), one_more) if np.isfinite(e.stderr) else np.nan)
    return np.array(z), np.array(plain), np.array(by_shape)


def two_phases(rng, n, q=0.1, p=0.6, s=0.3):
    """log-weights of a q that draws a phase of weight p with chance q; log Z = s^2 / 2."""
    return s * rng.normal(size=n) + np.where(rng.random(n) < q, np.log(p / q), np.log((1 - p) / (1 - q)))


LAWS = {
    "log-normal, NESS .37": (lambda rng, n: rng.normal(size=n), 0.5, 0.1),
    "log-normal, NESS .11": (lambda rng, n: 1.5 * rng.normal(size=n), 1.125, 0.15),
    "log-normal, NESS .02": (lambda rng, n: 2.0 * rng.normal(size=n), 2.0, 0.4),
    "Pareto, k = .4": (lambda rng, n: 0.4 * rng.exponential(size=n), -np.log(0.6), 0.1),
    "two phases": (two_phases, 0.045, 0.2),
}


@pytest.mark.parametrize("n", [128, 1000, 10_000])
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.filterwarnings("ignore::alloygen.errors.LowSampleSize")
def test_error_bar_of_heavy_tailed_weights_holds(law, n):
    """Draws from which the value and its spread come out too small together: the bar counts the tail, and not more than it."""
    draw, log_z, withheld = LAWS[law]
    z = scores(draw, log_z, n, 100 if n > 1000 else 300)[0]
    kept = z[np.isfinite(z)]
    assert 1 - len(kept) / len(z) <= withheld
    few = n == 128  # about a dozen draws of the second phase, or a NESS of .02
    assert (0.6 if few else 0.74) < kept.std() < 1.15 and (np.abs(kept) > 3).mean() < 0.012


@pytest.mark.filterwarnings("ignore::alloygen.errors.LowSampleSize")
def test_the_delta_method_alone_fails_there():
    _, plain, _ = scores(*LAWS["log-normal, NESS .02"][:2], n=128)
    assert np.sqrt((plain**2).mean()) > 1.5 and (np.abs(plain) > 3).mean() > 0.08


@pytest.mark.filterwarnings("ignore::alloygen.errors.LowSampleSize")
def test_one_draw_more_by_the_fitted_shape_alone_misses_some():
    """Control: W_1 / (1 - k-hat). The shape comes out small together with the mean."""
    z, _, by_shape = (x[np.isfinite(x)] for x in scores(*LAWS["log-normal, NESS .02"][:2], n=128))
    assert (np.abs(by_shape) > 3).mean() > 0.025 > 2 * (np.abs(z) > 3).mean()


@pytest.mark.filterwarnings("ignore::alloygen.errors.LowSampleSize")
def test_a_mean_that_does_not_exist_is_withheld():
    """Pareto weights with k = 1.2 have no mean: the value is kept, its bar is not, and the note says why."""
    rng = np.random.default_rng(0)
    made = [free_energy(1.2 * rng.exponential(size=1000), kT=1.0, n_sites=1) for _ in range(50)]
    withheld = [e for e in made if np.isnan(e.stderr)]
    assert len(withheld) >= 45 and all(np.isfinite(e.value) and "k-hat" in e.note for e in withheld)


@pytest.mark.parametrize(
    "log_w",
    [np.zeros(300), np.repeat([0.0, 0.4], [950, 50]), np.r_[np.zeros(995), np.full(5, -3.0)], 1e-9 * np.arange(200.0)],
)
def test_even_weights_have_no_tail(log_w):
    e, n = free_energy(log_w, kT=1.0, n_sites=1), len(log_w)
    assert k_hat(log_w) == -np.inf
    assert e.stderr == pytest.approx(np.sqrt((1 / ness(log_w) - 1) / (n - 1) + 1 / n**2), rel=0.02)


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
