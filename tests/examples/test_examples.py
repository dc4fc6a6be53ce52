"""The worked examples are what CONTRIBUTING says: one of each, under 40 lines of code."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent
EXAMPLES = {"move", "model", "source", "observable"}


def code(name: str) -> list[str]:
    """The lines of an example between its two rulers that hold code."""
    text = next(HERE.glob(f"test_add_a*_{name}.py")).read_text()
    part = text.split(f" the {name}\n")[1].split("# -----")[0]
    return [line for line in part.splitlines() if line.strip() and not line.strip().startswith("#")]


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_examples_are_short(name):
    assert 5 < len(code(name)) < 40


def test_contributing_names_them():
    text = (HERE.parents[1] / "CONTRIBUTING.md").read_text()
    found = {path.name for path in HERE.glob("test_add_a*.py")}
    assert len(found) == len(EXAMPLES) and all(f"tests/examples/{name}" in text for name in found)
