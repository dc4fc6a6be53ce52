"""What users give as a composition: numbers of atoms, fractions, or a balance of charges; as linear constraints on the numbers of atoms.

A constraint is sum over sites of w[b, a] = t, with the weight w of species a on sublattice b and a whole number t. A composition is one for each
element but one of those that share sites; a balance of charges is a single one. Only sites that may hold several species count,
held ones among them, as in ``Ensemble.composition``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from alloygen.arguments import join, whole_number
from alloygen.conditions.given import exchangeable, number, references, require_among
from alloygen.errors import BadCondition

if TYPE_CHECKING:
    from alloygen.lattice import Lattice

HOW = 'Write it by element, as numbers of atoms, composition={"Au": 16}, or as fractions of the sites that may change, {"Au": 0.25}'
WHOLE = 1e-6  # how far a fraction of the sites may be off a whole number, per site


@dataclass(frozen=True, kw_only=True)
class Balance:
    """sum over elements of charge N = total: the numbers of atoms are free, at the chemical potentials given, as far as their charges add up.

    charges : whole numbers by element; an element that is not named has 0. Atoms on sublattices of one species count too
    total : what they add up to

    Raises BadCondition where a charge is no whole number, or none is other than 0.

    Examples
    --------
    >>> Balance(charges={"Li": 1, "Mn": 3, "Ti": 4, "O": -2, "F": -1})
    Balance(charges={'Li': 1, 'Mn': 3, 'Ti': 4, 'O': -2, 'F': -1}, total=0)
    """

    charges: Mapping[str, int]
    total: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.charges, Mapping) or not any(self.charges.values()):
            raise BadCondition(
                f'expected charges by element, such as {{"Li": 1, "O": -2}}, one of them other than 0, got {self.charges!r}'
            )
        put = lambda name, value: object.__setattr__(self, name, value)  # noqa: E731
        put("charges", {e: _whole(q, f"the charge of {e}") for e, q in self.charges.items()})
        put("total", _whole(self.total, "total"))


# Numbers or fractions by element, the same by sublattice, a balance, or "atoms": the numbers that the atoms have.
Composition: TypeAlias = Mapping[str, float] | Mapping[int, Mapping[str, float]] | Balance | str


@dataclass(frozen=True, kw_only=True, eq=False)
class Constraint:
    """C linear constraints on a lattice.

    weights : int (C, n_sublattices, S) of each species; target : int (C,)
    whole : whether they say the number of every element, so that chemical potentials have no say
    words : for messages
    """

    weights: np.ndarray
    target: np.ndarray
    whole: bool
    words: str


def named_elements(*given: object) -> tuple[str, ...]:
    """The elements that chemical potentials and compositions name, in order of appearance: with the atoms they say which alloy is meant.

    given : what users write as mu and as a composition: dicts by element or by sublattice, a :class:`Balance`, an element, or lists of these.
        What names none (a number, a field, "atoms", None) adds none

    Examples
    --------
    >>> named_elements({"Pd": [-0.1, 0.1]}, {0: {"Au": 0.5}, 1: {"O": 8}}), named_elements("Au", 0.02, "atoms", None)
    (('Pd', 'Au', 'O'), ('Au',))
    """
    found: list[str] = []
    for part in given:
        if isinstance(part, Balance):
            found += part.charges
        elif isinstance(part, Mapping):
            found += [e for key, value in part.items() for e in (value if isinstance(value, Mapping) else [key])]
        elif isinstance(part, (list, tuple)):
            found += named_elements(*part)
        elif isinstance(part, str) and part != "atoms":
            found.append(part)
    return tuple(e for e in dict.fromkeys(found) if isinstance(e, str))


def require_composition(composition: object) -> None:
    """BadCondition for what is no composition at all, whatever the alloy."""
    if isinstance(composition, Balance) or (isinstance(composition, str) and composition == "atoms"):
        return
    if not isinstance(composition, Mapping) or not composition:
        raise BadCondition(f'expected a composition as a dict, a Balance or "atoms", got {composition!r}. {HOW}.')


def constraint(composition: Composition, lattice: Lattice, occ: np.ndarray | None = None) -> Constraint:
    """The constraints that a composition means on a supercell.

    Parameters
    ----------
    composition : {"Au": 16} atoms, {"Au": 0.25} of the sites that may change, {0: {"Au": 4}, 1: {...}} on each sublattice that may change, a
        :class:`Balance`, or "atoms". Of the elements that share sites one may be left out, which has the rest
    lattice : Lattice
    occ : (N,) the occupations that "atoms" means

    Raises BadCondition for numbers that no configuration of this supercell has, with the nearest, and where elements are missing;
    UnknownSpecies for elements that are not there.

    Examples
    --------
    >>> import alloygen.data
    >>> lattice = alloygen.data.cuau().on((2, 2, 4)).lattice
    >>> constraint({"Au": 0.25}, lattice).target.tolist(), constraint({"Cu": 12}, lattice).words
    ([4], 'Au 4, Cu 12')
    """
    require_composition(composition)
    if isinstance(composition, Balance):
        return _balance(composition, lattice)
    if isinstance(composition, str):
        if occ is None:
            raise BadCondition(f'expected Atoms with composition="atoms", got none. {HOW}.')
        return by_group(_counted(lattice, occ), lattice)
    by_sublattice = [isinstance(k, (int, np.integer)) for k in composition]
    if any(by_sublattice) != all(by_sublattice):
        raise BadCondition(f"expected a composition by element or by sublattice, got both in {composition!r}. {HOW}.")
    if not any(by_sublattice) and any(isinstance(c, Mapping) for c in composition.values()):
        raise BadCondition(
            f"expected a composition of sublattices by their numbers, {_told(lattice)}, got {composition!r}. {HOW}."
        )
    groups = _sublattices(composition, lattice) if all(by_sublattice) else _shared(composition, lattice)
    return by_group(groups, lattice)


# ---------------------------------------------------------------------- groups of sublattices, each with all its numbers
Group: TypeAlias = tuple[list[int], dict[str, int]]  # sublattices, and the number of atoms of each of their elements


def by_group(groups: list[Group], lattice: Lattice) -> Constraint:
    """The constraints of groups of sublattices, each with the number of atoms of each of its elements."""
    weights, target, words = [], [], []
    for sublattices, counts in groups:
        rest = max(counts, key=lambda e: counts[e])  # the most abundant follows from the others
        words.append(", ".join(f"{e} {n}" for e, n in sorted(counts.items())))
        for e, n in counts.items():
            if e != rest:
                weights.append(_indicator(lattice, sublattices, {e: 1}))
                target.append(n)
    shape = (len(target), lattice.n_sublattices, lattice.element_index.shape[1])
    return Constraint(
        weights=np.array(weights, dtype=np.int64).reshape(shape),
        target=np.array(target, dtype=np.int64),
        whole=True,
        words="; ".join(words),
    )


def _indicator(lattice: Lattice, sublattices: list[int], by_element: Mapping[str, int]) -> np.ndarray:
    out = np.zeros(lattice.element_index.shape, dtype=np.int64)
    for b in sublattices:
        for a, e in enumerate(lattice.species[b]):
            out[b, a] = by_element.get(e, 0)
    return out


def _counted(lattice: Lattice, occ: np.ndarray) -> list[Group]:
    """The numbers that occupations (N,) have, of each group of sublattices that share elements."""
    out = []
    for sublattices in _connected(lattice):
        here = np.isin(lattice.sublattice, sublattices)
        held = lattice.site_elements[np.flatnonzero(here), occ[here]]
        elements = dict.fromkeys(e for b in sublattices for e in lattice.species[b])
        out.append((sublattices, {e: int((held == lattice.elements.index(e)).sum()) for e in elements}))
    return out


def _connected(lattice: Lattice) -> list[list[int]]:
    """Sublattices of several species, those together whose elements can take each other's places."""
    of = references(lattice)
    groups: dict[int, list[int]] = {}
    for b, names in enumerate(lattice.species):
        if len(names) > 1:
            groups.setdefault(int(of[lattice.elements.index(names[0])]), []).append(b)
    return list(groups.values())


def _shared(composition: Mapping, lattice: Lattice) -> list[Group]:
    require_among(composition, exchangeable(lattice), "numbers", ", which sites may exchange")
    n_free = int(lattice.changeable.sum())
    groups = [(s, _numbers(composition, s, lattice, n_free)) for s in _connected(lattice)]
    return [(s, _complete(counts, s, lattice)) for s, counts in groups]


def _sublattices(composition: Mapping, lattice: Lattice) -> list[Group]:
    if sorted(map(int, composition)) != _free(lattice):
        raise BadCondition(
            f"expected a composition of every sublattice that may change, {_told(lattice)}, got one of {sorted(composition)}"
        )
    out = []
    for b in _free(lattice):
        given = composition[b]
        if not isinstance(given, Mapping):
            raise BadCondition(f"expected the composition of sublattice {b} as a dict by element, got {given!r}")
        require_among(given, lattice.species[b], "numbers", f" on sublattice {b}")
        n = int((lattice.sublattice == b).sum())
        out.append(([b], _complete(_numbers(given, [b], lattice, n), [b], lattice)))
    return out


def _free(lattice: Lattice) -> list[int]:
    """The sublattices that may change."""
    return [b for b, names in enumerate(lattice.species) if len(names) > 1]


def _told(lattice: Lattice) -> str:
    return ", ".join(f"{b} ({'/'.join(lattice.species[b])})" for b in _free(lattice))


def _numbers(given: Mapping, sublattices: list[int], lattice: Lattice, n: int) -> dict[str, int]:
    """Numbers of atoms of the elements named on some sublattices; fractions are of n sites."""
    here = {e for b in sublattices for e in lattice.species[b]}
    return {e: _atoms(e, value, n) for e, value in given.items() if e in here}


def _atoms(element: str, given: Any, n: int) -> int:
    """A number of atoms as it is, or of a fraction of n sites."""
    value = number(given)
    if value is None or not np.isfinite(value) or value < 0:
        raise BadCondition(f"expected the composition of {element} as a number of at least 0, got {given!r}. {HOW}.")
    fraction = isinstance(given, (float, np.floating)) and value <= 1
    wanted = value * n if fraction else value
    nearest = round(wanted)
    if abs(wanted - nearest) > (WHOLE * n if fraction else 0):
        low, high = int(np.floor(wanted)), int(np.ceil(wanted))
        shares = f"{low} ({low / n:.6g}) and {high} ({high / n:.6g})" if fraction else f"{low} and {high}"
        raise BadCondition(
            f"expected a whole number of atoms of {element} on {n} sites, got {given!r}, that is {wanted:.6g} atoms; the nearest are {shares}. "
            "Take one of these, or another supercell."
        )
    return nearest


def _complete(counts: dict[str, int], sublattices: list[int], lattice: Lattice) -> dict[str, int]:
    """The numbers of all elements of some sublattices, the rest filled in."""
    elements = list(dict.fromkeys(e for b in sublattices for e in lattice.species[b]))
    n = int(np.isin(lattice.sublattice, sublattices).sum())
    left, missing = n - sum(counts.values()), [e for e in elements if e not in counts]
    if left < 0 or (left and not missing):
        least = {e: min(c, n) for e, c in counts.items()}
        near = f"; the nearest of {next(iter(counts))} alone is {least[next(iter(counts))]}" if len(counts) == 1 else ""
        raise BadCondition(
            f"expected {n} atoms on the {n} sites of {join(elements)}, got {sum(counts.values())} ({counts}){near}"
        )
    if left and len(missing) > 1:
        raise BadCondition(
            f"expected the numbers of all but one of {join(elements)}, which share {n} sites, got {counts or 'none of them'}: "
            f"name {join(missing[:-1])} as well"
        )
    return {e: counts.get(e, left if left and e in missing else 0) for e in elements}


def _balance(balance: Balance, lattice: Lattice) -> Constraint:
    require_among(balance.charges, lattice.elements, "charges")
    weights = _indicator(lattice, list(range(lattice.n_sublattices)), balance.charges)
    return Constraint(
        weights=weights[None],
        target=np.array([balance.total]),
        whole=False,
        words=f"charges {dict(balance.charges)} that add up to {balance.total}",
    )


def _whole(value: Any, name: str) -> int:
    found = number(value)
    if found is None or not float(found).is_integer():
        raise BadCondition(f"expected {name} as a whole number, got {value!r}; multiply all of them by one number")
    sign = -1 if found < 0 else 1
    return sign * whole_number(abs(found), name, 0)
