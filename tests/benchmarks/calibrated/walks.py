"""Wang-Landau and metadynamics on CuAu 2x2x4 against enumeration, and a three-phase point whose temperature is known."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, partial

import numpy as np
from small_systems import cuau_16

from alloygen.estimate.result import Estimate
from alloygen.exact.ising import kaufman_log_z
from alloygen.hamiltonian.ising import ising
from alloygen.montecarlo.metadynamics import Stages, metadynamics
from alloygen.montecarlo.wang_landau import Bins, Schedule, wang_landau
from alloygen.results.phase_diagram import PhaseDiagram

from . import Row, Truth

T = np.arange(200.0, 1201.0, 200.0)
MEET = 435.0


def density(options: dict, seed: int) -> Iterator[Truth]:
    """mu = 0.02 eV; the heat capacity here is that of E - mu.N."""
    exact, mu = cuau_16(), np.array([0.0, 0.02])
    h, energy = exact.hamiltonian, np.asarray(exact.energy) - np.asarray(exact.counts) @ mu
    g = wang_landau(h, mu, seed=seed, **options)
    for t in T:
        p = exact.at(exact.hamiltonian.condition(t, mu)).probabilities
        mean = float(p @ energy)
        yield "free energy", g.phi(t), exact.at(exact.hamiltonian.condition(t, mu)).phi
        yield "energy", g.energy_mean(t), mean / h.n_sites
        variance = float(p @ (energy - mean) ** 2)
        yield "heat capacity", g.heat_capacity(t), variance / (h.kB * t**2) / h.n_sites


def spins(L: int, options: dict, seed: int) -> Iterator[Truth]:
    """The Ising model at h = 0 against Kaufman, by central differences of log Z in beta."""
    g = wang_landau(ising(L), seed=seed, **options)
    for t in (1.5, 2.0, 2.27, 2.6, 3.5):
        f, e, c = kaufman(L, t)
        yield "free energy", g.phi(t), f
        yield "energy", g.energy_mean(t), e
        yield "heat capacity", g.heat_capacity(t), c


@cache
def kaufman(L: int, T: float, step: float = 1e-3) -> tuple[float, float, float]:
    """(F, E, C) per site."""
    low, here, high = (kaufman_log_z(L, L, 1 / (1 / T + d)) / L**2 for d in (-step, 0.0, step))
    return -T * here, -(high - low) / (2 * step), (high - 2 * here + low) / (step * T) ** 2


def profile(production: int, seed: int) -> Iterator[Truth]:
    """F(x) at all compositions but the ends and their neighbours, which are exact; mean compositions and Phi that follow."""
    exact, h = cuau_16(), cuau_16().hamiltonian
    p = metadynamics(h, T, stages=Stages(production=production), seed=seed)
    for t, f, error in zip(T, p.free_energy, p.stderr, strict=True):
        for n in range(2, 15):
            energy = exact.energy[exact.counts[:, 1] == n]
            truth = -h.kB * t * np.logaddexp.reduce(-energy / (h.kB * t)) / h.n_sites
            yield "F(x)", Estimate(f[n], error[n]), truth
        for mu in (-0.1, 0.0, 0.0724):
            at = exact.at(exact.hamiltonian.condition(t, [0.0, mu]))
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


def short(walkers: int, attempts: float) -> Row:
    options = dict(bins=Bins(width=2e-4), schedule=Schedule(kind="1/t", max_attempts=attempts), walkers=walkers)
    name = f"Wang-Landau, {walkers} walkers, {attempts:.0e} attempts"
    return Row(name, "CuAu 2x2x4", "200-1200 K", partial(density, options))


LONG = Schedule(max_attempts=2e7)
ROWS = [
    *(short(w, n) for w, n in ((4, 2e7), (1, 5e6), (4, 8e6), (1, 1e6), (4, 2e6), (1, 5e5))),
    Row("Wang-Landau, defaults", "CuAu 2x2x4", "200-1200 K", partial(density, {})),
    Row("Wang-Landau, defaults", "Ising 4x4", "1.5-3.5", partial(spins, 4, {})),
    Row("Wang-Landau, 2e+07 attempts", "Ising 10x10", "1.5-3.5", partial(spins, 10, dict(schedule=LONG))),
    Row("Wang-Landau, transitions", "Ising 4x4", "1.5-3.5", partial(spins, 4, dict(bins=Bins(transitions=True)))),
    Row(
        "Wang-Landau, transitions, 2e+07 attempts",
        "Ising 10x10",
        "1.5-3.5",
        partial(spins, 10, dict(bins=Bins(transitions=True), schedule=LONG)),
    ),
    *(Row(f"metadynamics, {n} sweeps", "CuAu 2x2x4", "200-1200 K", partial(profile, n)) for n in (20_000, 2_000)),
    Row("three-phase point", "a line compound", "noise 1e-4 eV", partial(three_phases, 1e-4)),
    Row("three-phase point", "a line compound", "noise 2e-5 eV", partial(three_phases, 2e-5)),
]
