"""Lattices: a primitive cell, an integer supercell matrix, and the sites they make.

Sites are pure labels here (integer cell offset and sublattice); no ASE object appears. Conversion to and from
``ase.Atoms`` happens once, at the edge, in :mod:`alloygen.edge`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product

import numpy as np

from alloygen.errors import AlloygenError
from alloygen.limits import require_memory
from alloygen.types import ArrayLike

MOST_SITES = 50_000_000  # of a supercell that a file names
SITE_BYTES = 500  # of a supercell with the tables of an expansion, at least


@dataclass(frozen=True, eq=False, repr=False)
class Primitive:
    """A primitive cell with the species that each of its basis sites may hold.

    Every basis site is one *sublattice*. A lattice model knows no length: two primitive cells that differ by a
    uniform scale are the same lattice.

    Parameters
    ----------
    cell : array (3, 3), rows are the primitive vectors
    basis : array (n_sublattices, 3), fractional coordinates
    species : one tuple of chemical symbols (or labels) per sublattice, in the order that occupations index
    pbc : periodic directions
    """

    cell: np.ndarray
    basis: np.ndarray
    species: tuple[tuple[str, ...], ...]
    pbc: tuple[bool, bool, bool] = (True, True, True)

    def __post_init__(self):
        object.__setattr__(self, "cell", np.asarray(self.cell, dtype=float).reshape(3, 3))
        object.__setattr__(self, "basis", np.asarray(self.basis, dtype=float).reshape(-1, 3))
        object.__setattr__(self, "species", tuple(tuple(s) for s in self.species))
        object.__setattr__(self, "pbc", tuple(bool(p) for p in self.pbc))
        if (
            not np.isfinite(self.cell).all()
            or not np.isfinite(self.basis).all()
            or abs(np.linalg.det(self.cell)) < 1e-12
        ):
            raise AlloygenError(
                f"expected three independent cell vectors and finite coordinates, got {self.cell.tolist()} and {self.basis.tolist()}"
            )
        if not all(self.species) or not all(isinstance(s, str) and s for names in self.species for s in names):
            raise AlloygenError(f"expected the names of one species at least on each site, got {self.species}")
        if len(self.species) != len(self.basis):
            raise AlloygenError(
                f"expected one species list per basis site ({len(self.basis)}), got {len(self.species)}: {self.species}"
            )

    @property
    def elements(self) -> tuple[str, ...]:
        """All species, in order of first appearance."""
        return tuple(dict.fromkeys(s for sub in self.species for s in sub))

    def __repr__(self) -> str:
        lengths = ", ".join(f"{x:.4g}" for x in np.linalg.norm(self.cell, axis=1))
        return f"Primitive({len(self.basis)} sites, {', '.join('/'.join(names) for names in self.species)}, cell vectors of {lengths})"

    def to_dict(self) -> dict:
        return {
            "cell": self.cell.tolist(),
            "basis": self.basis.tolist(),
            "species": [list(s) for s in self.species],
            "pbc": list(self.pbc),
        }

    @classmethod
    def from_dict(cls, d: dict) -> Primitive:
        if not isinstance(d["species"], list) or not all(isinstance(names, list) for names in d["species"]):
            raise AlloygenError(f"expected species as a list of names for each site, got {d['species']!r}")
        pbc = d["pbc"]
        if not isinstance(pbc, list) or len(pbc) != 3 or not all(isinstance(p, bool) for p in pbc):
            raise AlloygenError(f"expected pbc as three truth values, got {pbc!r}")
        return cls(np.array(d["cell"]), np.array(d["basis"]), tuple(map(tuple, d["species"])), tuple(pbc))


class Lattice:
    """A periodic supercell of a primitive cell: sites, sublattices and symmetries.

    Parameters
    ----------
    primitive : Primitive
    matrix : three repeats, or a (3, 3) integer matrix H whose rows are the supercell vectors in primitive vectors

    Sites are numbered as ``ase.Atoms.repeat`` numbers them when H is diagonal (first axis slowest, sublattice fastest).

    Examples
    --------
    >>> fcc = Primitive(0.5 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]), [[0, 0, 0]], [("Cu", "Au")])
    >>> lattice = Lattice(fcc, (2, 2, 4))
    >>> lattice.n_sites, lattice.translations.shape, len(lattice.point_operations)
    (16, (16, 16), 12)
    """

    def __init__(self, primitive: Primitive, matrix: ArrayLike):
        if not isinstance(primitive, Primitive):
            raise AlloygenError(f"expected a Primitive as the cell of a lattice, got {primitive!r:.80}")
        try:
            numbers = np.asarray(matrix, dtype=float)
        except (TypeError, ValueError):
            raise AlloygenError(f"expected three repeats or a 3x3 integer matrix, got {matrix!r:.80}") from None
        matrix = np.diag(numbers) if numbers.shape == (3,) else numbers
        rounded = np.rint(matrix.astype(float)).astype(np.int64)
        if matrix.shape != (3, 3) or np.abs(matrix - rounded).max() > 1e-6:
            raise AlloygenError(f"expected three repeats or a 3x3 integer matrix, got {matrix.tolist()}")
        volume = round(np.linalg.det(rounded.astype(float)))
        require_memory(
            SITE_BYTES * abs(volume) * len(primitive.basis),
            f"a supercell of {abs(volume)} primitive cells",
            "Take a smaller one",
        )
        diagonal = np.count_nonzero(rounded - np.diag(rounded.diagonal())) == 0
        if volume == 0 or (diagonal and (rounded.diagonal() < 1).any()):
            raise AlloygenError(
                "expected repeats of at least 1 along each axis, or three independent supercell vectors, got "
                f"{(rounded.diagonal() if diagonal else rounded).tolist()}"
            )
        aperiodic = ~np.array(primitive.pbc)
        if (rounded != np.eye(3, dtype=int))[aperiodic].any() or (rounded != np.eye(3, dtype=int))[:, aperiodic].any():
            raise AlloygenError(
                f"expected one repeat along the directions that are not periodic (pbc {primitive.pbc}), got "
                f"{rounded.tolist()}. Put the layers into the basis of the primitive cell."
            )
        self.primitive = primitive
        self.matrix = rounded
        self._volume = abs(volume)
        # n = f @ H with f = n @ adj(H) / det: the integer row n @ adj(H) mod |det| names a cell up to periodicity
        self._adjugate = np.rint(np.linalg.inv(rounded) * self._volume).astype(np.int64)
        cells = self._enumerate_cells()
        n_sub = len(primitive.basis)
        self.offsets = np.repeat(cells, n_sub, axis=0)
        self.sublattice = np.tile(np.arange(n_sub), len(cells))
        keys = self._keys(cells)
        self._order = np.lexsort(keys.T[::-1])
        self._sorted = self._encode(keys[self._order])

    # ------------------------------------------------------------------ sites
    def _enumerate_cells(self) -> np.ndarray:
        if np.count_nonzero(self.matrix - np.diag(self.matrix.diagonal())) == 0:
            axes = [np.arange(n) for n in self.matrix.diagonal()]
            return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
        corners = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)]) @ self.matrix
        axes = [np.arange(lo, hi + 1) for lo, hi in zip(corners.min(0), corners.max(0), strict=True)]
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
        scaled = grid @ self._adjugate
        return grid[((scaled >= 0) & (scaled < self._volume)).all(1)]

    def _keys(self, offsets: np.ndarray) -> np.ndarray:
        return (offsets @ self._adjugate) % self._volume

    def _encode(self, keys: np.ndarray) -> np.ndarray:
        return (keys[..., 0] * self._volume + keys[..., 1]) * self._volume + keys[..., 2]

    @property
    def n_sites(self) -> int:
        return len(self.sublattice)

    @property
    def n_sublattices(self) -> int:
        return len(self.primitive.basis)

    @property
    def species(self) -> tuple[tuple[str, ...], ...]:
        return self.primitive.species

    @property
    def elements(self) -> tuple[str, ...]:
        return self.primitive.elements

    @cached_property
    def n_species(self) -> np.ndarray:
        """Number of species that each site may hold, shape (N,)."""
        return np.array([len(s) for s in self.species])[self.sublattice]

    @cached_property
    def element_index(self) -> np.ndarray:
        """(n_sublattices, max species) index into ``elements`` of each species; -1 where there is none."""
        table = -np.ones((self.n_sublattices, max(map(len, self.species))), dtype=np.int64)
        for b, names in enumerate(self.species):
            table[b, : len(names)] = [self.elements.index(s) for s in names]
        return table

    @cached_property
    def site_elements(self) -> np.ndarray:
        """(N, max species) index into ``elements`` of each species of each site; -1 where there is none."""
        return self.element_index[self.sublattice]

    @cached_property
    def allowed(self) -> np.ndarray:
        """(N, max species) bool: whether a site has a species of this index."""
        return self.site_elements >= 0

    @cached_property
    def changeable(self) -> np.ndarray:
        """(N,) bool: the sites that may hold two species or more.

        Examples
        --------
        >>> salt = Primitive(np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], [("A", "B"), ("O",)])
        >>> Lattice(salt, (2, 1, 1)).changeable.tolist()
        [True, False, True, False]
        """
        return self.n_species > 1

    def index(self, offsets: ArrayLike, sublattice: ArrayLike) -> np.ndarray:
        """Site numbers of cells ``offsets`` (..., 3) on ``sublattice`` (...), images folded back."""
        codes = self._encode(self._keys(np.asarray(offsets, dtype=np.int64)))
        cell = self._order[np.searchsorted(self._sorted, codes)]
        return cell * self.n_sublattices + np.asarray(sublattice)

    @property
    def cell(self) -> np.ndarray:
        return self.matrix @ self.primitive.cell

    @property
    def fractional(self) -> np.ndarray:
        """Positions in units of the supercell vectors, shape (N, 3)."""
        return (self.offsets + self.primitive.basis[self.sublattice]) @ np.linalg.inv(self.matrix)

    @property
    def positions(self) -> np.ndarray:
        return (self.offsets + self.primitive.basis[self.sublattice]) @ self.primitive.cell

    # ------------------------------------------------------------------ symmetry
    @cached_property
    def translations(self) -> np.ndarray:
        """Every lattice translation as a site permutation, (N / n_sublattices, N): site i moves to ``row[i]``."""
        cells = self.offsets[:: self.n_sublattices]
        rows = np.empty((len(cells), self.n_sites), dtype=np.int64)
        for row, cell in zip(rows, cells, strict=True):
            row[:] = self.index(self.offsets + cell, self.sublattice)
        return rows

    @cached_property
    def point_operations(self) -> np.ndarray:
        """Space-group operations of the primitive cell (modulo translations) that map the supercell onto itself.

        Found by spglib on the primitive cell with the species lists as site types; each row is a site permutation.
        """
        found = [np.arange(self.n_sites)]
        for rotation, shift in operations(self.primitive):
            row = self.image_of(self, rotation, shift)
            if row is not None:
                found.append(row)
        return np.unique(np.stack(found), axis=0)

    def image_of(self, other: Lattice, rotation: np.ndarray, shift: np.ndarray) -> np.ndarray | None:
        """Sites of ``self`` that the sites of ``other`` fall on after an operation, or None where the cells differ."""
        aperiodic = ~np.array(self.primitive.pbc)
        if (rotation[aperiodic] != np.eye(3, dtype=int)[aperiodic]).any():
            return None
        moved = other.matrix @ rotation.T @ np.linalg.inv(self.matrix)
        if np.abs(moved - np.rint(moved)).max() > 1e-6:
            return None
        image = (other.offsets + self.primitive.basis[other.sublattice]) @ rotation.T + shift
        rest = image[:, None, :] - self.primitive.basis[None]
        error = np.abs(rest - np.rint(rest)).max(-1)
        sub = error.argmin(1)
        if error.min(1).max() > 1e-4:
            return None
        offsets = np.rint(rest[np.arange(len(sub)), sub]).astype(np.int64)
        return self.index(offsets, sub)

    # ------------------------------------------------------------------ geometry
    @cached_property
    def displacements(self) -> tuple[np.ndarray, np.ndarray]:
        """Neighbours of every site in one fixed order of displacements, nearest first.

        Returns ``(sites, distances)`` of shapes (N, N-1) and (n_sublattices, N-1). Column k of two sites of one
        sublattice is the same displacement, so a network that reads columns is translation equivariant.
        """
        rows, distances = [], []
        for b in range(self.n_sublattices):
            vectors = self.minimum_image(self.positions - self.positions[b])
            length = np.linalg.norm(vectors, axis=1)
            # ties broken by the site label, which is the same displacement for every site of the sublattice
            order = np.lexsort((np.arange(self.n_sites), np.round(length, 6)))
            order = order[order != b]
            rows.append((self.offsets[order] - self.offsets[b], self.sublattice[order]))
            distances.append(length[order])
        sites = np.empty((self.n_sites, self.n_sites - 1), dtype=np.int64)
        for i in range(self.n_sites):
            offsets, sub = rows[self.sublattice[i]]
            sites[i] = self.index(self.offsets[i] + offsets, sub)
        return sites, np.stack(distances)

    def nearest_offsets(self, site: int) -> tuple[np.ndarray, np.ndarray]:
        """The displacements of :attr:`displacements` of one site as cells of the nearest image: ``(offsets (N-1, 3), sublattices (N-1,))``."""
        others = self.displacements[0][site]
        vectors = self.minimum_image(self.positions[others] - self.positions[site])
        basis = np.asarray(self.primitive.basis)[self.sublattice[[*others, site]]] @ self.primitive.cell
        offsets = np.rint((vectors - basis[:-1] + basis[-1]) @ np.linalg.inv(self.primitive.cell)).astype(np.int64)
        return offsets, self.sublattice[others]

    def minimum_image(self, vectors: np.ndarray) -> np.ndarray:
        """Shortest periodic images of Cartesian ``vectors`` (..., 3), exact also for skewed cells."""
        cell = self.shortest_vectors
        frac = vectors @ np.linalg.inv(cell)
        periodic = np.array(self.primitive.pbc)
        frac = np.where(periodic, frac - np.rint(frac), frac)
        spans = [(-2, -1, 0, 1, 2) if p else (0,) for p in periodic]
        shifts = np.array(list(product(*spans)))
        candidates = (frac[..., None, :] + shifts) @ cell
        best = (candidates**2).sum(-1).round(9).argmin(-1)
        return np.take_along_axis(candidates, best[..., None, None], -2)[..., 0, :]

    @cached_property
    def shortest_vectors(self) -> np.ndarray:
        """Shortest vectors (Minkowski-reduced) of the periodic directions, as rows in the place of the cell's own.

        Each vector in turn is shortened by small multiples of the others until none gets shorter (Semaev, 2001); the
        nearest images are then within two cells. Rounding keeps a cell that is reduced already as it is.
        """
        cell = self.cell.copy()
        axes = np.flatnonzero(self.primitive.pbc)
        steps = np.array(list(product((-1, 0, 1), repeat=max(len(axes) - 1, 0))))
        shorter = len(axes) > 1
        while shorter:
            shorter = False
            for a in axes:
                others = cell[axes[axes != a]]
                trial = cell[a] - np.rint(np.linalg.lstsq(others.T, cell[a], rcond=None)[0]) @ others
                trials = np.concatenate([cell[a] + steps @ others, trial + steps @ others])
                lengths = (trials**2).sum(1)
                if lengths.min() < (cell[a] ** 2).sum() * (1 - 1e-9):
                    cell[a] = trials[lengths.argmin()]
                    shorter = True
        return cell

    # ------------------------------------------------------------------ identity
    def site_map(self, other: Lattice) -> np.ndarray | None:
        """The site of ``self`` for each site of ``other``, where both are one supercell up to a symmetry; else None.

        Other supercell vectors of the same superlattice, and cells turned by a symmetry of the primitive cell (such as
        2x2x4 and 4x2x2), are recognised. Energies agree for every Hamiltonian with the symmetry of the lattice.
        """
        if other.n_sites != self.n_sites or other.species != self.species:
            return None
        if np.array_equal(self.matrix, other.matrix):
            return np.arange(self.n_sites)
        for rotation, shift in [(np.eye(3, dtype=int), np.zeros(3)), *operations(self.primitive)]:
            row = self.image_of(other, rotation, shift)
            if row is not None:
                return row
        return None

    def turned(self) -> Iterator[tuple[Lattice, np.ndarray]]:
        """The other supercells that this one becomes by a symmetry of the primitive cell, each with its site for each site of ``self``.

        Examples
        --------
        >>> square = Primitive(np.eye(3), [[0, 0, 0]], [("-", "+")], pbc=(True, True, False))
        >>> [np.abs(other.matrix).max(0).tolist() for other, _ in Lattice(square, (2, 4, 1)).turned()]
        [[4, 2, 1]]
        """
        aperiodic, seen = ~np.array(self.primitive.pbc), [self.matrix]
        for rotation, shift in operations(self.primitive):
            matrix = self.matrix @ rotation.T
            if (rotation[aperiodic] != np.eye(3, dtype=int)[aperiodic]).any() or any(_alike(matrix, m) for m in seen):
                continue
            seen.append(matrix)
            other = Lattice(self.primitive, matrix)
            if (row := other.image_of(self, rotation, shift)) is not None:
                yield other, row

    def same_as(self, other: Lattice) -> bool:
        """True when both number the same sites of the same lattice (any uniform scale)."""
        a, b = self.primitive, other.primitive
        scale = (abs(np.linalg.det(a.cell)) / abs(np.linalg.det(b.cell))) ** (1 / 3)
        return (
            a.species == b.species
            and np.array_equal(self.matrix, other.matrix)
            and np.allclose(a.cell, scale * b.cell, atol=1e-4)
            and np.allclose(a.basis, b.basis, atol=1e-4)
        )

    def to_dict(self) -> dict:
        return {"primitive": self.primitive.to_dict(), "matrix": self.matrix.tolist()}

    @classmethod
    def from_dict(cls, d: dict) -> Lattice:
        primitive, matrix = Primitive.from_dict(d["primitive"]), np.array(d["matrix"], dtype=float)
        if (
            matrix.shape != (3, 3)
            or not (np.abs(matrix) < 1e6).all()
            or abs(np.linalg.det(matrix)) * len(primitive.basis) > MOST_SITES
        ):
            raise AlloygenError(
                f"expected a 3x3 matrix of a supercell of at most {MOST_SITES} sites, got {d['matrix']!r}"
            )
        return cls(primitive, matrix)

    def __repr__(self) -> str:
        diagonal = np.count_nonzero(self.matrix - np.diag(self.matrix.diagonal())) == 0
        shape = "x".join(map(str, self.matrix.diagonal())) if diagonal else str(self.matrix.tolist())
        alloy = ", ".join("/".join(s) for s in self.species)
        return f"Lattice({shape} cells, {self.n_sites} sites, {alloy})"


@lru_cache(maxsize=64)
def operations(primitive: Primitive) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rotations and shifts of the space group of a primitive cell, in fractional coordinates, with the species lists as site types."""
    import spglib

    numbers = [1 + primitive.species.index(s) for s in primitive.species]
    symmetry = spglib.get_symmetry((primitive.cell.tolist(), primitive.basis.tolist(), numbers), symprec=1e-5)
    if symmetry is None:
        return []
    return [
        (np.asarray(r), np.asarray(t)) for r, t in zip(symmetry["rotations"], symmetry["translations"], strict=True)
    ]


def _alike(a: np.ndarray, b: np.ndarray) -> bool:
    """Are two supercell matrices of one superlattice?"""
    ratio = a @ np.linalg.inv(b)
    return bool(np.abs(ratio - np.rint(ratio)).max() < 1e-6)
