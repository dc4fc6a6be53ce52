"""Are the error bars honest? z = (estimate - truth) / error bar for every estimator, system and regime, over many seeds.

Run: python tests/benchmarks/calibration.py [--only TEXT ...] [--seeds 30] [--workers 2] [--markdown FILE]

A standard deviation of 1 is right; above 1 the bars are too small. Numbers whose bar is nan are withheld: they are counted and not
scored. Rows come from the files of ``calibrated``; each seed of a row is kept in results/calibration.json as soon as it is there, and
a run goes on where it was stopped (delete the file to measure anew).
"""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

import calibrated

from alloygen.runtime.atomic import atomic_path

KEPT = Path(__file__).parent / "results" / "calibration.json"
HEAD = """# Calibration of the error bars

Made by `make benchmark-calibration`; the fifth column says over how many seeds. What the columns mean is said in [error_bars.md](error_bars.md).

"""
RIGHT, FAR, RARE = (0.8, 1.25), 3.0, 0.005


def rows() -> dict[str, calibrated.Row]:
    """All rows by name."""
    modules = [importlib.import_module(f"calibrated.{m.name}") for m in pkgutil.iter_modules(calibrated.__path__)]
    found = [row for module in modules for row in module.ROWS]
    assert len({row.name for row in found}) == len(found), "two rows of one name"
    return {row.name: row for row in found}


def run(name: str, seed: int) -> list[tuple[str, float, float, float, str]]:
    """(quantity, value, error bar, truth, note) of one seed of a row."""
    import torch

    torch.set_num_threads(1)
    row = rows()[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [
            (q, e.value, float(np.hypot(e.stderr, row.error(q))), float(true), e.note) for q, e, true in row.run(seed)
        ]


def scores(kept: dict[str, list]) -> dict[str, dict]:
    """By quantity: how many numbers, the share withheld, and mean, standard deviation, largest and share beyond 3 of z."""
    out: dict[str, list] = {}
    for found in kept.values():
        for quantity, value, error, true, _ in found:
            out.setdefault(quantity.split(" @")[0], []).append((value - true) / error if error else np.nan)
    return {quantity: _score(np.array(z)) for quantity, z in out.items()}


def _score(z: np.ndarray) -> dict:
    told = z[np.isfinite(z)]
    if not len(told):
        return {"numbers": len(z), "withheld": 1.0, "mean": np.nan, "std": np.nan, "largest": np.nan, "beyond": np.nan}
    return {"numbers": len(z), "withheld": 1 - len(told) / len(z), "mean": told.mean(), "std": told.std(),
            "largest": np.abs(told).max(), "beyond": (np.abs(told) > FAR).mean()}  # fmt: skip


def verdict(s: dict) -> str:
    """What a line of the table says: bars right, too small or too wide."""
    if s["withheld"] == 1:
        return "withheld"
    if s["std"] > RIGHT[1] or s["beyond"] > max(RARE, 1.5 / s["numbers"]):
        return "too small"
    return "right" if s["std"] >= RIGHT[0] else "wide"


def table(kept: dict[str, dict]) -> str:
    head = [
        "estimator",
        "system",
        "regime",
        "quantity",
        "seeds",
        "numbers",
        "withheld",
        "mean z",
        "std z",
        "largest",
        "beyond 3",
        "bars",
    ]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name in sorted(kept):
        for quantity, s in scores(kept[name]).items():
            cells = [*name.split(" | "), quantity, str(len(kept[name])), str(s["numbers"]), f"{s['withheld']:.1%}", f"{s['mean']:+.2f}", f"{s['std']:.2f}",
                     f"{s['largest']:.1f}", f"{s['beyond']:.1%}", verdict(s)]  # fmt: skip
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=[""], help="rows whose name holds one of these texts")
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--markdown", type=Path, help="write the table there too")
    parser.add_argument("--kept", type=Path, default=KEPT, help="file of what was measured")
    options = parser.parse_args()
    wanted = [n for n in rows() if any(text in n for text in options.only)]
    kept = json.loads(options.kept.read_text()) if options.kept.exists() else {}
    jobs = [(n, s) for s in range(options.seeds) for n in wanted if str(s) not in kept.get(n, {})]
    options.kept.parent.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(options.workers) as pool:
        waiting = {pool.submit(run, *job): job for job in jobs}
        for k, future in enumerate(as_completed(waiting), 1):
            name, seed = waiting[future]
            kept.setdefault(name, {})[str(seed)] = future.result()
            with atomic_path(options.kept) as part:
                Path(part).write_text(json.dumps(kept))
            print(f"\r{k} of {len(jobs)}: {name}, seed {seed}".ljust(100), end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    text = table({n: kept[n] for n in wanted if n in kept})
    print(text)
    if options.markdown:
        options.markdown.write_text(HEAD + text + "\n")


if __name__ == "__main__":
    main()
