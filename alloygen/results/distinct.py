"""Which configurations of an ensemble are the same up to symmetry, and how many of the supercell are."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from alloygen.edge.atoms_map import AtomsMap
from alloygen.edge.fits import nearest_neighbour
from alloygen.edge.supercell import EXACT, hermite
from alloygen.fitting.derivative import structure_key
from alloygen.hamiltonian.clusters import symmetries
from alloygen.lattice import Lattice, Primitive


@dataclass(frozen=True, kw_only=True, eq=False)
class Distinct:
    """The different configurations among n samples, in the order in which they come.

    first : (G,) the sample that stands for each; of : (n,) the number of each sample's; hashes : 16 hex digits of each, the same in every supercell
    """

    first: np.ndarray
    of: np.ndarray
    hashes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.first)

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Sum of values (n,) over the samples of each, (G,)."""
        return np.bincount(self.of, weights=values, minlength=len(self))

    def part(self, rows: slice) -> Distinct:
        """Of some of the samples."""
        return _in_order(self.of[rows], self.hashes)


def distinct(occ: np.ndarray, lattice: Lattice, atoms_map: AtomsMap | None = None) -> Distinct:
    """The samples (n, N) that the symmetry of the lattice does not make equal; of Atoms that are strained or off their sites, which have less of
    it, those that differ at all.

    Examples
    --------
    >>> import alloygen.data
    >>> lattice = alloygen.data.cuau().on((2, 2, 1)).lattice
    >>> found = distinct(np.array([[0, 0, 0, 1], [1, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]]), lattice)
    >>> found.first.tolist(), found.of.tolist()
    ([0, 2], [0, 0, 1, 0])
    """
    rows, at = np.unique(occ, axis=0, return_inverse=True)
    keys = hashes(rows, lattice, atoms_map)
    number = {key: k for k, key in enumerate(dict.fromkeys(keys))}
    return _in_order(np.array([number[key] for key in keys], dtype=int)[at.ravel()], tuple(number))


def _in_order(of: np.ndarray, hashes: tuple[str, ...]) -> Distinct:
    """Numbers (n,) of hashes, renumbered in the order in which they come."""
    numbers, first, at = np.unique(of, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    return Distinct(
        first=first[order], of=np.argsort(order, kind="stable")[at], hashes=tuple(hashes[k] for k in numbers[order])
    )


def hashes(occ: np.ndarray, lattice: Lattice, atoms_map: AtomsMap | None = None) -> list[str]:
    """The hash of each configuration (n, N): that of all which symmetry makes equal to it."""
    ideal = is_ideal(atoms_map)
    keys = (structure_key(lattice, row) if ideal else (row.astype(np.int8).tobytes(),) for row in occ)
    return [hashlib.sha256(b"".join(key)).hexdigest()[:16] for key in keys]


def is_ideal(found: AtomsMap | None) -> bool:
    """Whether the Atoms lie on the ideal lattice, with all of its symmetry."""
    if found is None:
        return True
    off = np.abs(found.displacement).max() / (found.scale * nearest_neighbour(found.lattice.primitive))
    return abs(found.strain) < EXACT and bool(off < EXACT)


def multiplicity(lattice: Lattice, occ: np.ndarray) -> int:
    """How many occupations of the supercell are the configuration ``occ`` (N,) up to the symmetry of the infinite lattice.

    Examples
    --------
    >>> import alloygen.data
    >>> lattice = alloygen.data.cuau().on((2, 2, 1)).lattice
    >>> [multiplicity(lattice, np.array(occ)) for occ in ([0, 0, 0, 0], [0, 0, 0, 1], [0, 1, 1, 0])]
    [1, 4, 2]
    """
    occ = np.asarray(occ)
    cells = lattice.offsets[:: lattice.n_sublattices]
    still = (occ[lattice.translations] == occ).all(1)
    small = hermite(np.vstack([lattice.matrix, cells[still]]))[:3]
    own = Lattice(lattice.primitive, small)
    kept = occ[lattice.index(own.offsets, own.sublattice)]
    return len(np.unique(kept[_placings(lattice.primitive, small.tobytes(), lattice.matrix.tobytes())], axis=0))


@lru_cache(maxsize=256)
def _placings(primitive: Primitive, small: bytes, large: bytes) -> np.ndarray:
    """(P, N) which site of a supercell, repeated, lies on each site of a larger one, in every way that the symmetry of the lattice turns and shifts it."""
    own, lattice = (Lattice(primitive, np.frombuffer(m, dtype=np.int64).reshape(3, 3)) for m in (small, large))
    rows = []
    for rotation, shift in symmetries(primitive):
        turned = Lattice(primitive, hermite(own.matrix @ rotation.T))
        fits = lattice.matrix @ np.linalg.inv(turned.matrix)
        there = turned.image_of(own, rotation, shift)
        if there is not None and np.abs(fits - np.rint(fits)).max() < 1e-6:
            rows.append(np.argsort(there)[turned.index(lattice.offsets, lattice.sublattice)][lattice.translations])
    return np.unique(np.concatenate(rows), axis=0)
