"""Weights against their definitions, at sizes where exp overflows, and on a sampler that misses a mode."""

import numpy as np
import pytest

from alloygen.errors import AlloygenError
from alloygen.estimate import weights

RNG = np.random.default_rng(0)
LOG_W = RNG.normal(size=300)


@pytest.mark.parametrize("shift", [0.0, 5000.0, -5000.0])
def test_definitions_hold_at_any_scale(shift):
    w = np.exp(LOG_W)
    assert weights.log_mean_exp(LOG_W + shift) == pytest.approx(np.log(w.mean()) + shift)
    assert weights.normalized_weights(LOG_W + shift) == pytest.approx(w / w.sum())
    assert weights.ness(LOG_W + shift) == pytest.approx(w.sum() ** 2 / (len(w) * (w**2).sum()))
    assert weights.ess(LOG_W + shift) == pytest.approx(w.sum() ** 2 / (w**2).sum())
    assert weights.forward_ness(LOG_W + shift) == pytest.approx(1 / (w.mean() * (1 / w).mean()))
    assert weights.eubo(LOG_W + shift).value == pytest.approx(LOG_W.mean() + shift)
    assert weights.eubo(LOG_W + shift).stderr == pytest.approx(LOG_W.std(ddof=1) / np.sqrt(300))


def test_bounds():
    assert weights.ness(np.zeros(7)) == 1.0
    assert weights.ess([0.0, -np.inf, -np.inf]) == 1.0
    assert weights.forward_ness([0.0, -np.inf]) == 0.0


def law(p, seed, n):
    return np.random.default_rng(seed).choice(len(p), size=n, p=p)


def test_forward_and_self_sampled_ness_agree_for_a_covering_q():
    p, q = np.array([0.5, 0.3, 0.15, 0.05]), np.array([0.4, 0.4, 0.1, 0.1])
    exact = 1 / (p**2 / q).sum()
    log_w = np.log(p / q)
    assert weights.ness(log_w[law(q, 1, 200_000)]) == pytest.approx(exact, rel=0.01)
    assert weights.forward_ness(log_w[law(p, 2, 200_000)]) == pytest.approx(exact, rel=0.01)
    bound = weights.eubo(log_w[law(p, 3, 200_000)])
    assert abs(bound.value - (p * np.log(p / q)).sum()) < 4 * bound.stderr


def test_only_forward_ness_sees_a_missing_mode():
    p, q = np.array([0.25, 0.25, 0.25, 0.25]), np.array([0.5, 0.5 - 2e-9, 1e-9, 1e-9])
    log_w = np.log(p / q)
    assert weights.ness(log_w[law(q, 1, 1000)]) > 0.999
    assert weights.forward_ness(log_w[law(p, 1, 1000)]) < 1e-6


def test_inefficiency_widens_the_bound():
    assert weights.eubo(LOG_W, inefficiency=4.0).stderr == pytest.approx(2 * weights.eubo(LOG_W).stderr)


@pytest.mark.parametrize(
    "bad, words",
    [
        ([], "n >= 1"),
        ([[0.0]], "shape"),
        ([0.0, np.nan], "index 1"),
        ([np.inf], "index 0"),
        ([-np.inf], "above zero"),
    ],
)
def test_weights_that_cannot_be_used(bad, words):
    with pytest.raises(AlloygenError, match=words):
        weights.ness(bad)


def test_forward_ness_with_a_known_z_sees_what_the_samples_do_not():
    """Deep in a phase every reference sample is one state; a q that puts 1/8 there is no good, and only Z tells."""
    log_w = np.full(50, np.log(8.0))  # p = 1 on the state, q = 1/8, Z = 1
    assert weights.forward_ness(log_w) == pytest.approx(1.0)
    assert weights.forward_ness(log_w, log_z=0.0) == pytest.approx(1 / 8)
    # on samples of all of p both are the NESS of q = (1/2, 1/2) against p = (1/4, 3/4), for any constant in log w
    w = np.log(np.repeat([0.5, 1.5], [1000, 3000])) + 7.0
    assert weights.forward_ness(w) == pytest.approx(0.8) and weights.forward_ness(w, log_z=7.0) == pytest.approx(0.8)


@pytest.mark.parametrize("spread", [0.05, 0.4])
@pytest.mark.parametrize("islands", [8, 16, 100])
def test_error_bar_of_islands_holds(islands, spread):
    """log-normal means of islands: a few that agree count by Student's law, none as one whole island more."""
    rng, z, whole, plain = np.random.default_rng(2), [], [], []
    for _ in range(1000):
        means = spread * rng.normal(size=islands) - spread**2 / 2
        made, old = weights.log_mean_of_islands(np.repeat(means, 16), islands), weights.log_mean(means)
        z.append(made.value / made.stderr)
        whole.append(old.value / old.stderr)
        plain.append(made.value / np.sqrt(old.variance))
    assert 0.75 < np.std(z) < 1.1 and np.mean(np.abs(z) > 3) < 0.015
    if spread < 0.1:  # controls: a whole island of weight 0 or 2 more, and no Student
        assert np.std(whole) < 0.5
    if islands == 8:
        assert np.mean(np.abs(plain) > 3) > 0.015


def test_three_islands_have_no_error():
    made = weights.log_mean_of_islands(np.zeros(30), 3)
    assert made.value == 0 and np.isnan(made.stderr) and "four islands" in made.note


def test_one_draw_of_a_rare_phase_among_even_weights_is_no_heavy_tail():
    """Its shape can be anything; the bar counts a few more such draws. A largest weight of half of the sum stays withheld."""
    rng = np.random.default_rng(0)
    even = 1e-3 * rng.normal(size=200)
    for weight, told in ((6.0, True), (100.0, False)):
        made = weights.log_mean(np.append(even, np.log(weight)))
        assert made.k_hat > 0.7 and np.isfinite(made.stderr) == told and bool(made.note) != told
    assert weights.log_mean(np.append(even, np.log(6.0))).stderr > 2 * 5 / 206
