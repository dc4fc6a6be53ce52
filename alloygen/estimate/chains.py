"""What correlated Markov chains are worth: inefficiency, R-hat, equilibration, means with honest error bars.

Every function takes a series (n,) of one chain or (chains, n) of several chains of the same condition, in time order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import fft, special, stats

from alloygen.errors import AlloygenError
from alloygen.estimate.result import Estimate
from alloygen.types import ArrayLike

WINDOW = 5.0  # Sokal's c: the sum of autocorrelations ends at c times the autocorrelation time
DOUBT = 0.01  # chains whose means scatter more than their own memory explains, with less than this probability
CANDIDATES = 20  # lengths of the equilibration that are tried
LASTING, BETWEEN = (
    5.0,
    0.2,
)  # two states: g is at least the first, and this share of the samples at most lies between them
BATCH = 2**18  # numbers of series that are looked at together
PASSAGES = 20  # from one state to the other, below which no bar holds
SIGMA = 3.0  # standard errors beyond which a number must lie as seldom as for a normal law


def _chains(series) -> np.ndarray:
    """The series as float64 (chains, n), or an :class:`AlloygenError`."""
    x = np.asarray(series, dtype=np.float64)
    if x.ndim not in (1, 2) or x.size == 0:
        raise AlloygenError(f"expected a series of shape (n,) or (chains, n) with n >= 1, got shape {x.shape}")
    if not np.isfinite(x).all():
        raise AlloygenError(f"expected finite numbers, got {int((~np.isfinite(x)).sum())} nan or inf in the series")
    return np.atleast_2d(x)


def _constant(x: np.ndarray) -> bool:
    return bool(np.ptp(x) <= 1e-12 * np.abs(x).max())


class Memory(NamedTuple):
    """inefficiency: g of a series; freedom: degrees of freedom of this figure; window: lags that it sums over"""

    inefficiency: float
    freedom: float
    window: int


def _memory(x: np.ndarray, known: int, lag: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The figures of :class:`Memory` (...) of deviations x (..., m, n) from a mean that ``known`` samples have fixed."""
    m, n = x.shape[-2:]
    size = fft.next_fast_len(2 * n, real=True)
    f = fft.rfft(x, size, axis=-1)
    covariance = fft.irfft((np.abs(f) ** 2).mean(-2), size)[..., :n] / (n - np.arange(n))
    rho = covariance / covariance[..., :1]
    g = np.maximum(np.cumsum(2 * rho, axis=-1) - 1.0, 1e-3)  # 1 + 2 sum up to each lag
    long = (np.arange(n) >= WINDOW * g / 2) & (np.arange(n) >= lag)
    window = np.where(long.any(-1), long.argmax(-1), n - 1)
    width = 2 * window + 1
    g = np.take_along_axis(g, window[..., None], -1)[..., 0]
    return np.maximum(1.0, g * (1.0 + np.minimum(width / known, 1.0))), np.maximum(m * n / width, 1.0), window


def memory(series: ArrayLike, lag: int = 0) -> Memory:
    """Statistical inefficiency g of a series, n / g independent samples would give the same error of the mean, and how well it is known.

        g = (1 + 2 sum_{k <= W} rho_k) (1 + (2 W + 1) / n),   W = the first lag >= 5 g / 2

    (the window of Sokal, in Functional Integration, 131 (1997); the last factor is the bias of a mean that is itself
    estimated, Wolff, Comput. Phys. Commun. 156, 143 (2004)); W is at least ``lag``, such as the window of a slower quantity that hides
    behind fast noise. For several chains rho is that of deviations from the
    common mean, and the scatter of the chains' means gives a second figure with chains - 1 degrees of freedom,

        g_between = n B / (var(samples) + B / chains),   B = var(chain means), n per chain.

    Where it exceeds the first by more than chance (an F-test at 1 %) the chains sit in different places, longer than
    any of them shows by itself, and g is g_between; otherwise the two are averaged by their degrees of freedom. A
    constant series has g = 1, and so has one shorter than four samples; several constant chains that differ have
    g = n.

    Examples
    --------
    >>> m = memory(np.random.default_rng(0).normal(size=(4, 1000)))
    >>> bool(m.inefficiency < 1.2), bool(m.freedom > 500)
    (True, True)
    """
    x = _chains(series)
    m, n = x.shape
    if n < 4 or _constant(x):
        return Memory(1.0, np.inf, 0)
    g, worth, window = _memory(x - x.mean(), x.size, lag)
    whole = Memory(float(g), float(worth), int(window))
    if m == 1:
        return whole
    scatter, own = x.mean(1).var(ddof=1), x - x.mean(1, keepdims=True)
    between = max(1.0, float(n * scatter / (x.var() + scatter / m)))
    if _constant(own):
        return Memory(between, m - 1.0, n)
    each, known, _ = _memory(own, n, lag)
    if n * scatter > stats.f.isf(DOUBT, m - 1, known) * each * own.var():
        return Memory(between, m - 1.0, n)
    freedom = whole.freedom + m - 1
    return Memory((whole.freedom * whole.inefficiency + (m - 1) * between) / freedom, freedom, whole.window)


def inefficiency(series: ArrayLike, lag: int = 0) -> float:
    """Statistical inefficiency g of a series, the first figure of :func:`memory`.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(2, 4000))
    >>> bool(abs(inefficiency(x) - 1) < 0.2), bool(inefficiency(x + [[0.0], [3.0]]) > 2000)
    (True, True)
    """
    return float(memory(series, lag).inefficiency)


def effective_samples(series: ArrayLike) -> float:
    """Independent samples that a series is worth: all samples of all chains, divided by g of :func:`inefficiency`.

    Examples
    --------
    >>> bool(3000 < effective_samples(np.random.default_rng(0).normal(size=4000)) <= 4000)
    True
    """
    return _chains(series).size / inefficiency(series)


def _rhat(x: np.ndarray) -> float:
    """sqrt( ((n-1)/n W + B/n) / W ) of chains (m, n)."""
    if _constant(x):
        return 1.0
    n = x.shape[1]
    within, between = x.var(1, ddof=1).mean(), x.mean(1).var(ddof=1)
    if within <= 1e-24 * np.abs(x).max() ** 2:
        return np.inf
    return float(np.sqrt((n - 1) / n + between / within))


def split_rhat(series: ArrayLike, rank: bool = True) -> float:
    """Split R-hat: how much wider all half chains together are than each one; 1 when they agree.

        R = sqrt( ((n - 1)/n W + B/n) / W )

    with W the mean variance within the half chains of n samples and B/n the variance of their means (Vehtari, Gelman,
    Simpson, Carpenter and Buerkner, Bayesian Analysis 16, 667 (2021)). Each chain is cut in half, so that one chain
    will do; a middle sample left over is dropped. With ``rank`` the samples are replaced by normal scores of their
    ranks (ties share their average rank), once as they are and once as distances from the median, and the larger
    R is returned: it sees chains that differ in mean or in width, and heavy tails do no harm. Without ``rank`` it is
    the plain figure. Expect R^2 - 1 of about g / n by chance alone. Constant halves give 1 if they agree and inf if not;
    fewer than four samples give nan.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(4, 1000))
    >>> bool(split_rhat(x) < 1.01), bool(split_rhat(x + [[0], [0], [0], [1]]) > 1.1), split_rhat([1, 1, 2, 2])
    (True, True, inf)
    """
    x = _chains(series)
    half = x.shape[1] // 2
    if half < 2:
        return float("nan")
    x = np.concatenate([x[:, :half], x[:, -half:]])
    if not rank or _constant(x):
        return _rhat(x)
    x = np.round((x - np.median(x)) / x.std(), 9)  # equal energies differ by rounding, which drifts: they are ties
    folded = np.abs(x)
    scores = [stats.norm.ppf((stats.rankdata(y).reshape(y.shape) - 0.375) / (y.size + 0.25)) for y in (x, folded)]
    return max(_rhat(y) for y in scores)


def equilibration(series: ArrayLike) -> int:
    """Number of first samples to drop, t0, which leaves the largest number of independent samples.

        t0 = argmax_t (n - t) / g_t,    g_t the inefficiency of the samples from t on

    (Chodera, J. Chem. Theory Comput. 12, 1799 (2016)). A start far from equilibrium makes g_0 huge, so the maximum
    sits behind it. About 20 values of t are tried, and at least a tenth of the series is kept; a rest that never
    changes counts as one sample. Several chains have one t0 in common.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=1000)
    >>> bool(90 <= equilibration(x + 20 * (np.arange(1000) < 100)) <= 150)
    True
    """
    return common_equilibration(_chains(series)[None])


def common_equilibration(series: np.ndarray) -> int:
    """The t0 of :func:`equilibration` for C conditions that ran side by side (C, chains, n): the largest that one of them needs.

    Of many conditions chance alone makes some ask for nearly everything to be dropped. The t0 of one counts where what is left is worth
    more than all of it by

        1 + sqrt(2 log C) sqrt(2 / freedom)

    times at least: the relative error of g, as :func:`memory` knows it, times what the largest of C normal numbers is.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(500, 1, 200))
    >>> max(equilibration(row) for row in x) > 40, common_equilibration(x)
    (True, 0)
    >>> x[7, 0, :50] += 5.0
    >>> bool(45 <= common_equilibration(x) <= 80)
    True
    """
    n = series.shape[-1]
    x = series[[not _constant(row) for row in series]]
    if n < 10 or not len(x):
        return 0
    last = n - max(n // 10, 4)
    tried = np.unique(
        np.r_[0, np.geomspace(1, last, CANDIDATES // 2), np.linspace(0, last, CANDIDATES // 2)].astype(int)
    )
    worth, freedom = (np.stack(figures) for figures in zip(*(_worth(x[..., t:]) for t in tried), strict=True))
    best = worth.argmax(0)
    needed = worth.max(0) > worth[0] * (1.0 + np.sqrt(2.0 * np.log(len(series))) * np.sqrt(2.0 / freedom[0]))
    return int(tried[best[needed]].max(initial=0))


def _worth(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Independent samples (C,) that chains (C, m, n) are worth, 1 where nothing changes, and the degrees of freedom (C,) of that figure."""
    still = np.array([_constant(row) for row in x])
    worth, freedom = np.ones(len(x)), np.ones(len(x))
    moving, size = x[~still], x[0].size
    if x.shape[1] == 1 and size >= 4:
        parts = [
            _memory(some - some.mean(-1, keepdims=True), size, 0)[:2]
            for some in np.array_split(moving, max(1, moving.size // BATCH))
        ]
        g, known = (np.concatenate(figures) for figures in zip(*parts, strict=True))
    else:
        found = [memory(row) for row in moving]
        g, known = np.array([f.inefficiency for f in found]), np.array([f.freedom for f in found])
    worth[~still], freedom[~still] = size / g, known
    return worth, freedom


def widening(freedom: ArrayLike) -> np.ndarray:
    """By what errors with so many degrees of freedom are widened, so that 3 of each are exceeded as seldom as for a normal law.

    The quantile of Student's t (Biometrika 6, 1 (1908)) over that of the normal law; fewer than 3 count as 3.

    Examples
    --------
    >>> widening([3, 10, 100, np.inf]).round(2).tolist()
    [3.07, 1.32, 1.03, 1.0]
    """
    known = np.asarray(freedom, dtype=float)
    return np.where(np.isfinite(known), -special.stdtrit(np.fmax(known, 3.0), special.ndtr(-SIGMA)) / SIGMA, 1.0)


def standard_error(series: ArrayLike) -> float:
    """sqrt(g var / (n - g)) of the mean over all chains and times, for influences whose other errors are counted elsewhere.

    var is the variance about the common mean, n counts all samples and g is that of :func:`memory`; n - g in
    place of n makes up for the variance that a short run cannot show (Anderson, The Statistical Analysis of Time
    Series, 1971, section 8.2).

    Examples
    --------
    >>> round(standard_error(np.random.default_rng(0).normal(size=(4, 1000))), 3)
    0.016
    """
    x = _chains(series)
    return _spread(x, inefficiency(x))


def _spread(x: np.ndarray, g: float) -> float:
    return float(np.sqrt(g * x.var() / (x.size - min(g, 0.5 * x.size))))


def _visit(x: np.ndarray, length: float) -> float:
    """The most that so many samples in a row move the mean over all (chains, n)."""
    total = np.cumsum(np.pad(x - x.mean(), ((0, 0), (1, 0))), axis=1)
    length = int(min(np.ceil(length), x.shape[1]))
    return float(np.abs(total[:, length:] - total[:, :-length]).max() / x.size)


def seldom(series: ArrayLike) -> str:
    """Why no bar holds: two states that last for many samples were left only a few times; "" where that is not so.

    Two are seen where the middle third of the range holds a fifth of the samples at most and g is 5 or more. Fewer than 20 passages
    from the lowest third to the highest or back, over all chains, do not tell how much each of the two weighs: a few
    visits that happen to be short give a value and a bar that are too small together.

    Examples
    --------
    >>> seldom(np.repeat([0, 1, 0, 1], 100.0))[:35], seldom(np.random.default_rng(0).normal(size=400))
    ('not known: two states that last for', '')
    """
    x = _chains(series)
    third = np.ptp(x) / 3.0
    side = np.where(x >= x.max() - third, 1, np.where(x <= x.min() + third, -1, 0))
    if _constant(x) or (side == 0).mean() > BETWEEN or inefficiency(x) < LASTING:
        return ""
    passages = int(sum((np.diff(row[row != 0]) != 0).sum() for row in side))
    if passages >= PASSAGES:
        return ""
    return (
        f"not known: two states that last for many samples were left {passages} times, fewer than {PASSAGES}, which does not tell how "
        "much they weigh. Run longer, put more sweeps between samples, or exchange replicas over T and mu"
    )


def error_of_visits(series: ArrayLike, quantum: float = 0.0, least: float = 1.0, lag: int = 0) -> float:
    """The error of :func:`mean` for a series that changes, however seldom.

    Examples
    --------
    >>> round(error_of_visits(np.random.default_rng(0).normal(size=(4, 1000))), 3)
    0.016
    """
    x = _chains(series)
    known = memory(x, lag)
    g = max(known.inefficiency, least)
    return float(widening(known.freedom) * np.hypot(_spread(x, g), max(_visit(x, 2 * g), quantum * g / x.size)))


def mean(series: ArrayLike, quantum: float = 0.0, least: float = 1.0, lag: int = 0) -> Estimate:
    """Mean over all chains and times of correlated samples, with its standard error.

        stderr^2 = t^2 [g var / (n - g) + max(v, quantum g / n)^2]

    The first term is that of :func:`standard_error`. The second is for rare events: one visit more or less is chance. v is the most that
    2 g samples in a row move the mean; each visit to a rare state moves it by at least the smallest step of the observable, ``quantum``,
    times g / n. t widens the error by what the few degrees of freedom of g demand (:func:`widening`). A series that
    never changed does not tell how long a visit lasts; its error is 3 quantum g / n, since three visits on average
    are missed one time in twenty (the rule of three, Hanley and Lippman-Hand, JAMA 249, 1743 (1983)). Without
    ``quantum`` a composition that never changed would have no error at all. Where states last long and were met a few times only
    (:func:`seldom`) the error is nan, with a note. Nothing tells what was never visited.

    Parameters
    ----------
    series : (n,) or (chains, n)
    quantum : smallest step of the observable, such as 1/N for a composition; 0 for continuous ones
    least : the smallest g to assume, such as that of the energy for a composition which rarely changes
    lag : the smallest window of :func:`memory`, such as that of a slower quantity

    The unit is that of the series. One sample, or a constant series with ``quantum`` 0, has an error of nan and a note.

    Examples
    --------
    >>> mean([0.25] * 50, quantum=1 / 64), mean(np.random.default_rng(0).normal(size=(4, 1000)))
    (Estimate(0.25000(94)), Estimate(-0.015(16)))
    """
    x = _chains(series)
    n, still = x.size, _constant(x)
    if still:
        error = 3.0 * quantum * least / n if quantum else np.nan
        return Estimate(
            x.mean(),
            error,
            "" if quantum else "the series never changed, so its spread gives no error; name its quantum",
        )
    if note := seldom(x):
        return Estimate(x.mean(), np.nan, note)
    return Estimate(x.mean(), error_of_visits(x, quantum, least, lag))


@dataclass(frozen=True)
class Convergence:
    """What :func:`convergence` found; ``equilibration`` in samples per chain, the other figures for what follows it."""

    inefficiency: float
    effective_samples: float
    rhat: float
    equilibration: int
    converged: bool
    note: str = ""


def convergence(series: ArrayLike, min_effective: float = 100.0, max_rhat: float = 1.05) -> Convergence:
    """Whether a series is long enough for an average, and in a sentence what to do if it is not.

    The first :func:`equilibration` samples are set aside; the rest must hold at least ``min_effective`` independent
    samples and have a :func:`split_rhat` of at most ``max_rhat``, and must not be less than half of the run. A series
    that never changes passes, with a note.

    Examples
    --------
    >>> convergence(np.random.default_rng(0).normal(size=(2, 1000))).converged
    True
    >>> convergence(np.random.default_rng(0).normal(size=(2, 1000)) + [[0.0], [5.0]]).note[:54]
    'the chains or their halves disagree (R-hat 1.8 above 1'
    """
    x = _chains(series)
    start = equilibration(x)
    kept = x[:, start:]
    g, rhat = inefficiency(kept), split_rhat(kept)
    worth = kept.size / g
    faults = []
    if not rhat <= max_rhat:
        faults.append(
            f"the chains or their halves disagree (R-hat {rhat:.2g} above {max_rhat:g}): the run has not found or not "
            "balanced all states; run longer, start from several phases, or exchange replicas over T and mu"
        )
    if worth < min_effective:
        longer = "several times" if worth < 1.5 else f"about {min_effective / worth:.1f} times"
        faults.append(
            f"{worth:.1f} independent samples of {kept.size} (inefficiency {g:.1f}), fewer than {min_effective:g}; "
            f"run {longer} longer, or put more sweeps between samples"
        )
    if start > x.shape[1] / 2:
        faults.append(f"the first {start} of {x.shape[1]} samples still drift; equilibrate longer")
    note = "; ".join(faults)
    if not faults and _constant(x):
        note = f"the value never changed in {x.size} samples: nothing is known of events rarer than that"
    return Convergence(g, worth, rhat, start, not faults, note)
