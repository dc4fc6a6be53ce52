"""Grids and ladders of conditions for replica exchange.

The exchange rate of neighbours at distance d in the reduced field of a quantity with standard deviation s is about
erfc(d s / 2) (Gaussian energies; Kofke, J. Chem. Phys. 117, 6911 (2002)), so a ladder of equal rates has equal steps of the
thermodynamic length, the integral of s.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from scipy.special import erfcinv

from alloygen.errors import AlloygenError
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.montecarlo.chains import Chains


def grid_pairs(n_T: int, n_mu: int) -> list[np.ndarray]:
    """Neighbouring conditions of a T x mu grid (T slow) as four sets of disjoint pairs: even/odd in T, even/odd in mu."""
    index = np.arange(n_T * n_mu).reshape(n_T, n_mu)
    sets = []
    for parity in (0, 1):
        a, b = index[parity:-1:2], index[parity + 1 :: 2]
        sets.append(np.column_stack([a.ravel(), b.ravel()]))
        a, b = index[:, parity:-1:2], index[:, parity + 1 :: 2]
        sets.append(np.column_stack([a.ravel(), b.ravel()]))
    return [s for s in sets if len(s)]


def ladder(hamiltonian: Hamiltonian, T, mu=None, *, T_max: float = np.inf, acceptance: float = 0.3, rounds: int = 3,
           sweeps: int = 400, seed: int = 0, threads: int = 1, occ=None, fixed=None, move: str = "flip") -> np.ndarray:  # fmt: skip
    """Temperatures for replica exchange that hold every one of ``T``, reach ``T_max``, and exchange at ``acceptance``.

    Pilot runs measure the standard deviation s of E - mu.N along the ladder; steps of equal thermodynamic length
    2 erfcinv(acceptance) in beta (see the module) are put between the given temperatures, ``rounds`` times over. Where
    exchange is then still rare, as at a first-order transition, steps are halved until it is not.

    Parameters
    ----------
    T : one or several temperatures that must be in the ladder
    mu : (n_elements,) or (nM, n_elements); with several the largest s at each temperature counts
    T_max : end of the ladder; infinity makes free energies absolute
    acceptance : mean exchange rate of neighbours, between 0.05 and 0.9
    sweeps : sweeps of each pilot run
    occ, fixed, move : as in Chains, for swaps and fixed sites

    Returns temperatures in rising order. Raises AlloygenError for an acceptance out of range.

    Examples
    --------
    >>> from alloygen.hamiltonian.ising import ising
    >>> T = ladder(ising(8), 2.0)
    >>> float(T[0]), float(T[-1]), 4 < len(T) < 15
    (2.0, inf, True)
    """
    if not 0.05 <= acceptance <= 0.9:
        raise AlloygenError(f"expected an exchange acceptance between 0.05 and 0.9, got {acceptance!r}")
    wanted = np.unique(np.append(np.atleast_1d(np.asarray(T, dtype=float)), T_max))
    wanted = wanted[wanted <= T_max]
    mu = np.zeros((1, len(hamiltonian.elements))) if mu is None else np.atleast_2d(np.asarray(mu, dtype=float))
    step, run = 2.0 * erfcinv(acceptance), dict(seed=seed, threads=threads, occ=occ, fixed=fixed, move=move)
    beta = np.sort(1.0 / (hamiltonian.kB * wanted))
    trial = _subdivide(beta, np.linspace(beta[0], beta[-1], 12))
    for _ in range(rounds):
        s = _spread(_pilot(hamiltonian, trial, mu, sweeps, **run), len(mu))
        length = np.append(0.0, np.cumsum(0.5 * (s[1:] + s[:-1]) * np.diff(trial)))
        marks = np.interp(beta, trial, length)
        inner = [np.linspace(a, b, max(1, int(np.ceil((b - a) / step))) + 1) for a, b in pairwise(marks)]
        trial = _subdivide(beta, np.interp(np.unique(np.concatenate(inner)) if inner else marks, length, trial))
    for k in range(2 * rounds):  # energies are not Gaussian at a transition: where exchange is still rare, halve the step
        rare = _rates(_pilot(hamiltonian, trial, mu, (k + 1) * sweeps, **run), len(trial)) < 0.6 * acceptance
        if not rare.any():
            break
        trial = _subdivide(trial, 0.5 * (trial[1:] + trial[:-1])[rare])
    return _temperatures(hamiltonian, trial, wanted)


def _subdivide(beta: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """``beta`` exactly, with those of ``inner`` that are not the same number up to rounding."""
    scale = max(beta[-1], 1e-300)
    other = inner[np.abs(inner[:, None] - beta[None]).min(1) > 1e-9 * scale]
    return np.sort(np.append(beta, other))


def _temperatures(h: Hamiltonian, beta: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        T = np.sort(1.0 / (h.kB * beta))
    for t in wanted:  # as they were given, not as 1 / (1 / T)
        T[np.argmin(np.abs(1.0 / T - 1.0 / t))] = t
    return T


def _pilot(h, beta, mu, sweeps, **run) -> tuple[Chains, np.ndarray]:
    """A short replica-exchange run at beta (rising) x mu: the chains, and E - mu.N of its last three quarters."""
    with np.errstate(divide="ignore"):
        T = 1.0 / (h.kB * beta)
    pairs = grid_pairs(len(T), 1)  # in T only
    pairs = [(p[:, None, :] * len(mu) + np.arange(len(mu))[None, :, None]).reshape(-1, 2) for p in pairs]
    chains = Chains(h, np.repeat(T, len(mu)), np.tile(mu, (len(T), 1)), pairs=pairs, **run)
    rounds, reduced = max(sweeps // 5, 10), []
    for k in range(rounds):
        chains.step(5)
        if k == rounds // 4:
            chains.reset_counters()
        if k >= rounds // 4:
            at, w = chains.replica_at, chains.walkers
            reduced.append(w.energy[at] - (w.counts[at] * chains.mu).sum(1))
    return chains, np.array(reduced)


def _spread(pilot, n_mu: int) -> np.ndarray:
    """Standard deviation of E - mu.N at each beta, the largest over mu."""
    s = np.std(pilot[1], axis=0).reshape(-1, n_mu).max(1)
    return np.maximum(s, 1e-3 * s.max() + 1e-12)


def _rates(pilot, n_beta: int) -> np.ndarray:
    """Exchange rate of each pair of neighbours in beta (n_beta - 1,), the smallest over mu."""
    chains, out = pilot[0], np.ones(n_beta - 1)
    for pairs, rates in zip(chains.pairs, chains.exchange_rates, strict=True):
        np.minimum.at(out, pairs[:, 0] // (len(chains.T) // n_beta), rates)
    return out
