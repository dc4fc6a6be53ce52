"""The oldest versions that pyproject.toml allows, one ``name==version`` a line:

python tests/installs/oldest.py > oldest.txt && pip install -r oldest.txt && pip install --no-deps .
"""

import re
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parents[2] / "pyproject.toml"


def oldest() -> list[str]:
    """Of what running needs; extras are left out."""
    needed = tomllib.loads(PROJECT.read_text())["project"]["dependencies"]
    return [re.sub(r">=", "==", name) for name in needed]


if __name__ == "__main__":
    print("\n".join(oldest()))
