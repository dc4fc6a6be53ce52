"""The Ising model on 10x10 with and without a field, through replica exchange and cluster moves, against the transfer matrix."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, partial

import numpy as np

from alloygen.exact.ising import transfer_matrix
from alloygen.hamiltonian.ising import ising
from alloygen.montecarlo.sampling import cluster_moves, replica_exchange
from alloygen.results.scan import Scan

from . import Row, Truth

L, T, FIELDS = 10, (2.0, 2.27, 2.6), (0.0, 0.05)


@cache
def torus(T: float, h: float, step: float = 1e-4) -> dict[str, float]:
    """Per site; variances are derivatives of exact means, that of E at fixed h / T."""
    here = transfer_matrix(L, T, h)
    low, high = (transfer_matrix(L, t, h * t / T).energy for t in (1 / (1 / T + step), 1 / (1 / T - step)))
    down, up = (transfer_matrix(L, T, h + d).magnetization for d in (-step, step))
    return {"energy": here.energy, "composition": 0.5 * (1 + here.magnetization), "heat capacity": (high - low) / (2 * step * T**2),
            "susceptibility": (up - down) / (8 * step), "free energy": here.free_energy}  # fmt: skip


def truths(scan: Scan) -> Iterator[Truth]:
    for c in np.flatnonzero(scan.T <= max(T)):
        ens, true = scan[int(c)], torus(float(scan.T[c]), float(scan.mu[c, 1]))
        yield "energy", ens.mean_energy(), true["energy"]
        yield "composition", ens.composition("+"), true["composition"]
        yield "heat capacity", ens.heat_capacity(), true["heat capacity"]
        yield "susceptibility", ens.susceptibility("+"), true["susceptibility"]
        if scan.absolute:
            yield "free energy", ens.free_energy(), true["free energy"]


def exchange(seed: int) -> Iterator[Truth]:
    mu, ladder = [[-h, h] for h in FIELDS], (2.4, 2.9, 3.5, 4.5, 6.0, 10.0, np.inf)
    yield from truths(
        replica_exchange(ising(L), ising(L).grid(T, mu), 500, ladder=ladder, sweeps=4, seed=seed, check=False)
    )


def clusters(kind: str, seed: int) -> Iterator[Truth]:
    mu = [[-h, h] for h in FIELDS for _ in T]
    yield from truths(
        cluster_moves(
            ising(L), ising(L).condition(T * len(FIELDS), mu), 1500, sweeps=3, kind=kind, seed=seed, check=False
        )
    )


ROWS = [
    Row("replica exchange", "Ising 10x10 with field", "critical", exchange),
    Row("Swendsen-Wang", "Ising 10x10 with field", "critical", partial(clusters, "swendsen-wang")),
    Row("Wolff", "Ising 10x10 with field", "critical", partial(clusters, "wolff")),
]
