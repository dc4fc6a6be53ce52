"""Units, named once.

Energies are in eV and temperatures in kelvin for alloys; lattice models such as Ising are dimensionless
(J = 1, kB = 1). The Boltzmann constant therefore belongs to the Hamiltonian (``Hamiltonian.kB``); the value for
alloys is ASE's, so that numbers agree with what users compute with ASE.
"""

from ase.units import kB as KB_EV_PER_K

__all__ = ["KB_EV_PER_K"]
