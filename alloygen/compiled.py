"""numba's ``njit`` with its cache on disk, or without one where no folder can be written.

numba keeps what it compiles beside the source, else in the user's cache folder, or where ``NUMBA_CACHE_DIR`` says. An installation that cannot be
written, used by somebody without a home, has none of them, and numba refuses to define the function at all. Here it is compiled anew in each process.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import numba

from alloygen.errors import NotSaved


def njit(**options: Any) -> Callable[[Callable], Any]:
    """A decorator that compiles, as ``numba.njit(cache=True, nogil=True, **options)`` does.

    Warns with NotSaved, once in a process, where nothing can be kept.

    Examples
    --------
    >>> @njit()
    ... def double(x):
    ...     return 2 * x
    >>> double(3)
    6
    """

    def compiled(function: Callable) -> Any:
        try:
            return numba.njit(cache=True, nogil=True, **options)(function)
        except RuntimeError as error:
            if "cannot cache" not in str(error):
                raise
            _warn()
            return numba.njit(nogil=True, **options)(function)

    return compiled


@cache
def _warn() -> None:
    warnings.warn(
        "compiled Monte Carlo cannot be kept: expected a folder for it that can be written, got none (neither the installation, nor the user's "
        "cache folder, nor NUMBA_CACHE_DIR). Each process compiles anew, which takes up to a minute; set NUMBA_CACHE_DIR to a folder of your own",
        NotSaved,
        stacklevel=4,
    )
