"""What the words of the command line mean, and where its results go: all of it is checked before any work is done."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from alloygen.arguments import positive, seed_from, whole_number
from alloygen.errors import AlloygenError, BadCondition, UnknownSpecies
from alloygen.runtime.atomic import write_somewhere

if TYPE_CHECKING:
    from alloygen.conditions.composition import Composition

MOST_SITES = 10_000_000


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line, and for which -0.1:0.2:3 is a value as -0.1 is."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self._negative_number_matcher = re.compile(r"-\.?\d")

    def error(self, message: str):
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def argument(read: Callable[[str], object]) -> Callable[[str], object]:
    """``read`` as the type of an argument: its AlloygenError becomes the message of the parser."""

    def typed(text: str):
        try:
            return read(text)
        except AlloygenError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return typed


def whole(name: str, least: int = 1, most: int | None = None) -> Callable[[str], object]:
    """The type of a whole number."""
    return argument(lambda text: whole_number(_number(text), name, least, most))


def above_zero(name: str, unit: str = "") -> Callable[[str], object]:
    """The type of a finite number above 0."""
    return argument(lambda text: positive(_number(text), name, unit))


def _number(text: str) -> int | float | str:
    """The number that a text is, or the text itself, which a check then refuses."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def values(text: str) -> list[float]:
    """One number, or ``first:last:how many`` of them.

    Examples
    --------
    >>> values("600"), values("200:400:3")
    ([600.0], [200.0, 300.0, 400.0])
    """
    from alloygen.conditions.given import MOST_VALUES

    every = [_number(word) for word in text.split(":")]
    words = [w for w in every if isinstance(w, int | float) and abs(w) < float("inf")]
    if len(words) < len(every) or len(words) not in (1, 3):
        raise BadCondition(f"expected a finite number or first:last:how many, such as 200:1200:21, got {text!r}")
    if len(words) == 1:
        return [float(words[0])]
    first, last, count = words
    n = whole_number(count, f"the number of values in {text!r}", 1, MOST_VALUES)
    if n == 1 and first != last:
        raise BadCondition(f"expected at least 2 values from {first:g} to {last:g}, got {text!r}")
    return [first + (last - first) * k / max(n - 1, 1) for k in range(n)]


def temperature(text: str) -> float:
    """``-T`` with one number."""
    found = temperatures([text])
    if len(found) != 1:
        raise BadCondition(f"expected -T with one temperature, got {text!r}; several are for alloygen mc")
    return found[0]


def temperatures(words: list[str]) -> list[float]:
    """``-T`` with numbers and ranges of them, each a temperature above 0."""
    from alloygen.conditions import temperature

    try:
        return [temperature(t) for word in words for t in values(word)]
    except AlloygenError as error:
        raise BadCondition(f"expected -T with temperatures above 0 in kelvin, such as -T 600 or -T 200:1200:21, got {' '.join(words)} "
                           f"({error})") from None  # fmt: skip


def seed(text: str) -> int:
    """``--seed`` with a whole number; see :mod:`alloygen.arguments` for the rule."""
    return seed_from(_number(text))


def named_values(pairs: list[str], option: str, example: str) -> dict[str, list[float]] | None:
    """``NAME=number`` or ``NAME=first:last:how many``, repeated, as a dict; None for nothing.

    Examples
    --------
    >>> named_values(["Au=0.02", "Ag=0:0.1:2"], "--mu ELEMENT=eV", "--mu Au=0.02")
    {'Au': [0.02], 'Ag': [0.0, 0.1]}
    """
    out = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise BadCondition(f"expected {option}, such as {example}, got {pair!r}")
        if name in out:
            raise BadCondition(f"expected {option} once for {name}, got it twice: {' '.join(pairs)}")
        try:
            out[name] = values(value)
        except AlloygenError as error:
            raise BadCondition(f"expected {option}, such as {example}, got {pair!r} ({error})") from None
    return out or None


def single(named: dict[str, list[float]] | None, option: str) -> dict[str, float] | None:
    """The same with one number each."""
    for name, numbers in (named or {}).items():
        if len(numbers) != 1:
            raise BadCondition(f"expected one number for {option} {name}, got {len(numbers)}")
    return None if named is None else {name: numbers[0] for name, numbers in named.items()}


def field(text: str | None) -> float | list[float] | None:
    """``--field`` of the Ising model: a number, or a range of them."""
    found = None if text is None else values(text)
    return found[0] if found and len(found) == 1 else found


def require_output(path: str | None, atoms) -> None:
    """Refuse a place where configurations of ``atoms`` cannot be written."""
    from alloygen.edge.structure_files import require_target

    if path is None:
        return
    if not hasattr(atoms, "get_chemical_symbols") and {"-", "+"} & set(atoms.elements):
        raise AlloygenError(
            f"expected no -o with the Ising model, whose spins are no atoms, got {path!r}; in Python they are in ens.occ"
        )
    require_target(path)


def composition(words: list[str]) -> Composition | None:
    """``--composition`` as the functions of alloygen take it: numbers of atoms or fractions by element, the same by sublattice, or "atoms".

    Examples
    --------
    >>> composition(["Au=16"]), composition(["Au=0.25", "Pd=0.25"]), composition(["atoms"]), composition([])
    ({'Au': 16}, {'Au': 0.25, 'Pd': 0.25}, 'atoms', None)
    >>> composition(["0:Li=8", "1:O=12", "1:F=4"])
    {0: {'Li': 8}, 1: {'O': 12, 'F': 4}}
    """
    if words == ["atoms"]:
        return "atoms"
    option = "--composition ELEMENT=atoms or a fraction, or SUBLATTICE:ELEMENT=..."
    example = "--composition Au=16, Au=0.25, or 0:Li=8 on sublattice 0"
    single(named_values(words, option, example), "--composition")
    by_element: dict = {}
    by_sublattice: dict = {}
    for word in words:
        name, _, text = word.partition("=")
        where, colon, element = name.partition(":")
        if colon and not (where.isdecimal() and element):
            raise BadCondition(f"expected {option}, such as {example}, got {word!r}")
        there = by_sublattice.setdefault(int(where), {}) if colon else by_element
        there[element or name] = _number(text)  # 1 atom is not all of them, 1.0
    if by_element and by_sublattice:
        raise BadCondition(f"expected {option}, all by sublattice or none, got {' '.join(words)}")
    return by_element or by_sublattice or None


def potentials(pairs: list[str]) -> dict | None:
    """``--mu`` as the functions of alloygen take it: a number, or a list of them, by element."""
    named = named_values(pairs, "--mu ELEMENT=eV", "--mu Au=0.02 or --mu Au=-0.2:0.2:9")
    return None if named is None else {e: v[0] if len(v) == 1 else v for e, v in named.items()}


def held(text: str | None) -> dict[int, str] | None:
    """``0=Au,5=Cu`` as {atom: species}."""
    if text is None:
        return None
    out = {}
    for pair in text.split(","):
        found = re.fullmatch(r"\s*(-?\d+)\s*=\s*(\S+)\s*", pair)
        if not found or int(found[1]) in out:
            raise AlloygenError(
                f"expected --fix with each atom and its species once, such as --fix 0=Au,5=Cu, got {text!r}"
            )
        out[int(found[1])] = found[2]
    return out


def indices(text: str | None) -> list[int] | None:
    """``0,5,7`` as whole numbers."""
    if text is None:
        return None
    if not all(re.fullmatch(r"\s*-?\d+\s*", word) for word in text.split(",")):
        raise AlloygenError(f"expected --fix with indices of atoms, such as --fix 0,5,7, got {text!r}")
    return [int(word) for word in text.split(",")]


def structure(text: str):
    """Atoms from a file, from SYMBOL:AxBxC (repeats of the fcc primitive cell), or the Ising model from ising:L."""
    if found := re.fullmatch(r"ising:(\d+)", text):
        from alloygen.hamiltonian.ising import ising

        return ising(whole_number(int(found[1]), f"the side of {text!r}", 1, 1000))
    if found := re.fullmatch(r"(\w+):(\d+)x(\d+)x(\d+)", text):
        return _cell(text, found[1], tuple(int(k) for k in found.groups()[1:]))
    from alloygen.edge.structures import read_structure

    try:
        return read_structure(text)
    except AlloygenError as error:
        raise AlloygenError(f"{error}; a cell such as Cu:4x4x4 will do too") from None


def _cell(text: str, symbol: str, repeats: tuple[int, ...]):
    from ase.build import bulk
    from ase.data import chemical_symbols

    if symbol not in chemical_symbols[1:]:
        raise UnknownSpecies(f"expected a chemical symbol, as in Cu:4x4x4, got {symbol!r} in {text!r}")
    sites = repeats[0] * repeats[1] * repeats[2]
    whole_number(sites, f"the number of sites of {text!r}", 1, MOST_SITES)
    return bulk(symbol, "fcc", a=3.8).repeat(repeats)


# ---------------------------------------------------------------------- results
def keep(write: Callable[[Path], object], path: str | Path, what: str) -> int:
    """Write a result. Where that fails after all, put it elsewhere and say where: no work is lost to a path.

    Returns the exit code: 0, or 1 where the result lies elsewhere or nowhere.
    """
    path = Path(path)
    try:
        there = write_somewhere(write, path)
    except Exception as error:
        print(f"could not write {what} to {path}, nor to the current or the temporary folder: {error}", file=sys.stderr)
        return 1
    if there == path:
        print(f"wrote {what} to {path}")
        return 0
    print(f"wrote {what} to {there} instead of {path}", file=sys.stderr)
    return 1
