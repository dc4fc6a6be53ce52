"""Drawing many configurations from a model at one condition, along orders of a family that it was trained on."""

from __future__ import annotations

import torch

from alloygen import orders
from alloygen.conditions.record import Condition
from alloygen.models.base import Model
from alloygen.models.blocks import by_blocks, generators
from alloygen.runtime.progress import tqdm


def trained_orders(model: Model, n: int, generator: torch.Generator, family: str | None = None) -> torch.Tensor:
    """n orders (n, N) of a family (None: the one that the model was trained on most), moved by random translations, or not moved
    at all where the model was trained so (a fixed-order model, the law of any supercell)."""
    trained = model.trained.orders
    own = model.own_order
    if own is not None and family in (None, trained.family):
        return own.to(generator.device).expand(n, -1)
    images = "none" if trained.fixed else "translations"
    return orders.draw(family or trained.family, model.hamiltonian.lattice, n, generator, images)


def draw(
    model: Model,
    condition: Condition,
    n: int,
    generator: torch.Generator,
    *,
    family: str | None = None,
    batch: int | None = None,
    progress: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(occ (n, N), log_prob (n,)) at one condition.

    The first m of n are those of n = m from the same state of the generator, of which one number is taken. ``batch`` bounds how many
    are in work at once, in blocks of up to 128 (None: a block for each thread); like the number of threads it changes no result.
    """
    stream = generators(generator)

    def block(index):
        own, b = stream(int(index[0])), len(index)
        order = trained_orders(model, b, own, family)
        return model.sample(condition.expand(b), order, own)

    with torch.no_grad(), tqdm(total=n, desc="sampling", disable=not progress) as bar:
        return by_blocks(block, torch.arange(n), limit=batch, done=bar.update, largest=model.rows)
