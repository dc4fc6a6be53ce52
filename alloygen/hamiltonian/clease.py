"""CLEASE cluster expansions (Chang et al., J. Phys.: Condens. Matter 31, 325901 (2019)) as ClusterExpansion.

CLEASE names a correlation function ``c{size}_d{diameter}_{group}_{functions}`` and normalises it to a mean over all
instances on the lattice, so that E / site = sum ECI <prod phi>. The figures and the basis-function values are read
from the settings object; no energy is taken from CLEASE itself.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Mapping
from itertools import permutations, product
from numbers import Real
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from alloygen.errors import AlloygenError
from alloygen.hamiltonian.expansion import ClusterExpansion
from alloygen.hamiltonian.figures import Orbit, merged
from alloygen.lattice import Primitive
from alloygen.limits import require_clusters
from alloygen.runtime.documents import contents_of, read_text
from alloygen.types import PathLike
from alloygen.units import KB_EV_PER_K

NEEDED = (
    "prim_cell",
    "concentration",
    "max_cluster_dia",
    "basis_func_type",
)  # keys of a settings file that fix the figures
SIZES = sorted(product((1, 3, 5), repeat=3), key=np.prod)  # of templates: a long cell is more even repeated beside it


def from_clease(
    settings: Any, eci: Mapping | PathLike | None = None, *, name: str = "CLEASE expansion", citation: str = ""
) -> ClusterExpansion:
    """Build the Hamiltonian of a CLEASE expansion.

    Parameters
    ----------
    settings : a CLEASE settings object (CEBulk, CECrystal, CESlab), the path of its JSON file, or a ``Clease`` calculator or
        ``ase.Atoms`` that carry one (then ``eci`` is taken from the calculator)
    eci : dict of correlation-function name to ECI in eV per site, or the path of a JSON file with it

    Species keep the order of the settings' basis elements: ``expansion.primitive.species`` says it. Equal clusters are one
    (:func:`alloygen.hamiltonian.figures.merged`). A settings file is read without its database, which need not exist.

    Two traps, which warn. CLEASE's ``SGCMonteCarlo`` writes its field into the calculator's ECIs, which are the caller's own dict,
    and leaves it there (``reset_eci=False`` is the default): c1_0 less chem_pot is then another Hamiltonian, and nothing in the
    calculator remembers the ECI that was fitted. And ``Concentration`` may restrict compositions, which a Hamiltonian cannot.

    Raises TooLarge for settings whose ``max_cluster_dia`` asks for too many clusters; AlloygenError for files that are missing or broken, ECIs that are no finite numbers, and names that do not fit.

    Examples
    --------
    >>> expansion = from_clease(settings, eci)                      # doctest: +SKIP
    >>> expansion.on((4, 4, 4)).energy(occ)                         # doctest: +SKIP
    """
    files = [x for x in (settings, eci) if isinstance(x, (str, os.PathLike))]
    with contents_of(files, "settings and ECIs of CLEASE"):
        return _expansion(*_resolve(settings, eci), name, citation)


def _expansion(settings: Any, eci: Mapping[str, float], name: str, citation: str) -> ClusterExpansion:
    prim = settings.prim_cell
    if settings.requires_build():  # CLEASE makes clusters only when asked for them, and would for years
        reach = settings.max_cluster_dia.tolist()
        require_clusters(
            np.array(prim.cell), len(prim), reach, f"clusters of max_cluster_dia = {reach}",
            "Take the settings that the ECIs were fitted with, or let CLEASE make the clusters first, settings.ensure_clusters_exist()",
        )  # fmt: skip
    known = _names(settings)
    unknown = sorted(set(eci) - known)
    if unknown:
        raise AlloygenError(
            f"ECI names that do not fit the settings: expected among {sorted(known)}, got also {unknown}. "
            "Use the settings that the ECIs were fitted with."
        )
    _warn_of_ranges(settings.concentration)
    # CLEASE sublattices: index of each primitive basis site in settings.basis_elements
    basis_of = _basis_groups(settings)
    species = tuple(
        tuple(settings.basis_elements[g]) if g is not None else (prim[b].symbol,) for b, g in enumerate(basis_of)
    )
    primitive = Primitive(np.array(prim.cell), prim.get_scaled_positions(wrap=True), species, tuple(prim.pbc))
    values = settings.basis_functions
    functions = np.array([[float(f.get(e, 0.0)) for e in primitive.elements] for f in values])
    n_basis = len(prim)
    orbits = [merged(_orbit(cf, v, settings, n_basis)) for cf, v in eci.items() if v != 0.0 or cf == "c0"]
    return ClusterExpansion(primitive, functions, tuple(orbits), KB_EV_PER_K, "eV", name, citation)


def _resolve(settings, eci) -> tuple[Any, dict[str, float]]:
    """Objects from objects or files, with errors that say which file is missing or odd."""
    calc = getattr(settings, "calc", settings)
    if hasattr(calc, "settings") and hasattr(calc, "eci"):
        _warn_of_field(calc)
        return calc.settings, _finite(calc.eci, "the calculator's ECIs")
    if isinstance(settings, (str, os.PathLike)):
        settings = _settings_from(os.fspath(settings))
    if not hasattr(settings, "requires_build"):  # a look at its cluster_list would make it
        raise AlloygenError(
            f"expected CLEASE settings, their JSON file, or Atoms with a Clease calculator, got {type(settings).__name__}"
        )
    where = "eci"
    if isinstance(eci, (str, os.PathLike)):
        where = os.fspath(eci)
        eci = _json(where, "ECIs", json.loads)
    if not isinstance(eci, Mapping):
        raise AlloygenError(
            f"{where}: expected ECIs as a dict of name to eV/site (or a JSON file of it), got {type(eci).__name__}"
        )
    return settings, _finite(eci, where)


def _names(settings: Any) -> set[str]:
    """Of the correlation functions, whose clusters CLEASE makes here, with errors of its own."""
    try:
        return set(settings.all_cf_names)
    except Exception as why:
        raise AlloygenError(
            f"expected settings whose clusters CLEASE can make, got {type(why).__name__}: {str(why)[:200]}"
        ) from why


def _finite(eci: Mapping, where: str) -> dict[str, float]:
    """ECIs as floats; an error names the first that is no finite number."""
    for name, value in eci.items():
        if isinstance(value, bool) or not isinstance(value, Real) or not np.isfinite(float(value)):
            raise AlloygenError(
                f"{where}: expected the ECI of {name!r} as a finite number in eV per site, got {value!r}. Fit it again, or leave the "
                "name out if it means 0."
            )
    return {str(name): float(value) for name, value in eci.items()}


def _json(path: str, what: str, decode: Callable[[str], Any]) -> Any:
    """What a JSON file holds; an error names the file and what it should have held."""
    text = read_text(path, f"a JSON file with CLEASE {what}")
    try:
        return decode(text)
    except json.JSONDecodeError as e:
        raise AlloygenError(f"{path}: expected JSON with CLEASE {what}, got {text[:40]!r} ({e})") from None
    except Exception as e:  # CLEASE makes objects while it reads, and each has errors of its own
        raise AlloygenError(f"{path}: CLEASE cannot read these {what}: {type(e).__name__}: {e}") from e


def _settings_from(path: str) -> Any:
    """Settings from their JSON file, with what older versions of CLEASE left out, and without a database of their own.

    CLEASE writes the primitive cell into the file ``db_name`` when it makes settings: here into a folder that is thrown away.
    """
    found = _json(path, "settings", json.loads)
    wrong = f"{path}: expected settings that CLEASE saved (settings.save)"
    if not isinstance(found, dict):
        raise AlloygenError(f"{wrong}, got {type(found).__name__}")
    missing = [k for k in NEEDED if k not in found]
    if missing:
        raise AlloygenError(
            f"{wrong}, with the keys {', '.join(NEEDED)}, got none for {', '.join(missing)}. Save them anew"
        )
    kept: dict[str, object] = {"include_background_atoms": not found.get("ignore_background_atoms", True), "kwargs": {}}
    kept |= {k: v for k, v in found.items() if k in (*NEEDED, *kept)}
    with TemporaryDirectory() as folder:
        kept |= {"db_name": os.path.join(folder, "clease.db"), "__clease_objtype__": "ce_settings"}
        return _json(path, "settings", lambda _: _on_a_template(kept))


def _on_a_template(kept: dict[str, object]) -> Any:
    """Settings with the first template, a supercell for structures, that CLEASE takes; no figure depends on it, or on the compositions that it may have.

    Left to itself CLEASE tries 100,000 at random, with NumPy's global generator, which takes minutes where none fits: a very long cell, compositions that cannot be.
    """
    from clease.jsonio import CleaseEncoder, decode
    from clease.settings import Concentration

    restricted = decode(json.dumps(kept["concentration"]))
    kept = {**kept, "concentration": Concentration(restricted.basis_elements)}
    refused, state = ValueError("no template"), np.random.get_state()  # noqa: NPY002 CLEASE draws from the global one
    try:
        for size in map(list, SIZES):
            template = {"size": size, "supercell_factor": None, "skew_threshold": 40}
            try:
                settings = decode(json.dumps({**kept, **template}, cls=CleaseEncoder))
            except ValueError as why:
                if "constraints" not in str(why):  # its word for a template that does not fit
                    raise
                refused = why
            else:
                settings.concentration = restricted
                return settings
    finally:
        np.random.set_state(state)  # noqa: NPY002
    raise refused


def _warn_of_field(calc) -> None:
    """Say that point ECIs may hold a field, where a calculator has been at work: CLEASE itself cannot tell."""
    points = {k: v for k, v in calc.eci.items() if k.startswith("c1_") and v}
    if points and getattr(calc, "results", None):
        warnings.warn(
            f"the expansion is read with the calculator's present point ECIs, {points}. If CLEASE's SGCMonteCarlo has run with it, "
            "its chem_pot is still in them (reset_eci=False is its default) and this is another Hamiltonian: give the fitted "
            "ECIs, from_clease(calc.settings, eci), and the field as mu=alloygen.conditions.mu_from_field(chem_pot)",
            stacklevel=4,
        )


def _warn_of_ranges(concentration) -> None:
    """Say that compositions which CLEASE restricts are free here."""
    rows = [*zip(concentration.A_lb, concentration.b_lb, strict=True)]
    equal = [*zip(concentration.A_eq, concentration.b_eq, strict=True)]
    parts = np.cumsum([len(names) for names in concentration.basis_elements])[:-1]
    binds = [sum(part.min() for part in np.split(np.asarray(a, float), parts)) < b - 1e-9 for a, b in rows]
    binds += [any(np.ptp(part) > 1e-9 for part in np.split(np.asarray(a, float), parts)) for a, _ in equal]
    if any(binds):
        warnings.warn(
            f"{sum(binds)} of the conditions that CLEASE's settings put on the compositions of {concentration.basis_elements} (A_lb, A_eq, "
            "set_conc_ranges, set_conc_formula_unit) are not honoured: mu alone sets the compositions of a semigrand law. Choose mu so "
            'that they lie in the range, or hold a composition with alloygen.mc(..., move="swap")',
            stacklevel=3,
        )


def _basis_groups(settings) -> list[int | None]:
    """For each primitive basis site, the row of ``basis_elements`` that it belongs to (None for background)."""
    prim = settings.prim_cell
    tags = settings.atoms
    groups: list[int | None] = [None] * len(prim)
    cell = prim.cell
    for g, indices in enumerate(settings.index_by_basis):
        for i in indices:
            frac = np.linalg.solve(cell.T, tags.positions[i])
            rest = prim.get_scaled_positions(wrap=False) - frac
            groups[int(np.abs(rest - np.rint(rest)).max(1).argmin())] = g
    return groups


def _orbit(cf: str, eci: float, settings, n_basis: int) -> Orbit:
    """Members, functions and weights of one correlation function, over all symmetry groups that carry it."""
    if cf == "c0":
        return Orbit(cf, eci, np.zeros((1, 0, 4)), np.zeros((1, 0)), np.array([float(n_basis)]))
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
