"""How good is a model? NESS, forward NESS against Monte Carlo, free energies against exact values, over a grid.

A self-sampled NESS cannot see a missing mode; the forward figures on reference samples x ~ p can, so both are shown.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise

import numpy as np
import torch

from alloygen import orders
from alloygen.conditions import cuau_grid, ising_grid
from alloygen.ensemble import Ensemble
from alloygen.errors import AlloygenError
from alloygen.estimate.thermo import histogram, js_divergence
from alloygen.estimate.weights import eubo, forward_ness
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.io.atomic import atomic_path
from alloygen.models.base import Model
from alloygen.models.draw import draw as draw_batches
from alloygen.models.draw import trained_orders

ENUMERABLE = 2**20
FORWARD = 500


@dataclass
class Row:
    """One condition. Energies in the Hamiltonian's unit per site; figures that have no reference are None.

    The Jensen-Shannon distances (nats) of the histograms are those of the bare draws, and of the weighted ensemble.
    """

    T: float
    mu: float
    ness: float
    phi: float
    phi_stderr: float
    composition: float
    forward_ness: float | None = None
    eubo: float | None = None
    js_composition: float | None = None
    js_energy: float | None = None
    js_composition_weighted: float | None = None
    js_energy_weighted: float | None = None
    phi_exact: float | None = None

    @property
    def deviation(self) -> float | None:
        return None if self.phi_exact is None else self.phi - self.phi_exact


@dataclass
class Reference:
    """Monte Carlo samples at the conditions of a grid: occ (C, n, N), energy (C, n)."""

    occ: np.ndarray
    energy: np.ndarray


# name: (the conditions, how fine the replica exchange between them is)
GRIDS = {"cuau": (cuau_grid, dict(dT=50.0, dmu=0.015)), "ising": (ising_grid, dict(dT=0.1, dmu=0.1))}


def grid_of(hamiltonian: Hamiltonian) -> str:
    """The name of the grid that a Hamiltonian is judged on."""
    return "ising" if hamiltonian.expansion.name == "Ising" else "cuau"


def named_grid(name: str) -> tuple[np.ndarray, np.ndarray]:
    """(T, mu) of a named grid; mu is that of the last element minus the first."""
    if name not in GRIDS:
        raise AlloygenError(f"expected the name of a grid in {tuple(GRIDS)}, got {name!r}")
    return GRIDS[name][0]()


def reference_samples(
    h: Hamiltonian,
    T,
    mu,
    n: int,
    *,
    seed: int = 1,
    dT: float = 50.0,
    dmu: float = 0.015,
    progress: bool = False,
    threads: int = 1,
) -> Reference:
    """Replica exchange on the grid of the conditions (T, mu), refined so that neighbours are at most dT and dmu apart."""
    from alloygen.montecarlo.sampling import replica_exchange

    fine_T, fine_mu = refined(np.unique(T), dT), refined(np.unique(mu), dmu)
    table = np.zeros((len(fine_mu), len(h.elements)))
    table[:, -1] = fine_mu
    s = replica_exchange(h, fine_T, table, n, sweeps=10, burn=300, seed=seed, progress=progress, threads=threads,
                         check=False)  # fmt: skip
    index = np.searchsorted(fine_T, np.asarray(T) - 1e-9) * len(fine_mu) + np.searchsorted(
        fine_mu, np.asarray(mu) - 1e-9
    )
    return Reference(s.occ[index], s.energy[index])


def refined(values: np.ndarray, step: float) -> np.ndarray:
    """Sorted ``values`` with as many more between them that neighbours are at most ``step`` apart."""
    parts = [np.linspace(a, b, int(np.ceil((b - a) / step - 1e-9)) + 1)[:-1] for a, b in pairwise(values)]
    return np.concatenate([*parts, values[-1:]])


def evaluate(
    model: Model,
    T,
    mu,
    n: int,
    *,
    reference: Reference | None = None,
    exact: bool | None = None,
    phi=None,
    seed: int = 0,
    batch: int = 1000,
    forward: int = FORWARD,
    visit: Callable[[int, Ensemble], None] | None = None,
    progress: bool = False,
) -> list[Row]:
    """Draw n configurations at each condition (T[i], mu[i]) and measure them.

    exact : compare with enumeration (None: where the supercell is small enough and phi is not given)
    phi : known values (C,) of Phi to compare with, for example of a transfer matrix
    forward : at most so many reference samples for the forward figures
    visit : called with the number of each condition and its ensemble, for figures of one's own
    """
    from alloygen.progress import tqdm

    h = model.hamiltonian
    if len(h.elements) != 2:
        raise AlloygenError(f"expected a binary model, got the elements {h.elements}")
    states = float(np.prod(h.lattice.n_species.astype(float)))
    table = None
    if exact or (exact is None and phi is None and states <= ENUMERABLE):
        from alloygen.exact.enumeration import Enumeration

        table = Enumeration(h)
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for i in tqdm(range(len(T)), desc="conditions", disable=not progress):
        potentials = np.array([0.0, mu[i]])
        ens = draw(model, float(T[i]), potentials, n, generator, batch)
        row = Row(float(T[i]), float(mu[i]), ens.ness, *_phi(ens), ens.composition(h.elements[-1]).value)
        if phi is not None:
            row.phi_exact = float(phi[i])
        elif table is not None:
            row.phi_exact = float(table.at(T[i], potentials).phi)
        if reference is not None:
            _against(row, model, ens, reference.occ[i], reference.energy[i], generator, batch, forward)
        if visit is not None:
            visit(i, ens)
        rows.append(row)
    return rows


def draw(model: Model, T: float, mu: np.ndarray, n: int, generator, batch: int = 1000) -> Ensemble:
    """An ensemble without Atoms, drawn in batches."""
    occ, log_prob = draw_batches(model, T, mu, n, generator, batch=batch)
    return Ensemble(model.hamiltonian, occ, model.hamiltonian.energy(occ), log_prob, T, mu, "neural")


def _phi(ens: Ensemble) -> tuple[float, float]:
    import warnings

    from alloygen.errors import LowSampleSize

    with warnings.catch_warnings():  # the NESS stands beside it in the same row
        warnings.simplefilter("ignore", LowSampleSize)
        estimate = ens.free_energy()
    return estimate.value, estimate.stderr


@torch.no_grad()
def _against(row: Row, model: Model, ens: Ensemble, occ, energy, generator, batch: int, forward: int) -> None:
    """Distances of the histograms, and forward figures on at most ``forward`` reference samples spread over the run."""
    h = model.hamiltonian
    x = torch.as_tensor(occ.astype(np.int64))
    kT, mu = h.kB * row.T, torch.as_tensor(ens.mu)
    pick = np.unique(np.linspace(0, len(x) - 1, forward).astype(int))
    log_q = []
    for part in x[pick].split(batch):
        path = trained_orders(model, len(part), generator)
        log_q.append(
            model.log_prob(part, torch.full((len(part),), row.T, dtype=torch.float64), mu.expand(len(part), -1), path)
        )
    log_w = (-(torch.as_tensor(energy[pick]) - h.counts(x[pick]) @ mu) / kT - torch.cat(log_q)).numpy()
    row.forward_ness = forward_ness(log_w, None if row.phi_exact is None else -row.phi_exact * h.n_sites / kT)
    row.eubo = float(eubo(log_w).value)
    n = h.n_sites
    count = lambda o: h.counts(o)[:, -1].numpy()  # noqa: E731
    bins = np.arange(n + 2) - 0.5
    row.js_composition, row.js_composition_weighted = _distances(ens, count(ens.occ), count(x), bins)
    both = np.concatenate([ens.energy.numpy(), energy])
    span = max(np.ptp(both), 1e-6)  # one energy level, but for rounding, is one bin
    bins = both.min() + span * np.linspace(-0.005, 1.005, 41)
    row.js_energy, row.js_energy_weighted = _distances(ens, ens.energy.numpy(), energy, bins)


def _distances(ens: Ensemble, values, reference, bins) -> tuple[float, float]:
    target = histogram(reference, bins)[0]
    bare, weighted = histogram(values, bins)[0], histogram(values, bins, ens.log_weight.numpy())[0]
    return float(js_divergence(bare, target)), float(js_divergence(weighted, target))


# ---------------------------------------------------------------------- reporting
_SUMMARISED = (
    ("forward_ness", min),
    ("js_composition", max),
    ("js_energy", max),
    ("js_composition_weighted", max),
    ("js_energy_weighted", max),
)


def summary(rows: list[Row]) -> dict:
    """The figures over the grid that a reader asks for first."""
    ness = np.array([r.ness for r in rows])
    out = {"conditions": len(rows), "ness_mean": float(ness.mean()), "ness_min": float(ness.min())}
    for name, worst in _SUMMARISED:
        values = [getattr(r, name) for r in rows if getattr(r, name) is not None]
        if values:
            out |= {f"{name}_mean": float(np.mean(values)), f"{name}_{worst.__name__}": float(worst(values))}
    deviations = np.array([r.deviation for r in rows if r.deviation is not None])
    if len(deviations):
        errors = np.array([r.phi_stderr for r in rows if r.deviation is not None])
        z = np.abs(deviations) / np.maximum(errors, 1e-15)
        out |= {
            "phi_deviation_max_meV": float(1e3 * np.abs(deviations).max()),
            "phi_z_max": float(z.max()),
            "phi_within_4_stderr": float((z <= 4).mean()),
        }
    return out


def print_table(rows: list[Row], unit: str = "eV", file=None) -> None:
    """One line a condition, then the summary."""
    file = file or sys.stdout
    head = f"{'T':>7} {'dmu':>8} {'NESS':>7} {'fwd':>7} {'x':>7} {'Phi/site':>12} {'stderr':>9} {'Phi-exact':>10} {'JS x':>7} {'JS E':>7}"
    print(f"{head}   [{unit}]", file=file)
    cell = lambda v, f: "-" if v is None else format(v, f)  # noqa: E731
    for r in rows:
        print(
            f"{r.T:7.0f} {r.mu:8.4f} {r.ness:7.4f} {cell(r.forward_ness, '.4f'):>7} {r.composition:7.4f} {r.phi:12.8f} "
            f"{r.phi_stderr:9.1e} {cell(r.deviation, '10.1e'):>10} {cell(r.js_composition, '.4f'):>7} "
            f"{cell(r.js_energy, '.4f'):>7}",
            file=file,
        )
    for name, value in summary(rows).items():
        print(f"{name:>24} {value:.6g}", file=file)


def write_json(path, rows: list[Row], **facts) -> None:
    """Rows, summary and facts about the run as JSON, whole or not at all."""
    content = {"facts": facts, "summary": summary(rows), "rows": [asdict(r) | {"deviation": r.deviation} for r in rows]}
    with atomic_path(path) as temporary, open(temporary, "w") as f:
        json.dump(content, f, indent=1)


__all__ = [
    "Reference",
    "Row",
    "evaluate",
    "grid_of",
    "named_grid",
    "orders",
    "print_table",
    "reference_samples",
    "summary",
    "write_json",
]
