"""Runs that go on: what fixes a run, and the one file that holds it. Every resumable run reads and writes through here.

A run is known by everything that fixes its law and its stream of random numbers: Hamiltonian, supercell, conditions, start, held
sites, seed and settings. How long it goes on is not part of it. Arrays count by a digest of their contents.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from alloygen.arrays import as_array
from alloygen.errors import AlloygenError, CheckpointError
from alloygen.runtime.documents import FAULTS
from alloygen.runtime.tensors import read_tensors, version_of, write_tensors
from alloygen.types import PathLike

if TYPE_CHECKING:
    import torch

    from alloygen.lattice import Lattice


class Law(Protocol):
    """What a run needs to know of a Hamiltonian on its supercell."""

    @property
    def fingerprint(self) -> str: ...
    @property
    def lattice(self) -> Lattice: ...


class Restorable(Protocol):
    """Work that takes back the state that it was in, after a look at it: AlloygenError, or any other, for one that it cannot have."""

    def restore(self, arrays: dict[str, np.ndarray], progress: dict) -> None: ...


SHOWN = 12  # numbers of an array that are written out; longer ones are a digest
REMEDY = "Give the same arguments to go on with that run, or another path to start anew."


def digest(array: np.ndarray | torch.Tensor) -> str:
    """Kind, shape and SHA-256 (16 hex digits) of the contents of an array or tensor.

    Examples
    --------
    >>> digest(np.zeros((2, 3), dtype=np.int8))
    'int8 (2, 3) b0f66adc83641586'
    """
    a = np.ascontiguousarray(as_array(array))
    return f"{a.dtype} {a.shape} {hashlib.sha256(a.tobytes()).hexdigest()[:16]}"


def identity(kind: str, hamiltonian: Law | None = None, **facts: object) -> dict:
    """What fixes a run, as plain values that JSON keeps: its kind, the Hamiltonian on its supercell, and ``facts`` by name.

    Facts may be numbers, text, None, arrays or tensors (by their contents), and lists and dicts of these.

    Examples
    --------
    >>> from alloygen.hamiltonian.ising import ising
    >>> identity("a run", ising(3), seed=1, start=np.zeros(9))["start"]
    [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    """
    out = {"format": f"alloygen {kind}", "version": version_of(f"alloygen {kind}")}
    if hamiltonian is not None:
        lattice = hamiltonian.lattice
        out |= {"hamiltonian": hamiltonian.fingerprint, "supercell": lattice.matrix.tolist(), "sites": lattice.n_sites}
    return out | {k: _plain(v) for k, v in facts.items()}


def _plain(value):
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) or hasattr(value, "detach"):
        return value.tolist() if np.prod(value.shape) <= SHOWN else digest(value)
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value


def require_same_run(path: PathLike, expected: dict, got: dict, remedy: str = REMEDY) -> None:
    """CheckpointError that names what differs between this run and the one of a file; a missing fact differs as well.

    Examples
    --------
    >>> require_same_run("run.st", {"seed": 1, "n": 3}, {"seed": 2, "n": 3})
    Traceback (most recent call last):
    alloygen.errors.CheckpointError: expected the checkpoint of this run, got that of another in 'run.st': seed: expected 1, got 2. \
Give the same arguments to go on with that run, or another path to start anew.
    """
    differ = [k for k in expected | got if k not in expected or k not in got or expected[k] != got[k]]
    if differ:
        lines = [f"{k}: expected {_short(expected.get(k))}, got {_short(got.get(k))}" for k in differ[:4]]
        more = f"; and {len(differ) - 4} more" if len(differ) > 4 else ""
        raise CheckpointError(
            f"expected the checkpoint of this run, got that of another in {os.fspath(path)!r}: {'; '.join(lines)}{more}. {remedy}"
        )


def _short(value) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:80]} ... {text[-30:]}"


def write_run(path: PathLike, arrays: dict, run: dict, progress: dict | None = None) -> None:
    """Write the state of a run, numpy arrays or tensors by name, with its identity and how far it has come."""
    meta = {"format": run["format"], "version": run["version"], "run": run, "progress": progress or {}}
    write_tensors(
        path,
        {k: v.view(np.int64) if isinstance(v, np.ndarray) and v.dtype == np.uint64 else v for k, v in arrays.items()},
        meta,
    )


def read_run(path: PathLike | None, run: dict, remedy: str = REMEDY) -> tuple[dict, dict] | None:
    """(arrays by name, progress) of the file of this run, or None where there is no file yet.

    Unsigned 64-bit integers come back as signed ones: view them. Raises CheckpointError for a damaged file and for one of
    another run, before anything else is done.
    """
    if path is None or not Path(path).exists():
        return None
    tensors, meta = read_tensors(path)
    found, progress = meta.get("run", {"format": meta["format"]}), meta.get("progress", {})
    if not isinstance(found, dict) or not isinstance(progress, dict):
        raise CheckpointError(
            f"expected the state of a run in {os.fspath(path)!r}, got metadata of another kind. {remedy}"
        )
    require_same_run(path, run, found, remedy)
    return {k: as_array(v) for k, v in tensors.items()}, progress


def put_back(work: Restorable, path: PathLike, arrays: dict[str, np.ndarray], progress: dict) -> None:
    """``work.restore``, whose complaints become a CheckpointError that names the file."""
    try:
        work.restore(arrays, progress)
    except FAULTS as error:
        kind = "" if isinstance(error, AlloygenError) else f"{type(error).__name__}: "
        raise CheckpointError(
            f"{os.fspath(path)}: expected the state of this run, got one that it cannot have ({kind}{str(error)[:400]}). Take another copy "
            "of the file, or another path to start anew."
        ) from error
