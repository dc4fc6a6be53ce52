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
WARM = ((800.0, -0.3), (1000.0, -0.24), (1200.0, 0.18))


def entropy(ensemble: alloygen.Ensemble, at) -> Truth:
    return "entropy", ensemble.entropy(), (at.energy - float(at.composition @ at.mu) - at.phi) / at.T


def exact(conditions: tuple, n: int, seed: int) -> Iterator[Truth]:
    for k, (T, mu) in enumerate(conditions):
        at, ensemble = table("CuAu 2x2x4").at(T, [0.0, mu]), drawn("CuAu 2x2x4", T, mu, n, 5000 + 1000 * seed + k)
        yield from truths(ensemble, at)
        yield entropy(ensemble, at)


def neural(conditions: tuple, seed: int) -> Iterator[Truth]:
    torch.set_num_threads(1)
    for k, (T, mu) in enumerate(conditions):
        ensemble = alloygen.sample(
            bulk("Cu", a=3.8).repeat((2, 2, 4)), T=T, mu={"Au": mu}, n=1000, seed=1000 * seed + k
        )
        yield from truths(ensemble, table("CuAu 2x2x4").at(T, [0.0, mu]))


ROWS = [
    Row("exact draws, n = 10000", "CuAu 2x2x4", "cold", partial(exact, DEEP, 10_000)),
    Row("exact draws, n = 200", "CuAu 2x2x4", "cold", partial(exact, DEEP, 200)),
    Row("exact draws, n = 1000", "CuAu 2x2x4", "two phases", partial(exact, BALANCED, 1000)),
    Row("exact draws, n = 1000", "CuAu 2x2x4", "warm", partial(exact, WARM, 1000)),
    Row("neural, n = 1000", "CuAu 2x2x4", "cold", partial(neural, DEEP[:4])),
]
