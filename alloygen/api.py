"""What users call: ``sample``, ``scan``, ``mc``, ``train``, ``load``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from alloygen.arguments import record, seed_from, whole_number
from alloygen.conditions import (
    Mu,
    Mus,
    chemical_potentials,
    exchangeable,
    grid,
    mu_from_field,
    mu_list,
    references,
    temperature,
    temperatures,
)
from alloygen.conditions.composition import Balance, Composition, require_composition
from alloygen.conditions.given import require_among
from alloygen.conditions.record import condition_from
from alloygen.edge.problem import AtomsLike, Fixed, HamiltonianLike, Problem
from alloygen.errors import AlloygenError, BadCondition
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.hamiltonian.scale import scale
from alloygen.models.base import Model
from alloygen.models.store import load_model
from alloygen.montecarlo.laddered import MonteCarlo
from alloygen.registry import load
from alloygen.results.adaptive import Spacing
from alloygen.results.ensemble import Ensemble
from alloygen.results.scan import Scan
from alloygen.runtime.job import Job
from alloygen.samplers import Neural, Sampler, SamplerLike, placed, settled
from alloygen.types import PathLike, Temperatures

if TYPE_CHECKING:
    from alloygen.training.config import Config

__all__ = ["load", "mc", "sample", "scan", "train"]

POINTS = {1: 9, 2: 5}  # values of each chemical potential that a scan begins with, by how many are varied; of more 3
REACH = 5.0  # kT beyond the phases, where other elements are below a per cent


def train(
    alloy: Problem | Hamiltonian | HamiltonianLike | None = None,
    folder: PathLike | None = None,
    *,
    config: Config | dict | PathLike | None = None,
    minutes: float = 10.0,
    cells: Sequence | None = None,
    T: tuple[float, float] | None = None,
    mu: Mapping[str, tuple[float, float]] | tuple[float, float] | None = None,
    name: str | None = None,
    seed: int | None = 0,
    workers: int = 0,
    resume: bool = True,
    progress: bool = True,
) -> Model:
    """Train a law of an alloy for some minutes, and keep it where ``sample`` finds it; or train by a configuration.

    The law is one of every supercell (docs/any_cell.md), learned by maximum likelihood on replica exchange. Short trainings begin with the network for every
    binary alloy of the lattice where there is one (:func:`alloygen.polish`). A run that was interrupted goes on with the same call.

    Parameters
    ----------
    alloy : a ClusterExpansion of any species and sublattices, its name or file, CLEASE's (settings, ECIs) or a Clease calculator; or a Hamiltonian on a
        supercell, which is then the one to learn on
    minutes : of training; the Monte Carlo samples that it learns from take some seconds more
    cells : supercells to learn on, [(4, 4, 4), (2, 2, 4)] or matrices; None: of 64 and of 16 sites at most
    T : (low, high); None: 0.6 to 5 times the temperature at which the alloy orders, which a short run finds
    mu : {element: (low, high)}, counted from the first element; None: from one nearly pure alloy to the other
    name : of the model; None: that of the expansion
    folder : where it is kept; None: the user's models, ``$ALLOYGEN_MODELS`` or ``~/.alloygen/models``. With a configuration: where the run lives
        (default ``runs/<name>``), the model itself being ``folder/model.safetensors``
    config : in place of an alloy: a TOML file, a dict, or the name of a configuration that ships; it says all the rest. ``resume=False`` starts it anew
    seed : of samples and weights
    workers : processes that make batches ahead, on other cores; a script that asks for any has to stand below ``if __name__ == "__main__":``

    Returns the model.

    Raises
    ------
    ConfigError, AlloygenError : what cannot be, before any work
    TrainingInterrupted : after Ctrl-C, everything saved

    Examples
    --------
    >>> model = alloygen.train(alloy, minutes=10)                    # doctest: +SKIP
    >>> alloygen.sample(atoms, T=600, mu={"Pd": -0.1}, hamiltonian=alloy)  # doctest: +SKIP
    """
    if (alloy is None) == (config is None):
        raise AlloygenError(
            f"expected an alloy, or config=, a configuration that names one, got {'none' if alloy is None else 'both'}"
        )
    if config is None:
        from alloygen.own_law import train_alloy

        if isinstance(alloy, dict) or str(alloy).endswith(".toml"):
            raise AlloygenError(f"expected an alloy, got a configuration, {alloy!r}; give it as config=")
        how: dict[str, Any] = dict(cells=cells, T=T, mu=mu, name=name, folder=folder)
        how |= dict(seed=seed, workers=workers, progress=progress)
        return train_alloy(alloy, minutes=minutes, **how)
    from alloygen.data import configurations
    from alloygen.training.config import load_config
    from alloygen.training.loop import train as run

    if isinstance(config, str) and config in configurations():
        config = configurations()[config]
    config = load_config(config)
    return load_model(run(config, Path(folder or Path("runs") / config.name), resume=resume, progress=progress))


def sample(
    atoms: AtomsLike,
    T: float,
    mu: Mu | None = None,
    n: int = 1000,
    *,
    h: float | None = None,
    seed: int | None = 0,
    hamiltonian: HamiltonianLike | None = None,
    sampler: SamplerLike = None,
    composition: Composition | None = None,
    fixed: Fixed | None = None,
    job: Job | None = None,
) -> Ensemble:
    """Draw equilibrium configurations of an alloy at temperature T and chemical potentials mu, or at a composition.

    p(x) = exp(-beta [E(x) - sum_k mu_k N_k(x)]) / Z, the semigrand-canonical law; with a composition mu = 0, the sum is over its configurations alone,
    and ``ens.free_energy()`` is F = -kT log Z / N.

    Parameters
    ----------
    atoms : ase.Atoms, a pymatgen Structure or the path of a structure file: any supercell of a known lattice at any lattice constant (a
        lattice model knows no length). Its elements and those in mu say which alloy is meant. It is never changed. Or a Hamiltonian
        on a supercell, such as ``alloygen.ising(10)`` or ``expansion.on((4, 4, 4))``, whose sites then stand for the atoms; or a
        ``alloygen.Problem``, which has been resolved already
    T : temperature in kelvin (of the Ising model in J / kB)
    mu : {"Au": 0.02} means mu_Au = 0.02 eV and 0 for the elements that are not named; Phi belongs to the mu that is given. For a binary
        a bare number is accepted: mu of the last species of the expansion's list, the first has 0. See :mod:`alloygen.conditions`
    n : number of configurations, independent ones where a model draws
    h : field of the Ising model instead of mu, H = -J sum s s - h sum s, so that Phi is its F; on top of one in the Hamiltonian
    seed : same seed, same bits, for any number of threads and any batch; the first m of n configurations are those of n = m. None: a
        fresh one, in ``ens.info["seed"]``. The whole rule is in :mod:`alloygen.arguments`
    hamiltonian : a ClusterExpansion, its name or file, for an alloy that no shipped expansion describes; Atoms that carry a Clease
        calculator need none
    sampler : :class:`alloygen.Neural` (which model, order, average, what follows) or :class:`alloygen.MonteCarlo`; or "neural", "mc", a
        model, the name or path of a checkpoint. None: the model that fits; Monte Carlo where none does, with a NoModel warning that says
        which supercells have models, and at conditions that the model was not trained on, with an OutsideTrainedRange warning. A model that
        is named refuses those (:attr:`alloygen.Neural.outside`)
    composition : {"Au": 16} atoms, {"Au": 0.25} of the sites that may change, {0: {"Au": 4}} by sublattice, "atoms" for what the atoms have, or
        a :class:`alloygen.Balance` of charges, to which mu may be added. A model is corrected so that all draws have it, with exact
        weights; Monte Carlo takes moves that keep it
    fixed : sites that are held: {atom index: symbol}, indices or a mask of ``atoms``, which keep their symbols, or Atoms in the same order
        with "X" where free (where X is a species it is a held vacancy, and all Atoms are held). The rest is drawn from
        p(x_rest | x_fixed); ``ens.info["log_p_fixed"]`` is the model's log p(x_fixed), and
        :func:`alloygen.generate.conditional.constraint` the exact one
    job : how it is run: a bar, threads of Monte Carlo (:class:`alloygen.Job`)

    A supercell larger than every model's is out-painted, window by window. Returns an
    :class:`~alloygen.results.ensemble.Ensemble`; ``ens.method`` says how it was made.

    Examples
    --------
    >>> import alloygen
    >>> from ase.build import bulk
    >>> ens = alloygen.sample(bulk("Cu", a=3.8).repeat((2, 2, 4)), T=600, mu={"Au": 0.02}, n=100, seed=0)
    >>> len(ens.atoms), ens.method
    (100, 'neural')

    The Ising model, F = -T log Z / N; ``ens.occ`` is 1 where a spin points up. Exact: -2.197069.

    >>> ens = alloygen.sample(alloygen.ising(10), T=2.3, h=0.1, n=200)
    >>> abs(ens.free_energy().value + 2.197069) < 0.002
    True
    """
    if h is not None and np.ndim(h):
        raise BadCondition(f"expected one field h, got {h!r}; several are for scan and mc")
    mu = _no_potentials(mu, h, composition)
    T, mu, job = temperature(T), _potentials(atoms, mu, h), job or Job()  # T before any work is done
    n, seed = whole_number(n, "n, the number of configurations,"), seed_from(seed)
    if job.executor is not None:
        raise AlloygenError(
            f"expected no executor, got {job.executor!r}: it shares out the conditions of alloygen.scan"
        )
    found, problem = placed(sampler, atoms, [mu, composition], hamiltonian, fixed, larger=composition is None)
    problem = problem.at_composition(composition)
    at = condition_from(T, mu, problem.hamiltonian)
    return settled(found, sampler, at).sample(problem, at, n, seed, job)


def mc(
    atoms: AtomsLike,
    T: Temperatures,
    mu: Mus | None = None,
    n: int = 1000,
    *,
    h: float | Sequence[float] | None = None,
    seed: int | None = 0,
    hamiltonian: HamiltonianLike | None = None,
    composition: Composition | None = None,
    fixed: Fixed | None = None,
    job: Job | None = None,
    **options: Any,
) -> Scan:
    """Monte Carlo of an alloy at one or many conditions: the short way to a scan with ``sampler=MonteCarlo(**options)``.

    Parameters
    ----------
    atoms, T, h, hamiltonian, composition, fixed : as in :func:`sample`; several T or h
    mu : as in :func:`sample`, or a sequence, or {"Au": [..]}, or {"Au": [..], "Pd": [..]} for a plane; every T is combined with every mu, both sorted and each value once
        (:func:`alloygen.conditions.grid`). Moves that keep the composition take none but 0
    n : samples per condition
    seed : same seed, same samples, for any number of threads
    job : how it is run: threads, checkpoint, progress (:class:`alloygen.Job`)
    options : move ("flip", "swap" or a Move), method, start, copies, sweeps, burn, precision, ... of :class:`alloygen.MonteCarlo`

    Returns a :class:`~alloygen.results.scan.Scan`: ``scan[c]`` is the Ensemble of a condition, ``scan.to_pandas()`` a table,
    ``scan.phase_diagram()`` follows from several mu. Only what was asked for is shown; the samples of the ladder serve free energies.
    Where these cannot be had (LowSampleSize says why) Phi is nan and the configurations stand.

    Examples
    --------
    >>> import alloygen
    >>> from ase.build import bulk
    >>> scan = alloygen.mc(bulk("Cu", a=3.8).repeat((2, 2, 4)), T=[500, 700], mu={"Au": 0.02}, n=500)
    >>> abs(scan.at(500).free_energy().value - -0.048) < 0.005
    True
    """
    if "occ" in options:
        raise AlloygenError(f'expected start="atoms", got occ={options["occ"]!r}')
    sampler = record(MonteCarlo, options, [k for k in signature(mc).parameters if k != "options"])
    given = mu_list(_potentials(atoms, _no_potentials(mu, h, composition), h))
    n, seed, job = whole_number(n, "n, the samples per condition,"), seed_from(seed), job or Job()
    problem = Problem.of(atoms, [given, composition], hamiltonian, fixed).at_composition(composition)
    target = problem.hamiltonian
    sampler.require_no_field(given, [chemical_potentials(m, target) for m in given if m is not None])
    none = sampler.keeps_composition or (composition is not None and not isinstance(composition, Balance))
    return sampler.scan(problem, grid(T, {} if none else given, target), n, seed, job)


def scan(
    atoms: AtomsLike,
    T: Temperatures,
    mu: Mus | str | None = None,
    n: int = 500,
    *,
    h: float | Sequence[float] | None = None,
    seed: int | None = 0,
    hamiltonian: HamiltonianLike | None = None,
    sampler: SamplerLike = None,
    composition: Composition | None = None,
    adaptive: bool | Spacing | None = None,
    job: Job | None = None,
) -> Scan:
    """Sample an alloy over temperatures and chemical potentials, with more of them where the composition jumps.

    Parameters
    ----------
    atoms, h, hamiltonian, sampler, composition : as in :func:`sample`; several h, without them those that the model was trained on. At a composition the
        temperatures alone are varied: F, energies and order of one alloy
    T : temperatures in kelvin
    mu : {"Au": [...]}, {"Au": [...], "Pd": [...]} for a plane of them, a sequence of dicts; or None, where the atoms or the Hamiltonian say which elements there are, or "Au":
        of a binary the whole range that its model was trained on, else from one pure alloy to the others, as far as the energies say
        (:mod:`alloygen.hamiltonian.scale`) and the model was trained
    n : configurations at each condition
    seed : as in :func:`sample`: same seed, same bits, with any executor too, and the first m of n at each condition those of n = m
    adaptive : put conditions between neighbours in mu until each pair is near enough, True or a
        :class:`alloygen.results.adaptive.Spacing`; None: only where mu has no numbers. Along a line of mu Monte Carlo refines by exchange rates, in a
        plane up to 49 points by pilot runs (:func:`alloygen.montecarlo.tempering.mu_plane`)
    job : how it is run (:class:`alloygen.Job`): its executor (processes, threads, Dask, MPI) draws the conditions side by side, but not
        those of Monte Carlo, which exchange configurations; its checkpoint keeps finished conditions

    Returns a :class:`~alloygen.results.scan.Scan`: ``scan.to_xarray()`` is a table of averages over (T, mu),
    ``scan.free_energies()`` one over (T, x), ``scan.phase_diagram()`` what follows from it.

    Examples
    --------
    >>> import alloygen
    >>> from ase.build import bulk
    >>> scan = alloygen.scan(bulk("Cu", a=3.8).repeat((2, 2, 4)), T=[600, 900], mu={"Au": [-0.1, 0.0, 0.1]}, n=100)
    >>> len(scan), scan.method
    (6, 'neural')
    """
    n, seed, job = whole_number(n, "n, the configurations at each condition,"), seed_from(seed), job or Job()
    mu = _potentials(atoms, _no_potentials(mu, h, composition), h, whole=True)
    asked = None if mu is None or isinstance(mu, str) else mu_list(mu)
    refine = _refinement(asked is None if adaptive is None else adaptive)
    found, problem = placed(sampler, atoms, [mu if asked is None else asked, composition], hamiltonian, larger=False)
    problem = problem.at_composition(composition)
    target = problem.hamiltonian
    if isinstance(mu, str):
        require_among([mu], exchangeable(target.lattice), "mu that varies", ", which sites may exchange")
    conditions = grid(
        T, _whole_range(found, target, T, mu if isinstance(mu, str) else None) if asked is None else asked, target
    )
    if job.executor is None and not isinstance(adaptive, Spacing):  # which are of a model alone
        found = settled(found, sampler, conditions.condition(target.kB))
    if isinstance(found, Neural):
        return found.scan(problem, conditions, n, seed, job, refine)
    if job.executor is not None or isinstance(adaptive, Spacing):
        raise AlloygenError(
            f"expected neither executor nor Spacing with Monte Carlo, whose conditions exchange configurations and which refines by the rates "
            f"of exchange, got {job} and adaptive={adaptive!r}; Job(threads=) shares out its chains"
        )
    return found.scan(problem, conditions, n, seed, job, refine is not None)


def _refinement(adaptive: bool | Spacing) -> Spacing | None:
    if isinstance(adaptive, Spacing):
        return adaptive
    if not isinstance(adaptive, (bool, np.bool_)):
        raise AlloygenError(
            f"expected adaptive as True, False or a Spacing of alloygen.results.adaptive, got {adaptive!r}"
        )
    return Spacing() if adaptive else None


def _spins(atoms) -> bool:
    """Whether a Hamiltonian is one of spins, which a field acts on."""
    atoms = atoms.hamiltonian if isinstance(atoms, Problem) else atoms
    return isinstance(atoms, Hamiltonian) and set(atoms.elements) == {"-", "+"}


def _no_potentials(mu: Any, h: Any, composition: Composition | None) -> Any:
    """mu as it is given; where the composition says the number of every element it is 0."""
    if composition is not None:
        require_composition(composition)
    if composition is None or isinstance(composition, Balance):
        return mu if composition is None or mu is not None else {}
    if mu is not None or h is not None:
        raise BadCondition(
            f"expected a composition or chemical potentials, got both, composition={composition!r} and {'mu' if h is None else 'h'}="
            f"{mu if h is None else h!r}: at fixed numbers of atoms mu has no say. Leave one out"
        )
    return {}


def _potentials(atoms: AtomsLike, mu: Any, h: Any, whole: bool = False) -> Any:
    """Chemical potentials as they are given, or those of a field: mu(+) = h, mu(-) = -h. Spins without either have no field.

    whole : nothing given means the range of the model, for spins too
    """
    if h is None:
        return {} if mu is None and _spins(atoms) and not whole else mu
    if not _spins(atoms):
        raise BadCondition(
            "expected h, a field, with the Ising model alone, such as alloygen.ising(10); for an alloy give mu, or mu_from_field(h) of "
            "alloygen.conditions"
        )
    if mu is not None:
        raise BadCondition(f"expected a field h or chemical potentials mu, got both, h={h!r} and mu={mu!r}")
    return mu_from_field(h)


def _whole_range(sampler: Sampler, target: Hamiltonian, T: Temperatures, element: str | None):
    """Chemical potentials over the whole range of a model of a binary, else over the phases of the alloy, as far as its model was trained.

    element : the one whose chemical potential is varied, where only one is
    """
    model = sampler.law if isinstance(sampler, Neural) else None
    of, names = references(target.lattice), target.elements
    free = [e for e in range(len(names)) if of[e] != e]
    if model is not None and _spins(target):
        low, high = model.ranges["mu"][0]
        return mu_from_field(0.5 * np.linspace(low, high, POINTS[1]))
    if model is not None and len(free) == 1 and of[free[0]] == 0:
        low, high = model.ranges["mu"][free[0] - 1]
        return {names[free[0]]: np.linspace(low, high, POINTS[1]).tolist()}
    spans = scale(target).beyond(REACH, float(np.max(temperatures(T))))
    if model is not None:
        trained = np.array(model.ranges["mu"])
        spans = np.clip(spans, trained[:, :1], trained[:, 1:])
    varied = [e for e in free if element in (None, names[of[e]], names[e])] if len(free) > 1 else free
    count = POINTS.get(len(varied), 3)
    return {names[e]: np.linspace(spans[e - 1, 0], spans[e - 1, 1], count).tolist() for e in varied}
