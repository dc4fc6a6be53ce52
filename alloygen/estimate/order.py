"""Chemical order: Warren-Cowley short-range order by coordination shell, and long-range order from structure amplitudes.

Short-range order counts pairs in periodic images, as a diffraction experiment on the repeated cell would: in a small cell a
site meets the same neighbour, or itself, several times. Long-range order is the Fourier amplitude of one species at the
vectors of a superstructure.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from scipy import sparse

from alloygen.errors import AlloygenError
from alloygen.estimate import thermo
from alloygen.estimate.result import Estimate
from alloygen.lattice import Lattice, Primitive
from alloygen.types import ArrayLike, Inefficiency

SAME = 1e-6  # distances that differ by less than this share are one shell
STEP = {"L1_0": 2.0, "L1_2": 4.0}  # named orders of fcc lattices, and by how many 1/N one atom moves each at most
ORDERS = tuple(STEP)


# ---------------------------------------------------------------------- short-range order
def _pairs(lattice: Lattice, sublattices, cutoff: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ordered pairs (i, j, image) within ``cutoff``, images of i itself among them: sites i, sites j, distances."""
    from ase.neighborlist import primitive_neighbor_list

    positions = lattice.positions[np.isin(lattice.sublattice, sublattices)]
    # the shortest supercell vectors: a skewed cell would have many more images to look at
    return primitive_neighbor_list("ijd", lattice.primitive.pbc, lattice.shortest_vectors, positions, cutoff)


def _shells(distances: np.ndarray) -> np.ndarray:
    """Rising distances that differ by more than rounding."""
    d = np.sort(distances)
    return d[np.append(True, np.diff(d) > SAME * d[1:])] if len(d) else d


def _shell_distances(primitive: Primitive, sublattices: tuple[int, ...], n: int) -> np.ndarray:
    """The first ``n`` distances between sites of these sublattices, found by a growing cutoff."""
    cell = Lattice(primitive, (1, 1, 1))
    cutoff = 0.5 * (abs(np.linalg.det(primitive.cell)) / len(primitive.basis)) ** (1 / 3)
    widest = np.linalg.norm(np.ptp(cell.positions, axis=0))
    while True:
        shells = _shells(_pairs(cell, sublattices, cutoff)[2])
        if len(shells) >= n:
            return shells[:n]
        if not any(primitive.pbc) and cutoff > widest:
            raise AlloygenError(
                f"expected at least {n} distances, got {len(shells)} in a cluster that is not periodic; ask fewer"
            )
        cutoff *= 1.3


def pair_multiplicity(
    lattice: Lattice, n_shells: int, sublattices: ArrayLike | None = None
) -> tuple[np.ndarray, list[sparse.csr_array]]:
    """How many pairs (i, j, image) of sites each coordination shell has: ``(distances (K,), [M_k (N, N), ...])``.

        M_k[i, j] = number of lattice translations R of the supercell with |r_j + R - r_i| = d_k

    Several images of the same j count each, and so do images of i itself (a diagonal element), so that every row of M_k
    sums to the coordination number of the infinite crystal however small the cell. Distances are in the unit of the
    primitive cell; those that agree to 1e-6 of their size are one shell. Only periodic directions have images.

    Parameters
    ----------
    lattice : the supercell
    n_shells : K
    sublattices : sublattices whose sites count, in rising order; all of them if not given. The N rows are their sites, in
        the order of the lattice

    Raises :class:`AlloygenError` for ``n_shells`` below 1 and for sublattices that the lattice has not.

    Examples
    --------
    >>> import alloygen.data
    >>> lattice = alloygen.data.cuau().on((2, 2, 1)).lattice
    >>> distances, shells = pair_multiplicity(lattice, 6)
    >>> [int(m.sum(1)[0]) for m in shells], shells[0].toarray()[0].tolist()     # two of the 12 neighbours are i itself
    ([12, 6, 24, 12, 24, 8], [2, 4, 4, 2])
    """
    if int(n_shells) != n_shells or n_shells < 1:
        raise AlloygenError(f"expected a number of coordination shells of at least 1, got {n_shells!r}")
    known = np.arange(lattice.n_sublattices)
    sublattices = known if sublattices is None else np.unique(sublattices)
    if not len(sublattices) or not np.isin(sublattices, known).all():
        raise AlloygenError(f"expected sublattices out of {known.tolist()}, got {np.asarray(sublattices).tolist()}")
    distances, shells = _multiplicity(lattice, int(n_shells), tuple(map(int, sublattices)))
    return distances.copy(), [m.copy() for m in shells]


@lru_cache(maxsize=8)  # a scan asks for the same at every condition
def _multiplicity(lattice: Lattice, n_shells: int, sublattices: tuple[int, ...]):
    found = _shell_distances(lattice.primitive, sublattices, n_shells + 1)
    i, j, d = _pairs(lattice, sublattices, 0.5 * (found[-2] + found[-1]))
    shell = np.searchsorted(0.5 * (found[1:] + found[:-1]), d)
    n = int(np.isin(lattice.sublattice, sublattices).sum())
    counts = []
    for k in range(n_shells):
        rows, columns = i[shell == k], j[shell == k]
        counts.append(sparse.coo_array((np.ones(len(rows), dtype=np.int64), (rows, columns)), (n, n)).tocsr())
    return found[:-1], counts


def _occupied(values, what: str) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or not values.size:
        raise AlloygenError(
            f"expected {what} of shape (n, N), 1 where a site holds the species, got shape {values.shape}"
        )
    return values


def warren_cowley(occupied_a: ArrayLike, occupied_b: ArrayLike, multiplicity: Sequence, log_w: ArrayLike | None=None,
                  inefficiency: Inefficiency = 1.0) -> list[Estimate]:  # fmt: skip
    """Warren-Cowley short-range order of two species in every coordination shell, dimensionless.

        alpha_ab(k) = 1 - y_ab(k) / (x_a x_b),    y_ab(k) = < sum_ij M_k[i, j] a_i b_j > / sum_ij M_k[i, j]

    (J. M. Cowley, Phys. Rev. 77, 669 (1950)), with x the mean concentrations. For a binary alpha is 0 in a random alloy,
    negative where unlike neighbours are preferred and 1 where like ones have the shell to themselves. The error comes from
    the influence of a sample on all three averages (Hampel, J. Am. Stat. Assoc. 69, 383 (1974)),

        u_i = y_i / (x_a x_b) - y x_a,i / (x_a^2 x_b) - y x_b,i / (x_a x_b^2),

    and a term for one atom more or less, 2 / (N x_a x_b), as the quantum of :func:`alloygen.estimate.thermo.mean`.

    Two things to know: where the concentration fluctuates (a semigrand ensemble), <x_a x_b> is not <x_a><x_b>, which shifts
    alpha by var(x_a) / (x_a x_b), of order 1/N, in all shells alike; and an image of i itself (the diagonal of M_k) is
    perfectly correlated, adding alpha = 1 with its share of the shell. Both vanish in large cells.

    Parameters
    ----------
    occupied_a, occupied_b : (n, N) 1 where the site holds the species, else 0
    multiplicity : one (N, N) matrix per shell, dense or sparse, as of :func:`pair_multiplicity`
    log_w : (n,) log-weights; None for samples that already follow the target
    inefficiency : g = 1 + 2 sum of autocorrelations (1 for independent samples), or a function that finds it for each u (n,)

    A species that is absent gives nan with a note. Raises :class:`AlloygenError` for wrong shapes; warns ``LowSampleSize``.

    Examples
    --------
    Every gold atom of Cu3Au has 12 nearest neighbours of copper, where 9 are its share:

    >>> import alloygen.data
    >>> lattice = alloygen.data.cuau().on((2, 2, 2)).lattice
    >>> gold = (np.ptp(lattice.offsets % 2, axis=1) == 0)[None]      # a stack of samples, here of one
    >>> [round(e.value, 6) for e in warren_cowley(~gold, gold, pair_multiplicity(lattice, 2)[1])]
    [-0.333333, 1.0]
    """
    a, b = _occupied(occupied_a, "occupied_a"), _occupied(occupied_b, "occupied_b")
    shapes = {tuple(m.shape) for m in multiplicity}
    if a.shape != b.shape or shapes - {(a.shape[1],) * 2}:
        raise AlloygenError(
            f"expected occupied_a and occupied_b of one shape (n, N) and multiplicities (N, N), got {a.shape}, {b.shape} and "
            f"{sorted(shapes)}"
        )
    x_a, x_b = a.mean(1), b.mean(1)
    mean_a, mean_b = thermo.mean(x_a, log_w).value, thermo.mean(x_b, log_w).value
    if not mean_a * mean_b > 0:
        return [Estimate(np.nan, np.nan, "a species is absent: its order is not defined")] * len(multiplicity)
    out, quantum = [], 2.0 / a.shape[1] / (mean_a * mean_b)
    for m in multiplicity:
        pairs = m.sum()
        if not pairs > 0:
            out.append(Estimate(np.nan, np.nan, "the shell has no pairs"))
            continue
        y = ((m @ b.T).T * a).sum(1) / pairs
        mean_y = thermo.mean(y, log_w).value
        u = (y - mean_y * (x_a / mean_a + x_b / mean_b)) / (mean_a * mean_b)  # its mean is -y / (x_a x_b)
        found = thermo.mean(u, log_w, inefficiency, quantum)
        out.append(Estimate(1.0 + found.value, found.stderr, found.note))
    return out


# ---------------------------------------------------------------------- long-range order
def _text(vector) -> str:
    return "(" + ", ".join(f"{x:.6g}" for x in np.asarray(vector) + 0.0) + ")"


def structure_amplitudes(s: ArrayLike, lattice: Lattice, vectors: ArrayLike) -> np.ndarray:
    """Fourier amplitudes of site values at the order vectors, (n, V), in the unit of ``s``.

        A_k = | 1/N sum_j s_j exp(-2 pi i k.n_j) |

    (Khachaturyan, Prog. Mater. Sci. 22, 1 (1978)), n_j the position of site j in primitive vectors and k in fractional
    coordinates of the reciprocal primitive cell. j runs over the N exchangeable sites, those with more than one species.

    Parameters
    ----------
    s : (n, N) site values, for example 1 where the site holds a species, else 0; of all sites of the lattice
    lattice : the supercell
    vectors : (V, 3) or (3,) k, which must fit the supercell: H k whole numbers, H the rows of ``lattice.matrix``

    Raises :class:`AlloygenError` for wrong shapes, and for a vector that does not fit, with the nearest that does.

    Examples
    --------
    >>> import alloygen.data
    >>> lattice = alloygen.data.cuau().on((2, 2, 2)).lattice
    >>> layers = (lattice.offsets[:, 0] % 2 == 0)[None]
    >>> structure_amplitudes(layers, lattice, [[0.5, 0, 0], [0, 0, 0], [0.5, 0.5, 0]]).round(12).tolist()
    [[0.5, 0.5, 0.0]]
    """
    s, k = np.asarray(s, dtype=np.float64), np.atleast_2d(np.asarray(vectors, dtype=np.float64))
    if s.ndim != 2 or s.shape[1] != lattice.n_sites:
        raise AlloygenError(f"expected site values of shape (n, {lattice.n_sites}), got {s.shape}")
    if k.ndim != 2 or k.shape[1] != 3 or not np.isfinite(k).all():
        raise AlloygenError(f"expected order vectors of three finite numbers each, got {np.asarray(vectors).tolist()}")
    turns = k @ lattice.matrix.T  # phase of each supercell vector, in turns
    whole = np.rint(turns)
    for vector, off, near in zip(k, np.abs(turns - whole)[:, list(lattice.primitive.pbc)], whole, strict=True):
        if off.max(initial=0.0) > 1e-8:
            raise AlloygenError(
                f"expected an order vector that fits {lattice!r}, got {_text(vector)}; the nearest that does is "
                f"{_text(np.linalg.solve(lattice.matrix, near))}. For this one choose a supercell in which each supercell "
                "vector (rows of lattice.matrix) times the order vector is a whole number: even repeats for components of 1/2"
            )
    free = lattice.n_species > 1
    if not free.any():
        raise AlloygenError(f"expected sites with more than one species, got none in {lattice!r}")
    sites = lattice.offsets[free] + lattice.primitive.basis[lattice.sublattice[free]]
    angle = 2 * np.pi * (sites @ k.T)
    return np.hypot(s[:, free] @ np.cos(angle), s[:, free] @ np.sin(angle)) / free.sum()


def _bravais_cell(primitive: Primitive) -> np.ndarray | None:
    """Shortest primitive vectors of the exchangeable sites; None where these are not one Bravais lattice."""
    basis = primitive.basis[[len(names) > 1 for names in primitive.species]]
    cell = primitive.cell
    if len(basis) > 1:
        import spglib

        found = spglib.standardize_cell(
            (cell.tolist(), basis.tolist(), [1] * len(basis)), to_primitive=True, no_idealize=True, symprec=1e-5
        )
        if found is None:
            return None
        cell, basis = np.asarray(found[0]), np.asarray(found[1])
    if len(basis) != 1:
        return None
    return Lattice(Primitive(cell, np.zeros((1, 3)), (("X",),)), (1, 1, 1)).shortest_vectors


def _x_points(primitive: Primitive) -> np.ndarray | None:
    """The X points as Cartesian rows, in cycles per unit of length; None where the exchangeable sites are not an fcc lattice."""
    cell = _bravais_cell(primitive) if all(primitive.pbc) else None
    if cell is None:
        return None
    whole = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3, indexing="ij"), -1).reshape(-1, 3)
    vectors, kinds = whole @ np.linalg.inv(cell).T / 2, (whole % 2) @ [4, 2, 1]
    members = [vectors[kinds == kind] for kind in range(1, 8)]
    shortest = np.array([v[np.linalg.norm(v, axis=1).argmin()] for v in members])
    length = np.linalg.norm(shortest, axis=1)
    order = np.argsort(length)
    x, shape = shortest[order[4:]], length[order] / length.max()
    angles = (x @ x.T)[np.triu_indices(3, 1)] / length.max() ** 2
    ideal = np.abs(shape - ([np.sqrt(0.75)] * 4 + [1.0] * 3)).max() < 1e-4 and np.abs(angles).max() < 1e-4
    return x if ideal else None


def fcc(lattice: Lattice) -> bool:
    """Whether the exchangeable sites make an fcc lattice, for which the named orders are defined.

    A supercell must fit their waves too, or :func:`long_range_order` says so: even repeats do.

    Examples
    --------
    >>> import alloygen.data
    >>> from alloygen.hamiltonian.ising import ising
    >>> fcc(alloygen.data.cuau().on((3, 2, 1)).lattice), fcc(ising(4).lattice)
    (True, False)
    """
    return _x_points(lattice.primitive) is not None


def x_points(lattice: Lattice) -> np.ndarray:
    """The three X points of an fcc lattice of exchangeable sites, (3, 3), one a row, in fractional coordinates of the
    reciprocal primitive cell of ``lattice``.

    A half reciprocal vector is as good as one that differs by a whole one; the seven shortest of their kind are the four L
    points of an fcc lattice, sqrt(3)/2 as long as the three X points that follow, which are at right angles. The
    lengths tell an fcc lattice from any other, whichever primitive vectors were chosen.

    Raises :class:`AlloygenError` where the lattice is not fcc.

    Examples
    --------
    >>> import alloygen.data
    >>> sorted(np.abs(x_points(alloygen.data.cuau().on((2, 2, 2)).lattice)).round(9).tolist())
    [[0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]]
    """
    x = _x_points(lattice.primitive)
    if x is None:
        raise AlloygenError(
            f"expected an fcc lattice of exchangeable sites for the orders {list(ORDERS)}, got {lattice!r} with the primitive cell "
            f"{np.round(lattice.primitive.cell, 6).tolist()}. Give an order vector instead: three numbers, in fractional "
            "coordinates of the reciprocal primitive cell"
        )
    return x @ lattice.primitive.cell.T


def long_range_order(s, lattice: Lattice, which: str | ArrayLike) -> np.ndarray:
    """Long-range order of each sample, (n,), dimensionless where ``s`` is 1 for a species and 0 for the others.

    With the amplitudes a1 <= a2 <= a3 of :func:`structure_amplitudes` at the three X points of an fcc lattice,

        L1_2 = 4 a1,    L1_0 = 2 (a3 - a2)

    L1_2 is 1 for perfect Cu3Au and CuAu3, where all three waves are present with 1/4 each, and L1_0 is 1 for perfect CuAu,
    where one is, with 1/2 (Khachaturyan, Prog. Mater. Sci. 22, 1 (1978)); either is 0 for the other structure and for pure
    metals, and has the same value for all translations and orientations of it. In a disordered sample of N sites the amplitudes do
    not vanish but are about sqrt(x (1 - x) / N).

    Parameters
    ----------
    s : (n, N) 1 where the site holds the species, else 0
    lattice : the supercell
    which : "L1_2", "L1_0", or the three numbers of an order vector, whose plain amplitude is returned

    Raises :class:`AlloygenError` for another name, for the named orders on a lattice that is not fcc, and for vectors that do
    not fit the supercell.

    Examples
    --------
    >>> import alloygen.data
    >>> lattice = alloygen.data.cuau().on((2, 2, 2)).lattice
    >>> gold = (np.ptp(lattice.offsets % 2, axis=1) == 0)[None]      # Cu3Au
    >>> [long_range_order(gold, lattice, w).round(9).tolist() for w in ("L1_2", "L1_0", (0.5, 0.5, 0))]
    [[1.0], [0.0], [0.25]]
    """
    if not isinstance(which, str):
        vector = np.asarray(which, dtype=object)
        if vector.shape != (3,):
            raise AlloygenError(f"expected {list(ORDERS)} or an order vector of three numbers, got {which!r}")
        return structure_amplitudes(s, lattice, np.asarray(which, dtype=float))[:, 0]
    if which not in ORDERS:
        raise AlloygenError(f"expected one of {list(ORDERS)} or an order vector of three numbers, got {which!r}")
    a = np.sort(structure_amplitudes(s, lattice, x_points(lattice)), axis=1)
    return 4 * a[:, 0] if which == "L1_2" else 2 * (a[:, 2] - a[:, 1])
