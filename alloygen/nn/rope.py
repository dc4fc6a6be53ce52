"""Rotary position embedding on a periodic lattice of any dimension.

A pair of channels with wave vector k is turned by the angle k.r of its site, so that attention depends on r_q - r_k
only (Su et al., RoFormer, 2021). On a torus the wave vectors are quantised: k.r = 2 pi m.f with integers m and
supercell fractions f, which makes the embedding exactly periodic and the network equivariant to lattice translations.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import torch

from alloygen.arrays import as_tensor
from alloygen.lattice import Lattice, Primitive


def wave_vectors(lattice: Lattice) -> np.ndarray:
    """Integer vectors m (n, 3) of the distinct nonzero wave vectors of the supercell, one of each +-k, longest waves first."""
    dual = Lattice(Primitive(np.eye(3), np.zeros((1, 3)), (("x",),)), lattice.matrix.T)
    reciprocal = np.linalg.inv(lattice.cell).T
    shifts = np.array(list(itertools.product((-1, 0, 1), repeat=3))) @ lattice.matrix.T
    chosen = {}
    for m in dual.offsets:
        images = m + shifts
        length = np.linalg.norm(images @ reciprocal, axis=1).round(9)
        best = images[np.lexsort((*images.T[::-1], length))[0]]
        pair = frozenset((int(dual.index(m, 0)), int(dual.index(-m, 0))))
        if m.any() and pair not in chosen:
            chosen[pair] = (length.min(), tuple(best))
    rows = [m for _, m in sorted(chosen.values())]
    return np.array(rows, dtype=np.int64).reshape(-1, 3)


def axis_wave_vectors(lattice: Lattice) -> np.ndarray:
    """Integer vectors m (n, 3) of the waves 2 pi n / L along one supercell axis at a time, n = 1 .. L / 2, small n first.

    The choice of Du et al. (arXiv:2603.14695): "quantised frequencies, independently for each lattice dimension".
    """
    cells = len(lattice.offsets) // lattice.n_sublattices
    # the length of an axis is the number of cells along it before the supercell repeats (Smith's way for skewed cells)
    lengths = [
        next(k for k in range(1, cells + 1) if (k * row % cells == 0).all())
        for row in np.rint(np.linalg.inv(lattice.matrix) * cells).astype(np.int64).T
    ]
    rows = [(n, axis) for axis, length in enumerate(lengths) for n in range(1, length // 2 + 1)]
    return np.array([n * np.eye(3, dtype=np.int64)[a] for n, a in sorted(rows)], dtype=np.int64).reshape(-1, 3)


def rotations(
    lattice: Lattice, heads: int, width: int, waves: Callable[[Lattice], np.ndarray] = wave_vectors
) -> tuple[torch.Tensor, torch.Tensor]:
    """cos and sin (N, heads, width // 2) of the angles of each site; wave vectors are dealt to heads in turn."""
    m = waves(lattice)
    pairs = width // 2
    if len(m) == 0:
        m = np.zeros((1, 3), dtype=np.int64)
    pick = np.arange(heads * pairs) % len(m)
    angle = 2 * np.pi * lattice.fractional @ m[pick].T
    angle = as_tensor(angle.reshape(lattice.n_sites, heads, pairs))
    return angle.cos().float(), angle.sin().float()


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Turn x (..., heads, width) by angles (..., heads, width // 2)."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)
