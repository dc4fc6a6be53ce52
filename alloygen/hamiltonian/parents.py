"""Parent lattices of binary alloys, their canonical figures, and any binary expansion in these terms.

On a parent lattice (fcc, bcc, hcp, simple cubic, square) with sigma = +1 for one species and -1 for the other, every expansion is

    E / site = sum_f J_f <prod_{m in f} sigma_m>

over figures f, with <> the mean over the clusters of a figure (Sanchez, Ducastelle and Gratias, Physica A 128, 334 (1984)). Two expansions in
different site functions, ECI conventions, primitive vectors or orientations are the same if their J are. The law of an alloy depends on
beta J and beta mu and on nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import product

import numpy as np

from alloygen.errors import AlloygenError, LatticeMismatch
from alloygen.hamiltonian.clusters import Cluster, cluster_orbits, key
from alloygen.hamiltonian.expansion import ClusterExpansion
from alloygen.hamiltonian.figures import Orbit
from alloygen.lattice import Lattice, Primitive
from alloygen.levels import around
from alloygen.types import ArrayLike
from alloygen.units import KB_EV_PER_K

REACH = 4  # cells around a site in which its figures lie
SIGMA = np.array([[1.0, -1.0]])  # of the first and the second species


@dataclass(frozen=True, eq=False, repr=False)
class Parent:
    """A parent lattice and its canonical list of figures.

    name : "fcc", ...
    primitive : of one conventional orientation, with species ("A", "B") on every site
    shells : how many shells of neighbours the pairs, the triplets and the quadruplets reach

    Examples
    --------
    >>> fcc = PARENTS["fcc"]
    >>> len(fcc.figures), fcc.figures[1].name, len(fcc.figures[1].weights)
    (22, 'pair 1', 6)
    """

    name: str
    primitive: Primitive
    shells: tuple[int, int, int]

    @cached_property
    def figures(self) -> tuple[Orbit, ...]:
        """The point, then pairs, triplets and quadruplets, each by its size; ECI 1 for the mean over the clusters, per site."""
        found, n_sites = [], len(self.primitive.basis)
        reach = [0.0, *(_shell(self.primitive, shell) for shell in self.shells)]
        for order, distance in enumerate(reach, start=1):
            orbits = cluster_orbits(self.primitive, order, distance, range(n_sites))
            for number, clusters in enumerate(orbits, start=1):
                name = ["point", "pair", "triplet", "quadruplet"][order - 1] + (f" {number}" if order > 1 else "")
                shape = np.zeros((len(clusters), order))
                found.append(
                    Orbit(name, 1.0, np.array(clusters), shape, np.full(len(clusters), n_sites / len(clusters)))
                )
        return tuple(found)

    @cached_property
    def number(self) -> dict[Cluster, int]:
        """The figure of each of their clusters."""
        return {cluster: k for k, orbit in enumerate(self.figures) for cluster in map(key, orbit.members)}

    def expansion(
        self,
        J: ArrayLike,
        elements: Sequence[str] = ("A", "B"),
        *,
        kB: float = KB_EV_PER_K,
        unit: str = "eV",
        name: str = "",
        rest: tuple[Orbit, ...] = (),
    ) -> ClusterExpansion:
        """The expansion with ECIs J (K,) of the figures, and the orbits ``rest`` beside; all figures stay in it, those with J = 0 too."""
        J = np.asarray(J, dtype=float)
        if J.shape != (len(self.figures),):
            raise AlloygenError(
                f"expected one ECI for each of the {len(self.figures)} figures of {self.name}, got shape {J.shape}"
            )
        primitive = replace(self.primitive, species=(tuple(elements),) * len(self.primitive.basis))
        orbits = tuple(replace(figure, eci=float(j)) for figure, j in zip(self.figures, J, strict=True))
        return ClusterExpansion(
            primitive, SIGMA, (*orbits, *rest), kB, unit, name or f"{self.name} {'-'.join(elements)}"
        )

    def __repr__(self) -> str:
        return f"Parent({self.name!r}, {len(self.figures)} figures)"


@dataclass(frozen=True, kw_only=True, eq=False)
class Canonical:
    """An expansion in the terms of its parent lattice.

    parent : the lattice
    J : (K,) ECIs of its figures, eV/site (or the unit of the expansion)
    expansion : the same energies, on the parent's primitive cell in sigma = +-1; figures that the list lacks are among its orbits
    beyond : size of these, the sum of their |J|
    """

    parent: Parent
    J: np.ndarray
    expansion: ClusterExpansion
    beyond: float
    frame: Frame

    def on(self, lattice: Lattice) -> tuple[Lattice, np.ndarray]:
        """(a supercell of the first expansion on the parent's primitive cell, its site for each site of ``lattice``)."""
        matrix = lattice.matrix @ self.frame.back
        other = Lattice(self.expansion.primitive, matrix)
        cell, sub = self.frame.sites(lattice.offsets, lattice.sublattice)
        return other, other.index(cell, sub)


@dataclass(frozen=True, kw_only=True, eq=False)
class Frame:
    """How the sites of a primitive cell are called on that of its parent.

    back : (3, 3) integers, its vectors in those of the parent
    shift : (n_sublattices, 3), cell of the parent that each site of cell 0 lies in
    sublattice : (n_sublattices,), on which of the parent
    """

    back: np.ndarray
    shift: np.ndarray
    sublattice: np.ndarray

    def sites(self, cells: np.ndarray, sublattice: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(cells (..., 3), sublattices (...)) of the parent."""
        return cells @ self.back + self.shift[sublattice], self.sublattice[sublattice]


@lru_cache(maxsize=32)
def canonical(expansion: ClusterExpansion) -> Canonical:
    """A binary expansion in the terms of its parent lattice, whatever its site functions, primitive vectors and orientation.

    Raises
    ------
    LatticeMismatch : no parent lattice of two species, or ECIs of less symmetry than it has

    Examples
    --------
    >>> from alloygen.hamiltonian.ising import ising_expansion
    >>> found = canonical(ising_expansion())
    >>> found.parent.name, found.J[1].round(6).tolist()          # two bonds a site, -J each
    ('square', -2.0)
    """
    parent, frame = _parent(expansion.primitive)
    coefficients, constant = _in_sigma(expansion, frame)
    J = np.zeros(len(parent.figures))
    of_figure: list[list[float]] = [[] for _ in parent.figures]
    rest: dict[Cluster, float] = {}
    for cluster, value in coefficients.items():
        k = parent.number.get(cluster)
        if k is None:
            rest[cluster] = value
        else:
            of_figure[k].append(value)
    size = max((abs(v) for v in coefficients.values()), default=0.0)
    for k, values in enumerate(of_figure):
        if not values:
            continue
        count = len(parent.figures[k].weights)
        values = values + [0.0] * (count - len(values))
        if np.ptp(values) > 1e-8 * (size + 1e-12):
            raise LatticeMismatch(
                f"expected one ECI for all clusters of the figure {parent.figures[k].name!r} of {parent.name}, got from {min(values):.6g} to "
                f"{max(values):.6g}: {expansion.name} has less symmetry than its lattice"
            )
        J[k] = np.mean(values) * count / len(parent.primitive.basis)
    small = 1e-12 * (size + 1e-12)
    rest = {cluster: value for cluster, value in rest.items() if abs(value) > small}
    orbits = [_alone(cluster, value) for cluster, value in rest.items()]
    if constant:
        orbits.insert(0, Orbit("constant", constant, np.zeros((1, 0, 4)), np.zeros((1, 0)), np.ones(1)))
    made = parent.expansion(
        J, expansion.elements, kB=expansion.kB, unit=expansion.unit, name=expansion.name, rest=tuple(orbits)
    )
    beyond = float(sum(abs(v) for v in rest.values())) / len(parent.primitive.basis)
    return Canonical(parent=parent, J=J, expansion=made, beyond=beyond, frame=frame)


def _alone(cluster: Cluster, value: float) -> Orbit:
    return Orbit("beyond the list", value, np.array([cluster]), np.zeros((1, len(cluster))), np.ones(1))


def _in_sigma(expansion: ClusterExpansion, frame: Frame) -> tuple[dict[Cluster, float], float]:
    """(coefficient of the product of sigma of each cluster on the parent's sites, constant), per primitive cell.

    A site function of two species is c + d sigma, so a product of them is a sum over the subsets of its sites.
    """
    index = [expansion.elements.index(s) for s in expansion.primitive.species[0]]
    first, second = expansion.functions[:, index].T
    mean, slope = (first + second) / 2, (first - second) / 2
    out: dict[Cluster, float] = {}
    constant = 0.0
    for orbit in expansion.orbits:
        cells, sub = frame.sites(orbit.members[..., :3], orbit.members[..., 3])
        members = np.concatenate([cells, sub[..., None]], axis=-1)
        for sites, functions, weight in zip(members, orbit.functions, orbit.weights, strict=True):
            value = orbit.eci * weight
            for kept in product((False, True), repeat=len(sites)):
                part = value * float(np.prod(np.where(kept, slope[functions], mean[functions])))
                if part == 0.0:
                    continue
                left = _odd(sites[list(kept)]) if any(kept) else ()
                if left:
                    out[left] = out.get(left, 0.0) + part
                else:
                    constant += part
    return out, constant


def _odd(sites: np.ndarray) -> Cluster:
    """The cluster of sites that are met an odd number of times: sigma^2 = 1."""
    found, times = np.unique(sites, axis=0, return_counts=True)
    left = found[times % 2 == 1]
    return key(left) if len(left) else ()


# ---------------------------------------------------------------------- the lattice of an expansion
def _parent(primitive: Primitive) -> tuple[Parent, Frame]:
    """The parent lattice that a primitive cell is of, and how."""
    lists = set(primitive.species)
    if len(lists) != 1 or len(primitive.species[0]) != 2:
        raise LatticeMismatch(
            f"expected a binary alloy with the same two species on every site, got {', '.join('/'.join(s) for s in primitive.species)}; "
            "train a model of it, or take Monte Carlo"
        )
    for parent in PARENTS.values():
        frame = _frame(parent.primitive, primitive)
        if frame is not None:
            return parent, frame
    raise LatticeMismatch(
        f"expected the primitive cell of one of the lattices {', '.join(PARENTS)}, got {primitive}; train a model of it, or take Monte Carlo"
    )


def _frame(parent: Primitive, primitive: Primitive) -> Frame | None:
    """How the sites of ``primitive`` are called on ``parent``, None where it is another lattice."""
    if len(parent.basis) != len(primitive.basis) or parent.pbc != primitive.pbc:
        return None
    for rows in _settings(parent, primitive):
        back = np.rint(np.linalg.inv(rows)).astype(np.int64)
        for first in range(len(primitive.basis)):
            # x of the parent (in its vectors) of each site of ``primitive``, where its site ``first`` is the parent's site 0
            x = (primitive.basis - primitive.basis[first]) @ back + parent.basis[0]
            shift = x[:, None] - parent.basis
            whole = np.abs(shift - np.rint(shift)).max(2) < 1e-4
            sub = whole.argmax(1)
            if whole.any(1).all() and len(set(sub.tolist())) == len(sub):
                cells = np.rint(shift[np.arange(len(sub)), sub]).astype(np.int64)
                return Frame(back=back, shift=cells, sublattice=sub)
    return None


def _settings(parent: Primitive, primitive: Primitive) -> Iterator[np.ndarray]:
    """Integer matrices whose rows are vectors like the parent's, up to rotation and scale, in the vectors of ``primitive``."""
    periodic = np.array(parent.pbc)
    size = lambda cell: np.sqrt(np.linalg.det((cell @ cell.T)[np.ix_(periodic, periodic)])) ** (1 / periodic.sum())  # noqa: E731
    own = primitive.cell / size(primitive.cell)
    wanted = parent.cell / size(parent.cell)
    metric = (wanted @ wanted.T)[np.ix_(periodic, periodic)]
    axes = [range(-2, 3) if p else range(1) for p in primitive.pbc]
    grid = np.array(sorted(product(*axes), key=lambda n: (np.abs(n).sum(), [-x for x in n])))
    length = ((grid @ own) ** 2).sum(1)
    choices = [grid[np.abs(length - m) < 1e-3] for m in metric.diagonal()]
    which = np.flatnonzero(periodic)
    for rows in product(*choices):
        part = np.array(rows)
        vectors = part @ own
        if np.abs(vectors @ vectors.T - metric).max() < 1e-3:
            matrix = np.eye(3, dtype=np.int64)
            matrix[which] = part
            yield matrix


# ---------------------------------------------------------------------- figures
def _shell(primitive: Primitive, shell: int) -> float:
    """The distance of a shell of neighbours, a little more."""
    lengths = np.unique(around(primitive, 0, np.arange(len(primitive.basis)), REACH)[1])
    return float(lengths[shell]) * (1 + 1e-4)  # the first is the site itself


def _binary(rows: ArrayLike, basis: ArrayLike = ((0, 0, 0),), pbc=(True, True, True)) -> Primitive:
    basis = np.asarray(basis, dtype=float)
    return Primitive(np.asarray(rows, dtype=float), basis, (("A", "B"),) * len(basis), pbc)


_IDEAL = np.array([[1, 0, 0], [-0.5, np.sqrt(0.75), 0], [0, 0, np.sqrt(8 / 3)]])
PARENTS = {
    parent.name: parent
    for parent in (
        Parent("fcc", _binary([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]), (6, 4, 2)),
        Parent("bcc", _binary([[-0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.5, 0.5, -0.5]]), (6, 4, 2)),
        Parent("hcp", _binary(_IDEAL, [[1 / 3, 2 / 3, 1 / 4], [2 / 3, 1 / 3, 3 / 4]]), (6, 2, 2)),
        Parent("sc", _binary(np.eye(3)), (6, 3, 2)),
        Parent("square", _binary(np.eye(3), pbc=(True, True, False)), (6, 2, 2)),
    )
}
