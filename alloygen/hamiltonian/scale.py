"""The scales of a binary alloy that say where its phases are, from its energies alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from alloygen.errors import AlloygenError
from alloygen.hamiltonian.cluster import Hamiltonian

RANDOM = 32  # configurations


@dataclass(frozen=True, kw_only=True)
class Scale:
    """T : at which a substitution in a random alloy costs or gains 2 kT, typically; transitions lie at 0.5 to 3 times this
    mu : (low, high) differences of the chemical potentials, second species less first, between which its phases lie: symmetric about what a
        substitution costs in a random alloy on average, as far as what it costs in the pure phases
    """

    T: float
    mu: tuple[float, float]
    kB: float

    def beyond(self, margin: float) -> tuple[float, float]:
        """(low, high) of mu, so many kT of the scale beyond the phases on each side."""
        more = margin * self.kB * self.T
        return self.mu[0] - more, self.mu[1] + more


def scale(h: Hamiltonian) -> Scale:
    """The scales of a binary Hamiltonian.

    Examples
    --------
    >>> from alloygen.hamiltonian.ising import ising
    >>> found = scale(ising(8))                  # T_c is 2.269
    >>> np.abs(found.mu).round().tolist(), 1.8 < found.T < 2.2
    ([8.0, 8.0], True)
    """
    if len(h.elements) != 2 or not (h.lattice.n_species == 2).all():
        raise AlloygenError(f"expected a binary alloy, got the species {h.lattice.species}")
    cost = lambda occ: np.diff(h.site_energies(occ), axis=2)[..., 0]  # noqa: E731
    one, other = (float(cost(np.full((1, h.n_sites), s)).mean()) for s in (0, 1))
    typical = cost(h.random(RANDOM, 0))
    middle = float(typical.mean())
    half = max(abs(one - middle), abs(other - middle))
    return Scale(T=max(float(typical.std()), 1e-12) / (2 * h.kB), mu=(middle - half, middle + half), kB=h.kB)
