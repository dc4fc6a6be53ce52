"""Ordered configurations of a structure whose sites are occupied in part."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alloygen.arguments import seed_from, whole_number
from alloygen.conditions import temperature
from alloygen.conditions.record import condition_from
from alloygen.edge.partial import partial_from
from alloygen.edge.problem import HamiltonianLike
from alloygen.results.ensemble import Ensemble
from alloygen.runtime.job import Job
from alloygen.samplers import SamplerLike, placed, settled
from alloygen.types import ArrayLike, PathLike

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure


def order(
    structure: Structure | Atoms | PathLike,
    T: float,
    n: int = 100,
    *,
    supercell: ArrayLike | None = None,
    seed: int | None = 0,
    hamiltonian: HamiltonianLike | None = None,
    sampler: SamplerLike = None,
    job: Job | None = None,
) -> Ensemble:
    """Ordered configurations of a structure whose sites are occupied in part, weighted for temperature T.

    Each has the numbers of atoms that the occupancies mean, on the sublattices of the Hamiltonian; those that may hold the same
    elements are counted together. Which site gets which atom follows exp(-E / kT).

    Parameters
    ----------
    structure : a pymatgen Structure or the path of a CIF with partial occupancies; what a site lacks to one is a vacancy
    supercell : three repeats or a 3x3 matrix; None for the smallest with whole numbers of atoms
    T, n, seed, hamiltonian, sampler, job : as in :func:`sample`

    ``ens.resample(10)`` gives configurations of equal weight, ``ens.write("folder")`` POSCARs, from which vacancies are left out.
    Raises AlloygenError for occupancies above one, BadCondition for those that the supercell cannot have, with the nearest,
    UnknownSpecies for elements that the Hamiltonian does not have there.

    Examples
    --------
    >>> from pymatgen.core import Structure
    >>> cell = [[0, 1.9, 1.9], [1.9, 0, 1.9], [1.9, 1.9, 0]]
    >>> ens = order(Structure(cell, [{"Cu": 0.75, "Au": 0.25}], [[0, 0, 0]]), T=600, n=50, supercell=(2, 2, 4))
    >>> ens.atoms[0].get_chemical_formula(), ens.method
    ('Au4Cu12', 'neural, canonical')
    """
    T, n, seed = temperature(T), whole_number(n, "n, the number of configurations,"), seed_from(seed)
    found = partial_from(structure).repeated(supercell)
    how, problem = placed(sampler, found.atoms, found.elements, hamiltonian, larger=False)
    problem = problem.with_counts(found.constraint(problem.atoms_map))
    at = condition_from(T, {}, problem.hamiltonian)
    return settled(how, sampler, at).sample(problem, at, n, seed, job or Job())
