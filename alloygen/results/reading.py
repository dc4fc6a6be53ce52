"""The ensemble in a file that :meth:`alloygen.results.ensemble.Ensemble.write` made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from alloygen.arguments import path_name
from alloygen.edge.problem import HamiltonianLike, Problem
from alloygen.edge.structure_files import info_key, read_structures
from alloygen.errors import AlloygenError
from alloygen.results.ensemble import Ensemble
from alloygen.results.provenance import Provenance
from alloygen.runtime.documents import contents_of
from alloygen.types import PathLike

if TYPE_CHECKING:
    from ase import Atoms

HERE = ("T", "log_prob", "log_weight", "inefficiency")


def read(path: PathLike, hamiltonian: HamiltonianLike | None = None) -> Ensemble:
    """The configurations of a file or folder with their energies, T, mu and weights, read one at a time.

    Parameters
    ----------
    path : what ``ens.write`` made, in any of its formats
    hamiltonian : as in :func:`alloygen.sample`; by default the expansion that ships for the elements

    Error bars of correlated samples stay what they were (``inefficiency`` in the file). What is not in a file: a free energy found by other means than
    weights, observers, and the chains.

    Raises AlloygenError for structures without energies, several conditions and weights that only some have; LatticeMismatch for structures that do
    not share their sites, and what :meth:`alloygen.Problem.of` raises.

    Examples
    --------
    >>> import tempfile, alloygen
    >>> from pathlib import Path
    >>> from ase.build import bulk
    >>> ens = alloygen.sample(bulk("Cu", a=3.8).repeat((2, 2, 4)), T=600, mu={"Au": 0.02}, n=20)
    >>> back = read(ens.write(Path(tempfile.mkdtemp()) / "configs.extxyz"))
    >>> back.free_energy() == ens.free_energy(), bool((back.occ == ens.occ).all())
    (True, True)
    """
    where = path_name(path, "where structures are read")
    with contents_of(where, "configurations that alloygen wrote"):
        return _read(where, hamiltonian)


def _read(path: str, hamiltonian: HamiltonianLike | None) -> Ensemble:
    occ, energies, numbers = [], [], []
    problem: Problem | None = None
    first: dict[str, Any] = {}
    for k, atoms in enumerate(read_structures(path)):
        if problem is None:
            first = dict(atoms.info)
            if "T" not in first:
                raise AlloygenError(
                    f"expected structures that alloygen wrote, with T and mu, got none of these in {path!r}"
                )
            problem = Problem.of(_bare(atoms), dict.fromkeys(_elements(atoms), 0.0) or None, hamiltonian)
        differ = [
            name for name in first if name == "T" or name.startswith("mu_") if atoms.info.get(name) != first[name]
        ]
        if differ:
            raise AlloygenError(
                f"expected one condition, got others in structure {k} ({', '.join(f'{n} = {atoms.info.get(n)}' for n in differ)}). Write one file for each"
            )
        occ.append(problem.atoms_map.occ_from(_bare(atoms)).astype(np.int8))
        energies.append(_energy(atoms, k))
        numbers.append([float(atoms.info.get(name, np.nan)) for name in HERE])
    if problem is None:
        raise AlloygenError(f"expected structures in {path!r}, got none")
    T, log_prob, log_weight, inefficiency = np.array(numbers).T
    h = problem.hamiltonian
    known = [name for name, values in (("log_prob", log_prob), ("log_weight", log_weight)) if np.isfinite(values).any()]
    for name, values in (("log_prob", log_prob), ("log_weight", log_weight)):
        if name in known and np.isnan(values).any():
            raise AlloygenError(
                f"expected {name} of all structures or of none, got {int(np.isnan(values).sum())} without"
            )
    return Ensemble(
        h,
        np.array(occ),
        np.array(energies),
        log_prob if "log_prob" in known else None,
        T=float(T[0]),
        mu=np.array([float(first.get(info_key(f"mu_{e}"), 0.0)) for e in h.elements]),
        method="read from a file",
        atoms_map=problem.atoms_map,
        log_w=log_weight if known == ["log_weight"] else None,
        facts=Provenance(inefficiency=float(inefficiency[0])) if np.isfinite(inefficiency[0]) else Provenance(),
    )


def _elements(atoms: Atoms) -> list[str]:
    """The elements that mu was written for."""
    return [k.removeprefix("mu_") for k in atoms.info if k.startswith("mu_")]


def _bare(atoms: Atoms) -> Atoms:
    bare = atoms.copy()
    bare.calc, bare.info = None, {}
    return bare


def _energy(atoms: Atoms, k: int) -> float:
    try:
        energy = float(atoms.get_potential_energy())
    except Exception as error:  # ASE raises whatever it does
        raise AlloygenError(f"expected structures with energies, got structure {k} with none ({error})") from error
    if not np.isfinite(energy):
        raise AlloygenError(f"expected finite energies, got {energy} of structure {k}")
    return energy
