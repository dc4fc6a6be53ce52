"""Compiled moves and the bookkeeping of chains: one attempt is the rule, every fast path walks the chain of the slow one."""

import numpy as np
import pytest
import torch
from small_systems import generator, hamiltonian

import alloygen.data
from alloygen.errors import AlloygenError
from alloygen.hamiltonian.flips import build_flip_tables
from alloygen.hamiltonian.ising import ising
from alloygen.montecarlo import moves
from alloygen.montecarlo.chains import Chains
from alloygen.montecarlo.rng import seeds
from alloygen.montecarlo.single_moves import Flip
from alloygen.montecarlo.tempering import grid_pairs, mu_neighbours
from alloygen.testing import SYSTEMS, chi_square

TINY = {
    "ising-2": lambda: ising(2, h=0.3),
    "many-body": lambda: hamiltonian("many-body").expansion.on((1, 2, 2)),
    "spectator": lambda: hamiltonian("spectator").expansion.on((2, 2, 1)),
    "ternary": lambda: hamiltonian("ternary").expansion.on((2, 2, 1)),
    "two-sublattice": lambda: hamiltonian("two-sublattice").expansion.on((2, 1, 1)),
}


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


def walkers(h, start, seed=5):
    n, tables = len(start), h.flip_tables
    w = moves.Walkers(start.numpy().astype(np.int8), np.zeros((n, h.n_sites * tables.n_words), dtype=np.int64),
                      h.energy(start).numpy().copy(), h.counts(start).numpy().copy(), seeds(seed, n),
                      np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64))  # fmt: skip
    moves.fill(tables, w)
    return w


def swap_rule(h, occ, T) -> np.ndarray:
    """Transition matrix of one swap: a uniform pair among those whose elements differ and fit, min(1, ratio)."""
    energy, lattice = h.energy(occ).numpy() / (h.kB * T), h.lattice
    number = {tuple(x): k for k, x in enumerate(occ.tolist())}
    matrix, free = np.zeros((len(occ), len(occ))), np.flatnonzero(lattice.n_species > 1)
    element = lambda i, s: lattice.element_index[lattice.sublattice[i]][s]  # noqa: E731
    for k, x in enumerate(occ.tolist()):
        ends = []
        for i in free:
            for j in free:
                a, b = element(i, x[i]), element(j, x[j])
                of = [lattice.element_index[lattice.sublattice[s]][: lattice.n_species[s]].tolist() for s in (i, j)]
                if a != b and b in of[0] and a in of[1]:
                    y = list(x)
                    y[i], y[j] = of[0].index(b), of[1].index(a)
                    ends.append(number[tuple(y)])
        for j in ends:
            matrix[k, j] += min(1.0, np.exp(energy[k] - energy[j])) / len(ends)
        matrix[k, k] += 1 - matrix[k].sum()
    return matrix


def arrivals(h, occ, run, copies):
    """How often each state is reached from each by one call of ``run(walkers)``; energies and counts are checked."""
    start = occ.repeat_interleave(copies, 0)
    w = walkers(h, start)
    run(w)
    end = torch.as_tensor(w.occ).long()
    np.testing.assert_allclose(w.energy, h.energy(end).numpy(), atol=1e-10)
    np.testing.assert_allclose(w.counts, h.counts(end).numpy())
    assert np.array_equal(w.accepted == 1, (end != start).any(1).numpy()) and (w.tried == 1).all()
    strides = np.cumprod([1, *h.lattice.n_species[:0:-1]])[::-1].copy()
    arrived = np.zeros((len(occ), len(occ)))
    np.add.at(arrived, (np.arange(len(start)) // copies, (w.occ @ strides)), 1)
    return arrived


@pytest.mark.slow
@pytest.mark.parametrize("name, move", [*((n, m) for n in TINY for m in ("flips", "swaps")),
                                        ("ising-2", "threshold_flips"), ("spectator", "threshold_flips")])  # fmt: skip
def test_one_attempt_of_the_kernel_is_the_rule(name, move):
    """From every state of a 4-site system, many single attempts: their end points follow the exact transition matrix."""
    h = TINY[name]()
    occ = torch.cartesian_prod(*[torch.arange(int(s)) for s in h.lattice.n_species])
    copies = 300_000 // len(occ)
    T, width = (2.6, 10.0) if name == "ising-2" else (700.0, 1.0)
    mu = torch.linspace(-0.05, 0.08, len(h.elements), dtype=torch.float64) * width
    sites, R = np.flatnonzero(h.lattice.n_species > 1), len(occ) * copies
    matrix, p = (swap_rule(h, occ, T), None) if move == "swaps" else rule(h, occ, T, mu)
    if p is None:
        p = np.exp(-h.energy(occ).numpy() / (h.kB * T))
        p /= p.sum()
    np.testing.assert_allclose(p @ matrix, p, atol=1e-14)
    np.testing.assert_allclose(p[:, None] * matrix, (p[:, None] * matrix).T, atol=1e-14)  # detailed balance
    beta, mus, tables = np.full(R, 1 / (h.kB * T)), np.tile(mu.numpy(), (R, 1)), h.flip_tables
    if move == "swaps":
        changing = ~np.isclose(matrix.diagonal(), 1)
        run = lambda w: moves.swaps(tables, w, 0, R, beta, mus, 1, sites)  # noqa: E731
    else:
        run = lambda w: getattr(moves, move)(tables, w, 0, R, beta, mus, 1, sites)  # noqa: E731
    arrived = arrivals(h, occ, run, copies)
    assert (arrived[matrix == 0] == 0).all()
    judge = lambda m: chi_square(arrived[matrix > 0], copies * m[matrix > 0], constraints=len(occ))  # noqa: E731
    if move == "swaps":
        assert changing.sum() > 2
    assert judge(matrix) > 1e-4
    # negative controls: a colder rule, and one blind to mu
    controls = (
        [swap_rule(h, occ, T / 3)] if move == "swaps" else [rule(h, occ, T / 1.1, mu)[0], rule(h, occ, T, 0 * mu)[0]]
    )
    for other in controls:
        assert judge(other) < 1e-6


# ---------------------------------------------------------------------- fast paths
LARGER = {
    "ising-7": lambda: ising(7, h=0.2),
    "cuau-4x4x4": lambda: alloygen.data.cuau().on((4, 4, 4)),
    "cuau-3x4x5": lambda: alloygen.data.cuau().on((3, 4, 5)),
}


@pytest.mark.parametrize("name", [*SYSTEMS, *LARGER])
def test_the_cut_of_the_tables_does_not_change_the_chain(name):
    """Tables of another size hold the same energies, so the same random numbers make the same moves."""
    h = LARGER[name]() if name in LARGER else hamiltonian(name)
    T = np.array([0.8, 1.5, 4.0]) * (500 if h.unit == "eV" else 2)
    mu = np.zeros((3, len(h.elements)))
    mu[:, 1] = np.array([0.03, -0.05, 0.07]) * (1 if h.unit == "eV" else 10)
    a, b = Chains(h, h.condition(T, mu), 4), Chains(h, h.condition(T, mu), 4)
    b.tables = build_flip_tables(h, 40)
    b.walkers = b.walkers._replace(states=np.zeros((3, h.n_sites * b.tables.n_words), dtype=np.int64))
    moves.fill(b.tables, b.walkers)
    for run in (a, b):
        for _ in range(5):
            moves.flips(run.tables, run.walkers, 0, 3, run.beta, run.mu, 20 * h.n_sites, run.sites)
    assert np.array_equal(a.walkers.occ, b.walkers.occ) and a.walkers.accepted.min() > 0
    np.testing.assert_allclose(a.walkers.energy, b.walkers.energy, rtol=0, atol=1e-9)
    np.testing.assert_allclose(a.walkers.energy, h.energy(a.walkers.occ), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "name, short", [("ising-3", True), ("spectator", True), ("cuau-2x2x2", False), ("ternary", False)]
)
def test_tabulated_acceptances_serve_short_tables(name, short):
    T, mu = SYSTEMS[name].conditions().arrays()
    chains = Chains(hamiltonian(name), hamiltonian(name).condition(T, mu))
    assert (chains.move.kernel(chains.tables, chains.sites) is moves.threshold_flips) == short


def test_a_field_that_sees_the_sublattice():
    """Tabulated acceptances keep sublattices apart: two of them with fields of opposite sign and two mus."""
    from alloygen.hamiltonian.expansion import ClusterExpansion, Orbit
    from alloygen.lattice import Primitive

    primitive = Primitive(np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], [("A", "B"), ("B", "C")])
    functions = [[-1.0, 1.0, 1.0], [0.0, 1.0, -1.0]]
    orbits = (Orbit("a", 0.05, [[(0, 0, 0, 0)]], [[0]], [1.0]), Orbit("b", -0.02, [[(0, 0, 0, 1)]], [[1]], [1.0]),
              Orbit("ab", 0.03, [[(0, 0, 0, 0), (0, 0, 0, 1)]], [[0, 1]], [1.0]))  # fmt: skip
    h = ClusterExpansion(primitive, functions, orbits).on((2, 1, 1))
    occ = torch.cartesian_prod(*[torch.arange(2)] * 4)
    mu = torch.tensor([0.0, 0.04, -0.03], dtype=torch.float64)
    R, T = 16 * 20_000, 700.0
    run = lambda w: moves.threshold_flips(h.flip_tables, w, 0, R, np.full(R, 1 / (h.kB * T)), np.tile(mu.numpy(), (R, 1)), 1,  # noqa: E731
                                          np.arange(4))  # fmt: skip
    assert Flip().kernel(h.flip_tables, np.arange(4)) is moves.threshold_flips
    arrived, (matrix, _) = arrivals(h, occ, run, 20_000), rule(h, occ, T, mu)
    assert chi_square(arrived[matrix > 0], 20_000 * matrix[matrix > 0], constraints=16) > 1e-4


# ---------------------------------------------------------------------- bookkeeping
@pytest.mark.parametrize("name", SYSTEMS)
def test_energies_and_counts_are_kept_up_to_date(name):
    h = hamiltonian(name)
    T, mu = SYSTEMS[name].conditions().arrays()
    run = Chains(h, h.condition(T, mu), 0, grid_pairs(len(SYSTEMS[name].T), len(SYSTEMS[name].mu)))
    for _ in range(50):
        run.step(3)
    occ = torch.as_tensor(run.walkers.occ).long()
    np.testing.assert_allclose(run.walkers.energy, h.energy(occ).numpy(), atol=1e-10)
    np.testing.assert_allclose(run.walkers.counts, h.counts(occ).numpy())
    assert sorted(run.replica_at) == list(range(len(T)))
    assert not np.array_equal(run.replica_at, np.arange(len(T))) or sum(x.sum() for x in run.swapped) > 0


def test_exchange_happens_in_temperature_and_in_mu():
    name = "cuau-2x2x2"
    T, mu = SYSTEMS[name].conditions().arrays()
    run = Chains(hamiltonian(name), hamiltonian(name).condition(T, mu), 0, grid_pairs(2, 2))
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
    expected = {
        *zip(index[:-1].ravel(), index[1:].ravel(), strict=True),
        *zip(index[:, :-1].ravel(), index[:, 1:].ravel(), strict=True),
    }
    assert joined == expected and sum(map(len, sets)) == len(expected)


def test_pairs_of_a_plane_of_mu_join_its_rows_and_columns():
    """And those that follow each other where a list is no grid, or a line in a plane of three elements."""
    plane = np.array([[0, a, b] for a in (0.0, 0.1, 0.3) for b in (-0.2, 0.0, 0.2, 0.5)])
    sets = mu_neighbours(plane)
    assert len(sets) == 4 and all(len(np.unique(s)) == s.size for s in sets)
    index, joined = np.arange(12).reshape(3, 4), {tuple(sorted(p)) for s in sets for p in s.tolist()}
    down, across = (
        zip(index[:-1].ravel(), index[1:].ravel(), strict=True),
        zip(index[:, :-1].ravel(), index[:, 1:].ravel(), strict=True),
    )
    assert joined == {*down, *across}
    shuffled = np.random.default_rng(0).permutation(12)
    assert {tuple(sorted(shuffled[list(p)])) for s in mu_neighbours(plane[shuffled]) for p in s.tolist()} == joined
    for line in (plane[:, [0, 1]][::4], np.array([[0, 0, 0], [0, 1, 1], [0, 2, 2.0]])):
        assert {tuple(p) for s in mu_neighbours(line) for p in s.tolist()} == {(0, 1), (1, 2)}
    both = grid_pairs(2, 12, sets)
    assert sum(map(len, both)) == 12 + 2 * len(joined) and all(len(np.unique(s)) == s.size for s in both)


def test_chains_start_where_they_are_told():
    h = hamiltonian("cuau-2x2x2")
    occ = h.random(2, generator(8))
    run = Chains(h, h.condition([500.0, 600.0], [[0, 0], [0, 0]]), 0, occ=occ, copies=1)
    got, energy = run.configurations()
    assert np.array_equal(got, occ.numpy()) and np.array_equal(energy, h.energy(occ).numpy())
    run.step(5)
    assert torch.equal(occ, h.random(2, generator(8)))  # the caller's array is left alone


def test_chains_leave_what_is_known():
    """One species for all chains, or one of each chain's own, with and without a start."""
    h = hamiltonian("cuau-2x2x2")
    own = np.full((4, 8), -1)
    own[:, [1, 6]] = np.arange(8).reshape(4, 2) % 3 % 2
    for known in (own[1], own):
        for occ in (None, h.random(4, generator(8))):
            run = Chains(h, h.condition([5000.0] * 4), 0, occ=occ, known=known)
            for _ in range(5):
                run.step(3)
                got = run.configurations()[0]
                assert np.array_equal(got[:, [1, 6]], np.broadcast_to(known, (4, 8))[:, [1, 6]])
            assert len(np.unique(got[:, run.sites], axis=0)) > 1 and run.sites.tolist() == [0, 2, 3, 4, 5, 7]
    other = own.copy()
    other[2, 3] = 0
    for bad, says in (
        (own >= 0, "species indices"), (own[:2], "species indices"), (own[0] + 2, "species of each site"), (other, "the same sites"),
        (np.zeros(8, dtype=int), "nothing can change"),
    ):  # fmt: skip
        with pytest.raises(AlloygenError, match=says):
            Chains(h, h.condition([500.0] * 4), 0, known=bad)


def test_state_and_restore_continue_bit_for_bit():
    name = "two-sublattice"
    T, mu = SYSTEMS[name].conditions().arrays()
    make = lambda: Chains(hamiltonian(name), hamiltonian(name).condition(T, mu), 7, grid_pairs(2, 2), copies=2)  # noqa: E731
    whole, first = make(), make()
    for _ in range(10):
        whole.step(3)
    for _ in range(4):
        first.step(3)
    state = first.state()
    first.step(50)  # what happens afterwards does not touch the state that was taken
    second = make()
    second.restore(state)
    for _ in range(6):
        second.step(3)
    for a, b in zip(whole.state().values(), second.state().values(), strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("name", ["ising-3", "cuau-2x2x2", "ternary"])
def test_infinite_temperature_has_no_rhythm(name):
    """Every state alike, even and odd numbers of atoms in one chain after any number of attempts."""
    h = hamiltonian(name)
    run, seen = Chains(h, h.condition([np.inf] * 50), 2), []
    for _ in range(400):
        run.step(2)
        seen.append(run.configurations()[0].copy())
    strides = np.cumprod([1, *h.lattice.n_species[:0:-1]])[::-1]
    index = (np.array(seen[5:], dtype=int) @ strides).ravel()
    counts = np.bincount(index, minlength=int(np.prod(h.lattice.n_species)))
    assert chi_square(counts, np.full(len(counts), len(index) / len(counts))) > 1e-4
    one = np.array(seen)[:, 0].sum(1) % 2
    assert 0.3 < one.mean() < 0.7


def test_round_trips_are_counted():
    h = ising(4)
    run = Chains(h, h.condition(np.linspace(1.5, 4.0, 4)), 1, grid_pairs(4, 1))
    history, trips = [], 0
    heading = np.zeros(4, dtype=int)
    for _ in range(300):
        run.step(1)
        history.append(run.replica_at.copy())
    for at in history:  # told from where every replica has been
        trips += heading[at[0]] == 2
        heading[at[0]] = 1
        heading[at[-1]] = 2 if heading[at[-1]] else 0
    assert run.trips.sum() == trips > 10


def test_rates_are_those_of_each_pair():
    h = hamiltonian("cuau-2x2x2")
    run = Chains(h, h.condition([300.0, 320.0, 5000.0]), 0, grid_pairs(3, 1), copies=3)
    for _ in range(100):
        run.step(2)
    near, far = (float(r[0]) for r in run.exchange_rates)
    assert near > 0.7 > far
