"""Isothermal sections for other programs: pymatgen, ESPEI and pycalphad, and files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from alloygen.edge.prototypes import is_vacancy
from alloygen.errors import AlloygenError
from alloygen.estimate.superstructure import SUPERSTRUCTURES
from alloygen.estimate.weights import MIN_ESS
from alloygen.results.at_counts import require_closed
from alloygen.results.export_diagram import CALPHAD
from alloygen.results.hull import pymatgen_diagram
from alloygen.results.phases import DISORDERED
from alloygen.results.section_phases import occupations, phase_orders
from alloygen.results.section_tables import Stack
from alloygen.runtime.atomic import atomic_path
from alloygen.runtime.documents import sealed
from alloygen.runtime.tables import write_table
from alloygen.types import PathLike

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    from matplotlib.axes import Axes

J_PER_MOLE = 96485.33212  # of an electronvolt per atom (CODATA 2018)


def atoms_of(sections: Stack, x: np.ndarray) -> dict[str, float]:
    """Atoms of the cell at fractions (K,) by element, those of fixed sublattices among them and vacancies not."""
    attrs = sections.table.attrs
    out = {
        e: float(v) * int(attrs["n_exchangeable"])
        for e, v in zip(sections.elements, x, strict=True)
        if not is_vacancy(e)
    }
    for e, n in json.loads(attrs.get("fixed_atoms", "{}")).items():
        out[e] = out.get(e, 0.0) + n
    return {e: n for e, n in out.items() if n > 1e-9}


def _require_elements(sections: Stack) -> list[str]:
    """The atoms by name; AlloygenError unless they are chemical elements, two kinds of them at least."""
    from pymatgen.core import Element

    names = list(atoms_of(sections, np.full(len(sections.elements), 1 / len(sections.elements))))
    if not all(map(Element.is_valid_symbol, names)) or len(names) < 2:
        raise AlloygenError(f"expected two chemical elements at least, got {names}; read `regions` and `table` instead")
    return names


def to_pymatgen(sections: Stack, t: int) -> Any:
    """See :meth:`alloygen.results.sections.IsothermalSections.to_pymatgen`."""
    require_closed(sections.table)
    from pymatgen.analysis.phase_diagram import PDEntry
    from pymatgen.core import Composition

    _require_elements(sections)
    surface, names = sections.surfaces[t], sections.phases[t]
    shown = lambda x: " ".join(f"{e}={v:.4g}" for e, v in zip(sections.elements, x, strict=True))  # noqa: E731
    entries = [
        PDEntry(
            Composition(atoms), float(surface.f[k]) * sections.n_sites, name=f"{names[k] or 'x'} {shown(sections.x[k])}"
        )
        for k in np.unique(surface.facets.corners)
        if (atoms := atoms_of(sections, sections.x[k]))
    ]
    corners = [Composition(a) for row in np.eye(len(sections.elements)) if (a := atoms_of(sections, row))]
    return pymatgen_diagram(entries, corners)


def _database_names(sections: Stack, phase_names: dict | None) -> Any:
    solution = CALPHAD.get(sections.table.attrs.get("lattice", ""), "SOLUTION")
    names = {"": solution, DISORDERED: solution} | (phase_names or {})
    return lambda p: names.get(p, p.partition("(")[2].strip(")").upper() or p.upper())


def to_espei(sections: Stack, phase_names: dict | None, pressure: float) -> dict:
    """See :meth:`alloygen.results.sections.IsothermalSections.to_espei`."""
    require_closed(sections.table)
    atoms, name = _require_elements(sections), _database_names(sections, phase_names)
    rows = sections.regions
    rows = rows[rows["reliable"].astype(bool)]
    told = atoms[1:]
    values, temperatures = [], []
    for _, row in rows.iterrows():
        sides = []
        for g in range(1, int(row["n_phases"]) + 1):
            here = atoms_of(sections, np.array([row[f"x_{e}_{g}"] for e in sections.elements]))
            total = sum(here.values())
            sides.append([name(row[f"phase_{g}"]), [e.upper() for e in told], [here.get(e, 0.0) / total for e in told]])
        values.append(sides)
        temperatures.append(float(row["T"]))
    return {
        "components": sorted({*(a.upper() for a in atoms), "VA"}), "phases": sorted({side[0] for sides in values for side in sides}),
        "broadcast_conditions": False, "conditions": {"T": temperatures, "P": [pressure]}, "output": "ZPF", "values": values,
        "reference": _reference(sections),
    }  # fmt: skip


def to_espei_sites(sections: Stack, t: int, phase_names: dict | None, pressure: float) -> list[dict]:
    """See :meth:`alloygen.results.sections.IsothermalSections.to_espei_sites`."""
    require_closed(sections.table)
    atoms, name = _require_elements(sections), _database_names(sections, phase_names)
    table, orders, names = sections.table, phase_orders(sections.table)[t], sections.phases[t]
    if "energy" not in table:
        raise AlloygenError("expected sections of a scan, which know energies, got ones from free energies alone")
    energy = table["energy"].values[t] - sections.x @ _corner_energies(sections, t)
    sure = np.isfinite(energy) & (table["effective_samples"].values[t] >= MIN_ESS)
    per_mole = (
        np.array([sections.n_sites / max(sum(atoms_of(sections, x).values()), 1e-300) for x in sections.x]) * J_PER_MOLE
    )
    fixed, free = json.loads(table.attrs.get("fixed_atoms", "{}")), int(table.attrs["n_exchangeable"])
    out = []
    for order in dict.fromkeys(orders[sure]):
        here = np.flatnonzero(sure & (orders == order))
        share, sites = ([1.0], [sections.x]) if not order else _sublattices(table, order, t)
        ratios = [free * r / sections.n_sites for r in share] + [n / sections.n_sites for n in fixed.values()]
        rows = [
            (
                [*_constituents(sections, [s[k] for s in sites]), *((e.upper(), 1.0) for e in fixed)],
                float(energy[k] * per_mole[k]),
            )
            for k in here
        ]
        out.append({
            "components": sorted({*(a.upper() for a in atoms), "VA"}), "phases": [name(names[here[0]])],
            "solver": {"mode": "manual", "sublattice_site_ratios": ratios,
                       "sublattice_configurations": [[c for c, _ in row] for row, _ in rows],
                       "sublattice_occupancies": [[y for _, y in row] for row, _ in rows]},
            "conditions": {"P": pressure, "T": float(sections.T[t])}, "output": "HM_MIX", "values": [[[v for _, v in rows]]],
            "reference": _reference(sections),
        })  # fmt: skip
    return out


def _corner_energies(sections: Stack, t: int) -> np.ndarray:
    """Energies per site (K,) of the pure corners."""
    atoms = sections.table["atoms"].values
    at = [int(atoms[:, k].argmax()) for k in range(atoms.shape[1])]
    return sections.table["energy"].values[t][at]


def _sublattices(table, order: str, t: int) -> tuple[list[float], list[np.ndarray]]:
    """Shares of the sites, and fractions (L, K), of the two sublattices of an order."""
    first, second = occupations(table, order)
    share = SUPERSTRUCTURES[order].share
    return [share, 1.0 - share], [first[t], second[t]]


def _constituents(sections: Stack, fractions: list[np.ndarray]) -> list[tuple]:
    """(constituents, site fractions) of each sublattice as ESPEI writes them: a name and 1 for a pure one, else sorted lists."""
    out: list[tuple] = []
    for y in fractions:
        named = sorted(
            ("VA" if is_vacancy(e) else e.upper(), float(v))
            for e, v in zip(sections.elements, y, strict=True)
            if v > 1e-6
        )
        total = sum(v for _, v in named)
        out.append((named[0][0], 1.0) if len(named) == 1 else ([e for e, _ in named], [v / total for _, v in named]))
    return out


def _reference(sections: Stack) -> str:
    return f"alloygen, {sections.table.attrs.get('hamiltonian', 'table')}, {sections.n_sites} sites"


# ---------------------------------------------------------------------- files
FORMAT = "alloygen isothermal sections"


def to_dict(sections: Stack, found: dict[str, pd.DataFrame]) -> dict:
    """See :meth:`alloygen.results.sections.IsothermalSections.to_dict`; ``found`` by name."""
    told = {k: json.loads(frame.to_json(orient="records")) for k, frame in found.items()}
    return {
        "elements": list(sections.elements),
        "min_width": sections.min_width,
        "T": sections.T.tolist(),
        **told,
        "table": _plain(sections.table.to_dict()),
    }


def _plain(value: Any) -> Any:
    """What JSON can hold: None for nan and infinite numbers are kept as they are told."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None if np.isnan(value) else str(value)
    return value


def write(path: PathLike, sections: Stack, found: dict[str, pd.DataFrame], draw: Callable[[], list[Axes]]) -> Path:
    """See :meth:`alloygen.results.sections.IsothermalSections.write`; ``draw`` makes the picture."""
    path = Path(path)
    known = (".json", ".nc", ".csv", ".png", ".pdf", ".svg")
    if path.suffix not in known:
        raise AlloygenError(f"expected a path that ends in one of {', '.join(known)}, got {str(path)!r}")
    with atomic_path(path) as part:
        if path.suffix == ".json":
            part.write_text(json.dumps(sealed(to_dict(sections, found), FORMAT)), encoding="utf-8")
        elif path.suffix == ".csv":
            found["regions"].to_csv(part, index=False)
        elif path.suffix == ".nc":
            write_table(part, sections.table.assign_attrs(min_width=sections.min_width))
        else:
            import matplotlib.pyplot as plt
            from matplotlib.figure import Figure

            figure = cast(Figure, draw()[0].figure)
            figure.savefig(part, dpi=150, format=path.suffix[1:], bbox_inches="tight")
            plt.close(figure)
    return path
