"""Cells that stand for an alloy: the best of all that there are, and what they match."""

from itertools import combinations

import numpy as np
import pytest
from ase.build import bulk

import alloygen
import alloygen.data
from alloygen.errors import AlloygenError, BadCondition
from alloygen.generate.representative import representative
from alloygen.hamiltonian.clusters import correlations, decorated_orbits
from alloygen.lattice import Primitive
from alloygen.results.ensemble import Ensemble

ALLOY = alloygen.data.cuau()


def objective(found, rows):
    """Q of correlation functions (B, K), written out."""
    neighbour = found.diameters[found.diameters > 0].min()
    out = []
    for off in np.abs(rows - found.target):
        bad = found.diameters[off > 1e-6]
        good = found.diameters[found.diameters < (bad.min() if len(bad) else np.inf) - 1e-6]
        out.append(off.sum() - good.max(initial=0.0) / neighbour)
    return np.array(out)


@pytest.mark.parametrize("matrix", [(2, 2, 2), [[1, 1, 0], [0, 2, 1], [0, 0, 4]]])
def test_none_is_better(matrix):
    found = representative(ALLOY, matrix, {"Au": 4}, cutoffs=(4.0, 2.8), sweeps=300)
    functions, orbits = decorated_orbits(ALLOY.primitive, (4.0, 2.8))
    orbits = [next(o for o in orbits if o.name == name) for name in found.names]
    every = np.zeros((70, 8), dtype=int)
    for row, gold in zip(every, combinations(range(8), 4), strict=True):
        row[list(gold)] = 1
    q = objective(found, correlations(functions, orbits, found.lattice, every))
    assert found.objective == pytest.approx(q.min()) and q.min() < np.median(q) - 0.1
    assert objective(found, found.found[None])[0] == pytest.approx(found.objective)
    assert np.allclose(found.target, 0.0)  # half and half at random
    least = representative(ALLOY, matrix, {"Au": 4}, cutoffs=(4.0, 2.8), range_weight=0, sweeps=300)
    total = np.abs(correlations(functions, orbits, found.lattice, every) - found.target).sum(1)
    assert least.objective == pytest.approx(np.abs(least.residual).sum()) == pytest.approx(total.min())


def test_a_random_alloy_has_products_of_means():
    found = representative(ALLOY, (2, 2, 2), {"Au": 0.25}, cutoffs=(4.0, 2.8), sweeps=1, restarts=1)
    assert np.allclose(found.target, [0.5**n for n in found.orders])
    assert (found.occ == 1).sum() == 2


def test_order_of_the_ensemble_is_kept():
    h = ALLOY.on((2, 2, 2))
    layers = (h.lattice.offsets[:, :2].sum(1) % 2).astype(np.int8)
    ordered = Ensemble(h, np.stack([layers, 1 - layers]), h.energy(np.stack([layers, 1 - layers])), None, T=100.0)
    found = representative(ordered, (2, 2, 4), sweeps=200)
    assert np.abs(found.residual).max() < 1e-9  # L1_0, whole
    hot = alloygen.sample(bulk("Cu", a=4.0).repeat((2, 2, 4)), T=800, mu={"Au": 0.05}, n=300, sampler="mc")
    warm = representative(hot, (2, 2, 4), sweeps=100)
    random = representative(h, (2, 2, 4), {"Au": int((warm.occ == 1).sum())}, sweeps=100)
    assert np.abs(warm.residual).mean() < 0.7 * np.abs(random.found - warm.target).mean()
    assert warm.target[1] < random.target[1] - 0.03  # unlike neighbours attract
    assert np.isclose(warm.diameters[1], 4.0 / np.sqrt(2)) and warm.atoms.cell.volume == pytest.approx(16 * 16.0)
    assert warm.to_pandas().loc["pair 1"].found == warm.found[1]


def test_several_sublattices_and_species():
    salt = Primitive(
        4.2 * np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]),
        [[0, 0, 0], [0.5] * 3],
        [("Mg", "Ni", "Li"), ("O", "F")],
    )
    found = representative(salt, (2, 2, 2), {"Ni": 2, "Li": 2, "F": 2}, cutoffs=(3.0,), sweeps=20)
    assert found.atoms.symbols.species() == {"Mg", "Ni", "Li", "O", "F"}
    counts = {e: found.atoms.get_chemical_symbols().count(e) for e in ("Ni", "Li", "F")}
    assert counts == {"Ni": 2, "Li": 2, "F": 2}


@pytest.mark.parametrize(
    ("arguments", "error", "told"),
    [
        ((ALLOY, (2, 2, 2)), AlloygenError, "expected the composition of a random alloy"),
        ((ALLOY, (2, 2, 2), {"Au": 9}), BadCondition, "Au"),
        ((ALLOY, (2, 2, 2), {0: {"Au": 4}}), AlloygenError, "expected a composition by element"),
        (("cuau", (2, 2, 2), {"Au": 4}), AlloygenError, "expected an ensemble"),
        ((ALLOY, (0, 2, 2), {"Au": 4}), AlloygenError, "repeats of at least 1"),
    ],
)
def test_bad_arguments(arguments, error, told):
    with pytest.raises(error, match=told):
        representative(*arguments)
    with pytest.raises(AlloygenError, match="expected range_weight of at least 0, got -1"):
        representative(ALLOY, (2, 2, 2), {"Au": 4}, range_weight=-1)
