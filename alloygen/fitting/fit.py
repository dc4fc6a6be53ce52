"""An own alloy: structures and energies in, an expansion with the uncertainty of its ECIs out."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from alloygen.arguments import one_of, positive, seed_from
from alloygen.edge.atoms_map import Rival
from alloygen.edge.one_law import require_one_law
from alloygen.edge.supercell import TOL
from alloygen.errors import AlloygenError, FitWarning, LatticeMismatch
from alloygen.fitting.basis import SHRINK, Basis, chosen_basis, columns_of, figures_of
from alloygen.fitting.data import Sample, distinct, laid_out, structures_with_energies
from alloygen.fitting.derivative import as_primitive
from alloygen.fitting.hulls import warn_of_ground_states
from alloygen.fitting.references import formation_energies, require_cells, warn_of_scale
from alloygen.fitting.regression import METHODS, best_method, learning_curve, regress, usable
from alloygen.hamiltonian.clusters import cutoffs_from, symmetries
from alloygen.hamiltonian.expansion import ClusterExpansion
from alloygen.hamiltonian.fitted import Fitted
from alloygen.lattice import Primitive
from alloygen.runtime.documents import contents_of

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure

    from alloygen.types import PathLike

LEAST = 3  # structures
RANK = 1e-9  # of the largest singular value that is none
SHIFTED = 0.1  # primitive vectors that relaxed atoms may add to the shift of an operation


def fit(
    primitive: Primitive | Atoms | Structure | PathLike,
    species: Sequence | Mapping | None,
    energies: Any,
    structures: Any = None,
    *,
    cutoffs: Sequence[float] | None = None,
    method: str | None = None,
    start: ClusterExpansion | None = None,
    references: str | Mapping[str, float] | None = "ends",
    tol: float = TOL,
    skip: bool = False,
    seed: int = 0,
) -> ClusterExpansion:
    """The cluster expansion of an own alloy, from structures and their energies.

        E / site = sum_k J_k Phi_k,      Phi_k the mean over the clusters of an orbit (Sanchez, Ducastelle and Gratias 1984)

    Parameters
    ----------
    primitive, species : Atoms of a primitive cell, and the species that its sites may hold: one list for all, one for each site, or a dict
        from the symbol in ``primitive`` to a list. Or a Primitive, and None
    energies : of whole cells, in eV: Atoms that carry them; the path of an ASE database, an extxyz file or a trajectory; numbers, with
        ``structures``; an ASE calculator or its class; or a function of Atoms that returns an energy, or relaxed Atoms that carry one
    structures : what the numbers or the calculator are for, any supercells, relaxed or not, vacancies as "X" or as atoms that are missing; by
        default (for a calculator) those of the smallest cells, some sixty of them
    cutoffs : the largest distance between two sites of pairs, triplets, ..., such as (6.0, 4.5, 4.5), in the unit of ``primitive``; by default
        those of a ladder that leave the least error of structures left out
    method : "ols", "ridge", "bayes", "ard" or "lasso" (:func:`alloygen.fitting.regression.regress`); by default the one of least error
    start : an expansion on the same lattice whose figures are taken, and whose ECIs stand where the structures tell nothing: what is fitted is
        the difference of the energies from its own, with a prior around 0 ("bayes", or "ridge" by ``method``), so that few structures do
    references : what is taken off the energies: "ends", those of the pure end members among the structures; energies of an atom by element;
        or None, nothing
    tol : how far atoms may be off their sites, in nearest-neighbour distances
    skip : leave structures out that do not lie on the lattice, with a warning, rather than refuse them
    seed : of the parts in which structures are left out

    The expansion goes wherever a Hamiltonian does: ``alloygen.sample(atoms, T=600, hamiltonian=alloy)``, ``alloy.on((4, 4, 4))``. Its ``fitted``
    holds the posterior of the ECIs, the errors of structures left out, the learning curve, the references, how each structure lay on the lattice
    and what was left out (:class:`~alloygen.hamiltonian.fitted.Fitted`); ``to_dict`` keeps it. Warns with FitWarning of structures that map
    badly, repeat others, or are ground states by the data or the fit alone.

    Raises
    ------
    UnknownSpecies : an element that is not among the species
    LatticeMismatch : structures that are no supercells of the primitive cell, unless ``skip``
    AlloygenError : energies that are missing, not finite, of atoms in place of cells, or contradict each other; too few structures for the
        clusters that are asked for

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase.calculators.emt import EMT
    >>> from alloygen.fitting.derivative import enumerate_structures
    >>> cell = bulk("Cu", a=3.8)
    >>> alloy = fit(cell, ["Cu", "Au"], EMT(), enumerate_structures(cell, ["Cu", "Au"], max_sites=4), cutoffs=(3.9,), method="bayes")
    >>> len(alloy.fitted.labels), alloy.fitted.names, alloy.fitted.score < 0.02
    (29, ('constant', 'point', 'pair 1', 'pair 2'), True)
    """
    if method is not None:
        one_of(method, "method", METHODS)
    lattice, tol, seed = as_primitive(primitive, species), positive(tol, "tol"), seed_from(seed)
    reach = None if cutoffs is None else cutoffs_from(cutoffs)
    given = None if start is None else figures_of(start, lattice, reach, method)
    files = [p for p in (energies, structures) if isinstance(p, (str, os.PathLike))]
    with contents_of(files, "structures with energies") if files else nullcontext():
        labels, atoms, values = structures_with_energies(lattice, energies, structures)
        found, left_out = laid_out(lattice, labels, atoms, values, tol, skip)
        samples, same = distinct(found)
        if len(samples) < LEAST:
            raise AlloygenError(f"expected at least {LEAST} different structures, got {len(samples)}")
    y, reference, kind = formation_energies(samples, references)
    warn_of_scale(samples, y, kind)
    basis, x = (
        chosen_basis(lattice, samples, y, reach, method, seed)
        if given is None
        else (given, columns_of(given, samples, {}))
    )
    require_cells(x, np.array([s.energy for s in samples]), np.array([len(s.occ) for s in samples]))
    facts = {"references": reference, "reference_kind": kind, "left_out": left_out, "same": same}
    if given is None:
        _warn_of_alike(basis, x)
    alloy = _expansion(lattice, basis, method, samples, x, y, seed, facts)
    _warn_of_ground_states(samples, y, alloy)
    _warn_of_two_ways(samples, alloy)
    return alloy


# ---------------------------------------------------------------------- the expansion
def _expansion(
    primitive: Primitive,
    basis: Basis,
    method: str | None,
    samples: list[Sample],
    x: np.ndarray,
    y: np.ndarray,
    seed: int,
    facts: dict,
) -> ClusterExpansion:
    """The expansion by the posterior mean of its ECIs, with what it rests on."""
    able = usable(x)
    if method == "ols" and method not in able:
        raise AlloygenError(
            f"expected structures that tell all ECIs apart, got {len(y)} whose correlation functions have rank {np.linalg.matrix_rank(x)} of "
            f"{x.shape[1]}. Compute others, take smaller cutoffs, or a method with a prior"
        )
    if method is None:
        tried = able if basis.known is None else SHRINK[:1]
    else:
        tried = (method,)
    begin, change = basis.start, y - x @ basis.start
    method, cv = best_method(x, change, seed, tried)
    found = regress(x, change, method)
    mean = begin + found.mean
    names = np.array([o.name for o in basis.orbits])
    orbits = tuple(replace(o, eci=float(j)) for o, j, kept in zip(basis.orbits, mean, found.kept, strict=True) if kept)
    fitted = Fitted(
        names=tuple(names[found.kept].tolist()),
        mean=mean[found.kept],
        covariance=found.covariance[np.ix_(found.kept, found.kept)],
        noise=found.noise,
        method=method,
        cutoffs=basis.cutoffs,
        cv=cv,
        learning_curve=learning_curve(x, change, method, seed),
        labels=tuple(s.label for s in samples),
        matrices=tuple(s.lattice.matrix.tolist() for s in samples),
        occupations=tuple(s.occ.tolist() for s in samples),
        correlations=x[:, found.kept],
        energies=y,
        strain=np.array([s.strain for s in samples]),
        displacement=np.array([s.displacement for s in samples]),
        pruned=tuple(names[~found.kept].tolist()),
        **facts,
    )
    kind = "energies" if facts["reference_kind"] == "none" else "formation energies"
    name = f"{'-'.join(primitive.elements)} (fitted {kind})"
    return ClusterExpansion(primitive, basis.functions, orbits, name=name, fitted=fitted)


# ---------------------------------------------------------------------- what to look at
def _warn_of_alike(basis: Basis, x: np.ndarray) -> None:
    """Say which orbits no structure tells apart, where there are more structures than orbits."""
    if len(x) <= x.shape[1]:
        return
    size, directions = np.linalg.svd(x, full_matrices=False)[1:]
    open_ones = directions[size < RANK * size[0]]
    if len(open_ones):
        names = [o.name for o, v in zip(basis.orbits, np.abs(open_ones).max(0), strict=True) if v > 0.05]
        warnings.warn(
            f"no structure tells the ECIs of {', '.join(names[:8])}{' and others' if len(names) > 8 else ''} apart ({len(open_ones)} combinations of "
            "them are the same in all): a prior shares out what they are together. Add larger cells, or take smaller cutoffs",
            FitWarning,
            stacklevel=3,
        )


def _warn_of_ground_states(samples: list[Sample], y: np.ndarray, alloy: ClusterExpansion) -> None:
    assert alloy.fitted is not None
    counts = np.array([s.counts / len(s.occ) for s in samples])
    warn_of_ground_states([s.label for s in samples], counts, y, alloy.fitted.predicted)


def _warn_of_two_ways(samples: list[Sample], alloy: ClusterExpansion) -> None:
    """Say which structures could have been laid onto the lattice in another way, of another energy."""
    doubtful = []
    for s in samples:
        try:
            if not all(_is_symmetry(rival, alloy.primitive) for rival in s.atoms_map.rivals):
                require_one_law(s.atoms_map, alloy)
        except LatticeMismatch:
            doubtful.append(s.label)
    if doubtful:
        warnings.warn(
            f"{len(doubtful)} structures could be laid onto the lattice in several ways of different energies, and were laid in the first: "
            f"{', '.join(doubtful[:8])}. Give the ideal positions, with energies as numbers",
            FitWarning,
            stacklevel=3,
        )


def _is_symmetry(rival: Rival, primitive: Primitive) -> bool:
    """Whether the other way is that of an operation of the lattice, which every expansion of a fit has."""
    for rotation, shift in symmetries(primitive):
        rest = rival.shift - shift
        if np.abs(rival.rotation - rotation.T).max() < 1e-6 and np.abs(rest - np.rint(rest)).max() < SHIFTED:
            return True
    return False
