"""The evidence of a claim as a picture: the difference of every seed, their mean and its interval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from bnsweep.report.claims.verdicts import AGAINST, FOR, Evidence, Verdict
from bnsweep.report.figures.style import FAINT, INK, SERIES, Sheet, panels, styled
from bnsweep.report.figures.types import Drawing

TITLE, LETTERS = 9.5, 64
"""Size of a title, and the letters from which it is smaller, to end with its strip."""
COLOUR = {FOR: SERIES[2], AGAINST: SERIES[0]}
CAPTION = (
    "Each dot is one seed: the difference between the two sides with all else equal, to the right of 0 where it is as"
    " claimed. The diamond is their mean, the bar its 95 % interval. See whether the dots lie on one side of 0; every"
    " strip has a scale of its own. Green speaks for the claim, orange against it, grey is open."
)


def claim_figures(verdicts: Sequence[Verdict]) -> list[Drawing]:
    """One drawing a claim with a measured comparison, named `claim-KEY`."""
    with styled():
        return [draw(v, found) for v in verdicts if (found := [e for e in v.evidence if e.measured])]


def draw(verdict: Verdict, found: Sequence[Evidence]) -> Drawing:
    figure, axes = panels(len(found), 1, Sheet((4.6, 0.5), left=0.2, right=0.25, top=0.4, gap=(0, 0.78), share=False))
    for (ax,), item in zip(axes, found, strict=True):
        strip(ax, item)
    name = f"claim-{verdict.key}"
    return Drawing(name, verdict.claim, CAPTION, figure)


def strip(ax: Axes, item: Evidence) -> None:
    colour = COLOUR.get(item.says, SERIES[6])
    values = np.array(item.difference_N)
    # Seeds in their order, from top to bottom, so that equal differences do not hide each other.
    ax.plot(values, np.linspace(0.8, 0.2, len(values)), "o", color=colour, ms=4.5, alpha=0.65, mew=0)
    ax.plot([item.low, item.high], [0.5, 0.5], color=INK, lw=2, solid_capstyle="round")
    ax.plot(item.effect, 0.5, "D", color=INK, ms=6)
    ax.axvline(0, color=INK, lw=1, ls=(0, (4, 3)))
    ax.set_ylim(0, 1)
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    ax.grid(axis="y", visible=False)
    ends = np.array([0, item.low, item.high, *values])
    margin = 0.06 * max(float(np.nanmax(ends) - np.nanmin(ends)), 1e-9)
    ax.set_xlim(np.nanmin(ends) - margin, np.nanmax(ends) + margin)
    ax.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: item.unit.text(v)))
    ax.set_title(item.name, loc="left", fontsize=TITLE * min(1, LETTERS / len(item.name)))
    unit = f"{item.unit.name} " if item.unit.name else ""
    sides = " against ".join(filter(None, item.sides))
    ax.set_xlabel(f"{sides}: {unit}in favour of the claim →", loc="right", fontsize=8)
    ax.tick_params(axis="x", colors=INK)
    ax.spines["bottom"].set_color(FAINT)
