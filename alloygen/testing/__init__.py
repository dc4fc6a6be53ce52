"""Checks for those who write a model, a move or a source of expansions of their own; alloygen's tests use the same.

    enumerable("cuau-2x2x2")      small systems whose every state is known: Hamiltonian, exact tables, conditions (``SYSTEMS`` names them)
    assert_boltzmann              samples follow p(x) = exp(-(E - mu.N) / kT) / Z, by a chi-square test over all states
    assert_not_boltzmann          its negative control: the same samples must be told from a law that is slightly off
    check_model                   a model is a normalised law, and draws from it what it says
    check_hamiltonian             every way to get an energy gives the same one, with the symmetries that it should have

All raise AssertionError where something is wrong, with what was expected, what came and where to look, and AlloygenError where they are
asked for what they cannot tell. Worked examples are in ``tests/examples`` of the repository.
"""

from alloygen.testing.boltzmann import assert_boltzmann, assert_not_boltzmann, chi_square
from alloygen.testing.hamiltonians import check_hamiltonian
from alloygen.testing.models import check_model
from alloygen.testing.systems import SYSTEMS, System, enumerable, random_expansion

__all__ = [
    "SYSTEMS",
    "System",
    "assert_boltzmann",
    "assert_not_boltzmann",
    "check_hamiltonian",
    "check_model",
    "chi_square",
    "enumerable",
    "random_expansion",
]
