"""The one Hamiltonian: a cluster expansion on a supercell, held as flat tables.

Two tables serve every need. *Clusters* (members and coefficients) give energies. *Terms* list, for each site, the
clusters that it belongs to with the other members; they give energy changes, heat-bath conditionals, and the energy
along an order: assigning each cluster to the member decided last,

    E(x) = E_0 + sum_t f_t(x_s(t) | x_s(<t)),    f_t(a) = sum_{c : s(t) last in c} J_c phi(a) prod_{others} phi(x_j),

a sum that telescopes to E(x) for every order s.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any, TypeVar, overload

import numpy as np
import torch

from alloygen.arrays import Numbers, alike, as_array, as_tensor
from alloygen.conditions.grids import Grid
from alloygen.conditions.record import Condition, semigrand
from alloygen.errors import AlloygenError, BadCondition
from alloygen.hamiltonian import kernels
from alloygen.hamiltonian.figures import Expansion
from alloygen.hamiltonian.flips import FlipTables, build_flip_tables
from alloygen.hamiltonian.tables import build_tables
from alloygen.lattice import Lattice
from alloygen.limits import require_rows
from alloygen.types import ArrayLike

Given = TypeVar("Given", Condition, Grid)


class Hamiltonian:
    """Energies of occupations on one supercell.

    Occupations are integers (B, N): the index of the species in its sublattice's list. Energies are float64, in the
    unit of the expansion (eV for alloys), extensive (per supercell). Arrays give arrays, tensors give tensors.

    Examples
    --------
    >>> import alloygen.data
    >>> h = alloygen.data.cuau().on((2, 2, 4))
    >>> h.energy(np.zeros((1, 16))).round(9)      # pure Cu, formation energy
    array([0.])
    """

    def __init__(self, expansion: Expansion, lattice: Lattice):
        self.expansion = expansion
        self.lattice = lattice
        self._build()
        self._device_tables: dict[torch.device, dict] = {}

    # ------------------------------------------------------------------ facts
    @property
    def n_sites(self) -> int:
        return self.lattice.n_sites

    @property
    def n_species(self) -> int:
        """The largest number of species on any sublattice, S."""
        return int(self.lattice.n_species.max())

    @property
    def kB(self) -> float:
        return self.expansion.kB

    @property
    def unit(self) -> str:
        return self.expansion.unit

    @property
    def elements(self) -> tuple[str, ...]:
        return self.lattice.elements

    @property
    def n_channels(self) -> int:
        """Number K of (orbit, own site function) pairs that a site's energy is split into."""
        return len(self.channel_function)

    @cached_property
    def fingerprint(self) -> str:
        return self.expansion.fingerprint

    # ------------------------------------------------------------------ tables
    def _build(self) -> None:
        t = build_tables(self.expansion.functions, self.expansion.orbits, self.lattice)
        self.constant = t.constant
        self.functions = t.functions  # (F, n_sublattices, S): site functions by species index
        self.clusters = t.clusters  # list of (factors (C, n), coefficients (C,))
        self.term_ptr, self.term_coef, self.term_channel = t.term_ptr, t.term_coef, t.term_channel
        self.term_others, self.term_n = t.term_others, t.term_n
        self.channel_function, self.channel_orbit = t.channel_function, t.channel_orbit
        self.site_functions = np.ascontiguousarray(self.functions[:, self.lattice.sublattice].transpose(1, 0, 2))

    @cached_property
    def channel_scale(self) -> np.ndarray:
        """Sum of |J| over the terms of a site, per site and channel (N, K): bounds |field| for |phi| <= 1."""
        scale = np.zeros((self.n_sites, self.n_channels))
        site = np.repeat(np.arange(self.n_sites), np.diff(self.term_ptr))
        np.add.at(scale, (site, self.term_channel), np.abs(self.term_coef))
        return scale

    @cached_property
    def channel_values(self) -> np.ndarray:
        """phi of each channel for each species of each sublattice, (n_sublattices, K, S)."""
        return self.functions[self.channel_function].transpose(1, 0, 2).copy()

    @cached_property
    def neighbours(self) -> list[np.ndarray]:
        """For each site, the other sites that share a cluster with it."""
        out = []
        sites = np.where(self.term_others >= 0, self.term_others // len(self.functions), -1)
        for i in range(self.n_sites):
            found = np.unique(sites[self.term_ptr[i] : self.term_ptr[i + 1]])
            out.append(found[(found >= 0) & (found != i)])
        return out

    @cached_property
    def interacting(self) -> np.ndarray:
        """``neighbours`` as one table (N, most neighbours), shorter rows filled by repeating (by the site itself where none)."""
        count = max((len(n) for n in self.neighbours), default=0)
        rows = [np.resize(n, count) if len(n) else np.full(count, i) for i, n in enumerate(self.neighbours)]
        return np.array(rows, dtype=np.int64).reshape(self.n_sites, count)

    @cached_property
    def symmetries(self) -> tuple[np.ndarray, np.ndarray]:
        """Point operations (P, N) of the lattice that leave energies alone, and its translations (N_cells, N), as site permutations.

        An expansion may have less symmetry than its lattice, for example other ECIs on each of two like sublattices: the
        energies of random configurations tell.
        """
        points = as_tensor(self.lattice.point_operations)
        occ = self.random(8, torch.Generator().manual_seed(0))
        images = occ[:, torch.argsort(points, dim=1)]  # (8, P, N)
        energy = self.energy(occ)
        change = self.energy(images.flatten(0, 1)).view(8, -1) - energy[:, None]
        kept = (change.abs() < 1e-9 * (1 + energy.abs().max())).all(0)
        return as_array(points[kept]), self.lattice.translations

    @cached_property
    def flip_tables(self) -> FlipTables:
        """Tables of single-flip energy changes for the Monte Carlo kernels; see ``hamiltonian.flips``."""
        return build_flip_tables(self)

    # ------------------------------------------------------------------ occupations
    def check(self, occ: ArrayLike | torch.Tensor) -> Any:
        """Occupations (B, N) as an int8 array, or an int64 tensor where a tensor is given; or an error that says what is wrong with them."""
        given = occ if isinstance(occ, torch.Tensor) else np.asarray(occ)
        given = given[None] if given.ndim == 1 else given
        if given.ndim != 2 or given.shape[1] != self.n_sites:
            raise AlloygenError(f"expected occupations of shape (batch, {self.n_sites}), got {tuple(given.shape)}")
        top = self.lattice.n_species
        bad = ~(
            (given >= 0) & (given < (as_tensor(top, device=given.device) if isinstance(given, torch.Tensor) else top))
        ).all(0)
        if bad.any():
            sites = np.flatnonzero(as_array(bad))[:10].tolist()
            raise AlloygenError(f"expected species indices below {self.n_species}, got others on sites {sites}")
        return given.long() if isinstance(given, torch.Tensor) else given.astype(np.int8, copy=False)

    @overload
    def random(self, n: int, generator: int) -> np.ndarray: ...

    @overload
    def random(self, n: int, generator: torch.Generator) -> torch.Tensor: ...

    def random(self, n: int, generator: int | torch.Generator) -> np.ndarray | torch.Tensor:
        """Uniformly random occupations (n, N): a tensor by a generator, the same as an array by its seed."""
        if not isinstance(generator, torch.Generator):
            return as_array(self.random(n, torch.Generator().manual_seed(generator)), np.int8)
        require_rows(n, self.n_sites, f"configurations of {self.n_sites} sites")
        u = torch.rand(n, self.n_sites, generator=generator, dtype=torch.float64, device=generator.device)
        return (u * as_tensor(self.lattice.n_species, device=u.device)).long()

    def counts(self, occ: Numbers) -> Numbers:
        """Number of atoms of each element, float64 (B, n_elements) of occupations (B, N); of arrays (..., N) too."""
        lattice = self.lattice
        if not isinstance(occ, torch.Tensor):
            out = np.zeros((*occ.shape[:-1], len(self.elements)))
            for b, index in enumerate(lattice.element_index):
                part = occ[..., lattice.sublattice == b]
                for s in range(len(lattice.species[b])):
                    out[..., index[s]] += (part == s).sum(-1)
            return out
        table = as_tensor(lattice.site_elements, device=occ.device)
        element = torch.gather(table.T[None].expand(len(occ), -1, -1), 1, occ[:, None, :])[:, 0]
        found = torch.zeros(len(occ), len(self.elements), dtype=torch.float64, device=occ.device)
        return found.scatter_add_(1, element, torch.ones_like(element, dtype=torch.float64))

    def site_mu(self, mu: torch.Tensor, sites: torch.Tensor | None = None) -> torch.Tensor:
        """Chemical potential of each candidate species on each site, (B, N, S), or on ``sites`` (B, Q), from mu (B, n_elements)."""
        table = as_tensor(self.lattice.site_elements, device=mu.device).clamp_min(0)
        if sites is None:
            return mu[:, table]
        return torch.gather(mu[:, None].expand(-1, sites.shape[1], -1), 2, table[sites])

    # ------------------------------------------------------------------ energies
    def energy(self, occ: Numbers) -> Numbers:
        """Energies (B,) of occupations (B, N)."""
        rows = self.check(occ)
        if isinstance(rows, torch.Tensor) and rows.device.type != "cpu":
            return alike(self.energy_torch(rows), occ)
        out = np.full(len(rows), self.constant)
        rows = np.ascontiguousarray(as_array(rows).T, dtype=np.int64)
        for factors, coef in self.clusters:
            kernels.add_energies(rows, self.site_functions, factors, coef, out)
        return as_tensor(out) if isinstance(occ, torch.Tensor) else out

    def correlations(self, occ: ArrayLike) -> np.ndarray:
        """Correlation functions (B, K) of occupations (B, N), one for each orbit: what it adds to the energy per site for an ECI of 1.

            E(x) = N sum_k J_k Phi_k(x)

        so that energies by other ECIs on the same figures are a matrix product (Sanchez, Ducastelle and Gratias, Physica A 128, 334 (1984)).

        Examples
        --------
        >>> import alloygen.data
        >>> alloy = alloygen.data.cuau()
        >>> h = alloy.on((2, 2, 4))
        >>> occ = h.random(5, 0)
        >>> bool(np.allclose(16 * h.correlations(occ) @ alloy.ecis, h.energy(occ)))
        True
        """
        rows = np.ascontiguousarray(as_array(self.check(as_array(occ))).T, dtype=np.int64)
        out = np.empty((rows.shape[1], len(self._by_orbit)))
        for k, (constant, functions, clusters) in enumerate(self._by_orbit):
            column = np.full(rows.shape[1], constant)
            for factors, coef in clusters:
                kernels.add_energies(rows, functions, factors, coef, column)
            out[:, k] = column
        return out / self.n_sites

    @cached_property
    def _by_orbit(self) -> list[tuple[float, np.ndarray, list]]:
        """The constant, the site functions (N, F, S) and the clusters of each orbit for an ECI of 1."""
        out = []
        for orbit in self.expansion.orbits:
            t = build_tables(self.expansion.functions, (replace(orbit, eci=1.0),), self.lattice)
            functions = np.ascontiguousarray(t.functions[:, self.lattice.sublattice].transpose(1, 0, 2))
            out.append((t.constant, functions, t.clusters))
        return out

    def condition(self, T: float | ArrayLike | torch.Tensor, mu: ArrayLike | torch.Tensor | None = None) -> Condition:
        """T () or (B,) and mu (n_elements,) or (B, n_elements), zero if not given, in the units of this Hamiltonian, as one record.

        Raises BadCondition for numbers of chemical potentials other than of elements, and what :class:`Condition` raises.
        """
        return self.require(Condition(T, np.zeros(len(self.elements)) if mu is None else mu, self.kB), Condition)

    def grid(self, T: float | ArrayLike, mu: ArrayLike | None = None) -> Grid:
        """Every T (nT,) with every row of mu (nM, n_elements), zero if not given; the errors are those of :meth:`condition`."""
        return self.require(Grid(T=T, mu=np.zeros(len(self.elements)) if mu is None else mu), Grid)  # type: ignore[arg-type]

    def require(self, given: Given, kind: type[Given]) -> Given:
        """A Condition or a Grid, as ``kind`` says, where it is one for the elements of this Hamiltonian; BadCondition otherwise."""
        if not isinstance(given, kind):
            name = kind.__name__
            raise BadCondition(
                f"expected a {name}, such as hamiltonian.{name.lower()}(600.0, mu), got {given!r}; alloygen.sample and mc take T and mu by element"
            )
        if (n := given.mu.shape[-1]) != len(self.elements):
            raise BadCondition(
                f"expected one chemical potential per element {self.elements}, got {n}; pass them in this order"
            )
        return given

    def reduced_energy(self, occ: Numbers, condition: Condition) -> Numbers:
        """u = (E - mu.N) / kT (B,), float64, at one condition or one for each row: p(x) = exp(-u) / Z."""
        return condition.reduced(self.energy(occ), self.counts(occ))

    def semigrand_energy(self, occ: Numbers, mu: torch.Tensor | ArrayLike) -> Numbers:
        """E - mu.N (B,), float64, at mu (n_elements,) or (B, n_elements); :func:`semigrand` where energies and counts are known."""
        if isinstance(occ, torch.Tensor):
            return semigrand(self.energy(occ), self.counts(occ), as_tensor(mu, torch.float64, occ.device))
        return semigrand(self.energy(occ), self.counts(occ), as_array(mu, np.float64))

    def energy_torch(self, occ: torch.Tensor, chunk: int = 256) -> torch.Tensor:
        """The same in plain torch: the path for other devices, and the check on the compiled one."""
        t = self._tables(occ.device)
        out = []
        for part in occ.split(chunk):
            phi = self._phi(part, t)
            e = torch.full((len(part),), self.constant, dtype=torch.float64, device=occ.device)
            for factors, coef in t["clusters"]:
                e = e + phi[:, factors].prod(-1) @ coef
            out.append(e)
        return torch.cat(out) if out else torch.zeros(0, dtype=torch.float64, device=occ.device)

    def site_energies(self, occ: Numbers, sites: torch.Tensor | None = None) -> Numbers:
        """Energy (B, N, S) of each candidate species on each site, or on ``sites`` (B, Q), all other sites as they are.

        Differences along S are exact energy changes of single substitutions; the heat-bath conditional of a site is
        softmax(-beta (site_energies - mu)).
        """
        rows = as_tensor(self.check(occ))
        sites = torch.arange(self.n_sites, device=rows.device).repeat(len(rows), 1) if sites is None else sites
        fields = self.fields(rows, torch.zeros_like(rows), sites, torch.ones_like(sites))
        return alike(self.species_energies(fields, sites), occ)

    def smallest_change(self, occ: ArrayLike | torch.Tensor) -> float:
        """The smallest energy (not zero) that a single substitution in ``occ`` (N,) costs or gains; 0 if all cost none."""
        steps = np.abs(self.substitutions(occ))
        steps = steps[steps > 1e-9]
        return float(steps.min()) if len(steps) else 0.0

    def substitutions(
        self, occ: ArrayLike | torch.Tensor, mu: ArrayLike | None = None, sites: ArrayLike | None = None
    ) -> np.ndarray:
        """What every single substitution in ``occ`` (N,) costs, (M,): the change of E - mu.N, of E without ``mu`` (n_elements,).

        sites : (Q,) that are substituted; all if not given. Site by site, on each its other species in their order
        """
        rows = self.check(as_array(occ))
        at = np.arange(self.n_sites) if sites is None else np.asarray(sites)
        level = self.site_energies(rows)[0]
        if mu is not None:
            level = level - np.asarray(mu)[self.lattice.site_elements.clip(0)]
        level, own = level[at], rows[0, at].astype(int)[:, None]
        other = self.lattice.allowed[at] & (np.arange(level.shape[1]) != own)
        return (level - np.take_along_axis(level, own, 1))[other]

    def change(self, occ: torch.Tensor, sites: torch.Tensor, species: torch.Tensor) -> torch.Tensor:
        """Energy changes (B,) when ``sites`` (B,) of each configuration take ``species`` (B,)."""
        s = sites[:, None]
        fields = self.fields(occ, torch.zeros_like(occ), s, torch.ones_like(s))
        e = self.species_energies(fields, s)[:, 0]
        old = torch.gather(occ, 1, s)
        return (torch.gather(e, 1, species[:, None]) - torch.gather(e, 1, old))[:, 0]

    def along(self, occ: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
        """Energy (B, N, S) of each candidate species at each step of ``order`` (B, N), given the sites decided before.

        Summed over the chosen species, plus ``constant``, it equals ``energy``.
        """
        return self.species_energies(self.fields_along(occ, order), order)

    def fields_along(self, occ: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
        """The same, split into channels before the own species is put in: (B, N, K)."""
        rank = torch.argsort(order, dim=1)
        steps = torch.arange(self.n_sites, device=occ.device).repeat(len(occ), 1)
        return self.fields(occ, rank, order, steps)

    def fields(
        self, occ: torch.Tensor, rank: torch.Tensor, sites: torch.Tensor, threshold: torch.Tensor
    ) -> torch.Tensor:
        """Channel fields g (B, Q, K) on ``sites`` (B, Q), counting only terms whose other members j are known.

        The inner loop of models: arguments are int64 tensors that the caller vouches for (see ``check``).

        g_k = sum_{terms of channel k} J prod_j phi(x_j),  with every rank_j (B, N) < threshold (B, Q).
        """
        if occ.device.type == "cpu":
            out = torch.zeros(
                (*sites.shape, self.n_channels), dtype=torch.float64
            )  # torch's memory is always aligned alike
            x, r, s, t = (y.contiguous().numpy() for y in (occ, rank, sites, threshold))
            kernels.fields(
                x,
                r,
                s,
                t,
                self.term_ptr,
                self.term_coef,
                self.term_channel,
                self.term_others,
                self.term_n,
                self.site_functions,
                out.numpy(),
            )
            return out
        return self.fields_torch(occ, rank, sites, threshold)

    def fields_torch(
        self, occ: torch.Tensor, rank: torch.Tensor, sites: torch.Tensor, threshold: torch.Tensor, chunk: int = 32
    ) -> torch.Tensor:
        """``fields`` in plain torch. Sites with fewer terms are padded with terms of zero coefficient."""
        t = self._tables(occ.device)
        f = len(self.functions)
        out = []
        for o, r, s, h in zip(
            occ.split(chunk), rank.split(chunk), sites.split(chunk), threshold.split(chunk), strict=True
        ):
            phi = self._phi(o, t)
            others = t["others"][s]  # (b, Q, M, o), -1 where none
            values = torch.gather(phi[:, None, :].expand(-1, s.shape[1], -1), 2, others.flatten(2) % phi.shape[1])
            known = torch.gather(r[:, None, :].expand(-1, s.shape[1], -1), 2, (others.flatten(2) // f).clamp_min(0))
            values = torch.where(known < h[..., None], values, torch.zeros_like(values))
            values = torch.where(others.flatten(2) < 0, torch.ones_like(values), values).view(others.shape)
            terms = values.prod(-1) * t["coef"][s]
            g = torch.zeros(*s.shape, self.n_channels, dtype=torch.float64, device=occ.device)
            out.append(g.scatter_add_(2, t["channel"][s], terms))
        return torch.cat(out)

    def species_energies(self, fields: torch.Tensor, sites: torch.Tensor) -> torch.Tensor:
        """(B, Q, S): fields (B, Q, K) contracted with the own site function of each candidate species."""
        values = as_tensor(self.channel_values, device=fields.device)
        if self.lattice.n_sublattices == 1:
            return fields @ values[0]
        sub = as_tensor(self.lattice.sublattice, device=fields.device)[sites]
        return torch.einsum("bqk,bqks->bqs", fields, values[sub])

    # ------------------------------------------------------------------ torch helpers
    def _phi(self, occ: torch.Tensor, t: dict) -> torch.Tensor:
        """Site functions (B, N * F) of occupations."""
        n, f, _ = self.site_functions.shape
        table = t["site_functions"][None].expand(len(occ), -1, -1, -1)
        return torch.gather(table, 3, occ[:, :, None, None].expand(-1, -1, f, 1))[..., 0].reshape(len(occ), n * f)

    def _tables(self, device: torch.device) -> dict:
        if device in self._device_tables:
            return self._device_tables[device]
        count = np.diff(self.term_ptr)
        width = int(count.max()) if len(count) else 0
        slot = np.arange(width)[None] < count[:, None]
        pad = lambda a, fill: _scatter(a, slot, fill)  # noqa: E731
        t = {
            "site_functions": self.site_functions,
            "others": pad(self.term_others, -1),
            "coef": pad(self.term_coef, 0.0),
            "channel": pad(self.term_channel, 0),
        }
        tables: dict = {k: as_tensor(v, device=device) for k, v in t.items()}
        tables["clusters"] = [(as_tensor(f, device=device), as_tensor(c, device=device)) for f, c in self.clusters]
        self._device_tables[device] = tables
        return tables

    def __repr__(self) -> str:
        return f"Hamiltonian({self.expansion.name!r}, {self.lattice!r}, {len(self.term_coef) // max(1, self.n_sites)} clusters per site)"


def _scatter(flat: np.ndarray, slot: np.ndarray, fill) -> np.ndarray:
    out = np.full((*slot.shape, *flat.shape[1:]), fill, dtype=flat.dtype)
    out[slot] = flat
    return out
