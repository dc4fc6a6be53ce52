"""Fixtures that the whole suite shares; the systems themselves are in small_systems.py."""

import pytest
import small_systems
import torch


@pytest.fixture(autouse=True)
def _one_thread():
    """Small tensors are faster on one thread, and sums come out the same everywhere."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=list(small_systems.SYSTEMS))
def system(request) -> str:
    """The name of every small system in turn."""
    return request.param
