"""ATAT's files: energies against a sum over all operations and translations by ATAT's formula, and CuAu in its terms."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import spglib
from ase.build import bulk

import alloygen
from alloygen.errors import AlloygenError
from alloygen.hamiltonian.clusters import decorated_orbits
from alloygen.lattice import Primitive

FCC = "{a} {a} {a} 90 90 90\n0 0.5 0.5\n0.5 0 0.5\n0.5 0.5 0\n"
CASES = {  # lat.in, largest distances
    "CuAu": (FCC.format(a=3.8) + "0 0 0 Cu,Au\n", (6.0, 4.5, 4.5)),
    "ternary": (FCC.format(a=3.8) + "0 0 0 Cu,Au,Pd\n", (4.0, 2.8)),
    "four": (FCC.format(a=3.8) + "0 0 0 Cu,Au,Pd,Ag\n", (4.0, 2.8)),
    "two sublattices": (FCC.format(a=4.2) + "0 0 0 Ca,Mg,Vac\n0.5 0.5 0.5 O,S\n", (3.1, 3.1)),
    "layered": (
        "0.707 0.707 6.928 90 90 120\n0.3333 0.6667 0.3333\n-0.6667 -0.3333 0.3333\n0.3333 -0.3333 0.3333\n"
        "0 0 0 Li,Vac\n0.3333 0.6667 0.0833 O\n0.6667 0.3333 0.1667 Co,Al\n0 0 0.25 O\n",
        (1.3, 1.3),
    ),
}


def axes_of(text: str) -> np.ndarray:
    a, b, c, *_, gamma = map(float, text.splitlines()[0].split())
    return np.array([[a, 0, 0], [b * np.cos(np.radians(gamma)), b * np.sin(np.radians(gamma)), 0], [0, 0, c]])


def lattice_of(text: str) -> Primitive:
    rows = [line.split() for line in text.splitlines()]
    third = lambda v: round(float(v) * 12) / 12 if abs(float(v) * 12 - round(float(v) * 12)) < 5e-3 else float(v)  # noqa: E731
    vectors = np.array([[third(v) for v in r] for r in rows[1:4]])
    places = np.array([[third(v) for v in r[:3]] for r in rows[4:]])
    species = tuple(tuple(r[3].replace("Vac", "X").split(",")) for r in rows[4:])
    return Primitive(vectors @ axes_of(text), places @ np.linalg.inv(vectors), species)


def write(folder: Path, name: str, seed: int = 0, columns: bool = True) -> list[tuple[float, list, float]]:
    """ATAT's three files with random ECIs; (multiplicity, points, ECI) of each cluster."""
    text, cutoffs = CASES[name]
    primitive, axes = lattice_of(text), axes_of(text)
    values, orbits = decorated_orbits(primitive, cutoffs)
    first = {
        names: min(f for f, row in enumerate(values) if row[primitive.elements.index(names[0])])
        for names in primitive.species
        if len(names) > 1
    }
    rng, clusters = np.random.default_rng(seed), []
    for o in orbits:
        points = []
        for (x, y, z, b), f in zip(o.members[0], o.functions[0], strict=True):
            place = (np.array([x, y, z]) + primitive.basis[b]) @ primitive.cell @ np.linalg.inv(axes)
            names = primitive.species[b]
            points.append([*place, *([len(names) - 2, f - first[names]] if columns else [])])
        clusters.append((len(o.weights), points, float(rng.normal(scale=0.02))))
    write_files(folder, text, clusters)
    return clusters


def write_files(folder: Path, text: str, clusters: list) -> None:
    (folder / "lat.in").write_text(text)
    lines = []
    for multiplicity, points, _ in clusters:
        lines += [str(multiplicity), "1.0", str(len(points))]
        lines += [" ".join(f"{v:.9f}" for v in p[:3]) + "".join(f" {v}" for v in p[3:]) for p in points] + [""]
    (folder / "clusters.out").write_text("\n".join(lines))
    (folder / "eci.out").write_text("\n".join(repr(eci) for *_, eci in clusters) + "\n")


def phi(m: int, function: int, s: int) -> float:
    """ATAT's table: for t = 1, 2, ... functions 2t - 2 and 2t - 1."""
    t = function // 2 + 1
    return -np.cos(2 * np.pi * s * t / m) if function % 2 == 0 else -np.sin(2 * np.pi * s * t / m)


def brute_force(text: str, clusters: list, lattice, occ: np.ndarray) -> float:
    """E / cell = sum m J <prod phi>, the mean over all operations and translations, sites found by their places."""
    primitive, axes = lattice_of(text), axes_of(text)
    kinds = [1 + primitive.species.index(s) for s in primitive.species]
    symmetry = spglib.get_symmetry((primitive.cell, primitive.basis, kinds), symprec=1e-4)
    site = {}
    for i, x in enumerate(lattice.fractional):
        site[tuple((np.rint(x * 720).astype(int) % 720).tolist())] = i
    inverse = np.linalg.inv(lattice.cell)
    total = 0.0
    for multiplicity, points, eci in clusters:
        terms = []
        for rotation, shift in zip(symmetry["rotations"], symmetry["translations"], strict=True):
            moved = []
            for p in points:
                x = np.array(p[:3]) @ axes @ np.linalg.inv(primitive.cell)
                moved.append((rotation @ x + shift, p))
            for cell in lattice.offsets[:: lattice.n_sublattices]:
                product = 1.0
                for x, p in moved:
                    at = tuple((np.rint((x + cell) @ primitive.cell @ inverse * 720).astype(int) % 720).tolist())
                    i = site[at]
                    m = len(primitive.species[lattice.sublattice[i]])
                    product *= phi(m, p[4] if len(p) == 5 else 0, int(occ[i]))
                terms.append(product)
        total += multiplicity * eci * np.mean(terms)
    return total


@pytest.mark.parametrize("name", CASES)
def test_energies_are_those_of_the_formula(name, tmp_path):
    clusters = write(tmp_path, name, columns=name != "CuAu")
    expansion = alloygen.from_atat(tmp_path)
    h = expansion.on((2, 1, 2))
    occ = h.random(3, 0)
    expected = [brute_force(CASES[name][0], clusters, h.lattice, row) * 4 for row in occ]
    np.testing.assert_allclose(h.energy(occ), expected, atol=1e-9)
    assert np.ptp(expected) > 1e-3
    assert expansion.primitive.species == lattice_of(CASES[name][0]).species


PUBLISHED = [  # ECIs (eV) of (Co, Cu, Mg, Ni, Zn) on the cation layers of a Ruddlesden-Popper oxide, by mmaps: github.com/krishnapitike/MMC_CE
    *(-0.0033190845, 0.0569380356, 0.0208426236, 0.0663456599, 0.0395738774, -0.0058258605, -0.0036534908, -0.0107344804),
    *(0.0009821498, 0.0064095537, 0.0053459091, 0.0002073337, -0.0056351853, 0.0014534806, 0.0040805262),
]  # fmt: skip


def test_a_published_expansion_of_five_species(tmp_path):
    """The files' own clusters: the constant, four points, and ten neighbours in the plane, by the functions of both."""
    text = "3.83 3.83 12.6 90 90 90\n1 0 0\n0 1 0\n0 0 1\n0 0 0 Co,Cu,Mg,Ni,Zn\n0.5 0.5 0.5 Co,Cu,Mg,Ni,Zn\n"
    pairs = [(f, g) for g in range(4) for f in range(g, 4)]
    points = [[], *([[1, 1, 1, 3, f]] for f in range(4)), *([[1, 1, 1, 3, f], [1, 0, 1, 3, g]] for f, g in pairs)]
    counts = [1, 2, 2, 2, 2, *(4 if f == g else 8 for f, g in pairs)]
    clusters = list(zip(counts, points, PUBLISHED, strict=True))
    write_files(tmp_path, text, clusters)
    h = alloygen.from_atat(tmp_path).on((2, 2, 1))
    occ = h.random(4, 0)
    expected = [brute_force(text, clusters, h.lattice, row) * 4 for row in occ]
    np.testing.assert_allclose(h.energy(occ), expected, atol=1e-9)
    with pytest.raises(AssertionError):  # negative control: two species exchanged
        np.testing.assert_allclose(h.energy(np.array([1, 0, 2, 3, 4], dtype=np.int8)[occ]), expected, atol=1e-4)


def test_the_gold_copper_that_ships_in_atats_terms(tmp_path):
    """Multiplicities and ECIs per cluster; Cu is listed first, so it is -1. The sign of odd clusters matters."""
    cuau = alloygen.data.cuau()
    text = FCC.format(a=3.8) + "0 0 0 Cu,Au\n"
    axes, clusters = axes_of(text), []
    place = lambda row: [*((row[:3] + cuau.primitive.basis[0]) @ cuau.primitive.cell @ np.linalg.inv(axes))]  # noqa: E731
    sigma = cuau.functions[0, cuau.elements.index("Au")]
    for o in cuau.orbits:
        count = len(o.weights)
        eci = o.eci * o.weights[0] * sigma**o.order
        clusters.append((count, [place(row) for row in o.members[0]], float(eci)))
    write_files(tmp_path, text, clusters)
    expansion = alloygen.from_atat(tmp_path)
    h, own = expansion.on((2, 2, 4)), cuau.on((2, 2, 4))
    states = np.array(list(itertools.product((0, 1), repeat=16)))[::611]
    swap = [own.lattice.species[0].index(s) for s in h.lattice.species[0]]
    np.testing.assert_allclose(h.energy(states), own.energy(np.array(swap)[states]), atol=1e-9)
    with pytest.raises(AssertionError):  # negative control: the first species taken for +1
        np.testing.assert_allclose(h.energy(1 - states), own.energy(np.array(swap)[states]), atol=1e-9)


def test_three_vectors_are_axes_too(tmp_path):
    write(tmp_path, "CuAu")
    first = alloygen.from_atat(tmp_path)
    text = CASES["CuAu"][0].replace("3.8 3.8 3.8 90 90 90", "3.8 0 0\n0 3.8 0\n0 0 3.8")
    (tmp_path / "lat.in").write_text(text)
    assert alloygen.from_atat(tmp_path).fingerprint == first.fingerprint
    problem = alloygen.Problem.of(
        bulk("Cu", a=3.6).repeat(2), {"Au": 0.0}, tmp_path
    )  # a folder stands for its Hamiltonian
    assert problem.hamiltonian.fingerprint == first.fingerprint


@pytest.mark.parametrize(
    "file, old, new, match",
    [
        ("eci.out", None, "0.1\n0.2\n", "one ECI in eci.out for each of the 11 clusters"),
        ("eci.out", None, "nan\n" * 11, "eci.out: expected finite numbers"),
        ("clusters.out", "\n6\n", "\n7\n", "multiplicity that the lattice gives cluster 2, 6 per cell, got 7"),
        ("clusters.out", "0.000000000 0.000000000 0.000000000", "0.1 0 0", "expected sites of lat.in as points"),
        ("clusters.out", " 0 0", " 1 0", "expected a site with 3 species"),
        ("clusters.out", "\n1.0\n", "\n1.0 2.0\n", "multiplicity, length and number of points"),
        ("lat.in", "90 90 90", "90 90", "a b c alpha beta gamma"),
        ("lat.in", "0 0 0 Cu,Au", "0 0 0", "'x y z A,B' for each site"),
        ("lat.in", "0.5 0 0.5", "0 0.5 0.5", "three independent lattice vectors"),
    ],
)
def test_what_is_wrong_is_said(file, old, new, match, tmp_path):
    write(tmp_path, "CuAu")
    text = (tmp_path / file).read_text()
    assert old is None or old in text
    (tmp_path / file).write_text(new if old is None else text.replace(old, new))
    with pytest.raises(AlloygenError, match=match):
        alloygen.from_atat(tmp_path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(AlloygenError, match=r"lat\.in.*found no file there"):
        alloygen.from_atat(tmp_path)
