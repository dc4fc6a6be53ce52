"""Free energies from exact likelihoods."""

from __future__ import annotations

import numpy as np

from alloygen.errors import AlloygenError
from alloygen.estimate.result import Estimate
from alloygen.estimate.weights import as_log_weights, log_mean_exp, ness, warn_if_low
from alloygen.types import ArrayLike


def free_energy(log_w: ArrayLike, kT: float, n_sites: int) -> Estimate:
    """Semigrand free energy per site from log-weights of independent samples x ~ q.

        Phi = -(kT / N) log Zhat,   Zhat = 1/n sum_i w_i,   w = exp(-beta [E - mu.N]) / q
        stderr = (kT / N) sqrt( (1/NESS - 1) / (n - 1) + 1/n^2 )

    Zhat is unbiased (Nicoli et al., Phys. Rev. E 101, 023304 (2020)). Delta method: d log Zhat = dZhat / Z, and
    var(Zhat) / Z^2 = s^2 / (n Zhat^2) with s^2 = n/(n-1) Zhat^2 (1/NESS - 1), because mean w^2 = Zhat^2 / NESS. The
    term 1/n^2 is what one sample more, of weight 0 or twice the mean, would add: deep in a phase all n samples may be the
    same configuration, and their spread says nothing of states rarer than 1/n. It only counts where NESS is 1. The
    logarithm raises Phi on average by N stderr^2 / (2 kT), which is less than half the error bar while N stderr < kT.

    Parameters
    ----------
    log_w : (n,) log-weights, float64
    kT : kB T in the energy unit
    n_sites : N

    Returns an :class:`Estimate` in the energy unit per site. Warns ``LowSampleSize`` when the effective sample size
    is below 50 or one weight carries more than 20 %. Raises :class:`AlloygenError` for nan weights and kT, N <= 0.

    Examples
    --------
    >>> free_energy(np.full(100, 8.0), kT=0.5, n_sites=4)
    Estimate(-1.0000(12))
    """
    if not kT > 0 or not n_sites > 0:
        raise AlloygenError(f"expected kT > 0 and n_sites > 0, got kT={kT!r}, n_sites={n_sites!r}")
    log_w = as_log_weights(log_w)
    warn_if_low(log_w, "The free energy")
    scale, n = kT / n_sites, len(log_w)
    if n == 1:
        return Estimate(-scale * log_w[0], np.nan, "one sample has no error bar; draw more")
    spread = max(1.0 / ness(log_w) - 1.0, 0.0)
    return Estimate(-scale * log_mean_exp(log_w), scale * np.sqrt(spread / (n - 1) + 1.0 / n**2))
