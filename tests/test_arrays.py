"""Samples are arrays, models take tensors: the two agree, and conversions stand in one place."""

import re
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from small_systems import generator, hamiltonian

import alloygen
from alloygen.arrays import alike, as_array, as_tensor
from alloygen.errors import AlloygenError
from alloygen.exact.enumeration import Enumeration
from alloygen.hamiltonian.ising import ising
from alloygen.results.ensemble import Ensemble

ROOT = Path(alloygen.__file__).parent
CONVERSION = re.compile(r"torch\.as_tensor|from_numpy|\.numpy\(")
# Lines elsewhere: a file of tensors, a run's state as a model takes it, and arguments of the compiled fields of a model's inner loop.
ELSEWHERE = {"runtime/tensors.py": 1, "training/loop.py": 1, "hamiltonian/cluster.py": 2}


def test_the_hamiltonian_gives_back_the_kind_that_it_was_given(system):
    h = hamiltonian(system)
    occ = h.random(7, generator())
    rows, at = as_array(occ, np.int8), h.condition(900.0, np.linspace(0.0, 0.1, len(h.elements)))
    mu = as_array(at.mu)
    for name, more in (("energy", ()), ("counts", ()), ("site_energies", ()), ("semigrand_energy", (mu,)), ("reduced_energy", (at,))):  # fmt: skip
        tensor, array = getattr(h, name)(occ, *more), getattr(h, name)(rows, *more)
        assert isinstance(tensor, torch.Tensor) and isinstance(array, np.ndarray)
        assert tensor.dtype == torch.float64 and array.dtype == np.float64
        np.testing.assert_allclose(array, tensor.numpy(), rtol=1e-14, atol=1e-14)
    assert h.smallest_change(rows[0]) == h.smallest_change(occ[0])
    assert np.array_equal(h.counts(rows.reshape(7, 1, -1))[:, 0], h.counts(rows))
    assert h.check(occ).dtype == torch.int64 and h.check(rows) is rows
    assert h.check(rows.tolist()).dtype == np.int8
    assert np.array_equal(h.random(5, 3), h.random(5, generator(3)).numpy()) and h.random(5, 3).dtype == np.int8


@pytest.mark.parametrize("kind", [np.array, torch.tensor, list])
@pytest.mark.parametrize("bad", [[[2] * 9], [[300] * 9], [[-1] + [0] * 8], [[np.nan] * 9], [[0] * 8]])
def test_what_is_no_occupation_is_refused(kind, bad):
    """300 would be 44 as an int8."""
    with pytest.raises(AlloygenError, match=r"expected (species indices below 2|occupations of shape)"):
        ising(3).check(kind(bad))


def test_an_ensemble_holds_arrays_whatever_it_is_given():
    h = ising(3)
    occ = h.random(20, generator())
    given = Ensemble(h, occ, h.energy(occ), torch.zeros(20).requires_grad_(), T=2.0)
    plain = Ensemble(h, as_array(occ), as_array(h.energy(occ)), np.zeros(20), T=2.0)
    for ens in (given, plain):
        assert ens.occ.dtype == np.int8
        for name in ("energy", "log_prob", "counts", "field_energy", "log_weight", "weights"):
            assert getattr(ens, name).dtype == np.float64 and np.array_equal(getattr(ens, name), getattr(plain, name))
    assert not any(isinstance(getattr(given, f.name), torch.Tensor) for f in fields(given))
    kept = torch.arange(20) < 5
    assert np.array_equal(given[kept].occ, given[kept.numpy()].occ) and len(given[kept]) == 5
    assert Enumeration(h).occ.dtype == np.int8 and np.array_equal(Enumeration(h).index(occ), Enumeration(h).index(given.occ))  # fmt: skip


def test_a_crossing_copies_nothing_it_need_not():
    x, whole = np.zeros(3), np.zeros(3, dtype=np.int64)
    assert np.shares_memory(x, as_tensor(x).numpy()) and np.shares_memory(whole, as_tensor(whole).numpy())
    assert as_array(x) is x and alike(as_tensor(x), x).base is not None
    assert as_tensor([0, 1]).dtype == as_tensor(np.int8([0, 1])).dtype == torch.int64
    assert as_tensor(np.int8([0, 1]), torch.int8).dtype == torch.int8 and as_tensor(x > 0).dtype == torch.bool


def conversions(source: str) -> int:
    """Lines of code that turn arrays into tensors or back by themselves."""
    return sum(
        bool(CONVERSION.search(line)) for line in source.splitlines() if not line.strip().startswith((">>>", "..."))
    )


def test_conversions_stand_in_one_place():
    found = {p.relative_to(ROOT).as_posix(): conversions(p.read_text()) for p in ROOT.rglob("*.py")}
    del found["arrays.py"]
    assert {k: n for k, n in found.items() if n} == ELSEWHERE


def test_the_count_sees_a_conversion():
    """Negative control."""
    assert conversions("x = h.energy(torch.from_numpy(occ)).numpy()\ny = torch.as_tensor(x)\nz = as_tensor(x)") == 2
    assert conversions("T, mu = at.arrays()") == 0
