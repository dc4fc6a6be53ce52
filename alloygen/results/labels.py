"""Energies of samples by a calculator, on the scale of the expansion that drew them: each different configuration computed once up to symmetry.

A calculator counts energies from other atoms than the expansion does, so that

    E_calc = E_total - sum_k n_k e_k,

with energies e_k of an atom of each element. By ``references="ends"``, the one rule of ``relabel`` and ``reweighted``, they are those with which the
end members have the energies that the expansion has for them: the chemical potentials mean the same before and after, whatever the calculator and
whatever the expansion was fitted to.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import product

import numpy as np

from alloygen.edge.atoms_map import AtomsMap
from alloygen.edge.computed import Computed, Recipe, compute
from alloygen.edge.fits import nearest_neighbour
from alloygen.edge.supercell import TOL
from alloygen.errors import AlloygenError
from alloygen.fitting.references import require_references
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.lattice import Lattice
from alloygen.results.distinct import Distinct, distinct, hashes
from alloygen.runtime.job import Job

MOST_ENDS = 64
RANK = 1e-9


@dataclass(frozen=True, kw_only=True, eq=False)
class Labelled:
    """A configuration that was computed.

    occ : (N,) species on the sites; hash : of the structure, the same in every supercell
    energy : of the whole cell by the calculator, nan where there is none; failure : why, "" where there is one
    expected : energy of the whole cell by the expansion
    samples : how many samples it stands for; weight : their share of the old law; both 0 for end members that were computed as references alone
    displacement : largest distance of an atom from its site after relaxing, in nearest-neighbour distances; strain : largest principal stretch
        of the cell, minus 1, beyond the scale
    positions, cell : after relaxing
    """

    occ: np.ndarray
    hash: str
    energy: float
    failure: str
    expected: float
    samples: int
    weight: float
    displacement: float
    strain: float
    positions: np.ndarray
    cell: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class Labels:
    """The different configurations among samples, with their energies.

    groups : which sample is which of them; structures : these, in the order in which they come, then end members that were computed as
        references alone
    references : energy of an atom of each element that is taken off; empty where nothing is; ends : hashes of the end members that they are from
    """

    groups: Distinct
    structures: tuple[Labelled, ...]
    references: Mapping[str, float]
    ends: tuple[str, ...] = ()

    @property
    def own(self) -> tuple[Labelled, ...]:
        """Those of the samples."""
        return self.structures[: len(self.groups)]

    def energies(self, hamiltonian: Hamiltonian, counts: np.ndarray) -> np.ndarray:
        """Of the samples (n,), on the scale of the expansion, nan where there is none; counts : (n, n_elements)."""
        taken_off = counts @ np.array([self.references.get(e, 0.0) for e in hamiltonian.elements])
        return np.array([s.energy for s in self.own])[self.groups.of] - taken_off

    def part(self, rows: slice, weights: np.ndarray) -> Labels:
        """Those of some samples, with their shares of the law by the weights (m,) of these."""
        groups = self.groups.part(rows)
        samples, share = groups.sums(np.ones(len(weights))), groups.sums(weights)
        by_hash = {s.hash: s for s in self.structures}
        own = (
            replace(by_hash[name], samples=int(n), weight=float(w))
            for name, n, w in zip(groups.hashes, samples, share, strict=True)
        )
        alone = (
            replace(by_hash[name], samples=0, weight=0.0)
            for name in dict.fromkeys(self.ends)
            if name not in groups.hashes
        )
        return replace(self, groups=groups, structures=(*own, *alone))


def labels(
    hamiltonian: Hamiltonian,
    occ: np.ndarray,
    atoms_map: AtomsMap | None,
    recipe: Recipe,
    *,
    references: str | Mapping[str, float] | None = "ends",
    job: Job | None = None,
    known: Mapping[str, Labelled] | None = None,
    strict: bool = False,
) -> Labels:
    """Compute the different configurations of samples (n, N) and the end members that their scale needs.

    references : "ends"; energies of an atom by element; or None, nothing is taken off
    known : by hash, configurations of the same supercell that are computed already
    strict : whether the first configuration without an energy ends the work with an AlloygenError; else they stay in ``structures``, with a reason

    Raises AlloygenError for samples without Atoms, references that cannot be, and an end member that has no energy: these are computed first, so
    that an element that the calculator lacks is told before the work.

    Examples
    --------
    >>> import alloygen.data
    >>> from ase.calculators.emt import EMT
    >>> h = alloygen.data.cuau().on((2, 1, 1))
    >>> occ = np.array([[0, 1], [1, 0], [1, 1]])
    >>> found = labels(h, occ, AtomsMap.of_lattice(h.lattice), Recipe(calculator=EMT()))
    >>> [s.samples for s in found.structures]                                   # CuAu, Au, and Cu for the scale alone
    [2, 1, 0]
    >>> bool(np.isclose(found.energies(h, h.counts(occ))[2], h.energy(occ)[2]))
    True
    """
    if atoms_map is None:
        raise AlloygenError(
            "expected samples that know their Atoms, got atoms_map=None; draw them with alloygen.sample(atoms, ...), or pass energies (n,)"
        )
    require_references(references, hamiltonian.elements)
    ends = _ends(hamiltonian.lattice) if references == "ends" else np.empty((0, hamiltonian.n_sites), np.int8)
    groups = distinct(occ, hamiltonian.lattice, atoms_map)
    names = hashes(ends, hamiltonian.lattice, atoms_map)

    def require(name: str, formula: str, why: str) -> None:
        if name in names:
            raise _no_end(formula, why, hamiltonian.elements)
        if strict:
            raise _no_sample(recipe, int(groups.first[groups.hashes.index(name)]), formula, why)

    work = partial(compute, recipe=recipe, job=job or Job())
    found = _labelled(
        hamiltonian, occ, atoms_map, groups, dict(zip(names, ends, strict=True)), work, known or {}, require
    )
    values = dict(references) if isinstance(references, Mapping) else {}
    if references == "ends":
        values = _scale(hamiltonian, {s.hash: s for s in found}, names, ends)
    return Labels(groups=groups, structures=tuple(found), references=values, ends=tuple(names))


def _ends(lattice: Lattice) -> np.ndarray:
    """Occupations (B, N) of the end members: each list of species full of one of them."""
    lists = list(dict.fromkeys(lattice.species))
    which = np.array([lists.index(names) for names in lattice.species])[lattice.sublattice]
    if math.prod(map(len, lists)) > MOST_ENDS:
        raise AlloygenError(
            f"expected at most {MOST_ENDS} end members, got {math.prod(map(len, lists))}; give energies of an atom by element, "
            "ens.relabel(calculator, references={...})"
        )
    rows = [np.array(choice)[which] for choice in product(*(range(len(names)) for names in lists))]
    return np.array(rows, dtype=np.int8)


def _labelled(
    h: Hamiltonian,
    samples: np.ndarray,
    atoms_map: AtomsMap,
    groups: Distinct,
    ends: Mapping[str, np.ndarray],
    work: Callable[..., list[Computed]],
    known: Mapping[str, Labelled],
    require: Callable[[str, str, str], None],
) -> list[Labelled]:
    """The different configurations, then the end members (by hash) that are not among them."""
    occ = dict(zip(groups.hashes, samples[groups.first], strict=True))
    occ |= {name: row for name, row in ends.items() if name not in occ}
    new = [name for name in dict.fromkeys([*ends, *occ]) if name not in known]
    atoms = {name: atoms_map.to_atoms(occ[name]) for name in new}

    told = lambda k, why: require(new[k], atoms[new[k]].get_chemical_formula(), why)  # noqa: E731
    found = dict(zip(new, work([atoms[name] for name in new], require=told) if new else [], strict=True))
    many = [*map(int, groups.sums(np.ones(len(samples)))), *[0] * (len(occ) - len(groups))]
    out = []
    for name, expected, n in zip(occ, h.energy(np.array(list(occ.values()))), many, strict=True):
        if name in known:  # its own occupations go with its positions
            out.append(replace(known[name], expected=float(expected), samples=n, weight=0.0))
        else:
            about = Labelled(
                occ=occ[name], hash=name, expected=float(expected), samples=n, weight=0.0, energy=found[name].energy, failure=found[name].failure,
                displacement=0.0, strain=0.0, positions=found[name].positions, cell=found[name].cell,
            )  # fmt: skip
            out.append(_on_its_sites(about, found[name], atoms_map))
    return out


def _on_its_sites(s: Labelled, found: Computed, atoms_map: AtomsMap) -> Labelled:
    """What was computed with how far it moved; one that relaxed off its sites is another crystal, and has no energy of this one."""
    atoms = atoms_map.to_atoms(s.occ)
    there = atoms.numbers > 0
    moved = found.positions - atoms.positions @ np.linalg.solve(np.array(atoms.cell), found.cell)
    moved = (moved - moved[there].mean(0))[there] if there.any() else moved[:0]
    neighbour = atoms_map.scale * nearest_neighbour(atoms_map.lattice.primitive)
    off = float(np.linalg.norm(moved, axis=1).max(initial=0.0)) / neighbour
    stretch = np.linalg.svd(np.linalg.solve(np.array(atoms.cell), found.cell), compute_uv=False)
    strain = float(np.abs(stretch / stretch.prod() ** (1 / 3) - 1).max())
    s = replace(s, displacement=off, strain=strain)
    if s.failure or off <= TOL:
        return s
    why = f"relaxed off its sites by {off:.2f} of the nearest-neighbour distance, expected at most {TOL}"
    return replace(s, failure=why, energy=np.nan)


def _no_end(formula: str, why: str, elements: tuple[str, ...]) -> AlloygenError:
    return AlloygenError(
        f"expected a calculator that has an energy of the end member {formula}, with which its scale is made, got {why}. Take a calculator that knows "
        f"{', '.join(elements)}, or give energies of an atom by element, ens.relabel(calculator, references={{...}}), or None"
    )


def _no_sample(recipe: Recipe, sample: int, formula: str, why: str) -> AlloygenError:
    return AlloygenError(
        f"expected an energy of {type(recipe.calculator).__name__} for sample {sample}, {formula}, got {why}. Take a calculator that knows all of its "
        "elements, or ens.relabel(calculator), which keeps what fails apart"
    )


def _scale(h: Hamiltonian, by_hash: Mapping[str, Labelled], names: list[str], ends: np.ndarray) -> dict[str, float]:
    """Energies of an atom by element that give the end members the energies that the expansion has for them."""
    off = np.array([by_hash[name].energy - by_hash[name].expected for name in names])
    values = np.linalg.lstsq(h.counts(ends), off, rcond=RANK)[0]
    return dict(zip(h.elements, values.tolist(), strict=True))
