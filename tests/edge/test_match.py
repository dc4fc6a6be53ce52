"""Atoms laid onto lattices: any orientation, scale, shift and order; and the way back to Atoms and other libraries."""

import warnings

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import write

import alloygen
from alloygen.edge.fits import nearest_neighbour
from alloygen.edge.match import match
from alloygen.edge.one_law import require_one_law
from alloygen.edge.primitive import primitive_from_atoms
from alloygen.edge.problem import laid
from alloygen.edge.structures import atoms_from, to_pymatgen
from alloygen.errors import AlloygenError, LatticeMismatch, StrainTaken, UnknownSpecies
from alloygen.hamiltonian.expansion import ClusterExpansion, Orbit

CUAU = alloygen.data.cuau()
FCC = CUAU.primitive
OXIDE = primitive_from_atoms(bulk("MgO", "rocksalt", a=4.2), {"Mg": ["Mg", "Ni"]})
ZINCBLENDE = primitive_from_atoms(bulk("GaAs", "zincblende", a=5.6), {"Ga": ["Ga", "Al"]})
HCP = primitive_from_atoms(bulk("Mg"), ["Mg", "Cd"])
VACANT = primitive_from_atoms(bulk("Cu", a=3.8), ["Cu", "X"])


def alloy(atoms, seed=0, swap=("Cu", "Au")):
    """Random swaps of one element for another; tags number the atoms."""
    atoms = atoms.copy()
    symbols = np.array(atoms.get_chemical_symbols())
    chosen = (np.random.default_rng(seed).random(len(atoms)) < 0.4) & (symbols == swap[0])
    symbols[chosen] = swap[1]
    atoms.symbols[:] = list(symbols)
    atoms.set_tags(np.arange(len(atoms)))
    return atoms


def energy_of(m):
    """Formation energy (eV) of matched Atoms under the CuAu expansion."""
    return float(CUAU.on(m.lattice).energy(torch.as_tensor(m.occ_from())[None])[0])


def rotated(atoms, seed=3):
    q = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    q *= np.sign(np.linalg.det(q))
    atoms = atoms.copy()
    atoms.set_cell(np.array(atoms.cell) @ q)
    atoms.positions = atoms.positions @ q
    return atoms


def permuted(atoms, seed=4):
    return atoms[np.random.default_rng(seed).permutation(len(atoms))]


def shifted(atoms):
    atoms = atoms.copy()
    atoms.translate([0.3, -7.1, 5.2])
    return atoms


def wrapped(atoms):
    atoms = shifted(atoms)
    atoms.wrap()
    return atoms


def scaled(atoms):
    atoms = atoms.copy()
    atoms.set_cell(1.3 * np.array(atoms.cell), scale_atoms=True)
    return atoms


def relaxed(atoms):
    atoms = atoms.copy()
    atoms.set_cell(np.array(atoms.cell) * [1.01, 1.02, 0.99], scale_atoms=True)
    atoms.positions += np.random.default_rng(5).normal(scale=0.05, size=atoms.positions.shape)
    return atoms


CHANGES = {
    "as is": lambda a: a,
    "permuted": permuted,
    "shifted": shifted,
    "wrapped": wrapped,
    "scaled": scaled,
    "rotated": rotated,
    "relaxed": relaxed,
    "rotated relaxed": lambda a: rotated(relaxed(a)),
    "all at once": lambda a: permuted(wrapped(rotated(scaled(a)))),
}
every_change = pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())


def bonds(atoms, reach):
    """Counts of element pairs within ``reach``: a fingerprint that knows nothing of lattices."""
    from ase.neighborlist import neighbor_list

    i, j = neighbor_list("ij", atoms, reach)
    ends = np.sort(np.stack([atoms.numbers[i], atoms.numbers[j]]), axis=0).T
    pairs, count = np.unique(ends, axis=0, return_counts=True)
    return pairs.tolist(), count.tolist()


# ---------------------------------------------------------------------- matching
@every_change
@pytest.mark.parametrize("repeats", [(2, 2, 4), (4, 4, 4), (3, 2, 5)])
def test_energy_and_round_trip_survive_every_change(change, repeats):
    ideal = alloy(bulk("Cu", a=3.8).repeat(repeats))
    energy = energy_of(match(ideal, FCC))
    atoms = change(ideal)
    before = atoms.copy()
    m = match(atoms, FCC, check_species=True)
    assert sorted(m.site) == list(range(len(atoms)))
    assert energy_of(m) == pytest.approx(energy, abs=1e-10)
    again = m.to_atoms(m.occ_from())
    assert again == before and atoms == before and again is not atoms
    np.testing.assert_array_equal(again.get_tags(), before.get_tags())


@every_change
@pytest.mark.parametrize("cells", [1, 2])
def test_conventional_cells_match(change, cells):
    ideal = alloy(bulk("Cu", cubic=True, a=3.8).repeat(cells), seed=2)
    m = match(change(ideal), FCC)
    assert m.lattice.n_sites == 4 * cells**3 and abs(round(np.linalg.det(m.lattice.matrix))) == 4 * cells**3
    assert energy_of(m) == pytest.approx(energy_of(match(ideal, FCC)), abs=1e-10)


def test_energies_of_ordered_phases_from_conventional_atoms():
    """L1_2 Cu3Au and L1_0 CuAu, formation energies per site (exact)."""
    cu3au = Atoms("AuCu3", bulk("Cu", cubic=True).positions, cell=[3.61] * 3, pbc=True).repeat(2)
    cuau = Atoms("AuCuCuAu", bulk("Cu", cubic=True).positions, cell=[3.61] * 3, pbc=True).repeat(2)
    for atoms, exact in ((cu3au, -0.034167194), (cuau, -0.036182488)):
        m = match(rotated(atoms), FCC)
        assert energy_of(m) / 32 == pytest.approx(exact, abs=1e-8)


@pytest.mark.parametrize(
    "primitive, cell", [(FCC, bulk("Cu", a=3.6)), (OXIDE, bulk("MgO", "rocksalt", a=4.3)), (HCP, bulk("Mg"))], ids=str
)
def test_repeats_keep_their_numbering_and_scale(primitive, cell):
    m = match(cell.repeat((2, 2, 4)), primitive)
    np.testing.assert_array_equal(m.site, np.arange(len(m.site)))
    np.testing.assert_array_equal(m.lattice.matrix, np.diag([2, 2, 4]))
    assert m.scale == pytest.approx((cell.get_volume() / abs(np.linalg.det(primitive.cell))) ** (1 / 3))
    assert m.displacement.max() < 1e-9


def test_an_equivalent_cell_of_a_diagonal_superlattice_is_diagonal():
    atoms = alloy(bulk("Cu", a=3.8).repeat((2, 2, 4)))
    cell = np.array(atoms.cell)
    atoms.set_cell([cell[0], cell[1] - cell[0], cell[2] + 2 * cell[0]])
    np.testing.assert_array_equal(match(atoms, FCC).lattice.matrix, np.diag([2, 2, 4]))


@every_change
@pytest.mark.parametrize(
    "primitive, cell, swap",
    [
        (OXIDE, bulk("MgO", "rocksalt", a=4.2), ("Mg", "Ni")),
        (ZINCBLENDE, bulk("GaAs", "zincblende", a=5.6), ("Ga", "Al")),
        (OXIDE, bulk("MgO", "rocksalt", a=4.2, cubic=True), ("Mg", "Ni")),
        (ZINCBLENDE, bulk("GaAs", "zincblende", a=5.6, cubic=True), ("Ga", "Al")),
        (HCP, bulk("Mg"), ("Mg", "Cd")),
    ],
    ids=["rocksalt", "zincblende", "cubic rocksalt", "cubic zincblende", "hcp"],
)
def test_several_sublattices(change, primitive, cell, swap):
    atoms = change(alloy(cell.repeat((2, 2, 3)), swap=swap))
    m = match(atoms, primitive, check_species=True)
    occ = m.occ_from()
    assert m.to_atoms(occ) == atoms
    if primitive is not HCP:
        symbols = np.array(atoms.get_chemical_symbols())
        np.testing.assert_array_equal(m.lattice.sublattice[m.site], np.isin(symbols, ["O", "As"]).astype(int))


@pytest.mark.parametrize("change", [lambda a: a, rotated, scaled], ids=["as is", "rotated", "scaled"])
@pytest.mark.parametrize(
    "primitive, cell", [(OXIDE, bulk("MgO", "rocksalt", a=4.2)), (HCP, bulk("Mg"))], ids=["rocksalt", "hcp"]
)
def test_neighbours_on_the_lattice_are_neighbours_of_the_atoms(change, primitive, cell):
    """An independent check of the site map: bonds counted in Atoms built from lattice positions."""
    atoms = permuted(change(alloy(cell.repeat((2, 3, 2)), swap=(primitive.species[0]))))
    m = match(atoms, primitive)
    reach = 1.2 * nearest_neighbour(primitive)
    ideal = Atoms(positions=m.lattice.positions, cell=m.lattice.cell, pbc=True, numbers=np.ones(len(atoms), dtype=int))
    ideal.numbers[m.site] = atoms.numbers
    assert bonds(ideal, reach) == bonds(atoms, reach * m.scale)


@pytest.mark.parametrize("spin", [0.0, 0.4], ids=["flat", "tilted"])
def test_a_layer_ignores_the_open_direction(spin):
    cell = Atoms("Cu", cell=[2.5, 2.5, 9], pbc=[True, True, False])
    layer = primitive_from_atoms(cell, ["Cu", "Au"])
    atoms = alloy(cell.repeat((3, 4, 1)))
    atoms.cell[2, 2] = 21.0
    atoms.rotate(spin * 180 / np.pi, (1, 2, 3), rotate_cell=True)
    atoms.translate([0.2, 0.3, 4.0])
    m = match(permuted(atoms), layer)
    assert m.lattice.n_sites == 12 and sorted(m.site) == list(range(12))
    np.testing.assert_array_equal(m.lattice.matrix, np.diag([3, 4, 1]))


def test_large_and_long_cells_match():
    for repeats in ((16, 16, 16), (1, 1, 300)):
        atoms = bulk("Cu").repeat(repeats)
        np.testing.assert_array_equal(match(atoms, FCC).site, np.arange(len(atoms)))
        m = match(permuted(rotated(atoms)), FCC)
        np.testing.assert_array_equal(m.lattice.matrix, np.diag(repeats))
        assert sorted(m.site) == list(range(len(atoms)))


def test_a_large_cubic_cell_coincides_in_many_orientations_and_one_is_right():
    m = match(permuted(rotated(bulk("Cu", cubic=True).repeat(6))), FCC)
    assert sorted(m.site) == list(range(864)) and m.displacement.max() < 1e-6


@pytest.mark.parametrize("handed", [1, -1])
def test_a_mirror_image_matches_since_energies_cannot_tell_it(handed):
    """A triclinic crystal has no operation but the identity, so only the improper orientation fits its mirror image."""
    cell = Atoms(
        "CuOS",
        scaled_positions=[[0, 0, 0], [0.4, 0.3, 0.1], [0.1, 0.7, 0.6]],
        pbc=True,
        cell=[[4.0, 0, 0], [0.7, 4.9, 0], [0.4, 1.1, 6.1]],
    )
    atoms = alloy(cell.repeat((2, 2, 3)))
    atoms.set_cell(np.array(atoms.cell) * [-1, 1, 1])
    atoms.positions *= [-1, 1, 1]
    atoms.set_cell(np.array(atoms.cell) * [[1], [1], [handed]])
    m = match(permuted(rotated(atoms)), primitive_from_atoms(cell, {"Cu": ["Cu", "Au"]}), check_species=True)
    assert m.displacement.max() < 1e-9 and sorted(m.site) == list(range(36))


def test_the_caller_is_never_changed_and_nothing_leaks():
    atoms = alloy(bulk("Cu", a=3.8).repeat((2, 2, 2)))
    atoms.calc, atoms.info["energy"] = EMT(), -1.0
    atoms.set_masses(np.arange(1.0, 9.0))
    before, calc = atoms.copy(), atoms.calc
    m = match(atoms, FCC)
    made = m.to_atoms(np.zeros(8, dtype=int))
    assert made.calc is None and made.info == {} and set(made.get_masses()) == {63.546}
    made.positions += 1
    m.atoms.positions[:] = 0
    assert atoms == before and atoms.calc is calc and atoms.info == {"energy": -1.0}
    atoms.symbols[:] = "Au"
    assert m.to_atoms(m.occ_from()).get_chemical_formula() == before.get_chemical_formula()
    assert m.occ_from(atoms).tolist() == [1] * 8


# ---------------------------------------------------------------------- strained cells and low symmetry
def bonded(cell, species, reach):
    """An expansion of random pair energies, one for each bond length up to ``reach``, and a random site function."""
    primitive = primitive_from_atoms(cell, species)
    rng, bonds = np.random.default_rng(0), {}
    for a, b in np.ndindex(len(cell), len(cell)):
        for offset in np.indices((7, 7, 7)).reshape(3, -1).T - 3:
            length = np.linalg.norm((offset + primitive.basis[b] - primitive.basis[a]) @ primitive.cell)
            if 1e-6 < length < reach:
                kinds = tuple(sorted((primitive.species[a], primitive.species[b])))
                bonds.setdefault((round(length, 4), kinds), []).append([(0, 0, 0, a), (*offset, b)])
    orbits = (Orbit("pair", rng.normal(), m, np.zeros((len(m), 2)), np.full(len(m), 0.5)) for m in bonds.values())
    return ClusterExpansion(primitive, [rng.normal(size=len(primitive.elements))], tuple(orbits))


def lattice_cell(vectors, positions=((0, 0, 0),), symbols=None):
    return Atoms(symbols or "Fe" * len(positions), cell=vectors, scaled_positions=positions, pbc=True)


CENTRED = [[0, 0, 0], [0.5, 0.5, 0.5]]
LOW = {
    "tetragonal": bonded(lattice_cell(np.diag([2.83, 2.83, 2.91])), ["Fe", "Co"], 4.2),
    "compressed": bonded(lattice_cell(np.diag([2.83, 2.83, 2.74])), ["Fe", "Co"], 4.2),
    "orthorhombic": bonded(lattice_cell(np.diag([2.83, 2.90, 2.97])), ["Fe", "Co"], 4.3),
    "sheared": bonded(lattice_cell([[3, 0, 0], [0.1, 3.1, 0], [0, 0, 3.05]]), ["Fe", "Co"], 4.5),
    "L1_0": bonded(lattice_cell(np.diag([2.72, 2.72, 3.73]), CENTRED), ["Fe", "Pt"], 4.0),
    "L1_0 of two lists": bonded(lattice_cell(np.diag([2.72, 2.72, 3.73]), CENTRED), [["Fe", "Pt"], ["Fe", "Pd"]], 4.0),
    "hcp": bonded(bulk("Mg"), ["Mg", "Cd"], 4.6),
    "low basis": bonded(
        lattice_cell([4, 4, 4.1], [[0, 0, 0], [0.5, 0.45, 0.5]], "FeO"), [["Fe", "Co"], ["O", "F"]], 4.2
    ),
}


def turned_axes(atoms):
    """The same crystal with its axes named anew: what was along z is along x."""
    atoms = atoms.copy()
    atoms.set_cell(np.roll(np.roll(np.array(atoms.cell), 1, axis=0), 1, axis=1))
    atoms.positions = np.roll(atoms.positions, 1, axis=1)
    return atoms


def strained(by):
    def change(atoms):
        atoms = atoms.copy()
        atoms.set_cell(np.array(atoms.cell) @ (np.eye(3) + np.array(by)), scale_atoms=True)
        return atoms

    return change


STRAINS = {
    "none": np.zeros((3, 3)),
    "longer c": np.diag([0, 0, 0.01]),
    "shorter c": np.diag([0, 0, -0.01]),
    "longer a": np.diag([0.003, 0, 0]),
    "shear": np.array([[0, 0.004, 0], [0.004, 0, -0.006], [0, -0.006, 0.0]]),
}


@pytest.mark.parametrize("strain", STRAINS.values(), ids=STRAINS.keys())
@pytest.mark.parametrize("frame", [lambda a: a, turned_axes, rotated], ids=["c along z", "c along x", "in space"])
@pytest.mark.parametrize("expansion", LOW.values(), ids=LOW.keys())
def test_a_strained_cell_keeps_its_energy_whatever_its_axes(expansion, frame, strain):
    h = expansion.on((2, 2, 3))
    occ = h.random(1, torch.Generator().manual_seed(1))
    symbols = [h.lattice.species[b][k] for b, k in zip(h.lattice.sublattice, occ[0].tolist(), strict=True)]
    atoms = Atoms(symbols, positions=h.lattice.positions, cell=h.lattice.cell, pbc=True)
    atoms = strained(strain)(atoms)
    atoms.positions += np.random.default_rng(2).normal(scale=0.03, size=atoms.positions.shape)
    m = laid(permuted(frame(scaled(atoms))), expansion)
    energy = expansion.on(m.lattice).energy(torch.as_tensor(m.occ_from()))
    assert float(energy[0]) == pytest.approx(float(h.energy(occ)[0]), abs=1e-9)


def test_a_cell_between_two_axes_is_refused_with_both():
    tetragonal = LOW["tetragonal"]
    between = lattice_cell(2.9 * np.eye(3)).repeat(2)
    m = match(between, tetragonal.primitive)
    assert m.strain == pytest.approx(0.0191, abs=1e-3) and len(m.rivals) == 47
    with pytest.raises(
        LatticeMismatch, match=r"in one way, got two.*strain of 1\.8. %.*and \[\[2.*with 1\.8. %.*eV/site"
    ):
        laid(between, tetragonal)
    decided = strained(np.diag([0.006, 0, 0]))(between)
    assert laid(decided, tetragonal).lattice.n_sites == 8


def test_ways_that_energies_cannot_tell_apart_are_one():
    """A cubic crystal on a cubic lattice, and an expansion of equal pairs on a lattice that is not quite cubic."""
    m = match(relaxed(bulk("Cu").repeat(2)), FCC)
    assert len(m.rivals) == 47
    require_one_law(m, CUAU)
    primitive = LOW["tetragonal"].primitive
    axes = np.array([[(0, 0, 0, 0), (*row, 0)] for row in np.eye(3, dtype=int)])
    equal = ClusterExpansion(primitive, [[-1.0, 1.0]], (Orbit("p", 0.1, axes, np.zeros((3, 2)), np.ones(3)),))
    assert laid(lattice_cell(2.9 * np.eye(3)).repeat(2), equal).lattice.n_sites == 8


def test_an_unstrained_cell_in_the_frame_of_the_primitive_cell_says_its_axes():
    """Bonds along z alone on a cubic lattice: no strain tells the axis, the caller's own frame does; turned in space nothing does."""
    primitive = primitive_from_atoms(lattice_cell(np.eye(3)), ["Fe", "Co"])
    along = Orbit("z", 0.1, [[(0, 0, 0, 0), (0, 0, 1, 0)]], [[0, 0]], [1.0])
    expansion = ClusterExpansion(primitive, [[-1.0, 1.0]], (along,))
    atoms = lattice_cell(np.eye(3)).repeat((2, 2, 3))
    np.testing.assert_array_equal(laid(atoms, expansion).site, np.arange(12))
    assert laid(atoms.repeat((1, 1, 2)), expansion).rivals == ()
    with pytest.raises(LatticeMismatch, match="in one way"):
        laid(rotated(lattice_cell(np.eye(3)).repeat(2)), expansion)


def test_large_strained_cells_keep_their_numbering():
    atoms = relaxed(bulk("Cu", a=3.8).repeat(16))
    np.testing.assert_array_equal(laid(atoms, CUAU).site, np.arange(4096))


@pytest.mark.parametrize("strain, told", [(0.01, False), (0.04, True)])
def test_strain_is_not_taken_without_a_word(strain, told):
    atoms = strained(np.diag([0, 0, strain]))(strained(0.3 * np.eye(3))(bulk("Cu").repeat(2)))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        match(atoms, FCC)
    assert [str(w.message)[:28] for w in caught if w.category is StrainTaken] == ["the cell is strained by 2.6 "] * told


# ---------------------------------------------------------------------- what stays with the site
def test_what_belongs_to_a_species_does_not_stay_with_the_site():
    from ase.constraints import FixAtoms

    atoms = alloy(bulk("Cu", a=3.8).repeat(2))
    atoms.set_initial_magnetic_moments(np.ones(8)), atoms.set_initial_charges(np.ones(8)), atoms.set_masses(np.ones(8))
    atoms.set_momenta(np.ones((8, 3)))
    for name in ("oxi_states", "forces", "my charges", "spacegroup_kinds"):
        atoms.set_array(name, np.arange(8))
    atoms.set_constraint(FixAtoms([1, 3]))
    m = match(atoms, FCC)
    made = m.to_atoms(1 - m.occ_from())
    assert set(made.arrays) == {"numbers", "positions", "tags"} and made.get_tags().tolist() == list(range(8))
    assert made.constraints[0].index.tolist() == [1, 3] and set(made.get_masses()) == {63.546, 196.966569}
    assert set(atoms.arrays) > set(made.arrays)
    structure = to_pymatgen(made)
    assert {str(site.specie) for site in structure} == {"Cu", "Au"} and "oxi_states" not in structure.site_properties


def test_oxidation_states_of_a_structure_are_not_given_to_others():
    structure = to_pymatgen(bulk("MgO", "rocksalt", a=4.2).repeat(2))
    structure.add_oxidation_state_by_element({"Mg": 2, "O": -2})
    m = match(structure, OXIDE)
    assert "oxi_states" in m.atoms.arrays and "oxi_states" not in m.to_atoms(np.zeros(16)).arrays


# ---------------------------------------------------------------------- what may stand for Atoms, and what is refused
def test_paths_and_structures_stand_for_atoms(tmp_path):
    atoms = alloy(bulk("Cu", a=3.8).repeat(2))
    occ = match(atoms, FCC).occ_from()
    write(tmp_path / "POSCAR", atoms)
    write(tmp_path / "two.extxyz", [bulk("Cu"), atoms])
    for given in (to_pymatgen(atoms), str(tmp_path / "POSCAR"), tmp_path / "two.extxyz"):
        m = match(given, FCC)
        assert sorted(m.occ_from()) == sorted(occ) and m.lattice.n_sites == 8
    assert primitive_from_atoms(to_pymatgen(bulk("Cu", a=3.8)), ["Cu", "Au"]).species == FCC.species


def with_nan(what):
    atoms = bulk("Cu").repeat(2)
    (atoms.positions if what == "positions" else atoms.cell)[1, 2] = np.nan
    return atoms


@pytest.mark.parametrize(
    "given, words",
    [
        (None, "the path of a structure file, got None"),
        (3, "structure file, got 3"),
        ([bulk("Cu"), bulk("Cu")], "got a list of 2: pass one of them"),
        ([], r"got \[\]"),
        (Atoms(), "wrong number of atoms: 0"),
        (with_nan("positions"), r"got nan or inf in the positions of atoms \[1\]"),
        (with_nan("cell"), "got nan or inf in the cell"),
        ("no such file", "'no such file': no file there"),
        (".", "'.': a folder"),
        (__file__, "expected a structure file that ASE reads"),
    ],
)
def test_what_cannot_stand_for_atoms_is_told(given, words):
    with pytest.raises(AlloygenError, match=words):
        atoms_from(given)


@pytest.mark.parametrize("tol", [0, -1, np.nan, None, "0.2"])
def test_the_tolerance_is_a_positive_number(tol):
    with pytest.raises(AlloygenError, match="expected tol, a fraction of the nearest-neighbour distance"):
        match(CU, FCC, tol=tol)


# ---------------------------------------------------------------------- held atoms
def test_x_frees_atoms_only_where_no_alphabet_has_it():
    marked = bulk("Cu").repeat(2)
    marked.symbols[[1, 5]] = "X"
    held = [0, -1, 0, 0, 0, -1, 0, 0]
    assert match(bulk("Cu").repeat(2), FCC).known_from(marked).tolist() == held
    m = match(marked, VACANT)
    assert m.known_from(marked).tolist() == [0, 1, 0, 0, 0, 1, 0, 0]
    assert m.known_from({1: "X", 2: "Cu"}).tolist() == [-1, 1, 0, -1, -1, -1, -1, -1]
    assert m.known_from(marked.numbers == 0).tolist() == [-1, 1, -1, -1, -1, 1, -1, -1]
    with pytest.raises(UnknownSpecies, match="one of Cu/Au to be held at atom 1, got 'X'; change"):
        match(bulk("Cu").repeat(2), FCC).known_from({1: "X"})
    anions = primitive_from_atoms(bulk("MgO", "rocksalt", a=4.2), [["Mg", "Ni"], ["O", "X"]])
    atoms = bulk("MgO", "rocksalt", a=4.2).repeat(2)
    atoms.symbols[0] = "X"
    with pytest.raises(UnknownSpecies, match=r"Mg/Ni to be held at atom 0, got 'X' \('X' is a vacancy in this alloy"):
        match(atoms, anions).known_from(atoms)


# ---------------------------------------------------------------------- what is refused
def pushed(atoms, i, by):
    atoms = atoms.copy()
    atoms.positions[i] += by
    return atoms


def doubled(atoms):
    atoms = atoms.copy()
    atoms.positions[5] = atoms.positions[3]
    return atoms


CU = bulk("Cu", a=3.8).repeat((4, 4, 4))


@pytest.mark.parametrize(
    "atoms, primitive, words",
    [
        (bulk("Fe").repeat(3), FCC, r"model's primitive cell \[\[0.0, 1.9, 1.9\].*got 27 atoms in the cell \[\["),
        (bulk("Mg").repeat(4), FCC, "integer supercell of the model's primitive cell"),
        (CU[1:], FCC, "expected 64 atoms, .*got a wrong number of atoms: 63.*has no vacancies"),
        (CU[1:], VACANT, "expected 64 atoms, .*got a wrong number of atoms: 63.*put 'X' where a vacancy is"),
        (CU + Atoms("H", [[1.0, 1, 1]]), FCC, "expected 64 atoms, .*got a wrong number of atoms: 65"),
        (bulk("MgO", "rocksalt", a=4.2).repeat(2)[1:], OXIDE, "multiple of 2 atoms.*wrong number of atoms: 15"),
        (Atoms(cell=np.eye(3), pbc=True), FCC, "wrong number of atoms: 0"),
        (pushed(CU, 7, [0, 0, 0.8]), FCC, r"within 0.403 A of its site, got atoms off their sites: 7 by 0.800 "),
        (pushed(CU, 0, [0, 0, 0.8]), FCC, r"off their sites: 0 by 0.800 "),
        (doubled(CU), FCC, r"one atom on each of 64 sites, got several.*atoms \[3, 5\] \(1 sites are empty\)"),
        (Atoms(CU, pbc=[True, True, False]), FCC, r"periodic boundaries along axes \[0, 1, 2\].*Set atoms.pbc"),
        (Atoms("Cu", pbc=True), FCC, "three independent vectors.*Set atoms.cell"),
    ],
)
def test_match_refuses(atoms, primitive, words):
    with pytest.raises(LatticeMismatch, match=words):
        match(atoms, primitive)


def test_a_wider_tolerance_takes_the_displaced_atom():
    assert match(pushed(CU, 7, [0, 0, 0.8]), FCC, tol=0.35).displacement.argmax() == 7


def test_species_are_checked_where_they_sit():
    atoms = alloy(bulk("MgO", "rocksalt", a=4.2).repeat(2), swap=("Mg", "Ni"))
    atoms.symbols[4] = "Pt"
    m = match(atoms, OXIDE)
    with pytest.raises(UnknownSpecies, match=r"Pt on sublattice 0 \(Mg/Ni allowed\) at atoms 4\. Change"):
        m.occ_from()
    with pytest.raises(UnknownSpecies, match="Pt on sublattice 0"):
        match(atoms, OXIDE, check_species=True)
    placeholder = bulk("Ni").repeat(2)
    assert match(placeholder, FCC).to_atoms(np.ones(8)).get_chemical_formula() == "Au8"


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda m: m.to_atoms(np.zeros((2, 8))), LatticeMismatch, r"shape \(8,\), got \(2, 8\). Pass one row"),
        (lambda m: m.to_atoms(np.full(8, 2)), LatticeMismatch, r"species indices into .*got values \[2\]"),
        (lambda m: m.to_atoms(np.full(8, 0.5)), LatticeMismatch, "species indices"),
        (lambda m: m.occ_from(bulk("Cu")), LatticeMismatch, "expected 8 atoms .* got 1"),
    ],
)
def test_atoms_map_refuses(call, error, words):
    with pytest.raises(error, match=words):
        call(match(bulk("Cu").repeat(2), FCC))


def test_labels_that_are_no_elements_stay_occupations():
    from alloygen.hamiltonian.ising import ising_expansion

    m = match(Atoms("X", cell=[1, 1, 5], pbc=[True, True, False]).repeat((4, 4, 1)), ising_expansion().primitive)
    with pytest.raises(UnknownSpecies, match=r"expected chemical symbols as species, got -, \+.*vacancy 'X'"):
        m.to_atoms(np.zeros(16))
