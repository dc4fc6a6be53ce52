"""Kaufman, transfer matrix and enumeration: three routes to one number."""

import numpy as np
import pytest

from alloygen.errors import AlloygenError, BadCondition
from alloygen.exact.enumeration import Enumeration
from alloygen.exact.ising import kaufman_free_energy, kaufman_log_z, transfer_matrix
from alloygen.hamiltonian.ising import ising, ising_expansion

TC = 2.0 / np.log(1.0 + np.sqrt(2.0))
TEMPERATURES = (0.05, 0.5, 1.5, TC, 2.5, 5.0, 100.0)


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (3, 3), (2, 4), (4, 3), (4, 4)])
def test_kaufman_is_enumeration(shape):
    table = Enumeration(ising_expansion().on((*shape, 1)))
    for T in TEMPERATURES:
        exact = table.at(table.hamiltonian.condition(T)).log_z
        assert kaufman_log_z(*shape, T) == pytest.approx(exact, rel=1e-13)
        assert kaufman_log_z(*shape[::-1], T) == pytest.approx(exact, rel=1e-13)


@pytest.mark.parametrize("L", [3, 4])
@pytest.mark.parametrize("T, h", [(0.8, 0.1), (1.5, -0.4), (2.3, 0.2), (5.0, 1.0)])
def test_transfer_matrix_is_enumeration_in_a_field(L, T, h):
    exact, got = Enumeration(ising(L, h)).at(ising(L, h).condition(T)), transfer_matrix(L, T, h)
    assert got.log_z == pytest.approx(exact.log_z, rel=1e-12)
    assert got.free_energy == pytest.approx(exact.phi, rel=1e-12)
    assert got.magnetization == pytest.approx(2 * exact.composition[1] - 1, abs=1e-12)
    assert got.energy - h * got.magnetization == pytest.approx(exact.energy, rel=1e-12)


def test_field_as_chemical_potential():
    """mu("+") - mu("-") = 2 h: split as -h, +h, Phi is the F of the field."""
    exact, got = Enumeration(ising(3)).at(ising(3).condition(2.0, [-0.3, 0.3])), transfer_matrix(3, 2.0, 0.3)
    assert exact.phi == pytest.approx(got.free_energy, rel=1e-12)
    assert exact.energy == pytest.approx(got.energy, rel=1e-12)


@pytest.mark.parametrize("J", [1.3, -1.0])
def test_rectangles_and_antiferromagnets(J):
    exact = Enumeration(ising_expansion(h=0.2, J=J).on((3, 4, 1))).at(
        ising_expansion(h=0.2, J=J).on((3, 4, 1)).condition(1.3)
    )
    for got in (transfer_matrix(3, 1.3, 0.2, M=4, J=J), transfer_matrix(4, 1.3, 0.2, M=3, J=J)):
        assert got.free_energy == pytest.approx(exact.phi, rel=1e-12)
        assert got.magnetization == pytest.approx(2 * exact.composition[1] - 1, abs=1e-12)


# F per site of the 10 x 10 torus, J = 1, kB = 1, each bond once
@pytest.mark.parametrize(
    "T, F",
    [
        (1.5, -2.018840394573),
        (2.0, -2.065459508365),
        (2.3, -2.133254974585),
        (2.5, -2.204692515388),
        (3.5, -2.732921693314),
    ],
)
def test_reference_numbers_at_side_10(T, F):
    assert kaufman_free_energy(10, T) == pytest.approx(F, abs=1e-11)


def test_transfer_matrix_is_kaufman_at_side_8():
    """The energy too: F - T dF/dT."""
    got, step = transfer_matrix(8, 2.3), 1e-3
    F, above, below = (kaufman_free_energy(8, 2.3 + d) for d in (0.0, step, -step))
    assert got.free_energy == pytest.approx(F, rel=1e-13)
    assert got.magnetization == pytest.approx(0.0, abs=1e-12)
    assert got.energy == pytest.approx(F - 2.3 * (above - below) / (2 * step), abs=1e-5)


def test_kaufman_is_stable_on_large_tori():
    """Ground state at low T, Onsager's limit at the critical point, free spins at high T."""
    for L in (100, 300):
        assert kaufman_free_energy(L, 1e-4) == pytest.approx(-2.0 - 1e-4 * np.log(2) / L**2, abs=1e-12)
        assert kaufman_free_energy(L, 1e6) == pytest.approx(-1e6 * np.log(2), rel=1e-9)
    catalan = 0.915965594177219
    onsager = -TC * (0.5 * np.log(2) + 2 * catalan / np.pi)
    gap = [onsager - kaufman_free_energy(L, TC) for L in (100, 200)]
    assert gap[0] / gap[1] == pytest.approx(4.0, rel=1e-3)  # finite-size correction ~ 1 / L^2
    near = [kaufman_free_energy(100, TC + d) for d in (-1e-9, 0.0, 1e-9)]
    assert np.ptp(near) < 1e-8


def test_errors_say_what_to_do():
    with pytest.raises(AlloygenError, match="transfer_matrix"):
        kaufman_log_z(4, 4, 2.0, J=-1.0)
    with pytest.raises(AlloygenError, match="kaufman_log_z"):
        transfer_matrix(20, 2.0)
    with pytest.raises(BadCondition, match="above 0"):
        kaufman_free_energy(4, 0.0)
