"""Averages at one condition from pooled samples, whose weights serve other energies than those that they were drawn with.

A pool (:mod:`alloygen.estimate.pool`) knows sums over configurations, sum_x f(x) ~ sum_i g_i f(x_i), for any f: with the energies E' of another
Hamiltonian its weights at a condition are w_i = g_i exp(-beta [E'_i - mu.N_i]). Errors are those of its replicas, and one sample more of the
largest influence.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from alloygen.estimate.ladder import Samples
from alloygen.estimate.pool import Pool
from alloygen.estimate.result import Estimate
from alloygen.estimate.serial import one_thread


class Pooled:
    """The law at (beta, beta mu) by all samples of a pool: what :class:`alloygen.estimate.ladder.Ladder` is by MBAR alone.

    Parameters
    ----------
    pool : with the energies of the law; samples : the same samples, in the same order
    beta, beta_mu : the condition
    observed : name -> (n,) values that observers returned
    """

    def __init__(self, pool: Pool, samples: Samples, beta: float, beta_mu: np.ndarray, observed: dict[str, np.ndarray]):
        self.pool, self.samples, self.beta, self.beta_mu, self.observed = pool, samples, beta, beta_mu, observed

    @cached_property
    def weights(self) -> np.ndarray:
        """(n,) weights of all samples at this condition, summing to one."""
        return self.pool.weights(self.beta, self.beta_mu)

    @cached_property
    def log_z(self) -> float:
        """log Z here."""
        return self.pool.log_z(self.beta, self.beta_mu).value

    @property
    def effective_samples(self) -> float:
        """Independent samples that the averages rest on."""
        return self.pool.effective_samples(self.beta, self.beta_mu)

    @one_thread
    def _mean(self, values: np.ndarray, more: np.ndarray | float = 0.0, quantum: float = 0.0) -> Estimate:
        """Average of ``values`` (n,); ``more`` (R,) is added to what each replica makes of it."""
        w = self.weights
        value = float(w @ values)
        parts = self.pool.replica @ np.column_stack([w, w * (values - value)]).astype(np.float32)
        spread = (parts[:, 1] / parts[:, 0] + more).std(ddof=1)
        worth = np.where(self.pool.share > 0, 1.0 / np.maximum(self.pool.share, 1e-300), 0.0)
        visit = float(np.abs(w * (values - value) * worth).max())
        return Estimate(value, float(np.hypot(spread, max(visit, quantum / self.effective_samples))))

    def mean(self, values: np.ndarray, quantum: float = 0.0, linear: np.ndarray | None = None) -> Estimate:
        """Average of ``values`` (n,), whose smallest step is ``quantum``; ``linear`` makes no difference here."""
        return self._mean(np.ravel(values), quantum=quantum)

    def fluctuation(self, values: np.ndarray, scale: float = 1.0, quantum: float = 0.0) -> Estimate:
        """scale (<f^2> - <f>^2), its error from the influence of a sample on a variance, (f - <f>)^2 - var."""
        centre = float(self.weights @ values)
        found = self._mean((values - centre) ** 2, quantum=quantum**2)
        free = max(1.0 - 1.0 / self.effective_samples, 1.0 / len(values))
        return Estimate(scale * found.value / free, scale * found.stderr, found.note)

    @one_thread
    def entropy(self, u: np.ndarray, kB: float, n_sites: int, quantum: float = 0.0) -> Estimate:
        """kB (<u> beta + log Z) / N of u = E - mu.N (n,), both terms and their errors from the same samples."""
        moved = np.log(self.pool.replica @ self.weights.astype(np.float32))
        found = self._mean(self.beta * u, moved, self.beta * quantum)
        unseen = 1.0 / self.effective_samples
        return Estimate(kB * (found.value + self.log_z) / n_sites, kB * float(np.hypot(found.stderr, unseen)) / n_sites)
