"""Where samples come from, as far as results depend on it: typed records, beside the free ``info`` that is only shown."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from alloygen.arguments import positive
from alloygen.errors import AlloygenError
from alloygen.estimate.result import Estimate
from alloygen.montecarlo.single_moves import Move


@dataclass(frozen=True, kw_only=True, eq=False)
class Provenance:
    """What averages at one condition depend on, beside its samples.

    seed : of the run; hot chains beside the samples have theirs from it
    known : (N,) species index of the sites that were held, -1 where free; None where none was
    inefficiency : g of samples without a likelihood that are no chains in time order: n / g of them are independent
    free_energy : Phi per site that was found by other means, such as MBAR
    log_states : log of the number of configurations, from which S at T = infinity follows
    stuck : why the chains know no error bar; empty where they do
    constrained : whether the numbers of atoms were kept

    Examples
    --------
    >>> Provenance(inefficiency=4.0).inefficiency
    4.0
    """

    seed: int | None = None
    known: np.ndarray | None = None
    inefficiency: float = 1.0
    free_energy: Estimate | None = None
    log_states: float | None = None
    stuck: str = ""
    constrained: bool = False

    def __post_init__(self) -> None:
        g = positive(self.inefficiency, "the statistical inefficiency", "samples")
        object.__setattr__(self, "inefficiency", g)
        if self.known is not None:
            known = np.asarray(self.known)
            if known.ndim != 1 or known.dtype.kind not in "iu":
                raise AlloygenError(f"expected known as species indices (N,), -1 where free, got {self.known!r}")
            object.__setattr__(self, "known", known)


@dataclass(frozen=True, kw_only=True, eq=False)
class RunProvenance:
    """What averages and free energies of a scan depend on, beside its samples.

    sweeps : from one sample to the next
    move : of a Markov chain of single moves; None for independent samples, and for moves of clusters
    held : the exchangeable sites that no move changed
    exchanged : whether the conditions exchanged their configurations, so that averages rest on all of them
    log_states : log of the number of configurations, which makes free energies absolute from T = infinity on
    constrained : whether the numbers of atoms were kept, by a model
    acceptance : (C,) share of accepted moves at each condition
    renewals : (C,) replicas that came to each condition from the hottest one

    Examples
    --------
    >>> RunProvenance(acceptance=np.array([0.1, 0.4])).part([1]).acceptance
    array([0.4])
    """

    seed: int | None = None
    sweeps: int = 1
    move: Move | None = None
    held: tuple[int, ...] = ()
    exchanged: bool = False
    log_states: float | None = None
    constrained: bool = False
    acceptance: np.ndarray | None = None
    renewals: np.ndarray | None = None

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """What is known of each condition, by name."""
        found = {"acceptance": self.acceptance, "renewals": self.renewals}
        return {k: v for k, v in found.items() if v is not None}

    def part(self, at: np.ndarray | list[int]) -> RunProvenance:
        """The same of some conditions, by index."""
        some = {k: v[at] for k, v in self.columns.items()}
        return replace(self, acceptance=some.get("acceptance"), renewals=some.get("renewals"))

    def whole(self) -> RunProvenance:
        """What belongs to the run and not to its conditions."""
        return replace(self, acceptance=None, renewals=None)


def require_drawn(drawn: dict | None, law: dict, what: str, remedy: str) -> dict:
    """What samples belong to, by name; AlloygenError where it is not what it was (``drawn``) when they were first put together.

    The guard of results that carry derived numbers: a copy with another energy must not keep the weights of the old one.
    """
    changed = [k for k in law if drawn and k in drawn and not _same(law[k], drawn[k])]
    if changed:
        raise AlloygenError(
            f"expected the {', '.join(changed)} that this {what} was drawn with, got another: weights, free energies and error bars belong "
            f"to them and would be wrong. Use {remedy}, or make a new {what} of the arrays"
        )
    return law


def _same(a, b) -> bool:
    if a is b:
        return True
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.shape == b.shape and bool((a == b).all())
    return type(a) is type(b) and isinstance(a, (int, float)) and a == b
