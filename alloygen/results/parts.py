"""One condition of a scan, some of them, and several scans as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeAlias, cast

import numpy as np

from alloygen.conditions import Mu, chemical_potentials, temperature
from alloygen.errors import AlloygenError, BadCondition, LatticeMismatch
from alloygen.results import convergence, moved
from alloygen.results.ensemble import Ensemble
from alloygen.results.joined import Elsewhere, Place
from alloygen.results.provenance import Provenance
from alloygen.results.runs import Runs

Scan: TypeAlias = Any  # alloygen.results.scan.Scan, which imports this module


def condition(scan: Scan, c: int) -> Ensemble:
    """The ensemble of condition c, which knows what all conditions know together."""
    facts = Provenance(
        seed=scan.facts.seed,
        log_states=scan.facts.log_states,
        known=_known(scan, c),
        constrained=keeps_composition(scan),
        stuck="; ".join(convergence.frozen(scan, c)) if scan.chains and not scan.exchanged else "",
    )
    origin, log_w, shared = None if scan.origin is None else scan.origin[c], None, scan.exchanged
    if origin is not None and not origin.has_likelihood:
        # the same samples, weighted from the law that they were drawn from
        log_w = float(scan.beta[c]) * (origin.energy - scan.energy[c])
        facts, shared = replace(facts, inefficiency=origin.inefficiency), cast(Elsewhere, scan.joint).pooled
    return Ensemble(
        scan.hamiltonian, scan.occ[c], scan.energy[c], None if scan.log_prob is None else scan.log_prob[c],
        float(scan.T[c]), scan.mu[c], scan.method, scan.atoms_map, {**scan.info, **{k: v[c].item() for k, v in scan.facts.columns.items()}},
        chains=scan.chains, observed={k: v[c] for k, v in scan.observed.items()}, log_w=log_w, facts=facts, origin=origin,
        place=Place(joint=scan.joint, condition=c, shared=shared) if shared or scan.absolute else None,
    )  # fmt: skip


def _known(scan: Scan, c: int) -> np.ndarray | None:
    """(N,) species of the sites that were held at a condition, -1 of the others; None where none was."""
    if not len(scan.facts.held):
        return None
    sites, out = np.asarray(scan.facts.held, dtype=int), np.full(scan.hamiltonian.n_sites, -1)
    out[sites] = scan.occ[c, 0, sites]
    return out


def keeps_composition(runs: Runs) -> bool:
    """Whether the numbers of atoms of a sample never change."""
    return runs.facts.constrained or (runs.facts.move is not None and runs.facts.move.keeps_composition)


def place(scan: Scan, T: float, mu: Mu | None) -> int:
    """Which condition is at T and mu, see :meth:`alloygen.results.scan.Scan.at`."""
    here = np.isclose(scan.T, temperature(T))
    if mu is not None:
        here &= np.isclose(scan.mu, chemical_potentials(mu, scan.hamiltonian), atol=1e-9).all(1)
    if here.sum() != 1:
        raise BadCondition(
            f"expected one of the {len(scan)} conditions of the scan, T={T!r} and mu={mu!r} fit {int(here.sum())} of them. "
            "Give mu as in the scan, 0 for elements that are not named: Phi belongs to it"
        )
    return int(np.flatnonzero(here)[0])


def some(scan: Scan, at: np.ndarray) -> Scan:
    """The scan of the conditions ``at``, see :meth:`alloygen.results.scan.Scan.subset`."""
    rest = np.setdiff1d(np.arange(len(scan)), at)
    if scan.origin is not None and scan.log_prob is None:
        energies = [scan.energy[at], scan.energy[rest], *([] if scan.hidden is None else [scan.hidden.energy])]
        old = scan.origin.subset(at)
        behind = np.concatenate(energies[1:]) if old.hidden is not None else None
        return moved.under(old, scan.hamiltonian, energies[0], behind)
    if scan.hidden is not None:
        bare = replace(scan, hidden=None)
        hidden = joined(type(scan), [bare.subset(rest), scan.hidden]) if len(rest) else scan.hidden
        return replace(bare.subset(at), hidden=hidden)
    part = lambda d: {k: (v[at] if isinstance(v, np.ndarray) else [v[i] for i in at]) for k, v in d.items()}  # noqa: E731
    log_prob = None if scan.log_prob is None else scan.log_prob[at]
    return type(scan)(
        scan.hamiltonian, scan.T[at], scan.mu[at], scan.occ[at], scan.energy[at], scan.chains, scan.method, log_prob,
        scan.atoms_map, part(scan.observed), scan.facts.part(at), scan.info,
        origin=None if scan.origin is None else scan.origin.subset(at),
    )  # fmt: skip


def joined(kind: type, scans: Sequence[Scan]) -> Scan:
    """One scan of the conditions of several, see :meth:`alloygen.results.scan.Scan.concatenate`."""
    if not scans:
        raise AlloygenError("expected at least one scan, got none")
    first = scans[0]
    if any(s.origin is not None for s in scans):
        raise AlloygenError(
            "expected scans as they were drawn, got reweighted ones; put the scans together first, then reweight them"
        )
    for other in scans[1:]:
        _require_alike(first, other)
    join = lambda name: np.concatenate([getattr(s, name) for s in scans])  # noqa: E731
    behind = [s.hidden for s in scans if s.hidden is not None]
    return kind(
        first.hamiltonian, join("T"), join("mu"), join("occ"), join("energy"), first.chains, first.method,
        None if first.log_prob is None else join("log_prob"), first.atoms_map, facts=first.facts.whole(), info=first.info,
        hidden=joined(kind, behind) if behind else None,
    )  # fmt: skip


def _require_alike(first: Scan, other: Scan) -> None:
    if other.hamiltonian.fingerprint != first.hamiltonian.fingerprint:
        raise AlloygenError(
            f"expected scans of one Hamiltonian, got {first.hamiltonian.expansion.name} ({first.hamiltonian.fingerprint}) and "
            f"{other.hamiltonian.expansion.name} ({other.hamiltonian.fingerprint}); their free energies have nothing in common"
        )
    if not np.array_equal(other.hamiltonian.lattice.matrix, first.hamiltonian.lattice.matrix):
        raise LatticeMismatch(
            f"expected scans of one supercell, got {first.hamiltonian.lattice!r} and {other.hamiltonian.lattice!r}; make a "
            "diagram of each and compare them"
        )
    kinds = [(s.log_prob is None, s.chains, s.n) for s in (first, other)]
    if kinds[0] != kinds[1]:
        raise AlloygenError(
            "expected scans of one kind of samples, got (without likelihood, chains, n) = "
            + " and ".join(map(str, kinds))
        )
