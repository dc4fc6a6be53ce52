"""Ensemble: configurations at one condition, with what is known of their likelihood, and the averages over them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, cast
from zlib import crc32

import numpy as np
import torch

from alloygen.arguments import one_of, whole_number
from alloygen.conditions import Field, Mu, exchangeable
from alloygen.edge.prototypes import is_vacancy
from alloygen.edge.structures import info_key, write_structures
from alloygen.errors import AlloygenError, BadCondition, UnknownSpecies
from alloygen.estimate import chains as markov
from alloygen.estimate import correlation, order, thermo, weights
from alloygen.estimate.chains import inefficiency
from alloygen.estimate.free_energy import free_energy
from alloygen.estimate.joined import Joined
from alloygen.estimate.ladder import Ladder
from alloygen.estimate.mixture import NoOverlap
from alloygen.estimate.result import Estimate
from alloygen.estimate.superstructure import SUPERSTRUCTURES
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.models.blocks import derived_seed
from alloygen.types import ArrayLike, PathLike

if TYPE_CHECKING:
    from alloygen.edge.atoms_map import AtomsMap

ENOUGH = 25.0  # effective samples that say which phase they are in


@dataclass(frozen=True, eq=False, repr=False)
class Ensemble:
    """Configurations drawn at one temperature and one set of chemical potentials.

    Parameters
    ----------
    hamiltonian : Hamiltonian of the supercell (N sites)
    occ : (n, N) int64 species indices
    energy : (n,) float64 energies of the cell, without the field term, in the Hamiltonian's unit
    log_prob : (n,) float64 exact log q(x) of each draw; None for samples that follow the target law and carry no
        likelihood (Monte Carlo)
    T : temperature (kelvin for alloys)
    mu : (n_elements,) chemical potentials, in the order of ``hamiltonian.elements``
    method : how the samples were made ("neural", "mc", ...)
    atoms_map : object with ``to_atoms(occ_row) -> ase.Atoms``; None where no structures are needed
    info : extra facts. Used here: ``inefficiency`` (statistical inefficiency of correlated samples, scales their
        error bars by its square root) and ``free_energy`` (an Estimate found by other means, such as MBAR, for
        samples without a likelihood, or a function that returns one)
    chains : number of Markov chains that the samples are, one after another and each in time order; their
        autocorrelation then sets each error bar. 0 for independent samples
    observed : name -> (n,) values that observers returned while sampling
    log_w : (n,) log-weights known up to a constant, for samples of a biased law (a multicanonical walk); None else
    ladder : function that gives the :class:`alloygen.estimate.ladder.Ladder` of this condition, for samples of replica exchange:
        averages then rest on the samples of all its conditions; or None where these cannot be joined
    drawn : what the samples and what is known of them (their equal weights, ``info``) belong to; filled in by itself

    Weights, free energies and error bars belong to the samples, energies and condition that they were found for:
    ``dataclasses.replace`` refuses other ones. Take :meth:`reweighted` for other energies, T or mu, :meth:`subset` for some samples.
    With a likelihood all averages are importance weighted, w = exp(-beta [E - mu.N]) / q, hence exact for any q that
    covers the target; without one all samples weigh the same. The arrays are not copied: do not change them.

    With a ladder the averages of energy, composition, fluctuations, entropy, long-range order and observers are those of MBAR over
    the samples of all conditions, weighted for this one, and not the plain means of ``energy`` and ``occ``: what this chain
    met once, or never, others have met. Other averages are those of this chain; where its energy or composition miss the
    ladder's by more than two of their standard errors, all its error bars are wider by half of that ratio.

    Examples
    --------
    >>> from alloygen.hamiltonian.ising import ising
    >>> from alloygen.exact.enumeration import Enumeration
    >>> h = ising(3, h=0.3)
    >>> table = Enumeration(h)
    >>> p = torch.from_numpy(table.at(2.5).probabilities)
    >>> rows = torch.multinomial(p, 500, replacement=True, generator=torch.Generator().manual_seed(0))
    >>> ens = Ensemble(h, table.occ[rows], h.energy(table.occ[rows]), p[rows].log(), T=2.5, method="exact")
    >>> ens
    Ensemble('exact', n=500, T=2.5, mu={'-': 0, '+': 0}, NESS=1.000)
    >>> abs(ens.free_energy().value - table.at(2.5).phi) < 1e-12
    True
    """

    hamiltonian: Hamiltonian
    occ: torch.Tensor
    energy: torch.Tensor
    log_prob: torch.Tensor | None
    T: float
    mu: np.ndarray = None  # type: ignore[assignment]  # zero where it is not given
    method: str = "unknown"
    atoms_map: AtomsMap | None = None
    info: dict = field(default_factory=dict)
    chains: int = 0
    observed: dict = field(default_factory=dict)
    log_w: torch.Tensor | None = None
    ladder: Callable[[], Ladder | None] | None = None
    drawn: dict | None = None

    def __post_init__(self):
        put = lambda name, value: object.__setattr__(self, name, value)  # noqa: E731
        occ = self.hamiltonian.check(self.occ).cpu()
        put("occ", occ)
        for name in ("energy", "log_prob", "log_w"):
            value = getattr(self, name)
            if value is None and name != "energy":
                continue
            value = torch.as_tensor(value).detach().cpu().to(torch.float64)
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
        put("mu", mu)
        put("T", float(self.T))
        law = {"hamiltonian": self.hamiltonian, "occ": occ}
        if self.log_prob is None:  # else the weights follow from the energies, T and mu, whatever these are
            law |= {"energy": self.energy, "T": self.T, "mu": mu}
        put(
            "drawn", require_drawn(self.drawn, law, "ensemble", "ens.reweighted(energy=, T=, mu=) or ens.subset(index)")
        )

    # ------------------------------------------------------------------ facts
    def __len__(self) -> int:
        return len(self.occ)

    @property
    def n_sites(self) -> int:
        return self.hamiltonian.n_sites

    @property
    def elements(self) -> tuple[str, ...]:
        return self.hamiltonian.elements

    @property
    def kT(self) -> float:
        """kB T in the Hamiltonian's energy unit."""
        return self.hamiltonian.kB * self.T

    @property
    def has_likelihood(self) -> bool:
        """True when every sample carries its exact log q(x)."""
        return self.log_prob is not None

    @cached_property
    def counts(self) -> torch.Tensor:
        """Atoms of each element in each sample, float64 (n, n_elements), fixed sites included."""
        return self.hamiltonian.counts(self.occ)

    @property
    def _field_energy(self) -> torch.Tensor:
        """E - mu.N of the cell, float64 (n,)."""
        return self.energy - self.counts @ torch.from_numpy(self.mu)

    @cached_property
    def _free(self) -> np.ndarray:
        """Exchangeable sites, with more than one allowed species, bool (N,)."""
        lattice = self.hamiltonian.lattice
        free = lattice.n_species > 1
        if not free.any():
            raise AlloygenError(f"expected sites with more than one species, got none in {lattice!r}")
        return free

    def _exchanged(self) -> tuple[str, ...]:
        """The elements that exchangeable sites may hold, in the order of ``elements``."""
        return exchangeable(self.hamiltonian.lattice)

    def _holds(self, element: str) -> torch.Tensor:
        """Whether each site holds ``element``, bool (n, N)."""
        if element not in self.elements:
            raise UnknownSpecies(f"expected one of the elements {self.elements}, got {element!r}")
        lattice = self.hamiltonian.lattice
        code = torch.from_numpy(lattice.element_index[lattice.sublattice]) == self.elements.index(element)
        return torch.gather(code[None].expand(len(self), -1, -1), 2, self.occ[..., None])[..., 0]

    def _held_by(self, element: str) -> np.ndarray:
        """Whether each species of each site is ``element``, float64 (N, S)."""
        if element not in self.elements:
            raise UnknownSpecies(f"expected one of the elements {self.elements}, got {element!r}")
        lattice = self.hamiltonian.lattice
        return (lattice.element_index == self.elements.index(element))[lattice.sublattice].astype(float)

    def _fraction(self, element: str) -> np.ndarray:
        """Share of the exchangeable sites that hold ``element`` in each sample, (n,)."""
        return self._holds(element)[:, self._free].double().mean(1).numpy()

    @property
    def inefficiency(self) -> float:
        """Statistical inefficiency g of samples without a likelihood, else 1: n / g of them are independent.

        That of E - mu.N along the chains, or ``info["inefficiency"]`` where the samples are not chains in time order.
        """
        if self.has_likelihood:
            return 1.0
        if self.chains:
            return self._chain_inefficiency
        return float(self.info.get("inefficiency", 1.0))

    @cached_property
    def _chain_inefficiency(self) -> float:
        return inefficiency(self._by_chain(self._field_energy.numpy()))

    def _inefficiency_of(self, values) -> float:
        """That of the values' influence on their weighted mean, along the chains."""
        if not self.chains or self.has_likelihood:
            return self.inefficiency
        values = np.asarray(values, dtype=np.float64)
        known = markov.memory(self._by_chain(self.weights * (values - (self.weights * values).sum())), self._lag)
        return known.inefficiency * (markov.widening(known.freedom) * self._strays) ** 2

    @cached_property
    def _lag(self) -> int:
        """The longest memory of the energy and the counts of atoms: what is slow may hide behind fast noise in other averages."""
        return max(markov.memory(self._by_chain(v)).window for v in (self.energy.numpy(), *self.counts.numpy().T))

    def _by_chain(self, values) -> np.ndarray:
        return np.asarray(values, dtype=np.float64).reshape(self.chains, -1)

    # ------------------------------------------------------------------ weights
    @cached_property
    def log_weight(self) -> torch.Tensor:
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
        return -self._field_energy / self.kT - self.log_prob

    @property
    def _log_w(self) -> np.ndarray | None:
        return self.log_weight.numpy() if self.has_likelihood or self.log_w is not None else None

    @property
    def weights(self) -> np.ndarray:
        """Normalised weights (n,), summing to one; equal for samples without a likelihood."""
        return weights.normalized_weights(np.zeros(len(self)) if self._log_w is None else self._log_w)

    @property
    def ness(self) -> float:
        """Normalised effective sample size (sum w)^2 / (n sum w^2). It cannot see modes that q never draws."""
        return weights.ness(self.log_weight.numpy())

    @property
    def k_hat(self) -> float:
        """Shape of the upper tail of the weights (Pareto k-hat, Vehtari et al. 2024): -inf where there is none, as for equal weights.

        Below 0.5 error bars are as good as they get; above 0.7 few rare draws decide and the free energy is not known.
        """
        return -np.inf if self._log_w is None else weights.k_hat(self._log_w)

    @property
    def effective_samples(self) -> float:
        """Independent samples that averages rest on: (sum w)^2 / sum w^2, or n / inefficiency without a likelihood."""
        if self._ladder is not None:
            return self._ladder.effective_samples
        return self._own_effective_samples

    @property
    def _own_effective_samples(self) -> float:
        return (len(self) if self._log_w is None else weights.ess(self._log_w)) / self.inefficiency

    # ------------------------------------------------------------------ the ladder
    @cached_property
    def _ladder(self) -> Ladder | None:
        return None if self.ladder is None else self.ladder()

    @cached_property
    def _strays(self) -> float:
        """How much wider bars of this chain alone must be: half of the largest miss of its energy and composition, at least 1.

        The miss is that of the series' mean against the ladder's, in standard errors of the series.
        """
        known = self._ladder
        if known is None:
            return 1.0
        return max(1.0, 0.5 * max(miss for miss, _, _ in self._misses(known)))

    def _misses(self, known: Ladder, whole: bool = False) -> list[tuple[float, Estimate, Estimate]]:
        """(miss, mean of this chain, mean of the ladder) per site of the energy and of each count of atoms that varies.

        ``whole``: in the errors that the chain would have if it had met all that the ladder knows.
        """
        n, out = self.n_sites, []
        series = [(self.energy.numpy(), known.samples.energy, self._energy_quantum)]
        series += [(c, k, 1.0) for c, k in zip(self.counts.numpy().T, known.samples.counts.T, strict=True)]
        for own, values, quantum in series:
            if np.ptp(values) <= 1e-9:
                continue
            there = known.mean(values / n, quantum / n)
            x = self._by_chain(own / n)
            here = Estimate(x.mean(), np.hypot(markov.standard_error(x), quantum / n * inefficiency(x) / x.size))
            here = known.own(values / n, there.value, quantum / n) if whole else here
            out.append((abs(here.value - there.value) / here.stderr if here.stderr > 0 else 0.0, here, there))
        return out or [(0.0, Estimate(0.0, 0.0), Estimate(0.0, 0.0))]

    @cached_property
    def _companion(self) -> Joined | None:
        """These samples and hot chains beside them, where independent samples lie deep in one phase.

        Rare states carry their fluctuations there, which n samples do not show; see :mod:`alloygen.montecarlo.companion`. None
        elsewhere, without a likelihood, for weights with a heavy tail, and for energies that are not the Hamiltonian's.
        """
        from alloygen.montecarlo.companion import companion

        h, fixed = self.hamiltonian, self.info.get("fixed")
        if not self.has_likelihood or not np.isfinite(self.T) or self._own_effective_samples < ENOUGH:
            return None
        if self.k_hat > weights.MAX_K or (fixed is not None and np.asarray(fixed)[self._free].all()):
            return None
        if not torch.allclose(h.energy(self.occ), self.energy, rtol=0.0, atol=1e-6):
            return None
        # conditions of one scan have one seed, and samples made by hand have none: chains of their own for each
        words = [*np.append(self.T, self.mu).view(np.uint64).tolist(), crc32(self.occ.numpy().tobytes())]
        seed = derived_seed(int(self.info.get("seed") or 0), *words)
        hot = companion(h, self.occ, self.weights, self.T, self.mu, seed, fixed)
        if hot is None:
            return None
        counts = h.counts(torch.from_numpy(hot.occ).long()).numpy()
        beta = 1.0 / (h.kB * np.append(self.T, hot.T))
        try:
            return Joined(
                np.column_stack([beta, -beta[:, None] * self.mu]),
                np.column_stack([self.energy.numpy(), self.counts.numpy()]),
                self.weights,
                np.split(np.column_stack([hot.energy, counts]), len(hot.T)),
                hot.copies,
                np.concatenate([self.occ.numpy().astype(np.int8), hot.occ]),
            )
        except NoOverlap:
            return None

    @property
    def _wider(self) -> Ladder | Joined | None:
        """More samples than these that know this condition: those of a ladder, or of hot chains beside independent samples."""
        return self._companion if self._ladder is None else self._ladder

    def _average(self, name, function: Callable[[np.ndarray], np.ndarray], quantum: float = 0.0) -> Estimate:
        """Mean of a function of occupations (m, N) -> (m,), over the ladder or the hot chains where there are any."""
        known = self._wider
        if known is None:
            return self.mean(function(self.occ.numpy()), quantum)
        return known.mean(known.samples.values(name, function), quantum)

    # ------------------------------------------------------------------ estimates
    def free_energy(self) -> Estimate:
        """Phi = -kB T log Z / N per site, by importance weights; without a likelihood, ``info["free_energy"]``.

        Raises :class:`AlloygenError` when there is neither.
        """
        if not self.has_likelihood and "free_energy" in self.info:
            known = self.info["free_energy"]
            return known() if callable(known) else known
        if not self.has_likelihood and self.log_w is not None:
            raise AlloygenError(
                f"expected weights with their constant, got those of {self.method!r}, known up to a factor"
            )
        return free_energy(self.log_weight.numpy(), self.kT, self.n_sites)

    def mean(self, values: ArrayLike | str, quantum: float = 0.0) -> Estimate:
        """Average over the target law of ``values`` (n,), one number per sample, in their unit, or of an observer, by its name.

        For Markov chains the error bar comes from the autocorrelation of these values; ``quantum`` is their smallest
        step, which gives an error bar to samples that hardly differ (see :func:`alloygen.estimate.thermo.mean`).
        """
        if isinstance(values, str):
            if values not in self.observed:
                raise AlloygenError(f"expected one of the observers {sorted(self.observed)}, got {values!r}")
            if self._ladder is not None:
                return self._ladder.mean(self._ladder.observed[values], quantum)
            values = self.observed[values]
        if self.chains and self._log_w is None:
            own = markov.mean(self._by_chain(values), quantum, lag=self._lag)
            return self._told(Estimate(own.value, own.stderr * self._strays, own.note))
        return thermo.mean(values, self._log_w, self._inefficiency_of(values), quantum)

    def _told(self, estimate: Estimate, series: np.ndarray | None = None) -> Estimate:
        """The same, without an error bar where the chains hardly moved (``info["stuck"]``), or the ``series`` between lasting states."""
        if self._log_w is not None:
            return estimate
        stuck = self.info.get("stuck", "")
        if not stuck and series is not None and self.chains:
            stuck = markov.seldom(self._by_chain(series))
        return Estimate(estimate.value, np.nan, stuck) if stuck else estimate

    @cached_property
    def _energy_quantum(self) -> float:
        """The smallest change of the energy by a substitution in the likeliest sample, for what no sample shows deep in a phase.

        A rare excitation of chance below 1/n may be missing, or come with a tiny weight: no spread of the samples tells. For
        chains it is only looked up where nothing changed; their own error bar counts visits.
        """
        if self.chains and np.ptp(self.energy.numpy()) > 1e-9:
            return 0.0
        return self.hamiltonian.smallest_change(self.occ[int(self.weights.argmax())])

    @cached_property
    def _step(self) -> float:
        """The smallest change of the energy by a substitution in the likeliest sample of this chain: the quantum of averages."""
        return self.hamiltonian.smallest_change(self.occ[int(self._field_energy.argmin())])

    def mean_energy(self) -> Estimate:
        """<E> / N per site, without the field term."""
        if (known := self._wider) is not None:
            return known.mean(known.samples.energy / self.n_sites, self._step / self.n_sites)
        return self.mean(self.energy.numpy() / self.n_sites, self._energy_quantum / self.n_sites)

    def composition(self, element: str, per: str | int = "exchangeable") -> Estimate:
        """Fraction of sites or of atoms that are ``element``.

        per : what counts below, and above as far as ``element`` is there:

            * "exchangeable": the sites with more than one allowed species, whichever these are, held ones among them. With
              several sublattices all of them count: In on every cation of (Ga, In)(As, Sb) is 0.5. The x of tables and diagrams.
            * "atoms": all atoms, those of fixed sublattices too, vacancies not: the mole fraction <N_element> / <N_atoms>
            * a number: the sites of this sublattice, in the order of ``hamiltonian.lattice.species``: In on every cation is 1.0

        Raises UnknownSpecies for an element that is not there, or not on that sublattice; AlloygenError for another ``per``.

        Examples
        --------
        >>> from alloygen.hamiltonian.ising import ising
        >>> from alloygen.montecarlo.sampling import metropolis
        >>> ens = metropolis(ising(4, h=0.1), [3.0], n=1000, seed=0)[0]
        >>> ens.composition("+") == ens.composition("+", per=0)      # one sublattice, and all of it is exchangeable
        True
        """
        lattice = self.hamiltonian.lattice
        held = self._held_by(element)
        if isinstance(per, str) and per == "atoms":
            return self._mole_fraction(element)
        if isinstance(per, str):
            one_of(per, "per", ("exchangeable", "atoms", *range(lattice.n_sublattices)))
            sites = self._free
        else:
            b = whole_number(per, "per (a sublattice)", 0, lattice.n_sublattices - 1)
            if element not in lattice.species[b]:
                raise UnknownSpecies(f"expected an element of sublattice {b}, {lattice.species[b]}, got {element!r}")
            sites = lattice.sublattice == b
        share = lambda occ: held[np.flatnonzero(sites), occ[:, sites]].mean(1)  # noqa: E731
        return self._average(("composition", element, per), share, quantum=1.0 / int(sites.sum()))

    def _mole_fraction(self, element: str) -> Estimate:
        """<N_element> / <N_atoms>, its error from the influence of a sample on both."""
        empty = [is_vacancy(e) for e in self.elements]
        if is_vacancy(element):
            raise UnknownSpecies(
                f"expected an atom, got the vacancy {element!r}: it is no part of the atoms; ask per='exchangeable'"
            )
        known = self._wider
        counts, w = (self.counts.numpy(), self.weights) if known is None else (known.samples.counts, known.weights)
        n, atoms = counts[:, self.elements.index(element)], counts[:, ~np.array(empty)].sum(1)
        total = float((w * atoms).sum())
        if not total > 0:
            return Estimate(np.nan, np.nan, "there are no atoms")
        ratio = float((w * n).sum()) / total
        moved = (self if known is None else known).mean((n - ratio * atoms) / total, quantum=1.0 / total)
        return Estimate(ratio, moved.stderr, moved.note)

    def heat_capacity(self) -> Estimate:
        """(<E^2> - <E>^2) / (kB T^2 N), E without the field term: energy per temperature and site."""
        h = self.hamiltonian
        if (known := self._wider) is not None and np.isfinite(self.T):
            return known.fluctuation(known.samples.energy, h.kB / self.kT**2 / self.n_sites, self._step)
        return self._told(
            thermo.heat_capacity(
                self.energy.numpy(),
                self.kT,
                h.kB,
                self.n_sites,
                self._log_w,
                self._inefficiency_of,
                self._energy_quantum,
            ),
            self.energy.numpy(),
        )

    def susceptibility(self, element: str) -> Estimate:
        """(<N_a^2> - <N_a>^2) / (kB T N'), per energy: d x_a / d mu_a at fixed T and other mu.

        N' counts the exchangeable sites and x_a is :meth:`composition`; see :func:`alloygen.estimate.thermo.susceptibility`.
        """
        if (known := self._wider) is not None and element in self.elements and np.isfinite(self.T):
            n = known.samples.counts[:, self.elements.index(element)]
            return known.fluctuation(n, 1.0 / self.kT / int(self._free.sum()), 1.0)
        counts = self._holds(element)[:, self._free].double().sum(1).numpy()
        return self._told(
            thermo.susceptibility(counts, self.kT, int(self._free.sum()), self._log_w, self._inefficiency_of), counts
        )

    def entropy(self) -> Estimate:
        """S = (<E> - mu.<N> - Phi N) / (T N) per site, in energy per temperature.

        With a likelihood both terms come from the same weights, and the error counts that (see
        :func:`alloygen.estimate.thermo.entropy`). Without one Phi is ``info["free_energy"]`` and the errors of the two terms
        are added in quadrature: that they may rest on the same samples is neglected. At T = infinity such samples have
        kB ``info["log_states"]`` / N where that is known. Raises :class:`AlloygenError` as :meth:`free_energy` does.

        Examples
        --------
        >>> from alloygen.hamiltonian.ising import ising
        >>> from alloygen.montecarlo.sampling import replica_exchange
        >>> scan = replica_exchange(ising(4), [3.0, 6.0, float("inf")], n=2000, seed=0, check=False)
        >>> [round(ens.entropy().value, 1) for ens in scan]
        [0.5, 0.7, 0.7]
        """
        kB, u = self.hamiltonian.kB, self._field_energy.numpy()
        if self._companion is not None:
            return self._joined_entropy(self._companion)
        if self.has_likelihood:
            return thermo.entropy(u, self.log_weight.numpy(), self.kT, kB, self.n_sites, self._energy_quantum)
        if np.isinf(self.T) and self.info.get("log_states") is not None:
            return Estimate(kB * self.info["log_states"] / self.n_sites, 0.0)
        phi, known = self.free_energy(), self._ladder
        if known is not None:
            values = known.samples.energy - (known.samples.counts * self.mu).sum(1)
            if abs(known.mbar.log_z(known.beta, known.beta_mu).value * self.kT / self.n_sites + phi.value) < 1e-12:
                return known.entropy(values, kB, self.n_sites, self._step)
            mean = known.mean(values / self.n_sites, self._step / self.n_sites)
        else:
            mean = self.mean(u / self.n_sites, self._energy_quantum / self.n_sites)
        return Estimate(
            (mean.value - phi.value) / self.T, np.hypot(mean.stderr, phi.stderr) / self.T, mean.note or phi.note
        )

    def _joined_entropy(self, joined: Joined) -> Estimate:
        """kB/N (<u>/kT + log Zhat), <u> with the hot chains and Zhat by these samples alone; errors as in ``thermo.entropy``."""
        scale, log_z = self.hamiltonian.kB / self.n_sites, weights.log_mean(self.log_weight.numpy())
        values = joined.samples.energy - (joined.samples.counts * self.mu).sum(1)
        part = joined.mean(scale * values / self.kT, more=scale * (self.weights - 1.0 / len(self)))
        # what one sample more may change: the hot chains say how much weight is on what no sample shows
        missing = np.sqrt(max(log_z.missing**2 - 1.0 / len(self) ** 2, 0.0) + joined.unseen**2)
        error = np.nan if np.isnan(log_z.stderr) else np.hypot(part.stderr, scale * missing)
        return Estimate(part.value + scale * log_z.value, error, log_z.note)

    # ------------------------------------------------------------------ order
    @property
    def _length(self) -> float:
        """Length in the caller's Atoms for one of the Hamiltonian's lattice; 1 where there are no Atoms."""
        return float(getattr(self.atoms_map, "scale", 1.0))

    def two_point(self, distance: str = "shell", element: str | None = None) -> tuple[np.ndarray, list[Estimate]]:
        """Connected two-point function of spins against distance: ``(distances (K,), [Estimate, ...])``, from distance 0 on.

        C(r) of :func:`alloygen.estimate.correlation.connected` for s = +1 where an exchangeable site holds ``element`` and -1
        elsewhere. ``element`` may be left out for a binary (the last of the two). ``distance`` is "shell" (of the nearest
        image, in the caller's angstrom) or "manhattan" (steps along the primitive vectors, as on the square
        lattice of the Ising model). For Markov chains the error at each distance has its own autocorrelation.

        Raises :class:`AlloygenError` for another distance, for alloys of more elements without ``element``, and for the
        Manhattan distance on skewed supercells or cells of several sites.

        Examples
        --------
        >>> from alloygen.hamiltonian.ising import ising
        >>> from alloygen.montecarlo.sampling import metropolis
        >>> ens = metropolis(ising(4), [3.0], n=4000, seed=0)[0]
        >>> distances, c = ens.two_point("manhattan")
        >>> distances.tolist(), c[0].value > c[1].value > c[2].value
        ([0, 1, 2, 3, 4], True)
        """
        lattice, free, held = self.hamiltonian.lattice, self._free, self._exchanged()
        if element is None and len(held) != 2:
            raise AlloygenError(f"expected element=, one of {held}, which is to be +1: these are more than two")
        if distance == "manhattan":
            labels = correlation.manhattan_labels(lattice)
            distances = np.arange(labels.max() + 1)
        elif distance == "shell":
            labels, distances = correlation.shell_labels(lattice)
        else:
            raise AlloygenError(f"expected the distance 'shell' or 'manhattan', got {distance!r}")
        present, labels = np.unique(labels[np.ix_(free, free)], return_inverse=True)
        labels = labels.reshape(int(free.sum()), -1)
        spins = 2.0 * self._holds(held[-1] if element is None else element)[:, free].double().numpy() - 1.0
        length = self._length if distance == "shell" else 1
        return distances[present] * length, correlation.connected(
            spins, labels, self._log_w, self._inefficiency_of, 4.0 / len(labels)
        )

    def warren_cowley(self, n_shells: int = 6, pair: tuple[str, str] | None = None) -> dict:
        """Warren-Cowley short-range order, {(a, b): (distances (n_shells,), [Estimate, ...])} of every pair of elements.

        alpha_ab(k) of :func:`alloygen.estimate.order.warren_cowley` over the exchangeable sites; see there what the
        fluctuating concentration and images of a site itself do in small cells. Distances are in the
        caller's angstrom. Unlike pairs (a before b) if ``pair`` is not given; like ones may be asked for, such as ("Au", "Au").

        Raises :class:`AlloygenError` where exchangeable sublattices hold different sets of elements.

        Examples
        --------
        >>> import alloygen.data
        >>> from alloygen.montecarlo.sampling import metropolis
        >>> ens = metropolis(alloygen.data.cuau().on((4, 4, 4)), [1500.0], n=500, seed=0)[0]
        >>> distances, alpha = ens.warren_cowley(2)["Cu", "Au"]
        >>> distances.round(3).tolist(), alpha[0].value < 0 < alpha[1].value
        ([2.687, 3.8], True)
        """
        lattice, free, held = self.hamiltonian.lattice, self._free, self._exchanged()
        kinds = {frozenset(names) for names in lattice.species if len(names) > 1}
        if len(kinds) > 1:
            raise AlloygenError(
                f"expected exchangeable sublattices of one set of elements, got {[sorted(k) for k in kinds]}: the concentrations "
                "differ between them. Use alloygen.estimate.order.pair_multiplicity(lattice, n, sublattices) and warren_cowley"
            )
        if pair is not None and (len(pair) != 2 or set(pair) - set(held)):
            raise UnknownSpecies(f"expected a pair of the elements {held}, got {pair!r}")
        wanted = [tuple(pair)] if pair is not None else list(combinations(held, 2))
        sublattices = [b for b, names in enumerate(lattice.species) if len(names) > 1]
        distances, shells = order.pair_multiplicity(lattice, n_shells, sublattices)
        distances = distances * self._length
        occupied = {e: self._holds(e)[:, free].double().numpy() for e in {e for p in wanted for e in p}}
        return {
            (a, b): (
                distances,
                order.warren_cowley(occupied[a], occupied[b], shells, self._log_w, self._inefficiency_of),
            )
            for a, b in wanted
        }

    def order_values(self, which: str | ArrayLike, element: str | None = None) -> np.ndarray:
        """Long-range order of each sample, float64 (n,): see :func:`alloygen.estimate.order.long_range_order`.

        ``which`` is a structure, "L1_2", "L1_0", "L1_1" or "D0_22" on fcc, "B2", "B32" or "D0_3" on bcc, "D0_19" or "B19" on hcp (1 in
        the perfect structure), or an order vector (h, k, l) of the conventional cell (plain amplitude). ``element`` is the last
        exchangeable one if not given; the exchangeable sites that may hold it count.
        """
        element, sites = self._ordered(element)
        return order.long_range_order(self._holds(element).double().numpy(), self.hamiltonian.lattice, which, sites)

    def order_parameter(self, which: str | ArrayLike, element: str | None = None) -> Estimate:
        """Mean of :meth:`order_values`: long-range order such as "L1_2" or "B2", or the amplitude of an order vector.

        Examples
        --------
        >>> import alloygen.data
        >>> from alloygen.montecarlo.sampling import metropolis
        >>> ens = metropolis(alloygen.data.cuau().on((2, 2, 2)), [1500.0], n=500, seed=0)[0]
        >>> 0.2 < ens.order_parameter("L1_2").value < 0.5
        True
        """
        element, sites = self._ordered(element)
        held, lattice = self._held_by(element), self.hamiltonian.lattice
        every = np.arange(self.n_sites)
        order_of = lambda occ: order.long_range_order(held[every, occ], lattice, which, sites)  # noqa: E731
        step = SUPERSTRUCTURES[which].scale if isinstance(which, str) else 1.0
        name = which if isinstance(which, str) else tuple(np.ravel(which))
        return self._average(("order", name, element), order_of, quantum=step / int(sites.sum()))

    def _ordered(self, element: str | None) -> tuple[str, np.ndarray]:
        """The element whose order is meant, and the exchangeable sites (N,) that may hold it."""
        free = self._free
        element = self._exchanged()[-1] if element is None else element
        may = (
            np.array([element in names for names in self.hamiltonian.lattice.species])[
                self.hamiltonian.lattice.sublattice
            ]
            & free
        )
        if not may.any():
            raise UnknownSpecies(f"expected one of the elements {self._exchanged()}, got {element!r}")
        return element, may

    def histogram(
        self, what: str = "energy", bins: int | ArrayLike | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Law of the energy per site or of a composition: ``(edges (k+1,), probabilities (k,), stderr (k,))``.

        ``what`` is "energy" or an element, whose share of the exchangeable sites is meant; ``bins`` a number of bins or the
        edges, which must cover all samples. If not given, 50 bins of energy, or one bin for each number of atoms. Errors are
        those of :func:`alloygen.estimate.thermo.histogram_with_errors`, for chains by the autocorrelation of each bin.

        Examples
        --------
        >>> from alloygen.hamiltonian.ising import ising
        >>> from alloygen.montecarlo.sampling import metropolis
        >>> edges, probability, stderr = metropolis(ising(4), [3.0], n=1000, seed=0)[0].histogram("+")
        >>> edges.shape, round(float(probability.sum()), 9)
        ((18,), 1.0)
        """
        if what != "energy" and what not in self.elements:
            raise UnknownSpecies(f"expected 'energy' or one of the elements {self.elements}, got {what!r}")
        if what == "energy":
            values = self.energy.numpy() / self.n_sites
            bins = 50 if bins is None else bins
        else:
            n = int(self._free.sum())
            values = self._fraction(what)
            bins = (np.arange(n + 2) - 0.5) / n if bins is None else bins
        return thermo.histogram_with_errors(values, bins, self._log_w, self._inefficiency_of)

    # ------------------------------------------------------------------ other laws
    def reweighted(
        self, energy: ArrayLike | None = None, T: float | None = None, mu: Mu | np.ndarray | None = None
    ) -> Ensemble:
        """The same samples with the weights of another law: other energies (n,) of the cell, another T or mu.

            log w' = log w + u - u',    u = (E - mu.N) / kT,    Phi' = -kT'/N [log Z + log <exp(u - u')>]

        With a likelihood the weights are exp(-u') / q as ever. ``mu`` is a dict by element or a vector (n_elements,). What was known
        for the old law goes: the free energy is the one above where the old one is known, and the error bars are those of the
        effective samples that are left. Energies may come from elsewhere, such as a finer calculator.

        Raises :class:`AlloygenError` for energies of another shape, BadCondition and UnknownSpecies for another T or mu.

        Examples
        --------
        >>> from alloygen.hamiltonian.ising import ising
        >>> from alloygen.montecarlo.sampling import metropolis
        >>> ens = metropolis(ising(4), [3.0], n=4000, seed=0)[0]
        >>> hot = ens.reweighted(T=3.2)
        >>> hot.mean_energy().value > ens.mean_energy().value, hot.ness < 1
        (True, True)
        """
        from alloygen.conditions import chemical_potentials, temperature

        energy = self.energy if energy is None else torch.as_tensor(energy).detach().cpu().double()
        if energy.shape != self.energy.shape or not torch.isfinite(energy).all():
            raise AlloygenError(
                f"expected finite energies of shape {tuple(self.energy.shape)}, got shape {tuple(energy.shape)}"
            )
        T = self.T if T is None else temperature(T)
        if mu is None:
            vector = self.mu
        elif isinstance(mu, Mapping | Field) or np.ndim(mu) == 0:
            vector = chemical_potentials(cast(Mu, mu), self.hamiltonian)
        else:
            vector = np.asarray(mu)
        known = {"inefficiency", "free_energy", "log_states", "resampled_from"}
        info = {k: v for k, v in self.info.items() if k not in known}
        if not self.has_likelihood:
            info["inefficiency"] = self.inefficiency
        new = replace(self, energy=energy, T=T, mu=vector, info=info, chains=0, log_w=None, ladder=None, drawn=None)
        if self.has_likelihood:
            return new
        change = (self._field_energy / self.kT if np.isfinite(self.T) else 0.0) - new._field_energy / new.kT
        log_w = change if self.log_w is None else self.log_w + change
        if np.isfinite(self.T) and "free_energy" in self.info:
            info = {**info, "free_energy": self._moved_free_energy(change.numpy(), new.kT)}
        return replace(new, log_w=log_w, info=info, drawn=None)

    def _moved_free_energy(self, change: np.ndarray, kT: float) -> Estimate:
        """Phi of the law exp(change) times this one, at kT, from the Phi of this one."""
        old, top = self.free_energy(), change.max()
        ratio = self.mean(np.exp(change - top))
        log_z = -old.value * self.n_sites / self.kT + top + np.log(ratio.value)
        error = np.hypot(old.stderr * self.n_sites / self.kT, ratio.stderr / ratio.value)
        return Estimate(-kT * log_z / self.n_sites, kT * error / self.n_sites, ratio.note or old.note)

    # ------------------------------------------------------------------ parts
    def subset(self, index: int | slice | list[int] | np.ndarray | torch.Tensor) -> Ensemble:
        """The samples of ``index``: an integer, a slice, a list of integers or a mask (n,)."""
        rows = torch.arange(len(self))[index].reshape(-1)
        log_prob = None if self.log_prob is None else self.log_prob[rows]
        info = {**self.info, "inefficiency": self.inefficiency} if self.chains else self.info
        observed = {k: np.asarray(v)[rows.numpy()] for k, v in self.observed.items()}
        return replace(
            self, occ=self.occ[rows], energy=self.energy[rows], log_prob=log_prob, chains=0, info=info, observed=observed,
            log_w=None if self.log_w is None else self.log_w[rows], ladder=None, drawn=None,
        )  # fmt: skip

    def __getitem__(self, index) -> Ensemble:
        return self.subset(index)

    def resample(self, n: int | None = None, seed: int = 0) -> Ensemble:
        """``n`` samples drawn with replacement by weight, which follow the target law with equal weights.

        Duplicates carry no news, so the error bars of the result are those of the ESS and the draw together:
        inefficiency 1 + n / ESS. The likelihood is gone (it is q's, not that of the drawn set); the free energy of the
        weighted samples is kept. ``n`` is len(self) if not given; the same seed gives the same samples.
        """
        n = len(self) if n is None else int(n)
        rng = np.random.default_rng(seed)
        rows = torch.from_numpy(rng.choice(len(self), size=n, p=self.weights))
        info = {**self.info, "inefficiency": 1.0 + n / self._own_effective_samples, "resampled_from": len(self)}
        if self.has_likelihood:
            info["free_energy"] = self.free_energy()
        return replace(
            self,
            occ=self.occ[rows],
            energy=self.energy[rows],
            log_prob=None,
            info=info,
            chains=0,
            log_w=None,
            ladder=None,
            drawn=None,
            observed={k: np.asarray(v)[rows.numpy()] for k, v in self.observed.items()},
            method=f"{self.method}, resampled",
        )

    # ------------------------------------------------------------------ structures
    @property
    def atoms(self) -> AtomsSequence:
        """The samples as ``ase.Atoms``, made when asked for: ``ens.atoms[0]``, ``for a in ens.atoms``.

        Each carries its energy (``get_potential_energy()``) and in ``info`` T, mu_<element>, log_prob, log_weight.
        """
        return AtomsSequence(self)

    def to_pymatgen(self) -> list:
        """The samples as pymatgen ``Structure`` objects; ``properties`` holds the energy and ``atoms.info``."""
        from alloygen.edge.structures import to_pymatgen

        out = []
        for atoms in self.atoms:
            structure = to_pymatgen(atoms)
            structure.properties = {"energy": atoms.get_potential_energy(), **atoms.info}
            out.append(structure)
        return out

    def write(self, path: PathLike, format: str | None = None, overwrite: bool = True) -> Path:
        """Write all samples; the formats are those of :func:`alloygen.edge.structures.write_structures`.

        Raises :class:`AlloygenError` when ``overwrite`` is False and ``path`` exists.
        """
        if not overwrite and os.path.lexists(path):
            raise AlloygenError(f"expected a new path, got {path}, which exists; choose another or pass overwrite=True")
        return write_structures(self.atoms, path, format)

    def __repr__(self) -> str:
        mu = ", ".join(f"{e!r}: {m:.6g}" for e, m in zip(self.elements, self.mu, strict=True))
        weighted = len(self) and self._log_w is not None
        quality = f"NESS={self.ness:.3f}" if weighted else f"{len(self)} equal weights"
        return f"Ensemble({self.method!r}, n={len(self)}, T={self.T:g}, mu={{{mu}}}, {quality})"


def require_drawn(drawn: dict | None, law: dict, what: str, remedy: str) -> dict:
    """What samples belong to, by name; AlloygenError where it is not what it was (``drawn``) when they were first put together.

    The guard of results that carry derived numbers: a copy with another energy must not keep the weights of the old one.
    """
    changed = [k for k in law if drawn and k in drawn and not _same(law[k], drawn[k])]
    if changed:
        raise AlloygenError(
            f"expected the {', '.join(changed)} that this {what} was drawn with, got another: weights, free energies and error bars belong "
            f"to them and would be wrong. Use {remedy}, or make a new {what} of the arrays"
        )
    return law


def _same(a, b) -> bool:
    if a is b:
        return True
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return (a.data_ptr() == b.data_ptr() and a.shape == b.shape) or torch.equal(a, b)
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.shape == b.shape and bool((a == b).all())
    return type(a) is type(b) and isinstance(a, (int, float)) and a == b


class AtomsSequence(Sequence):
    """The samples of an ensemble as ``ase.Atoms``, built one at a time; a slice gives a list."""

    def __init__(self, ensemble: Ensemble):
        if ensemble.atoms_map is None:
            raise AlloygenError(
                "expected an ensemble that knows its Atoms, got atoms_map=None; draw it with "
                "alloygen.sample(atoms, ...), or pass atoms_map="
            )
        self._ensemble = ensemble

    def __len__(self) -> int:
        return len(self._ensemble)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self._make(i) for i in range(*index.indices(len(self)))]
        i = int(index)
        if not -len(self) <= i < len(self):
            raise IndexError(f"expected an index below {len(self)}, got {i}")
        return self._make(i % len(self))

    def __iter__(self) -> Iterator:
        return (self._make(i) for i in range(len(self)))

    def _make(self, i: int):
        from ase.calculators.singlepoint import SinglePointCalculator

        ens = self._ensemble
        assert ens.atoms_map is not None  # ``Ensemble.atoms`` has asked
        atoms = ens.atoms_map.to_atoms(ens.occ[i])
        atoms.info["T"] = ens.T
        atoms.info.update({info_key(f"mu_{e}"): float(m) for e, m in zip(ens.elements, ens.mu, strict=True)})
        if ens.has_likelihood and ens.log_prob is not None:
            atoms.info.update(log_prob=float(ens.log_prob[i]), log_weight=float(ens.log_weight[i]))
        atoms.calc = SinglePointCalculator(atoms, energy=float(ens.energy[i]))
        return atoms

    def __repr__(self) -> str:
        return f"<{len(self)} ase.Atoms of {self._ensemble!r}>"
