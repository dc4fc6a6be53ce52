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
from alloygen.estimate.chains import widening
from alloygen.estimate.pool import ByNumber, Pool
from alloygen.estimate.result import Estimate
from alloygen.estimate.weights import MIN_ESS
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.types import ArrayLike, Temperatures

if TYPE_CHECKING:
    import xarray as xr


DEEP = 0.5  # weight of all exchanges of two atoms, against the lowest configuration's, below which it is alone at its composition
FURTHER = (
    1.5  # times what exchanges of two atoms add, for those of more: about half as much again where it was enumerated
)
EXCHANGES = 256  # that are looked at for each composition
FEWEST = 3.0  # effective samples at a composition, below which no error bar of an average over them holds
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
    if element not in names:
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

    if not pool.absolute:
        raise AlloygenError(
            "expected samples with absolute free energies: a likelihood, or a Monte Carlo scan that holds T = infinity "
            "(alloygen.mc by replica exchange, or montecarlo.tempering.ladder)"
        )
    b, T = binary(h, element, held), temperatures(T)
    lowest = {} if occ is None else _lowest(pool, h, b, occ, held)
    known = _averages(pool, h, b, T, values or {}, lowest)
    _add_ends(known, b, h.n_sites)
    _add_differences(known, b, T, h.n_sites)
    units = {"heat_capacity": f"{h.unit}/K", "entropy": f"{h.unit}/K", "effective_samples": "1"} | dict.fromkeys(
        values or {}, "1"
    )
    data: dict[str, tuple] = {
        k: (("T", "n"), v, {"units": units.get(k.removesuffix("_stderr"), h.unit)}) for k, v in known.table.items()
    }
    for name in ("free_energy", "heat_capacity"):
        data[f"{name}_replica"] = (("T", "replica", "n"), known.replicas[name], {"units": units.get(name, h.unit)})
    n = np.arange(b.free + 1)
    attributes = {**axis_attributes(h, b), "convention": CONVENTION, **(info or {})}
    return xr.Dataset(data, {"T": ("T", T, {"units": "K"}), "n": n, "x": ("n", n / b.free)}, attributes)


@dataclass(frozen=True)
class _Known:
    """What is known at each (T, n): ``table`` of values and errors (nT, L), ``replicas`` (nT, R, L) of the bootstrap, ``unseen`` (nT, L), what
    no sample shows. ``names`` of the averages."""

    names: list[str]
    table: dict[str, np.ndarray]
    replicas: dict[str, np.ndarray]
    unseen: dict[str, np.ndarray]


def _averages(pool: Pool, h: Hamiltonian, b: Binary, T: np.ndarray, values: dict, lowest: dict[int, _Lowest]) -> _Known:
    """Averages at the compositions that were sampled, one temperature after another; nan at the others."""
    zero = float(pool.energy.mean())
    energy = pool.energy - zero
    columns = np.column_stack([energy, energy**2, *(np.asarray(v, dtype=float) for v in values.values())])
    count, size = b.free + 1, h.n_sites
    names = ["free_energy", "energy", "heat_capacity", *values]
    table = {
        k: np.full((len(T), count), np.nan) for k in [*names, *(f"{k}_stderr" for k in names), "effective_samples"]
    }
    replicas = {
        k: np.full((len(T), len(pool.replica), count), np.nan) for k in ("free_energy", "energy", "heat_capacity")
    }
    counted = {k: np.zeros((len(T), count)) for k in names}
    for t, temperature in enumerate(T):
        beta = 1.0 / (h.kB * temperature)
        by = pool.by_number(b.index, beta, columns)
        at = by.number - b.held
        scale = h.kB * beta**2 / size
        found = {
            "free_energy": (-by.log_omega / (beta * size), -by.log_omega_replica / (beta * size)),
            "energy": ((by.mean[:, 0] + zero) / size, (by.mean_replica[..., 0] + zero) / size),
            "heat_capacity": tuple(scale * (m[..., 1] - m[..., 0] ** 2) for m in (by.mean, by.mean_replica)),
        } | {k: (by.mean[:, 2 + i], by.mean_replica[..., 2 + i]) for i, k in enumerate(values)}
        wider = np.array([widening(2.0 * k) for k in by.effective_samples])
        unseen, more = _unseen(by, lowest, beta, size, h.kB), _one_more(by, columns, scale, size)
        for name, (value, moved) in found.items():
            counted[name][t, at] = unseen.get(name, 0.0)
            table[name][t, at] = value
            error = moved.std(0, ddof=1) ** 2 + counted[name][t, at] ** 2 + more.get(name, 0.0) ** 2
            table[f"{name}_stderr"][t, at] = wider * np.sqrt(error)
            if name in replicas:
                replicas[name][t][:, at] = moved
        table["effective_samples"][t, at] = by.effective_samples
    return _Known(names, table, replicas, counted)


def _add_ends(known: _Known, b: Binary, size: int) -> None:
    """The two ends are one configuration each: their values are exact."""
    for n, e in zip(b.reach, b.ends, strict=True):
        for name, value in (("free_energy", e / size), ("energy", e / size), ("heat_capacity", 0.0)):
            known.table[name][:, n], known.table[f"{name}_stderr"][:, n] = value, 0.0
            known.replicas[name][..., n] = value
        known.table["effective_samples"][:, n] = np.inf


def _add_differences(known: _Known, b: Binary, T: np.ndarray, size: int) -> None:
    """The mixing free energy and the entropy; no errors where few samples are effective."""
    table, replicas = known.table, known.replicas
    share = (np.arange(b.free + 1) - b.reach[0]) / max(b.reach[1] - b.reach[0], 1)
    line = ((1 - share) * b.ends[0] + share * b.ends[1]) / size
    table |= {"mixing": table["free_energy"] - line, "mixing_stderr": table["free_energy_stderr"]}
    table["entropy"] = (table["energy"] - table["free_energy"]) / T[:, None]
    spread = (replicas["energy"] - replicas["free_energy"]).std(1, ddof=1)
    table["entropy_stderr"] = np.hypot(spread, known.unseen["energy"] + known.unseen["free_energy"]) / T[:, None]
    for name in (*known.names, "mixing", "entropy"):
        table[f"{name}_stderr"] = np.where(table["effective_samples"] < FEWEST, np.nan, table[f"{name}_stderr"])


def _one_more(by: ByNumber, columns: np.ndarray, scale: float, size: int) -> dict[str, np.ndarray]:
    """The most that one sample more of those that are there would move the energy and the heat capacity: few of a phase are k + 1."""
    from_mean = columns[:, 0] - by.mean[by.row, 0]
    variance = by.mean[:, 1] - by.mean[:, 0] ** 2
    return {
        "energy": by.largest(from_mean) / size, "heat_capacity": scale * by.largest(from_mean**2 - variance[by.row])
    }  # fmt: skip


def _unseen(by: ByNumber, lowest: dict[int, _Lowest], beta: float, size: int, kB: float) -> dict[str, np.ndarray]:
    """What states that none of the effective samples shows may add to each quantity: those of chance 1 / effective.

    Above a single state such a one lies kT log(effective) higher, some more where it is degenerate; one kT is added for that. Deep in a phase
    all samples of a composition may be one structure, and their spread says nothing. There its exchanges of two atoms say what is
    to be expected at most: the leading term of a low-temperature expansion at this composition, of levels that no sample has.
    """
    chance = 1.0 / by.effective_samples
    step = 1.0 - np.log(chance)  # in kT
    out = [chance, chance * step, chance * step**2]
    for k, near in lowest.items():
        share = float(by.weights[near.samples].sum())
        weight = near.each * share * np.exp(-beta * np.maximum(near.cost, 0.0))
        if weight.sum() < DEEP:
            at = beta * near.cost[~near.shown]
            for power, term in enumerate(out):
                term[k] = min(term[k], FURTHER * float((weight[~near.shown] * at**power).sum()))
    return {"free_energy": out[0] / beta / size, "energy": out[1] / beta / size, "heat_capacity": kB * out[2] / size}


@dataclass(frozen=True)
class _Lowest:
    """The lowest configuration at a composition: ``samples`` that have its energy; ``cost`` (K,) of exchanges of two atoms, each
    standing for ``each`` of them, and whether they are ``shown``, a level that a sample of this composition has."""

    samples: np.ndarray
    cost: np.ndarray
    each: float
    shown: np.ndarray


def _lowest(pool: Pool, h: Hamiltonian, b: Binary, occ: np.ndarray, held) -> dict[int, _Lowest]:
    """By position of the composition in ``pool.by_number``: what lies near the lowest configuration that was sampled there."""
    number, row = np.unique(np.rint(pool.counts[:, b.index]).astype(int), return_inverse=True)
    order = np.lexsort([pool.energy, row.ravel()])
    parts, rng = np.split(order, np.flatnonzero(np.diff(row.ravel()[order])) + 1), np.random.default_rng(0)
    free = (h.lattice.changeable) & (True if held is None else np.asarray(held) < 0)
    codes = h.lattice.site_elements
    species = {e: (codes == h.elements.index(e)).argmax(1) for e in (b.other, b.element)}
    near = 1e-9 * max(float(np.abs(pool.energy).max()), 1e-300)
    out = {}
    for k in range(len(number)):
        energy, best = pool.energy[parts[k]], np.asarray(occ[parts[k][0]], dtype=np.int64)
        has = best == species[b.element]
        pairs = np.stack(np.meshgrid(np.flatnonzero(free & has), np.flatnonzero(free & ~has)), -1).reshape(-1, 2)
        if len(pairs) == 0:
            continue
        each = max(len(pairs) / EXCHANGES, 1.0)
        pairs = pairs if each == 1.0 else pairs[rng.choice(len(pairs), EXCHANGES, replace=False)]
        moved, at = np.tile(best, (len(pairs), 1)), np.arange(len(pairs))
        moved[at, pairs[:, 0]], moved[at, pairs[:, 1]] = species[b.other][pairs[:, 0]], species[b.element][pairs[:, 1]]
        level = h.energy(moved)
        after = np.minimum(np.searchsorted(energy, level), len(energy) - 1)
        shown = np.minimum(np.abs(energy[after] - level), np.abs(energy[np.maximum(after - 1, 0)] - level)) < near
        out[k] = _Lowest(parts[k][energy - energy[0] < near], level - energy[0], each, shown)
    return out


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
