"""Wang-Landau against enumeration, with controls that must fail the same checks."""

import dataclasses
import inspect

import numpy as np
import pytest
import torch
from numba import njit
from scipy.special import logsumexp
from small_systems import PAIR, SYSTEMS, chi_square, enumeration, hamiltonian, random_expansion

from alloygen.errors import AlloygenError, BadCondition, CheckpointError
from alloygen.exact.enumeration import Enumeration
from alloygen.hamiltonian.expansion import ClusterExpansion
from alloygen.hamiltonian.ising import ising
from alloygen.io.checkpoint import read_tensors
from alloygen.lattice import Primitive
from alloygen.montecarlo import wang_landau as module
from alloygen.montecarlo.wang_landau import wang_landau

ARRAYS = ("energy", "variance", "log_g", "log_g_stderr", "walker_log_g", "visits")
LOPSIDED = ["cuau-skew", "ternary", "two-sublattice", "spectator", "many-body"]


def same(a, b) -> bool:
    return all(np.array_equal(getattr(a, k), getattr(b, k), equal_nan=True) for k in ARRAYS) and a.log_f == b.log_f


def grand(name, mu) -> np.ndarray:
    """E - mu.N of every state."""
    return enumeration(name).energy - enumeration(name).counts @ np.asarray(mu)


def truth(energy, kT: float, n: int) -> dict[str, float]:
    """Exact averages per site of states of these energies; written out, with kB = kT / T left to the caller."""
    log_z = logsumexp(-energy / kT)
    p = np.exp(-energy / kT - log_z)
    mean = p @ energy
    return {"phi": -kT * log_z / n, "energy_mean": mean / n, "heat_capacity": p @ (energy - mean) ** 2 / kT**2 / n,
            "entropy": (mean / kT + log_z) / n}  # fmt: skip


def deviations(dos, energy, temperatures, names=("phi", "energy_mean")) -> np.ndarray:
    """(estimate - exact) in standard errors."""
    h, out = dos.hamiltonian, []
    for T in temperatures:
        exact = truth(energy, h.kB * T, h.n_sites)
        for name in names:
            estimate, scale = getattr(dos, name)(T), h.kB if name in ("heat_capacity", "entropy") else 1.0
            out.append((estimate.value - scale * exact[name]) / estimate.stderr)
    return np.array(out)


def run(name, mu, seed=0, attempts=4e6, walkers=8, **kw):
    return wang_landau(hamiltonian(name), mu=mu, schedule="1/t", max_attempts=attempts, walkers=walkers, seed=seed, check=1000, **kw)


# ---------------------------------------------------------------------- against enumeration
@pytest.mark.parametrize("h, bins", [(0.0, 15), (0.15, 80)])
@pytest.mark.parametrize("schedule", ["halving", "1/t"])
def test_every_level_of_ising(h, bins, schedule):
    model = ising(4, h=h)
    dos = wang_landau(model, schedule=schedule, walkers=4, max_attempts=2e7, log_f_final=1e-6, flatness=0.9)
    levels, states = np.unique(Enumeration(model).energy.round(9), return_counts=True)
    assert len(levels) == bins  # with two gaps at h = 0, next to the ground states and the top
    np.testing.assert_allclose(dos.energy, levels, atol=1e-9)
    assert not dos.variance.any()
    np.testing.assert_allclose(dos.log_g, np.log(states), atol=0.15)
    assert np.exp(dos.log_g).sum() == pytest.approx(2**16, rel=1e-12)
    assert np.abs((dos.log_g - np.log(states)) / dos.log_g_stderr).max() < 15  # t with 3 degrees of freedom, 80 of them
    assert np.median(np.abs(dos.log_g - np.log(states))) < 0.03
    assert dos.converged == ("max_attempts" not in dos.note)


@pytest.mark.parametrize("windows", [1, 2])
def test_log_g_from_transitions(windows):
    model = ising(4, h=0.15)
    kw = dict(schedule="1/t", max_attempts=2e7, walkers=8, windows=windows)
    plain, dos = (wang_landau(model, transitions=t, **kw) for t in (False, True))
    exact = np.log(np.unique(Enumeration(model).energy.round(9), return_counts=True)[1])
    assert np.abs((dos.log_g - exact) / dos.log_g_stderr).max() < 9  # t with 7 degrees of freedom, 80 of them
    assert np.sqrt(np.mean((dos.log_g - exact) ** 2)) < 0.8 * np.sqrt(np.mean((plain.log_g - exact) ** 2))
    assert np.array_equal(dos.visits, plain.visits)  # the walk is the same


def test_transitions_alone_give_log_g():
    """Exact counts of a small model, with a log g that knows nothing; and a control with up and down exchanged."""
    model, leads = ising(3, h=0.15), np.zeros((181, 161), dtype=np.int64)
    e = Enumeration(model)
    level = np.round((e.energy - e.energy.min()) / 0.1).astype(int)
    up = np.round((model.site_energies(e.occ).numpy() - e.energy[:, None, None]) / 0.1)
    up = (up - np.take_along_axis(up, e.occ.numpy()[..., None], 2)).sum(2).round().astype(int)
    assert level.max() < 400 and np.abs(up).max() <= 90
    leads = np.zeros((level.max() + 1, 181), dtype=np.int64)
    np.add.at(leads, (np.repeat(level, 9), 90 + up.ravel()), 1)
    states = np.bincount(level)
    blank = np.where(states > 0, 0.0, np.nan)
    got = module._from_transitions(blank, leads)
    exact = np.where(states > 0, np.log(np.maximum(states, 1) / states[0]), np.nan)
    np.testing.assert_allclose(got, exact, atol=1e-4)
    assert np.nanmax(np.abs(module._from_transitions(blank, leads[:, ::-1]) - exact)) > 1


@pytest.mark.parametrize("name", LOPSIDED)
def test_thermodynamics_of_lopsided_alloys(name):
    for k, mu in enumerate(SYSTEMS[name].mu):
        dos, energy = run(name, mu, seed=k), grand(name, mu)
        z = deviations(dos, energy, (250.0, 500.0, 900.0, 2000.0), ("phi", "energy_mean", "heat_capacity", "entropy"))
        assert np.abs(z).max() < 7, z  # t with 7 degrees of freedom
        exact = truth(energy, dos.hamiltonian.kB * 500, dos.hamiltonian.n_sites)["phi"]
        assert dos.phi(500.0).value == pytest.approx(exact, abs=2e-4)
        assert np.exp(dos.log_g).sum() == pytest.approx(len(energy))
        assert np.abs(deviations(dos, grand(name, -np.array(mu)), (500.0,))).max() > 15  # control: the sign of mu


def test_mean_energies_of_bins_are_used():
    """Bins as wide as kT: the centre of a bin would be far off, the mean and variance inside are not."""
    name, mu = "ternary", SYSTEMS["ternary"].mu[0]
    dos, energy = run(name, mu, width=0.03), grand(name, mu)
    assert np.abs(deviations(dos, energy, (500.0, 1000.0), ("phi",))).max() < 7
    plan, bins = dos._plan, dos._bins
    centred = dataclasses.replace(dos, energy=plan.rules.origin + bins * plan.rules.width, variance=0 * dos.variance)
    assert np.abs(deviations(centred, energy, (500.0, 1000.0), ("phi",))).max() > 10
    for k, b in enumerate(bins):  # against the states themselves
        inside = energy[plan.bin(energy) == b]
        assert dos.energy[k] == pytest.approx(inside.mean(), abs=3e-3)
    assert set(bins) == set(plan.bin(energy))


SHARED = random_expansion(np.eye(3), PAIR, [("A", "B"), ("B", "C", "A")], 7).on((2, 2, 1))  # A and B may change sublattice
SWAPS = {"cuau-skew": 0b1011, "ternary": 100, "two-sublattice": 107, "spectator": 7, "shared": 700}  # a state to start from


@pytest.mark.parametrize("name", SWAPS)
def test_swaps_against_the_states_of_one_composition(name):
    e, start = Enumeration(SHARED) if name == "shared" else enumeration(name), SWAPS[name]
    inside = (e.counts == e.counts[start]).all(1)
    assert inside.sum() > 15
    dos = wang_landau(e.hamiltonian, move="swap", occ=e.occ[start], schedule="1/t", max_attempts=2e6, walkers=8, check=1000)
    assert np.exp(dos.log_states) == pytest.approx(inside.sum())
    assert np.abs(deviations(dos, e.energy[inside], (250.0, 500.0, 2000.0))).max() < 7
    assert np.abs(deviations(dos, e.energy, (500.0,))).max() > 15  # control: all compositions
    assert (e.hamiltonian.counts(torch.as_tensor(dos.multicanonical(50)[0]).long()).numpy() == e.counts[start]).all()


def test_windows_joined_are_one_window():
    h = ising(6)
    one, four = (wang_landau(h, schedule="1/t", max_attempts=2e7, walkers=4, windows=w, seed=w) for w in (1, 4))
    np.testing.assert_allclose(one.energy, four.energy)
    for T in (1.5, 2.3, 3.5):
        a, b = one.phi(T), four.phi(T)
        assert abs(a.value - b.value) < 6 * np.hypot(a.stderr, b.stderr) and abs(a.value - b.value) < 2e-3
    assert four.joints.shape == (4, 3) and 0 < four.joints.max() < 0.3
    # control: a joint that is off by half
    curves = np.array([[0.0, 1.0, 2.0, np.nan], [np.nan, 3.5, 4.5, 5.5]])
    joined, rms = module._join(curves, np.array([0, 1]), np.array([2, 3]))
    np.testing.assert_allclose(joined, [0, 1, 2, 3])
    np.testing.assert_allclose(rms, 0, atol=1e-12)
    with pytest.raises(AlloygenError, match="windows 0 and 1 to share bins"):
        module._join(np.array([[0.0, np.nan], [np.nan, 1.0]]), np.array([0, 1]), np.array([0, 1]))


def test_confined_to_a_range_of_energies():
    name, mu = "cuau-skew", SYSTEMS["cuau-skew"].mu[1]
    energy = grand(name, mu)
    low, high = np.quantile(energy, [0.05, 0.95])
    dos = run(name, mu, energies=(low, high))
    bins = dos._plan.bin(energy)
    inside = energy[(bins >= dos._plan.bin(low)) & (bins <= dos._plan.bin(high))]
    assert len(inside) < len(energy)
    assert np.abs(deviations(dos, inside, (300.0, 900.0), ("energy_mean",))).max() < 7
    assert np.abs(deviations(dos, energy, (300.0, 900.0), ("energy_mean",))).max() > 15  # control
    with pytest.raises(AlloygenError, match="confined"):
        dos.phi(300.0)
    with pytest.raises(AlloygenError, match="Widen them"):
        run(name, mu, energies=(100.0, 101.0))


# ---------------------------------------------------------------------- errors, and walks that are wrong
def test_error_bars_are_calibrated():
    z = []
    for name in ("cuau-2x2x2", "two-sublattice", "ternary"):
        for seed in range(6):
            mu = SYSTEMS[name].mu[seed % 2]
            dos = run(name, mu, seed=seed, attempts=4e5 * 12, walkers=12)
            z.append(deviations(dos, grand(name, mu), (300.0, 1500.0), ("phi",)))
    z = np.array(z)
    # 36 values of Student's t with 11 degrees of freedom: standard deviation 1.1, known to 13 per cent; two T share a run
    assert 0.7 < z.std() < 1.5 and abs(z.mean()) < 0.7, z


RAISE = inspect.getsource(module._flips.py_func)
RAISE = RAISE[RAISE.index("            log_g[k] += log_f\n") : RAISE.index("        _refine")]  # what follows every attempt
MUTANTS = {
    "as it is": (),
    "no update where a move was rejected": (
        (RAISE, "            if moved:\n" + "".join(f"    {line}\n" for line in RAISE.splitlines())),
        ("            bits = mix(s)\n", "            bits = mix(s)\n            moved = False\n"),
        ("e, k = e + delta, new", "e, k, moved = e + delta, new, True"),
    ),
    "ratio upside down": (("log_g[k] - log_g[new]", "log_g[new] - log_g[k]"),),
    "a tenth off in the energy change": (("(e + delta - rules", "(e + 0.9 * delta - rules"),),
    "one species never drawn": (("below_low(bits, n_species - 1)", "0"),),
}


def broken(replacements):
    """The kernel of flips with pieces of its source replaced."""
    source, space = inspect.getsource(module._flips.py_func).split("\n", 1)[1], dict(vars(module))
    for old, new in replacements:
        assert source.count(old) == 1
        source = source.replace(old, new)
    exec(source, space)
    return njit(nogil=True)(space["_flips"])


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_broken_walk_is_found_out(mutant, monkeypatch):
    if MUTANTS[mutant]:
        monkeypatch.setattr(module, "_flips", broken(MUTANTS[mutant]))
    z = []
    for name, T, kw in (("two-sublattice", (300.0, 2000.0), {}), ("ising-3", (1.5, 4.0), dict(width=0.0717))):
        mu = SYSTEMS[name].mu[1]
        z.append(deviations(run(name, mu, attempts=2e6, **kw), grand(name, mu), T))
    assert (np.abs(z).max() < 7) == (mutant == "as it is"), z


# ---------------------------------------------------------------------- what runs have in common
def test_the_seed_decides_and_threads_do_not():
    kw = dict(attempts=4e5, walkers=2, windows=2)
    mu = SYSTEMS["two-sublattice"].mu[0]
    one, again, other, two = (run("two-sublattice", mu, **kw, **x) for x in ({}, {}, {"seed": 1}, {"threads": 3}))
    assert same(one, again) and same(one, two) and not same(one, other)
    assert not np.array_equal(one.walker_log_g[0], one.walker_log_g[1])


def test_the_integer_kernel_makes_the_same_walk(monkeypatch):
    kw = dict(walkers=2, max_attempts=1e6, seed=3)
    for h in (ising(4), ising(5, h=0.15)):
        fast = wang_landau(h, **kw)
        assert fast._plan.kernel is module._level_flips
        with monkeypatch.context() as m:
            m.setattr(module._Plan, "kernel", property(lambda plan: module._flips))
            slow = wang_landau(h, **kw)
        assert same(fast, slow)


def stopped(monkeypatch, path, after: int, error, **kw):
    """A run that ends with an error after some calls of the kernel."""
    calls, kernel = [], module._level_flips
    rows = kw.get("walkers", 1)

    def dies(tables, w, r, rules, blocks):
        if len(calls) == after and rules.final > 0:
            raise error
        if rules.final > 0:
            calls.append(r)
        kernel(tables, w, r, rules, 3)

    with monkeypatch.context() as m:
        m.setattr(module, "_level_flips", dies)
        with pytest.raises(type(error)):
            wang_landau(ising(4, h=0.15), checkpoint=path, **kw)
    assert len(calls) == after > rows


@pytest.mark.parametrize("schedule, transitions", [("halving", False), ("1/t", True)])
def test_killed_and_resumed_is_uninterrupted(tmp_path, monkeypatch, schedule, transitions):
    kw = dict(walkers=2, schedule=schedule, transitions=transitions, max_attempts=600_000, check=1000, seed=5)
    whole, path = wang_landau(ising(4, h=0.15), **kw), tmp_path / "state.safetensors"
    stopped(monkeypatch, path, 31, KeyboardInterrupt(), **kw)
    stopped(monkeypatch, path, 50, OSError("killed"), **kw)
    assert 0 < int(read_tensors(path)[0]["attempts"].sum()) < 600_000
    assert same(whole, wang_landau(ising(4, h=0.15), checkpoint=path, **kw))
    assert same(whole, wang_landau(ising(4, h=0.15), checkpoint=path, **kw))  # finished: read, not run
    longer = kw | dict(max_attempts=800_000)
    assert same(wang_landau(ising(4, h=0.15), **longer), wang_landau(ising(4, h=0.15), checkpoint=path, **longer))
    with pytest.raises(CheckpointError, match="seed = 6, got seed = 5"):
        wang_landau(ising(4, h=0.15), checkpoint=path, **(kw | dict(seed=6)))
    with pytest.raises(CheckpointError, match="fingerprint"):
        wang_landau(ising(4, h=0.16), checkpoint=path, **kw)
    with pytest.raises(CheckpointError, match="lattice"):
        wang_landau(ising(5, h=0.15), checkpoint=path, **kw)


def test_the_file_is_written_as_time_goes_by(tmp_path, monkeypatch):
    written, path = [], tmp_path / "state.safetensors"
    save = module._save
    monkeypatch.setattr(module, "_save", lambda w, *a: (written.append(int(w.attempts.sum())), save(w, *a)))
    monkeypatch.setattr(module, "EVERY", 0.0)
    wang_landau(ising(4), max_attempts=1e7, schedule="1/t", checkpoint=path)
    assert len(written) > 3 and written == sorted(written)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_fixed_sites_stay_and_the_rest_is_exact():
    h = ising(4, h=0.15)
    e = Enumeration(h)
    fixed, start = [0, 3, 6, 13], torch.zeros(16, dtype=torch.long)
    start[[3, 13, 5]] = 1
    inside = (e.occ[:, fixed] == start[fixed]).all(1).numpy()
    dos = wang_landau(h, occ=start, fixed=fixed, schedule="1/t", max_attempts=4e6, walkers=8)
    levels, states = np.unique(e.energy[inside].round(9), return_counts=True)
    np.testing.assert_allclose(dos.energy, levels, atol=1e-9)
    np.testing.assert_allclose(dos.log_g, np.log(states), atol=0.2)
    occ, _, _ = dos.multicanonical(200, sweeps=2)
    assert (occ[:, fixed] == start[fixed].numpy()).all() and len(np.unique(occ, axis=0)) > 100
    mask = np.isin(np.arange(16), fixed)
    kw = dict(schedule="1/t", max_attempts=1e5)
    assert same(wang_landau(h, occ=start, fixed=mask, **kw), wang_landau(h, occ=start, fixed=fixed, **kw))


# ---------------------------------------------------------------------- what comes of it
@pytest.mark.parametrize("name", ["cuau-skew", "two-sublattice"])
def test_multicanonical_states_come_as_one_over_g(name):
    e, mu = enumeration(name), np.array(SYSTEMS[name].mu[0])
    dos = run(name, mu, attempts=1e6)
    occ, energy, log_g = dos.multicanonical(40_000, sweeps=8, seed=2)
    assert occ.dtype == np.int8 and occ.shape == (40_000, e.occ.shape[1])
    index = e.index(torch.as_tensor(occ)).numpy()
    np.testing.assert_allclose(energy, grand(name, mu)[index], atol=1e-9)
    place = np.searchsorted(dos._bins, dos._plan.bin(grand(name, mu)))
    np.testing.assert_array_equal(log_g, dos.log_g[place[index]])
    for T in (300.0, 900.0):  # reweighted: block means of the energy against the exact one
        kT = dos.hamiltonian.kB * T
        x = log_g - energy / kT
        w = np.exp(x - x.max()).reshape(40, -1)
        means = (w * energy.reshape(40, -1)).sum(1) / w.sum(1)
        exact = truth(grand(name, mu), kT, 1)["energy_mean"]
        assert abs((w.ravel() @ energy) / w.sum() - exact) < 5 * means.std(ddof=1) / np.sqrt(40)
    flat = np.bincount(place[index], minlength=len(dos.energy)) / len(index) * len(dos.energy)
    assert 0.5 < np.median(flat) < 1.5
    if name == "two-sublattice":
        weight = np.exp(-dos.log_g[place])
        assert chi_square(np.bincount(index[::4], minlength=len(e)), len(index[::4]) * weight / weight.sum()) > 1e-4
        wrong = np.ones(len(e)) / len(e)  # control: uniform
        assert chi_square(np.bincount(index[::4], minlength=len(e)), len(index[::4]) * wrong) < 1e-10


def test_histogram_and_dataset():
    dos = wang_landau(ising(4, h=0.15), schedule="1/t", max_attempts=1e6, walkers=2)
    energy, p = dos.energy_histogram(2.5)
    assert p.sum() == pytest.approx(1) and p @ energy / 16 == pytest.approx(dos.energy_mean(2.5).value)
    phi, s, u = dos.phi(2.5), dos.entropy(2.5), dos.energy_mean(2.5)
    assert phi.value == pytest.approx(u.value - 2.5 * s.value) and dos.log_z(2.5).value == pytest.approx(-phi.value * 16 / 2.5)
    step = 1e-3
    slope = (dos.energy_mean(2.5 + step).value - dos.energy_mean(2.5 - step).value) / (2 * step)
    assert dos.heat_capacity(2.5).value == pytest.approx(slope, rel=1e-5)
    data = dos.to_xarray()
    assert data.log_g.dims == ("bin",) and data.walker_log_g.shape == (2, len(energy)) and data.attrs["unit"] == "J"


def test_one_walker_says_that_it_knows_no_error():
    dos = wang_landau(ising(4), log_f_final=1e-3)
    assert np.isnan(dos.phi(2.0).stderr) and "walkers=2" in dos.phi(2.0).note and "one walker" in dos.note
    assert np.isnan(dos.log_g_stderr).all() and dos.converged


def test_what_cannot_be_run_is_said():
    h = ising(3)
    for kw, match in [(dict(schedule="2/t"), "schedule='2/t'"), (dict(flatness=1.0), "flatness=1.0"),
                      (dict(energies=(1, 0)), "energies"), (dict(move="swap"), "composition the swaps keep"),
                      (dict(fixed=[0]), "what the fixed sites hold"), (dict(fixed=[9], occ=[0] * 9), "between 0 and 8"),
                      (dict(width=1e-9), "widen them"), (dict(mu=[0.0]), "one finite chemical potential"),
                      (dict(windows=0), "windows=0"), (dict(transitions=True, width=1.0), "Leave it out"), (dict(occ=torch.zeros(2, 9)), "one start")]:
        with pytest.raises(AlloygenError, match=match):
            wang_landau(h, **kw)
    with pytest.raises(BadCondition, match="leave it out"):
        wang_landau(h, move="swap", occ=[0] * 8 + [1], mu=[0, 1.0])
    with pytest.raises(BadCondition):
        wang_landau(h, log_f_final=0.1).phi(-1)
    dull = ClusterExpansion(Primitive(np.eye(3), [[0, 0, 0]], [("Cu",)]), [[1.0]], ()).on((2, 2, 1))
    with pytest.raises(AlloygenError, match="nothing can change"):
        wang_landau(dull)
