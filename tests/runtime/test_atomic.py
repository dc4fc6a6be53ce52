"""Files and folders that are written in one go: whole, or as they were."""

import os
import signal
import time

import pytest
import torch

from alloygen.errors import AlloygenError
from alloygen.runtime.atomic import atomic_folder, atomic_path
from alloygen.runtime.tensors import write_tensors


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_atomic_path_keeps_the_old_file_on_any_failure(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    path.chmod(0o640)
    for error in (RuntimeError, KeyboardInterrupt, OSError(28, "No space left on device")):
        with pytest.raises(error if isinstance(error, type) else OSError), atomic_path(path) as part:
            part.write_bytes(b"half")
            raise error
        assert path.read_bytes() == b"old" and names(tmp_path) == ["a.bin"]
    with pytest.raises(AlloygenError, match="got none"), atomic_path(path):
        pass
    assert path.read_bytes() == b"old"
    with atomic_path(path) as part:
        assert part.parent == tmp_path and part.suffix == ".bin"
        part.write_bytes(b"new")
    assert path.read_bytes() == b"new" and path.stat().st_mode & 0o777 == 0o640 and names(tmp_path) == ["a.bin"]


def test_atomic_path_follows_links_and_refuses_folders(tmp_path):
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to("real.txt")
    with atomic_path(tmp_path / "link.txt") as part:
        part.write_text("new")
    assert (tmp_path / "link.txt").is_symlink() and (tmp_path / "real.txt").read_text() == "new"
    with pytest.raises(AlloygenError, match="add a file name"), atomic_path(tmp_path):
        pass


def test_atomic_folder_puts_the_old_one_back(tmp_path, monkeypatch):
    with atomic_folder(tmp_path / "set") as part:
        (part / "old").write_text("1")
    rename = os.rename

    def fails_for_the_new_one(a, b):
        if (a / "new").exists():
            raise OSError(5, "Input/output error")
        rename(a, b)

    monkeypatch.setattr(os, "rename", fails_for_the_new_one)
    with pytest.raises(OSError, match="Input/output"), atomic_folder(tmp_path / "set") as part:
        (part / "new").write_text("2")
    assert names(tmp_path) == ["set"] and names(tmp_path / "set") == ["old"]


def rows(path, n):
    from ase.build import bulk
    from ase.db import connect

    with atomic_path(path) as part, connect(part) as db:
        for _ in range(n):
            db.write(bulk("Cu"))


WRITERS = {
    "a.safetensors": lambda path, n: write_tensors(path, {"a": torch.zeros(n)}, {}),
    "a.db": lambda path, n: rows(path, max(1, n // 100_000)),
}


@pytest.mark.parametrize("name", WRITERS)
def test_what_a_kill_leaves_goes_with_the_next_writing(tmp_path, name):
    """Whatever a library keeps beside the file while it writes."""
    write, rng = WRITERS[name], torch.Generator().manual_seed(0)
    began = time.monotonic()
    write(tmp_path / name, 8_000_000)
    length = time.monotonic() - began
    for _ in range(8):
        if (pid := os.fork()) == 0:
            try:
                while True:
                    write(tmp_path / name, 8_000_000)
            finally:
                os._exit(1)
        time.sleep(float(torch.rand((), generator=rng)) * length)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        write(tmp_path / name, 1)
        assert names(tmp_path) == [name]
