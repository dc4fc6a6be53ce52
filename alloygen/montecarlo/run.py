"""The loop of every Markov-chain sampler: equilibrate, keep samples until there are enough, write checkpoints.

``collect(chains, Run(...), title)`` is all of it; the samplers of :mod:`alloygen.montecarlo.sampling` make the chains.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from alloygen.arguments import positive, record, whole_number
from alloygen.conditions.record import semigrand
from alloygen.errors import AlloygenError, NotConverged
from alloygen.estimate.chains import common_equilibration, mean, memory
from alloygen.estimate.weights import user_level
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.hamiltonian.kept import require_kept
from alloygen.limits import require_attempts
from alloygen.results.provenance import RunProvenance
from alloygen.results.scan import Scan
from alloygen.runtime.job import Job, Loop
from alloygen.runtime.resume import digest, identity
from alloygen.runtime.tensors import matching, require_range

if TYPE_CHECKING:
    from alloygen.montecarlo.chains import Chains
    from alloygen.montecarlo.cluster_chains import ClusterChains
    from alloygen.montecarlo.packed_chains import PackedChains


FIRST, MAX_DROPS = 20, 6  # rounds before the first sample, and how often the start may be cut, with burn=None
LARGEST = 4e9  # bytes of samples
MOST_ROUNDS = 10**12  # more than any run keeps
FINITE = float(np.finfo(float).max)


@dataclass(frozen=True)
class Run:
    """How long to run and what to keep; the keywords of every sampler here.

    n : samples per condition, over all copies (rounded up to a multiple of copies)
    sweeps : sweeps between samples, attempts per changeable site
    burn : rounds of ``sweeps`` before the first sample; None cuts the start where the effective number of samples is
        largest (Chodera, J. Chem. Theory Comput. 12, 1799 (2016)), by more than chance where there are many conditions
        (:func:`alloygen.estimate.chains.common_equilibration`), and samples on
    precision : standard errors to be reached at every condition: {"Au": 0.002} for a composition, {"energy": 1e-4} per
        site, or the name of an observer. The run goes on until then, or until ``max_n`` samples (100 n without it)
    max_n : the most samples for the sake of ``precision``, at least n
    observers : name -> function of the occupations (B, N) int8 of one sample of each chain, returning (B,) numbers
    check : warn (NotConverged) about conditions with few effective samples or chains that disagree
    """

    n: int = 1000
    sweeps: int = 10
    burn: int | None = None
    precision: Mapping[str, float] | None = None
    max_n: int | None = None
    observers: Mapping[str, Callable] = field(default_factory=dict)
    check: bool = True

    def __post_init__(self):
        put = lambda name, value: object.__setattr__(self, name, value)  # noqa: E731
        put("n", whole_number(self.n, "n, the samples per condition,"))
        put("sweeps", whole_number(self.sweeps, "sweeps"))
        if self.burn is not None:
            put("burn", whole_number(self.burn, "burn", 0))
        if self.max_n is not None:
            put("max_n", whole_number(self.max_n, "max_n", self.n))
        if self.max_n is not None and self.precision is None:
            raise AlloygenError(
                f"expected precision= with max_n={self.max_n}, got none: without it a run has n samples"
            )
        for name, example in (("precision", '{"energy": 1e-4}'), ("observers", '{"gold": lambda occ: occ.sum(1)}')):
            given = getattr(self, name)
            if given is not None and not isinstance(given, Mapping):
                raise AlloygenError(f"expected {name} as a dict by name, such as {example}, got {given!r}")
        put("observers", dict(self.observers or {}))
        if idle := [name for name, function in self.observers.items() if not callable(function)]:
            raise AlloygenError(f"expected observers as functions of occupations (B, N), got none for {idle}")
        for name, goal in (self.precision or {}).items():
            positive(goal, f"the standard error of {name!r} in precision")

    @classmethod
    def of(cls, options: Mapping, hamiltonian: Hamiltonian, others: Collection[str] = ()) -> Run:
        """The run of a sampler's further keywords, checked before any work; ``others`` are keywords that it names itself.

        Raises AlloygenError for a keyword that nobody knows, with the nearest that is known, and for impossible values.
        """
        run = record(cls, options, others)
        run.require_known(hamiltonian)
        return run

    def require_known(self, hamiltonian: Hamiltonian) -> None:
        """AlloygenError where a precision is asked of what is no element, observer or the energy."""
        quantities = {*self.observers, "energy", *hamiltonian.elements}
        if unknown := sorted(set(self.precision or {}) - quantities):
            raise AlloygenError(
                f"expected precision of {sorted(quantities)}, got {unknown}; name an element, 'energy' or an observer"
            )


def collect(
    chains: Chains | ClusterChains | PackedChains,
    run: Run,
    job: Job,
    title: str,
    seed: int = 0,
    shown: np.ndarray | None = None,
) -> Scan:
    """Run chains as ``run`` and ``job`` say and return the scan; ``chains`` has T, mu, ``step``, ``configurations``, ``state``.

    ``shown`` (C,) says which conditions were asked for: precision and warnings are theirs, the others become ``hidden``.
    """
    sampler = _Sampler(chains, run, title, seed, shown)
    sampler.go(job)
    scan = sampler.scan()
    if run.check:
        _warn(scan, sampler)
    return scan


class _Sampler:
    """The state of one run: rounds burned, samples kept, how many are wanted."""

    def __init__(self, chains, run: Run, title: str, seed: int, shown: np.ndarray | None = None):
        self.chains, self.run, self.title, self.seed = chains, run, title, seed
        self.shown = np.ones(len(chains.T), dtype=bool) if shown is None else shown
        self.copies = getattr(chains, "copies", 1)
        self.wanted = -(-run.n // self.copies)
        self.most = -(-(run.max_n or 100 * run.n) // self.copies) if run.precision else self.wanted
        self.burned = self.drops = 0
        self.occ: list[np.ndarray] = []  # (R, N) of each round kept
        self.energy: list[np.ndarray] = []
        self.observed: dict[str, list] = {name: [] for name in run.observers}
        self.reached = True

    # ------------------------------------------------------------------ the loop
    def go(self, job: Job) -> None:
        burn = FIRST if self.run.burn is None else self.run.burn
        rows = self.chains.configurations()
        require_attempts(self.run.sweeps, rows[0].size, "Take fewer sweeps between more samples")
        round_ = sum(a.nbytes for a in rows)
        with job.loop(self, self.title, unit="round", expected=self.wanted * round_) as loop:
            while self.burned < burn:
                self.chains.step(self.run.sweeps)
                self.burned += 1
                if self.burned == burn:
                    self.chains.reset_counters()
                self._tick(loop, burn)
            while True:
                while len(self.occ) < self.wanted:
                    self.chains.step(self.run.sweeps)
                    self._keep()
                    self._tick(loop, burn)
                if not (self._cut_start() or self._refine()):
                    break

    def _tick(self, loop: Loop, burn: int) -> None:
        shown = {"acceptance": f"{np.mean(self.chains.acceptance):.2f}"} if len(self.occ) % 20 == 1 else None
        loop.tick(self.burned + len(self.occ), burn + self.wanted, shown)

    def _keep(self) -> None:
        occ, energy = self.chains.configurations()
        if not self.occ and occ.nbytes * self.wanted > LARGEST:
            raise AlloygenError(
                f"expected samples of at most {LARGEST / 1e9:.0f} GB, got {self.wanted} rounds of {occ.nbytes / 1e6:.1f} MB. "
                "Keep fewer: a smaller n with more sweeps between samples, or fewer conditions at once."
            )
        values = {name: np.asarray(function(occ), dtype=float) for name, function in self.run.observers.items()}
        for name, v in values.items():
            if v.shape != (len(occ),):
                raise AlloygenError(
                    f"expected observer {name!r} to return one number per chain ({len(occ)},), got {v.shape}"
                )
            if not np.isfinite(v).all():
                raise AlloygenError(
                    f"expected observer {name!r} to return finite numbers, got {v[~np.isfinite(v)][0]}; return one for every configuration"
                )
            self.observed[name].append(v)
        self.occ.append(occ.copy())
        self.energy.append(energy.copy())

    def _cut_start(self) -> bool:
        """With burn=None: forget samples from before equilibrium; True when others have to take their place."""
        if self.run.burn is not None or self.drops >= MAX_DROPS:
            return False
        self.drops += 1
        t0 = common_equilibration(self._reduced())
        if self.drops > 1 and t0 < 0.1 * len(self.occ):  # after the first cut, only what still drifts
            self.drops = MAX_DROPS
            return False
        for kept in (self.occ, self.energy, *self.observed.values()):
            del kept[:t0]
        return t0 > 0

    def _refine(self) -> bool:
        """True when the precision asked for needs more samples and there may be more."""
        if not self.run.precision:
            return False
        ratios = [
            self._stderr(name, c) / goal
            for name, goal in self.run.precision.items()
            for c in np.flatnonzero(self.shown)
        ]
        worst = max(r if np.isfinite(r) else np.inf for r in ratios)  # a series that never changed has no error yet
        self.reached = bool(worst <= 1)
        if self.reached or self.wanted >= self.most:
            return False
        self.wanted = int(min(self.most, np.ceil(self.wanted * np.clip(1.1 * worst**2, 1.3, 4.0))))
        return True

    # ------------------------------------------------------------------ series by condition
    @property
    def _n_conditions(self) -> int:
        return len(self.chains.T)

    def _series(self, rows) -> np.ndarray:
        """(rounds, copies * C) as (C, copies, rounds)."""
        return np.stack(rows).reshape(len(rows), self.copies, self._n_conditions).transpose(2, 1, 0)

    def _counts(self, c: int | np.integer) -> np.ndarray:
        """(copies, rounds, n_elements) at one condition."""
        h = self.chains.hamiltonian
        occ = np.stack([o.reshape(self.copies, self._n_conditions, -1)[:, c] for o in self.occ], 1)
        return h.counts(occ)

    def _reduced(self) -> np.ndarray:
        """E - mu.N, (C, copies, rounds)."""
        h = self.chains.hamiltonian
        mu = np.tile(self.chains.mu, (self.copies, 1))
        rows = [semigrand(e, h.counts(o), mu) for o, e in zip(self.occ, self.energy, strict=True)]
        return self._series(rows)

    def _stderr(self, name: str, c: int | np.integer) -> float:
        h, energy, counts = self.chains.hamiltonian, self._series(self.energy)[c], self._counts(c)
        lag = max(memory(x).window for x in (energy, *np.moveaxis(counts, -1, 0)))
        if name in self.observed:
            return mean(self._series(self.observed[name])[c], lag=lag).stderr
        if name == "energy":
            quantum = h.smallest_change(self.occ[-1][c]) / h.n_sites
            return mean(energy / h.n_sites, quantum, lag=lag).stderr
        free = int(h.lattice.changeable.sum())
        return mean(counts[..., h.elements.index(name)] / free, quantum=1 / free, lag=lag).stderr

    # ------------------------------------------------------------------ results
    def scan(self) -> Scan:
        hidden = None if self.shown.all() else self._part(np.flatnonzero(~self.shown), None)
        return self._part(np.flatnonzero(self.shown), hidden)

    def _part(self, at: np.ndarray, hidden: Scan | None) -> Scan:
        """The scan of the conditions ``at`` (c,)."""
        ch, c = self.chains, len(at)
        flat = lambda rows: self._series(rows)[at].reshape(c, -1)  # noqa: E731
        occ = np.empty((c, self.copies, len(self.occ), ch.hamiltonian.n_sites), dtype=np.int8)
        for k, o in enumerate(self.occ):
            occ[:, :, k] = o.reshape(self.copies, self._n_conditions, -1)[:, at].swapaxes(0, 1)
        info = {"seed": self.seed, "fingerprint": ch.hamiltonian.fingerprint, "sweeps": self.run.sweeps}
        info |= {"move": str(ch.move or self.title), "reached": self.reached}
        held = np.setdiff1d(np.flatnonzero(ch.hamiltonian.lattice.changeable), ch.sites).tolist()
        exchanged = bool(getattr(ch, "pairs", None))
        facts = RunProvenance(
            seed=self.seed, sweeps=self.run.sweeps, move=ch.move, held=tuple(held), exchanged=exchanged, log_states=ch.log_states,
            acceptance=ch.acceptance[at], renewals=ch.renewals[at] if exchanged else None,
        )  # fmt: skip
        if exchanged:
            rates = np.concatenate(ch.exchange_rates)
            info |= {
                "exchange": float(rates.mean()),
                "exchange_min": float(rates.min()),
                "round_trips": int(ch.trips.sum()),
            }
        return Scan(
            ch.hamiltonian, ch.T[at], ch.mu[at], occ.reshape(c, -1, ch.hamiltonian.n_sites), flat(self.energy), self.copies,
            self.title, observed={k: flat(v) for k, v in self.observed.items()}, facts=facts,
            info=info, hidden=hidden,
        )  # fmt: skip

    # ------------------------------------------------------------------ checkpoints
    def identity(self) -> dict:
        """All that fixes the samples but how many there are: n and max_n are left out, so that a run may go on."""
        ch, run = self.chains, self.run
        start = next(v for k, v in ch.state().items() if k.endswith("occ"))
        T, mu = (
            np.unique(ch.T[self.shown]),
            np.unique(ch.mu[self.shown], axis=0),
        )  # what was asked for; then all conditions
        return identity(
            "Monte Carlo", ch.hamiltonian, sampler=self.title, move=str(ch.move or self.title), T=T, mu=mu,
            atoms=self._atoms(start) if ch.keeps_composition else None, held=self._atoms(start, ch.sites), seed=self.seed,
            copies=self.copies, sweeps=run.sweeps, burn=run.burn, precision=run.precision, observers=sorted(run.observers),
            start=start, changing_sites=ch.sites, conditions=digest(np.column_stack([ch.T, ch.mu])),
            exchanged_pairs=[np.asarray(p) for p in getattr(ch, "pairs", [])],
        )  # fmt: skip

    def _atoms(self, occ, but=()) -> dict:
        """Atoms by element of the first start, on sites of several species other than ``but``: words for what digests hide."""
        lattice = self.chains.hamiltonian.lattice
        sites = np.setdiff1d(np.flatnonzero(lattice.changeable), but)
        index = lattice.element_index[lattice.sublattice[sites], occ[0, sites].astype(int)]
        return {lattice.elements[e]: int((index == e).sum()) for e in np.unique(index)}

    def state(self) -> tuple[dict, dict]:
        arrays = {f"chains.{k}": v for k, v in self.chains.state().items()}
        if self.occ:
            arrays |= {"occ": np.stack(self.occ), "energy": np.stack(self.energy)}
            arrays |= {f"observed.{k}": np.stack(v) for k, v in self.observed.items()}
        return arrays, {"burned": self.burned, "drops": self.drops, "wanted": self.wanted, "kept": len(self.occ)}

    def restore(self, arrays: dict[str, np.ndarray], progress: dict) -> None:
        state = {k.removeprefix("chains."): v for k, v in arrays.items() if k.startswith("chains.")}
        kept = self._kept({k: v for k, v in arrays.items() if not k.startswith("chains.")})
        self.chains.restore(state)
        self.burned = whole_number(progress["burned"], "burned", 0, FIRST if self.run.burn is None else self.run.burn)
        self.drops = whole_number(progress["drops"], "drops", 0, MAX_DROPS)
        wanted = whole_number(progress["wanted"], "wanted", 1, MOST_ROUNDS)
        self.wanted = max(self.wanted, wanted if self.run.precision else 0)
        if whole_number(progress.get("kept", len(kept["occ"])), "kept", 0) != len(kept["occ"]):
            raise AlloygenError(f"expected {progress['kept']} rounds of samples, got {len(kept['occ'])}")
        self.occ, self.energy = list(kept["occ"]), list(kept["energy"])
        self.observed = {k: list(kept[f"observed.{k}"]) for k in self.observed}

    def _kept(self, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The samples of a file, as many rounds of each; none where it holds none yet."""
        occ, energy = self.chains.configurations()
        like = {"occ": occ[None], "energy": energy[None]}
        like |= {f"observed.{k}": np.zeros((1, len(occ))) for k in self.observed}
        if not arrays:
            return {k: v[:0] for k, v in like.items()}
        found = matching(arrays, like, rows="rounds")
        require_kept(self.chains.hamiltonian, found["occ"], found["energy"])
        require_range(found, **{f"observed.{k}": (-FINITE, FINITE) for k in self.observed})
        return found


def _warn(scan: Scan, sampler: _Sampler) -> None:
    bad = [c for c in range(len(scan)) if not scan.convergence[c].converged]
    if not sampler.reached:
        warnings.warn(f"the precision {dict(sampler.run.precision or {})} was not reached with {scan.n} samples per condition. Raise max_n.",
                      NotConverged, stacklevel=user_level())  # fmt: skip
    if bad:
        c = min(bad, key=lambda k: scan.convergence[k].effective_samples)
        warnings.warn(
            f"{len(bad)} of {len(scan)} conditions have not converged, {scan.words(c)} least: {scan.convergence[c].note}", NotConverged, stacklevel=user_level(),
        )  # fmt: skip
