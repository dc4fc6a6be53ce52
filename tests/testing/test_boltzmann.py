"""assert_boltzmann passes exact draws and real moves, and fails wrong laws, wrong moves and too few samples."""

import numpy as np
import pytest
import torch

from alloygen.edge.problem import Problem
from alloygen.errors import AlloygenError
from alloygen.montecarlo.sampling import metropolis
from alloygen.testing import SYSTEMS, assert_boltzmann, assert_not_boltzmann, enumerable
from alloygen.testing.boltzmann import POWER, _power


def exact_counts(name, n=300_000, seed=0):
    """(counts of exact draws, enumeration, condition), the law written out."""
    s = enumerable(name)
    at = s.conditions()[0]
    e, T, mu = s.enumeration, at.T, at.mu
    u = (torch.as_tensor(e.energy) - torch.as_tensor(e.counts) @ mu) / (s.hamiltonian.kB * T)
    p = torch.softmax(-u, 0).numpy()
    return np.random.default_rng(seed).multinomial(n, p / p.sum()), e, at


@pytest.mark.parametrize("name", SYSTEMS)
def test_exact_draws_pass_and_are_told_from_laws_nearby(name):
    counts, e, at = exact_counts(name)
    assert assert_boltzmann(counts, e, at) > 1e-4
    assert_not_boltzmann(counts, e, at)
    h = e.hamiltonian
    for other in (at.at(1.05 * at.T), h.condition(at.T, -at.mu), h.condition(at.T)):
        with pytest.raises(AssertionError, match="p-value"):
            assert_boltzmann(counts, e, other)


def test_p_values_are_uniform():
    """Over many seeds a tenth of them lies below 0.1: the test is neither blind nor too strict."""
    p = np.array([assert_boltzmann(*exact_counts("cuau-2x2x2", 60_000, seed), least_p=1e-9) for seed in range(300)])
    assert abs((p < 0.1).mean() - 0.1) < 4 * np.sqrt(0.09 / 300)


def test_the_power_that_is_asked_for_is_had():
    """As few samples as are let through tell a law that is 5 % off, nearly always; half as many are refused."""
    s = enumerable("cuau-2x2x2")
    T, mu = 500.0, np.array([0.0, 0.07])
    u = (s.enumeration.energy - s.enumeration.counts @ mu) / (s.hamiltonian.kB * T)
    n = next(n for n in range(1000, 10**6, 1000) if _power(n, u, 0.05, 1e-4) >= POWER)
    p = np.exp(-1.05 * u) / np.exp(-1.05 * u).sum()
    failed = 0
    for seed in range(100):
        try:
            assert_boltzmann(
                np.random.default_rng(seed).multinomial(n, p), s.enumeration, s.hamiltonian.condition(T, mu)
            )
        except AssertionError:
            failed += 1
    assert failed >= 95
    with pytest.raises(AlloygenError, match=r"about .* independent ones"):
        assert_boltzmann(np.random.default_rng(0).multinomial(n // 2, p), s.enumeration, s.hamiltonian.condition(T, mu))


def test_correlated_samples_are_counted_as_what_they_are_worth():
    """Every sample ten times over: not to be believed as it is, right with effective=."""
    counts, e, at = exact_counts("cuau-2x2x2", 60_000)
    with pytest.raises(AssertionError):
        assert_boltzmann(10 * counts, e, at.at(1.001 * at.T), least_p=0.5)
    assert_boltzmann(10 * counts, e, at, effective=60_000)
    assert_not_boltzmann(10 * counts, e, at, effective=60_000)


@pytest.mark.slow
def test_real_moves_pass_with_their_composition_kept_or_not():
    """Last configurations of many short chains are independent."""
    s = enumerable("cuau-2x2x2")
    T, mu = s.T[0], np.array(s.mu[1])
    run = dict(n=60_000, copies=60_000, sweeps=1, burn=60, check=False)
    occ = metropolis(s.hamiltonian, s.hamiltonian.condition([T], mu[None]), **run).occ[0]
    assert_boltzmann(occ, s.enumeration, s.hamiltonian.condition(T, mu))
    assert_not_boltzmann(occ, s.enumeration, s.hamiltonian.condition(T, mu))
    start = s.enumeration.occ[100]
    same = (s.enumeration.counts == s.enumeration.counts[100]).all(1)
    swapped = metropolis(Problem.of(s.hamiltonian, occ=start), s.hamiltonian.condition([T]), move="swap", **run).occ[0]
    assert_boltzmann(swapped, s.enumeration, s.hamiltonian.condition(T), where=same, sees=0.3)
    with pytest.raises(AssertionError, match="p-value"):
        assert_boltzmann(swapped, s.enumeration, s.hamiltonian.condition(T), where=same, tilted=0.3)
    with pytest.raises(AssertionError, match="that may be reached"):
        assert_boltzmann(occ, s.enumeration, s.hamiltonian.condition(T, mu), where=same)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["accepts everything", "forgets mu", "heats", "skews the proposal"])
def test_a_broken_move_fails(fault):
    """Negative controls: single flips by a slow rule in which one thing is wrong."""
    s = enumerable("cuau-2x2x2")
    h, T, mu = s.hamiltonian, s.T[0], torch.tensor(s.mu[1], dtype=torch.float64)
    g, occ = torch.Generator().manual_seed(1), s.hamiltonian.random(45_000, torch.Generator().manual_seed(0))
    beta = 1 / (h.kB * (T * 1.1 if fault == "heats" else T))
    for _ in range(80):
        site = (torch.rand(len(occ), generator=g) * h.n_sites).long()
        new = 1 - occ.gather(1, site[:, None])[:, 0]
        gain = -beta * (
            h.change(occ, site, new) - (0 if fault == "forgets mu" else 1) * (2 * new - 1) * (mu[1] - mu[0])
        )
        if fault == "skews the proposal":
            gain += torch.where(new == 1, 0.1, 0.0)
        if fault == "accepts everything":
            gain = torch.full_like(gain, np.log(0.9))
        taken = torch.rand(len(occ), generator=g).double().log() < gain
        occ[taken, site[taken]] = new[taken]
    with pytest.raises(AssertionError, match="Look at the acceptance rule"):
        assert_boltzmann(occ, s.enumeration, s.hamiltonian.condition(T, mu.numpy()))


def test_what_cannot_be_judged_is_refused():
    counts, e, at = exact_counts("ising-3")
    for call, says in (
        (lambda: assert_boltzmann(counts[:100], e, at), "shape"),
        (lambda: assert_boltzmann(-counts, e, at), "counts of states"),
        (lambda: assert_boltzmann(counts, e, at.at(-1.0)), "temperature above 0"),
        (lambda: assert_boltzmann(counts, e, at, where=[1, 2]), "mask"),
        (lambda: assert_boltzmann(counts, e, at.at(1e9)), "more than any run has"),
    ):
        with pytest.raises(AlloygenError, match=says):
            call()
    with pytest.raises(AssertionError, match="p-value"):  # samples of a law 5 % off pass for it
        e1 = enumerable("ising-3")
        u = at.reduced(e1.enumeration.energy, e1.enumeration.counts)
        p = np.exp(-1.05 * (u - u.min()))
        assert_not_boltzmann(np.random.default_rng(0).multinomial(300_000, p / p.sum()), e, at)
