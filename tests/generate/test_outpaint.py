"""Out-painting, regeneration and annealing against enumeration, on models that know little: exactness must not need a good model."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import logsumexp

import alloygen
import alloygen.data
from alloygen.arrays import as_tensor
from alloygen.conditions.record import Condition
from alloygen.errors import AlloygenError, LatticeMismatch
from alloygen.exact.enumeration import Enumeration
from alloygen.generate import sequential as sequential_module
from alloygen.generate.annealed import anneal
from alloygen.generate.outpaint import Outpainter, windows
from alloygen.generate.regenerate import Regenerator
from alloygen.generate.sequential import sequential
from alloygen.hamiltonian.ising import ising
from alloygen.models import MODELS
from alloygen.orders import known_sets
from alloygen.units import KB_EV_PER_K

T, MU = 3.1, np.array([0.0, 0.3])
AT, COLD, COLDER = (Condition(t, MU, 1.0) for t in (T, 2.0, 1.2))
RANGES = {"T": [1.0, 5.0], "mu": [[-1.0, 1.0]]}


def model(kind="causal", shape=(2, 2), seed=0, **size):
    """A small model with random weights throughout: no better than its physics."""
    torch.manual_seed(seed)
    size = size or dict(width=16, depth=1, heads=2)
    out = MODELS[kind](cell(*shape), RANGES, **size)
    with torch.no_grad():
        for p in out.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return out


def cell(a, b):
    """Ising on a x b with a field, so that signs cannot hide."""
    square = ising(3, h=0.2)
    return square.expansion.on((a, b, 1))


MASKED = dict(network="mlp", width=16, depth=1)
PAINTERS = {
    "physics of the target": lambda: Outpainter(model(), cell(2, 4), stride=1),
    "the model's own torus": lambda: Outpainter(model(), cell(2, 4), stride=1, physics=False),
    "masked model": lambda: Outpainter(model("arm", **MASKED), cell(2, 4), stride=2),
    "two axes, wrapping round": lambda: Outpainter(model(), cell(3, 3), stride=1),
}


@pytest.mark.parametrize("name", PAINTERS)
def test_the_path_law_is_normalised_and_is_what_is_drawn(name):
    painter, generator = PAINTERS[name](), torch.Generator().manual_seed(0)
    made = painter.draw(AT, 1, generator)
    every = as_tensor(Enumeration(painter.target).occ)
    orders = [o.expand(len(every), -1) for o in made.orders]
    assert float(logsumexp(painter.log_prob(every, AT, orders))) == pytest.approx(0, abs=1e-5)
    made = painter.draw(AT, 50, generator)
    assert torch.allclose(painter.log_prob(made.occ, AT, made.orders), made.log_prob, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", PAINTERS)
def test_weights_give_the_exact_partition_function(name):
    painter = PAINTERS[name]()
    h, n = painter.target, 3000
    made = painter.draw(AT, n, torch.Generator().manual_seed(1))
    u = (h.energy(made.occ) - h.counts(made.occ) @ torch.as_tensor(MU)) / T
    w = torch.exp(-u - made.log_prob)
    exact = np.exp(-Enumeration(h).at(h.condition(T, MU)).phi * h.n_sites / T)
    assert abs(w.mean().item() - exact) < 4 * w.std().item() / np.sqrt(n)
    wrong = torch.exp(-u - 0.9 * made.log_prob)
    assert abs(wrong.mean().item() - exact) > 4 * wrong.std().item() / np.sqrt(n)  # a wrong likelihood fails


def test_a_target_of_the_models_own_size_is_plain_sampling():
    from alloygen.models.draw import draw

    small = model(shape=(2, 3))
    made = Outpainter(small, cell(2, 3)).draw(AT, 40, torch.Generator().manual_seed(2))
    occ, log_prob = draw(small, AT, 40, torch.Generator().manual_seed(2))
    assert torch.equal(made.occ, occ) and torch.equal(made.log_prob, log_prob)


def test_a_skewed_cell_of_the_models_own_is_one_window():
    """Out-painting wants repeats along the axes; plain sampling of a model's own cell must not."""
    skew = alloygen.data.cuau().on([[2, 0, 0], [1, 2, 0], [0, 1, 2]])
    m = MODELS["causal"](skew, {"T": [500, 1000], "mu": [[-0.1, 0.1]]}, width=16, depth=1, heads=2)
    made = Outpainter(m, skew).draw(Condition(800.0, [0.0, 0.0], KB_EV_PER_K), 5, torch.Generator().manual_seed(0))
    assert made.occ.shape == (5, 8) and len(made.orders) == 1


def test_a_stage_of_the_own_cell_is_the_own_stage():
    for m in (model(shape=(3, 4)), alloygen.load("cuau_2x2x4")):
        own, again = m.stage(), m.stage(m.hamiltonian)
        assert torch.equal(own.environment, again.environment) and torch.equal(own.torus, again.torus)


def test_surroundings_on_a_larger_cell_are_the_nearest_images():
    m = alloygen.load("cuau_2x2x4")
    h = alloygen.data.cuau().on((4, 4, 8))
    stage, lattice = m.stage(h), h.lattice
    small = m.hamiltonian.lattice
    vectors = lattice.minimum_image(lattice.positions[stage.environment[17].numpy()] - lattice.positions[17])
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(small.displacements[1][0], abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["physics of the target", "the model's own torus"])
def test_known_sites_are_kept_and_condition_the_rest(name):
    """The law of the rest given the known ones, weighted, against the exact conditional."""
    painter = PAINTERS[name]()
    h, n = painter.target, 6000
    known = np.full(h.n_sites, -1)
    known[[1, 6]] = [0, 1]
    made = painter.draw(AT, n, torch.Generator().manual_seed(3), known)
    assert (made.occ[:, [1, 6]] == torch.tensor([0, 1])).all()
    e = Enumeration(h)
    held = (e.occ[:, [1, 6]] == [0, 1]).all(1)
    u = (np.asarray(e.energy) - np.asarray(e.counts) @ MU) / T
    w = np.exp(-((h.energy(made.occ) - h.counts(made.occ) @ torch.as_tensor(MU)) / T + made.log_prob).numpy())
    assert abs(w.mean() - np.exp(-u[held]).sum()) < 4 * w.std() / np.sqrt(n)
    p = np.exp(-u[held]) / np.exp(-u[held]).sum()
    exact = p @ e.occ[held]
    ours = (w[:, None] * made.occ.numpy()).sum(0) / w.sum()
    error = np.sqrt(((w[:, None] * (made.occ.numpy() - ours)) ** 2).sum(0)) / w.sum()
    free = known < 0
    assert (np.abs(ours - exact)[free] < 4.5 * error[free]).all()
    plain = np.exp(-u) / np.exp(-u).sum() @ e.occ
    assert (np.abs(ours - plain)[free] > 4.5 * error[free]).any()  # it is not the law without the condition


# ---------------------------------------------------------------------- averaged likelihoods, and resampling along the windows
@pytest.mark.slow
@pytest.mark.parametrize("known", [None, [1, 0]])
@pytest.mark.parametrize("name", PAINTERS)
def test_averaged_likelihoods_keep_the_weights_exact_and_even_them(name, known):
    """Z, and the law of one site that a translation would move, with fixed sites and without."""
    painter, cold, n = PAINTERS[name](), T, 2000
    h, e = painter.target, Enumeration(painter.target)
    held = np.full(h.n_sites, -1)
    if known is not None:
        held[[1, 6]] = known
    given = None if known is None else held
    u_all = (np.asarray(e.energy) - np.asarray(e.counts) @ MU) / cold
    rows = ((held < 0) | (e.occ == held)).all(1)
    z = np.exp(-u_all[rows]).sum()
    spread = {}
    for average in (1, 8):
        made = painter.draw(h.condition(cold, MU), n, torch.Generator().manual_seed(1), given, average=average)
        assert given is None or (made.occ[:, [1, 6]] == torch.tensor(known)).all()
        u = ((h.energy(made.occ) - h.counts(made.occ) @ torch.as_tensor(MU)) / cold).numpy()
        w = np.exp(-u - made.log_prob.numpy())
        assert abs(w.mean() - z) < 4 * w.std() / np.sqrt(n)
        f = made.occ[:, 0].numpy()
        exact = (np.exp(-u_all[rows]) @ e.occ[rows, 0]) / z
        assert abs((w * (f - exact)).mean()) < 4.5 * (w * (f - exact)).std() / np.sqrt(n) + 1e-12
        spread[average] = np.var(np.log(w))
    assert known is not None or spread[8] < 0.9 * spread[1]  # fixed sites leave orders only to average over
    # negative control: the likeliest path alone is no likelihood
    made = painter.draw(h.condition(cold, MU), n, torch.Generator().manual_seed(2), given)
    again = [made.log_prob]
    for _ in range(7):
        orders = painter.path(n, torch.Generator().manual_seed(len(again)), given)
        again.append(painter.log_prob(made.occ, h.condition(cold, MU), orders, given))
    u = (h.energy(made.occ) - h.counts(made.occ) @ torch.as_tensor(MU)) / cold
    paths = torch.stack(again)
    lost = (torch.exp(-u - paths.logsumexp(0) + np.log(8)) - torch.exp(-u - paths.amax(0))).numpy()
    assert lost.mean() > 4 * lost.std() / np.sqrt(n)


@pytest.mark.slow
@pytest.mark.parametrize("known", [None, [1, 0]])
@pytest.mark.parametrize(
    "name", ["physics of the target", "the model's own torus", "masked model", "two axes, wrapping round"]
)
def test_resampling_along_the_windows_is_unbiased(name, known):
    """Z at T = 2 over 100 islands of 40, resampled after most windows."""
    painter, cold, islands = PAINTERS[name](), 2.0, 100
    h, e = painter.target, Enumeration(painter.target)
    held = np.full(h.n_sites, -1)
    if known is not None:
        held[[1, 6]] = known
    u = (np.asarray(e.energy) - np.asarray(e.counts) @ MU) / cold
    target = float(logsumexp(-u[((held < 0) | (e.occ == held)).all(1)]))
    made = sequential(
        painter, COLD, 40 * islands, torch.Generator().manual_seed(0), islands, None if known is None else held
    )
    w = np.exp(made.log_w - target).reshape(islands, -1).mean(1)
    assert made.resampled and abs(w.mean() - 1) < 4 * w.std(ddof=1) / np.sqrt(islands)
    z = made.log_z()
    spread = w.std(ddof=1) / w.mean() / 10
    assert (
        abs(z.value - target) < 4 * z.stderr and spread < z.stderr < 1.4 * spread
    )  # and one island more of the largest mean
    assert made.phi().value == pytest.approx(-cold * z.value / h.n_sites) and made.phi().stderr == pytest.approx(
        cold * z.stderr / h.n_sites
    )
    wrong = dataclasses.replace(made, log_w=made.log_w * 0.9).log_z()
    assert abs(wrong.value - target) > 4 * wrong.stderr  # negative control: a tenth of the cost forgotten


@pytest.mark.slow
def test_resampling_that_forgets_the_mean_weight_is_seen(monkeypatch):
    """Negative control: groups start again from weight 1."""
    painter = PAINTERS["physics of the target"]()
    target = -Enumeration(painter.target).at(painter.target.condition(1.2, MU)).phi * 8 / 1.2
    whole = sequential_module.resample

    def forget(log_w, islands, rng):
        rows = whole(log_w, islands, rng)
        if rows is not None:
            log_w[:] = 0
        return rows

    monkeypatch.setattr(sequential_module, "resample", forget)
    z = sequential(painter, COLDER, 4000, torch.Generator().manual_seed(0), 100).log_z()
    assert abs(z.value - target) > 4 * z.stderr


def test_without_resampling_the_weights_are_those_of_the_path():
    """Decided clusters, window by window, add up to the energy of the whole."""
    painter = PAINTERS["two axes, wrapping round"]()
    h = painter.target
    made = painter.draw(AT, 40, torch.Generator().manual_seed(0))
    state, total = painter.blank(40), np.full(40, h.constant)
    site_mu = h.site_mu(torch.as_tensor(MU)[None])[0]
    for sites in painter.windows:
        new = sites[state[0, sites] < 0]
        state[:, sites] = made.occ[:, sites]
        total += sequential_module._cost(h, state, new, site_mu)
    assert total == pytest.approx((h.energy(made.occ) - h.counts(made.occ) @ torch.as_tensor(MU)).numpy())


@pytest.mark.parametrize("islands", [0, 3, 64, True])
def test_islands_that_do_not_divide_are_told(islands):
    with pytest.raises(AlloygenError, match="groups of at least 2"):
        sequential(PAINTERS["physics of the target"](), AT, 64, torch.Generator(), islands)


# ---------------------------------------------------------------------- windows
def test_windows_are_those_of_the_paper():
    square = ising(10)
    fifteen, twenty = (square.expansion.on((L, L, 1)).lattice for L in (15, 20))
    assert windows(square.lattice, fifteen).shape == (4, 100) and windows(square.lattice, twenty).shape == (
        9,
        100,
    )  # stride 7
    small, large = (alloygen.data.cuau().on(r).lattice for r in ((4, 4, 4), (4, 4, 8)))
    assert windows(small, large).shape == (3, 64)  # stride 3, the last window wraps round
    for table in (windows(square.lattice, twenty), windows(small, large, 4)):
        assert len(np.unique(table)) == table.max() + 1 and all(len(set(row)) == len(row) for row in table)


@pytest.mark.parametrize("target, stride, error, says", [
    ((2, 4, 4), None, LatticeMismatch, "fits into along every axis"), ((4, 4, 8), 5, AlloygenError, "leave sites out"),
    ((4, 4, 8), 0, AlloygenError, "of at least 1, got 0"), (np.array([[4, 0, 0], [1, 4, 0], [0, 0, 8]]), None, LatticeMismatch, "along its axes"),
])  # fmt: skip
def test_windows_that_do_not_fit_are_refused(target, stride, error, says):
    small = alloygen.data.cuau().on((4, 4, 4)).lattice
    with pytest.raises(error, match=says):
        windows(small, alloygen.data.cuau().on(target).lattice, stride)


def test_another_hamiltonian_or_kind_is_refused():
    with pytest.raises(LatticeMismatch, match="the model's Hamiltonian"):
        Outpainter(model(), alloygen.data.cuau().on((4, 4, 4)))
    with pytest.raises(AlloygenError, match="order-causal"):
        Outpainter(model("arm", **MASKED), cell(2, 4), physics=True)


def test_a_cell_that_closes_on_itself_knows_too_few_clusters():
    """2x2x2 CuAu has no channel for every cluster of a larger cell: the torus serves, physics of the target is refused."""
    small, large = (alloygen.data.cuau().on(r) for r in ((2, 2, 2), (2, 2, 4)))
    m = MODELS["causal"](small, {"T": [500, 1000], "mu": [[-0.1, 0.1]]}, width=16, depth=1, heads=2)
    made = Outpainter(m, large).draw(Condition(800.0, [0.0, 0.0], KB_EV_PER_K), 5, torch.Generator().manual_seed(0))
    assert made.occ.shape == (5, 16)
    with pytest.raises(LatticeMismatch, match="every kind of cluster"):
        Outpainter(m, large, physics=True)


# ---------------------------------------------------------------------- moves that keep the law
def exact_draws(h, n, seed):
    e = Enumeration(h)
    p = np.asarray(e.at(e.hamiltonian.condition(T, MU)).probabilities)
    return e, p, as_tensor(e.occ[np.random.default_rng(seed).choice(len(p), n, p=p)])


def code(occ):
    return (occ.numpy() * 2 ** np.arange(occ.shape[1])).sum(1)


def chi_square(occ, e, p) -> float:
    """p-value that configurations follow p, rare ones taken together."""
    index = {c: k for k, c in enumerate(code(as_tensor(e.occ)).tolist())}
    seen = np.bincount([index[c] for c in code(occ).tolist()], minlength=len(p)).astype(float)
    expected = p * len(occ)
    big = expected >= 8
    seen, expected = np.append(seen[big], seen[~big].sum()), np.append(expected[big], expected[~big].sum())
    keep = expected > 0
    return float(stats.chisquare(seen[keep], expected[keep] * seen[keep].sum() / expected[keep].sum()).pvalue)


@pytest.mark.slow
@pytest.mark.parametrize("shape, block", [((2, 3), 1), ((2, 3), [2, 3, 1]), ((2, 4), None), ((2, 4), 2)])
def test_block_moves_keep_the_law(shape, block):
    """Exact draws stay exact, whatever the model believes."""
    painter = Outpainter(model(shape=(2, 3) if shape == (2, 3) else (2, 2)), cell(*shape))
    e, p, occ = exact_draws(painter.target, 4000, 0)
    moves, generator = Regenerator(painter, block), torch.Generator().manual_seed(4)
    rate = []
    for _ in range(4):
        occ, accepted = moves.step(occ, AT, generator)
        rate.append(float(accepted.double().mean()))
    assert chi_square(occ, e, p) > 1e-4 and 0.3 < np.mean(rate) <= 1


@pytest.mark.slow
def test_the_chi_square_sees_moves_without_the_ratio(monkeypatch):
    """Negative control: every proposal accepted."""
    painter = Outpainter(model(shape=(2, 3)), cell(2, 3))
    e, p, occ = exact_draws(painter.target, 4000, 0)
    monkeypatch.setattr(
        type(painter.target), "reduced_energy", lambda h, occ, at: torch.zeros(len(occ), dtype=torch.float64)
    )
    monkeypatch.setattr(Outpainter, "window_log_prob", lambda *a: torch.full((4000,), 1e9, dtype=torch.float64))
    moves, generator = Regenerator(painter, [2, 3, 1]), torch.Generator().manual_seed(4)
    for _ in range(4):
        occ, accepted = moves.step(occ, AT, generator)
        assert accepted.all()
    assert chi_square(occ, e, p) < 1e-6


def test_blocks_leave_fixed_sites_alone():
    painter = Outpainter(model(), cell(2, 4))
    fixed = np.zeros(8, dtype=bool)
    fixed[[0, 3, 5]] = True
    occ = torch.randint(2, (200, 8), generator=torch.Generator().manual_seed(0))
    moves, generator, moved = Regenerator(painter, 2, np.where(fixed, 0, -1)), torch.Generator().manual_seed(1), occ
    for _ in range(10):
        moved, _ = moves.step(moved, AT, generator)
    assert torch.equal(moved[:, fixed], occ[:, fixed]) and not torch.equal(moved, occ)
    with pytest.raises(AlloygenError, match="got all of them fixed"):
        Regenerator(painter, 2, np.ones(8, dtype=int))
    with pytest.raises(AlloygenError, match="expected a block"):
        Regenerator(painter, 3)


# ---------------------------------------------------------------------- annealing
@pytest.mark.parametrize("islands", [0, 100])
def test_annealed_weights_are_unbiased_and_get_more_even(islands):
    """Z and <E> at T = 1.2 from uniform draws, an impossible start for plain importance sampling."""
    h, n = cell(2, 4), 4000
    exact = Enumeration(h)
    target = -exact.at(exact.hamiltonian.condition(1.2, MU)).phi * 8 / 1.2
    occ = h.random(n, torch.Generator().manual_seed(5))
    found = []
    for steps in (2, 30):
        path = 1 / np.linspace(1e-9, 1 / 1.2, steps + 1)
        made = anneal(h, occ, np.full(n, 8 * np.log(2)), h.condition(path, MU), sweeps=3, seed=1, islands=islands)
        w = np.exp(made.log_w - target).reshape(100, -1).mean(1)  # groups: independent with islands too
        assert abs(w.mean() - 1) < 4 * w.std(ddof=1) / 10
        assert abs(made.log_z().value - target) < 4 * made.log_z().stderr
        assert made.occ.dtype == np.int8 and np.array_equal(made.energy, h.energy(made.occ))
        found.append(made.ness[-1])
    assert found[1] > max(2 * found[0], 0.3)
    p = np.asarray(exact.at(exact.hamiltonian.condition(1.2, MU)).probabilities)
    w = np.exp(made.log_w - made.log_w.max())
    energy = made.energy
    mean = w @ energy / w.sum()
    error = np.sqrt((w**2 * (energy - mean) ** 2).sum()) / w.sum()
    assert abs(mean - p @ np.asarray(exact.energy)) < 5 * max(error, 1e-3)
    assert (made.resampled > 0) == bool(islands)


def test_annealing_sees_lost_weights():
    """Negative control: samples moved without their weights do not give Z."""
    h, n = cell(2, 4), 4000
    target = -Enumeration(h).at(h.condition(1.2, MU)).phi * 8 / 1.2
    made = anneal(
        h,
        h.random(n, torch.Generator().manual_seed(5)),
        np.full(n, 8 * np.log(2)),
        COLDER.expand(2),
        sweeps=50,
    )
    assert abs(np.exp(made.log_w - target).mean() - 1) > 0.5


@pytest.mark.parametrize("change, says", [
    (dict(path=COLD.expand(0)), "at least one condition"), (dict(islands=7), "divide the 10 samples"), (dict(sweeps=-1), "sweeps >= 0"),
])  # fmt: skip
def test_bad_paths_are_told(change, says):
    h = cell(2, 4)
    arguments = dict(path=COLD.expand(2)) | change
    with pytest.raises(AlloygenError, match=says):
        anneal(h, h.random(10, torch.Generator().manual_seed(0)), np.zeros(10), **arguments)


# ---------------------------------------------------------------------- known sets for training
def test_known_sets_hold_scattered_sites_boxes_and_their_complements():
    lattice = alloygen.data.cuau().on((4, 4, 4)).lattice
    sets = known_sets(lattice, 3000, torch.Generator().manual_seed(0)).numpy()
    share = sets.mean(1)
    assert 0.3 < share.mean() < 0.7 and share.min() < 0.05 and share.max() > 0.95
    inside = sets[:, :].reshape(3000, 4, 4, 4)  # sites are listed cell by cell
    layers = inside.any((2, 3)).sum(1) + inside.any((1, 3)).sum(1) + inside.any((1, 2)).sum(1)
    boxes = inside.sum((1, 2, 3)) == inside.any((2, 3)).sum(1) * inside.any((1, 3)).sum(1) * inside.any((1, 2)).sum(1)
    assert 0.2 < boxes.mean() < 0.6 and layers.max() == 12
