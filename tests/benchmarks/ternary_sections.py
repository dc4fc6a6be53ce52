"""Isothermal sections of docs/thermodynamics.md: a ternary of nearest-neighbour pairs on 32 fcc sites by replica exchange over a plane of mu.

Run: python tests/benchmarks/ternary_sections.py [--n 150] [--out docs/figures/ternary_sections.png]
A scan that finds its plane of mu by itself, on 64 sites, beside the plane above: python tests/benchmarks/ternary_sections.py --found [--cell 4 4 4]
With a model, its sections of its own alloy against Monte Carlo: python tests/benchmarks/ternary_sections.py --model model.safetensors [--cell 2 2 4] [--T 450 700 1000]
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
from alloygen.results.sections import IsothermalSections

ROOT = Path(__file__).parents[2]
ALLOY = {
    ("Cu", "Au"): 0.012,
    ("Cu", "Pd"): 0.018,
    ("Au", "Pd"): 0.022,
}  # eV a pair of unlike neighbours: none of them mixes when cold


def timed(work, *args, **options) -> tuple:
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scan = work(*args, **options)
        sections = scan.phase_diagram()
    print(f"{scan}, {time.perf_counter() - start:.0f} s\n{sections}")
    return scan, sections


def against(model: IsothermalSections, other: IsothermalSections, names=("model", "Monte Carlo")) -> None:
    """What two stacks of sections differ by: F at the corners of the hull, the hull itself, and the corners of the tie-triangles."""
    print("| T | corners of the hull in both | F there, largest difference, meV/site | z-scores, spread | hull, largest difference, meV/site | tie-triangles, reliable ones |")  # fmt: skip
    print("|---|---|---|---|---|---|")
    common = [
        (a, b)
        for a, row in enumerate(model.table["atoms"].values.tolist())
        for b, at in enumerate(other.table["atoms"].values.tolist())
        if row == at
    ]
    one, two = np.array(common).T
    for t, T in enumerate(model.T):
        f, g = model.table["free_energy"].values[t][one], other.table["free_energy"].values[t][two]
        error = np.hypot(
            model.table["free_energy_stderr"].values[t][one], other.table["free_energy_stderr"].values[t][two]
        )
        corner = np.isin(one, model.surfaces[t].facets.corners) & np.isin(two, other.surfaces[t].facets.corners)
        told = corner & (error > 0)
        x = model.x[one]
        apart = model.surfaces[t].facets.at(x) - other.surfaces[t].facets.at(x)
        found = [f"{len(t)}, {t['reliable'].sum()}" for t in (s.tie_triangles(T) for s in (model, other))]
        far = f"{1000 * np.abs(f - g)[told].max():.3f} | {((f - g) / error)[told].std():.2f}" if told.any() else "- | -"
        print(
            f"| {T:g} | {corner.sum()} | {far} | {1000 * np.abs(apart).max():.3f} | {found[0]}; {found[1]} |"
        )  # pure elements alone have no error
        for name, s in zip(names, (model, other), strict=True):
            for row in s.tie_triangles(T).query("reliable").to_dict("records"):
                ends = [
                    ", ".join(f"{e} {row[f'x_{e}_{k}']:.3f} ± {row[f'x_{e}_{k}_stderr']:.3f}" for e in s.elements)
                    for k in (1, 2, 3)
                ]
                print(f"  {name}: " + "; ".join(ends))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=150, help="samples at each condition")
    parser.add_argument("--points", type=int, default=7, help="values of each chemical potential")
    parser.add_argument("--T", type=float, nargs="+", default=[450.0, 700.0, 1000.0])
    parser.add_argument("--model", type=Path, help="checkpoint of a ternary: its sections against Monte Carlo")
    parser.add_argument("--found", action="store_true", help="the plane of mu that a scan finds, beside --points")
    parser.add_argument("--cell", type=int, nargs=3, help="supercell (default 2 2 4 for --model, 4 4 4 for --found)")
    parser.add_argument(
        "--out", type=Path, help="picture (default docs/figures/ternary_sections.png, none with --model or --found)"
    )
    parser.add_argument("--keep", type=Path, help="netCDF of the sections")
    options = parser.parse_args()
    if options.model is not None:
        law = alloygen.load(options.model)
        cell = law.hamiltonian.expansion.on(tuple(options.cell or (2, 2, 4)))
        made, sections = timed(alloygen.scan, cell, T=options.T, n=options.n, sampler=law)
        print(
            f"NESS {np.mean([ens.ness for ens in made]):.3f} on average, {min(ens.ness for ens in made):.3f} at least"
        )
        against(sections, timed(alloygen.scan, cell, T=options.T, n=options.n, sampler="mc")[1])
    elif options.found:
        cell = pairs(ALLOY).on(tuple(options.cell or (4, 4, 4)))
        made, sections = timed(alloygen.scan, cell, T=options.T, n=options.n, sampler="mc")
        print(f"{len(np.unique(made.mu, axis=0))} chemical potentials")
        mu = np.linspace(-0.12, 0.12, options.points)
        against(
            sections, timed(alloygen.mc, cell, T=options.T, mu={"Au": mu, "Pd": mu}, n=options.n)[1], ("found", "given")
        )
    else:
        mu = np.linspace(-0.12, 0.12, options.points)
        _, sections = timed(alloygen.mc, pairs(ALLOY).on((4, 4, 2)), T=options.T, mu={"Au": mu, "Pd": mu}, n=options.n)
        for t in options.T:
            print(f"\nT = {t:g}\n{sections.single_phases(t).to_string()}")
            shown = ["n_phases", "phase_1", "phase_2", "phase_3", "barrier", "significance", "support", "effective_samples"]  # fmt: skip
            found = sections.tie_triangles(t)
            print(found[[c for c in shown if c in found]].to_string())
        print(f"\nnot told from noise: {len(sections.unresolved)} facets")
        options.out = options.out or ROOT / "docs" / "figures" / "ternary_sections.png"
    if options.keep:
        sections.write(options.keep)
    if options.out:
        sections.plot("stack", T=options.T)[0].figure.savefig(options.out, dpi=100, bbox_inches="tight")


if __name__ == "__main__":
    main()
