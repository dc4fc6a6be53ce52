"""A scan under another law than that which its samples were drawn from: the weights of all conditions, or samples annealed there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np

from alloygen.errors import AlloygenError
from alloygen.estimate import weights
from alloygen.hamiltonian.expansion import ClusterExpansion
from alloygen.results.energies import EnergiesLike, OtherEnergies
from alloygen.results.joined import Elsewhere
from alloygen.results.reweighting import ANNEAL, FEW, Bridge

if TYPE_CHECKING:
    import xarray as xr

    from alloygen.hamiltonian.cluster import Hamiltonian

Scan: TypeAlias = Any  # alloygen.results.scan.Scan, which imports this module


def reweighted(scan: Scan, energy: EnergiesLike, then: Bridge | None) -> Scan:
    """The samples of all conditions under another Hamiltonian, see :meth:`alloygen.results.scan.Scan.reweighted`."""
    _require_drawn(scan)
    given = OtherEnergies.of(energy, scan.hamiltonian)
    if then is not None:
        return _carried(scan, energy, then)
    if given.numbers is None:
        shown, hidden = _energies(scan, given)
    elif given.numbers.shape == scan.energy.shape and scan.hidden is None:
        shown, hidden = given.numbers, None
    else:
        ladder = (
            ""
            if scan.hidden is None
            else f", and those of {len(scan.hidden)} conditions of a ladder, which only an expansion or a calculator can give"
        )
        raise AlloygenError(f"expected energies of shape {scan.energy.shape}{ladder}, got shape {given.numbers.shape}")
    new = under(scan, given.hamiltonian or scan.hamiltonian, shown, hidden)
    if scan.log_prob is None:
        _tell_of_few(new, scan)
    else:
        new.tell(f"{ANNEAL[0].upper()}{ANNEAL[1:]}".replace("ens.", "scan."))
    return new


def under(old: Scan, h: Hamiltonian, energy: np.ndarray, hidden: np.ndarray | None) -> Scan:
    """The samples of a scan, and those of its hidden conditions, with energies of another law."""
    behind = None
    if old.hidden is not None and hidden is not None:
        behind = replace(old.hidden, hamiltonian=h, energy=hidden, chains=0, drawn=None, origin=old.hidden)
    return replace(old, hamiltonian=h, energy=energy, chains=0, hidden=behind, drawn=None, origin=old)


def _require_drawn(scan: Scan) -> None:
    if scan.origin is not None:
        raise AlloygenError("expected a scan as it was drawn, got a reweighted one; reweight scan.origin")


def by_temperature(scan: Scan, law: Callable[[float], Any], T: np.ndarray, element: str | None) -> xr.Dataset:
    """F(T, x) where the Hamiltonian is another one at each temperature, see :meth:`alloygen.results.scan.Scan.free_energies`."""
    import xarray as xr

    _require_drawn(scan)
    if not callable(law):
        raise AlloygenError(f"expected law as a function of T that returns ECIs or an expansion, got {law!r:.80}")
    alloy, tables = scan.hamiltonian.expansion, []
    laws = [_at(law, float(t), alloy) for t in T]  # looked at before any work
    given = [OtherEnergies.of(one, scan.hamiltonian) for one in laws]
    for t, one in zip(T, given, strict=True):
        new = under(scan, cast("Hamiltonian", one.hamiltonian), *_energies(scan, one))
        tables.append(new.free_energies([float(t)], element))
    return xr.concat(
        tables, "T", data_vars="minimal", coords="minimal", compat="override", combine_attrs="drop_conflicts"
    ).assign_attrs(hamiltonian=f"{alloy.name}, another at each T", fingerprint=scan.hamiltonian.fingerprint)


def _at(law: Callable[[float], Any], T: float, alloy: Any) -> ClusterExpansion:
    """The expansion of a law at a temperature."""
    found = law(T)
    if isinstance(found, ClusterExpansion):
        return found
    try:
        ecis = np.asarray(found, dtype=float)
    except (TypeError, ValueError):
        ecis = np.empty(0)
    if ecis.shape != (len(alloy.orbits),) or not np.isfinite(ecis).all():
        raise AlloygenError(
            f"expected law({T:g}) as {len(alloy.orbits)} finite ECIs, one for each orbit of {alloy.name!r}, or a ClusterExpansion, got {found!r:.80}"
        )
    return alloy.with_ecis(ecis)


def _energies(scan: Scan, given: OtherEnergies) -> tuple[np.ndarray, np.ndarray | None]:
    """Energies (C, n) of the samples by another Hamiltonian, and of the hidden ones; a calculator is asked once for what both have."""
    parts, size = scan.parts, scan.hamiltonian.n_sites
    rows = [part.occ.reshape(-1, size) for part in parts]
    known = lambda: np.concatenate([p.correlations.reshape(len(r), -1) for p, r in zip(parts, rows, strict=True)])  # noqa: E731
    found = given.of_cells(np.concatenate(rows), scan.atoms_map, known)
    shown, *behind = np.split(found, np.cumsum([len(r) for r in rows])[:-1])
    return shown.reshape(scan.energy.shape), behind[0].reshape(scan.hidden.energy.shape) if behind else None


def _carried(scan: Scan, energy: EnergiesLike, then: Bridge) -> Scan:
    """The samples of each condition annealed."""
    if scan.log_prob is None:
        raise AlloygenError(
            "expected samples with a likelihood to anneal a scan, got Monte Carlo samples, which are known together under their own law "
            "alone; anneal a condition by itself, scan[c].reweighted(expansion, then=alloygen.Anneal()), or run alloygen.mc with the new one"
        )
    made = [ens.reweighted(energy, then=then) for ens in scan]
    gather = lambda name: np.stack([getattr(m, name) for m in made])  # noqa: E731
    return replace(
        scan, hamiltonian=made[0].hamiltonian, occ=gather("occ"), energy=gather("energy"), log_prob=gather("log_prob"), method=made[0].method,
        chains=0, observed={}, drawn=None, origin=scan,
    )  # fmt: skip


def _tell_of_few(new: Scan, old: Scan) -> None:
    """Warn of conditions where few of the old effective samples are left."""
    if not cast(Elsewhere, new.joint).pooled:
        return
    finite = np.flatnonzero(np.isfinite(new.T))
    sizes = [
        [pool.effective_samples(b, b * mu) for b, mu in zip(new.beta[finite], new.mu[finite], strict=True)]
        for pool in (new.pool, old.pool)
    ]
    left = np.array(sizes[0]) / np.array(sizes[1])
    few = (left < weights.UNEVEN) | (np.array(sizes[0]) < FEW)
    if few.any():
        worst = int(finite[left.argmin()])
        weights.tell(
            new.energy,
            f"at {int(few.sum())} of {len(new)} conditions few effective samples are left under the new Hamiltonian (least {left.min():.2g} of "
            f"the old ones, at T = {new.T[worst]:g}, mu = {new.mu[worst].tolist()}): what rests on them is unreliable. Take smaller steps, or run "
            "alloygen.mc with the new Hamiltonian",
        )
