"""Likelihood losses: the heat bath written out, and soft labels with the same mean and gradient as hard ones."""

import itertools

import numpy as np
import pytest
import torch
from small_systems import awaken, enumeration, exact, generator, hamiltonian, random_orders, randomise
from torch.nn.functional import one_hot

from alloygen.arrays import as_tensor
from alloygen.exact.enumeration import Enumeration
from alloygen.hamiltonian.ising import ising
from alloygen.models.causal import CausalModel
from alloygen.models.masked import AutoregressiveModel
from alloygen.objectives.likelihood import heat_bath, likelihood, masked_likelihood, random_depth, symmetrised
from alloygen.testing import SYSTEMS, chi_square, random_expansion
from alloygen.testing.systems import FCC, PAIR


def model(name):
    torch.manual_seed(0)
    return randomise(CausalModel(hamiltonian(name), SYSTEMS[name].ranges(), width=16, depth=1, heads=2)).train()


def test_heat_bath_is_the_ratio_of_boltzmann_weights(system):
    h, at = hamiltonian(system), SYSTEMS[system].conditions()
    occ = h.random(len(at), generator(1))
    got = heat_bath(h, occ, at)
    for b in range(len(at)):
        for i in range(h.n_sites):
            k = int(h.lattice.n_species[i])
            trial = occ[b].repeat(k, 1)
            trial[:, i] = torch.arange(k)
            weight = torch.exp(-(h.energy(trial) - h.counts(trial) @ at.mu[b]) / (h.kB * at.T[b]))
            torch.testing.assert_close(got[b, i, :k], weight / weight.sum(), rtol=0, atol=1e-10)
            assert (got[b, i, k:] == 0).all()


def by_step(labels, order):
    return torch.gather(labels, 1, order[..., None].expand(-1, -1, labels.shape[2]))


def expected(net, name, order, law, soft):
    """Loss averaged exactly over every state x ~ ``law``, its gradient, and the spread of the gradient's samples."""
    e = enumeration(name)
    m, occ = len(e), as_tensor(e.occ)
    at = SYSTEMS[name].conditions()[0].expand(m)
    order = order.expand(m, -1)
    labels = by_step(heat_bath(hamiltonian(name), occ, at), order) if soft else None
    if soft == "images":
        h = hamiltonian(name)
        labels = symmetrised(heat_bath(h, occ, at), occ, order, torch.as_tensor(h.lattice.translations))
    loss, log_prob = likelihood(net, occ, at, order, labels)
    mean = (law * loss).sum()
    gradient = torch.autograd.grad(mean, [p for p in net.parameters() if p.requires_grad], allow_unused=True)
    return mean.detach(), torch.cat([g.flatten() for g in gradient if g is not None]), loss.detach(), log_prob


@pytest.mark.parametrize("name", ["ising-3", "cuau-1x2x4", "two-sublattice", "spectator"])
def test_soft_and_hard_labels_have_one_mean_and_one_gradient(name):
    net = model(name)
    at = SYSTEMS[name].conditions()[0]
    law = exact(name, float(at.T), at.mu)
    for order in random_orders(hamiltonian(name), 2):
        hard, hard_gradient, each, log_prob = expected(net, name, order, law, soft=False)
        soft, soft_gradient, each_soft, same = expected(net, name, order, law, soft=True)
        torch.testing.assert_close(hard, soft, rtol=0, atol=1e-5)
        scale = float(hard_gradient.abs().max())
        assert scale > 1e-3
        torch.testing.assert_close(hard_gradient, soft_gradient, rtol=0, atol=1e-4 * scale + 1e-6)
        torch.testing.assert_close(each, -log_prob)
        assert torch.equal(log_prob, same)
        # the soft loss is another function of x, with less noise
        assert (law * (each_soft - soft) ** 2).sum() < 0.9 * (law * (each - hard) ** 2).sum()
        # negative control: under any other law they differ
        flat = torch.full_like(law, 1 / len(law))
        assert abs(expected(net, name, order, flat, False)[0] - expected(net, name, order, flat, True)[0]) > 1e-2


@pytest.mark.parametrize("name", ["ising-3", "cuau-2x2x2", "two-sublattice"])
def test_labels_averaged_over_images_have_the_same_mean_and_less_noise(name):
    net = model(name)
    at = SYSTEMS[name].conditions()[0]
    law = exact(name, float(at.T), at.mu)
    for order in random_orders(hamiltonian(name), 2):
        soft, soft_gradient, _, _ = expected(net, name, order, law, soft=True)
        mean, gradient, _, _ = expected(net, name, order, law, soft="images")
        torch.testing.assert_close(mean, soft, rtol=0, atol=1e-5)
        torch.testing.assert_close(gradient, soft_gradient, rtol=0, atol=1e-4 * float(gradient.abs().max()) + 1e-6)
        # equal conditional means, so the second moment of the labels falls with their noise
        h, e = hamiltonian(name), enumeration(name)
        m, occ = len(e), as_tensor(e.occ)
        plain = by_step(heat_bath(h, occ, at.expand(m)), order.expand(m, -1))
        moves = torch.as_tensor(h.lattice.translations)
        averaged = symmetrised(heat_bath(h, occ, at.expand(m)), occ, order.expand(m, -1), moves)
        moment = lambda labels: (law[:, None, None] * labels**2).sum()  # noqa: E731
        assert moment(averaged) < moment(plain) - 1e-3


def test_symmetrised_labels_by_hand():
    """Two sites that a translation exchanges: the first label is the mean of both, the second is left alone."""
    labels = torch.tensor([[[0.9, 0.1], [0.4, 0.6]]]).double()
    swap = torch.tensor([[0, 1], [1, 0]])
    out = symmetrised(labels, torch.tensor([[0, 1]]), torch.tensor([[1, 0]]), swap)
    torch.testing.assert_close(out, torch.tensor([[[0.65, 0.35], [0.9, 0.1]]]).double())
    same = symmetrised(labels, torch.tensor([[1, 1]]), torch.tensor([[1, 0]]), swap)
    torch.testing.assert_close(same, torch.tensor([[[0.65, 0.35], [0.65, 0.35]]]).double())


def test_exact_law_has_the_lowest_loss():
    """Cross entropy of p under q is that of p under p plus KL(p || q) >= 0."""
    name = "cuau-2x2x2"
    net, at = model(name), SYSTEMS[name].conditions()[0]
    law = exact(name, float(at.T), at.mu)
    loss = expected(net, name, random_orders(hamiltonian(name), 1)[0], law, soft=True)[0]
    assert loss > -torch.xlogy(law, law).sum()


@pytest.mark.parametrize("soft", [False, True])
def test_steps_of_known_sites_do_not_count(soft):
    name = "two-sublattice"
    net, h = model(name), hamiltonian(name)
    at = SYSTEMS[name].conditions()
    occ, order = h.random(4, generator()), random_orders(h, 4)
    known = torch.rand(4, h.n_sites, generator=generator(1)) < 0.5
    labels = by_step(heat_bath(h, occ, at), order) if soft else None
    steps = net.log_conditionals(occ, at, order)
    target = labels if soft else by_step(torch.nn.functional.one_hot(occ, h.n_species).double(), order)
    each = -(target * steps.masked_fill(target == 0, 0.0)).sum(2)
    loss, _ = likelihood(net, occ, at, order, labels, known)
    torch.testing.assert_close(loss, (each * ~torch.gather(known, 1, order)).sum(1))
    torch.testing.assert_close(likelihood(net, occ, at, order, labels)[0], each.sum(1))
    assert loss.isfinite().all()


# ---------------------------------------------------------------------- one pass of a masked network
TINY = {
    "ising": lambda: ising(2, h=0.3),
    "ternary": lambda: random_expansion(FCC, [[0, 0, 0]], [("A", "B", "C")], 1).on((2, 2, 1)),
    "two-sublattice": lambda: random_expansion(np.eye(3), PAIR, [("A", "B", "C"), ("X", "B")], 2).on((2, 1, 1)),
}
CONDITION = {
    "ising": (4.5, (0.0, 0.7)),
    "ternary": (600.0, (0.0, -0.09, -0.03)),
    "two-sublattice": (600.0, (0.0, 0.03, -0.02, 0.05)),
}


def tiny(name):
    """(masked model, every state, conditions, p(x)) of a system of four sites, whose 24 orders can all be walked."""
    h, (T, mu) = TINY[name](), CONDITION[name]
    assert h.n_sites == 4
    ranges = {"T": [T / 2, 2 * T], "mu": [[-1.0, 1.0]] * (len(mu) - 1)}
    torch.manual_seed(0)
    net = AutoregressiveModel(h, ranges, network="mlp", width=8, depth=2)
    awaken(net.trunks[0], h.lattice, ranges)
    e, mu = Enumeration(h), torch.tensor(mu).double()
    law = torch.softmax(-(torch.as_tensor(e.energy) - torch.as_tensor(e.counts) @ mu) / (h.kB * T), 0)
    m = len(e)
    return net, as_tensor(e.occ), h.condition(T, mu).expand(m), law


def mean_over_depths(net, occ, at, order, labels, given=None):
    """The one-pass loss (M,) averaged over every depth that can be drawn."""
    first = 0 if given is None else int(given[0].sum())
    with torch.no_grad():
        each = [
            masked_likelihood(net, occ, at, order, torch.full((len(occ),), d), labels, given) for d in range(first, 4)
        ]
    return torch.stack(each).mean(0)


def labels_of(kind, net, occ, at, order):
    if kind == "hard":
        return None
    soft = heat_bath(net.hamiltonian, occ, at)
    if kind == "soft":
        return by_step(soft, order)
    return symmetrised(soft, occ, order, torch.as_tensor(net.hamiltonian.lattice.translations))


@pytest.mark.parametrize("labels", ["hard", "soft", "images"])
@pytest.mark.parametrize("name", TINY)
def test_one_pass_has_the_mean_of_the_whole_chain(name, labels):
    """Averaged over every depth and order, exactly, for each x; with labels that are made for steps, over x ~ p.

    "images" holds for systems whose translations leave the energy alone.
    """
    net, occ, at, law = tiny(name)
    chain = one = 0.0
    alone = []
    for order in itertools.permutations(range(4)):
        order = torch.tensor(order).expand(len(occ), -1)
        step = labels_of(labels, net, occ, at, order)
        with torch.no_grad():
            whole = likelihood(net, occ, at, order, step)[0]
        one_pass = mean_over_depths(net, occ, at, order, step)
        alone.append(float((law * (whole - one_pass)).sum()))
        chain, one = chain + whole / 24, one + one_pass / 24
    if labels != "images":
        torch.testing.assert_close(one, chain, rtol=0, atol=1e-5)
    assert float((law * one).sum()) == pytest.approx(float((law * chain).sum()), abs=1e-5)
    assert max(map(abs, alone)) > 1e-2  # negative control: along one order alone it is a neighbour's loss by half


@pytest.mark.parametrize("soft", [False, True])
def test_one_pass_by_hand(soft):
    """1/2 N l_d + 1/2 N / (N - d) sum_{t >= d} l_t, every conditional from the first d sites."""
    net, occ, at, _ = tiny("two-sublattice")
    rows = torch.arange(0, len(occ), 5)
    occ, at = occ[rows], at[rows]
    order = torch.tensor([2, 1, 3, 0]).expand(len(occ), -1)
    target = by_step(heat_bath(net.hamiltonian, occ, at) if soft else one_hot(occ, 3).double(), order)
    for d in range(4):
        decided = torch.zeros_like(occ, dtype=torch.bool)
        decided[:, order[0, :d]] = True
        with torch.no_grad():
            logp = net.conditionals(occ, at, decided)
            got = masked_likelihood(net, occ, at, order, torch.full((len(occ),), d), target if soft else None)
        each = [-(target[:, t] * logp[:, order[0, t]].masked_fill(target[:, t] == 0, 0)).sum(1) for t in range(d, 4)]
        torch.testing.assert_close(got, 2.0 * each[0] + 2.0 / (4 - d) * sum(each), rtol=0, atol=1e-5)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("known", [[2], [0, 3], [1, 2, 3], [0, 1, 2, 3]])
def test_given_sites_of_one_pass_do_not_count(known, soft):
    """Averaged over the orders of the rest, the loss is that of the rest of the chain."""
    net, occ, at, _ = tiny("ternary")
    given = torch.zeros_like(occ, dtype=torch.bool)
    given[:, known] = True
    rest = [i for i in range(4) if i not in known]
    chain, one = 0.0, 0.0
    orders = list(itertools.permutations(rest))
    for tail in orders:
        order = torch.tensor([*known, *tail]).expand(len(occ), -1)
        step = labels_of("soft" if soft else "hard", net, occ, at, order)
        with torch.no_grad():
            chain = chain + likelihood(net, occ, at, order, step, given)[0] / len(orders)
        if rest:
            one = one + mean_over_depths(net, occ, at, order, step, given) / len(orders)
    if not rest:  # nothing to learn: whatever the depth, the loss is nought
        one = masked_likelihood(net, occ, at, order, torch.full((len(occ),), 3), step, given).detach()
        assert (one == 0).all()
    torch.testing.assert_close(one, chain, rtol=0, atol=1e-5)
    if 0 < len(rest):
        assert chain.mean() > 0.1


def test_depths_are_uniform_over_what_is_not_given():
    n, sites = 20000, 6
    order = torch.arange(sites).expand(n, -1)
    free = random_depth(order, generator())
    assert chi_square(torch.bincount(free, minlength=sites), torch.full((sites,), n / sites)) > 1e-4
    given = torch.arange(sites) < (torch.arange(n) % 7)[:, None]  # 0 to 6 of them, in front
    depth, count = random_depth(order, generator(1), given), given.sum(1)
    for k in range(sites):
        counts = torch.bincount(depth[count == k], minlength=sites)
        assert counts[:k].sum() == 0 and len(counts) == sites
        if k < sites - 1:
            assert chi_square(counts[k:], torch.full((sites - k,), float(counts.sum()) / (sites - k))) > 1e-4
    assert (depth[count == sites] == sites - 1).all()  # all given: any step, none counts
    assert torch.equal(random_depth(order, generator(1), given), depth)
