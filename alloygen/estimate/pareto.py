"""The upper tail of importance weights: how heavy it is, and what a mean over it leaves out.

A generalised Pareto law is fitted to the largest weights; its shape k-hat tells how many moments the weights have: below 1/2 a variance,
below 1 a mean. From about 0.7 on no number of samples that one can draw gives a mean with an error bar (Vehtari, Simpson, Gelman, Yao and
Gabry, J. Mach. Learn. Res. 25, 72 (2024)). The fit is that of Zhang and Stephens, Technometrics 51, 316 (2009).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import ndtri

MAX_K = 0.7
SHARE = 0.05  # of the sum that the largest weight must have for few draws to decide
SMALLEST, LIMIT = 5, 0.75
NO_TAIL, TWICE = 3.0, 2.0


class Tail(NamedTuple):
    """k_hat: shape of the tail, -inf where there is none; largest: share of the sum that the largest weight has; missing: share of the
    sum that one draw more from the tail may bring (beyond 1 / n); more: by how much that draw may exceed the largest, 1 where there is no tail"""

    k_hat: float
    largest: float
    missing: float
    more: float = 1.0

    @property
    def heavy(self) -> bool:
        """Whether few rare draws decide: k-hat above 0.7, and a largest weight of more than 5 % of the sum.

        Weights that are nearly all alike but for one or two, as of a cold phase beside a rare one, have any k-hat; below that share the bar,
        which counts two to four times the largest weight, covers them.

        Examples
        --------
        >>> tail(np.log(np.r_[1.0 + 1e-3 * np.arange(199), 5.0])).heavy
        False
        """
        return self.k_hat > MAX_K and self.largest > SHARE


class Fit(NamedTuple):
    """k: shape of a generalised Pareto law, P(excess > x) = (1 + k x / sigma)^(-1/k); sigma: its scale, in the unit of the values"""

    k: float
    sigma: float

    def largest(self, m: int) -> float:
        """Excess that one of m draws is above on average, sigma (m^k - 1) / k."""
        return self.sigma * (float(np.expm1(self.k * np.log(m))) / self.k if abs(self.k) > 1e-9 else np.log(m))


def fit(excess: np.ndarray) -> Fit:
    """A generalised Pareto law for ascending values (m,) above zero, its shape drawn to 1/2 where they are few.

    The mean of Zhang and Stephens over a likelihood profile, then k = (m k + 5) / (m + 10) as in Vehtari et al., appendix C.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> found = fit(np.sort(rng.pareto(2.0, size=2000)))                     # (1 - u)^-k - 1 with k = sigma = 1/2
    >>> abs(found.k - 0.5) < 0.1, abs(found.sigma - 0.5) < 0.1
    (True, True)
    """
    m = len(excess)
    steps = 30 + int(np.sqrt(m))
    theta = 1.0 / excess[-1] + (1.0 - np.sqrt(steps / (np.arange(steps) + 0.5))) / (3.0 * excess[int(m / 4 + 0.5) - 1])
    theta[theta == 0.0] = 1e-9 / excess[-1]
    shape = np.log1p(-theta[:, None] * excess).mean(1)
    profile = m * (np.log(-theta / shape) - shape - 1.0)
    weight = np.exp(profile - profile.max())
    best = (weight @ theta) / weight.sum()
    k = np.log1p(-best * excess).mean()
    return Fit(float((m * k + 5.0) / (m + 10.0)), float(-k / best))


def tail(log_w: np.ndarray) -> Tail:
    """What the largest of n log-weights (n,) say, ties and -inf included.

        missing = c (W_1 - 1/n),    c = 1 / (1 - s / z_n) at most 4, and at least 2 where there is a tail

    W_1 is the largest of the normalised weights, or what the fitted law puts at its place, 1/n from the top, where that is less and k-hat no more than 0.7: a
    sample that happens to hold a weight far above it need not leave room for another. c says what lies beyond W_1. s is the spread of log w
    above its median and s / z_n the shape that the tail of a log-normal law has at its n-th quantile z_n: log-weights are sums of many
    terms and so often nearly normal. A law of shape 1/2 has c = 2; the fitted shape itself is not used: it comes out too small
    together with the mean in just those samples that lack the largest weights.

    The law is fitted to the min(n/5, 3 sqrt(n)) largest. A tail decides nothing while the largest weight is less than three times the mean:
    k-hat is then -inf. Two phases with unlike weights look like a heavy tail where it starts in one and ends in the other; k-hat is
    therefore the smaller one of fits to all and to half of it.

    Examples
    --------
    >>> tail(np.zeros(100))
    Tail(k_hat=-inf, largest=0.01, missing=0.0, more=1.0)
    >>> rng = np.random.default_rng(0)
    >>> bool(tail(4.0 * rng.normal(size=1000)).k_hat > 0.7)
    True
    """
    n, order = len(log_w), np.sort(log_w)
    w = np.exp(order - order[-1])
    w /= w.sum()
    above = np.maximum(log_w - order[n // 2], 0.0) if np.isfinite(order[n // 2]) else np.zeros(n)
    shape = np.sqrt(2.0 * (above**2).mean()) / -ndtri(1.0 / n) if n > 2 else LIMIT
    k_hat, first, beyond = -np.inf, w[-1], 1.0 / (1.0 - min(shape, LIMIT))
    if n * w[-1] > NO_TAIL:
        m = int(np.ceil(min(0.2 * n, 3.0 * np.sqrt(n))))
        whole, half = (_of_largest(w, k) for k in (m, max(m // 2, SMALLEST)))
        k_hat = min(whole.k, half.k)
        if whole.sigma > 0:
            beyond = max(beyond, TWICE)
            if k_hat <= MAX_K:  # a law that fits; a few draws far above all others are counted as they came
                first = min(first, w[-m - 1] + whole.largest(m))
    missing = beyond * max(first - 1.0 / n, 0.0)
    more = max(missing / (w[-1] - 1.0 / n), 1.0) if n * w[-1] > NO_TAIL else 1.0
    return Tail(float(k_hat), float(w[-1]), float(missing), float(more))


def _of_largest(w: np.ndarray, m: int) -> Fit:
    """The law of the m largest of ascending weights; k = -inf where ties leave too few that differ from the one below them."""
    excess = w[-m:] - w[-m - 1] if m < len(w) else w[:0]
    excess = excess[excess > 1e-12 * w[-1]]
    if len(excess) < SMALLEST or np.ptp(excess) <= 1e-9 * excess[-1]:
        return Fit(-np.inf, 0.0)
    return fit(excess)
