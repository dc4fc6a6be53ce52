"""The lookup table walks the very chain of the general kernel, and steps aside where it does not apply."""

import numpy as np
import pytest
import torch

import alloygen
from alloygen.hamiltonian.expansion import ClusterExpansion, Orbit
from alloygen.hamiltonian.ising import ising
from alloygen.lattice import Primitive
from alloygen.montecarlo.tempering import Chains

CUAU = alloygen.data.cuau()


@pytest.mark.parametrize("h, T", [(CUAU.on((4, 4, 4)), 800.0), (CUAU.on((2, 2, 4)), 800.0), (CUAU.on((1, 2, 4)), 900.0),
                                  (ising(5, 0.3), 2.5), (ising(2, 0.1), 2.5)], ids=lambda v: str(v)[:40])
def test_same_chain_as_the_general_kernel(h, T):
    runs = []
    for lookup in (True, False):
        c = Chains(h, [T, 1.3 * T], [[0.0, 0.02]] * 2, seed=5, lookup=lookup)
        assert (c.lookup is not None) == lookup
        c.step(50)
        runs.append((c.occ.copy(), c.energy.copy(), c.accepted.copy()))
    assert (runs[0][0] == runs[1][0]).all() and (runs[0][2] == runs[1][2]).all()
    fresh = h.energy(torch.as_tensor(runs[0][0]).long()).numpy()
    assert np.abs(runs[0][1] - fresh).max() < 1e-9 and np.abs(runs[1][1] - fresh).max() < 1e-9


def test_three_species_take_the_general_kernel():
    ternary = ClusterExpansion(Primitive(np.eye(3), [[0, 0, 0]], [("A", "B", "C")]), [[-1.0, 0.0, 1.0]],
                               (Orbit("pair", 0.1, [[(0, 0, 0, 0), (1, 0, 0, 0)]], [[0, 0]], [1.0]),))
    h = ternary.on((3, 3, 3))
    assert h.lookup is None
    c = Chains(h, [500.0], [[0.0, 0.01, -0.02]], seed=0)
    c.step(20)
    assert c.energy[0] == pytest.approx(float(h.energy(torch.as_tensor(c.occ).long())[0]), abs=1e-9)
