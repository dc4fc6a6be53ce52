"""Tables behind isothermal sections: from a grid of free energies, and what follows from their hulls, row by row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import pandas as pd
import xarray as xr

from alloygen.arguments import whole_number
from alloygen.errors import AlloygenError, BadCondition
from alloygen.estimate.weights import MIN_ESS
from alloygen.results.splitting import SURE, Split, Surface
from alloygen.runtime.tables import require_numbers
from alloygen.types import ArrayLike

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

REPLICAS = 100


class Stack(Protocol):
    """What is read of sections: see :class:`alloygen.results.sections.IsothermalSections`."""

    @property
    def table(self) -> xr.Dataset: ...
    @property
    def min_width(self) -> int: ...
    @property
    def T(self) -> np.ndarray: ...
    @property
    def x(self) -> np.ndarray: ...
    @property
    def elements(self) -> tuple[str, ...]: ...
    @property
    def n_sites(self) -> int: ...
    @property
    def surfaces(self) -> list[Surface]: ...
    @property
    def phases(self) -> np.ndarray: ...
    @property
    def regions(self) -> pd.DataFrame: ...
    def row(self, T: float) -> int: ...
    def composition(self, x: Mapping[str, float] | ArrayLike) -> np.ndarray: ...
    def tie_lines(self, T: float) -> pd.DataFrame: ...
    def tie_triangles(self, T: float) -> pd.DataFrame: ...
    def isopleth(
        self, start: Mapping[str, float] | ArrayLike, end: Mapping[str, float] | ArrayLike, points: int = 51
    ) -> pd.DataFrame: ...


def require(table: xr.Dataset) -> None:
    """AlloygenError for a table that has no free energies over compositions of three elements at least."""
    missing = {"free_energy", "free_energy_stderr", "effective_samples", "atoms", "x"} - {*table.variables}
    if missing or table.sizes.get("element", 0) < 3 or not table.sizes.get("T", 0):
        raise AlloygenError(
            f"expected a table over (T, composition) of three elements at least, with free_energy, free_energy_stderr, effective_samples, atoms and x, got "
            f"{dict(table.sizes)} without {sorted(missing) or 'nothing'}; two elements are for PhaseDiagram"
        )
    require_numbers(table, ("atoms", "x"), ("T",))
    for name in ("n_sites", "n_exchangeable"):
        whole_number(table.attrs.get(name), name)
    if table["x"].dims != ("composition", "element") or table["free_energy"].dims != ("T", "composition"):
        raise AlloygenError(
            f"expected x over (composition, element) and free_energy over (T, composition), got {dict(table.sizes)}"
        )


def of_grid(
    T: ArrayLike,
    atoms: ArrayLike,
    free_energy: ArrayLike,
    stderr: ArrayLike | None,
    seed: int,
    *,
    elements: Sequence[str],
    kB: float,
    unit: str,
) -> xr.Dataset:
    """The table of free energies per site, see :meth:`alloygen.results.sections.IsothermalSections.from_table`."""
    T, n, f = np.atleast_1d(np.asarray(T, float)), np.asarray(atoms, float), np.asarray(free_energy, float)
    whole = n.ndim == 2 and n.size and (n >= 0).all() and np.allclose(n, np.rint(n)) and np.ptp(n.sum(1)) < 1e-9
    if not whole or n.shape[1] != len(elements) or f.shape != (len(T), len(n)) or len(np.unique(n, axis=0)) != len(n):
        raise AlloygenError(
            f"expected atoms (L, {len(elements)}) as whole numbers of one sum, each row once, and free_energy (nT, L), got shapes {n.shape} and {f.shape} "
            f"for {len(T)} temperatures"
        )
    n, error = np.rint(n).astype(int), np.full(f.shape, np.nan)
    size = int(n[0].sum())
    pure = n.argmax(0)
    plane = f[:, pure] @ (n.T / size) if (n.max(0) == size).all() else np.full(f.shape, np.nan)
    data = {"free_energy": f, "mixing": f - plane, "effective_samples": np.where(np.isfinite(f), np.inf, np.nan)}
    if stderr is not None:
        error = np.broadcast_to(np.asarray(stderr, float), f.shape)
    data |= {"free_energy_stderr": error, "mixing_stderr": error}
    coords = {"T": ("T", T, {"units": "K"}), "element": list(elements), "atoms": (("composition", "element"), n),
              "x": (("composition", "element"), n / size)}  # fmt: skip
    attrs = {
        "n_sites": size,
        "n_exchangeable": size,
        "fixed_atoms": "{}",
        "lattice": "",
        "unit": unit,
        "kB": kB,
        "method": "table",
    }
    table = xr.Dataset({k: (("T", "composition"), v, {"units": unit}) for k, v in data.items()}, coords, attrs)
    if stderr is not None:
        noise = np.random.default_rng(seed).normal(size=(len(T), REPLICAS, len(n)))
        table["free_energy_replica"] = (("T", "replica", "composition"), f[:, None] + error[:, None] * noise)
    return table


def surfaces(table: xr.Dataset, min_width: int) -> list[Surface]:
    """The hull of each temperature, of the compositions whose F has an error bar, where there is a bootstrap."""
    known = "free_energy_replica" in table
    f, error = table["free_energy"].values, table["free_energy_stderr"].values
    f = np.where(np.isfinite(error), f, np.nan) if known else f
    return [
        Surface(
            atoms=table["atoms"].values, f=f[t], error=error[t], min_width=min_width,
            replica=np.where(np.isfinite(f[t]), table["free_energy_replica"].values[t], np.nan) if known else None,
        )
        for t in range(table.sizes["T"])
    ]  # fmt: skip


# ---------------------------------------------------------------------- regions
def doubtful(rows: pd.DataFrame) -> pd.Series:
    """Whether a facet may be noise: its corners are far apart, and yet one phase, or few replicas show its phases."""
    return (rows["n_phases"] < 2) | (rows["support"] < SURE)


def frame(rows: list[dict]) -> pd.DataFrame:
    """Rows of regions, of one or several temperatures, as a table whose columns come in one order."""
    first = ["T", "n_phases", "seen"]
    last = ["barrier", "significance", "support", "effective_samples", "reliable", "note"]
    longest = max(rows, key=len, default={})
    return pd.DataFrame(rows, columns=[*first, *(k for k in longest if k not in (*first, *last)), *last])


def region_rows(table: xr.Dataset, s: Surface, t: int, names: np.ndarray) -> list[dict]:
    """Facets at one temperature whose corners are far apart, noise among them; names : (L,) of the phases."""
    wide = np.flatnonzero(s.seen > 1)
    middle = s.x[s.facets.corners[wide]].mean(1)
    splits = [s.split(x)[1] for x in middle]
    told = [p for p, split in enumerate(splits) if len(split.x) > 1 and s.replica is not None]
    moved = (
        dict(zip(told, zip(*s.moved(middle[told], [splits[p] for p in told])[:2], strict=True), strict=True))
        if told
        else {}
    )
    slopes = s.slopes(middle) if s.replica is not None and len(wide) else None
    rows = []
    for p, m in enumerate(wide.tolist()):
        support, ends = moved.get(p, (np.nan, None))
        rows.append(
            _region(table, s, t, names, m, splits[p], float(support), ends, None if slopes is None else slopes[:, p])
        )
    return rows


def _region(table, s: Surface, t: int, names, m: int, split: Split, support: float, ends, slopes) -> dict:
    elements, corners = [str(e) for e in table["element"].values], s.facets.corners[m]
    kT = float(table.attrs["kB"]) * float(table["T"].values[t])
    size, free = int(table.attrs["n_sites"]), int(table.attrs["n_exchangeable"])
    inside = (s.located[0] == m) & np.isfinite(s.height)
    ess = float(table["effective_samples"].values[t][corners].min())
    apart = _least(s, corners, s.groups[m])
    notes = [f"{ess:.0f} effective samples at a corner"] if ess < MIN_ESS else []
    if len(split.x) > 1 and np.isnan(apart):
        notes.append("nothing between two of the phases has an error bar; add chemical potentials there")
    row: dict = {"T": float(table["T"].values[t]), "n_phases": len(split.x), "seen": int(s.seen[m])}
    for g in range(len(split.x)):
        row[f"phase_{g + 1}"] = _name(names, corners, split, g)
        row[f"fraction_{g + 1}"] = split.fraction[g]
        for k, e in enumerate(elements):
            row[f"x_{e}_{g + 1}"] = split.x[g, k]
            row[f"x_{e}_{g + 1}_stderr"] = _spread(
                None if ends is None else ends[:, g, k] if len(ends) > 1 else [], 1.0 / free
            )
    scale = size / free
    for k, e in enumerate(elements[1:], 1):
        row[f"mu_{e}"] = scale * (s.facets.slope[m, k] - s.facets.slope[m, 0])
        row[f"mu_{e}_stderr"] = np.nan if slopes is None else scale * (slopes[:, k] - slopes[:, 0]).std(ddof=1)
    return row | {
        "barrier": float(s.height[inside].max(initial=0.0)) * size / kT, "significance": apart if s.replica is not None else np.nan, "support": support,
        "effective_samples": ess, "reliable": not notes, "note": "; ".join(notes),
    }  # fmt: skip


def _least(s: Surface, corners: np.ndarray, group: np.ndarray) -> float:
    """The least of the barriers between two phases of a facet, in its errors; nan where nothing between them was visited, or for one phase."""
    found = [s.apart(corners[group == a], corners[group == b]) for a in range(group.max() + 1) for b in range(a)]
    return min(found, default=np.nan)


def _spread(values, step: float) -> float:
    """The error of a composition: the spread of the replicas and its step / sqrt(12); nan where there are no replicas."""
    if values is None or len(values) < 2:
        return np.nan
    return float(np.hypot(np.std(values, ddof=1), step / np.sqrt(12)))


def _name(names: np.ndarray, corners: np.ndarray, split: Split, g: int) -> str:
    """The name that most corners of a phase have, the first of equal ones."""
    found = [str(names[c]) for c in corners[split.group == g]]
    return max(dict.fromkeys(found), key=found.count)


# ---------------------------------------------------------------------- one composition, and lines of them
def split_rows(table: xr.Dataset, s: Surface, names: np.ndarray, x: np.ndarray) -> pd.DataFrame:
    """The phases of one composition, see :meth:`alloygen.results.sections.IsothermalSections.split`."""
    elements = [str(e) for e in table["element"].values]
    facet, split = s.split(x)
    alone, step = len(split.x) == 1, 1.0 / int(table.attrs["n_exchangeable"])
    ends, shares = np.zeros((0, *split.x.shape)), np.zeros((0, len(split.x)))
    if s.replica is not None and not alone:
        _, (ends,), (shares,) = s.moved(x[None], [split])
    rows = []
    for g in range(len(split.x)):
        told = len(shares) > 1
        row: dict = {"phase": _name(names, s.facets.corners[facet], split, g), "fraction": split.fraction[g]}
        row["fraction_stderr"] = 0.0 if alone else float(shares[:, g].std(ddof=1)) if told else np.nan
        for k, e in enumerate(elements):
            row[f"x_{e}"] = split.x[g, k]
            row[f"x_{e}_stderr"] = 0.0 if alone else _spread(ends[:, g, k] if told else None, step)
        rows.append(row)
    return pd.DataFrame(rows)


def isopleth(stack: Stack, a: np.ndarray, b: np.ndarray, points: int) -> pd.DataFrame:
    """See :meth:`alloygen.results.sections.IsothermalSections.isopleth`."""
    s = np.linspace(0.0, 1.0, whole_number(points, "points", 2))
    rows = []
    for t, T in enumerate(stack.T):
        surface = stack.surfaces[t]
        for where in s:
            x = a + where * (b - a)
            facet, split = surface.split(x)
            names = [_name(stack.phases[t], surface.facets.corners[facet], split, g) for g in range(len(split.x))]
            rows.append(
                {"T": T, "s": where, **{f"x_{e}": v for e, v in zip(stack.elements, x, strict=True)}, "n_phases": len(split.x),
                 "phases": " + ".join(n or "solution" for n in sorted(names)), "fractions": tuple(split.fraction.round(9).tolist())}
            )  # fmt: skip
    return pd.DataFrame(rows)


def edge(table: xr.Dataset, element: str, other: str) -> xr.Dataset:
    """The table over (T, n) of two of the elements, all others absent."""
    names = [str(e) for e in table["element"].values]
    atoms, free = table["atoms"].values, int(table.attrs["n_exchangeable"])
    here = np.flatnonzero(atoms[:, [names.index(element), names.index(other)]].sum(1) == free)
    if len(here) < 3 or element == other:
        raise BadCondition(
            f"expected at least three compositions of {other} and {element} alone, got {len(here)} in this table; sample chemical potentials at which "
            "the other elements are rare"
        )
    n = atoms[here, names.index(element)]
    kept = table.isel(composition=here).drop_vars(["atoms", "x", "element"]).rename(composition="n").assign_coords(n=n)
    orders = {
        k: k.removesuffix(f"_{element}")
        for k in map(str, kept.data_vars)
        if k.startswith("order_") and k.endswith(f"_{element}")
    }
    kept = kept[[k for k in map(str, kept.data_vars) if not k.startswith("order_")]].assign(
        {v: abs(kept[k]) for k, v in orders.items()}
    )
    kept = kept.sortby("n").reindex(n=np.arange(free + 1))
    kept = kept.assign_coords(x=("n", np.arange(free + 1) / free))
    return kept.assign_attrs(element=element, other=other)
