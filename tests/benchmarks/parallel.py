"""Parallel efficiency of replica exchange: the same run on one thread and on two. Run: python tests/benchmarks/parallel.py"""

import time
from multiprocessing import get_context

import numpy as np

import alloygen.data
from alloygen.montecarlo.chains import Chains
from alloygen.montecarlo.tempering import grid_pairs


def seconds(threads: int, rounds: int, sweeps: int = 10) -> tuple[float, np.ndarray]:
    """Time of a run on CuAu 4x4x8 over 21 T x 9 mu, and where it ends."""
    T, dmu = np.linspace(200.0, 1200.0, 21), np.linspace(-0.24, 0.24, 9)
    mu = np.column_stack([np.zeros(9), dmu])
    h = alloygen.data.cuau().on((4, 4, 8))
    chains = Chains(h, h.condition(np.repeat(T, 9), np.tile(mu, (21, 1))), 0, grid_pairs(21, 9), threads=threads)
    for _ in range(10):
        chains.step(sweeps)
    start = time.perf_counter()
    for _ in range(rounds):
        chains.step(sweeps)
    return time.perf_counter() - start, chains.walkers.occ


def apart(rounds: int) -> float:
    """The slower of two separate one-thread processes that run at once: what the machine's second core is worth."""
    with get_context("spawn").Pool(2) as pool:
        pool.starmap(seconds, [(1, 5)] * 2)  # imported and loaded
        return max(taken for taken, _ in pool.starmap(seconds, [(1, rounds)] * 2))


def main() -> None:
    rounds, best, ends, both = 150, {1: np.inf, 2: np.inf}, {}, np.inf
    for _ in range(5):
        for threads in best:
            taken, ends[threads] = seconds(threads, rounds)
            best[threads] = min(best[threads], taken)
        both = min(both, apart(rounds))
    assert np.array_equal(ends[1], ends[2]), "threads changed the result"
    attempts = rounds * 10 * 128 * 189
    print("replica exchange, CuAu 4x4x8, 21 T x 9 mu, exchange every 10 sweeps:")
    for threads, taken in best.items():
        print(f"  {threads} thread(s): {attempts / taken / 1e6:.1f} M attempts/s")
    print(
        f"  two threads are {best[1] / best[2]:.2f} times as fast as one; two separate processes at once {2 * best[1] / both:.2f} times"
    )


if __name__ == "__main__":
    main()
