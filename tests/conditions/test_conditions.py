"""Conditions: what is accepted, what it means, and what is refused in words."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from ase import Atoms
from small_systems import randomise

import alloygen
from alloygen.conditions import (
    Field,
    Grid,
    chemical_potentials,
    exchangeable,
    grid,
    mu_from_field,
    references,
    relative,
    temperature,
    temperatures,
)
from alloygen.errors import BadCondition, UnknownSpecies
from alloygen.exact.enumeration import Enumeration
from alloygen.lattice import Lattice, Primitive
from alloygen.models.causal import CausalModel
from alloygen.testing import random_expansion
from alloygen.testing.systems import FCC, PAIR

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
        ({"Cu": -0.05}, CUAU, [-0.05, 0]),
        ({"Cu": 1.0, "Au": 1.05}, CUAU, [1.0, 1.05]),
        ({}, CUAU, [0, 0]),
        (0.05, CUAU, [0, 0.05]),
        (0.05, AUCU, [0, 0.05]),  # Au first: Cu is the last
        ({"Au": 0.05}, AUCU, [0.05, 0]),
        ({"Au": 0.1, "Ag": -0.2}, TERNARY, [0, 0.1, -0.2]),
        ({"Cu": 0.1, "Ag": -0.2}, TERNARY, [0.1, 0, -0.2]),
        ({"Ag": 0.3}, TERNARY, [0, 0, 0.3]),
        ({"Ni": 0.3}, OXIDE, [0, 0, 0.3]),  # elements are O, Mg, Ni
        (0.3, OXIDE, [0, 0, 0.3]),
        ({"Ni": 0.3, "O": 5.0}, OXIDE, [5.0, 0, 0.3]),
        ({"Mg": 0.0, "Ni": 0.3, "F": 0.1}, TWO_SETS, [0, 0.3, 0, 0.1]),
        ({"Ni": 0.3}, TWO_SETS, [0, 0.3, 0, 0]),
    ],
)
def test_chemical_potentials_are_kept_and_0_where_not_named(mu, primitive, expected):
    for where in (primitive, Lattice(primitive, (2, 1, 1))):
        np.testing.assert_array_equal(chemical_potentials(mu, where), expected)


@pytest.mark.parametrize(
    "primitive, expected",
    [(CUAU, [0, 0]), (TERNARY, [0, 0, 0]), (OXIDE, [0, 1, 1]), (BOTH_ORDERS, [0, 0]), (TWO_SETS, [0, 0, 2, 2])],
)
def test_references_join_what_can_change_places(primitive, expected):
    assert references(primitive).tolist() == expected
    chain = Primitive(np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0, 0]], [("A", "B"), ("C", "D"), ("B", "C")])
    assert references(chain).tolist() == [0, 0, 0, 0]  # A and D through B and C


def test_relative_mu_knows_no_shift_of_what_is_conserved():
    mu = np.array([0.25, 0.5, -0.125, 1.0])  # Mg, Ni, O, F
    np.testing.assert_array_equal(relative(mu, TWO_SETS), [0, 0.25, 0, 1.125])
    np.testing.assert_array_equal(
        relative(torch.from_numpy(mu + np.array([2, 2, -4, -4]))[None], TWO_SETS), [[0, 0.25, 0, 1.125]]
    )
    np.testing.assert_array_equal(relative(np.array([3.0, 0.5, 0.75]), OXIDE), [0, 0, 0.25])  # the spectator's own


def test_nothing_exchangeable_needs_no_mu():
    pure = Primitive(np.eye(3), [[0, 0, 0]], [("Cu",)])
    assert exchangeable(pure) == ()
    np.testing.assert_array_equal(chemical_potentials(None, pure), [0.0])


@pytest.mark.parametrize(
    "mu, primitive, error, words",
    [
        (None, CUAU, BadCondition, r"got mu=None.*mu=\{\"Au\": 0.05\}"),
        (0.1, TERNARY, BadCondition, "a bare number is for two exchangeable elements and here are 3"),
        (0.1, BOTH_ORDERS, BadCondition, "different orders"),
        ({"Pt": 0.1}, CUAU, UnknownSpecies, "among Cu, Au, got mu of Pt.*Drop it"),
        ({"Au": float("nan")}, CUAU, BadCondition, "mu of Au as one finite number.*got nan"),
        (float("inf"), AUCU, BadCondition, "finite number, mu_Cu - mu_Au .*got inf"),
        (
            Field(((0, 0.1),)),
            CUAU,
            BadCondition,
            r"Hamiltonian or a ClusterExpansion.*mu_from_field\(field, expansion\)",
        ),
        ({"Au": "a"}, CUAU, BadCondition, "mu of Au as one finite number.*got 'a'"),
        ({"Au": True}, CUAU, BadCondition, "got True"),
        ("Au", CUAU, BadCondition, "dict by element or one number, got 'Au'"),
        ([0.1], CUAU, BadCondition, "dict by element or one number"),
    ],
)
def test_chemical_potentials_refuse(mu, primitive, error, words):
    with pytest.raises(error, match=words):
        chemical_potentials(mu, primitive)


@pytest.mark.parametrize("field", [None, "a", float("nan"), True, {"c2_0": 0.1}, {"c1_0": None}, {"Au": 0.1}])
def test_fields_refuse(field):
    with pytest.raises(BadCondition, match="a field as one finite number, or as a dict of point clusters"):
        mu_from_field(field)


@pytest.mark.parametrize(
    "T, expected",
    [
        (300, [300]),
        ([900, 700, 900], [700, 900]),
        ((t for t in (500, 400)), [400, 500]),
        (np.concatenate([np.arange(300, 601, 100), np.arange(600, 299, -150)]), [300, 400, 450, 500, 600]),
        ([0.1 + 0.2, 0.3], [0.3]),
    ],
)
def test_temperatures_rise_and_each_comes_once(T, expected):
    np.testing.assert_allclose(temperatures(T), expected)


@pytest.mark.parametrize("T", [None, [], "hot", ["600"], [600, float("nan")], {}, [[600]], np.zeros((2, 2)), iter(())])
def test_temperatures_refuse(T):
    with pytest.raises(BadCondition):
        temperatures(T)


@pytest.mark.parametrize(
    "mu", [{"Au": [-0.1, 0.1]}, {"Au": np.array([-0.1, 0.1])}, [-0.1, 0.1], (({"Au": -0.1}), 0.1), [0.1, -0.1, 0.1]]
)
def test_grid_is_an_outer_product_with_T_slow(mu):
    found = grid(range(300, 601, 300), mu, CUAU)
    T, m = found.condition(kB=1.0).arrays()
    np.testing.assert_array_equal(T, [300, 300, 600, 600])
    np.testing.assert_allclose(m, [[0, -0.1], [0, 0.1]] * 2)
    assert len(found) == 4 and found.condition(kB=0.5).kB == 0.5


@pytest.mark.parametrize(
    "T, mu", [([0.0, 1.0], [0.0, 0.1]), ([], [0.0, 0.1]), ([[1.0]], [0.0, 0.1]), (1.0, [0.0, np.nan]), ("hot", [0.0]), (1.0, {"Au": 1})]
)  # fmt: skip
def test_what_is_no_grid_is_refused(T, mu):
    with pytest.raises(BadCondition, match="expected temperatures"):
        Grid(T=T, mu=mu)


def test_a_grid_keeps_no_array_of_the_caller():
    T, mu = np.array([1.0, np.inf]), np.zeros((2, 2))
    g = Grid(T=T, mu=mu)
    T[:], mu[:] = 9.0, 9.0
    assert g.T.tolist() == [1.0, np.inf] and not g.mu.any()


def test_axes_rise_in_the_differences_and_merge_what_is_given_twice():
    g = grid((t for t in [900, 700, 900]), ({"Au": v} for v in [0.1, 0.3 - 0.2, -0.2]), CUAU)
    assert g.T.tolist() == [700, 900]
    np.testing.assert_allclose(g.mu, [[0, -0.2], [0, 0.1]])
    m = grid(700, {"Cu": [0.1, -0.1, 0.1]}, CUAU).mu
    np.testing.assert_allclose(m, [[0.1, 0], [-0.1, 0]])  # mu_Au - mu_Cu rises
    m = grid(700, [{"Cu": 0.4, "Au": 0.2}, {"Au": -0.2}, {"Cu": 0.4, "Au": 0.2}], CUAU).mu
    np.testing.assert_allclose(m, [[0, -0.2], [0.4, 0.2]])  # one law, two Phi: both stay


def test_grid_of_scalars_is_one_condition():
    g = grid(300, {"Au": 0.1}, CUAU)
    assert g.T.shape == (1,) and g.mu.shape == (1, 2)
    assert grid(np.float64(300), np.float64(0.1), CUAU).mu.tolist() == [[0.0, 0.1]]


def test_grid_varies_one_element_and_keeps_the_others():
    m = grid(300, {"Au": [0.1, 0.2], "Ag": 0.3}, TERNARY).mu
    np.testing.assert_allclose(m, [[0, 0.1, 0.3], [0, 0.2, 0.3]])


def test_several_mu_of_what_no_site_exchanges_are_refused():
    """They would be conditions of one law. One value is kept, and moves Phi."""
    salt = Primitive(np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], [("Li", "Mn"), ("O",)])
    assert grid(600, {"O": 0.1, "Mn": [0.0, 0.2]}, salt).mu.tolist() == [[0.0, 0.0, 0.1], [0.0, 0.2, 0.1]]
    for mu in ({"O": [0.0, 0.1]}, [{"O": 0.1}, {"Mn": 0.1}]):
        with pytest.raises(BadCondition, match="share a sublattice with others, Li, Mn, got them of O"):
            grid(600, mu, salt)


def test_several_sequences_are_a_grid():
    """Each value of one element with each of the other, sorted by the differences; a binary's are a line."""
    m = grid(300, {"Au": [0.2, 0.1], "Ag": np.array([0.3, 0.0]), "Cu": 0.0}, TERNARY).mu
    np.testing.assert_allclose(m, [[0, 0.1, 0.0], [0, 0.1, 0.3], [0, 0.2, 0.0], [0, 0.2, 0.3]])
    line = grid(300, {"Au": [1, 2], "Cu": [1, 3]}, CUAU).mu
    assert len(line) == 4 and (np.diff(line[:, 1] - line[:, 0]) >= 0).all()


@pytest.mark.parametrize(
    "T, mu, words",
    [
        ([], 0.1, "at least one temperature"),
        (300, [], "at least one mu"),
        (300, {"Au": []}, "at least one mu of Au"),
        (300, {"Au": [1, 2], "Cu": []}, "at least one mu of Cu"),
        ([300, -1], 0.1, "above 0"),
        (300, None, "got mu=None"),
        (300, np.zeros((2, 2)), r"array of shape \(2, 2\)"),
    ],
)
def test_grid_refuses(T, mu, words):
    with pytest.raises(BadCondition, match=words):
        grid(T, mu, CUAU)


def test_cuau_grid_has_110_conditions_in_order():
    T, dmu = alloygen.data.grids()["cuau"].pairs()
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


# ---------------------------------------------------------------------- Phi belongs to the mu that is given
ALLOYS = {
    "binary": (FCC, [[0, 0, 0]], [("Cu", "Au")], (2, 2, 2)),
    "adsorbate": (np.eye(3), [[0, 0, 0]], [("X", "O")], (3, 3, 1)),
    "ternary": (FCC, [[0, 0, 0]], [("Ni", "Co", "Cr")], (2, 3, 1)),
    "two sublattices": (np.eye(3), PAIR, [("Mg", "Ni"), ("O", "F")], (2, 2, 1)),
    "spectator": (np.eye(3), PAIR, [("O",), ("Mg", "Ni")], (2, 2, 2)),
}
GIVEN = [
    ("binary", {"Au": 0.05}),
    ("binary", {"Cu": 0.2}),
    ("binary", {"Cu": 0.4, "Au": 0.2}),
    ("binary", 0.05),
    ("adsorbate", {"O": -0.3}),
    ("adsorbate", {"X": 0.3}),
    ("ternary", {"Co": 0.05}),
    ("ternary", {"Ni": 0.1, "Co": 0.05}),
    ("ternary", {"Ni": 0.1, "Co": 0.05, "Cr": -0.03}),
    ("two sublattices", {"Ni": 0.1}),
    ("two sublattices", {"Mg": 0.1, "Ni": 0.15, "O": 0.2, "F": 0.24}),
    ("spectator", {"Ni": 0.05, "O": 0.7}),
    ("spectator", {"Mg": 0.05}),
]


def alloy(name):
    """(expansion, Atoms) of a random Hamiltonian, not symmetric in any species."""
    cell, basis, species, repeats = ALLOYS[name]
    expansion = random_expansion(cell, basis, species, 7, size=0.01)
    cell = 3.0 * np.asarray(cell)
    atoms = Atoms([names[0] for names in species], scaled_positions=basis, cell=cell, pbc=True).repeat(repeats)
    return expansion, atoms


def vector(mu, elements) -> np.ndarray:
    return np.array([mu.get(e, 0.0) for e in elements]) if isinstance(mu, dict) else np.array([0.0, mu])


@pytest.mark.slow
@pytest.mark.parametrize("name, mu", GIVEN)
def test_phi_is_that_of_the_mu_given(name, mu):
    expansion, atoms = alloy(name)
    h, T = expansion.on(ALLOYS[name][3]), 900.0
    given = vector(mu, h.elements)
    truth = Enumeration(h).at(h.condition(T, given))
    scan = alloygen.mc(atoms, T, mu, n=1500, hamiltonian=expansion, check=False)
    width = [0.3] * (len(h.elements) - 1)
    net = randomise(
        CausalModel(h, {"T": [500.0, 1200.0], "mu": [[-w, w] for w in width]}, width=16, depth=1, heads=2), scale=0.05
    )
    drawn = alloygen.sample(atoms, T, mu, n=1500, sampler=net)
    row = scan.to_pandas().iloc[0]
    assert scan.at(T, mu).mu.tolist() == drawn.mu.tolist() == given.tolist()
    assert [row[f"mu_{e}"] for e in h.elements] == given.tolist()
    for ens in (scan[0], drawn):
        phi = ens.free_energy()
        assert abs(phi.value - truth.phi) < 5 * phi.stderr + 1e-6 and phi.stderr < 2e-3
        entropy = ens.entropy()
        assert abs(entropy.value - (truth.energy - given @ truth.composition - truth.phi) / T) < 5 * entropy.stderr
    assert abs(row["phi"] - truth.phi) < 5 * row["phi_stderr"]
    assert {f"mu_{e}" for e in h.elements} <= set(scan[0].atoms[0].info)


@pytest.mark.slow
@pytest.mark.parametrize("mu, exact", [({"Cu": 0.2}, -0.20086), ({"Cu": 0.4, "Au": 0.2}, -0.40086)])
def test_phi_of_the_shipped_model_is_that_of_the_mu_given(mu, exact):
    atoms = Atoms("Au", cell=3.8 * FCC, pbc=True).repeat((2, 2, 4))
    for method in ("neural", "mc"):
        phi = alloygen.sample(atoms, 600, mu, n=800, seed=0, sampler=method).free_energy()
        assert abs(phi.value - exact) < 5 * phi.stderr + 1e-5 and phi.stderr < 2e-3


@pytest.mark.slow
def test_free_energies_at_a_composition_know_no_shift_of_mu():
    """F = Phi + sum mu_k x_k, from neural and Monte Carlo scans in any gauge, against enumeration."""
    expansion, atoms = alloy("spectator")
    h, T = expansion.on((2, 2, 2)), 900.0
    e = Enumeration(h)
    n = e.counts[:, h.elements.index("Ni")].astype(int)
    exact = [-h.kB * T * np.logaddexp.reduce(-e.energy[n == k] / (h.kB * T)) / h.n_sites for k in range(9)]
    net = randomise(
        CausalModel(h, {"T": [500.0, 1200.0], "mu": [[-0.3, 0.3]] * 2}, width=16, depth=1, heads=2), scale=0.05
    )
    for mu in ({"Ni": [-0.1, 0.0, 0.1]}, {"Mg": [-0.1, 0.0, 0.1], "Ni": 0.05, "O": 0.4}):
        for how in ({"sampler": net}, {"hamiltonian": expansion, "sampler": "mc"}):
            scan = alloygen.scan(atoms, [T], mu, n=1000, adaptive=False, **how)
            table = scan.free_energies([T])
            z = (table.free_energy[0].values - exact)[1:-1] / table.free_energy_stderr[0].values[1:-1]
            assert np.abs(z).max() < 5
            binned = scan.binned_free_energy(T, 0.5)  # leaves out kT log p(x) / N <= 0
            assert binned.value == pytest.approx(exact[4], abs=h.kB * T * np.log(9 * 9) / h.n_sites)
            ens = scan.at(T, {k: v[0] if isinstance(v, list) else v for k, v in mu.items()})
            known = ens.averages.ladder  # averages of Monte Carlo rest on all conditions
            counts, w = (ens.counts, ens.weights) if known is None else (known.samples.counts, known.weights)
            x = counts.T @ w / h.n_sites
            assert ens.free_energy().value + ens.mu @ x == pytest.approx(
                float(ens.mean_energy().value - T * ens.entropy().value), abs=1e-6
            )
    with pytest.raises(BadCondition, match=r"0 of them\. Give mu as in the scan"):
        scan.at(T, {"Mg": 0.1})  # the same law as {"Mg": 0.15, "Ni": 0.05, "O": 0.4}, with another Phi


@pytest.mark.slow
def test_conditions_given_twice_are_one_everywhere():
    atoms = Atoms("Cu", cell=3.8 * FCC, pbc=True).repeat((2, 2, 2))
    T, mu = [900, 700, 900], {"Au": [0.05, 0.0, 0.05]}
    want = [(700.0, 0.0), (700.0, 0.05), (900.0, 0.0), (900.0, 0.05)]
    for scan in (
        alloygen.mc(atoms, (t for t in T), ({"Au": m} for m in mu["Au"]), n=60, check=False),
        alloygen.mc(atoms, T, mu, n=60, method="metropolis", check=False),
        alloygen.scan(atoms.repeat((1, 1, 2)), (t for t in T), mu, n=60),
        alloygen.scan(atoms.repeat((1, 1, 2)), T, mu, n=60, adaptive=False, sampler="mc"),
    ):
        seen = sorted(c for c in zip(scan.T.tolist(), scan.mu[:, 1].tolist(), strict=True) if c[0] in T)
        assert seen == want
    assert scan.free_energies([700, 700]).sizes["T"] == 1
    for bad in (None, [], float("nan"), "600", ["600"]):
        for call in (alloygen.mc, alloygen.scan):
            with pytest.raises(BadCondition, match="temperature"):
                call(atoms, bad, {"Au": 0.0})


def test_a_field_of_the_ising_model_gives_the_textbook_free_energy():
    """E - h sum s is E - mu.N for mu = (-h, h): Phi of the field is F of the model that has it."""
    from alloygen.hamiltonian.ising import ising

    bare, with_field = ising(3), ising(3, h=0.3)
    mu = chemical_potentials(mu_from_field(0.3), bare)
    assert mu.tolist() == [-0.3, 0.3] and mu_from_field(0.3, bare) == {"-": -0.3, "+": 0.3}
    assert Enumeration(bare).at(bare.condition(2.5, mu)).phi == pytest.approx(
        Enumeration(with_field).at(with_field.condition(2.5)).phi, abs=1e-12
    )
    assert [mu_from_field(h) for h in (0.1, 0.2)] == mu_from_field(np.array([0.1, 0.2]))
    with pytest.raises(BadCondition, match="fields of the 1 site functions of 'Ising'"):
        chemical_potentials(mu_from_field({"c1_1": 0.1}), bare)


def test_a_shift_of_mu_moves_phi_and_nothing_else():
    atoms = Atoms("Cu", cell=3.8 * FCC, pbc=True).repeat((2, 2, 4))
    a = alloygen.sample(atoms, 600, {"Au": 0.02}, n=200, seed=3)
    b = alloygen.sample(atoms, 600, {"Cu": 0.25, "Au": 0.27}, n=200, seed=3)
    assert np.array_equal(a.occ, b.occ)
    np.testing.assert_allclose(a.log_prob, b.log_prob, atol=1e-4)
    assert a.free_energy().value - b.free_energy().value == pytest.approx(0.25, abs=1e-6)
    assert "'Cu': 0.25, 'Au': 0.27" in repr(b)


@pytest.mark.slow
def test_a_plot_says_which_difference_is_drawn():
    import matplotlib.pyplot as plt

    from alloygen.results import plot

    atoms = Atoms("Au", cell=3.8 * FCC, pbc=True).repeat((2, 2, 4))
    data = alloygen.scan(atoms, [600, 700], {"Cu": [-0.1, 0.0, 0.1]}, n=60).to_xarray()
    for ax, label in ((plot.ness_map(data), "x"), (plot.heat_capacity(data), "legend")):
        text = ax.get_xlabel() if label == "x" else ax.get_legend().get_texts()[0].get_text()
        assert r"\mu_\mathrm{Au} - \mu_\mathrm{Cu}" in text
    plt.close("all")
