"""How independent Markov-chain samples are."""

from __future__ import annotations

import numpy as np


def inefficiency(series) -> float:
    """Statistical inefficiency g = 1 + 2 sum_k rho_k of a series (n,) or of several chains (chains, n).

    The autocorrelation is summed up to the first window W >= 5 tau (Sokal, in Functional Integration, 131 (1997)).
    n / g samples carry the information; an error bar of a mean is that of independent samples times sqrt(g).

    Examples
    --------
    >>> bool(abs(inefficiency(np.random.default_rng(0).normal(size=4000)) - 1) < 0.2)
    True
    """
    x = np.atleast_2d(np.asarray(series, dtype=float))
    x = x - x.mean()
    n = x.shape[1]
    if n < 4 or np.ptp(x) < 1e-14:
        return 1.0
    f = np.fft.rfft(x, 2 * n, axis=1)
    rho = np.fft.irfft(np.abs(f) ** 2, axis=1)[:, :n].mean(0) / (n - np.arange(n))
    rho /= rho[0]
    g = 1.0
    for k in range(1, n):
        g += 2 * rho[k]
        if k >= 5 * g / 2:
            break
    return float(max(1.0, g))
