"""Averages at one condition, of its own samples, of a whole ladder of conditions, or of hot chains beside independent samples."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import cached_property
from zlib import crc32

import numpy as np

from alloygen.arguments import one_of, whole_number
from alloygen.conditions.record import semigrand
from alloygen.edge.prototypes import is_vacancy
from alloygen.errors import AlloygenError, UnknownSpecies
from alloygen.estimate import chains as markov
from alloygen.estimate import thermo, weights
from alloygen.estimate.chains import inefficiency
from alloygen.estimate.free_energy import free_energy
from alloygen.estimate.joined import Joined
from alloygen.estimate.ladder import Ladder
from alloygen.estimate.mixture import NoOverlap
from alloygen.estimate.pooled import Pooled
from alloygen.estimate.result import Estimate
from alloygen.models.blocks import derived_seed
from alloygen.results import sites
from alloygen.results.draws import Draws
from alloygen.types import ArrayLike

ENOUGH = 25.0  # effective samples that say which phase they are in


class Averages:
    """The averages of ``draws``: which samples each rests on, and its error bar.

    With a ladder (replica exchange) those of all its conditions, weighted for this one; deep in a phase independent samples and hot
    chains beside them; else the draws alone.
    """

    def __init__(self, draws: Draws):
        self.draws = draws

    # ------------------------------------------------------------------ correlation
    @property
    def inefficiency(self) -> float:
        """That of E - mu.N along the chains, else what is known of the samples; 1 with a likelihood."""
        d = self.draws
        if d.has_likelihood:
            return 1.0
        if d.chains:
            return self._chain_inefficiency
        return d.facts.inefficiency

    @cached_property
    def _chain_inefficiency(self) -> float:
        return inefficiency(self.draws.by_chain(self.draws.field_energy))

    def inefficiency_of(self, values) -> float:
        """That of the values' influence on their weighted mean, along the chains."""
        d = self.draws
        if not d.chains or d.has_likelihood:
            return self.inefficiency
        values = np.asarray(values, dtype=np.float64)
        known = markov.memory(d.by_chain(d.weights * (values - (d.weights * values).sum())), self._lag)
        return float(known.inefficiency * (markov.widening(known.freedom) * self.strays) ** 2)

    @cached_property
    def _lag(self) -> int:
        """The longest memory of the energy and the counts of atoms: what is slow may hide behind fast noise in other averages."""
        d = self.draws
        return max(markov.memory(d.by_chain(v)).window for v in (d.energy, *d.counts.T))

    # ------------------------------------------------------------------ which samples
    @cached_property
    def ladder(self) -> Ladder | Pooled | None:
        """The samples of all conditions; None where there are none, or where they cannot be joined."""
        return None if self.draws.place is None else self.draws.place.ladder

    @cached_property
    def beside(self) -> Joined | None:
        """These samples and hot chains beside them, where independent samples lie deep in one phase.

        Rare states carry their fluctuations there, which n samples do not show; see :mod:`alloygen.montecarlo.companion`. None
        elsewhere, without a likelihood, for weights with a heavy tail, and for energies that are not the Hamiltonian's.
        """
        d = self.draws
        h, known = d.hamiltonian, d.facts.known
        if not d.has_likelihood or not np.isfinite(d.T) or self.own_effective_samples < ENOUGH:
            return None
        if d.facts.constrained:  # the hot chains flip
            return None
        if d.heavy or (known is not None and (known[d.free] >= 0).all()):
            return None
        if not np.allclose(h.energy(d.occ), d.energy, rtol=0.0, atol=1e-6):
            return None
        return self._hot(known)

    def _hot(self, known: np.ndarray | None) -> Joined | None:
        from alloygen.montecarlo.companion import companion

        d = self.draws
        h = d.hamiltonian
        # conditions of one scan have one seed, and samples made by hand have none: chains of their own for each
        words = [
            *np.append(d.T, d.mu).view(np.uint64).tolist(),
            crc32(d.occ.astype(np.int64).tobytes()),
        ]
        seed = derived_seed(int(d.facts.seed or 0), *words)
        hot = companion(h, d.occ, d.weights, d.condition, seed, known)
        if hot is None:
            return None
        counts = h.counts(hot.occ)
        beta = 1.0 / (h.kB * np.append(d.T, hot.T))
        try:
            return Joined(
                np.column_stack([beta, -beta[:, None] * d.mu]),
                np.column_stack([d.energy, d.counts]),
                d.weights,
                np.split(np.column_stack([hot.energy, counts]), len(hot.T)),
                hot.copies,
                np.concatenate([d.occ, hot.occ]),
            )
        except NoOverlap:
            return None

    @property
    def wider(self) -> Ladder | Pooled | Joined | None:
        """More samples than these that know this condition: those of a ladder, or of hot chains beside independent samples."""
        return self.beside if self.ladder is None else self.ladder

    def of(self, name: Hashable, function: Callable[[np.ndarray], np.ndarray], quantum: float = 0.0) -> Estimate:
        """Mean of a function of occupations (m, N) -> (m,), over the ladder or the hot chains where there are any."""
        known = self.wider
        if known is None:
            return self.mean(function(self.draws.occ), quantum)
        return known.mean(known.samples.values(name, function), quantum)

    @cached_property
    def strays(self) -> float:
        """How much wider bars of this chain alone must be: half of the largest miss of its energy and composition, at least 1.

        The miss is that of the series' mean against the ladder's, in standard errors of the series.
        """
        known = self.ladder
        if not isinstance(known, Ladder):
            return 1.0
        return max(1.0, 0.5 * max(miss for miss, _, _ in self.misses(known)))

    def misses(self, known: Ladder, whole: bool = False) -> list[tuple[float, Estimate, Estimate]]:
        """(miss, mean of this chain, mean of the ladder) per site of the energy and of each count of atoms that varies.

        ``whole``: in the errors that the chain would have if it had met all that the ladder knows.
        """
        d = self.draws
        n, out = d.n_sites, []
        series = [(d.energy, known.samples.energy, self.quantum)]
        series += [(c, k, 1.0) for c, k in zip(d.counts.T, known.samples.counts.T, strict=True)]
        for (own, values, quantum), of in zip(series, np.eye(len(series)), strict=True):
            if np.ptp(values) <= 1e-9:
                continue
            there = known.mean(values / n, quantum / n, linear=of / n)
            x = d.by_chain(own / n)
            here = Estimate(x.mean(), np.hypot(markov.standard_error(x), quantum / n * inefficiency(x) / x.size))
            here = known.own(values / n, there.value, quantum / n) if whole else here
            out.append((abs(here.value - there.value) / here.stderr if here.stderr > 0 else 0.0, here, there))
        return out or [(0.0, Estimate(0.0, 0.0), Estimate(0.0, 0.0))]

    @cached_property
    def quantum(self) -> float:
        """The smallest change of the energy by a substitution in the likeliest sample, for what no sample shows deep in a phase.

        A rare excitation of chance below 1/n may be missing, or come with a tiny weight: no spread of the samples tells. For
        chains it is only looked up where nothing changed; their own error bar counts visits.
        """
        d = self.draws
        if d.chains and np.ptp(d.energy) > 1e-9:
            return 0.0
        return d.hamiltonian.smallest_change(d.occ[int(d.weights.argmax())])

    @cached_property
    def _step(self) -> float:
        """The smallest change of the energy by a substitution in the likeliest sample of this chain: the quantum of averages."""
        d = self.draws
        return d.hamiltonian.smallest_change(d.occ[int(d.field_energy.argmin())])

    @property
    def effective_samples(self) -> float:
        """Independent samples that averages rest on."""
        if self.ladder is not None:
            return self.ladder.effective_samples
        return self.own_effective_samples

    @property
    def own_effective_samples(self) -> float:
        """The same of the draws alone."""
        return (
            len(self.draws) if self.draws.known_log_weight is None else weights.ess(self.draws.known_log_weight)
        ) / self.inefficiency

    # ------------------------------------------------------------------ means
    def mean(self, values: ArrayLike | str, quantum: float = 0.0) -> Estimate:
        """Average over the target law of ``values`` (n,), or of an observer by its name; ``quantum`` is their smallest step."""
        d = self.draws
        if isinstance(values, str):
            if values not in d.observed:
                raise AlloygenError(f"expected one of the observers {sorted(d.observed)}, got {values!r}")
            if self.ladder is not None:
                return self.ladder.mean(self.ladder.observed[values], quantum)
            values = d.observed[values]
        if d.chains and d.known_log_weight is None:
            own = markov.mean(d.by_chain(values), quantum, lag=self._lag)
            return self._told(Estimate(own.value, own.stderr * self.strays, own.note))
        return thermo.mean(values, d.known_log_weight, self.inefficiency_of(values), quantum)

    def _told(self, estimate: Estimate, series: np.ndarray | None = None) -> Estimate:
        """The same, without an error bar where the chains hardly moved, or the ``series`` between lasting states."""
        d = self.draws
        if d.known_log_weight is not None:
            return estimate
        stuck = d.facts.stuck
        if not stuck and series is not None and d.chains:
            stuck = markov.seldom(d.by_chain(series))
        return Estimate(estimate.value, np.nan, stuck) if stuck else estimate

    def energy(self) -> Estimate:
        """<E> / N per site, without the field term."""
        d = self.draws
        if (known := self.wider) is not None:
            return known.mean(known.samples.energy / d.n_sites, self._step / d.n_sites)
        return self.mean(d.energy / d.n_sites, self.quantum / d.n_sites)

    def composition(self, element: str, per: str | int = "exchangeable") -> Estimate:
        """Fraction of exchangeable sites, of atoms or of the sites of a sublattice that are ``element``, by ``per``."""
        lattice = self.draws.hamiltonian.lattice
        held = sites.species_of(lattice, element).astype(float)
        if isinstance(per, str) and per == "atoms":
            return self._mole_fraction(element)
        if isinstance(per, str):
            one_of(per, "per", ("exchangeable", "atoms", *range(lattice.n_sublattices)))
            chosen = self.draws.free
        else:
            b = whole_number(per, "per (a sublattice)", 0, lattice.n_sublattices - 1)
            if element not in lattice.species[b]:
                raise UnknownSpecies(f"expected an element of sublattice {b}, {lattice.species[b]}, got {element!r}")
            chosen = lattice.sublattice == b
        share = lambda occ: held[np.flatnonzero(chosen), occ[:, chosen]].mean(1)  # noqa: E731
        return self.of(("composition", element, per), share, quantum=1.0 / int(chosen.sum()))

    def _mole_fraction(self, element: str) -> Estimate:
        """<N_element> / <N_atoms>, its error from the influence of a sample on both."""
        d = self.draws
        empty = [is_vacancy(e) for e in d.elements]
        if is_vacancy(element):
            raise UnknownSpecies(
                f"expected an atom, got the vacancy {element!r}: it is no part of the atoms; ask per='exchangeable'"
            )
        known = self.wider
        counts, w = (d.counts, d.weights) if known is None else (known.samples.counts, known.weights)
        n, atoms = counts[:, d.elements.index(element)], counts[:, ~np.array(empty)].sum(1)
        total = float((w * atoms).sum())
        if not total > 0:
            return Estimate(np.nan, np.nan, "there are no atoms")
        ratio = float((w * n).sum()) / total
        moved = (self if known is None else known).mean((n - ratio * atoms) / total, quantum=1.0 / total)
        return Estimate(ratio, moved.stderr, moved.note)

    def heat_capacity(self) -> Estimate:
        """(<E^2> - <E>^2) / (kB T^2 N)."""
        d, kB = self.draws, self.draws.hamiltonian.kB
        if (known := self.wider) is not None and np.isfinite(d.T):
            return known.fluctuation(known.samples.energy, kB / d.kT**2 / d.n_sites, self._step)
        energy, log_w = d.energy, d.known_log_weight
        own = thermo.heat_capacity(energy, d.kT, kB, d.n_sites, log_w, self.inefficiency_of, self.quantum)
        return self._told(own, energy)

    def susceptibility(self, element: str) -> Estimate:
        """(<N_a^2> - <N_a>^2) / (kB T N')."""
        d, free = self.draws, int(self.draws.free.sum())
        if (known := self.wider) is not None and element in d.elements and np.isfinite(d.T):
            n = known.samples.counts[:, d.elements.index(element)]
            return known.fluctuation(n, 1.0 / d.kT / free, 1.0)
        counts = d.holds(element)[:, d.free].sum(1).astype(float)
        return self._told(thermo.susceptibility(counts, d.kT, free, d.known_log_weight, self.inefficiency_of), counts)

    def free_energy(self) -> Estimate:
        """Phi = -kB T log Z / N per site, by importance weights; without a likelihood what is known by other means."""
        d = self.draws
        if not d.has_likelihood and d.facts.free_energy is not None:
            return d.facts.free_energy
        if not d.has_likelihood and d.place is not None and d.place.absolute:
            return d.place.free_energy()
        if not d.has_likelihood and d.log_w is not None:
            raise AlloygenError(
                f"expected weights with their constant, got those of {d.method!r}, known up to a factor"
            )
        return free_energy(d.log_weight, d.kT, d.n_sites)

    def entropy(self) -> Estimate:
        """S = (<E> - mu.<N> - Phi N) / (T N) per site."""
        d, u = self.draws, self.draws.field_energy
        kB, n = d.hamiltonian.kB, d.n_sites
        if self.beside is not None:
            return self._joined_entropy(self.beside)
        if d.has_likelihood:
            return thermo.entropy(u, d.log_weight, d.kT, kB, n, self.quantum)
        if np.isinf(d.T) and d.facts.log_states is not None:
            return Estimate(kB * d.facts.log_states / n, 0.0)
        phi, known = self.free_energy(), self.ladder
        if known is not None:
            values = semigrand(known.samples.energy, known.samples.counts, d.mu)
            if abs(known.log_z * d.kT / n + phi.value) < 1e-12:
                return known.entropy(values, kB, n, self._step)
            mean = known.mean(values / n, self._step / n)
        else:
            mean = self.mean(u / n, self.quantum / n)
        error = np.hypot(mean.stderr, phi.stderr) / d.T
        return Estimate((mean.value - phi.value) / d.T, error, mean.note or phi.note)

    def _joined_entropy(self, joined: Joined) -> Estimate:
        """kB/N (<u>/kT + log Zhat), <u> with the hot chains and Zhat by these samples alone; errors as in ``thermo.entropy``."""
        d = self.draws
        scale, log_z = d.hamiltonian.kB / d.n_sites, weights.log_mean(d.log_weight)
        values = semigrand(joined.samples.energy, joined.samples.counts, d.mu)
        part = joined.mean(scale * values / d.kT, more=scale * (d.weights - 1.0 / len(d)))
        # what one sample more may change: the hot chains say how much weight is on what no sample shows
        missing = np.sqrt(max(log_z.missing**2 - 1.0 / len(d) ** 2, 0.0) + joined.unseen**2)
        error = np.nan if np.isnan(log_z.stderr) else np.hypot(part.stderr, scale * missing)
        return Estimate(part.value + scale * log_z.value, error, log_z.note)
