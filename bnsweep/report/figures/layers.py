"""Back-propagated gradients from layer to layer."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from bnsweep.report.figures.curves import label_edges
from bnsweep.report.figures.style import MARKERS, SERIES, Sheet, ink, most_labels, panels, points
from bnsweep.report.figures.types import Drawing, Scene, level_key

MOST_MARKERS = 14
"""On a line."""
FLOW = (
    "Norm of the loss gradient at each layer's activation input on the fixed probe batch, median over seeds, log scale:"
    " dotted at the start{ended}. A line that falls towards layer 1 vanishes on its way back, one"
    " that rises towards layer 1 explodes, a level one flows."
)


def gradient_flow(scene: Scene) -> Drawing | None:
    layers = scene.grid.hidden_layers + 1
    names = [f"layer/{l}/grad_activation" for l in range(1, layers + 1)]
    history = scene.frame.history(names, scene.all_run_ids)
    history = history[np.isfinite(history["value"]) & (history["value"] > 0)]
    if history.empty:
        return None
    history = history.sort_values("step", kind="stable")
    readings = history.groupby(["run_id", "metric"])
    ends = readings["value"].agg(["first", "last"])
    # A run that trained nothing, or diverged before its second reading, has a start and no end.
    ends["last"] = ends["last"].where(readings["step"].max() > 0)
    ends = ends.unstack("metric")
    rows, columns = scene.facets.shape
    trained = bool(ends["last"].notna().to_numpy().any())
    titles = [title for _, _, title, _ in scene.facets.panels]
    sheet = Sheet((max(2.1, 5.6 / columns), 1.5), titles=titles, legend=[*level_key(scene, True), *ends_key(trained)])
    figure, axes = panels(rows, columns, sheet)
    for i, j, _, lines in scene.facets.panels:
        axes[i][j].set_yscale("log")
        for k, _, arm in lines:
            flow(axes[i][j], ends.loc[ends.index.intersection(scene.run_ids[arm])].median(), names, k)
    ticks = layer_ticks(layers, most_labels(axes[0][0], len(str(layers))))
    for ax in (ax for row in axes for ax in row):
        ax.set_xticks(ticks, [str(tick + 1) if tick < layers - 1 else "out" for tick in ticks])
        low, high = ax.get_ylim()
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,), numticks=6))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        ax.yaxis.set_minor_locator(NullLocator())
    label_edges(axes, "layer", "‖∂L/∂a‖")
    text = FLOW.format(ended=", solid where training ended" if trained else "") + scene.facets.held_text("drawn")
    return Drawing("gradients", "Gradient flow", text, flow_alt(scene, ends, names), figure)


def layer_ticks(layers: int, most: int) -> list[int]:
    """Layers at even distances from the first on, and the last, which is the output."""
    step = math.ceil((layers - 1) / max(most - 1, 1))
    return [*range(0, layers - 1 - step // 2, step), layers - 1]


def ends_key(trained: bool) -> list[Line2D]:
    """Handles for the two ends of training."""
    start = Line2D([], [], color=ink(), ls=":", label="at the start")
    return [start, Line2D([], [], color=ink(), label="at the end")] if trained else [start]


def flow_alt(scene: Scene, ends: pd.DataFrame, names: list[str]) -> str:
    """By what factor the gradient changes from the last hidden layer to the first, at the start: of the lines of each
    colour the least and the most."""
    found: dict[str, list[float]] = {}
    for *_, lines in scene.facets.panels:
        for _, name, arm in lines:
            own: pd.DataFrame = ends.loc[ends.index.intersection(scene.run_ids[arm]), "first"]
            start = own.median().reindex(names[:-1]).dropna().to_numpy(float)
            if len(start) > 1:
                found.setdefault(name, []).append(start[0] / start[-1])
    told = [f"{name} {span_of(ratios)}".strip() for name, ratios in found.items()]
    return f"Gradient at layer 1 over that at the last hidden layer, at the start: {', '.join(told) or 'one layer'}."


def span_of(ratios: list[float]) -> str:
    low, high = (f"× {value:.2g}" for value in (min(ratios), max(ratios)))
    return low if low == high else f"{low} to {high}"


def flow(ax: Axes, ends: pd.Series[Any], names: list[str], k: int) -> None:
    at = np.arange(len(names))
    every = max(1, len(names) // MOST_MARKERS)
    look: dict[str, Any] = {"color": SERIES[k], "marker": MARKERS[k], "markevery": every}
    ax.plot(at, ends["first"].reindex(names), ls=":", ms=points(3.5), alpha=0.8, **look)
    ax.plot(at, ends["last"].reindex(names), ms=points(4.5), **look)
