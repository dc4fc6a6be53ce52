"""A short version of the harness: files, kills, interrupts at every line, bad arguments, disks that are full. `make hardening` runs the long one."""

import os
import resource
import signal
import sys
from collections import Counter
from pathlib import Path

import attacked
import bad_arguments
import files
import kills
import numpy as np
import pytest
from trial import outcome_of

import alloygen
from alloygen.errors import AlloygenError, CheckpointError, NotSaved
from alloygen.hamiltonian.ising import ising
from alloygen.montecarlo.sampling import metropolis
from alloygen.runtime.atomic import atomic_path, require_writable, temporary_name
from alloygen.runtime.documents import require_whole, sealed
from alloygen.runtime.job import Job
from alloygen.runtime.lock import only_writer
from alloygen.runtime.tensors import read_tensors, write_tensors

TARGETS = {t.name: t for t in attacked.TARGETS}
QUICK = [
    "run, Metropolis",
    "run, Wang-Landau",
    "expansion",
    "phase diagram .nc",
    "configuration .toml",
    "ATAT clusters.out",
]


@pytest.mark.parametrize("name", QUICK)
def test_a_damaged_file_is_told_by_its_name_or_changes_nothing(name):
    counts, bad = files.attack(TARGETS[name], 6, seed=7)
    assert not bad and counts["clear"] > 0


def test_the_harness_sees_what_it_looks_for(tmp_path):
    """Negative controls: a raw error, a hang, a crash, another result, and a clear error without the name."""
    unclear = lambda: (_ for _ in ()).throw(AlloygenError("no"))  # noqa: E731
    for work, kind in (
        (lambda: 1 / 0, "raw"), (signal.pause, "hang"), (_busy, "hang"), (lambda: os.kill(os.getpid(), signal.SIGSEGV), "crash"), (lambda: 2, "other"),
        (lambda: 1, "the same"), (unclear, "no name"),
    ):  # fmt: skip
        assert (
            outcome_of(work, ("a.json",), same=1, seconds=0.5, clock=0.5 if work is signal.pause else None).kind == kind
        )


def _busy() -> None:
    while True:
        pass


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Metropolis"])
def test_runs_that_are_killed_go_on_bit_for_bit(name):
    assert kills.killed(kills.RUNS[name], 3, seed=3) == Counter({"bit for bit": 3})


@pytest.mark.slow
def test_some_bad_arguments_are_clear():
    assert not bad_arguments.attack(every=1, only="Job")[1] and not bad_arguments.attack(every=1, only="read")[1]


def test_what_the_harness_found_is_clear():
    """Raw errors once: each is told in words now."""
    cuau, scan, square = alloygen.data.cuau(), bad_arguments.even_scan(), np.zeros((2, 2))
    ens = scan[0]
    for call, told in (
        (lambda: alloygen.enumerate_structures(attacked.PRIMITIVE, b"x"), "symbols of species as text"),
        (lambda: alloygen.next_structures(1.5), "an expansion by alloygen.fit, got 1.5"),
        (lambda: alloygen.representative(cuau, (2, 2, 2), square), "a composition as a dict"),
        (lambda: alloygen.representative(cuau, (2, 2, 2), {"Au": 4}, cutoffs=object()), "cutoffs as distances"),
        (lambda: alloygen.self_consistent(None, None, 600, None, cuau, seed=""), "seed as a whole number"),
        (lambda: ens.relabel(attacked.EMT, references=square), 'references as "ends"'),
        (lambda: ens.relabel(attacked.EMT, square), "expected relax as"),
        (lambda: ens.reweighted(mu=square), "one T and one mu, got 2"),
        (lambda: ens.resample({}), "n, the number of configurations,"),
        (lambda: ens.resample(seed=-1), "seed as a whole number"),
        (lambda: ens.warren_cowley(pair=-1), "a pair of the elements"),
        (lambda: ens.warren_cowley(pair=square), "a pair of the elements"),
        (lambda: ens.write("a.extxyz", square), "expected a format among"),
        (lambda: ens.write("a.extxyz", overwrite=square), "overwrite as one of"),
        (lambda: scan.phase_diagram(element=square), "one of the elements"),
        (lambda: scan.posterior(""), "finite ECIs .* got ''"),
    ):
        with pytest.raises(AlloygenError, match=told):
            call()


def test_files_of_structures_are_named_in_errors(tmp_path):
    """Of configurations and of structures with energies, whatever is wrong with them."""
    read = attacked.configurations("extxyz")(tmp_path)
    read.write_text(read.read_text().replace("energy=", "joules=", 1))
    with pytest.raises(AlloygenError, match=r"a\.extxyz: expected structures with energies"):
        alloygen.read(read)
    fitted = attacked.fitted_from("extxyz")(tmp_path)
    fitted.write_text("\n".join(fitted.read_text().splitlines()[:6]) + "\n")
    with pytest.raises(AlloygenError, match=r"a\.extxyz: expected at least 3 different structures, got 2"):
        attacked.fit_read(fitted)


# ---------------------------------------------------------------------- what reaches compiled code
def _stopped(path: Path) -> tuple[dict, dict]:
    attacked.metropolis_run(Job(checkpoint=path), n=8)
    return read_tensors(path)


@pytest.mark.parametrize("name, change, told", [
    ("chains.walkers.occ", lambda a: a * 0 + 100, "species indices"), ("chains.replica_at", lambda a: a * 0, "one condition"),
    ("chains.replica_at", lambda a: a - 2**40, "one condition"), ("chains.walkers.energy", lambda a: a - 5.0, "energies"),
    ("chains.walkers.counts", lambda a: a + 1, "numbers of atoms"), ("chains.walkers.rng", lambda a: a * 0, "random numbers"),
    ("chains.round", lambda a: a - 2**40, "from 0"), ("energy", lambda a: a * float("nan"), "energies"), ("observed.m", lambda a: a - float("inf"), "observed.m"),
    ("chains.beta", lambda a: a, "also"), ("chains.tables.start", lambda a: a, "also"), ("occ", lambda a: a[:-1], "as many rounds"),
])  # fmt: skip
def test_a_crafted_checkpoint_with_a_fitting_checksum_is_refused(name, change, told, tmp_path):
    path = tmp_path / "run.safetensors"
    tensors, about = _stopped(path)
    tensors[name] = change(tensors.get(name, tensors["chains.replica_at"])).clone()
    write_tensors(path, tensors, about)
    with pytest.raises(CheckpointError, match=told) as caught:
        attacked.metropolis_run(Job(checkpoint=path), n=16)
    assert str(path) in str(caught.value)


def test_one_bit_anywhere_in_a_file_of_tensors_is_seen(tmp_path):
    """Every byte of a small file in turn; in the seals' own names it makes a file without them, which says that it had them."""
    path = tmp_path / "a.safetensors"
    write_tensors(path, {"a": np.arange(4.0)}, {"format": "alloygen example", "version": 1})
    raw = path.read_bytes()
    for at in range(len(raw)):
        path.write_bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
        with pytest.raises(CheckpointError, match=r"a\.safetensors"):
            read_tensors(path)


def test_a_document_says_what_was_changed_and_how_to_mean_it():
    whole = sealed({"a": 1.5}, "alloygen example")
    assert require_whole(whole, "alloygen example")["a"] == 1.5
    for changed in ({**whole, "a": 1.6}, {**whole, "version": 1}, {k: v for k, v in whole.items() if k != "sha256"}):
        with pytest.raises(AlloygenError, match='write "version": 1'):
            require_whole(changed, "alloygen example")
    assert require_whole({"a": 1.6, "format": "alloygen example", "version": 1}, "alloygen example")["a"] == 1.6


# ---------------------------------------------------------------------- nothing lost to a file
def _failing_disk(monkeypatch, fails):
    def write(path, *args):
        if fails():
            raise OSError(28, "No space left on device")
        return real(path, *args)

    import alloygen.runtime.job as job

    real = job.write_run
    monkeypatch.setattr(job, "write_run", write)


def test_a_full_disk_stops_no_run_and_is_tried_again(tmp_path, monkeypatch):
    path, tried = tmp_path / "run", []
    whole = attacked.metropolis_run(Job())
    _failing_disk(monkeypatch, lambda: tried.append(1) or len(tried) < 5)
    with pytest.warns(NotSaved, match="goes on in memory") as told:
        assert attacked.metropolis_run(Job(checkpoint=path, save_every=1e-9)) == whole
    assert len(told) == 1 and len(tried) > 5 and attacked.metropolis_run(Job(checkpoint=path)) == whole


def test_ctrl_c_says_that_nothing_was_saved(tmp_path, monkeypatch):
    _failing_disk(monkeypatch, lambda: True)
    h = ising(3)
    press = {"o": lambda occ: (signal.raise_signal(signal.SIGINT), occ.mean(1))[1]}
    with pytest.warns(NotSaved), pytest.raises(KeyboardInterrupt, match="could not be written"):
        metropolis(h, h.condition(2.0), 40, job=Job(checkpoint=tmp_path / "run"), observers=press)


def test_ulimit_is_told_before_a_run_and_survived_in_it(tmp_path):
    def limited(size, run):
        def work():
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
            return run()

        return outcome_of(work, same=whole, seconds=60.0)

    whole = attacked.metropolis_run(Job())
    told = limited(100, lambda: attacked.metropolis_run(Job(checkpoint=tmp_path / "a")))
    assert told.kind == "clear" and "ulimit -f" in told.told
    assert (
        limited(9_000, lambda: attacked.metropolis_run(Job(checkpoint=tmp_path / "b", save_every=1e-9))).kind
        == "the same"
    )


def test_places_that_cannot_be_are_told_first(tmp_path):
    for path in ("/proc/x/run", tmp_path):
        with pytest.raises(AlloygenError, match="expected"):
            Job(checkpoint=path)
    with pytest.raises(AlloygenError, match="expected room for"):
        require_writable(tmp_path / "a", size=10**18)


def test_two_writers_of_one_run(tmp_path):
    path = tmp_path / "run"
    with only_writer(path), pytest.raises(CheckpointError, match=f"process {os.getpid()} on .* is writing"):
        attacked.metropolis_run(Job(checkpoint=path))
    attacked.metropolis_run(Job(checkpoint=path))
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_files_follow_the_umask_and_what_a_kill_left_is_cleaned(tmp_path):
    pid = os.fork()
    if pid == 0:  # a writer that dies
        temporary_name(tmp_path / "a.st").write_text("half")
        os._exit(0)
    os.waitpid(pid, 0)
    mine = temporary_name(tmp_path / "a.st")
    mine.write_text("of a writer that lives")
    for mask, mode in ((0o022, 0o644), (0o077, 0o600)):
        before = os.umask(mask)
        try:
            write_tensors(tmp_path / "a.st", {"a": np.zeros(1)}, {"format": "alloygen example", "version": 1})
        finally:
            os.umask(before)
        assert (tmp_path / "a.st").stat().st_mode & 0o777 == mode
        (tmp_path / "a.st").unlink()
    with atomic_path(tmp_path / "a.st") as part:
        part.write_text("whole")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([mine.name, "a.st"])


# ---------------------------------------------------------------------- the second Ctrl-C
FILES = (
    "montecarlo/run.py",
    "montecarlo/chains.py",
    "runtime/job.py",
    "runtime/atomic.py",
    "runtime/resume.py",
    "runtime/tensors.py",
)


def _interrupted(path: Path, at: int) -> bool:
    """KeyboardInterrupt, as a second Ctrl-C raises it, at the ``at``-th line of these files from the third round on; whether there was one."""
    seen, rounds = [], []

    def local(frame, event, arg):
        if event == "line" and len(rounds) >= 3:
            seen.append(1)
            if len(seen) == at:
                sys.settrace(None)
                raise KeyboardInterrupt
        return local

    def trace(frame, event, arg):
        if frame.f_code.co_filename.endswith("montecarlo/chains.py") and frame.f_code.co_name == "step":
            rounds.append(1)
        return local if frame.f_code.co_filename.endswith(FILES) else None

    sys.settrace(trace)
    try:
        _short(path)
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(None)
    return False


def _short(path: Path | None) -> str:
    h = ising(3)
    s = metropolis(
        h, h.condition([2.0, 3.0]), 16, sweeps=1, burn=2, check=False, job=Job(checkpoint=path, save_every=1e-9)
    )
    return attacked.digest(s.occ, s.energy)


@pytest.mark.slow
def test_an_interrupt_at_any_line_leaves_a_run_that_goes_on_bit_for_bit(tmp_path):
    whole, path = _short(None), tmp_path / "run"
    for at in range(1, 330, 17):
        path.unlink(missing_ok=True)
        assert _interrupted(path, at), at
        assert _short(path) == whole, at
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_a_result_goes_elsewhere_when_its_place_is_gone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    from alloygen.runtime.atomic import write_somewhere

    with pytest.warns(NotSaved, match="could not write /proc/x/a"):
        where = write_somewhere(lambda p: alloygen.data.cuau().write(p), "/proc/x/a.json")
    assert (
        where.parent == tmp_path
        and alloygen.ClusterExpansion.read(where).fingerprint == alloygen.data.cuau().fingerprint
    )
