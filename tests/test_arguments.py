"""Checks of arguments: what is taken, and that each refusal names what came."""

import numpy as np
import pytest
import torch

from alloygen.arguments import one_of, positive, seed_from, whole_number
from alloygen.errors import AlloygenError


@pytest.mark.parametrize("value", [5, 5.0, np.int64(5), np.float32(5), np.array(5), torch.tensor(5)])
def test_whole_numbers(value):
    assert whole_number(value, "n") == 5 and type(whole_number(value, "n")) is int


@pytest.mark.parametrize("value", [0, -1, 1.5, float("nan"), float("inf"), None, True, "5", [5], 2j])
def test_what_is_no_whole_number(value):
    with pytest.raises(AlloygenError, match="expected n as a whole number of at least 1, got"):
        whole_number(value, "n")


def test_limits():
    assert whole_number(0, "burn", 0) == 0
    with pytest.raises(AlloygenError, match="from 1 to 4, got 5"):
        whole_number(5, "threads", 1, 4)


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf"), None, True, "1"])
def test_what_is_not_positive(value):
    with pytest.raises(AlloygenError, match="expected spacing as a finite number above 0 nats, got"):
        positive(value, "spacing", "nats")


@pytest.mark.parametrize("value", [-1, 1.5, 2**64, "a", True, float("nan")])
def test_seeds_that_are_none(value):
    with pytest.raises(AlloygenError, match="expected seed as a whole number from 0 to"):
        seed_from(value)


def test_seeds():
    assert seed_from(np.int64(3)) == 3 and seed_from(2**63 - 1) == 2**63 - 1
    assert len({seed_from(None) for _ in range(8)}) == 8


def test_one_of():
    one_of("mc", "method", ("mc", "neural"))
    one_of(None, "refine", (None, "smc"))
    with pytest.raises(AlloygenError, match="expected method as one of 'mc', 'neural', got 'MC'"):
        one_of("MC", "method", ("mc", "neural"))
