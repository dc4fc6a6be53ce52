"""A law of one's own alloy by some minutes of training: ranges, samples and recipe found by themselves, kept where ``sample`` finds it.

``train_alloy`` begins with the network for every alloy of the lattice where there is one, as ``polish`` does, and from nothing otherwise: any species and
sublattices. Conditions are a grid of T around the temperature at which it orders, which a short run finds, with chemical potentials from one pure
phase to the other, for each element after the first.
"""

from __future__ import annotations

import math
import re
import shutil
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import torch
from scipy.stats import qmc

from alloygen.arguments import positive, seed_from
from alloygen.arrays import as_tensor
from alloygen.conditions import exchangeable, references
from alloygen.conditions.given import require_among
from alloygen.conditions.grids import evenly
from alloygen.data import ALLOY, checkpoints, own_folder
from alloygen.edge.problem import AtomsLike, HamiltonianLike, Problem
from alloygen.errors import AlloygenError, CheckpointError, LatticeMismatch, NotConverged
from alloygen.estimate.weights import user_level
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.hamiltonian.expansion import ClusterExpansion
from alloygen.hamiltonian.parents import canonical
from alloygen.hamiltonian.scale import Scale, between, scale
from alloygen.hamiltonian.source import expansion_from
from alloygen.models.base import AnyCell
from alloygen.models.family import FamilyModel, ZeroShot
from alloygen.models.local import LocalModel
from alloygen.models.store import load_model, read_header
from alloygen.montecarlo.sampling import replica_exchange
from alloygen.registry import family_of
from alloygen.results.scan import Scan
from alloygen.runtime.job import Job
from alloygen.training.evaluate import evaluate, keep_measured
from alloygen.training.numbers import is_supercell
from alloygen.training.reference import Reference
from alloygen.types import PathLike

TEMPERATURES = (0.6, 5.0)  # in multiples of the temperature at which the alloy orders
BEYOND = 2.0  # in multiples of the scale, to which temperatures reach at least
PILOT = (0.12, 1.5, 14)  # temperatures of the pilot in multiples of the scale, and how many
ORDERS = 0.2  # kB a site: heat capacities that stay below have no peak
MARGIN = 8.0  # kT of the scale, of mu beyond the phases: enough for nearly pure alloys at the highest T
LINE = (14, 31)  # temperatures, and values of one chemical potential
# of several points of a Sobol sequence: the few values of a product grid are learned by heart, and NESS between them is low
SCATTERED = (10, 512)
LOOKS = {2: 15, 3: 7}  # values along each of so many chemical potentials where short runs look
LOOK: dict[str, Any] = {"n": 12, "sweeps": 4, "burn": 60}  # short runs that tell where the composition changes
SAMPLES = 30_000  # in all, for each minute of training: fewer are learned by heart
LENGTHS = (2.0, 20.0)  # minutes of training that samples are counted for
SITES = (64, 16)  # of the supercells, at most
PATIENCE = 5.0  # minutes, below which a network is polished: two of these take CuAu to NESS .80, ten from nothing an alloy to .97; where they cross was not measured
OBJECTIVE = {"kind": "patches", "per_kind": 1, "hard": 0.6, "known": 0.15, "foreign": 0.3}
DRAWS = 4_000  # in all, for each look at which conditions are hard
TRAINING = {"steps": 10**7, "batch": 256, "precision": "bf16", "weight_decay": 1e-4, "clip": 5.0, "ema": 0.998}
POLISH = TRAINING | {"lr": 7e-4, "warmup": 50}
FRESH = TRAINING | {"lr": 1.5e-3, "warmup": 200}
# temperatures and chemical potentials, between those of the training, that a law is measured at in the end; draws and samples at each
MEASURED, MEASURES = (5, 16), 60
LOCAL = {"kind": "local", "width": 128, "window": 140, "levels": 2, "frequencies": 6}

Law = TypeVar("Law", bound=AnyCell)
Range = tuple[float, float]
Cell = Sequence[int] | Sequence[Sequence[int]] | np.ndarray


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a law is kept, and where its run lives until then."""

    name: str
    kept: Path
    run: Path

    @classmethod
    def of(cls, expansion: ClusterExpansion, name: str | None, folder: PathLike | None) -> Place:
        """By a name of its own: a file of another alloy, or of a model that ships, is not taken."""
        where = Path(folder) if folder is not None else own_folder()
        name = name or re.sub(r"[^\w.+-]+", "_", expansion.name).strip("_.+-") or "alloy"
        if _is_taken(name, where / f"{name}.safetensors", expansion):
            name = f"{name}_{expansion.fingerprint[:6]}"
        run = where / "runs" / f"{name}_{expansion.fingerprint}"
        run.mkdir(parents=True, exist_ok=True)
        return cls(name=name, kept=where / f"{name}.safetensors", run=run)

    def keep(self, made: Path) -> None:
        made.replace(self.kept)  # whole or not at all

    def done(self, alloy: ClusterExpansion) -> None:
        """The alloy beside its law, by whose elements both are found from now on (:func:`alloygen.data.own_alloys`); the run is gone."""
        alloy.write(self.kept.with_name(self.name + ALLOY))
        shutil.rmtree(self.run)

    def words(self, model: AnyCell) -> str:
        """What there is now, in a line for those who watch the bar."""
        h, ranges, figures = model.hamiltonian, model.ranges, model.metadata.get("figures", {})
        spans = [f"T {ranges['T'][0]:.4g} to {ranges['T'][1]:.4g}{' K' * (h.unit == 'eV')}"]
        spans += [
            f"mu_{e} {low:.3g} to {high:.3g} {h.unit}"
            for e, (low, high) in zip(h.elements[1:], ranges["mu"], strict=True)
        ]
        ness = (
            f"NESS {figures['ness']:.2f} on average, {figures['ness_min']:.2f} at least; " if "ness" in figures else ""
        )
        found = self.kept.parent == own_folder()
        use = f"hamiltonian={self.name!r}" if found else f"hamiltonian=alloy, sampler={str(self.kept)!r}"
        return f"{self.name}: {ness}{', '.join(spans)}. {'Kept and found' if found else 'Kept'}: alloygen.sample(atoms, T, mu, {use})"


def train_alloy(
    alloy: Problem | Hamiltonian | HamiltonianLike,
    *,
    minutes: float = 10.0,
    cells: Sequence[Cell] | None = None,
    T: Range | None = None,
    mu: Mapping[str, Range] | Range | None = None,
    name: str | None = None,
    folder: PathLike | None = None,
    seed: int | None = 0,
    workers: int = 0,
    progress: bool = True,
) -> AnyCell:
    """A law of an alloy on every supercell, from its expansion alone; see :func:`alloygen.train`, whose ``alloy`` this is."""
    given = alloy.hamiltonian if isinstance(alloy, Problem) else alloy
    expansion = given.expansion if isinstance(given, Hamiltonian) else expansion_from(given)
    expansion = cast(ClusterExpansion, expansion)
    own = [given.lattice.matrix.tolist()] if isinstance(given, Hamiltonian) else []
    sizes = _cells(cells, own or [repeats_for(expansion, n) for n in SITES])
    h, seed, minutes = expansion.on(sizes[0]), seed_from(seed), positive(minutes, "minutes")
    if minutes < PATIENCE and family_of(h) is not None:
        return polish(
            h, mu, minutes=minutes, T=T, name=name, folder=folder, seed=seed, workers=workers, progress=progress
        )
    data, place = _data(h, T, mu, seed, minutes), Place.of(expansion, name, folder)
    training = FRESH | {"minutes": minutes, "seed": seed}
    config = _config(place, expansion, sizes, data, 2000, LOCAL, training, workers)
    made = _run(config, place, progress)
    _measure(cast(AnyCell, load_model(made)), made, _between(h, data, seed), seed)
    place.keep(made)
    place.done(expansion)
    return _shown(place, cast(LocalModel, load_model(place.kept)), progress)


def polish(
    atoms: AtomsLike,
    mu: Mapping[str, Range] | Range | None = None,
    *,
    minutes: float = 2.0,
    hamiltonian: HamiltonianLike | None = None,
    T: Range | None = None,
    name: str | None = None,
    folder: PathLike | None = None,
    seed: int | None = 0,
    workers: int = 0,
    progress: bool = True,
) -> ZeroShot:
    """Train the network for every alloy of a lattice on one of them, and keep it: from then on ``sample`` takes it for this alloy by itself.

    Maximum likelihood on a fresh replica-exchange run on the supercell of ``atoms``, over the phases and the temperatures of the alloy. A second
    call goes on from what the first one made. The likelihoods of Monte Carlo samples before and after are compared, and the better law is kept.

    Parameters
    ----------
    atoms, hamiltonian : the supercell and the alloy, as :func:`alloygen.sample` takes them; any binary expansion of fcc, bcc, hcp, sc or square
    mu : {element: (low, high)} or (low, high) of the last element less the first, in the unit of the energy; None: as far as its phases go
    minutes : of training, the Monte Carlo run before it not counted
    T : (low, high); None: 0.6 to 5 times the temperature at which the alloy orders, by a short run
    name : of the model; None: that of the expansion
    folder : where it is kept; None: the user's models, ``$ALLOYGEN_MODELS`` or ``~/.alloygen/models``
    seed : of the samples and of the training
    workers : see :func:`alloygen.train`

    Returns the law of the alloy on this supercell, which ``sample(..., sampler=law)`` takes, and any other supercell by ``law.on``.

    Raises
    ------
    LatticeMismatch : no network for the lattice is at hand
    AlloygenError : ranges that cannot be
    TrainingInterrupted : after Ctrl-C, everything saved; the same call goes on

    Warns
    -----
    NotConverged : the minutes did not help, and what was before is kept

    Examples
    --------
    >>> alloygen.polish(atoms, hamiltonian=mine, minutes=2)          # doctest: +SKIP
    """
    problem = Problem.of(atoms, mu, hamiltonian)
    h, seed, minutes = problem.hamiltonian, seed_from(seed), positive(minutes, "minutes")
    found = family_of(h)  # a network that was polished for this alloy goes on
    if found is None:
        raise LatticeMismatch(
            f"expected a network for every alloy of the lattice of {h.expansion.name}, got none among {sorted(checkpoints())}; train a "
            "model of this alloy with alloygen.train"
        )
    family, path = found
    terms, data = canonical(cast(ClusterExpansion, h.expansion)), _data(h, T, mu, seed, minutes)
    lattice, _ = terms.on(h.lattice)
    place = Place.of(terms.expansion, name, folder)
    model, training = {"kind": "family", **family.config()}, POLISH | {"start": path, "minutes": minutes, "seed": seed}
    config = _config(place, terms.expansion, [lattice.matrix.tolist()], data, 500, model, training, workers)
    made = _run(config, place, progress)
    polished, on = cast(FamilyModel, load_model(made)), terms.expansion.on(lattice)
    samples = _between(on, data, seed)
    before, after = (_likelihood(f.on(on), samples) for f in (family, polished))
    if after > before:
        _measure(polished.on(on), made, samples, seed)
        place.keep(made)
        family = polished
    else:
        warnings.warn(
            f"{minutes:g} minutes of polish did not help: log likelihood {before:.4f} nats a site of Monte Carlo samples before, {after:.4f} after. "
            "What was before is kept; give more minutes, or a quieter machine.",
            NotConverged,
            stacklevel=user_level(),
        )
    place.done(cast(ClusterExpansion, h.expansion))
    law = ZeroShot(family, h)
    return _shown(place, law, progress and after > before)


def _shown(place: Place, law: Law, progress: bool) -> Law:
    if progress:
        print(place.words(law), file=sys.stderr)
    return law


def _between(h: Hamiltonian, data: Mapping[str, Any], seed: int) -> Scan:
    """Monte Carlo samples at conditions between those of the training, which a law never met: what it learned by heart does not count."""
    mu, (n_T, n_mu) = np.array(data["mu"]).reshape(-1, len(h.elements) - 1), MEASURED
    values = [np.unique(column) for column in mu.T]
    free = [k for k, v in enumerate(values) if len(v) > 1]
    points = np.tile(mu[0], (n_mu, 1))
    shares = (qmc.Sobol(len(free), scramble=False).random(n_mu) + 0.5**0.5) % 1.0
    points[:, free] = np.stack([np.quantile(values[k], u) for k, u in zip(free, shares.T, strict=True)], axis=1)
    ladder = np.geomspace(data["T"][0], data["T"][-1], 4 * n_T + 1)
    s = replica_exchange(
        h, h.grid(ladder, np.insert(points, 0, 0.0, axis=1)), MEASURES, sweeps=5, burn=400, seed=seed, check=False, job=Job(threads=1, progress=False)
    )  # fmt: skip
    return s.subset(np.arange(len(s)).reshape(len(ladder), n_mu)[2::4].ravel())


def _measure(law: AnyCell, path: Path, samples: Scan, seed: int) -> None:
    """Write into a checkpoint how even the weights of its draws, and of Monte Carlo samples, are at some conditions."""
    h, at = law.hamiltonian, law.hamiltonian.condition(samples.T, samples.mu)
    rows = evaluate(law, at, MEASURES, reference=Reference(samples.occ, samples.energy), exact=False, forward=MEASURES, seed=seed)  # fmt: skip
    ness = [row.ness for row in rows]
    keep_measured(path, rows, h, {"ness": float(np.mean(ness)), "ness_min": float(np.min(ness))})


@torch.no_grad()
def _likelihood(law: FamilyModel, samples: Scan, most: int = 1000) -> float:
    """Mean log q (nats a site) of samples of p. What it gains is what KL(p | q) loses, so that phases which the law forgets count: of the law's
    own draws NESS would be 1 if they were one and the same."""
    rows = np.linspace(0, len(samples) * samples.n - 1, most).astype(int)
    at = law.hamiltonian.condition(samples.T, samples.mu)[(rows // samples.n).tolist()]
    occ = as_tensor(samples.occ.reshape(-1, law.hamiltonian.n_sites)[rows])
    return float(law.log_prob(occ, at, law.placed.order.expand(most, -1)).mean()) / occ.shape[1]


# ---------------------------------------------------------------------- what is found by itself
def repeats_for(expansion: ClusterExpansion, sites: int) -> list[int]:
    """Repeats of the primitive cell, powers of two, with ``sites`` sites at most that hold one species or another, as even as can be; one along axes without interactions.

    Examples
    --------
    >>> import alloygen
    >>> repeats_for(alloygen.data.cuau(), 64), repeats_for(alloygen.data.cuau(), 16)
    ([4, 4, 4], [2, 2, 4])
    """
    primitive = expansion.primitive
    bound = np.zeros(3, dtype=bool)  # along which clusters reach other cells
    for orbit in expansion.orbits:
        bound |= np.asarray(orbit.members)[..., :3].reshape(-1, 3).any(0)
    lengths, powers = np.linalg.norm(primitive.cell, axis=1), [1 << k for k in range(int(math.log2(max(sites, 1))) + 1)]
    most = max(1, sites // max(1, sum(len(names) > 1 for names in primitive.species)))
    best, chosen = (0, 0.0), [1, 1, 1]
    for repeats in product(*(powers if along else [1] for along in bound)):
        size = (lengths * repeats)[bound] if bound.any() else lengths
        rank = (int(np.prod(repeats)), -float(size.max() / size.min()))
        if rank[0] <= most and rank > best:
            best, chosen = rank, list(repeats)
    return chosen


def _cells(given: Sequence[Cell] | None, otherwise: list) -> list:
    """Supercells as configurations write them."""
    if given is None:
        return otherwise
    try:
        cells = [np.asarray(cell).tolist() for cell in given]
    except (TypeError, ValueError):
        cells = []
    if not cells or not all(map(is_supercell, cells)):
        raise AlloygenError(
            f"expected cells as a list of supercells, each of three repeats or a 3x3 matrix, such as [(4, 4, 4)], got {given!r}"
        )
    return cells


def _data(h: Hamiltonian, T: object, mu: object, seed: int, minutes: float) -> dict[str, Any]:
    """The grid of conditions and the samples of it."""
    own = scale(h)
    spans = _spans(h, mu, own.beyond(MARGIN))
    low, high = _range(T, "T") if T is not None else _temperatures(h, own, seed)
    free = int((spans[:, 0] < spans[:, 1]).sum())
    n_T, n_mu = LINE if free == 1 else SCATTERED
    T = np.geomspace(low, high, n_T)
    points = _points(h, spans, T, n_mu, seed)
    few = max(8, int(SAMPLES * np.clip(minutes, *LENGTHS)) // (n_T * len(points)))
    run = {"sweeps": 5 if free == 1 else 4, "burn": 200}
    return {"T": T.tolist(), "mu": points.tolist(), "samples": few, "seed": seed, **run}


def _points(h: Hamiltonian, spans: np.ndarray, T: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Points (n, elements after the first) over the F ``spans`` that are not empty. Along each, half lie evenly and half where the composition changes, as
    short runs at T tell (for three chemical potentials at most), the second on the points of the first; several are scattered, each with values of its own."""
    free = int((spans[:, 0] < spans[:, 1]).sum())
    looks = {1: n, **LOOKS}
    axes = [np.linspace(0, 1, looks.get(free, 2))] * free
    for _ in range(2 if free in looks else 0):  # of more, evenly
        points = between(spans, np.array(list(product(*axes))))
        s = replica_exchange(
            h, h.grid(T, np.insert(points, 0, 0.0, axis=1)), **LOOK, seed=seed, check=False, job=Job(threads=1, progress=False)
        )  # fmt: skip
        x = h.counts(s.occ.reshape(-1, h.n_sites)).reshape(len(T), *map(len, axes), LOOK["n"], -1).mean(-2)
        changes = [np.abs(np.diff(x, axis=d)).sum(-1) for d in range(1, len(axes) + 1)]
        axes = [
            _closer(axis, np.moveaxis(change, d, 0).reshape(len(axis) - 1, -1).mean(1))
            for d, (axis, change) in enumerate(zip(axes, changes, strict=True), start=1)
        ]
    if free == 1:
        return between(spans, axes[0][:, None])
    shares = qmc.Sobol(free, scramble=False).random(n)
    shares /= shares.max()  # from one end of each to the other
    return between(spans, np.stack([np.interp(u, np.linspace(0, 1, len(a)), a) for u, a in zip(shares.T, axes, strict=True)], axis=1))  # fmt: skip


def _closer(shares: np.ndarray, change: np.ndarray) -> np.ndarray:
    """As many shares (n,) of [0, 1], closer to each other where ``change`` (n - 1,) from one of the given to the next is large.

    Examples
    --------
    >>> _closer(np.linspace(0, 1, 5), np.array([0.0, 2.0, 0.0, 0.0])).round(3).tolist()
    [0.0, 0.3, 0.4, 0.5, 1.0]
    """
    return evenly(shares, np.diff(shares) + change / max(change.sum(), 1e-12), len(shares))


def _temperatures(h: Hamiltonian, own: Scale, seed: int) -> Range:
    """Around the temperature at which the alloy orders, and beyond its scale."""
    ordering = _orders(h, own, seed)
    return TEMPERATURES[0] * ordering, max(TEMPERATURES[1] * ordering, BEYOND * own.T)


def _orders(h: Hamiltonian, own: Scale, seed: int) -> float:
    """The temperature at which the alloy orders or separates, the scale at most: where the heat capacity at constant mu is largest, the median over
    chemical potentials between its phases, in a short replica-exchange run. Frustrated alloys order far below the scale."""
    n_free = int((own.mu[:, 0] < own.mu[:, 1]).sum())
    shares = np.vstack([np.full((1, n_free), 0.5), qmc.Sobol(n_free, scramble=False).random(8)[2:]])
    points, T = np.insert(between(own.mu, shares), 0, 0.0, axis=1), own.T * np.geomspace(*PILOT)
    s = replica_exchange(
        h, h.grid(T, points), 60, sweeps=4, burn=60, seed=seed, check=False, job=Job(threads=1, progress=False)
    )
    capacity = s.reduced.reshape(len(T), len(points), -1).var(2) / h.n_sites  # in kB
    peaks = T[capacity.argmax(0)][capacity.max(0) > ORDERS]
    return min(own.T, float(np.median(peaks))) if len(peaks) else own.T


def _config(
    place: Place,
    expansion: ClusterExpansion,
    cells: list,
    data: dict[str, Any],
    every: int,
    model: dict[str, Any],
    training: dict[str, Any],
    workers: int,
) -> dict[str, Any]:
    """The configuration of a run, its alloy written beside it; conditions are looked over ``every`` so many steps, with a few draws at each."""
    alloy = expansion.write(place.run / "alloy.json")
    draws = max(4, DRAWS // (len(data["T"]) * len(data["mu"])))
    return {
        "name": place.name,
        "system": {"hamiltonian": str(alloy), "repeats": cells[0], "more": cells[1:]},
        "data": data,
        "model": model,
        "objective": OBJECTIVE | {"hard_every": every, "hard_draws": draws},
        "training": training,
        "validation": {"every": 10**7, "samples": 64},
        "machine": {"threads": 1, "workers": workers},
    }


def _spans(h: Hamiltonian, mu: object, found: np.ndarray) -> np.ndarray:
    """(elements after the first, 2) low and high of mu: what is given, counted from the first element, and ``found`` for the others."""
    if mu is None:
        return found
    if not isinstance(mu, Mapping):
        if len(h.elements) != 2:
            raise AlloygenError(f"expected mu of the elements {h.elements} as {{element: (low, high)}}, got {mu!r}")
        return np.array([_range(mu, "mu")])
    require_among(mu, exchangeable(h.lattice), "mu", ", which sites may exchange")
    spans, origin = found.copy(), references(h.lattice)
    for element, span in mu.items():
        if element in (own := [e for k, e in enumerate(h.elements) if origin[k] == k > 0]):
            raise AlloygenError(
                f"expected mu of elements that another of their sublattice counts from, got one of {element}. Elements of {own} share no sublattice with "
                f"{h.elements[0]}: mu of the others there is counted from theirs"
            )
        k, (low, high) = h.elements.index(element), _range(span, f"mu of {element}")
        if k > 0:
            spans[k - 1] = low, high
        elif len(h.elements) == 2 and len(mu) == 1:
            spans[0] = -high, -low
        else:
            raise AlloygenError(
                f"expected mu of elements after the first, {h.elements[1:]}, which are counted from it, got {mu!r}"
            )
    return spans


def _range(given: object, what: str) -> Range:
    try:
        low, high = map(float, given)  # type: ignore[call-overload]
    except (TypeError, ValueError):
        low, high = np.nan, np.nan
    if not low < high or (what == "T" and low <= 0):
        raise AlloygenError(
            f"expected {what} as (low, high), low below high{' and above 0' * (what == 'T')}, got {given!r}"
        )
    return low, high


# ---------------------------------------------------------------------- where it is kept
def _is_taken(name: str, path: Path, expansion: ClusterExpansion) -> bool:
    """Is it the name of a model that ships, or of one of another alloy?"""
    if name in checkpoints() and Path(str(checkpoints()[name])).parent != path.parent:
        return True
    try:
        return path.exists() and read_header(path).expansion.fingerprint != expansion.fingerprint
    except CheckpointError:
        return True


def _run(config: dict[str, Any], place: Place, progress: bool) -> Path:
    from alloygen.training.loop import train

    return train(config, place.run, progress=progress)
