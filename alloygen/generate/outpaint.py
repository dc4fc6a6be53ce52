"""Out-painting: a model of a small supercell fills a larger one, window by window, with the exact likelihood of the path.

A window is a copy of the model's cell laid on the target; its sites that are filled already condition the rest. Windows follow one
another in raster order at a stride, wrapping round, until every site is filled (Du et al., arXiv:2603.14695: stride 7 from 10x10, stride 3
along one axis from 4x4x4). The law of the whole is the product over windows,

    log q(x) = sum_w log q_w(x_new(w) | x_filled),

normalised whatever each factor is, so importance weights are exact.

Two rules say what a window believes of its edges. By the paper's it is a torus, the model's own cell: false neighbours across its edges, but
ordered phases close on themselves and grow as one crystal. An order-causal model can instead take its physical logits and the surroundings
that it sees from the target (``physics=True``), where sites beyond the window count and false neighbours do not: better in
disordered phases. By default a few draws of a cell twice as long decide which of them has the more even weights at (T, mu).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import cast

import numpy as np
import torch

from alloygen.arguments import whole_number
from alloygen.arrays import as_array, as_tensor
from alloygen.conditions.record import Condition
from alloygen.errors import AlloygenError, LatticeMismatch
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.lattice import Lattice
from alloygen.models.base import Model, path_log_prob
from alloygen.models.blocks import by_blocks, generators
from alloygen.models.causal import CausalModel, Stage
from alloygen.models.draw import trained_orders
from alloygen.orders import known_first
from alloygen.runtime.progress import tqdm
from alloygen.types import ArrayLike

PILOT = 32


def windows(source: Lattice, target: Lattice, stride: ArrayLike | None = None) -> np.ndarray:
    """Sites of the target in each window, (W, N) in the order of the source's sites, windows in raster order.

    stride : steps between windows, one number or one per axis; None for the source's length less one quarter, at least 1 (as the paper:
        7 for 10 and 3 for 4). An axis on which both cells are equally long has one window.

    Raises LatticeMismatch where the cells are not repeats of one primitive cell along the same axes, or the target is smaller, and
    AlloygenError for strides outside 1 .. the source's length.

    Examples
    --------
    >>> import alloygen.data
    >>> small, large = (alloygen.data.cuau().on(r).lattice for r in ((4, 4, 4), (4, 4, 8)))
    >>> windows(small, large).shape, len(np.unique(windows(small, large)))
    ((3, 64), 128)
    """
    if source.same_as(target):
        return np.arange(source.n_sites)[None]
    have, want = repeats(source), repeats(target)
    same = source.primitive.to_dict() == target.primitive.to_dict()
    if not same or (want < have).any():
        raise LatticeMismatch(
            f"expected a target of the same primitive cell that the window fits into along every axis, got windows of {have.tolist()} "
            f"cells and a target of {want.tolist()}{'' if same else ' of another primitive cell'}"
        )
    default = np.maximum(have - np.maximum((have + 3) // 4, 1), 1)
    stride = default if stride is None else _strides(stride)
    if (stride[want > have] > have[want > have]).any():
        raise AlloygenError(
            f"expected strides between 1 and the window's {have.tolist()} cells, got {stride.tolist()}: a larger one would leave sites out"
        )
    origins = [range(0, 1) if w == h else range(0, w - h + s, s) for h, w, s in zip(have, want, stride, strict=True)]
    return np.stack([target.index(source.offsets + np.array(o), source.sublattice) for o in product(*origins)])


def _strides(stride: object) -> np.ndarray:
    """(3,) whole numbers of at least 1 from one or three."""
    several = list(stride) if isinstance(stride, (list, tuple, np.ndarray)) and np.ndim(stride) else [stride] * 3
    if len(several) != 3:
        raise AlloygenError(f"expected stride as a whole number or three of them, one per axis, got {stride!r}")
    return np.array([whole_number(s, "stride") for s in several])


def repeats(lattice: Lattice) -> np.ndarray:
    """(3,) repeats of the primitive cell; LatticeMismatch for skewed supercells."""
    diagonal = lattice.matrix.diagonal()
    if (lattice.matrix != np.diag(diagonal)).any():
        raise LatticeMismatch(f"expected a supercell that repeats the primitive cell along its axes, got {lattice!r}")
    return diagonal


@dataclass(frozen=True)
class Painted:
    """Configurations of a target with the likelihood of the path that made them.

    occ (B, N) int64; log_prob (B,) float64; orders: for each window the order (B, M) of its sites, known ones first; none where log_prob
    is an average over paths
    """

    occ: torch.Tensor
    log_prob: torch.Tensor
    orders: list


class Outpainter:
    """Fills a supercell with a model of a smaller one (or of its own size: then it is plain sampling).

    Parameters
    ----------
    model : Model of the window; target : Hamiltonian on the supercell to fill
    stride : see :func:`windows`
    physics : take physical logits and surroundings from the target (order-causal models only), or not; None: what is better at the condition
    family : order family inside a window; None for the one that the model was trained on

    Examples
    --------
    >>> import alloygen, alloygen.data
    >>> painter = Outpainter(alloygen.load("cuau_2x2x4"), alloygen.data.cuau().on((2, 2, 8)))
    >>> at = painter.target.condition(600.0, [0.0, 0.02])
    >>> made = painter.draw(at, 10, torch.Generator().manual_seed(0))
    >>> made.occ.shape, bool((painter.log_prob(made.occ, at, made.orders) - made.log_prob).abs().max() < 1e-3)
    (torch.Size([10, 32]), True)
    """

    def __init__(
        self,
        model: Model,
        target: Hamiltonian,
        stride: ArrayLike | None = None,
        physics: bool | None = None,
        family: str | None = None,
    ):
        if model.hamiltonian.fingerprint != target.fingerprint:
            raise LatticeMismatch(
                f"expected a target of the model's Hamiltonian {model.hamiltonian.fingerprint}, got {target.fingerprint}"
            )
        causal = model if isinstance(model, CausalModel) else None
        if physics and causal is None:
            raise AlloygenError(
                f"expected an order-causal model for physics of the target, got kind {model.kind!r}; leave physics out"
            )
        can = causal is not None and bool(physics or causal.can_stage(target))
        self.model, self.target, self.stride, self.family = model, target, stride, family
        self.windows = as_tensor(windows(model.hamiltonian.lattice, target.lattice, stride))
        grown = target.n_sites > model.hamiltonian.n_sites
        self.physics = physics if physics is not None or (can and grown) else can
        self._stage: Stage | None = None
        if causal is not None and can and self.physics is not False:
            self._stage = causal.stage(target if grown else None)
        self._rules: dict[tuple, bool] = {}

    def rule(self, condition: Condition) -> bool:
        """Whether physics of the target is used at a condition: as asked for, or by the variance of log w of PILOT draws of a doubled cell."""
        if self.physics is not None:
            return self.physics
        key = (float(condition.T), *condition.mu.tolist())
        if key not in self._rules:
            have, want = repeats(self.model.hamiltonian.lattice), repeats(self.target.lattice)
            axis = int(np.flatnonzero(want > have)[0])
            doubled = have.copy()
            doubled[axis] = min(2 * have[axis], want[axis])
            h, spread = self.target.expansion.on(tuple(doubled.tolist())), []
            for physics in (False, True):
                made = Outpainter(self.model, h, self.stride, physics, self.family).draw(
                    condition, PILOT, torch.Generator().manual_seed(0)
                )
                spread.append(float((-h.reduced_energy(made.occ, condition) - made.log_prob).var()))
            self._rules[key] = spread[1] < spread[0]
        return self._rules[key]

    def draw(
        self,
        condition: Condition,
        n: int,
        generator: torch.Generator,
        known: torch.Tensor | None = None,
        batch: int | None = None,
        progress: bool = False,
        average: int = 1,
    ) -> Painted:
        """n configurations at one condition; ``known`` (N,) species of fixed sites, -1 elsewhere.

        With ``average`` = M paths the likelihood is that of the mixture of M equally probable ones, the path that was drawn and M - 1 others:

            log q(x) = log (1/M) sum_m q_m(x),     m: orders, and translates of the cell where nothing is fixed

        Weights exp(-u - log q) stay exact and get more even, as the path drawn is no longer the only one that x could have come by (multiple
        importance sampling: Veach and Guibas, SIGGRAPH 1995). ``batch`` and the first m of n are as in :func:`alloygen.models.draw.draw`.
        """
        average = whole_number(average, "average, the number of paths,")
        self.rule(condition)  # once, before the blocks ask for it
        stream = generators(generator)

        def block(index):
            own = stream(int(index[0]))
            made = self._draw(condition, len(index), own, known)
            if average > 1:
                made = self._averaged(made, condition, average, own, known)
            return made.occ, made.log_prob, *made.orders

        with torch.no_grad(), tqdm(total=n, desc="out-painting", disable=not progress) as bar:
            occ, log_prob, *orders = by_blocks(block, torch.arange(n), limit=batch, done=bar.update)
        return Painted(occ, log_prob, orders)

    def _draw(self, condition: Condition, b, generator, known) -> Painted:
        state, log_prob, orders = self.blank(b, known), torch.zeros(b, dtype=torch.float64), []
        for order, _, gained in self.fill(state, condition, generator):
            orders.append(order)
            log_prob += gained
        return Painted(state, log_prob, orders)

    def _averaged(self, made: Painted, condition: Condition, average: int, generator, known) -> Painted:
        """The same draws with the likelihood of a mixture of paths; moved by a random translation, so that the path drawn is any of them."""
        log_prob = [made.log_prob]
        for _ in range(average - 1):
            orders = self.path(len(made.occ), generator, known)
            log_prob.append(self.log_prob(self._moved(made.occ, generator, known), condition, orders, known))
        total = torch.logsumexp(torch.stack(log_prob), 0) - math.log(average)
        return Painted(self._moved(made.occ, generator, known), total, [])

    def _moved(self, occ, generator, known) -> torch.Tensor:
        """Each configuration (B, N) moved by a random translation; as it is where sites are fixed."""
        if known is not None:
            return occ
        lattice = self.target.lattice
        cells = lattice.offsets[:: lattice.n_sublattices]
        cells = cells[as_array(torch.randint(len(cells), (len(occ),), generator=generator))]
        sublattice = np.broadcast_to(lattice.sublattice, (len(occ), lattice.n_sites))
        return torch.gather(occ, 1, as_tensor(lattice.index(lattice.offsets + cells[:, None], sublattice)))

    def blank(self, b: int, known: torch.Tensor | None = None) -> torch.Tensor:
        """(B, N) of the target where nothing is decided (-1) but the ``known`` (N,) sites."""
        return torch.full((b, self.target.n_sites), -1) if known is None else as_tensor(known).expand(b, -1).clone()

    def fill(
        self, state: torch.Tensor, condition: Condition, generator: torch.Generator
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Fill ``state`` (B, N) in place; after each window: its order (B, M), the sites (k,) that were new, their log-likelihood (B,)."""
        for sites in self.windows:
            order, new = self.order(sites, state, generator)
            gained = torch.zeros(len(state), dtype=torch.float64)
            if len(new):
                occ, gained = self.sample_window(sites, order, state, condition, generator)
                state[:, new] = occ[:, new]
            yield order, new, gained

    def path(self, b: int, generator: torch.Generator, known: torch.Tensor | None = None) -> list[torch.Tensor]:
        """The orders (B, M) of all windows, as b configurations would be drawn along."""
        state, orders = self.blank(b, known), []
        for sites in self.windows:
            order, new = self.order(sites, state, generator)
            orders.append(order)
            state[:, new] = 0
        return orders

    def order(
        self, sites: torch.Tensor, state: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """A random order (B, M) of a window's ``sites`` (M,), those that ``state`` knows first, and the sites (k,) that it does not know."""
        known = state[:, sites] >= 0
        own = trained_orders(self.model, len(state), generator, self.family)
        return sites[known_first(own, known)], sites[~known[0]]

    def log_prob(
        self,
        occ: torch.Tensor,
        condition: Condition,
        orders: list[torch.Tensor],
        known: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Log-likelihood (B,) of occupations along the path of ``orders``, as :meth:`draw` returned it."""
        b = len(occ)
        state = self.blank(b, known)
        total = torch.zeros(b, dtype=torch.float64)
        for sites, order in zip(self.windows, orders, strict=True):
            new = sites[state[0, sites] < 0]
            if len(new):
                total += self.window_log_prob(sites, order, occ, state, condition)
                state[:, new] = occ[:, new]
        return total

    # ------------------------------------------------------------------ one window
    def sample_window(
        self,
        sites: torch.Tensor,
        order: torch.Tensor,
        state: torch.Tensor,
        condition: Condition,
        generator: torch.Generator,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(occ (B, N) of the target with the window's unknown sites drawn, log-likelihood (B,) of these).

        sites (M,) of the window in the model's order; order (B, M) of them, known ones first; state (B, N), -1 where unknown
        """
        rows = condition.expand(len(order))
        if self.rule(condition) and self._stage is not None:
            model, stage = cast(CausalModel, self.model), _on(self._stage, sites)
            return model.sample(rows, order, generator, state, stage)
        occ, log_prob = self.model.sample(rows, self._inside(sites, order), generator, state[:, sites])
        return state.scatter(1, sites.expand(len(order), -1), occ), log_prob

    @torch.no_grad()
    def window_log_prob(
        self,
        sites: torch.Tensor,
        order: torch.Tensor,
        occ: torch.Tensor,
        state: torch.Tensor,
        condition: Condition,
    ) -> torch.Tensor:
        """Log-likelihood (B,) of what ``occ`` has on the window's sites that ``state`` does not know, given those it does."""
        rows = condition.expand(len(order))
        if self.rule(condition) and self._stage is not None:
            law, stage = cast(CausalModel, self.model), _on(self._stage, sites)
            one = lambda x, c, s, k: path_log_prob(law.log_conditionals(x, c, s, k, stage), x, s, k)  # noqa: E731
            return by_blocks(one, occ, rows, order, state)
        return self.model.log_prob(occ[:, sites], rows, self._inside(sites, order), state[:, sites])

    def _inside(self, sites: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
        """An order of target sites as one of the window's own."""
        place = torch.full((self.target.n_sites,), -1)
        place[sites] = torch.arange(len(sites))
        return place[order]


def _on(stage: Stage, sites: torch.Tensor) -> Stage:
    """The stage with the window's sites at their places on the model's torus."""
    torus = stage.torus.clone()
    torus[sites] = torch.arange(len(sites))
    return replace(stage, torus=torus)
