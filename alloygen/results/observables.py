"""What is told of the configurations at one condition beside averages: correlations, order, histograms."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from alloygen.errors import AlloygenError, UnknownSpecies
from alloygen.estimate import correlation, order, thermo
from alloygen.estimate.result import Estimate
from alloygen.estimate.superstructure import SUPERSTRUCTURES
from alloygen.limits import require_memory
from alloygen.results import sites
from alloygen.results.averages import Averages
from alloygen.results.draws import Draws
from alloygen.types import ArrayLike

PAIR = 72  # bytes of one pair of sites while pairs are labelled by distance


def two_point(
    averages: Averages, distance: str = "shell", element: str | None = None
) -> tuple[np.ndarray, list[Estimate]]:
    """Connected two-point function of spins, see :meth:`alloygen.results.ensemble.Ensemble.two_point`."""
    draws = averages.draws
    lattice, free, held = draws.hamiltonian.lattice, draws.free, draws.exchanged
    if element is None and len(held) != 2:
        raise AlloygenError(f"expected element=, one of {held}, which is to be +1: these are more than two")
    n = lattice.n_sites
    near = "warren_cowley(n_shells) looks at near pairs alone; or take a smaller supercell"
    require_memory(PAIR * n**2, f"two_point of all {n}^2 pairs of sites", near)
    if distance == "manhattan":
        labels = correlation.manhattan_labels(lattice)
        distances = np.arange(labels.max() + 1)
    elif distance == "shell":
        labels, distances = correlation.shell_labels(lattice)
    else:
        raise AlloygenError(f"expected the distance 'shell' or 'manhattan', got {distance!r}")
    present, labels = np.unique(labels[np.ix_(free, free)], return_inverse=True)
    labels = labels.reshape(int(free.sum()), -1)
    spins = 2.0 * draws.holds(held[-1] if element is None else element)[:, free].astype(float) - 1.0
    length = draws.length if distance == "shell" else 1
    return distances[present] * length, correlation.connected(
        spins, labels, draws.known_log_weight, averages.inefficiency_of, 4.0 / len(labels)
    )


def warren_cowley(averages: Averages, n_shells: int = 6, pair: tuple[str, str] | None = None) -> dict:
    """Short-range order of pairs of elements, see :meth:`alloygen.results.ensemble.Ensemble.warren_cowley`."""
    draws = averages.draws
    lattice, free, held = draws.hamiltonian.lattice, draws.free, draws.exchanged
    kinds = {frozenset(names) for names in lattice.species if len(names) > 1}
    if len(kinds) > 1:
        raise AlloygenError(
            f"expected exchangeable sublattices of one set of elements, got {[sorted(k) for k in kinds]}: the concentrations "
            "differ between them. Use alloygen.estimate.order.pair_multiplicity(lattice, n, sublattices) and warren_cowley"
        )
    if pair is not None and not (isinstance(pair, (tuple, list)) and len(pair) == 2 and all(e in held for e in pair)):
        raise UnknownSpecies(f"expected a pair of the elements {held}, got {pair!r}")
    wanted = [tuple(pair)] if pair is not None else list(combinations(held, 2))
    sublattices = [b for b, names in enumerate(lattice.species) if len(names) > 1]
    distances, shells = order.pair_multiplicity(lattice, n_shells, sublattices)
    distances = distances * draws.length
    occupied = {e: draws.holds(e)[:, free].astype(float) for e in {e for p in wanted for e in p}}
    return {
        (a, b): (
            distances,
            order.warren_cowley(occupied[a], occupied[b], shells, draws.known_log_weight, averages.inefficiency_of),
        )
        for a, b in wanted
    }


def order_values(draws: Draws, which: str | ArrayLike, element: str | None = None) -> np.ndarray:
    """Long-range order of each sample (n,), see :meth:`alloygen.results.ensemble.Ensemble.order_values`."""
    element, chosen = _ordered(draws, element)
    return order.long_range_order(draws.holds(element), draws.hamiltonian.lattice, which, chosen)


def order_parameter(averages: Averages, which: str | ArrayLike, element: str | None = None) -> Estimate:
    """Mean long-range order, see :meth:`alloygen.results.ensemble.Ensemble.order_parameter`."""
    draws = averages.draws
    element, chosen = _ordered(draws, element)
    held, lattice = sites.species_of(draws.hamiltonian.lattice, element).astype(float), draws.hamiltonian.lattice
    every = np.arange(draws.n_sites)
    order_of = lambda occ: order.long_range_order(held[every, occ], lattice, which, chosen)  # noqa: E731
    step = SUPERSTRUCTURES[which].scale if isinstance(which, str) else 1.0
    name = which if isinstance(which, str) else tuple(np.ravel(which))
    return averages.of(("order", name, element), order_of, quantum=step / int(chosen.sum()))


def histogram(
    averages: Averages, what: str = "energy", bins: int | ArrayLike | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Law of the energy per site or of a composition, see :meth:`alloygen.results.ensemble.Ensemble.histogram`."""
    draws = averages.draws
    if what != "energy" and what not in draws.elements:
        raise UnknownSpecies(f"expected 'energy' or one of the elements {draws.elements}, got {what!r}")
    if what == "energy":
        values = draws.energy / draws.n_sites
        bins = 50 if bins is None else bins
    else:
        n = int(draws.free.sum())
        values = draws.fraction(what)
        bins = (np.arange(n + 2) - 0.5) / n if bins is None else bins
    return thermo.histogram_with_errors(values, bins, draws.known_log_weight, averages.inefficiency_of)


def _ordered(draws: Draws, element: str | None) -> tuple[str, np.ndarray]:
    """The element whose order is meant, and the exchangeable sites (N,) that may hold it."""
    free, lattice = draws.free, draws.hamiltonian.lattice
    element = draws.exchanged[-1] if element is None else element
    may = sites.species_of(lattice, element).any(1) & free if element in lattice.elements else np.zeros_like(free)
    if not may.any():
        raise UnknownSpecies(f"expected one of the elements {draws.exchanged}, got {element!r}")
    return element, may
