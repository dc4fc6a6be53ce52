"""Files: complete or untouched, and read back whole."""

import csv
import json

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from ase.db.jsondb import JSONDatabase

from alloygen.data import cuau
from alloygen.edge.match import match
from alloygen.edge.structure_files import format_of, read_structures, write_structures
from alloygen.edge.structures import from_pymatgen, read_structure, to_pymatgen
from alloygen.errors import AlloygenError, LatticeMismatch

FACTS = ("T", "mu_Cu", "mu_Au", "log_prob", "log_weight")


def structures(n=3):
    rng = np.random.default_rng(0)
    for k in range(n):
        atoms = bulk("Cu", a=3.8).repeat((2, 2, 1))
        atoms.symbols = rng.permutation(["Au", "Cu", "Cu", "Au"]).tolist()
        atoms.info = {"T": 600.0, "mu_Cu": 0.0, "mu_Au": 0.02, "log_prob": -1 / 3 - k, "log_weight": 2 / 7 + k}
        atoms.calc = SinglePointCalculator(atoms, energy=-0.1 / 3 * (k + 1))
        yield atoms


def interrupted():
    yield from structures(2)
    raise KeyboardInterrupt


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def assert_same(read, facts, written):
    assert str(read.symbols) == str(written.symbols)
    assert np.allclose(read.positions, written.positions, atol=1e-7)
    assert np.allclose(read.cell[:], written.cell[:], atol=1e-7)
    for key in FACTS:
        assert facts[key] == written.info[key], key


@pytest.mark.parametrize("name", ["a.extxyz", "a.xyz"])
def test_extxyz_round_trip(tmp_path, name):
    path = write_structures(structures(), tmp_path / name)
    read = ase.io.read(path, ":", format="extxyz")
    assert len(read) == 3
    for a, b in zip(read, structures(), strict=True):
        assert_same(a, a.info, b)
        assert a.get_potential_energy() == b.get_potential_energy()
        assert a.pbc.all()
    assert names(tmp_path) == [name]


@pytest.mark.parametrize("name", ["a.db", "a.json"])
@pytest.mark.filterwarnings("error")
def test_database_round_trip(tmp_path, name):
    path = write_structures(structures(), tmp_path / name)
    with connect(path) as database:
        rows = list(database.select())
        assert database.count("T=600,log_prob<-1") == 2
    for row, b in zip(rows, structures(), strict=True):
        assert_same(row.toatoms(), row.key_value_pairs, b)
        assert row.energy == pytest.approx(b.get_potential_energy(), abs=1e-14)
    assert len(ase.io.read(path, ":")) == 3
    assert names(tmp_path) == [name]


def test_poscar_round_trip(tmp_path):
    path = write_structures(structures(), tmp_path / "set")
    assert names(path) == ["POSCAR_00000", "POSCAR_00001", "POSCAR_00002", "index.csv"]
    with open(path / "index.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for row, b in zip(rows, structures(), strict=True):
        a = ase.io.read(path / row["file"], format="vasp")
        b_sorted = b[np.argsort(b.get_chemical_symbols(), kind="stable")]
        assert_same(a, {k: float(v) for k, v in row.items() if k not in ("file", "order")}, b_sorted)
        assert float(row["energy"]) == b.get_potential_energy()
    assert names(tmp_path) == ["set"]


@pytest.mark.parametrize(
    ("name", "format"),
    [
        ("a.extxyz", None),
        ("a.traj", None),
        ("a.db", None),
        ("a.json", None),
        ("a.mson", None),
        ("set", None),
        ("cifs", "cif"),
    ],
)
@pytest.mark.parametrize("vacancies", [False, True])
def test_what_is_written_is_read(tmp_path, name, format, vacancies):
    """Species in the order of the sites, whatever order and vacancies the format has."""
    given = list(structures())
    for k, atoms in enumerate(given):
        energy = atoms.get_potential_energy()
        atoms.symbols[k] = "X" if vacancies and k else "Zn"
        atoms.calc = SinglePointCalculator(atoms, energy=energy)
    back = list(read_structures(write_structures(given, tmp_path / name, format), format))
    for a, b in zip(back, given, strict=True):
        if name == "a.mson":
            b = b[b.numbers > 0]
        assert a.get_chemical_symbols() == b.get_chemical_symbols()
        there = b.numbers > 0
        away = (a.get_scaled_positions() - b.get_scaled_positions())[there]
        assert np.abs(away - np.rint(away)).max() < 1e-6
        assert {k: a.info[k] for k in FACTS} == {k: b.info[k] for k in FACTS}
    assert [a.get_potential_energy() for a in back] == [b.get_potential_energy() for b in given]


def test_other_programs_read_mson(tmp_path):
    from monty.serialization import loadfn

    path = write_structures(structures(), tmp_path / "a.mson")
    found = loadfn(path, fmt="json")
    assert [s.properties["energy"] for s in found] == [a.get_potential_energy() for a in structures()]
    assert [str(e) for e in found[0].species] == next(structures()).get_chemical_symbols()


def test_mson_is_read_one_after_the_other(tmp_path):
    path = write_structures(structures(), tmp_path / "a.mson")
    text = path.read_text()
    path.write_text(text.replace('"energy": -0.1,', '"energy": -0.1'))  # the third is damaged
    found = read_structures(path)
    assert [next(found).info["log_weight"] for _ in range(2)] == [a.info["log_weight"] for a in structures(2)]
    with pytest.raises(AlloygenError, match="as mson"):
        next(found)
    path.write_text(text[: text.rindex('{"@module')])
    with pytest.raises(AlloygenError, match="part of the file is missing"):
        list(read_structures(path))
    for indent in (None, 0, 2):  # by other programs
        path.write_text(json.dumps(json.loads(text), indent=indent))
        assert len(list(read_structures(path))) == 3


def test_rows_of_json_are_written_once(tmp_path, monkeypatch):
    """ASE reads and writes the whole file for each row."""
    monkeypatch.setattr(JSONDatabase, "_read_json", lambda self: pytest.fail("the file is read"))
    path = write_structures(structures(), tmp_path / "a.json")
    monkeypatch.undo()
    assert [row.id for row in connect(path).select()] == [1, 2, 3]
    write_structures([], path)
    assert connect(path).count() == 0


@pytest.mark.parametrize(
    ("name", "text"), [("no.extxyz", None), ("a.mson", "[1"), ("a.traj", "junk"), ("a.db", "junk"), ("set", None)]
)
def test_what_cannot_be_read_is_told(tmp_path, name, text):
    if text is not None:
        (tmp_path / name).write_text(text)
    if name == "set":
        (tmp_path / name).mkdir()
    with pytest.raises(AlloygenError, match="expected structures"):
        list(read_structures(tmp_path / name))


@pytest.mark.parametrize("name", ["a.extxyz", "a.db", "a.json", "set"])
def test_an_interrupt_leaves_the_old_file(tmp_path, name):
    path = write_structures(structures(1), tmp_path / name)
    content = lambda: [p.read_bytes() for p in sorted(path.iterdir())] if path.is_dir() else path.read_bytes()  # noqa: E731
    before = content()
    with pytest.raises(KeyboardInterrupt):
        write_structures(interrupted(), path)
    assert content() == before
    assert names(tmp_path) == [name]


@pytest.mark.parametrize("name", ["a.extxyz", "a.db", "a.json", "set"])
def test_a_second_write_replaces_the_first(tmp_path, name):
    write_structures(structures(3), tmp_path / name)
    path = write_structures(structures(1), tmp_path / name)
    read = [p for p in names(path) if p != "index.csv"] if path.is_dir() else ase.io.read(path, ":")
    assert len(read) == 1
    assert names(tmp_path) == [name]


@pytest.mark.parametrize("file", ["notes.txt", "POSCAR_00001", "POSCAR"])
def test_a_folder_of_other_files_is_refused(tmp_path, file):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / file).write_text("precious")
    with pytest.raises(AlloygenError, match=file):
        write_structures(structures(), tmp_path / "mine")
    assert (tmp_path / "mine" / file).read_text() == "precious"
    assert names(tmp_path) == ["mine"] and names(tmp_path / "mine") == [file]


def test_a_foreign_file_among_ours_is_refused(tmp_path):
    path = write_structures(structures(), tmp_path / "set")
    (path / "notes.txt").write_text("precious")
    with pytest.raises(AlloygenError, match=r"notes\.txt"):
        write_structures(structures(1), path)
    assert len(names(path)) == 5


def test_an_empty_folder_and_missing_parents_are_fine(tmp_path):
    (tmp_path / "empty").mkdir()
    assert len(names(write_structures(structures(), tmp_path / "empty"))) == 4
    assert write_structures(structures(), tmp_path / "x" / "y" / "a.extxyz").is_file()


def test_formats_and_suffixes(tmp_path):
    with pytest.raises(AlloygenError, match=r"\.extxyz.*\.db.*'a\.cif'"):
        write_structures(structures(), "a.cif")
    with pytest.raises(AlloygenError, match="extxyz, traj, poscar, cif, db, json, mson"):
        format_of("a.xyz", "vasp")
    assert write_structures(structures(), tmp_path / "run.v2", format="poscar").is_dir()
    path = write_structures(structures(), tmp_path / "data", format="extxyz")
    assert len(ase.io.read(path, ":", format="extxyz")) == 3


def test_poscars_do_not_replace_a_file(tmp_path):
    (tmp_path / "set").write_text("precious")
    with pytest.raises(AlloygenError, match="got a file"):
        write_structures(structures(), tmp_path / "set")
    assert (tmp_path / "set").read_text() == "precious"


# ---------------------------------------------------------------------- reading
def test_of_several_images_the_last_is_read_or_the_one_that_is_named(tmp_path):
    path = write_structures([bulk("Cu"), bulk("Au"), bulk("Ag")], tmp_path / "three.extxyz")
    assert read_structure(path).get_chemical_formula() == "Ag"
    assert read_structure(f"{path}@0").get_chemical_formula() == "Cu"
    with pytest.raises(
        AlloygenError, match=r"expected one structure, got 3 of them .* name one, such as .*three\.extxyz@0"
    ):
        read_structure(f"{path}@:")


def test_sites_that_are_occupied_in_part_are_no_configuration(tmp_path):
    """ASE reads one species of a mixed site, without a word."""
    text = """data_x
_cell_length_a 3.8
_cell_length_b 3.8
_cell_length_c 3.8
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Cu1 Cu 0 0 0 {}
"""
    path = tmp_path / "cell.cif"
    path.write_text(text.format("1.0"))
    assert read_structure(path).get_chemical_formula() == "Cu"
    for mixed in ("0.5", "0.5\nAu1 Au 0 0 0 0.5"):
        path.write_text(text.format(mixed))
        with pytest.raises(AlloygenError, match="one species on each site, got sites that are occupied in part"):
            read_structure(path)
    for odd in ("full", "?", ".", "nan"):
        path.write_text(text.format(odd))
        with pytest.raises(AlloygenError, match=r"cell\.cif"):
            read_structure(path)


# ---------------------------------------------------------------------- pymatgen
def test_pymatgen_round_trip():
    atoms = bulk("Cu", a=3.8).repeat((2, 2, 4))
    atoms.symbols[[0, 3, 4, 9, 15]] = "Au"
    atoms.rotate(33, (1, 2, 3), rotate_cell=True)
    back = from_pymatgen(to_pymatgen(atoms))
    assert type(back) is Atoms
    np.testing.assert_array_equal(back.numbers, atoms.numbers)
    apart = back.get_scaled_positions() - atoms.get_scaled_positions()
    np.testing.assert_allclose(apart, np.rint(apart), atol=1e-9)
    np.testing.assert_allclose(back.cell.cellpar(), atoms.cell.cellpar())
    np.testing.assert_array_equal(match(back, cuau().primitive).occ_from(), match(atoms, cuau().primitive).occ_from())


def test_pymatgen_disorder_is_refused():
    from pymatgen.core import Lattice as Cell
    from pymatgen.core import Structure

    disordered = Structure(Cell.cubic(3.8), [{"Cu": 0.5, "Au": 0.5}], [[0, 0, 0]])
    with pytest.raises(LatticeMismatch, match="one species on each site, got a disordered structure"):
        from_pymatgen(disordered)
