"""The one border between arrays and tensors.

Samples, energies and weights are NumPy arrays: occupations int8, all else float64. So are Monte Carlo, exact sums, estimates and results.
Models, objectives and training are torch: occupations int64, since torch takes them as indices. What crosses goes through these functions.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import DTypeLike

from alloygen.types import ArrayLike

# What a function takes as arrays or as tensors, and returns as it came.
Numbers = TypeVar("Numbers", np.ndarray, torch.Tensor)


def as_array(x: ArrayLike | torch.Tensor, dtype: DTypeLike | None = None) -> np.ndarray:
    """An array of a tensor, off its graph and device, or of what NumPy makes one of; not copied where it need not be.

    Examples
    --------
    >>> as_array(torch.tensor([0, 1]), np.int8)
    array([0, 1], dtype=int8)
    """
    return np.asarray(x.detach().cpu().numpy() if isinstance(x, torch.Tensor) else x, dtype=dtype)


def as_tensor(
    x: ArrayLike | torch.Tensor, dtype: torch.dtype | None = None, device: torch.device | str | None = None
) -> torch.Tensor:
    """A tensor of an array, whole numbers as int64 unless another ``dtype`` is named; not copied where it need not be.

    Examples
    --------
    >>> as_tensor(np.array([0, 1], dtype=np.int8))
    tensor([0, 1])
    """
    if not isinstance(x, torch.Tensor):
        x = np.asarray(x)
        dtype = torch.int64 if dtype is None and x.dtype.kind in "iu" else dtype
    return torch.as_tensor(x, dtype=dtype, device=device)


def alike(found: torch.Tensor, given: Any) -> Any:
    """What was found, as a tensor where a tensor was given, else as an array.

    Examples
    --------
    >>> alike(torch.tensor([1.0]), np.zeros(1))
    array([1.], dtype=float32)
    """
    return found if isinstance(given, torch.Tensor) else as_array(found)
