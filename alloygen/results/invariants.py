"""Invariant points of a binary: peritectoids and eutectoids, where three phases meet, and congruent maxima."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from alloygen.estimate.coexistence import regions
from alloygen.estimate.invariants import gap, three_phase_temperature
from alloygen.estimate.weights import MIN_ESS
from alloygen.results.boundaries import SURE
from alloygen.results.curves import Curves
from alloygen.results.phases import DISORDERED, NARROW
from alloygen.results.transitions import peak_at


@dataclass(frozen=True, kw_only=True, eq=False)
class Invariants:
    """What invariant points are found from: the curves and what a diagram has read off them.

    curves : F(T, x); phases : (nT, L) their names; compounds, regions, transitions : tables of the diagram
    """

    curves: Curves
    phases: np.ndarray
    compounds: pd.DataFrame
    regions: pd.DataFrame
    transitions: pd.DataFrame

    def table(self) -> pd.DataFrame:
        """One row per point, see :attr:`alloygen.results.phase_diagram.PhaseDiagram.invariants`."""
        rows, leave = [], {}
        for name, n in self._orders:
            row, leave[name] = self._three_phase_point("peritectoid", name, n)
            rows += [row] if row is not None else []
        sequence = [self._sequence(t) for t in range(len(self.curves.T))]
        sure = {(row.T, row.x_left, row.x_right) for row in self.regions.itertuples()}
        sequence = [
            [r for r in found if (self.curves.T[t], self.curves.x[r[2]], self.curves.x[r[3]]) in sure]
            for t, found in enumerate(sequence)
        ]
        for kind, _, phases, n in three_phase(sequence):
            if kind == "eutectoid" and phases[1] not in leave:
                row, _ = self._three_phase_point(kind, phases[1], np.array([n]))
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
            n = np.flatnonzero((self.curves.x >= row.x_min - 1e-9) & (self.curves.x <= row.x_max + 1e-9))
            n = n[(n > 0) & (n < len(self.curves.x) - 1)]
            if len(n):
                out.append((row.phase, n))
        return out

    def _three_phase_point(self, kind: str, name: str, n: np.ndarray) -> tuple[dict | None, float]:
        """A row of :attr:`invariants` where most of the replicas show one, and the share of them that do."""
        appears, named = kind == "eutectoid", (self.phases[:, n] == name).any(1)
        last = len(self.curves.T)
        if not appears and name.endswith(")") and named.any():  # no further than its order is there
            last = int(np.flatnonzero(named)[-1]) + 1
        find = lambda f: three_phase_temperature(self.curves.T[:last], f[:last], n, self.curves.min_width, appears)  # noqa: E731
        T, error, support = find(self.curves.f), np.nan, np.nan
        if self.curves.replica is not None:
            many = np.array([find(self.curves.replica[:, r]) for r in range(self.curves.replica.shape[1])])
            met = many[np.isfinite(many)]
            support = len(met) / len(many)
            T = T if np.isfinite(T) or support < 0.5 else float(np.median(met))
            error = (
                np.hypot(met.std(ddof=1), 0.1 * np.diff(self.curves.T).mean()) if len(met) > 0.5 * len(many) else np.nan
            )
        share = support if self.curves.replica is not None else float(np.isfinite(T))
        if share < 0.5 or not np.isfinite(T):
            return None, share
        t = int(np.abs(self.curves.T - T).argmin())
        _, a, b = gap(self.curves.f[t], n)
        q = int(n[len(n) // 2]) if len(n) == 1 else int(n[np.nanargmin(self.curves.f[t][n])])
        size = self.curves.table["effective_samples"].values[t]
        names = [self.phases[t, int(a)], name, self.phases[t, int(b)]]
        notes = _doubts(support, min(size[int(a)], size[q], size[int(b)]), error, T)
        if (near_by := min(q - int(a), int(b) - q)) <= NARROW:
            notes.append(f"two of the phases are {near_by} steps of the composition apart: take a larger cell")
        return {"kind": kind, "T": T, "T_stderr": error, "x": self.curves.x[q], "x_stderr": self._where(n, t), "phases": " + ".join(names), "support": support,
                "reliable": not notes, "note": "; ".join(notes)}, share  # fmt: skip

    def _where(self, n: np.ndarray, t: int) -> float:
        """The error of the composition of a phase at rows n: the spread of its lowest point over the replicas, and the step of x."""
        step = self.curves.step / np.sqrt(12)
        if self.curves.replica is None or len(n) == 1:
            return step
        lowest = np.where(np.isfinite(self.curves.replica[t][:, n]), self.curves.replica[t][:, n], np.inf).argmin(1)
        return float(np.hypot(self.curves.x[n[lowest]].std(ddof=1), step))

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
        support = np.nan if self.curves.replica is None else 1.0 - (leaves if np.isfinite(leaves) else 0.0)
        T, error, away = self._highest(part)
        notes = _doubts(support, top["effective_samples"], error, T)
        if not len(good):
            notes.append("none of the transitions that it rests on is reliable")
        return {"kind": "congruent", "T": T, "T_stderr": error, "x": top["x"], "x_stderr": away, "phases": f"{name} + {DISORDERED}",
                "support": support, "reliable": not notes, "note": "; ".join(notes)}  # fmt: skip

    def _highest(self, part) -> tuple[float, float, float]:
        """(T, its error, the error of x) of the highest of some transitions.

        The highest of several noisy temperatures tends to be too high; by how much the highest of each replica lies above it on
        average is a part of the error.
        """
        top, step = part.loc[part["T"].idxmax()], self.curves.step / np.sqrt(12)
        if "heat_capacity_replica" not in self.curves.table:
            return top["T"], top["T_stderr"], step
        rows = np.rint((part["x"].to_numpy() - self.curves.x[0]) / self.curves.step).astype(int)
        many = self.curves.table["heat_capacity_replica"].values[:, :, rows]  # (T, replica, rows)
        peaks = np.array([[peak_at(self.curves.T, c) for c in one.T] for one in np.moveaxis(many, 1, 0)])
        peaks = peaks[np.isfinite(peaks).any(1)]
        if len(peaks) < 2:
            return top["T"], top["T_stderr"], step
        highest, x = np.nanmax(peaks, 1), part["x"].to_numpy()[np.nanargmax(peaks, 1)]
        error = np.linalg.norm([highest.std(ddof=1), highest.mean() - top["T"], 0.1 * np.diff(self.curves.T).mean()])
        return top["T"], float(max(error, top["T_stderr"])), float(np.hypot(x.std(ddof=1), step))

    def _sequence(self, t: int) -> list:
        return [
            (self.phases[t, r.a], self.phases[t, r.b], r.a, r.b)
            for r in regions(self.curves.f[t], self.curves.min_width)
        ]


def _doubts(support: float, samples: float, error: float, T: float) -> list[str]:
    out = [f"{100 * support:.0f} % of the replicas show a point of this kind"] if support < SURE else []
    out += [f"{samples:.0f} effective samples at one of the phases: draw more near it"] if samples < MIN_ESS else []
    return out + ([f"T is known to {error:.0f} K only"] if error > 0.1 * T else [])


def three_phase(sequence: list[list]) -> Iterator[tuple]:
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
