"""A law at given numbers of atoms: the conditionals of an any-order model, corrected so that the numbers can still be met.

With r what the sites not yet decided must add up to, each conditional is multiplied by an estimate of the chance that the model completes the
configuration,

    q(x_i = a | decided) ~ p(x_i = a | decided) psi(r - w_i(a)),     psi = 0 where nothing can reach r,

so that every draw has the numbers asked for, and the product of the corrected conditionals is an exact likelihood: weights exp(-beta E) / q give the
canonical law, and their mean its partition function. Were psi the exact chance, q would be the model's own law at these numbers (a
"twisted" proposal: Guarniero, Johansen and Lee, J. Am. Stat. Assoc. 112, 1636 (2017)). Here psi is a Gaussian in r, step by step, from a few draws at
chemical potentials whose mean composition is the one asked for (:mod:`alloygen.models.aim`); that it is 0 is exact (:mod:`alloygen.counts`).
"""

from __future__ import annotations

import numpy as np
import torch

from alloygen.arrays import as_array, as_tensor
from alloygen.conditions.record import Condition
from alloygen.counts import Counts
from alloygen.errors import AlloygenError
from alloygen.models.aim import Aim, aimed
from alloygen.models.base import AnyOrder, Model, Steering, Steps, path_log_prob
from alloygen.models.blocks import by_blocks


class Canonical(Model):
    """The law of an any-order model at given numbers of atoms, on its supercell, with the sites held that the counts know.

    law : AnyOrder; counts : of its lattice; family : of orders, None for the one that it was trained on

    Rows of one call belong to one condition. Its chemical potentials are those of the target; the model is asked at others, that lead to the
    composition.

    Examples
    --------
    >>> import alloygen
    >>> from alloygen.conditions.composition import constraint
    >>> from alloygen.models.draw import draw
    >>> law = alloygen.load("cuau_2x2x4")
    >>> counts = Counts(lattice=law.lattice, constraint=constraint({"Au": 4}, law.lattice), known=np.full(16, -1))
    >>> occ, log_prob = draw(Canonical(law, counts), law.hamiltonian.condition(600.0), 8, torch.Generator().manual_seed(0))
    >>> occ.sum(1).tolist()
    [4, 4, 4, 4, 4, 4, 4, 4]
    """

    kind = "canonical"

    def __init__(self, law: AnyOrder, counts: Counts, family: str | None = None):
        super().__init__()
        if counts.lattice.n_sites != law.hamiltonian.n_sites:
            raise AlloygenError(f"expected counts on {law.lattice!r}, got them on {counts.lattice!r}")
        self.law, self.counts, self.family = law, counts, family
        self.hamiltonian, self.ranges, self.trained = law.hamiltonian, law.ranges, law.trained
        self.rows, self.metadata = law.rows, law.metadata
        self._aims: dict[tuple, Aim] = {}

    @property
    def method(self) -> str:
        return f"{self.law.method}, canonical"

    @property
    def own_order(self) -> torch.Tensor | None:
        return self.law.own_order

    @property
    def remedy(self) -> str:
        return self.law.remedy

    @property
    def facts(self) -> dict:
        return self.law.facts

    def aim(self, condition: Condition) -> Aim:
        """Which chemical potentials the model is asked at, and psi, for one condition; found once, from random numbers of its own."""
        key = (float(condition.T), *condition.mu.tolist())
        if key not in self._aims:
            self._aims[key] = aimed(self.law, self.counts, condition, self.family)
        return self._aims[key]

    def asked(self, condition: Condition) -> Condition:
        """What the model is asked at for a condition, or for rows of one."""
        shift = as_tensor(self.aim(self._one(condition)).shift, device=condition.device)
        return Condition(condition.T, condition.mu + shift, condition.kB)

    def sample(
        self,
        condition: Condition,
        order: torch.Tensor,
        generator: torch.Generator,
        known: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        self._require_held(known)
        way = _Way(self.counts, self.aim(self._one(condition)))
        return self.law.steered(self.asked(condition), order, generator, way, known)

    @torch.no_grad()
    def log_prob(
        self,
        occ: torch.Tensor,
        condition: Condition,
        order: torch.Tensor,
        known: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Exact log-likelihood (B,) float64 of occupations (B, N); -inf for those of other numbers."""
        self._require_held(known)
        way = _Way(self.counts, self.aim(self._one(condition)))
        one = lambda *x: self._log_prob(way, *x)  # noqa: E731
        return by_blocks(one, occ, self.asked(condition), order, known, largest=self.rows)

    def _log_prob(self, way: _Way, occ, condition, order, known) -> torch.Tensor:
        log_p, steps = self.law.log_conditionals(occ, condition, order), way.begin(len(occ))
        rank, sequence = torch.argsort(order, dim=1), self.law.sequence(order, known)
        done = []
        for site in sequence.split(1, dim=1):
            here = torch.gather(rank, 1, site)[..., None].expand(-1, -1, log_p.shape[2])
            done.append(steps.corrected(site, torch.gather(log_p, 1, here)[:, 0]))
            steps.take(site, torch.gather(occ, 1, site))
        return path_log_prob(torch.stack(done, 1), occ, sequence, known)

    def _one(self, condition: Condition) -> Condition:
        first = condition.rows[0]
        if bool((condition.T != first.T).any()) or bool((condition.mu != first.mu).any()):
            raise AlloygenError("expected one condition for all rows of a law at given numbers of atoms, got several")
        return first

    def _require_held(self, known: torch.Tensor | None) -> None:
        held = self.counts.known
        same = bool((held < 0).all()) if known is None else bool((as_array(known) == held).all())
        if not same:
            raise AlloygenError(
                f"expected the {int((held >= 0).sum())} sites to be held that the counts know, got others"
            )


class _Way(Steering):
    """Towards given numbers of atoms."""

    def __init__(self, counts: Counts, aim: Aim):
        self.counts, self.aim = counts, aim

    def begin(self, rows: int) -> Steps:
        return _Rest(self, rows)


class _Rest(Steps):
    """What is left of the sites and of the numbers: left (B, K) of each kind, rest (B, C), free (B,) sites."""

    def __init__(self, way: _Way, rows: int):
        self.counts, self.aim = way.counts, way.aim
        self.left = np.tile(self.counts.left, (rows, 1))
        self.rest = np.tile(self.counts.need, (rows, 1))
        self.free = np.full(rows, int((self.counts.known < 0).sum()))
        self.row = np.arange(rows)

    def corrected(self, site: torch.Tensor, log_p: torch.Tensor) -> torch.Tensor:
        at = as_array(site)[:, 0]
        kind, left = self.counts.kind[at], self.left.copy()
        told = kind >= 0
        if not told.any():
            return log_p
        left[self.row[told], kind[told]] -= 1
        after = self.rest[:, None] - self.counts.weights[at]  # (B, S, C)
        open_ = np.isfinite(self.counts.log_ways(left, after))
        psi = self.aim.log_psi(np.maximum(self.free - 1, 0), after)
        total = np.where(open_, as_array(log_p) + psi, -np.inf)
        top = total.max(1, keepdims=True)
        with np.errstate(divide="ignore"):
            norm = np.log(np.exp(total - np.where(np.isfinite(top), top, 0.0)).sum(1, keepdims=True)) + top
        total = total - np.where(np.isfinite(norm), norm, 0.0)
        return as_tensor(np.where(told[:, None], total, as_array(log_p)), device=log_p.device)

    def take(self, site: torch.Tensor, species: torch.Tensor) -> None:
        at = as_array(site)[:, 0]
        kind = self.counts.kind[at]
        self.left[self.row, np.maximum(kind, 0)] -= kind >= 0
        self.rest = self.rest - self.counts.weights[at, as_array(species)[:, 0]]
        self.free = self.free - (self.counts.known[at] < 0)
