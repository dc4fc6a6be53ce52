"""What pip installs: every package, every data file, every dependency that is imported."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SOURCES = [*(ROOT / "alloygen").rglob("*.py"), *(ROOT / "data").glob("*.py"), ROOT / "tutorials" / "demo.py"]
TESTS = [p for p in (ROOT / "tests").rglob("*.py") if "benchmarks" not in p.parts]  # those have requirements.txt
OWN = {"alloygen"} | {p.parent.name if p.stem == "__init__" else p.stem for p in (ROOT / "tests").rglob("*.py")}

MODULE = {"scikit_learn": "sklearn"}  # distributions that are called otherwise than their modules


def names(requirements: list[str]) -> set[str]:
    """The distributions that requirements name, as their modules are called."""
    found = {re.match(r"[\w.-]+", r)[0].lower().replace("-", "_") for r in requirements}
    return {MODULE.get(name, name) for name in found}


def imported(source: str) -> set[str]:
    """Packages of others that a source imports, at its top or inside its functions."""
    nodes = list(ast.walk(ast.parse(source)))
    found = {a.name for n in nodes if isinstance(n, ast.Import) for a in n.names}
    found |= {n.module for n in nodes if isinstance(n, ast.ImportFrom) and not n.level}
    return {f.split(".")[0] for f in found} - set(sys.stdlib_module_names) - OWN


DECLARED = names(PROJECT["project"]["dependencies"])
FOR_TESTS = DECLARED | names(PROJECT["project"]["optional-dependencies"]["test"])


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_what_is_imported_is_declared(path):
    assert imported(path.read_text()) <= DECLARED


def test_what_the_tests_import_is_declared():
    optional = PROJECT["project"]["optional-dependencies"]
    extras = names(optional["dask"]) | names(optional["chgnet"])  # skipped without
    assert set().union(*(imported(p.read_text()) for p in TESTS)) <= FOR_TESTS | extras


def test_what_is_declared_is_imported():
    assert set().union(*(imported(p.read_text()) for p in SOURCES)) == DECLARED


def test_what_is_declared_is_pinned():
    pins = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    extras = PROJECT["project"]["optional-dependencies"]
    assert names(pins) == FOR_TESTS | names(extras["dev"]) - {"alloygen"} | names(extras["dask"])


def test_the_check_sees_an_import():
    """Negative control."""
    assert imported("import os\ndef f():\n    from sklearn.linear_model import Lasso\n    import yaml.reader\n") == {
        "sklearn",
        "yaml",
    }


def test_every_folder_of_modules_is_a_package():
    """setup.py finds packages by their __init__.py."""
    folders = {p.parent for p in (ROOT / "alloygen").rglob("*.py")}
    assert {f for f in folders if not (f / "__init__.py").exists()} == set()
    text = (ROOT / "setup.py").read_text()
    assert "find_packages(" in text and "packages" not in PROJECT["tool"]["setuptools"]


def test_every_data_file_is_packaged():
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["alloygen.data"]
    packaged = {p for pattern in patterns for p in (ROOT / "data").glob(pattern)} | set((ROOT / "data").glob("*.py"))
    files = {p for p in (ROOT / "data").rglob("*") if p.is_file() and p.parent.name != "__pycache__"}
    assert files == packaged


def test_types_are_told():
    assert (ROOT / "alloygen" / "py.typed").exists()
    assert PROJECT["tool"]["setuptools"]["package-data"]["alloygen"] == ["py.typed"]


def test_the_pythons_that_are_named_were_tried():
    told = [c.split(" :: ")[-1] for c in PROJECT["project"]["classifiers"] if re.search(r":: 3\.\d+$", c)]
    tried = re.findall(r"^\| Python (3\.\d+)", (ROOT / "docs" / "installs.md").read_text(), re.MULTILINE)
    assert told == ["3.11", "3.12", "3.13"] == sorted(set(tried))
    assert set(PROJECT["project"]["urls"]) >= {"Homepage", "Issues", "Changelog"}


def test_files_of_tests_have_names_of_their_own():
    """Two of one name in two folders are one module to pytest."""
    found = [p.name for p in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(found) == sorted(set(found))
