"""Histograms of activation outputs at the start of training: layer by layer, of deep networks as a map."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import StepPatch
from numpy.typing import NDArray

from bnsweep.catalogue.activations import ACTIVATIONS
from bnsweep.experiments.figures import page
from bnsweep.experiments.figures.arms import by, swept
from bnsweep.experiments.figures.page import Page, colour
from bnsweep.experiments.selection import Run
from bnsweep.records import HISTOGRAM_EDGES
from bnsweep.report.figures.histograms import BRIGHTEST, MOST_LAYERS, layer_map

CUT = 0.3
"""Share of the outputs at which a bar is cut."""


def span_of(run: Run) -> tuple[float, float]:
    """Range drawn: whole numbers around what the activation gives; the outermost bins hold what lies beyond them."""
    row = ACTIVATIONS[run.config.activation.name]
    low, high = max(np.floor(row.lowest), HISTOGRAM_EDGES[0]), min(np.ceil(row.highest), HISTOGRAM_EDGES[-1])
    return float(low), float(high)


def shares(runs: Sequence[Run], reading: str = "start") -> list[NDArray[np.float64]]:
    """Hidden layer -> share of the outputs in each bin, all seeds together."""
    counts = [run.record.histograms[reading] for run in runs if reading in run.record.histograms]
    if not counts:
        return []
    total = np.sum(np.asarray(counts, dtype=np.float64), axis=0)
    return [layer / max(1.0, layer.sum()) for layer in total]


def grid(runs: Sequence[Run]) -> Figure:
    """One row a setting, one column a layer, as the book's chapter draws it."""
    groups = by(runs, *dict.fromkeys(f for f in ("activation", "init", *swept(runs)) if f in swept(runs)))
    layers = max(run.config.model.layers for run in runs)
    if layers > MOST_LAYERS:
        return maps(groups, layers)
    title = "Outputs of each hidden layer, before training"
    around = Page(title, high=0.8, left=0.62, gap=(0.16, 0.42), above=0.2, share_x=False)
    figure, axes = around.lay_out(len(groups), layers)
    spans = [span_of(some[0]) for some in groups.values()]
    for k, (row, (name, some)) in enumerate(zip(axes, groups.items(), strict=True)):
        page.title(row[0], name)
        for ax, share in zip(row, shares(some), strict=False):
            bars(ax, share, spans[k], colour(k))
        for ax in row:
            ax.set(xlim=spans[k], xticks=(spans[k][0], sum(spans[k]) / 2, spans[k][1]))
            ax.xaxis.set_major_formatter("{x:g}")
            ax.tick_params(labelbottom=k + 1 == len(spans) or spans[k + 1] != spans[k])
            page.percent(ax, 0, CUT)
            ax.set_yticks([0, CUT])
    for l, ax in enumerate(axes[0], start=1):
        place: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "ha": "center"}
        ax.annotate(f"layer {l}", (0.5, 1), (0, 17), **place)
    page.label(axes, "output", "share")
    return figure


def maps(groups: Mapping[str, Sequence[Run]], layers: int) -> Figure:
    """One panel a setting: a row a layer, a column a bin."""
    columns = min(3, len(groups))
    title = f"Outputs of each of {layers} hidden layers, before training: bright where many lie"
    around = Page(title, high=min(2.4, 0.6 + 0.03 * layers), share_x=False, gap=(0.3, 0.42))
    figure, axes = around.lay_out(math.ceil(len(groups) / columns), columns)
    for ax, (name, some) in zip([ax for row in axes for ax in row], groups.items(), strict=False):
        page.title(ax, name)
        layer_map(ax, shares(some), BRIGHTEST)
        ax.set(xlim=span_of(some[0]), ylim=(0.5, layers + 0.5))
        ax.xaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_major_locator(page.few())
    page.label(axes, f"output, brightest {100 * BRIGHTEST:.0f} % of them and more", "layer")
    page.hide_rest(axes, len(groups), "output")
    return figure


def bars(ax: Axes, share: NDArray[np.float64], span: tuple[float, float], shade: str) -> None:
    """The bins within the span, and beside bars that are cut how much of all they hold."""
    inside = [i for i, edge in enumerate(HISTOGRAM_EDGES[:-1]) if span[0] <= edge < span[1]]
    edges = HISTOGRAM_EDGES[inside[0] : inside[-1] + 2]
    # ax.stairs would measure every outline for limits that are set.
    ax.add_artist(StepPatch(share[inside], edges, ec=shade, fc=to_rgba(shade, 0.35), lw=1))
    for high, places in groupby(inside, key=lambda i: share[i] > CUT):
        if high:
            pile = list(places)
            left, right = HISTOGRAM_EDGES[pile[0]], HISTOGRAM_EDGES[pile[-1] + 1]
            after = left - span[0] <= span[1] - right
            at, shift, side = (right, 3, "left") if after else (left, -3, "right")
            place: dict[str, Any] = {"textcoords": "offset points", "ha": side, "va": "center", "size": 8}
            ax.annotate(f"{100 * share[pile].sum():.0f} %", (at, 0.65 * CUT), (shift, 0), **place)


def overlaid(runs: Sequence[Run]) -> Figure:
    """One panel an init, all layers in it, as Glorot & Bengio draw them."""
    groups = dict(reversed(by(runs, "init").items()))
    layers = max(run.config.model.layers for run in runs)
    if layers > MOST_LAYERS:
        return maps(groups, layers)
    shades = [to_hex(c) for c in matplotlib.colormaps["viridis"](np.linspace(0, 0.85, layers))]
    key = [Line2D([], [], color=shade, label=f"layer {l}") for l, shade in enumerate(shades, start=1)]
    figure, axes = Page("Activation outputs of each layer, before training", key, 2.0).lay_out(1, len(groups))
    low, high = span_of(runs[0])
    for ax, (name, some) in zip(axes[0], groups.items(), strict=True):
        page.title(ax, name)
        for share, shade in zip(shares(some), shades, strict=False):
            ax.add_artist(StepPatch(share, HISTOGRAM_EDGES, ec=shade, fc="none", lw=1.4))
        ax.set(xlim=(low, high), xticks=np.linspace(low, high, 5))
        ax.xaxis.set_major_formatter("{x:g}")
    top = max((float(share.max()) for some in groups.values() for share in shares(some)), default=1.0)
    page.percent(axes[0][0], 0, 1.05 * top)
    page.label(axes, "activation output", "share of outputs")
    return figure
