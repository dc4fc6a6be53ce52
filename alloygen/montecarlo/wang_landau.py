"""Wang-Landau density of states of any Hamiltonian, by semigrand flips at fixed mu or canonical swaps.

A walk in the reaction coordinate E - mu.N accepts a move from bin a to bin b with min(1, g_a / g_b) and raises the bin
where it then is, moved or not, by log f; g tends to the number of states per bin as log f goes to 0 (Wang and Landau,
Phys. Rev. Lett. 86, 2050 (2001)). ``schedule="halving"`` halves log f whenever the histogram of the visited bins is flat,
min >= flatness * mean, as in Du et al., arXiv:2603.14695. It leaves an error that longer runs do not mend;
``schedule="1/t"`` does not: it halves whenever every visited bin has been met again, until log f < n_bins / t, and from
then on sets log f = n_bins / t, t in attempts (Belardinelli and Pereyra, Phys. Rev. E 75, 046701 (2007)).

Bins are the levels of a discrete spectrum, found as the greatest common divisor of the energy changes (Ising at h = 0:
4 J), or of even ``width``; then the mean and variance of the energy inside each bin are measured as well. A bin that no
walk has met is no part of the spectrum and does not spoil flatness; one met later starts at the smallest log g so far.

With ``transitions=True`` (levels and two species) the same walks also count, once a sweep, how many of the flips of the
configuration lead from its level a to each level b. As flips are symmetric,

    g_a T(a -> b) = g_b T(b -> a),    T the mean share of such flips,

and log g is the weighted least-squares solution of the logarithms of these equations (Wang and Swendsen, J. Stat. Phys.
106, 245 (2002); with Wang-Landau: Shell, Debenedetti and Panagiotopoulos, J. Chem. Phys. 119, 9406 (2003)).
"""

from __future__ import annotations

import math
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from numba import njit

from alloygen.conditions import temperature
from alloygen.errors import AlloygenError, BadCondition, CheckpointError
from alloygen.estimate.result import Estimate
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.hamiltonian.flips import FlipTables, fill_states, flip_energy, set_species
from alloygen.io.checkpoint import read_tensors, write_tensors
from alloygen.montecarlo import moves
from alloygen.montecarlo.rng import below, below_low, mix, seeds, step, uniform

FORMAT, VERSION = "alloygen wang-landau", 1
MOVES, SCHEDULES = ("flip", "swap"), ("halving", "1/t")
EVERY = 60.0  # seconds between checkpoints
SETTLED = 1e-4  # transitions are counted at smaller log f only
LATE = 1e-3  # a bin met at a smaller log f is mentioned in the note
MAX_LEVELS, MAX_BINS = 2**14, 2**22
EXPLORE, SCOUT_STEPS, SCOUT_SWEEPS = 1000, 40, 10  # of the pre-run: looks at a walk at log f = 1, temperatures, sweeps at each
LOOK = 5  # sweeps between two looks
_1, _32, _LOW10 = np.uint64(1), np.uint64(32), np.uint64(1023)
_EDGE = np.append(-np.inf, np.log(np.arange(1, 1025) / 1024))


# ---------------------------------------------------------------------- kernels
class Walks(NamedTuple):
    """The state of R walks, one row each; all that the next step depends on.

    occ (R, N) int8, states (R, N * W) int64 (see ``hamiltonian.flips``), energy (R,): E - mu.N
    log_g (R, n_bins): smallest 0, -1 where never met; seen (R, n_bins): histogram of this stage, visits: of those before
    first, second (R, n_bins): sums of the distance from the bin's centre and of its square (not for levels)
    leads (R, n_bins, 2 D + 1): flips that lead D levels down ... D levels up from here, if they are counted, or else empty
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


@njit(cache=True, nogil=True, inline="always")
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


@njit(cache=True, nogil=True)
def _smallest(log_g, low, high):
    """The smallest log g of the bins met so far."""
    smallest = np.inf
    for k in range(low, high + 1):
        if 0.0 <= log_g[k] < smallest:
            smallest = log_g[k]
    return smallest


@njit(cache=True, nogil=True)
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
            w.visits[r] += seen
            seen[:] = 0
        w.inverse_t[r] = rules.one_over_t and w.log_f[r] < n / w.attempts[r]
    if w.inverse_t[r]:
        w.log_f[r] = n / w.attempts[r]


@njit(cache=True, nogil=True)
def _flips(tables, w, r, rules, blocks):
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


@njit(cache=True, nogil=True, inline="always")
def _pair(tables, occ, sites, s):
    """(i, j, species to i, species to j, rng state) of a swap, drawn as in ``moves.swaps``; i < 0 if none is found."""
    n_free = len(sites)
    for _ in range(moves.MAX_TRIES):
        s = step(s)
        bits = mix(s)
        i, j = sites[below(bits, n_free)], sites[below_low(bits, n_free)]
        b_i, b_j = tables.sublattice[i], tables.sublattice[j]
        of_i, of_j = tables.element_index[b_i, occ[i]], tables.element_index[b_j, occ[j]]
        to_i, to_j = tables.species[b_i, of_j], tables.species[b_j, of_i]
        if of_i != of_j and to_i >= 0 and to_j >= 0:
            return i, j, to_i, to_j, s
    return np.int64(-1), np.int64(-1), np.int64(0), np.int64(0), s


@njit(cache=True, nogil=True)
def _swaps(tables, w, r, rules, blocks):
    """Canonical swaps: the elements of two sites change places. At most ``blocks`` blocks of attempts."""
    occ, states, log_g, seen, first, second = w.occ[r], w.states[r], w.log_g[r], w.seen[r], w.first[r], w.second[r]
    n_words, s, e = len(states) // len(occ), w.rng[r], w.energy[r]
    k = np.int64((e - rules.origin) / rules.width + 0.5)
    for _ in range(blocks):
        if w.log_f[r] <= rules.final or w.attempts[r] >= rules.limit:
            break
        log_f, low, high, per_width = w.log_f[r], w.low[r], w.high[r], 1.0 / rules.width
        for _ in range(rules.check):
            i, j, to_i, to_j, s = _pair(tables, occ, rules.sites, s)
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


@njit(cache=True, nogil=True)
def _count_leads(leads, jump, first, free, occ, states):
    """Add the flips of a configuration by how many levels they lead up."""
    zero = len(leads) // 2
    for i in free:
        up = jump[first[i] + np.uint64(states[i])]
        leads[zero + (up if occ[i] == 0 else -up)] += 1


@njit(cache=True, nogil=True)
def _by_site(tables):
    """(first (N,), add (N, M)): where the one table of each site begins, and what 0 -> 1 adds to its neighbours."""
    n, m = tables.target.shape
    first, add = np.empty(n, dtype=np.uint64), np.empty((n, m), dtype=np.int64)
    for i in range(n):
        first[i] = tables.start[tables.sublattice[i], 0]
        add[i] = tables.step[tables.sublattice[i], 0, 1]
    return first, add


@njit(cache=True, nogil=True)
def _level_flips(tables, w, r, rules, blocks):
    """``_flips`` in integers, for two species, levels and one table per site (nearest-neighbour models)."""
    occ, states, log_g, seen, target = w.occ[r], w.states[r], w.log_g[r], w.seen[r], tables.target
    free, n_free, s = rules.sites.astype(np.uint64), np.uint64(len(rules.sites)), w.rng[r]
    first, add = _by_site(tables)
    square = target.shape[1] == 4 and (add == 1).all()  # the square lattice: four equal neighbours, unrolled
    jump = np.stack((rules.jump, -rules.jump)).astype(np.uint64)
    low, n, scan, leads = np.uint64(w.low[r]), np.uint64(w.high[r] - w.low[r] + 1), min(rules.check, len(free)), w.leads[r]
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


# ---------------------------------------------------------------------- the result
def _log_sum(x: np.ndarray) -> float:
    top = x.max()
    return float(top + np.log(np.exp(x - top).sum()))


@dataclass(frozen=True, eq=False)
class DensityOfStates:
    """log g of every bin with states, and the thermodynamics that follow from it at every temperature.

        Z(T) = sum_b g_b exp(-E_b / kT + V_b / 2 (kT)^2),    Phi = -kT log Z / N,

    with the mean E_b and variance V_b of the energy inside a bin (second cumulant; V = 0 for levels). Energies are
    E - mu.N, in the unit of the Hamiltonian. Averages are per lattice site (N of them), as Estimates; standard errors
    come from the spread of the independent walkers and are nan, with a note, where there is one walker. They are
    statistical: what short walks have in common, a bias that falls as 1 / attempts, is not in them.

    energy, variance, log_g, log_g_stderr (bins,); visits (bins,) int64
    walker_log_g (walkers, bins): log g of each walker, -inf where it never was
    mu (n_elements,); move "flip" or "swap"; width of the bins
    log_states: log of the number of states, to which g is normalised; nan if only part of the energies was allowed,
        and then the absolute quantities (log_z, phi, entropy) raise AlloygenError
    attempts: of all walkers; log_f: the largest of all walkers
    converged: every walker came to ``log_f_final``; note: what else there is to say
    joints (walkers, windows - 1): rms difference of log g between neighbouring windows where they overlap
    """

    hamiltonian: Hamiltonian
    mu: np.ndarray
    move: str
    width: float
    energy: np.ndarray
    variance: np.ndarray
    log_g: np.ndarray
    log_g_stderr: np.ndarray
    walker_log_g: np.ndarray
    visits: np.ndarray
    log_states: float
    attempts: int
    log_f: float
    converged: bool
    note: str
    joints: np.ndarray
    _plan: _Plan = field(repr=False)
    _bins: np.ndarray = field(repr=False)
    _start: np.ndarray = field(repr=False)

    # ------------------------------------------------------------------ thermodynamics
    def _moments(self, log_g: np.ndarray, kT: float) -> tuple[float, float, float]:
        """(log Z, mean, variance) of the energy."""
        x = log_g - self.energy / kT + 0.5 * self.variance / kT**2
        log_z = _log_sum(x)
        p, e = np.exp(x - log_z), self.energy - self.variance / kT
        mean = p @ e
        return log_z, float(mean), float(p @ (self.variance + (e - mean) ** 2))

    def _estimate(self, T, quantity, absolute: bool = False) -> Estimate:
        kT = self.hamiltonian.kB * temperature(T)
        if absolute and not np.isfinite(self.log_states):
            raise AlloygenError(
                "expected a density of states over all energies, got one confined by `energies`: its normalisation is "
                "not known. Use averages and differences, or run without `energies`."
            )
        value = quantity(kT, *self._moments(self.log_g, kT))
        if len(self.walker_log_g) < 2:
            return Estimate(value, math.nan, "one walker: no error is known; run with walkers=2 or more")
        each = [quantity(kT, *self._moments(g, kT)) for g in self.walker_log_g]
        note = f"bins of width {self.width:g} are wide beside kT = {kT:g}" if self.variance.max() > kT**2 else ""
        return Estimate(value, np.std(each, ddof=1) / math.sqrt(len(each)), note)

    def log_z(self, T) -> Estimate:
        """log Z of the supercell at temperature T, dimensionless."""
        return self._estimate(T, lambda kT, log_z, u, v: log_z, absolute=True)

    def phi(self, T) -> Estimate:
        """-kT log Z / N: the grand potential at mu per site (for swaps the free energy of the composition)."""
        return self._estimate(T, lambda kT, log_z, u, v: -kT * log_z / self.hamiltonian.n_sites, absolute=True)

    def energy_mean(self, T) -> Estimate:
        """<E - mu.N> / N."""
        return self._estimate(T, lambda kT, log_z, u, v: u / self.hamiltonian.n_sites)

    def heat_capacity(self, T) -> Estimate:
        """Var(E - mu.N) / (kB T^2 N) = T dS/dT at constant mu: energy per temperature and site."""
        return self._estimate(T, lambda kT, log_z, u, v: self.hamiltonian.kB * v / kT**2 / self.hamiltonian.n_sites)

    def entropy(self, T) -> Estimate:
        """(<E - mu.N> - Phi N) / (T N), energy per temperature and site."""
        h = self.hamiltonian
        return self._estimate(T, lambda kT, log_z, u, v: h.kB * (u / kT + log_z) / h.n_sites, absolute=True)

    def energy_histogram(self, T) -> tuple[np.ndarray, np.ndarray]:
        """(energy (bins,), probability (bins,)) of E - mu.N at temperature T; the probabilities sum to 1."""
        kT = self.hamiltonian.kB * temperature(T)
        x = self.log_g - self.energy / kT + 0.5 * self.variance / kT**2
        return self.energy, np.exp(x - _log_sum(x))

    def to_xarray(self):
        """An xarray Dataset over bins (and walkers), with the settings as attributes."""
        import xarray as xr

        names = ("energy", "variance", "log_g", "log_g_stderr", "visits")
        data = {k: ("bin", getattr(self, k)) for k in names} | {"walker_log_g": (("walker", "bin"), self.walker_log_g)}
        plain = ("move", "width", "log_states", "attempts", "log_f", "note")
        attrs = {k: getattr(self, k) for k in plain} | {"mu": self.mu, "converged": int(self.converged)}
        h = self.hamiltonian
        return xr.Dataset(data, attrs=attrs | {"unit": h.unit, "elements": list(h.elements), "fingerprint": h.fingerprint})

    # ------------------------------------------------------------------ configurations
    def multicanonical(self, n: int, sweeps: int = 10, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """``n`` configurations of one chain with the weight 1 / g: flat in energy, of use at every temperature.

        The weight of a configuration at temperature T is exp(log_g - energy / kT) up to a constant, for any log g,
        exact or not (Berg and Neuhaus, Phys. Rev. Lett. 68, 9 (1992)).

        Returns occ (n, N) int8, energy (n,) = E - mu.N, and log_g (n,) of their bins; ``sweeps`` between two. The chain
        does not enter bins that the density of states does not know.

        Raises AlloygenError for n or sweeps below 1.
        """
        if n < 1 or sweeps < 1:
            raise AlloygenError(f"expected n >= 1 and sweeps >= 1, got {n} and {sweeps}")
        plan, bins = self._plan, self._bins
        w = _walks(plan, self._start[None], 0.0, seeds(seed, 1), np.array([[bins[0], bins[-1]]]))
        w.log_g[:] = np.inf
        w.log_g[0, bins] = self.log_g - self.log_g.min()
        rules = plan.rules._replace(check=sweeps * len(plan.rules.sites), final=-1.0, limit=2**62, transitions=False)
        occ, energy = np.empty((n, self.hamiltonian.n_sites), dtype=np.int8), np.empty(n)
        for k in range(n):
            plan.kernel(plan.tables, w, 0, rules, 1)
            occ[k], energy[k] = w.occ[0], w.energy[0]
        return occ, energy, self.log_g[np.searchsorted(bins, plan.bin(energy))]


# ---------------------------------------------------------------------- the run
@dataclass
class _Plan:
    """Tables with mu folded in, the bins, and the kernel that moves."""

    hamiltonian: Hamiltonian
    mu: np.ndarray
    move: str
    tables: FlipTables
    rules: Rules
    n_bins: int = 0

    @property
    def kernel(self):
        if self.move == "swap":
            return _swaps
        return _level_flips if len(self.rules.jump) else _flips

    def bin(self, energy):
        return np.floor((np.asarray(energy) - self.rules.origin) / self.rules.width + 0.5).astype(np.int64)

    def energies(self, occ: np.ndarray) -> np.ndarray:
        """E - mu.N (n,) of occupations (n, N)."""
        occ = torch.as_tensor(occ).long()
        return self.hamiltonian.energy(occ).numpy() - self.hamiltonian.counts(occ).numpy() @ self.mu


def wang_landau(hamiltonian: Hamiltonian, *, mu=None, move: str = "flip", width: float | None = None, energies=None,
                windows: int = 1, overlap: float = 0.5, flatness: float = 0.8, log_f: float = 1.0,
                log_f_final: float = 1e-8, schedule: str = "halving", check: int = 10_000,
                max_attempts: int | None = None, transitions: bool = False, walkers: int = 1, seed: int = 0, threads: int = 1, fixed=None, occ=None,
                progress: bool = False, checkpoint=None) -> DensityOfStates:  # fmt: skip
    """The density of states g(E - mu.N) by Wang-Landau sampling.

    Parameters
    ----------
    hamiltonian : of the supercell; any number of species and sublattices
    mu : (n_elements,) chemical potentials in the unit of the Hamiltonian, zero if not given; flips only
    move : "flip", all compositions, or "swap", the composition of ``occ``
    width : of the bins; the levels of a discrete spectrum if not given, or else 1/500 of the range that a pre-run finds
    energies : (low, high), to which the walk is confined; all if not given. Then g is known up to a factor only
    windows, overlap : number of energy windows and the share of a window that the next one covers. Every window has
        walkers of its own; log g is joined by least squares in the overlaps. The outer windows are open outwards
    flatness, log_f, log_f_final, schedule : see the module; with "1/t" the end is at n_bins / log_f_final attempts
    check : attempts between two looks at the histogram
    max_attempts : of all walkers together, shared evenly; the run then ends with ``converged`` False. Without it a walk
        goes on until ``log_f_final``, however long that takes
    transitions : take log g from counted transitions, see the module: about half the error for the same attempts. Needs
        levels, two species on free sites, and pair energies that fit one table (``hamiltonian.flips``)
    walkers : independent walks (in each window), whose log g is averaged and whose spread gives the errors
    seed : same seed, same result, for any number of threads
    fixed : sites that never change, indices or a mask (N,); needs ``occ``
    occ : (N,) where the walks start; random if not given
    checkpoint : path of a file with the whole state, written every minute, at an interrupt and at the end. A run that
        finds it goes on from there, bit for bit; ``log_f_final`` and ``max_attempts`` may then be others

    Before the walks, a pre-run cools down, heats through infinity to the highest energy, and walks for a while at
    log f = 1. It finds the range, and bins that every walker has to visit (not with windows or ``energies``).

    Raises AlloygenError for settings that cannot be used, CheckpointError for a checkpoint of another run.

    Examples
    --------
    >>> from alloygen.hamiltonian.ising import ising
    >>> dos = wang_landau(ising(4), log_f_final=1e-5, seed=0)
    >>> dos.energy[:3], round(float(np.exp(dos.log_g).sum()))
    (array([-32., -24., -20.]), 65536)
    """
    settings = dict(move=move, width=width, energies=energies, windows=windows, overlap=overlap, flatness=flatness,
                    log_f=log_f, schedule=schedule, check=check, transitions=transitions, walkers=walkers, seed=seed)  # fmt: skip
    _check_settings(settings | dict(log_f_final=log_f_final, max_attempts=max_attempts, threads=threads))
    rows = windows * walkers
    limit = 2**62 if max_attempts is None else -(-int(max_attempts) // rows)
    sites, mu, start = _free(hamiltonian, fixed, occ), _mu(hamiltonian, mu, move), _start(hamiltonian, occ, move)
    rules = (int(check), float(flatness), schedule == "1/t", float(log_f_final), limit, bool(transitions))
    plan, known, found = _scout(hamiltonian, mu, move, sites, start, width, rules, seed)
    bounds = _windows(plan, known, energies, windows, overlap)
    begin = _begin(plan, bounds, walkers, found, start, seed)
    w = _walks(plan, begin, log_f, seeds(seed, 3 + rows)[3:], np.repeat(bounds, walkers, 0))
    if energies is None and windows == 1:
        w.log_g[:, known] = 0.0
    given = dict(mu=mu.tolist(), sites=sites.tolist(), occ=None if start is None else start.tolist())
    metadata = {"format": FORMAT, "version": VERSION, "fingerprint": hamiltonian.fingerprint,
                "lattice": hamiltonian.lattice.to_dict(), "settings": _plain(settings | given)}  # fmt: skip
    if checkpoint is not None and os.path.exists(checkpoint):
        _restore(plan, w, checkpoint, metadata)
    _run(plan, w, threads, checkpoint, metadata, progress)
    return _result(plan, w, walkers, begin[0], energies is None)


def _check_settings(s: dict) -> None:
    whole = ("windows", "check", "walkers", "threads")
    wrong = [k for k in whole if int(s[k]) != s[k] or s[k] < 1]
    wrong += [k for k in ("flatness", "overlap") if not 0 < s[k] < 1]
    wrong += [k for k in ("log_f", "log_f_final") if not (np.isfinite(s[k]) and s[k] > 0)]
    wrong += [k for k in ("width", "max_attempts") if s[k] is not None and not (np.isfinite(s[k]) and s[k] > 0)]
    wrong += [k for k, allowed in (("move", MOVES), ("schedule", SCHEDULES)) if s[k] not in allowed]
    if s["energies"] is not None and not (len(s["energies"]) == 2 and s["energies"][0] < s["energies"][1]):
        wrong.append("energies")
    if wrong:
        raise AlloygenError(
            f"expected {', '.join(whole)} >= 1, 0 < flatness, overlap < 1, log_f, log_f_final, width, max_attempts > 0, "
            f"move of {MOVES}, schedule of {SCHEDULES} and energies (low, high) with low < high, got "
            f"{', '.join(f'{k}={s[k]!r}' for k in wrong)}"
        )


def _plain(x):
    """Settings as JSON gives them back."""
    if isinstance(x, dict):
        return {k: _plain(v) for k, v in x.items()}
    if isinstance(x, (list, tuple, np.ndarray)):
        return [_plain(v) for v in x]
    return x.item() if isinstance(x, np.generic) else x


def _free(h: Hamiltonian, fixed, occ) -> np.ndarray:
    free = h.lattice.n_species > 1
    if fixed is not None:
        fixed = np.asarray(fixed)
        if fixed.dtype == bool and fixed.shape != free.shape:
            raise AlloygenError(f"expected a mask of fixed sites of shape {free.shape}, got {fixed.shape}")
        fixed = np.flatnonzero(fixed) if fixed.dtype == bool else fixed.astype(np.int64).ravel()
        if fixed.size and not (0 <= fixed.min() and fixed.max() < h.n_sites):
            raise AlloygenError(f"expected fixed sites between 0 and {h.n_sites - 1}, got {fixed.min()} to {fixed.max()}")
        if fixed.size and occ is None:
            raise AlloygenError("expected a start (occ=) that says what the fixed sites hold, got none")
        free = free & ~np.isin(np.arange(h.n_sites), fixed)
    if not free.any():
        raise AlloygenError("expected at least one site with two species or more, got none: nothing can change")
    return np.flatnonzero(free)


def _mu(h: Hamiltonian, mu, move: str) -> np.ndarray:
    out = np.zeros(len(h.elements)) if mu is None else np.asarray(mu, dtype=float)
    if out.shape != (len(h.elements),) or not np.isfinite(out).all():
        raise BadCondition(f"expected one finite chemical potential per element {h.elements}, got {mu!r}")
    if move == "swap" and out.any():
        raise BadCondition(f"expected no mu with swaps, which keep the composition, got {mu!r}: leave it out")
    return out


def _start(h: Hamiltonian, occ, move: str) -> np.ndarray | None:
    if occ is None:
        if move == "swap":
            raise AlloygenError("expected a start (occ=) whose composition the swaps keep, got none")
        return None
    start = h.check(occ)
    if len(start) != 1:
        raise AlloygenError(f"expected one start of shape ({h.n_sites},), got {len(start)} of them")
    return start[0].numpy().astype(np.int8)


# ---------------------------------------------------------------------- energies and bins
def _grand_tables(h: Hamiltonian, mu: np.ndarray) -> FlipTables:
    """The flip tables with -mu.N folded into the first table of each sublattice, so that changes are those of E - mu.N."""
    t, value = h.flip_tables, h.flip_tables.value.copy()
    begins, width = np.append(np.unique(t.start), len(value)), t.step.shape[1] - 1
    for b in range(len(t.start)):
        n, at = t.n_species[np.flatnonzero(t.sublattice == b)[0]], t.start[b, 0]
        gain = mu[t.element_index[b, 1:n]] - mu[t.element_index[b, 0]]
        end = begins[np.searchsorted(begins, at, side="right")]
        value[at:end].reshape(-1, width)[:, : n - 1] -= gain
    return t._replace(value=value)


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


def _scout(h, mu, move, sites, start, width, rules, seed):
    """(plan, known (n_bins,) bool, {bin: occ}): the pre-run that finds the energies."""
    tables, bound = _grand_tables(h, mu), _bound(h, mu) * (1 + 1e-9)
    plan = _Plan(h, mu, move, tables, Rules(sites, np.zeros(0, np.int64), 0.0, 1.0, True, *rules))
    first = h.random(1, torch.Generator().manual_seed(seed))[0].numpy().astype(np.int8) if start is None else start
    seen = _anneal(plan, first, seed)
    e = plan.energies(np.array(seen))
    quantum = _quantum(tables.value, 2 * bound) if width is None else None
    flat = e.max() - e.min() <= 1e-9 * max(bound, 1e-300)
    width = quantum or float(width or ((e.max() - e.min()) / 500 if not flat else 1.0))
    below_it = math.ceil((e[0] - (h.constant - bound)) / width) + 1
    plan.n_bins = below_it + math.ceil((h.constant + bound - e[0]) / width) + 2
    if plan.n_bins > MAX_BINS:
        raise AlloygenError(f"expected at most {MAX_BINS} bins, got {plan.n_bins} of width {width:g}: widen them (width=)")
    shift = 0.0 if quantum else 0.1180339887  # levels in the middle of their bins; else no level at an edge, if possible
    quick = quantum and move == "flip" and tables.start.shape[1] == 1 and (tables.n_species[sites] == 2).all()
    quick = quick and tables.step.shape[1] == 2 and tables.n_words == 1
    jump = np.rint(tables.value / width).astype(np.int64) if quick else np.zeros(0, np.int64)
    plan.rules = Rules(sites, jump, float(e[0] - (below_it + shift) * width), width, bool(quantum), *rules)
    if plan.rules.transitions and not quick:
        raise AlloygenError(
            "expected levels, flips of two species and one table per site for transitions=True, got a Hamiltonian (or a width, "
            "or swaps) that has them not. Leave it out."
        )
    known, found = _explore(plan, first, seed)
    known[plan.bin(e)] = True
    return plan, known, {int(k): x for k, x in zip(plan.bin(e), seen, strict=True)} | found


def _anneal(plan: _Plan, first: np.ndarray, seed: int) -> list[np.ndarray]:
    """Configurations on the way from ``first`` down to a low energy, and up to a high one, by Metropolis."""
    h, n = plan.hamiltonian, len(plan.rules.sites)
    scale = max(np.abs(plan.tables.value).max(), 1e-300)
    betas, seen = np.geomspace(0.3, 100.0, SCOUT_STEPS) / scale, [first.copy()]
    for sign, stream in zip((1.0, -1.0), seeds(seed, 2), strict=True):
        w = moves.Walkers(first[None].copy(), np.zeros((1, h.n_sites * plan.tables.n_words), dtype=np.int64),
                          np.zeros(1), np.zeros((1, len(h.elements))), np.array([stream]),
                          np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64))  # fmt: skip
        moves.fill(plan.tables, w)
        zero = np.zeros((1, len(h.elements)))
        for beta in sign * betas:
            for _ in range(SCOUT_SWEEPS):
                if plan.move == "swap":
                    _signed_swaps(plan, w, beta, n)
                else:
                    moves.flips(plan.tables, w, 0, 1, np.array([beta]), zero, n, plan.rules.sites)
                seen.append(w.occ[0].copy())
    return seen


def _signed_swaps(plan: _Plan, w, beta: float, n: int) -> None:
    """Swaps at beta of either sign: a negative one turns the energies round."""
    tables = plan.tables if beta > 0 else plan.tables._replace(value=-plan.tables.value)
    moves.swaps(tables, w, 0, 1, np.array([abs(beta)]), n, plan.rules.sites)


def _explore(plan: _Plan, first: np.ndarray, seed: int) -> tuple[np.ndarray, dict]:
    """(bins met (n_bins,), {bin: occ}) of a walk at log f = 1."""
    w = _walks(plan, first[None], 1.0, seeds(seed, 3)[2:], np.array([[0, plan.n_bins - 1]]))
    rules = plan.rules._replace(check=LOOK * len(plan.rules.sites), flatness=2.0, one_over_t=False, final=-1.0, limit=2**62)
    found = {}
    for _ in range(EXPLORE):
        plan.kernel(plan.tables, w, 0, rules, 1)
        k = int(plan.bin(w.energy[0]))
        if k not in found:
            found[k] = w.occ[0].copy()
    return w.log_g[0] >= 0, found


# ---------------------------------------------------------------------- windows and walks
def _windows(plan: _Plan, known: np.ndarray, energies, n: int, overlap: float) -> np.ndarray:
    """First and last bin of each window (n, 2)."""
    low, high = (0, plan.n_bins - 1) if energies is None else np.clip(plan.bin(energies), 0, plan.n_bins - 1)
    met = np.flatnonzero(known[low : high + 1]) + low
    if len(met) == 0:
        e = np.flatnonzero(known)[[0, -1]] * plan.rules.width + plan.rules.origin
        raise AlloygenError(
            f"expected energies that occur, got {energies} where the pre-run found none between {e[0]:.6g} and {e[1]:.6g}. "
            "Widen them."
        )
    length = (met[-1] - met[0] + 1) / (1 + (n - 1) * (1 - overlap))
    first = met[0] + np.round(np.arange(n) * length * (1 - overlap)).astype(np.int64)
    out = np.stack([first, first + max(int(np.ceil(length)), 1) - 1], 1)
    out[0, 0], out[-1, 1] = low, high
    return out


def _begin(plan: _Plan, bounds, walkers: int, found: dict, start, seed: int) -> np.ndarray:
    """Occupations (windows * walkers, N) to start from: ``start`` or random ones, in windows what the pre-run met."""
    h, rng = plan.hamiltonian, np.random.default_rng([seed, 1])
    whole = len(bounds) == 1 and bounds[0, 0] == 0 and bounds[0, 1] == plan.n_bins - 1
    if whole:
        if start is not None:
            return np.tile(start, (walkers, 1))
        return rng.integers(0, h.lattice.n_species, size=(walkers, h.n_sites)).astype(np.int8)
    out = []
    for low, high in bounds:
        inside = sorted(k for k in found if low <= k <= high)
        if not inside:
            e = np.array([low, high]) * plan.rules.width + plan.rules.origin
            raise AlloygenError(
                f"expected a start with an energy in the window {e[0]:.6g} to {e[1]:.6g}, the pre-run met none. "
                "Take fewer windows or wider `energies`."
            )
        out += [found[inside[int(rng.integers(len(inside)))]] for _ in range(walkers)]
    return np.array(out)


def _walks(plan: _Plan, occ: np.ndarray, log_f: float, rng: np.ndarray, bounds: np.ndarray) -> Walks:
    """Walks at their start; bounds (R, 2) are the bins allowed to each."""
    n, bins = len(occ), plan.n_bins
    span = 2 * int(np.abs(plan.rules.jump).max()) + 1 if plan.rules.transitions else 0
    whole = lambda *shape: np.zeros(shape, dtype=np.int64)  # noqa: E731
    w = Walks(
        occ.astype(np.int8), whole(n, plan.hamiltonian.n_sites * plan.tables.n_words), plan.energies(occ),
        np.full((n, bins), -1.0), whole(n, bins), whole(n, bins), np.zeros((n, bins)), np.zeros((n, bins)),
        whole(n, bins, span), rng.copy(), np.full(n, float(log_f)), whole(n), whole(n), whole(n), whole(n),
        bounds[:, 0].astype(np.int64).copy(), bounds[:, 1].astype(np.int64).copy(),
    )  # fmt: skip
    _fill(plan, w)
    w.log_g[np.arange(n), plan.bin(w.energy)] = 0.0
    return w


def _fill(plan: _Plan, w: Walks) -> None:
    for r in range(len(w.occ)):
        fill_states(plan.tables, w.occ[r], w.states[r])


def _run(plan: _Plan, w: Walks, threads: int, checkpoint, metadata: dict, progress: bool) -> None:
    """Move all walks to their end; the state is in a file whenever this is left."""
    rules, blocks, saved = plan.rules, max(1, 2_000_000 // plan.rules.check), time.monotonic()
    bar = _bar(progress)
    try:
        with ThreadPoolExecutor(threads) as pool:  # left only when every call has come to its end
            while len(rows := np.flatnonzero((w.log_f > rules.final) & (w.attempts < rules.limit))):
                if threads == 1:
                    for r in rows:
                        plan.kernel(plan.tables, w, r, rules, blocks)
                else:
                    list(pool.map(lambda r: plan.kernel(plan.tables, w, r, rules, blocks), rows))
                if bar is not None:
                    bar.update(int(w.attempts.sum()) - bar.n)
                    bar.set_postfix(log_f=f"{w.log_f.max():.2e}", running=len(rows))
                if checkpoint is not None and time.monotonic() - saved > EVERY:
                    _save(w, checkpoint, metadata)
                    saved = time.monotonic()
    finally:
        if checkpoint is not None:
            _save(w, checkpoint, metadata)
        if bar is not None:
            bar.close()


def _bar(progress: bool):
    if not progress:
        return None
    from alloygen.progress import tqdm

    return tqdm(unit=" attempts", unit_scale=True, desc="Wang-Landau")


def _save(w: Walks, path, metadata: dict) -> None:
    arrays = {k: v for k, v in w._asdict().items() if k != "states"} | {"rng": w.rng.view(np.int64)}
    write_tensors(path, {k: torch.from_numpy(v) for k, v in arrays.items()}, metadata)


def _restore(plan: _Plan, w: Walks, path, metadata: dict) -> None:
    """Put the state of a file into ``w``, or a CheckpointError that says which run it belongs to."""
    tensors, found = read_tensors(path)
    flat = lambda m: {k: v for k, v in m.items() if k != "settings"} | m.get("settings", {})  # noqa: E731
    own, other = flat(_plain(metadata)), flat(found)
    for key in own:
        if own[key] != other.get(key):
            raise CheckpointError(
                f"expected a checkpoint of this run, with {key} = {own[key]!r}, got {key} = {other.get(key)!r} in "
                f"{os.fspath(path)!r}. Use the same settings, or another file."
            )
    for name in w._fields:
        if name != "states":
            array = tensors[name].numpy()
            getattr(w, name)[...] = array.view(np.uint64) if name == "rng" else array
    _fill(plan, w)


# ---------------------------------------------------------------------- from walks to a density of states
def _result(plan: _Plan, w: Walks, walkers: int, start: np.ndarray, whole: bool) -> DensityOfStates:
    visits = w.visits + w.seen
    log_g = np.where(visits > 0, w.log_g, np.nan)
    if plan.rules.transitions:
        log_g = np.array([_from_transitions(*x) for x in zip(log_g, w.leads, strict=True)])
    log_g = log_g.reshape(-1, walkers, plan.n_bins)
    joined = [_join(log_g[:, k], w.low[::walkers], w.high[::walkers]) for k in range(walkers)]
    total = visits.sum(0)
    bins = np.flatnonzero(total)
    curves = np.array([c[bins] for c, _ in joined])
    log_states = _log_states(plan, start) if whole else math.nan
    normal = lambda x: x + ((log_states if whole else 0.0) - _log_sum(x))  # noqa: E731
    curves = np.array([normal(np.where(np.isnan(c), -np.inf, c)) for c in curves])
    met = np.isfinite(curves)
    count = met.sum(0)
    mean = np.where(met, curves, 0.0).sum(0) / count
    spread = np.sqrt(np.where(met, curves - mean, 0.0).__pow__(2).sum(0) / np.maximum(count - 1, 1))
    centre, n = plan.rules.origin + bins * plan.rules.width, total[bins]
    away = w.first.sum(0)[bins] / n
    variance = np.maximum(w.second.sum(0)[bins] / n - away**2, 0.0)
    return DensityOfStates(
        hamiltonian=plan.hamiltonian, mu=plan.mu, move=plan.move, width=plan.rules.width, energy=centre + away,
        variance=variance, log_g=normal(mean), log_g_stderr=np.where(count > 1, spread / np.sqrt(count), np.nan),
        walker_log_g=curves, visits=n, log_states=log_states, attempts=int(w.attempts.sum()),
        log_f=float(w.log_f.max()), converged=bool((w.log_f <= plan.rules.final).all()),
        note=_note(plan, w, walkers, met, whole), joints=np.array([rms for _, rms in joined]),
        _plan=plan, _bins=bins, _start=w.occ[0].copy(),
    )  # fmt: skip


def _from_transitions(log_g: np.ndarray, leads: np.ndarray) -> np.ndarray:
    """log g (n_bins,) of one walk from its counts (n_bins, 2 D + 1), by weighted least squares.

    log g_b - log g_a = log T(a -> b) / T(b -> a) with weight 1 / (1 / count + 1 / count); differences of the given log g
    of neighbouring levels, with next to no weight, stand in where nothing was counted.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.linalg import spsolve

    met, zero = np.flatnonzero(np.isfinite(log_g)), leads.shape[1] // 2
    if len(met) < 2:
        return log_g
    place = np.full(len(log_g), -1)
    place[met] = np.arange(len(met))
    total = np.maximum(leads.sum(1), 1)
    a, b, y, weight = [place[met[:-1]]], [place[met[1:]]], [np.diff(log_g[met])], [np.full(len(met) - 1, 1e-6)]
    for d in range(1, zero + 1):
        up, down = leads[:-d, zero + d], leads[d:, zero - d]
        k = np.flatnonzero((up > 0) & (down > 0) & (place[:-d] >= 0) & (place[d:] >= 0))
        a, b = [*a, place[k]], [*b, place[k + d]]
        y.append(np.log(up[k] / total[k]) - np.log(down[k] / total[k + d]))
        weight.append(1 / (1 / up[k] + 1 / down[k]))
    a, b, y, weight = (np.concatenate(x) for x in (a, b, y, weight))
    rows = np.tile(np.arange(len(y)), 2)
    slope = csr_array((np.repeat([1.0, -1.0], len(y)), (rows, np.concatenate([b, a]))), shape=(len(y), len(met)))[:, 1:]
    normal = slope.T @ (slope * weight[:, None])
    out = np.full(len(log_g), np.nan)
    out[met] = np.append(0.0, spsolve(normal.tocsc(), slope.T @ (weight * y)))
    return out


def _join(log_g: np.ndarray, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, list[float]]:
    """(log g (n_bins,), rms mismatch of each overlap) of one walker's windows (windows, n_bins), nan where not met.

    The offset that makes the squared differences in an overlap smallest is their mean; there the two curves are
    blended, each with a weight that falls to 0 towards its own end.
    """
    out, rms = log_g[0].copy(), []
    for k in range(1, len(log_g)):
        shared = np.isfinite(out) & np.isfinite(log_g[k])
        if not shared.any():
            raise AlloygenError(
                f"expected windows {k - 1} and {k} to share bins that both walkers met, got none. Take fewer windows, a "
                "larger overlap or more attempts."
            )
        difference = (out - log_g[k])[shared]
        new, weight = log_g[k] + difference.mean(), np.zeros(len(out))
        a, b = low[k], high[k - 1]
        weight[a : b + 1] = (np.arange(b - a + 1) + 1) / (b - a + 2)
        blend = (1 - weight) * out + weight * new
        out = np.where(shared, blend, np.where(np.isfinite(out), out, new))
        rms.append(float(difference.std()))
    return out, rms


def _log_states(plan: _Plan, start: np.ndarray) -> float:
    """log of the number of states that the moves can reach: prod S_i, or the arrangements of the composition."""
    t, sites = plan.tables, plan.rules.sites
    if plan.move == "flip":
        return float(np.log(t.n_species[sites]).sum())
    allowed: dict[tuple, int] = {}
    counts = np.zeros(t.species.shape[1], dtype=np.int64)
    for i in sites:
        elements = t.element_index[t.sublattice[i], : t.n_species[i]]
        kind = tuple(sorted(elements.tolist()))
        allowed[kind] = allowed.get(kind, 0) + 1
        counts[elements[start[i]]] += 1
    ways = {tuple(int(c) for c in counts): 0.0}
    kinds = sorted(allowed.items(), key=lambda x: x[1])
    for position, (elements, n) in enumerate(kinds):
        new: dict[tuple, float] = {}
        for left, log_ways in ways.items():
            for split in _splits(n, elements, left, position == len(kinds) - 1):
                rest = list(left)
                for e, c in zip(elements, split, strict=True):
                    rest[e] -= c
                more = log_ways + math.lgamma(n + 1) - sum(math.lgamma(c + 1) for c in split)
                new[tuple(rest)] = float(np.logaddexp(new.get(tuple(rest), -np.inf), more))
        ways = new
    return ways[(0,) * len(counts)]


def _splits(n: int, elements, left, last: bool):
    """Ways to take n atoms of the elements from what is left; if nothing may remain, all of it."""
    if last:
        split = tuple(left[e] for e in elements)
        return [split] if sum(split) == n == sum(left) else []
    if len(elements) == 1:
        return [(n,)] if n <= left[elements[0]] else []
    return [
        (c, *rest)
        for c in range(min(n, left[elements[0]]) + 1)
        for rest in _splits(n - c, elements[1:], left, False)
    ]


def _note(plan: _Plan, w: Walks, walkers: int, met: np.ndarray, whole: bool) -> str:
    out = []
    if plan.rules.transitions and not w.leads.any(axis=(1, 2)).all():
        out.append(f"no transitions counted where log f did not come below {SETTLED:g}: log g is that of the plain walk")
    if (w.log_f > plan.rules.final).any():
        out.append(f"stopped at max_attempts with log f = {w.log_f.max():.2g}, not {plan.rules.final:g}")
    if walkers == 1:
        out.append("one walker: no errors are known; run with walkers=2 or more")
    if not met.all():
        out.append(f"{int((~met.all(0)).sum())} bins were not met by every walker")
    if w.late.any():
        out.append(f"{int(w.late.sum())} bins were first met at log f < {LATE:g}: their g may be too large")
    if not whole:
        out.append("confined to a range of energies: g is known up to a factor")
    return "; ".join(out)
