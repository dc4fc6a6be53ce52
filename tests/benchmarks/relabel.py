"""Force fields by relabelled ensembles, selections and representative cells, against what is known: ``python tests/benchmarks/relabel.py``.

    calculators        expansion -> EMT and -> CHGNet where it is installed (pip install alloygen[chgnet]), CuAu 2x2x4: the difference of Phi against all
                       configurations, each structure computed once
    selections         averages of twenty structures against those of all
    representatives    a cell for an ensemble at 900 K (cells for T = infinity: quasi_random.py)
    files              configurations of 64 sites written and read back, peak memory of a process of its own

``--only`` names some of them; ``--configurations`` is for the files; ``--pictures docs/figures`` draws what was run.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase.build import bulk
from ase.calculators.emt import EMT

import alloygen
import alloygen.data
from alloygen.edge.computed import Recipe
from alloygen.exact.enumeration import Enumeration
from alloygen.results.relabelled import relabel
from alloygen.runtime.job import Job

CELL = bulk("Cu", a=3.8)
T, MU, N = (800, 1000, 1200), {"Au": [0.0, 0.04]}, 1000


def chgnet() -> Any:
    """CHGNet with the weights that its package ships; None where it is not installed."""
    try:
        from chgnet.model import CHGNet
        from chgnet.model.dynamics import CHGNetCalculator
    except ImportError:
        return None
    return CHGNetCalculator(CHGNet.load(use_device="cpu", verbose=False), use_device="cpu")


def energies_by(calculator: Any, table: Enumeration, problem: alloygen.Problem) -> np.ndarray:
    """Energies of every configuration, on the scale of the expansion; one of each orbit of the supercell's symmetry is computed."""
    lattice = table.hamiltonian.lattice
    place = 2 ** np.arange(lattice.n_sites)[::-1]
    lowest = np.arange(len(table))
    for point in lattice.point_operations:
        for row in lattice.translations:
            lowest = np.minimum(lowest, table.occ[:, point[row]].astype(np.int64) @ place)
    recipe, first = Recipe(calculator=calculator), np.unique(lowest)
    value = np.empty(len(table))
    for k in first:
        value[k] = recipe.of(problem.to_atoms(table.occ[k])).energy
    print(f"  {len(first)} structures of {len(table)} configurations")
    energy = value[lowest]
    ends = [0, len(table) - 1]
    return energy - table.counts @ np.linalg.solve(table.counts[ends], energy[ends] - table.energy[ends])


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Phi of a calculator less Phi of the expansion at one condition, eV per site: found with its error, exact, and the error of perfect samples."""

    calculator: str
    sampler: str
    T: float
    mu: float
    value: float
    stderr: float
    exact: float
    perfect: float

    @property
    def off(self) -> float:
        return self.value - self.exact

    @property
    def z(self) -> float:
        return self.off / self.stderr


def calculators() -> list[Difference]:
    atoms = CELL.repeat((2, 2, 4))
    problem = alloygen.Problem.of(atoms, {"Au": 0.0})
    table, out = Enumeration(problem.hamiltonian), []
    drawn = [(how, ens) for how in ("neural", "mc") for ens in alloygen.scan(atoms, T=T, mu=MU, n=N, sampler=how)]
    again = [alloygen.scan(atoms, T=T, mu=MU, n=N, sampler="neural", seed=s) for s in range(1, 21)]
    for name, calculator in (("EMT", EMT()), ("CHGNet", chgnet())):
        if calculator is None:
            print(f"expansion -> {name}: it is not installed")
            continue
        print(f"expansion -> {name}, CuAu 2x2x4, Phi of {name} less Phi of the expansion, meV/site")
        start = time.perf_counter()
        new = table.with_energies(energies_by(calculator, table, problem))
        print("  sampler  T     mu_Au  exact     found                z   perfect  effective  structures")
        found = relabel([ens for _, ens in drawn], Recipe(calculator=calculator), "ends", Job())
        for (sampler, _), one in zip(drawn, found, strict=True):
            row = compared(name, sampler, one.ensemble, table, new)
            out.append(row)
            print(
                f"  {sampler:8} {row.T:5.0f} {row.mu:6.2f} {1e3 * row.exact:9.4f} {1e3 * row.value:9.4f} +- {1e3 * row.stderr:.4f} {row.z:6.2f} "
                f"{1e3 * row.perfect:9.4f} {one.ensemble.effective_samples:10.1f} {sum(s.samples > 0 for s in one.structures):6}", flush=True
            )  # fmt: skip
        z = [row.z for row in out if row.calculator == name]
        print(f"  root mean square z {np.sqrt(np.nanmean(np.square(z))):.2f}; {time.perf_counter() - start:.0f} s")
        over_seeds(name, again, table, new)
    return out


def compared(
    calculator: str, sampler: str, new: alloygen.Ensemble, before: Enumeration, after: Enumeration
) -> Difference:
    """Samples with the weights of ``after`` against both sums. Perfect samples of the expansion's law p have the error (kT/N) sqrt(<(p'/p - 1)^2>_p / n)."""
    old, law, d = before.at(new.condition), after.at(new.condition), new.free_energy_difference()
    ratio = law.probabilities / old.probabilities
    perfect = new.kT / new.n_sites * float(np.sqrt(((ratio - 1) ** 2 * old.probabilities).sum() / len(new)))
    return Difference(
        calculator=calculator, sampler=sampler, T=new.T, mu=float(new.mu[1]), value=d.value, stderr=d.stderr, exact=law.phi - old.phi, perfect=perfect
    )  # fmt: skip


def over_seeds(name: str, scans: list[alloygen.Scan], before: Enumeration, after: Enumeration) -> None:
    """How far scans of many seeds are from the sums, beside their error bars and the error of perfect samples."""
    rows = [
        compared(name, "neural", ens.reweighted(after.energy[before.index(ens.occ)]), before, after)
        for scan in scans
        for ens in scan
    ]
    off, bar, perfect = (1e3 * np.array([getattr(r, k) for r in rows]) for k in ("off", "stderr", "perfect"))
    print(
        f"  {len(scans)} seeds, neural: root mean square of found - exact {np.sqrt((off**2).mean()):.3f}, mean {off.mean():+.3f}; perfect samples "
        f"{np.sqrt((perfect**2).mean()):.3f}; error bars {np.nanmedian(bar):.3f} (median), root mean square z {np.sqrt(np.nanmean((off / bar) ** 2)):.2f}, "
        f"{(np.abs(off) > 2 * bar).sum()} of {np.isfinite(bar).sum()} beyond two", flush=True
    )  # fmt: skip


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


def representatives() -> tuple[alloygen.Representative, alloygen.Representative]:
    """The cell for an ensemble, and the quasi-random one of its composition."""
    print("representative cells, CuAu, six / two / one shells of pairs / triplets / quadruplets")
    alloy = alloygen.data.cuau()
    ens = alloygen.sample(CELL.repeat((4, 4, 4)), T=900, mu={"Au": 0.03}, n=1000)
    warm = alloygen.representative(ens, (4, 4, 2))
    cold = alloygen.representative(alloy, (4, 4, 2), {"Au": int((warm.occ == 1).sum())})
    print(
        f"  900 K, 32 sites: mean residual of pairs {np.abs(warm.residual[warm.orders == 2]).mean():.4f}, of the random cell against the "
        f"same averages {np.abs((cold.found - warm.target)[warm.orders == 2]).mean():.4f}"
    )
    return warm, cold


@dataclass(frozen=True, kw_only=True)
class Files:
    """``n`` configurations written and read back: seconds, peak memory in GB, and what it was before they were written."""

    n: int
    wrote: float
    read: float
    same: bool
    peak: float
    before: float


def files(n: int) -> list[Files]:
    """Each number in a process of its own, whose peak memory is its own."""
    out = []
    for part in (n // 30, n // 10, n):
        run = subprocess.run(
            [sys.executable, __file__, "--write", str(part)], capture_output=True, text=True, check=False
        )
        if run.returncode:
            raise RuntimeError(run.stderr)
        row = Files(**json.loads(run.stdout.splitlines()[-1]))
        out.append(row)
        print(
            f"files: {row.n} configurations of 64 sites written in {row.wrote:.0f} s, read in {row.read:.0f} s, the same: {row.same}; peak memory "
            f"{row.peak:.2f} GB, {row.before:.2f} before", flush=True
        )  # fmt: skip
    return out


def write(n: int) -> Files:
    """Drawn by Metropolis, written and read back one at a time."""
    ens = alloygen.mc(CELL.repeat((4, 4, 4)), T=1000, mu={"Au": 0.03}, n=n, method="metropolis", sweeps=5)[0]
    peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9  # noqa: E731
    before = peak()
    with tempfile.TemporaryDirectory() as folder:
        start = time.monotonic()
        path = ens.write(Path(folder) / "configs.extxyz")
        wrote = time.monotonic() - start
        back = alloygen.read(path)
        same = np.array_equal(back.occ, ens.occ) and np.allclose(back.energy, ens.energy)
        read = time.monotonic() - start - wrote
    return Files(n=n, wrote=wrote, read=read, same=same, peak=peak(), before=before)


# ---------------------------------------------------------------------- pictures
def draw_differences(rows: list[Difference], ax: Any) -> None:
    """Found less exact, with one and two standard errors, and one standard error of perfect samples as a grey bar."""
    names = [f"{r.calculator}, {r.sampler}" for r in rows]
    at, off, bar = np.arange(len(rows)), *(1e3 * np.array([getattr(r, k) for r in rows]) for k in ("off", "stderr"))
    perfect = 1e3 * np.array([r.perfect for r in rows])
    ax.bar(at, 2 * perfect, 0.8, bottom=-perfect, color="0.88", label="perfect samples")
    for k, name in enumerate(dict.fromkeys(names)):
        mine = np.array([own == name for own in names])
        ax.errorbar(at[mine], off[mine], 2 * bar[mine], fmt="none", color=f"C{k}", lw=1)
        ax.errorbar(at[mine], off[mine], bar[mine], fmt="o", color=f"C{k}", ms=5, lw=3, label=name)
    ax.axhline(0.0, color="0.5", lw=0.8)
    ax.set_xticks(at, [f"{r.T:g} K, {r.mu:g}" for r in rows], rotation=90, fontsize=8)
    ax.set(ylabel="change of Phi, found - exact / meV per site", xlabel="T, mu_Au / eV")
    ax.legend(frameon=False, fontsize=9, ncols=5, loc="lower center", bbox_to_anchor=(0.5, 1.0))


def draw_representatives(cells: tuple[alloygen.Representative, alloygen.Representative], ax: Any) -> None:
    """Correlation functions of the pairs against distance: the ensemble's averages, the cell that matches them, and one of the random alloy."""
    warm, cold = cells
    pairs = warm.orders == 2
    ax.axhline(0.0, color="0.8", lw=0.8)
    ax.plot(warm.diameters[pairs], warm.target[pairs], "k_", ms=18, mew=2, label="average at 900 K")
    ax.plot(warm.diameters[pairs], warm.found[pairs], "o", label="cell of 32 atoms that matches it")
    ax.plot(warm.diameters[pairs], cold.found[pairs], "s", mfc="none", label="quasi-random cell (T = infinity)")
    ax.set(xlabel="distance / angstrom", ylabel="pair correlation function")
    ax.legend(frameon=False)


def draw_files(rows: list[Files], ax: Any) -> None:
    """Peak memory against the number of configurations."""
    n = [r.n for r in rows]
    ax.plot(n, [r.before for r in rows], "s--", mfc="none", color="0.5", label="drawn")
    ax.plot(n, [r.peak for r in rows], "o-", label="written and read back")
    ax.axhline(2**30 / 1e9, color="0.8", lw=0.8)
    ax.text(0, 2**30 / 1e9, " 1 GiB", va="bottom", color="0.5")
    ax.set(xlabel="configurations of 64 sites", ylabel="peak memory / GB", ylim=(0, 1.2), xlim=(0, 1.05 * max(n)))
    ax.legend(frameon=False, loc="lower right")


PARTS = {"calculators": calculators, "selections": selections, "representatives": representatives, "files": files}
PICTURES = {
    "calculators": (draw_differences, "relabelled.png", (8.0, 4.2)),
    "representatives": (draw_representatives, "representative.png", (5.2, 3.4)),
    "files": (draw_files, "files.png", (4.6, 3.2)),
}


def picture(name: str, found: Any, folder: Path) -> None:
    import matplotlib.pyplot as plt

    draw, file, size = PICTURES[name]
    figure, ax = plt.subplots(figsize=size, layout="constrained")
    draw(found, ax)
    ax.spines[["top", "right"]].set_visible(False)
    figure.savefig(folder / file, dpi=130)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=PARTS, default=[*PARTS])
    parser.add_argument("--pictures", type=Path, help="a folder, such as docs/figures")
    parser.add_argument("--configurations", type=int, default=100_000)
    parser.add_argument("--write", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    if args.write:
        return print(json.dumps(asdict(write(args.write))))
    for name in args.only:
        found = PARTS[name](*([args.configurations] if name == "files" else []))
        if args.pictures and name in PICTURES:
            picture(name, found, args.pictures)


if __name__ == "__main__":
    main()
