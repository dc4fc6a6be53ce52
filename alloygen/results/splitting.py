"""One isothermal section: which compositions of a cell are one phase, and into what the others split, from F and its bootstrap.

A facet of the hull has several phases where its corners are far apart (``min_width`` steps at least, :func:`alloygen.estimate.facets.steps`) and compositions
between them lie above the hull by several of their errors. Noise makes long facets too; of these the corners are one phase.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from alloygen.estimate.facets import TIE, Facets, between, joined, steps

SURE = 0.9  # share of the replicas that must show a region
SIGMAS = 4.0  # errors of its own that the barrier between two phases must have


class Split(NamedTuple):
    """Compositions (G, K) of phases, their fractions (G,), and for each corner of the facet (K,) its phase, -1 for corners of fraction 0."""

    x: np.ndarray
    fraction: np.ndarray
    group: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class Surface:
    """F over compositions at one temperature.

    atoms : (L, K) whole numbers of atoms, rows of one sum; f : (L,) per site; error : (L,) its standard error, nan where unknown
    replica : (R, L) bootstrap, None where there is none; min_width : steps that phases are apart at least
    """

    atoms: np.ndarray
    f: np.ndarray
    error: np.ndarray
    replica: np.ndarray | None
    min_width: int

    @cached_property
    def x(self) -> np.ndarray:
        return self.atoms / self.atoms[0].sum()

    @cached_property
    def facets(self) -> Facets:
        return Facets.of(self.x, self.f)

    @cached_property
    def replicas(self) -> list[Facets]:
        return [] if self.replica is None else [Facets.of(self.x, g) for g in self.replica]

    @cached_property
    def _place(self) -> dict:
        return {tuple(row): k for k, row in enumerate(self.atoms.tolist())}

    # ------------------------------------------------------------------ above the hull
    @cached_property
    def located(self) -> tuple[np.ndarray, np.ndarray]:
        """The facet (L,) below each composition, and the fractions (L, K) of its corners."""
        return self.facets.locate(self.x)

    @cached_property
    def height(self) -> np.ndarray:
        """(L,) F above the hull, 0 on it."""
        facet, share = self.located
        above = self.f - (share * self.f[self.facets.corners[facet]]).sum(1)
        return np.where(
            above > TIE * max(np.ptp(self.f[np.isfinite(self.f)]), 1e-300),
            above,
            np.where(np.isfinite(self.f), 0.0, np.nan),
        )

    @cached_property
    def significance(self) -> np.ndarray:
        """(L,) the height in errors of its own: infinite where F has none, nan where F or its error is not known."""
        if self.replica is None:
            return np.where(self.height > 0, np.inf, np.where(np.isnan(self.height), np.nan, 0.0))
        facet, share = self.located
        moved = self.replica - np.einsum("rlk,lk->rl", self.replica[:, self.facets.corners[facet]], share)
        sigma = np.maximum(moved.std(0, ddof=1), self.error)  # nan where the error is
        sure = np.where(self.height > 0, np.inf, 0.0)
        return np.divide(self.height, sigma, out=np.where(np.isnan(sigma), np.nan, sure), where=sigma > 0)

    # ------------------------------------------------------------------ which corners are one phase
    @cached_property
    def far(self) -> np.ndarray:
        """(M, K, K) whether corners of each facet are ``min_width`` steps apart."""
        corners = self.atoms[self.facets.corners]
        return steps(corners[:, :, None], corners[:, None]) >= self.min_width

    @cached_property
    def seen(self) -> np.ndarray:
        """(M,) phases that each facet would have by the distances of its corners alone."""
        return np.array([joined(far).max() + 1 for far in self.far])

    @cached_property
    def groups(self) -> np.ndarray:
        """(M, K) the phase of each corner of each facet, numbered from 0."""
        out = np.zeros(self.facets.corners.shape, dtype=int)
        for m in np.flatnonzero(self.seen > 1):
            out[m] = self._groups(self.facets.corners[m], joined(self.far[m]))
        return out

    @cached_property
    def count(self) -> np.ndarray:
        """(M,) phases of each facet."""
        return self.groups.max(1) + 1

    def _groups(self, corners: np.ndarray, group: np.ndarray) -> np.ndarray:
        """Groups of corners, those joined that no significant barrier keeps apart, the least apart first."""
        while group.max() > 0:
            sigma = {
                (a, b): self.apart(corners[group == a], corners[group == b])
                for a, b in combinations(range(group.max() + 1), 2)
            }
            least = min(sigma, key=lambda pair: np.inf if np.isnan(sigma[pair]) else sigma[pair])
            if not sigma[least] < SIGMAS:
                break
            group = np.unique(np.where(group == least[1], least[0], group), return_inverse=True)[1]
        return group

    def apart(self, some: np.ndarray, others: np.ndarray) -> float:
        """Errors that the highest barrier between two groups of corners has; nan where nothing between was visited."""
        found = [self.edge(int(min(i, j)), int(max(i, j))) for i in some for j in others]
        return float(np.nanmax(found)) if not np.isnan(found).all() else np.nan

    def edge(self, i: int, j: int) -> float:
        """The significance of the highest of the compositions between two, nan where none of them is known."""
        if (i, j) not in self._edges:
            at = [
                self._place[c] for c in map(tuple, between(self.atoms[i], self.atoms[j]).tolist()) if c in self._place
            ]
            known = [k for k in at if not np.isnan(self.significance[k])]
            best = max(known, key=lambda k: self.height[k], default=None)
            self._edges[i, j] = np.nan if best is None else float(self.significance[best])
        return self._edges[i, j]

    @cached_property
    def _edges(self) -> dict[tuple[int, int], float]:
        return {}

    # ------------------------------------------------------------------ how a composition splits
    def split(self, x: np.ndarray) -> tuple[int, Split]:
        """The facet that holds a composition (K,), and its phases there."""
        facet, share = (v[0] for v in self.facets.locate(x[None]))
        return int(facet), _split(self.x[self.facets.corners[facet]], share, self.groups[facet])

    def moved(self, x: np.ndarray, wanted: list[Split]) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
        """What the replicas say at compositions (P, K) that split as ``wanted``.

        Returns the share (P,) of the replicas that have as many phases there; for each composition (r, G, K) the compositions of these and (r, G) their
        fractions, of the replicas that do.
        """
        ends: list[list] = [[] for _ in x]
        shares: list[list] = [[] for _ in x]
        for hull in self.replicas:
            facet, share = hull.locate(x)
            corners = self.atoms[hull.corners[facet]]
            distance = steps(corners[:, :, None], corners[:, None])
            for p, want in enumerate(wanted):
                group = _merged(distance[p], joined(distance[p] >= self.min_width), len(want.x))
                found = _split(corners[p] / self.atoms[0].sum(), share[p], group)
                if len(found.x) == len(want.x):
                    order = linear_sum_assignment(np.abs(want.x[:, None] - found.x[None]).sum(-1))[1]
                    ends[p].append(found.x[order])
                    shares[p].append(found.fraction[order])
        support = np.array([len(e) / max(len(self.replicas), 1) for e in ends])
        return support, [np.array(e) for e in ends], [np.array(s) for s in shares]

    def slopes(self, x: np.ndarray) -> np.ndarray:
        """(R, P, K) tangent planes of the replicas' hulls at compositions (P, K)."""
        return np.array([hull.slope[hull.locate(x)[0]] for hull in self.replicas])


def _merged(distance: np.ndarray, group: np.ndarray, count: int) -> np.ndarray:
    """Groups of corners, the nearest joined until there are ``count``."""
    while group.max() + 1 > count:
        pairs = list(combinations(range(group.max() + 1), 2))
        a, b = min(pairs, key=lambda ab: distance[np.ix_(group == ab[0], group == ab[1])].min())
        group = np.unique(np.where(group == b, a, group), return_inverse=True)[1]
    return group


def _split(corners: np.ndarray, share: np.ndarray, group: np.ndarray) -> Split:
    """Phases of a composition from the corners (K, K) of its facet, their fractions, and which of them are one phase."""
    names = [g for g in range(group.max() + 1) if share[group == g].sum() > 1e-9]
    fraction = np.array([share[group == g].sum() for g in names])
    x = np.array([share[group == g] @ corners[group == g] for g in names]) / fraction[:, None]
    order = np.lexsort(-np.round(x, 9).T[::-1])  # most of the first element first
    label = np.full(len(group), -1)
    for k, g in enumerate(order):
        label[group == names[g]] = k
    return Split(x[order], fraction[order], label)
