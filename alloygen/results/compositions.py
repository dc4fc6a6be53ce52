"""Canonical free energies of three and more elements that share their sites, from pooled samples: the table behind isothermal sections.

    F_n(T) = -kB T log Omega_n / N,   Omega_n = sum of exp(-beta E) over the configurations with n = (n_1, ..., n_K) atoms,

per site, N the sites of the supercell; the compositions x = n / (exchangeable sites). Columns are the compositions that samples have, and the
pure corners, which are one configuration each, so that F is exact there.

Where sites of several kinds change, (Li, Mn)(O, F), one kind is counted and the others are open, at chemical potentials that are the same at all conditions,

    F_n(T) = -kB T log sum_{x: n} exp(-beta (E - sum_k mu_k N_k)) / N,   k the elements of the open kinds,

whose hull over n gives the phases that coexist at these mu_k, as in a section of oxides at one oxygen potential.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from alloygen.conditions import relative, temperatures
from alloygen.conditions.record import semigrand
from alloygen.edge.prototypes import is_vacancy, kind
from alloygen.errors import AlloygenError, BadCondition
from alloygen.estimate.pool import Pool
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.lattice import Lattice
from alloygen.results.at_counts import Columns, Known, require_absolute
from alloygen.types import Temperatures

if TYPE_CHECKING:
    import xarray as xr

CONVENTION = "energies per site of the supercell; x are fractions of the exchangeable sites; F absolute, mixing F relative to the pure corners"


@dataclass(frozen=True, kw_only=True, eq=False)
class Simplex:
    """The compositions of a supercell whose exchangeable sites all hold the same elements.

    elements : their names; index : (K,) of them among those of the Hamiltonian
    held : (K,) atoms of each on the sites of fixed sublattices, which compositions do not count
    free : sites that are counted; corners : (K,) energies of the cell with all of these of one element, None where other kinds of sites are open
    fixed : atoms (no vacancies) on the sites of fixed sublattices
    field : (n_elements,) chemical potentials of the elements of open kinds, each less its reference's; 0 of all others
    """

    elements: tuple[str, ...]
    index: tuple[int, ...]
    held: np.ndarray
    free: int
    corners: np.ndarray | None
    fixed: dict[str, int]
    field: np.ndarray


def simplex(h: Hamiltonian, mu: np.ndarray | None = None) -> Simplex:
    """What the composition axes of a supercell are.

    mu : (C, n_elements) of the conditions; of several kinds of sites that is counted whose chemical potentials vary

    Raises AlloygenError where exchangeable sublattices hold different elements and none, or more than one, is varied; and for fewer than three elements on
    the same sites.

    Examples
    --------
    >>> from alloygen.testing import enumerable
    >>> s = simplex(enumerable("ternary").hamiltonian)
    >>> s.elements, s.free, s.corners.shape
    (('A', 'B', 'C'), 6, (3,))
    """
    lattice, kinds = h.lattice, kinds_of(h.lattice)
    which = _varied(h.lattice, kinds, mu) if len(kinds) > 1 else kinds[0] if kinds else frozenset()
    names = tuple(e for e in h.elements if e in which)
    if len(kinds) < 2 and len(names) < 3:
        raise _refused(kinds)
    codes, index = lattice.site_elements, tuple(h.elements.index(e) for e in names)
    free = np.isin(lattice.sublattice, [k for k, of in enumerate(lattice.species) if frozenset(of) == which])
    fixed, field, corners = [h.elements[k] for k in codes[~lattice.changeable, 0]], np.zeros(len(h.elements)), None
    if len(kinds) > 1:
        field = np.where(np.isin(np.arange(len(field)), index), 0.0, relative(np.asarray(mu), lattice)[0])
    else:
        corners = h.energy(np.array([np.where(free, (codes == k).argmax(1), 0) for k in index]))
    return Simplex(
        elements=names, index=index, held=np.array([fixed.count(e) for e in names]), free=int(free.sum()), corners=corners,
        fixed={e: fixed.count(e) for e in dict.fromkeys(fixed) if not is_vacancy(e)}, field=field,
    )  # fmt: skip


def kinds_of(lattice: Lattice) -> list[frozenset[str]]:
    """The sets of elements that exchangeable sublattices hold, each once."""
    return list(dict.fromkeys(frozenset(of) for of in lattice.species if len(of) > 1))


def _varied(lattice: Lattice, kinds: list[frozenset[str]], mu: np.ndarray | None) -> frozenset[str]:
    """The one kind of sites whose chemical potentials vary; AlloygenError for none, several, and for kinds that share elements."""
    if mu is None or sum(map(len, kinds)) > len(frozenset.union(*kinds)):
        raise _refused(kinds)
    moved = np.ptp(relative(np.asarray(mu), lattice), axis=0) > 1e-9
    names = {e for e, m in zip(lattice.elements, moved, strict=True) if m}
    found = [kind for kind in kinds if kind & names]
    if len(found) != 1:
        raise _refused(kinds, f", and chemical potentials that vary on {len(found)} of these")
    return found[0]


def _refused(kinds: list[frozenset[str]], also: str = "") -> AlloygenError:
    told = " and ".join("(" + ", ".join(sorted(k)) + ")" for k in kinds) or "none"
    return AlloygenError(
        f"expected three or more elements that all exchangeable sites can hold, got {told}{also}. With several kinds of sites that share no element vary the chemical "
        "potentials of one kind and keep those of the others the same, a diagram for each of their values; or hold all kinds but one by fixed sublattices, or read "
        "averages over (T, mu), scan.to_xarray()"
    )


def require_plane(h: Hamiltonian, mu: np.ndarray) -> None:
    """BadCondition for chemical potentials (C, n_elements) that vary along fewer directions than the composition has."""
    s = simplex(h, mu)
    names, differences = s.elements, relative(mu, h.lattice)[:, list(s.index)]
    rank = np.linalg.matrix_rank(differences - differences[0], tol=1e-9)
    if rank < len(names) - 1:
        example = ", ".join(f'"{e}": [-0.2, 0.0, 0.2]' for e in names[1:])
        got = {0: "a single set of them", 1: "sets along one line"}.get(rank, f"sets along {rank} directions only")
        raise BadCondition(
            f"expected chemical potentials in {len(names) - 1} directions, so that all compositions of {'-'.join(names)} are reached, such as "
            f"mu={{{example}}}, got {got}: its samples say nothing of the rest of the section"
        )


def free_energies(
    pool: Pool,
    h: Hamiltonian,
    T: Temperatures,
    s: Simplex,
    values: dict | None = None,
    info: dict | None = None,
    occ: np.ndarray | None = None,
) -> xr.Dataset:
    """An ``xarray.Dataset`` over (T, composition): F and what else is known at fixed composition, each with its standard error.

    Parameters, variables and errors are those of :func:`alloygen.results.canonical.free_energies`, with the coordinates ``atoms`` and ``x``
    (composition, element) in place of n and x, and mixing F relative to the plane through the pure corners.

    s : of :func:`simplex`. Where other kinds of sites are open, "energy" is that less mu N of theirs, and the attribute ``open`` has their mu

    Raises AlloygenError for a pool without absolute free energies.
    """
    import xarray as xr

    require_absolute(pool)
    T, whole = temperatures(T), s.corners is not None
    corners = s.free * np.eye(len(s.index), dtype=int)
    atoms = np.unique(np.concatenate([pool.groups(s.index)[0] - s.held, corners]), axis=0)
    at = [int((atoms == row).all(1).argmax()) for row in corners]
    ends = dict(zip(at, s.corners.tolist(), strict=True)) if s.corners is not None else {}
    columns = Columns(counted=s.index, atoms=atoms + s.held, ends=ends)
    dressed = pool if whole else replace(pool, energy=semigrand(pool.energy, pool.counts, s.field))
    known = Known.of(dressed, h, columns, T, values or {}, occ if whole else None)
    known.add_differences(T, known.table["free_energy"][:, at] @ (atoms / s.free).T)
    if not whole:  # these corners are averages too
        known.table["mixing_stderr"] = np.sqrt(
            known.table["free_energy_stderr"] ** 2
            + known.table["free_energy_stderr"][:, at] ** 2 @ (atoms / s.free).T ** 2
        )
    coords = {
        "T": ("T", T, {"units": "K"}), "element": list(s.elements), "atoms": (("composition", "element"), atoms),
        "x": (("composition", "element"), atoms / s.free),
    }  # fmt: skip
    attributes = {
        "n_sites": h.n_sites, "n_exchangeable": s.free, "fixed_atoms": json.dumps(s.fixed), "lattice": kind(h.lattice.primitive),
        "unit": h.unit, "kB": h.kB, "hamiltonian": h.expansion.name, "fingerprint": h.fingerprint, "convention": CONVENTION,
    }  # fmt: skip
    if not whole:
        attributes["open"] = json.dumps({e: float(m) for e, m in zip(h.elements, s.field, strict=True) if m})
    return xr.Dataset(known.data(h, "composition", values or {}), coords, attributes | (info or {}))
