"""Compiled kernels (numba): batch energies, and fields of known sites. Those of Monte Carlo are in ``flips``."""

from __future__ import annotations

import numpy as np

from alloygen.compiled import njit

_BLOCK = 64


@njit(inline="always")
def put(source: np.ndarray, out: np.ndarray) -> None:
    """out[k] = source[k]. Assigning an array compiles numba's words for shapes that differ too, for seconds."""
    for k in range(len(source)):
        out[k] = source[k]


@njit(fastmath=True)
def add_energies(
    rows: np.ndarray, site_functions: np.ndarray, factors: np.ndarray, coef: np.ndarray, out: np.ndarray
) -> None:
    """out[b] += sum_c coef_c prod_m phi(x_m); ``rows`` is (N, B), so the inner loop runs over configurations (SIMD)."""
    n, n_functions, _ = site_functions.shape
    batch = rows.shape[1]
    order = factors.shape[1]
    phi = np.empty((n * n_functions, _BLOCK))
    prod = np.empty(_BLOCK)
    for start in range(0, batch, _BLOCK):
        size = min(_BLOCK, batch - start)
        for i in range(n):
            for f in range(n_functions):
                for b in range(size):
                    phi[i * n_functions + f, b] = site_functions[i, f, rows[i, start + b]]
                for b in range(size, _BLOCK):
                    phi[i * n_functions + f, b] = 0.0
        total = np.zeros(_BLOCK)
        for c in range(len(coef)):
            j = coef[c]
            if order == 1:
                p = phi[factors[c, 0]]
                for b in range(_BLOCK):
                    total[b] += j * p[b]
            elif order == 2:
                p, q = phi[factors[c, 0]], phi[factors[c, 1]]
                for b in range(_BLOCK):
                    total[b] += j * p[b] * q[b]
            elif order == 3:
                p, q, r = phi[factors[c, 0]], phi[factors[c, 1]], phi[factors[c, 2]]
                for b in range(_BLOCK):
                    total[b] += j * p[b] * q[b] * r[b]
            elif order == 4:
                p, q, r, s = phi[factors[c, 0]], phi[factors[c, 1]], phi[factors[c, 2]], phi[factors[c, 3]]
                for b in range(_BLOCK):
                    total[b] += j * p[b] * q[b] * r[b] * s[b]
            else:
                prod[:] = j
                for m in range(order):
                    p = phi[factors[c, m]]
                    for b in range(_BLOCK):
                        prod[b] *= p[b]
                for b in range(_BLOCK):
                    total[b] += prod[b]
        for b in range(size):
            out[start + b] += total[b]


@njit()
def fields(
    occ: np.ndarray,
    rank: np.ndarray,
    sites: np.ndarray,
    threshold: np.ndarray,
    ptr: np.ndarray,
    coef: np.ndarray,
    channel: np.ndarray,
    others: np.ndarray,
    n_others: np.ndarray,
    site_functions: np.ndarray,
    out: np.ndarray,
) -> None:
    """out[b, q, k]: channel fields on sites[b, q] from terms whose other members all have rank < threshold[b, q]."""
    n_functions = site_functions.shape[1]
    phi = np.empty(site_functions.shape[0] * n_functions)
    for b in range(sites.shape[0]):
        for i in range(site_functions.shape[0]):
            for f in range(n_functions):
                phi[i * n_functions + f] = site_functions[i, f, occ[b, i]]
        for q in range(sites.shape[1]):
            i = sites[b, q]
            limit = threshold[b, q]
            for t in range(ptr[i], ptr[i + 1]):
                p = coef[t]
                for m in range(n_others[t]):
                    j = others[t, m]
                    if rank[b, j // n_functions] >= limit:
                        p = 0.0
                        break
                    p *= phi[j]
                out[b, q, channel[t]] += p
