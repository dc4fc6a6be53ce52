"""The calibration table in short: exact laws handed to the estimators, and a control whose bars are too small."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))

import calibration
from calibrated import exact_draws

from alloygen.estimate.result import Estimate

SEEDS = range(12)


def scored(row, scale: float = 1.0) -> dict:
    """The table's lines of a row, its bars times ``scale``."""
    found = {
        seed: [(q, e.value, scale * e.stderr, true, e.note) for q, e, true in row.run(seed)] for seed in map(int, SEEDS)
    }
    return calibration.scores(found)


@pytest.mark.filterwarnings("ignore::alloygen.errors.LowSampleSize")
@pytest.mark.parametrize("row", exact_draws.ROWS, ids=lambda row: f"{row.system} {row.regime}")
def test_bars_of_exact_draws_hold(row):
    for quantity, s in scored(row).items():
        sampling = 3 / np.sqrt(2 * s["numbers"])  # of a standard deviation of z
        far = round(s["beyond"] * s["numbers"])  # one may be: some thirty lines of two dozen numbers are tried
        assert s["std"] < 1.25 + sampling and far <= max(1, 0.02 * s["numbers"]), (quantity, s)


def test_bars_that_are_too_small_are_seen():
    disordered = next(r for r in exact_draws.ROWS if r.regime == "disordered")
    lines = scored(disordered, 0.5)
    assert all(s["std"] > 1.6 for s in lines.values())
    assert {calibration.verdict(s) for s in lines.values()} == {"too small"}


def test_numbers_withheld_are_counted_and_not_scored():
    told, kept_back = ("energy @300", 1.1, 0.1, 1.0, ""), ("energy @500", 1.1, np.nan, 1.0, "one sample")
    s = calibration.scores({"0": [told, kept_back], "1": [told]})["energy"]
    assert (s["numbers"], round(s["withheld"], 3), round(s["mean"], 9)) == (3, 0.333, 1.0)
    assert calibration.verdict(s | {"withheld": 1.0}) == "withheld"


def test_rows_have_names_of_their_own():
    names = calibration.rows()
    assert all(name.count("|") == 2 for name in names)
    row = replace(exact_draws.ROWS[0], run=lambda seed: [("energy", Estimate(1.0, 0.1), 1.0)])
    assert row.name in names
