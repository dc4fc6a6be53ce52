"""Ctrl-C that waits for a safe moment."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interrupt_flag() -> Iterator[threading.Event]:
    """A flag that the first Ctrl-C sets, so that a step is never cut in half; the second one stops at once.

    Outside the main thread, where signals cannot be caught, the flag is never set.

    Examples
    --------
    >>> with interrupt_flag() as flag:
    ...     flag.is_set()
    False
    """
    flag = threading.Event()

    def handler(*_):
        if flag.is_set():
            raise KeyboardInterrupt
        flag.set()

    main = threading.current_thread() is threading.main_thread()
    old = signal.signal(signal.SIGINT, handler) if main else None
    try:
        yield flag
    finally:
        if main:
            signal.signal(signal.SIGINT, old)
