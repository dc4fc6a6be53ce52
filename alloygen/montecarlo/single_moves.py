"""What a Markov chain does at an attempt, as an object: flips, swaps, or a move of your own.

A move names a compiled kernel that makes attempts on rows of :class:`alloygen.montecarlo.moves.Walkers` at given beta and mu. Chains,
exchange of replicas, samples, checkpoints and free energies then work for it as they do for flips. The kernel must leave

    p(x) = exp(-beta [E(x) - mu.N(x)]) / Z

invariant for every beta and mu, which :func:`alloygen.testing.assert_boltzmann` can see; ``tests/examples/test_add_a_move.py`` shows one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import numpy as np

from alloygen.arguments import one_of
from alloygen.hamiltonian.flips import FlipTables
from alloygen.lattice import Lattice
from alloygen.montecarlo import moves
from alloygen.montecarlo.states import log_reached_by_flips, log_reached_by_swaps

Kernel = Callable[[FlipTables, moves.Walkers, int, int, np.ndarray, np.ndarray, int, np.ndarray], None]
SHORT = 64  # energies in a table, up to which acceptances are tabulated as well


class Move(ABC):
    """Base of every move; concrete classes are final, and a frozen dataclass where they have settings.

    name : for results and checkpoints; keeps_composition : whether numbers of atoms stay as they start, so that mu has no say
    """

    name: ClassVar[str]
    keeps_composition: ClassVar[bool] = False

    @abstractmethod
    def kernel(self, tables: FlipTables, sites: np.ndarray) -> Kernel:
        """The compiled function for these tables and the ``sites`` (n,) that may change, called as

            kernel(tables, walkers, lo, hi, beta, mu, attempts, sites)

        for the walkers lo..hi, with beta (R,) and mu (R, n_elements) by walker. It keeps occ, states, energy, counts and rng of each up
        to date and adds to accepted and tried; see :func:`alloygen.montecarlo.moves.flips`.
        """

    def log_states(self, lattice: Lattice, sites: np.ndarray, occ: np.ndarray) -> float | None:
        """Log of the number of configurations reached from each row of ``occ``, the log Z of T = infinity; None: not known.

        As for flips, or swaps where the composition is kept (:mod:`alloygen.montecarlo.states`); to be written anew by a move that reaches
        fewer.
        """
        if self.keeps_composition:
            return log_reached_by_swaps(lattice, sites, occ)
        return log_reached_by_flips(lattice, sites)

    def __str__(self) -> str:
        """The name with all settings: what a checkpoint knows the move by."""
        settings = ", ".join(f"{k}={v!r}" for k, v in sorted(vars(self).items()))
        return f"{self.name} ({settings})" if settings else self.name


class Flip(Move):
    """A uniform other species on a uniform site, accepted with min(1, exp(-beta [dE - dmu]))."""

    name = "flip"

    def kernel(self, tables: FlipTables, sites: np.ndarray) -> Kernel:
        short = tables.start.shape[1] == 1 and len(tables.value) <= SHORT
        return moves.threshold_flips if short and (tables.n_species[sites] == 2).all() else moves.flips


class Swap(Move):
    """The elements of two sites change places, accepted with min(1, exp(-beta dE))."""

    name = "swap"
    keeps_composition = True

    def kernel(self, tables: FlipTables, sites: np.ndarray) -> Kernel:
        return moves.swaps


MOVES = {move.name: move for move in (Flip(), Swap())}


def move_from(move: str | Move) -> Move:
    """A move from itself or its name.

    Examples
    --------
    >>> print(move_from("flip"), move_from(Swap()))
    flip swap
    """
    if isinstance(move, Move):
        return move
    one_of(move, "move", MOVES)
    return MOVES[move]
