"""The law of every binary alloy of a parent lattice: one network, whose condition is the Hamiltonian.

The law of an alloy depends on beta J and beta mu alone, with J the ECIs of the canonical figures of its parent lattice
(:mod:`alloygen.hamiltonian.parents`). The logits of a site are, as in :mod:`alloygen.models.local`, the exact telescoped energies of whatever
Hamiltonian is given; the networks read beta J and beta (J_1 + dmu / 2), and what they add is what the sites that are not decided
yet will say. So weights are exact for every Hamiltonian, also for one that no training saw; their spread says how good the law is there.

Two exact symmetries are built in: the exchange of the species (odd figures and mu change sign), and the shift of J_1, the point figure, against mu.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self, cast

import numpy as np
import torch

from alloygen.arrays import as_tensor
from alloygen.conditions import relative
from alloygen.conditions.record import Condition
from alloygen.errors import LatticeMismatch
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.hamiltonian.expansion import ClusterExpansion
from alloygen.hamiltonian.parents import PARENTS, SIGMA, Parent, canonical
from alloygen.hamiltonian.scale import scale
from alloygen.models.base import AnyCell, Steering, Steps
from alloygen.models.local import Entering, LocalLaw, LocalSize, channels
from alloygen.nn.embeddings import CouplingEmbedding

CLAMP = 4.0  # of energies over 10 kT


@dataclass(frozen=True, kw_only=True)
class FamilySize(LocalSize):
    """The size of the networks, as a checkpoint states it."""

    inner: int


class FamilyModel(LocalLaw):
    """Autoregressive model of p(x | beta J, beta mu) of every binary alloy of a parent lattice, on any supercell.

    Parameters
    ----------
    hamiltonian : of a canonical expansion (``parents.canonical``), on the supercell to begin with
    ranges : {"T": (low, high), "mu": [(low, high)]} where it is meant to be used
    width, depth, window, levels, frequencies : see :class:`alloygen.models.local.LocalModel`
    inner : width of the hidden layers of a second, deeper network of the couplings; with it the condition enters every hidden layer of the
        networks of the sites. 0 for neither

    Examples
    --------
    >>> from alloygen.hamiltonian.parents import PARENTS
    >>> alloy = PARENTS["square"].expansion([0, -0.02, 0.01, 0, 0, 0, 0, 0, 0])
    >>> model = FamilyModel(alloy.on((4, 4, 1)), {"T": (300, 1000), "mu": [(-0.2, 0.2)]}, width=8)
    >>> model.couplings.tolist()[:3]
    [0.0, -0.02, 0.01]
    """

    kind = "family"

    def __init__(
        self,
        hamiltonian: Hamiltonian,
        ranges: dict,
        *,
        width: int = 128,
        depth: int = 3,
        window: int = 80,
        levels: int = 3,
        frequencies: int = 4,
        inner: int = 0,
    ):
        parent = _parent(hamiltonian)
        figures = parent.figures
        known = [(k, 0) for k in range(1, len(figures))]  # the point figure is a shift of mu
        size = FamilySize(width=width, depth=depth, window=window, levels=levels, frequencies=frequencies, inner=inner)
        embedding = CouplingEmbedding(width // 2, len(figures), frequencies, inner)
        super().__init__(hamiltonian, ranges, known, embedding, True, size, throughout=inner > 0)
        self.parent = parent
        self.odd = torch.tensor([figure.order % 2 == 1 for figure in figures])
        self.couplings = _couplings(self.parent, hamiltonian)

    def on(self, hamiltonian: Hamiltonian) -> Self:
        """The same weights for another canonical expansion or supercell."""
        if hamiltonian is self.hamiltonian:
            return self
        couplings, other = _couplings(self.parent, hamiltonian), self._bound(hamiltonian)
        other.couplings = couplings
        same = np.array_equal(hamiltonian.lattice.matrix, self.lattice.matrix)
        if same and channels(hamiltonian) == channels(self.hamiltonian):
            other._placed, other._schedules = self._placed, self._schedules
        return other

    def entering(self, condition: Condition, couplings: torch.Tensor | None = None) -> Entering:
        """What a condition (B,) is to the law, for the ``couplings`` (B, K) of each row or those of its Hamiltonian."""
        couplings = self.couplings if couplings is None else couplings
        beta = condition.beta[:, None]
        shift = relative(condition.mu, self.lattice)[:, 1:] / 2
        x = couplings.to(beta.device) * beta
        x = torch.cat([x[:, :1] + shift * beta, x[:, 1:]], dim=1)
        mirrored = torch.where(self.odd.to(x.device), -x, x)
        embedded = torch.cat([self.embedding(x), self.embedding(mirrored)])
        return Entering(condition.beta, self.hamiltonian.site_mu(condition.mu), embedded)

    def scaled(self, fields: torch.Tensor, beta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return (fields * (beta / 10)).clamp(-CLAMP, CLAMP), torch.tanh(fields * (beta / 4))


class ZeroShot(AnyCell):
    """The law that a family gives to an alloy in the alloy's own terms: its sites, its Hamiltonian, whatever its primitive cell and basis.

    family : the network of the parent lattice
    hamiltonian : of the alloy, any binary expansion of that lattice, on a supercell

    Examples
    --------
    >>> from alloygen.hamiltonian.ising import ising
    >>> from alloygen.hamiltonian.parents import PARENTS
    >>> h = PARENTS["square"].expansion([0.01] * 9).on((2, 2, 1))
    >>> square = FamilyModel(h, {"T": (300, 1000), "mu": [(-0.2, 0.2)]}, width=8)
    >>> law = ZeroShot(square, ising(4))
    >>> law.lattice, law.ranges["T"][1] > 2.3
    (Lattice(4x4x1 cells, 16 sites, -/+), True)
    """

    kind = "zero-shot"
    rows = LocalLaw.rows

    def __init__(self, family: FamilyModel, hamiltonian: Hamiltonian):
        super().__init__()
        self.family, self.hamiltonian = family, hamiltonian
        self.terms = canonical(cast(ClusterExpansion, hamiltonian.expansion))
        lattice, row = self.terms.on(hamiltonian.lattice)
        self.law = family.on(self.terms.expansion.on(lattice))
        self.row, self.back = as_tensor(row), as_tensor(np.argsort(row))
        same = torch.allclose(family.couplings, self.law.couplings, rtol=1e-9, atol=0.0)
        self.polished = same and is_of_one_alloy(family.metadata)
        self.trained, self.metadata = family.trained, family.metadata
        if not self.polished:  # what was measured was so on another alloy
            self.trained = replace(family.trained, measured=())
        self.ranges = spans(hamiltonian)
        if self.polished:  # as cold as it was polished, which may be below or above what is known without
            self.ranges["T"] = float(family.ranges["T"][0]), self.ranges["T"][1]

    @property
    def method(self) -> str:
        return "neural" if self.polished else f"neural, zero-shot by {self.name}"

    @property
    def remedy(self) -> str:
        """How to make the law better for this alloy."""
        if self.polished:
            return ""
        beyond = f" ({self.terms.beyond:.3g} {self.hamiltonian.unit}/site of its ECIs are beyond the network's figures)"
        unseen = beyond if self.terms.beyond > 0 else ""
        return (
            f"{self.name} never saw this alloy{unseen}: alloygen.polish(atoms, hamiltonian=..., minutes=2) trains it for some minutes, "
            'sampler=Neural(average=4) or Neural(then=Anneal()) makes these draws more even, sampler="mc" takes Monte Carlo'
        )

    @property
    def facts(self) -> dict:
        """How far the alloy is from what the network knows: size of the ECIs of figures beyond its list, per site."""
        return {"beyond": self.terms.beyond}

    def config(self) -> dict:
        return self.family.config()

    def on(self, hamiltonian: Hamiltonian) -> ZeroShot:
        """The law of the same alloy on another supercell, or of another alloy."""
        return self if hamiltonian is self.hamiltonian else ZeroShot(self.family, hamiltonian)

    @property
    def order(self) -> torch.Tensor:
        return self.back[self.law.order]

    def _orders(self, order: torch.Tensor) -> torch.Tensor:
        return self.row.to(order.device)[order]

    def _moved(self, rows: torch.Tensor) -> torch.Tensor:
        """Something by site (B, N), by the sites of the parent lattice."""
        return rows[:, self.back.to(rows.device)]

    def log_conditionals(self, occ: torch.Tensor, condition: Condition, order: torch.Tensor) -> torch.Tensor:
        return self.law.log_conditionals(self._moved(occ), condition, self._orders(order))

    def sample(
        self,
        condition: Condition,
        order: torch.Tensor,
        generator: torch.Generator,
        known: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        given = None if known is None else self._moved(known)
        occ, log_prob = self.law.sample(condition, self._orders(order), generator, given)
        return occ[:, self.row.to(occ.device)], log_prob

    def _steered(self, condition: Condition, order, uniform, known, steering: Steering):
        given = None if known is None else self._moved(known)
        there = _Renumbered(steering, self.back)
        occ, log_prob = self.law._steered(condition, self._orders(order), uniform, given, there)
        return occ[:, self.row.to(occ.device)], log_prob

    def sequence(self, order: torch.Tensor, known: torch.Tensor | None = None) -> torch.Tensor:
        return self.back[self.law.sequence(self._orders(order), None if known is None else self._moved(known))]


class _Renumbered(Steering, Steps):
    """Steering whose sites have other numbers: ``back`` (N,) is its own number of each."""

    def __init__(self, steering: Steering, back: torch.Tensor, steps: Steps | None = None):
        self.steering, self.back, self.steps = steering, back, steps

    def begin(self, rows: int) -> Steps:
        return _Renumbered(self.steering, self.back, self.steering.begin(rows))

    def corrected(self, site: torch.Tensor, log_p: torch.Tensor) -> torch.Tensor:
        return cast(Steps, self.steps).corrected(self.back[site], log_p)

    def take(self, site: torch.Tensor, species: torch.Tensor) -> None:
        cast(Steps, self.steps).take(self.back[site], species)


def is_of_one_alloy(metadata: Mapping) -> bool:
    """Was the network of a checkpoint polished for one alloy?"""
    return metadata.get("config", {}).get("objective", {}).get("kind", "stream") != "stream"


def spans(hamiltonian: Hamiltonian, T: tuple[float, float] = (0.6, 50.0), margin: float = 8.0) -> dict:
    """{"T": (low, high), "mu": [(low, high)]} of an alloy that a family is of use for: T in multiples of its scale, mu beyond its phases by
    ``margin`` kT of that. Trainings end at 5 times the scale; hotter the law comes near that of free sites, which it has exactly (NESS above .98 up to
    50 times, docs/samplers.md)."""
    found = scale(hamiltonian)
    return {"T": (T[0] * found.T, T[1] * found.T), "mu": found.beyond(margin).tolist()}


def _parent(hamiltonian: Hamiltonian) -> Parent:
    """The parent lattice in whose figures an expansion is written; an error where there is none."""
    for parent in PARENTS.values():
        if _is_in(hamiltonian, parent):
            return parent
    raise _other(", ".join(PARENTS), hamiltonian)


def _is_in(hamiltonian: Hamiltonian, parent: Parent) -> bool:
    """Is an expansion written in the figures of a parent lattice, these first?"""
    expansion = hamiltonian.expansion
    cell, names = expansion.primitive.cell, [o.name for o in expansion.orbits[: len(parent.figures)]]
    same = np.array_equal(expansion.functions, SIGMA) and np.allclose(cell, parent.primitive.cell)
    return same and names == [figure.name for figure in parent.figures]


def _couplings(parent: Parent, hamiltonian: Hamiltonian) -> torch.Tensor:
    """The J (K,) of a canonical expansion; an error for any other."""
    if not _is_in(hamiltonian, parent):
        raise _other(parent.name, hamiltonian)
    eci = [o.eci for o in hamiltonian.expansion.orbits[: len(parent.figures)]]
    return torch.tensor(eci, dtype=torch.float64)


def _other(names: str, hamiltonian: Hamiltonian) -> LatticeMismatch:
    return LatticeMismatch(
        f"expected an expansion in the figures of the parent lattice {names}, as parents.canonical(expansion) makes it, got "
        f"{hamiltonian.expansion}"
    )
