"""Occupations to Atoms in the caller's own site order, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from alloygen.arguments import join
from alloygen.edge.fits import species_index
from alloygen.errors import LatticeMismatch, UnknownSpecies
from alloygen.lattice import Lattice
from alloygen.types import ArrayLike

if TYPE_CHECKING:
    from ase import Atoms

OF_THE_SITE = {"numbers", "positions", "tags"}  # arrays of Atoms that stay when species are exchanged


@dataclass(frozen=True, eq=False)
class Rival:
    """Another way to lay the same Atoms onto the lattice.

    matrix : int array (3, 3), the supercell's rows in primitive vectors, laid this way
    rotation, shift : a site at x in the first way, in primitive vectors, is at ``x @ rotation + shift`` in this one
    strain : as that of AtomsMap
    displacement : root mean square distance of the atoms from their sites in angstrom
    """

    matrix: np.ndarray
    rotation: np.ndarray
    shift: np.ndarray
    strain: float
    displacement: float


@dataclass(frozen=True, eq=False, repr=False)
class AtomsMap:
    """The caller's Atoms laid onto a lattice; made by ``match``.

    lattice : Lattice
    site : int array (N,), the lattice site of each atom
    scale : length of the caller's crystal in units of the primitive cell's own length
    displacement : float array (N,), distance of each atom from its site in angstrom, after the best rigid shift
    strain : largest principal stretch of the cell, minus 1, beyond the scale
    rivals : other ways to lay the Atoms onto the lattice that fit as well, within noise. By symmetry they mostly mean the same
        system; an expansion tells (:func:`alloygen.edge.one_law.require_one_law`)

    Examples
    --------
    >>> import alloygen, numpy as np
    >>> from ase.build import bulk
    >>> from alloygen.edge.match import match
    >>> m = match(bulk("Cu", a=3.61).repeat((2, 2, 4)), alloygen.data.cuau().primitive)
    >>> m.lattice, round(m.scale, 3)
    (Lattice(2x2x4 cells, 16 sites, Cu/Au), 0.95)
    >>> m.to_atoms(np.arange(16) % 2).get_chemical_formula()
    'Au8Cu8'
    """

    _atoms: Atoms
    lattice: Lattice
    site: np.ndarray
    scale: float
    displacement: np.ndarray
    strain: float = 0.0
    rivals: tuple[Rival, ...] = ()
    bare: bool = False  # made of a lattice alone, see ``of_lattice``

    @classmethod
    def of_lattice(cls, lattice: Lattice) -> AtomsMap:
        """The sites of a lattice in their own order and places, with no species: for a Hamiltonian that stands for its Atoms.

        Examples
        --------
        >>> import alloygen
        >>> m = AtomsMap.of_lattice(alloygen.data.cuau().on((2, 2, 1)).lattice)
        >>> m.to_atoms([0, 0, 0, 1]).get_chemical_formula()
        'AuCu3'
        """
        from ase import Atoms

        n, pbc = lattice.n_sites, lattice.primitive.pbc
        return cls(
            Atoms(f"X{n}", lattice.positions, cell=lattice.cell, pbc=pbc),
            lattice,
            np.arange(n),
            1.0,
            np.zeros(n),
            bare=True,
        )

    def _require_species(self) -> None:
        if self.bare:
            raise LatticeMismatch(
                "expected Atoms, whose symbols say which species sit where, got a Hamiltonian alone. Pass Atoms with hamiltonian=, or "
                "name the species: fixed={site: species}, or occ= where there is one"
            )

    def __repr__(self) -> str:
        return f"AtomsMap({len(self.site)} atoms on {self.lattice!r}, strain {self.strain:.2g})"

    @property
    def atoms(self) -> Atoms:
        """A copy of the caller's Atoms (without calculator)."""
        return self._atoms.copy()

    def occ_from(self, atoms: Atoms | None = None) -> np.ndarray:
        """Occupations (N,) int64: the species index on each lattice site, read from symbols.

        atoms : Atoms in the same order as those that were matched (the default), with any symbols

        Raises UnknownSpecies that names the atoms whose element is not allowed where they sit.
        """
        if atoms is None:
            self._require_species()
            atoms = self._atoms
        if len(atoms) != len(self.site):
            raise LatticeMismatch(
                f"expected {len(self.site)} atoms in the order that was matched, got {len(atoms)}. "
                "Match these Atoms on their own."
            )
        symbols, code = np.unique(atoms.get_chemical_symbols(), return_inverse=True)
        index = species_index(self.lattice, symbols)[self.lattice.sublattice[self.site], code]
        _require_allowed(index, self.lattice, self.site, symbols[code])
        occ = np.empty(len(self.site), dtype=np.int64)
        occ[self.site] = index
        return occ

    def known_from(self, fixed: Mapping[int, str] | Atoms | ArrayLike, occ: np.ndarray | None = None) -> np.ndarray:
        """Species (N,) int64 of the sites that are to be held, -1 where free.

        fixed : {atom index: symbol}; or indices or a mask of the matched atoms, which keep their symbols; or Atoms in the same order.
            Atoms of symbol "X" are free where X is no species of the alloy. Where it is one (a vacancy), "X" holds a vacancy
            and all Atoms are held: give a dict, indices or a mask there to leave some free
        occ : (N,) species indices on the lattice's sites, which stand for the symbols where ``fixed`` is indices or a mask

        Raises LatticeMismatch for atoms that do not exist, UnknownSpecies for a species that a site does not allow.

        Examples
        --------
        >>> import alloygen
        >>> from ase.build import bulk
        >>> from alloygen.edge.match import match
        >>> m = match(bulk("Cu").repeat((2, 2, 1)), alloygen.data.cuau().primitive)
        >>> m.known_from({2: "Au"}).tolist(), m.known_from([0, 1]).tolist()
        ([-1, -1, 1, -1], [0, 0, -1, -1])
        """
        at, symbols = self._held(fixed)
        known = np.full(len(self.site), -1, dtype=np.int64)
        if symbols is None and occ is not None:
            known[self.site[at]] = np.asarray(occ)[self.site[at]]
        elif len(at):
            known[self.site[at]] = self._species(at, self._own(at) if symbols is None else symbols)
        return known

    def _held(self, fixed) -> tuple[np.ndarray, list[str] | None]:
        """Indices of the atoms that are held, and the symbols that were given for them."""
        n = len(self.site)
        if isinstance(fixed, Mapping):
            return _indices(list(fixed), n), [str(s) for s in fixed.values()]
        if hasattr(fixed, "get_chemical_symbols"):
            if len(fixed) != n:
                raise LatticeMismatch(f"expected fixed Atoms with the {n} atoms that were matched, got {len(fixed)}")
            names = np.array(fixed.get_chemical_symbols())
            at = np.arange(n) if "X" in self.lattice.elements else np.flatnonzero(names != "X")
            return at, names[at].tolist()
        mask = np.asarray(fixed)
        if mask.dtype == bool and mask.shape != (n,):
            raise LatticeMismatch(f"expected a mask of the {n} atoms, got shape {mask.shape}")
        return np.flatnonzero(mask) if mask.dtype == bool else _indices(mask.ravel().tolist(), n), None

    def _own(self, at: np.ndarray) -> list[str]:
        """Symbols of some of the caller's atoms."""
        self._require_species()
        return np.array(self._atoms.get_chemical_symbols())[at].tolist()

    def _species(self, at: np.ndarray, symbols: list[str]) -> np.ndarray:
        """Species index of each symbol where the atom ``at`` sits; UnknownSpecies names the first that is not allowed there."""
        names, code = np.unique(symbols, return_inverse=True)
        sublattice = self.lattice.sublattice[self.site[at]]
        index = species_index(self.lattice, names)[sublattice, code]
        for k in np.flatnonzero(index < 0)[:1]:
            allowed, x = "/".join(self.lattice.species[sublattice[k]]), symbols[k] == "X" in self.lattice.elements
            vacancy = " ('X' is a vacancy in this alloy, not a mark)" if x else ""
            raise UnknownSpecies(
                f"expected one of {allowed} to be held at atom {at[k]}, got {symbols[k]!r}{vacancy}; change the symbol, "
                "or leave the atom free by fixed={index: symbol} or a mask"
            )
        return index

    def renumbered(self, lattice: Lattice, row: np.ndarray) -> AtomsMap:
        """The same Atoms on the sites of ``lattice``; ``row`` (N,) is the new site of each site of ``self.lattice``.

        The two may be the same lattice at another length.
        """
        scale = self.scale * abs(np.linalg.det(self.lattice.cell) / np.linalg.det(lattice.cell)) ** (1 / 3)
        return replace(self, lattice=lattice, site=np.asarray(row)[self.site], scale=float(scale), rivals=())

    def to_atoms(self, occ: ArrayLike) -> Atoms:
        """New Atoms with the species of occupations ``occ`` (N,), in the caller's site order, cell and positions.

        What belongs to the site comes along: tags and constraints. What belongs to a species or to the caller's own configuration
        does not: the calculator, ``info`` and every other per-atom array (oxidation states, moments, charges, masses, momenta,
        labels), since nothing tells which of them an exchanged atom would keep. The order of the atoms is the caller's, so labels
        of sites can be read there. Raises LatticeMismatch for a wrong shape or species index.

        Examples
        --------
        >>> import alloygen
        >>> from ase.build import bulk
        >>> from alloygen.edge.match import match
        >>> atoms = bulk("Au", cubic=True)
        >>> m = match(atoms, alloygen.data.cuau().primitive)
        >>> m.to_atoms([0, 0, 0, 1]).get_chemical_formula(), atoms.get_chemical_formula()
        ('AuCu3', 'Au4')
        """
        occ = np.asarray(occ)
        if occ.shape != (len(self.site),):
            raise LatticeMismatch(
                f"expected the occupations of one configuration, shape ({len(self.site)},), got {occ.shape}. "
                "Pass one row of a batch."
            )
        if (occ < 0).any() or (occ >= self.lattice.n_species).any() or (occ != occ.astype(np.int64)).any():
            raise LatticeMismatch(
                f"expected species indices into {self.lattice.species}, got values {np.unique(occ)[:10].tolist()}"
            )
        numbers = self._numbers[self.lattice.sublattice, occ.astype(np.int64)]
        new = self._atoms.copy()
        new.info = {}
        for name in set(new.arrays) - OF_THE_SITE:
            del new.arrays[name]
        new.numbers[:] = numbers[self.site]
        return new

    @property
    def _numbers(self) -> np.ndarray:
        """Atomic numbers (n_sublattices, S) of each species index."""
        from ase.data import atomic_numbers

        unknown = [e for e in self.lattice.elements if e not in atomic_numbers]
        if unknown:
            raise UnknownSpecies(
                f"expected chemical symbols as species, got {join(unknown)}, which ASE does not know. "
                "They have no Atoms: occ holds the number of the species on each site. Name a vacancy 'X'."
            )
        numbers = np.array([atomic_numbers[e] for e in self.lattice.elements])
        return numbers[self.lattice.element_index]


def _indices(given: list, n: int) -> np.ndarray:
    bad = [i for i in given if isinstance(i, bool) or not isinstance(i, (int, np.integer)) or not -n <= i < n]
    if bad:
        raise LatticeMismatch(f"expected fixed atoms as indices from 0 to {n - 1}, got {bad[:5]}")
    return np.array([int(i) % n for i in given], dtype=np.int64)


def _require_allowed(index, lattice: Lattice, site, symbols) -> None:
    bad = np.flatnonzero(index < 0)
    if not len(bad):
        return
    groups: dict[tuple[str, int], list[int]] = {}
    for i in bad:
        groups.setdefault((symbols[i], int(lattice.sublattice[site[i]])), []).append(int(i))
    told = "; ".join(
        f"{e} on sublattice {b} ({'/'.join(lattice.species[b])} allowed) at atoms {join(where, 8)}"
        for (e, b), where in groups.items()
    )
    raise UnknownSpecies(
        f"expected elements that the sublattices may hold, got {told}. "
        "Change the symbols, or use a Hamiltonian with these species."
    )
