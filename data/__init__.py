"""Inputs that ship with alloygen: cluster expansions and trained checkpoints (see README.md here for sources)."""

from __future__ import annotations

import json
from functools import lru_cache
from importlib.resources import files


@lru_cache(maxsize=1)
def cuau():
    """The CuAu cluster expansion of Damewood, Schwalbe-Koda and Gomez-Bombarelli, npj Comput. Mater. 8, 61 (2022).

    Returns a :class:`~alloygen.hamiltonian.expansion.ClusterExpansion` in formation energies (eV): the line between
    the pure elements is subtracted, so E(Cu) = E(Au) = 0. Species are ("Cu", "Au").

    Examples
    --------
    >>> import alloygen
    >>> alloygen.data.cuau().elements
    ('Cu', 'Au')
    """
    from alloygen.hamiltonian.expansion import ClusterExpansion

    return ClusterExpansion.from_dict(json.loads(files(__package__).joinpath("cuau.json").read_text()))


def checkpoints() -> dict:
    """Paths of the checkpoints that ship, by name."""
    folder = files(__package__)
    return {p.name: p for p in sorted(folder.iterdir(), key=lambda p: p.name) if p.name.endswith(".alloygen")}
