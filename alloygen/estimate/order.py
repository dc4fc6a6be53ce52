"""Chemical order: Warren-Cowley short-range order by coordination shell, and long-range order from structure amplitudes.

Short-range order counts pairs in periodic images, as a diffraction experiment on the repeated cell would: in a small cell a
site meets the same neighbour, or itself, several times. Long-range order is the Fourier amplitude of one species at the
vectors of a superstructure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from scipy import sparse

from alloygen.arguments import whole_number
from alloygen.errors import AlloygenError
from alloygen.estimate import thermo
from alloygen.estimate.result import Estimate
from alloygen.estimate.superstructure import Frame
from alloygen.lattice import Lattice, Primitive
from alloygen.types import ArrayLike, Inefficiency

SAME = 1e-6  # distances that differ by less than this share are one shell
EVEN = 0.4  # of the largest component of a direction: one of this size or more may say its sign
CHUNK = 2**22  # site values that are looked at together: 32 MB


# ---------------------------------------------------------------------- short-range order
def _pairs(lattice: Lattice, sublattices, cutoff: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ordered pairs (i, j, image) within ``cutoff``, images of i itself among them: sites i, sites j, distances."""
    from ase.neighborlist import primitive_neighbor_list

    positions = lattice.positions[np.isin(lattice.sublattice, sublattices)]
    # the shortest supercell vectors: a skewed cell would have many more images to look at
    return primitive_neighbor_list("ijd", lattice.primitive.pbc, lattice.shortest_vectors, positions, cutoff)


MOST_SHELLS = 1000  # the pairs grow as the third power of how far they reach


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
    n_shells = whole_number(n_shells, "n_shells, the number of coordination shells,", 1, MOST_SHELLS)
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
    s, k = _site_values(s, lattice), np.atleast_2d(np.asarray(vectors, dtype=np.float64))
    if k.ndim != 2 or k.shape[1] != 3 or not np.isfinite(k).all():
        raise AlloygenError(f"expected order vectors of three finite numbers each, got {np.asarray(vectors).tolist()}")
    return _in_parts(lambda rows: _amplitudes(rows, lattice, k, _counted(lattice, None)), s)


def _in_parts(f: Callable[[np.ndarray], np.ndarray], s: np.ndarray) -> np.ndarray:
    """f of the rows of s (n, ...), turned into float64 a part at a time: those of a large cell would take eight times what they are kept in."""
    step = max(1, CHUNK // max(1, s[:1].size))
    return np.concatenate([f(s[a : a + step].astype(np.float64)) for a in range(0, max(len(s), 1), step)])


def _site_values(s, lattice: Lattice) -> np.ndarray:
    s = np.asarray(s)
    if s.ndim != 2 or s.shape[1] != lattice.n_sites:
        raise AlloygenError(f"expected site values of shape (n, {lattice.n_sites}), got {s.shape}")
    return s


def _counted(lattice: Lattice, sites) -> np.ndarray:
    """The sites that count, (N,) bool: exchangeable ones if not given."""
    sites = lattice.n_species > 1 if sites is None else np.asarray(sites)
    if sites.shape != (lattice.n_sites,) or sites.dtype != bool:
        raise AlloygenError(
            f"expected sites as a mask of {lattice.n_sites} booleans, got shape {sites.shape} of {sites.dtype}"
        )
    if not sites.any():
        raise AlloygenError(f"expected sites with more than one species, got none in {lattice!r}")
    return sites


def _amplitudes(s: np.ndarray, lattice: Lattice, k: np.ndarray, sites: np.ndarray) -> np.ndarray:
    """Amplitudes (n, V) of checked values over some sites."""
    turns = k @ lattice.matrix.T  # phase of each supercell vector, in turns
    whole = np.rint(turns)
    for vector, off, near in zip(k, np.abs(turns - whole)[:, list(lattice.primitive.pbc)], whole, strict=True):
        if off.max(initial=0.0) > 1e-8:
            raise AlloygenError(
                f"expected an order vector that fits {lattice!r}, got {_text(vector)}; the "
                f"nearest that does is {_text(np.linalg.solve(lattice.matrix, near))}. For this one choose a supercell in which each supercell "
                "vector (rows of lattice.matrix) times the order vector is a whole number: even repeats for components of 1/2"
            )
    here = lattice.offsets[sites] + lattice.primitive.basis[lattice.sublattice[sites]]
    angle = 2 * np.pi * (here @ k.T)
    return np.hypot(s[:, sites] @ np.cos(angle), s[:, sites] @ np.sin(angle)) / sites.sum()


def long_range_order(
    s: ArrayLike, lattice: Lattice, which: str | ArrayLike, sites: np.ndarray | None = None
) -> np.ndarray:
    """Long-range order of each sample, (n,), dimensionless where ``s`` is 1 for a species and 0 for the others.

    A named order is 1 in the perfect structure, whichever its orientation and translation, and 0 in pure metals. With the amplitudes a of
    :func:`structure_amplitudes` at vectors of the conventional cell, sorted, smallest first (Khachaturyan, Prog. Mater. Sci. 22, 1
    (1978)):

        fcc   L1_0 = 2 (a3 - a2), L1_2 = 4 a1 of (1,0,0) (0,1,0) (0,0,1);   L1_1 = 2 (a4 - a3) of the four (1/2,1/2,1/2);
              D0_22 = 4 min(a(0,0,1), a(1,0,1/2)), the largest of three axes
        bcc   B2 = 2 a(1,0,0);   D0_3 = 4 min(a(1,0,0), a(1/2,1/2,1/2));   B32 = 4 min(|Re A|, |Im A|), A at (1/2,1/2,1/2), the origin on
              a site
        hcp   D0_19 = 4 a1, B19 = 2 (a3 - a2) of (1/2,0,0) (0,1/2,0) (1/2,1/2,0), the two layers added with the phases of these structures

    An order that contains another shows part of it: B2 is 1/2 in perfect D0_3, and L1_0 in D0_22. In a disordered sample of N sites the
    amplitudes do not vanish but are about sqrt(x (1 - x) / N). A variant that does not fit the supercell cannot be there and is left out.

    Parameters
    ----------
    s : (n, N) 1 where the site holds the species, else 0
    lattice : the supercell
    which : a name of above; or the three numbers (h, k, l) of an order vector, whose plain amplitude is returned, in the reciprocal basis
        of the conventional cell (cubic, or hexagonal with a1 and a2 at 120 degrees) where the sites are fcc, bcc, simple cubic, hcp or diamond, and of the
        primitive cell elsewhere. On bcc (1, 0, 0) is the vector of B2
    sites : (N,) bool, the sites that count; those with more than one species if not given

    Raises :class:`AlloygenError` for a name that does not belong to the lattice, with those that do; for vectors that do not fit
    the supercell; and for those with one phase on all sites, whose amplitude is the composition: (1, 1, 1) on fcc, (1, 1, 0) on bcc.

    Examples
    --------
    >>> import alloygen.data
    >>> lattice = alloygen.data.cuau().on((2, 2, 2)).lattice
    >>> gold = (np.ptp(lattice.offsets % 2, axis=1) == 0)[None]      # Cu3Au
    >>> [long_range_order(gold, lattice, w).round(9).tolist() for w in ("L1_2", "L1_0", (1, 0, 0))]
    [[1.0], [0.0], [0.25]]
    """
    s = _site_values(s, lattice)
    frame = Frame(lattice, _counted(lattice, sites))
    if isinstance(which, str):
        return _in_parts(lambda rows: frame.named(rows, which), s)
    vector = _vector(which)
    if vector is None:
        raise AlloygenError(f"expected {frame._expected()}, got {which!r}")
    if frame.constant(vector):
        raise AlloygenError(
            f"expected an order vector that tells sites apart, got {_text(vector)}, a vector of the reciprocal lattice: its wave has one phase on "
            f"all sites and its amplitude is the composition. Vectors are (h, k, l) in the reciprocal basis of the "
            f"{'conventional ' + frame.kind if frame.kind else 'primitive'} cell; ordered structures have others, such as (1, 0, 0) on fcc and bcc "
            "and (1/2, 0, 0) on hcp"
        )
    if not frame.fits(vector):
        raise AlloygenError(
            f"expected an order vector that fits {lattice!r}, got {_text(vector)}; the nearest that does is {_text(frame.nearest(vector))}. For "
            "this one choose a supercell in which its wave is periodic: even repeats for halves of primitive vectors"
        )
    return _in_parts(lambda rows: _amplitudes(rows, lattice, frame.primitive(vector), frame.sites)[:, 0], s)


def orders_of(lattice: Lattice) -> list[str]:
    """The named orders that the exchangeable sites of a supercell can have.

    Examples
    --------
    >>> import alloygen.data
    >>> orders_of(alloygen.data.cuau().on((2, 2, 2)).lattice), orders_of(alloygen.data.cuau().on((3, 3, 3)).lattice)
    (['L1_0', 'L1_2', 'L1_1'], [])
    """
    return Frame(lattice, _counted(lattice, None)).names()


def sublattice_order(held: ArrayLike, lattice: Lattice, name: str) -> np.ndarray:
    """How the elements share out over the two sublattices of a named order, (n, E), for any number of elements.

        eta_e = p_e(first) - p_e(second),

    the fractions of the sites of its first sublattice, the minority's, and of the second that hold e (Bragg and Williams, Proc. R. Soc. A 145, 699
    (1934)), in the variant of the structure in which the sum of eta_e^2 is largest. With the composition x both follow: p_e(first) = x_e + (1 - share) eta_e
    and p_e(second) = x_e - share eta_e. A binary's |eta| is 1 in the perfect structure; the eta of all elements sum to 0. Where the two sublattices are
    alike (L1_0, L1_1, B2, B32, B19: share 1/2), eta and -eta are one structure, its translates, and the sign is that of either; see :func:`one_sign`.

    Parameters
    ----------
    held : (n, E, N) 1 where the site holds the element, else 0; lattice : the supercell; name : one of :func:`orders_of`

    Raises :class:`AlloygenError` for a name that does not belong to the lattice.

    Examples
    --------
    >>> import alloygen.data
    >>> lattice = alloygen.data.cuau().on((2, 2, 2)).lattice
    >>> gold = (np.ptp(lattice.offsets % 2, axis=1) == 0)      # Cu3Au
    >>> sublattice_order([[~gold, gold]], lattice, "L1_2").tolist()
    [[-1.0, 1.0]]
    """
    frame = Frame(lattice, _counted(lattice, None))
    if name not in frame.names():
        raise AlloygenError(f"expected one of the orders {frame.names()} that this supercell can have, got {name!r}")
    first = frame.sublattices(name).astype(np.float32)  # (V, n sites)
    contrast = first / first.sum(1, keepdims=True) - (1 - first) / (1 - first).sum(1, keepdims=True)

    def best(rows: np.ndarray) -> np.ndarray:
        eta = np.einsum("nes,vs->nve", rows[..., frame.sites].astype(np.float32), contrast, optimize=True)
        return eta[np.arange(len(eta)), (eta**2).sum(2).argmax(1)].astype(float)

    return _in_parts(best, np.asarray(held))


def one_sign(eta: ArrayLike, counts: ArrayLike) -> np.ndarray:
    """eta (n, E) of samples whose sign is open, with signs that agree among samples of the same ``counts`` (n, E).

    Along the direction in which the eta of a composition are largest, the eigenvector of sum eta eta^T with the largest eigenvalue, all are made
    positive, and of the direction the component of the last element that has a good part of it: averages do not cancel between translates of one structure.

    Examples
    --------
    >>> one_sign([[0.9, -0.9, 0.0], [-0.8, 0.7, 0.1]], [[2, 2, 1], [2, 2, 1]]).tolist()
    [[-0.9, 0.9, -0.0], [-0.8, 0.7, 0.1]]
    """
    eta = np.array(eta, dtype=float)
    _, which = np.unique(np.asarray(counts), axis=0, return_inverse=True)
    for rows in np.split(np.argsort(which, kind="stable"), np.cumsum(np.bincount(which))[:-1]):
        main = np.linalg.eigh(eta[rows].T @ eta[rows])[1][:, -1]
        main = main * np.sign(main[np.flatnonzero(np.abs(main) > EVEN * np.abs(main).max())[-1]])
        eta[rows] *= np.where(eta[rows] @ main < 0, -1.0, 1.0)[:, None]
    return eta


def _vector(which) -> np.ndarray | None:
    try:
        vector = np.asarray(which, dtype=float)
    except (TypeError, ValueError):
        return None
    return vector if vector.shape == (3,) and np.isfinite(vector).all() else None
