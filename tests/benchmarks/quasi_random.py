"""Quasi-random cells (T = infinity) beside icet, sqsgenerator and random search at equal time: ``python tests/benchmarks/quasi_random.py [--picture PATH]``.

Wanted are occupations of one supercell of fcc Cu-Au whose correlation functions are those of the random alloy, in two tasks:

    figures    six shells of pairs, two of triplets, one of quadruplets, with Q of :mod:`alloygen.generate.representative` for what is minimised, in
               icet as well: the sum of the residuals |Phi_k - <Phi_k>| less the length up to which all vanish (icet takes radii for lengths; its
               weight is set such that those of pairs count the same)
    pairs      shells of pairs alone, all of one weight, with their sum for what is minimised: four shells on the cubic cell of 32 sites, five on 64.
               sqsgenerator has this one too. It counts two atoms by their nearest images, which on these cells comes to the same (checked at each)

Residuals are counted alike for all.
Each starts from five seeds. alloygen takes its defaults; the others get the seconds of a processor that it took: icet
(generate_sqs_from_supercells) and sqsgenerator as many steps as fit in, by what steps of short runs took. What is printed is the time that the
search itself took. A code that is not installed is left out (``pip install -c constraints.txt -r tests/benchmarks/requirements.txt``).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import make_supercell

import alloygen
import alloygen.data
from alloygen.fitting.basis import shell_distances
from alloygen.generate.representative import SHELLS
from alloygen.hamiltonian.clusters import correlations, decorated_orbits, diameter
from alloygen.lattice import Lattice

ALLOY = alloygen.data.cuau()
FLAT, CUBE, LARGE = (
    ((4, 0, 0), (0, 4, 0), (0, 0, 2)),
    ((-2, 2, 2), (2, -2, 2), (2, 2, -2)),
    ((4, 0, 0), (0, 4, 0), (0, 0, 4)),
)
SEEDS = range(5)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A supercell (rows are its vectors, by primitive ones) of ``gold`` Au, and the shells of pairs, triplets, ... that it is to match."""

    matrix: tuple[tuple[int, int, int], ...]
    gold: int
    shells: tuple[int, ...]
    range_weight: float

    @cached_property
    def cutoffs(self) -> tuple[float, ...]:
        return shell_distances(ALLOY.primitive, self.shells)

    @cached_property
    def lattice(self) -> Lattice:
        return Lattice(ALLOY.primitive, self.matrix)

    @property
    def size(self) -> int:
        return self.lattice.n_sites

    @cached_property
    def primitive(self) -> Atoms:
        return Atoms("Cu", cell=ALLOY.primitive.cell, pbc=True)

    @cached_property
    def cell(self) -> Atoms:
        return make_supercell(self.primitive, self.matrix)

    def residuals(self, occ: np.ndarray) -> np.ndarray:
        """|Phi_k - <Phi_k>| (B, K) of occupations (B, N): of the random alloy <Phi_k> is a power of the mean spin."""
        functions, orbits = decorated_orbits(ALLOY.primitive, self.cutoffs)
        orbits = [o for o in orbits if o.order > 1]
        target = (1 - 2 * self.gold / self.size) ** np.array([o.order for o in orbits])
        return np.abs(correlations(functions, orbits, self.lattice, np.atleast_2d(occ)) - target)

    def q(self, residuals: np.ndarray) -> np.ndarray:
        """Q (B,) of residuals (B, K), which is minimised: their sum, less the length up to which all vanish, in distances of nearest neighbours."""
        orbits = [o for o in decorated_orbits(ALLOY.primitive, self.cutoffs)[1] if o.order > 1]
        length = np.array([diameter(o, ALLOY.primitive) for o in orbits])
        bad = np.where(residuals > 1e-6, length, np.inf).min(1)
        good = np.where(length < bad[:, None] - 1e-6, length, 0.0).max(1)
        return residuals.sum(1) - self.range_weight * good / length.min()

    def of_atoms(self, atoms: Atoms) -> np.ndarray:
        """Occupations (N,) of Atoms that lie on this supercell in any order."""
        place = np.rint(atoms.positions @ np.linalg.inv(ALLOY.primitive.cell)).astype(int)
        occ = np.zeros(self.size, dtype=int)
        occ[self.lattice.index(place, np.zeros(len(place), dtype=int))] = np.array(atoms.get_chemical_symbols()) == "Au"
        assert occ.sum() == self.gold, "the composition is another one"
        return occ


@dataclass(frozen=True, kw_only=True)
class Found:
    """Occupations (N,), and the seconds of a processor that the search took."""

    occ: np.ndarray
    seconds: float


TASKS = {
    "figures": [Wanted(matrix=m, gold=g, shells=SHELLS, range_weight=1.0) for m, g in ((FLAT, 8), (FLAT, 16), (LARGE, 16), (LARGE, 32))],
    "pairs": [Wanted(matrix=m, gold=g, shells=(k,), range_weight=0.0) for m, g, k in ((CUBE, 8, 4), (CUBE, 16, 4), (LARGE, 16, 5), (LARGE, 32, 5))],
}  # fmt: skip
Search = Callable[[Wanted, int, float], "Found | None"]  # of a seed and seconds; None where the code cannot do it


def own(wanted: Wanted, seed: int, seconds: float) -> Found:
    start = time.process_time()
    found = alloygen.representative(
        ALLOY, wanted.matrix, {"Au": wanted.gold}, cutoffs=wanted.cutoffs, range_weight=wanted.range_weight, seed=seed
    )
    return Found(occ=found.occ, seconds=time.process_time() - start)


def at_random(wanted: Wanted, seed: int, seconds: float) -> Found:
    """The best Q among random occupations."""
    rng, row = np.random.default_rng(seed), np.arange(wanted.size) < wanted.gold
    best, least, end = row.astype(int), np.inf, time.process_time() + seconds
    while time.process_time() < end:
        occ = np.stack([rng.permutation(row) for _ in range(64)]).astype(int)
        q = wanted.q(wanted.residuals(occ))
        if q.min() < least:
            best, least = occ[q.argmin()], q.min()
    return Found(occ=best, seconds=seconds)


def fitting_in(run: Callable[[int], Atoms], first: int, seconds: float, wanted: Wanted) -> Found:
    """What ``run`` finds in as many steps as fit into the time."""

    def timed(steps: int) -> tuple[Atoms, float]:
        start = time.process_time()
        found = run(steps)
        return found, time.process_time() - start

    run(first)  # makes what is made once
    short, long = timed(first)[1], timed(5 * first)[1]
    each = max(long - short, 1e-6) / (4 * first)
    found, used = timed(max(first, int(first + (seconds - short) / each)))
    return Found(occ=wanted.of_atoms(found), seconds=used)


def icet(wanted: Wanted, seed: int, seconds: float) -> Found:
    from icet import ClusterSpace
    from icet.input_output.logging_tools import set_log_config
    from icet.tools.structure_generation import generate_sqs_from_supercells

    set_log_config(level="ERROR")
    space = ClusterSpace(wanted.primitive, [c + 1e-3 for c in wanted.cutoffs], ["Cu", "Au"])
    assert len(space) - 2 == wanted.residuals(np.zeros(wanted.size, dtype=int)).shape[1], "figures are other ones"
    cell, share = wanted.cell, wanted.gold / wanted.size
    weight = 2 * wanted.range_weight / shell_distances(ALLOY.primitive, (1,))[0]
    run = lambda n: generate_sqs_from_supercells(  # noqa: E731
        space,
        [cell],
        {"Au": share, "Cu": 1 - share},
        n_steps=n,
        random_seed=seed,
        optimality_weight=weight,
    )
    return fitting_in(run, 500, seconds, wanted)


def sqsgenerator(wanted: Wanted, seed: int, seconds: float) -> Found | None:
    from sqsgenerator import optimize, parse_config, to_ase

    if len(wanted.shells) > 1:
        return None  # pairs alone
    cell = wanted.cell
    task = {
        "structure": {"lattice": cell.cell[:].tolist(), "coords": cell.get_scaled_positions().tolist(), "species": ["Cu"] * len(cell)},
        "composition": [{"sites": "Cu", "Cu": len(cell) - wanted.gold, "Au": wanted.gold}],
        "shell_weights": {k: 1.0 for k in range(1, wanted.shells[0] + 1)},
        "max_results_per_objective": 1,
    }  # fmt: skip

    def run(n: int) -> Atoms:
        best = optimize(parse_config({**task, "iterations": n})).best()
        atoms, order = to_ase(best.structure()), np.array(best.sro())[:, 0, 1]
        found = wanted.residuals(wanted.of_atoms(atoms))[0]
        mixed = (
            1 - (1 - 2 * wanted.gold / wanted.size) ** 2
        )  # the residual is alpha (1 - <s>^2), alpha that of Warren and Cowley
        assert np.allclose(np.abs(order) * mixed, found, atol=1e-6), (order, found)
        return atoms

    return fitting_in(run, 20_000, seconds, wanted)


CODES: dict[str, Search] = {"alloygen": own, "icet": icet, "sqsgenerator": sqsgenerator, "random search": at_random}


@dataclass(frozen=True, kw_only=True)
class Row:
    """What a code found for a task and a cell: sums of the residuals and Q of each seed; mean seconds of a processor that it took."""

    task: str
    cell: str
    code: str
    total: np.ndarray
    q: np.ndarray
    seconds: float


def compare() -> Iterator[Row]:
    """Every code at every task and cell; prints each."""
    print(
        "quasi-random cells of fcc Cu-Au, five seeds: sum of the residuals, median (least to largest); what is minimised, median"
    )
    own(Wanted(matrix=((2, 0, 0), (0, 2, 0), (0, 0, 2)), gold=4, shells=(1,), range_weight=1.0), 0, 0.0)  # compiles
    absent = set()
    for task, cells in TASKS.items():
        for wanted in cells:
            seconds = 0.0
            for code, search in CODES.items():
                if code in absent:
                    continue
                try:
                    found = [f for seed in SEEDS if (f := search(wanted, seed, seconds)) is not None]
                except ImportError:
                    absent.add(code)
                    print(f"  ({code} is not installed)")
                    continue
                if not found:
                    continue
                residuals = wanted.residuals(np.array([f.occ for f in found]))
                row = Row(
                    task=task, cell=f"{wanted.size} sites, {wanted.gold} Au", code=code, total=residuals.sum(1), q=wanted.q(residuals),
                    seconds=float(np.mean([f.seconds for f in found])),
                )  # fmt: skip
                if code == "alloygen":
                    seconds = row.seconds
                print(
                    f"  {task:8} {row.cell:16} {code:13} {row.seconds:5.2f} s  {np.median(row.total):.4f} ({row.total.min():.4f} to {row.total.max():.4f})  "
                    f"Q {np.median(row.q):+.3f}", flush=True
                )  # fmt: skip
                yield row


def picture(rows: list[Row], path: Path) -> None:
    """Sums of the residuals of each code: every seed, and their median."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(TASKS), figsize=(10, 3.8), layout="constrained")
    titles = {
        "figures": "ten figures, least Q",
        "pairs": "four (32 sites) or five shells of pairs, least sum",
    }
    colours = dict(zip(CODES, ("#2f6690", "#c8553d", "#588157", "0.6"), strict=True))
    for task, ax in zip(TASKS, axes, strict=True):
        here = [r for r in rows if r.task == task]
        cells, codes = list(dict.fromkeys(r.cell for r in here)), list(dict.fromkeys(r.code for r in here))
        for k, code in enumerate(codes):
            mine = [r for r in here if r.code == code]
            at = np.array([cells.index(r.cell) for r in mine]) + (k - (len(codes) - 1) / 2) * 0.2
            ax.bar(at, [np.median(r.total) for r in mine], 0.18, color=colours[code], alpha=0.55, label=code)
            for x, row in zip(at, mine, strict=True):
                ax.plot(x + np.linspace(-0.05, 0.05, len(row.total)), row.total, "o", ms=3, color=colours[code])
        ax.set_xticks(range(len(cells)), [c.replace(", ", "\n") for c in cells])
        ax.set(title=titles[task], ylabel="sum of the residuals")
        ax.title.set_size(10)
        ax.spines[["top", "right"]].set_visible(False)
    figure.legend(
        *axes[-1].get_legend_handles_labels(), frameon=False, fontsize=9, ncols=len(CODES), loc="outside upper center"
    )
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picture", type=Path, help="such as docs/figures/quasi_random.png")
    args = parser.parse_args()
    found = list(compare())
    if args.picture:
        picture(found, args.picture)
