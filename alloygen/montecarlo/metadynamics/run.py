"""Free energy against composition by metadynamics in the number of atoms of an element.

Semigrand flips walk over the configurations while a potential V(N_X) grows where they are; it ends as the free energy
turned upside down, and every composition is visited alike, those inside a miscibility gap included. The protocol is that of
Du et al., arXiv:2603.14695 (2026), after Damewood et al., npj Comput. Mater. 8, 61 (2022): V is raised by a height at each
attempt, and the height is halved when the least visited number has 80 % of the mean visits or after 20,000 sweeps.
Free energies and errors come from what follows: walks under a frozen bias, which obey detailed balance (see
``estimate.profile.join_links``). All temperatures walk at once and exchange replicas, each with its own bias, so that the
ordered phases of a cold lattice are left through the hot ones.
"""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from alloygen.arguments import seed_from, settings
from alloygen.conditions import Mu, temperature
from alloygen.edge.problem import AtomsLike, Fixed, HamiltonianLike, Problem
from alloygen.errors import AlloygenError, NotConverged
from alloygen.estimate.profile import CompositionProfile, join_links, judge, series_error
from alloygen.montecarlo.metadynamics.counted import Counted
from alloygen.montecarlo.metadynamics.settings import Stages
from alloygen.montecarlo.metadynamics.walk import DONE, FlatWalk
from alloygen.runtime.job import Job
from alloygen.types import Temperatures


def metadynamics(
    atoms: AtomsLike,
    T: Temperatures,
    element: str | None = None,
    *,
    mu: Mu | None = None,
    hamiltonian: HamiltonianLike | None = None,
    fixed: Fixed | None = None,
    window: tuple[int, int] | None = None,
    stages: Stages | None = None,
    seed: int = 0,
    job: Job | None = None,
) -> CompositionProfile:
    """Canonical free energies F(N, T) against the number N of atoms of an element, with error bars.

        F(N, T) = -kT log sum_(x: N(x) = N) exp(-[E(x) - sum_k mu_k N_k(x)] / kT),      k over elements other than the counted

    (Damewood et al., npj Comput. Mater. 8, 61 (2022); Du et al., arXiv:2603.14695). Stages raise V(N) by a height
    that is halved from one to the next; the bias is then refined by the transitions seen, and frozen
    for the production run, from which all results come. Where only one configuration has the lowest or highest N, F is
    its energy: this fixes the scale, and with both ends known the profile checks itself (``mismatch``).

    Parameters
    ----------
    atoms : ase.Atoms, a pymatgen Structure or a path, with ``hamiltonian`` as in :func:`alloygen.sample`; a Hamiltonian on a supercell;
        or a :class:`~alloygen.edge.problem.Problem`
    T : a temperature or several, kelvin (J/kB for Ising)
    element : whose atoms are counted; by default the last of two exchangeable elements
    mu : chemical potentials of the other elements where there are several, eV; for a binary without effect on F
    window : (lowest, highest) number on the sites that change; everything by default
    stages : how the potential grows, who walks, and the length of production, see :class:`Stages`
    seed : same seed, same result, for any number of threads
    fixed : sites that are held, as in :func:`alloygen.sample`
    job : how it is run; more threads than ``stages.walkers`` idle

    Raises AlloygenError for impossible arguments, BadCondition for bad T or mu, UnknownSpecies for the element,
    CheckpointError for a file of another run; warns NotConverged.

    Examples
    --------
    >>> from alloygen.hamiltonian.ising import ising
    >>> profile = metadynamics(ising(3), 3.0, stages=Stages(production=4000))
    >>> bool(abs(profile.free_energy[0, 0] + 2.0) < 1e-12), bool(profile.stderr.max() < 0.05)      # all down: -2 J a site
    (True, True)
    """
    given, seed = Problem.of(atoms, mu, hamiltonian, fixed), seed_from(seed)
    stages, job = settings(stages, Stages, "stages"), settings(job, Job, "job")
    asked, problem = _temperatures(T), Counted(given, element, mu, window)
    run = FlatWalk(problem, problem.ladder(asked, stages.ladder), stages, seed)
    _carry_out(run, job)
    return _profile(run, asked)


def _temperatures(T) -> np.ndarray:
    asked = np.array([temperature(t) for t in (T if np.iterable(T) else [T])])
    if not len(asked):
        raise AlloygenError(f"expected at least one temperature, got {T!r}")
    return asked


def _carry_out(run: FlatWalk, job: Job) -> None:
    """Advance to the end; between two slices the state is whole."""
    with (
        job.loop(run, "metadynamics", run.n_blocks, "block") as loop,
        ThreadPoolExecutor(job.threads) as pool,  # left only when every slice has come to its end
    ):
        while run.clock[0] != DONE:
            run.advance(pool.map if job.threads > 1 else map)
            loop.tick(run.blocks_done, shown={"now": run.where()})


# ---------------------------------------------------------------------- results
def _profile(run: FlatWalk, asked: np.ndarray) -> CompositionProfile:
    """Free energies and errors of the temperatures asked for, with what there is to say about them."""
    p, h = run.problem, run.problem.h
    trips, shares, rows = int(run.trips.sum()), p.shares(), []
    for T in asked:
        c = int(np.argmin(np.abs(run.T - T)))
        beta = run.beta[c]
        left, right = (None if e is None else beta * e for e in (p.left, p.right))
        n, n_up, n_down, up, down = np.moveaxis(run.sums[:, :, c], 2, 0)
        if shares is None:
            n_up = n_down = n
        links = join_links(
            n_up,
            n_down,
            up,
            down,
            shares or np.ones((2, n.shape[-1])),
            run.bias[0, c, run.window],
            left,
            right,
            p.exact_links(),
        )
        errors = np.array([series_error(links.influence[..., k]) for k in range(links.influence.shape[-1])])
        visits = n.sum((0, 1))
        good, note = judge(links, errors, visits, trips, bool(run.flat[:, c].all()))
        end_error = np.nan if links.mismatch_influence is None else series_error(links.mismatch_influence)
        rows.append((good, note, visits, links.mismatch, end_error,
                     *((x / (beta * h.n_sites)) for x in (links.reduced, errors, links.influence))))  # fmt: skip
    converged, notes, visited, miss, miss_error, F, stderr, influence = zip(*rows, strict=True)
    scale = h.kB * asked / h.n_sites
    tried, swapped = run.tally.sum(0).transpose(1, 0, 2)
    rates = (swapped / np.maximum(tried, 1)).T.ravel()[: max(len(run.T) - 1, 0)]
    poor = [(T, note) for T, note, ok in zip(asked, notes, converged, strict=True) if not ok]
    if poor:
        text = f"metadynamics: {len(poor)} of {len(asked)} temperatures have not converged, T = {poor[0][0]:g}: {poor[0][1]}"
        warnings.warn(NotConverged(text), stacklevel=3)
    return CompositionProfile(
        h, asked, p.name, np.arange(p.low, p.high + 1), len(p.sites), np.array(F), np.array(stderr), np.array(visited),
        np.array(converged), list(notes), np.array(miss) * scale, np.array(miss_error) * scale, np.array(influence), p.mu,
        p.n_fixed, len(p.hosts), p.left is not None or p.right is not None,
        {**run.settings, "exchange": rates.tolist(), "round_trips": trips},
    )  # fmt: skip
