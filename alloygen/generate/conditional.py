"""Fixed sites: the likelihood of what is held, and the free energy that holding it costs."""

from __future__ import annotations

import numpy as np
import torch

from alloygen.arrays import as_array, as_tensor
from alloygen.conditions.record import Condition
from alloygen.errors import AlloygenError
from alloygen.estimate.result import Estimate
from alloygen.estimate.weights import log_mean
from alloygen.models.base import AnyOrder, path_log_prob
from alloygen.models.blocks import by_blocks
from alloygen.models.draw import trained_orders
from alloygen.orders import known_first
from alloygen.results.ensemble import Ensemble
from alloygen.types import ArrayLike


@torch.no_grad()
def log_p_fixed(
    model: AnyOrder,
    known: torch.Tensor | ArrayLike,
    condition: Condition,
    orders: int = 64,
    generator: torch.Generator | None = None,
) -> Estimate:
    """The model's log p(x_fixed), in nats: one pass over the fixed sites, averaged over orders of them.

        p(x_S) ~ mean over orders of prod_t q(x_s(t) | x_s(<t)),    t over S

    A marginal costs nothing extra where the fixed sites come first. It is exact for a perfect model; :func:`constraint` is exact for
    any. ``known`` (N,) holds species, -1 where free.

    Examples
    --------
    >>> import alloygen
    >>> model = alloygen.load("cuau_2x2x4")
    >>> known = torch.full((16,), -1)
    >>> log_p_fixed(model, known, model.hamiltonian.condition(900.0, [0.0, 0.02])).value  # nothing is fixed
    0.0
    """
    known = as_tensor(known)
    count = int((known >= 0).sum())
    if not count:
        return Estimate(0.0, 0.0, "no site is fixed")
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    order = known_first(trained_orders(model, orders, generator), (known >= 0).expand(orders, -1))
    occ = known.clamp_min(0).expand(orders, -1)
    part = lambda x, c, s: path_log_prob(model.log_conditionals(x, c, s)[:, :count], x, s[:, :count])  # noqa: E731
    found = log_mean(as_array(by_blocks(part, occ, condition.expand(orders), order)))
    return Estimate(found.value, found.stderr, found.note)


def constraint(fixed: Ensemble, free: Ensemble) -> tuple[Estimate, Estimate]:
    """What a constraint costs, from draws with it and without it: ``(log p(x_fixed), free energy -kT log p(x_fixed))``.

        log p(x_fixed) = log Z_fixed - log Z,     Z_fixed = sum over the free sites of exp(-beta H)

    in nats and in the energy unit per supercell, exact for any model, errors added in quadrature.

    Examples
    --------
    >>> import alloygen
    >>> from ase.build import bulk
    >>> atoms = bulk("Cu", a=3.8).repeat((2, 2, 4))
    >>> held = alloygen.sample(atoms, 900, {"Au": 0.02}, n=1000, fixed={0: "Au"}, seed=0)
    >>> free = alloygen.sample(atoms, 900, {"Au": 0.02}, n=1000, seed=1)
    >>> log_p, energy = constraint(held, free)
    >>> bool(abs(log_p.value - np.log(free.composition("Au").value)) < 0.1)      # one site: log of the composition
    True
    """
    same = fixed.hamiltonian.fingerprint == free.hamiltonian.fingerprint and fixed.n_sites == free.n_sites
    if not same or fixed.T != free.T or not np.allclose(fixed.mu, free.mu):
        raise AlloygenError(f"expected ensembles of one supercell, T and mu, got {fixed!r} and {free!r}")
    a, b = fixed.free_energy(), free.free_energy()
    size = fixed.n_sites
    energy = Estimate((a.value - b.value) * size, float(np.hypot(a.stderr, b.stderr)) * size, a.note or b.note)
    return Estimate(-energy.value / fixed.kT, energy.stderr / fixed.kT, energy.note), energy
