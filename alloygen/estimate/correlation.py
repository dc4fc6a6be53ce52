"""Two-point functions of site values against distance.

    C(r) = < 1/|P_r| sum_((i, j) in P_r) s_i s_j > - < 1/N sum_i s_i >^2

with P_r the ordered pairs of sites at distance r. Du et al. (arXiv:2603.14695) take spins of the square lattice and the
periodic Manhattan distance. Which pairs belong together is an array of labels, so that any lattice and any distance do.
"""

from __future__ import annotations

import numpy as np

from alloygen.errors import AlloygenError
from alloygen.estimate import thermo
from alloygen.estimate.result import Estimate
from alloygen.lattice import Lattice
from alloygen.types import ArrayLike, Inefficiency


def manhattan_labels(lattice: Lattice) -> np.ndarray:
    """Periodic Manhattan distance of every pair of sites, integers (N, N), in steps along the primitive vectors.

        d_ij = sum_a min(|n_a|, L_a - |n_a|),   n the difference of the cell offsets, L_a the repeats

    Raises :class:`AlloygenError` where the supercell is skewed or the primitive cell has more than one site.

    Examples
    --------
    >>> from alloygen.hamiltonian.ising import ising
    >>> np.bincount(manhattan_labels(ising(4).lattice)[0]).tolist()     # sites at distance 0, 1, 2, 3, 4
    [1, 4, 6, 4, 1]
    """
    repeats = lattice.matrix.diagonal()
    if lattice.n_sublattices != 1 or (lattice.matrix != np.diag(repeats)).any():
        raise AlloygenError(
            f"expected repeats of a cell with one site, got {lattice!r}; shell_labels takes any lattice and supercell"
        )
    steps = np.abs(lattice.offsets[:, None] - lattice.offsets[None])
    return np.minimum(steps, repeats - steps).sum(-1)


def shell_labels(lattice: Lattice) -> tuple[np.ndarray, np.ndarray]:
    """Coordination shells of any lattice: ``(labels (N, N), distances (K,))``, label k standing for ``distances[k]``.

    Distances are those of the nearest images, from 0 on, in the unit of the primitive cell; equal ones to 1e-6 are one
    shell.

    Examples
    --------
    >>> import alloygen.data
    >>> labels, distances = shell_labels(alloygen.data.cuau().on((4, 4, 4)).lattice)
    >>> np.bincount(labels[0])[:3].tolist(), (distances / distances[1])[:3].round(3).tolist()
    ([1, 12, 6], [0.0, 1.0, 1.414])
    """
    sites, lengths = lattice.displacements
    length = np.zeros((lattice.n_sites, lattice.n_sites))
    np.put_along_axis(length, sites, lengths[lattice.sublattice], axis=1)
    distances, labels = np.unique(length.round(6), return_inverse=True)
    return labels.reshape(length.shape), distances


def pair_products(values: ArrayLike, labels: ArrayLike) -> np.ndarray:
    """Mean of s_i s_j over the pairs of each label, for every sample: (n, K), K = largest label + 1.

    Parameters
    ----------
    values : (n, N) site values s, for example spins of +-1
    labels : (N, N) integers, the label of each ordered pair; pairs below 0 are left out, and each label from 0 to K - 1
        must have a pair

    Examples
    --------
    >>> pair_products([[1, -1], [1, 1]], [[0, 1], [1, 0]]).tolist()
    [[1.0, -1.0], [1.0, 1.0]]
    """
    values, labels = np.asarray(values, dtype=np.float64), np.asarray(labels)
    if values.ndim != 2 or labels.shape != (values.shape[1],) * 2 or not np.issubdtype(labels.dtype, np.integer):
        raise AlloygenError(
            "expected values (n, N) and whole-number labels (N, N), got shapes "
            f"{values.shape} and {labels.shape} (labels: {labels.dtype})"
        )
    counts = np.bincount(labels[labels >= 0])
    if len(counts) == 0 or not counts.all():
        raise AlloygenError(f"expected a pair for each label from 0 to the largest, got {counts.tolist()} pairs")
    return np.column_stack([((values @ (labels == k)) * values).sum(1) / c for k, c in enumerate(counts)])


def connected(
    values: ArrayLike,
    labels: ArrayLike,
    log_w: ArrayLike | None = None,
    inefficiency: Inefficiency = 1.0,
    quantum: float = 0.0,
) -> list[Estimate]:
    """Connected two-point function C of every label, in the squared unit of ``values``.

        C_k = <p_k> - <m>^2,    p_k = mean of s_i s_j over the pairs of label k,    m = mean of s over the sites
        stderr^2 = g n/(n-1) sum_i W_i^2 (u_i - <u>)^2,    u_i = p_k(x_i) - 2 <m> m(x_i)

    u is the influence function (Hampel, J. Am. Stat. Assoc. 69, 383 (1974)), so the error counts that the same samples
    give both terms. C_k is low by stderr(m)^2 on average, which is small beside its error bar unless n is tiny. Where
    all sites are equivalent this is the mean over pairs of <s_i s_j> - <s_i><s_j>; on several sublattices it is not.

    Parameters
    ----------
    values : (n, N) site values
    labels : (N, N) pair labels, of :func:`manhattan_labels`, :func:`shell_labels` or your own
    log_w : (n,) log-weights; None for samples that already follow the target
    inefficiency : g = 1 + 2 sum of autocorrelations (1 for independent samples), or a function that finds it for each u_k
        (n,), as chains need: the correlation at one distance may live longer than that at another
    quantum : smallest step of p_k (4 / N for a spin flip), for an error of samples that hardly changed; see
        :func:`alloygen.estimate.thermo.mean`

    Raises :class:`AlloygenError` for wrong shapes; warns ``LowSampleSize``.

    Examples
    --------
    Free spins of mean 0.6 are correlated with themselves only, by 1 - 0.36:

    >>> from alloygen.hamiltonian.ising import ising
    >>> spins = np.where(np.random.default_rng(1).random((10_000, 16)) < 0.8, 1, -1)
    >>> connected(spins, manhattan_labels(ising(4).lattice))[:2]
    [Estimate(0.6409(24)), Estimate(-0.0017(11))]
    """
    products = pair_products(values, labels)
    site_mean = np.asarray(values, dtype=np.float64).mean(1)
    m = thermo.mean(site_mean, log_w).value
    linear = [thermo.mean(p - 2 * m * site_mean, log_w, inefficiency, quantum) for p in products.T]
    return [Estimate(u.value + m**2, u.stderr, u.note) for u in linear]
