"""Files of tensors with JSON metadata (safetensors). Loading one can run no code; one is whole or it is not there.

A file carries checksums of all its bytes (:mod:`alloygen.runtime.seal`), which are looked at before anything in it is. Those that older
versions wrote carry none: their names, shapes and numbers are checked as far as what they hold says what these have to be.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from alloygen.errors import AlloygenError, CheckpointError
from alloygen.runtime.atomic import atomic_path
from alloygen.runtime.seal import EMPTY, KEYS, damaged, require_sealed, seal
from alloygen.types import PathLike

# The version of each format that this package writes; it reads that one and older ones. A format that is not here is at 1.
VERSIONS = {"alloygen model": 1, "alloygen samples": 1, "alloygen Wang-Landau": 2}
SEALED = "checksum"  # in the metadata of files that carry checksums


def version_of(format: str) -> int:
    """The version of a format, by its name.

    Examples
    --------
    >>> version_of("alloygen Wang-Landau")
    2
    """
    return VERSIONS.get(format, 1)


def write_tensors(path: PathLike, tensors: dict, metadata: dict) -> None:
    """Write arrays or tensors and metadata in one go: an interrupt or a full disk leaves an old file as it was.

    Raises OSError where the system does not let it be written.
    """
    import torch
    from safetensors.torch import save

    plain = {k: torch.as_tensor(v).detach().cpu().contiguous() for k, v in tensors.items()}
    about = {"alloygen": json.dumps({**metadata, SEALED: "sha256"}), **dict.fromkeys(KEYS, EMPTY)}
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(plain, about))  # save_file leaves a file of its own at a kill
        seal(os.fspath(temporary))


def read_tensors(path: PathLike, device: str = "cpu", names: Collection[str] | None = None) -> tuple[dict, dict]:
    """(tensors, metadata) of a file, or a CheckpointError that says what is wrong with it.

    names : of all the tensors that there have to be, where they are known beforehand
    """
    with _opened(path, device) as (f, metadata):
        if names is not None and set(f.keys()) != set(names):
            raise CheckpointError(
                f"expected the tensors {sorted(names)} in {os.fspath(path)!r}, got {sorted(f.keys())[:12]}"
            )
        return {k: f.get_tensor(k) for k in f.keys()}, metadata


def read_metadata(path: PathLike) -> dict:
    """The metadata of a file alone, which cost no more than its header; the same errors as :func:`read_tensors`."""
    with _opened(path, whole=False) as (_, metadata):
        return metadata


@contextmanager
def _opened(path: PathLike, device: str = "cpu", whole: bool = True) -> Iterator[tuple[Any, dict]]:
    from safetensors import SafetensorError, safe_open

    path = os.fspath(path)
    if not os.path.isfile(path):
        got = "a folder" if os.path.isdir(path) else "no file"
        raise CheckpointError(f"expected a checkpoint, found {got} at {path!r}")
    try:
        require_sealed(path, whole)
        with safe_open(path, framework="pt", device=device) as f:
            about = f.metadata() or {}
            metadata = json.loads(about.get("alloygen", "{}"))
            _require_ours(metadata, about, path)
            yield f, metadata
    except (SafetensorError, json.JSONDecodeError, OSError, RecursionError, UnicodeDecodeError) as error:
        raise damaged(path, str(error)) from None


def _require_ours(metadata, about: Mapping[str, str], path: str) -> None:
    if not isinstance(metadata, dict) or metadata.get("format") is None:
        raise CheckpointError(f"expected a checkpoint written by alloygen, {path!r} carries no alloygen metadata")
    if metadata.pop(SEALED, None) is not None and KEYS[0] not in about:
        raise damaged(path, "no checksum where there was one")
    version, known = metadata.get("version", 0), version_of(str(metadata["format"]))
    if not isinstance(version, int) or version > known:
        raise CheckpointError(
            f"expected a checkpoint of format version {known} or older, got version {version} in {path!r}. Update alloygen."
        )


def matching(given: Mapping[str, np.ndarray], like: Mapping[str, np.ndarray], rows: str = "") -> dict[str, np.ndarray]:
    """Arrays of a file that have the names, kinds and shapes of those that a run has.

    rows : what the first axis counts, such as "rounds", where there may be any number of them, as many of each array

    Unsigned 64-bit integers, which files hold as signed ones, come back as such.

    Raises AlloygenError for anything else.

    Examples
    --------
    >>> matching({"a": np.zeros(2)}, {"a": np.zeros(3)})
    Traceback (most recent call last):
    alloygen.errors.AlloygenError: expected 'a' as float64 of shape (3,), got float64 of shape (2,)
    """
    if set(given) != set(like):
        raise AlloygenError(
            f"expected the arrays {sorted(like)}, got none for {sorted(set(like) - set(given))} and also {sorted(set(given) - set(like))[:8]}"
        )
    out = {}
    for name, place in like.items():
        value, skip = given[name], int(bool(rows))
        kind = np.dtype(np.int64) if place.dtype == np.uint64 else place.dtype
        if (
            value.dtype not in (kind, place.dtype)
            or value.ndim != place.ndim
            or value.shape[skip:] != place.shape[skip:]
        ):
            raise AlloygenError(
                f"expected {name!r} as {kind} of shape {place.shape}, got {value.dtype} of shape {value.shape}"
            )
        out[name] = value.view(place.dtype)
    if rows and len({len(v) for v in out.values()}) > 1:
        raise AlloygenError(f"expected as many {rows} of each, got { {k: len(v) for k, v in out.items()} }")
    return out


def require_range(arrays: Mapping[str, np.ndarray], **limits: tuple[float, float]) -> None:
    """AlloygenError where an array, by name, has a number that is not finite or outside (least, most).

    Examples
    --------
    >>> require_range({"n": np.array([-1])}, n=(0, 5))
    Traceback (most recent call last):
    alloygen.errors.AlloygenError: expected 'n' from 0 to 5, got -1
    """
    for name, (least, most) in limits.items():
        value = arrays[name]
        bad = ~((value >= least) & (value <= most))
        if bad.any():
            raise AlloygenError(f"expected {name!r} from {least:g} to {most:g}, got {value[bad].flat[0]}")
