"""Walkers of a Hamiltonian, made the same way for every run that moves them."""

from __future__ import annotations

import numpy as np

from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.montecarlo import moves

MOST_STEPS = 2**60  # of any counter: more than a run can make


def make_walkers(h: Hamiltonian, occ: np.ndarray, rng: np.ndarray) -> moves.Walkers:
    """Walkers at ``occ`` (R, N), a copy, with random numbers from ``rng`` (R,) uint64 or longer.

    Examples
    --------
    >>> from alloygen.hamiltonian.ising import ising
    >>> from alloygen.montecarlo.rng import seeds
    >>> make_walkers(ising(3), np.zeros((2, 9)), seeds(0, 2)).energy
    array([-18., -18.])
    """
    rows = np.array(occ, dtype=np.int8, order="C")
    n = len(rows)
    walkers = moves.Walkers(
        occ=rows,
        states=np.zeros((n, h.n_sites * h.flip_tables.n_words), dtype=np.int64),
        energy=h.energy(rows),
        counts=h.counts(rows),
        rng=rng,
        accepted=np.zeros(n, dtype=np.int64),
        tried=np.zeros(n, dtype=np.int64),
    )
    moves.fill(h.flip_tables, walkers)
    return walkers


def share(accepted: np.ndarray, tried: np.ndarray, copies: int) -> np.ndarray:
    """Accepted share (C,) of what was tried, both (copies * C,) copy by copy; 0 where nothing was.

    >>> share(np.array([1, 0, 2, 0]), np.array([2, 2, 2, 2]), copies=2)
    array([0.75, 0.  ])
    """
    total = [x.reshape(copies, -1).sum(0) for x in (accepted, tried)]
    return total[0] / np.maximum(total[1], 1)
