"""Labelled tables as netCDF files with a checksum of what is in them."""

from __future__ import annotations

import hashlib
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from alloygen.arguments import path_name
from alloygen.errors import AlloygenError
from alloygen.runtime.documents import CHECKSUM, SEALED_FROM, contents_of
from alloygen.runtime.seal import document_digest
from alloygen.types import PathLike

if TYPE_CHECKING:
    import xarray as xr

LARGEST = 4_000_000_000  # bytes of a table that is read
VERSION = "file_version"  # attribute of a table: 2 where it carries a checksum


def write_table(path: PathLike, table: xr.Dataset) -> None:
    """Write a table as netCDF, within :func:`alloygen.runtime.atomic.atomic_path`; its checksum is of what a reader finds, whatever types
    the format has."""
    import xarray as xr

    table.assign_attrs({VERSION: SEALED_FROM}).to_netcdf(path)
    xr.Dataset(attrs={CHECKSUM: digest_of(_read(Path(path)))}).to_netcdf(path, mode="a")


def read_table(path: PathLike, what: str) -> xr.Dataset:
    """The table in a netCDF file, after a look at its size and its checksum; files of older versions have none.

    what : that was expected in it. Raises AlloygenError, which names the file, for anything else.
    """
    name = path_name(path, f"a netCDF file with {what}")
    if not os.path.isfile(name):
        raise AlloygenError(f"expected a netCDF file with {what}, found none at {name!r}")
    with contents_of(name, f"a netCDF file with {what}"):
        table = _read(Path(name))
        seal = table.attrs.pop(CHECKSUM, None)
        if (seal is not None or table.attrs.get(VERSION, 1) != 1) and seal != digest_of(table):
            raise AlloygenError(
                "expected the contents that its checksum is of, got others: the file is damaged. Take the original"
            )
        table.attrs.pop(VERSION, None)
        return table


def _read(path: Path) -> xr.Dataset:
    import xarray as xr

    with xr.open_dataset(path) as data:
        if data.nbytes > LARGEST:
            raise AlloygenError(f"expected a table of at most {LARGEST / 1e9:g} GB, got {data.nbytes / 1e9:.3g} GB")
        return data.load()


def digest_of(table: xr.Dataset) -> str:
    """SHA-256 of a table: names, dimensions, numbers and attributes, but for the checksum itself."""
    parts = {str(k): _told(v) for k, v in table.variables.items()}
    about = {str(k): _plain(v) for k, v in table.attrs.items() if k != CHECKSUM}
    return document_digest(
        {"variables": parts, "attributes": about, "sizes": {str(k): int(v) for k, v in table.sizes.items()}}
    )


def _told(variable: Any) -> list:
    about = {str(k): _plain(v) for k, v in variable.attrs.items()}
    values = np.asarray(variable.values)
    numbers = values.dtype.kind in "iufb"
    told = (
        hashlib.sha256(values.astype("<f8").tobytes()).hexdigest()
        if numbers
        else [str(v) for v in values.ravel().tolist()]
    )
    return [list(map(str, variable.dims)), list(values.shape), told, about]


def _plain(value: Any) -> Any:
    """An attribute as JSON has it, the same before and after it was in a file: one number is a number, not a list of it."""
    if isinstance(value, (str, bytes)):
        return value.decode(errors="replace") if isinstance(value, bytes) else value
    flat = np.ravel(value).tolist()
    plain = [float(v).hex() if isinstance(v, (int, float, bool)) and math.isfinite(v) else str(v) for v in flat]
    return plain[0] if len(plain) == 1 else plain


def require_numbers(table: xr.Dataset, known: tuple[str, ...], rising: tuple[str, ...] = ()) -> None:
    """AlloygenError where variables ``known`` are no finite numbers, or ``rising`` ones do not rise."""
    for name in (*known, *rising):
        values = np.asarray(table[name].values)
        if (
            values.dtype.kind not in "iuf"
            or not np.isfinite(values).all()
            or (name in rising and (np.diff(values) <= 0).any())
        ):
            raise AlloygenError(f"expected {name} as finite numbers{', rising' * (name in rising)}, got others")
