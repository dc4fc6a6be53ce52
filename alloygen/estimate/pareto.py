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
SMALLEST, LIMIT = 5, 0.75
NO_TAIL = 3.0


class Tail(NamedTuple):
    """k_hat: shape of the tail, -inf where there is none; largest: share of the sum that the largest weight has; missing: share of the
    sum that one draw more from the tail may bring (beyond 1 / n)"""

    k_hat: float
    largest: float
    missing: float


def fit(excess: np.ndarray) -> float:
    """Shape k of a generalised Pareto law for ascending values (m,) above zero, drawn to 1/2 where they are few.

    The mean of Zhang and Stephens over a likelihood profile, then (m k + 5) / (m + 10) as in Vehtari et al., appendix C.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> bool(abs(fit(np.sort(rng.pareto(2.0, size=2000))) - 0.5) < 0.1)      # (1 - u)^-k - 1 with k = 1/2
    True
    """
    m = len(excess)
    steps = 30 + int(np.sqrt(m))
    theta = 1.0 / excess[-1] + (1.0 - np.sqrt(steps / (np.arange(steps) + 0.5))) / (3.0 * excess[int(m / 4 + 0.5) - 1])
    theta[theta == 0.0] = 1e-9 / excess[-1]
    shape = np.log1p(-theta[:, None] * excess).mean(1)
    profile = m * (np.log(-theta / shape) - shape - 1.0)
    weight = np.exp(profile - profile.max())
    k = np.log1p(-(weight @ theta) / weight.sum() * excess).mean()
    return float((m * k + 5.0) / (m + 10.0))


def tail(log_w: np.ndarray) -> Tail:
    """What the largest of n log-weights (n,) say, ties and -inf included.

        missing = (max W - 1/n) / (1 - k*),    k* = max(k, s / z_n) at most 3/4

    W are the normalised weights. k is fitted to the min(n/5, 3 sqrt(n)) largest; s is the spread of log w above its median, and s / z_n
    the shape that the tail of a log-normal law has at its n-th quantile z_n: log-weights are sums of many terms and so often
    nearly normal. A tail decides nothing while the largest weight is less than three times the mean: k-hat is then -inf. Two phases with
    unlike weights look like a heavy tail where it starts in one and ends in the other; k-hat is therefore the smaller one of fits to all and
    to half of it.

    Examples
    --------
    >>> tail(np.zeros(100))
    Tail(k_hat=-inf, largest=0.01, missing=0.0)
    >>> rng = np.random.default_rng(0)
    >>> bool(tail(4.0 * rng.normal(size=1000)).k_hat > 0.7)
    True
    """
    n, order = len(log_w), np.sort(log_w)
    w = np.exp(order - order[-1])
    largest = 1.0 / w.sum()
    above = np.maximum(log_w - order[n // 2], 0.0) if np.isfinite(order[n // 2]) else np.zeros(n)
    spread = np.sqrt(2.0 * (above**2).mean())
    k_hat, heavy = -np.inf, spread / -ndtri(1.0 / n) if n > 2 else LIMIT
    if n * largest > NO_TAIL:
        m = int(np.ceil(min(0.2 * n, 3.0 * np.sqrt(n))))
        whole, half = (_of_largest(w, k) for k in (m, max(m // 2, SMALLEST)))
        k_hat, heavy = min(whole, half), max(heavy, whole)
    return Tail(float(k_hat), float(largest), float(max(largest - 1.0 / n, 0.0) / (1.0 - np.clip(heavy, 0.0, LIMIT))))


def _of_largest(w: np.ndarray, m: int) -> float:
    """k of the m largest of ascending weights; -inf where ties leave too few that differ from the one below them."""
    if m >= len(w):
        return -np.inf
    excess = w[-m:] - w[-m - 1]
    excess = excess[excess > 1e-12 * w[-1]]
    if len(excess) < SMALLEST or np.ptp(excess) <= 1e-9 * excess[-1]:
        return -np.inf
    return fit(excess)
