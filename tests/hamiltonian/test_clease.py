"""Energies of CLEASE expansions against CLEASE itself, and what ships against its maker."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from clease.calculator import attach_calculator
from clease.corr_func import CorrFunction
from clease.settings import CEBulk, Concentration
from small_systems import generator

import alloygen.data
from alloygen.errors import AlloygenError
from alloygen.hamiltonian.clease import from_clease
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
    with pytest.raises(AlloygenError, match="found none"):
        from_clease(tmp_path / "nowhere.json", eci)
    with pytest.raises(AlloygenError, match="got NoneType"):
        from_clease(s)
    with pytest.raises(AlloygenError, match="got dict"):
        from_clease({}, eci)


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
