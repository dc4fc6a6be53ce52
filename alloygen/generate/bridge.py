"""From one Hamiltonian to another on the same supercell, for Monte Carlo moves on all that lies between.

    E_l(x) = (1 - l) E_0(x) + l E_1(x)

is an expansion with the figures of both. The tables of its single flips have the same shape for all l, and values that are linear in l, so that a
step along l costs an addition. The shape depends on which pair energies agree; it is found at two l at which only those agree that always do.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from alloygen.errors import AlloygenError
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.hamiltonian.expansion import ClusterExpansion
from alloygen.hamiltonian.figures import Expansion
from alloygen.hamiltonian.flips import FlipTables

INNER = (
    (0.2918, 0.7236),
    (0.2371, 0.7853),
    (0.3319, 0.6547),
)  # pairs of l at which pair energies agree by chance nowhere


class Bridge:
    """All Hamiltonians between two.

    old, new : on one supercell
    between : Hamiltonian of the figures of both, whose flip tables have the shape of all
    gap : E_1 - E_0, as a Hamiltonian

    Raises AlloygenError for Hamiltonians of other supercells.

    Examples
    --------
    >>> from alloygen.hamiltonian.ising import ising
    >>> bridge = Bridge(ising(4, J=1.0), ising(4, J=1.5))
    >>> occ = ising(4).random(3, 0)
    >>> bool(np.allclose(bridge.old.energy(occ) + bridge.gap.energy(occ), bridge.new.energy(occ)))
    True
    """

    def __init__(self, old: Hamiltonian, new: Hamiltonian):
        if not old.lattice.same_as(new.lattice):
            raise AlloygenError(f"expected two Hamiltonians on one supercell, got {old.lattice!r} and {new.lattice!r}")
        self.old, self.new = old, new
        self.gap = Hamiltonian(mixed(old.expansion, new.expansion, -1.0, 1.0), old.lattice)
        for low, high in INNER:
            self.between = self._at(low)
            a, b = self.between.flip_tables, self._at(high).flip_tables
            if all(np.array_equal(getattr(a, k), getattr(b, k)) for k in FlipTables._fields if k != "value"):
                break
        else:
            raise AlloygenError(
                f"expected Hamiltonians between which flip tables keep their shape, got {old.expansion.name!r} and {new.expansion.name!r}; reweight "
                "without then=, or in steps"
            )
        self._slope = (b.value - a.value) / (high - low)
        self._first = a.value - low * self._slope

    def _at(self, share: float) -> Hamiltonian:
        return Hamiltonian(mixed(self.old.expansion, self.new.expansion, 1.0 - share, share), self.old.lattice)

    def tables(self, share: float) -> FlipTables:
        """The flip tables of E_l at l = ``share``."""
        return self.between.flip_tables._replace(value=self._first + share * self._slope)


def mixed(a: Expansion, b: Expansion, of_a: float, of_b: float) -> ClusterExpansion:
    """of_a E_a + of_b E_b of two expansions on one primitive cell, as an expansion with the figures of both."""
    if a.same_figures(b):
        return _plain(a).with_ecis(of_a * a.ecis + of_b * b.ecis)
    first = len(a.functions)
    orbits = [replace(o, eci=of_a * o.eci) for o in a.orbits]
    orbits += [
        replace(o, name=f"{o.name} of the other", eci=of_b * o.eci, functions=o.functions + first) for o in b.orbits
    ]
    return replace(
        _plain(a),
        functions=np.concatenate([a.functions, b.functions]),
        orbits=tuple(orbits),
        name=f"{a.name} and {b.name}",
    )


def _plain(expansion: Expansion) -> ClusterExpansion:
    if not isinstance(expansion, ClusterExpansion):
        raise AlloygenError(f"expected a cluster expansion to anneal from or to, got {expansion!r}")
    return replace(expansion, fitted=None)
