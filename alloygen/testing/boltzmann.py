"""Whether samples follow the Boltzmann law of a small system, judged state by state.

The counts n_x of the states of an :class:`~alloygen.exact.enumeration.Enumeration` are held against n p(x),

    p(x) = exp(-u(x)) / Z,    u = (E - mu.N) / kT,    chi^2 = sum_x (n_x - n p(x))^2 / (n p(x)),

states that expect fewer than five counts put together (Pearson, Phil. Mag. 50, 157 (1900); Cochran, Biometrics 10, 417 (1954)). A test that
cannot fail says nothing: the number of samples must be large enough to tell the law from one with a slightly wrong temperature,
q(x) ~ exp(-(1 + sees) u(x)), by the power of the test at that law (a non-central chi-square), or it is refused.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import stats
from scipy.special import log_softmax

from alloygen.arrays import as_array
from alloygen.conditions.record import Condition
from alloygen.errors import AlloygenError
from alloygen.exact.enumeration import Enumeration
from alloygen.types import ArrayLike

FEWEST = 5.0  # counts that a bin expects
LEAST_P = 1e-4  # p-value below which samples are told from a law
POWER = 0.99  # with which the law that is off has to be seen
MOST = 10**9  # samples


def chi_square(counts: ArrayLike, expected: ArrayLike, constraints: int = 1) -> float:
    """p-value of observed counts under expected ones; bins expecting fewer than 5 are put together.

    constraints : how many sums of the counts were fixed beforehand

    Examples
    --------
    >>> round(chi_square([52, 48], [50, 50]), 3)
    0.689
    """
    counts, expected = _pooled(np.asarray(counts, dtype=float), np.asarray(expected, dtype=float))
    return float(stats.chi2.sf(((counts - expected) ** 2 / expected).sum(), len(expected) - constraints))


def _pooled(counts: np.ndarray, expected: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    small = expected < FEWEST
    if small.any():
        counts = np.append(counts[~small], counts[small].sum())
        expected = np.append(expected[~small], expected[small].sum())
    if expected[-1] < 1 and len(expected) > 1:  # what is left over is too rare to judge: it may go with its neighbour
        counts = np.append(counts[:-2], counts[-2:].sum())
        expected = np.append(expected[:-2], expected[-2:].sum())
    return counts, expected


def assert_boltzmann(
    samples: ArrayLike | torch.Tensor,
    exact: Enumeration,
    condition: Condition,
    *,
    where: ArrayLike | None = None,
    effective: float | None = None,
    tilted: float = 0.0,
    sees: float = 0.05,
    least_p: float = LEAST_P,
) -> float:
    """Hold samples against p(x) ~ exp(-(E - mu.N) / kT); returns the p-value, which is uniform where all is well.

    The test must hold for correlated samples too, and chi-square counts every one as news. So let samples be independent: the last
    configuration of each of many short chains, or one in several autocorrelation times of a long one. Else say in ``effective`` how many
    independent ones they are worth, :func:`alloygen.estimate.chains.effective_samples` of the slowest quantity you know; counts are scaled
    to it.

    Parameters
    ----------
    samples : occupations (..., N) of species indices, or the counts (M,) of the states in the order of ``exact.occ``
    exact : every state of the system, ``enumerable(name).enumeration`` or ``Enumeration(hamiltonian)``
    condition : of the law, ``hamiltonian.condition(T, mu)``
    where : (M,) bool, the states that may be reached, over which the law is normalised; others must not be met. Canonical moves keep
        ``exact.counts``, held sites part of ``exact.occ``
    tilted : hold against the law with u (1 + tilted) instead, a temperature that is wrong by about that share: a negative control, which
        has to fail (:func:`assert_not_boltzmann`)
    sees : relative error of u that has to be seen with 99 % power, else the number of samples is refused
    least_p : p-value below which samples fail: a correct sampler fails once in 1 / least_p seeds

    Raises AssertionError where they do not follow the law, AlloygenError for too few samples.

    Examples
    --------
    >>> from alloygen.testing import enumerable
    >>> system = enumerable("cuau-2x2x2")
    >>> at = system.hamiltonian.condition(500.0, [0.0, 0.07])
    >>> p = system.enumeration.at(at).probabilities
    >>> occ = system.enumeration.occ[np.random.default_rng(0).choice(256, 50_000, p=p)]
    >>> assert_boltzmann(occ, system.enumeration, at) > 1e-4
    True
    >>> assert_boltzmann(occ, system.enumeration, system.hamiltonian.condition(500.0, [0.0, -0.07]))
    Traceback (most recent call last):
    AssertionError: expected ...
    """
    counts = _counts(samples, exact)
    u, inside = _reduced(exact, condition), np.ones(len(exact), dtype=bool) if where is None else np.asarray(where)
    if inside.shape != (len(exact),) or inside.dtype != bool or inside.sum() < 2:
        raise AlloygenError(f"expected where as a mask of two or more of the {len(exact)} states, got {where!r}")
    if counts[~inside].any():
        state = exact.occ[int(np.flatnonzero(~inside & (counts > 0))[0])].tolist()
        raise AssertionError(
            f"expected only states that may be reached, got {counts[~inside].sum():.0f} samples of others, such as "
            f"{state}. Look at what the move keeps: numbers of atoms, held sites"
        )
    counts, u = counts[inside], u[inside]
    n = counts.sum() if effective is None else min(float(effective), counts.sum())
    _require_enough(n, u, abs(tilted) or sees, least_p)
    law, scale = np.exp(log_softmax(-(1.0 + tilted) * u)), n / counts.sum()
    p = chi_square(scale * counts, n * law)
    if not p >= least_p:
        raise AssertionError(_verdict(p, least_p, counts * scale, n * law, exact.occ[inside], u, condition))
    return p


def assert_not_boltzmann(
    samples: ArrayLike | torch.Tensor,
    exact: Enumeration,
    condition: Condition,
    *,
    tilted: float = 0.05,
    where: ArrayLike | None = None,
    effective: float | None = None,
    least_p: float = LEAST_P,
) -> None:
    """The negative control of :func:`assert_boltzmann`: the same samples must be told from the law of a slightly wrong temperature.

    Raises AssertionError where the law with u (1 + ``tilted``) passes: then the test that the right law passed says nothing.

    Examples
    --------
    >>> from alloygen.testing import enumerable
    >>> exact = enumerable("ising-3").enumeration
    >>> at = exact.hamiltonian.condition(2.3, [0.0, 0.1])
    >>> assert_not_boltzmann(np.random.default_rng(0).multinomial(100_000, exact.at(at).probabilities), exact, at)
    """
    try:
        p = assert_boltzmann(
            samples, exact, condition, where=where, effective=effective, tilted=tilted, least_p=least_p
        )
    except AssertionError:
        return
    raise AssertionError(
        f"expected samples that are told from a law whose (E - mu.N) / kT is off by {tilted:.1%}, got p-value {p:.2g} for it. "
        "Either they follow that law (look at T, and at the units of kB), or they are too few or too alike"
    )


def _counts(samples, exact: Enumeration) -> np.ndarray:
    """(M,) counts of states, from counts or from occupations."""
    given = as_array(samples)
    if given.ndim == 1 and len(given) == len(exact):
        if not ((given >= 0).all() and np.isfinite(given).all() and given.sum() > 0):
            raise AlloygenError("expected counts of states that are not negative, and samples at all, got others")
        return given.astype(float)
    occ = given.reshape(-1, given.shape[-1])
    return np.bincount(exact.index(occ), minlength=len(exact)).astype(float)


def _reduced(exact: Enumeration, condition: Condition) -> np.ndarray:
    """u = (E - mu.N) / kT of every state (M,)."""
    return exact.hamiltonian.require(condition, Condition).reduced(exact.energy, exact.counts)


def _power(n: float, u: np.ndarray, off: float, least_p: float) -> float:
    """Chance that n samples of the law with u (1 + off) fail as samples of the one with u."""
    law, other = (np.exp(log_softmax(-x)) for x in (u, (1.0 + off) * u))
    got, expected = _pooled(n * other, n * law)
    df = len(expected) - 1
    if df < 1:
        return 0.0
    shift = ((got - expected) ** 2 / expected).sum()
    return float(stats.ncx2.sf(stats.chi2.isf(least_p, df), df, shift))


def _require_enough(n: float, u: np.ndarray, off: float, least_p: float) -> None:
    if _power(n, u, off, least_p) >= POWER:
        return
    needed = max(n, 100.0)
    while needed < MOST and _power(needed, u, off, least_p) < POWER:
        needed *= 1.2
    enough = f"about {needed:.2g} independent ones" if needed < MOST else "more than any run has"
    raise AlloygenError(
        f"expected samples enough to tell a law whose (E - mu.N) / kT is off by {off:.1%}: {enough}, got {n:.0f}. Draw more, take a lower T "
        "or a smaller cell, or say by sees= how large an error matters"
    )


def _verdict(p: float, least_p: float, counts, expected, occ, u, condition: Condition) -> str:
    law = expected / expected.sum()
    pull = (counts - expected) / np.sqrt(np.maximum(expected, 1.0))
    worst = [
        f"{occ[k].tolist()} expected {expected[k]:.1f}, got {counts[k]:.1f}" for k in np.argsort(-np.abs(pull))[:3]
    ]
    mean, got = law @ u, counts @ u / counts.sum()
    variance = max(law @ (u - mean) ** 2, 1e-300)
    return (
        f"expected samples of exp(-(E - mu.N) / kT) at {condition.words}, got counts with p-value {p:.2g}, below {least_p:g}, of {counts.sum():.0f} "
        f"samples. Farthest off: {'; '.join(worst)}. <(E - mu.N) / kT>: expected {mean:.4g}, got {got:.4g}, as if kT were "
        f"{(got - mean) / variance:+.1%} off. Look at the acceptance rule (dE, the sign of mu, how often a move and its reverse are "
        "proposed); if samples are correlated, thin them or give effective="
    )
