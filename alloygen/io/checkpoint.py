"""Checkpoints: one safetensors file with JSON metadata. Loading one can run no code.

The metadata hold the format version, the kind and size of the model, the Hamiltonian itself and its fingerprint, the
lattice, the trained ranges and orders, the configuration, and what was measured on the model.
"""

from __future__ import annotations

import json
import os

from alloygen.errors import CheckpointError
from alloygen.io.atomic import atomic_path

FORMAT = "alloygen model"
VERSION = 1


def write_tensors(path, tensors: dict, metadata: dict) -> None:
    """Write tensors and metadata in one go: an interrupt or a full disk leaves an old file as it was."""
    from safetensors.torch import save_file

    plain = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    with atomic_path(path) as temporary:
        save_file(plain, os.fspath(temporary), metadata={"alloygen": json.dumps(metadata)})


def read_tensors(path, device: str = "cpu") -> tuple[dict, dict]:
    """(tensors, metadata) of a file, or a CheckpointError that says what is wrong with it."""
    from safetensors import SafetensorError, safe_open

    if not os.path.exists(path):
        raise CheckpointError(f"expected a checkpoint, found no file at {os.fspath(path)!r}")
    try:
        with safe_open(os.fspath(path), framework="pt", device=device) as f:
            metadata = json.loads((f.metadata() or {}).get("alloygen", "{}"))
            tensors = {k: f.get_tensor(k) for k in f.keys()}
    except (SafetensorError, json.JSONDecodeError, OSError) as error:
        raise CheckpointError(
            f"expected a whole safetensors checkpoint at {os.fspath(path)!r}, got a damaged or truncated file ({error}). "
            "Copy it again or train it anew."
        ) from None
    if metadata.get("format") is None:
        raise CheckpointError(
            f"expected a checkpoint written by alloygen, {os.fspath(path)!r} carries no alloygen metadata"
        )
    if metadata.get("version", 0) > VERSION:
        raise CheckpointError(
            f"expected a checkpoint of format version {VERSION} or older, got version {metadata['version']} in "
            f"{os.fspath(path)!r}. Update alloygen."
        )
    return tensors, metadata


def model_metadata(model, extra: dict | None = None) -> dict:
    """What a model's checkpoint says about it."""
    h = model.hamiltonian
    return {
        "format": FORMAT,
        "version": VERSION,
        "kind": model.kind,
        "model": model.config(),
        "ranges": model.ranges,
        "hamiltonian": h.expansion.to_dict(),
        "fingerprint": h.fingerprint,
        "lattice": h.lattice.to_dict(),
        **(extra or {}),
    }


def save_model(path, model, **extra) -> None:
    """Write a model; ``extra`` (configuration, measured figures, ...) goes into the metadata."""
    write_tensors(path, model.state_dict(), model_metadata(model, extra))


def load_model(path, hamiltonian=None, device: str = "cpu"):
    """Read a model and its metadata (``model.metadata``).

    Parameters
    ----------
    path : checkpoint file
    hamiltonian : Hamiltonian or ClusterExpansion that the checkpoint must have been made for (None: the one inside)
    """
    from alloygen.hamiltonian.expansion import ClusterExpansion
    from alloygen.lattice import Lattice
    from alloygen.models import MODELS

    tensors, meta = read_tensors(path, device)
    if meta["format"] != FORMAT or meta.get("kind") not in MODELS:
        raise CheckpointError(
            f"expected a model of a kind in {sorted(MODELS)}, got {meta['format']!r} of kind {meta.get('kind')!r} in {path}"
        )
    expansion = ClusterExpansion.from_dict(meta["hamiltonian"])
    if expansion.fingerprint != meta["fingerprint"]:
        raise CheckpointError(
            f"{path}: the Hamiltonian inside has fingerprint {expansion.fingerprint}, the metadata say {meta['fingerprint']}: "
            "the file was changed after it was written. Use the original."
        )
    if hamiltonian is not None and hamiltonian.fingerprint != expansion.fingerprint:
        raise CheckpointError(
            f"expected a checkpoint of the Hamiltonian {hamiltonian.fingerprint}, got one of {expansion.fingerprint} "
            f"({expansion.name}) in {path}. Train one with `alloygen train`, or use the expansion of the checkpoint."
        )
    model = MODELS[meta["kind"]](expansion.on(Lattice.from_dict(meta["lattice"])), meta["ranges"], **meta["model"])
    own, given = ({k: tuple(v.shape) for k, v in part.items()} for part in (model.state_dict(), tensors))
    differ = sorted(k for k in own.keys() | given.keys() if own.get(k) != given.get(k))
    if differ:
        raise CheckpointError(
            f"{path}: expected the tensors of the model, these differ in name or shape: {differ[:5]}. Use the original."
        )
    model.load_state_dict(tensors)
    model.metadata = meta
    return model.to(device).eval()
