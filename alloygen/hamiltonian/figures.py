"""What a Hamiltonian on a supercell is built from: orbits of clusters, and the members of an expansion that it reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from alloygen.lattice import Primitive


@dataclass(frozen=True, eq=False)
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
        functions = np.asarray(self.functions, dtype=np.int64).reshape(len(weights), -1)
        members = np.asarray(self.members, dtype=np.int64).reshape(len(weights), functions.shape[1], 4)
        for name, value in (("members", members), ("functions", functions), ("weights", weights)):
            object.__setattr__(self, name, value)

    @property
    def order(self) -> int:
        return self.functions.shape[1]


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
    def on(self, lattice: Any) -> Any: ...
    def to_dict(self) -> dict: ...
