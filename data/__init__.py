"""Inputs that ship with alloygen: cluster expansions and trained checkpoints (see README.md here for sources)."""

from __future__ import annotations

import json
import os
import warnings
from functools import lru_cache
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING

from alloygen.errors import UnusableModel

if TYPE_CHECKING:
    import xarray as xr

    from alloygen.conditions.grids import NamedGrid
    from alloygen.hamiltonian.expansion import ClusterExpansion


OWN = "~/.alloygen/models"  # of a user who names no other folder by ALLOYGEN_MODELS
ALLOY = ".alloy.json"  # of an expansion in that folder, after the name of its law


@lru_cache(maxsize=1)
def cuau() -> ClusterExpansion:
    """The CuAu cluster expansion of Damewood, Schwalbe-Koda and Gomez-Bombarelli, npj Comput. Mater. 8, 61 (2022).

    Returns a :class:`~alloygen.hamiltonian.expansion.ClusterExpansion` in formation energies (eV): the line between
    the pure elements is subtracted, so E(Cu) = E(Au) = 0. Species are ("Cu", "Au").

    Examples
    --------
    >>> import alloygen
    >>> alloygen.data.cuau().elements
    ('Cu', 'Au')
    """
    from alloygen.hamiltonian.expansion import ClusterExpansion

    with as_file(files(__package__).joinpath("cuau.json")) as path:
        return ClusterExpansion.read(path)


def cuau_reference() -> xr.Dataset:
    """Monte Carlo reference of the CuAu expansion on 4x4x8 primitive cells (128 sites), an ``xarray.Dataset``.

    F(T, n_Au) in eV per site, and by condition (T, dmu) composition and energy histograms, x_Au and the energy, each with
    a ``_stderr`` beside it. Made by ``data/make_cuau_reference.py``.

    Examples
    --------
    >>> import alloygen
    >>> F = alloygen.data.cuau_reference().free_energy
    >>> F.sizes["T"], F.sizes["n_Au"], abs(float(F[0, 0])) < 1e-9      # pure Cu
    (21, 129, True)
    """
    from alloygen.runtime.tables import read_table

    with as_file(files(__package__).joinpath("cuau_4x4x8_reference.nc")) as path:
        return read_table(path, "the Monte Carlo reference of CuAu")


@lru_cache(maxsize=1)
def grids() -> dict[str, NamedGrid]:
    """The grids of conditions at which models are judged, by name: "cuau" (110), "ising" (105). See ``grids.json``.

    Examples
    --------
    >>> import alloygen
    >>> len(alloygen.data.grids()["ising"].pairs()[0])
    105
    """
    from alloygen.conditions.grids import NamedGrid

    found = json.loads(files(__package__).joinpath("grids.json").read_text())
    return {name: NamedGrid(**fields) for name, fields in found.items()}


def checkpoints() -> dict[str, Traversable]:
    """Files of the trained models that ship, and of those in the user's folder, by name: ``$ALLOYGEN_MODELS``, else ``~/.alloygen/models``.

    What the files of that folder hold is not looked at. A name that ships means the model that ships; a file of the folder with
    this name, and a folder that is not there, are told by an UnusableModel warning.
    """
    found = {p.name: p for p in files(__package__).iterdir() if p.name.endswith(".safetensors")}
    own, complaints = _own_checkpoints()
    complaints += [f"{own[name]} has the name of a model that ships: rename it" for name in own if name in found]
    if complaints:
        warnings.warn(f"ALLOYGEN_MODELS: {'; '.join(complaints)}", UnusableModel, stacklevel=2)
    found = own | found
    return {name.removesuffix(".safetensors"): found[name] for name in sorted(found)}


def own_folder() -> Path:
    """Where a user's models are kept, and found by :func:`checkpoints`."""
    return Path(os.environ.get("ALLOYGEN_MODELS") or OWN).expanduser()


def own_alloys() -> dict[str, ClusterExpansion]:
    """The alloys that a user has trained laws of, by the name of the law: what :func:`alloygen.train` keeps beside each model.

    A file that is damaged is passed over, with an UnusableModel warning.
    """
    from alloygen.errors import AlloygenError

    found = {}
    for path in sorted(own_folder().glob(f"*{ALLOY}")):
        try:
            found[path.name.removesuffix(ALLOY)] = _read_alloy(path, path.stat().st_mtime_ns)
        except (AlloygenError, OSError) as error:
            warnings.warn(f"the file of an alloy is passed over: {error}", UnusableModel, stacklevel=2)
    return found


@lru_cache(maxsize=32)
def _read_alloy(path: Path, changed: int) -> ClusterExpansion:
    from alloygen.hamiltonian.expansion import ClusterExpansion

    return ClusterExpansion.read(path)


def _own_checkpoints() -> tuple[dict[str, Path], list[str]]:
    """The safetensors files of the user's folder by file name, and what is wrong with the folder."""
    folder = os.environ.get("ALLOYGEN_MODELS")
    if not folder and not own_folder().is_dir():
        return {}, []
    try:
        paths = sorted(own_folder().iterdir())
    except OSError as error:
        return {}, [f"expected a folder of models, got {folder!r} ({error.strerror}); the models that ship are used"]
    return {p.name: p for p in paths if p.suffix == ".safetensors" and not (p.is_dir() or p.is_fifo())}, []


def configurations() -> dict[str, Traversable]:
    """Files of the training configurations that made them, by name.

    "paper/..." are the models of Du et al. (arXiv:2603.14695) at their own sizes, "small/..." such models for two cores.
    """
    here = files(__package__)
    found = {p.name: p for p in here.iterdir() if p.name.endswith(".toml")}
    for folder in ("paper", "small"):
        found |= {f"{folder}/{p.name}": p for p in here.joinpath(folder).iterdir() if p.name.endswith(".toml")}
    return {name.removesuffix(".toml"): found[name] for name in sorted(found)}
