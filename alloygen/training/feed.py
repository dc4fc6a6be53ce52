"""Batches that other processes make ahead of time, in sequence.

Number k of the requests is made in process k modulo the number of processes, from a generator of its own (:func:`generator_of`), so that
the same requests give the same batches. The processes are those of ``torch.utils.data.DataLoader``.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Generator, Iterable
from typing import Any, TypeVar

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from alloygen.errors import AlloygenError

AHEAD = 6  # batches that each process makes in advance; one that makes an alloy between two keeps the others waiting otherwise

Made = TypeVar("Made")


class _Maker(Dataset):
    """What the processes hold: a function of a request."""

    def __init__(self, make: Callable[[Any], Any]):
        self.make = make

    def __getitem__(self, request: Any) -> Any:
        return self.make(request)


def feed(make: Callable[[Any], Made], requests: Iterable, workers: int) -> Generator[Made, None, None]:
    """``make(request)`` of all requests in sequence, made in ``workers`` processes, or here and when asked for where there are none.

    ``make`` and the requests travel to the processes by pickle; a request is taken up to ``workers * AHEAD`` places before its turn.
    Tensors in requests and in what is made must be no views of tensors that are kept: their memory is moved to where both processes see it.
    The processes end when the generator is closed.

    Examples
    --------
    >>> list(feed(abs, [-2, 3], workers=0))
    [2, 3]
    """
    if not workers:
        yield from map(make, requests)
    else:
        yield from _from_processes(make, requests, workers)


def _from_processes(make: Callable[[Any], Made], requests: Iterable, workers: int) -> Generator[Made, None, None]:
    loader = DataLoader(
        _Maker(make),
        batch_size=None,
        sampler=requests,
        collate_fn=_as_it_is,
        num_workers=workers,
        prefetch_factor=AHEAD,
        multiprocessing_context="spawn",
        worker_init_fn=_alone,
        generator=torch.Generator(),
    )
    try:
        yield from loader
    except RuntimeError as error:
        if "exited unexpectedly" not in str(error):
            raise
        raise AlloygenError(
            f"expected {workers} processes that make batches, got one that ended ({error}): a script runs anew in each of them, so what it does has to "
            "stand below `if __name__ == '__main__':`; or they were killed, for lack of memory perhaps. workers=0 does without them."
        ) from error


def generator_of(seed: int, number: int) -> torch.Generator:
    """The generator of batch ``number`` of a run.

    Examples
    --------
    >>> generator_of(0, 5).initial_seed() == generator_of(0, 5).initial_seed() != generator_of(0, 6).initial_seed()
    True
    """
    (state,) = np.random.SeedSequence((seed, number)).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


def _as_it_is(made: Made) -> Made:
    return made


def _alone(number: int) -> None:
    """A process that makes batches has one thread, and leaves Ctrl-C to the run."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
