"""Sequential Monte Carlo along the windows of out-painting: free energies of cells that are too large for plain weights.

After window w the weight of a configuration gains what the window's sites cost, by the clusters that are decided so far,

    log w += -[u_w(x) - u_{w-1}(x)] - log q_w(x_new(w) | x_filled),      u_w = beta (E of the decided clusters - mu.N of the decided sites)

and where the weights of a group get uneven it is resampled before the next window follows (Naesseth, Lindsten and Schoen, NeurIPS 2014;
Doucet and Johansen, Handbook of Nonlinear Filtering (2011)). E[w] = Z at the end, with or without. Plain weights have a NESS that falls exponentially
with the number of windows; resampled ones have a variance of log Z that grows in proportion to it. The groups ("islands") stay independent
of one another, which is what error bars are made of; the draws within a group are not, as they share ancestors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from alloygen.arrays import as_array
from alloygen.conditions.record import Condition
from alloygen.estimate.result import Estimate
from alloygen.estimate.weights import log_mean_of_islands, ness
from alloygen.generate.annealed import require_islands, resample
from alloygen.generate.outpaint import Outpainter
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.runtime.progress import tqdm


@dataclass(frozen=True)
class Sequential:
    """occ (n, N) int8; log_w (n,), E[w] = Z; islands: groups of n / islands rows; ness (W,) after each window; resampled: windows at which a
    group was; kT in the energy unit."""

    occ: np.ndarray
    log_w: np.ndarray
    islands: int
    ness: np.ndarray
    resampled: int
    kT: float

    def log_z(self) -> Estimate:
        """log Z from the mean weight of all, its error from the spread of the islands, of which four are needed."""
        found = log_mean_of_islands(self.log_w, self.islands)
        return Estimate(found.value, found.stderr, found.note)

    def phi(self) -> Estimate:
        """Phi = -kT log Z / N per site, in the energy unit."""
        z, scale = self.log_z(), self.kT / self.occ.shape[1]
        return Estimate(-scale * z.value, scale * z.stderr, z.note)


def sequential(
    painter: Outpainter,
    condition: Condition,
    n: int,
    generator: torch.Generator,
    islands: int = 16,
    known: torch.Tensor | None = None,
    progress: bool = False,
) -> Sequential:
    """Fill n configurations of the painter's target window by window, resampled within ``islands`` groups.

    Parameters
    ----------
    painter : Outpainter; condition : a single one
    islands : groups of equal size, at least four for an error; known : (N,) species of fixed sites, -1 elsewhere

    Examples
    --------
    >>> import alloygen, alloygen.data
    >>> painter = Outpainter(alloygen.load("cuau_2x2x4"), alloygen.data.cuau().on((2, 2, 12)))
    >>> made = sequential(painter, painter.target.condition(900.0, [0.0, 0.02]), 256, torch.Generator().manual_seed(0))
    >>> made.occ.shape, bool(made.log_z().stderr < 0.2)
    ((256, 48), True)
    >>> bool(made.phi().stderr < 1e-3)                                        # eV per site
    True
    """
    require_islands(islands, n)
    h, kT = painter.target, float(condition.kT)
    site_mu = h.site_mu(condition.mu[None])[0]
    state = painter.blank(n, known)
    log_w = (-h.constant - _cost(h, state, torch.nonzero(state[0] >= 0)[:, 0], site_mu)) / kT
    rng = np.random.default_rng(int(torch.randint(2**31, (1,), generator=generator)))
    found, times = [], 0
    for _, new, gained in tqdm(
        painter.fill(state, condition, generator), total=len(painter.windows), desc="windows", disable=not progress
    ):
        log_w -= _cost(h, state, new, site_mu) / kT + as_array(gained)
        found.append(ness(log_w))
        rows = resample(log_w, islands, rng) if len(found) < len(painter.windows) else None
        if rows is not None:
            state[:] = state[rows]
            times += 1
    return Sequential(as_array(state, np.int8), log_w, islands, np.array(found), times, kT)


def _cost(h: Hamiltonian, state: torch.Tensor, new: torch.Tensor, site_mu: torch.Tensor) -> np.ndarray:
    """(B,): what the sites ``new`` (k,) add to E - mu.N of the decided sites of ``state`` (B, N), clusters with undecided sites left out."""
    rank = torch.where(state >= 0, -1, len(new))
    rank[:, new] = step = torch.arange(len(new)).expand(len(state), -1)
    sites = new.expand(len(state), -1)
    energies = h.species_energies(h.fields(state.clamp_min(0), rank, sites, step), sites) - site_mu[sites]
    return as_array(torch.gather(energies, 2, state[:, new, None])[..., 0].sum(1))
