"""What an installed alloygen has to do, away from any checkout; wheel.py starts it in a folder with README.md and modules.txt."""

import importlib
import json
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

os.environ["MPLBACKEND"] = "Agg"

import alloygen

CONFIG = """
name = "tiny"
[system]
hamiltonian = "cuau"
repeats = [2, 2, 2]
[data]
T = [{ from = 400, to = 1200, step = 400 }]
mu = [{ from = -0.2, to = 0.2, step = 0.1 }]
samples = 16
burn = 20
[model]
width = 16
depth = 1
heads = 2
[training]
steps = 5
batch = 32
warmup = 2
[validation]
every = 5
"""
COMMANDS = {
    "sample": "sample Cu:2x2x4 -T 600 --mu Au=0.02 -n 50 -q -o configs.extxyz",
    "sample without a model": "sample Cu:2x2x2 -T 900 --mu Au=0.02 -n 50 -q",
    "mc": "mc Cu:2x2x2 -T 900 1100 --mu Au=-0.1:0.1:3 -n 50 -q --table scan.csv",
    "phase-diagram": "phase-diagram Cu:2x2x4 --mu Au -T 400:1000:3 -n 40 --step 100 -q -o cuau",
    "train": "train tiny.toml -q",
    "evaluate": "evaluate runs/tiny/model.safetensors -n 20 --reference 20 -q -o figures.json",
}
FILES = [
    "configs.extxyz",
    "scan.csv",
    "cuau.png",
    "cuau.nc",
    "cuau.json",
    "runs/tiny/model.safetensors",
    "figures.json",
]


def imports() -> None:
    """Every module: those that were told to be there, and those that the package itself finds. Data's recipes are scripts."""
    told = {
        n.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for n in Path("modules.txt").read_text().split()
    }
    found = {m.name for m in pkgutil.walk_packages(alloygen.__path__, "alloygen.")} | {"alloygen"}
    assert told == found, f"missing {sorted(told - found)}, not expected {sorted(found - told)}"
    for name in sorted(n for n in told if not n.startswith("alloygen.data.")):
        importlib.import_module(name)
    print(f"{len(told)} modules")


def readme() -> None:
    """The lines of the README, the first block of Python."""
    code = re.search(r"```python\n(.*?)```", Path("README.md").read_text(), re.S)[1]
    exec(compile(code, "README.md", "exec"), {"__name__": "readme"})
    print("the README's lines")


def shell() -> None:
    Path("tiny.toml").write_text(CONFIG)
    program = Path(sys.executable).parent / "alloygen"
    for what, line in COMMANDS.items():
        run = subprocess.run([program, *line.split()], capture_output=True, text=True)
        assert run.returncode == 0, f"alloygen {line}\n{run.stdout}\n{run.stderr}"
        assert run.stdout.strip(), f"alloygen {line} printed nothing"
        print(f"alloygen {what}")
    for name in FILES:
        assert Path(name).stat().st_size > 0, name
    assert json.loads(Path("figures.json").read_text())["rows"]


def main() -> None:
    home = Path(alloygen.__file__).resolve()
    assert home.is_relative_to(Path(sys.prefix).resolve()), f"{home} is not of the fresh environment {sys.prefix}"
    assert home.with_name("py.typed").exists()
    for step in (imports, readme, shell):
        step()


if __name__ == "__main__":
    main()
