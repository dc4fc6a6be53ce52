"""Cluster expansions of ATAT (van de Walle, Asta and Ceder, Calphad 26, 539 (2002); van de Walle, Calphad 33, 266 (2009)) from its files.

``lat.in`` holds the lattice and the species of its sites, ``clusters.out`` one cluster of each orbit with its multiplicity m_k per cell, and
``eci.out`` the ECIs:

    E / cell of lat.in = sum_k m_k J_k <prod_{i in c} phi_{f(i)}(s_i)>_{c in k}

With s = 0, 1, ... the place of a species in the list of its site and M the number of these, the site functions are -cos(2 pi s t / M) and
-sin(2 pi s t / M) in turn for t = 1, 2, ...; of two species the first is -1 and the second +1. Clusters are equal by the space group of the
lattice, whose sites are told apart by their lists.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from alloygen.arguments import path_name
from alloygen.errors import AlloygenError
from alloygen.hamiltonian.clusters import Cluster, image, key, symmetries, trigonometric_functions
from alloygen.hamiltonian.expansion import ClusterExpansion
from alloygen.hamiltonian.figures import Orbit
from alloygen.lattice import Primitive
from alloygen.runtime.documents import contents_of, read_text
from alloygen.types import PathLike
from alloygen.units import KB_EV_PER_K

FILES = ("lat.in", "clusters.out", "eci.out")
VACANCIES = {"Vac", "Va", "vac", "VAC", "Vacancy"}  # names in ATAT of what is X here
ROUNDED = 4e-4  # of a coordinate such as 0.3333, which stands for a third
NEAR = 0.02  # lattice vectors that a point of a cluster may be off its site


def from_atat(folder: PathLike, *, name: str = "ATAT expansion", citation: str = "") -> ClusterExpansion:
    """The expansion in a folder with ATAT's ``lat.in``, ``clusters.out`` and ``eci.out``, for any number of species and sublattices.

    Energies are what ``corrdump -c -eci=eci.out`` prints, times the number of cells: for files of ``maps`` and ``mmaps`` formation energies
    against the end members. A vacancy (``Vac``) becomes the species X. Only ATAT's own site functions are known (no ``-crf``).

    Raises AlloygenError for files that are missing, broken, or do not belong together: another number of ECIs than of clusters, points that
    are no sites, multiplicities that are not those of the lattice.

    Examples
    --------
    >>> expansion = from_atat("CuAu")                              # doctest: +SKIP
    >>> expansion.on((4, 4, 4)).energy(occ)                        # doctest: +SKIP
    """
    folder = path_name(folder, "the folder of ATAT's files")
    with contents_of(folder, "ATAT's lat.in, clusters.out and eci.out"):
        texts = {file: read_text(Path(folder) / file, f"ATAT's {', '.join(FILES)}") for file in FILES}
        return _expansion(texts, name, citation)


def _expansion(texts: dict[str, str], name: str, citation: str) -> ClusterExpansion:
    primitive, axes = _lattice(texts["lat.in"])
    functions, of = trigonometric_functions(primitive)
    clusters = _clusters(texts["clusters.out"])
    eci = _numbers(texts["eci.out"].split(), "eci.out")
    if len(eci) != len(clusters):
        raise AlloygenError(
            f"expected one ECI in eci.out for each of the {len(clusters)} clusters in clusters.out, got {len(eci)}; take all files from one run"
        )
    ops = symmetries(primitive)
    orbits = [
        _orbit(k, cluster, value, primitive, axes, of, ops)
        for k, (cluster, value) in enumerate(zip(clusters, eci, strict=True))
    ]
    return ClusterExpansion(primitive, functions, tuple(orbits), KB_EV_PER_K, "eV", name, citation)


def _numbers(words: list[str], where: str) -> list[float]:
    try:
        values = [float(w) for w in words]
    except ValueError as error:
        raise AlloygenError(f"{where}: expected numbers, got {' '.join(words)[:60]!r} ({error})") from None
    if not np.isfinite(values).all():
        raise AlloygenError(f"{where}: expected finite numbers, got {' '.join(words)[:60]!r}")
    return values


# ---------------------------------------------------------------------- lat.in
def _lattice(text: str) -> tuple[Primitive, np.ndarray]:
    """(the primitive cell, rows of the coordinate system that positions are given in)."""
    from ase.cell import Cell

    rows = [line.split() for line in text.splitlines() if line.strip()]
    first = _numbers(rows[0], "lat.in") if rows else []
    if len(first) == 6:
        axes, rest = np.array(Cell.fromcellpar(first)), rows[1:]
    elif len(first) == 3 and len(rows) > 3:
        axes, rest = np.array([_numbers(r, "lat.in") for r in rows[:3]]), rows[3:]
    else:
        raise AlloygenError(f"lat.in: expected a b c alpha beta gamma, or three vectors, got {text[:60]!r}")
    if len(rest) < 4 or any(len(r) != 3 for r in rest[:3]) or any(len(r) < 4 for r in rest[3:]):
        raise AlloygenError("lat.in: expected three lattice vectors, then a line 'x y z A,B' for each site")
    vectors = _whole(np.array([_numbers(r, "lat.in") for r in rest[:3]]))
    places = _whole(np.array([_numbers(r[:3], "lat.in") for r in rest[3:]]))
    species = [tuple("X" if s in VACANCIES else s for s in " ".join(r[3:]).replace(",", " ").split()) for r in rest[3:]]
    if abs(np.linalg.det(vectors @ axes)) < 1e-9:
        raise AlloygenError(f"lat.in: expected three independent lattice vectors, got {vectors.tolist()}")
    primitive = Primitive(vectors @ axes, places @ np.linalg.inv(vectors), tuple(species))
    return primitive, axes


def _whole(values: np.ndarray) -> np.ndarray:
    """Coordinates with what is written as 0.3333 or 0.6667 as thirds, and the like of twelfths."""
    twelfth = np.rint(values * 12) / 12
    return np.where(np.abs(values - twelfth) < ROUNDED, twelfth, values)


# ---------------------------------------------------------------------- clusters.out
def _clusters(text: str) -> list[tuple[float, list[list[float]]]]:
    """(multiplicity, points) of each cluster; a point is x y z, and the number of species less 2 and the function where these are given."""
    rows = [line.split() for line in text.splitlines() if line.strip()]
    out, at = [], 0
    while at < len(rows):
        head = [_numbers(r, "clusters.out") for r in rows[at : at + 3]]
        if len(head) < 3 or any(len(r) != 1 for r in head) or head[2][0] != int(head[2][0]) or head[2][0] < 0:
            raise AlloygenError(
                f"clusters.out: expected multiplicity, length and number of points of a cluster, a line each, got {rows[at : at + 3]}"
            )
        n = int(head[2][0])
        points = [_numbers(r, "clusters.out") for r in rows[at + 3 : at + 3 + n]]
        if len(points) < n or any(len(p) not in (3, 5) for p in points):
            raise AlloygenError(
                f"clusters.out: expected {n} points 'x y z' or 'x y z type function', got {rows[at + 3 : at + 3 + n]}"
            )
        out.append((head[0][0], points))
        at += 3 + n
    return out


def _orbit(
    k: int,
    cluster: tuple[float, list[list[float]]],
    eci: float,
    primitive: Primitive,
    axes: np.ndarray,
    of: list[list[int]],
    ops: list[tuple[np.ndarray, np.ndarray]],
) -> Orbit:
    """All clusters of a cell that the space group makes of one."""
    multiplicity, points = cluster
    name = f"cluster {k}"
    if not points:
        return Orbit(name, eci, np.zeros((1, 0, 4)), np.zeros((1, 0)), np.array([multiplicity]))
    first = _on_sites(name, points, primitive, axes, of)
    images = sorted({image(primitive, key(np.array(first)), *op) for op in ops})
    if len(images) != round(multiplicity):
        raise AlloygenError(
            f"clusters.out: expected the multiplicity that the lattice gives {name}, {len(images)} per cell, got {multiplicity:g}. Do lat.in and "
            "clusters.out belong together?"
        )
    rows = np.array(images).reshape(len(images), len(points), 5)
    return Orbit(name, eci, rows[..., :4], rows[..., 4], np.ones(len(rows)))


def _on_sites(
    name: str, points: list[list[float]], primitive: Primitive, axes: np.ndarray, of: list[list[int]]
) -> Cluster:
    """(ix, iy, iz, sublattice, function) of each point."""
    out = []
    for point in points:
        gap = np.array(point[:3]) @ axes @ np.linalg.inv(primitive.cell) - primitive.basis
        b = int(np.abs(gap - np.rint(gap)).max(1).argmin())
        kind, function = (int(v) for v in point[3:]) if len(point) == 5 else (len(of[b]) - 1, 0)
        if np.abs(gap[b] - np.rint(gap[b])).max() > NEAR:
            raise AlloygenError(f"clusters.out: expected sites of lat.in as points of {name}, got {point[:3]}")
        if kind != len(of[b]) - 1 or not 0 <= function < len(of[b]):
            raise AlloygenError(
                f"clusters.out: expected a site with {kind + 2} species and function {function} as a point of {name}, got one with "
                f"{'/'.join(primitive.species[b])}"
            )
        out.append((*np.rint(gap[b]).astype(int).tolist(), b, of[b][function]))
    return tuple(out)
