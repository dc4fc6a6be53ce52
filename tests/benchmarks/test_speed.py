"""Speed beside CLEASE, in one run on one core. Run: make benchmark

Ratios count, not single times. Each comparison prints its own line with the versions used.
"""

import time

import ase
import numpy as np
import pytest
import torch

import alloygen
from alloygen.montecarlo.tempering import Chains

clease = pytest.importorskip("clease")
REPEATS = {64: (4, 4, 4), 128: (4, 4, 8), 4096: (16, 16, 16)}


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    from clease.settings import CEBulk, Concentration

    folder = tmp_path_factory.mktemp("clease")
    return CEBulk(Concentration([["Au", "Cu"]]), "fcc", a=3.8, db_name=str(folder / "db.db"), max_cluster_dia=[6.0, 4.5, 4.5])


@pytest.fixture(scope="module")
def eci(settings):
    cuau = alloygen.data.cuau()
    return {o.name: o.eci for o in cuau.orbits}


def _rate(function, amount: int, repeats: int = 5) -> float:
    """Best rate per second of ``repeats`` runs."""
    best = 0.0
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        best = max(best, amount / (time.perf_counter() - start))
    return best


def _clease_atoms(settings, eci, sites):
    from ase.build import bulk
    from clease.calculator import attach_calculator

    return attach_calculator(settings, bulk("Au", a=3.8).repeat(REPEATS[sites]), eci)


def _report(benchmark, capsys, what, ours, theirs):
    benchmark.extra_info.update(ours_per_s=ours, clease_per_s=theirs, ratio=ours / theirs)
    with capsys.disabled():
        print(f"\n{what}: alloygen {ours:,.0f}/s, CLEASE {clease.__version__} {theirs:,.0f}/s, ratio {ours / theirs:.1f} "
              f"(ASE {ase.__version__}, one core)")


@pytest.mark.parametrize("sites", [128, 4096])
def test_batched_energies(benchmark, capsys, settings, eci, sites):
    h = alloygen.data.cuau().on(REPEATS[sites])
    n = 400_000 // sites
    occ = h.random(n, torch.Generator().manual_seed(0))
    h.energy(occ[:2])
    ours = _rate(lambda: h.energy(occ), n)
    atoms = _clease_atoms(settings, eci, sites)
    rng = np.random.default_rng(0)
    symbols = [rng.choice(["Au", "Cu"], sites) for _ in range(max(10, 20_000 // sites))]

    def scratch():
        for s in symbols:
            atoms.symbols[:] = s
            updater = atoms.calc.updater
            updater.calculate_cf_from_scratch(atoms, atoms.calc.cf_names)

    theirs = _rate(scratch, len(symbols), 3)
    _report(benchmark, capsys, f"energies of new configurations, {sites} sites", ours, theirs)
    benchmark.pedantic(h.energy, (occ,), rounds=3)


@pytest.mark.parametrize("sites", [128, 4096])
def test_metropolis_attempts(benchmark, capsys, settings, eci, sites):
    from clease.montecarlo import SGCMonteCarlo

    T, dmu = 800.0, 0.02
    h = alloygen.data.cuau().on(REPEATS[sites])
    chains = Chains(h, [T], [[0.0, dmu]], seed=0)
    chains.step(20)
    sweeps = 400_000 // sites
    ours = _rate(lambda: chains.step(sweeps), sweeps * sites)
    mc = SGCMonteCarlo(_clease_atoms(settings, eci, sites), T, symbols=["Au", "Cu"], observe_singlets=False)
    mc.run(steps=1000, chem_pot={"c1_0": dmu / 2}, call_observers=False)
    steps = 50_000
    theirs = _rate(lambda: mc.run(steps=steps, chem_pot={"c1_0": dmu / 2}, call_observers=False), steps, 3)
    _report(benchmark, capsys, f"semigrand Metropolis attempts, {sites} sites, {T:.0f} K", ours, theirs)
    benchmark.pedantic(chains.step, (1,), rounds=3)


def test_sampling_speed(benchmark, capsys):
    """1000 configurations of 64 sites with the cache, and without it: a full pass for every step."""
    torch.set_num_threads(2)
    model = alloygen.load("cuau_4x4x4")
    n = 1000
    T, mu = torch.full((n,), 600.0).double(), torch.tensor([[0.0, 0.02]]).double().expand(n, -1)
    from alloygen.models.draw import trained_orders

    order = trained_orders(model, n, torch.Generator().manual_seed(0))
    draw = lambda: model.sample(T, mu, order, torch.Generator().manual_seed(1))  # noqa: E731
    draw()
    cached = 1 / _rate(draw, 1, 3)
    few = 100

    def recompute():
        occ = torch.zeros(few, model.hamiltonian.n_sites, dtype=torch.long)
        with torch.no_grad():
            for t in range(model.hamiltonian.n_sites):
                logp = model.log_conditionals(occ, T[:few], mu[:few], order[:few])[:, t]
                site = order[:few, t : t + 1]
                occ.scatter_(1, site, torch.multinomial(logp.exp(), 1))

    plain = n / few / _rate(recompute, 1, 1)
    with capsys.disabled():
        print(f"\nsampling {n} configurations of 64 sites: {cached:.2f} s with the cache, {plain:.1f} s by full passes "
              f"(estimated from {few}), ratio {plain / cached:.1f} (two cores)")
    benchmark.extra_info.update(cached_s=cached, recomputed_s=plain, ratio=plain / cached)
    benchmark.pedantic(draw, rounds=1)
