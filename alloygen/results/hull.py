"""Lowest energies over compositions: their convex hull, formation energies, and where phases meet at T = 0.

A facet of the hull, E = base + mu.N, is a set of phases that coexist at the chemical potentials mu; no state has a lower
E - mu.N. The states are those that ``montecarlo.ground_states`` finds.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from alloygen.conditions.record import semigrand
from alloygen.edge.prototypes import is_vacancy, ordered_structure
from alloygen.errors import AlloygenError
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.types import ArrayLike

if TYPE_CHECKING:
    from alloygen.edge.atoms_map import AtomsMap

COLUMNS = ("energy", "formation_energy", "distance", "on_hull", "hits")


class LowerHull(NamedTuple):
    """Lower convex hull of E over compositions, as facets E = base + mu.N: mu (F, n_elements), base (F,)."""

    mu: np.ndarray
    base: np.ndarray

    def at(self, counts: ArrayLike) -> np.ndarray:
        """Energy of the hull (M,) at compositions (M, n_elements): the highest of its facets."""
        return (self.base + np.asarray(counts) @ self.mu.T).max(1)


class Transition(NamedTuple):
    """mu = mu(second element) - mu(first) at which two phases (atoms by element) have equal E - mu.N at T = 0."""

    mu: float
    below: dict[str, int]
    above: dict[str, int]


def lower_hull(counts: ArrayLike, energy: ArrayLike) -> LowerHull:
    """The lower convex hull of points (counts (M, n_elements), energy (M,)), by qhull.

    Compositions are reduced to the directions that occur, a linear part is taken from the energies, and one point is
    put high above the middle, so that flat and few-point hulls are no special cases.

    Examples
    --------
    >>> hull = lower_hull([[2, 0], [1, 1], [0, 2]], [0.0, -1.0, 4.0])
    >>> sorted((hull.mu[:, 1] - hull.mu[:, 0]).round(9).tolist()), hull.at([[1, 1]]).round(9).tolist()
    ([-1.0, 5.0], [-1.0])
    """
    from scipy.spatial import ConvexHull

    counts, energy = np.asarray(counts, dtype=float), np.asarray(energy, dtype=float)
    centre = counts.mean(0)
    _, size, axes = np.linalg.svd(counts - centre, full_matrices=False)
    axes = axes[size > 1e-9 * max(1.0, size[0])]
    if not len(axes):
        return LowerHull(np.zeros((1, counts.shape[1])), energy.min(keepdims=True))
    z = (counts - centre) @ axes.T
    width = np.abs(z).max()
    plane = np.linalg.lstsq(np.column_stack([z, np.ones(len(z))]), energy, rcond=None)[0]
    rest = energy - z @ plane[:-1] - plane[-1]
    scale = max(np.ptp(rest), 1e-9 * max(1.0, np.abs(energy).max()))
    points = np.column_stack([z / width, rest / scale])
    top = np.append(np.zeros(len(axes)), points[:, -1].max() + 1)
    facets = ConvexHull(np.vstack([points, top])).equations
    facets = facets[facets[:, -2] < -1e-9]
    slope = plane[:-1] - scale / width * facets[:, :-2] / facets[:, -2:-1]
    mu = slope @ axes
    return LowerHull(mu, plane[-1] - scale * facets[:, -1] / facets[:, -2] - mu @ centre)


@dataclass(frozen=True, eq=False, repr=False)
class GroundStates:
    """The lowest-energy configuration found at each composition, and their convex hull.

    counts : (M, n_elements) int64 atoms of each element; occ : (M, N) int8; energy : (M,) of the supercell
    sites : (n,) the exchangeable sites, which energies "per site" refer to
    hits : (M,) how many annealed walkers ended at this energy by themselves; 0 or 1 asks for more sweeps or restarts
    atoms_map : object with ``to_atoms(occ_row) -> ase.Atoms``; None where no structures are needed
    seed : of the search, where it is known

    Pure end members (every exchangeable site of a kind alike) belong to the hull whether they are among the rows or not.
    Energies are upper bounds: annealing proves no ground state. Made by ``montecarlo.ground_states``.
    """

    hamiltonian: Hamiltonian
    counts: np.ndarray
    occ: np.ndarray
    energy: np.ndarray
    sites: np.ndarray
    hits: np.ndarray
    atoms_map: AtomsMap | None = None
    seed: int | None = None

    def __len__(self) -> int:
        return len(self.energy)

    @cached_property
    def ends(self) -> tuple[np.ndarray, np.ndarray]:
        """(occ, energy) of the end members: each kind of exchangeable sites filled with one element."""
        kinds, lattice, out = kinds_of(self.hamiltonian, self.sites), self.hamiltonian.lattice, []
        for fill in product(*kinds):
            row = self.occ[0].copy()
            for element, sites in zip(fill, kinds.values(), strict=True):
                row[sites] = self.hamiltonian.flip_tables.species[lattice.sublattice[sites], element]
            out.append(row)
        return np.array(out), self.hamiltonian.energy(np.array(out))

    @cached_property
    def _points(self) -> tuple[np.ndarray, np.ndarray]:
        ends, energy = self.ends
        return np.concatenate([self.counts, atom_counts(self.hamiltonian, ends)]), np.append(self.energy, energy)

    @cached_property
    def hull(self) -> LowerHull:
        """Of the rows and the end members."""
        return lower_hull(*self._points)

    @cached_property
    def formation_energy(self) -> np.ndarray:
        """(E - E_ends) / n per exchangeable site, (M,); E_ends is linear between the pure ends.

        With several kinds of sites the end members can be more than a simplex; E_ends is then their lower hull.
        """
        ends, energy = self.ends
        return (self.energy - lower_hull(atom_counts(self.hamiltonian, ends), energy).at(self.counts)) / len(self.sites)

    @cached_property
    def distance(self) -> np.ndarray:
        """Energy above the hull per exchangeable site, (M,), 0 on it."""
        return np.maximum(self.energy - self.hull.at(self.counts), 0.0) / len(self.sites)

    @property
    def on_hull(self) -> np.ndarray:
        """Mask (M,) of rows within 1e-9 per site of the hull; a state that ties with a mixture of others is on it."""
        return self.distance < 1e-9

    def transitions(self) -> list[Transition]:
        """Where neighbouring phases of a binary coexist at T = 0, by increasing mu; AlloygenError for other systems."""
        counts, energy = self._points
        vary = np.flatnonzero(np.ptp(counts, axis=0))
        if len(vary) != 2:
            names = [self.hamiltonian.elements[k] for k in vary]
            raise AlloygenError(f"expected two elements whose numbers vary, got {names}; read `hull` for other systems")
        out: list[Transition] = []
        for k in np.argsort(self.hull.mu[:, vary[1]] - self.hull.mu[:, vary[0]]):
            above_it = semigrand(energy, counts, self.hull.mu[k]) - self.hull.base[k]
            touch = counts[above_it < 1e-9 * len(self.sites)]
            below, above = (by_element(self.hamiltonian, touch[f(touch[:, vary[1]])]) for f in (np.argmin, np.argmax))
            mu = float(self.hull.mu[k, vary[1]] - self.hull.mu[k, vary[0]])
            if not out or out[-1][1:] != (below, above):  # a facet that rounding has cut in two counts once
                out.append(Transition(mu, below, above))
        return out

    # ------------------------------------------------------------------ other libraries
    @property
    def atoms(self) -> list:
        """The rows as ``ase.Atoms`` with their energy; ``info`` has formation_energy and distance (per site)."""
        from ase.calculators.singlepoint import SinglePointCalculator

        if self.atoms_map is None:
            raise AlloygenError("expected ground states that know their Atoms, got atoms_map=None; pass atoms_map=")
        out = [self.atoms_map.to_atoms(row) for row in self.occ]
        for k, atoms in enumerate(out):
            atoms.info.update(formation_energy=float(self.formation_energy[k]), distance=float(self.distance[k]))
            atoms.calc = SinglePointCalculator(atoms, energy=float(self.energy[k]))
        return out

    def to_pymatgen(self):
        """A pymatgen diagram; ``entry_id`` is the row, or "end ..." for ends.

        Entries are whole cells: all atoms, held ones and those of fixed sublattices too, vacancies not; with structures where there
        is an ``atoms_map``. A ``PhaseDiagram`` of the elements where the end members are pure elements, else a
        ``CompoundPhaseDiagram`` between the end members, such as LiO and NaO.

        Raises AlloygenError for several kinds of exchangeable sites and for species that are no elements.
        """
        from pymatgen.core import Composition, Element
        from pymatgen.entries.computed_entries import ComputedEntry, ComputedStructureEntry

        from alloygen.edge.structures import to_pymatgen

        h, kinds = self.hamiltonian, kinds_of(self.hamiltonian, self.sites)
        names = [e for e in h.elements if not is_vacancy(e)]
        if len(kinds) > 1 or not all(map(Element.is_valid_symbol, names)):
            raise AlloygenError(
                f"expected one kind of exchangeable sites that holds chemical elements, got {len(kinds)} with {names}; "
                "use `formation_energy`, `distance` and `hull`, which know no such limits"
            )
        here, known = atom_counts(h, self.ends[0]), {tuple(c) for c in self.counts.tolist()}
        new = [k for k, c in enumerate(here.tolist()) if tuple(c) not in known]
        occ, energy = np.concatenate([self.occ, self.ends[0][new]]), np.append(self.energy, self.ends[1][new])
        label, entries = [*map(str, range(len(self))), *(f"end {k}" for k in new)], []
        for row, e, c, name in zip(occ, energy, atom_counts(h, occ), label, strict=True):
            atoms = Composition(_without_vacancies(by_element(h, c)))
            if not atoms:
                raise AlloygenError("expected atoms in every cell, got one of vacancies alone; use `hull`")
            if self.atoms_map is None:
                entries.append(ComputedEntry(atoms, float(e), entry_id=name))
            else:
                structure = to_pymatgen(_occupied(self.atoms_map.to_atoms(row)))
                entries.append(ComputedStructureEntry(structure, float(e), entry_id=name))
        ends = [Composition(_without_vacancies(by_element(h, c))) for c in here]
        return pymatgen_diagram(entries, ends)

    @cached_property
    def structures(self) -> list[str]:
        """The name of each ordered structure, such as "L1_2"; "" where it has none, see :func:`alloygen.edge.prototypes.ordered_structure`."""
        return [ordered_structure(self.hamiltonian.lattice, row) for row in self.occ]

    def to_pandas(self):
        """A ``pandas.DataFrame`` of counts, energies, hull and names of the structures, one row per composition."""
        import pandas as pd

        atoms = {e: self.counts[:, k] for k, e in enumerate(self.hamiltonian.elements)}
        return pd.DataFrame(atoms | {k: getattr(self, k) for k in COLUMNS} | {"structure": self.structures})

    def to_xarray(self):
        """An ``xarray.Dataset`` with dimensions composition, element and site."""
        import xarray as xr

        h = self.hamiltonian
        values = {k: ("composition", getattr(self, k)) for k in COLUMNS}
        arrays = {"counts": (("composition", "element"), self.counts), "occ": (("composition", "site"), self.occ)}
        attrs = {"unit": h.unit, "hamiltonian": h.expansion.name, "n_exchangeable_sites": len(self.sites)}
        return xr.Dataset(values | arrays, coords={"element": list(h.elements)}, attrs=attrs)

    def __repr__(self) -> str:
        formula = [
            "".join(f"{e}{n}" for e, n in by_element(self.hamiltonian, c).items()) for c in self.counts[self.on_hull]
        ]
        shown = ", ".join(formula[:8]) + (", ..." if len(formula) > 8 else "")
        return f"GroundStates({self.hamiltonian.expansion.name!r}, {len(self)} compositions, on the hull: {shown})"


def pymatgen_diagram(entries: list, ends: list | None = None) -> Any:
    """A pymatgen diagram of entries: of the elements where each has an entry of its own, else of compounds between ``ends``.

    ends : terminal compositions; the first and the last entry's if not given
    """
    from pymatgen.analysis.phase_diagram import CompoundPhaseDiagram, PhaseDiagram

    elements = {e for entry in entries for e in entry.composition}
    if elements == {e for entry in entries if len(entry.composition) == 1 for e in entry.composition}:
        return PhaseDiagram(entries)
    ends = [entries[0].composition, entries[-1].composition] if ends is None else ends
    return CompoundPhaseDiagram(entries, ends)


def _without_vacancies(counts: dict[str, int]) -> dict[str, int]:
    return {e: n for e, n in counts.items() if not is_vacancy(e)}


def _occupied(atoms):
    """Atoms without those that stand for vacancies."""
    return atoms[[not is_vacancy(s) for s in atoms.get_chemical_symbols()]]


# ---------------------------------------------------------------------- atoms of a supercell
def atom_counts(h: Hamiltonian, occ: np.ndarray) -> np.ndarray:
    """Atoms of each element, int64 (B, n_elements), in occupations (B, N)."""
    return h.counts(occ).astype(np.int64)


def by_element(h: Hamiltonian, counts: np.ndarray) -> dict[str, int]:
    """Counts (n_elements,) as a dict, without the elements that there are none of."""
    return {e: int(n) for e, n in zip(h.elements, counts, strict=True) if n}


def kinds_of(h: Hamiltonian, sites: np.ndarray) -> dict[tuple[int, ...], np.ndarray]:
    """Exchangeable sites by the set of elements that they may hold."""
    allowed = [tuple(sorted(int(e) for e in row if e >= 0)) for row in h.lattice.element_index]
    of_site = [allowed[b] for b in h.lattice.sublattice[sites]]
    return {kind: sites[[k == kind for k in of_site]] for kind in dict.fromkeys(of_site)}


def held_atoms(h: Hamiltonian, base: np.ndarray, sites: np.ndarray) -> np.ndarray:
    """Atoms of each element on the sites that cannot change."""
    rest = np.setdiff1d(np.arange(h.n_sites), sites)
    elements = h.lattice.site_elements[rest, base[rest].astype(int)]
    return np.bincount(elements, minlength=len(h.elements))
