"""Parallel efficiency of replica exchange: the same run on one thread and on two. Run: python tests/benchmarks/parallel.py"""

import time

import numpy as np

import alloygen.data
from alloygen.montecarlo.chains import Chains
from alloygen.montecarlo.tempering import grid_pairs


def seconds(threads: int, rounds: int, sweeps: int = 10) -> tuple[float, np.ndarray]:
    """Time of a run on CuAu 4x4x8 over 21 T x 9 mu, and where it ends."""
    T, dmu = np.linspace(200.0, 1200.0, 21), np.linspace(-0.24, 0.24, 9)
    mu = np.column_stack([np.zeros(9), dmu])
    h = alloygen.data.cuau().on((4, 4, 8))
    chains = Chains(h, np.repeat(T, 9), np.tile(mu, (21, 1)), 0, grid_pairs(21, 9), threads=threads)
    for _ in range(10):
        chains.step(sweeps)
    start = time.perf_counter()
    for _ in range(rounds):
        chains.step(sweeps)
    return time.perf_counter() - start, chains.walkers.occ


def main() -> None:
    best, ends = {1: np.inf, 2: np.inf}, {}
    for _ in range(5):
        for threads in best:
            taken, ends[threads] = seconds(threads, 150)
            best[threads] = min(best[threads], taken)
    assert np.array_equal(ends[1], ends[2]), "threads changed the result"
    attempts = 150 * 10 * 128 * 189
    print("replica exchange, CuAu 4x4x8, 21 T x 9 mu, exchange every 10 sweeps:")
    for threads, taken in best.items():
        print(f"  {threads} thread(s): {attempts / taken / 1e6:.1f} M attempts/s")
    print(f"  two cores are {best[1] / best[2]:.2f} times as fast as one")


if __name__ == "__main__":
    main()
