"""CLEASE cluster expansions (Chang et al., J. Phys.: Condens. Matter 31, 325901 (2019)) as ClusterExpansion.

CLEASE names a correlation function ``c{size}_d{diameter}_{group}_{functions}`` and normalises it to a mean over all
instances on the lattice, so that E / site = sum ECI <prod phi>. The figures and the basis-function values are read
from the settings object; no energy is taken from CLEASE itself.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from itertools import permutations

import numpy as np

from alloygen.errors import AlloygenError
from alloygen.hamiltonian.expansion import ClusterExpansion, Orbit
from alloygen.lattice import Primitive
from alloygen.units import KB_EV_PER_K


def from_clease(settings, eci=None, *, name: str = "CLEASE expansion", citation: str = "") -> ClusterExpansion:
    """Build the Hamiltonian of a CLEASE expansion.

    Parameters
    ----------
    settings : a CLEASE settings object (CEBulk, CECrystal), the path of its JSON file, or an ``ase.Atoms`` that carries
        a ``Clease`` calculator (then ``eci`` is taken from the calculator)
    eci : dict of correlation-function name to ECI in eV per site, or the path of a JSON file with it

    Species keep the order of the settings' basis elements, reversed for no one: ``expansion.primitive.species`` says it.

    Examples
    --------
    >>> expansion = from_clease(settings, eci)                      # doctest: +SKIP
    >>> expansion.on((4, 4, 4)).energy(occ)                         # doctest: +SKIP
    """
    settings, eci = _resolve(settings, eci)
    prim = settings.prim_cell
    known = set(settings.all_cf_names)
    unknown = sorted(set(eci) - known)
    if unknown:
        raise AlloygenError(
            f"ECI names that do not fit the settings: expected among {sorted(known)}, got also {unknown}. "
            "Use the settings that the ECIs were fitted with."
        )
    # CLEASE sublattices: index of each primitive basis site in settings.basis_elements
    basis_of = _basis_groups(settings)
    species = tuple(
        tuple(settings.basis_elements[g]) if g is not None else (prim[b].symbol,) for b, g in enumerate(basis_of)
    )
    primitive = Primitive(np.array(prim.cell), prim.get_scaled_positions(wrap=True), species, tuple(prim.pbc))
    values = settings.basis_functions
    functions = np.array([[float(f.get(e, 0.0)) for e in primitive.elements] for f in values])
    n_basis = len(prim)
    orbits = [_orbit(cf, float(v), settings, n_basis) for cf, v in eci.items() if float(v) != 0.0 or cf == "c0"]
    return ClusterExpansion(primitive, functions, tuple(orbits), KB_EV_PER_K, "eV", name, citation)


def _resolve(settings, eci):
    """Objects from objects or files, with errors that say which file is missing or odd."""
    calc = getattr(settings, "calc", None)
    if calc is not None and hasattr(calc, "settings") and hasattr(calc, "eci"):
        return calc.settings, dict(calc.eci)
    if isinstance(settings, (str, os.PathLike)):
        path = os.fspath(settings)
        if not os.path.exists(path):
            raise AlloygenError(f"expected a CLEASE settings JSON file, found none at {path!r}")
        from clease.settings import settings_from_json

        settings = settings_from_json(path)
    if not hasattr(settings, "cluster_list"):
        raise AlloygenError(
            f"expected CLEASE settings, their JSON file, or Atoms with a Clease calculator, got {type(settings).__name__}"
        )
    if isinstance(eci, (str, os.PathLike)):
        with open(eci) as f:
            eci = json.load(f)
    if not isinstance(eci, Mapping):
        raise AlloygenError(
            f"expected ECIs as a dict of name to eV/site (or a JSON file of it), got {type(eci).__name__}"
        )
    return settings, dict(eci)


def _basis_groups(settings) -> list[int | None]:
    """For each primitive basis site, the row of ``basis_elements`` that it belongs to (None for background)."""
    prim = settings.prim_cell
    tags = settings.atoms
    groups = [None] * len(prim)
    cell = prim.cell
    for g, indices in enumerate(settings.index_by_basis):
        for i in indices:
            frac = np.linalg.solve(cell.T, tags.positions[i])
            rest = prim.get_scaled_positions(wrap=False) - frac
            b = np.abs(rest - np.rint(rest)).max(1).argmin()
            groups[b] = g
    return groups


def _orbit(cf: str, eci: float, settings, n_basis: int) -> Orbit:
    """Members, functions and weights of one correlation function, over all symmetry groups that carry it."""
    if cf == "c0":
        return Orbit(cf, eci, np.zeros((1, 0, 4)), np.zeros((1, 0)), [float(n_basis)])
    prefix, decoration = cf.rsplit("_", 1)
    dec = tuple(int(c) for c in decoration)
    members, functions = [], []
    for cluster in settings.cluster_list:
        if cluster.name != prefix:
            continue
        decorations = _equivalent(dec, cluster.equiv_sites)
        for figure in cluster.figures:
            rows = [(v.ix, v.iy, v.iz, v.sublattice) for v in figure.components]
            for d in decorations:
                members.append(rows)
                functions.append(d)
    if not members:
        raise AlloygenError(f"expected clusters named {prefix!r} in the settings, found none")
    # a mean over instances, times the number of sites of the primitive cell
    weight = n_basis / len(members)
    return Orbit(cf, eci, np.array(members), np.array(functions), np.full(len(members), weight))


def _equivalent(dec: tuple[int, ...], equiv_sites) -> list[tuple[int, ...]]:
    """All placements of the site functions on the members that the figure's symmetry makes equal."""
    found = {dec}
    for group in equiv_sites or []:
        for known in list(found):
            for p in permutations(group):
                new = list(known)
                for a, b in zip(group, p, strict=True):
                    new[a] = known[b]
                found.add(tuple(new))
    return sorted(found)
