"""Walkers of a Hamiltonian, made the same way for every run that moves them."""

from __future__ import annotations

import numpy as np
import torch

from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.montecarlo import moves


def make_walkers(h: Hamiltonian, occ: np.ndarray, rng: np.ndarray) -> moves.Walkers:
    """Walkers at ``occ`` (R, N), a copy, with random numbers from ``rng`` (R,) uint64 or longer.

    Examples
    --------
    >>> from alloygen.hamiltonian.ising import ising
    >>> from alloygen.montecarlo.rng import seeds
    >>> make_walkers(ising(3), np.zeros((2, 9)), seeds(0, 2)).energy
    array([-18., -18.])
    """
    rows = torch.as_tensor(np.asarray(occ, dtype=np.int64))
    n = len(rows)
    walkers = moves.Walkers(
        occ=np.array(occ, dtype=np.int8, order="C"),
        states=np.zeros((n, h.n_sites * h.flip_tables.n_words), dtype=np.int64),
        energy=h.energy(rows).numpy().copy(),
        counts=h.counts(rows).numpy().copy(),
        rng=rng,
        accepted=np.zeros(n, dtype=np.int64),
        tried=np.zeros(n, dtype=np.int64),
    )
    moves.fill(h.flip_tables, walkers)
    return walkers
