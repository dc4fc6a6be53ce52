"""One law for every supercell: the same weights on cells of any shape, exact weights against enumeration, training on several cells."""

import gc
import json
import multiprocessing

import numpy as np
import pytest
import torch
from ase.build import bulk
from small_systems import generator, hamiltonian, randomise, recipe, same_weights

import alloygen
from alloygen.errors import ConfigError, LatticeMismatch
from alloygen.exact.enumeration import Enumeration
from alloygen.models.draw import draw
from alloygen.models.local import LocalModel, reference
from alloygen.models.store import load_model, read_header, save_model
from alloygen.orders import LEVELS
from alloygen.runtime.tensors import read_tensors
from alloygen.training import tasks
from alloygen.training.config import load_config
from alloygen.training.feed import AHEAD
from alloygen.training.kinds import PatchesConfig
from alloygen.training.loop import TrainingInterrupted, new_model, train
from alloygen.training.patches import WORST, Cell
from alloygen.training.sections import MOST_WORKERS
from alloygen.training.tasks import make_task

RANGES = {"T": (300.0, 1200.0), "mu": [(-0.1, 0.1)]}
CUBIC = [[-1, 1, 1], [1, -1, 1], [1, 1, -1]]
BASE = {
    "name": "tiny",
    "system": {"hamiltonian": "cuau", "repeats": [2, 2, 2], "more": [[2, 2, 4], CUBIC]},
    "data": {"T": [500, 900], "mu": [-0.04, 0.03, 0.07], "samples": 32, "sweeps": 5, "burn": 20},
    "model": {"kind": "local", "width": 8, "depth": 2, "window": 18, "levels": 2},
    "objective": {
        "kind": "patches",
        "sweeps": 2,
        "images": 16,
        "known": 0.3,
        "foreign": 0.5,
        "hard": 0.5,
        "hard_draws": 4,
        "hard_every": 10,
        "own": 0.2,
        "own_group": 8,
    },
    "training": {"steps": 30, "batch": 32, "lr": 3e-3, "warmup": 3, "ema": 0.9},
    "validation": {"every": 15, "samples": 8},
    "machine": {"threads": 1},
}


@pytest.fixture(scope="module")
def law():
    """A law of CuAu with random weights everywhere."""
    torch.manual_seed(0)
    model = LocalModel(alloygen.data.cuau().on((2, 2, 4)), RANGES, width=8, depth=2, window=18, levels=2)
    return randomise(model).eval()


@pytest.mark.parametrize(
    "cell", [(2, 2, 2), (2, 2, 4), (3, 2, 1), CUBIC, [[2, 1, 0], [0, 2, 1], [0, 0, 3]], (1, 1, 1)], ids=str
)
def test_one_set_of_weights_is_a_law_on_every_cell(law, cell):
    """Normalised, and its importance weights give the partition function, on cells that have seams, skew, or one site."""
    model = law.on(law.hamiltonian.expansion.on(cell))
    exact, order = Enumeration(model.hamiltonian), model.placed.order
    at = model.hamiltonian.condition(900.0, [0.0, 0.02])
    rows = torch.as_tensor(exact.occ).long()
    with torch.no_grad():
        log_q = torch.cat([model.log_prob(x, at.expand(len(x)), order.expand(len(x), -1)) for x in rows.split(512)])
    assert abs(float(log_q.exp().sum()) - 1) < 1e-5
    occ, log_prob = draw(model, at, 256, generator())
    again = model.log_prob(occ, at.expand(256), order.expand(256, -1)).detach()
    assert (again - log_prob).abs().max() < 1e-4


def test_cells_share_their_weights(law):
    larger = law.on(law.hamiltonian.expansion.on((4, 4, 4)))
    assert {id(p) for p in larger.parameters()} == {id(p) for p in law.parameters()}
    assert larger.lattice.n_sites == 64 and law.lattice.n_sites == 16 and law.on(law.hamiltonian) is law
    with pytest.raises(LatticeMismatch, match="expected a supercell of the Hamiltonian"):
        law.on(hamiltonian("ising-3"))


def test_a_fine_site_of_a_large_cell_is_decided_as_that_of_a_small_one(law):
    """Where the surroundings are alike the conditionals are: a periodic pattern on 4x4x4 and the same on 8x8x8."""
    narrow = LocalModel(law.hamiltonian, RANGES, width=8, depth=2, window=18, levels=1)
    randomise(narrow)
    small, large = (narrow.on(law.hamiltonian.expansion.on((n, n, n))) for n in (4, 8))
    occ = small.hamiltonian.random(1, generator())
    lattice = large.lattice
    pattern = occ[:, torch.as_tensor(small.lattice.index(lattice.offsets, lattice.sublattice))]
    found = []
    for model, x in ((small, occ), (large, pattern)):
        at, order = model.hamiltonian.condition(700.0, [0.0, 0.0]).expand(1), model.placed.order
        last = order[-1:]
        with torch.no_grad():
            found.append(model.log_conditionals(x, at, order[None])[0, -1])
        assert (model.lattice.offsets[last] % 2).any()
    assert torch.allclose(found[0], found[1], atol=1e-6)


def test_every_channel_of_the_expansion_is_known_to_the_law(law):
    whole = reference(law.hamiltonian.expansion)
    assert whole.n_channels == 10 and len(law.scale) == 10
    assert set(law.placed.channels.tolist()) <= set(range(11))


def test_sites_that_do_not_see_each_other_are_drawn_together(law):
    model = LocalModel(law.hamiltonian, RANGES, width=8, depth=2, window=12, levels=1)
    big = model.on(law.hamiltonian.expansion.on((8, 8, 8)))
    groups = big.schedule(big.placed.order, torch.zeros(512, dtype=torch.bool))
    assert len(groups) < 256 and sorted(torch.cat(groups).tolist()) == list(range(512))
    rank = torch.argsort(big.placed.order)
    for sites in groups:
        near = torch.isin(big.placed.interacting[sites], sites)
        assert not near.any() and len(torch.unique(big.placed.kind[sites])) == 1
    assert (rank[groups[0]] == 0).all()


def test_sample_takes_the_law_to_any_supercell(law):
    """``alloygen.sample`` on a cubic cell and a long one, in the caller's order, with held sites; weights are exact."""
    cubic = bulk("Cu", a=3.8, cubic=True).repeat((2, 1, 1))
    law = LocalModel(law.hamiltonian, RANGES, width=8, depth=2, window=18, levels=2)  # bare physics
    ens = alloygen.sample(cubic, 900, {"Au": 0.02}, n=4000, seed=0, sampler=law)
    h = ens.hamiltonian
    truth = Enumeration(h).at(h.condition(900.0, [0.0, 0.02]))
    assert ens.n_sites == 8 and abs(ens.free_energy().value - truth.phi) < 4 * ens.free_energy().stderr
    held = alloygen.sample(cubic, 900, {"Au": 0.02}, n=200, seed=0, fixed={0: "Au", 5: "Cu"}, sampler=law)
    assert all(a[0].symbol == "Au" and a[5].symbol == "Cu" for a in held.atoms[:20])


def test_a_checkpoint_says_that_it_serves_any_cell(law, tmp_path):
    save_model(tmp_path / "law.safetensors", law)
    header = read_header(tmp_path / "law.safetensors")
    assert header.any_cell and not read_header(alloygen.registry.named("cuau_2x2x4")).any_cell
    again = load_model(tmp_path / "law.safetensors")
    order = law.placed.order[None]
    occ, at = law.hamiltonian.random(1, generator()), law.hamiltonian.condition(600.0, [0.0, 0.0]).expand(1)
    exactly = {k: torch.equal(v, law.state_dict()[k].half().float()) for k, v in again.state_dict().items()}
    assert all(exactly.values()) and {v.dtype for v in read_tensors(tmp_path / "law.safetensors")[0].values()} == {
        torch.float16
    }
    assert torch.allclose(again.log_prob(occ, at, order), law.log_prob(occ, at, order), atol=0.02)
    save_model(tmp_path / "again.safetensors", again)
    assert same_weights(tmp_path / "law.safetensors", tmp_path / "again.safetensors")


def test_tables_go_to_the_device_of_what_they_meet(law):
    """On a device that computes nothing, shapes and places alone."""
    tables, device = law._tables(torch.device("meta")), torch.device("meta")
    assert {t.device for t in vars(tables).values()} == {device} and law.placed.order.device.type == "cpu"
    assert tables.slots.shape == law.placed.slots.shape and law._tables(device) is tables


def test_turned_supercells_are_one(law):
    """2x2x4, 4x2x2 and 2x4x2 are the same cell in another position: the same law, site by site."""
    expansion = law.hamiltonian.expansion
    one, occ = law.on(expansion.on((2, 2, 4))), law.on(expansion.on((2, 2, 4))).hamiltonian.random(6, generator())
    at = one.hamiltonian.condition(600.0, [0.0, 0.03]).expand(6)
    expected = one.log_prob(occ, at, one.placed.order.expand(6, -1))
    for cell in ((4, 2, 2), (2, 4, 2)):
        other = law.on(expansion.on(cell))
        row = one.lattice.site_map(other.lattice)
        found = other.log_prob(occ[:, row], at, other.placed.order.expand(6, -1))
        assert torch.allclose(found, expected, atol=1e-5)
        assert np.array_equal(LEVELS.draw(other.lattice, 1, generator())[0], other.placed.order)


# ---------------------------------------------------------------------- training
@pytest.mark.slow
def test_training_on_several_cells_resumes_bit_for_bit_with_any_number_of_workers(tmp_path, monkeypatch):
    monkeypatch.setattr(tasks, "LAG", 2 * AHEAD + 1)  # measurements count within the run
    base = recipe(BASE, steps=40)
    whole = train(base, tmp_path / "whole", progress=False)
    with pytest.raises(TrainingInterrupted):
        train(base, tmp_path / "cut", progress=False, stop_at=17)
    assert same_weights(train(base, tmp_path / "cut", progress=False), whole)
    helped = recipe(BASE, steps=40, machine={"threads": 1, "workers": 2})
    gc.disable()  # processes end with their run, not when what holds them is thrown away
    try:
        with pytest.raises(TrainingInterrupted):
            train(helped, tmp_path / "helped", progress=False, stop_at=13)
        assert not multiprocessing.active_children()
    finally:
        gc.enable()
    assert same_weights(train(helped, tmp_path / "helped", progress=False), whole)


def test_no_batch_is_asked_for_before_the_measurement_that_it_is_by():
    assert tasks.LAG > MOST_WORKERS * AHEAD


def test_a_measurement_counts_from_some_batches_later_on(tmp_path, monkeypatch):
    """What a batch knows of the spread is that of the last measurement LAG batches before it, after a resumption too."""
    monkeypatch.setattr(tasks, "LAG", 7)
    config = load_config(recipe(BASE, own=0.0))
    task = make_task(config, new_model(config, config.expansion().on((2, 2, 2))), tmp_path / "data.safetensors", False)
    asked, measured = [], []

    def spread(n, generator):
        measured.append(task.drawn)
        return torch.full((6,), float(task.drawn), dtype=torch.float64)

    monkeypatch.setattr(task.cells[0], "spread", spread)
    monkeypatch.setattr(task, "make", lambda one: (0, asked.append(one) or task.cells[0].batch(2, generator())))
    for k in range(35):
        if k == 23:
            state = task.state()
            task.spreads, task.drawn = {}, 0
            task.load(state)
        task.draw(None, generator())
    assert measured == [0, 10, 20, 30]
    first = {0: 0.0, 17: 5.0, 27: 12.5}  # means of all so far
    for number, known in asked:
        assert float(known[0]) == first[max(k for k in first if k <= number)]
    assert [number for number, _ in asked] == list(range(35))


@pytest.mark.slow
def test_a_law_learns_and_serves_a_cell_that_it_never_saw(tmp_path):
    """Its weights get more even than those of bare physics, and on a cell that no training saw they give Phi with its error."""
    model = {"kind": "local", "width": 32, "depth": 2, "window": 42, "levels": 2}
    changed = recipe(BASE, steps=350, batch=64, model=model, validation={"every": 350})
    trained = load_model(train(changed, tmp_path, progress=False))
    torch.manual_seed(0)
    bare = LocalModel(trained.hamiltonian, trained.ranges, width=8, depth=2, window=18, levels=2)
    spread = []
    for law in (trained, bare):
        law = law.on(law.hamiltonian.expansion.on((2, 2, 4)))
        at = law.hamiltonian.condition(900.0, [0.0, 0.03])
        occ, log_q = draw(law, at, 1000, generator())
        spread.append(float((-law.hamiltonian.reduced_energy(occ, at) - log_q).var()))
    assert spread[0] < 0.75 * spread[1]
    ens = alloygen.sample(bulk("Cu", a=3.8).repeat((2, 2, 3)), 900, {"Au": 0.03}, n=2000, seed=0, sampler=trained)
    exact = Enumeration(ens.hamiltonian).at(ens.hamiltonian.condition(900.0, [0.0, 0.03]))
    phi = ens.free_energy()
    assert abs(phi.value - exact.phi) < 4 * phi.stderr < 4e-4
    assert json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])["ness"] > 0.7


@pytest.mark.slow
def test_polish_begins_with_a_checkpoint(tmp_path):
    path = train(recipe(BASE), tmp_path / "first", progress=False)
    polish = {k: v for k, v in recipe(BASE).items() if k != "data"}
    polish["objective"] = {"kind": "reinforce", "advantage_floor": 1.0}
    polish["conditions"] = {"T": [500, 900], "mu": [-0.04, 0.07], "n_T": 2, "n_mu": 2}
    polish["training"] = {**polish["training"], "start": str(path), "lr": 1e-9, "steps": 2}
    after = load_model(train(polish, tmp_path / "second", progress=False))
    before = load_model(path)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(after.parameters(), before.parameters(), strict=True))
    polish["model"] = {**polish["model"], "width": 16}
    with pytest.raises(ConfigError, match=r"training.start: expected a checkpoint of a 'local' model"):
        train(polish, tmp_path / "third", progress=False)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"system": {"more": [[2, 0, 2]]}}, "system.more: expected supercells"),
        ({"model": {"kind": "causal", "width": 16, "heads": 2}}, "model.kind: expected 'local'"),
        ({"objective": {"per_kind": 0}}, "per_kind >= 1"),
        ({"objective": {"pool": 64}}, "expected the keys"),
        ({"machine": {"workers": 33}}, "machine.workers: expected from 0 to"),
        ({"objective": {"hard": 1.5}}, "objective.hard: expected a fraction"),
        ({"objective": {"hard": 0.5, "hard_draws": 1}}, "hard_draws >= 2"),
        ({"model": {"kind": "local", "width": 7}}, "model.width: expected an even number"),
        ({"orders": {"weights": {"raster": 1.0}}}, "orders: expected"),
        ({"data": {"moves": "wolff"}}, "data.moves: expected one of"),
    ],
)
def test_mistakes_are_named(change, says):
    changed = {k: dict(v) if isinstance(v, dict) else v for k, v in BASE.items()}
    for key, values in change.items():
        changed[key] = values if "kind" in values else {**changed.get(key, {}), **values}
    with pytest.raises(ConfigError, match=says):
        load_config(changed)


def test_more_cells_are_for_a_local_model_alone():
    with pytest.raises(ConfigError, match=r'system.more: expected none but for a "local" model'):
        load_config({"system": {"more": [[2, 2, 2]]}, "data": {"T": [500], "mu": [0.0]}})


def test_conditions_are_drawn_by_the_measured_spread_of_the_weights(law):
    """The spread is that of log weights under the law, by enumeration, and a share of the batches follows it."""
    law = law.on(law.hamiltonian.expansion.on((2, 2, 2)))
    h, n = law.hamiltonian, 3000
    condition = h.condition([20000.0, 250.0, 900.0], [[0.0, 0.0], [0.0, 0.02], [0.0, 0.02]])
    occ = h.random(3 * 50, generator()).to(torch.int8).view(3, 50, -1)
    cell = Cell(law, condition, occ, PatchesConfig(sweeps=0, images=0, hard=0.75))
    every = torch.cartesian_prod(*[torch.arange(2)] * h.n_sites)
    order = law.placed.order.expand(len(every), -1)
    exact = []
    for one in condition:
        at = one.expand(len(every))
        with torch.no_grad():
            log_q = law.log_conditionals(every, at, order).gather(2, every.gather(1, order)[..., None]).sum((1, 2))
        log_w = -h.reduced_energy(every, at) - log_q
        mean = (log_q.exp() * log_w).sum()
        exact.append(float((log_q.exp() * (log_w - mean) ** 2).sum().sqrt()))
    assert sorted(exact)[1] + 0.1 < WORST < max(exact)  # a choice to be made
    spread = cell.spread(n, generator())
    assert np.allclose(spread, np.minimum(exact, WORST), rtol=0.15)
    share = cell.share(spread)
    assert torch.allclose(share, 0.25 * cell.share() + 0.75 * spread / spread.sum())
    drawn = torch.stack([cell.batch(8, generator(k), spread).condition.T for k in range(100)]).flatten()
    counted = torch.stack([(drawn == T).double().mean() for T in condition.T])
    assert torch.allclose(counted, share, atol=4 * 0.5 / 800**0.5)


def test_a_batch_holds_what_the_law_says_of_its_sites(law):
    """The loss of a whole configuration is that of its sites, kind by kind."""
    h = law.hamiltonian
    occ = h.random(8, generator()).to(torch.int8)[None]
    how = PatchesConfig(per_kind=16, sweeps=0, images=0)
    cell = Cell(law, h.condition([900.0], [[0.0, 0.0]]), occ, how)
    part = cell.batch(8, generator())
    kept = law.placed.order.untyped_storage().data_ptr()
    assert kept not in {x.untyped_storage().data_ptr() for x in (*part.tensors().values(), part.order)}  # it may travel
    with torch.no_grad():
        loss = cell.kinds.loss(law, part)
        log_p = law.log_conditionals(part.occ, part.condition, part.order)
    from alloygen.objectives.likelihood import heat_bath

    labels = torch.gather(heat_bath(h, part.occ, part.condition), 1, part.order[..., None].expand(-1, -1, 2))
    rank = torch.argsort(law.placed.order)
    open_ = (rank[law.placed.interacting] > rank[:, None]).any(1)[law.placed.order]
    whole = torch.isin(law.placed.kind[law.placed.order], cell.kinds.numbers)
    assert bool((whole | ~open_).all())
    steps = -(labels * log_p.masked_fill(labels == 0, 0)).sum(2)
    assert np.allclose(loss, steps[:, whole].sum(1), atol=1e-4)
