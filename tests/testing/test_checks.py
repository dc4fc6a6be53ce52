"""check_model and check_hamiltonian pass what ships and fail what is broken on purpose, each fault by the check that is meant for it."""

import dataclasses

import numpy as np
import pytest
import torch
from small_systems import awaken, randomise

import alloygen
from alloygen.errors import AlloygenError
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.models import MODELS
from alloygen.models.base import Model
from alloygen.testing import SYSTEMS, check_hamiltonian, check_model, enumerable


# ---------------------------------------------------------------------- Hamiltonians
@pytest.mark.parametrize("name", SYSTEMS)
def test_hamiltonians_that_ship_pass(name):
    check_hamiltonian(enumerable(name).hamiltonian, symmetric="cuau" in name or "ising" in name)


@pytest.mark.parametrize("name", ["ternary", "two-sublattice", "many-body"])
def test_missing_symmetry_is_seen(name):
    with pytest.raises(AssertionError, match="point operations"):
        check_hamiltonian(enumerable(name).hamiltonian)


class Broken(Hamiltonian):
    """CuAu with one thing wrong."""

    fault = ""

    def energy(self, occ):
        e = super().energy(occ)
        if self.fault == "batch":
            e = e + 1e-3 * e.mean()
        if self.fault == "position":
            e = e + 1e-3 * torch.as_tensor(occ).reshape(len(e), -1)[:, 0]
        if self.fault == "precision":
            e = e.float()
        return e

    def energy_torch(self, occ, chunk=256):
        return super().energy_torch(occ, chunk) + (1e-6 if self.fault == "torch" else 0.0)

    def change(self, occ, sites, species):
        return super().change(occ, sites, species) * (1.001 if self.fault == "change" else 1.0)

    def site_energies(self, occ, sites=None):
        return super().site_energies(occ, sites) * (1.001 if self.fault == "site" else 1.0)

    def along(self, occ, order):
        return super().along(occ, order) * (1.001 if self.fault == "order" else 1.0)

    def counts(self, occ):
        n = super().counts(occ)
        return n.flip(1) if self.fault == "elements" else 2 * n if self.fault == "twice" else n

    def reduced_energy(self, occ, at):
        return super().reduced_energy(occ, at if self.fault != "mu" else self.condition(at.T, -at.mu))

    @property
    def flip_tables(self):
        t = super().flip_tables
        return t._replace(value=t.value * 1.001) if self.fault == "tables" else t


@pytest.mark.parametrize("fault, says", [
    ("", None), ("batch", "row alone|energy_torch"), ("position", "energy_torch"), ("precision", "float64"),
    ("torch", "energy_torch"), ("change", r"change\(occ"), ("site", "site_energies"), ("order", "along"),
    ("elements", "counts"), ("twice", "counts"), ("mu", "mu \\+ 1"), ("tables", "flip tables"),
])  # fmt: skip
def test_a_broken_hamiltonian_fails(fault, says):
    h = Broken(alloygen.data.cuau(), alloygen.data.cuau().on((2, 2, 3)).lattice)
    h.fault = fault
    if says is None:
        check_hamiltonian(h)
        return
    with pytest.raises(AssertionError, match=says):
        check_hamiltonian(h)


def test_an_orbit_with_an_image_left_out_fails():
    cuau = alloygen.data.cuau()
    orbits = [*cuau.orbits]
    k = next(k for k, o in enumerate(orbits) if o.order == 2)
    o = orbits[k]
    orbits[k] = dataclasses.replace(o, members=o.members[1:], functions=o.functions[1:], weights=o.weights[1:])
    with pytest.raises(AssertionError, match="point operations"):
        check_hamiltonian(dataclasses.replace(cuau, orbits=tuple(orbits)).on((2, 2, 3)))


def test_an_expansion_is_no_hamiltonian():
    with pytest.raises(AlloygenError, match=r"Write expansion\.on"):
        check_hamiltonian(alloygen.data.cuau())


# ---------------------------------------------------------------------- models
SIZE = dict(width=16, depth=2, heads=2)


def model(kind, name):
    torch.manual_seed(0)
    s = enumerable(name)
    sizes = {"causal": SIZE, "local": dict(width=8, depth=2, window=9, levels=2)}
    size = sizes.get(kind, dict(network="mlp", width=16, depth=2))
    net = MODELS[kind](s.hamiltonian, s.ranges(), **size)
    if kind in sizes:
        return randomise(net)
    for trunk in net.trunks:
        awaken(trunk, s.hamiltonian.lattice, s.ranges())
    return net.eval()


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", [kind for kind in MODELS if kind != "family"]
)  # test_family has canonical expansions for it
@pytest.mark.parametrize("name", ["ising-3", "cuau-2x2x2", "spectator"])
def test_models_that_ship_pass(kind, name):
    check_model(
        model(kind, name),
        model(kind, name).hamiltonian.condition(enumerable(name).T[0], enumerable(name).mu[1]),
        n=5000,
    )


class Faulty(Model):
    """Independent sites, p(x_i = a) ~ exp(beta mu_a + i / 10 [a = 1]), with one thing wrong."""

    kind = "faulty"

    def __init__(self, h, ranges, fault):
        super().__init__()
        self.hamiltonian, self.ranges, self.fault = h, ranges, fault
        self.calls = 0

    def _law(self, at):
        h, fault, mu = self.hamiltonian, self.fault, at.mu
        mu = mu[:1].expand_as(mu) if fault == "batch" else mu
        mu = mu + 0.1 * mu[:, :1].abs() * torch.tensor([0.0, 1.0]).double() if fault == "gauge" else mu
        logits = h.site_mu(mu) / at.kT[:, None, None]
        logits = logits + torch.stack([torch.zeros(h.n_sites), torch.arange(h.n_sites) / 10], 1).double()
        return logits if fault == "sum" else torch.log_softmax(logits, 2)

    def log_prob(self, occ, at, order, known=None):
        steps = self._law(at).gather(2, occ[..., None])[..., 0]
        steps = steps if known is None or self.fault == "known counts" else steps.masked_fill(known >= 0, 0.0)
        if self.fault == "infinite":
            steps = steps.masked_fill((occ.sum(1) == 0)[:, None], -torch.inf)
        return steps.sum(1).float() if self.fault == "precision" else steps.sum(1)

    def sample(self, at, order, generator, known=None):
        law = self._law(at)
        if self.fault == "tilt":
            law = torch.log_softmax(1.1 * law, 2)
        self.calls += 1
        g = torch.Generator().manual_seed(self.calls) if self.fault == "seed" else generator
        u = torch.rand(*order.shape, generator=g, dtype=torch.float64)
        occ = (u > law[..., 0].exp()).long()
        if known is not None and self.fault != "known moves":
            occ = torch.where(known >= 0, known, occ)
        log_prob = self.log_prob(occ, at, order, known)
        if self.fault == "species":
            occ[0, 0] = 2
        return occ, log_prob + (0.01 if self.fault == "said" else 0.0)


@pytest.mark.parametrize("fault, says", [
    ("", None), ("sum", "add up to 1"), ("precision", "float64"), ("infinite", "finite"), ("tilt", "frequencies"),
    ("seed", "same seed"), ("species", "allowed"), ("said", "that sample returns"), ("known counts", "log p"),
    ("known moves", "known sites as given"), ("batch", "batch of several"), ("gauge", "every mu"),
])  # fmt: skip
def test_a_broken_model_fails(fault, says):
    s = enumerable("cuau-2x2x2")
    net = Faulty(s.hamiltonian, s.ranges(), fault)
    if says is None:
        check_model(net)
        return
    with pytest.raises(AssertionError, match=says):
        check_model(net)


def test_what_is_no_model_or_too_large_is_refused():
    with pytest.raises(AlloygenError, match="expected a Model"):
        check_model(torch.nn.Linear(1, 1))
    with pytest.raises(AlloygenError, match="8,192"):
        check_model(Faulty(alloygen.data.cuau().on((2, 2, 4)), {"T": [500, 900], "mu": [[0, 0.1]]}, ""))


def test_a_small_system_is_named():
    with pytest.raises(AlloygenError, match="'ising-3'"):
        enumerable("ising-4")
    assert enumerable("ternary") is enumerable("ternary")
    assert all(np.ptp(s.enumeration.counts, axis=0).max() > 0 for s in map(enumerable, SYSTEMS))
