"""Scan: ensembles at many conditions, as labelled tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from alloygen.ensemble import Ensemble
from alloygen.errors import AlloygenError, BadCondition
from alloygen.estimate.chains import Convergence, convergence
from alloygen.estimate.mbar import MBAR
from alloygen.estimate.result import Estimate
from alloygen.hamiltonian.cluster import Hamiltonian


@dataclass(frozen=True, eq=False, repr=False)
class Scan(Sequence):
    """Samples at C conditions (T, mu) of one supercell; ``scan[c]`` is the :class:`Ensemble` of one of them.

    Parameters
    ----------
    hamiltonian : Hamiltonian of the supercell (N sites)
    T : (C,) temperatures; mu : (C, n_elements) chemical potentials
    occ : (C, n, N) int8 species indices; energy : (C, n) energies of the cell, without the field term
    chains : number of independent Markov chains that the n samples of a condition are, one after another, each in time
        order; 0 for independent samples
    method : how the samples were made
    log_prob : (C, n) exact log q(x) of each sample, or None for samples that follow the target law
    atoms_map : object with ``to_atoms(occ_row)``, for ``scan[c].atoms``
    observed : name -> (C, n) values that observers returned
    facts : name -> (C,) what is known of each condition (acceptance, ...)
    info : facts of the run as a whole

    Examples
    --------
    >>> from alloygen.hamiltonian.ising import ising
    >>> from alloygen.montecarlo.sampling import metropolis
    >>> scan = metropolis(ising(4), T=[2.5, 3.0], n=1000, seed=0)
    >>> len(scan), scan[1].T
    (2, 3.0)
    >>> list(scan.to_xarray().sizes)
    ['condition']
    """

    hamiltonian: Hamiltonian
    T: np.ndarray
    mu: np.ndarray
    occ: np.ndarray
    energy: np.ndarray
    chains: int = 0
    method: str = "unknown"
    log_prob: np.ndarray | None = None
    atoms_map: object | None = None
    observed: dict = field(default_factory=dict)
    facts: dict = field(default_factory=dict)
    info: dict = field(default_factory=dict)

    def __post_init__(self):
        c, n = self.occ.shape[:2]
        if self.T.shape != (c,) or len(self.mu) != c or self.energy.shape != (c, n) or (self.chains and n % self.chains):
            raise AlloygenError(
                f"expected T (C,), mu (C, n_elements), energy (C, n) and n a multiple of chains for occ {self.occ.shape}, got "
                f"{self.T.shape}, {self.mu.shape}, {self.energy.shape} and {self.chains} chains"
            )

    # ------------------------------------------------------------------ a sequence of ensembles
    def __len__(self) -> int:
        return len(self.T)

    @property
    def n(self) -> int:
        """Samples per condition."""
        return self.occ.shape[1]

    def __getitem__(self, c):
        if isinstance(c, slice) or np.ndim(c):
            return self.select(np.arange(len(self))[c])
        if not -len(self) <= c < len(self):
            raise IndexError(f"expected a condition below {len(self)}, got {c}")
        c = int(c) % len(self)
        facts = {k: v[c].item() if hasattr(v[c], "item") else v[c] for k, v in self.facts.items()}
        if "free_energy" not in facts and self.absolute:
            facts["free_energy"] = lambda: self.free_energy(c)
        return Ensemble(
            self.hamiltonian, self.occ[c], self.energy[c], None if self.log_prob is None else self.log_prob[c],
            float(self.T[c]), self.mu[c], self.method, self.atoms_map, {**self.info, **facts}, chains=self.chains,
            observed={k: v[c] for k, v in self.observed.items()},
        )  # fmt: skip

    def select(self, conditions) -> Scan:
        """The scan of some conditions, by index."""
        at = np.asarray(conditions, dtype=int)
        part = lambda d: {k: (v[at] if isinstance(v, np.ndarray) else [v[i] for i in at]) for k, v in d.items()}  # noqa: E731
        log_prob = None if self.log_prob is None else self.log_prob[at]
        return Scan(
            self.hamiltonian, self.T[at], self.mu[at], self.occ[at], self.energy[at], self.chains, self.method, log_prob,
            self.atoms_map, part(self.observed), part(self.facts), self.info,
        )  # fmt: skip

    def at(self, T: float, mu=None) -> Ensemble:
        """The ensemble at a condition of the scan. Raises BadCondition when it is not one of them."""
        from alloygen.conditions import chemical_potentials, temperature

        here = np.isclose(self.T, temperature(T))
        if mu is not None:
            relative = self.mu - self.mu[:, :1]
            wanted = chemical_potentials(mu, self.hamiltonian.lattice)
            here &= np.isclose(relative, wanted - wanted[0], atol=1e-9).all(1)
        if here.sum() != 1:
            raise BadCondition(
                f"expected one of the {len(self)} conditions of the scan, T={T!r} and mu={mu!r} fit {int(here.sum())} of them"
            )
        return self[int(np.flatnonzero(here)[0])]

    # ------------------------------------------------------------------ convergence
    @cached_property
    def convergence(self) -> list[Convergence]:
        """Autocorrelation, effective samples and split R-hat at each condition: the worst of E - mu.N and the compositions."""
        return [self._convergence(c) for c in range(len(self))]

    def _convergence(self, c: int) -> Convergence:
        counts = self._counts[c]
        moving = counts[:, np.ptp(counts, 0) > 0][:, 1:]  # the first follows from the others
        series = [self.energy[c] - counts @ self.mu[c], *moving.T]
        found = [convergence(s.reshape(max(self.chains, 1), -1), min(100.0, 0.5 * self.n)) for s in series]
        return min(found, key=lambda f: (f.converged, f.effective_samples))

    @property
    def converged(self) -> np.ndarray:
        """(C,) bool: enough effective samples and agreeing chains."""
        return np.array([c.converged for c in self.convergence])

    @cached_property
    def _counts(self) -> np.ndarray:
        """(C, n, n_elements) atoms of each element."""
        lattice = self.hamiltonian.lattice
        out = np.zeros((*self.energy.shape, len(self.hamiltonian.elements)))
        for b in range(lattice.n_sublattices):
            part = self.occ[:, :, lattice.sublattice == b]
            for s in range(len(lattice.species[b])):
                out[..., lattice.element_index[b][s]] += (part == s).sum(-1)
        return out

    # ------------------------------------------------------------------ free energies
    @cached_property
    def mbar(self) -> MBAR:
        """All conditions pooled by MBAR: free energies and averages at any (T, mu) in reach of the samples.

        Absolute when the scan holds T = infinity or was given a likelihood; see :class:`alloygen.estimate.mbar.MBAR`.
        """
        if self.log_prob is not None:
            raise AlloygenError("expected Monte Carlo samples, got samples with a likelihood: their free energy needs no MBAR")
        beta = 1.0 / (self.hamiltonian.kB * self.T)
        beta_mu = beta[:, None] * self.mu
        reference = {int(c): self.info["log_states"] for c in np.flatnonzero(beta == 0)} if self.absolute else None
        return MBAR(
            beta, beta_mu, list(self.energy), list(self._counts), inefficiency="measure" if self.chains else None,
            log_z_reference=reference, n_chains=max(self.chains, 1),
        )  # fmt: skip

    @property
    def absolute(self) -> bool:
        """Whether free energies are absolute: chains at T = infinity too, with a known number of configurations."""
        return self.log_prob is None and bool(np.isinf(self.T).any()) and self.info.get("log_states") is not None

    def free_energy(self, c: int):
        """Phi = -kB T log Z / N at a condition, an Estimate: absolute if the scan holds T = infinity, else an error."""
        if self.log_prob is not None:
            return self[c].free_energy()
        if not self.absolute:
            raise AlloygenError(
                "expected a scan with T = infinity, where log Z is known, got finite temperatures only: MBAR then gives "
                "differences (scan.mbar). Sample a ladder up to infinity: montecarlo.tempering.ladder(h, T, mu)."
            )
        if np.isinf(self.T[c]):
            return Estimate(-np.inf, 0.0, "the temperature is infinite; log Z is finite")
        beta = 1.0 / (self.hamiltonian.kB * self.T[c])
        return self.mbar.phi(beta, beta * self.mu[c], self.hamiltonian.n_sites)

    # ------------------------------------------------------------------ tables
    def to_xarray(self):
        """Averages with errors by condition, an ``xarray.Dataset`` with units and conventions in its attributes."""
        import xarray as xr

        h, ensembles = self.hamiltonian, [self[c] for c in range(len(self))]
        columns: dict[str, list] = {}

        def put(name, estimates):
            columns[name] = [e.value for e in estimates]
            columns[f"{name}_stderr"] = [e.stderr for e in estimates]

        put("energy", [e.mean_energy() for e in ensembles])
        for element in h.elements:
            put(f"x_{element}", [e.composition(element) for e in ensembles])
        put("heat_capacity", [e.heat_capacity() for e in ensembles])
        for name in self.observed:
            put(name, [e.mean(e.observed[name]) for e in ensembles])
        if self.log_prob is not None or self.absolute or "free_energy" in self.facts:
            put("phi", [e.free_energy() for e in ensembles])
        columns["effective_samples"] = [e.effective_samples for e in ensembles]
        if self.chains:
            columns["rhat"] = [c.rhat for c in self.convergence]
            columns["converged"] = [c.converged for c in self.convergence]
        columns |= {k: v for k, v in self.facts.items() if np.ndim(v) == 1 and k != "free_energy" and k not in columns}
        coords = {"T": ("condition", self.T)}
        coords |= {f"mu_{e}": ("condition", self.mu[:, k]) for k, e in enumerate(h.elements)}
        attributes = {
            "method": self.method, "n": self.n, "chains": self.chains, "n_sites": h.n_sites, "unit": h.unit,
            "fingerprint": h.fingerprint, "hamiltonian": h.expansion.name, "convention": "energies and phi per site",
        }  # fmt: skip
        return xr.Dataset({k: ("condition", np.asarray(v)) for k, v in columns.items()}, coords, attributes)

    def to_pandas(self):
        """The same as a ``pandas.DataFrame``, one row per condition."""
        return self.to_xarray().to_dataframe().reset_index(drop=True)

    def write(self, path) -> Path:
        """Write the table as netCDF (.nc) or CSV (.csv), whole or not at all; returns the path."""
        from alloygen.io.atomic import atomic_path

        path = Path(path)
        if path.suffix not in (".nc", ".csv"):
            raise AlloygenError(f"expected a path that ends in .nc or .csv, got {str(path)!r}")
        with atomic_path(path) as part:
            if path.suffix == ".csv":
                self.to_pandas().to_csv(part, index=False)
            else:
                self.to_xarray().to_netcdf(part)
        return path

    def __repr__(self) -> str:
        T = f"{self.T.min():g} to {self.T.max():g}"
        return f"Scan({self.method!r}, {len(self)} conditions, T {T}, n={self.n}, {self.hamiltonian.lattice!r})"
