"""Training configurations: what ships can be read, and every mistake is named with what was expected."""

import dataclasses

import numpy as np
import pytest

import alloygen
import alloygen.data
from alloygen.errors import AlloygenError, ConfigError
from alloygen.training.config import Config, load_config
from alloygen.training.kinds import CausalConfig, LikelihoodConfig
from alloygen.training.numbers import expand
from alloygen.training.sections import DataConfig, TrainingConfig

GOOD = {"data": {"T": [300, 600], "mu": [0.0]}, "model": {"width": 16, "heads": 2}}
WALK = {
    "conditions": {"T": [300, 600], "mu": [-0.1, 0.1], "n_T": 2, "n_mu": 3},
    "model": {"kind": "arm", "width": 16, "heads": 2},
    "objective": {"kind": "reinforce"},
    "training": {"batch": 12},
}
MAM = {**WALK, "model": {**WALK["model"], "kind": "mam"}, "objective": {"kind": "marginal"}}
SHIPPED = alloygen.data.configurations()


def changed(section, start=GOOD, **values) -> dict:
    return {**start, section: {**start.get(section, {}), **values}}


def walk(section, **values) -> dict:
    return changed(section, WALK, **values)


def mam(section, **values) -> dict:
    return changed(section, MAM, **values)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_configurations_are_valid(name):
    c = load_config(SHIPPED[name])
    assert c.name == name.split("/")[-1]
    if isinstance(c.objective, LikelihoodConfig) and c.system.hamiltonian == "cuau":
        assert np.isclose(expand(c.data.mu), 0.0724).any()  # the CuAu3 window, which a coarse grid steps over
    assert load_config(str(SHIPPED[name])).facts() == c.facts()


def test_there_are_shipped_configurations():
    assert SHIPPED


def test_defaults_and_round_trip():
    c = load_config(GOOD)
    assert isinstance(c, Config) and c.name == "model" and c.training.steps == 1000 and c.system.hamiltonian == "cuau"
    assert load_config(c) is c
    assert load_config(c.to_dict()).facts() == c.facts()


def test_sections_are_frozen_and_checked_when_they_are_made():
    """A record that is wrong cannot be made, from a file or by hand, and no setting is changed afterwards."""
    with pytest.raises(ConfigError, match=r"training.lr: expected a number above 0, got -1.0"):
        TrainingConfig(lr=-1.0)
    with pytest.raises(ConfigError, match=r"data.T: expected temperatures above 0"):
        DataConfig(mu=[0.0])
    with pytest.raises(ConfigError, match=r"expected \[data\], where the objective 'likelihood' learns, got None"):
        Config()
    c = Config(data=DataConfig(T=[300, 600], mu=[0.0]), model=CausalConfig(width=16, heads=2))
    assert c.facts() == load_config(GOOD).facts() and c.source is c.data
    for section in (c, c.data, c.model, c.objective, c.orders, c.training, c.validation, c.machine):
        with pytest.raises(dataclasses.FrozenInstanceError):
            section.seed = 1
        assert len(dataclasses.fields(section)) <= 12
    with pytest.raises(TypeError):
        TrainingConfig(1000)


def test_from_a_file(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text('name = "a"\n[data]\nT = [300, { from = 400, to = 500, step = 50 }]\nmu = [0.1]\n')
    c = load_config(path)
    assert c.name == "a" and expand(c.data.T).tolist() == [300, 400, 450, 500]


def test_fingerprint_ignores_where_a_run_runs_and_nothing_else():
    base = load_config(GOOD).facts()
    for values in ({"threads": 3}, {"device": "cuda"}, {"checkpoint_minutes": 9.0}):
        assert load_config(changed("machine", **values)).facts() == base
    for section, values in [
        ("training", {"lr": 2e-3}),
        ("training", {"seed": 1}),
        ("model", {"width": 32}),
        ("data", {"samples": 7}),
        ("system", {"repeats": [2, 2, 2]}),
    ]:
        assert load_config(changed(section, **values)).facts() != base


def test_fingerprint_sees_the_conditions_that_a_run_walks_through():
    base = load_config(WALK).facts()
    for section, values in [
        ("conditions", {"n_T": 1}),
        ("conditions", {"T": [300, 601]}),
        ("model", {"network": "mlp"}),
        ("training", {"accumulate": 2}),
        ("training", {"minutes": 1.0}),
        ("model", {"kind": "causal"}),
    ]:
        assert load_config(walk(section, **values)).facts() != base


# Every kind with every objective that it is for, and what looks wrong but is not.
ALLOWED = {
    "likelihood of a causal model": changed("model", kind="causal"),
    "likelihood of an arm": changed("model", kind="arm"),
    "likelihood of an mlp": changed("model", kind="arm", network="mlp"),
    "reinforce of an arm": WALK,
    "reinforce of a causal model": walk("model", kind="causal"),
    "reinforce of a painn": walk("model", network="painn", width=15, heads=3),  # heads are of networks that attend
    "an mlp of odd width": walk("model", network="mlp", width=15, heads=3),
    "marginal of a mam": MAM,
    "marginal with two trunks": mam("model", trunks=2),
    "marginal of an mlp": mam("model", network="mlp"),
    "two samples of each condition": walk("training", batch=12),
    "one condition": walk("conditions", n_T=1, n_mu=1, T=[300, 300], mu=[0.1, 0.1]),
    "conditions that stand still": walk("conditions", step_T=0, step_mu=0.0),
    "mu of a ternary": walk("conditions", mu=[[-0.1, 0.1], [0, 0.2]]),
    "no consistency": mam("objective", consistency=0),
    "bf16": walk("training", precision="bf16"),
    "as many parts as samples": walk("training", accumulate=12),
    "a time budget": walk("training", minutes=0.5),
}


@pytest.mark.parametrize("name", ALLOWED)
def test_what_is_allowed(name):
    c = load_config(ALLOWED[name])
    assert load_config(c.to_dict()).facts() == c.facts()


WRONG = {
    "a causal model with the name of a network": (
        walk("model", kind="causal", network="mlp"),
        r"\[model\] expected .*'network'",
    ),
    "consistency of a likelihood": (
        changed("objective", consistency=1.0),
        r"\[objective\] expected the keys .*'consistency'",
    ),
    "data that nobody asks for": (
        {**WALK, "data": GOOD["data"]},
        r"\[conditions\], where .*'reinforce' learns, got '\[data\]'",
    ),
    "conditions that nobody asks for": (
        {**GOOD, "conditions": WALK["conditions"]},
        r"expected \[data\], .*got '\[conditions\]'",
    ),
    "no heads": (changed("model", heads=0), "model.heads: expected an even number"),
    "a word for a number": (changed("model", width="x"), "model.width: expected int"),
    "a number for a list": (changed("data", T=300), "data.T: expected list"),
    "a word for a temperature": (changed("data", T=["hot"]), "expected finite numbers"),
    "nan for mu": (changed("data", mu=[float("nan")]), "expected finite numbers"),
    "two repeats": (changed("system", repeats=[2, 2]), "system.repeats: expected three whole numbers"),
    "no repeats": (changed("system", repeats=[0, 2, 2]), "system.repeats: expected three whole numbers of at least 1"),
    "repeats that are true": (changed("system", repeats=[True, 2, 2]), "system.repeats: expected three whole numbers"),
    "half a matrix of repeats": (changed("system", repeats=[[1, 0, 0], [0, 1, 0]]), "system.repeats"),
    "a learning rate of inf": (changed("training", lr=float("inf")), "training.lr: expected float"),
    "a time budget of nan": (changed("training", minutes=float("nan")), "training.minutes: expected float"),
    "a seed below 0": (changed("training", seed=-1), "training.seed: expected a whole number from 0"),
    "a seed beyond 63 bits": (changed("data", seed=2**63), "data.seed: expected a whole number from 0"),
    "a word for the weight of an order": (changed("orders", weights={"raster": "x"}), "orders: expected weights"),
    "a list for all": ([1], "expected a configuration as the path"),
    "nothing for all": (None, "expected a configuration as the path"),
    "never validated": (changed("validation", every=0), "validation.every: expected at least 1"),
    "a section that is a number": ({**GOOD, "data": 3}, r"expected a section \[data\]"),
    "unknown section": ({**GOOD, "modle": {}}, r"got also \['modle'\]"),
    "unknown key": (changed("training", stpes=10), r"\[training\] expected the keys .*'steps'.* got also \['stpes'\]"),
    "no temperatures": (changed("data", T=[]), "data.T: expected temperatures above 0"),
    "a negative temperature": (changed("data", T=[-1, 300]), "data.T: expected temperatures above 0"),
    "no mu": (changed("data", mu=[]), "data.mu: expected a list"),
    "no samples": (changed("data", samples=0), "samples >= 1"),
    "no sweeps": (changed("data", sweeps=0), "sweeps >= 1"),
    "a table without a step": (changed("data", T=[{"from": 1, "to": 2}]), "from, to and step > 0"),
    "a table without end": (changed("data", T=[{"from": 1, "to": 1e9, "step": 1e-3}]), "at most 100000 numbers"),
    "a table with a negative step": (changed("data", T=[{"from": 1, "to": 2, "step": -1}]), "step > 0"),
    "an unknown model": (
        changed("model", kind="diffusion"),
        r"model.kind: expected one of \('causal', 'local', 'family', 'arm', 'mam'\), got 'diffusion'",
    ),
    "width and heads that do not fit": (changed("model", width=18, heads=4), "multiple of 2 \\* heads = 8, got 18"),
    "odd heads": (changed("model", width=18, heads=3), "model.heads: expected an even number, got 3"),
    "no depth": (changed("model", depth=0), "depth >= 1"),
    "no steps": (changed("training", steps=0), "steps >= 1"),
    "no learning rate": (changed("training", lr=0), "training.lr: expected a number above 0"),
    "an average that never moves": (changed("training", ema=1.0), "training.ema"),
    "known beyond one": (changed("objective", known=1.5), "objective.known"),
    "unknown images": (changed("orders", images="mirror"), "orders: expected images .*'mirror'"),
    "unknown orders": (changed("orders", weights={"spiral": 1.0}), "orders: expected weights"),
    "no orders": (changed("orders", weights={}), "orders: expected weights"),
    "orders of no weight": (changed("orders", weights={"raster": 0.0}), "orders: expected weights"),
    "an unknown objective": (
        changed("objective", kind="score"),
        r"objective.kind: .*'likelihood'.*got 'score'",
    ),
    "an unknown network": (walk("model", network="gnn"), r"model.network: expected one of \('mlp', .*got 'gnn'"),
    "a mam with likelihood": (
        changed("model", kind="mam"),
        "model.kind: expected 'causal' or 'arm', which the objective 'likelihood' is for, got 'mam'",
    ),
    "a mam with reinforce": (walk("model", kind="mam"), "model.kind: .*'reinforce' is for, got 'mam'"),
    "an arm with marginal": (mam("model", kind="arm"), "model.kind: expected 'mam', .*'marginal' is for, got 'arm'"),
    "a causal mlp with marginal": (
        mam("model", kind="causal"),
        "model.kind: expected 'mam'.*got 'causal'",
    ),
    "odd heads of a masked transformer": (walk("model", heads=3), "model.heads: expected an even number, got 3"),
    "width and heads of it": (walk("model", width=18), "model.width: expected a multiple of 2 \\* heads = 4, got 18"),
    "an mlp without width": (walk("model", network="mlp", width=0), "width >= 1"),
    "two trunks of an arm": (walk("model", trunks=2), r"\[model\] expected the keys .*'trunks'"),
    "two trunks of a causal model": (changed("model", trunks=2), r"\[model\] expected the keys .*'trunks'"),
    "three trunks": (mam("model", trunks=3), "model.trunks: .*got 3"),
    "no trunk": (mam("model", trunks=0), "model.trunks: .*got 0"),
    "no radial functions": (walk("model", network="painn", radial=0), "radial >= 1"),
    "an offset beyond the cutoff": (walk("model", network="painn", offset=3.0), "0 <= offset < cutoff, got .*3.0, 2.5"),
    "a negative offset": (walk("model", network="painn", offset=-0.5), "0 <= offset"),
    "reinforce without conditions": (
        {k: v for k, v in WALK.items() if k != "conditions"},
        r"conditions.T: expected \[low, high\] with 0 < low",
    ),
    "marginal without conditions": ({**MAM, "conditions": {}}, "conditions.T"),
    "reinforce with data instead": ({**WALK, "conditions": {}, "data": GOOD["data"]}, "conditions.T"),
    "likelihood without data": ({"model": GOOD["model"]}, r"data.T: expected temperatures above 0, got \[\]"),
    "likelihood with conditions instead": ({**WALK, "objective": {}}, "data.T"),
    "a condition at 0 K": (walk("conditions", T=[0, 600]), "conditions.T: .*0 < low.*got"),
    "conditions upside down": (walk("conditions", T=[600, 300]), "conditions.T: .*low <= high.*600, 300"),
    "one temperature alone": (walk("conditions", T=[600]), "conditions.T"),
    "mu upside down": (walk("conditions", mu=[0.1, -0.1]), "conditions.mu: expected .*low <= high"),
    "no mu to walk in": (walk("conditions", mu=[]), "conditions.mu"),
    "half of a ternary's mu": (walk("conditions", mu=[[-0.1, 0.1], [0.2]]), "conditions.mu"),
    "a word among the ternary's mu": (walk("conditions", mu=[[-0.1, 0.1], [0.2, "x"]]), "conditions.mu"),
    "no conditions at a time": (walk("conditions", n_T=0), "n_T >= 1 and n_mu >= 1"),
    "steps beyond the range": (walk("conditions", step_T=1.5), r"step_T and step_mu in \[0, 1\]"),
    "steps backwards": (walk("conditions", step_mu=-0.1), "step_T and step_mu"),
    "a batch that is not shared out": (
        walk("training", batch=15),
        r"training.batch: expected a multiple of the 6 conditions \(n_T = 2 times n_mu = 3\)",
    ),
    "one sample of each condition": (
        mam("training", batch=6),
        "training.batch: expected at least two samples .*6 cond",
    ),
    "negative minutes": (walk("training", minutes=-1), "training.minutes: expected a number of at least 0, got -1"),
    "unknown precision": (walk("training", precision="fp8"), "training.precision: .*'float32', 'bf16'.*got 'fp8'"),
    "no parts": (walk("training", accumulate=0), "training.accumulate: expected between 1 and the batch of 12, got 0"),
    "more parts than samples": (walk("training", accumulate=13), "training.accumulate"),
    "a negative lambda": (mam("objective", consistency=-1), "objective.consistency: .*at least 0, got -1"),
    "nothing redrawn": (mam("objective", gibbs=0), "objective.gibbs: expected at least 1 site, got 0"),
    "a negative floor of advantages": (walk("objective", advantage_floor=-0.1), "objective.advantage_floor"),
    "a negative weight": (changed("orders", weights={"raster": 2.0, "random": -1.0}), "orders: expected weights"),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_mistakes_are_named(mistake):
    source, match = WRONG[mistake]
    with pytest.raises(ConfigError, match=match) as caught:
        load_config(source)
    assert isinstance(caught.value, AlloygenError)


@pytest.mark.parametrize("name", [
    "", ".", "..", "../x", "../../../x", "/tmp/x", "a/b", "a\\b", ".hidden", "a\nb", "a\0b", "a" * 101, "~", "C:x", 3, None, ["a"],
])  # fmt: skip
def test_a_name_that_leads_out_of_the_folder_of_runs(name, tmp_path, monkeypatch):
    """The run lives in runs/NAME: a configuration from somebody else may not choose another place."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    with pytest.raises(ConfigError, match=r"^name: expected up to 100 letters, digits"):
        load_config({**GOOD, "name": name})
    with pytest.raises(ConfigError, match=r"^name: "):
        alloygen.train(config={**GOOD, "name": name}, progress=False)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a", "b"]


@pytest.mark.parametrize("name", ["a", "Cu-Au 2x2x4 old", "modèle_1.2", "é", "_x", "a" * 100])
def test_names_that_are_good(name):
    assert load_config({**GOOD, "name": name}).name == name


def test_files_that_cannot_be_read(tmp_path):
    for nowhere in (tmp_path / "nowhere.toml", tmp_path):
        with pytest.raises(ConfigError, match="found no file"):
            load_config(nowhere)
    (tmp_path / "latin.toml").write_bytes(b'name = "\xe9"')
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "latin.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("[data\nT = 3")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(broken)


@pytest.mark.parametrize(
    "values, expected",
    [
        ([3, 1, 2, 2.0], [1, 2, 3]),
        ([{"from": -0.1, "to": 0.1, "step": 0.05}], [-0.1, -0.05, 0, 0.05, 0.1]),
        ([0.0724, {"from": 0, "to": 0.1, "step": 0.1}], [0, 0.0724, 0.1]),
        ([{"from": 2, "to": 2, "step": 1}], [2]),
    ],
)
def test_lists_and_tables_of_numbers(values, expected):
    assert expand(values).tolist() == expected
