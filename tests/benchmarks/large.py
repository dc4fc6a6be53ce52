"""How much memory large cells and many configurations take: 13,824 sites of CuAu (24x24x24), and 100,000 configurations of 64 sites.

Run: python tests/benchmarks/large.py [--only NAME ...] [--n 100000]

Each case runs in a process of its own, whose peak resident memory (getrusage; Linux counts in KiB) is held against a limit: 2 GiB for the
large cell, 1 GiB for the many configurations. Exit code 1 where one is above its limit.

  load          the Hamiltonian and the law on the large cell, one draw's worth of tables
  metropolis    400 samples of Monte Carlo, and what it tells of them
  exchange      replica exchange up to infinite temperature at T = 1000 and 1200 K and three mu, Phi, and its diagram
  law           64 draws of the law `cuau`, their averages, and a file of them
  diagram       a diagram of the law's draws at two T and two mu
  many          n configurations of 64 sites drawn, estimated, written as extxyz; and read back one at a time

At 13,824 sites weights are uneven, and the diagrams are no physics: what is measured is memory and time.
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
from pathlib import Path

GIB = 2**30
LARGE, SMALL = (24, 24, 24), (4, 4, 4)
NEAR = {"Au": [0.0, 0.002, 0.004]}


def atoms(repeats: tuple[int, int, int]):
    from ase.build import bulk

    return bulk("Cu", a=3.8).repeat(repeats)


def load(n: int) -> str:
    import alloygen
    import alloygen.data

    h = alloygen.data.cuau().on(LARGE)
    law = alloygen.load("cuau").on(h)
    return f"{h.n_sites} sites, {law.placed.slots.shape[1]} displacements"


def metropolis(n: int) -> str:
    import alloygen

    ens = alloygen.mc(atoms(LARGE), 600, {"Au": 0.02}, n=400, method="metropolis", sweeps=5)[0]
    return f"x_Au = {ens.composition('Au')}, E = {ens.mean_energy()}, C = {ens.heat_capacity()}"


def exchange(n: int) -> str:
    import alloygen

    scan = alloygen.mc(atoms(LARGE), [1000, 1200], NEAR, n=40, sweeps=5)
    rungs = len(scan.info["ladder"])
    diagram = scan.phase_diagram(T=[1000.0, 1200.0])
    return f"{rungs} temperatures, Phi = {scan.free_energy(0)}, diagram of {dict(diagram.table.sizes)}"


def law(n: int) -> str:
    import alloygen

    ens = alloygen.sample(atoms(LARGE), 1200, {"Au": 0.02}, n=64, sampler="cuau")
    with tempfile.TemporaryDirectory() as folder:
        size = ens.write(Path(folder) / "large.extxyz").stat().st_size
    return f"NESS = {ens.ness:.3f}, x_Au = {ens.composition('Au')}, Phi = {ens.free_energy()}, {size / 1e6:.0f} MB"


def diagram(n: int) -> str:
    import alloygen

    mu = {"Au": [0.0, 0.002]}
    scan = alloygen.scan(atoms(LARGE), [1000, 1200], mu, n=16, sampler="cuau")
    found = scan.phase_diagram(T=[1000.0, 1200.0])
    return (
        f"NESS {min(e.ness for e in scan):.3f} to {max(e.ness for e in scan):.3f}, diagram of {dict(found.table.sizes)}"
    )


def many(n: int) -> str:
    import ase.io
    import numpy as np

    import alloygen

    start = time.perf_counter()
    ens = alloygen.sample(atoms(SMALL), 600, {"Au": 0.02}, n=n, sampler="cuau")
    drawn = time.perf_counter()
    told = f"NESS = {ens.ness:.3f}, x_Au = {ens.composition('Au')}, E = {ens.mean_energy()}, C = {ens.heat_capacity()}, Phi = {ens.free_energy()}"
    estimated, energy, gold = time.perf_counter(), ens.energy, ens.counts[:, 1]
    with tempfile.TemporaryDirectory() as folder:
        path = ens.write(Path(folder) / "many.extxyz")
        written, size = time.perf_counter(), path.stat().st_size
        rows = 0
        for k, one in enumerate(ase.io.iread(path, ":")):
            assert abs(one.get_potential_energy() - energy[k]) < 1e-6 and (one.numbers == 79).sum() == gold[k]
            rows += 1
    assert rows == n, f"expected {n} configurations in the file, got {rows}"
    seconds = np.diff([start, drawn, estimated, written, time.perf_counter()]).round()
    return f"drawn, estimated, written ({size / 1e6:.0f} MB), read back in {', '.join(f'{s:.0f}' for s in seconds)} s; {told}"


CASES = {f.__name__: (f, limit) for f, limit in [(load, 2), (metropolis, 2), (exchange, 2), (law, 2), (diagram, 2), (many, 1)]}  # fmt: skip


def alone(name: str, n: int) -> None:
    """One case in this process; what it found as JSON on the last line."""
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    start = time.perf_counter()
    told = CASES[name][0](n)
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"told": told, "seconds": time.perf_counter() - start, "cpu": time.process_time(), "peak": peak}))


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--only", nargs="*", default=[*CASES], choices=[*CASES])
    p.add_argument("--n", type=int, default=100_000, help="configurations of the case `many`")
    p.add_argument("--alone", choices=[*CASES], help=argparse.SUPPRESS)
    args = p.parse_args()
    if args.alone:
        alone(args.alone, args.n)
        return 0
    print(f"{'case':12}{'peak, GiB':>10}{'limit':>7}{'seconds':>9}{'of a core':>11}", flush=True)
    wrong = 0
    for name in args.only:
        command = [sys.executable, __file__, "--alone", name, "--n", str(args.n)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            print(f"{name:12} ended with code {done.returncode}", flush=True)
            wrong += 1
            continue
        found, limit = json.loads(done.stdout.splitlines()[-1]), CASES[name][1]
        wrong += found["peak"] > limit * GIB
        print(f"{name:12}{found['peak'] / GIB:10.2f}{limit:7}{found['seconds']:9.0f}{found['cpu']:11.0f}  {found['told']}", flush=True)  # fmt: skip
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
