"""Structures and their energies, laid onto the lattice: what a fit rests on, and what is wrong with it, said before any work."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from alloygen.arguments import join
from alloygen.edge.atoms_map import AtomsMap
from alloygen.edge.computed import Recipe
from alloygen.edge.fits import nearest_neighbour
from alloygen.edge.match import STRAIN_TOLD, match
from alloygen.edge.missing import with_vacancies
from alloygen.edge.structures import atoms_from
from alloygen.errors import AlloygenError, FitWarning, LatticeMismatch, StrainTaken, UnknownSpecies
from alloygen.fitting.derivative import Key, configurations, structure_key
from alloygen.hamiltonian.clusters import symmetries
from alloygen.lattice import Lattice, Primitive

if TYPE_CHECKING:
    from ase import Atoms

AGREE = 2e-3  # energy per site that two computations of one structure may differ by
WANTED = 60  # structures that are computed where none are given
FAR = 0.1  # displacement, as a share of the nearest-neighbour distance, that is told


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """A structure on the lattice with its energy, that of the whole cell.

    strain, displacement : of the structure as it came; the latter as a share of the nearest-neighbour distance, root mean square
    """

    label: str
    lattice: Lattice
    occ: np.ndarray
    energy: float
    strain: float
    displacement: float
    atoms_map: AtomsMap

    @property
    def key(self) -> Key:
        return structure_key(self.lattice, self.occ)

    @property
    def counts(self) -> np.ndarray:
        """Atoms of each element (n_elements,)."""
        lattice = self.lattice
        return np.bincount(lattice.site_elements[np.arange(len(self.occ)), self.occ], minlength=len(lattice.elements))


# ---------------------------------------------------------------------- structures with energies
def structures_with_energies(
    primitive: Primitive, energies: Any, structures: Any
) -> tuple[list[str], list[Atoms], np.ndarray]:
    """(labels, structures as they came or were relaxed, energies (M,) of whole cells), by whatever way they are given.

    energies : Atoms that carry energies; the path of a file with many (an ASE database, extxyz, a trajectory); a calculator or a function, as
        :class:`alloygen.edge.computed.Recipe` takes them; or numbers, with ``structures``
    structures : what the numbers or the calculator are for; by default those of the smallest cells, some sixty of them
    """
    computed = callable(energies) or (hasattr(energies, "get_potential_energy") and not hasattr(energies, "positions"))
    if structures is not None:
        given = _list_of_atoms(structures)
    elif computed:
        given = _smallest(primitive)
    else:
        given, structures = _list_of_atoms(energies), energies
    values: list
    labels = [f"{i} ({atoms.get_chemical_formula()})" for i, atoms in enumerate(given)]
    if computed:
        recipe = Recipe(calculator=energies)
        recipe = recipe.made() if recipe.kind == "factory" else recipe
        found = [_computed(recipe, atoms, label) for atoms, label in zip(given, labels, strict=True)]
        given, values = [atoms for atoms, _ in found], [energy for _, energy in found]
    elif structures is energies:
        values = [_own_energy(atoms, label) for atoms, label in zip(given, labels, strict=True)]
    else:
        values = list(np.atleast_1d(np.asarray(energies, dtype=object)))
        if len(values) != len(given):
            raise AlloygenError(f"expected one energy for each of {len(given)} structures, got {len(values)}")
    return labels, given, _finite(values, labels)


def _finite(values: list, labels: list[str]) -> np.ndarray:
    bad = [
        f"{label}: {value!r}"
        for value, label in zip(values, labels, strict=True)
        if isinstance(value, bool) or not isinstance(value, Real) or not np.isfinite(float(value))
    ]
    if bad:
        raise AlloygenError(
            f"expected finite energies of whole cells, got {len(bad)} that are not: {join(bad, 8)}. Compute them again, or leave these structures out"
        )
    return np.array([float(v) for v in values])


def _list_of_atoms(given: Any) -> list[Atoms]:
    if isinstance(given, (str, os.PathLike)):
        import ase.io

        try:
            return list(ase.io.read(os.fspath(given), ":"))
        except Exception as error:  # ASE's readers raise whatever their formats do
            raise AlloygenError(
                f"expected a file with many structures that ASE reads (a database, extxyz, a trajectory), got {os.fspath(given)!r} "
                f"({type(error).__name__}: {error})"
            ) from None
    if not isinstance(given, Iterable) or hasattr(given, "positions"):
        raise AlloygenError(
            "expected energies as structures that carry them, the path of a file with many, a calculator, or numbers with structures=, "
            f"got {given!r}"
        )
    rows = list(given)
    if rows and all(isinstance(x, Real) for x in rows):
        raise AlloygenError(
            f"expected structures= with the {len(rows)} energies that are given as numbers, got none. Pass the Atoms that they belong to"
        )
    return [atoms_from(x) for x in rows]


def _smallest(primitive: Primitive) -> list[Atoms]:
    """Structures of the smallest cells: all of as many sites as it takes to have enough."""
    n_basis, out = len(primitive.basis), []
    for cells in range(1, 13):
        found = [(on, occ) for on, rows in configurations(primitive, cells * n_basis) for occ in rows]
        out = [AtomsMap.of_lattice(on).to_atoms(occ) for on, occ in found]
        if len(out) >= WANTED:
            break
    return out


def _computed(recipe: Recipe, atoms: Atoms, label: str) -> tuple[Atoms, float]:
    """A structure as it was relaxed, where that is what the calculator does, and its energy."""
    found = recipe.of(atoms)
    if found.failure:
        raise AlloygenError(
            f"expected an energy of the structure {label}, got {found.failure}. Does the calculator know all of the elements?"
        )
    relaxed = atoms.copy()
    relaxed.set_cell(found.cell)
    relaxed.set_positions(found.positions)
    return relaxed, found.energy


def _own_energy(atoms: Atoms, label: str) -> object:
    """The energy that Atoms carry."""
    try:
        if atoms.calc is not None:
            return atoms.get_potential_energy()
    except Exception as error:  # calculators raise whatever they do
        raise AlloygenError(f"expected a structure that carries its energy, got {label} with none ({error})") from error
    if "energy" in atoms.info:
        return atoms.info["energy"]
    raise AlloygenError(
        f"expected structures that carry their energies (atoms.calc), got {label} with none. Give the energies as numbers: "
        "alloygen.fit(primitive, species, energies, structures)"
    )


# ---------------------------------------------------------------------- onto the lattice
def laid_out(
    primitive: Primitive,
    labels: Sequence[str],
    structures: Sequence[Atoms],
    energies: np.ndarray,
    tol: float,
    skip: bool,
) -> tuple[list[Sample], dict[str, str]]:
    """(the structures on the lattice, label and reason of those that do not fit there).

    Each is laid by the least strain. UnknownSpecies for an element that is not among the species; LatticeMismatch with all that do not
    fit, unless ``skip``; a warning names those that are far from their sites, which are kept.
    """
    out, failed, unknown = [], {}, {}
    neighbour = nearest_neighbour(primitive)
    for label, atoms, energy in zip(labels, structures, energies, strict=True):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", StrainTaken)
                found = with_vacancies(lambda a: match(a, primitive, tol), atoms, primitive, tol)
            occ = found.occ_from()
        except UnknownSpecies as error:
            unknown[label] = str(error)
        except LatticeMismatch as error:
            failed[label] = str(error)
        else:
            spread = float(np.sqrt((found.displacement**2).mean()) / (found.scale * neighbour))
            out.append(
                Sample(
                    label=label, lattice=found.lattice, occ=occ, energy=float(energy), strain=float(found.strain),
                    displacement=spread, atoms_map=found,
                )
            )  # fmt: skip
    if unknown:
        raise UnknownSpecies(_all_of("elements that the sublattices may hold", unknown, "Name them in species"))
    if failed and not (skip and out):
        remedy = "Mend them (a primitive cell whose shape is nearer to theirs may do), raise tol where atoms are off their sites, or pass skip=True to fit without them"
        cells = sum(np.array_equal(rotation, np.eye(3)) for rotation, _ in symmetries(primitive))
        if cells > 1:
            remedy = f"The cell that was given is {cells} primitive ones, by its sites and species: give one of those. Or {remedy[0].lower()}{remedy[1:]}"
        raise LatticeMismatch(_all_of("structures on the lattice", failed, remedy))
    if failed:
        warnings.warn(_all_of("structures on the lattice", failed, "They are left out"), FitWarning, stacklevel=4)
    _warn_far(out)
    return out, failed


def _all_of(expected: str, failed: dict[str, str], remedy: str) -> str:
    told = "; ".join(f"{label}: {why}" for label, why in list(failed.items())[:4])
    more = f"; and also {', '.join(list(failed)[4:])}" if len(failed) > 4 else ""
    return f"expected {expected}, got {len(failed)} that do not fit. {remedy}. {told}{more}"


def _warn_far(samples: list[Sample]) -> None:
    far = [s for s in samples if s.strain > STRAIN_TOLD or s.displacement > FAR]
    if far:
        told = join([f"{s.label} by {100 * s.strain:.1f} % and {s.displacement:.2f} d" for s in far], 8)
        warnings.warn(
            f"{len(far)} of {len(samples)} structures are strained by more than {100 * STRAIN_TOLD:.0f} % or off their sites by more than {FAR} of "
            f"the nearest-neighbour distance d, and are kept: {told}. Have they relaxed into another crystal? fitted.to_pandas() lists all",
            FitWarning,
            stacklevel=5,
        )


def distinct(samples: list[Sample]) -> tuple[list[Sample], dict[str, str]]:
    """(each structure once, label of each repeat and of what stands for it); AlloygenError where two energies of one structure differ."""
    kept: dict[Key, Sample] = {}
    same, apart = {}, []
    for s in samples:
        first = kept.setdefault(s.key, s)
        if first is s:
            continue
        same[s.label] = first.label
        here, there = s.energy / len(s.occ), first.energy / len(first.occ)
        if abs(here - there) > AGREE:
            apart.append(f"{first.label} at {there:.6f} and {s.label} at {here:.6f} per site")
    if apart:
        raise AlloygenError(
            f"expected one energy of each structure, got {len(apart)} that contradict: {join(apart, 8)}. They are the same up to symmetry: keep the "
            "one that is right (were both relaxed, from the same settings? energies are those of whole cells)"
        )
    if same:
        warnings.warn(
            f"{len(same)} structures repeat others up to symmetry, and the first of each stands for all: "
            f"{join([f'{a} repeats {b}' for a, b in same.items()], 8)}",
            FitWarning,
            stacklevel=4,
        )
    return list(kept.values()), same
