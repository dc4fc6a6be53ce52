"""What users call: ``sample``, ``scan``, ``mc``, ``train``, ``load``."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from alloygen.arguments import one_of, positive, seed_from, whole_number
from alloygen.conditions import (
    Mu,
    Mus,
    chemical_potentials,
    exchangeable,
    mu_from_field,
    references,
    relative,
    temperature,
)
from alloygen.edge.atoms_map import AtomsMap
from alloygen.edge.problem import AtomsLike, Fixed, HamiltonianLike, Problem, expansion_of
from alloygen.edge.supercell import TOL
from alloygen.ensemble import Ensemble
from alloygen.errors import (
    AlloygenError,
    BadCondition,
    CheckpointError,
    LatticeMismatch,
    LowSampleSize,
    NoModel,
    OutsideTrainedRange,
    UnusableModel,
)
from alloygen.estimate.weights import user_level
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.hamiltonian.expansion import ClusterExpansion
from alloygen.models.base import AnyOrder, Model
from alloygen.models.draw import draw, trained_family
from alloygen.models.store import Header, load_model, read_header
from alloygen.orders import FAMILIES
from alloygen.runtime.job import Job
from alloygen.scans import Scan
from alloygen.types import ArrayLike, PathLike, Temperatures

if TYPE_CHECKING:
    from alloygen.config import Config


METHODS = ("auto", "neural", "mc")
REFINE = (None, "smc", "blocks", "mcmc")
ENSEMBLES, MC_METHODS, STARTS = ("semigrand", "canonical"), ("replica exchange", "metropolis"), ("random", "atoms")
COLDER = 3  # times that the coldest temperature is halved in search of the ground level
_loaded: dict[tuple[str, int, int], Model] = {}


def load(path: PathLike, hamiltonian: Hamiltonian | ClusterExpansion | None = None) -> Model:
    """Load a trained model from a checkpoint file, or by the name of one that ships (``"cuau_4x4x4"``).

    Raises CheckpointError for a damaged or newer file, and for one of another Hamiltonian than the one given.

    Examples
    --------
    >>> import alloygen
    >>> alloygen.load("cuau_2x2x4").hamiltonian.n_sites
    16
    """
    path = _named(path)
    state = path.stat()
    key = (str(path.absolute()), state.st_mtime_ns, state.st_size)
    if key not in _loaded:
        _loaded[key] = load_model(path)
    model = _loaded[key]
    return load_model(path, hamiltonian) if hamiltonian is not None else model


def train(
    config: Config | dict | PathLike, folder: PathLike | None = None, *, resume: bool = True, progress: bool = True
) -> Model:
    """Train a model from a TOML configuration (path, dict, or the name of one that ships) and return it.

    The run lives in ``folder`` (default ``runs/<name>``) and goes on from there after an interrupt; the model itself is
    ``folder/model.safetensors``. See ``alloygen.training.train``.
    """
    from alloygen.config import load_config
    from alloygen.data import configurations
    from alloygen.training import train as run

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
    model: Model | PathLike | None = None,
    hamiltonian: HamiltonianLike | None = None,
    method: str = "auto",
    order: str | None = None,
    batch: int | None = None,
    fixed: Fixed | None = None,
    refine: str | None = None,
    effort: float = 1.0,
    stride: ArrayLike | None = None,
    average: int = 1,
    tol: float = TOL,
    job: Job | None = None,
) -> Ensemble:
    """Draw equilibrium configurations of an alloy at temperature T and chemical potentials mu.

    p(x) = exp(-beta [E(x) - sum_k mu_k N_k(x)]) / Z, the semigrand-canonical law.

    Parameters
    ----------
    atoms : ase.Atoms, a pymatgen Structure or the path of a structure file: any supercell of a known lattice at any lattice constant (a
        lattice model knows no length). Its elements and those in mu say which alloy is meant. It is never changed. Or a Hamiltonian
        on a supercell, such as ``alloygen.ising(10)`` or ``expansion.on((4, 4, 4))``, whose sites then stand for the atoms
    T : temperature in kelvin (of the Ising model in J / kB)
    mu : {"Au": 0.02} means mu_Au = 0.02 eV and 0 for the elements that are not named; Phi belongs to the mu that is given. For a binary
        a bare number is accepted: mu of the last species of the expansion's list, the first has 0. See :mod:`alloygen.conditions`
    n : number of independent configurations
    h : field of the Ising model instead of mu, H = -J sum s s - h sum s, so that Phi is its F; on top of one in the Hamiltonian
    seed : same seed, same bits, for any number of threads and any ``batch``; the first m of n configurations are those of n = m. None: a
        fresh one, in ``ens.info["seed"]``. The whole rule is in :mod:`alloygen.arguments`
    model : a model, the path of a checkpoint, or a name that ships; None picks the one that fits
    hamiltonian : a ClusterExpansion, for Monte Carlo of an alloy that no shipped expansion describes; Atoms that carry
        a Clease calculator need none
    method : "neural", "mc" (replica-exchange Monte Carlo), or "auto": neural where a model fits, else mc with a NoModel
        warning that says which supercells have models
    order : order family of the model ("sublattice", "raster", "random"); None takes the one it was trained on
    batch : at most so many configurations in work at once, in blocks of up to 128, for less memory; None: a block on each thread that
        torch may use (``torch.get_num_threads``). It changes no result
    fixed : sites that are held: {atom index: symbol}, indices or a mask of ``atoms``, which keep their symbols, or Atoms in the same order
        with "X" where free (where X is a species it is a held vacancy, and all Atoms are held). The rest is drawn from
        p(x_rest | x_fixed); ``ens.info["log_p_fixed"]`` is the log p(x_fixed) of an any-order model, and
        :func:`alloygen.generate.conditional.constraint` the exact one
    refine : what follows the draws (:mod:`alloygen.generate.refine`): "smc" draws hotter and anneals down with exact weights, "blocks" redraws
        blocks by Metropolis-Hastings, "mcmc" makes single flips; weights of the last two stay those of the draws. ``effort``
        multiplies the steps
    stride : steps between windows where the supercell is larger than the model's and is out-painted (:mod:`alloygen.generate.outpaint`)
    tol : how far atoms may be off their sites, as a fraction of the nearest-neighbour distance (:func:`alloygen.edge.match.match`)
    average : weigh each draw by its likelihood averaged over this many paths, orders and translates: more even weights for more time
    job : how it is run: a bar, threads of Monte Carlo (:class:`alloygen.Job`)

    A supercell larger than every model's is out-painted, window by window; ``ens.method`` says so. Returns an
    :class:`~alloygen.ensemble.Ensemble`; ``ens.method`` says how it was made.

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
    T, mu = temperature(T), _potentials(atoms, mu, h)
    n, seed = whole_number(n, "n, the number of configurations,"), seed_from(seed)
    average = whole_number(average, "average")
    one_of(method, "method", METHODS)
    one_of(refine, "refine", REFINE)
    effort = positive(effort, "effort")
    _require_drawing(order, batch)
    job = job or Job()
    if job.executor is not None:
        raise AlloygenError(
            f"expected no executor, got {job.executor!r}: it shares out the conditions of alloygen.scan"
        )
    model, problem = _resolve(atoms, mu, model, hamiltonian, method, tol=tol, fixed=fixed)
    potentials = chemical_potentials(mu, problem.hamiltonian)
    if model is None or method == "mc":
        _require_unused(sample, order=order, batch=batch, stride=stride, average=average, refine=refine, effort=effort)
        return _monte_carlo(problem, T, potentials, n, seed, job)
    if job.checkpoint is not None:
        raise AlloygenError(
            f"expected no checkpoint, got {job.checkpoint!r}: a model draws anew from the same seed; Monte Carlo and scans keep one"
        )
    drawing = _Drawing(order or trained_family(model), batch, stride, average, refine, effort, job.progress)
    return _neural(model, problem, T, potentials, n, seed, drawing)


def mc(
    atoms: AtomsLike,
    T: Temperatures,
    mu: Mus | None = None,
    n: int = 1000,
    *,
    h: float | Sequence[float] | None = None,
    ensemble: str = "semigrand",
    method: str = "replica exchange",
    hamiltonian: HamiltonianLike | None = None,
    start: str = "random",
    fixed: Fixed | None = None,
    seed: int = 0,
    tol: float = TOL,
    job: Job | None = None,
    **run: Any,
) -> Scan:
    """Monte Carlo of an alloy at one or many conditions.

    Parameters
    ----------
    atoms : ase.Atoms, a Structure, a path or a Hamiltonian, as in :func:`sample`; never changed
    T : temperature in kelvin, or several
    mu : as in :func:`sample`, or a sequence, or {"Au": [..]}; every T is combined with every mu, both sorted and each value once
        (:func:`alloygen.conditions.axes`). Canonical runs take none but 0
    n : samples per condition
    h : fields of the Ising model, as in :func:`sample`, one or several
    ensemble : "semigrand" (flips at T and mu) or "canonical" (swaps at the composition of the atoms; free energies are those of
        what swaps reach, see :mod:`alloygen.montecarlo.states`)
    method : "replica exchange" (over T and mu, on a ladder of temperatures up to infinity that is chosen automatically,
        so that free energies are absolute) or "metropolis" (independent chains at each condition)
    hamiltonian : a ClusterExpansion, its name or file, as in :func:`sample`
    tol : as in :func:`sample`
    start : "random", or "atoms" to start from their species; canonical runs start from the atoms
    fixed : sites that are held, as in :func:`sample`
    seed : same seed, same samples, for any number of threads
    job : how it is run: threads, checkpoint, progress (:class:`alloygen.Job`)
    run : sweeps, burn, precision, max_n, observers, ...: see :class:`alloygen.montecarlo.run.Run`; copies

    Returns a :class:`~alloygen.scans.Scan`: ``scan[c]`` is the Ensemble of a condition, ``scan.to_pandas()`` a table,
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
    from alloygen.conditions import axes, mu_list
    from alloygen.montecarlo.sampling import metropolis

    for name, value, allowed in (
        ("ensemble", ensemble, ENSEMBLES),
        ("method", method, MC_METHODS),
        ("start", start, STARTS),
    ):
        one_of(value, name, allowed)
    mu = mu_list(_potentials(atoms, mu, h))
    seed, job, swap = seed_from(seed), job or Job(), ensemble == "canonical"
    problem = Problem.of(atoms, mu, hamiltonian, fixed, tol)
    target = problem.hamiltonian
    _require_run(run, n, target)
    rungs, mus = axes(T, {} if swap else mu, target)
    if swap and any(m is not None and chemical_potentials(m, target).any() for m in mu):
        raise BadCondition(
            f'expected no mu with ensemble="canonical", which keeps the composition of the atoms, got {mu}; leave it out, or use "semigrand"'
        )
    run |= {"job": job, "move": "swap" if swap else "flip"}
    run |= _start(problem, problem.occ if swap or start == "atoms" else None, seed)
    if method == "metropolis":
        all_T, all_mu = np.repeat(rungs, len(mus)), np.tile(mus, (len(rungs), 1))
        return replace(metropolis(target, all_T, all_mu, n, seed=seed, **run), atoms_map=problem.atoms_map)
    return _with_ladder(problem, rungs, mus, n, seed, run)


def scan(
    atoms: AtomsLike,
    T: Temperatures,
    mu: Mus | str | None = None,
    n: int = 500,
    *,
    h: float | Sequence[float] | None = None,
    adaptive: bool | None = None,
    spacing: float = 6.0,
    max_conditions: int = 2000,
    seed: int = 0,
    model: Model | PathLike | None = None,
    hamiltonian: HamiltonianLike | None = None,
    method: str = "auto",
    order: str | None = None,
    batch: int | None = None,
    tol: float = TOL,
    job: Job | None = None,
) -> Scan:
    """Sample an alloy over temperatures and chemical potentials, with more of them where the composition jumps.

    Parameters
    ----------
    atoms : ase.Atoms, a Structure, a path or a Hamiltonian, as in :func:`sample`
    T : temperatures in kelvin
    mu : {"Au": [...]}, a sequence of dicts, or "Au" (or None, where the atoms hold both elements) for the whole range that the
        model was trained on
    n : configurations at each condition
    h : fields of the Ising model, as in :func:`sample`, one or several; without them those that the model was trained on
    adaptive : put conditions between neighbours in mu until each pair has J = beta dmu dN below ``spacing`` nats (see
        :mod:`alloygen.adaptive`); default: only where mu has no numbers. Monte Carlo refines by exchange rates instead
    max_conditions : where refining stops
    seed : as in :func:`sample`: same seed, same bits, with any executor too, and the first m of n at each condition those of n = m
    model, hamiltonian, method, order, batch, tol : as in :func:`sample`
    job : how it is run (:class:`alloygen.Job`): its executor (processes, threads, Dask, MPI) draws the conditions side by side, but not
        those of Monte Carlo, which exchange configurations; its checkpoint keeps finished conditions

    Returns a :class:`~alloygen.scans.Scan`: ``scan.to_xarray()`` is a table of averages over (T, mu),
    ``scan.free_energies()`` one over (T, x), ``scan.phase_diagram()`` what follows from it.

    Examples
    --------
    >>> import alloygen
    >>> from ase.build import bulk
    >>> scan = alloygen.scan(bulk("Cu", a=3.8).repeat((2, 2, 4)), T=[600, 900], mu={"Au": [-0.1, 0.0, 0.1]}, n=100)
    >>> len(scan), scan.method
    (6, 'neural')
    """
    from alloygen.adaptive import NeuralScan
    from alloygen.conditions import axes, mu_list

    n, seed = whole_number(n, "n, the configurations at each condition,"), seed_from(seed)
    one_of(method, "method", METHODS)
    positive(spacing, "spacing, the largest J between neighbours in nats,")
    mu = _potentials(atoms, mu, h, whole=True)
    max_conditions = whole_number(max_conditions, "max_conditions")
    _require_drawing(order, batch)
    job = job or Job()
    asked = None if mu is None or isinstance(mu, str) else mu_list(mu)
    adaptive = asked is None if adaptive is None else adaptive
    named = asked if asked is not None else {} if mu is None else {mu: 0.0}
    model, problem = _resolve(atoms, named, model, hamiltonian, method, larger=False, tol=tol)
    target = problem.hamiltonian
    rungs, mus = axes(T, _whole_range(model, target) if asked is None else asked, target)
    if model is None or method == "mc":
        _require_unused(scan, order=order, batch=batch, spacing=spacing, max_conditions=max_conditions)
        if job.executor is not None:
            raise AlloygenError(
                f"expected no executor with Monte Carlo, whose conditions exchange configurations, got {job.executor!r}; use threads"
            )
        _require_run({}, n, target)
        if adaptive:
            from alloygen.montecarlo.tempering import mu_ladder

            mus = mu_ladder(target, rungs[0], mus, seed=seed, threads=job.threads)
        return _with_ladder(problem, rungs, mus, n, seed, {"job": job})
    _warn_outside(model, rungs, mus)
    drawn = NeuralScan(model, n, order, seed, batch, spacing if adaptive else None, max_conditions, job)
    return replace(drawn.run(np.repeat(rungs, len(mus)), np.tile(mus, (len(rungs), 1))), atoms_map=problem.atoms_map)


def _spins(atoms) -> bool:
    """Whether a Hamiltonian is one of spins, which a field acts on."""
    atoms = atoms.hamiltonian if isinstance(atoms, Problem) else atoms
    return isinstance(atoms, Hamiltonian) and set(atoms.elements) == {"-", "+"}


def _potentials(atoms, mu, h, whole: bool = False):
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


def _whole_range(model: Model | None, target: Hamiltonian):
    """Nine chemical potentials over the range that a binary's model was trained on."""
    free = exchangeable(target.lattice)
    if model is not None and _spins(target):
        low, high = model.ranges["mu"][0]
        return mu_from_field(0.5 * np.linspace(low, high, 9))
    if model is None or len(free) != 2 or free[0] != target.elements[0]:
        why = "Monte Carlo knows no range" if model is None else f"the range is one of {', '.join(target.elements[1:])}"
        raise BadCondition(f'expected numbers for mu, such as mu={{"{free[-1]}": [-0.2, 0.0, 0.2]}}, got none: {why}')
    low, high = model.ranges["mu"][target.elements.index(free[1]) - 1]
    return {free[1]: np.linspace(low, high, 9).tolist()}


# ---------------------------------------------------------------------- choosing the model
def _named(path) -> Path:
    from alloygen.data import checkpoints

    if isinstance(path, str) and path in checkpoints():
        return Path(str(checkpoints()[path]))
    if not isinstance(path, (str, os.PathLike)):
        raise AlloygenError(f"expected a model, a checkpoint path or one of {sorted(checkpoints())}, got {path!r}")
    if not os.path.exists(path):
        raise CheckpointError(
            f"expected the path of a checkpoint or a name that ships ({', '.join(checkpoints())}), got {os.fspath(path)!r}, "
            "where there is no file."
        )
    if os.path.isdir(path):
        raise CheckpointError(
            f"expected the file of a checkpoint, got the folder {os.fspath(path)!r}; a run's model is model.safetensors in its folder"
        )
    return Path(path)


def _resolve(
    atoms, mu, model, hamiltonian, method, larger: bool = True, tol: float = TOL, fixed=None
) -> tuple[Model | None, Problem]:
    """The model (None for Monte Carlo), and the problem on the model's sites or, to out-paint and for Monte Carlo, on its own.

    ``larger``: a model of a smaller supercell will do, to out-paint.
    """
    if model is not None:
        model = model if isinstance(model, Model) else load(model)
        if hamiltonian is not None:
            _require_hamiltonian(model, expansion_of(None, mu, hamiltonian))
        problem = Problem.of(atoms, mu, model.hamiltonian, fixed, tol)
        if larger and _site_row(model, problem) is None and _outpaints(model, problem.atoms_map):
            return model, problem
        return model, _fit(problem, model)
    problem = Problem.of(atoms, mu, hamiltonian, fixed, tol)
    found = problem.atoms_map
    if method == "mc":
        return None, problem
    models = _candidates(cast(ClusterExpansion, problem.hamiltonian.expansion))
    if (fitting := _first_whole(m for m in models if _site_row(m, problem) is not None)) is not None:
        return fitting, _fit(problem, fitting)
    by_size = sorted(models, key=lambda m: -m.lattice.n_sites)
    if larger and (smaller := _first_whole(m for m in by_size if _outpaints(m, found))) is not None:
        return smaller, problem
    if method == "neural":
        raise LatticeMismatch(
            f"expected a supercell that a model was trained for, got {found.lattice!r}: {_what_there_is(models, found)}. "
            'Train one with `alloygen train`, give model=, or use method="mc".'
        )
    other = "Choose such a supercell, train" if models else "Train"
    warnings.warn(
        f"Monte Carlo samples {found.lattice!r}, and its samples are correlated: {_what_there_is(models, found)}. {other} a model for this one "
        'with `alloygen train`, or pass method="mc" to say that Monte Carlo is meant.',
        NoModel,
        stacklevel=3,
    )
    return None, problem


def _candidates(expansion: ClusterExpansion) -> list[Header]:
    """The headers of the models at hand of an expansion; files that cannot be used are passed over and named."""
    from alloygen.data import checkpoints

    found, passed = [], []
    for path in map(str, checkpoints().values()):
        try:
            header = read_header(path)
            if header.expansion.fingerprint == expansion.fingerprint:
                found.append(header)
        except CheckpointError as error:
            passed.append(str(error))
    if passed:
        _pass_over(passed)
    return found


def _first_whole(headers: Iterable[Header]) -> Model | None:
    """The first of the models whose weights can be read."""
    for header in headers:
        try:
            return load(header.path)
        except CheckpointError as error:
            _pass_over([str(error)])
    return None


def _pass_over(errors: list[str]) -> None:
    warnings.warn(
        f"{len(errors)} files among the models are passed over: {' | '.join(errors)}", UnusableModel, stacklevel=6
    )


def _what_there_is(models: list[Header], found: AtomsMap) -> str:
    """Which supercells the models are for, those of as many sites first."""
    if not models:
        return "no model is known for this Hamiltonian"
    lattices = sorted((m.lattice for m in models), key=lambda a: (a.n_sites != len(found.site), a.n_sites))
    cells = {
        "x".join(map(str, a.matrix.diagonal())) + f" primitive cells ({a.n_sites} sites)"
        if np.array_equal(a.matrix, np.diag(a.matrix.diagonal()))
        else f"{a.matrix.tolist()} ({a.n_sites} sites)": a.n_sites
        for a in lattices
    }
    same = [name for name, n in cells.items() if n == len(found.site)]
    shape = f"; {' and '.join(same)} has as many sites in another shape" if same else ""
    return f"no model fits this supercell. There are models of {', '.join(cells)}{shape}"


def _require_hamiltonian(model: Model, expansion: ClusterExpansion) -> None:
    got = model.hamiltonian.expansion
    if got.fingerprint != expansion.fingerprint:
        raise CheckpointError(
            f"expected a model of the Hamiltonian {expansion.fingerprint} ({expansion.name}), got one of {got.fingerprint} "
            f"({got.name}). Leave hamiltonian out, or train a model for it."
        )


def _fit(problem: Problem, model: Model) -> Problem:
    """The problem on the sites of the model's supercell."""
    found, lattice = problem.atoms_map, model.hamiltonian.lattice
    row = _site_row(model, problem)
    if row is None:
        raise LatticeMismatch(
            f"expected a supercell of {lattice!r} with cell\n{np.array2string(lattice.cell, precision=4)}\n"
            f"got {found.lattice!r} with cell\n{np.array2string(np.array(found.atoms.cell), precision=4)}\n"
            "Use the model's supercell (repeats of the primitive cell, not of a conventional one), a model for this one, or leave model out "
            "for Monte Carlo."
        )
    return problem.renumbered(model.hamiltonian, row)


def _outpaints(model: Model | Header, found: AtomsMap) -> bool:
    """Whether the model's cell can be laid on a larger supercell, both repeats of the primitive cell along its axes."""
    from alloygen.generate.outpaint import windows

    try:
        windows(model.lattice, found.lattice)
    except LatticeMismatch:
        return False
    return True


def _site_row(model: Model | Header, problem: Problem) -> np.ndarray | None:
    """The model's site of each site that the Atoms were laid on, or None where the supercell is another.

    A turned cell is the same system only if the expansion has the symmetry of its lattice; energies tell.
    """
    own = problem.hamiltonian
    row = model.lattice.site_map(own.lattice)
    if row is None or np.array_equal(model.lattice.matrix, own.lattice.matrix):
        return row
    h = model.hamiltonian
    ours = h.random(4, torch.Generator().manual_seed(0))
    theirs = ours[:, torch.as_tensor(row)]
    same = torch.allclose(h.energy(ours), own.energy(theirs), atol=1e-9, rtol=1e-9)
    return row if same else None


# ---------------------------------------------------------------------- drawing
def _require_drawing(order: object, batch: object) -> None:
    """Check how a model is asked to draw."""
    one_of(order, "order", (None, *FAMILIES))
    if batch is not None:
        whole_number(batch, "batch")


@dataclass(frozen=True)
class _Drawing:
    """How a model draws and what follows; the arguments of ``sample``."""

    family: str
    batch: int | None
    stride: ArrayLike | None
    average: int
    refine: str | None
    effort: float
    progress: bool


def _neural(model: Model, problem: Problem, T, mu, n, seed, how: _Drawing) -> Ensemble:
    from alloygen.generate.outpaint import Outpainter
    from alloygen.generate.refine import refined

    _warn_outside(model, T, mu)
    target, known = problem.hamiltonian, problem.known if problem.held.any() else None
    generator = torch.Generator().manual_seed(seed)
    info = {"model": model.name, "fingerprint": target.fingerprint, "order": how.family, "seed": seed}
    grown = target.n_sites != model.hamiltonian.n_sites
    if how.stride is not None and not grown:
        raise AlloygenError(f"expected no stride for a supercell of the model's own size, got {how.stride!r}")
    painter = Outpainter(model, target, how.stride, family=how.family)

    def plain(t, count):
        if grown or known is not None or how.average != 1:
            made = painter.draw(t, mu, count, generator, known, how.batch, how.progress, how.average)
            return made.occ, made.log_prob
        return draw(model, t, mu, count, generator, family=how.family, batch=how.batch, progress=how.progress)

    method = "neural"
    if grown:
        source = model.hamiltonian.lattice
        method = f"neural, out-painted from {'x'.join(map(str, source.matrix.diagonal()))} cells"
        info["windows"] = len(painter.windows)
    if how.average > 1:
        info["average"] = how.average
    if known is not None:
        info["fixed"] = known >= 0
        if not grown and isinstance(model, AnyOrder):
            from alloygen.generate.conditional import log_p_fixed

            info["log_p_fixed"] = log_p_fixed(model, known, T, mu, generator=torch.Generator().manual_seed(seed))
    if how.refine is None:
        occ, log_prob = plain(T, n)
        return Ensemble(target, occ, target.energy(occ), log_prob, T, mu, method, problem.atoms_map, info)
    occ, log_prob, facts = refined(how.refine, painter, plain, T, mu, n, generator, how.effort, known)
    return Ensemble(
        target,
        occ,
        target.energy(occ),
        log_prob,
        T,
        mu,
        f"{method}, {how.refine}",
        problem.atoms_map,
        {**info, **facts},
    )


def _warn_outside(model: Model, T, mu: np.ndarray) -> None:
    """Warn where a temperature or a row of mu (..., n_elements) lies outside what the model was trained on."""
    lattice, (low, high) = model.hamiltonian.lattice, model.ranges["T"]
    outside = [
        f"T = {t:g} is outside {low:g} to {high:g}" for t in np.unique([np.min(T), np.max(T)]) if not low <= t <= high
    ]
    differences = np.atleast_2d(relative(mu, lattice))[:, 1:].T
    of, names = references(lattice)[1:], lattice.elements
    for k, values, (a, b) in zip(range(1, len(names)), differences, model.ranges["mu"], strict=True):
        for value in np.unique([values.min(), values.max()]):
            if not a - 1e-9 <= value <= b + 1e-9:
                outside.append(f"mu_{names[k]} - mu_{names[of[k - 1]]} = {value:g} is outside {a:g} to {b:g}")
    if outside:
        warnings.warn(
            f"the model was trained on another range: {'; '.join(outside)}. Weights stay exact, but look at the NESS, or "
            'use method="mc".',
            OutsideTrainedRange,
            stacklevel=4,
        )


# ---------------------------------------------------------------------- Monte Carlo
def _require_unused(function: Callable, **options) -> None:
    """Refuse options of ``function`` that Monte Carlo would have to drop: those that are not as they are by default."""
    defaults = {k: signature(function).parameters[k].default for k in options}
    given = {k: v for k, v in options.items() if v is not defaults[k] and v != defaults[k]}
    if given:
        raise AlloygenError(
            f"expected a model for {', '.join(f'{k}={v!r}' for k, v in given.items())}, which mean nothing to Monte Carlo, and no model is "
            "asked for or fits. Leave them out; alloygen.mc has the options of Monte Carlo"
        )


def _require_run(run: dict, n: object, h: Hamiltonian) -> None:
    """Check the options of a Monte Carlo run before the pilot runs of a ladder."""
    from alloygen.montecarlo.run import Run

    for name, instead in (("move", 'ensemble="canonical" for swaps, "semigrand" for flips'), ("occ", 'start="atoms"')):
        if name in run:
            raise AlloygenError(f"expected {instead}, got {name}={run[name]!r}")
    if "copies" in run:
        whole_number(run["copies"], "copies")
    own = [k for k in signature(mc).parameters if k != "run"]
    Run.of({"n": n, **{k: v for k, v in run.items() if k != "copies"}}, h, [*own, "copies"])


def _start(problem: Problem, occ: np.ndarray | None, seed: int) -> dict:
    """Keywords of a sampler that starts from ``occ`` (N,), random if None, with the sites held that the problem holds."""
    start = problem.start(occ, seed=seed)
    return ({} if start is None else {"occ": start[0]}) | ({"fixed": problem.held} if problem.held.any() else {})


def _monte_carlo(problem: Problem, T, mu, n: int, seed: int, job: Job) -> Ensemble:
    """Replica exchange up a ladder of temperatures at fixed mu; the samples of the lowest are kept."""
    run = {"job": job, **_start(problem, None, seed)}
    scan = _with_ladder(problem, [T], mu[None], n, seed, run)
    phi = {"free_energy": scan.free_energy(0)} if scan.absolute else {}  # found, so that the ladder may be forgotten
    return replace(scan[0], info={**scan[0].info, **phi})


def _with_ladder(problem: Problem, T, mu, n: int, seed: int, run: dict) -> Scan:
    """Replica exchange at T x mu, with the temperatures in between and above that it needs out of sight, and absolute free energies."""
    from alloygen.montecarlo.sampling import replica_exchange
    from alloygen.montecarlo.tempering import ladder

    h = problem.hamiltonian
    rungs = ladder(h, T, mu, seed=seed, threads=run["job"].threads, **_moving(run))
    made = replica_exchange(h, T, mu, n, ladder=rungs, seed=seed, **run)
    made = _with_cold_end(made, mu, seed, run)
    made = made.relabelled(atoms_map=problem.atoms_map, method="mc", info={**made.info, "ladder": rungs.tolist()})
    if made.gap:
        warnings.warn(f"Phi is missing (nan): {made.gap}", LowSampleSize, stacklevel=user_level())
    return made


def _moving(run: dict) -> dict:
    """The keywords of a run that say how its chains move."""
    return {k: run[k] for k in ("occ", "fixed", "move") if k in run}


def _with_cold_end(made: Scan, mu, seed: int, run: dict) -> Scan:
    """The scan with hidden colder conditions below, where a branch has no reference: its ground level is met there.

    The colder rungs start from the last configurations of the coldest ones and are equilibrated on their way down.
    """
    from alloygen.models.blocks import derived_seed
    from alloygen.montecarlo.sampling import replica_exchange
    from alloygen.montecarlo.tempering import ladder

    for k in range(COLDER):
        cold, colder = replace(made, hidden=None), made.hidden
        if not (made.absolute and made.branches.unpinned.any()):
            break
        T = made.T.min() if colder is None else min(made.T.min(), colder.T.min())
        if colder is not None and colder.T.min() == T:
            cold = colder
        start = cold.occ[cold.T == T][:, -1]
        moves = {**_moving(run), "occ": start[0]}
        down = ladder(made.hamiltonian, [T / 2, T], mu, T_max=T, seed=seed, threads=run["job"].threads, **moves)[:-1]
        more = replica_exchange(
            made.hamiltonian, down, mu, made.n, seed=derived_seed(seed, k), copies=max(made.chains, 1), check=False,
            sweeps=made.info["sweeps"], job=Job(threads=run["job"].threads), **{**moves, "occ": np.tile(start, (len(down), 1))},
        )  # fmt: skip
        made = replace(made, hidden=more if colder is None else Scan.concatenate([colder, more]))
    return made
