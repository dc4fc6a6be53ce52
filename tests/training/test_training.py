"""The training loop: it learns, it resumes bit for bit, and nothing that goes wrong loses what was saved."""

import itertools
import json
import re
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_systems import awaken, generator, hamiltonian, randomise, recipe, same_weights

from alloygen.errors import AlloygenError, CheckpointError, ConfigError, LatticeMismatch
from alloygen.exact.enumeration import Enumeration
from alloygen.generate.outpaint import Outpainter
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.hamiltonian.ising import ising
from alloygen.hamiltonian.source import expansion_from
from alloygen.models.base import path_log_prob
from alloygen.models.causal import CausalModel
from alloygen.models.store import load_model
from alloygen.objectives import marginal, reinforce
from alloygen.objectives.likelihood import heat_bath, likelihood
from alloygen.orders import Orders
from alloygen.runtime.tensors import read_tensors, write_tensors
from alloygen.testing import SYSTEMS, random_expansion
from alloygen.testing.systems import FCC
from alloygen.training import loop, tasks
from alloygen.training.config import load_config
from alloygen.training.dataset import Dataset, GrownDataset, make_data, make_grown_data
from alloygen.training.loop import Trainer, TrainingInterrupted, new_model, train
from alloygen.training.task import spread_over
from alloygen.training.tasks import Likelihood, make_task

BASE = {
    "name": "tiny",
    "system": {"hamiltonian": "cuau", "repeats": [2, 2, 2]},
    "data": {"T": [500, 900], "mu": [-0.04, 0.03, 0.07], "samples": 32, "sweeps": 5, "burn": 20},
    "model": {"width": 16, "depth": 1, "heads": 2},
    "objective": {"known": 0.5},
    "orders": {"weights": {"sublattice": 1.0, "random": 1.0}},
    "training": {"steps": 30, "batch": 32, "lr": 3e-3, "warmup": 3, "ema": 0.9},
    "validation": {"every": 15},
    "machine": {"threads": 1},
}


def config(**changes) -> dict:
    return recipe(BASE, **changes)


def asked(c: dict) -> tuple:
    """What a data set wants to know of a configuration to make a batch."""
    c = load_config(c)
    return c.training.batch, c.orders, c.objective


def log(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing disturbed: its checkpoint."""
    return train(config(), tmp_path_factory.mktemp("whole"), progress=False)


@pytest.mark.slow
def test_a_run_writes_what_it_says(whole):
    folder = whole.parent
    assert sorted(p.name for p in folder.iterdir()) == [
        "data.safetensors",
        "log.jsonl",
        "model.safetensors",
        "state.safetensors",
    ]
    lines = log(folder)
    assert [x["step"] for x in lines] == [15, 30]
    for x in lines:
        assert 0 < x["ness_min"] <= x["ness"] <= 1 and x["loss"] > 0 and x["seconds"] >= 0
    model = load_model(whole)
    assert model.metadata["steps"] == 30 and model.name == model.trained.name == "tiny"
    assert model.trained.orders == Orders(weights={"sublattice": 1.0, "random": 1.0})
    assert model.metadata["config"]["training"]["lr"] == 3e-3
    assert model.ranges == {"T": [500.0, 900.0], "mu": [[-0.04, 0.07]]}


@pytest.mark.slow
def test_training_learns(tmp_path):
    """The averaged model beats the bare physics on a batch that it was not trained on, and in NESS."""
    c, fresh = load_config(config(steps=150, lr=1e-2, warmup=10, known=0.0)), config(batch=512, known=0.0)
    h = expansion_from("cuau").on((2, 2, 2))
    task = Likelihood(c, make_data(h, c, tmp_path / "data.safetensors", progress=False))
    trainer = Trainer(c, new_model(c, h), task)
    held_out = task.dataset.batch(*asked(fresh), torch.Generator().manual_seed(9))

    def figures() -> tuple[torch.Tensor, float]:
        with trainer.averaged() as model, torch.no_grad():
            loss, _ = likelihood(model, **vars(held_out))
        return loss, trainer.validate()["ness"]

    before, ness_before = figures()
    losses = [trainer.advance() for _ in range(150)]
    after, ness_after = figures()
    gain = before - after
    assert gain.mean() > 5 * gain.std() / len(gain) ** 0.5
    assert ness_after > ness_before + 0.05
    assert all(x > 0 for x in losses)


@pytest.mark.parametrize("name", ["cuau-2x2x2", "cuau-skew", "many-body", "ising-3"])
def test_batches_hold_symmetry_images_of_the_samples(name):
    """Each row is a sample of its own condition, moved by what leaves the energy alone (not all that the lattice has)."""
    h, at = hamiltonian(name), SYSTEMS[name].conditions()
    occ = torch.stack([h.random(3, generator(c)) for c in range(len(at))])
    dataset = Dataset(h, at, occ.to(torch.int8), floor=0.5)
    batch = dataset.batch(*asked(config(batch=400, label_images="none")), generator())
    here = (at.T == batch.condition.T[:, None]) & (at.mu == batch.condition.mu[:, None]).all(2)
    row = here.int().argmax(1).tolist()
    gap = (h.energy(batch.occ)[:, None] - h.energy(occ.flatten(0, 1)).view(len(at), 3)[row]).abs().amin(1)
    assert gap.max() < 1e-9
    assert set(row) == set(range(len(at)))
    assert len({tuple(x) for x in batch.occ.tolist()}) > 2 * occ.flatten(0, 1).shape[0]  # moved
    shares_all = len(dataset.moves[0]) == len(h.lattice.point_operations)
    assert shares_all == (name != "many-body") and len(dataset.moves[0]) >= 1
    labels = heat_bath(h, batch.occ, batch.condition)
    labels = torch.gather(labels, 1, batch.order[..., None].expand(-1, -1, labels.shape[2]))
    torch.testing.assert_close(batch.labels, labels)
    averaged = dataset.batch(*asked(config(batch=400, label_images="all")), generator()).labels
    assert averaged.shape == labels.shape and not torch.allclose(averaged, labels)
    torch.testing.assert_close(averaged.sum(2), torch.ones(400, h.n_sites).double())
    front = torch.gather(batch.given, 1, batch.order).int()
    assert (front.diff(dim=1) <= 0).all() and 0 < front.sum() < front.numel()  # known sites come first


@pytest.mark.parametrize("name", ["cuau-2x2x2", "ising-3"])
def test_the_rest_is_equilibrated_round_foreign_known_sites(name):
    """Known species that the law hardly ever has, and every free site by the exact conditional given them."""
    h, n = hamiltonian(name), 3000
    at = SYSTEMS[name].conditions()
    at = at[:1].at(1.5 * at.T[:1])
    dataset = Dataset(h, at, torch.zeros(1, 1, h.n_sites, dtype=torch.int8), floor=0.5)  # one sample: all sites alike
    e, settings = Enumeration(h), asked(config(batch=n, known=1.0, foreign=1.0, label_images="none"))
    u = (np.asarray(e.energy) - np.asarray(e.counts) @ at.mu[0].numpy()) / float(at.kT)
    occ, z, plain = e.occ, [], []
    for seed in range(8):
        batch = dataset.batch(*settings, generator(seed))
        held = batch.given[0].numpy()
        assert (batch.given == batch.given[0]).all()
        front = torch.gather(batch.given, 1, batch.order).int()
        assert (front.diff(dim=1) <= 0).all()
        for pattern in np.unique(batch.occ.numpy()[:, held], axis=0)[:3]:
            ours = batch.occ.numpy()[(batch.occ.numpy()[:, held] == pattern).all(1)]
            same = (occ[:, held] == pattern).all(1)
            if held.all() or len(ours) < 100:
                continue
            for law, found in ((np.where(same, np.exp(-u), 0), z), (np.exp(-u), plain)):
                mean = law @ occ / law.sum()
                free = ~held & (mean * (1 - mean) > 1e-2)
                found.extend((ours.mean(0) - mean)[free] / np.sqrt((mean * (1 - mean))[free] / len(ours)))
    assert len(z) > 20 and 0.6 < np.std(z) < 1.4 and np.abs(z).max() < 5
    assert np.std(plain) > 2  # negative control: it is not the law without the known sites
    dataset.batch(*asked(config(batch=8, known=1.0, foreign=0.5)), generator(99))


def test_steps_of_known_sites_count_where_marginals_are_learned():
    h, at = hamiltonian("cuau-2x2x2"), SYSTEMS["cuau-2x2x2"].conditions()
    dataset = Dataset(h, at, torch.zeros(len(at), 1, 8, dtype=torch.int8), floor=0.5)
    counted = [dataset.batch(*asked(config(batch=200, known=1.0, **k)), generator()) for k in ({}, {"marginals": True})]
    assert counted[0].given.any() and not counted[1].given.any() and torch.equal(counted[0].order, counted[1].order)
    mixed = dataset.batch(*asked(config(batch=200, known=0.5, foreign=0.5, marginals=True)), generator(1))
    assert not mixed.given[50:].any()


@pytest.mark.parametrize("repeats, times", [((2, 2, 4), (1, 1, 2)), ((2, 2, 4), (2, 2, 1))])
def test_windows_of_a_larger_cell_as_painting_meets_them(repeats, times):
    """Windows of every stride, decided sites first, labels the heat bath of the larger cell; and the loss is the likelihood of what is new."""
    expansion = hamiltonian("cuau-2x2x2").expansion
    source, large = expansion.on(repeats), expansion.on(tuple(a * b for a, b in zip(repeats, times, strict=True)))
    at = large.condition([500.0, 900.0], [[0.0, 0.03], [0.0, -0.02]])
    occ = torch.stack([large.random(3, generator(c)) for c in range(2)]).to(torch.int8)
    data = GrownDataset(source.lattice, large, at, occ, floor=0.5)
    for sites, decided in zip(data.sites, data.decided, strict=True):
        assert len(set(sites.tolist())) == source.n_sites and not decided[sites].all()
    met = {tuple(d.tolist()) for d in data.decided}
    assert (np.zeros(large.n_sites, dtype=bool) == np.array(sorted(met))[0]).all() and len(met) > 2
    batch = data.batch(*asked(config(batch=300)), generator())
    assert batch.order.shape == (300, source.n_sites) and batch.labels.shape[:2] == (300, source.n_sites)
    front = torch.gather(batch.given, 1, batch.order).int()
    assert (front.diff(dim=1) <= 0).all() and torch.equal(batch.known >= 0, batch.given)
    assert (batch.known[batch.given] == batch.occ[batch.given]).all()
    full = heat_bath(large, batch.occ, batch.condition)
    torch.testing.assert_close(
        batch.labels, torch.gather(full, 1, batch.order[..., None].expand(-1, -1, full.shape[2]))
    )
    model = CausalModel(source, {"T": [400, 1000], "mu": [[-0.1, 0.1]]}, width=16, depth=1, heads=2)
    stage = model.stage(large)
    loss, _ = likelihood(model, batch.occ, batch.condition, batch.order, None, batch.given, batch.known, stage)
    logp = model.log_conditionals(batch.occ, batch.condition, batch.order, batch.known, stage)
    again = -path_log_prob(logp, batch.occ, batch.order, batch.known)
    torch.testing.assert_close(loss, again)
    painter = Outpainter(model, large, physics=True)
    row = next(k for k in range(300) if batch.given[k].any())
    pick = (data.decided == batch.given[row]).all(1) & (
        torch.sort(data.sites, 1).values == torch.sort(batch.order[row]).values
    ).all(1)
    window = data.sites[pick][0]
    ours = painter.window_log_prob(
        window,
        batch.order[row][None],
        batch.occ[row][None],
        batch.known[row][None],
        batch.condition[row],
    )
    assert float(ours) == pytest.approx(-float(again[row].detach()), abs=1e-4)


@pytest.mark.slow
def test_windows_of_a_larger_cell_are_learned(tmp_path):
    """They are likelier after training than before it, the run resumes bit for bit, and bad settings are told."""
    made = config(steps=40, grown=0.5, data={"grown": [1, 1, 2]}) | {"orders": {}}
    made["system"] = {"hamiltonian": "cuau", "repeats": [2, 2, 4]}
    whole = train(made, tmp_path / "a", progress=False)
    assert (tmp_path / "a" / "grown.safetensors").exists()
    with pytest.raises(TrainingInterrupted):
        train(made, tmp_path / "b", progress=False, stop_at=17)
    assert same_weights(train(made, tmp_path / "b", progress=False), whole)
    c = load_config(made)
    h = expansion_from("cuau").on([2, 2, 4])
    batch = vars(make_grown_data(h, c, tmp_path / "a" / "grown.safetensors", False).batch(*asked(made), generator(5)))
    losses = []
    for model in (new_model(c, h), load_model(whole)):
        with torch.no_grad():
            losses.append(
                float(likelihood(model, **batch, stage=model.stage(expansion_from("cuau").on([2, 2, 8])))[0].mean())
            )
    assert losses[1] < losses[0] - 0.05
    for wrong, says in (({"objective": {**made["objective"], "grown": 2.0}}, "objective.grown"), ({"data": {**BASE["data"], "grown": [2, 2]}}, "data.grown"),
                        ({"data": BASE["data"]}, "data.grown where it is not 0"), ({"model": {"kind": "arm", "network": "mlp"}}, "causal")):  # fmt: skip
        with pytest.raises(ConfigError, match=says):
            load_config({**made, **wrong})


@pytest.mark.slow
def test_half_and_half_is_the_whole_bit_for_bit(whole, tmp_path):
    with pytest.raises(TrainingInterrupted, match="saved at step 13 of 30"):
        train(config(), tmp_path, progress=False, stop_at=13)
    assert not (tmp_path / "model.safetensors").exists()
    path = train(config(), tmp_path, progress=False)
    assert same_weights(path, whole)
    assert same_weights(tmp_path / "state.safetensors", whole.parent / "state.safetensors")
    ours, theirs = log(tmp_path), log(whole.parent)
    assert [x["ness"] for x in ours] == [x["ness"] for x in theirs]


def test_a_resumed_run_keeps_its_number_of_threads(tmp_path, monkeypatch):
    """Unless the configuration names another; the caller's own number is as before."""
    advance, seen, before = Trainer.advance, [], torch.get_num_threads()

    def counted(self):
        seen.append(torch.get_num_threads())
        return advance(self)

    monkeypatch.setattr(Trainer, "advance", counted)
    try:
        for stop, threads, there in ((2, 0, 2), (4, 0, 1), (6, 3, 1)):
            torch.set_num_threads(there)
            with pytest.raises(TrainingInterrupted):
                train(config(threads=threads), tmp_path, progress=False, stop_at=stop)
            assert torch.get_num_threads() == there
    finally:
        torch.set_num_threads(before)
    assert seen == [2, 2, 2, 2, 3, 3]


@pytest.mark.slow
def test_another_seed_is_another_run(whole, tmp_path):
    """Negative control of the comparison above."""
    assert not same_weights(train(config(seed=1), tmp_path, progress=False), whole)


@pytest.mark.slow
def test_ctrl_c_saves_and_the_same_call_goes_on(whole, tmp_path, monkeypatch):
    advance, before = Trainer.advance, signal.getsignal(signal.SIGINT)

    def pressed(self):
        loss = advance(self)
        if self.step == 7:
            signal.raise_signal(signal.SIGINT)
        return loss

    with monkeypatch.context() as m:
        m.setattr(Trainer, "advance", pressed)
        with pytest.raises(TrainingInterrupted, match=r"saved at step 7 of 30.*resumes it"):
            train(config(), tmp_path, progress=False)
    assert signal.getsignal(signal.SIGINT) is before
    assert read_tensors(tmp_path / "state.safetensors")[1]["progress"]["step"] == 7
    assert same_weights(train(config(), tmp_path, progress=False), whole)


def test_a_second_ctrl_c_stops_at_once(tmp_path, monkeypatch):
    def pressed_twice(self):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Trainer, "advance", pressed_twice)
    with pytest.raises(KeyboardInterrupt):
        train(config(), tmp_path, progress=False)
    assert not (tmp_path / "state.safetensors").exists()


def test_state_of_another_configuration_is_refused(tmp_path):
    with pytest.raises(TrainingInterrupted):
        train(config(), tmp_path, progress=False, stop_at=2)
    with pytest.raises(CheckpointError, match=r"training.lr: expected 0.001, got .*resume=False"):
        train(config(lr=1e-3), tmp_path, progress=False)
    with pytest.raises(TrainingInterrupted, match="saved at step 1 of 30"):
        train(config(lr=1e-3), tmp_path, progress=False, resume=False, stop_at=1)


def test_a_run_on_other_data_is_refused(tmp_path):
    """The configuration is the same, the samples are not: what was learned from the others does not go on."""
    with pytest.raises(TrainingInterrupted):
        train(config(), tmp_path, progress=False, stop_at=2)
    tensors, meta = read_tensors(tmp_path / "data.safetensors")
    write_tensors(tmp_path / "data.safetensors", {**tensors, "occ": 1 - tensors["occ"]}, meta)
    with pytest.raises(CheckpointError, match="data: expected"):
        train(config(), tmp_path, progress=False)


def test_a_file_that_is_no_state_is_refused(whole, tmp_path):
    (tmp_path / "state.safetensors").write_bytes(whole.read_bytes())
    with pytest.raises(CheckpointError, match="alloygen training state"):
        train(config(), tmp_path, progress=False)


def test_where_a_run_runs_does_not_matter_for_resuming(tmp_path):
    with pytest.raises(TrainingInterrupted):
        train(config(), tmp_path, progress=False, stop_at=2)
    with pytest.raises(TrainingInterrupted, match="step 3"):
        train(config(checkpoint_minutes=1.0), tmp_path, progress=False, stop_at=3)


def test_a_loss_that_is_not_a_number_keeps_the_last_checkpoint(tmp_path, monkeypatch):
    with pytest.raises(TrainingInterrupted):
        train(config(), tmp_path, progress=False, stop_at=5)
    saved, right, calls = (tmp_path / "state.safetensors").read_bytes(), tasks.likelihood, []

    def spoilt(*args, **kw):
        loss, log_prob = right(*args, **kw)
        calls.append(1)
        return loss * (float("nan") if len(calls) == 3 else 1.0), log_prob

    monkeypatch.setattr(tasks, "likelihood", spoilt)
    with pytest.raises(AlloygenError, match=r"step 7: expected a finite loss, got nan.*Lower training.lr"):
        train(config(), tmp_path, progress=False)
    assert (tmp_path / "state.safetensors").read_bytes() == saved
    assert not (tmp_path / "model.safetensors").exists()


def test_data_are_kept_and_made_anew_when_they_do_not_fit(tmp_path):
    def stop(c):
        with pytest.raises(TrainingInterrupted):
            train(c, tmp_path, progress=False, stop_at=1, resume=False)
        return (tmp_path / "data.safetensors").stat().st_mtime_ns, read_tensors(tmp_path / "data.safetensors")[0]

    first, tensors = stop(config())
    assert tensors["occ"].shape == (6, 32, 8) and stop(config(lr=1e-4))[0] == first
    again, other = stop({**config(), "data": {**BASE["data"], "seed": 1}})
    assert again != first and not torch.equal(tensors["occ"], other["occ"])


def test_learning_rate_warms_up_and_falls(tmp_path):
    rates, rate = [], Trainer.rate

    with pytest.MonkeyPatch.context() as m:
        m.setattr(Trainer, "rate", lambda self: rates.append(rate(self)) or rates[-1])
        train(config(validation={"every": 1000}), tmp_path, progress=False)
    rates = torch.tensor(rates[:: len(rates) // 30])
    assert rates[:3].tolist() == pytest.approx([1e-3, 2e-3, 3e-3])
    assert (rates[3:].diff() < 0).all() and rates[-1] < 1e-4


# ---------------------------------------------------------------------- every objective
ISING = {
    "name": "tiny",
    "system": {"hamiltonian": "ising", "repeats": [2, 2, 1]},
    "conditions": {"T": [3.0, 6.0], "mu": [-1.0, 0.5], "n_T": 2, "n_mu": 3},
}
SIZE = {"width": 16, "depth": 1, "heads": 2}
SHORT = {
    "orders": {"weights": {"random": 1.0}},
    "training": {**BASE["training"], "steps": 12},
    "validation": {"every": 4, "samples": 32},
    "machine": BASE["machine"],
}


def walking(objective, kind, model=(), **changes) -> dict:
    """A run without data on the Ising model of four sites."""
    start = {**ISING, **SHORT, "model": {**SIZE, "kind": kind, **dict(model)}, "objective": {"kind": objective}}
    return recipe(start, **{"batch": 24, **changes})


GIBBS = {"gibbs": 1}  # one site of four an iteration: the configurations of the last step matter to the next
RUNS = {
    "reinforce, arm": lambda **k: walking("reinforce", "arm", {"network": "mlp"}, **k),
    "reinforce, causal": lambda **k: walking("reinforce", "causal", **k),
    "marginal, mam": lambda **k: walking("marginal", "mam", **GIBBS, **k),
    "marginal, two trunks": lambda **k: walking("marginal", "mam", {"network": "mlp", "trunks": 2}, **GIBBS, **k),
    "likelihood, arm": lambda **k: recipe({**BASE, **SHORT, "model": {**SIZE, "kind": "arm"}}, **k),
}


@pytest.mark.slow
@pytest.mark.parametrize("run", RUNS)
def test_every_objective_resumes_bit_for_bit(run, tmp_path):
    c = RUNS[run]()
    whole, half = tmp_path / "whole", tmp_path / "half"
    train(c, whole, progress=False)
    for stop in (3, 7):
        with pytest.raises(TrainingInterrupted, match=f"saved at step {stop} of 12"):
            train(c, half, progress=False, stop_at=stop)
    train(c, half, progress=False)
    assert same_weights(half / "model.safetensors", whole / "model.safetensors")
    assert same_weights(half / "state.safetensors", whole / "state.safetensors")
    ours, theirs = ([{k: x[k] for k in x if k not in ("seconds", "loss")} for x in log(f)] for f in (half, whole))
    assert ours == theirs and [x["step"] for x in ours] == [4, 8, 12]
    assert ("spread" in ours[0]) == ("conditions" in c)
    assert (half / "data.safetensors").exists() == ("data" in c)
    # negative control: a resume that forgets what the task was at goes elsewhere
    lost = tmp_path / "lost"
    if "conditions" in c:
        with pytest.raises(TrainingInterrupted):
            train(c, lost, progress=False, stop_at=7)
        with pytest.MonkeyPatch.context() as m:
            m.setattr(tasks._Walking, "load", lambda self, state: None)
            m.setattr(tasks.Marginal, "load", lambda self, state: None)
            train(c, lost, progress=False)
        assert not same_weights(lost / "model.safetensors", whole / "model.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize(
    "run, floor", [("reinforce, arm", 0.2), ("reinforce, causal", 0.05), ("marginal, two trunks", 0.2)]
)
def test_training_without_data_learns(run, floor):
    """NESS over the range rises from that of an untrained model, and the spread of log q + beta H falls: noisy, so over two runs."""
    h, first, last = ising(2), 0.0, 0.0
    for seed in (0, 1):
        c = RUNS[run](
            steps=250, lr=1e-2, warmup=10, validation={"samples": 256}, batch=48, advantage_floor=0.3, seed=seed
        )
        c = load_config(c)
        model = new_model(c, h)
        trainer = Trainer(c, model, make_task(c, model, None, False))
        before, spreads = trainer.validate()["ness"], []
        for _ in range(250):
            trainer.advance()
            spreads.append(trainer.task.report["spread"])
        after = trainer.validate()["ness"]
        assert after > before + floor and after > 0.8
        first, last = first + sum(spreads[:30]), last + sum(spreads[-30:])
    assert last < 0.75 * first


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("parts", [3, 5, 24])
def test_parts_of_a_batch_give_the_same_step(run, parts, tmp_path):
    """Down to one row at a time; a part may hold no anchor. Where the slope is not rounding, so do the weights."""
    out = []
    for n in (1, parts):
        c = load_config(RUNS[run](accumulate=n))
        h = expansion_from(c.system.hamiltonian).on(c.system.repeats)
        model = new_model(c, h)
        trainer = Trainer(c, model, make_task(c, model, tmp_path / "data.safetensors", False))
        for trunk in getattr(trainer.model, "trunks", ()):  # away from the start, where most slopes are nought
            awaken(trunk, h.lattice, trainer.model.ranges)
        randomise(trainer.model)
        loss = trainer.advance()
        slopes = torch.cat([p.grad.flatten() for p in trainer.model.parameters()])
        weights = torch.cat([p.detach().flatten() for p in trainer.model.parameters()])
        out.append((loss, slopes, weights))
    (loss, slopes, weights), (same, other, too) = out
    largest = float(slopes.abs().max())
    assert same == pytest.approx(loss, rel=1e-5, abs=1e-6)
    torch.testing.assert_close(other, slopes, rtol=0, atol=1e-5 * largest)
    clear = slopes.abs() > 1e-3 * largest
    assert clear.double().mean() > 0.1
    torch.testing.assert_close(too[clear], weights[clear], rtol=0, atol=1e-5)


def condition_of(message: str) -> tuple[float, dict]:
    T, mu = re.search(r"at the condition T = ([\d.]+), mu = (\{.*?\});", message).groups()
    return float(T), json.loads(mu.replace("'", '"'))


@pytest.mark.parametrize("run", ["reinforce, arm", "marginal, mam"])
@pytest.mark.parametrize("which", [0, 4, 5])
@pytest.mark.parametrize("parts", [1, 5])
def test_a_condition_without_energies_is_named(run, which, parts, tmp_path, monkeypatch):
    """The energies of one of the six conditions fail at step 7: T and mu of the message are its own."""
    c, seen = RUNS[run](accumulate=parts), []
    with pytest.raises(TrainingInterrupted):
        train(c, tmp_path, progress=False, stop_at=7)
    saved, right = (tmp_path / "state.safetensors").read_bytes(), Hamiltonian.reduced_energy

    def spoilt(h, occ, at):
        rows = torch.arange(24) // 4 == which
        seen.append((float(at.T[rows][0]), float(at.mu[rows][0, 1])))
        return right(h, occ, at).masked_fill(rows, float("nan"))

    monkeypatch.setattr(Hamiltonian, "reduced_energy", spoilt)
    with pytest.raises(
        AlloygenError, match=r"step 7: expected a finite loss, got nan .*last checkpoint is kept"
    ) as caught:
        train(c, tmp_path, progress=False)
    T, mu = condition_of(str(caught.value))
    assert len(seen) == 1 and T == pytest.approx(seen[0][0], rel=1e-5)
    assert mu == {"-": 0.0, "+": pytest.approx(seen[0][1], abs=1e-6)}
    assert (tmp_path / "state.safetensors").read_bytes() == saved
    assert not (tmp_path / "model.safetensors").exists()


@pytest.mark.parametrize(
    "run, module, name", [("reinforce, arm", reinforce, "reinforce"), ("marginal, mam", marginal, "marginal")]
)
def test_a_gradient_that_is_not_a_number_changes_nothing(run, module, name, tmp_path, monkeypatch):
    """Every row is finite, its slope is not: no step is made with it, and what was saved stays."""
    c, calls, right = RUNS[run](), [], getattr(module, name)
    with pytest.raises(TrainingInterrupted):
        train(c, tmp_path, progress=False, stop_at=5)
    saved = (tmp_path / "state.safetensors").read_bytes()

    def steep(model, *args, **kw):
        calls.append(1)
        rows = right(model, *args, **kw)
        return rows + (0 * next(model.parameters()).sum()).sqrt() if len(calls) == 3 else rows

    monkeypatch.setattr(module, name, steep)
    message = r"step 7: expected a finite gradient, got nan at the condition T = [3-6].*the last checkpoint is kept"
    with pytest.raises(AlloygenError, match=message) as caught:
        train(c, tmp_path, progress=False)
    T, mu = condition_of(str(caught.value))
    assert 3 <= T <= 6 and -1 <= mu["+"] <= 0.5
    assert (tmp_path / "state.safetensors").read_bytes() == saved
    assert not (tmp_path / "model.safetensors").exists()


@pytest.mark.slow
def test_a_time_budget_ends_the_run_and_is_counted_over_sessions(tmp_path, monkeypatch):
    """With a clock on which every step takes a second, half a minute is thirty steps, in one go or in three."""
    ticks, rates, rate = itertools.count(), [], Trainer.rate
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: float(next(ticks))))
    monkeypatch.setattr(Trainer, "rate", lambda self: rates.append((self.step, rate(self))) or rates[-1][1])
    c = RUNS["reinforce, arm"](steps=10**6, minutes=0.5, validation={"every": 10**6}, checkpoint_minutes=1e6)
    whole = train(c, tmp_path / "whole", progress=False)
    assert read_tensors(tmp_path / "whole" / "state.safetensors")[1]["progress"]["seconds"] == 30
    assert load_model(whole).metadata["steps"] == 30 and [x["step"] for x in log(whole.parent)] == [30]
    in_one_go = dict(rates)
    assert len(in_one_go) == 30 and in_one_go[29] < 0.02 * max(
        in_one_go.values()
    )  # down to zero at the end of the budget
    rates.clear()
    for stop in (9, 20):
        with pytest.raises(TrainingInterrupted, match=f"saved at step {stop}"):
            train(c, tmp_path / "parts", progress=False, stop_at=stop)
        assert read_tensors(tmp_path / "parts" / "state.safetensors")[1]["progress"]["seconds"] == stop
    assert same_weights(train(c, tmp_path / "parts", progress=False), whole) and dict(rates) == in_one_go
    rates.clear()
    assert same_weights(train(c, tmp_path / "parts", progress=False), whole) and not rates  # nothing is left to do
    # negative control: without a budget the rate hardly falls in as many steps
    with pytest.raises(TrainingInterrupted):
        train({**c, "training": {**c["training"], "minutes": 0.0}}, tmp_path / "free", progress=False, stop_at=30)
    assert dict(rates)[29] > 0.9 * max(dict(rates).values())


def test_what_does_not_fit_is_said_before_data_are_made(tmp_path, monkeypatch):
    """A cutoff without edges costs no Monte Carlo run, and leaves nothing behind."""
    monkeypatch.setattr(loop, "make_task", lambda *args: pytest.fail("data were made"))
    c = {**config(), "model": {"kind": "arm", "network": "painn", "width": 8, "depth": 1, "cutoff": 0.9, "offset": 0.1}}
    with pytest.raises(LatticeMismatch, match=r"nearest-neighbour distance 2\.\d+ of the primitive cell.*cutoff 0\.9"):
        train(c, tmp_path, progress=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mu", [[[-0.1, 0.1], [0.0, 0.2]], [[-0.1, 0.1]] * 3])
def test_a_range_of_mu_for_other_elements_is_refused(mu, tmp_path):
    c = {**RUNS["reinforce, arm"](), "conditions": {**ISING["conditions"], "mu": mu}}
    with pytest.raises(
        ConfigError, match=r"conditions.mu: expected one \[low, high\] per element after the first of .*'-', '\+'"
    ):
        train(c, tmp_path, progress=False)
    assert not (tmp_path / "state.safetensors").exists()


@pytest.fixture
def ternary(tmp_path):
    """The path of a small ternary expansion."""
    path = tmp_path / "abc.json"
    path.write_text(json.dumps(random_expansion(FCC, [[0, 0, 0]], [("A", "B", "C")], 1).to_dict()))
    return str(path)


def test_a_ternary_walks(ternary, tmp_path):
    """From a configuration to a checkpoint that samples at any T and mu of the range, with two mu of their own."""
    c = {
        **RUNS["reinforce, arm"](steps=60, validation={"every": 60}, lr=1e-2, advantage_floor=0.3),
        "system": {"hamiltonian": ternary, "repeats": [2, 2, 1]},
        "conditions": {"T": [600, 900], "mu": [[-0.15, -0.05], [-0.05, 0.05]], "n_T": 2, "n_mu": 3},
    }
    model = load_model(train(c, tmp_path / "run", progress=False))
    assert model.ranges == {"T": [600.0, 900.0], "mu": [[-0.15, -0.05], [-0.05, 0.05]]}
    state = read_tensors(tmp_path / "run" / "state.safetensors")[0]
    assert state["task.mu"].shape == (3, 2) and state["task.T"].shape == (2,)
    h, n = model.hamiltonian, 400
    fresh = new_model(load_config(c), h)
    at = h.condition(700.0, [0.0, -0.12, 0.03]).expand(n)
    spread = [loop.log_weights(m, at, generator()).std() for m in (fresh, model)]
    assert spread[1] < 0.8 * spread[0]
    with pytest.raises(ConfigError, match="per element after the first of"):
        train({**c, "conditions": {**c["conditions"], "mu": [-0.1, 0.1]}}, tmp_path / "binary", progress=False)


def test_data_of_a_ternary_have_a_number_for_each_element(ternary, tmp_path):
    c = {**config(), "system": {"hamiltonian": ternary, "repeats": [2, 2, 1]}}
    with pytest.raises(AlloygenError, match=r"data\.mu: expected 2 numbers a point"):
        train(c, tmp_path / "run", progress=False)


def test_half_precision_runs(tmp_path):
    """bf16 autocast; the law itself is float64 either way."""
    for run in ("reinforce, arm", "marginal, mam"):
        model = load_model(train(RUNS[run](precision="bf16", steps=3), tmp_path / run[:4], progress=False))
        assert all(p.dtype == torch.float32 and p.isfinite().all() for p in model.parameters())


def test_a_law_is_validated_between_its_conditions():
    """Half way to the nearest other one, on the same side of every range; the only condition itself."""
    h = hamiltonian("cuau-2x2x2")
    T, mu = np.array([400.0, 500.0, 800.0]), np.array([-0.04, 0.0, 0.02, 0.08])
    grid = h.condition(np.repeat(T, 4), np.column_stack([np.zeros(12), np.tile(mu, 3)]))
    found = [at for _, at in spread_over(None, grid)]
    assert [(round(float(at.T)), round(float(at.mu[1]), 6)) for at in found[:4]] == [
        (447, -0.04),
        (400, 0.01),
        (400, 0.01),
        (447, 0.08),
    ]
    assert all(float(at.T) not in T or float(at.mu[1]) not in mu for at in found) and len(found) == 12
    ((_, alone),) = spread_over(None, grid[:1])
    assert (float(alone.T), float(alone.mu[1])) == (400.0, -0.04)
