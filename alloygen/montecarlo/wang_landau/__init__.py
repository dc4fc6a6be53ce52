"""Wang-Landau: the density of states of any Hamiltonian, and samples that are flat in energy.

run         ``wang_landau``: the algorithm, what is asked, and the run
settings    ``Bins`` and ``Schedule``, what a caller sets
bins        levels or bins of E - mu.N, and walks at their start
scout       the pre-run: which energies occur
kernels     the compiled walks
density     from walks to a ``DensityOfStates`` with errors
flat        ``multicanonical``: samples from it
"""

from alloygen.montecarlo.wang_landau.flat import multicanonical, multicanonical_ensembles
from alloygen.montecarlo.wang_landau.run import wang_landau
from alloygen.montecarlo.wang_landau.settings import Bins, Schedule

__all__ = ["Bins", "Schedule", "multicanonical", "multicanonical_ensembles", "wang_landau"]
