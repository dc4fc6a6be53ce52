"""Short- and long-range order: perfect structures, image counts against loops over images, and bad input."""

import itertools

import numpy as np
import pytest

import alloygen.data
from alloygen.edge.prototypes import ordered_structure
from alloygen.errors import AlloygenError
from alloygen.estimate import order
from alloygen.estimate.superstructure import SUPERSTRUCTURES, Frame
from alloygen.hamiltonian.ising import ising
from alloygen.lattice import Lattice, Primitive
from alloygen.testing.systems import FCC

CUAU = ("Cu", "Au")
SKEWED = np.array([[1, 0, 0], [2, 1, 0], [-1, 3, 1]]) @ FCC  # other primitive vectors of the same lattice
CUBIC = [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]


def cuau(matrix) -> Lattice:
    return alloygen.data.cuau().on(matrix).lattice


def halves(lattice, a: float) -> np.ndarray:
    """Positions in half cubic edges, whole numbers (N, 3)."""
    found = np.rint(lattice.positions / (a / 2)).astype(int)
    assert np.abs(lattice.positions / (a / 2) - found).max() < 1e-6
    return found


def structures(lattice, a: float) -> dict[str, np.ndarray]:
    """Every translation and orientation of the superstructures, named: where the gold sits, by cubic coordinates."""
    r = halves(lattice, a) % 2
    out = {"Cu": np.zeros(lattice.n_sites), "Au": np.ones(lattice.n_sites)}
    for shift in np.unique(r, axis=0):
        corner = (r == shift).all(1).astype(float)
        out |= {f"L1_2 {shift}": corner, f"L1_2 of CuAu3 {shift}": 1 - corner}
    return out | {f"L1_0 {axis} {odd}": (r[:, axis] == odd).astype(float) for axis in range(3) for odd in (0, 1)}


LATTICES = {
    "4x4x4": (cuau((4, 4, 4)), 3.8),
    "2x2x4": (cuau((2, 2, 4)), 3.8),
    "2x2x2": (cuau((2, 2, 2)), 3.8),
    "not diagonal": (cuau([[-1, 1, 1], [1, -1, 1], [2, 2, -2]]), 3.8),
    "other vectors": (Lattice(Primitive(SKEWED, [[0, 0, 0]], [CUAU]), (2, 4, 2)), 1.0),
    "cubic cell": (Lattice(Primitive(np.eye(3), CUBIC, [CUAU] * 4), (1, 2, 1)), 1.0),
}


@pytest.mark.parametrize("name", LATTICES)
def test_perfect_structures(name):
    lattice, a = LATTICES[name]
    for which, s in structures(lattice, a).items():
        found = [order.long_range_order(s[None], lattice, w)[0] for w in ("L1_2", "L1_0")]
        assert found == pytest.approx([float(which.startswith(w)) for w in ("L1_2", "L1_0")], abs=1e-12), which


@pytest.mark.parametrize("name", LATTICES)
def test_warren_cowley_of_perfect_structures(name):
    """Each gold of L1_2 and each atom of L1_0 sees its own kind on the second shell only, in cells of any size."""
    lattice, a = LATTICES[name]
    distances, shells = order.pair_multiplicity(lattice, 4)
    assert distances / distances[0] == pytest.approx(np.sqrt([1, 2, 3, 4]))
    for which, s in structures(lattice, a).items():
        alpha = [e.value for e in order.warren_cowley([1 - s], [s], shells)]
        if which in CUAU:
            assert np.isnan(alpha).all()
        else:
            assert alpha == pytest.approx([-1 / 3, 1, -1 / 3, 1], abs=1e-12), which


def test_random_alloys_have_no_order():
    """Gold on a third of the sites at random: alpha is 0, and the amplitudes are what N sites leave."""
    lattice, x, rng = cuau((4, 4, 4)), 1 / 3, np.random.default_rng(0)
    s = (rng.random((4000, 64)) < x).astype(float)
    shells = order.pair_multiplicity(lattice, 6)[1]
    found = order.warren_cowley(1 - s, s, shells)
    z = np.array([e.value / e.stderr for e in found])
    assert np.abs(z[:3]).max() < 4 and max(e.stderr for e in found) < 0.01
    images = [m.diagonal().mean() / m.sum(1)[0] for m in shells]  # a site with itself: alpha = 1
    assert [e.value for e in found] == pytest.approx(images, abs=4 * max(e.stderr for e in found))
    a = np.stack([order.long_range_order(s, lattice, axis) for axis in np.eye(3)], 1)
    assert (a**2).mean(0) == pytest.approx(x * (1 - x) / 64, rel=0.1)
    assert (
        order.long_range_order(s, lattice, "L1_2").mean() < 0.2
        and order.long_range_order(s, lattice, "L1_0").mean() < 0.2
    )


def test_named_orders_of_three_unequal_amplitudes():
    """Where the perfect structures cannot tell a1 from a2."""
    lattice, a = LATTICES["2x2x4"]
    r = halves(lattice, a)
    s = 0.5 + 0.2 * np.cos(np.pi * r[:, 0]) + 0.1 * np.cos(np.pi * r[:, 1]) + 0.04 * np.cos(np.pi * r[:, 2])
    assert order.long_range_order(s[None], lattice, "L1_2") == pytest.approx([4 * 0.04])
    assert order.long_range_order(s[None], lattice, "L1_0") == pytest.approx([2 * (0.2 - 0.1)])


def test_amplitudes_are_written_out_sums():
    lattice = LATTICES["not diagonal"][0]
    s = np.random.default_rng(1).normal(size=(5, lattice.n_sites))
    k = np.linalg.solve(lattice.matrix, np.random.default_rng(2).integers(-3, 4, (6, 3)).T).T
    assert np.abs(k - np.rint(k)).max() > 0.1  # odd fractions that a transposed matrix would refuse
    wave = np.exp(-2j * np.pi * np.array([[n @ v for v in k] for n in lattice.offsets]))
    assert order.structure_amplitudes(s, lattice, k) == pytest.approx(np.abs(s @ wave) / lattice.n_sites, abs=1e-12)
    odd = next(v for v in k if np.abs(v - np.rint(v)).max() > 0.1)  # told in the conventional cell: k.r is the same
    cubic = odd @ np.linalg.inv(lattice.primitive.cell).T * 3.8
    assert order.long_range_order(s, lattice, cubic) == pytest.approx(order.structure_amplitudes(s, lattice, odd)[:, 0])
    every = lattice.translations  # a shift turns the phase alone
    assert order.structure_amplitudes(s[0][every], lattice, k).std(0).max() < 1e-12


@pytest.mark.slow
def test_fixed_sites_count_neither_above_nor_below():
    rocksalt = Lattice(Primitive(FCC, [[0, 0, 0], [0.5, 0.5, 0.5]], [CUAU, ("O",)]), (2, 2, 2))
    gold = (np.ptp(rocksalt.offsets % 2, axis=1) == 0) & (rocksalt.sublattice == 0)
    assert "L1_2" in order.orders_of(rocksalt) and order.long_range_order(
        gold[None], rocksalt, "L1_2"
    ) == pytest.approx([1.0])
    distances, shells = order.pair_multiplicity(rocksalt, 2, [0])
    assert distances == pytest.approx([np.sqrt(0.5), 1.0]) and shells[0].shape == (8, 8) and shells[0].sum() == 8 * 12
    assert order.pair_multiplicity(rocksalt, 2)[0] == pytest.approx([0.5, np.sqrt(0.5)])


# ---------------------------------------------------------------------- structures of ASE, built and cut out of the parent
BCC = 0.5 * np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]])
HCP = np.array([[1, 0, 0], [-0.5, np.sqrt(0.75), 0], [0, 0, 1.6]])
HCP_SITES = [[1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]]
TURN = np.linalg.qr(np.random.default_rng(7).normal(size=(3, 3)))[0]
OTHER = np.array([[1, 0, 0], [2, 1, 0], [-1, 3, 1]])
AB = ("A", "B")


def parents(name: str) -> dict[str, Lattice]:
    """A supercell that holds all variants of all orders, from usual, skewed and turned primitive cells."""
    cell, basis = {"fcc": (FCC, [[0, 0, 0]]), "bcc": (BCC, [[0, 0, 0]]), "hcp": (HCP, HCP_SITES)}[name]
    repeats = (2, 2, 1) if name == "hcp" else (4, 4, 4)
    usual = Primitive(cell, basis, [AB] * len(basis))
    skewed = Primitive(OTHER @ cell, np.array(basis) @ np.linalg.inv(OTHER), [AB] * len(basis))
    # the conventional cell of bcc as a primitive one: two sublattices of one lattice
    cubic = Lattice(Primitive(3.0 * np.eye(3), [[0.1, 0, 0], [0.6, 0.5, 0.5]], [AB, AB]), (2, 2, 2))
    spectators = Primitive(cell, [*basis, [0.5, 0.5, 0.5 if name != "hcp" else 0.0]], [AB] * len(basis) + [("O",)])
    return {
        "usual": Lattice(usual, repeats),
        "skewed": Lattice(skewed, np.rint(np.diag(repeats) @ np.linalg.inv(OTHER)).astype(int)),
        "turned": Lattice(Primitive(2.7 * cell @ TURN, basis, usual.species), repeats),
        "spectators": Lattice(spectators, repeats),
        **({"cubic cell": cubic} if name == "bcc" else {}),
    }


def ordered(name: str):
    """The structure as ASE builds it, its edge that of the parent's conventional cell: (Atoms, minority element)."""
    from ase import Atoms
    from ase.build import bulk
    from ase.lattice.compounds import L1_2
    from ase.lattice.hexagonal import HexagonalClosedPacked

    if name == "B2":
        return bulk("CuZn", "cesiumchloride", a=1.0), "Zn"
    if name == "L1_2":
        return L1_2(size=(1, 1, 1), symbol=("Au", "Cu"), latticeconstant=1.0), "Au"
    if name == "L1_0":
        return Atoms(
            "CuAu",
            cell=[[0.5, 0.5, 0], [0.5, -0.5, 0], [0, 0, 1]],
            scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]],
            pbc=True,
        ), "Au"
    if name == "L1_1":  # (111) layers of one kind
        cell = [[1.0, 0.5, 0.5], [0.5, 1.0, 0.5], [0.5, 0.5, 1.0]]
        return Atoms("CuPt", cell=cell, scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]], pbc=True), "Pt"
    if name == "D0_22":
        cell = [[1, 0, 0], [0, 1, 0], [0.5, 0.5, 1]]
        al = [[0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
        return Atoms("TiAl3", cell=cell, positions=[[0, 0, 0], *al], pbc=True), "Ti"
    if name == "D0_3":  # Fm-3m: Al 4a, Fe 4b and 8c, an edge of two
        cell = 2 * FCC
        return Atoms(
            "AlFe3", cell=cell, scaled_positions=[[0, 0, 0], [0.5] * 3, [0.25] * 3, [0.75] * 3], pbc=True
        ), "Al"
    if name == "B32":  # Fd-3m: Na 8a, Tl 8b
        return Atoms(
            "Na2Tl2", cell=2 * FCC, scaled_positions=[[0] * 3, [0.25] * 3, [0.5] * 3, [0.75] * 3], pbc=True
        ), "Tl"
    parent = HexagonalClosedPacked(symbol="Ni", latticeconstant={"a": 1.0, "c": 1.6}, size=(2, 2, 1))
    if name == "D0_19":  # P6_3/mmc: Sn 2c
        symbols = np.array(parent.get_chemical_symbols())
        at = parent.get_scaled_positions()
        pairs = [
            (i, j)
            for i in range(8)
            for j in range(i)
            if abs(at[i, 2] - at[j, 2]) > 0.1 and parent.get_distance(i, j, mic=True) > 1.2
        ]
        symbols[list(pairs[0])] = "Sn"
        parent.set_chemical_symbols(symbols)
        return parent, "Sn"
    # B19: rows in each layer; of the three neighbours in the next layer two are unlike
    at = parent.positions
    rows = np.rint(2 * parent.get_scaled_positions()[:, 1] - 2 * parent.get_scaled_positions()[[0], 1]).astype(int) % 2
    layers = np.array([np.abs(z - at[0, 2]) > 0.1 for z in at[:, 2]])
    for flip in (0, 1):
        gold = (rows + flip * layers) % 2 == 1
        across = [parent.get_distances(i, np.flatnonzero(layers != layers[i]), mic=True) for i in range(8)]
        like = [(gold[np.flatnonzero(layers != layers[i])] == gold[i])[d < 1.1] for i, d in enumerate(across)]
        if all(v.sum() == 1 for v in like):
            parent.set_chemical_symbols(np.where(gold, "Au", "Cd"))
    return parent, "Au"


def occupations(name: str, lattice: Lattice) -> np.ndarray:
    """The minority's sites in every variant and translate (n, N), by laying ASE's structure onto the lattice's conventional cell."""
    from alloygen.edge.prototypes import conventional

    atoms, minority = ordered(name)
    free = np.flatnonzero(lattice.n_species > 1)
    cell = conventional(lattice.primitive, np.unique(lattice.sublattice[free]))[1]
    own = np.eye(3) if cell is None or abs(cell[0] @ cell[1]) < 1e-9 * (cell[0] @ cell[0]) else HCP
    to_lattice = np.linalg.inv(own) @ cell
    found = np.array([s == minority for s in atoms.get_chemical_symbols()])
    gold, super_cell = atoms.positions[found] @ to_lattice, atoms.cell.array @ to_lattice
    here = lattice.positions
    if own is HCP:
        gold = gold + (here[free[0]] - atoms.positions[0] @ to_lattice)
        # the second layer of ASE's cell may lie in the other hollow
        if not _on(atoms.positions @ to_lattice + here[free[0]] - atoms.positions[0] @ to_lattice, here[free], lattice):
            gold = 2 * here[free[0]] - gold
            super_cell = -super_cell
    else:
        gold = gold - gold[0] + here[free[0]]
    s = np.zeros(lattice.n_sites)
    rest = (here[free][:, None] - gold) @ np.linalg.inv(super_cell)
    s[free] = (np.abs(rest - np.rint(rest)).max(-1) < 1e-6).any(1)
    images = {tuple(s[row]) for row in _symmetries(lattice, s)}
    return np.array(sorted(images))


def _on(points, sites, lattice) -> bool:
    rest = (points[:, None] - sites) @ np.linalg.inv(lattice.cell)
    return bool((np.abs(rest - np.rint(rest)).max(-1) < 1e-6).any(1).all())


def _symmetries(lattice, s):
    for operation in lattice.point_operations:
        yield from np.argsort(operation)[lattice.translations]


VARIANTS = {"B2": 2, "D0_3": 4, "B32": 4, "L1_2": 4, "L1_0": 6, "L1_1": 8, "D0_22": 12, "D0_19": 4, "B19": 6}
PARENT = {n: s.parent for n, s in SUPERSTRUCTURES.items()}
PARTS = {("B2", "D0_3"): 0.5, ("L1_0", "D0_22"): 0.5}  # an order within another


@pytest.mark.parametrize("name", SUPERSTRUCTURES)
def test_named_orders_are_one_in_every_variant_of_the_perfect_structure_and_none_in_others(name):
    for title, lattice in parents(PARENT[name]).items():
        for structure in [n for n, p in PARENT.items() if p == PARENT[name]]:
            s = occupations(structure, lattice)
            free = lattice.n_species > 1
            assert s[:, free].mean() == pytest.approx(SUPERSTRUCTURES[structure].share)
            expected = 1.0 if structure == name else PARTS.get((name, structure), 0.0)
            assert order.long_range_order(s, lattice, name) == pytest.approx(expected, abs=1e-9), (title, structure)
            # the other species has the same order
            assert order.long_range_order(free - s, lattice, name) == pytest.approx(expected, abs=1e-9), (
                title,
                structure,
            )


@pytest.mark.parametrize("name", VARIANTS)
def test_all_variants_and_translates_were_there(name):
    """B19 has three directions of rows and two places of each, L1_1 four planes and two, and so on."""
    assert len(occupations(name, parents(PARENT[name])["usual"])) == VARIANTS[name]


@pytest.mark.parametrize("name", VARIANTS)
def test_sublattices_are_those_of_the_perfect_structures(name):
    """From sums of waves on one side, from crystals that ASE builds on the other; and spglib knows them by name, with either element on them."""
    for title, lattice in parents(PARENT[name]).items():
        free = lattice.n_species > 1
        perfect = occupations(name, lattice)[:, free]
        found = Frame(lattice, free).sublattices(name)
        masks, known = ({tuple(row) for row in rows.astype(int).tolist()} for rows in (found, perfect))
        assert masks == known if title == "usual" else masks >= known, (
            title
        )  # fixed sublattices may tell orientations apart
        occ = np.zeros((len(found), lattice.n_sites), dtype=int)
        occ[:, free] = found
        assert {ordered_structure(lattice, row) for row in occ[:3]} == {name}, title
        assert {ordered_structure(lattice, np.where(free, 1 - row, 0)) for row in occ[:3]} == {name}
        held = np.stack([occ == k for k in (0, 1)], 1)
        eta = order.sublattice_order(held & free, lattice, name)
        assert np.abs(eta) == pytest.approx(1) and eta[:, 0] == pytest.approx(-eta[:, 1])


def test_a_third_element_shares_the_sublattices():
    """Cu3Au with one gold atom in four replaced by palladium; and what no structure is has no name."""
    lattice = Lattice(Primitive(FCC, [[0, 0, 0]], [("Cu", "Au", "Pd")]), (4, 4, 4))
    gold = Frame(lattice, lattice.n_species > 1).sublattices("L1_2")[1]
    occ = gold.astype(int)
    occ[np.flatnonzero(gold)[::4]] = 2
    eta = order.sublattice_order((occ == np.arange(3)[:, None])[None], lattice, "L1_2")
    assert eta.tolist() == [[-1.0, 0.75, 0.25]]
    random = np.random.default_rng(0).integers(3, size=(20, 64))
    eta = order.sublattice_order(random[:, None] == np.arange(3)[:, None], lattice, "L1_2")
    assert np.abs(eta.sum(1)).max() < 1e-6 and np.abs(eta).max() < 0.5
    assert ordered_structure(lattice, random[0]) == "" and ordered_structure(lattice, np.zeros(64, dtype=int)) == ""
    with pytest.raises(AlloygenError, match=r"expected one of the orders .*L1_0.*, got 'B2'"):
        order.sublattice_order([[gold]], lattice, "B2")


@pytest.mark.parametrize("name, cell", [("L1_0", FCC), ("L1_1", FCC), ("B2", BCC), ("B32", BCC)])
def test_translates_of_a_structure_with_like_sublattices_count_as_one(name, cell):
    """eta of all variants and translates, a third element on one sublattice or the other, averages to that of one of them; without a common sign to 0."""
    lattice = Lattice(Primitive(cell, [[0, 0, 0]], [("Cu", "Au", "Pd")]), (4, 4, 4))
    first = Frame(lattice, lattice.n_species > 1).sublattices(name)
    occ = first.astype(int)
    for row in occ:
        row[np.flatnonzero(row == 1)[::4]] = 2
    held = occ[:, None] == np.arange(3)[:, None]
    eta = order.sublattice_order(held, lattice, name)
    assert np.abs(eta.mean(0)).max() < 0.1  # negative control
    same = order.one_sign(eta, held.sum(2))
    assert same == pytest.approx(np.tile([-1.0, 0.75, 0.25], (len(occ), 1))) and np.array_equal(
        np.abs(same), np.abs(eta)
    )
    other = order.one_sign(np.concatenate([eta, eta[:1]]), np.concatenate([held.sum(2), [[1, 2, 3]]]))
    assert np.abs(other[:-1] - same).max() == 0  # each composition has its own


def test_ternary_structures_of_bcc():
    """Heusler Cu2MnAl (L2_1) and MoSi2 (C11_b), which no wave of one species names."""
    lattice = Lattice(Primitive(BCC, [[0, 0, 0]], [("Cu", "Mn", "Al")]), (4, 4, 4))
    d03 = Frame(lattice, lattice.n_species > 1).sublattices("D0_3")
    assert sorted(ordered_structure(lattice, d03[0] + 2 * d03[k]) for k in (1, 2, 3)) == ["", "", "L2_1"]
    layers = Lattice(Primitive(BCC, [[0, 0, 0]], [("Mo", "Si")]), [[0, 1, 1], [1, 0, 1], [3, 3, 0]])
    assert ordered_structure(layers, (np.rint(2 * layers.positions[:, 2]) % 3 != 0).astype(int)) == "C11_b"


def test_vectors_are_those_of_the_conventional_cell():
    """(1, 0, 0) on bcc is the wave of B2; as a vector of the primitive cell it would be the composition."""
    for lattice in parents("bcc").values():
        b2, d03 = occupations("B2", lattice), occupations("D0_3", lattice)
        assert order.long_range_order(b2, lattice, [1, 0, 0]) == pytest.approx(0.5)
        assert order.long_range_order(d03, lattice, [1, 0, 0]) == pytest.approx(0.25)
        assert order.long_range_order(d03, lattice, (0.5, 0.5, 0.5)) == pytest.approx(0.25)
    for lattice in parents("fcc").values():
        l10 = occupations("L1_0", lattice)
        three = np.sort([order.long_range_order(l10, lattice, axis) for axis in np.eye(3)], 0)
        assert three == pytest.approx(np.array([[0.0], [0.0], [0.5]]) * np.ones(len(l10)))
    lattice = parents("hcp")["usual"]
    layers = (lattice.sublattice == 0).astype(float)[None]
    assert order.long_range_order(layers, lattice, (0, 0, 1)) == pytest.approx(
        0.5
    )  # a reciprocal vector, yet not the composition


@pytest.mark.parametrize(
    "name, vectors", [("fcc", [(1, 1, 1), (2, 0, 0), (0, 0, 0)]), ("bcc", [(1, 1, 0), (2, 0, 0)]), ("hcp", [(0, 0, 2)])]
)
def test_vectors_that_give_the_composition_are_refused(name, vectors):
    for lattice in parents(name).values():
        for vector in vectors:
            with pytest.raises(AlloygenError, match="one phase on all sites and its amplitude is the composition"):
                order.long_range_order(np.ones((1, lattice.n_sites)), lattice, vector)


def test_a_name_of_another_lattice_is_refused_with_those_that_fit():
    for parent, names in (("bcc", r"\['B2', 'B32', 'D0_3'\]"), ("hcp", r"\['B19', 'D0_19'\]")):
        lattice = parents(parent)["usual"]
        assert order.orders_of(lattice) == [n for n, p in PARENT.items() if p == parent]
        for wrong in ("L1_2", "B1", ""):
            with pytest.raises(AlloygenError, match=f"expected an order of {parent}, one of {names}.*got '{wrong}'"):
                order.long_range_order(np.ones((1, lattice.n_sites)), lattice, wrong)


# ---------------------------------------------------------------------- pairs and images
CELLS = [
    (1, 1, 1),
    (1, 2, 1),
    (2, 2, 2),
    (2, 2, 4),
    [[2, 0, 0], [1, 2, 0], [0, 1, 2]],
    [[0, 0, 1], [0, 2, 0], [3, 1, 0]],
]


@pytest.mark.parametrize("matrix", CELLS, ids=str)
def test_every_site_has_the_neighbours_of_the_crystal(matrix):
    distances, shells = order.pair_multiplicity(cuau(matrix), 6)
    assert distances / distances[0] == pytest.approx(np.sqrt([1, 2, 3, 4, 5, 6]))
    for m, coordination in zip(shells, (12, 6, 24, 12, 24, 8), strict=True):
        assert (m.sum(1) == coordination).all() and (m != m.T).nnz == 0


def image_counts(lattice, distances) -> tuple[np.ndarray, int]:
    """Loop over site pairs and images, the slow, obvious way: (K, N, N), and how many there are up to the last distance."""
    n, reach, total = lattice.n_sites, 5, 0
    spans = [range(-reach, reach + 1) if p else (0,) for p in lattice.primitive.pbc]
    images = np.array(list(itertools.product(*spans))) @ lattice.cell
    out = np.zeros((len(distances), n, n), dtype=int)
    for i, j in itertools.product(range(n), repeat=2):
        length = np.linalg.norm(lattice.positions[j] - lattice.positions[i] + images, axis=1)
        out[:, i, j] = (np.abs(length - distances[:, None]) < 1e-6).sum(1)
        total += ((length > 1e-6) & (length < distances[-1] + 1e-6)).sum()
    return out, total


SLOW = {
    "cuau": cuau((2, 2, 4)),
    "skew": cuau([[2, 0, 0], [1, 2, 0], [0, 1, 2]]),
    "ising": ising(3).lattice,
    "two sublattices": Lattice(
        Primitive(np.diag([1.0, 1.1, 1.3]), [[0, 0, 0], [0.5, 0.5, 0.4]], [CUAU] * 2), (2, 1, 1)
    ),
}


@pytest.mark.parametrize("name", SLOW)
def test_multiplicities_and_alpha_are_those_of_loops_over_images(name):
    lattice = SLOW[name]
    distances, shells = order.pair_multiplicity(lattice, 5)
    slow, total = image_counts(lattice, distances)
    assert (np.stack([m.toarray() for m in shells]) == slow).all()
    assert slow.sum() == total and slow.sum((1, 2)).all()  # no shell was missed or invented
    rng = np.random.default_rng(3)
    species, w = rng.integers(3, size=(40, lattice.n_sites)), rng.random(40)
    w /= w.sum()
    a, b = species == 0, species == 2
    x_a, x_b = w @ a.mean(1), w @ b.mean(1)
    pairs = np.einsum("s,si,kij,sj->k", w, a, slow, b) / slow.sum((1, 2))
    with pytest.warns(UserWarning, match="effective samples"):
        found = order.warren_cowley(a, b, shells, np.log(w))
        back = order.warren_cowley(b, a, list(slow), np.log(w))
    assert [e.value for e in found] == pytest.approx(1 - pairs / (x_a * x_b), abs=1e-12)
    assert [(e.value, e.stderr) for e in back] == [pytest.approx((e.value, e.stderr)) for e in found]


def test_a_self_image_is_perfectly_correlated():
    """In a row of the 3x3 torus the third neighbour is the site itself: alpha is 1 for unlike species there."""
    distances, shells = order.pair_multiplicity(ising(3).lattice, 6)
    assert distances[4] == pytest.approx(np.sqrt(8)) and distances[5] == pytest.approx(3.0)
    assert (shells[5].toarray() == 4 * np.eye(9)).all()
    s = np.random.default_rng(0).integers(2, size=(50, 9))
    assert order.warren_cowley(1 - s, s, shells)[5].value == 1.0


def test_concentration_that_fluctuates_shifts_alpha():
    """All copper or all gold: pairs are always alike, alpha is 1 = var(x) / (x_a x_b)."""
    s = np.repeat([[0.0], [1.0]], 8, axis=1)
    found = order.warren_cowley(1 - s, s, order.pair_multiplicity(cuau((2, 2, 2)), 3)[1])
    assert [e.value for e in found] == [1.0] * 3


def test_alpha_errors_count_all_three_averages():
    """Against the scatter of many runs; the error of y alone is far too wide where the concentration drives it."""
    lattice, rng = cuau((2, 2, 4)), np.random.default_rng(5)
    shells, runs, bare = order.pair_multiplicity(lattice, 2)[1], [], []
    for _ in range(200):
        s = (rng.random((500, 16)) < rng.beta(2, 6, size=(500, 1))).astype(float)
        runs.append([(e.value, e.stderr) for e in order.warren_cowley(s, s, shells)])
        y = ((shells[0] @ s.T).T * s).sum(1) / shells[0].sum()
        bare.append(y.std() / np.sqrt(500) / s.mean() ** 2)
    value, stderr = np.moveaxis(np.array(runs), 2, 0)
    assert value.std(0) / stderr.mean(0) == pytest.approx(1.0, abs=0.15)
    assert np.mean(bare) > 1.4 * stderr[:, 0].mean()


def test_samples_that_never_change_still_have_an_error():
    lattice, a = LATTICES["4x4x4"]
    s = np.repeat(structures(lattice, a)["L1_0 2 0"][None], 100, axis=0)
    for e in order.warren_cowley(1 - s, s, order.pair_multiplicity(lattice, 2)[1]):
        assert e.stderr == pytest.approx(3 * 2 / 64 / 0.25 / 100)


# ---------------------------------------------------------------------- errors
def test_absent_species_and_empty_shells():
    shells = order.pair_multiplicity(cuau((2, 2, 2)), 2)[1]
    for e in order.warren_cowley(np.zeros((5, 8)), np.ones((5, 8)), shells):
        assert np.isnan(e.value) and np.isnan(e.stderr) and "absent" in e.note
    s = np.random.default_rng(0).integers(2, size=(5, 8))
    assert "no pairs" in order.warren_cowley(1 - s, s, [np.zeros((8, 8))])[0].note


STRANGERS = {
    "simple cubic": Primitive(np.eye(3), [[0, 0, 0]], [CUAU]),
    "diamond": Primitive(FCC, [[0, 0, 0], [0.25, 0.25, 0.25]], [CUAU] * 2),
    "tetragonal": Primitive(FCC @ np.diag([1, 1, 1.05]), [[0, 0, 0]], [CUAU]),
    "slab": Primitive(FCC, [[0, 0, 0]], [CUAU], (True, True, False)),
}


@pytest.mark.parametrize("name", STRANGERS)
def test_crystals_without_named_orders_say_so(name):
    primitive = STRANGERS[name]
    lattice = Lattice(primitive, (2, 2, 2 if all(primitive.pbc) else 1))
    assert order.orders_of(lattice) == []
    with pytest.raises(AlloygenError, match=r"no name \(the sites.*an order vector.*got 'L1_2'"):
        order.long_range_order(np.ones((1, lattice.n_sites)), lattice, "L1_2")
    vector = (0.5, 0.5, 0) if name != "diamond" else (1, 0, 0)
    assert order.long_range_order(np.ones((1, lattice.n_sites)), lattice, vector) == pytest.approx([0.0])


def test_vectors_must_fit_the_supercell():
    lattice, ones = cuau((3, 2, 2)), np.ones((1, 12))
    with pytest.raises(AlloygenError, match=r"nearest that does is \(0.333333, 0.5, 0\).*even repeats"):
        order.structure_amplitudes(ones, lattice, (0.4, 0.5, 0))
    with pytest.raises(AlloygenError, match=r"got \(1, 0, 0\); the nearest that does is \(-?\d.*even repeats"):
        order.long_range_order(np.ones((1, 18)), cuau((3, 3, 2)), (1, 0, 0))
    with pytest.raises(AlloygenError, match="supercell that L1_2 fits into"):
        order.long_range_order(ones, lattice, "L1_2")
    assert order.long_range_order(ones, lattice, (-1 / 3, 1 / 3, 1 / 3)) == pytest.approx([0.0], abs=1e-12)
    assert order.structure_amplitudes(np.ones((1, 9)), ising(3).lattice, (0, 0, 0.3)) == pytest.approx(1.0)  # one layer


def test_errors():
    lattice, ones = cuau((2, 2, 2)), np.ones((1, 8))
    for which in ("B2", (0.5, 0.5), 0.5, None):
        with pytest.raises(AlloygenError, match=r"\['L1_0', 'L1_2', 'D0_22', 'L1_1'\], or an order vector"):
            order.long_range_order(ones, lattice, which)
    with pytest.raises(AlloygenError, match=r"shape \(n, 8\), got \(1, 7\)"):
        order.structure_amplitudes(ones[:, 1:], lattice, (0, 0, 0))
    with pytest.raises(AlloygenError, match="three finite numbers"):
        order.structure_amplitudes(ones, lattice, (0, 0, np.nan))
    with pytest.raises(AlloygenError, match="more than one species"):
        order.structure_amplitudes(ones, Lattice(Primitive(FCC, [[0, 0, 0]], [("Cu",)]), (2, 2, 2)), (0, 0, 0))
    for n in (0, 1.5):
        with pytest.raises(AlloygenError, match="from 1 to 1000"):
            order.pair_multiplicity(lattice, n)
    for sublattices in ([1], []):
        with pytest.raises(AlloygenError, match=r"sublattices out of \[0\]"):
            order.pair_multiplicity(lattice, 1, sublattices)
    with pytest.raises(AlloygenError, match="not periodic"):
        order.pair_multiplicity(Lattice(Primitive(FCC, CUBIC, [CUAU] * 4, (False,) * 3), (1, 1, 1)), 9)
    shells = order.pair_multiplicity(lattice, 1)[1]
    for a, b in ((ones, ones[:, 1:]), (ones[:, 1:], ones[:, 1:]), (ones[0], ones[0])):
        with pytest.raises(AlloygenError, match="shape"):
            order.warren_cowley(a, b, shells)
