"""The control: samples drawn from the exact law and handed to an Ensemble, so that nothing but the estimators is tried."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, partial

import numpy as np
import torch

import alloygen.data
from alloygen.arrays import as_array, as_tensor
from alloygen.exact.enumeration import Enumeration
from alloygen.hamiltonian.ising import ising
from alloygen.results.ensemble import Ensemble
from alloygen.results.provenance import Provenance

from . import Row, Truth


@cache
def table(system: str) -> Enumeration:
    return Enumeration(ising(4, h=0.05) if system == "Ising 4x4" else alloygen.data.cuau().on((2, 2, 4)))


def truths(ensemble: Ensemble, at, where: str = "") -> Iterator[Truth]:
    """Averages of an ensemble beside those of ``at`` = Enumeration.at(T, mu); ``where`` is put behind the quantity."""
    element = ensemble.elements[1]
    yield f"energy{where}", ensemble.mean_energy(), at.energy
    yield f"composition{where}", ensemble.composition(element), at.composition[1]
    yield f"heat capacity{where}", ensemble.heat_capacity(), at.heat_capacity
    yield f"susceptibility{where}", ensemble.susceptibility(element), susceptibility(ensemble, at)


def susceptibility(ensemble: Ensemble, at) -> float:
    """The exact one of the ensemble's second element."""
    n = table("CuAu 2x2x4" if ensemble.hamiltonian.unit == "eV" else "Ising 4x4").counts[:, 1]
    mean = float(at.probabilities @ n)
    return float(at.probabilities @ (n - mean) ** 2) / ensemble.kT / ensemble.n_sites


def drawn(system: str, T: float, mu: float, n: int, seed: int) -> Ensemble:
    """n independent samples of the exact law with their exact likelihood."""
    exact = table(system)
    law = exact.at(exact.hamiltonian.condition(T, [0.0, mu])).probabilities
    # rows by torch's generator, as the figures that are kept were made
    rows = as_array(
        torch.multinomial(as_tensor(law), n, replacement=True, generator=torch.Generator().manual_seed(seed))
    )
    occ = exact.occ[rows]
    h = exact.hamiltonian
    return Ensemble(
        h, occ, exact.energy[rows], np.log(law[rows]), T=T, mu=[0.0, mu], method="exact", facts=Provenance(seed=seed)
    )


def one(system: str, conditions: tuple, n: int, seed: int) -> Iterator[Truth]:
    for k, (T, mu) in enumerate(conditions):
        yield from truths(
            drawn(system, T, mu, n, 1000 * seed + k),
            table(system).at(table(system).hamiltonian.condition(T, [0.0, mu])),
        )


COLD = ((200.0, -0.18), (200.0, 0.12), (300.0, -0.12), (400.0, -0.24), (500.0, -0.24))
COEXISTING = ((300.0, 0.0724), (400.0, 0.07), (500.0, 0.03))
HOT = ((800.0, 0.0), (1000.0, -0.1), (1200.0, 0.1))
ROWS = [
    Row("exact draws, n = 1000", "CuAu 2x2x4", regime, partial(one, "CuAu 2x2x4", conditions, 1000))
    for regime, conditions in (("cold", COLD), ("coexistence", COEXISTING), ("disordered", HOT))
] + [
    Row("exact draws, n = 1000", "Ising 4x4", "critical", partial(one, "Ising 4x4", ((2.27, 0.0), (2.6, 0.1)), 1000)),
    Row("exact draws, n = 1000", "Ising 4x4", "cold", partial(one, "Ising 4x4", ((0.9, 0.0), (1.2, 0.2)), 1000)),
]
