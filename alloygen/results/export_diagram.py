"""A phase diagram for other programs: pymatgen, landau, ESPEI, and files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from alloygen.arguments import whole_number
from alloygen.errors import AlloygenError
from alloygen.estimate.coexistence import lower_vertices
from alloygen.results.at_counts import require_closed
from alloygen.results.curves import Curves
from alloygen.results.hull import pymatgen_diagram
from alloygen.results.phases import DISORDERED
from alloygen.runtime.atomic import atomic_path
from alloygen.runtime.tables import write_table
from alloygen.types import PathLike

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CALPHAD = {  # what databases call the disordered phase on a crystal
    "fcc": "FCC_A1", "bcc": "BCC_A2", "hcp": "HCP_A3", "diamond": "DIAMOND_A4", "rocksalt": "HALITE_B1", "caesium chloride": "BCC_B2",
    "zincblende": "ZINCBLENDE_B3", "wurtzite": "WURTZITE_B4", "fluorite": "FLUORITE_C1", "perovskite": "PEROVSKITE",
}  # fmt: skip


def to_pymatgen(curves: Curves, names: np.ndarray, T: float, arc: int) -> Any:
    """The diagram at T, see :meth:`alloygen.results.phase_diagram.PhaseDiagram.to_pymatgen`; names : (nT, L) of the phases."""
    require_closed(curves.table)
    from pymatgen.analysis.phase_diagram import PDEntry
    from pymatgen.core import Composition

    t = curves.row(T)
    _require_elements(curves)
    arc = whole_number(arc, "arc", 2)
    f = curves.f[t]
    vertices = lower_vertices(f)
    cuts = np.flatnonzero(np.diff(vertices) >= curves.min_width) + 1
    keep = [
        v
        for part in np.split(vertices, cuts)
        for v in part[np.unique(np.linspace(0, len(part) - 1, min(arc, len(part))).round().astype(int))]
    ]
    return pymatgen_diagram([
        PDEntry(Composition(curves.atoms(curves.x[n])), float(f[n]) * curves.n_sites, name=f"{names[t, n] or 'x'} x={curves.x[n]:.4g}")
        for n in keep
    ])  # fmt: skip


def _require_elements(curves: Curves) -> None:
    """AlloygenError unless the atoms are chemical elements, two kinds of them at least."""
    from pymatgen.core import Element

    names = list(curves.atoms(0.5))
    if not all(map(Element.is_valid_symbol, names)):
        raise AlloygenError(f"expected chemical elements, got {names}; read `regions` and `table` instead")
    if len(names) < 2:
        raise AlloygenError(
            f"expected two kinds of atoms, got {names[0]} and vacancies, whose composition does not change; read `regions` and "
            "`table` instead"
        )


def to_landau(curves: Curves, names: np.ndarray) -> pd.DataFrame:
    """Stable states, see :meth:`alloygen.results.phase_diagram.PhaseDiagram.to_landau`; names : (nT, L) of the phases."""
    require_closed(curves.table)
    rows, scale = [], curves.n_sites / int(curves.table.attrs["n_exchangeable"])
    for t, f in enumerate(scale * curves.f):
        v = lower_vertices(f)
        slope = np.diff(f[v]) / np.diff(curves.x[v])
        for k, n in enumerate(v):
            sides = [(slope[j], v[j + 1] - v[j] >= curves.min_width) for j in (k - 1, k) if 0 <= j < len(slope)]
            border = [s for s, wide in sides if wide]
            for mu in border or [np.mean([s for s, _ in sides])]:
                rows.append({"T": curves.T[t], "mu": mu, "c": curves.x[n], "phi": f[n] - mu * curves.x[n], "f": f[n],
                             "phase": names[t, n] or "solution", "stable": True, "border": bool(border)})  # fmt: skip
    return pd.DataFrame(rows)


def to_espei(curves: Curves, regions: pd.DataFrame, phase_names: dict | None, pressure: float) -> dict:
    """Tie-lines, see :meth:`alloygen.results.phase_diagram.PhaseDiagram.to_espei`; regions : those of the diagram."""
    require_closed(curves.table)
    _require_elements(curves)
    solution = CALPHAD.get(curves.table.attrs.get("lattice", ""), "SOLUTION")
    names = {"": solution, DISORDERED: solution} | (phase_names or {})
    name = lambda p: names.get(p, p.split(" ")[0].upper())  # noqa: E731
    rows = regions[regions["reliable"] | regions["support"].isna()]
    atoms = list(curves.atoms(0.5))
    left_out = curves.table.attrs["other"] if curves.table.attrs["other"] in atoms else atoms[-1]
    told = [a for a in atoms if a != left_out]

    def side(phase, x) -> list:
        here = curves.atoms(float(x))
        return [name(phase), [a.upper() for a in told], [here.get(a, 0.0) / sum(here.values()) for a in told]]

    values = [[side(r.phase_left, r.x_left), side(r.phase_right, r.x_right)] for r in rows.itertuples()]
    return {
        "components": sorted({*(a.upper() for a in atoms), "VA"}),
        "phases": sorted({v[0] for pair in values for v in pair}), "broadcast_conditions": False,
        "conditions": {"T": [float(v) for v in rows["T"]], "P": [pressure]}, "output": "ZPF", "values": values,
        "reference": f"alloygen, {curves.table.attrs.get('hamiltonian', 'table')}, {curves.n_sites} sites",
    }  # fmt: skip


def to_dict(curves: Curves, found: dict[str, pd.DataFrame]) -> dict:
    """What was found, by name, as plain numbers and lists for JSON."""
    frames = {k: json.loads(frame.to_json(orient="records")) for k, frame in found.items()}
    plain = {k: (v.item() if hasattr(v, "item") else v) for k, v in curves.table.attrs.items()}
    return {"attributes": plain, "min_width": curves.min_width, "T": curves.T.tolist(), **frames}


def write(path: PathLike, curves: Curves, found: dict[str, pd.DataFrame], draw: Callable[[], Axes]) -> Path:
    """Write what was found, see :meth:`alloygen.results.phase_diagram.PhaseDiagram.write`; ``draw`` makes the picture."""
    path = Path(path)
    known = (".json", ".nc", ".csv", ".png", ".pdf", ".svg")
    if path.suffix not in known:
        raise AlloygenError(f"expected a path that ends in one of {', '.join(known)}, got {str(path)!r}")
    with atomic_path(path) as part:
        if path.suffix == ".json":
            Path(part).write_text(json.dumps(to_dict(curves, found), indent=1))
        elif path.suffix == ".csv":
            found["regions"].to_csv(part, index=False)
        elif path.suffix == ".nc":
            write_table(part, curves.table.assign_attrs(min_width=curves.min_width))
        else:
            import matplotlib.pyplot as plt
            from matplotlib.figure import Figure

            figure = cast(Figure, draw().figure)
            figure.savefig(part, dpi=150, format=path.suffix[1:], bbox_inches="tight")
            plt.close(figure)
    return path
