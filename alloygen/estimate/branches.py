"""Free energies of samples that fall into branches, each counted from a number of configurations that is known.

MBAR counts from one state to the next. Below a first-order transition a ladder of temperatures holds samples of both sides that
never went from one to the other: their ratio is not known, however small the error of counting says it is. But each side has a
reference of its own. Hot, the number of all configurations (T = infinity). Cold, the *ground level*: of the configurations of
lowest E - mu.N, which are the images of one under the symmetries, the number g is known, so that in every state k

    log Z_k = log g - u_0k - log P_k,        P_k the chance of the level in state k, by the weights of its branch,

a low-temperature expansion whose higher terms are sampled. Branches are solved one by one, and where both reach a condition
their Z add, as regions of configurations do. Where nothing is cut T = infinity counts, and the lowest levels are a check: a bar
holds what the two disagree by.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import logsumexp

from alloygen.conditions.record import semigrand
from alloygen.estimate import chains as markov
from alloygen.estimate.mbar import MBAR
from alloygen.estimate.mixture import NoOverlap
from alloygen.estimate.pool import Pool, from_mbar
from alloygen.estimate.result import Estimate
from alloygen.estimate.serial import one_thread
from alloygen.estimate.series import Memory

CROSSINGS = 20.0  # independent numbers of cold replicas, below which nothing is known of the ratio of two sides
MOVING = 0.1  # share of the times at which the number changes, above which it moves all the time
REACH = 1.25  # of beta from a part to the next hotter one
MET = 10.0  # independent samples of a level that counts
LEVELS = 8  # lowest levels that are looked at
CONFLICT = 3.0  # standard errors between two references


@dataclass(frozen=True)
class Level:
    """Levels of known size: ``rows`` (r, 1 + E) of energy and counts, lowest E - mu.N first, ``log_states`` (r,) how many there are."""

    rows: np.ndarray
    log_states: np.ndarray

    def log_z(self, beta: float, beta_mu: np.ndarray) -> np.ndarray:
        """log g - beta E + beta mu.N (r,) of each."""
        return self.log_states - semigrand(beta * self.rows[:, 0], self.rows[:, 1:], beta_mu)


@dataclass(frozen=True)
class States:
    """Samples of K states: beta (K,), beta_mu (K, E), energy (K, n), counts (K, n, E); ``chains`` 0 for independent ones."""

    beta: np.ndarray
    beta_mu: np.ndarray
    energy: np.ndarray
    counts: np.ndarray
    chains: int


class Branches:
    """Absolute free energies of samples at many states, from all references that are known.

    Parameters
    ----------
    samples : States
    joined : gives the MBAR of all of them, counted from T = infinity, or the NoOverlap that says why there is none
    log_states : log of the number of all configurations
    level : function of mu (E,) -> Level, the lowest that were met and are counted, or None
    gap : words for states that do not overlap, as of :class:`~alloygen.estimate.mbar.MBAR`

    ``parts`` are the branches. Their cut is (1) where states share no samples, and (2) where the number of states below some
    E - mu.N, mu the mean of the grid, hardly ever changes: replicas are exchanged, but none passes, neither in T nor around in mu.
    """

    def __init__(
        self,
        samples: States,
        joined: Callable[[], MBAR | NoOverlap],
        log_states: float,
        level: Callable[[np.ndarray], Level | None],
        gap: Callable[[int, int, float], str],
    ):
        self._samples, self._log_states, self._level, self._gap = samples, log_states, level, gap
        self.cut, every = _barrier(samples), np.ones(samples.energy.shape, dtype=bool)
        if self.cut is not None:
            cold = _reduced(samples) < self.cut
            most = cold.mean(1) >= 0.5
            ends = [
                np.flatnonzero(side)[k(samples.beta[side])] if side.any() else 0
                for side, k in ((most, np.argmin), (~most, np.argmax))
            ]
            why = gap(int(ends[0]), int(ends[1]), 0.0)
            self.parts = [*self._solve(cold, why), *self._solve(~cold, why)]
        elif isinstance(whole := joined(), NoOverlap):
            self.parts = self._solve(every, str(whole))
        else:
            self.parts = [_Part(whole, every, bool((samples.beta == 0).any()), UNKNOWN)]

    def _solve(self, inside: np.ndarray, why: str) -> list[_Part]:
        """The parts of the samples ``inside`` (K, n), cut wherever states do not overlap."""
        at = np.flatnonzero(inside.any(1))
        if not len(at):
            return []
        s, hot = self._samples, np.flatnonzero(self._samples.beta[at] == 0)
        try:
            mbar = MBAR(
                s.beta[at], s.beta_mu[at], s.energy[at], s.counts[at], "measure" if s.chains else None,
                {int(k): self._log_states for k in hot} if len(hot) else None, memory=Memory(n_chains=max(s.chains, 1)),
                gap=lambda i, j, shared: self._gap(int(at[i]), int(at[j]), shared), inside=list(inside[at]),
            )  # fmt: skip
        except NoOverlap as torn:
            if torn.side is None:
                return [_Part(torn, inside, False, str(torn))]
            side = np.zeros(len(inside), dtype=bool)
            side[at[torn.side]] = True
            return [q for kept in (side, ~side) for q in self._solve(inside & kept[:, None], str(torn))]
        return [_Part(mbar, inside, bool(len(hot)), why)]

    # ------------------------------------------------------------------ results
    def foresee(self, states: np.ndarray) -> None:
        """Look at the states of finite temperature among ``states`` together: see :meth:`alloygen.estimate.mbar.MBAR.foresee`."""
        at = states[self._samples.beta[states] > 0]
        for part in self.parts:
            if isinstance(part.mbar, MBAR):
                part.mbar.foresee(self._samples.beta[at], self._samples.beta_mu[at])

    def log_z(self, state: int) -> Estimate:
        """log Z of a sampled state; nan, with a note, where it has samples of a part without a reference."""
        return self.log_z_and_size(state)[0]

    def log_z_and_size(self, state: int) -> tuple[Estimate, float]:
        """:meth:`log_z`, and the effective samples of the part that counts most there; infinitely many where none is known."""
        s = self._samples
        beta, beta_mu = s.beta[state], s.beta_mu[state]
        level = self._level(beta_mu / beta) if beta > 0 else None
        found, parts = [], []
        for part in self.parts:
            one = part.log_z(beta, beta_mu, level if self._reaches(part) else None)
            if np.isfinite(one.value):
                found.append(one)
                parts.append(part)
            elif part.inside[state].any():
                return one, np.inf
        if not found:
            return Estimate(np.nan, np.nan, "no reference is known for these samples"), np.inf
        total = logsumexp([f.value for f in found])
        share = np.exp([f.value - total for f in found])
        error = float(np.sqrt(sum((p * f.stderr) ** 2 for p, f in zip(share, found, strict=True))))
        most = int(share.argmax())
        note = found[most].note
        if level is not None:  # Z holds the level: no estimate may fall below
            least = logsumexp(level.log_z(beta, beta_mu))
            if total < least - CONFLICT * error - 1e-9:
                return Estimate(np.nan, np.nan, BELOW.format(float(least - total))), np.inf
        return Estimate(float(total), error, note), parts[most].effective_samples(beta, beta_mu)

    def _reaches(self, part: _Part) -> bool:
        """Whether a cold part comes up to the next hotter one, so that its configurations came from there and were not quenched."""
        most = part.inside.mean(1) >= 0.5
        own, hotter = self._samples.beta[most], self._samples.beta[~most]
        if part.hot or not len(own):
            return part.hot
        hotter = hotter[hotter < own.min()]
        return len(hotter) > 0 and bool(own.min() < REACH * hotter.max())

    @property
    def unpinned(self) -> np.ndarray:
        """(K,) states with samples in a part of which no reference is known."""
        out = np.zeros(len(self._samples.beta), dtype=bool)
        for part in self.parts:
            if not part.hot:
                states = np.flatnonzero(part.inside.any(1))
                b, b_mu = self._samples.beta, self._samples.beta_mu
                if self._reaches(part) and not any(
                    part.pinned(b[k], b_mu[k], self._level(b_mu[k] / b[k])) for k in states
                ):
                    out[states] = True
        return out

    def pool(self) -> Pool:
        """All samples, each with its weight in its own part."""
        pools = []
        for part in self.parts:
            pools.append(part.pool(self._level if self._reaches(part) else lambda mu: None, self._samples))
        if len(pools) == 1:
            return pools[0]
        n = self._samples.energy.size
        log_g, share = np.full(n, -np.inf), np.zeros(n)
        factor = np.ones((len(pools[0].replica), n), dtype=np.float32)
        for part, pool in zip(self.parts, pools, strict=True):
            states = np.repeat(part.inside.any(1), self._samples.energy.shape[1])
            own = part.inside.ravel()[states]
            to = np.flatnonzero(states)[own]
            log_g[to], share[to], factor[:, to] = pool.log_g[own], pool.share[own], pool.replica[:, own]
        counts = self._samples.counts.reshape(n, -1)
        return Pool(log_g, self._samples.energy.ravel(), counts, factor, share, True)


BELOW = (
    "Phi is {:.2g} kT above that of the lowest configurations that were met, which it cannot be: the samples do not join these "
    "conditions to a reference. Draw more, or add temperatures or mu between"
)
UNKNOWN = "expected samples at T = infinity or of levels that can be counted, from which free energies count, got none. Draw more"


@dataclass(frozen=True)
class _Part:
    """One branch: its MBAR (or why there is none), the samples (K, n) that it holds, and whether it has T = infinity."""

    mbar: MBAR | NoOverlap
    inside: np.ndarray
    hot: bool
    why: str  # what to say where no reference is known

    def pinned(self, beta: float, beta_mu: np.ndarray, level: Level | None) -> tuple[float, np.ndarray] | None:
        """(log Z by the levels that this part met often enough, the merged samples (M,) bool at them), or None."""
        if level is None or isinstance(self.mbar, NoOverlap):
            return None
        which, met = self.mbar.rows_at(level.rows)
        good = met >= MET
        if not good.any():
            return None
        at = (which >= 0) & good[which]
        share = np.exp(self.mbar._weights(beta, beta_mu)[0])[at].sum()
        return (float(logsumexp(level.log_z(beta, beta_mu)[good]) - np.log(share)), at) if share > 0 else None

    def effective_samples(self, beta: float, beta_mu: np.ndarray) -> float:
        """Independent samples of this part at a condition."""
        return 0.0 if isinstance(self.mbar, NoOverlap) else self.mbar.effective_samples(beta, beta_mu)

    def _beside(self, w: np.ndarray, at: np.ndarray, column: np.ndarray) -> float:
        """Error of the log of the weight in the levels ``at``: the spread, one visit more beside them as all conditions weigh it, and
        Student's t of the independent visits and of the windows of time; 0 where nothing beside them was met."""
        mbar, beside = self.mbar, np.where(at, 0.0, w)
        if isinstance(mbar, NoOverlap) or not beside.any():
            return 0.0
        each = beside / mbar._mix.c
        mix, visits = mbar._mix, beside.sum() ** 2 / (beside * each).sum()
        moved = (mix.project(column[None]) @ mix.inverse)[0]
        series = mbar._in_time(mix.share * (column / mix.c)[mix.row], moved)
        windows = min(markov.memory(y.reshape(mbar._n_chains, -1)).freedom for y in series)
        return float(markov.widening(min(visits, windows)) * np.hypot(mbar._errors(column[None])[0], each.max()))

    @one_thread
    def log_z(self, beta: float, beta_mu: np.ndarray, level: Level | None) -> Estimate:
        """log Z of the configurations of this part, from T = infinity, or from the lowest levels."""
        if isinstance(self.mbar, NoOverlap):
            return Estimate(np.nan, np.nan, str(self.mbar))
        mbar, cold = self.mbar, self.pinned(beta, beta_mu, level)
        if not (self.hot or cold):
            return Estimate(np.nan, np.nan, self.why)
        log_w, value = mbar._weights(beta, beta_mu)
        w = np.exp(log_w)
        unseen = float((w**2 / mbar._mix.c).sum())
        at_level = np.where(cold[1], w, 0.0) / w[cold[1]].sum() if cold else np.zeros(len(w))
        level_column = w - at_level
        if cold and not self.hot:
            return Estimate(cold[0], self._beside(w, cold[1], level_column) or unseen)
        column, b = w - mbar._mix.state(mbar._ref), mbar._moved(beta, beta_mu, w, mbar._one) - mbar._of_reference
        if cold is None:
            return Estimate(value, np.hypot(mbar._errors(column[None], b=b)[0], unseen))
        beside = mbar._mix.near(at_level).project(at_level[None]) - mbar._of_reference
        error, doubt = mbar._errors(np.stack([column, column - level_column]), b=np.concatenate([b, beside]))
        apart, note = abs(cold[0] - value), ""
        if apart > np.log(2) + CONFLICT * np.hypot(doubt, unseen):  # more than a twin phase that was not met
            note = (
                f"T = infinity and the lowest levels disagree by {apart:.2g} kT, {doubt:.2g} expected: the bar holds it"
            )
            unseen = float(np.hypot(unseen, apart))
        return Estimate(value, np.hypot(error, unseen), note)

    def pool(self, level_of: Callable, samples: States) -> Pool:
        if isinstance(self.mbar, NoOverlap):
            raise self.mbar
        pool = from_mbar(self.mbar)
        if self.hot:
            return pool
        states = np.flatnonzero(self.inside.any(1))
        for k in states[np.argsort(-samples.beta[states])]:  # the coldest whose level counts
            beta, beta_mu = samples.beta[k], samples.beta_mu[k]
            if cold := self.pinned(beta, beta_mu, level_of(beta_mu / beta)):
                log_w, value = self.mbar._weights(beta, beta_mu)
                mix, w = self.mbar._mix, np.exp(log_w)
                shift = cold[0] - value
                w = (np.where(cold[1], w, 0.0) / mix.c)[mix.row] * mix.share / w[cold[1]].sum()
                factor = pool.replica / (pool.replica @ w.astype(np.float32))[:, None]
                return replace(pool, log_g=pool.log_g + shift, replica=factor.astype(np.float32), absolute=True)
        raise NoOverlap(self.why)


def _reduced(s: States) -> np.ndarray:
    """E - mu.N (K, n) with the mean mu of the states; those at T = infinity have all."""
    finite = s.beta > 0
    return semigrand(s.energy, s.counts, (s.beta_mu[finite] / s.beta[finite][:, None]).mean(0))


def _barrier(s: States) -> float | None:
    """The E - mu.N that replicas do not pass, mu that of :func:`_reduced`, or None where they pass everywhere."""
    finite = s.beta > 0
    if finite.sum() < 1 or not s.chains or s.energy.shape[1] < 2 * s.chains:
        return None
    u = _reduced(s)
    means = u.mean(1)
    worst, low = None, CROSSINGS
    for at in np.linspace(means.min(), means.max(), 102)[1:-1]:
        number = (u < at).sum(0).reshape(s.chains, -1)
        if np.mean(np.diff(number, axis=1) != 0) >= MOVING:
            continue
        worth = 0.0 if np.ptp(number) == 0 else number.size / markov.inefficiency(number)
        if worth < low:
            worst, low = float(at), worth
    return worst


def lowest(
    mu: np.ndarray, energy: np.ndarray, counts: np.ndarray, number: Callable[[np.ndarray], float | None]
) -> Level | None:
    """The levels of lowest E - mu.N among samples, energy (K, n) and counts (K, n, E), that can be counted.

    number : function of the indices of all samples of a level -> log of how many configurations it has, or None
    """
    e, c = energy.ravel(), counts.reshape(energy.size, -1)
    size = 1e-9 * max(np.abs(e).max(), 1e-300)
    u = semigrand(e, c, mu)
    near = np.flatnonzero(u <= np.unique(np.rint(u / size))[:LEVELS][-1] * size + size)
    _, first, row = np.unique(
        np.column_stack([np.rint(e[near] / size), c[near]]), axis=0, return_index=True, return_inverse=True
    )
    rows, states = [], []
    for k in np.argsort(u[near[first]], kind="stable")[:LEVELS]:
        at = near[row.ravel() == k]
        if len(at) >= MET and (log_states := number(at)) is not None:
            rows.append(np.append(e[at[0]], c[at[0]]))
            states.append(log_states)
    return Level(np.array(rows), np.array(states)) if rows else None
