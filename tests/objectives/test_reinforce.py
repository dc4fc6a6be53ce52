"""REINFORCE against the exact gradient of the reverse KL, summed over every state; advantages group by group."""

import itertools

import pytest
import torch
from small_systems import awaken, generator, hamiltonian

from alloygen.arrays import as_tensor
from alloygen.exact.enumeration import Enumeration
from alloygen.hamiltonian.ising import ising
from alloygen.models.causal import CausalModel
from alloygen.models.masked import AutoregressiveModel
from alloygen.objectives import reinforce
from alloygen.training.config import load_config
from alloygen.training.loop import Trainer, new_model
from alloygen.training.tasks import Reinforce

H = ising(2, h=0.3)
RANGES = {"T": [4.0, 7.0], "mu": [[-1.0, 1.0]]}
T = torch.tensor([4.5, 6.5]).double()
MU = torch.tensor([[0.0, 0.7], [0.0, -0.9]]).double()
ORDER = torch.tensor([2, 0, 3, 1])
EACH = 4  # samples of a condition in a batch: few, so that the sample's own share of the mean matters


def arm() -> AutoregressiveModel:
    torch.manual_seed(0)
    net = AutoregressiveModel(H, RANGES, network="mlp", width=6, depth=2)
    awaken(net.trunks[0], H.lattice, RANGES)
    return net


def flat(net) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in net.parameters()]).double()


def exact_gradient(net) -> torch.Tensor:
    """d/dphi of the mean over conditions of sum_x q(x) [log q(x) + beta H(x)], through every q."""
    e, kl = Enumeration(H), 0.0
    for t, mu in zip(T, MU, strict=True):
        m = len(e)
        log_q = net.log_prob(as_tensor(e.occ), H.condition(t, mu).expand(m), ORDER.expand(m, -1))
        reduced = (torch.as_tensor(e.energy) - torch.as_tensor(e.counts) @ mu) / t
        kl = kl + (log_q.exp() * (log_q + reduced)).sum() / len(T)
    net.zero_grad()
    kl.backward()
    return flat(net)


def sampled(net, batches: int, baseline=True, shift=0.0, seed=0) -> torch.Tensor:
    """Gradients (batches, P) of as many batches, unscaled. ``shift`` is added to every mu: another H, the same law."""
    g, condition = generator(seed), torch.arange(len(T)).repeat_interleave(EACH)
    out = []
    for _ in range(batches):
        d = reinforce.draw(
            net, H.condition(T, MU + shift)[condition], ORDER.expand(len(condition), -1), condition, g, None
        )
        net.zero_grad()
        weights = d.advantage if baseline else d.value
        reinforce.reinforce(net, d.occ, d.condition, d.order, weights).mean().backward()
        out.append(flat(net))
    return torch.stack(out)


def z_scores(gradients, expected) -> torch.Tensor:
    """Along the exact gradient first, then along random directions, each with its own error bar."""
    directions = torch.randn(8, len(expected), generator=generator(3)).double()
    directions[0] = expected
    along = gradients @ directions.T
    return (along.mean(0) - directions @ expected) / (along.std(0) / len(along) ** 0.5)


@pytest.mark.slow
def test_the_mean_gradient_is_that_of_the_reverse_kl():
    net = arm()
    exact = exact_gradient(net)
    assert exact.norm() > 0.1
    gradients = sampled(net, 1500)
    z = z_scores(gradients, exact)
    assert z.abs().max() < 4
    # negative controls: the wrong sign, and a mean with the sample itself in it that is not made up for
    assert z_scores(-gradients, exact)[0] < -15
    assert z_scores(gradients * (EACH - 1) / EACH, exact)[0] < -5


@pytest.mark.slow
def test_without_a_baseline_the_noise_is_larger_by_far():
    """Far from zero mean (mu of both species raised, which changes nothing else) centring takes out all that it adds."""
    net = arm()
    exact, shift = exact_gradient(net), 15.0
    with_, without = sampled(net, 250, True, shift), sampled(net, 250, False, shift)
    assert z_scores(with_, exact).abs().max() < 4 and z_scores(without, exact).abs().max() < 4  # both are right
    assert without.var(0).sum() > 10 * with_.var(0).sum()
    torch.testing.assert_close(with_, sampled(net, 250, True, 0.0), rtol=0, atol=1e-4)


# ---------------------------------------------------------------------- advantages
def groups(seed=0):
    """Three conditions of 5, 7 and 4 values, in mixed sequence, with means and spreads of their own."""
    condition = torch.tensor([0] * 5 + [1] * 7 + [2] * 4)[torch.randperm(16, generator=generator(seed))]
    scale = torch.tensor([1.0, 20.0, 0.01]).double()[condition]
    return torch.randn(16, generator=generator(seed + 1)).double() * scale + 100.0 * condition, condition


@pytest.mark.parametrize("floor", [None, 0.0, 0.5, 100.0])
def test_every_condition_is_centred_and_scaled_by_itself(floor):
    value, condition = groups()
    got = reinforce.advantage(value, condition, floor)
    for c in range(3):
        own = value[condition == c]
        spread = torch.ones(()) if floor is None else own.std().clamp_min(floor)
        expected = (own - own.mean()) * len(own) / (len(own) - 1) / spread
        torch.testing.assert_close(got[condition == c], expected)
        assert abs(got[condition == c].sum()) < 1e-9
        assert (got[condition == c] * own).sum() > 0  # what is worse than the mean is to become rarer


def test_the_floor_bounds_what_is_learned_already():
    """Noise of 0.01 nats is blown up to order one by the published rule, and left alone by a floor of one nat."""
    value, condition = groups()
    learned = condition == 2
    assert reinforce.advantage(value, condition, 0.0)[learned].abs().max() > 0.5
    assert reinforce.advantage(value, condition, 1.0)[learned].abs().max() < 0.05
    wide = condition == 1  # above the floor nothing changes
    torch.testing.assert_close(
        reinforce.advantage(value, condition, 1.0)[wide], reinforce.advantage(value, condition)[wide]
    )


@pytest.mark.parametrize("floor", [None, 0.0, 1.0])
def test_equal_values_have_no_advantage(floor):
    got = reinforce.advantage(torch.full((6,), -3.7).double(), torch.tensor([0, 0, 1, 1, 2, 2]), floor)
    assert got.isfinite().all() and got.abs().max() < 1e-6


def test_one_sample_of_a_condition_says_nothing():
    got = reinforce.advantage(torch.tensor([5.0, 1.0, 2.0]).double(), torch.tensor([0, 1, 1]))
    assert got[0] == 0 and got.isfinite().all()


def test_reduced_energy_by_hand():
    occ = torch.tensor([[1, 1, 1, 1], [0, 1, 1, 0]])
    h = hamiltonian("cuau-2x2x2")
    some = h.random(4, generator())
    temperature, mu = torch.tensor([500.0, 900, 500, 900]).double(), torch.tensor([[0.0, 0.07]]).double().expand(4, -1)
    got = h.reduced_energy(some, h.condition(temperature, mu))
    torch.testing.assert_close(got, (h.energy(some) - 0.07 * (some == 1).sum(1)) / (h.kB * temperature))
    # 2x2 torus: every bond twice; up spins gain h and mu
    got = H.reduced_energy(occ, H.condition([2.0, 2.0], [0.0, 0.5]))
    torch.testing.assert_close(got, torch.tensor([(-8 - 1.2 - 2.0) / 2, (8 - 1.0) / 2]).double())


@pytest.mark.parametrize(
    "make", [arm, lambda: CausalModel(H, RANGES, width=8, depth=1, heads=2)], ids=["arm", "causal"]
)
def test_a_draw_is_what_it_says(make):
    net, condition = make(), torch.arange(2).repeat_interleave(8)
    order = torch.stack([torch.randperm(4, generator=generator(k)) for k in range(16)])
    d = reinforce.draw(net, H.condition(T, MU)[condition], order, condition, generator())
    with torch.no_grad():
        log_q = net.log_prob(d.occ, d.condition, d.order)
    torch.testing.assert_close(d.value, log_q + H.reduced_energy(d.occ, d.condition), rtol=0, atol=1e-4)
    torch.testing.assert_close(d.advantage, reinforce.advantage(d.value, condition))
    assert not d.advantage.requires_grad and torch.equal(d.order, order)


# ---------------------------------------------------------------------- in parts
def test_a_batch_in_parts_has_the_same_gradient():
    """Advantages belong to the whole batch: they are made before it is cut, through the middle of conditions too."""

    def gradient(accumulate):
        c = load_config(
            {
                "system": {"hamiltonian": "ising", "repeats": [2, 2, 1]},
                "conditions": {"T": [4.0, 7.0], "mu": [-1.0, 1.0], "n_T": 2, "n_mu": 2},
                "model": {"kind": "arm", "network": "mlp", "width": 8, "depth": 2},
                "objective": {"kind": "reinforce"},
                "orders": {"weights": {"random": 1.0}},
                "training": {"batch": 20, "accumulate": accumulate, "clip": 1e9},
            }
        )
        trainer = Trainer(c, new_model(c, H), Reinforce(c, H))
        loss = trainer.advance()
        return loss, flat(trainer.model)

    loss, whole = gradient(1)
    assert whole.norm() > 1e-4
    for parts in (3, 7, 20):
        same, pieces = gradient(parts)
        assert same == pytest.approx(loss, abs=1e-6)
        torch.testing.assert_close(pieces, whole, rtol=0, atol=1e-5 * float(whole.abs().max()) + 1e-9)


def test_any_order_takes_the_mean_over_orders():
    """Along each order the law is another one; the surrogate takes the order that the row was drawn along."""
    net, e = arm(), Enumeration(H)
    m = len(e)
    orders = torch.tensor(list(itertools.permutations(range(4))))
    rows = [net.log_prob(as_tensor(e.occ), H.condition(T[0], MU[0]).expand(m), o.expand(m, -1)) for o in orders]
    assert (rows[0] - rows[-1]).abs().max() > 1e-2
    weights = torch.randn(m, generator=generator()).double()
    for o, log_q in zip(orders[:3], rows[:3], strict=True):
        got = reinforce.reinforce(net, as_tensor(e.occ), H.condition(T[0], MU[0]).expand(m), o.expand(m, -1), weights)
        torch.testing.assert_close(got, weights * log_q)
