"""Checkpoints: a round trip is exact, every kind of damage is named, and an interrupt leaves the old file."""

import dataclasses
import json

import pytest
import safetensors.torch
import torch
from small_systems import generator, hamiltonian, random_orders, randomise

from alloygen.errors import CheckpointError
from alloygen.models.base import Trained
from alloygen.models.causal import CausalModel
from alloygen.models.store import load_model, save_model
from alloygen.orders import Orders
from alloygen.runtime.tensors import read_metadata, read_tensors, version_of, write_tensors
from alloygen.testing import SYSTEMS


def model(name="cuau-2x2x2", seed=0):
    torch.manual_seed(seed)
    return randomise(CausalModel(hamiltonian(name), SYSTEMS[name].ranges(), width=16, depth=1, heads=2, neighbours=4))


@pytest.fixture
def path(tmp_path):
    save_model(tmp_path / "m.safetensors", model())
    return tmp_path / "m.safetensors"


def log_prob(net, name):
    h, at = hamiltonian(name), SYSTEMS[name].conditions()
    with torch.no_grad():
        return net.log_prob(h.random(4, generator()), at, random_orders(h, 4))


def rewrite(path, **metadata):
    """The same tensors with other metadata."""
    tensors, meta = read_tensors(path)
    safetensors.torch.save_file(tensors, path, metadata={"alloygen": json.dumps({**meta, **metadata})})


def test_a_round_trip_gives_the_same_law(system, tmp_path):
    net = model(system)
    net.trained = Trained(name="m", orders=Orders(weights={"raster": 2.0, "random": 3.0}, images="none"))
    save_model(tmp_path / "m.safetensors", net, measured={"ness": 0.5})
    again = load_model(tmp_path / "m.safetensors", hamiltonian(system))
    assert torch.equal(log_prob(again, system), log_prob(net, system))
    assert not torch.equal(log_prob(model(system, seed=1), system), log_prob(net, system))  # weights do matter
    assert not again.training
    assert again.metadata["measured"] == {"ness": 0.5} and again.config() == net.config() and again.ranges == net.ranges
    assert again.trained == net.trained and again.name == "m" and again.trained.orders.family == "random"
    assert again.hamiltonian.lattice.same_as(net.hamiltonian.lattice)
    assert again.hamiltonian.fingerprint == net.hamiltonian.fingerprint


def test_nothing_there(tmp_path):
    with pytest.raises(CheckpointError, match=r"found no file at .*none\.safetensors"):
        load_model(tmp_path / "none.safetensors")


@pytest.mark.parametrize("keep", [0, 4, 100, 0.5, 0.999])
def test_truncated_file(path, keep):
    whole = path.read_bytes()
    path.write_bytes(whole[: keep if isinstance(keep, int) else int(keep * len(whole))])
    with pytest.raises(CheckpointError, match="damaged or truncated"):
        load_model(path)


def test_text_and_pickles_are_refused(tmp_path):
    text, pickle = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    text.write_text("not a checkpoint at all, but long enough to have a header of eight bytes")
    torch.save({"a": torch.zeros(3)}, pickle)
    for file in (text, pickle):
        with pytest.raises(CheckpointError, match="damaged or truncated"):
            load_model(file)


def test_safetensors_of_another_program(tmp_path):
    path = tmp_path / "f.safetensors"
    for metadata in (None, {"format": "pt"}):
        safetensors.torch.save_file({"a": torch.zeros(3)}, path, metadata=metadata)
        with pytest.raises(CheckpointError, match="carries no alloygen metadata"):
            load_model(path)


def test_another_kind_of_file(tmp_path, path):
    write_tensors(tmp_path / "s.safetensors", {"a": torch.zeros(1)}, {"format": "alloygen samples", "version": 1})
    with pytest.raises(CheckpointError, match="'alloygen samples' of kind None"):
        load_model(tmp_path / "s.safetensors")
    rewrite(path, kind="diffusion")
    with pytest.raises(CheckpointError, match=r"kind in .*causal.*'diffusion'"):
        load_model(path)


def test_newer_version(path):
    rewrite(path, version=version_of("alloygen model") + 1)
    with pytest.raises(CheckpointError, match=r"version 1 or older, got version .*Update alloygen"):
        load_model(path)


def test_another_hamiltonian(path):
    other = hamiltonian("many-body")
    with pytest.raises(CheckpointError, match=f"Hamiltonian {other.fingerprint}, got one of"):
        load_model(path, other)
    with pytest.raises(CheckpointError, match=other.fingerprint):
        load_model(path, other.expansion)
    load_model(path, hamiltonian("cuau-1x2x4"))  # another supercell of one expansion is the caller's to check


def test_a_small_change_of_one_eci_is_another_hamiltonian(path):
    expansion = hamiltonian("cuau-2x2x2").expansion
    one = dataclasses.replace(expansion.orbits[2], eci=expansion.orbits[2].eci * (1 + 1e-6))
    other = dataclasses.replace(expansion, orbits=(*expansion.orbits[:2], one, *expansion.orbits[3:]))
    with pytest.raises(CheckpointError, match="expected a checkpoint of the Hamiltonian"):
        load_model(path, other)
    load_model(path, dataclasses.replace(expansion, name="another name"))


def test_metadata_changed_by_hand(path):
    stored = read_tensors(path)[1]["hamiltonian"]
    stored["orbits"][2]["eci"] *= 1.01
    rewrite(path, hamiltonian=stored)
    with pytest.raises(CheckpointError, match="the file was changed after it was written"):
        load_model(path)


def test_tensors_that_do_not_fit(path):
    tensors, meta = read_tensors(path)
    name = sorted(tensors)[0]
    del tensors[name]
    write_tensors(path, tensors, meta)
    with pytest.raises(CheckpointError, match=name):
        load_model(path)


@pytest.mark.parametrize("metadata", [
    {"hamiltonian": None}, {"hamiltonian": {}}, {"lattice": {}}, {"lattice": 3}, {"model": None}, {"model": {"width": "x"}},
    {"model": {"colour": 3}}, {"ranges": {}}, {"ranges": {"T": [200, 1200], "mu": []}}, {"ranges": {"T": 3, "mu": [[0, 1]]}},
    {"orders": {"spiral": 1.0}}, {"orders": 3}, {"images": "mirror"}, {"version": "new"}, {"version": None}, {"kind": ["causal"]},
])  # fmt: skip
def test_metadata_that_make_no_model(path, metadata):
    rewrite(path, **metadata)
    with pytest.raises(CheckpointError, match=r"m\.safetensors"):
        load_model(path)


def test_metadata_that_are_no_table(path):
    tensors, _ = read_tensors(path)
    safetensors.torch.save_file(tensors, path, metadata={"alloygen": "[1]"})
    with pytest.raises(CheckpointError, match="no alloygen metadata"):
        load_model(path)


def test_weights_that_are_no_numbers(path):
    tensors, meta = read_tensors(path)
    name = sorted(tensors)[0]
    tensors[name].view(-1)[0] = float("nan")
    write_tensors(path, tensors, meta)
    with pytest.raises(CheckpointError, match=f"expected finite numbers, got others in .*{name}"):
        load_model(path)


def test_a_folder_is_no_checkpoint(tmp_path):
    for read in (load_model, read_tensors, read_metadata):
        with pytest.raises(CheckpointError, match="found a folder"):
            read(tmp_path)


def test_metadata_alone(path):
    assert read_metadata(path) == read_tensors(path)[1]


def test_tensors_of_another_shape(path):
    tensors, meta = read_tensors(path)
    name = sorted(tensors)[0]
    tensors[name] = tensors[name][..., :1].clone()
    write_tensors(path, tensors, meta)
    with pytest.raises(CheckpointError, match=name):
        load_model(path)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError("no space left on device")])
def test_an_interrupt_while_writing_leaves_the_old_file(path, monkeypatch, error):
    before = path.read_bytes()

    def half(file):
        with open(file, "r+b") as f:
            f.truncate(100)
        raise error

    monkeypatch.setattr("alloygen.runtime.tensors.seal", half)
    with pytest.raises(type(error) if isinstance(error, BaseException) else error):
        save_model(path, model(seed=1))
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["m.safetensors"]
    monkeypatch.undo()
    save_model(path, model(seed=1))
    assert path.read_bytes() != before
