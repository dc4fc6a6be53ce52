"""Constraints on numbers of atoms against lists of all configurations."""

import itertools
import re

import numpy as np
import pytest

import alloygen.data
from alloygen import Balance, Lattice, Primitive
from alloygen.conditions.composition import constraint, named_elements
from alloygen.conditions.given import Field
from alloygen.counts import Counts
from alloygen.errors import BadCondition, UnknownSpecies

PAIR = [[0, 0, 0], [0.5, 0.5, 0.5]]
SALT = Lattice(Primitive(np.eye(3), PAIR, [("Li", "Mn", "Ti"), ("O", "F")]), (3, 1, 1))
SHARED = Lattice(Primitive(np.eye(3), PAIR, [("A", "B", "C"), ("A", "B")]), (3, 1, 1))
SPECTATOR = Lattice(Primitive(np.eye(3), PAIR, [("A", "B"), ("O",)]), (4, 1, 1))
CHARGES = {"Li": 1, "Mn": 3, "Ti": 4, "O": -2, "F": -1}
CASES = {
    "balance": (SALT, Balance(charges=CHARGES), {}),
    "another total, a site held": (SALT, Balance(charges=CHARGES, total=1), {0: 2}),
    "elements": (SALT, {"Li": 1, "Mn": 1, "O": 2}, {}),
    "by sublattice": (SALT, {0: {"Li": 1, "Mn": 1}, 1: {"F": 1 / 3}}, {}),
    "elements on two sublattices": (SHARED, {"A": 3, "B": 2}, {}),
    "the same, held": (SHARED, {"A": 3, "B": 2}, {1: 0, 2: 2}),
    "a sublattice of one species": (SPECTATOR, {"A": 0.25}, {2: 1}),
}


def every(lattice):
    return np.array(list(itertools.product(*map(range, lattice.n_species))), dtype=np.int8)


def counts_of(lattice, composition, held=None):
    known = np.full(lattice.n_sites, -1)
    for site, species in (held or {}).items():
        known[site] = species
    return Counts(lattice=lattice, constraint=constraint(composition, lattice), known=known)


def elements(lattice, occ):
    """Atoms of each element of each row, by hand."""
    return [
        {
            e: sum(lattice.species[b][a] == e for b, a in zip(lattice.sublattice, x, strict=True))
            for e in lattice.elements
        }
        for x in occ
    ]


@pytest.mark.parametrize("name", CASES)
def test_as_many_configurations_as_there_are(name):
    lattice, composition, held = CASES[name]
    counts, states = counts_of(lattice, composition, held), every(lattice)
    fits = counts.met(states) & np.all([states[:, i] == a for i, a in held.items()] or True, axis=0)
    assert np.exp(counts.log_number) == pytest.approx(fits.sum(), rel=1e-9)
    told = elements(lattice, states)
    if isinstance(composition, Balance):
        right = [sum(CHARGES[e] * n for e, n in x.items()) == composition.total for x in told]
    elif 0 in composition:
        right = [x == {"Li": 1, "Mn": 1, "Ti": 1, "O": 2, "F": 1} for x in told]
    else:
        n = {e: v if isinstance(v, int) else round(4 * v) for e, v in composition.items()}
        right = [all(x[e] == v for e, v in n.items()) for x in told]
    np.testing.assert_array_equal(counts.met(states), right)


@pytest.mark.parametrize("name", CASES)
def test_draws_are_even(name):
    """Chi-square over all configurations that there are; the draws of one half of them fail it."""
    lattice, composition, held = CASES[name]
    counts = counts_of(lattice, composition, held)
    drawn = counts.draw(4000, np.random.default_rng(1))
    assert counts.met(drawn).all() and all((drawn[:, i] == a).all() for i, a in held.items())
    m = round(np.exp(counts.log_number))

    def excess(rows):
        n = np.unique(rows, axis=0, return_counts=True)[1]
        expected = len(rows) / m
        chi = ((n - expected) ** 2 / expected).sum() + (m - len(n)) * expected
        return (chi - (m - 1)) / np.sqrt(2 * max(m - 1, 1))

    assert excess(drawn) < 5
    if m > 3:
        assert excess(drawn[np.lexsort(drawn.T[::-1])][: len(drawn) // 2]) > 20


def test_the_rest_that_can_be_reached():
    """log_ways of a half-filled cell against a count of its completions."""
    counts, states = counts_of(SALT, Balance(charges=CHARGES)), every(SALT)
    for first in itertools.product(range(3), range(2), range(3)):
        rows = states[(states[:, :3] == first).all(1)]
        left = counts.left - np.bincount(counts.kind[:3], minlength=counts.n_kinds)
        rest = counts.need - counts.weights[np.arange(3), first].sum(0)
        found = np.exp(counts.log_ways(left[None], rest[None])[0])
        assert found == pytest.approx(counts.met(rows).sum(), abs=1e-9)


WRONG = {
    "fraction": ({"A": 0.3}, BadCondition, "the nearest are 1 (0.166667) and 2 (0.333333)"),
    "too many": ({"A": 7}, BadCondition, "expected 6 atoms on the 6 sites"),
    "more than fit": ({"C": 4, "A": 1}, BadCondition, "the nearest"),
    "two missing": ({"A": 1}, BadCondition, "name B as well"),
    "not there": (
        {"Q": 1},
        UnknownSpecies,
        "expected numbers of elements among A, B, C, which sites may exchange, got numbers of Q",
    ),
    "one of two sublattices": ({0: {"A": 1, "B": 1}}, BadCondition, "0 (A/B/C), 1 (A/B)"),
    "on another sublattice": (
        {0: {"A": 1, "B": 1}, 1: {"C": 1}},
        UnknownSpecies,
        "elements among A, B on sublattice 1, got numbers of C",
    ),
    "sublattices by a name": ({"first": {"A": 1}}, BadCondition, "by their numbers, 0 (A/B/C), 1 (A/B), got"),
    "mixed keys": ({"A": 1, 0: {"A": 1}}, BadCondition, "got both"),
    "negative": ({"A": -1}, BadCondition, "at least 0"),
    "nan": ({"A": float("nan")}, BadCondition, "at least 0"),
    "nothing": ({}, BadCondition, "as a dict"),
    "a word": ("x", BadCondition, "as a dict"),
    "no atoms": ("atoms", BadCondition, "got none"),
    "charges of others": (Balance(charges={"Q": 1}), UnknownSpecies, "got charges of Q"),
    "charges that never add up": (Balance(charges={"A": 2, "B": 2}, total=3), BadCondition, "the nearest"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be(name):
    composition, error, words = WRONG[name]
    with pytest.raises(error, match=re.escape(words)):
        counts_of(SHARED, composition)


@pytest.mark.parametrize("charges", [{}, {"A": 0}, {"A": 0.5}, None, [1]])
def test_charges_are_whole_numbers(charges):
    with pytest.raises(BadCondition):
        Balance(charges=charges)


NAMED = {
    "mu": (({"A": 0.1, "B": [0.0, 0.1]},), ("A", "B")),
    "a composition by sublattice": (({0: {"A": 1, "B": 1}, 1: {"C": 2}},), ("A", "B", "C")),
    "both": (({"B": 0.1}, {"A": 4}), ("B", "A")),
    "a balance": ((None, Balance(charges={"O": -2, "A": 2})), ("O", "A")),
    "a list of mu beside a composition": (([{"A": 0.1}, {"B": 0.2}], {"A": 0.5}), ("A", "B")),
    "an element": (("B", None), ("B",)),
    "nothing": ((None, 0.3, "atoms", Field(((0, 0.1),)), (0.0, 1.0), {}, {3: 0.1}), ()),
}


@pytest.mark.parametrize("name", NAMED)
def test_what_names_elements(name):
    given, expected = NAMED[name]
    assert named_elements(*given) == named_elements(list(given)) == expected


def test_large_cells_and_many_species():
    lattice = alloygen.data.cuau().on((10, 10, 10)).lattice
    counts = counts_of(lattice, {"Au": 0.25})
    assert counts.draw(2, np.random.default_rng(0)).sum(1).tolist() == [250, 250]
    five = Lattice(Primitive(np.eye(3), [[0, 0, 0]], [tuple("ABCDE")]), (5, 5, 2))
    assert np.isfinite(counts_of(five, {e: 0.2 for e in "ABCD"}).log_number)
