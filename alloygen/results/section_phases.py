"""The phases of three and more elements: their names, from how the elements share out over the sublattices of ordered structures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.stats import halfnorm

from alloygen.arguments import one_of
from alloygen.edge.prototypes import is_vacancy
from alloygen.errors import AlloygenError, BadCondition
from alloygen.estimate.order import one_sign, orders_of, sublattice_order
from alloygen.estimate.pool import Pool
from alloygen.estimate.superstructure import SUPERSTRUCTURES
from alloygen.estimate.weights import MIN_ESS
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.results.compositions import free_energies, require_plane, simplex
from alloygen.results.phases import DISORDERED, ORDERED
from alloygen.results.section_tables import edge
from alloygen.types import Temperatures

if TYPE_CHECKING:
    from collections.abc import Iterable

    import xarray as xr

    from alloygen.results.section_tables import Stack


def order_values(h: Hamiltonian, parts: Iterable[np.ndarray]) -> dict[str, np.ndarray]:
    """order_<name>_<element> (samples,) of occupations (n, N) one after another, see :func:`alloygen.estimate.order.sublattice_order`; of one sign where the
    sublattices are alike."""
    lattice, s = h.lattice, simplex(h)  # of one kind of sites: orders are named on these
    found: dict[str, list] = {name: [] for name in orders_of(lattice)}
    counts: list[np.ndarray] = []
    out: dict[str, np.ndarray] = {}
    for occ in parts if found else ():
        held = lattice.site_elements[np.arange(h.n_sites), occ][:, None] == np.array(s.index)[:, None]
        counts.append(held.sum(2))
        for name, rows in found.items():
            rows.append(sublattice_order(held, lattice, name))
    for name, rows in found.items():
        eta = np.concatenate(rows)
        if SUPERSTRUCTURES[name].share == 0.5:
            eta = one_sign(eta, np.concatenate(counts))
        out |= {f"order_{name}_{e}": column for e, column in zip(s.elements, eta.T, strict=True)}
    return out


def sections_table(
    pool: Pool,
    h: Hamiltonian,
    T: Temperatures,
    element: str | None,
    mu: np.ndarray,
    parts: list[np.ndarray],
    held,
    info: dict,
) -> xr.Dataset:
    """The table over (T, composition) of a scan of three and more elements, with its orders, see :meth:`alloygen.Scan.free_energies`; over (T, n) where two
    elements are counted beside open sites.

    mu : (C, n_elements) of its conditions; parts : (C, n, N) occupations of the samples of the pool; held : sites that were held
    """
    s = simplex(h, mu)
    if element is not None and len(s.elements) > 2:
        raise BadCondition(
            f"expected no element, got {element!r}: compositions of {', '.join(s.elements)} count all of them"
        )
    if held is not None and (np.asarray(held) >= 0).any():
        raise AlloygenError(
            "expected no held sites in sections of three and more elements, whose corners these leave out; read scan.to_xarray() instead"
        )
    require_plane(h, mu)
    values = order_values(h, (occ for part in parts for occ in part)) if s.corners is not None else {}
    occ = np.concatenate([np.reshape(part, (-1, h.n_sites)) for part in parts])
    table = free_energies(pool, h, T, s, values, info, occ)
    if len(s.elements) == 2:  # beside open sites
        element = s.elements[1] if element is None else element
        one_of(element, "an element", s.elements)
        return edge(table, element, next(e for e in s.elements if e != element))
    return table


def occupations(table: xr.Dataset, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Fractions (nT, L, K) of the sites of the first and of the second sublattice of an order that hold each element."""
    eta = np.stack([table[f"order_{name}_{e}"].values for e in table["element"].values], -1)
    x, share = table["x"].values, SUPERSTRUCTURES[name].share
    return np.clip(x + (1 - share) * eta, 0.0, 1.0), np.clip(x - share * eta, 0.0, 1.0)


def known_orders(table: xr.Dataset) -> list[str]:
    """The named orders of which a table knows the averages."""
    first = str(table["element"].values[0])
    return [name for name in SUPERSTRUCTURES if f"order_{name}_{first}" in table]


def phase_orders(table: xr.Dataset) -> np.ndarray:
    """(nT, L) the order that each state has, the largest above one half of the perfect one; "" for none, nan compositions too. Of like sublattices the larger
    one is what a variant is chosen by, so a random alloy has some of it too: there half-way between that and the perfect one is the limit."""
    known = known_orders(table)
    out = np.full(table["free_energy"].shape, "", dtype=object)
    if known:
        eta = np.stack([
            np.abs(np.stack([table[f"order_{name}_{e}"].values for e in table["element"].values])).max(0) for name in known
        ])  # fmt: skip
        eta = np.where(np.isfinite(eta), eta, 0.0)
        for k, name in enumerate(known):
            least = ORDERED + (1 - ORDERED) * _random(table, name)
            out[(eta.argmax(0) == k) & (eta.max(0) > least)] = name
    return out


def _random(table: xr.Dataset, name: str) -> np.ndarray:
    """(L,) about how large |eta| of a random alloy is in its largest variant, where the sign is open: the median of the largest of V normal numbers of
    variance 4 x (1 - x) / (N - 1), that of drawing without replacement; else 0."""
    x, size = table["x"].values, table["atoms"].values.sum(1)
    structure = SUPERSTRUCTURES[name]
    if structure.share != 0.5:
        return np.zeros(len(x))
    sigma = 2 * np.sqrt((x * (1 - x)).max(1) / np.maximum(size - 1, 1))
    return np.minimum(halfnorm.ppf(0.5 ** (1 / len(structure.variants))) * sigma, 1.0)


def phase_names(table: xr.Dataset) -> np.ndarray:
    """(nT, L) names of the phases, see :attr:`alloygen.results.sections.IsothermalSections.phases`."""
    orders = phase_orders(table)
    names = np.full(orders.shape, DISORDERED if known_orders(table) else "", dtype=object)
    for name in known_orders(table):
        first, second = occupations(table, name)
        for at in zip(*np.nonzero(orders == name), strict=True):
            names[at] = _formula(table, name, first[at], second[at])
    return names


def _formula(table: xr.Dataset, name: str, first: np.ndarray, second: np.ndarray) -> str:
    """Such as "Cu3Au (L1_2)": of each sublattice the element that has most of it."""
    elements = [str(e) for e in table["element"].values]
    major = int(second.argmax())
    minor = int(np.where(np.arange(len(first)) == major, -1.0, first).argmax())
    ratio = round(1 / SUPERSTRUCTURES[name].share) - 1
    pair = [(elements[major], ratio), (elements[minor], 1)]
    if ratio == 1:
        pair.sort(key=lambda p: elements.index(p[0]))
    return "".join(f"{e}{n if n > 1 else ''}" for e, n in pair if not is_vacancy(e)) + f" ({name})"


def single(stack: Stack, t: int) -> pd.DataFrame:
    """Stable phases at one temperature, see :meth:`alloygen.results.sections.IsothermalSections.single_phases`."""
    surface, x = stack.surfaces[t], stack.table["x"].values
    facet = surface.located[0]
    vertex = np.zeros(len(x), dtype=bool)
    vertex[np.unique(surface.facets.corners)] = True
    alone = np.isfinite(surface.f) & (vertex | (surface.count[facet] == 1))
    size = stack.table["effective_samples"].values[t]
    rows = []
    for name in dict.fromkeys(stack.phases[t][alone]):
        here = alone & (stack.phases[t] == name)
        limits = {
            f"x_{e}_{side}": f(x[here, k])
            for k, e in enumerate(stack.elements)
            for side, f in (("min", np.min), ("max", np.max))
        }
        rows.append(
            {
                "phase": name or "solution",
                "compositions": int(here.sum()),
                **limits,
                "reliable": bool((size[here] >= MIN_ESS).all()),
            }
        )
    return pd.DataFrame(rows)
