"""Free energies of samples that fall apart: two references, and what is withheld."""

import numpy as np
import pytest
from small_systems import cuau_16

from alloygen.estimate.branches import Branches, Level, States
from alloygen.estimate.degeneracy import log_degeneracy
from alloygen.estimate.mbar import MBAR
from alloygen.estimate.mixture import NoOverlap

# Two basins of states at one mu: 4 cold levels at 0, 0.1, .., and 4 hot ones at 10, 10.1, .., of these sizes.
ENERGY = np.r_[0.1 * np.arange(4), 10 + 0.1 * np.arange(4)]
SIZE = np.r_[3.0, 5, 9, 2, 1e6, 3e6, 5e6, 9e6]
BETA = np.r_[3.0, 2.0, 1.7, 1.6, 1.5, 1.4, 1.3, 0.7, 0.3, 0.0]  # the two sides weigh the same at 1.56
COLD = 4


def frozen(seed: int, cold: int, n: int = 400) -> States:
    """Exact draws at each state, but from one side only: the ``cold`` coldest states hold the cold side, however hot they are."""
    rng = np.random.default_rng(seed)
    rows = []
    for k, b in enumerate(BETA):
        side = np.arange(8) < COLD if k < cold else np.arange(8) >= COLD
        p = np.where(side, SIZE * np.exp(-b * (ENERGY - ENERGY[side].min())), 0)
        rows.append(ENERGY[rng.choice(8, n, p=p / p.sum())])
    energy = np.array(rows)
    return States(BETA, np.zeros((len(BETA), 1)), energy, np.zeros((*energy.shape, 1)), 1)


def log_z(beta):
    return np.log((SIZE * np.exp(-beta * ENERGY)).sum())


def joined(s: States) -> MBAR | NoOverlap:
    try:
        return MBAR(s.beta, s.beta_mu, s.energy, s.counts, "measure", {len(BETA) - 1: np.log(SIZE.sum())})
    except NoOverlap as torn:
        return torn


def branches(s: States, known: bool = True) -> Branches:
    level = Level(np.array([[0.0, 0.0], [0.1, 0.0]]), np.log(SIZE[:2])) if known else None
    return Branches(s, lambda: joined(s), np.log(SIZE.sum()), lambda mu: level, lambda i, j, _: f"{i} and {j} apart")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("cold", [3, 5, 6])
def test_each_side_of_a_transition_counts_from_its_own_reference(cold):
    """Wherever the replicas froze, also beyond the transition; MBAR of all is wrong by many of its errors (negative control)."""
    z, old = [], []
    for seed in range(8):
        s = frozen(seed, cold)
        b = branches(s)
        assert b.cut is not None and 0.3 < b.cut < 10 and len(b.parts) == 2
        for k in range(len(BETA) - 1):
            got = b.log_z(k)
            z.append((got.value - log_z(BETA[k])) / got.stderr)
        whole = joined(s)
        old.append(abs(whole.log_z(3.0, [0.0]).value - log_z(3.0)) if isinstance(whole, MBAR) else np.inf)
    assert np.std(z) < 1.4 and np.abs(z).max() < 4.5
    assert np.mean(old) > 0.3


@pytest.mark.filterwarnings("ignore")
def test_a_side_without_a_reference_is_withheld_and_the_other_stands():
    b = branches(frozen(0, 5), known=False)
    found = [b.log_z(k) for k in range(len(BETA))]
    assert np.isnan([f.value for f in found[:5]]).all() and all(f.note == "4 and 5 apart" for f in found[:5])
    assert b.unpinned.tolist() == [True] * 5 + [False] * 5
    for k in range(5, len(BETA)):  # beyond 1.56 the cold side, which is not known, does not matter
        assert (
            abs(found[k].value - np.log((SIZE * np.exp(-BETA[k] * ENERGY))[COLD:].sum())) < 4 * found[k].stderr + 1e-9
        )


MU = (-0.2, 0.0, 0.3)  # of two sites that hold an atom or not, whatever the level


def test_a_cut_with_nothing_below_it_is_none(monkeypatch):
    """All samples on one side are one branch, the same as without a cut."""
    s = frozen(0, 0)
    whole = branches(s, known=False)
    monkeypatch.setattr("alloygen.estimate.branches._barrier", lambda samples: -np.inf)
    cut = branches(s, known=False)
    assert len(cut.parts) == len(whole.parts)
    assert [cut.log_z(k).value for k in range(3)] == pytest.approx([whole.log_z(k).value for k in range(3)])


def grid(seed: int, cold: int) -> States:
    """:func:`frozen` at three mu: no replica passes at any of them."""
    rng, sides = np.random.default_rng(seed + 100), [frozen(3 * seed + m, cold) for m in range(len(MU))]
    energy = np.stack([s.energy for s in sides], 1).reshape(-1, sides[0].energy.shape[1])
    beta, beta_mu = np.repeat(BETA, len(MU)), np.outer(BETA, MU).ravel()
    counts = rng.binomial(2, 1 / (1 + np.exp(-beta_mu))[:, None], energy.shape).astype(float)
    return States(beta, beta_mu[:, None], energy, counts[..., None], 1)


@pytest.mark.filterwarnings("ignore")
def test_a_grid_of_several_mu_is_cut_where_no_replica_passes():
    """As for one mu; joined by counting the cold conditions are wrong by many of their errors (negative control)."""
    level = Level(np.array([[0.0, k] for k in range(3)]), np.log(SIZE[0] * np.array([1, 2, 1])))
    total, z, old = np.log(4 * SIZE.sum()), [], []
    for seed in range(6):
        s = grid(seed, 6)
        b = Branches(s, lambda: NoOverlap("not asked for"), total, lambda mu: level, lambda i, j, _: "apart")
        assert b.cut is not None and 0.3 < b.cut < 10 and len(b.parts) == 2
        true = [log_z(x) + 2 * np.log1p(np.exp(y)) for x, y in zip(s.beta, s.beta_mu[:, 0], strict=True)]
        z += [(got.value - true[k]) / got.stderr for k in np.flatnonzero(s.beta) for got in [b.log_z(k)]]
        hot = {int(k): total for k in np.flatnonzero(s.beta == 0)}
        whole = MBAR(s.beta, s.beta_mu, s.energy, s.counts, "measure", hot)
        got = [(whole.log_z(s.beta[k], s.beta_mu[k]), true[k]) for k in range(len(MU))]
        old += [(g.value - t) / g.stderr for g, t in got]
    assert np.std(z) < 1.4 and np.abs(z).max() < 4.5
    assert np.abs(old).min() > 5


def test_orbits_are_counted():
    exact = cuau_16()
    h = exact.hamiltonian
    points, moves = h.symmetries
    free = np.full(16, -1)
    for energy in np.unique(exact.energy.round(9))[[0, 1, 2]]:
        at = np.flatnonzero(np.abs(exact.energy - energy) < 1e-8)
        occ = np.repeat(exact.occ[at], 30, axis=0)
        assert np.exp(log_degeneracy(occ, points, moves, free)) == pytest.approx(len(at))
        found = np.exp(log_degeneracy(np.tile(occ[:1], (30, 1)), points, moves, free))  # the images of one
        assert 1 < found <= len(at) + 1e-6
    held = free.copy()
    held[0] = occ[0, 0]
    assert np.exp(log_degeneracy(occ, points, moves, held)) == pytest.approx((exact.occ[at, 0] == held[0]).sum())
    assert log_degeneracy(exact.occ[np.arange(0, 65536, 900)], points, moves, free) is None  # all of them differ
