"""Names of types that many signatures share, so that a signature stays short."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["ArrayLike", "Index", "Inefficiency", "PathLike", "Temperatures"]

PathLike: TypeAlias = str | os.PathLike[str]
# One temperature or several.
Temperatures: TypeAlias = float | Iterable[float]
# A site, a species or a number of them in a compiled kernel.
Index: TypeAlias = int | np.integer
# A statistical inefficiency, or a function that finds it for a series (n,).
Inefficiency: TypeAlias = float | Callable[[np.ndarray], float]
