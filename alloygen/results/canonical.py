"""Canonical quantities of a binary against temperature and composition, from pooled samples: the table behind a phase diagram.

    F_n(T) = -kB T log Omega_n / N,   Omega_n = sum of exp(-beta E) over the configurations with n atoms of one element,

with everything else at fixed composition (energy, entropy, heat capacity, order parameters) from the same weights. All per site,
N the sites of the supercell; the composition x = n / (exchangeable sites). The ends are one configuration each, so F is exact there:
the pure ones, or the most and the fewest atoms that held sites leave possible. What cannot be reached is nan.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from alloygen.conditions import exchangeable, temperatures
from alloygen.edge.prototypes import is_vacancy, kind
from alloygen.errors import AlloygenError, BadCondition, UnknownSpecies
from alloygen.estimate.pool import Pool
from alloygen.estimate.result import Estimate
from alloygen.estimate.weights import MIN_ESS
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.results.at_counts import FEWEST, Columns, Known, require_absolute
from alloygen.types import ArrayLike, Temperatures

if TYPE_CHECKING:
    import xarray as xr


CONVENTION = (
    "energies per site of the supercell; x is the fraction of the exchangeable sites that hold the element, held ones among them; "
    "F absolute, mixing F relative to the ends of x that can be reached"
)


@dataclass(frozen=True)
class Binary:
    """The one composition variable of a supercell: n atoms of ``element`` on its exchangeable sites."""

    element: str
    other: str
    index: int
    held: int  # atoms of the element on the sites of fixed sublattices, which n does not count
    free: int  # exchangeable sites
    reach: tuple[int, int]  # the smallest and the largest n: 0 and ``free`` where no site is held
    ends: tuple[float, float]  # energies of the cells with these n
    fixed: dict[str, int]  # atoms (no vacancies) on the sites of fixed sublattices


def binary(h: Hamiltonian, element: str | None = None, held=None) -> Binary:
    """What a binary's composition axis is.

    Parameters
    ----------
    h : Hamiltonian of the supercell (N sites)
    element : that n counts; the second of the two if not given
    held : (N,) species index of each site that is held, -1 of the others; None where none is

    Raises AlloygenError where the Hamiltonian is no binary, UnknownSpecies for another element.

    Examples
    --------
    >>> import alloygen.data
    >>> h = alloygen.data.cuau().on((2, 2, 4))
    >>> binary(h).element, binary(h).reach, binary(h, held=[1, 0] + 14 * [-1]).reach
    ('Au', (0, 16), (1, 15))
    """
    lattice, names = h.lattice, exchangeable(h.lattice)
    if len(names) != 2:
        raise AlloygenError(
            f"expected a binary, two elements that can change places, got {len(names)} ({', '.join(names) or 'none'}). A "
            "temperature-composition diagram has one composition axis: hold all elements but two by fixed sublattices or write "
            "averages over (T, mu) with scan.to_xarray()."
        )
    element = names[1] if element is None else element
    if not isinstance(element, str) or element not in names:
        raise UnknownSpecies(f"expected one of the elements {names}, got {element!r}")
    other = names[1 - names.index(element)]
    free = lattice.changeable
    codes = lattice.site_elements  # (N, S)
    held = np.full(h.n_sites, -1) if held is None else np.asarray(held, dtype=int)
    rows = [
        np.where(held >= 0, held, np.where(free, (codes == h.elements.index(e)).argmax(1), 0)) for e in (other, element)
    ]
    counted = [int((codes[np.arange(h.n_sites), row] == h.elements.index(element))[free].sum()) for row in rows]
    fixed = [h.elements[k] for k in codes[~free, 0]]
    return Binary(
        element, other, h.elements.index(element), fixed.count(element), int(free.sum()), (counted[0], counted[1]),
        tuple(h.energy(np.array(rows)).tolist()), {e: fixed.count(e) for e in dict.fromkeys(fixed) if not is_vacancy(e)},
    )  # fmt: skip


def free_energies(
    pool: Pool,
    h: Hamiltonian,
    T: Temperatures,
    element: str | None = None,
    values: dict | None = None,
    info: dict | None = None,
    held: ArrayLike | None = None,
    occ: np.ndarray | None = None,
) -> xr.Dataset:
    """An ``xarray.Dataset`` over (T, n): F and what else is known at fixed composition, each with its standard error.

    Parameters
    ----------
    pool : all samples; h : their Hamiltonian, a binary
    T : temperatures
    element : that n counts; the second of the two if not given
    values : name -> (samples,) further quantities to average (order parameters)
    info : further attributes
    held : (N,) species index of each site that was held, -1 of the others; None where none was
    occ : (samples, N) their occupations, which tell what is rare where one configuration has nearly all the weight of a composition

    Errors are those of the replicas, one sample more of the largest influence, and what no sample shows, widened for the few
    effective samples of a composition.

    Variables: free_energy, mixing (F_mix), energy, entropy, heat_capacity and each of ``values``, with ``..._stderr``;
    effective_samples; fewer than three of them give a value and no error (nan); free_energy_replica and heat_capacity_replica (T, replica, n), the bootstrap. nan where n was never sampled, as
    where held sites leave no cell with n atoms. n counts atoms on the exchangeable sites, held ones among them; x = n / these sites.

    Raises AlloygenError for other than two exchangeable elements and for a pool without absolute free energies.
    """
    import xarray as xr

    require_absolute(pool)
    b, T = binary(h, element, held), temperatures(T)
    atoms = b.held + np.arange(b.free + 1)[:, None]
    columns = Columns(counted=(b.index,), atoms=atoms, ends=dict(zip(b.reach, b.ends, strict=True)))
    known = Known.of(pool, h, columns, T, values or {}, occ, held)
    share = (np.arange(b.free + 1) - b.reach[0]) / max(b.reach[1] - b.reach[0], 1)
    known.add_differences(T, ((1 - share) * b.ends[0] + share * b.ends[1]) / h.n_sites)
    data = known.data(h, "n", values or {})
    n = np.arange(b.free + 1)
    attributes = {**axis_attributes(h, b), "convention": CONVENTION, **(info or {})}
    return xr.Dataset(data, {"T": ("T", T, {"units": "K"}), "n": n, "x": ("n", n / b.free)}, attributes)


def axis_attributes(h: Hamiltonian, b: Binary) -> dict:
    """What a table over compositions must carry for others to read it: which atoms there are, on what lattice, in what unit."""
    return {
        "element": b.element, "other": b.other, "n_sites": h.n_sites, "n_exchangeable": b.free, "fixed_atoms": json.dumps(b.fixed),
        "lattice": kind(h.lattice.primitive), "unit": h.unit, "kB": h.kB, "hamiltonian": h.expansion.name, "fingerprint": h.fingerprint,
    }  # fmt: skip


def _temperature_of(table: xr.Dataset, T: float) -> float:
    known = table["T"].values
    near = known[np.abs(known - T).argmin()]
    if abs(near - T) > 1e-6 * abs(near):
        raise BadCondition(f"expected one of the temperatures of the table, {known.tolist()}, got {T!r}")
    return near


def at_composition(table: xr.Dataset, T: float, x: float) -> Estimate:
    """F per site at T and x, from a table of :func:`free_energies`.

    Raises BadCondition for an x that the cell cannot have, and for one that no sample has, with the chemical potential at which the
    cell would have it: the slope of F between the nearest compositions that were visited.
    """
    free, element = int(table.attrs["n_exchangeable"]), table.attrs["element"]
    n = round(x * free)
    if not 0 <= x <= 1 or abs(n - x * free) > 1e-6 * free:
        raise BadCondition(
            f"expected x as a multiple of 1/{free} between 0 and 1, the compositions of this cell, got {x!r}; nearest {n / free:g}"
        )
    row = table.sel(T=_temperature_of(table, T))
    f = row["free_energy"].values
    if np.isfinite(f[n]):
        few = float(row["effective_samples"].values[n])
        note = "" if few >= MIN_ESS else f"{few:.1f} effective samples"
        if few < FEWEST:
            note = f"not known: {note} at this composition; draw more samples, or add conditions near it"
        return Estimate(f[n], row["free_energy_stderr"].values[n], note)
    known = np.flatnonzero(np.isfinite(f))
    if not known.min() < n < known.max():
        raise BadCondition(
            f"expected a composition from x_{element} = {known.min() / free:g} to {known.max() / free:g}, got {x:g}: sites that "
            "are held leave no such cell"
        )
    a, b = known[known < n].max(), known[known > n].min()
    mu = (f[b] - f[a]) / (b - a) * int(table.attrs["n_sites"])
    raise BadCondition(
        f"expected a composition that was visited, got x_{element} = {x:g} ({n} atoms), which no sample has; the nearest are "
        f"{a} and {b} atoms. Add mu_{element} - mu_{table.attrs['other']} near {mu:.4g} {table.attrs['unit']} at T = {T:g}, "
        "or let alloygen.scan refine (adaptive=True, a smaller spacing)"
    )
