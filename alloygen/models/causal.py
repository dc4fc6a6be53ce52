"""Any-order model with a one-pass likelihood: physics as base logits, an order-causal Transformer as correction.

At step t the sites decided so far give the telescoped energy f_t(a) of each candidate species a (see
``hamiltonian.cluster``), split into channels g_k phi_k(a). The conditional is

    p(x_s(t) = a | x_s(<t)) = softmax_a [ -beta (sum_k (1 + c_k) g_k phi_k(a) - mu_a) + r_a ]

with gains c_k and residuals r_a from the network. Where every cluster of the site is decided the bare physics is
exact, so the correction is switched off there.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.models.base import Model
from alloygen.nn.causal import CausalTransformer


class CausalModel(Model):
    """Any-order autoregressive model of p(x | T, mu) on one supercell.

    Parameters
    ----------
    hamiltonian : Hamiltonian
    ranges : {"T": (low, high), "mu": [(low, high), ...]}, one mu interval per element after the first
    width, depth, heads, expand : size of the Transformer
    neighbours : how many nearest sites the network sees directly around the site asked for (None: all)
    """

    kind = "causal"
    options = ("width", "depth", "heads", "expand", "neighbours")

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
        sites, _ = lattice.displacements
        self.register_buffer("environment", torch.as_tensor(sites[:, :neighbours]), persistent=False)
        scale = np.maximum(hamiltonian.channel_scale.max(0), 1e-12)
        self.register_buffer("scale", torch.as_tensor(scale), persistent=False)
        self.register_buffer("interacting", torch.as_tensor(hamiltonian.interacting), persistent=False)
        allowed = torch.as_tensor(lattice.element_index[lattice.sublattice] >= 0)
        self.register_buffer("allowed", allowed, persistent=False)
        k, s = hamiltonian.n_channels, hamiltonian.n_species
        n_features = 2 * k + self.environment.shape[1] * s
        self.network = CausalTransformer(
            lattice, n_features, k + s, ranges, width=width, depth=depth, heads=heads, expand=expand
        )

    def config(self) -> dict:
        return dict(self._config)

    # ------------------------------------------------------------------ pieces shared by log_prob and sample
    def _inputs(self, occ, rank, site, step, beta):
        """Physical fields (B, T, K) and network features (B, T, n) of the sites asked for at ``step``."""
        fields = self.hamiltonian.fields(occ, rank, site, step)
        b, t = site.shape
        around = self.environment[site].view(b, -1)
        known = torch.gather(rank, 1, around).view(b, t, -1) < step[..., None]
        species = torch.gather(occ, 1, around).view(b, t, -1)
        environment = (F.one_hot(species, self.hamiltonian.n_species) * known[..., None]).flatten(2)
        energetic = torch.tanh(fields * beta[:, None, None] / 4)
        features = torch.cat([(fields / self.scale).float(), energetic.float(), environment.float()], dim=2)
        return fields, features

    def _logits(self, output, fields, site, rank, step, beta, site_mu):
        """Normalised log-conditionals (B, T, S), float64."""
        h = self.hamiltonian
        b, t = site.shape
        near = torch.gather(rank, 1, self.interacting[site].view(b, -1)).view(b, t, -1)
        open_ = (near >= step[..., None]).any(-1, keepdim=True)
        gain, residual = output.double().split([h.n_channels, h.n_species], dim=2)
        gain, residual = gain * open_, residual * open_
        energy = h.species_energies(fields * (1 + gain), site)
        mu = torch.gather(site_mu, 1, site[..., None].expand(-1, -1, h.n_species))
        logits = -beta[:, None, None] * (energy - mu) + residual
        return torch.log_softmax(logits.masked_fill(~self.allowed[site], -torch.inf), dim=2)

    def _condition(self, T, mu):
        beta = 1.0 / (self.hamiltonian.kB * T.double())
        embedded = self.network.embed_condition(T, (mu - mu[:, :1])[:, 1:])
        return beta, self.hamiltonian.site_mu(mu.double()), embedded

    # ------------------------------------------------------------------ the law
    def log_conditionals(self, occ, T, mu, order) -> torch.Tensor:
        """log p(x_s(t) = a | x_s(<t)) of every candidate species at every step, (B, N, S), in one pass."""
        rank = torch.argsort(order, dim=1)
        step = torch.arange(order.shape[1], device=order.device).repeat(len(order), 1)
        beta, site_mu, condition = self._condition(T, mu)
        fields, features = self._inputs(occ, rank, order, step, beta)
        previous = torch.cat([torch.full_like(order[:, :1], -1), order[:, :-1]], dim=1)
        species = torch.gather(occ, 1, previous.clamp_min(0))
        output = self.network(previous, species, order, features, condition)
        return self._logits(output, fields, order, rank, step, beta, site_mu)

    @torch.no_grad()
    def sample(self, T, mu, order, generator, known=None):
        """Draw (occ (B, N), log_prob (B,)) along ``order`` with a key-value cache: one token a step."""
        b, n = order.shape
        rank = torch.argsort(order, dim=1)
        beta, site_mu, condition = self._condition(T, mu)
        cache = self.network.new_cache(b, n)
        occ = torch.zeros_like(order)
        log_prob = torch.zeros(b, dtype=torch.float64, device=order.device)
        uniform = torch.rand(n, b, generator=generator, dtype=torch.float64, device=generator.device).to(order.device)
        for t in range(n):
            site = order[:, t : t + 1]
            step = torch.full_like(site, t)
            fields, features = self._inputs(occ, rank, site, step, beta)
            previous = order[:, t - 1 : t] if t else torch.full_like(site, -1)
            species = torch.gather(occ, 1, previous.clamp_min(0))
            output = self.network(previous, species, site, features, condition, (cache, t))
            logp = self._logits(output, fields, site, rank, step, beta, site_mu)[:, 0]
            choice = (uniform[t, :, None] > logp.exp().cumsum(1)[:, :-1]).sum(1, keepdim=True)
            gained = torch.gather(logp, 1, choice)[:, 0]
            if known is not None:
                given = torch.gather(known, 1, site)
                choice = torch.where(given >= 0, given, choice)
                gained = torch.where(given[:, 0] >= 0, 0.0, gained)
            occ.scatter_(1, site, choice)
            log_prob += gained
        return occ, log_prob
