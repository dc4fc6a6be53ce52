"""Samples under another Hamiltonian, against enumeration and Monte Carlo: ``python tests/benchmarks/reweighting.py [--quick] [--only PART ...]``.

- ``random``: CuAu 2x2x4, exact draws, every ECI off by a random relative error, 40 draws of ECIs each: z-scores of Phi' - Phi and the effective share
- ``annealed``: the same with plain weights and annealed, where plain ones are uneven
- ``vectors``: 100 vectors of ECIs on 64 sites and 10,000 samples, seconds
- ``bands``: the diagram of 64 sites (2x2x4 with --quick) with the bands of 100 draws, seconds
- ``anew``: 10 draws, each sampled anew by Monte Carlo on 2x2x4, against the reweighted scan
"""

from __future__ import annotations

import argparse
import time
import warnings
from itertools import product
from pathlib import Path

import numpy as np

import alloygen
import alloygen.data
from alloygen.errors import LowSampleSize, NotConverged
from alloygen.exact.enumeration import Enumeration, ExactState
from alloygen.montecarlo.sampling import metropolis, replica_exchange
from alloygen.results.ensemble import Ensemble
from alloygen.results.posterior import PosteriorBands
from alloygen.results.scan import Scan

ALLOY = alloygen.data.cuau()
MU = np.array([0.0, 0.02])


class Exact:
    """Every configuration of 16 sites, by any ECIs."""

    def __init__(self) -> None:
        self.h = ALLOY.on((2, 2, 4))
        self.table = Enumeration(self.h)
        self.figures = self.h.correlations(self.table.occ)

    def law(self, ecis: np.ndarray, T: float, mu: np.ndarray = MU) -> ExactState:
        """Averages, Phi and probabilities by these ECIs."""
        return self.table.with_energies(16 * self.figures @ ecis).at(self.h.condition(T, mu))

    def share(self, ecis: np.ndarray, T: float) -> float:
        """The effective share of perfect samples of CuAu under these ECIs."""
        p, q = self.law(ecis, T).probabilities, self.law(ALLOY.ecis, T).probabilities
        return float(1 / (p**2 / q).sum())

    def draws(self, T: float, n: int, seed: int) -> Ensemble:
        p = self.law(ALLOY.ecis, T).probabilities
        rows = np.random.default_rng([seed, 1]).choice(len(p), n, p=p)
        return Ensemble(
            self.h, self.table.occ[rows], self.table.energy[rows], np.log(p[rows]), T=T, mu=MU, method="exact"
        )


def off(share: float, seed: int) -> np.ndarray:
    """ECIs that are each wrong by a random relative error."""
    return ALLOY.ecis * (1 + share * np.random.default_rng([seed, 2]).normal(size=len(ALLOY.ecis)))


def random(quick: bool) -> None:
    exact = Exact()
    for share in (0.05, 0.1, 0.2):
        z, found, true = [], [], []
        for T, seed in product((500.0, 800.0), range(10 if quick else 40)):
            ecis = off(share, seed)
            new = exact.draws(T, 1000, seed).reweighted(ALLOY.with_ecis(ecis))
            d = new.free_energy_difference()
            z.append((d.value - exact.law(ecis, T).phi + exact.law(ALLOY.ecis, T).phi) / d.stderr)
            found.append(new.ness)
            true.append(exact.share(ecis, T))
        print(
            f"random ECIs {100 * share:.0f} %: z std {np.nanstd(z):.2f}, mean {np.nanmean(z):+.2f} of {np.isfinite(z).sum()}; effective share median "
            f"{np.median(found):.3f} (exact {np.median(true):.3f}), least {min(found):.3f} ({min(true):.3f})", flush=True
        )  # fmt: skip


def annealed(quick: bool) -> None:
    exact, T = Exact(), 500.0
    for share in (0.2, 0.5, 0.6):
        true = [exact.share(off(share, k), T) for k in range(40)]
        for seed in np.argsort(true)[:3][::-1].tolist():
            ecis, ens, start = off(share, seed), exact.draws(T, 500, seed), time.perf_counter()
            phi = exact.law(ecis, T).phi
            made = ens.reweighted(ALLOY.with_ecis(ecis), then=alloygen.Anneal(effort=0.5 if quick else 1.0))
            f, plain = made.free_energy(), ens.reweighted(ALLOY.with_ecis(ecis)).free_energy()
            print(
                f"annealed to {100 * share:.0f} %, T = {T:g}, ECIs {seed}: share plain {made.info['ness_before']:.3f} (exact {true[seed]:.3f}), annealed "
                f"{made.ness:.3f}; Phi off by {1e3 * (plain.value - phi):+.3f} plain, {1e3 * (f.value - phi):+.3f} +- {1e3 * f.stderr:.3f} meV/site "
                f"annealed; {time.perf_counter() - start:.0f} s", flush=True
            )  # fmt: skip


def vectors(quick: bool) -> None:
    h = ALLOY.on((4, 4, 4))
    ens = metropolis(h, h.condition(900.0, MU), n=1000 if quick else 10_000, seed=0, check=False)[0]
    rows = [off(0.05, k) for k in range(100)]
    start = time.perf_counter()
    _ = ens.correlations
    first = time.perf_counter()
    energies = h.n_sites * ens.correlations @ np.array(rows).T
    product = time.perf_counter()
    found = [ens.reweighted(ALLOY.with_ecis(row)).free_energy_difference() for row in rows]
    end = time.perf_counter()
    direct = ALLOY.with_ecis(rows[0]).on(h.lattice).energy(ens.occ)
    print(
        f"100 vectors of ECIs, 64 sites, {len(ens)} samples: correlation functions {first - start:.2f} s, all energies {product - first:.3f} s, all "
        f"free-energy differences {end - product:.1f} s (energies once by tables {time.perf_counter() - end:.2f} s; largest difference "
        f"{np.abs(direct - energies[:, 0]).max():.1e} eV; {np.isfinite([f.stderr for f in found]).sum()} with an error bar)", flush=True
    )  # fmt: skip


def bands(quick: bool, picture: Path | None = None) -> None:
    from ase.build import bulk

    atoms = bulk("Cu", a=3.8).repeat((2, 2, 4) if quick else (4, 4, 4))
    mu = {"Au": np.linspace(-0.16, 0.16, 7 if quick else 17)}
    start = time.perf_counter()
    scan = alloygen.scan(atoms, T=range(400, 901, 100), mu=mu, n=100)
    middle = time.perf_counter()
    found = scan.posterior(np.array([off(0.05, k) for k in range(100)]), T=np.arange(400, 901, 25.0))
    seconds = time.perf_counter() - middle
    print(f"bands of 100 draws, {len(atoms)} sites: scan {middle - start:.0f} s, bands {seconds:.0f} s; {found!r}")
    columns = ["x", "T", "T_stderr", "T_fit", "phase"]
    print(
        found.transitions[found.transitions["single_phase"].astype(bool)][columns].round(3).to_string(index=False),
        flush=True,
    )
    if picture is not None:
        draw(found, picture)


def draw(found: PosteriorBands, path: Path) -> None:
    """The diagram and F of mixing, with the bands."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(11, 4.6))
    for kind, ax in zip(("T-x", "F-x"), axes, strict=True):
        found.plot(kind, ax=ax)
    figure.savefig(path, dpi=110, bbox_inches="tight")
    plt.close(figure)


def ladder(ecis: np.ndarray, n: int, seed: int) -> Scan:
    h = ALLOY.with_ecis(ecis).on((2, 2, 4))
    mus = np.column_stack([np.zeros(3), [-0.1, 0.02, 0.1]])
    return replica_exchange(
        h, h.grid([600.0, 800.0], mus), ladder=[1200.0, 2500.0, np.inf], n=n, seed=seed, check=False
    )


def anew(quick: bool) -> None:
    n = 400 if quick else 2000
    scan, z, fit = ladder(ALLOY.ecis, n, 0), [], []
    exact = Exact()
    for k in range(10):
        ecis = off(0.1, k)
        moved, own = scan.reweighted(ALLOY.with_ecis(ecis)), ladder(ecis, n, k + 1)
        for c in range(len(scan)):
            a, b = moved.free_energy(c), own.free_energy(c)
            z.append((a.value - b.value) / np.hypot(a.stderr, b.stderr))
            fit.append((a.value - exact.law(ecis, scan.T[c], scan.mu[c]).phi) / a.stderr)
    print(
        f"10 draws sampled anew, 6 conditions each: z of Phi reweighted - anew, rms {np.sqrt(np.mean(np.square(z))):.2f}, largest "
        f"{np.abs(z).max():.1f}; reweighted - enumeration, rms {np.sqrt(np.mean(np.square(fit))):.2f}", flush=True
    )  # fmt: skip


PARTS = {f.__name__: f for f in (random, annealed, vectors, bands, anew)}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=PARTS, default=[*PARTS])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--picture", type=Path, help="of the bands, such as docs/figures/posterior_bands.png")
    args = parser.parse_args()
    warnings.simplefilter("ignore", LowSampleSize)
    warnings.simplefilter("ignore", NotConverged)
    for name in args.only:
        PARTS[name](args.quick, *([args.picture] if name == "bands" else []))
