"""The training loop: it learns, it resumes bit for bit, and nothing that goes wrong loses what was saved."""

import json
import signal

import pytest
import torch
from small_systems import SYSTEMS, generator, hamiltonian

from alloygen.config import load_config
from alloygen.errors import AlloygenError, CheckpointError
from alloygen.hamiltonian.source import expansion_from
from alloygen.io.checkpoint import load_model, read_tensors
from alloygen.objectives.likelihood import heat_bath, likelihood
from alloygen.training import Dataset, Trainer, TrainingInterrupted, make_data, train

BASE = {
    "name": "tiny",
    "system": {"hamiltonian": "cuau", "repeats": [2, 2, 2]},
    "data": {"T": [500, 900], "mu": [-0.04, 0.03, 0.07], "samples": 32, "sweeps": 5, "burn": 20},
    "model": {"width": 16, "depth": 1, "heads": 2},
    "training": {"steps": 30, "batch": 32, "lr": 3e-3, "warmup": 3, "validate_every": 15, "ema": 0.9, "threads": 1,
                 "orders": {"sublattice": 1.0, "random": 1.0}, "known": 0.5},
}


def config(**training) -> dict:
    return {**BASE, "training": {**BASE["training"], **training}}


def log(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def same_weights(a, b) -> bool:
    one, two = read_tensors(a)[0], read_tensors(b)[0]
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing disturbed: its checkpoint."""
    return train(config(), tmp_path_factory.mktemp("whole"), progress=False)


def test_a_run_writes_what_it_says(whole):
    folder = whole.parent
    assert sorted(p.name for p in folder.iterdir()) == ["data.safetensors", "log.jsonl", "model.safetensors",
                                                        "state.safetensors"]
    lines = log(folder)
    assert [x["step"] for x in lines] == [15, 30]
    for x in lines:
        assert 0 < x["ness_min"] <= x["ness"] <= 1 and x["loss"] > 0 and x["seconds"] >= 0
    model = load_model(whole)
    assert model.metadata["steps"] == 30 and model.metadata["name"] == "tiny"
    assert model.metadata["config"]["training"]["lr"] == 3e-3
    assert model.ranges == {"T": [500.0, 900.0], "mu": [[-0.04, 0.07]]}


def test_training_learns(tmp_path):
    """The averaged model beats the bare physics on a batch that it was not trained on, and in NESS."""
    c, fresh = load_config(config(steps=150, lr=1e-2, warmup=10, known=0.0)), load_config(config(batch=512, known=0.0))
    h = expansion_from("cuau").on((2, 2, 2))
    trainer = Trainer(c, h, make_data(h, c, tmp_path / "data.safetensors", progress=False))
    held_out = trainer.dataset.batch(fresh.training, torch.Generator().manual_seed(9))

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
    h, (T, mu) = hamiltonian(name), SYSTEMS[name].conditions()
    occ = torch.stack([h.random(3, generator(c)) for c in range(len(T))])
    dataset = Dataset(h, T, mu, occ.to(torch.int8), floor=0.5)
    batch = dataset.batch(load_config(config(batch=400, label_images="none")).training, generator())
    here = (T == batch.T[:, None]) & (mu == batch.mu[:, None]).all(2)
    row = here.int().argmax(1).tolist()
    gap = (h.energy(batch.occ)[:, None] - h.energy(occ.flatten(0, 1)).view(len(T), 3)[row]).abs().amin(1)
    assert gap.max() < 1e-9
    assert set(row) == set(range(len(T)))
    assert len({tuple(x) for x in batch.occ.tolist()}) > 2 * occ.flatten(0, 1).shape[0]  # moved
    shares_all = len(dataset.moves[0]) == len(h.lattice.point_operations)
    assert shares_all == (name != "many-body") and len(dataset.moves[0]) >= 1
    labels = heat_bath(h, batch.occ, batch.T, batch.mu)
    labels = torch.gather(labels, 1, batch.order[..., None].expand(-1, -1, labels.shape[2]))
    torch.testing.assert_close(batch.labels, labels)
    averaged = dataset.batch(load_config(config(batch=400, label_images="all")).training, generator()).labels
    assert averaged.shape == labels.shape and not torch.allclose(averaged, labels)
    torch.testing.assert_close(averaged.sum(2), torch.ones(400, h.n_sites).double())
    front = torch.gather(batch.given, 1, batch.order).int()
    assert (front.diff(dim=1) <= 0).all() and 0 < front.sum() < front.numel()  # known sites come first


def test_half_and_half_is_the_whole_bit_for_bit(whole, tmp_path):
    with pytest.raises(TrainingInterrupted, match="saved at step 13 of 30"):
        train(config(), tmp_path, progress=False, stop_at=13)
    assert not (tmp_path / "model.safetensors").exists()
    path = train(config(), tmp_path, progress=False)
    assert same_weights(path, whole)
    assert same_weights(tmp_path / "state.safetensors", whole.parent / "state.safetensors")
    ours, theirs = log(tmp_path), log(whole.parent)
    assert [x["ness"] for x in ours] == [x["ness"] for x in theirs]


def test_another_seed_is_another_run(whole, tmp_path):
    """Negative control of the comparison above."""
    assert not same_weights(train(config(seed=1), tmp_path, progress=False), whole)


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
    assert read_tensors(tmp_path / "state.safetensors")[1]["step"] == 7
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
    with pytest.raises(CheckpointError, match=r"another configuration.*resume=False"):
        train(config(lr=1e-3), tmp_path, progress=False)
    with pytest.raises(TrainingInterrupted, match="saved at step 1 of 30"):
        train(config(lr=1e-3), tmp_path, progress=False, resume=False, stop_at=1)


def test_a_file_that_is_no_state_is_refused(whole, tmp_path):
    (tmp_path / "state.safetensors").write_bytes(whole.read_bytes())
    with pytest.raises(CheckpointError, match="expected a training state"):
        train(config(), tmp_path, progress=False)


def test_where_a_run_runs_does_not_matter_for_resuming(tmp_path):
    with pytest.raises(TrainingInterrupted):
        train(config(), tmp_path, progress=False, stop_at=2)
    with pytest.raises(TrainingInterrupted, match="step 3"):
        train(config(checkpoint_minutes=1.0), tmp_path, progress=False, stop_at=3)


def test_a_loss_that_is_not_a_number_keeps_the_last_checkpoint(tmp_path, monkeypatch):
    import alloygen.training as training

    with pytest.raises(TrainingInterrupted):
        train(config(), tmp_path, progress=False, stop_at=5)
    saved, right, calls = (tmp_path / "state.safetensors").read_bytes(), training.likelihood, []

    def spoilt(*args, **kw):
        loss, log_prob = right(*args, **kw)
        calls.append(1)
        return loss * (float("nan") if len(calls) == 3 else 1.0), log_prob

    monkeypatch.setattr(training, "likelihood", spoilt)
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
        train(config(validate_every=1000), tmp_path, progress=False)
    rates = torch.tensor(rates[:: len(rates) // 30])
    assert rates[:3].tolist() == pytest.approx([1e-3, 2e-3, 3e-3])
    assert (rates[3:].diff() < 0).all() and rates[-1] < 1e-4
