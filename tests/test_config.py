"""Training configurations: what ships can be read, and every mistake is named with what was expected."""

import json

import numpy as np
import pytest

import alloygen.data
from alloygen.config import Config, expand, load_config
from alloygen.errors import AlloygenError, ConfigError

GOOD = {"data": {"T": [300, 600], "mu": [0.0]}, "model": {"width": 16, "heads": 2}}
SHIPPED = alloygen.data.configurations()


def changed(section, **values) -> dict:
    return {**GOOD, section: {**GOOD.get(section, {}), **values}}


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_configurations_are_valid(name):
    c = load_config(SHIPPED[name])
    assert c.name == name.split("/")[-1]
    if c.training.objective == "likelihood" and c.system.hamiltonian == "cuau":
        assert np.isclose(expand(c.data.mu), 0.0724).any()  # the CuAu3 window, which a coarse grid steps over
    assert load_config(str(SHIPPED[name])).fingerprint == c.fingerprint


def test_there_are_shipped_configurations():
    assert SHIPPED


def test_defaults_and_round_trip():
    c = load_config(GOOD)
    assert isinstance(c, Config) and c.name == "model" and c.training.steps == 1000 and c.system.hamiltonian == "cuau"
    assert load_config(c) is c
    assert load_config(c.to_dict()).fingerprint == c.fingerprint
    json.loads(c.fingerprint)


def test_from_a_file(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text('name = "a"\n[data]\nT = [300, { from = 400, to = 500, step = 50 }]\nmu = [0.1]\n')
    c = load_config(path)
    assert c.name == "a" and expand(c.data.T).tolist() == [300, 400, 450, 500]


def test_fingerprint_ignores_where_a_run_runs_and_nothing_else():
    base = load_config(GOOD).fingerprint
    for values in ({"threads": 3}, {"device": "cuda"}, {"checkpoint_minutes": 9.0}):
        assert load_config(changed("training", **values)).fingerprint == base
    for section, values in [("training", {"lr": 2e-3}), ("training", {"seed": 1}), ("model", {"width": 32}),
                            ("data", {"samples": 7}), ("system", {"repeats": [2, 2, 2]})]:
        assert load_config(changed(section, **values)).fingerprint != base


WRONG = {
    "no heads": (changed("model", heads=0), "model.heads: expected an even number"),
    "a word for a number": (changed("model", width="x"), "model.width: expected int"),
    "a number for a list": (changed("data", T=300), "data.T: expected list"),
    "a word for a temperature": (changed("data", T=["hot"]), "expected finite numbers"),
    "nan for mu": (changed("data", mu=[float("nan")]), "expected finite numbers"),
    "two repeats": (changed("system", repeats=[2, 2]), "system.repeats: expected three whole numbers"),
    "never validated": (changed("training", validate_every=0), "training.validate_every: expected at least 1"),
    "a section that is a number": ({**GOOD, "data": 3}, r"expected a section \[data\]"),
    "unknown section": ({**GOOD, "modle": {}}, r"got also \['modle'\]"),
    "unknown key": (changed("training", stpes=10), r"\[training\] expected the keys .*'steps'.* got also \['stpes'\]"),
    "no temperatures": (changed("data", T=[]), "data.T: expected temperatures above 0"),
    "a negative temperature": (changed("data", T=[-1, 300]), "data.T: expected temperatures above 0"),
    "no mu": (changed("data", mu=[]), "data.mu: expected a list"),
    "no samples": (changed("data", samples=0), "samples >= 1"),
    "no sweeps": (changed("data", sweeps=0), "sweeps >= 1"),
    "a table without a step": (changed("data", T=[{"from": 1, "to": 2}]), "from, to and step > 0"),
    "a table with a negative step": (changed("data", T=[{"from": 1, "to": 2, "step": -1}]), "step > 0"),
    "an unknown model": (changed("model", kind="diffusion"), "model.kind: expected 'causal', got 'diffusion'"),
    "width and heads that do not fit": (changed("model", width=18, heads=4), "multiple of 2 \\* heads = 8, got 18"),
    "odd heads": (changed("model", width=18, heads=3), "model.heads: expected an even number, got 3"),
    "no depth": (changed("model", depth=0), "depth >= 1"),
    "no steps": (changed("training", steps=0), "steps >= 1"),
    "no learning rate": (changed("training", lr=0), "training.lr: expected a number above 0"),
    "an average that never moves": (changed("training", ema=1.0), "training.ema"),
    "known beyond one": (changed("training", known=1.5), "training.known"),
    "unknown images": (changed("training", images="mirror"), "training.images.*'mirror'"),
    "unknown orders": (changed("training", orders={"spiral": 1.0}), "training.orders"),
    "no orders": (changed("training", orders={}), "training.orders"),
    "orders of no weight": (changed("training", orders={"raster": 0.0}), "training.orders"),
    "a negative weight": (changed("training", orders={"raster": 2.0, "random": -1.0}), "training.orders"),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_mistakes_are_named(mistake):
    source, match = WRONG[mistake]
    with pytest.raises(ConfigError, match=match) as caught:
        load_config(source)
    assert isinstance(caught.value, AlloygenError)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match="found no file"):
        load_config(tmp_path / "nowhere.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("[data\nT = 3")
    with pytest.raises(ConfigError, match="syntax error"):
        load_config(broken)


@pytest.mark.parametrize("values, expected", [
    ([3, 1, 2, 2.0], [1, 2, 3]),
    ([{"from": -0.1, "to": 0.1, "step": 0.05}], [-0.1, -0.05, 0, 0.05, 0.1]),
    ([0.0724, {"from": 0, "to": 0.1, "step": 0.1}], [0, 0.0724, 0.1]),
    ([{"from": 2, "to": 2, "step": 1}], [2]),
])
def test_lists_and_tables_of_numbers(values, expected):
    assert expand(values).tolist() == expected
