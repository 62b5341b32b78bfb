"""The activation histograms of the lecture note: a panel a layer, or, of deep networks, a map of layer by output."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgba
from matplotlib.patches import StepPatch
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from bnsweep.records import HISTOGRAM_EDGES
from bnsweep.report.figures.curves import label_edges
from bnsweep.report.figures.heat import colour_bar
from bnsweep.report.figures.style import DASHES, IN_FORCE, SERIES, Sheet, panels, points
from bnsweep.report.figures.types import Drawing, Scene, level_key

MOST_LAYERS, MOST_ROWS = 6, 8
"""Layers that have a panel each; rows of panels."""
ACROSS = 4
"""Maps side by side."""
CUT = 0.25
"""Share of outputs at which a histogram's bar is cut, as ReLU's zeros would flatten all else."""

BRIGHTEST = 0.1
"""The same of a map's colours: with a uniform spread a bin holds less than a fiftieth."""
START = "Outputs of each hidden layer at the start of training, one seed."
PANELS = (
    f"{START} A spread-out shape carries information; a single"
    " spike (all outputs alike) or a pile at the ends (saturation) does not."
    " Where two lines are one, the dashes of the upper one let the lower through; BN after the activation shows from"
    f" the next layer on. Bars above {100 * CUT:.0f} % are cut; the outermost bins hold everything beyond them."
)
MAPS = (
    f"{START} There are {{layers}}: a row is a layer, the first one below, a column a bin of outputs, and the brighter"
    " it is, the more of the layer's outputs lie in it. A broad band carries information all the way up; a bright line"
    " (all outputs alike) or bright ends (saturation) do not. BN after the activation shows from the next layer on."
    f" The brightest are {100 * BRIGHTEST:.0f} % and more; the outermost bins hold everything beyond them."
)
Lines = Sequence[tuple[str, list[tuple[int, str, int]]]]
"""Title of a row of panels, and colour, name and arm of each line in it."""
Layers = Mapping[int, Sequence[Sequence[float]]]
"""Arm -> hidden layer -> counts at the start."""


def activation_histograms(scene: Scene) -> Drawing | None:
    """Of the settings of the panels' factors, at the start."""
    lines = [(title, found) for _, _, title, found in scene.facets.panels if found][:MOST_ROWS]
    first = {arm: scene.run_ids[arm][0] for _, found in lines for _, _, arm in found}
    read = scene.frame.histograms(list(first.values()))
    counts = {arm: read.get(run, {}).get("start", []) for arm, run in first.items()}
    layers = max(map(len, counts.values()), default=0)
    if not layers:
        return None
    draw = layer_panels if layers <= MOST_LAYERS else layer_maps
    figure, text = draw(scene, lines, counts, layers)
    text += scene.facets.held_text("drawn")
    return Drawing("histograms", "Activation histograms", text, alt(lines, counts), figure)


def layer_panels(scene: Scene, lines: Lines, counts: Layers, layers: int) -> tuple[Any, str]:
    """One row a setting, one panel a hidden layer, one line a colour level."""
    titles = [f"{title} · layer\u00a0{l + 1}".removeprefix(" · ") for title, _ in lines for l in range(layers)]
    sheet = Sheet((max(2.1, 5.4 / layers), 0.85), titles=titles, legend=level_key(scene))
    figure, axes = panels(len(lines), layers, sheet)
    for i, (_, found) in enumerate(lines):
        for k, _, arm in found:
            for ax, layer in zip(axes[i], counts[arm], strict=False):
                outline(ax, np.asarray(layer, dtype=float), k)
        for ax in axes[i]:
            ax.set(ylim=(0, CUT), xlim=(HISTOGRAM_EDGES[0], HISTOGRAM_EDGES[-1]), xticks=ticks())
            ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:.0f} %"))
    label_edges(axes, "activation output", "share")
    return figure, PANELS


class Map(NamedTuple):
    title: str
    counts: Sequence[Sequence[float]]


def layer_maps(scene: Scene, lines: Lines, counts: Layers, layers: int) -> tuple[Any, str]:
    """One panel a setting and colour level."""
    maps = [
        Map(" · ".join(filter(None, (title, name))), counts[arm]) for title, found in lines for _, name, arm in found
    ]
    colours = max(len(found) for _, found in lines)
    columns = min(colours if colours > 1 else len(maps), ACROSS)
    rows = math.ceil(len(maps) / columns)
    high = min(2.2, 0.6 + 0.03 * layers)
    sheet = Sheet((max(1.7, 5.2 / columns), high), right=0.85, titles=[one.title for one in maps], top=0.4)
    figure, axes = panels(rows, columns, sheet)
    flat = [ax for row in axes for ax in row]
    for ax, one in zip(flat, maps, strict=False):
        layer_map(ax, [share(np.asarray(layer, dtype=float)) for layer in one.counts], BRIGHTEST)
        ax.set(ylim=(0.5, layers + 0.5), xticks=ticks())
        ax.yaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=2))
    for ax in flat[len(maps) :]:
        ax.set_visible(False)
    label_edges(axes, "activation output", "layer")
    colour_bar(figure, ScalarMappable(Normalize(0, BRIGHTEST), COLOURS), lambda v: f"{100 * v:.0f} %")
    alike = len({len(one.counts) for one in maps}) == 1
    return figure, MAPS.format(layers=layers if alike else f"up to {layers}")


COLOURS = matplotlib.colormaps["cividis"]


def layer_map(ax: Axes, shares: Sequence[NDArray[np.float64]], most: float) -> None:
    """A row a layer, the first one below; a column a bin. `shares`: of each layer's outputs in each bin."""
    place = (HISTOGRAM_EDGES[0], HISTOGRAM_EDGES[-1], 0.5, len(shares) + 0.5)
    norm = Normalize(0, most)
    how: dict[str, Any] = {"aspect": "auto", "origin": "lower", "interpolation": "nearest"}
    ax.imshow(np.stack(shares), cmap=COLOURS, norm=norm, extent=place, **how)
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)


def ticks() -> tuple[int, ...]:
    return (0, 1) if IN_FORCE.get().on_paper else (-1, 0, 1, 2)


def share(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of the outputs in each bin; NaN where none was counted."""
    total = counts.sum()
    return counts / total if total > 0 else np.full(counts.shape, np.nan)


def alt(lines: Lines, counts: Layers) -> str:
    """Of the last hidden layer: where outputs are most alike, and where they are spread the most."""
    peaks = []
    for title, found in lines:
        for _, name, arm in found:
            layer = share(np.asarray(counts[arm][-1] if len(counts[arm]) else [0.0], dtype=float))
            if np.isfinite(layer).all():
                peaks.append((float(layer.max()), " · ".join(filter(None, (title, name)))))
    if not peaks:
        return "No outputs were recorded."
    told = [f"{100 * most:.0f} %" + f" in {name}" * bool(name) for most, name in (max(peaks), min(peaks))]
    return f"Share of the last hidden layer's outputs in their fullest bin: {' to '.join(dict.fromkeys(told))}."


def outline(ax: Axes, counts: NDArray[np.float64], k: int) -> None:
    if counts.sum() > 0:
        # The limits are set: ax.stairs would measure every outline for them.
        ax.add_artist(StepPatch(share(counts), HISTOGRAM_EDGES, fc=to_rgba(SERIES[k], 0.12), lw=0))
        ax.add_artist(StepPatch(share(counts), HISTOGRAM_EDGES, ec=SERIES[k], ls=DASHES[k], fill=False, lw=points(1.6)))
