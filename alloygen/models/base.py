"""What a model is: a normalised law over occupations, for every condition and every order.

    log_prob(occ, T, mu, order) -> (B,) float64             sum over all occ of exp(log_prob) = 1
    sample(T, mu, order, generator, known=None) -> (occ, log_prob), the two agreeing to rounding

Both work in blocks of rows (:mod:`alloygen.models.blocks`), so that their bits do not depend on the number of threads.
``log_conditionals`` is one pass as it is, for training.

T is (B,), mu is (B, n_elements) in the Hamiltonian's units; a batch may mix conditions. ``known`` (B, N) holds species
indices of sites that are given and -1 elsewhere; then log_prob is that of the sites generated, given the known ones.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import nn

from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.models.blocks import by_blocks


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
        one = lambda x, t, m, s, k: path_log_prob(self.log_conditionals(x, t, m, s), x, s, k)  # noqa: E731
        return by_blocks(one, occ, T, mu, order, known)

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


def path_log_prob(
    log_conditionals: torch.Tensor, occ: torch.Tensor, order: torch.Tensor, known: torch.Tensor | None = None
) -> torch.Tensor:
    """Log-likelihood (B,) of occupations (B, N) from the conditionals (B, M, S) along ``order``; the steps of known sites do not count."""
    steps = torch.gather(log_conditionals, 2, torch.gather(occ, 1, order)[..., None])[..., 0]
    return (steps if known is None else steps.masked_fill(torch.gather(known, 1, order) >= 0, 0.0)).sum(1)
