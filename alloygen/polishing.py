"""A network for every alloy of a lattice, made better for one of them by a few minutes of training."""

from __future__ import annotations

import json
import re
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import numpy as np
import torch

from alloygen.arguments import seed_from
from alloygen.data import checkpoints, own_folder
from alloygen.edge.problem import AtomsLike, HamiltonianLike, Problem
from alloygen.errors import AlloygenError, LatticeMismatch, NotConverged
from alloygen.estimate.weights import user_level
from alloygen.hamiltonian.expansion import ClusterExpansion
from alloygen.hamiltonian.parents import canonical
from alloygen.hamiltonian.scale import scale
from alloygen.models.family import FamilyModel, ZeroShot
from alloygen.models.store import load_model
from alloygen.registry import family_of
from alloygen.runtime.tensors import read_tensors
from alloygen.types import PathLike

TEMPERATURES = (0.6, 5.0)  # in multiples of the scale of the alloy
N_T, N_MU, MARGIN = 14, 21, 3.0
OBJECTIVE = {"kind": "patches", "per_kind": 1, "hard": 0.6, "hard_every": 500, "known": 0.15, "foreign": 0.3}
TRAINING = {
    "steps": 10**7,
    "batch": 256,
    "precision": "bf16",
    "lr": 7e-4,
    "warmup": 50,
    "weight_decay": 1e-4,
    "clip": 5.0,
    "ema": 0.998,
}


def polish(
    atoms: AtomsLike,
    mu: object = None,
    *,
    minutes: float = 2.0,
    hamiltonian: HamiltonianLike | None = None,
    T: tuple[float, float] | None = None,
    name: str | None = None,
    folder: PathLike | None = None,
    seed: int | None = 0,
    progress: bool = True,
) -> ZeroShot:
    """Train the network for every alloy of a lattice on one of them, and keep it: from then on ``sample`` takes it for this alloy by itself.

    Maximum likelihood on a fresh replica-exchange run on the supercell of ``atoms``, over the phases and the temperatures of the alloy. A second
    call goes on from what the first one made. The likelihoods of Monte Carlo samples before and after are compared, and the better law is kept.

    Parameters
    ----------
    atoms, hamiltonian : the supercell and the alloy, as :func:`alloygen.sample` takes them; any binary expansion of fcc, bcc, hcp, sc or square
    mu : {element: (low, high)} or (low, high) of the last element less the first, in the unit of the energy; None: as far as its phases go
    minutes : of training, the Monte Carlo run before it not counted
    T : (low, high); None: 0.6 to 5 times the temperature scale of the alloy (:func:`alloygen.hamiltonian.scale.scale`)
    name : of the model; None: that of the expansion
    folder : where it is kept; None: the user's models, ``$ALLOYGEN_MODELS`` or ``~/.alloygen/models``
    seed : of the samples and of the training

    Returns the law of the alloy on this supercell, which ``sample(..., sampler=law)`` takes, and any other supercell by ``law.on``.

    Raises
    ------
    LatticeMismatch : no network for the lattice is at hand
    AlloygenError : ranges that cannot be
    TrainingInterrupted : after Ctrl-C, everything saved; the same call goes on

    Warns
    -----
    NotConverged : the minutes did not help, and what was before is kept

    Examples
    --------
    >>> alloygen.polish(atoms, hamiltonian=mine, minutes=2)          # doctest: +SKIP
    """
    from alloygen.training.loop import train

    problem = Problem.of(atoms, {} if mu is None or not isinstance(mu, dict) else dict.fromkeys(mu, 0.0), hamiltonian)
    h, seed = problem.hamiltonian, seed_from(seed)
    found = family_of(h)  # a network that was polished for this alloy goes on
    if found is None:
        raise LatticeMismatch(
            f"expected a network for every alloy of the lattice of {h.expansion.name}, got none among {sorted(checkpoints())}; train a "
            "model of this alloy with alloygen.train"
        )
    family, path = found
    terms = canonical(cast(ClusterExpansion, h.expansion))
    own, (lattice, _) = scale(h), terms.on(h.lattice)
    low, high = _range(T, "T") if T is not None else tuple(x * own.T for x in TEMPERATURES)
    span = _span(h, mu) if mu is not None else own.beyond(MARGIN)
    name = name or re.sub(r"[^\w.+-]+", "_", h.expansion.name).strip("_") or "alloy"
    folder = Path(folder) if folder is not None else own_folder()
    run = folder / "runs" / f"{name}_{terms.expansion.fingerprint}"
    run.mkdir(parents=True, exist_ok=True)
    alloy = run / "alloy.json"
    alloy.write_text(json.dumps(terms.expansion.to_dict()))
    config = {
        "name": name,
        "system": {"hamiltonian": str(alloy), "repeats": lattice.matrix.tolist()},
        "data": {
            "T": np.geomspace(low, high, N_T).tolist(),
            "mu": np.linspace(*span, N_MU).tolist(),
            "samples": 100,
            "seed": seed,
        },
        "model": {"kind": "family", **family.config()},
        "objective": OBJECTIVE,
        "training": TRAINING | {"start": path, "minutes": minutes, "seed": seed},
        "validation": {"every": 10**7, "samples": 16},
    }
    made = train(config, run, progress=progress)
    polished = cast(FamilyModel, load_model(made))
    samples = read_tensors(run / "data.safetensors")[0]
    before, after = (_likelihood(f.on(terms.expansion.on(lattice)), samples) for f in (family, polished))
    if after > before:
        made.replace(folder / f"{name}.safetensors")  # whole or not at all
        family = polished
    else:
        warnings.warn(
            f"{minutes:g} minutes of polish did not help: log likelihood {before:.4f} nats a site of Monte Carlo samples before, {after:.4f} after. "
            "What was before is kept; give more minutes, or a quieter machine.",
            NotConverged,
            stacklevel=user_level(),
        )
    shutil.rmtree(run)
    return ZeroShot(family, h)


@torch.no_grad()
def _likelihood(law: FamilyModel, samples: Mapping[str, torch.Tensor], most: int = 1000) -> float:
    """Mean log q (nats a site) of samples of p. What it gains is what KL(p | q) loses, so that phases which the law forgets count: of the law's
    own draws NESS would be 1 if they were one and the same."""
    n_conditions, n, n_sites = samples["occ"].shape
    rows = torch.linspace(0, n_conditions * n - 1, most).long()
    at = law.hamiltonian.condition(samples["T"], samples["mu"])[rows // n]
    log_q = law.log_prob(samples["occ"].flatten(0, 1)[rows].long(), at, law.placed.order.expand(most, -1))
    return float(log_q.mean()) / n_sites


def _range(given: object, what: str) -> tuple[float, float]:
    try:
        low, high = map(float, given)  # type: ignore[call-overload]
    except (TypeError, ValueError):
        low, high = np.nan, np.nan
    if not low < high or (what == "T" and low <= 0):
        raise AlloygenError(
            f"expected {what} as (low, high), low below high{' and above 0' * (what == 'T')}, got {given!r}"
        )
    return low, high


def _span(h, mu: object) -> tuple[float, float]:
    """(low, high) of mu of the second species less the first."""
    if isinstance(mu, dict):
        if len(mu) != 1 or not set(mu) <= set(h.elements):
            raise AlloygenError(
                f"expected mu of one of the elements {h.elements} as {{element: (low, high)}}, got {mu!r}"
            )
        ((element, span),) = mu.items()
        low, high = _range(span, f"mu of {element}")
        return (low, high) if h.elements.index(element) == 1 else (-high, -low)
    return _range(mu, "mu")
