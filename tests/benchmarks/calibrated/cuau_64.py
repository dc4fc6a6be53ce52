"""CuAu 4x4x4, too large to enumerate: averages at six conditions from the neural model's weights and from long replica exchange.

``python -m calibrated.cuau_64`` in tests/benchmarks remakes the table in about an hour of a core.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import partial

import numpy as np
from ase.build import bulk

import alloygen
import alloygen.data
from alloygen.estimate.result import Estimate

from . import Row, Truth

NAMES = ("energy", "composition", "heat capacity", "susceptibility", "free energy")
# (T, mu of Au): (value, its standard error) of each, as NAMES
TRUTH = {
    (400, 0.0): ((-0.03595358, 2.4e-6), (0.4955485, 1.9e-4), (3.99272e-6, 2.4e-8), (1.836453, 0.083), (-0.03718508, 1.3e-6)),
    (400, 0.02): ((-0.03601023, 1.2e-6), (0.5000107, 4e-6), (3.34884e-6, 2.2e-8), (0.02057953, 1.4e-4), (-0.04717077, 1.3e-6)),
    (600, 0.0): ((-0.032659, 1.3e-5), (0.4776942, 3.9e-4), (4.613961e-5, 2.1e-7), (4.709938, 0.083), (-0.03823389, 3.3e-6)),
    (300, 0.0): ((-0.03615615, 1e-6), (0.4987981, 6.8e-5), (6.975278e-7, 2.9e-8), (0.7087015, 0.042), (-0.03690914, 1.1e-6)),
    (500, -0.05): ((-0.03355277, 6.8e-6), (0.2509036, 1.6e-5), (7.88984e-6, 8.9e-8), (0.05902352, 7e-4), (-0.02270345, 5.5e-7)),
    (300, 0.0724): ((-0.01790733, 6.1e-5), (0.746992, 7.6e-4), (7.823623e-4, 8e-6), (38.13809, 0.4), (-0.07389413, 1.5e-6)),
}  # fmt: skip
NEURAL, LONG = range(11, 17), range(1000, 1003)  # seeds


def averages(ens) -> list[tuple[float, float]]:
    found = ens.mean_energy(), ens.composition("Au"), ens.heat_capacity(), ens.susceptibility("Au"), ens.free_energy()
    return [(f.value, f.stderr) for f in found]


def remade() -> Iterator[tuple[tuple[float, float], list[tuple[float, float]]]]:
    """Six times 4,000 weighted draws, and three runs of 10,000 to 12,000 samples, each by the larger of its bars and its scatter.

    At (400 K, .02), deep in a single phase, averages are those of replica exchange alone.
    """
    atoms, found = bulk("Cu", a=3.8).repeat(4), {k: ([], []) for k in TRUTH}
    for seed in NEURAL:
        for T, mu in TRUTH:
            found[T, mu][0].append(averages(alloygen.sample(atoms, T, {"Au": mu}, n=4000, seed=seed)))
    for seed in LONG:
        for T, mu, n in (([400, 600], [0, 0.02], 12_000), ([500], [-0.05], 10_000), ([300], [0], 10_000)):
            for ens in alloygen.mc(atoms, T=T, mu={"Au": mu}, n=n, seed=seed):
                if (key := (ens.T, round(float(ens.mu[1]), 4))) in TRUTH:
                    found[key][1].append(averages(ens))
    for key, both in found.items():
        row = []
        for q, name in enumerate(NAMES):
            parts = [np.array(runs)[:, q] for runs in both if runs]
            if key == (400, 0.02) and name != "free energy":
                parts = parts[1:]
            parts = [p[np.isfinite(p[:, 1])] for p in parts]
            value = np.array([p[:, 0].mean() for p in parts])
            error = [max(np.sqrt((p[:, 1] ** 2).sum()) / len(p), p[:, 0].std(ddof=1) / np.sqrt(len(p))) for p in parts]
            w = 1.0 / np.square(error)
            row.append((float((w * value).sum() / w.sum()), float(w.sum() ** -0.5)))
        yield key, row


def exchanged(
    T: tuple[float, ...], mu: tuple[float, ...], at: tuple[tuple[float, float], ...], seed: int
) -> Iterator[Truth]:
    """alloygen.mc; ``at`` are the conditions whose averages are known."""
    scan = alloygen.mc(alloygen.data.cuau().on((4, 4, 4)), T=T, mu={"Au": mu}, n=1000, seed=seed, check=False)
    for where in at:
        ens = scan.at(where[0], {"Au": where[1]})
        for name, (value, error), (truth, _) in zip(NAMES, averages(ens), TRUTH[where], strict=True):
            yield f"{name} at {where[0]:g}, {where[1]:g}", Estimate(value, error), truth


def error_of(quantity: str) -> float:
    """Of the truth itself."""
    name, where = quantity.split(" at ")
    T, mu = map(float, where.split(", "))
    return TRUTH[T, mu][NAMES.index(name)][1]


TWO = partial(exchanged, (400.0, 600.0), (0.0, 0.02), ((400, 0.0), (400, 0.02), (600, 0.0)))
THREE = partial(exchanged, (300.0, 500.0), (-0.05, 0.0, 0.0724), ((300, 0.0), (300, 0.0724), (500, -0.05)))
ROWS = [
    Row("replica exchange", "CuAu 4x4x4", "between two phases", TWO, error_of),
    Row("replica exchange", "CuAu 4x4x4", "three phases, mu apart", THREE, error_of),
]


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    for key, row in remade():
        print(f"    {key}: ({', '.join(f'({a:.7g}, {b:.2g})' for a, b in row)}),")
