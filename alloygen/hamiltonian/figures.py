"""What a Hamiltonian on a supercell is built from: orbits of clusters, and the members of an expansion that it reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from alloygen.errors import AlloygenError
from alloygen.lattice import Primitive

FAR, FUNCTIONS = 10_000, 10_000  # cells between members of a cluster, site functions: at most


@dataclass(frozen=True, eq=False, repr=False)
class Orbit:
    """Symmetry-equivalent clusters that share one ECI.

    members : int array (M, n, 4), rows (ix, iy, iz, sublattice) of the n members of M clusters
    functions : int array (M, n), index into ``ClusterExpansion.functions``
    weights : float array (M,)
    """

    name: str
    eci: float
    members: np.ndarray
    functions: np.ndarray
    weights: np.ndarray

    def __post_init__(self):
        weights = np.asarray(self.weights, dtype=float).reshape(-1)
        functions = _whole(self.functions, "site functions", FUNCTIONS).reshape(len(weights), -1)
        members = _whole(self.members, "members", FAR).reshape(len(weights), functions.shape[1], 4)
        if not (np.isfinite(weights).all() and np.isfinite(float(self.eci))):
            raise AlloygenError(
                f"expected a finite ECI and finite weights of orbit {self.name!r}, got {self.eci!r} and {weights[:4].tolist()}"
            )
        for name, value in (("members", members), ("functions", functions), ("weights", weights)):
            object.__setattr__(self, name, value)

    @property
    def order(self) -> int:
        return self.functions.shape[1]

    def __repr__(self) -> str:
        return f"Orbit({self.name!r}, ECI {self.eci:.6g}, {len(self.weights)} clusters of {self.order} sites)"


def _whole(values: Any, what: str, most: int) -> np.ndarray:
    """Whole numbers as int64, none larger than ``most``."""
    given = np.asarray(values)
    if given.size == 0:
        return given.astype(np.int64)
    if given.dtype.kind not in "iuf" or not (np.abs(given) <= most).all() or (given != np.rint(given)).any():
        raise AlloygenError(f"expected {what} of an orbit as whole numbers of at most {most}, got others")
    return given.astype(np.int64)


def merged(orbit: Orbit) -> Orbit:
    """The orbit with equal clusters as one, their weights added up; sorted, and moved so that the first member lies in cell 0.

    Clusters are equal when a translation of the lattice and another order of the members makes them so.

    Examples
    --------
    >>> merged(Orbit("pair", 0.1, [[(0, 0, 0, 0), (1, 0, 0, 0)], [(0, 2, 0, 0), (-1, 2, 0, 0)]], [[0, 0], [0, 0]], [0.5, 0.5]))
    Orbit('pair', ECI 0.1, 1 clusters of 2 sites)
    """
    if orbit.order == 0:
        return Orbit(orbit.name, orbit.eci, orbit.members[:1], orbit.functions[:1], np.array([orbit.weights.sum()]))
    cells = orbit.members[..., :3]
    base = 4 * int(np.abs(cells).max()) + 1  # numbers that sort as the rows of integers do
    first = _number(cells, base).argmin(1)
    rows = np.concatenate([orbit.members, orbit.functions[..., None]], axis=2)
    rows[..., :3] -= cells[np.arange(len(cells)), first][:, None]
    order = _number(rows, max(base, 2 * int(rows.max()) + 1)).argsort(axis=1, kind="stable")
    rows = np.take_along_axis(rows, order[..., None], axis=1)
    found, which = np.unique(rows.reshape(len(rows), -1), axis=0, return_inverse=True)
    found = found.reshape(len(found), orbit.order, 5)
    weights = np.bincount(which.ravel(), weights=orbit.weights, minlength=len(found))
    return Orbit(orbit.name, orbit.eci, found[..., :4], found[..., 4], weights)


def _number(rows: np.ndarray, base: int) -> np.ndarray:
    """Rows of integers (..., k) as integers of the same order; all of them less than half of ``base`` in size."""
    return rows @ base ** np.arange(rows.shape[-1])[::-1]


class Expansion(Protocol):
    """The side of a :class:`~alloygen.hamiltonian.expansion.ClusterExpansion` that its Hamiltonian sees.

    The expansion makes the Hamiltonian (``on``), so the Hamiltonian cannot import the expansion.
    """

    @property
    def primitive(self) -> Primitive: ...
    @property
    def functions(self) -> np.ndarray: ...
    @property
    def orbits(self) -> tuple[Orbit, ...]: ...
    @property
    def elements(self) -> tuple[str, ...]: ...
    @property
    def kB(self) -> float: ...
    @property
    def unit(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def ecis(self) -> np.ndarray: ...
    def same_figures(self, other: Expansion) -> bool: ...
    def on(self, lattice: Any) -> Any: ...
    def to_dict(self) -> dict: ...
