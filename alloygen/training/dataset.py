"""Training data: Monte Carlo samples over a grid of conditions, drawn with random symmetry images and orders."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from alloygen import orders
from alloygen.arrays import as_array, as_tensor
from alloygen.conditions.record import Condition
from alloygen.errors import CheckpointError, ConfigError
from alloygen.generate.outpaint import repeats, windows
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.hamiltonian.kept import require_kept
from alloygen.lattice import Lattice
from alloygen.models.local import LocalLaw
from alloygen.objectives.batch import Batch
from alloygen.objectives.likelihood import heat_bath, relative_entropy, symmetrised
from alloygen.runtime.documents import contents_of
from alloygen.runtime.job import Job
from alloygen.runtime.tensors import matching, read_tensors, version_of, write_tensors
from alloygen.training.config import Config
from alloygen.training.held import around_foreign
from alloygen.training.kinds import LikelihoodConfig, PatchesConfig
from alloygen.training.numbers import expand
from alloygen.training.patches import Cell
from alloygen.training.sections import DataConfig


@dataclass(frozen=True, kw_only=True, eq=False)
class Samples(Batch):
    """Monte Carlo samples with soft labels by step (B, M, S), or none; ``given`` (B, N) sites are those whose steps do not count."""

    labels: torch.Tensor | None
    given: torch.Tensor | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Windows(Samples):
    """Samples of a larger cell, along orders of a window: ``known`` (B, N) is what is decided before it, -1 elsewhere."""

    known: torch.Tensor


class Dataset:
    """Monte Carlo samples over a grid of conditions, drawn with random symmetry images.

    Conditions are drawn in proportion to ``floor`` plus the mean heat-bath entropy of their samples over the largest
    one, so that frozen ground states, which are learned at once, do not fill the batches.
    """

    def __init__(
        self,
        hamiltonian: Hamiltonian,
        condition: Condition,
        occ: np.ndarray | torch.Tensor,
        floor: float,
    ):
        self.hamiltonian = hamiltonian
        self.condition = condition  # (C,)
        self.occ = as_tensor(occ, torch.int8)  # (C, n, N) int8
        self.weights = floor + relative_entropy(hamiltonian, condition, self.occ)
        self.moves = [as_tensor(m) for m in hamiltonian.symmetries]

    def _images(self, n: int, generator: torch.Generator) -> tuple[torch.Tensor, Condition]:
        """(occ (n, N), their conditions): samples of random conditions, moved by random symmetries."""
        c = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        k = torch.randint(self.occ.shape[1], (n,), generator=generator)
        occ = self.occ[c, k].long()
        for moves in self.moves:
            pick = torch.randint(len(moves), (n,), generator=generator)
            occ = torch.empty_like(occ).scatter_(1, moves[pick], occ)
        return occ, self.condition[c]

    def batch(self, n: int, along: orders.Orders, how: LikelihoodConfig, generator: torch.Generator) -> Samples:
        """n rows, along orders of a kind, with labels and known sets as the objective wants them."""
        given = None
        occ, condition = self._images(n, generator)
        order = along.draw(self.hamiltonian.lattice, n, generator)
        if how.known > 0:
            known = orders.known_sets(self.hamiltonian.lattice, n, generator)
            known &= torch.rand(n, 1, generator=generator) < how.known
            given = torch.zeros_like(known) if how.marginals else known.clone()
            order = orders.known_first(order, known)
            rows = round(n * how.known * how.foreign)
            if rows:
                given[:rows] = orders.known_sets(self.hamiltonian.lattice, 1, generator)
                occ[:rows] = around_foreign(self.hamiltonian, occ, condition[:rows], given[0], generator)
                order = orders.known_first(order, given)
        labels = self._labels(occ, condition, order, how.label_images) if how.soft_labels else None
        return Samples(occ=occ, condition=condition, order=order, labels=labels, given=given)

    def _labels(self, occ, condition: Condition, order, images: str) -> torch.Tensor:
        labels = heat_bath(self.hamiltonian, occ, condition)
        points, translations = self.moves
        if images == "none":
            group = torch.arange(occ.shape[1])[None]
        else:
            group = translations if images == "translations" else translations[:, points].flatten(0, 1)
        return symmetrised(labels, occ, order, group)


class GrownDataset(Dataset):
    """Samples of a larger cell, whose windows are learned: each as it stands when the windows before it are decided, at any stride from
    half of the model's cell. Nothing beyond is invented: edges are open, and what lies outside is what the law has there."""

    def __init__(
        self,
        source: Lattice,
        hamiltonian: Hamiltonian,
        condition: Condition,
        occ: np.ndarray | torch.Tensor,
        floor: float,
    ):
        super().__init__(hamiltonian, condition, occ, floor)
        self.source, sites, decided = source, [], []
        have, want = repeats(source), repeats(hamiltonian.lattice)
        choices = [range(1, 2) if w == h else range(max(h // 2, 1), h + 1) for h, w in zip(have, want, strict=True)]
        for stride in product(*choices):
            before = np.zeros(hamiltonian.n_sites, dtype=bool)
            for window in windows(source, hamiltonian.lattice, stride):
                if not before[window].all():
                    sites.append(window)
                    decided.append(before.copy())
                before[window] = True
        self.sites, self.decided = as_tensor(sites), as_tensor(decided)

    def batch(self, n: int, along: orders.Orders, how: LikelihoodConfig, generator: torch.Generator) -> Windows:
        occ, condition = self._images(n, generator)
        pick = torch.randint(len(self.sites), (n,), generator=generator)
        sites, decided = self.sites[pick], self.decided[pick]
        own = orders.known_first(along.draw(self.source, n, generator), torch.gather(decided, 1, sites))
        order = torch.gather(sites, 1, own)
        labels = heat_bath(self.hamiltonian, occ, condition, order) if how.soft_labels else None
        known = torch.where(decided, occ, -1)
        return Windows(occ=occ, condition=condition, order=order, labels=labels, given=decided, known=known)


def make_data(hamiltonian: Hamiltonian, config: Config, path: Path, progress: bool) -> Dataset:
    """Replica-exchange samples of the configured grid; kept in ``path`` and read back when they fit."""
    d, how = _asked(config)
    condition, occ = _samples(hamiltonian, config, d.samples, path, progress)
    return Dataset(hamiltonian, condition, occ, how.floor)


def make_grown_data(hamiltonian: Hamiltonian, config: Config, path: Path, progress: bool) -> GrownDataset:
    """The same on the cell ``data.grown`` times as large, with fewer samples: about as many sites in all."""
    (d, how), source = _asked(config), hamiltonian.lattice
    large = hamiltonian.expansion.on(tuple(int(a * b) for a, b in zip(repeats(source), d.grown, strict=True)))
    samples = max(1, d.samples * source.n_sites // large.n_sites)
    condition, occ = _samples(large, config, samples, path, progress)
    return GrownDataset(source, large, condition, occ, how.floor)


def make_cell_data(model: LocalLaw, config: Config, path: Path, progress: bool) -> Cell:
    """The same of the supercell of a local model: about as many sites in all as on ``system.repeats``."""
    d, how = cast(DataConfig, config.data), cast(PatchesConfig, config.objective)
    repeats = np.array(config.system.repeats)
    cells = repeats.prod() if repeats.ndim == 1 else abs(round(np.linalg.det(repeats)))
    samples = max(4, d.samples * int(cells) * model.lattice.n_sublattices // model.lattice.n_sites)
    condition, occ = _samples(model.hamiltonian, config, samples, path, progress)
    return Cell(model, condition, occ, how)


def _asked(config: Config) -> tuple[DataConfig, LikelihoodConfig]:
    """The data and the objective of a configuration that learns from data."""
    return cast(DataConfig, config.data), cast(LikelihoodConfig, config.objective)


def _samples(
    hamiltonian: Hamiltonian, config: Config, samples: int, path: Path, progress: bool
) -> tuple[Condition, torch.Tensor]:
    """(the C conditions, occ (C, samples, N)) of the grid, from ``path`` where it holds them."""
    from alloygen.montecarlo.sampling import cluster_moves, replica_exchange

    d = cast(DataConfig, config.data)
    T, points = expand(d.T), d.points()
    if points.shape[1] != len(hamiltonian.elements) - 1:
        raise ConfigError(
            f"data.mu: expected {len(hamiltonian.elements) - 1} numbers a point, for the elements after the first of {hamiltonian.elements}, "
            f"got {points.shape[1]}"
        )
    mu = np.column_stack([np.zeros(len(points)), points])
    settings = {**vars(d), "samples": samples}
    key = json.dumps([hamiltonian.fingerprint, hamiltonian.lattice.to_dict(), settings], sort_keys=True)
    if path.exists():
        tensors, meta = read_tensors(path)
        if meta.get("key") == key:
            asked = hamiltonian.grid(T, mu).condition(hamiltonian.kB)
            return _kept(hamiltonian, tensors, asked, path)
    job = Job(threads=config.machine.threads or torch.get_num_threads(), progress=progress)
    how: dict[str, Any] = dict(sweeps=d.sweeps, burn=d.burn, seed=d.seed, job=job, check=False)
    if d.moves == "clusters":
        s = cluster_moves(
            hamiltonian, hamiltonian.condition(np.repeat(T, len(mu)), np.tile(mu, (len(T), 1))), samples, **how
        )
    else:
        s = replica_exchange(hamiltonian, hamiltonian.grid(T, mu), samples, **how)
    tensors = {"T": as_tensor(s.T), "mu": as_tensor(s.mu), "occ": as_tensor(s.occ, torch.int8)}
    write_tensors(path, tensors, {"format": "alloygen samples", "version": version_of("alloygen samples"), "key": key})
    return hamiltonian.condition(tensors["T"], tensors["mu"]), tensors["occ"]


def _kept(
    hamiltonian: Hamiltonian, tensors: dict[str, torch.Tensor], asked: Condition, path: Path
) -> tuple[Condition, torch.Tensor]:
    """The samples of a file, after a look at them."""
    n = next(iter(tensors["occ"].shape[1:2]), 0) if "occ" in tensors else 0
    T, mu = asked.rows.arrays()
    like = {"T": T, "mu": mu, "occ": np.zeros((len(T), n, hamiltonian.n_sites), dtype=np.int8)}
    with contents_of(path, "Monte Carlo samples of a training", CheckpointError):
        found = matching({k: as_array(v) for k, v in tensors.items()}, like)
        require_kept(hamiltonian, found["occ"])
        if not all(np.allclose(np.sort(found[k], 0), np.sort(like[k], 0)) for k in ("T", "mu")):
            raise CheckpointError("expected the temperatures and chemical potentials of the configuration, got others")
        return hamiltonian.condition(tensors["T"], tensors["mu"]), tensors["occ"]
