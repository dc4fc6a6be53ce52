"""JSON and TOML files, read with a limit of size, and with errors that name the file; documents that carry a checksum of themselves."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alloygen.arguments import path_name
from alloygen.errors import AlloygenError
from alloygen.runtime.atomic import atomic_path
from alloygen.runtime.seal import document_digest
from alloygen.types import PathLike

LARGEST = 64_000_000  # bytes of a file that people or other programs write
# What code raises that meets contents of another kind.
FAULTS = (
    ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, OSError, RecursionError, RuntimeError, TypeError, ValueError,
)  # fmt: skip
CHECKSUM = "sha256"
SEALED_FROM = 2  # the version of a document from which on it carries its checksum


def read_text(path: PathLike, what: str, error: type[AlloygenError] = AlloygenError, most: int = LARGEST) -> str:
    """The text of a file; an error of the class ``error`` where there is none, or more than ``most`` bytes of it.

    what : that was expected in it, such as "a TOML configuration"
    """
    name = path_name(path, what)
    if not os.path.isfile(name):
        got = "no file but a folder" if os.path.isdir(name) else "no file"
        raise error(f"expected {what} in {name!r}, found {got} there")
    try:
        if (size := os.path.getsize(name)) > most:
            raise error(
                f"expected {what} in {name!r}, got {size / 1e6:.0f} MB, more than the {most / 1e6:g} MB that are read"
            )
        return Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as why:
        raise error(f"expected {what} in {name!r}, got a file that cannot be read as text ({why})") from None


def read_document(
    path: PathLike,
    what: str,
    parse: Callable[[str], Any] = json.loads,
    error: type[AlloygenError] = AlloygenError,
    most: int = LARGEST,
) -> Any:
    """What a file holds, by ``json.loads`` or another parser of text.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.json"
    >>> _ = path.write_text("[1, 2")
    >>> read_document(path, "a list")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    alloygen.errors.AlloygenError: expected a list in '...a.json', got text that cannot be read (Expecting ',' delimiter: line 1 column 6 (char 5))
    """
    text = read_text(path, what, error, most)
    try:
        return parse(text)
    except (ValueError, RecursionError) as why:  # a decoder's errors are ValueErrors
        raise error(
            f"expected {what} in {os.fspath(path)!r}, got text that cannot be read ({str(why)[:200]})"
        ) from None


@contextmanager
def contents_of(
    path: PathLike | Sequence[PathLike], what: str, error: type[AlloygenError] = AlloygenError
) -> Iterator[None]:
    """Whatever goes wrong with what a file holds is told as one error that names the file and what was expected.

    path : of one file, of several, or none: [] for what did not come from a file

    Examples
    --------
    >>> with contents_of("a.json", "an expansion"):
    ...     {}["orbits"]
    Traceback (most recent call last):
    alloygen.errors.AlloygenError: expected an expansion in 'a.json', got something that is none (KeyError: 'orbits')
    """
    names = [os.fspath(p) for p in ([path] if isinstance(path, (str, os.PathLike)) else path)]
    try:
        yield
    except AlloygenError as why:
        if not names or any(name in str(why) for name in names):
            raise
        raise type(why)(f"{' and '.join(names)}: {why}") from None
    except FAULTS as why:
        where = f" in {' and '.join(map(repr, names))}" if names else ""
        raise error(
            f"expected {what}{where}, got something that is none ({type(why).__name__}: {str(why)[:200]})"
        ) from why


def sealed(content: Mapping, format: str) -> dict:
    """A document as it is written: its format, the version, what it holds, and the checksum of all that."""
    whole = json.loads(json.dumps({**content, "format": format, "version": SEALED_FROM}))
    return {**whole, CHECKSUM: document_digest(whole)}


def require_whole(document: object, format: str) -> dict:
    """What a document holds, without its checksum, which is looked at; documents of version 1 have none.

    Raises AlloygenError for another format or a newer version, and for contents that are not those of the checksum.

    Examples
    --------
    >>> require_whole(sealed({"a": 1}, "alloygen example") | {"a": 2}, "alloygen example")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    alloygen.errors.AlloygenError: expected the contents that the checksum is of, got others: ...
    """
    found = document.get("format") if isinstance(document, Mapping) else type(document).__name__
    version = document.get("version", 0) if isinstance(document, Mapping) else 0
    if not isinstance(document, Mapping) or found != format or version not in range(1, SEALED_FROM + 1):
        raise AlloygenError(
            f"expected the format {format!r} of version {SEALED_FROM} or older, got {found!r} of version {version!r}"
        )
    content = {k: v for k, v in document.items() if k != CHECKSUM}
    if (CHECKSUM in document or version >= SEALED_FROM) and document.get(CHECKSUM) != document_digest(content):
        raise AlloygenError(
            "expected the contents that the checksum is of, got others: the file was damaged or changed after it was written. Take the original; "
            f'for what was changed on purpose take out "{CHECKSUM}" and write "version": 1'
        )
    return content


def write_document(path: PathLike, content: Mapping, format: str) -> Path:
    """Write plain values as JSON with their checksum, whole or not at all."""
    with atomic_path(path) as part:
        part.write_text(json.dumps(sealed(content, format)) + "\n", encoding="utf-8")
    return Path(path)
