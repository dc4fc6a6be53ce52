"""Damage done to files: at random bits and places, and on purpose, with a checksum that fits afterwards."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from alloygen.runtime.documents import CHECKSUM
from alloygen.runtime.seal import EMPTY, KEYS, document_digest, read_header, seal

VALUES = [None, True, -1, 0, 1.5, 10**30, 1e308, float("nan"), float("inf"), "x", "", [], [[]], {}, [1, "a"]]


def at_random(raw: bytes, rng: np.random.Generator, n: int) -> Iterator[tuple[str, bytes]]:
    """(what was done, the bytes): flipped bits, a lost end, zeros, bytes that are doubled or left out; most of it where headers are."""
    kinds = (
        "a bit",
        "a bit near the start",
        "bits",
        "truncated",
        "zeros",
        "a part twice",
        "a part left out",
        "two parts swapped",
    )
    for k in range(n):
        kind, out, size = kinds[k % len(kinds)], bytearray(raw), len(raw)
        a, b = sorted(rng.integers(0, size, 2).tolist())
        if kind.startswith("a bit"):
            at = int(rng.integers(min(size, 600))) if "start" in kind else a
            out[at] ^= 1 << int(rng.integers(8))
        elif kind == "bits":
            for at in rng.integers(0, size, 20):
                out[at] ^= 1 << int(rng.integers(8))
        elif kind == "truncated":
            del out[a:]
        elif kind == "zeros":
            out[a : min(b, a + 4096)] = bytes(min(b, a + 4096) - a)
        elif kind == "a part twice":
            out[a:a] = out[a : a + 64]
        elif kind == "a part left out":
            del out[a : a + 64]
        else:
            out[a : a + 16], out[b : b + 16] = out[b : b + 16], out[a : a + 16]
        if bytes(out) != raw:
            yield kind, bytes(out)


# ---------------------------------------------------------------------- tensors
def crafted_tensors(path: Path, rng: np.random.Generator, n: int, with_seal: bool) -> Iterator[tuple[str, dict, dict]]:
    """(what was done, tensors, metadata) that no reader may believe; random numbers of a generator, which may be any, are let be."""
    tensors = load_file(path)
    with open(path, "rb") as file:
        about = json.loads(read_header(file, str(path)).raw)["__metadata__"]
    plain = json.loads(about["alloygen"])
    if not with_seal:
        plain.pop("checksum", None)
    names = sorted(k for k in tensors if not k.endswith(("rng", "generator", "exchange_rng")))
    for _ in range(n):
        name = names[int(rng.integers(len(names)))]
        t, kind = tensors[name], int(rng.integers(9))
        if kind == 0:
            yield f"{name} is not there", {k: v for k, v in tensors.items() if k != name}, plain
        elif kind == 1:
            yield "one more", {**tensors, f"{name.split('.')[0]}.beta": t.clone()}, plain
        elif kind == 2:
            yield f"{name} longer", {**tensors, name: torch.cat([t.reshape(-1), t.reshape(-1)[:1]])}, plain
        elif kind == 3:
            yield f"{name} as float16", {**tensors, name: t.to(torch.float16)}, plain
        elif kind == 4 and t.is_floating_point():
            yield f"{name} nan", {**tensors, name: torch.full_like(t, float("nan"))}, plain
        elif kind == 5 and t.is_floating_point():
            yield f"{name} infinite", {**tensors, name: torch.full_like(t, float("inf"))}, plain
        elif kind == 6 and t.numel():
            low = torch.iinfo(t.dtype).min if not t.is_floating_point() else -float("inf")
            yield f"{name} smallest", {**tensors, name: torch.full_like(t, low)}, plain
        elif kind == 7 and t.numel() and not t.is_floating_point():
            yield f"{name} largest", {**tensors, name: torch.full_like(t, torch.iinfo(t.dtype).max)}, plain
        elif kind == 8:
            yield "no metadata", tensors, {}


def write_crafted(path: Path, tensors: dict, plain: dict, with_seal: bool) -> None:
    """As alloygen writes them, or without any checksum, as its first version did."""
    about = {"alloygen": json.dumps(plain)} | (dict.fromkeys(KEYS, EMPTY) if with_seal else {})
    save_file({k: v.contiguous().clone() for k, v in tensors.items()}, str(path), metadata=about)
    if with_seal:
        seal(str(path))


# ---------------------------------------------------------------------- documents
def places(content: Any, at: tuple = ()) -> Iterator[tuple]:
    """Where the values of a document are."""
    yield at
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        yield from places(value, (*at, key))


def crafted_json(text: str, rng: np.random.Generator, n: int) -> Iterator[tuple[str, str]]:
    """(what was done, text): a value that is another, left out, or one too many, with a checksum that fits, where there was one."""
    content = json.loads(text)
    where = [p for p in places(content) if p and p[0] != CHECKSUM]
    for _ in range(n):
        new, at = json.loads(text), where[int(rng.integers(len(where)))]
        inner = new
        for key in at[:-1]:
            inner = inner[key]
        value = VALUES[int(rng.integers(len(VALUES)))]
        if rng.random() < 0.2:
            del inner[at[-1]]
            told = f"{at} left out"
        else:
            inner[at[-1]], told = value, f"{at} = {value!r}"
        if CHECKSUM in new:
            new[CHECKSUM] = document_digest({k: v for k, v in new.items() if k != CHECKSUM})
        yield told, json.dumps(new)


def crafted_text(text: str, rng: np.random.Generator, n: int) -> Iterator[tuple[str, str]]:
    """A word of a text that is another."""
    words = [m.span() for m in re.finditer(r"[^\s,=\[\]{}\"]+", text)]
    for _ in range(n):
        a, b = words[int(rng.integers(len(words)))]
        value = ["nan", "inf", "-1", "1e308", "999999999999999999999", "x", "", "0", "{", "1 2 3", "é"][
            int(rng.integers(11))
        ]
        yield f"{text[a:b]} = {value}", text[:a] + value + text[b:]
