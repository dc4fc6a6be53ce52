"""What an expansion remembers of its fit: the posterior of its ECIs, the structures and energies it rests on, and how well it does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from alloygen.arguments import seed_from, whole_number
from alloygen.errors import AlloygenError

ARRAYS = ("mean", "covariance", "correlations", "energies", "strain", "displacement", "learning_curve")
LISTS = ("names", "pruned", "cutoffs", "labels", "matrices", "occupations")


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Fitted:
    """The fit that an expansion comes from. Energies in eV per site (all sites of the primitive cell), of M structures.

    names : of the K orbits, as in the expansion
    mean, covariance : (K,), (K, K) of the ECIs, normal; ``std`` its diagonal
    noise : standard deviation of what the expansion does not describe
    method : "ols", "ridge", "bayes", "ard" or "lasso"
    cutoffs : largest distance in pairs, triplets, ..., in the unit of the primitive cell
    cv : root mean square error of structures that were left out, of each method that was tried
    learning_curve : (n, 2), numbers of structures and the error of those left out
    references, reference_kind : energy of an atom of each element that was taken off, and where it is from
    labels, matrices, occupations : M structures that were fitted to, on their supercells
    correlations, energies : (M, K), (M,), energies with the references taken off
    strain, displacement : (M,) of the structures as they came; displacements as a share of the nearest-neighbour distance
    pruned : orbits that the method found to be 0
    left_out : label and reason of each structure that could not be laid onto the lattice
    same : label of each structure that repeats another, which stands for both
    """

    names: tuple[str, ...]
    mean: np.ndarray
    covariance: np.ndarray
    noise: float
    method: str
    cutoffs: tuple[float, ...]
    cv: Mapping[str, float]
    learning_curve: np.ndarray
    references: Mapping[str, float]
    reference_kind: str
    labels: tuple[str, ...]
    matrices: tuple[tuple[tuple[int, ...], ...], ...]
    occupations: tuple[tuple[int, ...], ...]
    correlations: np.ndarray
    energies: np.ndarray
    strain: np.ndarray
    displacement: np.ndarray
    pruned: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    same: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ARRAYS:
            object.__setattr__(self, name, np.ascontiguousarray(getattr(self, name), dtype=float))
        for name in LISTS:
            object.__setattr__(self, name, _tuples(getattr(self, name)))
        for name in ("cv", "references", "left_out", "same"):
            object.__setattr__(self, name, dict(getattr(self, name)))
        k, m = len(self.names), len(self.labels)
        wanted = {"mean": (k,), "covariance": (k, k), "correlations": (m, k)}
        wanted |= dict.fromkeys(("energies", "strain", "displacement"), (m,))
        for name, shape in wanted.items():
            if getattr(self, name).shape != shape:
                raise AlloygenError(f"expected {name} of shape {shape}, got {getattr(self, name).shape}")

    # ------------------------------------------------------------------ what it says
    @property
    def std(self) -> np.ndarray:
        """Standard deviation (K,) of each ECI."""
        return np.sqrt(np.maximum(np.diag(self.covariance), 0.0))

    @property
    def score(self) -> float:
        """Root mean square error of structures that were left out (cross-validation), by the method that was taken."""
        return self.cv[self.method]

    @property
    def predicted(self) -> np.ndarray:
        """Energies (M,) of the structures by the expansion."""
        return self.correlations @ self.mean

    def predict(self, correlations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Energies (B,) of structures by their correlation functions (B, K), and how far the ECIs let them be off (B,)."""
        x = np.asarray(correlations, dtype=float)
        return x @ self.mean, np.sqrt(np.maximum(((x @ self.covariance) * x).sum(1), 0.0))

    def draws(self, n: int, seed: int = 0) -> np.ndarray:
        """ECIs (n, K) drawn from their posterior; ``ClusterExpansion.with_ecis`` makes an expansion of a row."""
        size, rng = whole_number(n, "n, the number of draws,"), np.random.default_rng(seed_from(seed))
        values, vectors = np.linalg.eigh(self.covariance)
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        return self.mean + rng.standard_normal((size, len(self.mean))) @ root.T

    def to_pandas(self) -> Any:
        """A ``pandas.DataFrame`` with a row for each structure: sites, energy, predicted, and how it lay on the lattice."""
        import pandas as pd

        columns = {
            "sites": [len(occ) for occ in self.occupations],
            "energy": self.energies,
            "predicted": self.predicted,
            "strain": self.strain,
            "displacement": self.displacement,
        }
        return pd.DataFrame(columns, index=pd.Index(self.labels, name="structure"))

    def __repr__(self) -> str:
        best = f"{1e3 * self.score:.3g} meV/site left out, {1e3 * self.noise:.3g} noise"
        return f"Fitted({len(self.names)} ECIs by {self.method} from {len(self.labels)} structures, {best})"

    # ------------------------------------------------------------------ files
    def to_dict(self) -> dict:
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self)}

    @classmethod
    def from_dict(cls, d: Mapping) -> Fitted:
        known = {f.name for f in fields(cls)}
        return cls(**{k: v for k, v in d.items() if k in known})


def _tuples(value: Any) -> Any:
    """Lists as tuples, all the way down."""
    return tuple(map(_tuples, value)) if isinstance(value, (list, tuple)) else value


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value
