"""Checkpoints of models: one safetensors file with JSON metadata. Loading one can run no code.

The metadata hold the format version, the kind and size of the model, the Hamiltonian itself and its fingerprint, the
lattice, the trained ranges and orders, the configuration, and what was measured on the model.
"""

from __future__ import annotations

import os
from dataclasses import astuple, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from alloygen.errors import CheckpointError
from alloygen.runtime.documents import FAULTS
from alloygen.runtime.tensors import read_metadata, read_tensors, version_of, write_tensors
from alloygen.types import PathLike

if TYPE_CHECKING:
    from alloygen.hamiltonian.cluster import Hamiltonian
    from alloygen.hamiltonian.expansion import ClusterExpansion
    from alloygen.lattice import Lattice
    from alloygen.models.base import Network, Trained


FORMAT = "alloygen model"


@dataclass(frozen=True, kw_only=True, eq=False)
class Header:
    """What a checkpoint says of its model: enough to choose by, before any network is built."""

    path: str
    metadata: dict
    expansion: ClusterExpansion
    lattice: Lattice

    @cached_property
    def hamiltonian(self) -> Hamiltonian:
        return self.expansion.on(self.lattice)

    @property
    def any_cell(self) -> bool:
        """Does the model serve every supercell, not this one alone?"""
        from alloygen.models import MODELS
        from alloygen.models.base import AnyCell

        return issubclass(MODELS[self.metadata["kind"]], AnyCell)


def model_metadata(model: Network, extra: dict | None = None) -> dict:
    """What a model's checkpoint says about it."""
    h = model.hamiltonian
    return {
        "format": FORMAT,
        "version": version_of(FORMAT),
        "kind": model.kind,
        "model": model.config(),
        "ranges": model.ranges,
        "hamiltonian": h.expansion.to_dict(),
        "fingerprint": h.fingerprint,
        "lattice": h.lattice.to_dict(),
        **({"name": model.trained.name} if model.trained.name else {}),
        "orders": dict(model.trained.orders.weights),
        "images": model.trained.orders.images,
        **({"forward": [list(astuple(row)) for row in model.trained.measured]} if model.trained.measured else {}),
        **(extra or {}),
    }


def save_model(path: PathLike, model: Network, **extra: Any) -> None:
    """Write a model, its weights as ``model.stored``, and what is known of its training; ``extra`` (configuration, measured figures, ...)
    goes into the metadata."""
    tensors = {k: v.to(model.stored) for k, v in model.state_dict().items()}
    write_tensors(path, tensors, model_metadata(model, extra))


def load_model(
    path: PathLike, hamiltonian: Hamiltonian | ClusterExpansion | None = None, device: str = "cpu"
) -> Network:
    """Read a model, what is known of its training (``model.trained``) and the rest of its metadata (``model.metadata``).

    Parameters
    ----------
    path : checkpoint file
    hamiltonian : Hamiltonian or ClusterExpansion that the checkpoint must have been made for (None: the one inside)
    """
    tensors, meta = read_tensors(path, device)
    header = _header(meta, path)
    try:
        return _built(tensors, header, hamiltonian).to(device).eval()
    except CheckpointError:
        raise
    except FAULTS as error:
        raise _changed(path, error) from error


def read_header(path: PathLike) -> Header:
    """The header of a model's checkpoint; CheckpointError for what is none, as :func:`load_model`, but for its weights."""
    return _header(read_metadata(path), path)


def _header(meta: dict, path: PathLike) -> Header:
    from alloygen.hamiltonian.expansion import ClusterExpansion
    from alloygen.lattice import Lattice

    require_model(meta, path)
    try:
        expansion, lattice = ClusterExpansion.from_dict(meta["hamiltonian"]), Lattice.from_dict(meta["lattice"])
        if expansion.fingerprint != meta["fingerprint"]:
            raise CheckpointError(
                f"{path}: the Hamiltonian inside has fingerprint {expansion.fingerprint}, the metadata say {meta['fingerprint']}: "
                "the file was changed after it was written. Use the original."
            )
        shapes = [np.shape(np.asarray(meta["ranges"][key], dtype=float)) for key in ("T", "mu")]
        if shapes != [(2,), (len(expansion.elements) - 1, 2)]:
            raise CheckpointError(
                f"{path}: expected the trained ranges of T and of each mu, got {meta['ranges']}. Use the original."
            )
    except CheckpointError:
        raise
    except FAULTS as error:
        raise _changed(path, error) from error
    if not (
        np.isfinite(ranges := np.concatenate([np.ravel(meta["ranges"][k]) for k in ("T", "mu")]).astype(float)).all()
    ):
        raise CheckpointError(f"{path}: expected finite trained ranges, got {ranges.tolist()}. Use the original.")
    return Header(path=os.fspath(path), metadata=meta, expansion=expansion, lattice=lattice)


def _changed(path: PathLike, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"{path}: expected the metadata of a model, got some that make none ({type(error).__name__}: {error}). Use the original."
    )


def require_model(meta: dict, path: PathLike) -> None:
    """Refuse the metadata of what is no model: a Monte Carlo run, training data, a training state, a kind that is not known."""
    from alloygen.models import MODELS

    if meta["format"] != FORMAT or meta.get("kind") not in list(MODELS):
        raise CheckpointError(
            f"expected a model of a kind in {sorted(MODELS)}, got {meta['format']!r} of kind {meta.get('kind')!r} in {path}"
        )


def _built(tensors: dict, header: Header, hamiltonian: Hamiltonian | ClusterExpansion | None) -> Network:
    from alloygen.models import MODELS
    from alloygen.models.base import own_random_state

    path, meta, expansion = header.path, header.metadata, header.expansion
    if hamiltonian is not None and hamiltonian.fingerprint != expansion.fingerprint:
        raise CheckpointError(
            f"expected a checkpoint of the Hamiltonian {hamiltonian.fingerprint}, got one of {expansion.fingerprint} "
            f"({expansion.name}) in {path}. Train one with `alloygen train`, or use the expansion of the checkpoint."
        )
    _require_size(tensors, meta["model"], path)
    with own_random_state():
        model = MODELS[meta["kind"]](header.hamiltonian, meta["ranges"], **meta["model"])
    own_kinds = {k: v.dtype for k, v in model.state_dict().items()}
    own, given = ({k: tuple(v.shape) for k, v in part.items()} for part in (model.state_dict(), tensors))
    differ = sorted(k for k in own.keys() | given.keys() if own.get(k) != given.get(k))
    if differ:
        raise CheckpointError(
            f"{path}: expected the tensors of the model, these differ in name or shape: {differ[:5]}. Use the original."
        )
    broken = sorted(k for k, v in tensors.items() if not bool(v.isfinite().all()))
    if broken:
        raise CheckpointError(f"{path}: expected finite numbers, got others in {broken[:5]}. Use the original.")
    kinds = sorted(k for k, v in tensors.items() if v.dtype not in (model.stored, own_kinds[k]))
    if kinds:
        raise CheckpointError(
            f"{path}: expected weights as {model.stored}, got {[(k, str(tensors[k].dtype)) for k in kinds[:3]]}. Use the original."
        )
    model.load_state_dict(tensors)
    model.trained, model.metadata = _trained(meta), meta
    return model


LARGEST_OPTION = 4096  # of a model, where no tensor of the file has an axis as long


def _require_size(tensors: dict, options: dict, path: PathLike) -> None:
    """CheckpointError for options of a network that is larger than the tensors of the file, before any of it is allocated."""
    most = max([LARGEST_OPTION, *(n for v in tensors.values() for n in v.shape)])
    numbers = {k: v for k, v in options.items() if isinstance(v, int) and abs(v) > most}
    if numbers:
        raise CheckpointError(
            f"{path}: expected options of the model that fit its tensors, got {numbers}. Use the original."
        )


def _trained(meta: dict) -> Trained:
    """What the metadata say of the training."""
    from alloygen.models.base import Measured, Trained
    from alloygen.orders import Orders

    orders = Orders(weights=meta.get("orders", {"sublattice": 1.0}), images=meta.get("images", "translations"))
    measured = tuple(
        Measured(int(sites), float(T), tuple(map(float, mu)), float(ness), float(forward))
        for sites, T, mu, ness, forward in meta.get("forward", [])
    )
    elements = len(meta["ranges"]["mu"])
    for row in measured:
        if not (
            row.sites > 0 and 0 < row.T < np.inf and 0 <= min(row.ness, row.forward) <= max(row.ness, row.forward) <= 1
        ):
            raise ValueError(f"expected figures of a condition, got {row}")
        if len(row.mu) != elements or not np.isfinite(row.mu).all():
            raise ValueError(f"expected {elements} chemical potentials of a condition, got {row}")
    return Trained(name=str(meta.get("name", "")), orders=orders, measured=measured)
