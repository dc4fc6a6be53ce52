"""Ladders of temperatures: they hold what was asked for and exchange at the rate that was asked for."""

import numpy as np
import pytest
from small_systems import hamiltonian

import alloygen.data
from alloygen.hamiltonian.ising import ising
from alloygen.montecarlo.sampling import replica_exchange
from alloygen.montecarlo.tempering import ladder

SYSTEMS = {"ising-8": (lambda: ising(8, h=0.05), [1.8], [[0.0, 0.1]]),
           "cuau-4x4x4": (lambda: alloygen.data.cuau().on((4, 4, 4)), [350.0, 600.0], [[0.0, 0.02]]),
           "ternary": (lambda: hamiltonian("ternary"), [300.0], [[0.0, -0.09, -0.03]])}


@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize("acceptance", [0.2, 0.5])
def test_neighbours_exchange_at_the_wanted_rate(name, acceptance):
    build, T, mu = SYSTEMS[name]
    h = build()
    rungs = ladder(h, T, mu, acceptance=acceptance)
    assert set(T) <= set(rungs.tolist()) and np.isinf(rungs[-1]) and (np.diff(rungs) > 0).all()
    s = replica_exchange(h, rungs, mu, n=500, check=False)
    assert s.info["exchange_min"] > 0.4 * acceptance and s.info["round_trips"] > 0


def test_a_higher_rate_takes_more_rungs():
    h = ising(10)
    assert len(ladder(h, 1.8, acceptance=0.15)) < len(ladder(h, 1.8, acceptance=0.4)) < len(ladder(h, 1.8, acceptance=0.7))


def test_a_ladder_may_end_below_infinity():
    rungs = ladder(ising(6), [2.0, 2.5], T_max=4.0)
    assert rungs[0] == 2.0 and rungs[-1] == 4.0 and 2.5 in rungs
