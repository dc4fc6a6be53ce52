"""Random numbers inside compiled kernels: SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).

One 64-bit state per chain, held in an array by the caller, so that a run is reproducible by its seed and goes on bit for
bit from a checkpoint. In a kernel: ``s = step(s)``, then ``mix(s)`` is the next 64-bit output.
"""

from __future__ import annotations

import numpy as np

from alloygen.compiled import njit
from alloygen.types import Index

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_A, _B = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_11, _27, _30, _31, _32 = (np.uint64(k) for k in (11, 27, 30, 31, 32))
_LOW = np.uint64(0xFFFFFFFF)


@njit(inline="always")
def step(s: np.uint64) -> np.uint64:
    """The state after s."""
    return s + _GAMMA


@njit(inline="always")
def mix(s: np.uint64) -> np.uint64:
    """64 random bits from a state."""
    z = (s ^ (s >> _30)) * _A
    z = (z ^ (z >> _27)) * _B
    return z ^ (z >> _31)


@njit(inline="always")
def uniform(bits: np.uint64) -> float:
    """Uniform in [0, 1) with 53 bits."""
    return np.float64(np.int64(bits >> _11)) * (1.0 / 9007199254740992.0)


@njit(inline="always")
def below(bits: np.uint64, n: Index) -> np.int64:
    """An integer in [0, n), n < 2^32, from the high half of the bits; its bias of n / 2^32 is the same for every move."""
    return np.int64(((bits >> _32) * np.uint64(n)) >> _32)


@njit(inline="always")
def below_low(bits: np.uint64, n: Index) -> np.int64:
    """The same from the low half: independent of :func:`below` of the same bits."""
    return np.int64(((bits & _LOW) * np.uint64(n)) >> _32)


def seeds(seed: int | list[int], n: int) -> np.ndarray:
    """``n`` starting states from one seed, uint64."""
    return np.random.SeedSequence(seed).generate_state(n, np.uint64)
