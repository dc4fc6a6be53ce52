"""Temperatures and chemical potentials: from what users give to one record.

    given    one temperature, one set of chemical potentials, the field notation
    grids    several of each: ``Grid``, every temperature with every set; the grids at which models are judged
    plane    neighbours among chemical potentials in a plane, and how far apart their laws are
    record   ``Condition``, what models and samplers take: one condition, or one for each row of a batch

The record holds tensors, so it is imported by name where it is used: this room alone does not load torch.
"""

from alloygen.conditions.given import (
    HOW_MU,
    Field,
    Mu,
    chemical_potentials,
    exchangeable,
    mu_from_field,
    references,
    relative,
    temperature,
)
from alloygen.conditions.grids import Grid, Mus, grid, mu_list, temperatures

__all__ = [
    "HOW_MU",
    "Field",
    "Grid",
    "Mu",
    "Mus",
    "chemical_potentials",
    "exchangeable",
    "grid",
    "mu_from_field",
    "mu_list",
    "references",
    "relative",
    "temperature",
    "temperatures",
]
