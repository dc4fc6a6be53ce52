"""Cluster expansions of icet (Angqvist et al., Adv. Theory Simul. 2, 1900015 (2019)).

icet writes the property of a structure, per site, as

    E / site = J_0 + sum_k J_k <prod_{m in c} Theta_{n(m)}(x_m)>_{c in k, n in k}

the mean over the clusters of an orbit and over the orders n of its site functions that are equal by symmetry, with the functions of ATAT and
species numbered by their atomic numbers, a vacancy (X) first.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

import numpy as np

from alloygen.errors import AlloygenError
from alloygen.hamiltonian.clusters import trigonometric_functions
from alloygen.hamiltonian.expansion import ClusterExpansion
from alloygen.hamiltonian.figures import Orbit, merged
from alloygen.lattice import Primitive
from alloygen.types import PathLike
from alloygen.units import KB_EV_PER_K


def from_icet(expansion: Any | PathLike, *, name: str = "icet expansion", citation: str = "") -> ClusterExpansion:
    """The Hamiltonian of an icet ``ClusterExpansion``: the object, or the path of the file that its ``write`` made.

    The property is taken as the energy per site in eV, all atoms counted, as icet's own Monte Carlo does. Such a file is a pickle, which could
    run any code: icet itself reads it, and has to be installed for that (``pip install icet``).

    Raises AlloygenError for what is no expansion, a file without icet, and parameters that are not finite or do not fit.

    Examples
    --------
    >>> expansion = from_icet(ce)                                  # doctest: +SKIP
    >>> expansion.on((4, 4, 4)).energy(occ)                        # doctest: +SKIP
    """
    if isinstance(expansion, (str, os.PathLike)):
        expansion = _read(os.fspath(expansion))
    space = getattr(expansion, "_cluster_space", None) or getattr(expansion, "cluster_space", None)
    if space is None or not hasattr(expansion, "parameters"):
        raise AlloygenError(
            f"expected an icet ClusterExpansion or the path of its file, got {type(expansion).__name__}"
        )
    primitive = _primitive(space)
    functions, of = trigonometric_functions(primitive)
    orbits = [space.orbit_list.get_orbit(k) for k in range(len(space.orbit_list))]
    elements = [(orbit, element) for orbit in orbits for element in orbit.cluster_vector_elements]
    values = [float(v) for v in expansion.parameters]
    if len(values) != 1 + len(elements) or not np.isfinite(values).all():
        raise AlloygenError(
            f"expected {1 + len(elements)} finite parameters, one for each element of the cluster vector, got {len(values)}: {values[:5]}"
        )
    n_sites = len(primitive.basis)
    out = [Orbit("constant", values[0], np.zeros((1, 0, 4)), np.zeros((1, 0)), np.array([float(n_sites)]))]
    for k, ((orbit, element), value) in enumerate(zip(elements, values[1:], strict=True), start=1):
        out.append(_orbit(f"element {k}", value, orbit, element, of, n_sites))
    return ClusterExpansion(primitive, functions, tuple(out), KB_EV_PER_K, "eV", name, citation)


def _read(path: str) -> Any:
    try:
        icet = import_module("icet")
    except ImportError:
        raise AlloygenError(
            f"expected icet to read its own file {path!r}, a pickle, got no such package. pip install icet, and alloygen.from_icet(path).write(file) "
            "makes one that needs it no more"
        ) from None
    try:
        return icet.ClusterExpansion.read(path)
    except Exception as error:  # whatever a pickle may raise
        raise AlloygenError(
            f"expected a file that an icet ClusterExpansion wrote at {path!r}, got {type(error).__name__}: {error}"
        ) from None


def _primitive(space: Any) -> Primitive:
    """The primitive cell, species in the order of their atomic numbers."""
    from ase.data import atomic_numbers

    atoms = space.primitive_structure
    species = tuple(tuple(sorted(names, key=lambda s: atomic_numbers[s])) for names in space.chemical_symbols)
    return Primitive(np.array(atoms.cell), atoms.get_scaled_positions(wrap=False), species, tuple(atoms.pbc))


def _orbit(name: str, eci: float, orbit: Any, element: dict, of: list[list[int]], n_sites: int) -> Orbit:
    """All clusters of an orbit with one element's functions, in every order that is equal."""
    members, functions = [], []
    for cluster in orbit.clusters:
        rows = [(*(int(v) for v in site.unitcell_offset), int(site.index)) for site in cluster.lattice_sites]
        for order in element["site_permutations"]:
            members.append(rows)
            functions.append(
                [of[row[3]][element["multicomponent_vector"][p]] for row, p in zip(rows, order, strict=True)]
            )
    weights = np.full(len(members), n_sites / len(members))
    return merged(Orbit(name, eci, np.array(members), np.array(functions), weights))
