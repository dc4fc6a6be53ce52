"""Cluster expansions of smol (Barroso-Luque et al., J. Open Source Softw. 7, 4504 (2022)), from the object or its JSON file.

smol writes the energy of a primitive cell as

    E / cell = sum_k C_k <prod_{m in c} phi_{b(m)}(x_m)>_{c in k, b in k}

with coefficients C_k, the mean over the symmetry images of a cluster and over the orders b of its site functions that are equal by symmetry.
Site functions, clusters and symmetry operations stand in the file, so the package is not needed to read one.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from alloygen.errors import AlloygenError
from alloygen.hamiltonian.clusters import image, key
from alloygen.hamiltonian.expansion import ClusterExpansion
from alloygen.hamiltonian.figures import Orbit
from alloygen.lattice import Primitive
from alloygen.runtime.documents import contents_of, read_document
from alloygen.types import PathLike
from alloygen.units import KB_EV_PER_K

VACANCY = "X"


def from_smol(expansion: Any | PathLike, *, name: str = "smol expansion", citation: str = "") -> ClusterExpansion:
    """The Hamiltonian of a smol ``ClusterExpansion``: the object, its ``as_dict()``, or the path of a JSON file with it.

    A species becomes its element, where a sublattice does not hold two charges of one; a vacancy becomes X. A file of
    ``smol.io.save_work`` may hold an expansion among other things.

    Raises AlloygenError for files that hold no expansion, coefficients that are not finite or do not fit, and what this package has not:
    external terms (Ewald) with a coefficient, and Potts subspaces.

    Examples
    --------
    >>> expansion = from_smol("expansion.mson")                    # doctest: +SKIP
    >>> expansion.on((4, 4, 4)).energy(occ)                        # doctest: +SKIP
    """
    with contents_of([expansion] if isinstance(expansion, (str, os.PathLike)) else [], "a ClusterExpansion of smol"):
        return _expansion(_dict_of(expansion), name, citation)


def _expansion(found: Mapping, name: str, citation: str) -> ClusterExpansion:
    space = found["cluster_subspace"]
    orbits = [o for size in sorted(space["orbits"], key=int) for o in space["orbits"][size]]
    ops = [(np.array(s["matrix"])[:3, :3], np.array(s["matrix"])[:3, 3]) for s in space["symops"]]
    coefficients = _coefficients(found, orbits, space.get("external_terms", []))
    cell, basis, lists, tables = _sites(space["structure"], orbits, ops)
    primitive = Primitive(cell, basis, _labels(lists))
    functions, of = _functions(primitive, lists, tables)
    out = [Orbit("constant", coefficients[0], np.zeros((1, 0, 4)), np.zeros((1, 0)), np.ones(1))]
    at = 1
    for number, orbit in enumerate(orbits, start=1):
        for combos in orbit["_bit_combos"]:
            members = _on_sites(orbit["sites"], primitive)
            first = [(*row, of[row[3]][b]) for row, b in zip(members, combos[0], strict=True)]
            images = sorted({image(primitive, key(np.array(first)), *op) for op in ops})
            rows = np.array(images)
            weights = np.full(len(rows), 1 / len(rows))
            title = f"orbit {number} {''.join(map(str, combos[0]))}"
            out.append(Orbit(title, coefficients[at], rows[..., :4], rows[..., 4], weights))
            at += 1
    return ClusterExpansion(primitive, functions, tuple(out), KB_EV_PER_K, "eV", name, citation)


# ---------------------------------------------------------------------- what is given
def _dict_of(given: Any) -> Mapping:
    """The dict of a smol ClusterExpansion."""
    where = "the expansion"
    if isinstance(given, (str, os.PathLike)):
        where = repr(os.fspath(given))
        given = read_document(given, "a JSON file with a smol ClusterExpansion")
    elif hasattr(given, "as_dict"):
        given = json.loads(
            json.dumps(given.as_dict(), default=lambda x: x.tolist() if hasattr(x, "tolist") else x.as_dict())
        )
    if isinstance(given, Mapping) and given.get("@class") != "ClusterExpansion":
        inside = [v for v in given.values() if isinstance(v, Mapping) and v.get("@class") == "ClusterExpansion"]
        given = inside[0] if len(inside) == 1 else given
    if not isinstance(given, Mapping) or given.get("@class") != "ClusterExpansion":
        raise AlloygenError(
            f"expected a smol ClusterExpansion, got {type(given).__name__} in {where}. Save it with monty.serialization.dumpfn or "
            "smol.io.save_work"
        )
    space = given.get("cluster_subspace", {})
    missing = [k for k in ("structure", "symops", "orbits") if k not in space]
    if space.get("@class") != "ClusterSubspace" or missing:
        raise AlloygenError(
            f"expected a ClusterSubspace with structure, symops and orbits in {where}, got {space.get('@class')!r} without {missing or 'none'}"
        )
    return given


def _coefficients(found: Mapping, orbits: list[Mapping], external: list) -> list[float]:
    values = [float(c) for c in found.get("coefs", [])]
    wanted = 1 + sum(len(o["_bit_combos"]) for o in orbits)
    if len(values) != wanted + len(external) or not np.isfinite(values).all():
        raise AlloygenError(
            f"expected {wanted + len(external)} finite coefficients, one for each correlation function, got {len(values)}: {values[:5]}"
        )
    if any(values[wanted:]):
        raise AlloygenError(
            f"expected clusters alone, got external terms ({', '.join(str(t.get('@class')) for t in external)}) with coefficients "
            f"{values[wanted:]}: a Hamiltonian of clusters has no place for them. Fit without, or to what is left without them"
        )
    return values[:wanted]


# ---------------------------------------------------------------------- the primitive cell
def _sites(
    structure: Mapping, orbits: list[Mapping], ops: list[tuple[np.ndarray, np.ndarray]]
) -> tuple[np.ndarray, np.ndarray, list[list[str]], list[np.ndarray | None]]:
    """(cell, basis, names of the species of each site, values of its functions (m - 1, m)); None where a site has none."""
    cell = np.array(structure["lattice"]["matrix"], dtype=float)
    basis = np.array([site["abc"] for site in structure["sites"]], dtype=float)
    plain = Primitive(cell, basis, (("A",),) * len(basis))
    lists = [_species(site["species"]) for site in structure["sites"]]
    tables: list[np.ndarray | None] = [None] * len(basis)
    for orbit in orbits:
        for row, site_basis in zip(_on_sites(orbit["sites"], plain), orbit["site_bases"], strict=True):
            values = np.array(site_basis["func_array"], dtype=float)
            names = _in_order(list(site_basis["site_space"]["composition"]), values.shape[1])
            for op in ops:
                (moved,) = image(plain, (tuple(row),), *op)
                if tables[moved[3]] is None:
                    lists[moved[3]], tables[moved[3]] = names, values[1:]
    return cell, basis, lists, tables


def _in_order(names: list[str], width: int) -> list[str]:
    """Species as smol numbers them: by pymatgen's order (electronegativity), a vacancy last."""
    from pymatgen.core import get_el_sp

    there = [n for n in names if not n.lower().startswith("vac")]
    if width - len(there) not in (0, 1):
        raise AlloygenError(f"expected site functions of {len(names)} species {names}, got values for {width}")
    return sorted(there, key=get_el_sp) + [VACANCY] * (width - len(there))


def _species(given: list[Mapping]) -> list[str]:
    names = []
    for s in given:
        charge = s.get("oxidation_state")
        names.append(s["element"] + ("" if charge is None else f"{abs(charge):g}{'+' if charge >= 0 else '-'}"))
    return names + ([VACANCY] if sum(float(s["occu"]) for s in given) < 1 - 1e-6 else [])


def _labels(lists: list[list[str]]) -> tuple[tuple[str, ...], ...]:
    """Elements in place of species, where a sublattice holds no two of one; X for a vacancy."""
    out = []
    for names in lists:
        plain = [
            VACANCY if n.lower().startswith("vac") else re.sub(r"^([A-Z][a-z]?)\d*[+-].*$", r"\1", n) for n in names
        ]
        out.append(tuple(p if plain.count(p) == 1 else n for p, n in zip(plain, names, strict=True)))
    return tuple(out)


def _functions(
    primitive: Primitive, lists: list[list[str]], tables: list[np.ndarray | None]
) -> tuple[np.ndarray, list[list[int]]]:
    """(values (n_functions, n_elements), functions of each sublattice); those with the same values are one."""
    rows: list[np.ndarray] = []
    of: list[list[int]] = []
    for b, table in enumerate(tables):
        mine = []
        for values in [] if table is None else table:
            row = np.zeros(len(primitive.elements))
            row[[primitive.elements.index(e) for e in primitive.species[b]]] = values
            same = [k for k, known in enumerate(rows) if np.array_equal(known, row)]
            mine.append(same[0] if same else len(rows))
            if not same:
                rows.append(row)
        of.append(mine)
    return np.array(rows).reshape(len(rows), len(primitive.elements)), of


def _on_sites(places: list, primitive: Primitive) -> list[tuple[int, int, int, int]]:
    """(ix, iy, iz, sublattice) of fractional coordinates."""
    gap = np.array(places, dtype=float)[:, None] - primitive.basis
    off = np.abs(gap - np.rint(gap)).max(2)
    sub = off.argmin(1)
    if off.min(1).max() > 1e-3:
        raise AlloygenError(f"expected clusters on the sites of the structure, got points at {places}")
    cells = np.rint(gap[np.arange(len(sub)), sub]).astype(int)
    return [(*cell, int(b)) for cell, b in zip(cells.tolist(), sub, strict=True)]
