"""A few configurations of an ensemble to compute by dearer means, with weights by which they stand for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from alloygen.arguments import one_of, seed_from, settings, whole_number
from alloygen.edge.computed import Recipe, RelaxLike
from alloygen.edge.structure_files import info_key
from alloygen.errors import AlloygenError
from alloygen.estimate.weights import ess
from alloygen.results.choosing import HOW, choose, covariance_of
from alloygen.results.distinct import distinct, is_ideal, multiplicity
from alloygen.results.relabelled import RelabelledScan, relabel
from alloygen.runtime.job import Job
from alloygen.types import PathLike

Ensemble: TypeAlias = Any  # alloygen.results.ensemble.Ensemble, which imports this module
LEAST = 1e-6  # of the law of a condition that those chosen stand for; on average it is 1


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Selection:
    """Configurations that were chosen; made by :meth:`alloygen.results.ensemble.Ensemble.select`.

    ensemble : these configurations, with weights by which averages over them stand for those of the whole ensemble
    manifest : a ``pandas.DataFrame`` by the hash of the structure: sample (its number in the ensemble, or among all samples of a scan, one condition after another), formula, T, mu_<element>, energy of the cell,
        weight (they sum to 1), samples (how many it stands for as drawn) and multiplicity (how many occupations of the supercell symmetry makes of it; 1 where the Atoms have less symmetry than the lattice)
    """

    ensemble: Ensemble
    manifest: Any
    how: str

    def __len__(self) -> int:
        return len(self.ensemble)

    def __repr__(self) -> str:
        return f"Selection({len(self)} configurations, {self.how!r}, T={self.ensemble.T:g})"

    def write(self, path: PathLike, format: str | None = None) -> Path:
        """Write the structures, and the manifest beside them as ``<name>.manifest.csv``."""
        from alloygen.runtime.atomic import atomic_path

        out = self.ensemble.write(path, format)
        with atomic_path(out.with_name(f"{out.stem}.manifest.csv")) as part:
            self.manifest.to_csv(part)
        return out


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ScanSelection:
    """Configurations that stand for all conditions of a scan; made by :meth:`alloygen.Scan.select`.

    conditions : what stands for each, a :class:`Selection`, in their order; how : they were chosen
    hashes : of the different structures that they share
    """

    conditions: tuple[Selection, ...]
    hashes: tuple[str, ...]
    how: str

    def __len__(self) -> int:
        return len(self.hashes)

    def __getitem__(self, c: int) -> Selection:
        return self.conditions[c]

    @property
    def manifest(self) -> Any:
        """The manifests of all conditions, one below the other: a row for each structure and condition at which it has weight."""
        import pandas as pd

        return pd.concat([one.manifest for one in self.conditions])

    def relabel(
        self,
        calculator: Any,
        relax: RelaxLike = False,
        *,
        references: str | Mapping[str, float] | None = "ends",
        job: Job | None = None,
    ) -> RelabelledScan:
        """The energies of a calculator for these structures, each computed once, as :meth:`alloygen.Scan.relabel`."""
        ensembles = [one.ensemble for one in self.conditions]
        made = relabel(ensembles, Recipe(calculator=calculator, relax=relax), references, settings(job, Job, "job"))
        return RelabelledScan(source=None, conditions=made)

    def __repr__(self) -> str:
        return f"ScanSelection({len(self)} structures for {len(self.conditions)} conditions, {self.how!r})"


def select(ens: Ensemble, n: int, how: str, seed: int) -> Selection:
    """Choose configurations, see :meth:`alloygen.results.ensemble.Ensemble.select`."""
    return select_of_all([ens], n, how, seed).conditions[0]


def select_of_all(ensembles: Sequence[Ensemble], n: int, how: str, seed: int) -> ScanSelection:
    """Choose configurations for several conditions of one supercell, see :meth:`alloygen.results.scan.Scan.select`."""
    n, seed = whole_number(n, "n, the number of configurations,"), seed_from(seed)
    one_of(how, "how", HOW)
    if not all(map(len, ensembles)):
        raise AlloygenError("expected configurations to choose from, got an empty ensemble")
    first = ensembles[0]
    covariance = covariance_of(first) if how == "variance" else None
    occ = np.concatenate([ens.occ for ens in ensembles])
    groups = distinct(occ, first.hamiltonian.lattice, first.atoms_map)
    ends = np.cumsum([0, *map(len, ensembles)])
    parts = [groups.of[a:b] for a, b in pairwise(ends)]
    weight = np.array([np.bincount(of, ens.weights, len(groups)) for of, ens in zip(parts, ensembles, strict=True)])
    chosen, share = choose(ensembles, groups, parts, occ[groups.first], weight, n, how, covariance, seed)
    energy, found = np.concatenate([ens.energy for ens in ensembles]), []
    for ens, start, own, of in zip(ensembles, ends, share, parts, strict=False):
        there = own > 0
        if own.sum() < LEAST:
            raise AlloygenError(
                f"expected configurations of each condition among the {n} that are chosen, got none of T = {ens.T:g}, mu = {ens.mu.tolist()}; take more, "
                "or choose condition by condition, scan[c].select(n)"
            )
        which, own = chosen[there], own[there] / own.sum()
        rows = groups.first[which]
        made = _ensemble(ens, rows - start, occ[rows], energy[rows], own)
        about = {"sample": rows, "samples": np.bincount(of, minlength=len(groups))[which]}
        manifest = _manifest(ens, made, [groups.hashes[k] for k in which], own, **about)
        found.append(Selection(ensemble=made, manifest=manifest, how=how))
    return ScanSelection(conditions=tuple(found), hashes=tuple(groups.hashes[k] for k in chosen), how=how)


def _ensemble(ens: Ensemble, rows: np.ndarray, occ: np.ndarray, energy: np.ndarray, share: np.ndarray) -> Ensemble:
    """Configurations with their shares as weights, ``rows`` of the ensemble or, outside of it, of another condition; the free energy stays that of
    all, and error bars are no smaller than those of all."""
    known = ens.averages.free_energy() if ens.absolute else None
    here = (rows >= 0) & (rows < len(ens))
    part = ens.subset(np.where(here, rows, 0))
    share = np.maximum(share, 1e-300)
    worth = max(1.0, ess(np.log(share)) / max(ens.effective_samples, 1.0))
    facts = replace(part.facts, free_energy=known, inefficiency=float(worth))
    return replace(
        part, occ=occ, energy=energy, observed=part.observed if here.all() else {}, log_prob=None, log_w=np.log(share), facts=facts, place=None,
        drawn=None, origin=None, info={**ens.info, "selected_from": len(ens)}, method=f"{ens.method}, selected",
    )  # fmt: skip


def _manifest(
    ens: Ensemble, made: Ensemble, hashes: list[str], share: np.ndarray, sample: np.ndarray, samples: np.ndarray
) -> Any:
    import pandas as pd

    h, ideal = ens.hamiltonian, is_ideal(ens.atoms_map)
    table = {
        "sample": sample,
        "formula": [_formula(h.elements, count) for count in made.counts],
        "T": ens.T,
        **{info_key(f"mu_{e}"): float(m) for e, m in zip(h.elements, ens.mu, strict=True)},
        "energy": made.energy,
        "weight": share,
        "samples": samples,
        "multiplicity": [multiplicity(h.lattice, row) if ideal else 1 for row in made.occ],
    }
    return pd.DataFrame(table, index=pd.Index(hashes, name="hash"))


def _formula(elements: tuple[str, ...], counts: np.ndarray) -> str:
    return "".join(f"{e}{int(c) if c > 1 else ''}" for e, c in zip(elements, counts, strict=True) if c)
