"""Makes cuau_4x4x8_reference.nc: Monte Carlo reference of the CuAu expansion on 4x4x8 primitive cells (128 sites).

Run: python data/make_cuau_reference.py [--threads 2] [--folder runs/reference]. Under an hour on two cores; an
interrupted run goes on from the files in the folder. Free energies come from metadynamics on the composition (absolute,
since pure Cu and pure Au are one configuration each), histograms from replica exchange in T and mu.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import xarray as xr

import alloygen
import alloygen.data
from alloygen.conditions import cuau_grid
from alloygen.estimate.chains import mean
from alloygen.io.atomic import atomic_path
from alloygen.montecarlo.metadynamics import metadynamics
from alloygen.montecarlo.sampling import replica_exchange

REPEATS, T = (4, 4, 8), np.arange(200.0, 1201.0, 50.0)
DMU = np.unique(np.append(np.linspace(-0.24, 0.24, 33).round(6), [0.066, 0.0724]))
ENERGY_EDGES = np.linspace(-0.038, 0.012, 101)  # eV per site


def free_energies(h, threads: int, folder: Path) -> xr.Dataset:
    """F(N_Au, T) per site with errors."""
    profile = metadynamics(h, T, walkers=2, production=400_000, threads=threads, seed=1, progress=True, checkpoint=folder / "metadynamics.safetensors")
    print(profile, f"ends differ by {1000 * np.abs(profile.mismatch).max():.3f} meV/site at most")
    if not profile.converged.all():
        raise SystemExit(f"not converged: {profile.notes}")
    return xr.Dataset(
        {
            "free_energy": (("T", "n_Au"), profile.free_energy.astype(np.float32)),
            "free_energy_stderr": (("T", "n_Au"), profile.stderr.astype(np.float32)),
        },
        {"T": T, "n_Au": profile.N},
    )


def histograms(h, n: int, threads: int, folder: Path) -> xr.Dataset:
    """Composition and energy histograms, and means, at the conditions of ``cuau_grid``, with errors."""
    mu = np.column_stack([np.zeros(len(DMU)), DMU])
    scan = replica_exchange(h, T, mu, n, sweeps=20, burn=500, seed=2, threads=threads, progress=True, check=False,
                            checkpoint=folder / "exchange.safetensors", save_every=300)  # fmt: skip
    print(scan, scan.info)
    grid_T, grid_mu = cuau_grid()
    at = [int(np.flatnonzero(np.isclose(scan.T, t) & np.isclose(scan.mu[:, 1], m))[0]) for t, m in zip(grid_T, grid_mu, strict=True)]
    rows = {k: [] for k in ("composition_histogram", "energy_histogram")}
    errors = {k: [] for k in rows}
    means = {k: [] for k in ("x_Au", "x_Au_stderr", "energy", "energy_stderr", "effective_samples")}
    for c in at:
        ens = scan[c]
        number = scan.occ[c].sum(1)
        bins = np.clip(np.digitize(ens.energy.numpy() / h.n_sites, ENERGY_EDGES) - 1, 0, len(ENERGY_EDGES) - 2)
        for name, index, size in (("composition_histogram", number, h.n_sites + 1), ("energy_histogram", bins, len(ENERGY_EDGES) - 1)):
            share, error = _histogram(index, size, scan.chains)
            rows[name].append(share)
            errors[name].append(error)
        x, e = ens.composition("Au"), ens.mean_energy()
        for name, value in zip(means, (x.value, x.stderr, e.value, e.stderr, ens.effective_samples), strict=True):
            means[name].append(value)
    out = {name: (("condition", "n_Au" if "composition" in name else "energy_bin"), np.array(v, dtype=np.float32)) for name, v in rows.items()}
    out |= {f"{name}_stderr": (out[name][0], np.array(v, dtype=np.float32)) for name, v in errors.items()}
    out |= {name: ("condition", np.array(v)) for name, v in means.items()}
    coords = {"condition_T": ("condition", grid_T), "condition_dmu": ("condition", grid_mu), "energy_edge": ENERGY_EDGES}
    return xr.Dataset(out, coords)


def _histogram(index, size: int, chains: int) -> tuple[np.ndarray, np.ndarray]:
    """Share of samples in each bin and its standard error, autocorrelation counted; an empty bin has that of one visit."""
    share, error = np.zeros(size), np.full(size, np.nan)
    for b in range(size):
        inside = (index == b).astype(float).reshape(chains, -1)
        estimate = mean(inside, quantum=1.0)
        share[b], error[b] = estimate.value, estimate.stderr if inside.any() else 1.0 / inside.size
    return share, error


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("-n", type=int, default=5000, help="samples per condition for the histograms")
    p.add_argument("--folder", type=Path, default=Path("runs/reference"))
    p.add_argument("--output", type=Path, default=Path(__file__).parent / "cuau_4x4x8_reference.nc")
    args = p.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    start = time.time()
    h = alloygen.data.cuau().on(REPEATS)
    data = xr.merge([free_energies(h, args.threads, args.folder), histograms(h, args.n, args.threads, args.folder)])
    data.attrs = {
        "title": "CuAu cluster expansion on 4x4x8 primitive fcc cells (128 sites): Monte Carlo reference",
        "units": "eV per site (formation energies), K; dmu = mu_Au - mu_Cu in eV per atom", "n_sites": h.n_sites,
        "free_energy": "canonical F(N_Au, T) per site, absolute", "fingerprint": h.fingerprint, "alloygen": alloygen.__version__,
        "made_by": "data/make_cuau_reference.py", "minutes": round((time.time() - start) / 60, 1),
    }  # fmt: skip
    with atomic_path(args.output) as part:
        data.to_netcdf(part)
    print(f"largest error of F: {1000 * float(data.free_energy_stderr.max()):.3f} meV/site; {time.time() - start:.0f} s; wrote {args.output}")


if __name__ == "__main__":
    main()
