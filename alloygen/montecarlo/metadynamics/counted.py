"""The lattice seen from one element: which sites can hold it, how many atoms of it there can be, and the unique ends."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy.special import gammaln

from alloygen.arguments import whole_number
from alloygen.conditions import Mu, chemical_potentials, exchangeable, references, temperature
from alloygen.edge.problem import Problem
from alloygen.errors import AlloygenError, UnknownSpecies

RATIO, STEP = 1.5, 2.8  # neighbouring temperatures differ by 1 + min(RATIO - 1, STEP / sqrt(sites)) at most
HOT = 2.0  # times the spread of single-flip energies of random configurations: no order is left at this kT


class Counted:
    """What is asked: element, sites, window, chemical potentials, and the free energies of unique end configurations."""

    def __init__(
        self,
        problem: Problem,
        element: str | None,
        mu: Mu | None,
        window: tuple[int, int] | None,
    ):
        h = problem.hamiltonian
        lattice, free = h.lattice, exchangeable(h.lattice)
        self.h, self.sites = h, problem.free
        self.start = problem.base
        element = element if element is not None else (free[-1] if len(free) == 2 else None)
        if not isinstance(element, str) or element not in free:
            raise UnknownSpecies(
                f"expected the element to count as one of {free}, got {element!r}; name it where more than two change places"
            )
        self.element, self.name = h.elements.index(element), element
        self.others = [h.elements.index(e) for e in free if e != element]
        index = lattice.site_elements  # (N, S)
        self.own = np.where((index == self.element).any(1), (index == self.element).argmax(1), -1)
        self.hosts = self.sites[self.own[self.sites] >= 0]
        if not len(self.hosts):
            raise AlloygenError(
                f"expected sites that can take {element}, got none among those that may change; free some"
            )
        given = np.zeros(len(h.elements)) if mu is None else chemical_potentials(mu, h)
        self.mu = np.zeros(len(h.elements))
        of = references(lattice)
        for c in set(of[self.others]):  # the first of the others that can change places with each has 0
            others = [k for k in self.others if of[k] == c]
            self.mu[others] = given[others] - given[others[0]]
            if c == of[self.element]:
                self.tilt = given[self.element] - given[others[0]]
        self.low, self.high = self._window(window)
        self.n_fixed = int(self.counts(self.with_number(0))[self.element])
        self.left, self.right = self._ends()

    def _window(self, window) -> tuple[int, int]:
        top = len(self.hosts)
        try:
            low, high = (0, top) if window is None else (whole_number(w, "an end of the window", 0) for w in window)
        except (TypeError, ValueError):
            low, high = 1, 0
        if not 0 <= low < high <= top:
            raise AlloygenError(
                f"expected a window (lowest, highest) within 0 and {top} atoms of {self.name}, got {window}"
            )
        return low, high

    def with_number(self, n: int, rng: np.random.Generator | None = None) -> np.ndarray:
        """A configuration with n atoms of the element on the sites that change, the others at random (or the first)."""
        lattice, occ = self.h.lattice, self.start.copy()
        for i in self.sites:
            allowed = [a for a in range(lattice.n_species[i]) if a != self.own[i]]
            occ[i] = allowed[0 if rng is None else rng.integers(len(allowed))]
        where = self.hosts[:n] if rng is None else rng.choice(self.hosts, n, replace=False)
        occ[where] = self.own[where]
        return occ

    def counts(self, occ: np.ndarray) -> np.ndarray:
        """Atoms of each element in one configuration (N,), on all sites."""
        return self.h.counts(occ)

    def _ends(self) -> tuple[float | None, float | None]:
        """E - mu.N at the lowest and the highest number where only one configuration has it, else None."""
        all_host = len(self.hosts) == len(self.sites)
        binary = (self.h.lattice.n_species[self.sites] == 2).all()
        top = len(self.hosts)
        left = self._reduced(self.with_number(0)) if all_host and binary and self.low == 0 else None
        return left, self._reduced(self.with_number(top)) if all_host and self.high == top else None

    def _reduced(self, occ) -> float:
        return float(self.h.semigrand_energy(occ[None], self.mu)[0])

    def exact_links(self) -> tuple[bool, bool]:
        """Whether the step beside the lowest and the one beside the highest number is known by symmetry.

        It is where the end is one configuration and each of its flips costs the same, as on a lattice of equivalent sites.
        """
        binary = bool((self.h.lattice.n_species[self.sites] == 2).all())
        return (
            binary and self.left is not None and self._alike(self.with_number(0)),
            binary and self.right is not None and self._alike(self.with_number(len(self.hosts))),
        )

    def _alike(self, occ: np.ndarray) -> bool:
        energies = self.h.site_energies(occ)[0][self.sites]
        cost = (
            energies[np.arange(len(self.sites)), 1 - occ[self.sites]]
            - energies[np.arange(len(self.sites)), occ[self.sites]]
        )
        return bool(np.ptp(cost) <= 1e-9 * max(np.abs(cost).max(), 1e-300))

    def shares(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Shares of the attempts at each N of the window that raise N and that lower it; None if not a matter of N alone."""
        n_species = self.h.lattice.n_species[self.hosts]
        if (n_species != n_species[0]).any():
            return None
        n, all_sites = np.arange(self.low, self.high + 1), len(self.sites)
        return (len(self.hosts) - n) / (n_species[0] - 1) / all_sites, n / all_sites

    # ------------------------------------------------------------------ where to begin
    def first_bias(self, beta: np.ndarray) -> np.ndarray:
        """(C, sites + 1) entropy of a random alloy plus the straight line between the ends (or that of mu), over kT."""
        n, top = np.arange(self.high + 1), len(self.hosts)
        ends = self.left, self.right
        slope = self.tilt if ends[0] is None or ends[1] is None else (ends[1] - ends[0]) / top
        entropy = gammaln(top + 1) - gammaln(n + 1) - gammaln(top - n + 1)
        out = np.zeros((len(beta), self.h.n_sites + 1))
        out[:, self.n_fixed : self.n_fixed + self.high + 1] = entropy - beta[:, None] * slope * n
        return out

    def starts(self, rows: int, seed: int) -> np.ndarray:
        """(rows, N) configurations whose numbers are spread evenly over the window, in random order."""
        rng = np.random.default_rng(seed)
        numbers = rng.permutation(np.linspace(self.low, self.high, rows).round().astype(int))
        return np.stack([self.with_number(int(n), rng) for n in numbers])

    def ladder(self, T: np.ndarray, extra: Iterable[float] | None) -> np.ndarray:
        """The temperatures that walk: those asked for, and others between and above them that help the exchanges."""
        if extra is not None:
            return np.unique([*T, *(temperature(t) for t in extra)])
        ratio = 1 + min(RATIO - 1, STEP / np.sqrt(len(self.sites)))
        energies = self.h.site_energies(self.starts(16, 0))[:, self.sites]
        allowed = np.arange(energies.shape[2]) < self.h.lattice.n_species[self.sites][:, None]
        flips = (energies - energies[..., :1])[:, allowed & (np.arange(energies.shape[2]) > 0)]
        out = np.unique(np.append(T, max(T.max(), HOT * flips.std() / self.h.kB)))
        steps = np.ceil(np.log(out[1:] / out[:-1]) / np.log(ratio) - 1e-9).astype(int)
        gaps = [a * (b / a) ** (np.arange(k) / k) for a, b, k in zip(out[:-1], out[1:], steps, strict=True)]
        return np.concatenate([*gaps, out[-1:]])
