"""Other weights and other choices of the samples of one condition: reweighted, parts, drawn again by weight."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch

from alloygen.arrays import as_array
from alloygen.conditions.record import Condition
from alloygen.errors import AlloygenError
from alloygen.estimate.result import Estimate
from alloygen.results.averages import Averages
from alloygen.results.draws import Draws
from alloygen.results.joined import Place
from alloygen.types import ArrayLike

D = TypeVar("D", bound=Draws)


def reweighted(draws: D, averages: Averages, energy: ArrayLike | None, at: Condition) -> D:
    """The samples with the weights of another law, see :meth:`alloygen.results.ensemble.Ensemble.reweighted`."""
    energy = draws.energy if energy is None else as_array(energy, np.float64)
    if energy.shape != draws.energy.shape or not np.isfinite(energy).all():
        raise AlloygenError(
            f"expected finite energies of shape {tuple(draws.energy.shape)}, got shape {tuple(energy.shape)}"
        )
    T, mu = float(at.T), as_array(at.mu)
    facts = replace(draws.facts, free_energy=None, log_states=None, inefficiency=averages.inefficiency)
    new = replace(draws, energy=energy, T=T, mu=mu, facts=facts, chains=0, log_w=None, place=None, drawn=None)
    if draws.has_likelihood:
        return new
    change = (draws.field_energy / draws.kT if np.isfinite(draws.T) else 0.0) - new.field_energy / new.kT
    log_w = change if draws.log_w is None else draws.log_w + change
    if np.isfinite(draws.T) and draws.absolute:
        facts = replace(facts, free_energy=_moved_free_energy(averages, change, new.kT))
    return replace(new, log_w=log_w, facts=facts, drawn=None)


def _moved_free_energy(averages: Averages, change: np.ndarray, kT: float) -> Estimate:
    """Phi of the law exp(change) times this one, at kT, from the Phi of this one."""
    draws, old, top = averages.draws, averages.free_energy(), change.max()
    ratio = averages.mean(np.exp(change - top))
    log_z = -old.value * draws.n_sites / draws.kT + top + np.log(ratio.value)
    error = np.hypot(old.stderr * draws.n_sites / draws.kT, ratio.stderr / ratio.value)
    return Estimate(-kT * log_z / draws.n_sites, kT * error / draws.n_sites, ratio.note or old.note)


def subset(draws: D, averages: Averages, index: int | slice | list[int] | np.ndarray | torch.Tensor) -> D:
    """The samples of ``index``, see :meth:`alloygen.results.ensemble.Ensemble.subset`."""
    rows = np.arange(len(draws))[as_array(index) if isinstance(index, torch.Tensor) else index].reshape(-1)
    facts = replace(draws.facts, inefficiency=averages.inefficiency) if draws.chains else draws.facts
    log_prob = None if draws.log_prob is None else draws.log_prob[rows]
    log_w = None if draws.log_w is None else draws.log_w[rows]
    return replace(
        draws, occ=draws.occ[rows], energy=draws.energy[rows], log_prob=log_prob, chains=0, facts=facts, observed=_observed(draws, rows),
        log_w=log_w, place=_apart(draws), drawn=None,
    )  # fmt: skip


def resample(draws: D, averages: Averages, n: int | None, seed: int) -> D:
    """Samples drawn with replacement by weight, see :meth:`alloygen.results.ensemble.Ensemble.resample`."""
    n = len(draws) if n is None else int(n)
    rng = np.random.default_rng(seed)
    rows = rng.choice(len(draws), size=n, p=draws.weights)
    facts = replace(draws.facts, inefficiency=1.0 + n / averages.own_effective_samples)
    if draws.has_likelihood:
        facts = replace(facts, free_energy=averages.free_energy())
    return replace(
        draws, occ=draws.occ[rows], energy=draws.energy[rows], log_prob=None, facts=facts, chains=0, log_w=None, place=_apart(draws), drawn=None,
        info={**draws.info, "resampled_from": len(draws)}, observed=_observed(draws, rows), method=f"{draws.method}, resampled",
    )  # fmt: skip


def _observed(draws: Draws, rows: np.ndarray) -> dict:
    return {k: np.asarray(v)[rows] for k, v in draws.observed.items()}


def _apart(draws: Draws) -> Place | None:
    """The place of some of the samples: Phi stays known, averages are their own."""
    return None if draws.place is None else replace(draws.place, shared=False)
