"""The command line: output, files, exit codes."""

import itertools
import json
import re

import ase.io
import numpy as np
import pytest
from ase.build import bulk

import alloygen
import alloygen.data
from alloygen.cli import main
from alloygen.edge.atoms_map import AtomsMap
from alloygen.exact.enumeration import Enumeration
from alloygen.exact.ising import transfer_matrix
from alloygen.testing.systems import random_expansion

NUMBER = r"(-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)"


def shown(text, name) -> list[float]:
    """The numbers that stand behind ``name`` at the start of a line."""
    return [float(x) for x in re.findall(rf"^\s*{re.escape(name)} {NUMBER}", text, re.MULTILINE)]


def refused(arguments, capsys) -> str:
    """The one line that a refused command prints."""
    assert main(arguments) == 2
    out = capsys.readouterr()
    assert out.out == "" and out.err.count("\n") == 1 and "Traceback" not in out.err
    return out.err


# ---------------------------------------------------------------------- every command with every method
READERS = {
    "c.extxyz": lambda path: ase.io.read(path, ":"),
    "c.xyz": lambda path: ase.io.read(path, ":"),
    "c.db": lambda path: ase.io.read(path, ":"),
    "c.json": lambda path: ase.io.read(path, ":"),
    "c": lambda path: [ase.io.read(f, format="vasp") for f in sorted(path.glob("POSCAR_*"))],
}
NEURAL, MC = ["Cu:2x2x4", "--method", "neural"], ["Cu:2x2x2", "--method", "mc"]
WAYS = {
    "a model": (NEURAL, 16, "'neural'"),
    "a model by its name": (["Cu:2x2x4", "--model", "cuau_2x2x4"], 16, "'neural'"),
    "the model that fits": (["Cu:2x2x4"], 16, "'neural'"),
    "averaged": ([*NEURAL, "--average", "2"], 16, "'neural'"),
    "moved by single flips": ([*NEURAL, "--refine", "mcmc"], 16, "flips"),
    "moved by blocks": ([*NEURAL, "--refine", "blocks", "--effort", "0.5"], 16, "block moves"),
    "annealed": ([*NEURAL, "--refine", "smc", "--effort", "0.5"], 16, "annealed"),
    "out-painted": (["Cu:2x2x8", "--model", "cuau_2x2x4"], 32, "out-painted"),
    "the law of any supercell": (["Cu:2x2x3"], 12, "'neural'"),
    "Monte Carlo": (MC, 8, "'mc'"),
    "Monte Carlo of a named Hamiltonian": ([*MC, "--hamiltonian", "cuau"], 8, "'mc'"),
}


@pytest.mark.parametrize("held", [False, True], ids=["free", "held"])
@pytest.mark.parametrize("way", WAYS)
def test_sample_in_every_way(way, held, tmp_path, capsys):
    arguments, n_sites, method = WAYS[way]
    fix = ["--fix", "0=Au,-1=Cu"] if held else []
    out = tmp_path / "c.extxyz"
    assert main(["sample", *arguments, "-T", "900", "--mu", "Au=0.02", "-n", "24", "-q", "-o", str(out), *fix]) == 0
    text = capsys.readouterr().out
    assert method in text and "n=24" in text and f"wrote 24 configurations to {out}" in text
    frames = ase.io.read(out, ":")
    assert len(frames) == 24 and {len(f) for f in frames} == {n_sites}
    x = np.mean([f.symbols.count("Au") for f in frames]) / n_sites
    assert abs(shown(text, "x_Au")[0] - x) < 0.15  # that of the file, up to weights
    assert -0.05 < shown(text, "E/site")[0] < 0.03 and -0.1 < shown(text, "Phi/site")[0] < 0
    most = 240 if method == "'mc'" else 24  # averages of Monte Carlo rest on all temperatures of the ladder
    assert 0 < shown(text, "independent samples")[0] <= most
    assert not held or {(f.symbols[0], f.symbols[-1]) for f in frames} == {("Au", "Cu")}


@pytest.mark.parametrize("arguments", [NEURAL, MC], ids=["neural", "mc"])
@pytest.mark.parametrize("name", READERS)
def test_sample_writes_every_format(name, arguments, tmp_path):
    assert (
        main(["sample", *arguments, "-T", "900", "--mu", "Au=0.02", "-n", "5", "-q", "-o", str(tmp_path / name)]) == 0
    )
    frames = READERS[name](tmp_path / name)
    assert len(frames) == 5 and set("".join(str(f.symbols) for f in frames)) <= set("AuC0123456789")


def test_figures_of_the_fallback_are_exact_within_their_errors(models_of_one_cell, capsys):
    """A cell that no model fits is sampled by Monte Carlo, with its free energy and its error bars."""
    exact = Enumeration(alloygen.data.cuau().on((2, 2, 3))).at(
        alloygen.data.cuau().on((2, 2, 3)).condition(900, np.array([0.0, 0.02]))
    )
    assert main(["sample", "Cu:2x2x3", "-T", "900", "--mu", "Au=0.02", "-n", "800", "--seed", "1", "-q"]) == 0
    text = capsys.readouterr().out
    for name, truth in (("x_Au", exact.composition[1]), ("E/site", exact.energy), ("Phi/site", exact.phi)):
        value, decimals, digits = re.search(rf"{re.escape(name)} (-?\d+\.(\d+))\((\d+)\)", text).groups()
        value, error = float(value), int(digits) * 10.0 ** -len(decimals)
        assert abs(value - truth) < 5 * error < 0.5 * abs(truth)
    assert 0 < shown(text, "acceptance")[0] < 1


MOVES = {"flip": ["--mu", "Au=0.02"], "swap": ["--move", "swap"]}
CHAINS = ["replica-exchange", "metropolis"]


@pytest.mark.parametrize("more", [[], ["--fix", "0,5"], ["--start", "atoms"], ["--precision", "energy=0.01", "--threads", "2"]],
                         ids=["plain", "fix", "start", "precision"])  # fmt: skip
@pytest.mark.parametrize("method", CHAINS)
@pytest.mark.parametrize("move", MOVES)
def test_mc_in_every_way(move, method, more, tmp_path, capsys):
    atoms = bulk("Cu", a=3.8).repeat((2, 2, 2))
    atoms.symbols[:3] = "Au"
    ase.io.write(tmp_path / "start.extxyz", atoms)
    table, out = tmp_path / "t.csv", tmp_path / "c.extxyz"
    assert main(["mc", str(tmp_path / "start.extxyz"), "-T", "900:1100:2", *MOVES[move], "--method", method, "-n", "40",
                 "--sweeps", "2", "--table", str(table), "-o", str(out), "-q", *more]) == 0  # fmt: skip
    text = capsys.readouterr().out
    assert shown(text, "T") == [900, 1100] and len(shown(text, "acceptance")) == 2
    assert all(-0.05 < e < 0 for e in shown(text, "E/site"))
    phi = shown(text, "Phi/site" if move == "flip" else "F/site")
    assert len(phi) == (2 if method == "replica-exchange" else 0) and all(-0.1 < p < 0 for p in phi)
    assert move == "flip" or shown(text, "x_Au") == [0.375, 0.375]
    header, *rows = table.read_text().splitlines()
    assert len(rows) == 2 and "x_Au" in header
    frames = ase.io.read(out, ":")
    assert len(frames) >= 80 and {f.info["T"] for f in frames} == {900, 1100}
    if "--fix" in more:
        assert {(f.symbols[0], f.symbols[5]) for f in frames} == {("Au", "Cu")}


def test_mc_writes_a_netcdf_table(tmp_path, capsys):
    import xarray as xr

    table = tmp_path / "t.nc"
    assert main(["mc", "Cu:2x2x2", "-T", "900", "--mu", "Au=-0.1:0.1:3", "-n", "40", "--table", str(table), "-q"]) == 0
    with xr.open_dataset(table) as data:
        assert data.sizes["condition"] == 3 and data["mu_Au"].values.tolist() == pytest.approx([-0.1, 0, 0.1])
        assert data["x_Au"].values.tolist() == pytest.approx(shown(capsys.readouterr().out, "x_Au"), abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("more", [[], ["--method", "mc"]], ids=["a model", "mc"])
def test_the_ising_model_in_a_field(more, capsys):
    L = 4 if more else 10
    assert main(["sample", f"ising:{L}", "-T", "2.3", "--field", "0.1", "-n", "60", "-q", *more]) == 0
    text = capsys.readouterr().out
    exact = transfer_matrix(L, 2.3, 0.1)
    assert shown(text, "Phi/site")[0] == pytest.approx(exact.free_energy, abs=0.1 if more else 0.005)
    assert 2 * shown(text, "x_+")[0] - 1 == pytest.approx(exact.magnetization, abs=0.3) and " J" in text


def test_mc_of_the_ising_model_over_fields(capsys):
    assert main(["mc", "ising:4", "-T", "2:3:2", "--field", "-0.1:0.2:3", "-n", "100", "-q"]) == 0
    text = capsys.readouterr().out
    exact = [transfer_matrix(4, T, h).free_energy for T in (2, 3) for h in (-0.1, 0.05, 0.2)]
    assert shown(text, "Phi/site") == pytest.approx(exact, abs=0.15)


# ---------------------------------------------------------------------- refused before any work
SAMPLE = ["sample", "Cu:2x2x4", "-T", "600", "--mu", "Au=0.02", "-q"]
REFUSED = {
    "a symbol that is none": (["sample", "Zz:2x2x2", "-T", "600", "--mu", "Au=0"], "expected a chemical symbol.*'Zz'"),
    "a cell of no sites": (["sample", "Cu:0x2x2", "-T", "600", "--mu", "Au=0"], "sites of 'Cu:0x2x2'.*got 0"),
    "a cell beyond memory": (["sample", "Cu:99999x99999x99", "-T", "600", "--mu", "Au=0"], "from 1 to"),
    "a folder as structure": (["sample", ".", "-T", "600", "--mu", "Au=0"], "expected a structure"),
    "T of nan": (["sample", "Cu:2x2x4", "-T", "nan", "--mu", "Au=0"], "expected -T .*finite"),
    "T of inf": (["mc", "Cu:2x2x4", "-T", "inf", "--mu", "Au=0"], "expected -T .*finite"),
    "T of 0": (["mc", "Cu:2x2x4", "-T", "0", "--mu", "Au=0"], "expected -T .*above 0"),
    "no T in a range": (["mc", "Cu:2x2x4", "-T", "300:600:0", "--mu", "Au=0"], "number of values"),
    "half a T in a range": (["mc", "Cu:2x2x4", "-T", "300:600:2.5", "--mu", "Au=0"], "number of values"),
    "one T from here to there": (["mc", "Cu:2x2x4", "-T", "300:600:1", "--mu", "Au=0"], "at least 2 values"),
    "T without end": (["mc", "Cu:2x2x4", "-T", "300:600:1e9", "--mu", "Au=0"], "number of values"),
    "several T of one sample": (["sample", "Cu:2x2x4", "-T", "300:600:3", "--mu", "Au=0"], "one temperature"),
    "mu of nan": (["sample", "Cu:2x2x4", "-T", "600", "--mu", "Au=nan"], "--mu ELEMENT=eV.*'Au=nan'"),
    "mu of nothing": (["sample", "Cu:2x2x4", "-T", "600", "--mu", "=0.1"], "--mu ELEMENT=eV"),
    "mu twice": ([*SAMPLE, "--mu", "Au=0.1"], "once for Au"),
    "mu with swaps": (["mc", "Cu:2x2x4", "-T", "600", "--mu", "Au=0", "--move", "swap"], "no --mu"),
    **{f"n of {n}": ([*SAMPLE, "-n", n], "-n: expected -n as a whole number of at least 1") for n in ("0", "-1", "1.5", "nan", "inf", "x", "")},
    **{f"seed of {n}": ([*SAMPLE, "--seed", n], "expected seed as a whole number") for n in ("-1", "1.5", "None", str(2**64))},
    **{f"effort of {n}": ([*SAMPLE, "--refine", "smc", "--effort", n], "--effort as a finite number") for n in ("0", "nan", "x")},
    "effort of nothing": ([*SAMPLE, "--effort", "2"], "expected --refine"),
    "no paths": ([*SAMPLE, "--average", "0"], "--average"),
    "no threads": (["mc", "Cu:2x2x4", "-T", "600", "--mu", "Au=0", "--threads", "0"], "--threads"),
    "no sweeps": (["mc", "Cu:2x2x4", "-T", "600", "--mu", "Au=0", "--sweeps", "0"], "--sweeps"),
    "precision of nan": (["mc", "Cu:2x2x4", "-T", "600", "--mu", "Au=0", "--precision", "Au=nan"], "--precision"),
    "precision of 0": (["mc", "Cu:2x2x4", "-T", "600", "--mu", "Au=0", "--precision", "Au=0"], "precision"),
    "a range of precisions": (["mc", "Cu:2x2x4", "-T", "600", "--mu", "Au=0", "--precision", "Au=1:2:3"], "one number"),
    "an atom held twice": ([*SAMPLE, "--fix", "0=Au,0=Cu"], "--fix 0=Au,5=Cu"),
    "an atom that is not there": ([*SAMPLE, "--fix", "99=Au"], "from 0 to 15"),
    "a refinement of Monte Carlo": ([*SAMPLE, "--method", "mc", "--refine", "smc"], "refine"),
    "a method that is none": ([*SAMPLE, "--method", "magic"], "magic"),
    "an option that is none": ([*SAMPLE, "--stride", "2"], "--stride"),
    "no command": ([], "COMMAND"),
    "a folder as model": ([*SAMPLE, "--model", "."], "folder"),
    "a model that is not there": ([*SAMPLE, "--model", "nowhere"], "no file"),
    "a field of an alloy": ([*SAMPLE[:4], "-q", "--field", "0.1"], "with the Ising model alone"),
    "a field and mu": (["sample", "ising:4", "-T", "2", "--field", "0.1", "--mu", "+=0.1"], "got both"),
    "a field of nan": (["sample", "ising:4", "-T", "2", "--field", "nan"], "expected a finite number"),
    "several fields of one sample": (["sample", "ising:4", "-T", "2", "--field", "0:1:3"], "one field"),
    "an Ising model of no sites": (["sample", "ising:0", "-T", "2"], "the side of 'ising:0'"),
    "atoms of an Ising model": (["mc", "ising:4", "-T", "2", "-o", "c.extxyz"], "no -o with the Ising model"),
    "jobs of Monte Carlo": (["phase-diagram", "Cu:2x2x4", "--mu", "Au=-0.1:0.1:3", "--method", "mc", "--jobs", "2"], "--jobs 1"),
    "a step of 0": (["phase-diagram", "Cu:2x2x4", "--mu", "Au", "--step", "0"], "--step"),
    "references below 0": (["evaluate", "cuau_2x2x4", "--reference", "-1"], "--reference"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_word_that_cannot_be_meant_is_one_line_before_any_work(case, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments, says = REFUSED[case]
    assert re.search(says, refused(arguments, capsys))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ['{"x": 1', "[1]", "{}", "null", "\\xff", '{"name": "x", "orbits": 3}'])
def test_a_file_that_holds_no_expansion(text, tmp_path, capsys):
    (tmp_path / "h.json").write_bytes(text.encode("latin-1"))
    broken = text in ('{"x": 1', "\\xff")
    for path, says in (
        (tmp_path / "h.json", "alloygen's JSON format" if broken else "ClusterExpansion.write()"),
        (tmp_path, "expected a Hamiltonian"),
    ):
        assert says in refused([*SAMPLE, "--hamiltonian", str(path)], capsys)


MC_RUN = ["mc", "Cu:2x2x2", "-T", "900", "--mu", "Au=0", "-n", "10", "-q"]
DIAGRAM = ["phase-diagram", "Cu:2x2x4", "--mu", "Au", "-q"]


@pytest.mark.parametrize("option, path", [
    ("-o", "c.cif"), ("-o", "file/c.extxyz"), ("-o", "folder.extxyz"), ("-o", "file"), ("-o", "others"), ("-o", "/proc/c.extxyz"),
    ("-o", "/proc/new/c.db"), ("-o", "/proc/new"), ("-o", "c" * 250 + ".extxyz"), ("-o", ""), ("--table", "t.txt"), ("--table", "t"),
    ("--table", "folder.csv"), ("--table", "file/t.csv"), ("--table", "/proc/t.csv"), ("--checkpoint", "file/run"),
    ("--checkpoint", "others"), ("--checkpoint", "/proc/run.safetensors"),
])  # fmt: skip
def test_a_place_that_cannot_be_written_is_told_before_any_work(option, path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    for folder in ("folder.extxyz", "folder.csv", "others"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "note.txt").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr(alloygen.api, "mc", lambda *a, **k: pytest.fail("it began to work"))
    monkeypatch.setattr(alloygen.api, "sample", lambda *a, **k: pytest.fail("it began to work"))
    monkeypatch.setattr(alloygen.api, "scan", lambda *a, **k: pytest.fail("it began to work"))
    for command in [MC_RUN] + ([SAMPLE] if option == "-o" else []) + ([DIAGRAM] if option == "--checkpoint" else []):
        assert "expected" in refused([*command, option, path], capsys)
    if "/" in path:
        assert "expected" in refused([*DIAGRAM, "-o", path], capsys)
        assert "expected" in refused(["evaluate", "cuau_2x2x4", "-o", path, "-q"], capsys)
        assert "expected" in refused(["train", "cuau_2x2x4", "-o", path, "-q"], capsys)
    assert sorted(tmp_path.rglob("*")) == before and (tmp_path / "file").read_text() == "mine"


def test_a_result_that_cannot_be_written_after_all_lies_elsewhere(tmp_path, monkeypatch, capsys):
    """The disk is full, or the folder goes away, while the command works."""
    from alloygen.edge import structure_files

    write, asked = structure_files.write_structures, tmp_path / "full" / "c.extxyz"
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")

    def full(frames, path, *rest):
        if path.parent.name == "full":
            raise OSError(28, "No space left on device")
        return write(frames, path, *rest)

    monkeypatch.setattr(structure_files, "write_structures", full)
    monkeypatch.setattr(alloygen.results.export, "write_structures", full)
    for command in (SAMPLE, MC_RUN):
        assert main([*command, "-n", "10", "-o", str(asked)]) == 1
        out = capsys.readouterr()
        assert "Phi/site" in out.out and "No space left" in out.err and "instead" in out.err
        (kept,) = (tmp_path / "cwd").iterdir()
        assert str(kept) in out.err and len(ase.io.read(kept, ":")) == 10
        kept.unlink()


@pytest.mark.parametrize("error, code, says", [
    (KeyboardInterrupt(), 130, "interrupted"), (OSError(5, "Input/output error"), 1, "Input/output error"),
])  # fmt: skip
def test_what_stops_a_command_leaves_no_traceback(error, code, says, monkeypatch, capsys):
    def stop(*args, **kwargs):
        raise error

    monkeypatch.setattr(alloygen.api, "sample", stop)
    assert main(SAMPLE) == code
    out = capsys.readouterr()
    assert says in out.err and "Traceback" not in out.err and not out.out


@pytest.mark.parametrize("command", ["", "sample", "mc", "phase-diagram", "train", "evaluate"])
def test_help_names_every_option(command, capsys):
    assert main([*([command] if command else []), "--help"]) == 0
    out = capsys.readouterr().out
    assert "usage: alloygen" in out and (command or "phase-diagram") in out


# ---------------------------------------------------------------------- more of each command
def test_sample_prints_and_writes(tmp_path, capsys):
    out = tmp_path / "c.extxyz"
    assert (
        main(["sample", "Cu:2x2x4", "-T", "600", "--mu", "Au=0.02", "-n", "50", "--seed", "0", "-o", str(out), "-q"])
        == 0
    )
    text = capsys.readouterr().out
    assert "NESS" in text and "Phi/site" in text and "x_Au" in text
    frames = ase.io.read(out, ":")
    assert len(frames) == 50 and frames[0].info["mu_Au"] == pytest.approx(0.02)


@pytest.mark.parametrize("command", ["sample", "mc"])
def test_a_composition_is_kept(command, tmp_path, capsys):
    """One atom, not all of them, and F at it by either way against the enumeration."""
    out = tmp_path / "c.extxyz"
    told = ["Cu:2x2x4", "-T", "700", "--composition", "Au=1", "-n", "60", "-q", "-o", str(out)]
    assert main([command, *told]) == 0
    text = capsys.readouterr().out
    assert {f.symbols.count("Au") for f in ase.io.read(out, ":")} == {1}
    h = alloygen.data.cuau().on((2, 2, 4))
    energy = h.energy(np.eye(16, dtype=np.int8))  # one atom at each site
    exact = -h.kB * 700 * np.logaddexp.reduce(-energy / (h.kB * 700)) / 16
    assert shown(text, "F/site")[0] == pytest.approx(exact, abs=2e-4)


@pytest.mark.parametrize("command", [["mc"], ["sample", "--method", "mc"]], ids=["mc", "sample"])
def test_a_composition_by_sublattice_is_kept(command, tmp_path, capsys):
    """One Au on the first sublattice and three on the second, F against all states that have them; the other way round is another F."""
    species = [("Cu", "Au"), ("Cu", "Au")]
    h = random_expansion(3.0 * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], species, seed=1, size=0.05).on((2, 2, 1))
    occ = np.array(list(itertools.product((0, 1), repeat=8)), dtype=np.int8)
    first = h.lattice.sublattice == 0
    numbers = np.column_stack([occ[:, first].sum(1), occ[:, ~first].sum(1)])
    f = lambda a, b: -h.kB * 600 * np.logaddexp.reduce(-h.energy(occ[(numbers == (a, b)).all(1)]) / (h.kB * 600)) / 8  # noqa: E731
    h.expansion.write(tmp_path / "alloy.json")
    AtomsMap.of_lattice(h.lattice).to_atoms(occ[0]).write(tmp_path / "cell.extxyz")
    told = ["--hamiltonian", str(tmp_path / "alloy.json"), "--composition", "0:Au=1", "--composition", "1:Au=0.75"]
    out = str(tmp_path / "c.extxyz")
    assert main([*command, str(tmp_path / "cell.extxyz"), "-T", "600", *told, "-n", "400", "-q", "-o", out]) == 0
    (value,) = shown(capsys.readouterr().out, "F/site")
    assert abs(value - f(1, 3)) < 1e-3 < abs(f(3, 1) - f(1, 3)) / 4
    for frame in ase.io.read(out, ":"):
        assert [(frame.symbols[mask] == "Au").sum() for mask in (first, ~first)] == [1, 3]


def test_mc_prints_averages_with_errors(tmp_path, capsys):
    table, out = tmp_path / "t.csv", tmp_path / "c.extxyz"
    assert main(["mc", "Cu:2x2x2", "-T", "900", "1100", "--mu", "Au=-0.1:0.1:3", "-n", "100", "--table", str(table), "-o", str(out),
                 "-q"]) == 0  # fmt: skip
    text = capsys.readouterr().out
    assert (
        text.count("Phi/site") == 6 and text.count("acceptance") == 6 and "round trips" in text and "mu_Au -0.1" in text
    )
    assert len(table.read_text().splitlines()) == 7
    frames = ase.io.read(out, ":")
    assert len(frames) == 600 and {f.info["T"] for f in frames} == {900.0, 1100.0}


def test_mc_shows_acceptance_and_the_time_left(capsys):
    assert main(["mc", "Cu:2x2x2", "-T", "900", "--mu", "Au=0", "-n", "3000", "--method", "metropolis"]) == 0
    bar = capsys.readouterr().err
    assert "acceptance=0." in bar and "<" in bar and "round" in bar


def test_mc_runs_until_precise_and_resumes(tmp_path, capsys):
    path = str(tmp_path / "run.safetensors")
    command = ["mc", "Cu:2x2x2", "-T", "900", "--mu", "Au=0", "--precision", "Au=0.01", "--checkpoint", path, "-q"]
    assert main(command) == 0
    first = capsys.readouterr().out
    assert main(command) == 0
    assert capsys.readouterr().out == first


def test_canonical_mc_with_fixed_atoms(tmp_path, capsys):
    from ase.build import bulk

    atoms = bulk("Cu", a=3.8).repeat((2, 2, 2))
    atoms.symbols[:3] = "Au"
    ase.io.write(tmp_path / "start.extxyz", atoms)
    out = tmp_path / "c.extxyz"
    assert main(["mc", str(tmp_path / "start.extxyz"), "-T", "900", "--move", "swap", "--fix", "0,5", "-n", "50", "-o",
                 str(out), "-q"]) == 0  # fmt: skip
    assert "F/site" in capsys.readouterr().out
    for frame in ase.io.read(out, ":"):
        assert frame.symbols.count("Au") == 3 and frame.symbols[0] == "Au" and frame.symbols[5] == "Cu"


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["sample", "Cu:2x2x4", "-T", "-5", "--mu", "Au=0"], "above 0"),
        (["sample", "Cu:2x2x4", "-T", "600", "--mu", "Au"], "ELEMENT=eV"),
        (["mc", "Cu:2x2x4", "-T", "600", "--mu", "Au=0:1"], "ELEMENT=eV"),
        (["mc", "Cu:2x2x4", "-T", "600", "--mu", "Au=0", "--fix", "a"], "indices of atoms"),
        (["mc", "Cu:2x2x4", "-T", "600", "--mu", "Au=0", "--precision", "Zn=0.1"], "precision"),
        (["mc", "Cu:2x2x4", "-T", "600", "--hamiltonian", "cuau", "--move", "swap"], "two elements"),
        (["sample", "no_such_file.cif", "-T", "600", "--mu", "Au=0"], "ASE reads"),
        (["sample", "Cu:2x2x4", "-T", "600"], "mu="),
        (["sample", "Cu:2x2x4", "-T", "600", "--composition", "Au=0.3"], "the nearest are 4 (0.25) and 5"),
        (["mc", "Cu:2x2x4", "-T", "600", "--composition", "Au=17"], "the nearest of Au alone is 16"),
        (["mc", "Cu:2x2x4", "-T", "600", "--composition", "Au=4", "--mu", "Au=0"], "Leave one out"),
        (["sample", "Cu:2x2x4", "-T", "600", "--composition", "Au"], "--composition ELEMENT"),
        (["sample", "Cu:2x2x4", "-T", "600", "--composition", "first:Au=1"], "SUBLATTICE:ELEMENT"),
        (
            ["mc", "Cu:2x2x4", "-T", "600", "--composition", "0:Au=1", "--composition", "Cu=15"],
            "all by sublattice or none",
        ),
        (
            ["mc", "Cu:2x2x4", "-T", "600", "--composition", "1:Au=1"],
            "every sublattice that may change, 0 (Cu/Au), got one of [1]",
        ),
        (["train", "no_such.toml"], "no file"),
        (["evaluate", "cuau_2x2x4", "--grid", "nope"], "cuau"),
    ],
)
def test_bad_input_is_one_message_and_exit_code_2(arguments, says, capsys):
    assert main([*arguments, *(["-q"] if arguments[0] != "train" else [])]) == 2
    error = capsys.readouterr().err
    assert says in error and "Traceback" not in error


CAUSAL = "[model]\nwidth = 16\ndepth = 1\nheads = 2\n"
REINFORCE = '[model]\nkind = "arm"\nnetwork = "mlp"\nwidth = 8\ndepth = 2\n[objective]\nkind = "reinforce"\n'
TINY = {
    "cuau": 'hamiltonian = "cuau"\nrepeats = [2, 2, 2]\n[data]\nT = [{ from = 200, to = 1200, step = 200 }]\n'
    "mu = [{ from = -0.24, to = 0.24, step = 0.06 }]\nsamples = 16\nburn = 20\n" + CAUSAL
    + "[training]\nsteps = 40\nbatch = 64\nwarmup = 5\nlr = 5e-3\n[validation]\nevery = 20\n[machine]\nthreads = 1\n",
    "ising": 'hamiltonian = "ising"\nrepeats = [3, 3, 1]\n[conditions]\nT = [1.5, 3.5]\nmu = [-0.8, 0.8]\nn_T = 2\nn_mu = 2\n'
    + REINFORCE + "[orders]\nweights = { random = 1.0 }\n[training]\nsteps = 2\nbatch = 8\n",
}  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Models that the shell trained, by the name of their system."""
    folder = tmp_path_factory.mktemp("trained")
    for name, text in TINY.items():
        (folder / f"{name}.toml").write_text(f'name = "tiny"\n[system]\n{text}')
        assert main(["train", str(folder / f"{name}.toml"), "-o", str(folder / name), "-q"]) == 0
    return {name: str(folder / name / "model.safetensors") for name in TINY}


def evaluated(model, tmp_path, *arguments) -> dict:
    out = tmp_path / "figures.json"
    assert main(["evaluate", model, "-n", "20", "--reference", "20", "-o", str(out), "-q", *arguments]) == 0
    return json.loads(out.read_text())


@pytest.mark.slow
def test_evaluate_looks_at_the_range_of_the_model(trained, tmp_path, capsys):
    content = evaluated(trained["cuau"], tmp_path)
    text, rows = capsys.readouterr().out, content["rows"]
    assert "ness_mean" in text and "Phi-exact" in text and content["facts"]["grid"] == "range"
    ranges = alloygen.load(trained["cuau"]).ranges
    assert len(rows) == 99 and [min(r["T"] for r in rows), max(r["T"] for r in rows)] == list(ranges["T"])
    assert [min(r["mu"] for r in rows), max(r["mu"] for r in rows)] == list(ranges["mu"][0])
    assert all(r["phi_exact"] is not None and r["forward_ness"] is not None for r in rows)
    worst = max(abs(r["deviation"]) / max(r["phi_stderr"], 1e-9) for r in rows)
    assert content["summary"]["phi_z_max"] == pytest.approx(worst, rel=1e-6)


@pytest.mark.slow
def test_evaluate_of_an_ising_model_stays_in_its_range(trained, tmp_path, capsys):
    """Trained without data, from a TOML file to the table, with exact values and forward figures."""
    content = evaluated(trained["ising"], tmp_path)
    assert {r["T"] for r in content["rows"]} == set(np.linspace(1.5, 3.5, 11))
    assert {r["mu"] for r in content["rows"]} == set(np.linspace(-0.8, 0.8, 9))
    assert all(r["phi_exact"] is not None and r["forward_ness"] is not None for r in content["rows"])
    assert re.search(r"^ +1\.7 ", capsys.readouterr().out, re.MULTILINE)


@pytest.mark.slow
@pytest.mark.parametrize(
    "model, grid, n, ends", [("cuau", "cuau", 110, (-0.24, 0.24)), ("ising", "ising", 105, (-0.8, 0.8))]
)
def test_evaluate_on_a_published_grid(model, grid, n, ends, trained, tmp_path):
    content = evaluated(trained[model], tmp_path, "--grid", grid, "--reference", "0")
    mu = [r["mu"] for r in content["rows"]]
    assert content["facts"]["grid"] == grid and len(mu) == n and (min(mu), max(mu)) == pytest.approx(ends)


def test_evaluate_at_given_conditions(trained, tmp_path):
    rows = evaluated(trained["cuau"], tmp_path, "-T", "400", "600:800:2", "--mu", "Cu=0.1", "--mu", "Au=-0.1:0.1:2")[
        "rows"
    ]
    assert [(r["T"], round(r["mu"], 9)) for r in rows] == [(t, m) for t in (400, 600, 800) for m in (-0.2, 0.0)]
    table = Enumeration(alloygen.data.cuau().on((2, 2, 2)))
    for r in rows:  # Phi belongs to the mu that were given
        assert r["phi_exact"] == pytest.approx(
            table.at(table.hamiltonian.condition(r["T"], np.array([0.1, 0.1 + r["mu"]]))).phi, abs=1e-12
        )


@pytest.mark.parametrize("model, arguments, says", [
    ("ising", ["--grid", "cuau"], "expected a model of Cu and Au for the grid 'cuau', got one of -, \\+"),
    ("cuau", ["--grid", "ising"], "expected a model of - and \\+"),
    ("cuau", ["--grid", "cuau", "-T", "600"], "got both"), ("cuau", ["-T", "hot"], "expected -T"),
    ("cuau", ["--mu", "Zn=0.1"], "Zn"), ("cuau", ["--mu", "Au"], "--mu ELEMENT=eV"), ("cuau", ["-T", "0"], "above 0"),
])  # fmt: skip
def test_evaluate_tells_what_it_expected(model, arguments, says, trained, capsys):
    assert re.search(says, refused(["evaluate", trained[model], "-q", *arguments], capsys))


@pytest.mark.slow
def test_phase_diagram_writes_picture_netcdf_and_json(tmp_path, capsys):
    out = tmp_path / "cuau"
    assert (
        main(
            [
                "phase-diagram",
                "Cu:2x2x4",
                "--mu",
                "Au",
                "-T",
                "300:900:3",
                "1100",
                "-n",
                "60",
                "--step",
                "50",
                "-o",
                str(out),
                "-q",
            ]
        )
        == 0
    )
    text = capsys.readouterr().out
    assert (
        "Cu3Au (L1_2), CuAu (L1_0), CuAu3 (L1_2)" in text
        and "transitions at fixed" in text
        and "regions of several phases" in text
    )
    told = json.loads((tmp_path / "cuau.json").read_text())
    assert told["attributes"]["model"] == "cuau" and {r["phase_left"] for r in told["regions"]} >= {"CuAu (L1_0)"}
    assert (tmp_path / "cuau.nc").stat().st_size > 10_000 and (tmp_path / "cuau.png").stat().st_size > 10_000


@pytest.mark.parametrize("arguments, says", [
    (["--mu", "Au", "--mu", "Cu"], "one element"), (["--mu", "Au", "-T", "hot"], "-T with temperatures"), (["--mu", "Au", "--jobs", "0"], "--jobs"),
    (["--mu", "Zn"], "Zn"), ([], "Name the second element"),
])  # fmt: skip
def test_phase_diagram_tells_what_it_expected(arguments, says, tmp_path, capsys):
    assert main(["phase-diagram", "Cu:2x2x4", *arguments, "-o", str(tmp_path / "x"), "-q"]) == 2
    assert says in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_sample_holds_atoms_and_refines(capsys):
    command = ["sample", "Cu:2x2x4", "-T", "900", "--mu", "Au=0.02", "-n", "60", "--seed", "0", "-q"]
    assert main([*command, "--fix", "0=Au,5=Cu", "--refine", "mcmc"]) == 0
    assert "log p fixed" in capsys.readouterr().out
    assert main([*command, "--fix", "0:Au"]) == 2
    assert "--fix 0=Au,5=Cu" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", [["sample", "-T", "900"], ["mc", "-T", "3000", "--method", "metropolis"]], ids=["sample", "mc"]
)
def test_atoms_far_off_their_sites_need_tol(command, tmp_path, capsys):
    from ase.build import bulk

    atoms = bulk("Cu", a=3.8).repeat((2, 2, 4))
    atoms.positions[3, 2] += 0.7
    atoms.write(tmp_path / "POSCAR")
    call = [command[0], str(tmp_path / "POSCAR"), *command[1:], "--mu", "Au=0", "-n", "60", "-q"]
    assert main(call) == 2 and "raise tol" in capsys.readouterr().err
    assert main([*call, "--tol", "0.35"]) == 0
    assert main([*call, "--tol", "0"]) == 2 and "--tol, a fraction" in capsys.readouterr().err


# ---------------------------------------------------------------------- the shell and the records
def options(command: str) -> dict:
    """Options of a command by name, with their defaults."""
    from alloygen.cli import parser

    sub = next(a for a in parser()._actions if isinstance(a.choices, dict)).choices[command]
    return {a.dest: a.default for a in sub._actions}


@pytest.mark.parametrize("command, record, names", [
    ("mc", alloygen.MonteCarlo, ("move", "method", "start", "sweeps", "precision")), ("mc", alloygen.Job, ("threads", "checkpoint")),
    ("phase-diagram", alloygen.Job, ("checkpoint",)), ("sample", alloygen.Neural, ("model", "average")),
])  # fmt: skip
def test_options_of_the_shell_are_those_of_the_records(command, record, names):
    """Same names, same defaults; where the shell has none, none is given to the record."""
    said, plain = options(command), record()
    for name in names:
        default = said[name].replace("-", " ") if isinstance(said[name], str) else said[name] or None
        assert default in (getattr(plain, name), None), name
