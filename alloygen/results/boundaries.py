"""Two-phase regions of a binary, from the convex hull of F(x) at each temperature and of each of its replicas."""

from __future__ import annotations

import numpy as np
import pandas as pd

from alloygen.errors import BadCondition
from alloygen.estimate.coexistence import Region, regions, tangent_at
from alloygen.estimate.weights import MIN_ESS
from alloygen.results.curves import Curves

SURE = 0.9  # share of the replicas that must show a region
SIGMAS = 4.0  # errors of its own that the barrier of a region must have


def edges(curves: Curves, names: np.ndarray) -> pd.DataFrame:
    """Edges of the hull that are wide enough for a region, noise among them; names : (nT, L) of the phases."""
    rows = [_region(curves, names, t, r) for t in range(len(curves.T)) for r in regions(curves.f[t], curves.min_width)]
    columns = ["T", "x_left", "x_left_stderr", "x_right", "x_right_stderr", "mu", "mu_stderr", "phase_left", "phase_right", "barrier",
               "significance", "support", "effective_samples", "reliable", "note"]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def doubtful(edges: pd.DataFrame) -> pd.Series:
    """Whether an edge may be noise: few replicas show it, or its barrier is within a few of its errors."""
    return (edges["support"] < SURE) | (edges["significance"] < SIGMAS)


def _region(curves: Curves, names: np.ndarray, t: int, r: Region) -> dict:
    f, step = curves.f[t], curves.step
    inner = np.arange(r.a + 1, r.b)
    above = f[inner] - f[r.a] - r.slope * (inner - r.a)
    kT = float(curves.table.attrs["kB"]) * curves.T[t]
    size = curves.table["effective_samples"].values[t]
    ess = float(min(size[r.a], size[r.b]))
    left = right = mu = support = sigma = np.nan
    if curves.replica is not None:
        found = [
            tangent_at(g, 0.5 * (r.a + r.b), v) for g, v in zip(curves.replica[t], curves.vertices[t], strict=True)
        ]
        a, b, slope = (np.array(x, float) for x in zip(*found, strict=True))
        left, right = (np.hypot(v.std(ddof=1) * step, step / np.sqrt(12)) for v in (a, b))
        mu, support = slope.std(ddof=1) * curves.mu_of_slope, float((b - a >= curves.min_width).mean())
        if np.isfinite(above).any():
            k = int(inner[np.nanargmax(above)])
            g = curves.replica[t]
            sigma = (g[:, k] - g[:, r.a] - (g[:, r.b] - g[:, r.a]) / (r.b - r.a) * (k - r.a)).std(ddof=1)
    notes = []
    if ess < MIN_ESS:
        notes.append(f"{ess:.0f} effective samples at an end")
    if not np.isfinite(above).all():
        notes.append(f"{int((~np.isfinite(above)).sum())} compositions between were never visited")
    return {
        "T": curves.T[t], "x_left": curves.x[r.a], "x_left_stderr": left, "x_right": curves.x[r.b], "x_right_stderr": right,
        "mu": r.slope * curves.mu_of_slope, "mu_stderr": mu, "phase_left": names[t, r.a], "phase_right": names[t, r.b],
        "barrier": float(np.nanmax(above, initial=0.0)) * curves.n_sites / kT,
        "significance": float(np.nanmax(above, initial=0.0)) / sigma if sigma > 0 else np.nan, "support": support, "effective_samples": ess,
        "reliable": not ess < MIN_ESS, "note": "; ".join(notes),
    }  # fmt: skip


def boundaries(curves: Curves, x: float) -> pd.DataFrame:
    """Where an alloy enters or leaves two phases, see :meth:`alloygen.results.phase_diagram.PhaseDiagram.boundaries`."""
    if not curves.x[0] <= x <= curves.x[-1]:
        raise BadCondition(f"expected a composition between {curves.x[0]:g} and {curves.x[-1]:g}, got {x!r}")
    at = (x - curves.x[0]) / curves.step
    inside = lambda f: np.array([_wide(tangent_at(g, at), at, curves.min_width) for g in f])  # noqa: E731
    middle = 0.5 * (curves.T[1:] + curves.T[:-1])
    steps = np.flatnonzero(np.diff(inside(curves.f).astype(int)))
    rows, many = (
        [],
        None
        if curves.replica is None
        else np.stack([inside(curves.replica[:, r]) for r in range(curves.replica.shape[1])]),
    )
    for k in steps:
        enters, error = bool(inside(curves.f[k + 1 : k + 2])[0]), np.nan
        if many is not None:
            places = [
                _nearest(middle[np.flatnonzero(np.diff(m.astype(int)) == (1 if enters else -1))], middle[k])
                for m in many
            ]
            nearest = np.array([v for v in places if v is not None])
            grid = (curves.T[k + 1] - curves.T[k]) / np.sqrt(12)
            error = np.hypot(nearest.std(ddof=1), grid) if len(nearest) > SURE * len(many) else np.nan
        rows.append(
            {
                "x": x,
                "T": middle[k],
                "T_stderr": error,
                "heating": "enters two phases" if enters else "leaves two phases",
            }
        )
    return pd.DataFrame(rows, columns=["x", "T", "T_stderr", "heating"])


def _wide(region, at: float, min_width: int) -> bool:
    return region.b - region.a >= min_width and region.a < at < region.b


def _nearest(values, to: float) -> float | None:
    return float(values[np.abs(values - to).argmin()]) if len(values) else None
