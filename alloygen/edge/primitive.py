"""A primitive cell from Atoms, for expansions that are written by hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from alloygen.edge.structures import atoms_from
from alloygen.errors import LatticeMismatch, UnknownSpecies
from alloygen.lattice import Primitive

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure

    from alloygen.types import PathLike


def primitive_from_atoms(atoms: Atoms | Structure | PathLike, species: Sequence | Mapping) -> Primitive:
    """A Primitive from the Atoms of a primitive cell.

    Parameters
    ----------
    atoms : ase.Atoms (or what :func:`atoms_from` takes), one atom per sublattice
    species : one list of symbols for all sites, a list of such lists (one per site), or a dict from the symbol that
        stands in ``atoms`` to its list (a symbol that is not named stays as it is)

    Raises LatticeMismatch for a wrong number of lists and UnknownSpecies for a symbol that ``atoms`` do not have.

    Examples
    --------
    >>> from ase.build import bulk
    >>> primitive_from_atoms(bulk("MgO", "rocksalt", a=4.2), {"Mg": ["Mg", "Ni"]}).species
    (('Mg', 'Ni'), ('O',))
    """
    atoms = atoms_from(atoms)
    symbols = atoms.get_chemical_symbols()
    if isinstance(species, str) or not isinstance(species, (Mapping, Iterable)):
        raise UnknownSpecies(
            f'expected species as a list of symbols, such as ["Cu", "Au"], or a dict by symbol, such as {{"Mg": ["Mg", "Ni"]}}, got {species!r}'
        )
    if isinstance(species, Mapping):
        unknown = [s for s in species if s not in symbols]
        if unknown:
            raise UnknownSpecies(
                f"expected species lists for symbols among {', '.join(dict.fromkeys(symbols))}, got {', '.join(map(str, unknown))}. "
                "Name the symbols that stand in the primitive cell."
            )
        lists = [species.get(s, (s,)) for s in symbols]
    elif all(isinstance(s, str) for s in species):
        lists = [species] * len(symbols)
    else:
        lists = list(species)
    lists = [(s,) if isinstance(s, str) else tuple(s) if isinstance(s, Iterable) else (s,) for s in lists]
    if not all(isinstance(s, str) for one in lists for s in one):
        raise UnknownSpecies(f'expected symbols of species as text, such as ["Cu", "Au"], got {species!r}')
    if len(lists) != len(symbols) or any(not s or len(set(s)) < len(s) for s in lists):
        raise LatticeMismatch(
            f"expected one list of different symbols per site ({len(symbols)} sites), got {lists}. "
            "Give one list for all sites, one per site, or a dict by symbol."
        )
    return Primitive(np.array(atoms.cell), atoms.get_scaled_positions(wrap=False), tuple(lists), tuple(atoms.pbc))
