"""A density of states g(E - mu.N) and what follows from it at every temperature."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from alloygen.conditions import temperature
from alloygen.edge.problem import Problem
from alloygen.errors import AlloygenError
from alloygen.estimate.energy_walks import UNSETTLED, bin_of, influence_error, log_sum
from alloygen.estimate.result import Estimate
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.montecarlo.single_moves import Move
from alloygen.types import ArrayLike

if TYPE_CHECKING:
    import xarray as xr
    from ase import Atoms


@dataclass(frozen=True, kw_only=True, eq=False)
class EnergyBins:
    """Bins of E - mu.N, of which bin k is centred at origin + k * width.

    index (bins,) int64: those that have states; levels: a bin is a level of a discrete spectrum
    """

    width: float
    origin: float
    levels: bool
    index: np.ndarray

    def of(self, energy: ArrayLike) -> np.ndarray:
        """The bins that energies E - mu.N lie in, as ``index`` counts them."""
        return bin_of(energy, self.origin, self.width)


@dataclass(frozen=True, kw_only=True, eq=False)
class EachWalk:
    """What the walks say one by one.

    log_g (walkers, bins): log g of each walker, -inf where it never was
    influence (walkers, blocks, bins): of each block of a walk on log g, mean zero, whose spread is the error; no blocks where
        none is known
    joints (walkers, windows - 1): rms difference of log g between neighbouring windows where they overlap
    """

    log_g: np.ndarray
    influence: np.ndarray
    joints: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How the walks ended.

    attempts: of all walkers; log_f: the largest of all walkers
    converged: every walker came to ``log_f_final``; note: what else there is to say
    """

    attempts: int
    log_f: float
    converged: bool
    note: str


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class DensityOfStates:
    """log g of every bin with states, and the thermodynamics that follow from it at every temperature.

        Z(T) = sum_b g_b exp(-E_b / kT + V_b / 2 (kT)^2),    Phi = -kT log Z / N,

    with the mean E_b and variance V_b of the energy inside a bin (second cumulant; V = 0 for levels). Energies are
    E - mu.N, in the unit of the Hamiltonian. Averages are per lattice site (N of them), as Estimates; standard errors
    come from the blocks of each walk once it has settled, with their memory and the spread between the walks, see
    ``estimate.energy_walks``: one walk has them too. They are nan, with a note, where walks ended before they had settled for
    long enough. They are statistical: levels that no walk has met are not in them.

    problem: the Hamiltonian, the caller's atoms and the sites that were held; mu (n_elements,); move: what walked
    bins: :class:`EnergyBins`; energy, variance, log_g (bins,); visits (bins,) int64; log_g_stderr (bins,), worked out when it is asked for
    log_states: log of the number of states, to which g is normalised; nan if only part of the energies was allowed,
        and then the absolute quantities (log_z, phi, entropy) raise AlloygenError
    walks: :class:`EachWalk`; ended: :class:`Ended`
    occ (N,) int8: a configuration in one of the bins, ``atoms`` in the caller's order; seed: of the run, where it is known
    """

    problem: Problem
    mu: np.ndarray
    move: Move
    bins: EnergyBins
    energy: np.ndarray
    variance: np.ndarray
    log_g: np.ndarray
    visits: np.ndarray
    log_states: float
    walks: EachWalk
    ended: Ended
    occ: np.ndarray
    seed: int | None = None

    def __repr__(self) -> str:
        state = "converged" if self.ended.converged else "not converged"
        return f"DensityOfStates({self.hamiltonian!r}, {len(self.energy)} bins from {self.energy.min():.6g} to {self.energy.max():.6g}, {state})"

    @property
    def hamiltonian(self) -> Hamiltonian:
        """On its supercell."""
        return self.problem.hamiltonian

    @property
    def atoms(self) -> Atoms:
        """``occ`` as ase.Atoms, in the caller's order."""
        return self.problem.to_atoms(self.occ)

    @cached_property
    def log_g_stderr(self) -> np.ndarray:
        """Standard error of log g (bins,), nan where no error is known."""
        return np.array([influence_error(self.walks.influence[..., k]) for k in range(len(self.energy))])

    # ------------------------------------------------------------------ thermodynamics
    def _moments(self, kT: float) -> tuple[np.ndarray, np.ndarray]:
        """(log Z, mean, variance) of the energy (3,), and the influence of each bin's log g on them (3, bins)."""
        x = self.log_g - self.energy / kT + 0.5 * self.variance / kT**2
        log_z = log_sum(x)
        p, e = np.exp(x - log_z), self.energy - self.variance / kT
        mean = float((p * e).sum())
        squares = self.variance + (e - mean) ** 2
        variance = float((p * squares).sum())
        return np.array([log_z, mean, variance]), p * np.stack([np.ones_like(p), e - mean, squares - variance])

    def _estimate(self, T: float, quantity: Callable[..., ArrayLike], absolute: bool = False) -> Estimate:
        """A quantity that is linear in (log Z, mean, variance), with its error."""
        kT = self.hamiltonian.kB * temperature(T)
        if absolute and not np.isfinite(self.log_states):
            raise AlloygenError(
                "expected a density of states over all energies, got one confined by `energies`: its normalisation is "
                "not known. Use averages and differences, or run without `energies`."
            )
        moments, slopes = self._moments(kT)
        series = np.einsum("wkb,mb->mwk", self.walks.influence, slopes)
        error = influence_error(np.asarray(quantity(kT, *series)))
        note = f"bins of width {self.bins.width:g} are wide beside kT = {kT:g}" if self.variance.max() > kT**2 else ""
        return Estimate(float(np.asarray(quantity(kT, *moments))), error, note if np.isfinite(error) else UNSETTLED)

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
        data = {k: ("bin", getattr(self, k)) for k in names} | {"walker_log_g": (("walker", "bin"), self.walks.log_g)}
        ended, h = asdict(self.ended), self.hamiltonian
        attrs = {"move": str(self.move), "width": self.bins.width, "log_states": self.log_states, "mu": self.mu}
        attrs |= ended | {"converged": int(self.ended.converged)}
        return xr.Dataset(
            data, attrs=attrs | {"unit": h.unit, "elements": list(h.elements), "fingerprint": h.fingerprint}
        )
