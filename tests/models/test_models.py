"""What every model is: a normalised law over occupations, for every condition and every order."""

from functools import cache

import numpy as np
import pytest
import torch
from small_systems import awaken, enumeration, exact, generator, hamiltonian, random_orders, randomise

from alloygen import orders
from alloygen.arrays import as_tensor
from alloygen.edge.fits import nearest_neighbour
from alloygen.models import MODELS as KINDS
from alloygen.models.causal import CausalModel
from alloygen.models.local import LocalModel
from alloygen.models.masked import AutoregressiveModel, MarginalizationModel
from alloygen.models.store import load_model, save_model
from alloygen.objectives.likelihood import heat_bath
from alloygen.testing import SYSTEMS, chi_square

SIZE = dict(width=16, depth=1, heads=2)


def painn(h, ranges):
    cutoff = 1.2 * nearest_neighbour(h.lattice.primitive)
    return AutoregressiveModel(h, ranges, network="painn", width=8, depth=2, radial=4, cutoff=cutoff, offset=0.0)


MODELS = {
    "causal": lambda h, ranges: CausalModel(h, ranges, **SIZE),
    "causal, deeper": lambda h, ranges: CausalModel(h, ranges, width=32, depth=2, heads=4, expand=2),
    "causal, near-sighted": lambda h, ranges: CausalModel(h, ranges, neighbours=3, **SIZE),
    "local": lambda h, ranges: LocalModel(h, ranges, width=8, depth=2, window=9, levels=2),
    "arm, mlp": lambda h, ranges: AutoregressiveModel(h, ranges, network="mlp", width=16, depth=2),
    "arm, transformer": lambda h, ranges: AutoregressiveModel(h, ranges, **SIZE),
    "arm, painn": painn,
    "arm, physics": lambda h, ranges: AutoregressiveModel(h, ranges, physics=True, **SIZE),
    "mam, transformer": lambda h, ranges: MarginalizationModel(h, ranges, **SIZE),
    "mam, two trunks": lambda h, ranges: MarginalizationModel(h, ranges, trunks=2, **SIZE),
    "mam, mlp": lambda h, ranges: MarginalizationModel(h, ranges, network="mlp", width=16, depth=2),
}
CAUSAL = [k for k in MODELS if k.startswith("causal")]
PHYSICAL = [*CAUSAL, "local", "arm, physics"]
FEW = ("ising-3", "cuau-skew", "two-sublattice")  # for what is slow, or shares its law with another kind
SOME = {"arm, painn": ("ising-3", "ternary"), **{k: FEW for k in MODELS if k.startswith("mam")}}


@pytest.fixture(params=list(MODELS))
def kind(request):
    return request.param


@pytest.fixture(params=[(k, s) for k in MODELS for s in SOME.get(k, SYSTEMS)], ids=lambda p: "-".join(p))
def case(request):
    """(kind, system): every model on every small system."""
    return request.param


@cache
def build(kind, name):
    """A model with random weights everywhere, the layers that start at zero included. Built once: nobody writes into it."""
    torch.manual_seed(0)
    h, ranges = hamiltonian(name), SYSTEMS[name].ranges()
    net = MODELS[kind](h, ranges).eval()
    if kind in CAUSAL or kind == "local":
        return randomise(net)
    for trunk in net.trunks:
        awaken(trunk, h.lattice, ranges)
    return net


def everything(net, name, at, order, known=None):
    """log_prob (M,) of every state at one condition along one order."""
    parts = []
    with torch.no_grad():
        for rows in torch.arange(len(enumeration(name))).split(250):
            m = len(rows)
            given = None if known is None else known[rows]
            occ = as_tensor(enumeration(name).occ)[rows]
            parts.append(net.log_prob(occ, at.expand(m), order.expand(m, -1), given))
    return torch.cat(parts)


def many(net, at, order, n, seed, known=None):
    """n samples (n, N) at one condition along one order."""
    g, b = generator(seed), 500
    known = None if known is None else known.expand(b, -1)
    return torch.cat([net.sample(at.expand(b), order.expand(b, -1), g, known)[0] for _ in range(n // b)])


def mixed(name, n):
    at = SYSTEMS[name].conditions()
    return at[torch.arange(n) % len(at)]


def test_every_kind_is_covered():
    """But for a family, which is of canonical expansions (test_family)."""
    kinds = {MODELS[k](hamiltonian("cuau-2x2x2"), SYSTEMS["cuau-2x2x2"].ranges()).kind for k in MODELS}
    assert kinds == set(KINDS) - {"family"}


def test_probabilities_of_all_states_add_up_to_one(case):
    kind, system = case
    net = build(kind, system)
    lattice = hamiltonian(system).lattice
    drawn = [
        *random_orders(hamiltonian(system), 2),
        *orders.draw("sublattice", lattice, 1, generator(), "all"),
        *orders.draw("raster", lattice, 1, generator(), "none"),
    ]
    laws = []
    for at, order in zip(SYSTEMS[system].conditions(), drawn, strict=True):
        log_prob = everything(net, system, at, order)
        assert log_prob.dtype == torch.float64
        assert float(log_prob.exp().sum()) == pytest.approx(1, abs=1e-5)
        laws.append(log_prob)
    # negative control: the sum notices when one law is read along another order
    spliced = torch.where(torch.arange(len(laws[0])) % 2 == 0, laws[0], laws[1])
    assert abs(float(spliced.exp().sum()) - 1) > 1e-4


def test_what_sample_says_is_what_log_prob_says(case):
    kind, system = case
    net = build(kind, system)
    at = mixed(system, 64)
    order = random_orders(hamiltonian(system), 64)
    occ, log_prob = net.sample(at, order, generator())
    hamiltonian(system).check(occ)
    assert log_prob.dtype == torch.float64
    with torch.no_grad():
        torch.testing.assert_close(log_prob, net.log_prob(occ, at, order), rtol=0, atol=1e-4)
        assert (log_prob - net.log_prob(occ.flip(0), at, order)).abs().max() > 0.1


@pytest.mark.slow
def test_samples_follow_the_law(case):
    kind, system = case
    net, n = build(kind, system), 6000 if kind in CAUSAL else 3000
    at, *_ = SYSTEMS[system].conditions()
    order = random_orders(hamiltonian(system), 1, seed=3)
    occ = many(net, at, order, n, seed=7)
    counts = np.bincount(enumeration(system).index(occ), minlength=len(enumeration(system)))
    law = everything(net, system, at, order).exp()
    assert chi_square(counts, n * law) > 1e-4
    # negative controls: another condition of the same model, and the exact law of the Hamiltonian
    far = everything(net, system, SYSTEMS[system].conditions()[1], order).exp()
    assert chi_square(counts, n * far) < 1e-9
    assert chi_square(counts, n * exact(system, float(at.T), at.mu)) < 1e-9


def test_same_seed_same_samples(kind):
    net = build(kind, "cuau-2x2x2")
    at = mixed("cuau-2x2x2", 16)
    order = random_orders(net.hamiltonian, 16)
    (a, p), (b, q), (c, _) = (net.sample(at, order, generator(s)) for s in (1, 1, 2))
    assert torch.equal(a, b) and torch.equal(p, q) and not torch.equal(a, c)


def test_conditions_in_one_batch_do_not_see_each_other(case):
    kind, system = case
    net = build(kind, system)
    at = mixed(system, 8)
    order, occ = random_orders(hamiltonian(system), 8), hamiltonian(system).random(8, generator(2))
    with torch.no_grad():
        together = net.log_prob(occ, at, order)
        alone = torch.cat([net.log_prob(*(x[i : i + 1] for x in (occ, at, order))) for i in range(8)])
        torch.testing.assert_close(together, alone, rtol=0, atol=1e-4)
        turned = net.log_prob(occ, net.hamiltonian.condition(at.T, at.mu.roll(1, 0)), order)
    assert (together - turned).abs().min() > 1e-3


def test_only_differences_of_mu_matter(case):
    kind, system = case
    net = build(kind, system)
    at = mixed(system, 8)
    order, occ = random_orders(hamiltonian(system), 8), hamiltonian(system).random(8, generator(2))
    shifts = [torch.full((len(hamiltonian(system).elements),), 0.37)]
    if system == "spectator":  # atoms that cannot change have a mu that changes Phi and no probability
        shifts.append(torch.tensor([0.0, 0.0, 0.37]))
    with torch.no_grad():
        for shift in shifts:
            torch.testing.assert_close(
                net.log_prob(occ, net.hamiltonian.condition(at.T, at.mu + shift), order),
                net.log_prob(occ, at, order),
                rtol=0,
                atol=1e-4,
            )


def test_later_sites_do_not_move_earlier_conditionals(case):
    kind, system = case
    net, h = build(kind, system), hamiltonian(system)
    at = mixed(system, 4)
    order, occ = random_orders(h, 4, seed=5), h.random(4, generator(6))
    allowed = torch.as_tensor(h.lattice.element_index[h.lattice.sublattice] >= 0)[order]
    limit, free = torch.as_tensor(h.lattice.n_species), 0.0
    with torch.no_grad():
        start = net.log_conditionals(occ, at, order)
        for t in range(h.n_sites):
            site = order[:, t : t + 1]
            other = occ.scatter(1, site, (torch.gather(occ, 1, site) + 1) % limit[site])
            change = (net.log_conditionals(other, at, order) - start).masked_fill(~allowed, 0.0).abs()
            assert change[:, : t + 1].max() < 1e-5
            free = max(free, float(change.max()))
    assert free > 1e-2  # negative control: earlier sites do move later conditionals


# ---------------------------------------------------------------------- known sites
def given(name, n, seed=0):
    """Random known sets and values (-1 elsewhere), with orders that put them first."""
    h, g = hamiltonian(name), generator(seed)
    mask = torch.rand(n, h.n_sites, generator=g) < torch.linspace(0, 1, n)[:, None]
    known = torch.where(mask, h.random(n, g), -1)
    return known, orders.known_first(random_orders(h, n, seed), mask)


def test_known_sites_stay_and_do_not_count(case):
    kind, system = case
    net = build(kind, system)
    at = mixed(system, 32)
    known, order = given(system, 32)
    occ, log_prob = net.sample(at, order, generator(), known)
    assert torch.equal(occ[known >= 0], known[known >= 0])
    with torch.no_grad():
        torch.testing.assert_close(log_prob, net.log_prob(occ, at, order, known), rtol=0, atol=1e-4)
        steps = net.log_conditionals(occ, at, order)
    chosen = torch.gather(steps, 2, torch.gather(occ, 1, order)[..., None])[..., 0]
    of_known = (chosen * (torch.gather(known, 1, order) >= 0)).sum(1)
    torch.testing.assert_close(log_prob, chosen.sum(1) - of_known, rtol=0, atol=1e-4)
    assert log_prob[-1] == 0  # all known: nothing is generated
    assert of_known[1:].min() < -0.1


@pytest.mark.slow
def test_conditional_law_is_the_joint_over_the_marginal(case):
    """log p(x | x_known) = log p(x) - log p(x_known), the marginal by summing over every state that agrees."""
    kind, system = case
    net, occ = build(kind, system), as_tensor(enumeration(system).occ)
    at, *_ = SYSTEMS[system].conditions()
    values, order = given(system, 5, seed=2)
    known, order = values[2], order[2]
    agree = ((occ == known) | (known < 0)).all(1)
    joint = everything(net, system, at, order)
    conditional = everything(net, system, at, order, known.expand(len(occ), -1))
    assert 1 < agree.sum() < len(occ)
    expected = joint[agree] - torch.logsumexp(joint[agree], 0)
    torch.testing.assert_close(conditional[agree], expected, rtol=0, atol=1e-4)


@pytest.mark.slow
def test_samples_given_known_sites_follow_the_conditional_law(kind):
    name, n = "two-sublattice", 10000 if kind in CAUSAL else 4000
    net, e = build(kind, name), enumeration(name)
    at, *_ = SYSTEMS[name].conditions()
    known, order = (x[1] for x in given(name, 4, seed=1))
    occ = many(net, at, order, n, seed=0, known=known)
    agree = ((as_tensor(e.occ) == known) | (known < 0)).all(1)
    law, other = everything(net, name, at, order).exp() * agree, exact(name, float(at.T), at.mu) * agree
    counts = np.bincount(e.index(occ), minlength=len(e))
    assert 8 < agree.sum() < len(e) and counts[~agree].sum() == 0
    assert chi_square(counts[agree], n * (law / law.sum())[agree]) > 1e-4
    assert chi_square(counts[agree], n * (other / other.sum())[agree]) < 1e-9


# ---------------------------------------------------------------------- physics
@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("kind", PHYSICAL)
def test_the_last_step_is_the_exact_heat_bath(kind, system, trained):
    """With every other site decided the conditional is known, and no network may spoil it. Other masked laws know no physics."""
    h = hamiltonian(system)
    torch.manual_seed(0)
    net = build(kind, system) if trained else MODELS[kind](h, SYSTEMS[system].ranges()).eval()
    at = mixed(system, 32)
    order, occ = random_orders(h, 32), h.random(32, generator(4))
    with torch.no_grad():
        last = net.log_conditionals(occ, at, order)[:, -1].exp()
    site = order[:, -1]
    torch.testing.assert_close(last, heat_bath(h, occ, at)[torch.arange(32), site], rtol=0, atol=1e-10)
    wrong = heat_bath(h, occ, h.condition(at.T, -at.mu))[torch.arange(32), site]
    assert (last - wrong).abs().max() > 1e-2


@pytest.mark.parametrize(
    "make",
    [
        lambda h, ranges: randomise(CausalModel(h, ranges, **SIZE)),
        lambda h, ranges: randomise(AutoregressiveModel(h, ranges, physics=True, **SIZE)),
    ],
    ids=["causal", "arm, physics"],
)
def test_exact_wherever_all_neighbours_are_decided(make):
    """On the 4x4 checkerboard the second half is independent given the first: those steps are exact for any weights."""
    from alloygen.hamiltonian.ising import ising

    h = ising(4, h=-0.2)
    torch.manual_seed(0)
    net = make(h, {"T": [2, 3], "mu": [[-0.5, 0.5]]})
    order = orders.draw("sublattice", h.lattice, 8, generator())
    at = h.condition(2.5, [0.0, 0.3]).expand(8)
    occ = h.random(8, generator(1))
    target = torch.gather(heat_bath(h, occ, at), 1, order[..., None].expand(-1, -1, 2))
    with torch.no_grad():
        got = net.log_conditionals(occ, at, order).exp()
    torch.testing.assert_close(got[:, 8:], target[:, 8:], rtol=0, atol=1e-12)
    assert (got[:, :8] - target[:, :8]).abs().max() > 1e-2


def test_forbidden_species_have_no_probability(kind):
    net = build(kind, "two-sublattice")
    h, at = net.hamiltonian, mixed("two-sublattice", 16)
    order = random_orders(h, 16)
    with torch.no_grad():
        logp = net.log_conditionals(h.random(16, generator()), at, order)
    forbidden = torch.as_tensor(h.lattice.element_index[h.lattice.sublattice] < 0)[order]
    assert forbidden.any() and (logp[forbidden] == -torch.inf).all() and logp[~forbidden].isfinite().all()


def test_config_rebuilds_the_network(kind):
    net = build(kind, "cuau-2x2x2")
    again = type(net)(net.hamiltonian, net.ranges, **net.config())
    again.load_state_dict(net.state_dict())
    at = mixed("cuau-2x2x2", 4)
    order, occ = random_orders(net.hamiltonian, 4), net.hamiltonian.random(4, generator())
    with torch.no_grad():
        assert np.array_equal(again.eval().log_prob(occ, at, order), net.log_prob(occ, at, order))


@pytest.mark.parametrize("kind", [k for k in MODELS if k not in CAUSAL])
def test_a_checkpoint_gives_the_same_law(kind, tmp_path):
    name = "two-sublattice"
    net, at = build(kind, name), mixed(name, 4)
    net.load_state_dict({k: v.to(net.stored) for k, v in net.state_dict().items()})  # what a file holds of it
    save_model(tmp_path / "m.safetensors", net)
    again = load_model(tmp_path / "m.safetensors", hamiltonian(name))
    order, occ = random_orders(net.hamiltonian, 4), net.hamiltonian.random(4, generator())
    assert type(again) is type(net) and again.config() == net.config() and not again.training
    with torch.no_grad():
        assert torch.equal(again.log_prob(occ, at, order), net.log_prob(occ, at, order))
        if isinstance(net, MarginalizationModel):
            decided = torch.rand(4, net.hamiltonian.n_sites, generator=generator(1)) < 0.5
            assert torch.equal(again.log_marginal(occ, at, decided), net.log_marginal(occ, at, decided))
        for p in again.parameters():  # negative control: every weight is in the file
            p.mul_(1.1)
        assert not torch.equal(again.log_prob(occ, at, order), net.log_prob(occ, at, order))


def test_physical_logits_are_those_of_the_order():
    """A masked law whose network says nothing is the causal model before training: -beta (f_t - mu) along any order."""
    h, at = hamiltonian("two-sublattice"), mixed("two-sublattice", 16)
    ranges, order, occ = SYSTEMS["two-sublattice"].ranges(), random_orders(h, 16), h.random(16, generator(3))
    causal, masked = CausalModel(h, ranges, **SIZE), AutoregressiveModel(h, ranges, physics=True, **SIZE)
    plain = AutoregressiveModel(h, ranges, **SIZE)
    with torch.no_grad():
        bare = causal.log_prob(occ, at, order)
        torch.testing.assert_close(masked.log_prob(occ, at, order), bare, rtol=0, atol=1e-10)
        assert (plain.log_prob(occ, at, order) - bare).abs().max() > 0.1
