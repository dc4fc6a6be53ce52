"""Coarse to fine: which sites of a supercell are decided before which, and what each of them sees.

A cell offset that is a multiple of s = 2^k along every axis belongs to level k. The site at offset 0 comes first, then the levels from the
coarsest to k = 0, and within a level one coset (offset / s modulo 2) after another. Every later site has decided ones on all sides, at the
spacing s of its level, so its conditional is local: it is read off a window of displacements s w, the same for all supercells. The idea is
that of Vecchia's approximation of Gaussian processes in a nested order (Katzfuss and Guinness, Statistical Science 36, 124 (2021)).

A cell that s does not divide has a seam, where sites of a level lie nearer than s. What a displacement falls on there is the
nearest site of the level. So every supercell has levels, skewed and odd ones too.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import permutations, product

import numpy as np

from alloygen.lattice import Lattice, Primitive
from alloygen.types import ArrayLike

POWER = 6  # of 1 / distance, in the rule that says which coset comes next


@dataclass(frozen=True, kw_only=True, eq=False)
class Window:
    """The displacements that a site of each sublattice looks at: cells (n_sublattices, M, 3) and sublattices (n_sublattices, M), nearest first."""

    cells: np.ndarray
    sublattice: np.ndarray

    @classmethod
    def of(cls, primitive: Primitive, size: int) -> Window:
        """The ``size`` nearest displacements that end on a site with a choice of species.

        Examples
        --------
        >>> fcc = Primitive(0.5 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]), [[0, 0, 0]], [("Cu", "Au")])
        >>> Window.of(fcc, 12).cells.shape          # the nearest shell
        (1, 12, 3)
        """
        active = np.flatnonzero([len(s) > 1 for s in primitive.species])
        cells, sublattices = [], []
        for b in range(len(primitive.basis)):
            reach = 2
            while True:
                grid, length = around(primitive, b, active, reach)
                if np.sort(length)[: size + 1].max() < _safe(primitive, reach) and len(length) > size:
                    break
                reach += 1
            near = np.lexsort((*grid.T[::-1], length))[1 if b in active else 0 :][:size]
            cells.append(grid[near, :3])
            sublattices.append(grid[near, 3])
        return cls(cells=np.stack(cells), sublattice=np.stack(sublattices))

    def on(self, lattice: Lattice, spacing: ArrayLike = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(sites (N, M) that each displacement of each site falls on, steps (N, M, 3) in cells, sublattices (N, M)), at a ``spacing`` (N,)."""
        steps = self.cells[lattice.sublattice] * np.reshape(spacing, (-1, 1, 1))
        sub = self.sublattice[lattice.sublattice]
        return lattice.index(lattice.offsets[:, None] + steps, sub), steps, sub


def around(primitive: Primitive, b: int, active: np.ndarray, reach: int) -> tuple[np.ndarray, np.ndarray]:
    """((n, 4) cells and sublattice, (n,) distances rounded) of active sites within ``reach`` cells of a site of sublattice b."""
    spans = [range(-reach, reach + 1) if p else range(1) for p in primitive.pbc]
    grid = np.array([(*cell, c) for cell in product(*spans) for c in active])
    vectors = (grid[:, :3] + primitive.basis[grid[:, 3]] - primitive.basis[b]) @ primitive.cell
    return grid, np.linalg.norm(vectors, axis=1).round(6)


def _safe(primitive: Primitive, reach: int) -> float:
    """The distance within which ``_around`` has found every site."""
    normals = np.linalg.inv(primitive.cell).T[np.array(primitive.pbc)]
    return float((reach - 1) / np.linalg.norm(normals, axis=1).max()) if len(normals) else np.inf


def kinds(primitive: Primitive, depth: int) -> int:
    """How many kinds of sites there are with ``depth`` levels: the first site of each sublattice, and (level, coset, sublattice)."""
    return len(primitive.basis) * (1 + depth * (2 ** sum(primitive.pbc) - 1))


@lru_cache(maxsize=32)
def coset_order(primitive: Primitive) -> tuple[tuple[int, ...], ...]:
    """(coset, sublattice) pairs of one level in the sequence in which they are decided; those of coset 0 belong to coarser levels.

    The next is the one that lies farthest from all that is decided: smallest sum of distance^-6 over it.

    Examples
    --------
    >>> fcc = Primitive(0.5 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]), [[0, 0, 0]], [("Cu", "Au")])
    >>> [pair[:3] for pair in coset_order(fcc)]          # pairs that make one simple cubic sublattice of L1_2 follow each other
    [(1, 1, 1), (0, 0, 1), (1, 1, 0), (0, 1, 0), (1, 0, 1), (0, 1, 1), (1, 0, 0)]
    """
    spans = [range(2) if p else range(1) for p in primitive.pbc]
    pairs = [(*coset, b) for coset in product(*spans) for b in range(len(primitive.basis))]
    near = {pair: _potential(primitive, pair) for pair in pairs}
    decided = [pair for pair in pairs if pair[:3] == (0, 0, 0)]
    rest, out = [pair for pair in pairs if pair not in decided], []
    while rest:
        sums = [round(sum(near[pair][other] for other in decided), 9) for pair in rest]
        out.append(rest.pop(int(np.argmin(sums))))
        decided.append(out[-1])
    return tuple(out)


def _potential(primitive: Primitive, pair: tuple, reach: int = 4) -> dict[tuple, float]:
    """Sum of distance^-POWER from one site of ``pair`` to all sites of each pair."""
    grid, length = around(primitive, pair[3], np.arange(len(primitive.basis)), reach)
    ends = np.column_stack([(grid[:, :3] + pair[:3]) % 2, grid[:, 3]])
    ends[:, :3] *= np.array(primitive.pbc)
    scale = np.abs(np.linalg.det(primitive.cell)) ** (1 / 3)
    total: dict[tuple, float] = {}
    for end, r in zip(map(tuple, ends.tolist()), length, strict=True):
        total[end] = total.get(end, 0.0) + ((scale / r) ** POWER if r > 0 else 0.0)
    return total


@dataclass(frozen=True, eq=False)
class Levels:
    """The sites of a supercell from coarse to fine.

    lattice : the supercell
    depth : levels that are told apart; coarser ones are taken as the last of them
    window : how many displacements a site looks at

    Examples
    --------
    >>> fcc = Primitive(0.5 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]), [[0, 0, 0]], [("Cu", "Au")])
    >>> levels = Levels(Lattice(fcc, (4, 4, 4)), depth=2, window=12)
    >>> levels.order[:3].tolist(), np.bincount(levels.spacing).tolist()
    ([0, 42, 2], [0, 56, 7, 0, 1])
    """

    lattice: Lattice
    depth: int
    window: int

    @cached_property
    def offsets(self) -> np.ndarray:
        """(N, 3) cell offsets in the box that repeats, of the axis sequences the one whose box is least elongated."""
        box, axes = _least_elongated(self.lattice.matrix)
        offsets = self.lattice.offsets[:, axes].copy()
        for k in range(3):
            offsets -= np.floor_divide(offsets[:, k], box[k, k])[:, None] * box[k]
        return offsets[:, np.argsort(axes)]

    @cached_property
    def spacing(self) -> np.ndarray:
        """(N,) s of each site; that of offset 0 is the smallest power of two that no other site has."""
        s = np.ones(self.lattice.n_sites, dtype=np.int64)
        for k in range(1, self._top.bit_length()):
            s[(self.offsets % 2**k == 0).all(1)] = 2**k
        return s

    @cached_property
    def _top(self) -> int:
        top = 1
        while (self.offsets % top == 0).all(1).sum() > self.lattice.n_sublattices:
            top *= 2
        return top

    @cached_property
    def kind(self) -> np.ndarray:
        """(N,) number of each site's kind, below ``kinds(primitive, depth)``: the same in every supercell."""
        pairs = {pair: k for k, pair in enumerate(coset_order(self.lattice.primitive))}
        n, out = self.lattice.n_sublattices, np.empty(self.lattice.n_sites, dtype=np.int64)
        cosets = (self.offsets // self.spacing[:, None]) % 2
        for i, (coset, b, s) in enumerate(zip(cosets.tolist(), self.lattice.sublattice, self.spacing, strict=True)):
            level = min(int(s).bit_length() - 1, self.depth - 1)
            out[i] = b if s == self._top else n + level * len(pairs) + pairs[(*coset, int(b))]
        return out

    @cached_property
    def order(self) -> np.ndarray:
        """(N,) the sites in sequence; within a kind in raster order."""
        return np.lexsort((self.lattice.sublattice, *self.offsets.T[::-1], self.kind, -self.spacing))

    @cached_property
    def slots(self) -> tuple[np.ndarray, np.ndarray]:
        """(sites (N, M), odd (N, M)): what each displacement of each site's window falls on, N where it is the site itself, and whether
        it is not what it would be in an endless lattice: the site itself, one met before, or one beside a seam."""
        lattice = self.lattice
        sites, steps, sub = Window.of(lattice.primitive, self.window).on(lattice, self.spacing)
        odd = self._snap(sites, steps, sub)
        own = np.arange(lattice.n_sites)[:, None]
        odd |= sites == own
        sites[sites == own] = lattice.n_sites
        sort = np.argsort(sites, axis=1, kind="stable")
        again = np.zeros_like(odd)
        ordered = np.take_along_axis(sites, sort, 1)
        np.put_along_axis(again, sort[:, 1:], ordered[:, 1:] == ordered[:, :-1], 1)
        return sites, odd | again

    def _snap(self, sites: np.ndarray, steps: np.ndarray, sub: np.ndarray) -> np.ndarray:
        """Beside a seam, put in ``sites`` the nearest site of the level, rather nearer than farther; which were put so (N, M)."""
        spacing, periodic = self.spacing, self.lattice.primitive.pbc
        off = spacing[sites] < spacing[:, None]
        for s in np.unique(spacing[off.any(1)]):
            spans = [range(-int(s) // 2, int(s) // 2 + 1) if p else range(1) for p in periodic]
            shifts = np.array(list(product(*spans)))
            i, m = np.nonzero(off & (spacing == s)[:, None])
            rest = np.ones(len(i), dtype=bool)
            length = (shifts**2).sum(1)
            inward = -(shifts[None] * steps[i, m][:, None]).sum(2)
            sequence = np.lexsort((-inward, np.broadcast_to(length, inward.shape)))
            for k in range(1, len(shifts)):
                a, b = i[rest], m[rest]
                there = self.lattice.index(self.lattice.offsets[a] + steps[a, b] + shifts[sequence[rest, k]], sub[a, b])
                found = spacing[there] >= s
                sites[a[found], b[found]] = there[found]
                rest[np.flatnonzero(rest)[found]] = False
                if not rest.any():
                    break
        return off


@lru_cache(maxsize=32)
def upright(lattice: Lattice) -> tuple[Lattice, np.ndarray]:
    """(the one that all turns of a supercell by symmetries of its primitive cell are taken as, its site for each site of ``lattice``).

    Of the boxes that repeat it has the least elongated, then the one that is longest along the last axis, then the least sheared.

    Examples
    --------
    >>> fcc = Primitive(0.5 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]), [[0, 0, 0]], [("Cu", "Au")])
    >>> found = [upright(Lattice(fcc, cell))[0] for cell in ([2, 2, 4], [4, 2, 2])]
    >>> [_least_elongated(one.matrix)[0].tolist() for one in found]
    [[[2, 0, 0], [0, 2, 0], [0, 0, 4]], [[2, 0, 0], [0, 2, 0], [0, 0, 4]]]
    """
    turns = [(lattice, np.arange(lattice.n_sites)), *lattice.turned()]
    return min(turns, key=lambda turn: _elongation(turn[0].matrix))


def _elongation(matrix: np.ndarray) -> tuple[int, ...]:
    """The longest edge of the box of a supercell, its edges, how far it is sheared."""
    box, axes = _least_elongated(matrix)
    edges = box.diagonal()
    return (int(edges.max()), *edges[np.argsort(axes)].tolist(), *np.abs(box[np.triu_indices(3, 1)]).tolist())


def _least_elongated(matrix: np.ndarray) -> tuple[np.ndarray, tuple[int, ...]]:
    """Of the boxes of a supercell the one with the shortest longest edge, and the sequence of its axes."""
    return min(
        (_box(matrix, axes) for axes in permutations(range(3))), key=lambda found: int(found[0].diagonal().max())
    )


def _box(matrix: np.ndarray, axes: tuple[int, ...]) -> tuple[np.ndarray, tuple[int, ...]]:
    """The upper triangular (Hermite) form of a supercell matrix with its columns in the sequence ``axes``."""
    h = matrix[:, axes].copy()
    for k in range(3):
        while np.count_nonzero(h[k:, k]) > 1 or h[k, k] == 0:
            rows = k + np.flatnonzero(h[k:, k])
            pivot = rows[np.abs(h[rows, k]).argmin()]
            h[[k, pivot]] = h[[pivot, k]]
            h[k + 1 :] -= np.floor_divide(h[k + 1 :, k], h[k, k])[:, None] * h[k]
        if h[k, k] < 0:
            h[k] *= -1
        h[:k] -= np.floor_divide(h[:k, k], h[k, k])[:, None] * h[k]
    return h, axes
