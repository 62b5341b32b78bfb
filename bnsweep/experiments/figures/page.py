"""A page of small multiples in the report's style: title, one legend for all panels, shared axes."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from bnsweep.report.figures.style import DASHES, FALLBACK, LETTER, MARKERS, Palette, Sheet, panels

WIDTH = 7.2
"""Inches: 690 pixels in a browser, with letters of 12."""
DARK = "#222222"
WHITE = Palette(DARK, "#cccccc", FALLBACK, ("DejaVu Sans", "Verdana"))
"""A white page. Every text of an SVG names all fonts, so they are few."""
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
NO_BREAK = "\N{NO-BREAK SPACE}"
LINE = 0.16
"""Height of a line of a panel's title."""
Grid = list[list[Axes]]


@dataclass(frozen=True)
class Page:
    """What stands around the panels; lengths in inches."""

    title: str
    key: Sequence[Line2D] = ()
    """Handles of the legend."""
    high: float = 1.5
    """Height of a panel."""
    left: float = 0.72
    right: float = 0.15
    gap: tuple[float, float] = (0.18, 0.34)
    """Between panels, across and down."""
    above: float = 0.0
    """Between the legend and the first row's titles."""
    share_x: bool = True
    share_y: str = "all"
    """all, row or none."""

    def lay_out(self, rows: int, columns: int, titles: Sequence[str] = ()) -> tuple[Figure, Grid]:
        """`titles`: those of the panels, where some may need several lines."""
        wide = (WIDTH - self.left - self.right + self.gap[0]) / columns - self.gap[0]
        more = LINE * max((wrapped(text, wide).count("\n") for text in titles), default=0)
        longest = max((len(str(handle.get_label())) for handle in self.key), default=0)
        in_a_row = max(1, int((WIDTH - 0.2) / (0.55 + LETTER * longest)))
        lines = math.ceil(len(self.key) / in_a_row)
        top, gap = 0.56 + 0.2 * lines + self.above + more, (self.gap[0], self.gap[1] + more)
        sheet = Sheet((wide, self.high), self.left, self.right, top, gap=gap, share=False)
        figure, axes = panels(rows, columns, sheet)
        height = figure.get_figheight()
        figure.text(0.1 / WIDTH, 1 - 0.08 / height, self.title, va="top", weight="bold", size=10)
        if self.key:
            place: dict[str, Any] = {
                "loc": "upper left",
                "bbox_to_anchor": (0.0, 1 - 0.24 / height),
                "borderaxespad": 0.2,
            }
            figure.legend(handles=list(self.key), ncols=in_a_row, handlelength=2.2, columnspacing=1.4, **place)
        self._share(axes)
        return figure, axes

    def _share(self, axes: Grid) -> None:
        for i, row in enumerate(axes):
            for j, ax in enumerate(row):
                if self.share_x and (i or j):
                    ax.sharex(axes[0][0])
                first = {"all": axes[0][0], "row": row[0]}.get(self.share_y, ax)
                if first is not ax:
                    ax.sharey(first)
                ax.tick_params(labelbottom=not self.share_x or i == len(axes) - 1)
                ax.tick_params(labelleft=self.share_y == "none" or j == 0)


def label(axes: Grid, x: str, y: str) -> None:
    """Axis labels at the border of the page."""
    for ax in axes[-1]:
        ax.set_xlabel(x)
    for row in axes:
        row[0].set_ylabel(y)


def hide_rest(axes: Grid, used: int, x: str = "") -> None:
    """Blank the panels after the first `used`; the panels above them get the tick labels and the label of x."""
    flat = [ax for row in axes for ax in row]
    columns = len(axes[0])
    for place, ax in enumerate(flat[used:], start=used):
        ax.set_visible(False)
        above = flat[place - columns]
        above.tick_params(labelbottom=True)
        above.set_xlabel(x)


def title(ax: Axes, text: str) -> None:
    """The title of a panel, in as many lines as it needs."""
    ax.set_title(wrapped(text, ax.get_position().width * WIDTH), loc="left")


def wrapped(text: str, width: float) -> str:
    """Broken after commas where it is wider than so many inches."""
    whole = [part.replace(" ", NO_BREAK) for part in text.split(", ")]
    lines = textwrap.wrap(", ".join(whole), max(1, int((width + 0.15) / LETTER)), break_long_words=False)
    return "\n".join(lines).replace(NO_BREAK, " ")


def colour(k: int) -> str:
    """Of the arm at place k; colours, dashes and markers begin anew after the last one."""
    return FALLBACK[k % len(FALLBACK)]


def dash(k: int) -> Any:
    """Of the line of the arm at place k."""
    return DASHES[k % len(DASHES)]


def marker(k: int) -> str:
    """Of the points of the arm at place k."""
    return MARKERS[k % len(MARKERS)]


def key_of(names: Sequence[str], markers: bool = False, lines: bool = True) -> list[Line2D]:
    """Handles by place: colour, and dash or marker."""
    found = []
    for k, name in enumerate(names):
        style: dict[str, Any] = {
            "marker": marker(k) if markers else "",
            "ls": ("-" if markers else dash(k)) if lines else "",
        }
        found.append(Line2D([], [], color=colour(k), label=name, ms=4.5, **style))
    return found


def sign(mark: str, name: str, shade: str = DARK) -> Line2D:
    """Handle of a mark that stands alone."""
    return Line2D([], [], color=shade, ls="", marker=mark, ms=5, mfc="none", label=name)


def percent(ax: Axes, low: float | None = 0.0, high: float | None = 1.0) -> None:
    """A y axis of shares."""
    ax.set_ylim(low, high)
    ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:.0f} %"))


def power(value: float) -> str:
    """A tick of a log axis: 10⁻³."""
    exponent = math.log10(value) if value > 0 else math.nan
    if math.isnan(exponent) or abs(exponent - round(exponent)) > 1e-6:
        return f"{value:g}"
    return f"{10 ** round(exponent):g}" if -2 <= exponent <= 2 else "10" + str(round(exponent)).translate(SUPERSCRIPT)


def logarithmic(ax: Axes, which: str = "y") -> None:
    """A log axis, x or y, with ticks at powers of ten."""
    axis = ax.yaxis if which == "y" else ax.xaxis
    (ax.set_yscale if which == "y" else ax.set_xscale)("log")
    axis.set_major_locator(PowerLocator(numticks=6))
    axis.set_major_formatter(FuncFormatter(lambda v, _: power(v)))
    axis.set_minor_locator(NullLocator())


class PowerLocator(LogLocator):
    """Powers of ten; where they are few, their multiples by 2 and 5, too."""

    def tick_values(self, vmin: float, vmax: float) -> Any:
        self.set_params(subs=(1.0, 2.0, 5.0) if vmax < 60 * vmin else (1.0,))
        return super().tick_values(vmin, vmax)


def few() -> MaxNLocator:
    """Ticks for a narrow axis of whole numbers."""
    return MaxNLocator(4, integer=True)


def thousands() -> FuncFormatter:
    """Steps: 50k."""
    return FuncFormatter(lambda v, _: f"{v / 1000:g}k" if v >= 1000 else f"{v:g}")
