"""What the tests of Wang-Landau share: runs of the small systems, their exact averages, deviations in standard errors."""

from __future__ import annotations

from operator import attrgetter

import numpy as np
from scipy.special import logsumexp
from small_systems import enumeration, grouped, hamiltonian

from alloygen.montecarlo.wang_landau import Bins, Schedule, wang_landau

ARRAYS = ("energy", "variance", "log_g", "log_g_stderr", "walks.log_g", "visits")


def same(a, b) -> bool:
    arrays = (attrgetter(k) for k in ARRAYS)
    return all(np.array_equal(f(a), f(b), equal_nan=True) for f in arrays) and a.ended.log_f == b.ended.log_f


def grand(name, mu) -> np.ndarray:
    """E - mu.N of every state."""
    return enumeration(name).energy - enumeration(name).counts @ np.asarray(mu)


def truth(energy, kT: float, n: int) -> dict[str, float]:
    """Exact averages per site of states of these energies; written out, with kB = kT / T left to the caller."""
    log_z = logsumexp(-energy / kT)
    p = np.exp(-energy / kT - log_z)
    mean = p @ energy
    return {"phi": -kT * log_z / n, "energy_mean": mean / n, "heat_capacity": p @ (energy - mean) ** 2 / kT**2 / n,
            "entropy": (mean / kT + log_z) / n}  # fmt: skip


def deviations(dos, energy, temperatures, names=("phi", "energy_mean")) -> np.ndarray:
    """(estimate - exact) in standard errors."""
    h, out = dos.hamiltonian, []
    for T in temperatures:
        exact = truth(energy, h.kB * T, h.n_sites)
        for name in names:
            estimate, scale = getattr(dos, name)(T), h.kB if name in ("heat_capacity", "entropy") else 1.0
            out.append((estimate.value - scale * exact[name]) / estimate.stderr)
    return np.array(out)


def run(name, mu, seed=0, attempts=4e6, walkers=8, **kw):
    """By 1/t, with what else there is to set by its own name."""
    kw = dict(kind="1/t", check=1000, max_attempts=attempts) | kw
    return wang_landau(hamiltonian(name), mu, walkers=walkers, seed=seed, **grouped(kw, bins=Bins, schedule=Schedule))
