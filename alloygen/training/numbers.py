"""Numbers as a configuration writes them: lists, tables of from, to and step, and ranges."""

from __future__ import annotations

from typing import Any

import numpy as np

from alloygen.errors import ConfigError


def is_range(pair: Any) -> bool:
    """Is it [low, high] with low <= high?"""
    return isinstance(pair, list) and len(pair) == 2 and all(map(is_number, pair)) and pair[0] <= pair[1]


def is_supercell(repeats: Any) -> bool:
    """Are they three whole numbers of at least 1, or a 3x3 matrix of whole numbers?"""
    ints = lambda row: isinstance(row, list) and len(row) == 3 and all(type(n) is int for n in row)  # noqa: E731
    matrix = isinstance(repeats, list) and len(repeats) == 3 and all(map(ints, repeats))
    return matrix or (ints(repeats) and min(repeats) >= 1)


def expand(values: list) -> np.ndarray:
    """Numbers from a list of numbers and {from, to, step} tables (ends included), sorted, without repeats.

    Examples
    --------
    >>> expand([100, {"from": 200, "to": 300, "step": 50}]).tolist()
    [100.0, 200.0, 250.0, 300.0]
    """
    out = []
    for v in values:
        if isinstance(v, dict):
            if set(v) != {"from", "to", "step"} or not all(map(is_number, v.values())) or v["step"] <= 0:
                raise ConfigError(f"expected numbers or tables with from, to and step > 0, got {v!r}")
            n = round((v["to"] - v["from"]) / v["step"])
            if n > 100_000:
                raise ConfigError(f"expected a table of at most 100000 numbers, got {n} in {v!r}; take a larger step")
            out += [v["from"] + k * v["step"] for k in range(n + 1)]
        elif is_number(v):
            out.append(float(v))
        else:
            raise ConfigError(f"expected finite numbers or tables with from, to and step > 0, got {v!r}")
    return np.unique(np.round(np.array(out, dtype=float), 12))


def is_number(v: Any) -> bool:
    return isinstance(v, (int, float)) and not isinstance(v, bool) and bool(np.isfinite(v))
