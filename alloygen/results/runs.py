"""Samples at many conditions: the record, checked, with the atoms of each element."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from alloygen.conditions.record import semigrand
from alloygen.errors import AlloygenError
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.results.provenance import RunProvenance, require_drawn

if TYPE_CHECKING:
    from alloygen.edge.atoms_map import AtomsMap


@dataclass(frozen=True, eq=False, repr=False)
class Runs:
    """Samples at C conditions of one supercell; the fields are told in :class:`alloygen.results.scan.Scan`."""

    hamiltonian: Hamiltonian
    T: np.ndarray
    mu: np.ndarray
    occ: np.ndarray
    energy: np.ndarray
    chains: int = 0
    method: str = "unknown"
    log_prob: np.ndarray | None = None
    atoms_map: AtomsMap | None = None
    observed: dict = field(default_factory=dict)
    facts: RunProvenance = field(default_factory=RunProvenance)
    info: dict = field(default_factory=dict)
    hidden: Runs | None = None
    drawn: dict | None = None

    def __post_init__(self):
        c, n = self.occ.shape[:2]
        if not c or not n:
            raise AlloygenError(
                f"expected at least one condition and one sample at each, got {c} conditions with {n} samples"
            )
        if (
            self.T.shape != (c,)
            or len(self.mu) != c
            or self.energy.shape != (c, n)
            or (self.chains and n % self.chains)
        ):
            raise AlloygenError(
                f"expected T (C,), mu (C, n_elements), energy (C, n) and n a multiple of chains for occ {self.occ.shape}, got "
                f"{self.T.shape}, {self.mu.shape}, {self.energy.shape} and {self.chains} chains"
            )
        law = {"hamiltonian": self.hamiltonian, "occ": self.occ}
        if self.log_prob is None:  # else the weights follow from the energies, T and mu, whatever these are
            law |= {"energy": self.energy, "T": self.T, "mu": self.mu}
        law = require_drawn(self.drawn, law, "scan", "scan.subset(conditions), scan.reweighted(energies)")
        object.__setattr__(self, "drawn", law)

    @property
    def reduced(self) -> np.ndarray:
        """u = beta (E - mu.N) of every sample at its own condition, (C, n)."""
        return semigrand(self.energy, self.counts, self.mu[:, None]) * self.beta[:, None]

    def __len__(self) -> int:
        return len(self.T)

    def words(self, c: int) -> str:
        """A condition in the words of messages: T = 600, mu_Au = 0.02."""
        T = "infinite temperature" if np.isinf(self.T[c]) else f"T = {self.T[c]:g}"
        mu = zip(self.hamiltonian.elements, self.mu[c], strict=True)
        return ", ".join([T, *(f"mu_{e} = {m:.4g}" for e, m in mu if m)])

    @property
    def n(self) -> int:
        """Samples per condition."""
        return self.occ.shape[1]

    @cached_property
    def counts(self) -> np.ndarray:
        """(C, n, n_elements) atoms of each element."""
        return self.hamiltonian.counts(self.occ)

    @cached_property
    def correlations(self) -> np.ndarray:
        """Correlation functions of the figures of the expansion in each sample, float64 (C, n, K), found once: E = N sum_k J_k Phi_k."""
        return self.hamiltonian.correlations(self.occ.reshape(-1, self.occ.shape[-1])).reshape(*self.occ.shape[:2], -1)

    @property
    def exchanged(self) -> bool:
        """Whether the conditions exchanged their configurations, so that averages rest on all of them."""
        return self.log_prob is None and self.chains > 0 and self.facts.exchanged

    @property
    def beta(self) -> np.ndarray:
        """(C,) 1 / kB T."""
        return 1.0 / (self.hamiltonian.kB * self.T)

    @property
    def held(self) -> np.ndarray:
        """(N,) species of the exchangeable sites that were held, -1 of all others."""
        out = np.full(self.hamiltonian.n_sites, -1)
        sites = np.asarray(self.facts.held, dtype=int)
        out[sites] = self.occ[0, 0, sites]
        if (self.occ[..., sites] != out[sites]).any():
            raise AlloygenError(
                "expected the same species on a held site in all samples, got several: F(x) is that of one such cell. Scan each by itself"
            )
        return out

    def alone(self) -> Runs:
        """The samples without what is made of them: what an estimator keeps."""
        plain = object.__new__(Runs)
        plain.__dict__.update({k: v for k, v in self.__dict__.items() if k in Runs.__dict__ or k in _FIELDS})
        return plain


_FIELDS = frozenset(f.name for f in fields(Runs))
