"""Samples deep in one phase: rare states carry the fluctuations. Exact draws in small and large numbers, and the shipped model."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from ase.build import bulk

import alloygen

from . import Row, Truth
from .exact_draws import drawn, table, truths

DEEP = ((200.0, -0.18), (200.0, 0.12), (400.0, -0.24), (500.0, -0.24), (300.0, 0.12))
BALANCED = ((300.0, -0.13), (400.0, 0.06), (400.0, 0.0))  # a second phase has a share of the samples
MILD = (
    (700.0, -0.24),
    (400.0, 0.12),
    (500.0, 0.15),
    (700.0, 0.2),
    (500.0, -0.12),
)  # the cheapest flip costs 3.7 to 4.5 kT
WARM = ((800.0, -0.3), (1000.0, -0.24), (1200.0, 0.18))


LARGE = ((300.0, 0.0), (300.0, -0.24), (400.0, 0.0724))
# (value, standard error) of CuAu 4x4x4 by replica exchange with n = 12,000, made by
#   ens = alloygen.mc(bulk("Cu", a=3.8).repeat(4), T=[T], mu={"Au": [mu]}, n=12_000, seed=77)[0]
KNOWN = {
    (300.0, 0.0): {"energy": (-0.0361565737, 8.4e-7), "composition": (0.49893411, 9.5e-5), "heat capacity": (6.9623e-7, 1.68e-8),
                   "susceptibility": (0.6308, 0.0585)},
    (300.0, -0.24): {"energy": (8.5548e-7, 2.41e-8), "composition": (2.82051e-5, 7.93e-7), "heat capacity": (3.34909e-9, 9.42e-11),
                     "susceptibility": (1.092318e-3, 3.06e-5)},
    (400.0, 0.0724): {"energy": (-0.0059175, 2.77e-4), "composition": (0.849003, 3.15e-3), "heat capacity": (3.92258e-4, 3.34e-5),
                      "susceptibility": (18.7786, 1.82)},
}  # fmt: skip


def entropy(ensemble: alloygen.Ensemble, at) -> Truth:
    return "entropy", ensemble.entropy(), (at.energy - float(at.composition @ at.mu) - at.phi) / at.T


def exact(conditions: tuple, n: int, seed: int) -> Iterator[Truth]:
    for k, (T, mu) in enumerate(conditions):
        at, ensemble = (
            table("CuAu 2x2x4").at(table("CuAu 2x2x4").hamiltonian.condition(T, [0.0, mu])),
            drawn("CuAu 2x2x4", T, mu, n, 5000 + 1000 * seed + k),
        )
        yield from truths(ensemble, at)
        yield entropy(ensemble, at)


def neural(conditions: tuple, seed: int) -> Iterator[Truth]:
    torch.set_num_threads(1)
    for k, (T, mu) in enumerate(conditions):
        ensemble = alloygen.sample(
            bulk("Cu", a=3.8).repeat((2, 2, 4)), T=T, mu={"Au": mu}, n=1000, seed=1000 * seed + k
        )
        at = table("CuAu 2x2x4").at(table("CuAu 2x2x4").hamiltonian.condition(T, [0.0, mu]))
        yield from truths(ensemble, at)
        yield entropy(ensemble, at)


def large(seed: int) -> Iterator[Truth]:
    """The shipped model on 64 sites; the error of the truth is added to the bar by the row."""
    torch.set_num_threads(1)
    for k, (T, mu) in enumerate(LARGE):
        made = alloygen.sample(bulk("Cu", a=3.8).repeat(4), T=T, mu={"Au": mu}, n=200, seed=1000 * seed + k)
        got = {"energy": made.mean_energy(), "composition": made.composition("Au"), "heat capacity": made.heat_capacity(),
               "susceptibility": made.susceptibility("Au")}  # fmt: skip
        for quantity, (truth, _) in KNOWN[T, mu].items():
            yield f"{quantity} @{T:g}, {mu:g}", got[quantity], truth


def uncertainty(quantity: str) -> float:
    name, _, condition = quantity.partition(" @")
    T, mu = map(float, condition.split(", "))
    return KNOWN[T, mu][name][1]


ROWS = [
    Row("exact draws, n = 10000", "CuAu 2x2x4", "cold", partial(exact, DEEP, 10_000)),
    Row("exact draws, n = 200", "CuAu 2x2x4", "cold", partial(exact, DEEP, 200)),
    *(
        Row(f"exact draws, n = {n}", "CuAu 2x2x4", "flips of 4 kT", partial(exact, MILD, n))
        for n in (200, 1000, 10_000)
    ),
    Row("exact draws, n = 1000", "CuAu 2x2x4", "two phases", partial(exact, BALANCED, 1000)),
    Row("exact draws, n = 1000", "CuAu 2x2x4", "warm", partial(exact, WARM, 1000)),
    Row("neural, n = 1000", "CuAu 2x2x4", "cold", partial(neural, DEEP[:4])),
    Row("neural, n = 200", "CuAu 4x4x4", "cold", large, uncertainty),
]
