"""Tutorials run from start to end, with fewer draws."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TUTORIALS = Path(__file__).parents[1] / "tutorials"
pytestmark = pytest.mark.slow


SMALLER = {
    "np.linspace(-0.2, 0.2, 21)": "np.linspace(-0.2, 0.2, 5)",
    "np.linspace(-0.24, 0.24, 17)": "np.linspace(-0.24, 0.24, 7)",
    "T=[300, 400, 500, 600, 700, 800, 950]": "T=[300, 500, 800, 950]",
    "np.linspace(500, 950, 4)": "np.linspace(500, 950, 2)",
    "np.linspace(360, 720, 4)": "np.linspace(400, 700, 2)",
    "repeat((12, 12, 12))": "repeat((8, 8, 8))",
    "expansion.on((8, 8, 8))": "expansion.on((4, 4, 8))",
    "repeat((4, 4, 8))": "repeat((2, 4, 4))",
    'painted = {"model": "cuau_4x4x4"}': 'painted = {"model": "cuau_2x2x4"}',
    "alloygen.train(alloy, minutes=1,": "alloygen.train(alloy, minutes=1, cells=[(2, 2, 4)],",
    "mine.on((4, 4, 4))": "mine.on((2, 2, 4))",
    "cell.repeat((4, 4, 4))": "cell.repeat((2, 2, 4))",
    "max_sites=5": "max_sites=4",
    'alloygen.Relax("cell", fmax=0.05)': 'alloygen.Relax("cell", fmax=0.4)',
    "np.linspace(-0.24, 0.24, 9)": "np.linspace(-0.24, 0.24, 3)",
    "np.linspace(-0.3, 0.3, 13)": "np.linspace(-0.3, 0.3, 7)",
}


def lighter(source: str) -> str:
    """The code of a cell with a fifth of the draws, few of the steps: enough to see that it runs. Outputs are saved of whole runs."""
    for names, share in (("n|samples|production", 5), ("steps", 25)):
        source = re.sub(rf"\b({names})=([\d_]{{2,}})\b", lambda m: f"{m[1]}={max(32, int(m[2]) // share)}", source)  # noqa: B023
    for whole, small in SMALLER.items():
        source = source.replace(whole, small)
    return re.sub(r"\bminutes=1\b", "minutes=0.1", source)


@pytest.mark.parametrize("path", sorted(TUTORIALS.glob("*.ipynb")), ids=lambda p: p.stem)
def test_notebook(path):
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        cell.source = lighter(cell.source)
    NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(TUTORIALS)}}
    ).execute()
    outputs = [o for c in notebook.cells for o in c.get("outputs", [])]
    assert not [o for o in outputs if o.output_type == "error"]
    assert sum("image/png" in o.get("data", {}) for o in outputs) >= 1


def test_saved_notebooks_have_outputs():
    import nbformat

    for path in TUTORIALS.glob("*.ipynb"):
        code = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
        assert code and any(c.outputs for c in code), f"{path.name}: run it and save the outputs"


def test_demo(tmp_path):
    run = subprocess.run(
        [sys.executable, str(TUTORIALS / "demo.py")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "MPLBACKEND": "Agg"},
    )
    assert run.returncode == 0, run.stderr
    assert "NESS" in run.stdout
    assert (tmp_path / "demo" / "configs.extxyz").stat().st_size > 100_000
    assert (tmp_path / "demo" / "cuau.png").stat().st_size > 10_000
