"""How many configurations share the level of those that were seen: orbits under the symmetries of the Hamiltonian."""

from __future__ import annotations

import numpy as np

ORBITS = 50  # more of them at one level are not counted: too many may be missing
SINGLE = 0.05  # largest share of samples whose orbit was met once, an estimate of what is missing (Good, Biometrika 40, 237 (1953))
LARGEST = 2**26  # numbers that the translates of one configuration may take
BLOCK = 2**20  # of them that are looked at together


def countable(n_sites: int, n_cells: int) -> bool:
    """Whether the translates of one configuration are few enough to be counted.

    Examples
    --------
    >>> countable(4096, 4096), countable(13824, 13824)
    (True, False)
    """
    return n_sites * n_cells <= LARGEST


def log_degeneracy(occ: np.ndarray, points: np.ndarray, translations: np.ndarray, held: np.ndarray) -> float | None:
    """Log of the number of configurations in the orbits of ``occ`` (m, N), samples of one level; None where it cannot be known.

    Parameters
    ----------
    occ : (m, N) species indices of all samples at the level, the same ones as often as they were met
    points, translations : (P, N), (N_cells, N) site permutations that leave energies unchanged, each a group
    held : (N,) species of sites that were held, -1 elsewhere: images with others there do not count

    No answer where many orbits share the level and more than 5 % of the samples belong to one that was met a single time.

    Examples
    --------
    The two checkerboards of a ring of four sites:

    >>> ring = (np.arange(4)[:, None] + np.arange(4)) % 4
    >>> occ = np.array([[0, 1, 0, 1]] * 30)
    >>> round(float(np.exp(log_degeneracy(occ, np.arange(4)[None], ring, np.full(4, -1)))))
    2
    """
    n = occ.shape[1]
    marks = np.random.default_rng(0).integers(2**63, size=(n, int(occ.max()) + 1), dtype=np.uint64)
    sites, free = np.arange(n), held < 0
    name = lambda rows: marks[sites, rows].sum(-1, dtype=np.uint64)  # noqa: E731
    _, first, met = np.unique(name(occ), return_index=True, return_counts=True)
    rows = occ[first].astype(np.int64)
    orbit_of: dict[int, int] = {}
    total, orbits = 0, 0
    seen: list[int] = []
    for row, times in zip(rows, met, strict=True):
        key = int(name(row))
        if key not in orbit_of:
            if orbits == ORBITS:
                return None
            for image in row[points]:
                if int(name(image)) in orbit_of:
                    continue
                stays: dict[int, bool] = {}  # of each image, whether it agrees with what is held
                for part in np.array_split(translations, -(-translations.size // BLOCK)):
                    moved = image[part]
                    stays |= zip(name(moved).tolist(), (free | (moved == held)).all(1).tolist(), strict=True)
                orbit_of |= dict.fromkeys(stays, orbits)
                total += sum(stays.values())
            seen.append(0)
            orbits += 1
        seen[orbit_of[key]] += int(times)
    return float(np.log(total)) if seen.count(1) <= SINGLE * len(occ) else None
