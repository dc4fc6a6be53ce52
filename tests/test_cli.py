"""The command line: output, files, exit codes."""

import json

import ase.io
import pytest

from alloygen.cli import main


def test_sample_prints_and_writes(tmp_path, capsys):
    out = tmp_path / "c.extxyz"
    assert main(["sample", "Cu:2x2x4", "-T", "600", "--mu", "Au=0.02", "-n", "50", "--seed", "0", "-o", str(out), "-q"]) == 0
    text = capsys.readouterr().out
    assert "NESS" in text and "Phi/site" in text and "x_Au" in text
    frames = ase.io.read(out, ":")
    assert len(frames) == 50 and frames[0].info["mu_Au"] == pytest.approx(0.02)


def test_mc_prints_acceptance(capsys):
    assert main(["mc", "Cu:2x2x2", "-T", "900", "--mu", "Au=0.0", "-n", "20", "--seed", "0", "-q"]) == 0
    text = capsys.readouterr().out
    assert "acceptance" in text and "Phi/site" not in text


@pytest.mark.parametrize("arguments, says", [
    (["sample", "Cu:2x2x4", "-T", "-5", "--mu", "Au=0"], "above 0"),
    (["sample", "Cu:2x2x4", "-T", "600", "--mu", "Au"], "ELEMENT=eV"),
    (["sample", "no_such_file.cif", "-T", "600", "--mu", "Au=0"], "ASE reads"),
    (["sample", "Cu:2x2x4", "-T", "600"], "mu="),
    (["train", "no_such.toml"], "no file"),
    (["evaluate", "cuau_2x2x4", "--grid", "nope"], "cuau"),
])
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
    assert main(["evaluate", str(tmp_path / "run" / "model.safetensors"), "-n", "50", "--reference", "20", "-o", str(out), "-q"]) == 0
    text = capsys.readouterr().out
    assert "ness_mean" in text and "Phi-exact" in text
    content = json.loads(out.read_text())
    assert len(content["rows"]) == 110
    row = content["rows"][0]
    assert row["phi_exact"] is not None and row["forward_ness"] is not None
    worst = max(abs(r["deviation"]) / max(r["phi_stderr"], 1e-9) for r in content["rows"])
    assert content["summary"]["phi_z_max"] == pytest.approx(worst, rel=1e-6)
