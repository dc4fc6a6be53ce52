"""alloygen: equilibrium configurations, free energies and phase diagrams of lattice alloys from one any-order model.

>>> import alloygen
>>> from ase.build import bulk
>>> atoms = bulk("Cu", a=3.8).repeat((4, 4, 4))
>>> ens = alloygen.sample(atoms, T=600, mu={"Au": 0.02}, n=100, seed=0)
"""

from importlib import import_module

__version__ = "0.1.0"

# resolved on first use, so that `import alloygen` stays light
_LAZY = {
    "sample": "alloygen.api",
    "scan": "alloygen.api",
    "mc": "alloygen.api",
    "order": "alloygen.ordering",
    "train": "alloygen.api",
    "load": "alloygen.api",
    "polish": "alloygen.own_law",
    "Relax": "alloygen.edge.computed",
    "self_consistent": "alloygen.consistency",
    "metadynamics": "alloygen.montecarlo.metadynamics",
    "wang_landau": "alloygen.montecarlo.wang_landau",
    "anneal": "alloygen.montecarlo.annealing",
    "ground_states": "alloygen.montecarlo.ground_states",
    "Problem": "alloygen.edge.problem",
    "Balance": "alloygen.conditions.composition",
    "Job": "alloygen.runtime.job",
    "Cooling": "alloygen.montecarlo.annealing",
    "Stages": "alloygen.montecarlo.metadynamics",
    "Bins": "alloygen.montecarlo.wang_landau",
    "Schedule": "alloygen.montecarlo.wang_landau",
    "Neural": "alloygen.samplers",
    "MonteCarlo": "alloygen.montecarlo.laddered",
    "Spacing": "alloygen.results.adaptive",
    "Anneal": "alloygen.generate.refine",
    "Blocks": "alloygen.generate.refine",
    "Flips": "alloygen.generate.refine",
    "representative": "alloygen.generate.representative",
    "Ensemble": "alloygen.results.ensemble",
    "read": "alloygen.results.reading",
    "Scan": "alloygen.results.scan",
    "Lattice": "alloygen.lattice",
    "Primitive": "alloygen.lattice",
    "ClusterExpansion": "alloygen.hamiltonian.expansion",
    "from_clease": "alloygen.hamiltonian.clease",
    "from_atat": "alloygen.hamiltonian.atat",
    "from_icet": "alloygen.hamiltonian.icet",
    "from_smol": "alloygen.hamiltonian.smol",
    "fit": "alloygen.fitting.fit",
    "enumerate_structures": "alloygen.fitting.derivative",
    "next_structures": "alloygen.fitting.hulls",
    "ising": "alloygen.hamiltonian.ising",
}
_MODULES = {
    "errors": "alloygen.errors",
    "data": "alloygen.data",
    "testing": "alloygen.testing",
    "plot": "alloygen.results.plot",
}
__all__ = [*_LAZY, *_MODULES]


def __getattr__(name: str):
    if name in _MODULES:
        return import_module(_MODULES[name])
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'alloygen' has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *__all__})
