"""What a model is: a normalised law over occupations, for every condition. What more it can do is said by its class.

    Model       log_prob(occ, condition, order, known=None) -> (B,) float64     sum over all occ of exp(log_prob) = 1
                sample(condition, order, generator, known=None) -> (occ, log_prob), the two agreeing to rounding
    AnyOrder    log_conditionals(occ, condition, order) -> (B, N, S): the law is their product along any order
    Network     an any-order law with weights: what a configuration may ask for, training improves and a checkpoint keeps
    AnyCell     a Network of which one checkpoint serves every supercell of its alloy

A Model draws and weighs (``alloygen.sample(model=...)``, scans, fixed sites, out-painting). Likelihoods of a part of the sites need an
AnyOrder; training and checkpoints a Network. Both functions work in blocks of rows (:mod:`alloygen.models.blocks`), so that their bits do
not depend on the number of threads. ``log_conditionals`` is one pass as it is, for training.

``condition`` holds T (B,) and mu (B, n_elements) in the Hamiltonian's units (``hamiltonian.condition(T, mu)``); a batch may mix them. ``order`` (B, N) is the sequence in which sites are
decided, which a law that knows none may ignore. ``known`` (B, N) holds species indices of sites that are given and -1 elsewhere; then
log_prob is that of the sites generated, given the known ones, which the order has in front. :func:`alloygen.testing.check_model` checks all
this on a small cell.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from alloygen.arrays import as_array
from alloygen.conditions import relative
from alloygen.conditions.record import Condition
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.lattice import Lattice
from alloygen.models.blocks import LARGEST, by_blocks
from alloygen.orders import Orders

NEAR = 0.5  # of a condition to one that was measured, in ln T and mu / kT together


@contextmanager
def own_random_state(seed: int = 0) -> Iterator[None]:
    """torch's global generator seeded for what draws from it unasked, such as the first weights of a network, and afterwards as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


@dataclass(frozen=True)
class Measured:
    """How even the weights of a law were found to be at a condition.

    sites : of the supercell
    T, mu : mu of each element after the first less that of its reference (:func:`alloygen.conditions.relative`)
    ness : of its own draws
    forward : Z of its own draws over the mean weight of Monte Carlo samples of the alloy; near 0 where these lie in a phase that it does not draw,
        however even its own draws are
    """

    sites: int
    T: float
    mu: tuple[float, ...]
    ness: float
    forward: float


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What drawing from a model and naming it has to know of its training; a checkpoint holds it.

    name : of its checkpoint, empty for a model that has none
    orders : that it was trained on
    measured : at some conditions, how even its weights are
    """

    name: str = ""
    orders: Orders = field(default_factory=Orders)
    measured: tuple[Measured, ...] = ()

    def nearest(self, h: Hamiltonian, at: Condition) -> Measured | None:
        """What was measured nearest to a condition on a supercell of as many sites: within NEAR in ln T and mu / kT together."""
        rows = [row for row in self.measured if row.sites == h.n_sites]
        if not rows:
            return None
        T, mu = np.array([row.T for row in rows]), np.array([row.mu for row in rows])
        own = relative(as_array(at.mu), h.lattice)[1:]
        away = np.abs(np.log(T / float(at.T))) + np.abs(mu - own).max(1) / float(at.kT)
        return rows[int(away.argmin())] if away.min() < NEAR else None


UNTRAINED = Trained()


class Model(nn.Module, ABC):
    """A normalised law p(x | T, mu) on the supercell of ``hamiltonian``; concrete classes are final.

    hamiltonian : of the supercell
    ranges : {"T": (low, high), "mu": [(low, high), ...]} where it is meant to be used, one mu interval per element after the first
    kind : a word for what it is
    trained : what is known of its training: its name and the orders
    rows : of the largest block that it works on at a time
    metadata : what else its checkpoint says, to be read by people: configuration, steps, measured figures, ...
    """

    hamiltonian: Hamiltonian
    ranges: dict
    kind: str
    trained: Trained = UNTRAINED
    rows: int = LARGEST
    metadata: Mapping[str, Any] = MappingProxyType({})

    @abstractmethod
    def log_prob(
        self,
        occ: torch.Tensor,
        condition: Condition,
        order: torch.Tensor,
        known: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Exact log-likelihood (B,) float64 of occupations (B, N) along ``order``; the steps of known sites do not count."""

    @abstractmethod
    def sample(
        self,
        condition: Condition,
        order: torch.Tensor,
        generator: torch.Generator,
        known: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(occ (B, N) int64, log_prob (B,) float64), one independent draw for each row."""

    @property
    def lattice(self) -> Lattice:
        """Its supercell."""
        return self.hamiltonian.lattice

    @property
    def name(self) -> str:
        """What results call the model: the name of its checkpoint, else its kind."""
        return self.trained.name or self.kind

    def __repr__(self) -> str:
        """In a line: a network's layers are those of ``list(model.children())``."""
        h, T = self.hamiltonian, getattr(self, "ranges", {}).get("T")
        where = "" if T is None else f", T {T[0]:.4g} to {T[1]:.4g}"
        return f"{type(self).__name__}({self.name!r}, {h.lattice!r}{where}, {sum(p.numel() for p in self.parameters()):,} weights)"

    @property
    def method(self) -> str:
        """What results call drawing from it."""
        return "neural"

    @property
    def own_order(self) -> torch.Tensor | None:
        """(N,) the one sequence that it decides sites in, where it has one; None for families of orders."""
        return None

    @property
    def remedy(self) -> str:
        """What to do where the weights of its draws are too uneven, told at once; empty where estimates tell it."""
        return ""

    @property
    def facts(self) -> dict:
        """What results say of it beside its name."""
        return {}

    @property
    def device(self) -> torch.device:
        """Where its weights lie; the processor for a law without any."""
        return next((p.device for p in self.parameters()), torch.device("cpu"))


class Steps(ABC):
    """The way of B configurations, site by site; see :class:`Steering`."""

    @abstractmethod
    def corrected(self, site: torch.Tensor, log_p: torch.Tensor) -> torch.Tensor:
        """Normalised log-conditionals (B, S) of the next ``site`` (B, 1) from those of the law."""

    @abstractmethod
    def take(self, site: torch.Tensor, species: torch.Tensor) -> None:
        """What the sites (B, 1) hold from now on, (B, 1)."""


class Steering(ABC):
    """What corrects the conditionals of a law on the way, such as counts that must be met in the end (:mod:`alloygen.models.canonical`).

    The corrections know what was decided before, so that the product of the corrected conditionals is a normalised law again.
    """

    @abstractmethod
    def begin(self, rows: int) -> Steps:
        """The way of so many configurations, with what is known decided."""


class AnyOrder(Model):
    """A law that is a product of conditionals along any order, q(x | s) = prod_t p(x_s(t) | x_s(<t))."""

    @abstractmethod
    def log_conditionals(self, occ: torch.Tensor, condition: Condition, order: torch.Tensor) -> torch.Tensor:
        """log p(x_s(t) = a | x_s(<t)) of every candidate species at every step, (B, N, S) float64."""

    def log_prob(
        self,
        occ: torch.Tensor,
        condition: Condition,
        order: torch.Tensor,
        known: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Exact log-likelihood (B,) of occupations along ``order``; the steps of known sites do not count."""
        one = lambda x, c, s, k: path_log_prob(self.log_conditionals(x, c, s), x, s, k)  # noqa: E731
        return by_blocks(one, occ, condition, order, known, largest=self.rows)

    def steered(
        self,
        condition: Condition,
        order: torch.Tensor,
        generator: torch.Generator,
        steering: Steering,
        known: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As ``sample``, with every conditional corrected: (occ (B, N), log_prob (B,) of the corrected law). Here N passes of all steps."""
        uniform = torch.rand(*order.shape, generator=generator, dtype=torch.float64, device=generator.device)
        one = lambda c, s, u, k: self._steered(c, s, u, k, steering)  # noqa: E731
        with torch.no_grad():
            return by_blocks(one, condition, order, uniform.to(order.device), known, largest=self.rows)

    def _steered(self, condition: Condition, order, uniform, known, steering: Steering):
        occ = torch.zeros_like(order) if known is None else known.clamp_min(0)
        log_prob = torch.zeros(len(order), dtype=torch.float64, device=order.device)
        steps = steering.begin(len(order))
        held = torch.zeros_like(order, dtype=torch.bool) if known is None else torch.gather(known, 1, order) >= 0
        for t in range(order.shape[1]):
            if held[:, t].all():
                continue
            site = order[:, t : t + 1]
            log_p = steps.corrected(site, self.log_conditionals(occ, condition, order)[:, t])
            choice = torch.where(
                held[:, t : t + 1], torch.gather(occ, 1, site), draw_species(log_p, uniform[:, t, None])
            )
            steps.take(site, choice)
            occ.scatter_(1, site, choice)
            log_prob += torch.gather(log_p, 1, choice)[:, 0].masked_fill(held[:, t], 0.0)
        return occ, log_prob

    def sequence(self, order: torch.Tensor, known: torch.Tensor | None = None) -> torch.Tensor:
        """(B, N) the sequence in which :meth:`steered` decides the sites of ``order``, known ones first."""
        return order


class Network(AnyOrder):
    """An any-order law with weights to train, rebuilt from a checkpoint by ``type(model)(hamiltonian, ranges, **config())``."""

    stored: ClassVar[torch.dtype] = torch.float32  # of the weights in a checkpoint

    @abstractmethod
    def config(self) -> dict:
        """Keyword arguments that rebuild the network (besides the Hamiltonian and the ranges)."""


class AnyCell(Network):
    """The law of an alloy on any supercell: no weight knows the cell."""

    stored = torch.float16  # a weight for every kind of site: many, and none of them needs seven digits

    @abstractmethod
    def on(self, hamiltonian: Hamiltonian) -> AnyCell:
        """The same law, with the same weights, on another supercell; LatticeMismatch for another expansion."""

    @property
    @abstractmethod
    def order(self) -> torch.Tensor:
        """(N,) the sequence in which it is trained to decide the sites of its supercell."""

    @property
    def own_order(self) -> torch.Tensor | None:
        return self.order


def draw_species(log_p: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """Species (..., 1) drawn by inverse CDF: log_p (..., S) of each, uniform (..., 1) in [0, 1).

    Examples
    --------
    >>> draw_species(torch.tensor([[0.25, 0.5, 0.25]]).log(), torch.tensor([[0.7]])).item()
    1
    """
    return (uniform > log_p.exp().cumsum(-1)[..., :-1]).sum(-1, keepdim=True)


def one_by_one(steps: Steps, sites: torch.Tensor, log_p: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """Corrected conditionals (B, q, S) of sites (q,) that do not see one another, but whose corrections do."""
    out = []
    for k, site in enumerate(sites.split(1)):
        site = site.expand(len(log_p), 1)
        out.append(steps.corrected(site, log_p[:, k]))
        steps.take(site, draw_species(out[-1], uniform[:, k]))
    return torch.stack(out, dim=1)


def taken(log_conditionals: torch.Tensor, occ: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """Log-probability (B, M) of what occupations (B, N) hold at each step of ``order`` (B, M), of the conditionals (B, M, S) there."""
    return torch.gather(log_conditionals, 2, torch.gather(occ, 1, order)[..., None])[..., 0]


def path_log_prob(
    log_conditionals: torch.Tensor, occ: torch.Tensor, order: torch.Tensor, known: torch.Tensor | None = None
) -> torch.Tensor:
    """Log-likelihood (B,) of occupations (B, N) from the conditionals (B, M, S) along ``order``; the steps of known sites do not count."""
    steps = taken(log_conditionals, occ, order)
    return (steps if known is None else steps.masked_fill(torch.gather(known, 1, order) >= 0, 0.0)).sum(1)
