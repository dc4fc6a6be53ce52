"""Energies of CLEASE expansions against CLEASE itself, and what ships against its maker."""

import importlib.util
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.build import bulk
from clease.calculator import attach_calculator
from clease.cluster.cluster_list import ClusterDoesNotExistError
from clease.corr_func import CorrFunction
from clease.montecarlo import SGCMonteCarlo
from clease.settings import CEBulk, CECrystal, CESlab, Concentration
from small_systems import generator

import alloygen.data
from alloygen.conditions import chemical_potentials, mu_from_field
from alloygen.errors import AlloygenError
from alloygen.exact.enumeration import Enumeration
from alloygen.hamiltonian import clease as clease_module
from alloygen.hamiltonian.clease import from_clease
from alloygen.hamiltonian.figures import Orbit, merged
from alloygen.lattice import Lattice

CUAU = dict(crystalstructure="fcc", a=3.8, max_cluster_dia=[6.0, 4.5, 4.5])
CASES = {
    "CuAu": ([["Au", "Cu"]], CUAU, [(2, 2, 2), (1, 2, 4), (2, 2, 4), (4, 4, 4), (4, 4, 8)]),
    "ternary": (
        [["Au", "Cu", "Ni"]],
        dict(crystalstructure="fcc", a=3.8, max_cluster_dia=[5.5, 4.0, 3.0]),
        [(3, 3, 3), (2, 2, 3)],
    ),
    "two sublattices": (
        [["Li", "Na", "K"], ["O", "F"]],
        dict(crystalstructure="rocksalt", a=4.2, max_cluster_dia=[4.3, 3.1]),
        [(3, 3, 3), (1, 2, 3)],
    ),
    "spectator": (
        [["Li", "Na"], ["O"]],
        dict(crystalstructure="rocksalt", a=4.2, max_cluster_dia=[5.0, 4.5]),
        [(3, 3, 3)],
    ),
    "hcp": (
        [["Mg", "Zn"]],
        dict(crystalstructure="hcp", a=3.0, c=4.9, max_cluster_dia=[5.0, 4.5]),
        [(3, 3, 3), (2, 2, 2)],
    ),
}


def maker():
    """The script beside the data: not part of the package, so it is loaded by its path."""
    path = Path(__file__).parents[2] / "data" / "make_cuau.py"
    spec = importlib.util.spec_from_file_location("make_cuau", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """CLEASE settings of every case, with ECIs: published for CuAu, random for the others."""
    folder, rng, out = tmp_path_factory.mktemp("clease"), np.random.default_rng(0), {}
    for name, (elements, kw, _) in CASES.items():
        s = CEBulk(Concentration(elements), db_name=str(folder / f"{name}.db"), **kw)
        out[name] = s, maker().ECI if name == "CuAu" else {n: float(rng.normal(scale=0.02)) for n in s.all_cf_names}
    return out


def site_of_atom(atoms, lattice: Lattice, prim) -> np.ndarray:
    """Our site number of each atom, by position: CLEASE returns atoms in an order of its own."""
    frac = atoms.positions @ np.linalg.inv(prim.cell)
    rest = frac[:, None] - lattice.primitive.basis[None]
    sub = np.abs(rest - np.rint(rest)).max(-1).argmin(1)
    offsets = np.rint(rest[np.arange(len(sub)), sub]).astype(int)
    return lattice.index(offsets, sub)


def decorate(atoms, site, lattice: Lattice, occ) -> None:
    for atom, s in enumerate(site):
        atoms[atom].symbol = lattice.species[lattice.sublattice[s]][int(occ[s])]


@pytest.mark.parametrize("name, repeats", [(n, r) for n, (_, _, cells) in CASES.items() for r in cells])
def test_energies_equal_those_of_clease(settings, name, repeats):
    s, eci = settings[name]
    h = from_clease(s, eci).on(repeats)
    atoms = attach_calculator(s, s.prim_cell.repeat(repeats), eci)
    site = site_of_atom(atoms, h.lattice, s.prim_cell)
    assert sorted(site) == list(range(h.n_sites))
    occ = h.random(4, generator(1))
    theirs = []
    for x in occ:
        decorate(atoms, site, h.lattice, x)
        theirs.append(atoms.get_potential_energy())
    assert np.ptp(theirs) > 1e-3
    np.testing.assert_allclose(h.energy(occ).numpy(), theirs, rtol=0, atol=1e-10)


def test_energies_equal_correlation_functions_from_scratch(settings):
    """Without CLEASE's incremental updates: N sum ECI <phi>."""
    s, eci = settings["CuAu"]
    h = from_clease(s, eci).on((2, 2, 4))
    atoms = attach_calculator(s, s.prim_cell.repeat((2, 2, 4)), eci)  # for its order of atoms, which get_cf expects
    site = site_of_atom(atoms, h.lattice, s.prim_cell)
    occ = h.random(1, generator(4))
    decorate(atoms, site, h.lattice, occ[0])
    atoms.calc = None
    cf = CorrFunction(s).get_cf(atoms)
    assert float(h.energy(occ)[0]) == pytest.approx(16 * sum(eci[n] * cf[n] for n in eci), abs=1e-10)


def test_the_same_from_files_and_from_a_calculator(settings, tmp_path):
    s, eci = settings["CuAu"]
    expected = from_clease(s, eci).fingerprint
    s.save(str(tmp_path / "settings.json"))
    (tmp_path / "eci.json").write_text(json.dumps(eci))
    assert from_clease(tmp_path / "settings.json", tmp_path / "eci.json").fingerprint == expected
    assert from_clease(str(tmp_path / "settings.json"), eci).fingerprint == expected
    atoms = attach_calculator(s, s.prim_cell.repeat((2, 2, 2)), eci)
    assert from_clease(atoms).fingerprint == expected


def test_what_does_not_fit_is_named(settings, tmp_path):
    s, eci = settings["CuAu"]
    with pytest.raises(AlloygenError, match=r"do not fit.*c7_d0009_0_00") as caught:
        from_clease(s, {**eci, "c7_d0009_0_00": 0.1})
    assert "c2_d0003_0_00" in str(caught.value)
    with pytest.raises(AlloygenError, match=r".*nowhere\.json"):
        from_clease(tmp_path / "nowhere.json", eci)
    with pytest.raises(AlloygenError, match="got NoneType"):
        from_clease(s)
    with pytest.raises(AlloygenError, match="got dict"):
        from_clease({}, eci)


OLD = {"include_background_atoms", "supercell_factor", "size", "skew_threshold", "kwargs", "clease_version", "db_name"}


@pytest.mark.parametrize(
    "change",
    [
        lambda d: {**d, "db_name": "/nowhere/at/all/aucu.db"},
        lambda d: {**d, "db_name": "elsewhere/aucu.db", "max_cluster_size": 3, "ignore_background_atoms": True},
        lambda d: {k: v for k, v in d.items() if k not in OLD},
        lambda d: {**d, "supercell_factor": 10**30, "skew_threshold": 0.0},
        lambda d: {**d, "supercell_factor": None, "size": [10**6, 10**6, 10**6]},
    ],
)
def test_settings_of_other_machines_and_versions_are_read_and_leave_no_database(
    settings, tmp_path, monkeypatch, change
):
    s, eci = settings["CuAu"]
    monkeypatch.chdir(tmp_path)
    s.save("settings.json")
    Path("settings.json").write_text(json.dumps(change(json.loads(Path("settings.json").read_text()))))
    assert from_clease("settings.json", eci).fingerprint == from_clease(s, eci).fingerprint
    assert [p.name for p in tmp_path.iterdir()] == ["settings.json"]


@pytest.mark.parametrize("kind", ["CECrystal", "CESlab", "spectator"])
def test_every_kind_of_settings_reads_back_without_a_database(settings, tmp_path, monkeypatch, kind):
    free = Concentration([["Au", "Cu"]] if kind != "CESlab" else [["Au", "Cu", "X"]])
    made = {
        "CECrystal": lambda db: CECrystal(
            free, spacegroup=225, basis=[(0, 0, 0)], cellpar=[3.8] * 3 + [90] * 3, max_cluster_dia=[3.0], db_name=db
        ),
        "CESlab": lambda db: CESlab(
            bulk("Au", a=3.8, cubic=True), (1, 0, 0), free, size=(1, 1, 2), max_cluster_dia=[3.0], db_name=db
        ),
        "spectator": lambda db: settings["spectator"][0],
    }[kind]("made.db" if kind == "spectator" else str(tmp_path / "made.db"))
    eci = {n: 0.01 * k for k, n in enumerate(made.all_cf_names)}
    monkeypatch.chdir(tmp_path)
    made.save("settings.json")
    before = sorted(tmp_path.iterdir())
    assert from_clease("settings.json", eci).fingerprint == from_clease(made, eci).fingerprint
    assert sorted(tmp_path.iterdir()) == before


def in_cell(at: int, value: float):
    """Settings with another number in the primitive cell."""

    def changed(found: dict) -> dict:
        found["prim_cell"]["cell"]["__ndarray__"][2][at] = value
        return found

    return changed


@pytest.mark.parametrize(
    "content, words",
    [
        ("hello", "expected JSON with CLEASE settings, got 'hello'"),
        ("[1]", "got list"),
        ('{"c0": 1.0}', "prim_cell, concentration, max_cluster_dia, basis_func_type"),
        ({"basis_func_type": None}, "CLEASE cannot read these settings"),
        ({"prim_cell": 3}, "CLEASE cannot read these settings"),
        ({"max_cluster_dia": [500.0, 3.0]}, "at most .* clusters to look at, got clusters of max_cluster_dia = "),
        ({"max_cluster_dia": [4.0, 40.0, 40.0]}, "at most .* clusters to look at"),
        ({"max_cluster_dia": [1e300]}, "at most .* clusters to look at"),
        ({"max_cluster_dia": [float("inf")]}, "expected cutoffs of clusters as finite numbers"),
        (in_cell(4, 1e30), "violates the constraints"),  # no template is even enough: CLEASE looked for one for minutes
    ],
)
def test_broken_settings_name_their_file(settings, tmp_path, content, words):
    s, eci = settings["CuAu"]
    path = tmp_path / "some settings.json"
    s.save(str(path))
    if callable(content):
        content = content(json.loads(path.read_text()))
    if isinstance(content, dict):
        content = json.dumps({**json.loads(path.read_text()), **content})
    path.write_text(content)
    with pytest.raises(AlloygenError, match=words) as caught:
        from_clease(path, eci)
    assert "some settings.json" in str(caught.value)
    with pytest.raises(AlloygenError, match="found no file"):
        from_clease(tmp_path, eci)


def test_compositions_that_cannot_be_and_numpys_generator_are_left_alone(tmp_path):
    """CLEASE looked for a template of such a composition for minutes; the figures are those of any."""
    half = Concentration([["Au", "Cu"]], A_lb=[[1, 0], [-1, 0]], b_lb=[0.3, -0.6])
    s = CEBulk(half, "fcc", a=3.8, max_cluster_dia=[3.0], db_name=str(tmp_path / "c.db"))
    s.save(str(tmp_path / "s.json"))
    found = json.loads((tmp_path / "s.json").read_text())
    found["concentration"]["b_lb"]["__ndarray__"][2] = [0.9, -0.1]
    (tmp_path / "s.json").write_text(json.dumps(found))
    np.random.seed(5)  # noqa: NPY002 the global one is meant
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    with pytest.warns(UserWarning, match="not honoured"):
        read = from_clease(tmp_path / "s.json", {"c0": 0.1})
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002
    with pytest.warns(UserWarning, match="not honoured"):
        assert read.fingerprint == from_clease(s, {"c0": 0.1}).fingerprint


def test_clusters_that_clease_cannot_make_are_told(settings, monkeypatch):
    s, eci = settings["CuAu"]

    def missing(self):
        raise ClusterDoesNotExistError("A 2-body cluster expected to be found was missing")

    monkeypatch.setattr(type(s), "all_cf_names", property(missing))
    with pytest.raises(AlloygenError, match=r"clusters CLEASE can make, got ClusterDoesNotExistError: A 2-body"):
        from_clease(s, eci)


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), "0.1", True, [0.1]])
def test_an_eci_is_a_finite_number(settings, tmp_path, value):
    s, eci = settings["CuAu"]
    odd = {**eci, "c2_d0001_0_00": value}
    with pytest.raises(AlloygenError, match="ECI of 'c2_d0001_0_00' as a finite number"):
        from_clease(s, odd)
    path = tmp_path / "odd.json"
    path.write_text(json.dumps(odd))
    with pytest.raises(AlloygenError, match=r"odd\.json.*'c2_d0001_0_00'"):
        from_clease(s, path)
    path.write_text("{'c0': 1}")
    with pytest.raises(AlloygenError, match=r"odd\.json: expected JSON with CLEASE ECIs"):
        from_clease(s, path)


# ---------------------------------------------------------------------- what CLEASE's settings and calculators hold besides
def test_a_field_left_in_a_calculator_is_told(settings):
    s, _ = settings["CuAu"]
    for mu in (0.05, -0.2):  # the second leaves the cell as it was
        eci = {"c0": 0.0, "c1_0": 0.01, "c2_d0000_0_00": 0.02}
        atoms = attach_calculator(s, s.prim_cell.repeat((2, 2, 2)), eci)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            fitted = from_clease(atoms).fingerprint
        SGCMonteCarlo(atoms, 50, symbols=["Au", "Cu"]).run(steps=20, chem_pot={"c1_0": -mu})
        assert eci["c1_0"] == pytest.approx(0.01 + mu)  # the caller's own dict
        with pytest.warns(UserWarning, match=r"c1_0.*SGCMonteCarlo.*reset_eci.*mu_from_field"):
            assert from_clease(atoms).fingerprint != fitted


def restricted(how):
    c = Concentration([["Au", "Cu"], ["O", "X"]])
    if how == "ranges":
        c.set_conc_ranges([[(0, 0.5), (0, 1)], [(0, 1), (0, 1)]])
    elif how == "formula":
        c.set_conc_formula_unit(formulas=["Au<x>Cu<1-x>", "O<y>X<1-y>"], variable_range={"x": (0, 0.3), "y": (0, 1)})
    elif how == "A_lb":
        c = Concentration([["Au", "Cu"], ["O", "X"]], A_lb=[[0, 2, 0, 0]], b_lb=[1])
    elif how == "A_eq":
        c = Concentration([["Au", "Cu"], ["O", "X"]], A_eq=[[1, 0, -1, 0]], b_eq=[0])
    elif how == "whole ranges":
        c.set_conc_ranges([[(0, 1), (0, 1)], [(0, 1), (0, 1)]])
    return c


@pytest.mark.parametrize("how", ["ranges", "formula", "A_lb", "A_eq", "whole ranges", "none"])
def test_restricted_compositions_are_told(tmp_path, how):
    s = CEBulk(
        restricted(how), crystalstructure="rocksalt", a=4.2, max_cluster_dia=[3.0], db_name=str(tmp_path / "c.db")
    )
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        from_clease(s, {"c0": 0.1})
    told = [str(w.message) for w in told if "not honoured" in str(w.message)]
    assert len(told) == (how not in ("whole ranges", "none")) and all('move="swap"' in t for t in told)


BASES = ("polynomial", "trigonometric", "binary_linear")
LISTS = ([["Au", "Cu"]], [["Cu", "Au"]], [["Ni", "Au", "Cu"]], [["O"], ["Ni", "Mg"]], [["Ni", "Mg"], ["X", "O"]])


@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize("elements", LISTS, ids=str)
def test_fields_have_cleases_sign_in_every_order_and_basis(tmp_path, elements, basis):
    """chem_pot is taken from the ECIs: E(ECI - chem_pot) = E(ECI) - mu.N for every configuration."""
    kind = dict(crystalstructure="fcc", a=3.8) if len(elements) == 1 else dict(crystalstructure="rocksalt", a=4.2)
    s = CEBulk(
        Concentration(elements), max_cluster_dia=[3.0], basis_func_type=basis, db_name=str(tmp_path / "b.db"), **kind
    )
    points = [n for n in s.all_cf_names if n.startswith("c1")]
    eci = {n: 0.01 * (k + 1) for k, n in enumerate(s.all_cf_names)}
    chem_pot = {n: 0.05 - 0.03 * k for k, n in enumerate(points)}
    ex = from_clease(s, eci)
    h, moved = ex.on((2, 2, 1)), from_clease(s, {n: v - chem_pot.get(n, 0.0) for n, v in eci.items()}).on((2, 2, 1))
    mu = chemical_potentials(mu_from_field(chem_pot), h)
    assert mu_from_field(chem_pot, ex) == dict(zip(h.elements, mu, strict=True))
    occ = h.random(40, generator(3))
    torch.testing.assert_close(
        h.energy(occ) - h.counts(occ) @ torch.from_numpy(mu), moved.energy(occ), rtol=0, atol=1e-12
    )
    if len(points) == 1:
        np.testing.assert_array_equal(chemical_potentials(mu_from_field(0.05), ex), mu)
        values = s.basis_functions[0]
        active = next(names for names in elements if len(names) > 1)
        sign = [np.sign(values[e] - values[active[0]]) for e in active]
        assert [np.sign(mu[h.elements.index(e)] - mu[h.elements.index(active[0])]) for e in active] == sign


@pytest.mark.slow
@pytest.mark.parametrize("elements", [[["Au", "Cu"]], [["Cu", "Au"]]], ids=str)
def test_a_field_drives_monte_carlo_as_in_clease(tmp_path, elements):
    s = CEBulk(
        Concentration(elements), crystalstructure="fcc", a=3.8, max_cluster_dia=[3.0], db_name=str(tmp_path / "m.db")
    )
    ex = from_clease(s, {"c0": 0.0, "c1_0": 0.01, "c2_d0000_0_00": 0.02})
    table, spin = Enumeration(ex.on((2, 2, 2))), np.array([s.spin_dict[e] for e in ex.elements])
    atoms = s.prim_cell.repeat((2, 2, 2))
    scan = alloygen.mc(atoms, 1200, mu_from_field([-0.05, 0.05]), n=3000, hamiltonian=ex, check=False)
    gold = ex.elements.index("Au")
    for ens in scan:
        field = 0.5 * (ens.mu[gold] - ens.mu[1 - gold])
        truth = table.at(table.hamiltonian.condition(1200, field * spin))
        x, phi = ens.composition("Au"), ens.free_energy()
        assert (
            abs(x.value - truth.composition[gold]) < 5 * x.stderr < 0.1 and abs(phi.value - truth.phi) < 5 * phi.stderr
        )
    x = {round(0.5 * (e.mu[gold] - e.mu[1 - gold]), 9): e.composition("Au").value for e in scan}
    assert x[0.05] > 0.6 > 0.4 > x[-0.05]


# ---------------------------------------------------------------------- equal clusters
def test_equal_clusters_are_one(settings, monkeypatch):
    for name in ("hcp", "two sublattices"):
        s, eci = settings[name]
        small = from_clease(s, eci)
        with monkeypatch.context() as patch:
            patch.setattr(clease_module, "merged", lambda orbit: orbit)
            large = from_clease(s, eci)
        size = lambda ex: sum(len(o.weights) for o in ex.orbits)  # noqa: E731
        assert size(small) < 0.6 * size(large)
        for repeats in ((3, 3, 3), (1, 2, 2), (1, 1, 1)):
            occ = large.on(repeats).random(10, generator(5))
            torch.testing.assert_close(
                small.on(repeats).energy(occ), large.on(repeats).energy(occ), rtol=0, atol=1e-13 * len(occ[0])
            )
        for a, b in zip(small.orbits, large.orbits, strict=True):
            assert a.weights.sum() == pytest.approx(b.weights.sum(), abs=1e-12)
            again = merged(a)
            assert np.array_equal(again.members, a.members) and np.array_equal(again.weights, a.weights)


def test_translates_and_reordered_members_are_the_same_cluster():
    rng = np.random.default_rng(0)
    members = rng.integers(-3, 4, size=(6, 3, 4)) * [1, 1, 1, 0] + [0, 0, 0, 1]
    functions = rng.integers(2, size=(6, 3))
    rows, fs = [], []
    for _ in range(5):
        order = rng.permutation(3)
        rows.append(members[:, order] + np.append(rng.integers(-4, 5, size=3), 0))
        fs.append(functions[:, order])
    one = merged(Orbit("c3", 0.1, members, functions, np.ones(6)))
    many = merged(Orbit("c3", 0.1, np.concatenate(rows), np.concatenate(fs), np.full(30, 0.2)))
    assert np.array_equal(one.members, many.members) and np.array_equal(one.functions, many.functions)
    np.testing.assert_allclose(one.weights, many.weights)
    assert len(one.weights) == 6
    other = merged(Orbit("c3", 0.1, members, 1 - functions, np.ones(6)))  # the functions count too
    assert not np.array_equal(other.functions, one.functions)


def test_an_expansion_prints_as_one_line(settings):
    ex = from_clease(*settings["two sublattices"])
    for thing in (ex, ex.orbits[-1], ex.on((2, 2, 2)), ex.primitive):
        assert len(repr(thing)) < 200 and "\n" not in repr(thing)
    assert "Li/Na/K, O/F" in repr(ex) and ex.fingerprint in repr(ex) and f"{len(ex.orbits)} orbits" in repr(ex)


def test_order_of_species_changes_labels_only(settings):
    one = from_clease(*settings["CuAu"])
    two = maker().copper_first(one)
    assert one.elements == ("Au", "Cu") and two.elements == ("Cu", "Au")
    a, b = one.on((2, 2, 2)), two.on((2, 2, 2))
    occ = a.random(5, generator())
    torch.testing.assert_close(a.energy(occ), b.energy(1 - occ), rtol=0, atol=1e-12)
    assert (a.energy(occ) - b.energy(occ)).abs().max() > 1e-3


# ---------------------------------------------------------------------- the expansion that ships
def test_shipped_expansion_is_the_published_one_less_a_line():
    raw, shipped = maker().raw().on((4, 4, 4)), alloygen.data.cuau().on((4, 4, 4))
    assert raw.elements == shipped.elements == ("Cu", "Au")
    occ = raw.random(20, generator(2))
    line = raw.counts(occ) @ torch.tensor([0.0026198996, -0.0027078495], dtype=torch.float64)
    torch.testing.assert_close(shipped.energy(occ), raw.energy(occ) - line, rtol=0, atol=64 * 1e-10)
    assert line.abs().max() > 1e-3
    remade = maker().formation(maker().raw())
    assert remade.fingerprint == alloygen.data.cuau().fingerprint


def ordered(h, is_gold) -> torch.Tensor:
    """Gold where ``is_gold`` says so, by position within the cubic cell in units of half its edge."""
    half = np.rint(h.lattice.positions / 1.9).astype(int) % 2
    return torch.tensor([[int(is_gold(tuple(p))) for p in half]])


PHASES = {
    "Cu3Au L1_2": (lambda p: p == (0, 0, 0), 0.25, -0.034167194),
    "CuAu L1_0": (lambda p: p[2] == 0, 0.5, -0.036182488),
    "CuAu3 L1_2": (lambda p: p != (0, 0, 0), 0.75, -0.018754351),
    "Cu": (lambda p: False, 0.0, 0.0),
    "Au": (lambda p: True, 1.0, 0.0),
}


@pytest.mark.parametrize("repeats", [(2, 2, 2), (4, 4, 4), (4, 4, 8)])
@pytest.mark.parametrize("phase", PHASES)
def test_energies_of_the_ordered_phases(phase, repeats):
    rule, gold, energy = PHASES[phase]
    h = alloygen.data.cuau().on(repeats)
    occ = ordered(h, rule)
    assert occ.double().mean() == gold
    assert float(h.energy(occ)[0]) / h.n_sites == pytest.approx(energy, abs=6e-10)
