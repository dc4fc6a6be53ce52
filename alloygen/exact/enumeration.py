"""Exact thermodynamics of small cells by summing over every occupation.

    Z(T, mu) = sum_x exp(-beta [E(x) - sum_k mu_k N_k(x)]),    Phi = -kB T log Z / N,

the semigrand-canonical ensemble (Frenkel and Smit, Understanding Molecular Simulation, 2nd ed., section 9.1). Energies
and element counts are computed once; every (T, mu) afterwards is one pass over the stored arrays, in float64.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from alloygen.arrays import as_array
from alloygen.conditions.record import Condition
from alloygen.errors import AlloygenError
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.types import ArrayLike

LIMIT = 2**22
_CHUNK = 2**16


def _n_states(hamiltonian: Hamiltonian, limit: int) -> int:
    total = 1
    for s in hamiltonian.lattice.n_species:  # Python integers: no overflow on large cells
        total *= int(s)
    if total > limit:
        raise AlloygenError(
            f"expected a cell with at most {limit:,} configurations, got {hamiltonian.lattice!r} with about 10^"
            f"{len(str(total)) - 1}. Use a smaller supercell, raise `limit` (16 N bytes per state are needed), or "
            "estimate free energies by sampling instead."
        )
    return total


def _strides(hamiltonian: Hamiltonian) -> np.ndarray:
    """Weight of each site in the mixed-radix number of a state, (N,); the last site runs fastest."""
    n = np.append(hamiltonian.lattice.n_species[1:], 1)[::-1]
    return np.cumprod(n)[::-1]


def _decode(hamiltonian: Hamiltonian, start: int, stop: int) -> np.ndarray:
    digits = np.arange(start, stop)[:, None] // _strides(hamiltonian) % hamiltonian.lattice.n_species
    return digits.astype(np.int8)


def enumerate_states(hamiltonian: Hamiltonian, limit: int = LIMIT) -> np.ndarray:
    """All occupations of a cell, int8 (M, N) with M = prod_i S_i; row r is r in mixed radix, last site fastest.

    Raises :class:`AlloygenError` when M exceeds ``limit``.

    Examples
    --------
    >>> from alloygen.hamiltonian.ising import ising
    >>> enumerate_states(ising(2)).shape, enumerate_states(ising(2))[1].tolist()
    ((16, 4), [0, 0, 0, 1])
    """
    return _decode(hamiltonian, 0, _n_states(hamiltonian, limit))


@dataclass(frozen=True, eq=False, repr=False)
class ExactState:
    """Exact averages at one (T, mu). Per site means per lattice site, N of them.

    T : temperature; mu : (n_elements,) chemical potentials
    log_z : log Z
    phi : -kB T log Z / N, energy per site
    probabilities : (M,) p(x) of the states in the order of ``enumerate_states``
    energy : <E> / N, without the mu N term
    composition : (n_elements,) <N_k> / N
    heat_capacity : (<E^2> - <E>^2) / (kB T^2) / N, energy per temperature and site
    """

    T: float
    mu: np.ndarray
    log_z: float
    phi: float
    probabilities: np.ndarray
    energy: float
    composition: np.ndarray
    heat_capacity: float

    def __repr__(self) -> str:
        numbers = ", ".join(f"{x:.6g}" for x in self.composition)
        return f"ExactState(T={self.T:g}, mu={self.mu.tolist()}, phi={self.phi:.8g}, energy={self.energy:.8g}, composition=[{numbers}])"


class Enumeration:
    """Every state of a cell, with energies and element counts, ready for exact sums at any (T, mu).

    Parameters
    ----------
    hamiltonian : Hamiltonian of the cell
    limit : the largest number of states M that is accepted

    Attributes: ``energy`` (M,) in the Hamiltonian's unit and ``counts`` (M, n_elements), NumPy float64.

    Examples
    --------
    CuAu on 2x2x4 at 600 K and mu_Au = mu_Cu, Phi in eV per site:

    >>> import alloygen, alloygen.data
    >>> h = alloygen.data.cuau().on((2, 2, 4))
    >>> exact = Enumeration(h).at(h.condition(600.0, [0.0, 0.0]))
    >>> round(exact.phi, 9), round(float(exact.composition[1]), 7)
    (-0.043891393, 0.4353165)
    """

    def __init__(self, hamiltonian: Hamiltonian, limit: int = LIMIT):
        self.hamiltonian = hamiltonian
        m = _n_states(hamiltonian, limit)
        self.energy = np.empty(m)
        self.counts = np.empty((m, len(hamiltonian.elements)))
        for start in range(0, m, _CHUNK):
            occ = _decode(hamiltonian, start, min(start + _CHUNK, m))
            self.energy[start : start + len(occ)] = hamiltonian.energy(occ)
            self.counts[start : start + len(occ)] = hamiltonian.counts(occ)

    def __len__(self) -> int:
        return len(self.energy)

    @cached_property
    def occ(self) -> np.ndarray:
        """All occupations, int8 (M, N)."""
        return enumerate_states(self.hamiltonian, limit=len(self))

    def index(self, occ: ArrayLike | torch.Tensor) -> np.ndarray:
        """Row numbers (B,) of occupations (B, N)."""
        return self.hamiltonian.check(as_array(occ)) @ _strides(self.hamiltonian)

    def with_energies(self, energy: ArrayLike) -> Enumeration:
        """The same states with energies (M,) by another Hamiltonian or a calculator. AlloygenError for another number of them.

        Examples
        --------
        >>> from alloygen.hamiltonian.ising import ising
        >>> h = ising(2)
        >>> table = Enumeration(h)
        >>> free = table.with_energies(np.zeros(16))                       # free spins
        >>> bool(np.isclose(free.at(h.condition(2.0)).log_z, 4 * np.log(2)))
        True
        """
        found = np.asarray(energy, dtype=float)
        if found.shape != self.energy.shape:
            raise AlloygenError(f"expected {len(self)} energies, one of each state, got shape {found.shape}")
        new = copy.copy(self)
        new.energy = found
        return new

    def at(self, condition: Condition) -> ExactState:
        """Exact averages at one condition, ``hamiltonian.condition(T, mu)``. Raises :class:`BadCondition` for one of other elements."""
        h, n = self.hamiltonian, self.hamiltonian.n_sites
        T, mu = h.require(condition, Condition).arrays()
        kT = float(condition.kT)
        exponent = -condition.reduced(self.energy, self.counts)
        top = exponent.max()
        p = np.exp(exponent - top)
        log_z = top + np.log(p.sum())
        p /= p.sum()
        mean = float(p @ self.energy)
        variance = float(p @ (self.energy - mean) ** 2)
        return ExactState(
            float(T),
            mu,
            float(log_z),
            float(-kT * log_z / n),
            p,
            mean / n,
            p @ self.counts / n,
            h.kB * variance / kT**2 / n,
        )
