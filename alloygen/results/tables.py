"""A scan as a labelled table: averages with errors by condition, units and conventions in the attributes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from alloygen.conditions import exchangeable, references
from alloygen.edge.prototypes import is_vacancy
from alloygen.errors import AlloygenError, LowSampleSize
from alloygen.estimate.chains import Convergence
from alloygen.estimate.pareto import MAX_K
from alloygen.estimate.result import Estimate
from alloygen.estimate.weights import MIN_ESS, user_level
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.results.canonical import binary
from alloygen.results.ensemble import Ensemble
from alloygen.results.runs import Runs
from alloygen.runtime.atomic import require_writable
from alloygen.types import PathLike

if TYPE_CHECKING:
    import xarray as xr


def table(runs: Runs, ensembles: Sequence[Ensemble], convergence: Sequence[Convergence], absolute: bool) -> xr.Dataset:
    """Averages by condition, see :meth:`alloygen.results.scan.Scan.to_xarray`.

    ensembles : of each condition; convergence : of each where they are chains; absolute : whether chains know Phi
    """
    import xarray as xr

    h = runs.hamiltonian
    columns = _averages(runs, ensembles, absolute)
    columns["effective_samples"] = [e.effective_samples for e in ensembles]
    _tell_of_few(columns)
    if runs.chains:
        columns["rhat"] = [c.rhat for c in convergence]
        columns["converged"] = [c.converged for c in convergence]
    columns |= {k: v for k, v in runs.facts.columns.items() if k not in columns}
    coords = {"T": ("condition", runs.T)}
    coords |= {f"mu_{e}": ("condition", runs.mu[:, k]) for k, e in enumerate(h.elements)}
    data = {k: ("condition", np.asarray(v), _attributes(h, k)) for k, v in columns.items()}
    return xr.Dataset(data, coords, {
        "method": runs.method, "n": runs.n, "chains": runs.chains, "n_sites": h.n_sites, "unit": h.unit, "kB": h.kB,
        "fingerprint": h.fingerprint, "hamiltonian": h.expansion.name,
        "energy_reference": _energy_reference(h), "convention": "energies and phi per site; mu in energy per atom, 0 for elements that were not named; phi belongs to it",
        "mu_reference": " ".join(h.elements[k] for k in references(h.lattice)), **origin(runs),
    })  # fmt: skip


def origin(runs: Runs) -> dict:
    """Which model drew the samples, in which order of sites, from which seed, where that is known."""
    return {k: runs.info[k] for k in ("model", "order", "seed") if runs.info.get(k) is not None}


def _averages(runs: Runs, ensembles: Sequence[Ensemble], absolute: bool) -> dict[str, Any]:
    """Columns of averages and their errors."""
    h = runs.hamiltonian
    columns: dict[str, Any] = {}
    put: dict[str, Callable[[Ensemble], Estimate]] = {"energy": Ensemble.mean_energy}
    more = {f"x_{e}": (e, "exchangeable") for e in h.elements} | _more_compositions(h.lattice)
    put |= {name: partial(Ensemble.composition, element=e, per=per) for name, (e, per) in more.items()}
    put["heat_capacity"] = Ensemble.heat_capacity
    put |= {f"susceptibility_{e}": partial(Ensemble.susceptibility, element=e) for e in exchangeable(h.lattice)[1:]}
    put |= {name: partial(Ensemble.mean, values=name) for name in runs.observed}
    if runs.log_prob is not None or absolute:
        put |= {"phi": Ensemble.free_energy, "entropy": _entropy}
    with warnings.catch_warnings():  # one warning for all, in ``_tell_of_few``
        warnings.simplefilter("ignore", LowSampleSize)
        rows = [{name: estimate(e) for name, estimate in put.items()} for e in ensembles]
        for name in put:
            columns[name] = [row[name].value for row in rows]
            columns[f"{name}_stderr"] = [row[name].stderr for row in rows]
        if runs.log_prob is not None:
            columns["ness"] = [e.ness for e in ensembles]
            columns["k_hat"] = [e.k_hat for e in ensembles]
            columns["heavy"] = [e.heavy for e in ensembles]
    return columns


def _tell_of_few(columns: dict[str, Any]) -> None:
    low = np.array(columns["effective_samples"]) < MIN_ESS
    heavy = np.array(columns.pop("heavy", [False]))  # of no use in a table, where phi is nan
    if low.any() or heavy.any():
        tails = (
            f", {int(heavy.sum())} on weights with a tail of k-hat above {MAX_K} (column k_hat; phi is then not known)"
        )
        warnings.warn(
            f"{int(low.sum())} of {len(low)} conditions rest on fewer than {MIN_ESS:.0f} effective samples (column effective_samples)"
            f"{tails if heavy.any() else ''}: their values and error bars are unreliable. Draw more samples there",
            LowSampleSize,
            stacklevel=user_level(),
        )


def _attributes(h: Hamiltonian, name: str) -> dict[str, str]:
    """Unit of a column, and what it is where its name does not say it."""
    bare, per_T = name.removesuffix("_stderr"), f"{h.unit}/K" if h.unit == "eV" else "kB"
    units = {"energy": h.unit, "phi": h.unit, "heat_capacity": per_T, "entropy": per_T}
    out = {"units": units.get(bare, f"1/{h.unit}" if name.startswith("susceptibility") else "1")}
    if name.removeprefix("x_") in h.elements and name.startswith("x_"):
        out["long_name"] = f"fraction of the exchangeable sites that hold {name.removeprefix('x_')}"
    element, per = _more_compositions(h.lattice).get(name, (None, None))
    if element is not None:
        of = "atoms that are" if per == "atoms" else f"sites of sublattice {per} that hold"
        out["long_name"] = f"fraction of the {of} {element}"
    return out


def _energy_reference(h: Hamiltonian) -> str:
    """What energies are counted from, told by the pure cells of a binary."""
    if len(exchangeable(h.lattice)) != 2:
        return f"the zero of {h.expansion.name}"
    b = binary(h)
    ends = ", ".join(f"{e} {energy / h.n_sites:.9g}" for e, energy in zip((b.other, b.element), b.ends, strict=True))
    return f"the zero of {h.expansion.name}, where the pure cells have ({h.unit} per site): {ends}"


def _more_compositions(lattice) -> dict[str, tuple[str, str | int]]:
    """Columns beside x_<element> (of the exchangeable sites): x_<element>_per_atom where fixed sublattices or vacancies make it another
    number, x_<element>_on_<sublattice> where exchangeable sublattices hold different elements. name -> (element, ``per``)"""
    out: dict[str, tuple[str, str | int]] = {}
    if any(len(names) == 1 for names in lattice.species) or any(map(is_vacancy, lattice.elements)):
        out |= {f"x_{e}_per_atom": (e, "atoms") for e in lattice.elements if not is_vacancy(e)}
    free = {b: names for b, names in enumerate(lattice.species) if len(names) > 1}
    if len({frozenset(names) for names in free.values()}) > 1:
        out |= {f"x_{e}_on_{b}": (e, b) for b, names in free.items() for e in names}
    return out


def _entropy(ensemble: Ensemble) -> Estimate:
    known = np.isfinite(ensemble.T)
    return ensemble.entropy() if known else Estimate(np.nan, np.nan, "the temperature is infinite")


def require_table(path: PathLike) -> None:
    """Find out before any work whether :meth:`alloygen.results.scan.Scan.write` can write at ``path``: suffix and permission."""
    if Path(path).suffix not in (".nc", ".csv"):
        raise AlloygenError(f"expected a path that ends in .nc or .csv, got {str(path)!r}")
    require_writable(path)
