"""Ground states of a fit against those of its data, and the structures to compute next."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from alloygen.arguments import one_of, whole_number
from alloygen.edge.atoms_map import AtomsMap
from alloygen.errors import AlloygenError, FitWarning
from alloygen.fitting.derivative import configurations, structure_key
from alloygen.hamiltonian.clusters import correlations
from alloygen.hamiltonian.expansion import ClusterExpansion
from alloygen.lattice import Lattice
from alloygen.results.hull import lower_hull

if TYPE_CHECKING:
    from ase import Atoms

TIES = 1e-9  # eV per site from the hull that is on it
LOWEST, VARIANCE = "energy", "variance"


def above_hull(counts: np.ndarray, energy: np.ndarray) -> np.ndarray:
    """Energies per site (M,) above their own lower hull over counts per site (M, n_elements).

    Examples
    --------
    >>> above_hull(np.array([[1, 0], [0.5, 0.5], [0.5, 0.5], [0, 1]]), np.array([0.0, -0.2, -0.1, 0.0])).round(9).tolist()
    [0.0, 0.0, 0.1, 0.0]
    """
    return np.maximum(energy - lower_hull(counts, energy).at(counts), 0.0)


def warn_of_ground_states(labels: list[str], counts: np.ndarray, energy: np.ndarray, predicted: np.ndarray) -> None:
    """Warn with FitWarning where the ground states among the structures are others by the fit than by the data."""
    own, fitted = above_hull(counts, energy), above_hull(counts, predicted)
    lost = [
        f"{labels[k]} ({1e3 * fitted[k]:.2g} meV/site above)" for k in np.flatnonzero((own < TIES) & (fitted > TIES))
    ]
    new = [
        f"{labels[k]} (in the data {1e3 * own[k]:.2g} meV/site above)"
        for k in np.flatnonzero((fitted < TIES) & (own > TIES))
    ]
    if lost or new:
        parts = [f"{word} {', '.join(rows[:6])}" for word, rows in (("it misses", lost), ("it adds", new)) if rows]
        warnings.warn(
            f"the ground states of the fit are not those of its data: {'; '.join(parts)}. Fit to more structures near the hull "
            "(alloygen.next_structures), take larger cutoffs, or live with it where these are within the error",
            FitWarning,
            stacklevel=4,
        )


def next_structures(alloy: ClusterExpansion, n: int = 10, *, by: str = LOWEST, max_sites: int = 8) -> list[Atoms]:
    """Structures to compute next for a better fit, the most wanted first.

    Parameters
    ----------
    alloy : an expansion by :func:`alloygen.fit`
    n : how many, fewer where there are no more
    by : "energy", those farthest below (or least above) the hull of the structures of the fit; "variance", one after another those whose energy
        the posterior of the ECIs leaves most open, given the ones before
    max_sites : of the supercells that are looked through

    Their ``info`` has energy_per_site, its standard deviation ``uncertainty``, and ``distance`` above that hull (eV per site). None is among the
    structures of the fit. AlloygenError for an expansion that remembers no fit.

    Examples
    --------
    >>> import alloygen
    >>> alloy = alloygen.fit(atoms, ["Cu", "Au"], calculator)              # doctest: +SKIP
    >>> alloygen.next_structures(alloy, 5, by="variance")                  # doctest: +SKIP
    """
    one_of(by, "by", (LOWEST, VARIANCE))
    n, fitted = whole_number(n, "n, the number of structures,"), getattr(alloy, "fitted", None)
    if fitted is None:
        raise AlloygenError(
            f"expected an expansion by alloygen.fit, got {getattr(alloy, 'name', alloy)!r}, which remembers no fit"
        )
    primitive = alloy.primitive
    known = [(Lattice(primitive, m), np.array(o)) for m, o in zip(fitted.matrices, fitted.occupations, strict=True)]
    keys = {structure_key(lattice, occ) for lattice, occ in known}
    new = [
        (lattice, occ)
        for lattice, rows in configurations(primitive, whole_number(max_sites, "max_sites", len(primitive.basis)))
        for occ in rows
        if structure_key(lattice, occ) not in keys
    ]
    if not new:
        return []
    x = np.concatenate([correlations(alloy.functions, alloy.orbits, lattice, occ) for lattice, occ in new])
    energy, std = fitted.predict(x)
    shares = np.array([_share(*row) for row in [*known, *new]])
    distance = energy - lower_hull(shares[: len(known)], fitted.predicted).at(shares[len(known) :])
    order = (
        np.argsort(distance, kind="stable")[:n] if by == LOWEST else most_open(x, fitted.covariance, fitted.noise, n)
    )
    out = []
    for k in order:
        atoms = AtomsMap.of_lattice(new[k][0]).to_atoms(new[k][1])
        atoms.info.update(energy_per_site=float(energy[k]), uncertainty=float(std[k]), distance=float(distance[k]))
        out.append(atoms)
    return out


def _share(lattice: Lattice, occ: np.ndarray) -> np.ndarray:
    elements = lattice.site_elements[np.arange(len(occ)), occ]
    return np.bincount(elements, minlength=len(lattice.elements)) / len(occ)


def most_open(x: np.ndarray, covariance: np.ndarray, noise: float, n: int) -> list[int]:
    """Rows of x (B, K) with the largest variance, one after another: what one tells of the ECIs counts for the next."""
    left = covariance.copy()
    out: list[int] = []
    for _ in range(min(n, len(x))):
        spread = np.einsum("bk,kl,bl->b", x, left, x)
        spread[out] = -np.inf
        k = int(spread.argmax())
        gain = left @ x[k]
        left = left - np.outer(gain, gain) / (spread[k] + noise**2 + 1e-300)
        out.append(k)
    return out
