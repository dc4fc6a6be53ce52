"""PhaseDiagram: two-phase regions, transition temperatures and invariant points of a binary, each with its error bar."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from alloygen import units
from alloygen.arguments import one_of, whole_number
from alloygen.edge.prototypes import is_vacancy
from alloygen.errors import AlloygenError, BadCondition
from alloygen.estimate.coexistence import Region, lower_vertices, regions, tangent_at
from alloygen.estimate.invariants import gap, three_phase_temperature
from alloygen.estimate.superstructure import SUPERSTRUCTURES
from alloygen.results.canonical import axis_attributes, binary
from alloygen.results.hull import pymatgen_diagram
from alloygen.types import ArrayLike, PathLike

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.axes import Axes

    from alloygen.estimate.profile import CompositionProfile

MIN_ESS = 50.0
ORDERED = 0.5  # order parameter above which a phase has that order
SURE, SIGMAS = (
    0.9,
    4.0,
)  # share of the replicas that must show a region, and how many errors of its own its barrier must have
DISORDERED = "disordered"
REPLICAS = 100
NARROW = 2  # steps of the composition that a line compound is wide at most
CALPHAD = {  # what databases call the disordered phase on a crystal
    "fcc": "FCC_A1", "bcc": "BCC_A2", "hcp": "HCP_A3", "diamond": "DIAMOND_A4", "rocksalt": "HALITE_B1", "caesium chloride": "BCC_B2",
    "zincblende": "ZINCBLENDE_B3", "wurtzite": "WURTZITE_B4", "fluorite": "FLUORITE_C1", "perovskite": "PEROVSKITE",
}  # fmt: skip


@dataclass(frozen=True, eq=False, repr=False)
class PhaseDiagram:
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
        empty = [float(T) for T, f in zip(self.T, self._f, strict=True) if np.isfinite(f).sum() < 3]
        if empty:
            raise AlloygenError(
                f"expected free energies at three compositions at least, got fewer at T = {empty}; sample more mu there"
            )

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
        T, x, f = np.atleast_1d(np.asarray(T, float)), np.asarray(x, float), np.asarray(free_energy, float)
        if stderr is not None:
            stderr = np.broadcast_to(np.asarray(stderr, float), f.shape)
        even = x.ndim == 1 and len(x) > 2 and np.allclose(x, np.linspace(x[0], x[-1], len(x)), atol=1e-6)
        if f.shape != (len(T), x.size) or not even or not -1e-9 <= x[0] < x[-1] <= 1 + 1e-9:
            raise AlloygenError(
                f"expected x evenly spaced within 0 to 1 and free_energy of shape (nT, len(x)), got x of {x.size} values from "
                f"{x.min(initial=np.inf):g} to {x.max(initial=-np.inf):g} and shape {f.shape} for {len(T)} temperatures"
            )
        replica = None
        if stderr is not None:
            noise = np.random.default_rng(seed).normal(size=(len(T), REPLICAS, len(x)))
            replica = f[:, None] + stderr[:, None] * noise
        sites = n_sites or round(1 / (x[1] - x[0]))
        attributes = {"element": elements[1], "other": elements[0], "unit": unit, "kB": units.KB_EV_PER_K if kB is None else kB,
                      "n_sites": sites, "n_exchangeable": sites, "method": "table"}  # fmt: skip
        return cls(_table(T, x, f, stderr, replica, attributes), min_width)

    @classmethod
    def from_profile(
        cls, profile: CompositionProfile, T: ArrayLike | None = None, min_width: int = 3, seed: int = 0
    ) -> PhaseDiagram:
        """From the F(N, T) of metadynamics, a :class:`alloygen.estimate.profile.CompositionProfile` of a binary.

        The compositions are those of the profile, a part of 0 to 1 for a window or where sites were held. ``T`` : some of its
        temperatures; all of them if not given.

        Raises AlloygenError for a profile that is no binary's, BadCondition for a temperature that it has not.
        """
        h = profile.hamiltonian
        wanted = profile.T if T is None else np.atleast_1d(np.asarray(T, float))
        at = np.abs(np.asarray(profile.T)[:, None] - wanted).argmin(0)
        missing = [float(t) for t, k in zip(wanted, at, strict=True) if abs(profile.T[k] - t) > 1e-6 * abs(t)]
        if missing:
            raise BadCondition(f"expected temperatures of the profile, {_list(profile.T)}, got {missing}")
        at = np.unique(at[np.argsort(profile.T[at])]) if T is None else at[np.argsort(wanted)]
        f, error = profile.free_energy[at], profile.stderr[at]
        series = np.asarray(profile.influence)[at]  # (T, copies, blocks, N)
        xi = np.random.default_rng(seed).normal(size=(REPLICAS, *series.shape[1:3]))
        moved = np.einsum("rcb,tcbn->trn", xi, series) / (series.shape[1] * series.shape[2])
        scale = error[:, None] / np.maximum(moved.std(1, ddof=1, keepdims=True), 1e-300)  # the series' autocorrelation
        replica = f[:, None] + moved * np.where(np.isfinite(scale), scale, 0.0)
        attributes = {**axis_attributes(h, binary(h, profile.element)), "method": "metadynamics"}
        return cls(_table(profile.T[at], profile.x, f, error, replica, attributes), min_width)

    # ------------------------------------------------------------------ facts
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
    def _f(self) -> np.ndarray:
        return self.table["free_energy"].values

    @property
    def _step(self) -> float:
        return float(self.x[1] - self.x[0])

    @property
    def _mu_of_slope(self) -> float:
        """By what a slope of F per site and row is turned into a difference of chemical potentials per atom."""
        return self.n_sites / (int(self.table.attrs["n_exchangeable"]) * self._step)

    def _atoms(self, x: float) -> dict[str, float]:
        """Atoms of the cell at x by element, those of fixed sublattices among them and vacancies not."""
        free, attrs = int(self.table.attrs["n_exchangeable"]), self.table.attrs
        exchanged = {attrs["other"]: (1 - x) * free, self.element: x * free}
        atoms = {k: v for k, v in exchanged.items() if not is_vacancy(k)}
        for k, v in json.loads(attrs.get("fixed_atoms", "{}")).items():
            atoms[k] = atoms.get(k, 0) + v
        return {k: v for k, v in atoms.items() if v > 1e-9}

    def _formula(self, x: float) -> str:
        """Reduced formula of the cell at x, such as Cu3Au, or Li3NaO4 with oxygen on a fixed sublattice."""
        free = int(self.table.attrs["n_exchangeable"])
        parts = {k: Fraction(v / free).limit_denominator(free) for k, v in self._atoms(x).items()}
        size = math.lcm(*(p.denominator for p in parts.values()))
        whole = {k: int(p * size) for k, p in parts.items()}
        common = math.gcd(*whole.values())
        return "".join(f"{k}{v // common if v > common else ''}" for k, v in whole.items()) or "vacancies"

    @property
    def _replica(self) -> np.ndarray | None:
        return self.table["free_energy_replica"].values if "free_energy_replica" in self.table else None

    @cached_property
    def _vertices(self) -> list:
        """Hull vertices of each temperature and replica."""
        return [] if self._replica is None else [[lower_vertices(f) for f in many] for many in self._replica]

    def _at(self, T: float) -> int:
        near = int(np.abs(self.T - T).argmin())
        if abs(self.T[near] - T) > 1e-6:
            raise BadCondition(f"expected one of the diagram's temperatures, {_list(self.T)}, got {T!r}")
        return near

    # ------------------------------------------------------------------ phases
    @cached_property
    def phases(self) -> np.ndarray:
        """(nT, L) names of the phases: "Cu3Au (L1_2)" where an order parameter tells, else "disordered".

        "" where no order is known of the lattice. Line compounds whose order has no name are called by their formula, such as "Cu3Au":
        states at most two steps wide between two-phase regions, from the lowest temperature on.
        """
        known = [k for k in SUPERSTRUCTURES if f"order_{k}" in self.table]
        names = np.full(self._f.shape, DISORDERED if known else "", dtype=object)
        if known:
            value = np.stack([self.table[f"order_{k}"].values for k in known])
            value = np.where(np.isfinite(value), value, -np.inf)
            names[np.isneginf(value.max(0))] = ""
            for k, name in enumerate(known):
                here, share = (value.argmax(0) == k) & (value.max(0) > ORDERED), SUPERSTRUCTURES[name].share
                for x, side in ((share, self.x < 0.5), (1 - share, self.x >= 0.5)):
                    names[here & side] = f"{self._formula(x)} ({name})"
            names[:, [n for n in (0, -1) if abs(self.x[n] - (n != 0)) < 1e-9]] = DISORDERED
        return self._with_compounds(names)

    def _with_compounds(self, names: np.ndarray) -> np.ndarray:
        """Names with those of line compounds that have none."""
        before: list[tuple[int, int, str]] = []
        for t, f in enumerate(self._f):
            wide, found = regions(f, self.min_width), []
            for left, right in itertools.pairwise(wide):
                a, b = left.b, right.a
                old = [name for low, high, name in before if a <= high + 1 and low <= b + 1]
                if b - a <= NARROW and (old or t == 0) and all(self._unnamed(names, t, n) for n in range(a, b + 1)):
                    found.append((a, b, old[0] if old else self._formula(self.x[(a + b) // 2])))
            for a, b, name in found:
                names[t, a : b + 1] = name
            before = found
        return names

    def _unnamed(self, names: np.ndarray, t: int, n: int) -> bool:
        """Whether nothing is known of the order of a state, or its entropy is far from that of a disordered one."""
        if names[t, n] != DISORDERED or "entropy" not in self.table:
            return names[t, n] == ""
        x = min(max(self.x[n], 1e-12), 1 - 1e-12)
        mixed = -(x * np.log(x) + (1 - x) * np.log(1 - x)) * self.table.attrs["n_exchangeable"] / self.n_sites
        return bool(self.table["entropy"].values[t, n] < 0.5 * mixed * float(self.table.attrs["kB"]))

    # ------------------------------------------------------------------ two-phase regions
    @cached_property
    def regions(self) -> pd.DataFrame:
        """Two-phase regions, a ``pandas.DataFrame``, one row per region and T.

        x_left, x_right, mu (difference of the chemical potentials per atom) with ``_stderr`` from the bootstrap, which for x also holds the
        step of the composition / sqrt(12); phase_left, phase_right; barrier, the largest F above the tangent times the sites over kT;
        significance, the barrier over its standard error; support, the share of the replicas that have a region here; effective_samples,
        the fewest at its ends; reliable, at least 50 of them. Noise on F makes edges too, and the largest of many: those that fewer than 90 %
        of the replicas show, or whose barrier is below four of its errors, are in :attr:`unresolved`.
        """
        return self._edges[~self._doubtful].reset_index(drop=True)

    @cached_property
    def unresolved(self) -> pd.DataFrame:
        """Edges of the hull as wide as a region that may be noise, see :attr:`regions`; more samples would settle them. None is reliable."""
        return self._edges[self._doubtful].assign(reliable=False).reset_index(drop=True)

    @property
    def _doubtful(self) -> pd.Series:
        return (self._edges["support"] < SURE) | (self._edges["significance"] < SIGMAS)

    @cached_property
    def _edges(self) -> pd.DataFrame:
        import pandas as pd

        rows = [self._region(t, r) for t in range(len(self.T)) for r in regions(self._f[t], self.min_width)]
        columns = ["T", "x_left", "x_left_stderr", "x_right", "x_right_stderr", "mu", "mu_stderr", "phase_left", "phase_right", "barrier",
                   "significance", "support", "effective_samples", "reliable", "note"]  # fmt: skip
        return pd.DataFrame(rows, columns=columns)

    def _region(self, t: int, r: Region) -> dict:
        f, step = self._f[t], self._step
        inner = np.arange(r.a + 1, r.b)
        above = f[inner] - f[r.a] - r.slope * (inner - r.a)
        kT = float(self.table.attrs["kB"]) * self.T[t]
        size = self.table["effective_samples"].values[t]
        ess = float(min(size[r.a], size[r.b]))
        left = right = mu = support = sigma = np.nan
        if self._replica is not None:
            found = [
                tangent_at(g, 0.5 * (r.a + r.b), v) for g, v in zip(self._replica[t], self._vertices[t], strict=True)
            ]
            a, b, slope = (np.array(x, float) for x in zip(*found, strict=True))
            left, right = (np.hypot(v.std(ddof=1) * step, step / np.sqrt(12)) for v in (a, b))
            mu, support = slope.std(ddof=1) * self._mu_of_slope, float((b - a >= self.min_width).mean())
            if np.isfinite(above).any():
                k = int(inner[np.nanargmax(above)])
                g = self._replica[t]
                sigma = (g[:, k] - g[:, r.a] - (g[:, r.b] - g[:, r.a]) / (r.b - r.a) * (k - r.a)).std(ddof=1)
        notes = []
        if ess < MIN_ESS:
            notes.append(f"{ess:.0f} effective samples at an end")
        if not np.isfinite(above).all():
            notes.append(f"{int((~np.isfinite(above)).sum())} compositions between were never visited")
        return {
            "T": self.T[t], "x_left": self.x[r.a], "x_left_stderr": left, "x_right": self.x[r.b], "x_right_stderr": right,
            "mu": r.slope * self._mu_of_slope, "mu_stderr": mu, "phase_left": self.phases[t, r.a], "phase_right": self.phases[t, r.b],
            "barrier": float(np.nanmax(above, initial=0.0)) * self.n_sites / kT,
            "significance": float(np.nanmax(above, initial=0.0)) / sigma if sigma > 0 else np.nan, "support": support, "effective_samples": ess,
            "reliable": not ess < MIN_ESS, "note": "; ".join(notes),
        }  # fmt: skip

    def tie_lines(self, T: float):
        """The two-phase regions at one temperature of the diagram: rows of :attr:`regions`."""
        return self.regions[self.regions["T"] == self.T[self._at(T)]].reset_index(drop=True)

    def boundaries(self, x: float):
        """Temperatures at which an alloy of composition x enters or leaves a two-phase region, a ``pandas.DataFrame``.

        T halfway between neighbouring temperatures of the diagram, T_stderr from the replicas and half their step / sqrt(3).
        """
        import pandas as pd

        if not self.x[0] <= x <= self.x[-1]:
            raise BadCondition(f"expected a composition between {self.x[0]:g} and {self.x[-1]:g}, got {x!r}")
        at = (x - self.x[0]) / self._step
        inside = lambda f: np.array([_wide(tangent_at(g, at), at, self.min_width) for g in f])  # noqa: E731
        middle = 0.5 * (self.T[1:] + self.T[:-1])
        steps = np.flatnonzero(np.diff(inside(self._f).astype(int)))
        rows, many = (
            [],
            None
            if self._replica is None
            else np.stack([inside(self._replica[:, r]) for r in range(self._replica.shape[1])]),
        )
        for k in steps:
            enters, error = bool(inside(self._f[k + 1 : k + 2])[0]), np.nan
            if many is not None:
                places = [
                    _nearest(middle[np.flatnonzero(np.diff(m.astype(int)) == (1 if enters else -1))], middle[k])
                    for m in many
                ]
                nearest = np.array([v for v in places if v is not None])
                grid = (self.T[k + 1] - self.T[k]) / np.sqrt(12)
                error = np.hypot(nearest.std(ddof=1), grid) if len(nearest) > SURE * len(many) else np.nan
            rows.append(
                {
                    "x": x,
                    "T": middle[k],
                    "T_stderr": error,
                    "heating": "enters two phases" if enters else "leaves two phases",
                }
            )
        return pd.DataFrame(rows, columns=["x", "T", "T_stderr", "heating"])

    # ------------------------------------------------------------------ transitions and invariant points
    @cached_property
    def transitions(self):
        """Order-disorder temperatures at fixed composition, a ``pandas.DataFrame``, one row per composition that orders.

        T is the peak of the heat capacity at fixed composition, by a parabola through its highest points, where an order parameter falls
        below 1/2 on heating; T_stderr from the replicas. ``single_phase`` says whether the composition is outside the two-phase regions
        there: inside them the peak is that of a mixture in the finite cell. ``kind`` is "first order" where a reliable two-phase region between an ordered and
        the disordered phase ends nearby, else "continuous, or not resolved by N sites".
        """
        import pandas as pd

        columns = ["x", "T", "T_stderr", "phase", "single_phase", "kind", "effective_samples", "reliable"]
        if (
            "heat_capacity" not in self.table
            or not any(f"order_{k}" in self.table for k in SUPERSTRUCTURES)
            or len(self.T) < 5
        ):
            return pd.DataFrame([], columns=columns)
        rows = [row for n in range(1, len(self.x) - 1) if (row := self._transition(n)) is not None]
        return pd.DataFrame(rows, columns=columns)

    def _transition(self, n: int) -> dict | None:
        names = self.phases[:, n]
        ordered = np.array([name not in ("", DISORDERED) for name in names])
        size = self.table["effective_samples"].values[:, n]
        if not ordered[:-1].any() or names[-1] != DISORDERED:
            return None
        last = int(np.flatnonzero(ordered)[-1])
        c = self.table["heat_capacity"].values[:, n]
        many = self.table["heat_capacity_replica"].values[:, :, n].T if "heat_capacity_replica" in self.table else None
        peak, error = heat_capacity_peak(self.T, c, many)
        if not np.isfinite(peak):
            return None
        ess = float(size[int(np.abs(self.T - peak).argmin())])
        near = self.regions[(self.regions["T"] - peak).abs() <= max(50.0, 2 * np.diff(self.T).max())]
        step = 1.0 / (len(self.x) - 1)
        touches = (near["x_left"] - 2.5 * step <= self.x[n]) & (near["x_right"] + 2.5 * step >= self.x[n])
        mixed = (near["phase_left"] == DISORDERED) != (near["phase_right"] == DISORDERED)
        at = self.T[np.abs(self.T - peak).argmin()]
        inside = (near["T"] == at) & (near["x_left"] < self.x[n]) & (self.x[n] < near["x_right"]) & near["reliable"]
        first = bool((touches & mixed & near["reliable"]).any())
        return {"x": self.x[n], "T": peak, "T_stderr": error, "phase": names[last], "single_phase": not inside.any(), "effective_samples": ess,
                "kind": "first order" if first else f"continuous, or not resolved by {self.n_sites} sites",
                "reliable": ess >= MIN_ESS and not error > 0.1 * peak}  # fmt: skip

    @cached_property
    def invariants(self):
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
        import pandas as pd

        rows, leave = [], {}
        for name, n in self._orders:
            row, leave[name] = self._three_phase_point("peritectoid", name, n)
            rows += [row] if row is not None else []
        sequence = [self._sequence(t, self._f[t]) for t in range(len(self.T))]
        sure = {(row.T, row.x_left, row.x_right) for row in self.regions.itertuples()}
        sequence = [
            [r for r in found if (self.T[t], self.x[r[2]], self.x[r[3]]) in sure] for t, found in enumerate(sequence)
        ]
        for kind, k, phases, n in _three_phase(sequence):
            if kind == "eutectoid" and phases[1] not in leave:
                row, _ = self._three_phase_point(kind, phases[1], np.array([n]), self.T[k])
                rows += [row] if row is not None else []
        for name, part in self.transitions[self.transitions["single_phase"].astype(bool)].groupby("phase"):
            row = self._congruent(name, part, leave.get(name, np.nan))
            rows += [row] if row is not None else []
        columns = ["kind", "T", "T_stderr", "x", "x_stderr", "phases", "support", "reliable", "note"]
        return pd.DataFrame(rows, columns=columns).sort_values("T", ignore_index=True)

    @property
    def _orders(self) -> list[tuple[str, np.ndarray]]:
        """Name and rows of the ordered phases at the lowest temperature, those between two others."""
        out = []
        for row in self.compounds.itertuples():
            n = np.flatnonzero((self.x >= row.x_min - 1e-9) & (self.x <= row.x_max + 1e-9))
            n = n[(n > 0) & (n < len(self.x) - 1)]
            if len(n):
                out.append((row.phase, n))
        return out

    def _three_phase_point(
        self, kind: str, name: str, n: np.ndarray, near: float | None = None
    ) -> tuple[dict | None, float]:
        """A row of :attr:`invariants` where most of the replicas show one, and the share of them that do."""
        appears, named = kind == "eutectoid", (self.phases[:, n] == name).any(1)
        last = len(self.T)
        if not appears and name.endswith(")") and named.any():  # no further than its order is there
            last = int(np.flatnonzero(named)[-1]) + 1
        find = lambda f: three_phase_temperature(self.T[:last], f[:last], n, self.min_width, appears)  # noqa: E731
        T, error, support = find(self._f), np.nan, np.nan
        if self._replica is not None:
            many = np.array([find(self._replica[:, r]) for r in range(self._replica.shape[1])])
            met = many[np.isfinite(many)]
            support = len(met) / len(many)
            T = T if np.isfinite(T) or support < 0.5 else float(np.median(met))
            error = np.hypot(met.std(ddof=1), 0.1 * np.diff(self.T).mean()) if len(met) > 0.5 * len(many) else np.nan
        share = support if self._replica is not None else float(np.isfinite(T))
        if share < 0.5 or not np.isfinite(T):
            return None, share
        t = int(np.abs(self.T - T).argmin())
        _, a, b = gap(self._f[t], n)
        q = int(n[len(n) // 2]) if len(n) == 1 else int(n[np.nanargmin(self._f[t][n])])
        size = self.table["effective_samples"].values[t]
        names = [self.phases[t, int(a)], name, self.phases[t, int(b)]]
        notes = self._doubts(support, min(size[int(a)], size[q], size[int(b)]), error, T)
        if (near_by := min(q - int(a), int(b) - q)) <= NARROW:
            notes.append(f"two of the phases are {near_by} steps of the composition apart: take a larger cell")
        return {"kind": kind, "T": T, "T_stderr": error, "x": self.x[q], "x_stderr": self._where(n, t), "phases": " + ".join(names), "support": support,
                "reliable": not notes, "note": "; ".join(notes)}, share  # fmt: skip

    def _where(self, n: np.ndarray, t: int) -> float:
        """The error of the composition of a phase at rows n: the spread of its lowest point over the replicas, and the step of x."""
        step = self._step / np.sqrt(12)
        if self._replica is None or len(n) == 1:
            return step
        lowest = np.where(np.isfinite(self._replica[t][:, n]), self._replica[t][:, n], np.inf).argmin(1)
        return float(np.hypot(self.x[n[lowest]].std(ddof=1), step))

    def _congruent(self, name: str, part, leaves: float) -> dict | None:
        """A row of :attr:`invariants`, unless most of the replicas say that the phase leaves the hull before it disorders."""
        good = part[part["reliable"].astype(bool)]
        part = good if len(good) else part
        top = part.loc[part["T"].idxmax()]
        ends = self.transitions.loc[
            self.transitions["single_phase"].astype(bool) & (self.transitions["phase"] == name), "x"
        ]
        if leaves >= 0.5 or not ends.min() < top["x"] < ends.max():
            return None
        support = np.nan if self._replica is None else 1.0 - (leaves if np.isfinite(leaves) else 0.0)
        T, error, away = self._highest(part)
        notes = self._doubts(support, top["effective_samples"], error, T)
        if not len(good):
            notes.append("none of the transitions that it rests on is reliable")
        return {"kind": "congruent", "T": T, "T_stderr": error, "x": top["x"], "x_stderr": away, "phases": f"{name} + {DISORDERED}",
                "support": support, "reliable": not notes, "note": "; ".join(notes)}  # fmt: skip

    def _highest(self, part) -> tuple[float, float, float]:
        """(T, its error, the error of x) of the highest of some transitions.

        The highest of several noisy temperatures tends to be too high; by how much the highest of each replica lies above it on
        average is a part of the error.
        """
        top, step = part.loc[part["T"].idxmax()], self._step / np.sqrt(12)
        if "heat_capacity_replica" not in self.table:
            return top["T"], top["T_stderr"], step
        rows = np.rint((part["x"].to_numpy() - self.x[0]) / self._step).astype(int)
        many = self.table["heat_capacity_replica"].values[:, :, rows]  # (T, replica, rows)
        peaks = np.array([[_peak(self.T, c) for c in one.T] for one in np.moveaxis(many, 1, 0)])
        peaks = peaks[np.isfinite(peaks).any(1)]
        if len(peaks) < 2:
            return top["T"], top["T_stderr"], step
        highest, x = np.nanmax(peaks, 1), part["x"].to_numpy()[np.nanargmax(peaks, 1)]
        error = np.linalg.norm([highest.std(ddof=1), highest.mean() - top["T"], 0.1 * np.diff(self.T).mean()])
        return top["T"], float(max(error, top["T_stderr"])), float(np.hypot(x.std(ddof=1), step))

    def _doubts(self, support: float, samples: float, error: float, T: float) -> list[str]:
        out = [f"{100 * support:.0f} % of the replicas show a point of this kind"] if support < SURE else []
        out += [f"{samples:.0f} effective samples at one of the phases: draw more near it"] if samples < MIN_ESS else []
        return out + ([f"T is known to {error:.0f} K only"] if error > 0.1 * T else [])

    def _sequence(self, t: int, f, vertices=None) -> list:
        return [(self.phases[t, r.a], self.phases[t, r.b], r.a, r.b) for r in regions(f, self.min_width, vertices)]

    @cached_property
    def compounds(self):
        """Ordered phases at the lowest temperature: name, x range, and whether it is a line compound (at most two steps wide).

        reliable: at least 50 effective samples at one of its compositions.
        """
        import pandas as pd

        rows, wide, size = [], regions(self._f[0], self.min_width), self.table["effective_samples"].values[0]
        vertices = lower_vertices(self._f[0])
        ends = [vertices[0], *[v for r in wide for v in (r.a, r.b)], vertices[-1]]
        for a, b in zip(ends[::2], ends[1::2], strict=True):
            name = self.phases[0, (a + b) // 2]
            if name not in ("", DISORDERED) or (not name and vertices[0] < a and b < vertices[-1]):
                rows.append({"phase": name or f"compound near {self._formula(self.x[(a + b) // 2])}", "x_min": self.x[a],
                             "x_max": self.x[b], "line_compound": bool(b - a <= NARROW), "reliable": bool(size[a : b + 1].max() >= MIN_ESS)})  # fmt: skip
        return pd.DataFrame(rows, columns=["phase", "x_min", "x_max", "line_compound", "reliable"])

    @property
    def drawn(self):
        """The boundary of Du et al. (arXiv:2603.14695), for comparison: the lowest T at which each composition was drawn at any mu.

        A ``pandas.DataFrame`` of x and T. It knows no free energy: it moves with the grid of mu and with the number of samples.
        """
        if "lowest_T" not in self.table:
            raise AlloygenError(
                "expected a diagram of a scan, which knows its samples, got one from free energies alone"
            )
        return (
            self.table[["x", "lowest_T"]]
            .to_dataframe()
            .rename(columns={"lowest_T": "T"})
            .dropna()
            .reset_index(drop=True)[["x", "T"]]
        )

    # ------------------------------------------------------------------ other libraries and files
    def to_pymatgen(self, T: float, arc: int = 8):
        """A pymatgen diagram of free energies at T: hull compositions, single-phase arcs thinned to ``arc`` entries each.

        Entries are whole cells: all atoms, those of fixed sublattices too, vacancies not, and F of the cell in eV, so that pymatgen's
        energies are per atom; entry.name is the phase and x. A ``PhaseDiagram`` of the elements where the ends of x are pure elements;
        else a ``CompoundPhaseDiagram`` between the ends that are known, such as LiO and NaO, or CoO2 and LiCoO2.

        Raises AlloygenError for species that are no elements, and for a lattice of one kind of atoms and vacancies alone.
        """
        from pymatgen.analysis.phase_diagram import PDEntry
        from pymatgen.core import Composition

        t = self._at(T)
        self._require_elements()
        arc = whole_number(arc, "arc", 2)
        f = self._f[t]
        vertices = lower_vertices(f)
        cuts = np.flatnonzero(np.diff(vertices) >= self.min_width) + 1
        keep = [
            v
            for part in np.split(vertices, cuts)
            for v in part[np.unique(np.linspace(0, len(part) - 1, min(arc, len(part))).round().astype(int))]
        ]
        return pymatgen_diagram([
            PDEntry(Composition(self._atoms(self.x[n])), float(f[n]) * self.n_sites, name=f"{self.phases[t, n] or 'x'} x={self.x[n]:.4g}")
            for n in keep
        ])  # fmt: skip

    def _require_elements(self) -> None:
        """AlloygenError unless the atoms are chemical elements, two kinds of them at least."""
        from pymatgen.core import Element

        names = list(self._atoms(0.5))
        if not all(map(Element.is_valid_symbol, names)):
            raise AlloygenError(f"expected chemical elements, got {names}; read `regions` and `table` instead")
        if len(names) < 2:
            raise AlloygenError(
                f"expected two kinds of atoms, got {names[0]} and vacancies, whose composition does not change; read `regions` and "
                "`table` instead"
            )

    def to_landau(self):
        """Stable states as a ``pandas.DataFrame`` with the columns of the landau package: T, mu, c, phi, f, phase, stable, border.

        One row per hull composition and T; at the ends of two-phase regions two rows share a mu and are ``border``. c is the fraction of
        the exchangeable sites (from 0 to 1, sites of fixed sublattices do not count); f and phi = f - mu c are energies per exchangeable
        site, and mu is the difference of the chemical potentials per atom, as in :attr:`regions`.
        """
        import pandas as pd

        rows, scale = [], self.n_sites / int(self.table.attrs["n_exchangeable"])
        for t, f in enumerate(scale * self._f):
            v = lower_vertices(f)
            slope = np.diff(f[v]) / np.diff(self.x[v])
            for k, n in enumerate(v):
                sides = [(slope[j], v[j + 1] - v[j] >= self.min_width) for j in (k - 1, k) if 0 <= j < len(slope)]
                border = [s for s, wide in sides if wide]
                for mu in border or [np.mean([s for s, _ in sides])]:
                    rows.append({"T": self.T[t], "mu": mu, "c": self.x[n], "phi": f[n] - mu * self.x[n], "f": f[n],
                                 "phase": self.phases[t, n] or "solution", "stable": True, "border": bool(border)})  # fmt: skip
        return pd.DataFrame(rows)

    def to_espei(self, phase_names: dict | None = None, pressure: float = 101325.0) -> dict:
        """Tie-lines as an ESPEI ZPF dataset (a dict for ``json.dump``).

        Compositions are mole fractions of all atoms, those of fixed sublattices too; vacancies are VA and no atoms. The element that
        is left out of a list is the one that x turns into, where that is an atom. ``phase_names`` maps our names to those of a
        database; without it the disordered phase is called after the crystal (FCC_A1, BCC_A2, HCP_A3, HALITE_B1, ...; SOLUTION where
        it has no name) and others by their formula. Only reliable regions are written; ESPEI's weight is one for all.

        Raises AlloygenError for species that are no elements, and for a lattice of one kind of atoms and vacancies alone.
        """
        self._require_elements()
        solution = CALPHAD.get(self.table.attrs.get("lattice", ""), "SOLUTION")
        names = {"": solution, DISORDERED: solution} | (phase_names or {})
        name = lambda p: names.get(p, p.split(" ")[0].upper())  # noqa: E731
        rows = self.regions[self.regions["reliable"] | self.regions["support"].isna()]
        atoms = list(self._atoms(0.5))
        left_out = self.table.attrs["other"] if self.table.attrs["other"] in atoms else atoms[-1]
        told = [a for a in atoms if a != left_out]

        def side(phase, x) -> list:
            here = self._atoms(float(x))
            return [name(phase), [a.upper() for a in told], [here.get(a, 0.0) / sum(here.values()) for a in told]]

        values = [[side(r.phase_left, r.x_left), side(r.phase_right, r.x_right)] for r in rows.itertuples()]
        return {
            "components": sorted({*(a.upper() for a in atoms), "VA"}),
            "phases": sorted({v[0] for pair in values for v in pair}), "broadcast_conditions": False,
            "conditions": {"T": [float(v) for v in rows["T"]], "P": [pressure]}, "output": "ZPF", "values": values,
            "reference": f"alloygen, {self.table.attrs.get('hamiltonian', 'table')}, {self.n_sites} sites",
        }  # fmt: skip

    def to_dict(self) -> dict:
        """What was found, as plain numbers and lists for JSON."""
        frames = {
            k: json.loads(getattr(self, k).to_json(orient="records"))
            for k in ("regions", "unresolved", "transitions", "invariants", "compounds")
        }
        plain = {k: (v.item() if hasattr(v, "item") else v) for k, v in self.table.attrs.items()}
        return {"attributes": plain, "min_width": self.min_width, "T": self.T.tolist(), **frames}

    def write(self, path: PathLike) -> Path:
        """Write by suffix: .json (what was found), .nc (the table, which :meth:`read` takes back), .csv (regions), .png/.pdf/.svg (T-x)."""
        from alloygen.runtime.atomic import atomic_path

        path = Path(path)
        known = (".json", ".nc", ".csv", ".png", ".pdf", ".svg")
        if path.suffix not in known:
            raise AlloygenError(f"expected a path that ends in one of {', '.join(known)}, got {str(path)!r}")
        with atomic_path(path) as part:
            if path.suffix == ".json":
                Path(part).write_text(json.dumps(self.to_dict(), indent=1))
            elif path.suffix == ".csv":
                self.regions.to_csv(part, index=False)
            elif path.suffix == ".nc":
                self.table.assign_attrs(min_width=self.min_width).to_netcdf(part)
            else:
                import matplotlib.pyplot as plt
                from matplotlib.figure import Figure

                figure = cast(Figure, self.plot().figure)
                figure.savefig(part, dpi=150, format=path.suffix[1:], bbox_inches="tight")
                plt.close(figure)
        return path

    @classmethod
    def read(cls, path: PathLike) -> PhaseDiagram:
        """A diagram from the netCDF that :meth:`write` made."""
        import xarray as xr

        if not Path(path).exists():
            raise AlloygenError(f"expected a netCDF file of a phase diagram, found none at {str(path)!r}")
        with xr.open_dataset(path) as data:
            table = data.load()
        return cls(table, int(table.attrs.get("min_width", 3)))

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


def heat_capacity_peak(T: ArrayLike, c: ArrayLike, replicas: ArrayLike | None = None) -> tuple[float, float]:
    """(temperature of the largest C, its standard error from ``replicas`` (R, nT)), by a parabola through the highest points.

    A tenth of the step in T is added to the error for the parabola; nan where the largest C is at an end, or without replicas.

    Examples
    --------
    >>> T = np.linspace(400, 600, 21)
    >>> round(heat_capacity_peak(T, -((T - 507) ** 2.0))[0], 6)
    507.0
    """
    T, error = np.asarray(T, dtype=float), np.nan
    if replicas is not None:
        error = float(np.hypot(np.nanstd([_peak(T, r) for r in np.asarray(replicas)], ddof=1), 0.1 * np.diff(T).mean()))
    return _peak(T, np.asarray(c, dtype=float)), error


# ---------------------------------------------------------------------- small steps
def _table(T, x, f, stderr, replica, attributes: dict):
    """A Dataset over (T, n) of free energies (nT, L) alone; mixing F is relative to the outermost compositions known at every T."""
    import xarray as xr

    error = np.full(f.shape, np.nan) if stderr is None else stderr
    known = np.flatnonzero(np.isfinite(f).all(0))
    mixing = np.full(f.shape, np.nan)
    if len(known) > 1:
        a, b = known[0], known[-1]
        share = (x - x[a]) / (x[b] - x[a])
        mixing = f - (1 - share) * f[:, a : a + 1] - share * f[:, b : b + 1]
    data = {"free_energy": f, "free_energy_stderr": error, "mixing": mixing, "mixing_stderr": error,
            "effective_samples": np.where(np.isfinite(f), np.inf, np.nan)}  # fmt: skip
    n = np.arange(len(x)) + round(x[0] / (x[1] - x[0]))
    table = xr.Dataset({k: (("T", "n"), v) for k, v in data.items()}, {"T": T, "n": n, "x": ("n", x)}, attributes)
    if replica is not None:
        table["free_energy_replica"] = (("T", "replica", "n"), replica)
    return table


def _list(values) -> str:
    v = [f"{x:g}" for x in values]
    return ", ".join(v if len(v) < 9 else [*v[:4], "...", *v[-2:]])


def _wide(region, at: float, min_width: int) -> bool:
    return region.b - region.a >= min_width and region.a < at < region.b


def _nearest(values, to: float) -> float | None:
    return float(values[np.abs(values - to).argmin()]) if len(values) else None


def _peak(T, c) -> float:
    """Temperature of the largest value, by a parabola through it and its neighbours; nan at an end of the range."""
    if not np.isfinite(c).any():
        return np.nan
    k = int(np.nanargmax(c))
    if not 0 < k < len(T) - 1 or not np.isfinite(c[k - 1 : k + 2]).all():
        return np.nan
    a, b, _ = np.polyfit(T[k - 1 : k + 2] - T[k], c[k - 1 : k + 2], 2)
    return float(T[k] - b / (2 * a)) if a < 0 else float(T[k])


def _three_phase(sequence):
    """(kind, row of T below, (P, Q, R), row of x) where a middle phase Q vanishes (peritectoid) or appears (eutectoid) on heating."""
    for k, (low, high) in enumerate(itertools.pairwise(sequence)):
        for kind, two, one in (("peritectoid", low, high), ("eutectoid", high, low)):
            for first, second in itertools.pairwise(two):
                if first[1] != second[0] or len({first[0], first[1], second[1]}) < 2:
                    continue
                gone = any(r[0] == first[0] and r[1] == second[1] and r[2] < second[2] and r[3] > first[3] for r in one)
                stays = any(
                    first[1] in r[:2] and r[2] < second[3] and r[3] > first[2]
                    for r in one
                    if not (r[0] == first[0] and r[1] == second[1])
                )
                if gone and not stays:
                    yield kind, k, (first[0], first[1], second[1]), first[3]
