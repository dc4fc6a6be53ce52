"""One record for T and mu: what it is for one condition, for a batch, and what it refuses."""

import numpy as np
import pytest
import torch
from small_systems import generator, hamiltonian

from alloygen.conditions import Grid
from alloygen.conditions.record import Condition
from alloygen.errors import BadCondition


@pytest.mark.parametrize("name", ["ising-3", "cuau-2x2x2", "ternary", "two-sublattice"])
def test_reduced_energies_are_those_written_out(name):
    h = hamiltonian(name)
    occ, T = h.random(6, generator()), np.linspace(1.0, 3.0, 6) / h.kB
    mu = torch.randn(6, len(h.elements), generator=generator(1), dtype=torch.float64)
    at = h.condition(T, mu)
    by_hand = [
        (float(h.energy(x[None])) - float(h.counts(x[None])[0] @ m)) / (h.kB * t)
        for x, t, m in zip(occ, T, mu, strict=True)
    ]
    torch.testing.assert_close(h.reduced_energy(occ, at), torch.tensor(by_hand, dtype=torch.float64))
    as_arrays = at.reduced(h.energy(occ).numpy(), h.counts(occ).numpy())
    np.testing.assert_allclose(as_arrays, h.reduced_energy(occ, at).numpy(), rtol=1e-14)
    alone = torch.cat([h.reduced_energy(x[None], one) for x, one in zip(occ, at, strict=True)])
    assert torch.equal(alone, h.reduced_energy(occ, at))
    turned = h.reduced_energy(occ, h.condition(T, -mu))  # negative control
    assert (turned - h.reduced_energy(occ, at)).abs().max() > 0.1


def test_one_stands_for_all_rows():
    one = Condition(2.0, [0.0, 0.5], 1.0)
    for rows in (one.expand(3), Condition([2.0] * 3, [0.0, 0.5], 1.0), Condition(2.0, [[0.0, 0.5]] * 3, 1.0)):
        assert len(rows) == 3 and rows.T.dtype == rows.mu.dtype == torch.float64
        assert rows.T.tolist() == [2.0] * 3 and rows.mu.tolist() == [[0.0, 0.5]] * 3
        assert rows.beta.tolist() == [0.5] * 3 and rows[1].mu.tolist() == [0.0, 0.5]
        assert [x.tolist() for x in rows.arrays()] == [rows.T.tolist(), rows.mu.tolist()]
    assert one.at([1.0, 4.0]).T.tolist() == [1.0, 4.0] and one.at(3.0).mu.tolist() == [0.0, 0.5]


def test_rows_go_together():
    rows = Condition([1.0, 2.0, 3.0], [[0.0, 0.1], [0.0, 0.2], [0.0, 0.3]], 1.0)
    for pick in (slice(1, None), torch.tensor([1, 2]), torch.tensor([False, True, True])):
        assert rows[pick].T.tolist() == [2.0, 3.0] and rows[pick].mu[:, 1].tolist() == [0.2, 0.3]
    assert [float(c.T) for c in rows] == [1.0, 2.0, 3.0]


def test_it_keeps_no_array_of_the_caller():
    T, mu = np.array([1.0, 2.0]), np.zeros((2, 2))
    at = Condition(T, mu, 1.0)
    T[:], mu[:] = 9.0, 9.0
    assert at.T.tolist() == [1.0, 2.0] and not at.mu.any()
    with pytest.raises(AttributeError):
        at.T = torch.ones(2)


@pytest.mark.parametrize("T, mu, says", [
    (0.0, [0.0, 0.1], "temperature above 0"), ([1.0, -1.0], [0.0, 0.1], "temperature above 0"), (np.nan, [0.0, 0.1], "temperature above 0"),
    (1.0, [0.0, np.nan], "finite"), ([1.0, 2.0], [[0.0, 0.1]] * 3, "one T"), (1.0, 0.1, "one T"), ([[1.0]], [0.0, 0.1], "one T"),
    (1.0, {"Au": 0.1}, "as numbers"), ("hot", [0.0, 0.1], "as numbers"),
])  # fmt: skip
def test_what_is_no_condition_is_refused(T, mu, says):
    with pytest.raises(BadCondition, match=says):
        Condition(T, mu, 1.0)


def test_an_infinite_temperature_weighs_all_states_alike():
    at = Condition([1.0, np.inf], [[0.0, 0.5]], 1.0)
    assert at.beta.tolist() == [1.0, 0.0] and at.mu.tolist() == [[0.0, 0.5]] * 2
    assert at.reduced(torch.tensor([3.0, 3.0]), torch.tensor([[1.0, 2.0]] * 2)).tolist() == [2.0, 0.0]


def test_a_single_one_and_rows():
    one = Condition(2.0, [0.0, 0.5], 1.0)
    rows = Condition([1.0, 2.0], [[0.0, 0.5], [0.0, -0.5]], 1.0)
    assert len(one.rows) == 1 and rows.rows is rows
    assert rows[[1, 0]].T.tolist() == [2.0, 1.0] and one.words == "T = 2, mu = [0.0, 0.5]"
    for wrong in (600.0, None, (600.0, [0.0, 0.1])):
        with pytest.raises(BadCondition, match="expected a Condition, such as"):
            hamiltonian("cuau-2x2x2").require(wrong, Condition)
        with pytest.raises(BadCondition, match="expected a Grid, such as"):
            hamiltonian("cuau-2x2x2").require(wrong, Grid)


def test_elements_are_counted_and_a_single_one_has_no_rows():
    with pytest.raises(BadCondition, match=r"one chemical potential per element \('Cu', 'Au'\), got 3"):
        hamiltonian("cuau-2x2x2").condition(600.0, [0.0, 0.1, 0.2])
    with pytest.raises(BadCondition, match="expand"):
        len(Condition(1.0, [0.0], 1.0))
