"""Correlation functions by compiled tables: against the slow sum over clusters, and against energies."""

import numpy as np
import pytest
from small_systems import hamiltonian

import alloygen.data
from alloygen.hamiltonian.clusters import correlations
from alloygen.hamiltonian.ising import ising_expansion


def test_correlations_are_the_sums_over_clusters_and_give_energies(system):
    h = hamiltonian(system)
    occ = h.random(7, 3)
    found = h.correlations(occ)
    slow = correlations(h.expansion.functions, h.expansion.orbits, h.lattice, occ)
    assert found.shape == (7, len(h.expansion.orbits)) and np.allclose(found, slow, atol=1e-12)
    assert np.allclose(h.n_sites * found @ h.expansion.ecis, h.energy(occ), atol=1e-10)


def test_the_same_figures_are_told_from_others():
    alloy = alloygen.data.cuau()
    assert alloy.same_figures(alloy) and alloy.same_figures(alloy.with_ecis(0 * alloy.ecis))
    assert not alloy.same_figures(ising_expansion())
    from dataclasses import replace

    other = replace(alloy, orbits=(*alloy.orbits[:-1], replace(alloy.orbits[-1], weights=2 * alloy.orbits[-1].weights)))
    assert not alloy.same_figures(other)
    assert alloy.with_ecis(2 * alloy.ecis).ecis == pytest.approx(2 * alloy.ecis)
