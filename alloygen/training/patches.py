"""Maximum likelihood of a local model: a few sites of every kind of each configuration, on several supercells.

The conditional of a site depends on what is decided before it and on nothing else, so a step need not visit all sites: of kind k it takes
q_k at random, each with probability p_i, and the loss

    - E_{x ~ p} sum_k sum_{i of kind k} (1 / q_k p_i) sum_a h_i(a) log q(x_i = a | x_<i)

has the mean of the whole. The first sites of a kind see none or few of their own and may choose between the variants of an ordered phase:
half of the probability falls as 1 / position, the other half is uniform. h are heat-bath conditionals, averaged along chains and over images of x by symmetries
(:mod:`alloygen.montecarlo.clamped`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from alloygen import orders
from alloygen.arrays import as_array, as_tensor
from alloygen.conditions.record import Condition
from alloygen.lattice import Lattice
from alloygen.levels import Window
from alloygen.models.local import Entering, LocalLaw, Seen
from alloygen.montecarlo.clamped import Clamping, clamped_conditionals
from alloygen.objectives.batch import Batch
from alloygen.objectives.likelihood import relative_entropy
from alloygen.training.held import around_foreign
from alloygen.training.kinds import PatchesConfig

IMAGES = 8  # symmetry images that one batch is moved by
BANK = 8  # so many times ``images`` are kept at hand
EARLY = 8  # sites of the order whose labels are averaged over images, beside the first of each kind, which may choose a variant
SHARE = 0.75  # of the images in such a label, the rest is the chain's
WORST = 2.0  # nats, of the spread of log weights that says how often a condition is drawn
NEAR = 60  # sites at most that move in the chain of a label


@dataclass(frozen=True, kw_only=True, eq=False)
class Patches(Batch):
    """Some sites (B, Q) of each configuration, kind by kind, what they see, and soft labels (B, Q, S) times what the site counts;
    ``fields`` (B, Q, K), ``window`` (B, Q, M) and ``open_`` (B, Q) are those of :class:`alloygen.models.local.Seen`."""

    sites: torch.Tensor
    fields: torch.Tensor
    window: torch.Tensor
    open_: torch.Tensor
    labels: torch.Tensor

    def tensors(self) -> dict[str, torch.Tensor]:
        """All that it holds, by name."""
        at = {"T": self.condition.T, "mu": self.condition.mu}
        return at | {k: v for k, v in vars(self).items() if isinstance(v, torch.Tensor) and k != "order"}


class Kinds:
    """The sites of a supercell that there is something to learn of, kind by kind: which a configuration gives to a batch, and the loss on these.

    ``groups`` holds (the kinds, how many sites are taken of each), for every such number
    """

    def __init__(self, law: LocalLaw, per_kind: int):
        place = law.placed
        found = torch.unique(place.kind[place.open_]).tolist()
        self.members = [place.order[place.kind[place.order] == k] for k in found]
        self.chances = [_chances(len(m)) for m in self.members]
        sizes = np.array([min(per_kind, len(m)) for m in self.members])
        self.groups = [(np.flatnonzero(sizes == q), int(q)) for q in np.unique(sizes)]
        self.numbers = torch.tensor(found)

    def draw(self, n: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Sites (n, Q), kind by kind in the sequence of ``groups``, and what each counts (n, Q)."""
        sites, weights = [], []
        for which, q in self.groups:
            for k in which:
                members, chance = self.members[k], self.chances[k]
                if len(members) <= q:
                    pick, weight = torch.arange(q).expand(n, -1), torch.ones(n, q, dtype=torch.float64)
                else:
                    pick = torch.multinomial(chance, n * q, replacement=True, generator=generator).view(n, q)
                    weight = 1 / (q * chance[pick])
                sites.append(members[pick])
                weights.append(weight)
        return torch.cat(sites, 1), torch.cat(weights, 1)

    def loss(self, law: LocalLaw, part: Patches, entering: Entering | None = None) -> torch.Tensor:
        """Losses (B,) in nats of the whole configuration; ``entering``: what the conditions are to the law, where it knows more than they say."""
        entering = entering or law.entering(part.condition)
        total, start = part.labels.new_zeros(len(part)), 0
        for which, q in self.groups:
            c = len(which)
            columns = slice(start, start := start + c * q)
            by_kind = lambda x: x[:, columns].unflatten(1, (c, q)).transpose(0, 1)  # noqa: E731, B023
            seen = Seen(*(by_kind(x) for x in (part.sites, part.fields, part.window, part.open_)))
            log_p = law.law(seen, self.numbers[which].to(seen.sites.device), entering)
            labels = by_kind(part.labels)
            total = total - (labels * log_p.masked_fill(labels == 0, 0.0)).sum((0, 2, 3))
        return total


class Cell:
    """Monte Carlo samples of one supercell over conditions (C,): occ (C, n, N) int8.

    A batch is made of samples moved by random symmetries, with sites of their own and labels for these: each is seen once, for labels that
    are seen again are learned by heart. Entropies, by which conditions are drawn, are those of ``most`` samples at each.
    """

    def __init__(self, model: LocalLaw, condition: Condition, occ: torch.Tensor, how: PatchesConfig, most: int = 16):
        self.model, self.condition, self.occ, self.how = model, condition, occ, how
        h, place = model.hamiltonian, model.placed
        self.hamiltonian, self.kinds = h, Kinds(model, how.per_kind)
        self.by_entropy = _normal(how.floor + relative_entropy(h, condition, occ, most))
        fixed = torch.Generator().manual_seed(0)
        bank = [self._image(fixed) for _ in range(BANK * how.images)]
        self.images = np.array(bank, dtype=np.int64).reshape(-1, h.n_sites)
        self.mixed = np.zeros(h.n_sites)  # the share of the images in the label of each site
        if how.images:
            self.mixed[as_array(place.order[:EARLY])] = SHARE
            self.mixed[[int(members[0]) for members in self.kinds.members]] = SHARE
        self.near = _near(h.lattice)

    def share(self, spread: torch.Tensor | None = None) -> torch.Tensor:
        """How often each condition is drawn (C,): ``how.hard`` of it by the spread (C,) of the law's log weights, where that is known, the rest by
        entropy."""
        hard = self.how.hard
        return self.by_entropy if spread is None else (1 - hard) * self.by_entropy + hard * _normal(spread)

    @torch.no_grad()
    def spread(self, n: int, generator: torch.Generator) -> torch.Tensor:
        """Standard deviation (C,) of the log weights of n draws of the law at every condition, and WORST at most: a condition of which it
        knows nothing yet is not all there is to learn."""
        rows = torch.arange(len(self.condition)).repeat_interleave(n)
        device, order, found = self.model.device, self.model.placed.order, []
        for some in rows.split(self.model.rows):
            condition = self.condition[some].to(device)
            occ, log_prob = self.model.sample(condition, order.expand(len(some), -1).to(device), generator)
            found.append((log_prob + self.hamiltonian.reduced_energy(occ, condition)).cpu())
        return torch.cat(found).view(-1, n).std(1).clamp_max(WORST)

    def conditions(
        self, n: int, alike: int, generator: torch.Generator, spread: torch.Tensor | None = None
    ) -> tuple[Condition, torch.Tensor]:
        """n conditions, drawn as those of the batches are, ``alike`` rows of one together, and the number of each row's (n,)."""
        c = torch.multinomial(self.share(spread), -(-n // alike), replacement=True, generator=generator)
        group = torch.arange(len(c)).repeat_interleave(alike)[:n]
        return self.condition[c[group]], group

    def batch(self, n: int, generator: torch.Generator, spread: torch.Tensor | None = None) -> Patches:
        """n configurations with sites to learn, at conditions drawn by ``share(spread)``."""
        c = torch.multinomial(self.share(spread), n, replacement=True, generator=generator)
        k = torch.randint(self.occ.shape[1], (n,), generator=generator)
        occ, condition = self._moved(self.occ[c, k].long(), generator), self.condition[c]
        order, held = self.model.placed.order, None
        sites, weight = self.kinds.draw(n, generator)
        if float(torch.rand((), generator=generator)) < self.how.known:
            held = orders.known_sets(self.hamiltonian.lattice, 1, generator)
            order = orders.known_first(order[None], held)[0]
            if float(torch.rand((), generator=generator)) < self.how.foreign:
                occ = around_foreign(self.hamiltonian, occ, condition, held[0], generator)
        rank = torch.argsort(order)
        labels = self._labels(occ, condition, sites, order, rank, generator) * weight[..., None]
        if held is not None:
            labels[held[0, sites]] = 0.0  # no loss
        seen = self.model.seen(occ, rank[None], sites[None])
        if not seen.window.shape[-1]:  # all is decided around every site
            window = seen.window.new_full(
                (*seen.fields.shape[:3], self.model.placed.slots.shape[1]), self.hamiltonian.n_species
            )
            seen = replace(seen, window=window)
        rows = {
            name: getattr(seen, name)[0].expand(n, *getattr(seen, name).shape[2:]).clone()
            for name in ("fields", "window", "open_")
        }
        along = self.model.placed.order.repeat(n, 1)  # a copy, see ``feed``
        return Patches(occ=occ, condition=condition, order=along, sites=sites, labels=labels, **rows)

    def _labels(self, occ, condition: Condition, sites, order, rank, generator) -> torch.Tensor:
        """Conditionals (n, Q, S) of the sites given what is decided before them, along chains, early ones over images too."""
        seed, (T, mu) = int(torch.randint(2**31, (), generator=generator)), condition.arrays()
        some = torch.randint(len(self.images) + 1 - self.how.images, (), generator=generator)
        images = self.images[some : some + self.how.images]
        clamping = Clamping(as_array(order), as_array(rank), self.near, images, self.mixed)
        beta = 1 / (condition.kB * T)
        found = clamped_conditionals(
            self.hamiltonian, as_array(occ), beta, mu, as_array(sites), clamping, self.how.sweeps, seed
        )
        return as_tensor(found)

    def _moved(self, occ: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """The configurations moved by IMAGES random symmetries, some of the rows by each."""
        out = torch.empty_like(occ)
        for rows in torch.arange(len(occ)).chunk(IMAGES):
            out[rows] = occ[rows][:, as_tensor(np.argsort(self._image(generator)))]
        return out

    def _image(self, generator: torch.Generator) -> np.ndarray:
        """A random symmetry of the law as a site permutation (N,): a point operation, then a translation."""
        lattice, points = self.hamiltonian.lattice, self.hamiltonian.symmetries[0]
        cell = lattice.offsets[int(torch.randint(lattice.n_sites, (), generator=generator))]
        image = points[int(torch.randint(len(points), (), generator=generator))]
        return lattice.index(lattice.offsets + cell, lattice.sublattice)[image]


def _normal(share: torch.Tensor) -> torch.Tensor:
    return share / share.sum()


def _chances(n: int) -> torch.Tensor:
    """How likely each of the n sites of a kind is taken, in the order in which they are decided."""
    early = 1 / torch.arange(1, n + 1, dtype=torch.float64)
    return 0.5 / n + 0.5 * early / early.sum()


def _near(lattice: Lattice) -> np.ndarray:
    """(N, up to NEAR) sites around each site."""
    if lattice.n_sites <= NEAR:
        return lattice.displacements[0]
    return Window.of(lattice.primitive, NEAR).on(lattice)[0]
