"""Scan: ensembles at many conditions, as labelled tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from alloygen.arguments import settings
from alloygen.conditions import Mu
from alloygen.edge.computed import Recipe, RelaxLike
from alloygen.estimate import weights
from alloygen.estimate.branches import Branches
from alloygen.estimate.chains import Convergence
from alloygen.estimate.mbar import MBAR
from alloygen.estimate.pool import Pool
from alloygen.estimate.result import Estimate
from alloygen.results import convergence, diagrams, moved, paper, parts, relabelled, selected, tables
from alloygen.results.canonical import at_composition, binary
from alloygen.results.energies import EnergiesLike
from alloygen.results.ensemble import Ensemble
from alloygen.results.joined import Elsewhere, Joint
from alloygen.results.relabelled import RelabelledScan
from alloygen.results.reweighting import Bridge
from alloygen.results.runs import Runs
from alloygen.results.selected import ScanSelection
from alloygen.runtime.atomic import atomic_path
from alloygen.runtime.job import Job
from alloygen.runtime.tables import write_table
from alloygen.types import ArrayLike, PathLike, Temperatures

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from alloygen.hamiltonian.expansion import ClusterExpansion
    from alloygen.results.phase_diagram import PhaseDiagram
    from alloygen.results.posterior import PosteriorBands
    from alloygen.results.sections import IsothermalSections


@dataclass(frozen=True, eq=False, repr=False)
class Scan(Runs, Sequence):
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
    facts : :class:`alloygen.results.provenance.RunProvenance`, what averages depend on beside the samples (acceptance, held sites, ...)
    info : what is shown of the run as a whole; no number depends on it
    hidden : a Scan of further conditions that were run with these, such as the ladder of a replica exchange up to infinite
        temperature: free energies rest on their samples too, and nothing else shows them
    origin : the scan whose samples these are under another Hamiltonian (:meth:`reweighted`); None else
    drawn : what weights and free energies belong to, filled in by itself: ``dataclasses.replace`` refuses other samples or conditions
    joint : what all conditions know together (MBAR, free energies, convergence), filled in by itself: ``dataclasses.replace`` keeps it
        where only ``method``, ``atoms_map`` or ``info`` are other ones

    Examples
    --------
    >>> from alloygen.hamiltonian.ising import ising
    >>> from alloygen.montecarlo.sampling import metropolis
    >>> h = ising(4)
    >>> scan = metropolis(h, h.condition([2.5, 3.0]), n=1000, seed=0)
    >>> len(scan), scan[1].T
    (2, 3.0)
    >>> list(scan.to_xarray().sizes)
    ['condition']
    """

    hidden: Scan | None = None
    origin: Scan | None = None
    joint: Joint = None  # type: ignore[assignment]  # made of the samples where it is not theirs

    def __post_init__(self):
        super().__post_init__()
        if self.joint is None or not self.joint.of(self):
            parts = [self.alone(), *([] if self.hidden is None else [self.hidden.alone()])]
            moved = self.origin is not None and self.log_prob is None
            object.__setattr__(self, "joint", Elsewhere(parts, self.origin.joint) if moved else Joint(parts))

    # ------------------------------------------------------------------ a sequence of ensembles
    def __getitem__(self, c):
        if isinstance(c, slice) or np.ndim(c):
            return self.subset(np.arange(len(self))[c])
        if not -len(self) <= c < len(self):
            raise IndexError(f"expected a condition below {len(self)}, got {c}")
        return parts.condition(self, int(c) % len(self))

    @property
    def parts(self) -> list[Scan]:
        """These conditions and the hidden ones."""
        return [self] if self.hidden is None else [self, self.hidden]

    @property
    def counts(self) -> np.ndarray:
        """(C, n, n_elements) atoms of each element."""
        return self.joint.shown.counts

    def subset(self, conditions: ArrayLike) -> Scan:
        """The scan of some conditions, by index. Where there are hidden ones the others join them: what is known of free energies stays."""
        return parts.some(self, np.asarray(conditions, dtype=int))

    def at(self, T: float, mu: Mu | None = None) -> Ensemble:
        """The ensemble at a condition of the scan. Raises BadCondition when it is not one of them."""
        return self[parts.place(self, T, mu)]

    @classmethod
    def concatenate(cls, scans: Sequence[Scan]) -> Scan:
        """One scan of the conditions of several, of the same Hamiltonian, supercell, kind of samples and n."""
        return parts.joined(cls, list(scans))

    # ------------------------------------------------------------------ convergence
    @property
    def convergence(self) -> list[Convergence]:
        """Autocorrelation, effective samples and split R-hat at each condition: the worst of E - mu.N and the compositions.

        With exchange the effective samples are those of the ladder, and a condition has also not converged where its own series misses the
        averages of the ladder by more than 3 standard errors of a series that had met all that the ladder knows; where flips are rarely
        accepted and fewer than 3 replicas came down from the hottest condition (``facts.renewals``); and where the samples of the
        conditions cannot be joined. Without exchange it has not where fewer than 0.5 % of the flips are accepted. The note says what to do.
        """
        return self.joint.convergence(lambda c: convergence.at(self.joint.shown, c, self[c].averages))

    @property
    def converged(self) -> np.ndarray:
        """(C,) bool: enough effective samples and agreeing chains."""
        return np.array([c.converged for c in self.convergence])

    # ------------------------------------------------------------------ free energies
    @property
    def mbar(self) -> MBAR:
        """All conditions pooled by MBAR, the hidden ones too: free energies and averages at any (T, mu) in reach of the samples.

        Absolute when the run holds T = infinity; see :class:`alloygen.estimate.mbar.MBAR`. Raises AlloygenError for samples with a
        likelihood, and where the samples of some conditions have too little in common with those of the others.
        """
        return self.joint.mbar

    @property
    def branches(self) -> Branches:
        """What absolute free energies rest on: the samples cut where nothing passed, each branch with its own reference.

        See :mod:`alloygen.estimate.branches`. Raises AlloygenError for a run without T = infinity.
        """
        return self.joint.branches

    @property
    def pool(self) -> Pool:
        """All samples of all conditions as one weighted set, for averages at any (T, mu) or composition in reach."""
        return self.joint.pool

    @property
    def absolute(self) -> bool:
        """Whether free energies are absolute: chains at T = infinity too, with a known number of configurations."""
        return self.joint.absolute

    @property
    def gap(self) -> str:
        """Why free energies of a Monte Carlo scan are missing at some conditions; empty where all are known."""
        return self.joint.gap

    def tell(self, remedy: str = "") -> None:
        """Warn :class:`~alloygen.errors.LowSampleSize` of conditions whose weights are uneven; once for a scan."""
        if self.log_prob is None or weights.heard(self.log_prob):
            return
        found = np.array([weights.ness(row) for row in -self.reduced - self.log_prob])
        if (few := found < weights.UNEVEN).any():
            worst = int(found.argmin())
            weights.tell(
                self.log_prob,
                f"the weights of {int(few.sum())} of {len(self)} conditions are uneven (NESS below {weights.UNEVEN}; least {found[worst]:.2g}, at T = "
                f"{self.T[worst]:g}, mu = {self.mu[worst].tolist()}): what rests on them is unreliable. {remedy or weights.REFINE}",
            )

    def free_energy(self, c: int) -> Estimate:
        """Phi = -kB T log Z / N at a condition, an Estimate: absolute if the run held T = infinity, else an error.

        Counted from T = infinity and from the ground level (:attr:`branches`); nan, with a note that says why, where nothing joins the
        samples to either.
        """
        return self[c].free_energy() if self.log_prob is not None else self.joint.free_energy(c)

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
        >>> h = ising(4)
        >>> scan = replica_exchange(h, h.grid([2.0, 2.2]), n=1000, ladder=[3.0, 5.0, float("inf")], seed=0, check=False)
        >>> cov = scan.free_energy_covariance()
        >>> bool(cov[0, 1] > 0.8 * (cov[0, 0] * cov[1, 1]) ** 0.5)
        True
        """
        if self.log_prob is not None:
            return np.diag([self.free_energy(c).stderr ** 2 for c in range(len(self))])
        return self.joint.covariance()

    def free_energies(
        self, T: Temperatures | None = None, element: str | None = None, *, law: Callable[[float], Any] | None = None
    ) -> xr.Dataset:
        """F(T, x) at fixed composition, with energy, entropy, heat capacity and order: an ``xarray.Dataset`` over (T, n) of a binary.

        From the samples of all conditions together, reweighted in mu and T; see :func:`alloygen.results.canonical.free_energies`. ``T``
        defaults to the temperatures of the scan. On fcc, bcc and hcp lattices order_L1_2, order_B2, ... are there too, those of
        :func:`alloygen.estimate.order.orders_of`. Where sites were held, compositions that cannot be reached are nan.

        Beside other kinds of sites, open at chemical potentials that are the same everywhere, F is the minimum over their occupations, see
        :mod:`alloygen.results.compositions`.

        Of three and more elements on the same sites it is over (T, composition), see :func:`alloygen.results.compositions.free_energies`, and needs chemical potentials in
        as many directions as the composition has; the orders are those of :func:`alloygen.estimate.order.sublattice_order`, order_L1_2_Cu, ...

        ``law`` is a function of T that returns the ECIs there, in the order of the orbits, or an expansion on the same lattice: E + F_vib(T) of each
        figure (van de Walle and Ceder, Rev. Mod. Phys. 74, 11 (2002)). F is that of the law of its T; entropy and heat capacity are those of the
        configurations at the ECIs of that T, without what these change with T.

        Examples
        --------
        >>> import alloygen
        >>> from ase.build import bulk
        >>> scan = alloygen.scan(bulk("Cu", a=3.8).repeat((2, 2, 4)), T=[600], mu={"Au": [-0.1, 0, 0.06, 0.1]}, n=200, seed=0)
        >>> table = scan.free_energies()
        >>> round(float(table.mixing.sel(T=600, n=8)), 3)     # eV per site at x = 1/2; exact: -0.0421
        -0.042
        """
        return diagrams.table(self, T, element, law)

    def phase_diagram(
        self,
        T: Temperatures | None = None,
        element: str | None = None,
        *,
        step: float | None = None,
        min_width: int = 3,
        law: Callable[[float], Any] | None = None,
    ) -> PhaseDiagram | IsothermalSections:
        """The temperature-composition diagram of a binary, a :class:`~alloygen.results.phase_diagram.PhaseDiagram`.

        T : temperatures of the diagram; default: over the range of the scan in steps of ``step`` (10 K for alloys, else 1/40 of the
        range), reweighted between those that were sampled. element : that x counts. law : ECIs that depend on T, as in :meth:`free_energies`

        Of three and more elements it is a stack of :class:`~alloygen.results.sections.IsothermalSections`, at the temperatures that were sampled if none are given.
        Of sites of several kinds it is that of the kind whose chemical potentials vary, at those of the others, which must be the same everywhere: phases
        in equilibrium with a reservoir of the other elements.

        Raises AlloygenError where there are no two elements, for kinds of sites that share elements or vary together, for samples without absolute free energies, and for samples of one composition.
        """
        return diagrams.diagram(self, T, element, step, min_width, law)

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
        width = 1.0 / binary(self.hamiltonian, element).free if width is None else width
        at = [self[int(c)] for c in np.flatnonzero(np.isclose(self.T, T))]
        return paper.binned_free_energy(at, T, x, width, element)

    # ------------------------------------------------------------------ other laws
    def reweighted(self, energy: EnergiesLike, then: Bridge | None = None) -> Scan:
        """The samples of all conditions under another Hamiltonian: averages, free energies and phase diagrams of that one.

        Parameters
        ----------
        energy : an expansion, an ASE calculator, or energies (C, n) of the whole cells, as :meth:`alloygen.Ensemble.reweighted` takes
        then : ``alloygen.Anneal()`` moves the samples of each condition to an expansion, for samples with a likelihood

        Samples with a likelihood have the weights exp(-u') / q. Monte Carlo samples of all conditions, the hidden ones too, are one pool, whose
        weights g (:mod:`alloygen.estimate.pool`: from MBAR under the old law) serve any law: log Z' = log sum_i g_i exp(-beta [E'_i - mu.N_i]),
        so what a condition lacks its neighbours may have. Errors are those of the pool's replicas. ``origin`` is the scan as it was drawn,
        and :meth:`free_energy_difference` knows what the two share.

        Warns :class:`~alloygen.errors.LowSampleSize` of conditions with uneven weights. Raises as :meth:`alloygen.Ensemble.reweighted` does, and
        AlloygenError for energies in place of an expansion where a ladder is hidden, whose samples have energies too.

        Examples
        --------
        >>> import alloygen.data
        >>> from alloygen.montecarlo.sampling import replica_exchange
        >>> alloy = alloygen.data.cuau()
        >>> h = alloy.on((2, 2, 2))
        >>> scan = replica_exchange(h, h.grid([700.0, 900.0]), ladder=[1500.0, float("inf")], n=1000, seed=0, check=False)
        >>> softer = scan.reweighted(alloy.with_ecis(0.95 * alloy.ecis))
        >>> softer.free_energy_difference(0).stderr < softer.free_energy(0).stderr
        True
        """
        return moved.reweighted(self, energy, then)

    def free_energy_difference(self, c: int) -> Estimate:
        """Phi - Phi_0 per site at a condition, Phi_0 that of the scan which was reweighted (``origin``), with an error that counts what they share.

        Of samples with a likelihood see :meth:`alloygen.Ensemble.free_energy_difference`; of Monte Carlo samples it is the spread of the difference
        over the replicas of the pool. Raises AlloygenError for a scan that was not reweighted.
        """
        return self[c].free_energy_difference()

    def relabel(
        self,
        calculator: Any,
        relax: RelaxLike = False,
        *,
        references: str | Mapping[str, float] | None = "ends",
        job: Job | None = None,
    ) -> RelabelledScan:
        """The energies of a force field or of DFT for the configurations of all conditions, each computed once up to symmetry.

        calculator, relax, references, job : as in :meth:`alloygen.Ensemble.relabel`

        Returns :class:`~alloygen.results.relabelled.RelabelledScan`: each condition as :meth:`alloygen.Ensemble.relabel` gives it, and ``scan``, all of them
        under the calculator's law, from which its phase diagram follows. Raises and warns as that does, once for all conditions.

        Examples
        --------
        >>> import alloygen
        >>> from ase.build import bulk
        >>> from ase.calculators.emt import EMT
        >>> atoms = bulk("Cu", a=3.8).repeat((2, 2, 2))
        >>> scan = alloygen.scan(atoms, T=[1500], mu={"Au": [-0.2, 0.0, 0.2]}, n=50, sampler="mc")
        >>> found = scan.relabel(EMT())
        >>> len(found), len(found.structures) <= 16, found[1].difference.value < 0
        (3, True, True)
        """
        recipe = Recipe(calculator=calculator, relax=relax)
        made = relabelled.relabel(list(self), recipe, references, settings(job, Job, "job"))
        return RelabelledScan(source=self, conditions=made)

    def select(self, n: int, how: str = "weighted", seed: int = 0) -> ScanSelection:
        """A few configurations that stand for all conditions, each once up to symmetry, with weights at each condition.

        n, how, seed : as in :meth:`alloygen.Ensemble.select`; n of all conditions together. "weighted" draws by the mean of the weights over the
            conditions, and weighs at each so that averages there are unbiased; "low-energy" counts E - mu.N from the lowest of each condition

        Returns :class:`~alloygen.results.selected.ScanSelection`. AlloygenError where none is left of a condition: take more.

        Examples
        --------
        >>> import alloygen
        >>> from ase.build import bulk
        >>> scan = alloygen.scan(bulk("Cu", a=3.8).repeat((2, 2, 2)), T=[1500], mu={"Au": [-0.1, 0.1]}, n=50, sampler="mc")
        >>> chosen = scan.select(8)
        >>> len(chosen), chosen.manifest.groupby("mu_Au").weight.sum().round(9).tolist()
        (8, [1.0, 1.0])
        """
        return selected.select_of_all(list(self), n, how, seed)

    def posterior(
        self,
        ecis: ArrayLike | Sequence[ClusterExpansion] | None = None,
        n: int = 100,
        T: Temperatures | None = None,
        element: str | None = None,
        *,
        then: Bridge | None = None,
        seed: int = 0,
    ) -> PosteriorBands:
        """What the fit of the expansion leaves open: the phase diagram of a binary with bands, a :class:`~alloygen.results.posterior.PosteriorBands`.

        ecis : samples of the ECIs (draws, K), in the order of the orbits, or expansions on the same lattice; by default ``n`` draws from the posterior
            that an expansion of :func:`alloygen.fit` remembers
        T, element : as in :meth:`phase_diagram`
        then : ``alloygen.Anneal()`` takes draws along that the samples do not reach, for samples with a likelihood; else they are left out, with a
            warning, and counted in ``bands.draws``

        No new sampling: the samples of the scan are reweighted to each draw. Raises AlloygenError for more than two elements, ECIs of another number
        and nan, and where fewer than three draws are reached; else as :meth:`phase_diagram` does.

        Examples
        --------
        >>> import alloygen
        >>> from ase.build import bulk
        >>> alloy = alloygen.data.cuau()
        >>> scan = alloygen.scan(bulk("Cu", a=3.8).repeat((2, 2, 4)), T=[500, 600, 700], mu={"Au": [-0.1, 0, 0.06, 0.1]}, n=200)
        >>> off = 1 + 0.05 * np.random.default_rng(0).normal(size=(20, len(alloy.ecis)))      # every ECI known to 5 %
        >>> bands = scan.posterior(off * alloy.ecis, T=[500, 600, 700])
        >>> bands.draws["how"].unique().tolist()
        ['reweighted']
        >>> x = bands.free_energy.sel(T=600, n=8)          # meV per site: a thousand draws say more of F than 5 % of ECIs
        >>> bool(x.mixing_fit > 5 * x.mixing_stderr)
        True
        """
        from alloygen.results.posterior import posterior_bands

        return posterior_bands(self, ecis, n, T, element, then, seed)

    # ------------------------------------------------------------------ tables
    def to_xarray(self) -> xr.Dataset:
        """Averages with errors by condition, an ``xarray.Dataset`` with units and conventions in its attributes."""
        return tables.table(self, list(self), self.convergence if self.chains else [], self.absolute)

    def to_pandas(self) -> pd.DataFrame:
        """The same as a ``pandas.DataFrame``, one row per condition."""
        return self.to_xarray().to_dataframe().reset_index(drop=True)

    def write(self, path: PathLike) -> Path:
        """Write the table as netCDF (.nc) or CSV (.csv), whole or not at all; returns the path."""
        path = Path(path)
        tables.require_table(path)
        with atomic_path(path) as part:
            if path.suffix == ".csv":
                self.to_pandas().to_csv(part, index=False)
            else:
                write_table(part, self.to_xarray())
        return path

    def __repr__(self) -> str:
        span = lambda x: f"{x.min():g}" + (f" to {x.max():g}" if x.min() != x.max() else "")  # noqa: E731
        mu = ", ".join(f"mu_{e} {span(m)}" for e, m in zip(self.hamiltonian.elements, self.mu.T, strict=True))
        return f"Scan({self.method!r}, {len(self)} conditions, T {span(self.T)}, {mu}, n={self.n}, {self.hamiltonian.lattice!r})"
