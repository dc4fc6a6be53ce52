"""Command line: ``alloygen sample | mc | phase-diagram | train | evaluate``."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, cast

from alloygen import shell
from alloygen.edge.supercell import TOL
from alloygen.errors import AlloygenError, BadCondition

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from ase import Atoms

    from alloygen.conditions import Mus
    from alloygen.edge.problem import Fixed, Problem
    from alloygen.hamiltonian.cluster import Hamiltonian
    from alloygen.runtime.job import Job
    from alloygen.samplers import SamplerLike

METHODS = ("auto", "neural", "mc")
REFINE = ("smc", "blocks", "mcmc")


# ---------------------------------------------------------------------- what can be said
def parser() -> shell.Parser:
    from alloygen import __version__

    p = shell.Parser(prog="alloygen", description="Equilibrium configurations and free energies of lattice alloys.")
    p.add_argument("--version", action="version", version=f"alloygen {__version__}")
    sub = p.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (_sample_parser, _mc_parser, _phase_diagram_parser, _train_parser, _evaluate_parser):
        add(sub)
    return p


def _command(sub, name: str, run: Callable[..., int], text: str) -> shell.Parser:
    q = sub.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    q.set_defaults(run=run)
    q.add_argument("-q", "--quiet", action="store_true", help="no progress bar")
    return q


def _alloy(q, n: int, per: str) -> None:
    """The arguments of every command that samples."""
    q.add_argument("structure",
                   help="file that ASE reads (POSCAR, cif, extxyz, ...), a cell such as Cu:4x4x4 (fcc), or the Ising model, ising:10")  # fmt: skip
    q.add_argument("-n", type=shell.whole("-n"), default=n, help=f"configurations{per} (default {n})")
    q.add_argument("--hamiltonian", help="'cuau', or the path of an expansion in alloygen's JSON format")
    q.add_argument(
        "--field", metavar="H", help="field of the Ising model instead of --mu; a range where --mu may have one"
    )
    seed = shell.argument(shell.seed)
    q.add_argument("--seed", type=seed, default=0, help="same seed, same configurations (default 0)")
    tol = shell.above_zero("--tol, a fraction of the nearest-neighbour distance,")
    q.add_argument("--tol", type=tol, default=TOL, metavar="D",
                   help=f"how far atoms may be off their sites, in nearest-neighbour distances (default {TOL})")  # fmt: skip


def _sample_parser(sub) -> None:
    q = _command(sub, "sample", _sample, "draw configurations at one condition, with a trained model or by Monte Carlo")
    _alloy(q, 1000, "")
    q.add_argument("-T", required=True, help="temperature in kelvin")
    q.add_argument(
        "--mu", action="append", default=[], metavar="El=eV", help="chemical potential, repeatable: --mu Au=0.02"
    )
    q.add_argument("-o", "--output", help="write them here: .extxyz, .db, .json, or a folder of POSCARs")
    q.add_argument("--model", help="checkpoint, or the name of one that ships")
    q.add_argument(
        "--method", choices=METHODS, default="auto", help="auto (default): neural where a model fits, else mc"
    )
    q.add_argument("--fix", metavar="I=El,...", help="atoms that are held at a species: --fix 0=Au,5=Cu")
    q.add_argument(
        "--refine", choices=REFINE, help="anneal from a hotter condition, or move a model's draws afterwards"
    )
    effort = shell.above_zero("--effort")
    q.add_argument("--effort", type=effort, default=None, help="multiplies the steps of --refine (default 1)")
    q.add_argument("--average", type=shell.whole("--average"), default=None,
                   help="average a model's likelihoods over this many paths: more even weights (default 1)")  # fmt: skip


def _mc_parser(sub) -> None:
    q = _command(sub, "mc", _mc, "Monte Carlo at one or many conditions")
    _alloy(q, 1000, " per condition")
    q.add_argument("-T", nargs="+", required=True, metavar="K", help="temperatures in kelvin, or a range: 300:900:7")
    q.add_argument("--mu", action="append", default=[], metavar="El=eV",
                   help="chemical potential, repeatable: --mu Au=0.02, or a range of 9 values: --mu Au=-0.24:0.24:9")  # fmt: skip
    q.add_argument("--ensemble", choices=("semigrand", "canonical"), default="semigrand",
                   help="flips at mu, or swaps at the composition of the structure")  # fmt: skip
    q.add_argument("--method", choices=("replica-exchange", "metropolis"), default="replica-exchange")
    q.add_argument("--sweeps", type=shell.whole("--sweeps"), default=10, help="sweeps between samples (default 10)")
    q.add_argument("--precision", action="append", default=[], metavar="NAME=ERROR",
                   help="go on until this standard error is reached: Au=0.002 (composition), energy=1e-4 (per site)")  # fmt: skip
    q.add_argument("--fix", metavar="I,J,...", help="indices of atoms that keep their species")
    q.add_argument("--start", choices=("random", "atoms"), default="random", help="where the chains start")
    q.add_argument("--threads", type=shell.whole("--threads", 1, 1024), default=1, help="same samples for any number")
    q.add_argument("--checkpoint", help="file of the run; an interrupted run that finds it goes on bit for bit")
    q.add_argument("-o", "--output", help="write configurations: .extxyz, .db, .json, or a folder of POSCARs")
    q.add_argument("--table", help="write averages by condition: .csv or .nc")


def _phase_diagram_parser(sub) -> None:
    q = _command(sub, "phase-diagram", _phase_diagram, "temperature-composition diagram of a binary, with error bars")
    _alloy(q, 250, " at each condition")
    q.add_argument("-T", nargs="+", default=["200:1200:21"], metavar="K",
                   help="temperatures, or a range: 200:1200:21 (default)")  # fmt: skip
    q.add_argument("--mu", action="append", default=[], metavar="El[=a:b:n]",
                   help="element whose chemical potential is varied, over the model's range (--mu Au) or a given one "
                   "(--mu Au=-0.2:0.2:9)")  # fmt: skip
    q.add_argument("--model", help="checkpoint, or the name of one that ships")
    q.add_argument(
        "--method", choices=METHODS, default="auto", help="auto (default): neural where a model fits, else mc"
    )
    step = shell.above_zero("--step")
    q.add_argument(
        "--step", type=step, default=None, help="step in T of the diagram, between the sampled T (default 10 K)"
    )
    q.add_argument("--jobs", type=shell.whole("--jobs", 1, 1024), default=1,
                   help="processes in which a model draws side by side (default 1); not for Monte Carlo")  # fmt: skip
    q.add_argument("--checkpoint", help="file of the run; an interrupted run that finds it goes on")
    q.add_argument(
        "-o", "--output", default="phase_diagram", help="write OUTPUT.png, .nc and .json (default phase_diagram)"
    )


def _train_parser(sub) -> None:
    q = _command(sub, "train", _train, "train a model from a TOML configuration")
    q.add_argument("config", help="TOML file, or the name of one that ships")
    q.add_argument("-o", "--output", help="folder of the run (default runs/NAME); an interrupted run goes on")
    q.add_argument("--restart", action="store_true", help="start anew instead of resuming")


def _evaluate_parser(sub) -> None:
    q = _command(sub, "evaluate", _evaluate, "measure a model over a grid of conditions")
    q.add_argument("model", help="checkpoint, or the name of one that ships")
    q.add_argument("--grid", choices=("cuau", "ising"),
                   help="published grids; cuau: 11 T x 9 dmu and dmu = 0.0724, ising: 21 T x 5 h; default: the model's own range")  # fmt: skip
    q.add_argument(
        "-T", nargs="+", metavar="K", help="temperatures, or a range: 300:900:7 (default: 11 over the model's range)"
    )
    q.add_argument("--mu", action="append", default=[], metavar="El=a:b:n",
                   help="chemical potentials of an element, others at 0, repeatable (default: the model's range)")  # fmt: skip
    q.add_argument("-n", type=shell.whole("-n"), default=2000, help="configurations per condition (default 2000)")
    q.add_argument("--reference", type=shell.whole("--reference", 0), default=1000, metavar="N",
                   help="replica-exchange samples per condition for the forward figures (default 1000, 0 for none)")  # fmt: skip
    q.add_argument("--seed", type=shell.argument(shell.seed), default=0, help="same seed, same figures (default 0)")
    q.add_argument("-o", "--output", help="write the figures as JSON")


# ---------------------------------------------------------------------- what is done
def _sample(args) -> int:
    from alloygen.api import sample

    if args.effort is not None and args.refine is None:
        raise AlloygenError("expected --refine with --effort, which multiplies its steps, got none")
    T, mu, fixed = shell.temperature(args.T), shell.potentials(args.mu), shell.held(args.fix)
    atoms = shell.structure(args.structure)
    shell.require_output(args.output, atoms)
    ens = sample(
        _problem(args, atoms, mu, fixed), T, mu, args.n, seed=args.seed, sampler=_sampler(args),
        h=cast(float | None, shell.field(args.field)), job=_job(args),
    )  # fmt: skip
    print(ens)
    if "log_p_fixed" in ens.info:
        print(f"{'log p fixed':>20} {ens.info['log_p_fixed']} (the model's, one pass)")
    _print_averages(ens)
    return 0 if args.output is None else shell.keep(ens.write, args.output, f"{len(ens)} configurations")


def _problem(args, atoms: Atoms | Hamiltonian, mu: Mus | str | None, fixed: Fixed | None = None) -> Problem:
    """The structure on the lattice of --hamiltonian, of --model, or of what ships, as near as --tol asks."""
    from alloygen.edge.problem import Problem
    from alloygen.hamiltonian.cluster import Hamiltonian
    from alloygen.registry import load

    if args.field is not None and not isinstance(atoms, Hamiltonian):
        raise BadCondition("expected --field with the Ising model alone, such as ising:10; for an alloy give --mu")

    model = getattr(args, "model", None)
    hamiltonian = load(model).hamiltonian if args.hamiltonian is None and model is not None else args.hamiltonian
    named = {mu: 0.0} if isinstance(mu, str) else mu
    return Problem.of(atoms, named, hamiltonian, fixed, args.tol)


def _sampler(args) -> SamplerLike:
    """The sampler that --method, --model and the options of a model mean."""
    from alloygen.generate.refine import Anneal, Blocks, Flips
    from alloygen.samplers import Neural

    given = {k: v for k in ("model", "average", "refine") if (v := getattr(args, k, None)) is not None}
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
    if ens.has_likelihood or "free_energy" in ens.info:
        try:
            print(f"{phi:>20} {ens.free_energy()} {unit}")
        except AlloygenError as error:  # the configurations are there; what is missing says why
            print(f"{phi:>20} - ({error})")
    if ens.has_likelihood:
        print(f"{'NESS':>20} {ens.ness:.4f}")
    if "acceptance" in ens.info:
        print(f"{'acceptance':>20} {ens.info['acceptance']:.3f}")
    print(f"{'independent samples':>20} {ens.effective_samples:.0f} of {len(ens)}")


def _mc(args) -> int:
    from alloygen.api import mc
    from alloygen.edge.structures import write_structures
    from alloygen.scans import require_table

    T, mu, fixed = shell.temperatures(args.T), shell.potentials(args.mu), shell.indices(args.fix)
    if mu and args.ensemble == "canonical":
        raise BadCondition("expected no --mu with --ensemble canonical: swaps keep the composition, mu has no effect")
    goal = shell.named_values(args.precision, "--precision NAME=ERROR", "--precision Au=0.002")
    precision = shell.single(goal, "--precision")
    atoms = shell.structure(args.structure)
    shell.require_output(args.output, atoms)
    if args.table is not None:
        require_table(args.table)
    _require_file(args.checkpoint)
    scan = mc(
        _problem(args, atoms, mu, fixed), T, mu, args.n, ensemble=args.ensemble, method=args.method.replace("-", " "),
        start=args.start, seed=args.seed, job=_job(args), sweeps=args.sweeps,
        precision=precision, h=shell.field(args.field),
    )  # fmt: skip
    print(scan)
    for ens in scan:
        told = ", ".join(f"mu_{e} {m:.6g}" for e, m in zip(ens.elements, ens.mu, strict=True))
        print(f"T {ens.T:g}" + (f", {told}" if args.ensemble == "semigrand" else ""))
        _print_averages(ens, "Phi/site" if args.ensemble == "semigrand" else "F/site")
    if "exchange" in scan.info:
        print(f"exchange rate {scan.info['exchange']:.2f} (least {scan.info['exchange_min']:.2f}), {scan.info['round_trips']} round "
              f"trips over {len(scan.info['ladder'])} temperatures")  # fmt: skip
    code = 0 if args.table is None else shell.keep(scan.write, args.table, "the table")
    if args.output is not None:
        frames = lambda path: write_structures((a for ens in scan for a in ens.atoms), path)  # noqa: E731
        code |= shell.keep(frames, args.output, f"{len(scan) * scan.n} configurations")
    return code


def _phase_diagram(args) -> int:
    from alloygen.api import scan

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
    for title, frame in (
        ("transitions at fixed composition (T in K)", diagram.transitions),
        ("invariant points", diagram.invariants),
    ):
        if len(frame):
            print(f"\n{title}\n{frame.to_string(index=False, float_format=lambda v: f'{v:.4g}')}")
    doubtful = int((~diagram.regions["reliable"]).sum())
    print(f"\n{len(diagram.regions)} two-phase regions over {len(diagram.T)} temperatures, {doubtful} of them on few effective samples (drawn "
          f"dashed); {len(diagram.unresolved)} more edges of the hull are within the noise")  # fmt: skip
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


def _train(args) -> int:
    from alloygen import training
    from alloygen.config import load_config
    from alloygen.data import configurations
    from alloygen.runtime.atomic import require_writable

    config = load_config(configurations().get(args.config, args.config))
    folder = Path(args.output or Path("runs") / config.name)
    require_writable(folder, folder=True)
    try:
        path = training.train(config, folder, resume=not args.restart, progress=not args.quiet)
    except training.TrainingInterrupted as stop:
        print(f"interrupted: {stop}", file=sys.stderr)
        return 130
    print(f"trained model: {path}")
    return 0


def _evaluate(args) -> int:
    import torch

    from alloygen import evaluate
    from alloygen.api import load
    from alloygen.runtime.job import Job

    T = None if args.T is None else shell.temperatures(args.T)
    mu = shell.named_values(args.mu, "--mu ELEMENT=eV", "--mu Au=-0.2:0.2:9")
    if args.grid and (T or mu):
        raise BadCondition(f"expected --grid {args.grid}, or -T and --mu, got both")
    _require_file(args.output)
    model = load(args.model)
    h = model.hamiltonian
    at, potentials = evaluate.named_grid(args.grid, h) if args.grid else evaluate.model_grid(model, T, mu)
    reference, fine = None, evaluate.GRIDS[args.grid][-1] if args.grid else {}
    if args.reference:
        reference = evaluate.reference_samples(
            h,
            at,
            potentials,
            args.reference,
            seed=args.seed,
            job=Job(threads=torch.get_num_threads(), progress=not args.quiet),
            **fine,
        )
    rows = evaluate.evaluate(model, at, potentials, args.n, reference=reference, seed=args.seed, job=_job(args))
    evaluate.print_table(rows, h.unit)
    if args.output is None:
        return 0
    facts = dict(model=args.model, grid=args.grid or "range", n=args.n, reference=args.reference, seed=args.seed)
    facts["fingerprint"] = h.fingerprint
    return shell.keep(lambda path: evaluate.write_json(path, rows, **facts), args.output, "the figures")


def main(argv: list[str] | None = None) -> int:
    """Entry point. Returns 0; 2 after bad input, told in one message; 1 where the system failed; 130 after Ctrl-C."""
    try:
        args = parser().parse_args(argv)
    except SystemExit as stop:  # --help and --version, or words that cannot be read
        return int(stop.code or 0)
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: print(f"warning: {message}", file=sys.stderr)
        try:
            return args.run(args)
        except AlloygenError as error:
            print(f"alloygen {args.command}: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return 130
        except BrokenPipeError:  # the reader of the output, such as head, has gone
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except OSError as error:
            print(f"alloygen {args.command}: {error}", file=sys.stderr)
            return 1


if __name__ == "__main__":
    sys.exit(main())
