"""A ternary lattice gas on fcc with pairs of nearest neighbours, of which every state is known on small cells, and draws from its exact law."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from itertools import combinations_with_replacement

import numpy as np

from alloygen.exact.enumeration import Enumeration
from alloygen.hamiltonian.expansion import ClusterExpansion, Orbit
from alloygen.lattice import Primitive
from alloygen.results.scan import Scan

FCC = 0.5 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]])
NEAR = [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, -1, 0), (0, 1, -1), (1, 0, -1)]
LOPSIDED = {("Cu", "Cu"): 0.013, ("Cu", "Au"): -0.021, ("Cu", "Pd"): -0.008, ("Au", "Pd"): 0.017, ("Pd", "Pd"): -0.004}
PATCHY = {("Cu", "Au"): 0.030, ("Cu", "Pd"): 0.026, ("Au", "Pd"): 0.034}  # unlike neighbours cost energy: three phases


def pairs(
    w: Mapping[tuple[str, str], float], species=("Cu", "Au", "Pd"), primitive: Primitive | None = None, near=NEAR
) -> ClusterExpansion:
    """E = sum of w[a, b] over the pairs of neighbours a, b (either way round), by functions that are 1 for an element."""
    primitive = primitive or Primitive(FCC, [[0, 0, 0]], [tuple(species)])
    bonds = np.array([[(0, 0, 0, 0), (*v, 0)] for v in near])
    index, orbits = primitive.elements.index, []
    for a, b in combinations_with_replacement(species, 2):
        eci = w.get((a, b), w.get((b, a), 0.0))
        both = [(index(a), index(b)), (index(b), index(a))] if a != b else [(index(a), index(a))]
        if eci:
            members = np.concatenate([bonds] * len(both))
            which = np.repeat(both, len(bonds), 0)
            orbits.append(Orbit(f"{a}{b}", eci, members, which, np.ones(len(members))))
    return ClusterExpansion(primitive, np.eye(len(primitive.elements)), tuple(orbits), name="pairs")


@cache
def lopsided() -> Enumeration:
    """All 6,561 states of 8 sites."""
    return Enumeration(pairs(LOPSIDED).on((2, 2, 2)))


def exact_free_energies(e: Enumeration, T: float) -> dict[tuple[int, ...], float]:
    """F per site at each composition, by sums over all states."""
    h = e.hamiltonian
    counts, row = np.unique(np.rint(e.counts).astype(int), axis=0, return_inverse=True)
    beta, row = 1.0 / (h.kB * T), row.ravel()
    top = -beta * e.energy.min()
    z = np.bincount(row, np.exp(-beta * e.energy - top))
    return dict(zip(map(tuple, counts.tolist()), (-(np.log(z) + top) / (beta * h.n_sites)).tolist(), strict=True))


def exact_scan(e: Enumeration, T: float, mu: np.ndarray, n: int, seed: int) -> Scan:
    """Independent draws, n at each row of mu (C, n_elements), from the law itself with their likelihoods, as a model without a flaw makes them."""
    h, rng = e.hamiltonian, np.random.default_rng(seed)
    log_p = -(e.energy[None] - mu @ e.counts.T) / (h.kB * T)
    log_p -= np.logaddexp.reduce(log_p, axis=1)[:, None]
    rows = np.stack([rng.choice(len(e), n, p=np.exp(p)) for p in log_p])
    return Scan(
        h, np.full(len(mu), T), mu, e.occ[rows], e.energy[rows], 0, "exact draws", np.take_along_axis(log_p, rows, 1)
    )
