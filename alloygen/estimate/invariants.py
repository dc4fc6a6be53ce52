"""Three-phase points of free energies against composition: where the common tangents on both sides of a phase meet.

A phase at row n of the composition axis is stable while the tangent to what is richer lies above the tangent to what is poorer,

    gap(T) = min_(b > n) [F(b) - F(n)] / (b - n) - max_(a < n) [F(n) - F(a)] / (n - a) = mu_right(T) - mu_left(T) > 0,

and three phases coexist where the gap is zero (Gibbs). The gap runs smoothly through zero, so that the temperature lies between
those of the grid, and that of each bootstrap replica of one run gives the error.
"""

from __future__ import annotations

import numpy as np

from alloygen.types import ArrayLike


def gap(free_energy: ArrayLike, rows: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(gap, a, b) of F (..., L) for the most stable of ``rows``: dF/dn right less left, and where the tangents touch.

    nan where F of all rows, or of all on one side, is not known.

    Examples
    --------
    >>> [x.item() for x in gap([0.0, 1.0, -1.0, 0.0, 0.0], [2])]      # doctest: +NORMALIZE_WHITESPACE
    [1.0, 0, 4]
    """
    f = np.asarray(free_energy, dtype=float)
    found = np.stack([np.stack(_gap(f, int(n))) for n in np.atleast_1d(rows)])  # (rows, 3, ...)
    best = np.where(np.isnan(found[:, 0]), -np.inf, found[:, 0]).argmax(0)
    value, a, b = np.take_along_axis(found, best[None, None], 0)[0]
    return value, a.astype(int), b.astype(int)


def _gap(f: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    left = (f[..., n : n + 1] - f[..., :n]) / (n - np.arange(n))
    right = (f[..., n + 1 :] - f[..., n : n + 1]) / (np.arange(n + 1, f.shape[-1]) - n)
    left, right = np.where(np.isnan(left), -np.inf, left), np.where(np.isnan(right), np.inf, right)
    value = right.min(-1) - left.max(-1)
    return np.where(np.isfinite(value), value, np.nan), left.argmax(-1), n + 1 + right.argmin(-1)


def crossing(T: ArrayLike, value: ArrayLike) -> float:
    """The temperature at which values (nT,) fall from above to below zero, by a straight line; nan if they do not.

    Where noise makes them cross several times it is the middle one, which noise does not push to one side; nan are skipped.

    Examples
    --------
    >>> crossing([300.0, 400.0, 500.0], [2.0, 1.0, -3.0]), crossing([300.0, 400.0], [1.0, 2.0])
    (425.0, nan)
    """
    known = np.isfinite(np.asarray(value, dtype=float))
    t, v = np.asarray(T, dtype=float)[known], np.asarray(value, dtype=float)[known]
    if not len(t) or not v[0] > 0 >= v[-1]:
        return np.nan
    changes = np.flatnonzero((v[:-1] > 0) != (v[1:] > 0))
    k = changes[len(changes) // 2]
    return float(t[k] + (t[k + 1] - t[k]) * v[k] / (v[k] - v[k + 1]))


def three_phase_temperature(
    T: ArrayLike, free_energy: ArrayLike, rows: ArrayLike, min_width: int, appears: bool = False
) -> float:
    """Temperature at which the phase at ``rows`` leaves the hull of F (nT, L) on heating, or comes to it (``appears``).

    nan where it does not, and where the edge that then spans it is narrower than ``min_width``: that is a rough curve.
    """
    value, a, b = gap(free_energy, rows)
    value = np.where((value <= 0) & (b - a < min_width), np.nan, value)
    return crossing(T, -value if appears else value)
