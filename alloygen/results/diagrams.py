"""What a scan makes of its samples over compositions: tables of F(T, x), and diagrams of these."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from alloygen.conditions import exchangeable, temperatures
from alloygen.errors import AlloygenError
from alloygen.estimate.order import long_range_order, orders_of
from alloygen.results import moved, paper, sites, tables
from alloygen.results.canonical import binary, free_energies
from alloygen.results.compositions import simplex
from alloygen.results.parts import keeps_composition
from alloygen.results.section_phases import sections_table
from alloygen.types import Temperatures

if TYPE_CHECKING:
    import xarray as xr

    from alloygen.results.phase_diagram import PhaseDiagram
    from alloygen.results.sections import IsothermalSections

Scan: TypeAlias = Any  # alloygen.results.scan.Scan, which imports this module


def table(
    scan: Scan, T: Temperatures | None, element: str | None, law: Callable[[float], Any] | None = None
) -> xr.Dataset:
    """F(T, x) from the samples of all conditions, see :meth:`alloygen.results.scan.Scan.free_energies`."""
    T = np.unique(scan.T[np.isfinite(scan.T)]) if T is None else T
    if law is not None:
        return moved.by_temperature(scan, law, temperatures(T), element)
    origin, h = {"method": scan.method, **tables.origin(scan)}, scan.hamiltonian
    if _many(scan):
        return sections_table(scan.pool, h, T, element, scan.mu, [part.occ for part in scan.parts], scan.held, origin)
    counted, lattice, values = binary(h, element).element, h.lattice, {}
    for name in orders_of(lattice):
        held = (sites.holds(lattice, counted, occ) for part in scan.parts for occ in part.occ)
        values[f"order_{name}"] = np.concatenate([long_range_order(s, lattice, name) for s in held])
    return free_energies(scan.pool, h, T, element, values, origin, scan.held, _every_occ(scan))


def diagram(
    scan: Scan,
    T: Temperatures | None,
    element: str | None,
    step: float | None,
    min_width: int,
    law: Callable[[float], Any] | None,
) -> PhaseDiagram | IsothermalSections:
    """The diagram of a scan, see :meth:`alloygen.results.scan.Scan.phase_diagram`."""
    from alloygen.results.phase_diagram import PhaseDiagram
    from alloygen.results.sections import IsothermalSections

    many, h = _many(scan), scan.hamiltonian
    if not many:
        binary(h, element)
    scan.tell()
    if keeps_composition(scan):
        raise AlloygenError(
            "expected samples of many compositions, got canonical ones of a single one; its free energy is "
            'scan[c].free_energy(). For a diagram use move="flip" with several mu, without composition='
        )
    sections = many and len(simplex(h, scan.mu).elements) > 2
    if T is None and not (sections and step is None):
        sampled = np.unique(scan.T[np.isfinite(scan.T)])
        step = step or (10.0 if h.unit == "eV" else np.ptp(sampled) / 40 or 1.0)
        T = np.union1d(sampled, np.arange(sampled[0], sampled[-1], step))
    found = table(scan, T, element, law)
    if sections:
        return IsothermalSections(found, min_width)
    if not many:
        drawn = paper.lowest_drawn(scan.joint.shown, found.attrs["element"])
        found["lowest_T"] = ("n", drawn, {"units": found["T"].attrs["units"]})
    return PhaseDiagram(found, min_width)


def _many(scan: Scan) -> bool:
    """Whether more than two elements can change places."""
    return len(exchangeable(scan.hamiltonian.lattice)) > 2


def _every_occ(scan: Scan) -> np.ndarray:
    """(samples, N) of the pool."""
    rows = [np.reshape(part.occ, (-1, scan.hamiltonian.n_sites)) for part in scan.parts]
    return rows[0] if len(rows) == 1 else np.concatenate(rows)
