"""Any-order model with a one-pass likelihood: physics as base logits, an order-causal Transformer as correction.

At step t the sites decided so far give the telescoped energy f_t(a) of each candidate species a (see
``hamiltonian.cluster``), split into channels g_k phi_k(a). The conditional is

    p(x_s(t) = a | x_s(<t)) = softmax_a [ -beta (sum_k (1 + c_k) g_k phi_k(a) - mu_a) + r_a ]

with gains c_k and residuals r_a from the network. Where every cluster of the site is decided the bare physics is
exact, so the correction is switched off there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from alloygen.arrays import as_tensor
from alloygen.conditions import relative
from alloygen.conditions.record import Condition
from alloygen.errors import LatticeMismatch
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.models.base import Network, Steering, Steps, draw_species
from alloygen.models.blocks import by_blocks
from alloygen.nn.causal import CausalTransformer


@dataclass(frozen=True, eq=False)
class Stage:
    """Where a causal model works: a supercell and its Hamiltonian, and the place of each site on the torus that the model knows.

    environment (N, n) sites around each site, by the displacements of the model's cell; interacting (N, m) those that share a cluster;
    allowed (N, S) species; torus (N,) the model's site with the same offsets modulo its cell.
    """

    hamiltonian: Hamiltonian
    environment: torch.Tensor
    interacting: torch.Tensor
    allowed: torch.Tensor
    torus: torch.Tensor


class CausalModel(Network):
    """Any-order autoregressive model of p(x | T, mu) on one supercell.

    Parameters
    ----------
    hamiltonian : Hamiltonian
    ranges : {"T": (low, high), "mu": [(low, high), ...]}, one mu interval per element after the first
    width, depth, heads, expand : size of the Transformer
    neighbours : how many nearest sites the network sees directly around the site asked for (None: all)
    """

    kind = "causal"

    def __init__(
        self,
        hamiltonian: Hamiltonian,
        ranges: dict,
        *,
        width: int = 128,
        depth: int = 4,
        heads: int = 4,
        expand: int = 3,
        neighbours: int | None = None,
    ):
        super().__init__()
        self.hamiltonian = hamiltonian
        self.ranges = ranges
        lattice = hamiltonian.lattice
        self._config = dict(width=width, depth=depth, heads=heads, expand=expand, neighbours=neighbours)
        self._stage: Stage | None = None
        scale = np.maximum(hamiltonian.channel_scale.max(0), 1e-12)
        self.register_buffer("scale", as_tensor(scale), persistent=False)
        k, s = hamiltonian.n_channels, hamiltonian.n_species
        n_features = 2 * k + lattice.displacements[0][:, :neighbours].shape[1] * s
        self.network = CausalTransformer(
            lattice, n_features, k + s, ranges, width=width, depth=depth, heads=heads, expand=expand
        )

    def config(self) -> dict:
        return dict(self._config)

    def stage(self, hamiltonian: Hamiltonian | None = None) -> Stage:
        """The model's own supercell, or a larger one of the same primitive cell (``hamiltonian``) to work on window by window.

        There the physical logits, and the sites that the network sees around the one asked for, are those of the larger cell; attention
        knows displacements modulo the model's cell, so what one call decides must fit into it.
        """
        own, place = self.hamiltonian.lattice, lambda x: as_tensor(x, device=self.device)
        if hamiltonian is None:
            if self._stage is None or self._stage.torus.device != self.device:
                sites = own.displacements[0][:, : self._config["neighbours"]]
                self._stage = self._make_stage(self.hamiltonian, place(sites), place(np.arange(own.n_sites)))
            return self._stage
        if not self.can_stage(hamiltonian):
            raise LatticeMismatch(
                f"expected a larger cell of which the model knows every kind of cluster, got {hamiltonian.lattice!r} for a model of {own!r}: "
                "clusters of the model's cell close on themselves. Take a model of a larger cell, or physics=False."
            )
        lattice = hamiltonian.lattice
        sites = np.empty((lattice.n_sites, own.n_sites - 1), dtype=np.int64)
        for b in range(own.n_sublattices):
            here = np.flatnonzero(lattice.sublattice == b)
            start = int(np.flatnonzero(own.sublattice == b)[0])
            around, sub = own.nearest_offsets(start)
            sites[here] = lattice.index(
                lattice.offsets[here, None] + around, np.broadcast_to(sub, (len(here), len(sub)))
            )
        torus = own.index(lattice.offsets, lattice.sublattice)
        return self._make_stage(hamiltonian, place(sites[:, : self._config["neighbours"]]), place(torus))

    def can_stage(self, hamiltonian: Hamiltonian) -> bool:
        """Whether the kinds of clusters on another cell are those that the model was made for."""
        own = self.hamiltonian
        return np.array_equal(own.channel_orbit, hamiltonian.channel_orbit) and np.array_equal(
            own.channel_function, hamiltonian.channel_function
        )

    def _make_stage(self, h: Hamiltonian, environment: torch.Tensor, torus: torch.Tensor) -> Stage:
        near, species = (as_tensor(x, device=self.device) for x in (h.interacting, h.lattice.allowed))
        return Stage(h, environment, near, species, torus)

    # ------------------------------------------------------------------ pieces shared by log_prob and sample
    def _inputs(self, stage, occ, rank, site, step, beta):
        """Physical fields (B, T, K) and network features (B, T, n) of the sites asked for at ``step``."""
        fields = stage.hamiltonian.fields(occ, rank, site, step)
        b, t = site.shape
        around = stage.environment[site].view(b, -1)
        known = torch.gather(rank, 1, around).view(b, t, -1) < step[..., None]
        species = torch.gather(occ, 1, around).view(b, t, -1)
        environment = (F.one_hot(species, self.hamiltonian.n_species) * known[..., None]).flatten(2)
        energetic = torch.tanh(fields * beta[:, None, None] / 4)
        features = torch.cat([(fields / self.scale).float(), energetic.float(), environment.float()], dim=2)
        return fields, features

    def _logits(self, stage, output, fields, site, rank, step, beta, mu):
        """Normalised log-conditionals (B, T, S), float64."""
        h = stage.hamiltonian
        b, t = site.shape
        near = torch.gather(rank, 1, stage.interacting[site].view(b, -1)).view(b, t, -1)
        open_ = (near >= step[..., None]).any(-1, keepdim=True)
        gain, residual = output.double().split([h.n_channels, h.n_species], dim=2)
        gain, residual = gain * open_, residual * open_
        energy = h.species_energies(fields * (1 + gain), site)
        mu = torch.gather(mu, 1, stage.torus[site][..., None].expand(-1, -1, h.n_species))
        logits = -beta[:, None, None] * (energy - mu) + residual
        return torch.log_softmax(logits.masked_fill(~stage.allowed[site], -torch.inf), dim=2)

    def _entering(self, condition: Condition):
        """beta (B,), mu of each species on each site (B, N, S), and the condition as the network takes it."""
        embedded = self.network.embed_condition(condition.T, relative(condition.mu, self.hamiltonian.lattice)[:, 1:])
        return condition.beta, self.hamiltonian.site_mu(condition.mu), embedded

    def _tokens(self, stage, occ, order):
        """What the network is told of each step: the site and species decided before, and the site asked for, on the torus."""
        previous = torch.cat([torch.full_like(order[:, :1], -1), order[:, :-1]], dim=1)
        species = torch.gather(occ, 1, previous.clamp_min(0))
        return torch.where(previous >= 0, stage.torus[previous.clamp_min(0)], -1), species, stage.torus[order]

    # ------------------------------------------------------------------ the law
    def log_conditionals(
        self,
        occ: torch.Tensor,
        condition: Condition,
        order: torch.Tensor,
        known: torch.Tensor | None = None,
        stage: Stage | None = None,
    ) -> torch.Tensor:
        """log p(x_s(t) = a | x_s(<t)) of every candidate species at every step, (B, M, S), in one pass.

        ``order`` (B, M) may hold a part of the sites of a ``stage``; of the others those count that are ``known``.
        """
        stage = self.stage() if stage is None else stage
        rank = _ranks(order, occ.shape[1], known)
        step = torch.arange(order.shape[1], device=order.device).repeat(len(order), 1)
        beta, site_mu, embedded = self._entering(condition)
        fields, features = self._inputs(stage, occ, rank, order, step, beta)
        output = self.network(*self._tokens(stage, occ, order), features, embedded)
        return self._logits(stage, output, fields, order, rank, step, beta, site_mu)

    @torch.no_grad()
    def sample(
        self,
        condition: Condition,
        order: torch.Tensor,
        generator: torch.Generator,
        known: torch.Tensor | None = None,
        stage: Stage | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw (occ (B, N), log_prob (B,)) along ``order`` with a key-value cache: one token a step, known sites in front in one pass.

        On a ``stage`` the order (B, M) holds the sites of a window, known ones (B, N) or not; sites outside it are returned as they are known.
        """
        stage = self.stage() if stage is None else stage
        uniform = torch.rand(*order.shape, generator=generator, dtype=torch.float64, device=generator.device)
        one = lambda c, s, u, k: self._sample(c, s, u, k, stage)  # noqa: E731
        return by_blocks(one, condition, order, uniform.to(order.device), known)

    def _steered(self, condition: Condition, order, uniform, known, steering: Steering):
        return self._sample(condition, order, uniform, known, self.stage(), steering.begin(len(order)))

    def _sample(self, condition: Condition, order, uniform, known, stage: Stage, steps: Steps | None = None):
        b, n = order.shape
        rank = _ranks(order, len(stage.torus), known)
        beta, site_mu, embedded = self._entering(condition)
        cache = self.network.new_cache(b, n)
        occ = torch.zeros_like(rank) if known is None else known.clamp_min(0)
        log_prob = torch.zeros(b, dtype=torch.float64, device=order.device)
        known = None if known is None else torch.gather(known, 1, order)  # from here on along the order
        start = 0 if known is None else int((known >= 0).all(0).long().cumprod(0).sum())
        if start:
            step = torch.arange(start, device=order.device).repeat(b, 1)
            _, features = self._inputs(stage, occ, rank, order[:, :start], step, beta)
            self.network(*self._tokens(stage, occ, order[:, :start]), features, embedded, (cache, 0))
        for t in range(start, n):
            site = order[:, t : t + 1]
            step = torch.full_like(site, t)
            fields, features = self._inputs(stage, occ, rank, site, step, beta)
            previous, species, asked = (x[:, -1:] for x in self._tokens(stage, occ, order[:, max(t - 1, 0) : t + 1]))
            output = self.network(previous, species, asked, features, embedded, (cache, t))
            logp = self._logits(stage, output, fields, site, rank, step, beta, site_mu)[:, 0]
            if steps is not None:
                logp = steps.corrected(site, logp)
            choice = draw_species(logp, uniform[:, t, None])
            gained = torch.gather(logp, 1, choice)[:, 0]
            if known is not None:
                choice = torch.where(known[:, t : t + 1] >= 0, known[:, t : t + 1], choice)
                gained = torch.where(known[:, t] >= 0, 0.0, gained)
            if steps is not None:
                steps.take(site, choice)
            occ.scatter_(1, site, choice)
            log_prob += gained
        return occ, log_prob


def _ranks(order, n: int, known) -> torch.Tensor:
    """(B, n): the step at which each site is decided; -1 for sites outside the order that are known, past the end for others."""
    b, m = order.shape
    rank = order.new_full((b, n), m) if known is None else torch.where(known >= 0, -1, m)
    return rank.scatter(1, order, torch.arange(m, device=order.device).expand(b, -1))
