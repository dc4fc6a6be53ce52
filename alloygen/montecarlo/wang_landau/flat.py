"""Samples of a density of states: a chain with the weight 1 / g, flat in energy, and what it says at every temperature."""

from __future__ import annotations

import numpy as np

from alloygen.arguments import seed_from, whole_number
from alloygen.montecarlo.rng import seeds
from alloygen.montecarlo.wang_landau.bins import Plan, level_jumps, new_walks
from alloygen.montecarlo.wang_landau.kernels import Rules
from alloygen.results.density import DensityOfStates
from alloygen.results.ensemble import Ensemble
from alloygen.results.provenance import Provenance
from alloygen.types import Temperatures


def multicanonical(
    density: DensityOfStates, n: int, sweeps: int = 10, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``n`` configurations of one chain with the weight 1 / g: flat in energy, of use at every temperature.

    The weight of a configuration at temperature T is exp(log_g - energy / kT) up to a constant, for any log g,
    exact or not (Berg and Neuhaus, Phys. Rev. Lett. 68, 9 (1992)).

    Returns occ (n, N) int8, energy (n,) = E - mu.N, and log_g (n,) of their bins; ``sweeps`` between two. The chain
    does not enter bins that the density of states does not know.

    Raises AlloygenError for n or sweeps below 1.

    Examples
    --------
    >>> from alloygen.hamiltonian.ising import ising
    >>> from alloygen.montecarlo.wang_landau import Schedule, wang_landau
    >>> occ, energy, log_g = multicanonical(wang_landau(ising(4), schedule=Schedule(log_f_final=1e-3)), 100)
    >>> occ.shape, bool(energy.min() < -20 < 20 < energy.max())
    ((100, 16), True)
    """
    n, sweeps, seed = whole_number(n, "n"), whole_number(sweeps, "sweeps"), seed_from(seed)
    d, h, bins, sites = density, density.hamiltonian, density.bins, density.problem.free
    rules = Rules(
        sites=sites,
        jump=np.zeros(0, np.int64),
        origin=bins.origin,
        width=bins.width,
        levels=bins.levels,
        check=sweeps * len(sites),
        flatness=0.5,
        one_over_t=False,
        final=-1.0,
        limit=2**62,
        transitions=False,
    )  # fmt: skip; log f is 0 and stays so
    plan = Plan(d.problem, d.mu, d.move, rules, n_bins=int(bins.index[-1]) + 1)
    plan.rules = rules._replace(jump=level_jumps(plan, bins.width, bins.levels))
    w = new_walks(plan, d.occ[None], 0.0, seeds(seed, 1), bins.index[[0, -1]][None])
    w.log_g[:] = np.inf
    w.log_g[0, bins.index] = d.log_g - d.log_g.min()
    occ, energy = np.empty((n, h.n_sites), dtype=np.int8), np.empty(n)
    for k in range(n):
        plan.kernel(plan.tables, w, 0, plan.rules, 1)
        occ[k], energy[k] = w.occ[0], w.energy[0]
    return occ, energy, d.log_g[np.searchsorted(bins.index, bins.of(energy))]


def multicanonical_ensembles(
    density: DensityOfStates, T: Temperatures, n: int = 1000, sweeps: int = 10, seed: int = 0
) -> list[Ensemble]:
    """One multicanonical chain weighted to each temperature of ``T``: an :class:`Ensemble` with averages, errors, atoms.

    The weights are exp(log_g - energy / kT), known up to a constant; the free energy is that of the density of states.

    Examples
    --------
    >>> from alloygen.hamiltonian.ising import ising
    >>> from alloygen.montecarlo.wang_landau import Schedule, wang_landau
    >>> hot, cold = multicanonical_ensembles(wang_landau(ising(4), schedule=Schedule(log_f_final=1e-3)), [5.0, 2.0])
    >>> hot.mean_energy().value > -1.0 > cold.mean_energy().value
    True
    """
    seed = seed_from(seed)
    occ, energy, log_g = multicanonical(density, n, sweeps, seed)
    h = density.hamiltonian
    bare = h.energy(occ)
    return [
        Ensemble(h, occ, bare, None, float(t), density.mu, "multicanonical", density.problem.atoms_map, chains=1, log_w=log_g - energy / (h.kB * t),
                 info={"seed": seed}, facts=Provenance(seed=seed, free_energy=density.phi(float(t)) if np.isfinite(density.log_states) else None))
        for t in np.atleast_1d(np.asarray(T, dtype=float))
    ]  # fmt: skip
