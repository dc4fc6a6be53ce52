"""Tables of single flips against the slow energies, on every kind of system and for every way to cut the tables."""

import numpy as np
import pytest
import torch
from small_systems import generator, hamiltonian

import alloygen.data
from alloygen.hamiltonian.flips import build_flip_tables, fill_states, flip_energy, set_species
from alloygen.hamiltonian.ising import ising
from alloygen.lattice import Primitive
from alloygen.testing import SYSTEMS, random_expansion

FCC = 0.5 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]])


def ternary_cuau():
    """The shape of the CuAu expansion with three species: far pairs are counted, many-body clusters need several tables."""
    cuau = alloygen.data.cuau()
    primitive = Primitive(cuau.primitive.cell, cuau.primitive.basis, [("Cu", "Au", "Ag")])
    functions = np.hstack([cuau.functions, [[0.3]]]) if cuau.functions.shape[1] == 2 else cuau.functions
    return type(cuau)(primitive, functions, cuau.orbits, name="ternary of CuAu")


LARGER = {
    "ising-7": lambda: ising(7, h=0.2),
    "cuau-4x4x4": lambda: alloygen.data.cuau().on((4, 4, 4)),
    "cuau-3x4x5": lambda: alloygen.data.cuau().on((3, 4, 5)),
    "ternary-3x3x4": lambda: ternary_cuau().on((3, 3, 4)),
    "wide": lambda: random_expansion(FCC, [[0, 0, 0]], [("A", "B", "C", "D")], 9, orders=(1, 2, 3, 4)).on((3, 3, 2)),
}


def build(name):
    return LARGER[name]() if name in LARGER else hamiltonian(name)


@pytest.mark.parametrize("name", [*SYSTEMS, *LARGER])
@pytest.mark.parametrize("max_states", [2**13, 30])
def test_flip_energies_are_energy_differences(name, max_states):
    """Along a random walk, so that the states have been changed many times before each comparison."""
    h = build(name)
    tables, rng = build_flip_tables(h, max_states), np.random.default_rng(1)
    free = np.flatnonzero(h.lattice.n_species > 1)
    x = h.random(1, generator(3))[0].numpy().astype(np.int8)
    states = np.zeros(h.n_sites * tables.n_words, dtype=np.int64)
    fill_states(tables, x, states)
    walk, sites, species, fast = [], [], [], []
    for _ in range(150):
        i = int(rng.choice(free))
        new = int(rng.integers(h.lattice.n_species[i] - 1))
        new += new >= x[i]
        walk.append(x.copy())
        sites.append(i)
        species.append(new)
        fast.append(flip_energy(tables, states, tables.n_words, i, int(x[i]), new))
        set_species(tables, x, states, i, new)
    slow = h.change(torch.tensor(np.stack(walk)).long(), torch.tensor(sites), torch.tensor(species)).numpy()
    np.testing.assert_allclose(fast, slow, rtol=0, atol=1e-11)
    assert np.abs(slow).max() > 1e-3
    again = np.zeros_like(states)
    fill_states(tables, x, again)
    assert np.array_equal(states, again)


def test_small_tables_are_used_and_packed():
    """Many-body clusters within few short tables, far pairs counted, all states of a site in one word."""
    t = build_flip_tables(alloygen.data.cuau().on((5, 5, 5)))
    assert t.n_words == 1 and t.start.shape[1] == 3 and len(t.value) < 20_000
    assert t.target.shape[1] == 54  # first four shells: 12 + 6 + 24 + 12 sites, each entered once
    few = build_flip_tables(ternary_cuau().on((4, 4, 8)))
    assert few.n_words > 1 and len(few.value) < 2**20
    assert len(build_flip_tables(ising(6)).value) == 1 + 5  # a count of 0..4 up-neighbours


def test_a_wrong_table_is_seen():
    """Negative control: one entry off by a hundredth of an eV fails the comparison."""
    h = build("cuau-4x4x4")
    tables = build_flip_tables(h)
    broken = tables._replace(value=tables.value + 0.01)
    x = h.random(1, generator(0))[0].numpy().astype(np.int8)
    states = np.zeros(h.n_sites, dtype=np.int64)
    fill_states(tables, x, states)
    new = 1 - int(x[5])
    slow = float(h.change(torch.tensor(x)[None].long(), torch.tensor([5]), torch.tensor([new]))[0])
    assert flip_energy(tables, states, 1, 5, int(x[5]), new) == pytest.approx(slow, abs=1e-11)
    assert flip_energy(broken, states, 1, 5, int(x[5]), new) != pytest.approx(slow, abs=1e-3)
