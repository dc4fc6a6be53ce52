"""Multistate Bennett acceptance ratio: one free-energy surface from samples at many (T, mu).

Shirts and Chodera, J. Chem. Phys. 129, 124105 (2008). State k has the reduced potential

    u_k(x) = beta_k E(x) - sum_e (beta mu)_{k,e} N_e(x) + bias_k(E, N),        f_k = -log Z_k = -log sum_x exp(-u_k(x)),

with beta = 1/kT and beta mu as a number of its own, so that T = inf (both zero, Z = number of configurations) is a state
like any other and pins the absolute free energy. All that is known of a sample is (E, N), so equal pairs are merged
and the samples of a small lattice are a few hundred rows. A sample of a state with inefficiency g counts 1/g.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import numpy as np
from scipy import sparse
from scipy.special import logsumexp

from alloygen.errors import AlloygenError, BadCondition, LowSampleSize
from alloygen.estimate import chains as markov
from alloygen.estimate.mixture import CHUNK, Mixture, Near, gap_of_states
from alloygen.estimate.result import Estimate
from alloygen.estimate.serial import one_thread
from alloygen.estimate.series import Memory, blocks_of, inefficiencies, series_of
from alloygen.estimate.weights import MIN_ESS, user_level
from alloygen.types import ArrayLike


class MBAR:
    """Free energies, weights and averages at any (T, mu) in reach of K sampled states.

        f_k = -log sum_n exp(-u_k(x_n)) / d(x_n),     d(x) = sum_l N_l exp(f_l - u_l(x))

    is solved as the minimum of the convex sum_n log d(x_n) - sum_k N_k f_k: a start from mean energy differences along
    the tree of nearest states, self-consistent steps, then Newton's method with a line search. Errors are the
    asymptotic ones (the paper's eq. 8, with augmented states for unsampled conditions) of samples independent but for
    g. With ``inefficiency="measure"`` they come from the time series of what each sample adds to the result,

        psi_n = (w_n + b (1 - V^T V)^+ V_n) / g_n,     V_nk = p_k(x_n) / sqrt(N_k),     b = sum_n w_n V_n / g_n,

    summed over the states at each time: its own inefficiency also counts how replica exchange ties neighbours
    together. Each log Z also has the term 1/ESS^2 of :func:`alloygen.estimate.free_energy.free_energy` for what was
    not seen.

    Parameters
    ----------
    beta : (K,) 1/kT, 0 for T = inf
    beta_mu : (K, E) beta times the chemical potential of each element (all elements, or all but one)
    energy : K arrays (n_k,) in time order, E per supercell without the mu N term; or (K, n)
    counts : K arrays (n_k, E) of atoms by element, as ``beta_mu``; or (K, n, E)
    inefficiency : (K,) g_k >= 1; None for independent samples; "measure" for Markov chains: the largest g of E, each N
        and u_k, and errors from time series. Chains of equal length are taken to have run side by side
    log_z_reference : {state: its known log Z}, {k: log(number of configurations)} for a state k at T = inf. The first
        one fixes the scale, others must agree with it within 6 sigma. None: f_0 = 0, only differences mean anything
    n_chains : with "measure", the samples of every state are so many independent chains of equal length, one after another
    bias : function (energy (m,), counts (m, E)) -> (m, K) that was added to the reduced potentials, if any
    inside : K arrays (n_k,) bool, the samples of each state that count; None: all. A state is then the law restricted to a region
    memory : how the samples of a state hang together, see :class:`alloygen.estimate.series.Memory`
    gap : function (i, j, shared) -> text for states i and j that hardly overlap, in the words of who sampled them

    Attributes: ``f`` (K,); ``covariance`` (K, K) of f, asymptotic, zero for the reference; ``overlap`` (K, K), rows summing to 1,
    the chance that a sample of state i could be one of j; ``spectral_gap``, 1 - second eigenvalue of it, 0 for parts that
    do not overlap.

    Raises :class:`AlloygenError` for wrong shapes, and its :class:`NoOverlap` where parts of the states share less than one
    independent sample, naming the two states between which others are missing; warns ``LowSampleSize`` where they share fewer than 20.

    Examples
    --------
    Two sites with energies 0, 1, 1, 2, at T = inf and kT = 1, where log Z = 2 log(1 + 1/e) = 0.627:

    >>> rng = np.random.default_rng(0)
    >>> energy = [rng.binomial(2, p, size=4000) for p in (0.5, 1 / (1 + np.e))]
    >>> m = MBAR([0, 1], np.zeros((2, 1)), energy, [e[:, None] for e in energy], log_z_reference={0: np.log(4)})
    >>> m.log_z(1.0, [0.0])
    Estimate(0.6250(77))
    """

    @one_thread
    def __init__(
        self,
        beta: ArrayLike,
        beta_mu: ArrayLike,
        energy: Sequence[ArrayLike] | np.ndarray,
        counts: Sequence[ArrayLike] | np.ndarray,
        inefficiency: ArrayLike | str | None = None,
        log_z_reference: Mapping[int, float] | None = None,
        bias: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
        memory: Memory | None = None,
        gap: Callable[[int, int, float], str] = gap_of_states,
        inside: Sequence[np.ndarray] | None = None,
    ):
        self.beta = np.atleast_1d(np.asarray(beta, dtype=np.float64))
        self.beta_mu = np.asarray(beta_mu, dtype=np.float64)
        series, memory = series_of(self.beta, self.beta_mu, energy, counts), memory or Memory()
        slope = np.column_stack([self.beta, -self.beta_mu])
        self._n_chains, self._lengths = memory.n_chains, [len(x) for x in series]
        self.inefficiency = inefficiencies(inefficiency, series, slope, memory.n_chains, inside)
        g = self.inefficiency if memory.least is None else np.maximum(self.inefficiency, memory.least)
        self._fewer = g / self.inefficiency
        self._mix = Mixture(slope, series, g, bias, gap, None if inside is None else np.concatenate(inside))
        self._cuts = np.cumsum([len(x) for x in series])[:-1] if isinstance(inefficiency, str) else None
        self._finish(self._mix.f, log_z_reference)

    def _finish(self, f, reference) -> None:
        """Shift f to the reference, and keep what all errors need."""
        self._absolute = reference is not None
        self._last: tuple = ((), None)
        self._foreseen: dict[tuple, np.ndarray] = {}
        reference = {int(k): float(z) for k, z in (reference if self._absolute else {0: 0.0}).items()}
        bad = [k for k in reference if not 0 <= k < len(f)]
        if bad or not reference:
            raise AlloygenError(f"expected reference states in 0..{len(f) - 1}, got {sorted(reference)}")
        self._ref = next(iter(reference))
        self.f = f - f[self._ref] - reference[self._ref]
        self._log_d = self._mix.log_d + self.f[0] - f[0]
        root = np.sqrt(self._mix.n)
        raw = self._mix.inverse / np.outer(root, root) - np.diag(1.0 / self._mix.n)
        r = self._ref
        self.covariance = raw - raw[r] - raw[:, [r]] + raw[r, r]
        np.fill_diagonal(self.covariance, np.maximum(np.diag(self.covariance), 0.0))  # identical states: 0, not -1e-19
        for k, z in reference.items():
            if abs(self.f[k] + z) > 6 * np.sqrt(self.covariance[k, k]) + 1e-6:
                raise AlloygenError(
                    f"expected the references to agree, got log Z = {z:g} for state {k} where state {r} gives "
                    f"{-self.f[k]:g} +- {np.sqrt(self.covariance[k, k]):.2g}; check the numbers, or sample longer"
                )

    @property
    def overlap(self) -> np.ndarray:
        """O_ij = sum_n W_ni W_nj N_j (K, K): how much of state i's law the samples of state j make up."""
        return self._mix.shared / self._mix.n[:, None]

    @property
    def spectral_gap(self) -> float:
        """1 - second largest eigenvalue of ``overlap``."""
        return self._mix.spectral_gap

    # ------------------------------------------------------------------ results
    def _weights(self, beta, beta_mu):
        """Merged log-weights with the multiplicity, normalised (M,), and log Z."""
        slope = np.append(float(beta), -np.asarray(beta_mu, dtype=np.float64))
        if slope.shape != (self._mix.x.shape[1],) or not np.isfinite(slope).all():
            raise BadCondition(
                f"expected a finite beta and {self._mix.x.shape[1] - 1} finite numbers beta mu, got {beta!r} and {beta_mu!r}"
            )
        log_w = np.log(self._mix.c) - self._mix.x @ slope - self._log_d
        log_z = logsumexp(log_w)
        return log_w - log_z, float(log_z)

    def effective_samples(self, beta: float, beta_mu: ArrayLike) -> float:
        """Independent samples that log Z at a condition rests on, 1 / sum w^2 over them."""
        return 1.0 / float((np.exp(2 * self._weights(beta, beta_mu)[0]) / self._mix.c).sum())

    def rows_at(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which of ``rows`` (r, 1 + E), energies and counts, each merged sample (M,) is, -1 for none; independent samples (r,) of each."""
        mix = self._mix
        close = np.abs(mix.x[:, None, 0] - rows[:, 0]) <= 1e-9 * max(np.abs(mix.x[:, 0]).max(), 1e-300)
        same = close & (mix.x[:, None, 1:] == rows[:, 1:]).all(-1)
        return np.where(same.any(1), same.argmax(1), -1), mix.c @ same

    def _warn(self, size: float, what: str) -> None:
        if size < MIN_ESS:
            warnings.warn(
                f"{what} rests on {size:.1f} effective samples (expected at least {MIN_ESS:.0f}); "
                "sample conditions nearer to this one",
                LowSampleSize,
                stacklevel=user_level(),
            )

    def _errors(self, columns, own=None, b=None) -> np.ndarray:
        """Standard errors (C,) of sums whose merged terms ``columns`` (C, M) add up to zero.

        own : (n,) terms of single samples, where those of one merged row differ; b : (C, K) sum_n z_n V_n, where it is known
        """
        mix, b = self._mix, self._mix.project(columns) if b is None else b
        q = b @ mix.inverse
        if self._cuts is None:
            square = (columns**2 / mix.c).sum(1) if own is None else (own**2 / mix.share).sum()
            return np.sqrt(np.maximum(square + (q * b).sum(1), 0.0))
        out = []
        for column, at in zip(columns, q, strict=True):
            term = own if own is not None else mix.share * (column / mix.c)[mix.row]
            parts = self._in_time(term, at)
            sigma = [
                y.size * markov.standard_error(y.reshape(self._n_chains, -1)) if np.ptp(y) > 0 else 0.0 for y in parts
            ]
            out.append(np.sqrt(np.square(np.nan_to_num(sigma)).sum()))
        n = max(self._lengths)
        fitted = min(len(self._lengths) - 1, n / 2)  # as for residuals: as many f were fitted to the same times
        return np.array(out) * np.sqrt(n / (n - fitted))

    def _near(self, beta: float, beta_mu: ArrayLike, merged: np.ndarray) -> Near:
        """What :meth:`_errors` needs of the rows that count at one condition, kept for the next average there."""
        key = _key(beta, beta_mu)
        if self._last[0] != key:
            self._last = (key, self._mix.near(merged))
        return self._last[1]

    @one_thread
    def foresee(self, beta: ArrayLike, beta_mu: ArrayLike) -> None:
        """Look at the conditions beta (C,), beta mu (C, E) together, in one pass over all samples and states.

        What :meth:`log_z` and averages that are linear in energy and counts need there for their errors, sum_n w_n (1, E_n, N_n) V_n, is kept:
        one by one each condition needs a pass of its own.
        """
        mix, width = self._mix, self._mix.x.shape[1] + 1
        slope = np.column_stack([np.ravel(beta), -np.asarray(beta_mu, dtype=np.float64)])
        keys = [_key(b, m) for b, m in zip(slope[:, 0], -slope[:, 1:], strict=True)]
        new = [c for c, key in enumerate(keys) if key not in self._foreseen]
        at_once = max(1, CHUNK // (width * min(len(mix.x), max(1, CHUNK // len(mix.n)))))  # conditions
        for some in np.split(new, range(at_once, len(new), at_once)) if new else []:
            log_z = np.array([self._weights(slope[c, 0], -slope[c, 1:])[1] for c in some])

            def left(part: slice, some=some, log_z=log_z) -> np.ndarray:
                w = mix.c[part] * np.exp(-slope[some] @ mix.x[part].T - self._log_d[part] - log_z[:, None])
                x = np.vstack([np.ones(w.shape[1]), mix.x[part].T])
                return (w[:, None] * x).reshape(-1, w.shape[1])

            found = mix.project(left).reshape(len(some), width, -1)
            self._foreseen |= {keys[c]: b for c, b in zip(some, found, strict=True)}

    def _moved(self, beta: float, beta_mu: ArrayLike, w: np.ndarray, terms: np.ndarray) -> np.ndarray:
        """sum_n w_n (terms . (1, E_n, N_n)) V_n (1, K), of the merged weights w (M,) at one condition."""
        known = self._foreseen.get(_key(beta, beta_mu))
        if known is not None:
            return terms[None] @ known
        factor = terms[0] + self._mix.x @ terms[1:]
        return self._near(beta, beta_mu, w).project((w * factor)[None])

    @cached_property
    def _one(self) -> np.ndarray:
        """The terms of a weight alone."""
        return np.eye(1, self._mix.x.shape[1] + 1)[0]

    @cached_property
    def _of_reference(self) -> np.ndarray:
        """(1, K) sum_n w_n V_n of the reference state."""
        return self._mix.project(self._mix.state(self._ref)[None])

    def _in_time(self, term: np.ndarray, q: np.ndarray) -> list[np.ndarray]:
        """Series in time of the terms (n,) of single samples and what they add through f, q (K,): one, summed over states, where
        these ran side by side, else one of each."""
        if self._slices is not None:
            return [term.reshape(len(self._lengths), -1).sum(0) + (self._slices * q).sum(1)]
        return np.split(
            term + self._mix.share * self._mix.lift(q[None])[self._mix.row, 0], np.cumsum(self._lengths)[:-1]
        )

    @cached_property
    def _slices(self) -> np.ndarray | None:
        """sum_l V_k of the samples of all states l at each time, over g (n, K): what an error needs of V, found once."""
        mix, lengths = self._mix, self._lengths
        if len(set(lengths)) > 1:
            return None
        time = np.tile(np.arange(lengths[0]), len(lengths))
        out = np.zeros((lengths[0], len(lengths)))
        order = np.argsort(mix.row, kind="stable")
        first = np.searchsorted(mix.row[order], np.arange(len(mix.c) + 1))
        for part in mix.blocks():
            (states, p, _), members = mix.part(part), order[first[part.start] : first[min(part.stop, len(mix.c))]]
            which = sparse.csr_array(
                (mix.share[members], (time[members], mix.row[members] - part.start)), shape=(lengths[0], len(p))
            )
            out[:, states] += which @ p
        return out / np.sqrt(mix.n)

    @cached_property
    def sample(self) -> np.ndarray:
        """(n,) one independent sample over this one: its weight in an average is that of this sample times the number.

        1 / share, or less where ``least`` lets cold states count for little: within a phase their samples count as their series say.
        """
        mix = self._mix
        scale = np.divide(1.0, mix.share, out=np.zeros(len(mix.share)), where=mix.share > 0)
        if (self._fewer == 1).all():
            return scale
        parts = (mix.part(block) for block in mix.blocks())
        return scale / np.concatenate([p @ self._fewer[states] for states, p, _ in parts])[mix.row]

    def series(self, values: np.ndarray, state: int) -> np.ndarray:
        """The values (n,) of all samples at one state, (chains, n_k)."""
        end = int(np.cumsum(self._lengths)[state])
        return values[end - self._lengths[state] : end].reshape(self._n_chains, -1)

    @property
    def share(self) -> np.ndarray:
        """(n,) independent samples that each sample is worth, 1 / g of its state."""
        return self._mix.share

    @one_thread
    def log_weights(self, beta: float, beta_mu: ArrayLike) -> np.ndarray:
        """log w (n,) of all samples, state by state, for averages at one condition; sum w = 1.

            w_n = exp(-u(x_n)) / (g_n d(x_n)) / Z

        Raises :class:`BadCondition` for wrong shapes.
        """
        log_w, _ = self._weights(beta, beta_mu)
        with np.errstate(divide="ignore"):
            return (log_w - np.log(self._mix.c))[self._mix.row] + np.log(self._mix.share)

    @property
    def absolute(self) -> bool:
        """Whether free energies are known with their constant."""
        return self._absolute

    @one_thread
    def pooled(
        self, draw: Callable[[int], np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """All samples with weights g for sums over configurations, and bootstrap factors of them.

        ``draw(blocks)`` gives factors (R, blocks) of mean 1. Returns (log g (n,), energy (n,), counts (n, E), share (n,),
        factors (R, n) float32), state by state. A replica's factor is that of the sample's block times exp(-delta log d),
        with the change of f one Newton step from the replica's weights; see :func:`alloygen.estimate.pool.from_mbar`.
        """
        mix, lengths = self._mix, self._lengths
        block, sizes = blocks_of(lengths, self._n_chains if self._cuts is not None else 0)
        a = np.concatenate([draw(size) for size in sizes], 1)  # (R, blocks)
        state = np.repeat(np.arange(len(lengths)), lengths)
        table = lambda column, shape: sparse.csr_array((mix.share, (block, column)), shape=(a.shape[1], shape))  # noqa: E731
        grown = (a - 1.0) @ table(state, len(lengths)).toarray()  # (R, K) change of N_k
        root = np.sqrt(mix.n)
        q = -((a - 1.0) @ mix.project(table(mix.row, len(mix.c))) - grown / root) @ mix.inverse  # sqrt(N) delta f
        q += (grown / mix.n - (q / root)[:, [self._ref]]) * root
        moved = mix.lift(q.astype(np.float32))  # (M, R) delta log d
        np.exp(-np.clip(moved, -20, 20, out=moved), out=moved)
        factor = np.stack([one[block] * by[mix.row] for one, by in zip(a.astype(np.float32), moved.T, strict=True)])
        x = mix.x[mix.row]
        with np.errstate(divide="ignore"):
            log_g = np.log(mix.share) - self._log_d[mix.row]
        return log_g, x[:, 0], x[:, 1:], mix.share, factor

    @one_thread
    def log_z(self, beta: float, beta_mu: ArrayLike) -> Estimate:
        """log Z at any condition, beta = 0 and beta mu (E,) = 0 included; see :meth:`phi`."""
        log_w, log_z = self._weights(beta, beta_mu)
        w = np.exp(log_w)
        unseen = float((w**2 / self._mix.c).sum())
        self._warn(1.0 / unseen, "log Z")
        b = self._moved(beta, beta_mu, w, self._one) - self._of_reference
        return Estimate(log_z, np.hypot(self._errors((w - self._mix.state(self._ref))[None], b=b)[0], unseen))

    @one_thread
    def log_z_covariance(self, beta: ArrayLike, beta_mu: ArrayLike) -> np.ndarray:
        """(C, C) covariance of the errors of :meth:`log_z` at the conditions beta (C,), beta mu (C, E).

        The diagonal holds the squared errors of ``log_z``; between conditions it is the correlation of what the samples add to both, in
        time where they are chains that ran side by side. Raises :class:`AlloygenError` for states of uneven length.
        """
        beta, beta_mu = np.atleast_1d(np.asarray(beta, dtype=float)), np.asarray(beta_mu, dtype=float)
        if self._slices is None:
            raise AlloygenError(
                f"expected as many samples of each state, got {self._lengths}: their times are not the same"
            )
        self.foresee(beta, beta_mu)
        found = [self.log_z(b, m) for b, m in zip(beta, beta_mu, strict=True)]
        mix, reference, rows = self._mix, self._mix.state(self._ref), []
        for b, m in zip(beta, beta_mu, strict=True):
            w = np.exp(self._weights(b, m)[0])
            q = (self._moved(b, m, w, self._one) - self._of_reference) @ mix.inverse
            rows.append(self._in_time(mix.share * ((w - reference) / mix.c)[mix.row], q[0])[0])
        y = np.stack(rows)
        y -= y.mean(1, keepdims=True)
        size = np.sqrt((y**2).sum(1))
        unit = y / np.where(size > 1e-12 * size.max(initial=1e-300), size, np.inf)[:, None]
        error = np.array([e.stderr for e in found])
        together = np.einsum("ct,dt->cd", unit, unit)
        np.fill_diagonal(together, 1.0)
        return together * np.outer(error, error)

    @one_thread
    def phi(self, beta: float, beta_mu: ArrayLike, n_sites: int) -> Estimate:
        """Semigrand free energy per site, Phi = -log Z / (beta N), at any condition, with its error.

        Needs ``log_z_reference``. Raises :class:`BadCondition` for beta <= 0 (see :meth:`log_z`); warns
        ``LowSampleSize`` where fewer than 50 effective samples reach.
        """
        if not self._absolute:
            raise AlloygenError("expected a log_z_reference, such as {k: log(number of configurations)} at T = inf")
        if not beta > 0:
            raise BadCondition(f"expected beta above 0, got {beta!r}; log_z works there")
        log_z = self.log_z(beta, beta_mu)
        return Estimate(-log_z.value / (beta * n_sites), log_z.stderr / (beta * n_sites))

    @one_thread
    def mean(
        self,
        values: ArrayLike | list[np.ndarray],
        beta: float,
        beta_mu: ArrayLike,
        quantum: float = 0.0,
        weights: np.ndarray | None = None,
        linear: ArrayLike | None = None,
    ) -> Estimate:
        """Average over the law at one condition of an observable of the samples: (n,) state by state, (K, n) or a list.

            <A> = sum_n w_n A_n,     stderr from the column z_n = w_n (A_n - <A>), and one sample more of the largest z, or quantum / ESS

        k visits to a rare state have the Poisson error of k + 1. ``quantum`` is the smallest step of the observable (see :func:`alloygen.estimate.chains.mean`); ``weights`` (n,) those of
        :meth:`log_weights`, where they are known; ``linear`` (1 + E,) the coefficients of energy and counts where the values are a sum of these.
        """
        values = np.concatenate([np.ravel(v) for v in values]) if isinstance(values, list) else np.ravel(values)
        mix, w = self._mix, np.exp(self.log_weights(beta, beta_mu)) if weights is None else weights
        if values.shape != w.shape:
            raise AlloygenError(f"expected {len(w)} values, one per sample, got {len(values)}")
        value, square = float((w * values).sum()), float((w**2 * self.sample).sum())
        self._warn(1.0 / square, "The mean")
        z = w * (values - value)
        merged, column = (np.bincount(mix.row, x, minlength=len(mix.c)) for x in (w, z))
        if linear is None:
            b = self._near(beta, beta_mu, merged).project(column[None])
        else:
            b = self._moved(beta, beta_mu, merged, np.append(-value, np.asarray(linear, dtype=np.float64)))
        error = self._errors(column[None], z, b)[0]
        visit = float((np.abs(z) * self.sample).max())
        return Estimate(value, np.hypot(error, max(quantum * square, visit)))

    @one_thread
    def entropy(
        self, u: np.ndarray, beta: float, beta_mu: ArrayLike, quantum: float = 0.0, weights: np.ndarray | None = None
    ) -> Estimate:
        """beta <u> + log Z of u = E - mu.N (n,) at one condition, in kB of the cell, with the error of both together.

        z_n = beta w_n (u_n - <u>) + w_n - (weight in the reference); ``quantum`` and ``weights`` as in :meth:`mean`.
        """
        mix, w = self._mix, np.exp(self.log_weights(beta, beta_mu)) if weights is None else weights
        mean, square = float((w * u).sum()), float((w**2 / mix.share).sum())
        self._warn(1.0 / square, "The entropy")
        merged, column = (np.bincount(mix.row, x, minlength=len(mix.c)) for x in (w, w * (1.0 + beta * (u - mean))))
        b = self._near(beta, beta_mu, merged).project(column[None]) - self._of_reference
        missed = square + beta * quantum * float((w**2 * self.sample).sum())
        error = np.hypot(self._errors((column - mix.state(self._ref))[None], b=b)[0], missed)
        return Estimate(beta * mean + self._weights(beta, beta_mu)[1], error)


def _key(beta: float, beta_mu: ArrayLike) -> tuple:
    """A condition as numbers that name it."""
    return (float(beta), *np.ravel(beta_mu).tolist())
