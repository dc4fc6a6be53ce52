"""Semigrand Metropolis and replica exchange over a grid of T and mu.

Every chain flips a uniform site to a uniform other species and accepts with min(1, exp(-beta (dE - dmu))). Replicas of
neighbouring conditions are exchanged, in T and in mu, with the probability that keeps the joint law

    min(1, exp[(b_a - b_b)(E_i - E_j) - (b_a mu_a - b_b mu_b).(N_i - N_j)]),      b = 1 / (kB T)

(Hukushima and Nemoto, J. Phys. Soc. Jpn. 65, 1604 (1996), with the semigrand energy in place of E).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from alloygen.errors import AlloygenError
from alloygen.hamiltonian import kernels
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.hamiltonian.lookup import sweep_lookup


@dataclass(frozen=True)
class Samples:
    """Monte Carlo samples by condition.

    T (C,), mu (C, n_elements), occ int8 (C, n, N), energy (C, n) per supercell, acceptance (C,) of flips,
    exchange: mean acceptance of swaps (nan without exchange).
    """

    T: np.ndarray
    mu: np.ndarray
    occ: np.ndarray
    energy: np.ndarray
    acceptance: np.ndarray
    exchange: float

    def __len__(self) -> int:
        return len(self.T)


class Chains:
    """One Markov chain per condition, advanced by compiled single flips, with optional exchange.

    ``chains.step(sweeps)`` moves every chain; ``chains.occ[chains.replica_at[c]]`` is the configuration at condition c.
    ``lookup=False`` takes the general kernel also where a lookup table applies.
    """

    def __init__(
        self, hamiltonian: Hamiltonian, T, mu, seed: int, pairs=None, occ=None, threads: int = 1, lookup: bool = True
    ):
        self.hamiltonian = hamiltonian
        self.T = np.asarray(T, dtype=float)
        self.mu = np.asarray(mu, dtype=float).reshape(len(self.T), -1)
        self.beta = 1.0 / (hamiltonian.kB * self.T)
        self.sites = np.flatnonzero(hamiltonian.lattice.n_species > 1)
        if len(self.sites) == 0:
            raise AlloygenError("expected at least one site with two species or more, got none: nothing can change")
        generator = torch.Generator().manual_seed(seed)
        start = hamiltonian.random(len(self.T), generator) if occ is None else hamiltonian.check(occ)
        self.occ = np.ascontiguousarray(start.numpy().astype(np.int8))
        self.energy = hamiltonian.energy(start).numpy().copy()
        self.counts = hamiltonian.counts(start).numpy().copy()
        seeds = np.random.SeedSequence(seed).generate_state(len(self.T) + 1, np.uint64)
        self.rng = np.ascontiguousarray(seeds)
        self.replica_at = np.arange(len(self.T))
        self.pairs = [np.asarray(p, dtype=np.int64) for p in (pairs or [])]
        self.tried = [np.zeros(len(p), dtype=np.int64) for p in self.pairs]
        self.swapped = [np.zeros(len(p), dtype=np.int64) for p in self.pairs]
        self.accepted = np.zeros(len(self.T), dtype=np.int64)
        self.attempts = 0
        self.round = 0
        self.lookup = hamiltonian.lookup if lookup else None
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None
        self._threads = threads

    def step(self, sweeps: int) -> None:
        """``sweeps`` attempts per site for every chain, then one set of exchanges."""
        h, n = self.hamiltonian, len(self.T)
        condition_of = np.empty(n, dtype=np.int64)
        condition_of[self.replica_at] = np.arange(n)
        beta, mu = self.beta[condition_of], self.mu[condition_of]
        attempts = sweeps * len(self.sites)
        accepted = np.zeros(n, dtype=np.int64)
        element = h.lattice.element_index[h.lattice.sublattice]

        def work(part):
            chains = (
                self.occ[part],
                self.energy[part],
                self.counts[part],
                beta[part],
                mu[part],
                self.rng[:-1][part],
                attempts,
                accepted[part],
                self.sites,
            )
            if self.lookup is not None:
                sweep_lookup(*chains, element, self.lookup)
            else:
                kernels.sweep_replicas(*chains, h.lattice.n_species, element, h.site_functions, h.trie)

        cuts = np.linspace(0, n, self._threads + 1).astype(int)
        parts = [slice(a, b) for a, b in pairwise(cuts) if b > a]
        list(self._pool.map(work, parts) if self._pool else map(work, parts))
        self.accepted += accepted[self.replica_at]
        self.attempts += attempts
        if self.pairs:
            k = self.round % len(self.pairs)
            kernels.exchange(
                self.pairs[k],
                self.replica_at,
                self.energy,
                self.counts,
                self.beta,
                self.mu,
                self.rng,
                n,
                self.tried[k],
                self.swapped[k],
            )
        self.round += 1

    def configurations(self) -> tuple[np.ndarray, np.ndarray]:
        """(occ (C, N) int8, energy (C,)) by condition."""
        return self.occ[self.replica_at], self.energy[self.replica_at]


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


def replica_exchange(
    hamiltonian: Hamiltonian,
    T,
    mu,
    n: int,
    *,
    sweeps: int = 10,
    burn: int = 200,
    seed: int = 0,
    progress: bool = False,
    threads: int = 1,
) -> Samples:
    """Sample a grid of temperatures T (nT,) and chemical potentials mu (nM, n_elements), exchanging in both.

    ``burn`` rounds of ``sweeps`` sweeps come first, then ``n`` samples per condition, ``sweeps`` apart. The result has
    C = nT * nM conditions, T slow. Same seed, same samples, for any number of threads.

    Examples
    --------
    >>> from alloygen.hamiltonian.ising import ising
    >>> s = replica_exchange(ising(4), [2.0, 3.0], [[0, 0.0], [0, 0.2]], n=10, burn=10)
    >>> s.occ.shape
    (4, 10, 16)
    """
    T, mu = np.atleast_1d(np.asarray(T, float)), np.atleast_2d(np.asarray(mu, float))
    chains = Chains(
        hamiltonian, np.repeat(T, len(mu)), np.tile(mu, (len(T), 1)), seed, grid_pairs(len(T), len(mu)), threads=threads
    )
    return _collect(chains, n, sweeps, burn, progress, "replica exchange")


def metropolis(
    hamiltonian: Hamiltonian,
    T,
    mu,
    n: int,
    *,
    sweeps: int = 10,
    burn: int = 200,
    seed: int = 0,
    progress: bool = False,
    threads: int = 1,
    occ=None,
) -> Samples:
    """Independent semigrand Metropolis chains at the conditions T (C,), mu (C, n_elements); see ``replica_exchange``."""
    chains = Chains(hamiltonian, np.atleast_1d(T), mu, seed, occ=occ, threads=threads)
    return _collect(chains, n, sweeps, burn, progress, "Metropolis")


def _collect(chains: Chains, n: int, sweeps: int, burn: int, progress: bool, title: str) -> Samples:
    if n < 1 or sweeps < 1 or burn < 0:
        raise AlloygenError(f"expected n >= 1, sweeps >= 1 and burn >= 0, got n={n}, sweeps={sweeps}, burn={burn}")
    from alloygen.progress import tqdm

    for _ in tqdm(range(burn), desc=f"{title}: equilibration", disable=not progress, leave=False):
        chains.step(sweeps)
    chains.accepted[:] = 0
    chains.attempts = 0
    for t in chains.tried + chains.swapped:
        t[:] = 0
    occ = np.empty((len(chains.T), n, chains.occ.shape[1]), dtype=np.int8)
    energy = np.empty((len(chains.T), n))
    bar = tqdm(range(n), desc=f"{title}: samples", disable=not progress, leave=False)
    for k in bar:
        chains.step(sweeps)
        occ[:, k], energy[:, k] = chains.configurations()
        if progress and k % 20 == 0:
            bar.set_postfix(acceptance=f"{chains.accepted.mean() / chains.attempts:.2f}")
    tried = sum(int(t.sum()) for t in chains.tried)
    swaps = sum(int(s.sum()) for s in chains.swapped) / tried if tried else float("nan")
    return Samples(chains.T, chains.mu, occ, energy, chains.accepted / chains.attempts, swaps)
