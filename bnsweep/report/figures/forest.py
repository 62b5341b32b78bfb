"""The ranking as a picture: each arm's mean and interval."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from bnsweep.catalogue.metrics import ACCURACY
from bnsweep.inference import ENOUGH
from bnsweep.report.figures.style import (
    LETTER,
    MARKERS,
    OF_ERROR,
    SERIES,
    WIDE,
    Sheet,
    error_ticks,
    ink,
    label_below,
    most_labels,
    panels,
    points,
    within_all,
)
from bnsweep.report.figures.types import Drawing, Scene, level_key
from bnsweep.report.frame.formats import GROUPS, capped, censored, interval, letters, shortened_apart
from bnsweep.report.frame.grid import evenly_spaced

MOST = 18
LABEL, MOST_TICKS = 6, 8
"""Letters of a tick's label, and ticks of an axis."""
MOST_LETTERS = 44
"""Of an arm's name; tables have all of it."""


def top_arms(scene: Scene) -> Drawing | None:
    ranked = shown(scene, MOST)
    panel = (4.4, max(0.235 * len(ranked), 0.5))
    left = label_width(ranked)
    sheet = Sheet(panel, left, right=0.4, top=0.36, bottom=0.4, legend=key(scene), least=1.0)
    figure, [[ax]] = panels(1, 1, sheet)
    draw(ax, scene, ranked)
    text = caption(scene, len(ranked))
    title = "Arms" + " at their best learning rate" * (not scene.grid.searched)
    return Drawing("forest", title, text, alt(scene), figure)


def alt(scene: Scene) -> str:
    """The first arm, how many cannot be told from it, and the last one."""
    ranked = scene.table[scene.table["rank"].notna()]
    first, last = ranked.iloc[0], ranked.iloc[-1]
    between = f" ({interval(scene.metric, first['low'], first['high'])})" if np.isfinite(first["low"]) else ""
    text = f"{first['arm']} is first with {scene.metric.text(first['score'])}{between}"
    if len(ranked) == 1:
        return f"{text}."
    mates = int((ranked["group"] == 1).sum()) - 1
    text += f"; {mates} of the other {len(ranked) - 1} arms cannot be told from it" if mates >= 0 else ""
    return f"{text}. {last['arm']} is last with {scene.metric.text(last['score'])}."


def shown(scene: Scene, most: int) -> pd.DataFrame:
    """The rows of the ranking that are drawn."""
    return scene.table[scene.table["rank"].notna()].head(most)


def label_width(ranked: pd.DataFrame) -> float:
    """Inches that the arms' names take."""
    return 0.3 + LETTER * min(max(len(str(arm)) for arm in ranked["arm"]), MOST_LETTERS)


def draw(ax: Axes, scene: Scene, ranked: pd.DataFrame) -> None:
    """The arms of these rows of the ranking, from the top down."""
    colour_of = colours(scene)
    for y, row in enumerate(ranked.to_dict("records")):
        k = colour_of.get(row["arm"], 0)
        ax.plot([row["low"], row["high"]], [y, y], color=SERIES[k], lw=points(2.2), solid_capstyle="round")
        ax.plot(row["score"], y, MARKERS[k], color=SERIES[k], ms=points(6))
        if scene.metric.is_score:
            ax.plot(row[f"test_{scene.metric.task.score}"], y, "|", color=ink(), ms=points(9), mew=points(1.3))
        ax.annotate(letters(int(row["group"])), (1.01, y), xycoords=("axes fraction", "data"), va="center")
    ax.set_yticks(range(len(ranked)), shortened_apart([*ranked["arm"]], MOST_LETTERS))
    ax.set_ylim(len(ranked) - 0.4, -0.6)
    ax.grid(axis="y", visible=False)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: scene.metric.text(v).replace(".0 %", " %")))
    ax.xaxis.set_major_locator(MaxNLocator(min(most_labels(ax, LABEL), MOST_TICKS), steps=[1, 2, 5, 10]))
    title = scene.metric.title
    if scene.metric.is_score:
        ax.set_xlim(within_all(*ax.get_xlim()))
        if scene.metric.kind == ACCURACY and ranked["score"].max() - ranked["score"].min() > WIDE:
            stretch(ax)
            title += " (log scale of the error)"
    label_below(ax, title)


def key_of_test(scene: Scene) -> list[Line2D]:
    label = f"test {scene.metric.task.title}"
    handle = Line2D([], [], color=ink(), marker="|", ls="", ms=points(9), mew=points(1.3), label=label)
    return [handle] if scene.metric.is_score else []


def key(scene: Scene) -> list[Line2D]:
    """Handles of the legend: the levels that have colours, and the test score."""
    return [*level_key(scene, markers=True), *key_of_test(scene)]


def stretch(ax: Axes) -> None:
    """Accuracy on the scale of the logarithm of its error: 90 to 99 % as wide as 0 to 90 %."""
    forth, back = OF_ERROR
    ends = forth(np.array(ax.dataLim.intervalx))
    ends += np.array([-0.03, 0.03]) * np.ptp(ends)
    left, right = np.clip(back(ends), 0, 1)
    ax.set_xscale("function", functions=OF_ERROR)
    ticks = error_ticks(left, right)
    ticks = [ticks[at] for at in evenly_spaced(len(ticks), most_labels(ax, LABEL))]
    ax.set_xticks(ticks, [f"{100 * t:g} %" for t in ticks])
    ax.set_xlim(left, right)


def colours(scene: Scene) -> dict[str, int]:
    factor = scene.facets.colour
    if factor is None:
        return {}
    shown = [str(v) for v in scene.facets.shown[factor]]
    numbers = {name: i for i, name in enumerate(shown)}
    arms = scene.grid.arms
    return {arm: numbers.get(str(level), 7) for arm, level in zip(arms["arm"], arms[factor], strict=True)}


def caption(scene: Scene, shown: int) -> str:
    total = len(scene.view.arms)
    which = f"The top {shown} of {total} arms" if shown < total else "All arms"
    text = f"{which}, {scene.metric.title}: mean over seeds and its 95 % bootstrap interval."
    text += censored(scene.metric) + capped(scene.metric)
    if len(scene.view.bundles) >= ENOUGH:
        text += f" Look at the letters on the right first. {GROUPS}"
        text += " They compare arms within seeds. An interval also holds the luck that all arms of a seed share: where"
        text += " two of them overlap, the letters can still differ."
    return text
