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
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

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


@dataclass(frozen=True, kw_only=True)
class Moved:
    """Exact draws under other ECIs: relative error of these, z-score of Phi' - Phi, and the effective share as the samples and as enumeration say."""

    off: float
    z: float
    share: float
    exact_share: float


def random(quick: bool) -> list[Moved]:
    exact, out = Exact(), []
    for share in (0.05, 0.1, 0.2):
        rows = []
        for T, seed in product((500.0, 800.0), range(10 if quick else 40)):
            ecis = off(share, seed)
            new = exact.draws(T, 1000, seed).reweighted(ALLOY.with_ecis(ecis))
            d = new.free_energy_difference()
            z = (d.value - exact.law(ecis, T).phi + exact.law(ALLOY.ecis, T).phi) / d.stderr
            rows.append(Moved(off=share, z=z, share=new.ness, exact_share=exact.share(ecis, T)))
        z, found, true = (np.array([getattr(r, name) for r in rows]) for name in ("z", "share", "exact_share"))
        print(
            f"random ECIs {100 * share:.0f} %: z std {np.nanstd(z):.2f}, mean {np.nanmean(z):+.2f} of {np.isfinite(z).sum()}; effective share median "
            f"{np.median(found):.3f} (exact {np.median(true):.3f}), least {found.min():.3f} ({true.min():.3f})", flush=True
        )  # fmt: skip
        out += rows
    return out


@dataclass(frozen=True, kw_only=True)
class Led:
    """Samples that were annealed to other ECIs: effective shares, and the errors of Phi against enumeration, eV per site."""

    off: float
    seed: int
    exact_share: float
    share_plain: float
    share: float
    error_plain: float
    error: float
    stderr: float


def annealed(quick: bool) -> list[Led]:
    exact, T, out = Exact(), 500.0, []
    for share in (0.2, 0.5, 0.6):
        true = [exact.share(off(share, k), T) for k in range(40)]
        for seed in np.argsort(true)[:3][::-1].tolist():
            ecis, ens, start = off(share, seed), exact.draws(T, 500, seed), time.perf_counter()
            phi = exact.law(ecis, T).phi
            made = ens.reweighted(ALLOY.with_ecis(ecis), then=alloygen.Anneal(effort=0.5 if quick else 1.0))
            f, plain = made.free_energy(), ens.reweighted(ALLOY.with_ecis(ecis))
            row = Led(
                off=share, seed=seed, exact_share=true[seed], share_plain=plain.ness, share=made.ness, error_plain=plain.free_energy().value - phi,
                error=f.value - phi, stderr=f.stderr,
            )  # fmt: skip
            out.append(row)
            print(
                f"annealed to {100 * share:.0f} %, T = {T:g}, ECIs {seed}: share plain {row.share_plain:.3f} (exact {row.exact_share:.1e}), annealed "
                f"{row.share:.3f}; Phi off by {1e3 * row.error_plain:+.3f} plain, {1e3 * row.error:+.3f} +- {1e3 * row.stderr:.3f} meV/site annealed; "
                f"{time.perf_counter() - start:.0f} s", flush=True
            )  # fmt: skip
    return out


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


def bands(quick: bool) -> PosteriorBands:
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
    return found


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


# ---------------------------------------------------------------------- pictures
def draw_bands(found: PosteriorBands, axes: np.ndarray) -> None:
    """The diagram and F of mixing, with the bands."""
    for kind, ax in zip(("T-x", "F-x"), axes, strict=True):
        found.plot(kind, ax=ax)


def draw_random(rows: list[Moved], axes: np.ndarray) -> None:
    """Z-scores beside the normal density, and effective shares of samples against those of enumeration."""
    left, right = axes
    shares = sorted({r.off for r in rows})
    mine = [[r for r in rows if r.off == share] for share in shares]
    labels = [f"every ECI off by {100 * share:.0f} %" for share in shares]
    left.hist([[r.z for r in part] for part in mine], np.arange(-4, 4.1, 0.5), density=True, label=labels)
    x = np.linspace(-4, 4, 200)
    left.plot(x, np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi), "k-", lw=1, label="normal")
    left.set(xlabel="z of the change of Phi against enumeration", ylabel="density")
    for part, label in zip(mine, labels, strict=True):
        right.plot([r.exact_share for r in part], [r.share for r in part], "o", ms=4, mfc="none", label=label)
    right.plot([0, 1], [0, 1], "k-", lw=0.8)
    right.set(xlabel="effective share, exact", ylabel="effective share of 1000 samples", xlim=(0, 1.02), ylim=(0, 1.02))
    for ax in axes:
        ax.legend(frameon=False, fontsize=8)


def draw_annealed(rows: list[Led], axes: np.ndarray) -> None:
    """Effective shares and errors of Phi, plain and annealed, one place for each set of ECIs."""
    left, right = axes
    at = np.arange(len(rows))
    left.plot(at, [r.exact_share for r in rows], "k_", ms=12, mew=2, label="plain weights, exact")
    left.plot(at, [r.share_plain for r in rows], "s", mfc="none", label="plain weights, as the samples say")
    left.plot(at, [r.share for r in rows], "o", label="annealed")
    left.axhline(0.5, color="0.8", lw=0.8)
    left.set(ylabel="effective share", ylim=(-0.03, 1.03))
    right.plot(at, [1e3 * abs(r.error_plain) for r in rows], "s", color="C0", mfc="none", label="plain weights")
    right.plot(at, [1e3 * abs(r.error) for r in rows], "o", color="C1", label="annealed")
    right.plot(at, [1e3 * r.stderr for r in rows], "_", ms=12, color="C1", label="its standard error")
    right.axhline(0.2, color="0.8", lw=0.8)
    right.set(ylabel="|error of Phi| / meV per site", yscale="log")
    for ax in axes:
        ax.set_xticks(at, [f"{100 * r.off:.0f} %, {r.seed}" for r in rows], rotation=90, fontsize=8)
        ax.set_xlabel("ECIs off by, draw")
        ax.legend(frameon=False, fontsize=8)


PARTS = {f.__name__: f for f in (random, annealed, vectors, bands, anew)}
PICTURES = {
    "random": (draw_random, "reweighted.png", (9.0, 3.6)),
    "annealed": (draw_annealed, "annealed.png", (9.0, 3.8)),
    "bands": (draw_bands, "posterior_bands.png", (11.0, 4.6)),
}


def picture(name: str, found: Any, folder: Path) -> None:
    import matplotlib.pyplot as plt

    draw, file, size = PICTURES[name]
    figure, axes = plt.subplots(1, 2, figsize=size, layout="constrained")
    draw(found, axes)
    figure.savefig(folder / file, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=PARTS, default=[*PARTS])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--pictures", type=Path, help="a folder, such as docs/figures")
    args = parser.parse_args()
    warnings.simplefilter("ignore", LowSampleSize)
    warnings.simplefilter("ignore", NotConverged)
    for name in args.only:
        found = PARTS[name](args.quick)
        if args.pictures and name in PICTURES:
            picture(name, found, args.pictures)
