"""How many configurations a move reaches: the partition function at infinite temperature, from which free energies count.

    flips: prod_i S_i,       swaps: sum over tables n of prod_k n_k! / prod_e n_ke!

Sites of one *kind* take the same elements, on whichever sublattice they lie; n_ke is the number of atoms of e on the n_k sites of
kind k. Swaps within a kind make every arrangement of a table. Between two kinds they exchange elements that both kinds take,
which leads from table to table: kinds that share fewer than two elements keep what each of them holds.
"""

from __future__ import annotations

import math

import numpy as np

from alloygen.lattice import Lattice

MOST = 200_000  # tables that are counted; with more there is no answer


def log_reached_by_flips(lattice: Lattice, sites: np.ndarray) -> float:
    """Log of the number of configurations that flips of ``sites`` (n,) reach, from any of them.

    >>> from alloygen.lattice import Primitive
    >>> lattice = Lattice(Primitive(np.eye(3), [[0, 0, 0]], [("A", "B")]), (2, 2, 1))
    >>> round(math.exp(log_reached_by_flips(lattice, np.arange(3))))
    8
    """
    return float(np.log(lattice.n_species[sites]).sum())


def log_reached_by_swaps(lattice: Lattice, sites: np.ndarray, occ: np.ndarray) -> float | None:
    """Log of the number of configurations that swaps reach from each row of ``occ``; None where rows reach different ones.

    Parameters
    ----------
    lattice : Lattice
    sites : (n,) sites that may change
    occ : (R, N) species indices

    Examples
    --------
    Two atoms of each on two sublattices of one kind, as in hcp, and on those of rock salt, where each kind keeps its own:

    >>> from alloygen.lattice import Primitive
    >>> basis, occ = [[0, 0, 0], [0.5, 0.5, 0.5]], np.array([[0, 0, 1, 1]])
    >>> hcp, salt = (Primitive(np.eye(3), basis, [("A", "B"), other]) for other in (("A", "B"), ("X", "Y")))
    >>> [round(math.exp(log_reached_by_swaps(Lattice(p, (2, 1, 1)), np.arange(4), occ))) for p in (hcp, salt)]
    [6, 4]
    """
    index = lattice.element_index[lattice.sublattice[sites]]  # (n, S), -1 where there is no species
    kinds, kind = np.unique(np.sort(index, axis=1), axis=0, return_inverse=True)
    held = np.take_along_axis(index[None], np.asarray(occ)[:, sites, None].astype(int), 2)[..., 0]  # (R, n) elements
    rows = np.stack([[np.bincount(row[kind.ravel() == k], minlength=len(lattice.elements)) for k in range(len(kinds))]
                     for row in held])  # fmt: skip
    starts = {tuple(map(tuple, table)) for table in rows.tolist()}
    reached = _tables(next(iter(starts)), [{int(e) for e in k if e >= 0} for k in kinds])
    if reached is None or not starts <= reached:
        return None
    ways = [sum(math.lgamma(sum(row) + 1) - sum(math.lgamma(c + 1) for c in row) for row in t) for t in sorted(reached)]
    return float(np.logaddexp.reduce(ways))


def _tables(start: tuple, kinds: list[set[int]]) -> set | None:
    """All tables (atoms by kind and element) that swaps between kinds reach, or None where these are too many."""
    pairs = [(k, m, a, b) for k in range(len(kinds)) for m in range(k)
             for a in kinds[k] & kinds[m] for b in kinds[k] & kinds[m] if a != b]  # fmt: skip
    seen, queue = {start}, [start]
    while queue:
        table = queue.pop()
        for k, m, a, b in pairs:
            if table[k][a] and table[m][b]:
                new = [list(row) for row in table]
                new[k][a], new[k][b], new[m][b], new[m][a] = (
                    table[k][a] - 1,
                    table[k][b] + 1,
                    table[m][b] - 1,
                    table[m][a] + 1,
                )
                if (found := tuple(map(tuple, new))) not in seen:
                    seen.add(found)
                    queue.append(found)
        if len(seen) > MOST:
            return None
    return seen
