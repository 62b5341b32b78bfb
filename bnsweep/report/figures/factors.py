"""What mattered, how much, and how sure: each effect's share of the variance within seeds, as bars."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter

from bnsweep.inference import ALPHA, ENOUGH
from bnsweep.report.figures.style import IN_FORCE, LETTER, SERIES, Sheet, ink, label_below, panels, points
from bnsweep.report.figures.types import Drawing, Scene
from bnsweep.report.stats.factorial import Analysis, spoken

MOST = 14
"""Effects drawn."""
TOLD = 3
"""Effects that the text in the picture's place names."""
LOOKS = {1: (SERIES[1], "", "one factor"), 2: (SERIES[0], "////", "two together"), 0: (SERIES[6], "", "the rest")}
"""By order: colour, hatching and name."""
PALE = 0.35


def factor_shares(scene: Scene) -> Drawing | None:
    table = scene.analysis.table
    effects, rest, bn_title = table[table["order"] > 0], table[table["order"] == 0], scene.grid.bn_title
    if effects.empty:
        return None
    shown = pd.concat([effects.head(MOST), rest], ignore_index=True)
    left = 0.3 + LETTER * max(len(spoken(e, bn_title)) for e in shown["effect"])
    orders = [o for o in LOOKS if (shown["order"] == o).any()]
    key = [Patch(facecolor=LOOKS[o][0], edgecolor="white", hatch=LOOKS[o][1], label=LOOKS[o][2]) for o in orders]
    sheet = Sheet((3.9, max(0.27 * len(shown), 0.5)), left, top=0.4, legend=key, least=1.3)
    figure, [[ax]] = panels(1, 1, sheet)
    for y, row in shown.iterrows():
        pale = scene.analysis.testable and row["p_holm"] > ALPHA
        bar(ax, y + 0.35 * (row["order"] == 0), row, PALE if pale else 1.0)
    left_end, right_end = ax.get_xlim()
    ax.set_xlim(left_end, right_end + 0.6 * (right_end - left_end))  # room for the numbers
    ax.set_xticks([tick for tick in ax.get_xticks() if left_end <= tick <= min(right_end, 1)])
    ax.axvline(0, color=ink(), lw=0.8)
    places = [y + 0.35 * (o == 0) for y, o in enumerate(shown["order"])]
    ax.set_yticks(places, [spoken(e, bn_title) for e in shown["effect"]])
    ax.set_ylim(len(shown) - 0.1, -0.6)
    ax.grid(axis="y", visible=False)
    label_below(ax, f"share of the variance of {scene.metric.title} within seeds")
    ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:g} %"))
    text = caption(scene.analysis, len(effects) - MOST)
    return Drawing("factors", "Which factors mattered", text, alt(effects, rest, bn_title), figure)


def alt(effects: pd.DataFrame, rest: pd.DataFrame, bn_title: str) -> str:
    """The largest shares, and what is left."""
    told = [f"{spoken(row['effect'], bn_title)} {share_text(row)}" for _, row in effects.head(TOLD).iterrows()]
    left = [f"{row['effect']} {percent(row['omega2'])} %" for _, row in rest.iterrows()]
    return f"Shares of the variance: {', '.join(told)}; {', '.join(left)}."


def bar(ax: Axes, y: float, row: pd.Series[Any], alpha: float) -> None:
    colour, hatch, _ = LOOKS[row["order"]]
    ax.barh(y, row["omega2"], 0.62, color=colour, hatch=hatch, edgecolor="white", lw=0, alpha=alpha)
    text, end = share_text(row), max(row["omega2"], 0)
    if math.isfinite(row["low"]):
        ax.plot([row["low"], row["high"]], [y, y], color=ink(), lw=points(1.4), solid_capstyle="butt")
        end = max(end, row["high"])
    if IN_FORCE.get().on_paper:  # a column has no room for the interval in numbers
        text = text.partition(" (")[0]
    ax.annotate(text, (end, y), (5, 0), textcoords="offset points", va="center", fontsize=points(8.5))


def share_text(row: pd.Series[Any]) -> str:
    """A share with its interval, where it has one."""
    text = percent(row["omega2"]) + " %"
    between = f" ({percent(row['low'])} to {percent(row['high'])})"
    return text + between if math.isfinite(row["low"]) else text


def percent(share: float) -> str:
    return f"{round(100 * share, 1) + 0.0:.1f}".replace("-", "−")


def caption(analysis: Analysis, more: int) -> str:
    text = f"How much of the differences between the runs of a seed each factor explains (ω²), over {analysis.cells}"
    text += (
        f" settings and {analysis.n} seeds. Look at the longest bar first. “a × b” is what the two do together beyond"
    )
    text += " what each does alone; where such a bar is long, read its picture below before the bar of either factor."
    text += " Lines and brackets: 95 % bootstrap interval over seeds." if analysis.n >= ENOUGH else ""
    if analysis.testable:
        some = (analysis.table["p_holm"] > ALPHA).any()
        text += " Pale: no more than chance (p > .05 after Holm)." if some else ""
    else:
        text += f" {analysis.n} seeds are too few to test so many effects."
    text += f" {more} more, all smaller, in factors.csv." if more > 0 else ""
    return f"{text} {analysis.note}".strip()
