"""Fits of own alloys: a known truth is found again, error bars hold, what is wrong is said, and the result goes wherever a Hamiltonian does."""

import json
import warnings
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect

import alloygen
from alloygen.edge.atoms_map import AtomsMap
from alloygen.errors import AlloygenError, FitWarning, LatticeMismatch, UnknownSpecies
from alloygen.fitting.derivative import as_primitive, configurations
from alloygen.fitting.regression import METHODS, regress
from alloygen.hamiltonian.clusters import decorated_orbits
from alloygen.hamiltonian.expansion import ClusterExpansion

CELL = bulk("Cu", a=3.8)
CASES = {  # primitive cell, species, cutoffs, sites of the largest structure
    "binary": (CELL, ["Cu", "Au"], (4.0, 2.8), 5),
    "ternary": (CELL, ["Cu", "Au", "Pd"], (4.0, 2.8), 4),
    "two sublattices": (bulk("NaCl", "rocksalt", a=4.2), {"Na": ["Li", "Na"], "Cl": ["O", "F"]}, (3.1, 3.1), 6),
}


def truth(name: str, seed: int = 0) -> ClusterExpansion:
    cell, species, cutoffs, _ = CASES[name]
    functions, orbits = decorated_orbits(as_primitive(cell, species), cutoffs)
    eci = np.random.default_rng(seed).normal(scale=0.03, size=len(orbits))
    primitive = as_primitive(cell, species)
    return ClusterExpansion(
        primitive, functions, tuple(replace(o, eci=float(j)) for o, j in zip(orbits, eci, strict=True))
    )


def energy_of(expansion: ClusterExpansion, atoms: Atoms) -> float:
    problem = alloygen.Problem.of(atoms, hamiltonian=expansion)
    return float(problem.hamiltonian.energy(problem.occ[None])[0])


@cache
def with_energies(name: str) -> tuple[ClusterExpansion, list[Atoms], np.ndarray]:
    """The truth, structures of small cells, and their energies by its tables."""
    expansion = truth(name)
    structures, energies = [], []
    for lattice, rows in configurations(expansion.primitive, CASES[name][3]):
        structures += [AtomsMap.of_lattice(lattice).to_atoms(occ) for occ in rows]
        energies += expansion.on(lattice).energy(rows).tolist()
    return expansion, structures, np.array(energies)


def binary() -> tuple[ClusterExpansion, list[Atoms], np.ndarray]:
    return with_energies("binary")


def relaxed(atoms: Atoms, seed: int) -> Atoms:
    """Strained, displaced, turned, shuffled, scaled: as structures come back from a relaxation."""
    rng = np.random.default_rng(seed)
    out = atoms.repeat((2, 1, 1) if len(atoms) < 4 else 1)[rng.permutation(len(atoms) * (2 if len(atoms) < 4 else 1))]
    out.set_cell(out.cell[:] @ (1.02 * np.eye(3) + rng.uniform(-0.004, 0.004, (3, 3))), scale_atoms=True)
    out.rattle(0.05, seed=seed)
    out.rotate(37.0 * seed, (1, 2, 3), rotate_cell=True)
    return out


# ---------------------------------------------------------------------- a known truth
@pytest.mark.parametrize("name", CASES)
def test_the_truth_is_found_to_rounding(name):
    cell, species, cutoffs, _ = CASES[name]
    expansion, structures, energies = with_energies(name)
    with warnings.catch_warnings():
        warnings.simplefilter("error", FitWarning)
        alloy = alloygen.fit(cell, species, energies, structures, cutoffs=cutoffs, references=None)
    assert alloy.fitted.method == "ols" and alloy.fitted.names == tuple(o.name for o in expansion.orbits)
    np.testing.assert_allclose([o.eci for o in alloy.orbits], [o.eci for o in expansion.orbits], atol=1e-12)
    occ = expansion.on((3, 2, 2)).random(20, 0)
    np.testing.assert_allclose(alloy.on((3, 2, 2)).energy(occ), expansion.on((3, 2, 2)).energy(occ), atol=1e-10)
    assert alloy.fitted.score < 1e-12 and alloy.fitted.left_out == {}


@pytest.mark.slow
def test_relaxed_structures_are_laid_on_their_sites():
    expansion, structures, energies = binary()
    cell, species, cutoffs, _ = CASES["binary"]
    structures, energies = structures[:29], energies[:29]
    moved = [relaxed(atoms, k) for k, atoms in enumerate(structures)]
    energies = energies * [len(b) / len(a) for a, b in zip(structures, moved, strict=True)]
    with warnings.catch_warnings():
        warnings.simplefilter("error", FitWarning)
        alloy = alloygen.fit(cell, species, energies, moved, cutoffs=cutoffs, references=None)
    np.testing.assert_allclose([o.eci for o in alloy.orbits], [o.eci for o in expansion.orbits], atol=1e-11)
    assert (alloy.fitted.displacement > 0.005).mean() > 0.5 and (alloy.fitted.strain > 1e-4).all()


@pytest.mark.slow
def test_references_are_linear():
    """With references taken off the alloy is the same up to a linear function of the composition, which it remembers."""
    for name in ("ternary", "two sublattices"):
        cell, species, cutoffs, _ = CASES[name]
        expansion, structures, energies = with_energies(name)
        far = {e: -3.0 - k for k, e in enumerate(expansion.elements)}
        total = energies + [sum(far[e] for e in atoms.get_chemical_symbols()) for atoms in structures]
        alloy = alloygen.fit(cell, species, total, structures, cutoffs=cutoffs, method="ols")
        h, own = alloy.on((2, 2, 2)), expansion.on((2, 2, 2))
        occ = h.random(20, 0)
        back = h.energy(occ) + h.counts(occ) @ [alloy.fitted.references[e] - far[e] for e in alloy.elements]
        np.testing.assert_allclose(back, own.energy(occ), atol=1e-9)
        assert alloy.fitted.reference_kind == "end members"
        given = alloygen.fit(cell, species, total, structures, cutoffs=cutoffs, references=far, method="ols")
        np.testing.assert_allclose(given.on((2, 2, 2)).energy(occ), own.energy(occ), atol=1e-9)
    pure = [k for k, atoms in enumerate(binary()[1]) if len(set(atoms.get_chemical_symbols())) > 1]
    alloy = alloygen.fit(CELL, ["Cu", "Au"], binary()[2][pure], [binary()[1][k] for k in pure], cutoffs=(4.0, 2.8))
    assert alloy.fitted.reference_kind.startswith("least squares")


# ---------------------------------------------------------------------- error bars
def noisy(seed: int, noise: float = 2e-3):
    x = binary_x()
    rng = np.random.default_rng(seed)
    eci = rng.normal(scale=0.03, size=x.shape[1])
    return eci, x @ eci + rng.normal(scale=noise, size=len(x))


@cache
def binary_x() -> np.ndarray:
    """Correlation functions of the structures."""
    _, structures, energies = binary()
    alloy = alloygen.fit(CELL, ["Cu", "Au"], energies, structures, cutoffs=(4.0, 2.8), method="ols")
    return alloy.fitted.correlations


@pytest.mark.parametrize("method", METHODS)
def test_error_bars_hold(method):
    """(ECI found - true) / its standard deviation has one of 1; the noise is found too."""
    z, noise = [], []
    for seed in range(25):
        eci, y = noisy(seed)
        found = regress(binary_x(), y, method)
        std = np.sqrt(np.diag(found.covariance))
        z += ((found.mean - eci)[found.kept] / std[found.kept]).tolist()
        noise.append(found.noise)
    assert 0.8 < np.std(z) < 1.25
    assert (
        not 0.8 < np.std(np.array(z) * 1.5) < 1.25 and not 0.8 < np.std(np.array(z) / 1.6) < 1.25
    )  # negative controls
    assert np.mean(noise) == pytest.approx(2e-3, rel=0.1)


def test_error_bars_of_energies_and_draws():
    _, structures, energies = binary()
    sizes = np.array([len(a) for a in structures])
    rng = np.random.default_rng(0)
    alloy = alloygen.fit(
        CELL,
        ["Cu", "Au"],
        energies + sizes * rng.normal(scale=2e-3, size=len(sizes)),
        structures,
        cutoffs=(4.0, 2.8),
        references=None,
    )
    fitted = alloy.fitted
    draws = fitted.draws(4000, 1)
    np.testing.assert_allclose(draws.std(0), fitted.std, rtol=0.1)
    mean, std = fitted.predict(fitted.correlations)
    np.testing.assert_allclose((draws @ fitted.correlations.T).std(0), std, rtol=0.1)
    np.testing.assert_allclose(mean, fitted.predicted)
    assert np.mean(np.abs(mean - energies / sizes) < 2 * std) > 0.8
    other = alloy.with_ecis(draws[0])
    assert other.fitted is None and other.fingerprint != alloy.fingerprint
    with pytest.raises(AlloygenError, match="finite ECIs"):
        alloy.with_ecis(draws[0][:-1])


# ---------------------------------------------------------------------- ways to give energies
def test_every_way_to_give_energies(tmp_path):
    structures = alloygen.enumerate_structures(CELL, ["Cu", "Au"], max_sites=3)
    carrying = []
    for atoms in structures:
        copy = atoms.copy()
        copy.calc = EMT()
        energy = copy.get_potential_energy()
        copy.calc = SinglePointCalculator(copy, energy=energy)
        carrying.append(copy)
    with connect(tmp_path / "own.db") as database:
        for atoms in carrying:
            database.write(atoms)
    how = {"cutoffs": (3.0,), "method": "ridge"}
    numbers = [a.get_potential_energy() for a in carrying]

    def function(atoms):
        atoms.calc = EMT()
        return atoms

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        found = [
            alloygen.fit(CELL, ["Cu", "Au"], carrying, **how),
            alloygen.fit(CELL, ["Cu", "Au"], tmp_path / "own.db", **how),
            alloygen.fit(CELL, ["Cu", "Au"], numbers, structures, **how),
            alloygen.fit(CELL, ["Cu", "Au"], EMT(), structures, **how),
            alloygen.fit(CELL, ["Cu", "Au"], EMT, structures, **how),
            alloygen.fit(as_primitive(CELL, ["Cu", "Au"]), None, function, structures, **how),
        ]
    for alloy in found:
        np.testing.assert_allclose([o.eci for o in alloy.orbits], [o.eci for o in found[0].orbits], atol=1e-9)


def test_vacancies_are_missing_atoms():
    """Structures of a relaxation code, which knows no X, and a calculator, which is never given one: the same ECIs as with X written out."""
    cell, species = bulk("NaCl", "rocksalt", a=4.2), {"Na": ["Li", "X"], "Cl": ["O"]}
    functions, orbits = decorated_orbits(as_primitive(cell, species), (3.1,))
    eci = np.random.default_rng(3).normal(scale=0.1, size=len(orbits))
    orbits = tuple(replace(o, eci=float(j)) for o, j in zip(orbits, eci, strict=True))
    expansion = ClusterExpansion(as_primitive(cell, species), functions, orbits)
    whole = alloygen.enumerate_structures(cell, species, max_sites=8)
    energies = [energy_of(expansion, a) for a in whole]
    gone = [a[a.numbers > 0] for a in whole]
    of_formula = {
        a.get_chemical_formula() + str(a.cell.cellpar().round(6)): e for a, e in zip(gone, energies, strict=True)
    }
    how = {"cutoffs": (3.1,), "method": "ols", "references": None}

    def function(atoms):
        assert (atoms.numbers > 0).all()
        return of_formula[atoms.get_chemical_formula() + str(atoms.cell.cellpar().round(6))]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        written = alloygen.fit(cell, species, energies, whole, **how)
        missing = alloygen.fit(cell, species, energies, gone, **how)
        first = [k for k, a in enumerate(whole) if len(a) <= 6]  # of which each cell and formula is one structure
        by_function = alloygen.fit(cell, species, function, [whole[k] for k in first], **how)
    for alloy in (written, missing, by_function):
        np.testing.assert_allclose([o.eci for o in alloy.orbits], eci, atol=1e-9)
    with pytest.raises(LatticeMismatch, match="an atom"):
        alloygen.fit(cell, {"Na": ["Li", "Na"], "Cl": ["O"]}, energies, gone, **how)


def test_the_alloy_goes_wherever_a_hamiltonian_does(tmp_path):
    cell, species, cutoffs, _ = CASES["binary"]
    alloy = alloygen.fit(cell, species, binary()[2], binary()[1], cutoffs=cutoffs)
    path = tmp_path / "own.json"
    path.write_text(json.dumps(alloy.to_dict()))
    again = ClusterExpansion.from_dict(json.loads(path.read_text()))
    assert again.fingerprint == alloy.fingerprint and again.fitted.to_dict() == alloy.fitted.to_dict()
    assert again.fitted.to_pandas().equals(alloy.fitted.to_pandas()) and "Fitted(" in repr(again.fitted)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ens = alloygen.sample(CELL.repeat((2, 2, 2)), T=900, mu={"Au": 0.0}, n=64, hamiltonian=alloy)
        from_file = alloygen.sample(CELL.repeat((2, 2, 2)), T=900, mu={"Au": 0.0}, n=64, hamiltonian=path)
    np.testing.assert_array_equal(ens.occ, from_file.occ)


# ---------------------------------------------------------------------- ground states and what to compute next
def test_ground_states_that_differ_are_told():
    cell, species, cutoffs, _ = CASES["binary"]
    energies = np.array(
        [len(a) * 0.01 * np.sin(37.0 * k) for k, a in enumerate(binary()[1])]
    )  # nothing that clusters describe
    with pytest.warns(FitWarning, match="ground states of the fit are not those of its data: it misses"):
        alloygen.fit(cell, species, energies, binary()[1], cutoffs=cutoffs)


def test_the_structure_that_was_left_out_comes_next():
    """The lowest one of five sites is found among all that are not known; the most open one is open."""
    expansion, structures, energies = binary()
    small = [k for k, a in enumerate(structures) if len(a) < 5]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        alloy = alloygen.fit(CELL, ["Cu", "Au"], energies[small], [structures[k] for k in small], cutoffs=(4.0, 2.8))
    first, *rest = alloygen.next_structures(alloy, 30, max_sites=5)
    assert len(rest) == 27 and all(len(a) == 5 for a in rest)
    distance = [a.info["distance"] for a in (first, *rest)]
    assert distance == sorted(distance)
    references = [alloy.fitted.references[s] for s in first.get_chemical_symbols()]
    assert energy_of(expansion, first) - sum(references) == pytest.approx(5 * first.info["energy_per_site"], abs=1e-9)
    with pytest.raises(AlloygenError, match="remembers no fit"):
        alloygen.next_structures(expansion)


def test_themost_open_structures_tell_most():
    """Of structures outside, those asked for shrink the posterior more than as many at random."""
    x, noise = binary_x(), 2e-3
    from alloygen.fitting.hulls import most_open

    posterior = lambda rows: noise**2 * np.linalg.inv(x[rows].T @ x[rows] + 1e-4 * np.eye(x.shape[1]))  # noqa: E731
    rows = list(range(0, 20))
    picked = most_open(x, posterior(rows), noise, 5)
    assert len(set(picked)) == 5
    rng = np.random.default_rng(0)
    volume = lambda more: np.linalg.slogdet(posterior([*rows, *more]))[1]  # noqa: E731
    assert volume(picked) < min(volume(rng.choice(len(x), 5, replace=False)) for _ in range(20))


# ---------------------------------------------------------------------- what is wrong is said
def fitting(energies=None, structures=None, **options):
    return alloygen.fit(
        CELL, ["Cu", "Au"], binary()[2] if energies is None else energies, binary()[1] if structures is None else structures,
        **{"cutoffs": (4.0, 2.8), "method": "ols"} | options,
    )  # fmt: skip


def test_bad_input_is_refused_before_work():
    n = len(binary()[1])
    bad = binary()[2].copy()
    bad[3] = np.nan
    alien = [*binary()[1][:-1], bulk("Ag", a=4.0)]
    for error, match, kw in [
        (AlloygenError, r"finite energies of whole cells, got 1 .*3 \(", dict(energies=bad)),
        (AlloygenError, f"one energy for each of {n} structures, got {n - 1}", dict(energies=binary()[2][:-1])),
        (UnknownSpecies, "Ag on sublattice 0", dict(structures=alien)),
        (
            AlloygenError,
            "more structures than ECIs, got 10 different",
            dict(energies=binary()[2][:10], structures=binary()[1][:10], cutoffs=(6.6, 4.7)),
        ),
        (AlloygenError, "expected method as one of", dict(method="magic")),
        (AlloygenError, "cutoff of clusters of 3 sites", dict(cutoffs=(3.0, -1))),
        (AlloygenError, "expected cutoffs as distances", dict(cutoffs=3)),
        (UnknownSpecies, "references of elements among", dict(references={"Cu": 0.0, "Ag": 1.0})),
        (AlloygenError, "finite energy of an atom for each", dict(references={"Cu": 0.0})),
        (AlloygenError, 'references as "ends"', dict(references="pure")),
    ]:
        with pytest.raises(error, match=match):
            fitting(**kw)
    with pytest.raises(AlloygenError, match="structures= with the"):
        alloygen.fit(CELL, ["Cu", "Au"], list(binary()[2]))
    with pytest.raises(AlloygenError, match="carry their energies"):
        alloygen.fit(CELL, ["Cu", "Au"], binary()[1])
    with pytest.raises(AlloygenError, match="file with many structures"):
        alloygen.fit(CELL, ["Cu", "Au"], "nowhere.db")
    with pytest.raises(AlloygenError, match="Does the calculator know all of the elements"):
        alloygen.fit(CELL, ["Cu", "Zr"], EMT())


@pytest.mark.parametrize("far", [0.0, -4.0])
def test_energies_per_atom_are_caught(far):
    """By what clusters describe, with and without large energies of the elements; and by references. Energies of cells pass."""
    sizes = np.array([len(a) for a in binary()[1]])
    copper = np.array([(a.symbols == "Cu").sum() for a in binary()[1]])
    total = binary()[2] + far * sizes + (0.3 * far) * copper
    fitting(total)
    with pytest.raises(AlloygenError, match="energies of whole cells, got some that look like energies per atom"):
        fitting(total / sizes)
    if far:
        given = {"Cu": 1.3 * far, "Au": far}
        one_size = np.flatnonzero(sizes == 5)
        rows = [binary()[1][k] for k in one_size]
        fitting(total[one_size], rows, references=given, method="bayes", cutoffs=(3.0,))
        with pytest.raises(AlloygenError, match="look like energies per atom"):
            fitting(total[one_size] / 5, rows, references=given, method="bayes", cutoffs=(3.0,))
        with pytest.raises(AlloygenError, match="or give references of one atom where these are of whole cells"):
            fitting(total, references={e: 4 * value for e, value in given.items()})


def test_formation_energies_per_atom_are_caught_too():
    """Of EMT copper-gold, which small clusters describe to a few percent only."""
    structures = alloygen.enumerate_structures(CELL, ["Cu", "Au"], max_sites=4)
    of_emt = lambda a: EMT().get_potential_energy(a)  # noqa: E731
    gold = np.array([(a.symbols == "Au").sum() for a in structures])
    sizes = np.array([len(a) for a in structures])
    ends = of_emt(structures[0]), of_emt(structures[1])
    energies = np.array([of_emt(a) for a in structures]) - (sizes - gold) * ends[0] - gold * ends[1]
    cutoffs = {"cutoffs": (3.9,), "method": "ridge"}
    alloygen.fit(CELL, ["Cu", "Au"], energies, structures, **cutoffs)
    with pytest.raises(AlloygenError, match="look like energies per atom"):
        alloygen.fit(CELL, ["Cu", "Au"], energies / sizes, structures, **cutoffs)


@pytest.mark.parametrize(
    "unit, reference, words",
    [
        (1, None, None),
        (1, {"Cu": -3.7, "Au": -3.2}, None),
        (1000, None, "expected energies in eV, got some that lie"),
        (96.485, None, "in kJ/mol"),
        (1, {"Cu": -3700.0, "Au": -3200.0}, "expected references as energies of one atom in eV"),
        (1, {"Cu": 10.0, "Au": 10.0}, "of another calculator"),
    ],
)
def test_energies_in_another_unit_are_told(unit, reference, words):
    """Of an alloy whose energies lie a tenth of an eV off a mixture of its elements, at -3.7 and -3.2 eV an atom."""
    structures = binary()[1]
    gold = np.array([(a.symbols == "Au").sum() for a in structures])
    sizes = np.array([len(a) for a in structures])
    energies = unit * (5 * binary()[2] - 3.7 * (sizes - gold) - 3.2 * gold)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", FitWarning)
        fitting(energies, **({} if reference is None else {"references": reference}))
    found = " ".join(str(w.message) for w in told)
    assert (words in found) if words else ("expected energies" not in found and "expected references" not in found)


@pytest.mark.parametrize("n", [3, 4, 6])
def test_a_few_structures_without_sense_are_fitted_or_refused(n):
    """Never a traceback of a library that finds too few to leave some out."""
    noise = np.random.default_rng(n).normal(size=n)
    for method in (None, "lasso"):
        try:
            alloygen.fit(CELL, ["Cu", "Au"], noise, binary()[1][:n], method=method, cutoffs=(2.8,), references=None)
        except AlloygenError as error:
            assert "expected" in str(error)


def test_an_ordered_structure_that_shrank_along_c_is_still_on_the_lattice():
    """L1_0 of copper-gold has c / a = .92: strained by more than 5 % at the same volume. A step further on the way to bcc is another crystal."""
    flat = [a.copy() for a in binary()[1]]
    (k,) = [k for k, a in enumerate(flat) if len(a) == 2 and np.isclose(abs(a.cell[1, 0] - a.cell[0, 0]), 0)][:1] or [2]
    flat[k].set_cell(flat[k].cell[:] @ np.diag([1.0, 1.0, 0.92]), scale_atoms=True)
    with pytest.warns(FitWarning, match="strained by more than 2 %"):
        alloy = fitting(structures=flat)
    assert 0.04 < alloy.fitted.strain[k] < 0.06
    flat[k].set_cell(flat[k].cell[:] @ np.diag([1.0, 1.0, 0.85]), scale_atoms=True)
    with pytest.raises(LatticeMismatch, match="strained by 8 % at most"):
        fitting(structures=flat)


def test_repeated_and_contradictory_structures():
    twice = [*binary()[1], binary()[1][5].repeat((1, 2, 1))]
    with pytest.warns(FitWarning, match="1 structures repeat others"):
        alloy = fitting(np.append(binary()[2], 2 * binary()[2][5]), twice)
    assert len(alloy.fitted.labels) == len(binary()[1]) and list(alloy.fitted.same.values()) == [alloy.fitted.labels[5]]
    with pytest.raises(AlloygenError, match="1 that contradict: 5 "):
        fitting(np.append(binary()[2], 2 * binary()[2][5] + 0.1), twice)


def test_structures_off_the_lattice_are_named():
    bcc = bulk("Cu", "bcc", a=3.0, cubic=True)
    structures, energies = [*binary()[1], bcc], np.append(binary()[2], 0.1)
    label = f"{len(binary()[1])} (Cu2)"
    with pytest.raises(LatticeMismatch, match=r"structures on the lattice, got 1 that do not fit. .*\(Cu2\)"):
        fitting(energies, structures)
    with pytest.raises(LatticeMismatch, match="The cell that was given is 4 primitive ones"):
        alloygen.fit(bulk("Cu", a=3.8, cubic=True), ["Cu", "Au"], *binary()[:0:-1])
    with pytest.warns(FitWarning, match="They are left out"):
        alloy = fitting(energies, structures, skip=True)
    assert list(alloy.fitted.left_out) == [label] and label not in alloy.fitted.labels
    bent = [a.copy() for a in binary()[1]]
    bent[4].set_cell(bent[4].cell[:] @ np.diag([1.03, 1.0, 0.98]), scale_atoms=True)
    with pytest.warns(FitWarning, match=r"1 of .* strained by more than 2 %.*4 \("):
        alloy = fitting(structures=bent)
    assert alloy.fitted.strain[4] > 0.02 and len(alloy.fitted.labels) == len(bent)


def test_clusters_that_no_structure_tells_apart_are_named():
    """On hcp up to eight sites the triangles over the two kinds of holes have the same correlation functions."""
    primitive = as_primitive(bulk("Mg", "hcp", a=3.0, c=4.9), ["Mg", "Zn"])
    found = list(configurations(primitive, 6))
    structures = [AtomsMap.of_lattice(lattice).to_atoms(occ) for lattice, rows in found for occ in rows]
    energies = [0.01 * len(a) * np.cos(0.3 * k) for k, a in enumerate(structures)]
    with pytest.warns(FitWarning, match="no structure tells the ECIs of triplet 1, triplet 2 apart"):
        alloy = alloygen.fit(primitive, None, energies, structures, cutoffs=(4.5, 3.3), method="bayes")
    names = alloy.fitted.names
    one, other = (names.index(f"triplet {k}") for k in (1, 2))
    assert alloy.fitted.mean[one] == pytest.approx(alloy.fitted.mean[other], abs=1e-9)
    assert alloy.fitted.covariance[one, other] < 0
    with pytest.raises(AlloygenError, match="structures that tell all ECIs apart"):
        alloygen.fit(primitive, None, energies, structures, cutoffs=(4.5, 3.3), method="ols")


# ---------------------------------------------------------------------- a real force field
@pytest.mark.slow
def test_copper_gold_palladium_by_emt():
    """A ternary from nothing: structures, energies, clusters and method are found by themselves."""
    structures = alloygen.enumerate_structures(CELL, ["Cu", "Au", "Pd"], max_sites=4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        alloy = alloygen.fit(CELL, ["Cu", "Au", "Pd"], EMT(), structures)
    fitted = alloy.fitted
    assert len(fitted.labels) == 126 and fitted.reference_kind == "end members"
    assert fitted.score < 0.004 and fitted.score < 0.1 * fitted.energies.std()
    assert fitted.learning_curve[-1, 1] < fitted.learning_curve[0, 1]
    fresh = alloygen.enumerate_structures(CELL, ["Cu", "Au", "Pd"], max_sites=5)[126::11]
    off = []
    for atoms in fresh:
        atoms.calc = EMT()
        own = atoms.get_potential_energy() - sum(fitted.references[s] for s in atoms.get_chemical_symbols())
        off.append((energy_of(alloy, atoms) - own) / len(atoms))
    assert np.sqrt(np.mean(np.square(off))) < 2.0 * fitted.score
