"""Files of tensors with JSON metadata (safetensors). Loading one can run no code; one is whole or it is not there."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from alloygen.errors import CheckpointError
from alloygen.runtime.atomic import atomic_path
from alloygen.types import PathLike

# The version of each format that this package writes; it reads that one and older ones. A format that is not here is at 1.
VERSIONS = {"alloygen model": 1, "alloygen samples": 1, "alloygen Wang-Landau": 2}


def version_of(format: str) -> int:
    """The version of a format, by its name.

    Examples
    --------
    >>> version_of("alloygen Wang-Landau")
    2
    """
    return VERSIONS.get(format, 1)


def write_tensors(path: PathLike, tensors: dict, metadata: dict) -> None:
    """Write arrays or tensors and metadata in one go: an interrupt or a full disk leaves an old file as it was."""
    import torch
    from safetensors.torch import save_file

    plain = {k: torch.as_tensor(v).detach().cpu().contiguous() for k, v in tensors.items()}
    with atomic_path(path) as temporary:
        save_file(plain, os.fspath(temporary), metadata={"alloygen": json.dumps(metadata)})


def read_tensors(path: PathLike, device: str = "cpu") -> tuple[dict, dict]:
    """(tensors, metadata) of a file, or a CheckpointError that says what is wrong with it."""
    with _opened(path, device) as (f, metadata):
        return {k: f.get_tensor(k) for k in f.keys()}, metadata


def read_metadata(path: PathLike) -> dict:
    """The metadata of a file alone, which cost no more than its header; the same errors as :func:`read_tensors`."""
    with _opened(path) as (_, metadata):
        return metadata


@contextmanager
def _opened(path: PathLike, device: str = "cpu") -> Iterator[tuple[Any, dict]]:
    from safetensors import SafetensorError, safe_open

    path = os.fspath(path)
    if not os.path.isfile(path):
        got = "a folder" if os.path.isdir(path) else "no file"
        raise CheckpointError(f"expected a checkpoint, found {got} at {path!r}")
    try:
        with safe_open(path, framework="pt", device=device) as f:
            metadata = json.loads((f.metadata() or {}).get("alloygen", "{}"))
            _require_ours(metadata, path)
            yield f, metadata
    except (SafetensorError, json.JSONDecodeError, OSError) as error:
        raise CheckpointError(
            f"expected a whole safetensors checkpoint at {path!r}, got a damaged or truncated file ({error}). "
            "Copy it again or train it anew."
        ) from None


def _require_ours(metadata, path: str) -> None:
    if not isinstance(metadata, dict) or metadata.get("format") is None:
        raise CheckpointError(f"expected a checkpoint written by alloygen, {path!r} carries no alloygen metadata")
    version, known = metadata.get("version", 0), version_of(str(metadata["format"]))
    if not isinstance(version, int) or version > known:
        raise CheckpointError(
            f"expected a checkpoint of format version {known} or older, got version {version} in {path!r}. Update alloygen."
        )
