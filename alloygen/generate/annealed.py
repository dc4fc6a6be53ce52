"""Annealed importance sampling: draws of a model at a hotter condition, moved to the target by compiled Monte Carlo with exact weights.

Along a path of conditions from (beta_0, mu_0), where the model q is good, to the target, each step multiplies the weight by the ratio of
the unnormalised laws before flips at the new condition follow (Neal, Stat. Comput. 11, 125 (2001)),

    log w = -u_0(x_0) - log q(x_0) + sum_k [u_{k-1}(x_{k-1}) - u_k(x_{k-1})],      u_k = beta_k (E - mu_k.N).

With a :class:`~alloygen.generate.bridge.Bridge` the Hamiltonian changes along the path too, E_k = (1 - l_k) E_0 + l_k E_1 in u_k.

E[w] = Z at the target for any number of steps and sweeps, so log Z stays unbiased in Z while NESS rises with effort. With ``islands`` the
samples of each of G groups are resampled among themselves when their weights get uneven (sequential Monte Carlo: Del Moral, Doucet
and Jasra, J. R. Stat. Soc. B 68, 411 (2006)); groups stay independent, which is what error bars are made of.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from alloygen.arguments import whole_number
from alloygen.conditions.record import Condition, semigrand
from alloygen.errors import AlloygenError
from alloygen.estimate.result import Estimate
from alloygen.estimate.weights import log_mean, log_mean_exp, log_mean_of_islands, ness, normalized_weights
from alloygen.generate.bridge import Bridge
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.montecarlo.single_moves import Move
from alloygen.types import ArrayLike

if TYPE_CHECKING:
    from alloygen.montecarlo.chains import Chains


@dataclass(frozen=True, repr=False)
class Annealed:
    """occ (n, N) int8, energy (n,), log_w (n,) at the target; ness (K + 1,) along the path; resampled: number of steps at which a group was;
    islands: groups that were resampled, 0 for none; spread (K,): weighted standard deviation of what each step did to log w"""

    occ: np.ndarray
    energy: np.ndarray
    log_w: np.ndarray
    ness: np.ndarray
    resampled: int
    islands: int = 0
    spread: np.ndarray | None = None

    def log_z(self) -> Estimate:
        """log Z from the mean weight, its error from the samples or, where they were resampled, from the spread of the islands."""
        found = log_mean_of_islands(self.log_w, self.islands) if self.islands else log_mean(self.log_w)
        return Estimate(found.value, found.stderr, found.note)

    def __repr__(self) -> str:
        return f"Annealed({len(self.occ)} samples, NESS {self.ness[-1]:.3f}, resampled {self.resampled} times)"


def anneal(hamiltonian: Hamiltonian | Bridge, occ: np.ndarray, log_w: ArrayLike, path: Condition, *, sweeps: int = 20, seed: int = 0, threads: int = 1, known: ArrayLike | None = None,
           islands: int = 0, move: str | Move = "flip", share: ArrayLike | None = None) -> Annealed:  # fmt: skip
    """Move weighted samples along a path of conditions.

    Parameters
    ----------
    hamiltonian : of all conditions, or a Bridge from that of the first to that of the last, with ``share``
    occ : (n, N) samples; log_w (n,) their log-weights at the first condition, -u_0 - log q
    path : K + 1 conditions, the first that of ``log_w``, the last the target
    sweeps : flips per site at each condition after the first
    known : (N,) species index of sites that never change, -1 where free
    move : what moves them, "flip", or what keeps the composition, "swap"
    islands : groups that are resampled among themselves when their effective size falls below half; 0 for none
    share : (K + 1,) l of the bridge along the path, from 0 to 1

    Examples
    --------
    >>> from alloygen.hamiltonian.ising import ising
    >>> h = ising(4)
    >>> occ = h.random(2000, 0)                                              # q: uniform, exact at T = infinity
    >>> T = 1 / np.linspace(1e-9, 1 / 2.0, 40)
    >>> made = anneal(h, occ, np.full(2000, 16 * np.log(2)), h.condition(T, [0.0, 0.0]), sweeps=5)
    >>> bool(abs(-2.0 * made.log_z().value / 16 + 2.13817) < 0.02)           # Kaufman's value
    True
    """
    from alloygen.montecarlo.chains import Chains

    log_w = np.array(log_w, dtype=float)
    n = len(log_w)
    if len(path) < 1 or len(occ) != n or sweeps < 0:
        raise AlloygenError(
            f"expected at least one condition, one weight per sample and sweeps >= 0, got {path}, {n} weights of {len(occ)} samples "
            f"and {sweeps}"
        )
    if islands:
        require_islands(islands, n)
    path_T, path_mu = path.arrays()
    beta = 1.0 / (path.kB * path_T)
    bridge = hamiltonian if isinstance(hamiltonian, Bridge) else None
    first, last = (bridge.between, bridge.new) if bridge is not None else (cast(Hamiltonian, hamiltonian),) * 2
    along = np.zeros(len(path_T)) if bridge is None else _shares(share, len(path_T))
    chains = Chains(first, path[0].expand(n), seed, occ=occ, known=known, threads=threads, move=move)
    if bridge is not None:
        chains.walkers.energy[:], chains.tables = bridge.old.energy(chains.walkers.occ), bridge.tables(0.0)
    rng, times, found, spread = np.random.default_rng(seed), 0, [ness(log_w)], []
    for k in range(1, len(path_T)):
        walkers = chains.walkers
        energy, counts = walkers.energy, walkers.counts
        change = semigrand(
            (beta[k] - beta[k - 1]) * energy, counts, beta[k] * path_mu[k] - beta[k - 1] * path_mu[k - 1]
        )
        if bridge is not None and along[k] != along[k - 1]:
            moved = (along[k] - along[k - 1]) * bridge.gap.energy(walkers.occ)
            chains.tables = bridge.tables(along[k])
            energy += moved
            change = change + beta[k] * moved
        w = normalized_weights(log_w)
        spread.append(float(np.sqrt((w * (change - (w * change).sum()) ** 2).sum())))
        log_w -= change
        rows = resample(log_w, islands, rng) if islands else None
        if rows is not None:
            _take(chains, rows)
            times += 1
        chains.T[:], chains.beta[:], chains.mu[:] = path_T[k], beta[k], path_mu[k]
        if sweeps:
            chains.step(sweeps)
        found.append(ness(log_w))
    after = chains.walkers.occ
    return Annealed(after, last.energy(after), log_w, np.array(found), times, islands, np.array(spread))


def resample(log_w: np.ndarray, islands: int, rng: np.random.Generator) -> np.ndarray | None:
    """Rows (n,) after systematic resampling of the groups whose effective size is below half, None where there are none.

    ``log_w`` (n,) is changed: each such group keeps its mean weight, now that of all its rows.
    """
    size, rows, done = len(log_w) // islands, np.arange(len(log_w)), False
    for g in range(islands):
        here = slice(g * size, (g + 1) * size)
        part = log_w[here]
        if ness(part) >= 0.5:
            continue
        at = np.searchsorted(np.cumsum(normalized_weights(part)), (rng.random() + np.arange(size)) / size)
        rows[here] = g * size + np.minimum(at, size - 1)
        log_w[here] = log_mean_exp(part)
        done = True
    return rows if done else None


def _shares(share: ArrayLike | None, n: int) -> np.ndarray:
    """l (n,) along a bridge, from 0 to 1."""
    found = np.zeros(0) if share is None else np.asarray(share, dtype=float)
    if found.shape != (n,) or not (np.isfinite(found).all() and found[0] == 0.0 and found[-1] == 1.0):
        raise AlloygenError(
            f"expected the share of the new Hamiltonian at each of {n} conditions, from 0 to 1, got {share!r:.80}"
        )
    return found


def require_islands(islands: int, n: int) -> None:
    groups = f"islands that divide the {n} samples into groups of at least 2"
    islands = whole_number(islands, f"{groups},")
    if n % islands or n // islands < 2:
        raise AlloygenError(f"expected {groups}, got {islands}")


def _take(chains: Chains, rows: np.ndarray) -> None:
    """The walkers of ``rows`` in place of all; each keeps its random numbers."""
    from alloygen.montecarlo import moves

    walkers = chains.walkers
    for name in ("occ", "energy", "counts"):
        value = getattr(walkers, name)
        value[:] = value[rows].copy()
    moves.fill(chains.tables, walkers)
