"""Fixed sites in ``alloygen.sample``: what may be held and how, the law of the rest, and what holding costs."""

import numpy as np
import pytest
import torch
from ase.build import bulk
from scipy.special import logsumexp
from small_systems import cuau_16

import alloygen
import alloygen.data
from alloygen import Anneal, Blocks, Flips, Neural
from alloygen.errors import AlloygenError, LatticeMismatch, UnknownSpecies
from alloygen.generate.conditional import constraint, log_p_fixed

ATOMS = bulk("Cu", a=3.8).repeat((2, 2, 4))
KB = 8.617333262e-5


@pytest.fixture(scope="module")
def table():
    return cuau_16()


def exact(table, T, dmu, sites, species):
    """(log p(x_fixed), <composition>, <E>) of the law given the fixed sites."""
    u = (np.asarray(table.energy) - np.asarray(table.counts) @ np.array([0.0, dmu])) / (KB * T)
    held = (table.occ[:, sites] == species).all(1)
    log_p = logsumexp(-u[held]) - logsumexp(-u)
    p = np.exp(-u[held] - logsumexp(-u[held]))
    return log_p, p @ np.asarray(table.counts)[held, 1] / 16, p @ np.asarray(table.energy)[held] / 16


@pytest.mark.slow
@pytest.mark.parametrize("fixed", [
    {0: "Au"}, {0: "Au", 1: "Au", 5: "Cu"}, dict.fromkeys(range(8), "Cu"), {3: "Cu", 7: "Au", 8: "Au", 11: "Cu", 14: "Cu"},
    dict.fromkeys([0, 2, 4, 6, 9, 11, 13, 15], "Au"),
])  # fmt: skip
@pytest.mark.parametrize("T, dmu", [(500, -0.05), (900, 0.03)])
def test_the_law_of_the_rest_is_exact(table, fixed, T, dmu):
    """Random and adversarial sets (half of the cell held pure; a pattern that no phase has), weighted."""
    ens = alloygen.sample(ATOMS, T, {"Au": dmu}, n=2000, fixed=fixed, seed=1)
    sites, species = list(fixed), [("Cu", "Au").index(s) for s in fixed.values()]
    assert (ens.occ[:, sites] == torch.tensor(species)).all()
    log_p, x, energy = exact(table, T, dmu, sites, species)
    for estimate, value in ((ens.composition("Au"), x), (ens.mean_energy(), energy)):
        assert abs(estimate.value - value) < 4.5 * estimate.stderr + 1e-6
    free = alloygen.sample(ATOMS, T, {"Au": dmu}, n=2000, seed=2)
    ours, cost = constraint(ens, free)
    assert abs(ours.value - log_p) < 4.5 * ours.stderr and cost.value == pytest.approx(-KB * T * ours.value, rel=1e-4)
    turned = {**fixed, sites[0]: "Cu" if fixed[sites[0]] == "Au" else "Au"}
    wrong = alloygen.sample(ATOMS, T, {"Au": dmu}, n=500, fixed=turned, seed=1)
    assert abs(constraint(wrong, free)[0].value - log_p) > 4.5 * ours.stderr  # negative control: one site the other way


def test_the_models_own_marginal_in_one_pass(table):
    model = alloygen.load("cuau_2x2x4")
    known = torch.full((16,), -1)
    known[[2, 5, 9]] = torch.tensor([1, 0, 1])
    ours = log_p_fixed(model, known, model.hamiltonian.condition(800.0, [0.0, 0.02]))
    assert abs(ours.value - exact(table, 800, 0.02, [2, 5, 9], [1, 0, 1])[0]) < 0.05 and ours.stderr < 0.02


def test_ways_to_say_what_is_fixed():
    start = ATOMS.copy()
    start.symbols[[1, 6]] = "Au"
    marked = start.copy()
    marked.symbols[[k for k in range(16) if k not in (1, 6, 9)]] = "X"
    mask = np.isin(np.arange(16), [1, 6, 9])
    made = [
        alloygen.sample(start, 800, {"Au": 0.0}, n=20, seed=0, fixed=f)
        for f in ({1: "Au", 6: "Au", 9: "Cu"}, marked, mask, [1, 6, 9])
    ]
    for ens in made:
        assert np.array_equal(ens.occ, made[0].occ) and (ens.facts.known >= 0).sum() == 3
        assert all(a.symbols[1] == "Au" and a.symbols[9] == "Cu" for a in ens.atoms)


@pytest.mark.parametrize("fixed, error, says", [
    ({0: "Zn"}, UnknownSpecies, "Cu/Au to be held at atom 0, got 'Zn'"), ({16: "Au"}, LatticeMismatch, "indices from 0 to 15"),
    ([0.5], LatticeMismatch, "indices"), (np.ones(16, bool), AlloygenError, "at least one exchangeable site that is free"),
    (np.ones(4, bool), LatticeMismatch, "mask of the 16 atoms"), (bulk("Cu").repeat((2, 2, 2)), LatticeMismatch, "16 atoms that were matched"),
])  # fmt: skip
def test_what_cannot_be_fixed_is_told(fixed, error, says):
    with pytest.raises(error, match=says):
        alloygen.sample(ATOMS, 800, {"Au": 0.0}, n=5, fixed=fixed)


def test_monte_carlo_holds_fixed_sites_too():
    ens = alloygen.sample(ATOMS, 900, {"Au": 0.0}, n=200, fixed={0: "Au", 3: "Cu"}, sampler="mc", seed=0)
    assert (ens.occ[:, [0, 3]] == torch.tensor([1, 0])).all() and ens.method == "mc"


# ---------------------------------------------------------------------- larger cells and refinement through the same call
@pytest.mark.slow
def test_a_larger_supercell_is_out_painted_and_says_so():
    large = bulk("Cu", a=3.8).repeat((2, 2, 6))
    ens = alloygen.sample(large, 900, {"Au": 0.02}, n=200, seed=0, sampler="cuau_2x2x4")
    assert ens.method == "neural, out-painted from 2x2x4 cells" and len(ens.atoms[0]) == 24 and ens.info["windows"] >= 2
    mc = alloygen.sample(large, 900, {"Au": 0.02}, n=3000, seed=1, sampler="mc")
    assert abs(ens.free_energy().value - mc.free_energy().value) < 4 * np.hypot(
        ens.free_energy().stderr, mc.free_energy().stderr
    )
    assert abs(ens.mean_energy().value - mc.mean_energy().value) < 4.5 * np.hypot(
        ens.mean_energy().stderr, mc.mean_energy().stderr
    )
    held = alloygen.sample(
        large, 900, {"Au": 0.02}, n=20, seed=0, fixed=dict.fromkeys(range(0, 24, 6), "Au"), sampler="cuau_2x2x4"
    )
    assert (held.occ[:, ::6] == 1).all()


@pytest.mark.slow
@pytest.mark.parametrize("how", [Anneal, Blocks, Flips])
def test_refined_samples_obey_the_exact_law(table, how):
    ens = alloygen.sample(ATOMS, 700, {"Au": 0.06}, n=600, sampler=Neural(then=how(effort=0.3)), seed=3)
    at = table.at(table.hamiltonian.condition(700, [0.0, 0.06]))
    assert ens.method == f"neural, {how.label}"
    assert abs(ens.free_energy().value - at.phi) < 4 * ens.free_energy().stderr
    p = np.asarray(at.probabilities)
    assert abs(ens.mean_energy().value - p @ np.asarray(table.energy) / 16) < 4.5 * ens.mean_energy().stderr
    assert {Anneal: "annealed_from", Blocks: "acceptance", Flips: "sweeps"}[how] in ens.info
    held = alloygen.sample(
        ATOMS, 700, {"Au": 0.06}, n=50, sampler=Neural(then=how(effort=0.2)), seed=3, fixed={0: "Au", 5: "Au"}
    )
    assert (held.occ[:, [0, 5]] == 1).all()


@pytest.mark.parametrize("made, says", [
    (lambda: Neural(then="magic"), "expected then=Anneal"), (lambda: Anneal(effort=0), "effort"),
    (lambda: alloygen.sample(ATOMS, 700, {"Au": 0.06}, n=10, sampler=Neural(stride=2)), "no stride"),
])  # fmt: skip
def test_bad_refinement_is_told(made, says):
    with pytest.raises(AlloygenError, match=says):
        made()


def test_a_stride_beyond_the_window_is_told():
    with pytest.raises(AlloygenError, match="leave sites out"):
        alloygen.sample(
            bulk("Cu", a=3.8).repeat((2, 2, 8)), 700, {"Au": 0.06}, n=10, sampler=Neural(model="cuau_2x2x4", stride=5)
        )
