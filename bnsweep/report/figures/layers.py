"""What goes on in each layer: back-propagated gradients, and the activation histograms of the lecture note."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.lines import Line2D
from matplotlib.patches import StepPatch
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from bnsweep.records import HISTOGRAM_EDGES
from bnsweep.report.figures.curves import label_edges
from bnsweep.report.figures.style import DASHES, INK, MARKERS, SERIES, Sheet, panels
from bnsweep.report.figures.types import Drawing, Scene, legend, more_lines
from bnsweep.report.frame.grid import most_hidden_layers

MOST_LAYERS, MOST_ROWS = 6, 8
CUT = 0.25
"""Share of outputs at which a histogram's bar is cut, as ReLU's zeros would flatten all else."""

FLOW = (
    "Norm of the loss gradient at each layer's activation input on the fixed probe batch, median over seeds, log scale:"
    " dotted at the start{ended}. A line that falls towards layer 1 vanishes on its way back, one"
    " that rises towards layer 1 explodes, a level one flows."
)
HISTOGRAMS = (
    "Outputs of each hidden layer at the start of training, one seed. A spread-out shape carries information; a single"
    " spike (all outputs alike) or a pile at the ends (saturation) does not."
    " Where two lines are one, the dashes of the upper one let the lower through; BN after the activation shows from"
    f" the next layer on. Bars above {100 * CUT:.0f} % are cut; the outermost bins hold everything beyond them."
)


def gradient_flow(scene: Scene) -> Drawing | None:
    layers = most_hidden_layers(scene.grid.runs) + 1
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
    figure, axes = panels(rows, columns, Sheet((max(2.1, 5.6 / columns), 1.5), top=0.62 + more_lines(scene, 2)))
    for i, j, title, lines in scene.facets.panels:
        axes[i][j].set_title(title, loc="left")
        axes[i][j].set_yscale("log")
        for k, _, arm in lines:
            flow(axes[i][j], ends.loc[ends.index.intersection(scene.run_ids[arm])].median(), names, k)
    for ax in (ax for row in axes for ax in row):
        ax.set_xticks(range(layers), [*map(str, range(1, layers)), "out"])
        ax.yaxis.set_major_locator(LogLocator(numticks=6))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        ax.yaxis.set_minor_locator(NullLocator())
    label_edges(axes, "layer", "‖∂L/∂a‖")
    ends_key = [Line2D([], [], color=INK, ls=":", label="at the start")]
    trained = bool(ends["last"].notna().to_numpy().any())
    if trained:
        ends_key.append(Line2D([], [], color=INK, label="at the end"))
    legend(figure, scene, ends_key, markers=True)
    text = FLOW.format(ended=", solid where training ended" if trained else "") + scene.facets.held_text("drawn")
    return Drawing("gradients", "Gradient flow", text, figure)


def flow(ax: Axes, ends: pd.Series[Any], names: list[str], k: int) -> None:
    at = np.arange(len(names))
    ax.plot(at, ends["first"].reindex(names), color=SERIES[k], ls=":", marker=MARKERS[k], ms=3.5, alpha=0.8)
    ax.plot(at, ends["last"].reindex(names), color=SERIES[k], marker=MARKERS[k], ms=4.5)


def activation_histograms(scene: Scene) -> Drawing | None:
    """One row a setting of the panels' factors, one panel a hidden layer, one line a colour level; at the start."""
    lines = [(title, found) for _, _, title, found in scene.facets.panels if found][:MOST_ROWS]
    first = {arm: scene.run_ids[arm][0] for _, found in lines for _, _, arm in found}
    counts = scene.frame.histograms(list(first.values()))
    layers = min(MOST_LAYERS, max((len(ends.get("start", [])) for ends in counts.values()), default=0))
    if not layers:
        return None
    figure, axes = panels(len(lines), layers, Sheet((max(2.1, 5.4 / layers), 0.85), top=0.62 + more_lines(scene)))
    for i, (title, found) in enumerate(lines):
        for k, _, arm in found:
            for l, layer in enumerate(counts.get(first[arm], {}).get("start", [])[:layers]):
                outline(axes[i][l], np.asarray(layer, dtype=float), k)
        for l, ax in enumerate(axes[i]):
            ax.set_title(f"{title} · layer {l + 1}".removeprefix(" · "), loc="left")
            ax.set(ylim=(0, CUT), xlim=(HISTOGRAM_EDGES[0], HISTOGRAM_EDGES[-1]), xticks=(-1, 0, 1, 2))
            ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:.0f} %"))
    label_edges(axes, "activation output", "share")
    legend(figure, scene)
    text = HISTOGRAMS + scene.facets.held_text("drawn")
    return Drawing("histograms", "Activation histograms", text, figure)


def outline(ax: Axes, counts: np.ndarray[tuple[int, ...], np.dtype[np.float64]], k: int) -> None:
    if counts.sum() > 0:
        share = counts / counts.sum()
        # The limits are set: ax.stairs would measure every outline for them.
        ax.add_artist(StepPatch(share, HISTOGRAM_EDGES, fc=to_rgba(SERIES[k], 0.12), lw=0))
        ax.add_artist(StepPatch(share, HISTOGRAM_EDGES, ec=SERIES[k], ls=DASHES[k], fill=False, lw=1.6))
