"""What samplers give back, and what is made of it. Each arrow goes down: an Ensemble knows no Scan, and no result its sampler.

At one condition: ``draws`` (the record: configurations, weights, atoms of each element), ``averages`` (which samples averages rest on: these
alone, a ladder of conditions, or hot chains beside), ``observables`` (correlations, order, histograms), ``reweighting`` (other laws, parts),
``energies`` (by another Hamiltonian),
``export`` (structures, files), ``distinct`` (what symmetry makes equal), ``labels`` (energies of a calculator, on one scale), ``relabelled`` (samples with these), ``selected`` (a few that stand for
all, as ``choosing`` finds them); ``ensemble`` is the class that users have, ``Ensemble``, and ``reading`` gets one out of a file.

At many: ``runs`` (the record), ``joined`` (what the conditions know together: MBAR, free energies, ladders), ``convergence``, ``tables``,
``moved`` (other laws), ``parts`` (one condition, some, several scans as one), ``diagrams`` (tables over compositions); ``scan`` is ``Scan``, and ``adaptive`` chooses the conditions of neural scans. ``provenance`` says where samples come from, as far as numbers
depend on it.

Over compositions: ``at_counts`` (averages at fixed numbers of atoms), ``canonical`` (tables of F(T, x)), ``curves`` (such a table and its bootstrap), ``diagram_tables`` (of other sources),
``phases``, ``boundaries``, ``transitions``, ``invariants``, ``export_diagram``; ``phase_diagram`` is ``PhaseDiagram``, ``posterior`` its bands from draws
of the ECIs. Of three and
more elements: ``compositions`` (tables of F), ``splitting`` (which compositions are one phase), ``section_tables``, ``section_phases``,
``export_sections``, ``plot_sections``; ``sections`` is ``IsothermalSections``. ``paper`` has the constructions of Du et al., for comparison. ``hull`` has the ground states, ``density`` the states by their
energy (Wang-Landau), ``plot`` (and ``plot_bands``) the pictures of all of these, ``sites`` which site holds what.
"""
