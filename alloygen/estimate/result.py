"""A number with its error bar."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """A value and its standard error (one sigma); ``nan`` where no error is known, with the reason in ``note``.

    Printed with the error on the last digits, ``-0.04389(12)`` for -0.04389 +- 0.00012. A format specification
    applies to both numbers: ``f"{estimate:.4f}"`` gives ``-0.0439 ± 0.0001``. ``float(estimate)`` is the value.

    Examples
    --------
    >>> Estimate(-0.043891, 0.000123)
    Estimate(-0.04389(12))
    >>> print(Estimate(600.0, 12.0), f"{Estimate(0.5, 0.01):.3f}", float(Estimate(2.0, 0.1)))
    600(12) 0.500 ± 0.010 2.0
    """

    value: float
    stderr: float
    note: str = ""

    def __post_init__(self):
        object.__setattr__(self, "value", float(self.value))
        object.__setattr__(self, "stderr", float(self.stderr))

    @property
    def low(self) -> float:
        """One standard error below."""
        return self.value - self.stderr

    @property
    def high(self) -> float:
        """One standard error above."""
        return self.value + self.stderr

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        return _compact(self.value, self.stderr)

    def __repr__(self) -> str:
        return f"Estimate({self}{', ' + repr(self.note) if self.note else ''})"

    def __format__(self, spec: str) -> str:
        return f"{self.value:{spec}} ± {self.stderr:{spec}}" if spec else str(self)


def _compact(value: float, stderr: float) -> str:
    """``value(error)`` with two digits of the error; scientific where both numbers are tiny or huge."""
    if not (math.isfinite(value) and math.isfinite(stderr) and stderr > 0):
        return f"{value:.10g}(0)" if stderr == 0 and math.isfinite(value) else f"{value:.10g} ± {stderr:.2g}"
    power = math.floor(math.log10(max(abs(value), stderr)))
    if not -5 < power < 7:
        return f"{_compact(value / 10.0**power, stderr / 10.0**power)}e{power:+03d}"
    digits = 1 - math.floor(math.log10(stderr))
    if round(stderr * 10.0**digits) == 100:  # 0.0996 -> 0.10: one digit fewer
        digits -= 1
    if digits <= 0:
        return f"{round(value, digits):.0f}({round(stderr, digits):.0f})"
    error = f"{stderr:.{digits}f}"
    return f"{value:.{digits}f}({error if float(error) >= 1 else round(stderr * 10.0**digits)})"
