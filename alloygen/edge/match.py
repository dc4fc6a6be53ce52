"""Atoms onto a lattice: which supercell of a primitive cell they make, and which atom sits on which site.

A lattice model knows no length: any lattice constant matches, and what the atoms had is kept.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from alloygen.arguments import positive
from alloygen.edge.atoms_map import AtomsMap, Rival
from alloygen.edge.fits import Fit, best_fits, nearest_neighbour
from alloygen.edge.structures import atoms_from
from alloygen.edge.supercell import TOL, Found, no_supercell, vacancies
from alloygen.errors import LatticeMismatch, StrainTaken
from alloygen.lattice import Lattice, Primitive

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure

    from alloygen.types import PathLike

STRAIN_TOLD = 0.02  # strain that is taken, but not without a word


def match(
    atoms: Atoms | Structure | PathLike, primitive: Primitive, tol: float = TOL, check_species: bool = False
) -> AtomsMap:
    """Find the supercell of ``primitive`` that ``atoms`` make, and which atom sits on which site.

    The crystal may be scaled, strained by up to 5 %, rotated, shifted rigidly, wrapped, and its atoms listed in any order. Supercell
    matrices H are searched whose metric H G H^T is that of the caller's cell, with G the primitive cell's metric. Among all
    orientations and shifts that put the atoms on sites, the one is taken that has the fewest atoms on sublattices that refuse them,
    and then the least misfit

        misfit^2 = sum_k (ln lambda_k)^2 + mean |u|^2 / d^2

    with the principal stretches lambda of the cell (the scale taken out), the displacements u and the nearest-neighbour distance d.
    Of fits that are equal within noise, an unstrained cell that is laid as the primitive cell is says itself what it means; for any
    other ``rivals`` of the result keeps those that were not taken.
    ``bulk(...).repeat((n, m, l))`` keeps its numbering.

    Parameters
    ----------
    atoms : ase.Atoms, a pymatgen Structure or the path of a structure file (:func:`atoms_from`); not changed
    primitive : Primitive, with the sublattices and their species
    tol : distance that an atom may be off its site, as a fraction of the nearest-neighbour distance; within it relaxed
        structures match too
    check_species : raise UnknownSpecies when an element is not allowed on its sublattice. Symbols help to tell the
        sublattices apart in any case; they are placeholders otherwise.

    Raises LatticeMismatch for a cell that is no supercell, a wrong number of atoms, atoms off their sites, two atoms
    on one site, or a direction that should be periodic and is not. Warns with StrainTaken above 2 % of strain.

    Examples
    --------
    >>> import alloygen
    >>> from ase.build import bulk
    >>> match(bulk("Cu", cubic=True).repeat(2), alloygen.data.cuau().primitive).lattice.n_sites
    32
    """
    tol = positive(tol, "tol, a fraction of the nearest-neighbour distance,")
    atoms = atoms_from(atoms)
    _require_periodic(atoms, primitive)
    _require_count(len(atoms), primitive)
    neighbour = nearest_neighbour(primitive)
    symbols, cell = atoms.get_chemical_symbols(), np.array(atoms.cell)
    best, *others = best_fits(symbols, atoms.get_positions(), cell, primitive, tol * neighbour, neighbour)
    if (best.distance > best.limit).mean() > 0.25:
        raise no_supercell(primitive, atoms.cell, len(atoms) // len(primitive.basis))
    _require_on_sites(best)
    lattice = Lattice(primitive, best.found.canonical)
    site = lattice.index(best.offsets, best.sublattice)
    _require_one_each(site, lattice)
    _warn_strained(best.found)
    private = atoms.copy()
    private.calc = None
    rivals = tuple(_rival(best, other, neighbour) for other in others)
    scale = best.found.scale
    result = AtomsMap(private, lattice, site, scale, best.distance * scale, best.found.strain, rivals)
    if check_species:
        result.occ_from()
    return result


def _rival(best: Fit, other: Fit, neighbour: float) -> Rival:
    rotation = np.linalg.solve(best.found.matrix, other.found.matrix.astype(float))
    rms = np.sqrt(other.spread) * neighbour * other.found.scale
    return Rival(other.found.matrix, rotation, best.shift @ rotation - other.shift, other.found.strain, float(rms))


# ---------------------------------------------------------------------- what match refuses
def _warn_strained(found: Found) -> None:
    if found.strain > STRAIN_TOLD:
        warnings.warn(
            f"the cell is strained by {100 * found.strain:.1f} % against the lattice, scaled to its volume, and was taken as a "
            "relaxed cell. A lattice model knows no strain: energies are those of the lattice. Check that it is the right crystal.",
            StrainTaken,
            stacklevel=3,
        )


def _require_periodic(atoms, primitive: Primitive) -> None:
    open_axes = [a for a in range(3) if primitive.pbc[a] and not atoms.pbc[a]]
    if open_axes:
        raise LatticeMismatch(
            f"expected periodic boundaries along axes {[a for a in range(3) if primitive.pbc[a]]}, got "
            f"pbc={atoms.pbc.tolist()}. Set atoms.pbc = {list(primitive.pbc)} if the atoms are a periodic cell."
        )


def _require_count(n: int, primitive: Primitive) -> None:
    n_basis = len(primitive.basis)
    if n == 0 or n % n_basis:
        raise LatticeMismatch(
            f"expected a multiple of {n_basis} atoms (the sites of the primitive cell), got a wrong number of atoms: "
            f"{n}. Every site needs an atom; {vacancies(primitive)}."
        )


def _require_on_sites(best: Fit) -> None:
    off = np.flatnonzero(best.distance > best.limit)
    if len(off):
        scale = best.found.scale
        listed = ", ".join(f"{i} by {best.distance[i] * scale:.3f}" for i in off[:8])
        more = f" and {len(off) - 8} more" if len(off) > 8 else ""
        raise LatticeMismatch(
            f"expected every atom within {best.limit * scale:.3f} A of its site, got atoms off their sites: "
            f"{listed}{more} (index by distance in A). Use the ideal positions, raise tol, or check the structure."
        )


def _require_one_each(site: np.ndarray, lattice: Lattice) -> None:
    count = np.bincount(site, minlength=lattice.n_sites)
    crowded = np.flatnonzero(count > 1)
    if len(crowded):
        pairs = "; ".join(str(np.flatnonzero(site == s).tolist()) for s in crowded[:5])
        raise LatticeMismatch(
            f"expected one atom on each of {lattice.n_sites} sites, got several atoms on one site: atoms {pairs} "
            f"({int((count == 0).sum())} sites are empty). "
            f"Remove the doubles and fill the empty sites; {vacancies(lattice.primitive)}."
        )
