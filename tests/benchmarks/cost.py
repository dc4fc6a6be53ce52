"""What Phi at the 99 conditions of the paper costs: CuAu 4x4x4, T = 200-1200 K, nine dmu, within 0.5 meV/site everywhere.

Run: python tests/benchmarks/cost.py [--model cuau] [--threads 2] [--only neural ...]

Every method is given budgets that double until its largest error over all conditions is at most 0.5 meV/site, against metadynamics with
forty times its usual production (two seeds of which say how good that is). Attempts are semigrand flips tried, or sites drawn by a model.
Wang-Landau makes one density of states for each dmu, metadynamics one profile F(N) for each T (all T exchange), replica exchange is
MBAR over the whole grid and a ladder to T = infinity. Attempts of
metadynamics are those of production; its seconds are all. CLEASE is given the attempts that replica exchange needs, at its own speed measured
here: it has no free energies. A model's training is counted once, with the minutes that its checkpoint states, if it does.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import alloygen
from alloygen.errors import AlloygenError
from alloygen.estimate.weights import log_mean, ness
from alloygen.models.base import AnyCell
from alloygen.models.draw import draw
from alloygen.montecarlo.metadynamics import Stages
from alloygen.montecarlo.wang_landau import Schedule
from alloygen.runtime.job import Job

RESULTS = Path(__file__).parents[2] / "docs" / "results"
T = np.arange(200.0, 1201.0, 100.0)
MU = np.linspace(-0.24, 0.24, 9)
CELL, TARGET = (4, 4, 4), 0.5e-3
BURN = 300  # rounds of replica exchange before the first sample

Found = tuple[np.ndarray, float]  # (Phi (T, mu) per site, attempts)


def of_profile(h, profile) -> np.ndarray:
    """Phi(T, mu) of F(N, T) per site."""
    n, kT = np.arange(h.n_sites + 1), h.kB * T[:, None]
    f = profile.free_energy * h.n_sites
    reduced = -(f[:, None, :] - MU[None, :, None] * n) / kT[..., None]
    return -kT * np.logaddexp.reduce(reduced, axis=2) / h.n_sites


def metadynamics(h, budget: int, job: Job, seed: int) -> Found:
    profile = alloygen.metadynamics(h, T, stages=Stages(production=budget), seed=seed, job=job)
    return of_profile(h, profile), budget * h.n_sites * profile.info["walkers"] * len(profile.info["ladder"])


def replica_exchange(h, budget: int, job: Job, seed: int) -> Found:
    scan = alloygen.mc(h, T, [{"Au": float(m)} for m in MU], budget, burn=BURN, seed=seed, job=job)
    phi = np.array([scan.free_energy(k).value for k in range(len(scan))])
    order = np.lexsort((scan.mu[:, 1], scan.T))
    flips = len(scan.info["ladder"]) * len(MU) * (budget + BURN) * scan.info["sweeps"] * h.n_sites
    return phi[order].reshape(len(T), len(MU)), flips


def wang_landau(h, budget: int, job: Job, seed: int) -> Found:
    made = [
        alloygen.wang_landau(h, float(m), schedule=Schedule(kind="1/t", max_attempts=budget), seed=seed, job=job)
        for m in MU
    ]
    return np.array([[dos.phi(float(t)).value for dos in made] for t in T]), budget * len(MU)


def drawn(model, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(Phi (T, mu), NESS (T, mu)) of n draws a condition."""
    h, phi, even = model.hamiltonian, np.empty((len(T), len(MU))), np.empty((len(T), len(MU)))
    for i, t in enumerate(T):
        for j, m in enumerate(MU):
            at = h.condition(t, [0.0, m])
            occ, log_q = draw(model, at, n, torch.Generator().manual_seed(1000 * seed + 100 * i + j))
            log_w = (-h.reduced_energy(occ, at.expand(n)) - log_q).numpy()
            phi[i, j], even[i, j] = -float(at.kT) * log_mean(log_w).value / h.n_sites, ness(log_w)
    return phi, even


def until_good(name: str, run: Callable[[int, int], Found], budget: int, truth: np.ndarray, longest: float) -> dict:
    """The first of the doubling budgets whose largest error is small enough, or the first that took ``longest`` seconds."""
    while True:
        started, cpu = time.perf_counter(), time.process_time()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                phi, attempts = run(budget, 0)
        except AlloygenError as error:  # too short to give free energies
            phi, attempts = np.full_like(truth, np.nan), 0.0
            print(f"  {name}, {budget}: {str(error)[:100]}", flush=True)
        seconds, error = time.perf_counter() - started, np.abs(phi - truth)
        row = {"method": name, "budget": budget, "attempts": float(attempts), "seconds": seconds, "cpu": time.process_time() - cpu,
               "error": float(np.nanmax(error)) if np.isfinite(error).all() else None, "mean_error": float(np.nanmean(error))}  # fmt: skip
        print(f"  {name}, {budget}: {seconds:.1f} s, {attempts:.3g} attempts, largest error {1e3 * error.max():.3f} meV/site", flush=True)  # fmt: skip
        if (row["error"] is not None and row["error"] <= TARGET) or seconds > longest:
            return row
        budget *= 2


def clease_speed(h, attempts: int = 20_000) -> float:
    """Semigrand attempts a second of CLEASE on one core."""
    from rivals import Clease

    with tempfile.TemporaryDirectory() as folder:
        chain = Clease(h, {"Cu": 0.0, "Au": 0.02}, np.asarray(h.random(1, 0)[0]), folder)
        chain.run(2000)
        started = time.perf_counter()
        chain.run(attempts)
        return attempts / (time.perf_counter() - started)


def table(found: dict) -> str:
    """The rows of docs/any_cell.md."""
    head = "| method | attempts a condition | seconds a condition | all 99 conditions | with training | largest error, meV/site (none: not reached, or no free energies) | effective samples a second |"
    lines = [head, "|---" * 7 + "|"]
    for r in found["rows"]:
        n = len(T) * len(MU)
        error = "none" if r["error"] is None else f"{1e3 * r['error']:.2f}"
        training = f"{r['seconds'] + 60 * r['training']:,.0f} s" if r.get("training") else ""
        ess = f"{r['effective']:,.0f}" if r.get("effective") else ""
        lines.append(f"| {r['method']} | {r['attempts'] / n:.2g} | {r['seconds'] / n:.2g} | {r['seconds']:,.3g} s | {training} | {error} | {ess} |")  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--models", nargs="*", default=["cuau", "cuau_4x4x4"])
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--longest", type=float, default=900.0, help="seconds of a run after which no longer one is tried")
    p.add_argument("--only", nargs="*", help="of neural, replica exchange, Wang-Landau, metadynamics")
    p.add_argument("--table", action="store_true", help="print what is in the file")
    args = p.parse_args()
    path = RESULTS / "cost.json"
    if args.table:
        print(table(json.loads(path.read_text())))
        return
    torch.set_num_threads(args.threads)
    job, h = Job(progress=False, threads=args.threads), alloygen.data.cuau().on(CELL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        two = [metadynamics(h, 400_000, job, seed)[0] for seed in (11, 12)]
    truth, apart = np.mean(two, axis=0), float(np.abs(two[0] - two[1]).max())
    print(f"reference: two seeds differ by {1e3 * apart:.4f} meV/site at most", flush=True)
    rows = []
    methods = {
        "replica exchange and MBAR": (replica_exchange, 25),
        "metadynamics": (metadynamics, 500),
        "Wang-Landau": (wang_landau, 1_000_000),
    }
    for name in args.models:
        if args.only and "neural" not in args.only:
            continue
        model = alloygen.load(name)
        model = model.on(h) if isinstance(model, AnyCell) else model
        drawn(model, 16, 9)  # compiled and warm
        even = {}

        def neural(n: int, seed: int, model=model, even=even) -> Found:
            phi, even["ness"] = drawn(model, n, seed)
            return phi, phi.size * n * h.n_sites

        row = until_good(f"the model {name}", neural, 16, truth, args.longest)
        minutes = model.metadata["config"]["training"].get("minutes")  # older checkpoints state steps alone
        rows.append(
            row | {"training": minutes, "effective": float(row["budget"] * even["ness"].sum() / row["seconds"])}
        )
    for name, (run, first) in methods.items():
        if args.only and name not in args.only:
            continue
        rows.append(until_good(name, lambda b, s, run=run: run(h, b, job, s), first, truth, args.longest))
    speed = clease_speed(h)
    for r in [r for r in rows if r["method"].startswith("replica")]:
        rows.append(r | {"method": f"the same attempts by CLEASE ({speed:,.0f} a second, one core)", "seconds": r["attempts"] / speed, "error": None})  # fmt: skip
    found = {
        "reference_apart": apart,
        "clease_a_second": speed,
        "threads": args.threads,
        "longest": args.longest,
        "rows": rows,
    }
    RESULTS.mkdir(exist_ok=True)
    path.write_text(json.dumps(found, indent=1))
    print(table(found))


if __name__ == "__main__":
    main()
