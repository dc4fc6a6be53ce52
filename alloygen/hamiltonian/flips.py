"""Energy changes of single flips by table, for any number of species, sublattices and bodies.

The energy of a site i with species s, the rest as it is, is a sum over *groups* of its neighbours,

    E_i(s) - E_i(0) = sum_k table_k[state_k(i), s],

where every cluster of the site lies inside one group and ``state_k`` numbers the occupations of the group. The state is
additive, state_k(i) = sum_j step_k(j, x_j), so it is kept up to date instead of being gathered: an attempt reads one
number per group, and only an accepted flip touches the neighbours. The states of a site are packed into bit fields of a
few 64-bit words, so that a flip costs one addition per neighbour and word. Groups come in two kinds: *mixed radix* for
sites that share many-body clusters (prod S states), and *counts* for sites with equal pair terms only, of which the
number of each species is enough. Tables are exact; nothing is rounded.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, Protocol

import numpy as np

from alloygen.compiled import njit
from alloygen.lattice import Lattice
from alloygen.types import Index

MAX_STATES = 2**13
MAX_COUNTS = 2**12


class FlipTables(NamedTuple):
    """What the kernels read: K groups per site in W words, S species at most, M words of neighbours that a site enters.

    value (V,) float64: tables one after another, S - 1 entries per state, the energy relative to species 0
    start, word (n_sublattices, K) int64, shift, mask (n_sublattices, K) uint64: where the table of a group begins in
        ``value``, and where its state lies in the words of a site
    target (N, M) uint32: site * W + word of the words that a site enters
    step (n_sublattices, S, S, M) int64: what is added to them when its species changes from the first to the second
    own (n_sublattices, S, M) int64: what a species adds to empty words
    sublattice (N,), n_species (N,): of each site
    element_index (n_sublattices, S): element of each species; species (n_sublattices, n_elements): its inverse, -1 where
        not allowed
    owner (V,): sublattice that an entry of ``value`` belongs to
    """

    value: np.ndarray
    start: np.ndarray
    word: np.ndarray
    shift: np.ndarray
    mask: np.ndarray
    target: np.ndarray
    step: np.ndarray
    own: np.ndarray
    sublattice: np.ndarray
    n_species: np.ndarray
    element_index: np.ndarray
    species: np.ndarray
    owner: np.ndarray

    @property
    def n_words(self) -> int:
        return int(self.word.max()) + 1


class Terms(Protocol):
    """The side of a :class:`~alloygen.hamiltonian.cluster.Hamiltonian` that the tables are built from."""

    lattice: Lattice
    functions: np.ndarray
    site_functions: np.ndarray
    channel_function: np.ndarray
    term_ptr: np.ndarray
    term_coef: np.ndarray
    term_channel: np.ndarray
    term_others: np.ndarray
    term_n: np.ndarray

    @property
    def elements(self) -> tuple[str, ...]: ...
    @property
    def n_species(self) -> int: ...


@dataclass
class _Group:
    """Columns (neighbours of the site), what each adds to the state by species (n, S), and the values (states, S - 1)."""

    columns: list[int]
    steps: np.ndarray
    values: np.ndarray


def build_flip_tables(h: Terms, max_states: int = MAX_STATES) -> FlipTables:
    """The tables of a Hamiltonian on its supercell."""
    lattice, width = h.lattice, max(h.n_species - 1, 1)
    sites = [_Neighbours(h, b) for b in range(lattice.n_sublattices)]
    groups = [_groups(s, max_states) for s in sites]
    k_max = max(len(g) for g in groups)
    value, owner, start = (
        [np.zeros(width)],
        [np.zeros(width, dtype=np.int64)],
        np.zeros((len(groups), k_max), dtype=np.int64),
    )
    size = width  # the first entry serves groups that do not exist
    for b, found in enumerate(groups):
        for k, group in enumerate(found):
            start[b, k] = size
            padded = np.zeros((len(group.values), width))
            padded[:, : group.values.shape[1]] = group.values
            value.append(padded.ravel())
            owner.append(np.full(padded.size, b))
            size += padded.size
    word, shift, mask = _pack(groups, k_max)
    target, own = _inverse(h, sites, groups, word, shift)
    species = np.full((lattice.n_sublattices, len(h.elements)), -1, dtype=np.int64)
    for b in range(lattice.n_sublattices):
        n = lattice.n_species[np.flatnonzero(lattice.sublattice == b)[0]]
        species[b, lattice.element_index[b][:n]] = np.arange(n)
    as_int = lambda x: np.ascontiguousarray(x, dtype=np.int64)  # noqa: E731
    return FlipTables(
        np.concatenate(value), start, word, shift.astype(np.uint64), mask.astype(np.uint64), target,
        as_int(own[:, None] - own[:, :, None]), own, as_int(lattice.sublattice), as_int(lattice.n_species),
        as_int(lattice.element_index), species,
        np.concatenate(owner),
    )  # fmt: skip


class _Neighbours:
    """The terms of one site of a sublattice, its neighbours numbered as columns."""

    def __init__(self, h: Terms, b: int):
        lattice = h.lattice
        i = int(np.flatnonzero(lattice.sublattice == b)[0])
        n_functions = len(h.functions)
        lo, hi = h.term_ptr[i], h.term_ptr[i + 1]
        own = h.site_functions[i][h.channel_function[h.term_channel[lo:hi]]][:, : lattice.n_species[i]]
        self.gain = h.term_coef[lo:hi, None] * (own[:, 1:] - own[:, :1])  # (terms, S - 1)
        rows = [h.term_others[t, : h.term_n[t]] for t in range(lo, hi)]
        met = sorted({int(f) // n_functions for row in rows for f in row})
        column = {j: c for c, j in enumerate(met)}
        self.others = [[(column[int(f) // n_functions], int(f) % n_functions) for f in row] for row in rows]
        self.n_species = [int(lattice.n_species[j]) for j in met]
        self.functions = [h.site_functions[j] for j in met]
        self.offset = lattice.offsets[met] - lattice.offsets[i] if met else np.zeros((0, 3), dtype=np.int64)
        self.sublattice = lattice.sublattice[met] if met else np.zeros(0, dtype=np.int64)


def _groups(site: _Neighbours, max_states: int) -> list[_Group]:
    many = frozenset(frozenset(c for c, _ in o) for o in site.others if len(o) > 1)
    covers = _cover(many, tuple(site.n_species), max_states)
    home = [next((k for k, cover in enumerate(covers) if {c for c, _ in o} <= cover), None) for o in site.others]
    point = [t for t, o in enumerate(site.others) if not o]
    groups = []
    for k, cover in enumerate(covers):
        terms = [t for t, at in enumerate(home) if at == k and site.others[t]]
        groups.append(_radix_group(site, sorted(cover), terms))
    groups += _count_groups(site, [t for t, at in enumerate(home) if at is None and site.others[t]])
    if not groups:
        groups.append(_Group([], np.zeros((0, 1), dtype=np.int64), np.zeros((1, site.gain.shape[1]))))
    groups[0].values += site.gain[point].sum(0)
    return groups


@lru_cache(maxsize=64)  # the same for all alloys with these figures
def _cover(many: frozenset[frozenset], n_species: tuple[int, ...], max_states: int) -> tuple[frozenset, ...]:
    """Sets of columns, each of at most ``max_states`` occupations, such that every cluster lies inside one (greedy: what brings the most
    clusters for each new column)."""
    left = sorted(many, key=lambda c: (-len(c), sorted(c)))
    species = np.array(n_species, dtype=np.int64)
    table = np.zeros((len(left), len(species)), dtype=np.int64)
    for row, cluster in zip(table, left, strict=True):
        row[list(cluster)] = 1
    covers = []
    while len(table):
        cover = table[0] > 0
        while True:
            new = np.unique(table * ~cover, axis=0)
            new = new[new.any(1)]
            new = new[np.where(new, species, 1).prod(1) * species[cover].prod() <= max_states]
            if not len(new):
                break
            missing = table * ~cover
            brought = (missing @ new.T == missing.sum(1)[:, None]).sum(0) / new.sum(1)
            most = new[brought == brought.max()]
            best = max(most, key=lambda row: [-int(c) for c in np.flatnonzero(row)])
            cover = cover | (best > 0)
        covers.append(frozenset(np.flatnonzero(cover).tolist()))
        table = table[(table * ~cover).any(1)]
    return tuple(covers)


def _radix_group(site: _Neighbours, columns: list[int], terms: list[int]) -> _Group:
    radix, at, n = {}, {}, 1
    for c in columns:
        radix[c], n = n, n * site.n_species[c]
    state = np.arange(n)
    for c in columns:
        at[c] = (state // radix[c]) % site.n_species[c]
    values = np.zeros((n, site.gain.shape[1]))
    products: dict[tuple, np.ndarray] = {}
    for t in terms:  # terms that differ in the own function only share their product
        key = tuple(sorted(site.others[t]))
        products[key] = products.get(key, 0.0) + site.gain[t]
    for key, gain in products.items():
        product = np.ones(n)
        for c, f in key:
            product *= site.functions[c][f][at[c]]
        values += product[:, None] * gain
    width = max(site.n_species[c] for c in columns)
    steps = np.zeros((len(columns), width), dtype=np.int64)
    for m, c in enumerate(columns):
        steps[m, : site.n_species[c]] = radix[c] * np.arange(site.n_species[c])
    return _Group(columns, steps, values)


def _count_groups(site: _Neighbours, terms: list[int]) -> list[_Group]:
    """Sites with pair terms only, by equal pair energies; several such classes share a table while it stays small."""
    pair: dict[int, np.ndarray] = {}
    for t in terms:
        c, f = site.others[t][0]
        pair[c] = pair.get(c, 0.0) + site.functions[c][f][: site.n_species[c], None] * site.gain[t]  # (S_j, S_i - 1)
    classes: dict[tuple, list[int]] = {}
    for c, v in pair.items():
        classes.setdefault((v.shape, v.round(13).tobytes()), []).append(c)
    groups: list[_Group] = []
    for members in classes.values():
        group = _count_group(site, members, pair[members[0]])
        if groups and len(groups[-1].values) * len(group.values) <= MAX_COUNTS:
            groups[-1] = _product(groups[-1], group)
        else:
            groups.append(group)
    return groups


def _count_group(site: _Neighbours, members: list[int], pair: np.ndarray) -> _Group:
    n, s = len(members), len(pair)
    radix = (n + 1) ** np.arange(s - 1)
    count = (np.arange((n + 1) ** (s - 1))[:, None] // radix) % (n + 1)
    values = n * pair[0] + count @ (pair[1:] - pair[0])
    steps = np.tile(np.append(0, radix), (n, 1))
    return _Group(members, steps, values)


def _product(a: _Group, b: _Group) -> _Group:
    width = max(a.steps.shape[1], b.steps.shape[1])
    pad = lambda x: np.pad(x, ((0, 0), (0, width - x.shape[1])))  # noqa: E731
    values = (b.values[:, None] + a.values[None]).reshape(-1, a.values.shape[1])
    return _Group(a.columns + b.columns, np.concatenate([pad(a.steps), len(a.values) * pad(b.steps)]), values)


def _pack(groups: list[list[_Group]], k_max: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(word, shift, mask) of each group: bit fields put into 64-bit words one after another."""
    word, shift, mask = (np.zeros((len(groups), k_max), dtype=np.int64) for _ in range(3))
    for b, found in enumerate(groups):
        w = at = 0
        for k, group in enumerate(found):
            bits = int(len(group.values) - 1).bit_length()
            if at + bits > 63:
                w, at = w + 1, 0
            word[b, k], shift[b, k], mask[b, k] = w, at, (1 << bits) - 1
            at += bits
    return word, shift, mask


def _inverse(
    h: Terms, sites: list[_Neighbours], groups: list[list[_Group]], word: np.ndarray, shift: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(target, own): for each site, the words of others that it enters and what its species adds there."""
    lattice, n_words = h.lattice, int(word.max()) + 1
    # by sublattice of the entering site: {(offset to the owner, its sublattice, word): steps}
    entries: list[dict[tuple[int, ...], np.ndarray]] = [{} for _ in sites]
    for b, (site, found) in enumerate(zip(sites, groups, strict=True)):
        for k, group in enumerate(found):
            for c, steps in zip(group.columns, group.steps, strict=True):
                key = (*(int(v) for v in -site.offset[c]), b, int(word[b, k]))
                total = entries[site.sublattice[c]].setdefault(key, np.zeros(h.n_species, dtype=np.int64))
                total[: len(steps)] += steps << shift[b, k]
    m_max = max(len(e) for e in entries)
    target = np.zeros((lattice.n_sites, m_max), dtype=np.uint32)
    own = np.zeros((len(sites), h.n_species, m_max), dtype=np.int64)
    for b, entered in enumerate(entries):
        here = np.flatnonzero(lattice.sublattice == b)
        for m, ((*offset, owner, w), steps) in enumerate(entered.items()):
            target[here, m] = lattice.index(lattice.offsets[here] + offset, np.full(len(here), owner)) * n_words + w
            own[b, :, m] = steps
    return target, own


# ---------------------------------------------------------------------- the three things a kernel does with them
@njit()
def fill_states(tables: FlipTables, occ: np.ndarray, states: np.ndarray) -> None:
    """``states`` (N * W,) int64 from the occupations (N,) of one configuration."""
    states[:] = 0
    for i in range(len(occ)):
        b = tables.sublattice[i]
        for m in range(tables.target.shape[1]):
            states[tables.target[i, m]] += tables.own[b, occ[i], m]


@njit(inline="always")
def flip_energy(tables: FlipTables, states: np.ndarray, n_words: int, i: Index, old: Index, new: Index) -> float:
    """Energy change when site i goes from species old to new."""
    b, width = tables.sublattice[i], tables.step.shape[1] - 1
    delta = 0.0
    if width == 1:
        for k in range(tables.start.shape[1]):
            bits = (np.uint64(states[i * n_words + tables.word[b, k]]) >> tables.shift[b, k]) & tables.mask[b, k]
            delta += tables.value[tables.start[b, k] + np.int64(bits)]
        return delta if new > old else -delta
    for k in range(tables.start.shape[1]):
        bits = (np.uint64(states[i * n_words + tables.word[b, k]]) >> tables.shift[b, k]) & tables.mask[b, k]
        at = tables.start[b, k] + np.int64(bits) * width - 1
        if new > 0:
            delta += tables.value[at + new]
        if old > 0:
            delta -= tables.value[at + old]
    return delta


@njit(inline="always")
def set_species(tables: FlipTables, occ: np.ndarray, states: np.ndarray, i: Index, new: Index) -> None:
    """Put species new on site i and bring its neighbours' words up to date."""
    target, step = tables.target[i], tables.step[tables.sublattice[i], occ[i], new]
    for m in range(len(step)):
        states[target[m]] += step[m]
    occ[i] = new
