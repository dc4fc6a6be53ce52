"""``Condition``: temperature and chemical potentials as one record, which models, objectives and samplers hand on whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from alloygen.arrays import Numbers, as_array, as_tensor
from alloygen.conditions.given import Mu, chemical_potentials, temperature
from alloygen.errors import BadCondition
from alloygen.types import ArrayLike


def semigrand(energy: Numbers, counts: Numbers, mu: Numbers) -> Numbers:
    """E - mu.N of known energies (...,) and atoms of each element (..., n_elements), at mu (n_elements,) or (..., n_elements).

    Examples
    --------
    >>> semigrand(np.array([-1.0, 2.0]), np.array([[3, 1], [0, 4]]), np.array([0.0, 0.5]))
    array([-1.5,  0. ])
    """
    return energy - (counts * mu).sum(-1)


@dataclass(frozen=True, eq=False, init=False, repr=False)
class Condition:
    """One condition, or one for each row of a batch: p(x) = exp(-u(x)) / Z with

        u(x) = beta (E(x) - mu.N(x)),     beta = 1 / (kB T),

    the semigrand-canonical law (Frenkel and Smit, Understanding Molecular Simulation, 2nd ed., section 9.1).

    T : () or (B,) temperatures, above 0; infinity, where all states weigh alike, is allowed. mu : (n_elements,) or (B, n_elements) chemical potentials. What is one beside a batch stands for all of
        its rows. Both are kept as float64 tensors on one device
    kB : the Boltzmann constant in the units of E and T. ``hamiltonian.condition(T, mu)`` fills it in, and checks the elements

    Raises BadCondition for temperatures that are not above 0, for mu that is not finite, and for shapes that do not fit.

    Examples
    --------
    >>> at = Condition(2.0, [0.0, 0.5], kB=1.0)
    >>> at.beta.item(), at.reduced(torch.tensor([3.0]), torch.tensor([[1.0, 2.0]])).item()
    (0.5, 1.0)
    >>> rows = at.expand(3)
    >>> len(rows), rows[1:].mu.shape
    (3, torch.Size([2, 2]))
    """

    T: torch.Tensor
    mu: torch.Tensor
    kB: float

    def __init__(self, T: float | ArrayLike | torch.Tensor, mu: ArrayLike | torch.Tensor, kB: float):
        T, mu = _tensor(T), _tensor(mu)
        rows = T.shape or mu.shape[:-1]
        if T.ndim > 1 or mu.ndim not in (1, 2) or mu.shape[:-1] not in ((), (1,), rows):
            raise BadCondition(
                f"expected one T, or (B,) of them, and mu (n_elements,) or (B, n_elements), got {tuple(T.shape)} and {tuple(mu.shape)}"
            )
        if not bool((T > 0).all()):
            raise BadCondition(f"expected every temperature above 0, got {T[~(T > 0)].tolist()}")
        if not bool(mu.isfinite().all()):
            raise BadCondition(f"expected chemical potentials as finite numbers, got {mu[~mu.isfinite()].tolist()}")
        object.__setattr__(self, "T", T.expand(rows))
        object.__setattr__(self, "mu", mu.expand(*rows, mu.shape[-1]))
        object.__setattr__(self, "kB", float(kB))

    # ------------------------------------------------------------------ what it says
    @property
    def kT(self) -> torch.Tensor:
        """kB T, () or (B,)."""
        return self.kB * self.T

    @property
    def beta(self) -> torch.Tensor:
        """1 / (kB T), () or (B,)."""
        return 1.0 / self.kT

    def reduced(self, energy: Numbers, counts: Numbers) -> Numbers:
        """u = beta (E - mu.N), (B,), of known energies (B,) and numbers of atoms (B, n_elements), as arrays or as tensors."""
        if isinstance(energy, torch.Tensor):
            return semigrand(energy, counts, self.mu) / self.kT
        T, mu = self.arrays()
        return semigrand(energy, counts, mu) / (self.kB * T)

    # ------------------------------------------------------------------ rows
    def __len__(self) -> int:
        """Rows of a batch."""
        if not self.T.ndim:
            raise BadCondition("expected a condition for each row of a batch, got a single one: take its .expand(n)")
        return len(self.T)

    def __getitem__(self, rows: int | slice | list[int] | torch.Tensor) -> Condition:
        """The conditions of some rows: a number gives a single one, a slice, mask or index another batch."""
        len(self)
        return Condition(self.T[rows], self.mu[rows], self.kB)

    def __iter__(self) -> Iterator[Condition]:
        return (self[k] for k in range(len(self)))

    @property
    def rows(self) -> Condition:
        """A batch: a single condition as a batch of one, a batch as it is."""
        return self if self.T.ndim else self.expand(1)

    @property
    def words(self) -> str:
        """A single condition in the words of messages, T = 600, mu = [0.0, 0.02]."""
        return f"T = {float(self.T):g}, mu = {[round(m, 9) for m in self.mu.tolist()]}"

    def expand(self, n: int) -> Condition:
        """A single condition for each of n rows; a batch of n as it is."""
        return Condition(self.T.expand(n), self.mu.expand(n, -1), self.kB)

    def at(self, T: float | ArrayLike | torch.Tensor) -> Condition:
        """The same chemical potentials at another temperature, or at several (B,)."""
        return Condition(T, self.mu, self.kB)

    def to(self, device: torch.device | str) -> Condition:
        return Condition(self.T.to(device), self.mu.to(device), self.kB)

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """(T, mu) as arrays, for the compiled side."""
        return as_array(self.T), as_array(self.mu)

    @property
    def device(self) -> torch.device:
        return self.mu.device

    def __repr__(self) -> str:
        return (
            f"Condition(T={self.T.tolist()}, mu={self.mu.tolist()})"
            if not self.T.ndim
            else f"Condition({len(self)} rows)"
        )


class Knows(Protocol):
    """What gives numbers their elements and units: a Hamiltonian, a ClusterExpansion."""

    @property
    def elements(self) -> tuple[str, ...]: ...
    @property
    def kB(self) -> float: ...


def condition_from(T: float, mu: Mu | None, hamiltonian: Knows) -> Condition:
    """One condition of what users write: a temperature, and chemical potentials by element, a number or a field.

    Raises BadCondition and UnknownSpecies as :func:`alloygen.conditions.temperature` and :func:`alloygen.conditions.chemical_potentials`.

    Examples
    --------
    >>> import alloygen
    >>> condition_from(600, {"Au": 0.02}, alloygen.data.cuau())
    Condition(T=600.0, mu=[0.0, 0.02])
    """
    return Condition(temperature(T), chemical_potentials(mu, hamiltonian), hamiltonian.kB)


def _tensor(x: float | ArrayLike | torch.Tensor) -> torch.Tensor:
    if isinstance(x, torch.Tensor):
        return x.double()
    try:
        return as_tensor(np.array(x, dtype=float))
    except (TypeError, ValueError):
        raise BadCondition(f"expected temperatures and chemical potentials as numbers, got {x!r}") from None
