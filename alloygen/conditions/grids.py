"""Grids of conditions: several temperatures with several chemical potentials, as users give them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from alloygen.arguments import join
from alloygen.conditions.given import (
    MOST_VALUES,
    Alloy,
    Mu,
    chemical_potentials,
    exchangeable,
    is_sequence,
    items,
    relative,
    temperature,
)
from alloygen.errors import BadCondition
from alloygen.types import Temperatures

if TYPE_CHECKING:
    from alloygen.conditions.record import Condition

Mus: TypeAlias = Mu | Iterable[Mu] | Mapping[str, float | Iterable[float]]  # one or several, see ``mu_list``


def temperatures(T: Temperatures) -> np.ndarray:
    """Temperatures (nT,), rising, each once: from one number or any iterable of numbers.

    Raises BadCondition for none at all and what :func:`temperature` raises.

    Examples
    --------
    >>> temperatures([900, 700, 900])
    array([700., 900.])
    """
    found = np.array([temperature(t) for t in (items(T) if is_sequence(T) else [T])])
    if not len(found):
        raise BadCondition(f"expected at least one temperature, got T={T!r}. Give a number or a sequence of them.")
    found.sort()
    return found[np.append(True, np.diff(found) > 1e-9 * found[1:])]


@dataclass(frozen=True, kw_only=True, eq=False)
class Grid:
    """Every temperature with every set of chemical potentials, T slow and mu fast.

    T : (nT,) temperatures above 0, infinity among them at will; mu : (nM, n_elements), finite. Both are kept as arrays in the order given.
        ``hamiltonian.grid(T, mu)`` checks the elements as well, :func:`grid` makes one of what users write

    Raises BadCondition for what is no such numbers.

    Examples
    --------
    >>> g = Grid(T=[300, 600], mu=[[0.0, -0.1], [0.0, 0.1]])
    >>> len(g), g.condition(kB=1.0)[1]
    (4, Condition(T=300.0, mu=[0.0, 0.1]))
    """

    T: np.ndarray
    mu: np.ndarray

    def __post_init__(self) -> None:
        try:
            T, mu = np.atleast_1d(np.array(self.T, dtype=float)), np.atleast_2d(np.array(self.mu, dtype=float))
        except (TypeError, ValueError):
            raise BadCondition(
                f"expected temperatures and rows of chemical potentials as arrays of numbers, got T={self.T!r} and mu={self.mu!r}; "
                "alloygen.conditions.grid makes them of dicts"
            ) from None
        if T.ndim != 1 or mu.ndim != 2 or not T.size or not mu.size or not (T > 0).all() or not np.isfinite(mu).all():
            raise BadCondition(
                f"expected temperatures above 0 (nT,) and finite rows of mu (nM, n_elements), got T of shape {T.shape} and mu of shape "
                f"{mu.shape}, T={T[:5]}"
            )
        object.__setattr__(self, "T", T)
        object.__setattr__(self, "mu", mu)

    def __len__(self) -> int:
        return len(self.T) * len(self.mu)

    def condition(self, kB: float) -> Condition:
        """Its conditions, one for each row."""
        from alloygen.conditions.record import Condition

        return Condition(np.repeat(self.T, len(self.mu)), np.tile(self.mu, (len(self.T), 1)), kB)


def grid(T: Temperatures, mu: Mus | None, lattice: Alloy) -> Grid:
    """A grid of what users give: both axes rising, each value once.

    Values that are given twice (to 1e-9) are one. mu rises in its differences from the first element, as :func:`relative` gives
    them, so that neighbours in the list are neighbours in the law.

    Parameters
    ----------
    T : a number or an iterable of them, kelvin
    mu : what ``chemical_potentials`` takes, or an iterable of such; or a dict in which values are sequences: each of one with each of the others
    lattice : as in ``chemical_potentials``

    Raises BadCondition for an empty iterable and for several mu of an element that no site can exchange, and what ``temperature`` and
    ``chemical_potentials`` raise.

    Examples
    --------
    >>> from alloygen.lattice import Primitive
    >>> g = grid([600, 300, 600], {"Au": [0.1, -0.1, 0.1]}, Primitive(np.eye(3), [[0, 0, 0]], [("Cu", "Au")]))
    >>> g.T, g.mu[:, 1]
    (array([300., 600.]), array([-0.1,  0.1]))
    """
    found = temperatures(T)
    every = [chemical_potentials(m, lattice) for m in mu_list(mu)]
    if not every:
        raise BadCondition(f"expected at least one mu, got mu={mu!r}. Give numbers or sequences of them.")
    rows = np.stack(every)
    bare: Any = getattr(lattice, "lattice", getattr(lattice, "primitive", lattice))
    free = exchangeable(bare)
    if still := [e for e, column in zip(bare.elements, rows.T, strict=True) if e not in free and np.ptp(column)]:
        raise BadCondition(
            f"expected several mu of elements that share a sublattice with others, {join(free) or 'none'}, got them of {join(still)}, which no site can "
            "exchange: they change no configuration. Give one value, or leave it out"
        )
    known = np.round(np.column_stack([relative(rows, bare), rows]), 9)
    return Grid(T=found, mu=rows[np.unique(known, axis=0, return_index=True)[1]])


def mu_list(mu: Mus | None) -> list:
    """The chemical potentials of a grid, one entry each: of an iterable, or of a dict in which values are sequences.

    Several sequences make a grid, each value of one with each of the others: the plane of mu that a ternary needs.

    Examples
    --------
    >>> mu_list({"Au": [0.0, 0.1]})
    [{'Au': 0.0}, {'Au': 0.1}]
    >>> mu_list({"Au": [0.0, 0.1], "Pd": [0.2, 0.3]})[1:3]
    [{'Au': 0.0, 'Pd': 0.3}, {'Au': 0.1, 'Pd': 0.2}]
    """
    if is_sequence(mu):
        return items(mu)
    if not isinstance(mu, Mapping):
        return [mu]
    varied = {e: items(v) for e, v in mu.items() if is_sequence(v)}
    for element, values in varied.items():
        if not values:
            raise BadCondition(f"expected at least one mu of {element}, got an empty sequence. Give numbers.")
    if (count := prod(map(len, varied.values()))) > MOST_VALUES:
        raise BadCondition(
            f"expected at most {MOST_VALUES} chemical potentials, got a grid of {count}: {' x '.join(str(len(v)) for v in varied.values())}. Take fewer of each"
        )
    return [{**mu, **dict(zip(varied, row, strict=True))} for row in product(*varied.values())]


@dataclass(frozen=True, kw_only=True)
class NamedGrid:
    """Conditions of a binary at which models are judged: every T with every mu(element) - mu(other). ``alloygen.data.grids`` has them.

    what : what they are, and their units
    dT, dmu : how near to one another neighbours are in the replica exchange that makes reference samples
    """

    what: str
    element: str
    other: str
    T: list[float]
    difference: list[float]
    dT: float
    dmu: float

    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """T (C,) and mu(element) - mu(other) (C,), T slow and mu fast.

        Examples
        --------
        >>> import alloygen
        >>> T, dmu = alloygen.data.grids()["cuau"].pairs()
        >>> T.shape, dmu[:10].tolist()
        ((110,), [-0.24, -0.18, -0.12, -0.06, 0.0, 0.06, 0.0724, 0.12, 0.18, 0.24])
        """
        return np.repeat(self.T, len(self.difference)), np.tile(self.difference, len(self.T))


def evenly(points: np.ndarray, length: np.ndarray, n: int) -> np.ndarray:
    """n numbers from the first to the last of ``points`` (K + 1,), rising, each as far from the next as the others, by the ``length`` (K,) from one point to the next.

    Examples
    --------
    >>> evenly(np.array([0.0, 1.0, 2.0]), np.array([1.0, 3.0]), 5).round(3).tolist()
    [0.0, 1.0, 1.333, 1.667, 2.0]
    """
    along = np.append(0.0, np.cumsum(length)) / np.sum(length)
    out = np.interp(np.linspace(0.0, 1.0, n), along, points)
    out[0], out[-1] = points[0], points[-1]
    return out
