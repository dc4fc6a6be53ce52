"""Wang-Landau and metadynamics on CuAu 2x2x4 against enumeration."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from small_systems import cuau_16

from alloygen.estimate.result import Estimate
from alloygen.montecarlo.metadynamics import metadynamics
from alloygen.montecarlo.wang_landau import wang_landau

from . import Row, Truth

T = np.arange(200.0, 1201.0, 100.0)


def density(seed: int) -> Iterator[Truth]:
    exact, mu = cuau_16(), [0.0, 0.02]
    g = wang_landau(exact.hamiltonian, mu=mu, width=2e-4, walkers=8, max_attempts=40_000_000, schedule="1/t", seed=seed)
    for t in T:
        yield "free energy", g.phi(t), exact.at(t, mu).phi


def profile(seed: int) -> Iterator[Truth]:
    """F(x) at all compositions but those next to nothing, whose neighbours of the pure ends are exact."""
    exact, h = cuau_16(), cuau_16().hamiltonian
    p = metadynamics(h, T, production=20_000, seed=seed)
    for t, f, error in zip(T, p.free_energy, p.stderr, strict=True):
        for n in np.flatnonzero(error > 1e-9):
            energy = exact.energy[exact.counts[:, 1] == n]
            yield (
                "F(x)",
                Estimate(f[n], error[n]),
                -h.kB * t * np.logaddexp.reduce(-energy / (h.kB * t)) / h.n_sites,
            )


ROWS = [
    Row("Wang-Landau, 8 walkers", "CuAu 2x2x4", "200-1200 K", density),
    Row("metadynamics", "CuAu 2x2x4", "200-1200 K", profile),
]
