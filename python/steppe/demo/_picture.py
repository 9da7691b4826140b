"""Objective against time, one panel for each data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from steppe.demo._row import Row


def draw(rows: Sequence[Row], path: Path) -> None:
    """Draw how far each fit's objective is above the lowest that any reached, against seconds, to `path`."""
    names = list(dict.fromkeys((row.estimator, row.data) for row in rows))
    figure, panels = plt.subplots(1, len(names), figsize=(4.6 * len(names), 3.8), layout="constrained", squeeze=False)
    for panel, (estimator, data) in zip(panels[0], names, strict=True):
        curves = {row.way: row.curve for row in rows if row.data == data}
        lowest = min(objective for curve in curves.values() for _, objective in curve)
        for way, curve in curves.items():
            above = [(seconds, objective / lowest - 1) for seconds, objective in curve]
            shown = [(seconds, gap) for seconds, gap in above if gap > 0]
            panel.plot(*zip(*shown, strict=True), marker=".", markersize=3, linewidth=1.2, label=way)
        panel.set(title=f"{estimator}\n{data}", xlabel="seconds", ylabel="objective above the lowest, relative")
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.tick_params(axis="x", which="both", labelsize=8, labelrotation=30)
        panel.legend(fontsize=8)
        panel.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    plt.close(figure)
