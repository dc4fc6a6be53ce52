"""Conditions that walk: they start everywhere, move by no more than a step, and stay inside."""

import pytest
import torch
from small_systems import generator

from alloygen.objectives.walk import ConditionWalk

RANGES = {"T": [200.0, 1200.0], "mu": [[-0.2, 0.1], [0.3, 0.5]]}


def walk(seed=0, ranges=RANGES, n_T=3, n_mu=4, step_T=0.1, step_mu=0.05) -> ConditionWalk:
    return ConditionWalk(ranges, n_T, n_mu, step_T, step_mu, generator(seed))


def test_a_walk_stays_in_range_and_moves_by_at_most_a_step():
    w, g = walk(), generator(1)
    (low, high), mu = RANGES["T"], torch.tensor(RANGES["mu"], dtype=torch.float64)
    moves, seen = [], []
    for _ in range(3000):
        T, m = w.T, w.mu
        w.move(g)
        assert (w.T >= low).all() and (w.T <= high).all() and (w.mu >= mu[:, 0]).all() and (w.mu <= mu[:, 1]).all()
        moves.append(((w.T - T) / (high - low), (w.mu - m) / (mu[:, 1] - mu[:, 0])))
        seen.append((w.T, w.mu))
    step_T, step_mu = (torch.stack(x) for x in zip(*moves, strict=True))
    assert 0.095 < step_T.abs().max() <= 0.1 + 1e-12 and 0.0475 < step_mu.abs().max() <= 0.05 + 1e-12
    assert abs(step_T.mean()) < 0.002 and step_T.min() < -0.095 and step_T.max() > 0.095
    T, m = (torch.stack(x) for x in zip(*seen, strict=True))
    assert T.min() < low + 50 and T.max() > high - 50  # it gets about
    assert (m.amin((0, 1)) < mu[:, 0] + 0.02).all() and (m.amax((0, 1)) > mu[:, 1] - 0.02).all()
    assert len({tuple(x.tolist()) for x in w.mu}) == 4 and len(set(w.T.tolist())) == 3  # each on its own


def test_starts_are_spread_over_the_range():
    w = walk(n_T=4000, n_mu=4000)
    for x, (low, high) in [(w.T, RANGES["T"]), *zip(w.mu.T, RANGES["mu"], strict=True)]:
        share = (x - low) / (high - low)
        counts = torch.histc(share, 10, 0, 1)
        assert (counts - 400).abs().max() < 5 * 400**0.5 * 0.95
    assert abs(torch.corrcoef(w.mu.T)[0, 1]) < 0.08  # elements are drawn apart


def test_every_pair_is_a_condition_with_its_share_of_the_batch():
    w = walk()
    T, mu, c = w.batch(36)
    assert w.n == 12 and T.shape == (36,) and mu.shape == (36, 3) and mu.dtype == T.dtype == torch.float64
    assert torch.bincount(c).tolist() == [3] * 12 and (mu[:, 0] == 0).all()
    assert (c.diff() >= 0).all()  # rows of a condition lie together
    for k in range(12):
        rows = c == k
        assert len(T[rows].unique()) == 1 and len(mu[rows].unique(dim=0)) == 1
    pairs = {(float(t), *m.tolist()) for t, m in zip(T, mu[:, 1:], strict=True)}
    assert pairs == {(float(t), *m.tolist()) for t in w.T for m in w.mu}


def test_same_generator_same_walk():
    a, b, c = walk(0), walk(0), walk(1)
    for w, seed in ((a, 5), (b, 5), (c, 5)):
        g = generator(seed)
        for _ in range(5):
            w.move(g)
    assert torch.equal(a.T, b.T) and torch.equal(a.mu, b.mu) and not torch.equal(a.T, c.T)


@pytest.mark.parametrize("ranges", [{"T": [300, 300], "mu": [[0.1, 0.1]]}, {"T": [2, 2], "mu": [[-1, -1], [0, 0]]}])
def test_a_range_of_one_point(ranges):
    w = walk(ranges=ranges)
    for _ in range(3):
        w.move(generator())
    T, mu, _ = w.batch(12)
    assert (T == ranges["T"][0]).all() and torch.equal(mu[0, 1:], torch.tensor(ranges["mu"], dtype=torch.float64)[:, 0])


def test_a_step_of_zero_stands_still():
    w = walk(step_T=0.0, step_mu=0.0)
    T, mu = w.T, w.mu
    w.move(generator())
    assert torch.equal(w.T, T) and torch.equal(w.mu, mu)
