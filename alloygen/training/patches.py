"""Maximum likelihood of a local model: a few sites of every kind of each configuration, on several supercells.

The conditional of a site depends on what is decided before it and on nothing else, so a step need not visit all sites: of the n_k sites of
kind k it takes q_k at random, and the loss

    - E_{x ~ p} sum_k (n_k / q_k) sum_{i of kind k} sum_a h_i(a) log q(x_i = a | x_<i)

has the mean of the whole. h are the labels of :mod:`alloygen.objectives.likelihood`: heat-bath conditionals, averaged for the first
steps over translates of x that agree with x before.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from alloygen.arrays import as_array, as_tensor
from alloygen.conditions.record import Condition
from alloygen.lattice import Lattice
from alloygen.levels import Window
from alloygen.models.local import LocalModel, Seen
from alloygen.objectives.batch import Batch
from alloygen.objectives.likelihood import heat_bath, relative_entropy
from alloygen.training.kinds import PatchesConfig

IMAGES = 8  # symmetry images that one batch is moved by
TRANSLATES = 512  # at most, in the average of a label
NEAR = 60  # sites at most that move in the chain of a label


@dataclass(frozen=True, kw_only=True, eq=False)
class Patches(Batch):
    """Some sites (B, Q) of each configuration, kind by kind, what they see, and soft labels (B, Q, S); ``condition``, ``sites``, ``labels``
    are those of the batch, ``fields`` (B, Q, K), ``window`` (B, Q, M) and ``open_`` (B, Q) those of :class:`alloygen.models.local.Seen`."""

    sites: torch.Tensor
    fields: torch.Tensor
    window: torch.Tensor
    open_: torch.Tensor
    labels: torch.Tensor

    def replace(self, rows: torch.Tensor, by: Patches) -> None:
        """Put other configurations in place of some rows."""
        mine, new = self.tensors(), by.tensors()
        for name in mine:
            mine[name][rows] = new[name]

    def tensors(self) -> dict[str, torch.Tensor]:
        """All that it holds, by name."""
        at = {"T": self.condition.T, "mu": self.condition.mu}
        return at | {k: v for k, v in vars(self).items() if isinstance(v, torch.Tensor) and k != "order"}


class Cell:
    """Monte Carlo samples of one supercell over conditions (C,): occ (C, n, N) int8, and the pool of configurations with labels.

    The pool of ``how.pool`` configurations is drawn from at random, and ``how.fresh`` of them are made anew before each batch: a sample
    moved by a random symmetry, with sites of its own and labels for these.
    """

    def __init__(self, model: LocalModel, condition: Condition, occ: torch.Tensor, how: PatchesConfig):
        self.model, self.condition, self.occ, self.how = model, condition, occ, how
        h, place = model.hamiltonian, model.placed
        self.hamiltonian, self.exact = h, min(how.exact, h.n_sites)
        self.rank = torch.argsort(place.order)
        open_ = (self.rank[place.interacting] > self.rank[:, None]).any(1)
        found = [k for k in torch.unique(place.kind).tolist() if bool(open_[place.kind == k].any())]
        self.members = [(place.kind == k).nonzero()[:, 0] for k in found]
        sizes = np.array([min(how.per_kind, len(m)) for m in self.members])
        self.groups = [
            (np.flatnonzero(sizes == q), int(q)) for q in np.unique(sizes)
        ]  # kinds of which q sites are taken
        self.kinds = torch.tensor(found)
        self.share = how.floor + relative_entropy(h, condition, occ)
        self.near = _near(h.lattice)
        self.pool: Patches | None = None
        self.oldest = 0

    def batch(self, n: int, generator: torch.Generator) -> Patches:
        """n configurations with sites to learn."""
        if self.pool is None:
            self.pool = self._made(self.how.pool, generator)
        elif self.how.fresh:
            rows = (self.oldest + torch.arange(self.how.fresh)) % self.how.pool
            self.pool.replace(rows, self._made(self.how.fresh, generator))
            self.oldest = int(rows[-1]) + 1
        return self.pool[torch.randint(self.how.pool, (n,), generator=generator)]

    def _made(self, n: int, generator: torch.Generator) -> Patches:
        c = torch.multinomial(self.share, n, replacement=True, generator=generator)
        k = torch.randint(self.occ.shape[1], (n,), generator=generator)
        occ, condition = self._moved(self.occ[c, k].long(), generator), self.condition[c]
        sites = self._sites(n, generator)
        labels = self._labels(occ, condition, sites, generator)
        if self.exact:
            self._average(labels, occ, condition, sites, generator)
        seen = self.model.seen(occ, self.rank[None], sites[None])
        rows = {
            name: getattr(seen, name)[0].expand(n, *getattr(seen, name).shape[2:]).clone()
            for name in ("fields", "window", "open_")
        }
        return self._patches(occ, condition, sites=sites, labels=labels, **rows)

    def _patches(self, occ: torch.Tensor, condition: Condition, **rows: torch.Tensor) -> Patches:
        return Patches(occ=occ, condition=condition, order=self.model.placed.order.expand(len(occ), -1), **rows)

    def _labels(self, occ, condition: Condition, sites, generator) -> torch.Tensor:
        """Conditionals (n, Q, S) of the sites given what is decided before them: by chains, or heat-bath of the sample where sweeps are 0."""
        if not self.how.sweeps:
            return heat_bath(self.hamiltonian, occ, condition, sites)
        from alloygen.montecarlo.clamped import clamped_conditionals

        seed, (T, mu) = int(torch.randint(2**31, (), generator=generator)), condition.arrays()
        arguments = (
            as_array(occ),
            1 / (condition.kB * T),
            mu,
            as_array(sites),
            as_array(self.rank),
            self.near,
            self.how.sweeps,
            seed,
        )
        return as_tensor(clamped_conditionals(self.hamiltonian, *arguments))

    def _moved(self, occ: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """The configurations moved by IMAGES random symmetries, some of the rows by each."""
        h, out = self.hamiltonian, torch.empty_like(occ)
        points = h.symmetries[0]
        for rows in torch.arange(len(occ)).chunk(IMAGES):
            image = points[int(torch.randint(len(points), (), generator=generator))]
            image = self._translation(generator)[image]
            out[rows] = occ[rows][:, as_tensor(np.argsort(image))]
        return out

    def _translation(self, generator: torch.Generator) -> np.ndarray:
        lattice = self.hamiltonian.lattice
        cell = lattice.offsets[int(torch.randint(lattice.n_sites, (), generator=generator))]
        return lattice.index(lattice.offsets + cell, lattice.sublattice)

    def _sites(self, n: int, generator: torch.Generator) -> torch.Tensor:
        """Sites (n, Q), kind by kind in the sequence of ``groups``."""
        sites = []
        for which, q in self.groups:
            for k in which:
                members = self.members[k]
                whole = len(members) <= q
                pick = (
                    torch.arange(q).expand(n, -1) if whole else torch.randint(len(members), (n, q), generator=generator)
                )
                sites.append(members[pick])
        return torch.cat(sites, 1)

    def _average(self, labels, occ, condition: Condition, sites, generator) -> None:
        """Put in ``labels`` of the first ``exact`` sites of the order the mean over translates of occ that agree with it before."""
        first = self.model.placed.order[: self.exact]
        step = torch.full((self.hamiltonian.n_sites,), -1)
        step[first] = torch.arange(len(first))
        at = step[sites[0]]  # the sites of a small kind are the same in all rows
        columns = ((at >= 0) & (sites == sites[:1]).all(0)).nonzero()[:, 0]
        if not len(columns):
            return
        where = self._translates(as_array(first), generator)  # (G, T): the site whose species translate g has at step t
        sequence = occ[:, where]  # (B, G, T)
        agrees = (sequence == occ[:, None, first]).double()
        before = torch.cat([torch.ones_like(agrees[..., :1]), agrees[..., :-1]], dim=2).cumprod(2)
        before = (before / before.sum(1, keepdim=True))[..., at[columns]]
        needed, back = torch.unique(where[:, at[columns]], return_inverse=True)
        rows = heat_bath(self.hamiltonian, occ, condition, needed.expand(len(occ), -1))
        labels[:, columns] = torch.einsum("bgt,bgts->bts", before, rows[:, back])

    def _translates(self, first: np.ndarray, generator: torch.Generator) -> torch.Tensor:
        lattice = self.hamiltonian.lattice
        cells = lattice.offsets[:: lattice.n_sublattices]
        if len(cells) > TRANSLATES:
            pick = as_array(torch.randperm(len(cells), generator=generator)[: TRANSLATES - 1])
            cells = np.concatenate([cells[:1] * 0, cells[pick]])
        return as_tensor(lattice.index(lattice.offsets[first] + cells[:, None], lattice.sublattice[first]))

    def loss(self, part: Patches) -> torch.Tensor:
        """Losses (B,) in nats of the whole configuration."""
        entering, total, start = self.model.entering(part.condition), torch.zeros(len(part)), 0
        for which, q in self.groups:
            c = len(which)
            columns = slice(start, start := start + c * q)
            by_kind = lambda x: x[:, columns].unflatten(1, (c, q)).transpose(0, 1)  # noqa: E731, B023
            seen = Seen(*(by_kind(x) for x in (part.sites, part.fields, part.window, part.open_)))
            log_p, labels = self.model.law(seen, self.kinds[which], entering), by_kind(part.labels)
            weight = torch.tensor([len(self.members[k]) / q for k in which])[:, None, None]
            total = total + (-(labels * log_p.masked_fill(labels == 0, 0.0)).sum(3) * weight).sum((0, 2))
        return total

    # ------------------------------------------------------------------ to resume
    def state(self) -> dict:
        """The pool, as tensors."""
        if self.pool is None:
            return {}
        return self.pool.tensors() | {"oldest": torch.tensor(self.oldest)}

    def load(self, state: dict) -> None:
        """Take over what ``state`` returned."""
        if state:
            rows = dict(state)
            self.oldest = int(rows.pop("oldest"))
            condition = self.hamiltonian.condition(rows.pop("T"), rows.pop("mu"))
            self.pool = self._patches(rows.pop("occ"), condition, **rows)


def _near(lattice: Lattice) -> np.ndarray:
    """(N, up to NEAR) sites around each site."""
    if lattice.n_sites <= NEAR:
        return lattice.displacements[0]
    return Window.of(lattice.primitive, NEAR).on(lattice)[0]
