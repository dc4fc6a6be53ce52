"""What a caller means, resolved once: a Hamiltonian on a supercell, the map to the caller's Atoms, and the sites that are held.

Every public function takes its first argument through :meth:`Problem.of`, the one door; what comes after carries the problem whole.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np

from alloygen.arrays import as_array
from alloygen.conditions.composition import Composition, Constraint, constraint, named_elements
from alloygen.counts import Counts
from alloygen.edge.atoms_map import AtomsMap
from alloygen.edge.missing import with_vacancies
from alloygen.edge.one_law import laid
from alloygen.edge.prototypes import is_vacancy
from alloygen.edge.structures import atoms_from
from alloygen.edge.supercell import TOL, vacancies
from alloygen.errors import AlloygenError, LatticeMismatch, OtherAlloy, UnknownSpecies
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.hamiltonian.expansion import ClusterExpansion
from alloygen.types import ArrayLike, PathLike

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure

# What stands for the atoms of a problem, for its Hamiltonian, and for sites that are held (see ``Problem.of``).
AtomsLike: TypeAlias = "Atoms | Structure | PathLike | Hamiltonian | Problem"
HamiltonianLike: TypeAlias = "Hamiltonian | ClusterExpansion | PathLike | tuple[Any, Any] | Any"
Fixed: TypeAlias = "Mapping[int, str] | ArrayLike | Atoms"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Problem:
    """A Hamiltonian on its supercell (N sites), the caller's Atoms on those sites, and the sites that are held.

    hamiltonian : Hamiltonian
    atoms_map : AtomsMap of its lattice
    known : int array (N,), the species index of each site that is held, -1 where free
    given : int8 array (B, N), occupations where walks are to begin, or None: random ones, or the atoms where moves keep the composition
    counts : what the numbers of atoms have to be (:meth:`at_composition`), None where they are free

    Raises LatticeMismatch where the three do not belong together, AlloygenError where nothing can change.

    Examples
    --------
    >>> from ase.build import bulk
    >>> problem = Problem.of(bulk("Cu", a=3.8).repeat((2, 2, 4)), {"Au": 0.0}, fixed={3: "Au"})
    >>> problem
    Problem('CuAu (formation energies)', Lattice(2x2x4 cells, 16 sites, Cu/Au), 1 site held)
    >>> problem.to_atoms(problem.occ).get_chemical_formula(), len(problem.free)
    ('AuCu15', 15)
    """

    hamiltonian: Hamiltonian
    atoms_map: AtomsMap
    known: np.ndarray
    given: np.ndarray | None = None
    counts: Counts | None = None

    def __post_init__(self) -> None:
        lattice, n = self.hamiltonian.lattice, self.hamiltonian.n_sites
        if len(self.atoms_map.site) != n or not np.array_equal(self.atoms_map.lattice.matrix, lattice.matrix):
            raise LatticeMismatch(
                f"expected atoms on the lattice of the Hamiltonian, {lattice!r}, got them on {self.atoms_map.lattice!r}"
            )
        known = np.array(self.known)
        if (
            known.shape != (n,)
            or known.dtype.kind not in "iu"
            or (known < -1).any()
            or (known >= lattice.n_species).any()
        ):
            raise LatticeMismatch(
                f"expected known as species indices ({n},) into {lattice.species}, -1 where free, got {known.dtype} of shape {known.shape}"
            )
        object.__setattr__(self, "known", known.astype(np.int64))
        if self.given is not None:
            object.__setattr__(self, "given", self.hamiltonian.check(as_array(self.given)))
        if not len(self.free):
            raise _nothing_free(self)

    @classmethod
    def of(
        cls,
        atoms: AtomsLike,
        named: object = None,
        hamiltonian: HamiltonianLike | None = None,
        fixed: Fixed | None = None,
        tol: float = TOL,
        occ: ArrayLike | None = None,
    ) -> Problem:
        """The problem that the arguments of a public function mean.

        Parameters
        ----------
        atoms : ase.Atoms, a pymatgen Structure or the path of a structure file, where an atom that is missing is a vacancy if the alloy has
            these ("X", put after the atoms); or a Hamiltonian on a supercell
            (``alloygen.ising(10)``, ``expansion.on((4, 4, 4))``), which stands for itself, its sites for the atoms; or a Problem
        named : chemical potentials, a composition, or a list of both, whose elements say with those of the atoms which alloy is meant
        hamiltonian : a ClusterExpansion, a Hamiltonian, a name ("cuau"), a JSON file, CLEASE (settings, ECIs) or a Clease calculator;
            without one what the Atoms carry (a Clease calculator), or the expansion that ships for the elements, or that of an own law
                which has them (:func:`alloygen.train`)
        fixed : sites that are held, by the caller's numbering: see :meth:`~alloygen.edge.atoms_map.AtomsMap.known_from`. Those of a
            Problem stay held
        tol : as that of :func:`alloygen.edge.match.match`
        occ : (N,) or (B, N) species indices on the lattice's sites: where walks begin, for moves that keep the composition the composition.
            They, or the first of them, say what fixed sites hold in place of the symbols of the atoms

        Raises LatticeMismatch for atoms that do not fit, UnknownSpecies for elements that the alloy has not, before any work.

        Examples
        --------
        >>> import alloygen
        >>> Problem.of(alloygen.ising(4)).hamiltonian.n_sites
        16
        """
        if isinstance(atoms, Problem):
            return atoms._also(named, hamiltonian, fixed, occ)
        expansion, found = _placed(atoms, named, hamiltonian, tol)
        own = [x for x in (atoms, hamiltonian) if isinstance(x, Hamiltonian) and _is_on(x, found)]
        h = own[0] if own else expansion.on(found.lattice)
        free = np.full(h.n_sites, -1)
        return cls(hamiltonian=h, atoms_map=found, known=free)._also(None, None, fixed, occ)

    def _also(self, named: object, hamiltonian: object, fixed: Fixed | None, occ: ArrayLike | None) -> Problem:
        """The same with more sites held."""
        if hamiltonian is not None:
            _require_one(self.hamiltonian, expansion_of(None, named, hamiltonian))
        if fixed is None and occ is None:
            return self
        given = self.given if occ is None else self.hamiltonian.check(as_array(occ))
        known = self.known
        if fixed is not None:
            more = self.atoms_map.known_from(fixed, None if given is None else given[0])
            known = np.where(more >= 0, more, known)
        return replace(self, known=known, given=given)

    def at_composition(self, composition: Composition | None) -> Problem:
        """The same at given numbers of atoms; see :func:`alloygen.conditions.composition.constraint`. BadCondition where no configuration has them.

        Examples
        --------
        >>> from ase.build import bulk
        >>> problem = Problem.of(bulk("Cu", a=3.8).repeat((2, 2, 4)), {"Au": 0.0}).at_composition({"Au": 4})
        >>> problem.counts.draw(2, np.random.default_rng(0)).sum(1).tolist()
        [4, 4]
        """
        if composition is None:
            return self
        lattice = self.hamiltonian.lattice
        occ = self.occ if isinstance(composition, str) and composition == "atoms" and not self.atoms_map.bare else None
        return self.with_counts(constraint(composition, lattice, occ))

    def with_counts(self, wanted: Constraint) -> Problem:
        """The same at the numbers of atoms that constraints say; BadCondition where no configuration has them."""
        return replace(self, counts=Counts(lattice=self.hamiltonian.lattice, constraint=wanted, known=self.known))

    # ------------------------------------------------------------------ sites
    @property
    def free(self) -> np.ndarray:
        """The sites (n,) that may change: neither held nor of one species alone."""
        return np.flatnonzero((self.known < 0) & self.hamiltonian.lattice.changeable)

    @property
    def held(self) -> np.ndarray:
        """Mask (N,) of the sites that are held."""
        return self.known >= 0

    @property
    def occ(self) -> np.ndarray:
        """Occupations (N,) int8 of the caller's Atoms, with what is held in its place; LatticeMismatch where there are no Atoms."""
        return np.where(self.held, self.known, self.atoms_map.occ_from()).astype(np.int8)

    @property
    def base(self) -> np.ndarray:
        """A configuration (N,) int8 to fill: what is given, or the first species of each site, with what is held in its place."""
        return np.where(self.held, self.known, 0 if self.given is None else self.given[0]).astype(np.int8)

    def start(
        self, occ: ArrayLike | None = None, composition: bool = False, seed: int = 0, n: int = 1
    ) -> np.ndarray | None:
        """Where to begin: occupations (B, N) int8 with what is held in its place, or None where any will do.

        occ : (N,) or (B, N) on the lattice's sites; by default those that the problem was ``given``
        composition : without ``occ`` the composition is that of the atoms, for moves that keep it; otherwise ``n`` random rows, by ``seed``

        Raises AlloygenError for occupations that do not fit, and for a composition that nothing tells.
        """
        occ = self.given if occ is None else occ
        if occ is not None:
            rows = self.hamiltonian.check(as_array(occ))
        elif composition:
            if self.atoms_map.bare:
                raise AlloygenError(
                    "expected a start whose composition the swaps keep, got none; pass Problem.of(hamiltonian, occ=occ), or Atoms, in place of "
                    "the Hamiltonian"
                )
            rows = self.occ[None]
        elif self.held.any():
            rows = self.hamiltonian.random(n, seed)
        else:
            return None
        return np.where(self.held, self.known, rows).astype(np.int8)

    def to_atoms(self, occ: ArrayLike) -> Atoms:
        """Occupations (N,) as Atoms in the caller's own order, cell and positions: :meth:`~alloygen.edge.atoms_map.AtomsMap.to_atoms`."""
        return self.atoms_map.to_atoms(occ)

    def renumbered(self, hamiltonian: Hamiltonian, row: np.ndarray) -> Problem:
        """The same problem on the sites of another Hamiltonian of the same law; ``row`` (N,) is its site of each site of this one."""
        known = np.empty_like(self.known)
        known[row] = self.known
        moved = self.atoms_map.renumbered(hamiltonian.lattice, row)
        given = None if self.given is None else self.given[:, np.argsort(row)]
        if self.counts is not None:
            raise AlloygenError("expected the composition after the sites of the model, got it before")
        return Problem(hamiltonian=hamiltonian, atoms_map=moved, known=known, given=given)

    def __repr__(self) -> str:
        n = int(self.held.sum())
        held = f", {n} site{'s' * (n > 1)} held" if n else ""
        return f"Problem({self.hamiltonian.expansion.name!r}, {self.hamiltonian.lattice!r}{held})"


def _is_on(h: Hamiltonian, found: AtomsMap) -> bool:
    """Whether a Hamiltonian is on the supercell that the atoms make."""
    return np.array_equal(h.lattice.matrix, found.lattice.matrix)


def _nothing_free(problem: Problem) -> AlloygenError:
    lattice = problem.hamiltonian.lattice
    if not lattice.changeable.any():
        return AlloygenError("expected at least one site with two species or more, got none: nothing can change")
    mark = "; 'X' is a species here and marks no free atom" if "X" in lattice.elements else ""
    return AlloygenError(
        f"expected at least one exchangeable site that is free, got all {problem.hamiltonian.n_sites} fixed{mark}; leave some out of fixed, given as "
        "{index: symbol}, indices or a mask"
    )


# ---------------------------------------------------------------------- which alloy
def _placed(
    atoms: Any, named: object, hamiltonian: HamiltonianLike | None, tol: float
) -> tuple[ClusterExpansion, AtomsMap]:
    """The expansion that is meant, and the caller's atoms on its lattice."""
    if isinstance(atoms, ClusterExpansion):
        raise LatticeMismatch(
            f"expected Atoms, or a Hamiltonian on a supercell, got the expansion {atoms.name!r}; lay it on one: expansion.on((4, 4, 4))"
        )
    if isinstance(atoms, Hamiltonian):
        if hamiltonian is not None:
            _require_one(atoms, expansion_of(None, named, hamiltonian))
        return cast(ClusterExpansion, atoms.expansion), AtomsMap.of_lattice(atoms.lattice)
    atoms = atoms_from(atoms)
    expansion = expansion_of(atoms, named, hamiltonian)
    require_elements(atoms, named, expansion)
    return expansion, with_vacancies(lambda a: laid(a, expansion, tol), atoms, expansion.primitive, tol)


def _require_one(h: Hamiltonian, other: ClusterExpansion) -> None:
    if other.fingerprint != h.fingerprint:
        raise LatticeMismatch(
            f"expected one Hamiltonian, got {h.expansion.name!r} ({h.fingerprint}) in place of Atoms, and {other.name!r} "
            f"({other.fingerprint}) as that of hamiltonian= or of the model. Give Atoms, or leave the other out"
        )


def expansion_of(atoms: Atoms | None, named: object, hamiltonian: HamiltonianLike | None) -> ClusterExpansion:
    """The expansion that the caller names, that the Atoms carry, or that ships or was trained for these elements."""
    if isinstance(hamiltonian, Hamiltonian):
        return cast(ClusterExpansion, hamiltonian.expansion)
    if hamiltonian is not None:
        from alloygen.hamiltonian.source import expansion_from

        return expansion_from(hamiltonian)
    assert atoms is not None  # there are none only where ``hamiltonian`` is given
    if getattr(atoms.calc, "name", "") == "CLEASE":
        from alloygen.hamiltonian.clease import from_clease

        return from_clease(atoms)
    return _by_elements(set(elements_of(atoms, named)))


def _by_elements(elements: set[str]) -> ClusterExpansion:
    """The expansion that ships for these elements, or that of the one own law which has them; with others beside where there is none of these alone."""
    from alloygen.data import cuau, own_alloys

    ship, own = cuau(), own_alloys()
    here = {name: {s for s in e.elements if not is_vacancy(s)} for name, e in own.items()}
    wanted = {s for s in elements if not is_vacancy(s)}
    meant = [n for n, e in here.items() if e == wanted]
    if elements == set(ship.elements):
        others = [n for n in meant if own[n].fingerprint != ship.fingerprint]
        if others:
            warnings.warn(
                f"the expansion of Cu-Au that ships is taken, not that of your own {', '.join(others)}. Say which is meant: hamiltonian={others[0]!r}, or "
                "hamiltonian='cuau'",
                OtherAlloy,
                stacklevel=2,
            )
        return ship
    if not meant and len(wanted) > 1:
        meant = [n for n, e in here.items() if e > wanted]
    if len({own[n].fingerprint for n in meant}) == 1:
        return own[meant[0]]
    if meant:
        raise UnknownSpecies(
            f"expected one alloy of the elements {sorted(elements)}, got several laws of your own, {', '.join(meant)}. Say which is meant: "
            f"hamiltonian={meant[0]!r}"
        )
    laws = f", or of your own laws {', '.join(own)}" if own else ""
    raise UnknownSpecies(
        f"expected an alloy that an expansion ships for (Cu-Au){laws}, got the elements {sorted(elements)} in atoms, mu and composition. "
        'Name the second element in mu (mu={"Au": 0.02}), or give hamiltonian= or model='
    )


def require_elements(atoms: Atoms, named: object, expansion: ClusterExpansion) -> None:
    unknown = sorted(set(elements_of(atoms, named)) - set(expansion.elements))
    if unknown:
        vacancy = f"; {vacancies(expansion.primitive)}" if "X" in unknown else ""
        raise UnknownSpecies(
            f"expected elements among {expansion.elements} of {expansion.name!r}, got also {unknown} in atoms, mu or composition{vacancy}. "
            "Use a Hamiltonian or model that holds them."
        )


def elements_of(atoms: Atoms, named: object = None) -> tuple[str, ...]:
    """The elements that the symbols of ``atoms`` and what is ``named`` tell together, in order of appearance.

    named : see :func:`alloygen.conditions.composition.named_elements`

    Examples
    --------
    >>> from ase.build import bulk
    >>> elements_of(bulk("Cu"), {"Au": 0.02})
    ('Cu', 'Au')
    """
    return tuple(dict.fromkeys([*atoms.get_chemical_symbols(), *named_elements(named)]))
