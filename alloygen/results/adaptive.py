"""Neural scans: independent configurations at a grid of conditions that refines itself where the composition jumps.

Two conditions of one temperature whose laws hardly overlap leave the compositions between them to chance. Their distance is
Jeffreys' divergence, which for p ~ exp(-beta [E - mu.N]) is exact in the mean numbers of atoms alone,

    J = KL(p_a || p_b) + KL(p_b || p_a) = beta (mu_b - mu_a).(<N>_b - <N>_a)          (nats),

about the squared distance of two Gaussians in standard deviations. Intervals with J above a limit are halved until none is
left. At a first-order transition they shrink to kT / (N dx) and no further, so a window of a few meV between two transitions
is found without being told. In a plane of chemical potentials the intervals are the edges of a triangulation
(:mod:`alloygen.conditions.plane`), made anew in each round: points gather along the lines where the composition jumps.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from alloygen.arguments import positive, whole_number
from alloygen.arrays import as_array
from alloygen.conditions import plane, relative
from alloygen.conditions.record import Condition
from alloygen.errors import AlloygenError, WorkersLost
from alloygen.estimate.weights import normalized_weights, user_level
from alloygen.hamiltonian.kept import require_kept
from alloygen.models.base import Model, Network
from alloygen.models.blocks import derived_seed
from alloygen.models.canonical import Canonical
from alloygen.models.draw import draw
from alloygen.results.provenance import RunProvenance
from alloygen.results.scan import Scan
from alloygen.runtime.job import Job
from alloygen.runtime.parcel import Parcel, parcel_of
from alloygen.runtime.resume import digest, identity
from alloygen.runtime.tensors import matching, require_range

AHEAD = 64  # conditions that an executor is given before the first one is drawn
MIN_STEP = 1e-3  # of kT: conditions nearer than this are one


def draw_condition(
    model: Model, at: Condition, n: int, seed: int, family: str | None, batch: int | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(occ (n, N) int8, energy (n,), log_prob (n,)) at one condition, from a seed of its own.

    A plain function of picklable arguments, so that any executor can run it; its result depends on nothing else, nor on ``batch``.
    """
    generator = torch.Generator().manual_seed(seed)
    occ, log_prob = draw(model, at, n, generator, family=family, batch=batch)
    rows = as_array(occ, np.int8)
    return rows, model.hamiltonian.energy(rows), as_array(log_prob, np.float64)


def draw_sent(parcel: Parcel, model: Model | None, *rest: Any) -> tuple | None:
    """The same by a worker, with the model of a parcel unless it came with the task; None where neither is there."""
    found = parcel.opened(model)
    return None if found is None else draw_condition(found, *rest)


def condition_seed(seed: int, at: Condition) -> int:
    """A seed that depends on the condition and the run's seed only, not on the order in which conditions are visited."""
    words = np.frombuffer(np.array([float(at.T), *at.mu.tolist()], dtype=np.float64).tobytes(), dtype=np.uint32)
    return derived_seed(seed, *words.tolist())


@dataclass(frozen=True)
class Spacing:
    """How near neighbours in mu must be: J = beta dmu dN of at most ``nats``, with ``max_conditions`` in all, the widest gaps first.

    Examples
    --------
    >>> Spacing(3.0)
    Spacing(nats=3.0, max_conditions=2000)
    """

    nats: float = 6.0
    max_conditions: int = field(default=2000, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "nats", positive(self.nats, "the largest J between neighbours", "nats"))
        object.__setattr__(self, "max_conditions", whole_number(self.max_conditions, "max_conditions"))


def _failed(future: Future) -> bool:
    return future.cancelled() or future.exception() is not None


@dataclass
class NeuralScan:
    """A scan in progress: what has been drawn, and what is to be drawn next.

    Parameters
    ----------
    model : Model; n : configurations a condition; family : order family; seed, batch as in ``alloygen.sample``
    spacing : how near neighbours must be; None for the grid as it is
    job : how it is run; its executor draws conditions side by side, its checkpoint keeps the finished ones
    """

    model: Model
    n: int
    family: str | None = None
    seed: int = 0
    batch: int | None = None
    spacing: Spacing | None = None
    job: Job = field(default_factory=Job)
    done: dict = field(default_factory=dict)  # (T, mu...) -> (occ, energy, log_prob)
    _numbers: dict = field(default_factory=dict, init=False, repr=False)  # (T, mu...) -> mean numbers of atoms

    def run(self, conditions: Condition) -> Scan:
        """The scan of C conditions, and of those that refining adds."""
        self.family = self.family or self.model.trained.orders.family
        keys = list(dict.fromkeys(map(_key, conditions)))
        most = (self.spacing or Spacing()).max_conditions
        if len(keys) > most:
            raise AlloygenError(
                f"expected at most max_conditions = {most} conditions, got a grid of {len(keys)}; raise it, adaptive=Spacing(max_conditions=...)"
            )
        with self.job.loop(self, "scan", len(keys), "condition") as loop:
            wanted = keys
            while wanted:
                new = [k for k in wanted if k not in self.done]
                try:
                    for key, result in self._results(new):
                        self.done[key] = result
                        loop.tick(len(self.done), max(len(keys), len(self.done)))
                except Exception:  # of a condition or its worker; those that are done are whole
                    loop.save()
                    raise
                if self.spacing is None:
                    break
                wanted = self._gaps(keys, self.spacing.nats)[: most - len(keys)]
                keys += wanted
        lattice = self.model.hamiltonian.lattice
        rising = lambda k: (k[0], *relative(np.array(k[1:]), lattice), *k[1:])  # noqa: E731 as conditions.axes
        return self._scan(sorted(keys, key=rising))

    # ------------------------------------------------------------------ drawing
    def _results(self, keys: list) -> Iterator[tuple[tuple, tuple]]:
        lost = keys
        if self.job.executor is not None:
            yield from self._elsewhere(keys, self.job.executor, lost := [])
        if self.job.executor is not None and lost:
            self.job = replace(self.job, executor=None)
            warnings.warn(
                f"the executor has broken (a worker was killed, or ran out of memory): the {len(lost)} conditions that it has not drawn are "
                "drawn in this process, with the same result",
                WorkersLost,
                stacklevel=user_level(),
            )
        for key in lost:
            yield key, draw_condition(self.model, *self._task(key))

    def _task(self, key: tuple) -> tuple:
        """What a condition needs beside the model."""
        at = self._at(key)
        return at, self.n, condition_seed(self.seed, at), self.family, self.batch

    def _elsewhere(self, keys: list, executor: Executor, lost: list) -> Iterator[tuple[tuple, tuple]]:
        """What the executor draws; the keys that it cannot any more go into ``lost``. A worker that does not see the parcel is sent the model itself."""
        left: dict[Future, tuple] = {}
        first, rest = keys[:AHEAD], keys[AHEAD:]

        def send(key: tuple, model: Model | None = None) -> None:
            try:
                left[executor.submit(draw_sent, parcel, model, *self._task(key))] = key
            except BrokenExecutor:
                lost.append(key)

        with parcel_of(self.model) as parcel:
            try:
                for key in first:
                    send(key)
                while left:
                    for future in wait(left, return_when=FIRST_COMPLETED).done:
                        key = left.pop(future)
                        try:
                            result = future.result()
                        except BrokenExecutor:
                            lost.append(key)
                        except Exception:  # raised again when what is there is safe
                            done = ((k, f.result()) for f, k in left.items() if f.done() and not _failed(f))
                            yield from ((k, r) for k, r in done if r is not None)
                            raise
                        else:
                            if result is None:
                                send(key, self.model)
                                continue
                            yield key, result
                            while rest:  # whoever drew it has the model now
                                send(rest.pop(0))
            finally:
                lost += rest
                for future in left:
                    future.cancel()

    # ------------------------------------------------------------------ refining
    def _gaps(self, keys: list, widest: float) -> list:
        """Midpoints of the intervals that are too wide, the widest first, each once."""
        h = self.model.hamiltonian
        found: dict[tuple, float] = {}
        for T in sorted({k[0] for k in keys}):
            row = [k for k in keys if k[0] == T]
            mu, beta = np.array([k[1:] for k in row]), 1.0 / (h.kB * T)
            pairs = plane.edges(relative(mu, h.lattice))
            numbers = np.array([self._mean_counts(k) for k in row])
            for j, (a, b) in zip(plane.divergence(beta, mu, numbers, pairs), pairs, strict=True):
                if j > widest and beta * np.abs(mu[b] - mu[a]).max() > MIN_STEP:
                    middle = _key(h.condition(T, 0.5 * (mu[a] + mu[b])))
                    found[middle] = max(j, found.get(middle, 0.0))
        return sorted(found, key=lambda k: (-found[k], k))

    def _mean_counts(self, key) -> np.ndarray:
        if key in self._numbers:
            return self._numbers[key]
        h = self.model.hamiltonian
        occ, energy, log_prob = self.done[key]
        counts = h.counts(occ)
        self._numbers[key] = normalized_weights(-self._at(key).reduced(energy, counts) - log_prob) @ counts
        return self._numbers[key]

    def _at(self, key: tuple) -> Condition:
        return self.model.hamiltonian.condition(key[0], key[1:])

    # ------------------------------------------------------------------ results and checkpoints
    def _scan(self, keys: list) -> Scan:
        occ, energy, log_prob = (np.stack(x) for x in zip(*(self.done[k] for k in keys), strict=True))
        where = np.array(keys)
        info = {
            "model": self.model.name,
            "fingerprint": self.model.hamiltonian.fingerprint,
            "order": self.family,
            "seed": self.seed,
        }
        return Scan(self.model.hamiltonian, where[:, 0], where[:, 1:], occ, energy, 0, self.model.method, log_prob,
                    facts=RunProvenance(seed=self.seed, constrained=isinstance(self.model, Canonical)), info=info)  # fmt: skip

    def identity(self) -> dict:
        model = self.model
        weights = {k: digest(v) for k, v in model.state_dict().items()}
        options = model.config() if isinstance(model, Network) else {}
        law = {"kind": model.kind, "options": options, "weights": digest(np.array(sorted(weights.items())))}
        return identity("scan", model.hamiltonian, model=law, n=self.n, order=self.family, seed=self.seed)

    def state(self) -> tuple[dict, dict]:
        keys = sorted(self.done)
        if not keys:
            return {}, {}
        occ, energy, log_prob = (np.stack(x) for x in zip(*(self.done[k] for k in keys), strict=True))
        return {"conditions": np.array(keys), "occ": occ, "energy": energy, "log_prob": log_prob}, {}

    def restore(self, arrays: dict[str, np.ndarray], progress: dict) -> None:
        if not arrays:
            return
        h = self.model.hamiltonian
        one = np.zeros((1, self.n))
        like: dict[str, np.ndarray] = {"conditions": np.zeros((1, 1 + len(h.elements))), "occ": np.zeros((1, self.n, h.n_sites), dtype=np.int8),
                "energy": one, "log_prob": one}  # fmt: skip
        found = matching(arrays, like, rows="conditions")
        require_kept(h, found["occ"], found["energy"])
        require_range(found, log_prob=(-1e300, 1e-6 * h.n_sites), conditions=(-1e300, 1e300))
        for key, *rest in zip(*found.values(), strict=True):
            self.done[tuple(key.tolist())] = tuple(rest)


def _key(at: Condition) -> tuple:
    """A single condition as numbers (T, mu...) that name it."""
    return (float(at.T), *(round(m, 9) for m in at.mu.tolist()))
