"""What newcomers read: short, with lines that run and links that lead somewhere."""

import re
import sys
from pathlib import Path

import pytest

import alloygen

ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
README = (ROOT / "README.md").read_text()
SMALLER = {
    "(4, 4, 4)": "(2, 2, 4)",
    "n=1000": "n=200",
    "ising(10)": "ising(4)",
    "range(300, 1001, 100)": "(300, 500, 700)",
}


def blocks(text: str, language: str) -> list[str]:
    """What stands between fences of a language."""
    parts = (block.split("\n", 1) for block in text.split("```")[1::2])
    return [body for name, body in parts if name == language]


def test_readme_is_short():
    assert len(README.splitlines()) <= 150
    for lines in blocks(README, "python"):
        code = [line for line in lines.splitlines() if line and not line.startswith(("import", "from"))]
        assert len(code) <= 15


@pytest.mark.slow
def test_readme_lines_run(tmp_path, monkeypatch):
    """On a smaller cell; they run as they stand where the wheel is tried."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    code, _ = blocks(README, "python")
    for large, small in SMALLER.items():
        assert large in code
        code = code.replace(large, small)
    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    assert len(names["ens"]) == 200 and (tmp_path / "configs.extxyz").stat().st_size > 10_000
    assert len(names["diagram"].tie_lines(300))


OWN_SMALLER = {
    "max_sites=5": "max_sites=3",
    "minutes=2": "minutes=0.05, cells=[(2, 2, 1)]",
    "(4, 4, 4)": "(2, 2, 2)",
    "n=100": "n=32",
}


@pytest.mark.slow
def test_readme_lines_of_an_own_alloy_run(tmp_path, monkeypatch):
    """Found among the user's models by what follows."""
    from alloygen import own_law

    monkeypatch.setenv("ALLOYGEN_MODELS", str(tmp_path))
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setattr(own_law, "SAMPLES", 2_000)
    _, code = blocks(README, "python")
    for large, small in OWN_SMALLER.items():
        assert large in code
        code = code.replace(large, small)
    names: dict = {}
    head = "import alloygen\nfrom ase.build import bulk\nfrom ase.calculators.emt import EMT\n"
    exec(compile(head + code, "README.md", "exec"), names)
    assert names["ens"].method in ("neural", "zero-shot") and len(list(tmp_path.glob("*.safetensors"))) == 1


@pytest.mark.slow
@pytest.mark.parametrize("page", ["samplers.md", "fitting.md", "to_dft.md"])
def test_lines_of_pages_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = "\n".join(blocks((ROOT / "docs" / page).read_text(), "python"))
    code = re.sub(r"\bn=(\d{3,})\b", lambda m: f"n={max(60, int(m[1]) // 10)}", code)
    exec(compile(code, page, "exec"), {})


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\((?!http)([^)#]+)", page.read_text())
    assert [x for x in links if not (page.parent / x).exists()] == []


def test_every_page_is_reached_from_the_readme():
    reached, left = set(), [ROOT / "README.md"]
    while left:
        page = left.pop().resolve()
        if page not in reached and page.suffix == ".md":
            reached.add(page)
            left += [page.parent / x for x in re.findall(r"\]\((?!http)([^)#]+)", page.read_text())]
    assert {p.resolve() for p in PAGES} <= reached


def test_citation_has_the_version():
    text = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {alloygen.__version__}\n" in text and "cff-version" in text
    urls = set(re.findall(r"https://github.com/[\w-]+/[\w-]+", text + README + (ROOT / "pyproject.toml").read_text()))
    assert urls == {"https://github.com/alloygen/alloygen"}


def test_tables_of_any_cell_are_those_of_the_figures():
    """docs/any_cell.md and the README show what docs/results holds, line by line."""
    sys.path.insert(0, str(ROOT / "tests" / "benchmarks"))
    from any_cell import headlines, tables

    assert [line for line in headlines() if line not in README.splitlines()] == []
    shown = (ROOT / "docs" / "any_cell.md").read_text().splitlines()
    found = tables()
    assert set(found) == {"ising", "cuau"}
    for lines in found.values():
        assert len(lines) > 6 and [line for line in lines if line not in shown] == []


def test_commands_of_the_readme_are_targets():
    makefile = (ROOT / "Makefile").read_text()
    text = README + (ROOT / "CONTRIBUTING.md").read_text() + (ROOT / "docs" / "benchmarks.md").read_text()
    named = set(re.findall(r"(?:`|^)make ([\w-]+)", text, re.M))
    assert {"demo", "test", "check", "lint", "wheel"} <= named
    assert {t for t in named if f"\n{t}:" not in makefile} == set()


def test_the_shell_lines_are_known_to_the_shell():
    from alloygen.cli import parser

    text = README + (ROOT / "docs" / "command_line.md").read_text()
    lines = [line for block in blocks(text, "") for line in block.splitlines() if line.startswith("alloygen ")]
    assert len(lines) >= 8
    for line in lines:
        parser().parse_args(line.split("#")[0].split()[1:])
