"""Independent samples and hotter chains joined: two levels, whose averages are known."""

import numpy as np
import pytest

from alloygen.errors import AlloygenError
from alloygen.estimate.joined import Joined
from alloygen.estimate.mixture import NoOverlap

GAP = 7.0  # of the levels, in kT of the own samples


def rows(level) -> np.ndarray:
    return np.column_stack([GAP * np.ravel(level), np.zeros(np.size(level))])


def occupied(beta: float) -> float:
    return 1 / (1 + np.exp(GAP * beta))


def chains(rng, beta: float, copies: int = 8, n: int = 300, stay: float = 0.6) -> np.ndarray:
    """Correlated two-level chains (copies, n): each step is the last one again with chance ``stay``."""
    fresh = rng.random((copies, n)) < occupied(beta)
    for t in range(1, n):
        keep = rng.random(copies) < stay
        fresh[keep, t] = fresh[keep, t - 1]
    return fresh


def joined(rng, n: int = 300, betas=(0.5, 0.25)) -> tuple[Joined, np.ndarray]:
    own, hot = rng.random(n) < occupied(1.0), [chains(rng, b) for b in betas]
    slope = np.column_stack([[1.0, *betas], np.zeros(1 + len(betas))])
    made = Joined(slope, rows(own), np.full(n, 1 / n), [rows(x) for x in hot], 8)
    return made, GAP * np.concatenate([own, *map(np.ravel, hot)])


def test_means_and_fluctuations_are_calibrated():
    p, z = occupied(1.0), []
    for seed in range(60):
        made, x = joined(np.random.default_rng(seed))
        for got, exact in ((made.mean(x), GAP * p), (made.fluctuation(x), GAP**2 * p * (1 - p))):
            z.append((got.value - exact) / got.stderr)
    assert 0.7 < np.std(z) < 1.3 and abs(np.mean(z)) < 0.4 and np.abs(z).max() < 4


def test_own_samples_by_themselves_do_not_show_it():
    """Negative control: most sets of 300 hold no excited sample at all (p = 9e-4), and their spread is zero."""
    empty = [not (np.random.default_rng(s).random(300) < occupied(1.0)).any() for s in range(60)]
    assert np.mean(empty) > 0.5


def test_weighted_samples_count_by_their_weight():
    rng = np.random.default_rng(0)
    own = np.arange(200) % 2 == 1  # drawn half and half, weighted to the law
    weights = np.where(own, occupied(1.0), 1 - occupied(1.0)) / 100
    hot = chains(rng, 0.4)
    made = Joined(np.array([[1.0, 0], [0.4, 0]]), rows(own), weights, [rows(hot)], 8)
    got = made.mean(np.concatenate([own, hot.ravel()]))
    assert abs(got.value - occupied(1.0)) < 4 * got.stderr < 1e-3


def test_chains_that_melted_are_left_out():
    rng = np.random.default_rng(1)
    own, hot = np.zeros(300), [chains(rng, 0.5), 40.0 + chains(rng, 0.1)]  # the hottest has left for other energies
    slope = np.array([[1.0, 0], [0.5, 0], [0.1, 0]])
    made = Joined(slope, rows(own), np.full(300, 1 / 300), [rows(x) for x in hot], 8)
    assert made.n_hot == 1 and len(made.weights) == 300 + hot[0].size
    with pytest.raises(NoOverlap, match="share samples"):
        Joined(slope[[0, 2]], rows(own), np.full(300, 1 / 300), [rows(hot[1])], 8)


def test_wrong_shapes_are_refused():
    made, x = joined(np.random.default_rng(2))
    with pytest.raises(AlloygenError, match="one per sample"):
        made.mean(x[:-1])
