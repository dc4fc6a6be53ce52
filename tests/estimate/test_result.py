"""How an estimate prints."""

import math

import pytest

from alloygen.estimate.result import Estimate


@pytest.mark.parametrize(
    "value, stderr, text",
    [
        (-0.043891, 0.000123, "-0.04389(12)"),
        (-0.043891, 0.0000996, "-0.04389(10)"),
        (0.5, 0.02, "0.500(20)"),
        (3.14159, 1.25, "3.1(1.2)"),
        (2.5, 0.6455, "2.50(65)"),
        (0.999, 0.0996, "1.00(10)"),
        (9.96, 9.96, "10(10)"),
        (600.0, 12.0, "600(12)"),
        (12345.0, 678.0, "12340(680)"),
        (3.0e-9, 1.2e-10, "3.00(12)e-09"),
        (4.2e12, 1e10, "4.200(10)e+12"),
        (0.0, 0.011, "0.000(11)"),
        (0.25, 0.0, "0.25(0)"),
    ],
)
def test_two_digits_of_the_error(value, stderr, text):
    assert str(Estimate(value, stderr)) == text
    assert f"{Estimate(value, stderr)}" == text


def test_no_error_bar_says_so():
    e = Estimate(1.5, math.nan, "one sample")
    assert "nan" in str(e) and "one sample" in repr(e)


def test_numbers_and_formats():
    e = Estimate(2, 0.5)
    assert float(e) == 2.0 and (e.low, e.high) == (1.5, 2.5)
    assert f"{e:.2f}" == "2.00 ± 0.50"
    assert isinstance(e.value, float)
    with pytest.raises(AttributeError):
        e.value = 1.0
