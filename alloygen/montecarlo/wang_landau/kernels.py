"""Compiled random walks in energy that level its histogram, the inner loops of ``wang_landau``.

Each kernel makes blocks of ``Rules.check`` attempts of one walk: ``flips`` of any Hamiltonian, ``swaps`` at fixed composition,
and ``level_flips``, the same walk as ``flips`` in integers where there are levels, two species and one table per site.

What follows an attempt stands in each kernel: as a compiled helper that takes the arrays it made the walks 10 to 60 % slower.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from alloygen.compiled import njit
from alloygen.hamiltonian.flips import FlipTables, flip_energy, set_species
from alloygen.hamiltonian.kernels import put
from alloygen.montecarlo.moves import by_site, draw_pair, is_square
from alloygen.montecarlo.rng import below, below_low, mix, step, uniform

SETTLED = 1e-4  # transitions are counted at smaller log f only; blocks too, or from where log f falls as 1/t
LATE = 1e-3  # a bin met at a smaller log f is mentioned in the note
_1, _32, _LOW10 = np.uint64(1), np.uint64(32), np.uint64(1023)
_EDGE = np.append(-np.inf, np.log(np.arange(1, 1025) / 1024))


class Blocks(NamedTuple):
    """Blocks of attempts of R walks since each has settled, and the one under way.

    counts, biases (R, K, n_bins): visits of each block, and log g on its average; leads (R, K, n_bins, 2 D + 1): those of each block.
    When all K are full, pairs are put together and blocks are twice as long from then on
    mark, begin (R, n_bins), led (R, n_bins, 2 D + 1): visits, log g and leads where the block under way began
    length, passed, filled (R,) int64: attempts of a block and of the one under way, and how many blocks there are
    """

    counts: np.ndarray
    biases: np.ndarray
    leads: np.ndarray
    mark: np.ndarray
    begin: np.ndarray
    led: np.ndarray
    length: np.ndarray
    passed: np.ndarray
    filled: np.ndarray


class Walks(NamedTuple):
    """The state of R walks, one row each; all that the next step depends on.

    occ (R, N) int8, states (R, N * W) int64 (see ``hamiltonian.flips``), energy (R,): E - mu.N
    log_g (R, n_bins): smallest 0, -1 where never met; seen (R, n_bins): histogram of this stage, visits: of those before
    first, second (R, n_bins): sums of the distance from the bin's centre and of its square (not for levels)
    leads (R, n_bins, 2 D + 1): flips that lead D levels down ... D levels up from here, if they are counted, or else empty
    blocks: what error bars come from
    rng (R,) uint64, log_f (R,), attempts, stages, inverse_t, late, low, high (R,) int64: the bins low..high are allowed
    """

    occ: np.ndarray
    states: np.ndarray
    energy: np.ndarray
    log_g: np.ndarray
    seen: np.ndarray
    visits: np.ndarray
    first: np.ndarray
    second: np.ndarray
    leads: np.ndarray
    blocks: Blocks
    rng: np.ndarray
    log_f: np.ndarray
    attempts: np.ndarray
    stages: np.ndarray
    inverse_t: np.ndarray
    late: np.ndarray
    low: np.ndarray
    high: np.ndarray


class Rules(NamedTuple):
    """What the kernels read: free sites, the jump in bins of each table entry (levels only), bins, and the schedule."""

    sites: np.ndarray
    jump: np.ndarray
    origin: float
    width: float
    levels: bool
    check: int
    flatness: float
    one_over_t: bool
    final: float
    limit: int
    transitions: bool


@njit(inline="always")
def _accept(gap, bits, s):
    """(accepted, rng state): true with min(1, exp(gap)).

    u = (j + v) / 1024 with j from the attempt's low bits. Unless log j/1024 <= gap < log (j + 1)/1024, j alone decides,
    without an exponential.
    """
    j = bits & _LOW10
    ok = gap >= _EDGE[j + _1]
    if not ok and gap >= _EDGE[j]:
        s = step(s)
        ok = (np.float64(np.int64(j)) + uniform(mix(s))) * (1.0 / 1024.0) < np.exp(gap)
    return ok, s


@njit()
def _smallest(log_g, low, high):
    """The smallest log g of the bins met so far."""
    smallest = np.inf
    for k in range(low, high + 1):
        if 0.0 <= log_g[k] < smallest:
            smallest = log_g[k]
    return smallest


@njit()
def _refine(w, r, rules):
    """After every block of attempts: subtract the smallest log g, and lower log f when it is time."""
    log_g, seen, low, high = w.log_g[r], w.seen[r], w.low[r], w.high[r]
    smallest, n, total, least = _smallest(log_g, low, high), 0, 0, np.int64(2**62)
    for k in range(low, high + 1):
        if log_g[k] >= 0.0:
            log_g[k] -= smallest
            n, total, least = n + 1, total + seen[k], min(least, seen[k])
    w.attempts[r] += rules.check
    if not w.inverse_t[r]:
        if (rules.one_over_t and least > 0) or (not rules.one_over_t and least >= rules.flatness * total / n):
            w.log_f[r] *= 0.5
            w.stages[r] += 1
            for k in range(len(seen)):
                w.visits[r, k] += seen[k]
                seen[k] = 0
        w.inverse_t[r] = rules.one_over_t and w.log_f[r] < n / w.attempts[r]
    if w.inverse_t[r]:
        w.log_f[r] = n / w.attempts[r]
    if w.blocks.counts.shape[1] > 0 and (w.inverse_t[r] or w.log_f[r] < SETTLED):
        _keep_block(w, r, rules.check)


@njit()
def _keep_block(w, r, check):
    """Close the block under way when it is long enough, and put pairs together when there is no room for another."""
    b, log_g, leads, led = w.blocks, w.log_g[r], w.leads[r], w.blocks.led[r]
    b.passed[r] += check
    if b.length[r] == 0:
        b.length[r] = check
    elif b.passed[r] >= b.length[r]:
        k, most = b.filled[r], b.counts.shape[1]
        for i in range(len(log_g)):
            b.counts[r, k, i] = w.visits[r, i] + w.seen[r, i] - b.mark[r, i]
            b.biases[r, k, i] = 0.5 * (max(b.begin[r, i], 0.0) + max(log_g[i], 0.0))
        for i in range(leads.shape[0]):
            for d in range(leads.shape[1]):
                b.leads[r, k, i, d] = leads[i, d] - led[i, d]
        b.filled[r] = k + 1
        if k + 1 == most:
            _pair(b, r, most // 2)
            b.filled[r] = most // 2
            b.length[r] *= 2
    else:
        return
    for i in range(len(log_g)):
        b.mark[r, i], b.begin[r, i] = w.visits[r, i] + w.seen[r, i], log_g[i]
    for i in range(leads.shape[0]):
        put(leads[i], led[i])
    b.passed[r] = 0


@njit()
def _pair(b, r, half):
    """Two blocks each become one."""
    counts, biases, leads = b.counts[r], b.biases[r], b.leads[r]
    for j in range(half):
        for i in range(counts.shape[1]):
            counts[j, i] = counts[2 * j, i] + counts[2 * j + 1, i]
            biases[j, i] = 0.5 * (biases[2 * j, i] + biases[2 * j + 1, i])
        for i in range(leads.shape[1]):
            for d in range(leads.shape[2]):
                leads[j, i, d] = leads[2 * j, i, d] + leads[2 * j + 1, i, d]


@njit()
def flips(tables: FlipTables, w: Walks, r: int, rules: Rules, blocks: int) -> None:
    """Semigrand flips: a uniform free site, a uniform other species. At most ``blocks`` blocks of attempts."""
    occ, states, log_g, seen, first, second = w.occ[r], w.states[r], w.log_g[r], w.seen[r], w.first[r], w.second[r]
    n_free, n_words, s, e = len(rules.sites), len(states) // len(occ), w.rng[r], w.energy[r]
    k = np.int64((e - rules.origin) / rules.width + 0.5)
    for _ in range(blocks):
        if w.log_f[r] <= rules.final or w.attempts[r] >= rules.limit:
            break
        log_f, low, high, per_width = w.log_f[r], w.low[r], w.high[r], 1.0 / rules.width
        for _ in range(rules.check):
            s = step(s)
            bits = mix(s)
            i = rules.sites[below(bits, n_free)]
            old, n_species = np.int64(occ[i]), tables.n_species[i]
            to = 1 - old if n_species == 2 else below_low(bits, n_species - 1)
            if n_species > 2 and to >= old:
                to += 1
            delta = flip_energy(tables, states, n_words, i, old, to)
            new = np.int64((e + delta - rules.origin) * per_width + 0.5)
            if low <= new <= high:
                ok, s = _accept(log_g[k] - log_g[new], bits, s)
                if ok:
                    set_species(tables, occ, states, i, to)
                    if log_g[new] < 0.0:
                        log_g[new] = _smallest(log_g, low, high)
                        w.late[r] += log_f < LATE
                    e, k = e + delta, new
            log_g[k] += log_f
            seen[k] += 1
            if not rules.levels:
                away = e - (rules.origin + k * rules.width)
                first[k] += away
                second[k] += away * away
        _refine(w, r, rules)
    w.rng[r], w.energy[r] = s, e


@njit()
def swaps(tables: FlipTables, w: Walks, r: int, rules: Rules, blocks: int) -> None:
    """Canonical swaps: the elements of two sites change places. At most ``blocks`` blocks of attempts."""
    occ, states, log_g, seen, first, second = w.occ[r], w.states[r], w.log_g[r], w.seen[r], w.first[r], w.second[r]
    n_words, s, e = len(states) // len(occ), w.rng[r], w.energy[r]
    k = np.int64((e - rules.origin) / rules.width + 0.5)
    for _ in range(blocks):
        if w.log_f[r] <= rules.final or w.attempts[r] >= rules.limit:
            break
        log_f, low, high, per_width = w.log_f[r], w.low[r], w.high[r], 1.0 / rules.width
        for _ in range(rules.check):
            i, j, to_i, to_j, s = draw_pair(tables, occ, rules.sites, s)
            if i >= 0:
                was_i, was_j = np.int64(occ[i]), np.int64(occ[j])
                delta = flip_energy(tables, states, n_words, i, was_i, to_i)
                set_species(tables, occ, states, i, to_i)
                delta += flip_energy(tables, states, n_words, j, was_j, to_j)
                new, ok = np.int64((e + delta - rules.origin) * per_width + 0.5), False
                if low <= new <= high:
                    s = step(s)  # the low bits have named a site
                    ok, s = _accept(log_g[k] - log_g[new], mix(s), s)
                if ok:
                    set_species(tables, occ, states, j, to_j)
                    if log_g[new] < 0.0:
                        log_g[new] = _smallest(log_g, low, high)
                        w.late[r] += log_f < LATE
                    e, k = e + delta, new
                else:
                    set_species(tables, occ, states, i, was_i)
            log_g[k] += log_f
            seen[k] += 1
            if not rules.levels:
                away = e - (rules.origin + k * rules.width)
                first[k] += away
                second[k] += away * away
        _refine(w, r, rules)
    w.rng[r], w.energy[r] = s, e


@njit()
def _count_leads(leads, jump, first, free, occ, states):
    """Add the flips of a configuration by how many levels they lead up."""
    zero = len(leads) // 2
    for i in free:
        up = jump[first[i] + np.uint64(states[i])]
        leads[zero + (up if occ[i] == 0 else -up)] += 1


@njit()
def level_flips(tables: FlipTables, w: Walks, r: int, rules: Rules, blocks: int) -> None:
    """``flips`` in integers, for two species, levels and one table per site (nearest-neighbour models)."""
    occ, states, log_g, seen, target = w.occ[r], w.states[r], w.log_g[r], w.seen[r], tables.target
    free, n_free, s = rules.sites.astype(np.uint64), np.uint64(len(rules.sites)), w.rng[r]
    first, add = by_site(tables)
    square, jump = is_square(add), np.empty((2, len(rules.jump)), dtype=np.uint64)
    for v in range(len(rules.jump)):
        jump[0, v], jump[1, v] = np.uint64(rules.jump[v]), np.uint64(-rules.jump[v])
    low, n, scan, leads = (
        np.uint64(w.low[r]),
        np.uint64(w.high[r] - w.low[r] + 1),
        min(rules.check, len(free)),
        w.leads[r],
    )
    k = np.uint64((w.energy[r] - rules.origin) / rules.width + 0.5)
    for _ in range(blocks):
        if w.log_f[r] <= rules.final or w.attempts[r] >= rules.limit:
            break
        log_f, here = w.log_f[r], log_g[k]
        left = scan if rules.transitions and log_f < SETTLED else -1
        for _ in range(rules.check):
            s = step(s)
            bits = mix(s)
            i = free[((bits >> _32) * n_free) >> _32]
            old = np.uint64(occ[i])
            new = k + jump[old, first[i] + np.uint64(states[i])]
            if new - low < n:  # unsigned: below low is beyond
                there = log_g[new]
                ok, s = _accept(here - there, bits, s)
                if ok:
                    sign = 1 - 2 * np.int64(old)
                    if square:
                        states[target[i, 0]] += sign
                        states[target[i, 1]] += sign
                        states[target[i, 2]] += sign
                        states[target[i, 3]] += sign
                    else:
                        for m in range(np.uint64(target.shape[1])):
                            states[target[i, m]] += sign * add[i, m]
                    occ[i] = _1 - old
                    if there < 0.0:
                        there = _smallest(log_g, w.low[r], w.high[r])
                        w.late[r] += log_f < LATE
                    k, here = new, there
            here += log_f
            log_g[k] = here
            seen[k] += 1
            left -= 1
            if left == 0:
                left = scan
                _count_leads(leads[k], rules.jump, first, free, occ, states)
        _refine(w, r, rules)
    w.rng[r], w.energy[r] = s, rules.origin + np.float64(np.int64(k)) * rules.width
