"""Configurations at one condition: the record, checked, with their weights and their atoms of each element."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from alloygen.arrays import as_array
from alloygen.conditions import exchangeable
from alloygen.conditions.record import Condition, semigrand
from alloygen.errors import AlloygenError, BadCondition
from alloygen.estimate import weights
from alloygen.estimate.pareto import Tail, tail
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.results import sites
from alloygen.results.joined import Place
from alloygen.results.provenance import Provenance, require_drawn

if TYPE_CHECKING:
    from alloygen.edge.atoms_map import AtomsMap


@dataclass(frozen=True, eq=False, repr=False)
class Draws:
    """Samples at one T and mu; the fields are told in :class:`alloygen.results.ensemble.Ensemble`."""

    hamiltonian: Hamiltonian
    occ: np.ndarray
    energy: np.ndarray
    log_prob: np.ndarray | None
    T: float
    mu: np.ndarray = None  # type: ignore[assignment]  # zero where it is not given
    method: str = "unknown"
    atoms_map: AtomsMap | None = None
    info: dict = field(default_factory=dict)
    chains: int = 0
    observed: dict = field(default_factory=dict)
    log_w: np.ndarray | None = None
    facts: Provenance = field(default_factory=Provenance)
    place: Place | None = None
    origin: Draws | None = None
    drawn: dict | None = None

    def __post_init__(self):
        put = lambda name, value: object.__setattr__(self, name, value)  # noqa: E731
        occ = self.hamiltonian.check(as_array(self.occ))
        put("occ", occ)
        for name in ("energy", "log_prob", "log_w"):
            value = getattr(self, name)
            if value is None and name != "energy":
                continue
            value = as_array(value, np.float64)
            if value.shape != (len(occ),):
                raise AlloygenError(f"expected {name} of shape ({len(occ)},), one per sample, got {tuple(value.shape)}")
            put(name, value)
        elements = self.hamiltonian.elements
        mu = np.zeros(len(elements)) if self.mu is None else np.array(self.mu, dtype=np.float64)
        if mu.shape != (len(elements),):
            raise BadCondition(f"expected one chemical potential per element {elements}, got shape {mu.shape}")
        if not self.T > 0:
            raise BadCondition(f"expected a temperature above 0, got {self.T!r}")
        if self.chains and len(occ) % self.chains:
            raise AlloygenError(f"expected chains of equal length, got {len(occ)} samples in {self.chains} chains")
        if self.origin is not None and len(self.origin) != len(occ):
            raise AlloygenError(
                f"expected the {len(occ)} samples that were reweighted as origin, got {len(self.origin)}"
            )
        put("mu", mu)
        put("T", float(self.T))
        law = {"hamiltonian": self.hamiltonian, "occ": occ}
        if self.log_prob is None:  # else the weights follow from the energies, T and mu, whatever these are
            law |= {"energy": self.energy, "T": self.T, "mu": mu}
        put(
            "drawn", require_drawn(self.drawn, law, "ensemble", "ens.reweighted(energy=, T=, mu=) or ens.subset(index)")
        )

    def __len__(self) -> int:
        return len(self.occ)

    @property
    def n_sites(self) -> int:
        return self.hamiltonian.n_sites

    @property
    def elements(self) -> tuple[str, ...]:
        return self.hamiltonian.elements

    @property
    def condition(self) -> Condition:
        """T and mu as one record."""
        return self.hamiltonian.condition(self.T, self.mu)

    @property
    def kT(self) -> float:
        """kB T in the Hamiltonian's energy unit."""
        return self.hamiltonian.kB * self.T

    @property
    def has_likelihood(self) -> bool:
        """True when every sample carries its exact log q(x)."""
        return self.log_prob is not None

    @property
    def absolute(self) -> bool:
        """Whether Phi is known: from the likelihood, or by other means."""
        found = self.facts.free_energy is not None or (self.place is not None and self.place.absolute)
        return self.has_likelihood or found

    @cached_property
    def counts(self) -> np.ndarray:
        """Atoms of each element in each sample, float64 (n, n_elements), fixed sites included."""
        return self.hamiltonian.counts(self.occ)

    @cached_property
    def correlations(self) -> np.ndarray:
        """Correlation functions of the figures of the expansion in each sample, float64 (n, K): E = N sum_k J_k Phi_k.

        Found once; see :meth:`alloygen.hamiltonian.cluster.Hamiltonian.correlations`.
        """
        return self.hamiltonian.correlations(self.occ)

    @cached_property
    def field_energy(self) -> np.ndarray:
        """E - mu.N of the cell, float64 (n,)."""
        return semigrand(self.energy, self.counts, self.mu)

    @property
    def free(self) -> np.ndarray:
        """Exchangeable sites, bool (N,); AlloygenError where there is none."""
        return sites.exchangeable_sites(self.hamiltonian.lattice)

    @property
    def exchanged(self) -> tuple[str, ...]:
        """The elements that exchangeable sites may hold, in the order of ``elements``."""
        return exchangeable(self.hamiltonian.lattice)

    def holds(self, element: str) -> np.ndarray:
        """Whether each site holds ``element``, bool (n, N)."""
        return sites.holds(self.hamiltonian.lattice, element, self.occ)

    def fraction(self, element: str) -> np.ndarray:
        """Share of the exchangeable sites that hold ``element`` in each sample, (n,)."""
        return self.holds(element)[:, self.free].mean(1)

    def by_chain(self, values) -> np.ndarray:
        """(chains, n / chains) of (n,) values."""
        return np.asarray(values, dtype=np.float64).reshape(self.chains, -1)

    @property
    def length(self) -> float:
        """Length in the caller's Atoms for one of the Hamiltonian's lattice; 1 where there are no Atoms."""
        return float(getattr(self.atoms_map, "scale", 1.0))

    # ------------------------------------------------------------------ weights
    @cached_property
    def log_weight(self) -> np.ndarray:
        """log w = -(E - mu.N) / (kB T) - log q, float64 (n,); for a biased law known up to a constant.

        Raises :class:`AlloygenError` where all samples weigh the same.
        """
        if self.log_prob is None and self.log_w is not None:
            return self.log_w
        if self.log_prob is None:
            raise AlloygenError(
                f"expected samples with a likelihood, got an ensemble made by {self.method!r}: Monte Carlo samples "
                'carry no likelihood. Draw with sampler="neural", or by alloygen.mc with method="replica exchange", whose '
                "ladder makes free energies absolute."
            )
        return -self.field_energy / self.kT - self.log_prob

    @property
    def known_log_weight(self) -> np.ndarray | None:
        """(n,) log-weights; None where all samples weigh the same."""
        return self.log_weight if self.has_likelihood or self.log_w is not None else None

    def tell(self, remedy: str = "") -> None:
        """Warn :class:`~alloygen.errors.LowSampleSize` where the weights are uneven; once, by whatever of these samples is asked for first."""
        if len(self) and (log_w := self.known_log_weight) is not None:
            weights.warn_if_uneven(log_w, f"the {len(self)} configurations at T = {self.T:g}", remedy)

    @property
    def weights(self) -> np.ndarray:
        """Normalised weights (n,), summing to one; equal for samples without a likelihood."""
        return weights.normalized_weights(
            np.zeros(len(self)) if self.known_log_weight is None else self.known_log_weight
        )

    @property
    def ness(self) -> float:
        """Normalised effective sample size (sum w)^2 / (n sum w^2). It cannot see modes that q never draws."""
        return weights.ness(self.log_weight)

    @property
    def k_hat(self) -> float:
        """Shape of the upper tail of the weights (Pareto k-hat, Vehtari et al. 2024): -inf where there is none, as for equal weights.

        Below 0.5 error bars are as good as they get; above 0.7, with a largest weight of more than 5 % of the sum, few rare draws decide and the free
        energy is not known.
        """
        return self._tail.k_hat

    @property
    def heavy(self) -> bool:
        """Whether few rare draws decide (:class:`alloygen.estimate.pareto.Tail`)."""
        return self._tail.heavy

    @cached_property
    def _tail(self) -> Tail:
        known = self.known_log_weight
        return tail(np.zeros(len(self)) if known is None else weights.as_log_weights(known))

    def alone(self) -> Draws:
        """These samples without what is made of them: what an estimator keeps."""
        if self.log_prob is not None:
            _ = self.log_weight  # one array for all, so that what is wrong with it is told once
        draws = object.__new__(Draws)
        draws.__dict__.update({k: v for k, v in self.__dict__.items() if k in Draws.__dict__ or k in _FIELDS})
        return draws


_FIELDS = frozenset(f.name for f in fields(Draws))
