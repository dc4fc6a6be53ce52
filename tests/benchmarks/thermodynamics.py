"""The thermodynamics tables of docs/benchmarks.md and docs/thermodynamics.md. Run: python tests/benchmarks/thermodynamics.py [--quick]

1. every observable of 10,000 neural samples a condition against enumeration, as z-scores (Ising 4x4 with a model trained here in
   40 seconds, CuAu 2x2x4 with the one that ships), entropy in kB
2. F_mix of CuAu 4x4x4 from one neural scan, pooled and by the paper's bins, against metadynamics
3. transition temperatures of the same scan against Monte Carlo on the same cell: peaks of the heat capacity at fixed composition
   (canonical replica exchange) and the temperature at which CuAu3 gives way to CuAu + disordered (metadynamics)
4. seconds for the whole diagram

Parts may be asked for with --only; a scan or reference that was interrupted goes on from tests/benchmarks/results/thermodynamics/.
"""

import argparse
import json
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from ase.build import bulk

import alloygen
import alloygen.data
from alloygen.estimate.coexistence import tangent_at
from alloygen.exact.enumeration import Enumeration
from alloygen.models.draw import draw
from alloygen.results.ensemble import Ensemble
from alloygen.results.phase_diagram import PhaseDiagram
from alloygen.results.transitions import heat_capacity_peak
from alloygen.runtime.job import Job
from alloygen.runtime.progress import tqdm

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "thermodynamics"
FIGURES = HERE.parents[1] / "docs" / "figures"
STOICHIOMETRIC = {16: "Cu3Au", 32: "CuAu", 48: "CuAu3"}
T_SCAN = np.linspace(200, 1200, 21)
T_REFERENCE = np.union1d(np.arange(300.0, 1201.0, 100.0), np.arange(380.0, 491.0, 10.0))
ISING = {
    "name": "ising_4x4", "system": {"hamiltonian": "ising", "repeats": [4, 4, 1]},
    "data": {"T": [{"from": 1.4, "to": 3.6, "step": 0.2}], "mu": [{"from": -1.0, "to": 1.0, "step": 0.2}], "samples": 300, "sweeps": 5, "burn": 100},
    "model": {"kind": "causal", "width": 64, "depth": 3, "heads": 4},
    "objective": {"kind": "likelihood", "floor": 0.4, "label_images": "none"},
    "training": {"steps": 10**6, "minutes": 0.7, "batch": 256, "lr": 2e-3, "warmup": 50, "ema": 0.99},
    "validation": {"every": 10**6, "samples": 2}, "machine": {"threads": 2},
}  # fmt: skip


# ---------------------------------------------------------------------- 1. observables
def observables(ens: Ensemble) -> dict:
    """Every observable as name -> Estimate."""
    element = ens.elements[-1]
    out = {"Phi": ens.free_energy(), "energy": ens.mean_energy(), "entropy": ens.entropy(), "heat capacity": ens.heat_capacity(),
           "susceptibility": ens.susceptibility(element), "composition": ens.composition(element)}  # fmt: skip
    square = ens.hamiltonian.unit != "eV"
    out |= {
        f"two-point {r:.3g}": e
        for r, e in zip(*ens.two_point("manhattan" if square else "shell"), strict=True)
        if r > 0
    }
    _, alpha = ens.warren_cowley(3)[ens.elements]
    out |= {f"Warren-Cowley {k + 1}": a for k, a in enumerate(alpha)}
    orders = ["L1_2", "L1_0"] if not square else [[0.5, 0.5, 0]]
    out |= {f"order {o}": ens.order_parameter(o) for o in orders}
    _, p, error = ens.histogram(element)
    out |= {f"p(N = {n})": (p[n], error[n]) for n in range(len(p))}
    return {k: (v if isinstance(v, tuple) else (v.value, v.stderr)) for k, v in out.items()}


def exact(table: Enumeration, T, mu) -> dict:
    """The same from all configurations at once: weights proportional to the law, so no sampling error."""
    h, n = table.hamiltonian, len(table)
    every = Ensemble(h, table.occ, table.energy, np.full(n, -np.log(n)), T, mu, "exact")
    w = every.weights
    out = {k: v for k, (v, _) in observables(every).items()}
    shrink = 1.0 - (w**2).sum()  # variances are divided by this for samples; all configurations need no such correction
    return out | {k: out[k] * shrink for k in ("heat capacity", "susceptibility")}


def z_scores(model, T, mu, n: int, title: str, quick: bool) -> dict:
    h, table = model.hamiltonian, Enumeration(model.hamiltonian)
    rows, entropy = {}, []
    order = h.expansion.name
    for k, (t, m) in enumerate(tqdm(list(zip(T, mu, strict=True)), desc=title)):
        occ, log_prob = draw(
            model, model.hamiltonian.condition(t, [0.0, m]), n, torch.Generator().manual_seed(k), batch=2000
        )
        ens = Ensemble(h, occ, h.energy(occ), log_prob, t, np.array([0.0, m]), "neural")
        found, true = observables(ens), exact(table, t, np.array([0.0, m]))
        for name, (value, error) in found.items():
            if name.startswith("p(N") and true[name] * n < 30:
                continue  # a handful of samples has no Gaussian error
            kind = name.split(" ")[0] if name.startswith(("p(N", "two-point", "Warren-Cowley", "order")) else name
            if error > 0 and np.isfinite(value):
                rows.setdefault(kind, []).append((value - true[name]) / error)
        entropy.append(abs(found["entropy"][0] - true["entropy"]) / h.kB)
    print(f"\n{title}: {n} samples at {len(T)} conditions ({order})\n{'observable':>20}    n  within 4   std   mean")
    every = np.concatenate([np.array(v) for v in rows.values()])
    for name, z in [*rows.items(), ("all", every)]:
        z = np.array(z)
        print(f"{name:>20} {len(z):>4}  {(abs(z) < 4).mean():8.2%}  {z.std():.2f}  {z.mean():+.2f}")
    print(f"largest error of the entropy: {max(entropy):.5f} kB/site (target 0.005)")
    return {"conditions": len(T), "n": n, "within_4": float((abs(every) < 4).mean()), "std": float(every.std()),
            "std_of_each": {k: float(np.std(v)) for k, v in rows.items()}, "entropy_error_kB": float(max(entropy))}  # fmt: skip


def part_observables(quick: bool) -> dict:
    n, out = (1000 if quick else 10_000), {}
    config = json.loads(json.dumps(ISING))
    config["training"]["minutes"] *= 0.3 if quick else 1
    model = alloygen.train(config=config, folder=RESULTS / f"ising_4x4{'_quick' if quick else ''}", progress=False)
    torch.set_num_threads(1)
    fields = np.array([0.0, 0.2, 0.4])
    T = np.repeat(np.arange(1.5, 3.51, 0.2), 3)
    out["ising_4x4"] = z_scores(model, T, np.tile(2 * fields, len(T) // 3), n, "Ising 4x4", quick)
    T, mu = alloygen.data.grids()["cuau"].pairs()
    out["cuau_2x2x4"] = z_scores(alloygen.load("cuau_2x2x4"), T, mu, n, "CuAu 2x2x4", quick)
    return out


# ---------------------------------------------------------------------- 2. free energies
def neural_scan(n: int, folder: Path):
    """The scan that everything below comes from, and the seconds it took."""
    atoms = bulk("Cu", a=3.8).repeat((4, 4, 4))
    start = time.time()
    with ProcessPoolExecutor(2, get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        scan = alloygen.scan(atoms, T=T_SCAN, mu="Au", n=n, seed=0, sampler="cuau_4x4x4", 
                             job=Job(executor=pool, checkpoint=folder / f"scan_{n}.safetensors", progress=True))  # fmt: skip
    seconds = time.time() - start
    print(
        f"\nneural scan: {len(scan)} conditions, {len(scan) * n} configurations, {seconds:.0f} s (less where it went on from a checkpoint)"
    )
    return scan, seconds


def reference_profile(folder: Path, quick: bool):
    """F(N, T) of 64 sites by metadynamics."""
    h = alloygen.data.cuau().on((4, 4, 4))
    checkpoint = folder / f"metadynamics{'_quick' if quick else ''}.safetensors"
    stages = alloygen.Stages(walkers=2, production=40_000 if quick else 1_600_000)
    return alloygen.metadynamics(
        h, T_REFERENCE, stages=stages, seed=1, job=Job(threads=2, progress=True, checkpoint=checkpoint)
    )


def part_free_energy(scan, quick: bool, folder: Path) -> dict:
    table, profile = scan.free_energies(T_REFERENCE), reference_profile(folder, quick)
    print(
        f"\nF_mix of CuAu 4x4x4, meV/site: neural, pooled | metadynamics | difference | the paper's bins - metadynamics\n{'T':>6}  x"
    )
    worst, worst_bin, z = 0.0, 0.0, []
    for k, T in enumerate(profile.T):
        if T % 100:
            continue
        for n in STOICHIOMETRIC:
            at = table.sel(T=T, n=n)
            ours, error, ref, ref_error = 1000 * np.array(
                [at.mixing.item(), at.mixing_stderr.item(), profile.free_energy[k, n], profile.stderr[k, n]]
            )
            other = 1000 * scan.binned_free_energy(T, n / 64).value - ref
            print(
                f"{T:6.0f}  {n / 64:.2f}  {ours:9.3f} +- {error:.3f} | {ref:9.3f} +- {ref_error:.3f} | {ours - ref:+.3f} | {other:+.2f}"
            )
            worst, worst_bin = max(worst, abs(ours - ref)), np.fmax(worst_bin, abs(other))
            z.append((ours - ref) / np.hypot(error, ref_error))
    f, reference = table.mixing.values, profile.free_energy
    known = np.isfinite(f)
    everywhere = 1000 * np.nanmax(np.abs(f - reference)[known])
    print(
        f"largest difference {worst:.3f} meV/site (target 0.5), z std {np.std(z):.2f}; at every composition {everywhere:.3f}; the paper's bins {worst_bin:.2f}"
    )
    return {"largest": worst, "everywhere": everywhere, "bins": float(worst_bin), "z_std": float(np.std(z))}


# ---------------------------------------------------------------------- 3. transitions
def canonical_peak(n: int, samples: int, seed: int) -> tuple[float, float]:
    """Heat-capacity peak of 64 sites with n Au by replica exchange of swaps over T, and its error."""
    atoms = bulk("Cu", a=3.8).repeat((4, 4, 4))
    atoms.symbols[np.random.default_rng(seed).permutation(64)[:n]] = "Au"
    rungs = np.arange(260.0, 1300.0, 20.0)
    scan = alloygen.mc(atoms, T=rungs, n=samples, move="swap", seed=seed, job=Job(threads=2), sweeps=5, burn=500)
    pool, h = scan.pool, scan.hamiltonian
    T, energy = np.arange(rungs[0], rungs[-1], 5.0), None
    c, replicas = [], []
    energy = pool.energy - pool.energy.mean()
    for t in T:
        by = pool.by_number(1, 1 / (h.kB * t), np.column_stack([energy, energy**2]))
        c.append((by.mean[0, 1] - by.mean[0, 0] ** 2) / t**2)
        replicas.append((by.mean_replica[:, 0, 1] - by.mean_replica[:, 0, 0] ** 2) / t**2)
    return heat_capacity_peak(T, np.array(c), np.array(replicas).T)


def end_of_cuau3(diagram: PhaseDiagram) -> tuple[float, float]:
    """The highest temperature at which CuAu coexists with CuAu3 (the tangent above x = 5/8 ends near 3/4), and its error."""
    T = diagram.T
    right = lambda f: np.array([tangent_at(g, 40).b for g in f])  # noqa: E731
    last = lambda f: T[np.flatnonzero(right(f) <= 50).max()] + 0.5 * np.diff(T).mean()  # noqa: E731
    replicas = diagram.table["free_energy_replica"].values
    spread = np.std([last(replicas[:, r]) for r in range(replicas.shape[1])], ddof=1)
    return float(last(diagram.table["free_energy"].values)), float(np.hypot(spread, np.diff(T).mean() / np.sqrt(12)))


def part_transitions(scan, diagram: PhaseDiagram, quick: bool, folder: Path) -> dict:
    print(
        "\ntransition temperatures at fixed composition (peak of C), K: neural | canonical replica exchange | difference"
    )
    out = {}
    for n, name in STOICHIOMETRIC.items():
        row = diagram.transitions[np.isclose(diagram.transitions["x"], n / 64)].iloc[0]
        T, error = canonical_peak(n, 400 if quick else 4000, seed=n)
        apart = row["T"] - T
        print(
            f"{name:>7} {row['T']:7.1f} +- {row['T_stderr']:.1f} | {T:7.1f} +- {error:.1f} | {apart:+.1f} ({abs(apart) / np.hypot(error, row['T_stderr']):.1f} sigma), {row['kind']}"
        )
        out[name] = {"neural": [row["T"], row["T_stderr"]], "monte_carlo": [T, error]}
    window = np.arange(380.0, 491.0, 10.0)
    ours = end_of_cuau3(PhaseDiagram(scan.free_energies(window)))
    theirs = end_of_cuau3(PhaseDiagram.from_profile(reference_profile(folder, quick), window))
    apart = ours[0] - theirs[0]
    print(f"CuAu3 on the hull up to {ours[0]:.1f} +- {ours[1]:.1f} | metadynamics {theirs[0]:.1f} +- {theirs[1]:.1f} | {apart:+.1f} "
          f"({abs(apart) / np.hypot(ours[1], theirs[1]):.1f} sigma)")  # fmt: skip
    return out | {"CuAu3 on the hull": {"neural": ours, "monte_carlo": theirs}}


# ---------------------------------------------------------------------- all
def figures(scan, diagram) -> None:
    import matplotlib.pyplot as plt

    from alloygen.results import plot

    table = scan.free_energies()
    fig, axes = plt.subplots(2, 2, figsize=(11.5, 9), layout="constrained")
    diagram.plot("T-x", ax=axes[0, 0])
    diagram.plot("T-mu", ax=axes[0, 1])
    plot.free_energy_curves(table, ax=axes[1, 0])
    plot.ness_map(scan.to_xarray(), ax=axes[1, 1])
    fig.savefig(FIGURES / "cuau_phase_diagram.png", dpi=130)
    plt.close(fig)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--quick", action="store_true", help="a tenth of the samples, for a look")
    p.add_argument(
        "--only",
        nargs="+",
        choices=("observables", "free-energy", "transitions"),
        default=["observables", "free-energy", "transitions"],
    )
    p.add_argument("-n", type=int, default=250, help="configurations at each condition of the scan")
    p.add_argument("--figures", action="store_true", help="write docs/figures/cuau_phase_diagram.png")
    args = p.parse_args()
    warnings.simplefilter("ignore")
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"figures{'_quick' if args.quick else ''}.json"
    out = json.loads(path.read_text()) if path.exists() else {}
    if "observables" in args.only:
        out["observables"] = part_observables(args.quick)
    if {"free-energy", "transitions"} & set(args.only):
        scan, seconds = neural_scan(args.n // (5 if args.quick else 1), RESULTS)
        out["scan"] = {"conditions": len(scan), "n": scan.n, "seconds": seconds}
        if "free-energy" in args.only:
            out["free_energy"] = part_free_energy(scan, args.quick, RESULTS)
        if "transitions" in args.only or args.figures:
            start = time.time()
            diagram = scan.phase_diagram()
            print(f"{diagram}\n{diagram.invariants.to_string(index=False)}")
            out["scan"]["diagram_seconds"] = time.time() - start
            diagram.write(RESULTS / "cuau_4x4x4.nc")
            if "transitions" in args.only:
                out["transitions"] = part_transitions(scan, diagram, args.quick, RESULTS)
            if args.figures:
                figures(scan, diagram)
    path.write_text(json.dumps(out, indent=1))
    print(f"\nwrote {path}")


if __name__ == "__main__":
    main()
