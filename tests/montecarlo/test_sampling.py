"""Metropolis and replica exchange against enumeration, with controls that must fail the same checks."""

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_systems import enumeration, exact, hamiltonian

from alloygen.edge.problem import Problem
from alloygen.errors import AlloygenError, BadCondition, CheckpointError, NotConverged
from alloygen.exact.enumeration import Enumeration
from alloygen.hamiltonian.expansion import ClusterExpansion
from alloygen.hamiltonian.ising import ising
from alloygen.lattice import Primitive
from alloygen.montecarlo import moves
from alloygen.montecarlo.chains import Chains
from alloygen.montecarlo.sampling import cluster_moves, metropolis, replica_exchange
from alloygen.montecarlo.tempering import ladder
from alloygen.results.provenance import Provenance
from alloygen.runtime.job import Job
from alloygen.testing import SYSTEMS, chi_square

N, SWEEPS, BLOCKS = 4000, 4, 40
EXCHANGED = ["ising-3", "cuau-2x2x2", "ternary", "two-sublattice", "many-body"]


def deviations(samples, name, T=None, mu=None) -> np.ndarray:
    """(mean - exact) in standard errors, of the energy and of each element's count at each condition.

    The error bar is that of the means of 40 blocks, each far longer than the correlation time. ``T`` and ``mu`` put
    other conditions in place of those sampled.
    """
    e, out = enumeration(name), []
    truth = np.column_stack([e.energy, e.counts])
    T, mu = samples.T if T is None else T, samples.mu if mu is None else mu
    for c in range(len(samples)):
        p = exact(name, float(T[c]), mu[c]).numpy()
        occ = torch.as_tensor(samples.occ[c]).long()
        seen = np.column_stack([samples.energy[c], hamiltonian(name).counts(occ)])
        blocks = seen.reshape(BLOCKS, -1, seen.shape[1]).mean(1)
        error = blocks.std(0, ddof=1) / np.sqrt(BLOCKS)
        moving = (truth - truth[0]).any(0)  # what does not vary has no error bar
        out.append(((seen.mean(0) - p @ truth) / np.maximum(error, 1e-12))[moving])
    return np.concatenate(out)


def chi_squares(samples, name) -> list[float]:
    """p-values of how often each state was seen, at every condition."""
    e, out = enumeration(name), []
    for c in range(len(samples)):
        index = e.index(samples.occ[c])
        counts = np.bincount(index, minlength=len(e))
        out.append(chi_square(counts, len(index) * exact(name, float(samples.T[c]), samples.mu[c])))
    return out


def grid(name, n=N, sweeps=SWEEPS, **kw):
    s = SYSTEMS[name]
    return replica_exchange(
        hamiltonian(name), hamiltonian(name).grid(s.T, s.mu), n, **{"sweeps": sweeps, "burn": 100, "check": False, **kw}
    )


def chains(name, n=N, sweeps=SWEEPS, **kw):
    T, mu = SYSTEMS[name].conditions().arrays()
    return metropolis(
        hamiltonian(name),
        hamiltonian(name).condition(T, mu),
        n,
        copies=1,
        **{"sweeps": sweeps, "burn": 100, "check": False, **kw},
    )


# ---------------------------------------------------------------------- against enumeration
@pytest.mark.parametrize("name", EXCHANGED)
def test_replica_exchange_means_are_exact(name):
    s = grid(name)
    assert np.abs(deviations(s, name)).max() < 5
    assert 0.1 < s.info["exchange"] < 1 and s.info["round_trips"] > 10 and (s.facts.acceptance > 0.005).all()


def test_metropolis_means_are_exact(system):
    s = chains(system, sweeps=8)
    assert np.abs(deviations(s, system)).max() < 5
    assert not s.facts.exchanged


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ising-3", "cuau-skew", "two-sublattice"])
def test_every_state_is_seen_as_often_as_it_should(name):
    assert min(chi_squares(grid(name, sweeps=25), name)) > 1e-4
    assert min(chi_squares(chains(name, sweeps=60), name)) > 1e-4


# ---------------------------------------------------------------------- samplers that must fail
def hot(name, n):
    """A sampler that accepts everything: infinitely hot, whatever it is asked for."""
    T, mu = SYSTEMS[name].conditions().arrays()
    s = metropolis(
        hamiltonian(name),
        hamiltonian(name).condition(np.full_like(T, 1e15), mu),
        n,
        sweeps=SWEEPS,
        burn=10,
        copies=1,
        check=False,
    )
    assert (s.facts.acceptance == 1).all()
    return replace(s, T=T, mu=mu, drawn=None)


@pytest.mark.parametrize("name", EXCHANGED)
def test_accepting_everything_fails(name):
    s = hot(name, N)
    assert np.abs(deviations(s, name)).max() > 15
    assert max(chi_squares(s, name)) < 1e-12


@pytest.mark.parametrize("name", EXCHANGED)
def test_a_temperature_off_by_a_quarter_or_a_sign_of_mu_fails(name):
    s = grid(name)
    assert np.abs(deviations(s, name, T=1.25 * s.T)).max() > 5
    assert np.abs(deviations(s, name, mu=-s.mu)).max() > 15


@pytest.mark.parametrize("name", EXCHANGED)
def test_swapping_always_fails(name, monkeypatch):
    def always(pairs, replica_at, *rest):
        for a, b in pairs:
            replica_at[a], replica_at[b] = replica_at[b], replica_at[a]

    monkeypatch.setattr(moves, "exchange", always)
    assert np.abs(deviations(grid(name, sweeps=1), name)).max() > 8


def test_swapping_by_energy_alone_fails(monkeypatch):
    """The rule without its chemical part is right at one mu only."""
    right = moves.exchange

    def energy_only(pairs, replica_at, energy, counts, *rest):
        right(pairs, replica_at, energy, np.zeros_like(counts), *rest)

    monkeypatch.setattr(moves, "exchange", energy_only)
    assert np.abs(deviations(grid("two-sublattice", sweeps=1), "two-sublattice")).max() > 8


# ---------------------------------------------------------------------- canonical swaps
def composition_of(name, fraction=0.5):
    """A start whose composition many states share: species in turn."""
    h, occ = hamiltonian(name), torch.zeros(hamiltonian(name).n_sites, dtype=torch.long)
    for k, i in enumerate(np.flatnonzero(h.lattice.n_species > 1)):
        occ[i] = k % int(h.lattice.n_species[i]) if k % 3 else 0
    return occ


def at_composition(name, occ, T):
    """p(x) of the states with the composition of ``occ``, zero elsewhere."""
    e, h = enumeration(name), hamiltonian(name)
    same = (np.abs(e.counts - h.counts(occ[None]).numpy()) < 1e-9).all(1)
    weight = np.where(same, np.exp(-(e.energy - e.energy[same].min()) / (h.kB * T)), 0.0)
    return weight / weight.sum()


@pytest.mark.parametrize("name", SYSTEMS)
def test_swaps_follow_the_canonical_law(name):
    """Also where two sublattices share an element, and beside a sublattice that cannot change."""
    h, occ, T = hamiltonian(name), composition_of(name), SYSTEMS[name].T[0]
    s = metropolis(
        Problem.of(h, occ=occ), h.condition([T]), n=4000, move="swap", sweeps=12, burn=50, copies=4, check=False
    )
    index = enumeration(name).index(s.occ[0])
    counts = np.bincount(index, minlength=len(enumeration(name)))
    p = at_composition(name, occ, T)
    assert (counts[p == 0] == 0).all() and (p > 0).sum() > 5
    assert chi_square(counts[p > 0], 4000 * p[p > 0]) > 1e-4
    for wrong in (2.5 * T, 1e12):  # negative controls
        assert chi_square(counts[p > 0], 4000 * at_composition(name, occ, wrong)[p > 0]) < 1e-4


@pytest.mark.slow
def test_canonical_free_energy_is_absolute():
    """log Z at T = infinity is the multinomial number of arrangements."""
    name, T = "cuau-2x2x2", 500.0
    h, occ = hamiltonian(name), composition_of(name)
    e = enumeration(name)
    rungs = ladder(Problem.of(h, occ=occ), h.grid(T), move="swap")
    s = replica_exchange(Problem.of(h, occ=occ), h.grid(rungs), n=4000, move="swap", seed=1)
    same = (np.abs(e.counts - h.counts(occ[None]).numpy()) < 1e-9).all(1)
    kT = h.kB * T
    truth = -kT * np.logaddexp.reduce(-e.energy[same] / kT) / h.n_sites
    got = s.free_energy(0)
    assert abs(got.value - truth) < 4 * got.stderr < 1e-3


# ---------------------------------------------------------------------- fixed sites
@pytest.mark.parametrize("move", ["flip", "swap"])
def test_fixed_sites_stay_fixed_and_the_rest_follows_the_conditional_law(move):
    name = "ternary"
    h, e, occ = hamiltonian(name), enumeration(name), composition_of(name)
    T, mu = 700.0, np.array([0.0, -0.09, -0.03]) * (move == "flip")
    s = metropolis(
        Problem.of(h, fixed=[0, 3], occ=occ), h.condition([T], mu), n=4000, move=move, sweeps=12, burn=50, check=False
    )
    assert (s.occ[0][:, [0, 3]] == occ.numpy()[[0, 3]]).all()
    kept = (e.occ[:, [0, 3]] == occ[[0, 3]].numpy()).all(1)
    if move == "swap":
        kept &= (np.abs(e.counts - h.counts(occ[None]).numpy()) < 1e-9).all(1)
    reduced = -(e.energy - e.counts @ mu) / (h.kB * T)
    p = np.where(kept, np.exp(reduced - reduced[kept].max()), 0)
    counts = np.bincount(e.index(s.occ[0]), minlength=len(e))
    assert (counts[~kept] == 0).all()
    assert chi_square(counts[kept], 4000 * (p / p.sum())[kept]) > 1e-4


def test_a_mask_says_the_same_as_indices():
    h, occ = hamiltonian("ternary"), composition_of("ternary")
    mask = np.zeros(h.n_sites, dtype=bool)
    mask[[0, 3]] = True
    a, b = (metropolis(Problem.of(h, fixed=f, occ=occ), h.condition([700.0]), n=8, check=False) for f in (mask, [0, 3]))
    assert np.array_equal(a.occ, b.occ)


# ---------------------------------------------------------------------- cluster moves
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["wolff", "swendsen-wang"])
def test_cluster_moves_return_the_same_scans(kind, tmp_path):
    """Ising 4x4 in a field and a mu: means against enumeration, absolute free energy, resume."""
    h = ising(4, h=0.1)
    T, mu, path = [2.0, 3.0, np.inf], [0.0, -0.1], tmp_path / "run.safetensors"
    run = lambda **kw: cluster_moves(h, h.condition(T, mu), n=2000, sweeps=2, kind=kind, burn=20, check=False, **kw)  # noqa: E731
    s, table = run(), Enumeration(h)
    for c in range(2):
        truth, ens = table.at(table.hamiltonian.condition(T[c], mu)), s[c]
        for got, exactly in ((ens.mean_energy(), truth.energy), (ens.composition("+"), truth.composition[1]),
                             (ens.free_energy(), truth.phi)):  # fmt: skip
            assert abs(got.value - exactly) < 4.5 * got.stderr
        wrong = table.at(table.hamiltonian.condition(1.15 * T[c], mu))  # negative control
        assert abs(ens.mean_energy().value - wrong.energy) > 8 * ens.mean_energy().stderr
    with pytest.raises(KeyboardInterrupt):
        run(job=Job(checkpoint=path, save_every=0), observers=interrupted_at(9))
    whole, resumed = (
        run(observers=interrupted_at(-1)),
        run(job=Job(checkpoint=path, save_every=0), observers=interrupted_at(-1)),
    )
    assert np.array_equal(whole.occ, resumed.occ)


def test_cluster_moves_do_not_slow_down_at_the_critical_point():
    h = ising(24)
    one, many = (
        f(h, h.condition(2.269), n=400, sweeps=4, burn=50, check=False, copies=2) for f in (metropolis, cluster_moves)
    )
    assert many[0].effective_samples > 3 * one[0].effective_samples


# ---------------------------------------------------------------------- error bars
@pytest.mark.slow
def test_error_bars_are_honest():
    """z-scores of energies and compositions over 160 conditions and seeds have a standard deviation near 1."""
    z = {"energy": [], "composition": []}
    for name in ("ising-3", "cuau-2x2x2", "cuau-skew", "cuau-1x2x4"):
        h, (T, mu) = hamiltonian(name), SYSTEMS[name].conditions().arrays()
        for seed in range(10):
            s = metropolis(h, h.condition(T, mu), n=400, sweeps=1, burn=100, seed=seed, check=False)
            for c in range(len(s)):
                p, ens = exact(name, float(T[c]), mu[c]).numpy(), s[c]
                energy, x = ens.mean_energy(), ens.composition(h.elements[1])
                z["energy"].append((energy.value - p @ enumeration(name).energy / h.n_sites) / energy.stderr)
                z["composition"].append((x.value - p @ enumeration(name).counts[:, 1] / h.n_sites) / x.stderr)
    for values in z.values():
        told = np.array(values)[
            np.isfinite(values)
        ]  # chains that hardly moved, or left two lasting states a few times, have no bar
        assert len(told) >= 0.75 * 160 and 0.8 < np.std(told) < 1.25 and abs(np.mean(told)) < 0.3
        assert (np.abs(told) > 3).mean() < 0.02


def test_error_bars_that_forget_the_correlation_are_seen():
    """Negative control: the same samples taken as independent have z-scores that are too wide."""
    name, z = "cuau-2x2x2", []
    h, (T, mu) = hamiltonian(name), SYSTEMS[name].conditions().arrays()
    for seed in range(25):
        s = metropolis(h, h.condition(T, mu), n=400, sweeps=1, burn=100, seed=seed, check=False)
        for c in range(len(s)):
            ens = replace(s[c], chains=0, facts=Provenance())
            energy = ens.mean_energy()
            truth = exact(name, float(T[c]), mu[c]).numpy() @ enumeration(name).energy / h.n_sites
            z.append((energy.value - truth) / energy.stderr)
    assert np.std(z) > 1.3


# ---------------------------------------------------------------------- precision, equilibration, observers
def test_a_run_goes_on_until_it_is_precise():
    h = hamiltonian("cuau-2x2x2")
    few = metropolis(h, h.condition([700.0], [0, 0.02]), n=100, seed=2, check=False)
    s = metropolis(h, h.condition([700.0], [0, 0.02]), n=100, seed=2, precision={"Au": 0.004, "energy": 2e-4})
    assert few[0].composition("Au").stderr > 0.01
    assert s[0].composition("Au").stderr <= 0.004 and s[0].mean_energy().stderr <= 2e-4
    assert 1000 < s.n < 50_000 and s.info["reached"]


def test_a_precision_that_is_not_reached_is_said():
    with pytest.warns(NotConverged, match="not reached with 400 samples"):
        s = metropolis(
            hamiltonian("cuau-2x2x2"),
            hamiltonian("cuau-2x2x2").condition([700.0], [0, 0.02]),
            n=100,
            max_n=400,
            precision={"Au": 1e-5},
        )
    assert not s.info["reached"]


def test_an_observer_that_never_changes_cannot_be_precise():
    """No spread, no error bar: the run ends at max_n and says so."""
    with pytest.warns(NotConverged, match="not reached"):
        s = metropolis(hamiltonian("cuau-2x2x2"), hamiltonian("cuau-2x2x2").condition([700.0]), n=40, max_n=200, observers={"one": lambda occ: np.ones(len(occ))},
                       precision={"one": 0.1})  # fmt: skip
    assert s.n == 200 and not s.info["reached"]


@pytest.mark.slow
def test_chains_in_different_phases_are_not_called_converged():
    """Two starts, all down and all up, far below the transition: each chain is calm, but they disagree."""
    h = ising(12)
    start = torch.zeros(4, 144, dtype=torch.long)
    start[2:] = 1
    with pytest.warns(NotConverged, match="disagree"):
        s = metropolis(Problem.of(h, occ=start), h.condition([1.6], [0, 0.005]), n=400, copies=4, burn=20)
    assert not s.converged[0]
    fair = replica_exchange(h, h.grid(np.linspace(1.6, 4.0, 9), [[0, 0.005]]), n=8000, sweeps=10, burn=50)
    assert fair.converged.all()


def test_the_start_is_cut_by_itself():
    """From a start far away, the mean of a short run is biased unless its beginning is left out."""
    h = ising(16, h=0.0)
    start = torch.arange(256)[None] % 2  # stripes: energy far above equilibrium's
    raw = metropolis(
        Problem.of(h, occ=start), h.condition([1.8]), n=200, sweeps=1, burn=0, copies=2, check=False, seed=1
    )
    auto = metropolis(Problem.of(h, occ=start), h.condition([1.8]), n=200, sweeps=1, copies=2, check=False, seed=1)
    assert raw.n == auto.n == 200
    early = lambda s: s.energy[0].reshape(2, -1)[:, :20].mean() / 256  # noqa: E731
    late = auto.energy[0].reshape(2, -1)[:, 50:].mean() / 256
    assert early(raw) - late > 0.1 > abs(early(auto) - late)


def test_observers_see_every_sample():
    h = hamiltonian("ising-3")
    s = replica_exchange(
        h,
        h.grid([2.0, 3.0], [[0, 0.1]]),
        n=300,
        burn=20,
        copies=2,
        check=False,
        observers={"m": lambda occ: (2.0 * occ - 1).mean(1)},
        precision={"m": 0.05},
    )
    assert s.observed["m"].shape == s.energy.shape
    np.testing.assert_allclose(s.observed["m"], (2.0 * s.occ - 1).mean(-1))
    assert s[1].mean(s[1].observed["m"]).stderr <= 0.05
    with pytest.raises(AlloygenError, match="one number per chain"):
        metropolis(h, h.condition([2.0]), n=8, observers={"m": lambda occ: 1.0})
    with pytest.raises(AlloygenError, match="'m' to return finite numbers, got -inf"):
        metropolis(h, h.condition([2.0]), n=8, observers={"m": lambda occ: np.full(len(occ), -np.inf)})


# ---------------------------------------------------------------------- resume
def interrupted_at(n):
    """An observer that stops the run at its n-th call, as ctrl-C does."""
    calls = []

    def stop(occ):
        calls.append(1)
        if len(calls) == n:
            raise KeyboardInterrupt
        return occ.sum(1)

    return {"count": stop}


@pytest.mark.parametrize("sampler", [metropolis, replica_exchange])
@pytest.mark.parametrize("kw", [{"burn": 10}, {}, {"precision": {"Au": 0.02}}], ids=["burn", "auto", "precision"])
def test_interrupted_and_resumed_equals_uninterrupted(sampler, kw, tmp_path):
    path, h = tmp_path / "run.safetensors", hamiltonian("cuau-2x2x2")
    where = (h.condition if sampler is metropolis else h.grid)([500.0, 900.0], [[0, 0.02]])
    run = lambda observers, **more: sampler(h, where, n=60, seed=3, check=False,  # noqa: E731
                                            observers=observers, **kw, **more)  # fmt: skip
    whole = run(interrupted_at(-1))
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run(interrupted_at(7), job=Job(checkpoint=path, save_every=0))
    resumed = run(interrupted_at(-1), job=Job(checkpoint=path))
    assert np.array_equal(whole.occ, resumed.occ) and np.array_equal(whole.energy, resumed.energy)
    assert np.array_equal(whole.observed["count"], resumed.observed["count"])
    assert np.array_equal(whole.facts.acceptance, resumed.facts.acceptance) and whole.info == resumed.info
    again = run(interrupted_at(-1), job=Job(checkpoint=path))  # a finished run is read back
    assert np.array_equal(whole.occ, again.occ)


@pytest.mark.slow
def test_a_killed_process_goes_on(tmp_path):
    """SIGKILL in the middle of a run that writes its checkpoint all the time."""
    code = f"""
import sys
from alloygen.hamiltonian.ising import ising
from alloygen.montecarlo.sampling import replica_exchange
from alloygen.runtime.job import Job
h = ising(6, 0.1)
replica_exchange(h, h.grid([2.0, 2.5, 3.0]), n=int(sys.argv[1]), sweeps=30, burn=5, seed=4, check=False,
                 job=Job(checkpoint={str(tmp_path / "run.safetensors")!r}, save_every=0.0))
"""
    process = subprocess.Popen([sys.executable, "-c", code, "10000000"])
    deadline = time.time() + 120
    while not (tmp_path / "run.safetensors").exists() and time.time() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert os.listdir(tmp_path) and (tmp_path / "run.safetensors").exists()
    arguments = dict(sweeps=30, burn=5, seed=4, check=False)
    resumed = replica_exchange(
        ising(6, 0.1),
        ising(6, 0.1).grid([2.0, 2.5, 3.0]),
        n=3000,
        job=Job(checkpoint=tmp_path / "run.safetensors"),
        **arguments,
    )
    whole = replica_exchange(ising(6, 0.1), ising(6, 0.1).grid([2.0, 2.5, 3.0]), n=resumed.n, **arguments)
    assert np.array_equal(whole.occ, resumed.occ)


def test_the_checkpoint_of_another_run_is_refused(tmp_path):
    path = tmp_path / "run.safetensors"

    def run(T, given=None, **kw):
        problem = Problem.of(hamiltonian("cuau-2x2x2"), **(given or {}))
        return metropolis(
            problem, problem.hamiltonian.condition([T]), n=8, burn=2, check=False, job=Job(checkpoint=path), **kw
        )

    first = run(500.0)
    with pytest.raises(CheckpointError, match=r"T: expected \[600.0\], got \[500.0\]"):
        run(600.0)
    with pytest.raises(CheckpointError, match="seed"):
        run(500.0, seed=9)
    with pytest.raises(CheckpointError, match="changing_sites"):
        run(500.0, dict(occ=[0] * 8, fixed=[1]))
    with pytest.raises(CheckpointError, match="move: expected 'swap', got 'flip'"):
        run(500.0, dict(occ=[0] * 4 + [1] * 4), move="swap")
    longer = metropolis(
        hamiltonian("cuau-2x2x2"),
        hamiltonian("cuau-2x2x2").condition([500.0]),
        n=40,
        burn=2,
        check=False,
        job=Job(checkpoint=path),
    )
    assert longer.n == 40 and np.array_equal(longer.occ[0].reshape(4, 10, -1)[:, :2], first.occ[0].reshape(4, 2, -1))


@pytest.mark.parametrize("says, change", [
    ("atoms: expected {'Cu': 4, 'Au': 4}, got {'Cu': 5, 'Au': 3}", dict(occ=[1] * 4 + [0] * 4)),
    ("start", dict(occ=[0] * 5 + [1] * 3)),
    ("hamiltonian", dict(hamiltonian=lambda: hamiltonian("many-body"))),
    ("copies", dict(copies=2)), ("sweeps", dict(sweeps=3)), ("observers", dict(observers={"one": len})), ("seed", dict(seed=1)),
    ("T: expected", dict(T=[500.0, 800.0])), ("precision", dict(precision={"energy": 1.0})), ("burn", dict(burn=3)),
    ("changing_sites", dict(fixed=[0])),
])  # fmt: skip
def test_a_checkpoint_is_known_by_all_that_fixes_its_samples(says, change, tmp_path):
    """Canonical: the conditions of two compositions are the same, and so are those of two starts."""
    one = dict(hamiltonian=lambda: hamiltonian("cuau-2x2x2"), T=[500.0, 700.0], occ=[1] * 3 + [0] * 5, move="swap")

    def run(hamiltonian, occ, fixed=None, T=(500.0,), **kw):
        problem = Problem.of(hamiltonian(), fixed=fixed, occ=occ)
        return metropolis(
            problem, problem.hamiltonian.condition(T), n=8, check=False, job=Job(checkpoint=tmp_path / "a"), **kw
        )

    first = run(**{"burn": 2, **one})
    before = (tmp_path / "a").read_bytes()
    with pytest.raises(CheckpointError, match=re.escape(says)):
        run(**{"burn": 2, **one, **change})
    assert (tmp_path / "a").read_bytes() == before and np.array_equal(run(**{"burn": 2, **one}).occ, first.occ)


def test_a_checkpoint_is_known_by_the_species_that_it_holds(tmp_path):
    def run(occ):
        problem = Problem.of(hamiltonian("cuau-2x2x2"), fixed=[0], occ=occ)
        return metropolis(
            problem,
            problem.hamiltonian.condition([900.0]),
            n=8,
            burn=2,
            check=False,
            job=Job(checkpoint=tmp_path / "a"),
        )

    run([1] + [0] * 7)
    with pytest.raises(CheckpointError, match=re.escape("held: expected {'Cu': 1}, got {'Au': 1}")):
        run([0] * 8)


def test_chains_that_exchange_are_another_run(tmp_path):
    h, T = hamiltonian("cuau-2x2x2"), [500.0, 600.0]
    kw = dict(n=8, burn=2, copies=1, check=False, job=Job(checkpoint=tmp_path / "a"))
    replica_exchange(h, h.grid(T, np.zeros((2, 2))), **kw)
    with pytest.raises(CheckpointError, match="exchanged_pairs"):
        metropolis(h, h.condition(np.repeat(T, 2), np.zeros((4, 2))), **kw)


# ---------------------------------------------------------------------- bookkeeping
@pytest.mark.parametrize("run", [grid, chains])
def test_the_seed_decides_and_threads_do_not(run):
    one, same, other, two = (run("cuau-2x2x2", n=40, **kw) for kw in ({}, {}, {"seed": 1}, {"job": Job(threads=2)}))
    for a in (same, two):
        assert np.array_equal(one.occ, a.occ) and np.array_equal(one.energy, a.energy)
        assert np.array_equal(one.facts.acceptance, a.facts.acceptance)
    assert not np.array_equal(one.occ, other.occ)


def test_conditions_come_with_T_slow():
    s = grid("cuau-2x2x2", n=2)
    T, mu = SYSTEMS["cuau-2x2x2"].conditions().arrays()
    assert s.T.tolist() == T.tolist() and s.mu.tolist() == mu.tolist() and len(s) == 4
    assert s.occ.shape == (4, 2, 8) and s.occ.dtype == np.int8


def test_samples_are_chain_by_chain_in_time_order():
    """With three copies, the samples of each are those that it makes on its own beside the others."""
    h = hamiltonian("ising-3")
    s = metropolis(h, h.condition([2.0, 3.0]), n=12, copies=3, burn=1, sweeps=2, seed=5, check=False)
    run = Chains(h, h.condition([2.0, 3.0]), seed=5, copies=3)
    run.step(2)
    for k in range(4):
        run.step(2)
        occ, energy = run.configurations()
        assert np.array_equal(s.occ.reshape(2, 3, 4, -1)[:, :, k], occ.reshape(3, 2, -1).swapaxes(0, 1))
        assert np.array_equal(s.energy.reshape(2, 3, 4)[:, :, k], energy.reshape(3, 2).T)
    assert s.chains == 3 and s[0].chains == 3


@pytest.mark.parametrize("call, says", [
    (lambda h: grid("ising-3", n=0), "expected n, .* of at least 1, got 0"),
    (lambda h: metropolis(h, h.condition([500.0]), n=4, precision={"Au": -1}), "standard error of 'Au' in precision .* above 0, got -1"),
    (lambda h: metropolis(h, h.condition([500.0]), n=4, precision={"Zn": 0.1}), r"\['Au', 'Cu', 'energy'\], got \['Zn'\]"),
    (lambda h: metropolis(h, h.condition([500.0]), n=4, move="jump"), "move as one of"),
    (lambda h: metropolis(h, h.condition([500.0]), n=4, move="swap"), "composition the swaps keep"),
    (lambda h: metropolis(Problem.of(h, occ=[0] * 8), h.condition([500.0]), n=4, move="swap"), "two elements at least"),
    (lambda h: metropolis(Problem.of(h, fixed=[0]), h.condition([500.0]), n=4), "occ= where there is one"),
    (lambda h: metropolis(h, h.condition([500.0]), n=4, occ=[0] * 8), "expected options among .* got 'occ'"),
    (lambda h: cluster_moves(Problem.of(h, fixed={0: "Au"}), h.condition([500.0]), n=4), "expected no held sites"),
    (lambda h: metropolis(Problem.of(h, fixed=[99], occ=[0] * 8), h.condition([500.0]), n=4), "from 0 to 7"),
    (lambda h: metropolis(Problem.of(h, fixed=list(range(8)), occ=[0] * 8), h.condition([500.0]), n=4), "exchangeable site that is free"),
    (lambda h: metropolis(Problem.of(h, occ=[[0] * 8] * 3), h.condition([500.0, 600.0]), n=4), "one start, one per condition"),
    (lambda h: ladder(h, h.grid(500.0), acceptance=0.99), "between 0.05 and 0.9"),
])  # fmt: skip
def test_bad_input_is_said(call, says):
    with pytest.raises(AlloygenError, match=says):
        call(hamiltonian("cuau-2x2x2"))


def test_what_cannot_be_run_is_said():
    fixed = ClusterExpansion(Primitive(np.eye(3), [[0, 0, 0]], [("Cu",)]), [[1.0]], ()).on((2, 2, 1))
    with pytest.raises(AlloygenError, match="nothing can change"):
        metropolis(fixed, fixed.condition([1.0], [[0.0]]), 1)
    for T in ([-1.0], [0.0], [np.nan]):
        with pytest.raises(BadCondition, match="above 0"):
            metropolis(hamiltonian("cuau-2x2x2"), hamiltonian("cuau-2x2x2").condition(T), n=4)
