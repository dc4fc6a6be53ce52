"""Alloys of one's own, end to end from nothing: energies, fit, training without a configuration, draws. Run: python tests/benchmarks/own_alloys.py [--only ternary] [--minutes 18]

Fifty conditions on 64 sites (128 of five elements): five temperatures from 0.8 to 4 times the scale of the alloy, ten chemical potentials spread by a Sobol sequence over the
range of its phases. NESS of 256 draws at each; Phi against replica exchange and MBAR with a ladder to infinite temperature. Results:
docs/results/own_alloys.json; ``--table`` prints the rows of docs/own_alloy.md.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
from ase.build import bulk
from ase.calculators.emt import EMT
from scipy.stats import qmc

import alloygen
from alloygen.hamiltonian.expansion import ClusterExpansion
from alloygen.hamiltonian.parents import PARENTS
from alloygen.hamiltonian.scale import scale

RESULTS = Path(__file__).parents[2] / "docs" / "results" / "own_alloys.json"
MULTIPLES, POINTS, N = (0.8, 1.2, 1.8, 2.7, 4.0), 10, 256


def emt(elements: list[str], a: float, max_sites: int = 4) -> ClusterExpansion:
    """An fcc alloy fitted to EMT energies of all structures of a few sites."""
    cell = bulk("Cu", a=a)
    return alloygen.fit(cell, elements, EMT(), alloygen.enumerate_structures(cell, elements, max_sites=max_sites))


def bcc() -> ClusterExpansion:
    """First and second neighbours that repel their kind: B2 at half, D0_3 at a quarter."""
    parent = PARENTS["bcc"]
    J = np.zeros(len(parent.figures))
    J[1:3] = 4 * 0.012, 3 * 0.006  # four and three bonds a site
    return parent.expansion(J, ("Fe", "Al"), name="bcc with B2 and D0_3")


ALLOYS = {
    "ternary": ("fcc Cu-Au-Pd by EMT, fitted here", lambda: emt(["Cu", "Au", "Pd"], 3.9), (4, 4, 4)),
    "bcc": ("bcc, two shells, B2 and D0_3", bcc, (4, 4, 4)),
    "five": ("fcc Cu-Ag-Au-Pd-Pt by EMT", lambda: emt(["Cu", "Ag", "Au", "Pd", "Pt"], 3.95, 3), (4, 4, 8)),
}


def conditions(h) -> tuple[np.ndarray, list[dict[str, float]]]:
    own = scale(h)
    free = own.mu[:, 0] < own.mu[:, 1]
    shares = qmc.Sobol(int(free.sum()), scramble=False).random(16)[1 : POINTS + 1]
    points = np.tile(own.mu[:, 0], (POINTS, 1))
    points[:, free] += shares * np.ptp(own.mu[free], axis=1)
    return own.T * np.array(MULTIPLES), [dict(zip(h.elements[1:], map(float, p), strict=True)) for p in points]


def measure(name: str, minutes: float) -> dict:
    started = time.perf_counter()
    expansion = ALLOYS[name][1]()
    fitted = time.perf_counter() - started
    with tempfile.TemporaryDirectory() as folder:
        model = alloygen.train(expansion, minutes=minutes, folder=folder, workers=1)
    trained = time.perf_counter() - started
    h = expansion.on(ALLOYS[name][2])
    T, mu = conditions(h)
    reference = alloygen.mc(h, T, mu, n=500, seed=1)
    rows = []
    for k in range(len(reference)):
        one = reference[k]
        ens = alloygen.sample(h, one.T, dict(zip(h.elements, one.mu.tolist(), strict=True)), n=N, seed=0, sampler=model)
        phi, other = ens.free_energy(), reference.free_energy(k)
        rows.append({"T": one.T, "mu": one.mu.tolist(), "ness": ens.ness, "phi": [phi.value, phi.stderr], "mc": [other.value, other.stderr]})  # fmt: skip
    return {
        "fit_s": fitted,
        "minutes": trained / 60,
        "steps": model.metadata["steps"],
        "ecis": len(expansion.orbits),
        "rows": rows,
    }


def table(found: dict) -> str:
    lines = ["| alloy | sites | from nothing | ECIs | NESS mean | smallest | Phi - replica exchange, largest, meV/site |", "|---" * 7 + "|"]  # fmt: skip
    for name, made in found.items():
        ness = np.array([r["ness"] for r in made["rows"]])
        apart = max(abs(r["phi"][0] - r["mc"][0]) for r in made["rows"]) * 1000
        sites = int(np.prod(ALLOYS[name][2]))
        lines.append(f"| {ALLOYS[name][0]} | {sites} | {made['minutes']:.1f} min | {made['ecis']} | {ness.mean():.3f} | {ness.min():.3f} | {apart:.2f} |")  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--only", nargs="*", choices=ALLOYS, default=list(ALLOYS))
    p.add_argument("--minutes", type=float, default=18.0)
    p.add_argument("--table", action="store_true", help="print the table of what was measured")
    args = p.parse_args()
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in [] if args.table else args.only:
        found[name] = measure(name, args.minutes)
        RESULTS.write_text(json.dumps(found, indent=1))
    print(table(found))


if __name__ == "__main__":
    main()
