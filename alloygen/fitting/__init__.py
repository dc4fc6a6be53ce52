"""An expansion of your own alloy: structures that are worth computing, their energies, and the ECIs with their uncertainty.

derivative    the structures of small supercells, each once up to symmetry; when two structures are the same
data          structures with energies, laid onto the lattice, and what is wrong with them
basis         the clusters of a fit: those asked for, or those that leave the least error of structures left out
regression    from correlation functions and energies to ECIs: estimators, cross-validation, posterior, learning curve
hulls         ground states of the fit against those of the data; which structures to compute next
fit           all of it, in one call
"""
