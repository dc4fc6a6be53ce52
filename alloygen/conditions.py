"""Conditions of a run: temperatures, chemical potentials, grids of them, and the field notation.

The semigrand-canonical law is p(x) = exp(-beta [E(x) - sum_k mu_k N_k(x)]) / Z. Chemical potentials are in eV per atom
(in J for Ising), keyed by element, and only their differences matter: ``{"Au": 0.05}`` means mu_Au - mu_Cu = 0.05 eV,
because an element that is not named is the reference at 0. A larger mu of an element means more of it. Temperatures
are in kelvin (in J / kB for Ising).

Everywhere below, ``lattice`` is anything with ``.species`` and ``.elements``: a Primitive, a Lattice.
"""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real

import numpy as np

from alloygen.errors import BadCondition, UnknownSpecies

HOW_MU = 'Write it by element, in eV per atom, for example mu={"Au": 0.05} for mu_Au - mu_Cu = 0.05 eV'


def temperature(T) -> float:
    """One temperature (kelvin for alloys, J/kB for Ising) as a float.

    Raises BadCondition for what is not a finite number above 0.

    Examples
    --------
    >>> temperature(600)
    600.0
    """
    value = _number(T)
    if value is None or not np.isfinite(value) or value <= 0:
        raise BadCondition(
            f"expected a temperature as one finite number above 0 (kelvin for alloys), got {T!r}. "
            "Give T=600 for 600 K; the ground state is the limit of a small T, such as T=10."
        )
    return value


def exchangeable(lattice) -> tuple[str, ...]:
    """The elements whose numbers can change, that is on sublattices with several species; in order of ``.elements``.

    Examples
    --------
    >>> from alloygen.lattice import Primitive
    >>> exchangeable(Primitive(np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], [("Cu", "Au"), ("O",)]))
    ('Cu', 'Au')
    """
    free = {e for names in lattice.species if len(names) > 1 for e in names}
    return tuple(e for e in lattice.elements if e in free)


def chemical_potentials(mu, lattice) -> np.ndarray:
    """Chemical potentials as a vector (n_elements,) in order of ``lattice.elements``, eV per atom.

    The vector is shifted so that the first exchangeable element has 0; elements that occur only on sublattices with a
    single species have 0, whatever was given for them.

    Parameters
    ----------
    mu : dict by element, which may leave one exchangeable element out (the reference at 0); or a bare number, for a
        binary alone: the LAST species of the sublattice's list minus the first
    lattice : Primitive or Lattice

    Raises BadCondition when mu is missing, not finite, or leaves out more than one element, and UnknownSpecies for an
    element that the lattice does not hold.

    Examples
    --------
    >>> from alloygen.lattice import Primitive
    >>> cuau = Primitive(np.eye(3), [[0, 0, 0]], [("Cu", "Au")])
    >>> chemical_potentials({"Au": 0.05}, cuau)
    array([0.  , 0.05])
    >>> chemical_potentials({"Cu": 0.05}, cuau)
    array([ 0.  , -0.05])
    >>> chemical_potentials(0.05, cuau)
    array([0.  , 0.05])
    """
    free = exchangeable(lattice)
    if mu is None:
        if not free:
            return np.zeros(len(lattice.elements))
        raise BadCondition(f"expected chemical potentials for {_join(free)}, got mu=None. {HOW_MU}.")
    by_element = dict(mu) if isinstance(mu, Mapping) else _from_number(mu, lattice, free)
    unknown = [e for e in by_element if e not in lattice.elements]
    if unknown:
        raise UnknownSpecies(
            f"expected chemical potentials of elements among {_join(lattice.elements)}, got mu of {_join(unknown)}. "
            "Drop it, or use a Hamiltonian that knows the element."
        )
    missing = [e for e in free if e not in by_element]
    if len(missing) > 1:
        raise BadCondition(
            f"expected mu for all but at most one of {_join(free)} (the one left out is the reference at 0), "
            f"got {mu!r}, where {_join(missing)} are missing. Name them, with 0 if you mean 0."
        )
    return _vector(by_element, lattice.elements, free)


def _from_number(mu, lattice, free: tuple[str, ...]) -> dict[str, float]:
    """A bare number as a dict: last species minus the first, where that has one meaning."""
    value = _number(mu)
    if value is None:
        raise BadCondition(f"expected mu as a dict by element or one number, got {mu!r}. {HOW_MU}.")
    if len(free) != 2:
        raise BadCondition(
            f"expected a dict by element, since a bare number is for two exchangeable elements and here are "
            f"{len(free)} ({_join(free) or 'none'}), got mu={mu!r}. {HOW_MU}."
        )
    pairs = {names for names in lattice.species if len(names) > 1}
    if len(pairs) > 1:
        raise BadCondition(
            f"expected a dict by element, since the sublattices list {_join(free)} in different orders and a bare "
            f"number means the last species minus the first, got mu={mu!r}. {HOW_MU}."
        )
    first, last = pairs.pop()
    return {first: 0.0, last: value}


def _vector(by_element: Mapping, elements: tuple[str, ...], free: tuple[str, ...]) -> np.ndarray:
    out = np.zeros(len(elements))
    for element, given in by_element.items():
        value = _number(given)
        if value is None or not np.isfinite(value):
            raise BadCondition(
                f"expected mu of {element} as one finite number in eV per atom, got {given!r}. "
                "Give a number; for many values at once use a scan or conditions.grid."
            )
        if element in free:
            out[elements.index(element)] = value
    index = [elements.index(e) for e in free]
    if index:
        out[index] -= out[index[0]]
    return out


def mu_from_field(field):
    """Chemical-potential difference of a binary from a field that multiplies spins: dmu = 2 field.

    The field notation (``chem_pot={"c1_0": m}`` in CLEASE, h in Ising) adds -m sum_i sigma_i to the energy with
    sigma = +1 for one species and -1 for the other; exchanging the one for the other changes sum sigma by 2, so
    mu(+1) - mu(-1) = 2 m. Numbers or arrays, eV.

    Examples
    --------
    >>> mu_from_field(0.12)
    0.24
    """
    return 2 * field


def field_from_mu(mu):
    """Field that multiplies spins of +-1, from mu(+1) - mu(-1): field = mu / 2; see ``mu_from_field``.

    Examples
    --------
    >>> field_from_mu(0.24)
    0.12
    """
    return mu / 2


def grid(T, mu, lattice) -> tuple[np.ndarray, np.ndarray]:
    """Every temperature with every chemical potential: ``(T (C,), mu (C, n_elements))``, T slow and mu fast.

    Parameters
    ----------
    T : a number or a sequence of them, kelvin
    mu : what ``chemical_potentials`` takes, or a sequence of such; or a dict in which one value is a sequence
    lattice : Primitive or Lattice

    Raises BadCondition for an empty sequence or a dict with several sequences, and what ``temperature`` and
    ``chemical_potentials`` raise.

    Examples
    --------
    >>> from alloygen.lattice import Primitive
    >>> cuau = Primitive(np.eye(3), [[0, 0, 0]], [("Cu", "Au")])
    >>> T, mu = grid([300, 600], {"Au": [-0.1, 0.1]}, cuau)
    >>> T, mu[:, 1]
    (array([300., 300., 600., 600.]), array([-0.1,  0.1, -0.1,  0.1]))
    """
    temperatures = np.array([temperature(t) for t in (_items(T) if _is_sequence(T) else [T])])
    mus = np.stack([chemical_potentials(m, lattice) for m in _mu_list(mu)]) if not _empty(mu) else np.zeros((0, 0))
    if not len(temperatures) or not len(mus):
        raise BadCondition(
            f"expected at least one temperature and one mu, got T={T!r} and mu={mu!r}. "
            "Give numbers or sequences of them."
        )
    return np.repeat(temperatures, len(mus)), np.tile(mus, (len(temperatures), 1))


def cuau_grid() -> tuple[np.ndarray, np.ndarray]:
    """The 110 conditions at which CuAu models are judged: ``(T (110,) in kelvin, mu_Au - mu_Cu (110,) in eV)``.

    T = 200..1200 step 100, each with nine dmu from -0.24 to 0.24 and dmu = 0.0724, which lies inside the 5 meV wide
    window of CuAu3 that the nine step over; ordered by T, then by dmu.

    Examples
    --------
    >>> T, dmu = cuau_grid()
    >>> T.shape, dmu[:10].round(4).tolist()
    ((110,), [-0.24, -0.18, -0.12, -0.06, 0.0, 0.06, 0.0724, 0.12, 0.18, 0.24])
    """
    dmu = np.sort(np.append(np.linspace(-0.24, 0.24, 9), 0.0724))
    T = np.arange(200.0, 1201.0, 100.0)
    return np.repeat(T, len(dmu)), np.tile(dmu, len(T))


def ising_grid() -> tuple[np.ndarray, np.ndarray]:
    """The 105 conditions at which Ising models are judged: ``(T (105,) in J/kB, mu(+) - mu(-) = 2 h (105,) in J)``.

    T = 1.5..3.5 step 0.1, each with the fields h = -0.4, -0.2, 0, 0.2, 0.4 (Du et al., arXiv:2603.14695).

    Examples
    --------
    >>> T, mu = ising_grid()
    >>> T.shape, mu[:5].tolist()
    ((105,), [-0.8, -0.4, 0.0, 0.4, 0.8])
    """
    mu = mu_from_field(np.array([-0.4, -0.2, 0.0, 0.2, 0.4]))
    T = np.linspace(1.5, 3.5, 21).round(6)
    return np.repeat(T, len(mu)), np.tile(mu, len(T))


# ---------------------------------------------------------------------- what counts as a number or a sequence
def _number(x) -> float | None:
    """A real number, or a 0-d array or tensor of one, as a float; None for anything else (bool, str, complex ...)."""
    if getattr(x, "ndim", None) == 0 and hasattr(x, "item"):
        x = x.item()
    if isinstance(x, (bool, np.bool_)) or not isinstance(x, Real):
        return None
    return float(x)


def _is_sequence(x) -> bool:
    return hasattr(x, "__iter__") and not isinstance(x, (str, bytes, Mapping)) and getattr(x, "ndim", 1) != 0


def _items(x) -> list:
    if getattr(x, "ndim", 1) > 1:
        raise BadCondition(f"expected a number or a flat sequence, got an array of shape {tuple(x.shape)}. Flatten it.")
    return list(x)


def _empty(mu) -> bool:
    return _is_sequence(mu) and hasattr(mu, "__len__") and len(mu) == 0


def _mu_list(mu) -> list:
    """The chemical potentials of a grid, one entry each."""
    if _is_sequence(mu):
        return _items(mu)
    if not isinstance(mu, Mapping):
        return [mu]
    varied = [e for e, v in mu.items() if _is_sequence(v)]
    if len(varied) > 1:
        raise BadCondition(
            f"expected a dict in which one element at most has a sequence, got sequences for {_join(varied)}. "
            "Give a list of dicts, one per chemical potential."
        )
    if not varied:
        return [mu]
    values = _items(mu[varied[0]])
    if not values:
        raise BadCondition(f"expected at least one mu of {varied[0]}, got an empty sequence. Give numbers.")
    return [{**mu, varied[0]: v} for v in values]


def _join(names) -> str:
    return ", ".join(map(str, names))
