"""Atoms on the sites of a supercell: every way to lay them there, and the one with the least misfit. Arrays only, as in ``supercell``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from alloygen.edge.supercell import Found, find_matrices, turned
from alloygen.lattice import Lattice, Primitive

SAMPLE = 64  # atoms that stand for all while orientations are compared
NOISE = 1.1  # misfits that differ by less than this factor cannot be told apart
SHARP = 1e-4  # misfit of a cell that is written with a few digits


@dataclass(frozen=True, eq=False)
class Fit:
    """Atoms assigned to sites under one supercell matrix and one rigid shift; lengths in the primitive cell's unit.

    badness : atoms off their sites, atoms on a sublattice that refuses them
    strain : sum of the squared logarithms of the stretches
    spread : mean square distance from the sites over the square of the nearest-neighbour distance
    literal : the cell and the shift are those of the primitive cell itself
    """

    found: Found
    shift: np.ndarray
    offsets: np.ndarray
    sublattice: np.ndarray
    distance: np.ndarray
    limit: float
    badness: tuple[int, int]
    strain: float
    spread: float
    literal: bool

    @property
    def misfit(self) -> float:
        return self.strain + self.spread

    def light(self) -> Fit:
        """Without what is known of each atom."""
        return replace(self, offsets=self.offsets[:0], sublattice=self.sublattice[:0], distance=self.distance[:0])

    def rivals(self, other: Fit) -> bool:
        """Whether ``other``, of no less misfit, cannot be told from this fit. What both share (a displacement that is the
        same either way) is no noise."""
        if other.badness != self.badness:
            return False
        noise = SHARP**2
        for mine, its in ((self.strain, other.strain), (self.spread, other.spread)):
            if abs(its - mine) > 1e-6 * mine:
                noise += (NOISE**2 - 1) * mine
        return other.misfit - self.misfit <= noise


def best_fits(
    symbols: Sequence[str] | np.ndarray,
    positions: np.ndarray,
    cell: np.ndarray,
    primitive: Primitive,
    limit: float,
    neighbour: float,
) -> list[Fit]:
    """The fit to take, and those that cannot be told from it.

    One fit with all atoms on sites gives every other by turning the lattice of sites. Large cells coincide with it in many
    orientations, so a sample of atoms decides which matrices are worth all of them.
    """
    symbols, code = np.unique(symbols, return_inverse=True)
    job = _Job(primitive, species_index(primitive, symbols) >= 0, code, limit, neighbour)
    sample = np.sort(np.random.default_rng(0).permutation(len(positions))[:SAMPLE])
    first = _first_fit(job, positions, sample, cell, len(positions) // len(primitive.basis))
    if first.badness[0] or (first.literal and first.misfit <= SHARP**2 and first.badness[1] == job.refused):
        return [first]
    ways = [(found, found.fractions(positions[sample])) for found in turned(primitive, first.found, 2 * limit)]
    trials = [fit for found, fractions in ways for fit in job.fits(fractions, found, sample)]
    least = min(fit.badness for fit in trials)
    whole = lambda fit: job.fit(fit.found.fractions(positions), fit.found, fit.shift)  # noqa: E731
    fits = [first.light(), *(whole(fit).light() for fit in trials if fit.badness == least)]
    best = min(fits, key=lambda fit: (fit.badness, fit.misfit))
    equal = [fit for fit in fits[1:] if best.rivals(fit)] or [best]
    equal.sort(key=lambda fit: (not fit.literal, fit.misfit > best.misfit * (1 + 1e-6) + SHARP**2))
    return [whole(equal[0]), *([] if equal[0].literal else equal[1:])]


def _first_fit(job: _Job, positions: np.ndarray, sample: np.ndarray, cell: np.ndarray, n_cells: int) -> Fit:
    """The first fit with every atom on a site, or the one with the fewest off."""
    best: Fit | None = None
    promise = 0
    for found in find_matrices(job.primitive, cell, n_cells):
        fractions = found.fractions(positions)
        trial = min(job.fits(fractions[sample], found, sample), key=lambda fit: fit.badness)
        if best is not None and trial.badness[0] >= promise:
            continue
        fit = min(job.fits(fractions, found), key=lambda fit: fit.badness)
        if best is None or fit.badness < best.badness:
            best, promise = fit, trial.badness[0]
        if best.badness[0] == 0:
            break
    assert best is not None  # find_matrices gives one, or raises
    return best


@dataclass(frozen=True, eq=False)
class _Job:
    """What all fits of one call share. allowed : bool (n_sublattices, n_symbols); code : (N,) symbol of each atom."""

    primitive: Primitive
    allowed: np.ndarray
    code: np.ndarray
    limit: float
    neighbour: float

    @property
    def refused(self) -> int:
        """Atoms that no sublattice takes."""
        return int(np.logical_not(self.allowed.any(0))[self.code].sum())

    def fits(self, fractions, found: Found, rows=slice(None)) -> list[Fit]:
        """The fits of the atoms ``rows`` over rigid shifts that put a reference atom onto each sublattice in turn."""
        primitive = self.primitive
        periodic = np.array(primitive.pbc)
        references = fractions[list(dict.fromkeys((0, len(fractions) // 2, len(fractions) - 1)))]
        starts = (references[:, None] - primitive.basis).reshape(-1, 3)
        starts = starts - np.where(periodic, np.rint(starts - 1e-9), 0.0)
        starts = starts[np.argsort(np.linalg.norm(starts @ primitive.cell, axis=1).round(6), kind="stable")]
        out, tried = [], np.zeros((0, 3))
        for shift in starts:
            apart = shift - tried
            apart -= np.where(periodic, np.rint(apart), 0.0)
            if (np.linalg.norm(apart @ found.metric_cell, axis=1) <= self.limit).any():
                continue
            for _ in range(2):  # the reference atom may be displaced itself: centre on the median and assign again
                rest = _assign(fractions, primitive, found.metric_cell, shift)[2]
                shift = shift + np.median(rest, axis=0)
            tried = np.vstack([tried, shift])
            out.append(self.fit(fractions, found, shift, rows))
        return out

    def fit(self, fractions, found: Found, shift, rows=slice(None)) -> Fit:
        """The atoms on the sites nearest to them, shifted so that the median is on its site."""
        rest = _assign(fractions, self.primitive, found.metric_cell, shift)[2]
        shift = shift + np.median(rest, axis=0)
        offsets, sublattice, rest = _assign(fractions, self.primitive, found.metric_cell, shift)
        distance = np.linalg.norm(rest @ found.metric_cell, axis=1)
        wrong = int((~self.allowed[sublattice, self.code[rows]]).sum())
        spread = np.linalg.norm((rest - rest.mean(0)) @ found.metric_cell, axis=1) / self.neighbour
        away = np.where(self.primitive.pbc, shift - np.rint(shift), 0.0)
        literal = found.literal and np.linalg.norm(away @ found.metric_cell) <= self.limit
        return Fit(
            found, shift, offsets, sublattice, distance, self.limit, (int((distance > self.limit).sum()), wrong),
            float((found.stretches**2).sum()), float((spread**2).mean()), bool(literal),
        )  # fmt: skip


def _assign(fractions, primitive, metric_cell, shift):
    """Nearest site of each atom: cell offsets (N, 3), sublattice (N,), and the rest (N, 3) in primitive vectors."""
    periodic = np.array(primitive.pbc)
    rest = (fractions - shift)[:, None, :] - primitive.basis
    cells = np.where(periodic, np.rint(rest), 0.0)
    rest = rest - cells
    sub = ((rest @ metric_cell) ** 2).sum(-1).argmin(1)
    rows = np.arange(len(fractions))
    return cells[rows, sub].astype(np.int64), sub, rest[rows, sub]


def nearest_neighbour(primitive: Primitive) -> float:
    """Shortest distance between two sites of the infinite crystal, in the primitive cell's unit.

    Examples
    --------
    >>> nearest_neighbour(Primitive(np.eye(3), [[0, 0, 0], [0.5, 0, 0]], [("Na",), ("Cl",)]))
    0.5
    """
    one = Lattice(primitive, (1, 1, 1))
    between = one.minimum_image((primitive.basis[:, None] - primitive.basis) @ primitive.cell)
    lengths = np.linalg.norm(between, axis=-1)[~np.eye(len(primitive.basis), dtype=bool)]
    periods = np.linalg.norm(one.shortest_vectors, axis=1)[np.array(primitive.pbc)]
    every = np.concatenate([lengths, periods])
    return float(every.min()) if len(every) else float(np.linalg.norm(primitive.cell, axis=1).min())


def species_index(lattice, symbols: Sequence[str] | np.ndarray) -> np.ndarray:
    """(n_sublattices, n_symbols) index of each symbol in the sublattice's species list, -1 where it is not allowed."""
    return np.array([[names.index(s) if s in names else -1 for s in symbols] for names in lattice.species])
