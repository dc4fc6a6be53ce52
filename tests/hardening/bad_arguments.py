"""Public functions called with what cannot be meant: each is to be a clear error, before any work."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import clease.settings  # noqa: F401 so that no case waits for it
import numpy as np
from ase.build import bulk
from ase.calculators.emt import EMT
from attacked import atoms
from pymatgen.core import Lattice, Structure
from trial import Outcome, outcome_of

import alloygen
from alloygen.edge.problem import Problem
from alloygen.edge.structure_files import write_structures
from alloygen.hamiltonian.source import expansion_from
from alloygen.results.phase_diagram import PhaseDiagram
from alloygen.training.config import load_config

JUNK: list[Any] = [
    None,
    "x",
    b"x",
    "",
    -1,
    1.5,
    float("nan"),
    float("inf"),
    [],
    [None],
    {},
    {"x": 1},
    {"Au": "x"},
    object(),
    np.zeros((2, 2)),
    True,
]
X = np.linspace(0, 1, 9)


def even_scan() -> alloygen.Scan:
    """Even draws of a small cell at two temperatures and two mu, made without a model."""
    h = alloygen.data.cuau().on((2, 2, 2))
    occ = np.random.default_rng(0).integers(2, size=(4, 100, h.n_sites)).astype(np.int8)
    energy = np.stack([h.energy(rows) for rows in occ])
    mu = np.column_stack([np.zeros(4), [0.0, 0.05, 0.0, 0.05]])
    T = np.array([900.0, 900.0, 1200.0, 1200.0])
    places = Problem.of(atoms(), {"Au": 0.0}, "cuau").atoms_map
    return alloygen.Scan(h, T, mu, occ, energy, 0, "even", np.full((4, 100), -h.n_sites * np.log(2.0)), places)


@cache
def calls() -> dict[str, tuple[Callable, dict]]:
    """By name: the function, and keywords that are right."""
    scan, cell, species = even_scan(), bulk("Cu", a=3.8), ["Cu", "Au"]
    half, ens = Structure(Lattice(cell.cell.array), [{"Cu": 0.5, "Au": 0.5}], [[0, 0, 0]]), scan[2]
    structures = alloygen.enumerate_structures(cell, species, max_sites=3)
    energies = [0.1 * k * len(one) for k, one in enumerate(structures)]
    fit = alloygen.fit(cell, species, energies, structures, cutoffs=[3.0])
    return {
        "sample": (alloygen.sample, dict(atoms=atoms(), T=600, mu={"Au": 0.0}, n=4, seed=0, sampler="mc", fixed=None)),
        "mc": (alloygen.mc, dict(atoms=atoms(), T=[600], mu={"Au": 0.0}, n=4, seed=0, sweeps=1, burn=0, move="flip", method="metropolis", start="random", fixed=None)),
        "scan": (alloygen.scan, dict(atoms=atoms(), T=[600], mu={"Au": [0.0]}, n=4, sampler="mc", seed=0)),
        "wang_landau": (partial(alloygen.wang_landau, alloygen.ising(3)), dict(mu=None, schedule=alloygen.Schedule(log_f_final=0.1), walkers=1, seed=0, bins=None, move="flip")),
        "metadynamics": (partial(alloygen.metadynamics, alloygen.ising(2)), dict(T=3.0, element=None, window=None, stages=alloygen.Stages(production=200, sweeps=50), seed=0)),
        "Job": (alloygen.Job, dict(threads=1, executor=None, checkpoint=None, save_every=1.0, progress=False)),
        "ising": (alloygen.ising, dict(L=3, J=1.0, h=0.0)),
        "load": (alloygen.load, dict(path="cuau_2x2x4", hamiltonian=None)),
        "expansion_from": (expansion_from, dict(spec="cuau")),
        "from_clease": (alloygen.from_clease, dict(settings="x", eci={})),
        "from_atat": (alloygen.from_atat, dict(folder="x")),
        "from_smol": (alloygen.from_smol, dict(expansion="x")),
        "from_icet": (alloygen.from_icet, dict(expansion="x")),
        "load_config": (load_config, dict(source={"data": {"T": [300.0], "mu": [0.0]}})),
        "PhaseDiagram.from_table": (PhaseDiagram.from_table, dict(T=[300.0], x=X, free_energy=(X * X)[None])),
        "PhaseDiagram.read": (PhaseDiagram.read, dict(path="nowhere.nc")),
        "ClusterExpansion.read": (alloygen.ClusterExpansion.read, dict(path="nowhere.json")),
        "ClusterExpansion.from_dict": (alloygen.ClusterExpansion.from_dict, dict(d=alloygen.data.cuau().to_dict())),
        "Lattice": (alloygen.Lattice, dict(primitive=alloygen.data.cuau().primitive, matrix=(2, 2, 2))),
        "alloygen.read": (alloygen.read, dict(path="nowhere.extxyz", hamiltonian=None)),
        "fit": (alloygen.fit, dict(primitive=cell, species=species, energies=energies, structures=structures, cutoffs=[3.0], method=None, start=None, references="ends", tol=0.3, skip=False, seed=0)),
        "enumerate_structures": (alloygen.enumerate_structures, dict(primitive=cell, species=species, max_sites=2)),
        "next_structures": (alloygen.next_structures, dict(alloy=fit, n=2, by="energy", max_sites=4)),
        "representative": (alloygen.representative, dict(alloy=alloygen.data.cuau(), cell=(2, 2, 2), composition={"Au": 4}, cutoffs=[3.0], range_weight=1.0, sweeps=2, restarts=1, seed=0)),
        "self_consistent": (alloygen.self_consistent, dict(atoms=atoms(), calculator=EMT, T=[900], mu={"Au": [0.0]}, hamiltonian=fit, n=4, select=2, rounds=1, tolerance=1.0, relax=False, references="ends", seed=0)),
        "order": (alloygen.order, dict(structure=half, T=900, n=4, supercell=(2, 2, 2), seed=0, hamiltonian="cuau", sampler="mc")),
        "Ensemble.select": (ens.select, dict(n=3, how="diverse", seed=0)),
        "Ensemble.relabel": (ens.relabel, dict(calculator=EMT, relax=False, references="ends")),
        "Ensemble.reweighted": (ens.reweighted, dict(energy=alloygen.data.cuau(), T=950.0, mu={"Au": 0.01}, then=None)),
        "Ensemble.resample": (ens.resample, dict(n=5, seed=0)),
        "Ensemble.write": (ens.write, dict(path="a.extxyz", format=None, overwrite=True)),
        "Ensemble.warren_cowley": (ens.warren_cowley, dict(n_shells=2, pair=("Cu", "Au"))),
        "Scan.posterior": (scan.posterior, dict(ecis=[alloygen.data.cuau()] * 3, n=3, T=[900.0, 1200.0], element="Au", seed=0)),
        "Scan.reweighted": (scan.reweighted, dict(energy=alloygen.data.cuau(), then=None)),
        "Scan.phase_diagram": (scan.phase_diagram, dict(T=[900.0, 1200.0], element="Au", step=None, min_width=3)),
        "Scan.relabel": (scan.relabel, dict(calculator=EMT, relax=False, references="ends")),
        "Scan.at": (scan.at, dict(T=900.0, mu={"Au": 0.05})),
        "write_structures": (write_structures, dict(atoms_list=[atoms()], path="/proc/x.extxyz")),
    }  # fmt: skip


def cases() -> Iterator[tuple[str, str, Callable[[], Any]]]:
    """(function, argument and value, the call)."""
    for name, (function, right) in calls().items():
        for key in right:
            for value in JUNK[key == "stages" :]:  # None is the default there, which takes long
                yield name, f"{key}={value!r:.40}", partial(_call, function, {**right, key: value})


def _call(function: Callable, given: dict) -> str:
    with tempfile.TemporaryDirectory() as folder:  # for what is written at "x"
        os.chdir(folder)
        function(**given)
    return "done"


def attack(every: int = 1, seconds: float = 10.0, only: str = "") -> tuple[Counter, list[tuple[str, str, Outcome]]]:
    """(how many of each kind, those that nobody wants) of every ``every``-th case; what is taken may be right: None for a default, a number as text."""
    counts, bad = Counter(), []
    for k, (name, told, call) in enumerate(cases()):
        if k % every or only not in name:
            continue
        found = outcome_of(call, same="done", seconds=seconds)
        kind = "taken" if found.kind == "the same" else found.kind
        counts[kind] += 1
        if kind not in ("taken", "clear"):
            bad.append((name, told, found))
            print(f"    {kind}: {name}({told}): {str(found.told)[:160]}", flush=True)
    return counts, bad
