"""What a little more work does for the weights of the law of every supercell. Run: python tests/benchmarks/any_cell_refined.py [--n 256]

NESS and seconds of plain draws, of likelihoods averaged over paths, and of annealed importance sampling, CuAu at the hard conditions of
``any_cell.py`` and the Ising model at h = 0. Results: docs/results/any_cell_refined.json.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings

import numpy as np
import torch
from any_cell import CRITICAL, HARD, RESULTS
from ase.build import bulk

import alloygen
from alloygen import Anneal, Neural

WAYS = {
    "plain": {},
    "averaged over 4 paths": {"average": 4},
    "averaged over 16 paths": {"average": 16},
    "annealed, effort 0.25": {"then": Anneal(effort=0.25)},
    "annealed, effort 1": {"then": Anneal(effort=1.0)},
}
PUBLISHED = alloygen.data.grids()["cuau"].pairs()
CASES = {
    "CuAu 4x4x4, published grid": ("cuau", bulk("Cu", a=3.8).repeat((4, 4, 4)), list(zip(*PUBLISHED, strict=True))),
    "CuAu 4x4x4": ("cuau", bulk("Cu", a=3.8).repeat((4, 4, 4)), HARD),
    "CuAu 4x4x8": ("cuau", bulk("Cu", a=3.8).repeat((4, 4, 8)), HARD),
    "CuAu 8x8x8": ("cuau", bulk("Cu", a=3.8).repeat((8, 8, 8)), HARD),
    "Ising 32x32": ("ising", alloygen.ising(32), [(t, 0.0) for t in CRITICAL]),
}


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--n", type=int, default=256)
    p.add_argument("--only", nargs="*", help="of the cases; what was measured of others stays")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--ways", nargs="*", default=list(WAYS))
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    warnings.simplefilter("ignore")
    path = RESULTS / "any_cell_refined.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    print("| case | way | NESS mean | smallest | seconds a condition |\n|---|---|---|---|---|")
    for case, (name, atoms, conditions) in CASES.items():
        if args.only and case not in args.only:
            continue
        for way, options in ((way, WAYS[way]) for way in args.ways):
            values, started = [], time.perf_counter()
            for T, mu in conditions:
                at = {"mu": {"Au": mu}} if name == "cuau" else {"h": mu / 2}
                ens = alloygen.sample(atoms, T, n=args.n, sampler=Neural(model=name, **options), **at)
                values.append(ens.ness)
            seconds = (time.perf_counter() - started) / len(conditions)
            found[f"{case}, {way}"] = {"ness": values, "seconds": seconds}
            path.write_text(json.dumps(found, indent=1))
            print(f"| {case} | {way} | {np.mean(values):.3f} | {np.min(values):.3f} | {seconds:.2f} |", flush=True)


if __name__ == "__main__":
    main()
