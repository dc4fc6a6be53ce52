"""mypy's errors, counted: more than the number in type_errors.txt fails, fewer asks to lower that number. ``-v`` prints them all."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
BASELINE = HERE / "type_errors.txt"


def errors() -> list[str]:
    run = subprocess.run(
        [sys.executable, "-m", "mypy", "--hide-error-context", "--no-pretty"],
        cwd=HERE.parent,
        capture_output=True,
        text=True,
    )
    if run.returncode not in (0, 1):  # 1: errors were found; 2: mypy itself could not run
        sys.exit(f"mypy failed:\n{run.stdout}{run.stderr}")
    return [line for line in run.stdout.splitlines() if ": error: " in line]


def main() -> int:
    allowed, found = int(BASELINE.read_text()), errors()
    if len(found) > allowed or "-v" in sys.argv:
        print("\n".join(found))
    print(f"mypy: {len(found)} errors, {allowed} allowed")
    if len(found) < allowed:
        print(f"Fewer than before: write {len(found)} into {BASELINE.relative_to(HERE.parent)}")
    return int(len(found) > allowed)


if __name__ == "__main__":
    sys.exit(main())
