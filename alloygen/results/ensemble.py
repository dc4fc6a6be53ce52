"""Ensemble: configurations at one condition, with what is known of their likelihood, and the averages over them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from alloygen.arguments import settings
from alloygen.conditions import Mu, chemical_potentials, temperature
from alloygen.edge.computed import Recipe, RelaxLike
from alloygen.estimate.result import Estimate
from alloygen.results import export, observables, relabelled, reweighting, selected
from alloygen.results.averages import Averages
from alloygen.results.draws import Draws
from alloygen.results.energies import EnergiesLike
from alloygen.runtime.job import Job
from alloygen.types import ArrayLike, PathLike

if TYPE_CHECKING:
    from alloygen.results.relabelled import Relabelled
    from alloygen.results.selected import Selection


@dataclass(frozen=True, eq=False, repr=False)
class Ensemble(Draws):
    """Configurations drawn at one temperature and one set of chemical potentials.

    Parameters
    ----------
    hamiltonian : Hamiltonian of the supercell (N sites)
    occ : (n, N) int8 species indices
    energy : (n,) float64 energies of the cell, without the field term, in the Hamiltonian's unit
    log_prob : (n,) float64 exact log q(x) of each draw; None for samples that follow the target law and carry no
        likelihood (Monte Carlo)
    T : temperature (kelvin for alloys)
    mu : (n_elements,) chemical potentials, in the order of ``hamiltonian.elements``
    method : how the samples were made ("neural", "mc", ...)
    atoms_map : object with ``to_atoms(occ_row) -> ase.Atoms``; None where no structures are needed
    info : what is shown of how they were made; no number depends on it
    chains : number of Markov chains that the samples are, one after another and each in time order; their
        autocorrelation then sets each error bar. 0 for independent samples
    observed : name -> (n,) values that observers returned while sampling
    log_w : (n,) log-weights known up to a constant, for samples of a biased law (a multicanonical walk); None else
    facts : :class:`alloygen.results.provenance.Provenance`, what averages depend on beside the samples: the inefficiency of correlated
        samples (scales their error bars by its square root), and a free energy found by other means, such as MBAR
    place : :class:`alloygen.results.joined.Place` of this condition among those of a scan without likelihoods: what all know together is its
        free energy where that is absolute, and with replica exchange the ladder that averages rest on, where the samples can be joined
    origin : the ensemble whose samples these are under another law (:meth:`reweighted`), row by row; None else
    drawn : what the samples and what is known of them (their equal weights, ``facts``) belong to; filled in by itself

    Weights, free energies and error bars belong to the samples, energies and condition that they were found for:
    ``dataclasses.replace`` refuses other ones. Take :meth:`reweighted` for another Hamiltonian, other energies, T or mu, :meth:`subset` for some samples.
    With a likelihood all averages are importance weighted, w = exp(-beta [E - mu.N]) / q, hence exact for any q that
    covers the target; without one all samples weigh the same. The arrays are NumPy's and not copied (tensors are taken too): do not change them.

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
    >>> exact = table.at(h.condition(2.5))
    >>> p = exact.probabilities
    >>> rows = np.random.default_rng(0).choice(len(p), 500, p=p)
    >>> ens = Ensemble(h, table.occ[rows], table.energy[rows], np.log(p[rows]), T=2.5, method="exact")
    >>> ens
    Ensemble('exact', n=500, T=2.5, mu={'-': 0, '+': 0}, NESS=1.000)
    >>> abs(ens.free_energy().value - exact.phi) < 1e-12
    True
    """

    @cached_property
    def averages(self) -> Averages:
        """Which samples averages rest on, and their error bars."""
        return Averages(self.alone())

    @property
    def inefficiency(self) -> float:
        """Statistical inefficiency g of samples without a likelihood, else 1: n / g of them are independent.

        That of E - mu.N along the chains, or ``facts.inefficiency`` where the samples are not chains in time order.
        """
        return self.averages.inefficiency

    @property
    def effective_samples(self) -> float:
        """Independent samples that averages rest on: (sum w)^2 / sum w^2, or n / inefficiency without a likelihood."""
        return self.averages.effective_samples

    # ------------------------------------------------------------------ estimates
    def free_energy(self) -> Estimate:
        """Phi = -kB T log Z / N per site, by importance weights; without a likelihood, ``facts.free_energy`` or that of ``place``.

        Raises :class:`AlloygenError` when there is neither.
        """
        return self.averages.free_energy()

    def mean(self, values: ArrayLike | str, quantum: float = 0.0) -> Estimate:
        """Average over the target law of ``values`` (n,), one number per sample, in their unit, or of an observer, by its name.

        For Markov chains the error bar comes from the autocorrelation of these values; ``quantum`` is their smallest
        step, which gives an error bar to samples that hardly differ (see :func:`alloygen.estimate.thermo.mean`).
        """
        return self.averages.mean(values, quantum)

    def mean_energy(self) -> Estimate:
        """<E> / N per site, without the field term."""
        return self.averages.energy()

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
        >>> h = ising(4, h=0.1)
        >>> ens = metropolis(h, h.condition(3.0), n=1000, seed=0)[0]
        >>> ens.composition("+") == ens.composition("+", per=0)      # one sublattice, and all of it is exchangeable
        True
        """
        return self.averages.composition(element, per)

    def heat_capacity(self) -> Estimate:
        """(<E^2> - <E>^2) / (kB T^2 N), E without the field term: energy per temperature and site."""
        return self.averages.heat_capacity()

    def susceptibility(self, element: str) -> Estimate:
        """(<N_a^2> - <N_a>^2) / (kB T N'), per energy: d x_a / d mu_a at fixed T and other mu.

        N' counts the exchangeable sites and x_a is :meth:`composition`; see :func:`alloygen.estimate.thermo.susceptibility`.
        """
        return self.averages.susceptibility(element)

    def entropy(self) -> Estimate:
        """S = (<E> - mu.<N> - Phi N) / (T N) per site, in energy per temperature.

        With a likelihood both terms come from the same weights, and the error counts that (see
        :func:`alloygen.estimate.thermo.entropy`). Without one Phi is that of :meth:`free_energy` and the errors of the two terms
        are added in quadrature: that they may rest on the same samples is neglected. At T = infinity such samples have
        kB ``facts.log_states`` / N where that is known. Raises :class:`AlloygenError` as :meth:`free_energy` does.

        Examples
        --------
        >>> from alloygen.hamiltonian.ising import ising
        >>> from alloygen.montecarlo.sampling import replica_exchange
        >>> h = ising(4)
        >>> scan = replica_exchange(h, h.grid([3.0, 6.0, float("inf")]), n=2000, seed=0, check=False)
        >>> [round(ens.entropy().value, 1) for ens in scan]
        [0.5, 0.7, 0.7]
        """
        return self.averages.entropy()

    # ------------------------------------------------------------------ order
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
        >>> h = ising(4)
        >>> ens = metropolis(h, h.condition(3.0), n=4000, seed=0)[0]
        >>> distances, c = ens.two_point("manhattan")
        >>> distances.tolist(), c[0].value > c[1].value > c[2].value
        ([0, 1, 2, 3, 4], True)
        """
        return observables.two_point(self.averages, distance, element)

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
        >>> h = alloygen.data.cuau().on((4, 4, 4))
        >>> ens = metropolis(h, h.condition(1500.0), n=500, seed=0)[0]
        >>> distances, alpha = ens.warren_cowley(2)["Cu", "Au"]
        >>> distances.round(3).tolist(), alpha[0].value < 0 < alpha[1].value
        ([2.687, 3.8], True)
        """
        return observables.warren_cowley(self.averages, n_shells, pair)

    def order_values(self, which: str | ArrayLike, element: str | None = None) -> np.ndarray:
        """Long-range order of each sample, float64 (n,): see :func:`alloygen.estimate.order.long_range_order`.

        ``which`` is a structure, "L1_2", "L1_0", "L1_1" or "D0_22" on fcc, "B2", "B32" or "D0_3" on bcc, "D0_19" or "B19" on hcp (1 in
        the perfect structure), or an order vector (h, k, l) of the conventional cell (plain amplitude). ``element`` is the last
        exchangeable one if not given; the exchangeable sites that may hold it count.
        """
        return observables.order_values(self, which, element)

    def order_parameter(self, which: str | ArrayLike, element: str | None = None) -> Estimate:
        """Mean of :meth:`order_values`: long-range order such as "L1_2" or "B2", or the amplitude of an order vector.

        Examples
        --------
        >>> import alloygen.data
        >>> from alloygen.montecarlo.sampling import metropolis
        >>> h = alloygen.data.cuau().on((2, 2, 2))
        >>> ens = metropolis(h, h.condition(1500.0), n=500, seed=0)[0]
        >>> 0.2 < ens.order_parameter("L1_2").value < 0.5
        True
        """
        return observables.order_parameter(self.averages, which, element)

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
        >>> h = ising(4)
        >>> edges, probability, stderr = metropolis(h, h.condition(3.0), n=1000, seed=0)[0].histogram("+")
        >>> edges.shape, round(float(probability.sum()), 9)
        ((18,), 1.0)
        """
        return observables.histogram(self.averages, what, bins)

    # ------------------------------------------------------------------ other laws and parts
    def reweighted(
        self,
        energy: EnergiesLike | None = None,
        T: float | None = None,
        mu: Mu | np.ndarray | None = None,
        then: reweighting.Bridge | None = None,
    ) -> Ensemble:
        """The same samples with the weights of another law: another Hamiltonian, another T or mu.

            log w' = log w + u - u',    u = (E - mu.N) / kT,    Phi' = -kT'/N [log Z + log <exp(u - u')>]

        Parameters
        ----------
        energy : a ClusterExpansion, or whatever ``hamiltonian=`` takes elsewhere, on the same lattice with the species in the same order;
            an ASE calculator, whose energies are those of :meth:`relabel`, each structure computed once, on the scale of the expansion by the end
            members; or energies (n,) of the whole cells
        T, mu : a dict by element or a vector (n_elements,); those of the samples if not given
        then : ``alloygen.Anneal()`` moves the samples to an expansion by Monte Carlo along (1 - l) u + l u', with exact weights (Neal, Stat.
            Comput. 11, 125 (2001)), where plain weights are uneven. None: the configurations stay

        With a likelihood the weights are exp(-u') / q as ever. What was known for the old law goes: the free energy is the one above where the
        old one is known, and error bars are those of the effective samples that are left. :meth:`free_energy_difference` is Phi' - Phi with
        an error of its own. By other ECIs on the same figures energies are a product with :attr:`correlations`, found once.

        Warns :class:`~alloygen.errors.LowSampleSize` of uneven weights. Raises LatticeMismatch for a Hamiltonian of other sites, AlloygenError
        for energies of another shape, nan and calculators that fail, BadCondition and UnknownSpecies for another T or mu.

        Examples
        --------
        >>> import alloygen.data
        >>> from alloygen.montecarlo.sampling import replica_exchange
        >>> alloy = alloygen.data.cuau()
        >>> h = alloy.on((2, 2, 2))
        >>> ens = replica_exchange(h, h.grid([900.0]), ladder=[1500.0, float("inf")], n=1000, seed=0, check=False)[0]
        >>> softer = ens.reweighted(alloy.with_ecis(0.95 * alloy.ecis))
        >>> softer.ness > 0.9, softer.free_energy_difference().stderr < 0.3 * softer.free_energy().stderr
        (True, True)
        """
        at = self.condition if T is None else self.condition.at(temperature(T))
        if mu is not None:
            vector = (
                mu if isinstance(mu, np.ndarray) and mu.ndim else chemical_potentials(cast(Mu, mu), self.hamiltonian)
            )
            at = self.hamiltonian.condition(at.T, vector)
        new = reweighting.reweighted(self, self.averages, energy, at, then)
        if energy is not None:
            reweighting.tell(new, then is not None)
        return new

    def free_energy_difference(self) -> Estimate:
        """Phi - Phi_0 per site of reweighted samples, Phi_0 that of the law that they were reweighted from (``origin``).

        Both rest on the same samples, whose weights w and w_0 go together: the error is that of

            Phi - Phi_0 = -(kT/N) log mean w + (kT_0/N) log mean w_0,    psi_i = -(kT/N) w_i / mean w + (kT_0/N) w_0i / mean w_0

        by the spread of psi, and mostly far below the two error bars in quadrature. Without a likelihood it is that of log <exp(u_0 - u)>
        over the chains; Phi_0 need not be known at the same temperature. Raises :class:`AlloygenError` for samples that were not reweighted.

        Examples
        --------
        >>> import alloygen
        >>> ens = alloygen.sample(alloygen.ising(10), T=2.5, h=0.0, n=200)
        >>> moved = ens.reweighted(0.99 * ens.energy).free_energy_difference()       # J less 1 %, d Phi = <dE> / N at first
        >>> abs(moved.value + 0.01 * ens.mean_energy().value) < 1e-3, moved.stderr < 1e-3
        (True, True)
        """
        return reweighting.difference(self, self.averages)

    def relabel(
        self,
        calculator: Any,
        relax: RelaxLike = False,
        *,
        references: str | Mapping[str, float] | None = "ends",
        job: Job | None = None,
    ) -> Relabelled:
        """The energies of a force field or of DFT for these configurations, each computed once up to symmetry.

        Parameters
        ----------
        calculator : an ASE calculator; what makes one, a class or a function without arguments, for executors whose processes need their own; or a
            function of Atoms that returns an energy of the cell, or relaxed Atoms that carry one
        relax : False; "positions"; "cell", which relaxes both; or these with settings, ``alloygen.Relax("cell", fmax=0.05, steps=200)``
        references : what is taken off the energies, so that T, mu and Phi mean the same as before: "ends", energies of an atom by which the end
            members have the energies that the expansion has for them; energies by element; or None, nothing
        job : a bar, an executor that shares out the structures, and a checkpoint to go on from (:class:`alloygen.Job`)

        Returns :class:`~alloygen.results.relabelled.Relabelled`: the ensemble with the weights of the calculator's law, the difference of the free
        energies with its error, the structures with their energies, those that failed, and a refit.

        Raises AlloygenError where nothing can be computed, an end member among it, and for what cannot be, before any work. Warns with NotLabelled of
        structures without an energy, which are kept apart, and with LowSampleSize where fewer than ten effective samples are left.

        Examples
        --------
        >>> import alloygen
        >>> from ase.build import bulk
        >>> from ase.calculators.emt import EMT
        >>> ens = alloygen.sample(bulk("Cu", a=3.8).repeat((2, 2, 2)), T=1500, mu={"Au": 0.0}, n=200, sampler="mc")
        >>> found = ens.relabel(EMT())
        >>> found.difference.stderr < 0.01, len(found.structures) < 20, found.failures
        (True, True, ())
        """
        recipe = Recipe(calculator=calculator, relax=relax)
        return relabelled.relabel([self], recipe, references, settings(job, Job, "job"))[0]

    def select(self, n: int, how: str = "weighted", seed: int = 0) -> Selection:
        """A few configurations to compute by dearer means, each once up to symmetry, with weights by which they stand for all.

        Parameters
        ----------
        n : how many, fewer where there are no more
        how : * "weighted": drawn by weight, without replacement (:func:`alloygen.results.selected.by_weight`): weighted averages over them are those
                of the ensemble on average
              * "diverse": one after another the farthest from those before, by the correlation functions of the expansion
              * "low-energy": the lowest E - mu.N
              * "variance": one after another those whose energy the fit of the expansion leaves most open, given the ones before
        seed : of what is drawn

        In all but the first the weight of a configuration that is not chosen goes to the nearest one that is, by its correlation functions.

        Returns :class:`~alloygen.results.selected.Selection`: ``ensemble``, which can be relabelled and written, and ``manifest``, a pandas table of
        T, mu, weight, multiplicity and hash. AlloygenError for "variance" where the expansion remembers no fit.

        Examples
        --------
        >>> import alloygen.data
        >>> ens = alloygen.sample(alloygen.data.cuau().on((2, 2, 2)), T=900, mu={}, n=500, sampler="mc")
        >>> chosen = ens.select(5)
        >>> len(chosen), round(float(chosen.manifest.weight.sum()), 9)
        (5, 1.0)
        """
        return selected.select(self, n, how, seed)

    def subset(self, index: int | slice | list[int] | np.ndarray | torch.Tensor) -> Ensemble:
        """The samples of ``index``: an integer, a slice, a list of integers or a mask (n,)."""
        return reweighting.subset(self, self.averages, index)

    def __getitem__(self, index) -> Ensemble:
        return self.subset(index)

    def resample(self, n: int | None = None, seed: int = 0) -> Ensemble:
        """``n`` samples drawn with replacement by weight, which follow the target law with equal weights.

        Duplicates carry no news, so the error bars of the result are those of the ESS and the draw together:
        inefficiency 1 + n / ESS. The likelihood is gone (it is q's, not that of the drawn set); the free energy of the
        weighted samples is kept. ``n`` is len(self) if not given; the same seed gives the same samples.
        """
        return reweighting.resample(self, self.averages, n, seed)

    # ------------------------------------------------------------------ structures
    @property
    def atoms(self) -> export.AtomsSequence:
        """The samples as ``ase.Atoms``, made when asked for: ``ens.atoms[0]``, ``for a in ens.atoms``.

        Each carries its energy (``get_potential_energy()``) and in ``info`` T, mu_<element>, log_prob, log_weight.
        """
        return export.AtomsSequence(self)

    def to_pymatgen(self) -> list:
        """The samples as pymatgen ``Structure`` objects; ``properties`` holds the energy and ``atoms.info``."""
        return export.structures(self)

    def write(self, path: PathLike, format: str | None = None, overwrite: bool = True) -> Path:
        """Write all samples; the formats are those of :func:`alloygen.edge.structure_files.write_structures`.

        Raises :class:`AlloygenError` when ``overwrite`` is False and ``path`` exists.
        """
        return export.write(self, path, format, overwrite)

    def __repr__(self) -> str:
        mu = ", ".join(f"{e!r}: {m:.6g}" for e, m in zip(self.elements, self.mu, strict=True))
        weighted = len(self) and self.known_log_weight is not None
        quality = f"NESS={self.ness:.3f}" if weighted else f"{len(self)} equal weights"
        return f"Ensemble({self.method!r}, n={len(self)}, T={self.T:g}, mu={{{mu}}}, {quality})"
