"""One door: every public function takes Atoms, Structures, paths, Hamiltonians and Problems, and gives Atoms back in the caller's order."""

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import write
from small_systems import hamiltonian as small

import alloygen
from alloygen.conditions.record import Condition
from alloygen.edge.atoms_map import AtomsMap
from alloygen.edge.match import match
from alloygen.edge.problem import Problem, elements_of
from alloygen.edge.structures import to_pymatgen
from alloygen.errors import AlloygenError, LatticeMismatch, UnknownSpecies
from alloygen.montecarlo.annealing import Cooling
from alloygen.montecarlo.metadynamics import Stages
from alloygen.montecarlo.wang_landau import Bins, Schedule
from alloygen.training.reference import reference_samples
from alloygen.units import KB_EV_PER_K

LOW = Cooling(T_start=900, T_end=300, sweeps=2, steps=2, restarts=2)
ORDER = np.random.default_rng(3).permutation(16)
CUAU = alloygen.data.cuau()


def caller() -> Atoms:
    """A 2x2x4 cell whose atoms are listed in another order than any lattice's, of uneven species."""
    atoms = bulk("Cu", a=3.8).repeat((2, 2, 4))[ORDER]
    atoms.symbols[[0, 3, 4, 9, 15]] = "Au"
    return atoms


MU = {"Au": 0.02}
TAKE = {
    "sample": lambda a, **kw: alloygen.sample(a, 600, MU, n=6, **kw),
    "mc": lambda a, **kw: alloygen.mc(a, 600, MU, n=6, **kw),
    "scan": lambda a, **kw: alloygen.scan(a, [600, 700], MU, n=6, **kw),
    "anneal": lambda a, **kw: alloygen.anneal(a, mu=MU, cooling=LOW, **kw),
    "ground_states": lambda a, **kw: alloygen.ground_states(
        a, [3], cooling=replace(LOW, T_start=None, T_end=None), **kw
    ),
    "metadynamics": lambda a, **kw: alloygen.metadynamics(
        a, [900.0], stages=Stages(production=20, final_height=0.5, ladder=()), mu=MU, **kw
    ),
    "wang_landau": lambda a, **kw: alloygen.wang_landau(
        a, mu=MU, bins=Bins(width=0.1), schedule=Schedule(log_f_final=0.5), **kw
    ),
    "reference_samples": lambda a, **kw: reference_samples(a, Condition([900.0], [0.0, 0.02], KB_EV_PER_K), 6, **kw),
}
GIVEN = {
    "Atoms": lambda folder: caller(),
    "a Structure": lambda folder: to_pymatgen(caller()),
    "a path": lambda folder: write(folder / "given.extxyz", caller()) or folder / "given.extxyz",
    "a Hamiltonian": lambda folder: CUAU.on((2, 2, 4)),
    "a Problem": lambda folder: Problem.of(caller(), MU),
}
# The laws of these agree among the givens: arrays on the lattice's sites.
ARRAYS = ("occ", "free_energy", "log_g")


def arrays(result) -> list[np.ndarray]:
    return [
        np.asarray(getattr(result, k))
        for k in ARRAYS
        if getattr(result, k, None) is not None and not callable(getattr(result, k))
    ]


@pytest.fixture(autouse=True)
def quiet():
    """The runs are too short for good numbers, and say so."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("name", TAKE)
@pytest.mark.parametrize("given", GIVEN)
def test_every_function_takes_every_kind_of_first_argument(name, given, tmp_path):
    """The same seed gives the same numbers on the lattice's sites, whatever stood for the atoms."""
    found, plain = TAKE[name](GIVEN[given](tmp_path)), TAKE[name](CUAU.on((2, 2, 4)))
    assert arrays(found)
    for a, b in zip(arrays(found), arrays(plain), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", TAKE)
@pytest.mark.parametrize(
    "hamiltonian", [CUAU, "cuau", "file", CUAU.on((1, 1, 2))], ids=["expansion", "name", "file", "Hamiltonian"]
)
def test_every_function_takes_every_kind_of_hamiltonian(name, hamiltonian, tmp_path):
    if hamiltonian == "file":
        hamiltonian = tmp_path / "expansion.json"
        hamiltonian.write_text(json.dumps(CUAU.to_dict()))
    assert arrays(TAKE[name](caller(), hamiltonian=hamiltonian))


def structures(result) -> list[tuple[Atoms, np.ndarray]]:
    """(Atoms, occupations on the lattice) of everything that a result hands out."""
    if hasattr(result, "ensembles"):
        return [pair for e in result.ensembles for pair in structures(e)]
    occ = np.atleast_2d(np.asarray(result.occ))
    atoms = result.atoms if not isinstance(result.atoms, Atoms) else [result.atoms]
    return list(zip(atoms, occ, strict=True))


@pytest.mark.parametrize("name", ["sample", "anneal", "ground_states", "wang_landau", "multicanonical", "mc", "scan"])
def test_results_give_atoms_in_the_order_of_the_caller(name):
    """Every atom stays where the caller had it, and its energy by a lattice of its own is that of the occupations. The last lines are
    the negative control: read in the lattice's order the Atoms would have another energy."""
    from alloygen.montecarlo.wang_landau import multicanonical_ensembles

    given, wrong = caller(), []
    if name == "multicanonical":
        result = multicanonical_ensembles(TAKE["wang_landau"](given), 900.0, n=6)[0]
    else:
        result = TAKE[name](given)
        result = result if name not in ("mc", "scan") else result[0]
    h, pairs = CUAU.on((2, 2, 4)), structures(result)
    assert pairs
    for atoms, occ in pairs:
        np.testing.assert_allclose(atoms.positions, given.positions)
        m = match(atoms, CUAU.primitive)
        energy = float(h.energy(h.check(occ))[0])
        assert float(h.energy(h.check(m.occ_from()))[0]) == pytest.approx(energy, abs=1e-9)
        other = given.copy()
        other.symbols[:] = ["Au" if x else "Cu" for x in occ]
        wrong.append(abs(float(h.energy(h.check(match(other, CUAU.primitive).occ_from()))[0]) - energy))
    assert name == "wang_landau" or max(wrong) > 1e-3


HOLD = {
    "sample": lambda a, f: alloygen.sample(a, 600, MU, n=6, fixed=f).atoms,
    "sample by Monte Carlo": lambda a, f: alloygen.sample(a, 600, MU, n=6, fixed=f, sampler="mc").atoms,
    "mc": lambda a, f: alloygen.mc(a, 600, MU, n=6, fixed=f)[0].atoms,
    "anneal": lambda a, f: TAKE["anneal"](a, fixed=f).atoms,
    "anneal by swaps": lambda a, f: alloygen.anneal(a, cooling=LOW, move="swap", fixed=f).atoms,
    "ground_states": lambda a, f: TAKE["ground_states"](a, fixed=f).atoms,
    "wang_landau": lambda a, f: [TAKE["wang_landau"](a, fixed=f).atoms],
    "wang_landau by swaps": lambda a, f: [
        alloygen.wang_landau(a, bins=Bins(width=0.1), schedule=Schedule(log_f_final=0.5), move="swap", fixed=f).atoms
    ],
}


@pytest.mark.parametrize("name", HOLD)
@pytest.mark.parametrize("fixed", [{0: "Cu", 5: "Au"}, [3, 7, -1], "mask", "atoms", "problem"])
def test_held_sites_are_told_in_the_order_of_the_caller(name, fixed):
    given = caller()
    symbols = np.array(given.get_chemical_symbols())
    if fixed == "atoms":
        fixed = given.copy()
        fixed.symbols[6:] = "X"
        held = {i: symbols[i] for i in range(6)}
    elif fixed == "mask":
        fixed = np.arange(16) % 5 == 3
        held = {i: symbols[i] for i in np.flatnonzero(fixed)}
    elif fixed == "problem":
        held, fixed = {2: "Au", 9: "Cu"}, None
        given = Problem.of(given, MU, fixed=held)
    else:
        held = fixed if isinstance(fixed, dict) else {i: symbols[i] for i in fixed}
    for atoms in HOLD[name](given, fixed):
        assert {i: atoms[i].symbol for i in held} == held


def test_swaps_keep_the_composition_of_the_atoms():
    for atoms in alloygen.anneal(caller(), cooling=LOW, move="swap").atoms:
        assert atoms.get_chemical_formula() == caller().get_chemical_formula()
    dos = alloygen.wang_landau(caller(), bins=Bins(width=0.1), schedule=Schedule(log_f_final=0.5), move="swap")
    assert dos.atoms.get_chemical_formula() == caller().get_chemical_formula()


def test_metadynamics_holds_what_atoms_hold():
    whole, part = TAKE["metadynamics"](caller()), TAKE["metadynamics"](caller(), fixed={0: "Au", 1: "Cu"})
    assert (whole.n_changing, part.n_changing, part.n_fixed) == (16, 14, 1)


def test_a_hamiltonian_alone_needs_occ_for_indices():
    h, occ = CUAU.on((2, 2, 4)), np.arange(16) % 2
    problem = Problem.of(h, fixed=[1, 4], occ=occ)
    assert problem.known[[1, 4]].tolist() == [1, 0] and (np.delete(problem.known, [1, 4]) == -1).all()
    found = alloygen.anneal(Problem.of(h, fixed=[1, 4], occ=occ), cooling=LOW)
    assert (found.occ[:, [1, 4]] == [1, 0]).all()
    with pytest.raises(LatticeMismatch, match=r"fixed=\{site: species\}, or occ="):
        Problem.of(h, fixed=[1, 4])
    assert (Problem.of(h, fixed=[]).known == -1).all()


# ---------------------------------------------------------------------- what Problem.of makes
def test_a_problem_goes_through_the_door_as_it_is():
    problem = Problem.of(caller(), MU, fixed={0: "Au"})
    assert Problem.of(problem) is problem and Problem.of(problem, MU, CUAU) is problem
    more = Problem.of(problem, fixed={1: "Cu", 0: "Cu"})
    site = problem.atoms_map.site
    assert more.known[site[[0, 1, 2]]].tolist() == [0, 0, -1] and len(more.free) == 14
    with pytest.raises(LatticeMismatch, match="expected one Hamiltonian"):
        Problem.of(problem, hamiltonian="ising")


def test_the_start_is_that_of_the_atoms_with_what_is_held():
    problem = Problem.of(caller(), fixed={0: "Cu"})  # gold in the atoms themselves
    assert problem.occ.sum() == 4 and problem.to_atoms(problem.occ)[0].symbol == "Cu"
    assert problem.to_atoms(problem.occ)[1:].get_chemical_symbols() == caller()[1:].get_chemical_symbols()
    assert Problem.of(caller()).start() is None and Problem.of(caller()).start(composition=True).sum() == 5
    rows = problem.start(n=3, seed=1)
    assert rows.shape == (3, 16) and (rows[:, problem.atoms_map.site[0]] == 0).all()
    with pytest.raises(AlloygenError, match="composition the swaps keep"):
        Problem.of(CUAU.on((2, 2, 4))).start(composition=True)


@pytest.mark.parametrize(
    "mu, expected",
    [
        (None, ("Cu",)),
        (0.1, ("Cu",)),
        ({"Au": 0.1}, ("Cu", "Au")),
        ([{"Au": 0.1}, {"Cu": 0.1, "Ag": 0}], ("Cu", "Au", "Ag")),
    ],
)
def test_elements_of(mu, expected):
    assert elements_of(bulk("Cu").repeat(2), mu) == expected


def test_a_hamiltonian_on_the_cell_of_the_atoms_is_used_itself():
    h = CUAU.on((2, 2, 4))
    assert Problem.of(h).hamiltonian is h and Problem.of(caller(), hamiltonian=h).hamiltonian is h
    other = CUAU.on((1, 1, 2))
    assert Problem.of(caller(), hamiltonian=other).hamiltonian.n_sites == 16


def test_a_renumbered_problem_holds_the_same_atoms():
    problem = Problem.of(bulk("Cu").repeat((4, 2, 2))[ORDER], MU, fixed={2: "Au", 11: "Cu"})
    h = CUAU.on((2, 2, 4))
    row = h.lattice.site_map(problem.hamiltonian.lattice)
    moved = problem.renumbered(h, row)
    assert moved.to_atoms(np.where(moved.held, moved.known, 0))[2].symbol == "Au"
    assert np.flatnonzero(moved.held[moved.atoms_map.site]).tolist() == [2, 11]


@pytest.mark.parametrize("kind", ["pair", "files", "calculator", "atoms"])
def test_clease_names_a_hamiltonian(kind, tmp_path):
    from clease.calculator import attach_calculator
    from clease.settings import CEBulk, Concentration

    settings = CEBulk(
        Concentration([["Au", "Cu"]]),
        crystalstructure="fcc",
        a=3.8,
        max_cluster_dia=[3.0],
        db_name=str(tmp_path / "a.db"),
    )
    eci = {name: 0.01 * k for k, name in enumerate(settings.all_cf_names)}
    given, hamiltonian = caller(), (settings, eci)
    if kind == "files":
        settings.save(str(tmp_path / "settings.json"))
        (tmp_path / "eci.json").write_text(json.dumps(eci))
        hamiltonian = (tmp_path / "settings.json", tmp_path / "eci.json")
    elif kind != "pair":
        carrying = attach_calculator(settings, settings.prim_cell.repeat((3, 3, 3)), eci)
        hamiltonian = carrying.calc
    if kind == "atoms":
        given, hamiltonian = carrying, None
    problem = Problem.of(given, None, hamiltonian)
    assert problem.hamiltonian.fingerprint == alloygen.from_clease(settings, eci).fingerprint


# ---------------------------------------------------------------------- what is refused, before any work
@pytest.fixture
def no_work(monkeypatch):
    """Any start of any chain or draw fails."""
    for name in ("montecarlo.chains.Chains.__init__", "hamiltonian.cluster.Hamiltonian.random"):
        monkeypatch.setattr(f"alloygen.{name}", None)


REFUSED = [
    (lambda: None, {}, LatticeMismatch, "expected atoms as ase.Atoms"),
    (lambda: CUAU, {}, LatticeMismatch, "lay it on one"),
    (lambda: "nowhere.cif", {}, AlloygenError, "no file there"),
    (lambda: [caller(), caller()], {}, LatticeMismatch, "a list of 2: pass one"),
    (lambda: caller()[1:], {}, LatticeMismatch, "integer supercell|wrong number"),
    (lambda: bulk("Ag").repeat((2, 2, 4)), {}, UnknownSpecies, "ships for"),
    (lambda: bulk("Ag").repeat((2, 2, 4)), dict(hamiltonian=CUAU), UnknownSpecies, "got also .'Ag'"),
    (caller, dict(hamiltonian=3), AlloygenError, "expected a Hamiltonian"),
    (caller, dict(hamiltonian="nothing"), AlloygenError, "expected a Hamiltonian"),
    (lambda: alloygen.ising(4), dict(hamiltonian=CUAU), LatticeMismatch, "expected one Hamiltonian"),
]  # fmt: skip


@pytest.mark.parametrize("name", TAKE)
@pytest.mark.parametrize("given, options, error, words", REFUSED)
def test_what_makes_no_problem_is_told_before_any_work(name, given, options, error, words, no_work):
    with pytest.raises(error, match=words):
        TAKE[name](given(), **options)


FIXES = [
    ({0: "Ag"}, UnknownSpecies, "held at atom 0, got 'Ag'"),
    ([16], LatticeMismatch, "indices from 0 to 15"),
    (np.ones(4, dtype=bool), LatticeMismatch, "a mask of the 16 atoms"),
    (range(16), AlloygenError, "exchangeable site that is free, got all 16 fixed"),
]


@pytest.mark.parametrize("name", [n for n in TAKE if n not in ("scan", "reference_samples")])
@pytest.mark.parametrize("fixed, error, words", FIXES)
def test_what_cannot_be_held_is_told_before_any_work(name, fixed, error, words, no_work):
    with pytest.raises(error, match=words):
        TAKE[name](caller(), fixed=fixed)


def test_a_problem_is_checked_when_it_is_made():
    h, other = CUAU.on((2, 2, 4)), AtomsMap.of_lattice(CUAU.on((2, 2, 2)).lattice)
    mine = AtomsMap.of_lattice(h.lattice)
    with pytest.raises(LatticeMismatch, match="on the lattice of the Hamiltonian"):
        Problem(hamiltonian=h, atoms_map=other, known=np.full(16, -1))
    for known in (np.full(15, -1), np.full(16, 2), np.full(16, -2), np.full(16, -1.0)):
        with pytest.raises(LatticeMismatch, match="known as species indices"):
            Problem(hamiltonian=h, atoms_map=mine, known=known)
    with pytest.raises(AlloygenError, match="got all 16 fixed"):
        Problem(hamiltonian=h, atoms_map=mine, known=np.zeros(16, dtype=int))


def test_sites_of_one_species_are_not_free():
    h = small("spectator")
    problem = Problem.of(h, fixed={0: h.lattice.species[h.lattice.sublattice[0]][0]})
    n = h.lattice.n_species > 1
    n[0] = False
    assert problem.free.tolist() == np.flatnonzero(n).tolist()
