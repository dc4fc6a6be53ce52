"""Walks along the number of atoms of one element under a bias that grows, is refined, and is frozen; see ``metadynamics``."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import njit

from alloygen.hamiltonian.flips import FlipTables, flip_energy, set_species
from alloygen.montecarlo import moves
from alloygen.montecarlo.counted import Counted
from alloygen.montecarlo.rng import below, below_low, mix, seeds, step, uniform
from alloygen.runtime.resume import identity

CHECK = 100  # sweeps between checks of flatness
BLOCKS, LEAST, MOST = 64, 16, 2**25  # blocks of production: at most, at least; numbers that all of them may store
ROUND = 1000  # sweeps, or 1/16 of the production if that is more, after which the bias is refined
ROUNDS = (2, 16)  # of refinement, at least and at most
EVEN = 0.2  # no more of them once the least visited number of every temperature has this share of the mean visits
PRIOR = 1000.0  # attempts that what the stages learned counts for
ATTEMPTS = 4_000_000  # of one set of walkers between looks at the clock, about a second
LEARN, REFINE, PRODUCE, DONE = range(4)  # phases


@njit(cache=True, nogil=True)
def _flips(tables, walkers, r, beta, mu, bias, height, sums, element, low, high, attempts, sites):
    """Flips of walker r under exp(-beta (E - mu.N) - bias[N_X]), N_X kept in low..high; bias grows by height a visit.

    sums (5, bins) collect, by N_X: attempts, those that would raise N_X, those that would lower it, and the chances of both,
    1 / (1 + exp(change of the exponent)), which obey detailed balance like the Metropolis rule and scatter least
    (Bennett, J. Comput. Phys. 22, 245 (1976)).
    """
    visits, tried_up, tried_down, up, down = sums[0], sums[1], sums[2], sums[3], sums[4]
    n_free, n_words = len(sites), walkers.states.shape[1] // walkers.occ.shape[1]
    occ, states, s, e = walkers.occ[r], walkers.states[r], walkers.rng[r], walkers.energy[r]
    counts = walkers.counts[r]
    n = np.int64(counts[element])
    for _ in range(attempts):
        visits[n] += 1.0
        bias[n] += height
        s = step(s)
        bits = mix(s)
        i = sites[below(bits, n_free)]
        old = np.int64(occ[i])
        n_species = tables.n_species[i]
        new = 1 - old if n_species == 2 else below_low(bits, n_species - 1)
        if n_species > 2 and new >= old:
            new += 1
        b_i = tables.sublattice[i]
        before, after = tables.element_index[b_i, old], tables.element_index[b_i, new]
        m = n + (after == element) - (before == element)
        if m < low or m > high:
            continue
        delta = flip_energy(tables, states, n_words, i, old, new)
        exponent = beta * (mu[after] - mu[before] - delta) + bias[n] - bias[m]
        chance = np.exp(-abs(exponent))
        if m != n:
            fermi = (1.0 if exponent >= 0.0 else chance) / (1.0 + chance)
            if m > n:
                tried_up[n] += 1.0
                up[n] += fermi
            else:
                tried_down[n] += 1.0
                down[n] += fermi
        if exponent < 0.0:
            s = step(s)
            if uniform(mix(s)) >= chance:
                continue
        set_species(tables, occ, states, i, new)
        e += delta
        n = m
        counts[before] -= 1.0
        counts[after] += 1.0
    walkers.rng[r], walkers.energy[r] = s, e


@njit(cache=True, nogil=True)
def walk(
    tables: FlipTables,
    walkers: moves.Walkers,
    rows: tuple[int, int],
    at: np.ndarray,
    betas: np.ndarray,
    mus: np.ndarray,
    bias: np.ndarray,
    height: np.ndarray,
    sums: np.ndarray,
    element: int,
    low: int,
    high: int,
    sweeps: int,
    sites: np.ndarray,
    pairs: np.ndarray,
    n_pairs: np.ndarray,
    tally: np.ndarray,
    rounds: np.ndarray,
    heading: np.ndarray,
    trips: np.ndarray,
    rng: np.ndarray,
    stream: int,
) -> None:
    """``sweeps`` sweeps of one set of walkers, one per temperature, each followed by exchanges of neighbours."""
    first, last = rows
    for _ in range(sweeps):
        for c in range(len(betas)):
            _flips(tables, walkers, first + at[c], betas[c], mus[c], bias[c], height[c], sums[c], element,
                   low, high, len(sites), sites)  # fmt: skip
        p = rounds[stream] % 2
        moves.exchange(pairs[p, : n_pairs[p]], at, walkers.energy[first:last], walkers.counts[first:last], betas, mus, bias,
                       element, rng, stream, tally[p, 0], tally[p, 1])  # fmt: skip
        rounds[stream] += 1
        for r in range(first, last):
            n = walkers.counts[r, element]
            if n == low:
                trips[r] += heading[r] == 2
                heading[r] = 1
            elif n == high and heading[r] == 1:
                heading[r] = 2


class FlatWalk:
    """All arrays of a run. W sets of walkers, C temperatures (rising), n sites; W * C rows, set after set.

    clock (3,) : phase, block, sweeps done in the block
    bias (W, C, n + 1); height, sweeps, flat (W, C) of the stages
    link, weight (C, n + 1) : beta [F(N+1) - F(N)] as far as the bias knows it, and the attempts it rests on
    now (W, C, 5, n + 1) : what ``_flips`` collects in a stage or block; sums (W, blocks, C, 5, window) : of production
    """

    def __init__(self, problem: Counted, settings: dict):
        self.problem, self.settings, h = problem, settings, problem.h
        self.T = np.array(settings["ladder"])
        self.beta = 1.0 / (h.kB * self.T)
        W, C, bins = settings["walkers"], len(self.T), h.n_sites + 1
        occ = problem.starts(W * C, settings["seed"])
        self.tables, n = h.flip_tables, W * C
        self.walkers = moves.Walkers(
            occ=np.ascontiguousarray(occ.numpy().astype(np.int8)),
            states=np.zeros((n, h.n_sites * self.tables.n_words), dtype=np.int64),
            energy=h.energy(occ).numpy().copy(), counts=h.counts(occ).numpy().copy(), rng=seeds(settings["seed"], n + W),
            accepted=np.zeros(n, dtype=np.int64), tried=np.zeros(n, dtype=np.int64),
        )  # fmt: skip
        moves.fill(self.tables, self.walkers)
        self.exchange_rng = self.walkers.rng[n:].copy()
        self.mu = np.tile(problem.mu, (C, 1))
        self.pairs = np.zeros((2, max(C // 2, 1), 2), dtype=np.int64)
        self.n_pairs = np.array([C // 2, (C - 1) // 2])
        for p in range(2):
            self.pairs[p, : self.n_pairs[p], 0] = p + 2 * np.arange(self.n_pairs[p])
        self.pairs[..., 1] = self.pairs[..., 0] + 1
        self.at = np.tile(np.arange(C), (W, 1))
        self.tally = np.zeros((W, 2, 2, self.pairs.shape[1]), dtype=np.int64)
        self.rounds, self.clock = np.zeros(W, dtype=np.int64), np.zeros(3, dtype=np.int64)
        self.heading, self.trips = np.zeros((2, n), dtype=np.int64)
        self.bias = np.tile(problem.first_bias(self.beta), (W, 1, 1))
        self.now = np.zeros((W, C, 5, bins))
        self.link, self.weight = np.zeros((2, C, bins))
        self.height, self.sweeps = np.full((W, C), settings["height"]), np.zeros((W, C), dtype=np.int64)
        self.flat = np.zeros((W, C), dtype=np.int64)
        self.window = slice(problem.n_fixed + problem.low, problem.n_fixed + problem.high + 1)
        stored = (self.window.stop - self.window.start) * 5 * n
        self.n_blocks = min(settings["production"], BLOCKS, max(LEAST, MOST // stored))
        self.block = -(-settings["production"] // self.n_blocks)  # sweeps, rounded up
        self.sums = np.zeros((W, self.n_blocks, C, 5, self.window.stop - self.window.start))

    # ------------------------------------------------------------------ moving on
    def advance(self, mapper: Callable) -> None:
        """One slice of the run: about a second or what is left of a check or of a block, whichever ends first."""
        most = max(1, ATTEMPTS // (len(self.problem.sites) * len(self.T)))
        if self.clock[0] == LEARN:
            sweeps = min(CHECK, self.settings["sweeps_per_stage"])
            list(mapper(lambda w: self._learn(w, sweeps), np.flatnonzero(self.height.any(1))))
            if not self.height.any():
                self._freeze()
            return
        length = max(ROUND, 4 * self.block) if self.clock[0] == REFINE else self.block
        sweeps = min(most, length - int(self.clock[2]))
        list(mapper(lambda w: self._walk(w, sweeps), range(len(self.at))))
        self.clock[2] += sweeps
        if self.clock[2] == length:
            self._end_block()

    def _walk(self, w: int, sweeps: int) -> None:
        p, C = self.problem, len(self.T)
        walk(self.tables, self.walkers, (w * C, (w + 1) * C), self.at[w], self.beta, self.mu, self.bias[w], self.height[w],
             self.now[w], p.element, self.window.start, self.window.stop - 1, sweeps, p.sites,
             self.pairs, self.n_pairs, self.tally[w], self.rounds, self.heading, self.trips, self.exchange_rng, w)  # fmt: skip

    def _learn(self, w: int, sweeps: int) -> None:
        """Some sweeps of a stage, then the check of each temperature; those at the last height stop growing."""
        s = self.settings
        self._walk(w, sweeps)
        self.sweeps[w] += sweeps
        seen = self.now[w, :, 0, self.window]
        flat = seen.min(1) >= s["flatness"] * seen.mean(1)
        for c in np.flatnonzero((flat | (self.sweeps[w] >= s["sweeps_per_stage"])) & (self.height[w] > 0)):
            self.flat[w, c], self.sweeps[w, c], self.now[w, c] = flat[c], 0, 0
            half = self.height[w, c] / 2
            self.height[w, c] = half if half >= s["final_height"] else 0.0

    def _freeze(self) -> None:
        """One bias for all sets: the mean of what they learned."""
        centred = self.bias - self.bias[:, :, self.window].mean(2, keepdims=True)
        self.bias[:] = centred.mean(0)
        self.link[:] = -np.diff(self.bias[0], append=0.0)
        self.weight[:] = PRIOR
        self.now[:] = 0
        self.clock[:] = REFINE, 0, 0

    def _end_block(self) -> None:
        k = int(self.clock[1]) + 1
        if self.clock[0] == PRODUCE:
            self.sums[:, k - 1] = self.now[..., self.window]
            self.clock[:] = (DONE, 0, 0) if k == self.n_blocks else (PRODUCE, k, 0)
        else:
            seen = self.now[:, :, 0, self.window].sum(0)
            self._refine()
            even = (seen.min(1) >= EVEN * seen.mean(1)).all()
            self.clock[:] = (PRODUCE, 0, 0) if k >= ROUNDS[0 if even else 1] else (REFINE, k, 0)
            self.tally[:] = self.heading[:] = self.trips[:] = 0
        self.now[:] = 0

    def _refine(self) -> None:
        """V = -beta F, its steps averaged over what the stages and the transitions of all rounds say, by attempts."""
        w, steps = self.window, slice(self.window.start, self.window.stop - 1)
        for c in range(len(self.T)):
            visits, tried_up, tried_down, up, down = self.now[:, c, :, w].sum(0)
            good = (up[:-1] > 0) & (down[1:] > 0)
            n = np.where(good, 2 / (1 / np.maximum(tried_up[:-1], 1) + 1 / np.maximum(tried_down[1:], 1)), 0.0)
            seen = -np.diff(self.bias[0, c, w])
            seen[good] -= np.log((up[:-1] * visits[1:])[good] / (visits[:-1] * down[1:])[good])
            self.link[c, steps] = (self.weight[c, steps] * self.link[c, steps] + n * seen) / (self.weight[c, steps] + n)
            self.weight[c, steps] += n
            self.bias[:, c, w] = -np.append(0.0, np.cumsum(self.link[c, steps]))

    @property
    def blocks_done(self) -> int:
        return {PRODUCE: int(self.clock[1]), DONE: self.n_blocks}.get(int(self.clock[0]), 0)

    def where(self) -> str:
        return f"height {self.height.max():.2g} kT" if self.clock[0] == LEARN else "bias frozen"

    # ------------------------------------------------------------------ stopping and going on
    def _arrays(self) -> dict[str, np.ndarray]:
        names = ("exchange_rng", "at", "tally", "rounds", "clock", "heading", "trips", "bias", "now", "link", "weight", "height",
                  "sweeps", "flat", "sums")  # fmt: skip
        return {f"walkers.{k}": getattr(self.walkers, k) for k in ("occ", "energy", "counts", "rng")} | {
            k: getattr(self, k) for k in names
        }

    def identity(self) -> dict:
        return identity("metadynamics", self.problem.h, **self.settings)

    def state(self) -> tuple[dict[str, np.ndarray], dict]:
        """All arrays that a continued run needs."""
        return self._arrays(), {}

    def restore(self, tensors: dict, progress: dict) -> None:
        """Put back what ``state`` gave, into a walk made with the same arguments."""
        for name, place in self._arrays().items():
            place[...] = tensors[name].numpy().view(place.dtype).reshape(place.shape)
        moves.fill(self.tables, self.walkers)
