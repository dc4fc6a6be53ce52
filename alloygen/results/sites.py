"""Which sites hold what, for results: one place for elements of occupations and for E - mu.N."""

from __future__ import annotations

import numpy as np

from alloygen.errors import AlloygenError, UnknownSpecies
from alloygen.lattice import Lattice


def species_of(lattice: Lattice, element: str) -> np.ndarray:
    """Whether each species of each site is ``element``, bool (N, S).

    Raises UnknownSpecies for an element that the lattice does not hold.
    """
    if element not in lattice.elements:
        raise UnknownSpecies(f"expected one of the elements {lattice.elements}, got {element!r}")
    return lattice.site_elements == lattice.elements.index(element)


def holds(lattice: Lattice, element: str, occ: np.ndarray) -> np.ndarray:
    """Whether each site holds ``element``, bool (..., N), in occupations (..., N); UnknownSpecies as :func:`species_of`.

    Examples
    --------
    >>> from alloygen.lattice import Primitive
    >>> pair = Lattice(Primitive(np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], [("A", "B"), ("B", "A")]), (1, 1, 1))
    >>> holds(pair, "B", np.array([[0, 0], [1, 1]])).tolist()
    [[False, True], [True, False]]
    """
    return species_of(lattice, element)[np.arange(lattice.n_sites), occ]


def exchangeable_sites(lattice: Lattice) -> np.ndarray:
    """Sites with more than one allowed species, bool (N,); AlloygenError where there is none."""
    if not lattice.changeable.any():
        raise AlloygenError(f"expected sites with more than one species, got none in {lattice!r}")
    return lattice.changeable
