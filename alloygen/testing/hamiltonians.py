"""Whether a Hamiltonian is one function of the configuration, however it is asked: the slow, obvious energy against every other way."""

from __future__ import annotations

import numpy as np
import torch

from alloygen.arguments import whole_number
from alloygen.arrays import as_array, as_tensor
from alloygen.errors import AlloygenError
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.hamiltonian.flips import fill_states, flip_energy, set_species
from alloygen.lattice import Lattice

TOLERANCE = 1e-9  # of energies, relative to the largest


def check_hamiltonian(h: Hamiltonian, *, n: int = 32, seed: int = 0, symmetric: bool = True) -> None:
    """Hold every energy of a Hamiltonian against its plainest one, on n random configurations.

    - E(x) in compiled code is E(x) in torch, float64, finite, and that of a row does not depend on its batch
    - E(x') - E(x) of substitutions is that of ``change``, of ``site_energies`` and of the flip tables that Monte Carlo walks on
    - the sum along any order, E_0 + sum_t f_t, is E(x)
    - N_k(x) counts the atoms, N in all; adding c to every mu adds -c N / kT to u = (E - mu.N) / kT
    - translations leave E(x) alone, point operations of the lattice too (on 3 x 3 x 3 primitive cells, which have them all); the cell twice
      as long has twice the energy
    - the expansion written to a dict and read again is the same

    Parameters
    ----------
    h : of any supercell with a site that can change; a small one is quick
    n : configurations; seed : of their random numbers
    symmetric : the expansion has every point operation of its lattice, as one of a crystal has; False where it is meant to have fewer

    Raises AssertionError that names the first of these that does not hold.

    Examples
    --------
    >>> import alloygen.data
    >>> check_hamiltonian(alloygen.data.cuau().on((2, 2, 4)))
    """
    if not isinstance(h, Hamiltonian):
        raise AlloygenError(
            f"expected a Hamiltonian on a supercell, got {type(h).__name__}. Write expansion.on((2, 2, 2))"
        )
    n = whole_number(n, "n, the number of configurations,", 2)
    free = np.flatnonzero(h.lattice.changeable)
    if not len(free):
        raise AlloygenError(f"expected a site that can change, got none in {h.lattice!r}")
    generator = torch.Generator().manual_seed(seed)
    occ = h.random(n, generator)
    _energies(h, occ)
    _substitutions(h, occ, free, generator)
    _flips(h, occ[0], free, seed)
    _orders(h, occ, generator)
    _numbers(h, occ)
    _symmetries(h, occ, symmetric)
    _copies(h, occ)


def _same(got: torch.Tensor, expected: torch.Tensor, what: str, look: str, scale: float = 0.0) -> None:
    """AssertionError where numbers differ by more than rounding; ``scale`` is of the numbers that they were made of."""
    if got.dtype != torch.float64 or got.shape != expected.shape:
        raise AssertionError(
            f"{what}: expected {tuple(expected.shape)} float64, got {tuple(got.shape)} {got.dtype}. Look at {look}"
        )
    if not got.numel():
        return
    difference = (got - expected).abs()
    size = max(float(expected.abs().max()), scale, 1e-6)
    if not float(difference.max()) <= TOLERANCE * size:  # nan too
        k = int(difference.nan_to_num(torch.inf).flatten().argmax())
        raise AssertionError(
            f"{what}: expected {expected.flatten()[k]:.12g}, got {got.flatten()[k]:.12g}. Look at {look}"
        )


def _energies(h: Hamiltonian, occ: torch.Tensor) -> None:
    energy = h.energy(occ)
    if energy.dtype != torch.float64 or energy.shape != (len(occ),) or not bool(energy.isfinite().all()):
        raise AssertionError(
            f"energy(occ): expected {len(occ)} finite float64 numbers, got {tuple(energy.shape)} {energy.dtype}, "
            f"{int((~energy.isfinite()).sum())} of them not finite. Look at the ECIs and the site functions"
        )
    _same(h.energy_torch(occ), energy, "energy_torch(occ) against energy(occ)", "hamiltonian/kernels.py and `clusters`")
    alone = torch.cat([h.energy(row[None]) for row in occ])
    _same(alone, energy, "energy of a row alone against that in a batch", "what one call leaves behind for the next")


def _substitutions(h: Hamiltonian, occ: torch.Tensor, free: np.ndarray, generator: torch.Generator) -> None:
    n, S = len(occ), as_tensor(h.lattice.n_species)
    sites = as_tensor(free)[torch.randint(len(free), (n,), generator=generator)]
    old = occ.gather(1, sites[:, None])[:, 0]
    new = (old + 1 + (torch.rand(n, generator=generator) * (S[sites] - 1)).long()) % S[sites]
    other = occ.scatter(1, sites[:, None], new[:, None])
    energy = h.energy(occ)
    expected, size = h.energy(other) - energy, float(energy.abs().max())
    look = "the terms of a site (`term_*`): each cluster must be listed at each of its members"
    _same(h.change(occ, sites, new), expected, "change(occ, sites, species) against E(x') - E(x)", look, size)
    local = h.site_energies(occ)[torch.arange(n), sites]
    got = (local.gather(1, new[:, None]) - local.gather(1, old[:, None]))[:, 0]
    _same(got, expected, "differences of site_energies(occ) against E(x') - E(x)", look, size)
    change, rows = h.counts(other) - h.counts(occ), torch.arange(n)
    index = as_tensor(h.lattice.site_elements)[sites]
    wanted = torch.zeros_like(change)
    wanted[rows, index[rows, new]] += 1.0
    wanted[rows, index[rows, old]] -= 1.0
    _same(change, wanted, "counts(x') - counts(x) of a substitution", "the order of elements and of species")


def _flips(h: Hamiltonian, start: torch.Tensor, free: np.ndarray, seed: int, steps: int = 200) -> None:
    """Along a random walk, so that the states of the tables have been changed many times before the end."""
    tables, rng = h.flip_tables, np.random.default_rng(seed)
    x, states = as_array(start, np.int8), np.zeros(h.n_sites * h.flip_tables.n_words, dtype=np.int64)
    fill_states(tables, x, states)
    walk, fast = [x.copy()], []
    for _ in range(steps):
        i = int(rng.choice(free))
        new = int(rng.integers(h.lattice.n_species[i] - 1))
        new += new >= x[i]
        fast.append(flip_energy(tables, states, tables.n_words, i, int(x[i]), new))
        set_species(tables, x, states, i, new)
        walk.append(x.copy())
    energy = as_tensor(h.energy(np.stack(walk)))
    size = float(energy.abs().max())
    look = "hamiltonian/flips.py and what it is built from (`term_*`, `site_functions`)"
    _same(as_tensor(fast, torch.float64), energy.diff(), "flip tables against E(x') - E(x)", look, size)


def _orders(h: Hamiltonian, occ: torch.Tensor, generator: torch.Generator) -> None:
    order = torch.argsort(torch.rand(occ.shape, generator=generator), 1)
    steps = h.along(occ, order).gather(2, occ.gather(1, order)[..., None])[..., 0]
    energy = h.energy(occ)
    look = "`constant`, and that each cluster counts at the member decided last"
    _same(h.constant + steps.sum(1), energy, "E_0 + sum of along(occ, order) against E(x)", look)


def _numbers(h: Hamiltonian, occ: torch.Tensor) -> None:
    counts, lattice = h.counts(occ), h.lattice
    element = lattice.element_index[lattice.sublattice, as_array(occ)]
    wanted = np.stack([np.bincount(row, minlength=len(h.elements)) for row in element])
    look = "`lattice.element_index`, and that elements are named in the order of the primitive cell"
    _same(counts, as_tensor(wanted, torch.float64), "counts(occ) against the atoms of each element", look)
    T, mu = 1.0 / h.kB, torch.linspace(-0.3, 0.7, len(h.elements), dtype=torch.float64)
    gained = h.reduced_energy(occ, h.condition(T, mu + 1.0)) - h.reduced_energy(occ, h.condition(T, mu))
    expected = torch.full_like(gained, -float(h.n_sites))
    _same(gained, expected, "u at mu + 1 less u at mu, kT = 1, against -N", "reduced_energy and counts")


def _symmetries(h: Hamiltonian, occ: torch.Tensor, symmetric: bool) -> None:
    """Translations of the cell, and point operations of one that has them all, three primitive cells along every axis."""
    cases = [("translations", h, h.lattice.translations, occ)]
    if symmetric:
        primitive = h.lattice.primitive
        cube = h.expansion.on(np.where(primitive.pbc, 3, 1))
        name = "point operations of the lattice (symmetric=False if they are not meant to)"
        cases.append((name, cube, cube.lattice.point_operations, cube.random(4, torch.Generator().manual_seed(0))))
    for name, cell, group, x in cases:
        moved = x[:, torch.argsort(as_tensor(group), dim=1)]
        images, energy = cell.energy(moved.flatten(0, 1)).view(len(x), -1), cell.energy(x)
        look = "the members of the orbits: one of the images is missing, or counted twice"
        _same(images, energy[:, None].expand_as(images), f"E(x) moved by {name} against E(x)", look)


def _copies(h: Hamiltonian, occ: torch.Tensor) -> None:
    own, expansion = h.lattice, h.expansion
    axis = int(np.flatnonzero(own.primitive.pbc)[0])
    long = Lattice(own.primitive, np.where(np.arange(3)[:, None] == axis, 2, 1) * own.matrix)
    twice = occ[:, as_tensor(own.index(long.offsets, long.sublattice))]
    doubled, energy = expansion.on(long), h.energy(occ)
    look = "energies per cell that depend on the supercell, and clusters that meet their own images"
    _same(doubled.energy(twice), 2.0 * energy, "E of the cell twice as long against 2 E", look)
    again = type(expansion).from_dict(expansion.to_dict())  # type: ignore[attr-defined]
    if again.fingerprint != expansion.fingerprint:
        raise AssertionError(
            "from_dict(to_dict()): expected the same fingerprint, got another. Look at what to_dict leaves out"
        )
    _same(again.on(own).energy(occ), energy, "E of the expansion written and read against E", "what to_dict leaves out")
