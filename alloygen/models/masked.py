"""The models of Du et al. (arXiv:2603.14695) over masked networks: autoregressive models and marginalization models.

A network reads a configuration with some sites masked and gives the conditionals of all masked sites at once. Along an
order s the law is

    q(x | s) = prod_t p_phi(x_s(t) | x_s(<t)),

one pass of the network per step. A fixed-order model (FO-ARM) is one trained on a single order; an any-order model
(AO-ARM) is trained on random ones. A marginalization model (MAM; Liu, Ramadge and Adams, ICML 2024) has a second output,
log p_theta(x_S) of any subset S of sites in one pass. It is not normalised, so it is called ``log_marginal``.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, cast

import torch
from torch import nn

from alloygen.arrays import as_tensor
from alloygen.conditions import relative
from alloygen.conditions.record import Condition
from alloygen.errors import AlloygenError, LatticeMismatch
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.models.base import Network, Steering, Steps, draw_species
from alloygen.models.blocks import by_blocks
from alloygen.nn.masked import NETWORKS, Size, build

ROWS = 2**16  # sites or edges in one pass where no gradient is kept


class MaskedLaw(Network):
    """What ARM and MAM share: conditionals from one pass, likelihood and sampling from N passes."""

    def __init__(
        self,
        hamiltonian: Hamiltonian,
        ranges: dict,
        *,
        network: str = "transformer",
        trunks: int = 1,
        physics: bool = False,
        **size: Any,
    ):
        super().__init__()
        if network not in NETWORKS:
            raise AlloygenError(f"expected a network in {sorted(NETWORKS)}, got {network!r}")
        self.hamiltonian = hamiltonian
        self.ranges = ranges
        sized = Size(**size)
        self._config = dict(network=network, **asdict(sized), trunks=trunks, physics=physics)
        self.physics = physics
        lattice = hamiltonian.lattice
        allowed = as_tensor(lattice.allowed)
        self.register_buffer("allowed", allowed, persistent=False)
        self.register_buffer("interacting", as_tensor(hamiltonian.interacting), persistent=False)
        self.trunks = self._networks(
            lambda outputs, marginal: build(network, lattice, ranges, outputs, marginal, sized), trunks
        )

    def _networks(self, make, trunks: int) -> nn.ModuleList:
        return nn.ModuleList([make(self.hamiltonian.n_species, False)])

    def config(self) -> dict:
        return dict(self._config)

    # ------------------------------------------------------------------ one pass
    def _state(self, occ, decided):
        if occ.shape[1] != self.hamiltonian.n_sites:
            raise LatticeMismatch(
                f"expected occupations of {self.hamiltonian.n_sites} sites, for which this model is made "
                f"({self.hamiltonian.lattice!r}), got {occ.shape[1]}. Train a model for the other supercell."
            )
        return torch.where(decided, occ, self.hamiltonian.n_species)

    def _law(self, logits, occ, condition, decided):
        logits = logits.double()
        if self.physics:
            open_ = (~decided)[:, self.interacting].any(-1, keepdim=True)
            logits = self._physical(occ, condition, decided) + logits * open_
        return torch.log_softmax(logits.masked_fill(~self.allowed, -torch.inf), dim=2)

    def _physical(self, occ, condition, decided):
        """-beta (f_i(a) - mu_a) (B, N, S), f_i the energy of the clusters of site i whose other members are decided.

        Where all neighbours are decided it is the exact conditional, and the network is switched off.
        """
        h = self.hamiltonian
        sites = torch.arange(h.n_sites, device=occ.device).expand(len(occ), -1)
        energy = h.species_energies(h.fields(occ, (~decided).long(), sites, torch.ones_like(sites)), sites)
        return -(energy - h.site_mu(condition.mu)) / condition.kT[:, None, None]

    def _seen(self, trunk: int, occ, condition: Condition, decided):
        """(per-site outputs, marginal) of a network, which knows differences of mu alone."""
        mu = relative(condition.mu, self.hamiltonian.lattice)[:, 1:]
        return self.trunks[trunk](self._state(occ, decided), condition.T, mu)

    def conditionals(self, occ: torch.Tensor, condition: Condition, decided: torch.Tensor) -> torch.Tensor:
        """log p(x_i = a | x_decided) of every site i and species a, (B, N, S) float64, in one pass.

        occ (B, N) is read where ``decided`` (B, N bool) only; the rows of decided sites mean nothing.
        """
        return self._law(self._seen(0, occ, condition, decided)[0], occ, condition, decided)

    # ------------------------------------------------------------------ the law
    def log_conditionals(self, occ: torch.Tensor, condition: Condition, order: torch.Tensor) -> torch.Tensor:
        """log p(x_s(t) = a | x_s(<t)) of every candidate species at every step, (B, N, S): N passes."""
        b, n = order.shape
        rank = torch.argsort(order, dim=1)
        kept = n if torch.is_grad_enabled() else max(1, ROWS // (b * cast(int, self.trunks[0].load)))
        out = []
        for steps in torch.arange(n, device=order.device).split(kept):
            k = len(steps)
            decided = (rank[:, None] < steps[:, None]).flatten(0, 1)
            rows = torch.arange(b, device=order.device).repeat_interleave(k)
            logp = self.conditionals(occ[rows], condition[rows], decided).view(b, k, n, -1)
            site = order[:, steps][:, :, None, None].expand(-1, -1, 1, logp.shape[3])
            out.append(torch.gather(logp, 2, site)[:, :, 0])
        return torch.cat(out, dim=1)

    @torch.no_grad()
    def sample(
        self,
        condition: Condition,
        order: torch.Tensor,
        generator: torch.Generator,
        known: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw (occ (B, N), log_prob (B,)) along ``order``: one pass a step."""
        known = torch.full_like(order, -1) if known is None else known
        return by_blocks(self._sample, condition, order, _uniform(order, generator), known)

    def _steered(self, condition: Condition, order, uniform, known, steering: Steering):
        known = torch.full_like(order, -1) if known is None else known
        return self._sample(condition, order, uniform, known, steering.begin(len(order)))

    def _sample(self, condition, order, uniform, known, steps: Steps | None = None):
        occ = torch.zeros_like(order)
        decided = torch.zeros_like(order, dtype=torch.bool)
        log_prob = torch.zeros(len(order), dtype=torch.float64, device=order.device)
        for site, u in zip(order.split(1, dim=1), uniform.split(1, dim=1), strict=True):
            species = torch.gather(known, 1, site)
            if (species < 0).any():
                choice, gained = self._draw(occ, condition, decided, site, u, steps)
                log_prob += torch.where(species[:, 0] < 0, gained, 0.0)
                species = torch.where(species < 0, choice, species)
                if steps is not None:
                    steps.take(site, species)
            occ.scatter_(1, site, species)
            decided.scatter_(1, site, True)
        return occ, log_prob

    def _draw(self, occ, condition, decided, site, uniform, steps: Steps | None = None):
        """(species (B, 1), log-probability (B,)) of one site (B, 1) each, given the decided ones."""
        logp = self.conditionals(occ, condition, decided)
        logp = torch.gather(logp, 1, site[..., None].expand(-1, -1, logp.shape[2]))[:, 0]
        logp = logp if steps is None else steps.corrected(site, logp)
        choice = draw_species(logp, uniform)
        return choice, torch.gather(logp, 1, choice)[:, 0]

    @torch.no_grad()
    def regenerate(
        self, occ: torch.Tensor, condition: Condition, sites: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        """Erase ``sites`` (B, k) of occupations (B, N) and redraw them one after another: block Gibbs on p_phi."""
        return by_blocks(self._regenerate, occ, condition, sites, _uniform(sites, generator))

    def _regenerate(self, occ, condition, sites, uniform):
        occ = occ.clone()
        decided = torch.ones_like(occ, dtype=torch.bool).scatter_(1, sites, False)
        for site, u in zip(sites.split(1, dim=1), uniform.split(1, dim=1), strict=True):
            choice, _ = self._draw(occ, condition, decided, site, u)
            occ.scatter_(1, site, choice)
            decided.scatter_(1, site, True)
        return occ


def _uniform(like, generator) -> torch.Tensor:
    """Random numbers of the shape and device of ``like``, one row after another."""
    return torch.rand(*like.shape, generator=generator, dtype=torch.float64, device=generator.device).to(like.device)


class AutoregressiveModel(MaskedLaw):
    """ARM: fixed-order or any-order, as it is trained.

    Parameters
    ----------
    hamiltonian : Hamiltonian
    ranges : {"T": (low, high), "mu": [(low, high), ...]}, one mu interval per element after the first
    network : "mlp", "painn" or "transformer"
    width, depth, heads, expand, radial, cutoff, offset : size, of which each network takes its own (:class:`alloygen.nn.masked.Size`)
    trunks : 1; a marginalization model may have 2
    physics : add the physical logits of the decided sites to those of the network (not in the paper)

    Examples
    --------
    >>> from alloygen.hamiltonian.ising import ising
    >>> h, order = ising(2), torch.arange(4).repeat(16, 1)
    >>> model = AutoregressiveModel(h, {"T": [2.0, 3.0], "mu": [[0.0, 1.0]]}, network="mlp", width=8, depth=2)
    >>> every = torch.cartesian_prod(*[torch.arange(2)] * 4)
    >>> log_prob = model.log_prob(every, h.condition(2.5, [0.0, 0.0]).expand(16), order).detach()
    >>> round(float(log_prob.exp().sum()), 6)
    1.0
    """

    kind = "arm"


class MarginalizationModel(MaskedLaw):
    """MAM: conditionals p_phi and marginals p_theta, by two heads on one trunk or by two networks (``trunks`` = 2).

    The other parameters are those of :class:`AutoregressiveModel`. Likelihoods, samples and weights come from p_phi.
    """

    kind = "mam"

    def _networks(self, make, trunks: int) -> nn.ModuleList:
        s = self.hamiltonian.n_species
        lattice = self.hamiltonian.lattice
        self.register_buffer("log_species", as_tensor(lattice.n_species).double().log(), persistent=False)
        return nn.ModuleList([make(s, True)] if trunks == 1 else [make(s, False), make(0, True)])

    def log_marginal(self, occ: torch.Tensor, condition: Condition, decided: torch.Tensor) -> torch.Tensor:
        """log p_theta(x_decided) (B,), one pass, NOT normalised. It is learned relative to the uniform law,

        log p_theta(x_S) = network(x_S, T, mu) - sum_{i in S} log(number of species of i).
        """
        return self._relative(self._seen(-1, occ, condition, decided)[1], decided)

    def both(self, occ: torch.Tensor, condition: Condition, decided: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(``conditionals`` (B, N, S), ``log_marginal`` (B,)) of the same decided sites, one pass of each trunk."""
        if len(self.trunks) == 2:
            return self.conditionals(occ, condition, decided), self.log_marginal(occ, condition, decided)
        sites, marginal = self._seen(0, occ, condition, decided)
        return self._law(sites, occ, condition, decided), self._relative(marginal, decided)

    def _relative(self, marginal, decided):
        return marginal.double() - (decided * self.log_species).sum(1)
