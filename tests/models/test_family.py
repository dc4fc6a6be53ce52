"""One network for every binary alloy of a parent lattice: a normalised law for each, exact symmetries, weights that are exact."""

import numpy as np
import pytest
import torch
from small_systems import generator, randomise

import alloygen
from alloygen.errors import LatticeMismatch
from alloygen.exact.enumeration import Enumeration
from alloygen.hamiltonian.parents import PARENTS, canonical
from alloygen.models.draw import draw
from alloygen.models.family import FamilyModel
from alloygen.models.store import load_model, save_model
from alloygen.testing import check_model

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
    return randomise(FamilyModel(h, RANGES, width=8, depth=2, window=18, levels=2)).eval()


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
