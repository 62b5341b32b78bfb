"""A map of settings in which a network trains at all: depth x batch size."""

from __future__ import annotations

import math
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter

from bnsweep.experiments.figures.arms import chance
from bnsweep.experiments.figures.dots import score
from bnsweep.experiments.figures.page import Page
from bnsweep.experiments.selection import Run
from bnsweep.experiments.verdicts import median_of
from bnsweep.probes.theory import bn_before_rate

REACH = 16
"""Trainable depth in units of 1 / ln(rate): where the gradient has grown by e^16 (Yang et al. 2019, section 5)."""
LIMIT = "#d55e00"


def depth(run: Run) -> int:
    """Hidden layers."""
    return run.config.model.layers


def limit(activation: str, batch: int) -> float:
    """Depth 16 / ln(rate) with the rate of `theory.bn_before_rate`; NaN where that has none."""
    return REACH / math.log(bn_before_rate(activation, batch)) if batch > 3 else math.nan


def trainable(runs: Sequence[Run]) -> Figure:
    """Final training accuracy, median over seeds, with the depth that gradient growth allows."""
    depths, batches = sorted(set(map(depth, runs))), sorted({run.config.train.batch_size for run in runs})
    cells: dict[tuple[int, int], list[float]] = {}
    for run in runs:
        if not math.isnan(value := score(run, "train_accuracy")):
            cells.setdefault((depth(run), run.config.train.batch_size), []).append(value)
    value_DB = np.array([[median_of(cells[d, b]) if (d, b) in cells else math.nan for b in batches] for d in depths])
    title = "Final training accuracy by depth and batch size"
    line = Line2D([], [], color=LIMIT, lw=2, label=f"depth {REACH} / ln(rate), theory")
    figure, [[ax]] = Page(title, [line], high=0.32 * len(depths) + 0.4, right=1.2).lay_out(1, 1)
    norm = Normalize(chance(runs[0]), 1)
    ax.imshow(value_DB, cmap="cividis", norm=norm, aspect="auto", origin="lower", interpolation="none")
    ax.grid(visible=False)
    for i, row in enumerate(value_DB):
        for j, value in enumerate(row):
            ink = "#ffffff" if norm(value) < 0.5 else "#000000"
            said = "" if math.isnan(value) else f"{100 * value:.0f}"
            ax.text(j, i, said, ha="center", va="center", color=ink, size=8)
    boundary(ax, runs, depths, batches)
    ax.set_xticks(range(len(batches)), map(str, batches))
    ax.set_yticks(range(len(depths)), map(str, depths))
    ax.set(xlabel="batch size", ylabel="hidden layers")
    bar = figure.colorbar(ScalarMappable(norm, matplotlib.colormaps["cividis"]), ax=ax, pad=0.03, fraction=0.06)
    bar.outline.set_visible(False)
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:.0f} %"))
    return figure


def boundary(ax: Axes, runs: Sequence[Run], depths: Sequence[int], batches: Sequence[int]) -> None:
    """The depth 16 / ln(rate) of every batch size, between the rows it lies between."""
    limits = [limit(runs[0].config.activation.name, batch) for batch in batches]
    places = range(len(depths))
    at = [float(np.interp(depth, depths, places, left=math.nan, right=math.nan)) for depth in limits]
    outline = [withStroke(linewidth=3.5, foreground="#ffffff")]
    # As wide as the cells, so that a single batch size has a line, too.
    x = [place + side for place in range(len(batches)) for side in (-0.4, 0.4)]
    ax.plot(x, np.repeat(at, 2), color=LIMIT, lw=2, path_effects=outline, zorder=1.5)
