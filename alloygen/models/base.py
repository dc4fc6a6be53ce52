"""What a model is: a normalised law over occupations, for every condition and every order.

    log_prob(occ, T, mu, order) -> (B,) float64             sum over all occ of exp(log_prob) = 1
    sample(T, mu, order, generator, known=None) -> (occ, log_prob), the two agreeing to rounding

T is (B,), mu is (B, n_elements) in the Hamiltonian's units; a batch may mix conditions. ``known`` (B, N) holds species
indices of sites that are given and -1 elsewhere; then log_prob is that of the sites generated, given the known ones.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import nn

from alloygen.hamiltonian.cluster import Hamiltonian


class Model(nn.Module, ABC):
    """Base of every generative model; concrete classes are final."""

    hamiltonian: Hamiltonian
    ranges: dict
    kind: str
    metadata: dict  # what is known of its training and of its checkpoint; not there on a fresh model
    options: tuple[str, ...]  # the keyword arguments that ``config`` returns

    @abstractmethod
    def log_conditionals(
        self, occ: torch.Tensor, T: torch.Tensor, mu: torch.Tensor, order: torch.Tensor
    ) -> torch.Tensor:
        """log p(x_s(t) = a | x_s(<t)) of every candidate species at every step, (B, N, S) float64."""

    def log_prob(
        self,
        occ: torch.Tensor,
        T: torch.Tensor,
        mu: torch.Tensor,
        order: torch.Tensor,
        known: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Exact log-likelihood (B,) of occupations along ``order``; the steps of known sites do not count."""
        steps = torch.gather(self.log_conditionals(occ, T, mu, order), 2, torch.gather(occ, 1, order)[..., None])[
            ..., 0
        ]
        if known is not None:
            steps = steps.masked_fill(torch.gather(known, 1, order) >= 0, 0.0)
        return steps.sum(1)

    @abstractmethod
    def sample(
        self,
        T: torch.Tensor,
        mu: torch.Tensor,
        order: torch.Tensor,
        generator: torch.Generator,
        known: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]: ...

    @abstractmethod
    def config(self) -> dict:
        """Keyword arguments that rebuild the network (besides the Hamiltonian)."""

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device
