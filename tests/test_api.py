"""The calls that users make, on the models that ship."""

import pickle
import re
import shutil
import subprocess
import sys
import warnings
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from safetensors.torch import save_file
from scipy.special import logsumexp
from small_systems import cuau_16, low_temperature_phi

import alloygen
from alloygen import Spacing
from alloygen.conditions import mu_from_field
from alloygen.edge.problem import Problem
from alloygen.errors import (
    AlloygenError,
    BadCondition,
    CheckpointError,
    LatticeMismatch,
    LowSampleSize,
    NoModel,
    NotConverged,
    OutsideTrainedRange,
    UnknownSpecies,
    UnusableModel,
)
from alloygen.estimate.result import Estimate
from alloygen.exact.enumeration import Enumeration
from alloygen.exact.ising import kaufman_free_energy, transfer_matrix
from alloygen.montecarlo.single_moves import Swap
from alloygen.runtime.job import Job

SMALL = bulk("Cu", a=3.8).repeat((2, 2, 4))


def test_sample_gives_what_was_asked():
    before = SMALL.copy()
    ens = alloygen.sample(SMALL, T=600, mu={"Au": 0.02}, n=300, seed=0)
    assert ens.method == "neural" and len(ens) == 300 and before == SMALL
    a = ens.atoms[5]
    assert np.allclose(a.positions, SMALL.positions) and np.allclose(a.cell, SMALL.cell) and a.pbc.all()
    assert a.get_potential_energy() == pytest.approx(float(ens.energy[5]))
    assert {"T", "mu_Au", "log_prob", "log_weight"} <= set(a.info)


def test_same_seed_same_samples_and_other_seed_others():
    draw = lambda seed: alloygen.sample(SMALL, T=900, mu={"Au": 0.0}, n=50, seed=seed).occ  # noqa: E731
    assert (draw(3) == draw(3)).all() and not (draw(3) == draw(4)).all()


@pytest.mark.slow
def test_free_energy_and_composition_are_exact_within_their_errors():
    exact = cuau_16().at(cuau_16().hamiltonian.condition(600, np.array([0.0, 0.02])))
    ens = alloygen.sample(SMALL, T=600, mu={"Au": 0.02}, n=4000, seed=1)
    phi, x = ens.free_energy(), ens.composition("Au")
    assert abs(phi.value - exact.phi) < 4.5 * phi.stderr < 1e-4
    assert abs(x.value - exact.composition[1]) < 4.5 * x.stderr
    wrong = alloygen.sample(SMALL, T=600, mu={"Au": -0.02}, n=4000, seed=1).free_energy()
    assert abs(wrong.value - exact.phi) > 20 * wrong.stderr  # the check can fail


@pytest.mark.slow
def test_energies_belong_to_the_callers_site_order():
    """Shuffled, rescaled and turned supercells get energies that a fresh match of the returned Atoms confirms."""
    from alloygen.edge.match import match

    rng = np.random.default_rng(0)
    shuffled = bulk("Au", a=4.08).repeat((4, 2, 2))[rng.permutation(16)]
    shuffled.rotate(37, (1, 2, 3), rotate_cell=True)
    ens = alloygen.sample(shuffled, T=800, mu={"Cu": 0.01}, n=20, seed=0)
    assert ens.method == "neural"
    cuau = alloygen.data.cuau()
    for a in ens.atoms:
        found = match(a, cuau.primitive)
        energy = float(cuau.on(found.lattice).energy(torch.as_tensor(found.occ_from(a))[None]))
        assert energy == pytest.approx(a.get_potential_energy(), abs=1e-9)


def test_a_turned_cell_is_the_same_system_only_if_the_expansion_says_so():
    from types import SimpleNamespace

    from alloygen.hamiltonian.expansion import ClusterExpansion, Orbit
    from alloygen.lattice import Primitive
    from alloygen.registry import _site_row

    cubic = Primitive(np.eye(3), [[0, 0, 0]], [("Cu", "Au")])
    bond = lambda axis, eci: Orbit("b", eci, [[(0, 0, 0, 0), (*np.eye(3, dtype=int)[axis], 0)]], [[0, 0]], [1.0])  # noqa: E731
    for ecis, same in (([0.1, 0.1, 0.1], True), ([0.1, 0.1, 0.2], False)):
        expansion = ClusterExpansion(cubic, [[-1.0, 1.0]], tuple(bond(k, e) for k, e in enumerate(ecis)))
        turned = Problem.of(expansion.on((4, 2, 2)))
        h = expansion.on((2, 2, 4))
        row = _site_row(SimpleNamespace(hamiltonian=h, lattice=h.lattice), turned)
        assert (row is not None) == same


@pytest.mark.filterwarnings("error::alloygen.errors.NoModel")
@pytest.mark.parametrize(
    "atoms", [bulk("Cu"), bulk("Cu", cubic=True), bulk("Cu").repeat((1, 1, 16)), bulk("Cu").repeat((3, 3, 3))]
)
def test_the_law_of_the_alloy_draws_where_no_model_has_the_cell(atoms):
    ens = alloygen.sample(atoms, T=1100, mu={"Au": 0.0}, n=50, seed=0)
    assert ens.method == "neural" and ens.ness > 0.3 and len(ens.atoms[0]) == len(atoms)
    assert not alloygen.sample(atoms, T=1100, mu={"Au": 0.0}, n=4, sampler="mc").method == "neural"


def test_a_supercell_without_a_model_is_sampled_by_monte_carlo(models_of_one_cell):
    conventional = bulk("Cu", cubic=True).repeat((2, 1, 1))
    with pytest.warns(
        NoModel, match=r"no model fits this supercell. There are models of .*2x2x4.*4x4x4.*pass sampler=\"mc\""
    ):
        ens = alloygen.sample(conventional, T=900, mu={"Au": 0.0}, n=50, seed=0)
    assert ens.method == "mc" and "Au" in "".join(ens.atoms[0].get_chemical_symbols())
    with pytest.raises(AlloygenError, match="likelihood"):
        _ = ens.log_weight
    with pytest.raises(LatticeMismatch, match=r'sampler="mc"'):
        alloygen.sample(conventional, T=900, mu={"Au": 0.0}, sampler="neural")


@pytest.mark.filterwarnings("error::alloygen.errors.NoModel")
def test_monte_carlo_that_was_asked_for_needs_no_word():
    alloygen.sample(bulk("Cu", cubic=True), T=3000, mu={"Au": 0.0}, n=50, sampler="mc")


def test_a_model_of_as_many_sites_in_another_shape_is_named(models_of_one_cell):
    long = bulk("Cu").repeat((1, 1, 16))
    with pytest.raises(
        LatticeMismatch, match=r"got Lattice\(1x1x16 .*; 2x2x4 primitive cells \(16 sites\) has as many sites"
    ):
        alloygen.sample(long, T=900, mu={"Au": 0.0}, sampler="neural")


def test_paths_and_structures_are_sampled_as_their_atoms(tmp_path):
    from alloygen.edge.structures import to_pymatgen

    same = alloygen.sample(SMALL, T=600, mu={"Au": 0.0}, n=20, seed=0)
    SMALL.write(tmp_path / "cell.extxyz")
    for given in (to_pymatgen(SMALL), tmp_path / "cell.extxyz", str(tmp_path / "cell.extxyz")):
        assert (alloygen.sample(given, T=600, mu={"Au": 0.0}, n=20, seed=0).occ == same.occ).all()
        assert len(alloygen.scan(given, T=[600], mu={"Au": [0.0, 0.1]}, n=2)) == 2
        assert len(alloygen.mc(given, T=[3000], mu={"Au": 0.0}, n=20, method="metropolis", check=False)[0]) == 20


@pytest.mark.parametrize("call", [alloygen.sample, alloygen.scan, alloygen.mc])
@pytest.mark.parametrize("atoms", [None, [SMALL], Atoms(), "no such file"], ids=["None", "list", "empty", "path"])
def test_what_is_no_atoms_is_told_by_every_function(call, atoms):
    with pytest.raises(
        AlloygenError, match=r"expected (atoms as ase.Atoms|one atom on each site|a structure file that ASE reads)"
    ):
        call(atoms, T=600, mu={"Au": 0.0}, n=2)


@pytest.mark.parametrize("call", [alloygen.sample, alloygen.scan, alloygen.mc])
def test_the_tolerance_that_the_error_names_can_be_raised(call):
    atoms = SMALL.copy()
    atoms.positions[3, 2] += 0.7
    more = {"method": "metropolis", "check": False} if call is alloygen.mc else {}
    with pytest.raises(LatticeMismatch, match=r"off their sites: 3 by 0\.7.*raise tol"):
        call(atoms, T=3000, mu={"Au": 0.0}, n=2, **more)
    with pytest.warns(OutsideTrainedRange) if not more else nullcontext():
        near = alloygen.Problem.of(atoms, {"Au": 0.0}, tol=0.35)
        assert len(call(near, T=3000, mu={"Au": 0.0}, n=2, **more))


def test_a_vacancy_where_the_alloy_has_none_is_told():
    atoms = SMALL.copy()
    atoms.symbols[3] = "X"
    with pytest.raises(
        UnknownSpecies, match=r"got also \['X'\] in atoms, mu or composition; this alloy has no vacancies"
    ):
        alloygen.sample(atoms, T=600, mu={"Au": 0.0}, hamiltonian="cuau")


def test_vacancies_are_held_not_freed():
    """Ni on sites that may be empty: an atom of symbol X is a vacancy there, whichever way it is held."""
    from alloygen.edge.primitive import primitive_from_atoms
    from alloygen.hamiltonian.expansion import ClusterExpansion, Orbit

    primitive = primitive_from_atoms(bulk("Ni", a=3.6), ["Ni", "X"])
    expansion = ClusterExpansion(primitive, [[-1.0, 1.0]], (Orbit("c1", 0.01, [[(0, 0, 0, 0)]], [[0]], [1.0]),))
    atoms = bulk("Ni", a=3.6).repeat(2)
    atoms.symbols[[1, 5]] = "X"
    call = {"T": 2000, "mu": {"X": 0.0}, "n": 40, "hamiltonian": expansion, "sampler": "mc", "seed": 1}
    with pytest.raises(AlloygenError, match="got all 8 fixed; 'X' is a species here"):
        alloygen.sample(atoms, fixed=atoms, **call)
    for fixed in ({1: "X"}, [1], np.arange(8) == 1):
        ens = alloygen.sample(atoms, fixed=fixed, **call)
        assert {a.symbols[1] for a in ens.atoms} == {"X"} and {a.symbols[5] for a in ens.atoms} == {"X", "Ni"}


def test_monte_carlo_agrees_with_the_exact_law():
    exact = cuau_16().at(cuau_16().hamiltonian.condition(700, np.array([0.0, 0.05])))
    ens = alloygen.sample(SMALL, T=700, mu={"Au": 0.05}, n=3000, seed=2, sampler="mc")
    for got, truth in ((ens.composition("Au"), exact.composition[1]), (ens.mean_energy(), exact.energy)):
        assert abs(got.value - truth) < 5 * got.stderr


def test_alloy_is_told_by_symbols_and_mu_together():
    assert alloygen.sample(bulk("Au").repeat((2, 2, 4)), T=600, mu={"Cu": 0.0}, n=2, seed=0).method == "neural"
    mixed = SMALL.copy()
    mixed.symbols[:3] = "Au"
    number = alloygen.sample(mixed, T=600, mu=0.05, n=20, seed=0)
    named = alloygen.sample(mixed, T=600, mu={"Au": 0.05}, n=20, seed=0)
    assert (number.occ == named.occ).all()


@pytest.mark.parametrize(
    "change, error, says",
    [
        (dict(T=0), BadCondition, "above 0"),
        (dict(T=float("nan")), BadCondition, "finite"),
        (dict(T=float("inf")), BadCondition, "finite"),
        (dict(mu={"Ag": 0.1}), UnknownSpecies, "Ag"),
        (dict(mu=None), UnknownSpecies, "mu="),
        (dict(n=0), AlloygenError, "at least 1"),
        (dict(n=2.5), AlloygenError, "whole number"),
        (dict(sampler=1.5), AlloygenError, "expected sampler"),
        (
            dict(mu=None, composition=[4, 12]),
            BadCondition,
            r"a composition as a dict, a Balance or \"atoms\", got \[4, 12\]",
        ),
        (dict(mu=None, composition="Cu12Au4"), BadCondition, "a composition as a dict.*got 'Cu12Au4'"),
        (dict(mu=None, composition={"Au": 1.5}), BadCondition, "the nearest are 1 and 2"),
        (dict(sampler="nowhere.safetensors"), CheckpointError, "no file"),
        (dict(sampler="cuau_4x4x4"), LatticeMismatch, "4x4x4"),
        (dict(atoms=bulk("Fe").repeat(2)), UnknownSpecies, "Fe"),
        (dict(atoms=Atoms("Cu2", [[0, 0, 0], [0, 0, 2.0]], cell=[5, 5, 5], pbc=True)), LatticeMismatch, "cell"),
    ],
)
def test_bad_input_is_told_before_any_work(change, error, says):
    arguments = dict(atoms=SMALL, T=600, mu={"Au": 0.02}, n=5, seed=0) | change
    with pytest.raises(error, match=says):
        alloygen.sample(**arguments)


OUTSIDE = {"cold": (dict(T=20), "T = 20 is outside 190 to 1230"), "hot": (dict(T=1500), "T = 1500 is outside 190"), "mu": (dict(mu={"Au": 0.4}), "-0.25 to 0.25")}  # fmt: skip


@pytest.mark.parametrize("change, says", OUTSIDE.values(), ids=OUTSIDE)
def test_outside_its_range_a_model_refuses_unless_it_is_told(change, says):
    at = dict(atoms=SMALL, T=600, mu={"Au": 0.0}, n=5) | change
    for named in ("neural", "cuau_2x2x4", alloygen.Neural(then=alloygen.Flips())):
        with pytest.raises(BadCondition, match=says + ".*NESS of 1.*outside=.allow"):
            alloygen.sample(**at, sampler=named)
    with pytest.raises(BadCondition, match=says):
        alloygen.scan(**at, sampler="neural")
    with pytest.warns(OutsideTrainedRange, match=says):
        assert alloygen.sample(**at, sampler=alloygen.Neural(outside="allow")).method == "neural"
    with pytest.raises(AlloygenError, match="outside as one of 'refuse', 'allow'"):
        alloygen.Neural(outside="yes")


def test_outside_of_every_model_monte_carlo_samples_with_a_word():
    with pytest.warns(OutsideTrainedRange, match=r"Monte Carlo .*cuau was trained on others, T = 150 is outside 190"):
        assert alloygen.sample(SMALL, T=150, mu={"Au": 0.0}, n=40, seed=0).method == "mc"
    with pytest.warns(OutsideTrainedRange, match="T = 150"):
        assert alloygen.scan(SMALL, [150, 600], {"Au": 0.0}, n=40).method == "mc"
    with pytest.raises(BadCondition, match="T = 150"):  # what Monte Carlo has not is not given up in silence
        alloygen.scan(SMALL, [150, 600], {"Au": [0.0, 0.1]}, n=40, adaptive=Spacing())
    with warnings.catch_warnings():
        warnings.simplefilter("error", OutsideTrainedRange)
        assert alloygen.sample(SMALL, T=600, mu={"Au": 0.0}, n=5, seed=0).method == "neural"
        assert alloygen.sample(SMALL, T=150, mu={"Au": 0.0}, n=40, sampler="mc").method == "mc"


def test_uneven_weights_are_heard_at_once_and_once(tmp_path):
    """NESS .13: told by whatever comes first, and by nothing that follows for the same result."""
    law = alloygen.Neural(model="cuau", outside="allow")
    draw = lambda: alloygen.sample(SMALL, 100, {"Au": 0.06}, 300, sampler=law)  # noqa: E731
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ens = draw()
    low = [w for w in caught if w.category is LowSampleSize]
    assert (
        len(low) == 1
        and re.search(r"NESS 0\.1\d, expected at least 0\.2.*refine", str(low[0].message))
        and low[0].filename == __file__
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", LowSampleSize)
        assert len(ens.atoms) == 300
        ens.write(tmp_path / "configs.extxyz"), ens.free_energy(), ens.composition("Au"), ens.heat_capacity()
        alloygen.sample(SMALL, 600, {"Au": 0.06}, 300).atoms[0]  # even weights: the control
    for look in (
        lambda e: e.atoms,
        lambda e: e.write(tmp_path / "part.extxyz"),
        lambda e: e.to_pymatgen(),
        lambda e: e.free_energy(),
    ):
        with pytest.warns(LowSampleSize):
            look(ens[:200])  # another result
    with pytest.warns(LowSampleSize, match=r"1 of 2 conditions are uneven \(NESS below 0.2; least 0.1.*at T = 100"):
        scan = alloygen.scan(SMALL, 100, {"Au": [0.05, 0.06]}, 300, sampler=law)
    with warnings.catch_warnings():
        warnings.simplefilter("error", LowSampleSize)
        scan.tell()
    with pytest.warns(LowSampleSize, match="uneven"):
        scan.subset([0, 1]).phase_diagram(T=[100])


def test_cold_conditions_are_right_where_a_law_would_be_trapped():
    """2x2x4 at 20 K: the law draws one wrong phase with NESS 1; annealed draws and Monte Carlo meet the sum over all states."""
    h = alloygen.data.cuau().on((2, 2, 4))
    exact = float(Enumeration(h).at(h.condition(20.0, [0.0, 0.1])).phi)
    how = {"law": alloygen.Neural(model="cuau", outside="allow"), "annealed": alloygen.Neural(model="cuau", then=alloygen.Anneal(effort=0.1)), "mc": "mc"}  # fmt: skip
    found = {}
    for name, sampler in how.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found[name] = alloygen.sample(h, 20, {"Au": 0.1}, 200, sampler=sampler)
    off = {name: abs(e.free_energy().value - exact) / e.free_energy().stderr for name, e in found.items()}
    assert found["law"].ness > 0.99 and off["law"] > 100  # the control: nothing in the draws tells
    assert found["annealed"].ness > 0.5 and off["annealed"] < 4 and off["mc"] < 4, off


def test_atoms_with_a_clease_calculator_bring_their_own_hamiltonian(tmp_path):
    from clease.calculator import attach_calculator
    from clease.settings import CEBulk, Concentration

    settings = CEBulk(
        Concentration([["Au", "Cu"]]), "fcc", a=3.8, db_name=str(tmp_path / "a.db"), max_cluster_dia=[3.0]
    )
    atoms = attach_calculator(
        settings, bulk("Au", a=3.8).repeat((2, 2, 2)), {"c0": 0.0, "c1_0": 0.0, "c2_d0000_0_00": 0.01}
    )
    ens = alloygen.sample(atoms, T=800, mu={"Cu": 0.0}, n=20, seed=0)
    assert ens.method == "neural, zero-shot by fcc_binary"
    a = ens.atoms[0]
    atoms.symbols[:] = a.symbols
    assert a.get_potential_energy() == pytest.approx(atoms.get_potential_energy(), abs=1e-10)


def test_import_is_light():
    code = (
        "import time; t = time.perf_counter(); import alloygen, sys; "
        "print([m for m in ('torch', 'clease', 'pymatgen', 'matplotlib', 'torch_geometric', 'ase') if m in sys.modules])"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


# ---------------------------------------------------------------------- the Ising model, and Hamiltonians in place of Atoms
def _agrees_with_the_transfer_matrix(ens, h, width=4.5):
    """F, m and the energy without the field of the textbook, H = -J sum s s - h sum s."""
    exact = transfer_matrix(round(ens.n_sites**0.5), ens.T, h)
    phi, x, energy = ens.free_energy(), ens.composition("+"), ens.mean_energy()
    assert abs(phi.value - exact.free_energy) < width * phi.stderr < 0.1
    assert abs(2 * x.value - 1 - exact.magnetization) < 2 * width * x.stderr < 0.7
    assert abs(energy.value - exact.energy) < width * energy.stderr < 0.5


@pytest.mark.slow
@pytest.mark.parametrize("h", [0.0, 0.1, -0.3])
def test_the_ising_model_by_the_model_that_ships(h):
    ens = alloygen.sample(alloygen.ising(10), T=2.3, h=h, n=120, seed=1)
    assert ens.method == "neural" and ens.info["model"] == "ising"
    _agrees_with_the_transfer_matrix(ens, h)
    if h:  # the check can fail
        wrong = transfer_matrix(10, 2.3, 0.0).free_energy
        assert abs(ens.free_energy().value - wrong) > 20 * ens.free_energy().stderr


@pytest.mark.slow
def test_without_a_field_free_energy_is_kaufmans():
    phi = alloygen.sample(alloygen.ising(10), T=2.5, n=120).free_energy()
    assert abs(phi.value - kaufman_free_energy(10, 2.5)) < 4.5 * phi.stderr < 0.01


@pytest.mark.slow
@pytest.mark.parametrize("inside", [0.0, 0.15])
def test_the_ising_model_by_monte_carlo(inside):
    """A field of the Hamiltonian and one of the call add up; one end of a scan at a time."""
    for ens in alloygen.mc(alloygen.ising(4, h=inside), T=[2.0, 3.0], h=[-0.1, 0.2], n=1500, check=False):
        h = ens.mu[1]
        assert ens.mu.tolist() == [-h, h] and h in (-0.1, 0.2)
        exact, phi = transfer_matrix(4, ens.T, h + inside), ens.free_energy()
        assert abs(phi.value - exact.free_energy) < 4.5 * phi.stderr < 0.1
    ens = alloygen.sample(alloygen.ising(4, h=inside), T=3.0, h=0.2, n=1500, sampler="mc")
    assert abs(2 * ens.composition("+").value - 1 - transfer_matrix(4, 3.0, 0.2 + inside).magnetization) < 0.1


@pytest.mark.slow
def test_a_scan_of_the_ising_model():
    scan = alloygen.scan(alloygen.ising(10), T=2.5, h=[0.1, -0.2], n=40, seed=2)
    assert scan.method == "neural" and scan.mu[:, 1].tolist() == [-0.2, 0.1]
    for ens in scan:
        _agrees_with_the_transfer_matrix(ens, ens.mu[1], width=6)
    assert scan.at(2.5, mu_from_field(0.1)).mu.tolist() == [-0.1, 0.1]


def test_the_whole_range_of_an_ising_model_is_one_of_fields():
    from alloygen.api import _whole_range

    model = alloygen.load("ising_10x10")
    low, high = model.ranges["mu"][0]
    assert _whole_range(alloygen.Neural(model=model), model.hamiltonian, 2.0, None) == mu_from_field(
        np.linspace(low / 2, high / 2, 9)
    )


def test_spins_are_at_hand_where_there_are_no_atoms():
    ens = alloygen.sample(alloygen.ising(4), T=2.3, n=20, sampler="mc")
    spins = (2 * ens.occ - 1).reshape(-1, 4, 4)
    energy = -(spins * (np.roll(spins, 1, 1) + np.roll(spins, 1, 2))).sum((1, 2))
    assert np.array_equal(energy, ens.energy)
    with pytest.raises(UnknownSpecies, match=r"got -, \+, which ASE does not know.*occ holds the number"):
        _ = ens.atoms[0]


def test_an_alloy_by_its_hamiltonian():
    """The same samples as of the Atoms that make the same supercell, and Atoms on the lattice of the expansion."""
    h = alloygen.data.cuau().on((2, 2, 4))
    ens, other = (alloygen.sample(a, 600, {"Au": 0.02}, 20, fixed={3: "Au"}, seed=0) for a in (h, SMALL))
    assert ens.info["model"] == "cuau_2x2x4" and np.array_equal(ens.occ, other.occ)
    a = ens.atoms[0]
    assert np.allclose(a.positions, SMALL.positions) and a.symbols[3] == "Au" and a.symbols[0] in ("Cu", "Au")
    assert alloygen.mc(h, 900, {"Au": 0.0}, 20, check=False)[0].atoms[0].get_chemical_symbols()
    assert len(alloygen.scan(h, [600], {"Au": [0.0, 0.1]}, 10)) == 2


ISING = alloygen.ising(4)


@pytest.mark.parametrize("call, says", [
    (lambda: alloygen.sample(ISING, 2.3, {"+": 0.1}, h=0.1), "got both"), (lambda: alloygen.sample(SMALL, 600, h=0.1), "with the Ising model alone"),
    (lambda: alloygen.mc(SMALL, 600, h=0.1), "with the Ising model alone"), (lambda: alloygen.scan(SMALL, 600, h=[0.1]), "with the Ising model alone"),
    (lambda: alloygen.sample(ISING, 2.3, h=float("nan")), "finite"), (lambda: alloygen.sample(ISING, 2.3, h="x"), "finite"),
    (lambda: alloygen.sample(ISING, 2.3, h=[0.1, 0.2]), "one field"), (lambda: alloygen.sample(ISING, 2.3, {"Au": 0}), "Au"),
    (lambda: alloygen.sample(ISING, 2.3, sampler="cuau_2x2x4"), "expected one Hamiltonian"),
    (lambda: alloygen.sample(ISING, 2.3, hamiltonian="cuau"), "expected one Hamiltonian"),
    (lambda: alloygen.sample(ISING, 2.3, sampler="ising_10x10"), "expected a supercell"),
    (lambda: alloygen.sample(alloygen.data.cuau(), 600, {"Au": 0}), r"expansion\.on"),
    (lambda: alloygen.scan(ISING, 2.3, "Au"), "mu that varies of elements among -, [+], which sites may exchange, got mu that varies of Au"),
    (lambda: alloygen.mc(ISING, 2.3, move="swap"), "a Hamiltonian alone"), (lambda: alloygen.mc(ISING, 2.3, start="atoms"), "alone"),
    (lambda: alloygen.sample(ISING, 2.3, fixed=[0]), "fixed={site: species}"), (lambda: alloygen.ising(0), "L, the side length, as a whole number of at least 1"),
])  # fmt: skip
def test_a_hamiltonian_in_place_of_atoms_says_what_it_cannot_do(call, says):
    with pytest.raises(AlloygenError, match=says):
        call()


# ---------------------------------------------------------------------- a folder of models
def _ternary_model(path):
    from small_systems import hamiltonian

    from alloygen.models.causal import CausalModel
    from alloygen.models.store import save_model
    from alloygen.testing import SYSTEMS

    save_model(path, CausalModel(hamiltonian("many-body"), SYSTEMS["many-body"].ranges(), width=8, depth=1, heads=2))


STRANGE = {
    "tensors of another program": lambda path: save_file({"a": torch.zeros(2)}, path),
    "no safetensors": lambda path: path.write_text("hello"),
    "nothing": lambda path: path.write_bytes(b""),
    "a link to nowhere": lambda path: path.symlink_to(path.parent / "nowhere"),
    "half a model": lambda path: path.write_bytes(_shipped().read_bytes()[:100_000]),
    "a newer file": lambda path: _rewritten(path, version=99),
    "an unknown kind": lambda path: _rewritten(path, kind="diffusion"),
    "a model changed by hand": lambda path: _rewritten(path, ranges=None),
    "a Monte Carlo run": lambda path: alloygen.mc(SMALL, 900, {"Au": 0.0}, 10, method="metropolis", job=Job(checkpoint=path), check=False),
    "training data": lambda path: _rewritten(path, format="alloygen training data"),
}  # fmt: skip


def _shipped():
    return alloygen.data.checkpoints()["cuau_2x2x4"]


def _rewritten(path, **metadata):
    from alloygen.runtime.tensors import read_tensors, write_tensors

    tensors, meta = read_tensors(_shipped())
    write_tensors(path, tensors, {**meta, **metadata})


@pytest.mark.parametrize("what", STRANGE)
def test_a_file_that_is_no_model_is_passed_over_and_named(what, tmp_path, monkeypatch):
    path = tmp_path / "strange.safetensors"
    STRANGE[what](path)
    monkeypatch.setenv("ALLOYGEN_MODELS", str(tmp_path))
    with pytest.warns(UnusableModel, match=r"1 files among the models are passed over: .*strange\.safetensors") as told:
        ens = alloygen.sample(SMALL, T=600, mu={"Au": 0.02}, n=2)
    assert ens.info["model"] == "cuau" and sum(w.category is UnusableModel for w in told) == 1
    with pytest.raises(CheckpointError):
        alloygen.load(path)


def test_only_the_model_that_is_chosen_is_read(monkeypatch):
    """Headers choose: the networks of other supercells are not built."""
    from alloygen import registry
    from alloygen.models.store import load_model

    read = []
    monkeypatch.setattr(registry, "_loaded", OrderedDict())
    monkeypatch.setattr(registry, "load_model", lambda path, *h: read.append(path.name) or load_model(path, *h))
    alloygen.sample(SMALL, T=600, mu={"Au": 0.02}, n=2)
    assert read == ["cuau.safetensors"]


def test_whole_cells_are_drawn_by_the_law_and_held_sites_by_the_model_of_the_cell(tmp_path, monkeypatch):
    monkeypatch.setenv("ALLOYGEN_MODELS", str(tmp_path))
    taken = lambda **held: alloygen.sample(SMALL, 600, {"Au": 0.02}, 2, **held).info["model"]  # noqa: E731
    assert (taken(), taken(fixed=[0]), taken(sampler="cuau_2x2x4")) == ("cuau", "cuau_2x2x4", "cuau_2x2x4")
    shutil.copy(_shipped(), tmp_path / "mine.safetensors")  # a user's own model of the cell is what they mean
    assert taken() == "cuau_2x2x4"


def test_a_model_whose_weights_are_broken_is_passed_over(tmp_path, monkeypatch):
    """Its header is whole, so that it is chosen, and then the next one is."""
    from alloygen.runtime.tensors import read_tensors, write_tensors

    tensors, meta = read_tensors(_shipped())
    write_tensors(tmp_path / "a_first.safetensors", {k: v * float("nan") for k, v in tensors.items()}, meta)
    monkeypatch.setenv("ALLOYGEN_MODELS", str(tmp_path))
    with pytest.warns(UnusableModel, match=r"1 files among the models are passed over: .*a_first\.safetensors"):
        assert alloygen.sample(SMALL, T=600, mu={"Au": 0.02}, n=2).info["model"] == "cuau"


def test_what_else_lies_in_the_folder_of_models_is_no_matter(tmp_path, monkeypatch):
    (tmp_path / "README.md").write_text("mine")
    (tmp_path / "folder.safetensors").mkdir()
    (tmp_path / "run").mkdir()
    _ternary_model(tmp_path / "other.safetensors")
    monkeypatch.setenv("ALLOYGEN_MODELS", str(tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UnusableModel)
        assert alloygen.sample(SMALL, T=600, mu={"Au": 0.02}, n=2).info["model"] == "cuau"
    assert (
        alloygen.load("other").hamiltonian.n_sites == alloygen.load(tmp_path / "other.safetensors").hamiltonian.n_sites
    )


def test_a_model_of_the_folder_is_found_by_its_hamiltonian(tmp_path, monkeypatch):
    from alloygen.models.base import Trained
    from alloygen.models.causal import CausalModel
    from alloygen.models.store import save_model
    from alloygen.orders import Orders

    h = alloygen.data.cuau().on((2, 2, 1))
    ranges = {"T": [200, 1300], "mu": [[-0.3, 0.3]]}
    mine = CausalModel(h, ranges, width=8, depth=1, heads=2)
    mine.trained = Trained(name="mine", orders=Orders(weights={"raster": 1}))
    save_model(tmp_path / "mine.safetensors", mine)
    monkeypatch.setenv("ALLOYGEN_MODELS", str(tmp_path))
    ens = alloygen.sample(bulk("Cu", a=3.8).repeat((2, 2, 1)), T=600, mu={"Au": 0.02}, n=2)
    assert ens.method == "neural" and ens.info["model"] == "mine"


def test_a_name_that_ships_means_the_model_that_ships(tmp_path, monkeypatch):
    (tmp_path / "cuau_2x2x4.safetensors").write_text("broken")
    monkeypatch.setenv("ALLOYGEN_MODELS", str(tmp_path))
    with pytest.warns(UnusableModel, match="cuau_2x2x4.safetensors has the name of a model that ships: rename it"):
        assert alloygen.load("cuau_2x2x4").hamiltonian.n_sites == 16


@pytest.mark.parametrize("kind", ["nowhere", "a file"])
def test_a_folder_of_models_that_is_not_there_is_told(kind, tmp_path, monkeypatch):
    path = tmp_path / "models"
    if kind == "a file":
        path.write_text("x")
    monkeypatch.setenv("ALLOYGEN_MODELS", str(path))
    with pytest.warns(UnusableModel, match=r"expected a folder of models, got '.*models'"):
        assert alloygen.sample(SMALL, T=600, mu={"Au": 0.02}, n=2).method == "neural"


def test_a_folder_given_as_model(tmp_path):
    for call in (
        lambda: alloygen.load(tmp_path),
        lambda: alloygen.sample(SMALL, 600, {"Au": 0}, 2, sampler=str(tmp_path)),
    ):
        with pytest.raises(CheckpointError, match=r"got the folder .*model\.safetensors"):
            call()


# ---------------------------------------------------------------------- alloygen.mc
def test_mc_over_a_grid_agrees_with_enumeration():
    scan = alloygen.mc(SMALL, T=[700, 500], mu={"Au": [0.05, -0.1]}, n=1500, seed=3)
    table = cuau_16()
    assert sorted({*scan.T}) == [500, 700] and len(scan) == 4 and scan.info["ladder"][-1] == np.inf
    for ens in scan:
        exact = table.at(table.hamiltonian.condition(ens.T, ens.mu))
        for got, truth in (
            (ens.free_energy(), exact.phi),
            (ens.composition("Au"), exact.composition[1]),
            (ens.mean_energy(), exact.energy),
        ):
            assert abs(got.value - truth) < 4.5 * got.stderr
    assert scan[0].atoms[0].info["T"] in (500, 700)


def test_mc_starts_from_the_atoms_and_keeps_those_that_are_fixed():
    """Indices are those of the caller's Atoms, in any order."""
    atoms = SMALL[np.random.default_rng(0).permutation(len(SMALL))]
    atoms.symbols[[2, 5, 11]] = "Au"
    before = atoms.copy()
    for move in ("flip", "swap"):
        scan = alloygen.mc(atoms, T=900, mu={"Au": 0.0}, move=move, fixed=[2, 3], n=200, seed=1, check=False)
        for frame in scan[0].atoms[:50]:
            assert frame.symbols[2] == "Au" and frame.symbols[3] == "Cu"
            assert move == "flip" or frame.symbols.count("Au") == 3
        assert len({str(f.symbols) for f in scan[0].atoms}) > 10
        np.testing.assert_allclose(scan[0].atoms[0].positions, atoms.positions)
    assert atoms == before
    hot = alloygen.mc(
        atoms, T=1.0, mu={"Au": 0.0}, method="metropolis", start="atoms", n=4, sweeps=1, burn=0, copies=1, check=False
    )
    assert hot[0].atoms[0].symbols.count("Au") > 0


def test_mc_takes_observers_and_a_checkpoint(tmp_path):
    path = tmp_path / "run.safetensors"
    run = lambda: alloygen.mc(SMALL, T=800, mu={"Au": 0.02}, n=100, job=Job(checkpoint=path), check=False,  # noqa: E731
                              observers={"au": lambda occ: occ.sum(1)})  # fmt: skip
    first, again = run(), run()
    assert path.exists() and np.array_equal(first.occ, again.occ)
    assert np.array_equal(first[0].observed["au"], first.occ[0].sum(-1))


@pytest.mark.parametrize("one, other, says", [
    (dict(fixed={0: "Cu"}), dict(fixed={0: "Au"}), "held: expected {'Au': 1}, got {'Cu': 1}"),
    (dict(fixed=[0]), dict(fixed=[1]), "changing_sites"),
    (dict(mu={"Au": 0.0}), dict(mu={"Au": 0.1}), "mu: expected [[0.0, 0.1]], got [[0.0, 0.0]]"),
    (dict(mu={"Au": 0.1}), dict(mu={"Cu": -0.1, "Au": 0.0}), "mu: expected [[-0.1, 0.0]]"),
    (dict(method="metropolis"), {}, "sampler"), (dict(T=900), {}, "T: expected [800.0], got [900.0]"), (dict(seed=1), {}, "seed"),
])  # fmt: skip
def test_mc_goes_on_with_its_own_checkpoint_alone(one, other, says, tmp_path):
    """Said in the words of the call: the ladder between the conditions is nobody's business."""
    run = lambda **kw: alloygen.mc(  # noqa: E731
        SMALL,
        **{
            "T": 800,
            "mu": {"Au": 0.0},
            "n": 6,
            "burn": 2,
            "check": False,
            "job": Job(checkpoint=tmp_path / "a.st"),
            **kw,
        },
    )
    first = run(**one)
    with pytest.raises(CheckpointError, match=re.escape(says)) as told:
        run(**other)
    assert "inf" not in str(told.value)
    more = run(**one, n=3 * first.n)
    by_chain = lambda scan: scan.occ.reshape(len(scan), scan.chains, -1, 16)  # noqa: E731
    assert more.n == 3 * first.n and np.array_equal(by_chain(more)[:, :, : first.n // first.chains], by_chain(first))


@pytest.mark.parametrize("arguments, says", [
    ({"move": "grand"}, "expected move as one of 'flip', 'swap', got 'grand'"), ({"ensemble": "canonical"}, "got 'ensemble'"), ({"method": "wolff"}, "method"), ({"start": "here"}, "start"), ({"T": -1}, "above 0"),
    *(({"n": n}, "expected n, .* whole number of at least 1") for n in (0, -3, 1.5, None, np.nan, np.inf, "ten", True)),
    *(({k: bad}, f"expected {k} as a whole number") for k in ("sweeps", "copies") for bad in (0, 1.5, "x")),
    *(({"seed": seed}, "expected seed as a whole number from 0") for seed in (-1, 1.5, 2**64, "now")),
    ({"burn": -1}, "expected burn"), ({"burn": 2.5}, "expected burn"), ({"max_n": -1, "precision": {"Au": 0.1}}, "expected max_n"),
    ({"max_n": 5, "precision": {"Au": 0.1}}, "expected max_n as a whole number of at least 10"), ({"max_n": 50}, "precision= with max_n"),
    ({"precision": {"Zn": 1}}, "precision"), ({"precision": 0.1}, "expected precision as a dict"),
    ({"precision": {"Au": 0}}, "above 0"), ({"observers": len}, "expected observers as a dict"),
    ({"observers": {"au": 3}}, "observers as functions"),
    ({"observer": {}}, "did you mean observers"), ({"speed": 9}, "got 'speed'"),
    ({"occ": [0]}, 'start="atoms"'), ({"move": "swap"}, 'no mu with move="swap"'), ({"move": Swap()}, 'no mu with move="swap"'),
    ({"fixed": [16]}, "from 0 to 15"), ({"fixed": {0: "Zn"}}, "Zn"),
])  # fmt: skip
def test_mc_says_what_is_wrong_before_any_work(arguments, says, monkeypatch):
    monkeypatch.setattr("alloygen.montecarlo.chains.Chains.step", None)  # nothing may move
    with pytest.raises(AlloygenError, match=says):
        alloygen.mc(SMALL, **{"T": 800, "mu": {"Au": 0.02}, "n": 10, **arguments})


@pytest.mark.parametrize(
    "arguments", [dict(adaptive=alloygen.Spacing()), dict(job=Job(executor=ThreadPoolExecutor(1)))]
)
def test_scan_refuses_options_that_monte_carlo_would_drop(arguments, monkeypatch):
    monkeypatch.setattr("alloygen.montecarlo.chains.Chains.step", None)
    with pytest.raises(AlloygenError, match="neither executor nor Spacing with Monte Carlo"):
        alloygen.scan(SMALL, 600, {"Au": [0.02, 0.05]}, 10, sampler="mc", **arguments)


@pytest.mark.parametrize("how", [dict(average=4), dict(stride=2), dict(then=alloygen.Anneal())])
def test_scan_refuses_what_only_sample_has(how):
    with pytest.raises(AlloygenError, match=f"scan without {next(iter(how))}, which is for alloygen.sample"):
        alloygen.scan(SMALL, 600, {"Au": [0.02, 0.05]}, 10, sampler=alloygen.Neural(**how))


@pytest.mark.parametrize("job", [dict(executor=ThreadPoolExecutor(1)), dict(checkpoint="a.st")])
def test_sample_refuses_what_a_model_would_drop(job, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AlloygenError, match="expected n"):
        alloygen.sample(SMALL, 600, {"Au": 0.02}, 10, job=Job(**job))


def test_samplers_may_be_written_as_words_objects_or_models():
    model = alloygen.load("cuau")
    made = [alloygen.sample(SMALL, 600, {"Au": 0.02}, 5, sampler=s).occ for s in
            (None, "neural", "cuau", model, alloygen.Neural(), alloygen.Neural(model=model))]  # fmt: skip
    assert all(np.array_equal(made[0], occ) for occ in made)
    assert alloygen.sample(SMALL, 900, {"Au": 0.02}, 50, sampler=alloygen.MonteCarlo(check=False)).method == "mc"
    with pytest.raises(AlloygenError, match="expected sampler as Neural"):
        alloygen.sample(SMALL, 600, {"Au": 0.02}, 5, sampler=3)


FIXED = {"dict": {1: "Au", 3: "Cu"}, "indices": [1, 3], "mask": np.isin(np.arange(16), [1, 3]), "none": [], "no": None}


@pytest.mark.parametrize("how", FIXED)
@pytest.mark.parametrize("start", ["random", "atoms"])
def test_mc_takes_the_fixed_sites_that_sample_takes(how, start):
    atoms = SMALL.copy()
    atoms.symbols[1] = "Au"
    ens = alloygen.mc(atoms, 900, {"Au": 0.0}, 60, fixed=FIXED[how], start=start, check=False, seed=5)[0]
    held = [{frame.symbols[k] for frame in ens.atoms} for k in range(16)]
    free = [k for k in range(16) if how in ("none", "no") or k not in (1, 3)]
    assert all(len(held[k]) == 2 for k in free)
    assert how in ("none", "no") or (held[1], held[3]) == ({"Au"}, {"Cu"})


def test_mc_takes_atoms_that_say_what_is_held():
    held = SMALL.copy()
    held.symbols[:] = "X"
    held.symbols[2] = "Au"
    ens = alloygen.mc(SMALL, 900, {"Au": 0.0}, 60, fixed=held, check=False)[0]
    assert {frame.symbols[2] for frame in ens.atoms} == {"Au"} and len({str(frame.symbols) for frame in ens.atoms}) > 20


# ---------------------------------------------------------------------- what a Monte Carlo scan shows, and what it keeps
GRID = dict(T=[600, 900], mu={"Au": np.linspace(-0.2, 0.2, 5)}, n=300, seed=1)


@pytest.fixture(scope="module")
def of_both():
    return alloygen.mc(SMALL, **GRID), alloygen.scan(SMALL, **GRID, sampler="mc")


def test_mc_and_scan_are_alike_and_show_what_was_asked_for(of_both):
    by_mc, by_scan = of_both
    assert np.array_equal(by_mc.occ, by_scan.occ) and by_mc.info == by_scan.info
    for scan in of_both:
        assert len(scan) == len(list(scan)) == len(scan.to_pandas()) == 10 and set(scan.T) == {600, 900}
        assert np.isfinite(scan.to_pandas().phi).all() and np.isinf(scan.hidden.T).any()
        assert "inf" not in repr(scan) and not set(scan.hidden.T) & {600, 900}


def test_mc_has_canonical_free_energies_and_a_diagram(of_both):
    scan, table = of_both[0], cuau_16()
    F = scan.free_energies()
    assert F["T"].values.tolist() == [600, 900]
    number, kT = np.rint(table.counts[:, 1]).astype(int), 600 * scan.hamiltonian.kB
    for n in (4, 8, 12):
        exact = -kT * logsumexp(-np.asarray(table.energy)[number == n] / kT) / 16
        got = F.sel(T=600, n=n)
        assert abs(float(got.free_energy) - exact) < 4.5 * float(got.free_energy_stderr) < 2e-3
    diagram = scan.phase_diagram()
    assert (diagram.T.min(), diagram.T.max()) == (600, 900) and len(diagram.T) == 31
    lowest = diagram.table["lowest_T"].values
    assert set(lowest[np.isfinite(lowest)]) <= {
        600,
        900,
    }  # compositions of the ladder alone were not drawn at a temperature asked for


def test_parts_of_a_scan_keep_its_free_energies(of_both):
    scan = of_both[0]
    part = scan.subset([7, 2])
    assert part.T.tolist() == [900, 600] and len(part.hidden) == len(scan.hidden) + 8
    assert part.free_energy(1).value == pytest.approx(scan.free_energy(2).value, abs=1e-9)
    joined = alloygen.Scan.concatenate([scan[:5], scan[5:]])
    assert len(joined) == 10 and joined.absolute


def test_sample_forgets_the_ladder_and_keeps_phi():
    ens = alloygen.sample(SMALL, 800, {"Au": 0.02}, 400, sampler="mc", seed=0)
    truth = cuau_16().at(cuau_16().hamiltonian.condition(800, np.array([0, 0.02]))).phi
    assert (
        isinstance(ens.facts.free_energy, Estimate)
        and abs(ens.free_energy().value - truth) < 4.5 * ens.free_energy().stderr
    )
    pickle.loads(pickle.dumps(ens.facts))


def test_configurations_outlive_a_ladder_that_mbar_cannot_join(monkeypatch):
    """Too few samples of a cold, large cell: they are returned, Phi is missing and it is said why."""
    from alloygen.montecarlo import laddered

    monkeypatch.setattr(laddered, "ladder", lambda h, grid, **kw: np.array([*grid.T, 3e4, np.inf]))  # far too wide
    with pytest.warns(LowSampleSize, match=r"Phi is missing.*above T = 400.*Draw more \(n = 160") as caught:
        scan = alloygen.mc(
            bulk("Cu", a=3.8).repeat((4, 4, 4)), [300, 400], {"Au": 0.0}, 40, sweeps=2, burn=0, check=False
        )
    text = str(next(w.message for w in caught if w.category is LowSampleSize))
    assert "30000" not in text and "inf" not in text and "spectral" not in text
    assert (
        len(scan[0].atoms) == 40 and np.isnan(scan[0].free_energy().value) and "in common" in scan[0].free_energy().note
    )
    frame = scan.to_pandas()
    assert frame.phi.isna().all() and frame.entropy.isna().all() and np.isfinite(frame.energy).all()
    for what in (scan.free_energies, scan.phase_diagram, lambda: scan.mbar):
        with pytest.raises(AlloygenError, match="Draw more"):
            what()


def test_warnings_speak_of_conditions_that_were_asked_for():
    with pytest.warns(NotConverged) as caught:
        alloygen.mc(SMALL, [400, 500], {"Au": 0.02}, 40, sweeps=1, burn=0, seed=0)
    text = str(next(w.message for w in caught if w.category is NotConverged))
    assert (
        " of 2 conditions" in text
        and "inf" not in text
        and "mu_Au = 0.02" in text
        and ("T = 400" in text or "T = 500" in text)
    )


def test_canonical_runs_have_no_diagram():
    atoms = SMALL.copy()
    atoms.symbols[:4] = "Au"
    scan = alloygen.mc(atoms, [700], move="swap", n=200, check=False)
    assert np.isfinite(scan[0].free_energy().value)
    with pytest.raises(AlloygenError, match=r"one composition|a single one"):
        scan.phase_diagram()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("T", [300, 600])
def test_phi_below_a_first_order_transition(T):
    """A ladder of 512 sites that no replica passes: Phi lies below that of the six variants of L1_0; 600 K gets colder rungs."""
    scan = alloygen.mc(bulk("Cu", a=3.8).repeat(8), T, {"Au": 0.0}, 100, seed=1)
    got, h = scan.free_energy(0), scan.hamiltonian
    kT, ground = h.kB * T, -0.036182488
    assert scan.branches.cut is not None and got.stderr < 1e-4
    assert got.value < ground - kT * np.log(6) / 512 + 3 * got.stderr
    if T == 300:
        assert abs(got.value - low_temperature_phi(h, T)) < 4 * got.stderr < 1e-5
        hot = int((scan.hidden.T == np.inf).argmax())
        assert hot >= 0 and abs(scan.pool.log_z(1 / kT, np.zeros(2)).value * kT / 512 + got.value) < 1e-6
