"""The configurations of Du et al. that ship: they are the published sizes, build, and take a step on the CPU."""

import math

import pytest
import torch

import alloygen.data
from alloygen.hamiltonian.source import expansion_from
from alloygen.models.draw import trained_orders
from alloygen.training.config import Config, load_config
from alloygen.training.kinds import MamConfig, MarginalConfig, ReinforceConfig
from alloygen.training.loop import Trainer, new_model
from alloygen.training.tasks import make_task

PAPER = {n.removeprefix("paper/"): p for n, p in alloygen.data.configurations().items() if n.startswith("paper/")}
# blocks, width, heads of the MAM Transformers; batches of MAM Transformer and ARM MLP
TRANSFORMERS = {
    "ising_10x10": (4, 256, 8), "ising_15x15": (5, 512, 16), "ising_20x20": (5, 512, 16),
    "cuau_2x2x4": (4, 256, 8), "cuau_4x4x4": (5, 256, 16), "cuau_4x4x8": (5, 512, 16),
}  # fmt: skip
MAM_BATCH = {
    "ising_10x10": 500,
    "ising_15x15": 250,
    "ising_20x20": 250,
    "cuau_2x2x4": 1024,
    "cuau_4x4x4": 450,
    "cuau_4x4x8": 450,
}
MLP_BATCH = {"ising_10x10": 1250, "ising_15x15": 1250, "cuau_2x2x4": 2048, "cuau_4x4x4": 900, "cuau_4x4x8": 1125}
NAMES = {
    *(f"{s}_mam_transformer" for s in TRANSFORMERS), *(f"{s}_arm_mlp" for s in MLP_BATCH),
    "ising_10x10_mam_painn", "ising_10x10_fo_arm_mlp",
}  # fmt: skip
STEPS = {  # one of each network and system; narrower where the full width is slow on the CPU
    "cuau_2x2x4_mam_transformer": {},
    "cuau_2x2x4_arm_mlp": {},
    "ising_10x10_mam_transformer": {"width": 64},
    "ising_10x10_fo_arm_mlp": {"width": 256},
    "ising_10x10_mam_painn": {"width": 16},
}


def system(name: str) -> str:
    return "_".join(name.split("_")[:2])


def hamiltonian(c: Config):
    return expansion_from(c.system.hamiltonian).on(c.system.repeats)


def on_cpu(name: str, **model) -> Config:
    """A configuration with two samples for each condition and one step, else unchanged."""
    d = load_config(PAPER[name]).to_dict()
    d["model"] |= model
    d["training"] |= {"steps": 1, "batch": 2 * d["conditions"]["n_T"] * d["conditions"]["n_mu"]}
    d["machine"]["device"] = "cpu"
    return load_config(d)


def parameters(c: Config, n: int) -> int:
    """Parameters that the published sizes amount to, without embeddings, norms and heads."""
    m = c.model
    if m.network == "mlp":
        return (3 * n + 4) * m.width + (m.depth - 1) * m.width**2 + 2 * n * m.width
    if m.network == "painn":
        return m.depth * m.width**2 * (1 + 3 + 2 + 2 + 3)
    return m.depth * m.width**2 * (4 + 2 * m.expand + 4)  # attention, feed-forward, scales by the condition


def test_all_are_there():
    assert set(PAPER) == NAMES


@pytest.mark.parametrize("name", sorted(PAPER))
def test_sizes_are_the_published_ones(name):
    c = load_config(PAPER[name])
    t, m, how, walk = c.training, c.model, c.objective, c.conditions
    mam, on = isinstance(m, MamConfig), system(name)
    assert c.name == name and c.machine.device == "cuda" and t.precision == "bf16" and how.advantage_floor == 0
    assert type(how) is (MarginalConfig if mam else ReinforceConfig) and (not mam or how.consistency == 4.0)
    assert walk.n_T == walk.n_mu == (4 if on == "cuau_2x2x4" else 5)
    if c.system.hamiltonian == "ising":
        T, mu, gibbs = [1.5, 3.5], [-0.8, 0.8], 10
        assert walk.step_T * (T[1] - T[0]) == pytest.approx(0.2)
        assert walk.step_mu * (mu[1] - mu[0]) / 2 == pytest.approx(0.05)  # in h = mu / 2
    else:
        T, mu, gibbs = [200, 1200], [-0.24, 0.24], 4
    assert walk.T == T and walk.mu == mu and (not mam or how.gibbs == gibbs)
    repeats = [int(x) for x in on.split("_")[1].split("x")]
    assert c.system.repeats == (repeats if len(repeats) == 3 else [*repeats, 1])
    if m.network == "transformer":
        assert (m.depth, m.width, m.heads) == TRANSFORMERS[on] and t.batch == MAM_BATCH[on]
    elif m.network == "mlp":
        assert (m.depth, m.width) == (3, 2048) and t.batch == MLP_BATCH[on]
    else:
        assert (m.depth, m.width, m.radial, m.cutoff, m.offset, t.batch) == (3, 64, 20, 2.5, 0.5, 250)


@pytest.mark.parametrize("name", sorted(PAPER))
def test_models_build_at_full_size(name):
    c = on_cpu(name)
    h = hamiltonian(c)
    assert h.n_sites == math.prod(c.system.repeats)
    model = new_model(c, h)
    n, expected = sum(p.numel() for p in model.parameters()), parameters(c, h.n_sites)
    assert expected <= n <= 1.5 * expected
    order = trained_orders(model, 2, torch.Generator().manual_seed(0))
    assert torch.equal(order[0], order[1]) == ("fo_arm" in name)
    if "fo_arm" in name:
        assert order[0].tolist() == list(range(h.n_sites))


@pytest.mark.slow
@pytest.mark.parametrize("name", STEPS)
def test_a_step_on_the_cpu(name, tmp_path):
    c = on_cpu(name, **STEPS[name])
    h = hamiltonian(c)
    model = new_model(c, h)
    before = {k: v.clone() for k, v in model.named_parameters()}
    trainer = Trainer(c, model, make_task(c, model, tmp_path / "data.safetensors", progress=False))
    assert math.isfinite(trainer.advance())
    assert trainer.task.report["spread"] > 0
    moved = {k for k, v in model.named_parameters() if not torch.equal(v, before[k])}
    assert any("head" in k for k in moved)
    assert all(torch.isfinite(v).all() for v in model.parameters())
