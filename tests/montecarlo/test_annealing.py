"""Annealed walkers: local minima by whole energies, known phases, and what stays as it is."""

import itertools

import numpy as np
import pytest
import torch
from small_systems import CUAU_HULL, generator, grouped, hamiltonian

import alloygen.data
from alloygen.edge.problem import Problem
from alloygen.errors import AlloygenError
from alloygen.hamiltonian.ising import ising
from alloygen.montecarlo import annealing
from alloygen.montecarlo.annealing import Cooling, anneal
from alloygen.runtime.job import Job
from alloygen.testing import SYSTEMS


def flip_gains(h, occ, mu, sites) -> np.ndarray:
    """E - mu.N after each single flip on ``sites`` minus before, for every row; infinite for no flip."""
    occ = torch.as_tensor(occ).long()
    e = h.site_energies(occ) - h.site_mu(torch.as_tensor(mu)[None])
    gain = e - e.gather(2, occ[..., None])
    flip = (torch.arange(e.shape[2]) != occ[..., None]) & (
        torch.arange(e.shape[2]) < torch.as_tensor(h.lattice.n_species)[:, None]
    )
    return np.where(flip, gain, np.inf)[:, sites]


def swap_gains(h, row, sites) -> np.ndarray:
    """Energy changes of all swaps of elements that sublattices allow, by whole energies."""
    code, sub, trials = h.lattice.element_index, h.lattice.sublattice, []
    for i, j in itertools.combinations(sites, 2):
        a, b = code[sub[i], row[i]], code[sub[j], row[j]]
        if a != b and b in code[sub[i]] and a in code[sub[j]]:
            trial = row.copy()
            trial[i], trial[j] = list(code[sub[i]]).index(b), list(code[sub[j]]).index(a)
            trials.append(trial)
    if not trials:
        return np.array([np.inf])
    return (h.energy(torch.as_tensor(np.array(trials))) - h.energy(torch.as_tensor(row))).numpy()


# ---------------------------------------------------------------------- local minima
@pytest.mark.slow
@pytest.mark.parametrize("name", ["cuau-skew", "ternary", "two-sublattice", "many-body"])
@pytest.mark.parametrize("T", [5000.0, 100.0])
def test_what_is_left_is_a_local_minimum(name, T):
    """Also when the walkers stay hot to the end and the quench does all of it."""
    h = hamiltonian(name)
    sites, mu = np.arange(h.n_sites), dict(zip(h.elements, SYSTEMS[name].mu[0], strict=True))
    a = anneal(h, mu=mu, cooling=Cooling(T_start=T, T_end=T, steps=3, sweeps=2, restarts=20), seed=4)
    assert flip_gains(h, a.occ, a.mu, sites).min() > -1e-9
    start = h.random(20, generator(5))
    b = anneal(
        Problem.of(h, occ=start),
        cooling=Cooling(T_start=T, T_end=T, steps=3, sweeps=2, restarts=20),
        move="swap",
        seed=4,
    )
    assert min(swap_gains(h, row, sites).min() for row in b.occ) > -1e-9
    assert min(swap_gains(h, row, sites).min() for row in start.numpy()) < -1e-3  # the yardstick sees what is not
    np.testing.assert_array_equal(b.counts, h.counts(start).numpy())
    for run in (a, b):
        np.testing.assert_allclose(run.energy, h.energy(run.occ), atol=1e-12)


@pytest.mark.slow
def test_larger_minima_and_neighbours_are_local_minima(cuau_states):
    for n in (5, 24, 41):
        assert swap_gains(cuau_states.hamiltonian, cuau_states.occ[n], cuau_states.sites).min() > -1e-9


@pytest.mark.parametrize("name", ["cuau-skew", "ternary", "two-sublattice"])
def test_neighbours_come_by_the_cheapest_flip(name):
    h = hamiltonian(name)
    start, lattice = h.random(30, generator(6)), h.lattice
    w, sites = annealing.make_walkers(h, start.numpy(), 0), np.arange(h.n_sites)
    gains, turned = flip_gains(h, start, np.zeros(len(h.elements)), sites), 0
    code = lattice.element_index[lattice.sublattice]
    for r, row in enumerate(start.numpy()):
        surplus = np.zeros(len(h.elements), dtype=np.int64)
        surplus[code[0, row[0]]], surplus[code[0, 1 - min(row[0], 1)]] = 1, -1
        options = [gains[r, i, s] for i in sites for s in range(lattice.n_species[i])
                   if s != row[i] and surplus[code[i, row[i]]] > 0 and surplus[code[i, s]] < 0]  # fmt: skip
        before = h.energy(start[r])
        assert annealing.turn(h.flip_tables, w, r, surplus, sites) and not surplus.any()
        assert float(h.energy(torch.as_tensor(w.occ[r])) - before) == pytest.approx(min(options), abs=1e-10)
        turned += len(options) > 2 and min(options) < max(options) - 1e-3
    assert turned > 5
    only = np.eye(len(h.elements), dtype=np.int64)[0] * 99  # more atoms than there are: no way
    assert not annealing.turn(h.flip_tables, w, 0, only, sites)


# ---------------------------------------------------------------------- known phases
@pytest.mark.parametrize("dmu, n", [(-0.2, 0), (-0.07, 16), (0.03, 32), (0.0724, 48), (0.1, 64)])
def test_semigrand_anneals_find_the_phase_of_each_window(dmu, n):
    h = alloygen.data.cuau().on((4, 4, 4))
    a = anneal(h, mu={"Au": dmu}, cooling=Cooling(T_start=1500, T_end=30, sweeps=10), seed=3)
    assert a.counts[a.best].tolist() == [64 - n, n]
    assert a.energy[a.best] == pytest.approx(64 * CUAU_HULL[n], abs=1e-7)
    assert a.objective[a.best] == pytest.approx(a.energy[a.best] - dmu * n, abs=1e-12)


def test_an_antiferromagnet_orders_as_a_checkerboard():
    h = ising(6, h=0.2, J=-1)
    a = anneal(h, cooling=Cooling(T_start=6.0, T_end=0.2, restarts=4), seed=0)
    board = np.indices((6, 6)).sum(0).ravel() % 2
    assert all((row == board).all() or (row == 1 - board).all() for row in a.occ)
    assert "found by 4 of 4" in repr(a)


# ---------------------------------------------------------------------- what stays
@pytest.mark.parametrize("move", ["flip", "swap"])
def test_the_best_configuration_seen_is_kept(move, cuau_states):
    """Walkers that start in Cu3Au and melt still return it."""
    mu = {"Au": -0.07} if move == "flip" else None
    a = anneal(
        Problem.of(cuau_states.hamiltonian, occ=cuau_states.occ[16]),
        mu=mu,
        cooling=Cooling(T_start=1e5, T_end=1e4, steps=5, sweeps=3, restarts=3),
        move=move,
    )
    assert (a.occ == cuau_states.occ[16]).all()


@pytest.mark.parametrize("name", ["cuau-2x2x2", "ternary", "two-sublattice", "spectator"])
def test_fixed_sites_stay(name):
    h = hamiltonian(name)
    fixed, base = np.flatnonzero(h.lattice.n_species > 1)[[0, 2]], h.random(1, generator(3))[0]
    a = anneal(
        Problem.of(h, fixed=fixed, occ=base), cooling=Cooling(T_start=2000, T_end=50, steps=10, sweeps=5), seed=2
    )
    assert (a.occ[:, fixed] == base[fixed].numpy()).all() and (a.occ != base.numpy()).any()


@pytest.mark.parametrize("name", ["cuau-2x2x2", "two-sublattice"])
def test_the_seed_decides_and_threads_do_not(name):
    h = hamiltonian(name).expansion.on((2, 3, 2))
    runs = [
        anneal(h, cooling=Cooling(T_start=900, T_end=300, steps=2, sweeps=1, restarts=30), **kw).occ
        for kw in ({}, {}, {"job": Job(threads=4)}, {"seed": 1})
    ]
    assert (
        np.array_equal(runs[0], runs[1]) and np.array_equal(runs[0], runs[2]) and not np.array_equal(runs[0], runs[3])
    )
    runs = [
        anneal(
            Problem.of(h, occ=h.random(1, generator(1))),
            cooling=Cooling(T_start=900, T_end=300, steps=2, sweeps=1, restarts=30),
            seed=k,
        ).occ
        for k in (0, 1)
    ]
    assert not np.array_equal(*runs) and len(np.unique(runs[0], axis=0)) > 1


def test_the_start_is_left_alone_and_one_element_cannot_swap():
    h = hamiltonian("cuau-2x2x2")
    occ = h.random(3, generator(8)).numpy().astype(np.int8)
    occ[1] = 0
    before = occ.copy()
    a = anneal(
        Problem.of(h, occ=occ), cooling=Cooling(T_start=900, T_end=300, steps=5, sweeps=5, restarts=3), move="swap"
    )
    assert np.array_equal(occ, before) and (a.occ[1] == 0).all() and (a.energy <= h.energy(occ) + 1e-12).all()


# ---------------------------------------------------------------------- what is refused
@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(move="jump"), "move as one of 'flip', 'swap'"),
        (dict(move="swap"), "composition the swaps keep"),
        (dict(move="swap", occ=[0, 1] * 4, mu=0.1), "got 0.1: leave it out"),
        (dict(occ=np.zeros((3, 8), dtype=int)), "one per restart"),
        (dict(sweeps=0), "sweeps"),
        (dict(mu={"Ag": 1}), "Ag"),
    ],
)
def test_bad_input_of_anneal(arguments, message):
    with pytest.raises(AlloygenError, match=message):
        options = dict(T_start=900, T_end=100) | arguments
        given = Problem.of(hamiltonian("cuau-2x2x2"), occ=options.pop("occ", None))
        anneal(given, **grouped(options, cooling=Cooling))
