"""Pooled samples against enumeration: values, and error bars from replicas, for likelihoods and for Markov chains."""

import numpy as np
import pytest
from scipy.special import logsumexp
from small_systems import cuau_16, enumeration, hamiltonian

from alloygen.errors import AlloygenError, BadCondition
from alloygen.estimate.mbar import MBAR
from alloygen.estimate.pool import from_likelihood, from_mbar
from alloygen.results.canonical import FEWEST, free_energies

NAME = "ising-3"
T = np.array([2.0, 2.6, 4.0])
FIELD = np.array([-1.5, -0.4, 0.5, 1.6])  # mu of the second species
BETA = np.repeat(1 / T, len(FIELD))
BETA_MU = BETA[:, None] * np.column_stack([np.zeros(12), np.tile(FIELD, len(T))])


def log_p(beta, beta_mu):
    e = enumeration(NAME)
    u = -beta * e.energy + e.counts @ beta_mu
    return u - logsumexp(u)


def law(c, wrong=1.15, floor=0.05):
    """What a model might believe at condition c: too hot by 15 %, and a little of everything."""
    log_q = np.logaddexp(
        np.log1p(-floor) + log_p(BETA[c] / wrong, BETA_MU[c] / wrong), np.log(floor / len(enumeration(NAME)))
    )
    return log_q


def weighted(seed, n=200):
    """A pool of n imperfect draws at each condition."""
    e, rng = enumeration(NAME), np.random.default_rng(seed)
    laws = [law(c) for c in range(12)]
    rows = np.stack([rng.choice(len(e), n, p=np.exp(q)) for q in laws])
    log_q = np.stack([q[r] for q, r in zip(laws, rows, strict=True)])
    return from_likelihood(BETA, BETA_MU, e.energy[rows], e.counts[rows], log_q, seed=seed)


def chains(seed, n=400, stay=0.7):
    """A pool of Markov chains side by side, each of which keeps its state with chance ``stay``."""
    e, rng = enumeration(NAME), np.random.default_rng(seed)
    beta, beta_mu = np.r_[0.0, BETA], np.vstack([np.zeros(2), BETA_MU])
    index = []
    for b, bm in zip(beta, beta_mu, strict=True):
        fresh = rng.choice(len(e), n, p=np.exp(log_p(b, bm)))
        last = np.maximum.accumulate(np.where(rng.random(n) > stay, np.arange(n), 0))
        index.append(fresh[last])
    mbar = MBAR(beta, beta_mu, [e.energy[i] for i in index], [e.counts[i] for i in index], "measure",
                log_z_reference={0: np.log(len(e))})  # fmt: skip
    return from_mbar(mbar, seed=seed), mbar


def scores(make, seeds=range(30), shrink=1.0):
    """z-scores of log Z, a mean, F_N and the mean energy at each N, between the sampled conditions."""
    e, out = enumeration(NAME), []
    number = np.rint(e.counts[:, 1]).astype(int)
    beta, beta_mu = 1 / 2.3, np.array([0.0, 0.1 / 2.3])
    p = np.exp(log_p(beta, beta_mu))
    exact_z = float(logsumexp(-beta * e.energy + e.counts @ beta_mu))
    omega = np.array([logsumexp(-beta * e.energy[number == k]) for k in range(10)])
    mean = np.array(
        [np.average(e.energy[number == k], weights=np.exp(-beta * e.energy[number == k])) for k in range(10)]
    )
    for seed in seeds:
        pool = make(seed)
        z, m = pool.log_z(beta, beta_mu), pool.mean(pool.energy, beta, beta_mu)
        by = pool.by_number(1, beta, pool.energy)
        inner = (by.number > 1) & (by.number < 8)
        out += [(z.value - exact_z) / z.stderr, (m.value - p @ e.energy) / m.stderr]
        out += list((by.log_omega - omega[by.number])[inner] / by.log_omega_replica.std(0, ddof=1)[inner])
        spread = by.mean_replica[..., 0].std(0, ddof=1)
        many = inner & (by.effective_samples > 50)
        out += list((by.mean[:, 0] - mean[by.number])[many] / spread[many])
    return shrink * np.array(out)


@pytest.mark.parametrize("make", [weighted, lambda s: chains(s)[0]], ids=["likelihood", "chains"])
def test_error_bars_from_replicas_are_right(make):
    z = scores(make)
    assert (np.abs(z) < 4).mean() > 0.99 and 0.8 < z.std() < 1.25 and abs(z.mean()) < 0.25


def test_the_test_sees_wrong_error_bars_and_a_wrong_likelihood():
    """Negative controls: bars too small by 1.5; log q off by what depends on the composition."""
    assert scores(weighted, range(10), shrink=1.5).std() > 1.25
    e, seed = enumeration(NAME), 3

    def wrong(seed):
        pool = weighted(seed)
        return type(pool)(
            pool.log_g - 0.05 * pool.counts[:, 1], pool.energy, pool.counts, pool.replica, pool.share, True
        )

    z = scores(wrong, range(10))
    assert abs(z.mean()) > 0.25 or z.std() > 1.25
    assert len(e) == 512 and seed


def test_chains_pooled_are_mbar():
    """Same values as MBAR's own, and error bars like its analytic ones."""
    pool, mbar = chains(1, n=1000)
    beta, beta_mu = 1 / 2.3, np.array([0.0, 0.1 / 2.3])
    ours, theirs = pool.log_z(beta, beta_mu), mbar.log_z(beta, beta_mu)
    assert ours.value == pytest.approx(theirs.value, abs=1e-9)
    assert ours.stderr == pytest.approx(theirs.stderr, rel=0.35)


def test_one_condition_pooled_is_importance_sampling():
    """h = 1 everywhere then: the plain mean of weights."""
    e, rng = enumeration(NAME), np.random.default_rng(0)
    q = law(5)
    rows = rng.choice(len(e), (1, 300), p=np.exp(q))
    pool = from_likelihood(BETA[5:6], BETA_MU[5:6], e.energy[rows], e.counts[rows], q[rows])
    w = -BETA[5] * e.energy[rows[0]] + e.counts[rows[0]] @ BETA_MU[5] - q[rows[0]]
    assert pool.log_z(BETA[5], BETA_MU[5]).value == pytest.approx(logsumexp(w) - np.log(300), abs=1e-9)


def test_bad_input_is_told():
    pool = weighted(0)
    with pytest.raises(BadCondition, match="expected a finite beta and 2 finite numbers"):
        pool.log_z(1.0, [0.0])
    with pytest.raises(AlloygenError, match="expected beta"):
        from_likelihood([1.0], [[0.0, 0.0]], np.zeros((2, 5)), np.zeros((2, 5, 2)), np.zeros((2, 5)))
    assert hamiltonian(NAME).n_sites == 9 and len(pool) == 2400


def cold_compositions(seed, T=300.0, n=200):
    """Tables over compositions, 4 conditions of n draws each of a law that is 50 K too hot; and the exact energies (17,)."""
    e, rng, mu = cuau_16(), np.random.default_rng(seed), np.array([-0.12, 0.0, 0.0724, 0.1])
    kT, gold, drawn = e.hamiltonian.kB * T, np.asarray(e.counts)[:, 1], []
    for m in mu:
        log_q = -(np.asarray(e.energy) - gold * m) / (kT * 350 / 300)
        log_q = np.logaddexp(np.log(0.98) + log_q - logsumexp(log_q), np.log(0.02 / len(e)))
        rows = rng.choice(len(e), n, p=np.exp(log_q))
        drawn.append((np.asarray(e.energy)[rows], np.asarray(e.counts)[rows], log_q[rows]))
    pool = from_likelihood(
        np.full(4, 1 / kT), np.stack([0 * mu, mu / kT], -1), *map(np.array, zip(*drawn, strict=True))
    )
    by = [np.asarray(e.energy)[gold == k] for k in range(17)]
    exact = np.array([np.exp((u.min() - u) / kT) @ u / np.exp((u.min() - u) / kT).sum() for u in by]) / 16
    return free_energies(pool, e.hamiltonian, [T]), exact


def test_compositions_of_one_structure_have_an_error_bar_and_those_of_a_few_draws_none():
    """Cold samples of one composition are all one structure: their spread is 0, which is not the error of the energy."""
    z, spread = [], []
    for seed in range(12):
        table, exact = cold_compositions(seed)
        few = table.effective_samples.values[0] < FEWEST
        assert few.any() and np.isnan(table.energy_stderr.values[0, few]).all()
        assert (
            np.isnan(table.free_energy_stderr.values[0, few]).all()
            and np.isfinite(table.free_energy.values[0, few]).all()
        )
        known = ~few & np.isfinite(table.effective_samples.values[0])
        z.append((table.energy.values[0] - exact)[known] / table.energy_stderr.values[0, known])
        spread.append(table.heat_capacity.values[0, known] < 1e-12)
    z = np.concatenate(z)
    assert np.abs(z).max() < 3 and 0.2 < z.std() < 1.25
    assert np.concatenate(spread).any()  # where samples alone would say that the energy is exact


def test_one_structure_at_a_composition_is_judged_by_its_exchanges():
    """Nearly all samples of Cu3Au, CuAu and CuAu3 at 400 K are one structure: exchanges of two atoms tell what they do not show."""
    table = cuau_16()
    h, gold, kT = table.hamiltonian, np.asarray(table.counts)[:, 1], table.hamiltonian.kB * 400.0
    with_occ, without = [], []
    for seed in range(8):
        rng, drawn, occ = np.random.default_rng(seed), [], []
        mu = np.array([-0.1, 0.0, 0.06])
        for m in mu:
            p = table.at(table.hamiltonian.condition(400.0, [0.0, m])).probabilities
            rows = rng.choice(len(p), 100, p=p)
            drawn.append((table.energy[rows], table.counts[rows].astype(float), np.log(p[rows])))
            occ.append(table.occ[rows])
        pool = from_likelihood(np.full(3, 1 / kT), np.stack([0 * mu, mu / kT], -1), *map(np.array, zip(*drawn, strict=True)), seed=seed)  # fmt: skip
        for found, given in ((with_occ, np.concatenate(occ)), (without, None)):
            made = free_energies(pool, h, [400.0], occ=given)
            for n in (4, 8, 12):
                if made["effective_samples"][0, n] >= 10:
                    e = table.energy[gold == n]
                    exact = np.average(e, weights=np.exp((e.min() - e) / kT)) / 16
                    found.append((float(made["energy"][0, n]) - exact) / float(made["energy_stderr"][0, n]))
    assert len(with_occ) > 15 and 0.5 < np.sqrt(np.mean(np.square(with_occ))) < 1.4 and np.abs(with_occ).max() < 4
    assert (
        np.median(np.abs(with_occ)) > 0.35 > 0.25 > np.median(np.abs(without))
    )  # the negative control: bars that are far too wide
