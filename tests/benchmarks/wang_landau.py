"""Accuracy and speed of Wang-Landau for the Ising model on 10 x 10. Run: python tests/benchmarks/wang_landau.py

For each schedule and seed: the median and the largest |F - Kaufman| in J/site over T = 1.5, 1.6 ... 3.5 (21 values), with
the attempts of all walkers together, the CPU time and the rate by it. Du et al. (arXiv:2603.14695) report a median of 1.2e-4 for
1e9 attempts of Wang-Landau. "halving" comes to its end long before that, so its attempts are spent on many walkers.
"""

import os

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")

import argparse
import platform
import time
from importlib.metadata import version

import numpy as np

from alloygen.exact.ising import kaufman_free_energy
from alloygen.hamiltonian.ising import ising
from alloygen.montecarlo.wang_landau import Bins, Schedule, wang_landau
from alloygen.montecarlo.wang_landau.settings import KINDS
from alloygen.runtime.job import Job

L = 10
T = np.round(np.arange(1.5, 3.55, 0.1), 10)


def parse() -> argparse.Namespace:
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--schedules", nargs="+", default=KINDS, choices=KINDS)
    p.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    p.add_argument("--attempts", type=float, default=1e9, help="at most, of all walkers together")
    p.add_argument("--walkers", type=int, nargs=2, default=[16, 4], metavar=("HALVING", "1/T"))
    p.add_argument("--flatness", type=float, default=0.8)
    p.add_argument("--transitions", action="store_true", help="log g from counted transitions")
    p.add_argument("--windows", type=int, default=1)
    p.add_argument("--threads", type=int, default=1)
    return p.parse_args()


def main() -> None:
    a, h = parse(), ising(L)
    exact = np.array([kaufman_free_energy(L, t) for t in T])
    names = ("alloygen", "numba", "numpy")
    print(f"{', '.join(f'{n} {version(n)}' for n in names)}, Python {platform.python_version()}, {platform.machine()}")
    print(
        f"Ising {L}x{L}, flatness {a.flatness}, {a.windows} window(s), {a.threads} thread(s), transitions {a.transitions}; errors in J/site"
    )
    wang_landau(h, schedule=Schedule(max_attempts=1e5))  # compiles
    medians: dict[str, list[float]] = {}
    for schedule in a.schedules:
        walkers = a.walkers[schedule == "1/t"]
        for seed in a.seeds:
            start = time.process_time()
            how = Schedule(kind=schedule, max_attempts=a.attempts, flatness=a.flatness)
            bins = Bins(windows=a.windows, transitions=a.transitions)
            dos = wang_landau(h, bins=bins, schedule=how, walkers=walkers, seed=seed, job=Job(threads=a.threads))
            seconds = time.process_time() - start
            phi = [dos.phi(t) for t in T]
            error = np.array([p.value for p in phi]) - exact
            medians.setdefault(schedule, []).append(float(np.median(np.abs(error))))
            z = error / np.array([p.stderr for p in phi])
            print(
                f"{schedule:8s} seed {seed}  walkers {walkers:3d}  attempts {dos.ended.attempts:.2e}  log f {dos.ended.log_f:.1e}  "
                f"median {medians[schedule][-1]:.2e}  largest {np.abs(error).max():.2e}  rms z {np.sqrt(np.mean(z**2)):.2f}  "
                f"{seconds:6.1f} CPU s  {dos.ended.attempts / seconds / 1e6:.0f} M/s",
                flush=True,
            )
    for schedule, values in medians.items():
        print(f"{schedule:8s} median over seeds {np.median(values):.2e}, rms {np.sqrt(np.mean(np.square(values))):.2e}")


if __name__ == "__main__":
    main()
