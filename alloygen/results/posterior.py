"""What the fit of an expansion leaves open in a phase diagram: one scan, reweighted to many draws of its ECIs.

Each draw J_j of the posterior (or sample of ECIs from elsewhere) is another Hamiltonian on the same figures, so that the energies of all samples
are a product with their correlation functions, E_j = N Phi J_j, and the pool of the scan (:mod:`alloygen.estimate.pool`) gives F_j(T, x) without
new sampling: log Omega_n = log sum_{i in n} g_i exp(-beta E_ji). The spread of what the F_j show is the error bar of the fit. It stands beside
that of the sampling, the bootstrap of the scan under its own law; both together are their sum in quadrature, as the two have nothing to do with
each other. Posteriors of ECIs: Kristensen and Zabaras, Comput. Phys. Commun. 185, 2885 (2014); carried to phase boundaries by many
simulations: Aldegunde, Zabaras and Kristensen, J. Comput. Phys. 323, 17 (2016).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd

from alloygen.arguments import one_of, whole_number
from alloygen.errors import AlloygenError, LowSampleSize
from alloygen.estimate.coexistence import tangent_at
from alloygen.estimate.weights import MIN_ESS, user_level
from alloygen.hamiltonian.expansion import ClusterExpansion
from alloygen.results.canonical import free_energies
from alloygen.results.energies import OtherEnergies
from alloygen.results.phase_diagram import PhaseDiagram
from alloygen.results.reweighting import FEW, Bridge
from alloygen.results.transitions import peak_at
from alloygen.types import ArrayLike, Temperatures

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

    from alloygen.estimate.pool import Pool
    from alloygen.estimate.result import Estimate
    from alloygen.hamiltonian.cluster import Hamiltonian
    from alloygen.results.runs import Runs

BAND = (0.16, 0.84)  # quantiles of the draws that a band reaches between
POOR = 0.05  # share of the states of a diagram at which a draw may have few effective samples
LEAST = 3  # draws


class Samples(Protocol):
    """What is read of a scan: see :class:`alloygen.results.scan.Scan`."""

    @property
    def hamiltonian(self) -> Hamiltonian: ...
    @property
    def T(self) -> np.ndarray: ...
    @property
    def mu(self) -> np.ndarray: ...
    @property
    def beta(self) -> np.ndarray: ...
    @property
    def log_prob(self) -> np.ndarray | None: ...
    @property
    def held(self) -> np.ndarray: ...
    @property
    def pool(self) -> Pool: ...
    @property
    def parts(self) -> Sequence[Runs]: ...
    def phase_diagram(self, T: Temperatures | None, element: str | None) -> Any: ...
    def reweighted(self, energy: Any, then: Bridge | None) -> Samples: ...
    def free_energy(self, c: int) -> Estimate: ...


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class PosteriorBands:
    """A phase diagram with the error bars of the fit beside those of the sampling; :meth:`alloygen.Scan.posterior` makes it.

    diagram : of the law that was sampled, its ``_stderr`` those of the sampling
    table : xarray.Dataset over (T, n) as that of ``diagram``, the draws of the ECIs in place of the bootstrap
    draws : a row for each draw: ``effective_share``, the median share of the effective samples that is left over the states of the diagram;
        ``effective_samples``, those that all but 5 % of them have at least; ``how``, "reweighted", "annealed" or "left out"
    phi : a row for each condition of the scan: T, mu_<element>, phi, phi_stderr of the sampling, phi_fit of the draws

    Columns that end in ``_fit`` are standard deviations over the draws that were kept. Draws that were left out are those that differ most:
    where there are some, bands are too narrow.
    """

    diagram: PhaseDiagram
    table: xr.Dataset
    draws: pd.DataFrame
    phi: pd.DataFrame

    @cached_property
    def _by_draws(self) -> PhaseDiagram:
        return PhaseDiagram(self.table, self.diagram.min_width)

    @cached_property
    def free_energy(self) -> xr.Dataset:
        """free_energy (T, n) per site with ``_stderr`` of the sampling, ``_fit`` of the draws, and mixing likewise, each relative to its own ends."""
        moved, ours = self.table["free_energy_replica"].values, self.diagram.table
        x = self.diagram.x
        line = moved[..., :1] * (x[-1] - x) / (x[-1] - x[0]) + moved[..., -1:] * (x - x[0]) / (x[-1] - x[0])
        out = ours[["free_energy", "free_energy_stderr", "mixing", "mixing_stderr", "effective_samples"]].copy()
        out["free_energy_fit"] = (("T", "n"), moved.std(1, ddof=1))
        out["mixing_fit"] = (("T", "n"), (moved - line).std(1, ddof=1))
        return out

    @cached_property
    def regions(self) -> pd.DataFrame:
        """Two-phase regions as :attr:`PhaseDiagram.regions`, with x_left_fit, x_right_fit and mu_fit, the ends of the bands (x_left_low, x_left_high,
        ...) and support_fit, the share of the draws that have a region there."""
        rows = [self._region(row) for row in self.diagram.regions.itertuples()]
        columns = [f"{k}_{of}" for k in ("x_left", "x_right", "mu") for of in ("fit", "low", "high")] + ["support_fit"]
        more = pd.DataFrame(rows, columns=columns, index=self.diagram.regions.index, dtype=float)
        return pd.concat([self.diagram.regions, more], axis=1)

    def _region(self, row: Any) -> list[float]:
        d, t = self.diagram, self.diagram.row(row.T)
        middle = (0.5 * (row.x_left + row.x_right) - d.x[0]) / d.step
        found = [
            tangent_at(f, middle, v)
            for f, v in zip(self.table["free_energy_replica"].values[t], self._by_draws.vertices[t], strict=True)
        ]
        a, b, slope = (np.array(v, float) for v in zip(*found, strict=True))
        out = []
        for values in (d.x[0] + a * d.step, d.x[0] + b * d.step, slope * d.mu_of_slope):
            out += [values.std(ddof=1), *np.quantile(values, BAND)]
        return [*out, float((b - a >= d.min_width).mean())]

    @cached_property
    def transitions(self) -> pd.DataFrame:
        """Order-disorder temperatures as :attr:`PhaseDiagram.transitions`, with T_fit, T_low and T_high."""
        frame, d = self.diagram.transitions, self.diagram
        capacity = self.table["heat_capacity_replica"].values
        rows = []
        for x in frame["x"]:
            peaks = np.array([peak_at(d.T, c) for c in capacity[:, :, round((x - d.x[0]) / d.step)].T])
            peaks = peaks[np.isfinite(peaks)]
            enough = len(peaks) >= LEAST
            rows.append([peaks.std(ddof=1), *np.quantile(peaks, BAND)] if enough else [np.nan] * 3)
        return pd.concat(
            [frame, pd.DataFrame(rows, columns=["T_fit", "T_low", "T_high"], index=frame.index, dtype=float)], axis=1
        )

    @cached_property
    def invariants(self) -> pd.DataFrame:
        """Invariant points as :attr:`PhaseDiagram.invariants`, with T_fit, which has a tenth of the step in T as T_stderr has, and support_fit."""
        ours, fit = self.diagram.invariants, self._by_draws.invariants
        keys = ["kind", "phases"]
        known = {tuple(r[k] for k in keys): r for _, r in fit.iterrows()}
        rows = [known.get(tuple(r[k] for k in keys)) for _, r in ours.iterrows()]
        more = [[np.nan, np.nan] if r is None else [r["T_stderr"], r["support"]] for r in rows]
        return pd.concat(
            [ours, pd.DataFrame(more, columns=["T_fit", "support_fit"], index=ours.index, dtype=float)], axis=1
        )

    def plot(self, kind: str = "T-x", ax: Axes | None = None) -> Axes:
        """Draw "T-x" (fields with their bars of sampling, and bands of the draws, 16 to 84 %), "T-mu" or "F-x" likewise; returns the Axes."""
        from alloygen.results import plot_bands

        kinds = {"T-x": plot_bands.bands_tx, "T-mu": plot_bands.bands_tmu, "F-x": plot_bands.bands_fx}
        one_of(kind, "kind", tuple(kinds))
        return kinds[kind](self, ax)

    def __repr__(self) -> str:
        how = self.draws["how"].value_counts()
        told = ", ".join(f"{n} {name}" for name, n in how.items())
        return f"PosteriorBands({self.diagram!r}; draws: {told})"


def laws(scan: Samples, ecis: ArrayLike | Sequence[ClusterExpansion] | None, n: int, seed: int) -> list[OtherEnergies]:
    """The Hamiltonians of draws: from the posterior of the expansion, ECIs (n, K), or expansions."""
    h, alloy = scan.hamiltonian, scan.hamiltonian.expansion
    if ecis is None:
        fitted = getattr(alloy, "fitted", None)
        if fitted is None:
            raise AlloygenError(
                f"expected an expansion that remembers its fit (alloygen.fit), or samples of its ECIs (n, {len(alloy.orbits)}), got {alloy.name!r} "
                "without either"
            )
        ecis = fitted.draws(n, seed)
    if isinstance(ecis, Sequence) and len(ecis) and isinstance(ecis[0], ClusterExpansion):
        found = list(ecis)
    else:
        try:
            rows = np.asarray(ecis, dtype=float)
        except (TypeError, ValueError):
            rows = np.empty(0)
        if rows.ndim != 2 or rows.shape[1] != len(alloy.orbits) or not np.isfinite(rows).all():
            raise AlloygenError(
                f"expected finite ECIs (draws, {len(alloy.orbits)}), one for each orbit of {alloy.name!r}, or a list of expansions, got {f'shape {rows.shape}' if rows.size else f'{ecis!r:.80}'}"
            )
        assert isinstance(alloy, ClusterExpansion)
        found = [alloy.with_ecis(row) for row in rows]
    if len(found) < LEAST:
        raise AlloygenError(f"expected at least {LEAST} draws of the ECIs, got {len(found)}")
    return [OtherEnergies.of(law, h) for law in found]


def posterior_bands(
    scan: Samples,
    ecis: ArrayLike | Sequence[ClusterExpansion] | None,
    n: int,
    T: Temperatures | None,
    element: str | None,
    then: Bridge | None,
    seed: int,
) -> PosteriorBands:
    """See :meth:`alloygen.Scan.posterior`."""
    drawn = laws(scan, ecis, whole_number(n, "n, the number of draws,", LEAST), seed)
    diagram = scan.phase_diagram(T, element)
    if not isinstance(diagram, PhaseDiagram):
        raise AlloygenError(
            "expected a binary for bands of its diagram, got more elements; scan.reweighted(alloy) takes one law at a time"
        )
    replicas: dict[str, list] = {k: [] for k in ("free_energy", "heat_capacity")}
    rows, phi = [], []
    sure = diagram.table["effective_samples"].values
    states = np.isfinite(sure) & (sure >= MIN_ESS)
    if not states.any():
        raise AlloygenError(
            f"expected a scan with {MIN_ESS:.0f} effective samples at some T and composition, got fewer everywhere; draw more"
        )
    for table, values, how in _reweighted(scan, drawn, diagram, states, then):
        left = _effective(table, states)
        rows.append((float(np.median(left / sure[states])), float(np.quantile(left, POOR)), how))
        if how != "left out":
            phi.append(values)
            for name, many in replicas.items():
                many.append(table[name].values)
    draws = pd.DataFrame(rows, columns=["effective_share", "effective_samples", "how"])
    _tell(draws, scan.log_prob is not None and then is None)
    moved = diagram.table.drop_dims("replica").assign({
        f"{name}_replica": (("T", "replica", "n"), np.stack(many, 1)) for name, many in replicas.items()
    })  # fmt: skip
    return PosteriorBands(diagram=diagram, table=moved, draws=draws, phi=_phi(scan, np.array(phi)))


def _reweighted(
    scan: Samples, drawn: list[OtherEnergies], diagram: PhaseDiagram, states: np.ndarray, then: Bridge | None
) -> Iterator[tuple[xr.Dataset, list[float], str]]:
    """(table of F(T, x), Phi (C,), how it was found) of each draw."""
    whole = scan.pool
    plain = replace(whole, replica=whole.replica[:2])  # the spread of the draws is what counts
    parts, size = scan.parts, scan.hamiltonian.n_sites
    flat = lambda part: part.occ.reshape(-1, size)  # noqa: E731
    of = [lambda part=part: part.correlations.reshape(part.occ.shape[0] * part.occ.shape[1], -1) for part in parts]
    poor = lambda table: np.quantile(_effective(table, states), POOR) < FEW  # noqa: E731
    for law in drawn:
        h, how = law.hamiltonian, "reweighted"
        assert h is not None
        energy = np.concatenate([law.of_cells(flat(p), p.atoms_map, known) for p, known in zip(parts, of, strict=True)])
        pool = plain.with_energies(energy)
        make = lambda pool, h=h: free_energies(pool, h, diagram.T, diagram.element, held=scan.held)  # noqa: E731
        table = make(pool)
        if poor(table) and then is not None:
            made = scan.reweighted(h, then)
            pool = replace(made.pool, replica=made.pool.replica[:2])
            table, how = make(pool), "annealed"
        values = [-pool.log_z(b, b * mu).value / (b * size) for b, mu in zip(scan.beta, scan.mu, strict=True) if b > 0]
        yield table, values, "left out" if poor(table) else how


def _effective(table: xr.Dataset, states: np.ndarray) -> np.ndarray:
    """Effective samples at the states, 0 where annealing has left none."""
    return np.nan_to_num(table["effective_samples"].values[states])


def _phi(scan: Samples, moved: np.ndarray) -> pd.DataFrame:
    """Phi at each finite condition with both error bars."""
    finite = np.flatnonzero(np.isfinite(scan.T))
    found = [scan.free_energy(int(c)) for c in finite]
    out = {"T": scan.T[finite]} | {f"mu_{e}": scan.mu[finite, k] for k, e in enumerate(scan.hamiltonian.elements)}
    out |= {"phi": [f.value for f in found], "phi_stderr": [f.stderr for f in found], "phi_fit": moved.std(0, ddof=1)}
    return pd.DataFrame(out)


def _tell(draws: pd.DataFrame, annealing: bool) -> None:
    """Warn of draws that were left out; ``annealing`` is what may help."""
    out = int((draws["how"] == "left out").sum())
    if len(draws) - out < LEAST:
        raise AlloygenError(
            f"expected at least {LEAST} draws that the samples of the scan reach, got {len(draws) - out} of {len(draws)}: the ECIs are too far from those "
            "that were sampled. Draw more samples at more conditions, or sample the draws themselves"
        )
    if out:
        remedy = (
            "then=alloygen.Anneal() may take them along"
            if annealing
            else "more samples, or conditions of more mu, whose compositions these have, take them along"
        )
        warnings.warn(
            f"{out} of {len(draws)} draws of the ECIs were left out, with fewer than {FEW:.0f} effective samples at more than {100 * POOR:.0f} % of the "
            f"states of the diagram: the bands are too narrow without them; {remedy}",
            LowSampleSize,
            stacklevel=user_level(),
        )
