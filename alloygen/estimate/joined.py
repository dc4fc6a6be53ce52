"""Averages at one condition from independent samples of it and from Markov chains at hotter ones, joined by MBAR.

Deep in a phase (E - <E>)^2 is carried by states that n samples rarely or never show, and the spread of the samples says nothing of
them. Hotter chains visit these states often; the multistate Bennett acceptance ratio (Shirts and Chodera, J. Chem. Phys. 129, 124105
(2008)) gives all samples the weights that they have at the cold condition.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import cast

import numpy as np

from alloygen.errors import AlloygenError, LowSampleSize
from alloygen.estimate import chains as markov
from alloygen.estimate.ladder import Samples
from alloygen.estimate.mixture import Mixture, NoOverlap
from alloygen.estimate.result import Estimate
from alloygen.estimate.serial import one_thread
from alloygen.types import ArrayLike


class Joined:
    """Weights of own and hot samples in the law of the own ones, u_0 = slope_0 . (E, N_1, N_2, ...).

        w_i = c_i exp(f_0 - u_0(x_i)) / d(x_i),    d(x) = sum_k N_k exp(f_k - u_k(x)),    N_k = sum of the c_i of state k

    An own sample counts c_i = ESS W_i, with its importance weight W_i; one of a chain 1/g. Chains that share fewer than 20 samples with
    the colder ones (they melted) are left out, from the hottest on. A mean has the error of its influences

        psi_i = w_i (f_i - f) + c_i (b (1 - V^T V)^+ V)_i,    stderr^2 = sum_own psi^2 + (chains: autocorrelation of sum_k psi) + max_own psi^2

    (b and V as in :mod:`alloygen.estimate.mbar`); the last term, the largest psi of an own sample, is one of these more or less, and the
    error of the chains counts one visit more (:func:`alloygen.estimate.chains.mean`).

    Parameters
    ----------
    slope : (1 + K, 1 + E) beta and -beta mu, of the own law first and then from cold to hot
    own : (n, 1 + E) energies and counts; weights : (n,) normalised
    hot : K arrays (copies * M, 1 + E), the chains of a state one after another; the copies are independent, states of one copy are not
    occ : (n + K copies M, N) occupations of all, for averages of functions of them

    Attributes: ``n_hot`` states that take part, ``weights`` (n + n_hot copies M,), summing to 1, and ``samples``, what is known of these.

    Raises NoOverlap, an :class:`AlloygenError`, where not even the coldest chains share samples with the own ones.

    Examples
    --------
    Two levels 0 and 8 kT apart: 200 own samples show the lower one alone, which chains at three times the temperature leave.

    >>> rng = np.random.default_rng(0)
    >>> excited = rng.random((8, 500)) < 1 / (1 + np.exp(8 / 3))
    >>> level = lambda x: np.column_stack([8.0 * np.ravel(x), np.zeros(np.size(x))])
    >>> joined = Joined(np.array([[1.0, 0], [1 / 3, 0]]), level(np.zeros(200)), np.full(200, 1 / 200), [level(excited)], 8)
    >>> truth = 64 * np.exp(-8) / (1 + np.exp(-8)) ** 2
    >>> got = joined.fluctuation(np.concatenate([np.zeros(200), 8.0 * excited.ravel()]))
    >>> bool(abs(got.value - truth) < 3 * got.stderr < 0.5 * truth)
    True
    """

    @one_thread
    def __init__(self, slope: np.ndarray, own: np.ndarray, weights: np.ndarray, hot: Sequence[np.ndarray], copies: int, occ: np.ndarray | None = None):  # fmt: skip
        self.n, self.copies = len(own), copies
        share = weights / (weights**2).sum()
        worth = [markov.inefficiency((x @ s).reshape(copies, -1)) for x, s in zip(hot, slope[1:], strict=True)]
        with np.errstate(divide="ignore"):  # a sample of no weight has no share
            each = [1.0 / share, *worth]
        self.n_hot, self._mix = _overlapping(slope, [own, *hot], each)
        mix = self._mix
        log_w = -(mix.x @ slope[0]) - mix.log_d
        w = mix.share * np.exp(log_w - log_w.max())[mix.row]
        self.weights = w / w.sum()
        x = np.concatenate([own, *hot[: self.n_hot]])
        self.samples = Samples(x[:, 0], x[:, 1:], lambda f: f(cast(np.ndarray, occ)[: len(x)]))

    @property
    def effective_samples(self) -> float:
        """Independent samples that the averages rest on."""
        used = self._mix.share > 0
        return float(1.0 / (self.weights[used] ** 2 / self._mix.share[used]).sum())

    @one_thread
    def _stderr(self, centred: np.ndarray, more: np.ndarray | float = 0.0) -> float:
        mix, z = self._mix, self.weights * centred
        b = mix.project(np.bincount(mix.row, z, minlength=len(mix.c))[None])
        psi = z + mix.share * mix.lift(b @ mix.inverse)[mix.row, 0]
        own, hot = psi[: self.n] + more, psi[self.n :].reshape(self.n_hot, -1).sum(0)
        chain = markov.error_of_visits(hot.reshape(self.copies, -1)) * hot.size if np.ptp(hot) > 0 else 0.0
        return float(np.sqrt((own**2).sum() + chain**2 + np.abs(own).max() ** 2))

    @property
    def unseen(self) -> float:
        """The weight of the states, known by energy and counts, that hot chains show and no own sample does."""
        shown = np.zeros(len(self._mix.x), dtype=bool)
        shown[self._mix.row[: self.n]] = True
        return float(self.weights[~shown[self._mix.row]].sum())

    def mean(self, values: ArrayLike, quantum: float = 0.0, more: ArrayLike = 0.0) -> Estimate:
        """Average of ``values`` (n + n_hot copies M,), those of the own samples first, in their unit.

        quantum : as elsewhere, not needed here: the chains show what the rare steps are
        more : (n,) influences of the own samples on another estimate, for the error of the sum of both
        """
        values = self._values(values)
        centre = float((self.weights * values).sum())
        return Estimate(centre, self._stderr(values - centre, np.asarray(more, dtype=np.float64)))

    def fluctuation(self, values: ArrayLike, scale: float = 1.0, quantum: float = 0.0) -> Estimate:
        """scale (<f^2> - <f>^2), as :func:`alloygen.estimate.thermo.fluctuation`."""
        values = self._values(values)
        square = (values - (self.weights * values).sum()) ** 2
        variance = float((self.weights * square).sum())
        return Estimate(scale * variance, scale * self._stderr(square - variance))

    def _values(self, values: ArrayLike) -> np.ndarray:
        values = np.asarray(values, dtype=np.float64)
        if values.shape != self.weights.shape:
            raise AlloygenError(f"expected {len(self.weights)} values, one per sample, got shape {values.shape}")
        return values


def _overlapping(slope, series, g) -> tuple[int, Mixture]:
    """The hot states that reach down to the first one, and the mixture of all these."""
    for k in range(len(series), 1, -1):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", LowSampleSize)
                return k - 1, Mixture(slope[:k], series[:k], g[:k])
        except (NoOverlap, LowSampleSize) as torn:
            gap = torn
    raise NoOverlap(f"expected hotter chains that share samples with the own ones, got none: {gap}")
