"""Models at given numbers of atoms: normalised laws, exact likelihoods, and what users ask for, against enumeration."""

import re

import numpy as np
import pytest
import torch
from small_systems import cuau_16, generator, randomise

import alloygen
from alloygen import Anneal, Balance, Blocks, Flips, MonteCarlo, Neural
from alloygen.conditions.composition import constraint
from alloygen.counts import Counts
from alloygen.errors import AlloygenError, BadCondition, UnknownSpecies
from alloygen.estimate.weights import log_mean
from alloygen.generate.outpaint import Outpainter
from alloygen.hamiltonian.parents import PARENTS
from alloygen.models.base import AnyOrder
from alloygen.models.canonical import Canonical, _Way
from alloygen.models.causal import CausalModel
from alloygen.models.draw import draw, trained_orders
from alloygen.models.family import FamilyModel, ZeroShot
from alloygen.models.local import LocalModel
from alloygen.models.masked import AutoregressiveModel
from alloygen.montecarlo.balanced import Balanced, keeping
from alloygen.orders import known_first
from alloygen.testing import enumerable

CHARGES = {"A": 1, "B": 2, "C": 3, "X": -1}
SETTINGS = {
    "one sublattice": ("cuau-2x2x2", {"Au": 3}, {}),
    "three species": ("ternary", {"A": 2, "C": 1}, {}),
    "shared element": ("two-sublattice", {"A": 1, "B": 3, "C": 2}, {}),
    "by sublattice, held": ("two-sublattice", {0: {"A": 1, "C": 2}, 1: {"B": 1}}, {0: 2, 5: 1}),
    "charges": ("two-sublattice", Balance(charges=CHARGES, total=6), {}),
}


def law_of(kind, system):
    ranges = system.ranges()
    torch.manual_seed(0)
    if kind == "local":
        return randomise(LocalModel(system.hamiltonian, ranges, width=8, depth=1, window=6), 1)
    if kind == "causal":
        return randomise(CausalModel(system.hamiltonian, ranges, width=8, depth=1, heads=2), 1)
    if kind == "zero-shot":
        parent = PARENTS["fcc"].expansion([0.01 * (-1) ** k for k in range(len(PARENTS["fcc"].figures))])
        family = FamilyModel(parent.on((2, 2, 2)), {"T": (300, 1000), "mu": [(-0.2, 0.2)]}, width=8, depth=1)
        return ZeroShot(randomise(family, 1), system.hamiltonian)
    return AutoregressiveModel(system.hamiltonian, ranges, network="mlp", width=8, depth=2, physics=True)


def setting(kind, name):
    system, composition, held = enumerable(SETTINGS[name][0]), *SETTINGS[name][1:]
    lattice = system.hamiltonian.lattice
    known = np.full(lattice.n_sites, -1)
    for site, species in held.items():
        known[site] = species
    counts = Counts(lattice=lattice, constraint=constraint(composition, lattice), known=known)
    return system, counts, Canonical(law_of(kind, system), counts)


@pytest.mark.parametrize(
    "kind, name",
    [*(("local", name) for name in SETTINGS), *(("causal", name) for name in SETTINGS), ("masked", "three species"),
     ("masked", "by sublattice, held"), ("zero-shot", "one sublattice")],
)  # fmt: skip
def test_a_normalised_law_of_the_configurations_that_fit(kind, name):
    """sum exp(log_prob) = 1 over them along one order, -inf elsewhere, and draws carry their own likelihood."""
    system, counts, model = setting(kind, name)
    at = system.conditions()[1]
    states = torch.as_tensor(system.enumeration.occ).long()
    held = counts.known >= 0
    known = torch.as_tensor(counts.known) if held.any() else None
    fits = counts.met(system.enumeration.occ) & (~held | (system.enumeration.occ == counts.known)).all(1)
    order = trained_orders(model, 1, generator(3))
    order = order if known is None else known_first(order, (known >= 0)[None])
    b = len(states)
    rows = None if known is None else known.expand(b, -1)
    log_prob = model.log_prob(states, at.expand(b), order.expand(b, -1), rows)
    assert torch.logsumexp(log_prob[torch.as_tensor(fits)], 0).exp().item() == pytest.approx(1.0, abs=1e-5)
    assert (log_prob[torch.as_tensor(~counts.met(system.enumeration.occ))] == -torch.inf).all()
    n = 40
    rows, orders = None if known is None else known.expand(n, -1), order.expand(n, -1)
    occ, own = model.sample(at.expand(n), orders, generator(4), rows)
    assert counts.met(occ.numpy()).all() and (occ.numpy()[:, held] == counts.known[held]).all()
    assert (model.log_prob(occ, at.expand(n), orders, rows) - own).abs().max() < 1e-4


@pytest.mark.parametrize("kind", ["local", "causal", "masked"])
def test_the_fast_way_is_the_slow_one(kind):
    """Same random numbers, same draws as by whole passes at every step."""
    system, counts, model = setting(kind, "three species")
    at, order = system.conditions()[0].expand(16), trained_orders(model, 16, generator(1))
    way = _Way(counts, model.aim(system.conditions()[0]))
    fast = model.law.steered(at, order, generator(2), way)
    assert torch.equal(
        model.law.sequence(order), order
    )  # in a cell as small as this one nothing is decided side by side
    slow = AnyOrder._steered(
        model.law, at, order, torch.rand(16, order.shape[1], generator=generator(2), dtype=torch.float64), None, way
    )
    assert torch.equal(fast[0], slow[0]) and (fast[1] - slow[1]).abs().max() < 1e-5


@pytest.mark.parametrize("name", SETTINGS)
def test_partition_function_and_energy(name):
    """Z of an untrained model of random weights against the sum over the configurations that fit; z-scores of eight seeds."""
    system, counts, model = setting("local", name)
    at = system.conditions()[1].at(1500.0)  # hot, where weights of random models are not too uneven
    occ, energy = system.enumeration.occ, system.enumeration.energy
    fits = counts.met(occ) & ((counts.known < 0) | (occ == counts.known)).all(1)
    u = at.reduced(energy, system.enumeration.counts)[fits]
    exact = -float(np.logaddexp.reduce(-u))
    known = counts.known if (counts.known >= 0).any() else None
    model.aim(at)
    scores, wrong = [], []
    for seed in range(8):
        made = Outpainter(model, system.hamiltonian).draw(at, 1000, generator(seed), known)
        u = system.hamiltonian.reduced_energy(made.occ, at)
        found = log_mean((-u - made.log_prob).numpy())
        scores.append((found.value + exact) / found.stderr)
        plain = log_mean((-u - made.log_prob).numpy() + 1.0)
        wrong.append((plain.value + exact) / plain.stderr)
    assert np.sqrt(np.mean(np.square(scores))) < 1.8 < np.sqrt(np.mean(np.square(wrong)))


# ---------------------------------------------------------------------- what users call
@pytest.fixture(scope="module")
def atoms():
    from ase.build import bulk

    return bulk("Cu", a=3.8).repeat((2, 2, 4))


def exact_f(k, T, hold=None):
    """F per site of CuAu 2x2x4 with k gold atoms, one of them on site 0 where ``hold``."""
    e = cuau_16()
    rows = (e.occ.sum(1) == k) & ((e.occ[:, 0] == 1) if hold else True)
    kT = alloygen.data.cuau().kB * T
    return -kT * float(np.logaddexp.reduce(-e.energy[rows] / kT)) / 16


@pytest.mark.slow
def test_free_energy_at_a_composition(atoms):
    """Calibrated over seeds, and not that of the neighbouring composition."""
    made = [
        alloygen.sample(atoms, 700, composition={"Au": 4}, n=200, seed=s, sampler=Neural(model="cuau"))
        for s in range(8)
    ]
    z = [(e.free_energy().value - exact_f(4, 700)) / e.free_energy().stderr for e in made]
    off = [(e.free_energy().value - exact_f(5, 700)) / e.free_energy().stderr for e in made]
    assert 0.3 < np.sqrt(np.mean(np.square(z))) < 1.8 and min(np.abs(off)) > 5
    ens = made[0]
    assert (ens.occ.sum(1) == 4).all() and ens.method == "neural, canonical" and ens.ness > 0.5
    assert ens.composition("Au").value == pytest.approx(0.25, abs=1e-12)
    again = alloygen.sample(atoms, 700, composition={"Au": 0.25}, n=100, seed=0, sampler=Neural(model="cuau"))
    np.testing.assert_array_equal(again.occ, ens.occ[:100])  # the first of more, and fractions are numbers
    np.testing.assert_array_equal(again.log_prob, ens.log_prob[:100])


@pytest.mark.slow
@pytest.mark.parametrize("then", [Flips(effort=0.02), Anneal(effort=0.01)], ids=["flips", "annealed"])
def test_what_follows_keeps_the_composition(atoms, then):
    ens = alloygen.sample(atoms, 700, composition={"Au": 4}, n=200, sampler=Neural(model="cuau", then=then))
    assert (ens.occ.sum(1) == 4).all()
    assert abs(ens.free_energy().value - exact_f(4, 700)) < 4 * ens.free_energy().stderr


def test_held_sites_and_the_atoms_own_composition(atoms):
    start = atoms.copy()
    start.symbols[[0, 3, 5, 6]] = "Au"
    ens = alloygen.sample(start, 700, composition="atoms", fixed={0: "Au"}, n=300, sampler=Neural(model="cuau"))
    assert (ens.occ.sum(1) == 4).all() and (ens.occ[:, 0] == 1).all()
    assert abs(ens.free_energy().value - exact_f(4, 700, hold=True)) < 4 * ens.free_energy().stderr


def test_monte_carlo_through_the_same_door(atoms):
    scan = alloygen.mc(atoms, [700, 900], composition={"Au": 4}, n=400, check=False)
    assert (scan.occ.sum(-1) == 4).all()
    for k, T in enumerate((700, 900)):
        f = scan[k].free_energy()
        assert abs(f.value - exact_f(4, T)) < 4 * f.stderr
    ens = alloygen.sample(atoms, 700, composition={"Au": 4}, n=50, sampler=MonteCarlo(check=False))
    assert ens.method == "mc" and (ens.occ.sum(1) == 4).all()


@pytest.mark.parametrize("sampler", ["cuau", "mc"])
def test_a_scan_of_one_composition(atoms, sampler):
    """F over temperatures at a composition, by a model and by Monte Carlo; it makes no diagram."""
    scan = alloygen.scan(atoms, [700, 900], composition={"Au": 4}, n=150, sampler=sampler)
    assert (scan.occ.sum(-1) == 4).all() and len(scan) == 2
    for k, T in enumerate((700, 900)):
        f = scan[k].free_energy()
        assert abs(f.value - exact_f(4, T)) < 4 * f.stderr < 0.01
    with pytest.raises(AlloygenError, match="many compositions"):
        scan.phase_diagram()
    with pytest.raises(BadCondition, match="got both"):
        alloygen.scan(atoms, [700], mu={"Au": [0.0, 0.1]}, composition={"Au": 4}, sampler=sampler)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["shared element", "charges"])
def test_monte_carlo_of_linear_constraints(name):
    """Several sites at once: mean energies and free energies against the sum over the configurations that fit."""
    system, counts, _ = setting("local", name)
    mu = {} if counts.constraint.whole else {"C": -0.05}
    at = system.hamiltonian.condition(700.0, [mu.get(e, 0.0) for e in system.hamiltonian.elements])
    occ, energy = system.enumeration.occ, system.enumeration.energy
    fits = counts.met(occ)
    u = at.reduced(energy, system.enumeration.counts)[fits]
    p = np.exp(-u - np.logaddexp.reduce(-u))
    composition = SETTINGS[name][1]
    more = dict(mu=mu) if mu else {}
    ens = alloygen.mc(system.hamiltonian, 700.0, composition=composition, n=3000, check=False, **more)[0]
    assert counts.met(ens.occ).all() and len(np.unique(ens.occ, axis=0)) <= fits.sum()
    f, e = ens.free_energy(), ens.mean_energy()
    n = system.hamiltonian.n_sites
    assert abs(f.value + float(at.kT) * np.logaddexp.reduce(-u) / n) < 4 * f.stderr
    assert abs(e.value - (p * energy[fits]).sum() / n) < 4 * e.stderr
    flat = energy[fits].mean() / n  # negative control: the energies are not those of even draws
    assert abs(flat - (p * energy[fits]).sum() / n) > 8 * e.stderr


def test_moves_that_charges_need():
    """3 Mn become Li + 2 Ti only with three sites at once; two sites are refused for what they do not reach."""
    lattice = alloygen.Lattice(alloygen.Primitive(np.eye(3), [[0, 0, 0]], [("Li", "Mn", "Ti")]), (6, 1, 1))
    known = np.full(6, -1)
    balance = constraint(Balance(charges={"Li": 1, "Mn": 3, "Ti": 4}, total=18), lattice)
    counts = Counts(lattice=lattice, constraint=balance, known=known)
    assert keeping(counts).sites == 3
    start = counts.draw(1, np.random.default_rng(0))[0]
    assert np.exp(Balanced(counts, 2).log_reached(start)) < np.exp(counts.log_number) - 1
    far = constraint(Balance(charges={"Li": 0, "Mn": 4, "Ti": 1}, total=4), lattice)  # 1 Mn for 4 Ti
    with pytest.raises(BadCondition, match="Draw with a model"):
        keeping(Counts(lattice=lattice, constraint=far, known=known))


WRONG = {
    "mu as well": (dict(composition={"Au": 4}, mu={"Au": 0.1}), BadCondition, "got both"),
    "no whole number": (dict(composition={"Au": 0.3}), BadCondition, "the nearest are 4 (0.25) and 5 (0.3125)"),
    "another element": (dict(composition={"Ag": 4}), UnknownSpecies, "Ag"),
    "blocks": (dict(composition={"Au": 4}, sampler=Neural(then=Blocks())), AlloygenError, "Blocks() would not keep"),
    "flips": (dict(composition={"Au": 4}, sampler=MonteCarlo(move="flip")), BadCondition, "expected a move that keeps"),
    "all held": (dict(composition={"Au": 0}, fixed={0: "Au"}), BadCondition, "1 sites held"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be(atoms, name):
    options, error, words = WRONG[name]
    with pytest.raises(error, match=re.escape(words)):
        alloygen.sample(atoms, 700, n=4, **options)


def test_another_condition_in_one_call_is_refused():
    system, _, model = setting("local", "one sublattice")
    with pytest.raises(AlloygenError, match="one condition for all rows"):
        draw_rows = system.conditions()[torch.tensor([0, 1])]
        model.sample(draw_rows, trained_orders(model, 2, generator()), generator())
    with pytest.raises(AlloygenError, match="sites to be held"):
        rows = torch.full((2, 8), -1)
        rows[:, 0] = 1
        model.sample(system.conditions()[0].expand(2), trained_orders(model, 2, generator()), generator(), rows)
    assert draw(model, system.conditions()[0], 3, generator())[0].sum(1).tolist() == [3, 3, 3]
