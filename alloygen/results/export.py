"""The configurations at one condition as structures: ASE Atoms, pymatgen Structures, files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

from alloygen.arguments import one_of
from alloygen.edge.structure_files import info_key, write_structures
from alloygen.edge.structures import to_pymatgen
from alloygen.errors import AlloygenError
from alloygen.results.averages import Averages
from alloygen.results.draws import Draws
from alloygen.types import PathLike


class AtomsSequence(Sequence):
    """The samples of an ensemble as ``ase.Atoms``, built one at a time; a slice gives a list."""

    def __init__(self, draws: Draws):
        if draws.atoms_map is None:
            raise AlloygenError(
                "expected an ensemble that knows its Atoms, got atoms_map=None; draw it with "
                "alloygen.sample(atoms, ...), or pass atoms_map="
            )
        self._draws = draws
        draws.tell()

    @cached_property
    def _inefficiency(self) -> float:
        """g of samples without a likelihood, by which error bars come back from a file."""
        return float(Averages(self._draws).inefficiency)

    def __len__(self) -> int:
        return len(self._draws)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self._make(i) for i in range(*index.indices(len(self)))]
        i = int(index)
        if not -len(self) <= i < len(self):
            raise IndexError(f"expected an index below {len(self)}, got {i}")
        return self._make(i % len(self))

    def __iter__(self) -> Iterator:
        return (self._make(i) for i in range(len(self)))

    def _make(self, i: int):
        from ase.calculators.singlepoint import SinglePointCalculator

        draws = self._draws
        assert draws.atoms_map is not None  # ``Ensemble.atoms`` has asked
        atoms = draws.atoms_map.to_atoms(draws.occ[i])
        atoms.info["T"] = draws.T
        atoms.info.update({info_key(f"mu_{e}"): float(m) for e, m in zip(draws.elements, draws.mu, strict=True)})
        if draws.has_likelihood and draws.log_prob is not None:
            atoms.info.update(log_prob=float(draws.log_prob[i]), log_weight=float(draws.log_weight[i]))
        else:
            if draws.log_w is not None:
                atoms.info["log_weight"] = float(draws.log_w[i])
            atoms.info["inefficiency"] = self._inefficiency
        atoms.calc = SinglePointCalculator(atoms, energy=float(draws.energy[i]))
        return atoms

    def __repr__(self) -> str:
        return f"<{len(self)} ase.Atoms of {self._draws!r}>"


def structures(draws: Draws) -> list:
    """The samples as pymatgen ``Structure`` objects, see :meth:`alloygen.results.ensemble.Ensemble.to_pymatgen`."""
    out = []
    for atoms in AtomsSequence(draws):
        structure = to_pymatgen(atoms)
        structure.properties = {"energy": atoms.get_potential_energy(), **atoms.info}
        out.append(structure)
    return out


def write(draws: Draws, path: PathLike, format: str | None, overwrite: bool) -> Path:
    """Write all samples, see :meth:`alloygen.results.ensemble.Ensemble.write`."""
    one_of(overwrite, "overwrite", (True, False))
    if not overwrite and os.path.lexists(path):
        raise AlloygenError(f"expected a new path, got {path}, which exists; choose another or pass overwrite=True")
    return write_structures(AtomsSequence(draws), path, format)
