"""One way to lay Atoms onto the lattice of an expansion: those that fit alike and have different energies are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from alloygen.edge.atoms_map import AtomsMap, Rival
from alloygen.edge.match import match
from alloygen.edge.supercell import TOL, hermite
from alloygen.errors import LatticeMismatch
from alloygen.hamiltonian.expansion import ClusterExpansion
from alloygen.lattice import Lattice, Primitive

if TYPE_CHECKING:
    from ase import Atoms

Clusters: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def laid(atoms: Atoms, expansion: ClusterExpansion, tol: float = TOL) -> AtomsMap:
    """The Atoms on the lattice of the expansion, in the one way that its energies allow.

    Raises LatticeMismatch where they can be laid in several that fit as well, within noise, and have different energies.
    """
    found = match(atoms, expansion.primitive, tol)
    require_one_law(found, expansion)
    return found


def require_one_law(found: AtomsMap, expansion: ClusterExpansion) -> None:
    """Refuse Atoms that fit onto the lattice in several ways, equally well within noise, that the expansion tells apart.

    Ways that are related by a symmetry of the expansion, or give the same energies on this supercell, mean the same system.
    """
    clusters = _clusters(expansion)
    for rival in found.rivals:
        if _is_symmetry(clusters, expansion.primitive, rival):
            continue
        energies = _both_energies(found, rival, expansion)
        if energies is None or np.abs(energies[1] - energies[0]).max() > 1e-9 * len(found.site):
            raise _two_ways(found, rival, expansion, energies)


def _clusters(expansion: ClusterExpansion) -> list[Clusters]:
    """Members (M, n, 4), functions (M, n), coefficients (M,) and names (M,) of all clusters of an order, for each that there is."""
    out = []
    for order in sorted({o.order for o in expansion.orbits} - {0}):
        group = [o for o in expansion.orbits if o.order == order]
        members, functions = (np.concatenate([getattr(o, name) for o in group]) for name in ("members", "functions"))
        out.append((members, functions, np.concatenate([o.eci * o.weights for o in group]), _names(members, functions)))
    return out


def _is_symmetry(clusters: list[Clusters], primitive: Primitive, rival: Rival) -> bool:
    """Whether the expansion is the same after the operation that leads to ``rival``, whatever the supercell."""
    own = np.arange(len(primitive.basis))
    image = _moved(primitive, np.zeros((len(own), 3)), own, rival)[1]
    if any(primitive.species[a] != primitive.species[b] for a, b in zip(own, image, strict=True)):
        return False
    for members, functions, coefficients, here in clusters:
        offsets, sublattice = _moved(primitive, members[..., :3], members[..., 3], rival)
        moved = np.concatenate([offsets, sublattice[..., None]], axis=-1)
        same = np.unique(np.concatenate([here, _names(moved, functions)]), return_inverse=True)[1]
        left = np.bincount(same, np.concatenate([coefficients, -coefficients]))
        if np.abs(left).max(initial=0.0) > 1e-9:
            return False
    return True


def _names(members, functions) -> np.ndarray:
    """A number (M,) for each cluster, equal where members and functions are, in any order and any cell.

    The sum over the members of a hash of their place about the centre of the cluster, their sublattice and their function.
    """
    cells = members[..., :3] * members.shape[1] - members[..., :3].sum(1, keepdims=True)
    rows = np.concatenate([cells, members[..., 3:], functions[..., None]], axis=-1).astype(np.uint64)
    mix = (rows * np.random.default_rng(0).integers(1, 2**63, 5, dtype=np.uint64)).sum(-1)
    for shift, factor in ((31, 0x7FB5D329728EA185), (27, 0x81DADEF4BC2DD44D)):  # Stafford's mixer
        mix = (mix ^ (mix >> np.uint64(shift))) * np.uint64(factor)
    return (mix ^ (mix >> np.uint64(33))).sum(1)


def _moved(primitive: Primitive, offsets, sublattice, rival: Rival) -> tuple[np.ndarray, np.ndarray]:
    """Cells and sublattices that the sites fall on by the operation of ``rival``."""
    rest = ((offsets + primitive.basis[sublattice]) @ rival.rotation + rival.shift)[..., None, :] - primitive.basis
    cells = np.where(primitive.pbc, np.rint(rest), 0.0)
    sub = (((rest - cells) @ primitive.cell) ** 2).sum(-1).argmin(-1)
    return np.take_along_axis(cells, sub[..., None, None], -2)[..., 0, :].astype(np.int64), sub


def _both_energies(found: AtomsMap, rival: Rival, expansion: ClusterExpansion) -> tuple[np.ndarray, np.ndarray] | None:
    """Energies (k,) of the same random Atoms laid both ways, or None where a species is not allowed there."""
    here = found.lattice
    same = np.array_equal(hermite(here.matrix), hermite(rival.matrix))
    there = here if same else Lattice(expansion.primitive, rival.matrix)
    h = expansion.on(here)
    occ = h.random(4, 0)
    site = there.index(*_moved(expansion.primitive, here.offsets, here.sublattice, rival))
    if len(set(site.tolist())) < len(site):
        return None
    table = -np.ones((there.n_sublattices, len(expansion.elements)), dtype=np.int64)
    for b, names in enumerate(there.species):
        table[b, [expansion.elements.index(e) for e in names]] = np.arange(len(names))
    moved = np.empty_like(occ)
    moved[:, site] = table[there.sublattice[site], here.element_index[here.sublattice, occ]]
    if (moved < 0).any():
        return None
    other = h if same else expansion.on(there)
    return h.energy(occ), other.energy(moved)


def _two_ways(found: AtomsMap, rival: Rival, expansion, energies) -> LatticeMismatch:
    rms = float(np.sqrt((found.displacement**2).mean()))
    shift = np.round(rival.shift - np.where(expansion.primitive.pbc, np.floor(rival.shift + 1e-6), 0.0), 3)
    told = "species that the sites do not hold"
    if energies is not None:
        a, b = (float(e[0]) / len(found.site) for e in energies)
        told = f"{b:.6f} against {a:.6f} {expansion.unit}/site for the same atoms"
    return LatticeMismatch(
        f"expected Atoms that lie on the lattice of {expansion.name!r} in one way, got two that fit alike, within noise, and have different "
        f"energies: supercell {found.lattice.matrix.tolist()} with a strain of {100 * found.strain:.2f} % and displacements of {rms:.3f} A, "
        f"and {rival.matrix.tolist()}, shifted by {(shift + 0.0).tolist()} primitive vectors, with {100 * rival.strain:.2f} % and "
        f"{rival.displacement:.3f} A: {told}. Pass the unrelaxed Atoms, repeats of the primitive cell "
        f"{np.round(expansion.primitive.cell, 4).tolist()} in its own orientation."
    )
