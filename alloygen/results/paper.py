"""Constructions of Du et al. (arXiv:2603.14695), for comparison with those that follow from free energies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alloygen.errors import AlloygenError

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
