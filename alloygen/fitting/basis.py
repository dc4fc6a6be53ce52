"""Which clusters an expansion is fitted with, and their correlation functions on the structures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from alloygen.errors import AlloygenError, LatticeMismatch
from alloygen.fitting.data import Sample
from alloygen.fitting.regression import left_out_error
from alloygen.hamiltonian.clusters import correlations, decorated_orbits, diameter
from alloygen.hamiltonian.expansion import ClusterExpansion
from alloygen.hamiltonian.figures import Orbit
from alloygen.lattice import Lattice, Primitive
from alloygen.levels import around

LADDER = (
    (1,),
    (2,),
    (2, 1),
    (3, 1),
    (4, 1),
    (4, 2),
    (4, 2, 1),
    (6, 2, 1),
    (6, 3, 1),
)  # shells that pairs, triplets, ... reach
SHARE = 0.75  # most ECIs for each structure where the cutoffs are chosen here
SHRINK = ("bayes", "ridge")  # methods that keep all ECIs, near to what they begin with


@dataclass(frozen=True, kw_only=True, eq=False)
class Basis:
    """Site functions, orbits, the cutoffs that they reach to, and what each ECI is fitted as a difference from: 0, or that of an expansion."""

    functions: np.ndarray
    orbits: tuple[Orbit, ...]
    cutoffs: tuple[float, ...]
    known: np.ndarray | None = None

    @property
    def start(self) -> np.ndarray:
        """ECIs (K,) that the fitted ones are counted from."""
        return np.zeros(len(self.orbits)) if self.known is None else self.known


def figures_of(start: ClusterExpansion, primitive: Primitive, cutoffs: Any, method: str | None) -> Basis:
    """The figures of an expansion, the constant first, with its ECIs to begin with."""
    if not isinstance(start, ClusterExpansion):
        raise AlloygenError(f"expected start as a ClusterExpansion, got {start!r:.80}")
    if cutoffs is not None or method not in (None, *SHRINK):
        raise AlloygenError(
            f"expected no cutoffs and method as one of {SHRINK} with start, whose figures are all kept, got cutoffs={cutoffs} and method={method!r}"
        )
    if not Lattice(start.primitive, (1, 1, 1)).same_as(Lattice(primitive, (1, 1, 1))):
        raise LatticeMismatch(
            f"expected a start on the lattice of the structures, {primitive!r} with species {primitive.species}, got {start.name!r} on "
            f"{start.primitive!r} with {start.primitive.species}"
        )
    constant = [o for o in start.orbits if o.order == 0] or [
        replace(o, eci=0.0) for o in decorated_orbits(primitive, ())[1] if o.order == 0
    ]
    orbits = (*constant, *(o for o in start.orbits if o.order > 0))
    most = max(o.order for o in orbits)
    reach = (max([diameter(o, primitive) for o in orbits if o.order == k], default=0.0) for k in range(2, most + 1))
    return Basis(
        functions=start.functions, orbits=orbits, cutoffs=tuple(reach), known=np.array([o.eci for o in orbits])
    )


def chosen_basis(
    primitive: Primitive,
    samples: list[Sample],
    y: np.ndarray,
    cutoffs: tuple[float, ...] | None,
    method: str | None,
    seed: int,
) -> tuple[Basis, np.ndarray]:
    """(the clusters, correlation functions (M, K) of the structures): those asked for, or those that leave the least error."""
    columns: dict[str, np.ndarray] = {}
    if cutoffs is not None:
        basis = _to(primitive, cutoffs)
        _require_enough(basis, samples, method)
        return basis, columns_of(basis, samples, columns)
    best: tuple[float, Basis, np.ndarray] | None = None
    for rung in LADDER:
        basis = _to(primitive, shell_distances(primitive, rung))
        if best is not None and len(basis.orbits) > SHARE * len(samples):
            break
        if best is None:
            _require_enough(basis, samples, method)
        x = columns_of(basis, samples, columns)
        error = left_out_error(x, y, "bayes", seed)
        if best is None or error < best[0]:
            best = error, basis, x
    assert best is not None  # the first rung
    return best[1:]


def _to(primitive: Primitive, cutoffs: tuple[float, ...]) -> Basis:
    functions, orbits = decorated_orbits(primitive, cutoffs)
    return Basis(functions=functions, orbits=orbits, cutoffs=cutoffs)


def shell_distances(primitive: Primitive, shells: tuple[int, ...]) -> tuple[float, ...]:
    """The distance of a shell of neighbours, for pairs, triplets, ...; neighbours on sublattices that may change."""
    active = np.array([b for b, names in enumerate(primitive.species) if len(names) > 1])
    lengths = np.unique(np.concatenate([around(primitive, b, active, 4)[1].round(4) for b in active]))
    return tuple(float(lengths[min(shell, len(lengths) - 1)]) for shell in shells)


def _require_enough(basis: Basis, samples: list[Sample], method: str | None) -> None:
    k, m = len(basis.orbits), len(samples)
    if m <= k and method in (None, "ols"):
        raise AlloygenError(
            f"expected more structures than ECIs, got {m} different structures and {k} orbits of clusters within cutoffs of "
            f"{[round(c, 3) for c in basis.cutoffs]}. Compute more structures (alloygen.enumerate_structures), take smaller cutoffs, or a method "
            'that has a prior by name: method="ard"'
        )


def columns_of(basis: Basis, samples: list[Sample], known: dict[str, np.ndarray]) -> np.ndarray:
    """Correlation functions (M, K) of the structures, by the names of the orbits where they are ``known``."""
    new = [o for o in basis.orbits if o.name not in known]
    rows = np.empty((len(samples), len(new)))
    groups: dict[bytes, list[int]] = {}
    for k, s in enumerate(samples):
        groups.setdefault(s.lattice.matrix.tobytes(), []).append(k)
    for group in groups.values():
        occ = np.array([samples[k].occ for k in group])
        rows[group] = correlations(basis.functions, new, samples[group[0]].lattice, occ)
    known |= {o.name: rows[:, k] for k, o in enumerate(new)}
    return np.column_stack([known[o.name] for o in basis.orbits])
