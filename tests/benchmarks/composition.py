"""Draws at a fixed composition: effective sample sizes, free energies against Monte Carlo and enumeration, calibration of error bars.

Run: python tests/benchmarks/composition.py [--parts exact neural mc] [--n 512] [--threads 2]

CuAu 4x4x4 (64 sites) with 16, 32 and 48 gold atoms: the law of every supercell, as drawn and averaged over 8 translates, and the Transformer of
this cell; beside them plain semigrand draws at the chemical potential that leads to the composition, of which those with the composition count. Goes on where it was stopped.
CuAu 2x2x4 (16 sites): F of every composition against enumeration, many seeds. Results: docs/results/composition.json, and the table of docs/composition.md.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import torch

import alloygen
from alloygen import Job, Neural
from alloygen.conditions.composition import constraint
from alloygen.counts import Counts
from alloygen.estimate.weights import ess
from alloygen.exact.enumeration import Enumeration
from alloygen.models.aim import aimed
from alloygen.models.base import AnyCell

RESULTS = Path(__file__).parents[2] / "docs" / "results" / "composition.json"
PARTS = ("exact", "neural", "mc")
GOLD = (16, 32, 48)
T_LAW, T_FEW = (300, 400, 500, 600, 700, 800, 1000, 1200), (300, 500, 700, 1000)
WAYS = {
    "law": ("cuau", 1, T_LAW),
    "law, averaged over 8": ("cuau", 8, T_FEW),
    "Transformer": ("cuau_4x4x4", 1, T_FEW),
}


def neural(n: int, rows: list[dict]) -> Iterator[list[dict]]:
    """NESS, F and seconds of n draws at each condition that is not among the rows, and of plain draws at the same aim; all rows after each."""
    h, done = alloygen.data.cuau().on((4, 4, 4)), {(r["way"], r["T"], r["gold"]) for r in rows}
    for way, (name, average, temperatures) in WAYS.items():
        for T, gold in product(temperatures, GOLD):
            if (way, T, gold) in done:
                continue
            started, how = time.perf_counter(), Neural(model=name, average=average)
            ens = alloygen.sample(h, T, composition={"Au": gold}, n=n, sampler=how)
            f, took = ens.free_energy(), time.perf_counter() - started
            row = {"way": way, "T": T, "gold": gold, "n": n, "ness": ens.ness, "F": f.value, "stderr": f.stderr}
            more = plain(name, h, T, gold, n) if way == "law" else {}
            rows = [*rows, row | {"k_hat": ens.k_hat if np.isfinite(ens.k_hat) else None, "seconds": took} | more]
            print(json.dumps(rows[-1]), flush=True)
            yield rows


def plain(name: str, h, T: float, gold: int, n: int) -> dict:
    """Effective share of semigrand draws at the aim that have the composition by chance."""
    model = alloygen.load(name)
    model = model.on(h) if isinstance(model, AnyCell) else model
    counts = Counts(lattice=h.lattice, constraint=constraint({"Au": gold}, h.lattice), known=np.full(64, -1))
    mu = aimed(model, counts, h.condition(T)).shift
    ens = alloygen.sample(
        h, T, dict(zip(h.elements, mu.tolist(), strict=True)), n=n, seed=1, sampler=Neural(model=name)
    )
    fits = ens.occ.sum(1) == gold
    return {"plain": float(ess(ens.log_weight[fits]) / n) if fits.any() else 0.0, "dmu": float(mu[1] - mu[0])}


def monte_carlo(n: int, threads: int) -> list[dict]:
    """F by swaps in replica exchange up to T = infinity."""
    h, rows = alloygen.data.cuau().on((4, 4, 4)), []
    for gold in GOLD:
        scan = alloygen.mc(h, T_LAW, composition={"Au": gold}, n=n, check=False, job=Job(threads=threads))
        for k, T in enumerate(T_LAW):
            f = scan[k].free_energy()
            rows.append({"T": T, "gold": gold, "F": f.value, "stderr": f.stderr})
            print(json.dumps(rows[-1]), flush=True)
    return rows


def exact(n: int, seeds: int = 2) -> dict:
    """z-scores of F on 16 sites by the law, every composition but the pure ones at three temperatures."""
    h = alloygen.data.cuau().on((2, 2, 4))
    table = Enumeration(h)
    gold, scores, nothing, errors = table.occ.sum(1), [], 0, []
    for T in (400.0, 700.0, 1000.0):
        kT = h.kB * T
        for k in range(1, 16):
            truth = -kT * float(np.logaddexp.reduce(-table.energy[gold == k] / kT)) / 16
            for seed in range(seeds):
                ens = alloygen.sample(h, T, composition={"Au": k}, n=n, seed=seed, sampler=Neural(model="cuau"))
                f = ens.free_energy()
                nothing += int(np.isnan(f.stderr))
                if not np.isnan(f.stderr):
                    scores.append((f.value - truth) / f.stderr)
                    errors.append(abs(f.value - truth))
    z = np.array(scores)
    out = {"numbers": len(z) + nothing, "withheld": nothing, "mean": float(z.mean()), "spread": float(z.std())}
    out |= {"beyond 3": int((np.abs(z) > 3).sum()), "largest": float(np.abs(z).max()), "error": float(max(errors))}
    print(json.dumps(out), flush=True)
    return out


def table(found: dict) -> str:
    """Markdown: NESS of each way by temperature and composition, and F beside that of Monte Carlo."""
    ways = {w: {(r["T"], r["gold"]): r for r in found["neural"] if r["way"] == w} for w in WAYS}
    ways = {w: rows for w, rows in ways.items() if rows}
    reference = {(r["T"], r["gold"]): r for r in found["mc"]}
    head = [
        "T in K, N_Au",
        "plain draws that have it",
        *WAYS,
        "F by the law (meV/site)",
        "F by Monte Carlo",
        "difference in errors",
    ]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for key, one in sorted(ways["law"].items()):
        mc = reference[key]
        cells = [f"{ways[w][key]['ness']:.2f}" if key in ways[w] else "" for w in ways]
        cells += [f"{1e3 * r['F']:.3f} ± {1e3 * r['stderr']:.3f}" for r in (one, mc)]
        apart = (one["F"] - mc["F"]) / float(np.hypot(one["stderr"], mc["stderr"]))
        lines.append(" | ".join([f"| {key[0]}, {key[1]}", f"{one['plain']:.2f}", *cells, f"{apart:+.1f} |"]))
    return "\n".join(lines)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--parts", nargs="*", default=PARTS, choices=PARTS)
    p.add_argument("--n", type=int, default=512)
    p.add_argument("--threads", type=int, default=2)
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    warnings.simplefilter("ignore")
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for part in args.parts:
        if part == "neural":
            for rows in neural(args.n, found.get(part, [])):
                found[part] = rows
                RESULTS.write_text(json.dumps(found, indent=0))
        else:
            found[part] = exact(args.n) if part == "exact" else monte_carlo(4000, args.threads)
        RESULTS.write_text(json.dumps(found, indent=0))
    if "neural" in found and "mc" in found:
        print(table(found))


if __name__ == "__main__":
    main()
