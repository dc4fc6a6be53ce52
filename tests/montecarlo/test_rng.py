"""The generator of the kernels: the known sequence, uniform, and integers without a pattern."""

import numpy as np

from alloygen.montecarlo.rng import below, below_low, mix, seeds, step, uniform
from alloygen.testing import chi_square


def outputs(n, state=1234567):
    s, out = np.uint64(state), []
    for _ in range(n):
        s = np.uint64(step(s))
        out.append(np.uint64(mix(s)))
    return out


def test_random_numbers_are_uniform_and_of_a_known_generator():
    bits = outputs(20000)
    # SplitMix64 with seed 1234567: the first outputs of the reference implementation
    assert [int(b) for b in bits[:3]] == [6457827717110365317, 3203168211198807973, 9817491932198370423]
    u = np.array([uniform(b) for b in bits])
    counts, _ = np.histogram(u, 50, (0, 1))
    assert chi_square(counts, np.full(50, 400.0)) > 1e-4
    assert abs(np.corrcoef(u[1:], u[:-1])[0, 1]) < 5 / np.sqrt(20000)


def test_integers_are_uniform_and_the_two_halves_independent():
    bits = outputs(20000)
    a, b = (np.array([f(x, 7) for x in bits]) for f in (below, below_low))
    assert a.min() == b.min() == 0 and a.max() == b.max() == 6
    joint = np.zeros((7, 7))
    np.add.at(joint, (a, b), 1)
    assert chi_square(joint.ravel(), np.full(49, 20000 / 49)) > 1e-4


def test_seeds_differ():
    assert len(np.unique(seeds(3, 1000))) == 1000
    assert np.array_equal(seeds(3, 5), seeds(3, 5)) and not np.array_equal(seeds(3, 5), seeds(4, 5))
