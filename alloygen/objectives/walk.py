"""Conditions that walk at random through the (T, mu) range, for training without data.

Du et al. (arXiv:2603.14695): a few temperatures times a few fields, started uniform, each moved by a uniform step every
iteration and kept inside the range.
"""

from __future__ import annotations

import torch


class ConditionWalk:
    """``n_T`` temperatures times ``n_mu`` chemical potentials.

    Parameters
    ----------
    ranges : {"T": (low, high), "mu": [(low, high), ...]}, one mu interval per element after the first
    n_T, n_mu : numbers of temperatures and of chemical potentials; every pair is a condition
    step_T, step_mu : largest step an iteration, as a share of the range
    generator : draws the start
    """

    def __init__(self, ranges: dict, n_T: int, n_mu: int, step_T: float, step_mu: float, generator: torch.Generator):
        self.low_T, self.high_T = (torch.tensor(float(x), dtype=torch.float64) for x in ranges["T"])
        mu = torch.tensor(ranges["mu"], dtype=torch.float64).reshape(-1, 2)
        self.low_mu, self.high_mu = mu[:, 0], mu[:, 1]
        self.step_T, self.step_mu = step_T, step_mu
        u = lambda *shape: torch.rand(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
        self.T = self.low_T + u(n_T) * (self.high_T - self.low_T)
        self.mu = self.low_mu + u(n_mu, len(mu)) * (self.high_mu - self.low_mu)

    @property
    def n(self) -> int:
        """Number of conditions."""
        return len(self.T) * len(self.mu)

    def move(self, generator: torch.Generator) -> None:
        """One step of every temperature and chemical potential."""
        u = lambda x: 2 * torch.rand(x.shape, generator=generator, dtype=torch.float64) - 1  # noqa: E731
        self.T = self.T + u(self.T) * self.step_T * (self.high_T - self.low_T)
        self.T = torch.clamp(self.T, self.low_T, self.high_T)
        self.mu = self.mu + u(self.mu) * self.step_mu * (self.high_mu - self.low_mu)
        self.mu = torch.clamp(self.mu, self.low_mu, self.high_mu)

    def batch(self, size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(T (B,), mu (B, n_elements) with the first 0, condition numbers (B,)) of a batch, the same share of each."""
        c = torch.arange(self.n).repeat_interleave(size // self.n)
        T, mu = self.T[c // len(self.mu)], self.mu[c % len(self.mu)]
        return T, torch.cat([torch.zeros(len(c), 1, dtype=torch.float64), mu], dim=1), c
