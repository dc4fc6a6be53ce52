"""Ordered structures by name, and which waves of the occupation make them.

A superstructure of fcc, bcc or hcp is told by the Fourier amplitudes of one species at the vectors of its superlattice
(Khachaturyan, Prog. Mater. Sci. 22, 1 (1978)), written (h, k, l) in the reciprocal basis of the conventional cell: cubic, or hexagonal
with a1 and a2 at 120 degrees. Variants are the orientations of a structure, which lie in different vectors; translations change
phases only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from alloygen.edge.prototypes import conventional
from alloygen.errors import AlloygenError
from alloygen.lattice import Lattice

FITS = 1e-6


@dataclass(frozen=True)
class Superstructure:
    """A named order: ``scale`` times the amplitudes, 1 in the perfect structure.

    parent : the crystal whose order it is
    variants : for each orientation its vectors, rows (h, k, l)
    share : of the sites that the minority holds in the perfect structure
    rule : "all", the smallest of a variant's amplitudes, and the largest over the variants; "one", the largest amplitude minus
        the second; "both", the smaller of the real and the imaginary part
    """

    parent: str
    variants: tuple
    scale: float
    share: float
    rule: str = "all"


SUPERSTRUCTURES = {
    "L1_0": Superstructure("fcc", (((1, 0, 0),), ((0, 1, 0),), ((0, 0, 1),)), 2, 0.5, "one"),  # CuAu
    "L1_2": Superstructure("fcc", (((1, 0, 0), (0, 1, 0), (0, 0, 1)),), 4, 0.25),  # Cu3Au
    "D0_22": Superstructure("fcc", (((0, 0, 1), (1, 0, 0.5)), ((1, 0, 0), (0.5, 1, 0)), ((0, 1, 0), (0, 0.5, 1))), 4, 0.25),  # Al3Ti
    "L1_1": Superstructure("fcc", (((0.5, 0.5, 0.5),), ((-0.5, 0.5, 0.5),), ((0.5, -0.5, 0.5),), ((0.5, 0.5, -0.5),)), 2, 0.5, "one"),  # CuPt
    "B2": Superstructure("bcc", (((1, 0, 0),),), 2, 0.5),  # CsCl
    "B32": Superstructure("bcc", (((0.5, 0.5, 0.5),),), 4, 0.5, "both"),  # NaTl
    "D0_3": Superstructure("bcc", (((1, 0, 0), (0.5, 0.5, 0.5)),), 4, 0.25),  # Fe3Al
    "B19": Superstructure("hcp", (((0.5, 0, 0),), ((0, 0.5, 0),), ((0.5, 0.5, 0),)), 2, 0.5, "one"),  # AuCd
    "D0_19": Superstructure("hcp", (((0.5, 0, 0), (0, 0.5, 0), (0.5, 0.5, 0)),), 4, 0.25),  # Ni3Sn
}  # fmt: skip


class Frame:
    """The sites that may hold a species, told in the conventional cell of the crystal that they make.

    kind : fcc, bcc, hcp, simple cubic or diamond; "" for anything else, where vectors are told in the reciprocal basis of the
        primitive cell
    sites : (N,) bool; positions (n, 3) of these in the cell of the vectors
    """

    def __init__(self, lattice: Lattice, sites: np.ndarray):
        self.lattice, self.sites = lattice, sites
        sublattices = np.unique(lattice.sublattice[sites])
        whole = np.isin(lattice.sublattice, sublattices).sum() == sites.sum()
        self.kind, cell = conventional(lattice.primitive, sublattices) if whole else ("", None)
        self.cell = lattice.primitive.cell if cell is None else cell
        here = lattice.positions[sites]
        self.positions = (here - here[0]) @ np.linalg.inv(self.cell)

    def primitive(self, vectors) -> np.ndarray:
        """Vectors (V, 3) in fractional coordinates of the reciprocal primitive cell."""
        return np.atleast_2d(vectors) @ np.linalg.inv(self.cell).T @ self.lattice.primitive.cell.T

    def fits(self, vectors) -> bool:
        """Whether the waves are periodic in the supercell."""
        turns = (self.primitive(vectors) @ self.lattice.matrix.T)[:, list(self.lattice.primitive.pbc)]
        return bool(np.abs(turns - np.rint(turns)).max(initial=0.0) < FITS)

    def nearest(self, vector) -> np.ndarray:
        """A vector near to this one whose wave is periodic in the supercell."""
        whole = np.rint(self.primitive(vector) @ self.lattice.matrix.T)[0]
        return np.linalg.solve(self.lattice.primitive.cell, np.linalg.solve(self.lattice.matrix, whole)) @ self.cell.T

    def names(self) -> list[str]:
        """The superstructures of this crystal of which a variant fits into the supercell."""
        return [n for n, s in SUPERSTRUCTURES.items() if s.parent == self.kind and any(map(self.fits, s.variants))]

    def constant(self, vector) -> bool:
        """Whether a wave has the same phase on all sites, so that its amplitude is the composition."""
        turns = self.positions @ np.asarray(vector, dtype=float)
        return bool(np.abs(turns - np.rint(turns)).max() < FITS)

    def named(self, s: np.ndarray, name: str) -> np.ndarray:
        """The order ``name`` of site values (n, N) of all sites of the lattice, (n,)."""
        structure = SUPERSTRUCTURES.get(name)
        if structure is None or structure.parent != self.kind:
            raise AlloygenError(f"expected {self._expected()}, got {name!r}")
        variants = [v for v in structure.variants if self.fits(v)]
        if not variants:
            raise AlloygenError(
                f"expected a supercell that {name} fits into, got {self.lattice!r}, where the wave {structure.variants[0][-1]} of the "
                f"conventional {self.kind} cell is not periodic. Take even repeats of the conventional cell"
            )
        positions = self._hollows_as_tops() if self.kind == "hcp" else self.positions
        waves = np.stack([s[:, self.sites] @ np.exp(-2j * np.pi * (positions @ np.array(v).T)) for v in variants], 1)
        waves = waves / self.sites.sum()  # (n, variants, vectors)
        if structure.rule == "both":
            return structure.scale * np.minimum(np.abs(waves.real), np.abs(waves.imag)).min((1, 2))
        amplitude = np.sort(np.abs(waves).min(2), 1)
        second = amplitude[:, -2] if structure.rule == "one" and len(variants) > 1 else 0.0
        return structure.scale * (amplitude[:, -1] - second)

    def sublattices(self, name: str) -> np.ndarray:
        """(V, n) bool: for each variant of a superstructure, its orientations and translates, which of the n sites are of its first sublattice.

        That is the one with ``share`` of the sites, which the minority holds. It is where the sum of the waves of the perfect structure,

            rho(r) = share [1 + sum_k c_k cos(2 pi k.(r - r0))],

        is one, and 0 elsewhere (Khachaturyan, Prog. Mater. Sci. 22, 1 (1978)); r0 runs over the sites, of which those where all waves have the
        same phases are one.
        """
        structure, positions = SUPERSTRUCTURES[name], self._hollows_as_tops() if self.kind == "hcp" else self.positions
        out = []
        for vectors in (v for v in structure.variants if self.fits(v)):
            turns = positions @ np.array(vectors).T  # (n, v)
            origins = np.unique(
                np.rint(turns % 1 / FITS).astype(np.int64) % round(1 / FITS), axis=0, return_index=True
            )[1]
            angle = 2 * np.pi * (turns[None] - turns[origins, None])
            weight = np.array(
                [
                    2.0 if (np.array(v) % 1).any() and structure.share == 0.25 and len(vectors) == 2 else 1.0
                    for v in vectors
                ]
            )
            waves = (np.cos(angle) + (np.sin(angle) if structure.rule == "both" else 0.0)) @ weight
            out.append(structure.share * (1.0 + waves))
        rho = np.rint(np.concatenate(out) if out else np.zeros((0, len(positions)))).astype(bool)
        return np.unique(rho, axis=0)

    def _expected(self) -> str:
        names = [n for n, s in SUPERSTRUCTURES.items() if s.parent == self.kind]
        basis = f"the conventional {self.kind} cell" if self.kind else "the primitive cell"
        known = (
            f"an order of {self.kind}, one of {names},"
            if names
            else "no name (the sites are not an fcc, bcc or hcp lattice)"
        )
        return f"{known} or an order vector, three numbers (h, k, l) in the reciprocal basis of {basis}"

    def _hollows_as_tops(self) -> np.ndarray:
        """Positions in the basal plane with the second layer moved so that minority atoms of D0_19 and B19 have equal phases.

        In both a minority atom has the fewest of its own kind in the neighbouring layers. A site of the second layer sits above a
        hollow, off a site of the first by one of three short vectors t; D0_19 takes those at -2t, which is where a triple step
        leads, a lattice vector, up to even lattice vectors, which the waves (1/2, 0, 0) do not see.
        """
        plane = self.positions[:, :2]
        moved = np.rint(plane) + 3 * (plane - np.rint(plane))
        return np.column_stack([moved, np.zeros(len(moved))])
