"""Attempted flips per second of the square-lattice Ising model, on one core. Run: python tests/benchmarks/ising_speed.py [L]

Packed replicas (``PackedIsing``) without field, with one, and with temperatures and fields that all differ; one chain of
the general single-flip kernel; cluster moves as sites flipped per second. An attempt is one visit of one spin of one replica.
"""

import sys
import time

import numba
import numpy as np

from alloygen.hamiltonian.ising import ising
from alloygen.montecarlo.chains import Chains
from alloygen.montecarlo.cluster_chains import KINDS, ClusterChains
from alloygen.montecarlo.multispin import BLOCK, PackedIsing


def best(function, seconds: float = 1.0) -> float:
    """Shortest time of one call among those that fit into ``seconds``, after one call to compile."""
    function()
    times, end = [], time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def packed(L: int, T, h, sweeps: int = 20) -> float:
    run = PackedIsing(L, T, h)
    return sweeps * run.n_sites * run.n_replicas / best(lambda: run.sweep(sweeps))


def one_chain(L: int, T: float, h: float, sweeps: int = 500) -> float:
    run = Chains(ising(L), ising(L).condition([T], [[0.0, 2 * h]]), 0)
    return sweeps * L * L / best(lambda: run.step(sweeps))


def clusters(L: int, T: float, kind: str, moves: int = 200) -> float:
    run = ClusterChains(ising(L), ising(L).condition([T], [0.0, 0.0]), 0, kind)
    run.step(moves)
    run.reset_counters()
    time_of_a_call = best(lambda: run.step(moves))
    return moves * L * L * run.acceptance[0] / time_of_a_call


def main() -> None:
    L = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    print(f"{L} x {L}, T = 2.3, numba {numba.__version__}, numpy {np.__version__}, one core")
    spread = np.linspace(1.8, 3.2, BLOCK), np.linspace(-0.3, 0.3, BLOCK)
    for what, T, h in (("h = 0", 2.3, 0.0), ("h = 0.2", 2.3, 0.2), ("T 1.8 to 3.2, h -0.3 to 0.3", *spread)):
        print(f"packed, {BLOCK} replicas, {what}: {packed(L, T, h):,.0f} attempts/s")
    for h in (0.0, 0.2):
        print(f"one chain, h = {h:g}: {one_chain(L, 2.3, h):,.0f} attempts/s")
    for kind in KINDS:
        print(f"{kind}, h = 0: {clusters(L, 2.3, kind):,.0f} sites flipped/s")


if __name__ == "__main__":
    main()
