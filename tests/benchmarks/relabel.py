"""Force fields by relabelled ensembles, selections and representative cells, against what is known: ``python tests/benchmarks/relabel.py``.

    expansion -> EMT, CuAu 2x2x4    the difference of Phi against all configurations, each structure computed once
    selections                      averages of twenty structures against those of all
    representative cells            T = infinity against random search of the same time, and sqsgenerator where it is installed; 900 K
    files                           configurations of 64 sites written and read back, peak memory of a process of its own

``--only`` names some of them; ``--configurations`` is for the files.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from ase.build import bulk
from ase.calculators.emt import EMT

import alloygen
import alloygen.data
from alloygen.edge.computed import Recipe
from alloygen.exact.enumeration import Enumeration
from alloygen.fitting.fit import shell_distances
from alloygen.generate.representative import SHELLS
from alloygen.hamiltonian.clusters import correlations, decorated_orbits

CELL = bulk("Cu", a=3.8)


def emt_energies(table: Enumeration, problem: alloygen.Problem) -> np.ndarray:
    """EMT energies of every configuration, on the scale of the expansion; one of each orbit of the supercell's symmetry is computed."""
    lattice = table.hamiltonian.lattice
    place = 2 ** np.arange(lattice.n_sites)[::-1]
    lowest = np.arange(len(table))
    for point in lattice.point_operations:
        for row in lattice.translations:
            lowest = np.minimum(lowest, table.occ[:, point[row]].astype(np.int64) @ place)
    recipe, first = Recipe(calculator=EMT()), np.unique(lowest)
    value = np.empty(len(table))
    for k in first:
        value[k] = recipe.of(problem.to_atoms(table.occ[k])).energy
    print(f"  {len(first)} structures of {len(table)} configurations")
    energy = value[lowest]
    ends = [0, len(table) - 1]
    return energy - table.counts @ np.linalg.solve(table.counts[ends], energy[ends] - table.energy[ends])


def calculators() -> None:
    print("expansion -> EMT, CuAu 2x2x4, Phi of EMT less Phi of the expansion, meV/site")
    atoms = CELL.repeat((2, 2, 4))
    problem = alloygen.Problem.of(atoms, {"Au": 0.0})
    table = Enumeration(problem.hamiltonian)
    moved = table.with_energies(emt_energies(table, problem))
    print("  sampler  T     mu_Au  exact     found             z      effective  structures")
    z = []
    for sampler in ("neural", "mc"):
        for T in (800, 1000, 1200):
            for mu in (0.0, 0.04):
                ens = alloygen.sample(atoms, T=T, mu={"Au": mu}, n=1000, sampler=sampler)
                found = ens.relabel(EMT())
                exact = moved.at(ens.condition).phi - table.at(ens.condition).phi
                d = found.difference
                z.append((d.value - exact) / d.stderr)
                print(
                    f"  {sampler:8} {T:5} {mu:6.2f} {1e3 * exact:9.4f} {1e3 * d.value:9.4f} +- {1e3 * d.stderr:.4f} {z[-1]:6.2f} "
                    f"{found.ensemble.effective_samples:10.1f} {len(found.structures):6}"
                )
    print(f"  root mean square z {np.sqrt(np.nanmean(np.square(z))):.2f}")


def selections() -> None:
    print("selections of 20, CuAu 4x4x4, 900 K, mu_Au = 0.03: mean energy less that of all 1000, meV/site")
    ens = alloygen.sample(CELL.repeat((4, 4, 4)), T=900, mu={"Au": 0.03}, n=1000)
    whole = ens.mean_energy().value
    errors = [1e3 * (ens.select(20, seed=s).ensemble.mean_energy().value - whole) for s in range(10)]
    print(
        f"  weighted, 10 seeds: mean {np.mean(errors):.3f} +- {np.std(errors) / np.sqrt(10):.3f}, spread {np.std(errors):.3f}"
    )
    for how in ("diverse", "low-energy"):
        print(f"  {how}: {1e3 * (ens.select(20, how).ensemble.mean_energy().value - whole):.3f}")


def random_search(found, seconds: float, gold: int) -> float:
    """The best Q of random occupations in the same time."""
    lattice = found.lattice
    functions, orbits = decorated_orbits(lattice.primitive, shell_distances(lattice.primitive, SHELLS))
    orbits = [next(o for o in orbits if o.name == name) for name in found.names]
    rng, best, end = np.random.default_rng(0), np.inf, time.monotonic() + seconds
    neighbour = found.diameters[found.diameters > 0].min()
    row = np.arange(lattice.n_sites) < gold
    while time.monotonic() < end:
        occ = np.stack([rng.permutation(row) for _ in range(64)]).astype(int)
        off = np.abs(correlations(functions, orbits, lattice, occ) - found.target)
        for line in off:
            bad = found.diameters[line > 1e-6]
            good = found.diameters[found.diameters < (bad.min() if len(bad) else np.inf) - 1e-6]
            best = min(best, line.sum() - good.max(initial=0.0) / neighbour)
    return best


def picture(path: Path, warm, cold) -> None:
    """Correlation functions of the pairs against distance: the ensemble's averages, the cell that matches them, and one of the random alloy."""
    import matplotlib.pyplot as plt

    pairs = warm.orders == 2
    figure, axes = plt.subplots(figsize=(5.2, 3.4), layout="constrained")
    axes.axhline(0.0, color="0.8", lw=0.8)
    axes.plot(warm.diameters[pairs], warm.target[pairs], "k_", ms=18, mew=2, label="average at 900 K")
    axes.plot(warm.diameters[pairs], warm.found[pairs], "o", label="cell of 32 atoms that matches it")
    axes.plot(warm.diameters[pairs], cold.found[pairs], "s", mfc="none", label="quasi-random cell (T = infinity)")
    axes.set(xlabel="distance / angstrom", ylabel="pair correlation function")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def representatives(path: Path | None = None) -> None:
    print("representative cells, CuAu, six / two / one shells of pairs / triplets / quadruplets")
    alloy = alloygen.data.cuau()
    alloygen.representative(alloy, (2, 2, 2), {"Au": 4}, sweeps=1)  # compiles
    for shape, gold in (((4, 4, 2), 8), ((4, 4, 2), 16), ((4, 4, 4), 32)):
        start = time.monotonic()
        found = alloygen.representative(alloy, shape, {"Au": gold})
        spent = time.monotonic() - start
        control = random_search(found, spent, gold)
        pairs = np.abs(found.residual[found.orders == 2])
        print(
            f"  T = infinity, {found.lattice.n_sites} sites, {gold} Au, {spent:.1f} s: Q {found.objective:.4f} (random search in that time {control:.4f}), "
            f"residuals of six shells at most {pairs.max():.4f}, of all {np.abs(found.residual).max():.4f}"
        )
        rivals(shape, gold)
    ens = alloygen.sample(CELL.repeat((4, 4, 4)), T=900, mu={"Au": 0.03}, n=1000)
    warm = alloygen.representative(ens, (4, 4, 2))
    cold = alloygen.representative(alloy, (4, 4, 2), {"Au": int((warm.occ == 1).sum())})
    print(
        f"  900 K, 32 sites: mean residual of pairs {np.abs(warm.residual[warm.orders == 2]).mean():.4f}, of the random cell against the same averages "
        f"{np.abs((cold.found - warm.target)[warm.orders == 2]).mean():.4f}"
    )
    if path is not None:
        picture(path, warm, cold)


def rivals(shape: tuple, gold: int) -> None:
    """sqsgenerator's cell of the same pairs (five shells of equal weight), which it searches at random, in the same time."""
    try:
        from sqsgenerator import optimize, parse_config, to_ase
    except ImportError:
        print("    sqsgenerator is not installed")
        return
    alloy, cell = alloygen.data.cuau(), CELL.repeat(shape)
    start = time.monotonic()
    own = alloygen.representative(alloy, shape, {"Au": gold}, cutoffs=shell_distances(alloy.primitive, (5,)))
    spent = time.monotonic() - start
    task = {
        "structure": {"lattice": cell.cell[:].tolist(), "coords": cell.get_scaled_positions().tolist(), "species": ["Cu"] * len(cell)},
        "composition": [{"sites": "Cu", "Cu": len(cell) - gold, "Au": gold}],
        "shell_weights": {k: 1.0 for k in range(1, 6)},
        "max_results_per_objective": 1,
    }  # fmt: skip
    found, used = None, 0.0
    iterations = 20_000
    for _ in range(2):  # the first tells how many iterations the time is worth
        start = time.monotonic()
        found = optimize(parse_config({**task, "iterations": iterations}))
        used = time.monotonic() - start
        iterations = max(1000, int(iterations * spent / used))
    on = alloygen.Problem.of(to_ase(found.best().structure()), {"Au": 0.0})
    functions, orbits = decorated_orbits(alloy.primitive, shell_distances(alloy.primitive, (5,)))
    pairs = [o for o in orbits if o.order == 2]
    off = correlations(functions, pairs, on.hamiltonian.lattice, on.occ)[0] - (1 - 2 * gold / len(cell)) ** 2
    mine = np.abs(own.residual[own.orders == 2])
    print(
        f"    five shells of pairs alone, sum of the residuals: {mine.sum():.4f} in {spent:.1f} s, sqsgenerator {np.abs(off).sum():.4f} in {used:.1f} s"
    )


def files(n: int) -> None:
    """In a process of its own, whose peak memory is its own."""
    run = subprocess.run([sys.executable, __file__, "--write", str(n)], capture_output=True, text=True, check=False)
    print(run.stdout.rstrip() or run.stderr)


def write(n: int) -> None:
    ens = alloygen.mc(CELL.repeat((4, 4, 4)), T=1000, mu={"Au": 0.03}, n=n).at(1000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    with tempfile.TemporaryDirectory() as folder:
        start = time.monotonic()
        path = ens.write(Path(folder) / "configs.extxyz")
        wrote = time.monotonic() - start
        back = alloygen.read(path)
        same = np.array_equal(back.occ, ens.occ)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(
        f"files: {n} configurations of 64 sites written in {wrote:.0f} s, read in {time.monotonic() - start - wrote:.0f} s, the same: {same}; "
        f"peak memory {peak:.2f} GB, {before:.2f} before"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=("calculators", "selections", "representatives", "files"))
    parser.add_argument(
        "--picture", type=Path, help="of the representative cell, such as docs/figures/representative.png"
    )
    parser.add_argument("--configurations", type=int, default=100_000)
    parser.add_argument("--write", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    if args.write:
        return write(args.write)
    chosen = args.only or ["calculators", "selections", "representatives", "files"]
    for name in chosen:
        given = {"files": (args.configurations,), "representatives": (args.picture,)}.get(name, ())
        globals()[name](*given)


if __name__ == "__main__":
    main()
