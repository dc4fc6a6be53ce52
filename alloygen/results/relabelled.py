"""The energies of an ensemble by a calculator: each different configuration computed once, and what follows for the free energy and the fit.

The law of the calculator is that of the same samples with other weights,

    Phi_calc - Phi = -kT/N log <exp(-beta [E_calc - E])>,      E_calc = E_total - sum_k n_k e_k,

the average over the law of the expansion (Zwanzig, J. Chem. Phys. 22, 1420 (1954)). The energies e_k of an atom of each element put both on one
scale, so that the chemical potentials mean the same.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from alloygen.edge.computed import Computed, Recipe, compute
from alloygen.edge.fits import nearest_neighbour
from alloygen.edge.structures import write_structures
from alloygen.edge.supercell import TOL
from alloygen.errors import AlloygenError, LowSampleSize, NotLabelled
from alloygen.estimate.result import Estimate
from alloygen.estimate.weights import user_level
from alloygen.fitting.references import given_references
from alloygen.lattice import Lattice
from alloygen.results.distinct import Distinct, distinct, structure_hash
from alloygen.runtime.job import Job
from alloygen.types import PathLike

if TYPE_CHECKING:
    from ase import Atoms

    from alloygen.edge.atoms_map import AtomsMap
    from alloygen.hamiltonian.expansion import ClusterExpansion

Ensemble: TypeAlias = Any  # alloygen.results.ensemble.Ensemble, which imports this module
FEWEST = 10.0  # effective samples, below which the law of the calculator is not known
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


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Relabelled:
    """Samples with the energies of a calculator; made by :meth:`alloygen.results.ensemble.Ensemble.relabel`.

    source : the samples that have an energy, as they were drawn
    ensemble : the same with the weights of the calculator's law, and its energies on the scale of the expansion
    rows : (m,) which samples these are of the ensemble that was relabelled
    structures : each different configuration, once, in the order in which they come; end members that were computed as references alone last
    references : energy of an atom of each element that was taken off; empty where nothing was

    Where structures failed, both laws are those of the configurations that did not: ``failures`` says which and why, ``missing`` how much of the
    old law they are.
    """

    source: Ensemble
    ensemble: Ensemble
    rows: np.ndarray
    structures: tuple[Labelled, ...]
    references: Mapping[str, float]

    @property
    def failures(self) -> tuple[Labelled, ...]:
        """The configurations without an energy, each with its reason."""
        return tuple(s for s in self.structures if s.failure)

    @property
    def missing(self) -> float:
        """The share of the old law that these are."""
        return float(sum(s.weight for s in self.failures))

    @property
    def atoms_map(self) -> AtomsMap:
        assert self.source.atoms_map is not None  # ``relabel`` has asked
        return self.source.atoms_map

    @cached_property
    def difference(self) -> Estimate:
        """Phi by the calculator minus Phi by the expansion, per site, from the same samples."""
        return self.ensemble.free_energy_difference()

    def __repr__(self) -> str:
        failed = f", {len(self.failures)} failed" if self.failures else ""
        return (
            f"Relabelled({len(self.ensemble)} samples, {len(self.structures)} structures{failed}, Phi changes by {self.difference} "
            f"{self.source.hamiltonian.unit}/site, {self.ensemble.effective_samples:.1f} effective)"
        )

    # ------------------------------------------------------------------ tables and files
    def to_pandas(self) -> Any:
        """A ``pandas.DataFrame`` with a row for each structure: formula, samples, weight, energies of the cell, relaxation, failure."""
        import pandas as pd

        rows = [
            {
                "formula": self.atoms_map.to_atoms(s.occ).get_chemical_formula(),
                **{k: getattr(s, k) for k in ("samples", "weight", "energy")},
                "energy_on_scale": s.energy - self._taken_off(s.occ),
                **{k: getattr(s, k) for k in ("expected", "displacement", "strain", "failure")},
            }
            for s in self.structures
        ]
        return pd.DataFrame(rows, index=pd.Index([s.hash for s in self.structures], name="hash"))

    def _taken_off(self, occ: np.ndarray) -> float:
        h = self.source.hamiltonian
        return float(h.counts(occ[None])[0] @ np.array([self.references.get(e, 0.0) for e in h.elements]))

    def atoms(self) -> Iterator[Atoms]:
        """Each different structure with its energy by the calculator, that of the whole cell, relaxed where that was asked for.

        ``info`` has T, mu_<element>, hash, samples, weight and the energy by the expansion, ``expected``.
        """
        return (self._atoms(s) for s in self.structures if not s.failure)

    def _atoms(self, s: Labelled) -> Atoms:
        from ase.calculators.singlepoint import SinglePointCalculator

        atoms = self.atoms_map.to_atoms(s.occ)
        atoms.set_constraint()
        atoms.set_cell(s.cell)
        atoms.set_positions(s.positions)
        mu = {f"mu_{e}": float(m) for e, m in zip(self.source.elements, self.source.mu, strict=True)}
        atoms.info.update(T=self.source.T, **mu, hash=s.hash, samples=s.samples, weight=s.weight, expected=s.expected)
        if s.failure:
            atoms.info["failure"] = s.failure
        else:
            atoms.calc = SinglePointCalculator(atoms, energy=s.energy)
        return atoms

    def write(self, path: PathLike, format: str | None = None) -> Path:
        """Write the different structures with the calculator's energies, such as extxyz, which ``alloygen.fit`` reads; those that failed beside them.

        The latter go to ``<name>.failed.extxyz``, the reason as ``failure`` in ``info``. Samples with weights and energies on the scale of the
        expansion are written by ``relabelled.ensemble.write``.
        """
        out = write_structures(self.atoms(), path, format)
        if self.failures:
            write_structures((self._atoms(s) for s in self.failures), out.with_name(f"{out.stem}.failed.extxyz"))
        return out

    # ------------------------------------------------------------------ fit
    def refit(self, *others: Relabelled, **options: Any) -> ClusterExpansion:
        """An expansion fitted anew to the energies of the calculator, on the same scale; ``options`` are those of :func:`alloygen.fit`.

        others : further results of the same calculator, whose structures count as well, each once

        Raises AlloygenError where references differ, and what ``fit`` raises: few structures need ``cutoffs``.
        """
        from alloygen.fitting.fit import fit

        known: dict[str, tuple[Atoms, float]] = {}
        for result in (self, *others):
            same = {k: round(v, 9) for k, v in result.references.items()}
            if same != {k: round(v, 9) for k, v in self.references.items()}:
                raise AlloygenError(
                    f"expected results of one scale, got references {dict(self.references)} and {dict(result.references)}; relabel with "
                    "references=first.references"
                )
            for s in result.structures:
                if not s.failure:
                    known.setdefault(s.hash, (result.atoms_map.to_atoms(s.occ), s.energy))
        structures, energies = zip(*known.values(), strict=True)
        options = {"references": dict(self.references) or None, **options}
        return fit(self.source.hamiltonian.lattice.primitive, None, list(energies), list(structures), **options)


# ---------------------------------------------------------------------- how it is made
def relabel(
    ens: Ensemble,
    recipe: Recipe,
    references: str | Mapping[str, float] | None,
    job: Job,
    known: Mapping[str, Labelled] | None = None,
) -> Relabelled:
    """Compute the different configurations of an ensemble, see :meth:`alloygen.results.ensemble.Ensemble.relabel`.

    known : by hash, configurations of the same supercell that are computed already
    """
    _ = ens.atoms  # says what to do where there are none
    h, elements = ens.hamiltonian, ens.elements
    if not len(ens):
        raise AlloygenError("expected configurations to compute, got an empty ensemble")
    if isinstance(references, Mapping):
        given_references(references, elements)
    ends = _ends(h.lattice) if references == "ends" else None
    if references is not None and ends is None and not isinstance(references, Mapping):
        raise AlloygenError(f'expected references as "ends", energies by element, or None, got {references!r}')
    groups = distinct(ens)
    labelled = _labelled(ens, groups, ends, recipe, job, known or {})
    values = dict(references) if isinstance(references, Mapping) else {}
    if ends is not None:
        values = _scale(ens, labelled, ends)
    return _result(ens, groups, labelled, values)


def _ends(lattice: Lattice) -> np.ndarray:
    """Occupations (B, N) of the end members: each list of species full of one of them."""
    lists = list(dict.fromkeys(lattice.species))
    which = np.array([lists.index(names) for names in lattice.species])[lattice.sublattice]
    if math.prod(map(len, lists)) > MOST_ENDS:
        raise AlloygenError(
            f"expected at most {MOST_ENDS} end members, got {math.prod(map(len, lists))}; give references as energies of an atom by element"
        )
    return np.array([np.array(choice)[which] for choice in product(*(range(len(names)) for names in lists))])


def _labelled(
    ens: Ensemble,
    groups: Distinct,
    ends: np.ndarray | None,
    recipe: Recipe,
    job: Job,
    known: Mapping[str, Labelled],
) -> list[Labelled]:
    """The different configurations and end members with their energies; end members are computed first, so that an element that the calculator
    lacks is told before the work."""
    h, samples, weight = ens.hamiltonian, groups.sums(np.ones(len(ens))), groups.sums(ens.weights)
    occ, hashes = list(ens.occ[groups.first]), list(groups.hashes)
    for row in [] if ends is None else ends:
        if (name := structure_hash(ens, row)) not in hashes:
            occ.append(row.astype(np.int8))
            hashes.append(name)
    assert ens.atoms_map is not None  # ``relabel`` has asked
    to_atoms = ens.atoms_map.to_atoms
    pure = [] if ends is None else list(dict.fromkeys(hashes.index(structure_hash(ens, row)) for row in ends))
    new = [k for k in dict.fromkeys([*pure, *range(len(hashes))]) if hashes[k] not in known]

    def require(at: int, why: str) -> None:
        if (k := new[at]) in pure:
            raise _no_end(to_atoms(occ[k]).get_chemical_formula(), why, ens.elements)

    computed = compute([to_atoms(occ[k]) for k in new], recipe, job, require) if new else []
    found = dict(zip(new, computed, strict=True))
    expected = h.energy(np.array(occ))
    out = []
    for k, name in enumerate(hashes):
        about: dict[str, Any] = {"samples": 0, "weight": 0.0}
        if k < len(groups):
            about = {"samples": int(samples[k]), "weight": float(weight[k])}
        about |= dict(occ=occ[k], hash=name, expected=float(expected[k]))
        out.append(_of_known(known[name], about) if name in known else _of(found[k], to_atoms(occ[k]), ens, about))
    return out


def _of_known(known: Labelled, about: dict) -> Labelled:
    """What was computed elsewhere; its own occupations go with its positions."""
    kept = ("occ", "energy", "failure", "displacement", "strain", "positions", "cell")
    return Labelled(**{**about, **{k: getattr(known, k) for k in kept}})


def _of(found: Computed, atoms: Atoms, ens: Ensemble, about: dict) -> Labelled:
    """A structure that was computed; one that relaxed off its sites is another crystal, and has no energy of this one."""
    there = atoms.numbers > 0
    moved = found.positions - atoms.positions @ np.linalg.solve(np.array(atoms.cell), found.cell)
    moved = (moved - moved[there].mean(0))[there] if there.any() else moved[:0]
    neighbour = ens.length * nearest_neighbour(ens.hamiltonian.lattice.primitive)
    off = float(np.linalg.norm(moved, axis=1).max(initial=0.0)) / neighbour
    stretch = np.linalg.svd(np.linalg.solve(np.array(atoms.cell), found.cell), compute_uv=False)
    strain = float(np.abs(stretch / stretch.prod() ** (1 / 3) - 1).max())
    failure, energy = found.failure, found.energy
    if not failure and off > TOL:
        failure, energy = (
            f"relaxed off its sites by {off:.2f} of the nearest-neighbour distance, expected at most {TOL}",
            np.nan,
        )
    return Labelled(
        energy=energy,
        failure=failure,
        displacement=off,
        strain=strain,
        positions=found.positions,
        cell=found.cell,
        **about,
    )


def _no_end(formula: str, why: str, elements: tuple[str, ...]) -> AlloygenError:
    return AlloygenError(
        f"expected a calculator that has an energy of the end member {formula}, with which its scale is made, got {why}. Take a calculator that knows "
        f"{', '.join(elements)}, or give references as energies of an atom by element, or None"
    )


def _scale(ens: Ensemble, labelled: list[Labelled], ends: np.ndarray) -> dict[str, float]:
    """Energies of an atom by element that give the end members the energies that the expansion has for them."""
    by_hash = {s.hash: s for s in labelled}
    pure = [by_hash[structure_hash(ens, row)] for row in ends]
    counts = ens.hamiltonian.counts(ends)
    off = np.array([s.energy - s.expected for s in pure])
    values = np.linalg.lstsq(counts, off, rcond=RANK)[0]
    return dict(zip(ens.elements, values.tolist(), strict=True))


def _result(ens: Ensemble, groups: Distinct, labelled: list[Labelled], references: dict[str, float]) -> Relabelled:
    own = labelled[: len(groups)]
    energy = np.array([s.energy for s in own])[groups.of]
    rows = np.flatnonzero(np.isfinite(energy))
    failures = [s for s in own if s.failure]
    if not len(rows):
        raise AlloygenError(
            f"expected a calculator that has energies of these configurations, got none: all {len(own)} failed, the first because {own[0].failure}"
        )
    source = ens if len(rows) == len(ens) else ens.subset(rows)
    taken_off = source.counts @ np.array([references.get(e, 0.0) for e in ens.elements])
    with warnings.catch_warnings(record=True) as told:  # one word of few samples, not two
        warnings.simplefilter("always")
        new = source.reweighted(energy=energy[rows] - taken_off)
    result = Relabelled(source=source, ensemble=new, rows=rows, structures=tuple(labelled), references=references)
    if failures:
        first = "; ".join(f"{s.hash}: {s.failure}" for s in failures[:3])
        warnings.warn(
            f"{len(failures)} of {len(own)} structures, {100 * result.missing:.2g} % of the law by weight, have no energy and are kept apart "
            f"(relabelled.failures): {first}{' ...' if len(failures) > 3 else ''}. Averages are those of the configurations that have one",
            NotLabelled,
            stacklevel=user_level(),
        )
    if new.effective_samples < FEWEST:
        warnings.warn(
            f"the weights of the calculator's law are worth {new.effective_samples:.1f} configurations of {len(rows)}, expected at least {FEWEST:g}: its "
            "averages and free energy are not known. Fit to these energies (relabelled.refit()), draw by that expansion and relabel again, which "
            "alloygen.self_consistent does; or draw at a higher temperature",
            LowSampleSize,
            stacklevel=user_level(),
        )
    for other in told if new.effective_samples >= FEWEST else ():
        warnings.warn(str(other.message), other.category, stacklevel=user_level())
    return result
