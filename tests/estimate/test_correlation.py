"""The connected two-point function against enumeration, with a field so that the shift by <m>^2 counts."""

import itertools
from functools import cache

import numpy as np
import pytest

import alloygen.data
from alloygen.errors import AlloygenError, LowSampleSize
from alloygen.estimate.correlation import connected, manhattan_labels, pair_products, shell_labels
from alloygen.exact.enumeration import Enumeration
from alloygen.exact.ising import transfer_matrix
from alloygen.hamiltonian.ising import ising
from alloygen.lattice import Lattice, Primitive

CONDITIONS = [(T, (0.0, 2 * h)) for T in (1.8, 2.3, 2.8, 3.5) for h in (-0.3, -0.1, 0.05, 0.2)]


@cache
def table(L: int, h: float = 0.1):
    e = Enumeration(ising(L, h=h))
    return e, 2 * e.occ - 1


def slow(L: int, spins, p) -> np.ndarray:
    """Written out pair by pair, distances counted on the torus by walking."""
    sums, counts = np.zeros(2 * (L // 2) + 1), np.zeros(2 * (L // 2) + 1)
    for (a, b), (c, d) in itertools.product(itertools.product(range(L), repeat=2), repeat=2):
        r = min((a - c) % L, (c - a) % L) + min((b - d) % L, (d - b) % L)
        sums[r] += (p * spins[:, L * a + b] * spins[:, L * c + d]).sum()
        counts[r] += 1
    return sums / counts - (p @ spins.mean(1)) ** 2


def draw(e, spins, T, mu, n, seed):
    p = e.at(e.hamiltonian.condition(T, mu)).probabilities
    rows = np.random.default_rng(seed).choice(len(p), size=n, p=p)
    return spins[rows], np.log(p[rows]), rows


@pytest.mark.filterwarnings("ignore::alloygen.errors.LowSampleSize")
@pytest.mark.parametrize("L", [3, 4])
def test_enumeration_with_exact_weights_is_exact(L):
    e, spins = table(L)
    p = e.at(e.hamiltonian.condition(2.4, [0.0, -0.3])).probabilities
    found = [c.value for c in connected(spins, manhattan_labels(e.hamiltonian.lattice), np.log(p))]
    assert found == pytest.approx(slow(L, spins, p), abs=1e-12)
    exact = transfer_matrix(L, 2.4, h=0.1 - 0.15)  # the bonds of the energy are the pairs at distance 1
    assert found[1] == pytest.approx(-exact.energy / 2 - exact.magnetization**2, abs=1e-12)
    assert found[0] == pytest.approx(1 - exact.magnetization**2, abs=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("weighted", [False, True])
def test_error_bars_are_calibrated(weighted):
    """Independent samples of the law itself, or of a hotter one in another field with weights."""
    e, spins = table(4)
    labels, z = manhattan_labels(e.hamiltonian.lattice), []
    for k, (T, mu) in enumerate(CONDITIONS * 6):
        p = e.at(e.hamiltonian.condition(T, mu)).probabilities
        away = (T + 0.4, (0.0, mu[1] + 0.1)) if weighted else (T, mu)
        values, log_q, rows = draw(e, spins, *away, 10_000, seed=k)
        found = connected(values, labels, np.log(p[rows]) - log_q if weighted else None)
        z.append([(c.value - t) / c.stderr for c, t in zip(found, exact(T, mu), strict=True)])
    z = np.array(z)
    assert np.abs(z).max() < 4
    assert 0.7 < z.std() < 1.3 and np.abs(z.mean()) < 0.5


@cache
def exact(T, mu):
    e, spins = table(4)
    return slow(4, spins, e.at(e.hamiltonian.condition(T, mu)).probabilities)


def test_without_their_weights_samples_of_another_law_fail():
    """Negative control."""
    e, spins = table(4)
    values, _, _ = draw(e, spins, 3.2, (0.0, 0.2), 10_000, seed=0)
    found = connected(values, manhattan_labels(e.hamiltonian.lattice))
    z = [(c.value - t) / c.stderr for c, t in zip(found, exact(2.8, (0.0, 0.1)), strict=True)]
    assert np.abs(z).min() > 4


def test_both_terms_share_their_samples():
    """Deep in a field the two terms nearly cancel, and so do their errors: a sum in quadrature would be far off."""
    e, spins = table(4)
    labels, runs = manhattan_labels(e.hamiltonian.lattice), []
    for seed in range(200):
        found = connected(draw(e, spins, 2.3, (0.0, 1.0), 1000, seed)[0], labels)[1]
        runs.append((found.value, found.stderr))
    value, stderr = np.array(runs).T
    assert 0.8 < value.std() / stderr.mean() < 1.2
    product = pair_products(draw(e, spins, 2.3, (0.0, 1.0), 1000, 0)[0], labels)[:, 1]
    assert stderr.mean() < 0.8 * product.std() / np.sqrt(1000)


def test_correlated_samples_and_few_samples():
    labels = manhattan_labels(ising(3).lattice)
    values = np.random.default_rng(0).choice([-1, 1], size=(200, 9))
    a, b = connected(values, labels), connected(values, labels, inefficiency=9.0)
    assert [x.stderr * 3 for x in a] == pytest.approx([x.stderr for x in b])
    assert [x.value for x in connected(values, labels, np.full(200, 7.0))] == pytest.approx([x.value for x in a])
    assert np.isnan(connected(values[:1], labels)[0].stderr)
    with pytest.warns(LowSampleSize):
        connected(values[:9], labels, np.zeros(9))


def test_labels():
    lattice = Lattice(ising(2).lattice.primitive, (5, 4, 1))
    labels = manhattan_labels(lattice)
    assert (labels == labels.T).all() and (labels.diagonal() == 0).all() and labels.max() == 4
    assert np.bincount(labels[7]).tolist() == [1, 4, 7, 6, 2]
    shells, distances = shell_labels(lattice)
    assert distances[:4] == pytest.approx([0, 1, np.sqrt(2), 2])
    assert (np.sort(np.unique(labels[shells == 2])) == 2).all() and (shells == shells.T).all()
    skew, distances = shell_labels(alloygen.data.cuau().on([[2, 0, 0], [1, 2, 0], [0, 1, 2]]).lattice)
    assert (skew == skew.T).all() and (skew.diagonal() == 0).all() and len(np.unique(skew)) == len(distances)


def test_errors():
    skew = Lattice(ising(2).lattice.primitive, [[3, 1, 0], [0, 3, 0], [0, 0, 1]])
    pair = Lattice(Primitive(np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], [("A", "B")] * 2), (2, 2, 1))
    for lattice in (skew, pair):
        with pytest.raises(AlloygenError, match="shell_labels"):
            manhattan_labels(lattice)
    with pytest.raises(AlloygenError, match="shapes"):
        connected(np.ones((3, 4)), np.zeros((3, 3), dtype=int))
    with pytest.raises(AlloygenError, match="whole-number"):
        connected(np.ones((3, 4)), np.zeros((4, 4)))
    with pytest.raises(AlloygenError, match="a pair for each label"):
        pair_products(np.ones((3, 2)), [[0, 2], [2, 0]])
    with pytest.raises(AlloygenError, match="one log-weight per value"):
        connected(np.ones((3, 2)), [[0, 1], [1, 0]], log_w=np.zeros(2))
