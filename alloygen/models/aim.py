"""Where a model is asked at for given numbers of atoms: chemical potentials whose mean composition is the one asked for, and how numbers follow.

A few draws say both. The mean sums m(mu) of the constraints rise with the chemical potentials that go with them,

    dm / dlambda = Cov / kT,     mu = mu_0 + sum_d lambda_d v_d,

so that steps of Newton, bounded and halved where they turn round (Riedmiller and Braun's rule for the sizes of steps, 1993), lead there. Then the sums of the sites that are left
after each step are regressed on those of the decided ones, which gives a Gaussian law of what is still to come.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from alloygen.arrays import as_array, as_tensor
from alloygen.conditions import relative
from alloygen.conditions.record import Condition
from alloygen.counts import Counts
from alloygen.models.base import AnyOrder
from alloygen.models.blocks import derived_seed
from alloygen.models.draw import trained_orders
from alloygen.orders import known_first

STEPS, SOME, MANY = 14, 64, 256  # steps towards the composition, draws at each, draws that the Gaussian is made of
NEAR = 0.2  # atoms that the mean may be off
FLOOR = 0.05  # least variance of a sum that is to come, of whole numbers
PULL = 0.1  # atoms squared, against slopes made of nothing


@dataclass(frozen=True, kw_only=True, eq=False)
class Aim:
    """shift (n_elements,) of the chemical potentials that the model is asked at; of n free sites left, the Gaussian

    log psi(r) = -z P z / 2,     z = slope r + offset,

    of what they must add up to, r (C,): slope (n + 1, C, C), offset (n + 1, C), precision (n + 1, C, C). mean (C,) of the draws' sums less the target.
    """

    shift: np.ndarray
    slope: np.ndarray
    offset: np.ndarray
    precision: np.ndarray
    mean: np.ndarray

    def log_psi(self, free: np.ndarray, rest: np.ndarray) -> np.ndarray:
        """(B, S) of rests (B, S, C) with ``free`` (B,) sites left."""
        z = np.einsum("bij,bsj->bsi", self.slope[free], rest) + self.offset[free][:, None]
        return -0.5 * np.einsum("bsi,bij,bsj->bs", z, self.precision[free], z)


@dataclass(frozen=True, eq=False)
class _Pilot:
    """path (n, F, C): what each free site adds in sequence; sums (n, C) of all."""

    path: np.ndarray

    @property
    def sums(self) -> np.ndarray:
        return self.path.sum(1)


def aimed(law: AnyOrder, counts: Counts, condition: Condition, family: str | None = None) -> Aim:
    """The aim of a law at one condition, T and mu of the target; the same for the same arguments."""
    directions, of = _directions(counts)
    kT, largest = float(condition.kT), _largest(law, directions)
    words = np.append(float(condition.T), as_array(condition.mu)).view(np.uint64).tolist()
    shift, size, last, best, least = 0.0 * largest, largest / 3, 0.0 * largest, 0.0 * largest, np.inf
    for k in range(STEPS if len(directions) else 0):
        at = _moved(condition, shift @ directions)
        sums = _drawn(law, counts, at, SOME, derived_seed(0, k, *words), family).sums @ of.T
        off = of @ counts.need - sums.mean(0)
        cov = np.atleast_2d(np.cov(sums.T)) + 0.25 * np.eye(len(directions))
        if (miss := float(off @ np.linalg.solve(cov, off))) < least:
            best, least = shift, miss
        if (np.abs(off) < np.maximum(NEAR, 0.15 * np.sqrt(cov.diagonal()))).all():
            break
        size, last = np.where(last * off < 0, size / 2, size), off
        shift = np.clip(shift + np.clip(kT * np.linalg.solve(cov, off), -size, size), -largest, largest)
    moved = best @ directions if len(directions) else np.zeros(len(counts.lattice.elements))
    pilot = _drawn(law, counts, _moved(condition, moved), MANY, derived_seed(1, *words), family)
    return _gaussian(pilot, counts, moved)


def _moved(condition: Condition, shift: np.ndarray) -> Condition:
    return Condition(condition.T, condition.mu + as_tensor(shift), condition.kB)


def _directions(counts: Counts) -> tuple[np.ndarray, np.ndarray]:
    """(v (D, n_elements) of chemical potentials, (D, C) the sums that go with each)."""
    lattice = counts.lattice
    index, n = lattice.element_index, len(lattice.elements)
    vectors = []
    for w in counts.constraint.weights:
        free = (index >= 0) & np.array([len(names) > 1 for names in lattice.species])[:, None]
        held = np.bincount(index[free], minlength=n)
        vectors.append(np.bincount(index[free], w[free].astype(float), minlength=n) / np.maximum(held, 1))
    found = np.array(vectors).reshape(-1, n)
    own = np.abs(relative(found, lattice)).max(1, initial=0.0) > 0
    unique, row = np.unique(found[own], axis=0, return_inverse=True)
    of = np.zeros((len(unique), len(found)))
    of[row.ravel(), np.flatnonzero(own)] = 1.0
    return unique, of


def _largest(law: AnyOrder, directions: np.ndarray) -> np.ndarray:
    """(D,) how far each may go: what keeps the largest difference of mu within the trained range."""
    span = max((max(abs(low), abs(high)) for low, high in law.ranges["mu"]), default=1.0)
    return span / np.abs(relative(directions, law.lattice)).max(1, initial=0.0) if len(directions) else np.zeros(0)


def _drawn(law: AnyOrder, counts: Counts, condition: Condition, n: int, seed: int, family: str | None) -> _Pilot:
    generator = torch.Generator().manual_seed(seed)
    order = trained_orders(law, n, generator, family)
    held = counts.known >= 0
    known = as_tensor(counts.known).expand(n, -1) if held.any() else None
    if known is not None:
        order = known_first(order, known >= 0)
    occ, _ = law.sample(condition.expand(n), order, generator, known)
    sequence = as_array(law.sequence(order, known))[:, int(held.sum()) :]
    rows = np.arange(n)[:, None]
    return _Pilot(counts.weights[sequence, as_array(occ)[rows, sequence]])


def _gaussian(pilot: _Pilot, counts: Counts, shift: np.ndarray) -> Aim:
    n, f, c = pilot.path.shape
    total, decided = pilot.sums, np.concatenate([np.zeros((n, 1, c)), pilot.path.cumsum(1)], axis=1)
    slope, offset, precision = np.zeros((f + 1, c, c)), np.zeros((f + 1, c)), np.zeros((f + 1, c, c))
    for t in range(f + 1):
        x, rest = decided[:, t], total - decided[:, t]
        mx, mr = x.mean(0), rest.mean(0)
        dx, dr = x - mx, rest - mr
        by = np.linalg.solve(dx.T @ dx / n + PULL * np.eye(c), dx.T @ dr / n)  # rest - mr ~ (x - mx) @ by
        noise = dr - dx @ by
        # z = r - mr - by^T (need - r - mx), a whole number less its mean
        slope[f - t] = np.eye(c) + by.T
        offset[f - t] = -mr - by.T @ (counts.need - mx)
        precision[f - t] = np.linalg.inv(noise.T @ noise / n + FLOOR * np.eye(c))
    return Aim(shift=shift, slope=slope, offset=offset, precision=precision, mean=total.mean(0) - counts.need)
