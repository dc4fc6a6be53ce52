"""The one training loop: schedule, exponential moving average, checkpoints, progress, resume.

A run lives in a folder: ``data.safetensors`` (Monte Carlo samples, where the objective needs them), ``state.safetensors``
(everything the next step needs), ``log.jsonl``, and at the end ``model.safetensors``. Interrupt it at will: the same
command goes on, bit for bit. What a step draws and minimises is a ``Task`` (:mod:`alloygen.training.tasks`).

Gradients are sums that torch splits between threads, so other weights, equal but for rounding at first, come of another number of them.
The same configuration gives the same bits for the same number of threads (``machine.threads``, or as many as torch uses) on the same
machine. A run keeps the number that it began with when it is resumed, whatever the shell says then; only a ``machine.threads`` that was
changed changes it.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn

from alloygen.arguments import whole_number
from alloygen.arrays import as_array
from alloygen.conditions.record import Condition
from alloygen.errors import AlloygenError, ConfigError
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.models.base import AnyCell, Model, Network
from alloygen.models.draw import trained_orders
from alloygen.models.family import FamilyModel
from alloygen.models.store import load_model, save_model
from alloygen.objectives.batch import Batch
from alloygen.runtime.atomic import require_writable, write_somewhere
from alloygen.runtime.job import Job
from alloygen.runtime.lock import only_writer
from alloygen.runtime.resume import identity
from alloygen.runtime.tensors import matching, require_range
from alloygen.training.config import Config, load_config
from alloygen.training.task import untrained
from alloygen.training.tasks import Task, make_task
from alloygen.types import PathLike

BY_TIME = (
    "{desc}: {percentage:3.0f}%|{bar}| {n_fmt} of {total_fmt} s{postfix}"  # of a bar where a time budget ends the run
)
MOMENTS = ("exp_avg", "exp_avg_sq")  # that the optimiser keeps of each parameter


class TrainingInterrupted(Exception):
    """The run was interrupted; everything is saved and the same call resumes it."""


def new_model(config: Config, hamiltonian: Hamiltonian) -> Network:
    """An untrained model of a configuration, from its seed."""
    model = untrained(config, hamiltonian)
    if config.training.start:
        _begin(model, config.training.start)
    return model.to(config.machine.device)


def _begin(model: Network, path: str) -> None:
    """Take over the weights of a checkpoint of the same kind, size and Hamiltonian. Those of a family serve every alloy, and one with fewer layers, or
    without the deeper network of the couplings, serves one with them: what is new does nothing at first."""
    found = load_model(path, None if isinstance(model, FamilyModel) else model.hamiltonian)
    size, before = model.config(), found.config()
    grown = isinstance(model, FamilyModel) and found.kind == model.kind
    for key in ("depth", "inner") if grown else ():
        if before[key] < size[key] and (key == "depth" or not before[key]):
            size[key] = before[key]
    if found.kind != model.kind or before != size:
        raise ConfigError(
            f"training.start: expected a checkpoint of a {model.kind!r} model with {model.config()}, got {found.kind!r} with {found.config()} "
            f"in {path}"
        )
    own = model.state_dict()
    silent = {k: torch.zeros_like(v) for k, v in own.items() if k.startswith("network.hidden.")}
    model.load_state_dict({**own, **(silent if grown else {}), **found.state_dict()})


class Trainer:
    """State and step of a run; ``train`` drives it."""

    def __init__(self, config: Config, model: Network, task: Task):
        t = config.training
        self.config, self.model, self.task = config, model, task
        self.average = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        decay = [p for p in self.model.parameters() if p.ndim > 1]
        plain = [p for p in self.model.parameters() if p.ndim <= 1]
        groups = [{"params": decay, "weight_decay": t.weight_decay}, {"params": plain, "weight_decay": 0.0}]
        fused = (
            True if isinstance(model, AnyCell) else None
        )  # ten times as fast; it rounds otherwise, and older recipes keep their bits
        self.optimizer = torch.optim.AdamW(groups, lr=t.lr, betas=(0.9, 0.98), fused=fused)
        self.generator = torch.Generator().manual_seed(t.seed)
        self.step = 0
        self.seconds = 0.0  # spent on steps, over all sessions of the run
        self.figures: dict = {}  # of the last validation

    def identity(self) -> dict:
        return identity("training state", self.model.hamiltonian, **self.config.facts(), **self.task.facts())

    def rate(self) -> float:
        """Learning rate: linear warm-up, then a cosine to zero at the last step or at the end of the time budget."""
        t = self.config.training
        if self.step < t.warmup:
            return t.lr * (self.step + 1) / t.warmup
        done = (self.step - t.warmup) / max(1, t.steps - t.warmup)
        if t.minutes:
            done = max(done, self.seconds / (60 * t.minutes))
        return t.lr * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

    @property
    def come(self) -> int:
        """How far it has come, of ``total``: seconds where there is a time budget, steps otherwise."""
        return min(int(self.seconds), self.total) if self.config.training.minutes else self.step

    @property
    def total(self) -> int:
        t = self.config.training
        return max(1, round(60 * t.minutes)) if t.minutes else t.steps

    @property
    def finished(self) -> bool:
        t = self.config.training
        return self.step >= t.steps or (t.minutes > 0 and self.seconds >= 60 * t.minutes)

    def advance(self) -> float:
        """One step of the optimiser; returns the loss in nats per site."""
        started = time.monotonic()
        t, n = self.config.training, self.model.hamiltonian.n_sites
        autocast = torch.autocast(
            torch.device(self.config.machine.device).type, dtype=torch.bfloat16, enabled=t.precision == "bf16"
        )
        with autocast:
            drawn = self.task.draw(self.model, self.generator)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate()
        self.optimizer.zero_grad(set_to_none=True)
        loss = 0.0
        for part in _parts(drawn, t.accumulate):
            with autocast:
                rows = self.task.rows(self.model, part)
            self._require_finite(rows.detach(), part)
            mean = rows.sum() / (t.batch * n)
            mean.backward()
            loss += mean.item()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), t.clip / n)
        if not torch.isfinite(norm):
            self._stop(
                "a finite gradient", norm.item(), part, int(rows.detach().abs().argmax()), "the loss is largest there; "
            )
        self.optimizer.step()
        decay = min(t.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            live = self.model.state_dict()
            get_ema_multi_avg_fn(decay)([self.average[k] for k in live], list(live.values()), None)
        self.step += 1
        self.seconds += time.monotonic() - started
        return loss

    def _require_finite(self, rows: torch.Tensor, part: Batch) -> None:
        bad = (~torch.isfinite(rows)).nonzero().flatten()
        if len(bad):
            self._stop("a finite loss", rows[bad[0]].item(), part, int(bad[0]))

    def _stop(self, expected: str, got: float, part: Batch, row: int, note: str = "") -> None:
        at = part.condition[row]
        mu = dict(zip(self.model.hamiltonian.elements, at.mu.tolist(), strict=True))
        raise AlloygenError(
            f"step {self.step}: expected {expected}, got {got} at the condition T = {at.T.item():.6g}, mu = "
            f"{ {k: round(v, 6) for k, v in mu.items()} }; {note}the last checkpoint is kept. "
            "Lower training.lr or raise training.warmup."
        )

    @contextmanager
    def averaged(self) -> Iterator[Network]:
        """The model with its averaged weights, for validation and for keeping."""
        live = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        self.model.load_state_dict(self.average)
        self.model.eval()
        try:
            yield self.model
        finally:
            self.model.load_state_dict(live)
            self.model.train()

    def validate(self) -> dict:
        """NESS of the averaged model at conditions spread over the training range (own generator, fixed seed)."""
        from alloygen.estimate.weights import ness

        generator, n = torch.Generator().manual_seed(12345), self.config.validation.samples
        values = []
        with self.averaged() as model:
            for law, at in self.task.validation(model):
                log_w = log_weights(law, at.expand(n), generator)
                values.append(ness(as_array(log_w)))
        return {"ness": float(np.mean(values)), "ness_min": float(np.min(values)), **self.task.report}

    # ------------------------------------------------------------------ state
    def state(self) -> tuple[dict, dict]:
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.items()}
        for i, s in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{i}.{k}": v for k, v in s.items()}
        tensors |= {f"task.{k}": v for k, v in self.task.state().items()}
        tensors["generator"] = self.generator.get_state()
        return tensors, {"step": self.step, "seconds": self.seconds, "threads": torch.get_num_threads()}

    def restore(self, arrays: dict[str, np.ndarray], progress: dict) -> None:
        self._require(arrays)
        tensors = {k: torch.from_numpy(v) for k, v in arrays.items()}
        part = lambda p: {k[len(p) :]: v for k, v in tensors.items() if k.startswith(p)}  # noqa: E731
        self.model.load_state_dict(part("model."))
        self.average = {k: v.to(self.config.machine.device) for k, v in part("average.").items()}
        state: dict = {}
        for name, value in part("optimizer.").items():
            i, key = name.split(".")
            state.setdefault(int(i), {})[key] = value
        full = self.optimizer.state_dict()
        full["state"] = state
        self.optimizer.load_state_dict(full)
        self.task.load(part("task."))
        self.generator.set_state(tensors["generator"])
        self.step = whole_number(progress["step"], "step", 0, 10**12)
        self.seconds = float(progress["seconds"])
        if not 0 <= self.seconds < 1e12:
            raise AlloygenError(f"expected the seconds that a run took, got {self.seconds!r}")
        threads = whole_number(progress["threads"], "threads", 1, 4096)
        torch.set_num_threads(self.config.machine.threads or threads)

    def _require(self, arrays: dict[str, np.ndarray]) -> None:
        """AlloygenError for tensors that this run has not, or of another kind or shape, and for numbers that are not finite."""
        fixed = ("model.", "average.", "generator")
        moments: dict[str, np.ndarray] = {}
        for i, p in enumerate(p for group in self.optimizer.param_groups for p in group["params"]):
            like = as_array(torch.empty_like(p, device="cpu"))
            moments |= {f"optimizer.{i}.step": np.zeros((), np.float32)} | {f"optimizer.{i}.{k}": like for k in MOMENTS}
        known = {k: as_array(v) for k, v in self.state()[0].items() if k.startswith(fixed)}
        if any(k.startswith("optimizer.") for k in arrays):  # there are none before the first step
            known |= moments
        matching({k: v for k, v in arrays.items() if not k.startswith("task.")}, known)
        whole = {k: (-1e30, 1e30) for k, v in arrays.items() if v.dtype.kind == "f" and not k.startswith("task.")}
        squares = {k: (0.0, 1e30) for k in whole if k.startswith("optimizer.") and k.endswith((".exp_avg_sq", ".step"))}
        require_range(arrays, **(whole | squares))


def _parts(drawn: Batch, n: int) -> Iterator[Batch]:
    """A batch in ``n`` parts of rows."""
    size = max(1, -(-len(drawn) // n))
    for start in range(0, len(drawn), size):
        yield drawn[start : start + size]


def log_weights(
    model: Model, condition: Condition, generator: torch.Generator, order: torch.Tensor | None = None
) -> torch.Tensor:
    """Draw from the model and return log w = -beta (E - mu.N) - log q, (B,)."""
    h = model.hamiltonian
    if order is None:
        order = trained_orders(model, len(condition), generator)
    occ, log_prob = model.sample(condition.to(model.device), order.to(model.device), generator)
    return -h.reduced_energy(occ.cpu(), condition) - log_prob.cpu()


def train(
    config: Config | dict | PathLike,
    folder: PathLike,
    *,
    resume: bool = True,
    progress: bool = True,
    stop_at: int | None = None,
) -> Path:
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
    CheckpointError : for a state that is damaged or another run's, and a folder that another training writes

    Where the model cannot be written in the folder any more, it is elsewhere, and a NotSaved warning says where.
    """
    config = load_config(config)
    folder = Path(folder)
    require_writable(folder, folder=True)
    folder.mkdir(parents=True, exist_ok=True)
    with only_writer(folder / "run"), _threads(config.machine.threads):
        return _train(config, folder, resume, progress, stop_at)


@contextmanager
def _threads(n: int) -> Iterator[None]:
    """``n`` threads for torch (0: as many as now), and afterwards as many as before, also where a resumed run set others."""
    before = torch.get_num_threads()
    torch.set_num_threads(n or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _train(config: Config, folder: Path, resume: bool, progress: bool, stop_at: int | None) -> Path:
    hamiltonian = config.expansion().on(config.system.repeats)
    model = new_model(config, hamiltonian)  # before the data: a network that does not fit the lattice says so at once
    try:
        task = make_task(config, model, folder / "data.safetensors", progress)
    except KeyboardInterrupt:
        raise TrainingInterrupted(
            "stopped while making the data, nothing to keep yet; the same command starts anew"
        ) from None
    trainer = Trainer(config, model, task)
    state, log = folder / "state.safetensors", folder / "log.jsonl"
    if not resume:
        state.unlink(missing_ok=True)
    if not state.exists():
        log.unlink(missing_ok=True)
    try:
        _loop(
            trainer,
            Job(checkpoint=state, save_every=60 * config.machine.checkpoint_minutes, progress=progress),
            log,
            stop_at,
        )
    except KeyboardInterrupt as stop:
        if not stop.args:  # the second one, which nothing was saved for
            raise
    finally:
        task.close()
    if not trainer.finished:
        of = (
            f", after {trainer.come} of {trainer.total} seconds," if config.training.minutes else f" of {trainer.total}"
        )
        raise TrainingInterrupted(f"saved at step {trainer.step}{of} in {folder}; the same command resumes it")
    path = folder / "model.safetensors"
    with trainer.averaged() as model:
        facts = {
            "config": config.to_dict(),
            "steps": trainer.step,
            "threads": torch.get_num_threads(),
            "figures": trainer.figures,
        }
        return write_somewhere(lambda p: save_model(p, model, **facts), path)


def _loop(trainer: Trainer, job: Job, log: Path, stop_at: int | None) -> None:
    t, started = trainer.config.training, time.monotonic()
    loss = float("nan")
    end = t.steps if stop_at is None else min(t.steps, stop_at)
    remedy = "Choose another output folder, or start anew with resume=False (--restart)."
    bar: dict[str, Any] = {"unit": "second", "bar_format": BY_TIME} if t.minutes else {"unit": "step"}
    with job.loop(trainer, trainer.config.name, trainer.total, remedy=remedy, **bar) as loop:
        while trainer.step < end and not trainer.finished:
            value = trainer.advance()
            loss = value if math.isnan(loss) else 0.98 * loss + 0.02 * value
            if trainer.step % trainer.config.validation.every == 0 or trainer.finished:
                trainer.figures = trainer.validate()
                line = {
                    "step": trainer.step,
                    "loss": loss,
                    **trainer.figures,
                    "seconds": round(time.monotonic() - started, 1),
                }
                with suppress(OSError), log.open("a") as f:  # a full disk stops no training
                    f.write(json.dumps(line) + "\n")
            shown = {"loss": f"{loss:.4f}", **{k: f"{v:.3f}" for k, v in trainer.figures.items()}}
            shown |= {"step": str(trainer.step)} if t.minutes else {}
            loop.tick(trainer.come, shown=shown if trainer.step % 10 == 0 else None)
