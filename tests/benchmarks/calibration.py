"""Are the error bars honest? z-scores against exact answers, for every sampler. Run: python tests/benchmarks/calibration.py

A standard deviation of 1 is right; above 1 the error bars are too small. Each line has at least 100 conditions.
"""

import sys
import warnings
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from small_systems import SYSTEMS, hamiltonian

import alloygen.data
from alloygen.exact.enumeration import Enumeration
from alloygen.hamiltonian.ising import ising
from alloygen.montecarlo.metadynamics import metadynamics
from alloygen.montecarlo.sampling import cluster_moves, metropolis, replica_exchange
from alloygen.montecarlo.wang_landau import wang_landau

warnings.simplefilter("ignore")
SEEDS = 12


def of(scan, tables) -> dict[str, list[float]]:
    """z-scores of energy, composition, heat capacity and (where absolute) free energy at each finite temperature."""
    out: dict[str, list[float]] = {}
    for c in np.flatnonzero(np.isfinite(scan.T)):
        ens, truth, h = scan[int(c)], tables.at(scan.T[c], scan.mu[c]), scan.hamiltonian
        pairs = {
            "energy": (ens.mean_energy(), truth.energy),
            "heat capacity": (ens.heat_capacity(), truth.heat_capacity),
        }
        pairs["composition"] = (ens.composition(h.elements[1]), truth.composition[1])
        if scan.absolute:
            pairs["free energy"] = (ens.free_energy(), truth.phi)
        for name, (got, exactly) in pairs.items():
            out.setdefault(name, []).append((got.value - exactly) / got.stderr)
    return out


def merge(total: dict, part: dict) -> None:
    for name, z in part.items():
        total.setdefault(name, []).extend(z)


def report(sampler: str, found: dict) -> None:
    for name, z in found.items():
        z = np.array(z)
        print(
            f"{sampler:34s} {name:16s} {len(z):5d} conditions, z-scores: std {z.std():.2f}, mean {z.mean():+.2f}, largest {np.abs(z).max():.1f}",
            flush=True,
        )


def swaps(name: str, seed: int) -> dict:
    """Energies at fixed composition against the canonical law."""
    h, table = hamiltonian(name), Enumeration(hamiltonian(name))
    occ = torch.tensor([k % 2 for k in range(h.n_sites)])
    same = (table.counts == h.counts(occ[None]).numpy()).all(1)
    z = []
    for T in SYSTEMS[name].T:
        e = metropolis(h, [T], n=600, move="swap", occ=occ, sweeps=2, seed=seed, check=False)[0].mean_energy()
        w = np.exp(-(table.energy[same] - table.energy[same].min()) / (h.kB * T))
        z.append((e.value - w @ table.energy[same] / w.sum() / h.n_sites) / e.stderr)
    return {"energy": z}


def main() -> None:
    names = ["ising-3", "cuau-2x2x2", "cuau-skew", "cuau-1x2x4", "ternary"]
    tables = {n: Enumeration(hamiltonian(n)) for n in names}
    found: dict[str, dict] = {
        "Metropolis flips": {},
        "Metropolis swaps": {},
        "replica exchange": {},
        "Swendsen-Wang": {},
        "Wolff": {},
    }
    small = ising(4, h=0.1)
    small_table = Enumeration(small)
    for seed in range(SEEDS):
        for n in names:
            s = SYSTEMS[n]
            T, mu = (x.numpy() for x in s.conditions())
            merge(
                found["Metropolis flips"],
                of(metropolis(hamiltonian(n), T, mu, 800, sweeps=2, seed=seed, check=False), tables[n]),
            )
            hot = [*s.T, 2.5 * max(s.T), np.inf]
            merge(
                found["replica exchange"],
                of(replica_exchange(hamiltonian(n), hot, s.mu, 800, sweeps=2, seed=seed, check=False), tables[n]),
            )
        for n in names:
            merge(found["Metropolis swaps"], swaps(n, seed))
        for title, kind in (("Swendsen-Wang", "swendsen-wang"), ("Wolff", "wolff")):
            T, mu = np.linspace(1.6, 3.4, 10), [0.0, 0.05]
            merge(
                found[title],
                of(cluster_moves(small, T, mu, 2000, sweeps=2, kind=kind, seed=seed, check=False), small_table),
            )
    for sampler, z in found.items():
        report(sampler, z)
    free_energies()


def free_energies() -> None:
    """Wang-Landau and metadynamics on CuAu 2x2x4."""
    h = alloygen.data.cuau().on((2, 2, 4))
    table, T = Enumeration(h), np.arange(200.0, 1201.0, 100.0)
    z = []
    for seed in range(SEEDS):
        g = wang_landau(h, mu=[0.0, 0.02], width=2e-4, walkers=8, max_attempts=40_000_000, schedule="1/t", seed=seed)
        z += [(g.phi(t).value - table.at(t, [0.0, 0.02]).phi) / g.phi(t).stderr for t in T]
    report("Wang-Landau (8 walkers)", {"free energy": z})
    exactly = (
        np.array(
            [
                [
                    -h.kB * t * np.logaddexp.reduce(-table.energy[table.counts[:, 1] == n] / (h.kB * t))
                    for n in range(17)
                ]
                for t in T
            ]
        )
        / 16
    )
    z = []
    for seed in range(SEEDS):
        p = metadynamics(h, T, production=20_000, seed=seed)
        z += ((p.free_energy - exactly) / p.stderr)[p.stderr > 1e-9].tolist()  # neighbours of the pure ends are exact
    report("metadynamics", {"F(x)": z})


if __name__ == "__main__":
    main()
