"""Metadynamics: free energy against composition.

run         ``metadynamics``: the protocol, what is asked, and the profile with its errors
settings    ``Stages``, what a caller sets
counted     the lattice seen from the element that is counted
walk        all arrays of a run, stage after stage
kernels     the compiled walks
"""

from alloygen.montecarlo.metadynamics.run import metadynamics
from alloygen.montecarlo.metadynamics.settings import Stages

__all__ = ["Stages", "metadynamics"]
