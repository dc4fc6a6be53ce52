"""Exact square-lattice Ising model on a torus: Kaufman's closed form without field, transfer matrix with field.

    H = -J sum_<ij> s_i s_j - h sum_i s_i,     each bond counted once, kB = 1,

the convention of :mod:`alloygen.hamiltonian.ising`. On a torus of side 2 two sites are joined by two bonds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from alloygen.arguments import whole_number
from alloygen.errors import AlloygenError, BadCondition

MAX_ROW = 12


def _coupling(T: float, J: float) -> float:
    if not (np.isfinite(T) and T > 0):
        raise BadCondition(f"expected a temperature above 0, got {T!r}")
    return float(J) / float(T)


def _gammas(k: np.ndarray, n: int, log_s: float) -> np.ndarray:
    """Kaufman's gamma_k from log s, s = sinh 2K: cosh gamma_k = cosh 2K coth 2K - cos(pi k / n).

    Written as cosh gamma - 1 = 2 sinh^2(gamma / 2) = (s - 1)^2 / s + 2 sin^2(pi k / 2n), which loses no digits near
    the critical point s = 1; gamma_0 = 2K + log tanh K keeps its sign (that of s - 1).
    """
    if log_s > 40.0:  # s - 2 + O(1) = s to rounding
        return np.full(len(k), np.log(2.0) + log_s)
    s = np.exp(log_s)
    offset = np.expm1(log_s) / np.sqrt(2.0 * s)  # sinh(gamma_0 / 2)
    gamma = 2.0 * np.arcsinh(np.hypot(offset, np.sin(np.pi * k / (2.0 * n))))
    return np.where(k == 0, 2.0 * np.arcsinh(offset), gamma)


def kaufman_log_z(L_rows: int, L_cols: int, T: float, J: float = 1.0) -> float:
    """Exact log Z at zero field of an L_rows x L_cols torus, J > 0.

        Z = 1/2 (2 sinh 2K)^(mn/2) [ prod_r 2 cosh(m g_(2r+1) / 2) + prod_r 2 sinh(m g_(2r+1) / 2)
                                    + prod_r 2 cosh(m g_(2r) / 2) + prod_r 2 sinh(m g_(2r) / 2) ],  r = 0 .. n - 1

    with m = L_rows, n = L_cols, K = J / T and the gamma's g_k (Kaufman, Phys. Rev. 76, 1232 (1949)). Evaluated with
    logarithms, so it holds for sides of hundreds, for low T, and at the critical point.

    Raises :class:`BadCondition` for T <= 0 and :class:`AlloygenError` for J <= 0 or sides below 1.

    Examples
    --------
    >>> round(-2.3 * kaufman_log_z(10, 10, 2.3) / 100, 12)
    -2.133254974585
    """
    m, n = whole_number(L_rows, "L_rows"), whole_number(L_cols, "L_cols")
    if J <= 0:
        raise AlloygenError(f"expected a ferromagnetic coupling J > 0, got {J!r}; use transfer_matrix for other signs")
    K = _coupling(T, J)
    log_s = 2.0 * K + np.log(-np.expm1(-4.0 * K)) - np.log(2.0)
    logs, signs = [], []
    for first in (1, 0):
        g = _gammas(np.arange(first, 2 * n, 2), n, log_s)
        half, decay = 0.5 * m * np.abs(g), np.exp(-m * np.abs(g))
        logs.append((half + np.log1p(decay)).sum())
        signs.append(1.0)
        with np.errstate(divide="ignore"):  # gamma_0 = 0 exactly at the critical point: the product vanishes
            logs.append((half + np.log1p(-decay)).sum())
        signs.append(np.prod(np.sign(g)))
    top = max(logs)
    total = np.sum(np.array(signs) * np.exp(np.array(logs) - top))
    return float(-np.log(2.0) + 0.5 * m * n * (np.log(2.0) + log_s) + top + np.log(total))


def kaufman_free_energy(L: int, T: float, J: float = 1.0) -> float:
    """Exact free energy per site, -T log Z / L^2, of the L x L torus at zero field (units of J).

    Examples
    --------
    >>> round(kaufman_free_energy(10, 2.0), 12)
    -2.065459508365
    """
    return -float(T) * kaufman_log_z(L, L, T, J) / L**2


@dataclass(frozen=True)
class IsingExact:
    """Exact Ising averages: log Z, F = -T log Z / N, m = <sum s> / N, E = <-J sum s s> / N (no field term)."""

    log_z: float
    free_energy: float
    magnetization: float
    energy: float


def _rows(L: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Spins (2^L, L) of every row, their sums, and their sums of neighbour products along the ring."""
    spins = 2.0 * ((np.arange(2**L)[:, None] >> np.arange(L)) & 1) - 1.0
    return spins, spins.sum(1), (spins * np.roll(spins, 1, axis=1)).sum(1)


def transfer_matrix(L: int, T: float, h: float = 0.0, M: int | None = None, J: float = 1.0) -> IsingExact:
    """Exact F, m and E of an L x M torus in a field, from the symmetric 2^L x 2^L transfer matrix.

        t(a, b) = exp( K sum_i a_i b_i + 1/2 [K B(a) + K B(b) + (h / T)(S(a) + S(b))] ),    Z = Tr t^M = sum lambda^M

    with K = J / T, B the bonds along a row and S its sum (Kramers and Wannier, Phys. Rev. 60, 252 (1941)).
    m and E are analytic derivatives: d log Z / d theta = M sum_ab (t^(M-1))_ab (d t_ab / d theta) / Z. The cost is one
    eigendecomposition of a dense 2^L matrix: a second at L = 10.

    Parameters: L sites in a row (at most 12), temperature T, field h, M rows (L if not given), coupling J of any sign.

    Examples
    --------
    >>> round(transfer_matrix(6, 2.3, h=0.2).free_energy, 10), round(transfer_matrix(6, 2.3, h=0.2).magnetization, 10)
    (-2.2841493916, 0.8723138997)
    """
    L = whole_number(L, "L, the sites in a row (at zero field kaufman_log_z takes larger tori),", 1, MAX_ROW)
    M, K = L if M is None else whole_number(M, "M, the number of rows,"), _coupling(T, J)
    spins, total, bonds = _rows(L)
    pair_bonds = spins @ spins.T + 0.5 * (bonds[:, None] + bonds)  # bonds per row, shared between the two rows
    pair_total = 0.5 * (total[:, None] + total)
    exponent = K * pair_bonds + float(h) / float(T) * pair_total
    shift = exponent.max()
    t = np.exp(exponent - shift)
    values, vectors = np.linalg.eigh(t)
    top = np.abs(values).max()
    z = np.sum((values / top) ** M)
    power = (vectors * ((values / top) ** (M - 1) / top)) @ vectors.T  # t^(M-1) / top^M
    law = power * t / z  # joint law of two rows that follow each other
    log_z = float(M * (shift + np.log(top)) + np.log(z))
    return IsingExact(
        log_z=log_z,
        free_energy=-float(T) * log_z / (L * M),
        magnetization=float((law * pair_total).sum() / L),
        energy=float(-J * (law * pair_bonds).sum() / L),
    )
