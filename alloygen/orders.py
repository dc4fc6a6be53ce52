"""Orders in which an any-order model decides the sites.

An order is a permutation (B, N): ``order[b, t]`` is the site decided at step t. A family is a named rule; its images
under the symmetries of the lattice are drawn at random, so that every translate of an ordered phase can be reached.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from numbers import Real

import numpy as np
import torch

from alloygen.arguments import one_of
from alloygen.arrays import as_tensor
from alloygen.errors import AlloygenError
from alloygen.lattice import Lattice
from alloygen.levels import Levels, upright

FAMILIES = ("levels", "sublattice", "raster", "random")
IMAGES = ("none", "translations", "all")


@dataclass(frozen=True, kw_only=True)
class Orders:
    """The orders that a model is trained on.

    weights : of the families, by name; images : the symmetry images that an order is moved by, "none", "translations" or "all"

    Raises AlloygenError for a family that is not known, negative weights, or none above 0.

    Examples
    --------
    >>> Orders(weights={"random": 2.0, "sublattice": 1.0}).family
    'random'
    """

    weights: Mapping[str, float] = field(default_factory=lambda: {"sublattice": 1.0})
    images: str = "translations"

    def __post_init__(self) -> None:
        one_of(self.images, "images", IMAGES)
        w = self.weights
        numbers = isinstance(w, Mapping) and all(isinstance(x, Real) and 0 <= x < float("inf") for x in w.values())
        if not numbers or not set(w) <= set(FAMILIES) or not sum(w.values()) > 0:
            raise AlloygenError(f"expected weights >= 0 of families among {FAMILIES}, got {w!r}")

    @property
    def family(self) -> str:
        """The family of the largest weight."""
        return max(self.weights, key=lambda name: self.weights[name])

    @property
    def fixed(self) -> bool:
        """Are orders not moved at all?"""
        return self.images == "none"

    def draw(self, lattice: Lattice, n: int, generator: torch.Generator) -> torch.Tensor:
        """n orders (n, N), each of a random family in proportion to its weight and moved by a random image."""
        families = sorted(self.weights)
        weights = torch.tensor([float(self.weights[f]) for f in families])
        pick = torch.multinomial(weights, n, replacement=True, generator=generator)
        order = torch.empty(n, lattice.n_sites, dtype=torch.long)
        for k, family in enumerate(families):
            rows = (pick == k).nonzero()[:, 0]
            if len(rows):
                order[rows] = draw(family, lattice, len(rows), generator, self.images)
        return order


LEVELS = Orders(weights={"levels": 1.0}, images="none")  # of a law that knows no others


def draw(
    family: str, lattice: Lattice, n: int, generator: torch.Generator, images: str = "translations"
) -> torch.Tensor:
    """n orders (n, N) of a family, each moved by a random symmetry of the lattice.

    family : "levels" (coarse to fine, :mod:`alloygen.levels`), "sublattice" (one coarse sublattice after another, far ones first), "raster", or "random"
    images : "none", "translations", or "all" (translations and point operations)

    Examples
    --------
    >>> import alloygen, torch
    >>> lattice = alloygen.data.cuau().on((2, 2, 4)).lattice
    >>> draw("raster", lattice, 1, torch.Generator(), images="none")[0, :4].tolist()
    [0, 1, 2, 3]
    """
    if family not in FAMILIES or images not in IMAGES:
        raise AlloygenError(f"expected a family in {FAMILIES} and images in {IMAGES}, got {family!r} and {images!r}")
    device = generator.device
    if family == "random":
        return torch.argsort(torch.rand(n, lattice.n_sites, generator=generator, device=device), dim=1)
    rules: dict[str, Callable[[Lattice], np.ndarray]] = {
        "levels": levels_order,
        "sublattice": sublattice_order,
        "raster": lambda x: np.arange(x.n_sites),
    }
    base = as_tensor(rules[family](lattice), device=device)
    order = base.expand(n, -1)
    for group in symmetry_moves(lattice, images):
        moves = as_tensor(group, device=device)
        pick = torch.randint(len(moves), (n,), generator=generator, device=device)
        order = torch.gather(moves[pick], 1, order)
    return order.contiguous()


def symmetry_moves(lattice: Lattice, images: str) -> list[np.ndarray]:
    """The site permutations that ``images`` stands for, as groups to draw from one after another."""
    groups = {"none": [], "translations": ["translations"], "all": ["point_operations", "translations"]}[images]
    return [getattr(lattice, g) for g in groups]


@lru_cache(maxsize=8)
def levels_order(lattice: Lattice) -> np.ndarray:
    """Coarse to fine, see :mod:`alloygen.levels`."""
    own, row = upright(lattice)
    return np.argsort(row)[Levels(own, 1, 0).order]


def sublattice_order(lattice: Lattice) -> np.ndarray:
    """Coarse sublattices (cell offsets modulo 2) one after another, raster order inside each.

    The next coarse sublattice is the one whose sites are farthest from those already placed. On fcc this walks
    through the four simple cubic sublattices of L1_2; on the square lattice it is the checkerboard.
    """
    classes = np.column_stack([lattice.offsets % 2, lattice.sublattice])
    names, label = np.unique(classes, axis=0, return_inverse=True)
    label = label.ravel()
    first = np.array([np.flatnonzero(label == k)[0] for k in range(len(names))])
    positions = lattice.positions
    distance = np.empty((len(names), len(names)))
    for a in range(len(names)):
        vectors = lattice.minimum_image(positions - positions[first[a]])
        length = np.linalg.norm(vectors, axis=1).round(6)
        for b in range(len(names)):
            distance[a, b] = length[label == b].min()
    placed, rest = [0], list(range(1, len(names)))
    while rest:
        best = max(rest, key=lambda k: tuple(np.sort(distance[k, placed])))
        placed.append(best)
        rest.remove(best)
    rank = np.argsort(placed)
    return np.lexsort((np.arange(lattice.n_sites), rank[label]))


def known_sets(lattice: Lattice, n: int, generator: torch.Generator) -> torch.Tensor:
    """Random sets of sites (n, N) bool that a use may fix: a third each scattered sites, boxes (layers among them) and all but a box.

    Boxes are intervals of random place and length along each axis of the supercell, round its periodic boundary.
    """
    device, sites = generator.device, lattice.n_sites
    uniform = lambda *shape: torch.rand(*shape, generator=generator, device=device, dtype=torch.float64)  # noqa: E731
    kind = torch.randint(3, (n, 1), generator=generator, device=device)
    scattered = uniform(n, sites) < uniform(n, 1)
    place = as_tensor(lattice.fractional, device=device)
    along = torch.remainder(place[None] - uniform(n, 1, 3), 1.0) < uniform(n, 1, 3)
    single = as_tensor(np.ptp(lattice.fractional, axis=0) < 1e-9, device=device)
    box = (along | single).all(2)
    return torch.where(kind == 0, scattered, torch.where(kind == 1, box, ~box))


def known_first(order: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """The same orders with the ``known`` sites (B, N bool) moved to the front, otherwise in their sequence."""
    is_known = torch.gather(known, 1, order)
    return torch.gather(order, 1, torch.argsort((~is_known).to(torch.uint8), dim=1, stable=True))
