"""What users give as conditions: temperatures, chemical potentials, and the field notation.

The semigrand-canonical law is p(x) = exp(-beta [E(x) - sum_k mu_k N_k(x)]) / Z, the sum over ALL elements. Chemical
potentials are in eV per atom (in J for Ising), keyed by element. One rule everywhere: what is given is kept, and an element
that is not named has mu = 0, so ``{"Au": 0.05}`` means mu_Au = 0.05 eV and mu_Cu = 0. A larger mu of an element means more of
it. The configurations depend on differences alone; Phi = -kB T log Z / N belongs to the mu that was given, and a constant c
on all of them lowers it by c. Temperatures are in kelvin (in J / kB for Ising).

Everywhere below, ``lattice`` is anything with ``.species`` and ``.elements``: a Primitive, a Lattice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar, overload

import numpy as np

from alloygen.arguments import join
from alloygen.errors import BadCondition, UnknownSpecies

if TYPE_CHECKING:
    import torch

MOST_VALUES = 100_000  # of T or of mu in one call
HOW_MU = 'Write it by element, in eV per atom, for example mu={"Au": 0.05}; an element that is not named has mu = 0'


class Sites(Protocol):
    """What chemical potentials need to know of a lattice."""

    @property
    def species(self) -> tuple[tuple[str, ...], ...]: ...
    @property
    def elements(self) -> tuple[str, ...]: ...


@dataclass(frozen=True)
class Field:
    """Fields that multiply the site functions of an expansion: ((number of the function, field), ...). See ``mu_from_field``."""

    values: tuple[tuple[int, float], ...]


class Alloy(Protocol):
    """What knows its elements: a Primitive, a Lattice, a ClusterExpansion, a Hamiltonian."""

    @property
    def elements(self) -> tuple[str, ...]: ...


Potentials = TypeVar("Potentials", np.ndarray, "torch.Tensor")
Mu: TypeAlias = float | Mapping[str, float] | Field  # one set of chemical potentials, see ``chemical_potentials``


def temperature(T: object) -> float:
    """One temperature (kelvin for alloys, J/kB for Ising) as a float.

    Raises BadCondition for what is not a finite number above 0.

    Examples
    --------
    >>> temperature(600)
    600.0
    """
    value = number(T)
    if value is None or not np.isfinite(value) or value <= 0:
        raise BadCondition(
            f"expected a temperature as one finite number above 0 (kelvin for alloys), got {T!r}. "
            "Give T=600 for 600 K; the ground state is the limit of a small T, such as T=10."
        )
    return value


def exchangeable(lattice: Sites) -> tuple[str, ...]:
    """The elements whose numbers can change, that is on sublattices with several species; in order of ``.elements``.

    Examples
    --------
    >>> from alloygen.lattice import Primitive
    >>> exchangeable(Primitive(np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], [("Cu", "Au"), ("O",)]))
    ('Cu', 'Au')
    """
    free = {e for names in lattice.species if len(names) > 1 for e in names}
    return tuple(e for e in lattice.elements if e in free)


def references(lattice: Sites) -> np.ndarray:
    """(n_elements,) the number of the element from which each one's mu can be counted without a change of the law.

    Elements that can take each other's places, directly or through others, share the first of them; every site holds one atom, so
    adding a constant to the mu of all that share one changes no probability. An element on single-species sublattices is its own.

    Examples
    --------
    >>> from alloygen.lattice import Primitive
    >>> references(Primitive(np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], [("O",), ("Mg", "Ni")])).tolist()
    [0, 1, 1]
    """
    out = np.arange(len(lattice.elements))
    for names in lattice.species:
        together = [out[lattice.elements.index(e)] for e in names]
        out[np.isin(out, together)] = min(together)
    return out


def relative(mu: Potentials, lattice: Sites) -> Potentials:
    """Chemical potentials (..., n_elements), an array or tensor, as differences that fix the law: each less its reference's.

    See :func:`references`; the first element has 0.

    Examples
    --------
    >>> from alloygen.lattice import Primitive
    >>> relative(np.array([0.5, 0.25]), Primitive(np.eye(3), [[0, 0, 0]], [("Cu", "Au")]))
    array([ 0.  , -0.25])
    """
    return mu - mu[..., references(lattice)]


def chemical_potentials(mu: Mu | None, lattice: Alloy) -> np.ndarray:
    """Chemical potentials as a vector (n_elements,) in order of ``lattice.elements``, eV per atom, as they are given.

    Parameters
    ----------
    mu : dict by element, 0 for those not named; or a bare number, for two exchangeable elements alone: mu of the LAST species of
        the sublattice's list, that is its mu minus that of the first, which has 0; or a field, see :func:`mu_from_field`
    lattice : Primitive or Lattice; for a field a ClusterExpansion or a Hamiltonian, whose site functions it multiplies

    Raises BadCondition when mu is missing or not finite, and UnknownSpecies for an element that the lattice does not hold.

    Examples
    --------
    >>> from alloygen.lattice import Primitive
    >>> cuau = Primitive(np.eye(3), [[0, 0, 0]], [("Cu", "Au")])
    >>> chemical_potentials({"Au": 0.05}, cuau)
    array([0.  , 0.05])
    >>> chemical_potentials({"Cu": 0.05}, cuau)
    array([0.05, 0.  ])
    >>> chemical_potentials(0.05, cuau)
    array([0.  , 0.05])
    """
    bare: Any = getattr(lattice, "lattice", getattr(lattice, "primitive", lattice))
    free = exchangeable(bare)
    if mu is None:
        if not free:
            return np.zeros(len(bare.elements))
        raise BadCondition(
            f"expected chemical potentials for {join(free)}, got mu=None. {HOW_MU} (mu={{}}: all of them)."
        )
    if isinstance(mu, Field):
        return _from_field(mu, lattice)
    by_element = dict(mu) if isinstance(mu, Mapping) else _fromnumber(mu, bare, free)
    require_among(by_element, bare.elements, "mu")
    return _vector(by_element, bare.elements)


def require_among(named: Iterable[object], elements: Sequence[str], what: str, where: str = "") -> None:
    """UnknownSpecies where ``what`` (mu, a composition, a charge, a reference) is given of other elements than these.

    where : which ones these are, for the message

    Examples
    --------
    >>> require_among({"Pt": 0.1}, ("Cu", "Au"), "mu")
    Traceback (most recent call last):
    alloygen.errors.UnknownSpecies: expected mu of elements among Cu, Au, got mu of Pt. Drop it, or use a Hamiltonian whose sites may hold it
    """
    if unknown := [e for e in named if e not in elements]:
        raise UnknownSpecies(
            f"expected {what} of elements among {join(elements) or 'none'}{where}, got {what} of {join(map(str, unknown))}. Drop it, or use a Hamiltonian "
            "whose sites may hold it"
        )


def _fromnumber(mu, lattice, free: tuple[str, ...]) -> dict[str, float]:
    """A bare number as a dict: last species minus the first, where that has one meaning."""
    value = number(mu)
    if value is None:
        raise BadCondition(f"expected mu as a dict by element or one number, got {mu!r}. {HOW_MU}.")
    if len(free) != 2:
        raise BadCondition(
            f"expected a dict by element, since a bare number is for two exchangeable elements and here are "
            f"{len(free)} ({join(free) or 'none'}), got mu={mu!r}. {HOW_MU}."
        )
    pairs = {names for names in lattice.species if len(names) > 1}
    if len(pairs) > 1:
        raise BadCondition(
            f"expected a dict by element, since the sublattices list {join(free)} in different orders and a bare "
            f"number means the last species minus the first, got mu={mu!r}. {HOW_MU}."
        )
    first, last = pairs.pop()
    if not np.isfinite(value):
        raise BadCondition(
            f"expected mu as one finite number, mu_{last} - mu_{first} in eV per atom, got {mu!r}. {HOW_MU}."
        )
    return {last: value}


def _vector(by_element: Mapping, elements: tuple[str, ...]) -> np.ndarray:
    out = np.zeros(len(elements))
    for element, given in by_element.items():
        value = number(given)
        if value is None or not np.isfinite(value):
            raise BadCondition(
                f"expected mu of {element} as one finite number in eV per atom, got {given!r}. "
                "Give a number; for many values at once use a scan or conditions.grid."
            )
        out[elements.index(element)] = value
    return out


@overload
def mu_from_field(field: float | Mapping[str, float], expansion: None = None) -> Field: ...
@overload
def mu_from_field(field: float | Mapping[str, float], expansion: Alloy) -> dict[str, float]: ...
@overload
def mu_from_field(field: Iterable[float], expansion: None = None) -> list[Field]: ...
@overload
def mu_from_field(field: Iterable[float], expansion: Alloy) -> list[dict[str, float]]: ...
def mu_from_field(
    field: float | Mapping[str, float] | Iterable[float], expansion: Alloy | None = None
) -> Field | dict[str, float] | list:
    """Chemical potentials from fields that multiply the site functions, as in CLEASE: chem_pot={"c1_0": m}.

    A field takes m N c1_k from the energy, c1_k = <phi_k> the mean of a site function over the sites that can change, and N all
    sites. That is sum_e mu_e N_e with

        mu_e = sum_k m_k phi_k(e) N / (sites that can change),

    so sign and size follow the expansion's own functions: for spins of +-1 mu(+1) - mu(-1) = 2 m, whichever element is +1 and in
    whatever order the elements are listed.

    Parameters
    ----------
    field : m of the first site function (c1_0; h for Ising), or a dict {"c1_0": m, "c1_1": ...}; a sequence of numbers gives a list
    expansion : ClusterExpansion or Hamiltonian; with it the result is a dict by element, without it a :class:`Field`, which is
        accepted wherever mu is and takes the functions of the Hamiltonian at hand

    Raises BadCondition for what is no finite number, and names other than c1_0, c1_1, ...

    Examples
    --------
    >>> from alloygen.hamiltonian.ising import ising
    >>> mu_from_field(0.25, ising(4))
    {'-': -0.25, '+': 0.25}
    >>> [mu["+"] for mu in mu_from_field([-0.5, 0.5], ising(4))]
    [-0.5, 0.5]
    """
    if is_sequence(field):
        return [mu_from_field(m, expansion) for m in items(field)]
    named = field if isinstance(field, Mapping) else {"c1_0": field}
    values = []
    for name, given in named.items():
        k, m = str(name).removeprefix("c1_"), number(given)
        if not (str(name).startswith("c1_") and k.isdecimal()) or m is None or not np.isfinite(m):
            raise BadCondition(
                f"expected a field as one finite number, or as a dict of point clusters such as {{'c1_0': 0.05}}, got {name!r}: {given!r}"
            )
        values.append((int(k), m))
    record = Field(tuple(values))
    if expansion is None:
        return record
    return dict(zip(expansion.elements, _from_field(record, expansion).tolist(), strict=True))


def _from_field(field: Field, source) -> np.ndarray:
    expansion = getattr(source, "expansion", source)
    functions = getattr(expansion, "functions", None)
    if functions is None:
        raise BadCondition(
            f"expected a Hamiltonian or a ClusterExpansion, whose site functions a field multiplies, got a {type(source).__name__}. Write mu by "
            "element: mu_from_field(field, expansion)."
        )
    missing = [k for k, _ in field.values if k >= len(functions)]
    if missing:
        raise BadCondition(
            f"expected fields of the {len(functions)} site functions of {expansion.name!r}, c1_0 to c1_{len(functions) - 1}, "
            f"got one of c1_{missing[0]}"
        )
    changing = sum(len(names) > 1 for names in expansion.primitive.species)
    share = len(expansion.primitive.species) / max(changing, 1)
    return share * sum((m * functions[k] for k, m in field.values), np.zeros(len(expansion.elements)))


# ---------------------------------------------------------------------- what counts as a number or a sequence
def number(x) -> float | None:
    """A real number, or a 0-d array or tensor of one, as a float; None for anything else (bool, str, complex ...)."""
    if getattr(x, "ndim", None) == 0 and hasattr(x, "item"):
        x = x.item()
    if isinstance(x, (bool, np.bool_)) or not isinstance(x, Real):
        return None
    return float(x)


def is_sequence(x) -> bool:
    return hasattr(x, "__iter__") and not isinstance(x, (str, bytes, Mapping)) and getattr(x, "ndim", 1) != 0


def items(x) -> list:
    if getattr(x, "ndim", 1) > 1:
        raise BadCondition(f"expected a number or a flat sequence, got an array of shape {tuple(x.shape)}. Flatten it.")
    if (n := len(x) if hasattr(x, "__len__") else 0) > MOST_VALUES:
        raise BadCondition(f"expected at most {MOST_VALUES} numbers, got {n}. Take fewer, or scan them in parts")
    return list(x)
