"""Weights with a tail: synthetic ones, cells painted from a smaller model, and compositions of which few draws are seen."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from functools import cache, partial

import numpy as np
from ase.build import bulk

import alloygen
import alloygen.data
from alloygen.arrays import as_array
from alloygen.estimate import thermo
from alloygen.estimate.free_energy import free_energy
from alloygen.estimate.pool import from_likelihood
from alloygen.estimate.result import Estimate
from alloygen.exact.ising import kaufman_free_energy
from alloygen.results import canonical

from . import Row, Truth
from .exact_draws import table

LOG_NORMAL = (0.3, 1.0, 1.5, 2.0)  # NESS .91, .37, .11, .02
PARETO = (0.2, 0.4, 0.5, 0.6)
PHASES = ((0.2, 0.7), (0.1, 0.6), (0.1, 0.01), (0.5, 0.05))  # chance in q, weight in p


REPEATS = 10


def log_weights(family: str, case, n: int, rng: np.random.Generator) -> tuple[np.ndarray, float, np.ndarray]:
    """(log w (n,), log Z, which draws (n,) are of the rare phase). One of them is, in every sample: no estimate can count a phase that was
    never drawn, as it happens in (1 - q)^n of the samples."""
    if family == "two phases":
        q, p = case
        rare = np.zeros(n, bool)
        while not rare.any():
            rare = rng.random(n) < q
        return (
            0.3 * rng.normal(size=n) + np.where(rare, math.log(p / q), math.log((1 - p) / (1 - q))),
            0.045,
            rare,
        )
    if family == "Pareto":
        return case * rng.exponential(size=n), -math.log(1 - case), np.zeros(n, bool)
    return case * rng.normal(size=n), case**2 / 2, np.zeros(n, bool)


def synthetic(family: str, n: int, seed: int) -> Iterator[Truth]:
    """log Z of weights whose law is known, and the average of a phase's indicator, ten times."""
    cases = {"log-normal": LOG_NORMAL, "Pareto": PARETO, "two phases": PHASES}[family]
    for (k, case), repeat in itertools.product(enumerate(cases), range(REPEATS)):
        log_w, log_z, rare = log_weights(family, case, n, np.random.default_rng([seed, k, n, repeat]))
        if family == "two phases":
            yield "share of a phase", thermo.mean(rare, log_w, quantum=1.0), case[1]
        yield f"log Z, {case}", free_energy(log_w, 1.0, 1), -log_z


@cache
def reference(T: float, mu: float) -> tuple[float, float]:
    """(Phi, x) of CuAu on 4x4x8 by the shipped Monte Carlo reference."""
    known = alloygen.data.cuau_reference().free_energy.sel(T=T)
    n, kT = known.n_Au.values, alloygen.data.cuau().kB * T
    log_p = -(128 * known.values.astype(float) - mu * n) / kT
    top = log_p.max()
    p = np.exp(log_p - top)
    return -kT * (top + math.log(p.sum())) / 128, float(p @ n / p.sum() / 128)


def painted(conditions: tuple, n: int, seed: int) -> Iterator[Truth]:
    for T, mu in conditions:
        made = alloygen.sample(bulk("Cu", a=3.8).repeat((4, 4, 8)), T, {"Au": mu}, n=n, seed=900 + seed)
        phi, x = reference(T, mu)
        yield f"phi {T:g} K, {mu:g}", made.free_energy(), phi
        yield f"composition {T:g} K, {mu:g}", made.composition("Au"), x


def at_compositions(T: float, Tq: float, mu: tuple, n: int, seed: int) -> Iterator[Truth]:
    """F, energy and heat capacity at each composition from draws of a hotter law, with 2 % of it uniform."""
    e, rng = table("CuAu 2x2x4"), np.random.default_rng(seed)
    h, energy, counts = e.hamiltonian, np.asarray(e.energy), np.asarray(e.counts, dtype=float)
    beta, drawn, occ = 1.0 / (h.kB * T), [], []
    for m in mu:
        u = (energy - counts[:, 1] * m) / (h.kB * Tq)
        p = np.exp(u.min() - u)
        p = 0.98 * p / p.sum() + 0.02 / len(p)
        rows = rng.choice(len(p), n, p=p)
        drawn.append((energy[rows], counts[rows], np.log(p[rows])))
        occ.append(e.occ[rows])
    pool = from_likelihood(
        np.full(len(mu), beta), np.stack([np.zeros(len(mu)), beta * np.array(mu)], -1), *map(np.array, zip(*drawn, strict=True)), seed=seed
    )  # fmt: skip
    found = canonical.free_energies(pool, h, [T], occ=np.concatenate(occ))
    for k, name in itertools.product(range(1, 16), ("free_energy", "energy", "heat_capacity")):
        value = float(found[name][0, k])
        if np.isfinite(value):
            made = Estimate(value, float(found[f"{name}_stderr"][0, k]))
            few = ", fewer than 10 samples" if float(found["effective_samples"][0, k]) < 10 else ""
            yield f"{name} at x{few}", made, fixed_composition(T)[name][k]


@cache
def fixed_composition(T: float) -> dict[str, list[float]]:
    """Exact canonical F, energy and heat capacity per site by the number of gold atoms."""
    e = table("CuAu 2x2x4")
    h, energy, gold = e.hamiltonian, np.asarray(e.energy), np.asarray(e.counts)[:, 1]
    kT, out = h.kB * T, {"free_energy": [], "energy": [], "heat_capacity": []}
    for k in range(17):
        u = energy[gold == k]
        p = np.exp((u.min() - u) / kT)
        out["free_energy"].append((u.min() - kT * math.log(p.sum())) / 16)
        p /= p.sum()
        out["energy"].append(float(p @ u) / 16)
        out["heat_capacity"].append(h.kB / kT**2 * float(p @ (u - p @ u) ** 2) / 16)
    return out


def ising(T: tuple, n: int, seed: int) -> Iterator[Truth]:
    """Cells of 15 x 15 painted from the model of 10 x 10, beside Kaufman: four samples of n."""
    import torch

    from alloygen.generate.outpaint import Outpainter

    model = alloygen.load("ising_10x10")
    h = alloygen.ising(15)
    for t in T:
        made = Outpainter(model, h).draw(h.condition(t, [0.0, 0.0]), 4 * n, torch.Generator().manual_seed(seed))
        log_w = as_array(-h.energy(made.occ) / t - made.log_prob)
        for part in log_w.reshape(4, n):
            yield f"phi T = {t:g}", free_energy(part, t, 225), kaufman_free_energy(15, t)


def islands_of_ising(T: float, n: int, islands: int, seed: int) -> Iterator[Truth]:
    """The same cells, resampled along the windows."""
    import torch

    from alloygen.generate.outpaint import Outpainter
    from alloygen.generate.sequential import sequential

    painter = Outpainter(alloygen.load("ising_10x10"), alloygen.ising(15))
    made = sequential(painter, painter.target.condition(T, [0.0, 0.0]), n, torch.Generator().manual_seed(seed), islands)
    yield f"phi T = {T:g}", made.phi(), kaufman_free_energy(15, T)


def annealed(conditions: tuple, n: int, steps: int, islands: int, seed: int) -> Iterator[Truth]:
    """log Z of random configurations annealed down in so many steps, five times."""

    from alloygen.generate.annealed import anneal

    e = table("CuAu 2x2x4")
    h = e.hamiltonian
    for (k, (T, mu)), repeat in itertools.product(enumerate(conditions), range(5)):
        own = 1000 * seed + 10 * k + repeat
        occ = h.random(n, own)
        path = 1.0 / np.linspace(1e-9, 1.0 / T, steps + 1)
        mus = np.tile([0.0, mu], (steps + 1, 1))
        made = anneal(h, occ, np.full(n, 16 * math.log(2)), h.condition(path, mus), sweeps=1, seed=own, islands=islands)
        yield f"log Z {T:g} K, {mu:g}", made.log_z(), -16 * e.at(e.hamiltonian.condition(T, [0.0, mu])).phi / (h.kB * T)


def reweighted(n: int, seed: int) -> Iterator[Truth]:
    """Energy and heat capacity from draws of another condition, four times: a hotter one (NESS .64) and another field (NESS .04)."""
    e = table("CuAu 2x2x4")
    h, energy = e.hamiltonian, np.asarray(e.energy)

    def law(T: float, mu: float) -> np.ndarray:
        u = (energy - np.asarray(e.counts)[:, 1] * mu) / (h.kB * T)
        p = np.exp(u.min() - u)
        return p / p.sum()

    for k, (at, drawn) in enumerate([((500.0, 0.0), (700.0, 0.0)), ((700.0, 0.0), (700.0, 0.08))]):
        p, q = law(*at), law(*drawn)
        mean = float(p @ energy)
        truth, name = float(p @ (energy - mean) ** 2), ("NESS .64", "NESS .04")[k]
        for repeat in range(4):
            rows = np.random.default_rng([seed, k, repeat, n]).choice(len(p), n, p=q)
            log_w = np.log(p[rows] / q[rows])
            yield f"energy, {name}", thermo.mean(energy[rows], log_w), mean
            yield f"heat capacity, {name}", thermo.fluctuation(energy[rows], log_w=log_w), truth


def reference_error(quantity: str) -> float:
    """Standard error of the Monte Carlo reference: of F, in eV per site, and of x."""
    return 6e-6 if quantity.startswith("phi") else 6.4e-4 if "300 K" in quantity else 1.7e-4


COLD, WARM = (300.0, 0.02), (600.0, 0.05)


ROWS = [
    Row(f"weights, n = {n}", family, "tails", partial(synthetic, family, n))
    for family in ("log-normal", "Pareto", "two phases")
    for n in (32, 128, 1000, 10_000)
] + [
    *(Row(f"weights, n = {n}", "CuAu 2x2x4", "another condition", partial(reweighted, n)) for n in (128, 1000)),
    Row(
        "painted, n = 128",
        "CuAu 4x4x8",
        "disordered",
        partial(painted, ((700.0, 0.0), (800.0, -0.05)), 128),
        reference_error,
    ),
    Row("painted, n = 128", "CuAu 4x4x8", "coexistence", partial(painted, ((300.0, 0.0724),), 128), reference_error),
    Row("painted, n = 64", "Ising 15x15", "disordered", partial(ising, (2.5,), 64)),
    Row("sequential, 16 islands", "Ising 15x15", "disordered", partial(islands_of_ising, 2.5, 256, 16)),
    Row("annealed, n = 128", "CuAu 2x2x4", "10 steps", partial(annealed, (COLD, WARM), 128, 10, 0)),
    Row("annealed, n = 128", "CuAu 2x2x4", "100 steps", partial(annealed, (COLD, WARM), 128, 100, 0)),
    Row("annealed, 16 islands", "CuAu 2x2x4", "30 steps", partial(annealed, (COLD, WARM), 512, 30, 16)),
    Row("pool, n = 200", "CuAu 2x2x4", "cold", partial(at_compositions, 300.0, 350.0, (-0.12, 0.0, 0.0724, 0.1), 200)),
    Row("pool, n = 100", "CuAu 2x2x4", "few of each", partial(at_compositions, 400.0, 600.0, (-0.1, 0.0, 0.07), 100)),
    Row("pool, n = 100", "CuAu 2x2x4", "disordered", partial(at_compositions, 700.0, 900.0, (0.0,), 100)),
]
