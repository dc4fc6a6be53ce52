"""Runs that are killed at random moments and taken up again, held against the run that nothing disturbed."""

from __future__ import annotations

import os
import signal
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from attacked import (
    cluster_run,
    mc_run,
    metadynamics_run,
    metropolis_run,
    packed_run,
    scan_run,
    train_run,
    wang_landau_run,
)
from trial import outcome_of

from alloygen.runtime.job import Job


def _with_file(run: Callable[..., str], **longer: object) -> Callable[[Path], str]:
    return lambda folder: run(Job(checkpoint=folder / "run.safetensors", save_every=1e-9), **longer)


RUNS: dict[str, Callable[[Path], str]] = {
    "replica exchange": _with_file(mc_run, n=60),
    "Metropolis": _with_file(metropolis_run, n=300),
    "cluster moves": _with_file(cluster_run, n=300),
    "packed Ising": _with_file(packed_run, n=3000),
    "Wang-Landau": _with_file(wang_landau_run, last=1e-6),
    "metadynamics": _with_file(metadynamics_run, production=100_000),
    "neural scan": _with_file(scan_run),
    "training": partial(train_run, steps=40, minutes=1e-9),
}


def _child(run: Callable[[Path], str], folder: Path, answer: Path) -> int:
    """The number of a process that runs, and writes what came of it to ``answer``; it leaves by itself, whenever it is interrupted."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    if pid := os.fork():
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        return pid
    try:
        warnings.simplefilter("ignore")
        for stream in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
        try:
            signal.signal(
                signal.SIGINT, signal.default_int_handler
            )  # a shell ignores it for what it starts in the background
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
            told = run(folder)
        except BaseException as error:
            told = f"stopped by {type(error).__name__}: {error}"
        answer.write_text(told)
    finally:
        os._exit(0)


def killed(run: Callable[[Path], str], how_many: int, seed: int = 0, seconds: float = 300.0) -> Counter:
    """How ``how_many`` kills went: SIGKILL, Ctrl-C, and two of them, at random moments of a run that is taken up each time.

    The longest wait follows the runs, shorter after one that ends before its signal and longer after a kill, so that it suits cores that become busy or free.
    Counted: "bit for bit", "another result", and for what should not be: "error" and "left behind" (temporary files after the last run).
    """
    rng, found, kills = np.random.default_rng(seed), Counter(), 0
    with tempfile.TemporaryDirectory() as top:
        began = time.monotonic()
        whole = outcome_of(lambda: run(_new(Path(top) / "whole")), seconds=seconds)
        length = time.monotonic() - began
        if whole.kind != "other":
            raise AssertionError(f"expected a run that ends, got {whole}")
        number, since = 0, 0
        while kills < how_many or since:
            folder, answer = _new(Path(top) / f"run{number}"), Path(top) / "answer"
            answer.unlink(missing_ok=True)
            pid = _child(run, folder, answer)
            ended = _strike(pid, rng, length) if kills < how_many else _end(pid)
            told = answer.read_text() if answer.exists() else ""
            if ended and told == whole.told:
                found["bit for bit"] += since
                length *= 0.7
                left = [p.name for p in folder.iterdir() if p.name.startswith(".")]
                found["left behind"] += len(left)
                if left:
                    print("     left behind:", *left, flush=True)
                number, since = number + 1, 0
            elif (
                ended
                and told
                and not told.startswith("stopped by KeyboardInterrupt")
                and "TrainingInterrupted" not in told
            ):
                found["error" if told.startswith("stopped") else "another result"] += max(since, 1)
                print("    ", told[:300], flush=True)
                number, since = number + 1, 0
            else:
                kills, since, length = kills + 1, since + 1, 1.1 * length
    return found


def _new(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


def _end(pid: int) -> bool:
    os.waitpid(pid, 0)
    return True


def _strike(pid: int, rng: np.random.Generator, length: float) -> bool:
    """Wait for a while and send a signal; whether the run had ended, or ends by itself afterwards."""
    time.sleep(float(rng.uniform(0, 0.8 * length)))
    kind = int(rng.integers(3))
    if os.waitpid(pid, os.WNOHANG)[0]:
        return True
    os.kill(pid, signal.SIGKILL if kind == 0 else signal.SIGINT)
    if kind == 2:
        time.sleep(float(rng.uniform(0, 0.02)))
        try:
            os.kill(pid, signal.SIGINT)
        except ProcessLookupError:
            pass
    _, status = os.waitpid(pid, 0)
    return not os.WIFSIGNALED(status)


def table(how_many: int, seed: int = 0) -> tuple[list[str], int]:
    """(lines of the table, how many kills went wrong)."""
    lines, wrong = (
        ["| run | kills | bit for bit | another result | error | left behind |", "|---|---|---|---|---|---|"],
        0,
    )
    for name, run in RUNS.items():
        found = killed(run, how_many, seed)
        bad = found["another result"] + found["error"] + found["left behind"]
        wrong += bad
        told = " | ".join(str(found[k]) for k in ("bit for bit", "another result", "error", "left behind"))
        lines.append(f"| {name} | {how_many} | {told} |")
        print(lines[-1], flush=True)
    return lines, wrong
