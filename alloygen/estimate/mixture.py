"""The law that pooled samples of many states follow, and the free energies that make it one.

    p(x) = d(x) / sum_k N_k,     d(x) = sum_k N_k exp(f_k - u_k(x)),     u_k(x) = slope_k . (E, N_1, N_2, ...) + bias_k

The inner half of :mod:`alloygen.estimate.mbar`, which has the references and what users call.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, cast

import numpy as np
from scipy import linalg, sparse
from scipy.sparse import csgraph
from scipy.spatial import KDTree

from alloygen.errors import AlloygenError, LowSampleSize
from alloygen.estimate.weights import user_level

CHUNK = 2**22  # numbers in a block of samples x states: 32 MB
KEPT = 2**24  # numbers of rows x states that are kept at one condition: 128 MB
COARSE = 20_000  # rows of the thinned data on which the solution starts
BLOCK = 1024  # rows that are looked at together, next to each other in energy and counts
NOWHERE = 32.0  # nats by which a state is less likely than the likeliest one, from which on a row is not of it
SHARED = 20.0  # samples that two parts of the states must have in common; below one there is no answer


class NoOverlap(AlloygenError):
    """Sampled states that fall into parts without samples in common: free energies between them are not known.

    ``side`` (K,) says which states lie on one side of the gap; None where that was not found.
    """

    side: np.ndarray | None = None


def gap_of_states(i: int, j: int, shared: float) -> str:
    """What to say where the states nearest to each other on the two sides of a gap, i and j, share so few samples."""
    return (
        f"expected neighbouring states to share samples; those around state {i} and those around state {j} share "
        f"about {shared:.2g} independent ones. Add states between them, or sample longer"
    )


class Part(NamedTuple):
    """Some merged rows (m,): p (m, S), the chance that a row came from each of ``states`` (S,), all others having none, and log d (m,)."""

    states: np.ndarray
    p: np.ndarray
    log_d: np.ndarray


class Near(NamedTuple):
    """Some merged rows (m,) of a mixture and, where they are few enough to be kept, their V (m, K)."""

    mixture: Mixture
    rows: np.ndarray
    v: np.ndarray | None

    def project(self, left: np.ndarray) -> np.ndarray:
        """sum_n z_n V_n (C, K) for rows z of ``left`` (C, M) that are zero elsewhere."""
        if self.v is not None:
            return left[:, self.rows] @ self.v
        parts = self.mixture.parts_of(self.rows)
        return self.mixture.gather((at, left[:, at]) for at in parts)


class Mixture:
    """Merged samples of K states, with f at the minimum of the convex sum_n log d(x_n) - sum_k N_k f_k.

    Parameters
    ----------
    slope : (K, 1 + E) beta and -beta mu of every state
    series : K arrays (n_k, 1 + E) of energies and counts
    g : (K,) inefficiencies, each a number or one for every sample (n_k,); a sample of state k counts 1 / g_k, N_k is the sum of that
    bias : function (energy (m,), counts (m, E)) -> (m, K), or None
    gap : (i, j, shared) -> the words for states that hardly overlap
    inside : (n,) which samples count, state by state, at least one of each; the others have the share 0. None: all

    Attributes: ``x`` (M, 1 + E) distinct rows, ``row`` (n,) of each sample, ``share`` (n,) 1/g of each sample, ``c`` (M,)
    sums of shares, ``n`` (K,) N_k, ``f`` (K,) up to a constant, ``log_d`` (M,), ``shared`` (K, K) sum_n p_i p_j, ``inverse``
    (K, K) for errors.
    """

    def __init__(
        self,
        slope: np.ndarray,
        series: Sequence[np.ndarray],
        g: np.ndarray | Sequence[np.ndarray],
        bias: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
        gap: Callable[[int, int, float], str] = gap_of_states,
        inside: np.ndarray | None = None,
    ):
        self.slope, self.bias, self.gap = slope, bias, gap
        lengths = [len(s) for s in series]
        inside = np.ones(sum(lengths), dtype=bool) if inside is None else inside
        each = np.concatenate([np.broadcast_to(k, n) for k, n in zip(g, lengths, strict=True)])
        self.share = np.where(inside, 1.0 / each, 0.0)
        self.n = np.add.reduceat(self.share, np.append(0, np.cumsum(lengths)[:-1]))
        self.row = np.zeros(len(inside), dtype=np.int64)
        self.x, self.row[inside] = _merge(np.concatenate(series)[inside], np.ptp(slope, axis=0))
        self.c = np.bincount(self.row, self.share)
        f, thin = self._start(series), max(1, len(self.x) // COARSE)
        for stride in sorted({thin, max(1, thin // 5), 1}, reverse=True):
            f = self._newton(f, stride, first=stride == thin)
        self.f = f
        self._check_overlap()
        self.log_d = np.concatenate([self.part(block).log_d for block in self.blocks()])
        inner = linalg.inv(self._inner())
        self.inverse = (inner + inner.T) / 2

    def _u(self, rows) -> np.ndarray:
        """Reduced potentials (m, K) of merged rows in every state."""
        u = self.x[rows] @ self.slope.T
        if self.bias is not None:
            u += self.bias(self.x[rows, 0], self.x[rows, 1:])
        return u

    def blocks(self, stride: int = 1) -> list[slice]:
        step = max(1, min(BLOCK, CHUNK // len(self.n))) * stride
        return [slice(a, a + step, stride) for a in range(0, len(self.x), step)]

    def part(self, rows: slice | np.ndarray, f: np.ndarray | None = None) -> Part:
        """Where some merged rows came from, by the states that any of them may be of: rows next to each other are of few of many states."""
        p = self._u(rows)
        np.subtract((self.f if f is None else f) + np.log(self.n), p, out=p)
        top = p.max(1)
        p -= top[:, None]
        states = np.flatnonzero(p.max(0) > -NOWHERE)
        p = np.exp(p if len(states) == p.shape[1] else p[:, states])
        total = p.sum(1)
        p /= total[:, None]
        return Part(states, p, top + np.log(total))

    def _evaluate(self, f, stride: int):
        """Objective, gradient (K,) and sum_n p_i p_j (K, K) on every ``stride``-th row."""
        shared, seen, value, rows = np.zeros((len(f), len(f))), np.zeros(len(f)), 0.0, 0.0
        for block in self.blocks(stride):
            states, p, log_d = self.part(block, f)
            c = self.c[block]
            value += c @ log_d
            rows += c.sum()
            seen[states] += c @ p
            p *= np.sqrt(c)[:, None]
            shared[np.ix_(states, states)] += p.T @ p
        scale = rows / self.n.sum()
        return (value - scale * self.n @ f) / scale, seen / scale - self.n, shared / scale

    def _start(self, series) -> np.ndarray:
        """f from mean differences, f_j - f_i = (<u_j - u_i>_i + <u_j - u_i>_j) / 2, along the tree of nearest states."""
        u = np.stack([s.mean(0) for s in series]) @ self.slope.T
        if self.bias is not None:
            u += np.stack([self.bias(s[:, 0], s[:, 1:]).mean(0) for s in series])
        up = u - np.diag(u)[:, None]  # <u_j - u_i>_i
        self._apart = np.maximum(up + up.T, 0.0)  # Jeffreys' divergence
        tree = csgraph.minimum_spanning_tree(1.0 + self._apart)
        order, before = csgraph.breadth_first_order(tree, 0, directed=False)
        f = np.zeros(len(u))
        for j in order[1:]:
            i = before[j]
            f[j] = f[i] + (up[i, j] - up[j, i]) / 2
        return f

    def _newton(self, f, stride: int, first: bool, tolerance: float = 1e-5) -> np.ndarray:
        """The minimum of the objective on every ``stride``-th row."""
        value, gradient, self.shared = self._evaluate(f, stride)
        for k in range(50):
            step = None if first and k < 2 else self._solve(-gradient, gradient + self.n)
            if newton := step is not None:
                step = step - step.mean()
            else:  # self-consistent: f_k -= log(expected / true number of samples)
                step = -np.log(np.maximum(gradient / self.n + 1.0, 1e-9))
            length = np.log1p(np.ptp(step)) / np.ptp(step) if np.ptp(step) > 2 else 1.0  # safe for exponentials
            new = self._evaluate(f + length * step, stride)
            while new[0] > value + 1e-12 * abs(value) and length > 1e-3:
                length /= 2
                new = self._evaluate(f + length * step, stride)
            f, (value, gradient, self.shared) = f + length * step, new
            if newton and length == 1.0 and np.ptp(step) < tolerance:
                return f
        if stride == 1:
            self._check_overlap()
            raise NoOverlap("expected MBAR to converge in 50 steps; some states hardly overlap: add conditions")
        return f

    def _inner(self, seen=None) -> np.ndarray:
        """1 - V^T V + the projection on its null vector, with V_nk = p_nk / sqrt(N_k); positive definite.

        Away from the solution the numbers ``seen`` (K,), sum_n p_nk, take the place of N.
        """
        root = np.sqrt(self.n if seen is None else seen)
        return np.eye(len(root)) + np.outer(root, root) / (root @ root) - self.shared / np.outer(root, root)

    def _solve(self, right, seen) -> np.ndarray | None:
        """x with (diag(seen) - shared) x = right up to a constant, or None where the states fall apart."""
        root = np.sqrt(np.maximum(seen, 1e-9))
        try:
            return linalg.cho_solve(linalg.cho_factor(self._inner(root**2)), right / root) / root
        except linalg.LinAlgError:
            return None

    @property
    def spectral_gap(self) -> float:
        """1 - second largest eigenvalue of ``overlap``."""
        return float(linalg.eigvalsh(self._inner())[0]) if len(self.n) > 1 else 1.0

    def _check_overlap(self) -> None:
        """Find the cut through the tree of best-connected states across which the fewest samples are shared."""
        if len(self.n) == 1:
            return
        closeness = self.shared / np.sqrt(np.outer(self.n, self.n))
        tree = csgraph.minimum_spanning_tree(2.0 - np.minimum(closeness, 1.0)).tocoo()
        worst, apart = (np.inf, 0, 0), None
        for edge in range(tree.nnz):
            keep = np.arange(tree.nnz) != edge
            rest = sparse.coo_array((tree.data[keep], (tree.row[keep], tree.col[keep])), shape=tree.shape)
            side = csgraph.connected_components(rest, directed=False)[1] == 0
            both = self.shared[np.ix_(side, ~side)].sum()
            lack = both / (1.0 - both / min(self.n[side].sum(), self.n[~side].sum()) + 1e-9)  # 1 / variance
            if lack < worst[0]:
                between = np.where(np.not_equal.outer(side, side), self._apart, np.inf)
                worst, apart = (lack, *np.unravel_index(between.argmin(), between.shape)), side
        if worst[0] >= SHARED:
            return
        text = self.gap(int(worst[1]), int(worst[2]), float(worst[0]))
        if worst[0] < 1:
            torn = NoOverlap(text)
            torn.side = apart
            raise torn
        warnings.warn(f"{text}; free energies across are unreliable", LowSampleSize, stacklevel=user_level())

    def project(self, left: np.ndarray | sparse.sparray | Callable[[slice], np.ndarray]) -> np.ndarray:
        """sum_n z_n V_n (C, K) for rows z of ``left`` (C, M), dense, sparse, or a function that makes those of a block of rows (C, m)."""
        left = sparse.csc_array(left) if sparse.issparse(left) else left
        rows = ((block, left(block) if callable(left) else left[:, block]) for block in self.blocks())
        return self.gather(rows)

    def gather(self, rows: Iterable[tuple[slice | np.ndarray, np.ndarray | sparse.sparray]]) -> np.ndarray:
        """sum_n z_n V_n (C, K) of blocks of merged rows, each with its z (C, m)."""
        out: np.ndarray | None = None
        for block, z in rows:
            states, p, _ = self.part(block)
            out = np.zeros((z.shape[0], len(self.n))) if out is None else out
            out[:, states] += z @ p
        return cast(np.ndarray, out) / np.sqrt(self.n)

    def parts_of(self, rows: np.ndarray) -> list[np.ndarray]:
        """Merged rows in blocks of at most CHUNK numbers of rows x states."""
        return np.array_split(rows, max(1, -(-len(rows) // max(1, min(BLOCK, CHUNK // len(self.n))))))

    def near(self, weights: np.ndarray) -> Near:
        """The rows that weigh anything of the merged ``weights`` (M,), most of them nothing at a cold condition, with their V."""
        rows = np.flatnonzero(weights > 1e-12 * weights.max())
        if len(rows) * len(self.n) > KEPT:
            return Near(self, rows, None)
        v, start = np.zeros((len(rows), len(self.n))), 0
        for at in self.parts_of(rows):
            states, p, _ = self.part(at)
            v[start : start + len(at), states] = p
            start += len(at)
        return Near(self, rows, v / np.sqrt(self.n))

    def lift(self, q: np.ndarray) -> np.ndarray:
        """sum_k V_nk q_k (M, C) for rows q of (C, K)."""
        q = q / np.sqrt(self.n)
        parts = (self.part(block) for block in self.blocks())
        return np.concatenate([p @ q[:, states].T for states, p, _ in parts])

    def state(self, k: int) -> np.ndarray:
        """Weights (M,) of the merged rows in state k, with their multiplicity, summing to 1."""
        u = self.x @ self.slope[k] + (0.0 if self.bias is None else self.bias(self.x[:, 0], self.x[:, 1:])[:, k])
        return self.c * np.exp(self.f[k] - u - self.log_d)


def _merge(x: np.ndarray, spread: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct rows (M, 1 + E), energies equal to 1e-11 of the largest, and for each sample its row.

    Of many rows those in a BLOCK lie next to each other (a k-d tree; Bentley, Commun. ACM 18, 509 (1975)), by ``spread`` (1 + E,) of the slopes.
    """
    size = 1e-11 * max(np.abs(x[:, 0]).max(), 1e-300)
    key = np.column_stack([np.rint(x[:, 0] / size), x[:, 1:]])
    _, first, row = np.unique(key, axis=0, return_index=True, return_inverse=True)
    if len(first) <= BLOCK:
        return x[first], row.ravel()
    order = KDTree(x[first] * spread, leafsize=BLOCK // 2).indices
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    return x[first[order]], place[row.ravel()]
