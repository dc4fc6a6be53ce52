"""The one training loop: data, schedule, exponential moving average, checkpoints, progress, resume.

A run lives in a folder: ``data.safetensors`` (Monte Carlo samples), ``state.safetensors`` (everything the next step
needs), ``log.jsonl``, and at the end ``model.safetensors``. Interrupt it at will: the same command goes on, bit for bit.
"""

from __future__ import annotations

import json
import math
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from alloygen import orders
from alloygen.config import Config, expand, load_config
from alloygen.errors import AlloygenError, CheckpointError
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.hamiltonian.source import expansion_from
from alloygen.interrupt import interrupt_flag
from alloygen.io.checkpoint import VERSION, read_tensors, save_model, write_tensors
from alloygen.models import MODELS
from alloygen.models.draw import trained_orders
from alloygen.objectives.likelihood import heat_bath, likelihood, symmetrised


class TrainingInterrupted(Exception):
    """The run was interrupted; everything is saved and the same call resumes it."""


@dataclass
class Batch:
    """One batch of training data: configurations with their conditions, orders and soft labels by step."""

    occ: torch.Tensor
    T: torch.Tensor
    mu: torch.Tensor
    order: torch.Tensor
    labels: torch.Tensor | None
    given: torch.Tensor | None


class Dataset:
    """Monte Carlo samples over a grid of conditions, drawn with random symmetry images.

    Conditions are drawn in proportion to ``floor`` plus the mean heat-bath entropy of their samples over the largest
    one, so that frozen ground states, which are learned at once, do not fill the batches.
    """

    def __init__(self, hamiltonian: Hamiltonian, T, mu, occ, floor: float):
        self.hamiltonian = hamiltonian
        self.T, self.mu = torch.as_tensor(T), torch.as_tensor(mu)
        self.occ = torch.as_tensor(occ)  # (C, n, N) int8
        self.weights = floor + self._entropy()
        self.moves = self._moves()

    def _moves(self) -> list[torch.Tensor]:
        """Point operations of the lattice that leave the energy alone, and its translations, as site permutations.

        An expansion may have less symmetry than its lattice, for example other ECIs on each of two like sublattices.
        """
        h = self.hamiltonian
        points, translations = (torch.as_tensor(m) for m in orders.symmetry_moves(h.lattice, "all"))
        occ = h.random(8, torch.Generator().manual_seed(0))
        images = occ[:, torch.argsort(points, dim=1)]  # (8, operations, N)
        change = h.energy(images.flatten(0, 1)).view(8, -1) - h.energy(occ)[:, None]
        return [points[(change.abs() < 1e-9 * (1 + h.energy(occ).abs().max())).all(0)], translations]

    def _entropy(self, most: int = 16) -> torch.Tensor:
        out = []
        for c in range(len(self.T)):
            occ = self.occ[c, :most].long()
            p = heat_bath(self.hamiltonian, occ, self.T[c].expand(len(occ)), self.mu[c].expand(len(occ), -1))
            out.append(-torch.xlogy(p, p).sum((1, 2)).mean())
        entropy = torch.stack(out)
        return entropy / entropy.max().clamp_min(1e-12)

    def batch(self, config, generator: torch.Generator) -> Batch:
        n = config.batch
        c = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        k = torch.randint(self.occ.shape[1], (n,), generator=generator)
        occ = self.occ[c, k].long()
        for moves in self.moves:
            pick = torch.randint(len(moves), (n,), generator=generator)
            occ = torch.empty_like(occ).scatter_(1, moves[pick], occ)
        order, given = self._orders(config, n, generator)
        T, mu = self.T[c], self.mu[c]
        labels = self._labels(occ, T, mu, order, config.label_images) if config.soft_labels else None
        return Batch(occ, T, mu, order, labels, given)

    def _labels(self, occ, T, mu, order, images: str) -> torch.Tensor:
        labels = heat_bath(self.hamiltonian, occ, T, mu)
        points, translations = self.moves
        if images == "none":
            group = torch.arange(occ.shape[1])[None]
        else:
            group = translations if images == "translations" else translations[:, points].flatten(0, 1)
        return symmetrised(labels, occ, order, group)

    def _orders(self, config, n: int, generator: torch.Generator):
        lattice = self.hamiltonian.lattice
        families = sorted(config.orders)
        weights = torch.tensor([float(config.orders[f]) for f in families])
        pick = torch.multinomial(weights, n, replacement=True, generator=generator)
        order = torch.empty(n, lattice.n_sites, dtype=torch.long)
        for k, family in enumerate(families):
            rows = (pick == k).nonzero()[:, 0]
            if len(rows):
                order[rows] = orders.draw(family, lattice, len(rows), generator, config.images)
        if config.known == 0:
            return order, None
        share = torch.rand(n, 1, generator=generator) * (torch.rand(n, 1, generator=generator) < config.known)
        given = torch.rand(n, lattice.n_sites, generator=generator) < share
        return orders.known_first(order, given), given


def make_data(hamiltonian: Hamiltonian, config: Config, path: Path, progress: bool) -> Dataset:
    """Replica-exchange samples of the configured grid; kept in ``path`` and read back when they fit."""
    from alloygen.montecarlo.sampling import replica_exchange

    d = config.data
    T, values = expand(d.T), expand(d.mu)
    if len(hamiltonian.elements) != 2:
        raise AlloygenError(f"expected a binary alloy for the grid data.mu, got the elements {hamiltonian.elements}")
    mu = np.column_stack([np.zeros(len(values)), values])
    key = json.dumps([hamiltonian.fingerprint, hamiltonian.lattice.to_dict(), vars(d)], sort_keys=True)
    if path.exists():
        tensors, meta = read_tensors(path)
        if meta.get("key") == key:
            return Dataset(hamiltonian, tensors["T"], tensors["mu"], tensors["occ"], config.training.floor)
    s = replica_exchange(
        hamiltonian,
        T,
        mu,
        d.samples,
        sweeps=d.sweeps,
        burn=d.burn,
        seed=d.seed,
        progress=progress,
        threads=config.training.threads or torch.get_num_threads(),
        check=False,
    )
    tensors = {"T": torch.as_tensor(s.T), "mu": torch.as_tensor(s.mu), "occ": torch.as_tensor(s.occ)}
    write_tensors(path, tensors, {"format": "alloygen samples", "version": VERSION, "key": key})
    return Dataset(hamiltonian, s.T, s.mu, s.occ, config.training.floor)


class Trainer:
    """State and step of a run; ``train`` drives it."""

    def __init__(self, config: Config, hamiltonian: Hamiltonian, dataset: Dataset):
        t = config.training
        self.config, self.dataset = config, dataset
        torch.manual_seed(t.seed)
        mu = dataset.mu[:, 1:]
        ranges = {
            "T": [float(dataset.T.min()), float(dataset.T.max())],
            "mu": [[float(m.min()), float(m.max())] for m in mu.T],
        }
        size = {k: v for k, v in vars(config.model).items() if k != "kind"}
        self.model = MODELS[config.model.kind](hamiltonian, ranges, **size).to(t.device)
        self.average = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        decay = [p for p in self.model.parameters() if p.ndim > 1]
        plain = [p for p in self.model.parameters() if p.ndim <= 1]
        groups = [{"params": decay, "weight_decay": t.weight_decay}, {"params": plain, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=t.lr, betas=(0.9, 0.98))
        self.generator = torch.Generator().manual_seed(t.seed)
        self.step = 0

    def rate(self) -> float:
        """Learning rate: linear warm-up, then a cosine to zero."""
        t = self.config.training
        if self.step < t.warmup:
            return t.lr * (self.step + 1) / t.warmup
        return t.lr * 0.5 * (1 + math.cos(math.pi * (self.step - t.warmup) / max(1, t.steps - t.warmup)))

    def advance(self) -> float:
        """One step of the optimiser; returns the loss in nats per site."""
        t, n = self.config.training, self.dataset.hamiltonian.n_sites
        batch = self.dataset.batch(t, self.generator)
        moved = {k: v.to(t.device) if v is not None else None for k, v in vars(batch).items()}
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate()
        loss, _ = likelihood(self.model, **moved)
        loss = loss.mean() / n
        if not torch.isfinite(loss):
            raise AlloygenError(
                f"step {self.step}: expected a finite loss, got {loss.item()}; the last checkpoint is kept. "
                "Lower training.lr or raise training.warmup."
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), t.clip / n)
        self.optimizer.step()
        decay = min(t.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for k, v in self.model.state_dict().items():
                self.average[k].lerp_(v, 1 - decay)
        self.step += 1
        return loss.item()

    @contextmanager
    def averaged(self):
        """The model with its averaged weights, for validation and for keeping."""
        live = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        self.model.load_state_dict(self.average)
        self.model.eval()
        try:
            yield self.model
        finally:
            self.model.load_state_dict(live)
            self.model.train()

    def validate(self, conditions: int = 12, n: int = 128) -> dict:
        """NESS of the averaged model at conditions spread over the training grid (own generator, fixed seed)."""
        from alloygen.estimate.weights import ness

        pick = np.unique(np.linspace(0, len(self.dataset.T) - 1, conditions).astype(int))
        generator = torch.Generator().manual_seed(12345)
        values = []
        with self.averaged() as model:
            for c in pick:
                log_w = log_weights(model, self.dataset.T[c].expand(n), self.dataset.mu[c].expand(n, -1), generator)
                values.append(ness(log_w.numpy()))
        return {"ness": float(np.mean(values)), "ness_min": float(np.min(values))}

    # ------------------------------------------------------------------ state
    def save(self, path: Path) -> None:
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.items()}
        for i, s in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{i}.{k}": torch.as_tensor(v) for k, v in s.items()}
        tensors["generator"] = self.generator.get_state()
        write_tensors(
            path,
            tensors,
            {
                "format": "alloygen training state",
                "version": VERSION,
                "step": self.step,
                "config": self.config.fingerprint,
            },
        )

    def load(self, path: Path) -> None:
        tensors, meta = read_tensors(path)
        if meta.get("config") != self.config.fingerprint:
            raise CheckpointError(
                f"expected a training state of this configuration in {path}, got one of another configuration. "
                "Choose another output folder, or start anew with resume=False (--restart)."
            )
        part = lambda p: {k[len(p) :]: v for k, v in tensors.items() if k.startswith(p)}  # noqa: E731
        self.model.load_state_dict(part("model."))
        self.average = {k: v.to(self.config.training.device) for k, v in part("average.").items()}
        state: dict = {}
        for name, value in part("optimizer.").items():
            i, key = name.split(".")
            state.setdefault(int(i), {})[key] = value
        full = self.optimizer.state_dict()
        full["state"] = state
        self.optimizer.load_state_dict(full)
        self.generator.set_state(tensors["generator"])
        self.step = meta["step"]


def log_weights(model, T, mu, generator, order=None) -> torch.Tensor:
    """Draw from the model and return log w = -beta (E - mu.N) - log q, (B,)."""
    h = model.hamiltonian
    if order is None:
        order = trained_orders(model, len(T), generator)
    occ, log_prob = model.sample(T.to(model.device), mu.to(model.device), order.to(model.device), generator)
    occ = occ.cpu()
    reduced = (h.energy(occ) - (h.counts(occ) * mu).sum(1)) / (h.kB * T)
    return -reduced - log_prob.cpu()


def train(config, folder, *, resume: bool = True, progress: bool = True, stop_at: int | None = None) -> Path:
    """Train a model and return the path of its checkpoint.

    Parameters
    ----------
    config : Config, dict or path of a TOML file
    folder : where the run lives; an interrupted run in it is continued
    resume : False starts anew
    progress : progress bar with loss and validation NESS
    stop_at : stop (as if interrupted) after this many steps

    Raises
    ------
    TrainingInterrupted : after Ctrl-C, with everything saved
    """
    config = load_config(config)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if config.training.threads:
        torch.set_num_threads(config.training.threads)
    hamiltonian = expansion_from(config.system.hamiltonian).on(config.system.repeats)
    started = time.monotonic()
    try:
        dataset = make_data(hamiltonian, config, folder / "data.safetensors", progress)
    except KeyboardInterrupt:
        raise TrainingInterrupted("stopped while making the data, nothing to keep yet; the same command starts anew") from None
    trainer = Trainer(config, hamiltonian, dataset)
    state, log = folder / "state.safetensors", folder / "log.jsonl"
    if resume and state.exists():
        trainer.load(state)
    elif log.exists():
        log.unlink()
    _loop(trainer, state, log, progress, stop_at, started)
    path = folder / "model.safetensors"
    t = config.training
    with trainer.averaged() as model:
        save_model(
            path, model, name=config.name, orders=t.orders, images=t.images, config=config.to_dict(), steps=trainer.step
        )
    return path


def _loop(trainer: Trainer, state: Path, log: Path, progress: bool, stop_at: int | None, started: float) -> None:
    from alloygen.progress import tqdm

    t = trainer.config.training
    saved, loss, figures = time.monotonic(), float("nan"), {}
    end = t.steps if stop_at is None else min(t.steps, stop_at)
    with (
        interrupt_flag() as stop,
        tqdm(total=t.steps, initial=trainer.step, disable=not progress, desc=trainer.config.name) as bar,
    ):
        while trainer.step < end and not stop.is_set():
            value = trainer.advance()
            loss = value if math.isnan(loss) else 0.98 * loss + 0.02 * value
            bar.update()
            if trainer.step % t.validate_every == 0 or trainer.step == t.steps:
                figures = trainer.validate()
                with log.open("a") as f:
                    f.write(
                        json.dumps(
                            {
                                "step": trainer.step,
                                "loss": loss,
                                **figures,
                                "seconds": round(time.monotonic() - started, 1),
                            }
                        )
                        + "\n"
                    )
            if trainer.step % 10 == 0:
                bar.set_postfix(loss=f"{loss:.4f}", **{k: f"{v:.3f}" for k, v in figures.items()})
            if time.monotonic() - saved > 60 * t.checkpoint_minutes:
                trainer.save(state)
                saved = time.monotonic()
        trainer.save(state)
    if trainer.step < t.steps:
        raise TrainingInterrupted(
            f"saved at step {trainer.step} of {t.steps} in {state.parent}; the same command resumes it"
        )
