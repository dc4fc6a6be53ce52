"""Speed of other Monte Carlo codes beside alloygen, on one core, in one run. Run: python tests/benchmarks/rivals.py

Every code gets the same Hamiltonian: the shipped CuAu expansion (CLEASE takes its ECIs by name; icet, smol and CASM
span the same clusters, so their ECIs are solved from energies of random configurations), and CLEASE a ternary with
random ECIs too. Energies of further configurations must agree to 1e-8 eV, and mean compositions along the chains within
noise. The codes start from one equilibrated configuration and take turns, each at its own fastest way: alloygen and CASM
run sweeps of compiled steps, alloygen evaluates energies in batches. Rates are per second of CPU time, which counts every
thread. What is not installed is reported as such; tests/benchmarks/requirements.txt lists what is needed.
"""

import os

if __name__ == "__main__":  # before numpy is imported
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

import argparse
import json
import platform
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch
from ase.build import bulk
from ase.data import atomic_numbers

import alloygen
from alloygen.montecarlo.chains import Chains

SHAPES = {128: (4, 4, 8), 4096: (16, 16, 16)}
T = 800.0  # K
CUAU = {"Cu": 0.0, "Au": 0.02}  # chemical potentials, eV
TERNARY = {"Au": 0.02, "Cu": 0.0, "Ag": -0.01}
PRIM = bulk("Au", a=3.8)
CUTOFFS = {2: 6.0, 3: 4.5, 4: 4.5}  # longest distance in pairs, triplets and quadruplets, angstrom


# ---------------------------------------------------------------- alloygen
def our_chain(h, mu, start):
    """One semigrand chain: run(attempts) and occupation()."""
    chains = Chains(h, h.condition([T], [[mu[e] for e in h.elements]]), seed=0, occ=start)
    return lambda n: chains.step(-(-n // h.n_sites)), lambda: chains.configurations()[0][0]


def our_energies(h, occ):
    """run(n): energies of n configurations, a whole number of times the rows of ``occ``."""
    return lambda n: [h.energy(occ) for _ in range(-(-n // len(occ)))]


class Alloygen:
    name, distributions = "alloygen", ("alloygen",)

    def __init__(self, h, mu, start, folder):
        self.batch = 400_000 // h.n_sites
        self.run, self.occupation = our_chain(h, mu, start)
        self.run_energies = our_energies(h, random_occ(h, self.batch, seed=1))


# ---------------------------------------------------------------- the others
class Rival:
    """One code on one supercell.

    A sub-class sets ``site``, the alloygen site of each of its own sites, and ``codes``, its own label of each species
    of ``h.elements``. It has energy(configuration) in eV, run(attempts) and configuration(), all in its own labels.
    """

    name: str
    distributions: tuple[str, ...]  # on PyPI; the first names the version
    batch = 1

    def encode(self, occ):
        return self.codes[np.asarray(occ)[self.site]]

    def occupation(self):
        """The chain's configuration as alloygen numbers it."""
        out = np.empty(len(self.site), dtype=int)
        out[self.site] = (np.asarray(self.configuration())[:, None] == self.codes).argmax(1)
        return out

    def run_energies(self, n):
        for configuration in (self.random * (n // len(self.random) + 1))[:n]:
            self.energy(configuration)


class Clease(Rival):
    name, distributions = "CLEASE", ("clease",)

    def __init__(self, h, mu, start, folder):
        from clease.montecarlo import SGCMonteCarlo

        settings = clease_settings(h.elements, folder)
        self.eci = {o.name: o.eci for o in h.expansion.orbits}
        self.atoms, moving = (self._atoms(settings, h, start) for _ in range(2))
        self.updater, self.names = self.atoms.calc.updater, self.atoms.calc.cf_names
        self.site, self.codes = sites(h, self.atoms.get_scaled_positions()), np.array(h.elements)
        # fields on the singlets: sum_f field_f phi_f(species) = mu(species) + constant
        phi = [[f[e] for e in mu] for f in settings.basis_functions]
        fields = np.linalg.solve(np.array([*phi, np.ones(len(mu))]).T, list(mu.values()))[:-1]
        self.fields = {f"c1_{i}": x for i, x in enumerate(fields)}
        self.mc = SGCMonteCarlo(moving, T, symbols=list(mu))

    def _atoms(self, settings, h, occ):
        from clease.calculator import attach_calculator

        return attach_calculator(settings, crystal(h, occ), dict(self.eci))  # a copy: run(chem_pot=...) changes it

    def energy(self, configuration):
        self.atoms.symbols[:] = configuration
        cf = self.updater.calculate_cf_from_scratch(self.atoms, self.names)
        return len(self.atoms) * sum(self.eci[k] * v for k, v in cf.items())

    def run(self, n):
        self.mc.run(n, chem_pot=self.fields, call_observers=False)

    def configuration(self):
        return list(self.mc.atoms.symbols)


class Icet(Rival):
    name, distributions = "icet", ("icet",)

    def __init__(self, h, mu, start, folder):
        from icet import ClusterExpansion, ClusterSpace
        from icet.input_output.logging_tools import set_log_config
        from mchammer.calculators import ClusterExpansionCalculator
        from mchammer.ensembles import SemiGrandCanonicalEnsemble

        set_log_config(level="ERROR")  # it warns of pairs that meet their own images at 128 sites; energies agree
        space = ClusterSpace(PRIM, list(CUTOFFS.values()), list(mu))
        eci = fit(lambda occ, small: space.get_cluster_vector(crystal(small, occ)), h)
        atoms = crystal(h, start)
        self.calculator = ClusterExpansionCalculator(atoms, ClusterExpansion(space, eci))
        self.site, self.codes = np.arange(h.n_sites), np.array([atomic_numbers[e] for e in h.elements])
        never = {"ensemble_data_write_interval": 10**12, "trajectory_write_interval": 10**12}
        self.mc = SemiGrandCanonicalEnsemble(atoms, self.calculator, T, mu, random_seed=0, **never)

    def energy(self, configuration):
        return self.calculator.calculate_total(occupations=configuration)

    def run(self, n):
        self.mc.run(n)

    def configuration(self):
        return self.mc.configuration.occupations


class Smol(Rival):
    name, distributions = "smol", ("smol", "pymatgen")

    def __init__(self, h, mu, start, folder):
        from pymatgen.core import Structure
        from smol.cofe import ClusterExpansion, ClusterSubspace
        from smol.moca import ClusterExpansionProcessor, Ensemble, Sampler

        prim = Structure(PRIM.cell[:], [dict.fromkeys(mu, 1 / len(mu))], [[0, 0, 0]])
        space = ClusterSubspace.from_cutoffs(prim, CUTOFFS, basis="sinusoid")
        small = h.expansion.on(SHAPES[128])
        self._number(vector := ClusterExpansionProcessor(space, small.lattice.matrix, np.zeros(len(space))), small)
        eci = fit(lambda occ, _: vector.compute_feature_vector(self.encode(occ)) / small.n_sites, h)
        ensemble = Ensemble.from_cluster_expansion(
            ClusterExpansion(space, eci), h.lattice.matrix, "decomposition", chemical_potentials=mu
        )
        self._number(ensemble.processor, h)
        self.energy = ensemble.processor.compute_property
        self.sampler = Sampler.from_ensemble(ensemble, temperature=T, step_type="flip", seeds=[0])
        self.now = self.encode(start)

    def _number(self, processor, h):
        self.site = sites(h, processor.structure.frac_coords)
        species = [str(s) for s in processor.unique_site_spaces[0]]
        self.codes = np.array([species.index(e) for e in h.elements], dtype=np.int32)

    def run(self, n):
        self.sampler.clear_samples()
        self.sampler.run(n, self.now, thin_by=n)
        self.now = self.configuration()

    def configuration(self):
        return self.sampler.samples.get_occupancies(flat=False)[-1, 0].astype(np.int32)


class Casm(Rival):
    name, distributions = "CASM", ("libcasm-clexmonte", "casm-bset")

    def __init__(self, h, mu, start, folder):
        from libcasm.clexmonte import MonteCalculator

        self.folder, self.codes = folder, np.arange(h.n_species)
        source, correlations = casm_functions(h.elements, folder)
        system = casm_system(h.elements, source, fit(correlations, h))
        self.scratch, self.state = (system.make_default_state(h.lattice.matrix) for _ in range(2))
        self.expansion = system.clex(self.scratch, "formation_energy")
        self.site = h.lattice.index(self.state.configuration.supercell.unitcell_indices().T, 0)
        self.state.configuration.set_occupation(self.encode(start))
        self.state.conditions.scalar_values["temperature"] = T
        self.state.conditions.vector_values["param_chem_pot"] = [mu[h.elements[1]] - mu[h.elements[0]]]
        self.mc = MonteCalculator(method="semigrand_canonical", system=system)

    def energy(self, configuration):
        self.scratch.configuration.set_occupation(configuration)
        return self.expansion.per_supercell()

    def run(self, n):
        """Passes of one attempt per site, with a single sample at the end."""
        passes = -(-n // len(self.site))
        fixture = self.mc.make_default_sampling_fixture_params(
            "rates", write_results=False, write_status=False, output_dir=f"{self.folder}/output"
        )
        fixture.sampling_params.period = passes
        fixture.completion_check_params.cutoff_params.max_count = passes
        self.mc.run_fixture(self.state, fixture)

    def configuration(self):
        return self.state.configuration.occupation


def casm_prim(elements):
    site = {"coordinate": [0, 0, 0], "occupants": list(elements)}
    return {"title": "A", "lattice_vectors": PRIM.cell.tolist(), "coordinate_mode": "Fractional", "basis": [site]}


def casm_functions(elements, folder):
    """CASM's cluster functions: the C++ source that it writes, and the compiled correlations(occ, hamiltonian)."""
    import libcasm.casmglobal
    from casm.bset import make_clex_basis_specs, write_clexulator
    from libcasm.clexulator import SuperNeighborList, calc_per_unitcell_correlations, make_clexulator
    from libcasm.configuration import Configuration, Prim, Supercell

    # where the wheels keep headers and libraries; the compiled functions need one of these, which CASM does not name
    root = Path(libcasm.casmglobal.__file__).parents[1]
    os.environ["CASM_PREFIX"] = str(root)
    os.environ["CASM_SOFLAGS"] = f"-shared -Wl,--no-as-needed -L{root}/lib -lcasm_clexulator -Wl,-rpath,{root}/lib"
    prim = Prim.from_dict(casm_prim(elements))
    specs = make_clex_basis_specs(
        prim, max_length=[0, 0, *CUTOFFS.values()], occ_site_basis_functions_specs="chebychev"
    )
    source, _, neighbours = write_clexulator(prim, specs, bset_dir=folder, project_name="A", verbose=False)
    functions = make_clexulator(str(source), neighbours)

    def correlations(occ, h):
        configuration = Configuration(Supercell(prim, h.lattice.matrix))
        configuration.set_occupation(occ[h.lattice.index(configuration.supercell.unitcell_indices().T, 0)])
        near = SuperNeighborList(h.lattice.matrix, neighbours)
        return calc_per_unitcell_correlations(near, functions, configuration.dof_values)

    return source, correlations


def casm_system(elements, source, eci):
    """CASM's model of a binary: its one composition axis runs from the first element to the second."""
    from libcasm.clexmonte import System

    functions = [{"linear_function_index": i, "eci": x} for i, x in enumerate(eci)]
    coefficients = source.with_name("eci.json")
    coefficients.write_text(json.dumps({"orbits": [{"cluster_functions": functions}]}))
    axes = {"components": list(elements), "independent_compositions": 1, "origin": [1.0, 0.0], "a": [0.0, 1.0]}
    clex = {"formation_energy": {"basis_set": "default", "coefficients": str(coefficients)}}
    sets = {"default": {"source": str(source)}}
    return System.from_dict({"prim": casm_prim(elements), "composition_axes": axes, "basis_sets": sets, "clex": clex})


# ---------------------------------------------------------------- shared
def crystal(h, occ):
    """A configuration as Atoms; alloygen numbers sites as ``repeat`` does."""
    atoms = PRIM.repeat(h.lattice.matrix.diagonal())
    atoms.symbols[:] = np.array(h.elements)[occ]
    return atoms


def sites(h, fractional):
    """The alloygen sites at positions given in units of the supercell vectors."""
    return h.lattice.index(np.rint(fractional @ h.lattice.matrix).astype(int), 0)


def random_occ(h, n, seed):
    return h.random(n, seed)


def fit(features, h, n=60):
    """ECIs that give the energies per site of random configurations; features(occ, hamiltonian) makes the rows."""
    small = h.expansion.on(SHAPES[128])
    occ = random_occ(small, n, seed=3)
    rows = np.array([features(row, small) for row in occ])
    return np.linalg.lstsq(rows, small.energy(occ) / small.n_sites)[0]


def clease_settings(elements, folder):
    from clease.settings import CEBulk, Concentration

    database = str(Path(folder) / f"{''.join(elements)}.db")
    diameters = list(CUTOFFS.values())
    return CEBulk(Concentration([list(elements)]), "fcc", a=3.8, db_name=database, max_cluster_dia=diameters)


def random_ternary(folder):
    settings = clease_settings(TERNARY, folder)
    rng = np.random.default_rng(0)
    return alloygen.from_clease(settings, {name: rng.normal(0, 0.01) for name in settings.all_cf_names})


# ---------------------------------------------------------------- checks and measurement
def energy_error(code, h, n=20):
    """Largest difference to alloygen's energies of random configurations, eV."""
    occ = random_occ(h, n, seed=4)
    error = np.abs([code.energy(code.encode(row)) for row in occ] - h.energy(occ)).max()
    assert error < 1e-8, f"{code.name}: energies differ by {error:.2g} eV"
    return error


def composition(code, h, n=300):
    """Mean share of each species along the chain, looked at every five sweeps."""
    counts = np.zeros(h.n_species)
    for _ in range(n):
        code.run(5 * h.n_sites)
        counts += np.bincount(code.occupation(), minlength=h.n_species)
    return (counts / counts.sum()).tolist()


def seconds(function, n):
    start = time.process_time()
    function(n)
    return time.process_time() - start


def rates(work, repeats, budget=0.5):
    """Best rate per second of CPU time of each (function(n), step of n) in ``work``; the codes take turns."""
    amount = {}
    for name, (function, step) in work.items():
        n = step
        while (t := seconds(function, n)) < budget / 10:
            n *= 4
        amount[name] = max(1, round(n * budget / t / step)) * step
    best = dict.fromkeys(work, 0.0)
    for _ in range(repeats):
        for name, (function, _) in work.items():
            best[name] = max(best[name], amount[name] / seconds(function, amount[name]))
    return best


def installed(code):
    """Version of a code, or None."""
    try:
        first, *_ = (version(d) for d in code.distributions)
    except PackageNotFoundError:
        return None
    return first


def build(code, h, mu, start, folder):
    """A code on one supercell, its energies checked."""
    made = code(h, mu, start, tempfile.mkdtemp(dir=folder))
    made.error, made.share = None, None
    if isinstance(made, Rival):
        made.error = energy_error(made, h)
        made.random = [made.encode(row) for row in random_occ(h, max(10, 20_000 // h.n_sites), seed=2)]
    return made


def measure(h, mu, codes, repeats, folder):
    """The codes on one supercell, and the best rates of each by quantity."""
    run, occupation = our_chain(h, mu, random_occ(h, 1, seed=0))
    run(1000 * h.n_sites)
    made = {code.name: build(code, h, mu, occupation(), folder) for code in codes}
    if h.n_sites == min(SHAPES):
        for code in made.values():
            code.share = composition(code, h)
            difference = np.abs(np.subtract(code.share, made["alloygen"].share)).max()
            assert difference < 0.03, f"{code.name}: composition {code.share} differs by {difference:.3f}"
    attempts = rates({name: (code.run, h.n_sites) for name, code in made.items()}, repeats)
    energies = rates({name: (code.run_energies, code.batch) for name, code in made.items()}, repeats)
    return made, {"semigrand attempts": attempts, "energies": energies}


def compare(title, expansion, mu, codes, repeats, folder):
    """Prints the table of every supercell and returns a record for each rate."""
    records = []
    for n_sites, shape in SHAPES.items():
        made, best = measure(expansion.on(shape), mu, [c for c in codes if installed(c)], repeats, folder)
        for quantity, rate in best.items():
            print(f"\n{title}, {n_sites} sites: {quantity} per second")
            for code in codes:
                record = {"system": title, "sites": n_sites, "quantity": quantity, "code": code.name}
                record["version"] = installed(code)
                if one := made.get(code.name):
                    record |= {"per_s": rate[code.name], "alloygen_ratio": rate["alloygen"] / rate[code.name]}
                    record |= {"energy_error_eV": one.error, "composition": one.share}
                records.append(record)
                print(line(record), flush=True)
    return records


def line(record):
    if record["version"] is None:
        return f"  {record['code']:<9}not installed"
    text = f"  {record['code']:<9}{record['version']:<7}{record['per_s']:>13,.0f}"
    return text if record["code"] == "alloygen" else f"{text}   alloygen: {record['alloygen_ratio']:,.1f} times that"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="JSON file for the results")
    parser.add_argument("--repeats", type=int, default=5, help="measurements of each rate; the best counts")
    args = parser.parse_args()
    torch.set_num_threads(1)
    codes = [Alloygen, Clease, Icet, Smol, Casm]
    names = ["numpy", "numba", "torch", "ase", *(d for c in codes if installed(c) for d in c.distributions)]
    versions = {"python": platform.python_version()} | {name: version(name) for name in names}
    print(f"one core, {T:.0f} K, best of {args.repeats}; " + ", ".join(f"{k} {v}" for k, v in versions.items()))
    with tempfile.TemporaryDirectory() as folder:
        records = compare("CuAu", alloygen.data.cuau(), CUAU, codes, args.repeats, folder)
        if installed(Clease):
            records += compare("AuCuAg", random_ternary(folder), TERNARY, [Alloygen, Clease], args.repeats, folder)
    if args.output:
        args.output.write_text(json.dumps({"versions": versions, "T": T, "rates": records}, indent=1))


if __name__ == "__main__":
    main()
