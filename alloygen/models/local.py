"""The law of an alloy on any supercell: coarse to fine, physics as base logits, a local network as correction.

Sites are decided in the order of :mod:`alloygen.levels`. The conditional of a site is that of the order-causal model,

    p(x_i = a | decided) = softmax_a [ -beta (sum_k (1 + c_k) g_k phi_k(a) - mu_a) + r_a ]

with g_k the telescoped energy of what is decided, by channel k (see ``hamiltonian.cluster``), and gains c_k and residuals r_a of a network
that reads the species of the decided sites in a window, at the spacing of the site's level, and the condition. No weight knows the
supercell, so that one set of them serves all (:meth:`LocalModel.on`), and the cost is proportional to the number of sites. Where every cluster
of a site is decided the bare physics is exact, and the correction is switched off.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import asdict, dataclass, field
from typing import Self

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from alloygen.arrays import as_array, as_tensor
from alloygen.conditions import relative
from alloygen.conditions.record import Condition
from alloygen.errors import LatticeMismatch
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.hamiltonian.figures import Expansion
from alloygen.levels import kinds
from alloygen.models.base import AnyCell, Steering, Steps, Trained, draw_species, one_by_one
from alloygen.models.blocks import by_blocks
from alloygen.models.placed import Placed
from alloygen.nn.embeddings import ConditionEmbedding
from alloygen.nn.local import LocalNetwork
from alloygen.orders import LEVELS

Channel = tuple[int, int]  # (orbit, site function)
ROWS = 1 << 14  # sites times configurations in one pass
_NEVER = 1 << 40  # the rank of a site that is not decided


@dataclass(frozen=True, kw_only=True)
class LocalSize:
    """The size of the networks, as a checkpoint states it."""

    width: int
    depth: int
    window: int
    levels: int
    frequencies: int


@dataclass(frozen=True, eq=False)
class Entering:
    """A condition as the law takes it: beta (B,), mu (B, N, S) of each species on each site, embedded (B, E)."""

    beta: torch.Tensor
    mu: torch.Tensor
    embedded: torch.Tensor
    made: dict[tuple[int, ...], list[torch.Tensor]] = field(default_factory=dict)

    def modulation(self, network: LocalNetwork, kinds: torch.Tensor) -> list[torch.Tensor]:
        """``network.modulation`` of kinds (C,), worked out once for each set of them."""
        key = tuple(kinds.tolist())
        if key not in self.made:
            self.made[key] = network.modulation(self.embedded, kinds)
        return self.made[key]


@dataclass(frozen=True, eq=False)
class Seen:
    """What sites see when they are decided: sites (C, B, q) or (C, 1, q); fields (C, B, q, K) of the channels of the supercell; window
    (C, B, q, M) uint8 species, S where nothing is decided; open_ (C, B, q) or (C, 1, q), whether a cluster is not decided yet."""

    sites: torch.Tensor
    fields: torch.Tensor
    window: torch.Tensor
    open_: torch.Tensor


def reference(expansion: Expansion) -> Hamiltonian:
    """A supercell of the expansion in which no cluster meets itself: it has every channel, and no other."""
    spans = [np.ptp(o.members[..., :3], axis=1).max(0) for o in expansion.orbits if o.order]
    repeats = np.max([np.zeros(3, dtype=int), *spans], axis=0) + 1
    return expansion.on(np.where(expansion.primitive.pbc, repeats, 1).tolist())


def channels(h: Hamiltonian) -> list[Channel]:
    """The channels of a Hamiltonian in sequence."""
    return list(zip(h.channel_orbit.tolist(), h.channel_function.tolist(), strict=True))


class LocalLaw(AnyCell):
    """What laws of every supercell share: the order, what a site sees, the logits. They differ in what the networks are told of the
    Hamiltonian and of the condition.

    hamiltonian : Hamiltonian on the supercell to begin with
    channels : the channels of a Hamiltonian that the networks know, in sequence: (orbit, site function); others are bare physics
    embedding : of what :meth:`entering` makes of a condition, half as wide as the networks
    mirrored : the exchange of the two species is a symmetry of the law, and outputs are averaged over it
    throughout : the condition enters every hidden layer, not the first alone
    """

    trained = Trained(orders=LEVELS)
    rows = 512

    def __init__(
        self,
        hamiltonian: Hamiltonian,
        ranges: dict,
        channels: list[Channel],
        embedding: nn.Module,
        mirrored: bool,
        size: LocalSize,
        throughout: bool = False,
    ):
        super().__init__()
        self.hamiltonian, self.ranges, self.size, self.mirrored = hamiltonian, ranges, size, mirrored
        self._channels = {channel: k for k, channel in enumerate(channels)}
        k, s, window = len(channels), hamiltonian.n_species, size.window
        self.embedding = embedding
        self.network = LocalNetwork(
            kinds(hamiltonian.lattice.primitive, size.levels),
            2 * k + window * s,
            window,
            k + s,
            size.width // 2,
            width=size.width,
            depth=size.depth,
            throughout=throughout,
        )
        self._placed: dict[str, Placed] = {}
        self._schedules: dict = {}

    def config(self) -> dict:
        return asdict(self.size)

    @abstractmethod
    def on(self, hamiltonian: Hamiltonian) -> Self:
        """The same law, with the same weights, on another supercell."""

    @abstractmethod
    def entering(self, condition: Condition) -> Entering:
        """What a condition (B,) is to the law."""

    @abstractmethod
    def scaled(self, fields: torch.Tensor, beta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Two readings, of the order of one, of the energies (C, B, q, K) of the channels at beta (B, 1, 1)."""

    def _bound(self, hamiltonian: Hamiltonian) -> Self:
        """The same weights on another Hamiltonian."""
        other = type(self).__new__(type(self))
        other.__dict__ = {**self.__dict__, "hamiltonian": hamiltonian, "_placed": {}, "_schedules": {}}
        return other

    @property
    def order(self) -> torch.Tensor:
        return self.placed.order

    @property
    def placed(self) -> Placed:
        """What it knows of its supercell, on the processor; worked out when first asked for."""
        return self._tables(torch.device("cpu"))

    def _tables(self, device: torch.device) -> Placed:
        """The same on a device."""
        if not self._placed:
            h = self.hamiltonian
            numbers = [self._channels.get(channel, len(self._channels)) for channel in channels(h)]
            known = np.array(numbers, dtype=np.int64)
            self._placed["cpu"] = Placed.of(h, self.size.levels, self.size.window, known)
        if str(device) not in self._placed:
            self._placed[str(device)] = self._placed["cpu"].to(device)
        return self._placed[str(device)]

    # ------------------------------------------------------------------ the law
    def seen(self, occ: torch.Tensor, rank: torch.Tensor, sites: torch.Tensor) -> Seen:
        """What q sites of each of C kinds see when they are decided: occ (B, N); rank (B, N) or (1, N); sites (C, B, q) or (C, 1, q)."""
        place, h = self._tables(occ.device), self.hamiltonian
        c, b, q = sites.shape[0], len(occ), sites.shape[2]
        flat, full = sites.transpose(0, 1).reshape(-1, c * q).expand(b, -1), rank.expand(b, -1)
        fields = h.fields(occ, full, flat, torch.gather(full, 1, flat)).view(b, c, q, -1).transpose(0, 1)
        step, around = rank[_rows(rank, 3), sites], place.slots[sites]
        open_ = (rank[_rows(rank, 4), place.interacting[sites]] >= step[..., None]).any(-1)
        if not bool(open_.any()):  # the bare physics is exact, whatever the window shows
            return Seen(sites, fields, fields.new_zeros(c, b, q, 0, dtype=torch.uint8), open_)
        decided = F.pad(rank, (0, 1), value=_NEVER)[_rows(rank, 4), around] < step[..., None]
        species = F.pad(occ.to(torch.uint8), (0, 1))[_rows(occ, 4), around]
        return Seen(sites, fields, torch.where(decided, species, h.n_species), open_)

    def law(self, seen: Seen, kinds: torch.Tensor, entering: Entering) -> torch.Tensor:
        """log p(x_i = a | decided) of what sites see, (C, B, q, S) float64; kinds (C,)."""
        place, h, sites = self._tables(seen.sites.device), self.hamiltonian, seen.sites
        fields, residual = seen.fields, torch.zeros((), dtype=torch.float64, device=sites.device)
        if seen.window.shape[-1]:
            out = self._network(seen, kinds, entering).double() * seen.open_[..., None]
            gain, residual = out.split([len(self._channels), h.n_species], dim=3)
            fields = fields * (1 + F.pad(gain, (0, 1))[..., place.channels])
        mu = entering.mu[_rows(entering.beta[:, None], 3), sites]
        logits = -entering.beta[:, None, None] * (self._energies(fields, sites) - mu) + residual
        return torch.log_softmax(logits.masked_fill(~place.allowed[sites], -torch.inf), dim=3)

    def _network(self, seen: Seen, kinds: torch.Tensor, entering: Entering) -> torch.Tensor:
        """Gains of the channels of the expansion and residuals of the species, (C, B, q, K + S)."""
        place, fields = self._tables(seen.fields.device), seen.fields
        whole = fields.new_zeros(*fields.shape[:-1], len(self._channels) + 1)
        whole = whole.index_add_(3, place.channels, fields)[..., :-1]
        numbers = torch.arange(self.hamiltonian.n_species, dtype=torch.uint8, device=fields.device)
        window = (seen.window[..., None] == numbers).flatten(3)
        x = torch.cat([*(y.float() for y in self.scaled(whole, entering.beta[:, None, None])), window.float()], dim=3)
        marks = self.network.marks(place.flags.expand(len(kinds), -1, -1), kinds)
        marks = marks[torch.arange(len(kinds), device=kinds.device)[:, None, None], place.pattern[seen.sites]]
        modulation = entering.modulation(self.network, kinds)
        if not self.mirrored:
            return self.network(x, kinds, modulation, marks)
        n, known = 2 * len(self._channels), len(self._channels)
        mirror = torch.cat([-x[..., :n], x[..., n:].unflatten(3, (-1, 2)).flip(4).flatten(3)], dim=3)
        marks = marks if marks.shape[1] == 1 else marks.repeat(1, 2, 1, 1)
        one, other = self.network(torch.cat([x, mirror], dim=1), kinds, modulation, marks).chunk(2, dim=1)
        return 0.5 * torch.cat(
            [one[..., :known] + other[..., :known], one[..., known:] + other[..., known:].flip(3)], dim=3
        )

    def _energies(self, fields: torch.Tensor, sites: torch.Tensor) -> torch.Tensor:
        """Energy (C, B, q, S) of each candidate species."""
        place = self._tables(sites.device)
        values = place.values
        if len(values) == 1:
            return fields @ values[0]
        of_site = values[place.sublattice[sites]]
        return (fields[..., None, :] @ of_site)[..., 0, :]

    def log_conditionals(self, occ: torch.Tensor, condition: Condition, order: torch.Tensor) -> torch.Tensor:
        """log p(x_s(t) = a | x_s(<t)) of every candidate species at every step, (B, M, S); sites outside ``order`` (B, M) are undecided.

        Along any order it is a normalised law; the one that it is trained for is ``placed.order``, with known sites moved to the front.
        """
        b, n = occ.shape
        alike = bool((order == order[:1]).all())
        order = order[:1] if alike else order
        rank = order.new_full((len(order), n), _NEVER)
        rank = rank.scatter(1, order, torch.arange(order.shape[1], device=order.device).expand(len(order), -1))
        sites, entering = torch.unique(order), self.entering(condition)
        out = torch.zeros(b, n, self.hamiltonian.n_species, dtype=torch.float64, device=occ.device)
        kinds = self._tables(sites.device).kind[sites]
        for kind in torch.unique(kinds):
            for part in sites[kinds == kind].split(max(1, ROWS // b)):
                found = self.law(self.seen(occ, rank, part[None, None]), kind[None], entering)
                out = out.index_copy(1, part, found[0])
        return torch.gather(out, 1, order.expand(b, -1)[..., None].expand(-1, -1, out.shape[2]))

    @torch.no_grad()
    def sample(
        self,
        condition: Condition,
        order: torch.Tensor,
        generator: torch.Generator,
        known: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw (occ (B, N), log_prob (B,)) along ``order``: rows of one order together, and in them sites that do not see each other."""
        uniform = torch.rand(*order.shape, generator=generator, dtype=torch.float64, device=generator.device)
        return by_blocks(self._sample, condition, order, uniform.to(order.device), known, largest=self.rows)

    def _steered(self, condition: Condition, order, uniform, known, steering: Steering):
        return self._sample(condition, order, uniform, known, steering)

    def sequence(self, order: torch.Tensor, known: torch.Tensor | None = None) -> torch.Tensor:
        held = torch.zeros_like(order, dtype=torch.bool) if known is None else known >= 0
        each = {}
        for row in torch.unique(torch.cat([order, held.long()], dim=1), dim=0):
            one, of = row.chunk(2)
            each[tuple(row.tolist())] = torch.cat([one[of[one] > 0], *self.schedule(one, of > 0)])
        return torch.stack([each[tuple(row.tolist())] for row in torch.cat([order, held.long()], dim=1)])

    def _sample(self, condition: Condition, order, uniform, known, steering: Steering | None = None):
        occ = torch.zeros_like(order) if known is None else known.clamp_min(0)
        log_prob = torch.zeros(len(order), dtype=torch.float64, device=order.device)
        held = torch.zeros_like(occ, dtype=torch.bool) if known is None else known >= 0
        _, which = torch.unique(torch.cat([order, held.long()], dim=1), dim=0, return_inverse=True)
        for k in range(int(which.max()) + 1):
            rows = (which == k).nonzero()[:, 0]
            one = order[rows[0]], held[rows[0]]
            steps = None if steering is None else steering.begin(len(rows))
            occ[rows], log_prob[rows] = self._alike(condition[rows], *one, uniform[rows], occ[rows], steps)
        return occ, log_prob

    def _alike(self, condition: Condition, order, held, uniform, occ, steps: Steps | None = None):
        """The draws of rows of one order (N,) with the same sites held (N,): (occ (B, N), log_prob (B,))."""
        entering, log_prob = self.entering(condition), torch.zeros(len(occ), dtype=torch.float64, device=occ.device)
        rank = torch.argsort(order)[None]
        for sites in (part for group in self.schedule(order, held) for part in group.split(max(1, ROWS // len(occ)))):
            kind = self._tables(sites.device).kind[sites[:1]]
            log_p = self.law(self.seen(occ, rank, sites[None, None]), kind, entering)[0]
            if steps is not None:
                log_p = one_by_one(steps, sites, log_p, uniform[:, rank[0, sites], None])
            choice = draw_species(log_p, uniform[:, rank[0, sites], None])
            occ[:, sites] = choice[..., 0]
            log_prob += torch.gather(log_p, 2, choice)[..., 0].sum(1)
        return occ, log_prob

    def schedule(self, order: torch.Tensor, held: torch.Tensor) -> list[torch.Tensor]:
        """Sites in sequence, those together that are of one kind and of which none depends on another: same draws, fewer passes."""
        key = as_array(order).tobytes() + as_array(held).tobytes()
        if self._schedules.get("key") != key:
            place, rank = self.placed, as_array(torch.argsort(order))
            slots, near, kind = (as_array(x) for x in (place.slots, place.interacting, place.kind))
            wave = np.zeros(len(rank) + 1, dtype=np.int64)
            for i in order[~held[order]].tolist():
                before = near[i][rank[near[i]] < rank[i]]
                last = wave[before].max(initial=0)
                if (rank[near[i]] > rank[i]).any():  # else the bare physics is exact
                    seen = slots[i][slots[i] < len(rank)]
                    last = max(last, wave[seen[rank[seen] < rank[i]]].max(initial=0))
                wave[i] = last + 1
            free = np.flatnonzero(wave[:-1])
            free = free[np.lexsort((rank[free], kind[free], wave[free]))]
            cuts = np.flatnonzero((np.diff(wave[free]) != 0) | (np.diff(kind[free]) != 0)) + 1
            groups = [as_tensor(part, device=order.device) for part in np.split(free, cuts)] if len(free) else []
            self._schedules.update(key=key, groups=groups)
        return self._schedules["groups"]


class LocalModel(LocalLaw):
    """Autoregressive model of p(x | T, mu), coarse to fine, on the supercell of ``hamiltonian`` and, by :meth:`on`, on any other.

    Parameters
    ----------
    hamiltonian : Hamiltonian on the supercell to begin with
    ranges : {"T": (low, high), "mu": [(low, high), ...]}, one mu interval per element after the first
    width, depth : hidden layers of the networks of each kind of site
    window : how many displacements a site looks at, the nearest ones
    levels : how many levels have weights of their own; coarser ones share those of the last
    frequencies : of the condition that the embedding reads, each twice the one before: phases meet in a narrow range of mu, the narrower
        the colder
    """

    kind = "local"
    scale: torch.Tensor

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
    ):
        whole = reference(hamiltonian.expansion)
        size = LocalSize(width=width, depth=depth, window=window, levels=levels, frequencies=frequencies)
        embedding = ConditionEmbedding(width // 2, ranges, frequencies)
        super().__init__(hamiltonian, ranges, channels(whole), embedding, _mirrored(whole), size)
        self.register_buffer("scale", as_tensor(np.maximum(whole.channel_scale.max(0), 1e-12)), persistent=False)

    def on(self, hamiltonian: Hamiltonian) -> Self:
        """The same law, with the same weights, on another supercell.

        Examples
        --------
        >>> from alloygen.hamiltonian.ising import ising
        >>> model = LocalModel(ising(4), {"T": (1, 4), "mu": [(-1, 1)]}, width=8)
        >>> model.on(ising(6)).lattice
        Lattice(6x6x1 cells, 36 sites, -/+)
        """
        if hamiltonian is self.hamiltonian:
            return self
        if hamiltonian.fingerprint != self.hamiltonian.fingerprint:
            raise LatticeMismatch(
                f"expected a supercell of the Hamiltonian {self.hamiltonian.fingerprint} ({self.hamiltonian.expansion.name}), got one of "
                f"{hamiltonian.fingerprint} ({hamiltonian.expansion.name})"
            )
        return self._bound(hamiltonian)

    def entering(self, condition: Condition) -> Entering:
        mu = relative(condition.mu, self.hamiltonian.lattice)[:, 1:]
        embedded = self.embedding(condition.T, mu)
        if self.mirrored:
            embedded = torch.cat([embedded, self.embedding(condition.T, -mu)])
        return Entering(condition.beta, self.hamiltonian.site_mu(condition.mu), embedded)

    def scaled(self, fields: torch.Tensor, beta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return fields / self.scale, torch.tanh(fields * (beta / 4))


def _mirrored(h: Hamiltonian) -> bool:
    """Does the exchange of the two species, with that of their chemical potentials, leave the law as it is?

    Then the network need not learn it: outputs are averaged over both. It is so for site functions that change sign and energies that do not.
    """
    if not (h.lattice.n_species == 2).all() or len(h.elements) != 2:
        return False
    odd = np.allclose(h.functions[h.channel_function].sum(-1), 0)
    occ = h.random(8, torch.Generator().manual_seed(0))
    energy = h.energy(occ)
    return bool(odd and torch.allclose(energy, h.energy(1 - occ), atol=1e-9 * (1 + float(energy.abs().max()))))


def _rows(table: torch.Tensor, axes: int) -> torch.Tensor:
    """Row numbers of a table (B, N) or (1, N), to index it with sites (C, B, ...) of ``axes`` axes."""
    return torch.arange(len(table), device=table.device).view(1, -1, *[1] * (axes - 2))
