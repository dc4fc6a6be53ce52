"""Rows of the calibration table, one file for each family of estimators: a ``Row`` gives estimates beside the truth for one seed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from alloygen.estimate.result import Estimate

Truth = tuple[str, Estimate, float]  # the quantity, what an estimator says of it, and what is true


@dataclass(frozen=True)
class Row:
    """One estimator on one system in one regime.

    estimator : "exact draws", "neural", "painted", "Metropolis", "replica exchange", "Wang-Landau", "metadynamics", ...
    system : such as "CuAu 2x2x4"; regime : "cold", "coexistence", "first-order ladder", "critical", "disordered"
    run : function of a seed that yields (quantity, estimate, truth) at each of the row's conditions
    error : function of the quantity: the standard error of the truth itself, 0 where it is exact
    """

    estimator: str
    system: str
    regime: str
    run: Callable[[int], Iterable[Truth]]
    error: Callable[[str], float] = lambda quantity: 0.0

    @property
    def name(self) -> str:
        return f"{self.estimator} | {self.system} | {self.regime}"
