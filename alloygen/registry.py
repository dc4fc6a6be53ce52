"""Which model draws a problem: checkpoints by name or path, and the one that fits, chosen by the headers of the files."""

from __future__ import annotations

import os
import warnings
from collections import OrderedDict
from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from alloygen.edge.atoms_map import AtomsMap
from alloygen.edge.problem import AtomsLike, Fixed, HamiltonianLike, Problem, expansion_of
from alloygen.errors import AlloygenError, CheckpointError, LatticeMismatch, NoModel, UnusableModel
from alloygen.estimate.weights import user_level
from alloygen.generate.outpaint import windows
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.hamiltonian.expansion import ClusterExpansion
from alloygen.hamiltonian.parents import canonical
from alloygen.lattice import Lattice
from alloygen.models.base import AnyCell, Model, Network
from alloygen.models.family import FamilyModel, ZeroShot, is_of_one_alloy
from alloygen.models.store import Header, load_model, read_header
from alloygen.types import PathLike

if TYPE_CHECKING:
    import pandas as pd

KEPT = 8  # models in memory
_loaded: OrderedDict[tuple[str, int, int], Network] = OrderedDict()


def load(path: PathLike, hamiltonian: Hamiltonian | ClusterExpansion | None = None) -> Model:
    """Load a trained model from a checkpoint file, or by the name of one that ships (``"cuau_4x4x4"``): one of your own, which may be changed.

    Raises CheckpointError for a damaged or newer file, and for one of another Hamiltonian than the one given.

    Examples
    --------
    >>> import alloygen
    >>> alloygen.load("cuau_2x2x4").hamiltonian.n_sites
    16
    """
    if hamiltonian is not None:
        return load_model(named(path), hamiltonian)
    model = shared(path)
    h = model.hamiltonian  # which never changes
    return deepcopy(model, {id(h): h})


def shared(path: PathLike) -> Network:
    """The model of a file, one for all who only ask it; the last few are kept. :func:`load` gives one of the caller's own."""
    path = named(path)
    state = path.stat()
    key = (str(path.absolute()), state.st_mtime_ns, state.st_size)
    if key not in _loaded:
        _loaded[key] = load_model(path)
    _loaded.move_to_end(key)
    while len(_loaded) > KEPT:
        _loaded.popitem(last=False)
    return _loaded[key]


def named(path: object) -> Path:
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
    if not os.path.isfile(path):
        raise CheckpointError(
            f"expected the file of a checkpoint, got {os.fspath(path)!r}, which is a pipe, a socket or a device"
        )
    return Path(path)


def given(
    model: Model | PathLike,
    atoms: AtomsLike,
    named: object,
    hamiltonian: HamiltonianLike | None = None,
    fixed: Fixed | None = None,
    larger: bool = True,
) -> tuple[Model, Problem]:
    """The model that is named, and the problem on its sites or, where it is to out-paint (``larger``), on its own."""
    model = model if isinstance(model, Model) else shared(model)
    if isinstance(model, FamilyModel):  # the alloy is the caller's
        problem = Problem.of(atoms, named, hamiltonian, fixed)
        return ZeroShot(model, problem.hamiltonian), problem
    if hamiltonian is not None:
        _require_hamiltonian(model, expansion_of(None, named, hamiltonian))
    problem = Problem.of(atoms, named, model.hamiltonian, fixed)
    if isinstance(model, AnyCell):
        return model.on(problem.hamiltonian), problem
    if larger and _site_row(model, problem) is None and _outpaints(model, problem.atoms_map):
        return model, problem
    return model, _fit(problem, model)


def fitting(problem: Problem, larger: bool = True, needed: bool = False) -> tuple[Model | None, Problem]:
    """The model that fits a problem, and the problem on its sites; without one None, and a NoModel warning that says what there is.

    A model that the user trained for the very supercell goes first. Of those that ship the law of every supercell draws whole cells, more evenly
    and faster, and the model of the very supercell where sites are held (docs/any_cell.md has the figures). Then networks for every alloy of the
    lattice, then out-painting.

    larger : a model of a smaller supercell will do, to out-paint
    needed : LatticeMismatch in place of the warning
    """
    found = problem.atoms_map
    headers, passed = _headers()
    if passed:
        _pass_over(passed)
    models = [h for h in headers if not _is_family(h) and h.expansion.fingerprint == problem.hamiltonian.fingerprint]
    if (fits := _first_whole(_for_whole_cells(models, problem))) is not None:
        return (fits.on(problem.hamiltonian), problem) if isinstance(fits, AnyCell) else (fits, _fit(problem, fits))
    if (family := _first_whole(_families(headers, problem.hamiltonian))) is not None:
        return ZeroShot(cast(FamilyModel, family), problem.hamiltonian), problem
    by_size = sorted(models, key=lambda m: -m.lattice.n_sites)
    if larger and (smaller := _first_whole(m for m in by_size if _outpaints(m, found))) is not None:
        return smaller, problem
    told = _what_there_is(models, found)
    if needed:
        raise LatticeMismatch(
            f"expected a supercell that a model was trained for, got {found.lattice!r}: {told}. Train one with `alloygen train`, give "
            'sampler=MODEL, or use sampler="mc".'
        )
    other = "Choose such a supercell, train" if models else "Train"
    warnings.warn(
        f"Monte Carlo samples {found.lattice!r}, and its samples are correlated: {told}. {other} a model for this one with `alloygen train`, "
        'or pass sampler="mc" to say that Monte Carlo is meant.',
        NoModel,
        stacklevel=user_level(),
    )
    return None, problem


def models_at_hand() -> pd.DataFrame:
    """The models that ship and the user's own: name, alloy, supercell ("any" for a law), ranges of T and of mu for the elements after the first, and mean NESS as its
    training measured it. Files that cannot be used are passed over, with an UnusableModel warning.

    Examples
    --------
    >>> table = models_at_hand()
    >>> table[table.model == "cuau"].supercell.item()
    'any'
    """
    import pandas as pd

    headers, passed = _headers()
    if passed:
        _pass_over(passed)
    rows = []
    for header in headers:
        about, lattice = header.metadata, header.lattice
        T, mu = about["ranges"]["T"], about["ranges"]["mu"]
        cell = "any" if header.any_cell else _cell_name(lattice)
        spans = ", ".join(
            f"{e} {low:.3g} to {high:.3g}" for e, (low, high) in zip(header.expansion.elements[1:], mu, strict=True)
        )
        rows.append({"model": Path(header.path).stem, "alloy": header.expansion.name, "supercell": cell, "T": f"{T[0]:.4g} to {T[1]:.4g}",
                     "mu": spans, "NESS": about.get("figures", {}).get("ness", "")})  # fmt: skip
    return pd.DataFrame(rows)


def _for_whole_cells(models: list[Header], problem: Problem) -> list[Header]:
    """Models that draw the supercell of a problem as it is, the best first."""
    from alloygen.data import own_folder

    mine = lambda m: Path(m.path).parent == own_folder()  # noqa: E731
    fits = [m for m in models if not m.any_cell and _site_row(m, problem) is not None]
    laws = sorted((m for m in models if m.any_cell), key=lambda m: not mine(m))
    own = [m for m in fits if mine(m)]
    ship = [m for m in fits if m not in own]
    return [*own, *ship, *laws] if (problem.known >= 0).any() else [*own, *laws, *ship]


def _headers() -> tuple[list[Header], list[str]]:
    """(headers of all models at hand, what is wrong with the files that cannot be used)."""
    from alloygen.data import checkpoints

    found, passed = [], []
    for path in map(str, checkpoints().values()):
        try:
            found.append(read_header(path))
        except CheckpointError as error:
            passed.append(str(error))
    return found, passed


def family_of(h: Hamiltonian) -> tuple[FamilyModel, str] | None:
    """The network for an alloy, one polished for it before one for every alloy of its parent lattice, and its file; None where there is none."""
    for header in _families(_headers()[0], h):
        if (found := _first_whole([header])) is not None:
            return cast(FamilyModel, found), str(header.path)
    return None


def _families(headers: list[Header], h: Hamiltonian) -> list[Header]:
    """The networks for the parent lattice of an alloy: those polished for the very alloy, the user's own, those that ship."""
    from alloygen.data import own_folder

    headers = [header for header in headers if _is_family(header)]
    try:
        own = canonical(cast(ClusterExpansion, h.expansion)) if headers else None
    except LatticeMismatch:
        return []
    mine, others = [], []
    for header in headers:
        terms = canonical(header.expansion)
        if own is None or terms.parent is not own.parent:
            continue
        if not is_of_one_alloy(header.metadata):
            others.append(header)
        elif np.allclose(terms.J, own.J, rtol=1e-9, atol=1e-12 * float(np.abs(own.J).max() + 1e-30)):
            mine.append(header)
    return [*mine, *sorted(others, key=lambda header: Path(header.path).parent != own_folder())]


def _is_family(header: Header) -> bool:
    return header.metadata["kind"] == FamilyModel.kind


def _first_whole(headers: Iterable[Header]) -> Model | None:
    """The first of the models whose weights can be read."""
    for header in headers:
        try:
            return shared(header.path)
        except CheckpointError as error:
            _pass_over([str(error)])
    return None


def _pass_over(errors: list[str]) -> None:
    warnings.warn(
        f"{len(errors)} files among the models are passed over: {' | '.join(errors)}",
        UnusableModel,
        stacklevel=user_level(),
    )


def _what_there_is(models: list[Header], found: AtomsMap) -> str:
    """Which supercells the models are for, those of as many sites first."""
    if not models:
        return "no model is known for this Hamiltonian"
    lattices = sorted((m.lattice for m in models), key=lambda a: (a.n_sites != len(found.site), a.n_sites))
    cells = {f"{_cell_name(a)} primitive cells ({a.n_sites} sites)": a.n_sites for a in lattices}
    same = [name for name, n in cells.items() if n == len(found.site)]
    shape = f"; {' and '.join(same)} has as many sites in another shape" if same else ""
    return f"no model fits this supercell. There are models of {', '.join(cells)}{shape}"


def _cell_name(lattice: Lattice) -> str:
    """4x4x4, or the matrix of a cell that is skewed."""
    repeats = lattice.matrix.diagonal()
    return (
        "x".join(map(str, repeats))
        if np.array_equal(lattice.matrix, np.diag(repeats))
        else str(lattice.matrix.tolist())
    )


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
    ours = h.random(4, 0)
    same = np.allclose(own.energy(ours[:, row]), h.energy(ours), atol=1e-9, rtol=1e-9)
    return row if same else None
