"""Alloys of one's own, end to end from nothing: energies, fit, training without a configuration, draws. Run: python tests/benchmarks/own_alloys.py [--only ternary] [--minutes 18]

Fifty conditions on 64 sites (128 of five elements): five temperatures from 0.8 to 4 times the scale of the alloy, ten chemical potentials spread by a Sobol sequence over the
range of its phases. NESS of 256 draws at each; Phi against replica exchange and MBAR with a ladder to infinite temperature; on a small cell Phi of Monte Carlo against enumeration. Of
binaries a diagram by the model and one by Monte Carlo: F_mix on the hull, temperatures of transitions. Results: docs/results/own_alloys.json; ``--table`` prints the rows of
docs/own_alloy.md. ``--keep FOLDER`` leaves the models there; ``--figures`` draws the voltage curve of the layers.
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
from alloygen.estimate.coexistence import lower_vertices
from alloygen.exact.enumeration import Enumeration
from alloygen.hamiltonian.clusters import cluster_orbits
from alloygen.hamiltonian.expansion import ClusterExpansion
from alloygen.hamiltonian.figures import Orbit
from alloygen.hamiltonian.parents import PARENTS
from alloygen.hamiltonian.scale import scale
from alloygen.lattice import Primitive

DOCS = Path(__file__).parents[2] / "docs"
RESULTS, FIGURE = DOCS / "results" / "own_alloys.json", DOCS / "figures" / "voltage.png"
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


ALLOYS = {  # what it is, how it comes, supercells to judge it on and to enumerate
    "ternary": ("fcc Cu-Au-Pd by EMT, fitted here", lambda: emt(["Cu", "Au", "Pd"], 3.9), (4, 4, 4)),
    "bcc": ("bcc, two shells, B2 and D0_3", bcc, (4, 4, 4)),
    "hcp": ("hcp Mg-Cd by CHGNet, fitted here", mgcd, (4, 4, 2)),
    "salt": ("rocksalt (Li, Mn, Ti)(O, F), screened charges", salt, (4, 4, 2)),
    "layers": ("Li and vacancies between CoO2, screened charges", layers, (6, 6, 2)),
    "five": ("fcc Cu-Ag-Au-Pd-Pt by EMT", lambda: emt(["Cu", "Ag", "Au", "Pd", "Pt"], 3.95, 3), (4, 4, 8)),
}
SMALL = {"salt": (2, 2, 1), "layers": (4, 2, 2), "five": (2, 2, 2)}
PER_CELL = {"hcp": 2, "salt": 2}  # sites of a primitive cell that hold one species or another
BINARIES = ("bcc", "hcp", "layers")


def conditions(h) -> tuple[np.ndarray, list[dict[str, float]]]:
    own = scale(h)
    free = own.mu[:, 0] < own.mu[:, 1]
    shares = qmc.Sobol(int(free.sum()), scramble=False).random(16)[1 : POINTS + 1]
    points = np.tile(own.mu[:, 0], (POINTS, 1))
    points[:, free] += shares * np.ptp(own.mu[free], axis=1)
    return own.T * np.array(MULTIPLES), [dict(zip(h.elements[1:], map(float, p), strict=True)) for p in points]


def measure(name: str, minutes: float, folder: str | Path) -> dict:
    started = time.perf_counter()
    expansion = ALLOYS[name][1]()
    fitted = time.perf_counter() - started
    model = alloygen.train(expansion, minutes=minutes, name=name, folder=folder, workers=1)
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


def enumerated(name: str) -> dict:
    """Phi of replica exchange against the sum over all states of a small cell, at nine conditions."""
    h = ALLOYS[name][1]().on(SMALL[name])
    T, mu = conditions(h)
    exact, rows = Enumeration(h), []
    scan = alloygen.mc(h, T[::2], mu[:3], n=4000, seed=2)
    for k in range(len(scan)):
        phi = scan.free_energy(k)
        rows.append([phi.value, phi.stderr, float(exact.at(h.condition(scan.T[k], scan.mu[k])).phi)])
    return {"states": len(exact), "sites": h.n_sites, "rows": rows}


def diagram(name: str, model) -> dict:
    """The T-x diagram of a binary by the model and by replica exchange, the same grid of T and mu, one a fresh draw and the other a run of its own."""
    h = ALLOYS[name][1]().on(ALLOYS[name][2])
    own = scale(h)
    (k,) = np.flatnonzero(own.mu[:, 0] < own.mu[:, 1])
    T = own.T * np.geomspace(0.8, 2.5, 9)
    mu = {h.elements[k + 1]: np.linspace(*own.beyond(2.0)[k], 25)}
    ours = alloygen.scan(h, T, mu, n=100, seed=3, sampler=model).phase_diagram()
    other = alloygen.mc(h, T, mu, n=300, seed=4).phase_diagram()
    apart = [float(np.nanmax(np.abs(hull(a) - hull(b)))) for a, b in zip(ours.f, other.f, strict=True)]
    both = ours.transitions.merge(other.transitions, on="x", suffixes=("", "_mc"))
    both = both[both.reliable & both.reliable_mc & both.single_phase & both.single_phase_mc]
    return {
        "T": ours.T.tolist(),
        "hull": apart,
        "transitions": both[["x", "phase", "T", "T_stderr", "T_mc", "T_stderr_mc"]].values.tolist(),
    }


def hull(f: np.ndarray) -> np.ndarray:
    """F of mixing on the lower hull, at every composition."""
    at = lower_vertices(f)
    x = np.linspace(0, 1, len(f))
    return np.interp(x, x[at], f[at]) - (f[0] + x * (f[-1] - f[0]))


def voltage(model) -> None:
    """Voltage against Li / Li+ and its largest error, a model beside Monte Carlo: -mu_Li, where lithium metal is the zero of the energies."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    h = layers().on(ALLOYS["layers"][2])
    mu = {"Li": np.linspace(-4.35, -3.6, 60)}
    fig, ax = plt.subplots(figsize=(5, 3.4))
    for T in (300.0, 600.0):
        ens = alloygen.scan(h, [T], mu, n=100, sampler=model)
        mc = alloygen.mc(h, [T], mu, n=300, seed=5)
        x = [[scan[c].composition("Li") for c in range(len(scan))] for scan in (ens, mc)]
        ax.errorbar(
            [4 * e.value for e in x[0]],
            -mu["Li"],
            xerr=[4 * e.stderr for e in x[0]],
            fmt="o",
            ms=3,
            label=f"model, {T:g} K",
        )
        ax.plot([4 * e.value for e in x[1]], -mu["Li"], "-", lw=1, label=f"Monte Carlo, {T:g} K")
        print(
            T,
            "largest difference of x",
            4 * max(abs(a.value - b.value) for a, b in zip(*x, strict=True)),
            "smallest NESS",
            min(ens[c].ness for c in range(len(ens))),
        )
    ax.set(xlabel="x in LixCoO2", ylabel="V against Li (V)", xlim=(0, 1))
    ax.legend(fontsize=8)
    fig.savefig(FIGURE, dpi=110, bbox_inches="tight")


def table(found: dict) -> str:
    head = ["alloy", "sites", "from nothing", "steps", "ECIs", "NESS mean", "smallest", "Phi - replica exchange, largest, meV/site"]  # fmt: skip
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name, made in found.items():
        ness = np.array([r["ness"] for r in made["rows"]])
        apart = max(abs(r["phi"][0] - r["mc"][0]) for r in made["rows"]) * 1000
        sites = int(np.prod(ALLOYS[name][2])) * PER_CELL.get(name, 1)
        lines.append(f"| {ALLOYS[name][0]} | {sites} | {made['minutes']:.1f} min | {made['steps']:,} | {made['ecis']} | {ness.mean():.3f} | {ness.min():.3f} | {apart:.2f} |")  # fmt: skip
    for name in (n for n in found if "small" in found[n]):
        rows = np.array(found[name]["small"]["rows"])
        gap = np.abs(rows[:, 0] - rows[:, 2])
        lines.append(f"{name}: Monte Carlo - enumeration of {found[name]['small']['states']:,} states, Phi: {gap.max() * 1000:.3f} meV/site, {(gap / rows[:, 1]).max():.1f} of its errors")  # fmt: skip
    for name in (n for n in found if "diagram" in found[n]):
        made = found[name]["diagram"]
        gaps = [t - other for *_, t, _, other, _ in made["transitions"]]
        lines.append(f"{name}: F_mix on the hull, {min(made['T']):.0f}-{max(made['T']):.0f} K: {max(made['hull']) * 1000:.3f} meV/site; transitions apart {np.round(gaps, 1).tolist()} K")  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--only", nargs="*", choices=ALLOYS, default=list(ALLOYS))
    p.add_argument("--minutes", type=float, default=18.0)
    p.add_argument("--parts", nargs="*", choices=("law", "small", "diagram"), default=["law", "small", "diagram"])
    p.add_argument("--keep", help="folder where the models stay; none if not given")
    p.add_argument("--table", action="store_true", help="print the table of what was measured")
    args = p.parse_args()
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in [] if args.table else args.only:
        with tempfile.TemporaryDirectory() as folder:
            run(name, args, found.setdefault(name, {}), Path(args.keep or folder))
        RESULTS.write_text(json.dumps(found, indent=1))
    print(table(found))


def run(name: str, args: argparse.Namespace, found: dict, folder: Path) -> None:
    if "law" in args.parts:
        found |= measure(name, args.minutes, folder)
    if "small" in args.parts and name in SMALL:
        found["small"] = enumerated(name)
    if "diagram" in args.parts and name in BINARIES:
        found["diagram"] = diagram(name, alloygen.load(folder / f"{name}.safetensors"))
    if "diagram" in args.parts and name == "layers":
        voltage(alloygen.load(folder / "layers.safetensors"))


if __name__ == "__main__":
    main()
