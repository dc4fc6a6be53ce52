"""Command line: ``alloygen sample | mc | phase-diagram | train | evaluate | models | info``."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable

from alloygen import commands, shell
from alloygen.edge.supercell import TOL
from alloygen.errors import AlloygenError

METHODS = ("auto", "neural", "mc")
REFINE = ("smc", "blocks", "mcmc")


# ---------------------------------------------------------------------- what can be said
def parser() -> shell.Parser:
    from alloygen import __version__

    p = shell.Parser(prog="alloygen", description="Equilibrium configurations and free energies of lattice alloys.")
    p.add_argument("--version", action="version", version=f"alloygen {__version__}")
    sub = p.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (
        _sample_parser,
        _mc_parser,
        _phase_diagram_parser,
        _train_parser,
        _evaluate_parser,
        _models_parser,
        _info_parser,
    ):
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


def _how(q: shell.Parser) -> None:
    """What draws, of commands that take a model or Monte Carlo."""
    q.add_argument("--model", help="checkpoint, or the name of one that ships")
    q.add_argument(
        "--method", choices=METHODS, default="auto", help="auto (default): neural where a model fits, else mc"
    )
    q.add_argument("--outside", choices=("refuse", "allow"), default=None,
                   help="what a model does at conditions it was not trained on; without it Monte Carlo samples there")  # fmt: skip


def _composition(q: shell.Parser) -> None:
    q.add_argument("--composition", action="append", default=[], metavar="El=N",
                   help="numbers of atoms that stay, in place of --mu, repeatable: --composition Au=16 atoms, Au=0.25 of the sites, 0:Li=8 on sublattice 0, or 'atoms', what the structure has")  # fmt: skip


def _sample_parser(sub) -> None:
    q = _command(
        sub, "sample", commands.sample, "draw configurations at one condition, with a trained model or by Monte Carlo"
    )
    _alloy(q, 1000, "")
    q.add_argument("-T", required=True, help="temperature in kelvin")
    q.add_argument(
        "--mu", action="append", default=[], metavar="El=eV", help="chemical potential, repeatable: --mu Au=0.02"
    )
    _composition(q)
    q.add_argument("-o", "--output", help="write them here: .extxyz, .traj, .db, .json, .mson, or a folder of POSCARs")
    _how(q)
    q.add_argument("--fix", metavar="I=El,...", help="atoms that are held at a species: --fix 0=Au,5=Cu")
    q.add_argument(
        "--refine", choices=REFINE, help="anneal from a hotter condition, or move a model's draws afterwards"
    )
    effort = shell.above_zero("--effort")
    q.add_argument("--effort", type=effort, default=None, help="multiplies the steps of --refine (default 1)")
    q.add_argument("--average", type=shell.whole("--average"), default=None,
                   help="average a model's likelihoods over this many paths: more even weights (default 1)")  # fmt: skip


def _mc_parser(sub) -> None:
    q = _command(sub, "mc", commands.monte_carlo, "Monte Carlo at one or many conditions")
    _alloy(q, 1000, " per condition")
    q.add_argument("-T", nargs="+", required=True, metavar="K", help="temperatures in kelvin, or a range: 300:900:7")
    q.add_argument("--mu", action="append", default=[], metavar="El=eV",
                   help="chemical potential, repeatable: --mu Au=0.02, or a range of 9 values: --mu Au=-0.24:0.24:9")  # fmt: skip
    _composition(q)
    q.add_argument("--move", choices=("flip", "swap"), default=None,
                   help="flips at mu (semigrand, default), or swaps at the composition of the structure (canonical)")  # fmt: skip
    q.add_argument("--method", choices=("replica-exchange", "metropolis"), default="replica-exchange")
    q.add_argument("--sweeps", type=shell.whole("--sweeps"), default=10, help="sweeps between samples (default 10)")
    q.add_argument("--precision", action="append", default=[], metavar="NAME=ERROR",
                   help="go on until this standard error is reached: Au=0.002 (composition), energy=1e-4 (per site)")  # fmt: skip
    q.add_argument("--fix", metavar="I,J,...", help="indices of atoms that keep their species")
    q.add_argument("--start", choices=("random", "atoms"), default="random", help="where the chains start")
    q.add_argument("--threads", type=shell.whole("--threads", 1, 1024), default=1, help="same samples for any number")
    q.add_argument("--checkpoint", help="file of the run; an interrupted run that finds it goes on bit for bit")
    q.add_argument(
        "-o", "--output", help="write configurations: .extxyz, .traj, .db, .json, .mson, or a folder of POSCARs"
    )
    q.add_argument("--table", help="write averages by condition: .csv or .nc")


def _phase_diagram_parser(sub) -> None:
    q = _command(
        sub, "phase-diagram", commands.phase_diagram, "temperature-composition diagram of a binary, with error bars"
    )
    _alloy(q, 250, " at each condition")
    q.add_argument("-T", nargs="+", default=["200:1200:21"], metavar="K",
                   help="temperatures, or a range: 200:1200:21 (default)")  # fmt: skip
    q.add_argument("--mu", action="append", default=[], metavar="El[=a:b:n]",
                   help="element whose chemical potential is varied, over the model's range (--mu Au) or a given one "
                   "(--mu Au=-0.2:0.2:9)")  # fmt: skip
    _how(q)
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
    q = _command(sub, "train", commands.train, "train a model of an alloy, or by a TOML configuration")
    q.add_argument("alloy", nargs="+", metavar="ALLOY",
                   help="an expansion in alloygen's JSON format, or CLEASE's settings and ECIs (two files); or a TOML configuration, or the name "
                   "of one that ships")  # fmt: skip
    minutes = shell.above_zero("--minutes")
    q.add_argument("--minutes", type=minutes, default=None, help="of training an alloy (default 10)")
    q.add_argument("--name", help="of the model of an alloy (default: the expansion's)")
    q.add_argument("-o", "--output", help="folder where the model of an alloy is kept (default ~/.alloygen/models), or where the run of a "
                   "configuration lives (default runs/NAME); an interrupted run goes on")  # fmt: skip
    q.add_argument("--restart", action="store_true", help="start a configuration anew instead of resuming")


def _models_parser(sub) -> None:
    _command(
        sub, "models", commands.models, "list the models at hand: what for, their ranges and how even their weights are"
    )


def _info_parser(sub) -> None:
    _command(sub, "info", commands.info, "versions, cores, threads, free memory and models, to send with a question")


def _evaluate_parser(sub) -> None:
    q = _command(sub, "evaluate", commands.evaluate, "measure a model over a grid of conditions")
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
    q.add_argument("--cell", type=shell.whole("--cell"), nargs=3, metavar="N",
                   help="repeats of the primitive cell, of a law of every supercell (default: the one that it was trained on)")  # fmt: skip
    q.add_argument("--seed", type=shell.argument(shell.seed), default=0, help="same seed, same figures (default 0)")
    q.add_argument("--keep", action="store_true",
                   help="write the forward figures into the checkpoint: sample() warns where the model was found to miss a phase")  # fmt: skip
    q.add_argument("-o", "--output", help="write the figures as JSON")


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
