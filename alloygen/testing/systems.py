"""Small systems of which every state is known. All are lopsided on purpose (a field, uneven mu, odd ECIs): symmetric targets hide sign errors."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

import alloygen.data
from alloygen.arguments import one_of
from alloygen.conditions.record import Condition
from alloygen.exact.enumeration import Enumeration
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.hamiltonian.expansion import ClusterExpansion, Orbit
from alloygen.hamiltonian.ising import ising
from alloygen.lattice import Primitive
from alloygen.types import ArrayLike

FCC = 0.5 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]])
PAIR = np.array([[0, 0, 0], [0.5, 0.5, 0.5]])


@dataclass(frozen=True, kw_only=True)
class System:
    """A Hamiltonian of few states, and conditions at which neither species nor any phase is alone.

    build : makes the Hamiltonian, which is kept
    T : temperatures; mu : rows of chemical potentials, one number for each element of the Hamiltonian
    """

    build: Callable[[], Hamiltonian]
    T: tuple[float, ...]
    mu: tuple[tuple[float, ...], ...]

    @cached_property
    def hamiltonian(self) -> Hamiltonian:
        return self.build()

    @cached_property
    def enumeration(self) -> Enumeration:
        """Every state with its energy and numbers of atoms."""
        return Enumeration(self.hamiltonian)

    def conditions(self) -> Condition:
        """Every T with every mu, (C,)."""
        T, mu = zip(*itertools.product(self.T, self.mu), strict=True)
        return self.hamiltonian.condition(T, mu)

    def ranges(self) -> dict:
        """The conditions as the ranges of a model, {"T": [low, high], "mu": [[low, high], ...]}."""
        mu = np.array(self.mu)[:, 1:]
        return {"T": [min(self.T), max(self.T)], "mu": np.stack([mu.min(0), mu.max(0)], 1).tolist()}


def random_expansion(
    cell: ArrayLike,
    basis: ArrayLike,
    species: Sequence[Sequence[str]],
    seed: int,
    orders: Sequence[int] = (0, 1, 2, 3),
    size: float = 0.02,
) -> ClusterExpansion:
    """An expansion nobody would fit: clusters, site functions, weights and ECIs all at random, with no symmetry.

    cell, basis, species : of the primitive cell; orders : bodies of the clusters, two orbits each; size : of the ECIs

    Examples
    --------
    >>> random_expansion(np.eye(3), [[0, 0, 0]], [("A", "B")], seed=0).name
    'random 0'
    """
    rng = np.random.default_rng(seed)
    primitive = Primitive(np.asarray(cell), np.asarray(basis), tuple(map(tuple, species)))
    functions = rng.normal(size=(2, len(primitive.elements)))
    around = list(itertools.product((0, 1), (-1, 0, 1), (0, 1), range(len(primitive.basis))))
    orbits = []
    for order in orders:
        for k in range(2 if order else 1):
            clusters = 3
            drawn = [[around[i] for i in rng.choice(len(around), order, replace=False)] for _ in range(clusters)]
            members = np.array(drawn).reshape(clusters, order, 4)
            which = rng.integers(2, size=(clusters, order))
            orbits.append(Orbit(f"c{order}_{k}", size * rng.normal(), members, which, rng.random(clusters) + 0.5))
    return ClusterExpansion(primitive, functions, tuple(orbits), name=f"random {seed}")


COLD, HOT = 500.0, 900.0
CUAU_MU = ((0.0, -0.04), (0.0, 0.07))
SYSTEMS = {
    "ising-3": System(build=lambda: ising(3, h=0.15), T=(2.3, 3.4), mu=((0.0, 0.1), (0.0, -0.5))),
    "cuau-2x2x2": System(build=lambda: alloygen.data.cuau().on((2, 2, 2)), T=(COLD, HOT), mu=CUAU_MU),
    "cuau-1x2x4": System(build=lambda: alloygen.data.cuau().on((1, 2, 4)), T=(COLD, HOT), mu=CUAU_MU),
    "cuau-skew": System(
        build=lambda: alloygen.data.cuau().on([[2, 0, 0], [1, 2, 0], [0, 1, 2]]), T=(COLD, HOT), mu=CUAU_MU
    ),
    "ternary": System(
        build=lambda: random_expansion(FCC, [[0, 0, 0]], [("A", "B", "C")], 1).on((2, 3, 1)),
        T=(COLD, HOT),
        mu=((0.0, -0.09, -0.03), (0.0, -0.15, 0.01)),
    ),
    "two-sublattice": System(
        build=lambda: random_expansion(np.eye(3), PAIR, [("A", "B", "C"), ("X", "B")], 2).on((2, 2, 1)),
        T=(COLD, HOT),
        mu=((0.0, 0.03, -0.02, 0.05), (0.0, -0.05, 0.04, -0.03)),
    ),
    "spectator": System(
        build=lambda: random_expansion(np.eye(3), PAIR, [("A", "B"), ("O",)], 3).on((3, 2, 1)),
        T=(COLD, HOT),
        mu=((0.0, -0.03, 0.0), (0.0, 0.01, 0.0)),
    ),
    "many-body": System(
        build=lambda: random_expansion(FCC, [[0, 0, 0]], [("A", "B")], 4, orders=(0, 1, 2, 4, 5, 6)).on((2, 2, 2)),
        T=(COLD, HOT),
        mu=((0.0, -0.04), (0.0, -0.12)),
    ),
}


def enumerable(name: str) -> System:
    """A small system by its name, one of ``SYSTEMS``: built once, and shared by all who ask for it, so nobody writes into it.

    Binaries on fcc and the square lattice, skewed cells, three species, two sublattices that share an element, a sublattice of one
    species, clusters of up to six sites; 64 to 6,561 states.

    Examples
    --------
    >>> system = enumerable("cuau-2x2x2")
    >>> len(system.enumeration), system.T
    (256, (500.0, 900.0))
    """
    one_of(name, "a small system", SYSTEMS)
    return SYSTEMS[name]
