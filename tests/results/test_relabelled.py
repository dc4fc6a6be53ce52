"""Relabelled ensembles: the free energy of a calculator against enumeration, and what is told of structures that fail."""

import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.calculator import all_changes
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

import alloygen
import alloygen.data
from alloygen.edge.atoms_map import AtomsMap
from alloygen.edge.computed import Recipe
from alloygen.errors import AlloygenError, CheckpointError, LowSampleSize, NotLabelled
from alloygen.exact.enumeration import Enumeration
from alloygen.results.distinct import distinct, multiplicity
from alloygen.results.ensemble import Ensemble
from alloygen.results.scan import Scan

H = alloygen.data.cuau().on((2, 2, 2))
T, MU = 1500.0, np.array([0.0, 0.05])


@pytest.fixture(scope="module")
def table():
    return Enumeration(H)


@pytest.fixture(scope="module")
def emt(table):
    """EMT energies of all 256 configurations, on the scale of the expansion, computed one by one but for translations."""
    to_atoms = AtomsMap.of_lattice(H.lattice).to_atoms
    images = np.stack([table.index(table.occ[:, row]) for row in H.lattice.translations]).min(0)
    value = {k: Recipe(calculator=EMT()).of(to_atoms(table.occ[k])).energy for k in np.unique(images)}
    return on_scale(table, np.array([value[k] for k in images]))


def on_scale(table, energy):
    """Energies with those of the end members that the expansion has."""
    ends = [0, len(table) - 1]
    return energy - table.counts @ np.linalg.solve(table.counts[ends], energy[ends] - table.energy[ends])


def phi(table, energy, mu=MU):
    return table.with_energies(energy).at(H.condition(T, mu)).phi


def drawn(table, n, seed, law=None):
    """Independent draws of the expansion's law, or of another, by their exact probabilities."""
    p = np.exp(-H.condition(T, MU).reduced(table.energy, table.counts)) if law is None else law
    p = p / p.sum()
    rows = np.random.default_rng(seed).choice(len(p), n, p=p)
    found = AtomsMap.of_lattice(H.lattice)
    return rows, Ensemble(H, table.occ[rows], table.energy[rows], np.log(p[rows]), T=T, mu=MU, atoms_map=found)


# ---------------------------------------------------------------------- what is true
def test_the_law_of_a_calculator_is_that_of_enumeration(table, emt):
    _, ens = drawn(table, 400, 0)
    found = ens.relabel(EMT())
    exact = phi(table, emt) - phi(table, table.energy)
    assert abs(found.difference.value - exact) < 4 * found.difference.stderr < 0.006
    assert abs(exact) > 8 * found.difference.stderr  # what no difference at all would fail
    assert len(found.structures) == 16 and sum(s.samples for s in found.structures) == 400
    assert np.allclose(found.ensemble.energy, emt[table.index(ens.occ)], atol=1e-9)
    assert abs(found.ensemble.free_energy().value - phi(table, emt)) < 4 * found.ensemble.free_energy().stderr


@pytest.mark.slow
def test_chgnet_is_a_calculator_as_any_other(table):
    """A force field whose weights come with its package: pip install alloygen[chgnet]."""
    pytest.importorskip("chgnet")
    from chgnet.model.dynamics import CHGNetCalculator

    chgnet, groups = CHGNetCalculator(use_device="cpu"), distinct(table.occ, H.lattice)
    recipe, to_atoms = Recipe(calculator=chgnet), AtomsMap.of_lattice(H.lattice).to_atoms
    energy = on_scale(table, np.array([recipe.of(to_atoms(table.occ[k])).energy for k in groups.first])[groups.of])
    found = drawn(table, 400, 0)[1].relabel(chgnet)
    exact = phi(table, energy) - phi(table, table.energy)
    assert abs(found.difference.value - exact) < 4 * found.difference.stderr < 0.006
    assert abs(exact) > 8 * found.difference.stderr


def test_error_bars_of_the_difference_cover(table, emt):
    exact, z, apart = phi(table, emt) - phi(table, table.energy), [], []
    even = np.ones(len(table))
    for seed in range(60):
        rows, ens = drawn(
            table, 300, seed, even if seed % 2 else None
        )  # perfect draws, and others whose weights are uneven
        new = ens.reweighted(energy=emt[rows])
        found = new.free_energy_difference()
        z.append((found.value - exact) / found.stderr)
        apart.append(found.stderr / np.hypot(ens.free_energy().stderr, new.free_energy().stderr))
    assert 0.75 < np.std(z) < 1.3 and abs(np.mean(z)) < 0.5
    assert np.mean(apart[1::2]) < 0.9  # what is shared between both is not counted twice


def test_without_a_likelihood(table, emt):
    ens = alloygen.mc(bulk("Cu", a=3.8).repeat((2, 2, 2)), T=T, mu={"Au": 0.05}, n=500).at(T)
    found = ens.relabel(EMT())
    exact = phi(table, emt) - phi(table, table.energy)
    assert abs(found.difference.value - exact) < 4 * found.difference.stderr < 0.008


def test_symmetry_makes_configurations_one(table):
    everything = Ensemble(H, table.occ, table.energy, None, T=T)
    groups = distinct(everything.occ, H.lattice)
    counted = [multiplicity(H.lattice, table.occ[k]) for k in groups.first]
    assert counted == groups.sums(np.ones(256)).tolist()
    strained = bulk("Cu", a=3.8).repeat((2, 2, 2))
    strained.set_cell(np.array(strained.cell) * [1, 1, 1.03], scale_atoms=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ens = alloygen.sample(strained, T=T, mu={"Au": 0.05}, n=50, sampler="mc")
    assert len(distinct(ens.occ, ens.hamiltonian.lattice, ens.atoms_map)) == len(
        np.unique(ens.occ, axis=0)
    )  # a tetragonal cell has less symmetry


def test_scale(table, emt):
    """References only shift the chemical potentials."""
    _, ens = drawn(table, 200, 1)
    ends = ens.relabel(EMT())
    given = ens.relabel(EMT(), references={"Cu": 0.01, "Au": -0.02})
    shift = np.array([ends.references["Cu"] - 0.01, ends.references["Au"] + 0.02])
    assert np.allclose(given.ensemble.energy - ens.counts @ shift, ends.ensemble.energy)
    none = ens.relabel(EMT(), references=None)
    assert none.references == {} and np.allclose(
        none.ensemble.energy, ends.ensemble.energy + ens.counts @ list(ends.references.values())
    )


def test_a_scan_computes_each_structure_once(table, emt):
    """Every condition as if it were relabelled by itself, the whole scan under the calculator's law, and one warning for all."""
    calls = []

    def counted(atoms):
        calls.append(1)
        atoms.calc = EMT()
        return atoms.get_potential_energy()

    mus = np.array([[0.0, -0.1], [0.0, 0.05]])
    p = [np.exp(-H.condition(T, mu).reduced(table.energy, table.counts)) for mu in mus]
    rows = np.stack([np.random.default_rng(k).choice(256, 300, p=q / q.sum()) for k, q in enumerate(p)])
    log_q = np.stack([np.log(q / q.sum())[row] for q, row in zip(p, rows, strict=True)])
    scan = Scan(
        H,
        np.full(2, T),
        mus,
        table.occ[rows],
        table.energy[rows],
        log_prob=log_q,
        atoms_map=AtomsMap.of_lattice(H.lattice),
    )
    found = scan.relabel(counted)
    assert len(calls) == len(found.structures) <= 16 and sum(s.samples for s in found.structures) == 600
    assert sum(s.weight for s in found.structures) == pytest.approx(1.0)
    for c in range(2):
        alone = scan[c].relabel(EMT())
        assert found[c].difference.value == pytest.approx(alone.difference.value)
        assert {s.hash for s in found[c].structures} == {s.hash for s in alone.structures}
        assert found.scan.free_energy(c).value == pytest.approx(alone.ensemble.free_energy().value)
        assert abs(found.scan.free_energy(c).value - phi(table, emt, mus[c])) < 4 * found.scan.free_energy(c).stderr
    assert len(found.to_pandas()) == 2 and found.to_pandas().difference_stderr.between(0, 0.003).all()
    with pytest.warns(NotLabelled, match=r"up to .* % of the law") as told:
        failed = scan.relabel(Fails())
    assert sum(w.category is NotLabelled for w in told) == 1 and failed.failures
    with pytest.raises(AlloygenError, match="expected an energy of every structure"):
        _ = failed.scan


def test_refit_of_a_difference(table, emt):
    """With fewer structures than ECIs the difference from the expansion is fitted, and what they tell nothing of stays."""
    rows = np.array([0, 1, 3, 255])
    ens = Ensemble(H, table.occ[rows], table.energy[rows], None, T=T, mu=MU, atoms_map=AtomsMap.of_lattice(H.lattice))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = ens.relabel(EMT())
        alloy = found.refit(delta=True)
        with pytest.raises(AlloygenError, match=r"no cutoffs and method as one of .* with start"):
            found.refit(delta=True, method="lasso")
    assert len(alloy.orbits) == len(H.expansion.orbits) > len(found.structures) == 4
    assert [o.name for o in alloy.orbits] == [o.name for o in H.expansion.orbits]
    rms = lambda h: np.sqrt(np.mean((h.energy(table.occ) - emt) ** 2)) / 8  # noqa: E731
    assert rms(alloy.on(H.lattice)) < 0.6 * rms(H)
    assert np.allclose(alloy.fitted.predicted * 8, emt[rows], atol=8 * 3 * alloy.fitted.noise + 1e-6)
    same = alloygen.fit(
        H.lattice.primitive,
        None,
        [s.expected for s in found.structures],
        list(found.atoms()),
        start=H.expansion,
        references=None,
    )
    assert np.allclose(same.ecis, H.expansion.ecis, atol=1e-9)  # nothing to learn


def test_refit(table, emt, tmp_path):
    _, ens = drawn(table, 400, 2)
    found = ens.relabel(EMT())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        alloy = found.refit(cutoffs=(3.9, 2.8), method="bayes")
    on = alloy.on(H.lattice)
    rms = lambda h: np.sqrt(np.mean((h.energy(table.occ) - emt) ** 2)) / 8  # noqa: E731
    assert rms(on) < 0.3 * rms(H)
    path = found.write(tmp_path / "labelled.extxyz")
    import ase.io

    back = ase.io.read(path, ":")
    assert len(back) == len(found.structures)
    assert back[3].get_potential_energy() == pytest.approx(found.structures[3].energy, abs=1e-6)


# ---------------------------------------------------------------------- what goes wrong
class Fails(EMT):
    """EMT that refuses, or has no number for, some compositions."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        gold = atoms.get_chemical_symbols().count("Au")
        if gold == 3:
            raise RuntimeError("no convergence in the cycle")
        if gold == 5:
            self.results["energy"] = np.nan


def test_failures_are_kept_with_their_reasons(table, emt, tmp_path):
    _, ens = drawn(table, 400, 3)
    with pytest.warns(NotLabelled, match=r"no convergence in the cycle"):
        found = ens.relabel(Fails())
    gold = (table.occ == 1).sum(1)
    kept = ~np.isin(gold, (3, 5))
    assert {s.failure for s in found.failures} == {
        "RuntimeError: no convergence in the cycle",
        "expected a finite energy of the whole cell, got nan",
    }
    assert np.array_equal(found.rows, np.flatnonzero(kept[table.index(ens.occ)]))
    assert found.missing == pytest.approx(ens.weights[np.setdiff1d(range(400), found.rows)].sum())
    at = H.condition(T, MU)
    z = [np.exp(-at.reduced(e, table.counts))[kept].sum() for e in (table.energy, emt)]
    exact = -at.kT / 8 * np.log(z[1] / z[0])
    # the difference is of the two laws where there are energies: exact where both are cut off alike
    assert abs(found.difference.value - exact) < 4 * found.difference.stderr
    found.write(tmp_path / "labelled.extxyz")
    assert (tmp_path / "labelled.failed.extxyz").exists()
    assert found.to_pandas().failure.astype(bool).sum() == len(found.failures)


def test_a_run_goes_on_from_its_checkpoint(table, tmp_path):
    _, ens = drawn(table, 100, 4)
    calls = []

    def slow(atoms):
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        atoms.calc = EMT()
        return atoms.get_potential_energy()

    job = alloygen.Job(checkpoint=tmp_path / "run.st", save_every=0)
    with pytest.raises(KeyboardInterrupt):
        ens.relabel(slow, job=job)
    found = ens.relabel(slow, job=job)
    assert len(calls) == len(found.structures) + 1
    assert found.difference == ens.relabel(EMT()).difference
    with pytest.raises(CheckpointError, match="calculator"):
        ens.relabel(EMT(), job=job)


def test_executors_change_no_number(table):
    _, ens = drawn(table, 50, 5)
    with ThreadPoolExecutor(2) as pool:
        shared = ens.relabel(EMT, job=alloygen.Job(executor=pool))
    assert np.array_equal(shared.ensemble.energy, ens.relabel(EMT()).ensemble.energy)


def test_relaxed():
    h = alloygen.data.cuau().on((1, 1, 2))
    occ = np.array([[0, 1], [0, 0]]).repeat(20, 0)
    ens = Ensemble(h, occ, h.energy(occ), None, T=T, atoms_map=AtomsMap.of_lattice(h.lattice))
    plain, found = (ens.relabel(EMT(), relax=relax) for relax in (False, alloygen.Relax("cell", fmax=0.05)))
    assert all(a.energy < b.energy - 0.01 for a, b in zip(found.structures, plain.structures, strict=True))
    assert found.structures[0].strain > 0.01 and plain.structures[0].strain < 1e-9
    with pytest.raises(AlloygenError, match=r"end member Cu2.*not relaxed to 0.02 eV per angstrom in 1 steps"):
        ens.relabel(EMT(), relax=alloygen.Relax("cell", steps=1))
    with pytest.warns(NotLabelled, match="relaxed off its sites by 0.5"):
        assert len(ens.relabel(apart).ensemble) == 20


def apart(atoms):
    """A function that relaxes: mixed cells to where there are no sites."""
    if len(set(atoms.numbers)) > 1:
        atoms.positions[0] += 1.0 * (atoms.positions[1] - atoms.positions[0])
    atoms.calc = SinglePointCalculator(atoms, energy=0.0)
    return atoms


@pytest.mark.parametrize(
    ("calculator", "options", "told"),
    [
        (None, {}, "expected an ASE calculator"),
        (EMT(), {"relax": "volume"}, "expected relax as False.*Relax"),
        (lambda atoms: 0.0, {"relax": "cell"}, "expected relax=False with a function"),
        (EMT(), {"references": {"Cu": 0.0}}, "expected a finite energy of an atom for each"),
        (EMT(), {"references": "pure"}, 'expected references as "ends"'),
        (EMT(), {"job": 3}, "expected job as a Job"),
        (lambda atoms: np.nan, {}, "end member Cu8.*nan"),
        (lambda atoms: atoms[:3], {"references": None}, "expected the 8 atoms .* as given, got 3"),
    ],
)
def test_bad_arguments(table, calculator, options, told):
    _, ens = drawn(table, 5, 7)
    with pytest.raises(AlloygenError, match=told):
        ens.relabel(calculator, **options)


def test_an_element_that_the_calculator_lacks():
    alloy = alloygen.fit(
        bulk("Cu", a=3.7), ["Cu", "W"], lambda a: float((a.numbers == 74).sum()), cutoffs=(2.8,), method="bayes"
    )
    h = alloy.on((2, 2, 1))
    occ = h.random(5, 0)
    ens = Ensemble(h, occ, h.energy(occ), None, T=1000, atoms_map=AtomsMap.of_lattice(h.lattice))
    with pytest.raises(AlloygenError, match=r"end member W4.*No EMT-potential for W"):
        ens.relabel(EMT())


def test_few_effective_samples_are_told(table):
    _, ens = drawn(table, 300, 8)
    with pytest.warns(LowSampleSize, match=r"worth \d\.\d configurations of 300, expected at least 10.*refit") as told:
        found = ens.relabel(lambda atoms: 0.5 * atoms.get_chemical_symbols().count("Cu"), references=None)
        found.ensemble.free_energy(), found.ensemble.mean_energy()
    assert len(told) == 1  # once
