"""Clusters of sites up to symmetry, the site functions on them, and correlation functions of occupations.

An orbit of decorated clusters is what the space group makes of one cluster with a site function on each of its sites. Its correlation
function is the mean over the clusters,

    E / site = sum_k J_k Phi_k(x),      Phi_k = <prod_{m in c} phi_{f(m)}(x_m)>_{c in k},

with one site function fewer than species on each sublattice (Sanchez, Ducastelle and Gratias, Physica A 128, 334 (1984)).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import combinations, product

import numpy as np

from alloygen.arguments import positive
from alloygen.errors import AlloygenError
from alloygen.hamiltonian.figures import Orbit
from alloygen.lattice import Lattice, Primitive, operations
from alloygen.levels import around
from alloygen.limits import require_clusters

Cluster = tuple[
    tuple[int, ...], ...
]  # (ix, iy, iz, sublattice) of each member, or with its function; sorted, the first in cell 0
SIZES = ("constant", "point", "pair", "triplet", "quadruplet", "quintuplet", "sextuplet")


def key(rows: np.ndarray) -> Cluster:
    """A cluster (n, 4 or 5) as translations leave it: sorted, the first member in cell 0."""
    rows = np.asarray(rows, dtype=np.int64)
    rows = rows[np.lexsort(rows.T[::-1])].copy()
    rows[:, :3] -= rows[0, :3]
    return tuple(map(tuple, rows.tolist()))


def symmetries(primitive: Primitive) -> list[tuple[np.ndarray, np.ndarray]]:
    """The operations of the space group that leave the directions alone that are not periodic."""
    aperiodic = ~np.array(primitive.pbc)
    fixed = np.eye(3, dtype=int)[aperiodic]
    found = [op for op in operations(primitive) if (op[0][aperiodic] == fixed).all()]
    return found or [(np.eye(3, dtype=int), np.zeros(3))]


def image(primitive: Primitive, cluster: Cluster, rotation: np.ndarray, shift: np.ndarray) -> Cluster:
    """What an operation makes of a cluster; functions stay with their members."""
    rows = np.array(cluster)
    x = (rows[:, :3] + primitive.basis[rows[:, 3]]) @ rotation.T + shift
    gap = x[:, None] - primitive.basis
    sub = np.abs(gap - np.rint(gap)).max(2).argmin(1)
    cells = np.rint(gap[np.arange(len(rows)), sub]).astype(np.int64)
    return key(np.column_stack([cells, sub, rows[:, 4:]]))


def cluster_orbits(primitive: Primitive, order: int, distance: float, active: Sequence[int]) -> list[list[Cluster]]:
    """Orbits of clusters of ``order`` sites on the sublattices ``active``, no two farther apart than ``distance``, the smallest first.

    Examples
    --------
    >>> fcc = Primitive([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]], [[0, 0, 0]], [("A", "B")])
    >>> [len(clusters) for clusters in cluster_orbits(fcc, 2, 1.01, [0])]
    [6, 3]
    """
    position = lambda rows: (rows[..., :3] + primitive.basis[rows[..., 3]]) @ primitive.cell  # noqa: E731
    found: dict[Cluster, list[float]] = {}
    reach = _reach(primitive, distance)
    for b in active:
        sites, length = around(primitive, b, np.asarray(active), reach)
        near = sites[(length > 0) & (length <= distance)]
        for others in combinations(near, order - 1):
            x = position(np.array([(0, 0, 0, b), *others]))
            pairs = [float(np.linalg.norm(x[i] - x[j])) for i, j in combinations(range(order), 2)]
            if not pairs or max(pairs) <= distance:
                found[key(np.array([(0, 0, 0, b), *others]))] = sorted(pairs, reverse=True)
    out = []
    ops = symmetries(primitive)
    while found:
        cluster = min(found, key=lambda c: (np.round(found[c], 4).tolist(), c))
        images = sorted({image(primitive, cluster, *op) for op in ops})
        for i in images:
            found.pop(i)
        out.append(images)
    return out


def _reach(primitive: Primitive, distance: float) -> int:
    """Cells around a site in which every site within ``distance`` lies."""
    periodic = np.array(primitive.pbc)
    normals = np.linalg.inv(primitive.cell).T[periodic]
    widest = float(np.linalg.norm(normals, axis=1).max()) if len(normals) else 0.0
    return int(np.ceil(distance * widest + np.ptp(primitive.basis, axis=0).max(initial=0.0))) + 1


# ---------------------------------------------------------------------- site functions
def site_functions(primitive: Primitive) -> tuple[np.ndarray, list[list[int]]]:
    """(values (n_functions, n_elements), functions of each sublattice): orthonormal polynomials of each list of species.

    sum_s phi_f(s) phi_g(s) / m = delta_fg over the m species of a list, and each is orthogonal to the constant; +1 and -1 for two.
    Sublattices with the same list share functions; those of one species have none.

    Examples
    --------
    >>> salt = Primitive(np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], [("Li", "Na"), ("O", "F", "Cl")])
    >>> values, of = site_functions(salt)
    >>> values.round(3).tolist(), of
    ([[1.0, -1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.225, 0.0, -1.225], [0.0, 0.0, 0.707, -1.414, 0.707]], [[0], [1, 2]])
    """

    def polynomials(m: int) -> np.ndarray:
        q = np.linalg.qr(np.vander(np.linspace(1.0, -1.0, m), m, increasing=True))[0] * np.sqrt(m)
        return np.where(np.abs(q) < 1e-14, 0.0, q * np.sign(q[0])).T[1:]

    return _by_list(primitive, polynomials)


def trigonometric_functions(primitive: Primitive) -> tuple[np.ndarray, list[list[int]]]:
    """The same, with -cos(2 pi s t / m) and -sin(2 pi s t / m) in turn for t = 1, 2, ... of species s = 0, 1, ...; -1 and +1 for two.

    van de Walle, Calphad 33, 266 (2009): the functions of ATAT and icet.
    """

    def waves(m: int) -> np.ndarray:
        angle = 2 * np.pi * np.arange(m) / m
        rows = [-f(t * angle) for t in range(1, m // 2 + 1) for f in (np.cos, np.sin)]
        return np.array(rows).reshape(-1, m)[: m - 1]

    return _by_list(primitive, waves)


def _by_list(primitive: Primitive, functions: Callable[[int], np.ndarray]) -> tuple[np.ndarray, list[list[int]]]:
    """Functions (m - 1, m) of each list of m species as rows over all elements, 0 for those of other lists."""
    rows: list[np.ndarray] = []
    numbers: dict[tuple[str, ...], list[int]] = {}
    for names in primitive.species:
        if names in numbers:
            continue
        numbers[names] = list(range(len(rows), len(rows) + len(names) - 1))
        for values in functions(len(names)):
            row = np.zeros(len(primitive.elements))
            row[[primitive.elements.index(s) for s in names]] = values
            rows.append(row)
    values = np.array(rows).reshape(len(rows), len(primitive.elements))
    return values, [numbers[names] for names in primitive.species]


def cutoffs_from(given: object) -> tuple[float, ...]:
    """Cutoffs of pairs, triplets, ..., as a user gave them; AlloygenError for what are no distances.

    Examples
    --------
    >>> cutoffs_from([6, 4.5])
    (6.0, 4.5)
    """
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        raise AlloygenError(
            f"expected cutoffs as distances for pairs, triplets, ..., such as (6.0, 4.5), got {given!r}"
        )
    return tuple(
        positive(c, f"the cutoff of clusters of {k} sites", "in the unit of the primitive cell")
        for k, c in enumerate(given, 2)
    )


def decorated_orbits(primitive: Primitive, cutoffs: Sequence[float]) -> tuple[np.ndarray, tuple[Orbit, ...]]:
    """Site functions, and every orbit of decorated clusters: the constant, the points, then pairs, triplets, ... as far as ``cutoffs`` reach.

    cutoffs : the largest distance between two members of pairs, triplets, ..., in the unit of the primitive cell
    An ECI of 1 is energy 1 per site for the mean over the clusters.

    Raises TooLarge for cutoffs within which there are too many clusters.

    Examples
    --------
    >>> fcc = Primitive([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]], [[0, 0, 0]], [("A", "B", "C")])
    >>> [(o.name, len(o.weights)) for o in decorated_orbits(fcc, [0.8])[1]]
    [('constant', 1), ('point 0', 1), ('point 1', 1), ('pair 1 00', 6), ('pair 1 01', 12), ('pair 1 11', 6)]
    """
    values, of = site_functions(primitive)
    active = [b for b, functions in enumerate(of) if functions]
    periodic, what = (
        primitive.cell[np.array(primitive.pbc)],
        f"clusters within cutoffs of {[float(c) for c in cutoffs]}",
    )
    require_clusters(periodic, max(len(active), 1), cutoffs, what, "Take smaller cutoffs", pruned=False)
    n_sites, ops = len(primitive.basis), symmetries(primitive)
    out = [Orbit("constant", 1.0, np.zeros((1, 0, 4)), np.zeros((1, 0)), np.array([float(n_sites)]))]
    for order, distance in enumerate([0.0, *cutoffs], start=1):
        orbits = cluster_orbits(primitive, order, distance * (1 + 1e-4), active)
        for number, clusters in enumerate(orbits, start=1):
            name = SIZES[order] if order < len(SIZES) else f"{order} sites"
            name += f" {number}" if order > 1 or len(orbits) > 1 else ""
            found = _decorations(primitive, clusters[0], of, ops)
            for choice, images in found:
                rows = np.array(images).reshape(len(images), order, 5)
                letters = " " + "".join(map(str, choice)) if len(found) > 1 else ""
                weights = np.full(len(rows), n_sites / len(rows))
                out.append(Orbit(name + letters, 1.0, rows[..., :4], rows[..., 4], weights))
    return values, tuple(out)


def _decorations(
    primitive: Primitive, cluster: Cluster, of: list[list[int]], ops: list
) -> list[tuple[tuple[int, ...], list[Cluster]]]:
    """(functions of the members, orbit) of a cluster with every choice of site functions that symmetry does not make equal."""
    out: list[tuple[tuple[int, ...], list[Cluster]]] = []
    seen: set[Cluster] = set()
    for choice in product(*(of[row[3]] for row in cluster)):
        first = tuple((*row, f) for row, f in zip(cluster, choice, strict=True))
        if key(np.array(first)) not in seen:
            images = sorted({image(primitive, first, *op) for op in ops})
            seen.update(images)
            out.append((choice, images))
    return out


# ---------------------------------------------------------------------- correlation functions
def correlations(values: np.ndarray, orbits: Sequence[Orbit], lattice: Lattice, occ: np.ndarray) -> np.ndarray:
    """Correlation functions (B, K) of occupations (B, N): what each orbit adds to the energy per site for an ECI of 1.

    Examples
    --------
    >>> fcc = Primitive([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]], [[0, 0, 0]], [("A", "B")])
    >>> functions, orbits = decorated_orbits(fcc, [0.8])
    >>> correlations(functions, orbits, Lattice(fcc, (2, 1, 1)), np.array([[0, 0], [1, 1]])).round(3).tolist()
    [[1.0, 1.0, 1.0], [1.0, -1.0, 1.0]]
    """
    occ = np.atleast_2d(np.asarray(occ, dtype=np.int64))
    if occ.shape[1] != lattice.n_sites:
        raise AlloygenError(f"expected occupations of shape (batch, {lattice.n_sites}), got {occ.shape}")
    phi = np.asarray(values)[:, lattice.element_index[lattice.sublattice, occ]]  # (F, B, N)
    cells = lattice.offsets[:: lattice.n_sublattices]
    out = np.empty((len(occ), len(orbits)))
    for k, orbit in enumerate(orbits):
        part = np.ones((len(occ), len(cells), len(orbit.weights)))
        for m in range(orbit.order):
            sites = lattice.index(cells[:, None] + orbit.members[None, :, m, :3], orbit.members[None, :, m, 3])
            part *= phi[orbit.functions[None, :, m], :, sites].transpose(2, 0, 1)
        out[:, k] = (part @ orbit.weights).mean(1) / lattice.n_sublattices
    return out


def diameter(orbit: Orbit, primitive: Primitive) -> float:
    """The largest distance between two sites of a cluster, in the unit of the primitive cell; 0 of a point.

    Examples
    --------
    >>> fcc = Primitive([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]], [[0, 0, 0]], [("A", "B")])
    >>> [round(diameter(orbit, fcc), 3) for orbit in decorated_orbits(fcc, [1.0])[1]]
    [0.0, 0.0, 0.707, 1.0]
    """
    x = (orbit.members[0, :, :3] + primitive.basis[orbit.members[0, :, 3]]) @ primitive.cell
    return float(np.linalg.norm(x[:, None] - x, axis=-1).max(initial=0.0))
