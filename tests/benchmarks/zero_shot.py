"""Alloys without training: a network for every alloy of a lattice on Hamiltonians that it never saw. Run: python tests/benchmarks/zero_shot.py CHECKPOINT

Held-out alloys are those of the prior in the checkpoint, by a seed of this script and from a number on that no training reaches. mu are such that the composition is spread:
so many equal steps of it from .1 to .9 at each temperature, by short replica exchange. For each band of temperatures the median and the tenth
percentile of NESS and of the forward NESS, and NESS of bare physics (the network switched off). Then CuAu, which is in no training set, at the
110 published conditions. Figures: docs/results/zero_shot_NAME.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import replace
from itertools import count, islice
from pathlib import Path

import numpy as np
import torch
from cost import clease_speed
from own_alloys import bcc, emt

import alloygen
from alloygen.conditions.record import Condition
from alloygen.estimate.weights import forward_ness, ness
from alloygen.generate.outpaint import Outpainter
from alloygen.hamiltonian.scale import scale
from alloygen.models.family import FamilyModel, ZeroShot
from alloygen.models.store import load_model
from alloygen.montecarlo.sampling import replica_exchange
from alloygen.runtime.job import Job
from alloygen.training.config import load_config
from alloygen.training.kinds import StreamConfig
from alloygen.training.prior import couplings, make, place
from alloygen.training.reference import named_grid
from alloygen.training.sections import PriorConfig
from alloygen.training.stream import HELD

RESULTS = Path(__file__).parents[2] / "docs" / "results"
SEED = 1  # of the held-out alloys, whatever that of the training
FIRST = HELD + 1000  # number of the first alloy here; validation takes those before
T = np.array([400.0, 500.0, 600.0, 700.0, 900.0, 1200.0])
ABOVE = np.array([1600.0, 2200.0])  # to help the exchange
BANDS = {"400-700 K": (400, 650), "700-1200 K": (700, 1200)}
PUBLIC = Path(__file__).parent / "public"
EMT = {"Cu-Au": 3.8, "Ag-Pd": 3.95, "Cu-Ni": 3.6, "Au-Pt": 4.0, "Cu-Pd": 3.75}  # lattice constants, angstrom
REAL = {  # alloys that no training saw
    "fcc": {f"{name}, fitted to EMT": lambda name=name, a=a: emt(name.split("-"), a, 5) for name, a in EMT.items()}
    | {"Ni-W, published (DFT)": lambda: alloygen.from_atat(PUBLIC / "ni_w")},
    "bcc": {"B2 and D0_3, two shells": bcc},
}
CELLS = {
    "cubic": {"2x4x4": (2, 4, 4), "4x4x4": (4, 4, 4), "4x4x8": (4, 4, 8)},
    "square": {"8x8": (8, 8, 1), "16x16": (16, 16, 1)},
}


def spread_mu(h, steps: int) -> np.ndarray:
    """mu (T, steps) at which the composition is spread over (0, 1) at each temperature."""
    found = scale(h)
    half = np.ptp(found.mu) / 2 + 4 * h.kB * T.max()
    grid = np.mean(found.mu) + half * np.linspace(-1, 1, 33)
    s = replica_exchange(
        h, h.grid([*T, *ABOVE], np.column_stack([0 * grid, grid])), 6, sweeps=8, burn=80, seed=3, check=False
    )
    x = np.asarray(s.occ).mean((1, 2)).reshape(len(T) + len(ABOVE), -1)[: len(T)]
    wanted = np.linspace(0.1, 0.9, steps)
    rising = np.maximum.accumulate(x, axis=1) + 1e-9 * np.arange(x.shape[1])
    return np.array([np.interp(wanted, row, grid) for row in rising])


def bare(law: FamilyModel) -> FamilyModel:
    """The same without what the network adds."""
    other = FamilyModel(law.hamiltonian, law.ranges, **law.config())
    return other.eval()


def nesses(law, conditions, n: int) -> list[float]:
    """NESS of n draws at each of (T, mu)."""
    h, pairs = law.hamiltonian, np.repeat(np.array(list(conditions), dtype=float), n, axis=0)
    at = h.condition(pairs[:, 0], np.column_stack([0 * pairs[:, 1], pairs[:, 1]]))
    order = law.order.expand(len(at), -1)
    occ, log_q = law.sample(at, order, torch.Generator().manual_seed(0))
    log_w = (-h.reduced_energy(occ, at) - log_q).numpy().reshape(-1, n)
    return [float(ness(row)) for row in log_w]


def averaged(model: FamilyModel, cell, alloys: int, n: int, steps: int, paths: int) -> list[dict]:
    """NESS of the same draws whose likelihood is averaged over so many translates of the configuration, ``Neural(average=paths)``."""
    rows = []
    for k in range(alloys):
        h = held_alloy(model, k, cell)
        painter = Outpainter(model.on(h), h)
        for t, mus in zip(T, spread_mu(h, steps), strict=True):
            for mu in mus:
                at = h.condition(float(t), [0.0, float(mu)])
                made = painter.draw(at, n, torch.Generator().manual_seed(0), average=paths)
                log_w = (-h.reduced_energy(made.occ, at) - made.log_prob).numpy()
                rows.append({"alloy": k, "T": float(t), "mu": float(mu), "ness": float(ness(log_w))})
    return rows


def figures(law: FamilyModel, mu: np.ndarray, n: int) -> list[dict]:
    """NESS of the law and of bare physics at every T and mu."""
    at = [(t, m) for t, row in zip(T, mu, strict=True) for m in row]
    pairs = zip(at, nesses(law, at, n), nesses(bare(law), at, n), strict=True)
    return [{"T": float(t), "mu": float(m), "ness": own, "bare": physics} for (t, m), own, physics in pairs]


def forward(law: FamilyModel, mu: np.ndarray, n: int) -> list[float]:
    """Forward NESS on replica-exchange samples, in the sequence of ``figures``."""
    h, out = law.hamiltonian, []
    for k, t in enumerate(T):
        ladder = [x for x in (*T, *ABOVE) if x >= t]
        s = replica_exchange(
            h, h.grid(ladder, np.column_stack([0 * mu[k], mu[k]])), n, sweeps=8, burn=120, seed=5, check=False
        )
        occ = torch.as_tensor(np.asarray(s.occ[: len(mu[k])])).long().flatten(0, 1)
        pick = np.repeat(mu[k], n)
        at = h.condition(np.full(len(occ), t), np.column_stack([0 * pick, pick]))
        with torch.no_grad():
            log_q = law.log_prob(occ, at, law.order.expand(len(occ), -1))
        out += [float(forward_ness(row)) for row in (-h.reduced_energy(occ, at) - log_q).numpy().reshape(-1, n)]
    return out


def held_out(model: FamilyModel, cell, alloys: int, n: int, steps: int) -> list[dict]:
    """Rows of all held-out alloys on one supercell."""
    rows = []
    for k in range(alloys):
        h = held_alloy(model, k, cell)
        law, mu = model.on(h), spread_mu(h, steps)
        found = figures(law, mu, n)
        for row, value in zip(found, forward(law, mu, n // 2), strict=True):
            rows.append(row | {"alloy": k, "forward": value})
    return rows


def on_cuau(law, n: int) -> list[float]:
    """NESS of a law of CuAu at the published conditions."""
    T, mu = named_grid("cuau", law.hamiltonian).arrays()
    return nesses(law, zip(T, mu[:, 1], strict=True), n)


def held_alloy(model: FamilyModel, k: int, cell):
    """The Hamiltonian of a held-out alloy on a supercell."""
    prior = load_config(dict(model.metadata["config"])).prior
    assert prior is not None
    return model.parent.expansion(couplings(model.parent, replace(prior, seed=SEED), FIRST + k)).on(cell)


def polished(model: FamilyModel, k: int, minutes: float, n: int, steps: int) -> dict[str, list[float]]:
    """NESS of held-out alloy k before and after so many minutes of polish on this machine, 64 sites."""
    h = held_alloy(model, k, CELLS["cubic"]["4x4x4"])
    at = [(t, m) for t, row in zip(T, spread_mu(h, steps), strict=True) for m in row]
    with tempfile.TemporaryDirectory() as folder:
        law = alloygen.polish(h, minutes=minutes, folder=folder, workers=1, progress=False)
    return {"before": nesses(model.on(h), at, n), "after": nesses(law, at, n)}


def cuau_polished(minutes: float, n: int) -> list[float]:
    """NESS of CuAu at the published conditions after so many minutes of polish."""
    with tempfile.TemporaryDirectory() as folder:
        return on_cuau(
            alloygen.polish(
                alloygen.data.cuau().on((4, 4, 4)), minutes=minutes, folder=folder, workers=1, progress=False
            ),
            n,
        )


def frustrated_ising(model: FamilyModel, n: int) -> list[dict]:
    """NESS of the Ising model with next neighbours on 16x16, H = -J1 sum_nn s s - J2 sum_nnn s s, at h = 0 and .1."""
    rows = []
    for ratio in np.linspace(-0.5, 0.5, 11):
        J = np.zeros(len(model.parent.figures))
        J[1:3] = -2.0, -2.0 * ratio  # two bonds a site each
        h = model.parent.expansion(J, ("-", "+"), kB=1.0, unit="J").on((16, 16, 1))
        at = [(t, m) for t in np.linspace(1.5, 4.0, 6) for m in (0.0, 0.2)]
        rows += [
            {"J2/J1": float(ratio), "T": t, "mu": m, "ness": v}
            for (t, m), v in zip(at, nesses(model.on(h), at, n), strict=True)
        ]
    return rows


def met_and_new(model: FamilyModel, alloys: int, n: int) -> dict[str, list[list[float]]]:
    """NESS of the alloys that the training met last and of others of its prior, 64 sites, at the coldest, a middling and the hottest temperature of each."""
    config = dict(model.metadata["config"])
    config = load_config(config | {"training": config["training"] | {"start": ""}})
    prior, cells = config.prior, [config.system.repeats, *config.system.more]
    assert prior is not None and isinstance(config.objective, StreamConfig)
    last, found = model.metadata["steps"] // config.objective.every, {}
    for name, numbers in {"met": range(last - 1, -1, -1), "new": count(FIRST)}.items():
        of_64 = islice((k for k in numbers if place(prior, k, len(cells)) == 0), alloys)
        made = (make(model.parent, prior, cells, k) for k in of_64)
        found[name] = [nesses(model.on(a.hamiltonian), middle(a.condition, prior), n) for a in made]
    return found


def middle(condition: Condition, prior: PriorConfig) -> list[tuple[float, float]]:
    """(T, mu) of three temperatures of an alloy of the prior, at its middle chemical potential."""
    T, mu = condition.arrays()
    at = [t * prior.n_mu + prior.n_mu // 2 for t in (0, prior.n_T // 3, prior.n_T - 1)]
    return list(zip(T[at].tolist(), mu[at, 1].tolist(), strict=True))


def real(model: FamilyModel, name: str, n: int) -> dict:
    """One of ``REAL`` with all its figures: NESS and Phi against replica exchange at ten conditions."""
    expansion = REAL[model.parent.name][name]()
    h = expansion.on((4, 4, 4))
    law, own, other = ZeroShot(model, h), scale(h), h.elements[1]
    mu = [{other: float(m)} for m in np.linspace(*own.beyond(1.0)[0], 5)]
    reference = alloygen.mc(h, own.T * np.array([1.0, 2.0]), mu, n=2000, seed=1)
    rows = []
    for k in range(len(reference)):
        at = reference[k]
        ens = alloygen.sample(h, at.T, dict(zip(h.elements, at.mu.tolist(), strict=True)), n=n, seed=0, sampler=law)
        phi, truth = ens.free_energy(), reference.free_energy(k)
        z = (phi.value - truth.value) / np.hypot(phi.stderr, truth.stderr)
        rows.append({"T": at.T, "mu": at.mu.tolist(), "ness": ens.ness, "z": float(z) if np.isfinite(z) else None})
    return {"ecis": len(expansion.orbits), "beyond": law.terms.beyond, "rows": rows}


def diagram(model: FamilyModel, threads: int) -> dict:
    """Seconds from CuAu, which no training saw, to its diagram with error bars, 64 sites and 15 temperatures: by the network, by replica exchange until its errors of
    Phi are as small, and what CLEASE would take for the same attempts (it has no free energies)."""
    h, temperatures, out = alloygen.data.cuau().on((4, 4, 4)), np.linspace(400, 1200, 15), {}
    torch.set_num_threads(threads)
    job = Job(progress=False, threads=threads)

    def one(name: str, n: int, sampler) -> float:
        started = time.perf_counter()
        scan = alloygen.scan(h, temperatures, "Au", n=n, seed=0, sampler=sampler, job=job)
        made = scan.phase_diagram()
        seconds = time.perf_counter() - started
        error = float(np.nanmean([scan.free_energy(c).stderr for c in range(len(scan))]))
        width = made.regions[["x_left_stderr", "x_right_stderr"]].to_numpy(dtype=float)
        flips = len(scan.info.get("ladder", ())) * len(np.unique(scan.mu[:, 1])) * n * scan.info.get("sweeps", 0)
        out[name] = {"seconds": seconds, "n": n, "conditions": len(scan), "error": error, "regions": len(made.regions), "x_error": float(np.nanmedian(width)),
                     "attempts": float(flips * h.n_sites)}  # fmt: skip
        print(f"  {name}, n = {n}: {out[name]}", flush=True)
        return error

    wanted, n = one("zero-shot", 256, ZeroShot(model, h)), 100
    while (error := one("replica exchange and MBAR", n, "mc")) > 1.05 * wanted and n < 10_000:
        n = min(10_000, int(np.ceil(n * (error / wanted) ** 2)))
    speed = clease_speed(h)
    exchange = out["replica exchange and MBAR"]
    out["the same attempts by CLEASE, one core"] = {"seconds": exchange["attempts"] / speed, "speed": speed}
    return out


def table(found: dict) -> str:
    """The rows of docs/new_alloy.md."""
    lines = [
        "| cell | temperatures | alloys | NESS median | tenth percentile | forward median | bare physics median |",
        "|---" * 7 + "|",
    ]
    for cell, rows in found["cells"].items():
        for band, (low, high) in BANDS.items():
            some = [r for r in rows if low <= r["T"] <= high]
            v, f, b = (np.array([r[key] for r in some]) for key in ("ness", "forward", "bare"))
            lines.append(
                f"| {cell} | {band} | {1 + max(r['alloy'] for r in rows)} | {np.median(v):.3f} | {np.quantile(v, 0.1):.3f} | {np.median(f):.3f} | {np.median(b):.3f} |"
            )
    for paths, rows in found.get("averaged", {}).items():
        for band, (low, high) in BANDS.items():
            v = [r["ness"] for r in rows if low <= r["T"] <= high]
            lines.append(
                f"4x4x4, {band}, likelihoods averaged over {paths} translates: NESS median {np.median(v):.3f}, tenth percentile {np.quantile(v, 0.1):.3f}"
            )
    for minutes, rows in found.get("polished", {}).items():
        before, after = (np.concatenate([r[key] for r in rows]) for key in ("before", "after"))
        lines.append(
            f"\nAfter {minutes} minutes of polish, {len(rows)} alloys: NESS median {np.median(before):.3f} -> {np.median(after):.3f}, tenth percentile "
            f"{np.quantile(before, 0.1):.3f} -> {np.quantile(after, 0.1):.3f}"
        )
    for minutes, values in found.get("cuau_polished", {}).items():
        lines.append(
            f"CuAu after {minutes} minutes of polish: NESS mean {np.mean(values):.3f}, smallest {np.min(values):.3f}"
        )
    if found.get("ising"):
        values = [r["ness"] for r in found["ising"]]
        lines.append(
            f"\nIsing with next neighbours, 16x16: NESS median {np.median(values):.3f}, smallest {np.min(values):.3f}"
        )
    if found.get("real"):
        lines += [
            "",
            "| alloy | ECIs | meV/site beyond the list | NESS mean | smallest | Phi - replica exchange, largest, in error bars |",
            "|---" * 6 + "|",
        ]
    for name, made in found.get("real", {}).items():
        v, z = np.array([r["ness"] for r in made["rows"]]), [abs(r["z"]) for r in made["rows"] if r["z"] is not None]
        lines.append(
            f"| {name} | {made['ecis']} | {1000 * made['beyond']:.1f} | {v.mean():.3f} | {v.min():.3f} | {max(z):.1f} |"
        )
    if found.get("diagram"):
        lines += [
            "",
            "| diagram, 15 temperatures, 64 sites | seconds | error of Phi, meV/site | error of x |",
            "|---" * 4 + "|",
        ]
    for name, made in found.get("diagram", {}).items():
        phi, x = (f"{1e3 * made['error']:.3f}", f"{made['x_error']:.4f}") if "error" in made else ("", "")
        lines.append(f"| {name} | {made['seconds']:,.0f} | {phi} | {x} |")
    for name, values in found.get("met_and_new", {}).items():
        cold, warm, hot = np.mean(values, axis=0)
        error = np.std(np.mean(values, axis=1)) / len(values) ** 0.5
        lines.append(
            f"{len(values)} alloys, {name}: NESS mean {cold:.3f}, {warm:.3f}, {hot:.3f} from cold to hot, {np.mean(values):.3f} +- {error:.3f} of all"
        )
    if found.get("cuau"):
        lines.append(
            f"\nCuAu, 4x4x4, 110 conditions: NESS mean {np.mean(found['cuau']):.3f}, smallest {np.min(found['cuau']):.3f}"
        )
    return "\n".join(lines)


def picture(found: dict, path: Path) -> None:
    """NESS of the held-out alloys on 64 sites by temperature, beside bare physics, and that of CuAu over (T, dmu) before and after polish."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, 3, figsize=(11, 3.5), layout="constrained")
    rows = found["cells"]["4x4x4"]
    for key, shift, color, label in (("bare", -0.2, "0.6", "bare physics"), ("ness", 0.2, "C0", "the network")):
        values = [[r[key] for r in rows if r["T"] == t] for t in T]
        made = axes[0].boxplot(
            values, positions=np.arange(len(T)) + shift, widths=0.35, whis=(10, 90), showfliers=False, patch_artist=True
        )
        for box in made["boxes"]:
            box.set(facecolor=color, alpha=0.7)
        made["boxes"][0].set_label(label)
    axes[0].set_xticks(range(len(T)), [f"{t:.0f}" for t in T])
    axes[0].set(
        xlabel="T (K)", ylabel="NESS", ylim=(0, 1.02), title=f"{1 + max(r['alloy'] for r in rows)} alloys it never saw"
    )
    axes[0].legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2, frameon=False)
    at_T, mu = named_grid("cuau", alloygen.data.cuau().on((4, 4, 4))).arrays()
    after = found["cuau_polished"]
    for ax, values, title in (
        (axes[1], found["cuau"], "CuAu, which it never saw"),
        (axes[2], after["15"], "CuAu, 15 minutes later"),
    ):
        dots = ax.scatter(mu[:, 1], at_T, c=values, vmin=0, vmax=1, cmap="viridis", s=60, marker="s")
        ax.set(xlabel="mu(Au) - mu(Cu) (eV)", ylabel="T (K)", title=f"{title}: mean {np.mean(values):.2f}")
    fig.colorbar(dots, ax=axes[1:], label="NESS")
    fig.savefig(path, dpi=110)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("checkpoint", help="name of one that ships, or a file")
    p.add_argument("--alloys", type=int, default=100, help="0 for the known systems alone")
    p.add_argument("--n", type=int, default=256)
    p.add_argument("--steps", type=int, default=3, help="chemical potentials at each temperature")
    p.add_argument("--only", nargs="*", help="these cells and alloys alone; what was measured before stays")
    p.add_argument(
        "--polish",
        action="store_true",
        help="ten alloys and CuAu after some minutes of training (an hour), of a network that ships",
    )
    p.add_argument(
        "--average", type=int, default=0, help="64 sites again, likelihoods averaged over so many translates"
    )
    p.add_argument(
        "--met", type=int, default=0, help="so many alloys that the training met, and as many that it did not"
    )
    p.add_argument("--diagram", action="store_true", help="seconds to a phase diagram")
    p.add_argument("--picture", type=Path, help="draw what was measured before to this file, and nothing else")
    p.add_argument("--threads", type=int, default=2, help="of the diagram")
    args = p.parse_args()
    torch.set_num_threads(1)
    started = time.perf_counter()
    path = Path(args.checkpoint)
    model = load_model(path) if path.exists() else alloygen.load(args.checkpoint)
    assert isinstance(model, FamilyModel)
    cells = CELLS["square" if model.parent.name == "square" else "cubic"]
    out = RESULTS / f"zero_shot_{model.name}.json" if not path.exists() else path.with_suffix(".json")
    found: dict = {"checkpoint": model.name, "steps": model.metadata.get("steps"), "cells": {}}
    before = json.loads(out.read_text()) if out.exists() else {}
    if before.get("steps") == found["steps"]:  # what is measured in parts is kept together
        found |= before

    if args.picture:
        picture(found, args.picture)
        return

    def keep(what: str) -> None:
        out.write_text(json.dumps(found, indent=1))
        print(f"{what}: {time.perf_counter() - started:.0f} s", flush=True)

    for name, cell in cells.items():
        if args.alloys and (not args.only or name in args.only):
            found["cells"][name] = held_out(model, cell, args.alloys, args.n, args.steps)
            keep(name)
    if model.parent.name == "fcc" and not args.only:
        found["cuau"] = on_cuau(ZeroShot(model, alloygen.data.cuau().on((4, 4, 4))), args.n)
        keep("CuAu")
    for name in REAL.get(model.parent.name, {}):
        if not args.only or name in args.only:
            found.setdefault("real", {})[name] = real(model, name, args.n)
            keep(name)
    if model.parent.name == "square" and not args.only:
        found["ising"] = frustrated_ising(model, args.n)
        keep("Ising")
    if args.polish:  # goes on where it was stopped
        for m in (2.0, 15.0) if model.parent.name == "fcc" else ():
            if f"{m:g}" not in found.setdefault("cuau_polished", {}):
                found["cuau_polished"][f"{m:g}"] = cuau_polished(m, args.n)
                keep(f"CuAu after {m:g} minutes")
        rows = found.setdefault("polished", {}).setdefault("2", [])
        for k in range(len(rows), 10):
            rows.append(polished(model, k, 2.0, args.n, args.steps))
            keep(f"alloy {k} after 2 minutes")
    if args.average:
        rows = averaged(model, CELLS["cubic"]["4x4x4"], args.alloys, args.n, args.steps, args.average)
        found.setdefault("averaged", {})[str(args.average)] = rows
        keep(f"likelihoods averaged over {args.average} translates")
    if args.met:
        found["met_and_new"] = met_and_new(model, args.met, args.n)
        keep("alloys that the training met, and others")
    if args.diagram:
        found["diagram"] = diagram(model, args.threads)
        keep("diagram")
    print(table(found))


if __name__ == "__main__":
    main()
