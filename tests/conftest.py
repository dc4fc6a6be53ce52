"""Fixtures that the whole suite shares; the systems themselves are in alloygen.testing."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:  # workers share the cores: one thread for each, and for what it starts
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

import alloygen.data
from alloygen.montecarlo.annealing import Cooling
from alloygen.montecarlo.ground_states import ground_states
from alloygen.testing import SYSTEMS

# For speed alone, small tensors being faster so: where a number is given the suite passes on that many.
if "OMP_NUM_THREADS" not in os.environ:
    torch.set_num_threads(1)


LAWS = ("cuau", "ising", "fcc_binary", "bcc_binary", "square")


@pytest.fixture(params=list(SYSTEMS))
def system(request) -> str:
    """The name of every small system in turn."""
    return request.param


@pytest.fixture(autouse=True)
def no_models_of_the_user(monkeypatch) -> None:
    """What somebody keeps at home decides no test."""
    monkeypatch.setattr("alloygen.data.OWN", "/nowhere/models")


@pytest.fixture
def models_of_one_cell(monkeypatch) -> None:
    """Of the models that ship those of one supercell alone, as for an alloy without a law of every supercell."""
    every = alloygen.data.checkpoints()
    monkeypatch.setattr("alloygen.data.checkpoints", lambda: {k: v for k, v in every.items() if k not in LAWS})


@pytest.fixture(scope="session")
def cuau_states():
    """The ground states of CuAu on 4x4x4 at every composition."""
    return ground_states(alloygen.data.cuau().on((4, 4, 4)), cooling=Cooling(sweeps=5, restarts=4), seed=1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The notebooks first, which take longest: no worker is left with one when the others have nothing more to do."""
    items.sort(key=lambda item: "test_tutorials" not in item.nodeid)
