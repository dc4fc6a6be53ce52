"""Add an observable: the share of nearest-neighbour pairs that are unlike. It is a function of occupations (B, N), one number for each.

Monte Carlo takes it by name in ``observers=`` and keeps a number per sample, exact weights and error bars come from ``Ensemble.mean``; for
draws of a model the same function gives the values. What belongs to every ensemble goes to ``alloygen/estimate/`` (arrays in, Estimate out)
and gets a function in ``alloygen/results/observables.py`` and a method of one line in ``ensemble.py`` there; ``tests/results/test_observables.py`` is the test to copy then.
"""

import numpy as np
import pytest

import alloygen
from alloygen.estimate.correlation import shell_labels
from alloygen.montecarlo.sampling import replica_exchange
from alloygen.testing import enumerable


# ---------------------------------------------------------------------- the observable
def unlike_pairs(lattice, shell=1):
    """occ (B, N) -> share (B,) of the pairs of a shell of neighbours whose elements differ."""
    labels, _ = shell_labels(lattice)
    first, second = np.nonzero(labels == shell)

    def share(occ):
        held = np.take_along_axis(lattice.site_elements[None], np.asarray(occ, dtype=int)[..., None], 2)[..., 0]
        return (held[:, first] != held[:, second]).mean(1)

    return share


# ---------------------------------------------------------------------- its tests
@pytest.fixture(scope="module")
def system():
    return enumerable("cuau-2x2x2")


def exact(system, T, mu):
    e = system.enumeration
    return float(e.at(e.hamiltonian.condition(T, mu)).probabilities @ unlike_pairs(system.hamiltonian.lattice)(e.occ))


def test_monte_carlo_and_its_error_bar(system):
    T, mu = [500.0, 900.0], [[0.0, 0.07]]
    observers = {"unlike": unlike_pairs(system.hamiltonian.lattice)}
    scan = replica_exchange(system.hamiltonian, system.hamiltonian.grid(T, mu), n=4000, observers=observers)
    for c, t in enumerate(T):
        found = scan[c].mean("unlike")
        assert abs(found.value - exact(system, t, mu[0])) < 4 * found.stderr < 0.05
    # negative control: the other temperature is told from this one
    assert abs(scan[0].mean("unlike").value - exact(system, 900.0, mu[0])) > 6 * scan[0].mean("unlike").stderr


@pytest.mark.slow
def test_draws_of_a_model_with_weights():
    ens = alloygen.sample(alloygen.load("cuau_2x2x4").hamiltonian, 600.0, {"Au": 0.02}, n=2000)
    share = unlike_pairs(ens.hamiltonian.lattice)
    found = ens.mean(share(ens.occ))
    reference = alloygen.mc(ens.hamiltonian, 600.0, {"Au": 0.02}, n=2000, observers={"unlike": share})[0].mean("unlike")
    assert abs(found.value - reference.value) < 4 * np.hypot(found.stderr, reference.stderr) < 0.05


def test_known_values():
    """The checkerboard has only unlike neighbours, a row of one colour a half of them."""
    lattice = alloygen.ising(4).lattice
    x, y = lattice.offsets[:, 0], lattice.offsets[:, 1]
    share = unlike_pairs(lattice)(np.stack([(x + y) % 2, x % 2, 0 * x]))
    np.testing.assert_allclose(share, [1.0, 0.5, 0.0])
