"""Every path through the Hamiltonian's tables against a sum over clusters written out site by site."""

import numpy as np
import pytest
import torch
from small_systems import generator, hamiltonian, random_orders

from alloygen.errors import AlloygenError
from alloygen.hamiltonian.expansion import ClusterExpansion, Orbit
from alloygen.hamiltonian.ising import ising
from alloygen.lattice import Primitive
from alloygen.testing import SYSTEMS

CLOSE = dict(rtol=0, atol=1e-12)


def brute_force(h, occ) -> float:
    """Slow and obvious: every cell, every cluster, every member, with its species looked up by position."""
    expansion, lattice = h.expansion, h.lattice
    at = {}
    for site, (offset, b) in enumerate(zip(lattice.offsets, lattice.sublattice, strict=True)):
        at[tuple(offset), b] = site
    inverse = np.linalg.inv(lattice.matrix)

    def fold(offset):
        """The cell of the supercell that an offset is an image of."""
        for cell in lattice.offsets:
            steps = (offset - cell) @ inverse
            if np.abs(steps - np.rint(steps)).max() < 1e-6:
                return tuple(cell)
        raise AssertionError(offset)

    total = 0.0
    for cell in lattice.offsets[:: lattice.n_sublattices]:
        for orbit in expansion.orbits:
            for members, functions, weight in zip(orbit.members, orbit.functions, orbit.weights, strict=True):
                product = orbit.eci * weight
                for (x, y, z, b), f in zip(members, functions, strict=True):
                    species = lattice.species[b][int(occ[at[fold(cell + np.array([x, y, z])), b]])]
                    product *= expansion.functions[f, expansion.elements.index(species)]
                total += product
    return total


def draw(name, n=6, seed=0):
    h = hamiltonian(name)
    return h, h.random(n, generator(seed))


def test_energy_is_the_sum_over_clusters(system):
    h, occ = draw(system)
    slow = torch.tensor([brute_force(h, x) for x in occ])
    torch.testing.assert_close(h.energy(occ), slow, **CLOSE)
    torch.testing.assert_close(h.energy_torch(occ), slow, **CLOSE)
    assert slow.std() > 1e-3  # the configurations do differ


def test_more_configurations_than_a_block(system):
    h, occ = draw(system, 131)
    torch.testing.assert_close(h.energy(occ), h.energy_torch(occ, chunk=50), **CLOSE)
    torch.testing.assert_close(h.energy(occ)[65:66], h.energy(occ[65:66]), **CLOSE)


def test_energy_telescopes_along_every_order(system):
    h, occ = draw(system, 8)
    for seed in range(3):
        order = random_orders(h, 8, seed)
        steps = torch.gather(h.along(occ, order), 2, torch.gather(occ, 1, order)[..., None])[..., 0]
        torch.testing.assert_close(h.constant + steps.sum(1), h.energy(occ), **CLOSE)


def test_a_step_sees_only_what_was_decided_before(system):
    h, occ = draw(system, 1)
    order = random_orders(h, 1)
    before = h.along(occ, order)
    for t in range(h.n_sites):
        other = occ.clone()
        site = order[0, t]
        other[0, site] = (occ[0, site] + 1) % int(h.lattice.n_species[site])
        torch.testing.assert_close(h.along(other, order)[:, : t + 1], before[:, : t + 1], **CLOSE)
    flipped = occ.clone()
    first = order[0, 0]
    flipped[0, first] = (occ[0, first] + 1) % int(h.lattice.n_species[first])
    if h.lattice.n_species[first] > 1:  # negative control: the first decision does move later steps
        assert (h.along(flipped, order)[:, 1:] - before[:, 1:]).abs().max() > 1e-4


def test_change_and_site_energies_are_energy_differences(system):
    h, occ = draw(system, 4)
    start, at = h.energy(occ), h.site_energies(occ)
    for i in range(h.n_sites):
        for a in range(int(h.lattice.n_species[i])):
            new = occ.clone()
            new[:, i] = a
            difference = h.energy(new) - start
            sites, species = torch.full((4,), i), torch.full((4,), a)
            torch.testing.assert_close(h.change(occ, sites, species), difference, **CLOSE)
            old = torch.gather(at[:, i], 1, occ[:, i : i + 1])[:, 0]
            torch.testing.assert_close(at[:, i, a] - old, difference, **CLOSE)


def test_the_smallest_change_is_that_of_single_substitutions(system):
    h, occ = draw(system, 1)
    steps = []
    for i in range(h.n_sites):
        for a in range(int(h.lattice.n_species[i])):
            steps.append(abs(float(h.change(occ, torch.tensor([i]), torch.tensor([a]))[0])))
    assert h.smallest_change(occ[0]) == pytest.approx(min(s for s in steps if s > 1e-9), abs=1e-12)


def test_compiled_and_torch_fields_agree(system):
    h, occ = draw(system, 40)
    g = generator(3)
    rank = torch.randint(0, h.n_sites, occ.shape, generator=g)  # ties and gaps allowed
    sites = torch.randint(0, h.n_sites, (40, 5), generator=g)
    threshold = torch.randint(0, h.n_sites + 1, (40, 5), generator=g)
    fast, slow = h.fields(occ, rank, sites, threshold), h.fields_torch(occ, rank, sites, threshold)
    torch.testing.assert_close(fast, slow, **CLOSE)
    assert fast.abs().max() > 1e-4


def test_fields_stay_below_their_scale(system):
    h, occ = draw(system, 64)
    if np.abs(h.functions).max() <= 1:
        g = h.fields(occ, torch.zeros_like(occ), torch.arange(h.n_sites).repeat(64, 1), torch.ones_like(occ))
        assert (g.abs() <= torch.as_tensor(h.channel_scale) + 1e-12).all()


def test_neighbours_are_the_sites_that_matter(system):
    h, occ = draw(system, 12)
    at = h.site_energies(occ)
    gaps = (at - at[..., :1]).masked_fill(torch.as_tensor(h.lattice.element_index[h.lattice.sublattice] < 0), 0.0)
    for j in range(h.n_sites):
        new = occ.clone()
        new[:, j] = (occ[:, j] + 1) % int(h.lattice.n_species[j])
        moved = h.site_energies(new)
        moved = (moved - moved[..., :1]).masked_fill(gaps == 0, 0.0)
        touched = set((moved - gaps).abs().amax((0, 2)).gt(1e-10).nonzero().flatten().tolist()) - {j}
        assert touched <= {i for i in range(h.n_sites) if j in h.neighbours[i]}


def test_translations_leave_the_energy_alone(system):
    h, occ = draw(system, 3)
    start = h.energy(occ)
    for row in torch.as_tensor(h.lattice.translations):
        moved = torch.empty_like(occ)
        moved[:, row] = occ
        torch.testing.assert_close(h.energy(moved), start, **CLOSE)


@pytest.mark.parametrize("name", ["ising-3", "cuau-2x2x2", "cuau-1x2x4", "cuau-skew"])
def test_point_operations_leave_the_energy_alone(name):
    h, occ = draw(name, 3)
    assert len(h.lattice.point_operations) > 1
    for row in torch.as_tensor(h.lattice.point_operations):
        moved = torch.empty_like(occ)
        moved[:, row] = occ
        torch.testing.assert_close(h.energy(moved), h.energy(occ), **CLOSE)


def test_a_larger_supercell_repeats_the_energy():
    """Periodic images count with their multiplicity: a repeated configuration has the same energy per site."""
    expansion = SYSTEMS["cuau-2x2x2"].build().expansion
    small, large = expansion.on((1, 2, 4)), expansion.on((3, 4, 4))
    occ = small.random(5, generator(1))
    index = torch.as_tensor(small.lattice.index(large.lattice.offsets, large.lattice.sublattice))
    torch.testing.assert_close(large.energy(occ[:, index]) / 48, small.energy(occ) / 8, **CLOSE)


def test_shared_prefixes_do_not_hide_terms():
    """Clusters of different orders that begin alike, and one that meets itself, on a ring of three sites."""
    chain = Primitive(np.eye(3), [[0, 0, 0]], [("A", "B")])
    members = {
        2: [(0, 0, 0, 0), (1, 0, 0, 0)],
        3: [(0, 0, 0, 0), (1, 0, 0, 0), (2, 0, 0, 0)],
        4: [(0, 0, 0, 0), (1, 0, 0, 0), (2, 0, 0, 0), (3, 0, 0, 0)],
    }
    orbits = tuple(Orbit(str(n), 0.1 * n, [m], [[0] * n], [1.0]) for n, m in members.items())
    h = ClusterExpansion(chain, [[0.5, 2.0]], orbits).on((3, 1, 1))
    occ = torch.cartesian_prod(*[torch.arange(2)] * 3)
    torch.testing.assert_close(h.energy(occ), torch.tensor([brute_force(h, x) for x in occ]), **CLOSE)


def test_counts_and_chemical_potentials_of_sites(system):
    h, occ = draw(system, 5)
    mu = torch.randn(5, len(h.elements), generator=generator(2), dtype=torch.float64)
    counts, at = h.counts(occ), h.site_mu(mu)
    for b in range(5):
        names = [h.lattice.species[h.lattice.sublattice[i]][int(s)] for i, s in enumerate(occ[b])]
        assert counts[b].tolist() == [names.count(e) for e in h.elements]
        chosen = [float(at[b, i, s]) for i, s in enumerate(occ[b])]
        assert chosen == [float(mu[b, h.elements.index(s)]) for s in names]
        assert sum(chosen) == pytest.approx(float(counts[b] @ mu[b]))


def test_random_occupations_use_every_allowed_species(system):
    h = hamiltonian(system)
    occ = h.random(400, generator())
    assert occ.min(0).values.max() == 0
    assert (occ.max(0).values + 1).tolist() == h.lattice.n_species.tolist()


def test_occupations_that_do_not_fit():
    h = hamiltonian("two-sublattice")
    with pytest.raises(AlloygenError, match=r"shape \(batch, 8\), got \(1, 7\)"):
        h.check(torch.zeros(7, dtype=torch.long))
    with pytest.raises(AlloygenError, match=r"sites \[1\]"):
        h.check([[2, 2, 0, 0, 0, 0, 0, 0]])  # the second sublattice holds two species only
    with pytest.raises(AlloygenError, match=r"sites \[3\]"):
        h.check([[0, 0, 0, -1, 0, 0, 0, 0]])
    assert h.check([0] * 8).shape == (1, 8)


def test_round_trip_through_json(system):
    h = hamiltonian(system)
    again = ClusterExpansion.from_dict(h.expansion.to_dict())
    assert again.fingerprint == h.expansion.fingerprint
    occ = h.random(3, generator())
    torch.testing.assert_close(again.on(h.lattice.matrix).energy(occ), h.energy(occ), rtol=0, atol=0)


def test_fingerprints_tell_expansions_apart():
    prints = {hamiltonian(name).fingerprint for name in SYSTEMS}
    assert len(prints) == len(SYSTEMS) - 2  # the three CuAu cells share one expansion


@pytest.mark.parametrize("L", [0, -2, 2.5, float("nan"), None, "10", True])
def test_a_side_of_an_ising_model_is_a_whole_number(L):
    with pytest.raises(AlloygenError, match="expected L, the side length, as a whole number of at least 1, got"):
        ising(L)
