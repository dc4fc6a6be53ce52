"""Ensembles out of files: the weights, energies and error bars that went in."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

import alloygen
from alloygen.edge.structure_files import write_structures
from alloygen.errors import AlloygenError
from alloygen.results.ensemble import Ensemble

ATOMS = bulk("Cu", a=3.8).repeat((2, 2, 1))


@pytest.fixture(scope="module")
def ens():
    return alloygen.mc(ATOMS, T=900, mu={"Au": 0.02}, n=40).at(900)


@pytest.mark.parametrize(("name", "format"), [("a.traj", None), ("a.mson", None), ("set", None)])
def test_monte_carlo_samples_come_back(ens, tmp_path, name, format):
    back = alloygen.read(ens.write(tmp_path / name, format))
    assert np.array_equal(back.occ, ens.occ) and back.T == 900 and back.mu.tolist() == [0.0, 0.02]
    assert back.energy == pytest.approx(ens.energy, abs=1e-12)
    assert back.inefficiency == pytest.approx(ens.inefficiency) and back.known_log_weight is None


def test_weights_come_back(ens, tmp_path):
    rng = np.random.default_rng(0)
    log_prob = rng.normal(-3, 0.2, len(ens))
    weighted = Ensemble(ens.hamiltonian, ens.occ, ens.energy, log_prob, T=900, mu=ens.mu, atoms_map=ens.atoms_map)
    back = alloygen.read(weighted.write(tmp_path / "a.extxyz"))
    assert back.log_weight == pytest.approx(weighted.log_weight) and back.free_energy() == weighted.free_energy()
    moved = ens.reweighted(T=1000)
    back = alloygen.read(moved.write(tmp_path / "b.extxyz"))
    assert back.weights == pytest.approx(moved.weights) and back.mean_energy().value == pytest.approx(
        moved.mean_energy().value
    )
    chosen = ens.select(3)
    assert alloygen.read(chosen.write(tmp_path / "c.extxyz")).weights == pytest.approx(
        chosen.manifest.weight.to_numpy()
    )


def test_what_does_not_belong_together_is_refused(ens, tmp_path):
    other = ens.reweighted(T=1000)
    mixed = write_structures([*ens.atoms[:2], *other.atoms[:2]], tmp_path / "a.extxyz")
    with pytest.raises(AlloygenError, match=r"expected one condition.*T = 1000"):
        alloygen.read(mixed)
    with pytest.raises(AlloygenError, match="with T and mu"):
        alloygen.read(
            write_structures(
                [Atoms("CuAu", [[0, 0, 0], [0, 1.9, 1.9]], cell=bulk("Cu", a=3.8).repeat((1, 1, 2)).cell, pbc=True)],
                tmp_path / "b.extxyz",
            ),
            "cuau",
        )
    bare = ens.atoms[0]
    bare.calc = None
    with pytest.raises(AlloygenError, match="expected structures with energies"):
        alloygen.read(write_structures([bare], tmp_path / "c.extxyz"))
