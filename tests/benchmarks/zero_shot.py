"""Alloys without training: a network for every alloy of a lattice on Hamiltonians that it never saw. Run: python tests/benchmarks/zero_shot.py CHECKPOINT

Held-out alloys are those of the prior in the checkpoint from a number on that no training reaches. mu are such that the composition is spread:
so many equal steps of it from .1 to .9 at each temperature, by short replica exchange. For each band of temperatures the median and the tenth
percentile of NESS and of the forward NESS, and NESS of bare physics (the network switched off). Then CuAu, which is in no training set, at the
110 published conditions. Figures: docs/results/zero_shot_NAME.json.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import cast

import numpy as np
import torch

import alloygen
from alloygen.estimate.weights import forward_ness, ness
from alloygen.hamiltonian.expansion import ClusterExpansion
from alloygen.hamiltonian.scale import scale
from alloygen.models.draw import draw
from alloygen.models.family import FamilyModel, ZeroShot
from alloygen.models.store import load_model
from alloygen.montecarlo.sampling import replica_exchange
from alloygen.training.config import load_config
from alloygen.training.prior import couplings
from alloygen.training.reference import named_grid
from alloygen.training.stream import HELD

RESULTS = Path(__file__).parents[2] / "docs" / "results"
FIRST = HELD + 1000  # number of the first alloy here; validation takes those before
T = np.array([400.0, 500.0, 600.0, 700.0, 900.0, 1200.0])
ABOVE = np.array([1600.0, 2200.0])  # to help the exchange
BANDS = {"400-700 K": (400, 650), "700-1200 K": (700, 1200)}
CELLS = {
    "cubic": {"2x4x4": (2, 4, 4), "4x4x4": (4, 4, 4), "4x4x8": (4, 4, 8)},
    "square": {"8x8": (8, 8, 1), "16x16": (16, 16, 1)},
}


def spread_mu(h, steps: int) -> np.ndarray:
    """mu (T, steps) at which the composition is spread over (0, 1) at each temperature."""
    found = scale(h)
    half = np.ptp(found.mu) / 2 + 4 * h.kB * T.max()
    grid = np.mean(found.mu) + half * np.linspace(-1, 1, 33)
    s = replica_exchange(
        h, h.grid([*T, *ABOVE], np.column_stack([0 * grid, grid])), 6, sweeps=8, burn=80, seed=3, check=False
    )
    x = np.asarray(s.occ).mean((1, 2)).reshape(len(T) + len(ABOVE), -1)[: len(T)]
    wanted = np.linspace(0.1, 0.9, steps)
    rising = np.maximum.accumulate(x, axis=1) + 1e-9 * np.arange(x.shape[1])
    return np.array([np.interp(wanted, row, grid) for row in rising])


def bare(law: FamilyModel) -> FamilyModel:
    """The same without what the network adds."""
    other = FamilyModel(law.hamiltonian, law.ranges, **law.config())
    return other.eval()


def figures(law: FamilyModel, mu: np.ndarray, n: int) -> list[dict]:
    """NESS of the law and of bare physics, and the forward one, at every T and mu."""
    h, out, physics = law.hamiltonian, [], bare(law)
    for k, t in enumerate(T):
        for m in mu[k]:
            at = h.condition(t, [0.0, float(m)])
            row: dict = {"T": float(t), "mu": float(m)}
            for name, model in (("ness", law), ("bare", physics)):
                occ, log_q = draw(model, at, n, torch.Generator().manual_seed(0))
                row[name] = float(ness((-h.reduced_energy(occ, at.expand(n)) - log_q).numpy()))
            out.append(row)
    return out


def forward(law: FamilyModel, mu: np.ndarray, n: int) -> list[float]:
    """Forward NESS on replica-exchange samples, in the sequence of ``figures``."""
    h, out = law.hamiltonian, []
    for k, t in enumerate(T):
        ladder = [x for x in (*T, *ABOVE) if x >= t]
        s = replica_exchange(
            h, h.grid(ladder, np.column_stack([0 * mu[k], mu[k]])), n, sweeps=8, burn=120, seed=5, check=False
        )
        for j, m in enumerate(mu[k]):
            occ = torch.as_tensor(np.asarray(s.occ[j])).long()
            at = h.condition(t, [0.0, float(m)]).expand(len(occ))
            with torch.no_grad():
                log_q = law.log_prob(occ, at, law.order.expand(len(occ), -1))
            out.append(float(forward_ness((-h.reduced_energy(occ, at) - log_q).numpy())))
    return out


def held_out(model: FamilyModel, cell, alloys: int, n: int, steps: int) -> list[dict]:
    """Rows of all held-out alloys on one supercell."""
    prior = load_config({k: v for k, v in model.metadata["config"].items()}).prior
    assert prior is not None
    rows = []
    for k in range(alloys):
        h = model.parent.expansion(couplings(model.parent, prior, FIRST + k)).on(cell)
        law, mu = model.on(h), spread_mu(h, steps)
        found = figures(law, mu, n)
        for row, value in zip(found, forward(law, mu, n // 2), strict=True):
            rows.append(row | {"alloy": k, "forward": value})
    return rows


def cuau(model: FamilyModel, n: int) -> list[float]:
    """NESS at the published conditions, 64 sites."""
    h = cast(ClusterExpansion, alloygen.data.cuau()).on((4, 4, 4))
    law, out = ZeroShot(model, h), []
    for at in named_grid("cuau", h):
        occ, log_q = draw(law, at, n, torch.Generator().manual_seed(0))
        out.append(float(ness((-h.reduced_energy(occ, at.expand(n)) - log_q).numpy())))
    return out


def table(found: dict) -> str:
    """The rows of docs/new_alloy.md."""
    lines = [
        "| cell | temperatures | alloys | NESS median | tenth percentile | forward median | bare physics median |",
        "|---" * 7 + "|",
    ]
    for cell, rows in found["cells"].items():
        for band, (low, high) in BANDS.items():
            some = [r for r in rows if low <= r["T"] <= high]
            v, f, b = (np.array([r[key] for r in some]) for key in ("ness", "forward", "bare"))
            lines.append(
                f"| {cell} | {band} | {1 + max(r['alloy'] for r in rows)} | {np.median(v):.3f} | {np.quantile(v, 0.1):.3f} | {np.median(f):.3f} | {np.median(b):.3f} |"
            )
    if found.get("cuau"):
        lines.append(
            f"\nCuAu, 4x4x4, 110 conditions: NESS mean {np.mean(found['cuau']):.3f}, smallest {np.min(found['cuau']):.3f}"
        )
    return "\n".join(lines)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("checkpoint", help="name of one that ships, or a file")
    p.add_argument("--alloys", type=int, default=100)
    p.add_argument("--n", type=int, default=256)
    p.add_argument("--steps", type=int, default=3, help="chemical potentials at each temperature")
    p.add_argument("--only", nargs="*", help="of the cells")
    args = p.parse_args()
    torch.set_num_threads(1)
    started = time.perf_counter()
    path = Path(args.checkpoint)
    model = load_model(path) if path.exists() else alloygen.load(args.checkpoint)
    assert isinstance(model, FamilyModel)
    cells = CELLS["square" if model.parent.name == "square" else "cubic"]
    found: dict = {"checkpoint": model.name, "steps": model.metadata.get("steps"), "cells": {}}
    for name, cell in cells.items():
        if not args.only or name in args.only:
            found["cells"][name] = held_out(model, cell, args.alloys, args.n, args.steps)
            print(f"{name}: {time.perf_counter() - started:.0f} s", flush=True)
    if model.parent.name == "fcc":
        found["cuau"] = cuau(model, args.n)
    out = RESULTS / f"zero_shot_{model.name}.json" if not path.exists() else path.with_suffix(".json")
    out.write_text(json.dumps(found, indent=1))
    print(table(found))


if __name__ == "__main__":
    main()
