"""What an atom of each element counts for: from total energies to formation energies, and energies that are on the wrong scale."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from numbers import Real

import numpy as np

from alloygen.conditions.given import require_among
from alloygen.errors import AlloygenError, FitWarning
from alloygen.fitting.data import Sample

RANK = 1e-9
BEYOND_ALLOYS = 2.0  # eV a site off a mixture of the elements, root mean square
BEYOND_REFERENCES = 10.0  # eV a site that given references leave
TELLS = 0.5  # share of the error left, energies read per site against per cell, that tells; right ones leave 1 or more, noisy or few as they are


def formation_energies(
    samples: list[Sample], references: str | Mapping[str, float] | None
) -> tuple[np.ndarray, dict[str, float], str]:
    """(energies per site with the references taken off (M,), energy of an atom by element, where that is from).

    references : "ends", from the end members among the structures (every sublattice full of one element), or where these do not fix them by
        least squares over all structures; energies by element; or None, energies as they are
    """
    elements = samples[0].lattice.elements
    counts = np.array([s.counts for s in samples], dtype=float)
    energy, sites = np.array([s.energy for s in samples]), np.array([len(s.occ) for s in samples])
    require_references(references, elements)
    if references is None:
        return energy / sites, {}, "none"
    if isinstance(references, Mapping):
        values = given_references(references, elements)
        _require_scale(energy, counts, sites, values)
        return (energy - counts @ values) / sites, dict(zip(elements, values.tolist(), strict=True)), "given"
    share, per_site = counts / sites[:, None], energy / sites
    ends = np.array([_is_end(s) for s in samples])
    enough = ends.any() and np.linalg.matrix_rank(share[ends], RANK) == np.linalg.matrix_rank(share, RANK)
    rows = ends if enough else np.ones(len(samples), dtype=bool)
    kind = "end members" if enough else "least squares over all structures, whose end members do not fix them"
    values = np.linalg.lstsq(share[rows], per_site[rows], rcond=RANK)[0]
    return per_site - share @ values, dict(zip(elements, values.tolist(), strict=True)), kind


def require_references(references: object, elements: tuple[str, ...]) -> None:
    """AlloygenError for references that are not "ends", energies by element, or None."""
    if isinstance(references, Mapping):
        given_references(references, elements)
    elif references is not None and not (isinstance(references, str) and references == "ends"):
        raise AlloygenError(f'expected references as "ends", energies by element, or None, got {references!r}')


def given_references(references: Mapping[str, float], elements: tuple[str, ...]) -> np.ndarray:
    """Energies of an atom by element as an array; UnknownSpecies and AlloygenError for those of others, missing ones, and what is no number."""
    require_among(references, elements, "references")
    missing = [e for e in elements if e not in references]
    values = [references.get(e) for e in elements]
    if missing or not all(isinstance(v, Real) and np.isfinite(float(v)) for v in values):
        raise AlloygenError(f"expected a finite energy of an atom for each of {elements}, got {dict(references)!r}")
    return np.array([float(v) for v in values])  # type: ignore[arg-type]


def _is_end(sample: Sample) -> bool:
    """Whether all sites of each list of species hold one element."""
    lattice = sample.lattice
    for names in set(lattice.species):
        mine = [b for b, own in enumerate(lattice.species) if own == names]
        if len(np.unique(sample.occ[np.isin(lattice.sublattice, mine)])) > 1:
            return False
    return True


def _require_scale(energy: np.ndarray, counts: np.ndarray, sites: np.ndarray, values: np.ndarray) -> None:
    """Energies per atom, by their size against given references."""
    whole = np.median(np.abs(energy - counts @ values) / sites)
    single = np.median(np.abs(energy - counts @ values / sites))
    if (sites > 1).any() and whole > 0.5 and single < TELLS * whole:
        raise per_atom(
            f"{single:.3g} against {whole:.3g} eV per site from the references",
            ", or give references of one atom where these are of whole cells",
        )


def warn_of_scale(samples: list[Sample], y: np.ndarray, kind: str) -> None:
    """Say where formation energies (M,) per site are larger than alloys have them, in another unit than eV or from references that are not those of an atom.

    What counts is split in two: the plane over compositions that fits them best, which references move, and what lies off it, which they do not.
    """
    share = np.array([s.counts / len(s.occ) for s in samples])
    plane = share @ np.linalg.lstsq(share, y, rcond=RANK)[0]
    off, offset = float(np.sqrt(((y - plane) ** 2).mean())), float(np.abs(plane).max())
    if off > BEYOND_ALLOYS:
        warnings.warn(
            f"expected energies in eV, got some that lie {off:.3g} eV a site off those of a mixture of the elements, where alloys have a few tenths. Are "
            "they in meV (times 0.001), in kJ/mol (times 0.010364), or relaxed into other crystals?",
            FitWarning,
            stacklevel=4,
        )
    elif kind == "given" and offset > BEYOND_REFERENCES:
        warnings.warn(
            f"expected references as energies of one atom in eV, got some that leave {offset:.3g} eV a site. Are they those of whole cells, in another "
            "unit, or of another calculator than the energies? mu would refer to them",
            FitWarning,
            stacklevel=4,
        )


def require_cells(correlations: np.ndarray, energy: np.ndarray, sites: np.ndarray) -> None:
    """Refuse energies per site where those of whole cells are meant: what correlation functions describe is the energy per site.

    Held against each other are the errors of structures left out, of E / n and of E itself, as shares of their spread.
    """
    from sklearn.linear_model import RidgeCV

    if len(energy) < 8 or len(set(sites.tolist())) < 2:
        return
    errors = []
    for y in (energy / sites, energy):
        spread = y.std()
        if spread < 1e-12 * (np.abs(y).max() + 1e-300):
            return
        found = RidgeCV(alphas=np.logspace(-8, 2, 21)).fit(correlations[:, 1:], (y - y.mean()) / spread)
        errors.append(float(np.sqrt(-found.best_score_)))
    cell, site = errors
    if site < TELLS * cell:
        raise per_atom(
            f"as they are, E describes the structures to {100 * site:.2g} % of its spread, and E divided by the number of sites to {100 * cell:.2g} %"
        )


def per_atom(why: str, otherwise: str = "") -> AlloygenError:
    return AlloygenError(
        f"expected energies of whole cells, got some that look like energies per atom: {why}. Multiply each by the number of its atoms{otherwise}"
    )
