"""Energies of samples by another Hamiltonian: numbers, an expansion, or an ASE calculator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch

from alloygen.arrays import as_array
from alloygen.edge.computed import Recipe
from alloygen.errors import AlloygenError, LatticeMismatch
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.hamiltonian.figures import Expansion
from alloygen.hamiltonian.source import expansion_from
from alloygen.lattice import Lattice
from alloygen.results.labels import labels

if TYPE_CHECKING:
    from alloygen.edge.atoms_map import AtomsMap
    from alloygen.hamiltonian.expansion import ClusterExpansion
    from alloygen.types import ArrayLike, PathLike

# What stands for the energies of another law (see ``OtherEnergies.of``).
EnergiesLike: TypeAlias = "ArrayLike | torch.Tensor | Hamiltonian | ClusterExpansion | PathLike | tuple[Any, Any] | Any"


@dataclass(frozen=True, kw_only=True, eq=False)
class OtherEnergies:
    """What stands for other energies, looked at before any work.

    given : as the caller gave it; hamiltonian : of an expansion, on the supercell of the samples, None for others
    calculator : whether Atoms are handed to it; numbers : float64, of any shape, None for others
    """

    own: Hamiltonian
    given: Any
    hamiltonian: Hamiltonian | None = None
    numbers: np.ndarray | None = None

    @classmethod
    def of(cls, given: Any, own: Hamiltonian) -> OtherEnergies:
        """Numbers; a ClusterExpansion, a Hamiltonian or whatever ``hamiltonian=`` takes elsewhere; or an ASE calculator.

        Raises LatticeMismatch for a Hamiltonian of other sites or species, AlloygenError for what has no energies.
        """
        if isinstance(given, (np.ndarray, torch.Tensor, list)) or _is_numbers(given):
            return cls(own=own, given=given, numbers=_numbers(given))
        if isinstance(given, Hamiltonian):
            if not own.lattice.same_as(given.lattice):
                raise _other_sites(own, given.expansion.name, repr(given.lattice))
            return cls(own=own, given=given, hamiltonian=_on_the_same(own, given.expansion))
        if _is_calculator(given):
            if own.unit != "eV":
                raise AlloygenError(f"expected an alloy in eV for an ASE calculator, got energies in {own.unit}")
            return cls(own=own, given=given)
        return cls(own=own, given=given, hamiltonian=_on_the_same(own, expansion_from(given)))

    def same_figures(self, expansion: Any) -> bool:
        """Whether the energies follow from the correlation functions of the figures of ``expansion``."""
        return self.hamiltonian is not None and self.hamiltonian.expansion.same_figures(expansion)

    def of_cells(
        self, occ: np.ndarray, atoms_map: AtomsMap | None, correlations: Callable[[], np.ndarray]
    ) -> np.ndarray:
        """Energies (n,) of the samples (n, N); ``correlations`` gives their correlation functions (n, K), where they serve."""
        if self.numbers is not None:
            if self.numbers.shape != (len(occ),):
                raise AlloygenError(
                    f"expected finite energies of shape ({len(occ)},), got shape {self.numbers.shape}: one of each sample, of the whole cell"
                )
            return self.numbers
        if self.hamiltonian is None:
            found = labels(self.own, occ, atoms_map, Recipe(calculator=self.given), strict=True)
            return found.energies(self.own, self.own.counts(occ))
        if self.same_figures(self.own.expansion):
            return self.own.n_sites * (correlations() @ self.hamiltonian.expansion.ecis)
        return self.hamiltonian.energy(occ)


def _is_numbers(given: Any) -> bool:
    if hasattr(given, "to_numpy"):
        return True
    return isinstance(given, tuple) and len(given) > 0 and all(isinstance(v, Real) for v in given)


def _numbers(given: Any) -> np.ndarray:
    try:
        found = as_array(given, np.float64) if isinstance(given, torch.Tensor) else np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        raise AlloygenError(f"expected energies as numbers, one of each sample, got {given!r:.80}") from None
    if not np.isfinite(found).all():
        bad = np.flatnonzero(~np.isfinite(found.ravel()))
        raise AlloygenError(
            f"expected finite energies of shape (n,), got shape {found.shape} with {len(bad)} nan or infinite, the first at index {bad[0]}; "
            "leave these out: ens.subset(index)"
        )
    return found


def _is_calculator(given: Any) -> bool:
    """Whether it is an ASE calculator, and not one that carries an expansion (CLEASE)."""
    return hasattr(given, "get_potential_energy") and not (hasattr(given, "settings") and hasattr(given, "eci"))


def _on_the_same(own: Hamiltonian, other: Expansion) -> Hamiltonian:
    """The expansion on the supercell of ``own``, at its length."""
    lattice = own.lattice
    if other.primitive is not lattice.primitive:
        if other.primitive.species != lattice.species or not lattice.same_as(Lattice(other.primitive, lattice.matrix)):
            raise _other_sites(
                own, other.name, f"a primitive cell of {other.primitive!r}, species {other.primitive.species}"
            )
    if abs(own.kB - other.kB) > 1e-6 * own.kB or own.unit != other.unit:
        raise LatticeMismatch(
            f"expected energies in {own.unit} with kB = {own.kB:g}, got {other.unit} with {other.kB:g} of {other.name!r}"
        )
    return Hamiltonian(other, lattice)


def _other_sites(own: Hamiltonian, name: str, got: str) -> LatticeMismatch:
    return LatticeMismatch(
        f"expected a Hamiltonian on the sites of the samples, {own.lattice!r} with species {own.lattice.species}, got {name!r} with {got}. "
        "Write it on the same primitive cell with the species in the same order, or pass energies (n,) that it gives for ens.atoms"
    )
