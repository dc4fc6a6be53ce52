"""Markov chains on the small systems of the tests: any number of species, sublattices and bodies, against enumeration."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, partial

import numpy as np
from small_systems import enumeration, hamiltonian

from alloygen.edge.problem import Problem
from alloygen.exact.enumeration import Enumeration
from alloygen.hamiltonian.ising import ising
from alloygen.montecarlo.sampling import cluster_moves, metropolis, replica_exchange
from alloygen.results.scan import Scan
from alloygen.testing import SYSTEMS

from . import Row, Truth

NAMES = ("ising-3", "cuau-2x2x2", "cuau-skew", "cuau-1x2x4", "ternary")


def truths(scan: Scan, exact: Enumeration) -> Iterator[Truth]:
    """Averages, and free energies where they are absolute, at each finite temperature of a scan."""
    for c in np.flatnonzero(np.isfinite(scan.T)):
        ens, at, element = (
            scan[int(c)],
            exact.at(exact.hamiltonian.condition(scan.T[c], scan.mu[c])),
            scan.hamiltonian.elements[1],
        )
        yield "energy", ens.mean_energy(), at.energy
        yield "composition", ens.composition(element), at.composition[1]
        yield "heat capacity", ens.heat_capacity(), at.heat_capacity
        if scan.absolute:
            yield "free energy", ens.free_energy(), at.phi


def flips(seed: int) -> Iterator[Truth]:
    for name in NAMES:
        yield from truths(
            metropolis(hamiltonian(name), SYSTEMS[name].conditions(), 800, sweeps=2, seed=seed, check=False),
            enumeration(name),
        )


def exchange(seed: int) -> Iterator[Truth]:
    for name in NAMES:
        s = SYSTEMS[name]
        hot = [*s.T, 2.5 * max(s.T), np.inf]
        yield from truths(
            replica_exchange(
                hamiltonian(name), hamiltonian(name).grid(hot, s.mu), 800, sweeps=2, seed=seed, check=False
            ),
            enumeration(name),
        )


def swaps(seed: int) -> Iterator[Truth]:
    """Energies at fixed composition against the canonical law."""
    for name in NAMES:
        h, exact = hamiltonian(name), enumeration(name)
        occ = np.arange(h.n_sites) % 2
        same = (exact.counts == h.counts(occ)).all(1)
        for T in SYSTEMS[name].T:
            got = metropolis(
                Problem.of(h, occ=occ), h.condition([T]), n=600, move="swap", sweeps=2, seed=seed, check=False
            )[0].mean_energy()
            w = np.exp(-(exact.energy[same] - exact.energy[same].min()) / (h.kB * T))
            yield "energy", got, w @ exact.energy[same] / w.sum() / h.n_sites


@cache
def small_ising() -> Enumeration:
    return Enumeration(ising(4, h=0.1))


def clusters(kind: str, seed: int) -> Iterator[Truth]:
    T, exact = np.linspace(1.6, 3.4, 10), small_ising()
    scan = cluster_moves(
        exact.hamiltonian,
        exact.hamiltonian.condition(T, [0.0, 0.05]),
        2000,
        sweeps=2,
        kind=kind,
        seed=seed,
        check=False,
    )
    yield from truths(scan, exact)


ROWS = [
    Row("Metropolis flips", "small systems", "disordered", flips),
    Row("Metropolis swaps", "small systems", "disordered", swaps),
    Row("replica exchange", "small systems", "disordered", exchange),
    Row("Swendsen-Wang", "Ising 4x4", "critical", partial(clusters, "swendsen-wang")),
    Row("Wolff", "Ising 4x4", "critical", partial(clusters, "wolff")),
]
