"""What the tests share beside ``alloygen.testing``: short names for its systems, random weights for models, yardsticks for hulls and Phi."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from functools import cache

import numpy as np
import torch
from scipy import optimize

import alloygen.data
from alloygen.exact.enumeration import Enumeration
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.runtime.tensors import read_tensors
from alloygen.testing import enumerable

CUAU_HULL = {0: 0.0, 16: -0.034167194, 32: -0.036182488, 48: -0.018754351, 64: 0.0}  # eV per site, by N_Au of 64


def grouped(options: Mapping, **records: type) -> dict:
    """Options by name, those that are fields of a record put into it: ``grouped(kw, bins=Bins, schedule=Schedule)``."""
    out = dict(options)
    for name, kind in records.items():
        mine = {f.name: out.pop(f.name) for f in fields(kind) if f.name in out}
        out |= {name: kind(**mine)} if mine else {}
    return out


def hamiltonian(name: str) -> Hamiltonian:
    return enumerable(name).hamiltonian


def enumeration(name: str) -> Enumeration:
    return enumerable(name).enumeration


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


def same_weights(a, b) -> bool:
    """Do two files hold the same tensors, bit for bit?"""
    one, two = read_tensors(a)[0], read_tensors(b)[0]
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


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


def recipe(start: dict, **changes) -> dict:
    """A training configuration with settings changed, each in the section that has it; whole sections by their names are merged."""
    from alloygen.training.config import OBJECTIVES, SECTIONS
    from alloygen.training.sections import MachineConfig, TrainingConfig

    out = {k: dict(v) if isinstance(v, dict) else v for k, v in start.items()}
    kinds = {k.kind: k for k in OBJECTIVES}
    out.setdefault("objective", {})
    out["objective"] |= changes.pop("objective", {})
    places = (kinds[out["objective"].get("kind", "likelihood")], TrainingConfig, MachineConfig)
    for key, value in changes.items():
        title = key if key in SECTIONS else next(s.title for s in places if key in {f.name for f in fields(s)})
        out[title] = {**out.get(title, {}), **(value if key in SECTIONS else {key: value})}
    return out
