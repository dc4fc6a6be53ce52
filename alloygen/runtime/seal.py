"""Checksums that files carry inside, so that they are known to be whole before they are believed.

A file of tensors has two, over its header and over all of it, each counted with zeros in the place of both; a document has one, over
its contents in a fixed order (:func:`document_digest`).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from typing import BinaryIO, NamedTuple

from alloygen.errors import CheckpointError

KEYS = ("alloygen_sha256", "alloygen_header_sha256")  # of the whole file, and of its header alone
EMPTY = "0" * 64
LARGEST_HEADER = 100_000_000  # bytes, as safetensors has it
CHUNK = 1 << 20


class Header(NamedTuple):
    """The first bytes of a file of tensors: their text, the seals in it by key, and how long the file is."""

    raw: bytes
    seals: dict[str, str]
    size: int


def read_header(file: BinaryIO, path: str) -> Header:
    """The header of a safetensors file; CheckpointError for what is none, before anything of its size is allocated."""
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(8), "little")
    if size < 10 or not 2 <= length <= min(LARGEST_HEADER, size - 8):
        raise damaged(path, f"a header of {length} bytes in a file of {size}")
    raw = file.read(length)
    try:
        found = json.loads(raw.decode())
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"a header that is no JSON: {str(error)[:80]}") from None
    about = found.get("__metadata__", {}) if isinstance(found, dict) else None
    if not isinstance(about, dict):
        raise damaged(path, "a header without metadata")
    return Header(raw, {k: str(about[k]) for k in KEYS if k in about}, size)


def damaged(path: str, got: str) -> CheckpointError:
    """The error of a file that is not as it was written."""
    return CheckpointError(
        f"expected a whole safetensors checkpoint at {path!r}, got a damaged or truncated file ({got}). Copy it again or make it anew."
    )


def seal(path: str) -> None:
    """Put both checksums in the place of the zeros that a file was written with."""
    with open(path, "r+b") as file:
        header = read_header(file, path)
        digests = _digests(file, header)
        for key, digest in digests.items():
            at = header.raw.index(EMPTY.encode(), header.raw.index(f'"{key}"'.encode()))
            file.seek(8 + at)
            file.write(digest.encode())


def require_sealed(path: str, whole: bool = True) -> None:
    """CheckpointError where a file is not the one that was sealed; ``whole`` False looks at its header alone.

    Files without seals, of older versions, pass: see :func:`alloygen.runtime.tensors.read_tensors`.
    """
    with open(path, "rb") as file:
        header = read_header(file, path)
        if not header.seals:
            return
        found = _digests(file, header, whole)
    if set(header.seals) != set(KEYS) or any(header.seals[k] != v for k, v in found.items()):
        raise damaged(path, "contents that are not those of its checksum")


def _digests(file: BinaryIO, header: Header, whole: bool = True) -> dict[str, str]:
    raw = header.raw
    for digest in header.seals.values():
        raw = raw.replace(f'"{digest}"'.encode(), f'"{EMPTY}"'.encode(), 1)
    start = hashlib.sha256(len(header.raw).to_bytes(8, "little") + raw)
    out = {KEYS[1]: start.hexdigest()}
    if whole:
        file.seek(8 + len(header.raw))
        while chunk := file.read(CHUNK):
            start.update(chunk)
        out[KEYS[0]] = start.hexdigest()
    return out


def document_digest(content: Mapping) -> str:
    """SHA-256 of plain values (dicts, lists, numbers, text), whatever the order of keys.

    Examples
    --------
    >>> document_digest({"a": 1, "b": [0.1]}) == document_digest({"b": [0.1], "a": 1})
    True
    """
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
