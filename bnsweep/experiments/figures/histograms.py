"""Histograms of activation outputs, layer by layer, at the start of training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import StepPatch
from numpy.typing import NDArray

from bnsweep.experiments.figures import page
from bnsweep.experiments.figures.arms import by, swept
from bnsweep.experiments.figures.page import Page, colour
from bnsweep.experiments.runs import Run
from bnsweep.records import HISTOGRAM_EDGES

MOST_LAYERS = 6
CUT = 0.3
"""Share of the outputs at which a bar is cut."""
SPAN = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0), "relu": (0.0, 2.0)}
"""Range drawn; the outermost bins hold what lies beyond the histogram's edges, which end at -1 and 2."""


def shares(runs: Sequence[Run], reading: str = "start") -> list[NDArray[np.float64]]:
    """Hidden layer -> share of the outputs in each bin, all seeds together."""
    counts = [run.record.histograms[reading] for run in runs if reading in run.record.histograms]
    if not counts:
        return []
    total = np.sum(np.asarray(counts, dtype=np.float64), axis=0)
    return [layer / max(1.0, layer.sum()) for layer in total]


def grid(runs: Sequence[Run]) -> Figure:
    """One row a setting, one column a layer, as the book's chapter draws it."""
    factors = tuple(f for f in ("activation", "init", *swept(runs)) if f in swept(runs))
    groups = by(runs, *dict.fromkeys(factors))
    layers = min(MOST_LAYERS, max(len(run.config.model.units) for run in runs))
    around = Page("Activation outputs of each hidden layer, before training", high=0.78, left=0.6, share_x=False)
    figure, axes = around.lay_out(len(groups), layers)
    for k, (row, (name, some)) in enumerate(zip(axes, groups.items(), strict=True)):
        low, high = SPAN.get(some[0].config.activation.name, (-1.0, 2.0))
        for ax, share in zip(row, shares(some), strict=False):
            bars(ax, share, colour(k))
            cut_bar(ax, share, (high - low) / 2 + low)
        for l, ax in enumerate(row, start=1):
            page.title(ax, f"{name}" if l == 1 else "")
            ax.annotate(f"layer {l}", (0.98, 0.97), xycoords="axes fraction", ha="right", va="top", size=8)
            ax.set(xlim=(low, high), xticks=(low, (low + high) / 2, high))
            ax.xaxis.set_major_formatter("{x:g}")
            page.percent(ax, 0, CUT)
            ax.set_yticks([0, CUT])
    page.label(axes, "output", "share")
    return figure


def bars(ax: Axes, share: NDArray[np.float64], shade: str) -> None:
    # ax.stairs would measure every outline for limits that are set.
    ax.add_artist(StepPatch(share, HISTOGRAM_EDGES, ec=shade, fc=to_rgba(shade, 0.35), lw=1))


def cut_bar(ax: Axes, share: NDArray[np.float64], centre: float) -> None:
    """Says how high the highest bar is, where it is cut."""
    top = int(share.argmax())
    if share[top] > CUT:
        at = (HISTOGRAM_EDGES[top] + HISTOGRAM_EDGES[top + 1]) / 2
        side, shift = ("left", 4) if at <= centre else ("right", -4)
        place: dict[str, Any] = {"textcoords": "offset points", "ha": side, "va": "center", "size": 8}
        ax.annotate(f"{100 * share[top]:.0f} %", (at, 0.6 * CUT), (shift, 0), **place)


def overlaid(runs: Sequence[Run]) -> Figure:
    """One panel an init, all layers in it, as Glorot & Bengio draw them."""
    groups = by(runs, "init")
    layers = min(MOST_LAYERS, max(len(run.config.model.units) for run in runs))
    shades = [to_hex(c) for c in matplotlib.colormaps["viridis"](np.linspace(0, 0.85, layers))]
    key = [Line2D([], [], color=shade, label=f"layer {l}") for l, shade in enumerate(shades, start=1)]
    figure, axes = Page("Activation outputs of each layer, before training", key, 2.0).lay_out(1, len(groups))
    low, high = SPAN.get(runs[0].config.activation.name, (-1.0, 2.0))
    for ax, (name, some) in zip(axes[0], groups.items(), strict=True):
        page.title(ax, name)
        for share, shade in zip(shares(some), shades, strict=False):
            ax.add_artist(StepPatch(share, HISTOGRAM_EDGES, ec=shade, fc="none", lw=1.4))
        ax.set_xlim(low, high)
        page.percent(ax, 0, CUT)
    page.label(axes, "activation output", "share of outputs")
    return figure
