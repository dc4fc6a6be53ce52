"""Rotary embedding on a torus: which waves there are, that they are periodic, and that only displacements count."""

import numpy as np
import pytest
import torch
from small_systems import generator, hamiltonian

import alloygen.data
from alloygen.hamiltonian.ising import ising
from alloygen.lattice import Lattice
from alloygen.nn.rope import rotate, rotations, wave_vectors
from alloygen.testing import SYSTEMS

LATTICES = {name: lambda n=name: hamiltonian(n).lattice for name in SYSTEMS} | {
    "ising-4": lambda: ising(4).lattice,
    "cuau-4x4x4": lambda: alloygen.data.cuau().on((4, 4, 4)).lattice,
}


@pytest.fixture(params=list(LATTICES))
def lattice(request) -> Lattice:
    return LATTICES[request.param]()


def cells(lattice) -> int:
    return lattice.n_sites // lattice.n_sublattices


def test_one_wave_vector_of_each_pair(lattice):
    """A torus of M cells has M wave vectors; without zero, and one of each +-k, (M - 1 + self-conjugate) / 2 remain."""
    m = wave_vectors(lattice)
    phase = np.exp(2j * np.pi * lattice.fractional[:: lattice.n_sublattices] @ m.T)
    phase = phase / phase[0]
    real = int((np.abs(phase.imag).max(0) < 1e-9).sum())
    assert len(m) == (cells(lattice) - 1 + real) // 2
    both = np.hstack([phase, phase.conj()[:, np.abs(phase.imag).max(0) > 1e-9], np.ones((cells(lattice), 1))])
    np.testing.assert_allclose(both.conj().T @ both, cells(lattice) * np.eye(cells(lattice)), atol=1e-8)


@pytest.mark.parametrize("name, count", [("ising-3", 4), ("ising-4", 9), ("cuau-2x2x2", 7), ("cuau-4x4x4", 35)])
def test_number_of_wave_vectors(name, count):
    assert len(wave_vectors(LATTICES[name]())) == count


def test_longest_waves_come_first(lattice):
    length = np.linalg.norm(wave_vectors(lattice) @ np.linalg.inv(lattice.cell).T, axis=1)
    assert (np.diff(length) > -1e-6).all()


def test_angles_are_periodic(lattice):
    """A site and its images across the supercell have one angle: m.f changes by integers."""
    images = lattice.offsets + np.array([1, -2, 3]) @ lattice.matrix
    f = (images + lattice.primitive.basis[lattice.sublattice]) @ np.linalg.inv(lattice.matrix)
    turns = (f - lattice.fractional) @ wave_vectors(lattice).T
    np.testing.assert_allclose(turns, np.rint(turns), atol=1e-9)


def scores(lattice, q, k):
    cos, sin = rotations(lattice, *q.shape[-2:])
    return torch.einsum(
        "ihw,jhw->hij",
        rotate(q.expand(lattice.n_sites, -1, -1), cos, sin),
        rotate(k.expand(lattice.n_sites, -1, -1), cos, sin),
    )


def test_attention_depends_on_the_displacement_only(lattice):
    g = generator()
    q, k = torch.randn(2, 2, 16, generator=g)
    s = scores(lattice, q, k)
    for row in torch.as_tensor(lattice.translations):
        torch.testing.assert_close(s[:, row][:, :, row], s, rtol=0, atol=1e-4)
    if cells(lattice) > 1:
        assert s.std((1, 2)).min() > 1e-2  # negative control: positions do matter


def test_attention_tells_every_displacement_apart():
    lattice = LATTICES["cuau-2x2x2"]()
    q, k = torch.randn(2, 2, 16, generator=generator(1))
    one = scores(lattice, q, k)[0, 0]
    assert (one[:, None] - one)[~torch.eye(8, dtype=torch.bool)].abs().min() > 1e-3


def test_rotation_keeps_lengths(lattice):
    x = torch.randn(lattice.n_sites, 2, 8, generator=generator())
    torch.testing.assert_close(rotate(x, *rotations(lattice, 2, 8)).norm(dim=-1), x.norm(dim=-1))
