"""One case in a process of its own: what came of it, however it ended."""

from __future__ import annotations

import math
import os
import pickle
import select
import signal
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from alloygen.errors import AlloygenError

MEMORY = 6_000_000_000  # bytes that a case may take beyond what is there
KINDS = ("the same", "clear", "no name", "other", "raw", "hang", "crash")


@dataclass(frozen=True)
class Outcome:
    """kind : one of KINDS; told : the message, or what was returned."""

    kind: str
    told: Any = ""


def outcome_of(
    work: Callable[[], Any],
    names: tuple[str, ...] = ("",),
    same: Any = None,
    seconds: float = 30.0,
    clock: float | None = None,
) -> Outcome:
    """What comes of ``work()``, which returns something that can be pickled.

    names : of files, one of which a clear error has to hold; same : what an undisturbed one returns
    seconds : of a core, after which it hangs; clock : seconds by the clock, ten times as many by default, for cores that are shared
    """
    reads, writes = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reads)
        _child(work, writes, seconds)
    os.close(writes)
    kind, told = _answer(reads, pid, seconds, 10 * seconds if clock is None else clock)
    if kind == "returned":
        return Outcome("the same" if told == same else "other", told)
    return Outcome("no name", told) if kind == "clear" and not any(n in told for n in names) else Outcome(kind, told)


def _child(work: Callable[[], Any], writes: int, seconds: float) -> None:
    _limit(seconds)
    warnings.simplefilter("ignore")
    try:
        answer = ("returned", work())
    except AlloygenError as error:
        answer = ("clear", str(error))
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        answer = (
            "raw",
            f"{type(error).__name__}: {str(error)[:120]} in {where.filename.split('/')[-1]}:{where.lineno}",
        )
    with os.fdopen(writes, "wb") as pipe:
        pickle.dump(answer, pipe)
    os._exit(0)


def _limit(seconds: float) -> None:
    import faulthandler
    import resource

    faulthandler.disable()  # crashes are counted, not shown

    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, now + MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(seconds), resource.RLIM_INFINITY))
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)


def _answer(reads: int, pid: int, seconds: float, clock: float) -> tuple[str, Any]:
    end, parts = time.monotonic() + clock, []
    while (left := end - time.monotonic()) > 0:
        if not select.select([reads], [], [], left)[0]:
            break
        if not (part := os.read(reads, 1 << 20)):
            os.close(reads)
            status = os.waitpid(pid, 0)[1]
            if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU:
                return "hang", f"more than {seconds:g} s of a core"
            return pickle.loads(b"".join(parts)) if parts else ("crash", f"status {status}")
        parts.append(part)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(reads)
    return "hang", f"more than {clock:g} s"
