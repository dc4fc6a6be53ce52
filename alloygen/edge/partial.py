"""Structures whose sites are occupied in part: which supercell to fill, and how many atoms of each element it takes.

A crystallographic file gives averages: 0.75 Cu + 0.25 Au on a site. What is drawn are configurations of a supercell with these numbers of atoms on
the sublattices of a Hamiltonian. Sublattices that may hold the same elements are counted together, since equilibrium decides what each of them gets.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from alloygen.arguments import join
from alloygen.conditions.composition import Constraint, by_group
from alloygen.edge.prototypes import is_vacancy
from alloygen.edge.structures import atoms_from
from alloygen.errors import AlloygenError, BadCondition, LatticeMismatch, UnknownSpecies
from alloygen.lattice import Lattice
from alloygen.types import ArrayLike, PathLike

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure

    from alloygen.edge.atoms_map import AtomsMap

OVER = 1e-3  # that occupancies of a site may add up to more than one, by rounding
DIGITS = 0.005  # of an occupancy in a file
FEWEST, MOST = 16, 512  # sites of a supercell that is chosen here
VACANCY = "X"


@dataclass(frozen=True, kw_only=True, eq=False)
class Partial:
    """Atoms that hold the place of the sites, with the first element of each, and the occupancies (N,) of these, by element and "X".

    Examples
    --------
    >>> from pymatgen.core import Structure
    >>> cubic = Structure.from_spacegroup("Fm-3m", [[3.8, 0, 0], [0, 3.8, 0], [0, 0, 3.8]], [{"Cu": 0.75, "Au": 0.25}], [[0, 0, 0]])
    >>> found = partial_from(cubic)
    >>> found.atoms.get_chemical_formula(), found.occupancy[0]
    ('Cu4', {'Cu': 0.75, 'Au': 0.25})
    """

    atoms: Atoms
    occupancy: tuple[dict[str, float], ...]

    @property
    def elements(self) -> tuple[str, ...]:
        """Those that are named."""
        return tuple(dict.fromkeys(e for site in self.occupancy for e in site if e != VACANCY))

    def repeated(self, supercell: ArrayLike | None) -> Partial:
        """A supercell: three repeats, a 3x3 matrix of whole numbers, or None for the smallest that has whole numbers of atoms."""
        repeats = self._smallest() if supercell is None else np.asarray(supercell)
        whole = repeats.dtype.kind in "iu" and repeats.shape in ((3,), (3, 3))
        if (
            not whole
            or (repeats.ndim == 1 and (repeats < 1).any())
            or (repeats.ndim == 2 and round(np.linalg.det(repeats)) == 0)
        ):
            raise LatticeMismatch(
                f"expected a supercell as three repeats of at least 1 or a 3x3 matrix of whole numbers, got {supercell!r}"
            )
        from ase.build import make_supercell

        tagged = self.atoms.copy()
        tagged.new_array("of", np.arange(len(tagged)))
        large = tagged.repeat(repeats.tolist()) if repeats.ndim == 1 else make_supercell(tagged, repeats)
        of = large.arrays.pop("of")
        return Partial(atoms=large, occupancy=tuple(self.occupancy[i] for i in of))

    def _smallest(self) -> np.ndarray:
        """Repeats of the smallest supercell, nearest to a cube, in which each kind of site has whole numbers of atoms."""
        kinds: dict[tuple, int] = {}
        for site in self.occupancy:
            kinds[tuple(sorted(site.items()))] = kinds.get(tuple(sorted(site.items())), 0) + 1
        lengths, n = self.atoms.cell.lengths(), len(self.atoms)
        sizes = [r for r in product(range(1, 9), repeat=3) if n * np.prod(r) <= MOST]
        sizes.sort(key=lambda r: (np.prod(r), float(np.ptp(np.array(r) * lengths))))
        for r in sizes:
            cells = int(np.prod(r))
            if n * cells >= min(FEWEST, MOST // n * n) and all(
                _near(x * m * cells, m * cells) is not None for site, m in kinds.items() for _, x in site
            ):
                return np.array(r)
        raise BadCondition(
            f"expected occupancies that a supercell of up to {MOST} sites can have, got {[dict(k) for k in kinds]}; name a supercell and "
            "the numbers of atoms, alloygen.sample(atoms, T, composition={...})"
        )

    def constraint(self, found: AtomsMap) -> Constraint:
        """The numbers of atoms on the sublattices of a lattice that the atoms were laid on."""
        lattice = found.lattice
        names = {VACANCY: next((e for e in lattice.elements if is_vacancy(e)), None)}
        groups: dict[frozenset, list[int]] = {}
        for b, species in enumerate(lattice.species):
            groups.setdefault(frozenset(species), []).append(b)
        out = []
        for shared, sublattices in groups.items():
            sums = self._sums(found, lattice, sublattices, names)
            if foreign := [e for e in sums if e not in shared]:
                where = "/".join(lattice.species[sublattices[0]])
                raise UnknownSpecies(
                    f"expected {where} on the sites of sublattice {sublattices[0]}, got occupancies of {', '.join(e or 'vacancies' for e in foreign)}"
                    f"{', which this alloy does not have: occupancies that add up to less than one leave some' if None in foreign else ''}"
                )
            if len(shared) > 1:
                out.append((sublattices, _numbers(sums, lattice, sublattices)))
        return by_group(out, lattice)

    def _sums(self, found: AtomsMap, lattice: Lattice, sublattices: list[int], names: Mapping) -> dict[str, float]:
        sums: dict[str, float] = {}
        here = np.isin(lattice.sublattice[found.site], sublattices)
        for i in np.flatnonzero(here):
            for e, x in self.occupancy[i].items():
                sums[names.get(e, e)] = sums.get(names.get(e, e), 0.0) + x
        return sums


def partial_from(given: Structure | Atoms | PathLike) -> Partial:
    """The occupancies of a pymatgen Structure, a CIF or another structure file, or ordered Atoms.

    Where those of a site add up to less than one the rest is a vacancy. Raises AlloygenError for sums above one, with the sites.
    """
    structure: Any = _read(given) if isinstance(given, (str, os.PathLike)) else given
    if not hasattr(structure, "is_ordered"):
        atoms = atoms_from(structure).copy()
        return Partial(atoms=atoms, occupancy=tuple({e: 1.0} for e in atoms.get_chemical_symbols()))
    from ase import Atoms

    sites = [_occupancy(site) for site in structure]
    over = [(k, site) for k, site in enumerate(sites) if sum(site.values()) > 1 + OVER]
    if over:
        told = join((f"site {k}: {_words(site)}" for k, site in over), 5)
        raise AlloygenError(
            f"expected occupancies that add up to at most one on each site, got {told}. Correct the file"
        )
    for site in sites:
        if (rest := 1.0 - sum(site.values())) > OVER:
            site[VACANCY] = rest
    symbols = [max((x, e) for e, x in site.items() if e != VACANCY)[1] for site in sites]
    atoms = Atoms(symbols, structure.cart_coords, cell=structure.lattice.matrix, pbc=True)
    return Partial(atoms=atoms, occupancy=tuple(sites))


def _occupancy(site: Any) -> dict[str, float]:
    out: dict[str, float] = {}
    for species, x in site.species.items():
        symbol = getattr(getattr(species, "element", species), "symbol", str(species))  # without its oxidation state
        symbol = VACANCY if symbol.startswith("X") and symbol not in ("Xe",) else symbol
        out[symbol] = out.get(symbol, 0.0) + float(x)
    return {e: x for e, x in out.items() if x > 0}


def _read(path: PathLike) -> Any:
    name = os.fspath(path)
    if not os.path.isfile(name):
        raise AlloygenError(f"expected a structure file, such as a CIF, got {name!r}: no file there")
    if not name.lower().endswith(".cif"):
        return atoms_from(path)
    from pymatgen.io.cif import CifParser

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = CifParser(name, occupancy_tolerance=1e9).parse_structures(primitive=True, check_occu=False)
        except Exception as error:  # whatever the parser meets
            raise AlloygenError(f"expected a CIF that pymatgen reads, got {name!r} ({error})") from None
    if len(found) != 1:
        raise AlloygenError(f"expected one structure in the CIF {name!r}, got {len(found)}")
    return found[0]


def _numbers(sums: Mapping[str, float], lattice: Lattice, sublattices: list[int]) -> dict[str, int]:
    n = int(np.isin(lattice.sublattice, sublattices).sum())
    every = dict.fromkeys(e for b in sublattices for e in lattice.species[b])
    found = {e: _near(sums.get(e, 0.0), n) for e in every}
    counts = {e: k for e, k in found.items() if k is not None}
    if len(counts) < len(found) or sum(counts.values()) != n:
        rounded = {e: round(sums.get(e, 0.0)) for e in every}
        raise BadCondition(
            f"expected a supercell in which the occupancies are whole numbers of atoms, got {_words({e: x for e, x in sums.items()})} atoms on "
            f"{n} sites; the nearest are {_words(rounded)}: take another supercell, or name the numbers, alloygen.sample(atoms, T, composition={rounded})"
        )
    return counts


def _near(x: float, n: int) -> int | None:
    """The whole number of atoms that is meant by x of n sites, to the digits of files; None where none is."""
    k = round(x)
    return k if abs(x - k) <= min(DIGITS * n, 0.25) + 1e-9 else None


def _words(site: Mapping[str, float]) -> str:
    return " + ".join(f"{x:.4g} {e}" for e, x in site.items())
