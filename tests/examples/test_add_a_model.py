"""Add a model: mean field, every site by itself. Open ``alloygen/models/base.py``, subclass Model (or AnyOrder, or Network to train it).

    q(x) = prod_i q_i(x_i),     q_i(a) ~ exp(-beta [dE_q / dq_i(a) - mu_a]),     E_q = <E> over q,

solved by iteration. E_q is multilinear in q, so its gradient is the mean energy of each species on each site (Bragg and Williams, Proc. R.
Soc. A 145, 699 (1934)). It has no weights to train; importance weights make averages and Phi exact where the NESS is not too low.
"""

import numpy as np
import pytest
import torch

import alloygen
from alloygen.models.base import Model, draw_species
from alloygen.testing import check_model, enumerable


# ---------------------------------------------------------------------- the model
class MeanField(Model):
    kind = "mean field"

    def __init__(self, hamiltonian, ranges, rounds=40):
        super().__init__()
        self.hamiltonian, self.ranges, self.rounds = hamiltonian, ranges, rounds
        self.allowed = torch.as_tensor(hamiltonian.lattice.allowed)
        self.phi = torch.as_tensor(hamiltonian.site_functions)
        self.clusters = [(torch.as_tensor(f), torch.as_tensor(c)) for f, c in hamiltonian.clusters]

    @torch.enable_grad()
    def law(self, condition):
        """log q (B, N, S), found once for each condition."""
        each, row = torch.unique(torch.cat([condition.T[:, None], condition.mu], 1), dim=0, return_inverse=True)
        beta, mu = 1.0 / (self.hamiltonian.kB * each[:, :1, None]), self.hamiltonian.site_mu(each[:, 1:])
        log_q = torch.where(self.allowed, 0.0, -torch.inf).double().expand(len(each), -1, -1).log_softmax(2)
        for _ in range(self.rounds):
            q = log_q.exp().detach().requires_grad_()
            phi = torch.einsum("nfs,bns->bnf", self.phi, q).flatten(1)
            energy = sum(phi[:, f].prod(2) @ c for f, c in self.clusters)
            (field,) = torch.autograd.grad(energy.sum(), q)
            new = (-beta * (field - mu)).masked_fill(~self.allowed, -torch.inf).log_softmax(2)
            log_q = torch.logaddexp(log_q.detach(), new) - np.log(2)  # half way: a full step may oscillate
        return log_q[row]

    def log_prob(self, occ, condition, order, known=None):
        steps = self.law(condition).gather(2, occ[..., None])[..., 0]
        return (steps if known is None else steps.masked_fill(known >= 0, 0.0)).sum(1)

    def sample(self, condition, order, generator, known=None):
        uniform = torch.rand(*order.shape, 1, generator=generator, dtype=torch.float64)
        occ = draw_species(self.law(condition), uniform)[..., 0]
        occ = occ if known is None else torch.where(known >= 0, known, occ)
        return occ, self.log_prob(occ, condition, order, known)


# ---------------------------------------------------------------------- its tests
@pytest.mark.parametrize("name", ["ising-3", "cuau-2x2x2", "two-sublattice"])
def test_it_is_a_normalised_law(name):
    system = enumerable(name)
    check_model(
        MeanField(system.hamiltonian, system.ranges()),
        MeanField(system.hamiltonian, system.ranges()).hamiltonian.condition(system.T[1], system.mu),
    )


@pytest.mark.slow
def test_samples_with_weights_give_the_exact_phi():
    system = enumerable("cuau-2x2x2")
    model = MeanField(system.hamiltonian, {"T": [1000, 3000], "mu": [[-0.1, 0.1]]})  # colder, sites are not independent
    exact = system.enumeration.at(system.enumeration.hamiltonian.condition(1500.0, [0.0, 0.07]))
    ens = alloygen.sample(system.hamiltonian, 1500.0, {"Au": 0.07}, n=4000, sampler=model)
    phi, gold = ens.free_energy(), ens.composition("Au")
    assert ens.info["model"] == "mean field" and ens.ness > 0.2
    assert abs(phi.value - exact.phi) < 4 * phi.stderr < 0.01
    assert abs(gold.value - exact.composition[1]) < 4 * gold.stderr < 0.1
    plain = float(ens.occ.mean())  # negative control: without weights it is mean field
    assert abs(plain - exact.composition[1]) > 4 * gold.stderr


def test_it_holds_sites_and_scans():
    system = enumerable("cuau-2x2x2")
    model = MeanField(system.hamiltonian, system.ranges())
    held = alloygen.sample(system.hamiltonian, 900.0, {"Au": 0.0}, n=50, sampler=model, fixed={0: "Au", 3: "Cu"})
    assert (held.occ[:, 0] == 1).all() and (held.occ[:, 3] == 0).all()
    scan = alloygen.scan(system.hamiltonian, [700.0, 900.0], {"Au": [0.0, 0.05]}, n=50, sampler=model)
    assert len(scan) == 4 and scan.method == "neural"
