"""Small Hamiltonians that every family of tests runs through, and the yardsticks that the statistical ones share.

All are lopsided on purpose (a field, uneven chemical potentials, odd ECIs): symmetric targets hide sign errors.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from scipy import optimize, stats

import alloygen.data
from alloygen.exact.enumeration import Enumeration
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.hamiltonian.expansion import ClusterExpansion, Orbit
from alloygen.hamiltonian.ising import ising
from alloygen.lattice import Primitive

FCC = 0.5 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]])
PAIR = [[0, 0, 0], [0.5, 0.5, 0.5]]
CUAU_HULL = {0: 0.0, 16: -0.034167194, 32: -0.036182488, 48: -0.018754351, 64: 0.0}  # eV per site, by N_Au of 64


def random_expansion(cell, basis, species, seed: int, orders=(0, 1, 2, 3), size: float = 0.02) -> ClusterExpansion:
    """An expansion nobody would fit: clusters, site functions, weights and ECIs all at random, with no symmetry."""
    rng = np.random.default_rng(seed)
    primitive = Primitive(cell, basis, species)
    functions = rng.normal(size=(2, len(primitive.elements)))
    around = list(itertools.product((0, 1), (-1, 0, 1), (0, 1), range(len(primitive.basis))))
    orbits = []
    for order in orders:
        for k in range(2 if order else 1):
            clusters = 3
            members = [[around[i] for i in rng.choice(len(around), order, replace=False)] for _ in range(clusters)]
            members = np.array(members).reshape(clusters, order, 4)
            which = rng.integers(2, size=(clusters, order))
            orbits.append(Orbit(f"c{order}_{k}", size * rng.normal(), members, which, rng.random(clusters) + 0.5))
    return ClusterExpansion(primitive, functions, tuple(orbits), name=f"random {seed}")


@dataclass(frozen=True)
class System:
    """How to build a Hamiltonian, and conditions at which neither species nor any phase is alone."""

    build: callable
    T: tuple[float, ...]
    mu: tuple[tuple[float, ...], ...]

    def conditions(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Every T with every mu: (T (C,), mu (C, n_elements))."""
        T, mu = zip(*itertools.product(self.T, self.mu), strict=True)
        return torch.tensor(T, dtype=torch.float64), torch.tensor(mu, dtype=torch.float64)

    def ranges(self) -> dict:
        mu = np.array(self.mu)[:, 1:]
        return {"T": [min(self.T), max(self.T)], "mu": np.stack([mu.min(0), mu.max(0)], 1).tolist()}


CUAU = dict(T=(500.0, 900.0), mu=((0.0, -0.04), (0.0, 0.07)))
OWN = dict(T=(500.0, 900.0))
SYSTEMS = {
    "ising-3": System(lambda: ising(3, h=0.15), (2.3, 3.4), ((0.0, 0.1), (0.0, -0.5))),
    "cuau-2x2x2": System(lambda: alloygen.data.cuau().on((2, 2, 2)), **CUAU),
    "cuau-1x2x4": System(lambda: alloygen.data.cuau().on((1, 2, 4)), **CUAU),
    "cuau-skew": System(lambda: alloygen.data.cuau().on([[2, 0, 0], [1, 2, 0], [0, 1, 2]]), **CUAU),
    "ternary": System(
        lambda: random_expansion(FCC, [[0, 0, 0]], [("A", "B", "C")], 1).on((2, 3, 1)),
        mu=((0.0, -0.09, -0.03), (0.0, -0.15, 0.01)),
        **OWN,
    ),
    "two-sublattice": System(
        lambda: random_expansion(np.eye(3), PAIR, [("A", "B", "C"), ("X", "B")], 2).on((2, 2, 1)),
        mu=((0.0, 0.03, -0.02, 0.05), (0.0, -0.05, 0.04, -0.03)),
        **OWN,
    ),
    "spectator": System(
        lambda: random_expansion(np.eye(3), PAIR, [("A", "B"), ("O",)], 3).on((3, 2, 1)),
        mu=((0.0, -0.03, 0.0), (0.0, 0.01, 0.0)),
        **OWN,
    ),
    "many-body": System(
        lambda: random_expansion(FCC, [[0, 0, 0]], [("A", "B")], 4, orders=(0, 1, 2, 4, 5, 6)).on((2, 2, 2)),
        mu=((0.0, -0.04), (0.0, -0.12)),
        **OWN,
    ),
}


@cache
def hamiltonian(name: str) -> Hamiltonian:
    return SYSTEMS[name].build()


@cache
def enumeration(name: str) -> Enumeration:
    return Enumeration(hamiltonian(name))


@cache
def cuau_16() -> Enumeration:
    """All 65,536 configurations of CuAu on 2x2x4, the cell of the smallest model that ships."""
    return Enumeration(alloygen.data.cuau().on((2, 2, 4)))


def exact(name: str, T: float, mu) -> torch.Tensor:
    """p(x) of every state, in the order of ``enumeration(name).occ``; written out, not taken from ``at``."""
    e = enumeration(name)
    weight = -(torch.as_tensor(e.energy) - torch.as_tensor(e.counts) @ torch.as_tensor(mu)) / (hamiltonian(name).kB * T)
    return torch.softmax(weight, 0)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_orders(h: Hamiltonian, n: int, seed: int = 0) -> torch.Tensor:
    return torch.argsort(torch.rand(n, h.n_sites, generator=generator(seed)), 1)


def chi_square(counts, expected, constraints: int = 1) -> float:
    """p-value of observed counts under expected ones; bins expecting fewer than 5 are put together.

    constraints : how many sums of the counts were fixed beforehand
    """
    counts, expected = np.asarray(counts, dtype=float), np.asarray(expected, dtype=float)
    small = expected < 5
    if small.any():
        counts = np.append(counts[~small], counts[small].sum())
        expected = np.append(expected[~small], expected[small].sum())
    if expected[-1] < 1:  # what is left over is too rare to judge: it may go with its neighbour
        counts = np.append(counts[:-2], counts[-2:].sum())
        expected = np.append(expected[:-2], expected[-2:].sum())
    return float(stats.chi2.sf(((counts - expected) ** 2 / expected).sum(), len(expected) - constraints))


def lp_hull(counts, energy, at) -> np.ndarray:
    """The lowest energy of a mixture with composition ``at``, one linear program each: the slow, obvious way."""
    a = np.vstack([np.asarray(counts, dtype=float).T, np.ones(len(counts))])
    return np.array([optimize.linprog(energy, A_eq=a, b_eq=np.append(c, 1.0), method="highs").fun for c in at])


def randomise(model, seed: int = 0, scale: float = 0.3):
    """Fill what is initialised to zero: without this an untrained model is the bare physics and tests are vacuous."""
    g = generator(seed)
    with torch.no_grad():
        for p in model.parameters():
            if p.count_nonzero() == 0:
                p.normal_(std=scale, generator=g)
    return model.eval()


def awaken(net, lattice, ranges: dict):
    """The same for a masked network, which knows no physics: outputs of mean 0 and spread 1 over states and conditions."""
    randomise(net)
    with torch.no_grad():  # conditions enter by small weights
        if hasattr(net.condition, "net"):
            net.condition.net[-1].weight.mul_(4.0)
    g, n = generator(5), 256
    masked = torch.rand(n, lattice.n_sites, generator=g) < torch.rand(n, 1, generator=g)
    occ = (torch.rand(n, lattice.n_sites, generator=g) * torch.as_tensor(lattice.n_species)).long()
    (low, high), mu = ranges["T"], torch.tensor(ranges["mu"], dtype=torch.float64).reshape(-1, 2)
    T = low + torch.rand(n, generator=g).double() * (high - low)
    mu = mu[:, 0] + torch.rand(n, len(mu), generator=g) * (mu[:, 1] - mu[:, 0])
    heads = [net.head[-1]] if hasattr(net, "head") else [h for h in (net.site_head, net.marginal_head) if h is not None]

    def centre(layer, _, out):
        out = out.flatten(0, -2)
        layer.weight.div_(out.std(0)[:, None])
        layer.bias.copy_((layer.bias - out.mean(0)) / out.std(0))

    with torch.no_grad():
        hooks = [h.register_forward_hook(centre) for h in heads]
        net(torch.where(masked, int(lattice.n_species.max()), occ), T, mu)
    for h in hooks:
        h.remove()
    return net


@cache
def low_temperature_phi(h: Hamiltonian, T: float) -> float:
    """Phi of CuAu at mu = 0 by one and two flips out of L1_0 (6 variants) and L1_2 (4), connected clusters of flips (Domb 1960).

    log Z = log g - u_0 + sum_i s_i + sum_{i<j} (s_ij - s_i s_j) - sum_i s_i^2 / 2 + ...,    s = exp(-beta dE)
    """
    odd = np.rint(h.lattice.positions / np.unique(h.lattice.positions[:, 2].round(6))[1]).astype(int) % 2
    beta, n, parts = 1.0 / (h.kB * T), h.n_sites, []
    for g, gold in ((6, odd[:, 2] == 1), (4, (odd == 0).all(1))):
        ground = torch.as_tensor(gold).long()
        energy = h.energy(ground[None])[0]
        one = ground.repeat(n, 1)
        one[torch.arange(n), torch.arange(n)] ^= 1
        s = torch.exp(-beta * (h.energy(one) - energy))
        total = np.log(g) - beta * energy + s.sum() - (s**2).sum() / 2
        for species in (0, 1):  # sites of one species are alike
            i = int((ground == species).nonzero()[0, 0])
            two = one.clone()
            two[:, i] ^= 1
            pairs = torch.exp(-beta * (h.energy(two) - energy)) - s[i] * s
            total = total + int((ground == species).sum()) / 2 * (pairs.sum() - pairs[i])
        parts.append(total)
    return float(-torch.logsumexp(torch.stack(parts), 0) / (beta * n))
