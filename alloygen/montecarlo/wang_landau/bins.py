"""What walks in energy walk on: flip tables with mu folded in, the bins of E - mu.N, and walks at their start."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from alloygen.edge.problem import Problem
from alloygen.errors import AlloygenError
from alloygen.estimate.energy_walks import bin_of
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.hamiltonian.flips import FlipTables, fill_states
from alloygen.montecarlo.single_moves import Move
from alloygen.montecarlo.wang_landau import kernels
from alloygen.montecarlo.wang_landau.kernels import Blocks, Rules, Walks
from alloygen.montecarlo.wang_landau.settings import Bins, Schedule
from alloygen.types import ArrayLike

KERNELS = ("flip", "swap")  # moves that there is a walk of
MAX_LEVELS, MAX_BINS = 2**14, 2**22
BLOCKS, STORED = 96, 2**25  # blocks of a walk, at most (an even number); numbers that those of all walks may store


@dataclass
class Plan:
    """Tables with mu folded in, the bins, and the kernel that moves."""

    problem: Problem
    mu: np.ndarray
    move: Move
    rules: Rules
    n_bins: int = 0
    tables: FlipTables = field(init=False)

    def __post_init__(self) -> None:
        self.tables = with_mu(self.hamiltonian, self.mu)

    @property
    def hamiltonian(self) -> Hamiltonian:
        return self.problem.hamiltonian

    @property
    def kernel(self) -> Callable:
        if self.move.keeps_composition:
            return kernels.swaps
        return kernels.level_flips if len(self.rules.jump) else kernels.flips

    def bin(self, energy: ArrayLike) -> np.ndarray:
        return bin_of(energy, self.rules.origin, self.rules.width)

    def centre(self, k: ArrayLike) -> np.ndarray:
        return np.asarray(k) * self.rules.width + self.rules.origin

    def energies(self, occ: np.ndarray) -> np.ndarray:
        """E - mu.N (n,) of occupations (n, N)."""
        return self.hamiltonian.semigrand_energy(occ, self.mu)


def rules_of(sites: np.ndarray, bins: Bins, schedule: Schedule, walks: int) -> Rules:
    """What the kernels read, before there are bins; the attempts are shared by so many walks."""
    return Rules(
        sites=sites, jump=np.zeros(0, np.int64), origin=0.0, width=1.0, levels=True, check=schedule.check,
        flatness=schedule.flatness, one_over_t=schedule.kind == "1/t", final=schedule.log_f_final,
        limit=schedule.limit(walks), transitions=bins.transitions,
    )  # fmt: skip


def with_mu(h: Hamiltonian, mu: np.ndarray) -> FlipTables:
    """The flip tables with -mu.N folded into the first table of each sublattice, so that changes are those of E - mu.N."""
    t, value = h.flip_tables, h.flip_tables.value.copy()
    begins, width = np.append(np.unique(t.start), len(value)), t.step.shape[1] - 1
    for b in range(len(t.start)):
        n, at = t.n_species[np.flatnonzero(t.sublattice == b)[0]], t.start[b, 0]
        gain = mu[t.element_index[b, 1:n]] - mu[t.element_index[b, 0]]
        end = begins[np.searchsorted(begins, at, side="right")]
        value[at:end].reshape(-1, width)[:, : n - 1] -= gain
    return t._replace(value=value)


# ---------------------------------------------------------------------- bins
def set_bins(plan: Plan, e: np.ndarray, width: float | None) -> None:
    """Choose levels, or bins of even width, for a plan that has met the energies e (n,), e[0] in the middle of a level.

    Raises AlloygenError for too many bins, and for transitions where they cannot be counted.
    """
    h, t, rules = plan.hamiltonian, plan.tables, plan.rules
    bound = _bound(h, plan.mu) * (1 + 1e-9)
    quantum = _quantum(t.value, 2 * bound) if width is None else None
    flat = e.max() - e.min() <= 1e-9 * max(bound, 1e-300)
    width = quantum or float(width or ((e.max() - e.min()) / 500 if not flat else 1.0))
    below_it = math.ceil((e[0] - (h.constant - bound)) / width) + 1
    plan.n_bins = below_it + math.ceil((h.constant + bound - e[0]) / width) + 2
    if plan.n_bins > MAX_BINS:
        raise AlloygenError(
            f"expected at most {MAX_BINS} bins, got {plan.n_bins} of width {width:g}: widen them (width=)"
        )
    shift = (
        0.0 if quantum else 0.1180339887
    )  # levels in the middle of their bins; else no level at an edge, if possible
    origin, jump = float(e[0] - (below_it + shift) * width), level_jumps(plan, width, bool(quantum))
    if rules.transitions and not len(jump):
        raise AlloygenError(
            "expected levels, flips of two species and one table per site for transitions=True, got a Hamiltonian (or a width, "
            "or swaps) that has them not. Leave it out."
        )
    plan.rules = rules._replace(jump=jump, origin=origin, width=width, levels=bool(quantum))


def level_jumps(plan: Plan, width: float, levels: bool) -> np.ndarray:
    """How many levels each entry of the tables leads up, int64; empty where ``kernels.level_flips`` cannot be used."""
    t = plan.tables
    quick = (
        levels
        and not plan.move.keeps_composition
        and t.start.shape[1] == 1
        and (t.n_species[plan.rules.sites] == 2).all()
    )
    quick = quick and t.step.shape[1] == 2 and t.n_words == 1
    return np.rint(t.value / width).astype(np.int64) if quick else np.zeros(0, np.int64)


def _quantum(values: np.ndarray, largest: float) -> float | None:
    """The greatest common divisor of the values, if there is one that makes at most MAX_LEVELS levels."""
    q, tolerance = 0.0, 1e-9 * max(np.abs(values).max(), 1e-300)
    for v in np.unique(np.abs(values)):
        while v > tolerance:  # Euclid's algorithm
            q, v = v, (q % v if v - q % v > tolerance else 0.0)
        if q > 0 and largest / q > MAX_LEVELS:
            return None
    if q == 0:
        return None
    largest = np.abs(values).max()
    q = float(largest / np.round(largest / q))
    return q if np.abs(values / q - np.round(values / q)).max() < 1e-6 else None


def _bound(h: Hamiltonian, mu: np.ndarray) -> float:
    """|E - mu.N - constant| is never more: sum |J| prod max |phi| + N max |mu|."""
    phi = np.abs(h.site_functions).max(2).ravel()
    return float(sum(np.abs(c) @ phi[f].prod(1) for f, c in h.clusters) + h.n_sites * np.abs(mu).max())


# ---------------------------------------------------------------------- walks
def new_walks(
    plan: Plan, occ: np.ndarray, log_f: float, rng: np.ndarray, bounds: np.ndarray, in_blocks: bool = False
) -> Walks:
    """Walks at their start, occ (R, N); bounds (R, 2) are the bins allowed to each; ``in_blocks`` keeps blocks for error bars."""
    n, bins = len(occ), plan.n_bins
    span = 2 * int(np.abs(plan.rules.jump).max()) + 1 if plan.rules.transitions else 0
    whole = lambda *shape: np.zeros(shape, dtype=np.int64)  # noqa: E731
    kept = min(BLOCKS, STORED // (n * bins * (2 + span)) // 2 * 2) if in_blocks else 0
    blocks = Blocks(
        counts=whole(n, kept, bins), biases=np.zeros((n, kept, bins)), leads=whole(n, kept, bins, span), mark=whole(n, bins),
        begin=np.zeros((n, bins)), led=whole(n, bins, span), length=whole(n), passed=whole(n), filled=whole(n),
    )  # fmt: skip
    w = Walks(
        occ=occ.astype(np.int8), states=whole(n, plan.hamiltonian.n_sites * plan.tables.n_words), energy=plan.energies(occ),
        log_g=np.full((n, bins), -1.0), seen=whole(n, bins), visits=whole(n, bins), first=np.zeros((n, bins)),
        second=np.zeros((n, bins)), leads=whole(n, bins, span), blocks=blocks, rng=rng.copy(), log_f=np.full(n, float(log_f)),
        attempts=whole(n), stages=whole(n), inverse_t=whole(n), late=whole(n),
        low=bounds[:, 0].astype(np.int64).copy(), high=bounds[:, 1].astype(np.int64).copy(),
    )  # fmt: skip
    fill(plan, w)
    w.log_g[np.arange(n), plan.bin(w.energy)] = 0.0
    return w


def fill(plan: Plan, w: Walks) -> None:
    """Work out the states of all walks from their occupations."""
    for r in range(len(w.occ)):
        fill_states(plan.tables, w.occ[r], w.states[r])
