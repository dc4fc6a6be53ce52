"""The benchmark of any order in short: pieces of it at a tiny size, against what they are compared with there."""

import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))

import any_order

import alloygen.data
from alloygen.estimate.free_energy import free_energy
from alloygen.exact.enumeration import Enumeration
from alloygen.exact.ising import kaufman_free_energy


@pytest.fixture(autouse=True)
def as_it_was():
    """The benchmark sets the threads and the warnings of its process."""
    threads = torch.get_num_threads()
    with warnings.catch_warnings():
        yield
    torch.set_num_threads(threads)


@pytest.mark.slow
def test_marginals_of_one_pass_are_near_enumeration():
    errors = any_order.one_pass(Enumeration(alloygen.data.cuau().on((2, 2, 4))), 4)
    assert errors.shape == (12,) and np.median(errors) < 0.1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::alloygen.errors.LowSampleSize")
def test_cells_are_weighed_resampled_and_cooled():
    """Spins on 12x12 from the model of 10x10 against Kaufman, CuAu on 4x4x8 from that of 4x4x4 against its reference."""
    L, T, kB = 12, 3.5, alloygen.data.cuau().kB
    log_w = any_order.plain_weights("ising_10x10", (L, L, 1), T, 0.0, 16, 0)
    along = any_order.resampled_phi("ising_10x10", (L, L, 1), T, 0.0, 32, 0)
    (cold,) = any_order.cooled(L, [3.0], 16, 40, 1, 0)
    for phi, at in ((free_energy(log_w, T, L**2), T), (along, T), (free_energy(cold, 3.0, L**2), 3.0)):
        assert abs(phi.value - kaufman_free_energy(L, at)) < 5 * phi.stderr < 0.05
    alloy = any_order.plain_weights("cuau_4x4x4", (4, 4, 8), 1000.0, 0.0, 8, 0)
    true = any_order.reference_phi(alloygen.data.cuau_reference(), 1000.0, 0.0, kB)
    phi = free_energy(alloy, kB * 1000.0, 128)
    assert abs(phi.value - true) < 5 * max(phi.stderr, 1e-4) < 5e-3
