"""Averages, heat capacities and histograms of weighted or plain samples, each with its error bar.

With log-weights w the averages are self-normalised importance sampling (Owen, "Monte Carlo theory, methods and
examples", 2013, section 9.2), whose error follows from the delta method: an estimate sum_i W_i f_i (W_i = w_i / sum w)
has the variance n/(n-1) sum_i W_i^2 (f_i - mean)^2. Without weights it is the plain standard error of the mean, times
the square root of a statistical inefficiency where the samples are correlated.
"""

from __future__ import annotations

import numpy as np

from alloygen.errors import AlloygenError
from alloygen.estimate.result import Estimate
from alloygen.estimate.weights import normalized_weights, warn_if_low


def _prepare(values, log_w, what: str) -> tuple[np.ndarray, np.ndarray]:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or len(values) == 0:
        raise AlloygenError(f"expected values of shape (n,) with n >= 1, got shape {values.shape}")
    if log_w is None:
        return values, np.full(len(values), 1.0 / len(values))
    w = normalized_weights(log_w)
    if len(w) != len(values):
        raise AlloygenError(f"expected one log-weight per value, got {len(values)} values and {len(w)} log-weights")
    warn_if_low(log_w, what)
    return values, w


def _stderr(influence: np.ndarray, w: np.ndarray, inefficiency: float) -> float:
    """sqrt( g n/(n-1) sum_i (W_i u_i)^2 ) of centred influences u."""
    n = len(w)
    return float(np.sqrt(inefficiency * n / (n - 1) * ((w * influence) ** 2).sum())) if n > 1 else np.nan


def mean(values, log_w=None, inefficiency: float = 1.0) -> Estimate:
    """Average of ``values`` (n,) over the target law, with its standard error, in the unit of ``values``.

        f = sum_i W_i f_i,    stderr^2 = g n/(n-1) sum_i W_i^2 (f_i - f)^2

    Parameters
    ----------
    values : (n,)
    log_w : (n,) log-weights; None for samples that already follow the target
    inefficiency : g = 1 + 2 sum of autocorrelations (1 for independent samples)

    Raises :class:`AlloygenError` for wrong shapes; warns ``LowSampleSize``.

    Examples
    --------
    >>> print(mean([1.0, 2.0, 3.0, 4.0]))
    2.50(65)
    """
    values, w = _prepare(values, log_w, "The mean")
    centre = float(w @ values)
    return Estimate(centre, _stderr(values - centre, w, inefficiency), "" if len(w) > 1 else "one sample")


def heat_capacity(energy, kT: float, kB: float, n_sites: int, log_w=None, inefficiency: float = 1.0) -> Estimate:
    """Energy fluctuation per site, (<E^2> - <E>^2) / (kB T^2 N), in energy per temperature and site.

    ``energy`` (n,) is E without the field term mu.N. At mu = 0 this is d<E>/dT; at other mu the derivative at fixed mu
    has the further term -cov(E, mu.N) / (kB T^2), which is not included. The error comes from the influence function
    of a variance, u_i = (E_i - <E>)^2 - var (Hampel, J. Am. Stat. Assoc. 69, 383 (1974)); the variance itself is
    divided by 1 - sum W^2, which is (n-1)/n for equal weights.

    Parameters: kT in energy, kB in energy per temperature, N sites, ``log_w`` and ``inefficiency`` as in :func:`mean`.

    Examples
    --------
    >>> energy = np.random.default_rng(0).normal(0.0, 2.0, size=10_000)      # variance 4
    >>> abs(heat_capacity(energy, kT=1.0, kB=1.0, n_sites=4).value - 1.0) < 0.05
    True
    """
    if not (kT > 0 and kB > 0 and n_sites > 0):
        raise AlloygenError(f"expected kT, kB and n_sites above 0, got {kT!r}, {kB!r}, {n_sites!r}")
    energy, w = _prepare(energy, log_w, "The heat capacity")
    if len(w) < 2:
        return Estimate(np.nan, np.nan, "one sample has no fluctuation; draw more")
    centred = energy - w @ energy
    variance = float(w @ centred**2)
    scale = kB / kT**2 / n_sites
    free = max(1.0 - float((w**2).sum()), 1.0 / len(w))  # one weight of 100 % leaves nothing to correct
    error = _stderr(centred**2 - variance, w, inefficiency)
    return Estimate(scale * variance / free, scale * error)


def histogram(values, bins, log_w=None) -> tuple[np.ndarray, np.ndarray]:
    """Share of the samples in each bin: ``(probabilities (k,), edges (k+1,))``, the probabilities summing to one.

    ``bins`` is a number of bins or the edges; edges must cover all values, so that histograms over the same edges
    can be compared. Raises :class:`AlloygenError` when they do not.

    Examples
    --------
    >>> histogram([0.1, 0.2, 0.9], [0.0, 0.5, 1.0])[0].round(6).tolist()
    [0.666667, 0.333333]
    """
    values, w = _prepare(values, log_w, "The histogram")
    share, edges = np.histogram(values, bins=bins, weights=w)
    if values.min() < edges[0] or values.max() > edges[-1]:
        raise AlloygenError(
            f"expected edges that cover all values in [{values.min():g}, {values.max():g}], got "
            f"[{edges[0]:g}, {edges[-1]:g}]; widen them"
        )
    return share / share.sum(), edges


def js_divergence(hist_p, hist_q) -> float:
    """Jensen-Shannon divergence of two histograms over the same bins, in nats: 0 if equal, log 2 = 0.693 if disjoint.

        JS = 1/2 KL(p || m) + 1/2 KL(q || m),   m = (p + q) / 2      (Lin, IEEE Trans. Inf. Theory 37, 145 (1991))

    Natural logarithm; divide by log 2 for bits. The histograms (k,) are normalised first.

    Examples
    --------
    >>> js_divergence([1, 2, 1], [1, 2, 1]), round(js_divergence([1, 0], [0, 1]), 6)
    (0.0, 0.693147)
    """
    p, q = (np.asarray(x, dtype=np.float64) for x in (hist_p, hist_q))
    if p.shape != q.shape or min(p.min(initial=0.0), q.min(initial=0.0)) < 0 or not (p.sum() > 0 and q.sum() > 0):
        raise AlloygenError(
            "expected two non-negative histograms over the same bins, got shapes "
            f"{p.shape} and {q.shape} with sums {p.sum():g} and {q.sum():g}"
        )
    p, q = p / p.sum(), q / q.sum()
    m = 0.5 * (p + q)
    kl = lambda a: float((a[a > 0] * np.log(a[a > 0] / m[a > 0])).sum())  # noqa: E731
    return max(0.0, 0.5 * kl(p) + 0.5 * kl(q))
