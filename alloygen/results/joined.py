"""What the conditions of a scan know together: MBAR over all of them, free energies, and the ladder at each."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np

from alloygen.arrays import as_array
from alloygen.conditions.record import Condition
from alloygen.errors import AlloygenError, LowSampleSize
from alloygen.estimate.branches import Branches, Level, States, lowest
from alloygen.estimate.chains import Convergence
from alloygen.estimate.degeneracy import countable, log_degeneracy
from alloygen.estimate.ladder import Ladder, Samples
from alloygen.estimate.mbar import MBAR
from alloygen.estimate.mixture import NoOverlap
from alloygen.estimate.pool import Pool, from_likelihood, from_mbar
from alloygen.estimate.pooled import Pooled
from alloygen.estimate.result import Estimate
from alloygen.estimate.series import Memory
from alloygen.estimate.weights import MIN_ESS, user_level
from alloygen.results.runs import Runs

FROZEN = 0.02  # share of accepted flips below which they are rare


@dataclass(frozen=True, kw_only=True)
class Place:
    """A condition among those of a scan that know its free energy together.

    shared : whether the averages there rest on the samples of all of them (replica exchange)
    """

    joint: Joint
    condition: int
    shared: bool = False

    @property
    def ladder(self) -> Ladder | Pooled | None:
        """The samples of all conditions, weighted for this one; None where averages are its own, or they have too little in common."""
        return self.joint.ladder(self.condition) if self.shared else None

    @property
    def absolute(self) -> bool:
        """Whether its free energy is known."""
        return self.joint.absolute

    def free_energy(self) -> Estimate:
        """Phi per site there."""
        return self.joint.free_energy(self.condition)

    @property
    def known_difference(self) -> bool:
        """Whether all conditions know by how much Phi changed, where their samples were reweighted."""
        return isinstance(self.joint, Elsewhere) and self.joint.pooled

    def difference(self) -> Estimate:
        """Phi per site there, less that of the law that the samples were drawn from."""
        return cast(Elsewhere, self.joint).difference(self.condition)


class Joint:
    """The samples of all conditions as one.

    parts : the conditions that are shown, and those that are hidden behind them, of one Hamiltonian and supercell
    """

    def __init__(self, parts: Sequence[Runs]):
        self.parts, self.shown = list(parts), parts[0]
        self._ladders: dict[int, Ladder] = {}
        self._convergence: list[Convergence] | None = None

    def of(self, runs: Runs) -> bool:
        """Whether these samples are those of ``runs``: the same arrays, whatever else is said of them."""
        names = ("hamiltonian", "T", "mu", "occ", "energy", "chains", "log_prob", "observed", "facts", "hidden")
        return all(getattr(runs, name) is getattr(self.shown, name) for name in names)

    @property
    def log_states(self) -> float:
        """Log of the number of configurations, where free energies are absolute."""
        return cast(float, self.shown.facts.log_states)

    @property
    def absolute(self) -> bool:
        """Whether free energies are absolute: chains at T = infinity too, with a known number of configurations."""
        hot = any(np.isinf(part.T).any() for part in self.parts)
        return self.shown.log_prob is None and hot and self.shown.facts.log_states is not None

    # ------------------------------------------------------------------ averages
    def ladder(self, c: int) -> Ladder | Pooled | None:
        """The averages at a condition by MBAR over all; None where the samples have too little in common."""
        if self.apart:
            return None
        if c not in self._ladders:
            beta = self.shown.beta[c]
            observed = {k: np.concatenate([p.observed[k].ravel() for p in self.parts]) for k in self.shown.observed}
            self._ladders[c] = Ladder(self.mbar, self.samples, beta, beta * self.shown.mu[c], observed, c)
        return self._ladders[c]

    def convergence(self, at: Callable[[int], Convergence]) -> list[Convergence]:
        """That of each condition, found ``at`` it once."""
        if self._convergence is None:
            if self.shown.exchanged and not self.apart:
                beta = self.shown.beta
                self.mbar.foresee(beta, beta[:, None] * self.shown.mu)
            self._convergence = [at(c) for c in range(len(self.shown))]
        return self._convergence

    @property
    def apart(self) -> bool:
        """Whether the conditions fall into parts between which nothing passed: no average can rest on all of them."""
        return isinstance(self.joined, NoOverlap) or (self.absolute and self.branches.cut is not None)

    @cached_property
    def samples(self) -> Samples:
        """All samples, condition by condition, the hidden ones after the others."""
        parts = self.parts
        energy = np.concatenate([p.energy.ravel() for p in parts])
        counts = np.concatenate([p.counts.reshape(-1, p.counts.shape[-1]) for p in parts])
        return Samples(energy, counts, lambda f: np.concatenate([f(occ) for p in parts for occ in p.occ]))

    # ------------------------------------------------------------------ free energies
    @cached_property
    def mbar(self) -> MBAR:
        """All conditions pooled by MBAR, the hidden ones too: free energies and averages at any (T, mu) in reach of the samples.

        Absolute when the run holds T = infinity; see :class:`alloygen.estimate.mbar.MBAR`. Raises AlloygenError for samples with a
        likelihood, and where the samples of some conditions have too little in common with those of the others.
        """
        if isinstance(self.joined, NoOverlap):
            raise self.joined
        return self.joined

    @cached_property
    def conditions(self) -> Condition:
        """Those of all parts, one after another."""
        T, mu = (np.concatenate([getattr(part, k) for part in self.parts]) for k in ("T", "mu"))
        return self.shown.hamiltonian.condition(T, mu)

    @cached_property
    def joined(self) -> MBAR | NoOverlap:
        """All conditions joined by MBAR, or why they cannot be."""
        if self.shown.log_prob is not None:
            raise AlloygenError(
                "expected Monte Carlo samples, got samples with a likelihood: their free energy needs no MBAR"
            )
        (_, mu), beta = self.conditions.arrays(), as_array(self.conditions.beta)
        reference = {int(c): self.log_states for c in np.flatnonzero(beta == 0)} if self.absolute else None
        energy, counts = ([row for part in self.parts for row in rows(part)]
                          for rows in (lambda part: part.energy, lambda part: part.counts))  # fmt: skip
        try:
            return MBAR(
                beta, beta[:, None] * mu, energy, counts, inefficiency="measure" if self.shown.chains else None,
                log_z_reference=reference, memory=Memory(n_chains=max(self.shown.chains, 1), least=self._arrivals),
                gap=lambda i, j, _: self._between(self.conditions[[i, j]]),
            )  # fmt: skip
        except NoOverlap as torn:
            return torn

    @property
    def _arrivals(self) -> np.ndarray | None:
        """Least inefficiency (K,) of the samples of each condition: where flips are rare, phases come with replicas from above.

        A phase that forms at hot conditions only is met at the cold ones as often as a replica brings it, however fast the energy
        forgets its small changes, and all of them meet the same replicas: together they are worth as many samples as came.
        Temperatures count as cold up to the highest one at which flips are rare at any mu.
        """
        parts = self.parts
        if not self.shown.exchanged or any(part.facts.renewals is None for part in parts):
            return None
        T = np.concatenate([part.T for part in parts])
        accepted, came = (np.concatenate([part.facts.columns[k] for part in parts]) for k in ("acceptance", "renewals"))
        cold = T <= T[accepted < FROZEN].max(initial=0.0)
        rungs = len(np.unique(T[cold]))
        return np.where(cold, np.minimum(self.shown.n, self.shown.n * rungs / np.maximum(came, 1)), 1.0)

    @cached_property
    def branches(self) -> Branches:
        """What absolute free energies rest on: the samples cut where nothing passed, each branch with its own reference.

        See :mod:`alloygen.estimate.branches`. Raises AlloygenError for a run without T = infinity.
        """
        (_, mu), beta = self.conditions.arrays(), as_array(self.conditions.beta)
        energy, counts = (np.concatenate([getattr(part, k) for part in self.parts]) for k in ("energy", "counts"))
        known: dict[tuple, Level | None] = {}

        def level(row: np.ndarray) -> Level | None:
            key = tuple(np.round(row, 12))
            if key not in known:
                known[key] = lowest(row, energy, counts, self._number)
            return known[key]

        samples = States(beta, beta[:, None] * mu, energy, counts, self.shown.chains)
        return Branches(
            samples,
            lambda: self.joined,
            self.log_states,
            level,
            lambda i, j, _: self._between(self.conditions[[i, j]]),
        )

    def _number(self, at: np.ndarray) -> float | None:
        """Log of the number of configurations with the level of the samples ``at``, counted through all conditions, the hidden too."""
        h = self.shown.hamiltonian
        if not countable(h.n_sites, h.n_sites // h.lattice.n_sublattices):  # before the table of translations is made
            return None
        rows, start = [], 0
        for part in self.parts:
            n, end = part.occ.shape[-1], start + part.energy.size
            rows.append(part.occ.reshape(-1, n)[at[(at >= start) & (at < end)] - start])
            start = end
        return log_degeneracy(np.concatenate(rows), *h.symmetries, self.shown.held)

    @cached_property
    def phi(self) -> list[Estimate]:
        """(C,) Phi of each condition, T = infinity left out."""
        kT = self.shown.hamiltonian.kB * self.shown.T
        self.branches.foresee(np.arange(len(self.shown)))
        out, size = [], np.full(len(self.shown), np.inf)
        for c, scale in enumerate(kT / self.shown.hamiltonian.n_sites):
            if np.isinf(self.shown.T[c]):
                out.append(Estimate(-np.inf, 0.0, "the temperature is infinite; log Z is finite"))
                continue
            found, size[c] = self.branches.log_z_and_size(c)
            out.append(Estimate(-found.value * scale, found.stderr * scale, found.note))
        self._tell_of_few(size)
        return out

    def _tell_of_few(self, size: np.ndarray) -> None:
        """One warning for all conditions (C,) whose free energies rest on few effective samples."""
        if not (size < MIN_ESS).any():
            return
        c = int(size.argmin())
        warnings.warn(
            f"free energies of {(size < MIN_ESS).sum()} of {len(size)} conditions rest on fewer than {MIN_ESS:.0f} effective samples, {size[c]:.1f} at "
            f"{self.shown.words(c)}: they and their error bars are unreliable. Draw more, or sample conditions nearer to these",
            LowSampleSize,
            stacklevel=user_level(),
        )

    @property
    def gap(self) -> str:
        """Why free energies of a Monte Carlo scan are missing at some conditions; empty where all are known."""
        return next((f.note for f in self.phi if np.isnan(f.value)), "") if self.absolute else ""

    def _between(self, sides: Condition) -> str:
        """What to say where the samples on the two sides of a gap, two conditions, have little in common."""
        T, mu = sides.arrays()
        shown, names = np.unique(self.shown.T[np.isfinite(self.shown.T)]), self.shown.hamiltonian.elements
        if T[0] == T[1]:
            apart = np.flatnonzero(mu[0] != mu[1])
            where = " and ".join(f"between mu_{names[e]} = {mu[0, e]:.4g} and {mu[1, e]:.4g}" for e in apart)
        else:
            below, above = shown[shown <= T.min()][-1:], shown[shown >= T.max()][:1]
            ends = [f"T = {t:g}" for t in (*below, *above)]
            where = (
                f"between {ends[0]} and {ends[1]}"
                if len(ends) == 2
                else f"{'above' if len(below) else 'below'} {ends[0]}"
            )
        return (
            f"expected samples that overlap from each condition to the next, which free energies need; {where} they have too "
            f"little in common. Draw more (n = {4 * self.shown.n} in place of {self.shown.n}), or add temperatures or mu there. "
            "Configurations and their averages stand as they are"
        )

    @cached_property
    def pool(self) -> Pool:
        """All samples of all conditions as one weighted set, for averages at any (T, mu) or composition in reach."""
        if self.shown.log_prob is None:
            return self.branches.pool() if self.absolute else from_mbar(self.mbar)
        beta = self.shown.beta
        return from_likelihood(
            beta, beta[:, None] * self.shown.mu, self.shown.energy, self.shown.counts, self.shown.log_prob
        )

    def free_energy(self, c: int) -> Estimate:
        """Phi per site at a condition, see :meth:`alloygen.results.scan.Scan.free_energy`."""
        if not self.absolute:
            raise AlloygenError(
                "expected a run that reaches T = infinity, where log Z is known, got finite temperatures only: MBAR then gives "
                'differences (scan.mbar). Use alloygen.mc(..., method="replica exchange"), or give replica_exchange a ladder.'
            )
        return self.phi[c]

    def covariance(self) -> np.ndarray:
        """(C, C) of the errors of Phi, see :meth:`alloygen.results.scan.Scan.free_energy_covariance`."""
        self.free_energy(0)
        if self.apart:
            raise AlloygenError(
                "expected conditions that samples join, got parts between which nothing passed, each counted from its own reference: the errors "
                "of different parts have nothing in common. Draw more, so that replicas pass, or add temperatures between"
            )
        beta = self.shown.beta
        log_z = self.mbar.log_z_covariance(beta, beta[:, None] * self.shown.mu)
        scale = np.divide(1.0, beta * self.shown.hamiltonian.n_sites, out=np.zeros(len(beta)), where=beta > 0)
        return log_z * np.outer(scale, scale)


class Elsewhere(Joint):
    """The same of Monte Carlo samples under another Hamiltonian than the one that they were drawn with.

    The pool of the old law knows sums over configurations of any function, so of exp(-beta [E' - mu.N]) too; MBAR itself belongs to the old law.

    parts : the conditions with the new energies; old : what they know together under the law that they were drawn from
    """

    def __init__(self, parts: Sequence[Runs], old: Joint):
        super().__init__(parts)
        self.old = old

    @cached_property
    def _pools(self) -> tuple[Pool, Pool] | NoOverlap:
        """The pool of the new law, and that of the old one."""
        try:
            old = self.old.pool
        except NoOverlap as torn:
            return torn
        return old.with_energies(self.samples.energy), old

    @property
    def pooled(self) -> bool:
        """Whether the samples of all conditions have enough in common to be one."""
        return not isinstance(self._pools, NoOverlap)

    @property
    def pool(self) -> Pool:  # type: ignore[override]
        """All samples with the weights of the old law and the energies of the new one."""
        if isinstance(self._pools, NoOverlap):
            raise self._pools
        return self._pools[0]

    @property
    def absolute(self) -> bool:
        """Whether free energies are absolute: those of the old law are, and the conditions can be joined."""
        return self.old.absolute and self.pooled

    def ladder(self, c: int) -> Pooled | None:  # type: ignore[override]
        if not self.pooled:
            return None
        beta = self.shown.beta[c]
        observed = {k: np.concatenate([p.observed[k].ravel() for p in self.parts]) for k in self.shown.observed}
        return Pooled(self.pool, self.samples, beta, beta * self.shown.mu[c], observed)

    @cached_property
    def joined(self) -> MBAR:  # type: ignore[override]
        raise AlloygenError(
            "expected samples of the law that they were drawn from for MBAR, got reweighted ones; scan.origin.mbar is theirs, scan.pool has "
            "the weights under the new law"
        )

    @property
    def branches(self) -> Branches:  # type: ignore[override]
        return self.joined  # type: ignore[return-value]  # raises

    def convergence(self, at: Callable[[int], Convergence]) -> list[Convergence]:
        raise AlloygenError("expected the chains as they ran, got reweighted samples; ask scan.origin.convergence")

    @cached_property
    def phi(self) -> list[Estimate]:
        n, out = self.shown.hamiltonian.n_sites, []
        for beta, mu in zip(self.shown.beta, self.shown.mu, strict=True):
            if beta == 0:
                out.append(Estimate(-np.inf, 0.0, "the temperature is infinite; log Z is finite"))
                continue
            found = self.pool.log_z(beta, beta * mu)
            out.append(Estimate(-found.value / (beta * n), found.stderr / (beta * n), found.note))
        return out

    def difference(self, c: int) -> Estimate:
        """Phi per site at a condition, less that of the old law, an error of both together."""
        beta, n = float(self.shown.beta[c]), self.shown.hamiltonian.n_sites
        if beta == 0:
            raise AlloygenError("expected a finite temperature, got T = infinity, where Phi is infinite")
        old = cast("tuple[Pool, Pool]", self._pools)[1]
        found = self.pool.log_z_difference(old, beta, beta * self.shown.mu[c])
        return Estimate(-found.value / (beta * n), found.stderr / (beta * n), found.note)

    def covariance(self) -> np.ndarray:
        self.free_energy(0)
        beta, n = self.shown.beta, self.shown.hamiltonian.n_sites
        moved = np.stack([
            np.log(self.pool.replica @ self.pool.weights(b, b * mu).astype(np.float32)) for b, mu in zip(beta, self.shown.mu, strict=True)
        ])  # fmt: skip
        scale = np.divide(1.0, beta * n, out=np.zeros(len(beta)), where=beta > 0)
        return np.cov(moved) * np.outer(scale, scale)
