"""The comparison of the paper at sizes that two cores can train: every model, equal wall-clock budgets, one command.

    python tests/benchmarks/comparison.py                 # about an hour and a half on two quiet cores; goes on where it stopped
    python tests/benchmarks/comparison.py --only ising_4x4 --share 0.2
    python tests/benchmarks/comparison.py --report        # table and figures from the results that are there

Each model of Du et al. (arXiv:2603.14695) is trained as published (REINFORCE, no data), then the same networks by maximum
likelihood on replica-exchange samples, then the order-causal model of this package. Each run has one core and the same
minutes; Monte Carlo data take seconds more. Every figure is measured against exact values (enumeration, transfer matrix) or
against replica exchange (MBAR). Results go to tests/benchmarks/results/comparison/, the report to docs/.
"""

import argparse
import json
import os
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "comparison"
DOCS = HERE.parents[1] / "docs"


@dataclass(frozen=True)
class System:
    """What is modelled, the minutes that each model has, and where it is judged (mu of the last species minus the first)."""

    hamiltonian: str
    repeats: tuple
    minutes: float
    T: tuple
    mu: tuple
    n: int  # configurations a condition
    width: int  # of the perceptron
    curve: float  # mu of the curves against T
    spot: tuple  # (T, mu) of the histograms and of the two-point function

    @property
    def ising(self) -> bool:
        return self.hamiltonian == "ising"

    @property
    def ranges(self) -> dict:
        return dict(T=[1.4, 3.6], mu=[-0.8, 0.8]) if self.ising else dict(T=[190, 1230], mu=[-0.25, 0.25])

    @property
    def data(self) -> dict:
        """The replica-exchange grid of maximum likelihood."""
        if self.ising:
            steps = lambda a, b, d: [{"from": a, "to": b, "step": d}]  # noqa: E731
            return dict(T=steps(1.4, 3.6, 0.1), mu=steps(-0.8, 0.8, 0.1), samples=100, burn=100)
        T = [190, 215, {"from": 250, "to": 950, "step": 50}, {"from": 1050, "to": 1250, "step": 100}]
        mu = [{"from": -0.25, "to": 0.25, "step": 0.025}, {"from": 0.06, "to": 0.08, "step": 0.005}, -0.0125, 0.0724]
        return dict(T=T, mu=mu, samples=100, burn=100)


def _steps(low: float, high: float, step: float) -> tuple:
    return tuple(round(low + k * step, 6) for k in range(round((high - low) / step) + 1))


FIELDS = (0.0, 0.4, 0.8)
POTENTIALS = (-0.18, -0.12, -0.06, 0.0, 0.06, 0.0724, 0.12)
SYSTEMS = {
    "ising_4x4": System("ising", (4, 4, 1), 0.75, _steps(1.5, 3.5, 0.2), FIELDS, 2000, 256, 0.0, (2.3, 0.0)),
    "ising_6x6": System("ising", (6, 6, 1), 1.5, _steps(1.5, 3.5, 0.2), FIELDS, 1000, 256, 0.0, (2.3, 0.0)),
    "ising_10x10": System("ising", (10, 10, 1), 2.5, (1.5, 1.9, 2.3, 2.7, 3.5), (0.0, 0.4), 400, 512, 0.0, (2.3, 0.0)),
    "cuau_2x2x4": System("cuau", (2, 2, 4), 1.5, _steps(200, 1200, 100), POTENTIALS, 2000, 256, 0.0, (500, 0.0)),
    "cuau_4x4x4": System(
        "cuau", (4, 4, 4), 2.5, (300, 500, 700, 900, 1200), (-0.12, 0.0, 0.0724), 400, 512, 0.0, (700, 0.0)
    ),
}
TRANSFORMER = dict(network="transformer", width=64, depth=3, heads=4)
PAINN = dict(network="painn", width=32, depth=3)
NEAREST = {"ising": dict(cutoff=1.2, offset=0.5), "cuau": dict(cutoff=3.0, offset=1.0)}  # of PaiNN
SUBLATTICE = dict(weights={"sublattice": 1.0})
RANDOM, FIXED = dict(weights={"random": 1.0}), dict(weights={"raster": 1.0}, images="none")
# model, objective, orders
MODELS = {
    "FO-ARM MLP, REINFORCE": (dict(kind="arm", network="mlp", depth=3), "reinforce", FIXED),
    "AO-ARM MLP, REINFORCE": (dict(kind="arm", network="mlp", depth=3), "reinforce", RANDOM),
    "MAM PaiNN, REINFORCE": (dict(kind="mam", **PAINN), "marginal", RANDOM),
    "MAM Transformer, REINFORCE": (dict(kind="mam", **TRANSFORMER), "marginal", RANDOM),
    "AO-ARM MLP, likelihood": (dict(kind="arm", network="mlp", depth=3), "likelihood", RANDOM),
    "AO-ARM PaiNN, likelihood": (dict(kind="arm", **PAINN), "likelihood", RANDOM),
    "AO-ARM Transformer, likelihood": (dict(kind="arm", **TRANSFORMER), "likelihood", RANDOM),
    "order-causal, likelihood": (dict(kind="causal", width=64, depth=3, heads=4), "likelihood", SUBLATTICE),
}
SLOW = {"transformer": 0.25, "painn": 0.04}  # share of n by which networks that take long to draw are judged
COLUMNS = {
    "ness_mean": "NESS mean", "ness_min": "min", "forward_ness_mean": "forward NESS mean", "forward_ness_min": "min",
    "phi_error_max": "largest error of Phi", "heat_capacity_error": "error of C", "correlation_error": "error of C(r)",
    "js_energy_max": "JS energy", "js_composition_max": "JS composition", "coverage": "modes", "steps": "steps", "n": "n",
    "ms_per_sample": "ms per sample",
}  # fmt: skip


def configuration(system: str, model: str, share: float) -> dict:
    """The training configuration of a run."""
    s, (net, objective, orders) = SYSTEMS[system], MODELS[model]
    sites = s.repeats[0] * s.repeats[1] * s.repeats[2]
    net = {**net, **(NEAREST[s.hamiltonian] if net.get("network") == "painn" else {})}
    if net.get("network") == "mlp":
        net["width"] = s.width
    batch = {"reinforce": 512 if sites <= 36 else 256, "marginal": 128, "likelihood": 256}[objective]
    likelihood = objective == "likelihood"
    walk = dict(advantage_floor=1.0) | (dict(gibbs=4) if objective == "marginal" else {})
    training = dict(steps=10**6, minutes=s.minutes * share, batch=batch, lr=1e-3 if net.get("network") == "mlp" else 2e-3,
                    warmup=50, ema=0.99)  # fmt: skip
    return dict(
        name=f"{system}: {model}", system=dict(hamiltonian=s.hamiltonian, repeats=list(s.repeats)), model=net, orders=orders,
        objective=dict(kind=objective, **(dict(floor=0.4, label_images="none") if likelihood else walk)), training=training,
        validation=dict(every=10**6, samples=2), machine=dict(threads=1),
        **(dict(data=s.data) if likelihood else dict(conditions=dict(**s.ranges, n_T=4, n_mu=4))),
    )  # fmt: skip


# ---------------------------------------------------------------------- the references
def reference(system: str):
    """(Scan of replica exchange at the conditions of the system, exact or MBAR Phi (C,)) in one order."""
    import numpy as np

    from alloygen.exact.enumeration import Enumeration
    from alloygen.exact.ising import transfer_matrix
    from alloygen.hamiltonian.source import expansion_from
    from alloygen.montecarlo.sampling import replica_exchange
    from alloygen.training.reference import refined

    s = SYSTEMS[system]
    h = expansion_from(s.hamiltonian).on(s.repeats)
    dT, dmu, hot = (0.1, 0.1, (4.5, 6, 9, 18, np.inf)) if s.ising else (50, 0.015, (1500, 2000, 3000, 6000, np.inf))
    T, mu = np.append(refined(np.array(s.T), dT), hot), refined(np.array(s.mu), dmu)
    scan = replica_exchange(
        h, h.grid(T, np.column_stack([0 * mu, mu])), 2000, sweeps=10, burn=500, seed=11, check=False
    )
    pick = [int(np.argmin(np.abs(scan.T - t) + 1e3 * np.abs(scan.mu[:, 1] - m))) for t in s.T for m in s.mu]
    if s.ising:
        phi = [transfer_matrix(s.repeats[0], t, m / 2).free_energy - m / 2 for t in s.T for m in s.mu]
    elif h.n_sites <= 16:
        table = Enumeration(h)
        phi = [table.at(table.hamiltonian.condition(t, [0.0, m])).phi for t in s.T for m in s.mu]
    else:
        phi = [scan.free_energy(c).value for c in pick]
    return scan.subset(pick), np.array(phi)


def modes(system: str, model, generator, n: int = 1000) -> dict:
    """How well the coexisting phases are drawn: exp(entropy) of their shares over their number, times the share of draws
    that are in one of them. 1 is all, evenly.

    Ising: magnetisations beyond +-1/2 at T = 1.5 and h = 0. CuAu: the 4, 6 and 4 variants of Cu3Au, CuAu and CuAu3 at 300 K.
    """
    import numpy as np
    from cubic_order import variants

    from alloygen.training import evaluate

    def evenness(counts, number):
        p = np.asarray(counts, float) / max(1, sum(counts))
        p = p[p > 0]
        return float(np.exp(-(p * np.log(p)).sum()) / number * sum(counts) / n) if len(p) else 0.0

    if SYSTEMS[system].ising:
        m = 2 * evaluate.draw(model, model.hamiltonian.condition(1.5, [0.0, 0.0]), n, generator).occ.mean(1) - 1
        return {"coverage": evenness([int((m > 0.5).sum()), int((m < -0.5).sum())], 2)}
    lattice, out = model.hamiltonian.lattice, {}
    for phase, dmu, number in (("Cu3Au (L1_2)", -0.09, 4), ("CuAu (L1_0)", 0.03, 6), ("CuAu3 (L1_2)", 0.0724, 4)):
        found = variants(
            lattice, evaluate.draw(model, model.hamiltonian.condition(300.0, [0.0, dmu]), n, generator).occ
        )[phase]
        out[phase] = evenness(list(found.values()), number)
    return {"coverage": float(np.mean(list(out.values()))), "variants": out}


# ---------------------------------------------------------------------- one run
def run(system: str, model: str, share: float, folder: str) -> str:
    """Train one model in its budget and measure it; the result is one JSON file."""
    import numpy as np
    import torch

    torch.set_num_threads(1)
    from alloygen.api import load
    from alloygen.estimate.correlation import connected, manhattan_labels, shell_labels
    from alloygen.runtime.atomic import atomic_path
    from alloygen.training import evaluate
    from alloygen.training.loop import train

    s, out = SYSTEMS[system], Path(folder) / f"{system}, {model}.json"
    scan, phi = reference(system)
    started = time.perf_counter()
    path = train(configuration(system, model, share), out.with_suffix(""), progress=False)
    minutes = (time.perf_counter() - started) / 60
    net = load(path)
    n = max(32, int(s.n * SLOW.get(net.config().get("network"), 1.0)))
    curves, spot = {"T": [], "phi_error": [], "phi_stderr": [], "C": [], "C_stderr": [], "C_reference": []}, {}
    lattice = net.hamiltonian.lattice
    labels = manhattan_labels(lattice) if s.ising else shell_labels(lattice)[0]
    h, drawn_in = net.hamiltonian, time.perf_counter()

    def visit(i: int, ens) -> None:
        T, mu = float(ens.T), float(ens.mu[1])
        exact = scan[i]
        if mu == s.curve:
            c, ref = ens.heat_capacity(), exact.heat_capacity()
            for key, value in zip(curves, (T, 0.0, 0.0, c.value, c.stderr, ref.value), strict=True):
                curves[key].append(value)
        if (T, mu) == s.spot:
            spins = lambda e: 2.0 * e.occ - 1.0  # noqa: E731
            ours = connected(spins(ens), labels, ens.log_weight)
            theirs = connected(spins(exact), labels)
            x = lambda e: e.counts[:, -1] / h.n_sites  # noqa: E731
            spot.update(
                correlation=[c.value for c in ours], correlation_stderr=[c.stderr for c in ours],
                correlation_reference=[c.value for c in theirs],
                energy=(ens.energy / h.n_sites).tolist(), energy_reference=(exact.energy / h.n_sites).tolist(),
                composition=x(ens).tolist(), composition_reference=x(exact).tolist(),
            )  # fmt: skip

    from alloygen.training.reference import Reference

    samples = Reference(scan.occ, scan.energy)
    rows = evaluate.evaluate(
        net, h.condition(scan.T, scan.mu), n, reference=samples, phi=phi, visit=visit, forward=min(100, n)
    )
    seconds = time.perf_counter() - drawn_in
    on_curve = [r for r in rows if r.mu == s.curve]
    curves["phi_error"], curves["phi_stderr"] = [r.deviation for r in on_curve], [r.phi_stderr for r in on_curve]
    batch = min(100, n)
    tick = time.perf_counter()
    evaluate.draw(net, net.hamiltonian.condition(s.spot[0], [0.0, s.spot[1]]), batch, torch.Generator().manual_seed(2))
    per_sample = (time.perf_counter() - tick) / batch
    figures = evaluate.summary(rows) | modes(system, net, torch.Generator().manual_seed(3), min(n, 500))
    figures |= {
        "phi_error_max": float(max(abs(r.deviation) for r in rows)),
        "heat_capacity_error": float(np.sqrt(np.mean((np.array(curves["C"]) - curves["C_reference"]) ** 2))
                                     / np.max(curves["C_reference"])),
        "correlation_error": float(np.abs(np.array(spot["correlation"]) - spot["correlation_reference"]).max()),
        "steps": net.metadata["steps"], "ms_per_sample": 1e3 * per_sample, "minutes": minutes, "evaluation_seconds": seconds,
        "n": n, "parameters": sum(p.numel() for p in net.parameters()),
    }  # fmt: skip
    result = {"system": system, "model": model, "share": share, "figures": figures, "rows": [asdict(r) for r in rows],
              "curves": curves, "spot": spot}  # fmt: skip
    with atomic_path(out) as temporary:
        Path(temporary).write_text(json.dumps(result))
    return f"{system:12} {model:32} NESS {figures['ness_mean']:.3f} forward {figures['forward_ness_mean']:.3f}"


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--only", nargs="+", choices=list(SYSTEMS), default=list(SYSTEMS))
    p.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    p.add_argument("--share", type=float, default=1.0, help="this share of the training minutes")
    p.add_argument("--workers", type=int, default=2)
    p.add_argument("--report", action="store_true", help="only the report, from the results that are there")
    p.add_argument("--results", default=str(RESULTS))
    p.add_argument("--docs", default=str(DOCS))
    args = p.parse_args()
    folder = Path(args.results)
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["OMP_NUM_THREADS"] = "1"
    todo = [(s, m) for s in args.only for m in args.models if not (folder / f"{s}, {m}.json").exists()]
    todo.sort(key=lambda job: "PaiNN" in job[1])  # what takes long to judge comes last
    if not args.report and todo:
        print(
            f"{len(todo)} runs, {sum(SYSTEMS[s].minutes for s, _ in todo) * args.share / args.workers:.0f} minutes of training"
        )
        with ProcessPoolExecutor(args.workers, mp_context=get_context("spawn")) as pool:
            jobs = {pool.submit(run, s, m, args.share, str(folder)): (s, m) for s, m in todo}
            for job in as_completed(jobs):
                print(job.result(), flush=True)
    from comparison_report import report

    report(folder, Path(args.docs))


if __name__ == "__main__":
    main()
