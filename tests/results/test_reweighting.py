"""Samples under another Hamiltonian: weights, free energies and their differences against enumeration; energies from anywhere."""

import warnings
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from small_systems import cuau_16, enumeration, hamiltonian

import alloygen
import alloygen.data
from alloygen.edge.atoms_map import AtomsMap
from alloygen.errors import AlloygenError, LatticeMismatch, LowSampleSize
from alloygen.montecarlo.sampling import replica_exchange
from alloygen.results.ensemble import Ensemble
from alloygen.results.scan import Scan

T, MU = 700.0, np.array([0.0, 0.02])


@cache
def figures() -> np.ndarray:
    """Correlation functions (65536, K) of every configuration of 16 sites."""
    return cuau_16().hamiltonian.correlations(cuau_16().occ)


def law(ecis: np.ndarray, T: float = T, mu: np.ndarray = MU) -> tuple[np.ndarray, float, np.ndarray]:
    """(probabilities, Phi, energies) of every configuration of 16 sites by these ECIs."""
    table = cuau_16().with_energies(16 * figures() @ ecis)
    exact = table.at(table.hamiltonian.condition(T, mu))
    return exact.probabilities, exact.phi, table.energy


def drawn(n: int, seed: int, likelihood: bool = True, T: float = T) -> Ensemble:
    """Exact draws of CuAu."""
    table = cuau_16()
    p = law(alloygen.data.cuau().ecis, T)[0]
    rows = np.random.default_rng([seed, 1]).choice(len(p), n, p=p)
    log_prob = np.log(p[rows]) if likelihood else None
    return Ensemble(table.hamiltonian, table.occ[rows], table.energy[rows], log_prob, T=T, mu=MU, method="exact")


def off(share: float, seed: int) -> np.ndarray:
    """ECIs that are each wrong by a random relative error."""
    ecis = alloygen.data.cuau().ecis
    return ecis * (1 + share * np.random.default_rng([seed, 2]).normal(size=len(ecis)))


@pytest.mark.parametrize("likelihood", [True, False])
def test_random_ecis_have_the_free_energy_of_enumeration(likelihood):
    """Every ECI off by 5, 10 and 20 %: z-scores of Phi' - Phi, the truth of the effective share, and what the old weights would say."""
    alloy = alloygen.data.cuau()
    old = law(alloy.ecis)
    z, naive, shares = [], [], []
    for share, seed in [(s, k) for s in (0.05, 0.1, 0.2) for k in range(8)]:
        ecis = off(share, seed)
        p, phi, _ = law(ecis)
        ens = drawn(400, seed, likelihood)
        new = ens.reweighted(alloy.with_ecis(ecis))
        assert (
            np.allclose(new.energy, new.hamiltonian.energy(new.occ))
            and new.hamiltonian.lattice is ens.hamiltonian.lattice
        )
        found = new.free_energy_difference()
        if likelihood:
            assert found.value == pytest.approx(new.free_energy().value - ens.free_energy().value, abs=1e-12)
            assert found.value - (phi - old[1]) == pytest.approx(
                new.free_energy().value - phi, abs=1e-9
            )  # exact draws: Phi is
        z.append((found.value - (phi - old[1])) / found.stderr)
        naive.append((found.value - 0.5 * (phi - old[1])) / found.stderr)
        shares.append(new.ness - 1 / (p**2 / old[0]).sum())
    assert 0.75 < np.std(z) < 1.3 and abs(np.mean(z)) < 0.5
    assert np.std(naive) > 3
    assert abs(np.mean(shares)) < 0.02


def test_the_difference_knows_what_both_free_energies_share():
    """Draws of a rough law: the error of the difference, by its spread over seeds, and far below the two bars in quadrature."""
    alloy, table = alloygen.data.cuau(), cuau_16()
    p, q, ecis = law(alloy.ecis)[0], law(alloy.ecis, 900.0)[0], off(0.05, 3)
    truth = law(ecis)[1] - law(alloy.ecis)[1]
    z, ratio = [], []
    for seed in range(20):
        rows = np.random.default_rng(seed).choice(len(p), 300, p=q)
        ens = Ensemble(table.hamiltonian, table.occ[rows], table.energy[rows], np.log(q[rows]), T=T, mu=MU)
        new = ens.reweighted(alloy.with_ecis(ecis))
        found = new.free_energy_difference()
        z.append((found.value - truth) / found.stderr)
        ratio.append(found.stderr / np.hypot(new.free_energy().stderr, ens.free_energy().stderr))
    assert 0.6 < np.std(z) < 1.45 and max(ratio) < 0.7
    half = new[:150]
    assert half.free_energy_difference().value != found.value and len(half.origin) == 150
    with pytest.raises(AlloygenError, match="expected samples that were reweighted"):
        new.resample(10).free_energy_difference()


def test_annealing_evens_what_plain_weights_cannot():
    """CuAu at 500 K to ECIs off by three fifths: the effective share rises from less than .1, and Phi is right; uneven weights are told."""
    alloy, ecis, cold = alloygen.data.cuau(), off(0.6, 1), 500.0
    ens, phi, before = drawn(300, 0, T=cold), law(ecis, cold)[1], law(alloy.ecis, cold)[1]
    with pytest.warns(LowSampleSize, match="then=alloygen.Anneal"):
        plain = ens.reweighted(alloy.with_ecis(ecis))
    told = (
        r"60 samples are worth \d\.\d independent ones .*at least 10\): nothing of it is known. To mend it anneal to it"
    )
    with pytest.warns(LowSampleSize, match=told):
        ens[:60].reweighted(alloy.with_ecis(ecis))
    made = ens.reweighted(alloy.with_ecis(ecis), then=alloygen.Anneal(effort=0.2))
    assert plain.ness < 0.1 and made.ness > 0.5 and made.info["ness_before"] == pytest.approx(plain.ness)
    assert np.allclose(made.energy, made.hamiltonian.energy(made.occ)) and (made.occ != ens.occ).any()
    assert abs(made.free_energy().value - phi) < 3.5 * made.free_energy().stderr < 1e-3
    chain = drawn(300, 0, likelihood=False, T=cold).reweighted(alloy.with_ecis(ecis), then=alloygen.Anneal(effort=0.2))
    known = chain.free_energy_difference()
    assert abs(known.value - phi + before) < 3.5 * known.stderr and chain.observed == {}


# ---------------------------------------------------------------------- scans
MUS = np.array([[0.0, -0.05], [0.0, 0.08]])


@cache
def ladder() -> Scan:
    h = hamiltonian("cuau-2x2x2")
    return replica_exchange(h, h.grid([600.0, 900.0], MUS), ladder=[1600.0, float("inf")], n=400, seed=1, check=False)


def small(ecis, T: float, mu) -> tuple[float, float]:
    """Phi and energy per site of 8 sites by these ECIs."""
    table = enumeration("cuau-2x2x2")
    exact = table.with_energies(8 * table.hamiltonian.correlations(table.occ) @ ecis).at(
        table.hamiltonian.condition(T, mu)
    )
    return exact.phi, exact.energy


def test_monte_carlo_scans_know_another_hamiltonian_by_all_their_samples():
    scan, alloy = ladder(), alloygen.data.cuau()
    new = scan.reweighted(alloy.with_ecis(ecis := off(0.1, 7)))
    assert new.origin is scan and new.absolute and len(new.to_pandas()) == 4
    for c in range(4):
        phi, energy = small(ecis, new.T[c], new.mu[c])
        before = small(alloy.ecis, new.T[c], new.mu[c])
        f, d, e = new.free_energy(c), new.free_energy_difference(c), new[c].mean_energy()
        assert abs(f.value - phi) < 4 * f.stderr and abs(e.value - energy) < 4 * e.stderr
        assert abs(d.value - phi + before[0]) < 4 * d.stderr < 3 * f.stderr
        assert abs(f.value - before[0]) > 8 * d.stderr  # the old law is far off
        s, of = new[c].entropy(), (energy - new[c].composition("Au").value * new.mu[c, 1] - phi) / new.T[c]
        assert abs(s.value - of) < 6 * s.stderr
        assert new[c].effective_samples > 400
    part = new.subset([2, 0])
    assert part.free_energy(1).value == pytest.approx(new.free_energy(0).value, abs=1e-4)
    assert np.sqrt(np.diag(new.free_energy_covariance())) == pytest.approx(
        [new.free_energy(c).stderr for c in range(4)], rel=0.2
    )
    assert np.isfinite(new.phase_diagram(T=[600.0, 700.0, 900.0]).f).all()
    same = scan.reweighted(alloy)
    assert same.free_energy(0).value == pytest.approx(scan.free_energy(0).value, abs=1e-9)
    assert same.free_energy_difference(0).value == pytest.approx(0.0, abs=1e-12)


def test_ecis_that_depend_on_temperature():
    """F(T, x) of the law of each T against enumeration; one law for all temperatures is off."""
    scan, alloy = ladder(), alloygen.data.cuau()
    ecis_at = lambda t: alloy.ecis * (1 - 8e-4 * t)  # noqa: E731  # softer as it gets hot
    T = [600.0, 900.0]
    found, plain = scan.free_energies(T, law=ecis_at), scan.free_energies(T)
    table = enumeration("cuau-2x2x2")
    figures, gold = table.hamiltonian.correlations(table.occ), (table.occ == 1).sum(1)
    z, apart = [], []
    for t in T:
        u = -8 * figures @ ecis_at(t) / (table.hamiltonian.kB * t)
        for n in range(1, 8):
            exact = -table.hamiltonian.kB * t * np.log(np.exp(u[gold == n]).sum()) / 8
            f, g = (x.sel(T=t, n=n) for x in (found, plain))
            z.append((f.free_energy - exact) / f.free_energy_stderr)
            apart.append(abs(g.free_energy - exact) / f.free_energy_stderr)
    assert np.abs(z).max() < 4 and np.median(apart) > 4
    assert list(found.sizes) == list(plain.sizes) and set(found.data_vars) == set(plain.data_vars)
    assert len(scan.phase_diagram(T, law=lambda t: alloy.with_ecis(ecis_at(t))).T) == 2
    for law, told in ((alloy, "as a function of T"), (lambda t: alloy.ecis[:3], r"law\(600\) as 11 finite ECIs")):
        with pytest.raises(AlloygenError, match=told):
            scan.free_energies(T, law=law)


def test_scans_refuse_what_would_be_wrong_of_reweighted_samples():
    scan, alloy = ladder(), alloygen.data.cuau()
    with pytest.raises(AlloygenError, match=r"expected the energy that this scan was drawn with.*scan.reweighted"):
        replace(scan, energy=0.9 * scan.energy)
    with pytest.raises(AlloygenError, match="conditions of a ladder, which only an expansion"):
        scan.reweighted(scan.energy)
    new = scan.reweighted(alloy.with_ecis(0.95 * alloy.ecis))
    for what in (
        lambda: new.mbar,
        lambda: new.branches,
        lambda: new.convergence,
        lambda: new.reweighted(alloy),
        lambda: Scan.concatenate([new, new]),
    ):
        with pytest.raises(AlloygenError, match="expected"):
            what()
    with pytest.raises(AlloygenError, match="likelihood to anneal a scan"):
        scan.reweighted(alloy, then=alloygen.Anneal())
    with pytest.raises(AlloygenError, match="expected samples that were reweighted"):
        scan.free_energy_difference(0)


def test_scans_with_a_likelihood_are_reweighted_condition_by_condition():
    table, alloy = cuau_16(), alloygen.data.cuau()
    parts = [drawn(100, k) for k in range(2)]
    gather = lambda name: np.stack([getattr(p, name) for p in parts])  # noqa: E731
    scan = Scan(
        table.hamiltonian,
        np.array([T, T]),
        np.stack([MU, MU]),
        gather("occ"),
        gather("energy"),
        log_prob=gather("log_prob"),
    )
    new = scan.reweighted(alloy.with_ecis(off(0.1, 1)))
    alone = parts[1].reweighted(alloy.with_ecis(off(0.1, 1)))
    assert new.free_energy(1) == alone.free_energy() and new.free_energy_difference(1) == alone.free_energy_difference()
    assert np.allclose(scan.reweighted(new.energy).log_prob, scan.log_prob)
    made = scan.reweighted(alloy.with_ecis(off(0.1, 1)), then=alloygen.Anneal(effort=0.04))
    assert made[0].ness > new[0].ness and made.subset([1]).free_energy(0).value == pytest.approx(
        made.free_energy(1).value
    )


# ---------------------------------------------------------------------- calculators and bad input
class Spoilt(Calculator):
    """An energy of nan for what is mixed."""

    implemented_properties = ("energy",)

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": np.nan if len(set(atoms.numbers)) > 1 else 0.0}


def of_atoms(n: int = 6) -> Ensemble:
    h = hamiltonian("cuau-2x2x2")
    occ = h.random(n, 0)
    return Ensemble(h, occ, h.energy(occ), None, T=1500.0, atoms_map=AtomsMap.of_lattice(h.lattice))


def test_calculators_are_asked_once_for_each_structure_and_put_on_the_scale_of_the_expansion():
    ens, calls = of_atoms(), []
    ens = ens[[0, 1, 1, 2]]

    class Counted(EMT):
        def calculate(self, *args, **options):
            calls.append(1)
            super().calculate(*args, **options)

    new = ens.reweighted(Counted())
    total = []
    for atoms in [*ens.atoms, bulk("Cu", a=ens.atoms[0].cell[0, 1]), bulk("Au", a=ens.atoms[0].cell[0, 1])]:
        atoms.calc = EMT()
        total.append(atoms.get_potential_energy())
    assert len(calls) == len({s.hash for s in ens.relabel(EMT()).structures}) < 6
    h = ens.hamiltonian
    ends = h.energy(np.array([[0] * 8, [1] * 8])) / 8
    off = np.array(total[4:]) - ends  # of an atom, where the pure cells have the energies of the expansion
    assert np.allclose(new.energy, total[:4] - ens.counts @ off, atol=1e-6)
    assert np.abs(new.energy - total[:4]).max() > 0.1


@pytest.mark.parametrize("kind", ["an expansion that remembers no fit", "one fitted to the calculator"])
def test_energies_of_a_calculator_have_one_scale(kind):
    """However they are asked for, and whatever references the fit took off."""
    ens = of_atoms()
    if kind != "an expansion that remembers no fit":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            alloy = ens.relabel(EMT()).refit(cutoffs=(2.8,), method="bayes", references="ends")
        h = alloy.on((2, 2, 2))
        assert max(map(abs, alloy.fitted.references.values())) > 1e-3
        ens = Ensemble(h, ens.occ, h.energy(ens.occ), None, T=1500.0, atoms_map=AtomsMap.of_lattice(h.lattice))
    mixed = ens.reweighted(EMT()).energy
    assert np.array_equal(mixed, ens.relabel(EMT()).ensemble.energy)
    ends = np.array([[0] * 8, [1] * 8])
    pure = Ensemble(ens.hamiltonian, ends, ens.hamiltonian.energy(ends), None, T=1500.0, atoms_map=ens.atoms_map)
    assert np.allclose(pure.reweighted(EMT()).energy, pure.energy, atol=1e-9)


def test_other_energies_that_cannot_be_are_refused_by_name():
    ens, alloy = of_atoms(), alloygen.data.cuau()
    pd = alloygen.ClusterExpansion.from_dict(
        {**alloy.to_dict(), "primitive": {**alloy.primitive.to_dict(), "species": [["Cu", "Mn"]]}}
    )
    with pytest.raises(LatticeMismatch, match="species in the same order"):
        ens.reweighted(pd)
    with pytest.raises(LatticeMismatch, match="on the sites of the samples"):
        ens.reweighted(alloy.on((2, 2, 4)))
    strange = Ensemble(
        pd.on((2, 2, 2)), ens.occ, ens.energy, None, T=900.0, atoms_map=AtomsMap.of_lattice(pd.on((2, 2, 2)).lattice)
    )
    with pytest.raises(AlloygenError, match=r"end member Mn8.*got NotImplementedError.*knows Cu, Mn"):
        strange.reweighted(EMT())
    with pytest.raises(
        AlloygenError, match=r"energy of Spoilt for sample [0-5], .*finite energy.*keeps what fails apart"
    ):
        ens.reweighted(Spoilt())
    with pytest.raises(AlloygenError, match="know their Atoms"):
        replace(ens, atoms_map=None).reweighted(EMT())
    with pytest.raises(AlloygenError, match="nan or infinite, the first at index 2"):
        ens.reweighted([0.0, 0.0, np.nan, 0.0, 0.0, 0.0])
    with pytest.raises(AlloygenError, match="expected a Hamiltonian"):
        ens.reweighted("no such thing")
    with pytest.raises(AlloygenError, match="which goes from one Hamiltonian"):
        ens.reweighted(alloy, then=alloygen.Flips())
    with pytest.raises(AlloygenError, match="an expansion or a Hamiltonian with then="):
        ens.reweighted(ens.energy, then=alloygen.Anneal())
    with pytest.raises(AlloygenError, match="in eV for an ASE calculator"):
        Ensemble(alloygen.ising(3), np.zeros((2, 9)), np.zeros(2), None, T=3.0).reweighted(EMT())


def test_held_sites_and_compositions_stay_while_samples_are_annealed():
    atoms, alloy = bulk("Cu", a=3.8).repeat((2, 2, 2)), alloygen.data.cuau()
    held = alloygen.mc(atoms, T=[900.0], mu={"Au": 0.0}, n=40, fixed={0: "Au"}, seed=0, check=False)[0]
    made = held.reweighted(alloy.with_ecis(0.7 * alloy.ecis), then=alloygen.Anneal(effort=0.02))
    site = held.atoms_map.site[0]
    assert (made.occ[:, site] == 1).all() and (made.occ != held.occ).any()
