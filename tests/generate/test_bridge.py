"""From one Hamiltonian to another: tables of all between, and weights that stay exact."""

import numpy as np
import pytest
from small_systems import enumeration, hamiltonian

import alloygen
from alloygen.errors import AlloygenError
from alloygen.exact.enumeration import Enumeration
from alloygen.generate.annealed import anneal
from alloygen.generate.bridge import Bridge, mixed
from alloygen.montecarlo.chains import Chains
from alloygen.testing.systems import FCC, random_expansion


def other(h, seed: int = 5, off: float = 0.5):
    """The same figures with other ECIs."""
    ecis = h.expansion.ecis
    return type(h)(
        h.expansion.with_ecis(ecis * (1 + off * np.random.default_rng(seed).normal(size=len(ecis)))), h.lattice
    )


def stranger(h):
    """Other figures on the same sites."""
    return random_expansion(FCC, [[0, 0, 0]], h.lattice.species, 9, orders=(0, 1, 2, 3)).on(h.lattice)


@pytest.mark.parametrize(
    "name, make", [("cuau-2x2x2", other), ("many-body", stranger), ("ternary", other), ("two-sublattice", other)]
)
def test_flips_between_two_hamiltonians_follow_the_energy_of_the_mixture(name, make):
    h = hamiltonian(name)
    bridge = Bridge(h, make(h))
    between = type(h)(mixed(h.expansion, bridge.new.expansion, 0.7, 0.3), h.lattice)
    occ = h.random(6, 1)
    assert np.allclose(between.energy(occ), 0.7 * h.energy(occ) + 0.3 * bridge.new.energy(occ))
    chains = Chains(bridge.between, h.condition(900.0).expand(6), 0, occ=occ)
    chains.tables, chains.walkers.energy[:] = bridge.tables(0.3), between.energy(occ)
    chains.step(4)
    moved = chains.walkers.occ
    assert (moved != occ).any() and np.allclose(chains.walkers.energy, between.energy(moved), atol=1e-9)
    assert not np.allclose(chains.walkers.energy, h.energy(moved), atol=1e-4)


def test_annealing_to_another_hamiltonian_is_exact_for_few_steps():
    """log Z' - log Z of 12 rough paths against enumeration; the plain weight of the old law is far off."""
    h, table = hamiltonian("cuau-2x2x2"), enumeration("cuau-2x2x2")
    new = other(h, off=0.2)
    bridge = Bridge(h, new)
    truth, at = Enumeration(new).at(new.condition(900.0, [0.0, 0.05])), h.condition(750.0, [0.0, -0.02])
    p, z, naive = table.at(at).probabilities, [], []
    way = np.linspace(0, 1, 9)
    path = h.condition(1 / np.linspace(1 / 750, 1 / 900, 9), np.column_stack([0 * way, -0.02 + 0.07 * way]))
    for seed in range(12):
        rows = np.random.default_rng(seed).choice(len(p), 300, p=p)
        occ = table.occ[rows]
        log_w = -h.reduced_energy(occ, at) - np.log(p[rows])
        made = anneal(bridge, occ, log_w, path, sweeps=1, seed=seed, share=way)
        assert np.allclose(made.energy, new.energy(made.occ)) and len(made.spread) == 8
        exact = -8 * truth.phi / (h.kB * 900.0)
        z.append((made.log_z().value - exact) / made.log_z().stderr)
        plain = anneal(h, occ, log_w, path, sweeps=1, seed=seed).log_z()
        naive.append((plain.value - exact) / plain.stderr)
    assert abs(np.mean(z)) < 0.9 and 0.5 < np.std(z) < 1.6
    assert np.abs(naive).mean() > 5


def test_bridges_that_lead_nowhere_are_refused():
    h = hamiltonian("cuau-2x2x2")
    with pytest.raises(AlloygenError, match="on one supercell"):
        Bridge(h, alloygen.ising(3))
    occ = h.random(4, 0)
    with pytest.raises(AlloygenError, match="share of the new Hamiltonian at each of 3"):
        anneal(Bridge(h, other(h)), occ, np.zeros(4), h.condition([900.0] * 3), share=[0.0, 1.0])
