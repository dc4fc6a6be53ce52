"""All samples of a scan as one weighted set: averages at any (T, mu) or any fixed composition, with replicas for errors.

Every sample x_i gets a weight g_i such that sum_x f(x) is estimated by sum_i g_i f(x_i) for any f, whichever condition it came
from. Partition functions are sums with f = exp(-beta [E - mu.N]), canonical ones keep one N, averages are ratios: one set of g
serves all temperatures, chemical potentials and compositions in reach. Samples with a likelihood and Markov chains differ only in
how g is found (:func:`from_likelihood`, :func:`from_mbar`).

Errors come from replicas: factors a_ri of mean one by which replica r multiplies g_i, constant on blocks of samples that
are independent of one another (Rubin, Ann. Stat. 9, 130 (1981), scaled to the unbiased variance of a mean), so that any function of
the estimates, such as the corner of a convex hull, gets an error bar.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.special import logsumexp

from alloygen.conditions.record import semigrand
from alloygen.errors import AlloygenError, BadCondition
from alloygen.estimate.mbar import MBAR
from alloygen.estimate.result import Estimate
from alloygen.estimate.serial import one_thread
from alloygen.estimate.weights import log_mean_exp, ness
from alloygen.types import ArrayLike

REPLICAS, BLOCKS = 100, 25
CHUNK = 2**22


class ByNumber(NamedTuple):
    """Sums over the samples with N atoms of an element at one beta: of weights, and weighted means of values.

    number (L,), or (L, k) of several elements; log_omega (L,) log sum_x[N(x) = N] exp(-beta E); mean (L, V); log_omega_replica (R, L); mean_replica
    (R, L, V); effective_samples (L,), (sum w)^2 / sum w^2 / inefficiency; weights (n,) of all samples, those with one N
    summing to 1, and row (n,), where in ``number`` each sample stands
    """

    number: np.ndarray
    log_omega: np.ndarray
    mean: np.ndarray
    log_omega_replica: np.ndarray
    mean_replica: np.ndarray
    effective_samples: np.ndarray
    weights: np.ndarray
    row: np.ndarray

    def largest(self, influence: np.ndarray) -> np.ndarray:
        """(L,) the most that one sample more of those that are there would move a mean, of centred values (n,)."""
        out = np.zeros(len(self.number))
        np.maximum.at(out, self.row, np.abs(self.weights * influence))
        return out


@dataclass(frozen=True, eq=False, repr=False)
class Pool:
    """Samples with weights g: sum_x f(x) ~ sum_i g_i f(x_i).

    log_g : (n,); energy : (n,) E without the field term; counts : (n, n_elements) atoms of each element
    replica : (R, n) float32 factors; share : (n,) independent samples that each one is worth (1 / inefficiency)
    absolute : whether g is known with its constant; if not, only ratios mean anything

    Examples
    --------
    Uniform samples of two free spins with energies 0, 1, 1, 2 (one Ising bond would do as well):

    >>> rng = np.random.default_rng(0)
    >>> up = rng.binomial(2, 0.5, size=(1, 4000))
    >>> counts = np.stack([2 - up, up], -1).astype(float)
    >>> pool = from_likelihood([0.0], [[0.0, 0.0]], up.astype(float), counts, np.full((1, 4000), -np.log(4)))
    >>> bool(abs(pool.log_z(1.0, [0, 0]).value - 2 * np.log(1 + np.exp(-1))) < 0.05)
    True
    >>> pool.by_number(1, 1.0).log_omega.round(1).tolist()        # 1, 2 exp(-1), exp(-2)
    [0.0, -0.3, -2.0]
    """

    log_g: np.ndarray
    energy: np.ndarray
    counts: np.ndarray
    replica: np.ndarray
    share: np.ndarray
    absolute: bool
    _known_groups: dict = field(default_factory=dict, init=False)  # of the counts, which energies leave as they are

    def __len__(self) -> int:
        return len(self.log_g)

    def _log_w(self, beta: float, beta_mu: ArrayLike) -> np.ndarray:
        beta_mu = np.asarray(beta_mu, dtype=float)
        if beta_mu.shape != (self.counts.shape[1],) or not (np.isfinite(beta) and np.isfinite(beta_mu).all()):
            raise BadCondition(
                f"expected a finite beta and {self.counts.shape[1]} finite numbers beta mu, got {beta!r} and {beta_mu!r}"
            )
        return self.log_g - semigrand(beta * self.energy, self.counts, beta_mu)

    def with_energies(self, energy: ArrayLike) -> Pool:
        """The same samples and weights for sums over another law: of energies (n,) by another Hamiltonian."""
        found = np.asarray(energy, dtype=float)
        if found.shape != self.energy.shape:
            raise AlloygenError(
                f"expected {len(self)} energies, one of each sample of the pool, got shape {found.shape}"
            )
        new = replace(self, energy=found)
        object.__setattr__(new, "_known_groups", self._known_groups)
        return new

    def weights(self, beta: float, beta_mu: ArrayLike) -> np.ndarray:
        """(n,) weights of all samples at (beta, beta mu), summing to one."""
        w = self._log_w(beta, beta_mu)
        w = np.exp(w - w.max())
        return w / w.sum()

    @one_thread
    def log_z_difference(self, other: Pool, beta: float, beta_mu: ArrayLike) -> Estimate:
        """log Z - log Z of ``other``, the same samples with other energies, at one condition: the replicas go together.

        The error is the spread of the replicas' differences and 1/ESS times the spread of the ratio of the weights, for what no sample shows.
        """
        parts, values = [], []
        for pool in (self, other):
            log_w = pool._log_w(beta, beta_mu)
            top = log_w.max()
            w = np.exp(log_w - top)
            values.append(top + np.log(w.sum()))
            parts.append(np.log(pool.replica @ (w / w.sum()).astype(np.float32)))
        w, v = self.weights(beta, beta_mu), other.weights(beta, beta_mu)
        with np.errstate(divide="ignore", invalid="ignore"):
            apart = np.where(v > 0, v * (w / v - 1.0) ** 2, 0.0).sum()
        unseen = min(1.0, float(np.sqrt(apart))) / min(p.effective_samples(beta, beta_mu) for p in (self, other))
        return Estimate(values[0] - values[1], float(np.hypot((parts[0] - parts[1]).std(ddof=1), unseen)))

    @one_thread
    def effective_samples(self, beta: float, beta_mu: ArrayLike) -> float:
        """Independent samples behind an average at (beta, beta mu): (sum w)^2 / sum w^2, over the inefficiency."""
        w = self._log_w(beta, beta_mu)
        w = np.exp(w - w.max())
        return float(w.sum() ** 2 / (w**2 / self.share).sum())

    @one_thread
    def log_z(self, beta: float, beta_mu: ArrayLike) -> Estimate:
        """log Z = log sum_x exp(-beta E + beta mu.N) at any condition in reach, with its error."""
        log_w = self._log_w(beta, beta_mu)
        top = log_w.max()
        w = np.exp(log_w - top)
        error = np.log(self.replica @ w.astype(np.float32)).std(ddof=1)
        unseen = (w**2 / self.share).sum() / w.sum() ** 2
        return Estimate(top + np.log(w.sum()), np.hypot(error, unseen))

    @one_thread
    def mean(self, values: ArrayLike, beta: float, beta_mu: ArrayLike) -> Estimate:
        """Average of ``values`` (n,), one per sample, over the law at (beta, beta mu)."""
        values = np.ravel(values)
        log_w = self._log_w(beta, beta_mu)
        w = np.exp(log_w - log_w.max())
        w /= w.sum()
        centre = float(w @ values)
        parts = self.replica @ np.column_stack([w, w * (values - centre)]).astype(np.float32)
        return Estimate(centre, (parts[:, 1] / parts[:, 0]).std(ddof=1))

    @one_thread
    def by_number(self, element: int | Sequence[int], beta: float, values: ArrayLike | None = None) -> ByNumber:
        """Sums and means of ``values`` (n, V) at each number of atoms of ``element`` (an index, or several) that was sampled.

        Omega_N(beta) = sum_{x: N(x) = N} exp(-beta E(x)),     F_N = -log Omega_N / beta
        """
        number, row = self.groups(element)
        log_w = self.log_g - beta * self.energy
        top = np.full(len(number), -np.inf)
        np.maximum.at(top, row, log_w)
        w = np.exp(log_w - top[row])
        values = np.empty((len(w), 0)) if values is None else np.asarray(values, dtype=float).reshape(len(w), -1)
        sum_w = np.bincount(row, w, minlength=len(number))
        columns, replicas = [], []
        for v in (None, *values.T):
            centre = np.zeros(len(number)) if v is None else np.bincount(row, w * v, minlength=len(number)) / sum_w
            weighted = w if v is None else w * (v - centre[row])  # centred, so that single precision is plenty
            member = sparse.csr_array(
                (weighted.astype(np.float32), (row, np.arange(len(w)))), shape=(len(number), len(w))
            )
            columns.append(centre)
            replicas.append((member @ self.replica.T).T.astype(float))
        omega = np.maximum(replicas[0], 1e-300)
        mean = np.stack(columns[1:], -1) if len(columns) > 1 else np.empty((len(number), 0))
        moved = [c + r / omega for c, r in zip(columns[1:], replicas[1:], strict=True)]
        return ByNumber(
            number, top + np.log(sum_w), mean, top + np.log(omega),
            np.stack(moved, -1) if moved else np.empty((*omega.shape, 0)),
            sum_w**2 / np.bincount(row, w**2 / self.share, minlength=len(number)), w / sum_w[row], row,
        )  # fmt: skip

    def groups(self, element: int | Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """The numbers of atoms that were sampled, rising, (L,) or (L, k), and which of them each sample has (n,)."""
        key = element if isinstance(element, int) else tuple(int(e) for e in np.ravel(element))
        if key not in self._known_groups:
            counts = np.rint(self.counts[:, key if isinstance(key, int) else list(key)]).astype(int)
            number, row = np.unique(counts, axis=0, return_inverse=True)
            self._known_groups[key] = number, row.ravel()
        return self._known_groups[key]


@one_thread
def from_likelihood(
    beta: ArrayLike,
    beta_mu: ArrayLike,
    energy: ArrayLike,
    counts: ArrayLike,
    log_prob: ArrayLike,
    replicas: int = REPLICAS,
    seed: int = 0,
) -> Pool:
    """Pool independent samples with exact likelihoods, drawn at C conditions.

        g_ci = h_c(x_ci) / (n q_c(x_ci)),     h_c(x) = m_c p_c(x) / sum_l m_l p_l(x),     m_l = n NESS_l,

    with p_c(x) = exp(-u_c(x)) / Z_c and the Z_c of importance sampling. Because sum_c h_c(x) = 1, the estimate is unbiased for any
    fixed h (multiple importance sampling: Veach and Guibas, SIGGRAPH 1995; Owen, "Monte Carlo theory, methods and examples", 2013,
    section 9.11). h needs (E, N) only and no second look at the model. Z enters h alone, so its error is of second order; h
    is made twice, the second time with the pooled Z.

    Parameters
    ----------
    beta : (C,) 1/kT, 0 for T = inf; beta_mu : (C, n_elements) beta times the chemical potentials
    energy : (C, n); counts : (C, n, n_elements); log_prob : (C, n) exact log q of each sample
    replicas, seed : bootstrap replicas and their random numbers

    Raises AlloygenError for shapes that do not fit and nan.
    """
    beta, beta_mu, energy, counts, log_prob = (
        np.asarray(x, dtype=float) for x in (beta, beta_mu, energy, counts, log_prob)
    )
    c, n = energy.shape
    if (
        beta.shape != (c,)
        or counts.shape[:2] != (c, n)
        or beta_mu.shape != (c, counts.shape[2])
        or log_prob.shape != (c, n)
    ):
        raise AlloygenError(
            f"expected beta (C,), beta_mu (C, E), counts (C, n, E) and log_prob (C, n) for energies {energy.shape}, got "
            f"{beta.shape}, {beta_mu.shape}, {counts.shape} and {log_prob.shape}"
        )
    x = np.concatenate([energy[..., None], counts], -1)
    slope = np.column_stack([beta, -beta_mu])
    log_w = -np.einsum("cnk,ck->cn", x, slope) - log_prob
    log_z = np.array([log_mean_exp(w) for w in log_w])
    log_m = np.log(n) + np.log([ness(w) for w in log_w])
    flat = x.reshape(c * n, -1)
    for _ in range(2):
        log_p = log_m - log_z
        step = max(1, CHUNK // c)
        log_d = np.concatenate([logsumexp(log_p - flat[a : a + step] @ slope.T, axis=1) for a in range(0, c * n, step)])
        log_g = (log_w + log_p[:, None] - np.log(n)).ravel() - log_d
        log_z = np.array([logsumexp(log_g - flat @ s) for s in slope])
    rng = np.random.default_rng(seed)
    blocks = min(BLOCKS, n)
    block = np.arange(n) * blocks // n
    factor = np.stack([_dirichlet(rng, replicas, blocks)[:, block] for _ in range(c)], 1)
    return Pool(log_g, energy.ravel(), counts.reshape(c * n, -1), factor.reshape(replicas, c * n), np.ones(c * n), True)


def from_mbar(mbar: MBAR, replicas: int = REPLICAS, seed: int = 0) -> Pool:
    """Pool Markov chains: g_i = 1 / (inefficiency_i d(x_i)) of :class:`alloygen.estimate.mbar.MBAR`.

    Blocks are stretches of time of all states together, so that replica exchange is counted; a replica also moves the
    free energies in d(x), by one Newton step from its weights.
    """
    log_g, energy, counts, share, factor = mbar.pooled(partial(_dirichlet, np.random.default_rng(seed), replicas))
    return Pool(log_g, energy, counts, factor, share, mbar.absolute)


def _dirichlet(rng, replicas: int, blocks: int) -> np.ndarray:
    """Positive factors (R, blocks) of mean 1 whose weighted sums have the unbiased variance of a sum of ``blocks`` terms."""
    if blocks < 3:
        return np.ones((replicas, blocks), dtype=np.float32)
    return (blocks * rng.dirichlet(np.full(blocks, 1.0 - 2.0 / blocks), size=replicas)).astype(np.float32)
