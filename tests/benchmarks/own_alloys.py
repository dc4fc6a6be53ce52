"""Alloys of one's own, end to end from nothing: energies, fit, training without a configuration, draws. Run: python tests/benchmarks/own_alloys.py [--only ternary] [--minutes 18]

Fifty conditions on 64 sites (128 of five elements): five temperatures from 0.8 to 4 times the scale of the alloy but within the range of the law, ten chemical potentials spread by a Sobol sequence over the
range of its phases. NESS of 256 draws at each; Phi against replica exchange and MBAR with a ladder to infinite temperature. Results:
docs/results/own_alloys.json; ``--table`` prints the rows of docs/own_alloy.md. ``--keep FOLDER`` leaves the models there.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import mgcd_energies
import numpy as np
from ase.build import bulk
from ase.calculators.emt import EMT
from scipy.stats import qmc

import alloygen
from alloygen.hamiltonian.clusters import cluster_orbits
from alloygen.hamiltonian.expansion import ClusterExpansion
from alloygen.hamiltonian.figures import Orbit
from alloygen.hamiltonian.parents import PARENTS
from alloygen.hamiltonian.scale import between, scale
from alloygen.lattice import Primitive

DOCS = Path(__file__).parents[2] / "docs"
RESULTS = DOCS / "results" / "own_alloys.json"
MULTIPLES, POINTS, N = (0.8, 1.2, 1.8, 2.7, 4.0), 10, 256


def emt(elements: list[str], a: float, max_sites: int = 4) -> ClusterExpansion:
    """An fcc alloy fitted to EMT energies of all structures of a few sites."""
    cell = bulk("Cu", a=a)
    return alloygen.fit(cell, elements, EMT(), alloygen.enumerate_structures(cell, elements, max_sites=max_sites))


def mgcd() -> ClusterExpansion:
    """hcp Mg-Cd, fitted to relaxed energies by CHGNet (mgcd_energies.py)."""
    energies = json.loads((RESULTS.parent / "mgcd_chgnet.json").read_text())
    return alloygen.fit(mgcd_energies.CELL, mgcd_energies.SPECIES, energies, mgcd_energies.structures())


def coulomb(primitive: Primitive, charges: dict[str, float], reach: float, strength: float, name: str, site: dict[str, float] | None = None) -> ClusterExpansion:  # fmt: skip
    """E = sum over pairs of sites up to ``reach`` of strength q q exp(-r / 3 A) / r, and ``site`` energies of some elements."""
    changing = [k for k, names in enumerate(primitive.species) if len(names) > 1]
    functions = np.array([[values.get(e, 0.0) for e in primitive.elements] for values in (charges, site or {})])
    orbits = [Orbit("site", 1.0, [[(0, 0, 0, k)] for k in changing], [[1]] * len(changing), np.ones(len(changing)))]
    for clusters in cluster_orbits(primitive, 2, reach, changing):
        (a, b), ones = np.array(clusters[0]), np.ones(len(clusters))
        r = np.linalg.norm((b[:3] - a[:3] + primitive.basis[b[3]] - primitive.basis[a[3]]) @ primitive.cell)
        orbits.append(Orbit(f"pair {r:.2f}", strength * np.exp(-r / 3) / r, np.array(clusters), np.zeros((len(clusters), 2)), ones))  # fmt: skip
    return ClusterExpansion(primitive, functions, tuple(orbits), name=name)


def salt() -> ClusterExpansion:
    """Rocksalt (Li, Mn, Ti)(O, F), charges of +1, +3, +4, -2, -1, screened."""
    primitive = Primitive(2.08 * (1 - np.eye(3)), [[0, 0, 0], [0.5, 0.5, 0.5]], [("Li", "Mn", "Ti"), ("O", "F")])
    charges = {"Li": 1, "Mn": 3, "Ti": 4, "O": -2, "F": -1}
    return coulomb(primitive, charges, 4.2, 0.09, "rocksalt (Li, Mn, Ti)(O, F)")


def layers() -> ClusterExpansion:
    """Li and vacancies between layers of CoO2 that stay: 4 V against lithium, less what the Li ions cost each other."""
    a, c = 2.82, 4.7
    cell = [[a, 0, 0], [-a / 2, a * np.sqrt(0.75), 0], [0, 0, c]]
    basis = [[0, 0, 0], [0, 0, 0.5], [1 / 3, 2 / 3, 0.3], [2 / 3, 1 / 3, 0.7]]
    primitive = Primitive(np.array(cell), basis, [("Li", "X"), ("Co",), ("O",), ("O",)])
    return coulomb(primitive, {"Li": 1}, 5.7, 0.4, "LixCoO2", {"Li": -4.3})


def bcc() -> ClusterExpansion:
    """First and second neighbours that repel their kind: B2 at half, D0_3 at a quarter."""
    parent = PARENTS["bcc"]
    J = np.zeros(len(parent.figures))
    J[1:3] = 4 * 0.012, 3 * 0.006  # four and three bonds a site
    return parent.expansion(J, ("Fe", "Al"), name="bcc with B2 and D0_3")


ALLOYS = {  # what it is, how it comes, supercell to judge it on
    "ternary": ("fcc Cu-Au-Pd by EMT, fitted here", lambda: emt(["Cu", "Au", "Pd"], 3.9), (4, 4, 4)),
    "bcc": ("bcc, two shells, B2 and D0_3", bcc, (4, 4, 4)),
    "hcp": ("hcp Mg-Cd by CHGNet, fitted here", mgcd, (4, 4, 2)),
    "salt": ("rocksalt (Li, Mn, Ti)(O, F), screened charges", salt, (4, 4, 2)),
    "layers": ("Li and vacancies between CoO2, screened charges", layers, (6, 6, 2)),
    "five": ("fcc Cu-Ag-Au-Pd-Pt by EMT", lambda: emt(["Cu", "Ag", "Au", "Pd", "Pt"], 3.95, 3), (4, 4, 8)),
}
CELLS = {"layers": [(6, 6, 2), (6, 6, 1)]}  # to train on where powers of two do not hold the orders: sqrt(3) x sqrt(3)
PER_CELL = {"hcp": 2, "salt": 2}  # sites of a primitive cell that hold one species or another


def conditions(h, model) -> tuple[np.ndarray, list[dict[str, float]]]:
    """Five temperatures, of which those beyond the range of the law lie at its end, and ten chemical potentials."""
    own = scale(h)
    n_free = int((own.mu[:, 0] < own.mu[:, 1]).sum())
    points = between(own.mu, qmc.Sobol(n_free, scramble=False).random(16)[1 : POINTS + 1])
    return np.clip(own.T * np.array(MULTIPLES), *model.ranges["T"]), [
        dict(zip(h.elements[1:], map(float, p), strict=True)) for p in points
    ]


def measure(name: str, minutes: float, folder: str | Path) -> dict:
    started = time.perf_counter()
    expansion = ALLOYS[name][1]()
    fitted = time.perf_counter() - started
    model = alloygen.train(expansion, minutes=minutes, cells=CELLS.get(name), name=name, folder=folder, workers=1)
    trained = time.perf_counter() - started
    return {
        "fit_s": fitted,
        "minutes": trained / 60,
        "steps": model.metadata["steps"],
        "ecis": len(expansion.orbits),
        "rows": judged(model, expansion.on(ALLOYS[name][2])),
    }


def judged(model, h) -> list[dict]:
    """NESS and Phi of a law, and Phi by replica exchange, at the fifty conditions."""
    T, mu = conditions(h, model)
    reference = alloygen.mc(h, T, mu, n=500, seed=1)
    rows = []
    for k in range(len(reference)):
        one = reference[k]
        ens = alloygen.sample(h, one.T, dict(zip(h.elements, one.mu.tolist(), strict=True)), n=N, seed=0, sampler=model)
        phi, other = ens.free_energy(), reference.free_energy(k)
        rows.append({"T": one.T, "mu": one.mu.tolist(), "ness": ens.ness, "phi": [phi.value, phi.stderr], "mc": [other.value, other.stderr]})  # fmt: skip
    return rows


def table(found: dict) -> str:
    head = ["alloy", "sites", "from nothing", "steps", "ECIs", "NESS mean", "smallest", "Phi - replica exchange, largest, meV/site"]  # fmt: skip
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name, made in ((name, made) for name, made in found.items() if "rows" in made):
        ness = np.array([r["ness"] for r in made["rows"]])
        apart = max(abs(r["phi"][0] - r["mc"][0]) for r in made["rows"]) * 1000
        sites = int(np.prod(ALLOYS[name][2])) * PER_CELL.get(name, 1)
        lines.append(f"| {ALLOYS[name][0]} | {sites} | {made['minutes']:.1f} min | {made['steps']:,} | {made['ecis']} | {ness.mean():.3f} | {ness.min():.3f} | {apart:.2f} |")  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--only", nargs="*", choices=ALLOYS, default=list(ALLOYS))
    p.add_argument("--minutes", type=float, default=18.0)
    p.add_argument("--keep", help="folder where the models stay; none if not given")
    p.add_argument("--table", action="store_true", help="print the table of what was measured")
    args = p.parse_args()
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in [] if args.table else args.only:
        with tempfile.TemporaryDirectory() as folder:
            found[name] = measure(name, args.minutes, args.keep or folder)
        RESULTS.write_text(json.dumps(found) + "\n")
    print(table(found))


if __name__ == "__main__":
    main()
