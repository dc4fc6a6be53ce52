"""One law on many supercells: the tables of docs/any_cell.md. Run: python tests/benchmarks/any_cell.py CHECKPOINT [--n 512] [--only 4x4x4]

For each cell: NESS and forward NESS, the divergence KL(q || p) per site,

    KL = E_q[log q + u] + log Z,     log Z from exact values where there are any, else from the weights,

and Phi against exact values or Monte Carlo. Tables go to standard output, figures to tests/benchmarks/results/any_cell_NAME.json.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from alloygen.data import grids
from alloygen.estimate.weights import forward_ness, log_mean, ness
from alloygen.exact.enumeration import Enumeration
from alloygen.exact.ising import kaufman_free_energy, transfer_matrix
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.models.base import AnyCell
from alloygen.models.draw import draw, trained_orders
from alloygen.models.store import load_model
from alloygen.montecarlo.sampling import cluster_moves
from alloygen.training.reference import named_grid, reference_samples

RESULTS = Path(__file__).parent / "results"
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
CRITICAL = [1.8, 2.0, 2.15, 2.2692, 2.4, 2.7, 3.5]
CUBIC = np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]])
CUAU = {
    "2x2x4": (2, 2, 4),
    "cubic 2x2x2": 2 * CUBIC,
    "4x4x4": (4, 4, 4),
    "4x4x8": (4, 4, 8),
    "6x6x6": (6, 6, 6),
    "8x8x8": (8, 8, 8),
}
ISING = {f"{n}x{n}": (n, n, 1) for n in (10, 15, 16, 20, 32, 64)}


def conditions(system: str, name: str, h: Hamiltonian):
    """(T, mu of the last element) of a row of the table."""
    if system == "cuau":
        return (
            named_grid("cuau", h) if name == "2x2x4" else h.condition([t for t, _ in HARD], [[0.0, m] for _, m in HARD])
        )
    if name in ("10x10", "15x15", "20x20"):
        return named_grid("ising", h)
    return h.condition(CRITICAL, [[0.0, 0.0]] * len(CRITICAL))


def exact_phi(system: str, name: str, h: Hamiltonian, at) -> np.ndarray | None:
    """Phi per site, where it is known exactly."""
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


def samples_of(system: str, h: Hamiltonian, at, n: int) -> np.ndarray:
    """Monte Carlo samples (C, n, N), for the forward figures."""
    if system == "ising":
        return cluster_moves(h, at, n, sweeps=5, burn=100, seed=1, check=False).occ
    fine = grids()["cuau"]
    return reference_samples(h, at, n, seed=1, dT=fine.dT, dmu=fine.dmu).occ


def log_weights(law: AnyCell, occ: np.ndarray, one) -> np.ndarray:
    """log w of samples (n, N) at one condition."""
    rows, x = one.expand(len(occ)), torch.as_tensor(occ).long()
    order = trained_orders(law, len(occ), torch.Generator().manual_seed(0))
    with torch.no_grad():
        return (-law.hamiltonian.reduced_energy(x, rows) - law.log_prob(x, rows, order)).numpy()


def measure(law: AnyCell, system: str, name: str, n: int, forward: int) -> list[dict]:
    h, rows = law.hamiltonian, []
    at = conditions(system, name, h)
    known = exact_phi(system, name, h, at)
    samples = samples_of(system, h, at, forward) if forward else None
    started = time.perf_counter()
    for i, one in enumerate(at):
        occ, log_q = draw(law, one, n, torch.Generator().manual_seed(i))
        log_w = (-h.reduced_energy(occ, one.expand(n)) - log_q).numpy()
        log_z, kT = log_mean(log_w), float(one.kT)
        row = {"T": float(one.T), "mu": float(one.mu[-1]), "ness": float(ness(log_w)), "phi": -kT * log_z.value / h.n_sites,
               "phi_stderr": kT * log_z.stderr / h.n_sites, "kl": float(log_z.value - log_w.mean()) / h.n_sites}  # fmt: skip
        if known is not None and np.isfinite(known[i]):
            row["phi_exact"] = float(known[i])
            row["kl"] = float(-known[i] * h.n_sites / kT - log_w.mean()) / h.n_sites
        rows.append(row)
    seconds = time.perf_counter() - started
    for i, row in enumerate(rows):
        row["seconds"] = seconds / len(rows)
        if samples is not None:
            log_z = -row.get("phi_exact", row["phi"]) * h.n_sites / float(at[i].kT)
            row["forward_ness"] = float(forward_ness(log_weights(law, samples[i], at[i]), log_z))
    return rows


def told(name: str, rows: list[dict], n: int, sites: int) -> str:
    """One row of the table."""
    ness_, kl = (np.array([r[k] for r in rows]) for k in ("ness", "kl"))
    worst = rows[int(ness_.argmin())]
    cells = [
        name,
        f"{sites}",
        f"{len(rows)}",
        f"{ness_.mean():.3f}",
        f"{ness_.min():.3f} at ({worst['T']:g}, {worst['mu']:g})",
    ]
    back = [r["forward_ness"] for r in rows if "forward_ness" in r]
    cells.append(f"{np.mean(back):.3f} / {min(back):.3f}" if back else "")
    off = [abs(r["phi"] - r["phi_exact"]) for r in rows if "phi_exact" in r]
    cells += [f"{kl.mean():.1e} / {kl.max():.1e}", f"{max(off):.1e}" if off else "", f"{n / rows[0]['seconds']:,.0f}"]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("checkpoint")
    p.add_argument("--n", type=int, default=512, help="configurations a condition")
    p.add_argument("--forward", type=int, default=0, help="Monte Carlo samples a condition for the forward NESS")
    p.add_argument("--only", nargs="*", help="these cells alone")
    args = p.parse_args()
    law = load_model(args.checkpoint)
    system = "ising" if law.hamiltonian.elements == ("-", "+") else "cuau"
    print(
        f"{args.checkpoint}: {sum(x.numel() for x in law.parameters()):,} weights, {args.n} configurations a condition"
    )
    print(
        "| cell | sites | conditions | NESS mean | smallest | forward | KL per site, mean / largest | largest error of Phi | a second |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    found = {}
    for name, cell in (CUAU if system == "cuau" else ISING).items():
        if args.only and name not in args.only:
            continue
        on = law.on(law.hamiltonian.expansion.on(cell))
        found[name] = measure(on, system, name, args.n, args.forward)
        print(told(name, found[name], args.n, on.hamiltonian.n_sites), flush=True)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"any_cell_{system}.json").write_text(json.dumps({"n": args.n, "cells": found}, indent=1))


if __name__ == "__main__":
    main()
