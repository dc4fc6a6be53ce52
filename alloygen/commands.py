"""What the commands of the shell do: words become a Problem, a sampler and a Job, the result is printed and kept."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, cast

from alloygen import shell
from alloygen.errors import AlloygenError, BadCondition

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from ase import Atoms

    from alloygen.conditions import Mus
    from alloygen.conditions.composition import Composition
    from alloygen.edge.problem import Fixed, Problem
    from alloygen.hamiltonian.cluster import Hamiltonian
    from alloygen.runtime.job import Job
    from alloygen.samplers import SamplerLike


def sample(args) -> int:
    """``alloygen sample``."""
    from alloygen import api

    if args.effort is not None and args.refine is None:
        raise AlloygenError("expected --refine with --effort, which multiplies its steps, got none")
    T, mu, fixed = shell.temperature(args.T), shell.potentials(args.mu), shell.held(args.fix)
    composition = shell.composition(args.composition)
    atoms = shell.structure(args.structure)
    shell.require_output(args.output, atoms)
    ens = api.sample(
        _problem(args, atoms, mu, fixed, composition), T, mu, args.n, seed=args.seed, sampler=_sampler(args),
        h=cast(float | None, shell.field(args.field)), composition=composition, job=_job(args),
    )  # fmt: skip
    print(ens)
    if "log_p_fixed" in ens.info:
        print(f"{'log p fixed':>20} {ens.info['log_p_fixed']} (the model's, one pass)")
    _print_averages(ens, "Phi/site" if composition is None else "F/site")
    return 0 if args.output is None else shell.keep(ens.write, args.output, f"{len(ens)} configurations")


def _problem(
    args,
    atoms: Atoms | Hamiltonian,
    mu: Mus | str | None,
    fixed: Fixed | None = None,
    composition: Composition | None = None,
) -> Problem:
    """The structure on the lattice of --hamiltonian, of --model, or of what ships, as near as --tol asks."""
    from alloygen.edge.problem import Problem
    from alloygen.hamiltonian.cluster import Hamiltonian
    from alloygen.registry import load

    if args.field is not None and not isinstance(atoms, Hamiltonian):
        raise BadCondition("expected --field with the Ising model alone, such as ising:10; for an alloy give --mu")

    model = getattr(args, "model", None)
    hamiltonian = load(model).hamiltonian if args.hamiltonian is None and model is not None else args.hamiltonian
    return Problem.of(atoms, [mu, composition], hamiltonian, fixed, args.tol)


def _sampler(args) -> SamplerLike:
    """The sampler that --method, --model and the options of a model mean."""
    from alloygen.generate.refine import Anneal, Blocks, Flips
    from alloygen.samplers import Neural

    given = {k: v for k in ("model", "average", "outside", "refine") if (v := getattr(args, k, None)) is not None}
    if args.method == "mc":
        if set(given) - {"model"}:
            raise AlloygenError(
                f"expected no --{', --'.join(given)} with --method mc, which has no model; leave it out"
            )
        return "mc"
    if (how := given.pop("refine", None)) is not None:
        effort = 1.0 if args.effort is None else args.effort
        given["then"] = {"smc": Anneal(effort=effort), "blocks": Blocks(effort=effort), "mcmc": Flips(effort=effort)}[
            how
        ]
    return Neural(**given) if given or args.method == "neural" else None


def _job(args, executor: Executor | None = None) -> Job:
    """How a command is run: what it has of --threads, --checkpoint, --quiet."""
    from alloygen.runtime.job import Job

    given = {k: v for k in ("threads", "checkpoint") if (v := getattr(args, k, None)) is not None}
    return Job(executor=executor, progress=not args.quiet, **given)


def _print_averages(ens, phi: str = "Phi/site") -> None:
    from alloygen.conditions import exchangeable

    unit = ens.hamiltonian.unit
    for element in exchangeable(ens.hamiltonian.lattice)[1:]:
        print(f"{'x_' + element:>20} {ens.composition(element)}")
    print(f"{'E/site':>20} {ens.mean_energy()} {unit}")
    if ens.absolute:
        try:
            print(f"{phi:>20} {ens.free_energy()} {unit}")
        except AlloygenError as error:  # the configurations are there; what is missing says why
            print(f"{phi:>20} - ({error})")
    if ens.has_likelihood:
        print(f"{'NESS':>20} {ens.ness:.4f}")
    if "acceptance" in ens.info:
        print(f"{'acceptance':>20} {ens.info['acceptance']:.3f}")
    print(f"{'independent samples':>20} {ens.effective_samples:.0f} of {len(ens)}")


def monte_carlo(args) -> int:
    """``alloygen mc``."""
    from alloygen.api import mc
    from alloygen.edge.structure_files import write_structures
    from alloygen.results.tables import require_table

    T, mu, fixed = shell.temperatures(args.T), shell.potentials(args.mu), shell.indices(args.fix)
    composition = shell.composition(args.composition)
    canonical = args.move == "swap" or composition is not None
    if mu and args.move == "swap":
        raise BadCondition("expected no --mu with --move swap: swaps keep the composition, mu has no effect")
    goal = shell.named_values(args.precision, "--precision NAME=ERROR", "--precision Au=0.002")
    precision = shell.single(goal, "--precision")
    atoms = shell.structure(args.structure)
    shell.require_output(args.output, atoms)
    if args.table is not None:
        require_table(args.table)
    _require_file(args.checkpoint)
    scan = mc(
        _problem(args, atoms, mu, fixed, composition), T, mu, args.n, move=args.move, method=args.method.replace("-", " "),
        start=args.start, seed=args.seed, job=_job(args), sweeps=args.sweeps,
        precision=precision, h=shell.field(args.field), composition=composition,
    )  # fmt: skip
    print(scan)
    for ens in scan:
        told = ", ".join(f"mu_{e} {m:.6g}" for e, m in zip(ens.elements, ens.mu, strict=True))
        print(f"T {ens.T:g}" + ("" if canonical else f", {told}"))
        _print_averages(ens, "F/site" if canonical else "Phi/site")
    if scan.facts.exchanged:
        print(f"exchange rate {scan.info['exchange']:.2f} (least {scan.info['exchange_min']:.2f}), {scan.info['round_trips']} round "
              f"trips over {len(scan.info['ladder'])} temperatures")  # fmt: skip
    code = 0 if args.table is None else shell.keep(scan.write, args.table, "the table")
    if args.output is not None:
        frames = lambda path: write_structures((a for ens in scan for a in ens.atoms), path)  # noqa: E731
        code |= shell.keep(frames, args.output, f"{len(scan) * scan.n} configurations")
    return code


def phase_diagram(args) -> int:
    """``alloygen phase-diagram``."""
    from alloygen.api import scan
    from alloygen.results.phase_diagram import PhaseDiagram

    named = [m for m in args.mu if "=" not in m]
    if len(named) > 1 or (named and len(args.mu) > 1):
        raise BadCondition(f"expected one element whose chemical potential is varied, got {args.mu}")
    mu, T = named[0] if named else shell.potentials(args.mu), shell.temperatures(args.T)
    if args.method == "mc" and args.jobs > 1:
        raise AlloygenError(
            f"expected --jobs 1 with --method mc, whose replicas exchange in one process, got {args.jobs}"
        )
    atoms = shell.structure(args.structure)
    files = [Path(f"{args.output}{suffix}") for suffix in (".png", ".nc", ".json")]
    for path in (*files, args.checkpoint):
        _require_file(path)
    with _pool(args.jobs) if args.jobs > 1 else nullcontext() as executor:
        samples = scan(
            _problem(args, atoms, mu), T, mu, args.n, adaptive=None if args.method == "mc" else True, seed=args.seed,
            sampler=_sampler(args), h=shell.field(args.field), job=_job(args, executor),
        )  # fmt: skip
    print(samples)
    diagram = samples.phase_diagram(step=args.step)
    print(diagram)
    if isinstance(diagram, PhaseDiagram):
        for title, frame in (
            ("transitions at fixed composition (T in K)", diagram.transitions),
            ("invariant points", diagram.invariants),
        ):
            if len(frame):
                print(f"\n{title}\n{frame.to_string(index=False, float_format=lambda v: f'{v:.4g}')}")
    doubtful = int((~diagram.regions["reliable"].astype(bool)).sum())
    print(f"\n{len(diagram.regions)} regions of several phases over {len(diagram.T)} temperatures, {doubtful} of them on few effective samples (drawn "
          f"dashed); {len(diagram.unresolved)} more parts of the hull are within the noise")  # fmt: skip
    return max(shell.keep(diagram.write, path, "the diagram") for path in files)


def _require_file(path) -> None:
    from alloygen.runtime.atomic import require_writable

    if path is not None:
        require_writable(path)


@contextmanager
def _pool(jobs: int):
    """Processes with one torch thread each, which leave Ctrl-C to the one that started them."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    pool = ProcessPoolExecutor(jobs, get_context("spawn"), initializer=_start_worker)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    import signal

    import torch

    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def train(args) -> int:
    """``alloygen train``."""
    from alloygen import api
    from alloygen.data import configurations, own_folder
    from alloygen.runtime.atomic import require_writable
    from alloygen.training.config import load_config
    from alloygen.training.loop import TrainingInterrupted

    first, *more = args.alloy
    by_config = not more and (first in configurations() or first.endswith(".toml"))
    if by_config and (args.minutes or args.name):
        raise AlloygenError(
            f"expected --minutes and --name with an alloy, got the configuration {first}, which says them"
        )
    if len(more) > 1:
        raise AlloygenError(
            f"expected one file, or CLEASE's settings and ECIs, got {len(args.alloy)}: {' '.join(args.alloy)}"
        )
    how: dict = dict(progress=not args.quiet)
    if by_config:
        config = load_config(configurations().get(first, first))
        folder = Path(args.output or Path("runs") / config.name)
        how |= dict(config=config, folder=folder, resume=not args.restart)
    else:
        alloy = (first, more[0]) if more else first
        folder = Path(args.output or own_folder())
        how |= dict(alloy=alloy, minutes=args.minutes or 10.0, name=args.name, folder=folder, workers=1)
    require_writable(folder, folder=True)
    try:
        model = api.train(**how)
    except TrainingInterrupted as stop:
        print(f"interrupted: {stop}", file=sys.stderr)
        return 130
    print(f"trained model: {folder / 'model.safetensors' if by_config else folder / f'{model.name}.safetensors'}")
    return 0


def info(args) -> int:
    """``alloygen info``."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    import torch

    from alloygen import __version__
    from alloygen.data import checkpoints, own_folder
    from alloygen.limits import available

    def of(name: str) -> str:
        try:
            return f"{name} {version(name)}"
        except PackageNotFoundError:
            return f"{name} -"

    free = available()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    told = {
        "alloygen": f"{__version__}, Python {platform.python_version()}, {platform.machine()}",
        "needs": ", ".join(map(of, ("torch", "numpy", "scipy", "numba", "ase", "clease", "pymatgen", "xarray"))),
        "cores": f"{cores}, load {os.getloadavg()[0]:.1f}",
        "threads of models": f"{torch.get_num_threads()} blocks side by side, each on one (OMP_NUM_THREADS, torch.set_num_threads)",
        "threads of Monte Carlo": "1 (Job(threads=), --threads)",
        "free memory": "unknown" if free is None else f"{free / 1e9:.1f} GB",
        "models": f"{len(checkpoints())}, your own in {own_folder()}",
    }
    for name, text in told.items():
        print(f"{name:>22}  {text}")
    return 0


def models(args) -> int:
    """``alloygen models``."""
    from alloygen.registry import models_at_hand

    print(models_at_hand().to_string(index=False))
    return 0


def evaluate(args) -> int:
    """``alloygen evaluate``."""
    import torch

    from alloygen.data import grids
    from alloygen.models.base import AnyCell
    from alloygen.registry import load, named
    from alloygen.runtime.atomic import require_writable
    from alloygen.runtime.job import Job
    from alloygen.training import evaluate as figures
    from alloygen.training.reference import model_grid, named_grid, reference_samples

    T = None if args.T is None else shell.temperatures(args.T)
    mu = shell.named_values(args.mu, "--mu ELEMENT=eV", "--mu Au=-0.2:0.2:9")
    if args.grid and (T or mu):
        raise BadCondition(f"expected --grid {args.grid}, or -T and --mu, got both")
    _require_file(args.output)
    model = load(args.model)
    if args.keep:
        path = named(args.model)
        if not args.reference:
            raise BadCondition("expected --keep with forward figures, got --reference 0; leave it out")
        require_writable(path)
    if args.cell:
        if not isinstance(model, AnyCell):
            raise BadCondition(
                f"expected --cell with a law of every supercell, got {model.name}, which is for {model.lattice!r}"
            )
        model = model.on(model.hamiltonian.expansion.on(args.cell))
    h = model.hamiltonian
    at = named_grid(args.grid, h) if args.grid else model_grid(model, T, mu)
    reference, fine = None, {k: getattr(grids()[args.grid], k) for k in ("dT", "dmu")} if args.grid else {}
    if args.reference:
        reference = reference_samples(
            h,
            at,
            args.reference,
            seed=args.seed,
            job=Job(threads=torch.get_num_threads(), progress=not args.quiet),
            **fine,
        )
    rows = figures.evaluate(model, at, args.n, reference=reference, seed=args.seed, job=_job(args))
    figures.print_table(rows, h.unit)
    if args.keep:
        figures.keep_measured(path, rows, h)
    if args.output is None:
        return 0
    facts = dict(model=args.model, grid=args.grid or "range", n=args.n, reference=args.reference, seed=args.seed)
    facts["fingerprint"] = h.fingerprint
    return shell.keep(lambda path: figures.write_json(path, rows, **facts), args.output, "the figures")
