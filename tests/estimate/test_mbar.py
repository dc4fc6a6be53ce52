"""MBAR against enumeration, Bennett's two-state equation and a plain self-consistent loop."""

import itertools
import warnings
from functools import cache

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import expit, logsumexp
from small_systems import enumeration, hamiltonian

import alloygen.data
from alloygen.errors import AlloygenError, BadCondition, LowSampleSize
from alloygen.estimate import chains, mixture, thermo
from alloygen.estimate.mbar import MBAR
from alloygen.estimate.pool import from_mbar
from alloygen.estimate.result import Estimate
from alloygen.estimate.series import Memory
from alloygen.exact.enumeration import Enumeration
from alloygen.montecarlo.chains import Chains
from alloygen.montecarlo.tempering import grid_pairs
from alloygen.testing import SYSTEMS

KT = {"ising-3": (20.0, 8.0, 4.5, 3.2, 2.3)}  # else kelvin
KELVIN = (3000.0, 1500.0, 900.0, 600.0)


def conditions(name):
    """(beta (K,), beta mu (K, E)) of a ladder in T at every mu of a system; state 0 is T = inf."""
    T, mu = zip(*itertools.product(KT.get(name, KELVIN), SYSTEMS[name].mu), strict=True)
    beta = 1 / (hamiltonian(name).kB * np.array(T))
    return np.r_[0.0, beta], np.vstack([0 * np.array(mu[0]), beta[:, None] * np.array(mu)])


def between(name):
    """A condition that is not sampled: (beta, beta mu)."""
    beta = 1 / (hamiltonian(name).kB * (2.7 if name in KT else 700.0))
    return beta, beta * np.mean(SYSTEMS[name].mu, axis=0)


def log_z(e, beta, beta_mu):
    return float(logsumexp(-beta * e.energy + e.counts @ beta_mu))


def draws(e, beta, beta_mu, n, rng, repeat=1, bias=None):
    """Independent samples of every state, each written down ``repeat`` times: lists of energies and of counts."""
    energy, counts = [], []
    for k in range(len(beta)):
        log_p = -beta[k] * e.energy + e.counts @ beta_mu[k] - (0 if bias is None else bias(e.energy, e.counts)[:, k])
        p = np.exp(log_p - logsumexp(log_p))
        index = np.repeat(rng.choice(len(e), n[k] if np.ndim(n) else n, p=p), repeat)
        energy.append(e.energy[index])
        counts.append(e.counts[index])
    return energy, counts


def composition(e, element, beta):
    """Exact F_N of every number of atoms N of an element."""
    number = np.rint(e.counts[:, element]).astype(int)
    return np.array(
        [
            -logsumexp(-beta * e.energy[number == n]) / beta if (number == n).any() else np.nan
            for n in range(number.max() + 1)
        ]
    )


def difference(m, i: int, j: int) -> Estimate:
    """f_j - f_i: what covariances of the f alone do not give where the reference is a third state."""
    return Estimate(m.f[j] - m.f[i], m._errors((m._mix.state(i) - m._mix.state(j))[None])[0])


def by_composition(m, element: int, beta: float):
    """(N, F_N, its error) of the numbers of atoms that were seen, by the pool of the same samples, which phase diagrams rest on."""
    by = from_mbar(m).by_number(element, beta)
    error = np.hypot(by.log_omega_replica.std(0, ddof=1), 1 / by.effective_samples)
    return by.number, -by.log_omega / beta, error / beta


def z_scores(name, energy, counts, inefficiency=None) -> dict[str, list[float]]:
    """Deviations from enumeration in standard errors, of all that MBAR gives."""
    e, (beta, beta_mu), at = enumeration(name), conditions(name), between(name)
    m = MBAR(beta, beta_mu, energy, counts, inefficiency, log_z_reference={0: np.log(len(e))})
    f = -np.array([log_z(e, b, x) for b, x in zip(beta, beta_mu, strict=True)])
    exact = log_z(e, *at)
    p = np.exp(-at[0] * e.energy + e.counts @ at[1] - exact)
    z = lambda estimate, truth: (estimate.value - truth) / estimate.stderr  # noqa: E731
    n_sites = hamiltonian(name).n_sites
    return {
        "f": list((m.f - f)[1:] / np.sqrt(np.diag(m.covariance))[1:]),
        "difference": [z(difference(m, 1, len(f) - 1), f[-1] - f[1])],
        "log Z": [z(m.log_z(*at), exact)],
        "phi": [z(m.phi(*at, n_sites), -exact / at[0] / n_sites)],
        "mean": [z(m.mean(energy, *at), p @ e.energy), z(m.mean([c[:, 1] for c in counts], *at), p @ e.counts[:, 1])],
    }


def collect(runs) -> dict[str, np.ndarray]:
    runs = list(runs)
    return {k: np.concatenate([r[k] for r in runs]) for k in runs[0]}


# ---------------------------------------------------------------------- against enumeration
@pytest.mark.slow
def test_independent_samples_are_calibrated():
    """All systems, 15 data sets each of 400 samples a state."""
    runs = [
        z_scores(name, *draws(enumeration(name), *conditions(name), 400, np.random.default_rng(seed)))
        for name in SYSTEMS
        for seed in range(15)
    ]
    for what, z in collect(runs).items():
        assert 0.8 < np.std(z) < 1.25 and abs(np.mean(z)) < 0.35, what


@pytest.mark.slow
def test_repeated_samples_need_their_inefficiency():
    """Every sample written down five times: g is measured as 5; ignoring it makes the errors too small."""
    name = "cuau-skew"
    data = [draws(enumeration(name), *conditions(name), 100, np.random.default_rng(s), repeat=5) for s in range(40)]
    good = collect(z_scores(name, *d, inefficiency="measure") for d in data)
    naive = collect(z_scores(name, *d) for d in data)
    for what in good:
        assert np.std(good[what]) < 1.3 and np.std(naive[what]) > 1.5, what


def replica_exchange(h, grid, n, sweeps, burn, seed):
    """T (C,), mu (C, E), occ (C, n, N) and energy (C, n) of a grid of T x mu."""
    run = Chains(h, grid.condition(h.kB), seed, grid_pairs(len(grid.T), len(grid.mu)))
    occ, energy = [], []
    for k in range(burn + n):
        run.step(sweeps)
        if k >= burn:
            x, e = run.configurations()
            occ.append(x.copy())
            energy.append(e.copy())
    return run.T, run.mu, np.stack(occ, 1), np.stack(energy, 1)


def exchanged(name, n, seed):
    """Replica exchange, one sweep between samples, over the ladder of ``conditions``: energies and counts."""
    h, s = hamiltonian(name), SYSTEMS[name]
    T, _, occ, energy = replica_exchange(h, h.grid((1e12, *KT.get(name, KELVIN)), s.mu), n, 1, 50, seed)
    keep = [0, *range(len(s.mu), len(T))]  # of the states at T = inf, the first
    return list(energy[keep]), [h.counts(occ[k]) for k in keep]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ising-3", "cuau-skew", "ternary"])
def test_replica_exchange_is_calibrated(name):
    z = collect(z_scores(name, *exchanged(name, 500, seed), inefficiency="measure") for seed in range(25))
    assert 0.8 < np.std(np.concatenate(list(z.values()))) < 1.25


def test_several_chains_of_each_state():
    """Twenty chains one after another, each stuck for good at a value of its own: only between them is there an error."""
    rng, n = np.random.default_rng(0), 4000
    beta, beta_mu = np.array([0.0, 0.5]), np.zeros((2, 1))
    stuck, free = np.repeat(rng.normal(size=(20, 2)), n // 20, axis=0).T, rng.normal(size=(2, n))
    energy = list(np.array([[0.0], [-0.5]]) + np.sqrt(0.5) * (stuck + free))
    m = MBAR(beta, beta_mu, energy, [np.ones((n, 1))] * 2, "measure", memory=Memory(n_chains=20))
    independent = MBAR(beta, beta_mu, energy, [np.ones((n, 1))] * 2)
    assert m.mean(energy, 0.0, [0.0]).stderr > 0.08 > 3 * independent.mean(energy, 0.0, [0.0]).stderr
    with pytest.raises(AlloygenError, match="check n_chains"):
        MBAR(beta, beta_mu, energy, [np.ones((n, 1))] * 2, "measure", memory=Memory(n_chains=3))


@pytest.mark.slow
def test_exchange_ties_neighbours_together():
    """A replica carries its magnetisation along the ladder: errors from each state's own g alone are too small."""
    (beta, beta_mu), at, e = conditions("ising-3"), between("ising-3"), enumeration("ising-3")
    p, series, alone = np.exp(-at[0] * e.energy + e.counts @ at[1] - log_z(e, *at)), [], []
    for seed in range(40):
        energy, counts = exchanged("ising-3", 1000, seed)
        g = [max(chains.inefficiency(y) for y in (*c.T, x)) for x, c in zip(energy, counts, strict=True)]
        for z, inefficiency in ((series, "measure"), (alone, g)):
            q = MBAR(beta, beta_mu, energy, counts, inefficiency).mean([c[:, 1] for c in counts], *at)
            z.append((q.value - p @ e.counts[:, 1]) / q.stderr)
    assert 0.75 < np.std(series) < 1.3 < np.std(alone)


@cache
def cuau():
    """CuAu 2x2x4 (16 sites): enumeration, and MBAR of replica exchange at 135 conditions up to T = inf."""
    h = alloygen.data.cuau().on((2, 2, 4))
    T = np.array([200, 250, 300, 350, 400, 500, 600, 700, 850, 1000, 1200, 1600, 2500, 5000, 1e12])
    mu = [[0, x] for x in np.linspace(-0.25, 0.25, 9)]
    T, mu, occ, energy = replica_exchange(h, h.grid(T, mu), 500, 4, 100, 0)
    beta = np.where(T < 1e9, 1 / (h.kB * T), 0.0)
    counts = [h.counts(x) for x in occ]
    reference = {len(beta) - 1: 16 * np.log(2), len(beta) - 2: 16 * np.log(2)}
    return Enumeration(h), MBAR(beta, beta[:, None] * mu, energy, counts, "measure", reference), occ


@pytest.mark.slow
@pytest.mark.parametrize("T", [200.0, 300.0, 400.0, 600.0, 900.0, 1200.0])
def test_composition_free_energies_of_cuau(T):
    e, m, _ = cuau()
    beta = 1 / (e.hamiltonian.kB * T)
    n, free, error = by_composition(m, 1, beta)
    truth = composition(e, 1, beta)
    assert n.tolist() == list(range(17)) and (error * 1000 < 6).all()  # meV per supercell
    assert np.abs((free - truth) / error).max() < 4


def test_phi_of_cuau_is_absolute_at_unsampled_conditions():
    e, m, _ = cuau()
    z = []
    for T, mu in itertools.product([230.0, 330.0, 550.0, 900.0], [-0.2, -0.03, 0.0724, 0.11]):
        beta = 1 / (e.hamiltonian.kB * T)
        phi = m.phi(beta, [0.0, beta * mu], 16)
        assert phi.stderr < 2e-4
        z.append((phi.value - e.at(e.hamiltonian.condition(T, [0.0, mu])).phi) / phi.stderr)
    assert np.abs(z).max() < 4


def test_mean_of_a_histogram_bin():
    """Any function of the configuration: the probability that site 0 is Au."""
    e, m, occ = cuau()
    T, mu = 450.0, 0.05
    beta = 1 / (e.hamiltonian.kB * T)
    first = m.mean(occ[:, :, 0].astype(float), beta, [0.0, beta * mu], quantum=1.0)
    p = e.at(e.hamiltonian.condition(T, [0.0, mu])).probabilities
    assert abs(first.value - p @ e.occ[:, 0]) < 4 * first.stderr < 0.3  # ordered variants last long


# ---------------------------------------------------------------------- the equations
def test_two_states_solve_bennetts_equation():
    """sum_1 fermi(M + du - C) = sum_2 fermi(-M - du + C), M = log(n1/n2), C = f_2 - f_1 (J. Comput. Phys. 22, 245 (1976))."""
    name, rng = "cuau-skew", np.random.default_rng(0)
    e, (beta, beta_mu) = enumeration(name), conditions(name)
    beta, beta_mu, n = beta[[3, 6]], beta_mu[[3, 6]], [300, 700]
    energy, counts = draws(e, beta, beta_mu, n, rng)
    du = [(beta[1] - beta[0]) * x - c @ (beta_mu[1] - beta_mu[0]) for x, c in zip(energy, counts, strict=True)]
    shift = np.log(n[0] / n[1])
    bennett = lambda c: expit(-(shift + du[0] - c)).sum() - expit(shift + du[1] - c).sum()  # noqa: E731
    d = difference(MBAR(beta, beta_mu, energy, counts), 0, 1)
    assert d.value == pytest.approx(brentq(bennett, -50, 50, xtol=1e-13), abs=1e-8)
    assert abs(d.value - log_z(e, beta[0], beta_mu[0]) + log_z(e, beta[1], beta_mu[1])) < 4 * d.stderr


def plain(u, n, steps=20_000):
    """Self-consistent iteration on the dense (K, N) matrix."""
    f = np.zeros(len(u))
    for _ in range(steps):
        log_d = logsumexp(f[:, None] - u, axis=0, b=np.asarray(n)[:, None])
        f, before = -logsumexp(-u - log_d, axis=1), f
        f -= f[0]
        if np.abs(f - before).max() < 1e-13:
            break
    return f, log_d


@cache
def uneven():
    """Data of uneven length at nine conditions, with the dense reduced potentials."""
    name = "ternary"
    (beta, beta_mu), e = conditions(name), enumeration(name)
    n = [200 + 30 * k for k in range(len(beta))]
    energy, counts = draws(e, beta, beta_mu, n, np.random.default_rng(4))
    u = beta[:, None] * np.concatenate(energy) - beta_mu @ np.concatenate(counts).T
    return beta, beta_mu, energy, counts, n, u


def test_plain_iteration_gives_the_same():
    beta, beta_mu, energy, counts, n, u = uneven()
    m = MBAR(beta, beta_mu, energy, counts)
    f, log_d = plain(u, n)
    assert m.f == pytest.approx(f, abs=1e-7)
    at = between("ternary")
    w = -at[0] * np.concatenate(energy) + np.concatenate(counts) @ at[1] - log_d
    assert m.log_weights(*at) == pytest.approx(w - logsumexp(w), abs=1e-7)
    assert m.log_z(*at).value == pytest.approx(logsumexp(w), abs=1e-7)
    assert m.overlap.sum(1) == pytest.approx(1.0)
    second = np.sort(np.linalg.eigvals(m.overlap).real)[-2]
    assert m.spectral_gap == pytest.approx(1 - second)


def test_covariance_is_the_formula_of_the_paper():
    """Theta = W^T (1 - W N W^T)^+ W with the dense W (N, K), and an unsampled state as a further column."""
    beta, beta_mu, energy, counts, *_ = uneven()
    n = [40 + 5 * k for k in range(len(beta))]
    energy, counts = [x[:k] for x, k in zip(energy, n, strict=True)], [x[:k] for x, k in zip(counts, n, strict=True)]
    u = beta[:, None] * np.concatenate(energy) - beta_mu @ np.concatenate(counts).T
    m = MBAR(beta, beta_mu, energy, counts)
    f, log_d = plain(u, n)
    at = between("ternary")
    new = at[0] * np.concatenate(energy) - np.concatenate(counts) @ at[1]
    w = np.exp(np.vstack([f[:, None] - u, -new]).T - log_d[:, None])
    w[:, -1] /= w[:, -1].sum()
    weight = np.diag([*n, 0])
    theta = w.T @ np.linalg.pinv(np.eye(len(w)) - w @ weight @ w.T, rcond=1e-9) @ w
    error = lambda i, j: theta[i, i] + theta[j, j] - 2 * theta[i, j]  # noqa: E731
    for i in range(1, len(n)):
        assert m.covariance[i, i] == pytest.approx(error(0, i), rel=1e-5)
        assert difference(m, 1, i).stderr ** 2 == pytest.approx(error(1, i), rel=1e-5, abs=1e-15)
    unseen = (w[:, -1] ** 2).sum()  # 1 / ESS
    assert m.log_z(*at).stderr ** 2 == pytest.approx(error(0, len(n)) + unseen**2, rel=1e-5)


def test_pymbar_gives_the_same():
    pymbar = pytest.importorskip("pymbar")
    beta, beta_mu, energy, counts, n, u = uneven()
    m, other = MBAR(beta, beta_mu, energy, counts), pymbar.MBAR(u, n).compute_free_energy_differences()
    assert m.f == pytest.approx(other["Delta_f"][0], abs=1e-6)
    assert np.sqrt(np.diag(m.covariance)) == pytest.approx(other["dDelta_f"][0], rel=1e-4, abs=1e-9)


def test_blocks_and_thinning_change_nothing(monkeypatch):
    beta, beta_mu, energy, counts, *_ = uneven()
    at = between("ternary")
    one = MBAR(beta, beta_mu, energy, counts)
    monkeypatch.setattr(mixture, "CHUNK", 150)
    monkeypatch.setattr(mixture, "BLOCK", 20)
    monkeypatch.setattr(mixture, "COARSE", 40)
    two = MBAR(beta, beta_mu, energy, counts)
    assert two.f == pytest.approx(one.f, abs=1e-8)
    assert two.covariance == pytest.approx(one.covariance, abs=1e-10)
    assert str(two.mean(energy, *at)) == str(one.mean(energy, *at))
    for a, b in zip(by_composition(one, 2, at[0])[:2], by_composition(two, 2, at[0])[:2], strict=True):
        assert a == pytest.approx(b, abs=1e-8)


def test_rows_side_by_side_leave_far_states_out(monkeypatch):
    """Of states along a line a block of rows, sorted by place, is of a few; what is left out changes nothing, unless it is too much."""
    rng, at = np.random.default_rng(3), np.arange(0, 800, 40.0)
    number = rng.poisson(1000 + at, size=(60, len(at))).T.astype(float)  # p(N) ~ lambda^N / N!, mu = log(lambda)
    beta_mu = np.log(1000 + at)[:, None]
    how = (np.ones(len(at)), beta_mu, 0 * number, number[..., None])
    monkeypatch.setattr(mixture, "BLOCK", 16)
    few = MBAR(*how)
    seen = [len(few._mix.part(block).states) for block in few._mix.blocks()]
    monkeypatch.setattr(mixture, "NOWHERE", np.inf)
    every = MBAR(*how)
    assert [len(every._mix.part(block).states) for block in every._mix.blocks()] == [len(at)] * len(seen)
    assert few.f == pytest.approx(every.f, abs=1e-9) and few.covariance == pytest.approx(every.covariance, abs=1e-11)
    assert np.mean(seen) < 0.8 * len(at)
    first = slice(0, 16)
    assert few._mix.part(first).log_d == pytest.approx(every._mix.part(first).log_d, abs=1e-9)
    monkeypatch.setattr(mixture, "NOWHERE", 1.0)
    assert np.abs(few._mix.part(first).log_d - every._mix.log_d[first]).max() > 1e-4


def test_many_conditions_at_once_are_as_one_by_one(monkeypatch):
    """What :meth:`MBAR.foresee` keeps, against a pass for each condition; rows that are too many to keep change nothing either."""
    beta, beta_mu, energy, counts, *_ = uneven()
    same = [x[:200] for x in energy], [x[:200] for x in counts]
    one, two = (MBAR(beta, beta_mu, *same, inefficiency="measure") for _ in range(2))
    monkeypatch.setattr(mixture, "KEPT", 100)
    two.foresee(beta, beta_mu)
    linear = np.array([2.0, 0.0, -1.0, 0.5])[: 1 + beta_mu.shape[1]]
    values = np.column_stack([np.concatenate(same[0]), np.concatenate(same[1])]) @ linear
    for b, m in zip(beta, beta_mu, strict=True):
        assert one.log_z(b, m).stderr == pytest.approx(two.log_z(b, m).stderr, rel=1e-7, abs=1e-12)
        known = two.mean(values, b, m, linear=linear)
        assert one.mean(values, b, m).stderr == pytest.approx(known.stderr, rel=1e-6)
        assert two.mean(values**2, b, m).stderr == pytest.approx(one.mean(values**2, b, m).stderr, rel=1e-6)
    assert two.mean(values, *between("ternary"), linear=linear).stderr > 0  # one that was not foreseen


def test_weights_give_the_means():
    beta, beta_mu, energy, counts, *_ = uneven()
    m, at = MBAR(beta, beta_mu, energy, counts, inefficiency=np.linspace(1, 3, len(beta))), between("ternary")
    log_w = m.log_weights(*at)
    assert np.exp(log_w).sum() == pytest.approx(1.0)
    assert m.mean(energy, *at).value == pytest.approx(thermo.mean(np.concatenate(energy), log_w).value)


def test_a_bias_is_taken_off():
    """Samples of states that are pushed to their rare compositions by 0.5 (N_1 - centre_k)^2."""
    name, centre = "cuau-skew", np.array([0.0, 2.0, 4.0, 6.0, 8.0])
    e = enumeration(name)
    beta, beta_mu = np.full(5, between(name)[0]), np.zeros((5, 2))
    bias = lambda energy, counts: 0.5 * (counts[:, 1:2] - centre) ** 2  # noqa: E731
    energy, counts = draws(e, beta, beta_mu, 500, np.random.default_rng(0), bias=bias)
    m = MBAR(beta, beta_mu, energy, counts, bias=bias)
    truth, z = composition(e, 1, beta[0]), []
    for model in (m, MBAR(beta, beta_mu, energy, counts)):  # the second knows nothing of the bias
        by, n = from_mbar(model).by_number(1, beta[0]), np.arange(9)
        assert by.number.tolist() == n.tolist()
        relative = by.log_omega - by.log_omega[3] + beta[0] * (truth - truth[3])
        error = (by.log_omega_replica - by.log_omega_replica[:, 3:4]).std(0, ddof=1)
        z.append(np.abs(relative[n != 3] / error[n != 3]).max())
    assert z[0] < 4 and z[1] > 10


# ---------------------------------------------------------------------- what must fail
def test_the_wrong_sign_of_mu_is_seen():
    name = "cuau-skew"
    beta, beta_mu = conditions(name)
    e = enumeration(name)
    energy, counts = draws(e, beta, beta_mu, 400, np.random.default_rng(0))
    z = []
    for sign in (1, -1):
        m = MBAR(beta, sign * beta_mu, energy, counts, log_z_reference={0: np.log(len(e))})
        q = m.log_z(between(name)[0], sign * between(name)[1])
        z.append(abs(q.value - log_z(e, *between(name))) / q.stderr)
    assert z[0] < 4 and z[1] > 10


def apart(distance, n=500):
    """Two pairs of well-mixed Gaussian states, ``distance`` apart."""
    rng = np.random.default_rng(0)
    beta = np.array([0.0, 0.3, 0.3 + distance, 0.6 + distance])
    energy = [rng.normal(-b, 1.0, size=n) for b in beta]
    return beta, np.zeros((4, 1)), energy, [np.ones((n, 1))] * 4


@pytest.mark.parametrize("distance", [9.0, 40.0, 2000.0])
def test_states_apart_raise(distance):
    with pytest.raises(AlloygenError, match=r"state 1 .*state 2 .*Add states"):
        MBAR(*apart(distance))


def test_little_overlap_warns():
    with pytest.warns(LowSampleSize, match=r"state 1 .* state 2 .*unreliable") as caught:
        MBAR(*apart(5.0))
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MBAR(*apart(1.0))


def test_out_of_reach_warns():
    beta, beta_mu, energy, counts = apart(0.3)
    m = MBAR(beta, beta_mu, energy, counts, log_z_reference={0: 0.0})
    for f in (m.log_z, lambda b, x: m.mean(energy, b, x), lambda b, x: m.phi(b, x, 1)):
        with pytest.warns(LowSampleSize, match="effective samples"):
            f(6.0, [0.0])


def test_what_was_not_visited_is_left_out():
    _, _, energy, _ = apart(0.3)
    counts = [2.0 * (x[:, None] > 0) + 1 for x in energy]
    n, free, error = by_composition(MBAR([0.0, 0.3, 0.6, 0.9], np.zeros((4, 1)), energy, counts), 0, 1.0)
    assert n.tolist() == [1, 3] and np.isfinite([free, error]).all()


def test_one_state_and_deep_phases():
    """One configuration seen throughout: the error is what a state rarer than 1/n would add, not zero."""
    m = MBAR([1.0], [[0.0]], [np.full(400, -2.0)], [np.ones((400, 1))])
    assert m.f.tolist() == [0.0] and m.log_z(1.5, [0.0]).value == pytest.approx(1.0)
    assert m.log_z(1.5, [0.0]).stderr == pytest.approx(1 / 400)
    assert m.mean(np.ones(400), 1.5, [0.0], quantum=0.5).stderr == pytest.approx(0.5 / 400)


def test_references():
    beta, beta_mu, energy, counts = apart(0.3)
    m = MBAR(beta, beta_mu, energy, counts, log_z_reference={1: 5.0})
    assert m.f[1] == -5.0 and m.covariance[1].tolist() == [0.0] * 4
    assert m.log_z(beta[1], [0.0]).value == pytest.approx(5.0)
    with pytest.raises(AlloygenError, match="references to agree"):
        MBAR(beta, beta_mu, energy, counts, log_z_reference={0: 0.0, 1: 5.0})
    with pytest.raises(AlloygenError, match=r"reference states in 0\.\.3"):
        MBAR(beta, beta_mu, energy, counts, log_z_reference={9: 0.0})
    with pytest.raises(AlloygenError, match="log_z_reference"):
        MBAR(beta, beta_mu, energy, counts).phi(1.0, [0.0], 4)


def test_errors_speak():
    beta, beta_mu, energy, counts = apart(0.3)
    for bad in (
        (beta[:3], beta_mu, energy, counts),
        (beta, beta_mu[0], energy, counts),
        (beta, beta_mu, energy[:2], counts),
    ):
        with pytest.raises(AlloygenError, match=r"expected beta \(K,\)"):
            MBAR(*bad)
    with pytest.raises(AlloygenError, match="for state 3"):
        MBAR(beta, beta_mu, [*energy[:3], []], [*counts[:3], np.zeros((0, 1))])
    with pytest.raises(AlloygenError, match="T = inf is beta = 0"):
        MBAR([np.inf, *beta[1:]], beta_mu, energy, counts)
    with pytest.raises(AlloygenError, match="at least 1"):
        MBAR(beta, beta_mu, energy, counts, inefficiency=[0.5] * 4)
    m = MBAR(beta, beta_mu, energy, counts, log_z_reference={0: 0.0})
    with pytest.raises(BadCondition, match="1 finite numbers"):
        m.log_z(1.0, [0.0, 1.0])
    with pytest.raises(BadCondition, match="above 0"):
        m.phi(0.0, [0.0], 4)
    with pytest.raises(AlloygenError, match="one per sample"):
        m.mean(np.zeros(3), 0.5, [0.0])


def test_a_cold_state_that_no_rare_phase_came_to_weighs_as_its_arrivals():
    """A phase of weight 1/4 at the cold state, met at the hot one only: counted as independent the cold series (control) denies it."""
    rng = np.random.default_rng(1)
    energy = np.array([0.0, 1.0, 3.0])  # the phase is the second level; the third, hot, has 40 states
    log_z = {b: np.log(np.exp(-b * energy) @ [3.0, np.e, 40.0]) for b in (0.0, 1.0)}
    hot = energy[rng.choice(3, 1000, p=np.array([3.0, np.e, 40.0]) / np.exp(log_z[0.0]))]
    cold = np.where(rng.random(1000) < 0.3, 3.0, 0.0)  # the second level never came
    share = {}
    for least in (None, [1.0, 250.0]):
        m = MBAR(
            [0, 1],
            np.zeros((2, 1)),
            [hot, cold],
            np.zeros((2, 1000, 1)),
            "measure",
            {0: log_z[0.0]},
            memory=Memory(least=least),
        )
        share[least is None] = m.mean(np.concatenate([hot, cold]) == 1.0, 1.0, [0.0])
    true = 1.0 / np.exp(log_z[1.0])
    assert abs(share[False].value - true) < 3 * share[False].stderr
    assert abs(share[True].value - true) > 4 * share[True].stderr
