"""Structures out, and back in: extended XYZ, a trajectory, folders of POSCARs or CIFs, an ASE database, JSON of ASE or of pymatgen.

Every structure that is written keeps its energy and the numbers in ``atoms.info`` that say where it came from: T, mu_<element>,
log_prob and log_weight. All writing is atomic (see :mod:`alloygen.runtime.atomic`), and one structure is in memory at a time; ``read_structures``
gives them back, likewise but for ASE's JSON databases, which are read as a whole.
"""

from __future__ import annotations

import csv
import json
import numbers
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from alloygen.arguments import path_name
from alloygen.edge.structures import from_pymatgen, to_pymatgen
from alloygen.errors import AlloygenError
from alloygen.runtime.atomic import atomic_folder, atomic_path, require_writable
from alloygen.types import PathLike

if TYPE_CHECKING:
    from ase import Atoms

SUFFIXES = {
    ".extxyz": "extxyz",
    ".xyz": "extxyz",
    ".traj": "traj",
    ".db": "db",
    ".json": "json",
    ".mson": "mson",
    "": "poscar",
}
FORMATS = ("extxyz", "traj", "poscar", "cif", "db", "json", "mson")
FOLDERS = ("poscar", "cif")
INDEX, SITES, ORDER = "index.csv", "sites.extxyz", "order"
_OURS = re.compile(rf"POSCAR_\d{{5,}}|\d{{5,}}\.cif|{re.escape(INDEX)}|{re.escape(SITES)}")


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
        if not isinstance(format, str) or format not in FORMATS:
            raise AlloygenError(f"expected a format among {', '.join(FORMATS)}, got {format!r}")
        return format
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        known = ", ".join(f"{s or 'no suffix'} ({f})" for s, f in SUFFIXES.items())
        raise AlloygenError(f"expected a path with one of the suffixes {known}, got {str(path)!r}; or pass format=")
    return SUFFIXES[suffix]


# ---------------------------------------------------------------------- out
def write_structures(atoms_list: Iterable, path: PathLike, format: str | None = None) -> Path:
    """Write structures (any iterable of ``ase.Atoms``, read one at a time) and return the path.

    * ``extxyz`` (".extxyz", ".xyz"): one file; ``ase.io.read(path, ":")`` gives energies and ``info`` back.
    * ``traj`` (".traj"): an ASE trajectory, the same.
    * ``poscar`` (no suffix), ``cif``: a folder of POSCAR_00000, ..., or 00000.cif, ..., atoms sorted by element, vacancies ("X") left out, and index.csv with
      a row per file: energy, the numbers of ``info`` (there is no place for them elsewhere), and ``order``, the site of each atom; where there were
      vacancies, sites.extxyz has all sites.
    * ``db``, ``json`` (".db", ".json"): an ASE database, the numbers as key_value_pairs.
    * ``mson`` (".mson"): a JSON list of pymatgen Structures as monty has them, which a jobflow store takes and ``monty.serialization.loadfn(path,
      fmt="json")`` reads; ``properties`` has energy, numbers and ``order``, vacancies are left out.

    ``read_structures`` gives back what was written, in the order of the sites, but vacancies of ``mson``.

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
    if kind in FOLDERS:
        _check_folder(path)
        with atomic_folder(path) as part:
            _write_folder(atoms_list, part, kind)
            _check_folder(path)  # nothing may have come in meanwhile
        return path
    with atomic_path(path) as part:
        writers = {
            "extxyz": _write_extxyz,
            "traj": _write_traj,
            "db": _write_db,
            "json": _write_json,
            "mson": _write_mson,
        }
        writers[kind](atoms_list, part)
    return path


def require_target(path: PathLike, format: str | None = None) -> None:
    """Find out before any work whether :func:`write_structures` can write at ``path``: suffix, folder, permission.

    Raises :class:`AlloygenError` as that function would after the work.

    Examples
    --------
    >>> require_target("configs.cif")
    Traceback (most recent call last):
    alloygen.errors.AlloygenError: expected a path with one of the suffixes .extxyz (extxyz), .xyz (extxyz), .traj (traj), .db (db), \
.json (json), .mson (mson), no suffix (poscar), got 'configs.cif'; or pass format=
    """
    if format_of(path, format) in FOLDERS:
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


def _write_db(atoms_list, part: Path) -> None:
    from ase.db import connect

    with connect(part, type="db", append=False, use_lock_file=False) as database:
        for atoms in atoms_list:
            database.write(atoms, key_value_pairs=_numbers(atoms))
    part.touch()  # a database of no rows is a file too


def _write_json(atoms_list, part: Path) -> None:
    """Each row a database of its own, put together: ASE writes the whole file anew for each."""
    from ase.db import connect

    n = 0
    with open(part, "w", encoding="utf-8") as file:
        file.write("{")
        for n, atoms in enumerate(atoms_list, 1):
            one = StringIO()
            connect(one, type="json", use_lock_file=False).write(atoms, key_value_pairs=_numbers(atoms))
            file.write(f'"{n}": {json.dumps(json.loads(one.getvalue())["1"])},\n')
        file.write(f'"ids": {list(range(1, n + 1))},\n"nextid": {n + 1}}}\n')


def _write_traj(atoms_list, part: Path) -> None:
    from ase.io.trajectory import TrajectoryWriter

    with TrajectoryWriter(os.fspath(part)) as file:
        for atoms in atoms_list:
            file.write(atoms)


def _write_mson(atoms_list, part: Path) -> None:
    from monty.json import MontyEncoder

    with open(part, "w", encoding="utf-8") as file:
        file.write("[")
        for k, atoms in enumerate(atoms_list):
            structure = to_pymatgen(atoms[atoms.numbers > 0])
            order = [int(i) for i in np.flatnonzero(atoms.numbers > 0)]
            structure.properties = {**_energy(atoms), **_numbers(atoms), ORDER: order}
            file.write(",\n" if k else "\n")
            json.dump(structure, file, cls=MontyEncoder)
        file.write("\n]\n")


def _energy(atoms) -> dict[str, float]:
    return {"energy": float(atoms.get_potential_energy())} if atoms.calc is not None else {}


def _write_folder(atoms_list, folder: Path, kind: str) -> None:
    import ase.io

    rows, sites = [], None
    for k, atoms in enumerate(atoms_list):
        name = f"POSCAR_{k:05d}" if kind == "poscar" else f"{k:05d}.cif"
        there = np.flatnonzero(atoms.numbers > 0)
        order = there[np.argsort(np.array(atoms.get_chemical_symbols())[there], kind="stable")]
        if kind == "poscar":
            ase.io.write(folder / name, atoms[order], format="vasp", direct=True, sort=False)
        else:
            ase.io.write(folder / name, atoms[order], format="cif")
        if sites is None and len(order) < len(atoms):
            sites = atoms.copy()
        rows.append({"file": name, **_energy(atoms), **_numbers(atoms), ORDER: " ".join(map(str, order))})
    columns = list(dict.fromkeys(key for row in rows for key in row)) or ["file"]
    if sites is not None:
        sites.calc, sites.info = None, {}
        _write_extxyz([sites], folder / SITES)
    with open(folder / INDEX, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)


# ---------------------------------------------------------------------- back in
def read_structures(path: PathLike, format: str | None = None) -> Iterator[Atoms]:
    """The structures that :func:`write_structures` wrote, one at a time, in the order of their sites, with energies and the numbers in ``info``.

    AlloygenError for a path that is not there, and for what cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> from ase.build import bulk
    >>> path = write_structures([bulk("NaCl", "rocksalt", a=5.6), bulk("Cu")], Path(tempfile.mkdtemp()) / "folder")
    >>> [str(a.symbols) for a in read_structures(path)]
    ['NaCl', 'Cu']
    """
    where = Path(path_name(path, "where structures are read"))
    if not where.exists():
        raise AlloygenError(f"expected structures in {os.fspath(where)!r}, found nothing there")
    kind = format_of(where, format or ("poscar" if where.is_dir() else None))
    try:
        yield from _read(where, kind)
    except AlloygenError:
        raise
    except Exception as error:  # readers raise whatever their formats do
        why = str(error).strip().partition("\n")[0] or type(error).__name__
        raise AlloygenError(
            f"expected structures that alloygen wrote as {kind}, got {os.fspath(where)!r} ({why})"
        ) from error


def _read(path: Path, kind: str) -> Iterator[Atoms]:
    import ase.io

    if kind in FOLDERS:
        yield from _read_folder(path)
    elif kind in ("db", "json"):
        from ase.db import connect

        for row in connect(path, type=kind, use_lock_file=False).select():
            atoms = row.toatoms()
            atoms.info.update(row.key_value_pairs)
            yield atoms
    elif kind == "mson":
        from pymatgen.core import Structure

        with open(path, encoding="utf-8") as file:
            for d in _entries(file):
                structure = Structure.from_dict(d)
                own = {k: v for k, v in structure.properties.items() if k != ORDER}
                yield _with_numbers(from_pymatgen(structure), own)
    else:
        yield from ase.io.iread(path, index=":", format=kind)


def _entries(file: TextIO) -> Iterator[dict]:
    """The entries of a JSON list, one at a time where each has a line of its own, as :func:`_write_mson` has them."""
    if file.readline() == "[\n" and (line := file.readline()).startswith("{") and line.rstrip("\n,").endswith("}"):
        while line.startswith("{"):
            yield json.loads(line.rstrip("\n,"))
            line = file.readline()
        if line.strip() != "]":
            raise ValueError("the list does not end: part of the file is missing")
    else:
        file.seek(0)
        yield from json.load(file)


def _read_folder(path: Path) -> Iterator[Atoms]:
    import ase.io

    sites: Any = ase.io.read(path / SITES) if (path / SITES).exists() else None
    with open(path / INDEX, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            name = row.pop("file")
            found: Any = ase.io.read(path / name, format="cif" if name.endswith(".cif") else "vasp")
            order = np.array(row.pop(ORDER).split(), dtype=int)
            if sites is None:
                atoms = found[np.argsort(order)]
            else:
                atoms = sites.copy()
                atoms.numbers[:] = 0
                atoms.numbers[order] = found.numbers
            atoms.info = {}
            yield _with_numbers(atoms, {k: float(v) for k, v in row.items() if v != ""})


def _with_numbers(atoms: Atoms, numbers: dict[str, float]) -> Atoms:
    from ase.calculators.singlepoint import SinglePointCalculator

    atoms.calc = None
    if "energy" in numbers:
        atoms.calc = SinglePointCalculator(atoms, energy=numbers.pop("energy"))
    atoms.info.update(numbers)
    return atoms


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
