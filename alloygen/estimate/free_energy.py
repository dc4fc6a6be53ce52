"""Free energies from exact likelihoods."""

from __future__ import annotations

from alloygen.errors import AlloygenError
from alloygen.estimate.result import Estimate
from alloygen.estimate.weights import log_mean, warn_if_low
from alloygen.types import ArrayLike


def free_energy(log_w: ArrayLike, kT: float, n_sites: int) -> Estimate:
    """Semigrand free energy per site from log-weights of independent samples x ~ q.

        Phi = -(kT / N) (log Zhat + v/2),   Zhat = 1/n sum_i w_i,   w = exp(-beta [E - mu.N]) / q,   v = (1/NESS - 1) / (n - 1)
        stderr = (kT / N) sqrt( v + 1/n^2 + missing^2 )

    Zhat is unbiased (Nicoli et al., Phys. Rev. E 101, 023304 (2020)); v/2 takes off the bias of its logarithm to first order. v is the delta
    method: d log Zhat = dZhat / Z, and var(Zhat) / Z^2 = s^2 / (n Zhat^2) with s^2 = n/(n-1) Zhat^2 (1/NESS - 1), because
    mean w^2 = Zhat^2 / NESS. 1/n^2 is one sample more, of weight 0 or twice the mean, and ``missing`` one more of the tail:
    see :func:`alloygen.estimate.weights.log_mean`. Neither counts a phase that no sample shows.

    Parameters
    ----------
    log_w : (n,) log-weights, float64
    kT : kB T in the energy unit
    n_sites : N

    Returns an :class:`Estimate` in the energy unit per site. Warns ``LowSampleSize`` when the effective sample size
    is below 50, one weight carries more than 20 %, or more than 5 % with a k-hat of the tail above 0.7; then the value is not
    known and its error nan, as ``note`` says. Raises :class:`AlloygenError` for nan weights and kT, N <= 0.

    Examples
    --------
    >>> import numpy as np
    >>> free_energy(np.full(100, 8.0), kT=0.5, n_sites=4)
    Estimate(-1.0000(12))
    """
    if not kT > 0 or not n_sites > 0:
        raise AlloygenError(f"expected kT > 0 and n_sites > 0, got kT={kT!r}, n_sites={n_sites!r}")
    warn_if_low(log_w, "The free energy")
    scale, found = kT / n_sites, log_mean(log_w)
    return Estimate(-scale * found.value, scale * found.stderr, found.note)
