"""What a Wang-Landau run counts, and how its walks learn: two records, each checked when it is made."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from alloygen.arguments import fraction, one_of, positive, whole_number
from alloygen.errors import AlloygenError
from alloygen.limits import ATTEMPTS

KINDS = ("halving", "1/t")


@dataclass(frozen=True, kw_only=True)
class Bins:
    """The bins of E - mu.N in which states are counted.

    width : of the bins; the levels of a discrete spectrum if not given, or else 1/500 of the range that a pre-run finds
    energies : (low, high), to which the walk is confined; all if not given. Then g is known up to a factor only
    windows, overlap : number of energy windows and the share of a window that the next one covers. Every window has
        walkers of its own; log g is joined by least squares in the overlaps. The outer windows are open outwards
    transitions : take log g from counted transitions between the bins, see :mod:`alloygen.montecarlo.wang_landau.run`: about half the
        error for the same attempts. Needs levels, two species on free sites, and pair energies that fit one table (``hamiltonian.flips``)

    Raises AlloygenError for what cannot be.

    Examples
    --------
    >>> Bins(width=0.1, energies=(-2.0, 1.0)).windows
    1
    """

    width: float | None = None
    energies: tuple[float, float] | None = None
    windows: int = 1
    overlap: float = 0.5
    transitions: bool = False

    def __post_init__(self) -> None:
        if self.width is not None:
            object.__setattr__(self, "width", positive(self.width, "width"))
        if self.energies is not None:
            object.__setattr__(self, "energies", _range(self.energies))
        object.__setattr__(self, "windows", whole_number(self.windows, "windows"))
        object.__setattr__(self, "overlap", fraction(self.overlap, "overlap"))
        object.__setattr__(self, "transitions", bool(self.transitions))

    @property
    def whole(self) -> bool:
        """Whether one walk may go to all energies."""
        return self.energies is None and self.windows == 1


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How log f, by which a visit raises log g, goes to 0; see :mod:`alloygen.montecarlo.wang_landau.run`.

    kind : "halving" or "1/t"; with "1/t" the end is at n_bins / log_f_final attempts
    flatness : the least visited bin has this share of the mean visits when log f is halved, of use to "halving"
    log_f, log_f_final : where log f starts, and where a walk ends
    check : attempts between two looks at the histogram
    max_attempts : of all walkers together, shared evenly; the run then ends with ``converged`` False. Without it a walk
        goes on until ``log_f_final``, however long that takes

    Raises AlloygenError for what cannot be.

    Examples
    --------
    >>> Schedule(kind="1/t", max_attempts=1e6).max_attempts
    1000000
    """

    kind: str = "halving"
    flatness: float = 0.8
    log_f: float = 1.0
    log_f_final: float = 1e-8
    check: int = 10_000
    max_attempts: int | None = None

    def __post_init__(self) -> None:
        one_of(self.kind, "kind", KINDS)
        object.__setattr__(self, "flatness", fraction(self.flatness, "flatness"))
        for name in ("log_f", "log_f_final"):
            object.__setattr__(self, name, positive(getattr(self, name), name))
        object.__setattr__(self, "check", whole_number(self.check, "check", 1, ATTEMPTS))
        if self.max_attempts is not None:
            object.__setattr__(self, "max_attempts", whole_number(self.max_attempts, "max_attempts"))

    def limit(self, walks: int) -> int:
        """Attempts of each of so many walks at most."""
        return 2**62 if self.max_attempts is None else -(-self.max_attempts // walks)


def _range(energies: Any) -> tuple[float, float]:
    pair = list(energies) if isinstance(energies, (list, tuple, np.ndarray)) else []
    if len(pair) != 2 or not all(isinstance(e, Real) for e in pair) or not pair[0] < pair[1]:
        raise AlloygenError(f"expected energies (low, high) with low < high, got {energies!r}")
    return float(pair[0]), float(pair[1])
