"""Free energies against composition from metadynamics: enumeration, calibrated errors, controls that must fail, resuming."""

import signal
import warnings
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import logsumexp
from small_systems import enumeration, grouped, hamiltonian

import alloygen.data
from alloygen.edge.problem import Problem
from alloygen.errors import AlloygenError, BadCondition, CheckpointError, NotConverged, UnknownSpecies
from alloygen.estimate import profile as profiles
from alloygen.estimate.profile import join_links, series_error
from alloygen.exact.enumeration import Enumeration
from alloygen.exact.ising import kaufman_free_energy
from alloygen.hamiltonian.ising import ising
from alloygen.montecarlo.metadynamics import Stages, metadynamics
from alloygen.montecarlo.metadynamics import run as module
from alloygen.montecarlo.metadynamics.counted import Counted
from alloygen.montecarlo.metadynamics.walk import LEARN, PRODUCE, REFINE, FlatWalk
from alloygen.runtime.job import Job
from alloygen.testing import SYSTEMS, random_expansion
from alloygen.testing.systems import PAIR

SHORT = dict(stages=Stages(production=20_000, ladder=()))
QUICK = dict(stages=Stages(production=300, ladder=(), final_height=0.05))
CASES = [("ising-3", "+"), ("ising-3", "-"), ("cuau-2x2x2", "Au"), ("cuau-1x2x4", "Cu"), ("cuau-skew", "Au"),
         ("spectator", "B"), ("many-body", "B"), ("ternary", "A"), ("ternary", "C"), ("two-sublattice", "A"),
         ("two-sublattice", "B")]  # fmt: skip


def exact(e: Enumeration, T, element: str, mu=None, keep=None) -> np.ndarray:
    """F(N) per site (nT, bins), nan where no configuration has N; ``keep`` (M,) selects configurations.

    mu : (n_elements,), of which only differences between the elements that are not counted matter
    """
    h = e.hamiltonian
    k = h.elements.index(element)
    keep = np.ones(len(e), bool) if keep is None else keep
    n = e.counts[keep, k].astype(int)
    work = e.energy[keep] - (0 if mu is None else e.counts[keep] @ mu)
    rows = [[-h.kB * t * logsumexp(-work[n == m] / (h.kB * t)) for m in range(n.min(), n.max() + 1)] for t in T]
    return np.array(rows) / h.n_sites


def others(name: str, element: str) -> np.ndarray | None:
    """The system's mu as the profile holds it: 0 for the counted element and for the first exchangeable one beside it."""
    h = hamiltonian(name)
    if name not in ("ternary", "two-sublattice"):
        return None
    rest = [i for i, e in enumerate(h.elements) if e != element]
    mu = np.zeros(len(h.elements))
    mu[rest] = np.array(SYSTEMS[name].mu[0])[rest] - SYSTEMS[name].mu[0][rest[0]]
    return mu


def named_mu(name: str) -> dict | None:
    return dict(zip(hamiltonian(name).elements, SYSTEMS[name].mu[0], strict=True))


def scores(p, truth) -> np.ndarray:
    """(F - truth) / stderr (nT, bins); what claims to be exact (ends, the first atom) is held to 1e-9."""
    if not p.absolute:
        truth = truth - np.take_along_axis(truth, p.free_energy.argmin(1)[:, None], 1)
    return (p.free_energy - truth) / np.maximum(p.stderr, 1e-9)


# ---------------------------------------------------------------------- against enumeration
@pytest.mark.slow
@pytest.mark.parametrize("name, element", CASES)
def test_free_energies_are_exact(name, element):
    T, mu = SYSTEMS[name].T, others(name, element)
    p = metadynamics(hamiltonian(name), T, element, mu=named_mu(name), **SHORT)
    truth = exact(enumeration(name), T, element, mu)
    assert p.free_energy.shape == truth.shape and p.converged.all(), p.notes
    assert np.abs(scores(p, truth)).max() < 5
    kT = p.hamiltonian.kB * p.T[:, None] / p.hamiltonian.n_sites
    assert (p.stderr / kT).max() < 0.1
    assert p.absolute == ((name, element) != ("two-sublattice", "A"))
    # negative controls: another temperature, and (where it matters) no chemical potential of the others
    assert np.abs(scores(p, exact(enumeration(name), np.array(T) * 1.1, element, mu))).max() > 5
    if mu is not None:
        assert np.abs(scores(p, exact(enumeration(name), T, element))).max() > 15


@pytest.fixture(scope="module")
def repeats():
    """Ten runs of two systems with their exact profiles."""
    out = []
    for name, element in (("ising-3", "+"), ("cuau-2x2x2", "Au")):
        T = SYSTEMS[name].T
        truth = exact(enumeration(name), T, element)
        out += [
            (metadynamics(hamiltonian(name), T, stages=Stages(production=4000, ladder=()), seed=s), truth)
            for s in range(10)
        ]
    return out


@pytest.mark.slow
def test_error_bars_are_calibrated(repeats):
    z = np.concatenate([scores(p, truth)[p.stderr > 1e-9] for p, truth in repeats])
    assert 0.8 < z.std() < 1.25 and abs(z.mean()) < 0.4
    miss = np.concatenate([p.mismatch / p.mismatch_stderr for p, _ in repeats])
    assert 0.7 < miss.std() < 1.4


def test_cold_and_hot_cuau_of_16_sites():
    """From 200 K, where the ordered phases are deep, to 1200 K, in one go."""
    h, T = alloygen.data.cuau().on((2, 2, 4)), np.arange(200.0, 1201.0, 200.0)
    p = metadynamics(h, T, stages=Stages(production=30_000))
    truth = exact(Enumeration(h), T, "Au")
    assert p.converged.all() and np.abs(scores(p, truth)).max() < 5
    assert np.abs(p.free_energy - truth).max() < 5e-4
    assert len(p.info["ladder"]) > len(T) and min(p.info["exchange"]) > 0.2
    assert (p.visits.min(1) > 0.3 * p.visits.mean(1)).all()


@pytest.mark.slow
def test_phi_of_a_larger_ising_lattice_is_kaufmans():
    """64 spins, deep in the ordered phase and above it: the two phases count as they should."""
    T = [1.2, 2.2, 3.0]
    p = metadynamics(ising(8), T, stages=Stages(production=10_000))
    z = [(p.phi(t, 0.0).value - kaufman_free_energy(8, t)) / p.phi(t, 0.0).stderr for t in T]
    assert p.converged.all() and np.abs(z).max() < 5 and (p.stderr.max(1) < 0.005).all()


def test_forgetting_the_bias_or_the_shares_of_attempts_fails(monkeypatch):
    h, T = hamiltonian("cuau-2x2x2"), [500.0]
    truth = exact(enumeration("cuau-2x2x2"), T, "Au")

    def no_bias(n_up, n_down, up, down, shares, bias, *ends):
        return join_links(n_up, n_down, up, down, shares, 0 * bias, *ends)

    def no_shares(n_up, n_down, up, down, shares, bias, *ends):
        return join_links(n_up, n_down, up, down, np.ones((2, len(bias))), bias, *ends)

    for wrong in (no_bias, no_shares):
        monkeypatch.setattr(module, "join_links", wrong)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotConverged)
            p = metadynamics(h, T, **SHORT)
        assert np.abs(scores(p, truth)).max() > 15


def test_the_profile_of_one_end_is_that_of_the_other():
    """Counting Cu is counting Au backwards; both ends are anchored, so the mismatch is a measure of the error."""
    h, T = hamiltonian("cuau-2x2x2"), [600.0, 800.0]
    au, cu = (metadynamics(h, T, e, **SHORT) for e in ("Au", "Cu"))
    difference = au.free_energy - cu.free_energy[:, ::-1]
    assert np.abs(difference / np.hypot(au.stderr, cu.stderr).clip(1e-12)).max() < 5
    assert (np.abs(au.mismatch) < 5 * au.mismatch_stderr).all()


# ---------------------------------------------------------------------- what follows from a profile
@pytest.mark.parametrize("name, element", [("ising-3", "-"), ("cuau-2x2x2", "Au"), ("cuau-2x2x2", "Cu"), ("spectator", "B"),
                                           ("ternary", "A"), ("ternary", "B"), ("two-sublattice", "B")])  # fmt: skip
def test_semigrand_averages_are_those_of_enumeration(name, element):
    h, T = hamiltonian(name), SYSTEMS[name].T
    p = metadynamics(h, T, element, mu=named_mu(name), **SHORT)
    z = []
    for t in T:
        for shift in (-0.3, 0.0, 0.4):
            mu = np.array(SYSTEMS[name].mu[0])
            mu[h.elements.index(element)] += shift * (1 if name == "ising-3" else 0.1)
            mu += 0.2  # Phi belongs to the mu that is given, spectators included
            truth = enumeration(name).at(enumeration(name).hamiltonian.condition(t, mu))
            given = dict(zip(h.elements, mu, strict=True))
            x = truth.composition[h.elements.index(element)] * h.n_sites / sum(h.lattice.n_species > 1)
            phi, composition = p.phi(t, given), p.composition(t, given)
            z += [(phi.value - truth.phi) / phi.stderr, (composition.value - x) / composition.stderr]
            assert phi.note == "" and 0 < phi.stderr < 1e-2 * (100 if name == "ising-3" else 1)
    assert np.abs(z).max() < 5


def test_sublattices_of_other_elements_have_mu_of_their_own():
    h = random_expansion(np.eye(3), PAIR, [("A", "B"), ("X", "Y")], 5).on((2, 2, 1))
    mu = {"A": 0.3, "B": 0.25, "X": -0.1, "Y": -0.08}
    p, e = metadynamics(h, 700.0, "Y", mu=mu, **SHORT), Enumeration(h)
    other = {"A": 0.1, "B": 0.05, "X": 0.2, "Y": 0.26}  # A and B moved together, Y - X by itself
    for given in (mu, other, {"A": 0.05, "Y": 0.02}):
        x, truth = (
            p.composition(700.0, given),
            e.at(e.hamiltonian.condition(700.0, [given.get(k, 0.0) for k in h.elements])).composition[3],
        )
        assert abs(x.value - truth) < 5 * x.stderr < 0.1
    with pytest.raises(BadCondition, match=r"expected mu of .'A', 'B'. as in the run"):
        p.composition(700.0, {"A": 0.1, "Y": 0.02})


def test_a_wrong_sign_of_mu_is_seen():
    p = metadynamics(hamiltonian("cuau-2x2x2"), 500.0, **SHORT)
    phi, wrong = (
        p.phi(500.0, 0.05),
        enumeration("cuau-2x2x2").at(enumeration("cuau-2x2x2").hamiltonian.condition(500.0, [0.0, -0.05])).phi,
    )
    assert abs(phi.value - wrong) > 15 * phi.stderr


def test_mixing_is_zero_at_the_ends():
    p = metadynamics(hamiltonian("ising-3"), [2.0, 3.0], **SHORT)
    mixing = p.mixing()
    np.testing.assert_allclose(mixing[:, [0, -1]], 0, atol=1e-12)
    line = -2.0 + 0.15 - 0.3 * p.x  # -2 J +- h a site
    np.testing.assert_allclose(p.free_energy - line, mixing, atol=1e-12)


def test_tables_carry_units_and_fingerprint():
    h = hamiltonian("cuau-2x2x2")
    p = metadynamics(h, [500.0, 700.0], **SHORT)
    data = p.to_xarray()
    assert dict(data.sizes) == {"T": 2, "N": 9} and data.attrs["fingerprint"] == h.fingerprint
    assert data.attrs["unit"] == "eV" and data.x.values.tolist() == [k / 8 for k in range(9)]
    np.testing.assert_array_equal(data.free_energy.sel(T=700.0), p.free_energy[1])
    assert len(p.to_pandas()) == 18 and {"mixing", "converged", "mismatch"} <= set(p.to_pandas())
    assert "2 of 2 converged" in repr(p)


# ---------------------------------------------------------------------- fixed sites, windows
def test_fixed_sites_stay_and_the_rest_is_exact():
    h, T = hamiltonian("cuau-1x2x4"), [500.0, 800.0]
    occ = np.array([1, 0, 0, 0, 1, 0, 1, 0])
    fixed = [0, 5]
    run, finished = [], module._profile
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_profile", lambda r, T: run.append(r) or finished(r, T))
        p = metadynamics(Problem.of(h, fixed=fixed, occ=occ), T, **SHORT)
    e = enumeration("cuau-1x2x4")
    held = (e.occ[:, fixed] == occ[fixed]).all(1)
    truth = exact(e, T, "Au", keep=held)
    assert (run[0].walkers.occ[:, fixed] == occ[fixed]).all() and len(np.unique(run[0].walkers.occ, axis=0)) > 1
    assert p.N.tolist() == list(range(7)) and p.absolute
    assert p.x.tolist() == [(1 + n) / 8 for n in range(7)]  # one of the held sites is Au: no cell has none, or eight
    assert np.abs(scores(p, truth)).max() < 5
    mu = np.array([0.0, 0.05])
    phi = -h.kB * T[0] * logsumexp(-(e.energy - e.counts @ mu)[held] / (h.kB * T[0])) / h.n_sites
    assert abs(p.phi(T[0], 0.05).value - phi) < 5 * p.phi(T[0], 0.05).stderr
    other = exact(e, T, "Au", keep=(e.occ[:, fixed] == [0, 0]).all(1))
    assert np.abs(p.free_energy - other).max() > 20 * p.stderr.max()  # negative control: fixed to something else


def test_a_window_is_the_same_profile_relative_to_its_minimum():
    h, T = hamiltonian("cuau-2x2x2"), [500.0, 800.0]
    truth = exact(enumeration("cuau-2x2x2"), T, "Au")
    inner, edge = (metadynamics(h, T, window=w, **SHORT) for w in ((2, 6), (4, 8)))
    assert inner.N.tolist() == [2, 3, 4, 5, 6] and not inner.absolute and (inner.free_energy.min(1) == 0).all()
    assert np.abs(scores(inner, truth[:, 2:7])).max() < 5 and inner.converged.all()
    assert edge.absolute and np.abs(scores(edge, truth[:, 4:])).max() < 5 and np.isnan(edge.mismatch).all()
    assert "only N = 4 to 8" in edge.phi(500.0, 0.1).note
    with pytest.raises(AlloygenError, match="absolute profile"):
        inner.phi(500.0, 0.0)
    with pytest.raises(AlloygenError, match="without `window`"):
        inner.mixing()


# ---------------------------------------------------------------------- the protocol
def test_stages_halve_the_height_and_flatten_the_visits(monkeypatch):
    seen, learn = [], FlatWalk._learn

    def watch(self, w, sweeps):
        learn(self, w, sweeps)
        seen.append((w, self.height.copy(), self.bias.copy()))

    monkeypatch.setattr(FlatWalk, "_learn", watch)
    T = np.array([2.3, 3.4])
    metadynamics(ising(3, h=0.15), T, stages=replace(SHORT["stages"], height=2.0))
    heights = {float(h) for w, height, _ in seen for h in height[w]}
    assert heights | {2.0} == {2.0 / 2**k for k in range(11)} | {0.0}  # the first check may already end the first stage
    learned = seen[-1][2].mean(0)
    reduced = exact(enumeration("ising-3"), T, "+") * 9 / T[:, None]
    away = learned + reduced
    assert np.abs(away - away.mean(1, keepdims=True)).max() < 0.5  # V = -beta F up to a constant


def test_a_stage_ends_after_its_sweeps():
    with pytest.warns(NotConverged):
        p = metadynamics(ising(3), 3.0, stages=Stages(sweeps=1, height=1.0, final_height=1.0, production=20, ladder=()))
    assert "before its visits were flat" in p.notes[0]


# ---------------------------------------------------------------------- honesty
def test_too_short_a_run_says_so():
    with pytest.warns(NotConverged, match="round trips"):
        p = metadynamics(alloygen.data.cuau().on((2, 2, 4)), 300.0, stages=replace(QUICK["stages"], production=30))
    assert not p.converged.any() and "run longer" in p.notes[0] and "run longer" in p.phi(300.0, 0.1).note


def sums(rng, bins=5, copies=2, blocks=64):
    """Counts of a lattice of equal sites without energy, as ``join_links`` takes them."""
    n = np.full((copies, blocks, bins), 1000.0)
    return n, n, rng.poisson(500, n.shape) * 1.0, rng.poisson(500, n.shape) * 1.0


def test_a_gap_leaves_nothing_known_between_but_both_sides_anchored():
    rng = np.random.default_rng(0)
    n_up, n_down, up, down = sums(rng)
    up[:, :, 2] = 0  # nothing ever went from 2 to 3
    links = join_links(n_up, n_down, up, down, np.ones((2, 5)), np.zeros(5), 1.0, 7.0)
    np.testing.assert_allclose(links.reduced, [1, 1, 1, 7, 7], atol=0.05)
    assert np.isnan(links.mismatch)
    assert np.isnan(join_links(n_up, n_down, up, down, np.ones((2, 5)), np.zeros(5)).reduced).tolist() == [
        0,
        0,
        0,
        1,
        1,
    ]


def judged(links, visits=None, trips=100, flat=True):
    error = np.array([profiles.series_error(x) for x in np.moveaxis(links.influence, -1, 0)])
    return profiles.judge(links, error, np.full(5, 9.0) if visits is None else visits, trips, flat)


def test_ends_or_copies_that_disagree_are_not_believed():
    rng = np.random.default_rng(1)
    n_up, n_down, up, down = sums(rng)
    free = (np.ones((2, 5)), np.zeros(5))
    assert judged(join_links(n_up, n_down, up, down, *free, 0.0, 0.0)) == (True, "")
    assert "two ends disagree" in judged(join_links(n_up, n_down, up, down, *free, 0.0, 1.0))[1]
    up[0, :, 1] *= 1.2
    assert "walkers disagree" in judged(join_links(n_up, n_down, up, down, *free, 0.0))[1]
    assert (
        "never visited" in judged(join_links(n_up, n_down, up, down, *free, 0.0), visits=np.array([1, 1, 0, 1, 1]))[1]
    )


# ---------------------------------------------------------------------- reproducible, and to be stopped and resumed
def same(a, b) -> bool:
    return all(np.array_equal(getattr(a, k), getattr(b, k)) for k in ("free_energy", "stderr", "visits", "influence"))


@pytest.mark.filterwarnings("ignore::alloygen.errors.NotConverged")
def test_the_seed_decides_and_threads_do_not():
    h, T = hamiltonian("cuau-2x2x2"), [400.0, 600.0, 900.0]
    one, again, other, two = (
        metadynamics(h, T, **QUICK, **kw) for kw in ({}, {}, {"seed": 1}, {"job": Job(threads=2)})
    )
    assert same(one, again) and same(one, two) and not same(one, other)


@pytest.mark.filterwarnings("ignore::alloygen.errors.NotConverged")
def test_a_killed_run_goes_on_bit_for_bit(tmp_path, monkeypatch):
    h, T, path = hamiltonian("cuau-2x2x2"), [400.0, 700.0], tmp_path / "state.safetensors"
    whole = metadynamics(h, T, **QUICK)
    advance, phases = FlatWalk.advance, []

    def killed(self, mapper):
        advance(self, mapper)
        killed.left -= 1
        if killed.left == 0:
            phases.append(int(self.clock[0]))
            signal.raise_signal(signal.SIGINT)
            if killed.twice:
                self.walkers.occ[:] = 0  # what is half done must not reach the file
                signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(FlatWalk, "advance", killed)
    for calls in (2, 5, -3, 12, 9, -1, 12, 20):
        killed.left, killed.twice = abs(calls), calls < 0
        before = signal.getsignal(signal.SIGINT), path.exists() and path.read_bytes()
        with pytest.raises(KeyboardInterrupt):
            metadynamics(h, T, **QUICK, job=Job(checkpoint=path, threads=1 + calls % 2))
        assert signal.getsignal(signal.SIGINT) is before[0] and (path.read_bytes() == before[1]) == killed.twice
    monkeypatch.setattr(FlatWalk, "advance", advance)
    assert {LEARN, PRODUCE} <= set(phases) <= {LEARN, REFINE, PRODUCE}
    assert same(metadynamics(h, T, **QUICK, job=Job(checkpoint=path)), whole)
    monkeypatch.setattr(FlatWalk, "advance", None)  # finished: read, nothing to be run
    assert same(metadynamics(h, T, **QUICK, job=Job(checkpoint=path)), whole)
    other = {"stages": replace(QUICK["stages"], final_height=0.1)}
    for change, shown in (({"seed": 3}, "seed: expected 3, got 0"), (other, "expected 0.1, got 0.05")):
        with pytest.raises(CheckpointError, match=shown):
            metadynamics(h, T, **QUICK | change, job=Job(checkpoint=path))
    with pytest.raises(CheckpointError, match="hamiltonian: expected"):
        metadynamics(hamiltonian("many-body"), T, **QUICK, job=Job(checkpoint=path))


# ---------------------------------------------------------------------- what cannot be run
@pytest.mark.parametrize("arguments, error, text", [
    ({"T": -3.0}, BadCondition, "temperature"), ({"element": "Fe"}, UnknownSpecies, "'Fe'"),
    ({"production": 0}, AlloygenError, "production"), ({"walkers": 1.5}, AlloygenError, "walkers"),
    ({"final_height": 2.0}, AlloygenError, "final_height"), ({"flatness": 1.0}, AlloygenError, "flatness"),
    ({"window": (5, 2)}, AlloygenError, r"got \(5, 2\)"), ({"window": (0, 99)}, AlloygenError, "0 and 8 atoms of Au"),
    ({"fixed": [0]}, AlloygenError, "occ="), ({"mu": {"Fe": 1.0}}, UnknownSpecies, "Fe"), ({"T": []}, AlloygenError, "temperature"),
])  # fmt: skip
def test_what_cannot_be_run_is_said(arguments, error, text):
    with pytest.raises(error, match=text):
        metadynamics(hamiltonian("cuau-2x2x2"), **grouped({"T": 500.0} | arguments, stages=Stages))


@pytest.mark.filterwarnings("ignore::alloygen.errors.NotConverged")
def test_helping_temperatures_are_chosen_or_given():
    h, few = hamiltonian("two-sublattice"), Stages(production=20, final_height=0.5)
    chosen = np.array(metadynamics(h, [300.0, 100.0], "B", stages=few).info["ladder"])
    assert {100.0, 300.0} < set(chosen) and (np.diff(chosen) > 0).all() and (chosen[1:] / chosen[:-1]).max() < 1.51
    given = metadynamics(h, [300.0, 100.0], "B", stages=replace(few, ladder=[200.0]))
    assert given.info["ladder"] == [100.0, 200.0, 300.0] and given.T.tolist() == [300.0, 100.0]
    with pytest.raises(BadCondition):
        metadynamics(h, 300.0, "B", stages=replace(few, ladder=[-1.0]))


def test_several_elements_must_be_named_and_their_mu_kept():
    with pytest.raises(UnknownSpecies, match="name it"):
        metadynamics(hamiltonian("ternary"), 500.0)
    p = metadynamics(hamiltonian("ternary"), 500.0, "B", mu={"A": 0.0, "C": 0.02}, **SHORT)
    assert p.phi(500.0, {"A": 0.1, "B": 0.4, "C": 0.12}).value == pytest.approx(
        p.phi(500.0, {"B": 0.3, "C": 0.02}).value - 0.1
    )
    with pytest.raises(BadCondition, match="Only mu of B"):
        p.phi(500.0, {"B": 0.3, "C": 0.05})
    with pytest.raises(BadCondition, match="got T=510"):
        p.phi(510.0, {"B": 0.3, "C": 0.02})


def test_what_never_changed_is_not_exact_unless_symmetry_says_so():
    """A hundred attempts that all had the chance 1/2, at every number: the links beside unique ends are exact where all sites
    are alike, the others have a bar of three visits that may have been missed. The control is the old bar: none anywhere."""
    n, up = np.full((2, 16, 5), 100.0), np.full((2, 16, 5), 50.0)
    ends = (0.0, 0.0)
    known, blind = (
        np.array([series_error(x) for x in np.moveaxis(links.influence, -1, 0)])
        for links in (
            join_links(n, n, up, up, np.ones((2, 5)), np.zeros(5), *ends, exact)
            for exact in ((True, True), (False, False))
        )
    )
    assert (known[[0, 1, 3, 4]] == 0).all() and known[2] == pytest.approx(3 / 1600, rel=0.5)
    assert (blind[[0, 4]] == 0).all() and (blind[1:4] > 0.5 * 3 / 1600).all()
    alike, differ = (Counted(Problem.of(hamiltonian(k)), None, None, None) for k in ("cuau-2x2x2", "cuau-skew"))
    assert alike.exact_links() == (True, True) and differ.exact_links() == (True, True)
    held = Counted(Problem.of(hamiltonian("cuau-2x2x2"), fixed={0: "Au"}), None, None, None)
    assert held.exact_links() == (
        False,
        True,
    )  # all copper but one: its neighbours are unlike the others; all gold: alike
