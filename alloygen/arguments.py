"""Checks of what callers pass, each told once: expected, got, remedy. Used before any work is done.

The rule of seeds, the same for every public function: ``seed=0`` unless another is given, so that the same call gives the same
result; a whole number from 0 to 2**63 - 1; ``seed=None`` takes a fresh one from the operating system, which the result records
(``info["seed"]``), so that any run can be repeated. Models and Monte Carlo then give the same bits for any number of threads, any
executor and any ``batch``, on one machine; another processor or another torch may round differently. Of a model's n configurations the
first m are those of n = m. Replica exchange keeps this too, as long as no precision is asked for; copies of a Metropolis run do not, as
n shares itself out among them.
"""

from __future__ import annotations

import difflib
import os
import secrets
from collections.abc import Collection, Iterable, Mapping
from dataclasses import fields
from numbers import Integral, Real
from typing import Any, SupportsInt, TypeVar, cast

from alloygen.errors import AlloygenError

LARGEST_SEED = 2**63 - 1


def whole_number(value: object, name: str, least: int = 1, most: int | None = None) -> int:
    """``value`` as an int: a whole number (an int, a numpy integer, a float such as 1e3) of at least ``least``.

    Raises AlloygenError for anything else: None, nan, infinities, fractions, booleans, text.

    Examples
    --------
    >>> whole_number(1e3, "n")
    1000
    >>> whole_number(1.5, "n")
    Traceback (most recent call last):
    alloygen.errors.AlloygenError: expected n as a whole number of at least 1, got 1.5
    """
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        value = value.item()
    exact = isinstance(value, Integral) or (isinstance(value, Real) and float(value).is_integer())
    number = int(cast(SupportsInt, value)) if exact and not isinstance(value, bool) else None
    if number is None or number < least or (most is not None and number > most):
        limits = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise AlloygenError(f"expected {name} as a whole number {limits}, got {value!r}")
    return number


def positive(value: object, name: str, unit: str = "") -> float:
    """``value`` as a finite float above 0.

    Examples
    --------
    >>> positive(6, "spacing", "nats")
    6.0
    """
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < float(value) < float("inf"):
        raise AlloygenError(f"expected {name} as a finite number above 0{' ' + unit if unit else ''}, got {value!r}")
    return float(value)


def finite(value: object, name: str) -> float:
    """``value`` as a finite float.

    Examples
    --------
    >>> finite(-1, "J")
    -1.0
    """
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, Real) or not abs(float(value)) < float("inf"):
        raise AlloygenError(f"expected {name} as a finite number, got {value!r}")
    return float(value)


def fraction(value: object, name: str) -> float:
    """``value`` as a float above 0 and below 1.

    Examples
    --------
    >>> fraction(0.8, "flatness")
    0.8
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < float(value) < 1:
        raise AlloygenError(f"expected {name} as a number above 0 and below 1, got {value!r}")
    return float(value)


def path_name(value: object, name: str = "a path") -> str:
    """A path as text; AlloygenError for what is none.

    Examples
    --------
    >>> path_name(3, "checkpoint")
    Traceback (most recent call last):
    alloygen.errors.AlloygenError: expected checkpoint as a path, text or pathlib.Path, got 3
    """
    found = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    if not isinstance(found, str) or "\0" in found:
        raise AlloygenError(f"expected {name} as a path, text or pathlib.Path, got {value!r}")
    return found


def one_of(value: object, name: str, allowed: Collection) -> None:
    """Refuse a value that is not among those allowed, which the message lists."""
    if not any(value is a or (type(value) is type(a) and value == a) for a in allowed):
        raise AlloygenError(f"expected {name} as one of {', '.join(map(repr, allowed))}, got {value!r}")


def seed_from(seed: object) -> int:
    """The seed of a run as an int from 0 to 2**63 - 1; a fresh one for None.

    Examples
    --------
    >>> seed_from(7), 0 <= seed_from(None) < 2**63
    (7, True)
    """
    if seed is None:
        return secrets.randbelow(2**31)
    return whole_number(seed, "seed", 0, LARGEST_SEED)


R = TypeVar("R")


def record(kind: type[R], options: Mapping[str, Any], others: Collection[str] = ()) -> R:
    """A record made of options by name, such as the further keywords of a function that has ``others`` of its own.

    Raises AlloygenError for a name that nobody knows, with the nearest that is known.

    Examples
    --------
    >>> from alloygen.runtime.job import Job
    >>> record(Job, {"thread": 2})
    Traceback (most recent call last):
    alloygen.errors.AlloygenError: expected options among checkpoint, executor, progress, save_every, threads, got 'thread'; did you mean threads?
    """
    known = {f.name for f in fields(kind)} | set(others)  # type: ignore[arg-type]
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, sorted(known), 1)
            meant = f"; did you mean {near[0]}?" if near else ""
            raise AlloygenError(f"expected options among {', '.join(sorted(known))}, got {name!r}{meant}")
    return kind(**options)


def settings(value: R | None, kind: type[R], name: str) -> R:
    """``value``, a record of this kind; the record with its defaults for None. AlloygenError for anything else.

    Examples
    --------
    >>> from alloygen.runtime.job import Job
    >>> settings(3, Job, "job")
    Traceback (most recent call last):
    alloygen.errors.AlloygenError: expected job as a Job, such as Job(), got 3
    """
    if value is None:
        return kind()
    if not isinstance(value, kind):
        raise AlloygenError(f"expected {name} as a {kind.__name__}, such as {kind.__name__}(), got {value!r}")
    return value


def join(names: Iterable[object], most: int | None = None) -> str:
    """Names as messages list them, the first ``most`` and how many more there are.

    Examples
    --------
    >>> join(["Cu", "Au"]), join(range(9), 3)
    ('Cu, Au', '0, 1, 2 and 6 more')
    """
    rows = list(map(str, names))
    more = f" and {len(rows) - most} more" if most is not None and len(rows) > most else ""
    return ", ".join(rows[:most]) + more
