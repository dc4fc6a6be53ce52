"""Configurations with given numbers of atoms: how many there are, which numbers the rest can still reach, and even draws of them.

Sites that take the same species with the same weights are of one *kind*. With n_k sites of kind k left and r still to come, the number of
ways to fill them is a sum over products,

    W(n, r) = sum over r_1 + ... + r_K = r of prod_k P_k(n_k, r_k),     P_k(n, r) = sum_a P_k(n - 1, r - w_k(a)),

tables that are worked out once (dynamic programming). W > 0 says that a state can still be completed, exactly. Constraints that share no
kind do not meet, and are counted apart.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, reduce

import numpy as np

from alloygen.conditions.composition import Constraint
from alloygen.errors import BadCondition
from alloygen.lattice import Lattice
from alloygen.limits import require_rows

MOST = 30_000_000  # entries of the tables of one set of kinds
FAR = 50_000  # sums that are looked through for the nearest


@dataclass(frozen=True, eq=False)
class _Part:
    """Kinds (K,) that constraints (C,) tie together: tables (n_k + 1, R) of log P_k for the box of rests, ``size`` (C,)."""

    kinds: np.ndarray
    constraints: np.ndarray
    size: np.ndarray
    tables: list[np.ndarray]
    joined: dict[tuple[int, ...], np.ndarray] = field(default_factory=dict)

    def log_ways(self, left: tuple[int, ...]) -> np.ndarray:
        """log W of every rest (R,), with so many sites of each kind left."""
        if left not in self.joined:
            rows = [table[n] for table, n in zip(self.tables, left, strict=True)]
            self.joined[left] = reduce(self._convolved, rows)
        return self.joined[left]

    def _convolved(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """log sum over s of exp(a(s) + b(r - s)), both on the box."""
        a, b = a.reshape(self.size), b.reshape(self.size)
        out = np.full(a.shape, -np.inf)
        if np.isfinite(a).sum() > np.isfinite(b).sum():
            a, b = b, a
        for s in np.argwhere(np.isfinite(a)):
            to, of = tuple(slice(k, None) for k in s), tuple(slice(0, n - k) for k, n in zip(s, a.shape, strict=True))
            out[to] = np.logaddexp(out[to], a[tuple(s)] + b[of])
        return out.ravel()


@dataclass(frozen=True, kw_only=True, eq=False)
class Counts:
    """Constraints on the atoms of a supercell (N sites), some of which may be held.

    lattice : Lattice; constraint : on its sublattices; known : (N,) species index of held sites, -1 where free

    Raises BadCondition for numbers that no configuration has, with the nearest.

    Examples
    --------
    >>> import alloygen.data
    >>> from alloygen.conditions.composition import constraint
    >>> lattice = alloygen.data.cuau().on((2, 2, 4)).lattice
    >>> counts = Counts(lattice=lattice, constraint=constraint({"Au": 4}, lattice), known=np.full(16, -1))
    >>> round(np.exp(counts.log_number)), counts.draw(3, np.random.default_rng(0)).sum(1).tolist()
    (1820, [4, 4, 4])
    """

    lattice: Lattice
    constraint: Constraint
    known: np.ndarray

    def __post_init__(self) -> None:
        if (self.need < 0).any() or not np.isfinite(self.log_number):
            raise BadCondition(self._unreachable())

    # ------------------------------------------------------------------ sites and their weights
    @cached_property
    def _raw(self) -> np.ndarray:
        """Weights (N, S, C) of each species of each site."""
        return self.constraint.weights.transpose(1, 2, 0)[self.lattice.sublattice]

    @cached_property
    def _least(self) -> np.ndarray:
        """(N, C) the smallest weight that a site can have, or what a held one has."""
        allowed = self.lattice.allowed[..., None]
        least = np.where(allowed, self._raw, np.iinfo(np.int64).max).min(1)
        held = self._raw[np.arange(len(self.known)), np.maximum(self.known, 0)]
        return np.where((self.known >= 0)[:, None], held, least)

    @cached_property
    def weights(self) -> np.ndarray:
        """Weights (N, S, C) counted from the smallest of each free site; of no use where a species is not allowed."""
        return np.where(self.lattice.allowed[..., None], self._raw - self._least[:, None], 0)

    @cached_property
    def need(self) -> np.ndarray:
        """(C,) what the free sites have to add up to, in these weights."""
        return self.constraint.target - self._least.sum(0)

    @cached_property
    def kind(self) -> np.ndarray:
        """(N,) kind of each free site that a constraint knows, -1 for the others."""
        allowed, w = self.lattice.allowed, self.weights
        told = (self.known < 0) & (w != 0).any((1, 2))
        rows = np.column_stack([allowed, w.reshape(len(w), -1)])
        out = np.full(len(w), -1)
        if told.any():
            out[told] = np.unique(rows[told], axis=0, return_inverse=True)[1].ravel()
        return out

    @cached_property
    def n_kinds(self) -> int:
        return int(self.kind.max(initial=-1)) + 1

    @cached_property
    def left(self) -> np.ndarray:
        """(K,) free sites of each kind."""
        return np.bincount(self.kind[self.kind >= 0], minlength=self.n_kinds)

    def _of_kind(self, k: int) -> np.ndarray:
        """Weights (S', C) of the species that sites of a kind may hold."""
        site = int(np.flatnonzero(self.kind == k)[0])
        return self.weights[site][self.lattice.allowed[site]]

    # ------------------------------------------------------------------ tables
    @cached_property
    def parts(self) -> list[_Part]:
        c = len(self.need)
        touches = np.array([(self._of_kind(k) != 0).any(0) for k in range(self.n_kinds)]).reshape(-1, c)
        label = np.arange(c)
        for row in touches:
            together = label[row]
            if len(together):
                label[np.isin(label, together)] = together.min()
        out = []
        for name in np.unique(label):
            own = np.flatnonzero(label == name)
            kinds = np.flatnonzero(touches[:, own].any(1)) if len(touches) else np.zeros(0, dtype=np.int64)
            out.append(self._part(kinds, own))
        return out

    def _part(self, kinds: np.ndarray, own: np.ndarray) -> _Part:
        size = np.maximum(self.need[own], 0) + 1
        entries = float(np.prod(size.astype(float)) * (self.left[kinds] + 1).sum())
        if entries > MOST:
            raise BadCondition(
                f"expected at most {MOST} entries in the tables of {self.constraint.words}, got {entries:.3g}: give the composition by sublattice, "
                "or take a smaller supercell"
            )
        return _Part(kinds, own, size, [self._powers(int(k), own, size) for k in kinds])

    def _powers(self, k: int, own: np.ndarray, size: np.ndarray) -> np.ndarray:
        """log P_k(n, r), (n_k + 1, R)."""
        rows = np.full((int(self.left[k]) + 1, *size), -np.inf)
        rows[(0, *np.zeros(len(own), dtype=int))] = 0.0
        for n in range(1, len(rows)):
            for w in self._of_kind(k)[:, own]:
                if (w < size).all():
                    to, of = (
                        tuple(slice(int(s), None) for s in w),
                        tuple(slice(0, int(m - s)) for s, m in zip(w, size, strict=True)),
                    )
                    rows[n][to] = np.logaddexp(rows[n][to], rows[n - 1][of])
        return rows.reshape(len(rows), -1)

    def log_ways(self, left: np.ndarray, rest: np.ndarray) -> np.ndarray:
        """log of the number of ways (...,) to fill the sites that are left, (B, K), such that they add up to ``rest`` (B, ..., C)."""
        out = np.zeros(rest.shape[:-1])
        for part in self.parts:
            own = rest[..., part.constraints]
            inside = ((own >= 0) & (own < part.size)).all(-1)
            flat = np.ravel_multi_index(tuple(np.moveaxis(np.clip(own, 0, part.size - 1), -1, 0)), tuple(part.size))
            states, row = np.unique(left[:, part.kinds], axis=0, return_inverse=True)
            tables = np.stack([part.log_ways(tuple(map(int, s))) for s in states]) if len(part.kinds) else np.where(np.arange(np.prod(part.size)) == 0, 0.0, -np.inf)[None]  # fmt: skip
            row = row.reshape(-1, *[1] * (flat.ndim - 1))
            out = out + np.where(inside, tables[np.broadcast_to(row, flat.shape), flat], -np.inf)
        return out

    @cached_property
    def log_number(self) -> float:
        """Log of the number of configurations that meet the constraints."""
        free = (self.known < 0) & (self.kind < 0)
        idle = float(np.log(self.lattice.n_species[free]).sum())
        return idle + float(self.log_ways(self.left[None], self.need[None])[0])

    # ------------------------------------------------------------------ configurations
    def met(self, occ: np.ndarray) -> np.ndarray:
        """Whether occupations (B, N) meet the constraints, (B,) bool."""
        return (self.sums(occ) == self.constraint.target).all(-1)

    def sums(self, occ: np.ndarray) -> np.ndarray:
        """What occupations (B, N) add up to, (B, C)."""
        return self._raw[np.arange(occ.shape[1]), occ].sum(1)

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """n configurations (n, N) int8 that meet the constraints, each as likely as any other."""
        require_rows(n, len(self.known), f"configurations of {len(self.known)} sites")
        occ = np.tile(np.maximum(self.known, 0), (n, 1)).astype(np.int8)
        left, rest = np.tile(self.left, (n, 1)), np.tile(self.need, (n, 1))
        for i in np.flatnonzero(self.known < 0):
            k = self.kind[i]
            left[:, k] -= k >= 0
            after = rest[:, None] - self.weights[i]
            log_p = np.where(self.lattice.allowed[i], self.log_ways(left, after), -np.inf)
            p = np.exp(log_p - log_p.max(1, keepdims=True)).cumsum(1)
            occ[:, i] = (rng.random((n, 1)) * p[:, -1:] > p[:, :-1]).sum(1)
            rest = after[np.arange(n), occ[:, i]]
        return occ

    # ------------------------------------------------------------------ what cannot be
    def _unreachable(self) -> str:
        told = f"expected a composition that a configuration of {self.lattice!r} can have, got {self.constraint.words}"
        held = f" with {int((self.known >= 0).sum())} sites held" if (self.known >= 0).any() else ""
        sums = self._sums_that_are()
        if sums is None:
            return f"{told}{held}"
        nearest = sums[np.abs(sums - self.constraint.target).sum(1).argmin()]
        return f"{told}{held}: the sums that are wanted, {self.constraint.target.tolist()}, are not reached; the nearest are {nearest.tolist()}"

    def _sums_that_are(self) -> np.ndarray | None:
        """Sums (M, C) that configurations have; None where these are too many."""
        found = {tuple(self._least.sum(0).tolist())}
        for i in np.flatnonzero(self.kind >= 0):
            steps = {tuple(w) for w in self.weights[i][self.lattice.allowed[i]].tolist()}
            found = {tuple(a + b for a, b in zip(x, w, strict=True)) for x in found for w in steps}
            if len(found) > FAR:
                return None
        return np.array(sorted(found))
