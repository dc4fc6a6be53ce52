"""Scan: ensembles at many conditions, as labelled tables."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from alloygen.conditions import Mu, exchangeable, references
from alloygen.edge.prototypes import is_vacancy
from alloygen.errors import AlloygenError, BadCondition, LatticeMismatch, LowSampleSize
from alloygen.estimate.branches import Branches, Level, States, lowest
from alloygen.estimate.chains import Convergence, convergence
from alloygen.estimate.degeneracy import log_degeneracy
from alloygen.estimate.ladder import Ladder, Samples
from alloygen.estimate.mbar import MBAR
from alloygen.estimate.mixture import NoOverlap
from alloygen.estimate.order import long_range_order, orders_of
from alloygen.estimate.pareto import MAX_K
from alloygen.estimate.pool import Pool, from_likelihood, from_mbar
from alloygen.estimate.result import Estimate
from alloygen.estimate.weights import MIN_ESS, user_level
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.results.canonical import at_composition, binary, free_energies
from alloygen.results.ensemble import Ensemble, require_drawn
from alloygen.runtime.atomic import atomic_path, require_writable
from alloygen.types import ArrayLike, PathLike, Temperatures

if TYPE_CHECKING:
    import xarray as xr

    from alloygen.edge.atoms_map import AtomsMap
    from alloygen.results.phase_diagram import PhaseDiagram


MISS = 3.0  # standard errors, as if it held all that the ladder knows, by which a series may miss the ladder
RENEWALS = 3  # replicas from above that a condition needs where flips are rare
FROZEN = 0.02  # share of accepted flips below which they are rare
MAX_RHAT = 1.05  # of the halves of a series in a ladder
STUCK = 0.005  # share of accepted flips below which chains without exchange are not trusted


def _energy_reference(h: Hamiltonian) -> str:
    """What energies are counted from, told by the pure cells of a binary."""
    if len(exchangeable(h.lattice)) != 2:
        return f"the zero of {h.expansion.name}"
    b = binary(h)
    ends = ", ".join(f"{e} {energy / h.n_sites:.9g}" for e, energy in zip((b.other, b.element), b.ends, strict=True))
    return f"the zero of {h.expansion.name}, where the pure cells have ({h.unit} per site): {ends}"


def _more_compositions(lattice) -> dict[str, tuple[str, str | int]]:
    """Columns beside x_<element> (of the exchangeable sites): x_<element>_per_atom where fixed sublattices or vacancies make it another
    number, x_<element>_on_<sublattice> where exchangeable sublattices hold different elements. name -> (element, ``per``)"""
    out: dict[str, tuple[str, str | int]] = {}
    if any(len(names) == 1 for names in lattice.species) or any(map(is_vacancy, lattice.elements)):
        out |= {f"x_{e}_per_atom": (e, "atoms") for e in lattice.elements if not is_vacancy(e)}
    free = {b: names for b, names in enumerate(lattice.species) if len(names) > 1}
    if len({frozenset(names) for names in free.values()}) > 1:
        out |= {f"x_{e}_on_{b}": (e, b) for b, names in free.items() for e in names}
    return out


def _entropy(ensemble: Ensemble) -> Estimate:
    known = np.isfinite(ensemble.T)
    return ensemble.entropy() if known else Estimate(np.nan, np.nan, "the temperature is infinite")


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
    hidden : a Scan of further conditions that were run with these, such as the ladder of a replica exchange up to infinite
        temperature: free energies rest on their samples too, and nothing else shows them
    drawn : what weights and free energies belong to, filled in by itself: ``dataclasses.replace`` refuses other samples or conditions

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
    atoms_map: AtomsMap | None = None
    observed: dict = field(default_factory=dict)
    facts: dict = field(default_factory=dict)
    info: dict = field(default_factory=dict)
    hidden: Scan | None = None
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
        law = require_drawn(self.drawn, law, "scan", "scan.select(conditions), scan[c].reweighted(energy=, T=, mu=)")
        object.__setattr__(self, "drawn", law)

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
            facts["free_energy"] = partial(self.free_energy, c)
        if self.chains and not self._exchanged and (stuck := self._frozen(c)):
            facts["stuck"] = stuck[0]
        return Ensemble(
            self.hamiltonian, self.occ[c], self.energy[c], None if self.log_prob is None else self.log_prob[c],
            float(self.T[c]), self.mu[c], self.method, self.atoms_map, {**self.info, **facts}, chains=self.chains,
            observed={k: v[c] for k, v in self.observed.items()}, ladder=partial(self._ladder, c) if self._exchanged else None,
        )  # fmt: skip

    @property
    def _exchanged(self) -> bool:
        """Whether the conditions exchanged their configurations, so that averages rest on all of them."""
        return self.log_prob is None and self.chains > 0 and "exchange" in self.info

    def _ladder(self, c: int) -> Ladder | None:
        """The averages at a condition by MBAR over all; None where the samples have too little in common."""
        if self._apart:
            return None
        if c not in self._ladders:
            beta = 1.0 / (self.hamiltonian.kB * self.T[c])
            observed = {k: np.concatenate([p.observed[k].ravel() for p in self._parts]) for k in self.observed}
            self._ladders[c] = Ladder(self.mbar, self._samples, beta, beta * self.mu[c], observed, c)
        return self._ladders[c]

    @property
    def _apart(self) -> bool:
        """Whether the conditions fall into parts between which nothing passed: no average can rest on all of them."""
        return isinstance(self._joined, NoOverlap) or (self.absolute and self.branches.cut is not None)

    @cached_property
    def _ladders(self) -> dict[int, Ladder]:
        return {}

    @cached_property
    def _samples(self) -> Samples:
        """All samples, condition by condition, the hidden ones after the others."""
        parts = self._parts
        energy = np.concatenate([p.energy.ravel() for p in parts])
        counts = np.concatenate([p._counts.reshape(-1, p._counts.shape[-1]) for p in parts])
        return Samples(energy, counts, lambda f: np.concatenate([f(occ) for p in parts for occ in p.occ]))

    def select(self, conditions: ArrayLike) -> Scan:
        """The scan of some conditions, by index. Where there are hidden ones the others join them: what is known of free energies stays."""
        at = np.asarray(conditions, dtype=int)
        if self.hidden is not None:
            rest = np.setdiff1d(np.arange(len(self)), at)
            bare = replace(self, hidden=None)
            hidden = Scan.concatenate([bare.select(rest), self.hidden]) if len(rest) else self.hidden
            return replace(bare.select(at), hidden=hidden)
        part = lambda d: {k: (v[at] if isinstance(v, np.ndarray) else [v[i] for i in at]) for k, v in d.items()}  # noqa: E731
        log_prob = None if self.log_prob is None else self.log_prob[at]
        return Scan(
            self.hamiltonian, self.T[at], self.mu[at], self.occ[at], self.energy[at], self.chains, self.method, log_prob,
            self.atoms_map, part(self.observed), part(self.facts), self.info,
        )  # fmt: skip

    def at(self, T: float, mu: Mu | None = None) -> Ensemble:
        """The ensemble at a condition of the scan. Raises BadCondition when it is not one of them."""
        from alloygen.conditions import chemical_potentials, temperature

        here = np.isclose(self.T, temperature(T))
        if mu is not None:
            here &= np.isclose(self.mu, chemical_potentials(mu, self.hamiltonian), atol=1e-9).all(1)
        if here.sum() != 1:
            raise BadCondition(
                f"expected one of the {len(self)} conditions of the scan, T={T!r} and mu={mu!r} fit {int(here.sum())} of them. "
                "Give mu as in the scan, 0 for elements that are not named: Phi belongs to it"
            )
        return self[int(np.flatnonzero(here)[0])]

    def relabelled(self, **changes: Any) -> Scan:
        """A copy with another ``atoms_map``, ``method`` or ``info``; what was found from the samples stays found."""
        new = replace(self, **changes)
        for name in ("_counts", "_joined", "_samples", "_ladders", "branches", "_phi", "convergence"):
            if name in self.__dict__:
                new.__dict__[name] = self.__dict__[name]
        return new

    # ------------------------------------------------------------------ convergence
    @cached_property
    def convergence(self) -> list[Convergence]:
        """Autocorrelation, effective samples and split R-hat at each condition: the worst of E - mu.N and the compositions.

        With exchange the effective samples are those of the ladder, and a condition has also not converged where its own series misses the
        averages of the ladder by more than 3 standard errors of a series that had met all that the ladder knows; where flips are rarely
        accepted and fewer than 3 replicas came down from the hottest condition (``facts["renewals"]``); and where the samples of the
        conditions cannot be joined. Without exchange it has not where fewer than 0.5 % of the flips are accepted. The note says what to do.
        """
        return [self._convergence(c) for c in range(len(self))]

    def _convergence(self, c: int) -> Convergence:
        counts = self._counts[c]
        moving = counts[:, np.ptp(counts, 0) > 0][:, 1:]  # the first follows from the others
        series = [self.energy[c] - counts @ self.mu[c], *moving.T]
        found = [convergence(s.reshape(max(self.chains, 1), -1), min(100.0, 0.5 * self.n)) for s in series]
        worst = min(found, key=lambda f: (f.converged, f.effective_samples))
        if self._exchanged and (known := self._ladder(c)) is not None:
            worst = self._ladder_convergence(known, min(found, key=lambda f: -f.rhat))
        faults = self._ladder_faults(c) if self._exchanged else self._frozen(c)
        note = "; ".join([*faults, *([worst.note] if worst.note else [])])
        return replace(worst, converged=worst.converged and not faults, note=note)

    def _ladder_convergence(self, known: Ladder, worst: Convergence) -> Convergence:
        """Whether the ladder holds enough: rare phases come and go in a series that is one of many, which is no drift of the whole."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LowSampleSize)
            worth = known.effective_samples
        enough, notes = min(100.0, 0.5 * self.n), []
        if not worst.rhat <= MAX_RHAT:
            notes.append(
                f"the chains or their halves disagree (R-hat {worst.rhat:.2g} above {MAX_RHAT:g}): the run has not balanced all states; "
                "run longer, or put more temperatures between"
            )
        if worth < enough:
            notes.append(
                f"{worth:.1f} independent samples in the ladder, fewer than {enough:g}; run {enough / worth:.1f} times longer"
            )
        return replace(worst, effective_samples=worth, converged=not notes, note="; ".join(notes))

    def _frozen(self, c: int) -> list[str]:
        """What chains without exchange cannot know where they hardly move: each stays in the phase where it began."""
        accepted = self.facts["acceptance"][c] if "acceptance" in self.facts else 1.0
        if accepted >= STUCK or self.info.get("move") != "flip":
            return []
        return [
            f"{100 * accepted:.2g} % of the flips are accepted: a chain stays where it began, and its bar knows no other phase. Use "
            'replica exchange: alloygen.mc(..., method="replica exchange")'
        ]

    def _ladder_faults(self, c: int) -> list[str]:
        """What the other conditions say against the series at this one."""
        known = self._ladder(c)
        if known is None:
            return ["the samples of the conditions have too little in common, or no replica passed between a hot and a cold part: averages "
                    "rest on this condition's alone. Add conditions, or draw more"]  # fmt: skip
        faults, ens = [], self[c]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LowSampleSize)
            miss, here, there = max(ens._misses(known, whole=True), key=lambda m: m[0])
        if miss > MISS:
            faults.append(
                f"the chain at this condition gives {here}, the ladder {there} (per site): it has not met all states that count, or one "
                "of them once. Averages are the ladder's; run longer, or take copies="
            )
        if "renewals" in self.facts and self.facts["renewals"][c] < RENEWALS and self.facts["acceptance"][c] < FROZEN:
            faults.append(
                f"{int(self.facts['renewals'][c])} replicas came down from the hottest condition, where at least {RENEWALS} are needed "
                "to know which states count; run longer, or put more temperatures between"
            )
        return faults

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
        """All conditions pooled by MBAR, the hidden ones too: free energies and averages at any (T, mu) in reach of the samples.

        Absolute when the run holds T = infinity; see :class:`alloygen.estimate.mbar.MBAR`. Raises AlloygenError for samples with a
        likelihood, and where the samples of some conditions have too little in common with those of the others.
        """
        if isinstance(self._joined, NoOverlap):
            raise self._joined
        return self._joined

    @cached_property
    def _joined(self) -> MBAR | NoOverlap:
        """All conditions joined by MBAR, or why they cannot be."""
        if self.log_prob is not None:
            raise AlloygenError(
                "expected Monte Carlo samples, got samples with a likelihood: their free energy needs no MBAR"
            )
        T, mu = (np.concatenate([getattr(part, k) for part in self._parts]) for k in ("T", "mu"))
        beta = 1.0 / (self.hamiltonian.kB * T)
        reference = {int(c): self.info["log_states"] for c in np.flatnonzero(beta == 0)} if self.absolute else None
        energy, counts = ([row for part in self._parts for row in rows(part)]
                          for rows in (lambda part: part.energy, lambda part: part._counts))  # fmt: skip
        try:
            return MBAR(
                beta, beta[:, None] * mu, energy, counts, inefficiency="measure" if self.chains else None,
                log_z_reference=reference, n_chains=max(self.chains, 1), gap=lambda i, j, _: self._between(T[[i, j]], mu[[i, j]]),
                least=self._arrivals,
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
        parts = self._parts
        if not self._exchanged or any("renewals" not in part.facts for part in parts):
            return None
        T = np.concatenate([part.T for part in parts])
        accepted, came = (np.concatenate([part.facts[k] for part in parts]) for k in ("acceptance", "renewals"))
        cold = T <= T[accepted < FROZEN].max(initial=0.0)
        rungs = len(np.unique(T[cold]))
        return np.where(cold, np.minimum(self.n, self.n * rungs / np.maximum(came, 1)), 1.0)

    @cached_property
    def branches(self) -> Branches:
        """What absolute free energies rest on: the samples cut where nothing passed, each branch with its own reference.

        See :mod:`alloygen.estimate.branches`. Raises AlloygenError for a run without T = infinity.
        """
        T, mu = (np.concatenate([getattr(part, k) for part in self._parts]) for k in ("T", "mu"))
        beta = 1.0 / (self.hamiltonian.kB * T)
        energy, counts = (np.concatenate([getattr(part, k) for part in self._parts]) for k in ("energy", "_counts"))
        known: dict[tuple, Level | None] = {}

        def level(row: np.ndarray) -> Level | None:
            key = tuple(np.round(row, 12))
            if key not in known:
                known[key] = lowest(row, energy, counts, self._number)
            return known[key]

        samples = States(beta, beta[:, None] * mu, energy, counts, self.chains)
        return Branches(
            samples,
            lambda: self._joined,
            self.info["log_states"],
            level,
            lambda i, j, _: self._between(T[[i, j]], mu[[i, j]]),
        )

    def _number(self, at: np.ndarray) -> float | None:
        """Log of the number of configurations with the level of the samples ``at``, counted through all conditions, the hidden too."""
        rows, start = [], 0
        for part in self._parts:
            n, end = part.occ.shape[-1], start + part.energy.size
            rows.append(part.occ.reshape(-1, n)[at[(at >= start) & (at < end)] - start])
            start = end
        return log_degeneracy(np.concatenate(rows), *self.hamiltonian.symmetries, self._held)

    @cached_property
    def _phi(self) -> list[Estimate]:
        """(C,) Phi of each condition, T = infinity left out."""
        kT = self.hamiltonian.kB * self.T
        found = [self.branches.log_z(c) if np.isfinite(self.T[c]) else None for c in range(len(self))]
        scale = kT / self.hamiltonian.n_sites
        return [
            Estimate(-np.inf, 0.0, "the temperature is infinite; log Z is finite")
            if f is None
            else Estimate(-f.value * k, f.stderr * k, f.note)
            for f, k in zip(found, scale, strict=True)
        ]

    @property
    def gap(self) -> str:
        """Why free energies of a Monte Carlo scan are missing at some conditions; empty where all are known."""
        return next((f.note for f in self._phi if np.isnan(f.value)), "") if self.absolute else ""

    @property
    def _parts(self) -> list[Scan]:
        """These conditions and the hidden ones."""
        return [self] if self.hidden is None else [self, self.hidden]

    def _between(self, T: np.ndarray, mu: np.ndarray) -> str:
        """What to say where the samples on the two sides of a gap, T (2,) and mu (2, n_elements), have little in common."""
        shown, names = np.unique(self.T[np.isfinite(self.T)]), self.hamiltonian.elements
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
            f"little in common. Draw more (n = {4 * self.n} in place of {self.n}), or add temperatures or mu there. "
            "Configurations and their averages stand as they are"
        )

    @cached_property
    def pool(self) -> Pool:
        """All samples of all conditions as one weighted set, for averages at any (T, mu) or composition in reach."""
        if self.log_prob is None:
            return self.branches.pool() if self.absolute else from_mbar(self.mbar)
        beta = 1.0 / (self.hamiltonian.kB * self.T)
        return from_likelihood(beta, beta[:, None] * self.mu, self.energy, self._counts, self.log_prob)

    def free_energies(self, T: Temperatures | None = None, element: str | None = None) -> xr.Dataset:
        """F(T, x) of a binary at fixed composition, with energy, entropy, heat capacity and order: an ``xarray.Dataset``.

        From the samples of all conditions together, reweighted in mu and T; see :func:`alloygen.results.canonical.free_energies`. ``T``
        defaults to the temperatures of the scan. On fcc, bcc and hcp lattices order_L1_2, order_B2, ... are there too, those of
        :func:`alloygen.estimate.order.orders_of`. Where sites were held, compositions that cannot be reached are nan.

        Examples
        --------
        >>> import alloygen
        >>> from ase.build import bulk
        >>> scan = alloygen.scan(bulk("Cu", a=3.8).repeat((2, 2, 4)), T=[600], mu={"Au": [-0.1, 0, 0.06, 0.1]}, n=200, seed=0)
        >>> table = scan.free_energies()
        >>> round(float(table.mixing.sel(T=600, n=8)), 3)     # eV per site at x = 1/2; exact: -0.0421
        -0.042
        """
        holds, values = binary(self.hamiltonian, element).element, {}
        for name in orders_of(self.hamiltonian.lattice):
            values[f"order_{name}"] = np.concatenate(
                [
                    long_range_order(s, self.hamiltonian.lattice, name)
                    for part in self._parts
                    for s in part._holds(holds)
                ]
            )
        T = np.unique(self.T[np.isfinite(self.T)]) if T is None else T
        origin = {"method": self.method, **self._origin}
        occ = np.concatenate([np.asarray(part.occ).reshape(-1, self.hamiltonian.n_sites) for part in self._parts])
        return free_energies(self.pool, self.hamiltonian, T, element, values, origin, self._held, occ)

    @property
    def _held(self) -> np.ndarray:
        """(N,) species of the exchangeable sites that were held, -1 of all others."""
        out = np.full(self.hamiltonian.n_sites, -1)
        sites = np.asarray(self.info.get("held", ()), dtype=int)
        out[sites] = self.occ[0, 0, sites]
        if (self.occ[..., sites] != out[sites]).any():
            raise AlloygenError(
                "expected the same species on a held site in all samples, got several: F(x) is that of one such cell. Scan each by itself"
            )
        return out

    def phase_diagram(
        self,
        T: Temperatures | None = None,
        element: str | None = None,
        *,
        step: float | None = None,
        min_width: int = 3,
    ) -> PhaseDiagram:
        """The temperature-composition diagram of a binary, a :class:`~alloygen.results.phase_diagram.PhaseDiagram`.

        T : temperatures of the diagram; default: over the range of the scan in steps of ``step`` (10 K for alloys, else 1/40 of the
        range), reweighted between those that were sampled. element : that x counts

        Raises AlloygenError where there is no binary, for samples without absolute free energies, and for samples of one composition.
        """
        from alloygen.results.phase_diagram import PhaseDiagram

        binary(self.hamiltonian, element)
        if self.info.get("move") == "swap":
            raise AlloygenError(
                "expected samples of many compositions, got canonical ones of a single one; its free energy is "
                'scan[c].free_energy(). For a diagram use ensemble="semigrand" with several mu'
            )
        if T is None:
            sampled = np.unique(self.T[np.isfinite(self.T)])
            step = step or (10.0 if self.hamiltonian.unit == "eV" else np.ptp(sampled) / 40 or 1.0)
            T = np.union1d(sampled, np.arange(sampled[0], sampled[-1], step))
        table = self.free_energies(T, element)
        table["lowest_T"] = ("n", self._lowest_temperatures(table), {"units": table["T"].attrs["units"]})
        return PhaseDiagram(table, min_width)

    def _lowest_temperatures(self, table) -> np.ndarray:
        """(L,) the lowest T at which each composition was drawn at any mu, bare samples: the construction of Du et al. (2026)."""
        b = binary(self.hamiltonian, table.attrs["element"])
        n = np.rint(self._counts[..., b.index] - b.held).astype(int)
        out = np.full(b.free + 1, np.nan)
        for T in np.unique(self.T[np.isfinite(self.T)])[::-1]:
            out[np.unique(n[self.T == T])] = T
        return out

    def free_energy_at(self, T: float, x: float, element: str | None = None) -> Estimate:
        """F per site at one composition x of a binary, an Estimate; see :meth:`free_energies` for all of them at once.

        Raises BadCondition where no sample has this composition, with the chemical potential to add.

        Examples
        --------
        >>> import alloygen
        >>> from ase.build import bulk
        >>> scan = alloygen.scan(bulk("Cu", a=3.8).repeat((2, 2, 4)), T=[600], mu={"Au": [0, 0.06]}, n=200, seed=0)
        >>> round(scan.free_energy_at(600, 0.5).value, 3)
        -0.042
        """
        return at_composition(self.free_energies([T], element), T, x)

    def binned_free_energy(
        self, T: float, x: float, width: float | None = None, element: str | None = None
    ) -> Estimate:
        """F at a composition by the bins of Du et al. (arXiv:2603.14695), for comparison with :meth:`free_energy_at`.

            f_i = Phi + sum_k mu_k N_k / N,     F(x) = sum_i W_i f_i / sum_i W_i   over the samples at T with |x_i - x| < width / 2,

        W the importance weights, normalised at each condition. It is the Legendre transform of Phi and not F: it leaves out
        kT log p(x) / N, so that it depends on which mu were sampled. ``width`` is one step of the composition if not given.

        Raises BadCondition where no sample lies in the bin.
        """
        b = binary(self.hamiltonian, element)
        width, parts = 1.0 / b.free if width is None else width, []
        for c in np.flatnonzero(np.isclose(self.T, T)):
            ens = self[int(c)]
            share = (ens.counts[:, b.index].numpy() - b.held) / b.free
            inside = np.abs(share - x) < 0.5 * width
            if inside.any():
                phi, field = ens.free_energy(), ens.counts.numpy()[inside] @ ens.mu / self.hamiltonian.n_sites
                parts.append((ens.weights[inside], phi.value + field, phi.stderr))
        if not parts:
            raise BadCondition(
                f"expected samples at T = {T:g} with x within {width:.3g} of {x:g}, got none; sample more mu, or widen the bin"
            )
        w_total = sum(w.sum() for w, _, _ in parts)
        total = sum(float(w @ f) for w, f, _ in parts) / w_total
        spread = sum((w**2 * (f - total) ** 2).sum() + (w.sum() * e) ** 2 for w, f, e in parts)
        return Estimate(total, float(np.sqrt(spread)) / w_total)

    @classmethod
    def concatenate(cls, scans: Sequence[Scan]) -> Scan:
        """One scan of the conditions of several, of the same Hamiltonian, supercell, kind of samples and n."""
        scans = list(scans)
        if not scans:
            raise AlloygenError("expected at least one scan, got none")
        first = scans[0]
        for other in scans[1:]:
            if other.hamiltonian.fingerprint != first.hamiltonian.fingerprint:
                raise AlloygenError(
                    f"expected scans of one Hamiltonian, got {first.hamiltonian.expansion.name} ({first.hamiltonian.fingerprint}) and "
                    f"{other.hamiltonian.expansion.name} ({other.hamiltonian.fingerprint}); their free energies have nothing in common"
                )
            if not np.array_equal(other.hamiltonian.lattice.matrix, first.hamiltonian.lattice.matrix):
                raise LatticeMismatch(
                    f"expected scans of one supercell, got {first.hamiltonian.lattice!r} and {other.hamiltonian.lattice!r}; make a "
                    "diagram of each and compare them"
                )
            kinds = [(s.log_prob is None, s.chains, s.n) for s in (first, other)]
            if kinds[0] != kinds[1]:
                raise AlloygenError(
                    "expected scans of one kind of samples, got (without likelihood, chains, n) = "
                    + " and ".join(map(str, kinds))
                )
        join = lambda name: np.concatenate([getattr(s, name) for s in scans])  # noqa: E731
        behind = [s.hidden for s in scans if s.hidden is not None]
        return cls(first.hamiltonian, join("T"), join("mu"), join("occ"), join("energy"), first.chains, first.method,
                   None if first.log_prob is None else join("log_prob"), first.atoms_map, info=first.info,
                   hidden=cls.concatenate(behind) if behind else None)  # fmt: skip

    def _holds(self, element: str):
        """Occupations by one element, (n, N) of each condition: 1 where the site holds it."""
        lattice = self.hamiltonian.lattice
        code = lattice.element_index[lattice.sublattice] == self.hamiltonian.elements.index(element)  # (N, S)
        sites = np.arange(lattice.n_sites)
        return (code[sites, occ].astype(float) for occ in self.occ)

    @property
    def _origin(self) -> dict:
        return {k: self.info[k] for k in ("model", "order", "seed") if self.info.get(k) is not None}

    @property
    def absolute(self) -> bool:
        """Whether free energies are absolute: chains at T = infinity too, with a known number of configurations."""
        hot = any(np.isinf(part.T).any() for part in self._parts)
        return self.log_prob is None and hot and self.info.get("log_states") is not None

    def free_energy(self, c: int):
        """Phi = -kB T log Z / N at a condition, an Estimate: absolute if the run held T = infinity, else an error.

        Counted from T = infinity and from the ground level (:attr:`branches`); nan, with a note that says why, where nothing joins the
        samples to either.
        """
        if self.log_prob is not None:
            return self[c].free_energy()
        if not self.absolute:
            raise AlloygenError(
                "expected a run that reaches T = infinity, where log Z is known, got finite temperatures only: MBAR then gives "
                'differences (scan.mbar). Use alloygen.mc(..., method="replica exchange"), or give replica_exchange a ladder.'
            )
        return self._phi[c]

    def free_energy_covariance(self) -> np.ndarray:
        """Covariance of the errors of :meth:`free_energy` over the conditions, (C, C) in squared energy per site.

            cov(Phi_c, Phi_d) = cov(log Z_c, log Z_d) / (beta_c beta_d N^2)

        One run gives all of them: a replica that lingers where it should not moves Phi at all the conditions that it visits, so that the
        errors of one run mostly share one sign, and none of a difference, a slope or a fit over conditions follows from the
        error bars alone. The formula is MBAR's (Shirts and Chodera, J. Chem. Phys. 129, 124105 (2008), eq. 8), its terms summed over
        the conditions at each time. Samples with a likelihood are independent from one condition to the next: the matrix is diagonal.
        Rows of T = infinity are zero.

        Raises as :meth:`free_energy` and :attr:`mbar` do.

        Examples
        --------
        >>> from alloygen.hamiltonian.ising import ising
        >>> from alloygen.montecarlo.sampling import replica_exchange
        >>> scan = replica_exchange(ising(4), [2.0, 2.2], n=1000, ladder=[3.0, 5.0, float("inf")], seed=0, check=False)
        >>> cov = scan.free_energy_covariance()
        >>> bool(cov[0, 1] > 0.8 * (cov[0, 0] * cov[1, 1]) ** 0.5)
        True
        """
        if self.log_prob is not None:
            return np.diag([self.free_energy(c).stderr ** 2 for c in range(len(self))])
        self.free_energy(0)
        if self._apart:
            raise AlloygenError(
                "expected conditions that samples join, got parts between which nothing passed, each counted from its own reference: the errors "
                "of different parts have nothing in common. Draw more, so that replicas pass, or add temperatures between"
            )
        with np.errstate(divide="ignore"):
            beta = 1.0 / (self.hamiltonian.kB * self.T)
        log_z = self.mbar.log_z_covariance(beta, beta[:, None] * self.mu)
        scale = np.divide(1.0, beta * self.hamiltonian.n_sites, out=np.zeros(len(beta)), where=beta > 0)
        return log_z * np.outer(scale, scale)

    # ------------------------------------------------------------------ tables
    def to_xarray(self):
        """Averages with errors by condition, an ``xarray.Dataset`` with units and conventions in its attributes."""
        import xarray as xr

        h, ensembles = self.hamiltonian, [self[c] for c in range(len(self))]
        columns: dict[str, list] = {}
        put: dict[str, Callable[[Ensemble], Estimate]] = {"energy": Ensemble.mean_energy}
        more = {f"x_{e}": (e, "exchangeable") for e in h.elements} | _more_compositions(h.lattice)
        put |= {name: partial(Ensemble.composition, element=e, per=per) for name, (e, per) in more.items()}
        put["heat_capacity"] = Ensemble.heat_capacity
        put |= {f"susceptibility_{e}": partial(Ensemble.susceptibility, element=e) for e in exchangeable(h.lattice)[1:]}
        put |= {name: partial(Ensemble.mean, values=name) for name in self.observed}
        if self.log_prob is not None or self.absolute:
            put |= {"phi": Ensemble.free_energy, "entropy": _entropy}
        with warnings.catch_warnings():  # one warning for all, below
            warnings.simplefilter("ignore", LowSampleSize)
            rows = [{name: estimate(e) for name, estimate in put.items()} for e in ensembles]
            for name in put:
                columns[name] = [row[name].value for row in rows]
                columns[f"{name}_stderr"] = [row[name].stderr for row in rows]
            if self.log_prob is not None:
                columns["ness"] = [e.ness for e in ensembles]
                columns["k_hat"] = [e.k_hat for e in ensembles]
        columns["effective_samples"] = [e.effective_samples for e in ensembles]
        low = np.array(columns["effective_samples"]) < MIN_ESS
        heavy = np.array(columns.get("k_hat", [-np.inf])) > MAX_K
        if low.any() or heavy.any():
            tails = f", {int(heavy.sum())} on weights with a tail of k-hat above {MAX_K} (column k_hat; phi is then not known)"
            warnings.warn(
                f"{int(low.sum())} of {len(self)} conditions rest on fewer than {MIN_ESS:.0f} effective samples (column effective_samples)"
                f"{tails if heavy.any() else ''}: their values and error bars are unreliable. Draw more samples there",
                LowSampleSize,
                stacklevel=user_level(),
            )
        if self.chains:
            columns["rhat"] = [c.rhat for c in self.convergence]
            columns["converged"] = [c.converged for c in self.convergence]
        columns |= {k: v for k, v in self.facts.items() if np.ndim(v) == 1 and k not in columns}
        coords = {"T": ("condition", self.T)}
        coords |= {f"mu_{e}": ("condition", self.mu[:, k]) for k, e in enumerate(h.elements)}
        attributes = {
            "method": self.method, "n": self.n, "chains": self.chains, "n_sites": h.n_sites, "unit": h.unit, "kB": h.kB,
            "fingerprint": h.fingerprint, "hamiltonian": h.expansion.name,
            "energy_reference": _energy_reference(h), "convention": "energies and phi per site; mu in energy per atom, 0 for elements that were not named; phi belongs to it",
            "mu_reference": " ".join(h.elements[k] for k in references(h.lattice)), **self._origin,
        }  # fmt: skip
        per_T, per_mu = f"{h.unit}/K" if h.unit == "eV" else "kB", f"1/{h.unit}"
        units = {"energy": h.unit, "phi": h.unit, "heat_capacity": per_T, "entropy": per_T}
        unit = lambda k: units.get(k.removesuffix("_stderr"), per_mu if k.startswith("susceptibility") else "1")  # noqa: E731
        long = {f"x_{e}": f"fraction of the exchangeable sites that hold {e}" for e in h.elements}
        for name, (element, per) in _more_compositions(h.lattice).items():
            of = "atoms that are" if per == "atoms" else f"sites of sublattice {per} that hold"
            long[name] = f"fraction of the {of} {element}"
        named = lambda k: {"long_name": long[k]} if k in long else {}  # noqa: E731
        data = {k: ("condition", np.asarray(v), {"units": unit(k), **named(k)}) for k, v in columns.items()}
        return xr.Dataset(data, coords, attributes)

    def to_pandas(self):
        """The same as a ``pandas.DataFrame``, one row per condition."""
        return self.to_xarray().to_dataframe().reset_index(drop=True)

    def write(self, path: PathLike) -> Path:
        """Write the table as netCDF (.nc) or CSV (.csv), whole or not at all; returns the path."""
        path = Path(path)
        require_table(path)
        with atomic_path(path) as part:
            if path.suffix == ".csv":
                self.to_pandas().to_csv(part, index=False)
            else:
                self.to_xarray().to_netcdf(part)
        return path

    def __repr__(self) -> str:
        span = lambda x: f"{x.min():g}" + (f" to {x.max():g}" if x.min() != x.max() else "")  # noqa: E731
        mu = ", ".join(f"mu_{e} {span(m)}" for e, m in zip(self.hamiltonian.elements, self.mu.T, strict=True))
        return f"Scan({self.method!r}, {len(self)} conditions, T {span(self.T)}, {mu}, n={self.n}, {self.hamiltonian.lattice!r})"


def require_table(path: PathLike) -> None:
    """Find out before any work whether :meth:`Scan.write` can write at ``path``: suffix and permission."""
    if Path(path).suffix not in (".nc", ".csv"):
        raise AlloygenError(f"expected a path that ends in .nc or .csv, got {str(path)!r}")
    require_writable(path)
