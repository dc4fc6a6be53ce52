"""F(T, x) of a binary's cell: the numbers that a phase diagram is read from."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from alloygen.edge.prototypes import is_vacancy
from alloygen.errors import AlloygenError, BadCondition
from alloygen.estimate.coexistence import lower_vertices

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True, eq=False, repr=False)
class Curves:
    """Free energies over temperature and composition, and their bootstrap.

    table : xarray.Dataset over (T, n) as :func:`alloygen.results.canonical.free_energies` makes it
    min_width : steps of the composition that a two-phase region must be wide to be told from a rough curve

    Raises AlloygenError for a table without free energies at three compositions of each temperature.
    """

    table: xr.Dataset
    min_width: int = 3

    def __post_init__(self):
        for name in ("free_energy", "free_energy_stderr", "effective_samples"):
            if name not in self.table:
                raise AlloygenError(
                    f"expected a table with free_energy, free_energy_stderr and effective_samples over (T, n), got {list(self.table)}"
                )
        if self.table.sizes["T"] == 0 or self.table.sizes["n"] < 3:
            raise AlloygenError(
                f"expected at least one temperature and three compositions, got {dict(self.table.sizes)}"
            )
        empty = [float(T) for T, f in zip(self.T, self.f, strict=True) if np.isfinite(f).sum() < 3]
        if empty:
            raise AlloygenError(
                f"expected free energies at three compositions at least, got fewer at T = {empty}; sample more mu there"
            )

    @property
    def T(self) -> np.ndarray:
        """Temperatures (nT,), rising."""
        return self.table["T"].values

    @property
    def x(self) -> np.ndarray:
        """Compositions (L,)."""
        return self.table["x"].values

    @property
    def element(self) -> str:
        """The element whose fraction x is."""
        return self.table.attrs["element"]

    @property
    def n_sites(self) -> int:
        """Sites of the cell that F belongs to."""
        return int(self.table.attrs["n_sites"])

    @property
    def f(self) -> np.ndarray:
        """Free energies per site (nT, L)."""
        return self.table["free_energy"].values

    @property
    def step(self) -> float:
        """From one composition to the next."""
        return float(self.x[1] - self.x[0])

    @property
    def mu_of_slope(self) -> float:
        """By what a slope of F per site and row is turned into a difference of chemical potentials per atom."""
        return self.n_sites / (int(self.table.attrs["n_exchangeable"]) * self.step)

    def atoms(self, x: float) -> dict[str, float]:
        """Atoms of the cell at x by element, those of fixed sublattices among them and vacancies not."""
        free, attrs = int(self.table.attrs["n_exchangeable"]), self.table.attrs
        exchanged = {attrs["other"]: (1 - x) * free, self.element: x * free}
        atoms = {k: v for k, v in exchanged.items() if not is_vacancy(k)}
        for k, v in json.loads(attrs.get("fixed_atoms", "{}")).items():
            atoms[k] = atoms.get(k, 0) + v
        return {k: v for k, v in atoms.items() if v > 1e-9}

    def formula(self, x: float) -> str:
        """Reduced formula of the cell at x, such as Cu3Au, or Li3NaO4 with oxygen on a fixed sublattice."""
        free = int(self.table.attrs["n_exchangeable"])
        parts = {k: Fraction(v / free).limit_denominator(free) for k, v in self.atoms(x).items()}
        size = math.lcm(*(p.denominator for p in parts.values()))
        whole = {k: int(p * size) for k, p in parts.items()}
        common = math.gcd(*whole.values())
        return "".join(f"{k}{v // common if v > common else ''}" for k, v in whole.items()) or "vacancies"

    @property
    def replica(self) -> np.ndarray | None:
        """Bootstrap of the free energies (nT, R, L); None where there is none."""
        return self.table["free_energy_replica"].values if "free_energy_replica" in self.table else None

    @cached_property
    def vertices(self) -> list:
        """Hull vertices of each temperature and replica."""
        return [] if self.replica is None else [[lower_vertices(f) for f in many] for many in self.replica]

    def row(self, T: float) -> int:
        """The row of a temperature of the diagram; BadCondition for another."""
        near = int(np.abs(self.T - T).argmin())
        if abs(self.T[near] - T) > 1e-6:
            raise BadCondition(f"expected one of the diagram's temperatures, {listed(self.T)}, got {T!r}")
        return near


def listed(values) -> str:
    """Numbers in a message, the middle of many left out."""
    v = [f"{x:g}" for x in values]
    return ", ".join(v if len(v) < 9 else [*v[:4], "...", *v[-2:]])
