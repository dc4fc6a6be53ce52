"""Each format of files has a version of its own."""

import pytest
import torch

from alloygen.errors import CheckpointError
from alloygen.hamiltonian.ising import ising
from alloygen.runtime.resume import identity, read_run, write_run
from alloygen.runtime.tensors import VERSIONS, read_tensors, version_of, write_tensors


@pytest.mark.parametrize("format", ["alloygen model", "alloygen samples", "alloygen Wang-Landau", "alloygen scan"])
def test_a_newer_version_of_its_own_format_is_refused_and_an_older_one_read(tmp_path, format):
    path, own = tmp_path / "a", version_of(format)
    for version in range(1, own + 1):
        write_tensors(path, {"a": torch.zeros(1)}, {"format": format, "version": version})
        assert read_tensors(path)[1]["version"] == version
    write_tensors(path, {"a": torch.zeros(1)}, {"format": format, "version": own + 1})
    with pytest.raises(CheckpointError, match=f"version {own} or older, got version {own + 1}"):
        read_tensors(path)


def test_a_run_of_an_older_layout_is_told_by_its_version(tmp_path, monkeypatch):
    with monkeypatch.context() as m:
        m.setitem(VERSIONS, "alloygen Wang-Landau", 1)
        write_run(tmp_path / "run", {"a": torch.zeros(1)}, identity("Wang-Landau", ising(3)))
    with pytest.raises(CheckpointError, match="version: expected 2, got 1"):
        read_run(tmp_path / "run", identity("Wang-Landau", ising(3)))
