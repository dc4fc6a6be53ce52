"""What every Monte Carlo function is handed: Hamiltonians, whole numbers, seeds; refused before any work, in the package's words."""

import numpy as np
import pytest
from ase.build import bulk
from small_systems import grouped

import alloygen.data
from alloygen.edge.problem import Problem
from alloygen.errors import AlloygenError, BadCondition
from alloygen.hamiltonian.ising import ising
from alloygen.montecarlo.annealing import Cooling, anneal
from alloygen.montecarlo.ground_states import ground_states
from alloygen.montecarlo.metadynamics import Stages, metadynamics
from alloygen.montecarlo.sampling import cluster_moves, metropolis, replica_exchange
from alloygen.montecarlo.wang_landau import (
    Bins,
    Schedule,
    multicanonical,
    multicanonical_ensembles,
    wang_landau,
)
from alloygen.runtime.job import Job
from alloygen.testing import random_expansion
from alloygen.testing.systems import FCC

TAKE = {
    "metropolis": lambda h, **kw: metropolis(h, h.condition([2.0]), **{"n": 8, "check": False, **kw}),
    "replica exchange": lambda h, **kw: replica_exchange(h, h.grid([2.0, 3.0]), **{"n": 8, "check": False, **kw}),
    "cluster moves": lambda h, **kw: cluster_moves(h, h.condition([2.0]), **{"n": 8, "check": False, **kw}),
    "Wang-Landau": lambda h, **kw: wang_landau(h, **grouped({"log_f_final": 0.5, **kw}, bins=Bins, schedule=Schedule)),
    "metadynamics": lambda h, **kw: metadynamics(
        h, [3.0], **grouped({"production": 20, "final_height": 0.5, "ladder": (), **kw}, stages=Stages)
    ),
    "anneal": lambda h, **kw: anneal(
        h, **grouped({"T_start": 3.0, "T_end": 1.0, "sweeps": 2, "steps": 2, "restarts": 2, **kw}, cooling=Cooling)
    ),
    "ground states": lambda h, **kw: ground_states(
        h, **grouped({"sweeps": 2, "steps": 2, "restarts": 2, **kw}, cooling=Cooling)
    ),
}
WHOLE = {
    "metropolis": ("n", "sweeps", "copies"), "replica exchange": ("n", "sweeps", "copies"),
    "cluster moves": ("n", "sweeps", "copies"), "Wang-Landau": ("windows", "check", "walkers"),
    "metadynamics": ("walkers", "sweeps"), "anneal": ("sweeps", "steps", "restarts"),
    "ground states": ("sweeps", "steps", "restarts"),
}  # fmt: skip
NO_HAMILTONIANS = {
    "an expansion": (alloygen.data.cuau(), r"got the expansion 'CuAu.*expansion.on\(\(4, 4, 4\)\)"),
    "Atoms": (bulk("Cu"), r"got Atoms.*Problem.of\(atoms, mu\).hamiltonian of alloygen.edge.problem"),
    "a name": ("cuau", "got str"),
}  # fmt: skip


@pytest.mark.parametrize("what", NO_HAMILTONIANS)
@pytest.mark.parametrize("name", ["metropolis", "replica exchange", "cluster moves"])
def test_what_is_no_hamiltonian_is_told(name, what):
    given, says = NO_HAMILTONIANS[what]
    sampler = {"metropolis": metropolis, "replica exchange": replica_exchange, "cluster moves": cluster_moves}[name]
    with pytest.raises(AlloygenError, match=f"expected a Hamiltonian on a supercell, {says}"):
        sampler(given, ising(3).condition(2.0), n=8)


@pytest.mark.parametrize("name, option", [(name, option) for name, options in WHOLE.items() for option in options])
def test_whole_numbers_are_whole_numbers(name, option):
    for bad in (0, -1, 1.5, None, np.nan, np.inf, "two", True):
        with pytest.raises(AlloygenError, match=f"expected {option}.* whole number (of at least|from) 1"):
            TAKE[name](ising(3), **{option: bad})


@pytest.mark.parametrize("name", TAKE)
def test_seeds_follow_the_one_rule(name):
    """Whole numbers up to 2**63 - 1, or None for a fresh one that the result records; the same call gives the same result."""
    for bad in (-1, 1.5, 2**63, "now"):
        with pytest.raises(AlloygenError, match="expected seed as a whole number from 0 to"):
            TAKE[name](ising(3), seed=bad)
    fresh = [TAKE[name](ising(3), seed=None) for _ in range(2)]
    seeds = [getattr(x, "seed", None) if hasattr(x, "seed") else x.info["seed"] for x in fresh]
    assert all(isinstance(s, int) for s in seeds) and seeds[0] != seeds[1]
    again = TAKE[name](ising(3), seed=seeds[0])
    key = next(k for k in ("log_g", "free_energy", "occ") if isinstance(getattr(again, k, None), np.ndarray))
    assert np.array_equal(getattr(again, key), getattr(fresh[0], key), equal_nan=True)
    TAKE[name](ising(3), seed=2**63 - 1)


@pytest.mark.parametrize("name", ["metropolis", "replica exchange", "cluster moves"])
def test_samplers_name_the_option_that_was_meant(name):
    with pytest.raises(AlloygenError, match="got 'sweep'; did you mean sweeps"):
        TAKE[name](ising(3), sweep=3)


@pytest.mark.parametrize("make", [ising(3).condition, ising(3).grid])
def test_conditions_that_are_no_numbers_are_told(make):
    for T, mu in (
        ({"T": 3}, None),
        (["hot"], None),
        ([2.0], {"+": 0.1}),
        ([2.0], "Au"),
        ([np.nan], None),
        ([0.0], None),
    ):
        with pytest.raises(BadCondition, match=r"expected (temperatures|every temperature)"):
            make(T, mu)


@pytest.mark.parametrize(
    "sampler, what", [(metropolis, "Condition"), (replica_exchange, "Grid"), (cluster_moves, "Condition")]
)
def test_numbers_that_are_no_conditions_are_told(sampler, what):
    for wrong in ([2.0, 3.0], 2.0, None, {"T": 2.0}):
        with pytest.raises(BadCondition, match=f"expected a {what}, such as hamiltonian"):
            sampler(ising(3), wrong, n=4)
    three = random_expansion(FCC, [[0, 0, 0]], [("A", "B", "C")], 1).on((2, 2, 1))
    with pytest.raises(BadCondition, match=r"one chemical potential per element \('-', '\+'\), got 3"):
        sampler(ising(3), three.condition(2.0) if what == "Condition" else three.grid(2.0), n=4)


@pytest.mark.parametrize("sampler", [metropolis, replica_exchange])
def test_swaps_take_no_chemical_potentials(sampler):
    run, start = dict(move="swap", n=4, check=False), Problem.of(ising(3), occ=[0] * 4 + [1] * 5)
    make = ising(3).condition if sampler is metropolis else ising(3).grid
    sampler(start, make([2.0], [0.0, 0.0]), **run)
    with pytest.raises(AlloygenError, match='no mu with move="swap"'):
        sampler(start, make([2.0], [0.0, 0.1]), **run)
    with pytest.raises(AlloygenError, match="expected move as one of 'flip', 'swap', got 'turn'"):
        sampler(ising(3), make([2.0]), n=4, move="turn")


@pytest.mark.parametrize("function, option, kind", [
    (wang_landau, "schedule", "Schedule"), (wang_landau, "bins", "Bins"), (metadynamics, "stages", "Stages"), (anneal, "cooling", "Cooling"),
    (ground_states, "cooling", "Cooling"), (ground_states, "job", "Job"),
])  # fmt: skip
def test_records_are_records(function, option, kind):
    T = {"T": 3.0} if function is metadynamics else {}
    with pytest.raises(AlloygenError, match=rf"expected {option} as a {kind}, such as {kind}\(\), got '1/t'"):
        function(ising(3), **T, **{option: "1/t"})


def test_multicanonical_numbers():
    dos = wang_landau(ising(3), schedule=Schedule(log_f_final=0.5))
    for bad in (dict(n=0), dict(n=1.5), dict(n=4, sweeps=0), dict(n=4, seed=-1)):
        with pytest.raises(AlloygenError, match="whole number"):
            multicanonical(dos, **bad)
    assert isinstance(multicanonical_ensembles(dos, 2.0, n=4, seed=None)[0].info["seed"], int)


@pytest.mark.parametrize("name", ["metropolis", "replica exchange", "Wang-Landau", "metadynamics"])
def test_a_checkpoint_that_cannot_be_written_is_told_before_any_work(name, tmp_path, monkeypatch):
    monkeypatch.setattr("alloygen.montecarlo.chains.Chains.step", None)
    with pytest.raises(AlloygenError, match="path of a file"):
        TAKE[name](ising(3), job=Job(checkpoint=tmp_path))
