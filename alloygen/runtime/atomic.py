"""Files that are either the old ones or the new ones, never half of either."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alloygen.errors import AlloygenError


def temporary_name(path: Path) -> Path:
    """A fresh hidden name in the folder of ``path``, with the same suffix (libraries choose formats by it)."""
    return path.with_name(f".{path.stem}.{secrets.token_hex(6)}{path.suffix}")


def _sync(path: Path) -> None:
    """Push a file (or, where the system allows it, a folder) to the disk."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:  # folders cannot be opened on Windows
        return
    try:
        os.fsync(fd)
    except OSError:
        if path.is_file():
            raise
    finally:
        os.close(fd)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def require_writable(path: str | os.PathLike, folder: bool = False) -> None:
    """Find out before long work whether a file (or a ``folder``) can be written at ``path``; nothing is left behind.

    Raises :class:`AlloygenError` for a folder where a file is meant, and for a place where the system lets nobody write.

    Examples
    --------
    >>> import tempfile
    >>> require_writable(Path(tempfile.mkdtemp()) / "new" / "result.txt")
    >>> require_writable(tempfile.gettempdir())  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    alloygen.errors.AlloygenError: expected the path of a file, got the folder ...
    """
    path = Path(os.path.realpath(path))
    try:
        if path.is_dir() and not folder:
            raise AlloygenError(f"expected the path of a file, got the folder {path}; add a file name")
        inside = path / "part" if folder else path  # a run lives inside its folder, a file lies beside what it replaces
        there = next(p for p in inside.parents if p.exists())
        trial = there / temporary_name(path).name
        os.close(os.open(trial, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        trial.unlink()
    except OSError as error:
        raise AlloygenError(
            f"expected a path that can be written, got {path} ({error.strerror}); choose another place"
        ) from None


@contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Write a file completely or not at all.

    Yields a temporary path in the same folder with the same suffix; the caller writes a *file* there. On success it
    is synced to disk and renamed to ``path`` by ``os.replace`` (atomic within a file system, POSIX rename(2)); on any
    exception, an interrupt included, it is removed and ``path`` is left as it was. Missing parent folders are made;
    a symbolic link keeps pointing where it did.

    Raises :class:`AlloygenError` when ``path`` is a folder or when nothing was written.

    Examples
    --------
    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "result.txt"
    >>> with atomic_path(target) as part:
    ...     _ = part.write_text("all of it")
    >>> target.read_text(), [p.name for p in target.parent.iterdir()]
    ('all of it', ['result.txt'])
    """
    path = Path(os.path.realpath(path))
    if path.is_dir():
        raise AlloygenError(f"expected the path of a file, got the folder {path}; add a file name")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = temporary_name(path)
    try:
        yield part
        if not part.is_file():
            raise AlloygenError(f"expected a file to be written for {path}, got none")
        if path.exists():
            shutil.copymode(path, part)
        _sync(part)
        os.replace(part, path)
    except BaseException:
        _remove(part)
        raise
    _sync(path.parent)


@contextmanager
def atomic_folder(path: str | os.PathLike) -> Iterator[Path]:
    """The same for a flat folder of files: yields a fresh folder beside ``path``, which replaces it on success.

    The old folder is moved aside only once the new one is complete, and moved back should the last step fail. The
    caller decides whether an old folder may be replaced at all.

    Examples
    --------
    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "set"
    >>> with atomic_folder(target) as part:
    ...     _ = (part / "a.txt").write_text("1")
    >>> [p.name for p in target.iterdir()]
    ['a.txt']
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    part, old = temporary_name(path), temporary_name(path)
    part.mkdir()
    try:
        yield part
        for file in part.iterdir():
            _sync(file)
        _sync(part)
        _swap(part, path, old)
    except BaseException:
        _remove(part)
        raise
    _sync(path.parent)
    _remove(old)


def _swap(part: Path, path: Path, old: Path) -> None:
    """``part`` takes the name ``path``; what was there is kept as ``old``, or put back when the renaming fails."""
    try:
        if path.exists():
            os.rename(path, old)
        os.rename(part, path)
    except BaseException:
        if old.exists() and not path.exists():
            os.rename(old, path)
        raise
