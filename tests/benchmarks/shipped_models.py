"""The figures of docs/benchmarks.md for the models that ship. Run: python tests/benchmarks/shipped_models.py [--quick]

CuAu 2x2x4 against enumeration with 10,000 configurations a condition; CuAu 4x4x4 against replica exchange with 2,000;
then the variants of the ordered phases. Tables go to standard output, results to tests/benchmarks/results/.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch
from cubic_order import variants

import alloygen
from alloygen.runtime.job import Job
from alloygen.training import evaluate
from alloygen.training.reference import named_grid, reference_samples

WORKERS = 2
ORDERED = {"Cu3Au (L1_2)": (-0.09, 4), "CuAu (L1_0)": (0.03, 6), "CuAu3 (L1_2)": (0.0724, 4)}


def part(worker: int, name: str, n: int, n_reference: int) -> list:
    """Every second condition of the grid, on one core."""
    torch.set_num_threads(1)
    model = alloygen.load(name)
    at = named_grid("cuau", model.hamiltonian)[worker::WORKERS]
    fine = alloygen.data.grids()["cuau"]
    reference = reference_samples(
        model.hamiltonian, at, n_reference, seed=1, dT=fine.dT, dmu=fine.dmu, job=Job(progress=worker == 0)
    )
    return evaluate.evaluate(model, at, n, reference=reference, seed=worker, job=Job(progress=worker == 0))


def grid(name: str, n: int, n_reference: int, results: Path) -> None:
    with ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")) as pool:
        parts = list(pool.map(part, range(WORKERS), [name] * WORKERS, [n] * WORKERS, [n_reference] * WORKERS))
    rows = sorted((r for p in parts for r in p), key=lambda r: (r.T, r.mu))
    print(f"\n{name}: {n} configurations a condition, {n_reference} replica-exchange samples")
    evaluate.print_table(rows)
    results.mkdir(exist_ok=True)
    evaluate.write_json(results / f"{name}.json", rows, model=name, n=n, reference=n_reference, grid="cuau")


def ordered_phases(name: str, n: int = 2000, T: float = 300.0) -> None:
    model = alloygen.load(name)
    generator = torch.Generator().manual_seed(0)
    print(
        f"\n{name}: variants of the ordered phases at {T:.0f} K among {n} configurations (sublattices that hold Au: count)"
    )
    for phase, (dmu, expected) in ORDERED.items():
        ens = evaluate.draw(model, model.hamiltonian.condition(T, [0.0, dmu]), n, generator)
        found = variants(model.hamiltonian.lattice, ens.occ)[phase]
        print(f"{phase:>14} dmu {dmu:+.4f}: {len(found)} of {expected} variants: {dict(sorted(found.items()))}")


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--quick", action="store_true", help="a tenth of the configurations")
    p.add_argument("--only", choices=("cuau_2x2x4", "cuau_4x4x4"))
    args = p.parse_args()
    share = 10 if args.quick else 1
    folder = Path(__file__).parent / "results"
    if args.only != "cuau_4x4x4":
        grid("cuau_2x2x4", 10_000 // share, 2_000 // share, folder)
    if args.only != "cuau_2x2x4":
        grid("cuau_4x4x4", 2_000 // share, 2_000 // share, folder)
        ordered_phases("cuau_4x4x4", 2_000 // share)
