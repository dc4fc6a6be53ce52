"""F(x) of CuAu 2x2x4 by MBAR over a replica-exchange grid, against enumeration. Run: python tests/benchmarks/mbar.py"""

import time

import numpy as np

import alloygen.data
from alloygen.exact.enumeration import Enumeration
from alloygen.montecarlo.sampling import replica_exchange


def main(seeds=(0, 1, 2)) -> None:
    h = alloygen.data.cuau().on((2, 2, 4))
    table, inner = Enumeration(h), np.arange(200.0, 1201.0, 100.0)
    T, dmu = np.append(inner, [1600.0, 2400.0, 5000.0, np.inf]), np.linspace(-0.3, 0.3, 25)
    worst, z, start = [], [], time.perf_counter()
    for seed in seeds:
        scan = replica_exchange(h, h.grid(T, np.column_stack([0 * dmu, dmu])), n=10_000, seed=seed, check=False)
        for t in inner:
            kT = h.kB * t
            exact = np.array(
                [-kT * np.logaddexp.reduce(-table.energy[table.counts[:, 1] == n] / kT) for n in range(17)]
            )
            by = scan.pool.by_number(h.elements.index("Au"), 1 / kT)
            F, error = -kT * by.log_omega, kT * np.hypot(by.log_omega_replica.std(0, ddof=1), 1 / by.effective_samples)
            worst.append(1000 * np.abs(F - exact).max() / 16)
            z += ((F - exact) / error).tolist()
    print(f"MBAR F(x), CuAu 2x2x4, T 200-1200 K, {len(seeds)} seeds: largest error {max(worst):.3f}, mean over T of the largest "
          f"{np.mean(worst):.3f} meV/site; z-scores std {np.std(z):.2f}; {(time.perf_counter() - start) / len(seeds):.0f} s a seed")  # fmt: skip


if __name__ == "__main__":
    main()
