"""Which integer supercell of a primitive cell is a given cell? Arrays only; ``alloygen.edge.match`` lays atoms onto it.

Rows are vectors. With the primitive cell P, its metric G = P P^T and a caller's cell C, a supercell matrix H satisfies

    C = s H P R,     hence   C C^T = s^2 H G H^T

for a scale s (known from the volume per site) and an orthogonal R. H is read off directly when R is the identity, and
found by a search over integer rows h with h G h^T = |c|^2 / s^2 and the right dot products otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from alloygen.errors import LatticeMismatch
from alloygen.lattice import Lattice, Primitive
from alloygen.types import ArrayLike

EXACT = 1e-3  # stretch that counts as none
TOL = 0.15  # how far atoms may be off their sites, in nearest-neighbour distances
STRAIN = 0.08  # stretch of a relaxed cell that is still the same crystal: L1_0 of CuAu takes 5.4 %, hcp MgCd 6.1 %; fcc is 12 % from bcc
MAX_BOX = 4_000_000  # integer rows that a search over rotations looks at
MAX_SHELL = 1_000  # rows of one length that it keeps
LARGE = 500  # primitive cells from which on that search may miss a strained cell
MAX_FOUND = 4_000  # matrices that it returns; many in large cells, where lattices coincide in several orientations


@dataclass(frozen=True, eq=False)
class Found:
    """A supercell matrix of the caller's cell.

    matrix : int array (3, 3), C = scale * matrix @ P up to rotation and strain
    canonical : the same superlattice as a diagonal matrix where there is one, else ``matrix``
    scale : caller's length per length of the primitive cell
    metric_cell : float array (3, 3), the caller's primitive vectors divided by the scale
    stretches : float array (d,), logarithms of the principal stretches from the ideal supercell to the caller's, in the d
        periodic directions; their sum is 0, since the scale is taken out
    literal : the caller's primitive vectors are those of the primitive cell, up to the scale: neither rotated nor strained
    """

    matrix: np.ndarray
    canonical: np.ndarray
    scale: float
    metric_cell: np.ndarray
    stretches: np.ndarray
    literal: bool

    @property
    def strain(self) -> float:
        """Largest principal stretch, minus 1."""
        return float(np.abs(np.expm1(self.stretches)).max(initial=0.0))

    @property
    def loose(self) -> bool:
        """Found only by allowing strain."""
        return self.strain > EXACT

    def fractions(self, positions: np.ndarray) -> np.ndarray:
        """Positions (N, 3) in units of the caller's primitive vectors."""
        return positions @ np.linalg.inv(self.metric_cell * self.scale)


def find_matrices(primitive: Primitive, cell: np.ndarray, n_cells: int) -> Iterator[Found]:
    """Supercell matrices of ``cell`` (3, 3) with ``n_cells`` primitive cells, the likeliest first.

    The caller's orientation comes before rotations, and an unstrained cell before a strained one. Directions in which
    the primitive cell is not periodic are left out: their matrix rows are unit rows.

    Raises LatticeMismatch when there is none; the message tells a wrong number of atoms from a wrong cell.

    Examples
    --------
    >>> fcc = Primitive(0.5 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]), [[0, 0, 0]], [("Cu", "Au")])
    >>> next(find_matrices(fcc, 3.6 * np.eye(3), 4)).matrix.tolist()
    [[-1, 1, 1], [1, -1, 1], [1, 1, -1]]
    """
    axes = np.flatnonzero(primitive.pbc)
    own, given = primitive.cell[axes], np.asarray(cell, dtype=float)[axes]
    if len(axes) and _measure(given) < 1e-9:
        raise LatticeMismatch(
            f"expected a cell with three independent vectors, got {_show(cell)}. Set atoms.cell to the supercell."
        )
    scale = (_measure(given) / (n_cells * _measure(own))) ** (1 / len(axes)) if len(axes) else 1.0
    seen = set()
    for limit in (EXACT, STRAIN):
        for search in (_direct, _rotated):
            for rows in search(own, given / scale, n_cells, limit):
                if rows.tobytes() not in seen:
                    seen.add(rows.tobytes())
                    yield _found(primitive, rows, given, scale)
        if not seen:
            _require_count(primitive, own, given, n_cells)
    if not seen:
        raise no_supercell(primitive, cell, n_cells)


def upright(primitive: Primitive, cell: np.ndarray, n_cells: int) -> Found | None:
    """The supercell of so many primitive cells in the caller's orientation, or None: quick, for where the number is not known.

    Examples
    --------
    >>> cubic = Primitive(np.eye(3), [[0, 0, 0]], [("Cu", "Au")])
    >>> [n for n in range(1, 13) if upright(cubic, 3.6 * np.diag([2, 2, 3]), n)]
    [12]
    """
    axes = np.flatnonzero(primitive.pbc)
    own, given = primitive.cell[axes], np.asarray(cell, dtype=float)[axes]
    if not len(axes) or _measure(given) < 1e-9:
        return None
    scale = (_measure(given) / (n_cells * _measure(own))) ** (1 / len(axes))
    rows = _direct(own, given / scale, n_cells, STRAIN)
    return _found(primitive, rows[0], given, scale) if rows and np.linalg.det(rows[0]) > 0 else None


def turned(primitive: Primitive, found: Found, limit: float) -> list[Found]:
    """Every way to lay the cell of ``found`` onto the same sites with the primitive cell turned, ``found`` itself first.

    The operations are those of the lattice of sites up to strain (a cube and a slightly tetragonal cell have the same 48), whatever
    species the sites hold: which of them fits best, and whether energies tell them apart, is for the caller to find out. Sites
    that make a finer lattice, to ``limit`` (in the primitive cell's unit), turn as that lattice does.

    Examples
    --------
    >>> tetragonal = Primitive(np.diag([1.0, 1.0, 1.03]), [[0, 0, 0]], [("Ti", "Al")])
    >>> first = next(find_matrices(tetragonal, np.diag([2.0, 2.0, 2.0]), 8))
    >>> len(turned(tetragonal, first, 0.3))
    48
    """
    axes = np.flatnonzero(primitive.pbc)
    if not len(axes):
        return [found]
    part = np.ix_(axes, axes)
    fine = _site_lattice(primitive, limit)[part]
    own, rows = primitive.cell[axes], found.matrix[part]
    given = rows @ found.metric_cell[axes]
    vectors = fine @ own
    out = {rows.tobytes(): found}
    for turn in _rotated(vectors, vectors, 1, 2.2 * STRAIN):
        back = rows @ np.linalg.inv(np.linalg.solve(fine, turn @ fine))
        matrix = np.rint(back).astype(np.int64)
        if np.abs(back - matrix).max() < 1e-6 and matrix.tobytes() not in out:
            other = _found(primitive, matrix, given * found.scale, found.scale)
            if other.strain <= STRAIN:
                out[matrix.tobytes()] = other
    return list(out.values())


def _site_lattice(primitive: Primitive, limit: float) -> np.ndarray:
    """Vectors (3, 3), in primitive vectors, of the finest lattice whose translations keep the set of sites, to ``limit``."""
    periodic = np.array(primitive.pbc)
    found = [np.zeros(3)]
    for shift in primitive.basis[1:] - primitive.basis[0]:
        rest = (primitive.basis + shift)[:, None] - primitive.basis
        rest -= np.where(periodic, np.rint(rest), 0.0)
        apart = np.linalg.norm(rest @ primitive.cell, axis=-1)
        if apart.min(1).max() <= limit and len(set(apart.argmin(1).tolist())) == len(apart):
            found.append(np.where(periodic, shift, 0.0))
    n = len(found)
    return hermite(np.vstack([n * np.eye(3), np.rint(n * np.array(found))]))[:3] / n


def hermite(matrix: np.ndarray) -> np.ndarray:
    """Row Hermite normal form (upper triangular): equal for two matrices when they span the same superlattice.

    Examples
    --------
    >>> hermite(np.array([[2, 2], [0, -4]])).tolist()
    [[2, 2], [0, 4]]
    """
    h = np.array(matrix, dtype=np.int64)
    for k in range(h.shape[1]):
        while np.count_nonzero(h[k:, k]) > 1 or h[k, k] == 0:
            nonzero = k + np.flatnonzero(h[k:, k])
            pivot = nonzero[np.abs(h[nonzero, k]).argmin()]
            h[[k, pivot]] = h[[pivot, k]]
            h[k + 1 :] -= (h[k + 1 :, k] // h[k, k])[:, None] * h[k]
        if h[k, k] < 0:
            h[k] *= -1
        h[:k] -= (h[:k, k] // h[k, k])[:, None] * h[k]
    return h


# ---------------------------------------------------------------------- two searches
def _direct(own, given, n_cells, limit) -> list[np.ndarray]:
    """The matrix in the caller's orientation, rounded; ``given`` is divided by the scale already."""
    rows = np.rint(given @ np.linalg.pinv(own)).astype(np.int64)
    return [rows] if _volume(rows) == n_cells and _strain(own, rows, given) <= limit else []


def _rotated(own, given, n_cells, limit) -> list[np.ndarray]:
    """Matrices with the metric of ``given`` up to the stretch ``limit``, in any orientation.

    All rows but the longest of the reduced cell are searched among integer rows; they fix the rotation, and the
    rotation the whole matrix. Works in the d periodic dimensions.
    """
    d = len(own)
    if not d:
        return []
    reduced = _reduce(given)
    own_d, given_d = np.linalg.cholesky(own @ own.T), np.linalg.cholesky(reduced @ reduced.T)
    pairs = _short_rows(own @ own.T, reduced @ reduced.T, limit)
    ideal = _frames(pairs @ own_d)
    turned = given_d @ np.linalg.inv(_frames(given_d[None, : d - 1])[0]) @ ideal
    matrices = np.rint(turned @ np.linalg.inv(own_d))
    back = np.rint(given @ np.linalg.pinv(reduced))  # the caller's rows in terms of the reduced ones
    matrices = np.unique((back @ matrices).astype(np.int64), axis=0)
    volumes = np.abs(np.rint(np.linalg.det(matrices)))
    matrices = matrices[volumes == n_cells]
    return sorted(matrices[_strain(own, matrices, given) <= limit], key=_plainness)[:MAX_FOUND]


def _reduce(rows: np.ndarray) -> np.ndarray:
    """Shortest vectors of the lattice of ``rows`` (d, 3), shortest first."""
    missing = np.linalg.svd(rows)[2][len(rows) :]
    periodic = (len(rows) > 0, len(rows) > 1, len(rows) > 2)
    one = Primitive(np.vstack([rows, missing]), np.zeros((1, 3)), (("x",),), periodic)
    short = Lattice(one, (1, 1, 1)).shortest_vectors[: len(rows)]
    return short[np.argsort(np.linalg.norm(short, axis=1), kind="stable")]


def _short_rows(metric, target, limit) -> np.ndarray:
    """Integer rows (n, d - 1, d) with the lengths and dot products of all but the last row of ``target``."""
    d = len(metric)
    if d == 1:
        return np.zeros((1, 0, 1))
    reach = np.sqrt(target[d - 2, d - 2]) * (1 + limit) * np.sqrt(np.diag(np.linalg.inv(metric)))
    spans = np.floor(reach + 1e-6).astype(int)
    if np.prod(2.0 * spans + 1) > MAX_BOX:
        return np.zeros((0, d - 1, d))
    box = np.stack(np.meshgrid(*[np.arange(-s, s + 1) for s in spans], indexing="ij"), -1).reshape(-1, d)
    square = np.einsum("ni,ij,nj->n", box, metric, box)
    shells = []
    for k in range(d - 1):
        miss = np.abs(square / target[k, k] - 1)
        best = np.argsort(miss, kind="stable")[:MAX_SHELL]
        shells.append(box[best[miss[best] <= 2.2 * limit]])
    if d == 2:
        return shells[0][:, None]
    dots = shells[0] @ metric @ shells[1].T
    i, j = np.nonzero(np.abs(dots - target[0, 1]) <= 2.2 * limit * np.sqrt(target[0, 0] * target[1, 1]))
    return np.stack([shells[0][i], shells[1][j]], axis=1)


def _frames(rows: np.ndarray) -> np.ndarray:
    """Rows (n, d - 1, d) with a unit normal added, both signs: (2 n, d, d)."""
    d = rows.shape[-1]
    if d == 3:
        normal = np.cross(rows[:, 0], rows[:, 1])
    elif d == 2:
        normal = rows[:, 0, ::-1] * [-1.0, 1.0]
    else:
        normal = np.ones((len(rows), 1))
    normal = (normal / np.linalg.norm(normal, axis=-1, keepdims=True))[:, None]
    return np.concatenate([np.concatenate([rows, sign * normal], axis=1) for sign in (1.0, -1.0)])


def _plainness(rows: np.ndarray) -> tuple:
    """Sorts diagonal matrices first, then diagonal superlattices, then proper rotations, then small entries."""

    def skew(m):
        return np.count_nonzero(m - np.diag(np.diag(m))) > 0

    return (
        skew(rows) or bool((np.diag(rows) < 0).any()),
        skew(hermite(rows)),
        bool(np.linalg.det(rows) < 0),
        int(np.abs(rows).sum()),
        (-rows).ravel().tolist(),
    )


# ---------------------------------------------------------------------- helpers
def _found(primitive, rows, given, scale) -> Found:
    axes = np.flatnonzero(primitive.pbc)
    matrix = np.eye(3, dtype=np.int64)
    matrix[np.ix_(axes, axes)] = rows
    normal = hermite(matrix)
    canonical = normal if np.count_nonzero(normal - np.diag(np.diag(normal))) == 0 else matrix
    metric_cell = primitive.cell.copy()
    stretches = np.zeros(0)
    if len(axes):
        metric_cell[axes] = np.linalg.solve(rows, given) / scale
        stretches = _stretches(primitive.cell[axes], rows, given / scale)
    literal = np.abs(metric_cell - primitive.cell)[axes].max(initial=0.0) <= EXACT * np.abs(primitive.cell).max()
    if len(axes) == 2:  # a layer: carry the open direction along, its part in the plane and its part along the normal
        (a,) = set(range(3)) - set(axes.tolist())
        old, new = primitive.cell[axes], metric_cell[axes]
        part = np.linalg.lstsq(old.T, primitive.cell[a], rcond=None)[0]
        height = (primitive.cell[a] - part @ old) @ _normal(old)
        metric_cell[a] = part @ new + height * _normal(new)
    return Found(matrix, canonical, float(scale), metric_cell, stretches, bool(literal))


def _normal(pair: np.ndarray) -> np.ndarray:
    n = np.cross(pair[0], pair[1])
    return n / np.linalg.norm(n)


def _measure(rows: np.ndarray) -> float:
    """Length, area or volume that the rows span."""
    return float(np.sqrt(max(np.linalg.det(rows @ rows.T), 0.0)))


def _volume(rows: np.ndarray) -> int:
    return abs(round(np.linalg.det(rows)))


def _stretches(own, rows, given) -> np.ndarray:
    """Logarithms (..., d) of the stretches that take the ideal supercells ``rows @ own`` to ``given``, rotation left out."""
    effective = np.linalg.solve(rows, np.broadcast_to(given, (*rows.shape[:-1], 3)))
    root = np.linalg.inv(np.linalg.cholesky(own @ own.T))
    squares = np.linalg.eigvalsh(root @ (effective @ effective.swapaxes(-1, -2)) @ root.T)
    return 0.5 * np.log(np.maximum(squares, 1e-300))


def _strain(own, rows, given) -> np.ndarray:
    """Largest stretch, minus 1, of each of ``rows`` (..., d, d)."""
    return np.abs(np.expm1(_stretches(own, rows, given))).max(-1) if len(own) else np.zeros(rows.shape[:-2])


def vacancies(primitive: Primitive) -> str:
    """What to do about a vacancy: whether the alloy has the species X."""
    return "put 'X' where a vacancy is" if "X" in primitive.elements else "this alloy has no vacancies (no species 'X')"


def _require_count(primitive, own, given, n_cells) -> None:
    """LatticeMismatch when the cell would be an exact supercell with another number of atoms."""
    n_basis = len(primitive.basis)
    nearby = sorted(range(max(1, int(0.8 * n_cells) - 1), int(1.25 * n_cells) + 2), key=lambda m: abs(m - n_cells))
    for m in nearby[1:4001] if len(own) else []:
        scale = (_measure(given) / (m * _measure(own))) ** (1 / len(own))
        if _direct(own, given / scale, m, EXACT):
            raise LatticeMismatch(
                f"expected {m * n_basis} atoms, one per site in a cell of {m} primitive cells, got a wrong number of "
                f"atoms: {n_cells * n_basis}. Every site needs one atom; {vacancies(primitive)}."
            )


def no_supercell(primitive: Primitive, cell: ArrayLike, n_cells: int) -> LatticeMismatch:
    """The error for atoms that do not form the model's crystal, with both cells."""
    n_basis = len(primitive.basis)
    large = n_cells > LARGE
    turn = " Large cells that are strained and turned in space as well are not found: turn them back." if large else ""
    return LatticeMismatch(
        f"expected an integer supercell of the model's primitive cell {_show(primitive.cell)} with {n_basis} site(s), "
        f"at any scale and orientation, strained by {100 * STRAIN:.0f} % at most, got {n_cells * n_basis} atoms in the cell {_show(cell)}. Build the atoms by "
        f"repeating that primitive cell, check that none is missing, or choose a Hamiltonian for this crystal.{turn}"
    )


def _show(cell) -> str:
    return str(np.round(np.asarray(cell, dtype=float), 4).tolist())
