"""Enumeration against hard numbers, against the definition, and against cells of several sublattices."""

import itertools

import numpy as np
import pytest
import torch
from small_systems import cuau_16

from alloygen import data
from alloygen.conditions.record import Condition
from alloygen.errors import AlloygenError, BadCondition
from alloygen.exact.enumeration import Enumeration, enumerate_states
from alloygen.hamiltonian.expansion import ClusterExpansion, Orbit
from alloygen.hamiltonian.ising import ising
from alloygen.lattice import Primitive


@pytest.fixture(scope="module")
def cuau():
    return cuau_16()


def ternary_two_sublattices():
    """Sublattice 0 holds A/B/C, 1 only O, 2 holds C/D, so that C has another index on each."""
    primitive = Primitive(np.eye(3), [[0, 0, 0], [0.5, 0, 0], [0, 0.5, 0]], [("A", "B", "C"), ("O",), ("C", "D")])
    functions = [[1.0, -0.5, 0.3, 0.0, -1.0]]  # elements in order of appearance: A, B, C, O, D
    members = [[(0, 0, 0, 0), (0, 0, 0, 2)], [(0, 0, 0, 0), (1, 0, 0, 2)]]
    pair = Orbit("pair", 0.2, members, [[0, 0], [0, 0]], [1.0, 1.0])
    return ClusterExpansion(primitive, functions, (Orbit("point", -0.1, [[(0, 0, 0, 0)]], [[0]], [1.0]), pair), kB=1.0)


# Phi, x_Au, E and (<E^2> - <E>^2)/(kB T^2)/N per site of CuAu 2x2x4 (16 sites), dmu = mu_Au - mu_Cu in eV, formation
# energies, kB = ase.units.kB, Phi = -kB T ln Z / 16; computed by an independent enumeration.
REFERENCE = [
    (200.0, -0.24, -0.000000002791, 0.0000001623, 0.000000004723, 4.2957704103e-11),
    (200.0, -0.12, -0.005666232977, 0.2486883504, -0.033986393731, 2.8365568854e-05),
    (600.0, 0.0, -0.043891393459, 0.4353164761, None, None),
]


@pytest.mark.parametrize("T, dmu, phi, x, energy, capacity", REFERENCE)
def test_reference_numbers_of_cuau(cuau, T, dmu, phi, x, energy, capacity):
    state = cuau.at(cuau.hamiltonian.condition(T, [0.0, dmu]))
    assert state.phi == pytest.approx(phi, abs=1e-11)
    assert state.composition[1] == pytest.approx(x, abs=1e-9)
    assert state.composition.sum() == pytest.approx(1.0)
    if energy is not None:
        assert state.energy == pytest.approx(energy, abs=1e-11)
        assert state.heat_capacity == pytest.approx(capacity, rel=1e-8)


def test_only_differences_of_mu_matter(cuau):
    a, b = (
        cuau.at(cuau.hamiltonian.condition(500.0, [0.0, 0.04])),
        cuau.at(cuau.hamiltonian.condition(500.0, [-0.03, 0.01])),
    )
    assert b.phi == pytest.approx(a.phi + 0.03)
    assert np.allclose(a.probabilities, b.probabilities, atol=1e-14)


def test_low_temperature_does_not_underflow(cuau):
    state = cuau.at(cuau.hamiltonian.condition(1.0, [0.0, -0.1]))
    assert np.isfinite(state.log_z)
    assert state.probabilities.sum() == pytest.approx(1.0)
    assert state.composition[1] == pytest.approx(0.25)  # Cu3Au between dmu = -0.1367 and -0.0081 eV


def test_derivatives_of_phi(cuau):
    """x = -d Phi / d mu and <E> - mu x = d(beta Phi) / d beta, by central differences."""
    T, mu, kB = 800.0, 0.03, cuau.hamiltonian.kB
    state, d = cuau.at(cuau.hamiltonian.condition(T, [0, mu])), 1e-5
    slope = (
        cuau.at(cuau.hamiltonian.condition(T, [0, mu + d])).phi
        - cuau.at(cuau.hamiltonian.condition(T, [0, mu - d])).phi
    ) / (2 * d)
    assert state.composition[1] == pytest.approx(-slope, abs=1e-7)
    beta, e = 1 / (kB * T), 1e-3
    reduced = lambda b: b * cuau.at(cuau.hamiltonian.condition(1 / (kB * b), [0, mu])).phi  # noqa: E731
    slope = (reduced(beta + e) - reduced(beta - e)) / (2 * e)
    assert state.energy - mu * state.composition[1] == pytest.approx(slope, abs=1e-8)


def test_states_are_all_there_once_with_any_species():
    h = ternary_two_sublattices().on((2, 1, 1))
    occ = enumerate_states(h)
    expected = list(itertools.product(*(range(s) for s in h.lattice.n_species)))
    assert occ.dtype == np.int8
    assert [tuple(r) for r in occ.tolist()] == expected
    table = Enumeration(h)
    assert np.array_equal(table.index(occ), np.arange(len(occ)))


def test_brute_force_with_several_sublattices():
    h = ternary_two_sublattices().on((2, 1, 1))
    T, mu = 0.7, np.array([0.1, -0.2, 0.35, 0.0, -0.4])
    z, numbers = 0.0, np.zeros(5)
    for row in itertools.product(*(range(s) for s in h.lattice.n_species)):
        names = [h.lattice.species[b][k] for b, k in zip(h.lattice.sublattice, row, strict=True)]
        n = np.array([names.count(e) for e in h.elements])
        w = np.exp(-(float(h.energy(torch.tensor([row]))[0]) - mu @ n) / T)
        z, numbers = z + w, numbers + w * n
    state = Enumeration(h).at(h.condition(T, mu))
    assert state.log_z == pytest.approx(np.log(z))
    assert state.composition == pytest.approx(numbers / z / h.n_sites)


def test_errors_say_what_to_do(cuau):
    with pytest.raises(AlloygenError, match=r"64 sites.*smaller supercell"):
        enumerate_states(data.cuau().on((4, 4, 4)))
    with pytest.raises(AlloygenError, match="at most 10 "):
        Enumeration(ising(2), limit=10)
    with pytest.raises(BadCondition, match=r"\('Cu', 'Au'\), got 3"):
        cuau.at(Condition(600.0, [0.0, 0.02, 0.0], cuau.hamiltonian.kB))
    with pytest.raises(BadCondition, match=r"expected a Condition, such as hamiltonian\.condition"):
        cuau.at(600.0)
