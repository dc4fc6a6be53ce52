"""Metropolis and replica exchange against enumeration, with controls that must fail the same checks."""

import numpy as np
import pytest
import torch
from small_systems import SYSTEMS, chi_square, enumeration, exact, generator, hamiltonian

import alloygen.data
from alloygen.errors import AlloygenError
from alloygen.hamiltonian import kernels
from alloygen.hamiltonian.expansion import ClusterExpansion
from alloygen.hamiltonian.ising import ising
from alloygen.hamiltonian.lookup import sweep_lookup
from alloygen.lattice import Primitive
from alloygen.montecarlo.tempering import Chains, grid_pairs, metropolis, replica_exchange

N, SWEEPS, BLOCKS = 4000, 4, 40
EXCHANGED = ["ising-3", "cuau-2x2x2", "ternary", "two-sublattice", "many-body"]


def deviations(samples, name, T=None, mu=None) -> np.ndarray:
    """(mean - exact) in standard errors, of the energy and of each element's count at each condition.

    The error bar is that of the means of 40 blocks, each far longer than the correlation time. ``T`` and ``mu`` put
    other conditions in place of those sampled.
    """
    e, out = enumeration(name), []
    truth = np.column_stack([e.energy, e.counts])
    T, mu = samples.T if T is None else T, samples.mu if mu is None else mu
    for c in range(len(samples)):
        p = exact(name, float(T[c]), mu[c]).numpy()
        occ = torch.as_tensor(samples.occ[c]).long()
        seen = np.column_stack([samples.energy[c], hamiltonian(name).counts(occ)])
        blocks = seen.reshape(BLOCKS, -1, seen.shape[1]).mean(1)
        error = blocks.std(0, ddof=1) / np.sqrt(BLOCKS)
        moving = (truth - truth[0]).any(0)  # what does not vary has no error bar
        out.append(((seen.mean(0) - p @ truth) / np.maximum(error, 1e-12))[moving])
    return np.concatenate(out)


def chi_squares(samples, name) -> list[float]:
    """p-values of how often each state was seen, at every condition."""
    e, out = enumeration(name), []
    for c in range(len(samples)):
        index = e.index(torch.as_tensor(samples.occ[c]))
        counts = torch.bincount(index, minlength=len(e))
        out.append(chi_square(counts, len(index) * exact(name, float(samples.T[c]), samples.mu[c])))
    return out


def grid(name, n=N, sweeps=SWEEPS, **kw):
    s = SYSTEMS[name]
    return replica_exchange(hamiltonian(name), s.T, s.mu, n, sweeps=sweeps, burn=100, **kw)


def chains(name, n=N, sweeps=SWEEPS, **kw):
    T, mu = (x.numpy() for x in SYSTEMS[name].conditions())
    return metropolis(hamiltonian(name), T, mu, n, sweeps=sweeps, burn=100, **kw)


# ---------------------------------------------------------------------- against enumeration
@pytest.mark.parametrize("name", EXCHANGED)
def test_replica_exchange_means_are_exact(name):
    s = grid(name)
    assert np.abs(deviations(s, name)).max() < 5
    assert 0.1 < s.exchange < 1 and (s.acceptance > 0.005).all()


def test_metropolis_means_are_exact(system):
    s = chains(system, sweeps=8)
    assert np.abs(deviations(s, system)).max() < 5
    assert np.isnan(s.exchange)


@pytest.mark.parametrize("name", ["ising-3", "cuau-skew", "two-sublattice"])
def test_every_state_is_seen_as_often_as_it_should(name):
    assert min(chi_squares(grid(name, sweeps=25), name)) > 1e-4
    assert min(chi_squares(chains(name, sweeps=60), name)) > 1e-4


# ---------------------------------------------------------------------- samplers that must fail
def hot(name, n):
    """A sampler that accepts everything: infinitely hot, whatever it is asked for."""
    T, mu = (x.numpy() for x in SYSTEMS[name].conditions())
    s = metropolis(hamiltonian(name), np.full_like(T, 1e15), mu, n, sweeps=SWEEPS, burn=10)
    assert (s.acceptance == 1).all()
    return type(s)(T, mu, s.occ, s.energy, s.acceptance, s.exchange)


@pytest.mark.parametrize("name", EXCHANGED)
def test_accepting_everything_fails(name):
    s = hot(name, N)
    assert np.abs(deviations(s, name)).max() > 15
    assert max(chi_squares(s, name)) < 1e-12


@pytest.mark.parametrize("name", EXCHANGED)
def test_a_temperature_off_by_a_tenth_or_a_sign_of_mu_fails(name):
    s = grid(name)
    assert np.abs(deviations(s, name, T=1.1 * s.T)).max() > 5
    assert np.abs(deviations(s, name, mu=-s.mu)).max() > 15


@pytest.mark.parametrize("name", EXCHANGED)
def test_swapping_always_fails(name, monkeypatch):
    def always(pairs, replica_at, *rest):
        for a, b in pairs:
            replica_at[a], replica_at[b] = replica_at[b], replica_at[a]

    monkeypatch.setattr(kernels, "exchange", always)
    assert np.abs(deviations(grid(name, sweeps=1), name)).max() > 8


def test_swapping_by_energy_alone_fails(monkeypatch):
    """The rule without its chemical part is right at one mu only."""
    right = kernels.exchange

    def energy_only(pairs, replica_at, energy, counts, *rest):
        right(pairs, replica_at, energy, np.zeros_like(counts), *rest)

    monkeypatch.setattr(kernels, "exchange", energy_only)
    assert np.abs(deviations(grid("two-sublattice", sweeps=1), "two-sublattice")).max() > 8


# ---------------------------------------------------------------------- the single flip
TINY = {"ising-2": lambda: ising(2, h=0.3),
        "many-body": lambda: hamiltonian("many-body").expansion.on((1, 2, 2)),
        "spectator": lambda: hamiltonian("spectator").expansion.on((2, 2, 1)),
        "ternary": lambda: hamiltonian("ternary").expansion.on((2, 2, 1)),
        "two-sublattice": lambda: hamiltonian("two-sublattice").expansion.on((2, 1, 1))}


def rule(h, occ, T, mu) -> tuple[np.ndarray, np.ndarray]:
    """Transition matrix of one attempt, written out (uniform site, uniform other species, min(1, ratio)), and p(x)."""
    reduced = (h.energy(occ) - h.counts(occ) @ mu).numpy() / (h.kB * T)
    number = {tuple(x): k for k, x in enumerate(occ.tolist())}
    matrix = np.zeros((len(occ), len(occ)))
    free = np.flatnonzero(h.lattice.n_species > 1)
    for k, x in enumerate(occ.tolist()):
        for i in free:
            for a in range(h.lattice.n_species[i]):
                if a != x[i]:
                    j = number[(*x[:i], a, *x[i + 1 :])]
                    share = 1 / (len(free) * (h.lattice.n_species[i] - 1))
                    matrix[k, j] += share * min(1.0, np.exp(reduced[k] - reduced[j]))
        matrix[k, k] = 1 - matrix[k].sum()
    weight = np.exp(reduced.min() - reduced)
    return matrix, weight / weight.sum()


@pytest.mark.parametrize("name, lookup", [*((n, False) for n in TINY), *((n, True) for n in list(TINY)[:3])])
def test_one_attempt_of_the_kernel_is_the_rule(name, lookup):
    """From every state, many single attempts: their end points follow the exact transition matrix."""
    h = TINY[name]()
    occ = torch.cartesian_prod(*[torch.arange(int(s)) for s in h.lattice.n_species])
    copies = 300_000 // len(occ)
    T, width = (2.6, 10.0) if name == "ising-2" else (700.0, 1.0)
    mu = torch.linspace(-0.05, 0.08, len(h.elements), dtype=torch.float64) * width
    matrix, p = rule(h, occ, T, mu)
    np.testing.assert_allclose(p @ matrix, p, atol=1e-14)
    np.testing.assert_allclose(p[:, None] * matrix, (p[:, None] * matrix).T, atol=1e-14)  # detailed balance

    start = occ.repeat_interleave(copies, 0)
    n = len(start)
    state, energy, counts = start.numpy().astype(np.int8), h.energy(start).numpy(), h.counts(start).numpy()
    seeds = np.random.SeedSequence(5).generate_state(n, np.uint64)
    accepted, element = np.zeros(n, dtype=np.int64), h.lattice.element_index[h.lattice.sublattice]
    chains = (state, energy, counts, np.full(n, 1 / (h.kB * T)), np.tile(mu.numpy(), (n, 1)), seeds, 1, accepted,
              np.flatnonzero(h.lattice.n_species > 1))
    if lookup:
        sweep_lookup(*chains, element, h.lookup)
    else:
        kernels.sweep_replicas(*chains, h.lattice.n_species, element, h.site_functions, h.trie)
    end = torch.as_tensor(state).long()
    np.testing.assert_allclose(energy, h.energy(end).numpy(), atol=1e-10)
    np.testing.assert_allclose(counts, h.counts(end).numpy())
    assert np.array_equal(accepted == 1, (end != start).any(1).numpy())
    strides = np.cumprod([1, *h.lattice.n_species[:0:-1]])[::-1].copy()
    arrived = np.zeros_like(matrix)
    np.add.at(arrived, (np.arange(n) // copies, (state @ strides)), 1)
    assert (arrived[matrix == 0] == 0).all()
    assert chi_square(arrived[matrix > 0], copies * matrix[matrix > 0], constraints=len(occ)) > 1e-4
    # negative controls: a colder rule, and one blind to mu
    for other in (rule(h, occ, T / 1.1, mu)[0], rule(h, occ, T, 0 * mu)[0]):
        assert chi_square(arrived[matrix > 0], copies * other[matrix > 0], constraints=len(occ)) < 1e-6


TABLES = ["ising-3", "cuau-2x2x2", "cuau-1x2x4", "cuau-skew", "spectator", "many-body"]


@pytest.mark.parametrize("name", SYSTEMS)
def test_lookup_tables_exist_for_two_species(name):
    assert (hamiltonian(name).lookup is not None) == (name in TABLES)


LARGER = {"ising-7": lambda: ising(7, h=0.2), "cuau-4x4x4": lambda: alloygen.data.cuau().on((4, 4, 4)),
          "cuau-3x4x5": lambda: alloygen.data.cuau().on((3, 4, 5))}


@pytest.mark.parametrize("name", [*TABLES, *LARGER])
def test_the_lookup_table_makes_the_same_moves(name):
    """The two kernels draw the same random numbers, so the chains are the same as long as the energies agree."""
    h = LARGER[name]() if name in LARGER else hamiltonian(name)
    T = np.array([0.8, 1.5, 4.0]) * (500 if h.unit == "eV" else 2)
    mu = np.zeros((3, len(h.elements)))
    mu[:, 1] = np.array([0.03, -0.05, 0.07]) * (1 if h.unit == "eV" else 10)
    fast, slow = Chains(h, T, mu, 4), Chains(h, T, mu, 4, lookup=False)
    for _ in range(10):
        fast.step(20)
        slow.step(20)
        assert np.array_equal(fast.occ, slow.occ) and np.array_equal(fast.counts, slow.counts)
        np.testing.assert_allclose(fast.energy, slow.energy, rtol=0, atol=1e-9)
    assert 0 < fast.accepted.min() and np.array_equal(fast.accepted, slow.accepted)
    np.testing.assert_allclose(fast.energy, h.energy(torch.as_tensor(fast.occ).long()).numpy(), rtol=0, atol=1e-9)


def test_random_numbers_are_uniform_and_of_a_known_generator():
    state = np.array([np.uint64(1234567)])
    u = np.array([kernels.next_random(state, 0) for _ in range(20000)])
    # SplitMix64 with seed 1234567: the first output of the reference implementation, to 53 bits
    assert u[0] == (6457827717110365317 >> 11) / 2**53
    counts, _ = np.histogram(u, 50, (0, 1))
    assert chi_square(counts, np.full(50, 400.0)) > 1e-4
    assert abs(np.corrcoef(u[1:], u[:-1])[0, 1]) < 5 / np.sqrt(20000)


# ---------------------------------------------------------------------- bookkeeping
@pytest.mark.parametrize("name", EXCHANGED)
def test_energies_and_counts_are_kept_up_to_date(name):
    h, s = hamiltonian(name), grid(name, n=300)
    for c in range(len(s)):
        np.testing.assert_allclose(s.energy[c], h.energy(torch.as_tensor(s.occ[c]).long()).numpy(), atol=1e-10)
    T, mu = (x.numpy() for x in SYSTEMS[name].conditions())
    run = Chains(h, T, mu, 0, grid_pairs(len(SYSTEMS[name].T), len(SYSTEMS[name].mu)))
    for _ in range(50):
        run.step(3)
    occ = torch.as_tensor(run.occ).long()
    np.testing.assert_allclose(run.energy, h.energy(occ).numpy(), atol=1e-10)
    np.testing.assert_allclose(run.counts, h.counts(occ).numpy())
    assert sorted(run.replica_at) == list(range(len(T)))
    assert not np.array_equal(run.replica_at, np.arange(len(T))) or sum(x.sum() for x in run.swapped) > 0


def test_exchange_happens_in_temperature_and_in_mu():
    name = "cuau-2x2x2"
    T, mu = (x.numpy() for x in SYSTEMS[name].conditions())
    run = Chains(hamiltonian(name), T, mu, 0, grid_pairs(2, 2))
    for _ in range(200):
        run.step(1)
    assert [p.tolist() for p in run.pairs] == [[[0, 2], [1, 3]], [[0, 1], [2, 3]]]
    assert all((tried == 100).all() for tried in run.tried)
    assert all((swapped > 5).all() and (swapped < 100).all() for swapped in run.swapped)


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (5, 1), (2, 3), (4, 5)])
def test_pairs_join_all_neighbours_of_the_grid_once(shape):
    sets = grid_pairs(*shape)
    assert all(len(np.unique(s)) == s.size for s in sets)  # disjoint within a set
    joined = {tuple(p) for s in sets for p in s.tolist()}
    index = np.arange(shape[0] * shape[1]).reshape(shape)
    expected = {*zip(index[:-1].ravel(), index[1:].ravel(), strict=True),
                *zip(index[:, :-1].ravel(), index[:, 1:].ravel(), strict=True)}
    assert joined == expected and sum(map(len, sets)) == len(expected)


@pytest.mark.parametrize("run", [grid, chains])
def test_the_seed_decides_and_threads_do_not(run):
    one, same, other, two = (run("cuau-2x2x2", n=40, **kw) for kw in ({}, {}, {"seed": 1}, {"threads": 2}))
    for a in (same, two):
        assert np.array_equal(one.occ, a.occ) and np.array_equal(one.energy, a.energy)
        assert np.array_equal(one.acceptance, a.acceptance)
    assert not np.array_equal(one.occ, other.occ)


def test_conditions_come_with_T_slow():
    s = grid("cuau-2x2x2", n=2)
    T, mu = SYSTEMS["cuau-2x2x2"].conditions()
    assert s.T.tolist() == T.tolist() and s.mu.tolist() == mu.tolist() and len(s) == 4
    assert s.occ.shape == (4, 2, 8) and s.occ.dtype == np.int8


def test_chains_start_where_they_are_told():
    h = hamiltonian("cuau-2x2x2")
    occ = h.random(2, generator(8))
    run = Chains(h, [500.0, 600.0], [[0, 0], [0, 0]], 0, occ=occ)
    got, energy = run.configurations()
    assert np.array_equal(got, occ.numpy()) and np.array_equal(energy, h.energy(occ).numpy())
    run.step(5)
    assert torch.equal(occ, h.random(2, generator(8)))  # the caller's array is left alone


def test_what_cannot_be_run_is_said():
    with pytest.raises(AlloygenError, match="n >= 1, sweeps >= 1 and burn >= 0, got n=0"):
        grid("ising-3", n=0)
    fixed = ClusterExpansion(Primitive(np.eye(3), [[0, 0, 0]], [("Cu",)]), [[1.0]], ()).on((2, 2, 1))
    with pytest.raises(AlloygenError, match="nothing can change"):
        metropolis(fixed, [1.0], [[0.0]], 1)
