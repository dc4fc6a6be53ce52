"""Wang-Landau and metadynamics on CuAu 2x2x4 against enumeration, and a three-phase point whose temperature is known."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
from small_systems import cuau_16

from alloygen.estimate.result import Estimate
from alloygen.montecarlo.metadynamics import metadynamics
from alloygen.montecarlo.wang_landau import wang_landau
from alloygen.phase import PhaseDiagram

from . import Row, Truth

T = np.arange(200.0, 1201.0, 200.0)
MEET = 435.0


def density(walkers: int, attempts: float, seed: int) -> Iterator[Truth]:
    """mu = 0.02 eV; the heat capacity here is that of E - mu.N."""
    exact, mu = cuau_16(), np.array([0.0, 0.02])
    h, energy = exact.hamiltonian, np.asarray(exact.energy) - np.asarray(exact.counts) @ mu
    g = wang_landau(h, mu=mu, width=2e-4, walkers=walkers, max_attempts=attempts, schedule="1/t", seed=seed)
    for t in T:
        p = exact.at(t, mu).probabilities
        mean = float(p @ energy)
        yield "free energy", g.phi(t), exact.at(t, mu).phi
        yield "energy", g.energy_mean(t), mean / h.n_sites
        variance = float(p @ (energy - mean) ** 2)
        yield "heat capacity", g.heat_capacity(t), variance / (h.kB * t**2) / h.n_sites


def profile(production: int, seed: int) -> Iterator[Truth]:
    """F(x) at all compositions but the ends and their neighbours, which are exact; mean compositions and Phi that follow."""
    exact, h = cuau_16(), cuau_16().hamiltonian
    p = metadynamics(h, T, production=production, seed=seed)
    for t, f, error in zip(T, p.free_energy, p.stderr, strict=True):
        for n in range(2, 15):
            energy = exact.energy[exact.counts[:, 1] == n]
            truth = -h.kB * t * np.logaddexp.reduce(-energy / (h.kB * t)) / h.n_sites
            yield "F(x)", Estimate(f[n], error[n]), truth
        for mu in (-0.1, 0.0, 0.0724):
            at = exact.at(t, [0.0, mu])
            yield "composition", p.composition(t, {"Au": mu}), at.composition[1]
            yield "free energy", p.phi(t, {"Au": mu}), at.phi


def three_phases(noise: float, seed: int) -> Iterator[Truth]:
    """A line compound whose F rises by 1e-5 eV/K against two pure ends, with noise on every F."""
    grid, x = np.arange(300.0, 601.0, 25.0), np.linspace(0, 1, 41)
    f = np.minimum(2.0 * np.minimum(x**2, (1 - x) ** 2), 2.0 * (x - 0.5) ** 2 + 1e-5 * (grid[:, None] - MEET))
    error = np.where((x > 0) & (x < 1), noise, 0.0) * np.ones_like(f)
    f = f + error * np.random.default_rng(seed).normal(size=f.shape)
    points = PhaseDiagram.from_table(grid, x, f, error, elements=("A", "B"), seed=seed).invariants
    known = points[points["kind"] == "peritectoid"]
    yield (
        "peritectoid",
        Estimate(known["T"].iloc[0], known["T_stderr"].iloc[0])
        if len(known)
        else Estimate(np.nan, np.nan, "none found"),
        MEET,
    )


WALKS = ((4, 2e7), (1, 5e6), (4, 2e6), (1, 5e5))
ROWS = [
    *(
        Row(f"Wang-Landau, {w} walkers, {n:.0e} attempts", "CuAu 2x2x4", "200-1200 K", partial(density, w, n))
        for w, n in WALKS
    ),
    *(Row(f"metadynamics, {n} sweeps", "CuAu 2x2x4", "200-1200 K", partial(profile, n)) for n in (20_000, 2_000)),
    Row("three-phase point", "a line compound", "noise 1e-4 eV", partial(three_phases, 1e-4)),
    Row("three-phase point", "a line compound", "noise 2e-5 eV", partial(three_phases, 2e-5)),
]
