"""Runs of Wang-Landau: seeds and threads, interrupts and files, what they say of themselves and of impossible settings."""

import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from densities import run, same
from small_systems import grouped

from alloygen.edge.problem import Problem
from alloygen.errors import AlloygenError, BadCondition, CheckpointError
from alloygen.hamiltonian.expansion import ClusterExpansion
from alloygen.hamiltonian.ising import ising
from alloygen.lattice import Primitive
from alloygen.montecarlo.wang_landau import Bins, Schedule, kernels, multicanonical, wang_landau
from alloygen.montecarlo.wang_landau import run as module
from alloygen.runtime.job import Job
from alloygen.runtime.tensors import read_tensors
from alloygen.testing import SYSTEMS


def test_the_seed_decides_and_threads_do_not():
    kw = dict(attempts=4e5, walkers=2, windows=2)
    mu = SYSTEMS["two-sublattice"].mu[0]
    one, again, other, two = (
        run("two-sublattice", mu, **kw, **x) for x in ({}, {}, {"seed": 1}, {"job": Job(threads=3)})
    )
    assert same(one, again) and same(one, two) and not same(one, other)
    assert not np.array_equal(*one.walks.log_g)


def stopped(monkeypatch, path, after: int, how, threads=1, **kw):
    """A run that ``how`` ends after some calls of the kernel."""
    calls, kernel = [], kernels.level_flips

    def dies(tables, w, r, rules, blocks):
        if rules.final > 0:
            calls.append(r)
        if len(calls) == after:
            how()
        kernel(tables, w, r, rules, 3)

    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as m:
        m.setattr(kernels, "level_flips", dies)
        with pytest.raises((KeyboardInterrupt, OSError)):
            wang_landau(
                ising(4, h=0.15), job=Job(checkpoint=path, threads=threads, save_every=0 if how is die else 60), **kw
            )
    assert len(calls) == after > 2 and signal.getsignal(signal.SIGINT) is before


def interrupt():
    signal.raise_signal(signal.SIGINT)


def twice():
    interrupt()
    interrupt()


def die():
    raise OSError("killed")


@pytest.mark.parametrize("schedule, transitions, threads", [("halving", False, 1), ("1/t", True, 1), ("1/t", False, 2)])
def test_killed_and_resumed_is_uninterrupted(tmp_path, monkeypatch, schedule, transitions, threads):
    how = Schedule(kind=schedule, max_attempts=600_000, check=1000)
    kw = dict(walkers=2, schedule=how, bins=Bins(transitions=transitions), seed=5)
    whole, path = wang_landau(ising(4, h=0.15), **kw), tmp_path / "state.safetensors"
    for end, after in ((interrupt, 31), (die, 50)) if threads == 1 else ((die, 50),):
        stopped(monkeypatch, path, after, end, threads=threads, **kw)
    saved = int(read_tensors(path)[0]["attempts"].sum())
    assert 0 < saved < 600_000
    if threads == 1:
        stopped(monkeypatch, path, 20, twice, **kw)  # at once: nothing is written
        assert saved == int(read_tensors(path)[0]["attempts"].sum())
    assert same(whole, wang_landau(ising(4, h=0.15), job=Job(checkpoint=path), **kw))
    assert same(whole, wang_landau(ising(4, h=0.15), job=Job(checkpoint=path), **kw))  # finished: read, not run
    longer = kw | dict(schedule=replace(how, max_attempts=800_000))
    assert same(
        wang_landau(ising(4, h=0.15), **longer), wang_landau(ising(4, h=0.15), job=Job(checkpoint=path), **longer)
    )
    with pytest.raises(CheckpointError, match="seed: expected 6, got 5"):
        wang_landau(ising(4, h=0.15), job=Job(checkpoint=path), **kw | dict(seed=6))
    with pytest.raises(CheckpointError, match="hamiltonian: expected"):
        wang_landau(ising(4, h=0.16), job=Job(checkpoint=path), **kw)
    with pytest.raises(CheckpointError, match="supercell: expected"):
        wang_landau(ising(5, h=0.15), job=Job(checkpoint=path), **kw)


def test_the_file_is_written_as_time_goes_by(tmp_path, monkeypatch):
    written, path = [], tmp_path / "state.safetensors"
    state = module._Walking.state
    monkeypatch.setattr(
        module._Walking, "state", lambda self: (written.append(int(self.w.attempts.sum())), state(self))[1]
    )
    wang_landau(ising(4), schedule=Schedule(max_attempts=1e7, kind="1/t"), job=Job(checkpoint=path, save_every=0))
    assert len(written) > 3 and written == sorted(written)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_one_walker_knows_its_error_and_a_short_one_says_that_it_does_not():
    dos = wang_landau(ising(4), schedule=Schedule(log_f_final=1e-7))
    assert dos.ended.converged and 0 < dos.phi(2.0).stderr < 0.01 and dos.walks.influence.shape[1] >= 16
    assert (dos.log_g_stderr > 0).all() and "no error" not in dos.ended.note
    short = wang_landau(ising(4), schedule=Schedule(max_attempts=1e4))
    assert np.isnan(short.phi(2.0).stderr) and "run longer" in short.phi(2.0).note and "run longer" in short.ended.note
    assert np.isnan(short.log_g_stderr).all()


def test_what_cannot_be_run_is_said():
    h = ising(3)
    for kw, match in [
        (dict(kind="2/t"), "kind as one of .*'2/t'"),
        (dict(flatness=1.0), "flatness .* below 1, got 1.0"),
        (dict(energies=(1, 0)), "energies"),
        (dict(move="swap"), "composition the swaps keep"),
        (dict(fixed=[0]), "fixed={site: species}, or occ="),
        (dict(fixed=[9], occ=[0] * 9), "from 0 to 8"),
        (dict(width=1e-9), "widen them"),
        (dict(mu=[0.0]), "one finite chemical potential"),
        (dict(windows=0), "windows as a whole number of at least 1"),
        (dict(energies=3), "energies"),
        (dict(energies=(0, True, 3)), "energies"),
        (dict(mu={"Au": 1}), "Au"),
        (dict(max_attempts=np.nan), "max_attempts"),
        (dict(log_f_final=None), "log_f_final"),
        (dict(transitions=True, width=1.0), "Leave it out"),
        (dict(occ=torch.zeros(2, 9)), "one start"),
    ]:
        with pytest.raises(AlloygenError, match=match):
            given = {k: kw.pop(k) for k in ("fixed", "occ") if "occ" in kw and k in kw}
            wang_landau(Problem.of(h, **given), **grouped(kw, bins=Bins, schedule=Schedule))
    with pytest.raises(BadCondition, match="leave it out"):
        wang_landau(Problem.of(h, occ=[0] * 8 + [1]), mu=[0, 1.0], move="swap")
    with pytest.raises(BadCondition):
        wang_landau(h, schedule=Schedule(log_f_final=0.1)).phi(-1)
    with pytest.raises(AlloygenError, match="expected n as a whole number"):
        multicanonical(wang_landau(h, schedule=Schedule(log_f_final=0.1)), 0)
    dull = ClusterExpansion(Primitive(np.eye(3), [[0, 0, 0]], [("Cu",)]), [[1.0]], ()).on((2, 2, 1))
    with pytest.raises(AlloygenError, match="nothing can change"):
        wang_landau(dull)
