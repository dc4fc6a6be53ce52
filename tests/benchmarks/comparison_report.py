"""Report of comparison.py: tables inside docs/comparison.md and docs/benchmarks.md, and docs/figures/comparison_*.png."""

import json
from pathlib import Path

import matplotlib
import numpy as np
from comparison import COLUMNS, MODELS, SYSTEMS

matplotlib.use("Agg")
import matplotlib.pyplot as plt

BEGIN, END = "<!-- table: written by tests/benchmarks/comparison.py -->", "<!-- end of the table -->"
COLOURS = dict(
    zip(MODELS, ["#888888", "#1f77b4", "#2ca02c", "#d62728", "#6baed6", "#98df8a", "#ff9896", "#000000"], strict=True)
)
NAMES = {"ising_4x4": "Ising 4x4", "ising_6x6": "Ising 6x6", "ising_10x10": "Ising 10x10", "cuau_2x2x4": "CuAu 2x2x4",
         "cuau_4x4x4": "CuAu 4x4x4"}  # fmt: skip


def load(folder: Path) -> dict:
    """Results by system and model, in the order of the lists."""
    found = {}
    for system in SYSTEMS:
        for model in MODELS:
            path = folder / f"{system}, {model}.json"
            if path.exists():
                found.setdefault(system, {})[model] = json.loads(path.read_text())
    return found


def cell(name: str, value: float, ising: bool) -> str:
    if name == "phi_error_max":
        return f"{value:.1e} J" if ising else f"{1e3 * value:.2f} meV"
    if name in ("steps", "n"):
        return f"{value:.0f}"
    if name == "ms_per_sample":
        return f"{value:.2g}" if value < 10 else f"{value:.0f}"
    return f"{value:.2g}" if name.endswith("error") else f"{value:.3f}".replace("0.", ".", 1)


def table(results: dict) -> str:
    """One Markdown table a system."""
    out = []
    for system, models in results.items():
        s = SYSTEMS[system]
        shares = sorted({r["share"] for r in models.values()})
        minutes = s.minutes * shares[0]
        out.append(f"**{NAMES[system]}**, {minutes:g} minutes of one core for each model, {len(s.T) * len(s.mu)} conditions, "
                   f"n configurations each\n")  # fmt: skip
        out.append("| model | " + " | ".join(COLUMNS.values()) + " |")
        out.append("|---|" + "---|" * len(COLUMNS))
        for model, r in models.items():
            out.append(f"| {model} | " + " | ".join(cell(k, r["figures"][k], s.ising) for k in COLUMNS) + " |")
        out.append("")
    return "\n".join(out)


def short_table(results: dict) -> str:
    """NESS / forward NESS of every model on every system, means over the conditions."""
    cells = lambda r: f"{r['figures']['ness_mean']:.2f} / {r['figures']['forward_ness_mean']:.2f}".replace("0.", ".")  # noqa: E731
    lines = [
        "| mean NESS / forward NESS | " + " | ".join(NAMES[s] for s in results) + " |",
        "|---|" + "---|" * len(results),
    ]
    minutes = {s: SYSTEMS[s].minutes * next(iter(models.values()))["share"] for s, models in results.items()}
    lines.append("| minutes of a core for each | " + " | ".join(f"{minutes[s]:.2g}" for s in results) + " |")
    for model in MODELS:
        found = [cells(results[s][model]) if model in results[s] else "not run" for s in results]
        lines.append(f"| {model} | " + " | ".join(found) + " |")
    return "\n".join(lines) + "\n"


def write_between(page: Path, text: str) -> None:
    """Put ``text`` between the markers of a page, at its end where it has none."""
    before, _, rest = (page.read_text() if page.exists() else "").partition(BEGIN)
    page.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{rest.partition(END)[2] or chr(10)}")


def curves(system: str, models: dict, path: Path) -> None:
    """Free energy, heat capacity, two-point function, and the histograms at the spot."""
    s = SYSTEMS[system]
    unit, kelvin = ("J", "J / k$_B$") if s.ising else ("eV", "K")
    figure, axes = plt.subplots(2, 3, figsize=(14, 7.6))
    (phi, c, corr), (energy, composition, legend) = axes
    first = next(iter(models.values()))
    order = np.argsort(first["curves"]["T"])
    c.plot(
        np.array(first["curves"]["T"])[order],
        np.array(first["curves"]["C_reference"])[order],
        "k--",
        lw=1,
        label="reference",
    )
    distance = np.arange(len(first["spot"]["correlation"]))
    corr.plot(distance, first["spot"]["correlation_reference"], "k--", lw=1)
    x = lambda values, bins: np.histogram(values, bins, density=True)[0]  # noqa: E731
    reference = np.array(first["spot"]["energy_reference"])
    bins_e = np.linspace(reference.min(), reference.max() + 1e-9, 25)
    n = s.repeats[0] * s.repeats[1] * s.repeats[2]
    bins_x = (np.arange(0, n + 2, max(1, n // 24)) - 0.5) / n
    for axis, bins, key in ((energy, bins_e, "energy"), (composition, bins_x, "composition")):
        axis.fill_between(
            bins[:-1], x(first["spot"][f"{key}_reference"], bins), step="post", color="0.85", label="reference"
        )
    for model, r in models.items():
        colour, T = COLOURS[model], np.array(r["curves"]["T"])
        phi.plot(T, np.maximum(np.abs(r["curves"]["phi_error"]), 1e-9), ".-", color=colour, lw=1, label=model)
        c.errorbar(T, r["curves"]["C"], r["curves"]["C_stderr"], fmt=".-", color=colour, lw=1, capsize=2)
        corr.errorbar(
            distance, r["spot"]["correlation"], r["spot"]["correlation_stderr"], fmt=".-", color=colour, lw=1, capsize=2
        )
        for axis, bins, key in ((energy, bins_e, "energy"), (composition, bins_x, "composition")):
            axis.stairs(x(r["spot"][key], bins), bins, color=colour, lw=1)
    where = f"T = {s.spot[0]:g}{'' if s.ising else ' K'}, " + (
        f"h = {s.spot[1] / 2:g}" if s.ising else f"$\\Delta\\mu$ = {s.spot[1]:g} eV"
    )
    phi.set(yscale="log", xlabel=f"T ({kelvin})", ylabel=f"|$\\Phi$ - exact| ({unit}/site)", title="free energy")
    top = 2.5 * max(first["curves"]["C_reference"])
    c.set(
        xlabel=f"T ({kelvin})",
        ylabel="heat capacity per site" + ("" if s.ising else " (eV/K)"),
        title="heat capacity",
        ylim=(0, top),
    )
    corr.set(
        xlabel="Manhattan distance" if s.ising else "shell",
        ylabel="connected C(r)",
        title=f"two-point function, {where}",
    )
    energy.set(xlabel=f"E ({unit}/site)", ylabel="density", title=f"bare draws, {where}")
    composition.set(
        xlabel="share of up spins" if s.ising else "x$_{Au}$", ylabel="density", title=f"bare draws, {where}"
    )
    legend.axis("off")
    handles, labels = phi.get_legend_handles_labels()
    handles.append(plt.Line2D([], [], color="k", ls="--", lw=1))
    legend.legend(
        handles, [*labels, "exact or replica exchange (grey: its histogram)"], loc="center left", frameon=False
    )
    figure.suptitle(f"{NAMES[system]}: averages weighted with exact likelihoods, histograms not", x=0.01, ha="left")
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    plt.close(figure)


def maps(system: str, models: dict, path: Path) -> None:
    """NESS of the model's own draws beside forward NESS on reference samples, over the grid."""
    s = SYSTEMS[system]
    shape = (len(s.T), len(s.mu))
    figure, axes = plt.subplots(2, len(models), figsize=(1.85 * len(models) + 1.2, 5.6), sharex=True, sharey=True,
                                squeeze=False, layout="constrained")  # fmt: skip
    for column, (model, r) in enumerate(models.items()):
        for row, key in enumerate(("ness", "forward_ness")):
            values = np.array([line[key] for line in r["rows"]]).reshape(shape)
            image = axes[row, column].imshow(values, vmin=0, vmax=1, origin="lower", aspect="auto", cmap="viridis")
        axes[0, column].set_title(
            model.replace(", ", "\n").replace(" ", "\n", 1) if len(model) > 28 else model.replace(", ", "\n"),
            fontsize=8,
        )
        axes[1, column].set_xticks(
            range(shape[1]), [f"{m / 2 if s.ising else m:g}" for m in s.mu], fontsize=7, rotation=90
        )
        axes[1, column].set_xlabel("h" if s.ising else "$\\Delta\\mu$ (eV)", fontsize=8)
    for row, text in enumerate(("own draws", "reference samples")):
        axes[row, 0].set_yticks(range(shape[0]), [f"{t:g}" for t in s.T], fontsize=7)
        axes[row, 0].set_ylabel(f"NESS, {text}\nT" + ("" if s.ising else " (K)"), fontsize=8)
    figure.colorbar(image, ax=axes, shrink=0.8)
    figure.suptitle(
        f"{NAMES[system]}: what the model says of itself (above) and what the reference says of it (below)", fontsize=10
    )
    figure.savefig(path, dpi=90)
    plt.close(figure)


def report(folder: Path, docs: Path) -> None:
    """Write the table and the figures, and print the table."""
    results = load(folder)
    (docs / "figures").mkdir(parents=True, exist_ok=True)
    text = table(results)
    write_between(docs / "comparison.md", text)
    write_between(docs / "benchmarks.md", short_table(results))
    for system, models in results.items():
        curves(system, models, docs / "figures" / f"comparison_{system}.png")
        maps(system, models, docs / "figures" / f"comparison_{system}_ness.png")
    print(text)
