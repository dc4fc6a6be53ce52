"""Configurations that come from a file, looked at before compiled code walks on them."""

from __future__ import annotations

import numpy as np

from alloygen.conditions.record import semigrand
from alloygen.errors import AlloygenError
from alloygen.hamiltonian.cluster import Hamiltonian

MOST = 20_000  # configurations whose energies are worked out anew; of more, as many spread over them
NEAR = 1e-7  # what sums of many changes of energy may be off, of the largest energy


def require_kept(
    h: Hamiltonian,
    occ: np.ndarray,
    energy: np.ndarray | None = None,
    counts: np.ndarray | None = None,
    mu: np.ndarray | None = None,
) -> None:
    """AlloygenError unless occupations (..., N) are of the species of their sites, and ``energy`` (...), less mu.N where ``mu``
    (n_elements,) is given, and numbers of atoms ``counts`` (..., n_elements) are theirs.

    Examples
    --------
    >>> from alloygen.hamiltonian.ising import ising
    >>> require_kept(ising(3), np.zeros((1, 9), dtype=np.int8), np.array([-17.0]))
    Traceback (most recent call last):
    alloygen.errors.AlloygenError: expected the energies of the configurations, got -17 where -18 is
    """
    rows = h.check(occ.reshape(-1, occ.shape[-1]))
    if len(rows) == 0:
        return
    at = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), MOST)).round().astype(int))
    if counts is not None and not np.array_equal(h.counts(rows), counts.reshape(len(rows), -1)):
        raise AlloygenError("expected the numbers of atoms of the configurations, got others")
    if energy is None:
        return
    found = energy.reshape(-1)[at]
    true = h.energy(rows[at])
    if mu is not None:
        true = semigrand(true, h.counts(rows[at]), mu)
    off = ~(np.abs(found - true) <= NEAR * max(1.0, float(np.abs(true).max())))
    if off.any():
        raise AlloygenError(
            f"expected the energies of the configurations, got {found[off][0]:.9g} where {true[off][0]:.9g} is"
        )


def require_held(occ: np.ndarray, start: np.ndarray, sites: np.ndarray) -> None:
    """AlloygenError unless occupations (..., N) hold what ``start`` (N,) or (..., N) does on all but ``sites``, which change."""
    held = np.setdiff1d(np.arange(occ.shape[-1]), sites)
    if (occ[..., held] != start[..., held]).any():
        raise AlloygenError("expected the held sites as they are held, got others")
