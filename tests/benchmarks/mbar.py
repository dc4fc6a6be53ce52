"""F(x) of CuAu 2x2x4 by MBAR over a replica-exchange grid, against enumeration; and what MBAR over a plane of mu costs.

Run: python tests/benchmarks/mbar.py [--plane] [--points 7] [--n 150]
"""

import argparse
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np

import alloygen.data
from alloygen.estimate.pool import from_mbar
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


def plane(points: int, n: int) -> None:
    """Seconds of a core and peak memory of MBAR's solution and of Phi with its error at all conditions, each by itself and all together."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from ternaries import pairs
    from ternary_sections import ALLOY

    from alloygen.estimate.mbar import MBAR
    from alloygen.estimate.series import Memory

    h, mu = pairs(ALLOY).on((4, 4, 2)), np.linspace(-0.12, 0.12, points)
    grid = h.grid([450.0, 700.0, 1000.0], [[0, a, b] for a in mu for b in mu])
    ladder = [570.0, 840.0, 1270.0, 1640.0, 2300.0, 4400.0, np.inf]
    scan = replica_exchange(h, grid, n=n, ladder=ladder, check=False)
    shown = (scan.beta, scan.beta[:, None] * scan.mu)
    (_, mu), beta = scan.joint.conditions.arrays(), np.asarray(scan.joint.conditions.beta)
    energy, counts = (np.concatenate([getattr(part, k) for part in scan.parts]) for k in ("energy", "counts"))
    reference = {int(k): scan.facts.log_states for k in np.flatnonzero(beta == 0)}

    def clocked(what: str, work):
        tracemalloc.start()
        start, out = time.process_time(), work()
        print(f"{what}: {time.process_time() - start:.1f} s, {tracemalloc.get_traced_memory()[1] / 1e6:.0f} MB")
        tracemalloc.stop()
        return out

    solve = lambda: MBAR(beta, beta[:, None] * mu, energy, counts, "measure", reference, memory=Memory(n_chains=1))  # noqa: E731
    phi = lambda m: [m.log_z(*at) for at in zip(*shown, strict=True)]  # noqa: E731
    mbar = clocked(f"{len(beta)} states x {n} samples, solved", solve)
    one = clocked(f"log Z and errors at {len(scan)} conditions, one by one", lambda: phi(mbar))
    mbar = solve()
    clocked("the same conditions looked at together", lambda: mbar.foresee(*shown))
    both = clocked("log Z and errors after that", lambda: phi(mbar))
    print(
        f"largest difference of the errors: {max(abs(a.stderr / b.stderr - 1) for a, b in zip(one, both, strict=True)):.1g}"
    )
    clocked("pooled, 100 replicas", lambda: from_mbar(mbar))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plane", action="store_true")
    parser.add_argument("--points", type=int, default=7, help="values of each chemical potential")
    parser.add_argument("--n", type=int, default=150, help="samples at each condition")
    options = parser.parse_args()
    plane(options.points, options.n) if options.plane else main()
