"""The kernels of Wang-Landau: broken ones are found out, fast ones make the same walk, frozen ones sample 1 / g."""

import dataclasses
import inspect

import numpy as np
import pytest
from densities import deviations, grand, run, same, truth
from numba import njit
from small_systems import enumeration

from alloygen.exact.enumeration import Enumeration
from alloygen.hamiltonian.ising import ising
from alloygen.montecarlo.wang_landau import Schedule, kernels, multicanonical, multicanonical_ensembles, wang_landau
from alloygen.montecarlo.wang_landau.bins import Plan
from alloygen.testing import SYSTEMS, chi_square

RAISE = inspect.getsource(kernels.flips.py_func)
RAISE = RAISE[
    RAISE.index("            log_g[k] += log_f\n") : RAISE.index("        _refine")
]  # what follows every attempt
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
    source, space = inspect.getsource(kernels.flips.py_func).split("\n", 1)[1], dict(vars(kernels))
    for old, new in replacements:
        assert source.count(old) == 1
        source = source.replace(old, new)
    exec(source, space)
    return njit(nogil=True)(space["flips"])


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_broken_walk_is_found_out(mutant, monkeypatch):
    if MUTANTS[mutant]:
        monkeypatch.setattr(kernels, "flips", broken(MUTANTS[mutant]))
    z = []
    for name, T, kw in (("two-sublattice", (300.0, 2000.0), {}), ("ising-3", (1.5, 4.0), dict(width=0.0717))):
        mu = SYSTEMS[name].mu[1]
        z.append(deviations(run(name, mu, attempts=2e6, **kw), grand(name, mu), T))
    assert (np.abs(z).max() < 6) == (mutant == "as it is"), z


@pytest.mark.slow
def test_the_integer_kernel_makes_the_same_walk(monkeypatch):
    kw, used = dict(walkers=2, schedule=Schedule(max_attempts=1e6), seed=3), []
    kernel = kernels.level_flips
    monkeypatch.setattr(kernels, "level_flips", lambda *a: (used.append(1), kernel(*a)))
    for h in (ising(4), ising(5, h=0.15)):
        fast, calls = wang_landau(h, **kw), len(used)
        with monkeypatch.context() as m:
            m.setattr(Plan, "kernel", property(lambda plan: kernels.flips))
            slow = wang_landau(h, **kw)
        assert same(fast, slow) and len(used) == calls > 0
        used.clear()


@pytest.mark.parametrize("name", ["cuau-skew", "two-sublattice"])
def test_multicanonical_states_come_as_one_over_g(name):
    e, mu = enumeration(name), np.array(SYSTEMS[name].mu[0])
    dos = run(name, mu, attempts=1e6)
    occ, energy, log_g = multicanonical(dos, 40_000, sweeps=8, seed=2)
    assert occ.dtype == np.int8 and occ.shape == (40_000, e.occ.shape[1])
    index = e.index(occ)
    np.testing.assert_allclose(energy, grand(name, mu)[index], atol=1e-9)
    place = np.searchsorted(dos.bins.index, dos.bins.of(grand(name, mu)))
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


@pytest.mark.parametrize("name", ["cuau-skew", "ternary"])
def test_multicanonical_ensembles_have_the_averages_of_their_temperature(name):
    """One chain, several temperatures: energies, compositions and free energies with their errors; equal weights fail."""
    mu = np.array(SYSTEMS[name].mu[0])
    dos = run(name, mu, attempts=2e6)
    ensembles = multicanonical_ensembles(dos, [500.0, 900.0], 8000, seed=1)
    for ens in ensembles:
        exact = Enumeration(ens.hamiltonian).at(ens.hamiltonian.condition(ens.T, mu))
        for got, truth_ in (
            (ens.mean_energy(), exact.energy),
            (ens.composition(ens.elements[1]), exact.composition[1]),
        ):
            assert abs(got.value - truth_) < 4.5 * got.stderr
        assert abs(ens.free_energy().value - exact.phi) < 1e-3
        bare = dataclasses.replace(ens, log_w=None).mean_energy()
        assert abs(bare.value - exact.energy) > 8 * bare.stderr
    assert np.array_equal(ensembles[0].occ, ensembles[1].occ)


def test_multicanonical_weights_stay_as_they_are():
    """A log g that is far off, of a run by 1/t: the states come as its inverse all the same, nothing goes on learning."""
    name = "two-sublattice"
    e, mu = enumeration(name), SYSTEMS[name].mu[0]
    dos = run(name, mu, attempts=1e6)
    dos = dataclasses.replace(dos, log_g=dos.log_g + 12 * (dos.energy - dos.energy.mean()))
    occ, _, _ = multicanonical(dos, 10_000, sweeps=32)
    seen = np.bincount(e.index(occ), minlength=len(e))
    weight = np.exp(-dos.log_g[np.searchsorted(dos.bins.index, dos.bins.of(grand(name, mu)))])
    assert chi_square(seen, len(occ) * weight / weight.sum()) > 1e-4
    assert chi_square(seen, len(occ) * np.ones(len(e)) / len(e)) < 1e-10  # control: uniform
