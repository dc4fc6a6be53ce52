"""Multi-spin coded Metropolis against enumeration, Kaufman and the transfer matrix, with controls that must fail."""

import numpy as np
import pytest
import torch
from scipy.sparse.csgraph import connected_components
from scipy.special import softmax

from alloygen.errors import AlloygenError, BadCondition, CheckpointError
from alloygen.exact.enumeration import Enumeration, enumerate_states
from alloygen.exact.ising import kaufman_log_z, transfer_matrix
from alloygen.hamiltonian.ising import ising
from alloygen.montecarlo.multispin import _ATTEMPT, BLOCK, PLANES, WORDS, PackedIsing, _pack, _unpack
from alloygen.montecarlo.packed_chains import PackedChains
from alloygen.montecarlo.sampling import packed_flips
from alloygen.runtime.job import Job
from alloygen.testing import chi_square

CONDITIONS = [(1.9, -0.25), (2.3, 0.15), (3.4, 0.0), (5.0, 0.6)]
EACH = 16 * BLOCK


def law(L, T, h, J=1.0):
    """p(x) of every state, in the order of ``enumerate_states``."""
    return softmax(-ising(L, h, J).energy(enumerate_states(ising(L))) / T)


def equilibrium(L, conditions, each=EACH, sweeps=400, **kw):
    """(spins, bonds without field, magnetisation) of ``each`` independent replicas at each condition."""
    T, h = np.repeat(np.array(conditions, dtype=float), each, axis=0).T
    run = PackedIsing(L, T, h, **kw)
    run.sweep(sweeps)
    m = run.magnetisation()
    return run.spins(), (run.energy() + h * m).reshape(-1, each), m.reshape(-1, each)


def deviation(values, exact) -> float:
    """(mean - exact) in standard errors; replicas are independent."""
    return (values.mean() - exact) / (values.std(ddof=1) / np.sqrt(len(values)))


# ---------------------------------------------------------------------- one sweep, exactly
def sweep_matrix(L, T, h, attempt=15 / 16):
    """P[x, y] of one sweep, written from the definition: even sites, then odd ones, each by its own energies."""
    occ = enumerate_states(ising(L))
    e, n = ising(L, h).energy(occ), L * L
    state, P = np.arange(len(occ)), np.eye(len(occ))
    for i in sorted(range(n), key=lambda i: (sum(divmod(i, L)) % 2, i)):
        flipped = state ^ (1 << (n - 1 - i))  # the last site is the lowest digit
        accept = attempt * np.exp(-np.maximum(e[flipped] - e, 0) / T)
        Q = np.diag(1 - accept)
        Q[state, flipped] = accept
        P = P @ Q
    return P


def row_p_values(L, T, h, P, each=4 * BLOCK):
    """p-values of where one sweep leads from each state; 0 where it leads to what P rules out."""
    occ = enumerate_states(ising(L))
    run = PackedIsing(L, T, h, replicas=each * len(occ), seed=3, occ=np.repeat(occ, each, axis=0))
    run.sweep()
    index = run.spins() @ (1 << np.arange(L * L)[::-1])
    seen = np.stack([np.bincount(k, minlength=len(occ)) for k in index.reshape(len(occ), each)])
    p_values = [chi_square(c, each * p) for c, p in zip(seen, P, strict=True)]
    return np.where((seen * (P < 1e-15)).any(1), 0.0, np.nan_to_num(p_values, nan=1.0))  # nan: a single bin


@pytest.mark.slow
@pytest.mark.parametrize(("T", "h"), [(2.3, 0.4), (4.0, 0.0), (6.0, -4.0), (9.0, 5.0)])
def test_one_sweep_leads_from_every_state_where_it_should(T, h):
    assert row_p_values(2, T, h, sweep_matrix(2, T, h)).min() > 1e-4
    for wrong in (sweep_matrix(2, 1.1 * T, h), sweep_matrix(2, T, h, attempt=1.0), sweep_matrix(2, T, h + 0.3)):
        assert row_p_values(2, T, h, wrong).min() < 1e-6


def test_the_sweep_keeps_the_law_and_reaches_every_state():
    for L, h in ((2, 0.0), (2, 0.3), (3, 0.0)):
        P, p = sweep_matrix(L, 2.3, h), law(L, 2.3, h)
        assert np.abs(p @ P - p).max() < 1e-14
        assert connected_components(P > 0, connection="strong")[0] == 1
    assert [connected_components(sweep_matrix(L, 2.3, 0.0, 1.0) > 0, connection="strong")[0] for L in (2, 3)] == [3, 5]


@pytest.mark.parametrize("L", [2, 3])
def test_what_is_in_equilibrium_stays_there(L):
    p, n = law(L, 2.3, 0.2), 64 * BLOCK
    start = np.random.default_rng(1).choice(len(p), n, p=p)
    run = PackedIsing(L, 2.3, 0.2, replicas=n, seed=5, occ=enumerate_states(ising(L))[start])
    for k in (1, 1, 3):
        run.sweep(k)
        index = run.spins() @ (1 << np.arange(L * L)[::-1])
        counts = np.bincount(index, minlength=len(p))
        assert chi_square(counts, n * p) > 1e-4
        assert max(chi_square(counts, n * law(L, *wrong)) for wrong in ((2.53, 0.2), (2.3, -0.2))) < 1e-6


# ---------------------------------------------------------------------- laws
def test_every_state_of_3x3_comes_as_often_as_it_should():
    spins, _, _ = equilibrium(3, CONDITIONS)
    index = (spins @ (1 << np.arange(9)[::-1])).reshape(len(CONDITIONS), EACH)
    for row, (T, h) in zip(index, CONDITIONS, strict=True):
        counts = np.bincount(row, minlength=512)
        assert chi_square(counts, EACH * law(3, T, h)) > 1e-4
        assert chi_square(counts, EACH * law(3, 1.1 * T, h)) < 1e-6
        assert not h or chi_square(counts, EACH * law(3, T, -h)) < 1e-6


@pytest.mark.parametrize("J", [1.0, -0.7])
def test_means_of_4x4_are_exact(J):
    _, bonds, m = equilibrium(4, CONDITIONS, J=J)
    exact = Enumeration(ising(4, J=J))
    for e, s, (T, h) in zip(bonds, m, CONDITIONS, strict=True):
        at = lambda T, h: exact.at(exact.hamiltonian.condition(T, [0.0, 2 * h]))  # noqa: E731
        right, warm, turned = at(T, h), at(1.1 * T, h), at(T, -h)
        assert abs(deviation(e, 16 * right.energy)) < 4.5
        assert abs(deviation(s, 16 * (2 * right.composition[1] - 1))) < 4.5
        assert abs(deviation(e, 16 * warm.energy)) > 6
        assert not h or abs(deviation(s, 16 * (2 * turned.composition[1] - 1))) > 9


def test_10x10_against_the_transfer_matrix():
    _, bonds, m = equilibrium(10, [(2.3, 0.05), (2.53, 0.05), (2.3, -0.05)], each=8 * BLOCK, sweeps=1000)
    exact = transfer_matrix(10, 2.3, 0.05)
    e, s = ([deviation(v, 100 * x) for v in values] for values, x in ((bonds, exact.energy), (m, exact.magnetization)))
    assert abs(e[0]) < 4.5 and abs(s[0]) < 4.5
    assert abs(e[1]) > 20 and abs(s[1]) > 20 and abs(s[2]) > 20  # another temperature, the field turned


def test_10x10_against_kaufman():
    _, bonds, m = equilibrium(10, [(2.3, 0.0)], each=8 * BLOCK, sweeps=3000)
    energy = lambda T: -(kaufman_log_z(10, 10, 1 / (1 / T + 1e-5)) - kaufman_log_z(10, 10, 1 / (1 / T - 1e-5))) / 2e-5  # noqa: E731
    assert abs(deviation(bonds[0], energy(2.3))) < 4.5 < 20 < abs(deviation(bonds[0], energy(2.53)))
    assert abs(deviation(m[0], 0.0)) < 4.5


def test_every_replica_has_its_own_condition():
    """Neighbouring bits at different conditions: nothing leaks from one to the next."""
    T, h = np.array(CONDITIONS).T
    run = PackedIsing(4, np.tile(T, EACH // 2), np.tile(h, EACH // 2), seed=7)
    run.sweep(300)
    exact, m = Enumeration(ising(4)), run.magnetisation().reshape(-1, len(T))
    for k in range(len(T)):
        assert (
            abs(
                deviation(
                    m[:, k], 16 * (2 * exact.at(exact.hamiltonian.condition(T[k], [0.0, 2 * h[k]])).composition[1] - 1)
                )
            )
            < 4.5
        )


def test_infinite_temperature_is_a_coin():
    _, bonds, m = equilibrium(3, [(np.inf, 1.0)], sweeps=60, occ=np.ones(9))
    assert abs(deviation(m[0], 0)) < 4.5 and abs(deviation(bonds[0], 0)) < 4.5


def test_new_conditions_take_hold():
    run = PackedIsing(4, 2.0, 0.3, replicas=EACH)
    run.sweep(50)
    run.set_conditions(3.0, -0.2)
    run.sweep(200)
    right = Enumeration(ising(4)).at(ising(4).condition(3.0, [0.0, -0.4]))
    assert abs(deviation(run.magnetisation(), 16 * (2 * right.composition[1] - 1))) < 4.5
    assert run.T[0] == 3.0 and run.h[0] == -0.2


def test_thresholds_hold_the_acceptance_to_the_last_bit():
    """Also where it is too rare to be counted."""
    T, h = np.linspace(0.2, 9, BLOCK), np.linspace(-5, 5, BLOCK)
    run = PackedIsing(3, T, h, J=1.3)
    bits = _unpack(run._thresholds.reshape(PLANES, 5, WORDS))
    weight = 2.0 ** -np.arange(1, PLANES + 1)
    p = np.tensordot(weight, bits.astype(float), 1) + 2.0**-PLANES
    exact = 15 / 16 * np.exp(-2 * np.abs(1.3 * np.arange(-4, 5, 2)[:, None] + h) / T)
    assert (np.abs(p - exact) <= 2.0**-PLANES + 1e-15 * exact).all()


# ---------------------------------------------------------------------- bookkeeping
@pytest.mark.parametrize(("L", "J"), [(2, 1.0), (3, -0.5), (4, 1.0), (5, 2.0), (20, 1.0)])
def test_energies_are_those_of_the_hamiltonian(L, J):
    h = np.linspace(-0.5, 1.0, 1500)
    run = PackedIsing(L, 3.0, h, J, seed=L)
    run.sweep(3)
    spins = run.spins()
    m = 2 * spins.astype(int).sum(1) - L * L
    assert spins.shape == (1500, L * L) and spins.dtype == np.int8 and set(np.unique(spins)) == {0, 1}
    assert np.array_equal(run.magnetisation(), m) and run.magnetisation().dtype == np.int64
    bonds = ising(L, J=J).energy(spins)
    assert np.array_equal(run.energy(), bonds - h * m)
    k = 700
    assert np.isclose(
        run.energy()[k], ising(L, h[k], J).energy(torch.as_tensor(spins[k]))[0].item(), rtol=0, atol=1e-10
    )


def test_bits_are_packed_and_unpacked():
    bits = np.random.default_rng(0).integers(2, size=(3, 256))
    words = _pack(bits)
    assert words.shape == (3, 4) and np.array_equal(_unpack(words), bits)
    assert [(int(words[1, 2]) >> b) & 1 for b in range(64)] == bits[1, 128:192].tolist()


def test_the_start_is_as_given():
    occ = np.random.default_rng(2).integers(2, size=(1100, 9))
    assert np.array_equal(PackedIsing(3, np.full(1100, 2.0), occ=occ).spins(), occ)
    assert np.array_equal(PackedIsing(3, 2.0, replicas=70, occ=occ[0]).spins(), np.tile(occ[0], (70, 1)))


def test_the_seed_decides_and_a_run_continues():
    T = np.linspace(2, 3, 2 * BLOCK)
    one, same, other = (PackedIsing(6, T, 0.1, seed=s) for s in (4, 4, 5))
    for run in (one, same, other):
        run.sweep(7)
    assert np.array_equal(one.words, same.words) and not np.array_equal(one.words, other.words)
    again = PackedIsing(6, T, 0.1, seed=9)
    again.words[...], again.rng[...] = one.words, one.rng
    one.sweep(5)
    for _ in range(5):
        again.sweep()
    assert np.array_equal(one.words, again.words) and np.array_equal(one.rng, again.rng)


def test_replicas_are_independent():
    """Correlations of the magnetisations of all pairs of replicas, among them bits of one word and words side by side."""
    n = 2000
    run = PackedIsing(4, np.linspace(3.0, 6.0, BLOCK), 0.1, seed=11)
    run.sweep(50)
    series = np.empty((n, BLOCK))
    for k in range(n):
        run.sweep(6)
        series[k] = run.magnetisation()
    pairs = np.triu_indices(BLOCK, 1)
    z = np.corrcoef(series.T)[pairs] * np.sqrt(n)
    assert np.abs(z).max() < 6 and abs(z.mean()) * np.sqrt(len(z)) < 5 and abs((z**2).mean() - 1) < 0.02
    series[:, 64] += 0.3 * series[:, 0]  # negative control
    assert np.abs(np.corrcoef(series.T)[pairs]).max() * np.sqrt(n) > 6


def test_scans_of_packed_flips_are_exact_and_go_on(tmp_path):
    """4x4 in a field: energy and composition of a scan against enumeration, the sign of the field, and a run that goes on."""
    T, field = np.array([2.0, 3.5]), np.array([0.1, -0.2])
    run = dict(copies=64, sweeps=4, burn=50, seed=3, check=False)
    scan, table = packed_flips(4, T, field, n=12_800, **run), Enumeration(ising(4))
    for c in range(2):
        truth, ens = table.at(table.hamiltonian.condition(T[c], [-field[c], field[c]])), scan[c]
        for got, exactly in ((ens.mean_energy(), truth.energy), (ens.composition("+"), truth.composition[1])):
            assert abs(got.value - exactly) < 4.5 * got.stderr < 0.1
        wrong = table.at(table.hamiltonian.condition(T[c], [field[c], -field[c]])).composition[1]
        assert abs(ens.composition("+").value - wrong) > 15 * ens.composition("+").stderr  # negative control
    job = Job(checkpoint=tmp_path / "run.safetensors")
    packed_flips(4, T, field, n=640, job=job, **run)
    on = packed_flips(4, T, field, n=1280, job=job, **run)
    assert np.array_equal(on.occ, packed_flips(4, T, field, n=1280, **run).occ)
    with pytest.raises(CheckpointError, match="conditions"):
        packed_flips(4, T, -field, n=1280, job=job, **run)
    with pytest.raises(AlloygenError, match="one length"):
        packed_flips(4, T, [0.1, 0.2, 0.3])
    with pytest.raises(AlloygenError, match="did you mean sweeps"):
        packed_flips(4, T, sweep=3)


def test_the_acceptance_of_packed_flips_is_that_of_the_exact_law():
    """3x3 in a field: min(1, exp(-beta dE)) over all states and sites, times the share of attempts that are made."""
    T, field = np.array([2.0, 5.0]), 0.2
    exact, chains = Enumeration(ising(3)), PackedChains(3, T, field, copies=4000, seed=4)
    chains.step(40)
    chains.reset_counters()
    assert not chains.attempts.any()
    for _ in range(40):
        chains.step(3)
    chains.step(0)
    assert (chains.attempts == 40 * 9).all()
    each = (chains.accepted / chains.attempts).reshape(4000, 2)
    assert each.mean(0) == pytest.approx(chains.acceptance)
    error, wrong = each.std(0) / np.sqrt(4000), []
    level = exact.hamiltonian.site_energies(exact.occ) - np.array([-field, field])
    cost = (level - np.take_along_axis(level, exact.occ[..., None].astype(int), 2)).sum(
        2
    )  # of the other species, as its own costs none
    for c in range(2):
        p = exact.at(exact.hamiltonian.condition(T[c], [-field, field])).probabilities
        truth = _ATTEMPT * p @ np.exp(-np.maximum(cost, 0.0) / T[c]).mean(1)
        assert abs(chains.acceptance[c] - truth) < 5 * error[c] < 0.05 * truth
        wrong.append(abs(chains.acceptance[c] - truth / _ATTEMPT) / error[c])
    assert min(wrong) > 8  # negative control: as if every attempt were made
    more = PackedChains(3, T, field, copies=4000, seed=4)
    more.restore(chains.state())
    assert np.array_equal(more.acceptance, chains.acceptance)


def test_what_cannot_be_run_is_said():
    for L in (1, 2.5, None):
        with pytest.raises(AlloygenError, match=f"side L as a whole number of at least 2, got {L}"):
            PackedIsing(L, 2.0)
    with pytest.raises(AlloygenError, match="finite coupling J, got nan"):
        PackedIsing(4, 2.0, J=np.nan)
    for T, h in ((0.0, 0.0), (-1.0, 0.0), (np.nan, 0.0), (1.0, np.inf)):
        with pytest.raises(BadCondition, match="temperatures above 0 and finite fields"):
            PackedIsing(4, T, h)
    with pytest.raises(AlloygenError, match="one length R"):
        PackedIsing(4, [1.0, 2.0], [0.1, 0.2, 0.3])
    with pytest.raises(AlloygenError, match="flatten"):
        PackedIsing(4, [[1.0, 2.0]])
    with pytest.raises(AlloygenError, match=r"occupations 0 and 1 of shape \(16,\) or \(2, 16\)"):
        PackedIsing(4, [1.0, 2.0], occ=2 * np.ones(16))
    with pytest.raises(AlloygenError, match="whole number of at least 0"):
        PackedIsing(4, 2.0).sweep(-1)
