"""The loss of a MAM at the exact law, where all of it is known: consistency 0, the marginal of nothing 0, Gibbs at rest."""

import numpy as np
import pytest
import torch
from small_systems import awaken, enumeration, exact, generator, hamiltonian, random_orders

from alloygen.arrays import as_tensor
from alloygen.models.masked import MarginalizationModel, MaskedLaw
from alloygen.objectives import marginal
from alloygen.objectives.reinforce import advantage
from alloygen.testing import chi_square

NAME = "ising-3"
T0, MU0 = 2.9, torch.tensor([0.0, -0.5]).double()
RANGES = {"T": [2.3, 3.4], "mu": [[-0.5, 0.1]]}


class Exact:
    """The exact law as a model: every marginal and conditional summed over the 512 states.

    shift : added to every log-marginal; bend : to that of sets of more than four sites; blur : mixes the conditionals
    with the uniform law; turn : gives them to another site
    """

    def __init__(self, shift=0.0, bend=0.0, blur=0.0, turn=False):
        self.hamiltonian = hamiltonian(NAME)
        self.states = as_tensor(enumeration(NAME).occ)
        self.log_p = exact(NAME, T0, MU0).log()
        self.shift, self.bend, self.blur, self.turn = shift, bend, blur, turn

    _draw, _regenerate, regenerate = MaskedLaw._draw, MaskedLaw._regenerate, MaskedLaw.regenerate

    def _agreeing(self, occ, decided):
        return ((self.states == occ[:, None]) | ~decided[:, None]).all(2)

    def log_marginal(self, occ, at, decided):
        total = (self._agreeing(occ, decided) * self.log_p.exp()).sum(1).log()
        return total + self.shift + self.bend * (decided.sum(1) > 4)

    def conditionals(self, occ, at, decided):
        weight = self._agreeing(occ, decided) * self.log_p.exp()
        up = (weight @ self.states.double()) / weight.sum(1, keepdim=True)
        if self.turn:
            up = up.roll(1, 1)
        up = (1 - self.blur) * up + self.blur / 2
        return torch.stack([1 - up, up], 2).log()

    def both(self, occ, at, decided):
        return self.conditionals(occ, at, decided), self.log_marginal(occ, at, decided)


def rows(n, seed=0):
    """(occ, at, order) of any configurations, likely or not."""
    h = hamiltonian(NAME)
    return (
        h.random(n, generator(seed)),
        h.condition(T0, MU0).expand(n),
        random_orders(h, n, seed),
    )


def sample(n, seed):
    """Independent configurations of the exact law."""
    p = exact(NAME, T0, MU0)
    return as_tensor(enumeration(NAME).occ)[torch.multinomial(p, n, replacement=True, generator=generator(seed))]


# ---------------------------------------------------------------------- consistency
def test_the_exact_law_is_consistent_everywhere():
    for depth in range(9):
        occ, at, order = rows(12, seed=depth)
        c = marginal.consistency(Exact(), occ, at, order, torch.full((12,), depth))
        assert c.shape == (12,) and c.max() < 1e-20
    mixed = torch.arange(12) % 9
    assert marginal.consistency(Exact(), *rows(12), mixed).max() < 1e-20
    assert marginal.consistency(Exact(shift=1.0), *rows(12), mixed).max() < 1e-20  # a constant is not its business


def test_what_is_not_one_law_is_inconsistent():
    occ, at, order = rows(9)
    depth = torch.arange(9)
    assert marginal.consistency(Exact(blur=0.2), occ, at, order, depth).min() > 1e-6
    assert (marginal.consistency(Exact(turn=True), occ, at, order, depth) > 1e-6).sum() > 6
    bent = marginal.consistency(Exact(bend=0.5), occ, at, order, depth)
    torch.testing.assert_close(bent, 0.25 * (depth == 4).double())  # the step that crosses from four sites to five
    wrong_order = marginal.consistency(Exact(turn=True), occ, at, order.flip(1), depth)
    assert not torch.allclose(wrong_order, marginal.consistency(Exact(turn=True), occ, at, order, depth))


def test_marginals_of_everything_and_of_nothing():
    """log p of all sites is the Boltzmann weight: log p + beta H = -log Z; that of no site is 0."""
    occ, at, _ = rows(20)
    everything = torch.ones_like(occ, dtype=torch.bool)
    value = Exact().log_marginal(occ, at, everything) + hamiltonian(NAME).reduced_energy(occ, at)
    assert value.std() < 1e-9
    assert Exact().log_marginal(occ, at, ~everything).abs().max() < 1e-12


# ---------------------------------------------------------------------- the loss
def loss(model, weight, anchor, advantages, depth=3, n=6):
    occ, at, order = rows(n)
    return marginal.marginal(model, occ, at, order, torch.full((n,), depth), advantages, anchor, weight)


def test_the_loss_is_its_three_terms():
    """A log p_theta(x) + lambda C + (lambda / N) log p_theta(nothing)^2, row by row."""
    a, anchor = torch.linspace(-2, 3, 6).double(), torch.tensor([3.0, 0, 0, 3.0, 0, 0]).double()
    model = Exact(shift=0.7, blur=0.3)
    occ, at, order = rows(6)
    everything = torch.ones_like(occ, dtype=torch.bool)
    log_p = model.log_marginal(occ, at, everything)
    c = marginal.consistency(model, occ, at, order, torch.full((6,), 3))
    torch.testing.assert_close(loss(model, 0.0, anchor, a), a * log_p)
    expected = a * log_p + 5.0 * c + 5.0 / 9 * anchor * 0.7**2
    torch.testing.assert_close(loss(model, 5.0, anchor, a), expected)
    assert (c > 1e-6).all() and not torch.allclose(expected, a * log_p + 5.0 * c)


def test_the_anchor_punishes_a_wrong_constant_and_nothing_else_does():
    none, ones = torch.zeros(6).double(), torch.ones(6).double()
    assert loss(Exact(), 4.0, ones, none).abs().max() < 1e-12
    for shift in (-2.0, 0.5):
        torch.testing.assert_close(loss(Exact(shift), 4.0, ones, none), 4.0 / 9 * shift**2 * ones)
        assert loss(Exact(shift), 4.0, none, none).abs().max() < 1e-12


def mam(**size) -> MarginalizationModel:
    torch.manual_seed(0)
    net = MarginalizationModel(hamiltonian(NAME), RANGES, **(dict(width=16, depth=1, heads=2) | size)).eval()
    for trunk in net.trunks:
        awaken(trunk, hamiltonian(NAME).lattice, RANGES)
    return net


def gradients(net, **term):
    n = 6
    full = dict(weight=0.0, anchor=torch.zeros(n).double(), advantages=torch.zeros(n).double()) | term
    net.zero_grad()
    loss(net, **full).mean().backward()
    return {k: p.grad for k, p in net.named_parameters()}


SIZES = {
    "transformer": {},
    "two trunks": {"trunks": 2},
    "mlp": {"network": "mlp", "depth": 2},
    "two mlps": {"network": "mlp", "depth": 2, "trunks": 2},
}


@pytest.mark.parametrize("size", SIZES)
def test_gradients_reach_every_head_and_trunk(size):
    net = mam(**SIZES[size])
    ones, a = torch.ones(6).double(), torch.linspace(-2, 3, 6).double()
    grads = gradients(net, weight=4.0, anchor=ones, advantages=a)
    assert all(g is not None and g.abs().max() > 0 for g in grads.values())
    if net.trunks[0].__class__.__name__ == "LatticeTransformer" and len(net.trunks) == 1:
        last = grads["trunks.0.head.4.weight"]
        assert (last.abs().amax(1) > 1e-6).all()  # the rows of both species, and of the marginal
    # REINFORCE and the anchor concern the marginal alone
    for term in (dict(advantages=a), dict(weight=4.0, anchor=ones)):
        grads = gradients(net, **term)
        if len(net.trunks) == 2 and "advantages" in term:
            assert all(g is None or g.abs().max() == 0 for k, g in grads.items() if k.startswith("trunks.0"))
            assert any(g is not None and g.abs().max() > 0 for k, g in grads.items() if k.startswith("trunks.1"))


def test_the_gradient_passes_through_all_three_terms_of_consistency():
    """None of them is a fixed target: a finite difference of the whole agrees with the gradient."""
    net = mam(trunks=2)
    occ, at, order = rows(6)
    depth = torch.arange(6)
    marginal.consistency(net, occ, at, order, depth).sum().backward()
    g = generator(1)
    for trunk in net.trunks:
        direction = [torch.randn(p.shape, generator=g) for p in trunk.parameters()]
        slope = sum(float((p.grad * d).sum()) for p, d in zip(trunk.parameters(), direction, strict=True))
        values = []
        for step in (2e-3, -4e-3):
            with torch.no_grad():
                for p, d in zip(trunk.parameters(), direction, strict=True):
                    p.add_(step * d)
                values.append(float(marginal.consistency(net, occ, at, order, depth).sum()))
        with torch.no_grad():
            for p, d in zip(trunk.parameters(), direction, strict=True):
                p.add_(2e-3 * d)
        assert slope == pytest.approx((values[0] - values[1]) / 4e-3, rel=0.03, abs=0.03)
        assert abs(slope) > 0.1


# ---------------------------------------------------------------------- the persistent batch
@pytest.mark.slow
@pytest.mark.parametrize("sites", [1, 4, 9])
def test_regenerating_keeps_the_exact_law(sites):
    """Block Gibbs on exact conditionals: an equilibrium batch stays one. Wrong conditionals drive it away."""
    n, e = 5000, enumeration(NAME)
    start = sample(n, 1)
    at = hamiltonian(NAME).condition(T0, MU0).expand(n)
    erased = random_orders(hamiltonian(NAME), n, 2)[:, :sites]
    law = exact(NAME, T0, MU0) * n

    def after(model):
        out = []
        for part in torch.arange(n).split(500):
            out.append(model.regenerate(start[part], at[part], erased[part], generator(int(part[0]))))
        occ = torch.cat(out)
        changed = occ != start
        assert not changed.gather(1, random_orders(hamiltonian(NAME), n, 2)[:, sites:]).any()  # the others stay
        assert changed.any(1).double().mean() > 0.1
        return chi_square(np.bincount(e.index(occ), minlength=len(e)), law)

    assert after(Exact()) > 1e-4
    assert after(Exact(blur=0.4)) < 1e-9
    assert after(Exact(turn=True)) < 1e-9


@pytest.mark.slow
def test_regenerating_everything_samples_the_law_of_a_model():
    """From any start, with all sites erased in one order, what comes is q along that order."""
    net, n, e = mam(), 8000, enumeration(NAME)
    at = hamiltonian(NAME).condition(T0, MU0).expand(n)
    order = random_orders(hamiltonian(NAME), 1, 4).expand(n, -1)
    occ = net.regenerate(torch.zeros_like(order), at, order, generator(3))
    m = len(e)
    with torch.no_grad():
        law = net.log_prob(as_tensor(e.occ), at[:m], order[:m]).exp()
        other = net.log_prob(as_tensor(e.occ), at[:m], order[:m].flip(1)).exp()
    counts = np.bincount(e.index(occ), minlength=m)
    assert chi_square(counts, n * law) > 1e-4
    assert chi_square(counts, n * other) < 1e-6


def test_a_draw_is_what_it_says():
    n, h = 900, hamiltonian(NAME)
    net, condition = mam(), torch.arange(3).repeat_interleave(300)
    start, _, order = rows(n)
    at = h.condition([2.4, 2.8, 3.3], [[0, 0.1], [0, -0.4], [0, -0.1]])[condition]
    d = marginal.draw(net, start, at, order, condition, generator(), 3)
    assert (d.occ != start).sum(1).max() == 3 and (d.occ != start).any(1).double().mean() > 0.5
    assert torch.equal(start, rows(n)[0])  # the batch that came in is left alone
    with torch.no_grad():
        log_p = net.log_marginal(d.occ, at, torch.ones_like(d.occ, dtype=torch.bool))
    torch.testing.assert_close(d.value, log_p + h.reduced_energy(d.occ, at))
    torch.testing.assert_close(d.advantage, advantage(d.value, condition))
    assert chi_square(torch.bincount(d.depth, minlength=9), torch.full((9,), n / 9)) > 1e-4  # every depth, none beyond
    assert d.anchor.nonzero().flatten().tolist() == [0, 300, 600] and d.anchor.mean() == 1  # one row of each condition
    assert not d.advantage.requires_grad
    more = marginal.draw(net, start, at, order, condition, generator(), 100)  # more sites than there are: all
    assert (more.occ != start).sum(1).max() > 6


def test_at_the_exact_law_nothing_is_left_to_learn():
    """log p + beta H is -log Z for every configuration, so no row has an advantage, and the loss is 0."""
    occ, at, order = rows(20)
    d = marginal.draw(Exact(), occ, at, order, torch.arange(2).repeat_interleave(10), generator(), 2, floor=0.1)
    assert d.advantage.abs().max() < 1e-9
    got = marginal.marginal(Exact(), d.occ, at, order, d.depth, d.advantage, d.anchor, 36.0)
    assert got.abs().max() < 1e-9
    wrong = marginal.draw(
        Exact(blur=0.2), occ, at.at(at.T + 0.3), order, torch.arange(2).repeat_interleave(10), generator(), 2
    )
    assert wrong.advantage.abs().max() > 0.5  # negative control: the law of another temperature
