"""Expansions by smol 0.5.7 and icet 4.0 with random coefficients, and their energies of random structures.

Writes smol.json and icet.json into tests/hamiltonian/data, which the tests of ``from_smol`` and ``from_icet`` read. Needs both packages
(requirements.txt) and nothing of alloygen.
"""

import json
import warnings
from itertools import product
from pathlib import Path

import numpy as np

DATA = Path(__file__).parents[1] / "hamiltonian" / "data"
FCC = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]])
H = np.array([[2, 0, 0], [1, 1, 0], [0, 1, 2]])  # the supercell of the random structures
HCP = [[1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]]


def cells() -> np.ndarray:
    """The primitive cells in the supercell."""
    every = np.array(list(product(range(-3, 4), repeat=3)))
    inside = every @ np.linalg.inv(H)
    return every[((inside > -1e-9) & (inside < 1 - 1e-9)).all(1)]


def random_sites(basis, allowed, rng) -> list[list]:
    """Place in primitive vectors and species of each site."""
    return [
        [*map(float, np.round(cell + x, 9)), names[rng.integers(len(names))]]
        for cell in cells()
        for x, names in zip(basis, allowed, strict=True)
    ]


def by_smol() -> dict:
    from pymatgen.core import Lattice, Structure
    from smol.cofe import ClusterExpansion, ClusterSubspace

    two = {"Mg": 0.5, "Zn": 0.5}
    cases = {
        "ternary": (
            Structure(Lattice(1.9 * FCC), [{"Cu": 0.4, "Au": 0.3, "Pd": 0.3}], [[0, 0, 0]]),
            {"cutoffs": {2: 4.0, 3: 2.8, 4: 2.8}, "basis": "sinusoid", "orthonormal": True},
        ),
        "vacancies": (
            Structure(Lattice(2.1 * FCC), [{"Li+": 0.5, "Mn3+": 0.2}, {"O2-": 0.8, "F-": 0.2}], [[0] * 3, [0.5] * 3]),
            {"cutoffs": {2: 4.3, 3: 3.1}, "basis": "indicator"},
        ),
        "spectator": (
            Structure(Lattice.hexagonal(3.0, 4.9), [two, two, {"O": 1.0}], [*HCP, [0, 0, 0]]),
            {"cutoffs": {2: 4.5, 3: 3.3}, "basis": "chebyshev"},
        ),
    }
    rng, found = np.random.default_rng(0), {}
    for name, (structure, options) in cases.items():
        space = ClusterSubspace.from_cutoffs(structure, supercell_size="volume", **options)
        expansion = ClusterExpansion(space, rng.normal(scale=0.02, size=len(space)))
        d = json.loads(json.dumps(expansion.as_dict()))
        for orbits in d["cluster_subspace"]["orbits"].values():
            for orbit in orbits:
                orbit["structure_symops"] = []  # those of the subspace, again and again
        allowed = [[str(s) for s in x.species] + ["vacancy"] * (sum(x.species.values()) < 0.99) for x in structure]
        rows = []
        for _ in range(6):
            sites = random_sites(structure.frac_coords, allowed, rng)
            there = [s for s in sites if s[3] != "vacancy"]
            places = [np.array(s[:3]) @ np.linalg.inv(H) for s in there]
            made = Structure(Lattice(H @ structure.lattice.matrix), [s[3] for s in there], places)
            energy = float(expansion.predict(made, normalized=False, scmatrix=H))
            rows.append({"sites": sites, "energy": energy})
        found[name] = {"expansion": d, "supercell": H.tolist(), "structures": rows}
    return found


def by_icet() -> dict:
    from ase import Atoms
    from ase.build import bulk
    from icet import ClusterExpansion, ClusterSpace

    oxide = Atoms("Mg2O", cell=[3.0, 3.0, 4.9, 90, 90, 120], scaled_positions=[*HCP, [0, 0, 0]], pbc=True)
    cases = {
        "ternary": (bulk("Cu", a=3.8), [4.0, 2.8, 2.8], ["Cu", "Au", "Pd"]),
        "four": (bulk("Cu", a=3.8), [2.8, 2.8], ["Cu", "Au", "Pd", "Ag"]),
        "vacancies": (bulk("NaCl", "rocksalt", a=4.2), [4.3, 3.1], [["Mn", "Li", "X"], ["O", "F"]]),
        "spectator": (oxide, [4.5, 3.3], [["Mg", "Zn"], ["Mg", "Zn"], ["O"]]),
    }
    rng, found = np.random.default_rng(0), {}
    for name, (atoms, cutoffs, species) in cases.items():
        space = ClusterSpace(atoms, cutoffs=cutoffs, chemical_symbols=species)
        expansion = ClusterExpansion(space, rng.normal(scale=0.02, size=len(space)))
        primitive, allowed = space.primitive_structure, space.chemical_symbols
        orbits = [space.orbit_list.get_orbit(k) for k in range(len(space.orbit_list))]
        site = lambda s: [*map(int, s.unitcell_offset), int(s.index)]  # noqa: E731
        rows = []
        for _ in range(6):
            sites = random_sites(primitive.get_scaled_positions(wrap=False), allowed, rng)
            positions = [np.array(s[:3]) @ primitive.cell[:] for s in sites]
            made = Atoms([s[3] for s in sites], positions, cell=H @ primitive.cell[:], pbc=True)
            rows.append({"sites": sites, "energy": float(expansion.predict(made)) * len(made)})
        found[name] = {
            "cell": primitive.cell[:].tolist(),
            "basis": primitive.get_scaled_positions(wrap=False).tolist(),
            "species": allowed,
            "parameters": [float(p) for p in expansion.parameters],
            "orbits": [
                {
                    "clusters": [[site(s) for s in c.lattice_sites] for c in orbit.clusters],
                    "elements": [
                        {k: e[k] for k in ("multicomponent_vector", "site_permutations")}
                        for e in orbit.cluster_vector_elements
                    ],
                }
                for orbit in orbits
            ],
            "supercell": H.tolist(),
            "structures": rows,
        }
    return found


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    DATA.mkdir(exist_ok=True)
    for file, make in (("smol.json", by_smol), ("icet.json", by_icet)):
        (DATA / file).write_text(json.dumps(make(), separators=(",", ":")))
