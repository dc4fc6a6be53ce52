"""Swendsen-Wang and Wolff moves for two-species Hamiltonians of ferromagnetic pairs, in any field.

With spins s = -1, +1 for the two species of a site, and the chemical potentials put into the fields,

    E - mu.N = const - sum_{i<j} K_ij s_i s_j - sum_i H_i s_i,     K_ij >= 0,    mu_1 - mu_0 on site i adds half of it to H_i.

Like neighbours are joined with probability 1 - exp(-2 beta K_ij), and a spin along its field with the *ghost* spin with
probability 1 - exp(-2 beta |H_i|). Clusters that hold the ghost stay as they are; any other may be flipped as a whole.

*Swendsen-Wang* forms all clusters and flips each free one with probability 1/2 (Phys. Rev. Lett. 58, 86 (1987));
*Wolff* grows one cluster from a uniform site and flips it if it is free (Phys. Rev. Lett. 62, 361 (1989)). The ghost is
that of Coniglio, de Liberto, Monroy and Peruggi, J. Phys. A 22, L837 (1989). Both keep detailed balance.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from alloygen.arguments import one_of, whole_number
from alloygen.arrays import as_array
from alloygen.compiled import njit
from alloygen.conditions.record import Condition
from alloygen.errors import AlloygenError, BadCondition
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.hamiltonian.kept import require_kept
from alloygen.montecarlo.rng import below, mix, seeds, step, uniform
from alloygen.montecarlo.single_moves import Flip
from alloygen.montecarlo.walkers import MOST_STEPS, share
from alloygen.runtime.tensors import matching, require_range
from alloygen.types import ArrayLike

KINDS = ("wolff", "swendsen-wang")


class Couplings(NamedTuple):
    """A Hamiltonian as couplings of spins: the neighbours of site i are ``site[ptr[i]:ptr[i+1]]``.

    ptr (N+1,) and site (M,) int64, strength (M,) the K_ij > 0 (each pair twice), field (N,) or (C, N) the H_i with mu in
    them, constant: E - mu.N = constant - sum_{i<j} K_ij s_i s_j - sum_i H_i s_i (float, or (C,)).
    """

    ptr: np.ndarray
    site: np.ndarray
    strength: np.ndarray
    field: np.ndarray
    constant: np.ndarray


def couplings(hamiltonian: Hamiltonian, mu: ArrayLike | None = None) -> Couplings:
    """Pair couplings and fields of a Hamiltonian with points and pairs only, mu (n_elements,) or (C, n_elements).

    The site functions of a site are written phi(s) = a + b s with a = [phi(1) + phi(0)] / 2, b = [phi(1) - phi(0)] / 2, so
    that a point J phi_i adds -J b_i to H_i, and a pair J phi_i phi_j adds -J b_i b_j to K_ij and -J a_j b_i to H_i.
    Sites with a single species have b = 0: they enter through their neighbours' fields.

    Raises :class:`AlloygenError` for a third species on a site, for clusters of three sites or more, and for any K_ij < 0.

    Examples
    --------
    >>> from alloygen.hamiltonian.ising import ising
    >>> c = couplings(ising(3, h=0.2), mu=[0.0, 0.1])
    >>> len(c.site), set(c.strength.tolist()), set(c.field.round(9).tolist())
    (36, {1.0}, {0.25})
    """
    h = hamiltonian
    _check(h)
    width = len(h.functions)
    low = h.site_functions[:, :, 0].ravel()
    high = np.where(np.repeat(h.lattice.n_species, width) > 1, h.site_functions[:, :, -1].ravel(), low)
    a, b = 0.5 * (high + low), 0.5 * (high - low)
    field, constant, pairs = np.zeros(h.n_sites), h.constant, []
    for factors, coef in h.clusters:
        if factors.shape[1] == 1:
            i = factors[:, 0]
            np.add.at(field, i // width, -coef * b[i])
            constant += coef @ a[i]
        elif factors.shape[1] == 2:
            i, j = factors.T
            pairs.append((i // width, j // width, -coef * b[i] * b[j]))
            np.add.at(field, i // width, -coef * b[i] * a[j])
            np.add.at(field, j // width, -coef * b[j] * a[i])
            constant += coef @ (a[i] * a[j])
    return Couplings(*_neighbours(h.n_sites, pairs), *_with_mu(h, field, constant, mu))


def _check(h: Hamiltonian) -> None:
    other = "Single flips (montecarlo.Chains) take any Hamiltonian."
    most = int(h.lattice.n_species.max())
    if most != 2:
        raise AlloygenError(f"cluster moves: expected sites of one or two species, some of two, got {most}. {other}")
    orders = [factors.shape[1] for factors, coef in h.clusters if np.any(coef)]
    if max(orders, default=0) > 2:
        raise AlloygenError(
            f"cluster moves: expected points and pairs only, got clusters of {max(orders)} sites. {other}"
        )


def _neighbours(n: int, pairs) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Neighbour lists (ptr, site, strength) of pairs (i, j, K); those of the same two sites add up, zeros drop out."""
    i, j, K = (np.concatenate(x) for x in zip(*pairs, strict=True)) if pairs else np.zeros((3, 0), dtype=np.int64)
    keys, inverse = np.unique(np.minimum(i, j) * n + np.maximum(i, j), return_inverse=True)
    total = np.bincount(inverse.ravel(), weights=K, minlength=len(keys))
    kept = np.abs(total) > 1e-12 * np.abs(K).max(initial=0.0)
    (i, j), K = np.divmod(keys[kept], n), total[kept]
    if (K < 0).any():
        w = K.argmin()
        raise AlloygenError(
            f"cluster moves: expected couplings K_ij >= 0, which favour like spins, got {K[w]:.6g} between the sites {i[w]} "
            f"and {j[w]} and {int((K < 0).sum())} negative ones in all. Single flips (montecarlo.Chains) take any sign."
        )
    order = np.lexsort((np.r_[j, i], np.r_[i, j]))
    ptr = np.searchsorted(np.r_[i, j][order], np.arange(n + 1))
    return ptr, np.r_[j, i][order], np.r_[K, K][order]


def _with_mu(h: Hamiltonian, field, constant: float, mu) -> tuple[np.ndarray, np.ndarray]:
    """Fields and constant with -mu.N in them, N_k being the number of sites that hold element k."""
    mu = np.zeros(len(h.elements)) if mu is None else np.asarray(mu, dtype=float)
    if mu.ndim not in (1, 2) or mu.shape[-1] != len(h.elements):
        raise BadCondition(
            f"expected chemical potentials of shape (n_elements,) or (C, n_elements) in the order {h.elements}, got "
            f"shape {mu.shape}"
        )
    first, last = _elements(h)
    field = field + 0.5 * (mu[..., last] - mu[..., first])
    return field, constant - 0.5 * (mu[..., last] + mu[..., first]).sum(-1)


def _elements(h: Hamiltonian) -> tuple[np.ndarray, np.ndarray]:
    """The element of s = -1 and of s = +1 on each site, (N,) each; the same one where there is no choice."""
    table = h.lattice.site_elements
    return table[:, 0], np.where(h.lattice.changeable, table[:, -1], table[:, 0])


@njit(inline="always")
def _bits(state, r):
    """64 random bits of chain r."""
    state[r] = step(state[r])
    return mix(state[r])


@njit()
def _grow(i, x, mark, members, ptr, site, kind, join, ghost, state, r, whole):
    """Grow the cluster of site i among unmarked sites: (its size, whether it is free); its sites are in ``members``.

    ghost (N,) is the probability of a bond to the ghost, with the sign of the field; without ``whole`` growth ends there.
    """
    mark[i] = True
    members[0] = i
    size, done, free = 1, 0, True
    while done < size:
        i = members[done]
        done += 1
        held = ghost[i] if x[i] else -ghost[i]
        if free and held > 0.0 and uniform(_bits(state, r)) < held:
            free = False
            if not whole:
                break
        for t in range(ptr[i], ptr[i + 1]):
            j = site[t]
            if not mark[j] and x[j] == x[i] and uniform(_bits(state, r)) < join[kind[t]]:
                mark[j] = True
                members[size] = j
                size += 1
    return size, free


@njit()
def _wolff(occ, moves, sites, ptr, site, kind, join, ghost, state, flipped):
    """``moves`` clusters of every chain, each from a uniform site of ``sites``."""
    mark = np.zeros(occ.shape[1], dtype=np.bool_)
    members = np.empty(occ.shape[1], dtype=np.int64)
    for r in range(occ.shape[0]):
        x = occ[r]
        for _ in range(moves):
            i = sites[below(_bits(state, r), len(sites))]
            size, free = _grow(i, x, mark, members, ptr, site, kind, join[r], ghost[r], state, r, False)
            for k in range(size):
                mark[members[k]] = False
                if free:
                    x[members[k]] = 1 - x[members[k]]
            flipped[r] += size if free else 0


@njit()
def _swendsen_wang(occ, moves, sites, ptr, site, kind, join, ghost, state, flipped):
    """``moves`` times all clusters of every chain. A site once marked is never compared again, so it may flip at once."""
    mark = np.empty(occ.shape[1], dtype=np.bool_)
    members = np.empty(occ.shape[1], dtype=np.int64)
    for r in range(occ.shape[0]):
        x = occ[r]
        for _ in range(moves):
            mark[:] = False
            for i in sites:
                if mark[i]:
                    continue
                size, free = _grow(i, x, mark, members, ptr, site, kind, join[r], ghost[r], state, r, True)
                if free and uniform(_bits(state, r)) < 0.5:
                    for k in range(size):
                        x[members[k]] = 1 - x[members[k]]
                    flipped[r] += size


class ClusterChains:
    """``copies`` Markov chains of cluster moves per condition, with the attributes of the single-flip chains.

    Parameters
    ----------
    hamiltonian : points and ferromagnetic pairs of two species, see :func:`couplings`
    condition : C of them, or one
    seed : the same seed and arguments give the same run
    kind : "wolff" or "swendsen-wang"
    occ : starting occupations (C, N) or (copies * C, N), random if not given
    copies : independent chains of each condition, numbered copy * C + condition

    Attributes: T, mu, beta (C,); by chain, R = copies * C of them: occ int8 (R, N), energy (R,) per supercell without the
    mu term, counts (R, n_elements), rng uint64 (R,). ``accepted`` (R,) counts sites flipped and ``attempts`` (R,) moves
    times sites, so that ``acceptance`` is the part of the lattice flipped in a move. ``restore(state())`` continues a
    run bit for bit.

    At high T a Wolff cluster is one spin that always flips, and the number of + spins is odd and even in turn: take
    Swendsen-Wang there.

    Raises :class:`AlloygenError` where the moves do not apply and :class:`BadCondition` for a condition of other elements.

    Examples
    --------
    >>> from alloygen.hamiltonian.ising import ising
    >>> h = ising(8)
    >>> chains = ClusterChains(h, h.condition([2.0, 2.5], [[0, 0.0], [0, 0.1]]), seed=0)
    >>> chains.step(20)
    >>> occ, energy = chains.configurations()
    >>> occ.shape, bool((energy == chains.hamiltonian.energy(occ)).all())
    ((2, 64), True)
    """

    keeps_composition = False
    move = None  # none of single sites

    def __init__(
        self,
        hamiltonian: Hamiltonian,
        condition: Condition,
        seed: int,
        kind: str = "wolff",
        occ: ArrayLike | None = None,
        copies: int = 1,
    ):
        one_of(kind, "kind", KINDS)
        self.hamiltonian, self.kind, self.copies = hamiltonian, kind, whole_number(copies, "copies")
        self.T, self.mu = (np.array(x, order="C") for x in hamiltonian.require(condition, Condition).rows.arrays())
        self.beta = 1.0 / (hamiltonian.kB * self.T)
        c = couplings(hamiltonian, self.mu)
        values, which = np.unique(c.strength.round(14), return_inverse=True)
        join = -np.expm1(-2.0 * self.beta[:, None] * values)
        ghost = -np.sign(c.field) * np.expm1(-2.0 * self.beta[:, None] * np.abs(c.field))
        self._join, self._ghost = np.tile(join, (self.copies, 1)), np.tile(ghost, (self.copies, 1))
        self._lists = c.ptr, c.site, which.ravel()
        self.sites = np.flatnonzero(hamiltonian.lattice.changeable)
        n = self.copies * len(self.T)
        start = hamiltonian.random(n, seed) if occ is None else hamiltonian.check(as_array(occ))
        if len(start) not in (len(self.T), n):
            raise AlloygenError(f"expected one configuration per condition ({len(self.T)}), got {len(start)}")
        self.occ = np.tile(start, (n // len(start), 1))
        self.rng = seeds(seed, n)
        self.accepted, self.attempts = np.zeros((2, n), dtype=np.int64)
        self._observe()

    def step(self, sweeps: int) -> None:
        """``sweeps`` moves of every chain: a Wolff move is one cluster, a Swendsen-Wang move is all of them.

        A fixed number of clusters, since one that waits for so many flipped sites would prefer some configurations.
        """
        move = _wolff if self.kind == "wolff" else _swendsen_wang
        move(self.occ, sweeps, self.sites, *self._lists, self._join, self._ghost, self.rng, self.accepted)
        self.attempts += sweeps * len(self.sites)
        self._observe()

    def _observe(self) -> None:
        self.energy, self.counts = self.hamiltonian.energy(self.occ), self.hamiltonian.counts(self.occ)

    def configurations(self) -> tuple[np.ndarray, np.ndarray]:
        """(occ (R, N) int8, energy (R,)) by condition."""
        return self.occ.copy(), self.energy.copy()

    @property
    def log_states(self) -> float | None:
        """Log of the number of configurations, the log Z of T = infinity."""
        return Flip().log_states(self.hamiltonian.lattice, self.sites, self.occ)

    @property
    def acceptance(self) -> np.ndarray:
        """Sites flipped per site and move, (C,)."""
        return share(self.accepted, self.attempts, self.copies)

    def reset_counters(self) -> None:
        """Start the statistics of acceptance anew (after equilibration)."""
        self.accepted[:] = self.attempts[:] = 0

    def state(self) -> dict[str, np.ndarray]:
        """All arrays that a continued run needs (copies of them), by name."""
        return {k: getattr(self, k).copy() for k in ("occ", "rng", "accepted", "attempts")}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Put back what ``state`` gave, into chains made with the same arguments."""
        found = matching(state, self.state())
        require_kept(self.hamiltonian, found["occ"])
        require_range(found, accepted=(0, MOST_STEPS), attempts=(0, MOST_STEPS))
        for name, value in found.items():
            getattr(self, name)[...] = value
        self._observe()
