"""Where a NESS near 1 tells nothing: laws inside and below the temperatures they were trained on, against enumeration. Run: python tests/benchmarks/traps.py

Each law draws 300 configurations at conditions inside its range and colder, with ``outside="allow"``, on a supercell small enough to sum over all
states. A trap is a condition with NESS above .9 whose Phi is off by more than 5 of its error bars. Below the range also what Monte Carlo
and annealed draws give, which is what is offered there. About three minutes of a core.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Iterator

import numpy as np

import alloygen
from alloygen import Anneal, MonteCarlo, Neural
from alloygen.exact.enumeration import Enumeration
from alloygen.hamiltonian.cluster import Hamiltonian
from alloygen.hamiltonian.parents import PARENTS
from alloygen.models.family import spans
from alloygen.models.store import load_model
from alloygen.training.config import load_config
from alloygen.training.prior import couplings
from alloygen.training.stream import HELD

BANDS = {
    "in the range": (1.0, 6.0),
    ".5 to 1 of its coldest T": (0.5, 0.97),
    ".1 to .5": (0.1, 0.5),
    ".01 to .1": (0.01, 0.1),
}
N, HIGH, BARS = 300, 0.9, 5.0


def conditions(ranges: dict, band: tuple[float, float], n_T: int, n_mu: int) -> Iterator[tuple[float, float]]:
    (low, high), (first, last) = ranges["T"], ranges["mu"][0]
    for T in np.geomspace(band[0] * low, min(band[1] * low, high), n_T):
        for mu in np.linspace(first, last, n_mu + 2)[1:-1]:
            yield float(T), float(mu)


def alloys(family: str, count: int) -> Iterator[Hamiltonian]:
    """Alloys that no training reached."""
    found = alloygen.load(family)
    prior = load_config(found.metadata["config"]).prior
    parent = PARENTS[found.parent.name]
    for k in range(count):
        yield parent.expansion(couplings(parent, prior, HELD + 2000 + k)).on((2, 2, 4))


def tried(h: Hamiltonian, table: Enumeration, at: Iterator, sampler: Neural | MonteCarlo) -> np.ndarray:
    """(conditions, 3): NESS, deviation of Phi in error bars and in the unit of the energy (1/1000)."""
    out = []
    for T, mu in at:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ens = alloygen.sample(h, T, {h.elements[1]: mu}, N, sampler=sampler)
            phi = ens.free_energy()
        off = phi.value - float(table.at(h.condition(T, [0.0, mu])).phi)
        out.append((ens.ness if ens.has_likelihood else 1.0, abs(off) / max(phi.stderr, 1e-12), 1e3 * abs(off)))
    return np.array(out)


def line(name: str, band: str, found: np.ndarray) -> None:
    high = found[:, 0] > HIGH
    trapped = high & (found[:, 1] > BARS)
    told = np.isfinite(found[:, 1])
    print(f"| {name} | {band} | {len(found)} | {int(high.sum())} | {int(trapped.sum())} | {found[trapped, 1].max(initial=0.0):.3g} | "
          f"{found[told, 2].max(initial=0.0):.3g} |", flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--alloys", type=int, default=12, help="held-out alloys of the network for every fcc alloy (default 12)"
    )
    count = parser.parse_args().alloys
    laws: list[tuple[str, list[Hamiltonian], str, Callable[[Hamiltonian], dict]]] = [
        ("cuau, 2x2x4", [alloygen.data.cuau().on((2, 2, 4))], "cuau", lambda h: alloygen.load("cuau").ranges),
        ("cuau_2x2x4", [alloygen.data.cuau().on((2, 2, 4))], "cuau_2x2x4", lambda h: alloygen.load("cuau_2x2x4").ranges),
        ("ising, 4x4", [alloygen.ising(4)], "ising", lambda h: alloygen.load("ising").ranges),
        ("fcc_binary, alloys never seen, 2x2x4", list(alloys("fcc_binary", count)), "fcc_binary", spans),
    ]  # fmt: skip
    print(
        "| law | T | conditions | NESS above .9 | traps | largest, error bars | largest error of Phi where a bar is given (meV or J/1000 a site) |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, systems, model, ranges in laws:
        n_T, n_mu = (8, 9) if len(systems) == 1 else (3, 5)
        tables = [Enumeration(h) for h in systems]
        law = load_model(alloygen.data.checkpoints()[model])
        for band, span in BANDS.items():
            ways = {name: Neural(model=law, outside="allow")}
            if band != "in the range" and len(systems) == 1 and model != "cuau_2x2x4":
                ways |= {
                    f"{name}, annealed": Neural(model=law, then=Anneal(effort=0.2)),
                    f"{name}, Monte Carlo": MonteCarlo(),
                }
            for way, sampler in ways.items():
                rows = [
                    tried(h, t, conditions(ranges(h), span, n_T, n_mu), sampler)
                    for h, t in zip(systems, tables, strict=True)
                ]
                line(way, band, np.concatenate(rows))


if __name__ == "__main__":
    main()
