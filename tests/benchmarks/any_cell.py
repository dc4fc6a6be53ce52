"""One law on many supercells: the tables of docs/any_cell.md. Run: python tests/benchmarks/any_cell.py CHECKPOINT [--n 512] [--only 4x4x4]

For each cell: NESS and forward NESS, the divergence per site,

    KL(q || p) = E_q[log q + beta (E - mu.N)] + log Z,     log Z from exact values where there are any, else from the weights,

Phi against exact values (enumeration; Kaufman and transfer matrices) or Monte Carlo (replica exchange up to T = infinity and MBAR; for
4x4x8 the reference that ships), Jensen-Shannon divergences of composition and energy between weighted draws and Monte Carlo, and the
variants of ordered phases that are drawn. Tables go to standard output; figures to docs/results/any_cell_NAME.json, those of a checkpoint that
does not ship beside it.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from any_order import reference_phi
from cubic_order import variants

import alloygen
from alloygen.data import cuau_reference
from alloygen.errors import LowSampleSize
from alloygen.estimate.weights import log_mean
from alloygen.exact.enumeration import Enumeration
from alloygen.exact.ising import kaufman_free_energy, transfer_matrix
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.models.base import AnyCell
from alloygen.models.draw import draw
from alloygen.montecarlo.sampling import cluster_moves
from alloygen.runtime.job import Job
from alloygen.training.evaluate import evaluate
from alloygen.training.reference import Reference, named_grid

RESULTS = Path(__file__).parents[2] / "docs" / "results"
HARD = [
    (300, -0.18),
    (300, 0),
    (300, 0.0724),
    (600, -0.08),
    (600, 0),
    (700, 0.06),
    (800, 0),
    (1100, 0.06),
    (700, 0),
    (500, 0),
    (650, 0.02),
    (200, 0.0724),
    (900, -0.06),
]  # T in K and mu(Au) - mu(Cu) in eV: where CuAu is hard, the first eight those of the published figure
AWAY = [
    (300, 0),
    (500, 0),
    (600, 0),
    (600, -0.08),
    (900, -0.06),
    (1100, 0.06),
]  # deep in an ordered phase, or disordered
CRITICAL = [1.8, 2.0, 2.15, 2.2692, 2.4, 2.7, 3.5]
CUBIC = np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]])
CUAU = {
    "2x2x4": (2, 2, 4),
    "cubic 2x2x2": 2 * CUBIC,
    "4x4x4": (4, 4, 4),
    "4x4x4, published grid": (4, 4, 4),
    "4x4x8": (4, 4, 8),
    "6x6x6": (6, 6, 6),
    "8x8x8": (8, 8, 8),
}
ISING = {f"{n}x{n}": (n, n, 1) for n in (10, 15, 16, 20, 32, 64, 128)}


def conditions(system: str, name: str, h: Hamiltonian):
    """(T, mu of the last element) of a row of the table."""
    if system == "cuau":
        return (
            named_grid("cuau", h)
            if name in ("2x2x4", "4x4x4, published grid")
            else h.condition([t for t, _ in HARD], [[0.0, m] for _, m in HARD])
        )
    if name in ("10x10", "15x15", "20x20"):
        return named_grid("ising", h)
    return h.condition(CRITICAL, [[0.0, 0.0]] * len(CRITICAL))


def exact_phi(system: str, name: str, h: Hamiltonian, at) -> np.ndarray | None:
    """Phi per site, where it is known exactly; nan where it is not."""
    T, mu = at.arrays()
    if h.n_sites <= 20:
        table = Enumeration(h)
        return np.array([table.at(one).phi for one in at])
    if system != "ising":
        return None
    n, found = int(name.split("x")[0]), []
    for t, m in zip(T, mu[:, 1], strict=True):  # mu of "+" is 2 h, so Phi = F - h
        if m == 0:
            found.append(kaufman_free_energy(n, t))
        else:
            found.append(transfer_matrix(n, t, m / 2).free_energy - m / 2 if n <= 10 else np.nan)
    return np.array(found)


def monte_carlo(system: str, name: str, h: Hamiltonian, at, n: int) -> tuple[Reference, np.ndarray | None]:
    """(samples at the conditions, Phi per site of Monte Carlo or None)."""
    if system == "ising":
        found = cluster_moves(h, at, n, sweeps=5, burn=100, seed=1, check=False)
        return Reference(found.occ, found.energy), None
    T, mu = at.arrays()
    grid = [{"Au": float(m)} for m in np.unique(mu[:, 1])]
    scan = alloygen.mc(h, np.unique(T), grid, n, seed=1, job=Job(progress=False))
    pick = [int(np.flatnonzero((scan.T == t) & (scan.mu[:, 1] == m[1]))[0]) for t, m in zip(T, mu, strict=True)]
    phi = np.array([scan.free_energy(k).value for k in pick])
    if name == "4x4x8":  # long runs, made once
        reference = cuau_reference()
        phi = np.array([reference_phi(reference, t, m, h.kB) for t, m in zip(T, mu[:, 1], strict=True)])
    return Reference(scan.occ[pick], scan.energy[pick]), phi


def measure(law: AnyCell, system: str, name: str, n: int, forward: int) -> list[dict]:
    """Figures of every condition."""
    h, kl, seen = law.hamiltonian, [], []
    at = conditions(system, name, h)
    known = exact_phi(system, name, h, at)
    reference, sampled = monte_carlo(system, name, h, at, forward) if forward else (None, None)
    exactly = known is not None and bool(np.isfinite(known).all())

    def visit(i: int, ens) -> None:
        log_w, kT = ens.log_weight, float(at[i].kT)
        log_z = -known[i] * h.n_sites / kT if known is not None and np.isfinite(known[i]) else log_mean(log_w).value
        kl.append(float(log_z - log_w.mean()) / h.n_sites)
        if system == "cuau" and ens.T == 300:
            found = variants(h.lattice, ens.occ)
            seen.append({phase: len(of) for phase, of in found.items() if sum(of.values()) > n / 2})
        else:
            seen.append({})

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LowSampleSize)
        rows = evaluate(law, at, n, reference=reference, exact=False, phi=known if exactly else None, visit=visit)
    out = []
    for i, row in enumerate(rows):
        found = asdict(row) | {"kl": kl[i], "variants": seen[i]}
        if known is not None and np.isfinite(known[i]):
            found["phi_exact"] = float(known[i])
        if sampled is not None:
            found["phi_monte_carlo"] = float(sampled[i])
        out.append(found)
    return out


def a_second(law: AnyCell, at, n: int, times: int = 1) -> float:
    """Configurations a second, as many threads as torch has, the best of some ``times`` after one that is not counted."""
    draw(law, at, n, torch.Generator().manual_seed(0))
    seconds = []
    for seed in range(1, times + 1):
        started = time.perf_counter()
        draw(law, at, n, torch.Generator().manual_seed(seed))
        seconds.append(time.perf_counter() - started)
    return n / min(seconds)


def speeds() -> dict[str, float]:
    """Configurations a second of the laws that ship, in large batches, the best of three; nothing else should run beside it."""
    out = {}
    for name, T, cells in (
        ("cuau", 700.0, CUAU),
        ("ising", 2.2692, ISING),
        ("fcc_binary", 700.0, {"4x4x4": (4, 4, 4)}),
    ):
        law = alloygen.load(name)
        assert isinstance(law, AnyCell)
        for cell, shape in cells.items():
            on = law.on(law.hamiltonian.expansion.on(shape))
            if on.hamiltonian.n_sites <= 4096 and "," not in cell:
                n = max(16, min(4096, 260_000 // on.hamiltonian.n_sites))
                out[f"{name} {cell}"] = a_second(on, on.hamiltonian.condition(T, [0.0, 0.0]), n, times=3)
                print(f"{name} {cell}: {out[f'{name} {cell}']:,.0f} a second", flush=True)
    return out


def told(name: str, cell: dict) -> str:
    """One row of the table."""
    rows, n = cell["rows"], cell["sites"]
    ness, kl = (np.array([r[k] for r in rows]) for k in ("ness", "kl"))
    worst = rows[int(ness.argmin())]
    columns = [name, f"{n}", f"{len(rows)}", f"{ness.mean():.3f}"]
    columns.append(f"{ness.min():.3f} at ({worst['T']:g}, {worst['mu']:g})")
    back = [r["forward_ness"] for r in rows if r["forward_ness"] is not None]
    columns.append(f"{np.mean(back):.3f} / {min(back):.3f}" if back else "")
    columns.append(f"{kl.mean():.1e} / {kl.max():.1e}")
    off = [abs(r["phi"] - (r["phi_exact"] or r.get("phi_monte_carlo", np.nan))) for r in rows]
    off = [x for x in off if np.isfinite(x)]
    columns.append(f"{max(off):.1e}" if off else "")
    apart = [max(r["js_composition_weighted"], r["js_energy_weighted"]) for r in rows if r["js_energy"] is not None]
    columns += [f"{np.mean(apart):.3f} / {max(apart):.3f}" if apart else "", f"{cell['a_second']:,.0f}"]
    return f"| {' | '.join(columns)} |"


HEAD = "| cell | sites | conditions | NESS mean | smallest | forward mean / smallest | KL per site mean / largest | largest error of Phi | JS mean / largest | a second |"

RULE = "|---" * (HEAD.count("|") - 1) + "|"


def tables() -> dict[str, list[str]]:
    """The lines of the table of each system that was measured."""
    found = {s: RESULTS / f"any_cell_{s}.json" for s in ("ising", "cuau")}
    read = {s: json.loads(path.read_text())["cells"] for s, path in found.items() if path.exists()}
    cells = {s: {name: of[name] for name in (*ISING, *CUAU) if name in of} for s, of in read.items()}
    if "8x8x8" in cells.get("cuau", {}):
        whole = cells["cuau"]["8x8x8"]
        cells["cuau"]["8x8x8, away from transitions"] = whole | {
            "rows": [r for r in whole["rows"] if (r["T"], r["mu"]) in AWAY]
        }
    return {s: [HEAD, RULE, *(told(name, cell) for name, cell in of.items())] for s, of in cells.items()}


def headlines() -> list[str]:
    """The rows of the README."""
    found = {s: json.loads((RESULTS / f"any_cell_{s}.json").read_text())["cells"] for s in ("ising", "cuau")}
    mean = {name: np.mean([r["ness"] for r in cell["rows"]]) for name, cell in found["cuau"].items()}
    critical = {
        name: next(r["ness"] for r in found["ising"][name]["rows"] if (r["T"], r["mu"]) == (2.2692, 0.0))
        for name in ("16x16", "32x32", "64x64")
    }
    short = lambda x: f"{x:.3f}".removeprefix("0")  # noqa: E731
    cuau = " / ".join(short(mean[name]) for name in ("2x2x4", "4x4x4", "4x4x8", "8x8x8"))
    ising = " / ".join(map(short, critical.values()))
    return [
        f"| the law of CuAu, one checkpoint: mean NESS on 16 (110 conditions) / 64 / 128 / 512 sites (13 hard ones) | {cuau} |",
        f"| the law of the Ising model, one checkpoint: NESS at T_c on 16x16 / 32x32 / 64x64 (published, one model each: .933-.978 / .926 / .37-.44) | {ising} |",
    ]


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("checkpoint", nargs="?", help="a path, or the name of a model that ships")
    p.add_argument("--table", action="store_true", help="print the tables of what was measured, and measure nothing")
    p.add_argument("--n", type=int, default=512, help="configurations a condition")
    p.add_argument(
        "--forward", type=int, default=0, help="Monte Carlo samples a condition, for what is compared with them"
    )
    p.add_argument("--only", nargs="*", help="these cells alone; figures of others that are in the file stay")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument(
        "--speed", action="store_true", help="configurations a second of the laws that ship, and nothing else"
    )
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    if args.speed:
        (RESULTS / "any_cell_speed.json").write_text(json.dumps(speeds() | {"threads": args.threads}, indent=1))
        return
    if args.table:
        print("\n\n".join("\n".join(lines) for lines in [*tables().values(), headlines()]))
        return
    if args.checkpoint is None:
        p.error("expected a checkpoint, --table or --speed")
    law = alloygen.load(args.checkpoint)
    assert isinstance(law, AnyCell)
    system = "ising" if law.hamiltonian.elements == ("-", "+") else "cuau"
    weights = sum(x.numel() for x in law.parameters())
    print(f"{args.checkpoint}: {weights:,} weights, {args.n} configurations a condition")
    print(HEAD, RULE, sep="\n")
    RESULTS.mkdir(exist_ok=True)
    path = (RESULTS if args.checkpoint == system else Path(args.checkpoint).parent) / f"any_cell_{system}.json"
    found = json.loads(path.read_text())["cells"] if args.only and path.exists() else {}
    for name, cell in (CUAU if system == "cuau" else ISING).items():
        if args.only and name not in args.only:
            continue
        on = law.on(law.hamiltonian.expansion.on(cell))
        n = args.n if on.hamiltonian.n_sites <= 1024 else max(64, args.n // 4)
        rows = measure(on, system, name, n, args.forward)
        speed = a_second(on, conditions(system, name, on.hamiltonian)[0], n)
        found[name] = {"sites": on.hamiltonian.n_sites, "n": n, "a_second": speed, "rows": rows}
        print(told(name, found[name]), flush=True)
        facts = {"weights": weights, "steps": law.metadata.get("steps"), "config": law.metadata.get("config")}
        path.write_text(json.dumps({"facts": facts, "cells": found}, indent=1))


if __name__ == "__main__":
    main()
