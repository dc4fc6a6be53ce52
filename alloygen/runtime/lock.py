"""One writer of a file at a time."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alloygen.errors import CheckpointError
from alloygen.types import PathLike

try:
    import fcntl
except ImportError:  # Windows: nothing is locked there
    fcntl = None  # type: ignore[assignment]


@contextmanager
def only_writer(path: PathLike | None) -> Iterator[None]:
    """Nobody else writes the file at ``path`` meanwhile, as far as they come through here. A kill leaves no lock that holds.

    The lock is on a file beside it, ``.NAME.lock``, which goes with the last writer. None locks nothing, and so does a file system that has no
    locks.

    Raises CheckpointError where another run, or another thread, is at it.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "run"
    >>> with only_writer(path), only_writer(path):  # doctest: +ELLIPSIS
    ...     pass
    Traceback (most recent call last):
    alloygen.errors.CheckpointError: expected a file that no other run writes, got .../run', which process ...
    """
    if path is None or fcntl is None:
        yield
        return
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f".{path.name}.lock")
    fd = _locked(lock, path)
    try:
        yield
    finally:
        if fd is not None:
            lock.unlink(missing_ok=True)  # while it is still ours
            os.close(fd)


def _locked(lock: Path, path: Path) -> int | None:
    """The locked file, open; None where the file system has no locks."""
    while True:
        fd = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            who = os.pread(fd, 200, 0).decode(errors="replace").strip() or "somebody"
            os.close(fd)
            raise CheckpointError(
                f"expected a file that no other run writes, got {str(path)!r}, which {who} is writing. Wait until it ends or stop it, or choose "
                "another path."
            ) from None
        except OSError:
            os.close(fd)
            return None
        try:
            same = os.fstat(fd).st_ino == os.stat(lock).st_ino
        except FileNotFoundError:  # its writer left and took it away between our two calls
            same = False
        if same:
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
            return fd
        os.close(fd)
