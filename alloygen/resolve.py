"""Which Hamiltonian and supercell a caller's Atoms mean."""

from __future__ import annotations

from alloygen.convert import AtomsMap, elements_of, match
from alloygen.errors import UnknownSpecies
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.hamiltonian.expansion import ClusterExpansion


def supercell(atoms, mu=None, hamiltonian=None) -> tuple[Hamiltonian, AtomsMap]:
    """The Hamiltonian on the supercell that the Atoms make, and the map between its sites and the atoms.

    ``hamiltonian`` is a ClusterExpansion, its name or file; without one it is what the Atoms carry (a Clease calculator)
    or the expansion that ships for the elements in atoms and mu.

    Examples
    --------
    >>> from ase.build import bulk
    >>> h, atoms_map = supercell(bulk("Cu", a=3.8).repeat((2, 2, 4)), {"Au": 0.0})
    >>> h.n_sites, h.expansion.name
    (16, 'CuAu (formation energies)')
    """
    expansion = expansion_of(atoms, mu, hamiltonian)
    require_elements(atoms, mu, expansion)
    found = match(atoms, expansion.primitive)
    return expansion.on(found.lattice), found


def expansion_of(atoms, mu, hamiltonian) -> ClusterExpansion:
    """The expansion that the caller names, that the Atoms carry, or that ships for these elements."""
    if isinstance(hamiltonian, Hamiltonian):
        return hamiltonian.expansion
    if hamiltonian is not None:
        from alloygen.hamiltonian.source import expansion_from

        return expansion_from(hamiltonian)
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


def require_elements(atoms, mu, expansion: ClusterExpansion) -> None:
    unknown = sorted(set(elements_of(atoms, mu)) - set(expansion.elements))
    if unknown:
        raise UnknownSpecies(
            f"expected elements among {expansion.elements} of {expansion.name!r}, got also {unknown} in atoms or mu. "
            "Use a Hamiltonian or model that holds them."
        )
