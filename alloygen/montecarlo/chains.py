"""Markov chains at many conditions at once: semigrand flips or canonical swaps, with exchange of replicas.

A flip puts a uniform other species on a uniform site and is accepted with min(1, exp(-beta [dE - dmu])); a swap exchanges
the elements of two sites. Replicas of neighbouring conditions are exchanged, in T and in mu, with the probability that
keeps the joint law

    min(1, exp[(b_a - b_b)(E_i - E_j) - (b_a mu_a - b_b mu_b).(N_i - N_j)]),      b = 1 / (kB T)

(Hukushima and Nemoto, J. Phys. Soc. Jpn. 65, 1604 (1996), with the semigrand energy in place of E).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np

from alloygen.arguments import seed_from, whole_number
from alloygen.arrays import as_array
from alloygen.conditions.record import Condition
from alloygen.edge.problem import Problem
from alloygen.errors import AlloygenError
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.hamiltonian.expansion import ClusterExpansion
from alloygen.hamiltonian.kept import require_held, require_kept
from alloygen.montecarlo import moves
from alloygen.montecarlo.rng import seeds
from alloygen.montecarlo.single_moves import Move, move_from
from alloygen.montecarlo.walkers import MOST_STEPS, make_walkers, share
from alloygen.runtime.tensors import matching, require_range
from alloygen.types import ArrayLike

ACCEPTED_COST = 2.0  # of an accepted flip above a rejected one, in units of the latter (measured on CuAu)


class Chains:
    """``copies`` independent sets of one chain per condition, advanced by compiled moves, with optional exchange.

    Parameters
    ----------
    hamiltonian : Hamiltonian of the supercell
    condition : C of them, or one; mu is without effect on swaps
    seed : same seed, same chains, for any number of threads
    pairs : sets of disjoint pairs of conditions, exchanged in turn (see ``tempering.grid_pairs``)
    occ : (N,), (C, N) or (copies * C, N) to start from; random without it (needed for swaps)
    move : "flip" (semigrand), "swap" (canonical: composition stays as it starts), or another
        :class:`~alloygen.montecarlo.single_moves.Move`
    known : (N,), or one row of them for each chain, the species index of sites that never change, -1 where free; in every row the same sites
    copies : independent sets, each with exchanges of its own; chains are numbered copy * C + condition

    ``step(sweeps)`` moves every chain; ``configurations()`` gives what is now at each condition. Everything that later
    steps depend on is in ``state()``; ``restore`` puts it back, and the run goes on bit for bit.

    Raises AlloygenError when nothing can change, BadCondition for a condition of other elements.
    """

    def __init__(
        self,
        hamiltonian: Hamiltonian,
        condition: Condition,
        seed: int = 0,
        pairs: Sequence[np.ndarray] | None = None,
        *,
        occ: ArrayLike | None = None,
        move: str | Move = "flip",
        known: ArrayLike | None = None,
        copies: int = 1,
        threads: int = 1,
    ):
        require_hamiltonian(hamiltonian)
        self.hamiltonian, self.move = hamiltonian, move_from(move)
        self.copies, self.threads = whole_number(copies, "copies"), whole_number(threads, "threads")
        seed = seed_from(seed)
        self.T, self.mu = (np.array(x, order="C") for x in hamiltonian.require(condition, Condition).rows.arrays())
        self.beta = 1.0 / (hamiltonian.kB * self.T)
        known = known_rows(hamiltonian, known, len(self.T) * self.copies)
        self.sites = free_sites(hamiltonian, known)
        start = _start(hamiltonian, occ, known, len(self.T), self.copies, seed, self.move, self.sites)
        self.tables, n = hamiltonian.flip_tables, len(start)
        self.walkers = make_walkers(hamiltonian, start, seeds(seed, n + 1))  # the last one serves the exchanges
        self.replica_at = np.arange(n)
        pairs = [np.asarray(p, dtype=np.int64) for p in (pairs or [])]
        self.pairs = [np.concatenate([p + k * len(self.T) for k in range(self.copies)]) for p in pairs]
        everywhere = np.tile(self.beta, self.copies), np.tile(self.mu, (self.copies, 1))
        self._joint = (*everywhere, np.zeros((n, 0)))  # beta and mu of every copy's conditions, and no bias
        self._kernel = self.move.kernel(self.tables, self.sites)
        self.tried = [np.zeros(len(p), dtype=np.int64) for p in self.pairs]
        self.swapped = [np.zeros(len(p), dtype=np.int64) for p in self.pairs]
        self.accepted, self.attempts = np.zeros((2, n), dtype=np.int64)  # by condition, all copies
        self.heading = np.zeros(
            n, dtype=np.int64
        )  # by replica: 1 since the coldest condition, 2 since the hottest after it
        self.trips = np.zeros(n, dtype=np.int64)
        self.arrived, self.hot, self.met = (np.zeros(s, dtype=np.int64) for s in (n, n, (n, len(self.T))))
        self.round = np.zeros(1, dtype=np.int64)
        self._pool = ThreadPoolExecutor(self.threads - 1) if self.threads > 1 else None

    @classmethod
    def of(
        cls,
        problem: Problem,
        condition: Condition,
        seed: int = 0,
        pairs: Sequence[np.ndarray] | None = None,
        *,
        move: str | Move = "flip",
        copies: int = 1,
        threads: int = 1,
    ) -> Chains:
        """Chains of a problem, which says what they hold and where they start: where it is given, or else from the composition of the
        atoms for moves that keep it, or at random."""
        move = move_from(move)
        n = len(problem.hamiltonian.require(condition, Condition).rows) * whole_number(copies, "copies")
        start = problem.start(composition=move.keeps_composition, seed=seed_from(seed), n=n)
        known = problem.known if problem.held.any() else None
        return cls(
            problem.hamiltonian,
            condition,
            seed,
            pairs,
            occ=start,
            move=move,
            known=known,
            copies=copies,
            threads=threads,
        )

    # ------------------------------------------------------------------ the two moves of a round
    def step(self, sweeps: int) -> None:
        """``sweeps`` attempts per changeable site for every chain, then one set of exchanges."""
        n = len(self.replica_at)
        condition_of = np.empty(n, dtype=np.int64)
        condition_of[self.replica_at] = np.arange(n) % len(self.T)
        beta, mu = self.beta[condition_of], self.mu[condition_of]
        attempts = int(sweeps) * len(self.sites)
        parts = self._parts()
        self.walkers.accepted[:] = self.walkers.tried[:] = 0

        def work(part):
            self._kernel(self.tables, self.walkers, *part, beta, mu, attempts, self.sites)

        shared = iter(parts)  # this thread works as well; whoever is free takes the next part

        def drain():
            for part in shared:
                work(part)

        others = [self._pool.submit(drain) for _ in range(self.threads - 1)] if self._pool else []
        drain()
        for other in others:
            other.result()
        self.accepted += self.walkers.accepted[self.replica_at]
        self.attempts += self.walkers.tried[self.replica_at]
        if self.pairs:
            self._exchange()
        self.round += 1

    def _parts(self) -> list[tuple[int, int]]:
        """Rows of walkers, three parts for each thread, of about equal work by what they accepted last: accepted moves cost more."""
        n = len(self.replica_at)
        cost = np.cumsum(1.0 + self.walkers.tried + ACCEPTED_COST * self.walkers.accepted)
        cuts = np.searchsorted(cost, np.linspace(0, cost[-1], min(n, 3 * self.threads) + 1)[1:-1], side="right")
        return [(int(a), int(b)) for a, b in pairwise([0, *cuts, n]) if b > a]

    def _exchange(self) -> None:
        k, w = int(self.round[0]) % len(self.pairs), self.walkers
        moves.exchange(
            self.pairs[k], self.replica_at, w.energy, w.counts, *self._joint, 0, w.rng, len(w.rng) - 1,
            self.tried[k], self.swapped[k],
        )  # fmt: skip
        at = self.replica_at.reshape(self.copies, -1)
        cold, hot = at[:, self.T == self.T.min()].ravel(), at[:, self.T == self.T.max()].ravel()
        self.trips[cold] += self.heading[cold] == 2
        self.heading[cold] = 1
        self.heading[hot] = np.where(self.heading[hot] > 0, 2, 0)
        self.hot[hot] = now = int(self.round[0]) + 1
        here = np.arange(len(self.replica_at)) % len(self.T)
        fresh = self.hot[self.replica_at] > self.met[self.replica_at, here]
        self.arrived += fresh
        self.met[self.replica_at[fresh], here[fresh]] = now

    # ------------------------------------------------------------------ what is known
    def configurations(self) -> tuple[np.ndarray, np.ndarray]:
        """(occ (copies * C, N) int8, energy (copies * C,)) by condition."""
        return self.walkers.occ[self.replica_at], self.walkers.energy[self.replica_at]

    @property
    def keeps_composition(self) -> bool:
        """Whether the numbers of atoms stay as they started."""
        return self.move.keeps_composition

    @property
    def log_states(self) -> float | None:
        """Log of the number of configurations that the moves reach, the log Z of T = infinity; see ``montecarlo.states``."""
        return self.move.log_states(self.hamiltonian.lattice, self.sites, self.walkers.occ)

    @property
    def acceptance(self) -> np.ndarray:
        """Accepted share of the attempts at each condition, over all copies (C,)."""
        return share(self.accepted, self.attempts, self.copies)

    @property
    def exchange_rates(self) -> list[np.ndarray]:
        """Accepted share of the exchanges of each pair, by set of pairs, averaged over copies."""
        return [share(s, t, self.copies) for s, t in zip(self.swapped, self.tried, strict=True)]

    @property
    def renewals(self) -> np.ndarray:
        """(C,) times that a replica came to each condition with news: from the hottest one, for the first time since it was there."""
        return self.arrived.reshape(self.copies, -1).sum(0)

    def reset_counters(self) -> None:
        """Start the statistics of acceptance, exchange and round trips anew (after equilibration)."""
        for a in (
            self.accepted,
            self.attempts,
            self.trips,
            self.heading,
            self.arrived,
            self.hot,
            self.met,
            *self.tried,
            *self.swapped,
        ):
            a[:] = 0

    def state(self) -> dict[str, np.ndarray]:
        """All arrays that a continued run needs (copies of them), by name."""
        return {k: v.copy() for k, v in self._places().items()}

    def _places(self) -> dict[str, np.ndarray]:
        """The arrays themselves, by name."""
        w = {f"walkers.{k}": v for k, v in self.walkers._asdict().items() if k != "states"}
        own = {
            k: getattr(self, k)
            for k in ("replica_at", "accepted", "attempts", "heading", "trips", "arrived", "hot", "met", "round")
        }
        pairs = {f"tried.{k}": v for k, v in enumerate(self.tried)} | {
            f"swapped.{k}": v for k, v in enumerate(self.swapped)
        }
        return w | own | pairs

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Put back what ``state`` gave, into chains made with the same arguments.

        Raises AlloygenError for what no state of them can be.
        """
        found, places = matching(state, self.state()), self._places()
        h, n = self.hamiltonian, len(self.replica_at)
        require_kept(h, *(found[f"walkers.{k}"] for k in ("occ", "energy", "counts")))
        if len(np.unique(found["walkers.rng"])) < len(self.walkers.rng):
            raise AlloygenError("expected random numbers of its own for each chain, got the same")
        by_copy = np.sort(found["replica_at"].reshape(self.copies, -1), axis=1).ravel()
        if not np.array_equal(by_copy, np.arange(n)):
            raise AlloygenError("expected each replica at one condition of its copy, got others")
        require_held(found["walkers.occ"], self.walkers.occ, self.sites)
        require_range(
            found, **{k: (0, MOST_STEPS) for k in places if k.split(".")[-1] not in ("occ", "energy", "counts", "rng")}
        )
        require_range(found, heading=(0, 2))
        for name, place in places.items():
            place[...] = found[name]
        moves.fill(self.tables, self.walkers)


def problem_of(given: Hamiltonian | Problem) -> Problem:
    """The problem of a Hamiltonian on its supercell, or a problem itself; AlloygenError for anything else, with what to write instead."""
    if isinstance(given, Problem):
        return given
    require_hamiltonian(given)
    return Problem.of(given)


def require_hamiltonian(h: object) -> None:
    """AlloygenError for anything but a Hamiltonian on its supercell, with what to write instead."""
    if isinstance(h, Hamiltonian):
        return
    if isinstance(h, ClusterExpansion):
        raise AlloygenError(
            f"expected a Hamiltonian on a supercell, got the expansion {h.name!r}, which has none. Write expansion.on((4, 4, 4))"
        )
    what = "Atoms, which" if hasattr(h, "get_chemical_symbols") else f"{type(h).__name__}, which"
    raise AlloygenError(
        f"expected a Hamiltonian on a supercell, got {what} is none. Write expansion.on((4, 4, 4)); "
        "for Atoms, Problem.of(atoms, mu).hamiltonian of alloygen.edge.problem is it"
    )


def known_rows(h: Hamiltonian, known: ArrayLike | None, n: int) -> np.ndarray:
    """Held sites of n chains, (1, N) or (n, N) int64 species indices and -1 where free, from (N,), rows of them, or None for none.

    Raises AlloygenError for other shapes, for species that a site has not, and for rows that do not hold the same sites.
    """
    if known is None:
        return np.full((1, h.n_sites), -1)
    rows = np.atleast_2d(np.asarray(known))
    if rows.dtype.kind not in "iu" or rows.shape not in ((1, h.n_sites), (n, h.n_sites)):
        raise AlloygenError(
            f"expected known as species indices ({h.n_sites},) or ({n}, {h.n_sites}), -1 where free, got {rows.dtype} of shape {np.shape(known)}"
        )
    if (rows < -1).any() or (rows >= h.lattice.n_species).any():
        raise AlloygenError(f"expected known between -1 and the species of each site, {h.lattice.species}, got others")
    if ((rows >= 0) != (rows[0] >= 0)).any():
        raise AlloygenError("expected the same sites to be known for every chain, got rows that know others")
    return rows.astype(np.int64)


def free_sites(h: Hamiltonian, known: np.ndarray) -> np.ndarray:
    """The sites (n,) that may change: those with two species or more, less those that are ``known`` (R, N).

    Raises AlloygenError when none is left.
    """
    sites = np.flatnonzero(h.lattice.changeable & (known[0] < 0))
    if len(sites) == 0:
        raise AlloygenError("expected at least one site with two species or more, got none: nothing can change")
    return sites


def _start(h: Hamiltonian, occ, known: np.ndarray, n: int, copies: int, seed: int, move: Move, sites: np.ndarray) -> np.ndarray:  # fmt: skip
    """Where the chains begin, (copies * n, N), with what is known in its place."""
    if occ is None:
        if move.keeps_composition:
            raise AlloygenError(f"expected a start (occ=) whose composition the {move.name}s keep, got none")
        return np.where(known >= 0, known, h.random(n * copies, seed))
    start = h.check(as_array(occ))
    if len(start) not in (1, n, n * copies):
        raise AlloygenError(
            f"expected one start, one per condition ({n}) or per chain ({n * copies}), got {len(start)}"
        )
    start = np.where(known >= 0, known, np.tile(start, (n * copies // len(start), 1)))
    if move.keeps_composition:
        held = h.lattice.site_elements[sites, start[:, sites]]
        if (held.min(1) == held.max(1)).any():
            raise AlloygenError(
                "expected two elements at least on the sites that may swap, got a start with one: nothing can change"
            )
    return start
