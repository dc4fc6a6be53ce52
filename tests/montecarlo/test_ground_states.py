"""Ground states against enumeration and the known phases of CuAu, and controls that fail."""

import numpy as np
import pytest
import torch
from small_systems import CUAU_HULL, enumeration, generator, grouped, hamiltonian, lp_hull

import alloygen.data
from alloygen.edge.problem import Problem
from alloygen.errors import AlloygenError, NotConverged
from alloygen.exact.enumeration import Enumeration
from alloygen.hamiltonian.ising import ising
from alloygen.montecarlo import ground_states as search
from alloygen.montecarlo.annealing import Cooling
from alloygen.montecarlo.ground_states import ground_states
from alloygen.results.hull import GroundStates
from alloygen.runtime.job import Job
from alloygen.testing import SYSTEMS, random_expansion
from alloygen.testing.systems import FCC

FEW = dict(cooling=Cooling(sweeps=5, steps=20, restarts=4))


def minima(energy, counts) -> dict[tuple, float]:
    """The lowest energy of each composition among all states."""
    out = {}
    for c, e in zip(counts.astype(int).tolist(), energy, strict=True):
        out[tuple(c)] = min(e, out.get(tuple(c), np.inf))
    return out


def found(g: GroundStates) -> dict[tuple, float]:
    assert len(np.unique(g.counts, axis=0)) == len(g)
    np.testing.assert_allclose(g.energy, g.hamiltonian.energy(g.occ), atol=1e-12)
    np.testing.assert_array_equal(g.counts, g.hamiltonian.counts(g.occ))
    return dict(zip(map(tuple, g.counts.tolist()), g.energy, strict=True))


# ---------------------------------------------------------------------- against enumeration
@pytest.mark.parametrize("name", [*SYSTEMS])
def test_every_composition_has_its_exact_minimum(name):
    e, g = enumeration(name), ground_states(hamiltonian(name), **FEW)
    exact = minima(e.energy, e.counts)
    assert found(g).keys() == exact.keys()
    np.testing.assert_allclose([exact[tuple(c)] for c in g.counts.tolist()], g.energy, atol=1e-10)
    hull = lp_hull(list(exact), list(exact.values()), g.counts)
    np.testing.assert_allclose(g.distance * len(g.sites), g.energy - hull, atol=1e-9)
    assert g.hits.max() == 4


def test_cuau_of_16_sites_is_exact_at_every_composition():
    h = alloygen.data.cuau().on((2, 2, 4))
    e = Enumeration(h)
    exact = minima(e.energy, e.counts)
    g = ground_states(h, **FEW)
    assert g.counts[:, 1].tolist() == list(range(17))
    np.testing.assert_allclose(g.energy, [exact[tuple(c)] for c in g.counts.tolist()], atol=1e-12)


def test_compositions_spread_over_sublattices_that_share_elements_in_part():
    """(A,B), (B,C), (C,A): swaps alone cannot turn A B C into B C A, the starts have to."""
    basis = [[0, 0, 0], [0.5, 0.5, 0], [0, 0.5, 0.5]]
    h = random_expansion(np.eye(3), basis, [("A", "B"), ("B", "C"), ("C", "A")], 7).on((3, 1, 1))
    e = Enumeration(h)
    exact, g = minima(e.energy, e.counts), ground_states(h, cooling=Cooling(sweeps=5, steps=10, restarts=16))
    assert found(g) == pytest.approx(exact, abs=1e-10)
    sites = np.arange(9)
    starts = search._starts(h, np.zeros(9, dtype=np.int8), sites, np.array([3, 3, 3]), 40, np.random.default_rng(0))
    assert (h.counts(torch.as_tensor(starts).long()) == 3).all()
    assert len(np.unique([row[::3].sum() for row in starts])) > 2  # how many B are on the first sublattice


@pytest.mark.parametrize("name", ["cuau-2x2x2", "ternary", "two-sublattice", "spectator"])
def test_fixed_sites_stay_and_the_rest_is_exact(name):
    h, e = hamiltonian(name), enumeration(name)
    free = np.flatnonzero(h.lattice.n_species > 1)
    fixed, base = free[[0, 2]], h.random(1, generator(3))[0]
    g = ground_states(Problem.of(h, fixed=fixed, occ=base), **FEW)
    assert (g.occ[:, fixed] == base[fixed].numpy()).all() and not set(g.sites) & set(fixed)
    allowed = (e.occ[:, fixed] == base[fixed].numpy()).all(1)
    assert found(g) == pytest.approx(minima(e.energy[allowed], e.counts[allowed]), abs=1e-10)
    mask = np.isin(np.arange(h.n_sites), fixed)
    again = ground_states(Problem.of(h, fixed=mask, occ=base), **FEW)
    assert np.array_equal(again.occ, g.occ)


def test_a_coarse_grid_is_completed_by_what_lies_below_its_hull(monkeypatch):
    """Only the corners of a ternary are given; the semigrand anneals must find all phases of the exact hull."""
    h = random_expansion(FCC, [[0, 0, 0]], [("A", "B", "C")], 1).on((2, 2, 2))
    e = Enumeration(h)
    exact = minima(e.energy, e.counts)
    monkeypatch.setattr(search, "GRID", 3)
    g = ground_states(h, **FEW)
    assert 3 < len(g) < len(exact)
    hull = lp_hull(list(exact), list(exact.values()), list(exact))
    np.testing.assert_allclose(g.hull.at(list(exact)), hull, atol=1e-9)
    monkeypatch.setattr(search, "ROUNDS", 1)
    with pytest.warns(NotConverged, match="1 rounds"):
        ground_states(h, **FEW)
    monkeypatch.setattr(search, "_below_facets", lambda *a: None)  # negative control
    assert len(ground_states(h, **FEW)) == 3


def test_neighbours_repair_a_bad_composition():
    h = hamiltonian("cuau-2x2x2")
    g = ground_states(h, **FEW)
    table = search._Lowest(h, g.counts)
    bad = g.occ.copy()
    bad[4] = (
        [0, 0, 0, 0, 1, 1, 1, 1]
        if g.energy[4] < h.energy(torch.tensor([0] * 4 + [1] * 4))[0] - 1e-6
        else [0, 1, 1, 0] * 2
    )
    table.offer(bad, h.energy(bad))
    assert table.energy[4] > g.energy[4] + 1e-6
    search._from_neighbours(table, g.sites)
    np.testing.assert_allclose(table.energy, g.energy, atol=1e-12)


# ---------------------------------------------------------------------- known phases
def test_the_hull_of_cuau_has_five_phases(cuau_states):
    assert {int(n) for n in cuau_states.counts[cuau_states.on_hull, 1]} == set(CUAU_HULL)
    for n, value in CUAU_HULL.items():
        assert cuau_states.formation_energy[n] == pytest.approx(value, abs=1e-9)
    assert (cuau_states.distance >= 0).all() and (cuau_states.distance[~cuau_states.on_hull] > 1e-5).all()
    assert "Cu64, Cu48Au16, Cu32Au32, Cu16Au48, Au64" in repr(cuau_states)


def test_random_configurations_do_not_find_the_hull(cuau_states):
    """Negative control: the best of many random rows at each composition."""
    h, rng = cuau_states.hamiltonian, np.random.default_rng(0)
    occ = np.concatenate(
        [search._starts(h, cuau_states.occ[0], cuau_states.sites, c, 200, rng) for c in cuau_states.counts]
    )
    table = search._Lowest(h, cuau_states.counts)
    table.offer(occ, h.energy(occ))
    g = GroundStates(
        h, cuau_states.counts, np.array(table.occ), np.array(table.energy), cuau_states.sites, cuau_states.hits
    )
    assert {int(n) for n in g.counts[g.on_hull, 1]} != set(CUAU_HULL)
    assert (g.energy[8:57] > cuau_states.energy[8:57] + 0.1).all()


def test_the_compositions_asked_for_come_in_their_order():
    h = ising(6, h=0.2, J=-1)
    g = ground_states(h, [18, {"+": 5}, {"-": 36}], **FEW)
    assert g.counts.tolist() == [[18, 18], [31, 5], [36, 0]]
    np.testing.assert_allclose(g.energy, [-72, 72 - 5 * 8 + 0.2 * 26, 72 + 0.2 * 36], atol=1e-9)


# ---------------------------------------------------------------------- seeds
@pytest.mark.parametrize("name", ["cuau-2x2x2", "two-sublattice"])
def test_the_seed_decides_and_threads_do_not(name):
    h = hamiltonian(name).expansion.on((2, 3, 2))
    go = lambda **kw: ground_states(h, [dict(zip(h.elements, c, strict=True)) for c in some], **FEW, **kw)  # noqa: E731
    some = h.counts(h.random(6, generator(0))).long().tolist()
    one, same, threads = go(seed=3), go(seed=3), go(seed=3, job=Job(threads=3))
    for g in (same, threads):
        assert (
            np.array_equal(one.occ, g.occ) and np.array_equal(one.energy, g.energy) and np.array_equal(one.hits, g.hits)
        )


# ---------------------------------------------------------------------- what is refused
BAD = [
    (dict(compositions=[]), "at least one composition"),
    (dict(compositions=[9]), "expected 8 atoms"),
    (dict(compositions=[{"Au": -1}]), "whole numbers"),
    (dict(compositions=[{"Ag": 1}]), "whole numbers"),
    (dict(compositions=[{"Au": 1.5}]), "whole numbers"),
    (dict(compositions=[{"Au": 4, "Cu": 5}]), "expected 8 atoms"),
    (dict(compositions="Au"), "whole numbers"),
    (dict(sweeps=0), "sweeps"), (dict(restarts=0), "restarts"), (dict(steps=1.5), "steps"),
    (dict(seed=-1), "seed"),
    (dict(T_start=100.0, T_end=200.0), "T_start >= T_end"), (dict(T_end=0.0), "temperature"),
    (dict(fixed=[0]), "fixed={site: species}, or occ="),
    (dict(fixed=[8], occ=[0] * 8), "from 0 to 7"), (dict(fixed=[True], occ=[0] * 8), "mask"),
    (dict(fixed=range(8), occ=[0] * 8), "exchangeable site that is free"),
    (dict(occ=[0] * 7), r"shape \(batch, 8\)"),
]  # fmt: skip


@pytest.mark.parametrize("arguments, message", BAD)
def test_bad_input_of_ground_states(arguments, message):
    with pytest.raises(AlloygenError, match=message):
        given = {k: arguments[k] for k in ("fixed", "occ") if "occ" in arguments and k in arguments}
        options = {k: v for k, v in arguments.items() if k not in given}
        ground_states(Problem.of(hamiltonian("cuau-2x2x2"), **given), **grouped(options, cooling=Cooling))


def test_what_the_sublattices_cannot_hold():
    h = hamiltonian("two-sublattice")
    with pytest.raises(AlloygenError, match="can hold"):
        ground_states(h, [{"A": 1, "B": 1, "C": 1, "X": 5}])
    with pytest.raises(AlloygenError, match="left out"):
        ground_states(h, [{"A": 1, "B": 1}])
