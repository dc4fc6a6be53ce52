"""Build the sdist and the wheel, and try the wheel where nothing of the checkout can be found.

The wheel must hold every module and data file of the tree, and the sdist must build the same wheel. The wheel is then
installed into a fresh environment in a temporary folder, and wheel_check.py runs there. Needs the package ``build``.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("alloygen", "data", "setup.py", "setup.cfg", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in")
OUTSIDE = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "ALLOYGEN", "VIRTUAL_ENV"))}


def call(*command, cwd: Path) -> None:
    print("+", *command, flush=True)
    subprocess.run([str(c) for c in command], cwd=cwd, check=True, env=OUTSIDE)


def in_tree() -> set[str]:
    """What a wheel has to hold, by its path there."""
    found = {p.relative_to(ROOT) for p in (ROOT / "alloygen").rglob("*") if p.suffix in {".py", ".typed"}}
    data = (p.relative_to(ROOT) for p in (ROOT / "data").rglob("*") if p.is_file() and p.parent.name != "__pycache__")
    return {p.as_posix() for p in found} | {f"alloygen/{p.as_posix()}" for p in data}


def in_wheel(wheel: Path) -> set[str]:
    return {n for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in n}


def same(what: str, expected: set[str], got: set[str]) -> None:
    if expected != got:
        sys.exit(f"{what}: missing {sorted(expected - got)}, not expected {sorted(got - expected)}")
    print(f"{what}: the same {len(got)} files")


def only(folder: Path, pattern: str) -> Path:
    (path,) = folder.glob(pattern)
    return path


def build(tmp: Path) -> Path:
    """The wheel, made from a copy of the sources (an old build/ cannot leak in), and again from the sdist."""
    copy = tmp / "copy"
    copy.mkdir()
    for name in SOURCES:
        path = ROOT / name
        leave = shutil.ignore_patterns("__pycache__", "*.nb[ci]")
        shutil.copytree(path, copy / name, ignore=leave) if path.is_dir() else shutil.copy(path, copy / name)
    call(sys.executable, "-m", "build", "--wheel", "-o", tmp / "direct", copy, cwd=tmp)
    call(sys.executable, "-m", "build", "--sdist", "-o", tmp / "sdist", ROOT, cwd=tmp)
    with tarfile.open(only(tmp / "sdist", "*.tar.gz")) as archive:
        archive.extractall(tmp / "unpacked", filter="data")
    call(sys.executable, "-m", "build", "--wheel", "-o", tmp / "again", only(tmp / "unpacked", "*"), cwd=tmp)
    wheel = only(tmp / "direct", "*.whl")
    same("tree and wheel", in_tree(), in_wheel(wheel))
    same("wheel and wheel of the sdist", in_wheel(wheel), in_wheel(only(tmp / "again", "*.whl")))
    return wheel


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        tmp = Path(folder).resolve()
        wheel = build(tmp)
        python = tmp / "venv" / "bin" / "python"
        call(sys.executable, "-m", "venv", tmp / "venv", cwd=tmp)
        pins = ROOT / "constraints.txt"
        call(python, "-m", "pip", "install", "--quiet", "-c", pins, "torch", cwd=tmp)
        call(python, "-m", "pip", "install", "--quiet", "-c", pins, wheel, cwd=tmp)
        work = tmp / "work"
        work.mkdir()
        shutil.copy(tmp / "copy" / "README.md", work)
        shutil.copy(ROOT / ".ci" / "wheel_check.py", work)
        modules = [n for n in sorted(in_wheel(wheel)) if n.endswith(".py")]
        (work / "modules.txt").write_text("\n".join(modules))
        call(python, "wheel_check.py", cwd=work)


if __name__ == "__main__":
    main()
