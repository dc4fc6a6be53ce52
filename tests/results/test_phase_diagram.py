"""Phase diagrams against the regular solution, against enumeration of CuAu 2x2x4, and neural against Monte Carlo."""

import json

import matplotlib
import numpy as np
import pytest
from ase.build import bulk
from pymatgen.core import Composition
from scipy.optimize import brentq
from scipy.special import logsumexp
from small_systems import cuau_16, hamiltonian

import alloygen
import alloygen.data
from alloygen.edge.problem import Problem
from alloygen.errors import AlloygenError, BadCondition, LowSampleSize, UnknownSpecies
from alloygen.estimate.coexistence import lower_vertices, regions, tangent_at
from alloygen.exact.enumeration import Enumeration
from alloygen.hamiltonian.expansion import ClusterExpansion, Orbit
from alloygen.lattice import Primitive
from alloygen.montecarlo.metadynamics import Stages
from alloygen.montecarlo.sampling import replica_exchange
from alloygen.results import plot
from alloygen.results.canonical import binary
from alloygen.results.diagram_tables import REPLICAS
from alloygen.results.invariants import three_phase
from alloygen.results.phase_diagram import PhaseDiagram
from alloygen.results.transitions import heat_capacity_peak
from alloygen.units import KB_EV_PER_K as KB

matplotlib.use("Agg")
ATOMS = bulk("Cu", a=3.8).repeat((2, 2, 4))
W = 0.08  # eV


# ---------------------------------------------------------------------- a regular solution
def regular(T, x):
    """F = w x (1 - x) + kT [x log x + (1 - x) log(1 - x)], with 0.01 x so that the tangent has a slope."""
    y = np.clip(x, 1e-300, 1)
    z = np.clip(1 - x, 1e-300, 1)
    return W * x * (1 - x) + 0.01 * x + KB * np.asarray(T)[:, None] * (x * np.log(y) + (1 - x) * np.log(z))


def binodal(T):
    return brentq(lambda x: np.log(x / (1 - x)) + W * (1 - 2 * x) / (KB * T), 1e-6, 0.5 - 1e-4)


def solution(steps=200, stderr=None, seed=0, T=(250.0, 300.0, 350.0, 400.0, 430.0, 480.0, 520.0)):
    x = np.linspace(0, 1, steps + 1)
    f = regular(T, x)
    if stderr is not None:
        f = f + np.where((x > 0) & (x < 1), stderr, 0) * np.random.default_rng(1000 + seed).normal(size=f.shape)
        stderr = np.where((x > 0) & (x < 1), stderr, 0.0)
    return PhaseDiagram.from_table(T, x, f, stderr, elements=("A", "B"), seed=seed)


def test_the_miscibility_gap_of_a_regular_solution():
    diagram = solution()
    for T in diagram.T:
        lines = diagram.tie_lines(T)
        if T > W / (2 * KB):
            assert len(lines) == 0
        else:
            assert lines["x_left"][0] == pytest.approx(binodal(T), abs=0.0051)
            assert lines["x_right"][0] == pytest.approx(1 - binodal(T), abs=0.0051)
            assert lines["mu"][0] == pytest.approx(0.01, abs=2e-4)
    assert np.isnan(diagram.regions["x_left_stderr"]).all()  # no errors were given, and none are made up


@pytest.mark.slow
def test_boundaries_have_honest_error_bars():
    """z-scores of the ends and of mu over many noisy curves; a third of the errors must fail."""
    z = []
    for seed in range(40):
        frame = solution(50, stderr=2e-5, seed=seed, T=(250.0, 330.0, 400.0)).regions
        for row in frame[
            frame["reliable"]
        ].itertuples():  # noise may cut a narrow edge off the gap, which half the replicas do not show
            z.append(((row.x_left - binodal(row.T)) / row.x_left_stderr, (row.x_right - 1 + binodal(row.T)) / row.x_right_stderr,
                      (row.mu - 0.01) / row.mu_stderr))  # fmt: skip
    z = np.array(z)
    assert len(z) == 120 and (np.abs(z) < 4).mean() > 0.99
    assert (z[:, :2].std(0) > 0.5).all() and (z[:, :2].std(0) < 1.25).all()  # the step / sqrt(12) is counted too
    assert 0.75 < z[:, 2].std() < 1.25
    assert (3 * z[:, 2]).std() > 1.25


@pytest.mark.slow
def test_the_temperature_at_which_an_alloy_unmixes():
    diagram = solution(200, stderr=1e-6, T=np.arange(300.0, 500.0, 10.0))
    row = diagram.boundaries(0.25).iloc[0]
    exact = brentq(lambda T: binodal(T) - 0.25, 200, 460)
    assert (
        row["heating"] == "leaves two phases"
        and abs(row["T"] - exact) < 3 * row["T_stderr"]
        and 2 < row["T_stderr"] < 8
    )
    assert len(diagram.boundaries(0.0)) == 0


# ---------------------------------------------------------------------- the hull
def test_hull_edges():
    f = np.array([0.0, -1.0, -1.5, -1.5, -1.0, 0.0])
    assert lower_vertices(f).tolist() == [0, 1, 2, 3, 4, 5]
    assert lower_vertices([0.0, 0.0, 0.0]).tolist() == [0, 2]  # collinear points are no vertices
    assert regions([0.0, np.nan, np.nan, -1.0, 0.0], 2) == [(0, 3, -1 / 3)]
    assert tangent_at([0.0, 1.0, 1.0, 0.0], 1.5) == (0, 3, 0.0)
    assert tangent_at(f, 0.2)[:2] == (0, 1) and tangent_at(f, 5.0)[:2] == (4, 5)


def test_three_phase_points_by_the_order_of_regions():
    below = [("A", "B", 2, 10), ("B", "C", 12, 30)]
    above = [("A", "C", 3, 29)]
    assert [(k, p) for k, _, p, _ in three_phase([below, above])] == [("peritectoid", ("A", "B", "C"))]
    assert [(k, p) for k, _, p, _ in three_phase([above, below])] == [("eutectoid", ("A", "B", "C"))]
    assert list(three_phase([below, below])) == []
    assert list(three_phase([below, [("A", "B", 2, 10)]])) == []  # a gap that closes by itself is no three-phase point


MEET = 435.0  # K


def compound(noise=0.0, seed=0, T=None):
    """A line compound AB whose F rises by 1e-5 eV/K against two pure ends: a peritectoid at exactly 435 K."""
    T = np.arange(300.0, 601.0, 25.0) if T is None else T
    x, rise = np.linspace(0, 1, 41), 1e-5
    f = np.minimum(2.0 * np.minimum(x**2, (1 - x) ** 2), 2.0 * (x - 0.5) ** 2 + rise * (T[:, None] - MEET))
    error = np.where((x > 0) & (x < 1), noise, 0.0) * np.ones_like(f)
    f = f + error * np.random.default_rng(seed).normal(size=f.shape)
    return PhaseDiagram.from_table(T, x, f, error if noise else None, elements=("A", "B"), seed=seed)


def test_a_three_phase_point_is_where_tangents_cross():
    point = compound().invariants.iloc[0]
    assert (point["kind"], point["x"], point["phases"]) == ("peritectoid", 0.5, " + AB + ")
    assert point["T"] == pytest.approx(MEET, abs=1e-6)  # between 425 and 450; the middle would be 437.5
    assert np.isnan(point["T_stderr"]) and np.isnan(point["support"])  # no errors were given, and none are made up
    assert len(compound(T=np.arange(300.0, 426.0, 25.0)).invariants) == 0  # it does not come to it


@pytest.mark.slow
def test_three_phase_points_have_honest_error_bars():
    """z over noisy diagrams; bars a third as long must fail, and so does the middle of the step without a spread of replicas."""
    found = [compound(1e-4, seed).invariants for seed in range(40)]
    rows = [f.iloc[0] for f in found if len(f)]
    z = np.array([(r["T"] - MEET) / r["T_stderr"] for r in rows])
    assert len(z) >= 38 and 0.75 < z.std() < 1.25 and np.abs(z).max() < 4, (len(z), z.std())
    assert (3 * z).std() > 1.25
    assert all(r["support"] > 0.5 and r["reliable"] == (not r["note"]) for r in rows)


def test_invariants_say_on_what_they_rest():
    """The same diagram with few samples, and one so noisy that the replicas disagree about the point."""
    sure = compound(2e-5, 1)
    assert (
        sure.invariants["reliable"].all()
        and sure.compounds["reliable"].all()
        and (sure.invariants["support"] > 0.9).all()
    )
    table = sure.table.copy()
    table["effective_samples"] = table["effective_samples"].where(table["n"] == 0, 10.0)
    poor = PhaseDiagram(table)
    assert not poor.invariants["reliable"].any() and poor.invariants["note"].str.contains("10 effective samples").all()
    assert not poor.compounds["reliable"].any() and not poor.unresolved["reliable"].any()
    assert poor.to_dict()["invariants"][0]["reliable"] is False
    doubt = compound(1e-3, 3).invariants
    assert not doubt["reliable"].any() and doubt["note"].str.contains("of the replicas show|known to").all()


def test_phases_two_steps_apart_are_no_reliable_three_phase_point():
    """Exact F(x) of 16 sites: x = 3/8 comes to the hull at 951 K between 1/4 and 1/2, which is the roughness of a small cell."""
    e, T, n = cuau_16(), np.arange(850.0, 1051.0, 25.0), np.asarray(cuau_16().counts)[:, 1]
    f = [[-KB * t * logsumexp(-np.asarray(e.energy)[n == k] / (KB * t)) / 16 for k in range(17)] for t in T]
    found = PhaseDiagram.from_table(T, np.arange(17) / 16, f, elements=("Cu", "Au"), min_width=2).invariants
    assert found["kind"].tolist() == ["eutectoid"] and found["T"][0] == pytest.approx(951, abs=2)
    assert not found["reliable"].any() and "2 steps" in found["note"][0]
    assert compound().invariants["reliable"].all()  # control: the phases of a line compound are far apart


def congruent(noise, seed):
    """An ordered phase with a flat top: transitions at 800 - 2 K (n - 16)^2, C peaks there and has noise."""
    T, n = np.arange(600.0, 1001.0, 25.0), np.arange(33)
    top = 800 - 2.0 * (n - 16) ** 2
    shape, rng = (len(T), REPLICAS, len(n)), np.random.default_rng(seed)
    exact = 1 / (1 + ((T[:, None] - top) / 60) ** 2)
    c = exact + noise * rng.normal(size=exact.shape)
    table = PhaseDiagram.from_table(T, n / 32, 1e-3 * (n / 32 - 0.5) ** 2 + 0 * T[:, None], np.zeros(exact.shape)).table
    table["heat_capacity"] = (("T", "n"), c)
    table["heat_capacity_replica"] = (("T", "replica", "n"), c[:, None] + noise * rng.normal(size=shape))
    table["order_L1_0"] = (("T", "n"), np.where((T[:, None] < top) & (np.abs(n - 16) < 9), 1.0, 0.0))
    return PhaseDiagram(table)


@pytest.mark.slow
def test_a_congruent_maximum_has_bars_for_both_of_its_coordinates():
    """The highest of several noisy transitions: too high by chance, and often at the composition beside the true one."""
    found = [congruent(0.05, seed).invariants for seed in range(12)]
    row = [f[f["kind"] == "congruent"].iloc[0] for f in found]
    T, x, error, wide = (np.array([r[k] for r in row]) for k in ("T", "x", "T_stderr", "x_stderr"))
    z, apart = (T - 800) / error, (x - 0.5) / wide
    assert 0.4 < z.std() < 1.25 and 0.4 < apart.std() < 1.25 and np.abs(z).max() < 3, (z.std(), apart.std())
    assert ((x - 0.5) / (1 / 32 / np.sqrt(12))).std() > 1.5  # control: the step of x alone


def test_the_peak_of_a_heat_capacity():
    T = np.linspace(300, 500, 21)
    c = lambda at: 1 / (1 + ((T - at) / 30) ** 2)  # noqa: E731
    peak, error = heat_capacity_peak(T, c(404.0), np.array([c(404.0 + d) for d in (-6, -3, 0, 3, 6)]))
    assert peak == pytest.approx(404, abs=1) and error == pytest.approx(np.hypot(4.74, 1), rel=0.1)
    assert np.isnan(heat_capacity_peak(T, T)[0])  # still rising: no peak in the range


# ---------------------------------------------------------------------- CuAu 2x2x4
T_FINE = np.arange(300.0, 1201.0, 25.0)


@pytest.fixture(scope="module")
def scan():
    return alloygen.scan(ATOMS, np.arange(300, 1201, 150), "Au", n=500, seed=0)


@pytest.fixture(scope="module")
def diagram(scan):
    return scan.phase_diagram(T_FINE, min_width=2)


@pytest.fixture(scope="module")
def exact():
    """F(T, n), E(T, n), C(T, n) per site of all 65536 configurations."""
    table = cuau_16()
    n, energy = np.rint(table.counts[:, 1]).astype(int), np.asarray(table.energy)
    f, e, c = (np.zeros((len(T_FINE), 17)) for _ in range(3))
    for t, T in enumerate(T_FINE):
        beta = 1 / (KB * T)
        for k in range(17):
            u = energy[n == k]
            z = logsumexp(-beta * u)
            p = np.exp(-beta * u - z)
            f[t, k], e[t, k] = -z / beta / 16, p @ u / 16
            c[t, k] = (p @ u**2 - (p @ u) ** 2) / (KB * T**2) / 16
    return {"free_energy": f, "energy": e, "heat_capacity": c, "entropy": (e - f) / T_FINE[:, None]}


@pytest.mark.slow
def test_canonical_quantities_agree_with_enumeration(diagram, exact):
    """F, E, C and S at every composition and temperature; errors are correlated over T, so every fifth T is taken."""
    for name, value in exact.items():
        inner = (slice(None, None, 5), slice(1, -1))
        apart = (diagram.table[name].values - value)[inner]
        z = apart / np.maximum(diagram.table[f"{name}_stderr"].values[inner], 1e-12)
        believed = diagram.table["effective_samples"].values[inner] > 100
        assert (np.abs(z[believed]) < 4).mean() > 0.98 and 0.5 < z[believed].std() < 1.6, name
    assert np.abs(diagram.table["entropy"].values - exact["entropy"]).max() < 0.02 * KB
    assert 1000 * np.nanmax(np.abs(diagram.table["free_energy"].values - exact["free_energy"])) < 1.0
    assert (diagram.table["free_energy_stderr"].values[:, [0, -1]] == 0).all()  # pure ends are exact


@pytest.mark.slow
def test_the_pooled_errors_of_f_are_right_over_seeds(exact):
    """z over independent scans, with the error bar divided by two as the negative control."""
    z, at = [], [T_FINE.tolist().index(T) for T in (400.0, 1000.0)]
    for seed in range(10):
        part = alloygen.scan(ATOMS, [400, 1000], {"Au": np.linspace(-0.2, 0.2, 7)}, n=50, seed=100 + seed)
        table = part.free_energies([400, 1000])
        z.append(((table.free_energy.values - exact["free_energy"][at]) / table.free_energy_stderr.values)[:, 2:-2:2])
    told = np.isfinite(z)
    assert told.mean() > 0.7  # fewer than three effective samples of a composition give no error bar
    z = np.array(z)[told]
    assert (np.abs(z) < 4).mean() > 0.97 and 0.75 < z.std() < 1.3
    assert 2 * z.std() > 1.3


@pytest.mark.slow
def test_the_diagram_has_the_phases_and_transitions_of_the_exact_one(diagram, exact):
    reference = PhaseDiagram.from_table(
        T_FINE, np.arange(17) / 16, exact["free_energy"], elements=("Cu", "Au"), min_width=2
    )
    assert (
        list(diagram.compounds["phase"]) == ["Cu3Au (L1_2)", "CuAu (L1_0)", "CuAu3 (L1_2)"]
        and diagram.compounds["line_compound"].all()
    )
    for T in (300.0, 500.0):
        ours, theirs = diagram.tie_lines(T).query("reliable").reset_index(), reference.tie_lines(T)
        for side in ("x_left", "x_right"):
            assert (np.abs(ours[side] - theirs[side]) < 4 * ours[f"{side}_stderr"]).all()
        assert (np.abs(ours["mu"] - theirs["mu"]) < 4 * ours["mu_stderr"] + 1e-5).all()
    for x in (0.25, 0.5, 0.75):
        row = diagram.transitions[diagram.transitions["x"] == x].iloc[0]
        peak, _ = heat_capacity_peak(T_FINE, exact["heat_capacity"][:, int(16 * x)])
        assert abs(row["T"] - peak) < 4 * row["T_stderr"] and row["T_stderr"] < 15


@pytest.mark.slow
def test_neural_and_monte_carlo_diagrams_agree(diagram):
    """The same call with another method; transition temperatures and coexistence lines within their errors."""
    mc = alloygen.scan(ATOMS, np.arange(300, 1201, 150), {"Au": np.linspace(-0.2, 0.2, 9)}, n=800, sampler="mc", seed=3)
    other = mc.phase_diagram(T_FINE, min_width=2)
    assert mc.absolute and other.table.attrs["method"] == "mc"
    for x in (0.25, 0.5):
        ours, theirs = (d.transitions[d.transitions["x"] == x].iloc[0] for d in (diagram, other))
        assert abs(ours["T"] - theirs["T"]) < 4 * np.hypot(ours["T_stderr"], theirs["T_stderr"])
    ours, theirs = (d.tie_lines(500).query("reliable").reset_index() for d in (diagram, other))
    assert len(ours) == len(theirs) == 4
    assert (np.abs(ours["mu"] - theirs["mu"]) < 4 * np.hypot(ours["mu_stderr"], theirs["mu_stderr"])).all()


@pytest.mark.slow
def test_a_profile_of_metadynamics_becomes_a_diagram(exact):
    profile = alloygen.metadynamics(
        alloygen.data.cuau().on((2, 2, 4)), [500.0, 700.0], stages=Stages(production=60_000), seed=0
    )
    diagram = PhaseDiagram.from_profile(profile, min_width=2)
    reference = PhaseDiagram.from_table(
        T_FINE, np.arange(17) / 16, exact["free_energy"], elements=("Cu", "Au"), min_width=2
    )
    ours, theirs = diagram.tie_lines(500), reference.tie_lines(500)
    assert (
        np.allclose(ours["x_left"], theirs["x_left"])
        and (np.abs(ours["mu"] - theirs["mu"]) < 5 * ours["mu_stderr"] + 1e-5).all()
    )
    assert diagram.table.attrs["method"] == "metadynamics"


# ---------------------------------------------------------------------- other libraries and files
@pytest.mark.slow
def test_pymatgen_has_the_hull_at_a_temperature(diagram):
    other = diagram.to_pymatgen(500)
    vertices = lower_vertices(diagram.table["free_energy"].sel(T=500).values)
    found = sorted(e.composition.get_atomic_fraction("Au") for e in other.stable_entries)
    assert np.allclose(found, diagram.x[vertices])
    thin = diagram.to_pymatgen(1100, arc=3)
    assert len(thin.stable_entries) < len(diagram.to_pymatgen(1100, arc=17).stable_entries)
    mid = next(e for e in other.stable_entries if abs(e.composition.get_atomic_fraction("Au") - 0.5) < 1e-9)
    assert other.get_form_energy_per_atom(mid) == pytest.approx(
        diagram.table["mixing"].sel(T=500, n=8).item(), abs=1e-12
    )


@pytest.mark.slow
def test_landau_table(diagram):
    table = diagram.to_landau()
    assert {"T", "mu", "c", "phi", "f", "phase", "stable", "border"} <= set(table.columns)
    border = table[table["border"] & (table["T"] == 500)]
    for _, pair in border.groupby(border["mu"].round(9)):
        assert len(pair) == 2 and np.ptp(pair["phi"]) < 1e-9  # equal potentials on both sides


@pytest.mark.slow
def test_espei_dataset(diagram):
    data = json.loads(json.dumps(diagram.to_espei({"Cu3Au (L1_2)": "L12"})))
    assert data["output"] == "ZPF" and data["components"] == ["AU", "CU", "VA"] and "L12" in data["phases"]
    assert len(data["values"]) == len(data["conditions"]["T"]) and data["values"][0][0][1] == ["AU"]


@pytest.mark.slow
def test_files_round_trip(diagram, tmp_path):
    again = PhaseDiagram.read(diagram.write(tmp_path / "d.nc"))
    assert again.regions.equals(diagram.regions) and again.min_width == 2 and repr(again) == repr(diagram)
    told = json.loads(diagram.write(tmp_path / "d.json").read_text())
    assert told["attributes"]["n_sites"] == 16 and len(told["regions"]) == len(diagram.regions)
    for name in ("d.png", "d.csv", "d.svg"):
        assert diagram.write(tmp_path / name).stat().st_size > 500
    with pytest.raises(AlloygenError, match=r"ends in one of .json"):
        diagram.write(tmp_path / "d.xls")
    assert not (tmp_path / "d.xls").exists()
    with pytest.raises(AlloygenError, match="found none"):
        PhaseDiagram.read(tmp_path / "none.nc")
    assert "<table" in diagram._repr_html_() and "16 sites" in diagram._repr_html_()


# ---------------------------------------------------------------------- spectators, vacancies, held sites, windows
def exact_table(h, T, held=None):
    """The table of a binary by enumeration: no noise, nan where no state has this composition."""
    table = Enumeration(h)
    occ, energy = table.occ, np.asarray(table.energy)
    keep = np.ones(len(occ), bool) if held is None else ((occ == held) | (np.asarray(held) < 0)).all(1)
    b = binary(h, held=held)
    n = np.rint(np.asarray(table.counts)[:, b.index]).astype(int) - b.held
    f = np.full((len(T), b.free + 1), np.nan)
    for k in np.unique(n[keep]):
        u = energy[keep & (n == k)]
        f[:, k] = [-KB * t * logsumexp(-u / (KB * t)) / h.n_sites for t in T]
    return f


def two_state(primitive, pair: float, field: float, n):
    """One kind of pair of exchangeable sites along the cell vectors and a field: spins +-1 of the first and the second species."""
    vectors = np.array([[(0, 0, 0, 0), (*v, 0)] for v in np.eye(3, dtype=int)])
    values = [[-1.0, 1.0] + [0.0] * (len(primitive.elements) - 2)]
    orbits = (
        Orbit("nn", pair, vectors, np.zeros((3, 2), int), np.ones(3)),
        Orbit("c1", field, [[(0, 0, 0, 0)]], [[0]], [1.0]),
    )
    return ClusterExpansion(primitive, values, orbits).on(n)


FCC_CELL = 0.5 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]])
CELLS = {  # primitive cell; atoms of fixed sublattices per exchangeable site
    "one sublattice": (Primitive(FCC_CELL, [[0, 0, 0]], [("Cu", "Ag")]), {}, "FCC_A1"),
    "rocksalt": (Primitive(FCC_CELL, [[0, 0, 0], [0.5] * 3], [("Li", "Na"), ("O",)]), {"O": 1}, "HALITE_B1"),
    "vacancies": (Primitive(FCC_CELL, [[0, 0, 0], [0.25] * 3, [0.75] * 3], [("X", "Li"), ("O",), ("O",)]), {"O": 2}, "FLUORITE_C1"),
    "vacancies last": (Primitive(np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], [("Li", "X"), ("Co",)]), {"Co": 1}, "BCC_B2"),
    "two spectators": (
        Primitive(np.diag([1, 1, 1.1]), [[0, 0, 0], [0.5, 0.5, 0], [0, 0, 0.5]], [("Li", "Na"), ("O",), ("Ti",)]), {"O": 1, "Ti": 1}, "SOLUTION",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CELLS)
def test_exports_know_all_atoms_and_count_the_rest_per_atom(name):
    """A gap from end to end: mu at coexistence is the difference of the pure cells per exchanged atom, 2 c1, on any lattice."""
    primitive, fixed, solution = CELLS[name]
    h = two_state(primitive, -0.02, 0.03, (2, 2, 3))
    scan = replica_exchange(h, h.grid([300.0, 5000.0, np.inf], np.c_[np.zeros(9), np.linspace(0, 0.12, 9), np.zeros((9, len(h.elements) - 2))]),
                            n=400, seed=1, check=False)  # fmt: skip
    diagram = scan.phase_diagram([300.0])
    other, element = h.elements[:2]
    assert diagram.regions[["x_left", "x_right"]].values.tolist() == [[0.0, 1.0]]
    assert diagram.regions["mu"][0] == pytest.approx(0.06, abs=1e-6)

    landau = diagram.to_landau()
    border = landau[landau["border"]]
    assert border["mu"].to_numpy() == pytest.approx([0.06, 0.06], abs=1e-6) and border["c"].tolist() == [0.0, 1.0]
    assert border["f"].to_numpy() == pytest.approx(
        [-0.06 - 0.03, -0.06 + 0.03], abs=1e-6
    )  # per exchangeable site: three pairs and the field
    assert np.ptp(border["phi"]) < 1e-9

    atoms = lambda e: {k: v for k, v in {e: 1, **fixed}.items() if k != "X"}  # noqa: E731
    espei = json.loads(json.dumps(diagram.to_espei()))
    every = sorted({*(a.upper() for e in (element, other) for a in atoms(e)), "VA"})
    assert espei["components"] == every and espei["phases"] == [solution]
    for (phase, told, x), e in zip(espei["values"][0], (other, element), strict=True):
        here = {k.upper(): v for k, v in atoms(e).items()}
        assert phase == solution and len(told) == len(every) - 2 and "VA" not in told
        assert x == pytest.approx([here.get(a, 0) / sum(here.values()) for a in told])

    made = diagram.to_pymatgen(300)
    assert {str(e) for entry in made.all_entries for e in entry.composition} >= set() and len(made.stable_entries) == 2
    whole = [getattr(e, "original_entry", e) for e in made.stable_entries]
    for e, wanted in ((other, -0.09), (element, -0.03)):
        entry = next(w for w in whole if w.composition.reduced_formula == Composition(atoms(e)).reduced_formula)
        assert entry.composition.num_atoms == 12 * sum(atoms(e).values())
        assert entry.energy == pytest.approx(12 * wanted, abs=1e-5)
    axis = diagram.plot().get_xlabel()
    assert ("exchangeable" in axis) == (name != "one sublattice")
    matplotlib.pyplot.close("all")


def test_an_adsorbate_alone_has_no_mole_fraction():
    h = two_state(Primitive(np.eye(3), [[0, 0, 0]], [("O", "X")]), -0.02, 0.01, (2, 2, 2))
    f = exact_table(h, [300.0])
    table = PhaseDiagram.from_table([300.0], np.arange(9) / 8, f, elements=("O", "X"))
    for export in (table.to_espei, lambda: table.to_pymatgen(300)):
        with pytest.raises(AlloygenError, match="two kinds of atoms, got O and vacancies"):
            export()
    assert table.to_landau()["c"].iloc[-1] == 1.0


@pytest.mark.slow
@pytest.mark.parametrize("held, reach", [({0: 1}, (1, 8)), ({0: 0}, (0, 7)), ({0: 1, 3: 0, 5: 1}, (2, 7))])
def test_compositions_that_held_sites_forbid_are_nan(held, reach):
    h, T = alloygen.data.cuau().on((2, 2, 2)), [900.0]
    row = np.full(8, -1)
    row[list(held)] = list(held.values())
    scan = replica_exchange(Problem.of(h, fixed=list(held), occ=np.maximum(row, 0)), h.grid([900.0, 2000.0, np.inf], np.c_[np.zeros(9), np.linspace(-0.3, 0.3, 9)]), n=1000, seed=1, check=False)  # fmt: skip
    table, truth = scan.free_energies(T), exact_table(h, T, row)
    f, error = table["free_energy"].values, table["free_energy_stderr"].values
    assert (np.isfinite(f) == np.isfinite(truth)).all() and np.flatnonzero(np.isfinite(f[0]))[[0, -1]].tolist() == list(
        reach
    )
    assert f[0, list(reach)] == pytest.approx(
        truth[0, list(reach)], abs=1e-12
    )  # one configuration each, known without a sample
    inside = np.isfinite(f) & (error > 0)
    assert np.abs((f - truth)[inside] / error[inside]).max() < 5
    assert table["mixing"].values[0, list(reach)] == pytest.approx([0, 0], abs=1e-12)
    for n in (-1, 9):
        out = reach[0] + n if n < 0 else reach[1] + 1
        if 0 <= out <= 8:
            with pytest.raises(BadCondition, match="held leave no such cell"):
                scan.free_energy_at(900, out / 8)
    diagram = scan.phase_diagram(T, min_width=2)
    frame = diagram.to_landau()
    assert (frame["c"].min(), frame["c"].max()) == (reach[0] / 8, reach[1] / 8)
    ends = diagram.to_pymatgen(900).terminal_compositions if reach != (0, 8) else ()
    assert [c.get_atomic_fraction("Au") for c in ends] == pytest.approx([reach[0] / 8, reach[1] / 8])


@pytest.mark.filterwarnings("ignore:metadynamics")
@pytest.mark.parametrize(
    "options",
    [{"window": (2, 6)}, {"fixed": [0, 3], "occ": [1] + 7 * [0]}, {"window": (1, 4), "element": "Cu"}],
    ids=str,
)
def test_a_profile_keeps_its_compositions(options):
    """Windows and held sites: x is not stretched, and mu is the slope per atom."""
    h = alloygen.data.cuau().on((2, 2, 2))
    given = Problem.of(h, **{k: options[k] for k in ("fixed", "occ") if k in options})
    own = {k: v for k, v in options.items() if k not in ("fixed", "occ")}
    profile = alloygen.metadynamics(given, [900.0, 1200.0], stages=Stages(production=4000), seed=1, **own)
    held = np.full(8, -1) if "fixed" not in options else np.where(np.isin(np.arange(8), [0, 3]), options["occ"], -1)
    low, high = options.get("window", (1, 7))
    diagram = PhaseDiagram.from_profile(profile, min_width=1)
    assert diagram.x == pytest.approx(np.arange(low, high + 1) / 8) and diagram.x == pytest.approx(profile.x)
    assert diagram.table["n"].values.tolist() == list(range(low, high + 1))
    truth = exact_table(h, [900.0], held)[0]
    truth = truth[::-1] if "element" in options else truth
    for row in diagram.tie_lines(900).itertuples():
        a, b = round(row.x_left * 8), round(row.x_right * 8)
        assert row.mu == pytest.approx(8 * (truth[b] - truth[a]) / (b - a), abs=5 * row.mu_stderr + 1e-3)
    assert len(diagram.tie_lines(900)) and diagram.plot().get_xlabel()
    assert diagram.boundaries(low / 8 + 1 / 8) is not None
    with pytest.raises(BadCondition, match="expected a composition between"):
        diagram.boundaries(low / 8 - 0.01)
    with pytest.raises(BadCondition, match=r"temperatures of the profile, 900, 1200, got \[901.0\]"):
        PhaseDiagram.from_profile(profile, T=[900, 901.0])
    assert PhaseDiagram.from_profile(profile, T=[1200]).T.tolist() == [1200.0]
    matplotlib.pyplot.close("all")


def test_a_profile_of_rocksalt_names_the_element_that_it_exchanges():
    primitive = Primitive(FCC_CELL, [[0.5] * 3, [0, 0, 0]], [("O",), ("Li", "Na")])
    at = [[(0, 0, 0, 1), (*v, 1)] for v in np.eye(3, dtype=int)]
    h = ClusterExpansion(
        primitive, [[0.0, -1.0, 1.0]], (Orbit("nn", -0.01, at, np.zeros((3, 2), int), np.ones(3)),)
    ).on((2, 2, 2))
    profile = alloygen.metadynamics(h, [300.0], stages=Stages(production=2000), element="Na", seed=0)
    diagram = PhaseDiagram.from_profile(profile)
    assert diagram.table.attrs["other"] == "Li" and diagram.to_espei()["components"] == ["LI", "NA", "O", "VA"]


def test_mu_of_a_table_is_per_atom_whatever_its_grid():
    """The same F on a grid that is finer than the cell: dF/dx does not change."""
    for steps, sites in ((50, 50), (200, 64), (50, None)):
        x = np.linspace(0, 1, steps + 1)
        d = PhaseDiagram.from_table([300.0], x, regular([300.0], x), n_sites=sites)
        assert d.regions["mu"][0] == pytest.approx(0.01, abs=2e-4)
    part = np.linspace(0.02, 0.98, 49)
    d = PhaseDiagram.from_table([300.0], part, regular([300.0], part))
    assert d.n_sites == 50 and d.regions["mu"][0] == pytest.approx(0.01, abs=2e-4)
    assert d.regions["x_left"][0] == pytest.approx(binodal(300.0), abs=0.011)


# ---------------------------------------------------------------------- names of phases
def test_phases_of_bcc_have_names():
    """A second-neighbour and a first-neighbour pair that make B2; enumeration-free: the perfect structure at half."""
    primitive = Primitive(0.5 * np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]]), [[0, 0, 0]], [("Fe", "Al")])
    near = [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1)]
    pairs = [[(0, 0, 0, 0), (*v, 0)] for v in near]
    expansion = ClusterExpansion(
        primitive, [[-1.0, 1.0]], (Orbit("nn", 0.02, pairs, np.zeros((4, 2), int), np.ones(4)),)
    )
    scan = replica_exchange(expansion.on((2, 2, 2)), expansion.on((2, 2, 2)).grid([300.0, 1000.0, 3000.0, np.inf], np.c_[np.zeros(11), np.linspace(-0.5, 0.5, 11)]), n=400,
                            seed=0, check=False)  # fmt: skip
    diagram = scan.phase_diagram([300.0, 3000.0], min_width=2)
    assert diagram.phases[0, 4] == "FeAl (B2)" and list(diagram.compounds["phase"]) == ["FeAl (B2)"]
    assert diagram.phases[1, 2] == "disordered"
    assert set(diagram.to_espei()["phases"]) <= {"BCC_A2", "FEAL"}


def test_line_compounds_without_a_name_go_by_their_formula():
    x, T = np.linspace(0, 1, 17), np.array([300.0, 600.0])
    f = np.array([-0.04 * np.maximum(0, 1 - 6 * np.abs(x - 0.25)), -0.001 * x * (1 - x)])
    d = PhaseDiagram.from_table(T, x, f, elements=("Cu", "Au"))
    assert list(d.compounds["phase"]) == ["Cu3Au"] and d.phases[0, 4] == "Cu3Au" and (d.phases[1] == "").all()
    assert d.regions["phase_right"].tolist()[0] == "Cu3Au" and d.to_espei()["phases"] == ["CU3AU", "SOLUTION"]
    assert "Cu3Au" in set(d.to_landau()["phase"]) and "Cu3Au" in repr(d)
    assert len(d.invariants) == 0 or set(d.invariants["kind"]) == {"peritectoid"}
    assert d.to_dict()["compounds"][0]["phase"] == "Cu3Au"


# ---------------------------------------------------------------------- pictures
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["T-x", "T-mu", "F-x"])
def test_every_kind_of_plot(diagram, kind):
    ax = diagram.plot(kind)
    assert ax.get_xlabel() and ax.get_ylabel() and (ax.lines or ax.collections)
    matplotlib.pyplot.close(ax.figure)


@pytest.mark.slow
def test_unreliable_boundaries_are_dashed_and_flagged(diagram):
    """Never silently: the same table with 10 effective samples."""
    table = diagram.table.copy()
    table["effective_samples"] = table["effective_samples"].where(np.isinf(table["effective_samples"]), 10.0)
    poor = PhaseDiagram(table, 2)
    assert not poor.regions["reliable"].any() and poor.regions["note"].str.contains("10 effective samples").all()
    styles = lambda d: {line.get_linestyle() for line in d.plot("T-mu").lines if len(line.get_xdata()) > 3}  # noqa: E731
    assert "--" in styles(poor)
    assert poor.to_espei()["values"] == []
    matplotlib.pyplot.close("all")


@pytest.mark.slow
def test_plots_of_a_scan(scan):
    data = scan.to_xarray()
    for ax in (plot.heat_capacity(data.isel(condition=np.flatnonzero(np.abs(data["mu_Au"].values) < 0.07))), plot.ness_map(data),
               plot.histograms(scan.energy[3], reference=scan.energy[4], log_w=scan[3].log_weight, label="E (eV)"),
               plot.correlation(*scan[5].two_point("shell"), label="CuAu")):  # fmt: skip
        assert ax.get_xlabel() and ax.get_ylabel()
    with pytest.raises(AlloygenError, match="without NESS"):
        plot.ness_map(data.drop_vars("ness"))
    matplotlib.pyplot.close("all")


# ---------------------------------------------------------------------- bad input
def test_a_composition_that_was_never_visited_names_the_mu_to_add():
    few = alloygen.scan(ATOMS, [300], {"Au": [-0.09, 0.0]}, n=60, seed=0)
    with pytest.raises(BadCondition, match=r"no sample has; .* Add mu_Au - mu_Cu near 0\.0[5-9]\d* eV at T = 300"):
        few.free_energy_at(300, 0.75)
    with pytest.raises(BadCondition, match="multiple of 1/16"):
        few.free_energy_at(300, 0.3)
    assert few.free_energy_at(300, 0.5).value == pytest.approx(few.free_energies().free_energy.sel(T=300, n=8).item())


@pytest.mark.slow
def test_the_constructions_of_the_paper(scan, diagram, exact):
    """Bins of Phi + mu x lie above F by kT log p(x) / N; the lowest T of a composition is one that was sampled."""
    t = T_FINE.tolist().index(600.0)
    binned, pooled = scan.binned_free_energy(600, 0.5), scan.free_energy_at(600, 0.5)
    assert abs(pooled.value - exact["free_energy"][t, 8]) < 4 * pooled.stderr
    assert -3e-3 < binned.value - exact["free_energy"][t, 8] < 1e-3 and binned.stderr > 0
    with pytest.raises(BadCondition, match="got none"):
        scan.binned_free_energy(600, 0.51, width=1e-3)
    drawn = diagram.drawn
    assert set(drawn["T"]) <= set(scan.T) and drawn["T"].iloc[0] == 300 and drawn["x"].is_monotonic_increasing
    ax = diagram.plot("T-x", drawn=True)
    matplotlib.pyplot.close(ax.figure)
    with pytest.raises(AlloygenError, match="diagram of a scan"):
        _ = solution().drawn


def test_what_is_no_binary_is_refused():
    ternary = hamiltonian("ternary")
    with pytest.raises(AlloygenError, match=r"expected a binary, two elements .* got 3"):
        binary(ternary)
    with pytest.raises(UnknownSpecies, match="one of the elements"):
        binary(alloygen.data.cuau().on((2, 2, 2)), "Zn")


def test_scans_without_absolute_free_energies_are_refused():
    chains = alloygen.mc(ATOMS, [600, 900], {"Au": [0.0, 0.1]}, n=200, method="metropolis")
    with pytest.raises(AlloygenError, match="absolute free energies"):
        chains.phase_diagram()


@pytest.mark.slow
def test_bad_tables_are_refused(diagram):
    with pytest.raises(AlloygenError, match="expected a table with"):
        PhaseDiagram(diagram.table.drop_vars("effective_samples"))
    with pytest.raises(AlloygenError, match="x evenly spaced"):
        PhaseDiagram.from_table([300.0], [0.0, 0.3, 1.0], np.zeros((1, 3)))
    with pytest.raises(AlloygenError, match="fewer at T"):
        PhaseDiagram.from_table([300.0], np.linspace(0, 1, 5), [[0.0, np.nan, np.nan, np.nan, 0.0]])
    with pytest.raises(BadCondition, match="one of the diagram's temperatures"):
        diagram.tie_lines(333)
    with pytest.raises(AlloygenError, match="expected kind as one of"):
        diagram.plot("P-T")
    with pytest.raises(AlloygenError, match="chemical elements"):
        solution_of_letters().to_pymatgen(300)
    with pytest.raises(BadCondition, match="between 0 and 1"):
        diagram.boundaries(1.5)


def solution_of_letters():
    x = np.linspace(0, 1, 11)
    return PhaseDiagram.from_table([300.0], x, regular([300.0], x), elements=("J", "Q"))


def test_few_samples_warn_once():
    with pytest.warns(LowSampleSize, match=r"4 of 4 conditions rest on fewer than 50") as record:
        alloygen.scan(ATOMS, [600, 900], {"Au": [0.0, 0.05]}, n=30, seed=0).to_xarray()
    assert len(record) == 1
