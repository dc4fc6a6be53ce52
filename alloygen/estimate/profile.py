"""Free energy against composition, F(N), from transitions between neighbouring numbers of atoms, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats
from scipy.special import logsumexp

from alloygen.conditions import Mu, references
from alloygen.conditions.record import Condition, condition_from
from alloygen.errors import AlloygenError, BadCondition
from alloygen.estimate import chains
from alloygen.estimate.result import Estimate
from alloygen.hamiltonian.cluster import Hamiltonian

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr


WORTH = 10.0  # independent blocks that the slowest composition must have
TRIPS = 10  # round trips between the ends that all walkers together must have made
DOUBT = 1e-5  # copies that differ more than by this chance do not sample the same law
UNSEEN = 3.0  # visits that a kind of configuration which was never met may have missed (the rule of three)
SIGMAS = 4.0  # mismatch of the two ends in its standard errors above which a profile is not believed


@dataclass(frozen=True)
class Links:
    """beta F(N) of one temperature and its influence series, whose mean is zero and whose spread is the error.

    reduced (bins,) nan where unknown; influence (copies, blocks, bins); mismatch and its series where both ends are known.
    """

    reduced: np.ndarray
    influence: np.ndarray
    mismatch: float = np.nan
    mismatch_influence: np.ndarray | None = None


def join_links(
    tried_up: np.ndarray,
    tried_down: np.ndarray,
    up: np.ndarray,
    down: np.ndarray,
    shares: tuple[np.ndarray, np.ndarray] | np.ndarray,
    bias: np.ndarray,
    left: float | None = None,
    right: float | None = None,
    exact: tuple[bool, bool] = (False, False),
) -> Links:
    """beta F(N) from the transitions of walks under a frozen bias V(N), dimensionless.

        beta [F(N+1) - F(N)] = V(N) - V(N+1) - log(w_up(N) <a_up>_N) + log(w_down(N+1) <a_down>_(N+1))

    with w the share of attempts at N that would raise or lower N, and <a> their mean acceptance probability under any
    rule that obeys detailed balance, summed over the configurations of both sides (Fitzgerald, Picard and Silver,
    Europhys. Lett. 46, 282 (1999)). Only the law *within* each N matters, not how often N was visited, so rejected
    attempts count too and the error does not grow with the time that a walker takes along N.

    Parameters
    ----------
    tried_up, tried_down, up, down : (copies, blocks, bins) attempts at N that would go to N + 1 or N - 1, and the sums of
        their probabilities
    shares : (w_up, w_down), each (bins,)
    bias : (bins,) V
    left, right : beta F of the first and of the last bin, if known. With both, their mismatch is spread over the links
        in proportion to the variances of these, which is the most likely profile
    exact : whether the first and the last link are known by symmetry, see ``Counted.exact_links``. Any other whose chances never
        changed has met one kind of configuration only; what it has missed can be three independent visits (the rule of
        three), each of chance 1, and its series is made as large as that
    """
    n_up, u, n_down, d = (x.sum((0, 1)) for x in (tried_up, up, tried_down, down))
    blocks = up.shape[0] * up.shape[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        log_up, log_down = np.log(shares[0] * u / n_up)[:-1], np.log(shares[1] * d / n_down)[1:]
        link = -np.diff(bias) - log_up + log_down
        link[~np.isfinite(link)] = np.nan
        d_up = (blocks * (up / u - tried_up / n_up))[..., :-1]
        d_down = (blocks * (down / d - tried_down / n_down))[..., 1:]
        d_up = _or_unseen(d_up, u[:-1], exact[:1] + (False,) * (len(bias) - 3) + exact[1:], 0)
        d_down = _or_unseen(d_down, d[1:], exact[:1] + (False,) * (len(bias) - 3) + exact[1:], 1)
    total, series = np.append(0.0, np.cumsum(link)), _pad(np.cumsum(d_down - d_up, -1))
    if right is None:
        return Links((total - np.nanmin(total)) if left is None else left + total, _about_minimum(total, series, left))
    back = -np.append(np.cumsum(link[::-1])[::-1], 0.0)
    back_series = -_pad(np.cumsum((d_down - d_up)[..., ::-1], -1))[..., ::-1]
    if left is None:
        return Links(right + back, back_series)
    if np.isnan(total[-1]):
        known = np.isfinite(total)
        return Links(np.where(known, left + total, right + back), np.where(known, series, back_series))
    share = np.append(0.0, np.cumsum((d_down - d_up).var((0, 1))))
    share = share / share[-1] if share[-1] > 0 else np.linspace(0, 1, len(total))
    miss = left + total[-1] - right
    end = series[..., -1]
    return Links(left + total - share * miss, series - share * end[..., None], miss, end)


def _or_unseen(series: np.ndarray, passed: np.ndarray, exact: tuple[bool, ...], stream: int) -> np.ndarray:
    """Series (copies, blocks, links) of which those that never changed, and are not exact, scatter by what can be unseen.

    passed (links,) are sums of chances: an unseen kind of configuration, met three times, adds 3 / passed at most. The
    signs of the blocks are random and add up to next to nothing.
    """
    out, n = series.copy(), series[..., 0].size
    for k in range(len(passed)):
        if not exact[k] and passed[k] > 0 and _exact(series[..., k]):
            signs = np.random.default_rng([stream, k]).permutation(np.resize([1.0, -1.0], n))
            out[..., k] = UNSEEN / passed[k] * np.sqrt(n) * (signs - signs.mean()).reshape(series.shape[:-1])
    return out


def _pad(series: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros((*series.shape[:-1], 1)), series], -1)


def _about_minimum(total, series, left) -> np.ndarray:
    return series if left is not None else series - series[..., int(np.nanargmin(total)), None]


def series_error(series: np.ndarray) -> float:
    """Standard error of zero-mean influences (copies, blocks): their autocorrelation counted, 0 for what is exact.

    Exact are anchored ends, and what symmetry decides, such as the first atom put into a lattice of equivalent sites.
    """
    if not np.isfinite(series).all():
        return np.nan
    return 0.0 if _exact(series) else chains.standard_error(series)


def _exact(series: np.ndarray) -> bool:
    return bool(np.abs(series).max() < 1e-9)


def independent_blocks(influence: np.ndarray) -> float:
    """Independent blocks behind all but the worst tenth of the N, of influences (copies, blocks, bins), each copy by itself."""
    known = [x for x in np.moveaxis(influence, -1, 0) if np.isfinite(x).all() and not _exact(x)]
    worth = [sum(chains.effective_samples(copy) for copy in x) for x in known]
    return float(np.quantile(worth, 0.1)) if worth else 0.0


def copies_agree(influence: np.ndarray) -> bool:
    """Whether the means of the copies scatter as their own fluctuations let expect, at every N (chi-square)."""
    if len(influence) == 1:
        return True
    for x in np.moveaxis(influence, -1, 0):
        if np.isfinite(x).all() and not _exact(x):
            error = np.array([chains.standard_error(copy) for copy in x])
            if stats.chi2.sf((((x.mean(1) - x.mean()) / error) ** 2).sum(), len(x) - 1) < DOUBT:
                return False
    return True


@dataclass(frozen=True, eq=False)
class CompositionProfile:
    """Canonical free energies F(N, T) of a supercell against the number N of atoms of one element.

        F(N, T) = -kT log sum_(x: N(x) = N) exp(-[E(x) - sum_k mu_k N_k(x)] / kT),      k over *other* elements

    For a binary there are no other elements that matter, mu = 0 and F is the Helmholtz free energy.

    T : (nT,) temperatures; element : the element that is counted
    N : (bins,) its atoms on the sites that change; x : (bins,) fraction of the exchangeable sites that hold it, held ones among them
    free_energy, stderr : (nT, bins) per lattice site in the Hamiltonian's unit (eV); nan where nothing is known. The error is 0
        where F is exact: at ends that are one configuration, and at one atom beside them where all sites are alike.
        Absolute where ``absolute``, else relative to the minimum of each row
    visits : (nT, bins) attempts made at each N under the frozen bias
    converged : (nT,) bool, notes : (nT,) what is wrong or worth knowing, "" for nothing
    mismatch, mismatch_stderr : (nT,) how far the walk from one pure end missed the known F of the other, per site; nan
        unless both ends are unique configurations. It is spread over the profile, see :func:`join_links`
    influence : (nT, copies, blocks, bins) series behind the error bars, per site
    info : settings, exchange rates, round trips

    Examples
    --------
    >>> from alloygen.hamiltonian.ising import ising
    >>> from alloygen.montecarlo.metadynamics import Stages, metadynamics
    >>> p = metadynamics(ising(2), [2.0, 3.0], stages=Stages(production=2000))
    >>> p.N, p.mixing()[:, 0], round(p.composition(3.0, 0.0).value, 1), dict(p.to_xarray().sizes)
    (array([0, 1, 2, 3, 4]), array([0., 0.]), 0.5, {'T': 2, 'N': 5})
    """

    hamiltonian: Hamiltonian
    T: np.ndarray
    element: str
    N: np.ndarray
    n_changing: int
    free_energy: np.ndarray
    stderr: np.ndarray
    visits: np.ndarray
    converged: np.ndarray
    notes: list[str]
    mismatch: np.ndarray
    mismatch_stderr: np.ndarray
    influence: np.ndarray
    mu: (
        np.ndarray
    )  # (n_elements,) of the other elements, the first of those that can change places with each other at 0
    n_fixed: int  # atoms of the element on sites that do not change
    largest: int  # the largest N that the sites allow
    absolute: bool
    info: dict = field(default_factory=dict)

    @property
    def x(self) -> np.ndarray:
        lattice = self.hamiltonian.lattice
        free = lattice.n_species > 1
        fixed = lattice.element_index[lattice.sublattice[~free], 0] == lattice.elements.index(self.element)
        return (self.N + self.n_fixed - fixed.sum()) / free.sum()

    @property
    def complete(self) -> bool:
        """Whether every possible N is there."""
        return self.N[0] == 0 and self.N[-1] == self.largest

    def mixing(self) -> np.ndarray:
        """F less the straight line between its ends N = 0 and N = largest, (nT, bins), per site.

        Where both ends are unique configurations the line is exact and ``stderr`` is the error. Raises AlloygenError
        for a profile that does not reach both ends.
        """
        if not self.complete:
            raise AlloygenError(
                f"expected a profile from N = 0 to {self.largest}, got {self.N[0]} to {self.N[-1]}: run without `window`"
            )
        first, last = self.free_energy[:, :1], self.free_energy[:, -1:]
        return self.free_energy - first - (last - first) * self.N / self.largest

    # ------------------------------------------------------------------ semigrand averages
    def phi(self, T: float, mu: Mu | None = None) -> Estimate:
        """Phi(T, mu) = -kT log sum_N exp(-[F(N) - mu N] / kT) per site, the semigrand potential.

        T is one of the profile's; mu as everywhere, and Phi belongs to it. Raises
        AlloygenError for relative profiles, BadCondition for another T or another mu of the elements not counted.
        """
        if not self.absolute:
            raise AlloygenError(
                "expected an absolute profile, got one relative to its minimum: Phi needs an end of the range that is a "
                f"unique configuration. {self._window_note or 'Free energies of such lattices need T = infinity or a model.'}"
            )
        c, p, log_sum, shift, known = self._weights(condition_from(T, mu, self.hamiltonian))
        kT = self.hamiltonian.kB * self.T[c]
        value = (-kT * log_sum - shift) / self.hamiltonian.n_sites
        return Estimate(value, series_error(self.influence[c][..., known] @ p), self._note(c))

    def composition(self, T: float, mu: Mu | None = None) -> Estimate:
        """Mean fraction of the exchangeable sites that hold the element, held ones among them, at (T, mu).

        Arguments and errors as :meth:`phi`, relative profiles will do.
        """
        c, p, _, _, known = self._weights(condition_from(T, mu, self.hamiltonian))
        x = self.x[known]
        mean = float(p @ x)
        slope = -self.hamiltonian.n_sites / (self.hamiltonian.kB * self.T[c]) * p * (x - mean)
        return Estimate(mean, series_error(self.influence[c][..., known] @ slope), self._note(c))

    def distribution(self, T: float, mu: Mu | None = None) -> tuple[np.ndarray, np.ndarray]:
        """p(N) at (T, mu) and its standard error, (bins,) each; zero where F is unknown. Arguments as :meth:`phi`."""
        c, p, _, _, known = self._weights(condition_from(T, mu, self.hamiltonian))
        u = self.influence[c][..., known] * (self.hamiltonian.n_sites / (self.hamiltonian.kB * self.T[c]))
        series = p * ((u @ p)[..., None] - u)
        out = np.zeros((2, len(self.N)))
        out[:, known] = p, [series_error(series[..., k]) for k in range(len(p))]
        return out[0], out[1]

    def _weights(self, at: Condition) -> tuple[int, np.ndarray, float, float, np.ndarray]:
        """(index of T, p(N) of known bins, log of their sum, the part of mu.N that is constant, which bins are known)."""
        T = float(at.T)
        c = int(np.argmin(np.abs(self.T - T)))
        if abs(self.T[c] - T) > 1e-6 * T:
            raise BadCondition(f"expected one of {self.T.tolist()}, got T={T:g}. Run metadynamics at this temperature.")
        tilt, shift = self._moved(at.arrays()[1])
        known = np.isfinite(self.free_energy[c])
        F = self.free_energy[c][known] * self.hamiltonian.n_sites
        a = -(F - tilt * (self.N[known] + self.n_fixed)) / (self.hamiltonian.kB * self.T[c])
        log_sum = float(logsumexp(a))
        return c, np.exp(a - log_sum), log_sum, shift, known

    def _moved(self, mu: np.ndarray) -> tuple[float, float]:
        """mu.N less that of the run as tilt * N(own) + shift: elements that can change places hold a fixed number of atoms together."""
        h, of = self.hamiltonian, references(self.hamiltonian.lattice)
        own = h.elements.index(self.element)
        atoms = h.counts(np.zeros(h.n_sites, dtype=np.int8))
        moved, shift = mu - self.mu, 0.0
        for c in set(of):
            others = [k for k in np.flatnonzero(of == c) if k != own]
            if np.ptp(moved[others]) > 1e-12:
                raise BadCondition(
                    f"expected mu of {[h.elements[k] for k in others]} as in the run, {self.mu[others].tolist()} up to a "
                    f"constant, got {mu[others].tolist()}. Only mu of {self.element} can change afterwards."
                )
            shift += moved[others[0]] * atoms[of == c].sum()
            if c == of[own]:
                tilt = moved[own] - moved[others[0]]
        return float(tilt), float(shift)

    @property
    def _window_note(self) -> str:
        return "" if self.complete else f"only N = {self.N[0]} to {self.N[-1]} was sampled"

    def _note(self, c: int) -> str:
        return "; ".join(n for n in (self._window_note, "" if self.converged[c] else self.notes[c]) if n)

    # ------------------------------------------------------------------ tables
    def to_xarray(self) -> xr.Dataset:
        """An ``xarray.Dataset`` over (T, N), with units and the Hamiltonian's fingerprint in its attributes."""
        import xarray as xr

        grid = {"free_energy": self.free_energy, "stderr": self.stderr, "visits": self.visits}
        if self.complete:
            grid["mixing"] = self.mixing()
        rows = {"converged": self.converged, "mismatch": self.mismatch, "mismatch_stderr": self.mismatch_stderr}
        data = {k: (("T", "N"), v) for k, v in grid.items()} | {k: ("T", v) for k, v in rows.items()}
        h = self.hamiltonian
        attributes = {
            "method": "metadynamics", "element": self.element, "unit": h.unit, "n_sites": h.n_sites,
            "absolute": int(self.absolute), "fingerprint": h.fingerprint, "hamiltonian": h.expansion.name,
            "convention": "free energies per lattice site; x is the fraction of the exchangeable sites",
        }  # fmt: skip
        return xr.Dataset(data, {"T": self.T, "N": self.N, "x": ("N", self.x)}, attributes)

    def to_pandas(self) -> pd.DataFrame:
        """The same as a ``pandas.DataFrame``, one row per (T, N)."""
        return self.to_xarray().to_dataframe().reset_index()

    def __repr__(self) -> str:
        T = f"{self.T.min():g} to {self.T.max():g}" if len(self.T) > 1 else f"{self.T[0]:g}"
        good = f"{int(self.converged.sum())} of {len(self.T)} converged"
        return f"CompositionProfile({self.element}, N {self.N[0]} to {self.N[-1]}, T {T}, {good}, {self.hamiltonian.lattice!r})"


def judge(links: Links, stderr: np.ndarray, visits: np.ndarray, trips: int, flat: bool) -> tuple[bool, str]:
    """(converged, note) of one temperature."""
    faults, remarks, worth = [], [], independent_blocks(links.influence)
    if not visits.all():
        faults.append(f"{int((visits == 0).sum())} of {len(visits)} numbers of atoms were never visited")
    elif not np.isfinite(stderr).all():
        faults.append(f"{int((~np.isfinite(stderr)).sum())} numbers of atoms have no error bar: no transitions to them")
    if worth < WORTH:
        faults.append(f"only {worth:.1f} independent blocks (fewer than {WORTH:g})")
    if not copies_agree(links.influence):
        faults.append("independent walkers disagree: some phase was not left")
    if trips < TRIPS:
        faults.append(f"only {trips} round trips between the ends (fewer than {TRIPS})")
    if links.mismatch_influence is not None:
        sigma = series_error(links.mismatch_influence)
        if not abs(links.mismatch) <= SIGMAS * sigma + 1e-9:
            faults.append(f"the two ends disagree by {links.mismatch:.2g} kT, its error is {sigma:.2g} kT")
    if not flat:
        remarks.append("the last stage ended before its visits were flat")
    advice = ["run longer (production=) or with more walkers or temperatures (walkers=, ladder=)"] if faults else []
    return not faults, "; ".join(faults + remarks + advice)
