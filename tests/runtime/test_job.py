"""The one loop of long work: ticks, Ctrl-C, files, and what a job refuses."""

import signal

import numpy as np
import pytest

from alloygen.errors import AlloygenError, CheckpointError
from alloygen.runtime.job import Job
from alloygen.runtime.resume import identity


class Walk:
    """A random walk of ``steps`` steps, which anything may disturb."""

    def __init__(self, steps=20, seed=0, at=None, what=lambda: None):
        self.rng, self.place, self.done, self.steps, self.seed = np.random.default_rng(seed), 0.0, 0, steps, seed
        self.at, self.what = at, what

    def go(self, job):
        with job.loop(self, "walk", self.steps) as loop:
            while self.done < self.steps:
                self.place += self.rng.normal()
                if self.done == self.at:
                    self.what()
                self.done += 1
                loop.tick(self.done)
        return self.place

    def identity(self):
        return identity("walk", seed=self.seed)

    def state(self):
        state = self.rng.bit_generator.state["state"]
        words = [state[k] >> (64 * i) & (2**64 - 1) for k in ("state", "inc") for i in range(2)]
        return {"place": np.array([self.place]), "rng": np.array(words, dtype=np.uint64)}, {"done": self.done}

    def restore(self, arrays, progress):
        self.place, self.done = float(arrays["place"][0]), progress["done"]
        words = [int(w) for w in arrays["rng"].view(np.uint64)]
        state = self.rng.bit_generator.state
        state["state"] = {"state": words[0] + (words[1] << 64), "inc": words[2] + (words[3] << 64)}
        self.rng.bit_generator.state = state


def press(times):
    def what():
        for _ in range(times):
            signal.raise_signal(signal.SIGINT)

    return what


def fail():
    raise OSError("lost")


@pytest.mark.parametrize("save_every", [0, 60])
@pytest.mark.parametrize("what, error", [(press(1), KeyboardInterrupt), (press(2), KeyboardInterrupt), (fail, OSError)])
def test_what_was_stopped_goes_on_bit_for_bit(tmp_path, save_every, what, error):
    whole, job = Walk().go(Job()), Job(checkpoint=tmp_path / "walk", save_every=save_every)
    before = signal.getsignal(signal.SIGINT)
    for at in (3, 11):
        with pytest.raises(error):
            Walk(at=at, what=what).go(job)
    assert signal.getsignal(signal.SIGINT) is before
    assert Walk().go(job) == whole and Walk(at=0, what=fail).go(job) == whole  # the second one is read, not run


def test_the_first_ctrl_c_waits_for_the_end_of_a_step_and_says_where_to_go_on(tmp_path):
    path = tmp_path / "walk"
    with pytest.raises(
        KeyboardInterrupt, match=f"stopped after 4 steps; a run with the checkpoint '{path}' goes on from there"
    ):
        Walk(at=3, what=press(1)).go(Job(checkpoint=path))
    with pytest.raises(KeyboardInterrupt) as second:
        Walk(at=6, what=press(2)).go(Job(checkpoint=path))
    assert not second.value.args


def test_a_second_ctrl_c_leaves_the_file_of_the_last_whole_state(tmp_path):
    path = tmp_path / "walk"
    with pytest.raises(KeyboardInterrupt):
        Walk(at=3, what=press(1)).go(Job(checkpoint=path))
    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        Walk(at=9, what=press(2)).go(Job(checkpoint=path))
    assert path.read_bytes() == before


def test_the_file_of_another_run_is_refused(tmp_path):
    Walk().go(Job(checkpoint=tmp_path / "walk"))
    with pytest.raises(CheckpointError, match="seed: expected 1, got 0"):
        Walk(seed=1).go(Job(checkpoint=tmp_path / "walk"))


@pytest.mark.parametrize(
    "wrong, told",
    [(dict(threads=0), "threads as a whole number"), (dict(threads=1.5), "threads"), (dict(save_every=-1), "save_every"),
     (dict(save_every=float("nan")), "save_every"), (dict(checkpoint="/"), "path of a file"), (dict(executor=4), "ProcessPoolExecutor")],
)  # fmt: skip
def test_a_job_that_cannot_be_is_refused_when_it_is_made(wrong, told):
    with pytest.raises(AlloygenError, match=told):
        Job(**wrong)
