"""What results depend on beside their samples is a typed record, and an Ensemble lives without its Scan."""

import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest

from alloygen.errors import AlloygenError
from alloygen.hamiltonian.ising import ising
from alloygen.montecarlo.sampling import replica_exchange
from alloygen.montecarlo.single_moves import Flip
from alloygen.results.provenance import Provenance, RunProvenance


def run(T):
    return replica_exchange(ising(3), ising(3).grid(T), n=400, ladder=[5.0, np.inf], seed=0, check=False)


def test_a_record_is_checked_when_it_is_made():
    for bad in (0, -1.0, np.inf, "4"):
        with pytest.raises(AlloygenError, match="statistical inefficiency"):
            Provenance(inefficiency=bad)
    assert Provenance(known=[1, -1]).known.dtype == np.int64
    for bad in (np.array([True, False]), [[0, 1]], ["Au"]):
        with pytest.raises(AlloygenError, match="species indices"):
            Provenance(known=bad)
    with pytest.raises(TypeError):
        Provenance(acceptence=0.1)  # a name that nobody reads cannot be given


def test_the_part_of_a_run_keeps_what_belongs_to_its_conditions():
    facts = RunProvenance(move=Flip(), acceptance=np.array([0.1, 0.2, 0.3]))
    part = facts.part([2, 0])
    assert part.acceptance.tolist() == [0.3, 0.1] and part.renewals is None and isinstance(part.move, Flip)
    assert facts.whole().columns == {} and facts.whole().move is facts.move


def test_an_ensemble_outlives_its_scan():
    """It holds what its conditions know together and no scan: the same numbers with and without."""
    scan = run([2.5, 3.5])
    energy, phi = scan[0].mean_energy(), scan[0].free_energy()
    scan = run([2.5, 3.5])
    ens, alive = scan[0], weakref.ref(scan)
    del scan
    gc.collect()
    assert alive() is None
    assert ens.mean_energy() == energy and ens.free_energy() == phi and ens.averages.ladder is not None


def test_nothing_depends_on_what_is_only_shown():
    """Negative control for ``info``: without it, or with lies in it, all numbers stay."""
    scan = run([2.5, 3.5])
    other = replace(scan, info={"exchange": 0.0, "move": "none", "log_states": 1.0, "held": [0], "sweeps": "many"})
    assert other[0].mean_energy() == scan[0].mean_energy() and other.free_energy(0) == scan.free_energy(0)
    assert [c.effective_samples for c in other.convergence] == [c.effective_samples for c in scan.convergence]
    ens = scan[1]
    assert replace(ens, place=None).facts.free_energy is None and not replace(ens, place=None).absolute and ens.absolute
    assert (
        ens[:50].free_energy() == ens.free_energy() and ens[:50].averages.ladder is None
    )  # Phi stays, averages are their own
    assert replace(ens, info={"inefficiency": 9.0, "free_energy": 1.0, "stuck": "no"}).entropy() == ens.entropy()
