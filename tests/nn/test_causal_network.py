"""The order-causal Transformer: nothing looks ahead, the cache is the plain pass, translations are symmetries."""

import numpy as np
import pytest
import torch
from small_systems import generator, hamiltonian, random_orders, randomise

from alloygen.hamiltonian.ising import ising
from alloygen.models.causal import CausalModel
from alloygen.nn.causal import CausalTransformer
from alloygen.nn.embeddings import ConditionEmbedding
from alloygen.testing import SYSTEMS


def model(name, **size):
    torch.manual_seed(0)
    size = dict(width=16, depth=2, heads=2) | size
    return randomise(CausalModel(hamiltonian(name), SYSTEMS[name].ranges(), **size))


def setting(name, n=6):
    """Configurations, orders and mixed conditions."""
    h, at = hamiltonian(name), SYSTEMS[name].conditions()
    pick = torch.arange(n) % len(at)
    return h, h.random(n, generator(1)), at[pick], random_orders(h, n, 2)


def moved(occ, order, row):
    new = torch.empty_like(occ)
    new[:, row] = occ
    return new, row[order]


def test_translations_of_sites_and_order_leave_the_law_alone(system):
    net = model(system)
    h, occ, at, order = setting(system)
    with torch.no_grad():
        start = net.log_conditionals(occ, at, order)
        for row in torch.as_tensor(h.lattice.translations):
            got = net.log_conditionals(*(moved(occ, order, row)[0], at, moved(occ, order, row)[1]))
            torch.testing.assert_close(got, start, rtol=0, atol=1e-4)
        if len(h.lattice.translations) > 1:  # negative control: the sites alone, with the order as it was
            other = moved(occ, order, torch.as_tensor(h.lattice.translations[1]))[0]
            assert (net.log_prob(other, at, order) - net.log_prob(occ, at, order)).abs().max() > 1e-2


def test_the_network_takes_part(system):
    """Without this, every other test here could be one of the bare physics."""
    h, occ, at, order = setting(system)
    torch.manual_seed(0)
    bare = CausalModel(h, SYSTEMS[system].ranges(), width=16, depth=2, heads=2).eval()
    with torch.no_grad():
        assert (model(system).log_prob(occ, at, order) - bare.log_prob(occ, at, order)).abs().min() > 1e-3


def test_later_sites_do_not_move_earlier_conditionals(system):
    net = model(system)
    h, occ, at, order = setting(system, 4)
    finite = torch.as_tensor(h.lattice.element_index[h.lattice.sublattice] >= 0)[order]
    with torch.no_grad():
        start = net.log_conditionals(occ, at, order)
        seen = 0.0
        for t in range(h.n_sites):
            site = order[:, t : t + 1]
            limit = torch.as_tensor(h.lattice.n_species)[site]
            other = occ.scatter(1, site, (torch.gather(occ, 1, site) + 1) % limit)
            change = (net.log_conditionals(other, at, order) - start).masked_fill(~finite, 0.0).abs()
            assert change[:, : t + 1].max() < 1e-5
            seen = max(seen, float(change[:, t + 1 :].max()) if t + 1 < h.n_sites else 0.0)
        assert seen > 1e-2  # negative control: earlier sites do move later conditionals


def test_later_steps_of_the_order_do_not_move_earlier_conditionals():
    net = model("cuau-2x2x2")
    _, occ, at, order = setting("cuau-2x2x2", 4)
    shuffled = torch.cat([order[:, :4], order[:, 4:].flip(1)], 1)
    with torch.no_grad():
        a, b = net.log_conditionals(occ, at, order), net.log_conditionals(occ, at, shuffled)
    torch.testing.assert_close(a[:, :4], b[:, :4], rtol=0, atol=1e-5)
    assert (a[:, 4:] - b[:, 4:]).abs().max() > 1e-2


def steps(lattice, n_features, seed=0):
    g, n = generator(seed), lattice.n_sites
    order = torch.argsort(torch.rand(3, n, generator=g), 1)
    previous = torch.cat([torch.full((3, 1), -1), order[:, :-1]], 1)
    species = torch.randint(0, 2, (3, n), generator=g)
    return previous, species, order, torch.randn(3, n, n_features, generator=g)


@pytest.mark.parametrize("heads", [2, 4])
def test_the_cache_gives_what_the_plain_pass_gives(heads):
    lattice = ising(3).lattice
    torch.manual_seed(1)
    net = randomise(CausalTransformer(lattice, 5, 3, {"T": [1, 3], "mu": [[-1, 1]]}, width=16, depth=2, heads=heads))
    inputs = steps(lattice, 5)
    with torch.no_grad():
        condition = net.embed_condition(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([[0.5], [-0.5], [0.0]]))
        plain = net(*inputs, condition)
        cache = net.new_cache(3, lattice.n_sites)
        for t in range(lattice.n_sites):
            one = net(*(x[:, t : t + 1] for x in inputs), condition, (cache, t))
            torch.testing.assert_close(one[:, 0], plain[:, t], rtol=0, atol=1e-5)
        assert plain.std() > 1e-2


@pytest.mark.parametrize(
    "ranges",
    [
        {"T": [300, 1200], "mu": [[-0.2, 0.2]]},
        {"T": [2.0, 2.0], "mu": [[0.0, 0.0]]},
        {"T": [300, 900], "mu": [[-0.1, 0.1], [0.05, 0.05]]},
        {"T": [300, 900], "mu": []},
    ],
)
def test_embeddings_of_conditions_are_finite_and_tell_them_apart(ranges):
    torch.manual_seed(0)
    net = ConditionEmbedding(8, ranges)
    T = torch.tensor(ranges["T"], dtype=torch.float64)
    mu = torch.tensor(np.array(ranges["mu"]).reshape(-1, 2).T.copy())
    out = net(T, mu)
    assert out.shape == (2, 8) and out.isfinite().all() and out.abs().max() < 10
    if ranges["T"][0] != ranges["T"][1]:
        assert (out[0] - out[1]).abs().max() > 1e-2
