"""Where a model is judged, and the Monte Carlo samples that it is judged by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product

import numpy as np

from alloygen.arguments import one_of
from alloygen.conditions import exchangeable, grid, references, relative
from alloygen.conditions.record import Condition
from alloygen.data import grids
from alloygen.edge.problem import AtomsLike, HamiltonianLike, Problem
from alloygen.errors import AlloygenError, BadCondition
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.models.base import Model
from alloygen.runtime.job import Job
from alloygen.types import Temperatures

N_T, N_MU = 11, 9  # of the grid over a model's own range: as many as in the published one of CuAu


@dataclass
class Reference:
    """Monte Carlo samples at the conditions of a grid: occ (C, n, N), energy (C, n)."""

    occ: np.ndarray
    energy: np.ndarray


def named_grid(name: str, hamiltonian: Hamiltonian) -> Condition:
    """The conditions of a published grid (:func:`alloygen.data.grids`) for a model of its system.

    Raises AlloygenError for another name, and for a Hamiltonian of other elements.

    Examples
    --------
    >>> import alloygen
    >>> at = named_grid("cuau", alloygen.data.cuau().on((2, 2, 4)))
    >>> len(at), at[9].mu.tolist()
    (110, [0.0, 0.24])
    """
    one_of(name, "the grid", tuple(grids()))
    found = grids()[name]
    if set(exchangeable(hamiltonian.lattice)) != {found.element, found.other}:
        raise AlloygenError(
            f"expected a model of {found.other} and {found.element} for the grid {name!r}, got one of {', '.join(hamiltonian.elements)}; "
            "leave the grid out for the model's own range"
        )
    T, difference = found.pairs()
    mu = np.zeros((len(T), len(hamiltonian.elements)))
    mu[:, hamiltonian.elements.index(found.element)] = difference
    return hamiltonian.condition(T, mu)


def model_grid(
    model: Model, T: Temperatures | None = None, mu: Mapping[str, float | Sequence[float]] | None = None
) -> Condition:
    """Every T with every mu, over the range that a model was trained on where none are given.

    T : temperatures; 11 over the range if not given
    mu : numbers by element, every one combined with those of the others, 0 for elements that are not named; if not given about
        nine in all over the ranges of the elements, each counted from its reference (:func:`alloygen.conditions.references`)

    Examples
    --------
    >>> import alloygen
    >>> at = model_grid(alloygen.load("cuau_2x2x4"))
    >>> len(at), at[0], at[8], float(at.T[-1])
    (99, Condition(T=190.0, mu=[0.0, -0.25]), Condition(T=190.0, mu=[0.0, 0.25]), 1230.0)
    """
    lattice = model.hamiltonian.lattice
    coldest, hottest = model.ranges["T"]
    T = np.unique(np.linspace(coldest, hottest, N_T)) if T is None else T
    if mu is None:
        mu = _own_potentials(model)
    elif not isinstance(mu, Mapping):
        raise BadCondition(f"expected mu by element, such as {{'Au': [-0.1, 0.0, 0.1]}}, got {mu!r}")
    numbers = [np.atleast_1d(np.asarray(v, dtype=float)).tolist() for v in mu.values()]
    every = grid(T, [dict(zip(mu, values, strict=True)) for values in product(*numbers)], lattice)
    return every.condition(model.hamiltonian.kB)


def _own_potentials(model: Model) -> dict[str, list[float]]:
    """Numbers over the trained range of each element that has one of its own."""
    lattice, reference = model.hamiltonian.lattice, references(model.hamiltonian.lattice)
    ranges = {
        e: model.ranges["mu"][k - 1]
        for k, e in enumerate(lattice.elements)
        if reference[k] != k and e in exchangeable(lattice)
    }
    n = max(2, round(N_MU ** (1 / max(len(ranges), 1))))
    return {e: np.unique(np.linspace(low, high, n)).tolist() for e, (low, high) in ranges.items()}


def reference_samples(
    atoms: AtomsLike,
    at: Condition,
    n: int,
    *,
    hamiltonian: HamiltonianLike | None = None,
    seed: int = 0,
    dT: float | None = None,
    dmu: float | None = None,
    job: Job | None = None,
) -> Reference:
    """``n`` samples of replica exchange at each of the conditions ``at`` (C,).

    The temperatures between and above them are chosen automatically; with dT and dmu (a binary's) the grid is refined so that
    neighbours are at most so far apart instead. ``atoms`` and ``hamiltonian`` as in :func:`alloygen.sample`, mostly the Hamiltonian of a
    model, on whose sites the samples then are. What a Problem holds stays held.
    """
    from alloygen.montecarlo.sampling import replica_exchange
    from alloygen.montecarlo.tempering import ladder

    problem = Problem.of(atoms, None, hamiltonian)
    h, start = problem.hamiltonian, problem.start(seed=seed)
    placed = problem if start is None else replace(problem, given=start[:1])
    job, at = job or Job(), h.condition(at.T, at.mu)
    T, mu = at.arrays()
    if dT is None or dmu is None:
        asked = h.grid(T, np.unique(mu, axis=0))
        every = replace(asked, T=ladder(placed, asked, seed=seed, job=job))
    else:
        fine = refined(np.unique(difference(h, mu)), dmu)
        table = np.zeros((len(fine), len(h.elements)))
        table[:, h.elements.index(exchangeable(h.lattice)[-1])] = fine
        every = h.grid(refined(np.unique(T), dT), table)
    s = replica_exchange(placed, every, n, sweeps=10, burn=300, seed=seed, job=job, check=False)
    row = np.abs(relative(every.mu, h.lattice)[None] - relative(mu, h.lattice)[:, None]).max(-1).argmin(1)
    index = np.abs(every.T - T[:, None]).argmin(1) * len(every.mu) + row
    return Reference(s.occ[index], s.energy[index])


def difference(h: Hamiltonian, mu: np.ndarray) -> np.ndarray:
    """mu(last) - mu(first) of two exchangeable elements."""
    first, last = (h.elements.index(e) for e in exchangeable(h.lattice))
    return mu[..., last] - mu[..., first]


def refined(values: np.ndarray, step: float) -> np.ndarray:
    """Sorted ``values`` with as many more between them that neighbours are at most ``step`` apart."""
    parts = [np.linspace(a, b, int(np.ceil((b - a) / step - 1e-9)) + 1)[:-1] for a, b in pairwise(values)]
    return np.concatenate([*parts, values[-1:]])
