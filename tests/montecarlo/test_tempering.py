"""Ladders of temperatures: they hold what was asked for and exchange at the rate that was asked for."""

import warnings

import numpy as np
import pytest
from scipy.integrate import trapezoid
from small_systems import hamiltonian

import alloygen.data
from alloygen.edge.problem import Problem
from alloygen.errors import AlloygenError, NotConverged
from alloygen.exact.enumeration import Enumeration
from alloygen.hamiltonian.ising import ising
from alloygen.montecarlo import tempering
from alloygen.montecarlo.laddered import MonteCarlo
from alloygen.montecarlo.sampling import replica_exchange
from alloygen.montecarlo.tempering import ladder, mu_ladder
from alloygen.runtime.job import Job

SYSTEMS = {
    "ising-8": (lambda: ising(8, h=0.05), [1.8], [[0.0, 0.1]]),
    "cuau-4x4x4": (lambda: alloygen.data.cuau().on((4, 4, 4)), [350.0, 600.0], [[0.0, 0.02]]),
    "ternary": (lambda: hamiltonian("ternary"), [300.0], [[0.0, -0.09, -0.03]]),
}


@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize("acceptance", [0.2, 0.5])
def test_neighbours_exchange_at_the_wanted_rate(name, acceptance):
    build, T, mu = SYSTEMS[name]
    h = build()
    rungs = ladder(h, h.grid(T, mu), acceptance=acceptance)
    assert set(T) <= set(rungs.tolist()) and np.isinf(rungs[-1]) and (np.diff(rungs) > 0).all()
    s = replica_exchange(h, h.grid(rungs, mu), n=500, check=False)
    assert s.info["exchange_min"] > 0.4 * acceptance and s.info["round_trips"] > 0


def test_a_higher_rate_takes_more_rungs():
    h = ising(10)
    assert (
        len(ladder(h, h.grid(1.8), acceptance=0.15))
        < len(ladder(h, h.grid(1.8), acceptance=0.4))
        < len(ladder(h, h.grid(1.8), acceptance=0.7))
    )


def test_no_step_is_wide_up_to_the_hottest_temperature_asked_for():
    """16 sites exchange well over any step (the control: above 500 K steps are wider), and yet phases do not come down."""
    rungs = ladder(
        alloygen.data.cuau().on((2, 2, 4)),
        alloygen.data.cuau().on((2, 2, 4)).grid([200.0, 500.0], [[0.0, 0.0]]),
        seed=0,
    )
    steps = rungs[1:-1] / rungs[:-2]
    below = rungs[1:-1] <= 500.0
    assert below.sum() >= 3 and {200.0, 500.0} <= set(rungs.tolist())
    assert steps[below].max() <= 1.45 < steps[~below].max()


def test_a_ladder_may_end_below_infinity():
    rungs = ladder(ising(6), ising(6).grid([2.0, 2.5]), T_max=4.0)
    assert rungs[0] == 2.0 and rungs[-1] == 4.0 and 2.5 in rungs


def test_a_ladder_to_the_cold_ends_and_says_where_it_is_frozen(monkeypatch):
    """Frozen replicas differ from one another for ever; their spread is no fluctuation that rungs could follow (8500 of them at 0.1 K)."""
    h = alloygen.data.cuau().on((2, 2, 4))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotConverged)
        rungs = ladder(h, h.grid(0.1, [[0.0, 0.0], [0.0, 0.06]]))
    assert len(rungs) < 50 and rungs[0] == 0.1 and ((rungs > 200) & np.isfinite(rungs)).sum() > 2
    s = replica_exchange(h, h.grid(0.1, [[0.0, 0.06]]), 200, ladder=rungs, check=False)
    exact = float(Enumeration(h).at(h.condition(0.1, [0.0, 0.06])).phi)
    assert abs(s.free_energy(0).value - exact) < 1e-6
    monkeypatch.setattr(tempering, "FROZEN", 0.3)
    with pytest.warns(NotConverged, match=r"frozen from T = .* on down, .* to T = 100 needs"):
        ladder(h, h.grid(100.0, [[0.0, 0.0]]))
    monkeypatch.setattr(tempering, "_thawed", lambda beta, s, entropy: np.ones(s.shape, dtype=bool))  # the control
    assert len(ladder(h, h.grid(1.0, [[0.0, 0.0], [0.0, 0.06]]))) > 200


def test_what_fluctuates_in_equilibrium_is_thawed():
    """Of a two-level system the integral of beta s^2 is the entropy, log 2 in all."""
    beta = np.linspace(0, 60, 400)
    p = 1 / (1 + np.exp(beta))
    s = np.sqrt(p * (1 - p))[:, None]
    assert tempering._thawed(beta, s, np.log(2)).all()
    assert trapezoid(beta * s[:, 0] ** 2, beta) == pytest.approx(np.log(2), rel=1e-3)
    assert not tempering._thawed(beta, np.maximum(s, 0.1), np.log(2)).all()


@pytest.mark.slow
def test_potentials_exchange_across_a_transition():
    """CuAu at 300 K from pure Cu over Cu3Au and CuAu to pure Au: the composition jumps, and the ladder still passes."""
    h = alloygen.data.cuau().on((2, 2, 4))
    ends = [[0.0, -0.2], [0.0, 0.0], [0.0, 0.1]]
    mu = mu_ladder(h, h.condition(300.0, ends), acceptance=0.3)
    assert (
        all((np.abs(mu - e).max(1) < 1e-12).any() for e in ends)
        and (np.diff(mu[:, 1]) > 0).all()
        and (mu[:, 0] == 0).all()
    )
    s = replica_exchange(h, h.grid([300.0], mu), n=2000, check=False)
    assert s.info["exchange_min"] > 0.12
    coarse = replica_exchange(
        h, h.grid([300.0], ends), n=2000, check=False
    )  # negative control: the ends alone do not exchange
    assert coarse.info["exchange_min"] < 0.05


def exact_rates(exact, inside, T, mu) -> np.ndarray:
    """Mean exchange rates of neighbours in mu (nM, 2) at T, over all pairs of the states ``inside``."""
    n = np.arange(exact.counts.sum(1)[0] + 1)
    laws = []
    for m in mu:
        u = (exact.energy - exact.counts @ m)[inside] / T
        w = np.exp(u.min() - u)
        laws.append(np.bincount(exact.counts[inside, 1].astype(int), w / w.sum(), minlength=len(n)))
    steps = np.diff(mu[:, 1] - mu[:, 0]) / T
    return np.array([
        a @ np.minimum(1.0, np.exp(step * (n[:, None] - n))) @ b for a, b, step in zip(laws, laws[1:], steps, strict=False)
    ])  # fmt: skip


def test_potentials_are_placed_around_the_sites_that_are_held():
    """Every second site of a cold ferromagnet is held up: the others turn at mu = -8 J, not at 0, one by one."""
    h, T, ends = ising(4), 1.5, np.array([[0.0, -14.0], [0.0, 3.0]])
    up = (np.arange(16) // 4 + np.arange(16)) % 2 == 0
    problem, exact = Problem.of(h, fixed=up, occ=np.ones(16, dtype=int)), Enumeration(h)
    inside = (exact.occ[:, up] == 1).all(1)
    how = MonteCarlo(method="metropolis", check=False)
    mu = np.unique(how.scan(problem, h.grid(T, ends), 8, 0, Job(), refine=True).mu, axis=0)
    assert exact_rates(exact, inside, T, mu).min() > 0.2 and len(mu) < 12
    assert np.array_equal(mu, mu_ladder(problem, problem.hamiltonian.condition(T, ends), seed=0, job=Job(threads=2)))
    ignored = mu_ladder(h, h.condition(T, ends), seed=0)  # negative control: as if no site were held
    assert exact_rates(exact, inside, T, ignored).min() < 0.01


@pytest.mark.parametrize(
    "call",
    [
        lambda h: mu_ladder(h, h.condition(2.0, [[0, 1.0]])),
        lambda h: mu_ladder(h, h.condition(2.0, [[0, 0], [0, 1]]), acceptance=1),
    ],
)
def test_bad_input_is_said(call):
    with pytest.raises(AlloygenError, match="expected"):
        call(ising(4))
