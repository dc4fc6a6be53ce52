"""Likelihood losses: the heat bath written out, and soft labels with the same mean and gradient as hard ones."""

import pytest
import torch
from small_systems import SYSTEMS, enumeration, exact, generator, hamiltonian, random_orders, randomise

from alloygen.models.causal import CausalModel
from alloygen.objectives.likelihood import heat_bath, likelihood, symmetrised


def model(name):
    torch.manual_seed(0)
    return randomise(CausalModel(hamiltonian(name), SYSTEMS[name].ranges(), width=16, depth=1, heads=2)).train()


def test_heat_bath_is_the_ratio_of_boltzmann_weights(system):
    h, (T, mu) = hamiltonian(system), SYSTEMS[system].conditions()
    occ = h.random(len(T), generator(1))
    got = heat_bath(h, occ, T, mu)
    for b in range(len(T)):
        for i in range(h.n_sites):
            k = int(h.lattice.n_species[i])
            trial = occ[b].repeat(k, 1)
            trial[:, i] = torch.arange(k)
            weight = torch.exp(-(h.energy(trial) - h.counts(trial) @ mu[b]) / (h.kB * T[b]))
            torch.testing.assert_close(got[b, i, :k], weight / weight.sum(), rtol=0, atol=1e-10)
            assert (got[b, i, k:] == 0).all()


def by_step(labels, order):
    return torch.gather(labels, 1, order[..., None].expand(-1, -1, labels.shape[2]))


def expected(net, name, order, law, soft):
    """Loss averaged exactly over every state x ~ ``law``, its gradient, and the spread of the gradient's samples."""
    e, T, mu = enumeration(name), SYSTEMS[name].conditions()[0][0], SYSTEMS[name].conditions()[1][0]
    m = len(e)
    T, mu = T.expand(m), mu.expand(m, -1)
    order = order.expand(m, -1)
    labels = by_step(heat_bath(hamiltonian(name), e.occ, T, mu), order) if soft else None
    if soft == "images":
        h = hamiltonian(name)
        labels = symmetrised(heat_bath(h, e.occ, T, mu), e.occ, order, torch.as_tensor(h.lattice.translations))
    loss, log_prob = likelihood(net, e.occ, T, mu, order, labels)
    mean = (law * loss).sum()
    gradient = torch.autograd.grad(mean, [p for p in net.parameters() if p.requires_grad], allow_unused=True)
    return mean.detach(), torch.cat([g.flatten() for g in gradient if g is not None]), loss.detach(), log_prob


@pytest.mark.parametrize("name", ["ising-3", "cuau-1x2x4", "two-sublattice", "spectator"])
def test_soft_and_hard_labels_have_one_mean_and_one_gradient(name):
    net = model(name)
    T, mu = (x[0] for x in SYSTEMS[name].conditions())
    law = exact(name, float(T), mu)
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
    T, mu = (x[0] for x in SYSTEMS[name].conditions())
    law = exact(name, float(T), mu)
    for order in random_orders(hamiltonian(name), 2):
        soft, soft_gradient, _, _ = expected(net, name, order, law, soft=True)
        mean, gradient, _, _ = expected(net, name, order, law, soft="images")
        torch.testing.assert_close(mean, soft, rtol=0, atol=1e-5)
        torch.testing.assert_close(gradient, soft_gradient, rtol=0, atol=1e-4 * float(gradient.abs().max()) + 1e-6)
        # equal conditional means, so the second moment of the labels falls with their noise
        h, e = hamiltonian(name), enumeration(name)
        m = len(e)
        plain = by_step(heat_bath(h, e.occ, T.expand(m), mu.expand(m, -1)), order.expand(m, -1))
        moves = torch.as_tensor(h.lattice.translations)
        averaged = symmetrised(heat_bath(h, e.occ, T.expand(m), mu.expand(m, -1)), e.occ, order.expand(m, -1), moves)
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
    net, (T, mu) = model(name), (x[0] for x in SYSTEMS[name].conditions())
    law = exact(name, float(T), mu)
    loss = expected(net, name, random_orders(hamiltonian(name), 1)[0], law, soft=True)[0]
    assert loss > -torch.xlogy(law, law).sum()


@pytest.mark.parametrize("soft", [False, True])
def test_steps_of_known_sites_do_not_count(soft):
    name = "two-sublattice"
    net, h = model(name), hamiltonian(name)
    T, mu = SYSTEMS[name].conditions()
    occ, order = h.random(4, generator()), random_orders(h, 4)
    known = torch.rand(4, h.n_sites, generator=generator(1)) < 0.5
    labels = by_step(heat_bath(h, occ, T, mu), order) if soft else None
    steps = net.log_conditionals(occ, T, mu, order)
    target = labels if soft else by_step(torch.nn.functional.one_hot(occ, h.n_species).double(), order)
    each = -(target * steps.masked_fill(target == 0, 0.0)).sum(2)
    loss, _ = likelihood(net, occ, T, mu, order, labels, known)
    torch.testing.assert_close(loss, (each * ~torch.gather(known, 1, order)).sum(1))
    torch.testing.assert_close(likelihood(net, occ, T, mu, order, labels)[0], each.sum(1))
    assert loss.isfinite().all()
