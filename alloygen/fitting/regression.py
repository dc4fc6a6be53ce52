"""From correlation functions and energies to ECIs with their uncertainty.

Every estimator comes to a normal prior of precision lambda_k on each ECI (flat for the constant) and a noise of precision beta; scikit-learn
finds these, and the posterior is

    covariance = (beta X^T X + diag(lambda))^-1,      mean = beta covariance X^T y

(MacKay, Neural Comput. 4, 415 (1992); for cluster expansions Mueller and Ceder, Phys. Rev. B 80, 024103 (2009)).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from alloygen.arguments import one_of
from alloygen.errors import AlloygenError

METHODS = ("ols", "ridge", "bayes", "ard", "lasso")
LEAST_FOR_PATH = 6  # structures that the lasso path is chosen by; of fewer none can be left out
FOLDS = 10
SMALL = 1e-13  # of the spread of the energies: noise that is rounding


@dataclass(frozen=True, kw_only=True, eq=False)
class Posterior:
    """ECIs (K,), their covariance (K, K), the standard deviation of the noise, and which were not found to be 0 (K,)."""

    mean: np.ndarray
    covariance: np.ndarray
    noise: float
    kept: np.ndarray


def regress(x: np.ndarray, y: np.ndarray, method: str) -> Posterior:
    """ECIs from correlation functions (M, K), the constant first, and energies (M,) by one of METHODS.

    ols : least squares; ridge : one strength for all ECIs, by the error of structures left out; bayes : one by the evidence; ard : one for
    each ECI by the evidence, those that it drives to 0 are dropped; lasso : those that its path keeps where it is cut by
    cross-validation, then bayes

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = np.column_stack([np.ones(40), rng.normal(size=(40, 3))])
    >>> regress(x, x @ [0.5, 0.2, 0.3, -0.1], "ols").mean.round(9).tolist()
    [0.5, 0.2, 0.3, -0.1]
    """
    one_of(method, "method", METHODS)
    spread = float(np.std(y))
    scale = spread if spread > 0 else 1.0
    target = (y - y.mean()) / scale
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of paths that do not converge: cross-validation judges them
        kept, prior, noise = _ESTIMATORS[method](x[:, 1:], target)
    kept = np.append(True, kept)
    mean, covariance = _posterior(x[:, kept], target, np.append(0.0, prior), noise)
    full, wide = np.zeros(x.shape[1]), np.zeros((x.shape[1],) * 2)
    full[kept], wide[np.ix_(kept, kept)] = mean * scale, covariance * scale**2
    full[0] += y.mean()
    return Posterior(mean=full, covariance=wide, noise=noise * scale, kept=kept)


def _posterior(x: np.ndarray, y: np.ndarray, prior: np.ndarray, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """(mean, covariance) by the singular values of the structures with a row for the prior of each ECI below them."""
    rows = np.vstack([x, np.diag(np.sqrt(prior) * noise)])
    u, s, v = np.linalg.svd(rows, full_matrices=False)
    good = s > 1e-12 * s[0]
    mean = (v[good].T / s[good]) @ (u[: len(x), good].T @ y)
    return mean, noise**2 * (v[good].T / s[good] ** 2) @ v[good]


# ---------------------------------------------------------------------- (kept (K - 1,), prior precisions of the kept, noise)
def _noise(x: np.ndarray, y: np.ndarray, prior: np.ndarray | float) -> float:
    """Standard deviation of the noise for prior precisions in units of that of the noise: residuals over what is left of M."""
    m, k = x.shape
    centred = x - x.mean(0)
    penalty = np.diag(np.broadcast_to(prior, k).astype(float))
    inverse = np.linalg.pinv(centred.T @ centred + penalty, hermitian=True)
    left = m - 1 - float(np.trace(inverse @ (centred.T @ centred)))
    rest = y - y.mean() - centred @ (inverse @ (centred.T @ (y - y.mean())))
    return max(float(np.sqrt((rest**2).sum() / max(left, 1e-9))), SMALL)


def _ols(x: np.ndarray, y: np.ndarray):
    return np.ones(x.shape[1], dtype=bool), np.zeros(x.shape[1]), _noise(x, y, 0.0)


def _ridge(x: np.ndarray, y: np.ndarray):
    from sklearn.linear_model import RidgeCV

    alpha = RidgeCV(alphas=np.logspace(-9, 2, 45)).fit(x, y).alpha_
    noise = _noise(x, y, alpha)
    return np.ones(x.shape[1], dtype=bool), np.full(x.shape[1], alpha / noise**2), noise


def _bayes(x: np.ndarray, y: np.ndarray):
    from sklearn.linear_model import BayesianRidge

    found = BayesianRidge(tol=1e-5).fit(x, y)
    return (
        np.ones(x.shape[1], dtype=bool),
        np.full(x.shape[1], float(found.lambda_)),
        max(float(found.alpha_) ** -0.5, SMALL),
    )


def _ard(x: np.ndarray, y: np.ndarray):
    from sklearn.linear_model import ARDRegression

    found = ARDRegression(tol=1e-4).fit(x, y)
    kept = found.lambda_ < found.threshold_lambda
    return kept, found.lambda_[kept], max(float(found.alpha_) ** -0.5, SMALL)


def _lasso(x: np.ndarray, y: np.ndarray):
    from sklearn.linear_model import LassoLarsCV

    if len(x) < LEAST_FOR_PATH:
        return _bayes(x, y)
    kept = LassoLarsCV(cv=5).fit(x, y).coef_ != 0
    if not kept.any():
        return kept, np.zeros(0), _noise(x[:, :0], y, 0.0)
    return kept, *_bayes(x[:, kept], y)[1:]


_ESTIMATORS = {"ols": _ols, "ridge": _ridge, "bayes": _bayes, "ard": _ard, "lasso": _lasso}


# ---------------------------------------------------------------------- structures left out
def folds(n: int, seed: int) -> list[np.ndarray]:
    """Indices of the structures that are left out together, at most ten parts."""
    return np.array_split(np.random.default_rng(seed).permutation(n), min(FOLDS, n))


def left_out_error(x: np.ndarray, y: np.ndarray, method: str, seed: int, share: float = 1.0) -> float:
    """Root mean square error of structures that are left out in turn; of the others a ``share`` is fitted to."""
    square = 0.0
    for out in folds(len(y), seed):
        rest = np.setdiff1d(np.arange(len(y)), out)
        rest = np.random.default_rng(seed).permutation(rest)[: max(2, round(share * len(rest)))]
        square += float(((y[out] - x[out] @ regress(x[rest], y[rest], method).mean) ** 2).sum())
    return float(np.sqrt(square / len(y)))


def learning_curve(x: np.ndarray, y: np.ndarray, method: str, seed: int) -> np.ndarray:
    """(n, 2): numbers of structures that are fitted to, and the error of those left out."""
    full = len(y) - len(folds(len(y), seed)[0])
    shares = [s for s in (0.4, 0.6, 0.8, 1.0) if round(s * full) > 3]
    return np.array([[round(s * full), left_out_error(x, y, method, seed, s)] for s in shares]).reshape(-1, 2)


def usable(x: np.ndarray) -> tuple[str, ...]:
    """The methods that structures can tell ECIs by; least squares takes more independent ones than there are ECIs."""
    full = np.linalg.matrix_rank(x, 1e-9 * np.linalg.norm(x, 2)) == x.shape[1] and len(x) > x.shape[1]
    return METHODS if full else METHODS[1:]


def best_method(x: np.ndarray, y: np.ndarray, seed: int, methods: Sequence[str]) -> tuple[str, dict[str, float]]:
    """(the method with the least error of structures left out, that of each)."""
    errors = {method: left_out_error(x, y, method, seed) for method in methods}
    if not all(np.isfinite(list(errors.values()))):
        raise AlloygenError(f"expected finite errors of structures left out, got {errors}; check the energies")
    return min(errors, key=lambda m: errors[m]), errors
