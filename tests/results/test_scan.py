"""Scans: a sequence of ensembles, tables, and free energies by MBAR."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk
from small_systems import cuau_16, exact, hamiltonian

import alloygen
import alloygen.data
from alloygen.errors import AlloygenError, BadCondition, LowSampleSize, NotConverged
from alloygen.estimate import chains
from alloygen.estimate.mixture import NoOverlap
from alloygen.estimate.result import Estimate
from alloygen.exact.enumeration import Enumeration
from alloygen.hamiltonian.ising import ising
from alloygen.montecarlo.sampling import metropolis, replica_exchange
from alloygen.results.scan import Scan
from alloygen.testing import SYSTEMS

NAME = "cuau-2x2x2"


@pytest.fixture(scope="module")
def scan():
    h = hamiltonian(NAME)
    return replica_exchange(h, h.grid([500.0, 900.0, np.inf], SYSTEMS[NAME].mu), n=4000, burn=50, seed=1, check=False)


@pytest.fixture(scope="module")
def table():
    return Enumeration(hamiltonian(NAME))


def test_it_is_a_sequence_of_ensembles(scan):
    assert len(scan) == 6 and len(list(scan)) == 6
    ens = scan[1]
    assert (ens.T, ens.mu.tolist(), len(ens), ens.chains) == (500.0, [0.0, 0.07], 4000, 1)
    assert np.shares_memory(ens.occ, scan.occ) and np.array_equal(ens.occ, scan.occ[1])
    assert scan[-1].T == np.inf and isinstance(scan[1:3], Scan) and len(scan[1:3]) == 2
    assert ens.info["acceptance"] == pytest.approx(scan.facts.acceptance[1])
    with pytest.raises(IndexError, match="below 6"):
        scan[6]


def test_conditions_are_found_by_their_values(scan):
    assert scan.at(900, {"Au": 0.07}).mu.tolist() == [0.0, 0.07] and scan.at(900, {"Au": 0.07}).T == 900
    with pytest.raises(BadCondition, match="2 of them"):
        scan.at(900)
    with pytest.raises(BadCondition, match="0 of them"):
        scan.at(901, {"Au": 0.07})


def test_free_energies_are_absolute_and_their_errors_honest(scan, table):
    z = []
    for c in range(4):
        got, truth = scan.free_energy(c), table.at(table.hamiltonian.condition(scan.T[c], scan.mu[c])).phi
        z.append((got.value - truth) / got.stderr)
        assert scan[c].free_energy() == got and got.stderr < 1e-3
    assert np.abs(z).max() < 4
    assert scan.free_energy(4).value == -np.inf


def test_few_samples_below_free_energies_are_told_once_for_all_conditions():
    """A scan of hundreds of conditions is not hundreds of warnings."""
    h = hamiltonian(NAME)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", LowSampleSize)
        scan = replica_exchange(h, h.grid([900.0, 1500.0, np.inf], SYSTEMS[NAME].mu), n=20, seed=1, check=False)
        scan.free_energy(0), scan.free_energy(5)
    assert len(scan.joint.branches.parts) == 1
    at = [(b, b * mu) for b, mu in zip(scan.beta, scan.mu, strict=True) if b > 0]
    worth = [1 / (np.exp(scan.mbar.log_weights(*one)) ** 2 * scan.mbar.sample).sum() for one in at]
    low, least = int((np.array(worth) < 50).sum()), int(np.argmin(worth))
    assert low > 1
    (one,) = [w for w in told if "effective samples" in str(w.message)]
    assert str(one.message).startswith(
        f"free energies of {low} of {len(scan)} conditions rest on fewer than 50 effective"
    )
    assert f"{worth[least]:.1f} at T = {scan.T[least]:g}, mu_Au = {scan.mu[least, 1]:.4g}:" in str(one.message)
    assert one.filename == __file__


def test_no_reference_no_absolute_free_energy(scan):
    part = scan.subset([0, 1, 2, 3])
    assert not part.absolute
    with pytest.raises(AlloygenError, match="T = infinity"):
        part.free_energy(0)
    with pytest.raises(AlloygenError, match="no likelihood"):
        part[0].free_energy()
    assert np.sqrt(part.mbar.covariance[3, 3]) < 0.1  # of the difference from the first condition


def test_mbar_reaches_conditions_in_between(scan, table):
    h = scan.hamiltonian
    beta, mu = 1 / (h.kB * 650.0), np.array([0.0, 0.01])
    got = scan.mbar.phi(beta, beta * mu, h.n_sites)
    assert abs(got.value - table.at(table.hamiltonian.condition(650.0, mu)).phi) < 4 * got.stderr < 2e-3


def test_tables_hold_what_the_ensembles_say(scan):
    data = scan.to_xarray()
    assert data.sizes["condition"] == 6 and data.attrs["n_sites"] == 8 and data.attrs["unit"] == "eV"
    for c in (0, 3):
        ens = scan[c]
        assert float(data.x_Au[c]) == ens.composition("Au").value
        assert float(data.energy_stderr[c]) == ens.mean_energy().stderr
        assert float(data.heat_capacity[c]) == ens.heat_capacity().value
        assert float(data.phi[c]) == ens.free_energy().value
        assert (float(data.T[c]), float(data.mu_Au[c])) == (ens.T, ens.mu[1])
    frame = scan.to_pandas()
    assert len(frame) == 6 and {"T", "mu_Au", "x_Au", "x_Au_stderr", "phi", "rhat", "acceptance"} <= set(frame.columns)


def test_netcdf_round_trip(scan, tmp_path):
    import xarray as xr

    scan.write(tmp_path / "scan.nc")
    with xr.open_dataset(tmp_path / "scan.nc") as back:
        np.testing.assert_array_equal(back.x_Au, scan.to_xarray().x_Au)
        assert back.attrs["fingerprint"] == scan.hamiltonian.fingerprint
    scan.write(tmp_path / "scan.csv")
    assert (tmp_path / "scan.csv").read_text().splitlines()[0].startswith("energy,")
    with pytest.raises(AlloygenError, match=r"\.nc or \.csv"):
        scan.write(tmp_path / "scan.txt")


def test_parts_keep_observers_and_facts():
    s = metropolis(
        hamiltonian(NAME),
        hamiltonian(NAME).condition([500.0, 900.0]),
        n=40,
        burn=5,
        check=False,
        observers={"n": lambda occ: occ.sum(1)},
    )
    part = s.subset([1])
    assert np.array_equal(part.observed["n"], s.observed["n"][1:]) and part.facts.acceptance == s.facts.acceptance[1]
    assert np.array_equal(part[0].observed["n"], s.occ[1].sum(-1))


def test_counts_by_element_are_the_hamiltonians():
    name = "two-sublattice"
    h = hamiltonian(name)
    s = metropolis(h, h.condition([700.0]), n=20, burn=5, check=False)
    np.testing.assert_array_equal(s.counts[0], h.counts(s.occ[0]))


def test_arrays_that_do_not_fit_are_said(scan):
    with pytest.raises(AlloygenError, match="multiple of chains"):
        Scan(scan.hamiltonian, scan.T, scan.mu, scan.occ, scan.energy[:, :-1])


def test_the_law_is_that_of_the_condition(scan, table):
    p = exact(NAME, 900.0, np.array([0.0, 0.07])).numpy()
    ens = scan.at(900, {"Au": 0.07})
    assert abs(ens.mean_energy().value - p @ table.energy / 8) < 5 * ens.mean_energy().stderr


# ---------------------------------------------------------------------- averages over the ladder
def cold(seed: int, n: int = 1000, T=(300.0, 500.0, 700.0, 1000.0)) -> Scan:
    """CuAu 2x2x4 by replica exchange in T and mu, the ladder out of sight."""
    mu = [[0.0, x] for x in (-0.12, -0.06, 0.0, 0.06, 0.12)]
    return replica_exchange(
        cuau_16().hamiltonian,
        cuau_16().hamiltonian.grid(T, mu),
        n,
        ladder=[1507.0, 2924.0, np.inf],
        seed=seed,
        check=False,
    )


def exact_averages(T: float, mu) -> dict[str, float]:
    e, at = cuau_16(), cuau_16().at(cuau_16().hamiltonian.condition(T, mu))
    variance = at.probabilities @ e.counts[:, 1] ** 2 - (at.probabilities @ e.counts[:, 1]) ** 2
    return {
        "energy": at.energy, "x": at.composition[1], "heat capacity": at.heat_capacity,
        "susceptibility": variance / (e.hamiltonian.kB * T * 16), "entropy": (at.energy - at.composition @ mu - at.phi) / T,
    }  # fmt: skip


def averages(ens) -> dict[str, Estimate]:
    return {
        "energy": ens.mean_energy(), "x": ens.composition("Au"), "heat capacity": ens.heat_capacity(),
        "susceptibility": ens.susceptibility("Au"), "entropy": ens.entropy(),
    }  # fmt: skip


def test_the_ladder_knows_a_state_that_the_cold_chain_hardly_met():
    """At (300 K, -.12) a state that lasts long was met once by the chain there, whose bar (the control) misses by 10 of its own.

    A step from 300 to 500 K is too wide for it; that of a ladder made for these temperatures has a rung between.
    """
    T, mu = [300, 500, 700, 1000], [[0.0, x] for x in (-0.12, -0.06, 0, 0.06, 0.12)]
    wide = [1507.29335667, 2923.98056916, np.inf]
    with pytest.warns(NotConverged, match="the ladder"):
        scan = replica_exchange(cuau_16().hamiltonian, cuau_16().hamiltonian.grid(T, mu), 1000, ladder=wide, seed=4)
    truth = exact_averages(300.0, [0.0, -0.12])
    for name, got in averages(scan[0]).items():
        assert abs(got.value - truth[name]) < 4 * got.stderr, name
    alone = chains.mean(scan.occ[0].mean(1), 1 / 16)
    assert abs(alone.value - truth["x"]) > 8 * alone.stderr and scan.converged.tolist() == [False] + 19 * [True]
    widened = scan[0].mean(scan.occ[0].mean(1), 1 / 16)  # of this chain, whose strays are known
    assert widened.value == alone.value and abs(alone.value - truth["x"]) < 4 * widened.stderr
    assert scan[0].effective_samples > 1000


def stuck(scan: Scan, c: int) -> Scan:
    """The scan, its chain at condition c made to stay in one state that it once was in."""
    occ, energy = scan.occ.copy(), scan.energy.copy()
    lowest = int((scan.energy[c] - scan.counts[c] @ scan.mu[c]).argmin())
    occ[c], energy[c] = occ[c, lowest], energy[c, lowest]
    return Scan(scan.hamiltonian, scan.T, scan.mu, occ, energy, scan.chains, scan.method, facts=scan.facts, info=scan.info,
                hidden=scan.hidden)  # fmt: skip


def test_a_chain_that_misses_the_ladder_is_not_converged():
    scan = cold(0, T=(700.0, 1000.0))
    assert scan.converged.all() and (scan.facts.renewals > 20).all()
    torn = stuck(scan, 3)
    assert not torn.converged[3]
    assert "the ladder" in torn.convergence[3].note and "run longer" in torn.convergence[3].note


def test_few_replicas_from_above_leave_a_frozen_condition_unconverged():
    scan = cold(0, T=(300.0, 1000.0))
    few = replace(scan, facts=replace(scan.facts, renewals=np.full(10, 2)))
    note = few.convergence[1].note
    assert "2 replicas came down from the hottest condition" in note and few.converged[5:].all()


def test_chains_without_exchange_that_hardly_move_are_not_converged():
    scan = metropolis(
        cuau_16().hamiltonian,
        cuau_16().hamiltonian.condition([300.0, 900.0], [[0.0, 0.0]] * 2),
        1000,
        seed=0,
        check=False,
    )
    assert not scan.converged[0] and "replica exchange" in scan.convergence[0].note and scan.converged[1]


def test_conditions_that_cannot_be_joined_keep_their_own_averages_and_say_so():
    scan = cold(0, 200, T=(700.0,))
    torn = scan.subset([0, 2])
    torn.joint.__dict__["joined"] = NoOverlap("apart")
    assert not torn.converged.any() and "too little in common" in torn.convergence[0].note
    assert torn[0].mean_energy().value == pytest.approx(torn.energy[0].mean() / 16) and torn[0].averages.ladder is None


@pytest.mark.slow
def test_averages_of_a_ladder_are_calibrated():
    """16 seeds of 400 samples at twenty conditions; the chains by themselves are the negative control."""
    z, alone = {}, []
    for seed in range(16):
        scan = cold(seed, 400)
        for c in range(len(scan)):
            truth = exact_averages(scan.T[c], scan.mu[c])
            for name, got in averages(scan[c]).items():
                z.setdefault(name, []).append((got.value - truth[name]) / got.stderr)
            if scan.T[c] == 300:
                own = replace(scan[c], place=None).heat_capacity()
                alone.append((own.value - truth["heat capacity"]) / own.stderr)
    for name, found in z.items():
        told = np.isfinite(found)  # a run that cannot be joined to a reference has no entropy
        found = np.array(found)[told]
        assert told.mean() > 0.97 and 0.8 < found.std() < 1.25 and np.mean(np.abs(found) > 3) < 0.02, name
    assert np.nanstd(alone) > 1.8  # where the chain by itself gives a bar at all


def test_observers_and_order_rest_on_the_ladder_too():
    h = hamiltonian(NAME)
    scan = replica_exchange(h, h.grid([500.0, 900.0], SYSTEMS[NAME].mu), n=400, ladder=[np.inf], seed=1, check=False,
                            observers={"gold": lambda occ: occ.mean(1)})  # fmt: skip
    ens, x = scan[0], scan[0].composition("Au")
    assert ens.mean("gold", 1 / 8) == x == ens.composition("Au", per=0) and float(scan.to_xarray().gold[0]) == x.value
    assert ens.composition("Au", per="atoms").value == pytest.approx(x.value, abs=1e-12)
    w = ens.averages.ladder.weights
    order = np.concatenate([part[k].order_values("L1_2") for part in scan.parts for k in range(len(part))])
    assert ens.order_parameter("L1_2").value == pytest.approx(w @ order, abs=1e-12)
    assert ens.mean(scan.occ[0].mean(1)).value == scan.occ[0].mean()  # of this chain alone
    assert ens[:100].composition("Au").value == pytest.approx(scan.occ[0, :100].mean())
    with pytest.raises(AlloygenError, match="observers"):
        ens.mean("silver")


def test_a_name_changes_nothing_that_was_found():
    scan = cold(0, 40, T=(700.0,))
    mbar, convergence, counts = scan.mbar, scan.convergence, scan.counts
    other = replace(scan, method="mc", info={"note": 1}, atoms_map=None)
    assert other.mbar is mbar and other.convergence is convergence and other.counts is counts
    assert (other.method, other.info) == ("mc", {"note": 1})
    # negative controls: what the numbers rest on is another thing
    assert replace(scan, hidden=None).joint is not scan.joint and replace(scan, hidden=None).counts is not counts
    assert replace(scan, facts=replace(scan.facts, exchanged=False)).joint is not scan.joint
    assert scan.subset([0]).joint is not scan.joint


# ---------------------------------------------------------------------- free energies of one run go together
@pytest.mark.slow
def test_the_covariance_of_free_energies_is_that_of_many_runs():
    """40 runs of Ising 4x4: whitened by one run's covariance their errors are independent; by the bars alone their sum is not."""
    h = ising(4, h=0.1)
    truth = Enumeration(h)
    whitened, summed, by_bars = [], [], []
    for seed in range(40):
        scan = replica_exchange(
            h, h.grid([2.0, 2.3, 2.8]), n=500, sweeps=2, ladder=[3.5, 5.0, 10.0, np.inf], seed=seed, check=False
        )
        cov = scan.free_energy_covariance()
        off = np.array(
            [
                scan.free_energy(c).value - truth.at(truth.hamiltonian.condition(scan.T[c], scan.mu[c])).phi
                for c in range(3)
            ]
        )
        assert np.sqrt(np.diag(cov)) == pytest.approx([scan.free_energy(c).stderr for c in range(3)])
        whitened.append(np.linalg.solve(np.linalg.cholesky(cov), off))
        summed.append(off.sum() / np.sqrt(cov.sum()))
        by_bars.append(off.sum() / np.sqrt(np.trace(cov)))
    assert 0.8 < np.std(whitened) < 1.25 and 0.8 < np.std(summed) < 1.25 and np.std(by_bars) > 1.35


@pytest.mark.slow
def test_two_phases_that_a_cold_series_does_not_balance():
    """4x4x4 at (400 K, 0), 1.7 % of it Cu3Au: .49555(19) by long runs. On a ladder whose steps are too wide (the control) the chain
    of seed 1 hardly met Cu3Au and misses by its own bar; the ladder as a whole knows, and one made for these temperatures has
    a rung between."""
    h = alloygen.data.cuau().on((4, 4, 4))
    wide = replica_exchange(h, h.grid([400, 600], [[0.0, 0.0], [0.0, 0.02]]), 1000, ladder=[690, 751, 824, 1344, np.inf], seed=1, check=False)  # fmt: skip
    alone = chains.mean(wide.occ[0].mean(1), 1 / 64)
    assert abs(alone.value - 0.49555) > 10 * alone.stderr
    scan = alloygen.mc(bulk("Cu", a=3.8).repeat(4), T=[400, 600], mu={"Au": [0.0, 0.02]}, n=1000, seed=0)
    for got in (wide[0].composition("Au"), scan[0].composition("Au")):
        assert abs(got.value - 0.49555) < 2 * got.stderr < 0.008
    assert scan.converged.all() and scan[1].composition("Au").stderr < 1e-4
