"""Energies of many Atoms by a calculator, as they are or relaxed, here or in other processes; what fails is kept with its reason.

The calculator is ASE's; or what makes one (a class, or a function without arguments at the top of a module), which each process then calls
once; or a function of Atoms that returns an energy, or relaxed Atoms that carry one.
"""

from __future__ import annotations

import copy
import inspect
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from dataclasses import asdict, dataclass, replace
from numbers import Real
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from alloygen.arguments import one_of, positive, whole_number
from alloygen.errors import AlloygenError
from alloygen.runtime.job import Job
from alloygen.runtime.resume import identity
from alloygen.runtime.tensors import matching

if TYPE_CHECKING:
    from ase import Atoms

RELAX = ("positions", "cell")
AHEAD = 64  # structures that an executor is given beyond those that are done
TOLD = 300  # characters of a reason
_MADE = threading.local()  # the calculator of this thread, with what made it


@dataclass(frozen=True)
class Relax:
    """How far structures are relaxed: by ASE's LBFGS until no force is above ``fmax`` (eV per angstrom; of the cell as ASE's FrechetCellFilter has
    them), in at most ``steps`` steps.

    what : "positions", or "cell" for the cell and positions

    AlloygenError for what cannot be.

    Examples
    --------
    >>> Relax("cell", fmax=0.05)
    Relax(what='cell', fmax=0.05, steps=500)
    """

    what: str = "positions"
    fmax: float = 0.02
    steps: int = 500

    def __post_init__(self) -> None:
        one_of(self.what, "relax", RELAX)
        object.__setattr__(self, "fmax", positive(self.fmax, "fmax", "in eV per angstrom"))
        object.__setattr__(self, "steps", whole_number(self.steps, "steps"))


RelaxLike: TypeAlias = (
    "bool | str | Relax | None"  # False or None, "positions", "cell", or the latter two with settings
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Recipe:
    """How the energy of a structure is computed.

    calculator : an ASE calculator, what makes one, or a function of Atoms (see the module)
    relax : False, Atoms as they are; "positions" or "cell", by the defaults of :class:`Relax`; or a Relax

    AlloygenError for what cannot be.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase.calculators.emt import EMT
    >>> found = Recipe(calculator=EMT, relax="cell").of(bulk("Cu", a=3.7))
    >>> found.failure, abs(found.energy) < 0.01, round(float(found.cell[0, 1] * 2), 2)
    ('', True, 3.59)
    """

    calculator: Any
    relax: RelaxLike = False

    def __post_init__(self) -> None:
        if self.relax is False:
            object.__setattr__(self, "relax", None)
        elif isinstance(self.relax, str) and self.relax in RELAX:
            object.__setattr__(self, "relax", Relax(str(self.relax)))
        elif not (self.relax is None or isinstance(self.relax, Relax)):
            raise AlloygenError(
                f'expected relax as False, "positions", "cell" or an alloygen.Relax, got {self.relax!r}'
            )
        if self.kind == "function" and self.relax:
            raise AlloygenError(
                f"expected relax=False with a function of Atoms, which relaxes as it likes, got {self.relax!r}; return relaxed Atoms that "
                "carry their energy, or give an ASE calculator"
            )

    @property
    def kind(self) -> str:
        """ "calculator", "factory" or "function"."""
        given = self.calculator
        if hasattr(given, "get_potential_energy") and not isinstance(given, type) and not hasattr(given, "positions"):
            return "calculator"
        needed = _needed(given) if callable(given) else None
        if needed not in (0, 1):
            raise AlloygenError(
                "expected an ASE calculator, a function without arguments that makes one, or a function of Atoms that returns an energy or Atoms "
                f"that carry one, got {given!r}"
            )
        return "function" if needed else "factory"

    @property
    def told(self) -> dict:
        """What fixes its numbers, as far as can be told, as plain values."""
        given = self.calculator
        who = given if hasattr(given, "__qualname__") else type(given)
        parameters = getattr(given, "parameters", None) if self.kind == "calculator" else None
        plain = {str(k): v for k, v in dict(parameters or {}).items() if isinstance(v, (bool, int, float, str))}
        name = f"{getattr(who, '__module__', '')}.{getattr(who, '__qualname__', who)}"
        how = asdict(self.relax) if isinstance(self.relax, Relax) else {}
        return {"calculator": name, "parameters": plain, "relax": how}

    def made(self) -> Recipe:
        """The same with a calculator that is nobody else's: made, where the calculator is what makes one. AlloygenError where that fails."""
        if self.kind != "factory":
            return replace(self, calculator=copy.deepcopy(self.calculator))
        try:
            return replace(self, calculator=self.calculator())
        except Exception as error:  # whatever it does
            raise AlloygenError(
                f"expected {self.calculator!r} to make a calculator, got {type(error).__name__}: {error}"
            ) from error

    def of(self, atoms: Atoms) -> Computed:
        """The energy of a structure, or why there is none; vacancies ("X") are left out of what is computed. Only interrupts are raised."""
        there = np.flatnonzero(atoms.numbers > 0)
        work, start = atoms[there], Computed.none(atoms)
        if not len(there):
            return replace(start, energy=0.0)
        try:
            energy, found = self._computed(work)
            return start.of(energy, found, there)
        except Exception as error:  # calculators raise whatever they do
            text = " ".join(str(error).split())
            kind = "" if isinstance(error, NotComputed) else f"{type(error).__name__}: "
            return replace(start, failure=f"{kind}{text}"[:TOLD])

    def _computed(self, atoms: Atoms) -> tuple[Any, Atoms]:
        if self.kind == "function":
            found = self.calculator(atoms.copy())
            if not hasattr(found, "positions"):
                return found, atoms
            if found.get_chemical_symbols() != atoms.get_chemical_symbols():
                raise NotComputed(
                    f"expected the {len(atoms)} atoms {atoms.symbols} as given, got {len(found)}, {found.symbols}"
                )
            return found.get_potential_energy(), found
        atoms.calc = self.calculator if self.kind == "calculator" else self.calculator()
        if isinstance(self.relax, Relax):
            _relax(atoms, self.relax)
        return atoms.get_potential_energy(), atoms


def _relax(atoms: Atoms, how: Relax) -> None:
    from ase.filters import FrechetCellFilter
    from ase.optimize import LBFGS

    moved: Any = FrechetCellFilter(atoms) if how.what == "cell" else atoms
    quiet: Any = None
    with LBFGS(moved, logfile=quiet) as optimizer:
        if not optimizer.run(fmax=how.fmax, steps=how.steps):
            raise NotComputed(f"not relaxed to {how.fmax:g} eV per angstrom in {how.steps} steps")


class NotComputed(Exception):
    """Why a structure has no energy, where no calculator said so."""


def _needed(function: Callable) -> int | None:
    """Arguments that have to be given; None where that cannot be told."""
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    by_place = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.default is p.empty and p.kind in by_place for p in found)


@dataclass(frozen=True, kw_only=True, eq=False)
class Computed:
    """A structure that was computed.

    energy : of the whole cell, nan where there is none; failure : why, "" where there is one
    positions (N, 3), cell (3, 3) : after relaxing
    """

    energy: float
    positions: np.ndarray
    cell: np.ndarray
    failure: str = ""

    @classmethod
    def none(cls, atoms: Atoms) -> Computed:
        """Before anything was computed."""
        return cls(energy=np.nan, positions=atoms.positions.copy(), cell=np.array(atoms.cell))

    def of(self, energy: Any, found: Atoms, there: np.ndarray) -> Computed:
        """The same with what was found of the atoms ``there``; NotComputed for what is no energy of them."""
        value = energy.item() if getattr(energy, "ndim", None) == 0 and hasattr(energy, "item") else energy
        if isinstance(value, bool) or not isinstance(value, Real) or not np.isfinite(float(value)):
            raise NotComputed(f"expected a finite energy of the whole cell, got {value!r}")
        cell = np.array(found.cell)
        positions = self.positions @ np.linalg.solve(self.cell, cell) if np.linalg.det(self.cell) else self.positions
        positions[there] = found.positions
        if not (np.isfinite(positions).all() and np.isfinite(cell).all()):
            raise NotComputed("expected finite positions and a finite cell, got others")
        return Computed(energy=float(value), positions=positions, cell=cell)


# ---------------------------------------------------------------------- many
def compute(
    structures: Sequence[Atoms],
    recipe: Recipe,
    job: Job,
    require: Callable[[int, str], None] | None = None,
) -> list[Computed]:
    """Energies of structures of the same number of sites, with a bar, by the executor of ``job`` and from its checkpoint on.

    require : is told the number and the reason of each failure, and may raise what ends the work

    No number depends on the executor. AlloygenError for a calculator that cannot be sent to other processes; CheckpointError for a checkpoint
    of other structures or of another calculator, as far as its name and plain parameters tell.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase.calculators.emt import EMT
    >>> [f.failure for f in compute([bulk("Cu"), bulk("W")], Recipe(calculator=EMT()), Job())]
    ['', 'NotImplementedError: No EMT-potential for W']
    """
    work = _Work(structures, recipe)
    require = require or (lambda k, why: None)
    with job.loop(work, "energies", len(structures), "structure") as loop:
        for k, why in work.failures.items():
            require(k, why)
        loop.tick(int(work.done.sum()))
        for k, found in _results(structures, recipe, job, np.flatnonzero(~work.done)):
            work.take(k, found)
            if found.failure:
                require(k, found.failure)
            failed = len(work.failures)
            loop.tick(int(work.done.sum()), shown={"failed": str(failed)} if failed else None)
    return work.found


class _Work:
    """What is known so far."""

    def __init__(self, structures: Sequence[Atoms], recipe: Recipe):
        self.structures, self.recipe = structures, recipe
        blank = [Computed.none(atoms) for atoms in structures]
        self.done = np.zeros(len(blank), dtype=bool)
        self.energy = np.full(len(blank), np.nan)
        self.positions = np.array([b.positions for b in blank])
        self.cells = np.array([b.cell for b in blank])
        self.failures: dict[int, str] = {}

    def take(self, k: int, found: Computed) -> None:
        self.done[k], self.energy[k] = True, found.energy
        self.positions[k], self.cells[k] = found.positions, found.cell
        if found.failure:
            self.failures[k] = found.failure

    @property
    def found(self) -> list[Computed]:
        return [
            Computed(energy=float(e), positions=p, cell=c, failure=self.failures.get(k, ""))
            for k, (e, p, c) in enumerate(zip(self.energy, self.positions, self.cells, strict=True))
        ]

    def identity(self) -> dict:
        about = {
            "numbers": np.array([a.numbers for a in self.structures]),
            "positions": np.array([a.positions for a in self.structures]),
            "cells": np.array([np.array(a.cell) for a in self.structures]),
        }
        return identity("computed energies", None, **self.recipe.told, **about)

    def state(self) -> tuple[dict, dict]:
        arrays = {
            "done": self.done.astype(np.int8),
            "energy": self.energy,
            "positions": self.positions,
            "cells": self.cells,
        }
        return arrays, {"failures": {str(k): why for k, why in self.failures.items()}}

    def restore(self, arrays: dict[str, np.ndarray], progress: dict) -> None:
        found, told = matching(arrays, self.state()[0]), progress.get("failures")
        if any(len(found[name]) != len(self.done) for name in found):
            raise AlloygenError(f"expected {len(self.done)} structures, got {len(found['done'])}")
        done, energy = found["done"] == 1, found["energy"]
        if not isinstance(told, dict) or not all(k.isdigit() and isinstance(why, str) for k, why in told.items()):
            raise AlloygenError("expected failures as reasons by number, got others")
        failures = {int(k): why for k, why in told.items()}
        failed = np.isin(np.arange(len(done)), list(failures))
        if not np.array_equal(np.isfinite(energy), done & ~failed) or (failed & ~done).any():
            raise AlloygenError("expected an energy or a reason for each structure that is done, got others")
        if not all(np.isfinite(found[name]).all() for name in ("positions", "cells")):
            raise AlloygenError("expected finite positions and cells, got others")
        self.done, self.energy, self.positions, self.cells = done, energy, found["positions"], found["cells"]
        self.failures = failures


def _results(
    structures: Sequence[Atoms], recipe: Recipe, job: Job, wanted: np.ndarray
) -> Iterator[tuple[int, Computed]]:
    if job.executor is None:
        own = recipe.made() if recipe.kind == "factory" and len(wanted) else recipe
        yield from ((int(k), own.of(structures[k])) for k in wanted)
        return
    token, left = secrets.token_hex(8), list(map(int, wanted[::-1]))
    futures: dict[Future, int] = {}
    try:
        while left or futures:
            while left and len(futures) < AHEAD:
                k = left.pop()
                futures[job.executor.submit(compute_one, token, recipe, structures[k])] = k
            for future in wait(futures, return_when=FIRST_COMPLETED).done:
                yield futures.pop(future), _of(future, recipe)
    finally:
        for future in futures:
            future.cancel()


def _of(future: Future, recipe: Recipe) -> Computed:
    """What an executor gives back; ``compute_one`` itself raises nothing."""
    try:
        return future.result()
    except BrokenExecutor as error:
        raise AlloygenError(
            f"expected processes that outlive the calculator, got one that ended ({error or type(error).__name__}): out of memory, or a fault in "
            "compiled code. What was computed is in the checkpoint of the job, if it has one; go on without an executor to see which structure it is"
        ) from error
    except AlloygenError:
        raise
    except Exception as error:  # whatever pickle raises
        raise AlloygenError(
            f"expected a calculator that can be sent to other processes, got {recipe.calculator!r} ({type(error).__name__}: {error}). Give what "
            "makes one, a class or a function without arguments at the top of a module, or no executor"
        ) from error


def compute_one(token: str, recipe: Recipe, atoms: Atoms) -> Computed:
    """The energy of one structure in another process or thread, which has a calculator of its own for all structures of one ``token``."""
    if getattr(_MADE, "token", None) != token:
        _MADE.recipe, _MADE.token = recipe.made(), token
    return _MADE.recipe.of(atoms)
