"""Statistical inefficiency against processes whose value is known."""

import numpy as np
import pytest

from alloygen.montecarlo.diagnostics import inefficiency


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_first_order_autoregression(rho):
    rng = np.random.default_rng(1)
    x = np.zeros(40_000)
    for k in range(1, len(x)):
        x[k] = rho * x[k - 1] + rng.normal()
    exact = (1 + rho) / (1 - rho)
    assert inefficiency(x) == pytest.approx(exact, rel=0.15)
    assert inefficiency(rng.permutation(x)) == pytest.approx(1.0, abs=0.15)  # shuffled: the memory is gone


def test_a_constant_series_has_no_correlation():
    assert inefficiency(np.ones(100)) == 1.0
