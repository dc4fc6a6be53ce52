"""Rows in blocks of fixed places and shapes, each on one thread of its own: the same bits on any number of threads.

A matrix product rounds differently for other shapes and when it is split between threads. So whatever must come out the same is
computed in blocks: rows 0 to 15, 16 to 31, 32 to 63, 64 to 127, and from there 128 at a time, the last one filled up with copies of its
first row, and inside a block torch works on one thread. The threads that torch may use in the calling thread
(``torch.get_num_threads``) take the blocks side by side. The result does not depend on their number, and the first m of n rows are
those of m rows alone. Another processor, or another torch, may round differently still.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import cast

import numpy as np
import torch

from alloygen.arguments import whole_number
from alloygen.conditions.record import Condition

SMALLEST, LARGEST = 16, 128


class _Place(threading.local):
    inside = False  # whether this thread is at work on a block


_place = _Place()
_lock = threading.Lock()


def _new_lock() -> None:
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_lock)  # another thread may have held it


def blocks(n: int, largest: int = LARGEST) -> Iterator[tuple[int, int]]:
    """(start, size) of the blocks that hold rows 0 to n - 1, none of more than ``largest`` rows.

    Examples
    --------
    >>> list(blocks(130))
    [(0, 16), (16, 16), (32, 32), (64, 64), (128, 128)]
    """
    start = 0
    while start < n:
        size = min(max(start, SMALLEST), largest)
        yield start, size
        start += size


def by_blocks(
    function: Callable,
    *rows: torch.Tensor | Condition | None,
    limit: int | None = None,
    done: Callable[[int], object] | None = None,
    largest: int = LARGEST,
):
    """function(*rows) block by block: ``rows`` are tensors (B, ...), Conditions or None; it returns one tensor or several.

    limit : rows in work at once, in whole blocks, called ``batch`` by those who draw; None for as many as there are threads
    done : called with the number of rows of each finished block
    largest : rows of the largest block, 16 times a power of two

    Within a block, and for tensors on another device, ``function`` is called at once.

    Examples
    --------
    >>> by_blocks(lambda x: 2 * x, torch.arange(3))
    tensor([0, 2, 4])
    """
    first = cast("torch.Tensor | Condition", rows[0])
    n, limit = len(first), None if limit is None else whole_number(limit, "batch")
    if _place.inside or n == 0 or first.device.type != "cpu":
        return function(*rows)

    def one(block: tuple[int, int]):
        start, size = block
        out = function(*(None if x is None else _filled(x[start : start + size], size) for x in rows))
        return tuple(x[: n - start] for x in out) if isinstance(out, tuple) else out[: n - start]

    parts = []
    for part in _side_by_side(one, n, limit, largest):
        parts.append(part)
        if done is not None:
            done(len(part[0] if isinstance(part, tuple) else part))
    if isinstance(parts[0], tuple):
        return tuple(torch.cat(x) for x in zip(*parts, strict=True))
    return torch.cat(parts)


def generators(generator: torch.Generator) -> Callable[[int], torch.Generator]:
    """One random number of ``generator`` made into a stream for every block: a function of where the block starts."""
    seed = int(torch.randint(2**63 - 1, (), generator=generator, device=generator.device))
    return lambda start: torch.Generator().manual_seed(derived_seed(seed, start))


def derived_seed(seed: int, *words: int) -> int:
    """A seed from 0 to 2**63 - 1 that depends on ``seed`` and on whole numbers that say what it is for."""
    return int(np.random.SeedSequence([seed, *words]).generate_state(1, np.uint64)[0]) >> 1


def _filled(rows: torch.Tensor | Condition, size: int) -> torch.Tensor | Condition:
    """``size`` rows: those given, then copies of the first."""
    index = torch.arange(size)
    return rows if len(rows) == size else rows[torch.where(index < len(rows), index, 0)]


def _side_by_side(function: Callable, n: int, limit: int | None, largest: int) -> Iterator:
    """function(block) of each block of n rows, in their order, on as many threads as torch may use here, each of them on one."""
    workers = torch.get_num_threads() if limit is None else min(torch.get_num_threads(), -(-limit // largest))
    if workers == 1 or n <= SMALLEST:
        for block in blocks(n, largest):
            with _alone():
                result = function(block)
            yield result
        return
    mode = _mode()
    waiting: deque[Future] = deque()

    def work(block):
        with _alone(), mode():
            return function(block)

    pool = ThreadPoolExecutor(workers, "alloygen", _set_threads_here, (1,))
    try:
        for block in blocks(n, largest):
            waiting.append(pool.submit(work, block))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _alone() -> Iterator[None]:
    """At work on a block: torch uses one thread for what the calling thread asks of it, and afterwards as many as before."""
    before = torch.get_num_threads()
    if before != 1:
        _set_threads_here(1)
    _place.inside = True
    try:
        yield
    finally:
        _place.inside = False
        if before != 1:
            _set_threads_here(before)


def _set_threads_here(n: int) -> None:
    """``torch.set_num_threads`` for the calling thread only. It sets the default of threads to come too, which is put back here, from a
    thread that has none of its own."""
    with _lock:
        default = _in_a_new_thread(torch.get_num_threads)
        torch.set_num_threads(n)
        _in_a_new_thread(lambda: torch.set_num_threads(default))


def _in_a_new_thread(function: Callable):
    out: list = []
    thread = threading.Thread(target=lambda: out.append(function()))
    thread.start()
    thread.join()
    return out[0]


def _mode() -> Callable:
    """What the calling thread has set of gradients and autocast, as a context for another thread."""
    inference, gradient = torch.is_inference_mode_enabled(), torch.is_grad_enabled()
    dtype, cast = torch.get_autocast_dtype("cpu"), torch.is_autocast_enabled("cpu")

    @contextmanager
    def enter():
        with (
            torch.inference_mode(inference),
            torch.set_grad_enabled(gradient),
            torch.autocast("cpu", dtype=dtype, enabled=cast),
        ):
            yield

    return enter
