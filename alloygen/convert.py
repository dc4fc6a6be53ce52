"""The edge of the package: ase.Atoms <-> (Lattice, occupations) <-> torch_geometric Data and pymatgen Structure.

This is the only core module that sees Atoms. ``match`` finds which supercell of a primitive cell the atoms make; the
:class:`AtomsMap` it returns carries occupations to Atoms in the caller's own site order, and back. A lattice model
knows no length: any lattice constant matches, and what the atoms had is kept.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from alloygen.arguments import positive
from alloygen.errors import LatticeMismatch, StrainTaken, UnknownSpecies
from alloygen.fits import Fit, best_fits, nearest_neighbour, species_index
from alloygen.io.structures import read_structure
from alloygen.lattice import Lattice, Primitive
from alloygen.supercell import TOL, Found, no_supercell, vacancies
from alloygen.types import ArrayLike

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure
    from torch_geometric.data import Data

    from alloygen.types import PathLike

__all__ = [
    "AtomsMap",
    "atoms_from",
    "elements_of",
    "from_pymatgen",
    "match",
    "primitive_from_atoms",
    "to_data",
    "to_pymatgen",
]


OF_THE_SITE = {"numbers", "positions", "tags"}  # arrays of Atoms that stay when species are exchanged


@dataclass(frozen=True, eq=False, repr=False)
class AtomsMap:
    """The caller's Atoms laid onto a lattice; made by ``match``.

    lattice : Lattice
    site : int array (N,), the lattice site of each atom
    scale : length of the caller's crystal in units of the primitive cell's own length
    displacement : float array (N,), distance of each atom from its site in angstrom, after the best rigid shift
    strain : largest principal stretch of the cell, minus 1, beyond the scale
    rivals : other ways to lay the Atoms onto the lattice that fit as well, within noise. By symmetry they mostly mean the same
        system; an expansion tells (:func:`alloygen.resolve.require_one_law`)

    Examples
    --------
    >>> import alloygen, numpy as np
    >>> from ase.build import bulk
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
                "name the species: fixed={site: species}"
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

    def known_from(self, fixed: Mapping | Atoms | Sequence | np.ndarray) -> np.ndarray:
        """Species (N,) int64 of the sites that are to be held, -1 where free.

        fixed : {atom index: symbol}; or indices or a mask of the matched atoms, which keep their symbols; or Atoms in the same order.
            Atoms of symbol "X" are free where X is no species of the alloy. Where it is one (a vacancy), "X" holds a vacancy
            and all Atoms are held: give a dict, indices or a mask there to leave some free

        Raises LatticeMismatch for atoms that do not exist, UnknownSpecies for a species that a site does not allow.

        Examples
        --------
        >>> import alloygen
        >>> from ase.build import bulk
        >>> m = match(bulk("Cu").repeat((2, 2, 1)), alloygen.data.cuau().primitive)
        >>> m.known_from({2: "Au"}).tolist(), m.known_from([0, 1]).tolist()
        ([-1, -1, 1, -1], [0, 0, -1, -1])
        """
        at, symbols = self._held(fixed)
        known = np.full(len(self.site), -1, dtype=np.int64)
        if len(at):
            names, code = np.unique(symbols, return_inverse=True)
            sites = self.site[at]
            index = species_index(self.lattice, names)[self.lattice.sublattice[sites], code]
            for k in np.flatnonzero(index < 0)[:1]:
                allowed = "/".join(self.lattice.species[self.lattice.sublattice[sites[k]]])
                vacancy = (
                    " ('X' is a vacancy in this alloy, not a mark)"
                    if symbols[k] == "X" in self.lattice.elements
                    else ""
                )
                raise UnknownSpecies(
                    f"expected one of {allowed} to be held at atom {at[k]}, got {symbols[k]!r}{vacancy}; change the symbol, "
                    "or leave the atom free by fixed={index: symbol} or a mask"
                )
            known[sites] = index
        return known

    def _held(self, fixed) -> tuple[np.ndarray, list[str]]:
        """Indices of the atoms that are held, and their symbols."""
        n = len(self.site)
        own = np.array(self._atoms.get_chemical_symbols())
        if isinstance(fixed, Mapping):
            return _indices(list(fixed), n), [str(s) for s in fixed.values()]
        if hasattr(fixed, "get_chemical_symbols"):
            if len(fixed) != n:
                raise LatticeMismatch(f"expected fixed Atoms with the {n} atoms that were matched, got {len(fixed)}")
            names = np.array(fixed.get_chemical_symbols())
            at = np.arange(n) if "X" in self.lattice.elements else np.flatnonzero(names != "X")
            return at, names[at].tolist()
        self._require_species()
        mask = np.asarray(fixed)
        if mask.dtype == bool and mask.shape != (n,):
            raise LatticeMismatch(f"expected a mask of the {n} atoms, got shape {mask.shape}")
        at = np.flatnonzero(mask) if mask.dtype == bool else _indices(mask.ravel().tolist(), n)
        return at, own[at].tolist()

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
                f"expected chemical symbols as species, got {_join(unknown)}, which ASE does not know. "
                "They have no Atoms: occ holds the number of the species on each site. Name a vacancy 'X'."
            )
        numbers = np.array([atomic_numbers[e] for e in self.lattice.elements])
        return numbers[self.lattice.element_index]


def _indices(given: list, n: int) -> np.ndarray:
    bad = [i for i in given if isinstance(i, bool) or not isinstance(i, (int, np.integer)) or not -n <= i < n]
    if bad:
        raise LatticeMismatch(f"expected fixed atoms as indices from 0 to {n - 1}, got {bad[:5]}")
    return np.array([int(i) % n for i in given], dtype=np.int64)


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


STRAIN_TOLD = 0.02  # strain that is taken, but not without a word


# ---------------------------------------------------------------------- Atoms onto a lattice
def match(
    atoms: Atoms | Structure | PathLike, primitive: Primitive, tol: float = TOL, check_species: bool = False
) -> AtomsMap:
    """Find the supercell of ``primitive`` that ``atoms`` make, and which atom sits on which site.

    The crystal may be scaled, strained by up to 5 %, rotated, shifted rigidly, wrapped, and its atoms listed in any order. Supercell
    matrices H are searched whose metric H G H^T is that of the caller's cell, with G the primitive cell's metric. Among all
    orientations and shifts that put the atoms on sites, the one is taken that has the fewest atoms on sublattices that refuse them,
    and then the least misfit

        misfit^2 = sum_k (ln lambda_k)^2 + mean |u|^2 / d^2

    with the principal stretches lambda of the cell (the scale taken out), the displacements u and the nearest-neighbour distance d.
    Of fits that are equal within noise, an unstrained cell that is laid as the primitive cell is says itself what it means; for any
    other ``rivals`` of the result keeps those that were not taken.
    ``bulk(...).repeat((n, m, l))`` keeps its numbering.

    Parameters
    ----------
    atoms : ase.Atoms, a pymatgen Structure or the path of a structure file (:func:`atoms_from`); not changed
    primitive : Primitive, with the sublattices and their species
    tol : distance that an atom may be off its site, as a fraction of the nearest-neighbour distance; within it relaxed
        structures match too
    check_species : raise UnknownSpecies when an element is not allowed on its sublattice. Symbols help to tell the
        sublattices apart in any case; they are placeholders otherwise.

    Raises LatticeMismatch for a cell that is no supercell, a wrong number of atoms, atoms off their sites, two atoms
    on one site, or a direction that should be periodic and is not. Warns with StrainTaken above 2 % of strain.

    Examples
    --------
    >>> import alloygen
    >>> from ase.build import bulk
    >>> match(bulk("Cu", cubic=True).repeat(2), alloygen.data.cuau().primitive).lattice.n_sites
    32
    """
    tol = positive(tol, "tol, a fraction of the nearest-neighbour distance,")
    atoms = atoms_from(atoms)
    _require_periodic(atoms, primitive)
    _require_count(len(atoms), primitive)
    neighbour = nearest_neighbour(primitive)
    symbols, cell = atoms.get_chemical_symbols(), np.array(atoms.cell)
    best, *others = best_fits(symbols, atoms.get_positions(), cell, primitive, tol * neighbour, neighbour)
    if (best.distance > best.limit).mean() > 0.25:
        raise no_supercell(primitive, atoms.cell, len(atoms) // len(primitive.basis))
    _require_on_sites(best)
    lattice = Lattice(primitive, best.found.canonical)
    site = lattice.index(best.offsets, best.sublattice)
    _require_one_each(site, lattice)
    _warn_strained(best.found)
    private = atoms.copy()
    private.calc = None
    rivals = tuple(_rival(best, other, neighbour) for other in others)
    scale = best.found.scale
    result = AtomsMap(private, lattice, site, scale, best.distance * scale, best.found.strain, rivals)
    if check_species:
        result.occ_from()
    return result


def _rival(best: Fit, other: Fit, neighbour: float) -> Rival:
    rotation = np.linalg.solve(best.found.matrix, other.found.matrix.astype(float))
    rms = np.sqrt(other.spread) * neighbour * other.found.scale
    return Rival(other.found.matrix, rotation, best.shift @ rotation - other.shift, other.found.strain, float(rms))


# ---------------------------------------------------------------------- what match refuses
def atoms_from(given: Atoms | Structure | PathLike) -> Atoms:
    """ase.Atoms from what stands for them: Atoms as they are, a pymatgen Structure, or the path of a structure file.

    Of a file with several images the last is taken, as ``ase.io.read`` does. Every public function that takes Atoms takes these.

    Raises LatticeMismatch for anything else, for no atoms, for positions or a cell that are not finite and for sites that are
    occupied in part; AlloygenError for a file that cannot be read.

    Examples
    --------
    >>> from ase.build import bulk
    >>> atoms_from(to_pymatgen(bulk("Cu", a=3.6))).get_chemical_formula()
    'Cu'
    >>> atoms_from(None)
    Traceback (most recent call last):
    alloygen.errors.LatticeMismatch: expected atoms as ase.Atoms, a pymatgen Structure or the path of a structure file, got None
    """
    plain: Any = given
    if isinstance(given, (str, os.PathLike)):
        atoms = read_structure(given)
    elif hasattr(plain, "get_chemical_symbols"):
        atoms = plain
    elif hasattr(plain, "is_ordered") and hasattr(plain, "lattice"):
        atoms = from_pymatgen(plain)
    else:
        several = ": pass one of them" if isinstance(given, Sequence) and len(given) else ""
        what = f"a {type(given).__name__} of {len(given)}" if several else repr(given)
        raise LatticeMismatch(
            f"expected atoms as ase.Atoms, a pymatgen Structure or the path of a structure file, got {what}{several}"
        )
    if not len(atoms):
        raise LatticeMismatch("expected one atom on each site, got a wrong number of atoms: 0")
    bad = np.flatnonzero(~np.isfinite(atoms.positions).all(1))
    if len(bad) or not np.isfinite(np.array(atoms.cell)).all():
        where = (
            f"the positions of atoms {bad[:8].tolist()}" if len(bad) else f"the cell {np.array(atoms.cell).tolist()}"
        )
        raise LatticeMismatch(f"expected finite numbers, got nan or inf in {where}. Check where the Atoms came from")
    return atoms


def _warn_strained(found: Found) -> None:
    if found.strain > STRAIN_TOLD:
        warnings.warn(
            f"the cell is strained by {100 * found.strain:.1f} % against the lattice, scaled to its volume, and was taken as a "
            "relaxed cell. A lattice model knows no strain: energies are those of the lattice. Check that it is the right crystal.",
            StrainTaken,
            stacklevel=3,
        )


def _require_periodic(atoms, primitive: Primitive) -> None:
    open_axes = [a for a in range(3) if primitive.pbc[a] and not atoms.pbc[a]]
    if open_axes:
        raise LatticeMismatch(
            f"expected periodic boundaries along axes {[a for a in range(3) if primitive.pbc[a]]}, got "
            f"pbc={atoms.pbc.tolist()}. Set atoms.pbc = {list(primitive.pbc)} if the atoms are a periodic cell."
        )


def _require_count(n: int, primitive: Primitive) -> None:
    n_basis = len(primitive.basis)
    if n == 0 or n % n_basis:
        raise LatticeMismatch(
            f"expected a multiple of {n_basis} atoms (the sites of the primitive cell), got a wrong number of atoms: "
            f"{n}. Every site needs an atom; {vacancies(primitive)}."
        )


def _require_on_sites(best: Fit) -> None:
    off = np.flatnonzero(best.distance > best.limit)
    if len(off):
        scale = best.found.scale
        listed = ", ".join(f"{i} by {best.distance[i] * scale:.3f}" for i in off[:8])
        more = f" and {len(off) - 8} more" if len(off) > 8 else ""
        raise LatticeMismatch(
            f"expected every atom within {best.limit * scale:.3f} A of its site, got atoms off their sites: "
            f"{listed}{more} (index by distance in A). Use the ideal positions, raise tol, or check the structure."
        )


def _require_one_each(site: np.ndarray, lattice: Lattice) -> None:
    count = np.bincount(site, minlength=lattice.n_sites)
    crowded = np.flatnonzero(count > 1)
    if len(crowded):
        pairs = "; ".join(str(np.flatnonzero(site == s).tolist()) for s in crowded[:5])
        raise LatticeMismatch(
            f"expected one atom on each of {lattice.n_sites} sites, got several atoms on one site: atoms {pairs} "
            f"({int((count == 0).sum())} sites are empty). "
            f"Remove the doubles and fill the empty sites; {vacancies(lattice.primitive)}."
        )


def _require_allowed(index, lattice: Lattice, site, symbols) -> None:
    bad = np.flatnonzero(index < 0)
    if not len(bad):
        return
    groups: dict[tuple[str, int], list[int]] = {}
    for i in bad:
        groups.setdefault((symbols[i], int(lattice.sublattice[site[i]])), []).append(int(i))
    told = "; ".join(
        f"{e} on sublattice {b} ({'/'.join(lattice.species[b])} allowed) at atoms {_join(where[:8])}"
        + (f" and {len(where) - 8} more" if len(where) > 8 else "")
        for (e, b), where in groups.items()
    )
    raise UnknownSpecies(
        f"expected elements that the sublattices may hold, got {told}. "
        "Change the symbols, or use a Hamiltonian with these species."
    )


# ---------------------------------------------------------------------- primitive cells and elements
def primitive_from_atoms(atoms: Atoms | Structure | PathLike, species: Sequence | Mapping) -> Primitive:
    """A Primitive from the Atoms of a primitive cell.

    Parameters
    ----------
    atoms : ase.Atoms (or what :func:`atoms_from` takes), one atom per sublattice
    species : one list of symbols for all sites, a list of such lists (one per site), or a dict from the symbol that
        stands in ``atoms`` to its list (a symbol that is not named stays as it is)

    Raises LatticeMismatch for a wrong number of lists and UnknownSpecies for a symbol that ``atoms`` do not have.

    Examples
    --------
    >>> from ase.build import bulk
    >>> primitive_from_atoms(bulk("MgO", "rocksalt", a=4.2), {"Mg": ["Mg", "Ni"]}).species
    (('Mg', 'Ni'), ('O',))
    """
    atoms = atoms_from(atoms)
    symbols = atoms.get_chemical_symbols()
    if isinstance(species, Mapping):
        unknown = [s for s in species if s not in symbols]
        if unknown:
            raise UnknownSpecies(
                f"expected species lists for symbols among {_join(dict.fromkeys(symbols))}, got {_join(unknown)}. "
                "Name the symbols that stand in the primitive cell."
            )
        lists = [species.get(s, (s,)) for s in symbols]
    elif all(isinstance(s, str) for s in species):
        lists = [species] * len(symbols)
    else:
        lists = list(species)
    lists = [(s,) if isinstance(s, str) else tuple(s) for s in lists]
    if len(lists) != len(symbols) or any(not s or len(set(s)) < len(s) for s in lists):
        raise LatticeMismatch(
            f"expected one list of different symbols per site ({len(symbols)} sites), got {lists}. "
            "Give one list for all sites, one per site, or a dict by symbol."
        )
    return Primitive(np.array(atoms.cell), atoms.get_scaled_positions(wrap=False), tuple(lists), tuple(atoms.pbc))


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


# ---------------------------------------------------------------------- other libraries
def to_data(lattice: Lattice, cutoff: float | None = None, occ: ArrayLike | None = None) -> Data:
    """The lattice as a torch_geometric graph: every pair of sites within the cutoff, one edge per periodic image.

    Parameters
    ----------
    lattice : Lattice
    cutoff : length in the primitive cell's unit (angstrom); the default is 1.05 nearest-neighbour distances
    occ : occupations (N,); gives ``x`` (N, n_elements), one-hot in order of ``lattice.elements``

    The graph has ``pos`` (N, 3), ``sublattice`` (N,), ``cell`` (1, 3, 3), ``edge_index`` (2, E), ``edge_vec`` (E, 3)
    from the first site to the image of the second, and ``edge_shift`` (E, 3), that image in supercell vectors.
    Raises LatticeMismatch for a cutoff that is not positive or occupations that do not fit.

    Examples
    --------
    >>> import alloygen
    >>> to_data(alloygen.data.cuau().on((2, 2, 4)).lattice).num_edges        # 12 nearest neighbours per site
    192
    """
    import torch
    from ase.neighborlist import primitive_neighbor_list
    from torch_geometric.data import Data

    if cutoff is None:
        cutoff = 1.05 * nearest_neighbour(lattice.primitive)
    if not cutoff > 0:
        raise LatticeMismatch(f"expected a cutoff above 0 in the primitive cell's unit, got {cutoff!r}")
    i, j, vec, shift = primitive_neighbor_list("ijDS", lattice.primitive.pbc, lattice.cell, lattice.positions, cutoff)
    real = torch.get_default_dtype()
    data = Data(
        pos=torch.as_tensor(lattice.positions, dtype=real),
        sublattice=torch.as_tensor(lattice.sublattice),
        cell=torch.as_tensor(lattice.cell, dtype=real)[None],
        edge_index=torch.as_tensor(np.stack([i, j]).astype(np.int64)),
        edge_vec=torch.as_tensor(vec, dtype=real),
        edge_shift=torch.as_tensor(shift.astype(np.int64)),
        num_nodes=lattice.n_sites,
    )
    if occ is not None:
        data.x = torch.as_tensor(_one_hot(lattice, np.asarray(occ)), dtype=real)
    return data


def _one_hot(lattice: Lattice, occ: np.ndarray) -> np.ndarray:
    if occ.shape != (lattice.n_sites,) or (occ < 0).any() or (occ >= lattice.n_species).any():
        raise LatticeMismatch(
            f"expected species indices of shape ({lattice.n_sites},) into {lattice.species}, got shape {occ.shape} "
            f"with values {np.unique(occ)[:10].tolist()}"
        )
    element = lattice.element_index[lattice.sublattice, occ.astype(np.int64)]
    return np.eye(len(lattice.elements))[element]


def to_pymatgen(atoms: Atoms) -> Structure:
    """A pymatgen Structure of ``atoms``.

    Examples
    --------
    >>> from ase.build import bulk
    >>> to_pymatgen(bulk("Cu", a=3.61)).composition.reduced_formula
    'Cu'
    """
    from pymatgen.io.ase import AseAtomsAdaptor

    return AseAtomsAdaptor.get_structure(atoms)


def from_pymatgen(structure: Structure) -> Atoms:
    """Plain ase.Atoms of an ordered pymatgen Structure.

    Raises LatticeMismatch for partial occupancies, which are no configuration.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from_pymatgen(to_pymatgen(bulk("Cu", a=3.61)))
    Atoms(symbols='Cu', pbc=True, cell=[[0.0, 1.805, 1.805], [1.805, 0.0, 1.805], [1.805, 1.805, 0.0]])
    """
    from pymatgen.io.ase import AseAtomsAdaptor

    if not structure.is_ordered:
        raise LatticeMismatch(
            f"expected one species on each site, got a disordered structure {structure.composition.formula}. "
            "Choose a configuration, for example with pymatgen's OrderDisorderedStructureTransformation."
        )
    return AseAtomsAdaptor.get_atoms(structure, msonable=False)


def _join(names) -> str:
    return ", ".join(map(str, names))
