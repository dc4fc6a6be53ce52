"""Whether a model is what :mod:`alloygen.models.base` says: a normalised law at every condition, that draws what it says."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from alloygen import orders
from alloygen.arguments import whole_number
from alloygen.arrays import as_tensor
from alloygen.conditions.record import Condition
from alloygen.errors import AlloygenError
from alloygen.exact.enumeration import Enumeration
from alloygen.models.base import Model
from alloygen.testing.boltzmann import LEAST_P, chi_square

LIMIT = 2**13  # states of a cell
TOLERANCE = 1e-4  # nats, and of a sum of probabilities: networks compute in float32
ROWS = 512


@dataclass(frozen=True, kw_only=True)
class _Case:
    """A model, every state of its cell, one condition, one order (N,)."""

    model: Model
    exact: Enumeration
    condition: Condition
    order: torch.Tensor

    def rows(self, b: int) -> tuple[Condition, torch.Tensor]:
        return self.condition.expand(b), self.order.expand(b, -1)

    def log_prob(self, occ: torch.Tensor, known: torch.Tensor | None = None) -> torch.Tensor:
        """(B,) of occupations (B, N), ``known`` (N,) of them given."""
        parts = occ.split(ROWS)
        given = [None if known is None else known.expand(len(x), -1) for x in parts]
        with torch.no_grad():
            return torch.cat([self.model.log_prob(x, *self.rows(len(x)), k) for x, k in zip(parts, given, strict=True)])

    def sample(self, n: int, seed: int, known: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        g, given = torch.Generator().manual_seed(seed), None if known is None else known.expand(n, -1)
        return self.model.sample(*self.rows(n), g, given)

    def __str__(self) -> str:
        return f"at {self.condition.words} along the order {self.order.tolist()}"


def check_model(
    model: Model,
    conditions: Condition | None = None,
    *,
    n: int = 20_000,
    seed: int = 0,
    least_p: float = LEAST_P,
) -> None:
    """Check a model on a cell of at most 8,192 states (``alloygen.testing.enumerable`` has Hamiltonians of such).

    At every condition, the sums along a random and a sublattice order, the draws along the former:

    - log_prob is finite, float64 (B,), and sum over all states of exp(log_prob) = 1
    - sample draws allowed occupations, the same for the same seed, and says their log_prob
    - n draws have the frequencies exp(log_prob) (chi-square)
    - with ``known`` sites, in front in the order: they are kept, log_prob is log p(x) - log p(x_known), and draws follow it
    - rows of a batch with other conditions do not matter; mu shifted alike for all elements changes nothing

    Parameters
    ----------
    model : on a small cell; fill its weights with random numbers first: an untrained one may be too simple to be wrong
    conditions : to check at, ``hamiltonian.condition(T, mu)``; the corners of ``model.ranges`` if not given
    n : draws at each condition; seed : of all random numbers
    least_p : p-value of frequencies below which they fail

    Raises AssertionError that names the first of these that does not hold.

    Examples
    --------
    >>> from alloygen.models import MODELS
    >>> from alloygen.testing import enumerable
    >>> system = enumerable("ising-3")
    >>> model = MODELS["arm"](system.hamiltonian, system.ranges(), network="mlp", width=8, depth=2)
    >>> check_model(model, system.hamiltonian.condition(2.3, [0.0, 0.1]), n=5000)
    """
    if not isinstance(model, Model):
        raise AlloygenError(f"expected a Model (alloygen.models.base), got {type(model).__name__}")
    n, generator = whole_number(n, "n, the number of draws,", 1000), torch.Generator().manual_seed(seed)
    h, cases = model.hamiltonian, []
    exact, was = Enumeration(h, LIMIT), model.training
    for at in _corners(model) if conditions is None else h.require(conditions, Condition).rows:
        for family in ("sublattice", "random"):
            order = orders.draw(family, h.lattice, 1, generator)[0]
            cases.append(_Case(model=model, exact=exact, condition=at, order=order))
    model.eval()
    try:
        for k, case in enumerate(cases):
            law = _normalised(case)
            if k % 2:
                _draws(case, law, n, seed + k, least_p)
                _known(case, n, seed + k, least_p, generator)
                _gauge(case, generator)
        _batches(cases, generator)
    finally:
        model.train(was)


def _corners(model: Model) -> Condition:
    """The corners of the range of a model."""
    if not getattr(model, "ranges", None):
        raise AlloygenError("expected conditions, or a model with ranges, got neither")
    corners = np.asarray(model.ranges["mu"], dtype=float).reshape(-1, 2).T  # (2, n_elements - 1)
    mu = np.unique(np.column_stack([np.zeros(2), corners]), axis=0)
    return model.hamiltonian.grid(np.unique(model.ranges["T"]), mu).condition(model.hamiltonian.kB)


def _normalised(case: _Case) -> torch.Tensor:
    """Checks the law of all states and returns it (M,)."""
    occ = as_tensor(case.exact.occ)
    log_prob = case.log_prob(occ)
    if log_prob.dtype != torch.float64 or log_prob.shape != (len(occ),):
        raise AssertionError(
            f"log_prob {case}: expected ({len(occ)},) float64, got {tuple(log_prob.shape)} {log_prob.dtype}. "
            "Look at what it sums over, and that sums are made of .double()"
        )
    if not bool(log_prob.isfinite().all()):
        k = int((~log_prob.isfinite()).nonzero()[0, 0])
        raise AssertionError(
            f"log_prob {case}: expected finite numbers, got {log_prob[k]} for {occ[k].tolist()}. Look at log(0): importance weights "
            "need every state that the target allows"
        )
    total = float(log_prob.exp().sum())
    if not abs(total - 1.0) < TOLERANCE:
        raise AssertionError(
            f"log_prob {case}: expected probabilities of all {len(occ)} states that add up to 1, got {total:.8g}. Look at the "
            "log-softmax, at species that a site does not allow, and that no step sees a site decided later"
        )
    return log_prob


def _agree(got: torch.Tensor, expected: torch.Tensor, what: str, look: str) -> None:
    difference = (got - expected).abs()
    if got.shape != expected.shape or not float(difference.max()) < TOLERANCE:
        k = int(difference.nan_to_num(torch.inf).argmax()) if got.shape == expected.shape else 0
        raise AssertionError(f"{what}: expected {expected[k]:.8g}, got {got[k]:.8g}. Look at {look}")


def _draws(case: _Case, law: torch.Tensor, n: int, seed: int, least_p: float) -> None:
    occ, log_prob = case.sample(n, seed)
    try:
        index = as_tensor(case.exact.index(occ))
    except AlloygenError as error:
        raise AssertionError(f"sample {case}: expected allowed occupations, got others: {error}") from None
    if not torch.equal(*(case.sample(16, seed)[0] for _ in range(2))):
        raise AssertionError(
            f"sample {case}: expected the same draws for the same seed, got others. Look for random numbers that do "
            "not come from ``generator``"
        )
    look = "that both go through the same conditionals"
    _agree(log_prob, law[index], f"log_prob that sample returns {case}, against log_prob(occ)", look)
    _frequencies(index, law, n, f"sample {case}", least_p)


def _frequencies(index: torch.Tensor, law: torch.Tensor, n: int, what: str, least_p: float) -> None:
    counts, expected = torch.bincount(index, minlength=len(law)).double(), n * law.exp()
    p = chi_square(counts, expected * (n / expected.sum()))
    if not p >= least_p:
        k = int(((counts - expected).abs() / expected.clamp_min(1.0).sqrt()).argmax())
        raise AssertionError(
            f"{what}: expected frequencies exp(log_prob), got counts with p-value {p:.2g}, below {least_p:g}; farthest off is state {k}, "
            f"{counts[k]:.0f} of {n} in place of {expected[k]:.1f}. Look at the inverse CDF and at random numbers that are used twice"
        )


def _known(case: _Case, n: int, seed: int, least_p: float, generator: torch.Generator) -> None:
    """About half of the sites given, at least one of them and one that is free."""
    h, exact = case.model.hamiltonian, case.exact
    free = as_tensor(np.flatnonzero(h.lattice.changeable))
    if len(free) < 2:
        return
    given = torch.ones(h.n_sites, dtype=torch.bool)
    given[free[torch.randperm(len(free), generator=generator)[: len(free) // 2 + len(free) % 2]]] = False
    known = torch.where(given, h.random(1, generator)[0], -1)
    order = orders.known_first(case.order[None], given[None])[0]
    case = _Case(model=case.model, exact=exact, condition=case.condition, order=order)
    states = as_tensor(exact.occ)
    inside = ((states == known) | (known < 0)).all(1)
    joint, conditional = case.log_prob(states[inside]), case.log_prob(states[inside], known)
    what = f"log_prob with known = {known.tolist()} {case}"
    look = "that steps of known sites add nothing, and are what the others are given"
    _agree(conditional, joint - torch.logsumexp(joint, 0), f"{what}, against log p(x) - log p(x_known)", look)
    occ, log_prob = case.sample(n, seed, known)
    if not torch.equal(occ[:, given], known[given].expand(n, -1)):
        raise AssertionError(f"sample with known = {known.tolist()} {case}: expected known sites as given, got others")
    place = torch.full((len(exact),), -1)
    place[inside] = torch.arange(int(inside.sum()))
    row = place[as_tensor(exact.index(occ))]
    _agree(log_prob, conditional[row], f"log_prob that sample returns, {what}", look)
    _frequencies(row, conditional, n, f"sample with known = {known.tolist()} {case}", least_p)


def _gauge(case: _Case, generator: torch.Generator) -> None:
    occ = case.model.hamiltonian.random(16, generator)
    moved = replace(case, condition=Condition(case.condition.T, case.condition.mu + 0.37, case.condition.kB))
    look = "mu that enters other than by its differences (alloygen.conditions.relative)"
    _agree(moved.log_prob(occ), case.log_prob(occ), f"log_prob with 0.37 added to every mu {case}", look)


def _batches(cases: list[_Case], generator: torch.Generator) -> None:
    """All cases in one batch, against each alone."""
    b, model = len(cases), cases[0].model
    occ, order = model.hamiltonian.random(b, generator), torch.stack([c.order for c in cases])
    T, mu = (torch.stack([getattr(c.condition, name) for c in cases]) for name in ("T", "mu"))
    with torch.no_grad():
        together = model.log_prob(occ, model.hamiltonian.condition(T, mu), order)
    alone = torch.cat([c.log_prob(x[None]) for c, x in zip(cases, occ, strict=True)])
    look = "T, mu or order taken from one row for all, and layers that mix rows"
    _agree(together, alone, "log_prob in a batch of several conditions, against each alone", look)
