"""Whether the chains of a scan have met what counts: by themselves, and against the ladder that their conditions make."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np

from alloygen.conditions.record import semigrand
from alloygen.errors import LowSampleSize
from alloygen.estimate.chains import Convergence, convergence
from alloygen.estimate.ladder import Ladder
from alloygen.montecarlo.single_moves import Flip
from alloygen.results.averages import Averages
from alloygen.results.joined import FROZEN
from alloygen.results.runs import Runs

MISS = 3.0  # standard errors, as if it held all that the ladder knows, by which a series may miss the ladder
RENEWALS = 3  # replicas from above that a condition needs where flips are rare
MAX_RHAT = 1.05  # of the halves of a series in a ladder
STUCK = 0.005  # share of accepted flips below which chains without exchange are not trusted


def at(runs: Runs, c: int, averages: Averages) -> Convergence:
    """Convergence at a condition, see :attr:`alloygen.results.scan.Scan.convergence`; ``averages`` are those there."""
    counts = runs.counts[c]
    moving = counts[:, np.ptp(counts, 0) > 0][:, 1:]  # the first follows from the others
    series = [semigrand(runs.energy[c], counts, runs.mu[c]), *moving.T]
    found = [convergence(s.reshape(max(runs.chains, 1), -1), min(100.0, 0.5 * runs.n)) for s in series]
    worst = min(found, key=lambda f: (f.converged, f.effective_samples))
    if isinstance(known := averages.ladder, Ladder):
        worst = _ladder_convergence(runs, known, min(found, key=lambda f: -f.rhat))
    faults = _ladder_faults(runs, c, averages) if runs.exchanged else frozen(runs, c)
    note = "; ".join([*faults, *([worst.note] if worst.note else [])])
    return replace(worst, converged=worst.converged and not faults, note=note)


def frozen(runs: Runs, c: int) -> list[str]:
    """What chains without exchange cannot know where they hardly move: each stays in the phase where it began."""
    accepted = 1.0 if runs.facts.acceptance is None else runs.facts.acceptance[c]
    if accepted >= STUCK or not isinstance(runs.facts.move, Flip):
        return []
    return [
        f"{100 * accepted:.2g} % of the flips are accepted: a chain stays where it began, and its bar knows no other phase. Use "
        'replica exchange: alloygen.mc(..., method="replica exchange")'
    ]


def _ladder_convergence(runs: Runs, known: Ladder, worst: Convergence) -> Convergence:
    """Whether the ladder holds enough: rare phases come and go in a series that is one of many, which is no drift of the whole."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LowSampleSize)
        worth = known.effective_samples
    enough, notes = min(100.0, 0.5 * runs.n), []
    if not worst.rhat <= MAX_RHAT:
        notes.append(
            f"the chains or their halves disagree (R-hat {worst.rhat:.2g} above {MAX_RHAT:g}): the run has not balanced all states; "
            "run longer, or put more temperatures between"
        )
    if worth < enough:
        notes.append(
            f"{worth:.1f} independent samples in the ladder, fewer than {enough:g}; run {enough / worth:.1f} times longer"
        )
    return replace(worst, effective_samples=worth, converged=not notes, note="; ".join(notes))


def _ladder_faults(runs: Runs, c: int, averages: Averages) -> list[str]:
    """What the other conditions say against the series at this one."""
    known, facts = averages.ladder, runs.facts
    if not isinstance(known, Ladder):
        return ["the samples of the conditions have too little in common, or no replica passed between a hot and a cold part: averages "
                "rest on this condition's alone. Add conditions, or draw more"]  # fmt: skip
    faults = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LowSampleSize)
        miss, here, there = max(averages.misses(known, whole=True), key=lambda m: m[0])
    if miss > MISS:
        faults.append(
            f"the chain at this condition gives {here}, the ladder {there} (per site): it has not met all states that count, or one "
            "of them once. Averages are the ladder's; run longer, or take copies="
        )
    if facts.renewals is not None and facts.renewals[c] < RENEWALS and facts.columns["acceptance"][c] < FROZEN:
        faults.append(
            f"{int(facts.renewals[c])} replicas came down from the hottest condition, where at least {RENEWALS} are needed "
            "to know which states count; run longer, or put more temperatures between"
        )
    return faults
