"""The isothermal sections of docs/thermodynamics.md: a ternary of nearest-neighbour pairs on 32 fcc sites by replica exchange over a plane of mu.

Run: python tests/benchmarks/ternary_sections.py [--n 150] [--out docs/figures/ternary_sections.png]
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
sys.path.insert(0, str(Path(__file__).parents[1]))

from ternaries import pairs

import alloygen

ROOT = Path(__file__).parents[2]
ALLOY = {
    ("Cu", "Au"): 0.012,
    ("Cu", "Pd"): 0.018,
    ("Au", "Pd"): 0.022,
}  # eV a pair of unlike neighbours: none of them mixes when cold
T = [450.0, 700.0, 1000.0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=150, help="samples at each condition")
    parser.add_argument("--points", type=int, default=7, help="values of each chemical potential")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "figures" / "ternary_sections.png")
    parser.add_argument("--keep", type=Path, help="netCDF of the sections")
    options = parser.parse_args()
    mu, start = np.linspace(-0.12, 0.12, options.points), time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scan = alloygen.mc(pairs(ALLOY).on((4, 4, 2)), T=T, mu={"Au": mu, "Pd": mu}, n=options.n)
    sections = scan.phase_diagram()
    print(f"{scan}, {time.perf_counter() - start:.0f} s\n{sections}")
    for t in T:
        print(f"\nT = {t:g}\n{sections.single_phases(t).to_string()}")
        shown = ["n_phases", "phase_1", "phase_2", "phase_3", "barrier", "significance", "support", "effective_samples"]
        found = sections.tie_triangles(t)
        print(found[[c for c in shown if c in found]].to_string())
    print(f"\nnot told from noise: {len(sections.unresolved)} facets")
    if options.keep:
        sections.write(options.keep)
    sections.plot("stack", T=T)[0].figure.savefig(options.out, dpi=100, bbox_inches="tight")


if __name__ == "__main__":
    main()
