"""Constructions of Du et al. (arXiv:2603.14695), for comparison with those that follow from free energies."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from alloygen.errors import AlloygenError, BadCondition
from alloygen.estimate.result import Estimate
from alloygen.results.canonical import binary
from alloygen.results.ensemble import Ensemble
from alloygen.results.runs import Runs

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr


def lowest_temperatures(table: xr.Dataset) -> pd.DataFrame:
    """The lowest T at which each composition was drawn, rows of x and T; see :attr:`alloygen.results.phase_diagram.PhaseDiagram.drawn`.

    Raises AlloygenError for a table that knows no samples.
    """
    if "lowest_T" not in table:
        raise AlloygenError("expected a diagram of a scan, which knows its samples, got one from free energies alone")
    return (
        table[["x", "lowest_T"]]
        .to_dataframe()
        .rename(columns={"lowest_T": "T"})
        .dropna()
        .reset_index(drop=True)[["x", "T"]]
    )


def lowest_drawn(runs: Runs, element: str) -> np.ndarray:
    """(L,) the lowest T at which each composition was drawn at any mu, bare samples: the construction of the boundary."""
    b = binary(runs.hamiltonian, element)
    n = np.rint(runs.counts[..., b.index] - b.held).astype(int)
    out = np.full(b.free + 1, np.nan)
    for T in np.unique(runs.T[np.isfinite(runs.T)])[::-1]:
        out[np.unique(n[runs.T == T])] = T
    return out


def binned_free_energy(
    ensembles: Iterable[Ensemble], T: float, x: float, width: float, element: str | None
) -> Estimate:
    """F at a composition by bins, see :meth:`alloygen.results.scan.Scan.binned_free_energy`; ensembles : those at T."""
    parts = []
    for ens in ensembles:
        b = binary(ens.hamiltonian, element)
        share = (ens.counts[:, b.index] - b.held) / b.free
        inside = np.abs(share - x) < 0.5 * width
        if inside.any():
            phi, field = ens.free_energy(), ens.counts[inside] @ ens.mu / ens.n_sites
            parts.append((ens.weights[inside], phi.value + field, phi.stderr))
    if not parts:
        raise BadCondition(
            f"expected samples at T = {T:g} with x within {width:.3g} of {x:g}, got none; sample more mu, or widen the bin"
        )
    w_total = sum(w.sum() for w, _, _ in parts)
    total = sum(float(w @ f) for w, f, _ in parts) / w_total
    spread = sum((w**2 * (f - total) ** 2).sum() + (w.sum() * e) ** 2 for w, f, e in parts)
    return Estimate(total, float(np.sqrt(spread)) / w_total)
