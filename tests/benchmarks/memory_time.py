"""What ARM and MAM cost: memory of a training step against N, and time to draw and to score configurations.

Run: python tests/benchmarks/memory_time.py [--quick] [--figure PATH]

1. One training step of the same Transformer on Ising LxL as ARM (REINFORCE through the chain) and as MAM (marginal), equal
   batch, on one core. Counted are the bytes of tensors that the backward pass keeps (unique storages, without parameters)
   and, in a fresh process for each point, the growth of the peak resident memory during the step (Linux).
2. Drawing and exact log-likelihood: masked networks (N passes) against the order-causal model (key-value cache, one pass),
   in batches that are large enough for each to be limited by arithmetic.

Tables go to standard output, results to tests/benchmarks/results/memory_time.json.
"""

import argparse
import json
import re
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

import alloygen.data
from alloygen import orders
from alloygen.hamiltonian.ising import ising
from alloygen.hamiltonian.source import expansion_from
from alloygen.models.causal import CausalModel
from alloygen.models.masked import AutoregressiveModel
from alloygen.training.config import load_config
from alloygen.training.loop import Trainer, new_model
from alloygen.training.tasks import make_task

KINDS = {"ARM": "arm", "MAM": "mam"}
OBJECTIVES = {"ARM": {"kind": "reinforce"}, "MAM": {"kind": "marginal", "gibbs": 10}}
MB, BATCH = 1e6, 16
BATCHES = {"causal": 64, "mlp": 64, "transformer": 8, "painn": 1}  # configurations at once when drawing and scoring
SIZE = {"network": "transformer", "width": 64, "depth": 2, "heads": 4, "expand": 1}


# ---------------------------------------------------------------------- 1. memory of a training step
def trainer(name: str, L: int) -> Trainer:
    c = load_config({
        "system": {"hamiltonian": "ising", "repeats": [L, L, 1]},
        "conditions": {"T": [1.5, 3.5], "mu": [-0.8, 0.8], "n_T": 2, "n_mu": 2},
        "model": {"kind": KINDS[name], **SIZE},
        "objective": OBJECTIVES[name],
        "orders": {"weights": {"random": 1.0}},
        "training": {"batch": BATCH, "steps": 10},
    })  # fmt: skip
    h = expansion_from(c.system.hamiltonian).on(c.system.repeats)
    model = new_model(c, h)
    return Trainer(c, model, make_task(c, model, Path("unused"), progress=False))


def resident(key: str) -> int:
    """Bytes of resident memory of this process: "VmRSS" now, "VmHWM" at its peak."""
    return 1024 * int(re.search(rf"{key}:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])


def kept_for_backward(t: Trainer) -> int:
    """Bytes of the storages that one step keeps for its backward pass, each once; parameters do not count."""
    parameters = {p.untyped_storage().data_ptr() for p in t.model.parameters()}
    seen = {}

    def pack(x):
        storage = x.untyped_storage()
        if storage.data_ptr() not in parameters:
            seen[storage.data_ptr()] = storage.nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        t.advance()
    return sum(seen.values())


def memory(name: str, L: int) -> dict:
    """One point, in a process of its own: everything is loaded by a step on four sites before the memory is read."""
    torch.set_num_threads(1)
    trainer(name, 2).advance()
    t = trainer(name, L)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from here
    before, start = resident("VmRSS"), time.perf_counter()
    t.advance()
    seconds, growth = [time.perf_counter() - start], resident("VmHWM") - before
    while len(seconds) < 2 or (len(seconds) < 6 and sum(seconds) < 3):
        start = time.perf_counter()
        t.advance()
        seconds.append(time.perf_counter() - start)
    return {"N": L * L, "kept": kept_for_backward(t), "growth": growth, "seconds": min(seconds)}


def slope(points: list[dict], key: str) -> float:
    return float(np.polyfit(np.log([p["N"] for p in points]), np.log([max(1e-6, p[key]) for p in points]), 1)[0])


def memory_table(sides: list[int]) -> dict:
    out = {name: [] for name in KINDS}
    for L in sides:
        for name in KINDS:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                out[name].append(pool.submit(memory, name, L).result())
            p = out[name][-1]
            print(
                f"  {name} {L}x{L}: {p['kept'] / MB:.1f} MB kept, {p['growth'] / MB:.1f} MB resident, {p['seconds']:.2f} s",
                flush=True,
            )
    what = ", ".join(f"{k} {v}" for k, v in SIZE.items() if k != "network")
    print(f"\none training step, Ising, Transformer ({what}), batch {BATCH}, one core")
    print(f"{'N':>5} | {'kept for backward, MB':^29} | {'growth of peak memory, MB':^29} | {'s a step':^17}")
    print(f"{'':>5} | {'ARM':>10}{'MAM':>9}{'ratio':>9}  | {'ARM':>10}{'MAM':>9}{'ratio':>9}  | {'ARM':>8}{'MAM':>8}")
    for a, m in zip(*out.values(), strict=True):
        cells = [f"{a[k] / MB:>10.1f}{m[k] / MB:>9.1f}{a[k] / max(1, m[k]):>9.1f}" for k in ("kept", "growth")]
        print(f"{a['N']:>5} | {cells[0]}  | {cells[1]}  | {a['seconds']:>8.2f}{m['seconds']:>8.2f}")
    for key, label in [
        ("kept", "kept for backward"),
        ("growth", "growth of peak memory"),
        ("seconds", "seconds a step"),
    ]:
        a, m = (slope(p, key) for p in out.values())
        print(f"exponent of N, {label}: ARM {a:.2f}, MAM {m:.2f}, difference {a - m:.2f}")
    return out


# ---------------------------------------------------------------------- 2. drawing and scoring
def timed(model, h, T: float, dmu: float, network: str) -> dict:
    """Seconds for each configuration of one batch, drawn and scored; the two likelihoods must agree."""
    generator, n = torch.Generator().manual_seed(0), BATCHES[network]
    order = orders.draw("sublattice" if network == "causal" else "random", h.lattice, n, generator)
    at = h.condition(T, [0.0, dmu]).expand(n)
    with torch.no_grad():
        if network != "painn":  # whose first pass costs no more than the others
            model.log_prob(torch.zeros_like(order[:1]), at[:1], order[:1])
        start = time.perf_counter()
        occ, drawn = model.sample(at, order, generator)
        middle = time.perf_counter()
        scored = model.log_prob(occ, at, order)
        end = time.perf_counter()
    assert torch.allclose(drawn, scored, atol=1e-3), "the likelihood of a draw is not that of its configuration"
    return {"batch": n, "sample": (middle - start) / n, "log_prob": (end - middle) / n}


def time_table(sizes: list, systems: list[str]) -> list[dict]:
    rows = []
    cuau = {"T": [200.0, 1200.0], "mu": [[-0.24, 0.24]]}, 600.0, 0.02, {"cutoff": 4.0, "offset": 0.5}
    spins = {"T": [1.5, 3.5], "mu": [[-0.8, 0.8]]}, 2.5, 0.1, {"cutoff": 2.5, "offset": 0.5}
    for label in systems:
        h = alloygen.data.cuau().on((4, 4, 4)) if label.startswith("CuAu") else ising(10)
        ranges, T, dmu, edges = cuau if label.startswith("CuAu") else spins
        models = [("causal", w, d, heads) for w, d, heads in sizes]
        models += [(net, w, d, heads) for net in ("mlp", "painn", "transformer") for w, d, heads in sizes]
        models += [("mlp", 2048, 3, 0), ("painn", 64, 3, 0)]  # the published sizes
        for network, width, depth, heads in models:
            torch.manual_seed(0)
            if network == "causal":
                model = CausalModel(h, ranges, width=width, depth=depth, heads=heads)
            else:
                model = AutoregressiveModel(h, ranges, network=network, width=width, depth=depth, heads=heads, **edges)
            rows.append({"system": label, "network": network, "width": width, "depth": depth})
            rows[-1] |= timed(model.eval(), h, T, dmu, network)
            r = rows[-1]
            print(
                f"  {label}, {network} {depth} x {width}: {1e3 * r['sample']:.1f} ms drawn, {1e3 * r['log_prob']:.1f} ms scored",
                flush=True,
            )
    print(
        f"\nms for each configuration, in batches of {BATCHES}, one core; ratios are to the causal model of the same size"
    )
    print(
        f"{'system':>13} {'network':>12} {'depth':>6}{'width':>7} | {'draw':>9}{'ratio':>8} | {'log_prob':>9}{'ratio':>8}"
    )
    for r in rows:
        same = [c for c in rows if all(c[k] == r[k] for k in ("system", "width", "depth")) and c["network"] == "causal"]
        cells = [
            f"{1e3 * r[k]:>9.2f}" + (f"{r[k] / same[0][k]:>8.1f}" if same else f"{'':>8}")
            for k in ("sample", "log_prob")
        ]
        print(f"{r['system']:>13} {r['network']:>12} {r['depth']:>6}{r['width']:>7} | {cells[0]} | {cells[1]}")
    return rows


# ---------------------------------------------------------------------- the picture
NAMES = {"causal": "order-causal Transformer", "mlp": "MLP", "painn": "PaiNN", "transformer": "masked Transformer"}
COLOURS = {"ARM": "#b5403a", "MAM": "#2f6690", "sample": "#3d4f4a", "log_prob": "#9db5a8"}


def picture(results: dict, path: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    rows = [r for r in results["time"] if r["system"] == results["time"][-1]["system"]]
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.6), layout="constrained", width_ratios=[1, 1.25])
    for name, points in results["memory"].items():
        N = [p["N"] for p in points]
        for key, style, what in [("kept", "o-", "kept for backward"), ("growth", "s--", "peak growth")]:
            label = f"{name}, {what}: $N^{{{slope(points, key):.2f}}}$"
            face = COLOURS[name] if key == "kept" else "white"
            left.loglog(
                N, [p[key] / MB for p in points], style, color=COLOURS[name], mfc=face, ms=5, lw=1.4, label=label
            )
    left.set_xticks(N, [str(n) for n in N])
    left.minorticks_off()
    left.set(
        xlabel="sites N", ylabel="memory of one training step, MB", title=f"Ising, the same Transformer, batch {BATCH}"
    )
    left.set_ylim(top=left.get_ylim()[1] * 12)
    left.legend(frameon=False, fontsize=9, loc="upper left")
    left.grid(alpha=0.25)
    y = np.arange(len(rows))[::-1]
    for shift, key, what in [(0.2, "sample", "draw"), (-0.2, "log_prob", "exact log-likelihood")]:
        values = [1e3 * r[key] for r in rows]
        right.barh(y + shift, values, 0.38, color=COLOURS[key], label=what)
        for at, value in zip(y + shift, values, strict=True):
            right.text(value * 1.08, at, f"{value:.0f}" if value >= 100 else f"{value:.2g}", va="center", fontsize=8)
    right.set_yticks(y, [f"{NAMES[r['network']]}, {r['depth']} x {r['width']}" for r in rows])
    right.set_xscale("log")
    right.set_xlim(right=right.get_xlim()[1] * 1.6)
    right.set(xlabel="ms for each configuration, one core", title=rows[0]["system"])
    right.legend(frameon=False, fontsize=9, loc="upper right")
    right.grid(axis="x", alpha=0.25)
    right.set_axisbelow(True)
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    print(f"figure: {path}")


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--quick", action="store_true", help="smaller lattices and one width, under a minute")
    p.add_argument("--figure", metavar="PATH", help="also draw a PNG")
    p.add_argument("--output", default=Path(__file__).parent / "results" / "memory_time.json", type=Path)
    args = p.parse_args()
    torch.set_num_threads(1)
    start = time.perf_counter()
    print("memory of a training step:", flush=True)
    results = {"batch": BATCH, "size": SIZE, "quick": args.quick}
    results["memory"] = memory_table([4, 6, 8] if args.quick else [4, 6, 8, 10, 12])
    print("\nseconds for each configuration:", flush=True)
    sizes = [(128, 4, 4)] if args.quick else [(128, 4, 4), (256, 4, 8)]
    systems = ["CuAu 4x4x4"] if args.quick else ["Ising 10x10", "CuAu 4x4x4"]
    results["time"] = time_table(sizes, systems)
    results["seconds"] = time.perf_counter() - start
    args.output.parent.mkdir(exist_ok=True, parents=True)
    args.output.write_text(json.dumps(results, indent=1))
    print(f"\n{results['seconds']:.0f} s; results: {args.output}")
    if args.figure:
        picture(results, args.figure)


if __name__ == "__main__":
    main()
