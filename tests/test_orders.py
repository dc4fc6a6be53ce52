"""Every family of orders: permutations, images by symmetry, and what each family promises."""

import numpy as np
import pytest
import torch
from small_systems import generator, hamiltonian

import alloygen.data
from alloygen import orders
from alloygen.errors import AlloygenError
from alloygen.hamiltonian.ising import ising
from alloygen.testing import SYSTEMS


@pytest.mark.parametrize("images", orders.IMAGES)
@pytest.mark.parametrize("family", orders.FAMILIES)
def test_every_family_gives_permutations(system, family, images):
    lattice = hamiltonian(system).lattice
    drawn = orders.draw(family, lattice, 12, generator(), images)
    assert drawn.shape == (12, lattice.n_sites) and drawn.is_contiguous()
    assert (drawn.sort(1).values == torch.arange(lattice.n_sites)).all()


@pytest.mark.parametrize("family", orders.FAMILIES)
def test_the_generator_decides(family):
    lattice = hamiltonian("ising-3").lattice
    a, b, c = (orders.draw(family, lattice, 20, generator(s)) for s in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c)


def distinct(drawn) -> set:
    return {tuple(r) for r in drawn.tolist()}


def test_images_are_the_symmetry_images_of_one_order():
    lattice = hamiltonian("ising-3").lattice
    base = torch.arange(9)
    assert distinct(orders.draw("raster", lattice, 50, generator(), "none")) == {tuple(range(9))}
    moved = distinct(torch.as_tensor(lattice.translations)[:, base])
    assert distinct(orders.draw("raster", lattice, 400, generator(), "translations")) == moved and len(moved) == 9
    both = {tuple(t[p[base]]) for p in lattice.point_operations for t in lattice.translations}
    assert distinct(orders.draw("raster", lattice, 4000, generator(), "all")) == both and len(both) == 72


def test_images_are_drawn_evenly():
    lattice = hamiltonian("cuau-2x2x2").lattice
    first = orders.draw("sublattice", lattice, 8000, generator(), "translations")[:, 0]
    counts = torch.bincount(first, minlength=8)
    assert (counts - 1000).abs().max() < 5 * np.sqrt(1000)


def nearest(lattice, sites) -> float:
    vectors = lattice.minimum_image(lattice.positions[sites][:, None] - lattice.positions[sites][None])
    return np.linalg.norm(vectors, axis=-1)[~np.eye(len(sites), dtype=bool)].min()


@pytest.mark.parametrize("L", [4, 6])
def test_sublattice_order_of_the_square_lattice_is_a_checkerboard(L):
    lattice = ising(L).lattice
    order = orders.sublattice_order(lattice)
    colour = lattice.offsets.sum(1) % 2
    assert (colour[order[: L * L // 2]] == colour[order[0]]).all()
    assert (colour[order[L * L // 2 :]] != colour[order[0]]).all()


@pytest.mark.parametrize("repeats", [(2, 2, 4), (4, 4, 4), (4, 4, 8)])
def test_sublattice_order_of_fcc_walks_through_simple_cubic_sublattices(repeats):
    lattice = alloygen.data.cuau().on(repeats).lattice
    order, quarter = orders.sublattice_order(lattice), lattice.n_sites // 4
    pair = 3.8 / np.sqrt(2)
    assert nearest(lattice, np.arange(lattice.n_sites)) == pytest.approx(pair)
    for k in range(4):
        assert nearest(lattice, order[k * quarter : (k + 1) * quarter]) == pytest.approx(3.8)  # no nearest neighbours


def test_raster_has_nearest_neighbours_early():
    """Negative control of the test above: not every order spreads out."""
    lattice = alloygen.data.cuau().on((4, 4, 4)).lattice
    assert nearest(lattice, np.arange(16)) == pytest.approx(3.8 / np.sqrt(2))


@pytest.mark.parametrize("name", SYSTEMS)
def test_known_sites_come_first_and_keep_their_sequence(name):
    lattice = hamiltonian(name).lattice
    g = generator(5)
    order = orders.draw("random", lattice, 16, g)
    known = torch.rand(16, lattice.n_sites, generator=g) < 0.4
    moved = orders.known_first(order, known)
    for before, after, mask in zip(order.tolist(), moved.tolist(), known.tolist(), strict=True):
        assert after == [s for s in before if mask[s]] + [s for s in before if not mask[s]]


def test_unknown_families_are_named():
    lattice = hamiltonian("ising-3").lattice
    with pytest.raises(AlloygenError, match="got 'spiral' and 'all'"):
        orders.draw("spiral", lattice, 1, generator(), "all")
    with pytest.raises(AlloygenError, match="got 'raster' and 'mirror'"):
        orders.draw("raster", lattice, 1, generator(), "mirror")
