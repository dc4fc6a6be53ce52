"""Held sites: NESS of what is generated around them, by the law of every supercell and by the models of one cell.

Run: python tests/benchmarks/held.py [--models cuau cuau_4x4x4] [--n 256]

CuAu 4x4x4. Sites are held as Monte Carlo samples have them (scattered ones, a layer, a box, all but a box; 4 samples each at six
conditions), and with species that no phase has (a layer of alternating Cu and Au, a box of one species). Results: docs/results/held.json.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

import alloygen
from alloygen.estimate.weights import ness
from alloygen.models.base import AnyCell
from alloygen.models.draw import trained_orders
from alloygen.orders import known_first

RESULTS = Path(__file__).parents[2] / "docs" / "results"
AT = [(400.0, 0.0), (400.0, 0.0724), (600.0, 0.0), (700.0, 0.06), (800.0, -0.06), (1000.0, 0.0)]


def sets(lattice, rng) -> dict[str, np.ndarray]:
    """Held sites (N,) bool by name."""
    x = lattice.offsets
    box = (x < 2).all(1)
    return {"16 scattered": rng.permutation(lattice.n_sites) < 16, "a layer": x[:, 2] == 0, "a box of 8": box, "all but a box of 8": ~box}  # fmt: skip


def conditional_ness(model, at, known: np.ndarray, n: int) -> float:
    """NESS of n draws around known (N,), -1 where a site is free."""
    h, generator = model.hamiltonian, torch.Generator().manual_seed(0)
    given = torch.as_tensor(known).long().expand(n, -1)
    order = known_first(trained_orders(model, n, generator), given >= 0)
    with torch.no_grad():
        occ, log_q = model.sample(at.expand(n), order, generator, given)
    return float(ness((-h.reduced_energy(occ, at.expand(n)) - log_q).numpy()))


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--models", nargs="*", default=["cuau", "cuau_4x4x4"])
    p.add_argument("--n", type=int, default=256)
    args = p.parse_args()
    torch.set_num_threads(2)
    h, found = alloygen.data.cuau().on((4, 4, 4)), {}
    scan = alloygen.mc(h, sorted({t for t, _ in AT}), [{"Au": m} for m in sorted({m for _, m in AT})], 200, seed=5)
    for name in args.models:
        model, rng, started = alloygen.load(name), np.random.default_rng(0), time.perf_counter()
        model = model.on(h) if isinstance(model, AnyCell) else model
        rows: dict[str, list[float]] = {}
        for T, mu in AT:
            at = h.condition(T, [0.0, mu])
            samples = scan.at(T, {"Au": mu}).occ[::50]
            for occ in samples:
                for kind, held in sets(h.lattice, rng).items():
                    rows.setdefault(kind, []).append(conditional_ness(model, at, np.where(held, occ, -1), args.n))
            layer, box = (sets(h.lattice, rng)[k] for k in ("a layer", "a box of 8"))
            strange = {
                "a strange layer": np.where(layer, h.lattice.offsets[:, 0] % 2, -1),
                "a strange box": np.where(box, 1, -1),
            }
            for kind, known in strange.items():
                rows.setdefault(kind, []).append(conditional_ness(model, at, known, args.n))
        found[name] = {kind: [float(np.mean(v)), float(np.min(v))] for kind, v in rows.items()}
        told = " | ".join(f"{kind} {mean:.3f} / {least:.3f}" for kind, (mean, least) in found[name].items())
        print(f"{name}: NESS mean / smallest: {told} ({time.perf_counter() - started:.0f} s)", flush=True)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "held.json").write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
