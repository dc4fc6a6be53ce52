"""Samples around held sites whose species are not what the law would have put there."""

from __future__ import annotations

import torch

from alloygen.arrays import as_array, as_tensor
from alloygen.conditions.record import Condition
from alloygen.hamiltonian.cluster import Hamiltonian

COOLING = ((4.0, 20), (2.0, 20), (1.4, 30), (1.0, 60))  # (T above that of the sample, sweeps)


def around_foreign(
    h: Hamiltonian, occ: torch.Tensor, condition: Condition, known: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """The first of the configurations (n, N), one for each of the conditions (m,), with the species of the last m of them (every second
    one: random species) on the ``known`` sites (N,), and the other sites equilibrated around them by flips."""
    from alloygen.montecarlo.chains import Chains

    n = len(condition)
    species = occ[-n:].clone()
    species[::2] = h.random(len(species[::2]), generator)
    start = torch.where(known, species, occ[:n])
    seed = int(torch.randint(2**31, (1,), generator=generator))
    if not (~as_array(known) & h.lattice.changeable).any():
        return start
    chains = Chains(h, condition, seed, occ=start, known=as_array(torch.where(known, species, -1)))
    for factor, sweeps in COOLING:
        chains.beta[:] = 1.0 / (h.kB * chains.T * factor)
        chains.step(sweeps)
    return as_tensor(chains.walkers.occ)
