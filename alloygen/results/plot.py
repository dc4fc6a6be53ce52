"""Results in, matplotlib Axes out. Every function takes ``ax``, the Axes to draw on; without one it makes a figure.

Error bars are one standard error. What rests on few effective samples is drawn dashed and hollow, never left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Protocol

import numpy as np

from alloygen.edge.prototypes import is_vacancy
from alloygen.errors import AlloygenError
from alloygen.estimate.weights import MIN_ESS
from alloygen.types import ArrayLike

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.axes import Axes

    from alloygen.estimate.result import Estimate

COLOURS = ("#2c5f8a", "#b5403c", "#4b8b5a", "#c98a2b", "#7a5195", "#5b6770", "#2a9d9d", "#a0527a")
FIELDS = ("#cfdde9", "#ecd0ce", "#d3e5d7", "#f3e2c6", "#e0d5ea", "#dde0e3", "#cbe8e8", "#ecd3e0")


class Diagram(Protocol):
    """What is read of a phase diagram: see :class:`alloygen.results.phase_diagram.PhaseDiagram`."""

    @property
    def table(self) -> xr.Dataset: ...
    @property
    def T(self) -> np.ndarray: ...
    @property
    def element(self) -> str: ...
    @property
    def n_sites(self) -> int: ...
    @property
    def regions(self) -> pd.DataFrame: ...
    @property
    def transitions(self) -> pd.DataFrame: ...
    @property
    def drawn(self) -> pd.DataFrame: ...


def _axes(ax: Axes | None, width: float = 5.2, height: float = 4.0) -> Axes:
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(width, height), layout="constrained")[1]


def _unit(unit: str) -> tuple[float, str]:
    """A factor and a name for energies: meV for eV."""
    return (1000.0, f"m{unit}") if unit == "eV" else (1.0, unit)


def _composition_label(table) -> str:
    """x, and of what where that is not all atoms: sites of fixed sublattices and vacancies do not count alike."""
    attrs = table.attrs
    all_atoms = attrs["n_exchangeable"] == attrs["n_sites"] and not any(
        map(is_vacancy, (attrs["element"], attrs["other"]))
    )
    return f"$x_\\mathrm{{{attrs['element']}}}$" + ("" if all_atoms else " (of the exchangeable sites)")


# ---------------------------------------------------------------------- phase diagrams
def diagram_tx(
    diagram: Diagram,
    ax: Axes | None = None,
    tie_lines: bool = False,
    transitions: bool = True,
    drawn: bool = False,
) -> Axes:
    """Temperature against composition: two-phase fields shaded, their boundaries with error bars, order-disorder temperatures.

    Boundaries that rest on few effective samples are dashed with hollow points. ``drawn`` adds the paper's boundary, the lowest T at
    which each composition was drawn.
    """
    ax = _axes(ax, 5.6, 4.4)
    element, other = diagram.element, diagram.table.attrs["other"]
    _draw_fields(ax, diagram, tie_lines)
    shown = _draw_transitions(ax, diagram) if transitions else False
    if drawn:
        ax.plot(
            diagram.drawn["x"], diagram.drawn["T"], ":", color="black", lw=1.0, label="lowest T at which x was drawn"
        )
    if shown:
        ax.plot([], [], "s", ms=3, color="black", label="order-disorder (peak of C at fixed x)")
    ax.set(xlim=(0, 1), xlabel=_composition_label(diagram.table), ylabel="T (K)" if diagram.table.attrs["unit"] == "eV" else "T",
           ylim=_temperatures(diagram))  # fmt: skip
    ax.set_title(f"{other}-{element}, cell of {diagram.n_sites} sites", fontsize=10)
    _legend_below(ax)
    return ax


def _draw_fields(ax: Axes, diagram: Diagram, tie_lines: bool) -> None:
    """Two-phase fields and their boundaries, hollow where few effective samples are behind."""
    labelled: set[str] = set()
    for branch, name, k in _coloured(diagram):
        colour, shade = COLOURS[k % len(COLOURS)], FIELDS[k % len(FIELDS)]
        T = branch["T"].to_numpy()
        left, right = branch["x_left"].to_numpy(), branch["x_right"].to_numpy()
        if len(T) > 1:
            ax.fill_betweenx(T, left, right, color=shade, lw=0, label=name if name not in labelled else None)
        else:
            ax.plot([left[0], right[0]], [T[0], T[0]], color=shade, lw=4, label=name if name not in labelled else None)
        labelled.add(name)
        sure = branch["reliable"].to_numpy(bool)
        for x, error in ((left, branch["x_left_stderr"]), (right, branch["x_right_stderr"])):
            ax.plot(x, T, color=colour, lw=1.0, ls="-" if sure.all() else "--", zorder=2)
            for rows, face in ((sure, colour), (~sure, "white")):
                if rows.any():
                    e = error.to_numpy(float)[rows]
                    ax.errorbar(x[rows], T[rows], xerr=e if np.isfinite(e).all() else None, fmt="o", ms=2.6, color=colour, mfc=face,
                                lw=0.8, zorder=3)  # fmt: skip
        if tie_lines:
            ax.hlines(T, left, right, color=colour, lw=0.4, alpha=0.6)


def _draw_transitions(ax: Axes, diagram: Diagram) -> bool:
    """Order-disorder temperatures outside the two-phase fields; whether there are any."""
    found = diagram.transitions
    found = found[found["single_phase"].astype(bool)]
    for name, part in found.groupby("phase"):
        for rows, face in ((part[part["reliable"]], "black"), (part[~part["reliable"]], "white")):
            if len(rows):
                ax.errorbar(rows["x"], rows["T"], yerr=rows["T_stderr"], fmt="s", ms=2.8, color="black", mfc=face,
                            lw=0.7, zorder=4)  # fmt: skip
        top = (part["x"].mean(), part.loc[part["T"].idxmax()]["T"])
        ax.annotate(_pretty(name), top, xytext=(0, 7), textcoords="offset points", ha="center", fontsize=8)
    return len(found) > 0


def diagram_tmu(diagram: Diagram, ax: Axes | None = None) -> Axes:
    """Temperature against the chemical-potential difference at which two phases coexist, with error bars."""
    ax = _axes(ax)
    scale, unit = _unit(diagram.table.attrs["unit"])
    labelled: set[str] = set()
    for branch, name, k in _coloured(diagram):
        colour, sure = COLOURS[k % len(COLOURS)], branch["reliable"].to_numpy(bool)
        mu, T = scale * branch["mu"].to_numpy(), branch["T"].to_numpy()
        ax.plot(
            mu, T, color=colour, lw=1.0, ls="-" if sure.all() else "--", label=name if name not in labelled else None
        )
        labelled.add(name)
        for rows, face in ((sure, colour), (~sure, "white")):
            if rows.any():
                e = scale * branch["mu_stderr"].to_numpy(float)[rows]
                ax.errorbar(
                    mu[rows],
                    T[rows],
                    xerr=e if np.isfinite(e).all() else None,
                    fmt="o",
                    ms=2.6,
                    color=colour,
                    mfc=face,
                    lw=0.8,
                )
    element, other = diagram.element, diagram.table.attrs["other"]
    ax.set(xlabel=f"$\\mu_\\mathrm{{{element}}} - \\mu_\\mathrm{{{other}}}$ ({unit})",
           ylabel="T (K)" if diagram.table.attrs["unit"] == "eV" else "T")  # fmt: skip
    _legend_below(ax)
    return ax


def free_energy_curves(
    table: xr.Dataset,
    ax: Axes | None = None,
    T: ArrayLike | None = None,
    hull: bool = True,
    reference: xr.Dataset | None = None,
) -> Axes:
    """Mixing free energy against composition at several temperatures, with error bars, and the lower convex hull.

    table : of ``scan.free_energies()``; T : temperatures to show (five if not given); reference : another such table, as lines
    """
    from alloygen.estimate.coexistence import lower_vertices

    ax = _axes(ax)
    scale, unit = _unit(table.attrs["unit"])
    every = table["T"].values
    chosen = every[np.unique(np.linspace(0, len(every) - 1, 5).round().astype(int))] if T is None else np.atleast_1d(T)
    for t, colour in zip(chosen, cycle(COLOURS), strict=False):
        at = table.sel(T=t, method="nearest")
        x, f, e = at["x"].values, scale * at["mixing"].values, scale * at["mixing_stderr"].values
        sure = ~(at["effective_samples"].values < MIN_ESS)
        ax.errorbar(
            x[sure],
            f[sure],
            yerr=e[sure],
            fmt=".",
            ms=4,
            lw=0.8,
            color=colour,
            label=f"{float(at['T']):g} K" if unit == "meV" else f"T = {float(at['T']):g}",
        )
        if (~sure & np.isfinite(f)).any():
            ax.errorbar(x[~sure], f[~sure], yerr=e[~sure], fmt=".", ms=5, lw=0.8, ls="", color=colour, mfc="white")
        if hull:
            v = lower_vertices(f)
            ax.plot(x[v], f[v], color=colour, lw=0.7, alpha=0.7)
        if reference is not None:
            other = reference.sel(T=float(at["T"]), method="nearest")
            ax.plot(other["x"], scale * other["mixing"], color="black", lw=0.8, ls=":")
    ax.set(
        xlabel=_composition_label(table),
        ylabel=f"$F_\\mathrm{{mix}}$ ({unit}/site)",
        xlim=(-0.02, 1.02),
    )
    ax.legend(fontsize=7, frameon=False)
    return ax


# ---------------------------------------------------------------------- scans
def heat_capacity(
    data: xr.Dataset, ax: Axes | None = None, reference: tuple[ArrayLike, ArrayLike] | None = None
) -> Axes:
    """Heat capacity against T at each chemical potential of a scan, in kB per site.

    data : ``scan.to_xarray()``; reference : (T, C) or another such dataset, as lines
    """
    ax = _axes(ax)
    for k, (label, part) in enumerate(_by_mu(data)):
        scale = 1.0 / float(data.attrs["kB"])
        part = part.sortby("T")
        ax.errorbar(part["T"], scale * part["heat_capacity"], yerr=scale * part["heat_capacity_stderr"], fmt="o-", ms=3, lw=0.8,
                    color=COLOURS[k % len(COLOURS)], label=label)  # fmt: skip
    if reference is not None:
        T, c = reference
        ax.plot(T, np.asarray(c) / float(data.attrs["kB"]), color="black", lw=0.9, ls="--", label="reference")
    ax.set(xlabel="T (K)" if data.attrs["unit"] == "eV" else "T", ylabel="C ($k_B$/site)")
    ax.legend(fontsize=7, frameon=False)
    return ax


def ness_map(data: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Normalised effective sample size of a neural scan over (T, mu); 1 is a perfect model.

    data : ``scan.to_xarray()`` of samples with a likelihood. What a model never draws it cannot see: compare with forward figures.
    """
    if "ness" not in data:
        raise AlloygenError("expected a scan of samples with a likelihood, got one without NESS; Monte Carlo has none")
    ax = _axes(ax, 5.6, 4.0)
    scale, unit = _unit(data.attrs["unit"])
    mu, name = _varied(data)
    shown = ax.scatter(scale * mu, data["T"], c=data["ness"], vmin=0, vmax=1, s=26, marker="s", cmap="viridis", lw=0)
    ax.figure.colorbar(shown, ax=ax, label="NESS")
    ax.set(xlabel=f"{name} ({unit})", ylabel="T (K)" if data.attrs["unit"] == "eV" else "T")
    return ax


def histograms(
    values: ArrayLike,
    reference: ArrayLike | None = None,
    bins: int | ArrayLike = 40,
    log_w: ArrayLike | None = None,
    ax: Axes | None = None,
    label: str = "value",
) -> Axes:
    """Histogram of values (n,), bare and weighted (where ``log_w`` (n,) is given), beside those of reference samples (m,)."""
    from alloygen.estimate.weights import normalized_weights

    ax = _axes(ax)
    values = np.asarray(values, dtype=float)
    every = values if reference is None else np.concatenate([values, np.asarray(reference, dtype=float)])
    edges = np.histogram_bin_edges(every, bins).tolist()
    if reference is not None:
        ax.hist(reference, edges, density=True, color="#c9c9c9", label="reference")
    ax.hist(values, edges, density=True, histtype="step", color=COLOURS[0], label="draws")
    if log_w is not None:
        w = normalized_weights(log_w)
        ax.hist(values, edges, weights=w, density=True, histtype="step", color=COLOURS[1], label="weighted")
    ax.set(xlabel=label, ylabel="density")
    ax.legend(fontsize=7, frameon=False)
    return ax


def correlation(
    distance: ArrayLike, estimates: Sequence[Estimate], ax: Axes | None = None, label: str | None = None
) -> Axes:
    """A two-point function or Warren-Cowley parameters against distance, from Estimates with error bars."""
    ax = _axes(ax)
    ax.errorbar(
        distance, [e.value for e in estimates], yerr=[e.stderr for e in estimates], fmt="o-", ms=3, lw=0.8, label=label
    )
    ax.axhline(0, color="#999999", lw=0.6)
    ax.set(xlabel="distance", ylabel="C(r)")
    if label:
        ax.legend(fontsize=7, frameon=False)
    return ax


# ---------------------------------------------------------------------- small steps
def _branches(diagram: Diagram) -> list:
    """Regions joined over temperature: rows of neighbouring T with the same phases whose ranges of x overlap."""
    frame, T = diagram.regions, diagram.T
    open_: list[dict] = []
    closed: list[dict] = []
    for k, t in enumerate(T):
        rows = frame[frame["T"] == t]
        rest, new = list(open_), []
        for i, row in rows.iterrows():
            same = [b for b in rest if b["names"] == (row["phase_left"], row["phase_right"])
                    and b["left"] < row["x_right"] and row["x_left"] < b["right"]]  # fmt: skip
            branch: dict = same[0] if same else {"rows": [], "names": (row["phase_left"], row["phase_right"])}
            if same:
                rest.remove(same[0])
            branch["rows"].append(i)
            branch |= {"left": row["x_left"], "right": row["x_right"], "last": k}
            new.append(branch)
        closed += rest
        open_ = new
    return [frame.loc[b["rows"]] for b in [*closed, *open_]]


def _coloured(diagram) -> list:
    """(branch, name, number of its colour) by rising composition; branches between the same two phases share a colour."""
    branches = sorted(_branches(diagram), key=lambda b: (b["x_left"].mean(), b["T"].min()))
    names = [_field_name(b) for b in branches]
    order = list(
        dict.fromkeys(sorted(names, key=lambda n: -sum(len(b) for b, m in zip(branches, names, strict=True) if m == n)))
    )
    return [(b, n, order.index(n)) for b, n in zip(branches, names, strict=True)]


def _temperatures(diagram) -> tuple[float, float]:
    """Limits of the T axis: up to a fifth of the range above the highest thing drawn."""
    low, high = float(diagram.T.min()), float(diagram.T.max())
    if low == high:
        return 0.99 * low, 1.01 * high
    found = [*diagram.regions["T"], *diagram.transitions["T"]]
    top = min(high, max(found) + 0.2 * (high - low)) if found else high
    return low - 0.01 * (high - low), top + 0.01 * (high - low)


def _legend_below(ax) -> None:
    if ax.get_legend_handles_labels()[0]:
        ax.legend(fontsize=7, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2)


def _field_name(branch) -> str:
    a, b = branch["phase_left"].iloc[0], branch["phase_right"].iloc[0]
    return f"{_pretty(a)} + {_pretty(b)}" if a or b else "two phases"


def _pretty(name: str) -> str:
    """A phase with subscripts, "solution" where it has no name."""
    import re

    formula, _, order = (name or "solution").partition(" (")
    structure = re.sub(r"_(\d+)", r"$_{\1}$", order)
    return re.sub(r"(?<=[A-Za-z])(\d+)", r"$_{\1}$", formula) + (f" ({structure}" if order else "")


def _differences(data) -> list:
    """(values, label) of each difference of chemical potentials that varies over a scan."""
    names = [k.removeprefix("mu_") for k in data.coords if k.startswith("mu_")]
    out = []
    for name, of in zip(names, data.attrs["mu_reference"].split(), strict=True):
        values = np.round(data[f"mu_{name}"].values - data[f"mu_{of}"].values, 9)
        if np.ptp(values) > 0:
            out.append((values, f"$\\mu_\\mathrm{{{name}}} - \\mu_\\mathrm{{{of}}}$"))
    return out


def _varied(data) -> tuple[np.ndarray, str]:
    found = _differences(data)
    if len(found) != 1:
        raise AlloygenError(
            f"expected a scan in which one difference of chemical potentials varies, got {[label for _, label in found] or 'none'}"
        )
    return found[0]


def _by_mu(data):
    found = _differences(data)
    if not found:
        yield None, data
        return
    values, label = found[0]
    for value in np.unique(values):
        yield f"{label} = {value:g}", data.isel(condition=np.flatnonzero(values == value))
