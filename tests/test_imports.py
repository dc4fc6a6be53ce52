"""How the rooms are stacked: modules import from rooms below their own only, and heavy packages wait until needed."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import alloygen

ROOT = Path(alloygen.__file__).parent
# From the ground up; a name covers the module or the whole subpackage. Data is what ships, read by the Hamiltonians.
ROOMS = [
    "types",
    "errors",
    "compiled",
    "arguments",
    "limits",
    "units",
    "lattice",
    "levels",
    "arrays",
    "conditions",
    "counts",
    "runtime",
    "hamiltonian",
    "data",
    "edge",
    "exact",
    "nn",
    "orders",
    "models",
    "testing",
    "objectives",
    "estimate",
    "results.hull",
    "fitting",
    *(
        f"montecarlo.{name}"
        for name in (
            "rng",
            "moves",
            "states",
            "single_moves",
            "balanced",
            "walkers",
            "chains",
            "tempering",
            "annealing",
            "companion",
        )
    ),
    "results",
    "montecarlo",
    "generate",
    "training",
    "registry",
    "samplers",
    "ordering",
    "own_law",
    "api",
    "consistency",
    "shell",
    "commands",
    "cli",
]
# Looked up by name inside a function, so that a name can stand for what ships.
UPWARD = {("hamiltonian.source", "data")}
# A module that is itself imported by name, when it is asked for, may import its heavy package at the top.
HEAVY_AT_TOP = {("nn.painn", "torch_geometric")}


def modules() -> dict[str, Path]:
    out = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if name:
            out[name] = path
    out["data"] = Path(alloygen.data.__file__)  # its folder lies elsewhere in a checkout
    return out


def room(name: str) -> int | None:
    """The level of a module: the longest of its prefixes that is a room."""
    parts = name.split(".")
    for k in range(len(parts), 0, -1):
        if ".".join(parts[:k]) in ROOMS:
            return ROOMS.index(".".join(parts[:k]))
    return None


def imported(source: str, name: str, known) -> set[str]:
    """The modules of alloygen that a source imports, at its top or inside its functions."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = ["alloygen", *name.split(".")][: -node.level]
                base = ".".join([*package, base] if base else package)
            inner = {f"{base}.{a.name}" for a in node.names}
            submodules = {i for i in inner if i.removeprefix("alloygen.") in known}
            found |= submodules or {base}
    return {f.removeprefix("alloygen.") for f in found if f.startswith("alloygen.")}


def climbs(name: str, source: str, known) -> list[str]:
    own = room(name)
    return [
        t
        for t in sorted(imported(source, name, known))
        if t in known and room(t) is not None and room(t) > own and (name, t) not in UPWARD
    ]


@pytest.mark.parametrize("name", modules())
def test_modules_import_from_lower_rooms_only(name):
    known = set(modules())
    assert room(name) is not None, f"{name} has no room: give it one in ROOMS and in docs/how_it_works.md"
    assert climbs(name, modules()[name].read_text(), known) == []


@pytest.mark.parametrize(
    "line",
    [
        "from alloygen.models import MODELS",
        "import alloygen.training",
        "from alloygen import orders",
        "def f():\n    from alloygen.estimate.weights import ness",
        "from ..models import base",
    ],
)
def test_the_check_sees_a_climb(line):
    """Negative control."""
    assert climbs("nn.causal", line, modules())


def circles(imports: dict[str, set[str]]) -> list[tuple[str, ...]]:
    """Groups of modules that lead back to themselves: each module with those that it reaches and that reach it."""

    def reached(name: str) -> set[str]:
        found, left = set(), [name]
        while left:
            for target in imports.get(left.pop(), set()) - found:
                found.add(target)
                left.append(target)
        return found

    after = {name: reached(name) for name in imports}
    return sorted({tuple(sorted({n} | {t for t in after[n] if n in after[t]})) for n in imports if n in after[n]})


def test_no_module_leads_back_to_itself():
    """Imports for annotations and inside functions count too."""
    known = modules()
    graph = {name: imported(path.read_text(), name, set(known)) & set(known) for name, path in known.items()}
    for name, target in UPWARD:
        graph[name] -= {target}
    assert circles(graph) == []


def test_the_check_sees_a_circle():
    """Negative control, with one that only annotations close."""
    source = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from alloygen.hull import Hull"
    graph = {"hull": {"lattice"}, "lattice": imported(source, "lattice", {"hull"}), "plot": {"hull"}}
    assert circles(graph) == [("hull", "lattice")]


def test_importing_alloygen_is_light():
    """A command line that only prints its help should not wait for torch."""
    heavy = ["torch", "clease", "pymatgen", "matplotlib", "torch_geometric", "numba", "xarray", "ase", "spglib"]
    code = f"import sys, alloygen; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


HEAVY = {"clease", "pymatgen", "matplotlib", "torch_geometric"}


def heavy_at_top(name: str, source: str) -> set[str]:
    """The heavy packages that a source imports at its top and may not."""
    body = ast.parse(source).body
    top = {a.name.split(".")[0] for n in body if isinstance(n, ast.Import) for a in n.names}
    top |= {(n.module or "").split(".")[0] for n in body if isinstance(n, ast.ImportFrom)}
    return {h for h in top & HEAVY if (name, h) not in HEAVY_AT_TOP}


@pytest.mark.parametrize("name", modules())
def test_the_core_does_not_import_the_heavy_edges(name):
    """CLEASE, pymatgen, matplotlib and torch-geometric are imported inside the functions that use them."""
    assert heavy_at_top(name, modules()[name].read_text()) == set()


def test_the_check_sees_a_heavy_import():
    """Negative control: another module, or another package, is not excused."""
    line = "from torch_geometric.nn import MessagePassing"
    assert heavy_at_top("nn.mlp", line) == {"torch_geometric"} and heavy_at_top("nn.painn", line) == set()
    assert heavy_at_top("nn.painn", "import clease.settings") == {"clease"}


@pytest.mark.parametrize("name, heavy", HEAVY_AT_TOP)
def test_a_module_with_a_heavy_top_is_imported_by_name_only(name, heavy):
    """No import statement of the package leads there, and the excuse is still needed."""
    known = modules()
    assert {m for m, path in known.items() if name in imported(path.read_text(), m, set(known))} == set()
    assert f"import {heavy}" in known[name].read_text() or f"from {heavy}" in known[name].read_text()


@pytest.mark.slow
def test_training_does_not_load_torch_geometric():
    """It takes a second and is PaiNN's alone: nobody else should wait for it. Asking for PaiNN does load it."""
    code = """if True:
        import sys, alloygen.models, alloygen.training.loop
        from alloygen.hamiltonian.ising import ising
        before = "torch_geometric" in sys.modules
        size = dict(width=8, depth=1, heads=2)
        for network in ("mlp", "transformer", "painn"):
            alloygen.models.MODELS["arm"](ising(3), {"T": [1, 2], "mu": [[0, 1]]}, network=network, **size)
            print(before, network, "torch_geometric" in sys.modules)
    """
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.splitlines() == ["False mlp False", "False transformer False", "False painn True"]
