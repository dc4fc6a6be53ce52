"""Tables over (T, n) for a phase diagram of free energies that come from elsewhere: a grid of them, or metadynamics."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from alloygen.arguments import positive, whole_number
from alloygen.errors import AlloygenError, BadCondition
from alloygen.estimate.profile import CompositionProfile
from alloygen.results.canonical import axis_attributes, binary
from alloygen.results.curves import listed
from alloygen.runtime.tables import require_numbers
from alloygen.types import ArrayLike

if TYPE_CHECKING:
    import xarray as xr

REPLICAS = 100


def require(table: xr.Dataset) -> None:
    """AlloygenError for a table that no phase diagram is read from: axes, numbers and attributes that have to be there.

    What else a table of free energies must have, :class:`alloygen.results.curves.Curves` looks at.
    """
    missing = [k for k in ("T", "n", "x") if k not in table.variables]
    missing += [k for k in ("element", "other", "unit", "kB", "n_sites", "n_exchangeable") if k not in table.attrs]
    if missing:
        raise AlloygenError(f"expected a table over (T, n) with x and what it is of, got none of {missing}")
    require_numbers(table, ("x",), ("T", "n"))
    x, f = table["x"].values, table["free_energy"] if "free_energy" in table else None
    even = (
        len(x) > 2 and np.allclose(x, np.linspace(x[0], x[-1], len(x)), atol=1e-6) and -1e-9 <= x[0] < x[-1] <= 1 + 1e-9
    )
    if table["x"].dims != ("n",) or not even or f is None or f.dims != ("T", "n"):
        raise AlloygenError(
            f"expected free_energy over (T, n), and x evenly spaced within 0 to 1, got {dict(table.sizes)}"
        )
    for name in ("n_sites", "n_exchangeable"):
        whole_number(table.attrs[name], name)
    positive(table.attrs["kB"], "kB")


def of_grid(
    T: ArrayLike,
    x: ArrayLike,
    free_energy: ArrayLike,
    stderr: ArrayLike | None,
    seed: int,
    *,
    elements: tuple[str, str],
    n_sites: int | None,
    kB: float,
    unit: str,
) -> xr.Dataset:
    """The table of free energies per site on a grid, see :meth:`alloygen.results.phase_diagram.PhaseDiagram.from_table`."""
    try:
        T, x, f = np.atleast_1d(np.asarray(T, float)), np.asarray(x, float), np.asarray(free_energy, float)
    except (TypeError, ValueError):
        raise AlloygenError(
            f"expected T, x and free_energy as arrays of numbers, got {T!r:.60}, {x!r:.60} and {free_energy!r:.60}"
        ) from None
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
    attributes = {"element": elements[1], "other": elements[0], "unit": unit, "kB": kB,
                  "n_sites": sites, "n_exchangeable": sites, "method": "table"}  # fmt: skip
    return _table(T, x, f, stderr, replica, attributes)


def of_profile(profile: CompositionProfile, T: ArrayLike | None, seed: int) -> xr.Dataset:
    """The table of a profile's F(N, T), see :meth:`alloygen.results.phase_diagram.PhaseDiagram.from_profile`."""
    h = profile.hamiltonian
    wanted = profile.T if T is None else np.atleast_1d(np.asarray(T, float))
    at = np.abs(np.asarray(profile.T)[:, None] - wanted).argmin(0)
    missing = [float(t) for t, k in zip(wanted, at, strict=True) if abs(profile.T[k] - t) > 1e-6 * abs(t)]
    if missing:
        raise BadCondition(f"expected temperatures of the profile, {listed(profile.T)}, got {missing}")
    at = np.unique(at[np.argsort(profile.T[at])]) if T is None else at[np.argsort(wanted)]
    f, error = profile.free_energy[at], profile.stderr[at]
    series = np.asarray(profile.influence)[at]  # (T, copies, blocks, N)
    xi = np.random.default_rng(seed).normal(size=(REPLICAS, *series.shape[1:3]))
    moved = np.einsum("rcb,tcbn->trn", xi, series) / (series.shape[1] * series.shape[2])
    scale = error[:, None] / np.maximum(moved.std(1, ddof=1, keepdims=True), 1e-300)  # the series' autocorrelation
    replica = f[:, None] + moved * np.where(np.isfinite(scale), scale, 0.0)
    attributes = {**axis_attributes(h, binary(h, profile.element)), "method": "metadynamics"}
    return _table(profile.T[at], profile.x, f, error, replica, attributes)


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
