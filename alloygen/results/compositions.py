"""Canonical free energies of three and more elements that share their sites, from pooled samples: the table behind isothermal sections.

    F_n(T) = -kB T log Omega_n / N,   Omega_n = sum of exp(-beta E) over the configurations with n = (n_1, ..., n_K) atoms,

per site, N the sites of the supercell; the compositions x = n / (exchangeable sites). Columns are the compositions that samples have, and the
pure corners, which are one configuration each, so that F is exact there.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from alloygen.conditions import exchangeable, relative, temperatures
from alloygen.edge.prototypes import is_vacancy, kind
from alloygen.errors import AlloygenError, BadCondition
from alloygen.estimate.pool import Pool
from alloygen.hamiltonian.cluster import Hamiltonian
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
    free : exchangeable sites; corners : (K,) energies of the cell with all of these of one element
    fixed : atoms (no vacancies) on the sites of fixed sublattices
    """

    elements: tuple[str, ...]
    index: tuple[int, ...]
    held: np.ndarray
    free: int
    corners: np.ndarray
    fixed: dict[str, int]


def simplex(h: Hamiltonian) -> Simplex:
    """What the composition axes of three and more elements are.

    Raises AlloygenError for fewer elements, and where exchangeable sublattices hold different ones.

    Examples
    --------
    >>> from alloygen.testing import enumerable
    >>> s = simplex(enumerable("ternary").hamiltonian)
    >>> s.elements, s.free, s.corners.shape
    (('A', 'B', 'C'), 6, (3,))
    """
    lattice, names = h.lattice, exchangeable(h.lattice)
    kinds = {frozenset(of) for of in lattice.species if len(of) > 1}
    if len(names) < 3 or len(kinds) > 1:
        told = " and ".join("(" + ", ".join(sorted(k)) + ")" for k in kinds) or "none"
        raise AlloygenError(
            f"expected three or more elements that all exchangeable sites can hold, got {told}. With several kinds of sites hold all but one "
            "of them by fixed sublattices, or read averages over (T, mu), scan.to_xarray()"
        )
    codes, free = lattice.site_elements, lattice.changeable
    index = tuple(h.elements.index(e) for e in names)
    rows = np.array([np.where(free, (codes == k).argmax(1), 0) for k in index])
    fixed = [h.elements[k] for k in codes[~free, 0]]
    return Simplex(
        elements=names, index=index, held=np.array([fixed.count(e) for e in names]), free=int(free.sum()), corners=h.energy(rows),
        fixed={e: fixed.count(e) for e in dict.fromkeys(fixed) if not is_vacancy(e)},
    )  # fmt: skip


def require_plane(h: Hamiltonian, mu: np.ndarray) -> None:
    """BadCondition for chemical potentials (C, n_elements) that vary along fewer directions than the composition has."""
    names, differences = exchangeable(h.lattice), relative(mu, h.lattice)
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
    values: dict | None = None,
    info: dict | None = None,
    occ: np.ndarray | None = None,
) -> xr.Dataset:
    """An ``xarray.Dataset`` over (T, composition): F and what else is known at fixed composition, each with its standard error.

    Parameters, variables and errors are those of :func:`alloygen.results.canonical.free_energies`, with the coordinates ``atoms`` and ``x``
    (composition, element) in place of n and x, and mixing F relative to the plane through the pure corners.

    Raises AlloygenError for what :func:`simplex` refuses and for a pool without absolute free energies.
    """
    import xarray as xr

    require_absolute(pool)
    s, T = simplex(h), temperatures(T)
    corners = s.free * np.eye(len(s.index), dtype=int)
    atoms = np.unique(np.concatenate([pool.groups(s.index)[0] - s.held, corners]), axis=0)
    ends = {int((atoms == row).all(1).argmax()): float(e) for row, e in zip(corners, s.corners, strict=True)}
    known = Known.of(pool, h, Columns(counted=s.index, atoms=atoms + s.held, ends=ends), T, values or {}, occ)
    known.add_differences(T, atoms @ s.corners / s.free / h.n_sites)
    coords = {
        "T": ("T", T, {"units": "K"}), "element": list(s.elements), "atoms": (("composition", "element"), atoms),
        "x": (("composition", "element"), atoms / s.free),
    }  # fmt: skip
    attributes = {
        "n_sites": h.n_sites, "n_exchangeable": s.free, "fixed_atoms": json.dumps(s.fixed), "lattice": kind(h.lattice.primitive),
        "unit": h.unit, "kB": h.kB, "hamiltonian": h.expansion.name, "fingerprint": h.fingerprint, "convention": CONVENTION,
    }  # fmt: skip
    return xr.Dataset(known.data(h, "composition", values or {}), coords, attributes | (info or {}))
