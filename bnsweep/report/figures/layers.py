"""What goes on in each layer: back-propagated gradients, and the activation histograms of the lecture note."""

from __future__ import annotations

import math
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
from bnsweep.report.figures.style import DASHES, IN_FORCE, MARKERS, SERIES, Sheet, ink, most_labels, panels, points
from bnsweep.report.figures.types import Drawing, Scene, level_key
from bnsweep.report.frame.grid import evenly_spaced, most_hidden_layers

MOST_LAYERS, MOST_ROWS = 6, 8
MOST_MARKERS = 14
"""On a line."""
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
        ax.yaxis.set_major_locator(LogLocator(numticks=6))
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


def activation_histograms(scene: Scene) -> Drawing | None:
    """One row a setting of the panels' factors, one panel a hidden layer, one line a colour level; at the start."""
    lines = [(title, found) for _, _, title, found in scene.facets.panels if found][:MOST_ROWS]
    first = {arm: scene.run_ids[arm][0] for _, found in lines for _, _, arm in found}
    counts = scene.frame.histograms(list(first.values()))
    layers = max((len(ends.get("start", [])) for ends in counts.values()), default=0)
    if not layers:
        return None
    shown = evenly_spaced(layers, MOST_LAYERS)
    titles = [f"{title} · layer\u00a0{l + 1}".removeprefix(" · ") for title, _ in lines for l in shown]
    sheet = Sheet((max(2.1, 5.4 / len(shown)), 0.85), titles=titles, legend=level_key(scene))
    figure, axes = panels(len(lines), len(shown), sheet)
    ticks = (0, 1) if IN_FORCE.get().on_paper else (-1, 0, 1, 2)
    for i, (_, found) in enumerate(lines):
        for k, _, arm in found:
            own = counts.get(first[arm], {}).get("start", [])
            for ax, l in zip(axes[i], shown, strict=True):
                if l < len(own):
                    outline(ax, np.asarray(own[l], dtype=float), k)
        for ax in axes[i]:
            ax.set(ylim=(0, CUT), xlim=(HISTOGRAM_EDGES[0], HISTOGRAM_EDGES[-1]), xticks=ticks)
            ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:.0f} %"))
    label_edges(axes, "activation output", "share")
    text = HISTOGRAMS + scene.facets.held_text("drawn")
    text += f" {len(shown)} of {layers} layers are drawn." if len(shown) < layers else ""
    told = histograms_alt(lines, {arm: counts.get(run, {}).get("start", []) for arm, run in first.items()})
    return Drawing("histograms", "Activation histograms", text, told, figure)


def histograms_alt(lines: list[tuple[str, list[tuple[int, str, int]]]], counts: dict[int, Any]) -> str:
    """Of the last hidden layer: where outputs are most alike, and where they are spread the most."""
    peaks = []
    for title, found in lines:
        for _, name, arm in found:
            layer = np.asarray(counts[arm][-1] if len(counts[arm]) else [], dtype=float)
            if layer.sum() > 0:
                peaks.append((layer.max() / layer.sum(), " · ".join(filter(None, (title, name)))))
    if not peaks:
        return "No outputs were recorded."
    told = [f"{100 * share:.0f} %" + f" in {name}" * bool(name) for share, name in (max(peaks), min(peaks))]
    return f"Share of the last hidden layer's outputs in their fullest bin: {' to '.join(dict.fromkeys(told))}."


def outline(ax: Axes, counts: np.ndarray[tuple[int, ...], np.dtype[np.float64]], k: int) -> None:
    if counts.sum() > 0:
        share = counts / counts.sum()
        # The limits are set: ax.stairs would measure every outline for them.
        ax.add_artist(StepPatch(share, HISTOGRAM_EDGES, fc=to_rgba(SERIES[k], 0.12), lw=0))
        ax.add_artist(StepPatch(share, HISTOGRAM_EDGES, ec=SERIES[k], ls=DASHES[k], fill=False, lw=points(1.6)))
