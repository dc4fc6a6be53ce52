"""Metadynamics in composition: CuAu 2x2x4 against enumeration, CuAu 4x4x8 against itself.

Run: python tests/benchmarks/metadynamics.py [--only small|large] [--seeds 5] [--threads 2] [--production sweeps]
"""

import argparse
import platform
import time
from itertools import pairwise

import numba
import numpy as np
from scipy.special import logsumexp

import alloygen.data
from alloygen.exact.enumeration import Enumeration
from alloygen.montecarlo.metadynamics import Stages, metadynamics
from alloygen.runtime.job import Job


def exact(h, T) -> np.ndarray:
    """F(N) per site of every temperature, (nT, bins)."""
    e = Enumeration(h)
    n = e.counts[:, 1].astype(int)
    kT = h.kB * np.asarray(T, dtype=float)
    return np.array([[-k * logsumexp(-e.energy[n == m] / k) for m in range(n.max() + 1)] for k in kT]) / h.n_sites


def small(args) -> None:
    h, T = alloygen.data.cuau().on((2, 2, 4)), np.arange(200.0, 1201.0, 100.0)
    truth, deviations, scores = exact(h, T), [], []
    for seed in range(args.seeds):
        start = time.perf_counter()
        p = metadynamics(h, T, stages=Stages(production=args.production), seed=seed, job=Job(threads=args.threads))
        seconds, d = time.perf_counter() - start, p.free_energy - truth
        inner = p.stderr > 1e-9  # the ends and the first atom are exact
        deviations.append(d)
        scores.append(d[inner] / p.stderr[inner])
        ends = p.mismatch / p.mismatch_stderr
        print(
            f"seed {seed}: worst {1e3 * np.abs(d).max():.4f}, mean {1e3 * np.abs(d).mean():.5f} meV/site; largest error bar "
            f"{1e3 * p.stderr.max():.4f}; z-score std {scores[-1].std():.2f}, largest {np.abs(scores[-1]).max():.1f}; mismatch "
            f"/ error up to {np.abs(ends).max():.1f}; {p.converged.sum()} of {len(T)} converged; {seconds:.1f} s"
        )
    z = np.concatenate(scores)
    print(
        f"all seeds: worst {1e3 * np.abs(deviations).max():.4f} meV/site, z-score std {z.std():.2f}, mean {z.mean():+.2f}"
    )


def large(args) -> None:
    h, T = alloygen.data.cuau().on((4, 4, 8)), np.arange(200.0, 1201.0, 50.0)
    runs = []
    for seed in range(args.seeds):
        start = time.perf_counter()
        p = metadynamics(h, T, stages=Stages(production=args.production), seed=seed, job=Job(threads=args.threads))
        print(f"seed {seed}: {time.perf_counter() - start:.0f} s, {p.info['round_trips']} round trips, exchange rates "
              f"{min(p.info['exchange']):.2f} to {max(p.info['exchange']):.2f}, helpers {sorted({*p.info['ladder']} - {*T})}")  # fmt: skip
        for c, t in enumerate(T):
            print(f"{t:6.0f} K: mismatch {1e3 * p.mismatch[c]:+.3f}({1e3 * p.mismatch_stderr[c]:.3f}), largest error bar "
                  f"{1e3 * p.stderr[c].max():.3f} meV/site, least / mean visits {p.visits[c].min() / p.visits[c].mean():.2f} "
                  f"{p.notes[c]}")  # fmt: skip
        runs.append(p)
    for a, b in pairwise(runs):
        d, s = a.free_energy - b.free_energy, np.hypot(a.stderr, b.stderr)
        z = (d / np.where(s > 1e-9, s, np.inf))[:, 2:-2]
        print(
            f"two seeds: worst difference {1e3 * np.abs(d).max():.3f} meV/site; z std {z.std():.2f}, by T {z.std(1).round(2)}"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("small", "large"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--production", type=int)
    args = parser.parse_args()
    print(f"alloygen {alloygen.__version__}, numba {numba.__version__}, numpy {np.__version__}, {platform.machine()}")
    if args.only != "large":
        small(args)
    if args.only != "small":
        large(args)
