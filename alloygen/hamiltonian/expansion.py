"""Cluster expansions on a primitive cell: what is independent of the supercell.

An expansion writes the energy of a primitive cell as

    E / cell = sum_o ECI_o  sum_{c in o} w_c  prod_{m in c} phi_{f(m)}(x_m)

over orbits o of clusters c, where every member m is a site (integer offset and sublattice) with a site-basis function
f(m), and the weights w_c of an orbit share out the normalisation of the correlation function (Sanchez, Ducastelle and
Gratias, Physica A 128, 334 (1984)). Periodic images count with their multiplicity.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from alloygen.arguments import positive
from alloygen.errors import AlloygenError
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.hamiltonian.figures import Expansion, Orbit
from alloygen.hamiltonian.fitted import Fitted
from alloygen.lattice import Lattice, Primitive
from alloygen.runtime.documents import contents_of, read_document, require_whole, write_document
from alloygen.types import ArrayLike, PathLike
from alloygen.units import KB_EV_PER_K

FORMAT = "alloygen cluster expansion"


@dataclass(frozen=True, eq=False, repr=False)
class ClusterExpansion:
    """A lattice Hamiltonian, free of any supercell: primitive cell, site functions, orbits and ECIs.

    Parameters
    ----------
    primitive : Primitive
    functions : array (n_functions, n_elements): site-basis function values phi_f(element), elements as in
        ``primitive.elements``
    orbits : tuple of Orbit (an orbit of order 0 is the constant)
    kB : Boltzmann constant in the energy unit per unit of temperature (eV/K for alloys, 1 for Ising)
    unit : name of the energy unit
    name, citation : for people
    fitted : the fit that the ECIs come from (:func:`alloygen.fit`), with their uncertainty; None for other sources

    ``on(lattice)`` or ``on((4, 4, 4))`` gives the :class:`~alloygen.hamiltonian.cluster.Hamiltonian` of a supercell.
    """

    primitive: Primitive
    functions: np.ndarray
    orbits: tuple[Orbit, ...]
    kB: float = KB_EV_PER_K
    unit: str = "eV"
    name: str = "cluster expansion"
    citation: str = ""
    notes: dict = field(default_factory=dict)
    fitted: Fitted | None = None

    def __post_init__(self):
        functions = np.atleast_2d(np.asarray(self.functions, dtype=float))
        if functions.shape[1] != len(self.primitive.elements):
            raise AlloygenError(
                f"expected site functions with one value per element {self.primitive.elements}, got shape {functions.shape}"
            )
        if not np.isfinite(functions).all():
            raise AlloygenError("expected site functions with finite values, got others")
        object.__setattr__(self, "functions", functions)
        object.__setattr__(self, "orbits", tuple(self.orbits))
        for o in self.orbits:
            off = o.members[..., 3:].size and not 0 <= o.members[..., 3].min() <= o.members[..., 3].max() < len(
                self.primitive.basis
            )
            none = o.functions.size and not 0 <= o.functions.min() <= o.functions.max() < len(functions)
            if off or none:
                raise AlloygenError(
                    f"expected members of orbit {o.name!r} on the {len(self.primitive.basis)} sites of the cell, with site functions below "
                    f"{len(functions)}, got others"
                )

    @property
    def elements(self) -> tuple[str, ...]:
        return self.primitive.elements

    @property
    def ecis(self) -> np.ndarray:
        """The ECIs (n_orbits,), in the order of ``orbits``."""
        return np.array([o.eci for o in self.orbits])

    def same_figures(self, other: Expansion) -> bool:
        """Whether the two differ in their ECIs alone: the same clusters, site functions and weights, orbit by orbit."""
        if other is self:
            return True
        alike = lambda a, b: a.shape == b.shape and bool((a == b).all())  # noqa: E731
        return (
            len(self.orbits) == len(other.orbits)
            and self.primitive.species == other.primitive.species
            and alike(self.functions, other.functions)
            and all(
                alike(getattr(a, name), getattr(b, name))
                for a, b in zip(self.orbits, other.orbits, strict=True)
                for name in ("members", "functions", "weights")
            )
        )

    def on(self, lattice: Lattice | ArrayLike) -> Hamiltonian:
        """The Hamiltonian on a supercell, given as a Lattice, three repeats or an integer matrix."""
        return Hamiltonian(self, lattice if isinstance(lattice, Lattice) else Lattice(self.primitive, lattice))

    def with_ecis(self, eci: ArrayLike) -> ClusterExpansion:
        """The same orbits with other ECIs (n_orbits,), such as those that ``fitted.draws`` gives; of no fit any more."""
        values = np.asarray(eci, dtype=float)
        if values.shape != (len(self.orbits),) or not np.isfinite(values).all():
            raise AlloygenError(f"expected {len(self.orbits)} finite ECIs, one for each orbit, got {eci!r}")
        orbits = tuple(replace(o, eci=float(v)) for o, v in zip(self.orbits, values, strict=True))
        return replace(self, orbits=orbits, fitted=None)

    @property
    def fingerprint(self) -> str:
        """SHA-256 (16 hex digits) of everything that fixes the energy; names and citations do not count."""
        scale = abs(np.linalg.det(self.primitive.cell)) ** (1 / 3)
        shape = {
            "cell": np.round(self.primitive.cell / scale, 6).tolist(),
            "basis": np.round(self.primitive.basis, 6).tolist(),
            "species": self.primitive.species,
            "functions": np.round(self.functions, 10).tolist(),
            "kB": float(f"{self.kB:.8e}"),
            "orbits": [
                [float(f"{o.eci:.10e}"), o.members.tolist(), o.functions.tolist(), np.round(o.weights, 10).tolist()]
                for o in self.orbits
            ],
        }
        return hashlib.sha256(json.dumps(shape, sort_keys=True).encode()).hexdigest()[:16]

    def __repr__(self) -> str:
        species = ", ".join("/".join(names) for names in self.primitive.species)
        clusters = sum(len(o.weights) for o in self.orbits)
        return (
            f"ClusterExpansion({self.name!r}, {species}, {len(self.orbits)} orbits, {clusters} clusters, {self.unit}, "
            f"fingerprint {self.fingerprint})"
        )

    def to_dict(self) -> dict:
        return {
            "format": FORMAT,
            "version": 1,
            "name": self.name,
            "citation": self.citation,
            "unit": self.unit,
            "kB": self.kB,
            "primitive": self.primitive.to_dict(),
            "functions": self.functions.tolist(),
            "orbits": [
                {
                    "name": o.name,
                    "eci": o.eci,
                    "members": o.members.tolist(),
                    "functions": o.functions.tolist(),
                    "weights": o.weights.tolist(),
                }
                for o in self.orbits
            ],
            "notes": self.notes,
            **({} if self.fitted is None else {"fitted": self.fitted.to_dict()}),
        }

    @classmethod
    def from_dict(cls, d: dict) -> ClusterExpansion:
        """The expansion of what :meth:`to_dict` or a file of :meth:`write` holds.

        Raises AlloygenError for what is no expansion, by what it lacks, and for contents that are not those of their checksum.
        """
        try:
            content = require_whole(d, FORMAT)
        except AlloygenError as error:
            raise AlloygenError(f"{error}; write an expansion with ClusterExpansion.write()") from None
        texts = {k: content[k] for k in ("name", "citation", "unit")}
        if not all(isinstance(v, str) for v in texts.values()) or not isinstance(content["orbits"], list):
            raise AlloygenError(f"expected {', '.join(texts)} as text and a list of orbits, got {texts}")
        orbits = tuple(
            Orbit(o["name"], o["eci"], o["members"], o["functions"], o["weights"]) for o in content["orbits"]
        )
        return cls(
            Primitive.from_dict(content["primitive"]),
            np.array(content["functions"], dtype=float),
            orbits,
            positive(content["kB"], "kB"),
            content["unit"],
            content["name"],
            content["citation"],
            dict(content.get("notes", {})),
            Fitted.from_dict(content["fitted"]) if "fitted" in content else None,
        )

    def write(self, path: PathLike) -> Path:
        """Write as JSON with a checksum, whole or not at all; the path of the file is a ``hamiltonian=`` from then on.

        Examples
        --------
        >>> import tempfile
        >>> from alloygen.hamiltonian.ising import ising_expansion
        >>> path = ising_expansion().write(Path(tempfile.mkdtemp()) / "ising.json")
        >>> ClusterExpansion.read(path).fingerprint == ising_expansion().fingerprint
        True
        """
        return write_document(path, {k: v for k, v in self.to_dict().items() if k != "version"}, FORMAT)

    @classmethod
    def read(cls, path: PathLike) -> ClusterExpansion:
        """The expansion in a file of :meth:`write`, or in one that ``json.dump(to_dict())`` made, which has no checksum.

        Raises AlloygenError, with the name of the file, as :meth:`from_dict` does.
        """
        what = "an expansion in alloygen's JSON format (ClusterExpansion.write)"
        found = read_document(path, what)
        with contents_of(path, f"{what}; for CLEASE settings use alloygen.from_clease,"):
            return cls.from_dict(found)
