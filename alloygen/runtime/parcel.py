"""One large object for the many tasks of an executor: written to a file once, and read once by each process that can see it."""

from __future__ import annotations

import hashlib
import pickle
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_OPENED: dict[str, Any] = {}  # the last one in a worker; in the process that sends it, for tasks of its own threads


@dataclass(frozen=True)
class Parcel:
    """What a task carries in place of the object.

    digest : SHA-256 of the file, so that no other is taken for it; path : where it lies, "" where the object could not be written
    """

    digest: str
    path: str

    def opened(self, given: Any = None) -> Any:
        """The object, in a worker: as it came with the task, from an earlier task, or from the file; None where none of these is there."""
        found = _OPENED.get(self.digest) if given is None else given
        found = self._read() if found is None else found
        if found is not None and self.digest not in _OPENED:
            _OPENED.clear()
            _OPENED[self.digest] = found
        return found

    def _read(self) -> Any:
        try:
            raw = Path(self.path).read_bytes()
        except OSError:  # on another machine
            return None
        return pickle.loads(raw) if hashlib.sha256(raw).hexdigest() == self.digest else None


@contextmanager
def parcel_of(thing: Any) -> Iterator[Parcel]:
    """A parcel of ``thing``, whose file is there for as long as the block runs.

    Examples
    --------
    >>> with parcel_of([1, 2]) as parcel:
    ...     parcel.opened(), parcel._read()
    ([1, 2], [1, 2])
    >>> parcel.opened() is None
    True
    """
    with tempfile.TemporaryDirectory(prefix="alloygen_") as folder:
        parcel = _written(thing, Path(folder) / "parcel.pickle")
        _OPENED[parcel.digest] = thing
        try:
            yield parcel
        finally:
            _OPENED.pop(parcel.digest, None)


def _written(thing: Any, path: Path) -> Parcel:
    try:
        raw = pickle.dumps(thing)
        path.write_bytes(raw)
    except Exception:  # a class that an executor may know how to send and pickle does not; a full disk
        return Parcel(secrets.token_hex(16), "")
    return Parcel(hashlib.sha256(raw).hexdigest(), str(path))
