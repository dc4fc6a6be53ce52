"""A density of states g(E - mu.N): what follows from it at every temperature, and how independent walks are put together."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from alloygen.conditions import temperature
from alloygen.errors import AlloygenError
from alloygen.estimate.result import Estimate
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.types import ArrayLike

if TYPE_CHECKING:
    import xarray as xr


def log_sum(x: np.ndarray) -> float:
    """log sum exp x."""
    top = x.max()
    return float(top + np.log(np.exp(x - top).sum()))


def bin_of(energy: ArrayLike, origin: float, width: float) -> np.ndarray:
    """The bins of energies, of which bin k is centred at origin + k * width."""
    return np.floor((np.asarray(energy) - origin) / width + 0.5).astype(np.int64)


def widening(n: ArrayLike) -> np.ndarray:
    """By what a standard error from n values is widened, so that (mean - truth) / stderr has a standard deviation of 1.

    That ratio is Student's t with n - 1 degrees of freedom, of standard deviation sqrt((n - 1) / (n - 3)) (Student,
    Biometrika 6, 1 (1908)); for n = 2 and 3, where it is infinite, that of n = 4 is taken.

    >>> widening([2, 4, 8, 100]).round(3).tolist()
    [1.732, 1.732, 1.183, 1.01]
    """
    n = np.maximum(n, 4)
    return np.sqrt((n - 1) / (n - 3))


@dataclass(frozen=True, eq=False, repr=False)
class DensityOfStates:
    """log g of every bin with states, and the thermodynamics that follow from it at every temperature.

        Z(T) = sum_b g_b exp(-E_b / kT + V_b / 2 (kT)^2),    Phi = -kT log Z / N,

    with the mean E_b and variance V_b of the energy inside a bin (second cumulant; V = 0 for levels). Energies are
    E - mu.N, in the unit of the Hamiltonian. Averages are per lattice site (N of them), as Estimates; standard errors
    come from the spread of the w independent walkers, widened by sqrt((w - 1) / (w - 3)) as there are few of them (see
    ``widening``; with two or three, deviations of many standard errors still occur), and are nan, with a note, where
    there is one walker. They are statistical: what short walks have in common, a bias that falls as 1 / attempts, is not
    in them.

    energy, variance, log_g, log_g_stderr (bins,); visits, bins (bins,) int64: visits, and which bins these are
    walker_log_g (walkers, bins): log g of each walker, -inf where it never was
    mu (n_elements,); move "flip" or "swap"; width of the bins, bin k centred at origin + k * width; levels: a bin is a level
    log_states: log of the number of states, to which g is normalised; nan if only part of the energies was allowed,
        and then the absolute quantities (log_z, phi, entropy) raise AlloygenError
    attempts: of all walkers; log_f: the largest of all walkers
    converged: every walker came to ``log_f_final``; note: what else there is to say
    joints (walkers, windows - 1): rms difference of log g between neighbouring windows where they overlap
    sites: those that changed; occ (N,) int8: a configuration in one of the bins; seed: of the run, where it is known
    """

    hamiltonian: Hamiltonian
    mu: np.ndarray
    move: str
    width: float
    origin: float
    levels: bool
    bins: np.ndarray
    energy: np.ndarray
    variance: np.ndarray
    log_g: np.ndarray
    log_g_stderr: np.ndarray
    walker_log_g: np.ndarray
    visits: np.ndarray
    log_states: float
    attempts: int
    log_f: float
    converged: bool
    note: str
    joints: np.ndarray
    sites: np.ndarray
    occ: np.ndarray
    seed: int | None = None

    def __repr__(self) -> str:
        state = "converged" if self.converged else "not converged"
        return f"DensityOfStates({self.hamiltonian!r}, {len(self.energy)} bins from {self.energy.min():.6g} to {self.energy.max():.6g}, {state})"

    def bin(self, energy: ArrayLike) -> np.ndarray:
        """The bins that energies E - mu.N lie in, as ``bins`` counts them."""
        return bin_of(energy, self.origin, self.width)

    # ------------------------------------------------------------------ thermodynamics
    def _moments(self, log_g: np.ndarray, kT: float) -> tuple[float, float, float]:
        """(log Z, mean, variance) of the energy."""
        x = log_g - self.energy / kT + 0.5 * self.variance / kT**2
        log_z = log_sum(x)
        p, e = np.exp(x - log_z), self.energy - self.variance / kT
        mean = p @ e
        return log_z, float(mean), float(p @ (self.variance + (e - mean) ** 2))

    def _estimate(
        self, T: float, quantity: Callable[[float, float, float, float], float], absolute: bool = False
    ) -> Estimate:
        kT, n = self.hamiltonian.kB * temperature(T), len(self.walker_log_g)
        if absolute and not np.isfinite(self.log_states):
            raise AlloygenError(
                "expected a density of states over all energies, got one confined by `energies`: its normalisation is "
                "not known. Use averages and differences, or run without `energies`."
            )
        value = quantity(kT, *self._moments(self.log_g, kT))
        if n < 2:
            return Estimate(value, math.nan, "one walker: no error is known; run with walkers=2 or more")
        each = [quantity(kT, *self._moments(g, kT)) for g in self.walker_log_g]
        note = f"bins of width {self.width:g} are wide beside kT = {kT:g}" if self.variance.max() > kT**2 else ""
        return Estimate(value, widening(n) * np.std(each, ddof=1) / math.sqrt(n), note)

    def log_z(self, T: float) -> Estimate:
        """log Z of the supercell at temperature T, dimensionless."""
        return self._estimate(T, lambda kT, log_z, u, v: log_z, absolute=True)

    def phi(self, T: float) -> Estimate:
        """-kT log Z / N: the grand potential at mu per site (for swaps the free energy of the composition)."""
        return self._estimate(T, lambda kT, log_z, u, v: -kT * log_z / self.hamiltonian.n_sites, absolute=True)

    def energy_mean(self, T: float) -> Estimate:
        """<E - mu.N> / N."""
        return self._estimate(T, lambda kT, log_z, u, v: u / self.hamiltonian.n_sites)

    def heat_capacity(self, T: float) -> Estimate:
        """Var(E - mu.N) / (kB T^2 N) = T dS/dT at constant mu: energy per temperature and site."""
        return self._estimate(T, lambda kT, log_z, u, v: self.hamiltonian.kB * v / kT**2 / self.hamiltonian.n_sites)

    def entropy(self, T: float) -> Estimate:
        """(<E - mu.N> - Phi N) / (T N), energy per temperature and site."""
        h = self.hamiltonian
        return self._estimate(T, lambda kT, log_z, u, v: h.kB * (u / kT + log_z) / h.n_sites, absolute=True)

    def energy_histogram(self, T: float) -> tuple[np.ndarray, np.ndarray]:
        """(energy (bins,), probability (bins,)) of E - mu.N at temperature T; the probabilities sum to 1."""
        kT = self.hamiltonian.kB * temperature(T)
        x = self.log_g - self.energy / kT + 0.5 * self.variance / kT**2
        return self.energy, np.exp(x - log_sum(x))

    def to_xarray(self) -> xr.Dataset:
        """An xarray Dataset over bins (and walkers), with the settings as attributes."""
        import xarray as xr

        names = ("energy", "variance", "log_g", "log_g_stderr", "visits")
        data = {k: ("bin", getattr(self, k)) for k in names} | {"walker_log_g": (("walker", "bin"), self.walker_log_g)}
        plain = ("move", "width", "log_states", "attempts", "log_f", "note")
        attrs = {k: getattr(self, k) for k in plain} | {"mu": self.mu, "converged": int(self.converged)}
        h = self.hamiltonian
        return xr.Dataset(
            data, attrs=attrs | {"unit": h.unit, "elements": list(h.elements), "fingerprint": h.fingerprint}
        )


# ---------------------------------------------------------------------- from walks to a density of states
def average(curves: np.ndarray, log_states: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(mean (bins,), standard error (bins,), curves) of log g of walkers (walkers, bins), nan or -inf where not met.

    All are normalised to sum g = exp(log_states), or to 1 if that is nan. A bin that one walker met has no error: nan.
    """
    normal = lambda x: x + ((0.0 if np.isnan(log_states) else log_states) - log_sum(x))  # noqa: E731
    curves = np.array([normal(np.where(np.isnan(c), -np.inf, c)) for c in curves])
    met = np.isfinite(curves)
    count = met.sum(0)
    mean = np.where(met, curves, 0.0).sum(0) / count
    spread = np.sqrt(np.where(met, curves - mean, 0.0).__pow__(2).sum(0) / np.maximum(count - 1, 1))
    error = np.where(count > 1, widening(count) * spread / np.sqrt(count), np.nan)
    return normal(mean), error, curves


def join_windows(log_g: np.ndarray, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, list[float]]:
    """(log g (n_bins,), rms mismatch of each overlap) of one walker's windows (windows, n_bins), nan where not met.

    The offset that makes the squared differences in an overlap smallest is their mean; there the two curves are
    blended, each with a weight that falls to 0 towards its own end.
    """
    out, rms = log_g[0].copy(), []
    for k in range(1, len(log_g)):
        shared = np.isfinite(out) & np.isfinite(log_g[k])
        if not shared.any():
            raise AlloygenError(
                f"expected windows {k - 1} and {k} to share bins that both walkers met, got none. Take fewer windows, a "
                "larger overlap or more attempts."
            )
        difference = (out - log_g[k])[shared]
        new, weight = log_g[k] + difference.mean(), np.zeros(len(out))
        a, b = low[k], high[k - 1]
        weight[a : b + 1] = (np.arange(b - a + 1) + 1) / (b - a + 2)
        blend = (1 - weight) * out + weight * new
        out = np.where(shared, blend, np.where(np.isfinite(out), out, new))
        rms.append(float(difference.std()))
    return out, rms


def from_transitions(log_g: np.ndarray, leads: np.ndarray) -> np.ndarray:
    """log g (n_bins,) of one walk from its counts (n_bins, 2 D + 1), by weighted least squares.

    log g_b - log g_a = log T(a -> b) / T(b -> a) with weight 1 / (1 / count + 1 / count); differences of the given log g
    of neighbouring levels, with next to no weight, stand in where nothing was counted.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.linalg import spsolve

    met, zero = np.flatnonzero(np.isfinite(log_g)), leads.shape[1] // 2
    if len(met) < 2:
        return log_g
    place = np.full(len(log_g), -1)
    place[met] = np.arange(len(met))
    total = np.maximum(leads.sum(1), 1)
    first, second = [place[met[:-1]]], [place[met[1:]]]
    steps, weights = [np.diff(log_g[met])], [np.full(len(met) - 1, 1e-6)]
    for d in range(1, zero + 1):
        up, down = leads[:-d, zero + d], leads[d:, zero - d]
        k = np.flatnonzero((up > 0) & (down > 0) & (place[:-d] >= 0) & (place[d:] >= 0))
        first.append(place[k])
        second.append(place[k + d])
        steps.append(np.log(up[k] / total[k]) - np.log(down[k] / total[k + d]))
        weights.append(1 / (1 / up[k] + 1 / down[k]))
    a, b, y, weight = (np.concatenate(x) for x in (first, second, steps, weights))
    rows = np.tile(np.arange(len(y)), 2)
    slope = csr_array((np.repeat([1.0, -1.0], len(y)), (rows, np.concatenate([b, a]))), shape=(len(y), len(met)))[:, 1:]
    normal = slope.T @ (slope * weight[:, None])
    out = np.full(len(log_g), np.nan)
    out[met] = np.append(0.0, spsolve(normal.tocsc(), slope.T @ (weight * y)))
    return out
