"""Replica exchange up to T = infinity: averages over the whole ladder and free energies, against enumeration."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
from small_systems import cuau_16

from alloygen.exact.enumeration import Enumeration
from alloygen.hamiltonian.ising import ising
from alloygen.montecarlo.sampling import metropolis, replica_exchange
from alloygen.results.scan import Scan

from . import Row, Truth

MU = [[0.0, x] for x in (-0.24, -0.18, -0.12, -0.05, 0.0, 0.0724, 0.12)]
HOT = (500.0, 700.0, 1000.0, 1500.0, 3000.0, np.inf)


def truths(scan: Scan, exact: Enumeration) -> Iterator[Truth]:
    h, element = exact.hamiltonian, exact.hamiltonian.elements[1]
    for c, ens in enumerate(scan):
        at, number = exact.at(exact.hamiltonian.condition(scan.T[c], scan.mu[c])), exact.counts[:, 1]
        p, kT = at.probabilities, h.kB * scan.T[c]
        yield "energy", ens.mean_energy(), at.energy
        yield "composition", ens.composition(element), at.composition[1]
        yield "heat capacity", ens.heat_capacity(), at.heat_capacity
        yield "susceptibility", ens.susceptibility(element), (p @ number**2 - (p @ number) ** 2) / kT / h.n_sites
        if scan.absolute:
            yield "free energy", ens.free_energy(), at.phi
            yield "entropy", ens.entropy(), (at.energy - at.composition @ scan.mu[c] - at.phi) / scan.T[c]


def cuau(T: tuple[float, ...], n: int, seed: int) -> Iterator[Truth]:
    e = cuau_16()
    yield from truths(
        replica_exchange(e.hamiltonian, e.hamiltonian.grid(T, MU), n, ladder=HOT, seed=seed, check=False), e
    )


def spins(seed: int) -> Iterator[Truth]:
    e, mu = Enumeration(ising(4)), [[-h, h] for h in (0.0, 0.05, 0.2)]
    ladder = (3.2, 5.0, 10.0, np.inf)
    yield from truths(
        replica_exchange(
            e.hamiltonian, e.hamiltonian.grid((1.6, 2.0, 2.27, 2.6), mu), 500, ladder=ladder, seed=seed, check=False
        ),
        e,
    )


def alone(seed: int) -> Iterator[Truth]:
    """Metropolis without exchange, started at random: what its series cannot show is withheld or covered."""
    e, mu = cuau_16(), [[0.0, x] for x in (-0.12, 0.0, 0.0724)]
    T = np.repeat([300.0, 500.0, 800.0], 3)
    yield from truths(metropolis(e.hamiltonian, e.hamiltonian.condition(T, mu * 3), 1000, seed=seed, check=False), e)


ROWS = [
    Row("replica exchange", "CuAu 2x2x4, n=400", "cold", partial(cuau, (200.0, 300.0, 400.0), 400)),
    Row("replica exchange", "CuAu 2x2x4, n=1000", "cold", partial(cuau, (200.0, 300.0, 400.0), 1000)),
    Row("replica exchange", "CuAu 2x2x4, n=400", "disordered", partial(cuau, (800.0, 1200.0), 400)),
    Row("replica exchange", "Ising 4x4 with field", "critical", spins),
    Row("Metropolis flips", "CuAu 2x2x4", "cold", alone),
]  # fmt: skip
