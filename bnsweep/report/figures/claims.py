"""The evidence of a claim as a picture: the difference of every seed, their mean and its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from bnsweep.report.claims.verdicts import AGAINST, FOR, Evidence, Verdict
from bnsweep.report.figures.style import LINE, SERIES, Sheet, broken, faint, ink, panels, points
from bnsweep.report.figures.types import Drawing
from bnsweep.report.frame.formats import capital

TITLE, LETTERS = 9.5, 64
"""Size of a title, and the letters from which it is smaller, to end with its strip."""
WIDE = 4.4
"""Inches that a strip's label may take, were its letters of POINTS."""
COLOUR = {FOR: SERIES[2], AGAINST: SERIES[0]}
CAPTION = (
    "Each dot is one seed: the difference between the two sides with all else equal, to the right of 0 where it is as"
    " claimed. The diamond is their mean, the bar its 95 % interval. See whether the dots lie on one side of 0; every"
    " strip has a scale of its own. Green speaks for the claim, orange against it, grey is open."
)

EQUAL = (
    "Each dot is one seed: the first side less the second, with all else equal. The diamond is their mean, the bar its"
    " 95 % interval. In the grey band lie differences that count as none: see whether the bar is within it. Every strip"
    " has a scale of its own. Green speaks for the claim, orange against it, grey is open."
)
"""Where the claim is that two sides do equally well."""


def figure_name(verdict: Verdict) -> str:
    return f"claim-{verdict.key}"


def claim_figures(verdicts: Sequence[Verdict]) -> list[Drawing]:
    """One drawing a claim with a measured comparison."""
    return [draw(v, found) for v in verdicts if (found := [e for e in v.evidence if e.measured])]


def draw(verdict: Verdict, found: Sequence[Evidence]) -> Drawing:
    labels = [broken(label(item), WIDE) for item in found]
    more = LINE * max(text.count("\n") for text in labels)
    sheet = Sheet((4.6, 0.5), 0.2, 0.25, top=0.4, bottom=0.5 + more, gap=(0, 0.78 + more), share=False)
    figure, axes = panels(len(found), 1, replace(sheet, titles=[item.name for item in found], least=3))
    for (ax,), item, text in zip(axes, found, labels, strict=True):
        strip(ax, item)
        ax.set_xlabel(text, loc="right", fontsize=points(8), multialignment="right")
        title = ax.get_title(loc="left")
        longest = max(map(len, title.split("\n")))
        ax.set_title(title, loc="left", fontsize=points(TITLE * min(1, LETTERS / longest)))
    caption = EQUAL if all(item.within for item in found) else CAPTION
    return Drawing(figure_name(verdict), verdict.claim, caption, alt(verdict, found), figure)


def alt(verdict: Verdict, found: Sequence[Evidence]) -> str:
    """Each comparison's difference, and in how many seeds it is as claimed."""
    told = []
    for item in found:
        text = f"{item.name}: {item.unit.difference_text(item.effect, signed=True)}"
        text += f" ({item.unit.text(item.low)} to {item.unit.text(item.high)})" if math.isfinite(item.low) else ""
        told.append(f"{text}, as claimed in {item.ahead} of {item.n} seeds")
    return f"{capital(verdict.verdict)}: {'; '.join(told)}."


def label(item: Evidence) -> str:
    """What lies along the axis of a strip."""
    unit = f"{item.unit.name} " if item.unit.name and not item.unit.factor else ""
    sides = " against ".join(filter(None, item.sides))
    return f"{sides}: {unit}apart" if item.within else f"{sides}: {unit}in favour of the\u00a0claim\u00a0→"


def strip(ax: Axes, item: Evidence) -> None:
    colour = COLOUR.get(item.says, SERIES[6])
    values = np.array(item.difference_N)
    # Seeds in their order, from top to bottom, so that equal differences do not hide each other.
    ax.plot(values, np.linspace(0.8, 0.2, len(values)), "o", color=colour, ms=points(4.5), alpha=0.65, mew=0)
    ax.plot([item.low, item.high], [0.5, 0.5], color=ink(), lw=points(2), solid_capstyle="round")
    ax.plot(item.effect, 0.5, "D", color=ink(), ms=points(6))
    ax.axvline(0, color=ink(), lw=1, ls=(0, (4, 3)))
    ax.set_ylim(0, 1)
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    ax.grid(axis="y", visible=False)
    if item.within:
        ax.axvspan(-item.within, item.within, color=faint(), alpha=0.6, lw=0, zorder=0)
    ends = np.array([-item.within, item.within, item.low, item.high, *values])
    margin = 0.06 * max(float(np.nanmax(ends) - np.nanmin(ends)), 1e-9)
    ax.set_xlim(np.nanmin(ends) - margin, np.nanmax(ends) + margin)
    ax.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: item.unit.text(v)))
    ax.tick_params(axis="x", colors=ink())
    ax.spines["bottom"].set_color(faint())
