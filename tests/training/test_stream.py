"""A network for all alloys of a parent lattice: the prior, the stream of alloys, training that resumes bit for bit and generalises."""

import numpy as np
import pytest
import torch
from small_systems import recipe, same_weights

from alloygen.errors import ConfigError
from alloygen.estimate.weights import ness
from alloygen.hamiltonian.parents import PARENTS
from alloygen.hamiltonian.scale import scale
from alloygen.models.family import FamilyModel
from alloygen.models.store import load_model
from alloygen.training.config import load_config
from alloygen.training.loop import TrainingInterrupted, new_model, train
from alloygen.training.prior import couplings, grid, make
from alloygen.training.sections import PriorConfig
from alloygen.training.stream import HELD, Shard, Turn
from alloygen.training.tasks import make_task

BASE = {
    "name": "tiny family",
    "system": {"hamiltonian": "square", "repeats": [4, 4, 1], "more": [[4, 2, 1]]},
    "prior": {"n_T": 3, "n_mu": 3, "samples": 6, "sweeps": 4, "burn": 20},
    "model": {"kind": "family", "width": 8, "depth": 2, "window": 24, "levels": 2},
    "objective": {
        "kind": "stream",
        "alive": 4,
        "mixed": 2,
        "every": 5,
        "sweeps": 2,
        "known": 0.3,
        "foreign": 0.5,
    },
    "training": {"steps": 24, "batch": 16, "lr": 3e-3, "warmup": 3, "ema": 0.9},
    "validation": {"every": 12, "samples": 8},
    "machine": {"threads": 1},
}


def test_alloys_of_the_prior_have_its_sizes_and_are_fixed_by_their_number():
    parent, prior = PARENTS["fcc"], PriorConfig()
    J = np.array([couplings(parent, prior, k) for k in range(400)])
    assert np.array_equal(J[7], couplings(parent, prior, 7)) and not np.allclose(J[7], J[8])
    pairs = [k for k, f in enumerate(parent.figures) if f.order == 2]
    many = [k for k, f in enumerate(parent.figures) if f.order > 2]
    spread = np.abs(J[:, pairs]).mean(0)
    assert np.allclose(spread / spread[0], np.arange(1.0, 7.0) ** -prior.falls[0], rtol=0.25)
    assert abs((np.abs(J[:, many]) < 1e-8).mean() - prior.sparse) < 0.03
    assert abs((J[:, pairs[0]] > 0).mean() - 0.5) < 0.1  # as many order as separate
    assert np.abs(J[:, 0]).max() < 1e-8  # the point figure is a shift of mu


def test_an_alloy_spans_its_phases():
    """From nearly pure to nearly pure, from order to disorder, at conditions that are its own."""
    parent, prior = PARENTS["fcc"], PriorConfig(n_T=4, n_mu=12, samples=8, burn=60)
    span = []
    for k in range(4):
        alloy = make(parent, prior, [(2, 2, 2)], k)
        own = scale(alloy.hamiltonian)
        T = alloy.condition.T.numpy()
        assert np.isclose(T.min(), own.T * prior.T[0]) and np.isclose(T.max(), own.T * prior.T[1])
        x = alloy.occ.double().mean((1, 2)).numpy()
        span.append((x[T == T.min()].min(), x[T == T.min()].max()))
    low, high = np.transpose(span)
    assert low.mean() < 0.1 and high.mean() > 0.9
    again = make(parent, prior, [(2, 2, 2)], 3)
    assert torch.equal(again.occ, alloy.occ) and torch.equal(again.condition.mu, alloy.condition.mu)


def test_plain_alloys_have_two_pairs_and_conditions_at_their_transitions():
    """Half of the alloys of the square lattice; x = 1/2 is at mu = 0, and the others are what they are without plain ones."""
    parent, prior = PARENTS["square"], PriorConfig(plain=0.5, middle=2)
    J = np.array([couplings(parent, prior, k) for k in range(200)])
    plain = (np.abs(J[:, 3:]) < 1e-8).all(1)
    assert abs(plain.mean() - 0.5) < 0.1
    ratio = J[plain, 2] / J[plain, 1]  # as many bonds of both
    assert np.abs(ratio).max() < 1 and abs(ratio.mean()) < 0.2 and abs(ratio.std() - 3**-0.5) < 0.08
    assert np.array_equal(J[~plain], [couplings(parent, PriorConfig(), k) for k in np.flatnonzero(~plain)])
    h = parent.expansion(J[plain][0]).on((4, 4, 1))
    mu = grid(h, prior, np.random.default_rng(0))[1]
    assert (mu == 0).sum() == 1 and (np.abs(mu) < h.kB * scale(h).T).sum() >= 2 and len(mu) == prior.n_mu
    assert (grid(h, PriorConfig(), np.random.default_rng(0))[1] != 0).all()


def test_processes_have_alloys_of_their_own_whoever_makes_the_batches():
    """Of two processes one has the even and one the odd numbers, and a process that begins in the middle makes the same batches."""
    config = load_config(BASE)
    laws = make_task(config, new_model(config, config.expansion().on(config.system.repeats)), None, False).laws
    shards = Shard(config, laws), Shard(config, laws)
    made = [shards[number % 2](Turn(number, 2)) for number in range(16)]
    late = Shard(config, laws)(Turn(15, 2))
    assert late[0] == made[15][0] and torch.equal(late[1].occ, made[15][1].occ)
    assert torch.equal(late[1].couplings, made[15][1].couplings)
    for parity, shard in enumerate(shards):
        numbers = {number for here in shard.alive for number in here}
        assert len(numbers) > 2 and all(number % 2 == parity for number in numbers)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_a_stream_resumes_bit_for_bit_for_a_number_of_workers(tmp_path, workers):
    base = recipe(BASE, machine={"threads": 1, "workers": workers})
    whole = train(base, tmp_path / "whole", progress=False)
    with pytest.raises(TrainingInterrupted):
        train(base, tmp_path / "cut", progress=False, stop_at=13)
    assert same_weights(train(base, tmp_path / "cut", progress=False), whole)


@pytest.mark.parametrize("size", [{"inner": 6}, {"depth": 4, "inner": 6}])
def test_a_deeper_network_begins_where_another_training_ended(tmp_path, size):
    first = train(recipe(BASE, steps=3), tmp_path / "first", progress=False)
    deeper = {"training": {"start": str(first)}, "model": size}
    h, found = load_model(first).hamiltonian, []
    at, occ = h.condition(600, [0, 0.02]).expand(5), h.random(5, torch.Generator().manual_seed(0))
    for path in (first, train(recipe(BASE, **{**deeper, "steps": 3}), tmp_path / "second", progress=False)):
        for model in (load_model(path), new_model(load_config(recipe(BASE, **deeper)), h)):
            found.append(model.on(h).log_prob(occ, at, model.order.expand(5, -1)))
    before, begun, after, again = (x.detach() for x in found)
    assert torch.allclose(before, begun, atol=1e-4) and torch.equal(begun, again)
    assert not torch.allclose(after, before, atol=1e-4)
    with pytest.raises(ConfigError, match=r"training\.start"):
        new_model(load_config(recipe(BASE, training={"start": str(tmp_path / "second" / "model.safetensors")})), h)


def test_a_batch_holds_rows_of_several_alloys_each_with_its_own_law():
    """The loss of mixed rows is that of each alloy by itself."""
    config = load_config(recipe(BASE, objective={"sweeps": 0, "known": 0.0, "foreign": 0.0, "per_kind": 16}))
    model = new_model(config, config.expansion().on(config.system.repeats))
    torch.nn.init.normal_(model.network.write, std=0.3)
    task = make_task(config, model, None, False)
    for seed in range(3):
        batch = task.draw(model, torch.Generator().manual_seed(seed))
        cells = list(task.shard.alive[task.which].values())
        with torch.no_grad():
            loss = task.rows(model, batch)
        alloys = batch.couplings.unique(dim=0)
        assert len(alloys) == min(2, len(cells))
        share = 16 / cells[0].hamiltonian.n_sites
        for J in alloys:
            rows = (batch.couplings == J).all(1)
            (cell,) = [c for c in cells if torch.equal(c.model.couplings, J)]
            with torch.no_grad():
                alone = cell.kinds.loss(cell.model, batch[rows]) * share
            assert torch.allclose(loss[rows], alone, atol=1e-5)


@pytest.mark.slow
def test_it_draws_alloys_that_it_never_saw_better_than_bare_physics(tmp_path):
    changed = recipe(
        BASE,
        steps=600,
        batch=96,
        ema=0.98,
        model={"kind": "family", "width": 32, "depth": 2, "window": 24, "levels": 2},
        objective={"alive": 16, "mixed": 8, "known": 0.0, "foreign": 0.0},
        validation={"every": 600},
    )
    law = load_model(train(changed, tmp_path, progress=False))
    assert isinstance(law, FamilyModel)
    torch.manual_seed(0)
    bare = FamilyModel(law.hamiltonian, law.ranges, width=8, depth=2, window=8, levels=2)
    even: dict[str, list[float]] = {"law": [], "bare": []}
    for k in range(100, 106):
        alloy = make(law.parent, PriorConfig(n_T=3, n_mu=3, samples=1, burn=0), [(4, 4, 1)], HELD + k)
        at = alloy.condition[torch.arange(3, 9).repeat_interleave(200)]
        for name, model in (("law", law.on(alloy.hamiltonian)), ("bare", bare.on(alloy.hamiltonian))):
            occ, log_q = model.sample(at, model.order.expand(len(at), -1), torch.Generator().manual_seed(0))
            log_w = -alloy.hamiltonian.reduced_energy(occ, at) - log_q
            even[name] += [ness(row.numpy()) for row in log_w.view(6, 200)]
    assert np.mean(even["law"]) > np.mean(even["bare"]) + 0.1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"system": {"hamiltonian": "cuau"}}, "system.hamiltonian: expected one of the lattices"),
        ({"objective": {"mixed": 5}}, "mixed from 1 to alive"),
        ({"training": {"batch": 1}}, "training.batch: expected at least objective.mixed"),
        ({"prior": {"sizes": [1.0]}}, "prior.sizes: expected three numbers"),
        ({"prior": {"sparse": 2.0}}, "prior.sparse"),
        ({"prior": {"plain": -0.1}}, "prior.plain"),
        ({"prior": {"middle": 9}}, "prior.middle: expected a whole number from 0 to n_mu"),
        ({"model": {"kind": "local", "width": 8}}, "model.kind: expected 'family'"),
        ({"machine": {"workers": -1}}, "machine.workers"),
        ({"data": {"T": [500], "mu": [0.0]}}, r"sections: expected \[prior\]"),
    ],
)
def test_mistakes_are_named(change, says):
    changed = {k: dict(v) if isinstance(v, dict) else v for k, v in BASE.items()}
    for key, values in change.items():
        changed[key] = values if "kind" in values or key == "data" else {**changed.get(key, {}), **values}
    with pytest.raises(ConfigError, match=says):
        load_config(changed)
