"""Conditions: what is accepted, what it means, and what is refused in words."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from alloygen.conditions import (
    chemical_potentials,
    cuau_grid,
    exchangeable,
    field_from_mu,
    grid,
    mu_from_field,
    temperature,
)
from alloygen.errors import BadCondition, UnknownSpecies
from alloygen.lattice import Lattice, Primitive

CUAU = Primitive(np.eye(3), [[0, 0, 0]], [("Cu", "Au")])
AUCU = Primitive(np.eye(3), [[0, 0, 0]], [("Au", "Cu")])
TERNARY = Primitive(np.eye(3), [[0, 0, 0]], [("Cu", "Au", "Ag")])
OXIDE = Primitive(np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], [("O",), ("Mg", "Ni")])
BOTH_ORDERS = Primitive(np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], [("Cu", "Au"), ("Au", "Cu")])
TWO_SETS = Primitive(np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], [("Mg", "Ni"), ("O", "F")])


@pytest.mark.parametrize("T", [300, 300.0, np.float32(300), np.array(300), torch.tensor(300)])
def test_temperature_is_any_real_number(T):
    assert temperature(T) == 300.0 and type(temperature(T)) is float


@pytest.mark.parametrize("T", [0, -1, float("nan"), float("inf"), "300", None, True, [300], 1j])
def test_temperature_refuses(T):
    with pytest.raises(BadCondition, match=r"above 0 \(kelvin.*got .*Give T=600"):
        temperature(T)


@pytest.mark.parametrize(
    "mu, primitive, expected",
    [
        ({"Au": 0.05}, CUAU, [0, 0.05]),
        ({"Cu": -0.05}, CUAU, [0, 0.05]),
        ({"Cu": 1.0, "Au": 1.05}, CUAU, [0, 0.05]),
        (0.05, CUAU, [0, 0.05]),
        (0.05, AUCU, [0, 0.05]),  # Au first: Cu is the last
        ({"Au": 0.05}, AUCU, [0, -0.05]),
        ({"Au": 0.1, "Ag": -0.2}, TERNARY, [0, 0.1, -0.2]),
        ({"Cu": 0.1, "Ag": -0.2}, TERNARY, [0, -0.1, -0.3]),
        ({"Ni": 0.3}, OXIDE, [0, 0, 0.3]),  # elements are O, Mg, Ni
        (0.3, OXIDE, [0, 0, 0.3]),
        ({"Ni": 0.3, "O": 5.0}, OXIDE, [0, 0, 0.3]),
        ({"Mg": 0.0, "Ni": 0.3, "F": 0.1}, TWO_SETS, [0, 0.3, 0, 0.1]),
    ],
)
def test_chemical_potentials_keep_differences(mu, primitive, expected):
    for where in (primitive, Lattice(primitive, (2, 1, 1))):
        np.testing.assert_allclose(chemical_potentials(mu, where), expected, atol=1e-14)


def test_nothing_exchangeable_needs_no_mu():
    pure = Primitive(np.eye(3), [[0, 0, 0]], [("Cu",)])
    assert exchangeable(pure) == ()
    np.testing.assert_array_equal(chemical_potentials(None, pure), [0.0])


@pytest.mark.parametrize(
    "mu, primitive, error, words",
    [
        (None, CUAU, BadCondition, r"got mu=None.*mu=\{\"Au\": 0.05\}"),
        ({}, CUAU, BadCondition, "Cu, Au are missing"),
        ({"Au": 0.1}, TERNARY, BadCondition, "Cu, Ag are missing.*with 0 if you mean 0"),
        ({"Ni": 0.1}, TWO_SETS, BadCondition, "Mg, O, F are missing"),
        (0.1, TERNARY, BadCondition, "a bare number is for two exchangeable elements and here are 3"),
        (0.1, BOTH_ORDERS, BadCondition, "different orders"),
        ({"Pt": 0.1}, CUAU, UnknownSpecies, "among Cu, Au, got mu of Pt.*Drop it"),
        ({"Au": float("nan")}, CUAU, BadCondition, "mu of Au as one finite number.*got nan"),
        (float("inf"), CUAU, BadCondition, "finite number.*got inf"),
        ({"Au": "a"}, CUAU, BadCondition, "mu of Au as one finite number.*got 'a'"),
        ({"Au": True}, CUAU, BadCondition, "got True"),
        ("Au", CUAU, BadCondition, "dict by element or one number, got 'Au'"),
        ([0.1], CUAU, BadCondition, "dict by element or one number"),
    ],
)
def test_chemical_potentials_refuse(mu, primitive, error, words):
    with pytest.raises(error, match=words):
        chemical_potentials(mu, primitive)


def test_field_is_half_of_mu():
    """E - field * sum(sigma) and E - mu N_Au differ by a constant when mu = 2 field."""
    assert mu_from_field(0.12) == 0.24 and field_from_mu(0.24) == 0.12
    sigma = np.array([1, 1, -1, 1, -1])
    flipped = np.array([1, 1, 1, 1, -1])
    gain_field = 0.07 * (flipped.sum() - sigma.sum())
    gain_mu = mu_from_field(0.07) * ((flipped == 1).sum() - (sigma == 1).sum())
    assert gain_field == pytest.approx(gain_mu)
    np.testing.assert_allclose(field_from_mu(mu_from_field(np.linspace(-1, 1, 5))), np.linspace(-1, 1, 5))


@pytest.mark.parametrize(
    "mu", [{"Au": [-0.1, 0.1]}, {"Au": np.array([-0.1, 0.1])}, [-0.1, 0.1], (({"Au": -0.1}), 0.1), {"Cu": [0.1, -0.1]}]
)
def test_grid_is_an_outer_product_with_T_slow(mu):
    T, m = grid(range(300, 601, 300), mu, CUAU)
    np.testing.assert_array_equal(T, [300, 300, 600, 600])
    np.testing.assert_allclose(m, [[0, -0.1], [0, 0.1]] * 2)


def test_grid_of_scalars_is_one_condition():
    T, m = grid(300, {"Au": 0.1}, CUAU)
    assert T.shape == (1,) and m.shape == (1, 2)
    assert grid(np.float64(300), np.float64(0.1), CUAU)[1].tolist() == [[0.0, 0.1]]


def test_grid_varies_one_element_and_keeps_the_others():
    _, m = grid(300, {"Au": [0.1, 0.2], "Ag": 0.3}, TERNARY)
    np.testing.assert_allclose(m, [[0, 0.1, 0.3], [0, 0.2, 0.3]])


@pytest.mark.parametrize(
    "T, mu, words",
    [
        ([], 0.1, "at least one temperature and one mu"),
        (300, [], "at least one temperature and one mu"),
        (300, {"Au": []}, "at least one mu of Au"),
        (300, {"Au": [1, 2], "Cu": [1, 2]}, "one element at most has a sequence.*list of dicts"),
        ([300, -1], 0.1, "above 0"),
        (300, None, "got mu=None"),
        (300, np.zeros((2, 2)), r"array of shape \(2, 2\)"),
    ],
)
def test_grid_refuses(T, mu, words):
    with pytest.raises(BadCondition, match=words):
        grid(T, mu, CUAU)


def test_cuau_grid_has_110_conditions_in_order():
    T, dmu = cuau_grid()
    assert T.shape == dmu.shape == (110,)
    assert sorted(zip(T, dmu, strict=True)) == list(zip(T, dmu, strict=True))
    assert set(T) == {100.0 * k for k in range(2, 13)}
    assert np.isclose(dmu, 0.0724).sum() == 11 and np.isclose(dmu, 0.0).sum() == 11
    assert dmu.min() == -0.24 and dmu.max() == 0.24


def test_importing_conditions_brings_no_heavy_library():
    heavy = ("ase", "torch", "pymatgen", "numba")
    code = f"import sys, alloygen.conditions; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
