"""Kernels are compiled, and kept on disk where that can be; nobody's installation is no reason to refuse."""

import re
import warnings
from pathlib import Path

import pytest
from numba.core import caching

from alloygen import compiled
from alloygen.errors import NotSaved


def half(x):
    return x / 2


def test_what_cannot_be_kept_is_compiled_all_the_same_with_one_warning(monkeypatch):
    assert compiled.njit()(half)._cache.cache_path  # here it can be
    monkeypatch.setattr(caching.CompileResultCacheImpl, "_locator_classes", [])
    compiled._warn.cache_clear()
    with pytest.warns(NotSaved, match="NUMBA_CACHE_DIR") as told:
        assert compiled.njit()(half)(3.0) == 1.5
        compiled.njit(fastmath=True)(half)
    assert len(told) == 1


def test_other_errors_of_numba_come_through(monkeypatch):
    def broken(*args, **options):
        raise RuntimeError("something else")

    monkeypatch.setattr(compiled.numba, "njit", broken)
    with warnings.catch_warnings(), pytest.raises(RuntimeError, match="something else"):
        compiled.njit()(half)


def test_every_kernel_is_compiled_by_it():
    """numba's own decorator refuses where nothing can be kept."""
    package = Path(compiled.__file__).parent
    text = {path.name: path.read_text() for path in package.rglob("*.py") if path.name != "compiled.py"}
    ours = [name for name, source in text.items() if "from alloygen.compiled import njit" in source]
    theirs = [
        name for name, source in text.items() if re.search(r"from numba import [^\n]*jit|@numba\.|numba\.njit", source)
    ]
    assert len(ours) > 5 and not theirs
