"""Other weights and other choices of the samples of one condition: reweighted, parts, drawn again by weight."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, TypeVar, cast

import numpy as np
import torch

from alloygen.arguments import seed_from, whole_number
from alloygen.arrays import as_array
from alloygen.conditions.record import Condition
from alloygen.errors import AlloygenError, BadCondition
from alloygen.estimate import weights
from alloygen.estimate.result import Estimate
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.limits import require_rows
from alloygen.results.averages import Averages
from alloygen.results.draws import Draws
from alloygen.results.energies import OtherEnergies
from alloygen.results.joined import Place

D = TypeVar("D", bound=Draws)


class Bridge(Protocol):
    """What leads samples from their law to another where plain weights would be uneven, such as :class:`alloygen.generate.refine.Anneal`."""

    def carried(self, draws: Draws, log_w: np.ndarray, other: Hamiltonian, at: Condition) -> Carried: ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Carried:
    """Samples that were moved to another law: occ (n, N), energy (n,) by its Hamiltonian, log_w (n,), their log-weights there less
    what they began with; told: of the path, for ``info``; label: for ``method``"""

    occ: np.ndarray
    energy: np.ndarray
    log_w: np.ndarray
    told: dict
    label: str


def reweighted(draws: D, averages: Averages, energy: object, at: Condition, then: Bridge | None = None) -> D:
    """The samples with the weights of another law, see :meth:`alloygen.results.ensemble.Ensemble.reweighted`."""
    if at.T.ndim:
        raise BadCondition(f"expected one T and one mu, got {len(at)}; reweight to one after another")
    given = None if energy is None else OtherEnergies.of(energy, draws.hamiltonian)
    if then is not None:
        return _carried(draws, averages, given, at, then)
    found = draws.energy if given is None else given.of_cells(draws.occ, draws.atoms_map, lambda: draws.correlations)
    new = _of_the_law(draws, averages, draws.occ, found, given, at)
    if given is not None and given.same_figures(draws.hamiltonian.expansion) and "correlations" in draws.__dict__:
        new.__dict__["correlations"] = draws.correlations
    if draws.has_likelihood:
        return new
    change = (draws.field_energy / draws.kT if np.isfinite(draws.T) else 0.0) - new.field_energy / new.kT
    return _weighted(new, draws, averages, change)


def _of_the_law(
    draws: D, averages: Averages, occ: np.ndarray, energy: np.ndarray, given: OtherEnergies | None, at: Condition
) -> D:
    """The record of the new law, without the weights of samples that carry no likelihood."""
    h = draws.hamiltonian if given is None or given.hamiltonian is None else given.hamiltonian
    facts = replace(draws.facts, free_energy=None, log_states=None, inefficiency=averages.inefficiency)
    return replace(
        draws, hamiltonian=h, occ=occ, energy=energy, T=float(at.T), mu=as_array(at.mu), facts=facts, chains=0, log_w=None, place=None,
        drawn=None, origin=draws,
    )  # fmt: skip


def _weighted(new: D, draws: D, averages: Averages, change: np.ndarray) -> D:
    """``new`` with the log-weights ``change`` against the old law, for samples without a likelihood, and with what is known of Phi."""
    log_w, facts = change if draws.log_w is None else draws.log_w + change, new.facts
    if np.isfinite(draws.T) and draws.absolute:
        facts = replace(facts, free_energy=_moved_free_energy(averages, change, new.kT))
    return replace(new, log_w=log_w, facts=facts, drawn=None)


def _carried(draws: D, averages: Averages, given: OtherEnergies | None, at: Condition, then: Bridge) -> D:
    """The samples annealed to the other law."""
    if not hasattr(then, "carried"):
        raise AlloygenError(
            f"expected then=alloygen.Anneal(), which goes from one Hamiltonian to another, got {then!r}"
        )
    if given is not None and given.hamiltonian is None:
        raise AlloygenError(
            "expected an expansion or a Hamiltonian with then=, whose energies single flips can follow, got energies of the samples alone. Fit "
            "an expansion to them (alloygen.fit), anneal to it, and reweight the rest of the way"
        )
    if not np.isfinite(draws.T):
        raise AlloygenError("expected samples at a finite temperature to anneal from, got T = infinity")
    other = draws.hamiltonian if given is None else cast(Hamiltonian, given.hamiltonian)
    start = draws.known_log_weight
    made = then.carried(draws, np.zeros(len(draws)) if start is None else start, other, at)
    new = _of_the_law(draws, averages, made.occ, made.energy, given, at)
    new = replace(
        new, drawn=None, observed={}, method=f"{draws.method}, {made.label}", info={**draws.info, **made.told}
    )
    if not draws.has_likelihood:
        return _weighted(new, draws, averages, made.log_w)
    log_w = draws.log_weight + made.log_w
    return replace(new, log_prob=-new.field_energy / new.kT - log_w, drawn=None)


FEW = 10.0  # effective samples below which a law is not known by these samples
FIT = "fit an expansion to these energies (relabel and refit), and draw by it or anneal to it, or go there in smaller steps"
ANNEAL = "anneal to it, ens.reweighted(expansion, then=alloygen.Anneal()), reweight in smaller steps, or sample the new law itself"


def tell(new: Draws, annealed: bool) -> None:
    """Warn :class:`~alloygen.errors.LowSampleSize` of uneven weights under a new law, once for these samples."""
    log_w = new.known_log_weight
    if log_w is None or not len(new) or weights.heard(log_w):
        return
    remedy = (
        FIT if new.origin is not None and new.hamiltonian is new.origin.hamiltonian else ANNEAL
    )  # of an expansion, or energies alone
    if annealed:
        remedy = "take more effort, alloygen.Anneal(effort=4), or go there in smaller steps"
    if weights.ess(log_w) < min(FEW, 0.5 * len(new)):
        weights.tell(
            log_w,
            f"the {len(new)} samples are worth {weights.ess(log_w):.1f} independent ones of the law that they were reweighted to (expected at "
            f"least {FEW:.0f}): nothing of it is known. To mend it {remedy}",
        )
    else:
        weights.warn_if_uneven(
            log_w, f"the {len(new)} samples under the law that they were reweighted to", f"To mend it {remedy}"
        )


def _moved_free_energy(averages: Averages, change: np.ndarray, kT: float) -> Estimate:
    """Phi of the law exp(change) times this one, at kT, from the Phi of this one."""
    draws, old = averages.draws, averages.free_energy()
    ratio = _log_ratio(averages, change)
    log_z = -old.value * draws.n_sites / draws.kT + ratio.value
    error = np.hypot(old.stderr * draws.n_sites / draws.kT, ratio.stderr)
    return Estimate(-kT * log_z / draws.n_sites, kT * error / draws.n_sites, ratio.note or old.note)


def _log_ratio(averages: Averages, change: np.ndarray) -> Estimate:
    """log of the mean of exp(change) over the law of the samples."""
    top = change.max()
    ratio = averages.mean(np.exp(change - top))
    return Estimate(top + np.log(ratio.value), ratio.stderr / ratio.value, ratio.note)


def difference(draws: Draws, averages: Averages) -> Estimate:
    """Phi - Phi_0, see :meth:`alloygen.results.ensemble.Ensemble.free_energy_difference`."""
    old = draws.origin
    if old is None:
        raise AlloygenError(
            "expected samples that were reweighted, ens.reweighted(...), got others: only the same samples under two laws know a difference"
        )
    if draws.place is not None and draws.place.known_difference:
        return draws.place.difference()
    if not (np.isfinite(old.T) and np.isfinite(draws.T)):
        raise AlloygenError("expected finite temperatures on both sides, got T = infinity, where Phi is infinite")
    if draws.has_likelihood:
        return _paired(draws, old)
    here, there = draws.kT / draws.n_sites, old.kT / old.n_sites
    before = Averages(old)
    log_w = cast(np.ndarray, draws.log_w)
    ratio = _log_ratio(before, log_w if old.log_w is None else log_w - old.log_w)
    if abs(here - there) < 1e-12 * here:
        return Estimate(-here * ratio.value, here * ratio.stderr, ratio.note)
    phi = before.free_energy()  # Phi' - Phi = (T' / T - 1) Phi - kT' / N log of the ratio
    error = np.hypot((here / there - 1.0) * phi.stderr, here * ratio.stderr)
    return Estimate((here / there - 1.0) * phi.value - here * ratio.value, error, ratio.note or phi.note)


def _paired(new: Draws, old: Draws) -> Estimate:
    """The same from the two weights of each sample: what they share drops out of the error."""
    here, there, n = new.kT / new.n_sites, old.kT / old.n_sites, len(new)
    after, before = weights.log_mean(new.log_weight), weights.log_mean(old.log_weight)
    value = there * before.value - here * after.value
    if n == 1 or after.heavy or before.heavy:
        note = after.note or before.note
        return Estimate(value, np.nan, note)
    influence = n * (there * old.weights - here * new.weights)
    apart = abs(here * after.missing - there * before.missing)  # one draw more of the tail moves both
    # a state that no sample shows has the chance 1/n: it moves the two by as much as their weights differ
    ratio = n * new.weights / np.maximum(n * old.weights, 1e-300)
    unseen = min(1.0, float(np.sqrt((old.weights * (ratio - 1.0) ** 2).sum()))) / n
    error = np.sqrt(influence.var(ddof=1) / n + apart**2 + (here * unseen) ** 2)
    return Estimate(value, float(error))


def subset(draws: D, averages: Averages, index: int | slice | list[int] | np.ndarray | torch.Tensor) -> D:
    """The samples of ``index``, see :meth:`alloygen.results.ensemble.Ensemble.subset`."""
    rows = np.arange(len(draws))[as_array(index) if isinstance(index, torch.Tensor) else index].reshape(-1)
    facts = replace(draws.facts, inefficiency=averages.inefficiency) if draws.chains else draws.facts
    log_prob = None if draws.log_prob is None else draws.log_prob[rows]
    log_w = None if draws.log_w is None else draws.log_w[rows]
    return replace(
        draws, occ=draws.occ[rows], energy=draws.energy[rows], log_prob=log_prob, chains=0, facts=facts, observed=_observed(draws, rows),
        log_w=log_w, place=_apart(draws), drawn=None, origin=_origin(draws, rows),
    )  # fmt: skip


def resample(draws: D, averages: Averages, n: int | None, seed: int) -> D:
    """Samples drawn with replacement by weight, see :meth:`alloygen.results.ensemble.Ensemble.resample`."""
    n = len(draws) if n is None else whole_number(n, "n, the number of configurations,", 0)
    require_rows(n, draws.occ.shape[1], f"configurations of {draws.occ.shape[1]} sites")
    rng = np.random.default_rng(seed_from(seed))
    rows = rng.choice(len(draws), size=n, p=draws.weights)
    facts = replace(draws.facts, inefficiency=1.0 + n / averages.own_effective_samples)
    if draws.has_likelihood:
        facts = replace(facts, free_energy=averages.free_energy())
    return replace(
        draws, occ=draws.occ[rows], energy=draws.energy[rows], log_prob=None, facts=facts, chains=0, log_w=None, place=_apart(draws), drawn=None, origin=None,
        info={**draws.info, "resampled_from": len(draws)}, observed=_observed(draws, rows), method=f"{draws.method}, resampled",
    )  # fmt: skip


def _observed(draws: Draws, rows: np.ndarray) -> dict:
    return {k: np.asarray(v)[rows] for k, v in draws.observed.items()}


def _origin(draws: Draws, rows: np.ndarray) -> Draws | None:
    """The same samples under the law that they were reweighted from."""
    return None if draws.origin is None else subset(draws.origin, Averages(draws.origin), rows)


def _apart(draws: Draws) -> Place | None:
    """The place of some of the samples: Phi stays known, averages are their own."""
    return None if draws.place is None else replace(draws.place, shared=False)
