"""Free energies of Monte Carlo from two references: across a first-order transition, torn ladders, and where all is joined."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, partial

import numpy as np
from small_systems import cuau_16, low_temperature_phi

import alloygen
import alloygen.data
from alloygen.exact.ising import kaufman_free_energy
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.montecarlo.sampling import replica_exchange

from . import Row, Truth


@cache
def cuau(size: int) -> Hamiltonian:
    return alloygen.data.cuau().on((size,) * 3)


def enumerated(mu: float, n: int, seed: int) -> Iterator[Truth]:
    """Ladders of alloygen.mc on 2x2x4, which replicas pass."""
    exact = cuau_16()
    scan = alloygen.mc(exact.hamiltonian, T=[200, 300, 500, 700, 1000], mu={"Au": mu}, n=n, seed=seed)
    for c in range(len(scan)):
        yield (
            f"Phi at {scan.T[c]:g}",
            scan[c].free_energy(),
            exact.at(exact.hamiltonian.condition(scan.T[c], scan.mu[c])).phi,
        )


def torn(mu: float, seed: int) -> Iterator[Truth]:
    """Two temperatures that share nothing with infinity: the cold side counts from its lowest levels."""
    exact = cuau_16()
    scan = replica_exchange(
        exact.hamiltonian,
        exact.hamiltonian.grid([150.0, 250.0], [[0.0, mu]]),
        1000,
        ladder=[np.inf],
        seed=seed,
        check=False,
    )
    for c in range(len(scan)):
        yield (
            f"Phi at {scan.T[c]:g}",
            scan.free_energy(c),
            exact.at(exact.hamiltonian.condition(scan.T[c], scan.mu[c])).phi,
        )


def ising(seed: int) -> Iterator[Truth]:
    scan = alloygen.mc(alloygen.ising(10), T=[1.5, 2.0, 2.5], n=400, seed=seed)
    for c in range(len(scan)):
        yield f"F at {scan.T[c]:g}", scan.free_energy(c), kaufman_free_energy(10, scan.T[c])


def ordered(size: int, T: float, n: int, seed: int) -> Iterator[Truth]:
    """Far below the transition, beside the low-temperature expansion to second order."""
    scan = alloygen.mc(cuau(size), T=T, mu={"Au": 0.0}, n=n, seed=seed)
    yield f"Phi at {T:g}", scan.free_energy(0), low_temperature_phi(cuau(size), T)


ROWS = [
    *(Row("Monte Carlo Phi", "CuAu 2x2x4", f"ladder, mu {mu:g}, n {n}", partial(enumerated, mu, n))
      for mu, n in ((0.0, 400), (0.0, 1600), (-0.12, 400), (0.02, 400))),
    *(Row("Monte Carlo Phi", "CuAu 2x2x4", f"torn ladder, mu {mu:g}", partial(torn, mu)) for mu in (0.02, -0.1)),
    Row("Monte Carlo Phi", "Ising 10x10", "ladder, h 0", ising),
    Row("Monte Carlo Phi", "CuAu 4x4x4", "cold, 300 K", partial(ordered, 4, 300.0, 400)),
    Row("Monte Carlo Phi", "CuAu 8x8x8", "first-order ladder, 300 K", partial(ordered, 8, 300.0, 100)),
]  # fmt: skip
