"""Importance weights: how far a sampler q is from the target p, told from log-weights alone.

For draws x ~ q the log-weight is log w = -beta [E(x) - mu.N(x)] - log q(x), so that mean_q w = Z. Everything is done
with logarithms in float64; an additive constant in ``log_w`` changes only what is said to be in its unit (nats).

Effective sample size after Kong, "A note on importance sampling using standardized weights" (1992) and Owen, "Monte
Carlo theory, methods and examples" (2013), chapter 9.
"""

from __future__ import annotations

import sys
import warnings
from types import FrameType
from typing import NamedTuple
from weakref import WeakValueDictionary

import numpy as np

from alloygen.errors import AlloygenError, LowSampleSize
from alloygen.estimate.pareto import MAX_K, tail
from alloygen.estimate.result import Estimate
from alloygen.types import ArrayLike

MIN_ESS = 50.0
MAX_SHARE = 0.2
UNEVEN = 0.2  # NESS below which configurations are told of when they are drawn, looked at or written
REFINE = "Draw more samples, or refine them (annealing, or a model trained nearer to this condition)"


def as_log_weights(log_w: ArrayLike) -> np.ndarray:
    """``log_w`` as float64 (n,), or an :class:`AlloygenError` where no weight can be made of it.

    -inf (a weight of zero) is fine as long as one weight is positive; nan and +inf are not.
    """
    log_w = np.asarray(log_w, dtype=np.float64)
    if log_w.ndim != 1 or len(log_w) == 0:
        raise AlloygenError(f"expected log-weights of shape (n,) with n >= 1, got shape {log_w.shape}")
    bad = np.isnan(log_w) | (log_w == np.inf)
    if bad.any():
        raise AlloygenError(
            f"expected finite log-weights (or -inf), got {int(bad.sum())} nan or +inf, the first at index "
            f"{int(np.flatnonzero(bad)[0])}; a nan energy or a log_prob of -inf on a drawn sample is the usual cause"
        )
    if np.isneginf(log_w).all():
        raise AlloygenError(
            "expected at least one weight above zero, got only log-weights of -inf; "
            "check the energies and the likelihoods of these samples"
        )
    return log_w


def log_mean_exp(log_w: ArrayLike) -> float:
    """log( 1/n sum_i exp(log_w_i) ), free of overflow; for importance weights, the estimate of log Z.

    Examples
    --------
    >>> log_mean_exp([1000.0, 1000.0])
    1000.0
    """
    log_w = as_log_weights(log_w)
    top = log_w.max()
    return float(top + np.log(np.exp(log_w - top).mean()))


class LogMean(NamedTuple):
    """log of a mean of weights, its bias taken off; variance of the mean weight over its square; ``missing``: what one draw more may change;
    shape ``k_hat`` of the tail, and whether it is ``heavy``; ``few``: what is said where there is no variance"""

    value: float
    variance: float
    missing: float
    k_hat: float
    heavy: bool = False
    few: str = "one sample has no error bar; draw more"

    @property
    def stderr(self) -> float:
        """Standard error of the logarithm: nan for one sample and where few rare draws decide."""
        return np.nan if self.heavy else float(np.sqrt(self.variance + self.missing**2))

    @property
    def note(self) -> str:
        """Why there is no error."""
        if np.isnan(self.variance):
            return self.few
        return heavy(self.k_hat) if self.heavy else ""


def heavy(k_hat: float) -> str:
    """What is said of weights with such a tail."""
    return (
        f"not known: the weights have a tail of k-hat = {k_hat:.2f}, above {MAX_K}, so that few rare draws decide; draw more samples, average "
        "over paths, or refine them (annealing, or a model trained nearer to this condition)"
    )


def log_mean(log_w: ArrayLike) -> LogMean:
    """log( 1/n sum_i w_i ) of n independent weights, with an error that counts the tail which they show and what they do not.

        value = log mean w + v/2,    v = (1/NESS - 1) / (n - 1),    stderr^2 = v + 1/n^2 + missing^2

    v is the variance of the mean weight over its square (delta method), and v/2 what the logarithm of a mean is too low by on average
    (Jensen; first order). 1/n^2 is what one sample more, of weight 0 or twice the mean, would add: deep in a phase all samples may be
    one configuration, and their spread says nothing of states rarer than 1/n. ``missing`` is the share of the mean that one draw more
    of the tail may bring (:func:`alloygen.estimate.pareto.tail`), nothing for even weights: with heavy tails the value and v are too
    small together as long as the largest weights have not been drawn. Where k-hat is above 0.7 and the largest weight has more than 5 % of the
    sum there is no error (nan). For one weight there is none
    either.

    Examples
    --------
    >>> made = log_mean(np.random.default_rng(0).normal(size=1000))            # log-normal weights: log Z = 1/2
    >>> abs(made.value - 0.5) < 2 * made.stderr, made.k_hat < 0.7
    (True, True)
    """
    log_w = as_log_weights(log_w)
    n = len(log_w)
    if n == 1:
        return LogMean(float(log_w[0]), np.nan, np.nan, -np.inf)
    found = tail(log_w)
    v = max(1.0 / ness(log_w) - 1.0, 0.0) / (n - 1)
    return LogMean(log_mean_exp(log_w) + 0.5 * v, v, float(np.hypot(1.0 / n, found.missing)), found.k_hat, found.heavy)


def log_mean_of_islands(log_w: ArrayLike, islands: int) -> LogMean:
    """log( 1/n sum_i w_i ) of weights (n,) in independent groups of n / islands, whose members depend on one another (resampling).

        value = log mean w + v/2,    stderr^2 = (G - 1) / (G - 3) v + 1/n^2 + missing^2

    v and ``missing`` are those of :func:`log_mean` for the G means of the groups. (G - 1) / (G - 3) is the variance of Student's law: a few groups
    that agree by chance do not make a small error. A group is a mean of many samples, so that what none of them shows is still counted by
    1/n. Fewer than four groups have no error (nan).

    Examples
    --------
    >>> made = log_mean_of_islands(0.1 * np.random.default_rng(0).normal(size=800), 8)
    >>> abs(made.value - 0.005) < 2 * made.stderr, made.stderr < 0.01
    (True, True)
    """
    log_w = as_log_weights(log_w)
    means = np.array([log_mean_exp(part) for part in log_w.reshape(islands, -1)])
    if islands < 4:
        return LogMean(
            log_mean_exp(log_w), np.nan, np.nan, -np.inf, False, "fewer than four islands have no error bar; draw more"
        )
    found, plain = tail(means), max(1.0 / ness(means) - 1.0, 0.0) / (islands - 1)
    missing = float(np.hypot(1.0 / len(log_w), found.missing))
    return LogMean(
        log_mean_exp(means) + 0.5 * plain, plain * (islands - 1) / (islands - 3), missing, found.k_hat, found.heavy
    )


def normalized_weights(log_w: ArrayLike) -> np.ndarray:
    """w_i / sum_j w_j, float64 (n,), summing to one.

    Examples
    --------
    >>> normalized_weights(np.log([1.0, 3.0])).round(12).tolist()
    [0.25, 0.75]
    """
    log_w = as_log_weights(log_w)
    w = np.exp(log_w - log_w.max())
    return w / w.sum()


def ess(log_w: ArrayLike) -> float:
    """Effective sample size (sum w)^2 / sum w^2, between 1 and n.

    Examples
    --------
    >>> round(ess(np.log([1.0, 1.0, 2.0])), 6)
    2.666667
    """
    return float(1.0 / (normalized_weights(log_w) ** 2).sum())


def ness(log_w: ArrayLike) -> float:
    """Normalised effective sample size (sum w)^2 / (n sum w^2), in (0, 1]; 1 when q = p.

    It is about exp(-2 KL(q||p)) when near 1. Measured on q's own draws it cannot see what q never draws: report
    :func:`eubo` and :func:`forward_ness` on reference samples beside it.

    Examples
    --------
    >>> ness([5.0, 5.0, 5.0])
    1.0
    """
    log_w = as_log_weights(log_w)
    return ess(log_w) / len(log_w)


def eubo(log_w_reference: ArrayLike, inefficiency: float = 1.0) -> Estimate:
    """Evidence upper bound E_p[log w] >= log Z from reference samples x ~ p, in nats (Blessing et al., ICML 2024).

        E_p[log w] = log Z + KL(p || q)

    Minus log Z, it is the forward divergence, which counts the modes that q misses.

    Parameters
    ----------
    log_w_reference : (n,) log-weights -beta [E - mu.N] - log q evaluated on samples of p
    inefficiency : statistical inefficiency (2 tau_int) of the reference chain; the variance is scaled by it

    Examples
    --------
    >>> eubo([2.0, 2.0, 2.0]).value
    2.0
    """
    log_w = as_log_weights(log_w_reference)
    n = len(log_w)
    error = np.sqrt(inefficiency * log_w.var(ddof=1) / n) if n > 1 else np.nan
    return Estimate(log_w.mean(), error, "" if n > 1 else "one sample")


def forward_ness(log_w_reference: ArrayLike, log_z: float | None = None) -> float:
    """NESS of q estimated on reference samples x ~ p: Z / mean_p(w), in (0, 1].

    From NESS = (E_q w)^2 / E_q w^2 with E_q w = Z and E_q w^2 = Z E_p w. Samples in a mode that q misses have a huge w, so
    a collapsed q scores low here where :func:`ness` scores high. Without ``log_z``, in the units of log w, 1/Z is taken
    from the samples too, as mean_p(1/w); then a constant in log w drops out, but what q spends on configurations that the
    samples never show goes unseen: all samples of a ground state have one w, and any q scores 1 on them.

    Examples
    --------
    >>> round(forward_ness(np.log([1.0, 4.0])), 6)
    0.64
    >>> round(forward_ness(np.log([4.0, 4.0]), log_z=np.log(1.0)), 6)
    0.25
    """
    log_w = as_log_weights(log_w_reference)
    if np.isneginf(log_w).any():
        return 0.0
    return min(1.0, float(np.exp((-log_mean_exp(-log_w) if log_z is None else log_z) - log_mean_exp(log_w))))


def user_level() -> int:
    """The ``stacklevel`` of a warning that points at the first caller outside this package."""
    frame: FrameType | None = sys._getframe(1)
    level = 1
    while frame is not None and frame.f_globals.get("__name__", "").split(".")[0] in (
        "alloygen",
        "contextlib",
        "functools",
    ):
        frame, level = frame.f_back, level + 1
    return level


def k_hat(log_w: ArrayLike) -> float:
    """Shape of the upper tail of the weights (Pareto k-hat): -inf where there is no tail to speak of; above 0.7 averages are not known.

    Examples
    --------
    >>> k_hat(np.zeros(100))
    -inf
    """
    return tail(as_log_weights(log_w)).k_hat


_heard: WeakValueDictionary[int, np.ndarray] = (
    WeakValueDictionary()
)  # weights that were told of, by their ids: each once


def tell(log_w: ArrayLike, text: str) -> None:
    """Warn :class:`~alloygen.errors.LowSampleSize` of weights, or of the likelihoods that they come of, which are :func:`heard` of from then on."""
    if isinstance(log_w, np.ndarray):
        _heard[id(log_w)] = log_w
    warnings.warn(text, LowSampleSize, stacklevel=user_level())


def heard(log_w: ArrayLike) -> bool:
    """Whether a warning of these very weights, as an object, has been given."""
    return _heard.get(id(log_w)) is log_w


def warn_if_low(log_w: ArrayLike, what: str) -> None:
    """Warn :class:`~alloygen.errors.LowSampleSize` when ESS < 50, one weight carries more than 20 % of the sum or k-hat is above 0.7: once for the
    same array."""
    if heard(log_w):
        return
    w = normalized_weights(log_w)
    size, found = 1.0 / (w**2).sum(), tail(as_log_weights(log_w))
    share, k = found.largest, found.k_hat
    if size < MIN_ESS or share > MAX_SHARE or found.heavy:
        tell(
            log_w,
            f"{what} rests on {size:.1f} effective samples of {len(w)} (largest weight {share:.0%} of the sum, k-hat {k:.2f}; "
            f"expected at least {MIN_ESS:.0f}, at most {MAX_SHARE:.0%} and at most {MAX_K}): the value and its error bar are "
            f"unreliable. {REFINE}.",
        )


def warn_if_uneven(log_w: ArrayLike, what: str, remedy: str = "") -> None:
    """Warn :class:`~alloygen.errors.LowSampleSize` when NESS < 0.2 or k-hat is above 0.7: once for the same array, estimates included.

    what : whose weights they are; remedy : what to do, else to draw more or to refine
    """
    if heard(log_w):
        return
    share, found = ness(log_w), tail(as_log_weights(log_w))
    if share < UNEVEN or found.heavy:
        n = len(np.asarray(log_w))
        tell(
            log_w,
            f"{what} are worth {share * n:.1f} independent ones (NESS {share:.2g}, expected at least {UNEVEN}; k-hat {found.k_hat:.2f}, expected at most "
            f"{MAX_K}): they follow the law of the alloy by their weights alone. {remedy or REFINE}; ens.resample(n) takes some by weight",
        )
