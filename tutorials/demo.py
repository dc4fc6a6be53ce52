"""The main job in one minute: CuAu on 64 sites over several temperatures and chemical potentials.

Run: make demo (or python tutorials/demo.py). Writes demo/configs.extxyz and demo/cuau.png.
"""

import time
from pathlib import Path

import matplotlib
import numpy as np
from ase.build import bulk

import alloygen

matplotlib.use("Agg")
import matplotlib.pyplot as plt

TEMPERATURES = (300, 500, 700, 900)
DMU = np.linspace(-0.2, 0.2, 9)


def main() -> None:
    folder = Path("demo")
    folder.mkdir(exist_ok=True)
    atoms = bulk("Cu", a=3.8).repeat((4, 4, 4))
    started, drawn = time.perf_counter(), 0
    print(f"{'T / K':>7} {'dmu / eV':>9} {'x_Au':>12} {'Phi / (eV/site)':>16} {'NESS':>7}")
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), constrained_layout=True)
    for T in TEMPERATURES:
        x, phi = [], []
        for k, dmu in enumerate(DMU):
            ens = alloygen.sample(atoms, T=T, mu={"Au": dmu}, n=200, seed=k)
            drawn += len(ens)
            x.append(ens.composition("Au"))
            phi.append(ens.free_energy())
            if k % 2 == 0:
                print(f"{T:7d} {dmu:9.4f} {x[-1]!s:>12} {phi[-1]!s:>16} {ens.ness:7.3f}")
        left.errorbar(DMU, [v.value for v in x], [v.stderr for v in x], marker=".", capsize=2, label=f"{T} K")
        right.errorbar(DMU, [v.value for v in phi], [v.stderr for v in phi], marker=".", capsize=2, label=f"{T} K")
    field = dict(xlabel=r"$\mu_{Au} - \mu_{Cu}$ (eV)", xticks=DMU[::2])
    left.set(**field, ylabel=r"$x_{Au}$")
    right.set(**field, ylabel=r"$\Phi$ (eV/site)")
    left.legend(frameon=False)
    figure.savefig(folder / "cuau.png", dpi=150)
    ens = alloygen.sample(atoms, T=600, mu={"Au": 0.02}, n=1000, seed=0)
    ens.write(folder / "configs.extxyz")
    seconds = time.perf_counter() - started
    print(ens)
    print(
        f"{drawn + len(ens)} independent configurations of {len(atoms)} sites in {seconds:.0f} s; "
        f"wrote {folder / 'configs.extxyz'} and {folder / 'cuau.png'}"
    )


if __name__ == "__main__":
    main()
