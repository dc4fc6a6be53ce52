"""Makes cuau.json from CLEASE figures and the published ECIs. Run: python data/make_cuau.py"""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from clease.settings import CEBulk, Concentration

from alloygen.hamiltonian.clease import from_clease
from alloygen.hamiltonian.expansion import ClusterExpansion, Orbit
from alloygen.lattice import Primitive

# Damewood, Schwalbe-Koda, Gomez-Bombarelli, npj Comput. Mater. 8, 61 (2022); eV per site
ECI = {
    "c0": 0.006100279787831659,
    "c1_0": -0.0031900811734577247,
    "c2_d0000_0_00": 0.017232296461428938,
    "c2_d0001_0_00": -0.016839573363374966,
    "c2_d0002_0_00": -0.005192441582986464,
    "c2_d0003_0_00": -0.00042240992321274096,
    "c3_d0000_0_000": -0.00770642159861723,
    "c3_d0001_0_000": 0.008232628244981447,
    "c4_d0000_0_0000": -0.0003380467088204115,
    "c4_d0001_0_0000": -0.015681090820390833,
    "c4_d0002_0_0000": 0.015097011177476766,
}
CITATION = "Damewood, Schwalbe-Koda, Gomez-Bombarelli, npj Computational Materials 8, 61 (2022)"


def copper_first(expansion: ClusterExpansion) -> ClusterExpansion:
    """The same with the species listed as ("Cu", "Au"): a bare number for mu is then mu_Au - mu_Cu."""
    p = expansion.primitive
    columns = [p.elements.index(e) for e in ("Cu", "Au")]
    primitive = Primitive(p.cell, p.basis, (("Cu", "Au"),), p.pbc)
    return replace(expansion, primitive=primitive, functions=expansion.functions[:, columns])


def raw() -> ClusterExpansion:
    """The expansion as published: raw cluster-expansion energies."""
    with tempfile.TemporaryDirectory() as folder:
        settings = CEBulk(
            Concentration([["Au", "Cu"]]), "fcc", a=3.8, db_name=f"{folder}/db.db", max_cluster_dia=[6.0, 4.5, 4.5]
        )
        expansion = from_clease(settings, ECI, name="CuAu", citation=CITATION)
    expansion = copper_first(expansion)
    orbits = tuple(replace(o, weights=np.round(o.weights, 12)) for o in expansion.orbits)
    return ClusterExpansion(expansion.primitive, expansion.functions, orbits, name="CuAu", citation=CITATION)


def formation(expansion: ClusterExpansion) -> ClusterExpansion:
    """The same with the line between the pure elements subtracted: a change of c0 and c1 only."""
    h = expansion.on((3, 3, 3))
    cu, au = (h.energy(np.array([[0] * 27, [1] * 27])) / 27).tolist()
    shift = {"c0": -(cu + au) / 2, "c1_0": -(au - cu) / 2}
    orbits = tuple(
        Orbit(o.name, o.eci + shift.get(o.name, 0.0), o.members, o.functions, o.weights) for o in expansion.orbits
    )
    notes = {
        "energy reference": "formation energy: linear between the pure elements at the same volume",
        "raw E(Cu), eV/site": cu,
        "raw E(Au), eV/site": au,
        "lattice constant of the source, Angstrom": 3.8,
    }
    return ClusterExpansion(
        expansion.primitive,
        expansion.functions,
        orbits,
        name="CuAu (formation energies)",
        citation=expansion.citation,
        notes=notes,
    )


if __name__ == "__main__":
    target = Path(__file__).with_name("cuau.json")
    formation(raw()).write(target)
    print(f"wrote {target.name}, {target.stat().st_size} bytes")
