"""Which L1_2 or L1_0 variant is a configuration of the fcc lattice?"""

import numpy as np


def simple_cubic_label(lattice) -> np.ndarray:
    """The simple cubic sublattice (0-3) of each site of an fcc supercell, (N,).

    With a1 = (0, 1, 1)/2, a2 = (1, 0, 1)/2, a3 = (1, 1, 0)/2 the site i a1 + j a2 + k a3 lies at (j+k, i+k, i+j)/2, and
    the parities of the first two coordinates name the sublattice.
    """
    i, j, k = lattice.offsets.T
    return 2 * ((j + k) % 2) + (i + k) % 2


def variants(lattice, occ, purity: float = 0.8) -> dict[str, dict[tuple, int]]:
    """How often each variant of Cu3Au, CuAu and CuAu3 appears among occupations (n, N), Au = 1.

    A variant is the tuple of sublattices that hold Au; a sublattice holds a species from ``purity`` upwards.
    """
    label = simple_cubic_label(lattice)
    x = np.stack([np.asarray(occ)[:, label == s].mean(1) for s in range(4)], axis=1)
    pure = ((x >= purity) | (x <= 1 - purity)).all(1)
    names = {1: "Cu3Au (L1_2)", 2: "CuAu (L1_0)", 3: "CuAu3 (L1_2)"}
    found: dict[str, dict[tuple, int]] = {n: {} for n in names.values()}
    for row in x[pure] > 0.5:
        if (name := names.get(int(row.sum()))) is not None:
            key = tuple(np.flatnonzero(row).tolist())
            found[name][key] = found[name].get(key, 0) + 1
    return found
