"""Vacancies that are missing atoms: structures from relaxation codes, which know no species X, with an X put where no atom is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from alloygen.edge.fits import nearest_neighbour
from alloygen.edge.supercell import upright
from alloygen.errors import LatticeMismatch
from alloygen.lattice import Lattice, Primitive

if TYPE_CHECKING:
    from ase import Atoms

MOST = 2.0  # sites for each atom
Laid = TypeVar("Laid")


def with_vacancies(lay: Callable[[Atoms], Laid], atoms: Atoms, primitive: Primitive, tol: float) -> Laid:
    """What ``lay`` makes of the atoms, or where they do not lie on the lattice of the atoms and the vacancies that they lack.

    Raises the LatticeMismatch of ``lay``.
    """
    try:
        return lay(atoms)
    except LatticeMismatch:
        whole = filled(atoms, primitive, tol)
        if whole is None:
            raise
    return lay(whole)


def filled(atoms: Atoms, primitive: Primitive, tol: float) -> Atoms | None:
    """The atoms, and after them an X on every site that has none; None where the atoms are no crystal with vacancies.

    The cell has the orientation of the primitive one. The smallest cell of sites is taken on which all atoms lie, to ``tol`` nearest-neighbour distances, and whose empty sites may be vacant.

    Examples
    --------
    >>> from ase.build import bulk
    >>> fcc = Primitive(0.5 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]), [[0, 0, 0]], [("Ni", "X")])
    >>> atoms = bulk("Ni", a=3.5).repeat((2, 2, 2))
    >>> filled(atoms[[0, 1, 3, 4, 5, 6]], fcc, 0.15).get_chemical_formula()
    'Ni6X2'
    """
    if "X" not in primitive.elements or not len(atoms):
        return None
    least = -(-(len(atoms) + 1) // len(primitive.basis))
    from ase import Atoms as Made

    for n_cells in range(least, int(MOST * len(atoms) / len(primitive.basis)) + 2):
        found = upright(primitive, np.array(atoms.cell), n_cells)
        if found is None:
            continue
        limit = tol * nearest_neighbour(primitive) * found.scale
        empty = _empty(atoms, Lattice(primitive, found.matrix), limit)
        if empty is not None:
            return atoms + Made(f"X{len(empty)}", empty, cell=atoms.cell, pbc=atoms.pbc)
    return None


def _empty(atoms: Atoms, lattice: Lattice, limit: float) -> np.ndarray | None:
    """Places (m, 3) of the sites without an atom, for the shift with the smallest misfit; None where no shift puts each atom on a site of its own."""
    cell, symbols = np.array(atoms.cell), atoms.get_chemical_symbols()
    sites, given = lattice.fractional, atoms.get_scaled_positions(wrap=False)
    best, found = np.inf, None
    for b in range(lattice.n_sublattices):
        shift = given[0] - sites[b]
        apart = given[:, None] - (sites + shift)
        apart = np.linalg.norm((apart - np.rint(apart)) @ cell, axis=-1)
        at = apart.argmin(1)
        off = apart[np.arange(len(given)), at]
        free = np.setdiff1d(np.arange(len(sites)), at)
        if off.max() > limit or len(set(at.tolist())) < len(at) or off.max() >= best:
            continue
        fits = all(s in lattice.species[lattice.sublattice[i]] for s, i in zip(symbols, at, strict=True))
        if fits and all("X" in lattice.species[lattice.sublattice[i]] for i in free):
            best, found = float(off.max()), (sites[free] + shift) @ cell
    return found
