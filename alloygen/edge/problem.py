"""Which Hamiltonian and supercell a caller's Atoms mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

from alloygen.edge.atoms_map import AtomsMap
from alloygen.edge.match import match
from alloygen.edge.one_law import require_one_law
from alloygen.edge.structures import atoms_from
from alloygen.edge.supercell import TOL, vacancies
from alloygen.errors import LatticeMismatch, UnknownSpecies
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.hamiltonian.expansion import ClusterExpansion

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure

    from alloygen.types import PathLike


def supercell(
    atoms: Atoms | Structure | PathLike | Hamiltonian,
    mu: object = None,
    hamiltonian: Hamiltonian | ClusterExpansion | PathLike | None = None,
    tol: float = TOL,
) -> tuple[Hamiltonian, AtomsMap]:
    """The Hamiltonian on the supercell that the Atoms make, and the map between its sites and the atoms.

    A Hamiltonian (``alloygen.ising(10)``, ``expansion.on((4, 4, 4))``) stands for itself, its sites for the atoms.

    ``hamiltonian`` is a ClusterExpansion, its name or file; without one it is what the Atoms carry (a Clease calculator)
    or the expansion that ships for the elements in atoms and mu. ``tol`` is that of :func:`alloygen.edge.match.match`.

    Examples
    --------
    >>> from ase.build import bulk
    >>> h, atoms_map = supercell(bulk("Cu", a=3.8).repeat((2, 2, 4)), {"Au": 0.0})
    >>> h.n_sites, h.expansion.name
    (16, 'CuAu (formation energies)')
    """
    if isinstance(atoms, Hamiltonian) and hamiltonian is None:
        return atoms, AtomsMap.of_lattice(atoms.lattice)
    expansion, found = placed(atoms, mu, hamiltonian, tol)
    return expansion.on(found.lattice), found


def placed(
    atoms: Atoms | Structure | PathLike | Hamiltonian,
    mu: object,
    hamiltonian: Hamiltonian | ClusterExpansion | PathLike | None,
    tol: float = TOL,
) -> tuple[ClusterExpansion, AtomsMap]:
    """The expansion that is meant, and the caller's atoms on its lattice: the door of every function that takes Atoms."""
    if isinstance(atoms, ClusterExpansion):
        raise LatticeMismatch(
            f"expected Atoms, or a Hamiltonian on a supercell, got the expansion {atoms.name!r}; lay it on one: expansion.on((4, 4, 4))"
        )
    if isinstance(atoms, Hamiltonian):
        other = atoms.expansion if hamiltonian is None else expansion_of(None, mu, hamiltonian)
        if other.fingerprint != atoms.fingerprint:
            raise LatticeMismatch(
                f"expected one Hamiltonian, got {atoms.expansion.name!r} ({atoms.fingerprint}) in place of Atoms, and {other.name!r} "
                f"({other.fingerprint}) as that of hamiltonian= or of the model. Give Atoms, or leave the other out"
            )
        return cast(ClusterExpansion, atoms.expansion), AtomsMap.of_lattice(atoms.lattice)
    atoms = atoms_from(atoms)
    expansion = expansion_of(atoms, mu, hamiltonian)
    require_elements(atoms, mu, expansion)
    return expansion, laid(atoms, expansion, tol)


def laid(atoms: Atoms, expansion: ClusterExpansion, tol: float = TOL) -> AtomsMap:
    """The Atoms on the lattice of the expansion, in the one way that its energies allow.

    Raises LatticeMismatch where they can be laid in several that fit as well, within noise, and have different energies.
    """
    found = match(atoms, expansion.primitive, tol)
    require_one_law(found, expansion)
    return found


# ---------------------------------------------------------------------- which alloy
def expansion_of(
    atoms: Atoms | None, mu: object, hamiltonian: Hamiltonian | ClusterExpansion | PathLike | None
) -> ClusterExpansion:
    """The expansion that the caller names, that the Atoms carry, or that ships for these elements."""
    if isinstance(hamiltonian, Hamiltonian):
        return cast(ClusterExpansion, hamiltonian.expansion)
    if hamiltonian is not None:
        from alloygen.hamiltonian.source import expansion_from

        return expansion_from(hamiltonian)
    assert atoms is not None  # there are none only where ``hamiltonian`` is given
    if getattr(atoms.calc, "name", "") == "CLEASE":
        from alloygen.hamiltonian.clease import from_clease

        return from_clease(atoms)
    from alloygen.data import cuau

    elements = set(elements_of(atoms, mu))
    if elements != set(cuau().elements):
        raise UnknownSpecies(
            f"expected an alloy that an expansion ships for (Cu-Au), got the elements {sorted(elements)} in atoms and mu. "
            'Name the second element in mu (mu={"Au": 0.02}), or give hamiltonian= or model=.'
        )
    return cuau()


def require_elements(atoms: Atoms, mu: object, expansion: ClusterExpansion) -> None:
    unknown = sorted(set(elements_of(atoms, mu)) - set(expansion.elements))
    if unknown:
        vacancy = f"; {vacancies(expansion.primitive)}" if "X" in unknown else ""
        raise UnknownSpecies(
            f"expected elements among {expansion.elements} of {expansion.name!r}, got also {unknown} in atoms or mu{vacancy}. "
            "Use a Hamiltonian or model that holds them."
        )


def elements_of(atoms: Atoms, mu: object = None) -> tuple[str, ...]:
    """The elements that the symbols of ``atoms`` and the keys of ``mu`` tell together, in order of appearance.

    mu : None, a number, a dict by element, or a sequence of these

    Examples
    --------
    >>> from ase.build import bulk
    >>> elements_of(bulk("Cu"), {"Au": 0.02})
    ('Cu', 'Au')
    """
    each = mu if isinstance(mu, Sequence) and not isinstance(mu, str) else [mu]
    keys = [e for m in each if isinstance(m, Mapping) for e in m]
    return tuple(dict.fromkeys([*atoms.get_chemical_symbols(), *keys]))
