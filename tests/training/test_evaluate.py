"""Evaluation: the conditions that a model is judged at, and figures of models of any number of elements."""

import json
import warnings

import numpy as np
import pytest
import torch
from small_systems import enumeration, hamiltonian, randomise

import alloygen
from alloygen.conditions import exchangeable
from alloygen.errors import AlloygenError, BadCondition, CheckpointError, LowSampleSize
from alloygen.models.causal import CausalModel
from alloygen.models.store import save_model
from alloygen.runtime.tensors import read_tensors, write_tensors
from alloygen.testing import SYSTEMS
from alloygen.training import evaluate
from alloygen.training.reference import model_grid, named_grid, reference_samples

MODELS = [name for name in SYSTEMS if hamiltonian(name).n_sites <= 12]


def model(name):
    torch.manual_seed(0)
    return randomise(CausalModel(hamiltonian(name), SYSTEMS[name].ranges(), width=8, depth=1, heads=2), scale=0.05)


@pytest.mark.parametrize("name", MODELS)
def test_the_grid_of_a_model_is_its_own_range(name):
    net = model(name)
    T, mu = model_grid(net).arrays()
    assert [T.min(), T.max()] == list(net.ranges["T"]) and len(set(T)) == 11 and len(T) <= 11 * 9
    ends = np.stack([mu.min(0), mu.max(0)], 1)
    assert ends[0].tolist() == [0, 0] and np.allclose(ends[1:], net.ranges["mu"])


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_a_model_of_any_elements_is_judged(name):
    """Against enumeration and against replica exchange, whatever the number of elements and sublattices."""
    net, h = model(name), hamiltonian(name)
    at = model_grid(net)[::7]
    reference = reference_samples(h, at, 200)
    rows = evaluate.evaluate(net, at, 400, reference=reference)
    for i, row in enumerate(rows):
        exact = enumeration(name).at(enumeration(name).hamiltonian.condition(float(at.T[i]), at.mu[i]))
        assert row.phi_exact == pytest.approx(exact.phi, abs=1e-12)
        withheld = not np.isfinite(row.phi_stderr)  # weights of too heavy a tail
        assert row.ness < 0.2 or withheld or abs(row.phi - exact.phi) < 6 * row.phi_stderr + 1e-6
        assert 0 < row.forward_ness <= 1
        assert (
            abs(reference.energy[i].mean() / h.n_sites - exact.energy)
            < 0.5 * np.std(enumeration(name).energy) / h.n_sites
        )
        assert (
            (set(row.composition) == set(exchangeable(h.lattice))) if isinstance(row.mu, dict) else len(h.elements) <= 3
        )
        assert row.ness < 0.2 or (row.js_composition_weighted < 0.1 and row.js_energy_weighted < 0.2)
    assert 0 < evaluate.summary(rows)["ness_mean"] <= 1


def test_rows_of_a_ternary_are_printed_and_written(tmp_path, capsys):
    net = model("ternary")
    rows = evaluate.evaluate(net, net.hamiltonian.condition([600.0], [0.0, -0.1, 0.02]), 50)
    evaluate.print_table(rows, "eV")
    assert "0.0000/-0.1000/0.0200" in capsys.readouterr().out
    evaluate.write_json(tmp_path / "rows.json", rows)
    assert json.loads((tmp_path / "rows.json").read_text())["rows"][0]["mu"] == {"A": 0.0, "B": -0.1, "C": 0.02}


def test_the_row_of_a_binary_has_the_difference_and_other_elements_are_refused():
    net = alloygen.load("cuau_2x2x4")
    at = net.hamiltonian.condition([600.0], [0.0, 0.02])
    assert evaluate.evaluate(net, at, 50)[0].mu == 0.02
    with pytest.raises(BadCondition, match="expected one chemical potential per element"):
        evaluate.evaluate(model("ternary"), at, 50)


def test_a_published_grid_is_of_its_elements_in_any_order():
    mu = named_grid("cuau", hamiltonian("cuau-2x2x2")).mu
    assert mu.shape == (110, 2) and not mu[:, 0].any()
    with pytest.raises(AlloygenError, match="expected a model of Cu and Au"):
        named_grid("cuau", hamiltonian("ternary"))
    with pytest.raises(AlloygenError, match="expected the grid as one of 'cuau', 'ising'"):
        named_grid("nope", hamiltonian("ternary"))


def test_given_potentials_are_combined():
    T, mu = model_grid(model("ternary"), [500, 700], {"A": 0.3, "C": [0.0, 0.1]}).arrays()
    assert T.tolist() == [500, 500, 700, 700] and mu.tolist() == [[0.3, 0, 0.0], [0.3, 0, 0.1]] * 2


@pytest.mark.parametrize(("bias", "told"), [(8.0, True), (0.0, False)])
def test_a_phase_that_a_model_misses_is_told_by_what_it_was_measured(tmp_path, bias, told):
    """Ising below its Tc without a field: a law that knows one magnetisation alone has a NESS near 1 and Phi off by kT ln 2 / N."""
    h, path = alloygen.ising(4), tmp_path / "law.safetensors"
    net = CausalModel(h, {"T": (1, 4), "mu": [(-1, 1)]}, width=8, depth=1, heads=2)
    with torch.no_grad():
        net.network.head.weight.zero_()
        net.network.head.bias.copy_(torch.tensor([0.0] * h.n_channels + [-bias, bias]))
    save_model(path, net)
    at = h.condition([1.3, 1.5], [0.0, 0.0])
    rows = evaluate.evaluate(net, at, 300, reference=reference_samples(h, at, 200))
    cold = rows[0]
    assert (cold.forward_own < 1e-3) == told == (cold.ness > 0.9 and cold.deviation > 0.05)
    evaluate.keep_measured(path, rows, h)
    assert [row.T for row in alloygen.load(path).trained.measured] == [1.3, 1.5]
    warned = lambda T, **how: [  # noqa: E731
        str(w.message) for w in caught(lambda: alloygen.sample(h, T, {"+": 0.0}, 300, seed=0, sampler=path, **how))
    ]
    assert any("lack a phase" in text and "T = 1.3" in text for text in warned(1.35)) == told
    assert not any("lack a phase" in text for text in (*warned(2.6), *warned(1.35, fixed={0: "+"})))
    scan = caught(lambda: alloygen.scan(h, [1.3, 2.0], {"+": 0.0}, n=300, seed=0, sampler=path))
    assert any("lack a phase" in str(w.message) for w in scan) == told
    broken, meta = read_tensors(path)
    write_tensors(path, broken, {**meta, "forward": [[16, 1.3, [0.0], 2.0, 0.5]]})
    with pytest.raises(CheckpointError, match="figures of a condition"):
        alloygen.load(path)


def caught(call):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        call()
    return [w for w in told if issubclass(w.category, LowSampleSize)]
