"""The lower convex hull of free energies over compositions of K elements, and how an alloy splits on it.

A facet of the hull is a simplex of K compositions whose tangent plane nothing lies below; a composition x inside it splits into its corners v with the
fractions of the lever rule, sum_v l_v x_v = x (Gibbs). In a cell of n exchangeable sites compositions are a grid, and corners next to each other are one phase: the
distance of two compositions in steps is the number of atoms that have to be exchanged, sum_e |n_e - m_e| / 2. For K = 2 facets are the edges of
:mod:`alloygen.estimate.coexistence`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import ConvexHull

from alloygen.errors import AlloygenError

TIE = 1e-9  # of the range of F: facets within are equally high
FLAT = 1e-12  # volume of a simplex, in units of the whole one, that has none


@dataclass(frozen=True, kw_only=True, eq=False)
class Facets:
    """The lower hull of F at compositions.

    corners : (M, K) rows of the compositions that span each facet; slope : (M, K) its tangent plane, x.slope, which are chemical potentials up to
        their unit: what the plane has in each pure corner
    inverse : (M, K, K) with x inverse[m] the fractions of the corners
    """

    corners: np.ndarray
    slope: np.ndarray
    inverse: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray, f: np.ndarray) -> Facets:
        """The hull of F (L,), nan where unknown, at compositions x (L, K) whose rows sum to one.

        By qhull (Barber, Dobkin and Huhdanpaa, ACM Trans. Math. Softw. 22, 469 (1996)), with a point high above the middle. Raises AlloygenError for compositions
        that do not span the directions.

        Examples
        --------
        >>> x = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0.5, 0]])
        >>> sorted(sorted(c) for c in Facets.of(x, np.array([0.0, 0.0, 0.0, -1.0])).corners.tolist())
        [[0, 2, 3], [1, 2, 3]]
        """
        known = np.flatnonzero(np.isfinite(f))
        x, f = np.asarray(x, dtype=float)[known], np.asarray(f, dtype=float)[known]
        if len(known) < x.shape[1] or np.linalg.matrix_rank(x - x[:1], tol=1e-9) < x.shape[1] - 1:
            raise AlloygenError(
                f"expected compositions in {x.shape[1] - 1} directions, got {len(known)} of them that span fewer"
            )
        rest = f - x @ np.linalg.lstsq(x, f, rcond=None)[0]
        height = rest / max(np.ptp(rest), 1e-300) if np.ptp(rest) > 0 else rest
        top = np.append(x.mean(0)[1:], height.max() + 1.0)
        hull = ConvexHull(np.vstack([np.column_stack([x[:, 1:], height]), top]))
        lower = (hull.equations[:, -2] < 0) & (hull.simplices < len(x)).all(1)
        corners = hull.simplices[lower]
        corners = np.sort(corners[np.abs(np.linalg.det(x[corners])) > FLAT], 1)
        spanned = x[corners]
        return cls(
            corners=known[corners],
            slope=np.linalg.solve(spanned, f[corners][..., None])[..., 0],
            inverse=np.linalg.inv(spanned),
        )

    def at(self, x: np.ndarray) -> np.ndarray:
        """F of the hull (P,) at compositions (P, K)."""
        return (np.asarray(x) @ self.slope.T).max(1)

    def locate(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The facet (P,) that holds each composition (P, K), and the fractions (P, K) of its corners."""
        x = np.asarray(x, dtype=float)
        plane = x @ self.slope.T
        top = plane.max(1)
        found = plane.argmax(1)
        tied = plane >= (top - TIE * max(np.ptp(self.slope), 1e-300))[:, None]
        for p in np.flatnonzero(tied.sum(1) > 1):
            among = np.flatnonzero(tied[p])
            found[p] = among[(x[p] @ self.inverse[among]).min(1).argmax()]
        share = np.clip(np.einsum("pk,pkj->pj", x, self.inverse[found]), 0.0, None)
        return found, share / share.sum(1, keepdims=True)


def steps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """How many atoms have to be exchanged between numbers of atoms (..., K).

    Examples
    --------
    >>> float(steps(np.array([4, 0, 0]), np.array([2, 1, 1])))
    2.0
    """
    return 0.5 * np.abs(np.asarray(a) - np.asarray(b)).sum(-1)


def between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Compositions (P, K), whole numbers of atoms, nearest to the straight line between two, without these.

    Examples
    --------
    >>> between(np.array([3, 0, 0]), np.array([0, 3, 0])).tolist()
    [[1, 2, 0], [2, 1, 0]]
    """
    count = int(np.ceil(steps(a, b)))
    t = np.arange(1, count)[:, None] / max(count, 1)
    exact = a + t * (b - a)
    whole = np.floor(exact + 1e-9).astype(int)
    left = np.rint(exact.sum(1) - whole.sum(1)).astype(int)
    order = np.argsort(np.argsort(whole - exact, axis=1, kind="stable"), axis=1)
    whole += order < left[:, None]
    keep = (whole != a).any(1) & (whole != b).any(1)
    return np.unique(whole[keep], axis=0)


def joined(apart: np.ndarray) -> np.ndarray:
    """Groups (K,) of corners, numbered from 0, of which no two groups have a pair that is not ``apart`` (K, K) bool.

    Examples
    --------
    >>> joined(np.array([[False, False, True], [False, False, True], [True, True, False]])).tolist()
    [0, 0, 1]
    """
    label = np.arange(len(apart))
    for i in range(len(apart)):
        for j in range(i):
            if not apart[i, j]:
                label[label == label[i]] = label[j]
    return np.unique(label, return_inverse=True)[1]
