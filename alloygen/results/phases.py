"""The phases of a binary: which order a composition has at a temperature, and the compounds at the lowest one."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd

from alloygen.estimate.coexistence import lower_vertices, regions
from alloygen.estimate.superstructure import SUPERSTRUCTURES
from alloygen.estimate.weights import MIN_ESS
from alloygen.results.curves import Curves

ORDERED = 0.5  # order parameter above which a phase has that order
DISORDERED = "disordered"
NARROW = 2  # steps of the composition that a line compound is wide at most


def phase_names(curves: Curves) -> np.ndarray:
    """(nT, L) names of the phases, see :attr:`alloygen.results.phase_diagram.PhaseDiagram.phases`."""
    known = [k for k in SUPERSTRUCTURES if f"order_{k}" in curves.table]
    names = np.full(curves.f.shape, DISORDERED if known else "", dtype=object)
    if known:
        value = np.stack([curves.table[f"order_{k}"].values for k in known])
        value = np.where(np.isfinite(value), value, -np.inf)
        names[np.isneginf(value.max(0))] = ""
        for k, name in enumerate(known):
            here, share = (value.argmax(0) == k) & (value.max(0) > ORDERED), SUPERSTRUCTURES[name].share
            for x, side in ((share, curves.x < 0.5), (1 - share, curves.x >= 0.5)):
                names[here & side] = f"{curves.formula(x)} ({name})"
        names[:, [n for n in (0, -1) if abs(curves.x[n] - (n != 0)) < 1e-9]] = DISORDERED
    return _with_compounds(curves, names)


def compounds(curves: Curves, names: np.ndarray) -> pd.DataFrame:
    """Ordered phases at the lowest temperature, see :attr:`alloygen.results.phase_diagram.PhaseDiagram.compounds`."""
    rows, wide, size = [], regions(curves.f[0], curves.min_width), curves.table["effective_samples"].values[0]
    vertices = lower_vertices(curves.f[0])
    ends = [vertices[0], *[v for r in wide for v in (r.a, r.b)], vertices[-1]]
    for a, b in zip(ends[::2], ends[1::2], strict=True):
        name = names[0, (a + b) // 2]
        if name not in ("", DISORDERED) or (not name and vertices[0] < a and b < vertices[-1]):
            rows.append({"phase": name or f"compound near {curves.formula(curves.x[(a + b) // 2])}", "x_min": curves.x[a],
                         "x_max": curves.x[b], "line_compound": bool(b - a <= NARROW), "reliable": bool(size[a : b + 1].max() >= MIN_ESS)})  # fmt: skip
    return pd.DataFrame(rows, columns=["phase", "x_min", "x_max", "line_compound", "reliable"])


def _with_compounds(curves: Curves, names: np.ndarray) -> np.ndarray:
    """Names with those of line compounds that have none."""
    before: list[tuple[int, int, str]] = []
    for t, f in enumerate(curves.f):
        wide, found = regions(f, curves.min_width), []
        for left, right in itertools.pairwise(wide):
            a, b = left.b, right.a
            old = [name for low, high, name in before if a <= high + 1 and low <= b + 1]
            if b - a <= NARROW and (old or t == 0) and all(_unnamed(curves, names, t, n) for n in range(a, b + 1)):
                found.append((a, b, old[0] if old else curves.formula(curves.x[(a + b) // 2])))
        for a, b, name in found:
            names[t, a : b + 1] = name
        before = found
    return names


def _unnamed(curves: Curves, names: np.ndarray, t: int, n: int) -> bool:
    """Whether nothing is known of the order of a state, or its entropy is far from that of a disordered one."""
    if names[t, n] != DISORDERED or "entropy" not in curves.table:
        return names[t, n] == ""
    x = min(max(curves.x[n], 1e-12), 1 - 1e-12)
    mixed = -(x * np.log(x) + (1 - x) * np.log(1 - x)) * curves.table.attrs["n_exchangeable"] / curves.n_sites
    return bool(curves.table["entropy"].values[t, n] < 0.5 * mixed * float(curves.table.attrs["kB"]))
