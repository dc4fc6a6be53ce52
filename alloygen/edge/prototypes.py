"""What crystal a primitive cell makes: fcc, bcc, hcp, rocksalt, ..., and the conventional cell that its vectors are told in.

The space group of spglib decides, so that any choice of primitive vectors gives the same answer. A crystal that is strained, or
that none of the names below means, has no name.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product

import numpy as np

from alloygen.lattice import Lattice, Primitive

VACANCIES = ("X", "Va", "VA", "Vac", "vacancy")  # species that are no atoms
TOLERANCE = 1e-5  # of positions, in units of the cube root of the volume of a primitive cell

# (space group, sites and kinds of sites of the smallest cell) -> name. Kinds differ in the set of species that they may hold.
NAMES = {
    (225, 1, 1): "fcc",
    (229, 1, 1): "bcc",
    (221, 1, 1): "simple cubic",
    (194, 2, 1): "hcp",
    (227, 2, 1): "diamond",
    (225, 2, 2): "rocksalt",
    (216, 2, 2): "zincblende",
    (221, 2, 2): "caesium chloride",
    (225, 3, 2): "fluorite",
    (186, 4, 2): "wurtzite",
    (221, 5, 3): "perovskite",
}
# (crystal of the sites, space group of the decorated one, sites of its primitive cell by element, rising) -> name of the ordered structure
ORDERED = {
    ("fcc", 123, (1, 1)): "L1_0",
    ("fcc", 166, (1, 1)): "L1_1",
    ("fcc", 221, (1, 3)): "L1_2",
    ("fcc", 139, (1, 3)): "D0_22",
    ("fcc", 139, (2, 6)): "D0_23",
    ("fcc", 87, (1, 4)): "D1_a",
    ("bcc", 221, (1, 1)): "B2",
    ("bcc", 225, (1, 3)): "D0_3",
    ("bcc", 227, (2, 2)): "B32",
    ("bcc", 139, (1, 2)): "C11_b",
    ("bcc", 225, (1, 1, 2)): "L2_1",
    ("hcp", 51, (2, 2)): "B19",
    ("hcp", 194, (2, 6)): "D0_19",
}
CUBIC = {"fcc": 4, "bcc": 2, "simple cubic": 1, "diamond": 4}  # lattice points of the conventional cell


def is_vacancy(species: str) -> bool:
    """Whether a species is no atom: ``X``, as ASE writes a vacancy, or Va, VA, Vac.

    >>> is_vacancy("X"), is_vacancy("Cu")
    (True, False)
    """
    return species in VACANCIES


@lru_cache(maxsize=64)  # asked for again for every table of a scan
def kind(primitive: Primitive) -> str:
    """The name of the crystal, all sites taken together; "" where there is none.

    Examples
    --------
    >>> fcc = 0.5 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]])
    >>> kind(Primitive(fcc, [[0, 0, 0]], [("Cu", "Au")]))
    'fcc'
    >>> kind(Primitive(fcc, [[0, 0, 0], [0.5, 0.5, 0.5]], [("Li", "Na"), ("O",)]))
    'rocksalt'
    """
    kinds = [frozenset(names) for names in primitive.species]
    types = [list(dict.fromkeys(kinds)).index(k) for k in kinds]
    return _name(primitive, range(len(types)), types)[0]


def conventional(primitive: Primitive, sublattices) -> tuple[str, np.ndarray | None]:
    """(name, conventional cell (3, 3), rows) of the crystal that some sublattices make, all of their sites alike.

    The name is one of fcc, bcc, simple cubic, hcp and diamond. Cubic axes are the lattice vectors of one cubic edge, the first
    the nearest to x and the second the nearest to y that is left; hexagonal ones are a1 (the nearest to x), a2 at 120 degrees and c.
    ("", None) for anything else, for strained cells and where a direction is not periodic.

    Examples
    --------
    >>> bcc = Primitive(1.5 * np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]]), [[0, 0, 0]], [("Fe", "Al")])
    >>> name, cell = conventional(bcc, [0])
    >>> name, cell.round(9).tolist()
    ('bcc', [[3.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 3.0]])
    """
    return _conventional(primitive, tuple(int(b) for b in sublattices))


def ordered_structure(lattice: Lattice, occ: np.ndarray) -> str:
    """The name of the ordered structure that one configuration (N,) is, L1_2, D0_3, ..., of any number of elements; "" where it has none.

    The sites that can change are decorated with their elements, and the space group of that, by spglib, with the numbers of atoms of its primitive cell tells the
    structure: in any supercell, orientation and translation, and beside any fixed sublattices.

    Examples
    --------
    >>> fcc = Lattice(Primitive(0.5 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]), [[0, 0, 0]], [("Cu", "Au")]), (2, 2, 2))
    >>> ordered_structure(fcc, (np.ptp(fcc.offsets % 2, axis=1) == 0).astype(int)), ordered_structure(fcc, np.zeros(8, dtype=int))
    ('L1_2', '')
    """
    import spglib

    sites = lattice.changeable
    parent = conventional(lattice.primitive, np.unique(lattice.sublattice[sites]))[0] if sites.any() else ""
    if not parent:
        return ""
    elements = lattice.site_elements[np.arange(len(sites)), occ][sites]
    cell = lattice.matrix @ lattice.primitive.cell
    unit = abs(np.linalg.det(lattice.primitive.cell)) ** (1 / 3)
    places = lattice.positions[sites] @ np.linalg.inv(cell)
    data = spglib.get_symmetry_dataset((cell / unit, places, 1 + elements), symprec=TOLERANCE)
    if data is None:
        return ""
    share = len(set(data.mapping_to_primitive)) / len(elements)
    return ORDERED.get((parent, data.number, tuple(sorted(round(n * share) for n in np.bincount(elements) if n))), "")


@lru_cache(maxsize=64)  # asked for again at every condition of a scan
def _conventional(primitive: Primitive, sublattices: tuple[int, ...]):
    name, data = _name(primitive, sublattices, [0] * len(sublattices))
    if name not in (*CUBIC, "hcp"):
        return "", None
    a, c = np.linalg.norm(data.std_lattice[0]) * data.unit, np.linalg.norm(data.std_lattice[2]) * data.unit
    vectors = _translations(primitive, sublattices)
    length = np.linalg.norm(vectors, axis=1)
    edges = vectors[np.abs(length - a) < 1e-3 * a]
    if name in CUBIC:
        first = _nearest(edges, [1, 0, 0])
        second = _nearest(edges[np.abs(edges @ first) < 1e-3 * a * a], [0, 1, 0])
        third = edges[(np.abs(edges @ first) < 1e-3 * a * a) & (np.abs(edges @ second) < 1e-3 * a * a)]
        return name, np.array([first, second, _nearest(third, [0, 0, 1])])
    axes = vectors[(np.abs(length - c) < 1e-3 * c) & ((np.abs(vectors @ edges.T) < 1e-3 * a * c).sum(1) >= 6)]
    third = _nearest(axes, [0, 0, 1])
    edges = edges[np.abs(edges @ third) < 1e-3 * a * c]
    first = _nearest(edges, [1, 0, 0])
    turned = edges[np.abs(edges @ first + 0.5 * a * a) < 1e-3 * a * a]
    return name, np.array([first, turned[(np.cross(first, turned) @ third).argmax()], third])


def _nearest(vectors: np.ndarray, to) -> np.ndarray:
    """The vector that points along ``to`` most closely; of equal ones the one along x, then y, then z."""
    along = np.round(vectors @ np.array(to, dtype=float), 6)
    order = np.lexsort((*np.round(vectors.T[::-1], 6), along))
    return vectors[order[-1]]


def _name(primitive: Primitive, sublattices, types):
    """(name, spglib's dataset with ``unit``, the length that it is told in) of some sublattices."""
    if not len(types) or not all(primitive.pbc):
        return "", None
    data = _Dataset(primitive.cell, primitive.basis[list(sublattices)], types)
    return NAMES.get((data.number, data.sites, len(set(types))), ""), data


class _Dataset:
    """What spglib finds: the number of the space group, the sites of the smallest cell, and the conventional cell."""

    def __init__(self, cell, basis, types):
        import spglib

        self.unit = abs(np.linalg.det(cell)) ** (1 / 3)
        data = spglib.get_symmetry_dataset((cell / self.unit, basis, [1 + t for t in types]), symprec=TOLERANCE)
        self.number = 0 if data is None else data.number
        self.sites = 0 if data is None else len(set(data.mapping_to_primitive))
        self.std_lattice = None if data is None else data.std_lattice


def _translations(primitive: Primitive, sublattices) -> np.ndarray:
    """Short translations that map the sites of the sublattices onto each other, Cartesian rows."""
    import spglib

    unit = abs(np.linalg.det(primitive.cell)) ** (1 / 3)
    sites = ((primitive.cell / unit).tolist(), primitive.basis[list(sublattices)].tolist(), [1] * len(sublattices))
    found = spglib.standardize_cell(sites, to_primitive=True, no_idealize=True, symprec=TOLERANCE)
    cell = primitive.cell if found is None else np.asarray(found[0]) * unit
    short = Lattice(Primitive(cell, np.zeros((1, 3)), (("X",),)), (1, 1, 1)).shortest_vectors
    return np.array(list(product((-2, -1, 0, 1, 2), repeat=3))) @ short
