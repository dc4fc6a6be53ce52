"""Public functions say what they take: the share of annotated arguments, counted on the source."""

import ast
from collections.abc import Iterator
from pathlib import Path

import alloygen

ROOT = Path(alloygen.__file__).parent
LEAST = 0.95


def sources() -> Iterator[str]:
    for path in [*sorted(ROOT.rglob("*.py")), Path(alloygen.data.__file__)]:
        yield path.read_text()


def public(body: list[ast.stmt], inside: bool = False) -> Iterator[tuple[ast.FunctionDef, bool]]:
    """Functions, methods and constructors whose names, and whose classes' names, do not start with "_"; whether a class holds them."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if not node.name.startswith("_") or (inside and node.name == "__init__"):
                yield node, inside
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public(node.body, True)


def arguments(function: ast.FunctionDef, inside: bool) -> list[ast.arg]:
    """All arguments, *args and **kwargs among them, but ``self`` and ``cls``."""
    a = function.args
    named = [*a.posonlyargs, *a.args, *a.kwonlyargs, *(x for x in (a.vararg, a.kwarg) if x is not None)]
    return named[1:] if inside and named and named[0].arg in ("self", "cls") else named


def bare(source: str) -> tuple[list[str], int]:
    """(arguments without an annotation, number of all arguments) of the public functions of a source."""
    found = [(f.name, a) for f, inside in public(ast.parse(source).body) for a in arguments(f, inside)]
    return [f"{name}({a.arg})" for name, a in found if a.annotation is None], len(found)


def returns(source: str) -> tuple[int, int]:
    """(functions that say what they return, number of functions); constructors return nothing."""
    found = [f for f, _ in public(ast.parse(source).body) if f.name != "__init__"]
    return sum(f.returns is not None for f in found), len(found)


def test_public_arguments_are_annotated():
    lists, numbers = zip(*map(bare, sources()), strict=True)
    missing, total = [name for found in lists for name in found], sum(numbers)
    assert total > 1000
    assert 1 - len(missing) / total >= LEAST, f"{len(missing)} of {total} have none: {', '.join(missing[:40])}"


def test_public_functions_say_what_they_return():
    said, total = (sum(x) for x in zip(*map(returns, sources()), strict=True))
    assert total > 400 and said / total >= LEAST


def test_the_count_sees_what_is_missing():
    """Negative control."""
    source = """
def f(a, b: int, *rest, key=1, **more: int): ...
def _hidden(a): ...
class A:
    def __init__(self, x): ...
    def g(self, y: int) -> int: ...
    def _h(self, z): ...
class _B:
    def g(self, y): ...
"""
    assert bare(source) == (["f(a)", "f(key)", "f(rest)", "__init__(x)"], 7)
    assert returns(source) == (1, 2)
