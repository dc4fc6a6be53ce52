"""What any order is good for, in figures. Run: python tests/benchmarks/any_order.py [--quick] [--only ...]

conditional : CuAu 2x2x4, random and adversarial fixed sets: log p(x_fixed) against enumeration
cuau        : CuAu 4x4x4 -> 4x4x8, 30 conditions, out-painted and after annealing, against the Monte Carlo reference
rules       : the paper's windows (the model's own torus) beside physics of the target, by stride
average     : likelihoods averaged over paths: NESS and cost
grown       : Ising, trained on windows of larger cells or not: NESS
ising       : Ising 10x10 -> 15x15 and 20x20 at h = 0 against Kaufman
windows     : Ising 40x40 and CuAu 8x8x8: plain weights beside resampling along the windows
blocks      : block regeneration beside single flips, CuAu 4x4x8 at 500-800 K: independent samples per second
large       : seconds for 100 configurations of 512 to 4096 sites
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
from scipy.special import logsumexp
from scipy.stats import chisquare

import alloygen
import alloygen.data
from alloygen import Anneal, Neural
from alloygen.arrays import as_array, as_tensor
from alloygen.estimate import chains as markov
from alloygen.estimate.free_energy import free_energy
from alloygen.estimate.order import long_range_order
from alloygen.estimate.weights import ness
from alloygen.exact.enumeration import Enumeration
from alloygen.exact.ising import kaufman_free_energy
from alloygen.generate.annealed import anneal
from alloygen.generate.conditional import constraint, log_p_fixed
from alloygen.generate.outpaint import Outpainter
from alloygen.generate.refine import Draws
from alloygen.generate.regenerate import Regenerator
from alloygen.generate.sequential import sequential
from alloygen.results.ensemble import Ensemble

RESULTS = Path(__file__).parent / "results" / "any_order"
CONDITIONS = [(T, m) for T in (200, 400, 600, 800, 1000, 1200) for m in (-0.12, -0.06, 0.0, 0.06, 0.0724)]


def conditional(quick: bool) -> dict:
    """log p of fixed sets against enumeration, and chi-square of the law of the rest."""
    n, atoms = (1_000 if quick else 10_000), bulk("Cu", a=3.8).repeat((2, 2, 4))
    table = Enumeration(alloygen.data.cuau().on((2, 2, 4)))
    occ, rng = table.occ, np.random.default_rng(0)
    sets = [
        dict(zip(rng.choice(16, k, replace=False).tolist(), rng.choice(["Cu", "Au"], k).tolist(), strict=True))
        for k in (1, 2, 4, 6, 8, 12)
    ]
    sets += [
        dict.fromkeys(range(8), "Cu"),
        dict.fromkeys(range(8), "Au"),
        {k: ("Cu", "Au")[k % 2] for k in range(12)},
    ]  # no phase has these
    rows, chi = [], []
    print(f"\nfixed sets of CuAu 2x2x4: log p(x_fixed), exact | importance weights, {n} draws (NESS) | annealed, {n // 4} draws (NESS) | the model's "
          "marginal, one pass | chi-square p-value of the rest (of the draws without weights)")  # fmt: skip
    for T, dmu in ((400, -0.05), (700, 0.06), (1000, 0.03)):
        at = dict(T=T, mu={"Au": dmu})
        free = alloygen.sample(atoms, **at, n=n, seed=1)
        u = (np.asarray(table.energy) - np.asarray(table.counts) @ np.array([0.0, dmu])) / free.kT
        for fixed in sets[:: 2 if quick else 1]:
            held = alloygen.sample(atoms, **at, n=n, fixed=fixed, seed=2)
            cooled = alloygen.sample(atoms, **at, n=n // 4, fixed=fixed, seed=3, sampler=Neural(then=Anneal()))
            log_p, smc = constraint(held, free)[0], constraint(cooled, free)[0]
            mask = (occ[:, list(fixed)] == [("Cu", "Au").index(s) for s in fixed.values()]).all(1)
            true, one = float(logsumexp(-u[mask]) - logsumexp(-u)), held.info["log_p_fixed"]
            law = np.exp(-u[mask] - logsumexp(-u[mask]))
            keep = rng.random(n) < held.weights / held.weights.max()  # rejection: draws of the exact law
            chi.append([chi_square(held.occ[rows_], occ[mask], law) for rows_ in (keep, slice(None))])
            rows.append([true, log_p.value, log_p.stderr, one.value, held.ness, smc.value, smc.stderr, cooled.ness])
            print(f"{T:5} K dmu {dmu:+.2f} {len(fixed):3} fixed: {true:9.4f} | {log_p!s:>14} ({held.ness:.3f}) | {smc!s:>14} ({cooled.ness:.3f}) | {one.value:9.4f} | "
                  f"{chi[-1][0]:.3f} ({chi[-1][1]:.0e})", flush=True)  # fmt: skip
    r, chi = np.array(rows), np.array(chi)
    error = np.abs(r[:, [1, 5, 3]] - r[:, :1])
    z = (r[:, [1, 5]] - r[:, :1]) / r[:, [2, 6]]
    out = {"rows": rows, "weights": float(error[:, 0].max()), "annealed": float(error[:, 1].max()), "z_std": z.std(0).tolist(),
           "one_pass_median": float(np.median(error[:, 2])), "one_pass_largest": float(error[:, 2].max()), "chi_square": chi.tolist()}  # fmt: skip
    natural = one_pass(table, 60)
    out |= {"natural_median": float(np.median(natural)), "natural_90": float(np.quantile(natural, 0.9))}
    print(f"largest error (target 0.02 nats): weights {out['weights']:.4f}, annealed {out['annealed']:.4f}; z std {z.std(0).round(2).tolist()}; one pass: median "
          f"{out['one_pass_median']:.3f}, largest {out['one_pass_largest']:.2f}, for sets as the law has them median {out['natural_median']:.3f}, nine in ten below "
          f"{out['natural_90']:.3f}; chi-square: smallest p {chi[:, 0].min():.3f} of {len(chi)}, {(chi[:, 0] < 0.05).sum()} below 0.05; without weights "
          f"{(chi[:, 1] < 0.05).sum()} below 0.05")  # fmt: skip
    return out


def one_pass(table, n: int) -> np.ndarray:
    """|error| (3 n,) of the model's marginal in one pass, for random sites of configurations drawn from the exact law."""
    model, occ, rng, out = alloygen.load("cuau_2x2x4"), table.occ, np.random.default_rng(1), []
    for T, dmu in ((400.0, -0.05), (700.0, 0.06), (1000.0, 0.03)):
        mu = np.array([0.0, dmu])
        u = (np.asarray(table.energy) - np.asarray(table.counts) @ mu) / (model.hamiltonian.kB * T)
        p = np.exp(-u - logsumexp(-u))
        for row in rng.choice(len(p), n, p=p / p.sum()):
            sites = rng.choice(16, rng.integers(1, 13), replace=False)
            known = np.full(16, -1)
            known[sites] = occ[row, sites]
            exact = np.log(p[(occ[:, sites] == occ[row, sites]).all(1)].sum())
            out.append(abs(log_p_fixed(model, known, model.hamiltonian.condition(T, mu)).value - exact))
    return np.array(out)


def chi_square(drawn, occ, law) -> float:
    """p-value that the drawn configurations follow ``law`` over ``occ``, states expected less than 8 times taken together."""
    bits = 2 ** np.arange(occ.shape[1])
    row = np.argsort(occ @ bits)
    seen = np.bincount(row[np.searchsorted((occ @ bits)[row], drawn @ bits)], minlength=len(law)).astype(float)
    big = law * len(drawn) >= 8
    seen, expected = np.append(seen[big], seen[~big].sum()), np.append(law[big], law[~big].sum()) * len(drawn)
    return float(chisquare(seen[expected > 0], expected[expected > 0]).pvalue) if (expected > 0).sum() > 1 else 1.0


def reference_phi(reference, T: float, dmu: float, kB: float) -> float:
    """Phi per site from the canonical free energies of the shipped reference."""
    f, n = reference.free_energy.sel(T=T).values.astype(float) * 128, np.arange(129)
    return float(-kB * T * logsumexp(-(f - dmu * n) / (kB * T)) / 128)


def weighted(h, occ, log_prob, T, mu) -> Ensemble:
    return Ensemble(h, occ, h.energy(occ), log_prob, T, mu, "out-painted")


def before_and_after(T: float, dmu: float, n: int) -> list:
    """[Phi, error, NESS, seconds] of CuAu 4x4x8 out-painted, then the same annealed, then the start; on one core."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    model, mu = alloygen.load("cuau_4x4x4"), np.array([0.0, dmu])
    h, generator = model.hamiltonian.expansion.on((4, 4, 8)), torch.Generator().manual_seed(0)
    painter = Outpainter(model, h)

    def plain(condition, count):
        made = painter.draw(condition, count, generator)
        return made.occ, made.log_prob

    start, condition = time.time(), h.condition(T, mu)
    before = weighted(h, *plain(condition, n), T, mu)
    middle = time.time()
    draws = Draws(painter=painter, plain=plain, condition=condition, n=n, generator=generator, known=None)
    occ, log_prob, facts = Anneal().refined(draws)
    after = weighted(h, occ, log_prob, T, mu)
    out = []
    for ens, seconds in ((before, middle - start), (after, time.time() - middle)):
        phi = ens.free_energy()
        out += [phi.value, phi.stderr, ens.ness, seconds]
    return [*out, facts["annealed_from"]]


def cuau(quick: bool) -> dict:
    """The 30 conditions, before and after annealing."""
    n, reference, kB, rows = 64 if quick else 128, alloygen.data.cuau_reference(), alloygen.data.cuau().kB, []
    print(f"\nCuAu 4x4x4 -> 4x4x8, {n} draws: F - reference (meV/site) and NESS, before | after annealing")
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        made = pool.map(before_and_after, *zip(*((float(T), dmu, n) for T, dmu in CONDITIONS), strict=True))
        for (T, dmu), r in zip(CONDITIONS, made, strict=True):
            true = reference_phi(reference, T, dmu, kB)
            rows.append([1000 * (r[0] - true), r[2], 1000 * (r[4] - true), r[6], 1000 * r[1], 1000 * r[5]])
            print(f"{T:5} K dmu {dmu:+.4f}: {rows[-1][0]:+.3f} +- {1000 * r[1]:.3f}  {r[2]:.3f} ({r[3]:.0f} s) | {rows[-1][2]:+.3f} +- {1000 * r[5]:.3f}  {r[6]:.3f}  "
                  f"from {r[8]:.0f} K ({r[7]:.0f} s)", flush=True)  # fmt: skip
    r = np.array(rows)
    print(f"largest error: before {abs(r[:, 0]).max():.3f} (target 2), after {abs(r[:, 2]).max():.3f} (target 0.5); NESS mean {r[:, 1].mean():.3f} -> "
          f"{r[:, 3].mean():.3f}, smallest {r[:, 1].min():.3f} -> {r[:, 3].min():.3f}")  # fmt: skip
    return {"n": n, "rows": rows, "before": float(abs(r[:, 0]).max()), "after": float(abs(r[:, 2]).max()), "ness": [float(r[:, 1].mean()), float(r[:, 3].mean())],
            "ness_min": [float(r[:, 1].min()), float(r[:, 3].min())]}  # fmt: skip


def rules(quick: bool) -> dict:
    """NESS of out-painting 4x4x8 by stride, on the model's torus and with physics of the target."""
    n, out = 64 if quick else 256, {}
    model, h = alloygen.load("cuau_4x4x4"), alloygen.data.cuau().on((4, 4, 8))
    at = [(300, -0.1), (300, 0.0724), (500, 0.0), (600, 0.05), (700, 0.0), (800, -0.05), (800, 0.05), (1000, 0.0)]
    print(
        f"\nNESS of CuAu 4x4x8 by rule ({n} draws): "
        + " ".join(f"{T}/{m:+.2f}" for T, m in at)
        + "   mean, ms per draw"
    )
    for physics in (False, True):
        for stride in (4, 3, 2, 1):
            painter, start, found = Outpainter(model, h, (1, 1, stride), physics=physics), time.time(), []
            for T, dmu in at:
                mu = np.array([0.0, dmu])
                made = painter.draw(painter.target.condition(T, mu), n, torch.Generator().manual_seed(0))
                found.append(weighted(h, made.occ, made.log_prob, T, mu).ness)
            name = f"{'target' if physics else 'torus'}, stride {stride}"
            out[name] = {"ness": found, "ms": 1000 * (time.time() - start) / n / len(at)}
            print(
                f"{name:>20}: "
                + " ".join(f"{x:9.3f}" for x in found)
                + f"   {np.mean(found):.3f} {out[name]['ms']:.1f}"
            )
    big = alloygen.data.cuau().on((12, 12, 12))
    for physics in (False, True):
        made = Outpainter(model, big, physics=physics).draw(
            big.condition(500.0, [0.0, 0.0]), 6, torch.Generator().manual_seed(0)
        )
        order = long_range_order(as_array(made.occ, float), big.lattice, "L1_0")
        print(
            f"L1_0 order of six 12x12x12 draws at 500 K, {'target' if physics else 'torus'}: {order.round(2).tolist()}"
        )
    return out


def cooled(L: int, temperatures, n: int, sweeps: int, average: int, seed: int) -> list:
    """log-weights (n,) at each of the falling temperatures: draws at the hottest one that the model knows, annealed through all of them."""
    torch.set_num_threads(1)
    model = alloygen.load("ising_10x10")
    h, hot, mu, out = model.hamiltonian.expansion.on((L, L, 1)), model.ranges["T"][1], np.zeros(2), []
    made = Outpainter(model, h).draw(h.condition(hot, mu), n, torch.Generator().manual_seed(seed), average=average)
    occ = as_array(made.occ, np.int8)
    log_w = -h.reduced_energy(occ, h.condition(hot, mu)) - as_array(made.log_prob)
    for T in temperatures:
        path = 1.0 / np.linspace(1.0 / hot, 1.0 / T, sweeps + 1)
        moved = anneal(h, occ, log_w, h.condition(path, [0.0, 0.0]), sweeps=1, seed=seed + int(1000 * T))
        occ, log_w, hot = moved.occ, moved.log_w, T
        out.append(log_w)
    return out


def ising(quick: bool) -> dict:
    """Free energies of 15x15 and 20x20 from the 10x10 model, h = 0: draws at each T, and draws at T = 3.6 annealed through all T."""
    out, n, temperatures = {}, 128 if quick else 512, np.arange(1.5, 3.51, 0.5 if quick else 0.2).round(1)
    falling, many, sweeps, average = temperatures[::-1], 100 if quick else 4000, 100 if quick else 1000, 4
    for L in (15, 20):
        start = time.time()
        with ProcessPoolExecutor(2, get_context("spawn")) as pool:
            tasks = [("ising_10x10", (L, L, 1), float(T), 0.0, n, k) for k, T in enumerate(falling)]
            plain = list(pool.map(plain_weights, *zip(*tasks, strict=True)))
            middle = time.time()
            halves = list(pool.map(cooled, [L] * 2, [falling] * 2, [many] * 2, [sweeps] * 2, [average] * 2, (101, 202)))
        print(f"\nIsing 10x10 -> {L}x{L}: F - Kaufman (1e-4 J/site) and NESS, {n} draws at each T ({middle - start:.0f} s) | {2 * many} draws at 3.6, likelihoods "
              f"averaged over {average} paths, annealed ({time.time() - middle:.0f} s)")  # fmt: skip
        rows = []
        for k, T in enumerate(falling):
            rows.append([float(T)])
            for log_w in (plain[k], np.concatenate([half[k] for half in halves])):
                phi = free_energy(log_w, T, L**2)
                rows[-1] += [phi.value - kaufman_free_energy(L, float(T)), phi.stderr, ness(log_w)]
            print(
                "  T {:.1f}: {:+8.2f} +- {:.2f}  {:.3f} | {:+8.2f} +- {:.2f}  {:.3f}".format(
                    *(np.array(rows[-1]) * [1, 1e4, 1e4, 1, 1e4, 1e4, 1])
                ),
                flush=True,
            )
        r = np.array(rows)
        print(f"largest error: before {abs(r[:, 1]).max():.1e} (target 2e-3), after {abs(r[:, 4]).max():.1e} (target 2e-4); NESS {r[:, 3].min():.2f} to "
              f"{r[:, 3].max():.2f}, then {r[:, 6].min():.2f} to {r[:, 6].max():.2f}")  # fmt: skip
        out[L] = {"rows": rows, "before": float(abs(r[:, 1]).max()), "after": float(abs(r[:, 4]).max())}
    return out


def plain_weights(name: str, shape: tuple, T: float, dmu: float, n: int, seed: int) -> np.ndarray:
    """log-weights (n,) of out-painted draws."""
    torch.set_num_threads(1)
    model = alloygen.load(name)
    h, mu = model.hamiltonian.expansion.on(shape), np.array([0.0, dmu])
    made = Outpainter(model, h).draw(h.condition(T, mu), n, torch.Generator().manual_seed(seed))
    return as_array(-h.reduced_energy(made.occ, h.condition(T, mu)) - made.log_prob)


def windows(quick: bool) -> dict:
    """Large cells, plain weights beside resampling along the windows: Ising 40x40 against Kaufman, CuAu 8x8x8 against replica exchange."""
    n, kB = 64 if quick else 512, alloygen.data.cuau().kB
    tasks = [("ising_10x10", (40, 40, 1), T, 0.0, n) for T in ((3.5, 2.7) if quick else (3.5, 3.1, 2.7, 2.3, 1.9, 1.5))]
    tasks += [("cuau_4x4x4", (8, 8, 8), T, 0.0, n // 2) for T in ((1000,) if quick else (800, 1000, 1200))]
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        plain = pool.map(plain_weights, *zip(*tasks, strict=True), range(len(tasks)))
        along = pool.map(resampled_phi, *zip(*tasks, strict=True), range(len(tasks)))
        print(
            f"\n{n} draws ({n // 2} for CuAu): F - reference (1e-4 J/site, meV/site), plain weights (NESS) | resampled along the windows",
            flush=True,
        )
        rows = []
        for (name, shape, T, dmu, _), log_w, resampled in zip(tasks, plain, along, strict=True):
            is_ising = name.startswith("ising")
            true, error = (kaufman_free_energy(shape[0], T), 0.0) if is_ising else cuau_phi(shape, T, dmu)
            phi, unit = free_energy(log_w, T if is_ising else kB * T, np.prod(shape)), 1e4 if is_ising else 1e3
            rows.append([T, phi.value - true, phi.stderr, ness(log_w), resampled.value - true, resampled.stderr, error])
            shown = np.array(rows[-1]) * [1, unit, unit, 1, unit, unit, unit]
            print(
                "{:>12} {:9} T {:6.1f}: {:+8.3f} +- {:.3f} ({:.3f}) | {:+8.3f} +- {:.3f} (reference +- {:.3f})".format(
                    name, "x".join(map(str, shape)), *shown
                ),
                flush=True,
            )
    return {
        "rows": [r for r, t in zip(rows, tasks, strict=True) if t[0] == "ising_10x10"],
        "cuau": [r for r, t in zip(rows, tasks, strict=True) if t[0] != "ising_10x10"],
    }


def cuau_phi(shape: tuple, T: float, dmu: float) -> tuple:
    """Phi per site and its error by replica exchange up to T = infinity."""
    phi = alloygen.mc(bulk("Cu", a=3.8).repeat(shape), T, {"Au": dmu}, n=1000)[0].free_energy()
    return phi.value, phi.stderr


def resampled_phi(name: str, shape: tuple, T: float, dmu: float, n: int, seed: int):
    """Phi per site by sequential Monte Carlo along the windows, 16 islands."""
    torch.set_num_threads(1)
    model = alloygen.load(name)
    painter = Outpainter(model, model.hamiltonian.expansion.on(shape))
    return sequential(
        painter, painter.target.condition(T, [0.0, dmu]), n, torch.Generator().manual_seed(seed), islands=16
    ).phi()


def average(quick: bool) -> dict:
    """NESS and cost by the number of paths that likelihoods are averaged over."""
    torch.set_num_threads(1)
    n, paths, out = 64 if quick else 512, (1, 2, 4, 8), {}
    print(
        f"\nNESS of {n} draws by paths averaged over {paths}; seconds; variance of log Z times seconds, over that of one path"
    )
    for name, shape, at in (("ising_10x10", (15, 15, 1), [(3.5, 0.0), (2.3, 0.0)]), ("cuau_4x4x4", (4, 4, 4), [(700, 0.0)]),
                            ("cuau_4x4x4", (4, 4, 8), [(600, 0.05), (700, 0.0), (1000, 0.0)])):  # fmt: skip
        model = alloygen.load(name)
        painter = Outpainter(model, model.hamiltonian.expansion.on(shape))
        for T, dmu in at:
            mu, found, seconds = np.array([0.0, dmu]), [], []
            painter.rule(painter.target.condition(T, mu)) if painter.physics is None else None
            for m in paths:
                start = time.time()
                made = painter.draw(painter.target.condition(T, mu), n, torch.Generator().manual_seed(0), average=m)
                seconds.append(time.time() - start)
                found.append(weighted(painter.target, made.occ, made.log_prob, T, mu).ness)
            cost = (1 / np.array(found) - 1) * np.array(seconds)
            out[f"{name} -> {shape}, {T}, {dmu}"] = {"ness": found, "seconds": seconds}
            print(f"{name:>12} -> {'x'.join(map(str, shape)):>7} at {T}, {dmu}: {np.round(found, 3).tolist()}  {np.round(seconds, 1).tolist()} s  {(cost / cost[0]).round(2).tolist()}",
                  flush=True)  # fmt: skip
    return out


def grown(quick: bool) -> dict:
    """NESS of the Ising model that ships beside the same trained on its own cell only (which is trained here, half an hour, if it is not there)."""
    from alloygen.training.loop import train

    own = RESULTS / "ising_10x10_own" / "model.safetensors"
    if not own.exists():
        train(alloygen.data.configurations()["small/ising_10x10_own"], own.parent)
    n, temperatures, out = 64 if quick else 512, (3.5, 2.9, 2.5, 2.3, 2.1, 1.7), {}
    print(
        f"\nNESS of {n} draws at h = 0, T = {', '.join(map(str, temperatures))}: trained on its own cell | on windows of larger ones too"
    )
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        for L in (10, 15, 20):
            found = []
            for name in (str(own), "ising_10x10"):
                tasks = [(name, (L, L, 1), T, 0.0, n, k) for k, T in enumerate(temperatures)]
                found.append([ness(log_w) for log_w in pool.map(plain_weights, *zip(*tasks, strict=True))])
            out[L] = found
            print(f"  {L}x{L}: " + " | ".join(" ".join(f"{x:.3f}" for x in row) for row in found), flush=True)
    return out


def blocks(quick: bool) -> dict:
    """Independent samples per second on one core: single flips against flips with block moves, the slower of E and N_Au."""
    from alloygen.montecarlo.chains import Chains

    model, h, out = alloygen.load("cuau_4x4x4"), alloygen.data.cuau().on((4, 4, 8)), {}
    torch.set_num_threads(1)
    print(
        "\nindependent samples per second of one core, CuAu 4x4x8: flips alone | independent draws x NESS | block moves (acceptance)"
    )
    for T, dmu in [(500, -0.01), (700, -0.012), (720, 0.0), (800, -0.03)]:
        mu = np.array([0.0, dmu])
        painter, generator = Outpainter(model, h), torch.Generator().manual_seed(0)
        made = painter.draw(painter.target.condition(T, mu), 24, generator)
        flips = Chains(h, h.condition([float(T)] * 8, np.tile(mu, (8, 1))), 0, occ=made.occ[:8])
        n, every = (400 if quick else 4000), 50
        series, start = [], time.time()
        for _ in range(n):
            flips.step(every)
            series.append(np.column_stack([flips.walkers.energy, flips.walkers.counts[:, 1]]).copy())
        seconds = time.time() - start
        g = max(markov.inefficiency(np.array(series)[:, :, k].T) for k in (0, 1))
        rate_flips = 8 * n / g / seconds
        start = time.time()
        draws = painter.draw(painter.target.condition(T, mu), 256, generator)
        drawn = weighted(h, draws.occ, draws.log_prob, T, mu)
        rate_draws = 256 * drawn.ness / (time.time() - start)
        best = (0.0, None, 0.0)
        for block in ([2, 2, 2], [4, 4, 4]):
            mover, occ, accepted, series = Regenerator(painter, block), made.occ, [], []
            start = time.time()
            for _ in range(40 if quick else 120):
                occ, taken = mover.step(occ, h.condition(T, mu), generator)
                chains = Chains(h, h.condition([float(T)] * len(occ), np.tile(mu, (len(occ), 1))), len(series), occ=occ)
                chains.step(5)
                occ = as_tensor(chains.walkers.occ)
                accepted.append(float(taken.double().mean()))
                series.append(np.column_stack([chains.walkers.energy, chains.walkers.counts[:, 1]]).copy())
            g = max(markov.inefficiency(np.array(series)[:, :, k].T) for k in (0, 1))
            rate = len(occ) * len(series) / g / (time.time() - start)
            best = max(best, (rate, block, float(np.mean(accepted))), key=lambda b: b[0])
            print(
                f"      block {block}: acceptance {np.mean(accepted):.3f}, inefficiency {g:.1f} moves, {rate:.2f} a second",
                flush=True,
            )
        out[f"{T} K, {dmu:+.3f} eV"] = {
            "flips": rate_flips,
            "draws": rate_draws,
            "blocks": best[0],
            "block": best[1],
            "acceptance": best[2],
        }
        print(
            f"{T:5} K dmu {dmu:+.3f}: {rate_flips:9.2f} | {rate_draws:8.2f} (NESS {drawn.ness:.3f}) | {best[0]:8.2f} ({best[1]}, {best[2]:.2f})",
            flush=True,
        )
    torch.set_num_threads(2)
    return out


def large(quick: bool) -> dict:
    """Time to out-paint 100 configurations, by size."""
    torch.set_num_threads(1)
    model, out = alloygen.load("cuau_4x4x4"), {}
    print("\nout-painting 100 configurations at 700 K, dmu 0: sites, windows, seconds")
    for shape in ((8, 8, 8), (8, 8, 16), (8, 16, 16), (16, 16, 16))[: 2 if quick else 4]:
        painter = Outpainter(model, alloygen.data.cuau().on(shape), physics=False)
        start = time.time()
        painter.draw(painter.target.condition(700.0, [0.0, 0.0]), 100, torch.Generator().manual_seed(0))
        out[str(painter.target.n_sites)] = time.time() - start
        print(f"{painter.target.n_sites:6} {len(painter.windows):5} {time.time() - start:8.1f}", flush=True)
    return out


PARTS = {"conditional": conditional, "cuau": cuau, "rules": rules, "average": average, "grown": grown, "ising": ising, "windows": windows, "blocks": blocks,
         "large": large}  # fmt: skip


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--quick", action="store_true")
    p.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    args = p.parse_args()
    warnings.simplefilter("ignore")
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"figures{'_quick' if args.quick else ''}.json"
    for name in args.only:
        found = PARTS[name](args.quick)
        others = json.loads(path.read_text()) if path.exists() else {}  # parts may run side by side
        path.write_text(json.dumps({**others, name: found}, indent=1))
    print(f"\nwrote {path}")


if __name__ == "__main__":
    main()
