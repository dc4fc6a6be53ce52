"""How good is a model? NESS, forward NESS against Monte Carlo, free energies against exact values, over a grid.

A self-sampled NESS cannot see a missing mode; the forward figures on reference samples x ~ p can, so both are shown.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, TextIO

import numpy as np
import torch

from alloygen.arguments import LARGEST_SEED, whole_number
from alloygen.arrays import as_array, as_tensor
from alloygen.conditions import exchangeable, relative
from alloygen.conditions.record import Condition
from alloygen.edge.atoms_map import AtomsMap
from alloygen.errors import AlloygenError, LowSampleSize
from alloygen.estimate.thermo import histogram, js_divergence
from alloygen.estimate.weights import eubo, forward_ness
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.models.base import Model
from alloygen.models.draw import draw as draw_blocks
from alloygen.models.draw import trained_orders
from alloygen.models.store import require_model
from alloygen.results.ensemble import Ensemble
from alloygen.runtime.atomic import atomic_path
from alloygen.runtime.job import Job
from alloygen.runtime.tensors import read_tensors, write_tensors
from alloygen.training.reference import Reference, difference
from alloygen.types import ArrayLike, PathLike

ENUMERABLE = 2**20
FORWARD = 500


@dataclass
class Row:
    """One condition. Energies in the Hamiltonian's unit per site; figures that have no reference are None.

    Of two exchangeable elements ``mu`` is mu(last) - mu(first) and ``composition`` that of the last; of more both are by element,
    and the distances of composition are the largest over the elements. ``forward_own`` is the forward NESS with Z of the model's own draws: near 0
    where the samples lie in a phase that it does not draw, which the other one cannot see in an ordered phase without a known Z. The Jensen-Shannon
    distances (nats) of the histograms are those of the bare draws, and of the weighted ensemble.
    """

    T: float
    mu: float | dict[str, float]
    ness: float
    phi: float
    phi_stderr: float
    composition: float | dict[str, float]
    forward_ness: float | None = None
    eubo: float | None = None
    js_composition: float | None = None
    js_energy: float | None = None
    js_composition_weighted: float | None = None
    js_energy_weighted: float | None = None
    phi_exact: float | None = None
    forward_own: float | None = None

    @property
    def deviation(self) -> float | None:
        return None if self.phi_exact is None else self.phi - self.phi_exact


def evaluate(
    model: Model,
    at: Condition,
    n: int,
    *,
    reference: Reference | None = None,
    exact: bool | None = None,
    phi: ArrayLike | None = None,
    seed: int = 0,
    forward: int = FORWARD,
    visit: Callable[[int, Ensemble], None] | None = None,
    job: Job | None = None,
) -> list[Row]:
    """Draw n configurations at each condition and measure them.

    at : C conditions, ``model.hamiltonian.condition(T, mu)``
    exact : compare with enumeration (None: where the supercell is small enough and phi is not given)
    phi : known values (C,) of Phi to compare with, for example of a transfer matrix
    seed : a number, not None: rows have no place that would record a fresh one
    forward : at most so many reference samples for the forward figures
    visit : called with the number of each condition and its ensemble, for figures of one's own
    """
    from alloygen.runtime.progress import tqdm

    h = model.hamiltonian
    at, n, seed = h.condition(at.T, at.mu), whole_number(n, "n"), whole_number(seed, "seed", 0, LARGEST_SEED)
    few = np.log2(h.lattice.n_species).sum() <= np.log2(ENUMERABLE) + 1e-9
    table = None
    if exact or (exact is None and phi is None and few):
        from alloygen.exact.enumeration import Enumeration

        table = Enumeration(h)
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for i in tqdm(range(len(at)), desc="conditions", disable=not (job and job.progress)):
        ens = draw(model, at[i], n, generator)
        with _ness_tells():
            row = _row(ens)
        if phi is not None:
            row.phi_exact = float(np.asarray(phi)[i])
        elif table is not None:
            row.phi_exact = float(table.at(at[i]).phi)
        if reference is not None:
            _against(row, model, ens, reference.occ[i], reference.energy[i], generator, forward)
        if visit is not None:
            visit(i, ens)
        rows.append(row)
    return rows


def _row(ens: Ensemble) -> Row:
    """What is known without references."""
    free, index = exchangeable(ens.hamiltonian.lattice), ens.elements.index
    x = {e: ens.composition(e).value for e in free}
    if len(free) == 2:
        return Row(ens.T, float(difference(ens.hamiltonian, ens.mu)), ens.ness, *_phi(ens), x[free[-1]])
    return Row(ens.T, {e: float(ens.mu[index(e)]) for e in free}, ens.ness, *_phi(ens), x)


def draw(model: Model, condition: Condition, n: int, generator: torch.Generator) -> Ensemble:
    """An ensemble at one condition, its Atoms those of the model's lattice; see :func:`alloygen.models.draw.draw`."""
    drawn, log_prob = draw_blocks(model, condition, n, generator)
    occ = as_array(drawn, np.int8)
    return Ensemble(
        model.hamiltonian,
        occ,
        model.hamiltonian.energy(occ),
        as_array(log_prob, np.float64),
        float(condition.T),
        as_array(condition.mu),
        "neural",
        AtomsMap.of_lattice(model.hamiltonian.lattice),
    )


def _phi(ens: Ensemble) -> tuple[float, float]:
    estimate = ens.free_energy()
    return estimate.value, estimate.stderr


@contextmanager
def _ness_tells() -> Iterator[None]:
    """No warnings of few effective samples: the NESS stands beside each figure in the same row."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LowSampleSize)
        yield


@torch.no_grad()
@_ness_tells()
def _against(row: Row, model: Model, ens: Ensemble, occ, energy, generator, forward: int) -> None:
    """Distances of the histograms, and forward figures on at most ``forward`` reference samples spread over the run."""
    h = model.hamiltonian
    at = h.condition(row.T, ens.mu)
    pick = np.unique(np.linspace(0, len(occ) - 1, forward).astype(int))
    log_q = model.log_prob(as_tensor(occ[pick]), at.expand(len(pick)), trained_orders(model, len(pick), generator))
    log_w = -at.reduced(energy[pick], h.counts(occ[pick])) - as_array(log_q)
    row.forward_ness = forward_ness(log_w, None if row.phi_exact is None else -row.phi_exact * h.n_sites / float(at.kT))
    row.forward_own = forward_ness(log_w, -row.phi * h.n_sites / float(at.kT))
    row.eubo = float(eubo(log_w).value)
    n = h.n_sites
    bins = np.arange(n + 2) - 0.5
    ours, theirs, free = ens.counts.T, h.counts(occ).T, exchangeable(h.lattice)
    columns = [h.elements.index(e) for e in (free[-1:] if len(free) == 2 else free)]
    apart = np.array([_distances(ens, ours[k], theirs[k], bins) for k in columns])
    row.js_composition, row.js_composition_weighted = apart.max(0).tolist()
    both = np.concatenate([ens.energy, energy])
    span = max(np.ptp(both), 1e-6)  # one energy level, but for rounding, is one bin
    bins = both.min() + span * np.linspace(-0.005, 1.005, 41)
    row.js_energy, row.js_energy_weighted = _distances(ens, ens.energy, energy, bins)


def _distances(ens: Ensemble, values, reference, bins) -> tuple[float, float]:
    target = histogram(reference, bins)[0]
    bare, weighted = histogram(values, bins)[0], histogram(values, bins, ens.log_weight)[0]
    return float(js_divergence(bare, target)), float(js_divergence(weighted, target))


def keep_measured(
    path: PathLike, rows: Sequence[Row], h: Hamiltonian, figures: Mapping[str, float] | None = None
) -> None:
    """Write what was measured on a supercell into the checkpoint of the model, in place of what was known of as many sites; ``sample`` warns by it.

    rows : of :func:`evaluate`, with the forward figures
    figures : in place of those of the last validation
    """
    tensors, meta = read_tensors(path)
    require_model(meta, path)
    others = [row for row in meta.get("forward", []) if row[0] != h.n_sites]
    last, found = exchangeable(h.lattice)[-1], []
    for row in rows:
        if row.forward_own is None:
            raise AlloygenError("expected rows with forward figures, got some without; give evaluate a reference")
        named = row.mu if isinstance(row.mu, dict) else {last: row.mu}
        mu = np.array([named.get(e, 0.0) for e in h.elements])
        found.append([h.n_sites, row.T, relative(mu, h.lattice)[1:].tolist(), min(row.ness, 1.0), row.forward_own])
    told = {**meta.get("figures", {}), **(figures or {})}
    write_tensors(path, tensors, {**meta, "forward": others + found, "figures": told})


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
        z = (np.abs(deviations) / np.maximum(errors, 1e-15))[np.isfinite(errors)]
        out |= {
            "phi_deviation_max_meV": float(1e3 * np.abs(deviations).max()),
            "phi_z_max": float(z.max(initial=0.0)),
            "phi_within_4_stderr": float((z <= 4).mean()) if len(z) else float("nan"),
            "phi_withheld": float(1.0 - len(z) / len(errors)),  # too heavy a tail of the weights for an error bar
        }
    return out


def print_table(rows: list[Row], unit: str = "eV", file: TextIO | None = None) -> None:
    """One line a condition, then the summary."""
    file = file or sys.stdout
    head = f"{'T':>7} {'dmu':>8} {'NESS':>7} {'fwd':>7} {'x':>7} {'Phi/site':>12} {'stderr':>9} {'Phi-exact':>10} {'JS x':>7} {'JS E':>7}"
    print(f"{head}   [{unit}]", file=file)
    cell = lambda v, f: "-" if v is None else format(v, f)  # noqa: E731
    by_element = lambda v, f: "/".join(f"{x:{f}}" for x in (v.values() if isinstance(v, dict) else [v]))  # noqa: E731
    for r in rows:
        print(
            f"{r.T:7.5g} {by_element(r.mu, '.4f'):>8} {r.ness:7.4f} {cell(r.forward_ness, '.4f'):>7} "
            f"{by_element(r.composition, '.4f'):>7} {r.phi:12.8f} "
            f"{r.phi_stderr:9.1e} {cell(r.deviation, '10.1e'):>10} {cell(r.js_composition, '.4f'):>7} "
            f"{cell(r.js_energy, '.4f'):>7}",
            file=file,
        )
    for name, value in summary(rows).items():
        print(f"{name:>24} {value:.6g}", file=file)


def write_json(path: PathLike, rows: list[Row], **facts: Any) -> None:
    """Rows, summary and facts about the run as JSON, whole or not at all."""
    content = {"facts": facts, "summary": summary(rows), "rows": [asdict(r) | {"deviation": r.deviation} for r in rows]}
    with atomic_path(path) as temporary, open(temporary, "w") as f:
        json.dump(content, f, indent=1)


__all__ = [
    "Row",
    "evaluate",
    "keep_measured",
    "print_table",
    "summary",
    "write_json",
]
