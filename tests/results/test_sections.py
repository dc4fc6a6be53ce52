"""Isothermal sections against enumeration of a ternary lattice gas, ideal and regular solutions, and the binary diagrams on their edges."""

import json
from itertools import combinations, product

import matplotlib
import numpy as np
import pytest
import ternaries
from pymatgen.core import Composition
from scipy.optimize import fsolve

import alloygen
from alloygen.edge.problem import Problem
from alloygen.errors import AlloygenError, BadCondition, UnknownSpecies
from alloygen.estimate.facets import Facets, between, joined, steps
from alloygen.exact.enumeration import Enumeration
from alloygen.hamiltonian.expansion import ClusterExpansion, Orbit
from alloygen.lattice import Primitive
from alloygen.models.causal import CausalModel
from alloygen.montecarlo.sampling import replica_exchange
from alloygen.results import plot_sections
from alloygen.results.phase_diagram import PhaseDiagram
from alloygen.results.sections import IsothermalSections
from alloygen.testing import enumerable
from alloygen.units import KB_EV_PER_K as KB

matplotlib.use("Agg")
W = {(0, 1): 0.120, (1, 2): 0.108, (0, 2): 0.132}  # eV, of a regular solution
NAMES = ("Cu", "Au", "Pd")


def grid(size, k=3):
    rows = np.array(list(np.ndindex(*(size + 1,) * k)))
    return rows[rows.sum(1) == size]


def regular(T, n, w=W):
    """F = sum w x y + kT sum x log x, with 0.01 x of the second so that tangents have a slope."""
    x = n / n.sum(1, keepdims=True)
    mix = (x * np.log(np.clip(x, 1e-300, 1))).sum(1)
    return sum(v * x[:, i] * x[:, j] for (i, j), v in w.items()) + 0.01 * x[:, 1] + KB * T * mix


def solution(T, size=24, stderr=None, seed=0, w=W, **kw):
    T, n = np.atleast_1d(np.asarray(T, float)), grid(size)
    f = np.stack([regular(t, n, w) for t in T])
    if stderr is not None:
        error = np.broadcast_to(np.where((n > 0).sum(1) > 1, stderr, 0.0), f.shape)
        f, stderr = f + error * np.random.default_rng(1000 + seed).normal(size=f.shape), error
    return IsothermalSections.from_table(T, n, f, stderr, elements=NAMES, seed=seed, **kw)


# ---------------------------------------------------------------------- the hull
def test_the_hull_is_the_lowest_mixture():
    """Against a linear program at random compositions, of three and of four elements."""
    from small_systems import lp_hull

    rng = np.random.default_rng(0)
    for k, size in ((3, 7), (4, 4)):
        n = grid(size, k)
        f = rng.normal(size=len(n)) * 0.1
        hull, at = Facets.of(n / size, f), rng.dirichlet(np.ones(k), 12)
        facet, share = hull.locate(at)
        np.testing.assert_allclose(hull.at(at), lp_hull(n / size, f, at), atol=1e-9)
        np.testing.assert_allclose(np.einsum("pk,pke->pe", share, (n / size)[hull.corners[facet]]), at, atol=1e-9)
        np.testing.assert_allclose((share * f[hull.corners[facet]]).sum(1), hull.at(at), atol=1e-9)
        assert not np.allclose(hull.at(at), lp_hull(n / size, f + 0.01 * (n[:, 0] == 0), at), atol=1e-9)


def test_steps_are_exchanged_atoms_and_lines_pass_near_to_their_ends():
    a, b = np.array([9, 0, 1]), np.array([2, 5, 3])
    way = between(a, b)
    assert steps(a, b) == 7 and (way.sum(1) == 10).all() and (steps(a, way) < 7).all() and len(way) == 6
    straight = a + ((way - a) @ (b - a) / ((b - a) @ (b - a)))[:, None] * (b - a)
    assert np.abs(way - straight).max() < 1
    assert between(a, a + np.array([-1, 1, 0])).size == 0
    assert joined(np.ones((3, 3), bool) & ~np.eye(3, dtype=bool)).tolist() == [0, 1, 2]


def test_compositions_on_a_line_have_no_hull():
    with pytest.raises(AlloygenError, match="in 2 directions"):
        Facets.of(np.array([[1, 0, 0], [0, 1, 0], [0.5, 0.5, 0]]), np.zeros(3))


# ---------------------------------------------------------------------- solutions whose phases are known
def test_an_ideal_solution_is_one_phase_whatever_the_noise():
    """Negative control: noise on F makes facets as wide as regions, of which none is told as one."""
    ideal = solution([300.0, 900.0], w={}, stderr=None)
    assert len(ideal.regions) == len(ideal.unresolved) == 0
    assert ideal.split(300, {"Cu": 0.31, "Au": 0.33})["fraction"].tolist() == [1.0]
    wide = 0
    for seed in range(3):
        noisy = solution(300.0, size=16, w={}, stderr=3e-3, seed=seed)
        assert len(noisy.regions) == 0, noisy.regions
        wide += len(noisy.unresolved)
    assert wide > 20  # without their errors they would be regions
    control = solution(300.0, size=16, w={}, stderr=3e-3)
    assert len(IsothermalSections(control.table.drop_vars("free_energy_replica")).regions) > 5


def common_tangent(T):
    """Compositions (3, 3) of the three phases of the regular solution, by equal chemical potentials of each element."""
    w = np.zeros((3, 3))
    for (i, j), v in W.items():
        w[i, j] = w[j, i] = v

    def rows(v):
        minor = np.exp(v.reshape(3, 2))
        return np.array([np.insert(m, k, 1 - m.sum()) for k, m in enumerate(minor)])

    def apart(v):
        x = rows(v)
        mu = x @ w - 0.5 * ((x @ w) * x).sum(1, keepdims=True) + KB * T * np.log(np.clip(x, 1e-12, 1))
        return np.concatenate([mu[0] - mu[1], mu[1] - mu[2]])

    found, _, good, _ = fsolve(apart, np.full(6, -3.5), full_output=True)
    assert good == 1
    return rows(found)


def test_the_tie_triangle_of_a_regular_solution():
    truth, T = common_tangent(420.0), 420.0
    sections = solution(T, size=40)
    (row,) = sections.tie_triangles(T).to_dict("records")
    found = np.array([[row[f"x_{e}_{g}"] for e in NAMES] for g in (1, 2, 3)])
    order = np.array([np.abs(found - x).sum(1).argmin() for x in truth])
    assert sorted(order) == [0, 1, 2] and np.abs(found[order] - truth).max() < 1 / 40
    middle = sections.split(T, truth.mean(0))
    assert np.abs(middle["fraction"] - 1 / 3).max() < 0.02 and len(sections.unresolved) == 0
    lines = sections.tie_lines(T)
    assert len(lines) > 10 and np.isnan(lines["x_Cu_1_stderr"]).all()  # no errors were given, and none are made up
    assert len(solution(900.0, size=40).regions) == 0  # above every critical temperature


def test_lever_rule_and_ends_have_error_bars():
    sections = solution(420.0, stderr=2e-5)
    frame = sections.split(420, {"Cu": 0.4, "Au": 0.3, "Pd": 0.3})
    assert len(frame) == 3 and frame["fraction"].sum() == pytest.approx(1)
    np.testing.assert_allclose(frame["fraction"] @ frame[["x_Cu", "x_Au", "x_Pd"]], [0.4, 0.3, 0.3], atol=1e-9)
    assert (frame["x_Cu_stderr"] >= 1 / 24 / np.sqrt(12) - 1e-12).all() and (frame["fraction_stderr"] > 0).all()
    assert sections.tie_triangles(420)["support"].iloc[0] == 1


@pytest.mark.slow
def test_chemical_potentials_of_the_tie_triangle_have_honest_error_bars():
    """z-scores over noisy sections; a third of the errors must fail. The truth is the hull of the same grid without noise."""
    exact, z = solution(420.0).tie_triangles(420).iloc[0], []
    for seed in range(40):
        rows = solution(420.0, stderr=2e-5, seed=seed).tie_triangles(420)
        row = rows.loc[rows["barrier"].idxmax()]
        z += [(row[f"mu_{e}"] - exact[f"mu_{e}"]) / row[f"mu_{e}_stderr"] for e in ("Au", "Pd")]
    z = np.array(z)
    assert 0.75 < z.std() < 1.25 and np.abs(z).max() < 4, (z.std(), z.mean())
    assert (3 * z).std() > 1.25


# ---------------------------------------------------------------------- the binary on an edge
@pytest.mark.parametrize("T, stderr", [(420.0, None), (420.0, 2e-5), (560.0, 2e-5)])
def test_an_edge_is_the_binary_diagram(T, stderr):
    sections = solution(T, stderr=stderr)
    binary = sections.binary("Au", "Cu")
    n = grid(24)
    here = n[:, 2] == 0
    order = np.argsort(n[here][:, 1])
    f = sections.table["free_energy"].values[:, here][:, order]
    alone = PhaseDiagram.from_table([T], np.linspace(0, 1, 25), f, elements=("Cu", "Au"))
    assert isinstance(binary, PhaseDiagram) and len(binary.tie_lines(T)) == 1
    for name in ("x_left", "x_right", "mu"):
        assert binary.tie_lines(T)[name].iloc[0] == pytest.approx(alone.tie_lines(T)[name].iloc[0], abs=1e-9)
    split = sections.split(T, {"Cu": 0.5, "Au": 0.5, "Pd": 0.0})
    np.testing.assert_allclose(sorted(split["x_Au"]), alone.tie_lines(T)[["x_left", "x_right"]].iloc[0], atol=1e-9)
    assert (split["x_Pd"] == 0).all()


# ---------------------------------------------------------------------- enumeration
MU = np.array([[0, a, b] for a in np.linspace(-0.3, 0.3, 5) for b in np.linspace(-0.3, 0.3, 5)])


@pytest.mark.parametrize("T", [500.0, 1200.0])
def test_free_energies_of_exact_draws_have_honest_error_bars(T):
    """Over seeds and all compositions that have an error; a third of it must fail."""
    e, z = ternaries.lopsided(), []
    truth = ternaries.exact_free_energies(e, T)
    for seed in range(8):
        table = ternaries.exact_scan(e, T, MU, 100, seed).free_energies()
        f = np.array([truth[tuple(row)] for row in table["atoms"].values.tolist()])
        error = table["free_energy_stderr"].values[0]
        told = error > 0
        z += list((table["free_energy"].values[0] - f)[told] / error[told])
        corners = (table["atoms"].values == 8).any(1)
        np.testing.assert_allclose(table["free_energy"].values[0][corners], f[corners], atol=1e-12)
    z = np.array(z)
    assert len(z) > 120 and 0.8 < z.std() < 1.25 and abs(z.mean()) < 0.3 and np.abs(z).max() < 5, (
        len(z),
        z.mean(),
        z.std(),
    )
    assert (3 * z).std() > 1.25


def test_canonical_averages_agree_with_enumeration():
    e, T = ternaries.lopsided(), 1200.0
    table = ternaries.exact_scan(e, T, MU, 400, 3).free_energies()
    counts, size = np.rint(e.counts).astype(int), e.hamiltonian.n_sites
    for name in ("energy", "entropy", "heat_capacity"):
        z = []
        for k, row in enumerate(table["atoms"].values):
            u = e.energy[(counts == row).all(1)]
            p = np.exp(-(u - u.min()) / (KB * T))
            p /= p.sum()
            mean = p @ u
            true = {
                "energy": mean / size,
                "entropy": -KB * (p @ np.log(p)) / size,
                "heat_capacity": (p @ (u - mean) ** 2) / (KB * T**2) / size,
            }
            error = float(table[f"{name}_stderr"].values[0, k])
            if error > 0:
                z.append((float(table[name].values[0, k]) - true[name]) / error)
        assert len(z) > 15 and np.abs(z).max() < 4.5, name


def exchanged(w, T, mu, n=300, cell=(2, 2, 2), **kw):
    h = ternaries.pairs(w).on(cell)
    rows = [[0, a, b] for a in mu for b in mu]
    return replica_exchange(h, h.grid([*T, 2.5 * max(T), np.inf], rows), n=n, seed=0, check=False, **kw)


@pytest.fixture(scope="module")
def patchy():
    """Unlike neighbours cost energy: three phases at the corners."""
    return exchanged(ternaries.PATCHY, [700.0, 1500.0], [-0.15, 0.0, 0.15])


def test_monte_carlo_of_an_alloy_that_falls_into_three(patchy):
    """One tie-triangle between the pure corners, at the mu of equal Phi; F of every composition as enumerated."""
    sections = patchy.phase_diagram([700.0])
    assert isinstance(sections, IsothermalSections) and sections.elements == NAMES
    rows = sections.tie_triangles(700)
    assert (
        len(rows) == 1
        and len(sections.tie_lines(700)) == 0
        and rows["reliable"].iloc[0]
        and rows["significance"].iloc[0] > 4
    )
    assert {tuple(rows[[f"x_{e}_{g}" for e in NAMES]].iloc[0]) for g in (1, 2, 3)} == {(1, 0, 0), (0, 1, 0), (0, 0, 1)}
    assert rows["mu_Au"].iloc[0] == pytest.approx(0, abs=1e-9) and rows["phase_1"].iloc[0] == "disordered"
    from alloygen.exact.enumeration import Enumeration

    truth = ternaries.exact_free_energies(Enumeration(patchy.hamiltonian), 700.0)
    table = sections.table
    z = [(f - truth[tuple(n)]) / s for f, s, n in zip(table["free_energy"].values[0], table["free_energy_stderr"].values[0],
                                                     table["atoms"].values.tolist(), strict=True) if s > 0]  # fmt: skip
    assert len(z) > 20 and np.abs(z).max() < 5 and np.std(z) < 1.6
    assert len(patchy.phase_diagram([1e5]).regions) == 0
    assert patchy.phase_diagram().T.tolist() == np.unique(patchy.T[np.isfinite(patchy.T)]).tolist()


def test_a_binary_in_a_ternary(patchy):
    """The edge of a ternary scan against a scan of the binary with the same pairs."""
    w = {k: v for k, v in ternaries.PATCHY.items() if "Pd" not in k}
    h = ternaries.pairs(w, ("Cu", "Au")).on((2, 2, 2))
    alone = replica_exchange(
        h, h.grid([700.0, 1500.0, np.inf], [[0, m] for m in (-0.15, 0.0, 0.15)]), n=2000, seed=1, check=False
    )
    one, two = patchy.phase_diagram([700.0, 1500.0]).binary("Au", "Cu"), alone.phase_diagram([700.0, 1500.0])
    np.testing.assert_allclose(one.tie_lines(700)[["x_left", "x_right"]], two.tie_lines(700)[["x_left", "x_right"]])
    apart = one.table["free_energy"] - two.table["free_energy"]
    sigma = np.hypot(one.table["free_energy_stderr"], two.table["free_energy_stderr"])
    assert (
        float(np.abs(apart / sigma.where(sigma > 0)).max()) < 4 and float(np.abs(apart.isel(n=[0, -1])).max()) < 1e-12
    )


def test_a_model_goes_through_the_same_door():
    """alloygen.scan over a plane of mu by a network, untrained: its weights make F right, as enumerated."""
    e, T = ternaries.lopsided(), 1500.0
    model = CausalModel(e.hamiltonian, ranges={"T": [500, 3000], "mu": [[-0.4, 0.4]] * 2}, width=8, depth=1, heads=1)
    mu = {"Au": [-0.2, 0.0, 0.2], "Pd": [-0.2, 0.0, 0.2]}
    scan = alloygen.scan(e.hamiltonian, T=T, mu=mu, n=100, sampler=model)
    sections, truth = scan.phase_diagram(), ternaries.exact_free_energies(e, T)
    assert len(scan) == 9 and scan.method == "neural" and isinstance(sections, IsothermalSections)
    table = sections.table
    f = np.array([truth[tuple(n)] for n in table["atoms"].values.tolist()])
    error = table["free_energy_stderr"].values[0]
    z = ((table["free_energy"].values[0] - f)[error > 0]) / error[error > 0]
    assert len(z) > 25 and np.abs(z).max() < 5


def test_orders_of_a_ternary_are_told_by_its_sublattices():
    """Cu and Au order on fcc, Pd dissolves: Cu3Au (L1_2) beside pure Pd, named from the occupations."""
    strong = {("Cu", "Au"): -0.06, ("Cu", "Pd"): 0.03, ("Au", "Pd"): 0.03}
    scan = exchanged(strong, [500.0, 900.0], [-0.6, -0.2, 0.2, 0.6], n=200)
    sections = scan.phase_diagram([500.0], min_width=2)
    atoms, names = sections.table["atoms"].values.tolist(), sections.phases[0]
    assert names[atoms.index([6, 2, 0])] == "Cu3Au (L1_2)"
    assert names[atoms.index([8, 0, 0])] == "disordered"
    assert (
        names[atoms.index([4, 4, 0])] == "CuAu (L1_0)"
    )  # its six variants are three and their translates, of which eta has opposite signs
    assert float(sections.table["order_L1_0_Au"].values[0][atoms.index([4, 4, 0])]) == pytest.approx(1, abs=0.05)
    assert float(sections.table["order_L1_2_Au"].values[0][atoms.index([6, 2, 0])]) == pytest.approx(1, abs=0.05)
    assert any("(" in p for p in sections.single_phases(500)["phase"])
    dataset = {d["phases"][0]: d for d in sections.to_espei_sites(500)}
    assert dataset["L1_2"]["solver"]["sublattice_site_ratios"] == [0.25, 0.75]
    for names, shares in zip(
        *(dataset["L1_2"]["solver"][f"sublattice_{k}"] for k in ("configurations", "occupancies")), strict=True
    ):
        first, second = (
            {n: y for n, y in zip(*v, strict=True)} if isinstance(v[0], list) else dict([v])
            for v in zip(names, shares, strict=True)
        )
        assert sum(first.values()) == pytest.approx(1) == sum(second.values())
        assert max(abs(first.get(e, 0) - second.get(e, 0)) for e in ("AU", "CU", "PD")) > 0.5


# ---------------------------------------------------------------------- four elements, other lattices
def test_four_elements():
    n = grid(6, 4)
    f = 0.1 * (1 - ((n / 6) ** 2).sum(1)) - 2e-3 * n[:, 1] / 6
    sections = IsothermalSections.from_table([300.0], n, f[None], elements=("A", "B", "C", "D"))
    assert (
        sections.regions["n_phases"].tolist() == [4]
        and len(sections.split(300, {"A": 0.5, "B": 0.5, "C": 0, "D": 0})) == 2
    )
    with pytest.raises(AlloygenError, match="three elements for a triangle"):
        sections.plot()


def test_a_fixed_sublattice_counts_among_the_atoms():
    rock = Primitive(ternaries.FCC, [[0, 0, 0], [0.5] * 3], [("Li", "Mn", "Ti"), ("O",)])
    w = {("Li", "Mn"): 0.03, ("Li", "Ti"): 0.03, ("Mn", "Ti"): 0.03}
    h = ternaries.pairs(w, ("Li", "Mn", "Ti"), rock).on((2, 2, 1))
    scan = replica_exchange(
        h, h.grid([600.0, np.inf], [[0, a, b, 0] for a in (-0.1, 0.1) for b in (-0.1, 0.1)]), n=300, seed=0, check=False
    )
    sections = scan.phase_diagram([600.0])
    espei = sections.to_espei()
    assert espei["components"] == ["LI", "MN", "O", "TI", "VA"] and espei["values"]
    for sides in espei["values"]:
        assert len(sides) == 3 and all(sum(x) <= 1 and x[told.index("O")] == pytest.approx(0.5) for _, told, x in sides)
    diagram = sections.to_pymatgen(600)
    assert {Composition(f).reduced_formula for f in ("LiO", "MnO", "TiO")} <= {
        e.original_entry.composition.reduced_formula for e in diagram.stable_entries
    }
    assert sections.table.attrs["fixed_atoms"] == '{"O": 4}'


# ---------------------------------------------------------------------- several kinds of sites
FREE = (-0.3, -0.15, -0.05, 0.05, 0.2)  # eV, of each metal but the first


def salt(metals):
    """Metals beside oxygen or fluorine, which the second metal draws near: all states of 4 + 4 sites."""
    rock = Primitive(ternaries.FCC, [[0, 0, 0], [0.5] * 3], [metals, ("O", "F")])
    like = {(a, b): 0.02 + 0.01 * k for k, (a, b) in enumerate(combinations(metals, 2))}
    near, index = ternaries.pairs(like, metals, rock), rock.elements.index
    bonds = np.array([[(0, 0, 0, 0), (a - 1, b - 1, c - 1, 1)] for a, b, c in np.ndindex(2, 2, 2)])
    both = Orbit("MnF", -0.03, bonds, np.tile([index("Mn"), index("F")], (len(bonds), 1)), np.ones(len(bonds)))
    return Enumeration(ClusterExpansion(rock, near.functions, (*near.orbits, both), name="salt").on((2, 2, 1)))


def beside(e, T, mu_f, metals):
    """F per site at each composition of the metals, fluorine at mu_f against oxygen: sums over all states."""
    h = e.hamiltonian
    beta, fluorine = 1.0 / (h.kB * T), h.elements.index("F")
    log_w = -beta * (e.energy - mu_f * e.counts[:, fluorine])
    counts, row = np.unique(
        np.rint(e.counts[:, [h.elements.index(m) for m in metals]]).astype(int), axis=0, return_inverse=True
    )
    z = [np.logaddexp.reduce(log_w[row.ravel() == k]) for k in range(len(counts))]
    return {tuple(n): -f / (beta * h.n_sites) for n, f in zip(counts.tolist(), z, strict=True)}


def at_fluorine(h, mu_f, values, metals):
    """Chemical potentials (C, n_elements): a plane of the metals, those of oxygen and fluorine moved together."""
    rows = np.zeros((len(values) ** (len(metals) - 1), len(h.elements)))
    rows[:, [h.elements.index(m) for m in metals[1:]]] = list(product(values, repeat=len(metals) - 1))
    rows[:, [h.elements.index(e) for e in "OF"]] = 0.05, 0.05 + mu_f
    return rows


@pytest.mark.parametrize("metals", [("Li", "Mn"), ("Li", "Mn", "Ti")])
def test_one_kind_of_sites_beside_open_ones(metals):
    """F by draws at one chemical potential of fluorine, against enumeration; another chemical potential must fail."""
    T, mu_f, e, z, wrong = 2000.0, 0.06, salt(metals), [], []
    truth, other = beside(e, T, mu_f, metals), beside(e, T, 0.09, metals)
    for seed in range(4 if len(metals) == 2 else 2):
        table = ternaries.exact_scan(e, T, at_fluorine(e.hamiltonian, mu_f, FREE, metals), 100, seed).free_energies()
        rows = table["atoms"].values.tolist() if "atoms" in table else [(4 - n, n) for n in range(5)]
        f, error = table["free_energy"].values[0], table["free_energy_stderr"].values[0]
        for k in np.flatnonzero(error > 0):
            z.append((f[k] - truth[tuple(rows[k])]) / error[k])
            wrong.append((f[k] - other[tuple(rows[k])]) / error[k])
    assert len(z) >= 15 and 0.6 < np.std(z) < 1.4 and np.abs(z).max() < 5 and np.abs(wrong).max() > 10, (
        len(z),
        np.std(z),
    )
    assert json.loads(table.attrs["open"]) == {"F": pytest.approx(mu_f)} and table.attrs["n_exchangeable"] == 4
    assert np.abs(table["mixing"].values[0][[0, -1]]).max() < 1e-12


def test_what_open_sites_cannot_tell():
    metals, T = ("Li", "Mn", "Ti"), 2000.0
    e = salt(metals)
    rows = at_fluorine(e.hamiltonian, 0.06, FREE, metals)
    sections = ternaries.exact_scan(e, T, rows, 100, 0).phase_diagram()
    assert sections.elements == metals and 0 < len(sections.single_phases(T))
    for call in (sections.to_espei, lambda: sections.to_pymatgen(T), lambda: sections.to_espei_sites(T)):
        with pytest.raises(AlloygenError, match=r'sites that are open, at mu = {"F"'):
            call()
    moved = rows.copy()
    moved[::2, e.hamiltonian.elements.index("F")] += 0.1
    with pytest.raises(AlloygenError, match="vary on 2 of these"):
        ternaries.exact_scan(e, T, moved, 20, 0).phase_diagram()
    diagram = ternaries.exact_scan(
        salt(metals[:2]), T, at_fluorine(salt(metals[:2]).hamiltonian, 0.06, FREE, metals[:2]), 100, 0
    ).phase_diagram()
    assert isinstance(diagram, PhaseDiagram) and diagram.element == "Mn"
    with pytest.raises(AlloygenError, match="sites that are open"):
        diagram.to_landau()


# ---------------------------------------------------------------------- other libraries, files, pictures
def test_exports_and_round_trips(tmp_path, patchy):
    sections = patchy.phase_diagram([700.0, 1500.0])
    for name in ("s.json", "s.nc"):
        again = IsothermalSections.read(sections.write(tmp_path / name))
        assert again.elements == sections.elements and again.min_width == 3
        np.testing.assert_array_equal(again.table["free_energy"], sections.table["free_energy"])
        np.testing.assert_array_equal(again.table["effective_samples"], sections.table["effective_samples"])
        np.testing.assert_allclose(again.tie_triangles(700).drop(columns=["phase_1", "phase_2", "phase_3", "note"]).astype(float),
                                   sections.tie_triangles(700).drop(columns=["phase_1", "phase_2", "phase_3", "note"]).astype(float))  # fmt: skip
        assert (again.phases == sections.phases).all()
    json.loads((tmp_path / "s.json").read_text(), parse_constant=lambda c: pytest.fail(f"{c} is no JSON"))
    assert len((tmp_path / "s.csv").read_text() if sections.write(tmp_path / "s.csv") else "") > 100
    diagram = sections.to_pymatgen(700)
    assert {e.composition.reduced_formula for e in diagram.stable_entries} == set(NAMES)
    espei = sections.to_espei()
    assert (
        espei["components"] == ["AU", "CU", "PD", "VA"] and espei["phases"] == ["FCC_A1"] and espei["output"] == "ZPF"
    )
    assert len(espei["values"]) == len(espei["conditions"]["T"]) == len(sections.regions)
    assert all(told == ["AU", "PD"] and len(x) == 2 for sides in espei["values"] for _, told, x in sides)
    one = {d["phases"][0]: d for d in sections.to_espei_sites(1500)}["FCC_A1"]
    assert (
        one["phases"] == ["FCC_A1"] and one["solver"]["sublattice_site_ratios"] == [1.0] and one["output"] == "HM_MIX"
    )
    rows = len(one["solver"]["sublattice_configurations"])
    assert rows == len(one["solver"]["sublattice_occupancies"]) == len(one["values"][0][0]) > 20
    with pytest.raises(AlloygenError, match="ends in one of"):
        sections.write(tmp_path / "s.txt")


def test_pictures(patchy):
    import matplotlib.pyplot as plt

    sections = solution([300.0, 420.0], stderr=2e-5)
    axes = sections.plot("stack")
    assert [a.name for a in axes] == ["ternary"] * 2 and "300 K" in axes[0].get_title()
    assert sections.plot("isopleth", start={"Cu": 1, "Au": 0}, end=[0, 0.5, 0.5], points=11).get_xlim() == (0, 1)
    with pytest.raises(AlloygenError, match="mpltern"):
        sections.plot(ax=plt.subplots()[1])
    with pytest.raises(AlloygenError, match="start= and end="):
        sections.plot("isopleth")
    frame = sections.isopleth({"Cu": 1, "Au": 0, "Pd": 0}, {"Cu": 0, "Au": 0.5, "Pd": 0.5}, 5)
    assert len(frame) == 10 and frame["n_phases"].iloc[0] == 1 and frame["n_phases"].iloc[2] == 3
    assert plot_sections.LINES > 10
    plt.close("all")


# ---------------------------------------------------------------------- bad input
def test_a_line_of_chemical_potentials_has_no_section():
    h = ternaries.pairs(ternaries.PATCHY).on((2, 2, 1))
    for mu, words in (([[0, m, 0.1] for m in (-0.1, 0.1)], r"2 directions.*\"Au\": .*one line"), ([[0, 0.1, 0.1]], "a single set"),
                      ([[0, m, m] for m in (-0.1, 0.0, 0.1)], "one line")):  # fmt: skip
        scan = replica_exchange(h, h.grid([900.0, np.inf], mu), n=20, seed=0, check=False)
        with pytest.raises(BadCondition, match=words):
            scan.phase_diagram()


def test_what_has_no_section_says_so(patchy):
    h = enumerable("two-sublattice").hamiltonian
    scan = replica_exchange(
        h, h.grid([900.0, np.inf], [[0, a, 0, b] for a in (0, 0.1) for b in (0, 0.1)]), n=20, seed=0, check=False
    )
    with pytest.raises(AlloygenError, match=r"all exchangeable sites can hold, got .*scan.to_xarray"):
        scan.phase_diagram()
    with pytest.raises(BadCondition, match="expected no element"):
        patchy.phase_diagram(element="Au")
    with pytest.raises(AlloygenError, match="no held sites"):
        h = ternaries.pairs(ternaries.PATCHY).on((2, 2, 1))
        held = Problem.of(h, occ=[0, 1, 2, 0], fixed=[0])
        replica_exchange(
            held, h.grid([900.0, np.inf], [[0, a, b] for a in (0, 0.1) for b in (0, 0.1)]), n=20, seed=0, check=False
        ).phase_diagram()


BAD = {
    "another temperature": (lambda s: s.split(301, [1, 0, 0]), BadCondition, "temperatures of the sections"),
    "fractions beyond 1": (lambda s: s.split(300, [1, 0.5, 0]), BadCondition, "sum to 1"),
    "another element": (lambda s: s.split(300, {"Ag": 1.0}), UnknownSpecies, "Cu, Au, Pd"),
    "a fraction below 0": (lambda s: s.split(300, {"Cu": 1.2, "Au": -0.2}), BadCondition, "from 0"),
    "an edge of one element": (lambda s: s.binary("Cu", "Cu"), BadCondition, "three compositions"),
    "another kind of picture": (lambda s: s.plot("T-x"), AlloygenError, "kind as one of"),
    "an edge of a stranger": (lambda s: s.binary("Ag", "Cu"), AlloygenError, "an element"),
}


@pytest.mark.parametrize("name", BAD)
def test_refusals(name):
    call, error, words = BAD[name]
    with pytest.raises(error, match=words):
        call(solution(300.0, size=6))


@pytest.mark.parametrize("change", ["shape", "half", "twice", "binary", "dict"])
def test_tables_that_are_none(change):
    n, f = grid(4), np.zeros((1, 15))
    if change == "binary":
        with pytest.raises(AlloygenError, match="PhaseDiagram"):
            IsothermalSections.from_table([300.0], grid(4, 2), np.zeros((1, 5)), elements=("A", "B"))
    elif change == "dict":
        with pytest.raises(AlloygenError, match="with a table"):
            IsothermalSections.from_dict({"elements": ["A"]})
    else:
        n = {
            "shape": n[:-1],
            "half": n + np.where(np.arange(15)[:, None] == 3, [0.5, -0.5, 0], 0),
            "twice": n[[0, *range(14)]],
        }[change]
        with pytest.raises(AlloygenError, match="whole numbers"):
            IsothermalSections.from_table([300.0], n, f)
