"""Order-disorder temperatures at fixed composition: peaks of the heat capacity where an order parameter falls."""

from __future__ import annotations

import numpy as np
import pandas as pd

from alloygen.estimate.superstructure import SUPERSTRUCTURES
from alloygen.estimate.weights import MIN_ESS
from alloygen.results.curves import Curves
from alloygen.results.phases import DISORDERED
from alloygen.types import ArrayLike


def transitions(curves: Curves, names: np.ndarray, regions: pd.DataFrame) -> pd.DataFrame:
    """One row per composition that orders, see :attr:`alloygen.results.phase_diagram.PhaseDiagram.transitions`."""
    columns = ["x", "T", "T_stderr", "phase", "single_phase", "kind", "effective_samples", "reliable"]
    if (
        "heat_capacity" not in curves.table
        or not any(f"order_{k}" in curves.table for k in SUPERSTRUCTURES)
        or len(curves.T) < 5
    ):
        return pd.DataFrame([], columns=columns)
    rows = [
        row for n in range(1, len(curves.x) - 1) if (row := _transition(curves, names[:, n], regions, n)) is not None
    ]
    return pd.DataFrame(rows, columns=columns)


def _transition(curves: Curves, names: np.ndarray, regions: pd.DataFrame, n: int) -> dict | None:
    ordered = np.array([name not in ("", DISORDERED) for name in names])
    size = curves.table["effective_samples"].values[:, n]
    if not ordered[:-1].any() or names[-1] != DISORDERED:
        return None
    last = int(np.flatnonzero(ordered)[-1])
    c = curves.table["heat_capacity"].values[:, n]
    many = curves.table["heat_capacity_replica"].values[:, :, n].T if "heat_capacity_replica" in curves.table else None
    peak, error = heat_capacity_peak(curves.T, c, many)
    if not np.isfinite(peak):
        return None
    ess = float(size[int(np.abs(curves.T - peak).argmin())])
    near = regions[(regions["T"] - peak).abs() <= max(50.0, 2 * np.diff(curves.T).max())]
    step = 1.0 / (len(curves.x) - 1)
    touches = (near["x_left"] - 2.5 * step <= curves.x[n]) & (near["x_right"] + 2.5 * step >= curves.x[n])
    mixed = (near["phase_left"] == DISORDERED) != (near["phase_right"] == DISORDERED)
    at = curves.T[np.abs(curves.T - peak).argmin()]
    inside = (near["T"] == at) & (near["x_left"] < curves.x[n]) & (curves.x[n] < near["x_right"]) & near["reliable"]
    first = bool((touches & mixed & near["reliable"]).any())
    return {"x": curves.x[n], "T": peak, "T_stderr": error, "phase": names[last], "single_phase": not inside.any(), "effective_samples": ess,
            "kind": "first order" if first else f"continuous, or not resolved by {curves.n_sites} sites",
            "reliable": ess >= MIN_ESS and not error > 0.1 * peak}  # fmt: skip


def heat_capacity_peak(T: ArrayLike, c: ArrayLike, replicas: ArrayLike | None = None) -> tuple[float, float]:
    """(temperature of the largest C, its standard error from ``replicas`` (R, nT)), by a parabola through the highest points.

    A tenth of the step in T is added to the error for the parabola; nan where the largest C is at an end, or without replicas.

    Examples
    --------
    >>> T = np.linspace(400, 600, 21)
    >>> round(heat_capacity_peak(T, -((T - 507) ** 2.0))[0], 6)
    507.0
    """
    T, error = np.asarray(T, dtype=float), np.nan
    if replicas is not None:
        peaks = np.array([peak_at(T, r) for r in np.asarray(replicas)])
        if np.isfinite(peaks).sum() > 1:
            error = float(np.hypot(np.nanstd(peaks, ddof=1), 0.1 * np.diff(T).mean()))
    return peak_at(T, np.asarray(c, dtype=float)), error


def peak_at(T, c) -> float:
    """Temperature of the largest value, by a parabola through it and its neighbours; nan at an end of the range."""
    if not np.isfinite(c).any():
        return np.nan
    k = int(np.nanargmax(c))
    if not 0 < k < len(T) - 1 or not np.isfinite(c[k - 1 : k + 2]).all():
        return np.nan
    a, b, _ = np.polyfit(T[k - 1 : k + 2] - T[k], c[k - 1 : k + 2], 2)
    return float(T[k] - b / (2 * a)) if a < 0 else float(T[k])
