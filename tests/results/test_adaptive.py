"""Scans with a model: grids that refine themselves, executors, interrupts, and what is said about bad input."""

import os
import pickle
import signal
import warnings
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
import ternaries
import torch
from ase.build import bulk

import alloygen
import alloygen.data
from alloygen import Neural, Spacing
from alloygen.conditions import plane
from alloygen.errors import (
    AlloygenError,
    BadCondition,
    CheckpointError,
    LatticeMismatch,
    OutsideTrainedRange,
    UnknownSpecies,
    WorkersLost,
)
from alloygen.exact.enumeration import Enumeration
from alloygen.models.causal import CausalModel
from alloygen.models.store import load_model
from alloygen.montecarlo.tempering import mu_plane
from alloygen.results import adaptive
from alloygen.runtime import parcel
from alloygen.runtime.job import Job, Loop

ATOMS = bulk("Cu", a=3.8).repeat((2, 2, 4))
GRID = dict(T=[500, 900], mu={"Au": [-0.1, 0.02, 0.1]}, n=40, seed=3)


def same(a, b):
    return all(np.array_equal(getattr(a, k), getattr(b, k)) for k in ("T", "mu", "occ", "energy", "log_prob"))


@pytest.fixture(scope="module")
def plain():
    return alloygen.scan(ATOMS, **GRID)


def jeffreys(scan):
    """J between neighbours in mu at each T."""
    out = []
    for T in np.unique(scan.T):
        at = np.flatnonzero(scan.T == T)
        n = np.array([scan[c].composition("Au").value * scan.hamiltonian.n_sites for c in at])
        out.append(np.diff(n) * np.diff(scan.mu[at, 1]) / (scan.hamiltonian.kB * T))
    return out


@pytest.mark.slow
def test_a_grid_is_what_was_asked_for(plain):
    assert len(plain) == 6 and plain.n == 40 and plain.method == "neural" and plain.info["model"] == "cuau"
    assert plain.at(500, {"Au": 0.02}).atoms[0].get_chemical_symbols().count("Au") > 0
    table = plain.to_xarray()
    assert table.attrs["model"] == "cuau" and table.attrs["n_sites"] == 16 and "Cu " in table.attrs["energy_reference"]
    assert table["energy"].attrs["units"] == "eV" and {"phi", "entropy", "ness", "susceptibility_Au", "mu_Au"} <= set(
        table.variables
    )


def test_a_condition_does_not_depend_on_the_others(plain):
    alone = alloygen.scan(ATOMS, 900, {"Au": 0.02}, n=40, seed=3)
    assert np.array_equal(alone.occ[0], plain.at(900, {"Au": 0.02}).occ)
    assert not np.array_equal(alone.occ, alloygen.scan(ATOMS, 900, {"Au": 0.02}, n=40, seed=4).occ)


@pytest.mark.slow
def test_executors_give_the_same(plain):
    with ThreadPoolExecutor(2) as pool:
        assert same(alloygen.scan(ATOMS, **GRID, job=Job(executor=pool)), plain)
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        assert same(alloygen.scan(ATOMS, **GRID, job=Job(executor=pool)), plain)


class Breaks(Executor):
    """Draws ``good`` conditions, then has lost its workers: at the next result, or as early as the next call."""

    def __init__(self, good, error=BrokenExecutor, early=False):
        self.good, self.error, self.early = good, error, early

    def submit(self, function, /, *args):
        future, self.good = Future(), self.good - 1
        if self.good >= 0:
            future.set_result(function(*args))
        elif self.early:
            raise self.error("gone")
        else:
            future.set_exception(self.error("gone"))
        return future


@pytest.mark.parametrize("good, early", [(2, False), (2, True), (0, False)])
def test_what_a_broken_executor_has_not_drawn_is_drawn_here(plain, good, early, monkeypatch):
    monkeypatch.setattr(adaptive, "AHEAD", 4)
    with pytest.warns(WorkersLost, match=f"the {6 - good} conditions") as told:
        assert same(alloygen.scan(ATOMS, **GRID, job=Job(executor=Breaks(good, early=early))), plain)
    assert sum(w.category is WorkersLost for w in told) == 1


class Elsewhere(Executor):
    """A worker on another machine: what it gets has gone through pickle, and it sees no files of this one (``blind``)."""

    def __init__(self, blind):
        self.blind, self.sizes, self.opened = blind, [], {}

    def submit(self, function, /, *args):
        sent, future, here = pickle.dumps(args), Future(), dict(parcel._OPENED)
        self.sizes.append(len(sent))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(parcel, "_OPENED", self.opened)
            if self.blind:
                patch.setattr(parcel.Parcel, "_read", lambda self: None)
            future.set_result(function(*pickle.loads(sent)))
        assert parcel._OPENED == here
        return future


@pytest.mark.parametrize("blind", [False, True])
def test_the_model_travels_once(plain, blind, monkeypatch):
    """By a file, or with the first tasks, which come back without; every other task is small."""
    there = Elsewhere(blind)
    monkeypatch.setattr(adaptive, "AHEAD", 2)
    assert same(alloygen.scan(ATOMS, **GRID, job=Job(executor=there)), plain)
    large = [size for size in there.sizes if size > 10**6]
    assert (len(there.sizes), len(large)) == ((6 + 2, 2) if blind else (6, 0))
    assert len(there.opened) == 1 and not parcel._OPENED


def test_another_error_of_a_worker_keeps_what_is_drawn(plain, tmp_path):
    path = tmp_path / "scan.safetensors"
    with pytest.raises(LookupError, match="gone"):
        alloygen.scan(ATOMS, **GRID, job=Job(executor=Breaks(4, LookupError), checkpoint=path))
    drawn = Breaks(6)
    assert same(alloygen.scan(ATOMS, **GRID, job=Job(executor=drawn, checkpoint=path)), plain)
    assert drawn.good == 6 - 2  # those that were not in the file


def _kills(monkeypatch, pids):
    """A worker dies when the first condition is done."""
    tick = Loop.tick

    def killing(self, done, *args):
        if done == 1:
            os.kill(next(iter(pids())), signal.SIGKILL)
        tick(self, done, *args)

    monkeypatch.setattr(Loop, "tick", killing)


@pytest.mark.slow
def test_a_worker_that_is_killed_loses_nothing(plain, monkeypatch):
    with ProcessPoolExecutor(1, get_context("spawn")) as pool, pytest.warns(WorkersLost):
        _kills(monkeypatch, lambda: pool._processes)
        assert same(alloygen.scan(ATOMS, **GRID, job=Job(executor=pool)), plain)


@pytest.mark.slow
def test_dask_draws_the_same_and_starts_killed_workers_anew(plain, monkeypatch):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, preload="alloygen.api") as cluster, distributed.Client(cluster) as client:  # fmt: skip
        before = set(client.run(os.getpid).values())
        _kills(monkeypatch, lambda: before)
        assert same(alloygen.scan(ATOMS, **GRID, job=Job(executor=client.get_executor())), plain)
        client.wait_for_workers(2)
        assert len(before - set(client.run(os.getpid).values())) == 1


@pytest.mark.slow
def test_refining_finds_the_window_of_cuau3_untold():
    """x = 3/4 is stable over 5 meV only; nine values of mu step over it."""
    coarse = alloygen.scan(ATOMS, 300, "Au", n=60, seed=0, adaptive=False)
    fine = alloygen.scan(ATOMS, 300, "Au", n=60, seed=0)
    near = lambda s: min(abs(ens.composition("Au").value - 0.75) for ens in s)  # noqa: E731
    assert len(coarse) == 9 and near(coarse) > 0.1 and near(fine) < 0.05
    assert max(jeffreys(coarse)[0]) > 15 and max(jeffreys(fine)[0]) < 6 + 1e-9


@pytest.mark.slow
def test_spacing_and_the_limit_of_conditions():
    wide, narrow = (alloygen.scan(ATOMS, [700], "Au", n=40, seed=0, adaptive=Spacing(nats=s)) for s in (12.0, 3.0))
    assert len(wide) < len(narrow) and max(jeffreys(narrow)[0]) <= 3
    assert len(alloygen.scan(ATOMS, [300], "Au", n=40, seed=0, adaptive=Spacing(max_conditions=11))) == 11


@pytest.mark.slow
def test_an_interrupted_scan_goes_on(tmp_path, monkeypatch, plain):
    path, real, calls = tmp_path / "scan.safetensors", adaptive.draw_condition, []

    def stops(*args):
        calls.append(args[1:3])
        if len(calls) == 4:
            signal.raise_signal(signal.SIGINT)
        return real(*args)

    monkeypatch.setattr(adaptive, "draw_condition", stops)
    with pytest.raises(KeyboardInterrupt, match="stopped after 4 conditions"):
        alloygen.scan(ATOMS, **GRID, job=Job(checkpoint=path))
    assert same(alloygen.scan(ATOMS, **GRID, job=Job(checkpoint=path)), plain)
    assert len(calls) == 6
    assert same(alloygen.scan(ATOMS, **GRID, job=Job(checkpoint=path)), plain) and len(calls) == 6


@pytest.mark.parametrize("change", [dict(n=50), dict(seed=4), dict(sampler=Neural(order="random"))])
def test_a_checkpoint_of_another_run_is_refused(tmp_path, change):
    path = tmp_path / "scan.safetensors"
    one = dict(T=900, mu={"Au": 0.0}, n=40, seed=3)
    alloygen.scan(ATOMS, **one, job=Job(checkpoint=path))
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match=r"(n|seed|order): expected"):
        alloygen.scan(ATOMS, **{**one, **change}, job=Job(checkpoint=path))
    assert path.read_bytes() == before


def test_a_checkpoint_is_known_by_the_weights_of_its_model(tmp_path):
    """Weights of the same size in another place, or with another sign, are another model."""
    path, run = tmp_path / "scan.safetensors", dict(T=900, mu={"Au": 0.0}, n=4)
    model, other = (load_model(alloygen.data.checkpoints()["cuau_2x2x4"]) for _ in range(2))
    with torch.no_grad():
        weight = max(other.parameters(), key=torch.numel)
        weight.copy_(-weight.flip(0))
    alloygen.scan(ATOMS, **run, sampler=model, job=Job(checkpoint=path))
    with pytest.raises(CheckpointError, match="model: expected"):
        alloygen.scan(ATOMS, **run, sampler=other, job=Job(checkpoint=path))


@pytest.mark.parametrize("change, error, says", [
    (dict(n=0), AlloygenError, "expected n"),
    (dict(T=[]), BadCondition, "at least one temperature"),
    (dict(mu={"Au": []}), BadCondition, "at least one mu"),
    (dict(mu={"Zn": [0.0]}), UnknownSpecies, "Zn"),
    (dict(mu=None), UnknownSpecies, "Name the second element"),
    (dict(adaptive=3), AlloygenError, "Spacing"),
    (dict(sampler=2), AlloygenError, "expected sampler"),
    (dict(adaptive=Spacing(max_conditions=5)), AlloygenError, "max_conditions"),
])  # fmt: skip
def test_bad_input_is_told(change, error, says):
    with pytest.raises(error, match=says):
        alloygen.scan(ATOMS, **{**GRID, **change})


def test_a_model_refuses_conditions_that_it_was_not_trained_on():
    with pytest.raises(BadCondition, match="1500 is outside"):
        alloygen.scan(ATOMS, [900, 1500], {"Au": 0.0}, n=10, sampler="neural")
    with pytest.warns(OutsideTrainedRange, match="1500"):
        alloygen.scan(ATOMS, [900, 1500], {"Au": 0.0}, n=10, sampler=Neural(outside="allow"))


def test_scans_join_only_with_their_like(plain):
    more = alloygen.scan(ATOMS, 700, {"Au": [0.0]}, n=40, seed=3)
    assert len(alloygen.Scan.concatenate([plain, more])) == 7
    with pytest.raises(LatticeMismatch, match="one supercell"):
        alloygen.Scan.concatenate([plain, alloygen.scan(bulk("Cu", a=3.8).repeat((4, 4, 4)), 900, {"Au": 0.0}, n=4)])
    with pytest.raises(AlloygenError, match="one Hamiltonian"):
        alloygen.Scan.concatenate([plain, alloygen.mc(ATOMS, 900, {"Au": 0.0}, n=40, hamiltonian=halved())])
    with pytest.raises(AlloygenError, match="one kind of samples"):
        alloygen.Scan.concatenate([plain, alloygen.mc(ATOMS, 900, {"Au": 0.0}, n=40)])
    with pytest.raises(AlloygenError, match="at least one scan"):
        alloygen.Scan.concatenate([])


def halved():
    """The CuAu expansion with other energies."""
    plain = alloygen.data.cuau().to_dict()
    plain["orbits"][-1]["eci"] = 0.5 * plain["orbits"][-1]["eci"]
    return type(alloygen.data.cuau()).from_dict(plain)


def test_monte_carlo_scans_go_through_the_same_call():
    scan = alloygen.scan(ATOMS, [800], {"Au": [-0.1, 0.1]}, n=300, sampler="mc", adaptive=True, seed=1)
    assert (
        scan.method == "mc"
        and set(scan.T) == {800}
        and np.isinf(scan.hidden.T).any()
        and len(np.unique(scan.mu[:, 1])) >= 2
    )
    assert scan.absolute and np.isfinite(scan.free_energies([800]).free_energy.sel(n=8).item())


def test_a_plane_refines_itself_and_finds_its_range_untold(monkeypatch):
    """Draws of the exact law of 8 sites of three elements: neighbours come as near as asked and F is that of the enumeration; a coarse grid's are far apart (control)."""
    e, T, n = ternaries.lopsided(), 700.0, 60
    h = e.hamiltonian

    def exact(model, at, n, seed, *_):
        log_p = np.log(e.at(at).probabilities)
        rows = np.random.default_rng(seed).choice(len(e), n, p=np.exp(log_p))
        return e.occ[rows], e.energy[rows], log_p[rows]

    monkeypatch.setattr(adaptive, "draw_condition", exact)
    model = CausalModel(h, ranges={"T": [300, 3000], "mu": [[-0.8, 0.8]] * 2}, width=8, depth=1, heads=1)
    asked = dict(T=T, n=n, sampler=model)
    coarse, fine = (alloygen.scan(h, **asked, adaptive=how) for how in (False, Spacing(3.0, max_conditions=400)))

    def widest(scan):
        pairs = plane.edges(scan.mu - scan.mu[:, :1])
        return plane.divergence(1 / (h.kB * T), scan.mu, scan.counts.mean(1), pairs).max()

    assert len(coarse) == 25 and widest(coarse) > 4
    assert 25 < len(fine) < 400 and widest(fine) < 3 + 1e-9
    found, truth = fine.phase_diagram().table, ternaries.exact_free_energies(e, T)
    f = np.array([truth[tuple(n)] for n in found["atoms"].values.tolist()])
    error = found["free_energy_stderr"].values[0]
    z = (found["free_energy"].values[0] - f)[error > 0] / error[error > 0]
    assert len(f) == len(truth) and len(z) > 30 and np.abs(z).max() < 5


@pytest.mark.slow
@pytest.mark.parametrize("name", ["binary", "ternary"])
def test_monte_carlo_that_finds_its_own_mu_gives_the_whole_diagram(name):
    """``scan(cell, T).phase_diagram()`` without a word on mu: F of every composition within its error of the enumeration's, that of another alloy not."""
    e = ternaries.lopsided() if name == "ternary" else Enumeration(alloygen.data.cuau().on((2, 2, 2)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = alloygen.scan(e.hamiltonian, T=600.0, n=100, sampler="mc").phase_diagram().table.isel(T=0)
    truth, n = ternaries.exact_free_energies(e, 600.0), table["atoms" if name == "ternary" else "n"].values
    atoms = n if name == "ternary" else np.column_stack([8 - n, n])
    exact, known = np.array([truth[tuple(a)] for a in atoms.tolist()]), table["free_energy_stderr"].values > 0
    f, exact, error = table["free_energy"].values[known], exact[known], table["free_energy_stderr"].values[known]
    rms = lambda found: np.sqrt(np.mean(((found - exact) / error) ** 2))  # noqa: E731
    assert len(atoms) == len(truth) and known.sum() > 0.7 * len(truth)
    assert rms(f) < 2 and rms(1.05 * f) > 3


def test_monte_carlo_over_a_plane_puts_points_where_the_composition_jumps():
    h = ternaries.pairs(ternaries.PATCHY).on((2, 2, 2))
    corners = [[0.0, a, b] for a in np.linspace(-0.5, 0.5, 5) for b in np.linspace(-0.5, 0.5, 5)]
    mu = mu_plane(h, h.condition(500.0, corners), most=45)
    assert len(mu) == 45 and np.array_equal(mu[:25], corners)
    away = lambda rows: np.abs(np.sort(rows, 1)[:, 2] - np.sort(rows, 1)[:, 1])  # noqa: E731 from where two phases meet
    assert away(mu[25:]).mean() < 0.5 * away(mu[:25]).mean()
    with pytest.raises(AlloygenError, match="one temperature"):
        mu_plane(h, h.condition([500.0, 600.0], corners[:2]))
