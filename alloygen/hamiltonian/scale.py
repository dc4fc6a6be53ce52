"""The scales of an alloy that say where its phases are, from its energies alone."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice, product

import numpy as np

from alloygen.conditions import references
from alloygen.errors import AlloygenError
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.lattice import Lattice

RANDOM = 32  # configurations
PURE = 256  # ways, at most, to put one species on each sublattice


@dataclass(frozen=True, kw_only=True, eq=False)
class Scale:
    """T : at which a substitution in a random alloy costs or gains 2 kT, typically; transitions lie at 0.5 to 3 times this
    mu : (elements after the first, 2), low and high, between which the phases lie, of each element less its reference
        (:func:`alloygen.conditions.references`), whose own is 0 to 0: symmetric about what the substitution costs in a random alloy on average, as
        far as what it costs where each sublattice is pure
    """

    T: float
    mu: np.ndarray
    kB: float

    def beyond(self, margin: float, T: float | None = None) -> np.ndarray:
        """Low and high (elements after the first, 2) of mu, so many kT beyond the phases on each side, at T or at the scale."""
        free = self.mu[:, :1] < self.mu[:, 1:]
        return self.mu + free * margin * self.kB * (self.T if T is None else T) * np.array([-1.0, 1.0])


def between(spans: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Points (P, rows) that lie at ``shares`` (P, F) of the F ``spans`` (rows, 2) that are not empty, at the value of the others.

    Examples
    --------
    >>> between(np.array([[0.0, 2.0], [1.0, 1.0]]), np.array([[0.25], [1.0]])).tolist()
    [[0.5, 1.0], [2.0, 1.0]]
    """
    points, width = np.tile(spans[:, 0], (len(shares), 1)), np.ptp(spans, axis=1)
    points[:, width > 0] += shares * width[width > 0]
    return points


def scale(h: Hamiltonian) -> Scale:
    """The scales of a Hamiltonian, of any species and sublattices.

    Raises AlloygenError where no two species can take each other's places.

    Examples
    --------
    >>> from alloygen.hamiltonian.ising import ising
    >>> found = scale(ising(8))                  # T_c is 2.269
    >>> np.abs(found.mu).round().tolist(), 1.8 < found.T < 2.2
    ([[8.0, 8.0]], True)
    """
    lattice, origin = h.lattice, references(h.lattice)
    typical, mu, squares = h.random(RANDOM, 0), np.zeros((len(h.elements), 2)), []
    pure = np.array(
        [_pure(lattice, which) for which in islice(product(*(range(len(names)) for names in lattice.species)), PURE)]
    )
    for e, r in enumerate(origin):
        if e == r:
            continue
        costs, ends = _costs(h, typical, e, r), _costs(h, pure, e, r)
        middle = costs.mean()
        half = np.abs(ends.mean(1) - middle).max()
        mu[e] = middle - half, middle + half
        squares.append(costs.var())
    if not squares:
        raise AlloygenError(
            f"expected two species that can take each other's places, got the species {lattice.species}"
        )
    return Scale(T=max(float(np.sqrt(np.mean(squares))), 1e-12) / (2 * h.kB), mu=mu[1:], kB=h.kB)


def _pure(lattice: Lattice, which: tuple[int, ...]) -> np.ndarray:
    """Occupations (N,) with one species, of number ``which``, on each sublattice."""
    return np.array(which, dtype=np.int8)[lattice.sublattice]


def _costs(h: Hamiltonian, occ: np.ndarray, e: int, r: int) -> np.ndarray:
    """What element e costs in place of its reference r, (B, sites): on the sites of both, or beside the first other element where none are."""
    index = h.lattice.site_elements
    here = (index == e).any(1)
    both = here & (index == r).any(1)
    sites = np.flatnonzero(both if both.any() else here & h.lattice.changeable)
    energies = h.site_energies(occ)
    column = lambda element: np.argmax(index[sites] == element, axis=1)  # noqa: E731
    other = column(r) if both.any() else np.where(column(e) == 0, 1, 0)
    return energies[:, sites, column(e)] - energies[:, sites, other]
