"""The same seed gives the same bits, whatever the threads, executors, batches and the number of configurations that follow."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase.build import bulk

import alloygen
from alloygen import Anneal, Blocks, Flips, Neural
from alloygen.errors import AlloygenError
from alloygen.generate.outpaint import Outpainter
from alloygen.generate.sequential import sequential
from alloygen.models.blocks import blocks, by_blocks
from alloygen.models.draw import draw, trained_orders

ATOMS = bulk("Cu", a=3.8).repeat((2, 2, 4))
AT = dict(T=600, mu={"Au": 0.02}, seed=5)
MU = torch.tensor([0.0, 0.02], dtype=torch.float64)
WAYS = {
    "plain": dict(n=50),
    "fixed": dict(n=40, fixed={0: "Au", 3: "Cu"}, sampler=Neural(average=2)),
    "smc": dict(n=40, sampler=Neural(then=Anneal(effort=0.01))),
    "blocks": dict(n=40, sampler=Neural(then=Blocks(effort=0.1))),
    "mcmc": dict(n=40, sampler=Neural(then=Flips(effort=0.05))),
}


def bits(*values) -> str:
    return hashlib.sha256(b"".join(np.ascontiguousarray(v).tobytes() for v in values)).hexdigest()[:16]


def of_ensemble(ens) -> str:
    return bits(ens.occ, ens.log_prob, ens.energy, ens.weights, ens.free_energy().value)


def orders(model, n):
    return trained_orders(model, n, torch.Generator().manual_seed(1))


def everything() -> dict[str, str]:
    """What ways of drawing give, as digests of their bits."""
    out = {name: of_ensemble(alloygen.sample(ATOMS, **AT, **how)) for name, how in WAYS.items()}
    out["out-painted"] = of_ensemble(alloygen.sample(ATOMS.repeat((1, 1, 2)), **AT, n=20, sampler=Neural(average=2)))
    scan = alloygen.scan(ATOMS, [500, 900], {"Au": [-0.1, 0.02]}, n=40, seed=3)
    out["scan"] = bits(scan.occ, scan.log_prob, scan.energy, [scan[c].free_energy().value for c in range(len(scan))])
    chains = alloygen.mc(ATOMS, [500, 900], {"Au": [-0.1, 0.02]}, n=300, seed=3, check=False)
    for name, made in (("scan", scan), ("chains", chains)):
        f = made.free_energies()
        out[f"F(x) of {name}"] = bits(f.free_energy.values, f.free_energy_stderr.values)
    out["chains"] = bits(chains.occ, chains.energy, [[e.free_energy().value, e.free_energy().stderr] for e in chains])
    model = alloygen.load("cuau_2x2x4")
    painter = Outpainter(model, alloygen.data.cuau().on((2, 2, 8)))
    made = sequential(painter, painter.target.condition(900.0, MU), 64, torch.Generator().manual_seed(0))
    out["sequential"] = bits(made.occ, made.log_w)
    occ = model.hamiltonian.random(70, torch.Generator().manual_seed(2))
    with torch.no_grad():
        at = model.hamiltonian.condition(600.0, MU).expand(70)
        out["log_prob"] = bits(model.log_prob(occ, at, orders(model, 70)))
    return out


@pytest.fixture(scope="module")
def by_threads() -> dict[str, list]:
    """``everything`` in processes of their own, by their OMP_NUM_THREADS; "4" is told to torch too, which stops at the cores there are."""
    plain, running = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}, {}
    for threads in ("unset", "1", "4"):
        env = plain if threads == "unset" else plain | {"OMP_NUM_THREADS": threads}
        command = [sys.executable, __file__, *([threads] if threads == "4" else [])]
        running[threads] = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out = {}
    for threads, process in running.items():
        shown, errors = process.communicate()
        assert process.returncode == 0, errors.decode()
        out[threads] = json.loads(shown)
    return out


@pytest.mark.slow
@pytest.mark.parametrize("threads", ["unset", "4"])
def test_any_number_of_threads_gives_the_same_bits(by_threads, threads):
    (one, alone), (other, several) = by_threads["1"], by_threads[threads]
    assert alone == 1 and (threads != "4" or several == 4)
    assert other == one


def test_a_pass_of_another_shape_gives_other_bits():
    """Negative control: why there are blocks."""
    model, n = alloygen.load("cuau_2x2x4"), 97
    h = model.hamiltonian
    rows = (h.random(n, torch.Generator().manual_seed(2)), h.condition(600.0, MU).expand(n))
    with torch.no_grad():
        bare = lambda k: model.log_conditionals(*(x[:k] for x in (*rows, orders(model, n))))  # noqa: E731
        if torch.equal(bare(n)[:3], bare(3)):
            pytest.skip("this processor rounds products of these shapes alike")
        law = lambda k: model.log_prob(*(x[:k] for x in (*rows, orders(model, n))))  # noqa: E731
        assert torch.equal(law(n)[:3], law(3))


@pytest.mark.slow
@pytest.mark.parametrize("name", WAYS)
def test_the_first_are_those_of_a_shorter_draw_and_any_batch_gives_them(name):
    how = {k: v for k, v in WAYS[name].items() if k != "n"}
    long = alloygen.sample(ATOMS, **AT, n=40, **how)
    for n, batch in ((23, None), (40, 1), (7, 10**6)):
        sampler = replace(how.get("sampler", Neural()), batch=batch)
        short = alloygen.sample(ATOMS, **AT, n=n, **(how | {"sampler": sampler}))
        assert np.array_equal(short.occ, long.occ[:n]) and np.array_equal(short.log_prob, long.log_prob[:n])


@pytest.mark.slow
def test_the_head_rule_holds_in_scans_and_out_painting():
    grid = dict(T=[600], mu={"Au": [0.0, 0.02]}, seed=2)
    long, short = (alloygen.scan(ATOMS, n=n, **grid) for n in (50, 20))
    assert np.array_equal(short.occ, long.occ[:, :20]) and np.array_equal(short.log_prob, long.log_prob[:, :20])
    long, short = (alloygen.sample(ATOMS.repeat((1, 1, 2)), **AT, n=n, sampler=Neural(average=2)) for n in (40, 18))
    assert np.array_equal(short.occ, long.occ[:18]) and np.array_equal(short.log_prob, long.log_prob[:18])


def test_seeds_are_0_by_default_and_a_fresh_one_is_told():
    one = lambda **seed: alloygen.sample(ATOMS, 600, {"Au": 0.02}, n=8, **seed)  # noqa: E731
    assert np.array_equal(one().occ, one(seed=0).occ) and one().info["seed"] == 0
    fresh = one(seed=None)
    assert not np.array_equal(fresh.occ, one(seed=None).occ)
    assert np.array_equal(fresh.occ, one(seed=fresh.info["seed"]).occ)
    scan = alloygen.scan(ATOMS, [600], {"Au": 0.02}, n=8, seed=None)
    again = alloygen.scan(ATOMS, [600], {"Au": 0.02}, n=8, seed=scan.info["seed"])
    assert np.array_equal(scan.occ, again.occ)


@pytest.mark.parametrize("change, says", [
    (dict(n=float("nan")), "n, the number"),
    (dict(n=None), "n, the number"), (dict(n=float("inf")), "n, the number"),
    (dict(seed=-1), "seed"), (dict(seed=1.5), "seed"), (dict(seed=2**64), "seed"),
    (dict(sampler=Neural(stride="x"), atoms=ATOMS.repeat((1, 1, 2))), "stride"), (dict(sampler=Neural(stride=[1, 2]), atoms=ATOMS.repeat((1, 1, 2))), "stride"),
    (dict(sampler=Neural(stride=0), atoms=ATOMS.repeat((1, 1, 2))), "stride"), (dict(sampler=Neural(stride=1.5), atoms=ATOMS.repeat((1, 1, 2))), "stride"),
])  # fmt: skip
def test_odd_values_are_refused_before_any_work(change, says, monkeypatch):
    monkeypatch.setattr("alloygen.models.causal.CausalModel.sample", lambda *a, **k: pytest.fail("it was drawn"))
    with pytest.raises(AlloygenError, match=f"expected .*{says}.*got"):
        alloygen.sample(**(dict(atoms=ATOMS, T=600, mu={"Au": 0.02}, n=5) | change))
    if says == "seed":
        with pytest.raises(AlloygenError, match=f"expected .*{says}.*got"):
            alloygen.scan(**(dict(atoms=ATOMS, T=600, mu={"Au": 0.02}, n=5) | change))


@pytest.mark.parametrize("kind, odd, says", [
    *((Neural, dict(batch=b), "batch") for b in (0, 2.5, "all")), *((Neural, dict(average=a), "average") for a in (0, None)),
    *((Neural, dict(order=o), "order") for o in ("spiral", 3)),
    *((r, dict(effort=e), "effort") for r in (Anneal, Blocks, Flips) for e in (0, float("nan"), None)),
])  # fmt: skip
def test_samplers_refuse_odd_values_when_they_are_made(kind, odd, says):
    with pytest.raises(AlloygenError, match=f"expected .*{says}.*got"):
        kind(**odd)


# ---------------------------------------------------------------------- blocks
@pytest.fixture
def four_threads():
    """Four threads for torch, and its default for other threads; both as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def default_threads() -> int:
    """What a new thread starts with."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(torch.get_num_threads).result()


def test_blocks_have_places_that_do_not_depend_on_how_many_rows_there_are():
    assert list(blocks(1)) == [(0, 16)] and list(blocks(300)) == list(blocks(1000))[:6]
    for start, size in blocks(1000):
        assert list(blocks(start + size))[-1] == (start, size)


def test_rows_come_back_in_their_order_and_in_blocks_of_full_size(four_threads):
    seen = []

    def twice(x, y):
        seen.append((len(x), torch.get_num_threads()))
        return 2 * x, x + y

    x = torch.arange(300)
    double, total = by_blocks(twice, x, x[:, None].expand(-1, 3)[:, 0])
    assert torch.equal(double, 2 * x) and torch.equal(total, 2 * x)
    assert sorted(seen) == [(16, 1), (16, 1), (32, 1), (64, 1), (128, 1), (128, 1)]


def test_threads_of_the_caller_are_as_before_even_where_many_draw_at_once(four_threads):
    model = alloygen.load("cuau_2x2x4")
    plain = draw(model, model.hamiltonian.condition(600.0, MU), 40, torch.Generator().manual_seed(0))

    def one(own):
        torch.get_num_threads()  # a new thread takes the default at its first look, after that its own number stays
        torch.set_num_threads(own)
        made = draw(model, model.hamiltonian.condition(600.0, MU), 40, torch.Generator().manual_seed(0))
        return torch.get_num_threads() == own and all(torch.equal(a, b) for a, b in zip(made, plain, strict=True))

    with ThreadPoolExecutor(3) as pool:
        assert all(pool.map(one, [1, 2, 4, 1, 2, 4]))
    torch.set_num_threads(4)
    draw(model, model.hamiltonian.condition(600.0, MU), 20, torch.Generator().manual_seed(0))
    assert torch.get_num_threads() == 4 and default_threads() == 4


def test_an_error_in_a_block_is_the_callers_and_leaves_its_threads(four_threads):
    def stops(x):
        if int(x[0]) == 64:
            raise ValueError("at 64")
        return x

    with pytest.raises(ValueError, match="at 64"):
        by_blocks(stops, torch.arange(1000))
    assert torch.get_num_threads() == 4 and not [t for t in threading.enumerate() if t.name.startswith("alloygen")]


def test_gradients_and_autocast_reach_the_threads(four_threads):
    weight = torch.ones(8, 8, requires_grad=True)
    rows = torch.ones(200, 8)
    by_blocks(lambda x: (x @ weight).sum(1), rows).sum().backward()
    assert torch.equal(weight.grad, torch.full((8, 8), 200.0))
    with torch.no_grad():
        assert not by_blocks(lambda x: x @ weight, rows).requires_grad
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert by_blocks(lambda x: x @ weight, rows).dtype == torch.bfloat16


if __name__ == "__main__":
    if sys.argv[1:]:
        torch.set_num_threads(int(sys.argv[1]))
    print(json.dumps([everything(), torch.get_num_threads()]))
