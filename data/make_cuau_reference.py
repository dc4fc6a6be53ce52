"""Makes cuau_4x4x8_reference.nc: Monte Carlo reference of the CuAu expansion on 4x4x8 primitive cells (128 sites).

Run: python data/make_cuau_reference.py [--threads 2] [--folder runs/reference]. Under an hour on two cores; an
interrupted run goes on from the files in the folder. Free energies and composition histograms come from metadynamics on
the composition (absolute, since pure Cu and pure Au are one configuration each), energies at a given composition from
canonical replica exchange.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import xarray as xr

import alloygen
import alloygen.data
from alloygen.edge.problem import Problem
from alloygen.estimate.profile import series_error
from alloygen.montecarlo.metadynamics import Stages, metadynamics
from alloygen.montecarlo.sampling import replica_exchange
from alloygen.runtime.atomic import atomic_path
from alloygen.runtime.job import Job
from alloygen.runtime.progress import tqdm
from alloygen.runtime.tables import write_table

REPEATS, T = (4, 4, 8), np.arange(200.0, 1201.0, 50.0)
LADDER = np.union1d(T, [375.0, 425.0, 675.0, 712.0, 725.0, 737.0, 775.0, 825.0])  # closer at the transitions
BLOCKS = 20
ENERGY_EDGES = np.linspace(-0.038, 0.012, 101)  # eV per site


def free_energies(h, threads: int, folder: Path):
    """F(N_Au, T) by metadynamics, a CompositionProfile."""
    job = Job(threads=threads, progress=True, checkpoint=folder / "metadynamics.safetensors")
    profile = metadynamics(h, T, stages=Stages(walkers=2, production=400_000), seed=1, job=job)
    print(profile, f"ends differ by {1000 * np.abs(profile.mismatch).max():.3f} meV/site at most")
    if not profile.converged.all():
        raise SystemExit(f"not converged: {profile.notes}")
    return profile


def energies_by_number(h, n: int, threads: int, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Histograms of the energy at each N_Au and T, (T, block, N, bin), and sums of E per site, (T, block, N).

    Canonical swaps at every N with exchange between temperatures; blocks are stretches of time.
    """
    counts = np.zeros((len(T), BLOCKS, h.n_sites + 1, len(ENERGY_EDGES) - 1))
    sums = np.zeros(counts.shape[:-1])
    block = np.arange(n) * BLOCKS // n
    for number in tqdm(range(h.n_sites + 1), desc="canonical"):
        occ = np.zeros(h.n_sites, dtype=int)
        occ[np.random.default_rng(number).permutation(h.n_sites)[:number]] = 1
        if 0 < number < h.n_sites:
            scan = replica_exchange(Problem.of(h, occ=occ), h.grid(LADDER), n, move="swap", sweeps=10, burn=200, seed=number, check=False, job=Job(threads=threads, checkpoint=folder / f"canonical_{number}.safetensors"))  # fmt: skip
            energy = scan.energy[np.searchsorted(LADDER, T)] / h.n_sites
        else:
            energy = np.full((len(T), n), float(h.energy(occ)[0]) / h.n_sites)
        bins = np.clip(np.digitize(energy, ENERGY_EDGES) - 1, 0, len(ENERGY_EDGES) - 2)
        for c in range(len(T)):
            np.add.at(counts[c], (block, number, bins[c]), 1)
            np.add.at(sums[c], (block, number), energy[c])
    return counts, sums


def semigrand(profile, counts, sums) -> xr.Dataset:
    """Composition and energy histograms, x_Au and E at the conditions of the grid "cuau", each with its standard error.

    p(N) comes from F(N, T): semigrand replica exchange alone balances coexisting phases too slowly (at 500 K and dmu = 0.06
    it was ten of its own error bars off). p(E) = sum_N p(N) p(E | N), its error from both factors.
    """
    grid_T, grid_mu = alloygen.data.grids()["cuau"].pairs()
    rows: dict[str, list] = {}
    for t, m in zip(grid_T, grid_mu, strict=True):
        at = int(np.flatnonzero(T == t)[0])
        p, p_error = profile.distribution(t, m)
        hist, hist_error = _mixed(counts[at], p, profile, at)
        energy, energy_error = _mixed(sums[at][..., None], p, profile, at, counts[at].sum(2))
        x = profile.composition(t, m)
        values = {"composition_histogram": p, "composition_histogram_stderr": p_error, "energy_histogram": hist,
                  "energy_histogram_stderr": hist_error, "x_Au": x.value, "x_Au_stderr": x.stderr, "energy": energy[0],
                  "energy_stderr": energy_error[0]}  # fmt: skip
        for name, value in values.items():
            rows.setdefault(name, []).append(value)
    wide = {"composition_histogram": "n_Au", "energy_histogram": "energy_bin"}
    out = {}
    for name, value in rows.items():
        second = wide.get(name.removesuffix("_stderr"))
        out[name] = (
            (("condition", second), np.array(value, dtype=np.float32)) if second else ("condition", np.array(value))
        )
    return xr.Dataset(
        out,
        {"condition_T": ("condition", grid_T), "condition_dmu": ("condition", grid_mu), "energy_edge": ENERGY_EDGES},
    )


def _mixed(counts, w, profile, at, visits=None) -> tuple[np.ndarray, np.ndarray]:
    """sum_N w(N) <.>_N of counts (block, N, k), and its error from the blocks and from the errors of p(N)."""
    visits = counts.sum(2) if visits is None else visits
    total = visits.sum(0)
    given_n = counts.sum(0) / np.maximum(total, 1)[:, None]
    value = w @ given_n
    # a block's influence on <.>_N, relative to all of them
    part = (counts - visits[..., None] * given_n) / np.maximum(total, 1)[:, None]
    sampling = np.sqrt(BLOCKS / (BLOCKS - 1) * (np.einsum("n,bnk->bk", w, part) ** 2).sum(0))
    u = profile.influence[at] * (profile.hamiltonian.n_sites / (profile.hamiltonian.kB * profile.T[at]))
    series = ((u @ w)[..., None] - u) * w @ (given_n - value)
    balance = np.array([series_error(series[..., k]) for k in range(series.shape[-1])])
    return value, np.hypot(sampling, balance)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("-n", type=int, default=2000, help="samples at each N and T for the energies")
    p.add_argument("--folder", type=Path, default=Path("runs/reference"))
    p.add_argument("--output", type=Path, default=Path(__file__).parent / "cuau_4x4x8_reference.nc")
    args = p.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    start = time.time()
    h = alloygen.data.cuau().on(REPEATS)
    profile = free_energies(h, args.threads, args.folder)
    data = semigrand(profile, *energies_by_number(h, args.n, args.threads, args.folder))
    for name, value in (("free_energy", profile.free_energy), ("free_energy_stderr", profile.stderr)):
        data[name] = (("T", "n_Au"), value.astype(np.float32))
    data = data.assign_coords(T=T, n_Au=profile.N)
    data.attrs = {
        "title": "CuAu cluster expansion on 4x4x8 primitive fcc cells (128 sites): Monte Carlo reference",
        "units": "eV per site (formation energies), K; dmu = mu_Au - mu_Cu in eV per atom", "n_sites": h.n_sites,
        "free_energy": "canonical F(N_Au, T) per site, absolute", "fingerprint": h.fingerprint, "alloygen": alloygen.__version__,
        "made_by": "data/make_cuau_reference.py",
    }  # fmt: skip
    with atomic_path(args.output) as part:
        write_table(part, data)
    print(
        f"largest error of F: {1000 * float(data.free_energy_stderr.max()):.3f} meV/site; {time.time() - start:.0f} s; wrote {args.output}"
    )


if __name__ == "__main__":
    main()
