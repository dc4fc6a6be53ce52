"""Short- and long-range order: perfect structures, image counts against loops over images, and bad input."""

import itertools

import numpy as np
import pytest
from small_systems import FCC

import alloygen.data
from alloygen.errors import AlloygenError
from alloygen.estimate import order
from alloygen.hamiltonian.ising import ising
from alloygen.lattice import Lattice, Primitive

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
    a = order.structure_amplitudes(s, lattice, order.x_points(lattice))
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
    assert order.long_range_order(s, lattice, k[0]) == pytest.approx(order.structure_amplitudes(s, lattice, k)[:, 0])
    every = lattice.translations  # a shift turns the phase alone
    assert order.structure_amplitudes(s[0][every], lattice, k).std(0).max() < 1e-12


@pytest.mark.slow
def test_fixed_sites_count_neither_above_nor_below():
    rocksalt = Lattice(Primitive(FCC, [[0, 0, 0], [0.5, 0.5, 0.5]], [CUAU, ("O",)]), (2, 2, 2))
    gold = (np.ptp(rocksalt.offsets % 2, axis=1) == 0) & (rocksalt.sublattice == 0)
    assert order.fcc(rocksalt) and order.long_range_order(gold[None], rocksalt, "L1_2") == pytest.approx([1.0])
    distances, shells = order.pair_multiplicity(rocksalt, 2, [0])
    assert distances == pytest.approx([np.sqrt(0.5), 1.0]) and shells[0].shape == (8, 8) and shells[0].sum() == 8 * 12
    assert order.pair_multiplicity(rocksalt, 2)[0] == pytest.approx([0.5, np.sqrt(0.5)])


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


@pytest.mark.parametrize("primitive", [
    Primitive(np.eye(3), [[0, 0, 0]], [CUAU]),  # simple cubic
    Primitive([[-0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.5, 0.5, -0.5]], [[0, 0, 0]], [CUAU]),  # bcc
    Primitive(FCC @ np.diag([1, 1, 1.05]), [[0, 0, 0]], [CUAU]),  # face-centred tetragonal
    Primitive(FCC, [[0, 0, 0], [0.25, 0.25, 0.25]], [CUAU] * 2),  # diamond
    Primitive(FCC, [[0, 0, 0]], [CUAU], (True, True, False)),
], ids=["cubic", "bcc", "tetragonal", "diamond", "slab"])  # fmt: skip
def test_named_orders_are_those_of_fcc(primitive):
    lattice = Lattice(primitive, (2, 2, 2 if all(primitive.pbc) else 1))
    assert not order.fcc(lattice)
    with pytest.raises(AlloygenError, match=r"expected an fcc lattice.*Give an order vector"):
        order.long_range_order(np.ones((1, lattice.n_sites)), lattice, "L1_2")
    assert order.long_range_order(np.ones((1, lattice.n_sites)), lattice, (0.5, 0.5, 0)) == pytest.approx([0.0])


def test_vectors_must_fit_the_supercell():
    lattice = cuau((3, 2, 2))
    with pytest.raises(AlloygenError, match=r"nearest that does is \(0.333333, 0.5, 0\).*even repeats"):
        order.structure_amplitudes(np.ones((1, 12)), lattice, (0.4, 0.5, 0))
    with pytest.raises(AlloygenError, match="fits"):
        order.long_range_order(np.ones((1, 12)), lattice, "L1_0")
    assert order.long_range_order(np.ones((1, 12)), lattice, (1 / 3, 0, 0)) == pytest.approx([0.0], abs=1e-12)
    assert order.structure_amplitudes(np.ones((1, 9)), ising(3).lattice, (0, 0, 0.3)) == pytest.approx(1.0)  # one layer


def test_errors():
    lattice, ones = cuau((2, 2, 2)), np.ones((1, 8))
    for which in ("B2", (0.5, 0.5), 0.5, None):
        with pytest.raises(AlloygenError, match=r"\['L1_0', 'L1_2'\] or an order vector"):
            order.long_range_order(ones, lattice, which)
    with pytest.raises(AlloygenError, match=r"shape \(n, 8\), got \(1, 7\)"):
        order.structure_amplitudes(ones[:, 1:], lattice, (0, 0, 0))
    with pytest.raises(AlloygenError, match="three finite numbers"):
        order.structure_amplitudes(ones, lattice, (0, 0, np.nan))
    with pytest.raises(AlloygenError, match="more than one species"):
        order.structure_amplitudes(ones, Lattice(Primitive(FCC, [[0, 0, 0]], [("Cu",)]), (2, 2, 2)), (0, 0, 0))
    for n in (0, 1.5):
        with pytest.raises(AlloygenError, match="at least 1"):
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
