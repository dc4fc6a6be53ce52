"""Energies of hcp Mg-Cd by CHGNet, relaxed: what tests/benchmarks/own_alloys.py fits its hcp binary to. Run: python tests/benchmarks/mgcd_energies.py [relaxed.extxyz] (needs chgnet, ten minutes)

All structures of up to six sites, every sixth of those of seven and eight, and both D0_19 (Deng et al., Nature Machine Intelligence 5, 1031 (2023)). Atoms and cell are
relaxed to 0.03 eV/A. Results: docs/results/mgcd_chgnet.json, the energy of each of :func:`structures` in eV per cell.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ase import Atoms
from ase.build import bulk

import alloygen

RESULTS = Path(__file__).parents[2] / "docs" / "results" / "mgcd_chgnet.json"
CELL = bulk("Mg", "hcp", a=3.18, c=5.2)
SPECIES = ["Mg", "Cd"]


def structures() -> list[Atoms]:
    """Unrelaxed, in the order of the energies."""
    few = alloygen.enumerate_structures(CELL, SPECIES, max_sites=6)
    more = alloygen.enumerate_structures(CELL, SPECIES, max_sites=8)[len(few) :: 6]
    return [*few, *more, d019("Mg", "Cd"), d019("Cd", "Mg")]


def d019(most: str, least: str) -> Atoms:
    """A3B: B in every second place of every second row of both layers, none beside another."""
    made = CELL.repeat((2, 2, 1))
    made.symbols[:] = most
    first = 0
    apart = made.get_distances(first, range(8), mic=True)
    second = max(range(8), key=lambda i: (abs(made.positions[i, 2] - made.positions[first, 2]) > 1, apart[i]))
    made.symbols[[first, second]] = least
    return made


def main() -> None:
    import torch
    from ase.filters import FrechetCellFilter
    from ase.io import write
    from ase.optimize import FIRE
    from chgnet.model import CHGNet
    from chgnet.model.dynamics import CHGNetCalculator

    torch.set_num_threads(1)
    kept = sys.argv[1] if len(sys.argv) > 1 else None
    calculator = CHGNetCalculator(CHGNet.load(use_device="cpu", verbose=False), use_device="cpu")
    relaxed = []
    for atoms in structures():
        atoms.calc = calculator
        FIRE(FrechetCellFilter(atoms), logfile=None).run(fmax=0.03, steps=200)
        relaxed.append(atoms)
        print(len(relaxed), atoms.get_chemical_formula(), atoms.get_potential_energy() / len(atoms), flush=True)
    RESULTS.write_text(json.dumps([round(float(a.get_potential_energy()), 6) for a in relaxed]))
    if kept:
        write(kept, relaxed)
    print(alloygen.fit(CELL, SPECIES, relaxed).fitted)  # laid onto the lattice again by the least strain


if __name__ == "__main__":
    main()
