"""IsothermalSections: tie-lines, tie-triangles and single phases of three and more elements at several temperatures, each with its error bar."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from alloygen import units
from alloygen.arguments import one_of, path_name, whole_number
from alloygen.errors import AlloygenError, BadCondition, UnknownSpecies
from alloygen.results import export_sections, section_phases, section_tables
from alloygen.results.curves import listed
from alloygen.results.export_sections import FORMAT
from alloygen.results.section_tables import region_rows
from alloygen.results.splitting import Surface
from alloygen.runtime.documents import contents_of, read_document, require_whole
from alloygen.runtime.tables import LARGEST, read_table
from alloygen.types import ArrayLike, PathLike

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from alloygen.results.phase_diagram import PhaseDiagram


@dataclass(frozen=True, eq=False, repr=False)
class IsothermalSections:
    """The phase diagram of three and more elements, one isothermal section for each temperature, from its canonical free energies F(T, x).

    Parameters
    ----------
    table : xarray.Dataset over (T, composition) as :meth:`alloygen.Scan.free_energies` makes it: free_energy and free_energy_stderr
        per site, effective_samples; free_energy_replica (T, replica, composition), the bootstrap; atoms and x (composition, element); order_... where known
    min_width : atoms that have to be exchanged between two phases at least, to be told from a rough F

    F is that of a finite periodic cell, as in :class:`alloygen.results.phase_diagram.PhaseDiagram`: compositions are a grid, regions narrower than ``min_width`` steps close,
    and nothing is extrapolated. Where no two phases are told apart by ``min_width`` steps and a barrier of four errors, it is one phase.

    Examples
    --------
    A regular solution of three elements that do not mix, F = w (xy + yz + zx) + kT sum x log x:

    >>> n = np.array([(a, b, 12 - a - b) for a in range(13) for b in range(13 - a)])
    >>> x = n / 12
    >>> pairs = x[:, 0] * x[:, 1] + x[:, 1] * x[:, 2] + x[:, 2] * x[:, 0]
    >>> f = 0.12 * pairs + 8.617333e-5 * 300 * (x * np.log(np.clip(x, 1e-9, 1))).sum(1)
    >>> sections = IsothermalSections.from_table([300.0], n, f[None], elements=("A", "B", "C"))
    >>> sections.tie_triangles(300)["n_phases"].tolist()
    [3]
    >>> sections.split(300, {"A": 0.4, "B": 0.3, "C": 0.3})["fraction"].round(1).tolist()      # that rich in A first
    [0.4, 0.3, 0.3]
    """

    table: xr.Dataset
    min_width: int = 3

    def __post_init__(self):
        section_tables.require(self.table)

    # ------------------------------------------------------------------ ways in
    @classmethod
    def from_table(
        cls,
        T: ArrayLike,
        atoms: ArrayLike,
        free_energy: ArrayLike,
        stderr: ArrayLike | None = None,
        *,
        elements: tuple[str, ...] = ("A", "B", "C"),
        kB: float | None = None,
        unit: str = "eV",
        min_width: int = 3,
        seed: int = 0,
    ) -> IsothermalSections:
        """From free energies per site at numbers of atoms: T (nT,), atoms (L, K) of one sum, free_energy (nT, L), nan where unknown.

        ``stderr`` (nT, L) is taken as independent between compositions; without it the sections have no error bars.

        Raises AlloygenError for shapes that do not fit, and for compositions that are no whole numbers or leave out directions.
        """
        kB = units.KB_EV_PER_K if kB is None else kB
        return cls(
            section_tables.of_grid(T, atoms, free_energy, stderr, seed, elements=elements, kB=kB, unit=unit), min_width
        )

    @classmethod
    def read(cls, path: PathLike) -> IsothermalSections:
        """Sections from the netCDF (.nc) or the JSON (.json) that :meth:`write` made."""
        what = "isothermal sections (IsothermalSections.write)"
        path = path_name(path, what)
        if Path(path).suffix == ".json":
            found = read_document(path, what, most=LARGEST)
            with contents_of(path, what):
                return cls.from_dict(found)
        table = read_table(path, what)
        with contents_of(path, what):
            return cls(table, whole_number(table.attrs.get("min_width", 3), "min_width", 1))

    @classmethod
    def from_dict(cls, told: dict) -> IsothermalSections:
        """Sections from what :meth:`to_dict` or a file of :meth:`write` holds."""
        if isinstance(told, dict) and "format" in told:
            told = require_whole(told, FORMAT)
        if not isinstance(told, dict) or "table" not in told:
            raise AlloygenError("expected a dict with a table, as IsothermalSections.to_dict makes it, got none")
        table = xr.Dataset.from_dict(told["table"])
        plain = {
            k: v.astype(float) for k, v in table.data_vars.items() if v.dtype.kind in "OU"
        }  # None is nan, "inf" infinite
        return cls(table.assign(plain), whole_number(told["min_width"], "min_width", 1))

    # ------------------------------------------------------------------ what it is of
    @property
    def T(self) -> np.ndarray:
        """Temperatures (nT,), rising."""
        return self.table["T"].values

    @property
    def elements(self) -> tuple[str, ...]:
        """The elements whose fractions x are."""
        return tuple(str(e) for e in self.table["element"].values)

    @property
    def x(self) -> np.ndarray:
        """Compositions (L, K)."""
        return self.table["x"].values

    @property
    def n_sites(self) -> int:
        """Sites of the cell that F belongs to."""
        return int(self.table.attrs["n_sites"])

    def row(self, T: float) -> int:
        """The row of a temperature; BadCondition for another."""
        near = int(np.abs(self.T - T).argmin())
        if abs(self.T[near] - T) > 1e-6:
            raise BadCondition(f"expected one of the temperatures of the sections, {listed(self.T)}, got {T!r}")
        return near

    def composition(self, x: Mapping[str, float] | ArrayLike) -> np.ndarray:
        """Fractions (K,) of a dict by element, one of which may be left out, or of numbers in the order of :attr:`elements`."""
        names = self.elements
        if isinstance(x, Mapping):
            unknown = [e for e in x if e not in names]
            if unknown:
                raise UnknownSpecies(f"expected fractions of {', '.join(names)}, got {', '.join(map(str, unknown))}")
            missing = [e for e in names if e not in x]
            out = np.array([float(x.get(e, 0.0)) for e in names])
            if len(missing) == 1:
                out[names.index(missing[0])] = 1.0 - out.sum()
        else:
            out = np.asarray(x, dtype=float)
        if out.shape != (len(names),) or not np.isfinite(out).all() or out.min() < -1e-9 or abs(out.sum() - 1) > 1e-6:
            raise BadCondition(f"expected fractions of {', '.join(names)} from 0 that sum to 1, got {x!r}")
        return np.clip(out, 0.0, None) / np.clip(out, 0.0, None).sum()

    # ------------------------------------------------------------------ what it shows
    @cached_property
    def phases(self) -> np.ndarray:
        """(nT, L) names of the phases by the orders of their sublattices, "Cu3Au (L1_2)", "disordered"; "" where no order is known."""
        return section_phases.phase_names(self.table)

    @cached_property
    def surfaces(self) -> list[Surface]:
        """The hull of each temperature, a :class:`alloygen.results.splitting.Surface`."""
        return section_tables.surfaces(self.table, self.min_width)

    @cached_property
    def _rows(self) -> pd.DataFrame:
        every = (region_rows(self.table, s, t, self.phases[t]) for t, s in enumerate(self.surfaces))
        return section_tables.frame([row for rows in every for row in rows])

    @property
    def regions(self) -> pd.DataFrame:
        """Facets of the hull in which the alloy splits, a ``pandas.DataFrame``, one row per facet and T.

        n_phases; phase_1, ... their names, x_A_1, ... their compositions at the middle of the facet, with ``_stderr`` from the bootstrap, which also hold
        the step of the composition / sqrt(12); fraction_1, ...; mu_B, ... against the first element, per atom; barrier, the largest F above the hull inside times
        the sites over kT; significance, the least barrier between two of the phases over its error; support, the share of the replicas that show as many phases
        there; effective_samples, the fewest at a corner; reliable, at least 50 of them, and compositions between the phases that have error bars; ``note`` says why not. A two-phase field is cut into many facets, one tie-line each.
        Facets of fewer than 90 % support are in :attr:`unresolved`.
        """
        return self._rows[~section_tables.doubtful(self._rows)].reset_index(drop=True)

    @property
    def unresolved(self) -> pd.DataFrame:
        """Facets as wide as a region that may be noise; more samples would settle them. ``seen`` is how many phases they would have."""
        return self._rows[section_tables.doubtful(self._rows)].assign(reliable=False).reset_index(drop=True)

    def tie_lines(self, T: float) -> pd.DataFrame:
        """The rows of :attr:`regions` with two phases at one temperature."""
        return self._at(T, 2)

    def tie_triangles(self, T: float) -> pd.DataFrame:
        """The rows of :attr:`regions` with three phases at one temperature."""
        return self._at(T, 3)

    def _at(self, T: float, count: int) -> pd.DataFrame:
        rows = self.regions
        return rows[(rows["T"] == self.T[self.row(T)]) & (rows["n_phases"] == count)].reset_index(drop=True)

    def single_phases(self, T: float) -> pd.DataFrame:
        """Stable phases at one temperature, a ``pandas.DataFrame``: name, compositions of the cell in them, the range of each fraction, reliable."""
        return section_phases.single(self, self.row(T))

    def split(self, T: float, x: Mapping[str, float] | ArrayLike) -> pd.DataFrame:
        """The phases of an alloy of composition x: name, fraction and composition of each, with ``_stderr`` from the bootstrap.

        Raises BadCondition for another temperature, and for fractions that do not sum to 1.
        """
        t = self.row(T)
        return section_tables.split_rows(self.table, self.surfaces[t], self.phases[t], self.composition(x))

    def isopleth(
        self, start: Mapping[str, float] | ArrayLike, end: Mapping[str, float] | ArrayLike, points: int = 51
    ) -> pd.DataFrame:
        """The phases along a straight line of compositions at every temperature, a ``pandas.DataFrame``.

        T, s from 0 at ``start`` to 1 at ``end``, x_A, ..., n_phases, phases (names joined by " + "), fractions.
        """
        a, b = self.composition(start), self.composition(end)
        return section_tables.isopleth(self, a, b, points)

    def binary(self, element: str, other: str) -> PhaseDiagram:
        """The :class:`~alloygen.results.phase_diagram.PhaseDiagram` of two of the elements, an edge of the sections; x counts ``element``.

        Raises BadCondition where fewer than three compositions of the edge were visited.
        """
        from alloygen.results.phase_diagram import PhaseDiagram

        for e in (element, other):
            one_of(e, "an element", self.elements)
        return PhaseDiagram(section_tables.edge(self.table, element, other), self.min_width)

    # ------------------------------------------------------------------ other libraries and files
    def to_pymatgen(self, T: float) -> Any:
        """A pymatgen diagram of the free energies on the hull at T; entries are whole cells, entry.name is the phase and x.

        All atoms count, those of fixed sublattices too, vacancies not; F of the cell in eV. A ``PhaseDiagram`` of the elements where the corners are pure elements, else a
        ``CompoundPhaseDiagram`` between the corners. Raises AlloygenError for species that are no elements.
        """
        return export_sections.to_pymatgen(self, self.row(T))

    def to_espei(self, phase_names: dict | None = None, pressure: float = 101325.0) -> dict:
        """Tie-lines and tie-triangles as an ESPEI ZPF dataset (a dict for ``json.dump``), as :meth:`alloygen.results.phase_diagram.PhaseDiagram.to_espei`.

        Mole fractions of all atoms; the first element is left out of the lists. Only reliable regions are written.
        """
        return export_sections.to_espei(self, phase_names, pressure)

    def to_espei_sites(self, T: float, phase_names: dict | None = None, pressure: float = 101325.0) -> list[dict]:
        """Energies of mixing as ESPEI single-phase datasets, HM_MIX in J per mole of atoms, with the site fractions of each phase.

        One dataset for each phase: sublattice_site_ratios, sublattice_configurations and sublattice_occupancies, those of an ordered phase from its order.
        """
        return export_sections.to_espei_sites(self, self.row(T), phase_names, pressure)

    @property
    def _found(self) -> dict[str, pd.DataFrame]:
        return {"regions": self.regions, "unresolved": self.unresolved}

    def to_dict(self) -> dict:
        """What was found and the table that it follows from, as plain numbers and lists for JSON; :meth:`from_dict` takes it back."""
        return export_sections.to_dict(self, self._found)

    def write(self, path: PathLike) -> Path:
        """Write by suffix: .json (what was found, and the table), .nc (the table), .csv (regions), .png/.pdf/.svg (sections); :meth:`read` takes .json and .nc."""
        return export_sections.write(path, self, self._found, lambda: self.plot("stack"))

    def plot(self, kind: str = "section", ax: Axes | None = None, **options: Any) -> Any:
        """Draw and return the Axes. "section": one temperature, ``T=``, on a triangle (by mpltern; ``ax`` of its projection "ternary");
        "stack": every temperature, or those of ``T=``, side by side; "isopleth": T against the way from ``start=`` to ``end=``.
        """
        from alloygen.results import plot_sections

        kinds: dict[str, Callable] = {
            "section": plot_sections.section, "stack": plot_sections.stack, "isopleth": plot_sections.isopleth,
        }  # fmt: skip
        one_of(kind, "kind", tuple(kinds))
        return kinds[kind](self, ax=ax, **options)

    def __repr__(self) -> str:
        rows = self.regions
        told = ", ".join(
            f"{int((rows['n_phases'] == k).sum())} facets of {k} phases" for k in sorted(rows["n_phases"].unique())
        )
        return f"IsothermalSections({'-'.join(self.elements)}, {self.n_sites} sites, T {self.T[0]:g} to {self.T[-1]:g}: {told or 'one phase'})"

    def _repr_html_(self) -> str:
        frame = self.regions.drop(columns="note")
        return f"<p><b>{self!r}</b></p>{frame.to_html(index=False, float_format=lambda v: f'{v:.4g}', max_rows=12)}"
