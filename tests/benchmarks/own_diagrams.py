"""Diagrams of alloys of one's own by a model against Monte Carlo on the same cell. Run: python tests/benchmarks/own_diagrams.py bcc [--model model.safetensors] [--table]

The alloys are those of own_alloys.py, the model a file that it keeps (``--keep``), else what ships for the lattice: ``bcc_binary`` draws the bcc alloy untrained.
Both scans find their chemical potentials by themselves. Results: docs/results/own_diagrams.json; ``--table`` prints the rows of docs/own_alloy.md.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import own_alloys

import alloygen
from alloygen.results.phase_diagram import PhaseDiagram

RESULTS = own_alloys.DOCS / "results" / "own_diagrams.json"
ENDS = ("x_left", "x_right")


def timed(h, T: list[float], n: int, sampler) -> tuple[PhaseDiagram, dict]:
    start = time.perf_counter()
    scan = alloygen.scan(h, T=T, n=n, sampler=sampler)
    diagram = scan.phase_diagram()
    found = {"conditions": len(scan), "seconds": time.perf_counter() - start}
    if scan[0].has_likelihood:
        found["ness"] = [ens.ness for ens in scan]
    print(scan, found["seconds"])
    return diagram, found


def regions_of(one: PhaseDiagram, other: PhaseDiagram, T: list[float]) -> list[dict]:
    """Two-phase regions at the sampled temperatures, those of both that lie over each other side by side."""
    rows = []
    for t in T:
        left, right = (d.tie_lines(t).to_dict("records") for d in (one, other))
        pairs = [(a, b) for a in left for b in right if min(a["x_right"], b["x_right"]) > max(a["x_left"], b["x_left"])]
        apart = [(a[e] - b[e], float(np.hypot(a[f"{e}_stderr"], b[f"{e}_stderr"]))) for a, b in pairs for e in ENDS]
        rows.append({"T": t, "regions": [len(left), len(right)], "both": len(pairs), "apart": apart})
    return rows


def free_energies_of(one: PhaseDiagram, other: PhaseDiagram, T: list[float]) -> list[dict]:
    """Largest difference of F at fixed composition, and the spread of its z-scores, where both have error bars."""
    rows = []
    for t in T:
        a, b = (d.table.sel(T=t, method="nearest") for d in (one, other))
        error = np.hypot(a["free_energy_stderr"], b["free_energy_stderr"]).values
        apart, told = (a["free_energy"] - b["free_energy"]).values, np.isfinite(error) & (error > 0)
        rows.append({"T": t, "meV": 1000 * float(np.abs(apart[told]).max()), "z": float((apart / error)[told].std())})
    return rows


def transitions_of(one: PhaseDiagram, other: PhaseDiagram) -> list[dict]:
    """Order-disorder temperatures of the compositions that order in both."""
    a, b = (d.transitions.set_index("x") for d in (one, other))
    return [
        {
            "x": float(x),
            "T": [float(d.at[x, "T"]) for d in (a, b)],
            "stderr": float(np.hypot(a.at[x, "T_stderr"], b.at[x, "T_stderr"])),
        }
        for x in a.index.intersection(b.index)
    ]


def picture(one: PhaseDiagram, other: PhaseDiagram, path: Path) -> None:
    """Both diagrams side by side."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, 2, figsize=(10, 4.6), sharey=True, layout="constrained")
    for ax, made, name in zip(axes, (one, other), ("the model", "Monte Carlo"), strict=True):
        made.plot(ax=ax)
        ax.set_title(f"{ax.get_title()}, {name}", fontsize=10)
    fig.savefig(path, dpi=100)


def compare(name: str, model, multiples: tuple[float, ...], n: int, path: Path | None) -> dict:
    h = own_alloys.ALLOYS[name][1]().on(own_alloys.ALLOYS[name][2])
    T = (own_alloys.scale(h).T * np.array(multiples)).round().tolist()
    (one, by_model), (other, by_mc) = (timed(h, T, n, sampler) for sampler in (model, "mc"))
    if path:
        picture(one, other, path)
    return {
        "sites": h.n_sites, "T": T, "model": by_model, "mc": by_mc, "regions": regions_of(one, other, T),
        "free_energies": free_energies_of(one, other, T), "transitions": transitions_of(one, other),
        "ordering": [len(d.transitions) for d in (one, other)],
    }  # fmt: skip


def table(found: dict) -> str:
    head = ["alloy", "T", "NESS median", "F at fixed x, largest difference, meV/site", "z-scores, spread",
            "two-phase regions by model, by Monte Carlo, in both", "ends apart, largest", "in errors"]  # fmt: skip
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name, made in found.items():
        ness = np.median(made["model"]["ness"])
        for f, r in zip(made["free_energies"], made["regions"], strict=True):
            ends = f"{max(abs(d) for d, _ in r['apart']):.3f} | {max(abs(d) / e for d, e in r['apart']):.1f}" if r["apart"] else "- | -"  # fmt: skip
            lines.append(f"| {own_alloys.ALLOYS[name][0]}, {made['sites']} sites | {f['T']:g} | {ness:.3f} | {f['meV']:.3f} | {f['z']:.2f} | {', '.join(map(str, [*r['regions'], r['both']]))} | {ends} |")  # fmt: skip
    for name, made in found.items():
        apart = [(a["T"][0] - a["T"][1], a["stderr"]) for a in made["transitions"]]
        lines.append(f"\n{name}: order-disorder temperatures at {made['ordering'][0]} compositions by the model, at {made['ordering'][1]} by Monte Carlo, at {len(apart)} by both")  # fmt: skip
        if apart:
            lines.append(f"largest difference {max(abs(d) for d, _ in apart):.1f} K, {max(abs(d) / e for d, e in apart):.1f} errors, median {np.median([abs(d) for d, _ in apart]):.1f} K; "
                         f"seconds {made['model']['seconds']:.0f} and {made['mc']['seconds']:.0f}")  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("alloys", nargs="*", choices=[*own_alloys.ALLOYS, []], help="binaries of own_alloys.py")
    p.add_argument("--model", help="a checkpoint, or the name of a model; what is found for the alloy if not given")
    p.add_argument("--n", type=int, default=256, help="configurations at each condition")
    p.add_argument("--multiples", type=float, nargs="+", default=[0.6, 0.8, 1.0, 1.2, 1.5], help="temperatures, in units of the alloy's scale")  # fmt: skip
    p.add_argument("--picture", type=Path, help="draw both diagrams to this file")
    p.add_argument("--table", action="store_true", help="print the table of what was measured")
    args = p.parse_args()
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in [] if args.table else args.alloys:
        found[name] = compare(name, args.model, tuple(args.multiples), args.n, args.picture)
        RESULTS.write_text(json.dumps(found) + "\n")
    print(table(found))


if __name__ == "__main__":
    main()
