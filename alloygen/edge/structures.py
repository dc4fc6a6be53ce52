"""Structures in (Atoms, a pymatgen Structure, a file) and out (pymatgen, extended XYZ, a folder of POSCARs, an ASE database).

Every structure that is written keeps its energy and the numbers in ``atoms.info`` that say where it came from: T, mu_<element>,
log_prob and log_weight. All writing is atomic (see :mod:`alloygen.runtime.atomic`).
"""

from __future__ import annotations

import csv
import numbers
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from alloygen.arguments import path_name
from alloygen.errors import AlloygenError, LatticeMismatch
from alloygen.runtime.atomic import atomic_folder, atomic_path, require_writable
from alloygen.runtime.documents import contents_of
from alloygen.types import PathLike

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure

SUFFIXES = {".extxyz": "extxyz", ".xyz": "extxyz", ".db": "db", ".json": "json", "": "poscar"}
FORMATS = ("extxyz", "poscar", "db", "json")
INDEX = "index.csv"
_OURS = re.compile(rf"POSCAR_\d{{5,}}|{re.escape(INDEX)}")


def info_key(name: str) -> str:
    """``name`` as a key that every format takes: letters, digits and underscores ("mu_+" becomes "mu_plus").

    Examples
    --------
    >>> info_key("mu_Au"), info_key("mu_-")
    ('mu_Au', 'mu_minus')
    """
    return re.sub(r"\W", "_", name.replace("+", "plus").replace("-", "minus"))


def format_of(path: PathLike, format: str | None = None) -> str:
    """The format of ``path``: ``format`` if given, else by the suffix; :class:`AlloygenError` when neither is known.

    Examples
    --------
    >>> format_of("a.extxyz"), format_of("folder"), format_of("folder.v2", "poscar")
    ('extxyz', 'poscar', 'poscar')
    """
    if format is not None:
        if format not in FORMATS:
            raise AlloygenError(f"expected a format among {', '.join(FORMATS)}, got {format!r}")
        return format
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        known = ", ".join(f"{s or 'no suffix'} ({f})" for s, f in SUFFIXES.items())
        raise AlloygenError(f"expected a path with one of the suffixes {known}, got {str(path)!r}; or pass format=")
    return SUFFIXES[suffix]


# ---------------------------------------------------------------------- in
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
    >>> path = write_structures([bulk("Cu"), bulk("Au")], Path(tempfile.mkdtemp()) / "two.extxyz")
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


# ---------------------------------------------------------------------- out
def write_structures(atoms_list: Iterable, path: PathLike, format: str | None = None) -> Path:
    """Write structures (any iterable of ``ase.Atoms``, read one at a time) and return the path.

    * ``extxyz`` (".extxyz", ".xyz"): one file; ``ase.io.read(path, ":")`` gives energies and ``info`` back.
    * ``poscar`` (no suffix): a folder of POSCAR_00000, ..., atoms sorted by element, vacancies ("X") left out, and index.csv with a row per
      file: energy and the numbers of ``info`` (a POSCAR has no place for them).
    * ``db``, ``json`` (".db", ".json"): an ASE database, the numbers as key_value_pairs.

    An interrupt or a full disk leaves what was at ``path`` before. Raises :class:`AlloygenError` for an unknown
    suffix or format, and for a folder that holds anything but what alloygen writes.

    Examples
    --------
    >>> import tempfile
    >>> from ase.build import bulk
    >>> path = write_structures([bulk("Cu"), bulk("Au")], Path(tempfile.mkdtemp()) / "two.extxyz")
    >>> import ase.io
    >>> [str(a.symbols) for a in ase.io.read(path, ":")]
    ['Cu', 'Au']
    """
    path = Path(path_name(path, "where structures are written"))
    kind = format_of(path, format)
    if not isinstance(atoms_list, Iterable) or isinstance(atoms_list, (str, bytes, Mapping)):
        raise AlloygenError(f"expected structures as a list of ase.Atoms, got {atoms_list!r:.80}")
    require_target(path, format)
    if kind == "poscar":
        _check_folder(path)
        with atomic_folder(path) as part:
            _write_poscars(atoms_list, part)
            _check_folder(path)  # nothing may have come in meanwhile
    else:
        with atomic_path(path) as part:
            _write_extxyz(atoms_list, part) if kind == "extxyz" else _write_db(atoms_list, part, kind)
    return path


def require_target(path: PathLike, format: str | None = None) -> None:
    """Find out before any work whether :func:`write_structures` can write at ``path``: suffix, folder, permission.

    Raises :class:`AlloygenError` as that function would after the work.

    Examples
    --------
    >>> require_target("configs.cif")
    Traceback (most recent call last):
    alloygen.errors.AlloygenError: expected a path with one of the suffixes .extxyz (extxyz), .xyz (extxyz), .db (db), .json (json), \
no suffix (poscar), got 'configs.cif'; or pass format=
    """
    if format_of(path, format) == "poscar":
        _check_folder(Path(path))
        require_writable(Path(os.path.realpath(path)).parent, folder=True)
    else:
        require_writable(path)


def _numbers(atoms) -> dict[str, float]:
    """The scalar entries of ``atoms.info`` as floats, under keys that databases accept."""
    return {
        info_key(k): float(v) for k, v in atoms.info.items() if isinstance(v, numbers.Real) and not isinstance(v, bool)
    }


def _write_extxyz(atoms_list, part: Path) -> None:
    from ase.io.extxyz import write_xyz

    with open(part, "w", encoding="utf-8") as file:
        for atoms in atoms_list:
            write_xyz(file, [atoms])


def _write_db(atoms_list, part: Path, kind: str) -> None:
    from ase.db import connect

    with connect(part, type=kind, append=False, use_lock_file=False) as database:
        for atoms in atoms_list:
            database.write(atoms, key_value_pairs=_numbers(atoms))
    part.touch()  # a database of no rows is a file too


def _write_poscars(atoms_list, folder: Path) -> None:
    from ase.io.vasp import write_vasp

    rows = []
    for k, atoms in enumerate(atoms_list):
        name = f"POSCAR_{k:05d}"
        with open(folder / name, "w", encoding="utf-8") as file:
            write_vasp(file, atoms[atoms.numbers > 0], direct=True, sort=True)
        energy = {"energy": float(atoms.get_potential_energy())} if atoms.calc is not None else {}
        rows.append({"file": name, **energy, **_numbers(atoms)})
    columns = list(dict.fromkeys(key for row in rows for key in row)) or ["file"]
    with open(folder / INDEX, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)


def _check_folder(path: Path) -> None:
    if not path.exists():
        return
    if not path.is_dir():
        raise AlloygenError(f"expected a folder (or nothing) at {path}, got a file; choose another name")
    names = sorted(p.name for p in path.iterdir())
    foreign = [n for n in names if not _OURS.fullmatch(n) or (path / n).is_dir()]
    if names and INDEX not in names:  # POSCARs that somebody else numbered
        foreign = names
    if foreign:
        raise AlloygenError(
            f"expected {path} to be new, empty, or a folder of POSCARs with an {INDEX} written by alloygen, got other "
            f"files in it: {foreign[:5]}; choose another folder, nothing was changed"
        )
