"""A few configurations of an ensemble to compute by dearer means, with weights by which they stand for all."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from alloygen.arguments import one_of, seed_from, whole_number
from alloygen.edge.structures import info_key
from alloygen.errors import AlloygenError
from alloygen.estimate.weights import ess
from alloygen.fitting.hulls import most_open
from alloygen.results.distinct import Distinct, distinct, is_ideal, multiplicity
from alloygen.types import PathLike

Ensemble: TypeAlias = Any  # alloygen.results.ensemble.Ensemble, which imports this module
HOW = ("weighted", "diverse", "low-energy", "variance")


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Selection:
    """Configurations that were chosen; made by :meth:`alloygen.results.ensemble.Ensemble.select`.

    ensemble : these configurations, with weights by which averages over them stand for those of the whole ensemble
    manifest : a ``pandas.DataFrame`` by the hash of the structure: sample (its number in the ensemble), formula, T, mu_<element>, energy of the cell,
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


def select(ens: Ensemble, n: int, how: str, seed: int) -> Selection:
    """Choose configurations, see :meth:`alloygen.results.ensemble.Ensemble.select`."""
    n, seed = whole_number(n, "n, the number of configurations,"), seed_from(seed)
    one_of(how, "how", HOW)
    if not len(ens):
        raise AlloygenError("expected configurations to choose from, got an empty ensemble")
    covariance = _covariance(ens) if how == "variance" else None
    groups = distinct(ens.occ, ens.hamiltonian.lattice, ens.atoms_map)
    weight = groups.sums(ens.weights)
    if how == "weighted" or n >= len(groups):
        chosen, share = by_weight(weight, n, seed)
    else:
        x = ens.hamiltonian.correlations(ens.occ[groups.first])
        if covariance is not None:
            chosen = np.sort(most_open(x, *covariance, n))
        elif how == "diverse":
            chosen = np.sort(farthest(x, n, int(weight.argmax())))
        else:
            chosen = np.sort(np.argsort(ens.field_energy[groups.first], kind="stable")[:n])
        share = np.bincount(_nearest(x, chosen), weights=weight, minlength=len(chosen))
    return Selection(
        ensemble=_ensemble(ens, groups.first[chosen], share), manifest=_manifest(ens, groups, chosen, share), how=how
    )


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


def _ensemble(ens: Ensemble, rows: np.ndarray, share: np.ndarray) -> Ensemble:
    """The chosen samples with their shares as weights; the free energy stays that of all, and error bars are no smaller than those of all."""
    known = ens.averages.free_energy() if ens.absolute else None
    part = ens.subset(rows)
    share = np.maximum(share, 1e-300)
    worth = max(1.0, ess(np.log(share)) / max(ens.effective_samples, 1.0))
    facts = replace(part.facts, free_energy=known, inefficiency=float(worth))
    info = {**ens.info, "selected_from": len(ens)}
    return replace(
        part,
        log_prob=None,
        log_w=np.log(share),
        facts=facts,
        place=None,
        drawn=None,
        info=info,
        method=f"{ens.method}, selected",
    )


def _manifest(ens: Ensemble, groups: Distinct, chosen: np.ndarray, share: np.ndarray) -> Any:
    import pandas as pd

    rows, h = groups.first[chosen], ens.hamiltonian
    table = {
        "sample": rows,
        "formula": [_formula(h.elements, count) for count in ens.counts[rows]],
        "T": ens.T,
        **{info_key(f"mu_{e}"): float(m) for e, m in zip(h.elements, ens.mu, strict=True)},
        "energy": ens.energy[rows],
        "weight": share,
        "samples": groups.sums(np.ones(len(ens)))[chosen].astype(int),
        "multiplicity": [multiplicity(h.lattice, ens.occ[row]) if is_ideal(ens.atoms_map) else 1 for row in rows],
    }
    return pd.DataFrame(table, index=pd.Index([groups.hashes[k] for k in chosen], name="hash"))


def _formula(elements: tuple[str, ...], counts: np.ndarray) -> str:
    return "".join(f"{e}{int(c) if c > 1 else ''}" for e, c in zip(elements, counts, strict=True) if c)
