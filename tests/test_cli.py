"""The command line: output, files, exit codes."""

import json

import ase.io
import pytest

from alloygen.cli import main


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
    assert main(["mc", str(tmp_path / "start.extxyz"), "-T", "900", "--ensemble", "canonical", "--fix", "0,5", "-n", "50", "-o",
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
        (["mc", "Cu:2x2x4", "-T", "600", "--mu", "Au=0", "--ensemble", "canonical"], "two elements"),
        (["sample", "no_such_file.cif", "-T", "600", "--mu", "Au=0"], "ASE reads"),
        (["sample", "Cu:2x2x4", "-T", "600"], "mu="),
        (["train", "no_such.toml"], "no file"),
        (["evaluate", "cuau_2x2x4", "--grid", "nope"], "cuau"),
    ],
)
def test_bad_input_is_one_message_and_exit_code_2(arguments, says, capsys):
    assert main([*arguments, *(["-q"] if arguments[0] != "train" else [])]) == 2
    error = capsys.readouterr().err
    assert says in error and "Traceback" not in error


def test_train_then_evaluate(tmp_path, capsys):
    config = tmp_path / "tiny.toml"
    config.write_text("""
name = "tiny"
[system]
hamiltonian = "cuau"
repeats = [2, 2, 2]
[data]
T = [{ from = 200, to = 1200, step = 200 }]
mu = [{ from = -0.24, to = 0.24, step = 0.06 }]
samples = 16
burn = 20
[model]
width = 16
depth = 1
heads = 2
[training]
steps = 40
batch = 64
warmup = 5
lr = 5e-3
validate_every = 20
threads = 1
""")
    assert main(["train", str(config), "-o", str(tmp_path / "run"), "-q"]) == 0
    out = tmp_path / "figures.json"
    assert (
        main(
            [
                "evaluate",
                str(tmp_path / "run" / "model.safetensors"),
                "-n",
                "50",
                "--reference",
                "20",
                "-o",
                str(out),
                "-q",
            ]
        )
        == 0
    )
    text = capsys.readouterr().out
    assert "ness_mean" in text and "Phi-exact" in text
    content = json.loads(out.read_text())
    assert len(content["rows"]) == 110
    row = content["rows"][0]
    assert row["phi_exact"] is not None and row["forward_ness"] is not None
    worst = max(abs(r["deviation"]) / max(r["phi_stderr"], 1e-9) for r in content["rows"])
    assert content["summary"]["phi_z_max"] == pytest.approx(worst, rel=1e-6)


def test_an_ising_model_is_judged_on_its_own_grid(tmp_path, capsys):
    """Trained without data, from a TOML file to the table, with exact values and forward figures."""
    config = tmp_path / "tiny.toml"
    config.write_text(
        'name = "tiny"\n[system]\nhamiltonian = "ising"\nrepeats = [3, 3, 1]\n[conditions]\nT = [1.5, 3.5]\nmu = [-0.8, 0.8]\n'
        'n_T = 2\nn_mu = 2\n[model]\nkind = "arm"\nnetwork = "mlp"\nwidth = 8\ndepth = 2\n'
        '[training]\nobjective = "reinforce"\nsteps = 2\nbatch = 8\norders = { random = 1.0 }\n'
    )
    assert main(["train", str(config), "-o", str(tmp_path / "run"), "-q"]) == 0
    model = str(tmp_path / "run" / "model.safetensors")
    assert main(["evaluate", model, "-n", "20", "--reference", "20", "-q", "-o", str(tmp_path / "out.json")]) == 0
    out = json.loads((tmp_path / "out.json").read_text())
    assert out["facts"]["grid"] == "ising" and len(out["rows"]) == 105
    assert all(r["phi_exact"] is not None and r["forward_ness"] is not None for r in out["rows"])


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
        and "two-phase regions" in text
    )
    told = json.loads((tmp_path / "cuau.json").read_text())
    assert told["attributes"]["model"] == "cuau_2x2x4" and {r["phase_left"] for r in told["regions"]} >= {"CuAu (L1_0)"}
    assert (tmp_path / "cuau.nc").stat().st_size > 10_000 and (tmp_path / "cuau.png").stat().st_size > 10_000


@pytest.mark.parametrize("arguments, says", [
    (["--mu", "Au", "--mu", "Cu"], "one element"), (["--mu", "Au", "-T", "hot"], "-T with numbers"), (["--mu", "Au", "--jobs", "0"], "--jobs"),
    (["--mu", "Zn"], "Zn"), ([], "Name the second element"), (["--mu", "Au", "--method", "mc"], "numbers for mu"),
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
