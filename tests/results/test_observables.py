"""Every observable of an ensemble against enumeration: draws of a known wrong law with weights, and Markov chains.

The law that is drawn from is the exact one at another condition, mixed with a little of the uniform law, so that its
likelihood is known and the weights are far from equal. All conditions are lopsided: both signs of the field, uneven mu.
"""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from ase.build import bulk

import alloygen.data
from alloygen.errors import AlloygenError, UnknownSpecies
from alloygen.estimate.correlation import manhattan_labels, pair_products, shell_labels
from alloygen.estimate.order import long_range_order, pair_multiplicity
from alloygen.estimate.result import Estimate
from alloygen.estimate.thermo import mean
from alloygen.exact.enumeration import Enumeration
from alloygen.hamiltonian.ising import ising
from alloygen.montecarlo.sampling import metropolis, replica_exchange
from alloygen.results.ensemble import Ensemble

N = 10_000
SHELLS = 4
SYSTEMS = {  # Hamiltonian, conditions (T, difference of mu), how to measure distances, orders, edges of the energy per site
    "ising-4": (lambda: ising(4), [(T, d) for T in (1.8, 2.4, 3.2) for d in (-0.3, 0.2)], "manhattan", [(0.5, 0.5, 0)],
                np.arange(-34, 35, 4) / 16),
    "ising-3": (lambda: ising(3), [(T, d) for T in (2.0, 2.7, 3.5) for d in (-0.4, 0.3)], "shell", [(1 / 3, 0, 0)],
                np.arange(-20, 13, 4) / 9),
    "cuau": (lambda: alloygen.data.cuau().on((2, 2, 4)), [(T, d) for T in (500.0, 700.0, 1200.0) for d in (0.0, 0.06)], "shell",
             ["L1_0", "L1_2", (0.25, 0.25, 0.75)], np.linspace(-0.06, 0.06, 13)),
}  # fmt: skip
FAMILIES = {"phi", "energy", "entropy", "capacity", "susceptibility", "composition", "two-point", "warren-cowley", "order",
            "energies", "compositions"}  # fmt: skip


class System:
    """A small cell with what the observables are of each of its states, shape (M,) or (M, K); written out from arrays."""

    def __init__(self, name):
        build, self.conditions, self.distance, self.orders, self.edges = SYSTEMS[name]
        self.h = build()
        self.table = Enumeration(self.h)
        lattice, occ = self.h.lattice, self.table.occ
        self.second = occ.astype(float)
        self.x = occ.mean(1)
        self.labels = manhattan_labels(lattice) if self.distance == "manhattan" else shell_labels(lattice)[0]
        self.products = pair_products(2 * self.second - 1, self.labels)
        shells = [m.toarray() for m in pair_multiplicity(lattice, SHELLS)[1]]
        self.unlike = np.stack([(((1 - self.second) @ m) * self.second).sum(1) / m.sum() for m in shells], 1)
        self.order = np.stack([long_range_order(self.second, lattice, w) for w in self.orders], 1)

    def mu(self, difference):
        return np.array([0.0, difference])

    @cache  # noqa: B019
    def truth(self, T, d) -> dict[str, np.ndarray]:
        at, n, kT = self.table.at(self.table.hamiltonian.condition(T, self.mu(d))), self.h.n_sites, self.h.kB * T
        p, x = at.probabilities, self.x
        mean = p @ x
        some = p > 0
        return {
            "phi": [at.phi], "energy": [at.energy], "capacity": [at.heat_capacity], "composition": [at.composition[1]],
            "entropy": [-self.h.kB * (p[some] * np.log(p[some])).sum() / n],
            "susceptibility": [n * p @ (x - mean) ** 2 / kT],
            "two-point": p @ self.products - (2 * mean - 1) ** 2,
            "warren-cowley": 1 - p @ self.unlike / (mean * (1 - mean)),
            "order": p @ self.order,
            "energies": np.histogram(self.table.energy / n, self.edges, weights=p)[0],
            "compositions": np.bincount(np.rint(n * x).astype(int), p),
        }  # fmt: skip

    def worth(self, family, T, d, q) -> np.ndarray:
        """Share of the draws of q that each bin is worth: (sum p)^2 / sum p^2/q over its states, or those outside if fewer."""
        p, n = self.table.at(self.table.hamiltonian.condition(T, self.mu(d))).probabilities, self.h.n_sites
        value, edges = {
            "energies": (self.table.energy / n, self.edges),
            "compositions": (self.x, (np.arange(n + 2) - 0.5) / n),
        }[family]
        share, square = (np.histogram(value, edges, weights=w)[0] for w in (p, p**2 / q))
        outside, rest = 1 - share, (p**2 / q).sum() - square
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.nan_to_num(np.minimum(share**2 / square, outside**2 / rest))

    @cache  # noqa: B019
    def wrong_law(self, T, d):
        """90 % the law of a hotter system at another mu, 10 % any state."""
        hot = self.table.at(self.table.hamiltonian.condition(1.15 * T, self.mu(d + 0.1 * self.h.kB * T))).probabilities
        return 0.9 * hot + 0.1 / len(self.table)

    def draw(self, T, d, law, n, seed, **fields) -> Ensemble:
        rows = np.searchsorted(np.cumsum(law), np.random.default_rng(seed).random(n)).clip(max=len(law) - 1)
        fields = {"log_prob": torch.from_numpy(np.log(law[rows])), **fields}
        return Ensemble(
            self.h,
            self.table.occ[rows],
            torch.from_numpy(self.table.energy[rows]),
            T=T,
            mu=self.mu(d),
            method="test",
            **fields,
        )

    def estimates(self, ens: Ensemble) -> dict[str, list[Estimate]]:
        a, b = self.h.elements
        bins = lambda found: [Estimate(p, e) for p, e in zip(*found[1:], strict=True)]  # noqa: E731
        found = {
            "energy": [ens.mean_energy()], "capacity": [ens.heat_capacity()], "composition": [ens.composition(b)],
            "susceptibility": [ens.susceptibility(b)], "two-point": ens.two_point(self.distance)[1],
            "warren-cowley": ens.warren_cowley(SHELLS)[a, b][1], "order": [ens.order_parameter(w) for w in self.orders],
            "energies": bins(ens.histogram("energy", self.edges)), "compositions": bins(ens.histogram(b)),
        }  # fmt: skip
        if ens.absolute:
            found |= {"phi": [ens.free_energy()], "entropy": [ens.entropy()]}
        return found


@cache
def system(name) -> System:
    return System(name)


def scores(
    s: System, make, seeds: int, divide: float = 1.0, law=None, least: float = 25.0, start: int = 0
) -> dict[str, np.ndarray]:
    """z of every observable over all conditions and seeds, flat, by family.

    Bins that fewer than ``least`` effective samples are expected in make a family of their own, "rare": what a sample of
    four visits has is no standard deviation. ``law`` (T, d) is that of the draws, the exact one if not given; ``start`` is the
    first condition taken.
    """
    z = {}
    for k, (T, d) in enumerate(s.conditions[start:]):
        truth = s.truth(T, d)
        q = s.table.at(s.table.hamiltonian.condition(T, s.mu(d))).probabilities if law is None else law(T, d)
        worth = {family: s.worth(family, T, d, q) for family in ("energies", "compositions")}
        for seed in range(seeds):
            ens = make(T, d, 1000 * k + seed)
            for family, found in s.estimates(ens).items():
                value, error = np.array([(e.value, e.stderr) for e in found]).T
                row = (value - truth[family]) / np.maximum(error, 1e-12) * divide
                if family in worth:
                    rare = worth[family] * len(ens) / ens.inefficiency < least
                    z.setdefault("rare", []).append(row[rare])
                    row = row[~rare]
                z.setdefault(family, []).append(row)
    return {family: np.concatenate(rows) for family, rows in z.items()}


def pooled(make, seeds: dict, **options) -> dict[str, np.ndarray]:
    runs = [
        scores(system(name), make(system(name)), n, **{k: v(system(name)) for k, v in options.items()})
        for name, n in seeds.items()
    ]
    return {family: np.concatenate([z[family] for z in runs]) for family in runs[0]}


def verdict(family: str, z: np.ndarray) -> bool:
    """99 % within four standard errors, and but for rare bins a spread of one about zero."""
    usual = 0.8 < z.std() < 1.25 and abs(z.mean()) < 0.3
    return bool((np.abs(z) > 4).sum() <= max(1, 0.01 * z.size) and (usual or family == "rare"))


def report(z) -> dict:
    return {k: (len(v), *np.round([v.mean(), v.std(), np.abs(v).max()], 2).tolist()) for k, v in z.items()}


def weighted(s: System):
    return lambda T, d, seed: s.draw(T, d, s.wrong_law(T, d), N, seed)


@pytest.mark.slow
def test_weighted_draws_of_a_wrong_law_are_calibrated():
    z = pooled(weighted, {"ising-4": 6, "ising-3": 6, "cuau": 6}, law=lambda s: s.wrong_law)
    assert set(z) == FAMILIES | {"rare"}
    assert {family for family, v in z.items() if not verdict(family, v)} == set(), report(z)


def test_the_wrong_law_is_wrong_enough():
    """Its effective samples are between a tenth and nine tenths."""
    for name in SYSTEMS:
        s = system(name)
        ness = [s.draw(T, d, s.wrong_law(T, d), N, 0).ness for T, d in s.conditions]
        assert 0.1 < min(ness) and max(ness) < 0.95, ness


@pytest.mark.slow
def test_forgotten_weights_and_small_errors_fail():
    """Negative controls: the same check on every family, without the weights, and with a third of the error."""
    s = system("cuau")
    bare = scores(s, lambda *c: replace(weighted(s)(*c), log_prob=None), seeds=1)
    assert [f for f in FAMILIES - {"phi", "entropy"} if verdict(f, bare[f])] == [], report(bare)
    small = scores(s, weighted(s), seeds=2, divide=3.0, law=s.wrong_law)
    assert [f for f in FAMILIES if verdict(f, small[f])] == [], report(small)


def test_entropy_errors_count_that_both_terms_share_their_weights(monkeypatch):
    """Added in quadrature the errors of <u> and Phi are wrong; here by far, since q is the law of another temperature."""
    monkeypatch.setattr(
        "alloygen.montecarlo.companion.COST", np.inf
    )  # the samples alone, without hot chains beside them
    s = system("ising-4")
    T, d = 2.4, 0.2
    hot = s.table.at(s.table.hamiltonian.condition(4.0, s.mu(d))).probabilities
    runs, apart = [], []
    for seed in range(100):
        ens = s.draw(T, d, hot, 2000, seed)
        e, u = ens.entropy(), ens.mean(ens.field_energy / 16)
        runs.append((e.value, e.stderr))
        apart.append(np.hypot(u.stderr, ens.free_energy().stderr) / T)
        assert e.value == pytest.approx((u.value - ens.free_energy().value) / T, abs=1e-12)
    value, stderr = np.array(runs).T
    assert value.std() / stderr.mean() == pytest.approx(1.0, abs=0.2)
    assert np.mean(apart) > 1.3 * stderr.mean()


def test_draws_of_the_law_itself_still_have_errors(monkeypatch):
    s = system("ising-3")
    ens = s.draw(
        0.3, 0.5, s.table.at(s.table.hamiltonian.condition(0.3, s.mu(0.5))).probabilities, 500, 0
    )  # all of them the ground state
    p = s.table.at(s.table.hamiltonian.condition(0.3, s.mu(0.5))).probabilities
    known = ens.entropy()  # hot chains show how much weight is on what no sample shows: 3e-6
    assert abs(known.value + p[p > 0] @ np.log(p[p > 0]) / 9) < 4 * known.stderr and 1e-8 < known.stderr < 2e-7
    with monkeypatch.context() as m:  # the samples alone: one more may be another state
        m.setattr("alloygen.montecarlo.companion.COST", np.inf)
        alone = s.draw(0.3, 0.5, p, 500, 0).entropy()
    assert alone.value == pytest.approx(0, abs=1e-6) and 1 / 9 / 500 < alone.stderr < 0.02
    assert ens.susceptibility("+").stderr > 0
    _, p, stderr = ens.histogram("+")
    assert p[-1] == 1.0 and stderr == pytest.approx(3 / 500)
    assert [e.stderr > 0 for e in ens.two_point()[1]] == [True] * 3


@pytest.mark.parametrize("name", ["ising-4", "cuau"])
def test_susceptibility_is_the_slope_of_the_composition(name):
    """Of enumeration, whose exact variance the estimates are held against."""
    s = system(name)
    for T, d in s.conditions:
        step = 1e-4 * s.h.kB * T
        slope = np.diff(
            [s.table.at(s.table.hamiltonian.condition(T, s.mu(d + e))).composition[1] for e in (-step, step)]
        )[0] / (2 * step)
        assert s.truth(T, d)["susceptibility"][0] == pytest.approx(slope, rel=1e-5)


# ---------------------------------------------------------------------- Markov chains
@pytest.mark.slow
def test_entropy_of_chains_with_absolute_free_energies():
    for name, T in (("ising-4", [1.8, 2.4, 3.2, 5.0, np.inf]), ("cuau", [500.0, 700.0, 1200.0, np.inf])):
        s, z = system(name), []
        for seed in range(4):
            scan = replica_exchange(s.h, s.h.grid(T, np.array([[0.0, 0.02]])), n=4000, burn=100, seed=seed, check=False)
            for ens in list(scan)[:-1]:
                e, p = ens.entropy(), s.table.at(s.table.hamiltonian.condition(ens.T, ens.mu)).probabilities
                exact = -s.h.kB * (p[p > 0] * np.log(p[p > 0])).sum() / s.h.n_sites
                assert e.stderr < 0.02 * s.h.kB
                z.append((e.value - exact) / e.stderr)
            last = scan[-1].entropy()
            assert last.value == pytest.approx(s.h.kB * np.log(2)) and last.stderr == 0
        assert np.abs(z).max() < 4 and 0.5 < np.std(z) < 1.5, z
    bare = scan.subset([0, 1])[0]
    with pytest.raises(AlloygenError, match="no likelihood"):
        bare.entropy()


@pytest.mark.slow
def test_observables_of_chains_are_calibrated():
    """Metropolis runs, one sample a sweep: each error from the autocorrelation of its own influence.

    At T = 1.8 the magnetisation turns over some ten times in a run, which no autocorrelation makes up for.
    """
    s = system("ising-4")

    def make(T, d, seed, **fields):
        return replace(
            metropolis(s.h, s.h.condition([T], s.mu(d)[None]), n=4000, burn=200, seed=seed, check=False)[0], **fields
        )

    z = scores(s, make, seeds=12, start=2)
    assert set(z) == (FAMILIES | {"rare"}) - {"phi", "entropy"}
    assert {family for family, v in z.items() if not verdict(family, v)} == set(), report(z)
    naive = scores(s, lambda *c: make(*c, chains=0), seeds=6, start=2)  # negative control
    slow = {"composition", "susceptibility", "two-point"}
    assert [f for f in slow if verdict(f, naive[f])] == [], report(naive)


def test_bins_are_the_means_of_their_indicators():
    """With weights, and with the autocorrelation of each bin for chains."""
    s = system("ising-4")
    drawn = s.draw(2.4, 0.2, s.wrong_law(2.4, 0.2), 1000, 0)
    walked = metropolis(s.h, s.h.condition([2.0], s.mu(0.2)[None]), n=2000, seed=0, check=False)[0]
    assert walked.averages.inefficiency_of(walked.fraction("+")) > 2
    for ens in (drawn, walked):
        edges, p, stderr = ens.histogram("+", [0.0, 0.3, 0.8, 1.0])
        x = ens.fraction("+")
        for b in range(3):
            inside = ((x >= edges[b]) & ((x < edges[b + 1]) | (b == 2))).astype(float)
            one = mean(inside, ens.known_log_weight, ens.averages.inefficiency_of)
            step = ens.averages.inefficiency_of(inside) * (ens.weights**2).sum()
            assert (p[b], stderr[b]) == (pytest.approx(one.value), pytest.approx(np.hypot(one.stderr, step)))


# ---------------------------------------------------------------------- what they return, and bad input
def test_shapes_and_names():
    s = system("cuau")
    ens = s.draw(700.0, 0.03, s.wrong_law(700.0, 0.03), 300, 0)
    distances, alpha = ens.warren_cowley(6)["Cu", "Au"]
    assert distances / distances[0] == pytest.approx(np.sqrt(np.arange(1, 7))) and len(alpha) == 6
    swapped = ens.warren_cowley(6, pair=("Au", "Cu"))
    assert list(swapped) == [("Au", "Cu")] and swapped["Au", "Cu"][1][0].value == pytest.approx(alpha[0].value)
    like = ens.warren_cowley(1, pair=("Au", "Au"))["Au", "Au"][1][0]
    x = float(ens.weights @ ens.counts[:, 1]) / 16  # of the samples alone, as the pairs are
    assert like.value == pytest.approx(1 - (x - (1 - alpha[0].value) * x * (1 - x)) / x**2)  # a neighbour is either
    values = ens.order_values("L1_0")
    assert values.shape == (300,) and values.dtype == np.float64
    hot = s.draw(1500.0, 0.03, s.wrong_law(1500.0, 0.03), 300, 0)  # no hot chains go with these
    assert hot.order_parameter("L1_0").value == pytest.approx(hot.weights @ hot.order_values("L1_0"))
    assert ens.order_values("L1_2", "Cu") == pytest.approx(ens.order_values("L1_2"), abs=1e-12)
    r, c = ens.two_point()
    assert r[0] == 0 and r[1] == pytest.approx(distances[0]) and len(r) == len(c)
    assert [e.value for e in ens.two_point(element="Cu")[1]] == pytest.approx([e.value for e in c])
    edges, p, stderr = ens.histogram()
    assert edges.shape == (51,) and p.shape == stderr.shape == (50,) and p.sum() == pytest.approx(1)
    assert ens.histogram("Au")[0].shape == (18,) and ens.histogram("Au", 5)[1].shape == (5,)


@pytest.mark.slow
def test_several_sublattices():
    """Two kinds with other species have no common concentration; a spectator is left out everywhere."""
    from small_systems import enumeration

    def ensemble(name):
        table = enumeration(name)
        rows = np.random.default_rng(0).integers(len(table), size=400)
        h = table.hamiltonian
        return Ensemble(h, table.occ[rows], torch.from_numpy(table.energy[rows]), None, 700.0, method="random")

    ens = ensemble("spectator")
    free = ens.hamiltonian.lattice.n_species > 1
    spins = 2.0 * ens.occ[:, free] - 1
    assert ens.two_point()[1][0].value == pytest.approx(1 - spins.mean() ** 2)
    assert list(ens.warren_cowley(2)) == [("A", "B")]
    assert ens.warren_cowley(1)["A", "B"][0] == pytest.approx([1.0])  # along the cube of A/B; the pair with O is nearer
    counts = ens.occ[:, free].sum(1)
    assert ens.susceptibility("B").value == pytest.approx(counts.var(ddof=1) / ens.kT / free.sum())
    assert ens.order_values((0, 0.5, 0)) == pytest.approx(ens.order_values((0, 0.5, 0), "B"))  # not O, the last of all
    ens = ensemble("two-sublattice")
    with pytest.raises(AlloygenError, match=r"one set of elements, got .*pair_multiplicity"):
        ens.warren_cowley()
    with pytest.raises(AlloygenError, match="expected element="):
        ens.two_point()
    assert ens.two_point(element="B")[1][0].value > 0
    ens = ensemble("ternary")
    assert list(ens.warren_cowley(1)) == [("A", "B"), ("A", "C"), ("B", "C")]


def test_an_absent_species_is_nan_with_a_note():
    s = system("cuau")
    ens = Ensemble(s.h, torch.zeros(10, 16, dtype=torch.long), torch.zeros(10), None, 500.0)
    for e in ens.warren_cowley()["Cu", "Au"][1]:
        assert np.isnan(e.value) and "absent" in e.note


def test_bad_input():
    s = system("cuau")
    ens = s.draw(700.0, 0.03, s.wrong_law(700.0, 0.03), 300, 0)
    for call in (
        ens.susceptibility,
        ens.histogram,
        lambda e: ens.two_point(element=e),
        lambda e: ens.order_values("L1_0", e),
    ):
        with pytest.raises(UnknownSpecies, match=r"elements \('Cu', 'Au'\), got 'Ag'"):
            call("Ag")
    for pair in (("Cu", "Ag"), ("Cu",)):
        with pytest.raises(UnknownSpecies, match="expected a pair"):
            ens.warren_cowley(pair=pair)
    with pytest.raises(AlloygenError, match="'shell' or 'manhattan', got 'euclid'"):
        ens.two_point("euclid")
    with pytest.raises(
        AlloygenError, match=r"an order of fcc, one of \['L1_0'.*'L1_1'\], or an order vector.* got 'B2'"
    ):
        ens.order_parameter("B2")
    with pytest.raises(AlloygenError, match="order vector"):
        flat = system("ising-3")
        flat.draw(2.4, 0.2, flat.wrong_law(2.4, 0.2), 9, 0).order_parameter("L1_0")
    with pytest.raises(AlloygenError, match="cover all values"):
        ens.histogram("energy", [0.0, 0.001])


@pytest.mark.slow
def test_distances_are_those_of_the_callers_atoms():
    """a = 4: neighbours at 4 / sqrt(2), whatever the lattice constant of the expansion and of the model."""
    atoms = bulk("Cu", a=4.0).repeat((2, 2, 4))
    shipped = alloygen.data.cuau()
    wide = replace(shipped, primitive=replace(shipped.primitive, cell=5 * shipped.primitive.cell))
    call = {"T": 1100, "mu": {"Au": 0.0}, "n": 100, "seed": 0}
    made = [alloygen.sample(atoms, **call, hamiltonian=h, sampler=m) for h in (None, wide) for m in ("neural", "mc")]
    for ens in made:
        assert ens.warren_cowley(3)["Cu", "Au"][0] == pytest.approx(4 * np.sqrt([0.5, 1, 1.5]))
        assert ens.two_point()[0][:3] == pytest.approx(4 * np.sqrt([0, 0.5, 1]))
    assert made[0].two_point("manhattan")[0].tolist() == [0, 1, 2, 3, 4]
    assert replace(made[0], atoms_map=None).warren_cowley(1)["Cu", "Au"][0] == pytest.approx(3.8 / 2**0.5)
