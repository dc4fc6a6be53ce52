"""The stages of a metadynamics run: the potential grows, is refined, and is frozen for production."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from alloygen.arguments import fraction, positive, whole_number
from alloygen.conditions import temperature
from alloygen.errors import AlloygenError


@dataclass(frozen=True, kw_only=True)
class Stages:
    """How the potential grows, and who walks for how long once it is frozen.

    height, final_height : first and last height in units of kT, halved from stage to stage. The paper starts at 10,000 in units of its
        own; here the walk starts from the random alloy's entropy, and what is missing (a few hundred kT at 200 K) is filled by 1 kT a
        visit within a few hundred sweeps
    sweeps, flatness : a stage ends after so many sweeps, or when the least visited N has this share of the mean
    production : sweeps (attempts per changing site) of each walker under the frozen bias; by default ten million attempts,
        but 50,000 sweeps at least and 500,000 at most
    walkers : independent sets of walkers, one walker per temperature in each; they share the production bias
    ladder : further temperatures that take part in the exchanges and are not reported; None chooses some between and
        above those asked for, () takes none

    Raises AlloygenError for what cannot be.

    Examples
    --------
    >>> Stages(production=4000).walkers
    2
    """

    height: float = 1.0
    final_height: float = 1e-3
    sweeps: int = 20_000
    flatness: float = 0.8
    production: int | None = None
    walkers: int = 2
    ladder: Iterable[float] | None = None

    def __post_init__(self) -> None:
        for name in ("height", "final_height"):
            object.__setattr__(self, name, positive(getattr(self, name), name))
        if self.final_height > self.height:
            raise AlloygenError(f"expected final_height of at most height = {self.height:g}, got {self.final_height:g}")
        object.__setattr__(self, "flatness", fraction(self.flatness, "flatness"))
        for name in ("sweeps", "walkers"):
            object.__setattr__(self, name, whole_number(getattr(self, name), name))
        if self.production is not None:
            object.__setattr__(self, "production", whole_number(self.production, "production"))
        if self.ladder is not None:
            object.__setattr__(self, "ladder", tuple(temperature(t) for t in self.ladder))

    def length(self, sites: int) -> int:
        """Sweeps of production, where so many sites change."""
        return int(np.clip(10_000_000 // sites, 50_000, 500_000)) if self.production is None else self.production
