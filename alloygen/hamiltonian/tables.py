"""From figures on a primitive cell to flat tables on a supercell.

In small supercells a cluster may meet itself through the periodic images. The products are kept exactly: two members
that fall on one site become one member with the product of their site functions, a product that is constant is
dropped, and clusters with the same members add up their coefficients.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from alloygen.hamiltonian.figures import Orbit
from alloygen.lattice import Lattice, Primitive


@dataclass
class Tables:
    constant: float
    functions: np.ndarray  # (F, n_sublattices, S)
    clusters: list[tuple[np.ndarray, np.ndarray]]
    term_ptr: np.ndarray
    term_coef: np.ndarray
    term_channel: np.ndarray
    term_others: np.ndarray
    term_n: np.ndarray
    channel_function: np.ndarray
    channel_orbit: np.ndarray


class _Functions:
    """The site functions by sublattice and species, growing when products of them are needed."""

    def __init__(self, p: Primitive, functions: np.ndarray):
        width = max(map(len, p.species))
        self.valid = np.zeros((len(p.species), width), dtype=bool)
        base = np.zeros((len(functions), len(p.species), width))
        for b, names in enumerate(p.species):
            index = [p.elements.index(s) for s in names]
            base[:, b, : len(names)] = functions[:, index]
            self.valid[b, : len(names)] = True
        self.values = list(base)
        self.products: dict[tuple[int, ...], int] = {}

    def product(self, ids: tuple[int, ...]) -> int:
        ids = tuple(sorted(ids))
        if len(ids) == 1:
            return ids[0]
        if ids not in self.products:
            value = np.prod([self.values[i] for i in ids], axis=0)
            same = [k for k, known in enumerate(self.values) if np.allclose(known, value, atol=1e-13)]
            k = same[0] if same else len(self.values)
            if not same:
                self.values.append(value)
            self.products[ids] = k
        return self.products[ids]

    def constant(self, f: int, sublattice: int) -> float | None:
        """The value of function f where it does not depend on the species, else None."""
        v = self.values[f][sublattice][self.valid[sublattice]]
        return float(v[0]) if np.ptp(v) < 1e-13 else None


def build_tables(values: np.ndarray, orbits: tuple[Orbit, ...], lattice: Lattice) -> Tables:
    """The tables of orbits on a lattice; values (n_functions, n_elements) are those of the site functions."""
    functions = _Functions(lattice.primitive, values)
    constant = 0.0
    found: list[tuple[int, np.ndarray, np.ndarray, np.ndarray]] = []  # orbit, sites (C,n), functions (C,n), coef
    cells = lattice.offsets[:: lattice.n_sublattices]
    for k, orbit in enumerate(orbits):
        if orbit.order == 0:
            constant += orbit.eci * orbit.weights.sum() * len(cells)
            continue
        offsets = cells[:, None, None, :] + orbit.members[None, ..., :3]
        sites = lattice.index(offsets, np.broadcast_to(orbit.members[..., 3], offsets.shape[:-1]))
        sites = sites.reshape(-1, orbit.order)
        fs = np.broadcast_to(orbit.functions[None], (len(cells), *orbit.functions.shape)).reshape(sites.shape)
        coef = np.broadcast_to(orbit.eci * orbit.weights[None], (len(cells), len(orbit.weights))).reshape(-1)
        constant += _reduce(k, sites, fs, coef, functions, lattice, found)
    return _assemble(constant, functions, _merge(found, len(functions.values)), lattice)


def _reduce(
    k: int,
    sites: np.ndarray,
    fs: np.ndarray,
    coef: np.ndarray,
    functions: _Functions,
    lattice: Lattice,
    found: list[tuple[int, np.ndarray, np.ndarray, np.ndarray]],
) -> float:
    """Put clusters that are fine into ``found`` by array, and the self-meeting or constant ones one by one."""
    ordered = np.sort(sites, axis=1)
    odd = (ordered[:, 1:] == ordered[:, :-1]).any(1)
    for f in range(len(functions.values)):
        for b in range(lattice.n_sublattices):
            if functions.constant(f, b) is not None:
                odd |= ((fs == f) & (lattice.sublattice[sites] == b)).any(1)
    found.append((k, sites[~odd], fs[~odd], coef[~odd]))
    constant = 0.0
    small: dict[int, list[tuple[list[tuple[int, int]], float]]] = {}  # by number of members
    for s, f, c in zip(sites[odd], fs[odd], coef[odd], strict=True):
        met: dict[int, list[int]] = {}
        for i, g in zip(s, f, strict=True):
            met.setdefault(int(i), []).append(int(g))
        kept = []
        for i, ids in sorted(met.items()):
            g = functions.product(tuple(ids))
            value = functions.constant(g, lattice.sublattice[i])
            if value is None:
                kept.append((i, g))
            else:
                c = c * value
        if kept:
            small.setdefault(len(kept), []).append((kept, c))
        else:
            constant += c
    for rows in small.values():
        members = np.array([r[0] for r in rows])
        found.append((k, members[..., 0], members[..., 1], np.array([r[1] for r in rows])))
    return constant


def _merge(found, n_functions) -> dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Equal clusters added up: {order: (factors (C, n), orbit (C,), coef (C,))}, factor = site * F + function."""
    by_order: dict[int, list] = {}
    for k, sites, fs, coef in found:
        if len(sites):
            factors = np.sort(sites * n_functions + fs, axis=1)
            by_order.setdefault(factors.shape[1], []).append((factors, np.full(len(coef), k), coef))
    merged = {}
    for n, parts in sorted(by_order.items()):
        factors, orbit, coef = (np.concatenate(x) for x in zip(*parts, strict=True))
        first, which = _distinct(np.column_stack([orbit, factors]))
        merged[n] = (factors[first], orbit[first], np.bincount(which, weights=coef, minlength=len(first)))
    return merged


def _distinct(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(where each distinct row of integers >= 0 is met first, the number of each row's kind), kinds in the order of the rows.

    Rows as one number each where these fit into 63 bits: sorting rows themselves takes fifty times as long.
    """
    sizes = [int(column.max()) + 1 for column in rows.T]
    if math.prod(sizes) < 2**63:
        place = [math.prod(sizes[k + 1 :]) for k in range(len(sizes))]
        _, first, which = np.unique(rows @ np.array(place), return_index=True, return_inverse=True)
    else:
        _, first, which = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    return first, which.ravel()


def _assemble(constant, functions, merged, lattice) -> Tables:
    n_functions, width = len(functions.values), max([n - 1 for n in merged], default=0)
    total = sum(n * len(coef) for n, (_, _, coef) in merged.items())
    site, kind, count = np.empty((3, total), dtype=np.int64)  # of each member of each cluster; kind: orbit and function
    coef, others, at = np.empty(total), np.full((total, max(width, 1)), -1), 0
    for n, (factors, orbit, value) in merged.items():
        for m in range(n):
            rows = slice(at, at := at + len(value))
            site[rows], own = np.divmod(factors[:, m], n_functions)
            kind[rows], count[rows], coef[rows] = orbit * n_functions + own, n - 1, value
            others[rows, : n - 1] = np.delete(factors, m, axis=1)
    kinds, channel = np.unique(kind, return_inverse=True)
    sort = np.argsort(site * max(len(kinds), 1) + channel, kind="stable")
    return Tables(
        constant=float(constant),
        functions=np.stack(functions.values),
        clusters=[(np.ascontiguousarray(f), np.ascontiguousarray(c)) for f, _, c in merged.values()],
        term_ptr=np.append(0, np.bincount(site, minlength=lattice.n_sites).cumsum()),
        term_coef=coef[sort],
        term_channel=channel[sort],
        term_others=others[sort],
        term_n=count[sort],
        channel_function=kinds % n_functions,
        channel_orbit=kinds // n_functions,
    )
