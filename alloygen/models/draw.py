"""Drawing many configurations from a model at one condition, along orders of a family that it was trained on."""

from __future__ import annotations

import torch

from alloygen import orders
from alloygen.models.base import Model
from alloygen.progress import tqdm
from alloygen.types import ArrayLike


def trained_family(model: Model) -> str:
    """The order family that the model was trained on most."""
    trained = getattr(model, "metadata", {}).get("orders", {"sublattice": 1.0})
    return max(trained, key=trained.get)


def trained_orders(model: Model, n: int, generator: torch.Generator, family: str | None = None) -> torch.Tensor:
    """n orders (n, N) of a family (None: ``trained_family``), moved by random translations, or not moved at all where
    the model was trained so (a fixed-order model)."""
    images = "none" if getattr(model, "metadata", {}).get("images") == "none" else "translations"
    return orders.draw(family or trained_family(model), model.hamiltonian.lattice, n, generator, images)


def draw(
    model: Model,
    T: float,
    mu: torch.Tensor | ArrayLike,
    n: int,
    generator: torch.Generator,
    *,
    family: str | None = None,
    batch: int = 1000,
    progress: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(occ (n, N), log_prob (n,)) at one condition T, mu (n_elements,), ``batch`` configurations at a time."""
    parts = []
    with tqdm(total=n, desc="sampling", disable=not progress) as bar:
        for start in range(0, n, batch):
            b = min(batch, n - start)
            order = trained_orders(model, b, generator, family)
            temperatures = torch.full((b,), T, dtype=torch.float64)
            parts.append(model.sample(temperatures, torch.as_tensor(mu).expand(b, -1), order, generator))
            bar.update(b)
    occ, log_prob = (torch.cat(x) for x in zip(*parts, strict=True))
    return occ, log_prob
