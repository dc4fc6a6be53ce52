"""Averages, fluctuations, entropies and histograms of weighted or plain samples, each with its error bar.

With log-weights w the averages are self-normalised importance sampling (Owen, "Monte Carlo theory, methods and
examples", 2013, section 9.2), whose error follows from the delta method: an estimate sum_i W_i f_i (W_i = w_i / sum w)
has the variance n/(n-1) sum_i W_i^2 (f_i - mean)^2, to which the square of its largest term is added: k draws of a rare phase
have the Poisson error of k + 1, so that a value and a bar that are too small together do not pass for exact. Where the weights have a tail
that draw may exceed the largest: it counts t times, as :func:`alloygen.estimate.pareto.tail` finds (``more``). Without weights it is the plain standard error of the mean, times
the square root of a statistical inefficiency where the samples are correlated. Sums over samples are numpy's, not products of a
linear-algebra library, which round by the number of its threads.
"""

from __future__ import annotations

import numpy as np

from alloygen.errors import AlloygenError
from alloygen.estimate.pareto import tail
from alloygen.estimate.result import Estimate
from alloygen.estimate.weights import as_log_weights, log_mean, normalized_weights, warn_if_low
from alloygen.types import ArrayLike, Inefficiency


def _prepare(values: ArrayLike, log_w: ArrayLike | None, what: str) -> tuple[np.ndarray, np.ndarray]:
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


def _stderr(influence: np.ndarray, w: np.ndarray, inefficiency: float, log_w: ArrayLike | None) -> float:
    """sqrt( g [ n/(n-1) sum_i (W_i u_i)^2 + t^2 max_i (W_i u_i)^2 ] ) of centred influences u."""
    n, square = len(w), (w * influence) ** 2
    return (
        float(np.sqrt(inefficiency * (n / (n - 1) * square.sum() + _more(log_w) * square.max()))) if n > 1 else np.nan
    )


def _more(log_w: ArrayLike | None) -> float:
    """t^2, 1 without weights."""
    return 1.0 if log_w is None else tail(as_log_weights(log_w)).more ** 2


def _unseen(values: np.ndarray, quantum: float, inefficiency: float) -> float:
    """What one more visit to a rare state would change, quantum g / n; three times that where the values never changed."""
    still = np.ptp(values) <= 1e-12 * np.abs(values).max()
    return (3.0 if still else 1.0) * quantum * inefficiency / len(values)


def _memory(inefficiency: Inefficiency, influence: np.ndarray) -> float:
    return float(inefficiency(influence)) if callable(inefficiency) else float(inefficiency)


def mean(
    values: ArrayLike, log_w: ArrayLike | None = None, inefficiency: Inefficiency = 1.0, quantum: float = 0.0
) -> Estimate:
    """Average of ``values`` (n,) over the target law, with its standard error, in the unit of ``values``.

        f = sum_i W_i f_i,    stderr^2 = g [ n/(n-1) sum_i W_i^2 (f_i - f)^2 + t^2 max_i W_i^2 (f_i - f)^2 ] + (quantum g / n)^2

    Parameters
    ----------
    values : (n,)
    log_w : (n,) log-weights; None for samples that already follow the target
    inefficiency : g = 1 + 2 sum of autocorrelations (1 for independent samples), or a function that finds it for (n,) values
    quantum : smallest step of the observable, for an error of values that hardly changed, as in
        :func:`alloygen.estimate.chains.mean`; 0 leaves the term out

    Raises :class:`AlloygenError` for wrong shapes; warns ``LowSampleSize``.

    Examples
    --------
    >>> print(mean([1.0, 2.0, 3.0, 4.0]))
    2.50(75)
    """
    values, w = _prepare(values, log_w, "The mean")
    centre, g = float((w * values).sum()), _memory(inefficiency, values)
    error = _stderr(values - centre, w, g, log_w)
    if quantum:
        error = float(np.hypot(error, _unseen(values, quantum, g)))
    return Estimate(centre, error, "" if len(w) > 1 else "one sample")


def fluctuation(values: ArrayLike, scale: float = 1.0, log_w: ArrayLike | None=None, inefficiency: Inefficiency = 1.0, quantum: float = 0.0,
                what: str = "The fluctuation") -> Estimate:  # fmt: skip
    """A variance over the target law, scale (<f^2> - <f>^2), in ``scale`` times the squared unit of ``values`` (n,).

    The error comes from the influence function of a variance, u_i = (f_i - <f>)^2 - var (Hampel, J. Am. Stat. Assoc. 69,
    383 (1974)); the variance itself is divided by 1 - sum W^2, which is (n-1)/n for equal weights. ``inefficiency`` is that
    of u, or a function that finds it; ``quantum`` is the smallest step of f (its square is that of u), the rest as in
    :func:`mean`; ``what`` opens the warning of too few effective samples.

    Examples
    --------
    >>> round(fluctuation([1.0, 2.0, 3.0], scale=2.0).value, 12)
    2.0
    """
    values, w = _prepare(values, log_w, what)
    if len(w) < 2:
        return Estimate(np.nan, np.nan, "one sample has no fluctuation; draw more")
    centred = values - (w * values).sum()
    variance = float((w * centred**2).sum())
    free = max(1.0 - float((w**2).sum()), 1.0 / len(w))  # one weight of 100 % leaves nothing to correct
    g = _memory(inefficiency, centred**2)
    error = _stderr(centred**2 - variance, w, g, log_w)
    if quantum:
        error = float(np.hypot(error, _unseen(values, quantum**2, g)))
    return Estimate(scale * variance / free, scale * error)


def heat_capacity(
    energy: ArrayLike,
    kT: float,
    kB: float,
    n_sites: int,
    log_w: ArrayLike | None = None,
    inefficiency: Inefficiency = 1.0,
    quantum: float = 0.0,
) -> Estimate:
    """Energy fluctuation per site, (<E^2> - <E>^2) / (kB T^2 N), in energy per temperature and site.

    ``energy`` (n,) is E without the field term mu.N. At mu = 0 this is d<E>/dT; at other mu the derivative at fixed mu
    has the further term -cov(E, mu.N) / (kB T^2), which is not included. The error is that of :func:`fluctuation`.

    Parameters: kT in energy, kB in energy per temperature, N sites, ``log_w``, ``inefficiency`` and ``quantum`` (of the
    energy) as in :func:`mean`.

    Examples
    --------
    >>> energy = np.random.default_rng(0).normal(0.0, 2.0, size=10_000)      # variance 4
    >>> abs(heat_capacity(energy, kT=1.0, kB=1.0, n_sites=4).value - 1.0) < 0.05
    True
    """
    if not (kT > 0 and kB > 0 and n_sites > 0):
        raise AlloygenError(f"expected kT, kB and n_sites above 0, got {kT!r}, {kB!r}, {n_sites!r}")
    return fluctuation(energy, kB / kT**2 / n_sites, log_w, inefficiency, quantum, "The heat capacity")


def susceptibility(
    counts: ArrayLike, kT: float, n_sites: int, log_w: ArrayLike | None = None, inefficiency: Inefficiency = 1.0
) -> Estimate:
    """Fluctuation of a number of atoms per site, (<N_a^2> - <N_a>^2) / (kB T N), per energy.

    In the semigrand ensemble it is d x_a / d mu_a at fixed T and other mu, x_a = <N_a> / N, by differentiation of
    exp(-beta [E - mu.N]) (Frenkel and Smit, Understanding Molecular Simulation, 2nd ed., section 9.1). The error is that
    of :func:`fluctuation`, with one atom as the smallest step.

    Parameters: ``counts`` (n,) atoms N_a of each sample, kT in energy, N sites that may hold the element (those that x_a
    refers to), ``log_w`` and ``inefficiency`` as in :func:`mean`.

    Examples
    --------
    Sixteen free sites of mean 1/2 fluctuate by x (1 - x) / kT each:

    >>> counts = np.random.default_rng(0).binomial(16, 0.5, size=10_000)
    >>> susceptibility(counts, kT=0.5, n_sites=16)
    Estimate(0.5005(69))
    """
    if not (kT > 0 and n_sites > 0):
        raise AlloygenError(f"expected kT and n_sites above 0, got {kT!r} and {n_sites!r}")
    return fluctuation(counts, 1.0 / kT / n_sites, log_w, inefficiency, quantum=1.0, what="The susceptibility")


def entropy(u: ArrayLike, log_w: ArrayLike, kT: float, kB: float, n_sites: int, quantum: float = 0.0) -> Estimate:
    """Entropy per site from the log-weights of independent samples x ~ q, in energy per temperature.

        S = (<u> - Phi N) / (T N) = kB/N ( <u>/kT + log Zhat + v/2 ),    u = E - mu.N,    Zhat = mean of w
        psi_i = W_i (u_i - <u>) / (T N) + kB/N (W_i - 1/n),    stderr^2 = n/(n-1) sum_i psi_i^2 + max_i psi_i^2 + (kB/N)^2 (1/n^2 + missing^2)

    the Legendre transform of the semigrand potential (Callen, Thermodynamics, 2nd ed., chapter 5). psi is the influence of
    a sample on both terms (Hampel, J. Am. Stat. Assoc. 69, 383 (1974)): <u> and Phi come from the same weights, so their
    errors do not add in quadrature. v and the last terms are those of :func:`alloygen.estimate.free_energy.free_energy`, and
    with ``quantum``, the smallest step of u, that of :func:`mean` is added.

    Parameters
    ----------
    u : (n,) energies of the cell with the field term, E - mu.N
    log_w : (n,) log-weights -u / kT - log q, with their constant
    kT : kB T in energy (infinity will do: S is then kB log Zhat / N); kB : in energy per temperature; n_sites : N

    Raises :class:`AlloygenError` for wrong shapes and kT, kB, N <= 0; warns ``LowSampleSize``. One sample has an error of nan.

    Examples
    --------
    Four free spins, drawn uniformly, have S = log 2 each:

    >>> entropy(np.zeros(1000), np.full(1000, 4 * np.log(2)), kT=1.0, kB=1.0, n_sites=4)
    Estimate(0.69315(25))
    """
    if not (kT > 0 and kB > 0 and n_sites > 0):
        raise AlloygenError(f"expected kT, kB and n_sites above 0, got {kT!r}, {kB!r}, {n_sites!r}")
    if log_w is None:
        raise AlloygenError("expected log-weights with their constant, got none: an entropy needs a free energy")
    u, w = _prepare(u, log_w, "The entropy")
    n, scale, mean_u = len(w), kB / n_sites, float((w * u).sum())
    log_z = log_mean(log_w)
    value = scale * (mean_u / kT + log_z.value)
    if np.isnan(log_z.stderr):
        return Estimate(value, np.nan, log_z.note)
    psi = scale * (w * (u - mean_u) / kT + w - 1.0 / n)
    unseen = _unseen(u, quantum, 1.0) / kT if quantum else 0.0
    return Estimate(
        value, np.sqrt(n / (n - 1) * (psi**2).sum() + (psi**2).max() + scale**2 * (log_z.missing**2 + unseen**2))
    )


def histogram(
    values: ArrayLike, bins: int | ArrayLike, log_w: ArrayLike | None = None
) -> tuple[np.ndarray, np.ndarray]:
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


def histogram_with_errors(
    values: ArrayLike, bins: int | ArrayLike, log_w: ArrayLike | None = None, inefficiency: Inefficiency = 1.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Share of the target law in each bin, with errors: ``(edges (k+1,), probabilities (k,), stderr (k,))``.

        p_b = sum_(i in b) W_i,    u_i = W_i (1_b(i) - p_b),    stderr_b^2 = g_b [ n/(n-1) sum_i u_i^2 + t^2 max_i u_i^2 ] + (c g_b sum_i W_i^2)^2

    A bin is the mean of its indicator, whose smallest step is 1; the last term, with 1 / sum W^2 in place of n, is one
    visit more or less, and c is 1, or 3 where all samples or none fell into the bin (the rule of three, see
    :func:`alloygen.estimate.chains.mean`): an empty bin has an error too. Errors of different bins are not independent.

    Parameters: ``values``, ``bins`` and ``log_w`` as in :func:`histogram`; ``inefficiency`` one g for all bins, or a function
    that finds it for (n,) values (an empty bin takes that of ``values``). Probabilities are per bin, not per unit.

    Examples
    --------
    >>> edges, probability, stderr = histogram_with_errors([0.1, 0.2, 0.9, 0.8], [0.0, 0.5, 1.0, 1.5])
    >>> probability.tolist(), stderr.round(2).tolist()
    ([0.5, 0.5, 0.0], [0.4, 0.4, 0.75])
    """
    values, w = _prepare(values, log_w, "The histogram")
    edges = np.histogram_bin_edges(values, bins)
    share, edges = histogram(values, edges, log_w)
    n, k = len(values), len(share)
    rows = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, k - 1)
    squares, visits = np.bincount(rows, w**2, k), np.bincount(rows, minlength=k)
    changing = (visits > 0) & (visits < n)
    g = np.full(k, _memory(inefficiency, values))
    if callable(inefficiency):
        g[changing] = [inefficiency((rows == b).astype(float)) for b in np.flatnonzero(changing)]
    steps, total = np.where(changing, 1.0, 3.0), squares.sum()
    variance = ((1.0 - share) ** 2 * squares + share**2 * (total - squares)) * (n / (n - 1) if n > 1 else np.nan)
    largest = np.zeros(k)
    np.maximum.at(largest, rows, w)
    first = largest.argmax()
    others = np.full(k, largest[first])
    others[first] = np.delete(largest, first).max(initial=0.0)
    variance += _more(log_w) * np.maximum((1.0 - share) * largest, share * others) ** 2
    return edges, share, np.sqrt(g * variance + (steps * g * total) ** 2)


def js_divergence(hist_p: ArrayLike, hist_q: ArrayLike) -> float:
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
