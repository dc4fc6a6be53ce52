"""Add a move: two sites at once. Open ``alloygen/montecarlo/single_moves.py``, subclass Move, hold it against all states of a small system.

Single flips that a strong short-range order makes dear often go together at little cost, so this move puts a random species on each of two
random sites, and accepts with min(1, exp(-beta [dE - dmu])). Both may be one site: then it is a flip.
"""

import numpy as np
import pytest
from numba import njit

import alloygen
from alloygen.hamiltonian.flips import flip_energy, set_species
from alloygen.montecarlo.rng import below, below_low, mix, step, uniform
from alloygen.montecarlo.sampling import metropolis, replica_exchange
from alloygen.montecarlo.single_moves import Move
from alloygen.runtime.job import Job
from alloygen.testing import assert_boltzmann, assert_not_boltzmann, enumerable


# ---------------------------------------------------------------------- the move
@njit(nogil=True)
def pair_flips(tables, walkers, lo, hi, beta, mu, attempts, sites):
    n_words = walkers.states.shape[1] // walkers.occ.shape[1]
    for r in range(lo, hi):
        occ, states, s = walkers.occ[r], walkers.states[r], walkers.rng[r]
        for _ in range(attempts):
            s = step(s)
            i, j = sites[below(mix(s), len(sites))], sites[below_low(mix(s), len(sites))]
            s = step(s)
            to_i, to_j = below(mix(s), tables.n_species[i]), below_low(mix(s), tables.n_species[j])
            was_i = np.int64(occ[i])
            change = 0.0 if to_i == was_i else flip_energy(tables, states, n_words, i, was_i, to_i)
            set_species(tables, occ, states, i, to_i)
            was_j = np.int64(occ[j])
            change += 0.0 if to_j == was_j else flip_energy(tables, states, n_words, j, was_j, to_j)
            set_species(tables, occ, states, j, to_j)
            of_i, of_j = tables.element_index[tables.sublattice[i]], tables.element_index[tables.sublattice[j]]
            gain = mu[r, of_i[to_i]] - mu[r, of_i[was_i]] + mu[r, of_j[to_j]] - mu[r, of_j[was_j]]
            s = step(s)
            if uniform(mix(s)) >= np.exp(beta[r] * (gain - change)):
                set_species(tables, occ, states, j, was_j)
                set_species(tables, occ, states, i, was_i)
                continue
            walkers.energy[r] += change
            for element, number in ((of_i[was_i], -1), (of_i[to_i], 1), (of_j[was_j], -1), (of_j[to_j], 1)):
                walkers.counts[r, element] += number
            walkers.accepted[r] += 1
        walkers.rng[r] = s
        walkers.tried[r] += attempts


class PairFlip(Move):
    name = "pair flip"

    def kernel(self, tables, sites):
        return pair_flips


# ---------------------------------------------------------------------- its tests
@pytest.mark.slow
@pytest.mark.parametrize("name", ["cuau-2x2x2", "spectator", "two-sublattice"])
def test_the_move_follows_the_law(name):
    """The last configurations of many short chains are independent."""
    system = enumerable(name)
    at = system.hamiltonian.condition(system.T[1], system.mu[1])
    made = metropolis(
        system.hamiltonian,
        at,
        n=100_000,
        copies=100_000,
        sweeps=1,
        burn=100,
        move=PairFlip(),
        check=False,
    )
    assert_boltzmann(made.occ[0], system.enumeration, at)
    assert_not_boltzmann(made.occ[0], system.enumeration, at)
    assert made.info["move"] == "pair flip"


@pytest.mark.slow
def test_it_exchanges_replicas_resumes_and_gives_free_energies(tmp_path):
    h, e = enumerable("cuau-2x2x2").hamiltonian, enumerable("cuau-2x2x2").enumeration
    job = Job(checkpoint=tmp_path / "run")
    run = dict(n=2000, ladder=[700.0, 1000.0, 1500.0, 3000.0, np.inf], move=PairFlip(), seed=1)
    at, grid = h.condition(500.0, [0.0, 0.07]), h.grid(500.0, [0.0, 0.07])
    whole = replica_exchange(h, grid, **run)
    replica_exchange(h, grid, **{**run, "n": 700}, burn=50, job=job)
    again = replica_exchange(h, grid, **run, burn=50, job=job)
    straight = replica_exchange(h, grid, **run, burn=50)
    assert np.array_equal(again.occ, straight.occ)
    exact, found = e.at(at).phi, whole.free_energy(0)
    assert abs(found.value - exact) < 4 * found.stderr < 0.01
    with pytest.raises(alloygen.errors.CheckpointError, match="flip"):
        replica_exchange(h, grid, **{**run, "move": "flip"}, burn=50, job=job)


def test_the_short_way_takes_it():
    """``alloygen.mc`` takes the object where it takes "flip" and "swap", and so does the sampler."""
    h, kw = enumerable("cuau-2x2x2").hamiltonian, dict(burn=5, check=False, method="metropolis", move=PairFlip())
    scan = alloygen.mc(h, 700.0, {"Au": 0.05}, 40, **kw)
    assert isinstance(scan.facts.move, PairFlip) and scan.info["move"] == "pair flip"
    again = metropolis(h, h.condition(700.0, [0.0, 0.05]), 40, burn=5, check=False, move=PairFlip())
    assert np.array_equal(scan.occ, again.occ)
    one = alloygen.sample(h, 700.0, {"Au": 0.05}, 40, sampler=alloygen.MonteCarlo(**kw))
    assert np.array_equal(one.occ, scan.occ[0])
    assert not np.array_equal(scan.occ, alloygen.mc(h, 700.0, {"Au": 0.05}, 40, **{**kw, "move": "flip"}).occ)
