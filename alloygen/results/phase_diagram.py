"""PhaseDiagram: two-phase regions, transition temperatures and invariant points of a binary, each with its error bar."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from alloygen import units
from alloygen.arguments import one_of, whole_number
from alloygen.results import boundaries, diagram_tables, export_diagram, paper, phases, transitions
from alloygen.results.curves import Curves
from alloygen.results.invariants import Invariants
from alloygen.runtime.documents import contents_of
from alloygen.runtime.tables import read_table
from alloygen.types import ArrayLike, PathLike

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from alloygen.estimate.profile import CompositionProfile


WIDEST = 10**6  # of ``min_width``


@dataclass(frozen=True, eq=False, repr=False)
class PhaseDiagram(Curves):
    """The temperature-composition diagram of a binary, from its canonical free energies F(T, x).

    Parameters
    ----------
    table : xarray.Dataset over (T, n) as :meth:`alloygen.Scan.free_energies` makes it: free_energy and free_energy_stderr per
        site, effective_samples; free_energy_replica (T, replica, n), the bootstrap; heat_capacity, order_... where known
    min_width : steps of the composition that a two-phase region must be wide to be told from a rough curve

    F is that of a finite periodic cell. Boundaries move with its size, and regions narrower than ``min_width`` steps, as near
    congruent points, close before they would in a larger cell. Nothing is extrapolated; ``n_sites`` says what the cell was.

    Examples
    --------
    A regular solution, F = x (1 - x) w + kT [x log x + (1 - x) log(1 - x)], which separates below w / 2k:

    >>> x = np.linspace(0, 1, 101)
    >>> T = np.array([300.0, 400.0, 500.0])
    >>> mix = np.where((x > 0) & (x < 1), x * np.log(np.clip(x, 1e-9, 1)) + (1 - x) * np.log(np.clip(1 - x, 1e-9, 1)), 0.0)
    >>> diagram = PhaseDiagram.from_table(T, x, 0.08 * x * (1 - x) + 8.617333e-5 * T[:, None] * mix, elements=("A", "B"))
    >>> diagram.tie_lines(300)[["x_left", "x_right"]].round(2).values.tolist()
    [[0.06, 0.94]]
    >>> len(diagram.tie_lines(500))        # above w / 2k = 464
    0
    """

    # ------------------------------------------------------------------ ways in
    @classmethod
    def from_table(
        cls,
        T: ArrayLike,
        x: ArrayLike,
        free_energy: ArrayLike,
        stderr: ArrayLike | None = None,
        *,
        elements: tuple[str, str] = ("A", "B"),
        n_sites: int | None = None,
        kB: float | None = None,
        unit: str = "eV",
        min_width: int = 3,
        seed: int = 0,
    ) -> PhaseDiagram:
        """From free energies per site on a grid: T (nT,), x (L,) evenly within 0 to 1, free_energy (nT, L), nan where unknown.

        ``stderr`` (nT, L) is taken as independent between compositions; without it the diagram has no error bars. x counts
        ``elements[1]``, as a fraction of all ``n_sites`` sites (one step of x per site if not given).

        Raises AlloygenError for a grid that is uneven or leaves 0 to 1, and for shapes that do not fit.
        """
        kB = units.KB_EV_PER_K if kB is None else kB
        table = diagram_tables.of_grid(
            T, x, free_energy, stderr, seed, elements=elements, n_sites=n_sites, kB=kB, unit=unit
        )
        return cls(table, min_width)

    @classmethod
    def from_profile(
        cls, profile: CompositionProfile, T: ArrayLike | None = None, min_width: int = 3, seed: int = 0
    ) -> PhaseDiagram:
        """From the F(N, T) of metadynamics, a :class:`alloygen.estimate.profile.CompositionProfile` of a binary.

        The compositions are those of the profile, a part of 0 to 1 for a window or where sites were held. ``T`` : some of its
        temperatures; all of them if not given.

        Raises AlloygenError for a profile that is no binary's, BadCondition for a temperature that it has not.
        """
        return cls(diagram_tables.of_profile(profile, T, seed), min_width)

    @classmethod
    def read(cls, path: PathLike) -> PhaseDiagram:
        """A diagram from the netCDF that :meth:`write` made."""
        what = "the table of a phase diagram (PhaseDiagram.write)"
        table = read_table(path, what)
        with contents_of(path, what):
            diagram_tables.require(table)
            return cls(table, whole_number(table.attrs.get("min_width", 3), "min_width", 1, WIDEST))

    # ------------------------------------------------------------------ what it shows
    @cached_property
    def phases(self) -> np.ndarray:
        """(nT, L) names of the phases: "Cu3Au (L1_2)" where an order parameter tells, else "disordered".

        "" where no order is known of the lattice. Line compounds whose order has no name are called by their formula, such as "Cu3Au":
        states at most two steps wide between two-phase regions, from the lowest temperature on.
        """
        return phases.phase_names(self)

    @cached_property
    def compounds(self) -> pd.DataFrame:
        """Ordered phases at the lowest temperature: name, x range, and whether it is a line compound (at most two steps wide).

        reliable: at least 50 effective samples at one of its compositions.
        """
        return phases.compounds(self, self.phases)

    @cached_property
    def _edges(self) -> pd.DataFrame:
        return boundaries.edges(self, self.phases)

    @cached_property
    def regions(self) -> pd.DataFrame:
        """Two-phase regions, a ``pandas.DataFrame``, one row per region and T.

        x_left, x_right, mu (difference of the chemical potentials per atom) with ``_stderr`` from the bootstrap, which for x also holds the
        step of the composition / sqrt(12); phase_left, phase_right; barrier, the largest F above the tangent times the sites over kT;
        significance, the barrier over its standard error; support, the share of the replicas that have a region here; effective_samples,
        the fewest at its ends; reliable, at least 50 of them. Noise on F makes edges too, and the largest of many: those that fewer than 90 %
        of the replicas show, or whose barrier is below four of its errors, are in :attr:`unresolved`.
        """
        return self._edges[~boundaries.doubtful(self._edges)].reset_index(drop=True)

    @cached_property
    def unresolved(self) -> pd.DataFrame:
        """Edges of the hull as wide as a region that may be noise, see :attr:`regions`; more samples would settle them. None is reliable."""
        return self._edges[boundaries.doubtful(self._edges)].assign(reliable=False).reset_index(drop=True)

    def tie_lines(self, T: float) -> pd.DataFrame:
        """The two-phase regions at one temperature of the diagram: rows of :attr:`regions`."""
        return self.regions[self.regions["T"] == self.T[self.row(T)]].reset_index(drop=True)

    def boundaries(self, x: float) -> pd.DataFrame:
        """Temperatures at which an alloy of composition x enters or leaves a two-phase region, a ``pandas.DataFrame``.

        T halfway between neighbouring temperatures of the diagram, T_stderr from the replicas and half their step / sqrt(3).
        """
        return boundaries.boundaries(self, x)

    @cached_property
    def transitions(self) -> pd.DataFrame:
        """Order-disorder temperatures at fixed composition, a ``pandas.DataFrame``, one row per composition that orders.

        T is the peak of the heat capacity at fixed composition, by a parabola through its highest points, where an order parameter falls
        below 1/2 on heating; T_stderr from the replicas. ``single_phase`` says whether the composition is outside the two-phase regions
        there: inside them the peak is that of a mixture in the finite cell. ``kind`` is "first order" where a reliable two-phase region between an ordered and
        the disordered phase ends nearby, else "continuous, or not resolved by N sites".
        """
        return transitions.transitions(self, self.phases, self.regions)

    @cached_property
    def invariants(self) -> pd.DataFrame:
        """Invariant points, a ``pandas.DataFrame``: peritectoid and eutectoid three-phase points, and congruent maxima.

        At a three-phase point the common tangents on both sides of a phase meet, mu_left(T) = mu_right(T); T lies between the grid's by
        a straight line, see :mod:`alloygen.estimate.invariants`, and T_stderr is the spread of the replicas, each of which is one
        bootstrap of all temperatures, and a tenth of their step. At a congruent maximum an ordered phase turns into the disordered one
        of the same composition; T is the highest of its :attr:`transitions`, and that the highest of several noisy ones tends to be too
        high is in its error. x_stderr is the spread of the replicas and the step of the composition / sqrt(12). ``support`` is the share of the replicas that show a point of this kind; reliable is False, and
        ``note`` says why, for fewer than 90 % of them, for fewer than 50 effective samples there, where a transition that it
        rests on is not reliable, and where two of three phases are at most two steps of the composition apart: a small cell's F(x) is
        rough from one number of atoms to the next, so exact values make such points too.
        """
        return Invariants(
            curves=self,
            phases=self.phases,
            compounds=self.compounds,
            regions=self.regions,
            transitions=self.transitions,
        ).table()

    @property
    def drawn(self) -> pd.DataFrame:
        """The boundary of Du et al. (arXiv:2603.14695), for comparison: the lowest T at which each composition was drawn at any mu.

        A ``pandas.DataFrame`` of x and T. It knows no free energy: it moves with the grid of mu and with the number of samples.
        """
        return paper.lowest_temperatures(self.table)

    # ------------------------------------------------------------------ other libraries and files
    def to_pymatgen(self, T: float, arc: int = 8) -> Any:
        """A pymatgen diagram of free energies at T: hull compositions, single-phase arcs thinned to ``arc`` entries each.

        Entries are whole cells: all atoms, those of fixed sublattices too, vacancies not, and F of the cell in eV, so that pymatgen's
        energies are per atom; entry.name is the phase and x. A ``PhaseDiagram`` of the elements where the ends of x are pure elements;
        else a ``CompoundPhaseDiagram`` between the ends that are known, such as LiO and NaO, or CoO2 and LiCoO2.

        Raises AlloygenError for species that are no elements, and for a lattice of one kind of atoms and vacancies alone.
        """
        return export_diagram.to_pymatgen(self, self.phases, T, arc)

    def to_landau(self) -> pd.DataFrame:
        """Stable states as a ``pandas.DataFrame`` with the columns of the landau package: T, mu, c, phi, f, phase, stable, border.

        One row per hull composition and T; at the ends of two-phase regions two rows share a mu and are ``border``. c is the fraction of
        the exchangeable sites (from 0 to 1, sites of fixed sublattices do not count); f and phi = f - mu c are energies per exchangeable
        site, and mu is the difference of the chemical potentials per atom, as in :attr:`regions`.
        """
        return export_diagram.to_landau(self, self.phases)

    def to_espei(self, phase_names: dict | None = None, pressure: float = 101325.0) -> dict:
        """Tie-lines as an ESPEI ZPF dataset (a dict for ``json.dump``).

        Compositions are mole fractions of all atoms, those of fixed sublattices too; vacancies are VA and no atoms. The element that
        is left out of a list is the one that x turns into, where that is an atom. ``phase_names`` maps our names to those of a
        database; without it the disordered phase is called after the crystal (FCC_A1, BCC_A2, HCP_A3, HALITE_B1, ...; SOLUTION where
        it has no name) and others by their formula. Only reliable regions are written; ESPEI's weight is one for all.

        Raises AlloygenError for species that are no elements, and for a lattice of one kind of atoms and vacancies alone.
        """
        return export_diagram.to_espei(self, self.regions, phase_names, pressure)

    @property
    def _found(self) -> dict[str, pd.DataFrame]:
        return {k: getattr(self, k) for k in ("regions", "unresolved", "transitions", "invariants", "compounds")}

    def to_dict(self) -> dict:
        """What was found, as plain numbers and lists for JSON."""
        return export_diagram.to_dict(self, self._found)

    def write(self, path: PathLike) -> Path:
        """Write by suffix: .json (what was found), .nc (the table, which :meth:`read` takes back), .csv (regions), .png/.pdf/.svg (T-x)."""
        return export_diagram.write(path, self, self._found, self.plot)

    def plot(self, kind: str = "T-x", ax: Axes | None = None, **options: Any) -> Axes:
        """Draw "T-x" (fields, boundaries, transitions), "T-mu" (coexistence lines) or "F-x" (mixing free energies); returns the Axes."""
        from alloygen.results import plot

        kinds: dict[str, Callable] = {"T-x": plot.diagram_tx, "T-mu": plot.diagram_tmu, "F-x": plot.free_energy_curves}
        one_of(kind, "kind", tuple(kinds))
        return kinds[kind](self.table if kind == "F-x" else self, ax=ax, **options)

    def __repr__(self) -> str:
        named = ", ".join(dict.fromkeys(self.compounds["phase"])) or "no compound"
        return f"PhaseDiagram({self.table.attrs['other']}-{self.element}, {self.n_sites} sites, T {self.T[0]:g} to {self.T[-1]:g}: {named})"

    def _repr_html_(self) -> str:
        shown = [
            ("Invariant points", self.invariants),
            ("Compounds", self.compounds),
            ("Two-phase regions", self.regions.drop(columns="note")),
        ]
        parts = [
            f"<h4>{title}</h4>{frame.to_html(index=False, float_format=lambda v: f'{v:.4g}', max_rows=12)}"
            for title, frame in shown
            if len(frame)
        ]
        return f"<p><b>{self!r}</b></p>{''.join(parts)}"
