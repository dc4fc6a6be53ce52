"""The files that alloygen reads, each with how one is made and what is read of it, as a digest of the result."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

import alloygen
from alloygen.arrays import as_array
from alloygen.edge.computed import Recipe, compute
from alloygen.edge.problem import Problem
from alloygen.edge.structure_files import write_structures
from alloygen.edge.structures import read_structure
from alloygen.errors import AlloygenError, UnusableModel
from alloygen.hamiltonian.ising import ising
from alloygen.hamiltonian.source import expansion_from
from alloygen.models.store import load_model, read_header
from alloygen.montecarlo.packed_chains import PackedChains
from alloygen.montecarlo.run import Run, collect
from alloygen.montecarlo.sampling import cluster_moves, metropolis
from alloygen.results.phase_diagram import PhaseDiagram
from alloygen.results.sections import IsothermalSections
from alloygen.runtime.job import Job
from alloygen.training.config import load_config
from alloygen.training.loop import train

HERE = Path(__file__).parent
PRIMITIVE = bulk("Cu", a=3.8)


@dataclass(frozen=True)
class Target:
    """A kind of file. ours : it carries a checksum; kind : "tensors", "json", "text" or "bytes", which says what damage is done to it.

    together : it is one of the files of a folder, and an error may name the folder
    """

    name: str
    kind: str
    ours: bool
    make: Callable[[Path], Path]  # in an empty folder
    read: Callable[[Path], Any]  # something that can be hashed by pickle
    together: bool = False


def digest(*values: Any) -> str:
    return hashlib.sha256(pickle.dumps([v.tobytes() if isinstance(v, np.ndarray) else v for v in values])).hexdigest()


def atoms() -> Any:
    return bulk("Cu", a=3.8).repeat((2, 2, 2))


# ---------------------------------------------------------------------- runs
def mc_run(job: Job, n: int = 40) -> str:
    s = alloygen.mc(atoms(), T=[500, 700], mu={"Au": [0, 0.02]}, n=n, burn=5, seed=1, job=job)
    return digest(s.occ, s.energy)


def metropolis_run(job: Job, n: int = 40) -> str:
    h = ising(4)
    s = metropolis(
        h, h.condition([2.0, 3.0], [0, 0.1]), n, seed=1, check=False, observers={"m": lambda occ: occ.mean(1)}, job=job
    )
    return digest(s.occ, s.energy, s.observed["m"])


def cluster_run(job: Job, n: int = 40) -> str:
    h = ising(4)
    s = cluster_moves(h, h.condition([2.0, 3.0], [0, 0.1]), n, seed=1, check=False, job=job)
    return digest(s.occ, s.energy)


def packed_run(job: Job, n: int = 2000) -> str:
    s = collect(PackedChains(4, [2.0, 3.0], 0.1, copies=40, seed=1), Run(n=n, burn=3, check=False), job, "packed")
    return digest(s.occ, s.energy)


def wang_landau_run(job: Job, last: float = 1e-4) -> str:
    schedule = alloygen.Schedule(log_f_final=last, check=2000)
    d = alloygen.wang_landau(ising(4), schedule=schedule, bins=alloygen.Bins(transitions=True), seed=1, job=job)
    return digest(d.energy, d.log_g)


def metadynamics_run(job: Job, production: int = 3000) -> str:
    stages = alloygen.Stages(production=production, sweeps=400)
    p = alloygen.metadynamics(ising(3), [2.0, 3.0], stages=stages, seed=1, job=job)
    return digest(p.free_energy, p.stderr)


def scan_run(job: Job, n: int = 4) -> str:
    s = alloygen.scan(bulk("Cu", a=3.8).repeat((2, 2, 4)), T=[500, 700], mu={"Au": [0, 0.02, 0.04]}, n=n, adaptive=None,
                      sampler=alloygen.Neural(model="cuau_2x2x4"), seed=1, job=job)  # fmt: skip
    return digest(s.occ, s.energy, s.log_prob)


RUNS = {
    "replica exchange": mc_run, "Metropolis": metropolis_run, "cluster moves": cluster_run, "packed Ising": packed_run,
    "Wang-Landau": wang_landau_run, "metadynamics": metadynamics_run, "neural scan": scan_run,
}  # fmt: skip

TRAINING = {
    "name": "tiny",
    "system": {"hamiltonian": "cuau", "repeats": [2, 2, 2]},
    "data": {"T": [500, 900], "mu": [-0.04, 0.03], "samples": 16, "sweeps": 2, "burn": 5},
    "model": {"width": 8, "depth": 1, "heads": 2},
    "objective": {"known": 0.5},
    "training": {"steps": 12, "batch": 8, "lr": 3e-3, "warmup": 3, "ema": 0.9},
    "validation": {"every": 50, "samples": 4},
    "machine": {"threads": 1},
}


def train_run(folder: Path, steps: int = 12, minutes: float = 60.0) -> str:
    training, machine = TRAINING["training"] | {"steps": steps}, {"threads": 1, "checkpoint_minutes": minutes}
    path = train(TRAINING | {"training": training, "machine": machine}, folder, progress=False)
    model = load_model(path)
    return digest(*(as_array(v) for v in model.state_dict().values()))


def stopped_training(folder: Path) -> Path:
    from alloygen.training.loop import TrainingInterrupted

    machine = {"threads": 1, "checkpoint_minutes": 60.0}
    try:
        train(TRAINING | {"machine": machine}, folder, progress=False, stop_at=6)
    except TrainingInterrupted:
        pass
    return folder / "state.safetensors"


def checkpoint_of(run: Callable[..., str], **shorter: Any) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        run(Job(checkpoint=folder / "run.safetensors"), **shorter)
        return folder / "run.safetensors"

    return make


def resumed(run: Callable[..., str]) -> Callable[[Path], str]:
    return lambda path: run(Job(checkpoint=path))


# ---------------------------------------------------------------------- models and results
def model_file(folder: Path) -> Path:
    stopped_training(folder)
    train_run(folder)
    return folder / "model.safetensors"


def model_read(path: Path) -> str:
    model = load_model(path)
    return digest(*(as_array(v) for v in model.state_dict().values()), json.dumps(model.metadata, sort_keys=True))


def header_read(path: Path) -> str:
    return digest(json.dumps(read_header(path).metadata, sort_keys=True))


def diagram() -> PhaseDiagram:
    x, T = np.linspace(0, 1, 17), np.array([300.0, 500.0])
    mix = np.where((x > 0) & (x < 1), x * np.log(np.clip(x, 1e-9, 1)) + (1 - x) * np.log(np.clip(1 - x, 1e-9, 1)), 0.0)
    f = 0.08 * x * (1 - x) + 8.617333e-5 * T[:, None] * mix
    return PhaseDiagram.from_table(T, x, f, 1e-5 * np.ones_like(f), elements=("Cu", "Au"))


def sections() -> IsothermalSections:
    n = np.array([(a, b, 6 - a - b) for a in range(7) for b in range(7 - a)])
    x = n / 6
    f = 0.12 * (x[:, 0] * x[:, 1] + x[:, 1] * x[:, 2] + x[:, 2] * x[:, 0]) + 8.617333e-5 * 300 * (
        x * np.log(np.clip(x, 1e-9, 1))
    ).sum(1)
    return IsothermalSections.from_table([300.0], n, f[None], 1e-5 * np.ones((1, len(n))), elements=("Cu", "Ag", "Au"))


def table_of(result: Any) -> str:
    told = result.table
    return digest(*(np.ascontiguousarray(told[k].values) if told[k].dtype.kind in "iufb" else told[k].values.tolist() for k in sorted(map(str, told.variables))),
                  sorted((k, str(v)) for k, v in told.attrs.items()), result.min_width)  # fmt: skip


def written(result: Callable[[], Any], suffix: str) -> Callable[[Path], Path]:
    return lambda folder: result().write(folder / f"result{suffix}")


def expansion_file(folder: Path) -> Path:
    return alloygen.data.cuau().write(folder / "cuau.json")


def plain_expansion(folder: Path) -> Path:
    (folder / "plain.json").write_text(json.dumps(alloygen.data.cuau().to_dict()))
    return folder / "plain.json"


def expansion_read(path: Path) -> str:
    e = expansion_from(path)
    h = e.on((2, 2, 2))
    return digest(e.fingerprint, json.dumps(e.to_dict(), sort_keys=True), h.energy(h.random(4, 0)))


# ---------------------------------------------------------------------- what others write
TOML = """name = "tiny"
[system]
hamiltonian = "cuau"
repeats = [2, 2, 2]
[data]
T = [500, {from = 600, to = 900, step = 100}]
mu = [-0.04, 0.03, 0.07]
samples = 32
[training]
steps = 30
batch = 32
lr = 3e-3
warmup = 3
"""
LAT = "3.8 3.8 3.8 90 90 90\n0 .5 .5\n.5 0 .5\n.5 .5 0\n0 0 0 Cu,Au\n"
CLUSTERS = "1\n0\n0\n\n1\n0\n1\n0 0 0\n\n6\n2.68\n2\n0 0 0\n.5 .5 0\n"


def toml_file(folder: Path) -> Path:
    (folder / "a.toml").write_text(TOML)
    return folder / "a.toml"


def atat_folder(file: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        for name, text in (("lat.in", LAT), ("clusters.out", CLUSTERS), ("eci.out", "0.1\n0.02\n-0.01\n")):
            (folder / name).write_text(text)
        return folder / file

    return make


def smol_file(folder: Path) -> Path:
    found = json.loads(next((HERE.parent / "hamiltonian" / "data").glob("smol*.json")).read_text())
    case = found if "@class" in found else next(v for v in found.values() if isinstance(v, dict))
    (folder / "smol.json").write_text(json.dumps(case.get("expansion", case)))
    return folder / "smol.json"


def clease_files(file: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        from clease.settings import CEBulk, Concentration

        s = CEBulk(
            Concentration([["Au", "Cu"]]), "fcc", a=3.8, db_name=str(folder / "a.db"), max_cluster_dia=[4.0, 3.0]
        )
        s.save(str(folder / "settings.json"))
        (folder / "eci.json").write_text(json.dumps({"c0": 0.01, "c1_0": -0.003, "c2_d0000_0_00": 0.017}))
        return folder / file

    return make


def structure_file(format: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        atoms().write(folder / f"a.{format}", format=format)
        return folder / f"a.{format}"

    return make


def energies(expansion: Any) -> str:
    h = expansion.on((2, 2, 2))
    return digest(expansion.fingerprint, h.energy(h.random(4, 0)))


def clease_read(path: Path) -> str:
    return energies(alloygen.from_clease(path.parent / "settings.json", path.parent / "eci.json"))


def configurations(format: str, file: str = "") -> Callable[[Path], Path]:
    """What an ensemble writes; of a folder that ``file`` which is damaged."""

    def make(folder: Path) -> Path:
        problem = Problem.of(atoms(), {"Au": 0.02}, "cuau")
        h = problem.hamiltonian
        occ = np.random.default_rng(0).integers(2, size=(4, h.n_sites)).astype(np.int8)
        log_prob = np.full(4, -h.n_sites * np.log(2.0))
        ens = alloygen.Ensemble(
            h, occ, h.energy(occ), log_prob, 600.0, np.array([0.0, 0.02]), atoms_map=problem.atoms_map
        )
        return ens.write(folder / (format if file else f"a.{format}"), format) / file

    return make


def configurations_read(path: Path) -> str:
    ens = alloygen.read(path)
    return digest(ens.occ, ens.energy, ens.log_prob, ens.T, ens.mu)


def fitted_from(format: str) -> Callable[[Path], Path]:
    """Structures with energies for a fit."""

    def make(folder: Path) -> Path:
        found = alloygen.enumerate_structures(PRIMITIVE, ["Cu", "Au"], max_sites=3)
        for k, one in enumerate(found):
            one.calc = SinglePointCalculator(one, energy=float(0.1 * np.sin(k) * len(one)))
        return write_structures(found, folder / f"a.{format}", format)

    return make


def fit_read(path: Path) -> str:
    return digest(alloygen.fit(PRIMITIVE, ["Cu", "Au"], path, cutoffs=[3.0]).ecis)


def computed_run(path: Path) -> str:
    structures = [atoms() for _ in range(5)]
    for k, one in enumerate(structures):
        one.numbers[: k + 1] = 79
    found = compute(structures, Recipe(calculator=EMT()), Job(checkpoint=path))
    return digest(*(v for one in found for v in (one.energy, one.positions, one.cell, one.failure)))


def computed_file(folder: Path) -> Path:
    computed_run(folder / "run.safetensors")
    return folder / "run.safetensors"


def model_alone(folder: Path) -> Path:
    (folder / "models").mkdir()
    with tempfile.TemporaryDirectory() as elsewhere:
        return Path(shutil.copy(model_file(Path(elsewhere)), folder / "models"))


def registered(path: Path) -> str:
    """Drawn by the model of a user's folder; one that is passed over with a warning is a clear error here."""
    os.environ["ALLOYGEN_MODELS"] = str(path.parent)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UnusableModel)
        try:
            ens = alloygen.sample(atoms(), 600, {"Au": 0.02}, 4)
        except UnusableModel as told:
            raise AlloygenError(str(told)) from None
    return digest(ens.occ, ens.log_prob)


def structure_read(path: Path) -> str:
    a = read_structure(path)
    return digest(a.numbers, a.positions, np.array(a.cell))


TARGETS = [
    Target("model", "tensors", True, model_file, model_read),
    Target("model, header alone", "tensors", True, model_file, header_read),
    Target("model in a user's folder", "tensors", True, model_alone, registered, together=True),
    Target("training, state", "tensors", True, stopped_training, lambda path: train_run(path.parent)),
    Target("training, data", "tensors", True, lambda f: stopped_training(f).parent / "data.safetensors", lambda p: train_run(p.parent)),
    *(Target(f"run, {name}", "tensors", True, checkpoint_of(run, **shorter), resumed(run)) for (name, run), shorter in zip(
        RUNS.items(), (dict(n=20), dict(n=20), dict(n=20), dict(n=800), dict(last=1e-2), {}, {}), strict=True)),
    Target("run, energies of a calculator", "tensors", True, computed_file, computed_run),
    Target("expansion", "json", True, expansion_file, expansion_read),
    Target("expansion, version 1", "json", False, plain_expansion, expansion_read),
    Target("phase diagram .nc", "bytes", True, written(diagram, ".nc"), lambda p: table_of(PhaseDiagram.read(p))),
    Target("sections .json", "json", True, written(sections, ".json"), lambda p: table_of(IsothermalSections.read(p))),
    Target("sections .nc", "bytes", True, written(sections, ".nc"), lambda p: table_of(IsothermalSections.read(p))),
    Target("configuration .toml", "text", False, toml_file, lambda p: digest(repr(load_config(p)))),
    Target("CLEASE settings", "json", False, clease_files("settings.json"), clease_read),
    Target("CLEASE ECIs", "json", False, clease_files("eci.json"), clease_read),
    Target("smol .json", "json", False, smol_file, lambda p: energies(alloygen.from_smol(p))),
    *(Target(f"ATAT {f}", "text", False, atat_folder(f), lambda p: energies(alloygen.from_atat(p.parent)), together=True) for f in ("lat.in", "clusters.out", "eci.out")),
    *(Target(f"structure .{f}", "text", False, structure_file(f), structure_read) for f in ("extxyz", "vasp", "cif")),
    *(Target(f"configurations .{f}", kind, False, configurations(f), configurations_read) for f, kind in (
        ("extxyz", "text"), ("traj", "bytes"), ("db", "bytes"), ("json", "json"), ("mson", "json"))),
    *(Target(f"configurations, {f} of a folder", "text", False, configurations(kind, f), lambda p: configurations_read(p.parent), together=True) for kind, f in (
        ("poscar", "POSCAR_00001"), ("poscar", "index.csv"), ("cif", "00001.cif"), ("cif", "index.csv"))),
    *(Target(f"structures of a fit .{f}", kind, False, fitted_from(f), fit_read) for f, kind in (("extxyz", "text"), ("db", "bytes"), ("traj", "bytes"))),
]  # fmt: skip
