"""Averages at one condition from the samples of a whole ladder of conditions, by MBAR.

A state that lasts long may be met once, or never, by the chain of one cold condition, whose own series then looks calm. Replica
exchange has met it at other conditions, and MBAR knows how much it weighs here (Shirts and Chodera, J. Chem. Phys. 129, 124105
(2008)). Errors are those of :class:`alloygen.estimate.mbar.MBAR`, time series summed over the states.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import cached_property

import numpy as np

from alloygen.estimate import chains as markov
from alloygen.estimate.mbar import MBAR
from alloygen.estimate.result import Estimate

CHANCE = 2.0  # standard errors by which the series at a condition may miss the ladder


class Samples:
    """What is known of all samples, state by state: ``energy`` (n,), ``counts`` (n, E), and any function of the occupations.

    of : function of the occupations (m, N) of one state -> its values at all of them (n,)
    """

    def __init__(
        self, energy: np.ndarray, counts: np.ndarray, of: Callable[[Callable[[np.ndarray], np.ndarray]], np.ndarray]
    ):
        self.energy, self.counts, self._of = energy, counts, of
        self._known: dict[Hashable, np.ndarray] = {}

    def values(self, name: Hashable, function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """(n,) values of ``function``, found once for each ``name``."""
        if name not in self._known:
            self._known[name] = self._of(function)
        return self._known[name]


class Ladder:
    """The law at (beta, beta mu) by the samples of all states that ``mbar`` holds.

    Parameters
    ----------
    mbar : of the samples; samples : the same samples, in the same order
    beta, beta_mu : the condition
    observed : name -> (n,) values that observers returned
    state : of ``mbar`` at this condition
    """

    def __init__(
        self,
        mbar: MBAR,
        samples: Samples,
        beta: float,
        beta_mu: np.ndarray,
        observed: dict[str, np.ndarray],
        state: int,
    ):
        self.mbar, self.samples, self.beta, self.beta_mu, self.observed = mbar, samples, beta, beta_mu, observed
        self.state = state

    @cached_property
    def weights(self) -> np.ndarray:
        """(n,) weights of all samples at this condition, summing to one."""
        return np.exp(self.mbar.log_weights(self.beta, self.beta_mu))

    @cached_property
    def log_z(self) -> float:
        """log Z here."""
        return self.mbar.log_z(self.beta, self.beta_mu).value

    @property
    def effective_samples(self) -> float:
        """Independent samples that the averages rest on."""
        return float(1.0 / (self.weights**2 * self.mbar.sample).sum())

    def mean(self, values: np.ndarray, quantum: float = 0.0, linear: np.ndarray | None = None) -> Estimate:
        """Average of ``values`` (n,); ``quantum`` and ``linear`` as in :meth:`alloygen.estimate.mbar.MBAR.mean`."""
        found = self.mbar.mean(values, self.beta, self.beta_mu, quantum, weights=self.weights, linear=linear)
        return Estimate(
            found.value, float(np.hypot(found.stderr, self._apart(values, found.value, quantum))), found.note
        )

    def own(self, values: np.ndarray, value: float, quantum: float = 0.0) -> Estimate:
        """Mean of the series at this condition, its error at least what it would be if the series held all that the ladder knows."""
        series = self.mbar.series(values, self.state)
        spread = float((self.weights * (values - value) ** 2).sum())
        least = np.sqrt(self.mbar.inefficiency[self.state] * spread / series.size)
        step = quantum * markov.inefficiency(series) / series.size
        return Estimate(series.mean(), max(float(np.hypot(markov.standard_error(series), step)), float(least)))

    def _apart(self, values: np.ndarray, value: float, quantum: float) -> float:
        """What the series at this condition misses the ladder by, beyond twice what chance explains."""
        own = self.own(values, value, quantum)
        return float(np.sqrt(max((own.value - value) ** 2 - (CHANCE * own.stderr) ** 2, 0.0)))

    def fluctuation(self, values: np.ndarray, scale: float = 1.0, quantum: float = 0.0) -> Estimate:
        """scale (<f^2> - <f>^2), its error from the influence of a sample on a variance, (f - <f>)^2 - var."""
        centre = float((self.weights * values).sum())
        found = self.mean((values - centre) ** 2, quantum**2)
        free = max(1.0 - 1.0 / self.effective_samples, 1.0 / len(values))
        moved = self._apart(values, centre, quantum) ** 2  # where the mean is off by d a variance is by d^2
        return Estimate(scale * found.value / free, scale * float(np.hypot(found.stderr, moved)), found.note)

    def entropy(self, u: np.ndarray, kB: float, n_sites: int, quantum: float = 0.0) -> Estimate:
        """kB (<u> beta + log Z) / N of u = E - mu.N (n,), both terms and their errors from the same samples."""
        found = self.mbar.entropy(u, self.beta, self.beta_mu, quantum, weights=self.weights)
        apart = self.beta * self._apart(u, float((self.weights * u).sum()), quantum)
        return Estimate(kB * found.value / n_sites, kB * float(np.hypot(found.stderr, apart)) / n_sites, found.note)
