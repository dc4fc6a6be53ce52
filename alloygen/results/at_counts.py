"""Averages at fixed numbers of atoms, of any number of elements, from pooled samples: what tables over compositions hold.

    F_n(T) = -kB T log Omega_n / N,   Omega_n = sum of exp(-beta E) over the configurations with the numbers of atoms n,

and energy, heat capacity and any other average from the same weights, each with its standard error. All per site, N the sites of the supercell.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from alloygen.errors import AlloygenError
from alloygen.estimate.chains import widening
from alloygen.estimate.pool import ByNumber, Pool
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.limits import require_memory

if TYPE_CHECKING:
    import xarray as xr

DEEP = 0.5  # weight of all exchanges of two atoms, against the lowest configuration's, below which it is alone at its composition
FURTHER = (
    1.5  # times what exchanges of two atoms add, for those of more: about half as much again where it was enumerated
)
EXCHANGES = 256  # that are looked at for each composition
FEWEST = 3.0  # effective samples at a composition, below which no error bar of an average over them holds


def require_absolute(pool: Pool) -> None:
    """AlloygenError for samples that know free energies up to a constant only."""
    if not pool.absolute:
        raise AlloygenError(
            "expected samples with absolute free energies: a likelihood, or a Monte Carlo scan that holds T = infinity "
            "(alloygen.mc by replica exchange, or montecarlo.tempering.ladder)"
        )


def require_closed(table: xr.Dataset) -> None:
    """AlloygenError for a table in which some sites are open, whose atoms no other library can count."""
    if "open" in table.attrs:
        raise AlloygenError(
            f"expected free energies at fixed numbers of all atoms, got those beside sites that are open, at mu = {table.attrs['open']}: their composition differs from "
            "phase to phase. Write the table itself (.nc, .json), or hold these sites by a fixed sublattice"
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Columns:
    """The compositions of a table, one for each column.

    counted : (k,) indices of the elements whose numbers tell compositions apart; atoms : (L, k) of them, fixed sublattices among them
    ends : energies of the columns of which a single configuration is known to be all that there is
    """

    counted: tuple[int, ...]
    atoms: np.ndarray
    ends: dict[int, float]

    def at(self, number: np.ndarray) -> np.ndarray:
        """The columns of numbers of atoms (M, k)."""
        place = {tuple(row): k for k, row in enumerate(self.atoms.tolist())}
        return np.array([place[tuple(row)] for row in np.reshape(number, (-1, len(self.counted))).tolist()], dtype=int)


@dataclass(frozen=True, kw_only=True, eq=False)
class Known:
    """What is known at each temperature and column: ``table`` of values and errors (nT, L), ``replicas`` (nT, R, L) of the bootstrap,
    ``unseen`` (nT, L), what no sample shows, ``spread`` (nT, L) of E - F over the replicas. ``names`` of the averages.
    """

    names: list[str]
    table: dict[str, np.ndarray]
    replicas: dict[str, np.ndarray]
    unseen: dict[str, np.ndarray]
    spread: np.ndarray

    @classmethod
    def of(
        cls,
        pool: Pool,
        h: Hamiltonian,
        columns: Columns,
        T: np.ndarray,
        values: dict,
        occ: np.ndarray | None = None,
        held=None,
    ) -> Known:
        """Averages at the compositions that were sampled, one temperature after another; nan at the others.

        values : name -> (samples,) further quantities; occ : (samples, N) of the samples, held : (N,) -1 of the sites that are free, which
        tell what is rare where one configuration has nearly all the weight of a composition
        """
        names, count = ["free_energy", "energy", "heat_capacity", *values], len(columns.atoms)
        require_memory(
            8.0 * len(T) * count * (2 * len(pool.replica) + 3 * len(names) + 6),
            f"tables of {len(T)} temperatures and {count} compositions with {len(pool.replica)} replicas",
            "Ask for fewer temperatures at once (T=, or a larger step=)",
        )
        empty = lambda *shape: np.full((len(T), *shape, count), np.nan)  # noqa: E731
        known = cls(
            names=names,
            table={k: empty() for k in [*names, *(f"{k}_stderr" for k in names), "effective_samples"]},
            replicas={k: empty(len(pool.replica)) for k in ("free_energy", "heat_capacity")},
            unseen={k: np.zeros((len(T), count)) for k in names},
            spread=empty(),
        )
        lowest = {} if occ is None else _lowest(pool, h, columns, occ, held)
        for t, temperature in enumerate(T):
            known._fill(t, pool, columns, values, 1.0 / (h.kB * temperature), h, lowest)
        known._fill_ends(columns, h.n_sites)
        return known

    def _fill(
        self, t: int, pool: Pool, columns: Columns, values: dict, beta: float, h: Hamiltonian, lowest: dict
    ) -> None:
        """The averages at one temperature."""
        zero, size = float(pool.energy.mean()), h.n_sites
        energy = pool.energy - zero
        of = np.column_stack([energy, energy**2, *(np.asarray(v, dtype=float) for v in values.values())])
        by = pool.by_number(columns.counted, beta, of)
        at, scale = columns.at(by.number), h.kB * beta**2 / size
        found = {
            "free_energy": (-by.log_omega / (beta * size), -by.log_omega_replica / (beta * size)),
            "energy": ((by.mean[:, 0] + zero) / size, (by.mean_replica[..., 0] + zero) / size),
            "heat_capacity": tuple(scale * (m[..., 1] - m[..., 0] ** 2) for m in (by.mean, by.mean_replica)),
        } | {k: (by.mean[:, 2 + i], by.mean_replica[..., 2 + i]) for i, k in enumerate(values)}
        wider = widening(2.0 * by.effective_samples)
        unseen, more = _unseen(by, lowest, beta, size, h.kB), _one_more(by, of, scale, size)
        for name, (value, moved) in found.items():
            self.unseen[name][t, at] = unseen.get(name, 0.0)
            self.table[name][t, at] = value
            error = moved.std(0, ddof=1) ** 2 + self.unseen[name][t, at] ** 2 + more.get(name, 0.0) ** 2
            self.table[f"{name}_stderr"][t, at] = wider * np.sqrt(error)
            if name in self.replicas:
                self.replicas[name][t][:, at] = moved
        self.spread[t, at] = (found["energy"][1] - found["free_energy"][1]).std(0, ddof=1)
        self.table["effective_samples"][t, at] = by.effective_samples

    def _fill_ends(self, columns: Columns, size: int) -> None:
        """The ends are one configuration each: their values are exact."""
        for n, e in columns.ends.items():
            for name, value in (("free_energy", e / size), ("energy", e / size), ("heat_capacity", 0.0)):
                self.table[name][:, n], self.table[f"{name}_stderr"][:, n] = value, 0.0
                if name in self.replicas:
                    self.replicas[name][..., n] = value
            self.spread[:, n] = 0.0
            self.table["effective_samples"][:, n] = np.inf

    def add_differences(self, T: np.ndarray, line: np.ndarray) -> None:
        """The free energy of mixing, above ``line`` (L,), and the entropy; no errors where few samples are effective."""
        table = self.table
        table |= {"mixing": table["free_energy"] - line, "mixing_stderr": table["free_energy_stderr"]}
        table["entropy"] = (table["energy"] - table["free_energy"]) / T[:, None]
        table["entropy_stderr"] = np.hypot(self.spread, self.unseen["energy"] + self.unseen["free_energy"]) / T[:, None]
        for name in (*self.names, "mixing", "entropy"):
            table[f"{name}_stderr"] = np.where(table["effective_samples"] < FEWEST, np.nan, table[f"{name}_stderr"])

    def data(self, h: Hamiltonian, column: str, values: Iterable[str]) -> dict[str, tuple]:
        """Variables of an ``xarray.Dataset`` over (T, column), with units; ``values`` are plain numbers."""
        units = {"heat_capacity": f"{h.unit}/K", "entropy": f"{h.unit}/K", "effective_samples": "1"} | dict.fromkeys(
            values, "1"
        )
        data: dict[str, tuple] = {
            k: (("T", column), v, {"units": units.get(k.removesuffix("_stderr"), h.unit)})
            for k, v in self.table.items()
        }
        for name in ("free_energy", "heat_capacity"):
            data[f"{name}_replica"] = (
                ("T", "replica", column),
                self.replicas[name],
                {"units": units.get(name, h.unit)},
            )
        return data


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


def _lowest(pool: Pool, h: Hamiltonian, columns: Columns, occ: np.ndarray, held) -> dict[int, _Lowest]:
    """By position of the composition in ``pool.by_number``: what lies near the lowest configuration that was sampled there."""
    number, row = pool.groups(columns.counted)
    order = np.lexsort([pool.energy, row])
    parts, rng = np.split(order, np.flatnonzero(np.diff(row[order])) + 1), np.random.default_rng(0)
    free = h.lattice.changeable & (True if held is None else np.asarray(held) < 0)
    near = 1e-9 * max(float(np.abs(pool.energy).max()), 1e-300)
    out = {}
    for k in range(len(number)):
        energy, best = pool.energy[parts[k]], np.asarray(occ[parts[k][0]], dtype=np.int64)
        moved, each = _exchanged(h, best, free, rng)
        if len(moved) == 0:
            continue
        level = h.energy(moved)
        after = np.minimum(np.searchsorted(energy, level), len(energy) - 1)
        shown = np.minimum(np.abs(energy[after] - level), np.abs(energy[np.maximum(after - 1, 0)] - level)) < near
        out[k] = _Lowest(parts[k][energy - energy[0] < near], level - energy[0], each, shown)
    return out


def _exchanged(h: Hamiltonian, best: np.ndarray, free: np.ndarray, rng) -> tuple[np.ndarray, float]:
    """Configurations that differ from one by an exchange of two atoms, EXCHANGES of them at most, and for how many each stands."""
    codes = h.lattice.site_elements  # (N, S)
    held, pairs, start = codes[np.arange(len(best)), best], [np.zeros((0, 2), dtype=int)], 0
    sides = [  # sites that hold one element and may hold the other, and those that hold the other: all pairs of them
        [np.flatnonzero(free & (held == own) & (codes == other).any(1)) for own, other in ((b, a), (a, b))]
        for a, b in combinations(np.unique(held[free]), 2)
    ]
    count = sum(len(here) * len(there) for here, there in sides)
    each = max(count / EXCHANGES, 1.0)
    # numbered and not listed: in a large cell they are as many as the square of its sites
    chosen = np.arange(count) if each == 1.0 else rng.choice(count, EXCHANGES, replace=False)
    for here, there in sides:
        k = chosen[(chosen >= start) & (chosen < start + len(here) * len(there))] - start
        pairs.append(np.column_stack([here[k % max(len(here), 1)], there[k // max(len(here), 1)]]))
        start += len(here) * len(there)
    swapped = np.concatenate(pairs)
    moved, at = np.tile(best, (len(swapped), 1)), np.arange(len(swapped))
    for one, other in (swapped.T, swapped.T[::-1]):
        moved[at, one] = (codes[one] == held[other][:, None]).argmax(1)
    return moved, each
