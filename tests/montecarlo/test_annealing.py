"""Ground states against enumeration and the known phases of CuAu, hulls against linear programs, and controls that fail."""

import itertools

import numpy as np
import pytest
import torch
from ase.build import bulk
from scipy.optimize import linprog
from small_systems import FCC, SYSTEMS, enumeration, generator, hamiltonian, random_expansion

import alloygen.data
from alloygen.convert import match
from alloygen.errors import AlloygenError, NotConverged
from alloygen.exact.enumeration import Enumeration
from alloygen.hamiltonian.ising import ising
from alloygen.montecarlo import annealing
from alloygen.montecarlo.annealing import GroundStates, anneal, ground_states, lower_hull

FORMATION = {0: 0.0, 16: -0.034167194, 32: -0.036182488, 48: -0.018754351, 64: 0.0}  # eV per site, by N_Au of 64
FEW = dict(sweeps=5, steps=20, restarts=4)


@pytest.fixture(scope="module")
def cuau() -> GroundStates:
    return ground_states(alloygen.data.cuau().on((4, 4, 4)), sweeps=5, restarts=4, seed=1)


def minima(energy, counts) -> dict[tuple, float]:
    """The lowest energy of each composition among all states."""
    out = {}
    for c, e in zip(counts.astype(int).tolist(), energy, strict=True):
        out[tuple(c)] = min(e, out.get(tuple(c), np.inf))
    return out


def found(g: GroundStates) -> dict[tuple, float]:
    assert len(np.unique(g.counts, axis=0)) == len(g)
    np.testing.assert_allclose(g.energy, g.hamiltonian.energy(torch.as_tensor(g.occ)).numpy(), atol=1e-12)
    np.testing.assert_array_equal(g.counts, g.hamiltonian.counts(torch.as_tensor(g.occ).long()).numpy())
    return dict(zip(map(tuple, g.counts.tolist()), g.energy, strict=True))


def lp_hull(counts, energy, at) -> np.ndarray:
    """The lowest energy of a mixture with composition ``at``, one linear program each: the slow, obvious way."""
    a = np.vstack([np.asarray(counts, dtype=float).T, np.ones(len(counts))])
    return np.array([linprog(energy, A_eq=a, b_eq=np.append(c, 1.0), method="highs").fun for c in at])


def flip_gains(h, occ, mu, sites) -> np.ndarray:
    """E - mu.N after each single flip on ``sites`` minus before, for every row; infinite for no flip."""
    occ = torch.as_tensor(occ).long()
    e = h.site_energies(occ) - h.site_mu(torch.as_tensor(mu)[None])
    gain = e - e.gather(2, occ[..., None])
    flip = (torch.arange(e.shape[2]) != occ[..., None]) & (torch.arange(e.shape[2]) < torch.as_tensor(h.lattice.n_species)[:, None])
    return np.where(flip, gain, np.inf)[:, sites]


def swap_gains(h, row, sites) -> np.ndarray:
    """Energy changes of all swaps of elements that sublattices allow, by whole energies."""
    code, sub, trials = h.lattice.element_index, h.lattice.sublattice, []
    for i, j in itertools.combinations(sites, 2):
        a, b = code[sub[i], row[i]], code[sub[j], row[j]]
        if a != b and b in code[sub[i]] and a in code[sub[j]]:
            trial = row.copy()
            trial[i], trial[j] = list(code[sub[i]]).index(b), list(code[sub[j]]).index(a)
            trials.append(trial)
    if not trials:
        return np.array([np.inf])
    return (h.energy(torch.as_tensor(np.array(trials))) - h.energy(torch.as_tensor(row))).numpy()


# ---------------------------------------------------------------------- against enumeration
@pytest.mark.parametrize("name", [*SYSTEMS])
def test_every_composition_has_its_exact_minimum(name):
    e, g = enumeration(name), ground_states(hamiltonian(name), **FEW)
    exact = minima(e.energy, e.counts)
    assert found(g).keys() == exact.keys()
    np.testing.assert_allclose([exact[tuple(c)] for c in g.counts.tolist()], g.energy, atol=1e-10)
    hull = lp_hull(list(exact), list(exact.values()), g.counts)
    np.testing.assert_allclose(g.distance * len(g.sites), g.energy - hull, atol=1e-9)
    assert g.hits.max() == FEW["restarts"]


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
    exact, g = minima(e.energy, e.counts), ground_states(h, sweeps=5, steps=10, restarts=16)
    assert found(g) == pytest.approx(exact, abs=1e-10)
    sites = np.arange(9)
    starts = annealing._starts(h, np.zeros(9, dtype=np.int8), sites, np.array([3, 3, 3]), 40, np.random.default_rng(0))
    assert (h.counts(torch.as_tensor(starts).long()) == 3).all()
    assert len(np.unique([row[::3].sum() for row in starts])) > 2  # how many B are on the first sublattice


@pytest.mark.parametrize("name", ["cuau-2x2x2", "ternary", "two-sublattice", "spectator"])
def test_fixed_sites_stay_and_the_rest_is_exact(name):
    h, e = hamiltonian(name), enumeration(name)
    free = np.flatnonzero(h.lattice.n_species > 1)
    fixed, base = free[[0, 2]], h.random(1, generator(3))[0]
    g = ground_states(h, occ=base, fixed=fixed, **FEW)
    assert (g.occ[:, fixed] == base[fixed].numpy()).all() and not set(g.sites) & set(fixed)
    allowed = (e.occ[:, fixed] == base[fixed]).all(1).numpy()
    assert found(g) == pytest.approx(minima(e.energy[allowed], e.counts[allowed]), abs=1e-10)
    mask = np.isin(np.arange(h.n_sites), fixed)
    again = ground_states(h, occ=base, fixed=mask, **FEW)
    assert np.array_equal(again.occ, g.occ)
    a = anneal(h, 2000, 50, occ=base, fixed=fixed, sweeps=5, steps=10, seed=2)
    assert (a.occ[:, fixed] == base[fixed].numpy()).all() and (a.occ != base.numpy()).any()


def test_a_coarse_grid_is_completed_by_what_lies_below_its_hull(monkeypatch):
    """Only the corners of a ternary are given; the semigrand anneals must find all phases of the exact hull."""
    h = random_expansion(FCC, [[0, 0, 0]], [("A", "B", "C")], 1).on((2, 2, 2))
    e = Enumeration(h)
    exact = minima(e.energy, e.counts)
    monkeypatch.setattr(annealing, "GRID", 3)
    g = ground_states(h, **FEW)
    assert 3 < len(g) < len(exact)
    hull = lp_hull(list(exact), list(exact.values()), list(exact))
    np.testing.assert_allclose(g.hull.at(list(exact)), hull, atol=1e-9)
    monkeypatch.setattr(annealing, "ROUNDS", 1)
    with pytest.warns(NotConverged, match="1 rounds"):
        ground_states(h, **FEW)
    monkeypatch.setattr(annealing, "_below_facets", lambda *a: None)  # negative control
    assert len(ground_states(h, **FEW)) == 3


def test_neighbours_repair_a_bad_composition():
    h = hamiltonian("cuau-2x2x2")
    g = ground_states(h, **FEW)
    table = annealing._Lowest(h, g.counts)
    bad = g.occ.copy()
    bad[4] = [0, 0, 0, 0, 1, 1, 1, 1] if g.energy[4] < h.energy(torch.tensor([0] * 4 + [1] * 4))[0] - 1e-6 else [0, 1, 1, 0] * 2
    table.offer(bad, annealing._energy(h, bad))
    assert table.energy[4] > g.energy[4] + 1e-6
    annealing._from_neighbours(table, g.sites)
    np.testing.assert_allclose(table.energy, g.energy, atol=1e-12)


@pytest.mark.parametrize("name", ["cuau-skew", "ternary", "two-sublattice"])
def test_neighbours_come_by_the_cheapest_flip(name):
    h = hamiltonian(name)
    start, lattice = h.random(30, generator(6)), h.lattice
    w, sites = annealing._walkers(h, start.numpy(), 0), np.arange(h.n_sites)
    gains, turned = flip_gains(h, start, np.zeros(len(h.elements)), sites), 0
    code = lattice.element_index[lattice.sublattice]
    for r, row in enumerate(start.numpy()):
        surplus = np.zeros(len(h.elements), dtype=np.int64)
        surplus[code[0, row[0]]], surplus[code[0, 1 - min(row[0], 1)]] = 1, -1
        options = [gains[r, i, s] for i in sites for s in range(lattice.n_species[i])
                   if s != row[i] and surplus[code[i, row[i]]] > 0 and surplus[code[i, s]] < 0]  # fmt: skip
        before = h.energy(start[r])
        assert annealing._turn(h.flip_tables, w, r, surplus, sites) and not surplus.any()
        assert float(h.energy(torch.as_tensor(w.occ[r])) - before) == pytest.approx(min(options), abs=1e-10)
        turned += len(options) > 2 and min(options) < max(options) - 1e-3
    assert turned > 5
    only = np.eye(len(h.elements), dtype=np.int64)[0] * 99  # more atoms than there are: no way
    assert not annealing._turn(h.flip_tables, w, 0, only, sites)


# ---------------------------------------------------------------------- CuAu
def test_the_hull_of_cuau_has_five_phases(cuau):
    assert {int(n) for n in cuau.counts[cuau.on_hull, 1]} == set(FORMATION)
    for n, value in FORMATION.items():
        assert cuau.formation_energy[n] == pytest.approx(value, abs=1e-9)
    assert (cuau.distance >= 0).all() and (cuau.distance[~cuau.on_hull] > 1e-5).all()
    assert "Cu64, Cu48Au16, Cu32Au32, Cu16Au48, Au64" in repr(cuau)


def test_the_transitions_of_cuau(cuau):
    e = [FORMATION[n] for n in sorted(FORMATION)]
    got = cuau.transitions()
    assert [t.mu for t in got] == pytest.approx([4 * (b - a) for a, b in itertools.pairwise(e)], abs=1e-6)
    assert [t.below.get("Au", 0) for t in got] == [0, 16, 32, 48] and [t.above["Au"] for t in got] == [16, 32, 48, 64]
    for t in got:  # both phases have one and the same E - mu.N, and nothing is below
        grand = cuau.energy - t.mu * cuau.counts[:, 1]
        assert grand[[t.below.get("Au", 0), t.above["Au"]]] == pytest.approx(grand.min(), abs=1e-9)


def test_random_configurations_do_not_find_the_hull(cuau):
    """Negative control: the best of many random rows at each composition."""
    h, rng = cuau.hamiltonian, np.random.default_rng(0)
    occ = np.concatenate([annealing._starts(h, cuau.occ[0], cuau.sites, c, 200, rng) for c in cuau.counts])
    table = annealing._Lowest(h, cuau.counts)
    table.offer(occ, h.energy(torch.as_tensor(occ)).numpy())
    g = GroundStates(h, cuau.counts, np.array(table.occ), np.array(table.energy), cuau.sites, cuau.hits)
    assert {int(n) for n in g.counts[g.on_hull, 1]} != set(FORMATION)
    assert (g.energy[8:57] > cuau.energy[8:57] + 0.1).all()


@pytest.mark.parametrize("dmu, n", [(-0.2, 0), (-0.07, 16), (0.03, 32), (0.0724, 48), (0.1, 64)])
def test_semigrand_anneals_find_the_phase_of_each_window(dmu, n):
    h = alloygen.data.cuau().on((4, 4, 4))
    a = anneal(h, 1500, 30, mu={"Au": dmu}, sweeps=10, seed=3)
    assert a.counts[a.best].tolist() == [64 - n, n]
    assert a.energy[a.best] == pytest.approx(64 * FORMATION[n], abs=1e-7)
    assert a.objective[a.best] == pytest.approx(a.energy[a.best] - dmu * n, abs=1e-12)


# ---------------------------------------------------------------------- Ising
def test_a_ferromagnet_in_a_field_has_its_ends_alone_on_the_hull():
    g = ground_states(ising(4, h=0.3), **FEW)
    assert g.counts[g.on_hull].tolist() == [[16, 0], [0, 16]]
    assert [t.mu for t in g.transitions()] == pytest.approx([-0.6], abs=1e-9)
    assert g.formation_energy[8] == pytest.approx(1.0)  # two walls of 4 bonds each, 2 J a bond


def test_an_antiferromagnet_orders_as_a_checkerboard():
    h = ising(6, h=0.2, J=-1)
    a = anneal(h, 6.0, 0.2, restarts=4, seed=0)
    board = np.indices((6, 6)).sum(0).ravel() % 2
    assert all((row == board).all() or (row == 1 - board).all() for row in a.occ)
    assert "found by 4 of 4" in repr(a)
    g = ground_states(h, [18, {"+": 5}, {"-": 36}], **FEW)
    assert g.counts.tolist() == [[18, 18], [31, 5], [36, 0]]
    np.testing.assert_allclose(g.energy, [-72, 72 - 5 * 8 + 0.2 * 26, 72 + 0.2 * 36], atol=1e-9)


def test_a_degenerate_hull_is_on_the_hull_as_a_whole():
    """Isolated spins cost the same one by one up to the checkerboard: every composition ties with a mixture."""
    g = ground_states(ising(4, h=0.2, J=-1), **FEW)
    assert g.on_hull.all()
    got = g.transitions()
    assert [t.mu for t in got] == pytest.approx([-8.4, 7.6], abs=1e-9)
    assert got[0].below == {"-": 16} and got[0].above == got[1].below == {"-": 8, "+": 8} and got[1].above == {"+": 16}


# ---------------------------------------------------------------------- hulls
@pytest.mark.parametrize("elements, n", [(2, 12), (3, 7), (4, 5)])
def test_hulls_are_those_of_linear_programs(elements, n):
    rng = np.random.default_rng(elements)
    counts = np.array([c for c in itertools.product(range(n + 1), repeat=elements) if sum(c) == n])
    energy = counts @ rng.normal(size=elements) * 100 + rng.normal(size=len(counts)) * 0.01
    np.testing.assert_allclose(lower_hull(counts, energy).at(counts), lp_hull(counts, energy, counts), atol=1e-9)


@pytest.mark.parametrize("counts, energy", [
    ([[3, 0], [2, 1], [1, 2], [0, 3]], [1.0, 3.0, 5.0, 7.0]),  # flat
    ([[4, 0], [1, 3]], [2.0, -1.0]),  # two compositions
    ([[4, 0], [4, 0], [1, 3]], [2.0, 5.0, -1.0]),  # one of them twice
    ([[4, 0]], [2.0]),
    ([[4, 0, 0], [2, 1, 1], [0, 2, 2]], [0.0, -1.0, 0.0]),  # three elements on a line
    ([[2, 0, 0], [0, 2, 0], [0, 0, 2]], [1.0, 2.0, 3.0]),
    ([[2, 0, 0], [0, 2, 0], [0, 0, 2], [1, 1, 0], [1, 0, 1], [0, 1, 1]], [0.0] * 6),
])
def test_hulls_without_an_interior(counts, energy):
    np.testing.assert_allclose(lower_hull(counts, energy).at(counts), lp_hull(counts, energy, counts), atol=1e-9)


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


# ---------------------------------------------------------------------- walkers
@pytest.mark.parametrize("name", ["cuau-skew", "ternary", "two-sublattice", "many-body"])
@pytest.mark.parametrize("T", [5000.0, 100.0])
def test_what_is_left_is_a_local_minimum(name, T):
    """Also when the walkers stay hot to the end and the quench does all of it."""
    h = hamiltonian(name)
    sites, mu = np.arange(h.n_sites), dict(zip(h.elements, SYSTEMS[name].mu[0], strict=True))
    a = anneal(h, T, T, mu=mu, sweeps=2, steps=3, restarts=20, seed=4)
    assert flip_gains(h, a.occ, a.mu, sites).min() > -1e-9
    start = h.random(20, generator(5))
    b = anneal(h, T, T, occ=start, move="swap", sweeps=2, steps=3, restarts=20, seed=4)
    assert min(swap_gains(h, row, sites).min() for row in b.occ) > -1e-9
    assert min(swap_gains(h, row, sites).min() for row in start.numpy()) < -1e-3  # the yardstick sees what is not
    np.testing.assert_array_equal(b.counts, h.counts(start).numpy())
    for run in (a, b):
        np.testing.assert_allclose(run.energy, h.energy(torch.as_tensor(run.occ)).numpy(), atol=1e-12)


def test_larger_minima_and_neighbours_are_local_minima(cuau):
    for n in (5, 24, 41):
        assert swap_gains(cuau.hamiltonian, cuau.occ[n], cuau.sites).min() > -1e-9


@pytest.mark.parametrize("move", ["flip", "swap"])
def test_the_best_configuration_seen_is_kept(move, cuau):
    """Walkers that start in Cu3Au and melt still return it."""
    mu = {"Au": -0.07} if move == "flip" else None
    a = anneal(cuau.hamiltonian, 1e5, 1e4, occ=cuau.occ[16], mu=mu, move=move, sweeps=3, steps=5, restarts=3)
    assert (a.occ == cuau.occ[16]).all()


@pytest.mark.parametrize("name", ["cuau-2x2x2", "two-sublattice"])
def test_the_seed_decides_and_threads_do_not(name):
    h = hamiltonian(name).expansion.on((2, 3, 2))
    go = lambda **kw: ground_states(h, [dict(zip(h.elements, c, strict=True)) for c in some], **FEW, **kw)  # noqa: E731
    some = h.counts(h.random(6, generator(0))).long().tolist()
    one, same, threads = go(seed=3), go(seed=3), go(seed=3, threads=3)
    for g in (same, threads):
        assert np.array_equal(one.occ, g.occ) and np.array_equal(one.energy, g.energy) and np.array_equal(one.hits, g.hits)
    runs = [anneal(h, 900, 300, sweeps=1, steps=2, restarts=30, **kw).occ for kw in ({}, {}, {"threads": 4}, {"seed": 1})]
    assert np.array_equal(runs[0], runs[1]) and np.array_equal(runs[0], runs[2]) and not np.array_equal(runs[0], runs[3])
    runs = [anneal(h, 900, 300, occ=h.random(1, generator(1)), sweeps=1, steps=2, restarts=30, seed=k).occ for k in (0, 1)]
    assert not np.array_equal(*runs) and len(np.unique(runs[0], axis=0)) > 1


def test_the_start_is_left_alone_and_one_element_cannot_swap():
    h = hamiltonian("cuau-2x2x2")
    occ = h.random(3, generator(8)).numpy().astype(np.int8)
    occ[1] = 0
    before = occ.copy()
    a = anneal(h, 900, 300, occ=occ, move="swap", sweeps=5, steps=5, restarts=3)
    assert np.array_equal(occ, before) and (a.occ[1] == 0).all() and (a.energy <= h.energy(torch.as_tensor(occ)).numpy() + 1e-12).all()


# ---------------------------------------------------------------------- other libraries
@pytest.mark.parametrize("structures", [True, False])
def test_pymatgen_agrees_on_the_hull(cuau, structures):
    atoms_map = match(bulk("Cu", a=3.8).repeat((4, 4, 4)), cuau.hamiltonian.expansion.primitive) if structures else None
    rows = slice(1, 60)  # without the ends, which come in by themselves
    part = (getattr(cuau, k)[rows] for k in ("counts", "occ", "energy"))
    g = GroundStates(cuau.hamiltonian, *part, cuau.sites, cuau.hits[rows], atoms_map)
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


def test_pymatgen_agrees_on_a_ternary():
    h = random_expansion(FCC, [[0, 0, 0]], [("Cu", "Ag", "Au")], 1).on((2, 3, 1))
    g = ground_states(h, **FEW)
    diagram = g.to_pymatgen()
    assert {int(e.entry_id) for e in diagram.stable_entries} == set(np.flatnonzero(g.on_hull))
    above = [diagram.get_e_above_hull(e) for e in sorted(diagram.all_entries, key=lambda e: int(e.entry_id))]
    np.testing.assert_allclose(above, g.distance, atol=1e-9)


def test_tables_of_the_result(cuau):
    frame, data = cuau.to_pandas(), cuau.to_xarray()
    assert frame[frame.on_hull].Au.tolist() == sorted(FORMATION) and len(frame) == 65
    np.testing.assert_array_equal(data.counts.sel(element="Au"), cuau.counts[:, 1])
    np.testing.assert_array_equal(data.occ, cuau.occ)
    assert data.formation_energy.dims == ("composition",) and data.attrs["unit"] == "eV" and len(cuau) == 65


# ---------------------------------------------------------------------- what is refused
BAD = [
    (dict(compositions=[]), "at least one composition"),
    (dict(compositions=[9]), "expected 8 atoms"),
    (dict(compositions=[{"Au": -1}]), "whole numbers"),
    (dict(compositions=[{"Ag": 1}]), "whole numbers"),
    (dict(compositions=[{"Au": 1.5}]), "whole numbers"),
    (dict(compositions=[{"Au": 4, "Cu": 5}]), "expected 8 atoms"),
    (dict(compositions="Au"), "whole numbers"),
    (dict(sweeps=0), "sweeps"), (dict(restarts=0), "restarts"), (dict(threads=0), "threads"), (dict(steps=1.5), "steps"),
    (dict(seed=-1), "seed"),
    (dict(T_start=100.0, T_end=200.0), "T_start >= T_end"), (dict(T_end=0.0), "temperature"),
    (dict(fixed=[0]), "what they hold"),
    (dict(fixed=[8], occ=[0] * 8), "indices below 8"), (dict(fixed=[True], occ=[0] * 8), "mask"),
    (dict(fixed=range(8), occ=[0] * 8), "nothing can change"),
    (dict(occ=[0] * 7), r"shape \(batch, 8\)"),
]  # fmt: skip


@pytest.mark.parametrize("arguments, message", BAD)
def test_bad_input_of_ground_states(arguments, message):
    with pytest.raises(AlloygenError, match=message):
        ground_states(hamiltonian("cuau-2x2x2"), **arguments)


@pytest.mark.parametrize("arguments, message", [
    (dict(move="jump"), 'move="flip"'), (dict(move="swap"), "not given"),
    (dict(move="swap", occ=[0, 1] * 4, mu=0.1), "mu=0.1"), (dict(occ=np.zeros((3, 8), dtype=int)), "one per restart"),
    (dict(sweeps=0), "sweeps"), (dict(mu={"Ag": 1}), "Ag"),
])
def test_bad_input_of_anneal(arguments, message):
    with pytest.raises(AlloygenError, match=message):
        anneal(hamiltonian("cuau-2x2x2"), 900, 100, **arguments)


def test_what_the_sublattices_cannot_hold_or_the_result_cannot_give():
    h = hamiltonian("two-sublattice")
    with pytest.raises(AlloygenError, match="can hold"):
        ground_states(h, [{"A": 1, "B": 1, "C": 1, "X": 5}])
    with pytest.raises(AlloygenError, match="left out"):
        ground_states(h, [{"A": 1, "B": 1}])
    g = ground_states(h, [{"A": 1, "B": 4, "C": 1, "X": 2}], **FEW)
    with pytest.raises(AlloygenError, match="one kind"):
        g.to_pymatgen()
    with pytest.raises(AlloygenError, match="two elements"):
        g.transitions()
    with pytest.raises(AlloygenError, match="atoms_map"):
        _ = g.atoms
    with pytest.raises(AlloygenError, match="chemical elements"):
        ground_states(ising(3), [2], **FEW).to_pymatgen()
