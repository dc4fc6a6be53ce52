"""Packed Ising replicas as chains of a sampler: many copies of each condition, moved by one instruction for hundreds."""

from __future__ import annotations

import numpy as np

from alloygen.arguments import seed_from, whole_number
from alloygen.errors import AlloygenError, BadCondition
from alloygen.hamiltonian.ising import ising
from alloygen.montecarlo.multispin import BLOCK, PackedIsing
from alloygen.montecarlo.single_moves import Flip
from alloygen.montecarlo.walkers import MOST_STEPS, share
from alloygen.runtime.tensors import matching, require_range
from alloygen.types import ArrayLike


class PackedChains:
    """``copies`` chains of packed flips at each temperature T and field h, with the attributes of the single-flip chains.

    Parameters
    ----------
    L, J : side and coupling of the square lattice, as in :class:`~alloygen.montecarlo.multispin.PackedIsing`
    T, h : temperatures and fields, numbers or (C,); the field is told as mu = (-h, h) of the Hamiltonian without one
    copies : chains of each condition, numbered copy * C + condition; by default as many as fill a block of 1024
    seed : the same seed and arguments give the same run

    Replicas at different conditions share the order of sites, and no random numbers. ``accepted`` (R,) counts the flips of the last sweep of
    each step: a sweep comes to every site once, so that a site has flipped where it is another afterwards. ``attempts`` (R,) counts sites.

    Raises BadCondition and AlloygenError as PackedIsing does, and for T and h that do not go together.

    Examples
    --------
    >>> chains = PackedChains(4, [2.0, 3.0], 0.1)
    >>> chains.step(5)
    >>> occ, energy = chains.configurations()
    >>> occ.shape, bool((energy == chains.hamiltonian.energy(occ)).all())
    ((1024, 16), True)
    """

    keeps_composition = False
    move = Flip()

    def __init__(
        self, L: int, T: ArrayLike, h: ArrayLike = 0.0, J: float = 1.0, copies: int | None = None, seed: int = 0
    ):
        try:
            T, h = np.broadcast_arrays(np.atleast_1d(np.asarray(T, float)), np.asarray(h, float))
        except (TypeError, ValueError):
            raise BadCondition(
                f"expected T and h as numbers or as arrays of one length (C,), got {T!r} and {h!r}"
            ) from None
        self.copies = max(BLOCK // len(T), 1) if copies is None else whole_number(copies, "copies")
        self.T, self.mu = T.copy(), np.column_stack([-h, h])
        self._replicas = PackedIsing(L, np.tile(T, self.copies), np.tile(h, self.copies), J, seed=seed_from(seed))
        self.hamiltonian = ising(self._replicas.L, J=J)
        self.beta, self.sites = 1.0 / self.T, np.arange(self._replicas.n_sites)
        self.accepted, self.attempts = np.zeros((2, self._replicas.n_replicas), dtype=np.int64)

    def step(self, sweeps: int) -> None:
        """``sweeps`` attempts on every site of every chain."""
        if not whole_number(sweeps, "sweeps", 0):
            return
        self._replicas.sweep(sweeps - 1)
        before = self._replicas.words.copy()
        self._replicas.sweep(1)
        self.accepted += self._replicas.flipped(before)
        self.attempts += len(self.sites)

    def configurations(self) -> tuple[np.ndarray, np.ndarray]:
        """(occ (R, N) int8, energy (R,) without the field)."""
        return self._replicas.spins(), self._replicas.bond_energy()

    @property
    def log_states(self) -> float | None:
        """Log of the number of configurations, the log Z of T = infinity."""
        return self.move.log_states(self.hamiltonian.lattice, self.sites, self._replicas.spins())

    @property
    def acceptance(self) -> np.ndarray:
        """Accepted share of the attempts at each condition, over all copies (C,)."""
        return share(self.accepted, self.attempts, self.copies)

    def reset_counters(self) -> None:
        """Start the statistics of acceptance anew (after equilibration)."""
        self.accepted[:] = self.attempts[:] = 0

    def state(self) -> dict[str, np.ndarray]:
        """All arrays that a continued run needs (copies of them), by name."""
        counted = {"accepted": self.accepted.copy(), "attempts": self.attempts.copy()}
        return {
            "words": self._replicas.words.copy(),
            "rng": self._replicas.rng.copy(),
            "occ": self._replicas.spins(),
        } | counted

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Put back what ``state`` gave, into chains made with the same arguments."""
        found = matching(state, self.state())
        require_range(found, accepted=(0, MOST_STEPS), attempts=(0, MOST_STEPS))
        self._replicas.words[...] = found["words"]
        self._replicas.rng[...] = found["rng"]
        if not np.array_equal(self._replicas.spins(), found["occ"]):
            raise AlloygenError("expected words and spins of the same configurations, got others")
        self.accepted[:], self.attempts[:] = found["accepted"], found["attempts"]
