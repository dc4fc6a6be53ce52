"""Structures in: Atoms, a pymatgen Structure, or a file of one; and Atoms as pymatgen has them. What alloygen writes is in :mod:`alloygen.edge.structure_files`."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from alloygen.errors import AlloygenError, LatticeMismatch
from alloygen.runtime.documents import contents_of
from alloygen.types import PathLike

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure


def atoms_from(given: Atoms | Structure | PathLike) -> Atoms:
    """ase.Atoms from what stands for them: Atoms as they are, a pymatgen Structure, or the path of a structure file.

    Of a file with several images the last is taken, as ``ase.io.read`` does. Every public function that takes Atoms takes these.

    Raises LatticeMismatch for anything else, for no atoms, for positions or a cell that are not finite and for sites that are
    occupied in part; AlloygenError for a file that cannot be read.

    Examples
    --------
    >>> from ase.build import bulk
    >>> atoms_from(to_pymatgen(bulk("Cu", a=3.6))).get_chemical_formula()
    'Cu'
    >>> atoms_from(None)
    Traceback (most recent call last):
    alloygen.errors.LatticeMismatch: expected atoms as ase.Atoms, a pymatgen Structure or the path of a structure file, got None
    """
    plain: Any = given
    if isinstance(given, (str, os.PathLike)):
        atoms = read_structure(given)
    elif hasattr(plain, "get_chemical_symbols"):
        atoms = plain
    elif hasattr(plain, "is_ordered") and hasattr(plain, "lattice"):
        atoms = from_pymatgen(plain)
    else:
        several = ": pass one of them" if isinstance(given, Sequence) and len(given) else ""
        what = f"a {type(given).__name__} of {len(given)}" if several else repr(given)
        raise LatticeMismatch(
            f"expected atoms as ase.Atoms, a pymatgen Structure or the path of a structure file, got {what}{several}"
        )
    if not len(atoms):
        raise LatticeMismatch("expected one atom on each site, got a wrong number of atoms: 0")
    bad = np.flatnonzero(~np.isfinite(atoms.positions).all(1))
    if len(bad) or not np.isfinite(np.array(atoms.cell)).all():
        where = (
            f"the positions of atoms {bad[:8].tolist()}" if len(bad) else f"the cell {np.array(atoms.cell).tolist()}"
        )
        raise LatticeMismatch(f"expected finite numbers, got nan or inf in {where}. Check where the Atoms came from")
    return atoms


def read_structure(path: PathLike) -> Atoms:
    """The structure in a file that ASE reads (POSCAR, cif, extxyz, ...); the last one where there are several, or one named as in ``file@0``.

    Raises :class:`AlloygenError` for a file that is missing or cannot be read, and for sites that are occupied in part.

    Examples
    --------
    >>> import tempfile
    >>> from ase.build import bulk
    >>> bulk("Au").write(path := f"{tempfile.mkdtemp()}/gold.extxyz")
    >>> read_structure(path).get_chemical_formula()
    'Au'
    """
    import ase.io

    name = os.fspath(path)
    file = name if os.path.exists(name) else re.sub(r"@[-:\d]*$", "", name)
    if not os.path.isfile(file):
        what = "a folder" if os.path.isdir(file) else "no file there"
        raise AlloygenError(
            f"expected a structure file that ASE reads (POSCAR, cif, extxyz, ...), got {name!r}: {what}"
        )
    try:
        atoms = ase.io.read(name)
    except Exception as error:  # ASE's readers raise whatever their formats do
        why = str(error).strip().partition("\n")[0] or type(error).__name__
        raise AlloygenError(f"expected a structure file that ASE reads, got {name!r} ({why})") from None
    if isinstance(atoms, list):
        raise AlloygenError(
            f"expected one structure, got {len(atoms)} of them from {name!r}; name one, such as {file}@0"
        )
    with contents_of(name, "occupancies as numbers"):  # ASE hands on what the file says, text as well
        occupancy = atoms.info.get("occupancy", {}).values()
        shared = [site for site in occupancy if len(site) > 1 or not sum(map(float, site.values())) >= 0.999]
    if shared:
        raise AlloygenError(
            f"expected one species on each site, got sites that are occupied in part in {name!r}, such as {shared[0]}. "
            "alloygen.order(structure, T=...) draws configurations with these occupancies."
        )
    return atoms


def to_pymatgen(atoms: Atoms) -> Structure:
    """A pymatgen Structure of ``atoms``.

    Examples
    --------
    >>> from ase.build import bulk
    >>> to_pymatgen(bulk("Cu", a=3.61)).composition.reduced_formula
    'Cu'
    """
    from pymatgen.io.ase import AseAtomsAdaptor

    return AseAtomsAdaptor.get_structure(atoms)


def from_pymatgen(structure: Structure) -> Atoms:
    """Plain ase.Atoms of an ordered pymatgen Structure.

    Raises LatticeMismatch for partial occupancies, which are no configuration.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from_pymatgen(to_pymatgen(bulk("Cu", a=3.61)))
    Atoms(symbols='Cu', pbc=True, cell=[[0.0, 1.805, 1.805], [1.805, 0.0, 1.805], [1.805, 1.805, 0.0]])
    """
    from pymatgen.io.ase import AseAtomsAdaptor

    if not structure.is_ordered:
        raise LatticeMismatch(
            f"expected one species on each site, got a disordered structure {structure.composition.formula}. "
            "alloygen.order(structure, T=...) draws configurations with these occupancies."
        )
    return AseAtomsAdaptor.get_atoms(structure, msonable=False)
