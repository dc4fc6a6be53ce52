"""One network for every binary alloy of a parent lattice: a normalised law for each, exact symmetries, weights that are exact."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_systems import generator, randomise

import alloygen
from alloygen import own_law
from alloygen.errors import AlloygenError, LatticeMismatch, LowSampleSize, NoModel, NotConverged
from alloygen.exact.enumeration import Enumeration
from alloygen.hamiltonian.figures import Orbit
from alloygen.hamiltonian.parents import PARENTS, canonical
from alloygen.models.base import Trained
from alloygen.models.draw import draw
from alloygen.models.family import FamilyModel, ZeroShot, spans
from alloygen.models.store import load_model, save_model
from alloygen.testing import check_model
from alloygen.training import loop

RANGES = {"T": (300.0, 1200.0), "mu": [(-0.1, 0.1)]}
CELLS = {
    "fcc": (2, 2, 2),
    "bcc": [[2, 1, 0], [0, 2, 1], [0, 0, 2]],
    "hcp": (2, 2, 1),
    "sc": (2, 3, 1),
    "square": (3, 3, 1),
}


def expansion(name: str, seed: int = 0):
    parent = PARENTS[name]
    return parent.expansion(np.random.default_rng(seed).normal(0, 0.02, len(parent.figures)))


def family(name: str, seed: int = 0) -> FamilyModel:
    """A network with random weights everywhere, on a random Hamiltonian."""
    torch.manual_seed(0)
    h = expansion(name, seed).on(CELLS[name])
    inner = 6 if name in ("bcc", "square") else 0  # with and without the deeper network of the couplings
    return randomise(FamilyModel(h, RANGES, width=8, depth=2, window=18, levels=2, inner=inner)).eval()


def every(h) -> torch.Tensor:
    return torch.as_tensor(Enumeration(h).occ).long()


def log_q(model, occ, T, mu) -> torch.Tensor:
    """log q of every row along the law's own order."""
    at = model.hamiltonian.condition(T, mu).expand(len(occ))
    with torch.no_grad():
        return model.log_prob(occ, at, model.placed.order.expand(len(occ), -1))


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", CELLS)
def test_it_is_a_law_of_every_hamiltonian(name, seed):
    model = family(name).on(expansion(name, seed).on(CELLS[name]))
    check_model(model, model.hamiltonian.condition([500.0, 900.0], [[0.0, 0.03], [0.02, 0.0]]), n=4000)


@pytest.mark.parametrize("name", CELLS)
def test_the_exchange_of_the_species_is_exact(name):
    """Odd ECIs, mu and every sigma change sign: the same probability."""
    model = family(name)
    parent, h = model.parent, model.hamiltonian
    J = np.where(model.odd, -1.0, 1.0) * model.couplings.numpy()
    swapped = model.on(parent.expansion(J).on(CELLS[name]))
    occ = every(h)
    one, other = log_q(model, occ, 600.0, [0.0, 0.04]), log_q(swapped, 1 - occ, 600.0, [0.04, 0.0])
    assert torch.allclose(one, other, atol=1e-5)
    assert not torch.allclose(one, log_q(model, 1 - occ, 600.0, [0.04, 0.0]), atol=1e-2)


def test_a_shift_of_the_point_figure_is_one_of_mu():
    model = family("fcc")
    J = model.couplings.numpy().copy()
    J[0] += 0.015  # -0.015 a B atom, +0.015 an A atom
    shifted, occ = model.on(model.parent.expansion(J).on(CELLS["fcc"])), every(model.hamiltonian)
    assert torch.allclose(log_q(model, occ, 600.0, [0.0, 0.04]), log_q(shifted, occ, 600.0, [0.0, 0.01]), atol=1e-5)


def test_energy_and_temperature_enter_as_their_ratio():
    model = family("bcc")
    strong = model.on(model.parent.expansion(2.5 * model.couplings.numpy()).on(CELLS["bcc"]))
    occ = every(model.hamiltonian)
    assert torch.allclose(log_q(model, occ, 400.0, [0.0, 0.02]), log_q(strong, occ, 1000.0, [0.0, 0.05]), atol=1e-5)


def test_another_hamiltonian_is_another_law_with_exact_weights():
    """Phi of two alloys from the same weights, and not that of the other."""
    model, phis = family("fcc"), []
    for seed in (3, 4):
        h = expansion("fcc", seed).on((2, 2, 2))
        law, at = model.on(h), h.condition(900.0, [0.0, 0.02])
        occ, log_p = draw(law, at, 20_000, generator())
        log_w = (-h.reduced_energy(occ, at) - log_p).numpy()
        phi = -float(at.kT) * np.log(np.exp(log_w - log_w.max()).mean()) - float(at.kT) * log_w.max()
        weights = np.exp(log_w - log_w.max())
        error = float(at.kT) * weights.std() / weights.mean() / len(weights) ** 0.5
        assert abs(phi - Enumeration(h).at(at).phi * h.n_sites) < 5 * error
        phis.append((phi, error))
    assert abs(phis[0][0] - phis[1][0]) > 50 * phis[0][1]


def test_cuau_in_the_terms_of_its_parent_is_taken():
    model = family("fcc")
    found = canonical(alloygen.data.cuau())
    law = model.on(found.expansion.on((2, 2, 2)))
    check_model(law, law.hamiltonian.condition(600.0, [0.0, 0.02]), n=4000)
    with pytest.raises(LatticeMismatch, match="in the figures of the parent lattice fcc"):
        model.on(alloygen.data.cuau().on((2, 2, 2)))
    with pytest.raises(LatticeMismatch, match="of the parent lattice fcc"):
        model.on(expansion("bcc").on(CELLS["bcc"]))


def test_tables_are_shared_by_alloys_on_one_supercell():
    model = family("fcc")
    _ = model.placed
    other = model.on(expansion("fcc", 5).on(CELLS["fcc"]))
    assert other.placed is model.placed
    small = model.on(expansion("fcc", 5).on((2, 2, 1)))
    assert small.placed is not model.placed


def test_it_comes_back_from_a_checkpoint(tmp_path):
    model = family("square")
    save_model(tmp_path / "square.safetensors", model)
    back = load_model(tmp_path / "square.safetensors")
    assert isinstance(back, FamilyModel) and back.parent.name == "square"
    occ = every(model.hamiltonian)[:50]
    assert torch.allclose(log_q(model, occ, 600.0, [0, 0.02]), log_q(back, occ, 600.0, [0, 0.02]), atol=0.02)


# ---------------------------------------------------------------------- in the alloy's own terms
def skewed_cuau():
    """CuAu on other primitive vectors, turned and with other site functions."""
    cuau = alloygen.data.cuau()
    rows = np.array([[1, 1, 0], [0, 1, 0], [1, 0, 1]])
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    back = np.rint(np.linalg.inv(rows)).astype(int)
    orbits = tuple(
        replace(o, members=np.concatenate([o.members[..., :3] @ back, o.members[..., 3:]], -1)) for o in cuau.orbits
    )
    primitive = replace(cuau.primitive, cell=rows @ cuau.primitive.cell @ turn)
    return replace(cuau, primitive=primitive, orbits=orbits)


def test_any_expansion_of_the_lattice_is_drawn_in_its_own_terms():
    """Normalised on its own sites, and the same law as on those of the parent lattice."""
    h = skewed_cuau().on([[2, 1, 0], [0, 2, 0], [0, 0, 2]])
    law = ZeroShot(family("fcc"), h)
    check_model(law, h.condition([500.0, 900.0], [[0.0, 0.03], [0.02, 0.0]]), n=4000)
    occ = every(h)
    at = h.condition(600.0, [0.0, 0.02]).expand(len(occ))
    with torch.no_grad():
        own = law.log_prob(occ, at, law.order.expand(len(occ), -1))
        inner = law.law.log_prob(law._moved(occ), at, law.law.order.expand(len(occ), -1))
    assert torch.equal(own, inner)
    assert torch.allclose(h.reduced_energy(occ, at), law.law.hamiltonian.reduced_energy(law._moved(occ), at), atol=1e-9)
    large = law.on(h.expansion.on((4, 4, 2)))
    assert large.lattice.n_sites == 32 and sorted(large.order.tolist()) == list(range(32))


@pytest.fixture
def at_hand(tmp_path, monkeypatch):
    """A family for fcc among the models of the user."""
    model = family("fcc")
    model.trained = Trained(name="my_fcc", orders=model.trained.orders)
    save_model(tmp_path / "my_fcc.safetensors", model)
    monkeypatch.setenv("ALLOYGEN_MODELS", str(tmp_path))


def test_sample_takes_it_for_an_alloy_without_a_model(at_hand):
    """Weights are exact whatever the network says: Phi is that of enumeration."""
    h = skewed_cuau().on([[2, 1, 0], [0, 2, 0], [0, 0, 2]])
    ens = alloygen.sample(h, 900, {"Au": 0.02}, n=4000, seed=0)
    assert ens.method == "neural, zero-shot by my_fcc" and ens.hamiltonian is h
    phi = ens.free_energy()
    assert abs(phi.value - Enumeration(h).at(h.condition(900.0, [0.0, 0.02])).phi) < 5 * phi.stderr < 0.01
    held = alloygen.sample(h, 900, {"Au": 0.02}, n=50, seed=0, fixed={0: "Au", 3: "Cu"}, sampler="my_fcc")
    assert (held.occ[:, 0] == 1).all() and (held.occ[:, 3] == 0).all()
    assert alloygen.sample(alloygen.data.cuau().on((2, 2, 4)), 900, {"Au": 0.02}, n=5, seed=0).method == "neural"


def test_uneven_weights_are_told_at_once_with_the_remedy(at_hand):
    """Random weights on 64 sites are of no use, and figures beyond the list are named."""
    cuau = alloygen.data.cuau()
    far = Orbit("far", 0.05, [[(0, 0, 0, 0), (5, 1, -2, 0)]], [[0, 0]], [1.0])
    h = replace(cuau, orbits=(*cuau.orbits, far)).on((4, 4, 4))
    with pytest.warns(LowSampleSize, match=r"my_fcc never saw this alloy \(0.05 eV/site .*alloygen.polish"):
        ens = alloygen.sample(h, 600, {"Au": 0.0}, n=400, seed=0)
    assert ens.ness < 0.2 and np.isclose(ens.info["beyond"], 0.05)


@pytest.mark.slow
def test_a_diagram_of_an_alloy_without_training(at_hand):
    """Scans take it too; Phi at every condition is that of enumeration."""
    h = skewed_cuau().on([[2, 1, 0], [0, 2, 0], [0, 0, 2]])
    scan = alloygen.scan(h, [700, 900], [{"Au": x} for x in (-0.05, 0.0, 0.05)], n=2000, seed=0)
    assert scan.method.startswith("neural")
    exact = Enumeration(h)
    for k in range(len(scan)):
        phi = scan.free_energy(k)
        truth = exact.at(h.condition(float(scan.T[k]), scan.mu[k])).phi
        assert abs(phi.value - truth) < 5 * phi.stderr < 0.02


def test_a_lattice_that_it_is_not_for_is_left_to_monte_carlo(at_hand):
    with pytest.warns(NoModel):
        ens = alloygen.sample(expansion("sc").on((2, 2, 2)), 900, {"B": 0.0}, n=20, seed=0)
    assert not ens.method.startswith("neural")
    with pytest.raises(LatticeMismatch, match="of the parent lattice fcc"):
        alloygen.sample(expansion("sc").on((2, 2, 2)), 900, {"B": 0.0}, n=20, seed=0, sampler="my_fcc")


@pytest.mark.slow
def test_a_polished_network_is_taken_for_its_alloy_alone(at_hand, tmp_path):
    """Minutes of training on one alloy make its weights more even; it is kept among the models of the user."""
    h = skewed_cuau().on([[2, 1, 0], [0, 2, 0], [0, 0, 2]])
    before = alloygen.sample(h, 700, {"Au": 0.02}, n=1000, seed=0)
    (tmp_path / "my_fcc.safetensors").rename(tmp_path / "renamed.safetensors")  # a file may be called anything
    law = alloygen.polish(h, minutes=0.1, T=(650, 3000), name="mine", progress=False)
    assert law.ranges["T"][0] == 650 and spans(h)["T"][0] < 300
    kept = ["mine.alloy.json", "mine.safetensors", "renamed.safetensors"]  # the alloy beside its law
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == kept
    assert not list((tmp_path / "runs").iterdir())
    for _ in range(5):  # a machine that is busy takes fewer steps in a time, and another polish goes on
        after = alloygen.sample(h, 700, {"Au": 0.02}, n=1000, seed=0)
        if after.ness > before.ness + 0.1:
            break
        law = alloygen.polish(h, minutes=0.1, T=(650, 3000), name="mine", progress=False)
    assert after.method == "neural" and after.ness > before.ness + 0.1
    assert np.array_equal(after.occ, alloygen.sample(h, 700, {"Au": 0.02}, n=1000, seed=0, sampler=law).occ)
    check_model(law, h.condition(700.0, [0.0, 0.02]), n=4000)
    other = alloygen.sample(expansion("fcc", 7).on((2, 2, 2)), 900, {"B": 0.0}, n=20, seed=0)
    assert other.method == "neural, zero-shot by my_fcc"


@pytest.mark.slow
def test_a_second_polish_goes_on_and_one_that_harms_is_not_kept(at_hand, tmp_path, monkeypatch):
    h, starts, begin = expansion("fcc", 7).on((2, 2, 1)), [], loop._begin
    monkeypatch.setattr(loop, "_begin", lambda model, path: (starts.append(Path(path).name), begin(model, path)))
    assert alloygen.polish(h, minutes=0.05, name="mine", progress=False).polished
    whole = (tmp_path / "mine.safetensors").read_bytes()
    monkeypatch.setattr(own_law, "POLISH", own_law.POLISH | {"lr": 3.0, "warmup": 0, "steps": 5})
    with pytest.warns(NotConverged, match="did not help: log likelihood -0"):
        law = alloygen.polish(h, name="mine", progress=False)
    assert (tmp_path / "mine.safetensors").read_bytes() == whole and law.polished
    assert starts == ["my_fcc.safetensors", "mine.safetensors"]


def test_what_cannot_be_polished_is_said_before_work(at_hand):
    with pytest.raises(LatticeMismatch, match="a network for every alloy of the lattice"):
        alloygen.polish(expansion("sc").on((2, 2, 2)), progress=False)
    with pytest.raises(AlloygenError, match=r"T as \(low, high\)"):
        alloygen.polish(expansion("fcc").on((2, 2, 2)), T=(900, 300), progress=False)
    with pytest.raises(AlloygenError, match="mu of elements after the first"):
        alloygen.polish(expansion("fcc").on((2, 2, 2)), mu={"A": (0, 1), "B": (0, 1)}, progress=False)
    with pytest.raises(AlloygenError, match="mu of elements among"):
        alloygen.polish(expansion("fcc").on((2, 2, 2)), mu={"Xx": (0, 1)}, progress=False)
    with pytest.raises(AlloygenError, match=r"mu of B as \(low, high\)"):
        alloygen.polish(expansion("fcc").on((2, 2, 2)), mu={"B": 0.1}, progress=False)
