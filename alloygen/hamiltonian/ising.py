"""The square-lattice Ising model as a cluster expansion, so that there is one energy code.

    H = -J sum_<ij> s_i s_j - h sum_i s_i,     periodic, each bond counted once, dimensionless (kB = 1).

Species are "-" (s = -1) and "+" (s = +1).
"""

from __future__ import annotations

import numpy as np

from alloygen.arguments import finite, whole_number
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.hamiltonian.expansion import ClusterExpansion, Orbit
from alloygen.lattice import Primitive


def ising_expansion(h: float = 0.0, J: float = 1.0) -> ClusterExpansion:
    """The model on the primitive cell; ``on((L, L, 1))`` makes the lattice."""
    h, J = finite(h, "h"), finite(J, "J")
    primitive = Primitive(np.eye(3), np.zeros((1, 3)), (("-", "+"),), (True, True, False))
    bonds = np.array([[(0, 0, 0, 0), (1, 0, 0, 0)], [(0, 0, 0, 0), (0, 1, 0, 0)]])
    orbits = [Orbit("bond", -J, bonds, np.zeros((2, 2)), np.ones(2))]
    if h:
        orbits.insert(0, Orbit("field", -h, np.zeros((1, 1, 4)), np.zeros((1, 1)), np.ones(1)))
    return ClusterExpansion(primitive, np.array([[-1.0, 1.0]]), tuple(orbits), kB=1.0, unit="J", name="Ising")


def ising(L: int, h: float = 0.0, J: float = 1.0) -> Hamiltonian:
    """Ising Hamiltonian on an L x L torus, which ``sample``, ``scan`` and ``mc`` take in place of Atoms.

    Their ``h`` is a field too, of chemical potentials mu("+") = h and mu("-") = -h: then Phi is the textbook F = -T log Z / N, as it is
    for a field in the Hamiltonian. The energy holds the term of the latter only. Spins are ``2 * ens.occ - 1``.

    Examples
    --------
    >>> import torch
    >>> float(ising(4).energy(torch.ones(1, 16, dtype=torch.long)))
    -32.0
    """
    L = whole_number(L, "L, the side length,")
    return ising_expansion(h, J).on((L, L, 1))
