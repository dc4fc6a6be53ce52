"""Scans: a sequence of ensembles, tables, and free energies by MBAR."""

import numpy as np
import pytest
import torch
from small_systems import SYSTEMS, exact, hamiltonian

from alloygen.errors import AlloygenError, BadCondition
from alloygen.exact.enumeration import Enumeration
from alloygen.montecarlo.sampling import metropolis, replica_exchange
from alloygen.scans import Scan

NAME = "cuau-2x2x2"


@pytest.fixture(scope="module")
def scan():
    h = hamiltonian(NAME)
    return replica_exchange(h, [500.0, 900.0, np.inf], SYSTEMS[NAME].mu, n=4000, burn=50, seed=1, check=False)


@pytest.fixture(scope="module")
def table():
    return Enumeration(hamiltonian(NAME))


def test_it_is_a_sequence_of_ensembles(scan):
    assert len(scan) == 6 and len(list(scan)) == 6
    ens = scan[1]
    assert (ens.T, ens.mu.tolist(), len(ens), ens.chains) == (500.0, [0.0, 0.07], 4000, 1)
    assert torch.equal(ens.occ, torch.as_tensor(scan.occ[1]).long())
    assert scan[-1].T == np.inf and isinstance(scan[1:3], Scan) and len(scan[1:3]) == 2
    assert ens.info["acceptance"] == pytest.approx(scan.facts["acceptance"][1])
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
        got, truth = scan.free_energy(c), table.at(scan.T[c], scan.mu[c]).phi
        z.append((got.value - truth) / got.stderr)
        assert scan[c].free_energy() == got and got.stderr < 1e-3
    assert np.abs(z).max() < 4
    assert scan.free_energy(4).value == -np.inf


def test_no_reference_no_absolute_free_energy(scan):
    part = scan.select([0, 1, 2, 3])
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
    assert abs(got.value - table.at(650.0, mu).phi) < 4 * got.stderr < 2e-3


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
        hamiltonian(NAME), [500.0, 900.0], n=40, burn=5, check=False, observers={"n": lambda occ: occ.sum(1)}
    )
    part = s.select([1])
    assert (
        np.array_equal(part.observed["n"], s.observed["n"][1:]) and part.facts["acceptance"] == s.facts["acceptance"][1]
    )
    assert np.array_equal(part[0].observed["n"], s.occ[1].sum(-1))


def test_counts_by_element_are_the_hamiltonians():
    name = "two-sublattice"
    h = hamiltonian(name)
    s = metropolis(h, [700.0], n=20, burn=5, check=False)
    np.testing.assert_array_equal(s._counts[0], h.counts(torch.as_tensor(s.occ[0]).long()).numpy())


def test_arrays_that_do_not_fit_are_said(scan):
    with pytest.raises(AlloygenError, match="multiple of chains"):
        Scan(scan.hamiltonian, scan.T, scan.mu, scan.occ, scan.energy[:, :-1])


def test_the_law_is_that_of_the_condition(scan, table):
    p = exact(NAME, 900.0, np.array([0.0, 0.07])).numpy()
    ens = scan.at(900, {"Au": 0.07})
    assert abs(ens.mean_energy().value - p @ table.energy / 8) < 5 * ens.mean_energy().stderr
