"""How a run is run, and the one loop of all long work: a bar, Ctrl-C between two steps, the state in a file, going on from it.

Nothing of a :class:`Job` changes a number: the same call with another job gives the same bits.

Examples
--------
A sum that can be stopped at any step and goes on from there:

>>> import numpy as np
>>> class Sum:
...     def __init__(self):
...         self.terms, self.total = 0, 0.0
...     def identity(self):
...         return {"format": "a sum", "version": 1}
...     def state(self):
...         return {"total": np.array([self.total])}, {"terms": self.terms}
...     def restore(self, arrays, progress):
...         self.total, self.terms = float(arrays["total"][0]), progress["terms"]
>>> work = Sum()
>>> with Job().loop(work, "sum", total=4) as loop:
...     while work.terms < 4:
...         work.total += work.terms
...         work.terms += 1
...         loop.tick(work.terms)
>>> work.total
6.0
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, Protocol

from alloygen.arguments import path_name, positive, whole_number
from alloygen.errors import AlloygenError, NotSaved
from alloygen.runtime.atomic import clean, require_writable
from alloygen.runtime.interrupt import interrupt_flag
from alloygen.runtime.lock import only_writer
from alloygen.runtime.progress import tqdm
from alloygen.runtime.resume import REMEDY, put_back, read_run, write_run
from alloygen.types import PathLike

if TYPE_CHECKING:
    import numpy as np
    from tqdm import tqdm as Bar


class Resumable(Protocol):
    """Work that can be put down between two steps and taken up again, bit for bit."""

    def identity(self) -> dict:
        """All that fixes its numbers but how far it goes (:func:`alloygen.runtime.resume.identity`)."""

    def state(self) -> tuple[Mapping[str, Any], dict]:
        """Arrays or tensors by name, and what else says how far it has come, as plain values."""

    def restore(self, arrays: dict[str, np.ndarray], progress: dict) -> None:
        """Put back what ``state`` gave, after a look at it; unsigned 64-bit integers come back as signed ones.

        Raises AlloygenError for what no state of this run can be: :func:`alloygen.runtime.tensors.matching` looks at names, kinds and shapes.
        """


@dataclass(frozen=True, kw_only=True)
class Job:
    """How a run is run; no number depends on it.

    threads : of Monte Carlo; models use those of torch
    executor : a ``concurrent.futures.Executor`` (processes, threads, Dask, MPI) that draws the conditions of a neural scan side by side
    checkpoint : file that holds the run; a run that finds its own file goes on from there, bit for bit, and one of another run is refused
    save_every : seconds between writings of the checkpoint; it is also written at Ctrl-C and at the end
    progress : show a bar with what is known of the run and the time left

    Raises AlloygenError for what cannot be, a checkpoint that cannot be written among it, before any work.

    Examples
    --------
    >>> Job(threads=2)
    Job(threads=2, executor=None, checkpoint=None, save_every=60.0, progress=False)
    """

    threads: int = 1
    executor: Executor | None = None
    checkpoint: PathLike | None = None
    save_every: float = 60.0
    progress: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "threads", whole_number(self.threads, "threads"))
        if not (isinstance(self.save_every, Real) and self.save_every == 0):
            positive(self.save_every, "save_every", "seconds")
        if (
            self.executor is not None
            and not isinstance(self.executor, Executor)
            and not hasattr(self.executor, "submit")
        ):
            raise AlloygenError(
                f"expected executor as a concurrent.futures.Executor, such as ProcessPoolExecutor(4), got {self.executor!r}"
            )
        if self.checkpoint is not None:
            path_name(self.checkpoint, "checkpoint")
            require_writable(self.checkpoint)

    @contextmanager
    def loop(
        self,
        work: Resumable,
        title: str,
        total: int | None = None,
        unit: str = "step",
        remedy: str = REMEDY,
        expected: int = 0,
        **bar: Any,
    ) -> Iterator[Loop]:
        """The loop of ``work``, restored from the checkpoint where there is one, and written when the loop ends.

        total, unit, bar : of the bar, as tqdm has them; remedy : of the error that says that the file is another run's
        expected : bytes of the state at the end, where it grows

        An error or a second Ctrl-C between two ticks leaves the file of the last one, which is whole. A file that cannot be written any more
        (a full disk) stops nothing: a NotSaved warning tells of it, it is tried again, and the run goes on to its result.

        Raises CheckpointError for a file that is damaged, another run's, or being written by one; AlloygenError where there is no room.
        """
        run = work.identity()
        with (
            only_writer(self.checkpoint),
            interrupt_flag() as flag,
            tqdm(total=total, desc=title, unit=unit, leave=False, disable=not self.progress, **bar) as shown,
        ):
            if self.checkpoint is not None:
                if (found := read_run(self.checkpoint, run, remedy)) is not None:
                    put_back(work, self.checkpoint, *found)
                clean(Path(os.path.realpath(self.checkpoint)))
                require_writable(self.checkpoint, size=max(expected, size_of(work)))
            loop = Loop(self, work, run, shown, unit, flag)
            yield loop
            loop.save()


class Loop:
    """What the body of a loop holds: ``tick`` after each step, between two of which the state is whole."""

    def __init__(self, job: Job, work: Resumable, run: dict, bar: Bar, unit: str, flag: Event):
        self.job, self.work, self.run, self.bar, self.unit, self.flag = job, work, run, bar, unit, flag
        self.saved, self.failed = time.monotonic(), ""

    @property
    def stopped(self) -> bool:
        """Whether Ctrl-C was pressed: for threads of a long step, which may end it early where that leaves a whole state."""
        return self.flag.is_set()

    def tick(self, done: int, total: int | None = None, shown: Mapping[str, str] | None = None) -> None:
        """``done`` steps are done, out of ``total`` if that has changed; ``shown`` goes beside the bar.

        Saves where it is time, and stops here after Ctrl-C.

        Raises KeyboardInterrupt once everything is saved.
        """
        self.bar.total = self.bar.total if total is None else total
        if shown and self.job.progress:
            self.bar.set_postfix(dict(shown))
        self.bar.update(done - self.bar.n)
        if self.stopped:
            self.save()
            where = self.job.checkpoint
            on = f"; a run with the checkpoint {os.fspath(where)!r} goes on from there" if where is not None else ""
            if self.failed:
                on = f"; the checkpoint {os.fspath(where or '')!r} could not be written ({self.failed}) and holds an earlier state, if any"
            raise KeyboardInterrupt(f"stopped after {done} {self.unit}s{on}")
        if time.monotonic() - self.saved > self.job.save_every:
            self.save()

    def save(self) -> None:
        """Write the state, if there is a file for it, or say that it cannot be written."""
        if self.job.checkpoint is not None:
            arrays, progress = self.work.state()
            try:
                write_run(self.job.checkpoint, dict(arrays), self.run, progress)
                self.failed = ""
            except (OSError, AlloygenError) as error:  # a full disk, a folder that went away: the run counts
                if not self.failed:
                    warnings.warn(
                        f"the checkpoint {os.fspath(self.job.checkpoint)!r} could not be written ({error}); the run goes on in memory and tries "
                        "again. Make room, or let it end: its result does not depend on the file",
                        NotSaved,
                        stacklevel=3,
                    )
                self.failed = str(error) or type(error).__name__
        self.saved = time.monotonic()


def size_of(work: Resumable) -> int:
    """Bytes of its state."""
    return sum(int(a.nbytes) for a in work.state()[0].values())
