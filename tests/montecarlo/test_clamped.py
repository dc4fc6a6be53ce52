"""Labels along a chain: unbiased for the conditional given what is decided, with less noise than the heat bath of the sample."""

import numpy as np
import torch
from small_systems import enumeration, hamiltonian

from alloygen.arrays import as_array
from alloygen.levels import Levels
from alloygen.montecarlo.clamped import Clamping, clamped_conditionals
from alloygen.testing import SYSTEMS

ROWS = 20_000


def symmetries(h):
    """All symmetries (G, N) of the law."""
    points, translations = h.symmetries
    return np.concatenate([t[points] for t in translations])


def labels(name, sweeps, seed=0, colder=1.0, images=None, share=0.75):
    """(z of the mean label of every step and decided pattern that is met often, mean variance of labels), against enumeration."""
    h, exact = hamiltonian(name), enumeration(name)
    images, share = (images, share) if images is not None else (np.zeros((0, h.n_sites), dtype=np.int64), 0.0)
    low, high = SYSTEMS[name].ranges()["T"]
    at = h.condition((low * high) ** 0.5, torch.zeros(len(h.elements)))
    occ = as_array(exact.occ)
    p = torch.softmax(-h.reduced_energy(torch.as_tensor(occ).long(), at), 0).numpy()
    order = Levels(h.lattice, 2, 6).order
    pick = np.random.default_rng(seed).choice(len(occ), ROWS, p=p / p.sum())
    mu = np.zeros((ROWS, len(h.elements)))
    found = clamped_conditionals(h, occ[pick], np.full(ROWS, colder * float(at.beta)), mu, np.tile(order, (ROWS, 1)),
                                 Clamping(order, np.argsort(order), h.lattice.displacements[0], images, np.full(h.n_sites, share)), sweeps, seed)  # fmt: skip
    z, spread = [], []
    for t, site in enumerate(order):
        if h.lattice.n_species[site] == 1:
            continue
        key = (
            np.unique(occ[:, order[:t]], axis=0, return_inverse=True)[1].ravel() if t else np.zeros(len(occ), dtype=int)
        )
        for k in np.unique(key):
            rows, same = key[pick] == k, key == k
            v = found[rows, t, 1]
            if len(v) > 200 and v.std() > 1e-6:
                truth = p[same & (occ[:, site] == 1)].sum() / p[same].sum()
                z.append((v.mean() - truth) / (v.std() / len(v) ** 0.5))
                spread.append(v.var())
    return np.array(z), float(np.mean(spread))


def test_labels_have_the_right_mean(system):
    z, _ = labels(system, 4)
    assert len(z) > 3 and abs(z.mean()) < 4 / len(z) ** 0.5 and z.std() < 1.4 and abs(z).max() < 5


def test_a_chain_takes_noise_out():
    noise = [labels("cuau-skew", sweeps)[1] for sweeps in (0, 4, 32)]
    assert noise[0] > 1.1 * noise[1] > 1.2 * noise[2]


def test_images_keep_the_mean_and_take_noise_out(system):
    h = hamiltonian(system)
    z, _ = labels(system, 1, images=symmetries(h))
    assert len(z) > 3 and abs(z.mean()) < 4 / len(z) ** 0.5 and z.std() < 1.4 and abs(z).max() < 5
    assert labels(system, 0, images=symmetries(h), share=1.0)[1] < labels(system, 0)[1]


def test_images_that_are_no_symmetries_are_told_apart():
    """Negative control: permutations that leave no energy alone give other means."""
    h, rng = hamiltonian("cuau-skew"), np.random.default_rng(0)
    z, _ = labels("cuau-skew", 1, images=np.stack([rng.permutation(h.n_sites) for _ in range(40)]), share=1.0)
    assert z.std() > 2 and abs(z).max() > 6


def test_labels_of_another_temperature_are_told_apart():
    """Negative control: the same test fails for chains that are a fifth too hot."""
    z, _ = labels("cuau-skew", 4, colder=0.8)
    assert z.std() > 2 and abs(z).max() > 6


def test_same_seed_same_labels():
    h, occ = hamiltonian("ising-3"), as_array(enumeration("ising-3").occ)[:50]
    made = [clamped_conditionals(h, occ, np.ones(50), np.zeros((50, 2)), np.tile(np.arange(9), (50, 1)),
                                 Clamping(np.arange(9), np.arange(9), h.lattice.displacements[0], symmetries(h), np.full(9, 0.5)), 3, seed) for seed in (1, 1, 2)]  # fmt: skip
    assert np.array_equal(made[0], made[1]) and not np.array_equal(made[0], made[2])
    assert np.allclose(made[0].sum(2), 1)
