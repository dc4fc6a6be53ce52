"""The figures of the paper's models that have a target. Run: python tests/benchmarks/paper_models.py [--only ROW ...]

Checks (seconds): the REINFORCE gradient against the enumerated one, the consistency loss at an exact law, symmetries of
the networks. Trainings (the configurations of data/small/, at most 30 minutes of two cores each, one process each): CuAu
2x2x4 by REINFORCE against enumeration at the 110 conditions, Ising 6x6 by REINFORCE and Ising 10x10 by maximum likelihood
against the transfer matrix. A run that was interrupted goes on; results go to tests/benchmarks/results/paper_models/.
"""

import argparse
import json
import sys
import warnings
from pathlib import Path

import numpy as np
import torch

import alloygen
from alloygen.data import configurations
from alloygen.errors import LowSampleSize
from alloygen.exact.ising import transfer_matrix
from alloygen.runtime.job import Job
from alloygen.training import evaluate
from alloygen.training.reference import reference_samples

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
TRAININGS = {
    "small/cuau_2x2x4_mam_transformer": (2_000, "largest error of Phi at 110 conditions <= 1 meV/site"),
    "small/cuau_2x2x4_arm_mlp": (10_000, "largest error of Phi at 110 conditions <= 1 meV/site"),
    "small/ising_6x6_mam_transformer": (300, "NESS mean >= .9"),
    "small/ising_10x10_arm_transformer": (32, "NESS mean >= .9"),
    "small/ising_10x10_arm_transformer_plain": (32, "NESS mean >= .9"),
}


# ---------------------------------------------------------------------- checks
def gradient() -> None:
    """Mean REINFORCE gradient on a 2x2 system against the gradient of KL(q || p) over all 16 states."""
    from alloygen.hamiltonian.ising import ising
    from alloygen.models.masked import AutoregressiveModel
    from alloygen.objectives.reinforce import advantage, draw

    h = ising(2, h=0.15)
    torch.manual_seed(0)
    net = AutoregressiveModel(h, {"T": [2.0, 3.0], "mu": [[0.0, 0.4]]}, network="mlp", width=8, depth=2)
    with torch.no_grad():
        for p in net.parameters():
            p.normal_(std=0.3, generator=torch.Generator().manual_seed(p.numel()))
    order = torch.tensor([2, 0, 3, 1])
    every = torch.cartesian_prod(*[torch.arange(2)] * 4)

    def at(n):
        return h.condition(2.4, [0.0, 0.3]).expand(n), order.expand(n, -1)

    log_q = net.log_prob(every, *at(16))
    value = log_q + h.reduced_energy(every, at(16)[0])

    def flat(loss):
        grads = torch.autograd.grad(loss, list(net.parameters()), allow_unused=True)
        return torch.cat([g.flatten() for g in grads if g is not None])

    exact = flat((log_q.exp() * value).sum())
    # the gradient of a batch is linear in its counts: one score per state, then sums
    scores = torch.stack([flat(net.log_prob(every[i : i + 1], *at(1)).sum()) for i in range(16)]).double()
    generator = torch.Generator().manual_seed(1)
    batches = {"centred": [], "not centred": []}
    for _ in range(400):
        d = draw(net, *at(200), torch.zeros(200, dtype=torch.long), generator, floor=None)
        index = (d.occ * torch.tensor([8, 4, 2, 1])).sum(1)
        batches["centred"].append((d.advantage[:, None] * scores[index]).mean(0))
        batches["not centred"].append((d.value[:, None] * scores[index]).mean(0))
    assert torch.allclose(advantage(d.value, torch.zeros(200, dtype=torch.long), None), d.advantage)
    direction = exact.double() / exact.double().norm()
    for name, rows in batches.items():
        along = torch.stack(rows) @ direction
        error = along.std() / len(along) ** 0.5
        z = (along.mean() - exact.double() @ direction) / error
        wrong = (-along.mean() - exact.double() @ direction) / error
        print(f"gradient, {name:11}: |exact| {exact.norm():.5f}, mean along it {along.mean():.5f} +- {error:.5f} (z = {z:+.1f}; "
              f"with the wrong sign z = {wrong:+.0f})")  # fmt: skip


def consistency_at_the_exact_law() -> None:
    from objectives.test_marginal import Exact, rows

    from alloygen.objectives.marginal import consistency

    c = torch.cat([consistency(Exact(), *rows(64, depth), torch.full((64,), depth)) for depth in range(9)])
    wrong = torch.cat([consistency(Exact(blur=0.2), *rows(64, depth), torch.full((64,), depth)) for depth in range(9)])
    print(f"consistency at the exact law of Ising 3x3: largest C = {c.max():.1e} over {len(c)} draws of (x, order, step); of "
          f"conditionals mixed with 20 % uniform: mean {wrong.mean():.1e}")  # fmt: skip


def symmetries() -> None:
    from alloygen.lattice import Lattice, Primitive
    from alloygen.nn.masked import build

    size = dict(width=32, depth=2, heads=4, expand=2, radial=8, cutoff=4.0, offset=1.0)
    ranges = {"T": [300, 900], "mu": [[-0.1, 0.1]]}
    lattice = alloygen.data.cuau().on((4, 4, 4)).lattice
    g = torch.Generator().manual_seed(0)
    state = torch.randint(3, (8, 64), generator=g)
    T, mu = torch.full((8,), 600.0).double(), torch.full((8, 1), 0.02).double()
    moved = torch.as_tensor(lattice.translations[5])
    for name in ("transformer", "painn", "mlp"):
        torch.manual_seed(0)
        net = build(name, lattice, ranges, 2, True, size)
        with torch.no_grad():
            for p in net.parameters():
                p.add_(0.05 * torch.randn(p.shape, generator=g))
            sites, marginal = net(state, T, mu)
            image = torch.empty_like(state)
            image[:, moved] = state
            other, same = net(image, T, mu)
        gap = max(float((other[:, moved] - sites).abs().max()), float((same - marginal).abs().max()))
        print(f"translation of {name:12}: largest change {gap:.1e} of outputs up to {sites.abs().max():.2f}"
              + (" (has no such symmetry)" if name == "mlp" else ""))  # fmt: skip
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    p = lattice.primitive
    turned = Lattice(Primitive(p.cell @ turn.T, p.basis, p.species, p.pbc), lattice.matrix)
    one, two = (build("painn", x, ranges, 2, True, size) for x in (lattice, turned))
    with torch.no_grad():
        for q in one.parameters():
            q.add_(0.05 * torch.randn(q.shape, generator=g))
        two.load_state_dict(one.state_dict())
        a, b = one(state, T, mu)[0], two(state, T, mu)[0]
    print(f"rotation of painn: largest change {float((a - b).abs().max()):.1e} of outputs up to {a.abs().max():.2f}")


# ---------------------------------------------------------------------- trainings
def name_of(h) -> str:
    return "ising" if h.expansion.name == "Ising" else "cuau"


def grid(h) -> tuple[np.ndarray, np.ndarray]:
    """The conditions of a system: the 110 of CuAu, or T = 1.5 .. 3.5 step 0.1 times h = 0, 0.2, 0.4."""
    if name_of(h) == "cuau":
        return alloygen.data.grids()["cuau"].pairs()
    T = np.linspace(1.5, 3.5, 21).round(6)
    return np.repeat(T, 3), np.tile([0.0, 0.4, 0.8], len(T))


def training(name: str, folder: Path, threads: int) -> None:
    torch.set_num_threads(threads)
    n, target = TRAININGS[name]
    run = folder / name.removeprefix("small/")
    model = alloygen.train(config=configurations()[name], folder=run, progress=sys.stderr.isatty())
    h, exact = model.hamiltonian, None
    T, mu = grid(h)
    at, fine = h.condition(T, np.column_stack([np.zeros_like(mu), mu])), alloygen.data.grids()[name_of(h)]
    if name_of(h) == "ising":
        L = round(h.n_sites**0.5)
        exact = [transfer_matrix(L, t, m / 2).free_energy - m / 2 for t, m in zip(T, mu, strict=True)]
    reference = reference_samples(h, at, 500, seed=1, dT=fine.dT, dmu=fine.dmu)
    rows = evaluate.evaluate(
        model, at, n, reference=reference, phi=exact, forward=min(100, n // 2), job=Job(progress=sys.stderr.isatty())
    )
    print(f"\n{name} ({target})")
    evaluate.print_table(rows, h.unit)
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    evaluate.write_json(folder / f"{run.name}.json", rows, config=name, n=n, steps=log[-1]["step"], target=target)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--only", nargs="+", choices=["checks", *TRAININGS], default=["checks", *TRAININGS])
    p.add_argument("--threads", type=int, default=2, help="threads of the evaluation; training takes those of its file")
    p.add_argument("--results", default=str(HERE / "results" / "paper_models"))
    args = p.parse_args()
    warnings.simplefilter("ignore", LowSampleSize)  # the NESS stands in each row
    for name in args.only:
        if name == "checks":
            gradient(), consistency_at_the_exact_law(), symmetries()
        else:
            training(name, Path(args.results), args.threads)


if __name__ == "__main__":
    main()
