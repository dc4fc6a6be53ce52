"""The one small cell that stands for an alloy: its correlation functions are as near as can be to the averages over an ensemble.

At T = infinity that is the special quasi-random structure of Zunger, Wei, Ferreira and Bernard, Phys. Rev. Lett. 65, 353 (1990); at a finite
temperature the short-range order of the ensemble is kept. What is minimised is that of van de Walle et al., Calphad 42, 13 (2013),

    Q = sum_k |Phi_k(x) - <Phi_k>| - w L / d,

L the longest diameter up to which all figures match, d the distance of nearest neighbours and w its weight, 1 by default, by exchanges of atoms in
simulated annealing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from alloygen.arguments import finite, seed_from, whole_number
from alloygen.conditions.composition import Balance, Composition, constraint
from alloygen.counts import Counts
from alloygen.edge.atoms_map import AtomsMap
from alloygen.edge.fits import nearest_neighbour
from alloygen.edge.match import match
from alloygen.errors import AlloygenError
from alloygen.fitting.basis import shell_distances
from alloygen.generate.exchanges import Figures, Places, search
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.hamiltonian.clusters import correlations, cutoffs_from, decorated_orbits, diameter
from alloygen.hamiltonian.expansion import ClusterExpansion
from alloygen.hamiltonian.figures import Orbit
from alloygen.lattice import Lattice, Primitive
from alloygen.montecarlo.rng import seeds
from alloygen.results.ensemble import Ensemble

if TYPE_CHECKING:
    from ase import Atoms

SHELLS = (6, 2, 1)  # that pairs, triplets and quadruplets reach where no cutoffs are given
CHUNK = 256  # configurations whose correlation functions are made at a time


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Representative:
    """A cell that stands for an alloy; made by :func:`representative`.

    atoms : its Atoms; occ : (N,) species on the sites of ``lattice``
    names, orders, diameters : (K,) of the figures, diameters in angstrom of the Atoms; target, found : (K,) their correlation functions
    objective : Q of the module, without its unit; tried : exchanges that were tried
    """

    atoms: Atoms
    lattice: Lattice
    occ: np.ndarray
    names: tuple[str, ...]
    orders: np.ndarray
    diameters: np.ndarray
    target: np.ndarray
    found: np.ndarray
    objective: float
    tried: int

    @property
    def residual(self) -> np.ndarray:
        """found - target of each figure, (K,); the pairs are the shells of neighbours."""
        return self.found - self.target

    def to_pandas(self) -> Any:
        """A ``pandas.DataFrame`` with a row for each figure: sites, diameter, target, found, residual."""
        import pandas as pd

        columns = {"sites": self.orders, "diameter": self.diameters, "target": self.target, "found": self.found}
        return pd.DataFrame({**columns, "residual": self.residual}, index=pd.Index(self.names, name="figure"))

    def __repr__(self) -> str:
        return (
            f"Representative({self.atoms.get_chemical_formula()}, {len(self.names)} figures, largest residual "
            f"{np.abs(self.residual).max():.3g}, Q = {self.objective:.4f})"
        )


def representative(
    alloy: Ensemble | Hamiltonian | ClusterExpansion | Primitive,
    cell: Any,
    composition: Composition | None = None,
    *,
    cutoffs: Sequence[float] | None = None,
    range_weight: float = 1.0,
    sweeps: int = 2000,
    restarts: int = 4,
    seed: int = 0,
) -> Representative:
    """The cell whose correlation functions match an ensemble's averages best, or those of a random alloy.

    Parameters
    ----------
    alloy : an ensemble, whose averages are the target; or an expansion, its Hamiltonian or a Primitive, with a ``composition``: the random alloy,
        T = infinity
    cell : repeats or an integer matrix of the primitive cell, a Lattice, or Atoms that lie on the lattice
    composition : {"Au": 8} atoms of the cell or {"Au": 0.25} of its sites; by default the nearest to that of the ensemble
    cutoffs : largest distance in pairs, triplets, ..., in the unit of the primitive cell; by default six, two and one shells of neighbours
    range_weight : weight w of the length up to which all figures match; 0 for the least sum of the residuals, wherever they are
    sweeps : exchanges for each site and restart; restarts : from random occupations; seed : of all of them

    Returns :class:`Representative`, with the residual of each shell and figure. The work is that of ``sweeps * restarts`` exchanges for each site.

    Raises AlloygenError for a random alloy without a composition and cells in which nothing can change, LatticeMismatch for Atoms that do not lie on
    the lattice, BadCondition for a composition that the cell cannot have.

    Examples
    --------
    >>> import alloygen.data
    >>> found = representative(alloygen.data.cuau(), (2, 2, 2), {"Au": 0.5}, cutoffs=(4.0,), sweeps=50)
    >>> found.atoms.get_chemical_formula(), found.names
    ('Au4Cu4', ('point', 'pair 1', 'pair 2'))
    """
    sweeps, restarts = whole_number(sweeps, "sweeps"), whole_number(restarts, "restarts")
    primitive, seed = _primitive(alloy), seed_from(seed)
    if (range_weight := finite(range_weight, "range_weight")) < 0:
        raise AlloygenError(f"expected range_weight of at least 0, got {range_weight:g}")
    found = _laid(cell, primitive, alloy)
    lattice = found.lattice
    reach = cutoffs_from(cutoffs) if cutoffs is not None else shell_distances(primitive, SHELLS)
    functions, orbits = decorated_orbits(primitive, reach)
    orbits = tuple(o for o in orbits if o.order > 0)
    starts = _starts(alloy, lattice, composition, restarts, seed)
    diameters = np.array([diameter(o, primitive) for o in orbits])
    order = np.argsort(diameters, kind="stable")
    orbits, diameters = tuple(orbits[k] for k in order), diameters[order]
    if isinstance(alloy, Ensemble):
        target = _averages(alloy, functions, orbits)
    else:
        target = _random(lattice, starts[0], functions, orbits)
    figures, places = _figures(functions, orbits, lattice), _places(lattice, starts[0])
    length = range_weight * diameters / nearest_neighbour(primitive)
    best, q = starts[0], np.inf
    rows = correlations(functions, orbits, lattice, starts)
    for occ, rho, state in zip(starts, rows, seeds(seed, restarts), strict=True):
        occ = occ.astype(np.int64)
        value = search(occ, rho.copy(), target, length, figures, places, sweeps, state)
        if value < q:
            best, q = occ, value
    return Representative(
        atoms=found.to_atoms(best),
        lattice=lattice,
        occ=best.astype(np.int8),
        names=tuple(o.name for o in orbits),
        orders=np.array([o.order for o in orbits]),
        diameters=diameters * found.scale,
        target=target,
        found=correlations(functions, orbits, lattice, best)[0],
        objective=float(q),
        tried=sweeps * restarts * len(places.sites),
    )


# ---------------------------------------------------------------------- what is wanted
def _primitive(alloy: Any) -> Primitive:
    if isinstance(alloy, Primitive):
        return alloy
    if isinstance(alloy, ClusterExpansion):
        return alloy.primitive
    if isinstance(alloy, Hamiltonian):
        return alloy.lattice.primitive
    if isinstance(alloy, Ensemble):
        return alloy.hamiltonian.lattice.primitive
    raise AlloygenError(
        f"expected an ensemble, or an expansion, a Hamiltonian or a Primitive with a composition, got {alloy!r:.80}"
    )


def _laid(cell: Any, primitive: Primitive, alloy: Any) -> AtomsMap:
    """The cell, with Atoms at the length of those of the ensemble."""
    if hasattr(cell, "get_chemical_symbols"):
        return match(cell, primitive)
    found = AtomsMap.of_lattice(cell if isinstance(cell, Lattice) else Lattice(primitive, cell))
    length = alloy.length if isinstance(alloy, Ensemble) else 1.0
    if length == 1.0:
        return found
    atoms = found.atoms
    atoms.set_cell(np.array(atoms.cell) * length, scale_atoms=True)
    return match(atoms, primitive)


def _starts(alloy: Any, lattice: Lattice, composition: Composition | None, n: int, seed: int) -> np.ndarray:
    """Random occupations (n, N) of the composition."""
    if not lattice.changeable.any():
        raise AlloygenError("expected at least one site with two species or more, got none: nothing can change")
    if isinstance(composition, (Balance, str)) or (
        isinstance(composition, Mapping) and any(isinstance(v, Mapping) for v in composition.values())
    ):
        raise AlloygenError(
            f"expected a composition by element, such as {{'Au': 8}} or {{'Au': 0.25}}, got {composition!r}"
        )
    rng = np.random.default_rng(seed)
    if composition is not None:
        held = np.full(lattice.n_sites, -1)
        return Counts(lattice=lattice, constraint=constraint(composition, lattice), known=held).draw(n, rng)
    if not isinstance(alloy, Ensemble):
        raise AlloygenError('expected the composition of a random alloy, such as composition={"Au": 0.25}, got none')
    out = np.zeros((n, lattice.n_sites), dtype=np.int8)
    own = alloy.hamiltonian.lattice
    for names in dict.fromkeys(lattice.species):
        here, there = _of_list(lattice, names), _of_list(own, names)
        share = np.array([alloy.weights @ (alloy.occ[:, there] == s).mean(1) for s in range(len(names))])
        row = np.repeat(np.arange(len(names)), _whole(share * here.sum()))
        out[:, here] = [rng.permutation(row) for _ in range(n)]
    return out


def _of_list(lattice: Lattice, names: tuple[str, ...]) -> np.ndarray:
    """Mask (N,) of the sites with this list of species."""
    return np.array([own == names for own in lattice.species])[lattice.sublattice]


def _whole(numbers: np.ndarray) -> np.ndarray:
    """The nearest whole numbers of the same sum, by the largest remainders."""
    out = np.floor(numbers + 1e-9).astype(int)
    for k in np.argsort(out - numbers, kind="stable")[: round(numbers.sum()) - out.sum()]:
        out[k] += 1
    return out


def _averages(ens: Ensemble, functions: np.ndarray, orbits: tuple[Orbit, ...]) -> np.ndarray:
    """Averages (K,) of the correlation functions over the law of the ensemble."""
    total = np.zeros(len(orbits))
    for k in range(0, len(ens), CHUNK):
        part = slice(k, k + CHUNK)
        total += ens.weights[part] @ correlations(functions, orbits, ens.hamiltonian.lattice, ens.occ[part])
    return total


def _random(lattice: Lattice, occ: np.ndarray, functions: np.ndarray, orbits: tuple[Orbit, ...]) -> np.ndarray:
    """Correlation functions (K,) of an infinite alloy without order, of the composition of ``occ``: products of the means of site functions."""
    values = np.asarray(functions)[:, lattice.element_index[lattice.sublattice, occ]]  # (F, N)
    means = np.empty((len(values), lattice.n_sublattices))
    for b, names in enumerate(lattice.species):
        means[:, b] = values[:, _of_list(lattice, names)].mean(1)
    return np.array([means[o.functions, o.members[..., 3]].prod(1) @ o.weights / lattice.n_sublattices for o in orbits])


# ---------------------------------------------------------------------- the search
def _figures(functions: np.ndarray, orbits: tuple[Orbit, ...], lattice: Lattice) -> Figures:
    """The clusters of a supercell."""
    cells, width = lattice.offsets[:: lattice.n_sublattices], max(o.order for o in orbits)
    parts = []
    for k, orbit in enumerate(orbits):
        members = lattice.index(cells[:, None, None] + orbit.members[None, ..., :3], orbit.members[None, ..., 3])
        members = members.reshape(-1, orbit.order)
        own = np.tile(orbit.functions, (len(cells), 1))
        pad = ((0, 0), (0, width - orbit.order))
        weight = np.tile(orbit.weights, len(cells)) / (len(cells) * lattice.n_sublattices)
        parts.append(
            (
                np.pad(members, pad, constant_values=-1),
                np.pad(own, pad, constant_values=-1),
                np.full(len(members), k),
                weight,
            )
        )
    members, own, numbers, weight = (np.concatenate(x) for x in zip(*parts, strict=True))
    pairs = {(int(i), c) for c, row in enumerate(members) for i in row if i >= 0}
    by_site = np.array(sorted(pairs))
    start = np.searchsorted(by_site[:, 0], np.arange(lattice.n_sites + 1))
    table = np.asarray(functions)[:, lattice.element_index[lattice.sublattice].clip(0)]
    return Figures(
        members=members, functions=own, orbit=numbers, weight=weight, start=start, found=np.ascontiguousarray(by_site[:, 1]),
        values=np.ascontiguousarray(table),
    )  # fmt: skip


def _places(lattice: Lattice, occ: np.ndarray) -> Places:
    """Sites of one list of species, those that have a partner to be exchanged with."""
    lists = list(dict.fromkeys(lattice.species))
    group = np.array([lists.index(names) for names in lattice.species])[lattice.sublattice]
    mixed = [g for g in range(len(lists)) if len(np.unique(occ[group == g])) > 1]
    return Places(group, np.flatnonzero(np.isin(group, mixed)))
