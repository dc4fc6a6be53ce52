"""Chemical potentials in a plane, or in more directions: which are neighbours, how far apart their laws are, and where more of them are due.

Neighbours are the edges of a Delaunay triangulation of what fixes the law, differences of chemical potentials. Two conditions of one temperature are as far apart as
Jeffreys' divergence of p ~ exp(-beta [E - mu.N]), which is exact in the mean numbers of atoms alone,

    J = KL(p_a || p_b) + KL(p_b || p_a) = beta (mu_b - mu_a).(<N>_b - <N>_a)          (nats),

about the squared distance of two Gaussians in standard deviations.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import Delaunay


def directions(differences: np.ndarray) -> np.ndarray:
    """(M, D) coordinates of differences of chemical potentials (M, n_elements) in the D directions along which they vary.

    Examples
    --------
    >>> directions(np.array([[0, 0.0, 0.0], [0, 0.6, 0.8]])).round(9).tolist()       # along a line, from the middle
    [[-0.5], [0.5]]
    """
    centred = differences - differences.mean(0)
    _, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    axes = axes[sizes > 1e-9 * max(sizes.max(initial=0.0), 1e-300)]
    axes *= np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(1)])[:, None]
    return centred @ axes.T


def edges(differences: np.ndarray) -> np.ndarray:
    """Pairs (P, 2) of neighbours, smaller number first, among differences of chemical potentials (M, n_elements): those next to each other along a line, else the
    edges of a Delaunay triangulation (qhull).

    Examples
    --------
    >>> edges(np.array([[0, 0.0], [0, 0.2], [0, 0.1]])).tolist()
    [[0, 2], [1, 2]]
    >>> len(edges(np.array([[0, a, b] for a in (0, 1, 2) for b in (0, 1, 2)])))         # 12 sides of four squares and their diagonals
    16
    """
    rising = np.lexsort(
        np.round(differences, 9).T[::-1]
    )  # a square has two diagonals: which one is cut must not depend on the order
    at = directions(np.asarray(differences, dtype=float)[rising])
    if len(at) < 2 or not at.shape[1]:
        return np.zeros((0, 2), dtype=int)
    if at.shape[1] == 1:
        order = np.argsort(at[:, 0], kind="stable")
        pairs = np.column_stack([order[:-1], order[1:]])
    else:
        corners = Delaunay(at).simplices
        a, b = np.triu_indices(corners.shape[1], 1)
        pairs = np.column_stack([corners[:, a].ravel(), corners[:, b].ravel()])
    return np.unique(np.sort(rising[pairs], 1), axis=0)


def divergence(beta: float, mu: np.ndarray, numbers: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Jeffreys' divergence J (P,) of ``pairs`` (P, 2) of conditions with chemical potentials mu (M, n_elements) and mean numbers of atoms (M, n_elements).

    Examples
    --------
    >>> divergence(20.0, np.array([[0, 0.0], [0, 0.1]]), np.array([[12, 4.0], [9, 7.0]]), np.array([[0, 1]]))
    array([6.])
    """
    a, b = np.asarray(pairs).T
    return beta * ((mu[b] - mu[a]) * (numbers[b] - numbers[a])).sum(-1)


def disjoint(pairs: np.ndarray) -> list[np.ndarray]:
    """Sets of pairs in which each condition is once at most, which together are ``pairs`` (P, 2): each goes to the first set that has room.

    Examples
    --------
    >>> [s.tolist() for s in disjoint(np.array([[0, 1], [0, 2], [1, 2]]))]
    [[[0, 1]], [[0, 2]], [[1, 2]]]
    """
    sets: list[list] = []
    taken: list[set] = []
    for a, b in np.asarray(pairs).tolist():
        free = next((k for k, used in enumerate(taken) if a not in used and b not in used), len(sets))
        if free == len(sets):
            sets.append([])
            taken.append(set())
        sets[free].append([a, b])
        taken[free] |= {a, b}
    return [np.array(s) for s in sets]
