"""Command line: ``alloygen sample | mc | phase-diagram | train | evaluate``."""

from __future__ import annotations

import argparse
import sys
import warnings


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="alloygen", description="Equilibrium configurations and free energies of lattice alloys."
    )
    p.add_argument("--version", action="version", version=_version())
    sub = p.add_subparsers(dest="command", required=True)

    def condition(q):
        q.add_argument(
            "structure", help="file that ASE reads (POSCAR, cif, extxyz, ...), or a cell such as Cu:4x4x4 (fcc)"
        )
        q.add_argument("-T", type=float, required=True, help="temperature in kelvin")
        q.add_argument(
            "--mu", action="append", default=[], metavar="El=eV", help="chemical potential, repeatable: --mu Au=0.02"
        )
        q.add_argument("-n", type=int, default=1000, help="number of configurations (default 1000)")
        q.add_argument("--seed", type=int, default=None, help="same seed, same configurations")
        q.add_argument("-o", "--output", help="write them here: .extxyz, .db, or a folder of POSCARs")
        q.add_argument("--hamiltonian", help="'cuau' or the path of an expansion in alloygen's JSON format")
        q.add_argument("-q", "--quiet", action="store_true", help="no progress bar")

    q = sub.add_parser("sample", help="draw independent configurations with a trained model")
    condition(q)
    q.add_argument("--model", help="checkpoint, or the name of one that ships")
    q.add_argument("--method", choices=("auto", "neural", "mc"), default="auto")
    q.add_argument("--fix", metavar="I=El,...", help="atoms that are held at a species: --fix 0=Au,5=Cu")
    q.add_argument(
        "--refine",
        choices=("smc", "blocks", "mcmc"),
        help="anneal from a hotter condition, or move the draws afterwards",
    )
    q.add_argument("--effort", type=float, default=1.0, help="multiplies the steps of --refine (default 1)")
    q.add_argument(
        "--average", type=int, default=1, help="average likelihoods over this many paths: more even weights (default 1)"
    )
    _mc_parser(sub)
    _phase_diagram_parser(sub)
    q = sub.add_parser("train", help="train a model from a TOML configuration")
    q.add_argument("config", help="TOML file, or the name of one that ships")
    q.add_argument("-o", "--output", help="folder of the run (default runs/NAME); an interrupted run goes on")
    q.add_argument("--restart", action="store_true", help="start anew instead of resuming")
    q.add_argument("-q", "--quiet", action="store_true", help="no progress bar")
    q = sub.add_parser("evaluate", help="measure a model over a grid of conditions")
    q.add_argument("model", help="checkpoint, or the name of one that ships")
    q.add_argument("--grid", help="cuau: 11 T x 9 dmu + dmu = 0.0724; ising: 21 T x 5 h; default: the model's")
    q.add_argument("-n", type=int, default=2000, help="configurations per condition (default 2000)")
    q.add_argument(
        "--reference",
        type=int,
        default=1000,
        metavar="N",
        help="replica-exchange samples per condition for the forward figures (default 1000, 0 for none)",
    )
    q.add_argument("--seed", type=int, default=0)
    q.add_argument("-o", "--output", help="write the figures as JSON")
    q.add_argument("-q", "--quiet", action="store_true", help="no progress bar")
    return p


def _phase_diagram_parser(sub) -> None:
    q = sub.add_parser("phase-diagram", help="temperature-composition diagram of a binary, with error bars")
    q.add_argument("structure", help="file that ASE reads (POSCAR, cif, extxyz, ...), or a cell such as Cu:4x4x4 (fcc)")
    q.add_argument(
        "-T", nargs="+", default=["200:1200:21"], metavar="K", help="temperatures, or a range: 200:1200:21 (default)"
    )
    q.add_argument(
        "--mu",
        action="append",
        default=[],
        metavar="El[=a:b:n]",
        help="element whose chemical potential is varied, over the model's range (--mu Au) or a given one (--mu Au=-0.2:0.2:9)",
    )
    q.add_argument("-n", type=int, default=250, help="configurations at each condition (default 250)")
    q.add_argument("--model", help="checkpoint, or the name of one that ships")
    q.add_argument("--method", choices=("auto", "neural", "mc"), default="auto")
    q.add_argument("--hamiltonian", help="'cuau' or the path of an expansion in alloygen's JSON format")
    q.add_argument(
        "--step", type=float, default=None, help="step in T of the diagram, between the sampled T (default 10 K)"
    )
    q.add_argument(
        "--jobs", type=int, default=1, help="processes that draw side by side (default 1, which uses torch's threads)"
    )
    q.add_argument("--checkpoint", help="file of the run; an interrupted run that finds it goes on")
    q.add_argument("--seed", type=int, default=0, help="same seed, same diagram")
    q.add_argument(
        "-o", "--output", default="phase_diagram", help="write OUTPUT.png, .nc and .json (default phase_diagram)"
    )
    q.add_argument("-q", "--quiet", action="store_true", help="no progress bar")


def _mc_parser(sub) -> None:
    q = sub.add_parser("mc", help="Monte Carlo at one or many conditions")
    q.add_argument("structure", help="file that ASE reads (POSCAR, cif, extxyz, ...), or a cell such as Cu:4x4x4 (fcc)")
    q.add_argument("-T", type=float, nargs="+", required=True, help="temperatures in kelvin")
    q.add_argument(
        "--mu",
        action="append",
        default=[],
        metavar="El=eV",
        help="chemical potential, repeatable: --mu Au=0.02, or a range of 9 values: --mu Au=-0.24:0.24:9",
    )
    q.add_argument("-n", type=int, default=1000, help="samples per condition (default 1000)")
    q.add_argument(
        "--ensemble",
        choices=("semigrand", "canonical"),
        default="semigrand",
        help="flips at mu, or swaps at the composition of the structure",
    )
    q.add_argument("--method", choices=("replica-exchange", "metropolis"), default="replica-exchange")
    q.add_argument("--sweeps", type=int, default=10, help="sweeps between samples (default 10)")
    q.add_argument(
        "--precision",
        action="append",
        default=[],
        metavar="NAME=ERROR",
        help="go on until this standard error is reached: Au=0.002 (composition), energy=1e-4 (per site)",
    )
    q.add_argument("--fix", metavar="I,J,...", help="indices of atoms that keep their species")
    q.add_argument("--start", choices=("random", "atoms"), default="random", help="where the chains start")
    q.add_argument("--seed", type=int, default=0, help="same seed, same samples")
    q.add_argument("--threads", type=int, default=1)
    q.add_argument("--checkpoint", help="file of the run; an interrupted run that finds it goes on bit for bit")
    q.add_argument("--hamiltonian", help="'cuau' or the path of an expansion in alloygen's JSON format")
    q.add_argument("-o", "--output", help="write configurations: .extxyz, .db, or a folder of POSCARs")
    q.add_argument("--table", help="write averages by condition: .csv or .nc")
    q.add_argument("-q", "--quiet", action="store_true", help="no progress bar")


def _version() -> str:
    from alloygen import __version__

    return f"alloygen {__version__}"


def _structure(text: str):
    """Atoms from a file, or from SYMBOL:AxBxC (repeats of the fcc primitive cell)."""
    import re

    from alloygen.errors import AlloygenError

    if found := re.fullmatch(r"([A-Z][a-z]?):(\d+)x(\d+)x(\d+)", text):
        from ase.build import bulk

        return bulk(found[1], "fcc", a=3.8).repeat(tuple(int(k) for k in found.groups()[1:]))
    import ase.io

    try:
        return ase.io.read(text)
    except Exception as error:
        raise AlloygenError(
            f"expected a structure file that ASE reads, or a cell such as Cu:4x4x4, got {text!r} ({error})"
        ) from None


def _pairs(pairs: list[str], what: str, example: str, ranges: bool = False) -> dict | None:
    """``NAME=number`` arguments as a dict; with ``ranges`` also ``NAME=first:last:number of values``."""
    from alloygen.errors import BadCondition

    out = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        try:
            out[name] = _values(value) if ranges and ":" in value else float(value)
        except ValueError:
            raise BadCondition(f"expected {what}, such as {example}, got {pair!r}") from None
    return out or None


def _values(text: str) -> list[float]:
    """``first:last:number of values``, or one number."""
    if ":" not in text:
        return [float(text)]
    first, last, n = text.split(":")
    return [float(first) + (float(last) - float(first)) * k / max(int(n) - 1, 1) for k in range(int(n))]


def _temperatures(words: list[str]) -> list[float]:
    from alloygen.errors import BadCondition

    try:
        return [t for word in words for t in _values(word)]
    except ValueError:
        raise BadCondition(
            f"expected -T with numbers or first:last:n, such as -T 600 or -T 200:1200:21, got {words}"
        ) from None


def _potentials(pairs: list[str], ranges: bool = False) -> dict | None:
    return _pairs(pairs, "--mu ELEMENT=eV", "--mu Au=0.02", ranges)


def _sample(args) -> int:
    from alloygen.api import sample
    from alloygen.errors import AlloygenError

    try:
        fixed = None if args.fix is None else {int(i): e for i, e in (pair.split("=") for pair in args.fix.split(","))}
    except ValueError:
        raise AlloygenError(
            f"expected --fix with atoms and species, such as --fix 0=Au,5=Cu, got {args.fix!r}"
        ) from None
    ens = sample(
        _structure(args.structure),
        args.T,
        _potentials(args.mu),
        args.n,
        seed=args.seed,
        model=args.model,
        hamiltonian=args.hamiltonian,
        method=args.method,
        fixed=fixed,
        refine=args.refine,
        effort=args.effort,
        average=args.average,
        progress=not args.quiet,
    )
    print(ens)
    if "log_p_fixed" in ens.info:
        print(f"{'log p fixed':>12} {ens.info['log_p_fixed']} (the model's, one pass)")
    for element in ens.elements[1:]:
        print(f"{'x_' + element:>12} {ens.composition(element)}")
    print(f"{'E/site':>12} {ens.mean_energy()} {ens.hamiltonian.unit}")
    if ens.has_likelihood:
        print(f"{'Phi/site':>12} {ens.free_energy()} {ens.hamiltonian.unit}")
        print(f"{'NESS':>12} {ens.ness:.4f}")
    else:
        print(f"{'acceptance':>12} {ens.info['acceptance']:.3f}\n{'inefficiency':>12} {ens.info['inefficiency']:.2f}")
    if args.output:
        ens.write(args.output)
        print(f"wrote {len(ens)} configurations to {args.output}")
    return 0


def _mc(args) -> int:
    from alloygen.api import mc
    from alloygen.errors import AlloygenError
    from alloygen.io.structures import write_structures

    try:
        fixed = None if args.fix is None else [int(k) for k in args.fix.split(",")]
    except ValueError:
        raise AlloygenError(f"expected --fix with indices of atoms, such as --fix 0,5,7, got {args.fix!r}") from None
    scan = mc(
        _structure(args.structure), args.T, _potentials(args.mu, ranges=True), args.n, ensemble=args.ensemble,
        method=args.method.replace("-", " "), hamiltonian=args.hamiltonian, start=args.start, fixed=fixed, seed=args.seed,
        threads=args.threads, progress=not args.quiet, sweeps=args.sweeps, checkpoint=args.checkpoint,
        precision=_pairs(args.precision, "--precision NAME=ERROR", "--precision Au=0.002"),
    )  # fmt: skip
    print(scan)
    for ens in scan:
        mu = ", ".join(
            f"mu_{e} {m:.6g}" for e, m in zip(ens.elements, ens.mu, strict=True) if m or args.ensemble == "semigrand"
        )
        print(f"T {ens.T:g}" + (f", {mu}" if mu else ""))
        for element in ens.elements[1:]:
            print(f"{'x_' + element:>20} {ens.composition(element)}")
        print(f"{'E/site':>20} {ens.mean_energy()} {ens.hamiltonian.unit}")
        if "free_energy" in ens.info:
            print(
                f"{'Phi/site' if args.ensemble == 'semigrand' else 'F/site':>20} {ens.free_energy()} {ens.hamiltonian.unit}"
            )
        print(f"{'acceptance':>20} {ens.info['acceptance']:.3f}")
        print(f"{'independent samples':>20} {ens.effective_samples:.0f} of {len(ens)}")
    if "exchange" in scan.info:
        print(f"exchange rate {scan.info['exchange']:.2f} (least {scan.info['exchange_min']:.2f}), {scan.info['round_trips']} round "
              f"trips over {len(scan.info['ladder'])} temperatures")  # fmt: skip
    if args.table:
        print(f"wrote {scan.write(args.table)}")
    if args.output:
        write_structures((a for ens in scan for a in ens.atoms), args.output)
        print(f"wrote {len(scan) * scan.n} configurations to {args.output}")
    return 0


def _phase_diagram(args) -> int:
    from contextlib import nullcontext
    from pathlib import Path

    from alloygen.api import scan
    from alloygen.errors import BadCondition

    if args.jobs < 1:
        raise BadCondition(f"expected --jobs of at least 1, got {args.jobs}")
    named = [m for m in args.mu if "=" not in m]
    if len(named) > 1 or (named and len(args.mu) > 1):
        raise BadCondition(f"expected one element whose chemical potential is varied, got {args.mu}")
    mu = named[0] if named else _potentials(args.mu, ranges=True)
    with _pool(args.jobs) if args.jobs > 1 else nullcontext() as executor:
        samples = scan(
            _structure(args.structure), _temperatures(args.T), mu, args.n, adaptive=None if args.method == "mc" else True, seed=args.seed, model=args.model,
            hamiltonian=args.hamiltonian, method=args.method, executor=executor, checkpoint=args.checkpoint, progress=not args.quiet,
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
    for suffix in (".png", ".nc", ".json"):
        print(f"wrote {diagram.write(Path(f'{args.output}{suffix}'))}")
    return 0


def _pool(jobs: int):
    """Processes with one torch thread each."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    import torch

    return ProcessPoolExecutor(jobs, get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,))


def _train(args) -> int:
    from pathlib import Path

    from alloygen import training
    from alloygen.config import load_config
    from alloygen.data import configurations

    config = load_config(configurations().get(args.config, args.config))
    folder = Path(args.output or Path("runs") / config.name)
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

    model = load(args.model)
    grid = args.grid or evaluate.grid_of(model.hamiltonian)
    T, mu = evaluate.named_grid(grid)
    reference = None
    if args.reference:
        reference = evaluate.reference_samples(
            model.hamiltonian, T, mu, args.reference, progress=not args.quiet, threads=torch.get_num_threads(),
            **evaluate.GRIDS[grid][1],
        )  # fmt: skip
    rows = evaluate.evaluate(model, T, mu, args.n, reference=reference, seed=args.seed, progress=not args.quiet)
    evaluate.print_table(rows, model.hamiltonian.unit)
    if args.output:
        evaluate.write_json(
            args.output,
            rows,
            model=args.model,
            grid=grid,
            n=args.n,
            reference=args.reference,
            seed=args.seed,
            fingerprint=model.hamiltonian.fingerprint,
        )
        print(f"wrote {args.output}")
    return 0


def main(argv=None) -> int:
    """Entry point; bad input prints one message and returns 2."""
    from alloygen.errors import AlloygenError

    args = parser().parse_args(argv)
    run = {"sample": _sample, "mc": _mc, "phase-diagram": _phase_diagram, "train": _train, "evaluate": _evaluate}[
        args.command
    ]
    warnings.showwarning = lambda message, *_, **__: print(f"warning: {message}", file=sys.stderr)
    try:
        return run(args)
    except AlloygenError as error:
        print(f"alloygen {args.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
