"""Hulls against linear programs and pymatgen, and the transitions and formation energies that follow from them."""

import itertools

import numpy as np
import pytest
import torch
from ase.build import bulk
from small_systems import CUAU_HULL, hamiltonian, lp_hull

from alloygen.edge.match import match
from alloygen.errors import AlloygenError
from alloygen.hamiltonian.ising import ising
from alloygen.montecarlo.annealing import Cooling
from alloygen.montecarlo.ground_states import ground_states
from alloygen.results.hull import GroundStates, lower_hull
from alloygen.testing import random_expansion
from alloygen.testing.systems import FCC

FEW = dict(cooling=Cooling(sweeps=5, steps=20, restarts=4))


# ---------------------------------------------------------------------- linear programs
@pytest.mark.parametrize("elements, n", [(2, 12), (3, 7), (4, 5)])
def test_hulls_are_those_of_linear_programs(elements, n):
    rng = np.random.default_rng(elements)
    counts = np.array([c for c in itertools.product(range(n + 1), repeat=elements) if sum(c) == n])
    energy = counts @ rng.normal(size=elements) * 100 + rng.normal(size=len(counts)) * 0.01
    np.testing.assert_allclose(lower_hull(counts, energy).at(counts), lp_hull(counts, energy, counts), atol=1e-9)


@pytest.mark.parametrize(
    "counts, energy",
    [
        ([[3, 0], [2, 1], [1, 2], [0, 3]], [1.0, 3.0, 5.0, 7.0]),  # flat
        ([[4, 0], [1, 3]], [2.0, -1.0]),  # two compositions
        ([[4, 0], [4, 0], [1, 3]], [2.0, 5.0, -1.0]),  # one of them twice
        ([[4, 0]], [2.0]),
        ([[4, 0, 0], [2, 1, 1], [0, 2, 2]], [0.0, -1.0, 0.0]),  # three elements on a line
        ([[2, 0, 0], [0, 2, 0], [0, 0, 2]], [1.0, 2.0, 3.0]),
        ([[2, 0, 0], [0, 2, 0], [0, 0, 2], [1, 1, 0], [1, 0, 1], [0, 1, 1]], [0.0] * 6),
    ],
)
def test_hulls_without_an_interior(counts, energy):
    np.testing.assert_allclose(lower_hull(counts, energy).at(counts), lp_hull(counts, energy, counts), atol=1e-9)


# ---------------------------------------------------------------------- formation energies and transitions
def test_formation_energies_are_measured_from_the_ends():
    """Pure ends have none, with a field, with rows that leave the ends out, and with spectators."""
    h = hamiltonian("spectator")
    g = ground_states(h, [{"B": 2}, {"A": 1}], **FEW)
    assert g.counts.tolist() == [[4, 2, 6], [1, 5, 6]]
    a, b = (float(h.energy(torch.tensor([k, 0] * 6))[0]) for k in (0, 1))
    np.testing.assert_allclose(g.formation_energy, (g.energy - [(4 * a + 2 * b) / 6, (a + 5 * b) / 6]) / 6, atol=1e-12)
    ends = ground_states(h, [0, 6], **FEW)
    np.testing.assert_allclose(ends.formation_energy, 0, atol=1e-12)
    assert ends.on_hull.all() and len(ends.transitions()) == 1


def test_the_transitions_of_cuau(cuau_states):
    e = [CUAU_HULL[n] for n in sorted(CUAU_HULL)]
    got = cuau_states.transitions()
    assert [t.mu for t in got] == pytest.approx([4 * (b - a) for a, b in itertools.pairwise(e)], abs=1e-6)
    assert [t.below.get("Au", 0) for t in got] == [0, 16, 32, 48] and [t.above["Au"] for t in got] == [16, 32, 48, 64]
    for t in got:  # both phases have one and the same E - mu.N, and nothing is below
        grand = cuau_states.energy - t.mu * cuau_states.counts[:, 1]
        assert grand[[t.below.get("Au", 0), t.above["Au"]]] == pytest.approx(grand.min(), abs=1e-9)


def test_a_ferromagnet_in_a_field_has_its_ends_alone_on_the_hull():
    g = ground_states(ising(4, h=0.3), **FEW)
    assert g.counts[g.on_hull].tolist() == [[16, 0], [0, 16]]
    assert [t.mu for t in g.transitions()] == pytest.approx([-0.6], abs=1e-9)
    assert g.formation_energy[8] == pytest.approx(1.0)  # two walls of 4 bonds each, 2 J a bond


def test_a_degenerate_hull_is_on_the_hull_as_a_whole():
    """Isolated spins cost the same one by one up to the checkerboard: every composition ties with a mixture."""
    g = ground_states(ising(4, h=0.2, J=-1), **FEW)
    assert g.on_hull.all()
    got = g.transitions()
    assert [t.mu for t in got] == pytest.approx([-8.4, 7.6], abs=1e-9)
    assert got[0].below == {"-": 16} and got[0].above == got[1].below == {"-": 8, "+": 8} and got[1].above == {"+": 16}


# ---------------------------------------------------------------------- other libraries
@pytest.mark.slow
@pytest.mark.parametrize("structures", [True, False])
def test_pymatgen_agrees_on_the_hull(cuau_states, structures):
    atoms_map = (
        match(bulk("Cu", a=3.8).repeat((4, 4, 4)), cuau_states.hamiltonian.expansion.primitive) if structures else None
    )
    rows = slice(1, 60)  # without the ends, which come in by themselves
    part = (getattr(cuau_states, k)[rows] for k in ("counts", "occ", "energy"))
    g = GroundStates(cuau_states.hamiltonian, *part, cuau_states.sites, cuau_states.hits[rows], atoms_map)
    diagram = g.to_pymatgen()
    stable = {e.entry_id for e in diagram.stable_entries}
    assert stable == {*map(str, np.flatnonzero(g.on_hull)), "end 0", "end 1"} and len(stable) == 5
    for entry in diagram.all_entries:
        if entry.entry_id.isdigit():
            k = int(entry.entry_id)
            assert diagram.get_form_energy_per_atom(entry) == pytest.approx(g.formation_energy[k], abs=1e-9)
            assert diagram.get_e_above_hull(entry) == pytest.approx(g.distance[k], abs=1e-9)
            assert hasattr(entry, "structure") == structures
    if structures:
        atoms = g.atoms[15]
        assert str(atoms.symbols) != "" and atoms.get_chemical_formula() == "Au16Cu48"
        assert atoms.get_potential_energy() == g.energy[15] and atoms.info["distance"] == g.distance[15]


@pytest.mark.slow
def test_pymatgen_agrees_on_a_ternary():
    h = random_expansion(FCC, [[0, 0, 0]], [("Cu", "Ag", "Au")], 1).on((2, 3, 1))
    g = ground_states(h, **FEW)
    diagram = g.to_pymatgen()
    assert {int(e.entry_id) for e in diagram.stable_entries} == set(np.flatnonzero(g.on_hull))
    above = [diagram.get_e_above_hull(e) for e in sorted(diagram.all_entries, key=lambda e: int(e.entry_id))]
    np.testing.assert_allclose(above, g.distance, atol=1e-9)


def test_tables_of_the_result(cuau_states):
    frame, data = cuau_states.to_pandas(), cuau_states.to_xarray()
    assert frame[frame.on_hull].Au.tolist() == sorted(CUAU_HULL) and len(frame) == 65
    np.testing.assert_array_equal(data.counts.sel(element="Au"), cuau_states.counts[:, 1])
    np.testing.assert_array_equal(data.occ, cuau_states.occ)
    assert data.formation_energy.dims == ("composition",) and data.attrs["unit"] == "eV" and len(cuau_states) == 65


# ---------------------------------------------------------------------- what is refused
def test_what_the_result_cannot_give():
    h = hamiltonian("two-sublattice")
    g = ground_states(h, [{"A": 1, "B": 4, "C": 1, "X": 2}], **FEW)
    with pytest.raises(AlloygenError, match="one kind"):
        g.to_pymatgen()
    with pytest.raises(AlloygenError, match="two elements"):
        g.transitions()
    with pytest.raises(AlloygenError, match="chemical symbols as species, got A"):
        _ = g.atoms
    with pytest.raises(AlloygenError, match="chemical elements"):
        ground_states(ising(3), [2], **FEW).to_pymatgen()
