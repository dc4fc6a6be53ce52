"""Numbers of configurations that moves reach against walking to all of them, and canonical free energies against sums."""

import itertools

import numpy as np
import pytest
import torch
from scipy.special import logsumexp

from alloygen.edge.problem import Problem
from alloygen.lattice import Lattice, Primitive
from alloygen.montecarlo.sampling import replica_exchange
from alloygen.montecarlo.states import log_reached_by_swaps
from alloygen.montecarlo.wang_landau import Schedule, wang_landau
from alloygen.testing import random_expansion
from alloygen.testing.systems import FCC, PAIR

HCP = [[1, 0, 0], [-0.5, 0.75**0.5, 0], [0, 0, 1.6]], [[1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]]
THREE = np.eye(3), [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5]]
CELLS = {
    "one kind, hcp": (*HCP, [("A", "B"), ("A", "B")], (2, 2, 1)),
    "one kind, listed in two orders": (*HCP, [("A", "B"), ("B", "A")], (2, 2, 1)),
    "ternary hcp": (*HCP, [("A", "B", "C"), ("A", "B", "C")], (3, 1, 1)),
    "rock salt": (np.eye(3), PAIR, [("A", "B"), ("X", "Y")], (2, 2, 1)),
    "rock salt with a spectator": (np.eye(3), PAIR, [("A", "B", "C"), ("O",)], (5, 1, 1)),
    "one element in common": (np.eye(3), PAIR, [("A", "B"), ("B", "C")], (2, 2, 1)),
    "two elements in common": (np.eye(3), PAIR, [("A", "B", "C"), ("B", "A")], (3, 1, 1)),
    "three kinds in a ring": (*THREE, [("A", "B"), ("B", "C"), ("C", "A")], (2, 1, 1)),
    "three kinds in a chain": (*THREE, [("A", "B"), ("A", "B", "C"), ("B", "C")], (2, 1, 1)),
}


def reached(lattice, sites, start) -> np.ndarray:
    """Every configuration that swaps reach, by making all that are allowed."""
    elements = [[lattice.species[b][s] for s in row] for b, row in zip(lattice.sublattice, [range(n) for n in lattice.n_species], strict=True)]  # fmt: skip
    seen, queue = {tuple(start)}, [tuple(start)]
    while queue:
        x = queue.pop()
        for i, j in itertools.combinations(sites, 2):
            a, b = elements[i][x[i]], elements[j][x[j]]
            if a != b and b in elements[i] and a in elements[j]:
                new = list(x)
                new[i], new[j] = elements[i].index(b), elements[j].index(a)
                if tuple(new) not in seen:
                    seen.add(tuple(new))
                    queue.append(tuple(new))
    return np.array(sorted(seen))


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("held", [0, 2])
def test_as_many_as_swaps_reach(name, held):
    cell, basis, species, repeats = CELLS[name]
    lattice, rng = Lattice(Primitive(cell, basis, species), repeats), np.random.default_rng(3)
    sites = np.flatnonzero(lattice.n_species > 1)[held:]
    for _ in range(4):
        start = rng.integers(lattice.n_species)
        every = reached(lattice, sites, start)
        assert np.exp(log_reached_by_swaps(lattice, sites, start[None])) == pytest.approx(len(every))
        some = every[rng.integers(len(every), size=3)]
        assert log_reached_by_swaps(lattice, sites, some) == pytest.approx(np.log(len(every)))


def test_starts_of_several_compositions_have_no_one_number():
    lattice = Lattice(Primitive(np.eye(3), PAIR, [("A", "B"), ("X", "Y")]), (2, 1, 1))
    assert log_reached_by_swaps(lattice, np.arange(4), np.array([[0, 0, 1, 1], [1, 0, 1, 1]])) is None
    assert log_reached_by_swaps(lattice, np.arange(4), np.array([[0, 0, 1, 1], [1, 1, 0, 0]])) == pytest.approx(
        np.log(4)
    )


def test_many_sites_are_counted_at_once():
    lattice = Lattice(Primitive(FCC, [[0, 0, 0]], [("A", "B")]), (16, 16, 16))
    occ = np.arange(lattice.n_sites) % 2
    assert 2830 < log_reached_by_swaps(lattice, np.arange(lattice.n_sites), occ[None]) < 4096 * np.log(2)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["one kind, hcp", "ternary hcp", "rock salt", "one element in common", "two elements in common"]
)
@pytest.mark.parametrize("fixed", [None, [0, 3]])
def test_canonical_free_energies_are_those_of_the_sum(name, fixed):
    """F = -kT log sum exp(-E / kT) / N over what swaps reach, by replica exchange; Wang-Landau counts the same states."""
    cell, basis, species, repeats = CELLS[name]
    h = random_expansion(cell, basis, species, 7, orders=(0, 1, 2)).on(repeats)
    start = np.random.default_rng(1).integers(h.lattice.n_species)
    sites = np.setdiff1d(np.flatnonzero(h.lattice.n_species > 1), fixed or [])
    energy = h.energy(torch.from_numpy(reached(h.lattice, sites, start))).numpy()
    scan = replica_exchange(Problem.of(h, fixed=fixed, occ=start), h.grid([400.0, 700.0]), n=3000, move="swap", ladder=[1500.0, 4000.0, np.inf], burn=20, check=False)  # fmt: skip
    assert scan.T.tolist() == [400.0, 700.0] and scan.absolute
    for c, T in enumerate(scan.T):
        kT = h.kB * T
        got, exact = scan[c].free_energy(), -kT * logsumexp(-energy / kT) / h.n_sites
        assert abs(got.value - exact) < 4.5 * got.stderr and got.stderr < 3e-4
        assert (
            abs(got.value - exact) < 0.1 * kT * np.log(len(energy)) / h.n_sites
        )  # negative control: not the constant of another count
    dos = wang_landau(
        Problem.of(h, fixed=fixed, occ=start), schedule=Schedule(log_f_final=1e-2), move="swap", walkers=1
    )
    assert np.exp(dos.log_states) == pytest.approx(len(energy))
