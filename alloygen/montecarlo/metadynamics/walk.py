"""Walks along the number of atoms of one element under a bias that grows, is refined, and is frozen; see ``metadynamics``."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from alloygen.errors import AlloygenError
from alloygen.hamiltonian.kept import require_held, require_kept
from alloygen.limits import require_rows
from alloygen.montecarlo import moves
from alloygen.montecarlo.metadynamics.counted import Counted
from alloygen.montecarlo.metadynamics.kernels import Exchanges, Law, Numbers, walk
from alloygen.montecarlo.metadynamics.settings import Stages
from alloygen.montecarlo.rng import seeds
from alloygen.montecarlo.walkers import MOST_STEPS, make_walkers
from alloygen.runtime.resume import identity
from alloygen.runtime.tensors import matching, require_range

CHECK = 100  # sweeps between checks of flatness
BLOCKS, LEAST, MOST = 64, 16, 2**25  # blocks of production: at most, at least; numbers that all of them may store
ROUND = 1000  # sweeps, or 1/16 of the production if that is more, after which the bias is refined
ROUNDS = (2, 16)  # of refinement, at least and at most
EVEN = 0.2  # no more of them once the least visited number of every temperature has this share of the mean visits
PRIOR = 1000.0  # attempts that what the stages learned counts for
ATTEMPTS = 4_000_000  # of one set of walkers between looks at the clock, about a second
LEARN, REFINE, PRODUCE, DONE = range(4)  # phases


class FlatWalk:
    """All arrays of a run at temperatures T (C,), those asked for among them. W sets of walkers, C temperatures (rising), n sites; W * C rows, set after set.

    clock (3,) : phase, block, sweeps done in the block
    bias (W, C, n + 1); height, sweeps, flat (W, C) of the stages
    link, weight (C, n + 1) : beta [F(N+1) - F(N)] as far as the bias knows it, and the attempts it rests on
    now (W, C, 5, n + 1) : what the kernel collects in a stage or block; sums (W, blocks, C, 5, window) : of production
    """

    def __init__(self, problem: Counted, T: np.ndarray, stages: Stages, seed: int):
        self.problem, self.T, self.stages, self.seed, h = problem, T, stages, seed, problem.h
        self.beta = 1.0 / (h.kB * self.T)
        W, C, bins = stages.walkers, len(self.T), h.n_sites + 1
        self.tables, n = h.flip_tables, W * C
        require_rows(n, 8 * bins, f"walkers, {W} sets at {C} temperatures")
        occ = problem.starts(n, seed)
        self.walkers = make_walkers(h, occ, seeds(seed, n + W))
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
        self.height, self.sweeps = np.full((W, C), stages.height), np.zeros((W, C), dtype=np.int64)
        self.flat = np.zeros((W, C), dtype=np.int64)
        self.window = slice(problem.n_fixed + problem.low, problem.n_fixed + problem.high + 1)
        stored = (self.window.stop - self.window.start) * 5 * n
        self.production = stages.length(len(problem.sites))
        self.n_blocks = min(self.production, BLOCKS, max(LEAST, MOST // stored))
        self.block = -(-self.production // self.n_blocks)  # sweeps, rounded up
        self.sums = np.zeros((W, self.n_blocks, C, 5, self.window.stop - self.window.start))
        self._law = Law(self.beta, self.mu, self.bias, self.height, self.now)
        self._numbers = Numbers(problem.element, self.window.start, self.window.stop - 1, problem.sites)
        self._exchanges = Exchanges(self.at, self.pairs, self.n_pairs, self.tally, self.rounds, self.heading, self.trips,
                                    self.exchange_rng)  # fmt: skip

    # ------------------------------------------------------------------ moving on
    def advance(self, mapper: Callable) -> None:
        """One slice of the run: about a second or what is left of a check or of a block, whichever ends first."""
        most = max(1, ATTEMPTS // (len(self.problem.sites) * len(self.T)))
        if self.clock[0] == LEARN:
            sweeps = min(CHECK, self.stages.sweeps)
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
        walk(self.tables, self.walkers, self._law, self._numbers, self._exchanges, w, sweeps)

    def _learn(self, w: int, sweeps: int) -> None:
        """Some sweeps of a stage, then the check of each temperature; those at the last height stop growing."""
        s = self.stages
        self._walk(w, sweeps)
        self.sweeps[w] += sweeps
        seen = self.now[w, :, 0, self.window]
        flat = seen.min(1) >= s.flatness * seen.mean(1)
        for c in np.flatnonzero((flat | (self.sweeps[w] >= s.sweeps)) & (self.height[w] > 0)):
            self.flat[w, c], self.sweeps[w, c], self.now[w, c] = flat[c], 0, 0
            half = self.height[w, c] / 2
            self.height[w, c] = half if half >= s.final_height else 0.0

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

    @property
    def settings(self) -> dict:
        """All that fixes the run on its Hamiltonian, as plain values."""
        p, s = self.problem, self.stages
        return {
            "ladder": self.T.tolist(), "element": p.name, "window": [p.low, p.high], "mu": p.mu.tolist(), "tilt": float(p.tilt),
            "height": s.height, "final_height": s.final_height, "sweeps_per_stage": s.sweeps, "flatness": s.flatness,
            "walkers": s.walkers, "production": self.production, "seed": self.seed, "sites": p.sites.tolist(),
            "held": p.with_number(0).tolist(),
        }  # fmt: skip

    def identity(self) -> dict:
        return identity("metadynamics", self.problem.h, **self.settings)

    def state(self) -> tuple[dict[str, np.ndarray], dict]:
        """All arrays that a continued run needs."""
        return self._arrays(), {}

    def restore(self, arrays: dict[str, np.ndarray], progress: dict) -> None:
        """Put back what ``state`` gave, into a walk made with the same arguments.

        Raises AlloygenError for what no state of it can be.
        """
        places = self._arrays()
        found = matching(arrays, places)
        self._require(found)
        for name, place in places.items():
            place[...] = found[name]
        moves.fill(self.tables, self.walkers)

    def _require(self, found: dict[str, np.ndarray]) -> None:
        """AlloygenError for what compiled code cannot walk on: numbers outside the window, places that are none."""
        p = self.problem
        require_kept(p.h, *(found[f"walkers.{k}"] for k in ("occ", "energy", "counts")))
        n = found["walkers.counts"][:, p.element]
        if n.min() < self.window.start or n.max() >= self.window.stop:
            raise AlloygenError(f"expected numbers of {p.name} in the window, got {n.min():g} to {n.max():g}")
        require_held(found["walkers.occ"], p.start, p.sites)
        if (np.sort(found["at"], axis=1) != np.arange(len(self.T))).any():
            raise AlloygenError("expected each walker at one temperature, got others")
        most = MOST_STEPS
        require_range(found, clock=(0, most), heading=(0, 2), height=(0, self.stages.height), **dict.fromkeys(("bias", "link"), (-1e300, 1e300)),
                      **dict.fromkeys(("tally", "rounds", "trips", "now", "weight", "sweeps", "flat", "sums"), (0, most)))  # fmt: skip
        require_range({k: np.array(v) for k, v in zip(("phase", "block"), found["clock"], strict=False)}, phase=(LEARN, DONE),
                      block=(0, max(self.n_blocks, ROUNDS[1])))  # fmt: skip
