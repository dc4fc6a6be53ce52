"""What cannot fit is told before any work, and the caller's generators and threads stay as they are."""

import os
import random
import time
import tracemalloc
from contextlib import nullcontext
from itertools import combinations

import numpy as np
import pytest
import torch
from ase.build import bulk

import alloygen
from alloygen import cli, limits, registry
from alloygen.conditions import grid
from alloygen.errors import AlloygenError, BadCondition, CheckpointError, TooLarge
from alloygen.estimate import order
from alloygen.estimate.superstructure import Frame
from alloygen.hamiltonian import clusters
from alloygen.lattice import Lattice, Primitive
from alloygen.results.at_counts import EXCHANGES, _exchanged
from alloygen.results.ensemble import Ensemble
from alloygen.results.scan import Scan
from alloygen.testing import enumerable
from alloygen.testing.systems import FCC

SMALL = bulk("Cu", a=3.8).repeat((2, 2, 4))
AT = dict(T=600, mu={"Au": 0.02})
LAYER = alloygen.ising(300)
HUGE = {
    "sample": (lambda: alloygen.sample(SMALL, **AT, n=10**12), TooLarge, "Draw parts"),
    "batch": (lambda: alloygen.sample(SMALL, **AT, n=10**12, sampler=alloygen.Neural(batch=10**9)), TooLarge, "Draw parts"),
    "annealed": (lambda: alloygen.sample(SMALL, **AT, n=10**12, sampler=alloygen.Neural(then=alloygen.Anneal())), TooLarge, "GB"),
    "mc": (lambda: alloygen.mc(SMALL, **AT, n=10**12), TooLarge, "a smaller n"),
    "sample by mc": (lambda: alloygen.sample(SMALL, **AT, n=10**12, sampler="mc"), TooLarge, "a smaller n"),
    "scan": (lambda: alloygen.scan(SMALL, range(300, 900), {"Au": np.linspace(0, 0.1, 1000)}, 10**9), TooLarge, "600000 conditions"),
    "values of mu": (lambda: alloygen.scan(SMALL, 600, {"Au": range(10**8)}), BadCondition, "at most 100000 numbers, got 100000000"),
    "values of T": (lambda: alloygen.mc(SMALL, range(1, 10**9), {"Au": 0.0}), BadCondition, "at most 100000"),
    "grid of mu": (lambda: grid(600, {"Cu": range(10**4), "Au": range(10**4)}, alloygen.data.cuau()), BadCondition, "10000 x 10000"),
    "supercell": (lambda: alloygen.data.cuau().on((200_000, 2000, 2000)), TooLarge, "a smaller one"),
    "shells": (lambda: alloygen.sample(SMALL, **AT, n=5).warren_cowley(10**6), AlloygenError, "from 1 to 1000"),
    "pairs": (lambda: Ensemble(LAYER, np.zeros((2, 90_000), np.int8), np.zeros(2), None, T=2.0).two_point(), TooLarge, "warren_cowley"),
    "copies": (lambda: alloygen.mc(SMALL, **AT, n=20, copies=10**12), TooLarge, "Take fewer"),
    "restarts": (lambda: alloygen.anneal(SMALL, {"Au": 0.02}, cooling=alloygen.Cooling(restarts=10**12)), TooLarge, "Take fewer"),
    "restarts of all": (lambda: alloygen.ground_states(SMALL, hamiltonian="cuau", cooling=alloygen.Cooling(restarts=10**12)), TooLarge, "of 17 compositions"),
    "restarts of a cell": (lambda: alloygen.representative(alloygen.data.cuau(), (2, 2, 2), {"Au": 4}, restarts=10**12), TooLarge, "Take fewer"),
    "walkers": (lambda: alloygen.wang_landau(alloygen.ising(3), walkers=10**12), TooLarge, "Take fewer"),
    "sets of walkers": (lambda: alloygen.metadynamics(alloygen.ising(3), 3.0, stages=alloygen.Stages(walkers=10**12)), TooLarge, "sets at"),
    "drawn anew": (lambda: alloygen.sample(SMALL, **AT, n=5).resample(10**12), TooLarge, "Take fewer"),
    "paths": (lambda: alloygen.Neural(average=10**12), AlloygenError, "from 1 to 100000"),
    "structures": (lambda: alloygen.enumerate_structures(bulk("Cu"), ["Cu", "Au"], max_sites=10**6), AlloygenError, "take fewer sites"),
    "sweeps": (lambda: alloygen.mc(SMALL, **AT, n=20, sweeps=10**15), TooLarge, "between more samples"),
    "sweeps of cooling": (lambda: alloygen.anneal(SMALL, {"Au": 0.02}, cooling=alloygen.Cooling(sweeps=10**15)), TooLarge, "more steps"),
    "steps of cooling": (lambda: alloygen.Cooling(steps=10**12), AlloygenError, "from 1 to 100000"),
    "check": (lambda: alloygen.Schedule(check=10**15), AlloygenError, "from 1 to"),
    "width": (lambda: alloygen.train(config={"name": "x", "model": {"kind": "causal", "width": 8 * 10**9}}), AlloygenError, "."),
}  # fmt: skip


@pytest.mark.parametrize("call, error, says", HUGE.values(), ids=HUGE)
def test_what_is_too_much_is_told_before_work(call, error, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    started = time.process_time()
    with pytest.raises(error, match=says):
        call()
    assert time.process_time() - started < 5 and not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", ["sample Cu:2000x2000x2000 -T 600", "mc Cu:2x2x4 -T 600 --mu Au=-1:1:100000000", "sample Cu:2x2x4 -T 600 -n 1000000000000"])  # fmt: skip
def test_the_shell_refuses_it_too(words, capsys):
    assert cli.main(words.split()) == 2 and "expected" in capsys.readouterr().err


def test_memory_is_that_of_the_narrowest_limit(monkeypatch):
    monkeypatch.setattr(limits, "_machine", lambda: 10**10)
    monkeypatch.setattr(limits, "_group", lambda: 10**9)
    monkeypatch.setattr(limits, "_address_space", lambda: None)
    assert limits.available() == 10**9
    with pytest.raises(TooLarge, match=r"got 2 things, about 0\.9 GB\. Take one"):
        limits.require_memory(9e8, "2 things", "Take one")
    limits.require_memory(7e8, "2 things", "Take one")
    monkeypatch.setattr(limits, "_machine", lambda: None)
    monkeypatch.setattr(limits, "_group", lambda: None)
    assert limits.available() is None
    limits.require_memory(1e30, "where nothing tells, all", "")


def test_a_pipe_is_no_model(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.safetensors")
    with pytest.raises(CheckpointError, match="a pipe"):
        alloygen.load(tmp_path / "pipe.safetensors")
    monkeypatch.setenv("ALLOYGEN_MODELS", str(tmp_path))
    assert "pipe" not in alloygen.data.checkpoints()


def test_a_loaded_model_is_ones_own(monkeypatch):
    mine, other = alloygen.load("cuau_2x2x4"), alloygen.load("cuau_2x2x4")
    assert mine is not other
    before = alloygen.sample(SMALL, **AT, n=20, sampler=other).log_prob
    with torch.no_grad():
        for p in mine.parameters():
            p.zero_()
    mine.ranges["T"] = (1.0, 2.0)
    assert np.array_equal(alloygen.sample(SMALL, **AT, n=20, sampler="cuau_2x2x4").log_prob, before)
    assert np.array_equal(alloygen.sample(SMALL, **AT, n=20, sampler=alloygen.load("cuau_2x2x4")).log_prob, before)
    monkeypatch.setattr(registry, "KEPT", 1)
    registry.shared("ising_10x10")
    assert len(registry._loaded) == 1


def _state():
    return (
        torch.default_generator.get_state().tolist(),
        torch.get_num_threads(),
        torch.is_grad_enabled(),
        np.random.get_state()[1].tolist(),  # noqa: NPY002 the global one is meant
        random.getstate(),
    )


TINY = {
    "name": "tiny", "system": {"hamiltonian": "cuau", "repeats": [2, 2, 1]}, "model": {"kind": "causal", "width": 8, "depth": 1, "heads": 2},
    "data": {"T": [600, 900], "mu": [0.0, 0.1], "samples": 20, "burn": 5, "seed": 0}, "training": {"steps": 2, "batch": 8, "warmup": 1},
    "machine": {"threads": 2},
}  # fmt: skip
CALLS = {
    "load": lambda p: registry._loaded.clear() or alloygen.load("cuau_2x2x4"),
    "sample": lambda p: alloygen.sample(SMALL, **AT, n=20).atoms[0],
    "averages": lambda p: alloygen.sample(SMALL, **AT, n=60).to_pymatgen()[:1] and alloygen.sample(SMALL, **AT, n=60).heat_capacity(),
    "refined": lambda p: alloygen.sample(SMALL, **AT, n=20, sampler=alloygen.Neural(then=alloygen.Blocks(effort=0.1))),
    "composition": lambda p: alloygen.sample(SMALL, 600, composition={"Au": 4}, n=20),
    "scan": lambda p: alloygen.scan(SMALL, 600, {"Au": [0.0, 0.05]}, 20),
    "mc": lambda p: alloygen.mc(SMALL, **AT, n=40, check=False),
    "metropolis": lambda p: alloygen.mc(SMALL, **AT, n=20, method="metropolis", check=False),
    "anneal": lambda p: alloygen.anneal(SMALL, {"Au": 0.02}),
    "train": lambda p: alloygen.train(config=TINY, folder=p / "run", progress=False),
    "models": lambda p: cli.main(["models"]),
    "info": lambda p: cli.main(["info"]),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "call", [pytest.param(c, id=name, marks=[pytest.mark.slow] * (name == "train")) for name, c in CALLS.items()]
)
def test_the_state_of_the_caller_is_left_alone(call, tmp_path, capsys):
    np.random.seed(5)  # noqa: NPY002 the global one is meant
    torch.manual_seed(5), random.seed(5)
    before = _state()
    call(tmp_path)
    assert _state() == before


def test_info_says_what_a_question_needs(capsys):
    assert cli.main(["info"]) == 0
    text = capsys.readouterr().out
    assert alloygen.__version__ in text and f"torch {torch.__version__.split('+')[0]}" in text and "free memory" in text


# ---------------------------------------------------------------------- clusters
def test_clusters_are_counted_before_they_are_made():
    """The estimate of pairs and triplets is within a factor of two of those in a cube; a plane has fewer, and what is allowed can be made."""
    found = clusters.cluster_orbits(Primitive(np.eye(3), [[0, 0, 0]], [("A", "B")]), 2, 6.0, [0])
    pairs = 2 * sum(map(len, found))
    for limit, refused in ((pairs**2 / 2, True), (pairs**2 * 2, False)):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(limits, "CLUSTERS", limit)
            with pytest.raises(TooLarge, match="smaller") if refused else nullcontext():
                limits.require_clusters(np.eye(3), 1, [6.0], "pairs", "Take a smaller one")
    plane = Primitive(np.diag([1.0, 1.0, 0.1]), [[0, 0, 0]], [("A", "B")], pbc=(True, True, False))
    assert len(clusters.decorated_orbits(plane, [3.0])[1]) == 8
    with pytest.raises(TooLarge, match=r"cutoffs of \[1000000.0\]"):
        clusters.decorated_orbits(plane, [1e6])


def peak(call) -> int:
    """Bytes that Python and NumPy had at most while it ran."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# ---------------------------------------------------------------------- large cells
@pytest.mark.parametrize("name", ["ternary", "two-sublattice", "spectator"])
def test_exchanges_of_two_atoms_are_all_that_there_are(name):
    """Against every pair of sites, looked at one by one; held sites stay."""
    h = enumerable(name).hamiltonian
    codes, free, rng = h.lattice.site_elements, h.lattice.changeable.copy(), np.random.default_rng(0)
    free[np.flatnonzero(free)[0]] = False
    for _ in range(5):
        best = np.array([rng.integers((row >= 0).sum()) for row in codes])
        held, expected = codes[np.arange(len(best)), best], set()
        for i, j in combinations(np.flatnonzero(free), 2):
            if held[i] != held[j] and held[j] in codes[i] and held[i] in codes[j]:
                moved = best.copy()
                moved[i], moved[j] = list(codes[i]).index(held[j]), list(codes[j]).index(held[i])
                expected.add(tuple(moved.tolist()))
        moved, each = _exchanged(h, best, free, rng)
        assert len(moved) == len(expected) and {tuple(row) for row in moved.tolist()} == expected and each == 1.0


def test_exchanges_of_a_large_cell_are_some_of_many():
    """64 x 64 sites: the list of all pairs took 180 MB, and 2 GB at 13,824 sites."""
    h = alloygen.ising(64)
    best = np.random.default_rng(0).permutation(h.n_sites) % 2
    moved, each = _exchanged(h, best, h.lattice.changeable, np.random.default_rng(1))
    assert each == 2048**2 / EXCHANGES and len(np.unique(moved, axis=0)) == EXCHANGES
    assert (moved.sum(1) == best.sum()).all() and ((moved != best).sum(1) == 2).all()
    assert peak(lambda: _exchanged(h, best, h.lattice.changeable, np.random.default_rng(1))) < 3 * moved.nbytes


def test_orders_of_many_sites_are_found_in_parts(monkeypatch):
    """The same numbers, and no table of all pairs of sites for the sublattices of an order."""
    lattice = Lattice(Primitive(FCC, [[0, 0, 0]], [("Cu", "Au", "Pd")]), (12, 12, 12))
    assert peak(lambda: Frame(lattice, lattice.changeable).sublattices("L1_2")) < 1e7
    rng = np.random.default_rng(0)
    occ = np.where(
        rng.random((7, 1)) < rng.random((7, 1728)), rng.integers(3, size=(7, 1728)), (lattice.offsets % 2).any(1)
    )
    calls = [
        lambda: order.long_range_order(occ == 1, lattice, "L1_0"),
        lambda: order.long_range_order(occ == 1, lattice, (1, 0, 0)),
        lambda: order.structure_amplitudes(occ == 1, lattice, [[0.5, 0, 0], [0, 0, 0]]),
        lambda: (order.sublattice_order(occ[:, None] == np.arange(3)[:, None], lattice, "L1_2") ** 2).sum(1),
    ]
    whole = [call() for call in calls]
    monkeypatch.setattr(order, "CHUNK", 3 * 1728)  # three rows at a time, and one of the three elements
    assert all(call() == pytest.approx(found, abs=2e-5) for call, found in zip(calls, whole, strict=True))


def test_tables_of_a_diagram_are_told_before_work(monkeypatch):
    h, T, mu = enumerable("cuau-2x2x2").hamiltonian, np.array([900.0, 1200.0]), np.zeros((2, 2))
    occ = np.random.default_rng(0).integers(2, size=(2, 200, 8)).astype(np.int8)
    energy = h.energy(occ.reshape(-1, 8)).reshape(2, 200)
    scan = Scan(h, T, mu, occ, energy, log_prob=np.full((2, 200), -8 * np.log(2)))
    assert scan.phase_diagram().table.sizes["T"] == 31
    monkeypatch.setattr(limits, "SMALL", 0)
    monkeypatch.setattr(limits, "available", lambda: 10**5)
    with pytest.raises(
        TooLarge, match=r"got tables of 31 temperatures and 9 compositions with 100 replicas, .* a larger step="
    ):
        scan.phase_diagram()
