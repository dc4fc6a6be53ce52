"""Random alloys of a parent lattice: the prior that a network for all of them is trained on.

The ECIs of figure number k = 1, 2, ... of the pairs, triplets and quadruplets are, in eV/site,

    J = s e^{z/2} size(order) k^{-fall(order)} z',     z, z' standard normal, anew for each figure,

with s = e^{z strength} common to all of an alloy, and a many-body figure is zero with probability ``sparse``; a share ``plain`` of the alloys has
the first two pairs alone, the second, per bond, -1 to 1 times the first. So there are alloys that order, that
separate, and frustrated ones, with few figures or all of them. The law knows beta J only, so temperatures are multiples of the alloy's own
scale (:mod:`alloygen.hamiltonian.scale`), and mu spans its phases.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from alloygen.arrays import as_tensor
from alloygen.conditions.record import Condition
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.hamiltonian.parents import Parent
from alloygen.hamiltonian.scale import scale
from alloygen.training.sections import PriorConfig

NEAR = 0.25  # kT of the alloy's scale, spread of chemical potentials about the middle
TINY = 1e-9  # eV, in place of 0: tables of all alloys have the same channels


@dataclass(frozen=True, kw_only=True, eq=False)
class Alloy:
    """One of the alloys: its number, its Hamiltonian on one supercell, samples occ (C, n, N) int8 at conditions (C,)."""

    number: int
    hamiltonian: Hamiltonian
    condition: Condition
    occ: torch.Tensor


def couplings(parent: Parent, prior: PriorConfig, number: int) -> np.ndarray:
    """The J (K,) of alloy ``number``."""
    rng = np.random.default_rng((prior.seed, number))
    strength = np.exp(prior.strength * rng.normal())
    J, rank = np.zeros(len(parent.figures)), 0
    for k, figure in enumerate(parent.figures):
        order = figure.order
        rank = 1 if k and parent.figures[k - 1].order != order else rank + 1
        size, fall = ([0.0, *prior.sizes][order - 1], [0.0, *prior.falls][order - 1])
        value = np.exp(rng.normal() / 2) * size * rank**-fall * rng.normal()
        absent = rng.random() < prior.sparse and order > 2
        J[k] = TINY if absent or order == 1 else strength * value
    return _plain(parent, J, rng) if prior.plain and rng.random() < prior.plain else J


def _plain(parent: Parent, J: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An alloy like J (K,) with the first two pairs alone; per bond the second is -1 to 1 times the first."""
    pairs = [k for k, figure in enumerate(parent.figures) if figure.order == 2][:2]
    bonds = [len(parent.figures[k].weights) for k in pairs]
    out = np.full_like(J, TINY)
    out[pairs[0]] = J[pairs[0]]
    out[pairs[1]] = J[pairs[0]] * bonds[1] / bonds[0] * rng.uniform(-1, 1)
    return out


def grid(h: Hamiltonian, prior: PriorConfig, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Temperatures (nT,) and differences of chemical potentials (nM,) for one alloy."""
    found = scale(h)
    T = found.T * np.geomspace(prior.T[0], prior.T[1], prior.n_T)
    low, high = found.beyond(prior.margin)[0]
    mu = rng.uniform(low, high, prior.n_mu)
    if prior.middle:
        near = rng.normal(scale=NEAR * found.kB * found.T, size=prior.middle)
        near[0] = 0.0
        mu[: prior.middle] = near  # J of the point is 0, so 0 is the middle
    return T, np.sort(mu)


def _conditions(prior: PriorConfig, number: int) -> np.random.Generator:
    """What the supercell and the conditions of alloy ``number`` are drawn from."""
    return np.random.default_rng((prior.seed, number, 1))


def place(prior: PriorConfig, number: int, n: int) -> int:
    """On which of n supercells alloy ``number`` is."""
    return int(_conditions(prior, number).integers(n))


def make(parent: Parent, prior: PriorConfig, cells: list, number: int) -> Alloy:
    """Alloy ``number`` on one of the supercells, and replica-exchange samples of it."""
    from alloygen.montecarlo.sampling import replica_exchange
    from alloygen.runtime.job import Job

    rng = _conditions(prior, number)
    h = parent.expansion(couplings(parent, prior, number)).on(cells[int(rng.integers(len(cells)))])
    T, mu = grid(h, prior, rng)
    s = replica_exchange(
        h,
        h.grid(T, np.column_stack([np.zeros(len(mu)), mu])),
        prior.samples,
        sweeps=prior.sweeps,
        burn=prior.burn,
        seed=int(rng.integers(2**31)),
        check=False,
        job=Job(threads=1, progress=False),
    )
    return Alloy(number=number, hamiltonian=h, condition=h.condition(s.T, s.mu), occ=as_tensor(s.occ, torch.int8))
