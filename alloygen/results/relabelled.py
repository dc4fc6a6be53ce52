"""The energies of an ensemble by a calculator: each different configuration computed once, and what follows for the free energy and the fit.

The law of the calculator is that of the same samples with other weights,

    Phi_calc - Phi = -kT/N log <exp(-beta [E_calc - E])>,      E_calc = E_total - sum_k n_k e_k,

the average over the law of the expansion (Zwanzig, J. Chem. Phys. 22, 1420 (1954)), with energies e_k of an atom of each element that put both on
one scale (:mod:`alloygen.results.labels`).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np

from alloygen.edge.computed import Recipe
from alloygen.edge.structure_files import write_structures
from alloygen.errors import AlloygenError, LowSampleSize, NotLabelled
from alloygen.estimate import weights
from alloygen.estimate.result import Estimate
from alloygen.results import moved
from alloygen.results.labels import Labelled, Labels, labels
from alloygen.results.reweighting import FEW
from alloygen.runtime.job import Job
from alloygen.types import PathLike

if TYPE_CHECKING:
    from ase import Atoms

    from alloygen.edge.atoms_map import AtomsMap
    from alloygen.hamiltonian.expansion import ClusterExpansion

Ensemble: TypeAlias = Any  # alloygen.results.ensemble.Ensemble, which imports this module
Scan: TypeAlias = Any  # alloygen.results.scan.Scan, likewise


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
        return (_atoms(s, self.atoms_map, self._info) for s in self.structures if not s.failure)

    @property
    def _info(self) -> dict[str, float]:
        mu = {f"mu_{e}": float(m) for e, m in zip(self.source.elements, self.source.mu, strict=True)}
        return {"T": self.source.T, **mu}

    def write(self, path: PathLike, format: str | None = None) -> Path:
        """Write the different structures with the calculator's energies, such as extxyz, which ``alloygen.fit`` reads; those that failed beside them.

        The latter go to ``<name>.failed.extxyz``, the reason as ``failure`` in ``info``. Samples with weights and energies on the scale of the
        expansion are written by ``relabelled.ensemble.write``.
        """
        return _write(self.structures, self.atoms_map, self._info, path, format)

    # ------------------------------------------------------------------ fit
    def refit(self, *others: Relabelled | RelabelledScan, delta: bool = False, **options: Any) -> ClusterExpansion:
        """An expansion fitted anew to the energies of the calculator, on the same scale; ``options`` are those of :func:`alloygen.fit`.

        others : further results of the same calculator, whose structures count as well, each once, on the scale of this one
        delta : keep the figures of the expansion that the samples were drawn with, and fit the difference of the energies from its own with a
            prior around 0: ECIs that the structures say nothing of stay, and fewer structures than ECIs do

        Raises what ``fit`` raises: few structures need ``cutoffs``, or ``delta``.
        """
        from alloygen.fitting.fit import fit

        known: dict[str, tuple[Atoms, float]] = {}
        for result in (self, *others):
            for s in result.structures:
                if not s.failure:
                    known.setdefault(s.hash, (result.atoms_map.to_atoms(s.occ), s.energy))
        structures, energies = zip(*known.values(), strict=True)
        options = {"references": dict(self.references) or None, **options}
        if delta:
            options["start"] = self.source.hamiltonian.expansion
        return fit(self.source.hamiltonian.lattice.primitive, None, list(energies), list(structures), **options)


# ---------------------------------------------------------------------- many conditions
@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class RelabelledScan:
    """The conditions of a scan with the energies of a calculator; made by :meth:`alloygen.Scan.relabel`.

    source : the scan as it was drawn; None where a selection of it was computed
    conditions : each :class:`Relabelled`, in its order
    """

    source: Scan | None
    conditions: tuple[Relabelled, ...]

    def __len__(self) -> int:
        return len(self.conditions)

    def __getitem__(self, c: int) -> Relabelled:
        return self.conditions[c]

    @cached_property
    def structures(self) -> tuple[Labelled, ...]:
        """Each different configuration of all conditions, once, with the samples of all; ``weight`` is the mean of their shares."""
        found: dict[str, Labelled] = {}
        for one in self.conditions:
            for s in one.structures:
                before = found.get(s.hash)
                samples, weight = (0, 0.0) if before is None else (before.samples, before.weight)
                found[s.hash] = replace(s, samples=samples + s.samples, weight=weight + s.weight / len(self))
        return tuple(found.values())

    @property
    def failures(self) -> tuple[Labelled, ...]:
        """The configurations without an energy, each with its reason."""
        return tuple(s for s in self.structures if s.failure)

    @property
    def references(self) -> Mapping[str, float]:
        """Energy of an atom of each element that was taken off."""
        return self.conditions[0].references

    @property
    def atoms_map(self) -> AtomsMap:
        return self.conditions[0].atoms_map

    @cached_property
    def scan(self) -> Scan:
        """All conditions under the calculator's law: its averages, free energies, phase diagram.

        Raises AlloygenError where structures failed, for a selection, and for a Monte Carlo scan with a ladder, whose samples were not computed.
        """
        if self.source is None:
            raise AlloygenError(
                "expected all samples of a scan, got a selection; take single conditions, relabelled[c].ensemble"
            )
        if self.failures:
            raise AlloygenError(
                f"expected an energy of every structure, got {len(self.failures)} that failed; take single conditions, relabelled[c].ensemble"
            )
        if self.source.hidden is not None:
            raise AlloygenError(
                f"expected a scan that shows all of its conditions, got {len(self.source.hidden)} more of a ladder, whose structures were not computed. "
                "scan.reweighted(calculator) computes these too; relabelled[c].ensemble is a single condition"
            )
        energy = np.array([one.ensemble.energy for one in self.conditions])
        return moved.under(self.source, self.source.hamiltonian, energy, None)

    def to_pandas(self) -> Any:
        """A ``pandas.DataFrame`` with a row for each condition: T, mu_<element>, the difference of Phi with its error, what it rests on."""
        import pandas as pd

        rows = []
        for one in self.conditions:
            mu = {f"mu_{e}": float(m) for e, m in zip(one.source.elements, one.source.mu, strict=True)}
            d = one.difference
            about = {
                "difference": d.value,
                "difference_stderr": d.stderr,
                "effective_samples": one.ensemble.effective_samples,
            }
            rows.append(
                {
                    "T": one.source.T,
                    **mu,
                    **about,
                    "structures": len({s.hash for s in one.structures if s.samples}),
                    "missing": one.missing,
                }
            )
        return pd.DataFrame(rows)

    def write(self, path: PathLike, format: str | None = None) -> Path:
        """Write the different structures of all conditions, once, as :meth:`Relabelled.write` does."""
        return _write(self.structures, self.atoms_map, {}, path, format)

    def refit(self, *others: Relabelled | RelabelledScan, delta: bool = False, **options: Any) -> ClusterExpansion:
        """An expansion fitted anew to the structures of all conditions, as :meth:`Relabelled.refit`."""
        return self.conditions[0].refit(*self.conditions[1:], *others, delta=delta, **options)

    def __repr__(self) -> str:
        failed = f", {len(self.failures)} failed" if self.failures else ""
        return f"RelabelledScan({len(self)} conditions, {len(self.structures)} structures{failed})"


# ---------------------------------------------------------------------- how it is made
def relabel(
    ensembles: Sequence[Ensemble],
    recipe: Recipe,
    references: str | Mapping[str, float] | None,
    job: Job,
    known: Mapping[str, Labelled] | None = None,
) -> tuple[Relabelled, ...]:
    """Compute the different configurations of ensembles of one supercell, each once, see :meth:`alloygen.results.ensemble.Ensemble.relabel`.

    known : by hash, configurations of the same supercell that are computed already
    """
    first = ensembles[0]
    _ = first.atoms  # says what to do where there are none
    if not all(map(len, ensembles)):
        raise AlloygenError("expected configurations to compute, got an empty ensemble")
    occ = np.concatenate([ens.occ for ens in ensembles])
    found = labels(first.hamiltonian, occ, first.atoms_map, recipe, references=references, job=job, known=known)
    out, told, start = [], [], 0
    for ens in ensembles:
        rows = slice(start, start + len(ens))
        start += len(ens)
        with warnings.catch_warnings(record=True) as heard:  # one word of few samples, not one for each condition
            warnings.simplefilter("always")
            out.append(_relabelled(ens, found.part(rows, ens.weights)))
        told += heard
    _tell(out, told)
    return tuple(out)


def _relabelled(ens: Ensemble, found: Labels) -> Relabelled:
    energy = found.energies(ens.hamiltonian, ens.counts)
    rows = np.flatnonzero(np.isfinite(energy))
    if not len(rows):
        raise AlloygenError(
            f"expected a calculator that has energies of these configurations, got none at T = {ens.T:g}: all {len(found.own)} failed, the first "
            f"because {found.own[0].failure}"
        )
    source = ens if len(rows) == len(ens) else ens.subset(rows)
    new = source.reweighted(energy=energy[rows])
    return Relabelled(source=source, ensemble=new, rows=rows, structures=found.structures, references=found.references)


def _tell(results: Sequence[Relabelled], told: list[warnings.WarningMessage]) -> None:
    """Warn of what failed and of few effective samples, and pass on the rest of what reweighting ``told``."""
    failures = {s.hash: s.failure for one in results for s in one.failures}
    if failures:
        first = "; ".join(f"{name}: {why}" for name, why in list(failures.items())[:3])
        of = len({s.hash for one in results for s in one.structures if s.samples})
        missing = 100 * max(one.missing for one in results)
        warnings.warn(
            f"{len(failures)} of {of} structures, {'' if len(results) == 1 else 'up to '}{missing:.2g} % of the law by weight, have no energy and are "
            f"kept apart (relabelled.failures): {first}{' ...' if len(failures) > 3 else ''}. Averages are those of the configurations that have one",
            NotLabelled,
            stacklevel=weights.user_level(),
        )
    few = sorted(
        (one.ensemble for one in results if one.ensemble.effective_samples < FEW), key=lambda e: e.effective_samples
    )
    if few:
        least, where = (
            few[0],
            "" if len(results) == 1 else f"at {len(few)} of {len(results)} conditions, the worst T = {few[0].T:g}, ",
        )
        weights.tell(
            cast(np.ndarray, least.known_log_weight),
            f"{where}the weights of the calculator's law are worth {least.effective_samples:.1f} configurations of {len(least)}, expected at least "
            f"{FEW:g}: its averages and free energy are not known. Fit to these energies (relabelled.refit()), draw by that expansion and relabel again, "
            "which alloygen.self_consistent does; or draw at a higher temperature",
        )
    rest = [w for w in told if not (few and issubclass(w.category, LowSampleSize))]
    for text, category in dict.fromkeys((str(w.message), w.category) for w in rest):
        warnings.warn(text, category, stacklevel=weights.user_level())


# ---------------------------------------------------------------------- structures out
def _atoms(s: Labelled, atoms_map: AtomsMap, info: Mapping[str, Any]) -> Atoms:
    from ase.calculators.singlepoint import SinglePointCalculator

    atoms = atoms_map.to_atoms(s.occ)
    atoms.set_constraint()
    atoms.set_cell(s.cell)
    atoms.set_positions(s.positions)
    atoms.info.update(info, hash=s.hash, samples=s.samples, weight=s.weight, expected=s.expected)
    if s.failure:
        atoms.info["failure"] = s.failure
    else:
        atoms.calc = SinglePointCalculator(atoms, energy=s.energy)
    return atoms


def _write(
    structures: Sequence[Labelled], atoms_map: AtomsMap, info: Mapping[str, Any], path: PathLike, format: str | None
) -> Path:
    """Write structures, those that failed to a file of their own."""
    failed = [s for s in structures if s.failure]
    out = write_structures((_atoms(s, atoms_map, info) for s in structures if not s.failure), path, format)
    if failed:
        write_structures((_atoms(s, atoms_map, info) for s in failed), out.with_name(f"{out.stem}.failed.extxyz"))
    return out
