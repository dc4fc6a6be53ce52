"""Two-phase regions of free energies against composition: the edges of the lower convex hull, with bootstrap errors.

Where F(x) lies above its lower convex hull the alloy separates into the two compositions at which the common tangent touches; the
slope of the tangent is the chemical potential at which they coexist (Gibbs). In a cell of N sites x moves in steps of 1/N, so an
edge of one step is a single phase and a longer one a two-phase region; regions narrower than ``min_width`` steps are not resolved.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from alloygen.types import ArrayLike


class Region(NamedTuple):
    """A two-phase region between rows a < b of the composition axis; slope = dF/dn of the tangent."""

    a: int
    b: int
    slope: float


def lower_vertices(free_energy: ArrayLike) -> np.ndarray:
    """Rows of the lower convex hull of F against its row number; nan are skipped (Andrew's monotone chain).

    Examples
    --------
    >>> lower_vertices([0.0, 1.0, -1.0, np.nan, 0.0]).tolist()
    [0, 2, 4]
    """
    f = np.asarray(free_energy, dtype=float)
    kept: list[int] = []
    for i in np.flatnonzero(np.isfinite(f)).tolist():
        while len(kept) > 1:
            p, q = kept[-2], kept[-1]
            if (f[q] - f[p]) * (i - p) < (f[i] - f[p]) * (q - p):
                break
            kept.pop()
        kept.append(i)
    return np.array(kept, dtype=int)


def regions(free_energy: ArrayLike, min_width: int, vertices: np.ndarray | None = None) -> list[Region]:
    """The hull's edges of at least ``min_width`` rows, by rising composition; ``vertices`` of :func:`lower_vertices`, if at hand.

    Examples
    --------
    >>> regions([0.0, 0.5, 0.5, 0.0, 0.1], min_width=2)
    [Region(a=0, b=3, slope=0.0)]
    """
    f = np.asarray(free_energy, dtype=float)
    v = lower_vertices(f) if vertices is None else vertices
    return [_edge(f, int(a), int(b)) for a, b in itertools.pairwise(v) if b - a >= min_width]


def tangent_at(free_energy: ArrayLike, middle: float, vertices: np.ndarray | None = None) -> Region:
    """The hull's edge above a composition, a row number and not necessarily a whole one, however narrow."""
    f = np.asarray(free_energy, dtype=float)
    v = lower_vertices(f) if vertices is None else vertices
    k = int(np.clip(np.searchsorted(v, middle) - 1, 0, len(v) - 2))
    return _edge(f, int(v[k]), int(v[k + 1]))


def _edge(f, a: int, b: int) -> Region:
    return Region(a, b, float((f[b] - f[a]) / (b - a)))
