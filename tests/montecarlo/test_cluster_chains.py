"""Swendsen-Wang and Wolff against their exact matrices, enumeration, Kaufman and the transfer matrix, with controls."""

import itertools
from functools import cache

import numpy as np
import pytest
import torch
from small_systems import generator, hamiltonian

from alloygen.errors import AlloygenError, BadCondition
from alloygen.exact.enumeration import Enumeration
from alloygen.exact.ising import kaufman_log_z, transfer_matrix
from alloygen.hamiltonian.expansion import ClusterExpansion, Orbit
from alloygen.hamiltonian.ising import ising
from alloygen.lattice import Primitive
from alloygen.montecarlo.cluster_chains import KINDS, ClusterChains, couplings
from alloygen.testing import chi_square

EV = dict(T=700.0, mu=(0.0, -0.03, 0.05, 0.0))


def ferromagnet():
    """Two sublattices that share an element, a spectator, uneven site functions, points and random ferromagnetic pairs."""
    rng = np.random.default_rng(6)
    basis = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0, 0]]
    primitive = Primitive(np.eye(3), basis, [("A", "B"), ("B", "C"), ("O",)])
    around = list(itertools.product((0, 1), (-1, 0), (0,), range(3)))
    orbits = [Orbit("constant", 0.3, np.zeros((1, 0, 4)), np.zeros((1, 0)), [1.0])]
    for k in range(3):
        points = rng.choice(len(around), (3, 1))
        pairs = np.stack([rng.choice(len(around), 2, replace=False) for _ in range(4)])
        orbits.append(
            Orbit(f"p{k}", 0.05 * rng.normal(), np.array(around)[points], rng.integers(2, size=(3, 1)), [1, 0.5, 2])
        )
        orbits.append(
            Orbit(f"q{k}", -0.04 * rng.random(), np.array(around)[pairs], rng.integers(2, size=(4, 2)), rng.random(4))
        )
    return ClusterExpansion(
        primitive, [[-0.7, 0.4, 1.1, 0.5], [0.2, 0.9, 1.5, -0.8]], tuple(orbits), name="ferromagnet"
    )


@cache
def system(name):
    """(Hamiltonian, T, mu)."""
    if name == "ferromagnet":
        return ferromagnet().on((2, 2, 1)), EV["T"], EV["mu"]
    if name == "ferromagnet-4":
        return ferromagnet().on((1, 2, 1)), EV["T"], EV["mu"]
    L, h, T, mu = {
        "ising-2": (2, 0.3, 4.0, -1.1),
        "ising-2-hot": (2, 0.5, 9.0, 0.4),
        "ising-3": (3, 0.15, 2.6, -0.5),
        "ising-3-free": (3, 0.0, 2.3, 0.0),
        "ising-4": (4, 0.1, 2.3, -0.1),
    }[name]
    return ising(L, h), T, (0.0, mu)


def law(name, warmer=1.0, turned=1.0):
    """p(x), in the order of ``enumerate_states``."""
    h, T, mu = system(name)
    e = enumeration(name)
    return torch.softmax(torch.as_tensor(-(e.energy - turned * e.counts @ mu) / (h.kB * T * warmer)), 0).numpy()


@cache
def enumeration(name):
    return Enumeration(system(name)[0])


def chains(name, n, kind, seed=0, **kw):
    h, T, mu = system(name)
    return ClusterChains(h, h.condition(np.full(n, T), [mu]), seed, kind, **kw)


# ---------------------------------------------------------------------- the Hamiltonian as couplings
@pytest.mark.parametrize("name", ["ising-2", "ising-3", "ferromagnet", "ferromagnet-4"])
def test_couplings_give_the_energy(name):
    h, _, mu = system(name)
    c, e = couplings(h, mu), enumeration(name)
    s = 2.0 * e.occ - 1
    s[:, h.lattice.n_species == 1] = 1
    K = np.zeros((h.n_sites, h.n_sites))
    K[np.repeat(np.arange(h.n_sites), np.diff(c.ptr)), c.site] = c.strength
    assert np.array_equal(K, K.T) and (c.strength > 0).all()
    got = (
        c.constant
        - 0.5 * np.einsum("bi,ij,bj->b", s, K, s)
        - s[:, h.lattice.n_species > 1] @ c.field[h.lattice.n_species > 1]
    )
    assert np.abs(got - (e.energy - e.counts @ mu)).max() < 1e-12
    both = couplings(h, [mu, np.zeros(len(mu))])
    assert np.array_equal(both.field[0], c.field) and np.array_equal(both.field[1], couplings(h).field)
    assert both.constant.shape == (2,)


# ---------------------------------------------------------------------- one move, exactly
def clusters(n, bonds) -> list[int]:
    label = list(range(n))
    for i, j in bonds:
        a, b = label[i], label[j]
        label = [a if k == b else k for k in label]
    return label


def exact_matrix(name, kind, warmer=1.0, turned=1.0):
    """P[x, y] of one move: a sum over every set of bonds, those to the ghost (site n) among them."""
    h, T, mu = system(name)
    c, beta = couplings(h, mu), 1 / (h.kB * T * warmer)
    free, n = np.flatnonzero(h.lattice.n_species > 1), h.n_sites
    site = np.repeat(np.arange(n), np.diff(c.ptr))
    edges = [(i, j, K, 1) for i, j, K in zip(site, c.site, c.strength, strict=True) if i < j]
    edges += [(i, n, abs(c.field[i]), np.sign(turned * c.field[i])) for i in free]
    occ = enumeration(name).occ
    index, P = {tuple(x): k for k, x in enumerate(occ)}, np.zeros((len(occ), len(occ)))
    for k, x in enumerate(occ):
        s = np.append(2 * x - 1, 1)
        live = [(i, j, -np.expm1(-2 * beta * K)) for i, j, K, sign in edges if s[i] * s[j] == sign]
        for chosen in itertools.product((0, 1), repeat=len(live)):
            weight = np.prod([p if on else 1 - p for on, (_, _, p) in zip(chosen, live, strict=True)])
            label = clusters(n + 1, [e[:2] for on, e in zip(chosen, live, strict=True) if on])
            loose = sorted({label[i] for i in free} - {label[n]})
            if kind == "wolff":
                moves = [({label[i]} & set(loose), 1 / len(free)) for i in free]
            else:
                moves = [
                    ({a for a, f in zip(loose, flip, strict=True) if f}, 0.5 ** len(loose))
                    for flip in itertools.product((0, 1), repeat=len(loose))
                ]
            for flipped, p in moves:
                y = tuple(1 - v if i in free and label[i] in flipped else v for i, v in enumerate(x))
                P[k, index[y]] += weight * p
    return P


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["ising-2", "ising-2-hot", "ferromagnet-4"])
def test_one_move_leads_from_every_state_where_it_should(name, kind):
    P, p, each = exact_matrix(name, kind), law(name), 8000
    flow = p[:, None] * P
    assert np.abs(P.sum(1) - 1).max() < 1e-12 and np.abs(flow - flow.T).max() < 1e-14  # detailed balance
    e = enumeration(name)
    run = chains(name, each * len(p), kind, occ=np.repeat(e.occ, each, 0))
    run.step(1)
    index = e.index(run.occ).reshape(len(p), each)
    seen = np.stack([np.bincount(k, minlength=len(p)) for k in index])

    def worst(P):
        p_values = [chi_square(row, each * q) for row, q in zip(seen, P, strict=True)]
        return 0.0 if seen[P < 1e-15].any() else np.nanmin(p_values)

    assert worst(P) > 1e-4
    assert worst(exact_matrix(name, kind, warmer=1.1)) < 1e-6
    assert worst(exact_matrix(name, kind, turned=-1.0)) < 1e-6


# ---------------------------------------------------------------------- laws
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["ising-3", "ising-3-free", "ferromagnet"])
def test_every_state_comes_as_often_as_it_should(name, kind):
    n = 20_000
    run = chains(name, n, kind, seed=1)
    run.step(60)
    counts = np.bincount(enumeration(name).index(run.occ), minlength=len(enumeration(name)))
    assert chi_square(counts, n * law(name)) > 1e-4
    assert chi_square(counts, n * law(name, warmer=1.1)) < 1e-6
    assert not any(system(name)[2]) or chi_square(counts, n * law(name, turned=-1.0)) < 1e-6


def deviation(values, exact) -> float:
    """(mean - exact) in standard errors; chains are independent."""
    return (values.mean() - exact) / (values.std(ddof=1) / np.sqrt(len(values)))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["ising-4", "ferromagnet"])
def test_means_are_exact(name, kind):
    h, T, mu = system(name)
    run = chains(name, 10_000 if name == "ising-4" else 60_000, kind, seed=2)
    run.step(60)
    n, e = h.n_sites, enumeration(name)
    right, warm, turned = (
        e.at(e.hamiltonian.condition(T, mu)),
        e.at(e.hamiltonian.condition(1.1 * T, mu)),
        e.at(e.hamiltonian.condition(T, -np.array(mu))),
    )
    moving = np.flatnonzero(np.ptp(e.counts, axis=0))
    assert abs(deviation(run.energy, n * right.energy)) < 4.5 < 9 < abs(deviation(run.energy, n * warm.energy))
    assert max(abs(deviation(run.counts[:, k], n * right.composition[k])) for k in moving) < 4.5
    assert max(abs(deviation(run.counts[:, k], n * turned.composition[k])) for k in moving) > 9


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "moves"), [("wolff", 80), ("swendsen-wang", 40)])
def test_10x10_ising(kind, moves):
    """With field against the transfer matrix, without against Kaufman; the field as chemical potential."""
    each = 1000
    run = ClusterChains(
        ising(10),
        ising(10).condition(np.repeat([2.3, 2.3, 2.53], each), np.repeat([[0, 0.1], [0, 0], [0, 0.1]], each, 0)),
        5,
        kind,
    )
    run.step(moves)
    e, m = run.energy.reshape(3, each), (run.counts @ [-1, 1]).reshape(3, each)
    exact = transfer_matrix(10, 2.3, 0.05)
    free = -(kaufman_log_z(10, 10, 1 / (1 / 2.3 + 1e-5)) - kaufman_log_z(10, 10, 1 / (1 / 2.3 - 1e-5))) / 2e-5
    assert abs(deviation(e[0], 100 * exact.energy)) < 4.5 and abs(deviation(m[0], 100 * exact.magnetization)) < 4.5
    assert abs(deviation(e[1], free)) < 4.5 and abs(deviation(m[1], 0.0)) < 4.5
    assert abs(deviation(e[2], 100 * exact.energy)) > 9 and abs(deviation(m[0], -100 * exact.magnetization)) > 9


# ---------------------------------------------------------------------- bookkeeping
@pytest.mark.parametrize("kind", KINDS)
def test_energies_counts_and_counters_are_kept(kind):
    h, T, mu = system("ferromagnet")
    run = ClusterChains(h, h.condition([T, 2 * T], [mu]), 3, kind)
    assert run.mu.shape == (2, 4) and run.acceptance.tolist() == [0, 0]
    run.step(7)
    occ, energy = run.configurations()
    assert occ.dtype == np.int8 and not occ[:, h.lattice.n_species == 1].any()
    assert np.array_equal(energy, h.energy(occ))
    assert np.array_equal(run.counts, h.counts(occ))
    assert run.attempts.tolist() == [56, 56] and ((0 < run.acceptance) & (run.acceptance <= 1)).all()
    occ[:] = energy[:] = 1
    assert not np.array_equal(run.occ, occ)  # copies were given
    run.reset_counters()
    assert not run.accepted.any() and not run.attempts.any()


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_decides_and_a_run_continues(kind):
    h = ising(6, 0.1)
    one, same, other = (ClusterChains(h, h.condition([2.0, 2.5], [0, 0.1]), s, kind) for s in (4, 4, 5))
    for run in (one, same, other):
        run.step(9)
    assert np.array_equal(one.occ, same.occ) and not np.array_equal(one.occ, other.occ)
    kept = one.state()
    one.step(5)
    other.restore(kept)
    for _ in range(5):
        other.step(1)
    assert all(np.array_equal(a, other.state()[k]) for k, a in one.state().items())
    assert np.array_equal(one.energy, other.energy) and not np.array_equal(kept["occ"], one.occ)


@pytest.mark.slow
def test_chains_are_independent():
    run = ClusterChains(ising(3, 0.1), ising(3, 0.1).condition(np.full(200, 3.0), [0, 0]), 8, "swendsen-wang")
    series = np.empty((1500, 200))
    for k in range(len(series)):
        run.step(8)
        series[k] = run.counts[:, 1]
    z = np.corrcoef(series.T)[np.triu_indices(200, 1)] * np.sqrt(len(series))
    assert np.abs(z).max() < 5.5 and abs((z**2).mean() - 1) < 0.1


def test_the_start_is_as_given():
    occ = ising(3).random(2, generator(8))
    run = ClusterChains(ising(3), ising(3).condition([2.0, 3.0], [0, 0]), 0, occ=occ)
    assert np.array_equal(run.configurations()[0], occ.numpy())
    run.step(5)
    assert torch.equal(occ, ising(3).random(2, generator(8)))  # the caller's array is left alone


def test_what_cannot_be_run_is_said():
    with pytest.raises(AlloygenError, match="points and pairs only, got clusters of 4 sites"):
        couplings(hamiltonian("cuau-2x2x2"))
    with pytest.raises(AlloygenError, match="one or two species, some of two, got 3"):
        couplings(hamiltonian("ternary"))
    with pytest.raises(AlloygenError, match=r"K_ij >= 0.*got -0.5 between the sites 0 and 1 and 32 negative"):
        couplings(ising(4, J=-0.5))
    fixed = ClusterExpansion(Primitive(np.eye(3), [[0, 0, 0]], [("Cu",)]), [[1.0]], ()).on((2, 2, 1))
    with pytest.raises(AlloygenError, match="some of two, got 1"):
        ClusterChains(fixed, fixed.condition([1.0], [[0.0]]), 0)
    with pytest.raises(AlloygenError, match="kind as one of"):
        ClusterChains(ising(3), ising(3).condition([1.0], [[0, 0]]), 0, "metropolis")
    with pytest.raises(AlloygenError, match=r"one configuration per condition \(2\), got 1"):
        ClusterChains(ising(3), ising(3).condition([1.0, 2.0], [[0, 0]]), 0, occ=np.zeros((1, 9), dtype=int))
    for T, mu in (([0.0], [[0, 0]]), ([1.0], [[0, 0, 0]]), ([1.0, 2.0], np.zeros((3, 2)))):
        with pytest.raises(BadCondition):
            ClusterChains(ising(3), ising(3).condition(T, mu), 0)
