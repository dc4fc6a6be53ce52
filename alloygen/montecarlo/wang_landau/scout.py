"""The pre-run of ``wang_landau``: which energies occur, and where the walks of each energy window start.

It cools down, heats through infinity to the highest energy, and then walks for a while at log f = 1.
"""

from __future__ import annotations

import numpy as np

from alloygen.errors import AlloygenError
from alloygen.montecarlo import moves
from alloygen.montecarlo.rng import seeds
from alloygen.montecarlo.walkers import make_walkers
from alloygen.montecarlo.wang_landau.bins import Plan, new_walks, set_bins
from alloygen.montecarlo.wang_landau.settings import Bins

EXPLORE, STEPS, SWEEPS = 1000, 40, 10  # looks at a walk at log f = 1; temperatures, sweeps at each
LOOK = 5  # sweeps between two looks


def scout(plan: Plan, start: np.ndarray | None, width: float | None, seed: int) -> tuple[np.ndarray, dict]:
    """(known (n_bins,) bool, {bin: occ}): the energies that occur and what was met; the plan gets the bins made for them."""
    h = plan.hamiltonian
    first = h.random(1, seed)[0] if start is None else start
    seen = _anneal(plan, first, seed)
    e = plan.energies(np.array(seen))
    set_bins(plan, e, width)
    known, found = _explore(plan, first, seed)
    known[plan.bin(e)] = True
    return known, {int(k): x for k, x in zip(plan.bin(e), seen, strict=True)} | found


def _anneal(plan: Plan, first: np.ndarray, seed: int) -> list[np.ndarray]:
    """Configurations on the way from ``first`` down to a low energy, and up to a high one, by Metropolis."""
    h, n = plan.hamiltonian, len(plan.rules.sites)
    scale = max(np.abs(plan.tables.value).max(), 1e-300)
    betas, seen = np.geomspace(0.3, 100.0, STEPS) / scale, [first.copy()]
    for sign, stream in zip((1.0, -1.0), seeds(seed, 2), strict=True):
        w = make_walkers(h, first[None], np.array([stream]))
        zero = np.zeros((1, len(h.elements)))
        for beta in sign * betas:
            for _ in range(SWEEPS):
                if plan.move.keeps_composition:
                    _signed_swaps(plan, w, beta, n)
                else:
                    moves.flips(plan.tables, w, 0, 1, np.array([beta]), zero, n, plan.rules.sites)
                seen.append(w.occ[0].copy())
    return seen


def _signed_swaps(plan: Plan, w, beta: float, n: int) -> None:
    """Swaps at beta of either sign: a negative one turns the energies round."""
    tables = plan.tables if beta > 0 else plan.tables._replace(value=-plan.tables.value)
    moves.swaps(tables, w, 0, 1, np.array([abs(beta)]), np.zeros((1, w.counts.shape[1])), n, plan.rules.sites)


def _explore(plan: Plan, first: np.ndarray, seed: int) -> tuple[np.ndarray, dict]:
    """(bins met (n_bins,), {bin: occ}) of a walk at log f = 1."""
    w = new_walks(plan, first[None], 1.0, seeds(seed, 3)[2:], np.array([[0, plan.n_bins - 1]]))
    rules = plan.rules._replace(
        check=LOOK * len(plan.rules.sites), flatness=2.0, one_over_t=False, final=-1.0, limit=2**62
    )
    found = {}
    for _ in range(EXPLORE):
        plan.kernel(plan.tables, w, 0, rules, 1)
        k = int(plan.bin(w.energy[0]))
        if k not in found:
            found[k] = w.occ[0].copy()
    return w.log_g[0] >= 0, found


# ---------------------------------------------------------------------- windows
def windows_of(plan: Plan, known: np.ndarray, bins: Bins) -> np.ndarray:
    """First and last bin of each of n windows (n, 2)."""
    energies, n, overlap = bins.energies, bins.windows, bins.overlap
    low, high = (0, plan.n_bins - 1) if energies is None else np.clip(plan.bin(energies), 0, plan.n_bins - 1)
    met = np.flatnonzero(known[low : high + 1]) + low
    if len(met) == 0:
        e = plan.centre(np.flatnonzero(known)[[0, -1]])
        raise AlloygenError(
            f"expected energies that occur, got {energies} where the pre-run found none between {e[0]:.6g} and {e[1]:.6g}. "
            "Widen them."
        )
    length = (met[-1] - met[0] + 1) / (1 + (n - 1) * (1 - overlap))
    first = met[0] + np.round(np.arange(n) * length * (1 - overlap)).astype(np.int64)
    out = np.stack([first, first + max(int(np.ceil(length)), 1) - 1], 1)
    out[0, 0], out[-1, 1] = low, high
    return out


def starts(
    plan: Plan, bounds: np.ndarray, walkers: int, found: dict, start: np.ndarray | None, seed: int
) -> np.ndarray:
    """Occupations (windows * walkers, N) to start from: ``start`` or random ones, in windows what the pre-run met."""
    h, rng = plan.hamiltonian, np.random.default_rng([seed, 1])
    whole = len(bounds) == 1 and bounds[0, 0] == 0 and bounds[0, 1] == plan.n_bins - 1
    if whole:
        if start is not None:
            return np.tile(start, (walkers, 1))
        return rng.integers(0, h.lattice.n_species, size=(walkers, h.n_sites)).astype(np.int8)
    out = []
    for low, high in bounds:
        inside = sorted(k for k in found if low <= k <= high)
        if not inside:
            e = plan.centre([low, high])
            raise AlloygenError(
                f"expected a start with an energy in the window {e[0]:.6g} to {e[1]:.6g}, the pre-run met none. "
                "Take fewer windows or wider `energies`."
            )
        out += [found[inside[int(rng.integers(len(inside)))]] for _ in range(walkers)]
    return np.array(out)
