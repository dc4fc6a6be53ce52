"""Networks over masked sites: which symmetries each has, what is masked stays unseen, what does not fit is said."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from small_systems import awaken, generator, hamiltonian

import alloygen.data
from alloygen.edge.fits import nearest_neighbour
from alloygen.errors import AlloygenError, LatticeMismatch
from alloygen.hamiltonian.ising import ising
from alloygen.lattice import Lattice, Primitive
from alloygen.models.masked import AutoregressiveModel, MarginalizationModel
from alloygen.nn.masked import NETWORKS, Size, build
from alloygen.nn.rope import axis_wave_vectors
from alloygen.testing import SYSTEMS
from alloygen.testing.systems import PAIR

RANGES = {"T": [1.0, 3.0], "mu": [[-1.0, 1.0]]}
TRIO = {
    "2d": ising(3).lattice,
    "fcc": alloygen.data.cuau().on((2, 2, 2)).lattice,
    "two-sublattice": Lattice(Primitive(np.eye(3), PAIR, [("A", "B", "C"), ("X", "B")]), (2, 2, 2)),
}


def network(name, lattice, cutoff=1.2, outputs=2, marginal=True):
    """A network with random weights everywhere; ``cutoff`` in nearest-neighbour distances."""
    torch.manual_seed(0)
    size = dict(
        width=16, depth=2, heads=2, expand=2, radial=4, cutoff=cutoff * nearest_neighbour(lattice.primitive), offset=0.0
    )
    return awaken(build(name, lattice, RANGES, outputs, marginal, Size(**size)), lattice, RANGES).eval()


def states(lattice, n=4, seed=0):
    """(state with about a third masked, T, mu)."""
    g, masked = generator(seed), int(lattice.n_species.max())
    occ = (torch.rand(n, lattice.n_sites, generator=g) * torch.as_tensor(lattice.n_species)).long()
    state = torch.where(torch.rand(occ.shape, generator=g) < 0.35, masked, occ)
    return state, torch.linspace(1.2, 2.8, n).double(), torch.linspace(-0.7, 0.9, n)[:, None].double()


def run(net, state, T, mu):
    with torch.no_grad():
        return net(state, T, mu)


def mismatch(net, lattice, rows, seed=0) -> float:
    """Largest failure, over site permutations, of outputs(moved state) = moved outputs, per site and of the marginal."""
    state, T, mu = states(lattice, seed=seed)
    sites, marginal = run(net, state, T, mu)
    worst = 0.0
    for row in torch.as_tensor(rows):
        moved = torch.empty_like(state)
        moved[:, row] = state
        got, same = run(net, moved, T, mu)
        worst = max(worst, float((got[:, row] - sites).abs().max()), float((same - marginal).abs().max()))
    return worst


# ---------------------------------------------------------------------- symmetry
@pytest.mark.parametrize("name", ["transformer", "painn"])
def test_translations_carry_the_outputs_along(name, system):
    lattice = hamiltonian(system).lattice
    net = network(name, lattice)
    assert mismatch(net, lattice, lattice.translations) < 1e-4
    two = torch.arange(lattice.n_sites)  # negative control: two sites of one kind exchanged are no symmetry
    two[[0, lattice.n_sublattices]] = two[[lattice.n_sublattices, 0]]
    assert max(mismatch(net, lattice, two[None], seed) for seed in range(6)) > 1e-2


def test_an_mlp_has_no_translations():
    """It is the baseline without symmetry."""
    lattice = ising(3).lattice
    assert mismatch(network("mlp", lattice), lattice, lattice.translations) > 1e-2


@pytest.mark.parametrize("name", TRIO)
def test_painn_knows_the_point_operations(name):
    """They are rotations and reflections of the crystal and come with the network: nothing was said of them."""
    lattice = TRIO[name]
    assert len(lattice.point_operations) > 7
    assert mismatch(network("painn", lattice, cutoff=1.5), lattice, lattice.point_operations) < 1e-4


def test_waves_along_the_axes_do_not_know_the_point_operations():
    """Negative control: a Transformer deals each wave to a head of its own, and so tells the axes apart."""
    lattice = ising(3).lattice
    assert mismatch(network("transformer", lattice), lattice, lattice.point_operations) > 1e-2


def deformed(lattice, matrix) -> Lattice:
    p = lattice.primitive
    return Lattice(Primitive(p.cell @ matrix, p.basis, p.species, p.pbc), lattice.matrix)


@pytest.mark.parametrize("name", ["ising-3", "cuau-2x2x2", "cuau-skew", "ternary", "two-sublattice"])
def test_painn_does_not_see_how_the_crystal_is_turned(name):
    """The same weights on a rotated or mirrored crystal give the same outputs; on a sheared or stretched one, others."""
    lattice = hamiltonian(name).lattice
    net = network("painn", lattice, cutoff=1.5)
    nearest, start = nearest_neighbour(lattice.primitive), run(net, *states(lattice))

    def change(matrix) -> float:
        size = dict(width=16, depth=2, radial=4, cutoff=1.5 * nearest, offset=0.0)
        other = build("painn", deformed(lattice, matrix), RANGES, 2, True, Size(**size))
        other.load_state_dict(net.state_dict())
        return max(float((a - b).abs().max()) for a, b in zip(run(other, *states(lattice)), start, strict=True))

    assert change(np.eye(3)) == 0
    for seed in range(3):
        assert change(Rotation.random(random_state=seed).as_matrix()) < 1e-4
    assert change(np.diag([1.0, 1.0, -1.0])) < 1e-4
    assert change(np.array([[1, 0.05, 0], [0, 1, 0.03], [0, 0, 1]])) > 1e-3
    assert change(1.04 * np.eye(3)) > 1e-3  # an absolute length, unlike the lattice: the cutoff is in the cell's unit


@pytest.mark.parametrize("lattice", [ising(3).lattice, alloygen.data.cuau().on((3, 3, 2)).lattice], ids=["2d", "fcc"])
def test_vectors_take_part(lattice):
    """Without its unit vectors the network would be one of distances only. (In a cell of two they cancel.)"""
    net = network("painn", lattice, cutoff=1.5)
    start = run(net, *states(lattice))[0]
    net.direction.zero_()
    assert (run(net, *states(lattice))[0] - start).abs().max() > 1e-2


def test_vectors_tell_a_bent_bond_from_a_straight_one():
    """Angles are what vectors add: a square lattice and a rhombic one have the same bonds at the same lengths."""

    def outputs(angle, vectors):
        cell = np.array([[1, 0, 0], [np.cos(angle), np.sin(angle), 0], [0, 0, 1.0]])
        lattice = Lattice(Primitive(cell, [[0, 0, 0]], [("A", "B")], (True, True, False)), (3, 3, 1))
        torch.manual_seed(0)
        net = build("painn", lattice, RANGES, 2, True, Size(width=16, depth=2, radial=4, cutoff=1.2, offset=0.0))
        assert net.edge_index.shape[1] == 36
        with torch.no_grad():
            for p in net.parameters():
                p.mul_(2.0)
            net.head[-1].weight.normal_(generator=generator())
            net.direction.mul_(vectors)
        return run(net, *states(lattice))[0]

    square, rhombic = np.pi / 2, np.radians(75)
    assert (outputs(square, 1) - outputs(rhombic, 1)).abs().max() > 1e-2
    assert (outputs(square, 0) - outputs(rhombic, 0)).abs().max() < 1e-4


# ---------------------------------------------------------------------- what a network may see
@pytest.mark.parametrize("network_name", NETWORKS)
@pytest.mark.parametrize("kind", [AutoregressiveModel, MarginalizationModel])
def test_the_species_of_a_masked_site_does_not_matter(kind, network_name):
    name = "two-sublattice"
    h, at, ranges = hamiltonian(name), SYSTEMS[name].conditions(), SYSTEMS[name].ranges()
    torch.manual_seed(0)
    size = dict(width=16, depth=2, heads=2, cutoff=1.2 * nearest_neighbour(h.lattice.primitive), offset=0.0, radial=4)
    net = kind(h, ranges, network=network_name, **size).eval()
    for trunk in net.trunks:
        awaken(trunk, h.lattice, ranges)
    n = len(at)
    occ, other = h.random(n, generator(0)), h.random(n, generator(1))
    decided = torch.rand(n, h.n_sites, generator=generator(2)) < 0.5
    outputs = net.both if kind is MarginalizationModel else lambda *x: (net.conditionals(*x),)
    with torch.no_grad():
        start = outputs(occ, at, decided)
        for a, b in zip(start, outputs(torch.where(decided, occ, other), at, decided), strict=True):
            assert torch.equal(a, b)
        for a, b in zip(start, outputs(torch.where(decided, other, occ), at, decided), strict=True):
            gap = (a - b)[a.isfinite()]
            assert gap.abs().max() > 1e-2  # negative control: that of a decided site does


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("lattice", TRIO.values(), ids=TRIO)
def test_outputs_are_what_was_asked_for(name, lattice):
    state, T, mu = states(lattice, n=3)
    for outputs, marginal in [(3, True), (3, False), (0, True)]:
        sites, total = run(network(name, lattice, 1.2, outputs, marginal), state, T, mu)
        assert (sites is None) == (outputs == 0) and (total is None) == (not marginal)
        assert outputs == 0 or (sites.shape == (3, lattice.n_sites, outputs) and sites.isfinite().all())
        assert not marginal or (total.shape == (3,) and total.isfinite().all())


@pytest.mark.parametrize("name", NETWORKS)
def test_masked_is_not_a_species(name):
    lattice = TRIO["two-sublattice"]
    net = network(name, lattice)
    state, T, mu = states(lattice)
    for species in range(int(lattice.n_species.max())):
        filled = torch.where(state == int(lattice.n_species.max()), species, state)
        assert (run(net, filled, T, mu)[0] - run(net, state, T, mu)[0]).abs().max() > 1e-2


def test_untrained_models_are_uniform_and_their_marginals_agree():
    """The start of training: log p of any configuration is -sum log(number of species), and so is every marginal's."""
    h, at = hamiltonian("two-sublattice"), SYSTEMS["two-sublattice"].conditions()
    net = MarginalizationModel(h, SYSTEMS["two-sublattice"].ranges(), width=16, depth=1, heads=2).eval()
    occ = h.random(len(at), generator())
    decided = torch.rand(occ.shape, generator=generator(1)) < 0.5
    sizes = torch.as_tensor(h.lattice.n_species).double().log()
    with torch.no_grad():
        got = net.log_prob(occ, at, torch.arange(h.n_sites).expand(len(at), -1))
        torch.testing.assert_close(got, -sizes.sum().expand(len(at)))
        torch.testing.assert_close(net.log_marginal(occ, at, decided), -(decided * sizes).sum(1))


# ---------------------------------------------------------------------- waves along the axes
WAVES = {
    "ising-3": 2,
    "cuau-2x2x2": 3,
    "cuau-1x2x4": 3,
    "cuau-skew": 7,
    "ternary": 2,
    "two-sublattice": 2,
    "spectator": 2,
    "many-body": 3,
}


def test_number_of_waves_along_the_axes(system):
    """Each axis of L distinct steps has floor(L / 2) of them; the steps counted by walking the sites."""
    lattice = hamiltonian(system).lattice
    turns = np.round(lattice.fractional[:: lattice.n_sublattices] - lattice.fractional[0], 9) % 1
    lengths = [len(np.unique(np.round(turns[:, a], 6) % 1)) for a in range(3)]
    waves = axis_wave_vectors(lattice)
    assert len(waves) == sum(n // 2 for n in lengths)
    assert ((waves != 0).sum(1) == 1).all() and (waves.max(1) >= 1).all()
    for a, n in enumerate(lengths):
        assert sorted(waves[waves[:, a] > 0, a]) == list(range(1, n // 2 + 1))
    assert len(waves) == WAVES[system]


def test_waves_along_the_axes_are_periodic(system):
    lattice = hamiltonian(system).lattice
    images = lattice.offsets + np.array([1, -2, 3]) @ lattice.matrix
    f = (images + lattice.primitive.basis[lattice.sublattice]) @ np.linalg.inv(lattice.matrix)
    turns = (f - lattice.fractional) @ axis_wave_vectors(lattice).T
    np.testing.assert_allclose(turns, np.rint(turns), atol=1e-9)
    half = turns / 2  # negative control: waves of twice the length are not
    assert np.abs(half - np.rint(half)).max() > 0.4


def test_waves_along_the_axes_tell_every_cell_apart(system):
    lattice = hamiltonian(system).lattice
    phase = np.exp(2j * np.pi * lattice.fractional[:: lattice.n_sublattices] @ axis_wave_vectors(lattice).T)
    assert len(np.unique(phase.round(6), axis=0)) == lattice.n_sites // lattice.n_sublattices


# ---------------------------------------------------------------------- what does not fit
@pytest.mark.parametrize("lattice", TRIO.values(), ids=TRIO)
@pytest.mark.parametrize("cutoff, offset", [(0.9, 0.0), (1.2, 1.1), (1.2, 1.001), (0.5, 0.2), (1.2, -0.1)])
def test_a_painn_without_edges_is_refused(lattice, cutoff, offset):
    """In nearest-neighbour distances: a cutoff below the first, or an offset at or beyond it."""
    nearest = nearest_neighbour(lattice.primitive)
    size = dict(width=8, depth=1, radial=2, cutoff=cutoff * nearest, offset=offset * nearest)
    with pytest.raises(LatticeMismatch, match=rf"nearest-neighbour distance {nearest:.4g} .*Use a cutoff of about"):
        build("painn", lattice, RANGES, 2, True, Size(**size))
    build("painn", lattice, RANGES, 2, True, Size(**(size | dict(cutoff=1.5 * nearest, offset=0.9 * nearest))))


def test_an_offset_at_the_nearest_neighbour_is_refused():
    """There u = 0, and the radial basis divides by it."""
    size = dict(width=8, depth=1, radial=2, cutoff=1.2, offset=1.0)
    with pytest.raises(LatticeMismatch, match=r"got offset 1\.0 and cutoff 1\.2"):
        build("painn", ising(3).lattice, RANGES, 2, True, Size(**size))


def test_an_unknown_network_is_refused():
    with pytest.raises(AlloygenError, match=r"expected a network in \['mlp', 'painn', 'transformer'\], got 'gnn'"):
        AutoregressiveModel(ising(2), RANGES, network="gnn")


def test_occupations_of_another_supercell_are_refused():
    net = AutoregressiveModel(ising(2), RANGES, network="mlp", width=8, depth=1)
    occ = torch.zeros(1, 9, dtype=torch.long)
    with pytest.raises(LatticeMismatch, match=r"expected occupations of 4 sites.*got 9"):
        net.conditionals(occ, ising(2).condition([1.0], [0.0, 0.0]), occ > 0)


@pytest.mark.parametrize("network", ["mlp", "transformer"])
def test_the_readout_keeps_its_digits_under_autocast(network):
    """In bfloat16 a log-marginal of a hundred nats would be known to half a nat only."""
    h = hamiltonian("cuau-2x2x2")
    torch.manual_seed(0)
    size = dict(width=16, depth=2, heads=2, expand=1, radial=4, cutoff=4.0, offset=0.0)
    net = build(network, h.lattice, SYSTEMS["cuau-2x2x2"].ranges(), 2, True, Size(**size))
    last = net.marginal_head if network == "mlp" else net.head[-1]
    assert not last.weight.any() and not last.bias.any()
    with torch.no_grad():
        last.bias.fill_(100.3)
        T, mu = torch.full((2,), 600.0).double(), torch.zeros(2, 1).double()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            marginal = net(h.random(2, generator()), T, mu)[1]
    assert marginal.dtype == torch.float32
    torch.testing.assert_close(marginal, torch.full((2,), 100.3 * (1 if network == "mlp" else h.n_sites)))
