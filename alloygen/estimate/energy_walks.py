"""From walks in energy to log g and its error: what blocks of visits or of counted transitions say, within and between walks.

A walk whose bias log g_k hardly moves any more visits bin b with a probability in proportion to g_b / exp(bias_kb). Blocks of
its visits are then samples of known laws up to one factor each, and what they say together is the maximum-likelihood
estimate of MBAR on bins (Ferrenberg and Swendsen, Phys. Rev. Lett. 63, 1195 (1989); Shirts and Chodera, J. Chem. Phys. 129,
124105 (2008)). What a block has beyond its expectation is its influence on log g; the spread of the influences, with their
memory and that between the walks, is the error, so that one walk is enough for it.
"""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp

from alloygen.errors import AlloygenError
from alloygen.estimate.chains import standard_error
from alloygen.types import ArrayLike

GROUPS = (32, 16, 8)  # blocks per walk that errors are made from, the first that every walk has
EARLY = 0.25  # share of the attempts of a walk that comes before the blocks that are used
LAGGING = 5e-4  # log f of a schedule of 1/t above which a walk must have been on it early
ROUNDS, CLOSE = 200, 1e-10
FEWEST = 16  # blocks of all walks: with fewer an error is not known
UNSETTLED = (
    "no error is known: the walks ended before they had settled for long enough; run longer (max_attempts=, or a smaller "
    "log_f_final=)"
)


def log_sum(x: np.ndarray) -> float:
    """log sum exp x."""
    top = x.max()
    return float(top + np.log(np.exp(x - top).sum()))


def bin_of(energy: ArrayLike, origin: float, width: float) -> np.ndarray:
    """The bins of energies, of which bin k is centred at origin + k * width."""
    return np.floor((np.asarray(energy) - origin) / width + 0.5).astype(np.int64)


def student_std(n: ArrayLike) -> np.ndarray:
    """By what a standard error from n values is widened, so that (mean - truth) / stderr has a standard deviation of 1.

    That ratio is Student's t with n - 1 degrees of freedom, of standard deviation sqrt((n - 1) / (n - 3)) (Student,
    Biometrika 6, 1 (1908)); for n = 2 and 3, where it is infinite, that of n = 4 is taken.

    >>> student_std([2, 4, 8, 100]).round(3).tolist()
    [1.732, 1.732, 1.183, 1.01]
    """
    n = np.maximum(n, 4)
    return np.sqrt((n - 1) / (n - 3))


def influence_error(series: np.ndarray) -> float:
    """Standard error of what has influences (walkers, blocks) of mean zero; nan for too few blocks."""
    if series.size < FEWEST:
        return np.nan
    return float(student_std(series.size) * standard_error(series)) if np.ptp(series) > 0 else 0.0


def blocks_used(
    length: np.ndarray, filled: np.ndarray, passed: np.ndarray, attempts: np.ndarray, moving: ArrayLike = 0.0
) -> list[np.ndarray]:
    """Where groups of blocks start and end, (groups + 1,) per walk and the same number for all; [] where there are too few.

    Blocks that began before ``EARLY`` of the attempts of their walk are left out: there its bias still moved. Where log f falls as
    1/t it moves in all blocks, and ``moving`` is the log f of today. The walk lags behind it, which no spread shows and which
    fades as 1/t: above ``LAGGING``, with the first blocks later than ``EARLY``, F of CuAu 2x2x4 was 0.6 errors too high.

    >>> blocks_used(np.array([10]), np.array([20]), np.array([0]), np.array([240]))[0].tolist()
    [2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 17, 18, 20]
    >>> blocks_used(np.array([10]), np.array([20]), np.array([0]), np.array([400]), moving=1e-3)
    []
    """
    began = attempts - passed - length * filled
    if ((np.asarray(moving) > LAGGING) & (began > EARLY * attempts)).any():
        return []
    first = np.ceil(np.maximum(EARLY * attempts - began, 0) / np.maximum(length, 1)).astype(int)
    groups = next((g for g in GROUPS if g <= (filled - first).min() and g * len(filled) >= FEWEST), 0)
    return [np.linspace(a, b, groups + 1).astype(int) for a, b in zip(first, filled, strict=True)] if groups else []


def grouped(blocks: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Sums of blocks (K, ...) between edges (groups + 1,)."""
    return np.add.reduceat(blocks[: edges[-1]], edges[:-1], axis=0)


def from_visits(counts: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(log g (bins,) up to a constant, influence (blocks, bins)) of visits (blocks, bins) under a bias (blocks, bins).

        g_b = sum_k n_kb / sum_k n_k exp(f_k - bias_kb),    exp(-f_k) = sum_b g_b exp(-bias_kb)

    nan where nothing was visited. The influence of a block is what it visited beyond its expectation, over the mean visits.

    Examples
    --------
    >>> log_g, influence = from_visits(np.array([[10, 20], [30, 60]]), np.zeros((2, 2)))
    >>> (log_g - log_g[0]).round(6).tolist(), bool(abs(influence).max() < 1e-9)
    ([0.0, 0.693147], True)
    """
    met = counts.sum(0) > 0
    seen, bias, total = counts[:, met].astype(float), bias[:, met], np.log(counts.sum(1))
    log_seen, f = np.log(seen.sum(0)), np.zeros(len(counts))
    for _ in range(ROUNDS):
        log_g = log_seen - logsumexp((total + f)[:, None] - bias, axis=0)
        before, f = f, -logsumexp(log_g - bias, axis=1)
        f -= f[0]
        if np.abs(f - before).max() < CLOSE:
            break
    expected = np.exp(log_g - bias)
    expected *= (seen.sum(1) / expected.sum(1))[:, None]
    value, influence = np.full(counts.shape[1], np.nan), np.zeros(counts.shape)
    value[met], influence[:, met] = log_g, len(counts) * (seen - expected) / seen.sum(0)
    return value, influence


def average(curves: np.ndarray, log_states: float) -> tuple[np.ndarray, np.ndarray]:
    """(mean (bins,), curves) of log g of walkers (walkers, bins), nan or -inf where not met.

    All are normalised to sum g = exp(log_states), or to 1 if that is nan.
    """
    curves = np.array([normal(np.where(np.isnan(c), -np.inf, c), log_states) for c in curves])
    met = np.isfinite(curves)
    return normal(np.where(met, curves, 0.0).sum(0) / met.sum(0), log_states), curves


def normal(log_g: np.ndarray, log_states: float) -> np.ndarray:
    """log g with sum g = exp(log_states), or 1 if that is nan."""
    return log_g + ((0.0 if np.isnan(log_states) else log_states) - log_sum(log_g))


def normal_influence(log_g: np.ndarray, influence: np.ndarray) -> np.ndarray:
    """The influence on a log g that is normalised."""
    share = np.exp(log_g - log_sum(log_g))
    return influence - np.einsum("wkb,b->wk", influence, share)[..., None]


def join_windows(
    log_g: np.ndarray, low: np.ndarray, high: np.ndarray, influence: np.ndarray | None = None
) -> tuple[np.ndarray, list[float], np.ndarray]:
    """(log g (n_bins,), rms mismatch of each overlap, influence (..., n_bins)) of windows (windows, n_bins), nan where not met.

    The offset that makes the squared differences in an overlap smallest is their mean; there the two curves are
    blended, each with a weight that falls to 0 towards its own end. ``influence`` (windows, ..., n_bins) goes the same way.
    """
    series = np.zeros((len(log_g), 1)) * log_g[:, None] if influence is None else influence
    out, rms, moved = log_g[0].copy(), [], series[0].copy()
    for k in range(1, len(log_g)):
        shared = np.isfinite(out) & np.isfinite(log_g[k])
        if not shared.any():
            raise AlloygenError(
                f"expected windows {k - 1} and {k} to share bins that both walkers met, got none. Take fewer windows, a "
                "larger overlap or more attempts."
            )
        difference = (out - log_g[k])[shared]
        new, weight = log_g[k] + difference.mean(), np.zeros(len(out))
        a, b = low[k], high[k - 1]
        weight[a : b + 1] = (np.arange(b - a + 1) + 1) / (b - a + 2)
        own = np.isfinite(out)
        blend = np.where(shared, weight, np.where(own, 0.0, 1.0))
        new_moved = series[k] + (moved - series[k])[..., shared].mean(-1)[..., None]
        out = np.where(shared, (1 - weight) * out + weight * new, np.where(own, out, new))
        moved = (1 - blend) * moved + blend * new_moved
        rms.append(float(difference.std()))
    return out, rms, moved


def from_transitions(
    log_g: np.ndarray, leads: np.ndarray, blocks: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """(log g (n_bins,), influence (blocks, n_bins)) from counts (n_bins, 2 D + 1), by weighted least squares.

    log g_b - log g_a = log T(a -> b) / T(b -> a) with weight 1 / (1 / count + 1 / count); differences of the given log g
    of neighbouring levels, with next to no weight, stand in where nothing was counted. ``blocks`` (blocks, n_bins, 2 D + 1)
    add up to some of the counts, and tell the error.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.linalg import splu

    parts = np.zeros((0, *leads.shape)) if blocks is None else blocks
    met, zero = np.flatnonzero(np.isfinite(log_g)), leads.shape[1] // 2
    if len(met) < 2:
        return log_g, np.zeros((len(parts), len(log_g)))
    place = np.full(len(log_g), -1)
    place[met] = np.arange(len(met))
    first, second = [place[met[:-1]]], [place[met[1:]]]
    steps, weights = [np.diff(log_g[met])], [np.full(len(met) - 1, 1e-6)]
    moved = [np.zeros((len(parts), len(met) - 1))]
    for d in range(1, zero + 1):
        up, down = leads[:-d, zero + d], leads[d:, zero - d]
        k = np.flatnonzero((up > 0) & (down > 0) & (place[:-d] >= 0) & (place[d:] >= 0))
        first.append(place[k])
        second.append(place[k + d])
        steps.append(np.log(_share(leads, k, zero + d)) - np.log(_share(leads, k + d, zero - d)))
        weights.append(1 / (1 / up[k] + 1 / down[k]))
        moved.append(_beyond(parts, k, zero + d) - _beyond(parts, k + d, zero - d))
    a, b, y, weight = (np.concatenate(x) for x in (first, second, steps, weights))
    rows = np.tile(np.arange(len(y)), 2)
    slope = csr_array((np.repeat([1.0, -1.0], len(y)), (rows, np.concatenate([b, a]))), shape=(len(y), len(met)))[:, 1:]
    weighted = (slope * weight[:, None]).T.tocsr()
    solver = splu((weighted @ slope).tocsc())
    out, influence = np.full(len(log_g), np.nan), np.zeros((len(parts), len(log_g)))
    out[met] = np.append(0.0, solver.solve(weighted @ y))
    if len(parts):
        influence[:, met[1:]] = solver.solve(weighted @ np.concatenate(moved, 1).T).T
    return out, influence


def _share(leads: np.ndarray, k: np.ndarray, column: int) -> np.ndarray:
    return leads[k, column] / leads[k].sum(1)


def _beyond(parts: np.ndarray, k: np.ndarray, column: int) -> np.ndarray:
    """What each block counted of a transition beyond its share, over the mean (blocks, len(k))."""
    here, all_of_it = parts[:, k, column], parts[:, k].sum(2)
    total, every = here.sum(0), all_of_it.sum(0)
    return len(parts) * (here / np.maximum(total, 1) - all_of_it / np.maximum(every, 1))
