"""Files that are either the old ones or the new ones, never half of either."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import socket
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from alloygen.errors import AlloygenError, NotSaved

DAY = 86400.0  # seconds, after which what another machine left is left for good


def _machine() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:4]


def temporary_name(path: Path) -> Path:
    """A fresh hidden name in the folder of ``path``, with the same suffix (libraries choose formats by it); it says who made it."""
    return path.with_name(f".{path.stem}.{_machine()}{os.getpid():08x}{secrets.token_hex(3)}{path.suffix}")


def clean(path: Path) -> None:
    """Remove what writers of ``path`` that were killed have left beside it: of processes of this machine that are no more, and a day old; the
    journals and locks that libraries keep beside a file are among it."""
    pattern = re.compile(
        rf"\.{re.escape(path.stem)}\.(?:([0-9a-f]{{4}})([0-9a-f]{{8}})[0-9a-f]{{6}}|[0-9a-f]{{12}}){re.escape(path.suffix)}(?:[-.][\w.-]*)?"
    )
    try:
        found = [(entry, match) for entry in os.scandir(path.parent) if (match := pattern.fullmatch(entry.name))]
        for entry, match in found:
            gone = match[1] == _machine() and not _alive(int(match[2], 16))
            if gone or time.time() - entry.stat(follow_symlinks=False).st_mtime > DAY:
                _remove(Path(entry.path))
    except OSError:  # no folder yet, or one that is not ours to clean
        return


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


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


def require_writable(path: str | os.PathLike, folder: bool = False, size: int = 0) -> None:
    """Find out before long work whether a file (or a ``folder``) can be written at ``path``; nothing is left behind.

    Raises :class:`AlloygenError` for a folder where a file is meant, for a place where the system lets nobody write, and for one
    without room for a file of ``size`` bytes: on the disk, or by the limit of the shell (``ulimit -f``).

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
        _create(trial)
        trial.unlink()
        room = min(shutil.disk_usage(there).free, _largest_file())
    except OSError as error:
        raise AlloygenError(
            f"expected a path that can be written, got {path} ({error.strerror}); choose another place"
        ) from None
    if room < max(size, 1):
        raise AlloygenError(
            f"expected room for {max(size, 1) / 1e6:.3g} MB at {path}, got {room / 1e6:.3g} MB (the disk, or `ulimit -f`); make room, or choose "
            "another place"
        )


def _create(path: Path) -> int:
    """Make an empty file and return its mode, which follows the umask."""
    fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        return os.fstat(fd).st_mode & 0o777
    finally:
        os.close(fd)


def _largest_file() -> float:
    """Bytes of a file, as far as the shell lets this process write one."""
    try:
        import resource
    except ImportError:  # not on Windows
        return float("inf")
    soft, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    return float("inf") if soft == resource.RLIM_INFINITY else float(soft)


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
    clean(path)
    part = temporary_name(path)
    try:
        mode = _create(part)
        part.unlink()
        yield part
        if not part.is_file():
            raise AlloygenError(f"expected a file to be written for {path}, got none")
        part.chmod(path.stat().st_mode & 0o777 if path.exists() else mode)
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
    clean(path)
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


def write_somewhere(write: Callable[[Path], object], path: str | os.PathLike) -> Path:
    """Write a result that took long, elsewhere where it cannot be written at ``path``; the path where it is.

    Elsewhere is the current folder, or else the temporary one of the system, under a fresh name; a NotSaved warning says so. Raises what
    ``write`` raised where it fails in all of them.

    Examples
    --------
    >>> target = Path(tempfile.mkdtemp()) / "result.txt"
    >>> write_somewhere(lambda p: p.write_text("all of it"), target) == target
    True
    """
    path = Path(path)
    try:
        write(path)
        return path
    except Exception as error:  # a full disk, a folder that went away, a database that will not: the result counts
        first = error
    for folder in (Path.cwd(), Path(tempfile.gettempdir())):
        other = folder / f"alloygen_{secrets.token_hex(4)}_{path.name}"
        try:
            write(other)
        except Exception:
            continue
        why = str(first) or type(first).__name__
        warnings.warn(f"could not write {path}: {why}; what was to be there is in {other}", NotSaved, stacklevel=3)
        return other
    raise first
