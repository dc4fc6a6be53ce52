"""Pictures of :class:`alloygen.results.posterior.PosteriorBands`: what the fit of the ECIs leaves open, as bands over the bars of the sampling."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from alloygen.results.plot import COLOURS, Diagram, _branches, _unit, diagram_tmu, diagram_tx, free_energy_curves

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.axes import Axes

NAME = "ECIs, 16 to 84 % of their draws"


class Bands(Protocol):
    """What is read of the bands: see :class:`alloygen.results.posterior.PosteriorBands`."""

    @property
    def diagram(self) -> Diagram: ...
    @property
    def regions(self) -> pd.DataFrame: ...
    @property
    def transitions(self) -> pd.DataFrame: ...
    @property
    def free_energy(self) -> xr.Dataset: ...


def bands_tx(bands: Bands, ax: Axes | None = None) -> Axes:
    """The T-x diagram, each boundary with the band of the draws, each transition with their bar."""
    ax = diagram_tx(bands.diagram, ax)
    for branch in _branches(bands.diagram):
        at = bands.regions.loc[branch.index]
        for side in ("x_left", "x_right"):
            _band(ax, at["T"].to_numpy(), at[f"{side}_low"].to_numpy(), at[f"{side}_high"].to_numpy())
    found = bands.transitions
    found = found[found["single_phase"].astype(bool) & np.isfinite(found["T_fit"])]
    ax.vlines(found["x"], found["T_low"], found["T_high"], color="0.45", alpha=0.5, lw=4, zorder=1)
    _legend(ax)
    return ax


def bands_tmu(bands: Bands, ax: Axes | None = None) -> Axes:
    """The T-mu diagram, each line with the band of the draws."""
    ax = diagram_tmu(bands.diagram, ax)
    scale = _unit(bands.diagram.table.attrs["unit"])[0]
    for branch in _branches(bands.diagram):
        at = bands.regions.loc[branch.index]
        _band(ax, at["T"].to_numpy(), scale * at["mu_low"].to_numpy(), scale * at["mu_high"].to_numpy())
    _legend(ax)
    return ax


def bands_fx(bands: Bands, ax: Axes | None = None) -> Axes:
    """Mixing free energies against composition at five temperatures, with bands of one standard deviation of the draws."""
    table = bands.free_energy
    ax = free_energy_curves(bands.diagram.table, ax)
    scale = _unit(bands.diagram.table.attrs["unit"])[0]
    every = table["T"].values
    for t, colour in zip(np.unique(np.linspace(0, len(every) - 1, 5).round().astype(int)), COLOURS, strict=False):
        f, e = scale * table["mixing"].values[t], scale * table["mixing_fit"].values[t]
        ax.fill_between(table["x"].values, f - e, f + e, color=colour, alpha=0.25, lw=0)
    return ax


def _band(ax: Axes, T: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
    if len(T) > 1:
        ax.fill_betweenx(T, low, high, color="0.45", alpha=0.5, lw=0, zorder=1)
    else:
        ax.hlines(T, low, high, color="0.45", alpha=0.5, lw=4, zorder=1)


def _legend(ax: Axes) -> None:
    ax.fill_between([], [], [], color="0.45", alpha=0.5, lw=0, label=NAME)
    ax.legend(fontsize=7, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2)
