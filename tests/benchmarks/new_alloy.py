"""A binary alloy that nobody has a model of, from nothing: data, training and draws on 64 sites in ten minutes of two cores.

Run: python tests/benchmarks/new_alloy.py [--seeds 1 2] [--minutes 9]

The alloys have CuAu's clusters and random ECIs, normal with the size of CuAu's for pairs, triplets and quadruplets. NESS is over 11
temperatures from 200 to 1200 K and nine mu over the range in which the composition goes from .02 to .98 at 600 K. Results:
docs/results/new_alloy.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import alloygen
from alloygen.estimate.weights import ness
from alloygen.models.draw import draw
from alloygen.models.store import load_model
from alloygen.runtime.job import Job
from alloygen.training.loop import train

RESULTS = Path(__file__).parents[2] / "docs" / "results"
CELL, T = (4, 4, 4), np.linspace(200.0, 1200.0, 11)


def alloy(seed: int):
    """CuAu's clusters with other ECIs."""
    expansion, rng = alloygen.data.cuau(), np.random.default_rng(seed)
    size = {n: np.std([o.eci for o in expansion.orbits if o.order == n]) for n in (2, 3, 4)}
    orbits = [replace(o, eci=float(rng.normal(0, size[o.order])) if o.order > 1 else 0.0) for o in expansion.orbits]
    return replace(expansion, orbits=tuple(orbits), name=f"alloy {seed}")


def mu_range(h) -> tuple[float, float]:
    """Where the composition goes from .02 to .98 at 600 K, by short Monte Carlo."""
    mu = np.linspace(-0.6, 0.6, 49)
    scan = alloygen.mc(
        h, 600.0, [{"Au": float(m)} for m in mu], 100, method="metropolis", check=False, job=Job(progress=False)
    )
    x = scan.occ.mean((1, 2))
    return float(mu[np.flatnonzero(x > 0.02)[0] - 1]), float(mu[np.flatnonzero(x < 0.98)[-1] + 1])


def recipe(path: Path, low: float, high: float, minutes: float) -> dict:
    return {
        "name": "new alloy",
        "system": {"hamiltonian": str(path), "repeats": list(CELL)},
        "data": {"T": [{"from": 200, "to": 1200, "step": 50}], "mu": np.linspace(low, high, 25).tolist(), "samples": 200},
        "model": {"kind": "local", "width": 128, "window": 140, "levels": 2, "frequencies": 6},
        "objective": {"kind": "patches", "per_kind": 1, "hard": 0.6, "hard_every": 500},
        "training": {"steps": 10**6, "minutes": minutes, "batch": 256, "precision": "bf16", "lr": 1.5e-3, "warmup": 200, "weight_decay": 1e-4,
                     "clip": 5.0, "ema": 0.998},
        "validation": {"every": 10**6, "samples": 2},
        "machine": {"threads": 1, "workers": 1},
    }  # fmt: skip


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--seeds", type=int, nargs="*", default=[1])
    p.add_argument("--minutes", type=float, default=9.0)
    args = p.parse_args()
    path = RESULTS / "new_alloy.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    for seed in args.seeds:
        started, expansion = time.perf_counter(), alloy(seed)
        h = expansion.on(CELL)
        low, high = mu_range(h)
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "alloy.json").write_text(json.dumps(expansion.to_dict()))
            model = load_model(
                train(recipe(Path(folder) / "alloy.json", low, high, args.minutes), Path(folder) / "run")
            )
        seconds, values = time.perf_counter() - started, []
        torch.set_num_threads(2)
        for t in T:
            for m in np.linspace(low, high, 9):
                at = h.condition(t, [0.0, m])
                occ, log_q = draw(model, at, 256, torch.Generator().manual_seed(0))
                values.append(float(ness((-h.reduced_energy(occ, at.expand(256)) - log_q).numpy())))
        found[str(seed)] = {"minutes": seconds / 60, "mu": [low, high], "ness_mean": float(np.mean(values)), "ness_min": float(np.min(values)),
                            "steps": model.metadata["steps"]}  # fmt: skip
        print(
            f"alloy {seed}: {seconds / 60:.1f} minutes, NESS mean {np.mean(values):.3f}, smallest {np.min(values):.3f}",
            flush=True,
        )
        RESULTS.mkdir(exist_ok=True)
        path.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
