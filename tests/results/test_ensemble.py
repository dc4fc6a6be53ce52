"""Ensembles of draws from exactly known laws on CuAu 2x2x4 (16 sites, 65536 states) at uneven chemical potentials."""

from dataclasses import replace

import ase.io
import numpy as np
import pytest
import torch
from ase.build import bulk
from small_systems import cuau_16

from alloygen import data
from alloygen.edge.match import match
from alloygen.errors import AlloygenError, BadCondition, LowSampleSize, UnknownSpecies
from alloygen.estimate.result import Estimate
from alloygen.exact.enumeration import Enumeration
from alloygen.hamiltonian.expansion import ClusterExpansion, Orbit
from alloygen.hamiltonian.ising import ising
from alloygen.lattice import Primitive
from alloygen.montecarlo.sampling import replica_exchange
from alloygen.results.ensemble import Ensemble
from alloygen.results.provenance import Provenance
from alloygen.results.scan import Scan

T, MU = 700.0, np.array([0.01, 0.04])  # the target; dmu = 0.03 eV
T_Q, MU_Q = 850.0, np.array([0.0, 0.01])  # the law that is drawn from


class Map:
    """A stand-in for the map between sites and Atoms."""

    def to_atoms(self, row):
        atoms = bulk("Cu", a=3.8).repeat((2, 2, 4))
        atoms.symbols = [("Cu", "Au")[int(s)] for s in row]
        return atoms


@pytest.fixture(scope="module")
def table():
    return cuau_16()


@pytest.fixture(scope="module")
def exact(table):
    return table.at(table.hamiltonian.condition(T, MU))


@pytest.fixture(scope="module")
def laws(table, exact):
    return {"p": exact.probabilities, "q": table.at(table.hamiltonian.condition(T_Q, MU_Q)).probabilities}


def draw(table, law, n, seed, **fields):
    rows = np.searchsorted(np.cumsum(law), np.random.default_rng(seed).random(n)).clip(max=len(law) - 1)
    log_prob = np.log(law[rows])
    fields = {"T": T, "mu": MU, "log_prob": log_prob, "method": "exact", "atoms_map": Map(), **fields}
    return Ensemble(table.hamiltonian, table.occ[rows], table.energy[rows], **fields)


# ---------------------------------------------------------------------- q = p
def test_draws_from_the_target_give_the_exact_phi(table, laws, exact):
    ens = draw(table, laws["p"], 200, 0)
    assert ens.ness == pytest.approx(1.0, abs=1e-12)
    assert ens.effective_samples == pytest.approx(200)
    assert ens.free_energy().value == pytest.approx(exact.phi, abs=1e-13)
    assert ens.free_energy().stderr == pytest.approx(ens.kT / 16 / 200, rel=1e-3)  # what 200 draws cannot show
    assert ens.weights == pytest.approx(1 / 200)
    assert ens.log_weight.dtype == ens.energy.dtype == np.float64 and ens.occ.dtype == np.int8
    assert ens.log_weight == pytest.approx(exact.log_z)


# ---------------------------------------------------------------------- calibration
def z_scores(make, exact, repeats=300):
    """Standard scores of four estimates over independent ensembles, {name: (repeats,)}."""
    truth = {
        "phi": exact.phi,
        "composition": exact.composition[1],
        "energy": exact.energy,
        "capacity": exact.heat_capacity,
    }
    z = {name: [] for name in truth}
    for seed in range(repeats):
        ens = make(seed)
        found = {"composition": ens.composition("Au"), "energy": ens.mean_energy(), "capacity": ens.heat_capacity()}
        if ens.has_likelihood:
            found["phi"] = ens.free_energy()
        for name, e in found.items():
            z[name].append((e.value - truth[name]) / e.stderr)
    return {name: np.array(v) for name, v in z.items() if v}


def calibrated(z):
    return abs(z.mean()) < 0.25 and 0.8 < z.std() < 1.25


@pytest.mark.slow
def test_weighted_estimates_are_calibrated(table, laws, exact):
    z = z_scores(lambda seed: draw(table, laws["q"], 2000, seed), exact)
    assert set(z) == {"phi", "composition", "energy", "capacity"}
    assert {name: calibrated(v) for name, v in z.items()} == dict.fromkeys(z, True), z


@pytest.mark.slow
def test_plain_estimates_are_calibrated(table, laws, exact):
    z = z_scores(lambda seed: draw(table, laws["p"], 2000, seed, log_prob=None, method="mc"), exact)
    assert set(z) == {"composition", "energy", "capacity"}
    assert {name: calibrated(v) for name, v in z.items()} == dict.fromkeys(z, True), z


def test_resampled_estimates_are_calibrated(table, laws, exact):
    z = z_scores(lambda seed: draw(table, laws["q"], 1000, seed).resample(1500, seed=seed), exact, repeats=200)
    assert calibrated(z["composition"]) and calibrated(z["energy"]), z


@pytest.mark.parametrize("mistake", ["wrong sign of mu", "stale likelihood", "no weights"])
def test_mistakes_do_not_pass_as_calibrated(table, laws, exact, mistake):
    """The negative control: the same check goes red when the weights are wrong."""

    def make(seed):
        ens = draw(table, laws["q"], 2000, seed)
        if mistake == "wrong sign of mu":
            return replace(ens, mu=-MU)
        if mistake == "no weights":
            return replace(ens, log_prob=None)
        stale = table.at(table.hamiltonian.condition(T_Q + 100, MU_Q)).probabilities[table.index(ens.occ)]
        return replace(ens, log_prob=np.log(stale))

    found = z_scores(make, exact, repeats=40)
    names = {"phi", "composition", "energy"} & set(found)
    assert len(names) == 3 - (mistake == "no weights")
    assert [name for name in names if calibrated(found[name])] == []


# ---------------------------------------------------------------------- Monte Carlo
def test_monte_carlo_carries_no_likelihood(table, laws):
    ens = draw(table, laws["p"], 100, 0, log_prob=None, method="mc", facts=Provenance(inefficiency=4.0))
    for ask in (lambda: ens.log_weight, lambda: ens.ness, ens.free_energy):
        with pytest.raises(
            AlloygenError, match=r'Monte Carlo samples carry no likelihood.*sampler="neural".*alloygen\.mc'
        ):
            ask()
    assert ens.weights == pytest.approx(0.01)
    assert ens.effective_samples == 25.0
    once = replace(ens, facts=Provenance())
    for name in ("mean_energy", "heat_capacity"):
        assert getattr(ens, name)().stderr == pytest.approx(2 * getattr(once, name)().stderr, rel=0.03)
    known = replace(ens, facts=Provenance(free_energy=Estimate(-0.05, 0.001)))
    assert known.free_energy() == Estimate(-0.05, 0.001)


# ---------------------------------------------------------------------- composition
def test_composition_counts_exchangeable_sites_only():
    """C sits on a ternary sublattice, a binary one and a fixed one: only the first two count."""
    primitive = Primitive(np.eye(3), [[0, 0, 0], [0.5, 0, 0], [0, 0.5, 0]], [("A", "B", "C"), ("C",), ("C", "D")])
    orbit = Orbit("point", 0.0, [[(0, 0, 0, 0)]], [[0]], [1.0])
    h = ClusterExpansion(primitive, [[1.0, 0.0, 2.0, -1.0]], (orbit,), kB=1.0).on((2, 1, 1))
    occ = torch.tensor([[2, 0, 0, 0, 0, 1]] * 60)  # A/B/C: C then A; C/D: C then D
    ens = Ensemble(h, occ, h.energy(occ), None, T=1.0)
    assert ens.composition("C").value == pytest.approx(2 / 4)
    assert ens.composition("A").value == pytest.approx(1 / 4)
    assert ens.composition("B").value == 0.0
    assert sum(ens.composition(e).value for e in h.elements) == pytest.approx(1.0)
    with pytest.raises(UnknownSpecies, match="got 'Xe'"):
        ens.composition("Xe")


NOTHING = Orbit("point", 0.0, [[(0, 0, 0, 0)]], [[0]], [1.0])
LATTICES = {  # species of the sublattices; x_In or what stands for it per exchangeable site, per atom, per sublattice
    "one": ([("Ga", "In")], 1.0, 1.0, {0: 1.0}),
    "rocksalt": ([("Ga", "In"), ("O",)], 1.0, 0.5, {0: 1.0}),
    "both": ([("Ga", "In"), ("As", "Sb")], 0.5, 0.5, {0: 1.0}),
    "hcp": ([("Ga", "In"), ("In", "Ga")], 1.0, 1.0, {0: 1.0, 1: 1.0}),
    "vacancies": ([("In", "Ga"), ("X", "O")], 0.5, 1.0, {0: 1.0}),
    "spectators alike": ([("Ga", "In"), ("In",), ("O",)], 1.0, 2 / 3, {0: 1.0, 1: 1.0}),
}


@pytest.mark.parametrize("name", LATTICES)
def test_composition_per_sites_atoms_and_sublattice(name):
    """In wherever it may be, and the first species of other sublattices: 0.5, 1 or what the atoms say."""
    species, sites, atoms, sublattices = LATTICES[name]
    basis = np.linspace(0, 0.8, len(species))[:, None] * np.ones(3)
    primitive = Primitive(np.eye(3), basis, species)
    h = ClusterExpansion(primitive, [np.ones(len(primitive.elements))], (NOTHING,), kB=1.0).on((2, 1, 1))
    occ = torch.tensor([[names.index("In") if "In" in names else 0 for names in species] * 2] * 16)
    scan = Scan(
        h, np.array([1.0]), np.zeros((1, len(h.elements))), occ[None].numpy().astype(np.int8), np.zeros((1, 16))
    )
    ens = scan[0]
    assert ens.composition("In").value == ens.composition("In", "exchangeable").value == sites
    assert ens.composition("In", per="atoms").value == pytest.approx(atoms)
    assert {b: ens.composition("In", per=b).value for b in sublattices} == sublattices
    every = [e for e in h.elements if e != "X"]
    assert sum(ens.composition(e, "atoms").value for e in every) == pytest.approx(1.0)
    data = scan.to_xarray()
    assert data["x_In"].attrs["long_name"] == "fraction of the exchangeable sites that hold In"
    assert ("x_In_per_atom" in data) == (name in ("rocksalt", "vacancies", "spectators alike"))
    assert ("x_In_on_0" in data) == (name in ("both", "vacancies"))
    if "x_In_on_0" in data:
        assert (
            float(data["x_In_on_0"][0]) == 1.0 and "sublattice 0 that hold In" in data["x_In_on_0"].attrs["long_name"]
        )


def test_mole_fractions_where_the_number_of_atoms_changes():
    """<N_Ga> / <N_atoms> over weighted samples, its error against the scatter of many runs."""
    primitive = Primitive(np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], [("In", "Ga"), ("X", "O")])
    h = ClusterExpansion(primitive, [np.ones(4)], (NOTHING,), kB=1.0).on((2, 2, 1))
    runs = []
    for seed in range(300):
        occ = torch.rand(200, 8, generator=torch.Generator().manual_seed(seed)) < torch.tensor([0.3, 0.4] * 4)
        runs.append(Ensemble(h, occ.long(), torch.zeros(200), None, T=1.0).composition("Ga", per="atoms"))
    value, stderr = np.array([(r.value, r.stderr) for r in runs]).T
    assert value.mean() == pytest.approx(0.3 * 4 / (4 + 1.6), abs=2e-3)
    assert value.std() / stderr.mean() == pytest.approx(1.0, abs=0.15)


def test_a_composition_of_what_is_not_there_is_refused():
    primitive = Primitive(np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], [("In", "Ga"), ("X", "O")])
    h = ClusterExpansion(primitive, [np.ones(4)], (NOTHING,), kB=1.0).on((2, 1, 1))
    ens = Ensemble(h, torch.zeros(3, 4, dtype=torch.long), torch.zeros(3), None, T=1.0)
    with pytest.raises(UnknownSpecies, match="got the vacancy 'X'"):
        ens.composition("X", per="atoms")
    with pytest.raises(UnknownSpecies, match=r"element of sublattice 0, \('In', 'Ga'\), got 'O'"):
        ens.composition("O", per=0)
    for per in ("site", 2, -1, 0.5, None):
        with pytest.raises(AlloygenError, match="expected per"):
            ens.composition("In", per=per)


# ---------------------------------------------------------------------- what belongs to the samples
def test_a_copy_with_other_data_keeps_no_weights():
    """Equal weights, Phi and error bars are those of the law that was sampled; facts beside them may change."""
    scan = replica_exchange(ising(3), ising(3).grid([2.5, 5.0, np.inf]), n=400, seed=0, check=False)
    ens = scan[0]
    for changed in (
        {"energy": ens.energy + 0.1},
        {"T": 2.6},
        {"mu": [0.0, 0.3]},
        {"occ": 1 - ens.occ},
        {"hamiltonian": ising(3, h=0.2)},
    ):
        with pytest.raises(AlloygenError, match=f"expected the {next(iter(changed))}.* drawn with.*reweighted"):
            replace(ens, **changed)
    assert replace(ens, energy=ens.energy.copy(), method="the same").free_energy() == ens.free_energy()
    assert len(replace(ens, info={"note": 1})) == 400
    for name, value in {
        "energy": scan.energy + 0.1,
        "T": scan.T * 1.1,
        "mu": scan.mu + 0.1,
        "occ": 1 - scan.occ,
    }.items():
        with pytest.raises(AlloygenError, match=f"expected the {name}.* this scan was drawn with"):
            replace(scan, **{name: value})
    assert replace(scan, method="again")[0].free_energy().value == ens.free_energy().value
    assert scan.subset([0, 2]).T.tolist() == [2.5, np.inf]


def test_a_copy_of_weighted_samples_takes_other_energies_but_no_other_samples(table, laws):
    ens = draw(table, laws["q"], 200, 0)
    moved = replace(ens, energy=ens.energy + 1.6)
    assert moved.free_energy().value == pytest.approx(ens.free_energy().value + 1.6 / ens.n_sites)
    with pytest.raises(AlloygenError, match="expected the occ"):
        replace(ens, occ=1 - ens.occ)


@pytest.mark.parametrize("likelihood", [True, False])
def test_reweighted_samples_follow_the_other_law(likelihood):
    """T, field and energies are changed at once; averages and Phi against enumeration, over seeds."""
    h, other = ising(3, h=0.1), ising(3, h=0.25)
    table, truth = Enumeration(h), Enumeration(other).at(other.condition(3.4, [0.0, 0.2]))
    p, z = table.at(table.hamiltonian.condition(3.0)).probabilities, []
    for seed in range(30):
        rows = np.random.default_rng(seed).choice(len(p), 1000, p=p)
        occ = table.occ[rows]
        facts = Provenance(free_energy=Estimate(table.at(table.hamiltonian.condition(3.0)).phi, 0.0))
        ens = Ensemble(
            h,
            occ,
            h.energy(occ),
            np.log(p[rows]) if likelihood else None,
            T=3.0,
            facts=Provenance() if likelihood else facts,
        )
        new = ens.reweighted(other.energy(occ), T=3.4, mu={"+": 0.2})
        assert new.T == 3.4 and new.mu.tolist() == [0.0, 0.2]
        pairs = [
            (new.mean_energy(), truth.energy),
            (new.composition("+"), truth.composition[1]),
            (new.free_energy(), truth.phi),
        ]
        z.append([(e.value - t) / e.stderr for e, t in pairs])
    z = np.array(z)
    assert np.abs(z.mean(0)).max() < 0.7 and 0.6 < z.std() < 1.4
    same = ens.reweighted()
    assert same.mean_energy().value == pytest.approx(ens.mean_energy().value)
    assert same.free_energy().value == pytest.approx(ens.free_energy().value)
    with pytest.raises(AlloygenError, match=r"energies of shape \(1000,\), got shape \(3,\)"):
        ens.reweighted([1.0, 2.0, 3.0])
    with pytest.raises(BadCondition, match="temperature"):
        ens.reweighted(T=-1)


def test_what_is_not_known_of_the_old_law_is_not_known_of_the_new():
    ens = replica_exchange(ising(3), ising(3).grid([2.5, 5.0]), n=200, seed=0, check=False)[0]
    with pytest.raises(AlloygenError, match="known up to a factor"):
        ens.reweighted(T=2.6).free_energy()


# ---------------------------------------------------------------------- parts
def test_subsets(table, laws):
    ens = draw(table, laws["q"], 100, 0)
    assert len(ens) == 100 and len(ens[3]) == 1 and len(ens[10:20]) == 10 and len(ens[[1, 5]]) == 2
    assert np.array_equal(ens[10:20].log_weight, ens.log_weight[10:20])
    assert len(ens[ens.energy < np.median(ens.energy)]) == int((ens.energy < np.median(ens.energy)).sum())
    assert np.array_equal(ens[-1].occ[0], ens.occ[99])
    with pytest.raises(IndexError):
        ens[100]


def test_resample_is_seeded_and_keeps_the_free_energy(table, laws):
    ens = draw(table, laws["q"], 500, 0)
    a, b, c = ens.resample(50, seed=1), ens.resample(50, seed=1), ens.resample(50, seed=2)
    assert np.array_equal(a.occ, b.occ) and not np.array_equal(a.occ, c.occ)
    assert a.log_prob is None and a.free_energy() == ens.free_energy()
    assert a.inefficiency == pytest.approx(1 + 50 / ens.effective_samples)


def test_low_sample_size_warns_at_the_user(table, laws):
    with pytest.warns(LowSampleSize, match="Draw more") as caught:
        draw(table, laws["q"], 20, 0).free_energy()
    assert caught[0].filename.endswith("test_ensemble.py")


def test_repr_says_what_it_is(table, laws):
    text = repr(draw(table, laws["p"], 100, 0))
    assert text == "Ensemble('exact', n=100, T=700, mu={'Cu': 0.01, 'Au': 0.04}, NESS=1.000)"
    assert "100 equal weights" in repr(draw(table, laws["p"], 100, 0, log_prob=None))


def test_wrong_shapes_are_refused(table):
    h, occ = table.hamiltonian, table.occ[:4]
    with pytest.raises(AlloygenError, match=r"energy of shape \(4,\)"):
        Ensemble(h, occ, torch.zeros(3), None, T=1.0)
    with pytest.raises(AlloygenError, match=r"log_prob of shape \(4,\)"):
        Ensemble(h, occ, torch.zeros(4), torch.zeros(4, 1), T=1.0)
    with pytest.raises(BadCondition, match="Cu"):
        Ensemble(h, occ, torch.zeros(4), None, T=1.0, mu=[0.0])
    with pytest.raises(BadCondition, match="above 0"):
        Ensemble(h, occ, torch.zeros(4), None, T=0.0)


# ---------------------------------------------------------------------- structures
def test_atoms_carry_what_is_known(table, laws):
    ens = draw(table, laws["q"], 5, 0)
    atoms = ens.atoms[2]
    assert [("Cu", "Au").index(s) for s in atoms.symbols] == ens.occ[2].tolist()
    assert atoms.get_potential_energy() == float(ens.energy[2])
    assert atoms.info == {
        "T": T,
        "mu_Cu": 0.01,
        "mu_Au": 0.04,
        "log_prob": float(ens.log_prob[2]),
        "log_weight": float(ens.log_weight[2]),
    }
    assert len(ens.atoms) == len(list(ens.atoms)) == 5 and len(ens.atoms[1:3]) == 2
    assert str(ens.atoms[-1].symbols) == str(ens.atoms[4].symbols)
    with pytest.raises(IndexError):
        ens.atoms[5]
    assert "log_prob" not in replace(ens, log_prob=None).atoms[0].info
    with pytest.raises(AlloygenError, match="atoms_map"):
        len(replace(ens, atoms_map=None).atoms)


def test_atoms_of_a_real_map_follow_the_callers_order(table, laws):
    """The caller's Atoms are shuffled and stretched: each configuration has the energy of its own occupations."""
    atoms = bulk("Cu", a=3.7).repeat((2, 2, 4))
    atoms = atoms[np.random.default_rng(0).permutation(16)]
    atoms_map = match(atoms, data.cuau().primitive)
    h = data.cuau().on(atoms_map.lattice)
    occ = h.random(20, torch.Generator().manual_seed(0))
    ens = Ensemble(h, occ, h.energy(occ), None, T=T, mu=MU, atoms_map=atoms_map)
    for made, energy in zip(ens.atoms, ens.energy.tolist(), strict=True):
        assert np.allclose(made.positions, atoms.positions)
        assert made.get_potential_energy() == energy
        assert float(h.energy(torch.from_numpy(atoms_map.occ_from(made))[None])[0]) == energy


def test_written_ensembles_reweight_from_the_file(table, laws, tmp_path):
    ens = draw(table, laws["q"], 200, 0)
    read = ase.io.read(ens.write(tmp_path / "configs.extxyz"), ":")
    occ = torch.tensor([[("Cu", "Au").index(s) for s in a.symbols] for a in read])
    energy, log_prob = (
        torch.tensor(v, dtype=torch.float64)
        for v in ([a.get_potential_energy() for a in read], [a.info["log_prob"] for a in read])
    )
    mu = [read[0].info[f"mu_{e}"] for e in ens.elements]
    again = Ensemble(ens.hamiltonian, occ, energy, log_prob, T=read[0].info["T"], mu=mu)
    assert again.free_energy() == ens.free_energy()
    assert [a.info["log_weight"] for a in read] == again.log_weight.tolist()


@pytest.mark.parametrize("name, count", [("set", 4), ("set.db", None), ("set.json", None)])
def test_other_formats(table, laws, tmp_path, name, count):
    ens = draw(table, laws["q"], 3, 0)
    path = ens.write(tmp_path / name)
    assert len(list(path.iterdir())) == count if count else len(ase.io.read(path, ":")) == 3
    with pytest.raises(AlloygenError, match="overwrite=True"):
        ens.write(path, overwrite=False)


def test_pymatgen(table, laws):
    ens = draw(table, laws["q"], 2, 0)
    structure = ens.to_pymatgen()[1]
    assert [str(s.specie) for s in structure] == ens.atoms[1].get_chemical_symbols()
    assert structure.properties["energy"] == float(ens.energy[1])
    assert structure.properties["mu_Au"] == 0.04


# ---------------------------------------------------------------------- Markov chains and biased laws
def markov(table, p, n, seed, stay=0.9):
    """Rows of a chain that keeps its state with probability ``stay``, else draws it anew from p: inefficiency (1+s)/(1-s)."""
    rng = np.random.default_rng(seed)
    rows = rng.choice(len(p), n, p=p)
    for k in range(1, n):
        if rng.random() < stay:
            rows[k] = rows[k - 1]
    return rows


def test_error_bars_of_chains_count_their_correlation(table, laws):
    p, truth, z, naive = laws["p"], table.at(table.hamiltonian.condition(T, MU)), [], []
    for seed in range(60):
        rows = np.concatenate([markov(table, p, 500, 10 * seed + k) for k in range(4)])
        ens = Ensemble(
            table.hamiltonian, table.occ[rows], table.hamiltonian.energy(table.occ[rows]), None, T, MU, chains=4
        )
        for e, exactly in ((ens.mean_energy(), truth.energy), (ens.heat_capacity(), truth.heat_capacity)):
            z.append((e.value - exactly) / e.stderr)
        plain = replace(ens, chains=0).mean_energy()
        naive.append((plain.value - truth.energy) / plain.stderr)
    assert 0.8 < np.std(z) < 1.25 and np.std(naive) > 2.5
    assert ens.effective_samples < 300 and ens.inefficiency > 10


def test_weights_up_to_a_constant_reweigh_a_biased_chain(table, laws):
    """Samples of a hotter law at another mu, weighted: averages are those of the condition, the free energy is not known."""
    h, wrong, z = table.hamiltonian, table.at(table.hamiltonian.condition(1.5 * T, 0 * MU)), []
    truth = table.at(table.hamiltonian.condition(T, MU))
    for seed in range(60):
        rows = markov(table, wrong.probabilities, 4000, seed, stay=0.7)
        occ = table.occ[rows]
        energy, counts = h.energy(occ), h.counts(occ)
        log_w = -(energy - counts @ MU) / (h.kB * T) + energy / (h.kB * 1.5 * T) + 5.0
        ens = Ensemble(h, occ, energy, None, T, MU, "biased", chains=1, log_w=log_w)
        e, x = ens.mean_energy(), ens.composition(h.elements[1])
        z += [(e.value - truth.energy) / e.stderr, (x.value - truth.composition[1]) / x.stderr]
    assert 0.75 < np.std(z) < 1.25
    bare = replace(ens, log_w=None).mean_energy()
    assert abs(bare.value - truth.energy) > 8 * bare.stderr  # negative control
    with pytest.raises(AlloygenError, match="up to a factor"):
        ens.free_energy()
    assert ens[:10].log_w.shape == (10,) and ens.resample(50).log_w is None


def test_k_hat_is_a_column_and_above_its_bound_phi_is_withheld():
    """A likelihood with a Pareto tail of k = 2.5: the table keeps phi and gives it no error; equal weights have no tail."""
    from alloygen.results.scan import Scan

    h, rng = ising(3), np.random.default_rng(0)
    occ = torch.from_numpy(rng.integers(0, 2, size=(2, 500, 9)))
    u = torch.stack([h.energy(o) for o in occ]) / 3.0
    tail = torch.from_numpy(np.stack([np.zeros(500), 2.5 * rng.exponential(size=500)]))
    scan = Scan(h, np.full(2, 3.0), np.zeros((2, 2)), occ.numpy(), u.numpy() * 3.0, 0, "test", (-u - tail).numpy())
    assert scan[0].k_hat == -np.inf and scan[1].k_hat > 0.7
    with pytest.warns(LowSampleSize, match="1 on weights with a tail of k-hat above 0.7"):
        data = scan.to_xarray()
    assert data.k_hat.values.tolist() == [scan[0].k_hat, scan[1].k_hat]
    assert np.isfinite(data.phi).all() and np.isfinite(data.phi_stderr).values.tolist() == [True, False]
    with pytest.warns(LowSampleSize, match="k-hat"):
        assert "k-hat" in scan[1].free_energy().note and np.isnan(scan[1].entropy().stderr)
