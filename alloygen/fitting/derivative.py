"""Derivative structures: every way to occupy small supercells, each once up to the symmetry of the lattice.

Hart and Forcade, Phys. Rev. B 77, 224115 (2008): the superlattices of n cells are the Hermite normal forms of determinant n, up to rotations;
on each, occupations are equal when a translation or a rotation that keeps the superlattice takes one to the other, and those that a
translation leaves alone belong to a smaller superlattice.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from alloygen.arguments import whole_number
from alloygen.edge.atoms_map import AtomsMap
from alloygen.edge.primitive import primitive_from_atoms
from alloygen.edge.supercell import hermite
from alloygen.errors import AlloygenError
from alloygen.hamiltonian.clusters import symmetries
from alloygen.lattice import Lattice, Primitive

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure

    from alloygen.types import PathLike

MOST_STATES = 1 << 20  # occupations of one superlattice that are looked at
Key = tuple[bytes, bytes]


def as_primitive(primitive: Primitive | Atoms | Structure | PathLike, species: Sequence | Mapping | None) -> Primitive:
    """A Primitive as it is, or one made of Atoms and species as :func:`alloygen.edge.primitive.primitive_from_atoms` does."""
    if isinstance(primitive, Primitive):
        if species is not None:
            raise AlloygenError("expected species with Atoms only, got them with a Primitive, which has its own")
        found = primitive
    elif species is None:
        raise AlloygenError(
            'expected the species that each site may hold, such as species=["Cu", "Au"] or {"Mg": ["Mg", "Ni"]}, got none'
        )
    else:
        found = primitive_from_atoms(primitive, species)
    if all(len(names) < 2 for names in found.species):
        raise AlloygenError(f"expected a sublattice with two species or more, got {found.species}")
    return found


def enumerate_structures(
    primitive: Primitive | Atoms | Structure | PathLike,
    species: Sequence | Mapping | None = None,
    *,
    max_sites: int = 6,
) -> list[Atoms]:
    """The different structures of all supercells of at most ``max_sites`` sites, as Atoms, small cells first.

    Parameters
    ----------
    primitive : Primitive, or the Atoms (or what stands for them) of a primitive cell with ``species``
    species : one list of symbols for all sites, one per site, or a dict from the symbol that stands in ``primitive`` to its list
    max_sites : sites of the largest supercell, those of one species among them

    No two are equal by a symmetry of the lattice, and none is a repeat of a smaller one: fcc with two species has 2, 2, 6, 19, 28, 80,
    104, 390 structures of 1 to 8 atoms (Hart and Forcade 2008). AlloygenError where a supercell has more than 2^20 occupations.

    Examples
    --------
    >>> from ase.build import bulk
    >>> [len(enumerate_structures(bulk("Cu", a=3.8), ["Cu", "Au"], max_sites=n)) for n in (1, 2, 3, 4)]
    [2, 4, 10, 29]
    """
    lattice = as_primitive(primitive, species)
    max_sites = whole_number(max_sites, "max_sites", len(lattice.basis))
    return [AtomsMap.of_lattice(on).to_atoms(occ) for on, rows in configurations(lattice, max_sites) for occ in rows]


def configurations(primitive: Primitive, max_sites: int) -> Iterator[tuple[Lattice, np.ndarray]]:
    """(supercell, its occupations (B, N)) of the different structures of at most ``max_sites`` sites."""
    cells = max_sites // len(primitive.basis)
    if any(primitive.pbc):  # told before the smaller ones are gone through
        _require_few([len(names) for names in primitive.species], cells)
    for n in range(1, cells + 1):
        for matrix in superlattices(primitive, n):
            lattice = Lattice(primitive, matrix)
            rows = different(lattice)
            if len(rows):
                yield lattice, rows


def _require_few(n_species: Sequence[int], cells: int = 1) -> None:
    """AlloygenError for supercells of so many cells, with so many species on each site of one, that have more than MOST_STATES occupations."""
    digits = cells * sum(math.log10(n) for n in n_species)
    if digits > math.log10(MOST_STATES) + 1e-9:
        raise AlloygenError(
            f"expected supercells of at most {MOST_STATES} occupations, got about 1e+{digits:.0f} on {cells * len(n_species)} sites; take fewer sites (max_sites)"
        )


def superlattices(primitive: Primitive, n_cells: int) -> list[np.ndarray]:
    """Hermite normal forms (3, 3) of the superlattices of ``n_cells`` primitive cells, one of each kind up to rotations.

    Examples
    --------
    >>> cubic = Primitive(np.eye(3), [[0, 0, 0]], [("A", "B")])
    >>> [len(superlattices(cubic, n)) for n in (1, 2, 3, 4)]
    [1, 3, 3, 9]
    """
    turns = [rotation.T for rotation, _ in symmetries(primitive)]
    seen: set[bytes] = set()
    out = []
    for matrix in _hermite_forms(n_cells, primitive.pbc):
        if matrix.tobytes() not in seen:
            out.append(matrix)
            seen.update(hermite(matrix @ turn).tobytes() for turn in turns)
    return out


def _hermite_forms(n: int, pbc: tuple[bool, bool, bool]) -> Iterator[np.ndarray]:
    """Upper triangular, entries above the diagonal less than the diagonal below them; unit rows where the lattice is not periodic."""
    sizes = [range(1, n + 1) if p else (1,) for p in pbc]
    for a in sizes[0]:
        for b in sizes[1]:
            if n % (a * b) or n // (a * b) not in sizes[2]:
                continue
            c = n // (a * b)
            for i in range(b if pbc[0] and pbc[1] else 1):
                for j in range(c if pbc[0] and pbc[2] else 1):
                    for k in range(c if pbc[1] and pbc[2] else 1):
                        yield np.array([[a, i, j], [0, b, k], [0, 0, c]], dtype=np.int64)


def different(lattice: Lattice) -> np.ndarray:
    """Occupations (B, N) of a supercell, one of each kind up to its symmetry, without those of a smaller cell."""
    _require_few(lattice.n_species.tolist())
    sizes = lattice.n_species.astype(object)
    total = int(np.prod(sizes))
    place = np.array([int(np.prod(sizes[i + 1 :])) for i in range(len(sizes))], dtype=np.int64)
    states = (np.arange(total)[:, None] // place) % lattice.n_species
    code, lowest = np.arange(total), np.arange(total)
    own = np.ones(total, dtype=bool)  # no translation leaves it alone
    for row in lattice.translations[1:]:
        own &= states[:, row] @ place != code
    for point in lattice.point_operations:
        for row in lattice.translations:
            lowest = np.minimum(lowest, states[:, point[row]] @ place)
    return states[own & (lowest == code)]


# ---------------------------------------------------------------------- when two structures are the same
def structure_key(lattice: Lattice, occ: np.ndarray) -> Key:
    """What is equal for two structures when they are the same up to symmetry, whatever supercells they are given on.

    Examples
    --------
    >>> fcc = Primitive([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]], [[0, 0, 0]], [("A", "B")])
    >>> one = structure_key(Lattice(fcc, (2, 1, 1)), [0, 1])
    >>> one == structure_key(Lattice(fcc, (1, 1, 4)), [1, 0, 1, 0]), one == structure_key(Lattice(fcc, (1, 1, 4)), [1, 1, 0, 0])
    (True, False)
    """
    occ = np.asarray(occ)
    cells = lattice.offsets[:: lattice.n_sublattices]
    still = (occ[lattice.translations] == occ).all(1)
    matrix = hermite(np.vstack([lattice.matrix, cells[still]]))[:3]
    primitive = lattice.primitive
    images = _images(primitive, matrix.tobytes())
    small = Lattice(primitive, matrix)
    own = occ[lattice.index(small.offsets, small.sublattice)]
    return images[0], _least(own.astype(np.int8)[images[1]])


def _least(rows: np.ndarray) -> bytes:
    """The least of the rows (P, N) of small numbers, as bytes, eight sites at a time."""
    count, width = rows.shape
    padded = np.zeros((count, width + -width % 8), dtype=np.int8)
    padded[:, :width] = rows
    words = padded.view(">u8")
    left = np.arange(len(rows))
    for column in words.T:
        left = left[column[left] == column[left].min()]
    return rows[left[0]].tobytes()


@lru_cache(maxsize=4096)
def _images(primitive: Primitive, matrix: bytes) -> tuple[bytes, np.ndarray]:
    """(the least Hermite form that symmetries make of a supercell, (P, N) its sites in every way that sites of that form fall on them)."""
    own = Lattice(primitive, np.frombuffer(matrix, dtype=np.int64).reshape(3, 3))
    ops = symmetries(primitive)
    forms = [hermite(own.matrix @ rotation.T) for rotation, _ in ops]
    least = min(form.ravel().tolist() for form in forms)
    target = Lattice(primitive, np.array(least).reshape(3, 3))
    rows = []
    for form, (rotation, shift) in zip(forms, ops, strict=True):
        if form.ravel().tolist() == least:
            there = target.image_of(own, rotation, shift)
            if there is not None:
                rows.append(np.argsort(there)[target.translations])
    return target.matrix.tobytes(), np.unique(np.concatenate(rows), axis=0)
