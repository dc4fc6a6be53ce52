"""Isothermal sections as pictures: triangles by mpltern, and isopleths.

Three phases are shaded dark, two lighter with their tie-lines, one phase is white; facets that may be noise are hatched. What rests on few effective samples is
drawn dashed with hollow points.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from alloygen.errors import AlloygenError
from alloygen.results.plot import COLOURS, FIELDS, _axes, _pretty
from alloygen.results.section_tables import Stack

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes


LINES = 40  # tie-lines that are drawn at most


def section(sections: Stack, ax: Axes | None = None, T: float | None = None, legend: bool = True) -> Axes:
    """One temperature (the lowest if not given) on a triangle: fields, tie-lines, tie-triangles with error bars of their corners.

    ax : Axes of mpltern's projection "ternary". Raises AlloygenError for other than three elements.
    """
    _require_three(sections)
    T = float(sections.T[0]) if T is None else T
    if ax is None:
        import matplotlib.pyplot as plt
        import mpltern  # noqa: F401  registers the projection

        ax = plt.figure(figsize=(5.0, 4.8)).add_subplot(projection="ternary")
    elif getattr(ax, "name", "") != "ternary":
        raise AlloygenError(
            'expected ax of the projection "ternary" of mpltern, such as plt.subplot(projection="ternary"), got another'
        )
    labelled = _fields(sections, ax, T)
    _lines(sections, ax, T)
    _triangles(sections, ax, T)
    tern: Any = ax
    for side, name in zip("tlr", sections.elements, strict=True):
        getattr(tern, f"set_{side}label")(f"$x_\\mathrm{{{name}}}$")
    unit = " K" if sections.table.attrs["unit"] == "eV" else ""
    ax.set_title(f"{'-'.join(sections.elements)}, T = {T:g}{unit}, {sections.n_sites} sites", fontsize=10, pad=26)
    if legend and labelled:
        ax.legend(fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(0.78, 1.02))
    return ax


def stack(
    sections: Stack, ax: Sequence[Axes] | None = None, T: Sequence[float] | None = None, columns: int = 3
) -> list[Axes]:
    """Several temperatures side by side; every one of the sections, up to nine evenly taken, if none are given. Returns the Axes."""
    _require_three(sections)
    known = sections.T
    chosen = known[np.unique(np.linspace(0, len(known) - 1, 9).round().astype(int))] if T is None else np.atleast_1d(T)
    if ax is None:
        import matplotlib.pyplot as plt
        import mpltern  # noqa: F401  registers the projection

        wide = min(columns, len(chosen))
        rows = -(-len(chosen) // wide)
        figure = plt.figure(figsize=(4.3 * wide, 4.4 * rows))
        ax = [figure.add_subplot(rows, wide, k + 1, projection="ternary") for k in range(len(chosen))]
        figure.subplots_adjust(wspace=0.5, hspace=0.45)
    if len(ax) != len(chosen):
        raise AlloygenError(f"expected one of the Axes for each of {len(chosen)} temperatures, got {len(ax)}")
    for a, t in zip(ax, chosen, strict=True):
        section(sections, a, float(t), legend=False)
    every = {label: handle for a in ax for handle, label in zip(*a.get_legend_handles_labels(), strict=True)}
    if every:
        ax[-1].legend(
            every.values(), every.keys(), fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(0.78, 1.02)
        )
    return list(ax)


def isopleth(sections: Stack, ax: Axes | None = None, start: Any = None, end: Any = None, points: int = 101) -> Axes:
    """T against the way along a straight line of compositions, coloured by the phases that are stable there."""
    if start is None or end is None:
        raise AlloygenError('expected start= and end=, two compositions such as {"Cu": 1, "Au": 0, "Pd": 0}, got none')
    if len(sections.T) < 2:
        raise AlloygenError(f"expected sections at two temperatures at least, got {sections.T.tolist()}")
    ax = _axes(ax, 5.4, 4.0)
    frame = sections.isopleth(start, end, points)
    names = sorted(frame["phases"].unique(), key=lambda n: (n.count(" + "), n))
    code = frame["phases"].map({n: k for k, n in enumerate(names)}).to_numpy().reshape(len(sections.T), -1)
    s, T = np.linspace(0, 1, points), sections.T
    from matplotlib.colors import BoundaryNorm, ListedColormap

    shades = [("#ffffff" if " + " not in n and k == 0 else FIELDS[k % len(FIELDS)]) for k, n in enumerate(names)]
    ax.pcolormesh(
        s,
        T,
        code,
        cmap=ListedColormap(shades),
        norm=BoundaryNorm(np.arange(len(names) + 1) - 0.5, len(names)),
        shading="nearest",
    )
    for k, name in enumerate(names):
        ax.plot([], [], "s", color=shades[k], mec="#888888", mew=0.5, label=" + ".join(map(_pretty, name.split(" + "))))
    a, b = (sections.composition(v) for v in (start, end))
    ends = [", ".join(f"{e} {v:.3g}" for e, v in zip(sections.elements, x, strict=True) if v > 1e-9) for x in (a, b)]
    ax.set(
        xlim=(0, 1),
        xlabel=f"from {ends[0]} (0) to {ends[1]} (1)",
        ylabel="T (K)" if sections.table.attrs["unit"] == "eV" else "T",
    )
    ax.set_title(f"{'-'.join(sections.elements)}, cell of {sections.n_sites} sites", fontsize=10)
    ax.legend(fontsize=7, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2)
    return ax


# ---------------------------------------------------------------------- small steps
def _require_three(sections: Stack) -> None:
    if len(sections.elements) != 3:
        raise AlloygenError(
            f'expected three elements for a triangle, got {", ".join(sections.elements)}; take .plot("isopleth", start=, end=), or split() and regions'
        )


def _fields(sections: Stack, ax: Any, T: float) -> bool:
    """Facets shaded by how many phases they have, hatched where that may be noise; whether anything was labelled."""
    t = sections.row(T)
    surface, x, labelled = sections.surfaces[t], sections.x, set()
    rows = sections.regions
    sure = {tuple(np.round(m, 9)) for m in _middles(sections, rows[rows["T"] == sections.T[t]])}
    for corners, seen, count in zip(surface.facets.corners, surface.seen, surface.count, strict=True):
        if seen < 2:
            continue
        known = tuple(np.round(x[corners].mean(0), 9)) in sure
        shade = {2: FIELDS[0], 3: FIELDS[1]}.get(int(count), "none") if known else "none"
        name = {2: "two phases", 3: "three phases"}.get(int(count)) if known else "not told from noise"
        options = (
            {"facecolor": shade, "lw": 0}
            if known
            else {"facecolor": "none", "edgecolor": "#aaaaaa", "hatch": "////", "lw": 0.0}
        )
        ax.fill(*x[corners].T, label=name if name not in labelled else None, zorder=1, **options)
        labelled.add(name)
    return bool(labelled)


def _middles(sections: Stack, rows) -> np.ndarray:
    """(P, K) the middles of the facets of rows of regions."""
    out = np.zeros((len(rows), len(sections.elements)))
    for g in range(1, int(rows["n_phases"].max()) + 1 if len(rows) else 1):
        part = rows[[f"x_{e}_{g}" for e in sections.elements]].to_numpy(float) * rows[[f"fraction_{g}"]].to_numpy(float)
        out += np.nan_to_num(part)
    return out


def _lines(sections: Stack, ax: Any, T: float) -> None:
    """Tie-lines, evenly taken where there are many, dashed with hollow ends where they rest on few samples."""
    rows = sections.tie_lines(T)
    rows = rows.iloc[np.unique(np.linspace(0, len(rows) - 1, LINES).round().astype(int))] if len(rows) > LINES else rows
    for _, row in rows.iterrows():
        ends = np.array([[row[f"x_{e}_{g}"] for e in sections.elements] for g in (1, 2)])
        sure = bool(row["reliable"])
        ax.plot(
            *ends.T,
            "o-" if sure else "o--",
            color=COLOURS[0],
            ms=1.8,
            lw=0.6,
            mfc=COLOURS[0] if sure else "white",
            mew=0.5,
            zorder=3,
        )


def _triangles(sections: Stack, ax: Any, T: float) -> None:
    """Tie-triangles, with a cross of the standard errors at each corner and the names of their phases."""
    named: set[str] = set()
    for _, row in sections.tie_triangles(T).iterrows():
        corners = np.array([[row[f"x_{e}_{g}"] for e in sections.elements] for g in (1, 2, 3)])
        sure = bool(row["reliable"])
        ax.plot(*corners[[0, 1, 2, 0]].T, "-" if sure else "--", color=COLOURS[1], lw=1.1, zorder=4)
        for g, at in enumerate(corners, 1):
            error = np.array([row[f"x_{e}_{g}_stderr"] for e in sections.elements])
            for k in range(3) if np.isfinite(error).all() else ():
                way = np.where(np.arange(3) == k, 1.0, -0.5) * error[k]
                bar = np.clip(np.array([at - way, at + way]), 0.0, 1.0)
                ax.plot(*(bar / bar.sum(1, keepdims=True)).T, color=COLOURS[1], lw=0.8, zorder=5)
            ax.plot(*at[:, None], "o", color=COLOURS[1], ms=3, mfc=COLOURS[1] if sure else "white", zorder=6)
            name = row[f"phase_{g}"]
            if name not in ("", "disordered") and name not in named:
                named.add(name)
                ax.text(*at, _pretty(name), fontsize=7, zorder=7)
