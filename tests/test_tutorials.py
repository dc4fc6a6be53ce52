"""Tutorials run from start to end."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TUTORIALS = Path(__file__).parents[1] / "tutorials"
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("path", sorted(TUTORIALS.glob("*.ipynb")), ids=lambda p: p.stem)
def test_notebook(path):
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:  # training as long as it takes to see that it runs
        cell.source = cell.source.replace("minutes=1,", "minutes=0.1,")
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
