"""From walks that have ended to a density of states: windows joined, walks pooled, and what there is to say."""

from __future__ import annotations

import math

import numpy as np

from alloygen.estimate.energy_walks import (
    UNSETTLED,
    average,
    blocks_used,
    from_transitions,
    from_visits,
    grouped,
    join_windows,
    normal,
    normal_influence,
)
from alloygen.montecarlo.wang_landau.bins import Plan
from alloygen.montecarlo.wang_landau.kernels import LATE, SETTLED, Walks
from alloygen.results.density import DensityOfStates, EachWalk, Ended, EnergyBins


def density(plan: Plan, w: Walks, walkers: int, start: np.ndarray, whole: bool, seed: int) -> DensityOfStates:
    """The density of states of walks (windows * walkers), of which ``start`` (N,) is the first one's; ``whole``: of all energies."""
    rules, visits = plan.rules, w.visits + w.seen
    alone = np.where(visits > 0, w.log_g, np.nan)
    if rules.transitions:
        alone = np.array([from_transitions(*x)[0] for x in zip(alone, w.leads, strict=True)])
    alone = alone.reshape(-1, walkers, plan.n_bins)
    joined = [join_windows(alone[:, k], w.low[::walkers], w.high[::walkers]) for k in range(walkers)]
    total = visits.sum(0)
    bins = np.flatnonzero(total)
    known = plan.move.log_states(plan.hamiltonian.lattice, rules.sites, start[None]) if whole else None
    total_states = math.nan if known is None else known
    mean, curves = average(np.array([c[0][bins] for c in joined]), total_states)
    mean, influence = _pooled(plan, w, walkers, bins, mean, total_states)
    away = w.first.sum(0)[bins] / total[bins]
    variance = np.maximum(w.second.sum(0)[bins] / total[bins] - away**2, 0.0)
    note = _note(plan, w, influence.shape[1] > 0, np.isfinite(curves), whole)
    converged, log_f = bool((w.log_f <= rules.final).all()), float(w.log_f.max())
    return DensityOfStates(
        problem=plan.problem, mu=plan.mu, move=plan.move, energy=plan.centre(bins) + away, variance=variance, log_g=mean,
        bins=EnergyBins(width=rules.width, origin=rules.origin, levels=rules.levels, index=bins), visits=total[bins],
        log_states=total_states, occ=w.occ[0].copy(), seed=seed,
        walks=EachWalk(log_g=curves, influence=influence, joints=np.array([c[1] for c in joined])),
        ended=Ended(attempts=int(w.attempts.sum()), log_f=log_f, converged=converged, note=note),
    )  # fmt: skip


def _pooled(
    plan: Plan, w: Walks, walkers: int, bins: np.ndarray, alone: np.ndarray, total: float
) -> tuple[np.ndarray, np.ndarray]:
    """(log g (bins,), influence (walkers, blocks, bins)) of all blocks of all walks, or log g of the walks and no blocks."""
    edges = blocks_used(
        w.blocks.length, w.blocks.filled, w.blocks.passed, w.attempts, np.where(w.inverse_t, w.log_f, 0.0)
    )
    if not edges:
        return alone, np.zeros((walkers, 0, len(bins)))
    found = [_window(plan, w, list(range(r, r + walkers)), edges) for r in range(0, len(w.occ), walkers)]
    log_g, _, influence = join_windows(
        np.array([f[0] for f in found]), w.low[::walkers], w.high[::walkers], np.array([f[1] for f in found])
    )
    log_g, influence = log_g[bins], influence[..., bins]
    new = np.isnan(log_g)  # met before the walks settled, and not again
    log_g[new] = alone[new] + np.mean((log_g - alone)[~new])
    return normal(log_g, total), normal_influence(log_g, influence.reshape(walkers, -1, len(bins)))


def _window(plan: Plan, w: Walks, rows: list[int], edges: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """log g (n_bins,) of the walks of one window, and the influence (walkers * blocks, n_bins)."""
    counts = np.concatenate([grouped(w.blocks.counts[r], edges[r]) for r in rows])
    if plan.rules.transitions:
        met = np.where((w.visits + w.seen)[rows].sum(0) > 0, w.log_g[rows].max(0), np.nan)
        leads = np.concatenate([grouped(w.blocks.leads[r], edges[r]) for r in rows])
        return from_transitions(met, w.leads[rows].sum(0), leads)
    size = np.concatenate([np.diff(edges[r]) for r in rows])
    bias = np.concatenate([grouped(w.blocks.biases[r], edges[r]) for r in rows]) / size[:, None]
    return from_visits(counts, bias)


def _note(plan: Plan, w: Walks, known: bool, met: np.ndarray, whole: bool) -> str:
    out = []
    if plan.rules.transitions and not w.leads.any(axis=(1, 2)).all():
        out.append(
            f"no transitions counted where log f did not come below {SETTLED:g}: log g is that of the plain walk"
        )
    if (w.log_f > plan.rules.final).any():
        out.append(f"stopped at max_attempts with log f = {w.log_f.max():.2g}, not {plan.rules.final:g}")
    if not known:
        out.append(UNSETTLED)
    if not met.all():
        out.append(f"{int((~met.all(0)).sum())} bins were not met by every walker")
    if w.late.any():
        out.append(f"{int(w.late.sum())} bins were first met at log f < {LATE:g}: their g may be too large")
    if not whole:
        out.append("confined to a range of energies: g is known up to a factor")
    return "; ".join(out)
