"""Damaged and crafted files of every kind, and what became of each: the table of docs/files.md."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from attacked import TARGETS, Target
from damage import at_random, crafted_json, crafted_tensors, crafted_text, write_crafted
from trial import KINDS, Outcome, outcome_of


def cases(target: Target, path: Path, rng: np.random.Generator, n: int) -> Iterator[tuple[str, str]]:
    """``path`` damaged in about n ways, one after another: (class of the damage, what was done)."""
    raw = path.read_bytes()
    for told, out in at_random(raw, rng, n):
        path.write_bytes(out)
        yield "damaged", told
    if target.kind == "tensors":
        for sealed in (True, False):
            for told, tensors, plain in crafted_tensors(_kept(path, raw), rng, n // 3, sealed):
                write_crafted(path, tensors, plain, sealed)
                yield ("crafted" if sealed else "version 1"), told
                path.write_bytes(raw)
    elif target.kind in ("json", "text"):
        craft = crafted_json if target.kind == "json" else crafted_text
        for told, text in craft(raw.decode(), rng, n // 2):
            path.write_text(text)
            yield "crafted", told


def _kept(path: Path, raw: bytes) -> Path:
    path.write_bytes(raw)
    return path


def attack(
    target: Target, n: int, seed: int = 0, seconds: float = 30.0
) -> tuple[Counter, list[tuple[str, str, Outcome]]]:
    """(how many of each kind, those that nobody wants) of a target.

    Another result is the right one where a file holds other values on purpose and a checksum that fits, or none by its nature.
    """
    folder = Path(tempfile.mkdtemp())
    counts, bad = Counter(), []
    try:
        path = target.make(folder)
        names = (str(path), str(path.parent) if target.together else str(path))
        before = folder.parent / f"{folder.name}_before"
        shutil.copytree(folder, before)
        same = outcome_of(lambda: target.read(path), names, seconds=120.0)
        if same.kind != "other":
            raise AssertionError(f"{target.name}: expected a file that can be read, got {same}")
        shutil.rmtree(folder)
        shutil.copytree(before, folder)
        for kind, told in cases(target, path, np.random.default_rng(seed), n):
            found = outcome_of(lambda: target.read(path), names, same.told, seconds)
            by_nature = found.kind == "other" and ((kind == "crafted" and target.kind != "tensors") or not target.ours)
            counts["another file" if by_nature else found.kind] += 1
            if not by_nature and found.kind not in ("the same", "clear"):
                bad.append((kind, told, found))
            damaged = path.read_bytes() if path.exists() else b""
            shutil.rmtree(folder)
            shutil.copytree(before, folder)
            path.write_bytes(damaged)
        shutil.rmtree(before)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return counts, bad


COLUMNS = ("the same", "clear", "no name", "other", "another file", "raw", "hang", "crash")


def table(n: int, seed: int = 0, only: str = "") -> tuple[list[str], int]:
    """(lines of the table, how many cases nobody wants)."""
    assert set(KINDS) <= set(COLUMNS)
    lines = [f"| file | cases | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 2) + "|"]
    every, wrong = Counter(), 0
    for k, target in enumerate(t for t in TARGETS if only in t.name):
        counts, bad = attack(target, n, seed + k)
        every += counts
        wrong += len(bad)
        lines.append(f"| {target.name} | {sum(counts.values())} | {' | '.join(str(counts[c]) for c in COLUMNS)} |")
        print(lines[-1], flush=True)
        for kind, told, found in bad[:12]:
            print(f"    {found.kind}: {kind}, {told[:80]}: {str(found.told)[:160]}", flush=True)
    lines.append(f"| all | {sum(every.values())} | {' | '.join(str(every[c]) for c in COLUMNS)} |")
    print(lines[-1], flush=True)
    return lines, wrong
