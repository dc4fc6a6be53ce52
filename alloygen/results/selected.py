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
from alloygen.edge.structures import info_key
from alloygen.errors import AlloygenError
from alloygen.estimate.weights import ess
from alloygen.fitting.hulls import most_open
from alloygen.results.distinct import Distinct, distinct, is_ideal, multiplicity
from alloygen.results.relabelled import RelabelledScan, relabel
from alloygen.runtime.job import Job
from alloygen.types import PathLike

Ensemble: TypeAlias = Any  # alloygen.results.ensemble.Ensemble, which imports this module
LEAST = 1e-6  # of the law of a condition that those chosen stand for; on average it is 1
HOW = ("weighted", "diverse", "low-energy", "variance")


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
    covariance = _covariance(first) if how == "variance" else None
    occ = np.concatenate([ens.occ for ens in ensembles])
    groups = distinct(occ, first.hamiltonian.lattice, first.atoms_map)
    ends = np.cumsum([0, *map(len, ensembles)])
    parts = [groups.of[a:b] for a, b in pairwise(ends)]
    weight = np.array([np.bincount(of, ens.weights, len(groups)) for of, ens in zip(parts, ensembles, strict=True)])
    chosen, share = _chosen(ensembles, groups, parts, occ[groups.first], weight, n, how, covariance, seed)
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


def _chosen(
    ensembles: Sequence[Ensemble],
    groups: Distinct,
    parts: Sequence[np.ndarray],
    occ: np.ndarray,
    weight: np.ndarray,
    n: int,
    how: str,
    covariance: tuple[np.ndarray, float] | None,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """(which of the structures (G, N), their weights at each condition (C, chosen)), from those of all (C, G)."""
    mean = weight.mean(0)
    if how == "weighted" or n >= len(groups):
        chosen, share = by_weight(mean, n, seed)
        return chosen, weight[:, chosen] * share / mean[chosen]
    h = ensembles[0].hamiltonian
    x = h.correlations(occ)
    if covariance is not None:
        chosen = np.sort(most_open(x, *covariance, n))
    elif how == "diverse":
        chosen = np.sort(farthest(x, n, int(mean.argmax())))
    else:
        above = np.full(len(groups), np.inf)
        for ens, of in zip(ensembles, parts, strict=True):
            np.minimum.at(above, of, ens.field_energy - ens.field_energy.min())
        chosen = np.sort(np.argsort(above, kind="stable")[:n])
    near = _nearest(x, chosen)
    return chosen, np.array([np.bincount(near, weights=row, minlength=len(chosen)) for row in weight])


def _covariance(ens: Ensemble) -> tuple[np.ndarray, float]:
    fitted = getattr(ens.hamiltonian.expansion, "fitted", None)
    if fitted is None:
        raise AlloygenError(
            f'expected an expansion that knows how sure its ECIs are, by alloygen.fit, for "variance", got {ens.hamiltonian.expansion.name!r}; fit '
            'one, or take "weighted" or "diverse"'
        )
    return fitted.covariance, fitted.noise


def by_weight(weight: np.ndarray, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(which of G are drawn, their weights): n at most, without replacement, so that weighted sums are unbiased.

        P(k is drawn) = pi_k = min(1, c W_k),   sum_k pi_k = n,   weight of those drawn W_k / pi_k

    by a systematic sample of random start (Madow, Ann. Math. Stat. 20, 333 (1949); Horvitz and Thompson, J. Am. Stat. Assoc. 47, 663 (1952)): those
    that carry more than their share are always there, and the rest weigh the same. The weights are then made to sum to 1.

    Examples
    --------
    >>> rows, share = by_weight(np.array([0.5, 0.1, 0.1, 0.1, 0.1, 0.1]), 3, 0)
    >>> len(rows), share.round(3).tolist()
    (3, [0.5, 0.25, 0.25])
    """
    weight = weight / weight.sum()
    there = np.flatnonzero(weight > 0)
    if n >= len(there):
        return there, weight[there]
    sure = np.zeros(len(weight), dtype=bool)
    while True:
        left = n - sure.sum()
        chance = np.where(sure, 1.0, weight * left / weight[~sure].sum())
        if not (more := (chance >= 1.0) & ~sure).any():
            break
        sure |= more
    rng = np.random.default_rng(seed)
    rest = rng.permutation(np.flatnonzero(~sure & (weight > 0)))
    ticks = rng.random() + np.arange(left)
    drawn = rest[np.minimum(np.searchsorted(np.cumsum(chance[rest]), ticks, side="right"), len(rest) - 1)]
    chosen = np.sort(np.concatenate([np.flatnonzero(sure), drawn]))
    share = weight[chosen] / chance[chosen]
    return chosen, share / share.sum()


def farthest(x: np.ndarray, n: int, start: int) -> np.ndarray:
    """n rows of x (G, K), each the farthest from those before (Gonzalez, Theor. Comput. Sci. 38, 293 (1985)); columns by their spread."""
    x = _scaled(x)
    chosen, far = [start], np.full(len(x), np.inf)
    while len(chosen) < n:
        far = np.minimum(far, ((x - x[chosen[-1]]) ** 2).sum(1))
        chosen.append(int(far.argmax()))
    return np.array(chosen)


def _scaled(x: np.ndarray) -> np.ndarray:
    spread = x.std(0)
    return x[:, spread > 1e-12] / spread[spread > 1e-12]


def _nearest(x: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """The nearest of the rows ``chosen`` to each row of x (G, K), (G,); one that is chosen is its own."""
    x = _scaled(x)
    far = np.stack([((x - x[k]) ** 2).sum(1) for k in chosen], 1)
    out = far.argmin(1)
    out[chosen] = np.arange(len(chosen))
    return out


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
