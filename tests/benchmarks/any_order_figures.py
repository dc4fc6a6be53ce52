"""Pictures of docs/any_order.md. Run after any_order.py: python tests/benchmarks/any_order_figures.py

any_order_errors.png   : free energies and NESS before and after annealing and resampling, from the results of any_order.py
any_order_pictures.png : out-painted cells, and the profile beside a frozen layer (drawn anew, a minute)
"""

import json
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from ase.build import bulk

import alloygen
import alloygen.data
from alloygen.estimate.order import long_range_order
from alloygen.generate.outpaint import Outpainter

HERE = Path(__file__).parent
FIGURES = HERE.parents[1] / "docs" / "figures"
BEFORE, AFTER, CU, AU = "#c44e52", "#4c72b0", "#b87333", "#e6c200"


def errors(results: dict) -> None:
    """Four panels: Ising 15x15 and 20x20, Ising 40x40, NESS of CuAu 4x4x8, log p(x_fixed)."""
    fig, axes = plt.subplots(2, 2, figsize=(11.5, 8), layout="constrained")
    ax = axes[0, 0]
    for L, mark in (("15", "o"), ("20", "s")):
        r = np.array(results["ising"][L]["rows"])
        ax.errorbar(
            r[:, 0] - 0.012,
            1e4 * r[:, 1],
            1e4 * r[:, 2],
            fmt=mark,
            color=BEFORE,
            ms=5,
            mfc="white",
            label=f"{L}x{L}, out-painted",
        )
        ax.errorbar(
            r[:, 0] + 0.012,
            1e4 * r[:, 4],
            1e4 * r[:, 5],
            fmt=mark,
            color=AFTER,
            ms=5,
            label=f"{L}x{L}, annealed from T = 3.6",
        )
    ax.axhspan(-2, 2, color=AFTER, alpha=0.12, lw=0)
    ax.set(xlabel="T (J/k)", ylabel="F - Kaufman (1e-4 J per site)", title="Ising, from a 10x10 model (band: 2e-4)")
    ax.legend(fontsize=8)
    ax = axes[0, 1]
    r = np.array(results["windows"]["rows"])
    ax.errorbar(
        r[:, 0] - 0.015, 1e4 * r[:, 1], 1e4 * r[:, 2], fmt="o", color=BEFORE, mfc="white", label="plain weights"
    )
    ax.errorbar(
        r[:, 0] + 0.015, 1e4 * r[:, 4], 1e4 * r[:, 5], fmt="o", color=AFTER, label="resampled along the windows"
    )
    for T, y, share in r[:, [0, 1, 3]]:
        ax.annotate(
            f"NESS {share:.3f}",
            (T, 1e4 * y),
            textcoords="offset points",
            xytext=(-5, -12),
            fontsize=7,
            color=BEFORE,
            ha="right",
        )
    ax.axhline(0, color="0.6", lw=0.8)
    ax.set(
        xlim=(1.2, 3.7),
        xlabel="T (J/k)",
        ylabel="F - Kaufman (1e-4 J per site)",
        title="Ising 40x40 in 36 windows of a 10x10 model",
    )
    ax.legend(fontsize=8)
    ax = axes[1, 0]
    r, n = np.array(results["cuau"]["rows"]), len(results["cuau"]["rows"])
    order = np.argsort(r[:, 1])
    ax.plot(np.arange(n), r[order, 1], "o", color=BEFORE, mfc="white", label="out-painted")
    ax.plot(np.arange(n), r[order, 3], "o", color=AFTER, label="annealed")
    ax.set(
        xlabel="condition, by NESS", ylabel="NESS", ylim=(0, 1), title="CuAu 4x4x4 to 4x4x8, 30 conditions, 200-1200 K"
    )
    ax.legend(fontsize=8)
    ax = axes[1, 1]
    r = np.array(results["conditional"]["rows"])
    ax.plot(
        r[:, 0],
        np.maximum(np.abs(r[:, 3] - r[:, 0]), 1e-4),
        "o",
        color=BEFORE,
        mfc="white",
        label="the model's own marginal, one pass",
    )
    ax.plot(
        r[:, 0], np.maximum(np.abs(r[:, 1] - r[:, 0]), 1e-4), "o", color=AFTER, label="importance weights, 10,000 draws"
    )
    ax.plot(r[:, 0], np.maximum(np.abs(r[:, 5] - r[:, 0]), 1e-4), "+", color="k", label="annealed, 2,500 draws")
    ax.axhline(0.02, color="0.5", ls="--", lw=0.8)
    ax.set(
        xlabel="exact log p(x_fixed)",
        ylabel="error (nats)",
        yscale="log",
        title="fixed sets of CuAu 2x2x4 against enumeration (dashed: 0.02)",
    )
    ax.legend(fontsize=8)
    fig.savefig(FIGURES / "any_order_errors.png", dpi=110)
    plt.close(fig)


def pictures() -> None:
    """Ising 40x40 at three temperatures, CuAu 12x12x12 by two rules, and the layers beside frozen gold."""
    torch.set_num_threads(1)
    fig, axes = plt.subplots(2, 3, figsize=(11.5, 7.6), layout="constrained")
    model = alloygen.load("ising_10x10")
    painter = Outpainter(model, model.hamiltonian.expansion.on((40, 40, 1)))
    for ax, T in zip(axes[0], (1.9, 2.4, 3.5), strict=True):
        occ = painter.draw(painter.target.condition(T, [0.0, 0.0]), 1, torch.Generator().manual_seed(4)).occ[0].numpy()
        x, y = painter.target.lattice.offsets[:, :2].T
        image = np.empty((40, 40))
        image[y, x] = occ
        ax.imshow(image, cmap="Greys", vmin=-0.4, vmax=1.2, origin="lower", interpolation="nearest")
        ax.add_patch(plt.Rectangle((-0.5, -0.5), 10, 10, fill=False, ec=BEFORE, lw=2))
        ax.set(title=f"Ising 40x40, T = {T}", xticks=[], yticks=[])
    axes[0, 0].set_xlabel("red: the cell of the model")
    for ax, physics in zip(axes[1, :2], (False, True), strict=True):
        big = Outpainter(alloygen.load("cuau_4x4x4"), alloygen.data.cuau().on((12, 12, 12)), physics=physics)
        occ = big.draw(big.target.condition(500.0, [0.0, 0.0]), 6, torch.Generator().manual_seed(0)).occ.numpy()
        order = long_range_order(occ.astype(float), big.target.lattice, "L1_0")
        layer(ax, big.target.lattice, occ[order.argmin()])
        ax.set(
            title=f"CuAu 12x12x12, {'physics of the target' if physics else 'torus of the model'}",
            xlabel=f"500 K, least ordered of six (L1_0 {order.min():.2f})",
        )
    profile(axes[1, 2])
    fig.savefig(FIGURES / "any_order_pictures.png", dpi=110)
    plt.close(fig)


def layer(ax, lattice, occ) -> None:
    """Atoms of two neighbouring (001) layers, 12 cubic cells wide."""
    x, y, z = (c.ravel() for c in np.meshgrid(np.arange(24), np.arange(24), [0, 1], indexing="ij"))
    x, y, z = (c[(x + y + z) % 2 == 0] for c in (x, y, z))
    sites = lattice.index(np.column_stack([y + z - x, x + z - y, x + y - z]) // 2, np.zeros(len(x), dtype=int))
    ax.scatter(x, y, c=np.where(occ[sites] == 1, AU, CU), s=np.where(z == 0, 34, 12), ec="k", lw=0.3)
    ax.set(aspect="equal", xticks=[], yticks=[])


def profile(ax) -> None:
    """Gold by distance from a frozen layer of gold, 4x4x4 cells at dmu of half gold."""
    atoms = bulk("Cu", a=3.8).repeat((4, 4, 4))
    plane = np.arange(64) % 4  # the third index runs fastest
    for T, colour in ((700, "#4c72b0"), (900, "#dd8452"), (1200, "#55a868")):
        ens = alloygen.sample(
            atoms,
            T,
            {"Au": 0.0},
            n=1000,
            fixed=dict.fromkeys(np.flatnonzero(plane == 0).tolist(), "Au"),
            seed=0,
            sampler=alloygen.Neural(average=4, then=alloygen.Anneal()),
        )
        w = ens.weights
        by_layer = np.stack([(ens.occ[:, plane == k] == 1).mean(1) for k in range(4)])
        mean = by_layer @ w
        error = np.sqrt(((by_layer - mean[:, None]) ** 2) @ w**2)
        ax.errorbar(
            [0, 1, 2, 3, 4],
            mean[[0, 1, 2, 3, 0]],
            error[[0, 1, 2, 3, 0]],
            fmt="o-",
            color=colour,
            label=f"{T} K, NESS {ens.ness:.2f}",
        )
    ax.set(
        xlabel="(111) layer (0 and 4: frozen gold)",
        ylabel="share of Au",
        ylim=(0, 1.05),
        title="beside a frozen layer of gold",
    )
    ax.legend(fontsize=8)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    FIGURES.mkdir(exist_ok=True)
    errors(json.loads((HERE / "results" / "any_order" / "figures.json").read_text()))
    pictures()
