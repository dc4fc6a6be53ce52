"""Ways to choose a few configurations that stand for all: by weight, far apart, of low energy, or those that a fit leaves most open."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from alloygen.errors import AlloygenError
from alloygen.fitting.hulls import most_open
from alloygen.results.distinct import Distinct

Ensemble: TypeAlias = Any  # alloygen.results.ensemble.Ensemble, which imports this module
HOW = ("weighted", "diverse", "low-energy", "variance")


def choose(
    ensembles: Sequence[Ensemble],
    groups: Distinct,
    parts: Sequence[np.ndarray],
    occ: np.ndarray,
    weight: np.ndarray,
    n: int,
    how: str,
    covariance: tuple[np.ndarray, float] | None,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """(which of the structures (G, N), their weights at each condition (C, chosen)), from those of all (C, G)."""
    mean = weight.mean(0)
    if how == "weighted" or n >= len(groups):
        chosen, share = by_weight(mean, n, seed)
        return chosen, weight[:, chosen] * share / mean[chosen]
    h = ensembles[0].hamiltonian
    x = h.correlations(occ)
    if covariance is not None:
        chosen = np.sort(most_open(x, *covariance, n))
    elif how == "diverse":
        chosen = np.sort(farthest(x, n, int(mean.argmax())))
    else:
        above = np.full(len(groups), np.inf)
        for ens, of in zip(ensembles, parts, strict=True):
            np.minimum.at(above, of, ens.field_energy - ens.field_energy.min())
        chosen = np.sort(np.argsort(above, kind="stable")[:n])
    near = _nearest(x, chosen)
    return chosen, np.array([np.bincount(near, weights=row, minlength=len(chosen)) for row in weight])


def covariance_of(ens: Ensemble) -> tuple[np.ndarray, float]:
    fitted = getattr(ens.hamiltonian.expansion, "fitted", None)
    if fitted is None:
        raise AlloygenError(
            f'expected an expansion that knows how sure its ECIs are, by alloygen.fit, for "variance", got {ens.hamiltonian.expansion.name!r}; fit '
            'one, or take "weighted" or "diverse"'
        )
    return fitted.covariance, fitted.noise


def by_weight(weight: np.ndarray, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(which of G are drawn, their weights): n at most, without replacement, so that weighted sums are unbiased.

        P(k is drawn) = pi_k = min(1, c W_k),   sum_k pi_k = n,   weight of those drawn W_k / pi_k

    by a systematic sample of random start (Madow, Ann. Math. Stat. 20, 333 (1949); Horvitz and Thompson, J. Am. Stat. Assoc. 47, 663 (1952)): those
    that carry more than their share are always there, and the rest weigh the same. The weights are then made to sum to 1.

    Examples
    --------
    >>> rows, share = by_weight(np.array([0.5, 0.1, 0.1, 0.1, 0.1, 0.1]), 3, 0)
    >>> len(rows), share.round(3).tolist()
    (3, [0.5, 0.25, 0.25])
    """
    weight = weight / weight.sum()
    there = np.flatnonzero(weight > 0)
    if n >= len(there):
        return there, weight[there]
    sure = np.zeros(len(weight), dtype=bool)
    while True:
        left = n - sure.sum()
        chance = np.where(sure, 1.0, weight * left / weight[~sure].sum())
        if not (more := (chance >= 1.0) & ~sure).any():
            break
        sure |= more
    rng = np.random.default_rng(seed)
    rest = rng.permutation(np.flatnonzero(~sure & (weight > 0)))
    ticks = rng.random() + np.arange(left)
    drawn = rest[np.minimum(np.searchsorted(np.cumsum(chance[rest]), ticks, side="right"), len(rest) - 1)]
    chosen = np.sort(np.concatenate([np.flatnonzero(sure), drawn]))
    share = weight[chosen] / chance[chosen]
    return chosen, share / share.sum()


def farthest(x: np.ndarray, n: int, start: int) -> np.ndarray:
    """n rows of x (G, K), each the farthest from those before (Gonzalez, Theor. Comput. Sci. 38, 293 (1985)); columns by their spread."""
    x = _scaled(x)
    chosen, far = [start], np.full(len(x), np.inf)
    while len(chosen) < n:
        far = np.minimum(far, ((x - x[chosen[-1]]) ** 2).sum(1))
        chosen.append(int(far.argmax()))
    return np.array(chosen)


def _scaled(x: np.ndarray) -> np.ndarray:
    spread = x.std(0)
    return x[:, spread > 1e-12] / spread[spread > 1e-12]


def _nearest(x: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """The nearest of the rows ``chosen`` to each row of x (G, K), (G,); one that is chosen is its own."""
    x = _scaled(x)
    far = np.stack([((x - x[k]) ** 2).sum(1) for k in chosen], 1)
    out = far.argmin(1)
    out[chosen] = np.arange(len(chosen))
    return out
